//! The engine's own queue brain as the router of a simulation.

use super::CLASSES;
use super::input::{Roster, Seat};
use super::run::{CallbackStep, Floor, Ring};
use crate::acd::{
    Acd, AgentRules, CallbackDialling, CallbackRules, Command, Estimate, Event, Missed, QueueRules, Routing, Rules, Seek, Way,
    WhileWaiting,
};
use crate::clock::Moment;
use crate::facts::{AttemptEnd, Booking, Fact, Outcome, Party, QueueLeft};
use crate::ids::{AgentId, CallId, IdSource, OfferId, PersonId, QueueId, RegionId, Skill, TaskId, TrunkId};
use crate::routing::Policy;
use crate::skills::Requirement;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// Longer than any `--ring-s`: the simulated agents always answer.
const RING: Duration = Duration::from_secs(3_600);

pub(super) struct EngineFloor {
    acd: Acd,
    rules: Rules,
    seats: Vec<Seat>,
    agents: Vec<AgentId>,
    agent_numbers: BTreeMap<AgentId, usize>,
    /// How many seats of an agent are open: rows may touch or overlap.
    open: Vec<u32>,
    queues: [QueueId; CLASSES.len()],
    offers: BTreeMap<usize, OfferId>,
    /// The call out of each callback in the air, and the citizen's call that it follows.
    calls_out: BTreeMap<CallId, usize>,
    told: Vec<Announced>,
}

/// What a waiting caller was told.
pub(super) struct Announced {
    pub call: usize,
    pub wait: Duration,
    pub fewer_agents: bool,
}

/// Over which the calls of a trace come.
pub(super) const TRUNK: &str = "trunk";

impl EngineFloor {
    /// By the default policy if none is named. `pooled`: everybody can do everything. `dialling`: who is owed a callback gets it.
    pub fn new(roster: &Roster, policy: Option<Policy>, pooled: bool, dialling: Option<&CallbackDialling>) -> Self {
        let agents: Vec<AgentId> = roster.agents.iter().map(|name| AgentId::from(name.as_str())).collect();
        let mut seats = roster.seats.clone();
        if pooled {
            let everything: Vec<(usize, u8)> = (0..CLASSES.len()).map(|class| (class, 50)).collect();
            seats.iter_mut().for_each(|seat| seat.skills = everything.clone());
        }
        let mut routing = Routing::installed();
        if let Some(policy) = policy {
            routing = Routing { policy, overdue_after: None, ..routing };
        }
        let queues = CLASSES.map(|(name, target)| (QueueId::from(name), queue_rules(name, target)));
        let mut first_seats: BTreeMap<AgentId, AgentRules> = BTreeMap::new();
        for seat in &seats {
            first_seats.entry(agents[seat.agent].clone()).or_insert_with(|| agent_rules(seat));
        }
        let callbacks = CallbackRules { dial: dialling.cloned(), ..CallbackRules::default() };
        let rules =
            Rules { queues: queues.into_iter().collect(), agents: first_seats, callbacks, routing, duty: Default::default() };
        let mut floor = Self {
            acd: Acd::new(IdSource::new(0)),
            agent_numbers: agents.iter().cloned().enumerate().map(|(no, id)| (id, no)).collect(),
            open: vec![0; agents.len()],
            queues: CLASSES.map(|(name, _)| QueueId::from(name)),
            offers: BTreeMap::new(),
            calls_out: BTreeMap::new(),
            told: Vec::new(),
            rules,
            seats,
            agents,
        };
        floor.acd.handle(Moment::ZERO, Event::RulesChanged(Box::new(floor.rules.clone())));
        let ids: Vec<AgentId> = floor.agents.clone();
        for agent in ids {
            floor.acd.handle(Moment::ZERO, Event::AgentReachable { agent, reachable: true });
        }
        floor
    }

    /// Callers hear how long: first after, then each.
    pub fn with_announcements(mut self, first: Duration, each: Duration) -> Self {
        self.rules.queues.values_mut().for_each(|queue| queue.announce = Some((first, each)));
        self.acd.handle(Moment::ZERO, Event::RulesChanged(Box::new(self.rules.clone())));
        self
    }

    /// What was promised to a caller who waits.
    pub fn promise_of(&self, call: usize) -> Option<Estimate> {
        self.acd.promise_of(id(call))
    }

    /// What callers were told since this was asked last.
    pub fn announced(&mut self) -> Vec<Announced> {
        std::mem::take(&mut self.told)
    }
}

impl Floor for EngineFloor {
    fn seat_begins(&mut self, now: Moment, seat: usize) {
        let seat = &self.seats[seat];
        let agent = self.agents[seat.agent].clone();
        let rules = agent_rules(seat);
        if self.rules.agents.get(&agent) != Some(&rules) {
            self.rules.agents.insert(agent.clone(), rules);
            self.acd.handle(now, Event::RulesChanged(Box::new(self.rules.clone())));
        }
        self.open[seat.agent] += 1;
        self.acd.handle(now, Event::AgentReady { agent });
    }

    fn seat_ends(&mut self, now: Moment, seat: usize) {
        let agent = self.seats[seat].agent;
        self.open[agent] -= 1;
        if self.open[agent] == 0 {
            self.acd.handle(now, Event::AgentOffline { agent: self.agents[agent].clone() });
        }
    }

    fn caller_comes(&mut self, now: Moment, call: usize, class: usize) {
        let queue = self.queues[class].clone();
        self.acd.handle(now, Event::CallerQueued { call: id(call), queue, person: None, priority: 0, urgent: false });
    }

