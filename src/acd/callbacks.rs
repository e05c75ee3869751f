//! Who is still owed a call: one open task a person, whatever happened to how many of their calls; and when they may be called.

use super::deadlines::Timer;
use super::queue::{Caller, QueueNo};
use super::{CallbackDialling, CallbackRules};
use crate::clock::Moment;
use crate::facts::Outcome;
use crate::ids::{AgentId, CallId, PersonId, QueueId, RegionId, TaskId, TrunkId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// No rule makes us ring a person more often than this allows: four times an hour at most.
const LEAST_GAP: Duration = Duration::from_secs(15 * 60);
/// Who hung up in the queue and rings again within this time has the old place.
const PLACE_KEPT: Duration = Duration::from_secs(300);
const DAY: u64 = 86_400;

/// A call ended in a way that may owe the person a callback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Missed {
    /// The id of a new task, should one be due.
    pub task: TaskId,
    pub call: CallId,
    pub region: RegionId,
    /// The queue they waited in, if they came so far.
    pub queue: Option<QueueId>,
    pub person: Option<PersonId>,
    pub outcome: Outcome,
    /// The time waited until then.
    pub after: Duration,
    pub way: Way,
}

/// How a person called, for who calls back: this brain only keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Way {
    pub trunk: TrunkId,
    pub dialled: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Callbacks {
    pub rules: CallbackRules,
    /// The oldest first: task ids are counted out in the order of time.
    pub open: BTreeMap<TaskId, Task>,
    pub by_person: BTreeMap<PersonId, TaskId>,
    /// Tasks for which an agent is sought, by the queue whose agents will do.
    pub due: BTreeMap<QueueNo, BTreeSet<TaskId>>,
    /// Calls out for which an agent rings or the citizen does.
    pub called: BTreeMap<CallId, TaskId>,
    /// Calls out that reached nobody and whose agent is not freed yet.
    pub in_vain: BTreeSet<CallId>,
    /// When a person was dialled last; kept for a gap.
    dialled: BTreeMap<PersonId, Moment>,
    /// Where a person stood who hung up in a queue.
    places: BTreeMap<PersonId, Place>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Task {
    pub region: RegionId,
    pub person: PersonId,
    pub queue: Option<QueueId>,
    pub way: Way,
    /// The call that was missed last.
    pub call: CallId,
    pub outcome: Outcome,
    pub since: Moment,
    /// How often the person was missed in vain.
    pub missed: u32,
    pub taken_by: Option<AgentId>,
    /// How often the person was dialled, and how often an agent was sought for it.
    pub attempts: u32,
    pub sought: u32,
    pub standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Standing {
    /// For people to take.
    Listed,
    /// Not before this moment: the gap, the night, or the person is on the line.
    Rests { until: Moment },
    /// The next free agent of this queue for whom nobody waits.
    Due { queue: QueueNo },
    /// An agent rings, or the citizen does.
    Called { call: CallId },
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Place {
    queue: QueueNo,
    entered: Moment,
    place: u64,
    until: Moment,
}

/// What a list of open callbacks shows of one task.
#[derive(Clone, Debug, PartialEq)]
pub struct CallbackView {
    pub task: TaskId,
    pub region: RegionId,
    pub person: PersonId,
    /// The call that was missed last, and how it ended.
    pub call: CallId,
    pub outcome: Outcome,
    pub since: Moment,
    pub missed: u32,
    pub taken_by: Option<AgentId>,
}

impl Callbacks {
    pub fn views(&self) -> impl Iterator<Item = CallbackView> {
        self.open.iter().map(|(id, task)| CallbackView {
            task: *id,
            region: task.region,
            person: task.person,
            call: task.call,
            outcome: task.outcome,
            since: task.since,
            missed: task.missed,
            taken_by: task.taken_by.clone(),
        })
    }

    /// Whether this call out still seeks its agent or its citizen.
    pub fn is_called(&self, call: CallId) -> bool {
        self.called.contains_key(&call)
    }

    /// Whether the agent of this call is freed of a call out that reached nobody; asked once.
    pub fn was_in_vain(&mut self, call: CallId) -> bool {
        self.in_vain.remove(&call)
    }

    pub fn was_dialled(&mut self, now: Moment, person: PersonId) {
        self.dialled.retain(|_, at| now.since(*at) < Duration::from_secs(DAY));
        self.dialled.insert(person, now);
    }

    /// When this person may be called next; `None` where people do it.
    pub fn may_call(&self, now: Moment, task: &Task) -> Option<Moment> {
        let rules = self.rules.dial.as_ref()?;
        let rested = self.dialled.get(&task.person).map_or(now, |at| *at + rules.gap.max(LEAST_GAP));
        Some(rules.next_open(task.region, rested.max(now)))
    }

    pub fn keep_place(&mut self, now: Moment, person: PersonId, caller: &Caller) {
        self.places.retain(|_, place| place.until > now);
        let (queue, entered, place) = (caller.queue, caller.rank.entered, caller.rank.place);
        self.places.insert(person, Place { queue, entered, place, until: now + PLACE_KEPT });
    }

    /// The place that is kept for this person in this queue: the time of entry and the order in it.
    pub fn take_place(&mut self, now: Moment, person: PersonId, queue: QueueNo) -> Option<(Moment, u64)> {
        let kept = self.places.remove(&person)?;
        (kept.until > now && kept.queue == queue).then_some((kept.entered, kept.place))
    }

    pub fn rests(&self) -> impl Iterator<Item = (Moment, Timer)> {
        self.open.iter().filter_map(|(id, task)| match task.standing {
            Standing::Rests { until } => Some((until, Timer::CallbackRested(*id))),
            Standing::Listed | Standing::Due { .. } | Standing::Called { .. } => None,
        })
    }

    /// One open task a person; every task stands where it says, once.
    pub fn is_sound(&self) -> bool {
        let stands = |(id, task): (&TaskId, &Task)| match task.standing {
            Standing::Listed | Standing::Rests { .. } => true,
            Standing::Due { queue } => self.due.get(&queue).is_some_and(|due| due.contains(id)),
            Standing::Called { call } => self.called.get(&call) == Some(id),
        };
        let count = |is: fn(&Standing) -> bool| self.open.values().filter(|task| is(&task.standing)).count();
        self.open.len() == self.by_person.len()
            && self.open.iter().all(|(id, task)| self.by_person.get(&task.person) == Some(id))
            && self.open.iter().all(stands)
            && self.due.values().map(BTreeSet::len).sum::<usize>() == count(|standing| matches!(standing, Standing::Due { .. }))
            && self.called.len() == count(|standing| matches!(standing, Standing::Called { .. }))
    }
}

impl CallbackRules {
    /// Whether this end of a call owes the person a call, `after` being the time waited until then.
    pub(super) fn is_due(&self, region: RegionId, outcome: Outcome, after: Duration) -> bool {
        match outcome {
            Outcome::Served | Outcome::SelfServed | Outcome::Announced | Outcome::TransferredOut | Outcome::Cancelled => false,
            // The promise itself is the task.
            Outcome::CallbackBooked => true,
            Outcome::AbandonedInMenu => after >= self.menu_after,
            Outcome::AbandonedInQueue => after >= self.queue_after,
            Outcome::Blocked | Outcome::Failed | Outcome::Cut => true,
            Outcome::Closed => self.closed.get(&region).copied().unwrap_or(false),
        }
    }
}

impl CallbackDialling {
    /// The first moment from `at` on in which people of this region may be called.
    fn next_open(&self, region: RegionId, at: Moment) -> Moment {
        let ahead = i64::from(self.ahead.get(&region).copied().unwrap_or(0));
        let of_day = at.as_unix_seconds().saturating_add_signed(ahead) % DAY;
        let (from, to) = (u64::from(self.hours.0), u64::from(self.hours.1));
        let wait = match of_day {
            early if early < from => from - early,
            late if late >= to => DAY - late + from,
            _ => return at,
        };
        Moment::from_secs(at.as_unix_seconds() + wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_called_at_night_by_their_own_clock() {
        let ahead = BTreeMap::from([(RegionId(22), 7 * 3600)]);
        let rules = CallbackDialling { attempts: 3, gap: Duration::ZERO, hours: (9 * 3600, 21 * 3600), ahead, idle: 0 };
        let hour = |hour: u64| Moment::from_secs(10 * DAY + hour * 3600);
        assert_eq!(rules.next_open(RegionId(22), hour(2)), hour(2), "nine in Barnaul");
        assert_eq!(rules.next_open(RegionId(22), hour(1)), hour(2), "eight in Barnaul");
        assert_eq!(rules.next_open(RegionId(22), hour(14)), hour(26), "nine in the evening there");
        assert_eq!(rules.next_open(RegionId(0), hour(14)), hour(14));
    }
}
