//! Who waits, who is free, who is offered what; and who is still to be called back.
//!
//! A brain: facts go in by [`Acd::handle`] and [`Acd::handle_timeout`], commands come out of [`Acd::poll_command`] until `None`.
//! It knows neither SIP nor clocks nor tables; the same code runs the live line and a simulated year.

mod agent;
mod callbacks;
mod callers;
mod calling_back;
mod deadlines;
mod demand;
mod duty;
mod estimate;
mod groups;
mod invariants;
mod last_agent;
mod life;
mod matching;
mod offers;
mod overflow;
mod overrides;
mod queue;
mod reload;
mod several;
mod snapshot;
mod views;
mod wrap_up;

pub use callbacks::{CallbackView, Missed, Way};
pub use duty::{Duty, Flapping, MissPolicies, MissPolicy};
pub use estimate::Estimate;
pub use invariants::Violation;
pub use overflow::{Overflow, Then, When};
pub use overrides::{Order, Overridden, Override};
pub use snapshot::RestoreError;
pub use wrap_up::{Refused, WrapUpEnds, WrapUpRules};

use crate::clock::Moment;
use crate::facts::{AgentStateName, AttemptEnd, Fact, MissReason, Party, QueueLeft, TaskEnd};
use crate::ids::*;
use crate::routing::{AgentOrder, Policy};
use crate::skills::Requirement;
use agent::{AgentNo, Agents, Wish};
use callbacks::Callbacks;
use deadlines::{Deadlines, Timer};
use demand::Demand;
use estimate::Estimator;
use groups::Groups;
use last_agent::LastAgents;
use offers::Offer;
use queue::{Caller, Queues};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// The whole state of the floor. Every caller is in one place: in a queue's order or behind live offers; every agent has at
/// most one live offer; no agent is ready, or one more phone for somebody else, while a caller waits whom they may serve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Acd {
    agents: Agents,
    queues: Queues,
    groups: Groups,
    /// Who waits for an answer, with or without a phone ringing for them.
    callers: BTreeMap<CallId, Caller>,
    offers: BTreeMap<OfferId, Offer>,
    callbacks: Callbacks,
    deadlines: Deadlines,
    policy: Policy,
    /// After this wait a caller comes before everybody who entered later, whatever their rank.
    overdue_after: Option<Duration>,
    demand: Demand,
    ids: IdSource,
    /// Counts entries into queues, so that callers of one moment keep their order; `turns` does the same for idle agents.
    places: u64,
    turns: u64,
    violations: u64,
    commands: VecDeque<Command>,
    estimator: Estimator,
    last_agents: LastAgents,
    duty: Duty,
}

impl Acd {
    /// Without rules: nobody can be queued before the first [`Event::RulesChanged`].
    pub fn new(ids: IdSource) -> Self {
        Self {
            agents: Agents::default(),
            queues: Queues::default(),
            groups: Groups::default(),
            callers: BTreeMap::new(),
            offers: BTreeMap::new(),
            callbacks: Callbacks::default(),
            deadlines: Deadlines::default(),
            policy: Policy::default(),
            overdue_after: None,
            demand: Demand::default(),
            ids,
            places: 0,
            turns: 0,
            violations: 0,
            commands: VecDeque::new(),
            estimator: Estimator::default(),
            last_agents: LastAgents::default(),
            duty: Duty::default(),
        }
    }

