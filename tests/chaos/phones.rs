//! All phones of the line in one loop: citizens behind their trunk, agents at their desks. Each follows RFC 3261 and keeps an account.

use crate::air::{self, Ear, Mouth, Music, Port, now_us};
use crate::engine::Net;
use crate::lives::{Action, Dice, Life, PATIENCE_WITH_RINGING};
use dozvon::stream::Direction;
use dozvon::testphone::message::{Message, Sound, address_of, parameter, uri_of};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// RFC 3261 §17.1.1.1, in microseconds.
const T1: u64 = 500_000;
const T2: u64 = 4_000_000;
/// Timers B, F and H, and how long an answered transaction is remembered.
const TRANSACTION: u64 = 64 * T1;
const SECOND: u64 = 1_000_000;
/// How long a phone hears nothing before its owner hangs up.
const PATIENCE_WITH_SILENCE: u64 = 8 * SECOND;
/// How often transactions and lives are looked at.
const LOOK: u64 = 5_000;

pub type LegId = u32;
pub type TalkId = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Citizen,
    Agent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// INVITE sent or come, no final answer.
    Early,
    /// Our 200 left, its ACK has not come.
    Answered,
    Up,
    Over,
}

/// How a leg ended, as its phone knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As its owner wished.
    HungUp,
    /// Its owner heard nothing for long.
    GaveUpInSilence,
    TheyHungUp,
    Cancelled,
    Refused(u16),
    /// No answer to our INVITE, or no ACK for our 200.
    Unanswered,
}

/// One phone's side of a call, and its account of it.
pub struct Leg {
    pub side: Side,
    /// The citizen's number; at an agent's phone of the citizen who rings.
    pub number: String,
    /// User of the account that rings.
    user: String,
    pub state: State,
    pub end: Option<End>,
    pub ended_at: u64,
    pub begun_at: u64,
    pub answered_at: Option<u64>,
    pub keys_pressed: u32,
    /// The status that our BYE got; 0 for none in 32 s.
    pub bye_answer: Option<u16>,
    /// A BYE of theirs came, crossing ours or not.
    pub got_bye: bool,
    pub talk: Option<TalkId>,
    pub ear: Ear,
    mouth: Mouth,
    /// The owner holds the other.
    pub holding: bool,
    outgoing: bool,
    call_id: String,
    local: String,
    remote: String,
    target: String,
    peer: SocketAddr,
    cseq: u32,
    their_cseq: u32,
    invite: Message,
    rtp: Option<SocketAddr>,
    event_type: Option<u8>,
    /// They want to hear us.
    sending: bool,
    given_up: bool,
    version: u32,
}

/// A citizen and an agent who were brought together.
pub struct Talk {
    pub citizen: LegId,
    pub agent: LegId,
    pub began: u64,
    pub ended: Option<u64>,
    /// It ended though nobody at either phone wished so.
    pub broken: Option<&'static str>,
    /// Largest gap of either direction by the fault that it followed, in microseconds.
    pub gaps: BTreeMap<Fault, u64>,
    /// Lived when the last fault was done.
    armed: bool,
    pub held: bool,
}

/// One direction of a talk after media stood still.
pub struct Resumed {
    pub citizen: LegId,
    /// Until the first sound that left after that moment, in microseconds.
    pub after: u64,
    /// Packets that came behind their time.
    pub stale: u32,
}

/// What was done to the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Calm,
    EngineKilled,
    MediaKilled,
    HandedOver,
    EngineStopped,
    MediaStopped,
    RecordingsFull,
    JournalFull,
    DatabaseStopped,
    DatabaseSlow,
    DatabaseReadOnly,
    CoreDown,
    CoreSlow,
    CoreTwice,
    ClockJumped,
    KilledInACrowd,
}

/// The two ends of a dialog: From and To of our requests, their Request-URI, and where they go.
struct Ends {
    local: String,
    remote: String,
    target: String,
    peer: SocketAddr,
}

struct Ours {
    leg: Option<LegId>,
    request: Message,
    to: SocketAddr,
    next: Option<u64>,
    interval: u64,
    until: u64,
    ack: Option<(Vec<u8>, SocketAddr)>,
    done: bool,
    wish: Wish,
}

/// What an answer to our request means to its owner.
#[derive(Clone, Copy, PartialEq)]
enum Wish {
    None,
    Hold,
    Resume,
}

struct Theirs {
    leg: Option<LegId>,
    /// The phones that were asked, and in which call.
    side: Side,
    call_id: String,
    cseq: u32,
    last: Vec<u8>,
    to: SocketAddr,
    next: Option<u64>,
    interval: u64,
    until: u64,
}

