//! Whose the line is: one row, and the server's clock says when it expires.

use super::{CONNECT, PostgresStore, StoreError, cannot};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// An answer that takes longer is of no use to whoever renews every few seconds.
const STATEMENT_MS: &str = "3000";

/// Who holds the lease, and which holding of it this is: each has a number of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// One data folder; without a slash.
    pub owner: String,
    pub epoch: u64,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.epoch)
    }
}

impl FromStr for Holder {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (owner, epoch) = text.trim().split_once('/').ok_or(())?;
        Ok(Self { owner: owner.to_owned(), epoch: epoch.parse().map_err(|_| ())? })
    }
}

pub struct Lease {
    /// A connection of its own: pages and folds do not keep it waiting.
    pool: PgPool,
    /// Brings the tables up to date, of which the lease is one.
    tables: PostgresStore,
    length: Duration,
}

impl Lease {
    /// Of the database at this address. What is taken or renewed lasts for `length`.
    pub fn new(url: &str, length: Duration) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url).map_err(cannot("be found by its address"))?;
        let options = options.application_name("dozvon-lease").options([("statement_timeout", STATEMENT_MS)]);
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT).connect_lazy_with(options);
        Ok(Self { pool, tables: PostgresStore::new(url)?, length })
    }

    /// Who holds it and whether it has expired; `None` if nobody ever took it.
    pub async fn look(&self) -> Result<Option<(Holder, bool)>, StoreError> {
        self.tables.ready().await?;
        let query = sqlx::query_as::<_, (String, i64, bool)>("SELECT owner, epoch, expires < clock_timestamp() FROM lease");
        let row = query.fetch_optional(&self.pool).await.map_err(cannot("tell who holds the lease"))?;
        Ok(row.map(|(owner, epoch, expired)| (Holder { owner, epoch: epoch.cast_unsigned() }, expired)))
    }

    /// The first one ever; `None` if somebody was faster.
    pub async fn begin(&self, owner: &str) -> Result<Option<Holder>, StoreError> {
        let query = sqlx::query_scalar(
            "INSERT INTO lease (epoch, owner, expires) VALUES (1, $1, clock_timestamp() + $2 * interval '1 microsecond')
             ON CONFLICT DO NOTHING RETURNING epoch",
        );
        self.taken(owner, query.bind(owner).bind(self.length_us()).fetch_optional(&self.pool).await)
    }

    /// Takes it from `from`, whose it must still be: expired, or one's own. `None` if it is not.
    pub async fn take(&self, owner: &str, from: &Holder) -> Result<Option<Holder>, StoreError> {
        let query = sqlx::query_scalar(
            "UPDATE lease SET owner = $1, epoch = epoch + 1, expires = clock_timestamp() + $2 * interval '1 microsecond'
             WHERE epoch = $3 AND owner = $4 AND (owner = $1 OR expires < clock_timestamp()) RETURNING epoch",
        );
        let query = query.bind(owner).bind(self.length_us()).bind(from.epoch.cast_signed()).bind(&from.owner);
        self.taken(owner, query.fetch_optional(&self.pool).await)
    }

    fn taken(&self, owner: &str, epoch: sqlx::Result<Option<i64>>) -> Result<Option<Holder>, StoreError> {
        let epoch = epoch.map_err(cannot("give the lease"))?;
        Ok(epoch.map(|epoch| Holder { owner: owner.to_owned(), epoch: epoch.cast_unsigned() }))
    }

    /// `false`: it is another's.
    pub async fn renew(&self, holder: &Holder) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "UPDATE lease SET expires = clock_timestamp() + $1 * interval '1 microsecond' WHERE owner = $2 AND epoch = $3",
        );
        let query = query.bind(self.length_us()).bind(&holder.owner).bind(holder.epoch.cast_signed());
        let renewed = query.execute(&self.pool).await.map_err(cannot("renew the lease"))?;
        Ok(renewed.rows_affected() > 0)
    }

    fn length_us(&self) -> i64 {
        i64::try_from(self.length.as_micros()).unwrap_or(i64::MAX)
    }
}
