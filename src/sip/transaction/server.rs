//! Requests of others that we answer (RFC 3261 §17.2, RFC 6026 §7.1): each is heard once, however often it comes.

use super::client::Hop;
use super::{Outbox, PATIENCE, T1, T4, doubled};
use crate::clock::Moment;
use crate::sip::Transmit;
use crate::sip::message::{Method, Request};
use crate::sip::vet::Vetted;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerId(u64);

/// What makes two datagrams one request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MergeKey(String);

impl MergeKey {
    pub fn of(vetted: &Vetted<'_>) -> Self {
        Self(format!("{} {} {}", vetted.call_id, vetted.from.tag().unwrap_or_default(), vetted.cseq))
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
}

#[derive(Debug)]
struct Server {
    key: Key,
    merge_key: Option<MergeKey>,
    invite: bool,
    state: State,
    hop: Hop,
    due: Option<Moment>,
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
        self.live.insert(id, Server { key, merge_key, invite, state: State::Proceeding { response: None }, hop, due: None });
        id
    }

    /// A datagram whose key is known.
    pub fn repeated(&mut self, now: Moment, id: ServerId, method: Method, out: &mut Outbox) -> Known {
        let Some(server) = self.live.get_mut(&id) else { return Known::Absorbed };
        if method == Method::Ack {
            return match &server.state {
                State::Completed { .. } if server.invite => {
                    // RFC 3261 §17.2.1: the ACK is there; later ones are absorbed for T4.
                    server.state = State::Quiet { accepted: false, ends: now + T4 };
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
