//! Two user agents over a network that loses, repeats, delays and reorders, in virtual time.

use super::*;
use crate::pii::Phone;
use crate::sip::{Account, Accounts, DialNote, Limits, Target, Trunk};
use crate::stream::Direction;
use std::time::Duration;

const CITY: &str = "127.0.0.2:5060";
const LINE: &str = "127.0.0.1:5060";

/// Our line, and a caller who is a user agent of the same make standing for the trunk.
pub(super) struct Pair {
    pub now: Moment,
    pub caller: Side,
    pub line: Side,
    /// In the air, by time of arrival.
    pub air: BTreeMap<(Moment, u64), (bool, Vec<u8>)>,
    pub sent: u64,
    pub dice: Dice,
    /// Percent of datagrams lost and repeated.
    pub trouble: u64,
    /// What went over the wire, and whether our line sent it.
    pub wire: Vec<(bool, String)>,
    /// Turns so far, and the one in which our line is killed.
    pub turns: u32,
    pub kill: Option<Kill>,
    pub tunes: [Tune; 2],
    /// Nobody's Allow lists UPDATE.
    pub without_update: bool,
}

/// What a test wants different in the settings of one side.
pub(super) type Tune = fn(&mut Settings);

/// kill -9 once the records of a turn are written: before its datagrams leave, or after.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kill {
    pub turn: u32,
    pub before_sending: bool,
}

pub(super) struct Side {
    pub agent: UserAgent,
    pub address: SocketAddr,
    pub events: Vec<Event>,
    /// What is on its disk.
    pub written: BTreeMap<LegId, Vec<u8>>,
    pub bytes_written: usize,
}

impl Side {
    fn new(address: &str, peer: &str, seed: u64, tune: Tune) -> Self {
        let address: SocketAddr = address.parse().unwrap();
        let peer: SocketAddr = peer.parse().unwrap();
        Self {
            agent: UserAgent::new(tuned(address, peer, tune), IdSource::new(1), [seed; 4]),
            address,
            events: Vec::new(),
            written: BTreeMap::new(),
            bytes_written: 0,
        }
    }

    fn write(&mut self) {
        while let Some((leg, bytes)) = self.agent.poll_written() {
            self.bytes_written += bytes.as_ref().map_or(0, Vec::len);
            match bytes {
                Some(bytes) => self.written.insert(leg, bytes),
                None => self.written.remove(&leg),
            };
        }
    }
}

pub(super) fn settings(address: SocketAddr, peer: SocketAddr) -> Settings {
    let trunk = Trunk {
        trunk: TrunkId::from("city"),
        network: "lan".into(),
        peers: vec![peer.ip()],
        contact: Some(peer),
        watch: None,
        dialled: Default::default(),
        area: Some("3852".into()),
        our_number: Some("122".into()),
        show_caller: true,
        channels: 0,
    };
    let account = Account {
        agent: AgentId::from("op1"),
        network: "lan".into(),
        password: Some("secret".into()),
        sha256: false,
        contact: Some("127.0.0.7:5070".parse().unwrap()),
    };
    Settings {
        networks: vec![Network { name: "lan".into(), bind: address, advertise: address.ip() }],
        trunks: vec![trunk],
        accounts: Accounts { listed: vec![account] },
        numbers: vec!["122".into()],
        feature_codes: vec!["*1".into()],
        limits: Limits::default(),
        session_expires_s: None,
        probe_held: None,
        realm: "dozvon".into(),
        product: "dozvon".into(),
    }
}

fn tuned(address: SocketAddr, peer: SocketAddr, tune: Tune) -> Settings {
    let mut settings = settings(address, peer);
    tune(&mut settings);
    settings
}

pub(super) const DIALLED: LegId = LegId(7);

impl Pair {
    pub fn new(seed: u64, trouble: u64) -> Self {
        Self::tuned(seed, trouble, |_| {}, |_| {})
    }

    pub fn tuned(seed: u64, trouble: u64, caller: Tune, line: Tune) -> Self {
        Self {
            now: Moment::from_secs(1),
            caller: Side::new(CITY, LINE, seed, caller),
            line: Side::new(LINE, CITY, !seed, line),
            air: BTreeMap::new(),
            sent: 0,
            dice: Dice::new([seed, 1, 2, 3]),
            trouble,
            wire: Vec::new(),
            turns: 0,
            kill: None,
            tunes: [caller, line],
            without_update: false,
        }
    }

