//! New rules over a running floor: who waits follows them, who talks finishes the talk.

use super::agent::{AgentNo, Idle, State};
use super::matching::Groups;
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
        for (id, rules) in &rules.agents {
            let no = self.agents.known_or_new(id, now);
            self.agents[no].obey(rules);
        }
        self.groups = Groups::form(&mut self.agents, &mut self.queues, &rules.agents);
        self.callbacks.obey(rules.callbacks);
        // Nobody is matched before everybody stands where the new rules want them.
        self.withdraw_offers_against_the_rules(now);
        self.send_agents_to_their_states(now);
        self.callers_follow_the_rules(now);
        for (_, no) in self.ready_agents() {
            self.ready_agent_takes_a_caller(now, no);
        }
    }

    /// The callers stand in the order of their queue again.
    fn withdraw_offers_against_the_rules(&mut self, now: Moment) {
        let against = |offer: &Offer| {
            let agent = &self.agents[offer.agent];
            !agent.listed || !self.groups[agent.group].queues.contains(&offer.queue)
        };
        let against: Vec<OfferId> = self.offers.iter().filter(|(_, offer)| against(offer)).map(|(id, _)| *id).collect();
        for id in against {
            let Some(offer) = self.withdraw_offer(id) else { continue };
            if let Some(caller) = self.callers.get(&offer.call) {
                self.queues[caller.queue].waiting.insert(caller.rank);
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
                State::Offline | State::Unreachable if agent.listed && agent.always_ready => {
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

    fn leave_if_removed(&mut self, now: Moment, no: AgentNo) {
        if !self.agents[no].listed {
            self.agent_becomes(now, no, State::Offline);
        }
    }

    fn callers_follow_the_rules(&mut self, now: Moment) {
        let calls: Vec<CallId> = self.callers.keys().copied().collect();
        for call in calls {
            if self.callers.get(&call).is_some_and(|caller| self.queues[caller.queue].listed) {
                self.set_caller_deadlines(now, call);
            } else {
                self.overflow(now, call, QueueLeft::Transferred);
            }
        }
    }

    fn ready_agents(&self) -> Vec<(Idle, AgentNo)> {
        let mut ready: Vec<_> = self.groups.iter().flat_map(|group| group.ready.iter().copied()).collect();
        ready.sort_unstable();
        ready
    }

    fn ready_agent_takes_a_caller(&mut self, now: Moment, no: AgentNo) {
        if let State::Ready { idle } = self.agents[no].state
            && let Some(choice) = self.choose_caller(now, no)
        {
            self.make_offer(now, choice, idle);
        }
    }
}