pub struct Phones {
    pub legs: Vec<Leg>,
    pub talks: Vec<Talk>,
    /// Gaps around each fault, one for each direction of each talk that lived then, in microseconds.
    pub gaps: BTreeMap<Fault, Vec<u64>>,
    pub resumed: Vec<Resumed>,
    /// Requests that no good far end sends: a CSeq that goes back, a dialog that never was.
    pub bad_manners: Vec<String>,
    /// Phones that were rung while their owner talked.
    pub rung_in_a_talk: u32,
    pub life: Life,
    engine: SocketAddr,
    sip: [Port; 2],
    rtp: [Port; 2],
    music: Music,
    fault: Fault,
    dice: Dice,
    by_call_id: BTreeMap<String, LegId>,
    by_rtp: BTreeMap<(Side, SocketAddr), LegId>,
    citizens: BTreeMap<String, LegId>,
    live: BTreeSet<LegId>,
    ours: BTreeMap<(String, String), Ours>,
    theirs: BTreeMap<(String, String), Theirs>,
    agenda: BTreeMap<(u64, u64), (LegId, Action)>,
    counter: u64,
    looked: u64,
    listened: u64,
    /// Whatever came before this moment has been read.
    heard_until: u64,
}

impl Phones {
    pub fn new(net: &Net, music: Music, life: Life, dice: Dice) -> Self {
        let port = |host, port| Port::bind(net.at(host, port)).unwrap();
        Self {
            legs: Vec::new(),
            talks: Vec::new(),
            gaps: BTreeMap::new(),
            resumed: Vec::new(),
            bad_manners: Vec::new(),
            rung_in_a_talk: 0,
            life,
            engine: net.engine(),
            sip: [port(10, 5060), port(20, 5060)],
            rtp: [port(10, 4000), port(20, 4000)],
            music,
            fault: Fault::Calm,
            dice,
            by_call_id: BTreeMap::new(),
            by_rtp: BTreeMap::new(),
            citizens: BTreeMap::new(),
            live: BTreeSet::new(),
            ours: BTreeMap::new(),
            theirs: BTreeMap::new(),
            agenda: BTreeMap::new(),
            counter: 0,
            looked: 0,
            listened: 0,
            heard_until: 0,
        }
    }

    /// One round: what came in, what is due.
    pub fn turn(&mut self) {
        air::wait([&self.sip[0], &self.sip[1], &self.rtp[0], &self.rtp[1]]);
        let mut buffer = [0; 8192];
        self.heard_until = now_us();
        for side in [Side::Citizen, Side::Agent] {
            while let Some((length, from, arrived)) = self.rtp[side as usize].receive(&mut buffer) {
                if let Some(leg) = self.by_rtp.get(&(side, from)) {
                    self.legs[*leg as usize].ear.hear(&buffer[..length], arrived, &self.music);
                }
            }
            while let Some((length, from, _)) = self.sip[side as usize].receive(&mut buffer) {
                if let Some(message) = Message::parse(&buffer[..length]) {
                    self.on_message(side, message, from);
                }
            }
        }
        let now = now_us();
        self.speak(now);
        if now - self.looked >= LOOK {
            self.looked = now;
            self.carry_out(now);
            self.repeat_and_forget(now);
        }
        if now - self.listened >= SECOND / 4 {
            self.listened = now;
            self.hang_up_in_silence(now);
        }
    }

    /// Somebody is in a call, or a request of ours waits for its answer.
    pub fn in_the_air(&self) -> bool {
        !self.live.is_empty() || self.ours.values().any(|ours| !ours.done)
    }

    /// Citizens who ring or are connected, agents' legs not counted: in talks, with music, with the robot.
    pub fn stages(&self) -> (usize, usize, usize) {
        let mut stages = (0, 0, 0);
        for leg in self.live.iter().map(|leg| &self.legs[*leg as usize]).filter(|leg| leg.side == Side::Citizen) {
            match (leg.talk.is_some(), leg.ear.music_since.is_some()) {
                (true, _) => stages.0 += 1,
                (false, true) => stages.1 += 1,
                (false, false) => stages.2 += 1,
            }
        }
        stages
    }

    pub fn packets_dropped_by_us(&self) -> u64 {
        self.sip.iter().chain(&self.rtp).map(Port::dropped).sum()
    }

    /// A fault is done in this moment: gaps since the last one are counted as that one's.
    pub fn mark(&mut self, fault: Fault) {
        for talk in 0..self.talks.len() {
            if self.talks[talk].ended.is_none() && !self.talks[talk].held {
                self.measure(talk);
                self.talks[talk].armed = true;
            }
        }
        self.fault = fault;
    }

    /// Media go on in this moment.
    pub fn expect_sound(&mut self) {
        let now = now_us();
        for talk in self.talks.iter().filter(|talk| talk.ended.is_none() && !talk.held) {
            for leg in [talk.citizen, talk.agent] {
                self.legs[leg as usize].ear.expect_sound(now);
            }
        }
    }

