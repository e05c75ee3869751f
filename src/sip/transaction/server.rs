//! Requests of others that we answer (RFC 3261 §17.2, RFC 6026 §7.1): each is heard once, however often it comes.

use super::client::Hop;
use super::{Outbox, PATIENCE, T1, T4, doubled};
use crate::clock::Moment;
use crate::ids::LegId;
use crate::sip::Transmit;
use crate::sip::message::{Method, Request};
use crate::sip::vet::Vetted;
use serde::{Deserialize, Serialize};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerId(u64);

/// What makes two datagrams one request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key(String);

impl Key {
    /// RFC 3261 §17.2.3: branch, sent-by and method; an ACK has the key of its INVITE. Without the cookie (RFC 2543) it is
    /// Request-URI, From tag, Call-ID, CSeq number and the whole Via.
    pub fn of(request: &Request, vetted: &Vetted<'_>, method: Method) -> Self {
        let Vetted { via, call_id, cseq, .. } = vetted;
        let method = if method == Method::Ack { Method::Invite } else { method };
        let name = if method == Method::Other { request.method_text() } else { method.name() };
        Self(match via.branch() {
            Some(branch) => {
                let mut key = String::with_capacity(branch.len() + via.host.len() + name.len() + 8);
                for part in
                    [branch, " ", via.host, " ", via.port.map_or(String::new(), |port| port.to_string()).as_str(), " ", name]
                {
                    key.push_str(part);
                }
                key
            }
            None => {
                let tag = vetted.from.tag().unwrap_or_default();
                format!("{} {tag} {call_id} {cseq} {} {name}", request.uri(), via.text)
            }
        })
    }
}

/// RFC 3261 §8.2.2.2: one request that came on two ways: the same but for its branch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MergeKey(String);

impl MergeKey {
    pub fn of(vetted: &Vetted<'_>) -> Self {
        Self::from_parts(vetted.call_id, vetted.from.tag().unwrap_or_default(), vetted.cseq)
    }

    pub fn from_parts(call_id: &str, from_tag: &str, cseq: u32) -> Self {
        Self(format!("{call_id} {from_tag} {cseq}"))
    }
}

/// What to do with a datagram that belongs to a known transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Dealt with: the last response was sent again, or nothing was due.
    Absorbed,
    /// An ACK for a 2xx: the dialog's affair.
    AckOfAnswer,
}

#[derive(Debug, Default)]
pub struct ServerTransactions {
    next: u64,
    live: BTreeMap<ServerId, Server>,
    by_key: BTreeMap<Key, ServerId>,
    by_merge_key: BTreeMap<MergeKey, ServerId>,
    due: BTreeSet<(Moment, ServerId)>,
    /// INVITEs that wait for our answer or for the ACK of a refusal.
    open: usize,
    by_source: BTreeMap<IpAddr, usize>,
    /// Legs whose refusal is acknowledged, or given up.
    refusals_over: Vec<LegId>,
}

#[derive(Debug)]
struct Server {
    key: Key,
    merge_key: Option<MergeKey>,
    invite: bool,
    state: State,
    hop: Hop,
    due: Option<Moment>,
    /// The leg that this INVITE would have been, once it is refused.
    refused: Option<LegId>,
}

/// A refusal that waits for its ACK, as another life takes it up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    pub hop: Hop,
    key: Key,
    merge_key: Option<MergeKey>,
    response: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// Not answered for good; `response` is the last provisional one.
    Proceeding { response: Option<Vec<u8>> },
    /// Answered; a repeated request gets this response. A refused INVITE repeats it by itself until the ACK comes.
    Completed { response: Vec<u8>, repeat: Option<(Moment, Duration)>, ends: Moment },
    /// ACK came (timer I), or a 2xx was sent (timer L, RFC 6026): what comes again is absorbed.
    Quiet { accepted: bool, ends: Moment },
}

impl State {
    fn due(&self) -> Option<Moment> {
        match self {
            State::Proceeding { .. } => None,
            State::Completed { repeat, ends, .. } => Some(repeat.map_or(*ends, |(at, _)| at.min(*ends))),
            State::Quiet { ends, .. } => Some(*ends),
        }
    }
}

impl ServerTransactions {
    pub fn find(&self, key: &Key) -> Option<ServerId> {
        self.by_key.get(key).copied()
    }

    pub fn is_merged(&self, key: &MergeKey) -> bool {
        self.by_merge_key.contains_key(key)
    }

    pub fn open(&self) -> usize {
        self.open
    }

    /// Live ones of the requests from this address.
    pub fn of_source(&self, source: IpAddr) -> usize {
        self.by_source.get(&source).copied().unwrap_or_default()
    }

    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// `merge_key` for an INVITE that opens a dialog.
    pub fn start(&mut self, key: Key, merge_key: Option<MergeKey>, method: Method, hop: Hop) -> ServerId {
        self.next += 1;
        let id = ServerId(self.next);
        let invite = method == Method::Invite;
        self.open += usize::from(invite);
        *self.by_source.entry(hop.to.ip()).or_default() += 1;
        self.by_key.insert(key.clone(), id);
        if let Some(merge_key) = &merge_key {
            self.by_merge_key.insert(merge_key.clone(), id);
        }
        let state = State::Proceeding { response: None };
        self.live.insert(id, Server { key, merge_key, invite, state, hop, due: None, refused: None });
        id
    }

    pub fn key(&self, id: ServerId) -> Option<&Key> {
        self.live.get(&id).map(|server| &server.key)
    }

