//! The SIP user agent: datagrams, commands and time in; datagrams and events out.
//!
//! A stranger's request is answered without a trace of it: state is made only for a trunk's call, for a phone that proved its
//! password, and inside a dialog. So no flood from outside can fill a table.

mod command;
mod dial;
#[cfg(test)]
mod door_tests;
mod in_dialog;
mod leg;
mod refresh;
#[cfg(test)]
mod refresh_tests;
mod register;
mod request;
mod restore;
#[cfg(test)]
mod restore_tests;
#[cfg(test)]
mod tests;
mod watch;

use super::digest::Nonces;
use super::framer::{self, Fault};
use super::message::{ALLOW, Message, Method, Name, Request, Response, Writer};
use super::registrar::Registrar;
use super::reply::{ReplyHead, stateless_tag};
use super::transaction::client::{ClientId, ClientTransactions, Heard, Hop, Owner, RequestHead};
use super::transaction::server::{ServerId, ServerTransactions};
use super::transaction::{Outbox, doubled};
use super::uri::host_text;
use super::vet::{self, Vetted};
use super::{Command, Event, Network, Settings, Transmit};
use crate::clock::Moment;
use crate::ids::{AgentId, IdSource, LegId, TrunkId};
use crate::pii::Phone;
pub use leg::LegStage;
use leg::{Leg, LegTable, State};
pub use restore::RestoreLegError;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use watch::Watch;

/// Every living phone or exchange says at least 100 within 200 ms (RFC 3261 §17.2.1). After three repetitions of an INVITE nobody is
/// there: the next way is tried, and should it come alive after all, its call is cancelled.
const SIGN_WITHIN: Duration = Duration::from_secs(4);
/// `Retry-After` of a 503, in seconds: long enough for a burst to pass, short enough for a caller who waits on the line.
const RETRY_AFTER: u64 = 5;

pub struct UserAgent {
    settings: Settings,
    directory: Directory,
    ids: IdSource,
    dice: Dice,
    clients: ClientTransactions,
    servers: ServerTransactions,
    legs: LegTable,
    /// What was last written down of each leg.
    written: BTreeMap<LegId, Vec<u8>>,
    /// Legs that were refused, until the far end acknowledged it.
    refused: BTreeMap<LegId, ServerId>,
    /// Legs that the far end refused, as long as it may say so again.
    declined: BTreeMap<LegId, ClientId>,
    by_tag: HashMap<u64, LegId>,
    /// Legs that wait for our answer, by their INVITE.
    by_server: BTreeMap<ServerId, LegId>,
    due: BTreeSet<(Moment, LegId)>,
    /// Live legs of each trunk, for its contracted channels.
    channels: BTreeMap<TrunkId, u32>,
    watches: BTreeMap<TrunkId, Watch>,
    nonces: Nonces,
    registrar: Registrar,
    draining: bool,
    out: Outbox,
    events: VecDeque<Event>,
    counters: Counters,
}

/// What was seen since the start, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub datagrams: u64,
    /// Noise and responses that answer nothing.
    pub dropped: u64,
    /// Requests answered 400 or 505.
    pub malformed: u64,
    /// Requests of strangers that were refused (403, 401, 405, 501 …).
    pub strangers_refused: u64,
    /// Requests turned away by a limit (486, 503).
    pub blocked: u64,
    pub invites: u64,
    pub registers: u64,
    pub digest_failures: u64,
    /// Of these, live now.
    pub live_legs: usize,
    pub live_transactions: usize,
}

