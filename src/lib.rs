//! dozvon: the engine of a health line. `docs/ARCHITECTURE.md` says where to start reading.

// Words that every room may use.
pub mod clock;
pub mod facts;
pub mod ids;
pub mod pii;
pub mod routing;
pub mod skills;
pub mod stream;

// Brains: no clock, no IO, no async.
pub mod acd;
pub mod ivr;
pub mod sip;
pub mod talk;

// A day in virtual time, and how many people it takes.
pub mod simulate;
pub mod staffing;

// Rooms that touch the world.
#[cfg(feature = "live")]
pub mod api;
#[cfg(feature = "live")]
pub mod booking;
#[cfg(feature = "live")]
pub mod call;
#[cfg(feature = "live")]
pub mod config;
#[cfg(feature = "live")]
pub mod journal;
#[cfg(feature = "live")]
pub mod media;
#[cfg(feature = "live")]
pub mod recordings;
#[cfg(feature = "live")]
pub mod store;
#[cfg(feature = "live")]
pub mod testphone;
#[cfg(feature = "live")]
pub mod upkeep;
