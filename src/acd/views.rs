//! What boards, desks and reports may see. Reading changes nothing.

use super::agent::{Agent, State};
use super::{Acd, AgentView, CallbackView, QueueView};
use crate::clock::Moment;
use crate::ids::{AgentId, CallId, RegionId, TaskId};
use std::collections::BTreeMap;
use std::time::Duration;

impl Acd {
    /// The queues of the configuration, by name.
    pub fn queues(&self) -> impl Iterator<Item = QueueView> {
        let mut longest: BTreeMap<_, Moment> = BTreeMap::new();
        let mut callbacks: BTreeMap<_, u32> = BTreeMap::new();
        for caller in self.callers.values() {
            if caller.is_callback {
                *callbacks.entry(caller.queue).or_default() += u32::from(!caller.rings());
                continue;
            }
            let since = longest.entry(caller.queue).or_insert(caller.rank.entered);
            *since = caller.rank.entered.min(*since);
        }
        self.queues.by_name().map(move |(no, queue)| QueueView {
            queue: queue.id.clone(),
            region: queue.rules.region,
            waiting: queue.waiting.len() as u32 + queue.held - callbacks.get(&no).copied().unwrap_or_default(),
            offered: queue.offered,
            longest_since: longest.get(&no).copied(),
            target: queue.rules.target,
            ready_agents: self.groups.staff(no).ready,
            closed: queue.rules.while_waiting.closed,
        })
    }

    /// The agents of the configuration, and who still talks after being taken out of it; by name.
    pub fn agents(&self) -> impl Iterator<Item = AgentView> {
        let seen = |agent: &Agent| agent.listed || matches!(agent.state, State::Talking { .. });
        self.agents.by_name().filter(move |(_, agent)| seen(agent)).map(|(_, agent)| self.view(agent))
    }

    pub fn agent(&self, id: &AgentId) -> Option<AgentView> {
        self.agents.known(id).and_then(|no| self.agents.get(no)).map(|agent| self.view(agent))
    }

    /// The oldest first; of every region if none is named.
    pub fn open_callbacks(&self, region: Option<RegionId>) -> impl Iterator<Item = CallbackView> {
        self.callbacks.views().filter(move |task| region.is_none_or(|region| region == task.region))
    }

    pub fn open_callback(&self, task: TaskId) -> Option<CallbackView> {
        self.callbacks.view(task)
    }

    /// The place in the queue, 1 = next; a caller for whom a phone rings is at 1. `None` for who does not wait.
    pub fn position_of(&self, call: CallId) -> Option<u32> {
        let caller = self.callers.get(&call)?;
        Some(if caller.rings() { 1 } else { self.queues[caller.queue].position(&caller.rank) })
    }

    /// How long a caller who has just come may expect to wait: what would be announced. `None` while nothing is known.
    pub fn expected_wait(&self, call: CallId) -> Option<Duration> {
        self.promise_of(call).map(|estimate| estimate.promised)
    }

    /// Whether the caller has waited so long that nobody who entered later goes first.
    pub fn is_overdue(&self, call: CallId) -> bool {
        self.callers.get(&call).is_some_and(|caller| caller.rank.overdue.0)
    }

    /// The agent for whom alone the caller waits.
    pub fn held_for(&self, call: CallId) -> Option<AgentId> {
        let caller = self.callers.get(&call).filter(|caller| caller.held_until.is_some())?;
        Some(self.agents.get(caller.wants?.agent)?.id.clone())
    }

    /// How much waiting of this caller's has come into effect on the queue's timeline.
    pub fn ripe_wait(&self, call: CallId) -> Option<Duration> {
        let caller = self.callers.get(&call)?;
        self.queues[caller.queue].begins(caller.stage)
    }

    fn view(&self, agent: &Agent) -> AgentView {
        AgentView {
            agent: agent.id.clone(),
            region: agent.region,
            state: agent.state.name(),
            reason: agent.state.reason().map(str::to_owned),
            since: agent.since,
            call: self.call_of(agent),
            reachable: agent.reachable,
            served: agent.served,
            missed: agent.missed,
            until: agent.state.until(),
            overridden: agent.overridden.clone(),
        }
    }

    fn call_of(&self, agent: &Agent) -> Option<CallId> {
        match &agent.state {
            State::Offered { offer, .. } => self.offers.get(offer).map(|offer| offer.call),
            State::Talking { call, .. } => Some(*call),
            State::Offline | State::Unreachable | State::Ready { .. } | State::WrapUp { .. } | State::OnBreak { .. } => None,
        }
    }
}
