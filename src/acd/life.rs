//! A new life of the engine: the floor is as it was left, but calls of the former life go on only if they are kept.

use super::Acd;
use super::agent::{Agent, State};
use crate::clock::Moment;
use crate::facts::{Party, QueueLeft};
use crate::ids::{AgentId, CallId, IdSource, OfferId};
use std::collections::BTreeSet;

impl Acd {
    /// Ids count in this epoch from here on, so that offers of two lives never meet. Taken from the state of this brain and not from
    /// what others believe of it: whoever waits, is offered or talks here, but for those kept, has no call behind them any more.
    pub(super) fn life_begins(&mut self, now: Moment, epoch: u32, kept: &BTreeSet<CallId>) {
        self.ids = IdSource::new(epoch);
        // Those without an offer first, so that no agent who is freed rings for one of the dead.
        let (ringing, waiting): (Vec<_>, Vec<_>) = self
            .callers
            .iter()
            .filter(|(call, _)| !kept.contains(call) && self.callbacks.is_begun(**call))
            .map(|(call, caller)| (*call, caller.offer))
            .partition(|(_, offer)| offer.is_some());
        for (call, _) in waiting.into_iter().chain(ringing) {
            self.caller_left(now, call, QueueLeft::EngineFailed);
        }
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

    /// Whether this caller waits, and which offer is in the air for them.
    pub fn stands(&self, call: CallId) -> Option<Option<(OfferId, AgentId)>> {
        let caller = self.callers.get(&call)?;
        let offer = caller.offer.and_then(|id| Some((id, self.agents.get(self.offers.get(&id)?.agent)?.id.clone())));
        Some(offer)
    }
}
