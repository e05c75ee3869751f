//! The door of media: plain serialisable data in both directions, so that media may live in a process of its own.
//!
//! Every command names its leg; a command for a leg that is gone changes nothing. Commands of one leg are obeyed in order.

use crate::ids::{LegId, PlayId, PromptId};
use crate::stream::Stream;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MediaCommand {
    /// Bind a port pair of this network (by its name in the configuration). Answered by `Opened` or `OpenFailed`. `near` is the leg it
    /// will be bridged with, if that is known: the two then share a thread.
    Open {
        leg: LegId,
        network: String,
        near: Option<LegId>,
    },
    /// The far end is known (again): send there, take only from there. `learn` allows the source to differ (NAT) for the first few
    /// packets, then it is locked.
    Connect {
        leg: LegId,
        stream: Stream,
        learn: bool,
    },
    /// Play these one after the other to the far end. Ends what played before. `repeat` starts over for ever (music).
    /// Answered by `PlayEnded` unless it repeats.
    Play {
        leg: LegId,
        play: PlayId,
        prompts: Vec<PromptId>,
        repeat: bool,
    },
    /// Stop whatever plays; no `PlayEnded` follows.
    StopPlay {
        leg: LegId,
    },
    /// Each hears the other. Ends what plays to either, and any former bridge of either.
    Bridge {
        a: LegId,
        b: LegId,
    },
    /// Ends the leg's bridge; both sides hear nothing until told otherwise.
    Unbridge {
        leg: LegId,
    },
    /// Record both sides of this leg into a stereo WAV (left: what the far end says, right: what it hears) until told otherwise.
    Record {
        leg: LegId,
        file: String,
    },
    PauseRecord {
        leg: LegId,
        paused: bool,
    },
    StopRecord {
        leg: LegId,
    },
    /// Send one RFC 4733 digit to the far end.
    SendDigit {
        leg: LegId,
        digit: char,
    },
    /// Close the leg; its port rests before it is used again. Answered by `Closed`.
    Close {
        leg: LegId,
    },
    /// Read the prompt folders again; what plays goes on with what it began with.
    ReloadPrompts,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MediaEvent {
    Opened {
        leg: LegId,
        local: SocketAddr,
    },
    OpenFailed {
        leg: LegId,
        why: String,
    },
    PlayEnded {
        leg: LegId,
        play: PlayId,
    },
    /// One press of a key, told once, as soon as it is certain.
    Digit {
        leg: LegId,
        digit: char,
    },
    /// The first packet of the far end arrived (from this address).
    Heard {
        leg: LegId,
        from: SocketAddr,
    },
    /// Nothing has come from a far end that should be sending, for `ms` so far. Told once a silence.
    Silent {
        leg: LegId,
        ms: u64,
    },
    RecordFailed {
        leg: LegId,
        file: String,
        why: String,
    },
    Recorded {
        leg: LegId,
        file: String,
        ms: u64,
        gaps: u32,
    },
    Closed {
        leg: LegId,
        summary: LegSummary,
    },
}

/// What one leg carried, for the call's record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LegSummary {
    pub received: u64,
    pub sent: u64,
    /// By gaps in the sequence numbers received.
    pub lost: u64,
    /// Packets from elsewhere than the locked source.
    pub strangers: u64,
    /// Mean deviation of the arrival spacing, RFC 3550 §6.4.1, in microseconds.
    pub jitter_us: u64,
    /// What a successor needs to go on with this stream: our SSRC, next sequence number and timestamp.
    pub ssrc: u32,
    pub sequence: u16,
    pub timestamp: u32,
}