    fn measure(&mut self, talk: TalkId) {
        let now = self.heard_until;
        let (citizen, agent, armed) = (self.talks[talk].citizen, self.talks[talk].agent, self.talks[talk].armed);
        for leg in [citizen, agent] {
            let ear = &mut self.legs[leg as usize].ear;
            let gap = ear.take_gap(now);
            self.resumed.extend(ear.take_resumed(now).map(|(after, stale)| Resumed { citizen, after, stale }));
            if armed || self.fault == Fault::Calm {
                self.gaps.entry(self.fault).or_default().push(gap);
            }
            let known = self.talks[talk].gaps.entry(self.fault).or_default();
            *known = gap.max(*known);
        }
    }

    // ---- what people do ----

    pub fn citizen_calls(&mut self, number: String) {
        let (now, engine) = (now_us(), self.engine);
        let uri = format!("sip:122@{engine}");
        let local = format!("<sip:{number}@{}>;tag={}", self.sip[0].address(), self.unique());
        let call_id = format!("{}@citizen", self.unique());
        let ends = Ends { local, remote: format!("<{uri}>"), target: uri, peer: engine };
        let leg = self.add(Side::Citizen, number.clone(), &call_id, ends);
        self.citizens.insert(number, leg);
        let direction = if self.life.only_waits { Direction::SendOnly } else { Direction::SendRecv };
        let body = self.describe(leg, direction);
        let invite = self.in_call(leg, "INVITE").with_body("application/sdp", body);
        self.legs[leg as usize].invite = invite.clone();
        self.send(Some(leg), invite, engine, Wish::None);
        self.plan(now + PATIENCE_WITH_RINGING, leg, Action::GiveUpRinging);
    }

    /// Everybody goes home.
    pub fn hang_up_all(&mut self) {
        for leg in self.live.clone() {
            self.hang_up(leg, End::HungUp);
        }
    }

    fn plan(&mut self, at: u64, leg: LegId, action: Action) {
        self.counter += 1;
        self.agenda.insert((at, self.counter), (leg, action));
    }

    fn carry_out(&mut self, now: u64) {
        while let Some(due) = self.agenda.first_entry().filter(|first| first.key().0 <= now) {
            let (leg, action) = due.remove();
            self.act(leg, action, now);
        }
    }

    fn act(&mut self, id: LegId, action: Action, now: u64) {
        let talking = self.talk_of(id).is_some();
        let leg = &mut self.legs[id as usize];
        match (action, leg.state) {
            (_, State::Over) => {}
            (Action::GiveUpRinging, State::Early) => self.hang_up(id, End::Unanswered),
            (Action::Answer, State::Early) => self.answer(id),
            (Action::Reject, State::Early) => self.reject(id, 486),
            (Action::Press, State::Up) if !talking => {
                leg.keys_pressed += 1;
                leg.mouth.press(self.life.key());
                if self.life.only_waits {
                    return;
                }
                if leg.keys_pressed == 1 {
                    let patience = self.dice.mean(self.life.queue_mean);
                    self.plan(now + SECOND / 2 + patience, id, Action::LeaveQueue);
                }
                self.plan(now + 4 * SECOND, id, Action::PressAgain);
            }
            (Action::PressAgain, State::Up) if leg.ear.music_since.is_none() && leg.keys_pressed < 4 => {
                self.act(id, Action::Press, now);
            }
            (Action::LeaveMenu | Action::LeaveQueue, State::Up) if !talking => self.hang_up(id, End::HungUp),
            (Action::EndTalk, State::Up) => self.hang_up(id, End::HungUp),
            (Action::Hold, State::Up) => self.hold(id, true),
            (Action::Resume, State::Up) => self.hold(id, false),
            (_, State::Early | State::Answered | State::Up) => {}
        }
    }

    fn hang_up_in_silence(&mut self, now: u64) {
        for id in self.live.clone() {
            let leg = &self.legs[id as usize];
            if leg.state != State::Up || leg.holding || self.life.only_waits {
                continue;
            }
            let since = match self.talk_of(id) {
                Some(talk) if !talk.held => leg.ear.silent_since(),
                Some(_) | None => leg.ear.last.max(leg.answered_at).unwrap_or(leg.begun_at),
            };
            if now.saturating_sub(since) > PATIENCE_WITH_SILENCE {
                self.hang_up(id, End::GaveUpInSilence);
            }
        }
    }

