//! What happened, in the words of the floor. The journal keeps facts, the tables, the ledger and the reports are folds of them.
//!
//! A fact is never changed: a new kind is added at the end of the enum (the journal's encoding counts variants), an old one stays
//! readable. No fact holds personal data: people stand in it as [`PersonId`].

use crate::clock::Moment;
use crate::ids::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fact {
    /// A first INVITE was accepted from a trunk for a number of ours: it is *entered* in the ledger.
    CallEntered {
        call: CallId,
        region: RegionId,
        trunk: TrunkId,
        dialled: String,
        person: Option<PersonId>,
    },
    /// Our 200 left.
    CallAnswered {
        call: CallId,
    },
    /// The robot reached a node of its script (`version` = hash of the script with which the call began).
    RobotAtNode {
        call: CallId,
        script: ScriptId,
        version: u32,
        node: String,
    },
    /// The citizen's request was understood: the appeal exists from here on.
    ThemeChosen {
        call: CallId,
        theme: String,
    },
    QueueEntered {
        call: CallId,
        queue: QueueId,
        priority: u8,
        urgent: bool,
    },
    /// Left the queue without an agent, to go on elsewhere (overflow, back to the robot, transfer).
    QueueLeft {
        call: CallId,
        queue: QueueId,
        why: QueueLeft,
    },
    OfferMade {
        offer: OfferId,
        call: CallId,
        agent: AgentId,
        queue: QueueId,
        why: String,
    },
    OfferEnded {
        offer: OfferId,
        end: OfferEnd,
    },
    /// Citizen and agent hear each other.
    TalkStarted {
        call: CallId,
        agent: AgentId,
        queue: QueueId,
    },
    TalkEnded {
        call: CallId,
        agent: AgentId,
        by: Party,
    },
    /// A route out of the house was dialled for this call.
    RouteTried {
        call: CallId,
        route: RouteId,
        trunk: TrunkId,
        leg: LegId,
    },
    RouteEnded {
        call: CallId,
        leg: LegId,
        end: RouteEnd,
    },
    RecordingStarted {
        call: CallId,
        file: String,
    },
    RecordingEnded {
        call: CallId,
        file: String,
        ms: u64,
        gaps: u32,
    },
    CallEnded {
        call: CallId,
        outcome: Outcome,
    },
    /// A missed call without a usable number: nobody can be called back.
    Unreachable {
        call: CallId,
    },
    CallbackOpened {
        task: TaskId,
        region: RegionId,
        person: PersonId,
        call: CallId,
        outcome: Outcome,
    },
    /// The same person was missed again: the one open task remembers it.
    CallbackRepeated {
        task: TaskId,
        call: CallId,
        outcome: Outcome,
    },
    CallbackTaken {
        task: TaskId,
        agent: AgentId,
    },
    CallbackClosed {
        task: TaskId,
        how: TaskEnd,
    },
    AgentChanged {
        agent: AgentId,
        region: RegionId,
        state: AgentStateName,
        reason: Option<String>,
    },
    /// The case is due at the booking core.
    HandoffRequested {
        handoff: HandoffId,
        call: CallId,
        region: RegionId,
        person: Option<PersonId>,
        theme: Option<String>,
    },
    HandoffSettled {
        handoff: HandoffId,
        call: CallId,
        result: HandoffResult,
    },
    /// One life of the engine begins. Every call that is still live in the journal before it is closed right after it.
    EngineStarted {
        epoch: u32,
        version: String,
    },
    EngineStopped {
        epoch: u32,
    },
    /// Where an agent's phones registered, written down for a successor in the registrar's own encoding; empty: nowhere.
    PhonesWritten {
        agent: AgentId,
        state: Vec<u8>,
    },
    /// Number and recordings of this person were erased; the id tells nobody who it was.
    PersonForgotten {
        person: PersonId,
        recordings: u32,
    },
    /// A recording could not be written on; the file is whole up to the last second before.
    RecordingFailed {
        call: CallId,
        file: String,
        why: String,
    },
    /// The recording is packed and sealed, verified, and its WAV deleted.
    RecordingPacked {
        call: CallId,
        /// What the recording is called since it began.
        file: String,
        /// The sealed file.
        sealed: String,
        bytes: u64,
        ms: u64,
        /// Of the sealed file.
        sha256: String,
        /// Id of the key.
        key: String,
    },
    RecordingArchived {
        call: CallId,
        file: String,
        /// Where in the archive.
        place: String,
        /// Whether the sealed file also stays here.
        kept: bool,
    },
    /// The archive did not take it for so long that a person has to look.
    RecordingNotArchived {
        call: CallId,
        file: String,
        why: String,
    },
    RecordingDeleted {
        call: CallId,
        file: String,
        why: RecordingGone,
    },
    /// Somebody listened to a recording or a part of it.
    RecordingHeard {
        call: CallId,
        file: String,
        who: String,
    },
    /// An agent's phone rings for a task; the citizen is dialled when the agent answers. Such a call goes out: it is not *entered* and
    /// stands in no outcome of the ledger, but is live until it ends like any other.
    CallbackBegan {
        task: TaskId,
        call: CallId,
        region: RegionId,
        trunk: TrunkId,
        dialled: String,
        person: PersonId,
    },
    /// The citizen was dialled for a task (the `nth` time), or was about to be.
    CallbackAttempted {
        task: TaskId,
        call: CallId,
        nth: u32,
        end: AttemptEnd,
    },
    /// The robot promised a callback, before this moment.
    CallbackPromised {
        task: TaskId,
        call: CallId,
        booking: Option<Booking>,
        by: Moment,
    },
    /// The agent said what came of the talk, in a word of its queue, with the title that it had then. The last one counts.
    TalkCoded {
        call: CallId,
        agent: AgentId,
        queue: QueueId,
        code: String,
        title: String,
    },
    /// A supervisor said what this agent is to be, whatever the agent wished.
    AgentOverridden {
        agent: AgentId,
        region: RegionId,
        state: AgentStateName,
        reason: Option<String>,
        by: String,
        why: String,
    },
}

