//! The phone's SIP side: transactions over UDP, calls, one registration. Small on purpose: what a plain desk phone does.

use super::audio::Audio;
use super::call::{Call, Planned};
use super::message::{Message, Sound, address_of, parameter, uri_of};
use super::{CallState, Dial, End, OnInvite, PhoneCall, View, WAIT};
use crate::clock::{Clock, Moment};
use crate::sip::digest;
use crate::stream::Direction;
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// RFC 3261 §17.1.1.1.
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// Timers B, F, H and how long an answered transaction is remembered.
const TRANSACTION: Duration = Duration::from_secs(32);
const EXPIRES: u64 = 600;
const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO";

/// A call by its Call-ID.
pub type CallKey = String;
/// Branch and method of CSeq (RFC 3261 §17.1.3).
type TransactionKey = (String, String);

pub struct Line {
    /// Only to send; datagrams come in by [`Line::handle_datagram`].
    socket: UdpSocket,
    me: Weak<Mutex<Line>>,
    address: SocketAddr,
    clock: Clock,
    born: Moment,
    counter: u64,
    pub policy: OnInvite,
    incoming: mpsc::Sender<PhoneCall>,
    calls: BTreeMap<CallKey, Call>,
    ours: BTreeMap<TransactionKey, Ours>,
    theirs: BTreeMap<TransactionKey, Theirs>,
    registration: Option<Registration>,
    vanished: bool,
}

/// A request of ours.
struct Ours {
    request: Message,
    to: SocketAddr,
    next: Option<Moment>,
    interval: Duration,
    until: Moment,
    /// The ACK, once there is a final answer: sent again with each repetition of that.
    ack: Option<Vec<u8>>,
    done: bool,
    granted: Option<oneshot::Sender<u16>>,
}

/// A request of the far end.
struct Theirs {
    call_id: String,
    cseq: u32,
    last: Vec<u8>,
    to: SocketAddr,
    next: Option<Moment>,
    interval: Duration,
    until: Moment,
}

struct Registration {
    registrar: SocketAddr,
    user: String,
    password: String,
    call_id: String,
    cseq: u32,
    refresh: Option<Moment>,
}

