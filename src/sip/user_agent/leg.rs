//! One leg: a dialog and where it stands.

use crate::clock::Moment;
use crate::ids::{LegId, TrunkId};
use crate::sip::HangUpReason;
use crate::sip::dialog::Dialog;
use crate::sip::reply::ReplyHead;
use crate::sip::sdp::{Description, Session};
use crate::sip::session_timer::Terms;
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
    pub change: Change,
    pub refresh: Refresh,
    /// Our description as the far end has it; empty if a former life did not write it down.
    pub described: Vec<u8>,
    /// When the far end was last heard in the dialog.
    pub heard: Moment,
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
    pub terms: Terms,
    /// CSeq number of our INVITE whose 2xx we acknowledged last.
    pub acknowledged: Option<u32>,
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
        /// The session interval that the INVITE asks for.
        asked_s: Option<u32>,
        /// Its bytes behind `head` and that.
        rest: Vec<u8>,
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
    /// On its way with our description as it is, to refresh the session.
    Refreshing {
        next: Option<(SocketAddr, Direction)>,
    },
}

/// Our next refresh, if it is ours to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// At half of the interval.
    Waiting,
    /// Again: the last was refused.
    Again(Moment),
    /// On its way.
    Sent,
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
            refresh: Refresh::Waiting,
            described: Vec::new(),
            heard: Moment::ZERO,
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

    /// When the leg has to be looked at again; `probe_held` as in the settings.
    pub fn next_due(&self, probe_held: Option<Duration>) -> Option<Moment> {
        let change = match &self.change {
            Change::Wanted { at, .. } if self.is_free() => Some(*at),
            Change::Wanted { .. } | Change::None | Change::Sent { .. } | Change::Refreshing { .. } => None,
        };
        let repeat = self.unacknowledged.as_ref().map(|unacknowledged| unacknowledged.next.min(unacknowledged.ends));
        let sign = self.sign_by.filter(|_| self.gives_no_sign());
        [change, repeat, sign, self.session_ends(), self.refresh_at(), self.probe_at(probe_held)].into_iter().flatten().min()
    }

    /// We call, and nothing came back.
    pub fn gives_no_sign(&self) -> bool {
        matches!(self.state, State::Dialling { provisional: false, .. }) && !self.silent
    }

    /// When the session is over for want of a refresh.
    pub fn session_ends(&self) -> Option<Moment> {
        self.talk.terms.timer.filter(|_| matches!(self.state, State::Live)).map(|timer| timer.ends())
    }

    /// When we refresh the session. A re-INVITE that is wanted anyhow does it too.
    pub fn refresh_at(&self) -> Option<Moment> {
        let half = self.talk.terms.timer?.refresh_at()?;
        let open = self.is_free() && (self.talk.terms.by_update || self.change == Change::None);
        match self.refresh {
            Refresh::Waiting if open => Some(half),
            Refresh::Again(at) if open => Some(at),
            Refresh::Waiting | Refresh::Again(_) | Refresh::Sent => None,
        }
    }

    /// When a far end is asked that sends no media and says nothing.
    pub fn probe_at(&self, probe_held: Option<Duration>) -> Option<Moment> {
        let held = self.talk.stream.is_some_and(|stream| !stream.direction.receives());
        probe_held.filter(|_| held && matches!(self.state, State::Live)).map(|silence| self.heard + silence)
    }

    /// RFC 3261 §14.1: no new INVITE while one is in progress in either direction.
    pub fn is_free(&self) -> bool {
        matches!(self.state, State::Live) && self.unacknowledged.is_none() && !self.change.is_sent()
    }
}

impl Change {
    /// A re-INVITE of ours is on its way.
    pub fn is_sent(&self) -> bool {
        matches!(self, Change::Sent { .. } | Change::Refreshing { .. })
    }
}
