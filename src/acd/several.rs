//! Several phones for one caller: who answers first has them. A phone that rings beside another is lent: it goes to who waits without
//! one, as soon as its agent may serve them.

use super::Acd;
use super::agent::{AgentNo, Idle, State, Wish};
use super::matching::Choice;
use super::queue::{Caller, Queue, QueueNo, Stage};
use crate::clock::Moment;
use crate::ids::{CallId, OfferId};

impl Acd {
    /// Free agents ring beside the one who rings already, as many as the queue wants.
    pub(super) fn ring_more(&mut self, now: Moment, call: CallId) {
        self.free_agents_ring_beside(now, call);
        self.lent_phones_go_to_who_waits(now);
    }

    fn free_agents_ring_beside(&mut self, now: Moment, call: CallId) {
        while let Some((choice, idle)) = self.one_more_phone(now, call)
            && self.make_offer(now, choice, idle)
        {}
    }

    /// Nobody waits without a phone for this agent: rings beside others for who entered first of those that are to have more.
    pub(super) fn agent_rings_beside(&mut self, now: Moment, agent: AgentNo, idle: Idle) -> bool {
        let Some(choice) = self.caller_to_ring_beside(now, agent) else { return false };
        let rings = self.make_offer(now, choice, idle);
        // The one that rang alone until now may serve somebody whom this agent may not.
        self.lent_phones_go_to_who_waits(now);
        rings
    }

    /// No phone stays lent while somebody waits whom its agent may serve; the one lent last goes first.
    pub(super) fn lent_phones_go_to_who_waits(&mut self, now: Moment) {
        // Each round gives one of those who wait a phone.
        while self.some_phone_is_lent()
            && let Some((id, agent)) = self.wanted_lent_phone(now)
            && let Some(offer) = self.withdraw_offer(id)
        {
            self.agent_after_withdrawal(now, agent);
            self.free_agents_ring_beside(now, offer.call);
        }
    }

    fn some_phone_is_lent(&self) -> bool {
        let called: u32 = self.queues.numbers().map(|no| self.queues[no].offered).sum();
        self.offers.len() > called as usize
    }

    fn wanted_lent_phone(&self, now: Moment) -> Option<(OfferId, AgentNo)> {
        let mut lent = self.offers.iter().rev().filter(|(id, _)| self.is_lent(**id)).map(|(id, offer)| (*id, offer.agent));
        lent.find(|(_, agent)| self.choose_caller(now, *agent).is_some())
    }

    /// Whether somebody could take a caller of this queue now, an agent whose phone is lent among them.
    pub(super) fn somebody_free(&self, queue: QueueNo, stage: Stage) -> bool {
        let lent = |id: &OfferId| self.offers.get(id).map(|offer| self.agents[offer.agent].group);
        self.somebody_ready(&self.queues[queue], stage, None)
            || self.lent_phones().iter().filter_map(lent).any(|group| self.groups[group].serves(queue, stage))
    }

    /// Whether one more phone may ring for a caller for whom one rings. Whose last agent rings is left to that agent.
    pub(super) fn wants_one_more(&self, caller: &Caller) -> bool {
        let more = if caller.is_callback { 0 } else { self.queues[caller.queue].rules.seek.more_phones };
        let rings_for_them = |offer: &OfferId| self.offers.get(offer).map(|offer| offer.agent);
        let wanted = caller.wants.map(|last| last.agent);
        caller.rings()
            && caller.offers.len() <= more as usize
            && !caller.offers.iter().filter_map(rings_for_them).any(|agent| Some(agent) == wanted)
    }

    /// Whether this agent could ring beside others for the caller.
    pub(super) fn may_ring_beside(&self, agent: AgentNo, caller: &Caller) -> bool {
        self.wants_one_more(caller)
            && caller.missed_by != Some(agent)
            && self.groups[self.agents[agent].group].serves(caller.queue, caller.stage)
    }

    /// The phones that ring beside another, the one that began last first.
    pub(super) fn lent_phones(&self) -> Vec<OfferId> {
        self.offers.keys().rev().copied().filter(|id| self.is_lent(*id)).collect()
    }

    /// Of an agent who wishes to work, that is: nobody else is served by who goes on a break after the ring.
    fn is_lent(&self, id: OfferId) -> bool {
        let Some(offer) = self.offers.get(&id) else { return false };
        let agent = &self.agents[offer.agent];
        let stays = matches!(&agent.state, State::Offered { then: Wish::Work, .. }) && agent.reachable;
        stays && self.callers.get(&offer.call).is_some_and(|caller| caller.offers.len() > 1)
    }

    fn one_more_phone(&self, now: Moment, call: CallId) -> Option<(Choice, Idle)> {
        let caller = self.callers.get(&call).filter(|caller| self.wants_one_more(caller))?;
        let (Choice { agent, why, .. }, idle) = self.choose_agent(now, caller)?;
        let why = format!("{why}; {}", self.beside(caller));
        (caller.missed_by != Some(agent)).then_some((Choice { call, agent, why }, idle))
    }

    fn caller_to_ring_beside(&self, now: Moment, agent: AgentNo) -> Option<Choice> {
        let serves = &self.groups[self.agents[agent].group].serves;
        let several = |queue: &Queue| queue.rules.seek.more_phones > 0 && queue.offered > 0;
        if !serves.iter().any(|serves| several(&self.queues[serves.queue])) {
            return None;
        }
        let ringing = self.offers.values().filter_map(|offer| self.callers.get(&offer.call));
        let caller = ringing.filter(|caller| self.may_ring_beside(agent, caller)).min_by_key(|caller| caller.rank)?;
        let why = format!("waited {} s; {}", now.since(caller.rank.entered).as_secs(), self.beside(caller));
        Some(Choice { call: caller.rank.call, agent, why })
    }

    fn beside(&self, caller: &Caller) -> String {
        format!("phone {} of {}", caller.offers.len() + 1, self.queues[caller.queue].rules.seek.more_phones + 1)
    }
}