impl Line {
    pub fn new(socket: UdpSocket, address: SocketAddr, me: Weak<Mutex<Line>>, incoming: mpsc::Sender<PhoneCall>) -> Self {
        let clock = Clock::start(Moment::ZERO);
        Self {
            socket,
            me,
            address,
            clock,
            born: clock.now(),
            counter: 0,
            policy: OnInvite::Ring,
            incoming,
            calls: BTreeMap::new(),
            ours: BTreeMap::new(),
            theirs: BTreeMap::new(),
            registration: None,
            vanished: false,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn dial(&mut self, dial: Dial) -> io::Result<PhoneCall> {
        let audio = Arc::new(Audio::open(self.address.ip())?);
        let uri = format!("sip:{}@{}", dial.number, dial.target);
        let tag = self.unique();
        let mut call = Call {
            view: watch::Sender::new(View::new(CallState::Calling)),
            audio,
            local: format!("<sip:{}@{}>;tag={}", dial.from, self.address, tag),
            remote: format!("<{uri}>"),
            target: uri,
            peer: dial.target,
            cseq: 0,
            invite: Message::request("INVITE", ""),
            outgoing: true,
            codecs: dial.codecs,
            telephone_event: dial.telephone_event,
            own: Direction::SendRecv,
            version: 0,
            given_up: false,
            planned: None,
            ended_at: None,
        };
        let key = format!("{}@{}", self.unique(), self.address.ip());
        let mut invite = self.in_call(&key, &mut call, "INVITE");
        for (name, value) in &dial.headers {
            invite = invite.with(name, value);
        }
        if !call.codecs.is_empty() {
            invite = invite.with_body("application/sdp", call.describe(Direction::SendRecv));
        }
        call.invite = invite.clone();
        let handle = self.handle(&key, &call)?;
        self.calls.insert(key, call);
        self.send(invite, dial.target, None);
        Ok(handle)
    }

    pub fn register(&mut self, registrar: SocketAddr, user: &str, password: &str) -> oneshot::Receiver<u16> {
        let (sender, receiver) = oneshot::channel();
        let call_id = self.unique();
        let (user, password) = (user.to_owned(), password.to_owned());
        self.registration = Some(Registration { registrar, user, password, call_id, cseq: 0, refresh: None });
        self.send_register(EXPIRES, Some(sender));
        receiver
    }

    pub fn unregister(&mut self) -> oneshot::Receiver<u16> {
        let (sender, receiver) = oneshot::channel();
        self.send_register(0, Some(sender));
        receiver
    }

    pub fn vanish(&mut self) {
        self.vanished = true;
        for call in self.calls.values() {
            call.audio.send_to(None);
        }
    }

    /// Calls that have not ended.
    pub fn calls(&self) -> Vec<PhoneCall> {
        let live = self.calls.iter().filter(|(_, call)| call.ended_at.is_none());
        live.filter_map(|(key, call)| self.handle(key, call).ok()).collect()
    }

    pub fn invite_header(&self, key: &CallKey, name: &str) -> Option<String> {
        self.calls.get(key)?.invite.header(name).map(str::to_owned)
    }

    pub fn answer(&mut self, key: &CallKey) {
        let Some(call) = self.calls.get_mut(key).filter(|call| call.rings_here()) else { return };
        let (tag, body) = (call.local_tag(), call.answer_to(&call.invite.body.clone()));
        let response = Message::response(&call.invite, 200, &tag);
        let request = call.invite.clone();
        call.set_state(CallState::Answered);
        self.respond(&request, self.with_contact(response).with_body("application/sdp", body));
    }

    pub fn reject(&mut self, key: &CallKey, status: u16) {
        if let Some(call) = self.calls.get_mut(key).filter(|call| call.rings_here()) {
            let (request, tag) = (call.invite.clone(), call.local_tag());
            call.end(End::Refused(status), self.clock.now());
            self.respond(&request, Message::response(&request, status, &tag));
        }
    }

    pub fn hang_up(&mut self, key: &CallKey) {
        let Some(call) = self.calls.get_mut(key) else { return };
        match call.state() {
            CallState::Answered => self.bye(key),
            CallState::Calling | CallState::Ringing if call.outgoing => {
                let ringing = call.state() == CallState::Ringing;
                call.given_up = true;
                if ringing {
                    self.cancel(key);
                }
            }
            CallState::Calling | CallState::Ringing => self.reject(key, 603),
            CallState::Ended(_) => {}
        }
    }

    /// Re-INVITE with this direction.
    pub fn offer(&mut self, key: &CallKey, direction: Direction) -> oneshot::Receiver<u16> {
        let (sender, receiver) = oneshot::channel();
        if let Some(mut call) = self.take_live(key) {
            call.own = direction;
            let body = call.describe(direction);
            let invite = self.in_call(key, &mut call, "INVITE").with_body("application/sdp", body);
            let peer = call.peer;
            self.calls.insert(key.clone(), call);
            self.send(invite, peer, Some(sender));
        }
        receiver
    }

    pub fn info(&mut self, key: &CallKey, digit: char) -> oneshot::Receiver<u16> {
        let (sender, receiver) = oneshot::channel();
        if let Some(mut call) = self.take_live(key) {
            let body = format!("Signal={digit}\r\nDuration=160\r\n");
            let info = self.in_call(key, &mut call, "INFO").with_body("application/dtmf-relay", body);
            let peer = call.peer;
            self.calls.insert(key.clone(), call);
            self.send(info, peer, Some(sender));
        }
        receiver
    }

    pub fn handle_datagram(&mut self, bytes: &[u8], from: SocketAddr) {
        if self.vanished {
            return;
        }
        let Some(message) = Message::parse(bytes) else { return };
        match (message.method(), message.status()) {
            (Some(_), _) => self.on_request(message, from),
            (None, Some(status)) => self.on_response(message, status),
            (None, None) => {}
        }
    }

    /// Repetitions, plans, refreshes and forgetting.
    pub fn handle_timeout(&mut self) {
        if self.vanished {
            return;
        }
        let now = self.clock.now();
        let mut lost = Vec::new();
        for (key, ours) in &mut self.ours {
            if now >= ours.until && !ours.done {
                lost.push((key.clone(), ours.request.call_id().to_owned()));
            } else if ours.next.is_some_and(|next| next <= now) {
                // RFC 3261 §17.1.2.2: all but INVITE slow down to T2.
                let cap = if key.1 == "INVITE" { TRANSACTION } else { T2 };
                ours.interval = (ours.interval * 2).min(cap);
                ours.next = Some(now + ours.interval);
                let _ = self.socket.send_to(&ours.request.bytes(), ours.to);
            }
        }
        for theirs in self.theirs.values_mut().filter(|theirs| theirs.next.is_some_and(|next| next <= now)) {
            theirs.interval = (theirs.interval * 2).min(T2);
            theirs.next = Some(now + theirs.interval);
            let _ = self.socket.send_to(&theirs.last, theirs.to);
        }
        let unacknowledged: Vec<_> = self
            .theirs
            .values()
            .filter(|theirs| theirs.until <= now && theirs.next.is_some())
            .map(|it| it.call_id.clone())
            .collect();
        for (key, call_id) in lost {
            if key.1 == "INVITE" {
                self.lose(&call_id);
            }
        }
        for call_id in unacknowledged {
            self.lose(&call_id);
        }
        self.ours.retain(|_, ours| ours.until > now);
        self.theirs.retain(|_, theirs| theirs.until > now);
        self.calls.retain(|_, call| call.ended_at.is_none_or(|at| now.since(at) < TRANSACTION));
        self.carry_out_plans(now);
        if self.registration.as_ref().is_some_and(|it| it.refresh.is_some_and(|refresh| refresh <= now)) {
            self.send_register(EXPIRES, None);
        }
    }

    fn carry_out_plans(&mut self, now: Moment) {
        let due = |call: &Call| call.planned.filter(|(at, _)| *at <= now).map(|(_, planned)| planned);
        let planned: Vec<_> = self.calls.iter().filter_map(|(key, call)| Some((key.clone(), due(call)?))).collect();
        for (key, planned) in planned {
            if let Some(call) = self.calls.get_mut(&key) {
                call.planned = None;
            }
            match planned {
                Planned::Answer => self.answer(&key),
                Planned::Reject(status) => self.reject(&key, status),
            }
        }
    }

    fn lose(&mut self, key: &CallKey) {
        let now = self.clock.now();
        if let Some(call) = self.calls.get_mut(key) {
            call.end(End::Lost, now);
        }
    }

    fn on_request(&mut self, request: Message, from: SocketAddr) {
        let method = request.method().unwrap_or_default().to_owned();
        if method == "ACK" {
            return self.on_ack(&request);
        }
        if let Some(known) = self.theirs.get(&(request.branch().to_owned(), method.clone())) {
            let _ = self.socket.send_to(&known.last, known.to);
            return;
        }
        let key = request.call_id().to_owned();
        let in_dialog = parameter(request.header("To").unwrap_or_default(), "tag").is_some();
        let live = self.calls.get(&key).is_some_and(|call| call.ended_at.is_none());
        match method.as_str() {
            "CANCEL" => self.on_cancel(&request, &key, from),
            "INVITE" if !in_dialog => self.on_invite(request, from),
            "OPTIONS" if !in_dialog => self.respond_plain(&request, 200, from),
            _ if !live => self.respond_plain(&request, 481, from),
            "BYE" => {
                self.respond_plain(&request, 200, from);
                let now = self.clock.now();
                if let Some(call) = self.calls.get_mut(&key) {
                    call.note_reason(&request);
                    call.end(End::TheyHungUp, now);
                }
            }
            "INVITE" | "UPDATE" => self.on_offer(&request, &key, from),
            "INFO" | "OPTIONS" | "NOTIFY" | "MESSAGE" => self.respond_plain(&request, 200, from),
            _ => self.respond_plain(&request, 501, from),
        }
    }

    fn on_invite(&mut self, request: Message, from: SocketAddr) {
        let key = request.call_id().to_owned();
        let contact = uri_of(request.header("Contact").unwrap_or_default()).to_owned();
        let audio = Audio::open(self.address.ip());
        let (Ok(audio), None) = (audio, self.calls.get(&key)) else {
            return self.respond_plain(&request, 482, from);
        };
        let now = self.clock.now();
        let planned = match self.policy {
            OnInvite::Answer { after } => Some((now + after, Planned::Answer)),
            OnInvite::Reject { status, after } => Some((now + after, Planned::Reject(status))),
            OnInvite::Ring => None,
        };
        let call = Call {
            view: watch::Sender::new(View::new(CallState::Ringing)),
            audio: Arc::new(audio),
            local: format!("{};tag={}", request.header("To").unwrap_or_default(), self.unique()),
            remote: request.header("From").unwrap_or_default().to_owned(),
            peer: address_of(&contact).unwrap_or(from),
            target: contact,
            cseq: 0,
            invite: request.clone(),
            outgoing: false,
            codecs: vec![8, 0],
            telephone_event: Some(101),
            own: Direction::SendRecv,
            version: 0,
            given_up: false,
            planned,
            ended_at: None,
        };
        let tag = call.local_tag();
        if let Ok(handle) = self.handle(&key, &call) {
            let _ = self.incoming.try_send(handle); // nobody looks: the policy alone decides
        }
        self.remember(&request, from);
        self.calls.insert(key, call);
        self.respond(&request, self.with_contact(Message::response(&request, 180, &tag)));
        self.carry_out_plans(now);
    }

    /// An offer in the dialog (or a re-INVITE without one: then we offer).
    fn on_offer(&mut self, request: &Message, key: &CallKey, from: SocketAddr) {
        self.remember(request, from);
        let Some(call) = self.calls.get_mut(key) else { return };
        let mut response = Message::response(request, 200, &call.local_tag());
        if let Some(contact) = request.header("Contact") {
            call.target = uri_of(contact).to_owned();
            call.peer = address_of(&call.target).unwrap_or(call.peer);
        }
        if !request.body.is_empty() || request.method() == Some("INVITE") {
            let body = call.answer_to(&request.body);
            response = response.with_body("application/sdp", body);
        }
        self.respond(request, self.with_contact(response));
    }

    fn on_cancel(&mut self, request: &Message, key: &CallKey, from: SocketAddr) {
        self.respond_plain(request, 200, from);
        let now = self.clock.now();
        let matching = |call: &&mut Call| call.rings_here() && call.invite.branch() == request.branch();
        if let Some(call) = self.calls.get_mut(key).filter(matching) {
            let (invite, tag) = (call.invite.clone(), call.local_tag());
            call.note_reason(request);
            call.end(End::Cancelled, now);
            self.respond(&invite, Message::response(&invite, 487, &tag));
        }
    }

    fn on_ack(&mut self, request: &Message) {
        let (cseq, _) = request.cseq();
        for theirs in self.theirs.values_mut().filter(|theirs| theirs.call_id == request.call_id() && theirs.cseq == cseq) {
            theirs.next = None;
        }
        if let (Some(call), Some(sound)) = (self.calls.get_mut(request.call_id()), Sound::parse(&request.body)) {
            call.listen_to(sound);
        }
    }

    fn on_response(&mut self, response: Message, status: u16) {
        let key = (response.branch().to_owned(), response.cseq().1.to_owned());
        let Some(ours) = self.ours.get_mut(&key) else { return };
        if ours.done {
            if let (Some(ack), 200..) = (&ours.ack, status) {
                let _ = self.socket.send_to(ack, ours.to);
            }
            return;
        }
        if status < 200 {
            // RFC 3261 §17.1.1.2: a provisional answer ends the repetitions of an INVITE, and a phone may ring for long.
            if key.1 == "INVITE" {
                ours.next = None;
                ours.until = Moment(u64::MAX);
                self.on_provisional(&response, status);
            }
            return;
        }
        ours.done = true;
        ours.next = None;
        ours.until = self.clock.now() + TRANSACTION;
        let (request, to, granted) = (ours.request.clone(), ours.to, ours.granted.take());
        let ack = (key.1 == "INVITE").then(|| self.acknowledge(&request, &response, status)).flatten();
        if let Some((ack, to)) = &ack {
            let _ = self.socket.send_to(ack, *to);
        }
        if let Some(ours) = self.ours.get_mut(&key) {
            ours.to = ack.as_ref().map_or(to, |(_, to)| *to);
            ours.ack = ack.map(|(ack, _)| ack);
        }
        let granted = match self.authorized(&request, &response, status) {
            Some(again) => return self.send(again, to, granted),
            None => granted,
        };
        match key.1.as_str() {
            "INVITE" => self.on_invite_answered(&response, status),
            "REGISTER" => self.on_registered(&request, &response, status),
            _ => {}
        }
        if let Some(granted) = granted {
            let _ = granted.send(status);
        }
    }

    fn on_provisional(&mut self, response: &Message, status: u16) {
        let key = response.call_id().to_owned();
        let Some(call) = self.calls.get_mut(&key).filter(|call| call.ended_at.is_none()) else { return };
        if let Some(sound) = Sound::parse(&response.body) {
            call.listen_to(sound);
        }
        if status > 100 && call.state() == CallState::Calling {
            call.set_state(CallState::Ringing);
        }
        if call.given_up {
            self.cancel(&key);
        }
    }

    fn on_invite_answered(&mut self, response: &Message, status: u16) {
        let (key, now) = (response.call_id().to_owned(), self.clock.now());
        let Some(call) = self.calls.get_mut(&key).filter(|call| call.ended_at.is_none()) else { return };
        let first = call.state() != CallState::Answered;
        match status {
            ..300 => {
                call.set_state(CallState::Answered);
                if call.given_up && first {
                    self.bye(&key);
                }
            }
            487 if call.given_up => call.end(End::Cancelled, now),
            _ if first => call.end(End::Refused(status), now),
            // RFC 3261 §14.1: the dialog is over, as the far end sees it.
            408 | 481 => call.end(End::Lost, now),
            _ => {}
        }
    }

    /// The ACK and where it goes: to the Contact for a 2xx (RFC 3261 §13.2.2.4), else within the transaction (§17.1.1.3).
    fn acknowledge(&mut self, request: &Message, response: &Message, status: u16) -> Option<(Vec<u8>, SocketAddr)> {
        let branch = if status < 300 { self.unique() } else { request.branch().trim_start_matches("z9hG4bK").to_owned() };
        let via = self.via(&branch);
        let call = self.calls.get_mut(request.call_id())?;
        let target = if status < 300 { uri_of(response.header("Contact")?).to_owned() } else { request.uri().to_owned() };
        let mut ack = Message::request("ACK", &target)
            .with("Via", &via)
            .with("Max-Forwards", "70")
            .with("From", &call.local)
            .with("To", response.header("To")?)
            .with("Call-ID", request.call_id())
            .with("CSeq", &format!("{} ACK", request.cseq().0));
        if status >= 300 {
            return Some((ack.bytes(), call.peer));
        }
        call.remote = response.header("To")?.to_owned();
        call.peer = address_of(&target).unwrap_or(call.peer);
        call.target = target;
        if request.body.is_empty() {
            ack = ack.with_body("application/sdp", call.answer_to(&response.body));
        } else if let Some(sound) = Sound::parse(&response.body) {
            call.listen_to(sound);
        }
        Some((ack.bytes(), call.peer))
    }

    /// The request again with an answer to its challenge, once (RFC 3261 §22.2).
    fn authorized(&mut self, request: &Message, response: &Message, status: u16) -> Option<Message> {
        let (challenge_name, answer_name) = match status {
            401 => ("WWW-Authenticate", "Authorization"),
            407 => ("Proxy-Authenticate", "Proxy-Authorization"),
            _ => return None,
        };
        if request.header(answer_name).is_some() {
            return None;
        }
        let (cnonce, branch) = (self.unique(), self.unique());
        let via = self.via(&branch);
        let registration = self.registration.as_mut()?;
        let (method, uri) = (request.method()?, request.uri());
        let answer = response
            .all(challenge_name)
            .find_map(|it| digest::answer_challenge(it, &registration.user, &registration.password, method, uri, &cnonce, 1))?;
        let cseq = match method {
            "REGISTER" => {
                registration.cseq += 1;
                registration.cseq
            }
            _ => {
                let call = self.calls.get_mut(request.call_id()).filter(|call| call.ended_at.is_none())?;
                call.cseq += 1;
                call.cseq
            }
        };
        let mut again = request.clone();
        again.replace(answer_name, answer);
        again.replace("Via", via);
        again.replace("CSeq", format!("{cseq} {method}"));
        if method == "INVITE"
            && let Some(call) = self.calls.get_mut(request.call_id())
            && call.state() != CallState::Answered
        {
            call.invite = again.clone(); // CANCEL names the branch of the last INVITE
        }
        Some(again)
    }

    fn on_registered(&mut self, request: &Message, response: &Message, status: u16) {
        let seconds = |value: Option<&str>| value.and_then(|value| value.parse::<u64>().ok());
        let asked = seconds(request.header("Expires")).unwrap_or(EXPIRES);
        let granted = response.all("Contact").filter_map(|contact| seconds(parameter(contact, "expires"))).min();
        let (now, time) = (self.clock.now(), asked.min(granted.unwrap_or(asked)));
        if let Some(registration) = &mut self.registration {
            registration.refresh = (status < 300 && asked > 0).then(|| now + Duration::from_secs(time / 2));
        }
    }

    fn send_register(&mut self, expires: u64, granted: Option<oneshot::Sender<u16>>) {
        let branch = self.unique();
        let (via, tag, address) = (self.via(&branch), self.unique(), self.address);
        let Some(registration) = &mut self.registration else { return };
        registration.cseq += 1;
        registration.refresh = None;
        let Registration { registrar, user, call_id, cseq, .. } = registration;
        let register = Message::request("REGISTER", &format!("sip:{registrar}"))
            .with("Via", &via)
            .with("Max-Forwards", "70")
            .with("From", &format!("<sip:{user}@{registrar}>;tag={tag}"))
            .with("To", &format!("<sip:{user}@{registrar}>"))
            .with("Call-ID", call_id)
            .with("CSeq", &format!("{cseq} REGISTER"))
            .with("Contact", &format!("<sip:{user}@{address}>"))
            .with("Expires", &expires.to_string());
        let to = *registrar;
        self.send(register, to, granted);
    }

    fn bye(&mut self, key: &CallKey) {
        if let Some(mut call) = self.take_live(key) {
            let bye = self.in_call(key, &mut call, "BYE");
            let peer = call.peer;
            call.end(End::WeHungUp, self.clock.now());
            self.calls.insert(key.clone(), call);
            self.send(bye, peer, None);
        }
    }

    /// RFC 3261 §9.1: the headers of the INVITE, its branch included.
    fn cancel(&mut self, key: &CallKey) {
        let Some(call) = self.calls.get(key) else { return };
        let (invite, peer) = (&call.invite, call.peer);
        let mut cancel = Message::request("CANCEL", invite.uri());
        for name in ["Via", "Max-Forwards", "From", "To", "Call-ID"] {
            cancel = cancel.with(name, invite.header(name).unwrap_or_default());
        }
        cancel = cancel.with("CSeq", &format!("{} CANCEL", invite.cseq().0));
        let branch = cancel.branch().to_owned();
        if !self.ours.contains_key(&(branch.clone(), "CANCEL".to_owned())) {
            self.send(cancel, peer, None);
        }
        // RFC 3261 §9.1: if even the 487 does not come, the call counts as cancelled after 64 T1.
        if let Some(invite) = self.ours.get_mut(&(branch, "INVITE".to_owned())) {
            invite.until = self.clock.now() + TRANSACTION;
        }
    }

    fn in_call(&mut self, key: &CallKey, call: &mut Call, method: &str) -> Message {
        call.cseq += 1;
        let branch = self.unique();
        let request = Message::request(method, &call.target)
            .with("Via", &self.via(&branch))
            .with("Max-Forwards", "70")
            .with("From", &call.local)
            .with("To", &call.remote)
            .with("Call-ID", key)
            .with("CSeq", &format!("{} {method}", call.cseq));
        self.with_contact(request)
    }

    fn with_contact(&self, message: Message) -> Message {
        let user = self.registration.as_ref().map_or("phone", |registration| registration.user.as_str());
        message.with("Contact", &format!("<sip:{user}@{}>", self.address)).with("Allow", ALLOW)
    }

    fn take_live(&mut self, key: &CallKey) -> Option<Call> {
        self.calls.get(key).filter(|call| call.state() == CallState::Answered)?;
        self.calls.remove(key)
    }

    fn send(&mut self, request: Message, to: SocketAddr, granted: Option<oneshot::Sender<u16>>) {
        if self.vanished {
            return;
        }
        let now = self.clock.now();
        let _ = self.socket.send_to(&request.bytes(), to); // non-blocking: a full socket buffer is a lost datagram: it is sent again
        let key = (request.branch().to_owned(), request.cseq().1.to_owned());
        let (next, until) = (Some(now + T1), now + TRANSACTION);
        self.ours.insert(key, Ours { request, to, next, interval: T1, until, ack: None, done: false, granted });
    }

    /// Opens a server transaction, so that repetitions find its last answer.
    fn remember(&mut self, request: &Message, from: SocketAddr) {
        let (cseq, method) = request.cseq();
        let key = (request.branch().to_owned(), method.to_owned());
        let (call_id, until) = (request.call_id().to_owned(), Moment(u64::MAX));
        self.theirs.insert(key, Theirs { call_id, cseq, last: Vec::new(), to: from, next: None, interval: T1, until });
    }

    fn respond(&mut self, request: &Message, response: Message) {
        if self.vanished {
            return;
        }
        let now = self.clock.now();
        let (status, invite) = (response.status().unwrap_or_default(), request.method() == Some("INVITE"));
        let key = (request.branch().to_owned(), request.method().unwrap_or_default().to_owned());
        let Some(theirs) = self.theirs.get_mut(&key) else { return };
        theirs.last = response.bytes();
        let _ = self.socket.send_to(&theirs.last, theirs.to);
        if status >= 200 {
            theirs.until = now + TRANSACTION;
            // RFC 3261 §13.3.1.4 and §17.2.1: a final answer to INVITE is repeated until the ACK.
            theirs.next = invite.then(|| now + T1);
        }
    }

    fn respond_plain(&mut self, request: &Message, status: u16, from: SocketAddr) {
        let tag = self.unique();
        self.remember(request, from);
        self.respond(request, Message::response(request, status, &tag).with("Allow", ALLOW));
    }

    fn handle(&self, key: &CallKey, call: &Call) -> io::Result<PhoneCall> {
        let line = self.me.upgrade().ok_or(io::ErrorKind::NotConnected)?;
        Ok(PhoneCall { line, key: key.clone(), view: call.view.subscribe(), audio: call.audio.clone(), bound: WAIT })
    }

    fn via(&self, branch: &str) -> String {
        format!("SIP/2.0/UDP {};branch=z9hG4bK{branch};rport", self.address)
    }

    /// Something nobody else says: not this phone again, and not one of another run.
    fn unique(&mut self) -> String {
        self.counter += 1;
        format!("{:x}-{:x}-{:x}", self.born.0, self.address.port(), self.counter)
    }
}
