//! One offer: from the first ring to the answer, the miss or the withdrawal.

use super::agent::{AgentNo, Idle, State, Wish};
use super::deadlines::Timer;
use super::matching::Choice;
use super::queue::{Caller, QueueNo};
use super::{Acd, Command};
use crate::clock::Moment;
use crate::facts::{Fact, MissReason, OfferEnd};
use crate::ids::{CallId, OfferId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A ring of no length would miss, return and ring again within one turn, for ever.
const LEAST_RING: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    pub call: CallId,
    pub agent: AgentNo,
    pub queue: QueueNo,
    pub ring_ends: Moment,
}

impl Acd {
    /// Whether it rings now.
    pub(super) fn make_offer(&mut self, now: Moment, choice: Choice, idle: Idle) -> bool {
        let Choice { call, agent, why } = choice;
        if let Err(violation) = self.may_be_offered(call, agent) {
            self.violated(violation, call);
            return false;
        }
        self.no_longer_held(call);
        self.callback_is_offered(call);
        let Some(caller) = self.callers.get_mut(&call) else { return false };
        let offer = self.ids.offer();
        let queue = &mut self.queues[caller.queue];
        queue.waiting.remove(caller.stage, &caller.rank);
        queue.offered += u32::from(!caller.rings());
        queue.asked_last = Some(agent);
        caller.offers.push(offer);
        let ring_ends = now + queue.rules.ring.max(LEAST_RING);
        let queue_id = queue.id.clone();
        self.offers.insert(offer, Offer { call, agent, queue: caller.queue, ring_ends });
        self.deadlines.set(ring_ends, Timer::RingEnds(offer));
        let agent_id = self.agents[agent].id.clone();
        self.record(Fact::OfferMade { offer, call, agent: agent_id.clone(), queue: queue_id.clone(), why });
        self.agent_becomes(now, agent, State::Offered { offer, idle, then: Wish::Work });
        self.command(Command::Offer { offer, call, agent: agent_id, queue: queue_id });
        true
    }

    pub(super) fn offer_answered(&mut self, now: Moment, id: OfferId) {
        // A late answer names an offer that is gone and changes nothing.
        let Some(offer) = self.end_offer(id, OfferEnd::Answered) else { return };
        let State::Offered { then, .. } = &self.agents[offer.agent].state else { return };
        let then = then.clone();
        let is_callback = self.callers.get(&offer.call).is_some_and(|caller| caller.is_callback);
        if let Some(caller) = self.callers.get(&offer.call).filter(|_| !is_callback) {
            self.demand.wait_ended(now, offer.queue, now.since(caller.rank.entered));
            let rang = now.since(self.agents[offer.agent].since);
            self.estimator.answered(now, offer.queue, offer.call, rang);
        }
        let caller = self.forget_caller(offer.call);
        let beside = caller.as_ref().map(|caller| self.withdraw_offers(caller)).unwrap_or_default();
        let person = caller.and_then(|caller| caller.person);
        self.callback_is_taken(offer.call);
        let agent = &mut self.agents[offer.agent];
        agent.answered();
        // The talk of a callback begins when the citizen picks up.
        if !is_callback {
            let fact =
                Fact::TalkStarted { call: offer.call, agent: agent.id.clone(), queue: self.queues[offer.queue].id.clone() };
            self.record(fact);
        }
        self.agent_becomes(now, offer.agent, State::Talking { call: offer.call, queue: offer.queue, person, then });
        self.agents_after_withdrawal(now, beside);
    }

    pub(super) fn ring_ends(&mut self, now: Moment, id: OfferId) {
        if let Some(offer) = self.offers.get(&id) {
            let call = offer.call;
            self.command(Command::Withdraw { offer: id, call });
            self.offer_missed(now, id, MissReason::NoAnswer);
        }
    }

    pub(super) fn offer_missed(&mut self, now: Moment, id: OfferId, reason: MissReason) {
        let Some(offer) = self.end_offer(id, OfferEnd::Missed(reason)) else { return };
        if let Some(caller) = self.callers.get_mut(&offer.call) {
            caller.missed_by = Some(offer.agent);
        }
        // The caller looks first, while this agent is not yet ready: somebody else comes before the same phone again.
        self.seek_agent(now, offer.call);
        self.agent_missed(now, offer.agent, reason);
    }

    /// Stops the ringing because of the caller or of new rules. The agent keeps the idle time; what they do next is the caller's
    /// business, who may have to be placed first.
    pub(super) fn withdraw_offer(&mut self, id: OfferId) -> Option<Offer> {
        let offer = self.end_offer(id, OfferEnd::Withdrawn)?;
        self.command(Command::Withdraw { offer: id, call: offer.call });
        Some(offer)
    }

    /// All that ring for a caller who is forgotten; gives their agents, like [`Acd::withdraw_offer`].
    pub(super) fn withdraw_offers(&mut self, caller: &Caller) -> Vec<AgentNo> {
        caller.offers.iter().filter_map(|offer| self.withdraw_offer(*offer)).map(|offer| offer.agent).collect()
    }

    pub(super) fn agents_after_withdrawal(&mut self, now: Moment, agents: Vec<AgentNo>) {
        for agent in agents {
            self.agent_after_withdrawal(now, agent);
        }
    }

    pub(super) fn agent_after_withdrawal(&mut self, now: Moment, no: AgentNo) {
        if let State::Offered { then, idle, .. } = &self.agents[no].state {
            let (then, idle) = (then.clone(), *idle);
            self.agent_goes_on_idle_since(now, no, then, idle);
        }
    }

    fn end_offer(&mut self, id: OfferId, end: OfferEnd) -> Option<Offer> {
        let offer = self.offers.remove(&id)?;
        self.deadlines.clear(offer.ring_ends, Timer::RingEnds(id));
        if let Some(caller) = self.callers.get_mut(&offer.call) {
            caller.offers.retain(|rings| *rings != id);
            self.queues[offer.queue].offered -= u32::from(!caller.rings());
        }
        self.record(Fact::OfferEnded { offer: id, end });
        Some(offer)
    }
}
