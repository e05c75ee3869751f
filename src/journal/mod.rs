//! The append-only file that is written before anything is done: checksummed frames, snapshots, replay.
//!
//! Two streams of the same form: *facts* (no personal data, kept for long) and *people* (who stands behind a `PersonId`, folded
//! into the tables and then deleted).

use crate::clock::Moment;
use crate::facts::Fact;
use crate::ids::{CallId, PersonId};
use crate::pii::Phone;
use serde::{Deserialize, Serialize};

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
