//! What must be true between any two events: as a whole for tests and snapshots, before each offer in every build.

use super::Acd;
use super::agent::{AgentNo, State};
use super::deadlines::Timer;
use super::groups::Staff;
use super::offers::Offer;
use super::queue::{Caller, QueueNo};
use crate::ids::{AgentId, CallId, OfferId, QueueId};

/// A mistake of ours, never the world's.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Violation {
    #[error("{offer} has no agent who is offered it, or no caller who waits for it")]
    OfferWithoutParties { offer: OfferId },
    #[error("caller {call} is not in exactly one place")]
    CallerNotInOnePlace { call: CallId },
    #[error("{agent} would have two live offers")]
    OfferedTwice { agent: AgentId },
    #[error("{agent} is offered a call by no live offer")]
    OfferedByNothing { agent: AgentId },
    #[error("{agent} is not among the ready exactly when ready")]
    WrongAmongReady { agent: AgentId },
    #[error("{agent} is ready while a caller waits in {queue}")]
    FreeWhileWaiting { agent: AgentId, queue: QueueId },
    #[error("{agent}'s phone rings beside another while a caller waits in {queue}")]
    LentWhileWaiting { agent: AgentId, queue: QueueId },
    #[error("{queue} counts its callers wrong")]
    QueueCountsWrong { queue: QueueId },
    #[error("a deadline is missing or left over")]
    Deadlines,
    #[error("a person has two open callbacks or none that is theirs")]
    Callbacks,
    #[error("a number names nothing")]
    NamesNothing,
}

impl Acd {
    /// How often the brain caught itself at a mistake; anything but 0 is a bug of ours.
    pub fn violations(&self) -> u64 {
        self.violations
    }

    /// One live offer an agent, one place a caller.
    pub(super) fn may_be_offered(&self, call: CallId, agent: AgentNo) -> Result<(), Violation> {
        let busy = match &self.agents[agent].state {
            State::Offered { offer, .. } => self.offers.contains_key(offer),
            // The talk that just ended is still the state.
            State::Talking { .. } | State::WrapUp { .. } | State::OnBreak { .. } => false,
            State::Offline | State::Unreachable | State::Ready { .. } => false,
        };
        if busy {
            return Err(Violation::OfferedTwice { agent: self.agents[agent].id.clone() });
        }
        match self.callers.get(&call) {
            Some(caller) if !caller.rings() || self.wants_one_more(caller) => Ok(()),
            Some(_) | None => Err(Violation::CallerNotInOnePlace { call }),
        }
    }

    /// The offer is not made; a caller without one keeps the place, the line goes on.
    pub(super) fn violated(&mut self, violation: Violation, call: CallId) {
        tracing::error!(%violation, %call, "the queue brain caught itself at a mistake");
        self.violations += 1;
        if let Some(caller) = self.callers.get(&call).filter(|caller| !caller.rings() && caller.held_until.is_none()) {
            self.queues[caller.queue].waiting.insert(caller.stage, caller.rank);
        }
    }

    /// Looks at everything: for restored snapshots and tests, not for every event.
    pub fn check(&self) -> Result<(), Violation> {
        self.check_numbers()?;
        self.offers.iter().try_for_each(|(id, offer)| self.check_offer(*id, offer))?;
        self.callers.iter().try_for_each(|(call, caller)| self.check_caller(*call, caller))?;
        self.agents.numbers().try_for_each(|no| self.check_agent(no))?;
        self.lent_phones().iter().try_for_each(|offer| self.check_lent(*offer))?;
        self.callers.values().filter(|caller| self.wants_one_more(caller)).try_for_each(|caller| self.check_rung(caller))?;
        self.check_queues()?;
        self.check_deadlines()?;
        let held = self.callers.values().filter(|caller| caller.held_until.is_some()).count();
        if held != self.last_agents.held_count() || !self.last_agents.is_sound(|no| self.agents.get(no).is_some()) {
            return Err(Violation::NamesNothing);
        }
        if !self.estimator.is_sound(|call| self.callers.contains_key(call)) {
            return Err(Violation::NamesNothing);
        }
        if self.callbacks.is_sound() { Ok(()) } else { Err(Violation::Callbacks) }
    }

