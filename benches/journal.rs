//! What the journal costs a call: 40 records in 20 turns, about as a call with robot, queue and talk leaves them.

use divan::counter::{BytesCount, ItemsCount};
use dozvon::clock::Moment;
use dozvon::facts::Fact;
use dozvon::ids::CallId;
use dozvon::journal::{Body, Brain, Journal, Limits, Record};
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
