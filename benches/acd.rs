//! How fast the queue brain decides: 2,000 agents, 20 queues, 2,000 callers waiting.
//!
//! `cargo bench --no-default-features --bench acd` prints the percentiles of one decision, then the events per second.

use divan::counter::ItemsCount;
use dozvon::acd::{Acd, AgentRules, CallbackRules, Command, Event, QueueRules, Routing, Rules, Seek};
use dozvon::clock::Moment;
use dozvon::facts::Party;
use dozvon::ids::{AgentId, CallId, IdSource, OfferId, QueueId, RegionId, Skill};
use dozvon::skills::Requirement;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use uuid::Uuid;

const AGENTS: usize = 2_000;
const QUEUES: usize = 20;
const WAITING: usize = 2_000;

fn main() {
    for (name, teams) in [("60 teams of like skills", 60), ("every agent with skills of their own", AGENTS)] {
        print_decisions(name, teams);
    }
    divan::main();
}

/// One agent becomes free with 2,000 waiting: who is the next caller?
#[allow(clippy::disallowed_methods)] // a bench measures
fn print_decisions(name: &str, teams: usize) {
    let mut floor = Floor::busy(teams);
    let mut took: Vec<Duration> = Vec::new();
    for turn in 0..200_000 {
        let freed = floor.end_of_a_talk();
        let start = Instant::now();
        floor.acd.handle(floor.now, freed);
        let elapsed = start.elapsed();
        floor.after_a_talk();
        if turn > 10_000 {
            took.push(elapsed);
        }
    }
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!("decision, {name}: p50 {:?}, p99 {:?}, p99.9 {:?}", at(0.5), at(0.99), at(0.999));
}

/// Of one call: queued, answered, talk ended; commands drained.
#[divan::bench(args = [60, AGENTS])]
fn events(bencher: divan::Bencher, teams: usize) {
    let mut floor = Floor::busy(teams);
    bencher.counter(ItemsCount::new(3_000_usize)).bench_local(|| {
        for _ in 0..1_000 {
            let freed = floor.end_of_a_talk();
            floor.acd.handle(floor.now, freed);
            floor.after_a_talk();
        }
    });
}

#[divan::bench]
fn snapshot(bencher: divan::Bencher) {
    let floor = Floor::busy(60);
    bencher.bench_local(|| floor.acd.snapshot());
}

#[divan::bench]
fn reload(bencher: divan::Bencher) {
    let mut floor = Floor::busy(60);
    bencher.bench_local(|| {
        floor.acd.handle(floor.now, Event::RulesChanged(Box::new(rules(60))));
        while floor.acd.poll_command().is_some() {}
    });
}

/// Everybody talks and the queues are long.
struct Floor {
    acd: Acd,
    now: Moment,
    talks: VecDeque<(AgentId, CallId)>,
    queues: Vec<QueueId>,
    calls: u64,
}

impl Floor {
    fn busy(teams: usize) -> Self {
        let queues = (0..QUEUES).map(|no| QueueId::from(format!("queue{no}").as_str())).collect();
        let mut floor =
            Self { acd: Acd::new(IdSource::new(1)), now: Moment::from_secs(1), talks: VecDeque::new(), queues, calls: 0 };
        floor.acd.handle(floor.now, Event::RulesChanged(Box::new(rules(teams))));
        floor.answer_all();
        while floor.talks.len() < AGENTS {
            floor.one_more_caller();
            floor.answer_all();
        }
        for _ in 0..WAITING {
            floor.one_more_caller();
        }
        floor.answer_all();
        floor
    }

    fn end_of_a_talk(&mut self) -> Event {
        self.now = self.now + Duration::from_millis(20);
        let (agent, call) = self.talks.pop_front().expect("everybody talks");
        Event::TalkEnded { agent, call, by: Party::Citizen }
    }

    fn after_a_talk(&mut self) {
        self.answer_all();
        self.one_more_caller();
        self.answer_all();
    }

    fn one_more_caller(&mut self) {
        self.calls += 1;
        let queue = self.queues[self.calls as usize % QUEUES].clone();
        let (priority, urgent) = ((self.calls % 3) as u8, self.calls.is_multiple_of(50));
        let call = CallId(Uuid::from_u128(u128::from(self.calls)));
        self.acd.handle(self.now, Event::CallerQueued { call, queue, person: None, priority, urgent });
    }

    fn answer_all(&mut self) {
        while let Some(command) = self.acd.poll_command() {
            if let Command::Offer { offer, call, agent, .. } = command {
                self.answered(offer);
                self.talks.push_back((agent, call));
            }
        }
    }

    fn answered(&mut self, offer: OfferId) {
        self.acd.handle(self.now, Event::OfferAnswered { offer });
    }
}

fn rules(teams: usize) -> Rules {
    let skill = |no: usize| Skill::from(format!("skill{}", no % QUEUES).as_str());
    let queues = (0..QUEUES).map(|no| {
        let rules = QueueRules {
            region: RegionId(22),
            requires: Requirement::AtLeast(skill(no), 50),
            target: Duration::from_secs(10 + 5 * no as u64),
            priority: (no % 2) as u8,
            max_waiting: 10_000,
            max_wait: Some(Duration::from_secs(1_800)),
            ring: Duration::from_secs(20),
            wrap_up: Duration::ZERO,
            announce: Some((Duration::from_secs(15), Duration::from_secs(30))),
            seek: Seek::default(),
            after_talk: Default::default(),
        };
        (QueueId::from(format!("queue{no}").as_str()), rules)
    });
    let agents = (0..AGENTS).map(|no| {
        // The bits of a scrambled team number choose about six skills of twenty.
        let bits = ((no % teams) as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
        let known = (0..QUEUES).filter(|skill| bits >> (2 * skill) & 3 == 0 || no % QUEUES == *skill);
        let skills = known.map(|no| (skill(no), 80)).collect();
        (
            AgentId::from(format!("op{no}").as_str()),
            AgentRules { region: RegionId(22), skills, always_ready: true, misses_to_break: 3, reserve: false },
        )
    });
    Rules {
        queues: queues.collect(),
        agents: agents.collect(),
        callbacks: CallbackRules::default(),
        routing: Routing::installed(),
        duty: Default::default(),
    }
}
