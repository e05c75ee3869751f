//! The ledger over a span of time, read once the tables know all that happened before the question.

use super::House;
use super::fault::{Asked, ErrorBody, Fault};
use crate::clock::Moment;
use crate::config::{Region, span};
use crate::ids::RegionId;
use crate::store::writer::caught_up;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderName;
use axum::response::{IntoResponse, Response};
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Bytes the answer is behind the journal, should the tables not have caught up in time.
const BEHIND: HeaderName = HeaderName::from_static("dozvon-behind-bytes");

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LedgerQuery {
    /// Number of the region; left out or empty: all.
    #[serde(default, deserialize_with = "given")]
    region: Option<u16>,
    /// RFC 3339, or a date in the region's zone (its beginning). Left out or empty: today.
    #[serde(default, deserialize_with = "given")]
    from: Option<String>,
    /// RFC 3339 (not included), or a date (included). Left out or empty: today.
    #[serde(default, deserialize_with = "given")]
    to: Option<String>,
}

/// A key with nothing behind it (`region=&from=`) says nothing.
fn given<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(source: D) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(source)?.filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}

/// `entered = live + sum(outcomes)`.
#[derive(Serialize, ToSchema)]
pub struct LedgerBody {
    entered: u64,
    live: u64,
    /// Each outcome by its word.
    outcomes: BTreeMap<String, u64>,
    /// People to be called back now, whenever they were missed.
    open_callbacks: u64,
}

/// What became of the calls that entered in a span of time.
#[utoipa::path(get, path = "/api/v1/ledger", tag = "ledger", params(LedgerQuery),
    responses((status = 200, body = LedgerBody), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn ledger(State(house): State<Arc<House>>, Asked(query): Asked<LedgerQuery>) -> Result<Response, Fault> {
    let region = house.region(query.region)?;
    let (from, to) = house.span(region, query.from.as_deref(), query.to.as_deref())?;
    let behind = house.catch_up().await?;
    let ledger = house.state.store.ledger(region.map(|region| region.code), from, to).await?;
    let body = LedgerBody {
        entered: ledger.entered,
        live: ledger.live,
        outcomes: ledger.outcomes,
        open_callbacks: ledger.open_callbacks,
    };
    let mut response = Json(body).into_response();
    if behind > 0 {
        response.headers_mut().insert(BEHIND, behind.into());
    }
    Ok(response)
}

impl House {
    /// Waits (a second at most) until the tables hold what the journal holds at this moment; the bytes still missing then.
    pub async fn catch_up(&self) -> Result<u64, Fault> {
        let wanted = self.state.engine.board().await?.journal.position;
        let mut folded = self.state.folded.clone();
        let whole = caught_up(&mut folded, wanted).await;
        Ok(if whole { 0 } else { wanted.saturating_sub(folded.borrow().position) })
    }

    /// The region asked for; `None` if none was.
    pub fn region(&self, code: Option<u16>) -> Result<Option<&Region>, Fault> {
        let Some(code) = code.map(RegionId) else { return Ok(None) };
        let known: Vec<_> = self.state.regions.iter().map(|region| region.code.0.to_string()).collect();
        let unknown = || Fault::not_found(format!("there is no region {code}"), format!("regions are: {}", known.join(", ")));
        self.state.regions.iter().find(|region| region.code == code).map(Some).ok_or_else(unknown)
    }

    /// Today in the region's zone, unless the question says otherwise.
    pub fn span(&self, region: Option<&Region>, from: Option<&str>, to: Option<&str>) -> Result<(Moment, Moment), Fault> {
        let zone = region.or(self.state.regions.first()).map_or(TimeZone::UTC, Region::time_zone);
        let span = span(self.state.clock.now(), &zone, from, to).map_err(|error| {
            let text = error.to_string();
            let (what, remedy) = text.split_once("; ").unwrap_or((&text, ""));
            Fault::invalid(what, remedy)
        })?;
        Ok((span.start, span.end))
    }
}
