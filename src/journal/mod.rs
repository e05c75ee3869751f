//! The append-only file that is written before anything is done: checksummed frames, snapshots, replay.
//!
//! Three streams of the same form: *facts* (no personal data, kept for long), *people* (who stands behind a `PersonId`, folded into
//! the tables and then deleted) and *legs* (dialogs of live calls, kept for a day at most).

mod frame;
mod inspect;
pub mod ledger;
mod leg_words;
pub mod live_calls;
mod log;
mod reader;
mod segments;
mod sync;

pub use inspect::{Inspected, inspect};
pub use ledger::LedgerFold;
pub use leg_words::{KeptLeg, KeptLegs, LegWord, LegWritten};
pub use live_calls::LiveCalls;
pub use log::{Limits, Log, Opened};
pub use reader::Reader;
pub use segments::Damage;

use crate::clock::Moment;
use crate::facts::{Fact, Stamped};
use crate::ids::{CallId, LegId, PersonId, QueueId, ScriptId};
use crate::pii::Phone;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The stream of facts and brain inputs.
pub type Journal = Log<Record>;
/// The stream of who stands behind a [`PersonId`]; lives in a directory of its own.
pub type People = Log<PersonSeen>;

/// The stream of what live legs are: dialogs, media, what is heard. The next life of the engine goes on with them. It lives in a
/// directory of its own, because SIP headers name the citizen, and not for longer than a call can last.
pub type LegStates = Log<LegWritten>;

/// What a stream is made of.
pub trait Entry: Serialize + DeserializeOwned + Send + 'static {
    fn at(&self) -> Moment;
}

/// One entry of the facts stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub at: Moment,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Body {
    Fact(Fact),
    /// What a brain was told, in the brain's own encoding: replayed into the brain after a restart.
    Input {
        brain: Brain,
        call: Option<CallId>,
        event: Vec<u8>,
    },
    /// The brains of a call that has just entered: the citizen's leg, and the version of the script with which it begins.
    Began {
        call: CallId,
        citizen: LegId,
        script: ScriptId,
        version: u32,
    },
    /// Ends a turn that changed legs or heard media. Leg words of a turn that is not ended in the file did not happen; events of
    /// media up to `heard` did.
    Turn {
        heard: Heard,
    },
    /// The talk of a call that goes out, to a citizen who is owed one; `citizen` is the leg by which they will be dialled.
    CalledBack {
        call: CallId,
        citizen: LegId,
        queue: QueueId,
        recorded: bool,
        /// So long their phone rings.
        rings: Duration,
    },
}

/// How far the events of which life of media are written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    pub life: u64,
    pub number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Brain {
    Acd,
    Ivr,
    Talk,
}

/// One entry of the people stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PersonSeen {
    pub at: Moment,
    pub person: PersonId,
    pub phone: Phone,
}

impl Entry for Record {
    fn at(&self) -> Moment {
        self.at
    }
}

impl Record {
    /// The fact with its time, as the folds take it; `None` for a brain's input.
    pub fn into_stamped(self) -> Option<Stamped> {
        match self.body {
            Body::Fact(fact) => Some(Stamped { at: self.at, fact }),
            Body::Input { .. } | Body::Began { .. } | Body::Turn { .. } | Body::CalledBack { .. } => None,
        }
    }
}

impl Entry for PersonSeen {
    fn at(&self) -> Moment {
        self.at
    }
}

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("another engine holds the journal in {}; stop it first, or give this one a directory of its own", .0.display())]
    Locked(PathBuf),
    #[error("the journal cannot {doing} {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("a record is larger than {} bytes and was not kept", frame::MAX_BODY)]
    TooLarge,
}

impl JournalError {
    fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> JournalError {
        let path = path.into();
        move |source| JournalError::Io { doing, path, source }
    }
}
