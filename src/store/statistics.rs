//! The figures by which lines are compared: service level in its three forms, speed of answer, handle time, abandonment, occupancy.
//! Counts come from the tables, formulas stand here; docs/GLOSSARY.md names their sources.

use super::AgentChangeRow;
use crate::clock::Moment;
use crate::ids::{AgentId, QueueId};
use std::collections::BTreeMap;
use std::time::Duration;

/// An agent of whom nothing was heard for so long before a span was not there when it began.
pub const HEARD_WITHIN: Duration = Duration::from_secs(86_400);

/// What became of the visits to a queue, over the calls that entered in a span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueVisits {
    /// All visits, those that still wait included.
    pub offered: u64,
    pub answered: u64,
    /// Answered after no more than the threshold.
    pub answered_within: u64,
    pub answered_wait: Duration,
    pub abandoned: u64,
    pub abandoned_within: u64,
    pub waiting: u64,
}

/// Of the same calls: talks that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Talks {
    pub talks: u64,
    pub talked: Duration,
}

/// How long agents were what, all together, within a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentTimes {
    pub ready: Duration,
    pub offered: Duration,
    pub talking: Duration,
    pub wrap_up: Duration,
    pub on_break: Duration,
}

impl QueueVisits {
    pub fn add(&mut self, other: &Self) {
        self.offered += other.offered;
        self.answered += other.answered;
        self.answered_within += other.answered_within;
        self.answered_wait += other.answered_wait;
        self.abandoned += other.abandoned;
        self.abandoned_within += other.abandoned_within;
        self.waiting += other.waiting;
    }

    /// Of those answered.
    pub fn service_level_of_answered(&self) -> Option<f64> {
        share(self.answered_within, self.answered)
    }

    /// Of those answered or abandoned.
    pub fn service_level_of_offered(&self) -> Option<f64> {
        share(self.answered_within, self.answered + self.abandoned)
    }

    /// Of those answered or abandoned, without who gave up before the threshold.
    pub fn service_level_without_short_abandons(&self) -> Option<f64> {
        share(self.answered_within, self.answered + self.abandoned - self.abandoned_within)
    }

    /// ASA: the mean wait of those answered.
    pub fn speed_of_answer_s(&self) -> Option<f64> {
        mean_s(self.answered_wait, self.answered)
    }

    pub fn abandoned_share(&self) -> Option<f64> {
        share(self.abandoned, self.answered + self.abandoned)
    }
}

impl AgentTimes {
    /// Oldest first, beginning [`HEARD_WITHIN`] before `from`, so that who came before it counts.
    pub fn of(changes: &[AgentChangeRow], from: Moment, to: Moment) -> Self {
        let mut times = Self::default();
        let mut last: BTreeMap<&AgentId, (&str, Moment)> = BTreeMap::new();
        for change in changes {
            if let Some((state, since)) = last.insert(&change.agent, (&change.state, change.at)) {
                times.add(state, since.max(from), change.at.min(to));
            }
        }
        for (state, since) in last.into_values() {
            times.add(state, since.max(from), to);
        }
        times
    }

    fn add(&mut self, state: &str, since: Moment, until: Moment) {
        let time = match state {
            "ready" => &mut self.ready,
            "offered" => &mut self.offered,
            "talking" => &mut self.talking,
            "wrap_up" => &mut self.wrap_up,
            "on_break" => &mut self.on_break,
            _ => return,
        };
        *time += until.since(since);
    }

    /// AHT: talk, hold included, and wrap-up over the talks.
    pub fn handle_time_s(&self, talks: Talks) -> Option<f64> {
        mean_s(talks.talked + self.wrap_up, talks.talks)
    }

    /// The share of the time on duty, breaks left out, in which agents were busy with a call: rung, talking, or wrapping up.
    pub fn occupancy(&self) -> Option<f64> {
        let busy = self.offered + self.talking + self.wrap_up;
        let on_duty = busy + self.ready;
        (!on_duty.is_zero()).then(|| busy.as_secs_f64() / on_duty.as_secs_f64())
    }
}

/// The visits by queue, and all of them together.
pub fn together(queues: &BTreeMap<QueueId, QueueVisits>) -> QueueVisits {
    let mut all = QueueVisits::default();
    queues.values().for_each(|queue| all.add(queue));
    all
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn mean_s(sum: Duration, count: u64) -> Option<f64> {
    (count > 0).then(|| sum.as_secs_f64() / count as f64)
}
