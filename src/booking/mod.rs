//! The door to the booking core, in the words of the line.

pub mod deliver;
pub mod reference;
pub mod webhook;

use crate::clock::Moment;
use crate::facts::HandoffResult;
use crate::ids::*;
use crate::pii::Phone;
use async_trait::async_trait;
use std::time::Duration;

/// A system that keeps appointments. Voice never waits for it: whoever asks sets a time limit.
#[async_trait]
pub trait BookingCore: Send + Sync {
    /// Takes over a case. Asked again with the same hand-off id, it does nothing new and gives the same answer.
    async fn hand_off(&self, case: &Case, now: Moment) -> Result<HandoffResult, CoreError>;
    /// Free slots of a service, soonest first.
    async fn slots(&self, region: RegionId, service: &str, now: Moment, limit: u32) -> Result<Vec<Slot>, CoreError>;
    /// Keeps a slot for the holder of `key` until then.
    async fn hold(&self, slot: SlotId, key: &str, now: Moment, until: Moment) -> Result<(), CoreError>;
    /// Books a slot that is free or held under this key. Gives the reference of the booking.
    async fn book(&self, slot: SlotId, key: &str, now: Moment) -> Result<String, CoreError>;
    async fn cancel(&self, reference: &str) -> Result<(), CoreError>;
    /// Puts the holder of `key` on the waiting list. Gives the reference of the entry.
    async fn waitlist(&self, region: RegionId, service: &str, key: &str, now: Moment) -> Result<String, CoreError>;
}

/// What the core gets of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Its idempotency key.
    pub handoff: HandoffId,
    pub call: CallId,
    pub region: RegionId,
    pub person: Option<PersonId>,
    pub phone: Option<Phone>,
    pub theme: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub i64);

#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    pub slot: SlotId,
    pub doctor: String,
    pub starts: Moment,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoreError {
    /// Network, 408, 429, 503, 504: the same again later.
    #[error("the booking core cannot be reached: {0}")]
    Unavailable(String),
    /// 409, or the word `duplicate`: it has this hand-off already.
    #[error("the booking core already has it as {reference}")]
    Duplicate { reference: String },
    #[error("the slot is no longer free")]
    SlotTaken,
    /// Never again; a person has to look at it.
    #[error("the booking core refused: {0}")]
    Refused(String),
}

const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LONGEST: Duration = Duration::from_secs(300);

/// The pause after one more failure: 1, 2, 4 … seconds, five minutes at most.
fn pause_after(attempts: u32) -> Duration {
    PAUSE_FIRST.saturating_mul(1 << attempts.min(16)).min(PAUSE_LONGEST)
}
