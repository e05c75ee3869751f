//! The engine started as a user would, called by foreign phones (SIPp, baresip) and by phones of our own.
//!
//! Each test has an engine and loopback addresses of its own; see [`line`] for what stands where. Every wait is for a condition and
//! has a bound.

mod agents;
mod ambulance;
mod announcement;
mod baresip;
mod callbacks;
mod clock;
mod damage;
mod drain;
mod ear;
mod engine;
mod failover;
mod foreign;
mod full_disk;
mod last_agent;
mod lease;
mod line;
mod manners;
mod overflow;
#[path = "../postgres/mod.rs"]
mod postgres;
mod privacy;
mod raw;
mod recording;
mod restart;
mod rush;
mod several;
mod sipp;
mod takeover;
mod talk;
mod tools;
mod turn;
mod upkeep;
#[path = "../wall/mod.rs"]
mod wall;
mod webhooks;
