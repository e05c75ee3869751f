//! The embedded store: one SQLite file, one writer, a few readers.

mod file;

super::sql_modules!();

use super::fold::Wanted;
use super::*;
use sqlx::sqlite::{
    Sqlite, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{QueryBuilder, Transaction};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use tokio::sync::OnceCell;
use uuid::Uuid;

/// Readers at once; SQLite reads from memory, so a few serve many pages.
const READERS: u32 = 4;
/// How long a statement waits for a lock that another process (a backup, a shell) holds.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Arguments of one statement; SQLite takes 32,766.
const ARGUMENTS: usize = 16_000;

type Db = Sqlite;
type DbRow = SqliteRow;
type Pool = SqlitePool;
type Connection = SqliteConnection;
type Database = SqliteStore;

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
            // What is forgotten is overwritten, not only let go.
            .pragma("secure_delete", "on")
            .optimize_on_close(true, None);
        // SQLite itself rolls a transaction back when the disk is full (sqlite.org/lang_transaction.html §3); the driver then takes
        // its connection for one within a transaction for ever, and nothing could begin on it: it goes.
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(LOCK_WAIT)
            .before_acquire(|connection, _| Box::pin(async { Ok(!sqlx::Connection::is_in_transaction(connection)) }));
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

/// Old pages with what was deleted would stay in the write-ahead file.
async fn overwrite_deleted(pool: &Pool) -> sqlx::Result<()> {
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(pool).await.map(drop)
}

async fn begin(pool: &Pool) -> sqlx::Result<Transaction<'static, Db>> {
    pool.begin_with("BEGIN IMMEDIATE").await
}

async fn load(db: &mut Connection, wanted: &Wanted) -> sqlx::Result<Vec<Vec<Value>>> {
    let (table, mut loaded) = (wanted.table, Vec::new());
    for keys in wanted.keys.iter().collect::<Vec<_>>().chunks(ARGUMENTS) {
        let mut query =
            QueryBuilder::new(format!("SELECT {} FROM {} WHERE {} IN (", table.column_list(), table.name, wanted.column));
        push_all(&mut query, keys.iter().copied());
        query.push(if wanted.open { ") AND ended IS NULL" } else { ")" });
        for row in query.build().fetch_all(&mut *db).await? {
            loaded.push(columns::Fields(&row).values(table)?);
        }
    }
    Ok(loaded)
}

/// The number of the last event of each of these calls.
async fn sequences(db: &mut Connection, calls: BTreeSet<Value>) -> sqlx::Result<Vec<(Uuid, i64)>> {
    let mut found = Vec::new();
    for calls in calls.iter().collect::<Vec<_>>().chunks(ARGUMENTS) {
        let mut query = QueryBuilder::new("SELECT call, MAX(sequence) FROM outbox WHERE call IN (");
        push_all(&mut query, calls.iter().copied());
        query.push(") GROUP BY call");
        found.extend(query.build_query_as::<(Uuid, i64)>().fetch_all(&mut *db).await?);
    }
    Ok(found)
}

async fn write(db: &mut Connection, table: &'static Table, rows: &[Vec<Value>]) -> sqlx::Result<()> {
    for rows in rows.chunks(ARGUMENTS / table.columns.len().max(1)) {
        let mut query = QueryBuilder::new(format!("INSERT INTO {} ({}) VALUES ", table.name, table.column_list()));
        for (n, row) in rows.iter().enumerate() {
            query.push(if n == 0 { "(" } else { ", (" });
            push_all(&mut query, row.iter());
            query.push(")");
        }
        query.push(table.or_replace());
        query.build().execute(&mut *db).await?;
    }
    Ok(())
}

fn push_all<'v>(query: &mut QueryBuilder<Db>, values: impl Iterator<Item = &'v Value>) {
    let mut list = query.separated(", ");
    for value in values {
        match value {
            Value::Null => list.push("NULL"),
            Value::Int(number) => list.push_bind(*number),
            Value::Text(text) => list.push_bind(text.clone()),
            Value::Uuid(id) => list.push_bind(*id),
            Value::Bool(yes) => list.push_bind(*yes),
        };
    }
}
