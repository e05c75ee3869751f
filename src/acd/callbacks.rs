//! Who is still owed a call: one open task a person, whatever happened to how many of their calls; and when they may be called.

use super::agent::AgentNo;
use super::deadlines::Timer;
use super::queue::{Caller, QueueNo};
use super::{CallbackDialling, CallbackRules, OfRegion};
use crate::clock::Moment;
use crate::facts::{Booking, Outcome};
use crate::ids::{AgentId, CallId, PersonId, QueueId, RegionId, TaskId, TrunkId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// No rule makes us ring a person more often than this allows: four times an hour at most.
const LEAST_GAP: Duration = Duration::from_secs(15 * 60);
const DAY: u64 = 86_400;
/// A task whose promise presses stands in a queue so long before its time at most: longer, and callbacks of a rush go back into the rush.
const PRESSES_BEFORE: Duration = Duration::from_secs(15 * 60);
/// Between a caller's leaving the queue for a callback and the word of it lies no more than a turn of the engine.
const BOOKING: Duration = Duration::from_secs(1);
/// A promise is kept within so many days, however short the hours.
const MOST_DAYS: u32 = 30;

/// A call ended in a way that may owe the person a callback; or, with `booked`, the robot has just promised them one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Missed {
    /// The id of a new task, should one be due.
    pub task: TaskId,
    pub call: CallId,
    pub region: RegionId,
    /// The queue they waited in, or would have.
    pub queue: Option<QueueId>,
    pub person: Option<PersonId>,
    pub outcome: Outcome,
    /// The time waited until then.
    pub after: Duration,
    pub way: Way,
    pub booked: Option<Booking>,
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
    /// Tasks for agents for whom nobody waits, by the queue whose agents will do.
    pub due: BTreeMap<QueueNo, BTreeSet<Turn>>,
    /// Calls out: in a queue's order, at an agent's phone or at the citizen's.
    pub called: BTreeMap<CallId, TaskId>,
    /// Calls out that reached nobody and whose agent is not freed yet.
    pub in_vain: BTreeSet<CallId>,
    /// Whose call is in the house: nobody rings them meanwhile.
    pub on_the_line: BTreeMap<PersonId, BTreeSet<CallId>>,
    /// When a person was dialled last; kept for a day.
    dialled: BTreeMap<PersonId, Moment>,
    /// Where a person stood who fell out of a queue or a talk.
    places: BTreeMap<PersonId, Place>,
}

/// Who was cut off in mid-talk before who was missed, then by age.
pub(super) type Turn = (bool, TaskId);

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
    pub last_missed: Moment,
    /// How often the person was missed in vain.
    pub missed: u32,
    pub taken_by: Option<AgentId>,
    /// How often the person was dialled, and how often an agent was sought for it.
    pub attempts: u32,
    pub sought: u32,
    /// The call out for which an agent is sought is known to the engine.
    pub began: bool,
    pub booked: Option<Booking>,
    /// The person is to be called before this.
    pub promised: Option<Moment>,
    /// Since when the task competes with callers, and its order among those of one moment.
    pub entered: Option<(Moment, u64)>,
    /// With whom they were cut off.
    pub agent: Option<AgentNo>,
    pub standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Standing {
    /// For people to take.
    Listed,
    /// The person has rung up and is with the robot, in a queue or in a talk.
    OnTheLine,
    /// Not before this moment: the gap, the night.
    Rests { until: Moment },
    /// The next free agent of this queue for whom nobody waits; from `until` on the promise presses.
    Due { queue: QueueNo, until: Option<Moment> },
    /// In the order of the queue, like a caller; until the evening.
    Waits { call: CallId, queue: QueueNo, until: Moment },
    /// An agent rings for it alone, or the citizen is dialled, or (`reached`) they talk.
    Called { call: CallId, reached: bool },
}

/// Where the rules want a task that is in nobody's hand.
pub(super) enum Next {
    Stands(Standing),
    /// In this queue's order, by this entry.
    Joins {
        queue: QueueNo,
        until: Moment,
        entered: Moment,
        place: u64,
    },
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    pub queue: QueueNo,
    pub entered: Moment,
    pub place: u64,
    /// The agent with whom they were talking when they were cut off.
    pub cut_from: Option<AgentNo>,
    until: Moment,
}