    fn caller_leaves(&mut self, now: Moment, call: usize) {
        self.offers.remove(&call);
        self.acd.handle(now, Event::CallerLeft { call: id(call), why: QueueLeft::Abandoned });
    }

    fn agent_answers(&mut self, now: Moment, call: usize) {
        if let Some(offer) = self.offers.remove(&call) {
            self.acd.handle(now, Event::OfferAnswered { offer });
        }
    }

    fn talk_ends(&mut self, now: Moment, agent: usize, call: usize) {
        self.acd.handle(now, Event::TalkEnded { agent: self.agents[agent].clone(), call: id(call), by: Party::Citizen });
    }

    fn time_passes(&mut self, now: Moment) {
        self.acd.handle_timeout(now);
    }

    fn expected_wait(&self, call: usize) -> Option<Duration> {
        self.acd.expected_wait(id(call))
    }

    fn callback(&mut self, now: Moment, call: usize, step: CallbackStep) {
        match step {
            CallbackStep::Booked { class } => {
                self.acd.handle(now, Event::CallerLeft { call: id(call), why: QueueLeft::CallbackBooked });
                self.acd.handle(now, Event::CallMissed(booked(call, self.queues[class].clone())));
            }
            CallbackStep::Taken => {
                if let Some(offer) = self.offers.remove(&call) {
                    self.acd.handle(now, Event::OfferAnswered { offer });
                }
            }
            CallbackStep::Reached => {
                if let Some(out) = self.call_out(call) {
                    self.acd.handle(now, Event::CallbackAttempted { call: out, end: AttemptEnd::Reached });
                }
            }
            CallbackStep::NotReached { agent } => {
                if let Some(out) = self.call_out(call) {
                    self.acd.handle(now, Event::CallbackAttempted { call: out, end: AttemptEnd::NoAnswer });
                    self.callback_ends(now, out, agent);
                }
            }
            CallbackStep::TalkEnds { agent } => {
                if let Some(out) = self.call_out(call) {
                    self.callback_ends(now, out, agent);
                }
            }
        }
    }

    fn next(&self) -> Option<Moment> {
        self.acd.poll_timeout()
    }

    fn poll(&mut self) -> Option<Ring> {
        while let Some(command) = self.acd.poll_command() {
            match command {
                Command::Offer { offer, call, agent, .. } => {
                    let agent = *self.agent_numbers.get(&agent)?;
                    let owed = self.calls_out.get(&call).copied();
                    let call = owed.unwrap_or_else(|| number(call));
                    self.offers.insert(call, offer);
                    return Some(if owed.is_some() { Ring::ForCallback { call, agent } } else { Ring::Begins { call, agent } });
                }
                Command::Withdraw { call, .. } => {
                    return Some(match self.calls_out.get(&call) {
                        Some(&call) => Ring::CallbackOff { call },
                        None => Ring::Stops { call: number(call) },
                    });
                }
                Command::CallBack { call, missed, .. } => {
                    self.calls_out.insert(call, number(missed));
                }
                Command::CallbackOff { call } => {
                    if let Some(call) = self.calls_out.remove(&call) {
                        return Some(Ring::CallbackOff { call });
                    }
                }
                Command::Record(Fact::CallbackPromised { call, by, .. }) => {
                    return Some(Ring::Promised { call: number(call), by });
                }
                Command::Announce { call, wait: Some(wait), fewer_agents, .. } => {
                    self.told.push(Announced { call: number(call), wait, fewer_agents });
                }
                Command::Announce { wait: None, .. } | Command::Overflow { .. } | Command::Record(_) => {}
                // No trace knows overflow lists.
                Command::Say { .. } | Command::PromiseCallback { .. } | Command::Moved { .. } | Command::ToRoute { .. } => {}
            }
        }
        None
    }
}

impl EngineFloor {
    fn call_out(&self, owed: usize) -> Option<CallId> {
        self.calls_out.iter().find(|(_, call)| **call == owed).map(|(out, _)| *out)
    }

    fn callback_ends(&mut self, now: Moment, out: CallId, agent: usize) {
        self.calls_out.remove(&out);
        self.acd.handle(now, Event::TalkEnded { agent: self.agents[agent].clone(), call: out, by: Party::Citizen });
    }
}

/// The caller has taken the robot's offer.
fn booked(call: usize, queue: QueueId) -> Missed {
    Missed {
        task: TaskId(call as u64),
        call: id(call),
        region: RegionId::default(),
        queue: Some(queue),
        person: Some(PersonId(Uuid::from_u128(call as u128))),
        outcome: Outcome::CallbackBooked,
        after: Duration::ZERO,
        way: Way { trunk: TrunkId::from(TRUNK), dialled: String::new() },
        booked: Some(Booking::Later),
    }
}

fn queue_rules(name: &str, target: Duration) -> QueueRules {
    QueueRules {
        region: RegionId::default(),
        requires: Requirement::AtLeast(Skill::from(name), 1),
        target,
        priority: 0,
        max_waiting: u32::MAX,
        ring: RING,
        wrap_up: Duration::ZERO,
        announce: None,
        seek: Seek::default(),
        while_waiting: WhileWaiting::default(),
        after_talk: Default::default(),
    }
}

fn agent_rules(seat: &Seat) -> AgentRules {
    let skills = seat.skills.iter().filter_map(|(class, level)| Some((Skill::from(CLASSES.get(*class)?.0), *level)));
    AgentRules { region: RegionId::default(), skills: skills.collect(), always_ready: false, misses_to_break: 0, reserve: false }
}

fn id(call: usize) -> CallId {
    CallId(Uuid::from_u128(call as u128))
}

fn number(call: CallId) -> usize {
    call.0.as_u128() as usize
}
