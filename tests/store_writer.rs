//! The tables follow the journal, whatever happens to them; and the order of the two streams is kept.

use dozvon::clock::Moment;
use dozvon::facts::*;
use dozvon::ids::*;
use dozvon::journal::{Body, Brain, Journal, Limits, People, PersonSeen, Record};
use dozvon::pii::Phone;
use dozvon::store::sqlite::SqliteStore;
use dozvon::store::writer::{self, Folded, Source};
use dozvon::store::*;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

#[tokio::test]
async fn the_tables_follow_the_journal_and_a_reader_can_wait_for_its_own_write() {
    let mut line = Line::open(TempDir::new().unwrap()).await;
    for n in 0..300 {
        let position = line.call(n);
        if n % 60 == 0 {
            assert!(writer::caught_up(&mut line.folded, position).await);
            assert!(line.store.call(call(n)).await.unwrap().is_some());
            assert!(line.store.person_phone(person(n)).await.unwrap().is_some(), "the person is there before the call");
        }
    }
    let home = line.close().await;
    let store = SqliteStore::new(&home.path().join("tables.db"));
    let ledger = store.ledger(None, Moment::ZERO, Moment(u64::MAX)).await.unwrap();
    assert_eq!((ledger.entered, ledger.outcomes["served"]), (300, 300));
}

#[tokio::test]
async fn the_next_life_folds_on_where_the_last_one_stopped() {
    let mut home = TempDir::new().unwrap();
    for life in 0..3 {
        let mut line = Line::open(home).await;
        for n in 0..10 {
            line.call(life * 10 + n);
        }
        home = line.close().await;
    }
    let store = SqliteStore::new(&home.path().join("tables.db"));
    let ledger = store.ledger(None, Moment::ZERO, Moment(u64::MAX)).await.unwrap();
    assert_eq!((ledger.entered, ledger.live), (30, 0));
}

#[tokio::test]
async fn an_absent_database_makes_the_tables_late_and_nothing_else() {
    let home = TempDir::new().unwrap();
    // A directory stands where the file should be.
    let tables = home.path().join("tables.db");
    std::fs::create_dir(&tables).unwrap();
    let mut line = Line::open(home).await;
    let position = line.call(1);
    line.folded.wait_for(|folded| folded.failing).await.unwrap();
    assert!(line.folded.borrow().position < position);
    std::fs::remove_dir(&tables).unwrap();
    let folded = line.folded.wait_for(|folded| folded.position >= position && !folded.failing);
    tokio::time::timeout(std::time::Duration::from_secs(20), folded).await.unwrap().unwrap();
    assert!(line.store.call(call(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn tables_of_another_journal_are_not_written() {
    let home = TempDir::new().unwrap();
    SqliteStore::new(&home.path().join("tables.db")).apply(&[], 1 << 40).await.unwrap();
    let mut line = Line::open(home).await;
    line.call(1);
    line.folded.wait_for(|folded| folded.failing).await.unwrap();
    assert!(line.store.call(call(1)).await.unwrap().is_none());
}

/// An engine with journal, people and tables, without calls.
struct Line {
    journal: Journal,
    people: People,
    store: Arc<dyn Store>,
    folded: watch::Receiver<Folded>,
    following: tokio::task::JoinHandle<()>,
    home: TempDir,
}

impl Line {
    async fn open(home: TempDir) -> Self {
        let path = |name: &str| -> std::path::PathBuf { Path::new(home.path()).join(name) };
        let (journal, _) = Journal::open(path("journal"), Limits::FACTS).unwrap();
        let (people, _) = People::open(path("people"), Limits::PEOPLE).unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::new(&path("tables.db")));
        let (sender, folded) = watch::channel(Folded::default());
        let following = tokio::spawn(writer::follow(store.clone(), Source::of(&journal), Source::of(&people), sender));
        Self { journal, people, store, folded, following, home }
    }

    /// One served call; the person first, as the conductor does it.
    fn call(&mut self, n: u64) -> u64 {
        let at = Moment::from_secs(n + 1);
        let phone = Phone::parse(&format!("+7913{n:07}"), None).unwrap();
        self.people.append(&PersonSeen { at, person: person(n), phone });
        self.people.commit().unwrap();
        let person = Some(person(n));
        let facts = [
            Fact::CallEntered { call: call(n), region: RegionId(22), trunk: "mts".into(), dialled: "122".into(), person },
            Fact::CallEnded { call: call(n), outcome: Outcome::Served },
        ];
        for fact in facts {
            self.journal.append(&Record { at, body: Body::Fact(fact) });
        }
        self.journal.append(&Record { at, body: Body::Input { brain: Brain::Acd, call: None, event: vec![1; 30] } });
        self.journal.commit().unwrap()
    }

    /// Drops the journal and waits until its last byte is folded.
    async fn close(self) -> TempDir {
        let Line { journal, people, following, home, .. } = self;
        tokio::task::spawn_blocking(move || drop((journal, people))).await.unwrap();
        following.await.unwrap();
        home
    }
}

fn call(n: u64) -> CallId {
    CallId(Uuid::from_u128(u128::from(n)))
}
fn person(n: u64) -> PersonId {
    PersonId(Uuid::from_u128(0xABCD_0000 + u128::from(n)))
}
