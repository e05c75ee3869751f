//! What whoever looks after an installation asks: rows that belong to nothing, and files that should be there.

use super::columns::Fields;
use super::read::read;
use super::Pool;
use crate::ids::*;
use crate::store::{Orphans, StoreError};

pub async fn orphans(pool: &Pool) -> Result<Orphans, StoreError> {
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

pub async fn recording_files(pool: &Pool) -> Result<Vec<String>, StoreError> {
    let rows = sqlx::query("SELECT file FROM recordings WHERE ended IS NOT NULL AND deleted IS NULL AND here ORDER BY file");
    read(rows.fetch_all(pool).await, "list recordings", |row| row.get("file"))
}