    pub fn dial(&mut self) {
        let target = Target::Trunk { trunk: TrunkId::from("city"), number: "122".into() };
        let caller = Phone::parse("+79130000012", None);
        let note = DialNote::default();
        self.caller_does(Command::Dial { leg: DIALLED, target, local: "127.0.0.2:4000".parse().unwrap(), caller, note });
    }

    pub fn caller_does(&mut self, command: Command) {
        self.caller.agent.handle_command(self.now, command);
        self.collect();
    }

    pub fn line_does(&mut self, command: Command) {
        self.line.agent.handle_command(self.now, command);
        self.collect();
    }

    pub fn collect(&mut self) {
        self.turns += 1;
        let killed = self.kill.filter(|kill| kill.turn == self.turns);
        for from_line in [false, true] {
            let side = if from_line { &mut self.line } else { &mut self.caller };
            side.events.extend(std::iter::from_fn(|| side.agent.poll_event()));
            side.write();
            if from_line && killed.is_some_and(|kill| kill.before_sending) {
                break;
            }
            while let Some(mut transmit) = side.agent.poll_transmit() {
                if self.without_update {
                    let text = String::from_utf8(transmit.bytes).unwrap();
                    transmit.bytes = text.replace("INFO, UPDATE, REGISTER", "INFO, REGISTER").into_bytes();
                }
                self.wire.push((from_line, String::from_utf8(transmit.bytes.clone()).unwrap()));
                let copies = match self.dice.next() % 100 {
                    roll if roll < self.trouble => 0,
                    roll if roll < self.trouble * 2 => 2,
                    _ => 1,
                };
                for _ in 0..copies {
                    let delay = Duration::from_millis(if self.trouble == 0 { 1 } else { self.dice.next() % 300 });
                    self.sent += 1;
                    self.air.insert((self.now + delay, self.sent), (from_line, transmit.bytes.clone()));
                }
            }
        }
        if killed.is_some() {
            self.restart();
        }
    }

    /// Another life of our line begins with what is on its disk.
    pub fn restart(&mut self) {
        let seed = 1_000 + u64::from(self.turns);
        self.line.agent =
            UserAgent::new(tuned(self.line.address, self.caller.address, self.tunes[1]), IdSource::new(2), [seed; 4]);
        for (leg, bytes) in self.line.written.clone() {
            self.line.agent.restore_leg(self.now, leg, &bytes).unwrap();
        }
    }

    /// Goes on to `until`, or to the end if nothing is left to happen.
    fn run(&mut self, until: Moment) {
        loop {
            let air = self.air.first_key_value().map(|((at, _), _)| *at);
            let times = [air, self.caller.agent.poll_timeout(), self.line.agent.poll_timeout()];
            let Some(next) = times.into_iter().flatten().min().filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            if air == Some(next)
                && let Some((_, (from_line, bytes))) = self.air.pop_first()
            {
                let (from, to) = if from_line { (&self.line, &mut self.caller) } else { (&self.caller, &mut self.line) };
                to.agent.handle_datagram(self.now, 0, from.address, &bytes);
            }
            self.caller.agent.handle_timeout(self.now);
            self.line.agent.handle_timeout(self.now);
            self.collect();
        }
        self.now = self.now.max(until);
    }

    pub fn run_for(&mut self, millis: u64) {
        self.run(self.now + Duration::from_millis(millis));
    }

    fn invited(&self) -> Option<LegId> {
        self.line.events.iter().find_map(|event| if let Event::Invited(invited) = event { Some(invited.leg) } else { None })
    }

    /// Nothing lives on: no leg, no transaction, no timer.
    pub fn is_clean(&self) -> bool {
        [&self.caller, &self.line].iter().all(|side| {
            let counters = side.agent.counters();
            counters.live_legs == 0 && counters.live_transactions == 0 && side.agent.poll_timeout().is_none()
        })
    }
}

