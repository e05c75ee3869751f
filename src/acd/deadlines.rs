//! Everything that happens because time passed: one ordered set, the earliest first.

use super::agent::AgentNo;
use crate::clock::Moment;
use crate::ids::{CallId, OfferId, TaskId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What is due. Each has at most one entry: one ring an offer, one end an agent's state, three a waiting caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Timer {
    RingEnds(OfferId),
    WrapUpEnds(AgentNo),
    PauseEnds(AgentNo),
    Announcement(CallId),
    /// The overflow list of the caller's queue is asked again.
    Overflow(CallId),
    /// The caller comes to the next stage of the queue's timeline, or is overdue.
    Ripens(CallId),
    /// A person may be called back, or the promise to do it presses.
    CallbackRested(TaskId),
    /// The caller has waited for the last agent alone long enough.
    LastAgentWaitEnds(CallId),
}

/// Whoever sets a timer keeps its moment, so that it can be cleared without a search.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Deadlines(BTreeSet<(Moment, Timer)>);

impl Deadlines {
    pub fn set(&mut self, at: Moment, timer: Timer) {
        self.0.insert((at, timer));
    }

    pub fn clear(&mut self, at: Moment, timer: Timer) {
        self.0.remove(&(at, timer));
    }

    pub fn next(&self) -> Option<Moment> {
        self.0.first().map(|(at, _)| *at)
    }

    pub fn pop_due(&mut self, now: Moment) -> Option<Timer> {
        let due = *self.0.first().filter(|(at, _)| *at <= now)?;
        self.0.remove(&due);
        Some(due.1)
    }

    pub fn holds(&self, at: Moment, timer: Timer) -> bool {
        self.0.contains(&(at, timer))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}