    /// A fact came in. Names of what is gone or never was (a late answer, an agent not in the rules) change nothing.
    pub fn handle(&mut self, now: Moment, event: Event) {
        match event {
            Event::RulesChanged(rules) => self.rules_changed(now, *rules),
            Event::CallerQueued { call, queue, person, priority, urgent } => {
                if let Some(person) = person {
                    self.person_rings(now, call, person);
                }
                self.caller_queued(now, call, queue, person, priority, urgent)
            }
            Event::CallerLeft { call, why } => self.caller_left(now, call, why),
            Event::AgentReachable { agent, reachable } => self.of(&agent, |acd, no| acd.agent_reachable(now, no, reachable)),
            Event::AgentReady { agent } => self.of(&agent, |acd, no| acd.agent_wishes(now, no, Wish::Work)),
            Event::AgentOnBreak { agent, reason } => self.of(&agent, |acd, no| acd.agent_wishes(now, no, Wish::Break(reason))),
            Event::AgentOffline { agent } => self.of(&agent, |acd, no| acd.agent_wishes(now, no, Wish::Offline)),
            Event::OfferAnswered { offer } => self.offer_answered(now, offer),
            Event::OfferMissed { offer, reason } => self.offer_missed(now, offer, reason),
            Event::TalkEnded { agent, call, by } => self.talk_ended(now, &agent, call, by),
            Event::WrapUpDone { agent } => self.of(&agent, |acd, no| acd.wrap_up_done(now, no)),
            Event::CallMissed(missed) => self.call_missed(now, missed),
            Event::PersonServed { person } => self.person_served(now, person),
            Event::TaskTaken { task, agent } => self.task_taken(now, task, agent),
            Event::TaskClosed { task, how } => self.task_closed(now, task, how),
            Event::CallbackAttempted { call, end } => self.callback_attempted(now, call, end),
            Event::EngineStarted { epoch, kept } => self.life_begins(now, epoch, &kept),
            Event::TaskTried { task, end } => self.task_tried(now, task, end),
            Event::PersonRings { call, person } => self.person_rings(now, call, person),
            Event::QueueOpens { queue, open } => self.queue_opens(now, &queue, open),
            Event::WrapUpLonger { agent } => self.of(&agent, |acd, no| acd.wrap_up_extended(now, no)),
            Event::CodeGiven { agent, code } => self.code_given(now, &agent, code),
            Event::AgentOverridden { agent, order, by, why } => {
                self.of(&agent, |acd, no| acd.agent_overridden(now, no, order, by, why));
            }
            Event::AgentTalks { agent, call, queue, person } => self.agent_talks(now, &agent, call, &queue, person),
        }
    }

    /// Time passed: everything due by `now` happens, the earliest first.
    pub fn handle_timeout(&mut self, now: Moment) {
        while let Some(timer) = self.deadlines.pop_due(now) {
            match timer {
                Timer::RingEnds(offer) => self.ring_ends(now, offer),
                Timer::WrapUpEnds(agent) => self.wrap_up_ends(now, agent),
                Timer::PauseEnds(agent) => self.pause_ends(now, agent),
                Timer::Announcement(call) => self.announcement_due(now, call),
                Timer::Overflow(call) => self.overflow_looked_at(now, call),
                Timer::Ripens(call) => self.caller_ripens(now, call),
                Timer::CallbackRested(task) => self.callback_rested(now, task),
                Timer::LastAgentWaitEnds(call) => self.last_agent_wait_ends(now, call),
            }
        }
    }

    /// What is to be done, in order; drain until `None` after every `handle` and `handle_timeout`.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When to come back with [`Acd::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Moment> {
        self.deadlines.next()
    }

    fn of(&mut self, agent: &AgentId, does: impl FnOnce(&mut Self, AgentNo)) {
        if let Some(no) = self.agents.listed(agent) {
            does(self, no);
        }
    }

    fn command(&mut self, command: Command) {
        self.commands.push_back(command);
    }

    fn record(&mut self, fact: Fact) {
        self.command(Command::Record(fact));
    }
}

