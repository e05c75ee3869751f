//! One leg: a dialog and where it stands.

use crate::clock::Moment;
use crate::ids::{LegId, TrunkId};
use crate::sip::HangUpReason;
use crate::sip::dialog::Dialog;
use crate::sip::reply::ReplyHead;
use crate::sip::sdp::{Description, Session};
use crate::sip::transaction::client::{ClientId, Hop, RequestHead};
use crate::sip::transaction::server::{Key, ServerId};
use crate::sip::transaction::{PATIENCE, T1};
use crate::stream::{Direction, Stream};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// Where a leg that the call still listens to stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegStage {
    /// Called, not answered by us.
    Invited,
    /// Called by us, not answered.
    Dialling,
    /// Answered.
    Live,
}

/// The live legs, and which of them may differ from what was last written down.
#[derive(Debug, Default)]
pub struct LegTable {
    by_id: BTreeMap<LegId, Leg>,
    touched: BTreeSet<LegId>,
}

impl LegTable {
    pub fn get(&self, id: &LegId) -> Option<&Leg> {
        self.by_id.get(id)
    }

    pub fn get_mut(&mut self, id: &LegId) -> Option<&mut Leg> {
        let leg = self.by_id.get_mut(id)?;
        self.touched.insert(*id);
        Some(leg)
    }

    pub fn insert(&mut self, id: LegId, leg: Leg) {
        self.touched.insert(id);
        self.by_id.insert(id, leg);
    }

    pub fn remove(&mut self, id: &LegId) -> Option<Leg> {
        self.touched.insert(*id);
        self.by_id.remove(id)
    }

    pub fn touch(&mut self, id: LegId) {
        self.touched.insert(id);
    }

    pub fn next_touched(&mut self) -> Option<LegId> {
        self.touched.pop_first()
    }

    pub fn contains_key(&self, id: &LegId) -> bool {
        self.by_id.contains_key(id)
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (LegId, &Leg)> {
        self.by_id.iter().map(|(id, leg)| (*id, leg))
    }
}

#[derive(Debug)]
pub struct Leg {
    pub network: usize,
    pub state: State,
    pub talk: Talk,
    /// Nobody listens to it any more: its last word was said, only the far end must still be told.
    pub silent: bool,
    /// A 2xx of ours that waits for its ACK.
    pub unacknowledged: Option<Unacknowledged>,
    /// The INVITE of ours whose 2xx we acknowledged last, by its CSeq number.
    pub acknowledged: Option<u32>,
    pub change: Change,
    pub requests: RequestRate,
    /// A call of ours of which nothing at all was heard by then, not even a 100, is given up.
    pub sign_by: Option<Moment>,
    pub due: Option<Moment>,
}

/// What a leg is in every state: whom it speaks with, and about which stream.
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
        /// Of the INVITE; its ACK has the same.
        cseq: u32,
        /// The last provisional status we gave.
        status: u16,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cancel {
    No,
    /// RFC 3261 §9.1: no CANCEL before a provisional response.
    Wanted(Option<HangUpReason>),
    Sent(Option<HangUpReason>),
}

/// RFC 3261 §13.3.1.4: a 2xx to an INVITE is repeated from end to end until the ACK comes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unacknowledged {
    pub hop: Hop,
    /// Of its INVITE.
    pub key: Key,
    pub response: Vec<u8>,
    pub cseq: u32,
    #[serde(skip)]
    pub next: Moment,
    #[serde(skip)]
    pub interval: Duration,
    #[serde(skip)]
    pub ends: Moment,
    /// The 2xx offered, so the ACK answers.
    pub offers: bool,
    /// It answered the call itself, not a re-INVITE.
    pub initial: bool,
    /// Hung up meanwhile: BYE may be sent only after the ACK (RFC 3261 §15).
    pub then_bye: bool,
}

impl Unacknowledged {
    pub fn new(now: Moment, hop: Hop, key: Key, response: Vec<u8>, cseq: u32, offers: bool, initial: bool) -> Self {
        Self { hop, key, response, cseq, next: now + T1, interval: T1, ends: now + PATIENCE, offers, initial, then_bye: false }
    }

    /// Another life repeats it at once, and has the whole patience.
    pub fn restored(self, now: Moment, network: usize) -> Self {
        Self { hop: Hop { network, ..self.hop }, next: now, interval: T1, ends: now + PATIENCE, ..self }
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
            acknowledged: None,
            change: Change::None,
            requests: RequestRate::default(),
            sign_by: None,
            due: None,
        }
    }

    pub fn stage(&self) -> Option<LegStage> {
        match self.state {
            _ if self.silent => None,
            State::Invited { .. } => Some(LegStage::Invited),
            State::Dialling { .. } => Some(LegStage::Dialling),
            State::Live => Some(LegStage::Live),
            State::Ending => None,
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
        let sign = self.sign_by.filter(|_| self.gives_no_sign());
        [change, repeat, sign].into_iter().flatten().min()
    }

    /// We call, and nothing came back.
    pub fn gives_no_sign(&self) -> bool {
        matches!(self.state, State::Dialling { provisional: false, .. }) && !self.silent
    }

    /// RFC 3261 §14.1: no new INVITE while one is in progress in either direction.
    pub fn is_free(&self) -> bool {
        matches!(self.state, State::Live) && self.unacknowledged.is_none() && !matches!(self.change, Change::Sent { .. })
    }
}
