//! What a stream of urgent and preferred callers can cost a normal one: the bound that `Routing::overdue_after` proves, hammered with
//! random streams in which three times as many come as can be served.

use dozvon::acd::{Acd, AgentRules, CallbackRules, Command, Event, QueueRules, Routing, Rules, Seek, WhileWaiting};
use dozvon::clock::Moment;
use dozvon::facts::Party;
use dozvon::ids::{AgentId, CallId, IdSource, OfferId, QueueId, RegionId};
use dozvon::routing::Policy;
use dozvon::skills::Requirement;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

const SEEDS: u64 = 150;
const CALLERS: usize = 400;

#[test]
fn nobody_waits_longer_for_the_sake_of_others_than_the_bound() {
    let worst: Vec<f64> = (0..SEEDS).map(|seed| Stream::new(seed, true).worst_extra_over_bound()).collect();
    let worst = worst.into_iter().fold(0.0, f64::max);
    assert!(worst < 1.0, "{worst} of the bound");
    // Streams that cost nobody anything would prove nothing.
    assert!(worst > 0.5, "only {worst} of the bound was reached");
}

#[test]
fn without_the_rule_the_same_streams_break_the_bound() {
    let broken = (0..SEEDS).filter(|seed| Stream::new(*seed, false).worst_extra_over_bound() > 1.0).count();
    assert!(broken as u64 > SEEDS / 2, "in {broken} of {SEEDS} streams");
}

struct Stream {
    dice: Dice,
    acd: Acd,
    now: Moment,
    overdue_after: Duration,
    bounded: bool,
    longest_talk: Duration,
    agents: usize,
    /// Who waits, in the order of entry.
    waiting: BTreeSet<(Moment, CallId)>,
    talk_of: BTreeMap<CallId, Duration>,
    /// When each caller would be answered if all were served in the order of entry from their own entry on.
    in_order: BTreeMap<CallId, Moment>,
    /// Ends of talks.
    talks: BTreeMap<AgentId, (Moment, CallId)>,
    worst: f64,
}

impl Stream {
    fn new(seed: u64, bounded: bool) -> Self {
        let mut dice = Dice(seed);
        let agents = 1 + dice.below(6) as usize;
        let overdue_after = Duration::from_secs(30 + dice.below(600));
        let longest_talk = Duration::from_secs(60 + dice.below(200));
        let queue = |dice: &mut Dice| QueueRules {
            region: RegionId(0),
            requires: Requirement::default(),
            target: Duration::from_secs(1 + dice.below(60)),
            priority: dice.below(3) as u8,
            max_waiting: u32::MAX,
            ring: Duration::from_secs(15),
            wrap_up: Duration::ZERO,
            announce: None,
            seek: Seek::default(),
            after_talk: Default::default(),
            while_waiting: WhileWaiting::default(),
        };
        let agent =
            AgentRules { region: RegionId(0), skills: BTreeMap::new(), always_ready: true, misses_to_break: 0, reserve: false };
        let policy = Policy::ALL[dice.below(Policy::ALL.len() as u64) as usize];
        let rules = Rules {
            queues: ["therapy", "drugs"].map(|name| (QueueId::from(name), queue(&mut dice))).into(),
            agents: (0..agents).map(|no| (AgentId::from(format!("op{no}").as_str()), agent.clone())).collect(),
            callbacks: CallbackRules::default(),
            routing: Routing { policy, overdue_after: bounded.then_some(overdue_after), last_agent: Default::default() },
            duty: Default::default(),
        };
        let mut acd = Acd::new(IdSource::new(1));
        acd.handle(Moment::ZERO, Event::RulesChanged(Box::new(rules)));
        Self {
            dice,
            acd,
            now: Moment::ZERO,
            overdue_after,
            bounded,
            longest_talk,
            agents,
            waiting: BTreeSet::new(),
            talk_of: BTreeMap::new(),
            in_order: BTreeMap::new(),
            talks: BTreeMap::new(),
            worst: 0.0,
        }
    }