    fn hang_up(&mut self, id: LegId, how: End) {
        let leg = &self.legs[id as usize];
        match leg.state {
            State::Up => {
                if let Some(talk) = leg.talk {
                    self.end_talk(talk, (how == End::GaveUpInSilence).then_some("silence"));
                }
                let bye = self.in_call(id, "BYE");
                let peer = self.legs[id as usize].peer;
                self.finish(id, how);
                self.send(Some(id), bye, peer, Wish::None);
            }
            State::Early if leg.outgoing => {
                self.legs[id as usize].given_up = true;
                self.cancel(id);
            }
            State::Early => self.reject(id, 603),
            // RFC 3261 §15.1.1: no BYE before the ACK.
            State::Answered => self.legs[id as usize].given_up = true,
            State::Over => {}
        }
    }

    fn hold(&mut self, id: LegId, hold: bool) {
        let Some(talk) = self.legs[id as usize].talk else { return };
        if hold {
            // What comes from here on is music, for both ears the talk stands still.
            self.measure(talk);
            self.talks[talk].held = true;
            self.listen_anew(talk);
        }
        self.legs[id as usize].holding = hold;
        let body = self.describe(id, if hold { Direction::SendOnly } else { Direction::SendRecv });
        let invite = self.in_call(id, "INVITE").with_body("application/sdp", body);
        let peer = self.legs[id as usize].peer;
        self.send(Some(id), invite, peer, if hold { Wish::Hold } else { Wish::Resume });
    }

    fn listen_anew(&mut self, talk: TalkId) {
        for leg in [self.talks[talk].citizen, self.talks[talk].agent] {
            self.legs[leg as usize].ear.begin_anew(now_us());
        }
    }

    /// The talk in which this leg is.
    fn talk_of(&self, leg: LegId) -> Option<&Talk> {
        self.legs[leg as usize].talk.map(|talk| &self.talks[talk]).filter(|talk| talk.ended.is_none())
    }

    fn end_talk(&mut self, talk: TalkId, broken: Option<&'static str>) {
        if self.talks[talk].ended.is_some() {
            return;
        }
        if !self.talks[talk].held {
            self.measure(talk);
        }
        let now = now_us();
        let mute = |leg: LegId| self.legs[leg as usize].ear.stamped == 0;
        let both = [self.talks[talk].citizen, self.talks[talk].agent];
        let never_heard = now - self.talks[talk].began > 2 * SECOND && both.into_iter().any(mute);
        let talk = &mut self.talks[talk];
        talk.ended = Some(now);
        talk.broken = broken.or(never_heard.then_some("one never heard the other"));
    }

    fn finish(&mut self, id: LegId, how: End) {
        let leg = &mut self.legs[id as usize];
        leg.state = State::Over;
        leg.end = Some(how);
        leg.ended_at = now_us();
        let (side, rtp) = (leg.side, leg.rtp);
        self.unplug(id, side, rtp);
        self.live.remove(&id);
    }

    // ---- sound ----

    fn speak(&mut self, now: u64) {
        for id in &self.live {
            let leg = &mut self.legs[*id as usize];
            let Some(rtp) = leg.rtp.filter(|_| leg.state == State::Up && leg.sending && !leg.holding) else { continue };
            if self.life.only_waits && !leg.mouth.presses() {
                continue;
            }
            if let Some(packet) = leg.mouth.due(now, leg.event_type) {
                self.rtp[leg.side as usize].send(&packet, rtp);
            }
        }
    }

    fn listen_to(&mut self, id: LegId, body: &str) {
        let Some(sound) = Sound::parse(body) else { return };
        let leg = &mut self.legs[id as usize];
        let (side, old) = (leg.side, leg.rtp.replace(sound.at));
        leg.event_type = sound.telephone_event;
        leg.sending = matches!(sound.direction, Direction::SendRecv | Direction::RecvOnly);
        self.unplug(id, side, old);
        self.by_rtp.insert((side, sound.at), id);
    }

    /// What comes from there is no longer for this leg. Another may have the port: a new life gives it out again.
    fn unplug(&mut self, id: LegId, side: Side, rtp: Option<SocketAddr>) {
        if let Some(rtp) = rtp.filter(|rtp| self.by_rtp.get(&(side, *rtp)) == Some(&id)) {
            self.by_rtp.remove(&(side, rtp));
        }
    }

    fn describe(&mut self, id: LegId, direction: Direction) -> String {
        let leg = &mut self.legs[id as usize];
        leg.version += 1;
        Sound::write(self.rtp[leg.side as usize].address(), &[8], Some(101), direction, leg.version)
    }

    // ---- signalling ----

    fn on_message(&mut self, side: Side, message: Message, from: SocketAddr) {
        match (message.method(), message.status()) {
            (Some(_), _) => self.on_request(side, message, from),
            (None, Some(status)) => self.on_response(message, status),
            (None, None) => {}
        }
    }

