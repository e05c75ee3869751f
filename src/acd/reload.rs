//! New rules over a running floor: who waits follows them, who talks finishes the talk.

use super::agent::{AgentNo, Idle, State, Wish};
use super::groups::Groups;
use super::offers::Offer;
use super::{Acd, Rules};
use crate::clock::Moment;
use crate::facts::QueueLeft;
use crate::ids::{CallId, OfferId};

impl Acd {
    pub(super) fn rules_changed(&mut self, now: Moment, rules: Rules) {
        self.queues.obey(&rules.queues);
        for no in self.agents.numbers() {
            self.agents[no].listed = false;
        }
        for (place, (id, rules)) in rules.agents.iter().enumerate() {
            let no = self.agents.known_or_new(id, now);
            self.agents[no].obey(rules, place as u32);
        }
        self.groups = Groups::form(&mut self.agents, &mut self.queues, &rules.agents);
        self.find_rivals();
        self.callbacks.rules = rules.callbacks;
        self.policy = rules.routing.policy;
        self.overdue_after = rules.routing.overdue_after;
        self.last_agents.rules = rules.routing.last_agent;
        self.duty = rules.duty;
        self.callers_ripen(now);
        self.held_follow_the_rules(now);
        // Nobody is matched before everybody stands where the new rules want them.
        self.withdraw_offers_against_the_rules(now);
        self.send_agents_to_their_states(now);
        self.callers_follow_the_rules(now);
        self.callbacks_follow_the_rules(now);
        self.ready_agents_take_callers(now);
        self.lent_phones_go_to_who_waits(now);
        let calls: Vec<CallId> = self.callers.keys().copied().collect();
        for call in calls {
            self.ask_overflow(now, call);
        }
    }

    /// The callers stand in the order of their queue again.
    fn withdraw_offers_against_the_rules(&mut self, now: Moment) {
        let against = |offer: &Offer| {
            let agent = &self.agents[offer.agent];
            let stage = self.callers.get(&offer.call).map(|caller| caller.stage).unwrap_or_default();
            !agent.listed || !self.groups[agent.group].serves(offer.queue, stage)
        };
        let against: Vec<OfferId> = self.offers.iter().filter(|(_, offer)| against(offer)).map(|(id, _)| *id).collect();
        for id in against {
            let Some(offer) = self.withdraw_offer(id) else { continue };
            if self.callers.get(&offer.call).is_some_and(|caller| caller.is_callback)
                && !self.callbacks.waits_in_order(offer.call)
            {
                self.callback_found_nobody(now, offer.call);
            } else if let Some(caller) = self.callers.get(&offer.call).filter(|caller| !caller.rings()) {
                self.queues[caller.queue].waiting.insert(caller.stage, caller.rank);
            }
            if let State::Offered { then, idle, .. } = &self.agents[offer.agent].state {
                let state = self.agents[offer.agent].state_for(then.clone(), *idle);
                self.agent_becomes(now, offer.agent, state);
            }
        }
    }

    fn send_agents_to_their_states(&mut self, now: Moment) {
        for no in self.agents.numbers() {
            let agent = &mut self.agents[no];
            match &agent.state {
                State::Talking { .. } => {}
                State::Offline | State::Unreachable if agent.listed && agent.always_ready && agent.overridden.is_none() => {
                    agent.reachable = true;
                    let idle = self.new_idle(now);
                    self.agent_becomes(now, no, State::Ready { idle });
                }
                State::Offline | State::Unreachable | State::Ready { .. } | State::Offered { .. } => {
                    self.leave_if_removed(now, no);
                }
                State::WrapUp { .. } | State::OnBreak { .. } => self.leave_if_removed(now, no),
            }
        }
    }

    /// By the stages of the new rules.
    fn callers_ripen(&mut self, now: Moment) {
        let calls: Vec<CallId> = self.callers.keys().copied().collect();
        for call in calls {
            self.ripen(now, call);
        }
    }

    fn leave_if_removed(&mut self, now: Moment, no: AgentNo) {
        if !self.agents[no].listed {
            self.agent_becomes(now, no, State::Offline);
        }
    }

    fn callers_follow_the_rules(&mut self, now: Moment) {
        // Callbacks follow by their tasks.
        let calls: Vec<CallId> = self.callers.iter().filter(|(_, caller)| !caller.is_callback).map(|(call, _)| *call).collect();
        for call in calls {
            if self.callers.get(&call).is_some_and(|caller| self.queues[caller.queue].listed) {
                self.set_caller_deadlines(now, call);
            } else {
                self.overflow(now, call, QueueLeft::Transferred);
            }
        }
    }

    /// The longest idle chooses first, except that whoever missed the very caller who is next lets the others choose before.
    /// Every round but the last settles somebody: the best of all postponed callers cannot have been missed by two.
    fn ready_agents_take_callers(&mut self, now: Moment) {
        let mut ready: Vec<(Idle, AgentNo)> = self.groups.iter().flat_map(|group| group.ready.iter().copied()).collect();
        ready.sort_unstable();
        loop {
            let before = ready.len();
            ready.retain(|(idle, no)| {
                // Another's phone may have brought this one to ring as well.
                if !matches!(self.agents[*no].state, State::Ready { .. }) {
                    return false;
                }
                let postponed = self.others_may_take_the_missed(now, *no);
                if !postponed {
                    self.agent_goes_on_idle_since(now, *no, Wish::Work, *idle);
                }
                postponed
            });
            if ready.len() == before {
                return;
            }
        }
    }

    fn others_may_take_the_missed(&self, now: Moment, no: AgentNo) -> bool {
        let next = self.choose_caller(now, no).and_then(|choice| self.callers.get(&choice.call));
        next.is_some_and(|caller| {
            caller.missed_by == Some(no) && self.somebody_ready(&self.queues[caller.queue], caller.stage, Some(no))
        })
    }
}
