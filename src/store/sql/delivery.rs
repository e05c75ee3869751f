//! What the deliverers ask and remember.

use super::{Pool, begin, cannot};
use super::columns::{id, time};
use super::read::read;
use crate::clock::Moment;
use crate::ids::*;
use crate::pii::Phone;
use crate::store::{DeliveryDue, DeliveryEnd, HandoffDue, StoreError};

/// Events of the outbox that are turned into deliveries at once.
const SPREAD_MAX: i64 = 1000;

pub async fn handoffs_due(pool: &Pool, now: Moment, limit: u32) -> Result<Vec<HandoffDue>, StoreError> {
    let query = sqlx::query(
        "SELECT h.*, phone, COALESCE(attempts, 0) AS attempts
         FROM handoffs h LEFT JOIN handoff_attempts USING (handoff) LEFT JOIN people USING (person)
         WHERE settled IS NULL AND COALESCE(next_at, 0) <= $1
           AND NOT EXISTS (SELECT 1 FROM handoffs e WHERE e.call = h.call AND e.settled IS NULL AND e.handoff < h.handoff)
         ORDER BY requested, handoff LIMIT $2",
    );
    read(query.bind(time(now)).bind(i64::from(limit)).fetch_all(pool).await, "list hand-offs", |row| {
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

pub async fn handoff_tried(pool: &Pool, handoff: HandoffId, next_at: Moment) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT INTO handoff_attempts (handoff, attempts, next_at) VALUES ($1, 1, $2)
         ON CONFLICT (handoff) DO UPDATE SET attempts = handoff_attempts.attempts + 1, next_at = excluded.next_at",
    );
    let done = query.bind(id(handoff.0)).bind(time(next_at)).execute(pool).await;
    done.map(|_| ()).map_err(cannot("note an attempt"))
}

pub async fn receiver_add(pool: &Pool, receiver: &str) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT INTO receivers (receiver, cursor) SELECT $1, COALESCE(MAX(event), 0) FROM outbox WHERE true
         ON CONFLICT DO NOTHING",
    );
    query.bind(receiver).execute(pool).await.map(|_| ()).map_err(cannot("add a receiver"))
}

pub async fn deliveries_due(pool: &Pool, receiver: &str, now: Moment, limit: u32) -> Result<Vec<DeliveryDue>, StoreError> {
    spread(pool, receiver).await.map_err(cannot("list what a receiver is to get"))?;
    let query = sqlx::query(
        "SELECT o.*, attempts FROM deliveries d JOIN outbox o USING (event)
         WHERE receiver = $1 AND refused IS NULL AND next_at <= $2
           AND NOT EXISTS (SELECT 1 FROM deliveries e
                           WHERE e.receiver = $1 AND e.call = d.call AND e.refused IS NULL AND e.event < d.event)
         ORDER BY event LIMIT $3",
    );
    read(query.bind(receiver).bind(time(now)).bind(i64::from(limit)).fetch_all(pool).await, "list deliveries", |row| {
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

pub async fn delivery_settle(pool: &Pool, receiver: &str, event: u64, end: DeliveryEnd) -> Result<(), StoreError> {
    let query = match end {
        DeliveryEnd::Done => {
            sqlx::query("DELETE FROM deliveries WHERE receiver = $1 AND event = $2").bind(receiver).bind(id(event))
        }
        DeliveryEnd::Later(at) => {
            sqlx::query("UPDATE deliveries SET attempts = attempts + 1, next_at = $1 WHERE receiver = $2 AND event = $3")
                .bind(time(at))
                .bind(receiver)
                .bind(id(event))
        }
        DeliveryEnd::Refused(reason) => {
            sqlx::query("UPDATE deliveries SET attempts = attempts + 1, refused = $1 WHERE receiver = $2 AND event = $3")
                .bind(reason)
                .bind(receiver)
                .bind(id(event))
        }
    };
    query.execute(pool).await.map(|_| ()).map_err(cannot("note a delivery"))
}

/// Turns events behind the receiver's cursor into deliveries.
async fn spread(pool: &Pool, receiver: &str) -> sqlx::Result<()> {
    let newest: (i64, Option<i64>) =
        sqlx::query_as("SELECT COALESCE((SELECT cursor FROM receivers WHERE receiver = $1), 0), (SELECT MAX(event) FROM outbox)")
            .bind(receiver)
            .fetch_one(pool)
            .await?;
    if newest.1.is_none_or(|newest_event| newest_event <= newest.0) {
        return Ok(());
    }
    let mut db = begin(pool).await?;
    let last: Option<i64> =
        sqlx::query_scalar("SELECT MAX(event) FROM (SELECT event FROM outbox WHERE event > $1 ORDER BY event LIMIT $2) AS next")
            .bind(newest.0)
            .bind(SPREAD_MAX)
            .fetch_one(&mut *db)
            .await?;
    sqlx::query(
        "INSERT INTO deliveries (receiver, event, call, attempts, next_at)
         SELECT $1, event, call, 0, 0 FROM outbox WHERE event > $2 AND event <= $3",
    )
    .bind(receiver)
    .bind(newest.0)
    .bind(last)
    .execute(&mut *db)
    .await?;
    sqlx::query("UPDATE receivers SET cursor = $1 WHERE receiver = $2").bind(last).bind(receiver).execute(&mut *db).await?;
    db.commit().await
}
