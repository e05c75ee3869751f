//! One agent's day: offline, ready, offered, talking, wrapping up, on a break; and what a missed offer says about the agent.

use super::deadlines::Timer;
use super::duty::MissPolicy;
use super::groups::GroupNo;
use super::overrides::Override;
use super::queue::QueueNo;
use super::wrap_up::{Held, LastTalk};
use super::{Acd, AgentRules};
use crate::clock::Moment;
use crate::facts::{AgentStateName, Fact, MissReason, Party};
use crate::ids::{AgentId, CallId, OfferId, PersonId, RegionId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::ops::{Index, IndexMut};
use std::time::Duration;

/// Nobody sits at an `always_ready` phone to press "ready" after a break for missed offers.
const UNATTENDED_BREAK: Duration = Duration::from_secs(60);

/// The number of an agent inside this brain. An agent keeps it for the life of the engine, also over a removal and a return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct AgentNo(u32);

impl AgentNo {
    pub fn number(self) -> u64 {
        u64::from(self.0)
    }
}

/// Since when an agent is without work; `turn` orders agents freed at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Idle {
    pub since: Moment,
    pub turn: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum State {
    Offline,
    /// Wants work, but the phone cannot be reached.
    Unreachable,
    Ready {
        idle: Idle,
    },
    /// `idle` is given back if the caller goes while it rings.
    Offered {
        offer: OfferId,
        idle: Idle,
        then: Wish,
    },
    Talking {
        call: CallId,
        queue: QueueNo,
        person: Option<PersonId>,
        then: Wish,
    },
    WrapUp {
        call: CallId,
        queue: QueueNo,
        until: Moment,
        then: Wish,
        held: Held,
    },
    /// With `until` it is a pause that ends by itself.
    OnBreak {
        reason: String,
        until: Option<Moment>,
    },
}

/// What the agent wants next. It waits for the end of what the agent does now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Wish {
    Work,
    Break(String),
    Offline,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Agent {
    pub id: AgentId,
    pub region: RegionId,
    pub always_ready: bool,
    misses_to_break: u8,
    /// Whether the configuration still knows the agent.
    pub listed: bool,
    pub group: GroupNo,
    pub reachable: bool,
    pub state: State,
    /// When the state as a board shows it began.
    pub since: Moment,
    misses_in_a_row: u8,
    failures_in_a_row: u8,
    pub served: u32,
    pub missed: u32,
    /// All talks of this life of the engine, and all time on duty up to `on_duty_since`.
    pub talked: Duration,
    on_duty: Duration,
    on_duty_since: Option<Moment>,
    /// The place in the list of agents, from 0.
    pub listed_at: u32,
    pub last_talk: Option<LastTalk>,
    pub overridden: Option<Override>,
    /// When the agent came to work lately; as many as rules ask about.
    pub comings: VecDeque<Moment>,
    pub left_alone_until: Option<Moment>,
}

/// What follows from a missed offer, unless the agent wished something else meanwhile.
#[derive(Debug, PartialEq)]
enum AfterMiss {
    Work,
    Pause(&'static str, Duration),
    Break(&'static str),
    Unreachable,
}

impl State {
    pub fn name(&self) -> AgentStateName {
        match self {
            State::Offline | State::Unreachable => AgentStateName::Offline,
            State::Ready { .. } => AgentStateName::Ready,
            State::Offered { .. } => AgentStateName::Offered,
            State::Talking { .. } => AgentStateName::Talking,
            State::WrapUp { .. } => AgentStateName::WrapUp,
            State::OnBreak { .. } => AgentStateName::OnBreak,
        }
    }

    pub fn is_on_duty(&self) -> bool {
        match self {
            State::Ready { .. } | State::Offered { .. } | State::Talking { .. } | State::WrapUp { .. } => true,
            State::Offline | State::Unreachable | State::OnBreak { .. } => false,
        }
    }

    /// When it ends by itself.
    pub fn until(&self) -> Option<Moment> {
        match self {
            State::WrapUp { until, .. } => Some(*until),
            State::OnBreak { until, .. } => *until,
            State::Offline | State::Unreachable | State::Ready { .. } | State::Offered { .. } | State::Talking { .. } => None,
        }
    }

    pub fn reason(&self) -> Option<&str> {
        match self {
            State::Unreachable => Some("unreachable"),
            State::OnBreak { reason, .. } => Some(reason),
            State::WrapUp { held: Held::Longer, .. } => Some("longer"),
            State::WrapUp { held: Held::ForCode, .. } => Some("code_missing"),
            State::WrapUp { held: Held::ByTime, .. } => None,
            State::Offline | State::Ready { .. } | State::Offered { .. } | State::Talking { .. } => None,
        }
    }
}

impl Agent {
    fn new(id: AgentId, now: Moment) -> Self {
        Self {
            id,
            region: RegionId::default(),
            always_ready: false,
            misses_to_break: 0,
            listed: false,
            group: GroupNo::NOBODY,
            reachable: false,
            state: State::Offline,
            since: now,
            misses_in_a_row: 0,
            failures_in_a_row: 0,
            served: 0,
            missed: 0,
            talked: Duration::ZERO,
            on_duty: Duration::ZERO,
            on_duty_since: None,
            listed_at: 0,
            last_talk: None,
            overridden: None,
            comings: VecDeque::new(),
            left_alone_until: None,
        }
    }

    pub fn obey(&mut self, rules: &AgentRules, listed_at: u32) {
        self.listed = true;
        self.listed_at = listed_at;
        self.region = rules.region;
        self.always_ready = rules.always_ready;
        self.misses_to_break = rules.misses_to_break;
    }

    /// What the agent becomes when nothing holds them and this is the wish.
    pub fn state_for(&self, wish: Wish, idle: Idle) -> State {
        match wish {
            _ if !self.listed => State::Offline,
            Wish::Offline => State::Offline,
            Wish::Break(reason) => State::OnBreak { reason, until: None },
            Wish::Work if !self.reachable => State::Unreachable,
            Wish::Work => State::Ready { idle },
        }
    }

    /// The share of the time on duty spent in talks, in millionths.
    pub fn occupied_ppm(&self, now: Moment) -> u64 {
        let on_duty = self.on_duty + self.on_duty_since.map_or(Duration::ZERO, |since| now.since(since));
        (self.talked.as_micros() * 1_000_000 / on_duty.as_micros().max(1)) as u64
    }

    pub fn talked_last_in(&self, call: CallId) -> bool {
        self.last_talk.as_ref().is_some_and(|last| last.call == call)
    }

    pub fn answered(&mut self) {
        self.served += 1;
        self.misses_in_a_row = 0;
        self.failures_in_a_row = 0;
    }

    /// What was missed and how often they came counts no more.
    pub fn forgives(&mut self) {
        self.misses_in_a_row = 0;
        self.comings.clear();
        self.left_alone_until = None;
    }

    /// Counts the miss, and says what its reason means for the agent.
    fn judge_miss(&mut self, reason: MissReason, policy: MissPolicy) -> AfterMiss {
        let word = match reason {
            MissReason::NoAnswer => "no_answer",
            MissReason::Busy => "busy",
            MissReason::Rejected => "rejected",
            MissReason::Unregistered | MissReason::Unreachable => "unreachable",
        };
        self.missed += 1;
        if policy.counts {
            self.misses_in_a_row = self.misses_in_a_row.saturating_add(1);
        }
        if policy.counts && self.misses_to_break > 0 && self.misses_in_a_row >= self.misses_to_break {
            self.misses_in_a_row = 0;
            // An empty chair; what else the phone says is the reason of the break too.
            let why = if reason == MissReason::NoAnswer { "missed_offers" } else { word };
            return match self.always_ready {
                true => AfterMiss::Pause(why, UNATTENDED_BREAK),
                false => AfterMiss::Break(why),
            };
        }
        // A static contact registers never: it is tried again like a phone that fails.
        if reason == MissReason::Unregistered && !self.always_ready {
            self.reachable = false;
            return AfterMiss::Unreachable;
        }
        let rest = if policy.longest_rest > policy.rest {
            let doubled = policy.rest.saturating_mul(1 << self.failures_in_a_row.min(16));
            self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
            doubled.min(policy.longest_rest)
        } else {
            self.failures_in_a_row = 0;
            policy.rest
        };
        if rest.is_zero() { AfterMiss::Work } else { AfterMiss::Pause(word, rest) }
    }
}

/// What the world says about an agent.
impl Acd {
    pub(super) fn agent_reachable(&mut self, now: Moment, no: AgentNo, reachable: bool) {
        let agent = &mut self.agents[no];
        agent.reachable = reachable;
        match (&agent.state, reachable) {
            (State::Unreachable, true) => self.agent_comes_to_work(now, no),
            (State::Ready { .. }, false) => self.agent_becomes(now, no, State::Unreachable),
            // A ringing or talking phone ends by itself; the others are asked nothing meanwhile.
            (State::Ready { .. }, true) | (State::Unreachable, false) => {}
            (State::Offered { .. }, _) => self.lent_phones_go_to_who_waits(now),
            (State::Offline | State::Talking { .. }, _) => {}
            (State::WrapUp { .. } | State::OnBreak { .. }, _) => {}
        }
    }

    pub(super) fn agent_wishes(&mut self, now: Moment, no: AgentNo, wish: Wish) {
        let held = self.wrap_up_held(no).is_err();
        let agent = &mut self.agents[no];
        if agent.overridden.as_ref().is_some_and(|order| order.awaited) {
            return;
        }
        agent.overridden = None;
        if wish != Wish::Work {
            self.nobody_waits_for(now, no);
        }
        let agent = &mut self.agents[no];
        match &mut agent.state {
            State::Talking { then, .. } => *then = wish,
            State::Offered { then, .. } => {
                *then = wish;
                self.lent_phones_go_to_who_waits(now);
            }
            State::WrapUp { then, .. } if held => *then = wish,
            State::Ready { .. } if wish == Wish::Work => {}
            State::Offline | State::Unreachable | State::OnBreak { .. } if wish == Wish::Work && agent.reachable => {
                agent.misses_in_a_row = 0;
                self.agent_comes_to_work(now, no);
            }
            State::Offline | State::Unreachable | State::Ready { .. } | State::WrapUp { .. } | State::OnBreak { .. } => {
                agent.misses_in_a_row = 0;
                self.agent_goes_on(now, no, wish);
            }
        }
    }

    pub(super) fn talk_ended(&mut self, now: Moment, agent: &AgentId, call: CallId, by: Party) {
        // An agent taken out of the configuration finishes the talk.
        let Some(no) = self.agents.known(agent) else { return };
        let State::Talking { call: with, queue, person, then } = &self.agents[no].state else { return };
        if *with != call {
            return;
        }
        let (queue, person, then) = (*queue, *person, then.clone());
        if !self.callback_talk_ended(now, call) {
            return self.agent_goes_on(now, no, then);
        }
        let wrap_up = self.queues[queue].rules.wrap_up;
        self.estimator.talk_ended(queue, now.since(self.agents[no].since) + wrap_up);
        if let (Party::Engine | Party::Network, Some(person)) = (by, person) {
            self.callbacks.keep_first_place(now, person, queue, no);
        }
        if let Some(person) = person {
            self.last_agents.spoke(now, person, no);
        }
        self.record(Fact::TalkEnded { call, agent: self.agents[no].id.clone(), by });
        self.wrap_up_begins(now, no, (call, queue), then);
    }

    pub(super) fn pause_ends(&mut self, now: Moment, no: AgentNo) {
        if let State::OnBreak { until: Some(_), .. } = &self.agents[no].state {
            self.agent_goes_on(now, no, Wish::Work);
        }
    }

    /// The offer was missed, the caller looks elsewhere already.
    pub(super) fn agent_missed(&mut self, now: Moment, no: AgentNo, reason: MissReason) {
        let State::Offered { then, .. } = &self.agents[no].state else { return };
        let wish = then.clone();
        let policy = self.duty.misses.of(reason);
        let after = self.agents[no].judge_miss(reason, policy);
        match (wish, after) {
            (Wish::Work, AfterMiss::Pause(reason, length)) => {
                self.agent_becomes(now, no, State::OnBreak { reason: reason.to_owned(), until: Some(now + length) });
            }
            (Wish::Work, AfterMiss::Break(reason)) => self.agent_goes_on(now, no, Wish::Break(reason.to_owned())),
            (wish, AfterMiss::Work | AfterMiss::Pause(..) | AfterMiss::Break(_) | AfterMiss::Unreachable) => {
                self.agent_goes_on(now, no, wish);
            }
        }
    }

    /// Nothing holds the agent: the wish comes true. Who wishes work takes the next caller in the same turn.
    pub(super) fn agent_goes_on(&mut self, now: Moment, no: AgentNo, wish: Wish) {
        let idle = self.new_idle(now);
        self.agent_goes_on_idle_since(now, no, wish, idle);
    }

    pub(super) fn agent_goes_on_idle_since(&mut self, now: Moment, no: AgentNo, wish: Wish, idle: Idle) {
        let state = self.agents[no].state_for(wish, idle);
        let choice = if matches!(state, State::Ready { .. }) { self.choose_caller(now, no) } else { None };
        match choice {
            Some(choice) => {
                self.make_offer(now, choice, idle);
            }
            None if matches!(state, State::Ready { .. }) && self.agent_rings_beside(now, no, idle) => {}
            None if matches!(state, State::Ready { .. }) && self.agent_calls_back(now, no, idle) => {}
            None => self.agent_becomes(now, no, state),
        }
    }

    pub(super) fn new_idle(&mut self, now: Moment) -> Idle {
        self.turns += 1;
        Idle { since: now, turn: self.turns }
    }

    /// The one door to an agent's state: keeps the index of ready agents and the deadlines, and writes the change down.
    pub(super) fn agent_becomes(&mut self, now: Moment, no: AgentNo, state: State) {
        let agent = &mut self.agents[no];
        match (agent.state.is_on_duty(), state.is_on_duty()) {
            (false, true) => {
                agent.on_duty_since = Some(now);
                self.groups.comes_on_duty(agent.group);
            }
            (true, false) => {
                agent.on_duty += agent.on_duty_since.take().map_or(Duration::ZERO, |since| now.since(since));
                self.groups.goes_off_duty(agent.group);
            }
            (true, true) | (false, false) => {}
        }
        if let (State::Talking { .. }, true) = (&agent.state, agent.state != state) {
            agent.talked += now.since(agent.since);
        }
        match &agent.state {
            State::Ready { idle } => self.groups.no_longer_ready(agent.group, *idle, no),
            State::WrapUp { until, .. } => self.deadlines.clear(*until, Timer::WrapUpEnds(no)),
            State::OnBreak { until: Some(until), .. } => self.deadlines.clear(*until, Timer::PauseEnds(no)),
            State::OnBreak { until: None, .. } | State::Offline | State::Unreachable => {}
            State::Offered { .. } | State::Talking { .. } => {}
        }
        match &state {
            State::Ready { idle } => self.groups.ready(agent.group, *idle, no),
            State::WrapUp { until, .. } => self.deadlines.set(*until, Timer::WrapUpEnds(no)),
            State::OnBreak { until: Some(until), .. } => self.deadlines.set(*until, Timer::PauseEnds(no)),
            State::OnBreak { until: None, .. } | State::Offline | State::Unreachable => {}
            State::Offered { .. } | State::Talking { .. } => {}
        }
        match &state {
            // Who works again does as they like.
            State::Offered { .. } => agent.overridden = None,
            State::Talking { .. } | State::WrapUp { .. } => {}
            State::Offline | State::Unreachable | State::Ready { .. } | State::OnBreak { .. } => {
                agent.overridden.iter_mut().for_each(|order| order.awaited = false);
            }
        }
        let changed = agent.state != state;
        let goes_on = matches!((&agent.state, &state), (State::WrapUp { .. }, State::WrapUp { .. }));
        agent.state = state;
        if changed {
            // A wrap-up that is made longer began when it began.
            agent.since = if goes_on { agent.since } else { now };
            let (state, reason) = (agent.state.name(), agent.state.reason().map(str::to_owned));
            let on_duty = agent.state.is_on_duty();
            let (id, is_gone) = (agent.id.clone(), agent.state == State::Offline);
            let fact = Fact::AgentChanged { agent: id.clone(), region: agent.region, state, reason };
            self.record(fact);
            if is_gone {
                self.tasks_are_nobodys(now, &id);
            }
            if !on_duty {
                self.nobody_waits_for(now, no);
            }
        }
    }
}

/// All agents this life of the engine has known.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Agents {
    list: Vec<Agent>,
    numbers: BTreeMap<AgentId, AgentNo>,
}

impl Agents {
    /// The number of an agent in the configuration.
    pub fn listed(&self, id: &AgentId) -> Option<AgentNo> {
        self.known(id).filter(|no| self[*no].listed)
    }

    pub fn known(&self, id: &AgentId) -> Option<AgentNo> {
        self.numbers.get(id).copied()
    }

    pub fn known_or_new(&mut self, id: &AgentId, now: Moment) -> AgentNo {
        if let Some(no) = self.known(id) {
            return no;
        }
        let no = AgentNo(self.list.len() as u32);
        self.list.push(Agent::new(id.clone(), now));
        self.numbers.insert(id.clone(), no);
        no
    }

    /// In the order in which they became known.
    pub fn numbers(&self) -> impl Iterator<Item = AgentNo> + use<> {
        (0..self.list.len() as u32).map(AgentNo)
    }

    /// By name.
    pub fn by_name(&self) -> impl Iterator<Item = (AgentNo, &Agent)> {
        self.numbers.values().map(|no| (*no, &self[*no]))
    }

    pub fn get(&self, no: AgentNo) -> Option<&Agent> {
        self.list.get(no.0 as usize)
    }
}

impl Index<AgentNo> for Agents {
    type Output = Agent;
    fn index(&self, no: AgentNo) -> &Agent {
        &self.list[no.0 as usize]
    }
}
impl IndexMut<AgentNo> for Agents {
    fn index_mut(&mut self, no: AgentNo) -> &mut Agent {
        &mut self.list[no.0 as usize]
    }
}
