//! What two ends agreed about one audio stream. Plain words shared by signalling (which negotiates them) and media (which obeys).

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// G.711, the only codec family every trunk and phone speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Codec {
    /// A-law, static payload type 8 (RFC 3551 §6).
    Pcma,
    /// µ-law, static payload type 0.
    Pcmu,
}

impl Codec {
    pub const fn payload_type(self) -> u8 {
        match self {
            Codec::Pcma => 8,
            Codec::Pcmu => 0,
        }
    }
    pub const fn name(self) -> &'static str {
        match self {
            Codec::Pcma => "PCMA",
            Codec::Pcmu => "PCMU",
        }
    }
}

/// Direction as **we** see it (RFC 3264 §5.1): `SendOnly` = we send, the far end only listens (it was put on hold by us).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    pub const fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }
    pub const fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }
}

/// One agreed stream: where to send, in which form.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stream {
    /// Where the far end listens.
    pub remote: SocketAddr,
    pub codec: Codec,
    /// Payload type of RFC 4733 telephone-event, as the **receiver of our packets** wants it; `None` if it has none.
    pub telephone_event: Option<u8>,
    /// Packet length in ms that we send (`ptime`; 20 unless asked otherwise).
    pub ptime_ms: u8,
    pub direction: Direction,
}
