//! A supervisor's word over an agent: it comes true first, even before what the agent wishes meanwhile; after that the agent's own
//! next word counts again, but nothing that the phone or a reload does by itself.

use super::Acd;
use super::agent::{AgentNo, State, Wish};
use crate::clock::Moment;
use crate::facts::{AgentStateName, Fact};
use crate::ids::AgentId;
use serde::{Deserialize, Serialize};

/// What the agent is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    Ready,
    Break { reason: String },
    Offline,
}

/// As boards show it, from the word to the agent's next own one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    pub by: String,
    pub why: String,
    /// It waits for the end of a talk.
    pub awaited: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{by} has decided what comes after this talk ({why}); your wish counts after that")]
pub struct Overridden {
    pub by: String,
    pub why: String,
}

impl Acd {
    /// Whether the agent's own wish counts now.
    pub fn may_wish(&self, agent: &AgentId) -> Result<(), Overridden> {
        let no = self.agents.listed(agent);
        match no.and_then(|no| self.agents[no].overridden.as_ref()).filter(|order| order.awaited) {
            Some(Override { by, why, .. }) => Err(Overridden { by: by.clone(), why: why.clone() }),
            None => Ok(()),
        }
    }

    /// A talk is never cut for it; a phone that rings stops ringing, and a wrap-up or a pause ends.
    pub(super) fn agent_overridden(&mut self, now: Moment, no: AgentNo, order: Order, by: String, why: String) {
        let (state, wish) = match order {
            Order::Ready => (AgentStateName::Ready, Wish::Work),
            Order::Break { reason } => (AgentStateName::OnBreak, Wish::Break(reason)),
            Order::Offline => (AgentStateName::Offline, Wish::Offline),
        };
        let agent = &self.agents[no];
        let (id, region) = (agent.id.clone(), agent.region);
        let reason = if let Wish::Break(reason) = &wish { Some(reason.clone()) } else { None };
        self.record(Fact::AgentOverridden { agent: id, region, state, reason, by: by.clone(), why: why.clone() });
        let agent = &mut self.agents[no];
        agent.forgives();
        agent.overridden = Some(Override { by, why, awaited: true });
        if wish != Wish::Work {
            self.nobody_waits_for(now, no);
        }
        let agent = &mut self.agents[no];
        match &mut agent.state {
            State::Talking { then, .. } => *then = wish,
            State::Offered { then, .. } if wish == Wish::Work => {
                *then = wish;
                agent.overridden = None;
                self.lent_phones_go_to_who_waits(now);
            }
            State::Offered { offer, .. } => {
                let offer = *offer;
                let withdrawn = self.withdraw_offer(offer);
                // The caller looks first, as after a missed offer.
                if let Some(offer) = withdrawn {
                    self.seek_agent(now, offer.call);
                }
                self.agent_goes_on(now, no, wish);
            }
            State::Ready { .. } if wish == Wish::Work => agent.overridden = None,
            State::Offline | State::Unreachable | State::Ready { .. } => self.agent_goes_on(now, no, wish),
            State::WrapUp { .. } | State::OnBreak { .. } => self.agent_goes_on(now, no, wish),
        }
    }
}
