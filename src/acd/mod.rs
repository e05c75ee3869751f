//! Who waits, who is free, who is offered what; and who is still to be called back.
//!
//! A brain: facts go in by [`Acd::handle`] and [`Acd::handle_timeout`], commands come out of [`Acd::poll_command`] until `None`.
//! It knows neither SIP nor clocks nor tables; the same code runs the live line and a simulated year.

use crate::clock::Moment;
use crate::facts::{AgentStateName, Fact, MissReason, Outcome, Party, QueueLeft, TaskEnd};
use crate::ids::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

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
    /// A call ended in a way that may owe the person a callback. `task` is the id for a new task, should one be due.
    CallMissed {
        task: TaskId,
        call: CallId,
        region: RegionId,
        person: Option<PersonId>,
        outcome: Outcome,
        after: Duration,
    },
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
}

/// What is to be done. A command leaves no choice to its executor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Ring this agent for this caller.
    Offer { offer: OfferId, call: CallId, agent: AgentId, queue: QueueId },
    /// Stop ringing: the caller is gone or it rang to the end.
    Withdraw { offer: OfferId, call: CallId },
    /// Tell the waiting caller the place (1 = next) and, if it is known, the wait.
    Announce { call: CallId, position: u32, wait: Option<Duration> },
    /// The queue cannot keep this caller (full at entry, waited to the limit): the robot or the talk goes on with them.
    Overflow { call: CallId, queue: QueueId, why: QueueLeft },
    /// Write this down.
    Record(Fact),
}

/// The rules of one configuration, read at the door. Also the whole list of agents and queues.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    pub queues: BTreeMap<QueueId, QueueRules>,
    pub agents: BTreeMap<AgentId, AgentRules>,
    pub callbacks: CallbackRules,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueRules {
    pub region: RegionId,
    /// Every skill with its least level (1–100).
    pub requires: BTreeMap<Skill, u8>,
    /// Target of the mean wait; the smaller, the dearer each second of waiting.
    pub target: Duration,
    /// Added to the caller's own priority.
    pub priority: u8,
    /// More callers than this are not taken.
    pub max_waiting: u32,
    /// Waiting longer than this ends in `Overflow`.
    pub max_wait: Option<Duration>,
    /// How long one agent's phone rings.
    pub ring: Duration,
    pub wrap_up: Duration,
    /// First announcement after, then each.
    pub announce: Option<(Duration, Duration)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentRules {
    pub region: RegionId,
    /// Skill → level (1–100).
    pub skills: BTreeMap<Skill, u8>,
    /// Reachable and ready from the first moment, without a registration or a sign-in (static contacts of a bench).
    pub always_ready: bool,
    /// Missed offers in a row after which the agent is put on a break (reason `missed_offers`), so that callers do not ring an
    /// empty chair. 0 = never.
    pub misses_to_break: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallbackRules {
    /// An abandon in the menu owes a callback from this wait on (10 s).
    pub menu_after: Duration,
    /// An abandon in the queue owes a callback from this wait on (3 s).
    pub queue_after: Duration,
    /// Whether a call out of hours owes one, by region.
    pub closed: BTreeMap<RegionId, bool>,
}

impl Default for CallbackRules {
    fn default() -> Self {
        Self { menu_after: Duration::from_secs(10), queue_after: Duration::from_secs(3), closed: BTreeMap::new() }
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
}
