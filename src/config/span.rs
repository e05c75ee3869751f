//! A span of time as people write it: dates in a region's zone, or RFC 3339 moments; today if they write nothing.

use crate::clock::Moment;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::ops::Range;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    #[error("`{0}` is no moment; write 2026-11-24 or 2026-11-24T08:00:00+07:00 (a plus in a query is %2B)")]
    Unclear(&'static str),
    #[error("`from` is not before `to`; exchange them")]
    Empty,
}

/// From the beginning of today to its end in the zone, unless `from` or `to` say otherwise. A date as `to` is included.
pub fn span(now: Moment, zone: &TimeZone, from: Option<&str>, to: Option<&str>) -> Result<Range<Moment>, SpanError> {
    let now = i64::try_from(now.0).ok().and_then(|us| Timestamp::from_microsecond(us).ok());
    let today = now.unwrap_or(Timestamp::MAX).to_zoned_datetime(zone.clone()).date();
    let start = match from {
        None => beginning(today, zone),
        Some(text) => instant(text).or_else(|| beginning(text.parse().ok()?, zone)),
    };
    let stop = match to {
        None => end(today, zone),
        Some(text) => instant(text).or_else(|| end(text.parse().ok()?, zone)),
    };
    let (start, stop) = (start.ok_or(SpanError::Unclear("from"))?, stop.ok_or(SpanError::Unclear("to"))?);
    if start < stop { Ok(start..stop) } else { Err(SpanError::Empty) }
}

fn instant(text: &str) -> Option<Moment> {
    moment(text.parse().ok()?)
}

fn beginning(day: Date, zone: &TimeZone) -> Option<Moment> {
    moment(day.to_zoned_datetime(zone.clone()).ok()?.timestamp())
}

fn end(day: Date, zone: &TimeZone) -> Option<Moment> {
    beginning(day.tomorrow().ok()?, zone)
}

fn moment(instant: Timestamp) -> Option<Moment> {
    u64::try_from(instant.as_microsecond()).ok().map(Moment)
}
