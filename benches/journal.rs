//! What a call costs the journal (40 records in 20 turns, about as a call with robot, queue and talk leaves them) and the tables
//! (such a call's facts, folded by batches).

use divan::counter::{BytesCount, ItemsCount};
use dozvon::clock::Moment;
use dozvon::facts::{Fact, OfferEnd, Outcome, Party, Stamped};
use dozvon::ids::*;
use dozvon::journal::{Body, Brain, Journal, Limits, Record};
use dozvon::store::Store;
use dozvon::store::sqlite::SqliteStore;
use uuid::Uuid;

const TURNS: u64 = 20;

fn main() {
    divan::main();
}

#[divan::bench(sample_count = 20, sample_size = 100)]
fn one_call(bencher: divan::Bencher) {
    let home = tempfile::tempdir().expect("a temporary directory");
    let (mut journal, _) = Journal::open(home.path(), Limits::FACTS).expect("a journal");
    let before = journal.position();
    call(&mut journal, 0);
    let bytes = journal.position() - before;
    let mut n = 0;
    bencher.counter(ItemsCount::new(1usize)).counter(BytesCount::new(bytes)).bench_local(|| {
        n += 1;
        call(&mut journal, n);
    });
}

fn call(journal: &mut Journal, n: u128) {
    let call = CallId(Uuid::from_u128(n));
    for turn in 0..TURNS {
        let at = Moment::from_millis(1_790_000_000_000 + turn);
        journal.append(&Record { at, body: Body::Input { brain: Brain::Talk, call: Some(call), event: vec![9; 60] } });
        let fact = Fact::RobotAtNode { call, script: "122".into(), version: 1, node: "greeting".into() };
        journal.append(&Record { at, body: Body::Fact(fact) });
        journal.commit().expect("a disk with room");
    }
}

/// Calls in one batch: a quarter of a second at 20 calls/s, and a batch of the size that catching up takes.
#[divan::bench(args = [5, 50], sample_count = 20, sample_size = 10)]
fn calls_folded(bencher: divan::Bencher, calls: u64) {
    let home = tempfile::tempdir().expect("a temporary directory");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let store = runtime.block_on(async { SqliteStore::new(&home.path().join("tables.db")) });
    let (mut n, mut position) = (0, 0);
    bencher.counter(ItemsCount::new(calls)).bench_local(|| {
        let mut batch = Vec::new();
        for _ in 0..calls {
            n += 1;
            for fact in served(n) {
                position += 100;
                batch.push((position, Stamped { at: Moment::from_millis(position), fact }));
            }
        }
        runtime.block_on(store.apply(&batch, position)).expect("a database");
    });
}

fn served(n: u64) -> Vec<Fact> {
    let (call, queue, agent, offer) =
        (CallId(Uuid::from_u128(n.into())), QueueId::from("therapy"), AgentId::from("op1"), OfferId(n));
    let node = |node: &str| Fact::RobotAtNode { call, script: "122".into(), version: 1, node: node.into() };
    let file = format!("{n}.wav");
    vec![
        Fact::CallEntered { call, region: RegionId(22), trunk: "mts".into(), dialled: "122".into(), person: None },
        Fact::CallAnswered { call },
        node("greeting"),
        node("menu"),
        Fact::ThemeChosen { call, theme: "doctor".into() },
        Fact::QueueEntered { call, queue: queue.clone(), priority: 0, urgent: false },
        Fact::OfferMade { offer, call, agent: agent.clone(), queue: queue.clone(), why: "longest idle".into() },
        Fact::OfferEnded { offer, end: OfferEnd::Answered },
        Fact::TalkStarted { call, agent: agent.clone(), queue },
        Fact::RecordingStarted { call, file: file.clone() },
        Fact::TalkEnded { call, agent, by: Party::Citizen },
        Fact::RecordingEnded { call, file, ms: 60_000, gaps: 0 },
        Fact::CallEnded { call, outcome: Outcome::Served },
    ]
}