/// What a citizen chose instead of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Booking {
    /// To be called when they would have been next.
    Place,
    /// To be called some time within the promise.
    Later,
}

/// How one attempt to call a citizen back ended. Answering machines are not told from people: who answers is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptEnd {
    Reached,
    Busy,
    NoAnswer,
    /// The number cannot be rung.
    Failed,
    /// The agent hung up or was lost before the citizen picked up.
    AgentLeft,
    /// The agent heard a machine.
    Voicemail,
    /// The agent heard somebody else: the number is not theirs.
    WrongNumber,
    /// Nobody was rung: our trunk is at fault.
    TrunkFailed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordingGone {
    /// It was kept as long as its queue wants.
    Retention,
    /// Its file was not there.
    Missing,
    /// The person was.
    Forgotten,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// An operator talked with the citizen.
    Served,
    /// The robot did all there was to do.
    SelfServed,
    /// Heard the announcement of an old number.
    Announced,
    /// Handed to 103 or another organisation, which answered.
    TransferredOut,
    /// Chose to be called back.
    CallbackBooked,
    /// Hung up before our 200.
    Cancelled,
    AbandonedInMenu,
    AbandonedInQueue,
    /// Turned away by a limit.
    Blocked,
    /// Out of hours.
    Closed,
    /// Technical failure.
    Failed,
    /// A talk broken off by us or the network.
    Cut,
}

impl Outcome {
    pub const ALL: [Outcome; 12] = [
        Outcome::Served,
        Outcome::SelfServed,
        Outcome::Announced,
        Outcome::TransferredOut,
        Outcome::CallbackBooked,
        Outcome::Cancelled,
        Outcome::AbandonedInMenu,
        Outcome::AbandonedInQueue,
        Outcome::Blocked,
        Outcome::Closed,
        Outcome::Failed,
        Outcome::Cut,
    ];

    /// The word in tables, API and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Served => "served",
            Outcome::SelfServed => "self_served",
            Outcome::Announced => "announced",
            Outcome::TransferredOut => "transferred_out",
            Outcome::CallbackBooked => "callback_booked",
            Outcome::Cancelled => "cancelled",
            Outcome::AbandonedInMenu => "abandoned_in_menu",
            Outcome::AbandonedInQueue => "abandoned_in_queue",
            Outcome::Blocked => "blocked",
            Outcome::Closed => "closed",
            Outcome::Failed => "failed",
            Outcome::Cut => "cut",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    Citizen,
    Agent,
    /// Us: a limit, a drain, a failure of ours.
    Engine,
    /// The far end vanished without a word.
    Network,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueLeft {
    Abandoned,
    WaitedTooLong,
    Full,
    Transferred,
    EngineFailed,
    /// Chose to be called back.
    CallbackBooked,
    Closed,
    NoAgents,
    EstimateTooLong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfferEnd {
    Answered,
    /// The caller hung up or was answered elsewhere while it rang.
    Withdrawn,
    Missed(MissReason),
}

/// Why an agent did not take an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissReason {
    /// It rang to the end.
    NoAnswer,
    /// 486.
    Busy,
    /// 603, 480 or another deliberate no.
    Rejected,
    /// No contact: 404, or nobody registered.
    Unregistered,
    /// The phone did not answer at all, or answered with a fault (408, 5xx, 488).
    Unreachable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteEnd {
    Answered,
    Busy,
    NoAnswer,
    Failed,
    /// The citizen hung up while it rang.
    Withdrawn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskEnd {
    /// The person rang again and was served.
    GotThrough,
    /// The person was called back and reached.
    Reached,
    AttemptsEnded,
    /// Closed by a person, with a reason in the audit.
    ClosedByHand,
    /// The number belongs to somebody else.
    WrongNumber,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentStateName {
    Offline,
    Ready,
    Offered,
    Talking,
    WrapUp,
    OnBreak,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandoffResult {
    /// The core took the case; its own reference.
    Accepted {
        reference: String,
    },
    Booked {
        reference: String,
    },
    Waitlisted {
        reference: String,
    },
    /// The core refused it for good; a task for an operator.
    Refused {
        reason: String,
    },
}

/// The ledger's law over one span: `entered = live + sum(outcomes)`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub entered: u64,
    pub live: u64,
    /// Every outcome by its word, zero where there was none.
    pub outcomes: BTreeMap<String, u64>,
    pub open_callbacks: u64,
}

impl Ledger {
    pub fn holds(&self) -> bool {
        self.entered == self.live + self.outcomes.values().sum::<u64>()
    }
}

/// A fact with its time, as the journal gives it to every fold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    pub at: Moment,
    pub fact: Fact,
}
