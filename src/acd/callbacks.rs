//! Who is still owed a call: one open task a person, whatever happened to how many of their calls.

use super::agent::State;
use super::{Acd, CallbackRules};
use crate::clock::Moment;
use crate::facts::{Fact, Outcome, TaskEnd};
use crate::ids::{AgentId, CallId, PersonId, RegionId, TaskId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Callbacks {
    rules: CallbackRules,
    /// The oldest first: task ids are counted out in the order of time.
    open: BTreeMap<TaskId, Task>,
    by_person: BTreeMap<PersonId, TaskId>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Task {
    region: RegionId,
    person: PersonId,
    /// The call that was missed last.
    call: CallId,
    outcome: Outcome,
    since: Moment,
    /// How often the person was missed in vain.
    missed: u32,
    taken_by: Option<AgentId>,
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
    pub fn obey(&mut self, rules: CallbackRules) {
        self.rules = rules;
    }

    #[allow(clippy::too_many_arguments)] // the fields of one event
    pub fn call_missed(
        &mut self,
        now: Moment,
        task: TaskId,
        call: CallId,
        region: RegionId,
        person: Option<PersonId>,
        outcome: Outcome,
        after: Duration,
    ) -> Option<Fact> {
        if !self.rules.is_due(region, outcome, after) {
            return None;
        }
        let Some(person) = person else { return Some(Fact::Unreachable { call }) };
        if let Some(id) = self.by_person.get(&person)
            && let Some(open) = self.open.get_mut(id)
        {
            open.call = call;
            open.outcome = outcome;
            open.missed = open.missed.saturating_add(1);
            return Some(Fact::CallbackRepeated { task: *id, call, outcome });
        }
        self.open.insert(task, Task { region, person, call, outcome, since: now, missed: 1, taken_by: None });
        self.by_person.insert(person, task);
        Some(Fact::CallbackOpened { task, region, person, call, outcome })
    }

    pub fn person_served(&mut self, person: PersonId) -> Option<Fact> {
        let task = *self.by_person.get(&person)?;
        self.task_closed(task, TaskEnd::GotThrough)
    }

    pub fn task_closed(&mut self, task: TaskId, how: TaskEnd) -> Option<Fact> {
        let closed = self.open.remove(&task)?;
        self.by_person.remove(&closed.person);
        Some(Fact::CallbackClosed { task, how })
    }

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

    /// One open task a person.
    pub fn is_sound(&self) -> bool {
        self.open.len() == self.by_person.len() && self.open.iter().all(|(id, task)| self.by_person.get(&task.person) == Some(id))
    }
}

impl CallbackRules {
    /// Whether this end of a call owes the person a call, `after` being the time waited until then.
    fn is_due(&self, region: RegionId, outcome: Outcome, after: Duration) -> bool {
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

impl Acd {
    /// The first operator keeps the task, so that nobody is rung by two at once; one who went offline keeps nothing.
    pub(super) fn task_taken(&mut self, id: TaskId, agent: AgentId) {
        let Some(task) = self.callbacks.open.get_mut(&id) else { return };
        let is_here = |agent: &AgentId| self.agents.listed(agent).is_some_and(|no| self.agents[no].state != State::Offline);
        if task.taken_by.as_ref().is_some_and(is_here) {
            return;
        }
        task.taken_by = Some(agent.clone());
        self.record(Fact::CallbackTaken { task: id, agent });
    }
}