impl UserAgent {
    /// `ids` gives the ids of legs that come in; `seed` makes tags, branches and Call-IDs, which nobody outside may guess.
    pub fn new(settings: Settings, ids: IdSource, seed: [u64; 4]) -> Self {
        let mut dice = Dice::new(seed);
        let mut secret = [0; 32];
        secret.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&dice.next().to_be_bytes()));
        let mut agent = Self {
            directory: Directory::default(),
            settings: Settings { networks: settings.networks.clone(), ..Settings::default() },
            ids,
            dice,
            clients: ClientTransactions::default(),
            servers: ServerTransactions::default(),
            legs: LegTable::default(),
            written: BTreeMap::new(),
            refused: BTreeMap::new(),
            declined: BTreeMap::new(),
            by_tag: HashMap::new(),
            by_server: BTreeMap::new(),
            due: BTreeSet::new(),
            channels: BTreeMap::new(),
            watches: BTreeMap::new(),
            nonces: Nonces::new(secret),
            registrar: Registrar::default(),
            draining: false,
            out: Outbox::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
        };
        agent.take_settings(settings);
        agent
    }

    pub fn handle_datagram(&mut self, now: Moment, network: usize, from: SocketAddr, datagram: &[u8]) {
        self.counters.datagrams += 1;
        match framer::read(datagram) {
            Ok(Message::Request(request)) => self.handle_request(now, network, from, &request),
            Ok(Message::Response(response)) => self.handle_response(now, from, &response),
            Err(Fault::Refuse { request, status, why }) => {
                tracing::debug!(status, why, "malformed request");
                self.refuse_malformed(network, from, &request, status);
            }
            Err(Fault::Drop { why }) => {
                tracing::trace!(why, "datagram dropped");
                self.counters.dropped += 1;
            }
        }
    }

    pub fn handle_command(&mut self, now: Moment, command: Command) {
        match command {
            Command::Ring { leg } => self.ring(now, leg),
            Command::Progress { leg, local } => self.progress(now, leg, local),
            Command::Answer { leg, local } => self.answer(now, leg, local),
            Command::Reject { leg, status, retry_after } => self.reject(now, leg, status, retry_after),
            Command::Dial { leg, target, local, caller, note } => self.dial(now, leg, target, local, caller, note),
            Command::HangUp { leg, reason } => self.hang_up(now, leg, reason),
            Command::Change { leg, local, direction } => self.change(now, leg, local, direction),
            Command::Probe { leg } => self.probe(now, leg),
            Command::Drain => self.draining = true,
            Command::Settings(settings) => self.take_settings(*settings),
        }
    }

    pub fn handle_timeout(&mut self, now: Moment) {
        for owner in self.clients.handle_timeout(now, &mut self.out) {
            // RFC 3261 §8.1.3.1: silence is taken as a 408.
            self.failed(now, owner, 408);
        }
        self.servers.handle_timeout(now, &mut self.out);
        while let Some((at, id)) = self.due.first().copied()
            && at <= now
        {
            self.due.pop_first();
            if let Some(leg) = self.legs.get_mut(&id) {
                leg.due = None;
                self.leg_timeout(now, id);
                self.schedule(id);
            }
        }
        self.watch_timeout(now);
        for agent in self.registrar.handle_timeout(now) {
            self.events.push_back(Event::Registered { agent, reachable: false });
        }
    }

    /// The network says that nobody listens at `to`: what waits for an answer from there need not wait on (RFC 3261 §8.1.3.1: as a
    /// 503).
    pub fn handle_icmp(&mut self, now: Moment, network: usize, to: SocketAddr) {
        for owner in self.clients.fail(Hop { network, to }) {
            self.failed(now, owner, 503);
        }
    }

    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.out.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Moment> {
        let legs = self.due.first().map(|(at, _)| *at);
        let times =
            [self.clients.poll_timeout(), self.servers.poll_timeout(), legs, self.watch_due(), self.registrar.poll_timeout()];
        times.into_iter().flatten().min()
    }

    /// Legs that the call still listens to.
    pub fn legs(&self) -> impl Iterator<Item = LegId> {
        self.legs.iter().filter(|(_, leg)| leg.stage().is_some()).map(|(id, _)| id)
    }

    /// Where such a leg stands; `None`: it is over, or only the far end must still be told so.
    pub fn leg_stage(&self, leg: LegId) -> Option<LegStage> {
        self.legs.get(&leg)?.stage()
    }

    /// Where an agent's phones registered, written down for [`UserAgent::restore_phones`] of another life; empty: nowhere.
    pub fn phones_state(&self, agent: &AgentId) -> Vec<u8> {
        self.registrar.written(agent)
    }

    /// Of every agent with a registered phone.
    pub fn all_phones_states(&self) -> BTreeMap<AgentId, Vec<u8>> {
        self.registrar.all_written()
    }

    /// Takes up registrations that a former life wrote down and that still hold. `false`: they cannot be read, or the account is gone.
    pub fn restore_phones(&mut self, now: Moment, agent: AgentId, state: &[u8]) -> bool {
        self.directory.accounts.contains_key(&agent) && self.registrar.restore(now, agent, state)
    }

    /// Whether a call to this agent has anywhere to go.
    pub fn is_reachable(&self, agent: &AgentId) -> bool {
        let account = self.directory.accounts.get(agent).and_then(|index| self.settings.accounts.listed.get(*index));
        account.is_some_and(|account| account.contact.is_some()) || !self.registrar.of(agent).is_empty()
    }

    pub fn counters(&self) -> Counters {
        let live_transactions = self.clients.len() + self.servers.len();
        Counters { live_legs: self.legs.len(), live_transactions, ..self.counters }
    }

    /// Live dialogs go on. Networks stay as they were: their sockets are open.
    fn take_settings(&mut self, settings: Settings) {
        let networks = std::mem::take(&mut self.settings.networks);
        self.settings = Settings { networks, ..settings };
        self.directory = Directory::of(&self.settings);
        let accounts = &self.directory.accounts;
        for agent in self.registrar.keep_only(|agent| accounts.contains_key(agent)) {
            self.events.push_back(Event::Registered { agent, reachable: false });
        }
        self.take_watches();
        let legs: Vec<LegId> = self.legs.iter().map(|(id, _)| id).collect();
        legs.into_iter().for_each(|id| self.schedule(id));
    }

    fn handle_response(&mut self, now: Moment, from: SocketAddr, response: &Response) {
        let Ok(answered) = vet::response(response) else {
            self.counters.dropped += 1;
            return;
        };
        let to = response.headers.get(Name::To).unwrap_or_default();
        match self.clients.handle_response(now, answered.branch, answered.method, response.status, to, &mut self.out) {
            Heard::Pass(owner) => self.hear(now, from, owner, response, &answered),
            Heard::Absorbed => {}
            Heard::Unknown => self.hear_unknown(now, from, response, &answered),
        }
    }

    fn hear(&mut self, now: Moment, from: SocketAddr, owner: Owner, response: &Response, answered: &vet::Answered<'_>) {
        if let Owner::Change(leg) | Owner::Refresh(leg) | Owner::Update(leg) | Owner::Probe(leg) = &owner
            && let Some(heard) = self.legs.get_mut(leg)
        {
            heard.heard = now;
            self.schedule(*leg);
        }
        match owner {
            Owner::Dial(leg) => self.dial_heard(now, leg, from, response, answered),
            Owner::Change(leg) => self.change_heard(now, leg, response),
            Owner::Refresh(leg) => self.refresh_heard(now, leg, response),
            Owner::Update(leg) => self.update_heard(now, leg, response),
            Owner::Probe(leg) if matches!(response.status, 408 | 481) => self.lose(now, leg, response.status),
            Owner::Bye(leg) if response.status >= 200 => self.remove_leg(leg),
            Owner::Watch(trunk) if response.status >= 200 => self.watch_heard(now, trunk, response.status),
            Owner::Probe(_) | Owner::Bye(_) | Owner::Watch(_) | Owner::Nobody => {}
        }
    }

    /// A request of ours got no answer.
    fn failed(&mut self, now: Moment, owner: Owner, status: u16) {
        match owner {
            Owner::Dial(leg) => self.dial_refused(leg, status),
            Owner::Change(leg) => self.change_failed(now, leg, status),
            Owner::Refresh(leg) | Owner::Update(leg) => self.refresh_failed(now, leg, status),
            Owner::Probe(leg) => self.lose(now, leg, 408),
            Owner::Bye(leg) => self.remove_leg(leg),
            Owner::Watch(trunk) => self.watch_heard(now, trunk, status),
            Owner::Nobody => {}
        }
    }

    fn leg_timeout(&mut self, now: Moment, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if let Some(waiting) = &mut leg.unacknowledged {
            if waiting.ends <= now {
                // RFC 3261 §13.3.1.4: no ACK in 64·T1 ends the session by BYE.
                leg.unacknowledged = None;
                self.say(id, Event::Lost { leg: id });
                self.send_bye(now, id, None);
            } else if waiting.next <= now {
                self.out.push_back(Transmit {
                    network: waiting.hop.network,
                    to: waiting.hop.to,
                    bytes: waiting.response.clone(),
                });
                waiting.interval = doubled(waiting.interval);
                waiting.next = now + waiting.interval;
            }
        }
        if let Some(leg) = self.legs.get(&id)
            && leg.gives_no_sign()
            && leg.sign_by.is_some_and(|by| by <= now)
        {
            self.say(id, Event::Refused { leg: id, status: 408 });
            self.hang_up(now, id, None);
        }
        self.try_change(now, id);
        self.refresh_timeout(now, id);
    }

    // The table of legs.

    fn add_leg(&mut self, id: LegId, leg: Leg) {
        self.by_tag.insert(leg.talk.dialog.local_tag, id);
        if let State::Invited { server, .. } = &leg.state {
            self.by_server.insert(*server, id);
        }
        if let Some(trunk) = &leg.talk.trunk {
            *self.channels.entry(trunk.clone()).or_default() += 1;
        }
        self.legs.insert(id, leg);
        self.schedule(id);
    }

    fn remove_leg(&mut self, id: LegId) {
        let Some(leg) = self.legs.remove(&id) else { return };
        self.by_tag.remove(&leg.talk.dialog.local_tag);
        if let State::Invited { server, .. } = &leg.state {
            self.by_server.remove(server);
        }
        if let Some(due) = leg.due {
            self.due.remove(&(due, id));
        }
        if let Some(channels) = leg.talk.trunk.and_then(|trunk| self.channels.get_mut(&trunk)) {
            *channels = channels.saturating_sub(1);
        }
    }

    /// After every change of a leg: enters when it has to be looked at again.
    fn schedule(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let due = leg.next_due(self.settings.probe_held);
        if due != leg.due {
            if let Some(old) = leg.due {
                self.due.remove(&(old, id));
            }
            if let Some(due) = due {
                self.due.insert((due, id));
            }
            leg.due = due;
        }
    }

    /// Tells the call, unless it hung up already.
    fn say(&mut self, id: LegId, event: Event) {
        if self.legs.get(&id).is_some_and(|leg| !leg.silent) {
            self.events.push_back(event);
        }
    }

    /// RFC 3261 §12.2.1.2: 481 and 408 to a request inside a dialog end it. Who answers 481 has hung up and we missed it; who was
    /// silent gets a BYE all the same, should it come back.
    fn lose(&mut self, now: Moment, id: LegId, status: u16) {
        if !self.legs.get(&id).is_some_and(|leg| matches!(leg.state, State::Live)) {
            return;
        }
        if status == 481 {
            self.say(id, Event::HungUp { leg: id });
            self.remove_leg(id);
        } else {
            self.say(id, Event::Lost { leg: id });
            self.send_bye(now, id, None);
        }
    }

    fn channel_is_free(&self, trunk: &super::Trunk) -> bool {
        trunk.channels == 0 || self.channels.get(&trunk.trunk).is_none_or(|live| *live < trunk.channels)
    }

    // What every message of ours has in it.

    fn network(&self, network: usize) -> Option<&Network> {
        self.settings.networks.get(network)
    }

    /// `host:port` shown in Via.
    fn sent_by(&self, network: usize) -> String {
        let network = self.network(network);
        network.map(|network| format!("{}:{}", host_text(network.advertise), network.bind.port())).unwrap_or_default()
    }

    fn contact(&self, network: usize, user: &str) -> String {
        let user: String = user.chars().filter(|c| c.is_ascii_alphanumeric() || "+-_.*".contains(*c)).collect();
        let at = if user.is_empty() { "" } else { "@" };
        format!("<sip:{user}{at}{}>", self.sent_by(network))
    }

    fn send(&mut self, hop: Hop, bytes: Vec<u8>) {
        self.out.push_back(Transmit { network: hop.network, to: hop.to, bytes });
    }

    /// Fields of the leg's next request, and where it goes.
    fn next_request(&mut self, id: LegId) -> Option<(Hop, RequestHead)> {
        let branch = self.dice.next();
        let network = self.legs.get(&id)?.network;
        let sent_by = self.sent_by(network);
        let leg = self.legs.get_mut(&id)?;
        Some((leg.hop(), leg.talk.dialog.request(sent_by, branch)))
    }

    // Answers without a transaction.

    fn refuse_malformed(&mut self, network: usize, from: SocketAddr, request: &Request, status: u16) {
        self.counters.malformed += 1;
        self.answer_stateless(network, from, request, None, status, |_| {});
    }

    /// A final answer nobody remembers (RFC 3261 §8.2.7). An ACK is never answered.
    fn answer_stateless(
        &mut self,
        network: usize,
        from: SocketAddr,
        request: &Request,
        vetted: Option<&Vetted<'_>>,
        status: u16,
        fields: impl FnOnce(&mut Writer),
    ) {
        if request.method == Method::Ack {
            return;
        }
        let Some(reply) = ReplyHead::of(request, network, from) else { return };
        let mut writer = reply.writer(status, stateless_tag(vetted));
        fields(&mut writer);
        self.send(reply.hop, self.finish(writer, &[]));
    }

    fn finish(&self, mut response: Writer, body: &[u8]) -> Vec<u8> {
        response.field("Server", &self.settings.product);
        response.finish(body)
    }
}