    fn on_request(&mut self, side: Side, request: Message, from: SocketAddr) {
        let method = request.method().unwrap_or_default().to_owned();
        let known_leg = self.by_call_id.get(request.call_id()).copied();
        if method == "ACK" {
            return self.on_ack(&request, known_leg);
        }
        if let Some(known) = self.theirs.get(&(request.branch().to_owned(), method.clone())) {
            self.sip[side as usize].send(&known.last, known.to);
            return;
        }
        let in_dialog = parameter(request.header("To").unwrap_or_default(), "tag").is_some();
        let cseq = request.cseq().0;
        let open = |leg: Option<LegId>| Theirs {
            leg,
            side,
            call_id: request.call_id().to_owned(),
            cseq,
            last: Vec::new(),
            to: from,
            next: None,
            interval: T1,
            until: u64::MAX,
        };
        self.theirs.insert((request.branch().to_owned(), method.clone()), open(known_leg));
        let Some(id) = known_leg else {
            return match method.as_str() {
                "INVITE" if !in_dialog => self.on_invite(side, request),
                "OPTIONS" if !in_dialog => self.respond_plain(side, &request, 200),
                _ => {
                    self.bad_manners.push(format!("{method} in a dialog that never was"));
                    self.respond_plain(side, &request, 481);
                }
            };
        };
        if method == "CANCEL" {
            self.respond_plain(side, &request, 200);
            if self.legs[id as usize].state == State::Early && self.legs[id as usize].invite.branch() == request.branch() {
                self.refuse(id, 487);
                self.finish(id, End::Cancelled);
            }
            return;
        }
        let leg = &mut self.legs[id as usize];
        // RFC 3261 §12.2.2: both tags make the dialog, and its CSeq never goes back.
        let tag = |value: &str| parameter(value, "tag").unwrap_or_default().to_owned();
        let (to, from_tag) = (tag(request.header("To").unwrap_or_default()), tag(request.header("From").unwrap_or_default()));
        if to != tag(&leg.local) || from_tag != tag(&leg.remote) {
            self.bad_manners.push(format!("{method} with tags of no dialog"));
            return self.respond_plain(side, &request, 481);
        }
        if cseq <= leg.their_cseq && method != "INVITE" || cseq < leg.their_cseq {
            self.bad_manners.push(format!("{method} with CSeq {cseq} after {}", leg.their_cseq));
            return self.respond_plain(side, &request, 500);
        }
        leg.their_cseq = cseq;
        if method == "BYE" {
            leg.got_bye = true;
        }
        if leg.state == State::Over {
            return self.respond_plain(side, &request, if method == "BYE" { 200 } else { 481 });
        }
        match method.as_str() {
            "BYE" => {
                if let Some(talk) = leg.talk {
                    // Nobody at a phone hung up before: the talk was broken off.
                    self.end_talk(talk, Some("the engine hung up"));
                }
                self.respond_plain(side, &request, 200);
                self.finish(id, End::TheyHungUp);
            }
            "INVITE" | "UPDATE" => {
                if let Some(contact) = request.header("Contact") {
                    leg.target = uri_of(contact).to_owned();
                    leg.peer = address_of(&leg.target).unwrap_or(leg.peer);
                }
                let tag = tag(&leg.local);
                let mut response = Message::response(&request, 200, &tag);
                if !request.body.is_empty() || method == "INVITE" {
                    let body = self.answer_to(id, &request.body);
                    response = response.with_body("application/sdp", body);
                }
                self.respond(side, &request, self.with_contact(id, response));
            }
            "INFO" | "OPTIONS" | "NOTIFY" => self.respond_plain(side, &request, 200),
            _ => self.respond_plain(side, &request, 501),
        }
    }

    /// An agent's phone is called, or a citizen is called back.
    fn on_invite(&mut self, side: Side, request: Message) {
        let user_of = |uri: &str| uri.trim_start_matches("sip:").split('@').next().unwrap_or_default().to_owned();
        let (called, calling) = (user_of(request.uri()), user_of(uri_of(request.header("From").unwrap_or_default())));
        let busy = |leg: &LegId| self.legs[*leg as usize].user == called && self.legs[*leg as usize].side == side;
        let busy_with = self.live.iter().find(|leg| busy(leg)).copied();
        if let Some(leg) = busy_with {
            self.rung_in_a_talk += u32::from(self.legs[leg as usize].state == State::Up);
            return self.respond_plain(side, &request, 486);
        }
        let contact = uri_of(request.header("Contact").unwrap_or_default()).to_owned();
        let local = format!("{};tag={}", request.header("To").unwrap_or_default(), self.unique());
        let remote = request.header("From").unwrap_or_default().to_owned();
        let peer = address_of(&contact).unwrap_or(self.engine);
        let number = if side == Side::Agent { calling } else { called.clone() };
        let id = self.add(side, number.clone(), request.call_id(), Ends { local, remote, target: contact, peer });
        if side == Side::Citizen {
            self.citizens.insert(number, id);
        }
        if let Some(theirs) = self.theirs.get_mut(&(request.branch().to_owned(), "INVITE".to_owned())) {
            theirs.leg = Some(id);
        }
        let leg = &mut self.legs[id as usize];
        leg.user = called;
        leg.outgoing = false;
        leg.their_cseq = request.cseq().0;
        leg.invite = request.clone();
        let tag = parameter(&leg.local, "tag").unwrap_or_default().to_owned();
        let ringing = Message::response(&request, 180, &tag);
        self.respond(side, &request, self.with_contact(id, ringing));
        let (after, what) = self.life.how_an_agent_takes_it(&mut self.dice);
        self.plan(now_us() + after, id, what);
    }

