//! The one door to SQL: folds of the journal, people, callbacks, outbox.

pub mod copy;
mod fold;
mod outbox;
pub mod postgres;
pub mod retention;
mod rows;
pub mod sqlite;
pub mod statistics;
pub mod table;
pub mod writer;

pub use rows::*;
pub use table::{TABLES, Table, Value};

use crate::clock::Moment;
use crate::facts::{Ledger, Stamped};
use crate::ids::*;
use crate::journal::PersonSeen;
use crate::pii::Phone;
use async_trait::async_trait;
use statistics::{QueueVisits, Talks};
use std::collections::BTreeMap;
use std::time::Duration;

/// Tables that follow the journal. Nothing on the way of a call waits for them.
#[async_trait]
pub trait Store: Send + Sync {
    /// Up to where the tables have the facts.
    async fn position(&self) -> Result<u64, StoreError>;
    /// Folds facts, each with the journal position behind it, and moves the position to `up_to`; all or nothing. Facts that the
    /// tables already have are skipped.
    async fn apply(&self, facts: &[(u64, Stamped)], up_to: u64) -> Result<(), StoreError>;

    async fn people_position(&self) -> Result<u64, StoreError>;
    async fn people_apply(&self, seen: &[(u64, PersonSeen)], up_to: u64) -> Result<(), StoreError>;
    async fn person_phone(&self, person: PersonId) -> Result<Option<Phone>, StoreError>;
    /// Deletes what is known of a person beyond the id. `false` if nothing was.
    async fn person_forget(&self, person: PersonId) -> Result<bool, StoreError>;

    /// The law over the calls that entered in `from..to`; `open_callbacks` are those open now.
    async fn ledger(&self, region: Option<RegionId>, from: Moment, to: Moment) -> Result<Ledger, StoreError>;
    /// Newest first.
    async fn calls(&self, filter: &CallFilter, page: &Page<(Moment, CallId)>) -> Result<Vec<CallRow>, StoreError>;
    async fn call(&self, call: CallId) -> Result<Option<CallDetail>, StoreError>;
    async fn recordings(&self, call: CallId) -> Result<Vec<RecordingRow>, StoreError>;
    /// Every recording that has ended and should lie here, by its file.
    async fn recording_files(&self) -> Result<Vec<String>, StoreError>;
    /// Rows without what they should belong to.
    async fn orphans(&self) -> Result<Orphans, StoreError>;
    /// Recordings for which this step is due, oldest first.
    async fn recordings_due(&self, step: RecordingStep, now: Moment, limit: u32) -> Result<Vec<RecordingRow>, StoreError>;
    /// The step was tried; it is due again at `next_at` unless its end is folded before.
    async fn recording_tried(&self, file: &str, next_at: Moment) -> Result<(), StoreError>;
    /// Recordings that are not deleted and began before this time, by name, those after `after`.
    async fn recordings_kept(&self, after: &str, before: Moment, limit: u32) -> Result<Vec<RecordingRow>, StoreError>;
    /// Oldest first.
    async fn callbacks(&self, filter: &CallbackFilter, page: &Page<(Moment, TaskId)>) -> Result<Vec<CallbackRow>, StoreError>;
    async fn callback(&self, task: TaskId) -> Result<Option<CallbackRow>, StoreError>;
    /// Oldest first.
    async fn agent_changes(&self, region: Option<RegionId>, from: Moment, to: Moment) -> Result<Vec<AgentChangeRow>, StoreError>;
    /// What became of the visits to each queue of the calls that entered in `from..to`.
    async fn queue_visits(
        &self,
        region: Option<RegionId>,
        from: Moment,
        to: Moment,
        within: Duration,
    ) -> Result<BTreeMap<QueueId, QueueVisits>, StoreError>;
    /// Talks of the same calls.
    async fn talks(&self, region: Option<RegionId>, from: Moment, to: Moment) -> Result<Talks, StoreError>;

    /// Hand-offs that the core has not settled and that are due to be tried, oldest first; of each call only its first.
    async fn handoffs_due(&self, now: Moment, limit: u32) -> Result<Vec<HandoffDue>, StoreError>;
    /// The hand-off was tried; it is due again at `next_at` unless its settlement is folded before.
    async fn handoff_tried(&self, handoff: HandoffId, next_at: Moment) -> Result<(), StoreError>;

    /// Makes a receiver known; it gets the events from here on.
    async fn receiver_add(&self, receiver: &str) -> Result<(), StoreError>;
    /// Events due for a receiver, oldest first; of each call only the first that the receiver has not taken.
    async fn deliveries_due(&self, receiver: &str, now: Moment, limit: u32) -> Result<Vec<DeliveryDue>, StoreError>;
    async fn delivery_settle(&self, receiver: &str, event: u64, end: DeliveryEnd) -> Result<(), StoreError>;

    /// Rows of a table by its key, those behind the key `after`, [`PAGE_MAX`] at most: to move them to another database.
    async fn rows(&self, table: &'static Table, after: Option<&[Value]>, limit: u32) -> Result<Vec<Vec<Value>>, StoreError>;
    /// Writes rows as they are, over those with the same key.
    async fn rows_put(&self, table: &'static Table, rows: &[Vec<Value>]) -> Result<(), StoreError>;

    /// Deletes some of what is older than it is to be kept; nothing deleted: nothing is left to delete.
    async fn retain(&self, keep: &Keep) -> Result<Deleted, StoreError>;
}

/// What retention leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keep {
    /// Phones of people last seen since then, and of all whom we still owe something.
    pub people_since: Moment,
    /// Events since then, and all that a receiver has not got yet.
    pub outbox_since: Moment,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Deleted {
    pub people: u64,
    pub outbox: u64,
}

/// Most SQL is the same in every database. It stands once, in `sql/`, and is compiled for each: a database's module names its
/// types (`Db`, `DbRow`, `Pool`, `Connection`, `Database`) and brings what is its own (`begin`, `load`, `sequences`, `write`).
macro_rules! sql_modules {
    () => {
        #[path = "../sql/care.rs"]
        #[allow(clippy::duplicate_mod)]
        mod care;
        #[path = "../sql/columns.rs"]
        #[allow(clippy::duplicate_mod)]
        mod columns;
        #[path = "../sql/delivery.rs"]
        #[allow(clippy::duplicate_mod)]
        mod delivery;
        #[path = "../sql/doors.rs"]
        #[allow(clippy::duplicate_mod)]
        mod doors;
        #[path = "../sql/fold.rs"]
        #[allow(clippy::duplicate_mod)]
        mod fold;
        #[path = "../sql/read.rs"]
        #[allow(clippy::duplicate_mod)]
        mod read;
        #[path = "../sql/recordings.rs"]
        #[allow(clippy::duplicate_mod)]
        mod recordings;
        #[path = "../sql/rows.rs"]
        #[allow(clippy::duplicate_mod)]
        mod rows;
        #[path = "../sql/statistics.rs"]
        #[allow(clippy::duplicate_mod)]
        mod statistics;
    };
}
use sql_modules;

fn cannot(doing: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Database { doing, source }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database cannot {doing}")]
    Database {
        doing: &'static str,
        #[source]
        source: sqlx::Error,
    },
    #[error("the database gives no answer")]
    NoAnswer,
    #[error("the database's tables cannot be brought up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    #[error("the column {column} holds {value:?}, which this engine does not know")]
    Unreadable { column: &'static str, value: String },
    #[error(
        "the tables are at byte {tables} of a journal that ends at {journal}: the journal's directory was replaced; put it back, \
         or move the database file away to begin anew"
    )]
    Ahead { tables: u64, journal: u64 },
}
