//! Requests of ours that wait for their final response (RFC 3261 §17.1, RFC 6026 §7.2).

use super::{Outbox, PATIENCE, T1, T2, T4, doubled};
use crate::clock::Moment;
use crate::ids::{LegId, TrunkId};
use crate::sip::Transmit;
use crate::sip::message::{Method, Writer};
use crate::sip::via::MAGIC_COOKIE;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(u64);

/// Who asked, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    Dial(LegId),
    Change(LegId),
    /// A re-INVITE that only refreshes the session.
    Refresh(LegId),
    /// An UPDATE that does.
    Update(LegId),
    Probe(LegId),
    Bye(LegId),
    Watch(TrunkId),
    /// A CANCEL, or the BYE of a fork: sent for the far end's sake.
    Nobody,
}

/// Where datagrams of one transaction go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hop {
    pub network: usize,
    pub to: SocketAddr,
}

/// The fields all requests of one transaction share: the INVITE, its CANCEL and the ACK of a refusal.
#[derive(Clone, Debug)]
pub struct RequestHead {
    pub uri: String,
    /// `host:port` of our Via.
    pub sent_by: String,
    pub branch: u64,
    /// Whole `Route` lines, ready to write.
    pub routes: String,
    pub from: String,
    pub to: String,
    pub call_id: String,
    pub cseq: u32,
}

impl RequestHead {
    pub fn writer(&self, method: Method) -> Writer {
        self.writer_to(method, &self.to)
    }

    fn writer_to(&self, method: Method, to: &str) -> Writer {
        let Self { sent_by, branch, cseq, .. } = self;
        let mut writer = Writer::request(method.name(), &self.uri);
        writer
            .field("Via", format!("SIP/2.0/UDP {sent_by};rport;branch={MAGIC_COOKIE}{branch:016x}"))
            .field("Max-Forwards", "70")
            .bytes(self.routes.as_bytes())
            .field("From", &self.from)
            .field("To", to)
            .field("Call-ID", &self.call_id)
            .field("CSeq", format!("{cseq} {}", method.name()));
        writer
    }

    /// RFC 3261 §17.1.1.3: the ACK of a refusal repeats the INVITE's fields and takes To from the response.
    pub fn ack(&self, to: &str) -> Vec<u8> {
        self.writer_to(Method::Ack, to).finish(&[])
    }
}

/// What a response is matched by (RFC 3261 §17.1.3): a CANCEL has the branch of its INVITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientKey {
    branch: u64,
    cancel: bool,
}

impl ClientKey {
    pub fn of(branch: u64, method: Method) -> Self {
        Self { branch, cancel: method == Method::Cancel }
    }
}

/// What the owner of a transaction learns of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Provisional, or a 2xx to an INVITE (each of them, also repeated ones), or the first final one.
    Pass(Owner),
    /// Repeated, and dealt with.
    Absorbed,
    /// No request of ours.
    Unknown,
}

#[derive(Debug, Default)]
pub struct ClientTransactions {
    next: u64,
    live: BTreeMap<ClientId, Client>,
    by_branch: BTreeMap<ClientKey, ClientId>,
    by_hop: BTreeSet<(Hop, ClientId)>,
    due: BTreeSet<(Moment, ClientId)>,
    /// Refused INVITEs whose response comes no more.
    declines_over: Vec<ClientId>,
}

/// The refusal of an INVITE of ours, as another life goes on to acknowledge it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Declined {
    pub hop: Hop,
    branch: u64,
    ack: Vec<u8>,
}

#[derive(Debug)]
struct Client {
    owner: Owner,
    hop: Hop,
    key: ClientKey,
    state: State,
    repeat: Option<Repeat>,
    /// When the transaction gives up or is forgotten; `None` while a ringing phone rings.
    ends: Option<Moment>,
    due: Option<Moment>,
    /// The INVITE's own fields, for its ACK.
    invite: Option<Box<RequestHead>>,
}

#[derive(Clone, Copy, Debug)]
struct Repeat {
    at: Moment,
    interval: Duration,
}

#[derive(Debug)]
enum State {
    /// No response yet (Calling, Trying).
    Sent { request: Vec<u8> },
    /// A provisional response came. An INVITE is not repeated any more, another request is, each T2.
    Proceeding { request: Vec<u8> },
    /// Refused or answered; repeated responses are absorbed, those to an INVITE with this ACK.
    Completed { ack: Option<Vec<u8>> },
    /// A 2xx to an INVITE came; each further one goes to the dialog (RFC 6026 §7.2).
    Accepted,
}

impl ClientTransactions {
    pub fn send_invite(
        &mut self,
        now: Moment,
        owner: Owner,
        hop: Hop,
        head: RequestHead,
        request: Vec<u8>,
        out: &mut Outbox,
    ) -> ClientId {
        let key = ClientKey::of(head.branch, Method::Invite);
        self.send(Client { invite: Some(Box::new(head)), ..Client::new(now, owner, hop, key, request) }, out)
    }