    fn answer(&mut self, id: LegId) {
        let leg = &self.legs[id as usize];
        let (request, side, tag) = (leg.invite.clone(), leg.side, parameter(&leg.local, "tag").unwrap_or_default().to_owned());
        let body = self.answer_to(id, &request.body);
        let response = Message::response(&request, 200, &tag);
        self.legs[id as usize].state = State::Answered;
        self.respond(side, &request, self.with_contact(id, response).with_body("application/sdp", body));
    }

    fn reject(&mut self, id: LegId, status: u16) {
        self.refuse(id, status);
        self.finish(id, End::Refused(status));
    }

    fn refuse(&mut self, id: LegId, status: u16) {
        let leg = &self.legs[id as usize];
        let (invite, tag, side) = (leg.invite.clone(), parameter(&leg.local, "tag").unwrap_or_default().to_owned(), leg.side);
        self.respond(side, &invite, Message::response(&invite, status, &tag));
    }

    fn on_ack(&mut self, request: &Message, leg: Option<LegId>) {
        let cseq = request.cseq().0;
        let call_id = request.call_id();
        for theirs in self.theirs.values_mut().filter(|theirs| theirs.call_id == call_id && theirs.cseq == cseq) {
            theirs.next = None;
        }
        let Some(id) = leg else { return };
        if !request.body.is_empty() {
            self.listen_to(id, &request.body);
        }
        let leg = &mut self.legs[id as usize];
        if leg.state == State::Answered {
            leg.state = State::Up;
            leg.answered_at = Some(now_us());
            if leg.given_up {
                return self.hang_up(id, End::HungUp);
            }
            if leg.side == Side::Agent {
                self.meet(id);
            }
        }
    }

    /// The agent has answered: from here on both should hear each other.
    fn meet(&mut self, agent: LegId) {
        let now = now_us();
        let citizen = self.citizens.get(&self.legs[agent as usize].number).copied();
        let Some(citizen) = citizen.filter(|citizen| self.legs[*citizen as usize].state == State::Up) else { return };
        let talk = self.talks.len();
        let (gaps, armed) = (BTreeMap::new(), false);
        self.talks.push(Talk { citizen, agent, began: now, ended: None, broken: None, gaps, armed, held: false });
        for leg in [citizen, agent] {
            let leg = &mut self.legs[leg as usize];
            leg.talk = Some(talk);
            leg.ear.stamped = 0;
            leg.ear.begin_anew(now);
        }
        for (after, who, what) in self.life.how_a_talk_goes(&mut self.dice) {
            self.plan(now + after, if who == Side::Citizen { citizen } else { agent }, what);
        }
    }

    fn on_response(&mut self, response: Message, status: u16) {
        let key = (response.branch().to_owned(), response.cseq().1.to_owned());
        let Some(ours) = self.ours.get_mut(&key) else { return };
        let Some(id) = ours.leg else { return };
        let side = self.legs[id as usize].side;
        if ours.done {
            if let (Some((ack, to)), 200..) = (&ours.ack, status) {
                self.sip[side as usize].send(ack, *to);
            }
            return;
        }
        if status < 200 {
            // RFC 3261 §17.1.1.2: a provisional answer ends the repetitions of an INVITE.
            if key.1 == "INVITE" {
                ours.next = None;
                ours.until = u64::MAX;
                self.listen_to(id, &response.body);
                if self.legs[id as usize].given_up {
                    self.cancel(id);
                }
            }
            return;
        }
        ours.done = true;
        ours.next = None;
        ours.until = now_us() + TRANSACTION;
        let (request, wish) = (ours.request.clone(), ours.wish);
        if key.1 == "INVITE" {
            let ack = self.acknowledge(id, &request, &response, status);
            if let Some((ack, to)) = &ack {
                self.sip[side as usize].send(ack, *to);
            }
            if let Some(ours) = self.ours.get_mut(&key) {
                ours.ack = ack;
            }
            self.on_invite_answered(id, &response, status, wish);
        } else if key.1 == "BYE" {
            self.legs[id as usize].bye_answer = Some(status);
        }
    }

