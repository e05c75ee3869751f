//! The nightly deletion of what is older than it is to be kept.

use super::{Deleted, Keep, Store, StoreError};
use crate::clock::{Clock, Moment};
use std::sync::Arc;
use std::time::Duration;

/// After a failure, until it is tried again.
const PAUSE: Duration = Duration::from_secs(600);
/// Between two deletions, so that the fold gets its turn.
const BREATH: Duration = Duration::from_millis(50);

/// How long it is kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// After somebody was last seen.
    pub people: Duration,
    /// After it happened.
    pub outbox: Duration,
}

/// Every night, for ever. To be spawned.
pub async fn nightly(store: Arc<dyn Store>, clock: Clock, zone: jiff::tz::TimeZone, kept: Kept) {
    loop {
        tokio::time::sleep(until_night(clock.now(), &zone)).await;
        loop {
            match delete_old(store.as_ref(), clock.now(), kept).await {
                Ok(deleted) => {
                    tracing::info!(people = deleted.people, outbox = deleted.outbox, "what was old is deleted");
                    break;
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "what is old is not deleted yet");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Deletes all that is too old at `now`.
pub async fn delete_old(store: &dyn Store, now: Moment, kept: Kept) -> Result<Deleted, StoreError> {
    let before = |time: Duration| Moment(now.0.saturating_sub(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)));
    let keep = Keep { people_since: before(kept.people), outbox_since: before(kept.outbox) };
    let mut all = Deleted::default();
    loop {
        let some = store.retain(&keep).await?;
        if some == Deleted::default() {
            return Ok(all);
        }
        all.people += some.people;
        all.outbox += some.outbox;
        tokio::time::sleep(BREATH).await;
    }
}

/// Until half past three, when the line is quiet; a day should the zone know no such time.
fn until_night(now: Moment, zone: &jiff::tz::TimeZone) -> Duration {
    let next = || {
        let now = jiff::Timestamp::from_microsecond(i64::try_from(now.0).ok()?).ok()?;
        let today = now.to_zoned_datetime(zone.clone()).date();
        let night = |day: jiff::civil::Date| Some(day.at(3, 30, 0, 0).to_zoned_datetime(zone.clone()).ok()?.timestamp());
        let next = night(today).filter(|tonight| *tonight > now).or_else(|| night(today.tomorrow().ok()?))?;
        Duration::try_from(next.duration_since(now)).ok()
    };
    next().unwrap_or(Duration::from_secs(86_400))
}