pub(super) fn media(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn last(events: &[Event]) -> String {
    events.last().map(|event| format!("{event:?}")).unwrap_or_default()
}

#[test]
fn a_call_is_answered_talked_and_hung_up() {
    let mut pair = Pair::new(1, 0);
    pair.dial();
    pair.run_for(10);
    let leg = pair.invited().unwrap();
    let Event::Invited(invited) = &pair.line.events[0] else { panic!() };
    assert_eq!((invited.dialled.as_str(), invited.caller.as_ref().unwrap().expose()), ("122", "+79130000012"));
    pair.line_does(Command::Ring { leg });
    pair.run_for(10);
    assert_eq!(pair.caller.events, [Event::Ringing { leg: DIALLED, early: None }]);
    pair.line_does(Command::Answer { leg, local: media(4100) });
    pair.run_for(10);
    assert!(matches!(pair.caller.events[1], Event::Answered { stream, .. } if stream.remote == media(4100)));
    assert_eq!(pair.line.events.last(), Some(&Event::Confirmed { leg }));
    pair.caller_does(Command::HangUp { leg: DIALLED, reason: None });
    pair.run_for(10);
    assert_eq!(pair.line.events.last(), Some(&Event::HungUp { leg }));
    pair.run_for(60_000);
    assert!(pair.is_clean());
}

#[test]
fn early_media_carries_the_answer_of_the_200() {
    let mut pair = Pair::new(2, 0);
    pair.dial();
    pair.run_for(10);
    let leg = pair.invited().unwrap();
    pair.line_does(Command::Progress { leg, local: media(4100) });
    pair.run_for(10);
    assert!(matches!(pair.caller.events[0], Event::Ringing { early: Some(stream), .. } if stream.remote == media(4100)));
    pair.line_does(Command::Answer { leg, local: media(4100) });
    pair.run_for(10);
    assert!(matches!(pair.caller.events[1], Event::Answered { .. }));
}

#[test]
fn hold_and_resume_reach_the_other_side() {
    let mut pair = Pair::new(3, 0);
    let leg = pair.talk();
    pair.line_does(Command::Change { leg, local: media(4200), direction: Direction::SendOnly });
    pair.run_for(10);
    assert!(
        matches!(pair.caller.events.last(), Some(Event::Changed { stream, .. }) if stream.direction == Direction::RecvOnly && stream.remote == media(4200))
    );
    pair.line_does(Command::Change { leg, local: media(4200), direction: Direction::SendRecv });
    pair.run_for(10);
    assert!(matches!(pair.caller.events.last(), Some(Event::Changed { stream, .. }) if stream.direction == Direction::SendRecv));
}

#[test]
fn two_changes_that_meet_are_both_made_in_the_end() {
    let mut pair = Pair::new(4, 0);
    let leg = pair.talk();
    pair.line_does(Command::Change { leg, local: media(4200), direction: Direction::SendRecv });
    pair.caller_does(Command::Change { leg: DIALLED, local: media(4300), direction: Direction::SendRecv });
    pair.run_for(10_000);
    assert!(matches!(pair.caller.events.last(), Some(Event::Changed { stream, .. }) if stream.remote == media(4200)));
    assert!(matches!(pair.line.events.last(), Some(Event::Changed { stream, .. }) if stream.remote == media(4300)));
}

#[test]
fn a_cancelled_call_leaves_nothing() {
    let mut pair = Pair::new(5, 0);
    pair.dial();
    pair.run_for(10);
    let leg = pair.invited().unwrap();
    pair.caller_does(Command::HangUp { leg: DIALLED, reason: None });
    pair.run_for(10);
    assert_eq!(pair.line.events.last(), Some(&Event::Cancelled { leg }));
    assert!(pair.caller.events.is_empty(), "the one who hung up hears no more");
    pair.run_for(60_000);
    assert!(pair.is_clean());
}

#[test]
fn an_answer_that_crosses_the_cancel_is_hung_up() {
    let mut pair = Pair::new(6, 0);
    pair.dial();
    pair.run_for(10);
    let leg = pair.invited().unwrap();
    pair.caller_does(Command::HangUp { leg: DIALLED, reason: None });
    pair.line_does(Command::Answer { leg, local: media(4100) });
    pair.run_for(100);
    assert!(pair.caller.events.is_empty());
    assert_eq!(pair.line.events.last(), Some(&Event::HungUp { leg }));
    pair.run_for(60_000);
    assert!(pair.is_clean());
}

#[test]
fn a_caller_who_vanishes_before_the_ack_is_lost_and_gets_a_bye() {
    let mut pair = Pair::new(7, 0);
    pair.dial();
    pair.run_for(10);
    let leg = pair.invited().unwrap();
    pair.trouble = 100;
    pair.line_does(Command::Answer { leg, local: media(4100) });
    pair.run_for(33_000);
    assert_eq!(pair.line.events.last(), Some(&Event::Lost { leg }));
    pair.run_for(120_000);
    assert_eq!(pair.line.agent.counters().live_legs, 0);
}

#[test]
fn a_network_that_refuses_ends_the_dial_at_once() {
    let mut pair = Pair::new(8, 100);
    pair.dial();
    pair.caller.agent.handle_icmp(pair.now, 0, pair.line.address);
    pair.collect();
    assert_eq!(pair.caller.events, [Event::Refused { leg: DIALLED, status: 503 }]);
}

#[test]
fn beyond_the_channels_of_a_trunk_the_call_is_busy_and_counted() {
    let mut pair = Pair::new(9, 0);
    let mut settings = settings(LINE.parse().unwrap(), CITY.parse().unwrap());
    settings.trunks[0].channels = 1;
    pair.line_does(Command::Settings(Box::new(settings)));
    pair.talk();
    let target = Target::Trunk { trunk: TrunkId::from("city"), number: "122".into() };
    let local = media(4001);
    pair.caller_does(Command::Dial { leg: LegId(8), target, local, caller: None, note: DialNote::default() });
    pair.run_for(10);
    assert_eq!(pair.caller.events.last(), Some(&Event::Refused { leg: LegId(8), status: 486 }));
    assert!(matches!(pair.line.events.last(), Some(Event::Blocked { status: 486, .. })));
}

#[test]
fn a_draining_line_takes_no_call_but_keeps_those_it_has() {
    let mut pair = Pair::new(10, 0);
    let leg = pair.talk();
    pair.line_does(Command::Drain);
    let target = Target::Trunk { trunk: TrunkId::from("city"), number: "122".into() };
    pair.caller_does(Command::Dial { leg: LegId(8), target, local: media(4001), caller: None, note: DialNote::default() });
    pair.run_for(10);
    assert_eq!(pair.caller.events.last(), Some(&Event::Refused { leg: LegId(8), status: 503 }));
    pair.caller_does(Command::HangUp { leg: DIALLED, reason: None });
    pair.run_for(10);
    assert_eq!(pair.line.events.last(), Some(&Event::HungUp { leg }));
}

/// Each seed is one call on a bad network, ended by one side or the other at some moment in one of its states.
#[test]
fn no_call_gets_stuck_on_a_bad_network() {
    for seed in 0..600 {
        let mut pair = Pair::new(seed, seed % 4 * 8);
        let moment = |pair: &mut Pair| pair.dice.next() % 3_000;
        pair.dial();
        let (hang_up, by_line, refuse) = (pair.dice.next() % 4, pair.dice.next() & 1 > 0, pair.dice.next() % 5 > 3);
        let wait = moment(&mut pair);
        pair.run_for(wait);
        for step in 0..4 {
            if step == hang_up {
                if !by_line {
                    pair.caller_does(Command::HangUp { leg: DIALLED, reason: None });
                } else if let Some(leg) = pair.invited() {
                    pair.line_does(Command::HangUp { leg, reason: None });
                }
            } else if let Some(leg) = pair.invited() {
                match step {
                    0 => pair.line_does(Command::Ring { leg }),
                    1 if refuse => pair.line_does(Command::Reject { leg, status: 486, retry_after: None }),
                    1 => pair.line_does(Command::Answer { leg, local: media(4100) }),
                    _ => {
                        pair.line_does(Command::Change { leg, local: media(4200 + step as u16), direction: Direction::SendRecv })
                    }
                }
            }
            let wait = moment(&mut pair);
            pair.run_for(wait);
        }
        pair.run_for(40_000);
        // Whoever still believes in the call says good-bye; then all must be over.
        pair.caller_does(Command::HangUp { leg: DIALLED, reason: None });
        if let Some(leg) = pair.invited() {
            pair.line_does(Command::HangUp { leg, reason: None });
        }
        pair.run_for(200_000);
        assert!(pair.is_clean(), "seed {seed}: {:?} {:?}", pair.caller.agent.counters(), pair.line.agent.counters());
        let ends = |events: &[Event]| {
            let end = |e: &&Event| {
                matches!(e, Event::Refused { .. } | Event::HungUp { .. } | Event::Lost { .. } | Event::Cancelled { .. })
            };
            events.iter().filter(end).count()
        };
        assert!(
            ends(&pair.caller.events) <= 1 && ends(&pair.line.events) <= 1,
            "seed {seed}: two ends: {}",
            last(&pair.line.events)
        );
        let invited = pair.line.events.iter().filter(|event| matches!(event, Event::Invited(_))).count();
        assert!(invited <= 1, "seed {seed}: one INVITE made {invited} calls");
    }
}

impl Pair {
    /// A call that was answered.
    pub fn talk(&mut self) -> LegId {
        self.dial();
        self.run_for(10);
        let leg = self.invited().unwrap();
        self.line_does(Command::Answer { leg, local: media(4100) });
        self.run_for(10);
        leg
    }
}
