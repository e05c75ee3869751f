//! What is asked of the tables: calls, one call with all its steps, who is to be called back, what the booking core has.

use super::fault::{Asked, ErrorBody, Fault};
use super::words::{CallBody, CallDetailBody, CallbackBody};
use super::{CoreHandoff, House};
use crate::call::request::{Refusal, Request};
use crate::call::view::Callback;
use crate::clock::Moment;
use crate::facts::Outcome;
use crate::ids::*;
use crate::store::{CallFilter, CallbackFilter, CallbackRow, PAGE_MAX, Page};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;
use utoipa::{IntoParams, ToSchema};

/// Rows of a page unless the question says otherwise.
const PAGE: u32 = 100;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CallsQuery {
    region: Option<u16>,
    /// As for the ledger; left out: today.
    from: Option<String>,
    to: Option<String>,
    outcome: Option<String>,
    queue: Option<String>,
    agent: Option<String>,
    person: Option<String>,
    /// At most 500 (default 100).
    limit: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct CallList {
    calls: Vec<CallBody>,
    /// Give it as `after` for the next page; `null` at the end.
    next: Option<String>,
}

/// Calls that entered in a span of time, newest first.
#[utoipa::path(get, path = "/api/v1/calls", tag = "records", params(CallsQuery),
    responses((status = 200, body = CallList), (status = 400, body = ErrorBody)))]
pub async fn calls(State(house): State<Arc<House>>, Asked(query): Asked<CallsQuery>) -> Result<Json<CallList>, Fault> {
    let region = house.region(query.region)?;
    let (from, to) = house.span(region, query.from.as_deref(), query.to.as_deref())?;
    let filter = CallFilter {
        region: region.map(|region| region.code),
        from: Some(from),
        to: Some(to),
        outcome: query.outcome.as_deref().map(read_outcome).transpose()?,
        queue: query.queue.as_deref().map(QueueId::from),
        agent: query.agent.as_deref().map(AgentId::from),
        person: query.person.as_deref().map(|person| person.parse().map_err(|_| unclear("person"))).transpose()?,
    };
    let page = read_page(query.limit, query.after.as_deref(), |id| id.parse().ok())?;
    let rows = house.state.store.calls(&filter, &page).await?;
    let next = next(&rows, page.limit, |row| (row.entered, row.call.to_string()));
    Ok(Json(CallList { calls: rows.into_iter().map(CallBody::from).collect(), next }))
}

/// One call with all its steps.
#[utoipa::path(get, path = "/api/v1/calls/{call}", tag = "records", params(("call" = String, Path)),
    responses((status = 200, body = CallDetailBody), (status = 404, body = ErrorBody)))]
pub async fn call(State(house): State<Arc<House>>, Path(call): Path<String>) -> Result<Json<CallDetailBody>, Fault> {
    let detail = house.state.store.call(read_call(&call)?).await?;
    let unknown = || Fault::not_found(format!("there is no call {call}"), "see /api/v1/calls; the newest are a moment behind");
    detail.map(|detail| Json(detail.into())).ok_or_else(unknown)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CallbacksQuery {
    region: Option<u16>,
    /// `true`: closed ones too.
    #[serde(default)]
    all: bool,
    /// At most 500 (default 100).
    limit: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct CallbackList {
    callbacks: Vec<CallbackBody>,
    next: Option<String>,
}

/// Who is to be called back, oldest first.
#[utoipa::path(get, path = "/api/v1/callbacks", tag = "callbacks", params(CallbacksQuery),
    responses((status = 200, body = CallbackList), (status = 400, body = ErrorBody)))]
pub async fn callbacks(
    State(house): State<Arc<House>>,
    Asked(query): Asked<CallbacksQuery>,
) -> Result<Json<CallbackList>, Fault> {
    let region = house.region(query.region)?.map(|region| region.code);
    let filter = CallbackFilter { region, open_only: !query.all, person: None };
    let page = read_page(query.limit, query.after.as_deref(), |id| id.parse().ok().map(TaskId))?;
    house.catch_up().await?;
    let rows = house.state.store.callbacks(&filter, &page).await?;
    let next = next(&rows, page.limit, |row| (row.opened, row.task.0.to_string()));
    let (reply, views) = oneshot::channel();
    house.state.engine.requests.send(Request::OpenCallbacks(reply)).await.map_err(|_| Refusal::Busy)?;
    let views: BTreeMap<TaskId, Callback> =
        views.await.map_err(|_| Refusal::Busy)?.into_iter().map(|view| (view.task, view)).collect();
    let body = |row: CallbackRow| {
        let view = views.get(&row.task);
        CallbackBody::from(row).standing(view)
    };
    Ok(Json(CallbackList { callbacks: rows.into_iter().map(body).collect(), next }))
}

#[derive(Serialize, ToSchema)]
pub struct CoreHandoffList {
    handoffs: Vec<CoreHandoff>,
}

/// The cases that the embedded booking core holds, newest first.
#[utoipa::path(get, path = "/api/v1/core/handoffs", tag = "booking",
    responses((status = 200, body = CoreHandoffList), (status = 404, body = ErrorBody)))]
pub async fn core_handoffs(State(house): State<Arc<House>>) -> Result<Json<CoreHandoffList>, Fault> {
    let absent = || Fault::not_found("there is no embedded booking core", "set `kind = \"reference\"` in [booking] for trials");
    let core = house.state.core.as_ref().ok_or_else(absent)?;
    let broken = |why| Fault::new(StatusCode::SERVICE_UNAVAILABLE, why, "ask again in a second");
    Ok(Json(CoreHandoffList { handoffs: core.handoffs(PAGE_MAX).await.map_err(broken)? }))
}

pub fn read_call(text: &str) -> Result<CallId, Fault> {
    text.parse().map_err(|_| Fault::invalid(format!("`{text}` is no call"), "take the `call` of /api/v1/calls, a UUID"))
}

fn read_outcome(text: &str) -> Result<Outcome, Fault> {
    let words = || Outcome::ALL.map(Outcome::as_str).join(", ");
    let unknown = || Fault::invalid(format!("`{text}` is no outcome"), format!("outcomes are: {}", words()));
    Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == text).ok_or_else(unknown)
}

/// `after` is `microseconds:id`, as [`next`] wrote it.
fn read_page<Id>(limit: Option<u32>, after: Option<&str>, id: impl Fn(&str) -> Option<Id>) -> Result<Page<(Moment, Id)>, Fault> {
    let limit = limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Fault::invalid(format!("a page of {limit} rows is not given"), format!("ask for 1 to {PAGE_MAX}")));
    }
    let key = |text: &str| {
        let (at, text) = text.split_once(':')?;
        Some((Moment(at.parse().ok()?), id(text)?))
    };
    let after = after.map(|text| key(text).ok_or_else(|| unclear("after"))).transpose()?;
    Ok(Page { after, limit })
}

fn next<Row>(rows: &[Row], limit: u32, key: impl Fn(&Row) -> (Moment, String)) -> Option<String> {
    let full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    rows.last().filter(|_| full).map(key).map(|(at, id)| format!("{}:{id}", at.0))
}

fn unclear(key: &str) -> Fault {
    Fault::invalid(format!("`{key}` is unclear"), "take it as an earlier answer gave it")
}
