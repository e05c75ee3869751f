//! What the deliverers ask and remember.

use super::cannot;
use super::columns::{id, time};
use super::read::read;
use crate::clock::Moment;
use crate::ids::*;
use crate::pii::Phone;
use crate::store::{DeliveryDue, DeliveryEnd, HandoffDue, StoreError};
use sqlx::sqlite::SqlitePool;

/// Events of the outbox that are turned into deliveries at once.
const SPREAD_MAX: u32 = 1000;

pub async fn handoffs_due(pool: &SqlitePool, now: Moment, limit: u32) -> Result<Vec<HandoffDue>, StoreError> {
    let query = sqlx::query(
        "SELECT h.*, phone, COALESCE(attempts, 0) AS attempts
         FROM handoffs h LEFT JOIN handoff_attempts USING (handoff) LEFT JOIN people USING (person)
         WHERE settled IS NULL AND COALESCE(next_at, 0) <= ?
           AND NOT EXISTS (SELECT 1 FROM handoffs e WHERE e.call = h.call AND e.settled IS NULL AND e.handoff < h.handoff)
         ORDER BY requested, handoff LIMIT ?",
    );
    read(query.bind(time(now)).bind(limit).fetch_all(pool).await, "list hand-offs", |row| {
        Ok(HandoffDue {
            handoff: HandoffId(row.id("handoff")?),
            call: row.call()?,
            region: row.region()?,
            person: row.person_if()?,
            phone: row.get::<Option<&str>>("phone")?.and_then(|text| Phone::parse(text, None)),
            theme: row.get("theme")?,
            requested: row.time("requested")?,
            attempts: row.count("attempts")?,
        })
    })
}

pub async fn handoff_tried(pool: &SqlitePool, handoff: HandoffId, next_at: Moment) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT INTO handoff_attempts (handoff, attempts, next_at) VALUES (?, 1, ?)
         ON CONFLICT (handoff) DO UPDATE SET attempts = attempts + 1, next_at = excluded.next_at",
    );
    let done = query.bind(id(handoff.0)).bind(time(next_at)).execute(pool).await;
    done.map(|_| ()).map_err(cannot("note an attempt"))
}

pub async fn receiver_add(pool: &SqlitePool, receiver: &str) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT INTO receivers (receiver, cursor) SELECT ?, COALESCE(MAX(event), 0) FROM outbox WHERE true
         ON CONFLICT DO NOTHING",
    );
    query.bind(receiver).execute(pool).await.map(|_| ()).map_err(cannot("add a receiver"))
}

pub async fn deliveries_due(pool: &SqlitePool, receiver: &str, now: Moment, limit: u32) -> Result<Vec<DeliveryDue>, StoreError> {
    spread(pool, receiver).await.map_err(cannot("list what a receiver is to get"))?;
    let query = sqlx::query(
        "SELECT o.*, attempts FROM deliveries d JOIN outbox o USING (event)
         WHERE receiver = ?1 AND refused IS NULL AND next_at <= ?2
           AND NOT EXISTS (SELECT 1 FROM deliveries e
                           WHERE e.receiver = ?1 AND e.call = d.call AND e.refused IS NULL AND e.event < d.event)
         ORDER BY event LIMIT ?3",
    );
    read(query.bind(receiver).bind(time(now)).bind(limit).fetch_all(pool).await, "list deliveries", |row| {
        Ok(DeliveryDue {
            event: row.id("event")?,
            call: row.call()?,
            region: row.region()?,
            sequence: row.id("sequence")?,
            kind: row.get("kind")?,
            at: row.time("at")?,
            idempotency_key: row.get("key")?,
            data: row.get("data")?,
            attempts: row.count("attempts")?,
        })
    })
}

pub async fn delivery_settle(pool: &SqlitePool, receiver: &str, event: u64, end: DeliveryEnd) -> Result<(), StoreError> {
    let query = match end {
        DeliveryEnd::Done => {
            sqlx::query("DELETE FROM deliveries WHERE receiver = ? AND event = ?").bind(receiver).bind(id(event))
        }
        DeliveryEnd::Later(at) => {
            sqlx::query("UPDATE deliveries SET attempts = attempts + 1, next_at = ? WHERE receiver = ? AND event = ?")
                .bind(time(at))
                .bind(receiver)
                .bind(id(event))
        }
        DeliveryEnd::Refused(reason) => {
            sqlx::query("UPDATE deliveries SET attempts = attempts + 1, refused = ? WHERE receiver = ? AND event = ?")
                .bind(reason)
                .bind(receiver)
                .bind(id(event))
        }
    };
    query.execute(pool).await.map(|_| ()).map_err(cannot("note a delivery"))
}

/// Turns events behind the receiver's cursor into deliveries.
async fn spread(pool: &SqlitePool, receiver: &str) -> sqlx::Result<()> {
    let newest: (i64, Option<i64>) =
        sqlx::query_as("SELECT COALESCE((SELECT cursor FROM receivers WHERE receiver = ?), 0), (SELECT MAX(event) FROM outbox)")
            .bind(receiver)
            .fetch_one(pool)
            .await?;
    if newest.1.is_none_or(|newest_event| newest_event <= newest.0) {
        return Ok(());
    }
    let mut db = pool.begin_with("BEGIN IMMEDIATE").await?;
    let last: Option<i64> =
        sqlx::query_scalar("SELECT MAX(event) FROM (SELECT event FROM outbox WHERE event > ? ORDER BY event LIMIT ?)")
            .bind(newest.0)
            .bind(SPREAD_MAX)
            .fetch_one(&mut *db)
            .await?;
    sqlx::query(
        "INSERT INTO deliveries (receiver, event, call, attempts, next_at)
         SELECT ?, event, call, 0, 0 FROM outbox WHERE event > ? AND event <= ?",
    )
    .bind(receiver)
    .bind(newest.0)
    .bind(last)
    .execute(&mut *db)
    .await?;
    sqlx::query("UPDATE receivers SET cursor = ? WHERE receiver = ?").bind(last).bind(receiver).execute(&mut *db).await?;
    db.commit().await
}