    /// The largest of all extra waits, as a share of `overdue_after` and two of the longest talks.
    fn worst_extra_over_bound(mut self) -> f64 {
        let mean_gap = self.longest_talk.as_millis() as u64 / 2 / self.agents as u64 / 3;
        let urgent_of_ten = 1 + self.dice.below(8);
        for no in 0..CALLERS {
            let at = self.now + Duration::from_millis(self.dice.below(2 * mean_gap));
            self.run_until(at);
            self.comes(CallId(Uuid::from_u128(no as u128 + 1)), urgent_of_ten);
        }
        while !self.waiting.is_empty() {
            self.run_until(self.now + Duration::from_secs(60));
        }
        self.worst
    }

    fn comes(&mut self, call: CallId, urgent_of_ten: u64) {
        let talk = Duration::from_millis(1 + self.dice.below(self.longest_talk.as_millis() as u64));
        self.talk_of.insert(call, talk);
        self.waiting.insert((self.now, call));
        let in_order = self.answered_in_order(call);
        self.in_order.insert(call, in_order);
        let above = self.dice.below(10) < urgent_of_ten;
        let (urgent, priority) = (above && self.dice.below(2) == 0, if above { self.dice.below(200) as u8 } else { 0 });
        let queue = QueueId::from(["therapy", "drugs"][self.dice.below(2) as usize]);
        self.send(Event::CallerQueued { call, queue, person: None, priority, urgent });
    }

    /// Every agent takes whoever entered first, from this moment on.
    fn answered_in_order(&self, call: CallId) -> Moment {
        let mut free: Vec<Moment> = self.talks.values().map(|(end, _)| *end).collect();
        free.resize(self.agents, self.now);
        for (_, earlier) in &self.waiting {
            let first = free.iter_mut().min().expect("an agent");
            if *earlier == call {
                return *first;
            }
            *first = *first + self.talk_of[earlier];
        }
        unreachable!("the caller waits")
    }

    fn run_until(&mut self, until: Moment) {
        loop {
            let talk = self.talks.iter().map(|(agent, (end, call))| (*end, agent.clone(), *call)).min();
            let due = self.acd.poll_timeout().filter(|due| talk.as_ref().is_none_or(|talk| *due <= talk.0));
            match (due, talk) {
                (Some(due), _) if due <= until => {
                    self.now = due.max(self.now);
                    self.acd.handle_timeout(self.now);
                    self.obey();
                }
                (_, Some((end, agent, call))) if end <= until => {
                    self.now = end;
                    self.talks.remove(&agent);
                    self.send(Event::TalkEnded { agent, call, by: Party::Agent });
                }
                _ => break,
            }
        }
        self.now = until;
    }

    fn send(&mut self, event: Event) {
        self.acd.handle(self.now, event);
        self.obey();
    }

    /// Who is offered is answered at once.
    fn obey(&mut self) {
        while let Some(command) = self.acd.poll_command() {
            if let Command::Offer { offer, call, agent, .. } = command {
                self.is_taken(offer, call, agent);
            }
        }
    }

    fn is_taken(&mut self, offer: OfferId, call: CallId, agent: AgentId) {
        let entered = *self.waiting.iter().find(|(_, other)| *other == call).expect("waits");
        self.waiting.remove(&entered);
        let passed_over = self.waiting.iter().find(|other| **other < entered && self.now.since(other.0) >= self.overdue_after);
        assert!(!self.bounded || passed_over.is_none(), "{call} before {passed_over:?}, who is overdue and came first");
        let extra = self.now.since(self.in_order[&call]).as_secs_f64();
        let bound = (self.overdue_after + 2 * self.longest_talk).as_secs_f64();
        self.worst = self.worst.max(extra / bound);
        self.talks.insert(agent, (self.now + self.talk_of[&call], call));
        self.acd.handle(self.now, Event::OfferAnswered { offer });
    }
}

/// SplitMix64: the same numbers for the same seed on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end.max(1)
    }
}
