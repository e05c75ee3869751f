//! The store in PostgreSQL, for lines of which the tables are to stand on a server: one writing connection, a few reading ones.

pub mod lease;

super::sql_modules!();

use super::fold::Wanted;
use super::*;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Transaction};
use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;
use table::Kind;
use tokio::sync::OnceCell;
use uuid::Uuid;

/// Readers at once.
const READERS: u32 = 8;
/// How long a statement may take, then the server gives it up. The fold's are many times faster; it tries again anyhow.
const STATEMENT_MS: &str = "60000";
/// A transaction of ours is never idle; one whose engine vanished must not hold the tables.
const IDLE_IN_TRANSACTION_MS: &str = "60000";
/// How long to wait for a free connection, or for the server to take a new one.
const CONNECT: Duration = Duration::from_secs(3);

type Db = Postgres;
type DbRow = PgRow;
type Pool = PgPool;
type Connection = PgConnection;
type Database = PostgresStore;

pub struct PostgresStore {
    writer: PgPool,
    readers: PgPool,
    migrated: OnceCell<()>,
}

impl PostgresStore {
    /// Takes a `postgres://` address and touches nothing: tables are made and brought up to date at first use, and again if that
    /// failed, so that an absent server keeps nobody from starting.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        Self::held(url, None)
    }

    /// For whom the lease is held: the tables take no facts from anybody else.
    pub fn held(url: &str, holder: Option<&lease::Holder>) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url).map_err(cannot("be found by its address"))?;
        let options = options
            .application_name("dozvon")
            .options([("statement_timeout", STATEMENT_MS), ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_MS)]);
        let options = match holder {
            Some(holder) => options.options([("dozvon.lease", holder)]),
            None => options,
        };
        let writer = PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT);
        let readers = PgPoolOptions::new().max_connections(READERS).acquire_timeout(CONNECT);
        Ok(Self {
            writer: writer.connect_lazy_with(options.clone()),
            readers: readers.connect_lazy_with(options),
            migrated: OnceCell::new(),
        })
    }

    async fn writer(&self) -> Result<&PgPool, StoreError> {
        self.ready().await?;
        Ok(&self.writer)
    }

    async fn readers(&self) -> Result<&PgPool, StoreError> {
        self.ready().await?;
        Ok(&self.readers)
    }

    async fn ready(&self) -> Result<(), StoreError> {
        let migrate = || async { sqlx::migrate!("migrations/postgres").run(&self.writer).await.map_err(StoreError::Migrate) };
        self.migrated.get_or_try_init(migrate).await.copied()
    }
}

/// Old versions of rows would stay in the table until the server finds time for them.
async fn overwrite_deleted(pool: &Pool) -> sqlx::Result<()> {
    sqlx::query("VACUUM people").execute(pool).await.map(drop)
}

async fn begin(pool: &Pool) -> sqlx::Result<Transaction<'static, Db>> {
    pool.begin().await
}

// Rows travel as one array a column: one statement, always the same text, whatever their number.

async fn load(db: &mut Connection, wanted: &Wanted) -> sqlx::Result<Vec<Vec<Value>>> {
    let (table, open) = (wanted.table, if wanted.open { " AND ended IS NULL" } else { "" });
    let (columns, name, column) = (table.column_list(), table.name, wanted.column);
    let query = sqlx::query(AssertSqlSafe(format!("SELECT {columns} FROM {name} WHERE {column} = ANY($1){open}")));
    let rows = bind(query, table.kind(column), wanted.keys.iter()).fetch_all(db).await?;
    rows.iter().map(|row| columns::Fields(row).values(table)).collect()
}

/// The number of the last event of each of these calls.
async fn sequences(db: &mut Connection, calls: BTreeSet<Value>) -> sqlx::Result<Vec<(Uuid, i64)>> {
    let query = sqlx::query_as("SELECT call, MAX(sequence) FROM outbox WHERE call = ANY($1) GROUP BY call");
    query.bind(uuids(calls.iter())).fetch_all(db).await
}

async fn write(db: &mut Connection, table: &'static Table, rows: &[Vec<Value>]) -> sqlx::Result<()> {
    let arrays: Vec<_> = (1..).zip(table.columns).map(|(n, (_, kind))| format!("${n}::{}[]", type_name(*kind))).collect();
    let (name, columns, arrays) = (table.name, table.column_list(), arrays.join(", "));
    let sql = format!("INSERT INTO {name} ({columns}) SELECT * FROM UNNEST({arrays}){}", table.or_replace());
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for (at, (_, kind)) in table.columns.iter().enumerate() {
        query = bind(query, *kind, rows.iter().map(|row| row.get(at).unwrap_or(&Value::Null)));
    }
    query.execute(db).await.map(|_| ())
}

fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Int => "bigint",
        Kind::Text => "text",
        Kind::Uuid => "uuid",
        Kind::Bool => "boolean",
    }
}

type Asked<'q> = Query<'q, Db, PgArguments>;

fn bind<'q, 'v>(query: Asked<'q>, kind: Kind, values: impl Iterator<Item = &'v Value>) -> Asked<'q> {
    match kind {
        Kind::Int => {
            query.bind(values.map(|value| if let Value::Int(number) = value { Some(*number) } else { None }).collect::<Vec<_>>())
        }
        Kind::Text => query
            .bind(values.map(|value| if let Value::Text(text) = value { Some(text.clone()) } else { None }).collect::<Vec<_>>()),
        Kind::Uuid => query.bind(uuids(values)),
        Kind::Bool => {
            query.bind(values.map(|value| if let Value::Bool(yes) = value { Some(*yes) } else { None }).collect::<Vec<_>>())
        }
    }
}

fn uuids<'v>(values: impl Iterator<Item = &'v Value>) -> Vec<Option<Uuid>> {
    values.map(|value| if let Value::Uuid(id) = value { Some(*id) } else { None }).collect()
}
