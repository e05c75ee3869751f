//! What things are called: one type for each kind of id, so that none can stand for another.
//!
//! Ids are arguments: a brain never invents one from thin air. [`IdSource`] counts them out for one life of the engine.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

/// One citizen's call (an *interaction*), from the first INVITE to the report. UUID v7, so it sorts by time of arrival.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallId(pub Uuid);

/// A citizen, as far as the journal may know one: a keyed hash of the phone number (see [`crate::pii::PersonKey`]).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PersonId(pub Uuid);

/// A region by its number in the list of federal subjects (22 Altai, 76 Yaroslavl, 92 Sevastopol); 0 is the only region of a
/// configuration that names none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct RegionId(pub u16);

impl CallId {
    /// The call by which a task is carried out when an agent is asked for it the `nth` time: made of these and nothing else, so that
    /// a brain can name it and a replay names it alike (UUID v8, RFC 9562 §5.8).
    pub fn of_callback(task: TaskId, nth: u32) -> Self {
        let words = u128::from(nth) << 64 | u128::from(task.0);
        Self(Uuid::new_v8(words.to_be_bytes()))
    }
}

macro_rules! counted_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", stringify!($name).trim_end_matches("Id").to_ascii_lowercase(), self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

counted_id!(/** One party's side of a call: one SIP dialog and one media stream. */ LegId);
counted_id!(/** One offer of one call to one agent. */ OfferId);
counted_id!(/** One playing of a prompt or a list of prompts. */ PlayId);
counted_id!(/** One task to call somebody back. */ TaskId);
counted_id!(/** One hand-off to the booking core; its idempotency key. */ HandoffId);

macro_rules! named_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

named_id!(/** An operator, by the user name of their account: `op17`. */ AgentId);
named_id!(/** A queue, by its key in the configuration: `therapy`. */ QueueId);
named_id!(/** A skill, by its key in the configuration. */ Skill);
named_id!(/** A trunk, by its key in the configuration. */ TrunkId);
named_id!(/** A route out of the house (103, another organisation), by its key in the configuration. */ RouteId);
named_id!(/** A robot's script, by its file name without `.yaml`. */ ScriptId);
named_id!(/** A recorded prompt, by the name of its WAV without `.wav`. */ PromptId);

macro_rules! uuid_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}
uuid_text!(CallId);
uuid_text!(PersonId);

impl fmt::Display for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}", self.0)
    }
}
impl fmt::Debug for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "region{:02}", self.0)
    }
}

/// Counts out ids for one life of the engine. The epoch (how often this journal was opened) stands in the upper bits, so ids of
/// two lives never meet and a command of a former life is recognised.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IdSource {
    next: u64,
}

impl IdSource {
    const EPOCH_SHIFT: u32 = 40;

    pub fn new(epoch: u32) -> Self {
        Self { next: (u64::from(epoch) << Self::EPOCH_SHIFT) + 1 }
    }

    pub fn next_raw(&mut self) -> u64 {
        let id = self.next;
        self.next += 1;
        id
    }

    pub fn leg(&mut self) -> LegId {
        LegId(self.next_raw())
    }
    pub fn offer(&mut self) -> OfferId {
        OfferId(self.next_raw())
    }
    pub fn play(&mut self) -> PlayId {
        PlayId(self.next_raw())
    }
    pub fn task(&mut self) -> TaskId {
        TaskId(self.next_raw())
    }
    pub fn handoff(&mut self) -> HandoffId {
        HandoffId(self.next_raw())
    }
}