    /// An INVITE whose 2xx a former life sent: what comes of it again is absorbed.
    pub fn restore_accepted(&mut self, now: Moment, key: Key, merge_key: Option<MergeKey>, hop: Hop) {
        let id = self.start(key, merge_key, Method::Invite, hop);
        if let Some(server) = self.live.get_mut(&id) {
            server.state = State::Quiet { accepted: true, ends: now + PATIENCE };
            self.open = self.open.saturating_sub(1);
        }
        self.schedule(id);
    }

    /// The INVITE of `leg` was refused: [`Self::refusals_over`] tells when that is over.
    pub fn refused(&mut self, id: ServerId, leg: LegId) {
        if let Some(server) = self.live.get_mut(&id) {
            server.refused = Some(leg);
        }
    }

    /// The refusal, as long as it waits for its ACK.
    pub fn refusal(&self, id: ServerId) -> Option<Refusal> {
        let Server { key, merge_key, hop, state, .. } = self.live.get(&id)?;
        let State::Completed { response, .. } = state else { return None };
        Some(Refusal { hop: *hop, key: key.clone(), merge_key: merge_key.clone(), response: response.clone() })
    }

    /// Sends a refusal of a former life again, and on until its ACK comes.
    pub fn restore_refusal(&mut self, now: Moment, leg: LegId, refusal: Refusal, out: &mut Outbox) -> ServerId {
        const ANY_REFUSAL: u16 = 500;
        let Refusal { hop, key, merge_key, response } = refusal;
        let id = self.start(key, merge_key, Method::Invite, hop);
        self.respond(now, id, ANY_REFUSAL, response, out);
        self.refused(id, leg);
        id
    }

    /// Legs whose refusal came to its end since this was last asked.
    pub fn refusals_over(&mut self) -> Vec<LegId> {
        std::mem::take(&mut self.refusals_over)
    }

    /// A datagram whose key is known.
    pub fn repeated(&mut self, now: Moment, id: ServerId, method: Method, out: &mut Outbox) -> Known {
        let Some(server) = self.live.get_mut(&id) else { return Known::Absorbed };
        if method == Method::Ack {
            return match &server.state {
                State::Completed { .. } if server.invite => {
                    // RFC 3261 §17.2.1: the ACK is there; later ones are absorbed for T4.
                    server.state = State::Quiet { accepted: false, ends: now + T4 };
                    self.refusals_over.extend(server.refused.take());
                    self.open = self.open.saturating_sub(1);
                    self.schedule(id);
                    Known::Absorbed
                }
                State::Quiet { accepted: true, .. } => Known::AckOfAnswer,
                State::Proceeding { .. } | State::Completed { .. } | State::Quiet { .. } => Known::Absorbed,
            };
        }
        let response = match &server.state {
            State::Proceeding { response } => response.as_ref(),
            State::Completed { response, .. } => Some(response),
            State::Quiet { .. } => None,
        };
        if let Some(response) = response {
            out.push_back(Transmit { network: server.hop.network, to: server.hop.to, bytes: response.clone() });
        }
        Known::Absorbed
    }

    /// Sends a response. A 2xx to an INVITE is repeated by the dialog, not from here (RFC 6026 §7.1).
    pub fn respond(&mut self, now: Moment, id: ServerId, status: u16, response: Vec<u8>, out: &mut Outbox) {
        let Some(server) = self.live.get_mut(&id) else { return };
        if !matches!(server.state, State::Proceeding { .. }) {
            return;
        }
        out.push_back(Transmit { network: server.hop.network, to: server.hop.to, bytes: response.clone() });
        let ends = now + PATIENCE;
        server.state = match status {
            100..=199 => State::Proceeding { response: Some(response) },
            200..=299 if server.invite => State::Quiet { accepted: true, ends },
            _ => State::Completed { response, repeat: server.invite.then_some((now + T1, T1)), ends },
        };
        if matches!(server.state, State::Quiet { .. }) {
            self.open = self.open.saturating_sub(1);
        }
        self.schedule(id);
    }

    pub fn handle_timeout(&mut self, now: Moment, out: &mut Outbox) {
        while let Some((at, id)) = self.due.first().copied()
            && at <= now
        {
            self.due.pop_first();
            let Some(server) = self.live.get_mut(&id) else { continue };
            server.due = None;
            match &mut server.state {
                State::Completed { response, repeat: Some((at, interval)), ends } if *ends > now => {
                    out.push_back(Transmit { network: server.hop.network, to: server.hop.to, bytes: response.clone() });
                    *interval = doubled(*interval);
                    *at = now + *interval;
                    self.schedule(id);
                }
                State::Completed { .. } | State::Quiet { .. } => self.forget(id),
                State::Proceeding { .. } => {}
            }
        }
    }

    pub fn poll_timeout(&self) -> Option<Moment> {
        self.due.first().map(|(at, _)| *at)
    }

    fn forget(&mut self, id: ServerId) {
        if let Some(server) = self.live.remove(&id) {
            self.refusals_over.extend(server.refused);
            if server.invite && !matches!(server.state, State::Quiet { .. }) {
                self.open = self.open.saturating_sub(1);
            }
            if let Entry::Occupied(mut live) = self.by_source.entry(server.hop.to.ip()) {
                *live.get_mut() = live.get().saturating_sub(1);
                if *live.get() == 0 {
                    live.remove();
                }
            }
            self.by_key.remove(&server.key);
            if let Some(merge_key) = &server.merge_key {
                self.by_merge_key.remove(merge_key);
            }
        }
    }

    fn schedule(&mut self, id: ServerId) {
        let Some(server) = self.live.get_mut(&id) else { return };
        let due = server.state.due();
        if due != server.due {
            if let Some(old) = server.due {
                self.due.remove(&(old, id));
            }
            if let Some(due) = due {
                self.due.insert((due, id));
            }
            server.due = due;
        }
    }
}