    /// Takes up an INVITE of a former life. `request` is sent again under its branch; `None`: a provisional response came, so it
    /// only waits.
    pub fn restore_invite(
        &mut self,
        now: Moment,
        owner: Owner,
        hop: Hop,
        head: RequestHead,
        request: Option<Vec<u8>>,
        out: &mut Outbox,
    ) -> ClientId {
        if let Some(request) = request {
            return self.send_invite(now, owner, hop, head, request, out);
        }
        let key = ClientKey::of(head.branch, Method::Invite);
        let rings = Client { invite: Some(Box::new(head)), ..Client::new(now, owner, hop, key, Vec::new()) };
        let state = State::Proceeding { request: Vec::new() };
        self.send(Client { state, repeat: None, ends: None, ..rings }, out)
    }

    /// The refusal of an INVITE, as long as it may come again.
    pub fn declined(&self, id: ClientId) -> Option<Declined> {
        let Client { hop, key, state: State::Completed { ack: Some(ack) }, .. } = self.live.get(&id)? else { return None };
        Some(Declined { hop: *hop, branch: key.branch, ack: ack.clone() })
    }

    /// The response of a refusal that a former life heard is acknowledged whenever it comes again.
    pub fn restore_declined(&mut self, now: Moment, owner: Owner, declined: Declined, out: &mut Outbox) -> ClientId {
        let Declined { hop, branch, ack } = declined;
        let client = Client::new(now, owner, hop, ClientKey::of(branch, Method::Invite), Vec::new());
        self.send(Client { state: State::Completed { ack: Some(ack) }, repeat: None, ..client }, out)
    }

    /// INVITEs whose refusal came to its end since this was last asked.
    pub fn declines_over(&mut self) -> Vec<ClientId> {
        std::mem::take(&mut self.declines_over)
    }

    /// Any request but INVITE and ACK.
    pub fn send_request(
        &mut self,
        now: Moment,
        owner: Owner,
        hop: Hop,
        key: ClientKey,
        request: Vec<u8>,
        out: &mut Outbox,
    ) -> ClientId {
        self.send(Client::new(now, owner, hop, key, request), out)
    }

    fn send(&mut self, client: Client, out: &mut Outbox) -> ClientId {
        self.next += 1;
        let id = ClientId(self.next);
        if let State::Sent { request } = &client.state {
            out.push_back(Transmit { network: client.hop.network, to: client.hop.to, bytes: request.clone() });
        }
        self.by_branch.insert(client.key, id);
        self.by_hop.insert((client.hop, id));
        self.live.insert(id, client);
        self.schedule(id);
        id
    }

    /// A response with our branch. `to` is its To field, for the ACK.
    pub fn handle_response(
        &mut self,
        now: Moment,
        branch: &str,
        method: Method,
        status: u16,
        to: &str,
        out: &mut Outbox,
    ) -> Heard {
        let branch = branch.strip_prefix(MAGIC_COOKIE).and_then(|branch| u64::from_str_radix(branch, 16).ok());
        let id = branch.and_then(|branch| self.by_branch.get(&ClientKey::of(branch, method)).copied());
        let Some((id, client)) = id.and_then(|id| Some((id, self.live.get_mut(&id)?))) else {
            return Heard::Unknown;
        };
        if client.is_invite() != (method == Method::Invite) {
            return Heard::Unknown;
        }
        let heard = client.hear(now, status, to, out);
        self.schedule(id);
        heard
    }

    /// Who waits in vain: the transactions whose far end never answered, in the order of their ends.
    pub fn handle_timeout(&mut self, now: Moment, out: &mut Outbox) -> Vec<Owner> {
        let mut given_up = Vec::new();
        while let Some((at, id)) = self.due.first().copied()
            && at <= now
        {
            self.due.pop_first();
            let Some(client) = self.live.get_mut(&id) else { continue };
            client.due = None;
            if client.ends.is_some_and(|ends| ends <= now) {
                if matches!(client.state, State::Sent { .. } | State::Proceeding { .. }) {
                    given_up.push(client.owner.clone());
                }
                self.forget(id);
            } else {
                client.repeat(now, out);
                self.schedule(id);
            }
        }
        given_up
    }

    pub fn poll_timeout(&self) -> Option<Moment> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The network says that nobody listens there: the unanswered transactions to that hop, which are over.
    pub fn fail(&mut self, hop: Hop) -> Vec<Owner> {
        let to_hop = self.by_hop.range((hop, ClientId(0))..=(hop, ClientId(u64::MAX))).map(|(_, id)| *id);
        let unanswered = |id: &ClientId| {
            self.live.get(id).is_some_and(|client| matches!(client.state, State::Sent { .. } | State::Proceeding { .. }))
        };
        let failed: Vec<_> = to_hop.filter(unanswered).collect();
        failed.into_iter().filter_map(|id| self.forget(id)).collect()
    }

