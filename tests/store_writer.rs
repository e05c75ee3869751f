//! The tables follow the journal, whatever happens to them; and the order of the two streams is kept.

#[path = "postgres/mod.rs"]
mod postgres;

use dozvon::clock::Moment;
use dozvon::facts::*;
use dozvon::ids::*;
use dozvon::journal::{Body, Brain, Journal, Limits, People, PersonSeen, Record};
use dozvon::pii::Phone;
use dozvon::store::postgres::PostgresStore;
use dozvon::store::sqlite::SqliteStore;
use dozvon::store::writer::{self, Folded, Source};
use dozvon::store::*;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
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

#[tokio::test(flavor = "multi_thread")]
async fn c45_a_stopped_database_has_everything_once_it_is_back() {
    let mut server = postgres::Server::start();
    let url = server.database();
    let mut line = Line::on(TempDir::new().unwrap(), &url);
    line.calls(0..20).await;
    server.stop();
    let mut position = 0;
    for n in 20..60 {
        // Nothing waits: the journal takes the call at once.
        position = line.call(n);
    }
    within(line.folded.wait_for(|folded| folded.failing)).await.unwrap();
    assert!(line.folded.borrow().position < position);
    let refused = line.store.call(call(1)).await.unwrap_err();
    assert!(refused.to_string().starts_with("the database cannot"), "{refused}");
    server.resume();
    line.everything_once(60, position).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c45_a_slow_database_is_late_and_no_call_waits_for_it() {
    let url = postgres::shared().database();
    let mut line = Line::on(TempDir::new().unwrap(), &url);
    line.calls(0..1).await;
    let mut admin = PgConnection::connect(&url).await.unwrap();
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(2); RETURN NULL; END$$;
                CREATE TRIGGER slow AFTER INSERT ON calls FOR EACH STATEMENT EXECUTE FUNCTION slow()";
    admin.execute(slow).await.unwrap();
    let first = line.call(1);
    waiting(&mut admin, "wait_event = 'PgSleep'").await;
    let position = (2..40).map(|n| line.call(n)).last().unwrap();
    assert!(line.folded.borrow().position < first, "forty calls came in while one statement ran");
    line.everything_once(40, position).await;
    assert!(!line.folded.borrow().failing, "slow is no failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn c45_a_read_only_database_gets_the_facts_when_it_takes_them_again() {
    let url = postgres::shared().database();
    let mut line = Line::on(TempDir::new().unwrap(), &url);
    line.calls(0..10).await;
    let mut admin = PgConnection::connect(&url).await.unwrap();
    let name: String = sqlx::query_scalar("SELECT current_database()::text").fetch_one(&mut admin).await.unwrap();
    let set = |to: &str| AssertSqlSafe(format!("ALTER DATABASE {name} SET default_transaction_read_only = {to}"));
    admin.execute(set("on")).await.unwrap();
    end_others(&mut admin, "true").await;
    let position = (10..30).map(|n| line.call(n)).last().unwrap();
    within(line.folded.wait_for(|folded| folded.failing)).await.unwrap();
    assert!(line.store.call(call(1)).await.unwrap().is_some(), "it still answers");
    admin.execute("SET default_transaction_read_only = off").await.unwrap();
    admin.execute(set("off")).await.unwrap();
    end_others(&mut admin, "true").await;
    line.everything_once(30, position).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c45_a_connection_killed_in_mid_transaction_folds_nothing_twice() {
    killed("pg_terminate_backend").await;
}

/// What a statement timeout does, too.
#[tokio::test(flavor = "multi_thread")]
async fn c45_a_statement_given_up_in_mid_transaction_folds_nothing_twice() {
    killed("pg_cancel_backend").await;
}

async fn killed(how: &str) {
    let url = postgres::shared().database();
    let mut line = Line::on(TempDir::new().unwrap(), &url);
    line.calls(0..10).await;
    let (mut admin, mut lock) = (PgConnection::connect(&url).await.unwrap(), PgConnection::connect(&url).await.unwrap());
    // The fold has locked its position and waits for the calls: it is in the middle.
    lock.execute("BEGIN; LOCK TABLE calls IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let position = (10..30).map(|n| line.call(n)).last().unwrap();
    waiting(&mut admin, "wait_event_type = 'Lock'").await;
    let kill = format!("SELECT {how}(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'");
    admin.execute(AssertSqlSafe(kill)).await.unwrap();
    within(line.folded.wait_for(|folded| folded.failing)).await.unwrap();
    lock.execute("ROLLBACK").await.unwrap();
    line.everything_once(30, position).await;
}

/// Waits until a connection of this database is in that state.
async fn waiting(admin: &mut PgConnection, state: &str) {
    let sql = format!("SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND {state})");
    let asked = async {
        while !sqlx::query_scalar::<_, bool>(AssertSqlSafe(sql.clone())).fetch_one(&mut *admin).await.unwrap() {
            tokio::task::yield_now().await;
        }
    };
    within(asked).await;
}

async fn end_others(admin: &mut PgConnection, which: &str) {
    let sql = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND {which}"
    );
    admin.execute(AssertSqlSafe(sql)).await.unwrap();
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("within a minute")
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
        let tables = home.path().join("tables.db");
        Self::with(home, Arc::new(SqliteStore::new(&tables)))
    }

    fn on(home: TempDir, url: &str) -> Self {
        Self::with(home, Arc::new(PostgresStore::new(url).unwrap()))
    }

    fn with(home: TempDir, store: Arc<dyn Store>) -> Self {
        let path = |name: &str| -> std::path::PathBuf { Path::new(home.path()).join(name) };
        let (journal, _) = Journal::open(path("journal"), Limits::FACTS).unwrap();
        let (people, _) = People::open(path("people"), Limits::PEOPLE).unwrap();
        let (sender, folded) = watch::channel(Folded::default());
        let following = tokio::spawn(writer::follow(store.clone(), Source::of(&journal), Source::of(&people), sender));
        Self { journal, people, store, folded, following, home }
    }

    /// These calls, and waits until the tables have them.
    async fn calls(&mut self, calls: std::ops::Range<u64>) {
        let position = calls.map(|n| self.call(n)).last().unwrap();
        within(self.folded.wait_for(|folded| folded.position >= position)).await.unwrap();
    }

    /// The tables come to have every call and every person, each once.
    async fn everything_once(&mut self, calls: u64, position: u64) {
        within(self.folded.wait_for(|folded| folded.position >= position && !folded.failing)).await.unwrap();
        let ledger = self.store.ledger(None, Moment::ZERO, Moment(u64::MAX)).await.unwrap();
        assert_eq!((ledger.entered, ledger.live, ledger.outcomes["served"]), (calls, 0, calls));
        for n in 0..calls {
            assert!(self.store.person_phone(person(n)).await.unwrap().is_some());
        }
        let visits = self.store.rows(&dozvon::store::table::QUEUE_VISITS, None, 500).await.unwrap();
        assert_eq!(visits.len() as u64, calls, "what has no id of its own is there once");
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
            Fact::QueueEntered { call: call(n), queue: "therapy".into(), priority: 0, urgent: false },
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