    fn on_invite_answered(&mut self, id: LegId, response: &Message, status: u16, wish: Wish) {
        let now = now_us();
        let leg = &mut self.legs[id as usize];
        if leg.state == State::Over {
            return;
        }
        if status < 300 {
            self.listen_to(id, &response.body);
        }
        let leg = &mut self.legs[id as usize];
        match (wish, status) {
            (Wish::None, ..300) => {
                leg.state = State::Up;
                leg.answered_at = Some(now);
                if leg.given_up {
                    return self.hang_up(id, End::Cancelled);
                }
                for (after, what) in self.life.how_a_citizen_chooses(&mut self.dice) {
                    self.plan(now + after, id, what);
                }
            }
            (Wish::None, 487) if leg.given_up => self.finish(id, End::Cancelled),
            (Wish::None, _) => self.finish(id, End::Refused(status)),
            (Wish::Hold, _) => {}
            (Wish::Resume, _) => {
                if let Some(talk) = leg.talk.filter(|talk| self.talks[*talk].ended.is_none()) {
                    self.listen_anew(talk);
                    self.talks[talk].held = false;
                }
            }
        }
    }

    /// RFC 3261 §13.2.2.4 and §17.1.1.3.
    fn acknowledge(&mut self, id: LegId, request: &Message, response: &Message, status: u16) -> Option<(Vec<u8>, SocketAddr)> {
        let branch = if status < 300 { self.unique() } else { request.branch().trim_start_matches("z9hG4bK").to_owned() };
        let leg = &mut self.legs[id as usize];
        let to = response.header("To")?;
        let mut target = request.uri().to_owned();
        if status < 300 {
            target = uri_of(response.header("Contact")?).to_owned();
            leg.remote = to.to_owned();
            leg.peer = address_of(&target).unwrap_or(leg.peer);
            leg.target = target.clone();
        }
        let (local, peer, side) = (leg.local.clone(), leg.peer, leg.side);
        let ack = Message::request("ACK", &target)
            .with("Via", &self.via(side, &branch))
            .with("Max-Forwards", "70")
            .with("From", &local)
            .with("To", to)
            .with("Call-ID", request.call_id())
            .with("CSeq", &format!("{} ACK", request.cseq().0));
        Some((ack.bytes(), peer))
    }

    /// RFC 3261 §9.1: not before a provisional answer; the branch of the INVITE; over after 64 T1 whatever comes.
    fn cancel(&mut self, id: LegId) {
        let leg = &self.legs[id as usize];
        let (invite, peer) = (leg.invite.clone(), leg.peer);
        let branch = invite.branch().to_owned();
        let provisional = self.ours.get(&(branch.clone(), "INVITE".to_owned())).is_some_and(|ours| ours.next.is_none());
        if !provisional || self.ours.contains_key(&(branch.clone(), "CANCEL".to_owned())) {
            return;
        }
        let mut cancel = Message::request("CANCEL", invite.uri());
        for name in ["Via", "Max-Forwards", "From", "To", "Call-ID"] {
            cancel = cancel.with(name, invite.header(name).unwrap_or_default());
        }
        self.send(Some(id), cancel.with("CSeq", &format!("{} CANCEL", invite.cseq().0)), peer, Wish::None);
        if let Some(invite) = self.ours.get_mut(&(branch, "INVITE".to_owned())) {
            invite.until = now_us() + TRANSACTION;
        }
    }

    fn answer_to(&mut self, id: LegId, offer: &str) -> String {
        let leg = &self.legs[id as usize];
        let own = if leg.holding { Direction::SendOnly } else { Direction::SendRecv };
        let Some(sound) = Sound::parse(offer) else { return self.describe(id, own) };
        self.listen_to(id, offer);
        // RFC 3264 §6.1: who is held only listens.
        let direction = match sound.direction {
            Direction::SendRecv => own,
            Direction::SendOnly => Direction::RecvOnly,
            Direction::RecvOnly => Direction::SendOnly,
            Direction::Inactive => Direction::Inactive,
        };
        self.describe(id, direction)
    }

    fn add(&mut self, side: Side, number: String, call_id: &str, ends: Ends) -> LegId {
        let Ends { local, remote, target, peer } = ends;
        let (id, now) = (self.legs.len() as LegId, now_us());
        self.legs.push(Leg {
            side,
            user: number.clone(),
            number,
            state: State::Early,
            end: None,
            ended_at: 0,
            begun_at: now,
            answered_at: None,
            keys_pressed: 0,
            bye_answer: None,
            got_bye: false,
            talk: None,
            ear: Ear::default(),
            mouth: Mouth::new(id, now),
            holding: false,
            outgoing: true,
            call_id: call_id.to_owned(),
            local,
            remote,
            target,
            peer,
            cseq: 0,
            their_cseq: 0,
            invite: Message::request("INVITE", ""),
            rtp: None,
            event_type: None,
            sending: true,
            given_up: false,
            version: 0,
        });
        self.by_call_id.insert(call_id.to_owned(), id);
        self.live.insert(id);
        id
    }