/// What came in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// New rules hold at once, also for who waits already.
    RulesChanged(Box<Rules>),
    /// A caller wants this queue. A caller who already waits somewhere changes the queue and keeps the time waited.
    CallerQueued {
        call: CallId,
        queue: QueueId,
        person: Option<PersonId>,
        priority: u8,
        urgent: bool,
    },
    /// The caller went: hung up, or was taken elsewhere.
    CallerLeft {
        call: CallId,
        why: QueueLeft,
    },
    /// The agent's phone can (or can no longer) be reached.
    AgentReachable {
        agent: AgentId,
        reachable: bool,
    },
    AgentReady {
        agent: AgentId,
    },
    AgentOnBreak {
        agent: AgentId,
        reason: String,
    },
    AgentOffline {
        agent: AgentId,
    },
    OfferAnswered {
        offer: OfferId,
    },
    OfferMissed {
        offer: OfferId,
        reason: MissReason,
    },
    /// The talk of this agent is over, whoever ended it.
    TalkEnded {
        agent: AgentId,
        call: CallId,
        by: Party,
    },
    /// The agent finished wrap-up early.
    WrapUpDone {
        agent: AgentId,
    },
    /// A call ended in a way that may owe the person a callback.
    CallMissed(Missed),
    /// The person was served (by whatever call): nobody owes them a callback.
    PersonServed {
        person: PersonId,
    },
    /// An operator takes a task in hand, or is done with it.
    TaskTaken {
        task: TaskId,
        agent: AgentId,
    },
    TaskClosed {
        task: TaskId,
        how: TaskEnd,
    },
    /// The citizen of a callback was dialled, or their agent went before: so it ended.
    CallbackAttempted {
        call: CallId,
        end: AttemptEnd,
    },
    /// The engine begins a new life: of the former one's calls these go on.
    EngineStarted {
        epoch: u32,
        kept: BTreeSet<CallId>,
    },
    /// A call of this person is in the house: nobody calls them back meanwhile. It ends with `CallMissed` of this call (also where
    /// nothing is owed for it) or with `PersonServed`.
    PersonRings {
        call: CallId,
        person: PersonId,
    },
    /// An operator has tried by hand, without an agent's phone or a call of ours, and reached nobody.
    TaskTried {
        task: TaskId,
        end: AttemptEnd,
    },
    /// By its calendar the queue is open from here on, or closed.
    QueueOpens {
        queue: QueueId,
        open: bool,
    },
    /// The agent asks for more time after the talk.
    WrapUpLonger {
        agent: AgentId,
    },
    /// What came of the agent's talk, the one that goes on or else the last, in a word of its queue.
    CodeGiven {
        agent: AgentId,
        code: String,
    },
    /// A supervisor's word over this agent, and why.
    AgentOverridden {
        agent: AgentId,
        order: Order,
        by: String,
        why: String,
    },
    /// The agent is found in the talk of a call that came from this queue, whatever was thought of them.
    AgentTalks {
        agent: AgentId,
        call: CallId,
        queue: QueueId,
        person: Option<PersonId>,
    },
}

/// What is to be done. A command leaves no choice to its executor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Ring this agent for this caller.
    Offer { offer: OfferId, call: CallId, agent: AgentId, queue: QueueId },
    /// Stop ringing: the caller is gone or it rang to the end.
    Withdraw { offer: OfferId, call: CallId },
    /// Tell the waiting caller the place (1 = next) and, if it is known, the wait: four of five are answered within it. It is never
    /// longer than what was told before, unless agents have left since: then `fewer_agents` is to be said with it.
    Announce { call: CallId, position: u32, wait: Option<Duration>, fewer_agents: bool },
    /// The queue does not keep this caller (full, closed, by a rule): the robot or the talk goes on with them.
    Overflow { call: CallId, queue: QueueId, why: QueueLeft },
    /// A call to who is owed this task begins (`missed` is the call of theirs that was missed last); the offer to its agent follows.
    /// The citizen is dialled when the agent answered.
    CallBack { call: CallId, task: TaskId, missed: CallId, queue: QueueId },
    /// The callback is not to be gone on with: no agent took it, or the person is on the line.
    CallbackOff { call: CallId },
    /// Write this down.
    Record(Fact),
    /// Say this to the waiting caller.
    Say { call: CallId, prompt: PromptId },
    /// By a rule the caller now waits in this queue.
    Moved { call: CallId, queue: QueueId },
    /// The queue hands this caller to a number outside.
    ToRoute { call: CallId, queue: QueueId, route: RouteId },
    /// Promise the waiting caller a callback; the wait goes on until they leave.
    PromiseCallback { call: CallId },
}

