//! A new life of the engine: the floor is as it was left, but calls of the former life go on only if they are kept.

use super::Acd;
use super::agent::{Agent, State, Wish};
use crate::clock::Moment;
use crate::facts::{Party, QueueLeft};
use crate::ids::{AgentId, CallId, IdSource, OfferId, PersonId, QueueId};
use std::collections::BTreeSet;

impl Acd {
    /// Ids count in this epoch from here on, so that offers of two lives never meet. Taken from the state of this brain and not from
    /// what others believe of it: whoever waits, is offered or talks here, but for those kept, has no call behind them any more.
    pub(super) fn life_begins(&mut self, now: Moment, epoch: u32, kept: &BTreeSet<CallId>) {
        self.ids = IdSource::new(epoch);
        let is_dead = |call: &&CallId| !kept.contains(call) && self.callbacks.is_begun(**call);
        let dead: Vec<CallId> = self.callers.keys().filter(is_dead).copied().collect();
        // All of them first, so that no agent who is freed rings for one of the dead.
        let freed: Vec<_> = dead.into_iter().flat_map(|call| self.take_out(now, call, QueueLeft::EngineFailed).1).collect();
        self.agents_after_withdrawal(now, freed);
        let talking = |agent: &Agent| match &agent.state {
            State::Talking { call, .. } if !kept.contains(call) => Some((agent.id.clone(), *call)),
            State::Talking { .. } => None,
            State::Offline | State::Unreachable | State::Ready { .. } | State::Offered { .. } => None,
            State::WrapUp { .. } | State::OnBreak { .. } => None,
        };
        let talks: Vec<(AgentId, CallId)> = self.agents.by_name().filter_map(|(_, agent)| talking(agent)).collect();
        for (agent, call) in talks {
            self.talk_ended(now, &agent, call, Party::Engine);
        }
        self.lines_of_the_former_life(now, |call| kept.contains(&call));
    }

    /// A dialog that stands is right: nobody is offered to who talks. What they wished holds after the talk; a pause is over by then.
    pub(super) fn agent_talks(&mut self, now: Moment, agent: &AgentId, call: CallId, queue: &QueueId, person: Option<PersonId>) {
        let (Some(no), Some(queue)) = (self.agents.listed(agent), self.queues.listed(queue)) else { return };
        let (then, rings) = match &self.agents[no].state {
            // Of two talks of one agent the floor has one already.
            State::Talking { .. } => return,
            State::Offered { offer, then, .. } => (then.clone(), Some(*offer)),
            State::WrapUp { then, .. } => (then.clone(), None),
            State::OnBreak { reason, until: None } => (Wish::Break(reason.clone()), None),
            State::Offline => (Wish::Offline, None),
            State::OnBreak { until: Some(_), .. } | State::Unreachable | State::Ready { .. } => (Wish::Work, None),
        };
        let withdrawn = rings.and_then(|offer| self.withdraw_offer(offer));
        self.agent_becomes(now, no, State::Talking { call, queue, person, then });
        if let Some(offer) = withdrawn {
            self.seek_agent(now, offer.call);
        }
    }

    /// Whether this caller waits, and which offers are in the air for them.
    pub fn stands(&self, call: CallId) -> Option<Vec<(OfferId, AgentId)>> {
        let named = |id: &OfferId| Some((*id, self.agents.get(self.offers.get(id)?.agent)?.id.clone()));
        Some(self.callers.get(&call)?.offers.iter().filter_map(named).collect())
    }
}
