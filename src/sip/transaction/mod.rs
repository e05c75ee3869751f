//! Transactions: one request and its replies, over a network that loses and repeats datagrams (RFC 3261 §17, RFC 6026).
//!
//! [`client`] keeps the requests we sent, [`server`] those we got. Both write what they send again by themselves to an [`Outbox`].

pub mod client;
pub mod server;

use super::Transmit;
use std::collections::VecDeque;
use std::time::Duration;

/// RFC 3261 §17.1.1.1: estimate of a round trip; the first repetition comes after it.
pub const T1: Duration = Duration::from_millis(500);
/// Longest time between two repetitions.
pub const T2: Duration = Duration::from_secs(4);
/// How long a message stays in the network.
pub const T4: Duration = Duration::from_secs(5);
/// 64·T1: nobody waits longer (timers B, D, F, H, J, L, M).
pub const PATIENCE: Duration = Duration::from_secs(32);

/// Datagrams on their way out.
pub type Outbox = VecDeque<Transmit>;

/// The next time between repetitions.
pub(super) fn doubled(interval: Duration) -> Duration {
    interval.saturating_mul(2).min(T2)
}