    fn in_call(&mut self, id: LegId, method: &str) -> Message {
        let branch = self.unique();
        let leg = &mut self.legs[id as usize];
        leg.cseq += 1;
        let leg = &self.legs[id as usize];
        let request = Message::request(method, &leg.target)
            .with("Via", &self.via(leg.side, &branch))
            .with("Max-Forwards", "70")
            .with("From", &leg.local)
            .with("To", &leg.remote)
            .with("Call-ID", &leg.call_id)
            .with("CSeq", &format!("{} {method}", leg.cseq));
        self.with_contact(id, request)
    }

    fn with_contact(&self, id: LegId, message: Message) -> Message {
        let leg = &self.legs[id as usize];
        let contact = format!("<sip:{}@{}>", leg.user, self.sip[leg.side as usize].address());
        message.with("Contact", &contact).with("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO")
    }

    fn send(&mut self, leg: Option<LegId>, request: Message, to: SocketAddr, wish: Wish) {
        let (now, key) = (now_us(), (request.branch().to_owned(), request.cseq().1.to_owned()));
        let side = leg.map_or(Side::Citizen, |leg| self.legs[leg as usize].side);
        self.sip[side as usize].send(&request.bytes(), to);
        let (next, until) = (Some(now + T1), now + TRANSACTION);
        self.ours.insert(key, Ours { leg, request, to, next, interval: T1, until, ack: None, done: false, wish });
    }

    fn respond(&mut self, side: Side, request: &Message, response: Message) {
        let now = now_us();
        let (status, invite) = (response.status().unwrap_or_default(), request.method() == Some("INVITE"));
        let key = (request.branch().to_owned(), request.method().unwrap_or_default().to_owned());
        let Some(theirs) = self.theirs.get_mut(&key) else { return };
        theirs.last = response.bytes();
        self.sip[side as usize].send(&theirs.last, theirs.to);
        if status >= 200 {
            theirs.until = now + TRANSACTION;
            // RFC 3261 §13.3.1.4 and §17.2.1: a final answer to INVITE is repeated until the ACK.
            theirs.next = invite.then_some(now + T1);
        }
    }

    fn respond_plain(&mut self, side: Side, request: &Message, status: u16) {
        let tag = self.unique();
        self.respond(side, request, Message::response(request, status, &tag));
    }

    fn repeat_and_forget(&mut self, now: u64) {
        let mut lost = Vec::new();
        for (key, ours) in &mut self.ours {
            if now >= ours.until && !ours.done {
                lost.push((key.1.clone(), ours.leg));
            } else if ours.next.is_some_and(|next| next <= now) {
                // RFC 3261 §17.1.2.2: all but INVITE slow down to T2.
                let cap = if key.1 == "INVITE" { TRANSACTION } else { T2 };
                ours.interval = (ours.interval * 2).min(cap);
                ours.next = Some(now + ours.interval);
                let side = ours.leg.map_or(Side::Citizen, |leg| self.legs[leg as usize].side);
                self.sip[side as usize].send(&ours.request.bytes(), ours.to);
            }
        }
        let mut unacknowledged = Vec::new();
        for theirs in self.theirs.values_mut().filter(|theirs| theirs.next.is_some_and(|next| next <= now)) {
            if theirs.until <= now {
                theirs.next = None;
                unacknowledged.extend(theirs.leg);
                continue;
            }
            theirs.interval = (theirs.interval * 2).min(T2);
            theirs.next = Some(now + theirs.interval);
            self.sip[theirs.side as usize].send(&theirs.last, theirs.to);
        }
        for (method, leg) in lost {
            let Some(leg) = leg else { continue };
            match (method.as_str(), self.legs[leg as usize].state) {
                ("INVITE", State::Early) => {
                    let given_up = self.legs[leg as usize].given_up;
                    self.finish(leg, if given_up { End::Cancelled } else { End::Unanswered });
                }
                ("BYE", _) => self.legs[leg as usize].bye_answer = Some(0),
                _ => {}
            }
        }
        for leg in unacknowledged {
            if self.legs[leg as usize].state == State::Answered {
                self.finish(leg, End::Unanswered);
            }
        }
        self.ours.retain(|_, ours| ours.until > now);
        self.theirs.retain(|_, theirs| theirs.until > now || theirs.next.is_some());
    }

    fn via(&self, side: Side, branch: &str) -> String {
        format!("SIP/2.0/UDP {};branch=z9hG4bK{branch};rport", self.sip[side as usize].address())
    }

    fn unique(&mut self) -> String {
        self.counter += 1;
        format!("{:x}-{:x}", std::process::id(), self.counter)
    }
}
