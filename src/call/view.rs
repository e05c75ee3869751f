//! What a board shows: one picture of the engine at one moment, made by the conductor on request.

use crate::clock::Moment;
use crate::ids::TaskId;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Board {
    /// Grows with every picture.
    pub sequence: u64,
    /// Unix time in ms.
    pub at_ms: u64,
    pub queues: Vec<Queue>,
    pub agents: Vec<Agent>,
    /// Live calls, oldest first; at most [`Board::MAX_CALLS`].
    pub calls: Vec<Call>,
    pub live_calls: u64,
    pub regions: Vec<RegionLedger>,
    pub journal: Journal,
    pub trunks: Vec<Trunk>,
    pub draining: bool,
    pub around: Around,
}

impl Board {
    pub const MAX_CALLS: usize = 500;
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Queue {
    pub queue: String,
    /// Name for people.
    pub title: String,
    pub region: u16,
    pub waiting: u32,
    pub offered: u32,
    pub longest_wait_ms: u64,
    pub target_ms: u64,
    pub ready_agents: u32,
    /// For who would come now: four of five are answered within it. `null` while too little is known, or nobody is on duty.
    pub wait_estimate_ms: Option<u64>,
    /// Out of its hours.
    pub closed: bool,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Agent {
    pub agent: String,
    pub region: u16,
    /// offline, ready, offered, talking, wrap_up, on_break
    pub state: String,
    pub reason: Option<String>,
    pub since_ms: u64,
    pub call: Option<String>,
    pub reachable: bool,
    pub served: u32,
    pub missed: u32,
    /// When a pause or a wrap-up ends by itself.
    pub until_ms: Option<u64>,
    /// On a break for longer than its reason allows.
    pub overdue: bool,
    /// A supervisor's word that holds until the agent's next own one.
    pub overridden_by: Option<String>,
    pub overridden_why: Option<String>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Call {
    pub call: String,
    pub region: u16,
    /// Masked.
    pub caller: String,
    pub dialled: String,
    /// robot, waiting, ringing, talking, transferring
    pub stage: String,
    pub queue: Option<String>,
    pub agent: Option<String>,
    pub theme: Option<String>,
    pub since_ms: u64,
    pub stage_since_ms: u64,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RegionLedger {
    pub region: u16,
    pub title: String,
    pub entered: u64,
    pub live: u64,
    pub outcomes: std::collections::BTreeMap<String, u64>,
    pub open_callbacks: u64,
}

#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Journal {
    /// Bytes written by this installation so far.
    pub position: u64,
    /// Bytes the tables are behind.
    pub behind_bytes: u64,
    /// How long they have been behind, in seconds.
    pub behind_s: u64,
    /// The last writing failed (disk full): the line answers on, but nothing is kept.
    pub failing: bool,
}

/// What stands around the engine and fails without touching a call.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Around {
    /// The database takes nothing: the tables fall behind.
    pub database_away: bool,
    /// Room on the fullest disk we write to, in percent; `null` if unknown.
    pub disk_free_percent: Option<u8>,
    /// Whether the media process is attached; `null` if media live in the engine.
    pub media_attached: Option<bool>,
}

impl Around {
    /// Less room than this is shown as a warning.
    pub const DISK_LOW_PERCENT: u8 = 10;

    pub fn disk_low(&self) -> bool {
        self.disk_free_percent.is_some_and(|percent| percent < Self::DISK_LOW_PERCENT)
    }
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Trunk {
    pub trunk: String,
    pub reachable: bool,
    /// Live calls over it, and contracted channels (0 = no limit).
    pub live: u32,
    pub channels: u32,
}

/// What only the floor knows of an open callback.
pub struct Callback {
    pub task: TaskId,
    /// `listed`, `on_the_line`, `resting`, `due`, `waiting`, `calling` or `talking`.
    pub standing: &'static str,
    /// When it is looked at again, while it rests.
    pub next_attempt: Option<Moment>,
    pub promised: Option<Moment>,
}