/// What a list of open callbacks shows of one task.
#[derive(Clone, Debug, PartialEq)]
pub struct CallbackView {
    pub task: TaskId,
    pub region: RegionId,
    pub person: PersonId,
    pub queue: Option<QueueId>,
    /// The call that was missed last, how it ended, and how often the person was missed.
    pub call: CallId,
    pub outcome: Outcome,
    pub since: Moment,
    pub last_missed: Moment,
    pub missed: u32,
    pub taken_by: Option<AgentId>,
    pub attempts: u32,
    pub booked: Option<Booking>,
    pub promised: Option<Moment>,
    /// `listed`, `on_the_line`, `resting`, `due`, `waiting`, `calling` or `talking`.
    pub standing: &'static str,
    /// When it is looked at again, while it rests.
    pub next_attempt: Option<Moment>,
}

impl Task {
    fn view(&self, id: TaskId) -> CallbackView {
        CallbackView {
            task: id,
            region: self.region,
            person: self.person,
            queue: self.queue.clone(),
            call: self.call,
            outcome: self.outcome,
            since: self.since,
            last_missed: self.last_missed,
            missed: self.missed,
            taken_by: self.taken_by.clone(),
            attempts: self.attempts,
            booked: self.booked,
            promised: self.promised,
            standing: self.standing.word(),
            next_attempt: match self.standing {
                Standing::Rests { until } => Some(until),
                Standing::Listed | Standing::OnTheLine | Standing::Due { .. } => None,
                Standing::Waits { .. } | Standing::Called { .. } => None,
            },
        }
    }

    pub fn turn(&self, id: TaskId) -> Turn {
        (self.outcome != Outcome::Cut, id)
    }
}

impl Standing {
    pub fn call(self) -> Option<CallId> {
        match self {
            Standing::Waits { call, .. } | Standing::Called { call, .. } => Some(call),
            Standing::Listed | Standing::OnTheLine | Standing::Rests { .. } | Standing::Due { .. } => None,
        }
    }

    /// When the task is to be looked at again.
    pub fn until(self) -> Option<Moment> {
        match self {
            Standing::Rests { until } | Standing::Waits { until, .. } => Some(until),
            Standing::Due { until, .. } => until,
            Standing::Listed | Standing::OnTheLine | Standing::Called { .. } => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Standing::Listed => "listed",
            Standing::OnTheLine => "on_the_line",
            Standing::Rests { .. } => "resting",
            Standing::Due { .. } => "due",
            Standing::Waits { .. } => "waiting",
            Standing::Called { reached: false, .. } => "calling",
            Standing::Called { reached: true, .. } => "talking",
        }
    }
}

impl Callbacks {
    pub fn views(&self) -> impl Iterator<Item = CallbackView> {
        self.open.iter().map(|(id, task)| task.view(*id))
    }

    pub fn view(&self, id: TaskId) -> Option<CallbackView> {
        self.open.get(&id).map(|task| task.view(id))
    }

    pub fn by_call(&self, call: CallId) -> Option<(TaskId, &Task)> {
        let id = self.called.get(&call)?;
        Some((*id, self.open.get(id)?))
    }

    /// Whether this call out seeks its agent in the order of a queue.
    pub fn waits_in_order(&self, call: CallId) -> bool {
        self.by_call(call).is_some_and(|(_, task)| matches!(task.standing, Standing::Waits { .. }))
    }

    /// Whether the engine knows of this call out.
    pub fn is_begun(&self, call: CallId) -> bool {
        self.by_call(call).is_none_or(|(_, task)| task.began)
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
        let rules =
            self.rules.dial.as_ref().filter(|rules| rules.of(task.region).dial && rules.trunks.contains(&task.way.trunk))?;
        let rested = self.dialled.get(&task.person).map_or(now, |at| *at + rules.gap.max(LEAST_GAP));
        Some(rules.next_open(task.region, rested.max(now)))
    }