/// Priority of who was in a talk already and is back: they come before all who were not heard yet, and no closing keeps them out.
pub const FIRST: u8 = u8::MAX;

/// The rules of one configuration, read at the door. Also the whole list of agents and queues.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    pub queues: BTreeMap<QueueId, QueueRules>,
    pub agents: BTreeMap<AgentId, AgentRules>,
    pub callbacks: CallbackRules,
    pub routing: Routing,
    pub duty: Duty,
}

/// What holds for all queues.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Routing {
    pub policy: Policy,
    /// Whoever has waited this long is overdue and comes before everybody who entered later, urgent or not. It bounds what a stream
    /// of urgent callers can cost a normal one: nobody who enters this much later goes first. `None`: no bound. For agents who serve the
    /// same queues the extra wait is less than this and two of the longest calls (proof: docs/decisions/0010, "The bound").
    pub overdue_after: Option<Duration>,
    pub last_agent: LastAgentRules,
}

/// Who rings again gets the agent they spoke with last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastAgentRules {
    /// If their talk ended less than this ago; zero: nobody is remembered.
    pub within: Duration,
    /// While that agent is on duty but busy, the caller waits so long for them alone, counted from the entry.
    pub wait: Duration,
}

impl Routing {
    /// As an installation has it whose configuration says nothing.
    pub fn installed() -> Self {
        Self { policy: Policy::default(), overdue_after: Some(Duration::from_secs(600)), last_agent: LastAgentRules::default() }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueRules {
    pub region: RegionId,
    /// What an agent must know from the first moment.
    pub requires: Requirement,
    /// Target of the mean wait; the smaller, the dearer each second of waiting.
    pub target: Duration,
    /// Added to the caller's own priority.
    pub priority: u8,
    /// More callers than this are not taken, whatever the overflow list says.
    pub max_waiting: u32,
    /// How long one agent's phone rings.
    pub ring: Duration,
    pub wrap_up: Duration,
    /// First announcement after, then each.
    pub announce: Option<(Duration, Duration)>,
    pub seek: Seek,
    pub while_waiting: WhileWaiting,
    pub after_talk: WrapUpRules,
}

/// What callers go through while they wait, beside the search for an agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WhileWaiting {
    /// What becomes of who waits long or cannot be served; asked from the first line on.
    pub overflow: Vec<Overflow>,
    /// Out of hours now; [`Event::QueueOpens`] follows the calendar.
    pub closed: bool,
    /// Who waits when the queue closes is treated like those who come then; otherwise they are served.
    pub let_go_at_closing: bool,
    /// Announcements do not tell the place.
    pub place_untold: bool,
    /// Announcements say one of these in turn.
    pub texts: Vec<PromptId>,
}

/// How the search for an agent goes beyond what is required.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seek {
    /// After so much waiting agents who fulfil this will do as well, the earliest first.
    pub relax: Vec<(Duration, Requirement)>,
    /// Agents who fulfil this are asked before the others.
    pub prefers: Option<Requirement>,
    /// Reserve agents join for callers who have waited this long; `None`: never.
    pub reserves_after: Option<Duration>,
    /// Which free agent a caller gets; the policy's own way if left out.
    pub agents: Option<AgentOrder>,
    /// So many phones ring for a caller beside the first, where agents are free for it; who answers first has the caller.
    pub more_phones: u32,
}

impl QueueRules {
    /// The moments of waiting at which more agents will do, beginning with 0.
    pub(crate) fn stages(&self) -> Vec<Duration> {
        let mut stages: Vec<Duration> = self.seek.relax.iter().map(|(after, _)| *after).collect();
        stages.extend(self.seek.reserves_after);
        stages.push(Duration::ZERO);
        stages.sort_unstable();
        stages.dedup();
        stages
    }

