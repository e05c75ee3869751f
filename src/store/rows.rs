//! What the tables give: rows as plain values. None of them can be put on a wire as it is; the API has words of its own.

use crate::clock::Moment;
use crate::facts::{HandoffResult, Outcome};
use crate::ids::*;
use crate::pii::Phone;

/// Rows of one page at most, whatever is asked for.
pub const PAGE_MAX: u32 = 500;

/// A part of a list: what comes after the row with this key.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<Key> {
    pub after: Option<Key>,
    pub limit: u32,
}

impl<Key> Page<Key> {
    pub fn first(limit: u32) -> Self {
        Self { after: None, limit }
    }
}

/// Every field that is given must fit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallFilter {
    pub region: Option<RegionId>,
    /// Entered in `from..to`.
    pub from: Option<Moment>,
    pub to: Option<Moment>,
    pub outcome: Option<Outcome>,
    pub queue: Option<QueueId>,
    pub agent: Option<AgentId>,
    pub person: Option<PersonId>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallbackFilter {
    pub region: Option<RegionId>,
    pub open_only: bool,
    pub person: Option<PersonId>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CallRow {
    pub call: CallId,
    pub region: RegionId,
    pub trunk: TrunkId,
    pub dialled: String,
    pub person: Option<PersonId>,
    pub entered: Moment,
    pub answered: Option<Moment>,
    /// With the version with which the call began.
    pub script: Option<(ScriptId, u32)>,
    pub theme: Option<String>,
    /// The last one.
    pub queue: Option<QueueId>,
    pub urgent: bool,
    /// The first time.
    pub queue_entered: Option<Moment>,
    pub first_offer: Option<Moment>,
    /// Start of the first talk, end of the last.
    pub talk_started: Option<Moment>,
    pub talk_ended: Option<Moment>,
    /// The last one who talked.
    pub agent: Option<AgentId>,
    pub recording: Option<String>,
    /// `None` while the call is live.
    pub ended: Option<(Moment, Outcome)>,
    /// A missed call without a usable number.
    pub unreachable: bool,
    /// Of a call that goes out, the task it is for; such a call is not in the ledger.
    pub callback: Option<TaskId>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CallDetail {
    pub call: CallRow,
    pub visits: Vec<QueueVisitRow>,
    pub offers: Vec<OfferRow>,
    pub talks: Vec<TalkRow>,
    pub codes: Vec<TalkCodeRow>,
    pub routes: Vec<RouteRow>,
    pub recordings: Vec<RecordingRow>,
    pub handoffs: Vec<HandoffRow>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct QueueVisitRow {
    pub queue: QueueId,
    pub entered: Moment,
    /// When and how it ended: `answered` or a word of [`crate::facts::QueueLeft`].
    pub ended: Option<(Moment, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct OfferRow {
    pub offer: OfferId,
    pub agent: AgentId,
    pub queue: QueueId,
    pub why: String,
    pub made: Moment,
    /// When and how it ended: `answered`, `withdrawn` or a word of [`crate::facts::MissReason`].
    pub ended: Option<(Moment, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TalkRow {
    pub agent: AgentId,
    pub queue: QueueId,
    pub started: Moment,
    /// When and by whom (a word of [`crate::facts::Party`]) it ended.
    pub ended: Option<(Moment, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TalkCodeRow {
    pub agent: AgentId,
    pub queue: QueueId,
    pub at: Moment,
    pub code: String,
    pub title: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RouteRow {
    pub route: RouteId,
    pub trunk: TrunkId,
    pub tried: Moment,
    /// When and how it ended: a word of [`crate::facts::RouteEnd`].
    pub ended: Option<(Moment, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RecordingRow {
    pub file: String,
    pub call: CallId,
    pub region: RegionId,
    /// The call's queue.
    pub queue: Option<QueueId>,
    pub started: Moment,
    pub ended: Option<RecordingEnd>,
    /// Why it could not be written on.
    pub failed: Option<String>,
    pub sealed: Option<SealedRow>,
    /// When and where to the archive took it.
    pub archived: Option<(Moment, String)>,
    /// Why the archive did not.
    pub not_archived: Option<String>,
    /// The sealed file lies here, not only in the archive.
    pub here: bool,
    /// When and why (a word of [`crate::facts::RecordingGone`]) it was deleted.
    pub deleted: Option<(Moment, String)>,
    /// Tries of the step that comes next.
    pub attempts: u32,
}

/// A recording packed and sealed.
#[derive(Clone, Debug, PartialEq)]
pub struct SealedRow {
    pub at: Moment,
    pub file: String,
    pub bytes: u64,
    pub ms: u64,
    pub sha256: String,
}

/// What is to be done with a recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RecordingStep {
    /// Its call or itself ended; those that nobody closed (the engine died) are taken when their call ended before this time.
    Pack {
        unclosed_before: Moment,
    },
    Archive,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RecordingEnd {
    pub at: Moment,
    pub ms: u64,
    pub gaps: u32,
}

/// Rows without what they should belong to.
#[derive(Debug, Default, PartialEq)]
pub struct Orphans {
    /// Recordings whose call is unknown, by file.
    pub recordings: Vec<String>,
    /// Talks that nobody ended although their call ended.
    pub talks: Vec<CallId>,
    /// Open callbacks whose person has no number: nobody can be called back.
    pub callbacks: Vec<TaskId>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HandoffRow {
    pub handoff: HandoffId,
    pub theme: Option<String>,
    pub requested: Moment,
    /// `None` = not yet confirmed.
    pub settled: Option<(Moment, HandoffResult)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CallbackRow {
    pub task: TaskId,
    pub region: RegionId,
    pub person: PersonId,
    /// The number to dial, if it was not forgotten. Prints masked; only who may call back sees it exposed.
    pub phone: Option<Phone>,
    /// The first missed call and its outcome.
    pub call: CallId,
    pub outcome: Outcome,
    pub opened: Moment,
    /// How often the person was missed, the first time included.
    pub misses: u32,
    pub last_call: CallId,
    pub last_missed: Moment,
    pub taken: Option<(Moment, AgentId)>,
    /// When and how it was closed: a word of [`crate::facts::TaskEnd`].
    pub closed: Option<(Moment, String)>,
    /// Of the call that was missed last.
    pub theme: Option<String>,
    pub queue: Option<QueueId>,
    /// What the person chose, a word of [`crate::facts::Booking`], and by when they were promised the call.
    pub booking: Option<String>,
    pub promised: Option<Moment>,
    /// How often they were dialled, and how it ended the last time: a word of [`crate::facts::AttemptEnd`].
    pub attempts: u32,
    pub last_attempt: Option<(Moment, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AgentChangeRow {
    pub agent: AgentId,
    pub region: RegionId,
    pub at: Moment,
    /// A word of [`crate::facts::AgentStateName`].
    pub state: String,
    pub reason: Option<String>,
}

/// A case that the booking core is to get.
#[derive(Clone, Debug, PartialEq)]
pub struct HandoffDue {
    pub handoff: HandoffId,
    pub call: CallId,
    pub region: RegionId,
    pub person: Option<PersonId>,
    pub phone: Option<Phone>,
    pub theme: Option<String>,
    pub requested: Moment,
    /// How often it was tried before.
    pub attempts: u32,
}

/// An event that a receiver is to get.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryDue {
    /// Its number in the outbox, unique in this installation.
    pub event: u64,
    pub call: CallId,
    pub region: RegionId,
    /// 1, 2, 3 … within one call.
    pub sequence: u64,
    /// Such as `interaction.entered`.
    pub kind: String,
    pub at: Moment,
    pub idempotency_key: Option<String>,
    /// JSON.
    pub data: String,
    pub attempts: u32,
}

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum DeliveryEnd {
    Done,
    /// Try again then.
    Later(Moment),
    /// Never again; the reason is kept.
    Refused(String),
}