    pub fn keep_place(&mut self, now: Moment, person: PersonId, caller: &Caller) {
        self.place_is_kept(now, person, caller.queue, caller.rank.entered, caller.rank.place, None);
    }

    /// Who books a callback has the place at least until the booking is told.
    pub fn keep_booked_place(&mut self, now: Moment, person: PersonId, caller: &Caller) {
        let (queue, entered, place) = (caller.queue, caller.rank.entered, caller.rank.place);
        let until = now + self.rules.place_kept.max(BOOKING);
        self.places.insert(person, Place { queue, entered, place, cut_from: None, until });
    }

    /// Who is cut off in mid-talk comes first when they ring again.
    pub fn keep_first_place(&mut self, now: Moment, person: PersonId, queue: QueueNo, agent: AgentNo) {
        self.place_is_kept(now, person, queue, now, 0, Some(agent));
    }

    fn place_is_kept(
        &mut self,
        now: Moment,
        person: PersonId,
        queue: QueueNo,
        entered: Moment,
        place: u64,
        cut_from: Option<AgentNo>,
    ) {
        self.places.retain(|_, place| place.until > now);
        let until = now + self.rules.place_kept;
        if until > now {
            self.places.insert(person, Place { queue, entered, place, cut_from, until });
        }
    }

    /// The place that is kept for this person: since they fell out, or because they chose to be called at it.
    pub fn place_of(&self, now: Moment, person: PersonId) -> Option<Place> {
        self.places.get(&person).copied().filter(|kept| kept.until > now)
    }

    pub fn forget_place(&mut self, person: PersonId) -> Option<Place> {
        self.places.remove(&person)
    }

    pub fn rings(&mut self, call: CallId, person: PersonId) {
        self.on_the_line.entry(person).or_default().insert(call);
    }

    /// Whether this call was in the house until now.
    pub fn hung_up(&mut self, call: CallId, person: PersonId) -> bool {
        let Some(calls) = self.on_the_line.get_mut(&person) else { return false };
        let was = calls.remove(&call);
        if calls.is_empty() {
            self.on_the_line.remove(&person);
        }
        was
    }

    pub fn deadlines(&self) -> impl Iterator<Item = (Moment, Timer)> {
        self.open.iter().filter_map(|(id, task)| Some((task.standing.until()?, Timer::CallbackRested(*id))))
    }

    /// One open task a person; every task stands where it says, once.
    pub fn is_sound(&self) -> bool {
        let stands = |(id, task): (&TaskId, &Task)| match task.standing {
            Standing::Listed | Standing::OnTheLine | Standing::Rests { .. } => true,
            Standing::Due { queue, .. } => self.due.get(&queue).is_some_and(|due| due.contains(&task.turn(*id))),
            Standing::Waits { call, .. } | Standing::Called { call, .. } => self.called.get(&call) == Some(id),
        };
        let count = |is: fn(&Standing) -> bool| self.open.values().filter(|task| is(&task.standing)).count();
        self.open.len() == self.by_person.len()
            && self.open.iter().all(|(id, task)| self.by_person.get(&task.person) == Some(id))
            && self.open.iter().all(stands)
            && self.due.values().map(BTreeSet::len).sum::<usize>() == count(|standing| matches!(standing, Standing::Due { .. }))
            && self.called.len() == count(|standing| standing.call().is_some())
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
            Outcome::Closed => self.closed.get(&region).copied().unwrap_or_default(),
        }
    }
}

impl CallbackDialling {
    pub(super) fn of(&self, region: RegionId) -> OfRegion {
        self.regions.get(&region).copied().unwrap_or(OfRegion { ahead: 0, dial: true, within: self.within })
    }

    /// The first moment from `at` on in which people of this region may be called.
    fn next_open(&self, region: RegionId, at: Moment) -> Moment {
        let of_day = self.of_day(region, at);
        let (from, to) = (u64::from(self.hours.0), u64::from(self.hours.1));
        let wait = match of_day {
            early if early < from => from - early,
            late if late >= to => DAY - late + from,
            _ => return at,
        };
        Moment::from_secs(at.as_unix_seconds() + wait)
    }

