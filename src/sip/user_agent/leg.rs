//! One leg: a dialog and where it stands.

use crate::clock::Moment;
use crate::ids::TrunkId;
use crate::sip::dialog::Dialog;
use crate::sip::reply::ReplyHead;
use crate::sip::sdp::{Description, Session};
use crate::sip::transaction::client::{ClientId, Hop, RequestHead};
use crate::sip::transaction::server::ServerId;
use crate::sip::transaction::{PATIENCE, T1};
use crate::stream::{Direction, Stream};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Debug)]
pub struct Leg {
    pub network: usize,
    pub state: State,
    pub talk: Talk,
    /// Nobody listens to it any more: its last word was said, only the far end must still be told.
    pub silent: bool,
    /// A 2xx of ours that waits for its ACK.
    pub unacknowledged: Option<Unacknowledged>,
    pub change: Change,
    pub requests: RequestRate,
    pub due: Option<Moment>,
}

/// What outlives the engine: enough to go on with the call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Talk {
    pub dialog: Dialog,
    pub network: String,
    pub trunk: Option<TrunkId>,
    pub session: Session,
    /// Where our media stands, once that was said.
    pub local: Option<SocketAddr>,
    pub stream: Option<Stream>,
}

#[derive(Debug)]
pub enum State {
    /// Called, not answered.
    Invited {
        server: ServerId,
        reply: ReplyHead,
        offer: Option<Box<Description>>,
        answer: Option<Vec<u8>>,
    },
    /// Calling, not answered.
    Dialling {
        client: ClientId,
        head: Box<RequestHead>,
        provisional: bool,
        cancel: Cancel,
    },
    Live,
    /// Our BYE is on its way.
    Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    No,
    /// RFC 3261 §9.1: no CANCEL before a provisional response.
    Wanted,
    Sent,
}

/// RFC 3261 §13.3.1.4: a 2xx to an INVITE is repeated from end to end until the ACK comes.
#[derive(Debug)]
pub struct Unacknowledged {
    pub hop: Hop,
    pub response: Vec<u8>,
    pub cseq: u32,
    pub next: Moment,
    pub interval: Duration,
    pub ends: Moment,
    /// The 2xx offered, so the ACK answers.
    pub offers: bool,
    /// It answered the call itself, not a re-INVITE.
    pub initial: bool,
    /// Hung up meanwhile: BYE may be sent only after the ACK (RFC 3261 §15).
    pub then_bye: bool,
}

impl Unacknowledged {
    pub fn new(now: Moment, hop: Hop, response: Vec<u8>, cseq: u32, offers: bool, initial: bool) -> Self {
        Self { hop, response, cseq, next: now + T1, interval: T1, ends: now + PATIENCE, offers, initial, then_bye: false }
    }
}

/// A re-INVITE of ours.
#[derive(Debug, PartialEq)]
pub enum Change {
    None,
    /// Due when the way is free, not before `at`.
    Wanted {
        at: Moment,
        local: SocketAddr,
        direction: Direction,
    },
    /// On its way; `next` was asked for meanwhile.
    Sent {
        local: SocketAddr,
        direction: Direction,
        next: Option<(SocketAddr, Direction)>,
    },
}

/// Requests inside one dialog, counted over [`PATIENCE`]: each leaves a transaction behind for so long.
#[derive(Debug, Default)]
pub struct RequestRate {
    since: Moment,
    count: u32,
}

impl RequestRate {
    /// A caller who presses keys by INFO as fast as a finger goes makes some 150.
    const MAX: u32 = 300;

    pub fn admits(&mut self, now: Moment) -> bool {
        if now.since(self.since) > PATIENCE {
            *self = Self { since: now, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count <= Self::MAX
    }
}

impl Leg {
    pub fn new(network: usize, state: State, talk: Talk) -> Self {
        Self {
            network,
            state,
            talk,
            silent: false,
            unacknowledged: None,
            change: Change::None,
            requests: RequestRate::default(),
            due: None,
        }
    }

    pub fn hop(&self) -> Hop {
        self.talk.dialog.hop(self.network)
    }

    /// When the leg has to be looked at again.
    pub fn next_due(&self) -> Option<Moment> {
        let change = match &self.change {
            Change::Wanted { at, .. } if self.is_free() => Some(*at),
            Change::Wanted { .. } | Change::None | Change::Sent { .. } => None,
        };
        let repeat = self.unacknowledged.as_ref().map(|unacknowledged| unacknowledged.next.min(unacknowledged.ends));
        [change, repeat].into_iter().flatten().min()
    }

    /// RFC 3261 §14.1: no new INVITE while one is in progress in either direction.
    pub fn is_free(&self) -> bool {
        matches!(self.state, State::Live) && self.unacknowledged.is_none() && !matches!(self.change, Change::Sent { .. })
    }
}
