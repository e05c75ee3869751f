//! The ledger's counters in memory, by region and day of entry: what the board shows without asking a table.

use crate::clock::Moment;
use crate::facts::{Fact, Ledger, Outcome, Stamped};
use crate::ids::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A fold of the facts. A call counts in the day in which it entered, also when it ends after midnight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LedgerFold {
    /// By region and the moment of the day's midnight there.
    days: BTreeMap<(RegionId, Moment), Day>,
    live: BTreeMap<CallId, (RegionId, Moment)>,
    open_callbacks: BTreeMap<TaskId, RegionId>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Day {
    entered: u64,
    outcomes: BTreeMap<Outcome, u64>,
}

impl LedgerFold {
    /// Days kept of each region: a board shows today, a duty handed over shows yesterday; older days are in the tables.
    const DAYS_KEPT: usize = 3;

    /// `midnight` gives the beginning of the day of a moment in a region, so that the fold needs no calendar.
    pub fn apply(&mut self, stamped: &Stamped, midnight: impl Fn(RegionId, Moment) -> Moment) {
        match &stamped.fact {
            Fact::CallEntered { call, region, .. } => {
                if self.live.contains_key(call) {
                    return;
                }
                let key = (*region, midnight(*region, stamped.at));
                self.live.insert(*call, key);
                self.days.entry(key).or_default().entered += 1;
                self.drop_old_days(*region);
            }
            Fact::CallEnded { call, outcome } => {
                if let Some(key) = self.live.remove(call)
                    && let Some(day) = self.days.get_mut(&key)
                {
                    *day.outcomes.entry(*outcome).or_default() += 1;
                }
            }
            Fact::CallbackOpened { task, region, .. } => {
                self.open_callbacks.insert(*task, *region);
            }
            Fact::CallbackClosed { task, .. } => {
                self.open_callbacks.remove(task);
            }
            Fact::CallAnswered { .. }
            | Fact::RobotAtNode { .. }
            | Fact::ThemeChosen { .. }
            | Fact::QueueEntered { .. }
            | Fact::QueueLeft { .. }
            | Fact::OfferMade { .. }
            | Fact::OfferEnded { .. }
            | Fact::TalkStarted { .. }
            | Fact::TalkEnded { .. }
            | Fact::RouteTried { .. }
            | Fact::RouteEnded { .. }
            | Fact::RecordingStarted { .. }
            | Fact::RecordingEnded { .. }
            | Fact::Unreachable { .. }
            | Fact::CallbackRepeated { .. }
            | Fact::CallbackTaken { .. }
            | Fact::AgentChanged { .. }
            | Fact::HandoffRequested { .. }
            | Fact::HandoffSettled { .. }
            | Fact::EngineStarted { .. }
            | Fact::EngineStopped { .. }
            | Fact::PhonesWritten { .. }
            | Fact::CallbackBegan { .. }
            | Fact::CallbackAttempted { .. }
            | Fact::CallbackPromised { .. }
            | Fact::TalkCoded { .. }
            | Fact::AgentOverridden { .. }
            | Fact::PersonForgotten { .. }
            | Fact::RecordingFailed { .. }
            | Fact::RecordingPacked { .. }
            | Fact::RecordingArchived { .. }
            | Fact::RecordingNotArchived { .. }
            | Fact::RecordingDeleted { .. }
            | Fact::RecordingHeard { .. } => {}
        }
    }

    /// The day that began at `midnight` in this region; open callbacks are those of now, whenever they were opened.
    pub fn day(&self, region: RegionId, midnight: Moment) -> Ledger {
        let day = self.days.get(&(region, midnight)).cloned().unwrap_or_default();
        let outcomes: BTreeMap<String, u64> = Outcome::ALL
            .iter()
            .map(|outcome| (outcome.as_str().to_owned(), day.outcomes.get(outcome).copied().unwrap_or_default()))
            .collect();
        let live = self.live.values().filter(|&&key| key == (region, midnight)).count() as u64;
        let open_callbacks = self.open_callbacks.values().filter(|&&of| of == region).count() as u64;
        Ledger { entered: day.entered, live, outcomes, open_callbacks }
    }

    fn drop_old_days(&mut self, region: RegionId) {
        let days = self.days.range((region, Moment::ZERO)..=(region, Moment(u64::MAX)));
        let keys: Vec<_> = days.map(|(&key, _)| key).collect();
        for key in &keys[..keys.len().saturating_sub(Self::DAYS_KEPT)] {
            self.days.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const DAY: u64 = 86_400;

    #[test]
    fn a_call_that_ends_after_midnight_counts_in_the_day_it_entered() {
        let mut fold = LedgerFold::default();
        fold.apply(&entered(1, DAY - 1), midnight);
        assert_eq!((ledger(&fold, 0).live, ledger(&fold, 0).holds()), (1, true));
        fold.apply(&ended(1, DAY + 5), midnight);
        let first = ledger(&fold, 0);
        assert_eq!((first.entered, first.live, first.outcomes["served"]), (1, 0, 1));
        assert_eq!(ledger(&fold, 1), Ledger { outcomes: zeroes(), ..Ledger::default() });
    }

    #[test]
    fn a_second_end_of_one_call_changes_nothing() {
        let mut fold = LedgerFold::default();
        fold.apply(&entered(1, 10), midnight);
        fold.apply(&ended(1, 20), midnight);
        let before = fold.clone();
        fold.apply(&ended(1, 21), midnight);
        assert_eq!(fold, before);
    }

    #[test]
    fn old_days_are_dropped() {
        let mut fold = LedgerFold::default();
        for day in 0..10 {
            fold.apply(&entered(u128::from(day), day * DAY), midnight);
            fold.apply(&ended(u128::from(day), day * DAY + 1), midnight);
        }
        assert_eq!(fold.days.len(), LedgerFold::DAYS_KEPT);
    }

    fn ledger(fold: &LedgerFold, day: u64) -> Ledger {
        fold.day(RegionId(22), Moment::from_secs(day * DAY))
    }
    fn zeroes() -> BTreeMap<String, u64> {
        Outcome::ALL.iter().map(|outcome| (outcome.as_str().to_owned(), 0)).collect()
    }
    fn midnight(_: RegionId, at: Moment) -> Moment {
        Moment::from_secs(at.as_unix_seconds() / DAY * DAY)
    }
    fn entered(call: u128, secs: u64) -> Stamped {
        let call = CallId(Uuid::from_u128(call));
        let fact = Fact::CallEntered { call, region: RegionId(22), trunk: "mts".into(), dialled: "122".into(), person: None };
        Stamped { at: Moment::from_secs(secs), fact }
    }
    fn ended(call: u128, secs: u64) -> Stamped {
        let fact = Fact::CallEnded { call: CallId(Uuid::from_u128(call)), outcome: Outcome::Served };
        Stamped { at: Moment::from_secs(secs), fact }
    }
}