    fn check_numbers(&self) -> Result<(), Violation> {
        let queue_is_known = |no| self.queues.get(no).is_some();
        let agents = self.agents.numbers().all(|no| {
            let agent = &self.agents[no];
            let talks_of = if let State::Talking { queue, .. } = &agent.state { queue_is_known(*queue) } else { true };
            self.agents.known(&agent.id) == Some(no) && self.groups.get(agent.group).is_some() && talks_of
        });
        let queues =
            self.queues.numbers().all(|no| self.queues[no].groups.iter().all(|(group, ..)| self.groups.get(*group).is_some()));
        let groups = self.groups.iter().all(|group| {
            group.serves.iter().all(|serves| queue_is_known(serves.queue))
                && group.ready.iter().all(|(_, no)| self.agents.get(*no).is_some())
        });
        let offers = self.offers.values().all(|offer| queue_is_known(offer.queue) && self.agents.get(offer.agent).is_some());
        let callers = self.callers.values().all(|caller| queue_is_known(caller.queue));
        if agents && queues && groups && offers && callers { Ok(()) } else { Err(Violation::NamesNothing) }
    }

    fn check_offer(&self, id: OfferId, offer: &Offer) -> Result<(), Violation> {
        let agent_has_it = matches!(&self.agents[offer.agent].state, State::Offered { offer, .. } if *offer == id);
        let caller_has_it =
            self.callers.get(&offer.call).is_some_and(|caller| caller.offers.contains(&id) && caller.queue == offer.queue);
        if agent_has_it && caller_has_it { Ok(()) } else { Err(Violation::OfferWithoutParties { offer: id }) }
    }

    fn check_caller(&self, call: CallId, caller: &Caller) -> Result<(), Violation> {
        let stands = self.queues[caller.queue].waiting.contains(caller.stage, &caller.rank);
        let rings = caller.rings() && caller.offers.iter().all(|offer| self.offers.contains_key(offer));
        let held = caller.held_until.is_some() && caller.wants.is_some_and(|last| self.last_agents.holds(last.agent, call));
        if u8::from(stands) + u8::from(rings) + u8::from(held) == 1
            && held == caller.held_until.is_some()
            && caller.rank.call == call
        {
            Ok(())
        } else {
            Err(Violation::CallerNotInOnePlace { call })
        }
    }

    fn check_agent(&self, no: AgentNo) -> Result<(), Violation> {
        let agent = &self.agents[no];
        let group = &self.groups[agent.group];
        match &agent.state {
            State::Offered { offer, .. } if !self.offers.contains_key(offer) => {
                Err(Violation::OfferedByNothing { agent: agent.id.clone() })
            }
            State::Ready { idle } if !agent.listed || !group.ready.contains(&(*idle, no)) => {
                Err(Violation::WrongAmongReady { agent: agent.id.clone() })
            }
            State::Ready { .. } if let Some(held) = self.who_waits_for(no) => {
                Err(Violation::FreeWhileWaiting { agent: agent.id.clone(), queue: self.queues[held.queue].id.clone() })
            }
            State::Ready { .. } => {
                match group.serves.iter().find(|s| self.queues[s.queue].waiting.first_from(s.from).is_some()) {
                    Some(serves) => {
                        Err(Violation::FreeWhileWaiting { agent: agent.id.clone(), queue: self.queues[serves.queue].id.clone() })
                    }
                    None => Ok(()),
                }
            }
            State::Offline | State::Unreachable | State::Offered { .. } | State::Talking { .. } => Ok(()),
            State::WrapUp { .. } | State::OnBreak { .. } => Ok(()),
        }
    }

    /// Who is to have more phones has all that are free for them.
    fn check_rung(&self, caller: &Caller) -> Result<(), Violation> {
        let free = |no: &AgentNo| matches!(self.agents[*no].state, State::Ready { .. }) && self.may_ring_beside(*no, caller);
        match self.agents.numbers().find(free) {
            Some(no) => {
                let (agent, queue) = (self.agents[no].id.clone(), self.queues[caller.queue].id.clone());
                Err(Violation::FreeWhileWaiting { agent, queue })
            }
            None => Ok(()),
        }
    }

