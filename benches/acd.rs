//! How fast the queue brain decides, and what a waiting caller weighs: 2,000 agents, 20 queues, 2,000 callers waiting; one region.
//!
//! `cargo bench --no-default-features --bench acd` prints the percentiles of one decision and the bytes of a waiting caller, then the
//! events per second.

use divan::counter::ItemsCount;
use dozvon::acd::{
    Acd, AgentRules, CallbackRules, Command, Event, Overflow, QueueRules, Routing, Rules, Seek, Then, When, WhileWaiting,
};
use dozvon::clock::Moment;
use dozvon::facts::Party;
use dozvon::ids::{AgentId, CallId, IdSource, OfferId, QueueId, RegionId, Skill};
use dozvon::skills::Requirement;
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Ten regions together.
const LARGE: Size = Size { agents: 2_000, queues: 20, waiting: 2_000, teams: 60 };
/// The same, no two agents alike.
const MOTLEY: Size = Size { teams: 2_000, ..LARGE };
const REGION: Size = Size { agents: 50, queues: 5, waiting: 200, teams: 8 };

#[derive(Clone, Copy)]
struct Size {
    agents: usize,
    queues: usize,
    waiting: usize,
    teams: usize,
}

fn main() {
    let sizes = [("60 teams of like skills", LARGE), ("every agent with skills of their own", MOTLEY), ("one region", REGION)];
    for (name, size) in sizes {
        print_decisions(name, size);
        print_choices_of_agents(name, size);
    }
    print_weight_of_a_caller();
    divan::main();
}

/// One agent becomes free while callers wait: who is the next?
#[allow(clippy::disallowed_methods)] // a bench measures
fn print_decisions(name: &str, size: Size) {
    let mut floor = Floor::busy(size);
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
    print_percentiles(&format!("agent free, {name}"), took);
}

/// One caller comes while half of the agents are idle: who takes the call?
#[allow(clippy::disallowed_methods)] // a bench measures
fn print_choices_of_agents(name: &str, size: Size) {
    let mut floor = Floor::with_talks(size, size.agents / 2);
    let mut took: Vec<Duration> = Vec::new();
    for turn in 0..50_000 {
        floor.now = floor.now + Duration::from_millis(20);
        let caller = floor.caller();
        let start = Instant::now();
        floor.acd.handle(floor.now, caller);
        let elapsed = start.elapsed();
        floor.answer_all();
        let ended = floor.end_of_a_talk();
        floor.acd.handle(floor.now, ended);
        floor.answer_all();
        if turn > 5_000 {
            took.push(elapsed);
        }
    }
    print_percentiles(&format!("caller comes, half idle, {name}"), took);
}

fn print_percentiles(name: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!("{name}: p50 {:?}, p99 {:?}, p99.9 {:?}", at(0.5), at(0.99), at(0.999));
}

/// On the heap, with the rules, deadlines and promises that are kept for them.
fn print_weight_of_a_caller() {
    const MORE: usize = 5_000;
    let mut floor = Floor::busy(LARGE);
    let before = Counting::bytes();
    for _ in 0..MORE {
        floor.one_more_caller();
    }
    floor.answer_all();
    // The list of commands keeps its size once it has grown; the clone has only what it needs.
    let with = floor.acd.clone();
    let all = Counting::bytes() - before;
    drop(floor);
    let heap = Counting::bytes();
    drop(with);
    let clone = heap - Counting::bytes();
    let few = Floor::busy(LARGE);
    let heap = Counting::bytes();
    let with = few.acd.clone();
    let few = Counting::bytes() - heap;
    drop(with);
    println!("a waiting caller: {} bytes ({} with what grows by doubling)", (clone - few) / MORE, (all - clone) / MORE);
}

/// Of one call: queued, answered, talk ended; commands drained.
#[divan::bench(args = [60, 2_000])]
fn events(bencher: divan::Bencher, teams: usize) {
    let mut floor = Floor::busy(Size { teams, ..LARGE });
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
    let floor = Floor::busy(LARGE);
    bencher.bench_local(|| floor.acd.snapshot());
}

#[divan::bench]
fn reload(bencher: divan::Bencher) {
    let mut floor = Floor::busy(LARGE);
    bencher.bench_local(|| {
        floor.acd.handle(floor.now, Event::RulesChanged(Box::new(rules(LARGE))));
        while floor.acd.poll_command().is_some() {}
    });
}

/// The heap, counted.
struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static HEAP: Counting = Counting;

impl Counting {
    fn bytes() -> usize {
        BYTES.load(Ordering::Relaxed)
    }
}

// SAFETY: the system's allocator does everything; only lengths are added up.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(block, layout) }
    }
}

struct Floor {
    acd: Acd,
    now: Moment,
    talks: VecDeque<(AgentId, CallId)>,
    queues: Vec<QueueId>,
    calls: u64,
}

impl Floor {
    /// Everybody talks and the queues are long.
    fn busy(size: Size) -> Self {
        let mut floor = Self::with_talks(size, size.agents);
        for _ in 0..size.waiting {
            floor.one_more_caller();
        }
        floor.answer_all();
        floor
    }

    fn with_talks(size: Size, talks: usize) -> Self {
        let queues = (0..size.queues).map(|no| QueueId::from(format!("queue{no}").as_str())).collect();
        let mut floor =
            Self { acd: Acd::new(IdSource::new(1)), now: Moment::from_secs(1), talks: VecDeque::new(), queues, calls: 0 };
        floor.acd.handle(floor.now, Event::RulesChanged(Box::new(rules(size))));
        floor.answer_all();
        while floor.talks.len() < talks {
            floor.one_more_caller();
            floor.answer_all();
        }
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
        let caller = self.caller();
        self.acd.handle(self.now, caller);
    }

    fn caller(&mut self) -> Event {
        self.calls += 1;
        let queue = self.queues[self.calls as usize % self.queues.len()].clone();
        let (priority, urgent) = ((self.calls % 3) as u8, self.calls.is_multiple_of(50));
        let call = CallId(Uuid::from_u128(u128::from(self.calls)));
        Event::CallerQueued { call, queue, person: None, priority, urgent }
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

fn rules(size: Size) -> Rules {
    let Size { agents, queues: queue_count, teams, .. } = size;
    let skill = |no: usize| Skill::from(format!("skill{}", no % queue_count).as_str());
    let queues = (0..queue_count).map(|no| {
        let rules = QueueRules {
            region: RegionId(22),
            requires: Requirement::AtLeast(skill(no), 50),
            target: Duration::from_secs(10 + 5 * no as u64),
            priority: (no % 2) as u8,
            max_waiting: 10_000,
            ring: Duration::from_secs(20),
            wrap_up: Duration::ZERO,
            announce: Some((Duration::from_secs(15), Duration::from_secs(30))),
            seek: Seek::default(),
            while_waiting: WhileWaiting {
                overflow: vec![Overflow {
                    when: When { waited: Some(Duration::from_secs(1_800)), ..When::default() },
                    then: Then::Robot,
                }],
                ..WhileWaiting::default()
            },
            after_talk: Default::default(),
        };
        (QueueId::from(format!("queue{no}").as_str()), rules)
    });
    let agents = (0..agents).map(|no| {
        // The bits of a scrambled team number choose about six skills of twenty.
        let bits = ((no % teams) as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
        let known = (0..queue_count).filter(|skill| bits >> (2 * skill) & 3 == 0 || no % queue_count == *skill);
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
