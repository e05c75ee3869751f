//! Counts for the statistics, over the calls that entered in a span.

use super::columns::{Fields, time};
use super::read::read;
use super::{Pool, cannot};
use crate::clock::Moment;
use crate::ids::{QueueId, RegionId};
use crate::store::StoreError;
use crate::store::statistics::{QueueVisits, Talks};
use std::collections::BTreeMap;
use std::time::Duration;

pub async fn queue_visits(
    pool: &Pool,
    region: Option<RegionId>,
    from: Moment,
    to: Moment,
    within: Duration,
) -> Result<BTreeMap<QueueId, QueueVisits>, StoreError> {
    let query = sqlx::query(
        "SELECT visits.queue AS queue, COUNT(*) AS offered,
             SUM(CASE WHEN visits.ending = 'answered' THEN 1 ELSE 0 END) AS answered,
             SUM(CASE WHEN visits.ending = 'answered' AND visits.ended - visits.entered <= $4 THEN 1 ELSE 0 END) AS answered_within,
             CAST(SUM(CASE WHEN visits.ending = 'answered' THEN visits.ended - visits.entered ELSE 0 END) AS BIGINT) AS answered_wait,
             SUM(CASE WHEN visits.ending = 'abandoned' THEN 1 ELSE 0 END) AS abandoned,
             SUM(CASE WHEN visits.ending = 'abandoned' AND visits.ended - visits.entered <= $4 THEN 1 ELSE 0 END) AS abandoned_within,
             SUM(CASE WHEN visits.ending IS NULL THEN 1 ELSE 0 END) AS waiting
         FROM calls JOIN queue_visits visits ON visits.call = calls.call
         WHERE calls.entered >= $1 AND calls.entered < $2 AND ($3 IS NULL OR calls.region = $3)
         GROUP BY visits.queue",
    );
    let query = query.bind(time(from)).bind(time(to)).bind(region.map(|region| i64::from(region.0)));
    let query = query.bind(i64::try_from(within.as_micros()).unwrap_or(i64::MAX));
    let rows = read(query.fetch_all(pool).await, "count visits", |row| {
        let visits = QueueVisits {
            offered: row.id("offered")?,
            answered: row.id("answered")?,
            answered_within: row.id("answered_within")?,
            answered_wait: Duration::from_micros(row.id("answered_wait")?),
            abandoned: row.id("abandoned")?,
            abandoned_within: row.id("abandoned_within")?,
            waiting: row.id("waiting")?,
        };
        Ok((QueueId(row.name("queue")?), visits))
    })?;
    Ok(rows.into_iter().collect())
}

pub async fn talks(pool: &Pool, region: Option<RegionId>, from: Moment, to: Moment) -> Result<Talks, StoreError> {
    let query = sqlx::query(
        "SELECT COUNT(*) AS talks, CAST(COALESCE(SUM(talks.ended - talks.started), 0) AS BIGINT) AS talked
         FROM calls JOIN talks ON talks.call = calls.call
         WHERE calls.entered >= $1 AND calls.entered < $2 AND ($3 IS NULL OR calls.region = $3) AND talks.ended IS NOT NULL",
    );
    let query = query.bind(time(from)).bind(time(to)).bind(region.map(|region| i64::from(region.0)));
    let row = query.fetch_one(pool).await.map_err(cannot("count talks"))?;
    let fields = Fields(&row);
    Ok(Talks { talks: fields.id("talks")?, talked: Duration::from_micros(fields.id("talked")?) })
}
