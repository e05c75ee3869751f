//! Recordings: what is told of them, and what is to be done with them.

use super::{Pool, cannot};
use super::columns::{Fields, time};
use super::read::read;
use crate::clock::Moment;
use crate::ids::*;
use crate::store::{RecordingEnd, RecordingRow, RecordingStep, SealedRow, StoreError};

type Rows = Result<Vec<RecordingRow>, StoreError>;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT r.*, c.queue, COALESCE(attempts, 0) AS attempts FROM recordings r
             JOIN calls c USING (call) LEFT JOIN recording_attempts a ON a.file = r.file ",
            $rest
        )
    };
}

pub async fn of_call(pool: &Pool, call: CallId) -> Rows {
    let query = sqlx::query(select!("WHERE r.call = $1 ORDER BY r.started, r.file")).bind(call.0);
    read(query.fetch_all(pool).await, "look up a call", row)
}

pub async fn due(pool: &Pool, step: RecordingStep, now: Moment, limit: u32) -> Rows {
    let query = match step {
        RecordingStep::Pack { unclosed_before } => sqlx::query(select!(
            "WHERE packed IS NULL AND deleted IS NULL AND COALESCE(next_at, 0) <= $1
               AND (r.ended IS NOT NULL OR failed IS NOT NULL OR c.ended < $2)
             ORDER BY r.started LIMIT $3"
        ))
        .bind(time(now))
        .bind(time(unclosed_before))
        .bind(i64::from(limit)),
        RecordingStep::Archive => sqlx::query(select!(
            "WHERE packed IS NOT NULL AND archived IS NULL AND deleted IS NULL AND not_archived IS NULL
               AND COALESCE(next_at, 0) <= $1
             ORDER BY packed LIMIT $2"
        ))
        .bind(time(now))
        .bind(i64::from(limit)),
    };
    read(query.fetch_all(pool).await, "list what is due for recordings", row)
}

pub async fn tried(pool: &Pool, file: &str, next_at: Moment) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT INTO recording_attempts (file, attempts, next_at) VALUES ($1, 1, $2)
         ON CONFLICT (file) DO UPDATE SET attempts = recording_attempts.attempts + 1, next_at = excluded.next_at",
    );
    let done = query.bind(file).bind(time(next_at)).execute(pool).await;
    done.map(|_| ()).map_err(cannot("note an attempt"))
}

pub async fn kept(pool: &Pool, after: &str, before: Moment, limit: u32) -> Rows {
    let query = sqlx::query(select!("WHERE deleted IS NULL AND r.file > $1 AND r.started < $2 ORDER BY r.file LIMIT $3"));
    read(query.bind(after).bind(time(before)).bind(i64::from(limit)).fetch_all(pool).await, "list recordings", row)
}

fn row(row: Fields<'_>) -> Result<RecordingRow, StoreError> {
    let ended = match row.time_if("ended")? {
        Some(at) => Some(RecordingEnd { at, ms: row.id("ms")?, gaps: row.count("gaps")? }),
        None => None,
    };
    let sealed = match row.time_if("packed")? {
        Some(at) => Some(SealedRow {
            at,
            file: row.get("sealed")?,
            bytes: row.id("bytes")?,
            ms: row.id("ms")?,
            sha256: row.get("sha256")?,
        }),
        None => None,
    };
    Ok(RecordingRow {
        file: row.get("file")?,
        call: row.call()?,
        region: row.region()?,
        queue: row.name_if("queue")?.map(QueueId),
        started: row.time("started")?,
        ended,
        failed: row.get("failed")?,
        sealed,
        archived: row.end_if("archived", "place")?,
        not_archived: row.get("not_archived")?,
        here: row.get("here")?,
        deleted: row.end_if("deleted", "gone")?,
        attempts: row.count("attempts")?,
    })
}