/// `Allow`, `Accept` and `Supported`, as OPTIONS and 2xx say them.
fn abilities(writer: &mut Writer) {
    writer
        .field("Allow", ALLOW)
        .field("Accept", "application/sdp, application/dtmf-relay, application/dtmf")
        .field("Supported", "timer");
}

fn retry_after(writer: &mut Writer) {
    writer.field("Retry-After", RETRY_AFTER.to_string());
}

/// The settings, by what they are looked up with.
#[derive(Debug, Default)]
struct Directory {
    networks: BTreeMap<String, usize>,
    trunk_by_peer: BTreeMap<(usize, IpAddr), usize>,
    trunks: BTreeMap<TrunkId, usize>,
    accounts: BTreeMap<AgentId, usize>,
    numbers: BTreeSet<String>,
}

impl Directory {
    fn of(settings: &Settings) -> Self {
        let networks: BTreeMap<_, _> = settings.networks.iter().enumerate().map(|(index, n)| (n.name.clone(), index)).collect();
        let mut trunk_by_peer = BTreeMap::new();
        for (index, trunk) in settings.trunks.iter().enumerate() {
            let Some(network) = networks.get(&trunk.network) else { continue };
            for peer in &trunk.peers {
                trunk_by_peer.entry((*network, *peer)).or_insert(index);
            }
        }
        Self {
            trunk_by_peer,
            trunks: settings.trunks.iter().enumerate().map(|(index, trunk)| (trunk.trunk.clone(), index)).collect(),
            accounts: settings.accounts.listed.iter().enumerate().map(|(index, a)| (a.agent.clone(), index)).collect(),
            numbers: settings.numbers.iter().flat_map(|number| [number.clone(), one_form(number, None)]).collect(),
            networks,
        }
    }

    fn network(&self, name: &str) -> Option<usize> {
        self.networks.get(name).copied()
    }
}

/// A number in the one form in which numbers are compared: `+73852122122`, `83852122122` and `3852122122` are one.
fn one_form(number: &str, area: Option<&str>) -> String {
    Phone::parse(number, area).map_or_else(|| number.to_owned(), |phone| phone.expose().to_owned())
}

/// Numbers that nobody who sees some of them can tell the next of, and that come again with the same seed.
struct Dice {
    seed: [u64; 4],
    rolled: u64,
    ready: Vec<u64>,
}

impl Dice {
    fn new(seed: [u64; 4]) -> Self {
        Self { seed, rolled: 0, ready: Vec::new() }
    }

    fn next(&mut self) -> u64 {
        if self.ready.is_empty() {
            let mut hash = Sha256::new();
            self.seed.iter().chain([&self.rolled]).for_each(|word| hash.update(word.to_be_bytes()));
            self.rolled = self.rolled.wrapping_add(1);
            let bytes: [u8; 32] = hash.finalize().into();
            self.ready.extend(bytes.as_chunks::<8>().0.iter().map(|word| u64::from_be_bytes(*word)));
        }
        self.ready.pop().unwrap_or_default()
    }
}
