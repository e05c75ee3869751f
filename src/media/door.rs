//! The door of media: plain serialisable data in both directions, so that media may live in a process of its own.
//!
//! Every command names its leg; a command for a leg that is gone changes nothing. Commands of one leg are obeyed in order.

use crate::ids::{LegId, PlayId, PromptId};
use crate::stream::Stream;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Raised with every change of what is said here (or of a type it is said with): two builds understand each other only if they
/// have the same. It is part of the socket's name, so that they never meet.
pub const VERSION: u32 = 2;

/// The name under which media of this version listens: `media-1.sock` for `media.sock`.
pub fn versioned(socket: &Path) -> PathBuf {
    named(socket, &VERSION.to_string())
}

/// The version in the name of a neighbour of `socket`, if it is the name of such a door.
pub fn version_of(socket: &Path, neighbour: &Path) -> Option<u32> {
    let begin = format!("{}-", socket.file_stem()?.to_str()?);
    let version = neighbour.file_stem()?.to_str()?.strip_prefix(&begin)?;
    (neighbour == named(socket, version)).then(|| version.parse().ok()).flatten()
}

fn named(socket: &Path, version: &str) -> PathBuf {
    let stem = socket.file_stem().unwrap_or_default().to_string_lossy();
    let end = socket.extension().map_or(String::new(), |end| format!(".{}", end.to_string_lossy()));
    socket.with_file_name(format!("{stem}-{version}{end}"))
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MediaCommand {
    /// Bind a port pair of this network (by its name in the configuration). Answered by `Opened` or `OpenFailed`. `near` is the leg it
    /// will be bridged with, if that is known: the two then share a thread. `at` is where the leg stood before, when media itself
    /// was started anew: that port is taken again if it can be had.
    Open {
        leg: LegId,
        network: String,
        near: Option<LegId>,
        at: Option<SocketAddr>,
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
    /// Bring the file of a leg that is gone to a valid end (media died while it was written). Answered by `Recorded`, or
    /// `RecordFailed` if there is no such file.
    FinishRecord {
        leg: LegId,
        file: String,
    },
    /// Read the prompt folders again; what plays goes on with what it began with.
    ReloadPrompts,
    /// The engine has written down every event of this life of media up to this number: they need not be told again. What is said to
    /// one life and reaches the next says nothing about its events.
    Noted {
        life: u64,
        number: u64,
    },
    /// The engine is drained: the media process may end.
    Stop,
}

/// An event and its place in the order in which one life of media told its events, from 1 on. An engine that attaches is told
/// again whatever was not [`MediaCommand::Noted`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub number: u64,
    pub event: MediaEvent,
}

/// One leg as media has it, told to an engine that attaches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LegReport {
    pub leg: LegId,
    pub local: SocketAddr,
    pub stream: Option<Stream>,
    pub hears: Hears,
    /// The file being recorded, and whether it is paused.
    pub recording: Option<(String, bool)>,
    /// How long nothing has come from the far end, in milliseconds.
    pub silent_ms: u64,
}

/// What the far end of a leg is made to hear.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Hears {
    #[default]
    Nothing,
    Plays {
        play: PlayId,
        prompts: Vec<PromptId>,
        repeat: bool,
    },
    Bridged {
        with: LegId,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MediaEvent {
    /// First word at every attach: which life of media this is (another number after each start), and the legs it has. Not counted:
    /// its number is that of the last event told before.
    Attached {
        life: u64,
        legs: Vec<LegReport>,
    },
    /// Media is gone; another life of it will say `Attached`. Said by the engine's end of the door, not counted either.
    Detached,
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
