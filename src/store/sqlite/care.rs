//! What only whoever looks after an installation asks: a copy of the whole database, and rows that belong to nothing.

use super::columns::Fields;
use super::read::read;
use super::{SqliteStore, cannot};
use crate::ids::*;
use crate::store::StoreError;
use sqlx::sqlite::SqlitePool;
use std::path::Path;

/// Rows without what they should belong to.
#[derive(Debug, Default, PartialEq)]
pub struct Orphans {
    /// Recordings whose call is unknown, by file.
    pub recordings: Vec<String>,
    /// Talks that nobody ended although their call ended.
    pub talks: Vec<CallId>,
    /// Open callbacks whose person has no number: nobody can be called back.
    pub callbacks: Vec<TaskId>,
}

impl SqliteStore {
    /// Writes a consistent copy of the database as of one moment, while it is in use. Its tables may be of any version or kind.
    pub async fn copy_as_it_is(&self, file: &Path) -> Result<(), StoreError> {
        let copied = sqlx::query("VACUUM INTO ?").bind(file.display().to_string()).execute(&self.readers).await;
        copied.map(drop).map_err(cannot("be copied"))
    }

    /// Lets go of the file, with nothing left beside it.
    pub async fn close(self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    pub async fn orphans(&self) -> Result<Orphans, StoreError> {
        let pool = self.readers().await?;
        let recordings = "SELECT file FROM recordings WHERE call NOT IN (SELECT call FROM calls) ORDER BY file";
        let talks = "SELECT call FROM talks JOIN calls USING (call) WHERE talks.ended IS NULL AND calls.ended IS NOT NULL";
        let callbacks =
            "SELECT task FROM callbacks WHERE closed IS NULL AND person NOT IN (SELECT person FROM people) ORDER BY task";
        Ok(Orphans {
            recordings: read(sqlx::query(recordings).fetch_all(pool).await, "list recordings", |row| row.get("file"))?,
            talks: read(sqlx::query(talks).fetch_all(pool).await, "list talks", |row: Fields<'_>| row.call())?,
            callbacks: read(sqlx::query(callbacks).fetch_all(pool).await, "list callbacks", |row| row.id("task").map(TaskId))?,
        })
    }

    /// Every recording that has ended, by its file.
    pub async fn recording_files(&self) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query("SELECT file FROM recordings WHERE ended IS NOT NULL ORDER BY file");
        read(rows.fetch_all(self.readers().await?).await, "list recordings", |row| row.get("file"))
    }
}

/// Brings everything into the database file and empties the write-ahead file.
pub async fn empty_write_ahead_file(pool: &SqlitePool) -> Result<(), StoreError> {
    let emptied = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(pool).await;
    emptied.map(drop).map_err(cannot("empty its write-ahead file"))
}
