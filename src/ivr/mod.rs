//! The robot: what was pressed goes in, what is to be said and done comes out.
//!
//! A brain, one per call while the citizen is with the robot. [`Ivr::new`] takes the script with which the call began; a reload
//! gives new calls a new script and leaves this one alone.

pub mod check;
mod robot;
pub mod script;
pub mod speak;

pub use check::{Known, ScriptError, check_scripts};
pub use script::Script;

use crate::clock::Moment;
use crate::facts::{Booking, Fact, Outcome, QueueLeft, RouteEnd};
use crate::ids::*;
use robot::Caller;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// The robot of one call.
pub struct Ivr {
    script: Arc<Script>,
    caller: Caller,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The call is there; the tree begins.
    Started,
    /// One key.
    Digit(char),
    PlayEnded(PlayId),
    /// Answer to [`Command::AskHours`].
    Hours {
        open: bool,
    },
    /// The queue could not keep the caller.
    Overflowed {
        queue: QueueId,
        why: QueueLeft,
    },
    /// Nobody answered on the route of `Transfer`, nor on its fallbacks.
    RouteFailed {
        route: RouteId,
        end: RouteEnd,
    },
    /// The other house is heard while the route rings: the robot says nothing over it.
    RouteHeard,
    /// The acd wants the place told to the waiting caller.
    Announce {
        position: u32,
        wait: Option<Duration>,
        /// Why it takes longer than was told before.
        fewer_agents: bool,
    },
    /// The caller hung up, or an agent or the route took over: the robot is done.
    Stopped,
    /// In place of `Started`: the caller fell out of this queue, or of a talk, a moment ago and goes back without the menu.
    Resumed {
        queue: QueueId,
    },
    /// Answers to [`Command::BookCallback`]: it will come within this time, or nobody can call.
    CallbackBooked {
        within: Duration,
    },
    CallbackRefused,
    /// The acd wants this said to the waiting caller.
    Say {
        prompt: PromptId,
    },
    /// By a rule the caller waits in this queue now.
    Moved {
        queue: QueueId,
    },
    /// A rule of the queue wants the waiting caller promised a callback.
    PromiseCallback,
    /// By a rule of this queue a route is dialled for the caller.
    Routed {
        queue: QueueId,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Send the 200 (the call counts as answered from here).
    Answer,
    /// Send a 183, so that prompts are heard before and without an answer.
    EarlyMedia,
    /// Say these; ends what was being said. Answered by `PlayEnded`.
    Play {
        play: PlayId,
        prompts: Vec<PromptId>,
    },
    /// For ever, until the next `Play` or `StopPlay`.
    Music(PromptId),
    StopPlay,
    /// From here on the talk is recorded (the citizen has been told).
    Record,
    AskHours {
        calendar: String,
    },
    /// Wait for an agent. The robot lives on (announcements, overflow) until `Stopped`.
    Enqueue {
        queue: QueueId,
        priority: u8,
        urgent: bool,
    },
    /// Dial this route out of the house and connect. A caller who waits in a queue leaves it.
    Transfer {
        route: RouteId,
    },
    /// The end, with the outcome it has for the ledger.
    HangUp {
        outcome: Outcome,
    },
    /// Write this down.
    Fact(Fact),
    /// Promise this caller a call of the queue's agents. A caller who waits leaves the queue; `place` keeps what they waited.
    BookCallback {
        queue: QueueId,
        booking: Booking,
    },
    /// The caller waits no longer; the robot goes on with them.
    LeaveQueue {
        why: QueueLeft,
    },
}

/// What a citizen's phone can press. Other events of RFC 4733 (A–D, flash) come from no citizen and are not heard.
pub const fn is_phone_key(key: char) -> bool {
    matches!(key, '0'..='9' | '*' | '#')
}

/// Why a robot could not be brought back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("the written state of the robot cannot be read")]
    Unreadable(#[from] postcard::Error),
    #[error("the call began on version {wanted:08x} of the script, not on {given:08x}")]
    OtherVersion { wanted: u32, given: u32 },
}

impl Ivr {
    /// A robot for a call that begins with [`Event::Started`]. Its plays count up from `first_play`.
    pub fn new(call: CallId, script: Arc<Script>, first_play: PlayId) -> Self {
        Self { caller: Caller::new(call, &script, first_play), script }
    }

    pub fn handle(&mut self, now: Moment, event: Event) {
        self.caller.handle(&self.script, now, event);
    }

    pub fn handle_timeout(&mut self, now: Moment) {
        self.caller.handle_timeout(&self.script, now);
    }

    pub fn poll_command(&mut self) -> Option<Command> {
        self.caller.commands.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Moment> {
        self.caller.until
    }

    /// The node at which the caller is.
    pub fn node(&self) -> &str {
        &self.caller.node
    }

    /// What the script is saying goodbye with: how the call ends, also for a caller who does not hear it out.
    pub fn parting(&self) -> Option<Outcome> {
        match self.script.nodes.get(&self.caller.node).map(|node| &node.value) {
            Some(script::Node::HangUp(end)) => Some(end.outcome),
            Some(script::Node::Callback(_)) if self.caller.has_booked() => Some(Outcome::CallbackBooked),
            Some(_) | None => None,
        }
    }

    /// Whether a caller who fell out of this queue can go back there without the menu.
    pub fn leads_back_to(script: &Script, queue: &QueueId) -> bool {
        !script.welcome_back.is_empty() && script.nodes.values().any(|node| node.value.is_queue(queue))
    }

    /// The version with which the call began.
    pub fn script(&self) -> &Arc<Script> {
        &self.script
    }

    pub fn snapshot(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(&self.caller)
    }

    /// `script` must be the version with which the call began.
    pub fn restore(script: Arc<Script>, snapshot: &[u8]) -> Result<Self, RestoreError> {
        let caller: Caller = postcard::from_bytes(snapshot)?;
        if caller.version != script.version {
            return Err(RestoreError::OtherVersion { wanted: caller.version, given: script.version });
        }
        Ok(Self { script, caller })
    }
}
