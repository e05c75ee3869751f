//! The robot: what was pressed goes in, what is to be said and done comes out.
//!
//! A brain, one per call while the citizen is with the robot. [`Ivr::new`] takes the script with which the call began; a reload
//! gives new calls a new script and leaves this one alone.

use crate::clock::Moment;
use crate::facts::{Fact, Outcome, QueueLeft, RouteEnd};
use crate::ids::*;
use serde::{Deserialize, Serialize};
use std::time::Duration;

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
    /// The acd wants the place told to the waiting caller.
    Announce {
        position: u32,
        wait: Option<Duration>,
    },
    /// The caller hung up, or an agent took over: the robot is done.
    Stopped,
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
    /// Dial this route out of the house and connect.
    Transfer {
        route: RouteId,
    },
    /// The end, with the outcome it has for the ledger.
    HangUp {
        outcome: Outcome,
    },
    /// Write this down.
    Fact(Fact),
}
