//! What people and tools may ask of the running engine; answered by the conductor within one turn.

pub use crate::acd::Order;

use super::view::{Board, Callback};
use crate::facts::{AttemptEnd, TaskEnd};
use crate::ids::*;
use crate::pii::Phone;
use tokio::sync::{mpsc, oneshot};

pub enum Request {
    Board(oneshot::Sender<Board>),
    AgentState {
        agent: AgentId,
        wish: AgentWish,
        reply: Reply,
    },
    /// The operator hands the talk to a route out of the house (103, another organisation).
    Transfer {
        agent: AgentId,
        route: RouteId,
        reply: Reply,
    },
    /// The operator hands the talk to another queue of the house.
    HandOn {
        agent: AgentId,
        queue: QueueId,
        reply: Reply,
    },
    TaskTaken {
        task: TaskId,
        agent: AgentId,
        reply: Reply,
    },
    TaskClosed {
        task: TaskId,
        how: TaskEnd,
        reply: Reply,
    },
    /// Pause or go on with the recording of the agent's talk.
    PauseRecording {
        agent: AgentId,
        paused: bool,
        reply: Reply,
    },
    /// Read configuration and scripts again.
    Reload(Reply),
    /// The booking core settled a hand-off.
    HandoffSettled {
        handoff: HandoffId,
        call: CallId,
        result: crate::facts::HandoffResult,
    },
    /// What became of a recording after its call, to be written down.
    RecordingNews(crate::facts::Fact),
    /// The tables have caught up to these positions (bytes) of the journal and of the people stream.
    StoreAt {
        position: u64,
        people: u64,
    },
    /// Which id the installation's key gives this number.
    PersonOf {
        phone: Phone,
        reply: oneshot::Sender<PersonId>,
    },
    /// The tables have forgotten this person: note it, and let the people stream go as soon as it is folded.
    PersonForgotten {
        person: PersonId,
        recordings: u32,
        reply: Reply,
    },
    /// Every open task as the floor has it.
    OpenCallbacks(oneshot::Sender<Vec<Callback>>),
    /// Somebody has tried by hand to call back, and reached nobody.
    TaskTried {
        task: TaskId,
        end: AttemptEnd,
        reply: Reply,
    },
    /// A supervisor says what an agent is to be.
    AgentOverride {
        agent: AgentId,
        order: Order,
        by: String,
        why: String,
        reply: Reply,
    },
    Drain,
    /// End at once: calls and media stay as they are, for the next life to take over.
    HandOver,
}

pub type Reply = oneshot::Sender<Result<(), Refusal>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentWish {
    Ready,
    Break {
        reason: String,
    },
    Offline,
    FinishWrapUp,
    ExtendWrapUp,
    /// What came of the talk.
    Code {
        code: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no {0}")]
    NotFound(String),
    #[error("{0}")]
    Invalid(String),
    #[error("the engine is busy, try again")]
    Busy,
}

/// A handle on the running engine, cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub requests: mpsc::Sender<Request>,
}

impl Engine {
    /// Requests held before callers have to wait.
    pub const MAX_REQUESTS: usize = 1024;

    /// Asks and waits for the answer; [`Refusal::Busy`] if the engine is gone.
    pub async fn ask(&self, request: impl FnOnce(Reply) -> Request) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| Refusal::Busy)?;
        answer.await.unwrap_or(Err(Refusal::Busy))
    }

    pub async fn board(&self) -> Result<Board, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Board(reply)).await.map_err(|_| Refusal::Busy)?;
        answer.await.map_err(|_| Refusal::Busy)
    }
}