    /// Ends a ringing INVITE that was cancelled by `at`, should its 487 never come (RFC 3261 §9.1).
    pub fn end_by(&mut self, id: ClientId, at: Moment) {
        if let Some(client) = self.live.get_mut(&id)
            && matches!(client.state, State::Proceeding { .. } | State::Sent { .. })
        {
            client.ends = Some(client.ends.map_or(at, |ends| ends.min(at)));
            self.schedule(id);
        }
    }

    pub fn len(&self) -> usize {
        self.live.len()
    }

    fn forget(&mut self, id: ClientId) -> Option<Owner> {
        let client = self.live.remove(&id)?;
        if matches!((&client.owner, &client.state), (Owner::Dial(_), State::Completed { .. })) {
            self.declines_over.push(id);
        }
        self.by_branch.remove(&client.key);
        self.by_hop.remove(&(client.hop, id));
        if let Some(due) = client.due {
            self.due.remove(&(due, id));
        }
        Some(client.owner)
    }

    fn schedule(&mut self, id: ClientId) {
        let Some(client) = self.live.get_mut(&id) else { return };
        let due = [client.repeat.map(|repeat| repeat.at), client.ends].into_iter().flatten().min();
        if due != client.due {
            if let Some(old) = client.due {
                self.due.remove(&(old, id));
            }
            if let Some(due) = due {
                self.due.insert((due, id));
            }
            client.due = due;
        }
    }
}

impl Client {
    fn new(now: Moment, owner: Owner, hop: Hop, key: ClientKey, request: Vec<u8>) -> Self {
        Self {
            owner,
            hop,
            key,
            state: State::Sent { request },
            repeat: Some(Repeat { at: now + T1, interval: T1 }),
            ends: Some(now + PATIENCE),
            due: None,
            invite: None,
        }
    }

    fn is_invite(&self) -> bool {
        self.invite.is_some() || matches!(self.state, State::Completed { ack: Some(_) })
    }

    fn hear(&mut self, now: Moment, status: u16, to: &str, out: &mut Outbox) -> Heard {
        match (&mut self.state, status) {
            (State::Sent { request }, 100..=199) => {
                let request = std::mem::take(request);
                self.state = State::Proceeding { request };
                if self.invite.is_some() {
                    // RFC 3261 §17.1.1.2: after a provisional response neither repeated nor given up.
                    (self.repeat, self.ends) = (None, None);
                }
                Heard::Pass(self.owner.clone())
            }
            (State::Proceeding { .. }, 100..=199) => Heard::Pass(self.owner.clone()),
            (State::Sent { .. } | State::Proceeding { .. }, 200..=299) if self.invite.is_some() => {
                self.finish(now, State::Accepted, PATIENCE);
                Heard::Pass(self.owner.clone())
            }
            (State::Sent { .. } | State::Proceeding { .. }, _) => {
                let ack = self.invite.as_ref().map(|head| head.ack(to));
                if let Some(ack) = &ack {
                    out.push_back(Transmit { network: self.hop.network, to: self.hop.to, bytes: ack.clone() });
                }
                // Timer D for an INVITE, K for the others.
                let keep = if ack.is_some() { PATIENCE } else { T4 };
                self.finish(now, State::Completed { ack }, keep);
                Heard::Pass(self.owner.clone())
            }
            (State::Accepted, 200..=299) => Heard::Pass(self.owner.clone()),
            (State::Completed { ack: Some(ack) }, 300..) => {
                out.push_back(Transmit { network: self.hop.network, to: self.hop.to, bytes: ack.clone() });
                Heard::Absorbed
            }
            (State::Completed { .. } | State::Accepted, _) => Heard::Absorbed,
        }
    }

    fn finish(&mut self, now: Moment, state: State, keep: Duration) {
        self.state = state;
        (self.repeat, self.ends) = (None, Some(now + keep));
    }

    fn repeat(&mut self, now: Moment, out: &mut Outbox) {
        let (request, proceeding) = match &self.state {
            State::Sent { request } => (request, false),
            State::Proceeding { request } => (request, true),
            State::Completed { .. } | State::Accepted => return,
        };
        let Some(repeat) = &mut self.repeat else { return };
        out.push_back(Transmit { network: self.hop.network, to: self.hop.to, bytes: request.clone() });
        // Timer A of an INVITE doubles without bound, timer E of the others up to T2; after a provisional one each T2.
        repeat.interval = match self.invite {
            Some(_) => repeat.interval.saturating_mul(2),
            None if proceeding => T2,
            None => doubled(repeat.interval),
        };
        repeat.at = now + repeat.interval;
    }
}