    fn check_lent(&self, id: OfferId) -> Result<(), Violation> {
        let Some(Offer { agent: no, .. }) = self.offers.get(&id) else { return Ok(()) };
        let agent = &self.agents[*no];
        let waits = |queue: QueueNo, from| self.queues[queue].waiting.first_from(from).is_some();
        let serves = &self.groups[agent.group].serves;
        let queue = serves.iter().find(|serves| waits(serves.queue, serves.from)).map(|serves| serves.queue);
        match queue.or_else(|| self.who_waits_for(*no).map(|held| held.queue)) {
            Some(queue) => Err(Violation::LentWhileWaiting { agent: agent.id.clone(), queue: self.queues[queue].id.clone() }),
            None => Ok(()),
        }
    }

    fn check_queues(&self) -> Result<(), Violation> {
        for no in self.queues.numbers() {
            let queue = &self.queues[no];
            let offered = self.callers.values().filter(|caller| caller.queue == no && caller.rings()).count();
            let stands = |call: &CallId| self.callers.get(call).is_some_and(|caller| caller.queue == no && !caller.rings());
            let (waiting, counted) = (queue.waiting.iter().count(), queue.waiting.len());
            let held = self.callers.values().filter(|caller| caller.queue == no && caller.held_until.is_some()).count();
            let callbacks = self.callers.values().filter(|caller| caller.queue == no && caller.is_callback).count();
            if offered != queue.offered as usize
                || held != queue.held as usize
                || callbacks != queue.callbacks as usize
                || waiting != counted
                || !queue.waiting.iter().all(|rank| stands(&rank.call))
                || self.groups.staff(no) != self.staff_counted_anew(no)
            {
                return Err(Violation::QueueCountsWrong { queue: queue.id.clone() });
            }
        }
        let is_ready = |agent: &AgentNo| matches!(self.agents[*agent].state, State::Ready { .. });
        let mut among_ready = self.groups.iter().flat_map(|group| &group.ready);
        match among_ready.find(|(_, agent)| !is_ready(agent)) {
            Some((_, agent)) => Err(Violation::WrongAmongReady { agent: self.agents[*agent].id.clone() }),
            None => Ok(()),
        }
    }

    fn staff_counted_anew(&self, queue: QueueNo) -> Staff {
        let mut staff = Staff::default();
        for agent in self.agents.numbers().map(|no| &self.agents[no]) {
            if self.groups[agent.group].serves.iter().any(|serves| serves.queue == queue) {
                staff.ready += u32::from(matches!(agent.state, State::Ready { .. }));
                staff.on_duty += u32::from(agent.state.is_on_duty());
            }
        }
        staff
    }

    fn check_deadlines(&self) -> Result<(), Violation> {
        let offers = self.offers.iter().map(|(id, offer)| (offer.ring_ends, Timer::RingEnds(*id)));
        let agents = self.agents.numbers().filter_map(|no| match &self.agents[no].state {
            State::WrapUp { until, .. } => Some((*until, Timer::WrapUpEnds(no))),
            State::OnBreak { until, .. } => until.map(|until| (until, Timer::PauseEnds(no))),
            State::Offline | State::Unreachable | State::Ready { .. } | State::Offered { .. } | State::Talking { .. } => None,
        });
        let announcements =
            self.callers.iter().filter_map(|(call, caller)| Some((caller.announce_at?, Timer::Announcement(*call))));
        let ripening = self.callers.iter().filter_map(|(call, caller)| Some((caller.ripens?, Timer::Ripens(*call))));
        let held = self.callers.iter().filter_map(|(call, caller)| Some((caller.held_until?, Timer::LastAgentWaitEnds(*call))));
        let looks = self.callers.iter().filter_map(|(call, caller)| Some((caller.looks_at?, Timer::Overflow(*call))));
        let due: Vec<_> = offers
            .chain(agents)
            .chain(announcements)
            .chain(ripening)
            .chain(looks)
            .chain(held)
            .chain(self.callbacks.deadlines())
            .collect();
        let all_set = due.iter().all(|(at, timer)| self.deadlines.holds(*at, *timer));
        if all_set && due.len() == self.deadlines.len() { Ok(()) } else { Err(Violation::Deadlines) }
    }
}