    /// From which stage on this agent will do, and whether preferred; `None`: never.
    fn admits(&self, agent: &AgentRules) -> Option<(queue::Stage, bool)> {
        let relaxed =
            self.seek.relax.iter().filter(|(_, requires)| requires.fulfilled_by(&agent.skills)).map(|(after, _)| *after);
        let required = self.requires.fulfilled_by(&agent.skills).then_some(Duration::ZERO);
        let mut after = required.into_iter().chain(relaxed).min()?;
        if agent.reserve {
            after = after.max(self.seek.reserves_after?);
        }
        let stage = self.stages().iter().filter(|begins| **begins <= after).count().saturating_sub(1);
        let preferred = self.seek.prefers.as_ref().is_none_or(|prefers| prefers.fulfilled_by(&agent.skills));
        Some((queue::Stage::of(stage), preferred))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentRules {
    pub region: RegionId,
    /// Skill → level (1–100).
    pub skills: BTreeMap<Skill, u8>,
    /// Reachable and ready from the first moment, without a registration or a sign-in (static contacts of a bench).
    pub always_ready: bool,
    /// Missed offers in a row after which the agent is put on a break (reason `missed_offers`, or what the phone said if it was not
    /// silent), so that callers do not ring an empty chair. 0 = never.
    pub misses_to_break: u8,
    /// Joins a queue only for callers who have waited its `reserves_after`.
    pub reserve: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallbackRules {
    /// An abandon in the menu owes a callback from this wait on (10 s).
    pub menu_after: Duration,
    /// An abandon in the queue owes a callback from this wait on (3 s).
    pub queue_after: Duration,
    /// Whether a call out of hours owes one, by region.
    pub closed: BTreeMap<RegionId, bool>,
    /// Who hung up in the queue, or was cut off, and rings again within this time has the old place.
    pub place_kept: Duration,
    /// How tasks are carried out; `None`: they are listed for people to take.
    pub dial: Option<CallbackDialling>,
}

/// When and how often a person is called back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallbackDialling {
    /// So often is a person dialled for one task.
    pub attempts: u32,
    /// Between two calls to one person, whatever the tasks.
    pub gap: Duration,
    /// Seconds of the person's day between which they may be called.
    pub hours: (u32, u32),
    /// So many agents of a queue stay free for who may call; more than these call back. `None`: the square root of a third
    /// of those on duty, for chance in the calls grows as the root of the load.
    pub idle: Option<u32>,
    /// A person is called within this time, counted in `hours`; in its last quarter of an hour (or last third, if that is shorter) the
    /// task competes with callers.
    pub within: Duration,
    /// Over which calls can go out.
    pub trunks: BTreeSet<TrunkId>,
    pub regions: BTreeMap<RegionId, OfRegion>,
}

/// What a region has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfRegion {
    /// Seconds by which its clock is ahead of UTC.
    pub ahead: i32,
    /// Whether agents are asked to call back here; else people take tasks from the list.
    pub dial: bool,
    pub within: Duration,
}

impl Default for CallbackRules {
    fn default() -> Self {
        Self {
            menu_after: Duration::from_secs(10),
            queue_after: Duration::from_secs(3),
            closed: BTreeMap::new(),
            place_kept: Duration::from_secs(300),
            dial: None,
        }
    }
}

/// What a board shows of one agent.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentView {
    pub agent: AgentId,
    pub region: RegionId,
    pub state: AgentStateName,
    pub reason: Option<String>,
    pub since: Moment,
    pub call: Option<CallId>,
    pub reachable: bool,
    /// Talks and missed offers of this life of the engine.
    pub served: u32,
    pub missed: u32,
    /// When a pause or a wrap-up ends by itself.
    pub until: Option<Moment>,
    pub overridden: Option<Override>,
}

/// What a board shows of one queue.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueView {
    pub queue: QueueId,
    pub region: RegionId,
    pub waiting: u32,
    pub offered: u32,
    /// Entry time of the caller who waits longest.
    pub longest_since: Option<Moment>,
    pub target: Duration,
    /// Ready agents with the skills for it.
    pub ready_agents: u32,
    /// Out of its hours.
    pub closed: bool,
}
