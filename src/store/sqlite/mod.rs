//! The embedded store: one SQLite file, one writer, a few readers.

mod columns;
mod delivery;
mod fold;
mod read;
mod recordings;

use super::*;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use std::path::Path;
use std::time::Duration;
use tokio::sync::OnceCell;

/// Readers at once; SQLite reads from memory, so a few serve many pages.
const READERS: u32 = 4;
/// How long a statement waits for a lock that another process (a backup, a shell) holds.
const LOCK_WAIT: Duration = Duration::from_secs(5);

pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    migrated: OnceCell<()>,
}

impl SqliteStore {
    /// Takes the path of the database file and touches nothing: the file is opened (made, brought up to date) at first use, and
    /// again if that failed, so that an absent database keeps nobody from starting.
    pub fn new(path: &Path) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // The journal is the truth: after a power failure the tables may be behind it, never broken.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(LOCK_WAIT)
            .optimize_on_close(true, None);
        let writer = SqlitePoolOptions::new().max_connections(1).acquire_timeout(LOCK_WAIT);
        let readers = SqlitePoolOptions::new().max_connections(READERS).acquire_timeout(LOCK_WAIT);
        Self {
            writer: writer.connect_lazy_with(options.clone().create_if_missing(true)),
            readers: readers.connect_lazy_with(options.read_only(true)),
            migrated: OnceCell::new(),
        }
    }

    async fn writer(&self) -> Result<&SqlitePool, StoreError> {
        self.ready().await?;
        Ok(&self.writer)
    }

    async fn readers(&self) -> Result<&SqlitePool, StoreError> {
        self.ready().await?;
        Ok(&self.readers)
    }

    async fn ready(&self) -> Result<(), StoreError> {
        let migrate = || async { sqlx::migrate!("migrations/sqlite").run(&self.writer).await.map_err(StoreError::Migrate) };
        self.migrated.get_or_try_init(migrate).await.copied()
    }
}

fn cannot(doing: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Database { doing, source }
}

#[async_trait]
impl Store for SqliteStore {
    async fn position(&self) -> Result<u64, StoreError> {
        read::position(self.readers().await?, "facts").await
    }

    async fn apply(&self, facts: &[(u64, Stamped)], up_to: u64) -> Result<(), StoreError> {
        fold::facts(self.writer().await?, facts, up_to).await.map_err(cannot("take facts"))
    }

    async fn people_position(&self) -> Result<u64, StoreError> {
        read::position(self.readers().await?, "people").await
    }

    async fn people_apply(&self, seen: &[(u64, PersonSeen)], up_to: u64) -> Result<(), StoreError> {
        fold::people(self.writer().await?, seen, up_to).await.map_err(cannot("take people"))
    }

    async fn person_phone(&self, person: PersonId) -> Result<Option<Phone>, StoreError> {
        read::person_phone(self.readers().await?, person).await
    }

    async fn person_forget(&self, person: PersonId) -> Result<bool, StoreError> {
        fold::person_forget(self.writer().await?, person).await.map_err(cannot("forget a person"))
    }

    async fn ledger(&self, region: Option<RegionId>, from: Moment, to: Moment) -> Result<Ledger, StoreError> {
        read::ledger(self.readers().await?, region, from, to).await
    }

    async fn calls(&self, filter: &CallFilter, page: &Page<(Moment, CallId)>) -> Result<Vec<CallRow>, StoreError> {
        read::calls(self.readers().await?, filter, page).await
    }

    async fn call(&self, call: CallId) -> Result<Option<CallDetail>, StoreError> {
        read::call(self.readers().await?, call).await
    }

    async fn recordings(&self, call: CallId) -> Result<Vec<RecordingRow>, StoreError> {
        recordings::of_call(self.readers().await?, call).await
    }

    async fn recordings_due(&self, step: RecordingStep, now: Moment, limit: u32) -> Result<Vec<RecordingRow>, StoreError> {
        recordings::due(self.readers().await?, step, now, limit).await
    }

    async fn recording_tried(&self, file: &str, next_at: Moment) -> Result<(), StoreError> {
        recordings::tried(self.writer().await?, file, next_at).await
    }

    async fn recordings_kept(&self, after: &str, before: Moment, limit: u32) -> Result<Vec<RecordingRow>, StoreError> {
        recordings::kept(self.readers().await?, after, before, limit).await
    }

    async fn callbacks(&self, filter: &CallbackFilter, page: &Page<(Moment, TaskId)>) -> Result<Vec<CallbackRow>, StoreError> {
        read::callbacks(self.readers().await?, filter, page).await
    }

    async fn callback(&self, task: TaskId) -> Result<Option<CallbackRow>, StoreError> {
        read::callback(self.readers().await?, task).await
    }

    async fn agent_changes(&self, region: Option<RegionId>, from: Moment, to: Moment) -> Result<Vec<AgentChangeRow>, StoreError> {
        read::agent_changes(self.readers().await?, region, from, to).await
    }

    async fn handoffs_due(&self, now: Moment, limit: u32) -> Result<Vec<HandoffDue>, StoreError> {
        delivery::handoffs_due(self.readers().await?, now, limit).await
    }

    async fn handoff_tried(&self, handoff: HandoffId, next_at: Moment) -> Result<(), StoreError> {
        delivery::handoff_tried(self.writer().await?, handoff, next_at).await
    }

    async fn receiver_add(&self, receiver: &str) -> Result<(), StoreError> {
        delivery::receiver_add(self.writer().await?, receiver).await
    }

    async fn deliveries_due(&self, receiver: &str, now: Moment, limit: u32) -> Result<Vec<DeliveryDue>, StoreError> {
        delivery::deliveries_due(self.writer().await?, receiver, now, limit).await
    }

    async fn delivery_settle(&self, receiver: &str, event: u64, end: DeliveryEnd) -> Result<(), StoreError> {
        delivery::delivery_settle(self.writer().await?, receiver, event, end).await
    }
}
