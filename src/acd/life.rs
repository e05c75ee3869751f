//! A new life of the engine: the floor is as it was left, but no call of the former life goes on.

use super::Acd;
use super::agent::{Agent, State};
use crate::clock::Moment;
use crate::facts::{Party, QueueLeft};
use crate::ids::{AgentId, CallId, IdSource};

impl Acd {
    /// Ids count in this epoch from here on, so that offers of two lives never meet. Taken from the state of this brain and not from
    /// what others believe of it: whoever waits, is offered or talks here has no call behind them any more.
    pub(super) fn life_begins(&mut self, now: Moment, epoch: u32) {
        self.ids = IdSource::new(epoch);
        // Those without an offer first, so that no agent who is freed rings for one of the dead.
        let (ringing, waiting): (Vec<_>, Vec<_>) =
            self.callers.iter().map(|(call, caller)| (*call, caller.offer)).partition(|(_, offer)| offer.is_some());
        for (call, _) in waiting.into_iter().chain(ringing) {
            self.caller_left(now, call, QueueLeft::EngineFailed);
        }
        let talking = |agent: &Agent| match &agent.state {
            State::Talking { call, .. } => Some((agent.id.clone(), *call)),
            State::Offline | State::Unreachable | State::Ready { .. } | State::Offered { .. } => None,
            State::WrapUp { .. } | State::OnBreak { .. } => None,
        };
        let talks: Vec<(AgentId, CallId)> = self.agents.by_name().filter_map(|(_, agent)| talking(agent)).collect();
        for (agent, call) in talks {
            self.talk_ended(now, &agent, call, Party::Engine);
        }
    }
}