    /// When the hours end that `at`, a moment in them, belongs to.
    pub(super) fn closes(&self, region: RegionId, at: Moment) -> Moment {
        let left = u64::from(self.hours.1).saturating_sub(self.of_day(region, at));
        Moment::from_secs(at.as_unix_seconds() + left)
    }

    fn of_day(&self, region: RegionId, at: Moment) -> u64 {
        at.as_unix_seconds().saturating_add_signed(i64::from(self.of(region).ahead)) % DAY
    }

    /// By when a person of this region is called who is promised it now: the time counts in the hours in which people are called.
    pub(super) fn promise(&self, region: RegionId, now: Moment) -> Moment {
        let (mut at, mut left) = (self.next_open(region, now), self.of(region).within);
        for _ in 0..MOST_DAYS {
            let closes = self.closes(region, at);
            if at + left <= closes {
                return at + left;
            }
            left = left.saturating_sub(closes.since(at));
            at = self.next_open(region, closes);
        }
        at
    }

    /// From when on the promise presses: a task that nobody has called yet joins the order of its queue.
    pub(super) fn presses(&self, region: RegionId, promised: Moment) -> Moment {
        let before = (self.of(region).within / 3).min(PRESSES_BEFORE);
        Moment(promised.0.saturating_sub(u64::try_from(before.as_micros()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> CallbackDialling {
        let within = Duration::from_secs(2 * 3600);
        let barnaul = OfRegion { ahead: 7 * 3600, dial: true, within };
        let regions = BTreeMap::from([(RegionId(22), barnaul)]);
        CallbackDialling {
            attempts: 3,
            gap: Duration::ZERO,
            hours: (9 * 3600, 21 * 3600),
            idle: Some(0),
            within,
            trunks: BTreeSet::new(),
            regions,
        }
    }

    fn hour(hour: u64) -> Moment {
        Moment::from_secs(10 * DAY + hour * 3600)
    }

    #[test]
    fn nobody_is_called_at_night_by_their_own_clock() {
        let rules = rules();
        assert_eq!(rules.next_open(RegionId(22), hour(2)), hour(2), "nine in Barnaul");
        assert_eq!(rules.next_open(RegionId(22), hour(1)), hour(2), "eight in Barnaul");
        assert_eq!(rules.next_open(RegionId(22), hour(14)), hour(26), "nine in the evening there");
        assert_eq!(rules.next_open(RegionId(0), hour(14)), hour(14));
        let last_second = Moment::from_secs(hour(9).as_unix_seconds() - 1);
        assert_eq!([last_second, hour(9), hour(21)].map(|at| rules.next_open(RegionId(0), at)), [hour(9), hour(9), hour(33)]);
    }

    #[test]
    fn who_was_dialled_is_remembered_for_a_day_and_a_place_for_its_time() {
        let mut callbacks = Callbacks::default();
        let person = |no: u128| PersonId(uuid::Uuid::from_u128(no));
        for (no, at) in [(1, 0), (2, 24), (3, 25)] {
            callbacks.was_dialled(hour(at), person(no));
        }
        assert_eq!(callbacks.dialled.keys().copied().collect::<Vec<_>>(), [person(2), person(3)]);
        callbacks.rules.place_kept = Duration::from_secs(3600);
        let queue: QueueNo = serde_json::from_value(0.into()).unwrap();
        for (no, at) in [(1, 0), (2, 1), (3, 1)] {
            callbacks.place_is_kept(hour(at), person(no), queue, hour(at), 0, None);
        }
        assert_eq!(callbacks.places.keys().copied().collect::<Vec<_>>(), [person(2), person(3)]);
    }

    #[test]
    fn a_promise_of_the_evening_is_kept_in_the_morning() {
        let rules = rules();
        assert_eq!(rules.promise(RegionId(0), hour(12)), hour(14));
        assert_eq!(rules.promise(RegionId(0), hour(19)), hour(21), "to the last moment");
        assert_eq!(rules.promise(RegionId(0), hour(20)), hour(24 + 10), "an hour today, an hour tomorrow");
        assert_eq!(rules.promise(RegionId(0), hour(23)), hour(24 + 11));
    }
}
