//! What is asked of the running engine: the board, what agents do, who takes a callback, reload and drain.

use super::House;
use super::fault::{ErrorBody, Fault, Told};
use crate::call::request::{AgentWish, Order, Request};
use crate::call::view::{Agent, Board};
use crate::facts::{AttemptEnd, TaskEnd};
use crate::ids::*;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// Longest reason of a break, in bytes; it stands in every picture of the board.
const MAX_REASON: usize = 100;

/// The whole floor at this moment.
#[utoipa::path(get, path = "/api/v1/board", tag = "floor",
    responses((status = 200, body = Board), (status = 401, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub async fn board(State(house): State<Arc<House>>) -> Result<Json<Board>, Fault> {
    Ok(Json(house.board().await?))
}

#[derive(Serialize, ToSchema)]
pub struct AgentList {
    agents: Vec<Agent>,
}

/// Every agent with what they do.
#[utoipa::path(get, path = "/api/v1/agents", tag = "floor", responses((status = 200, body = AgentList)))]
pub async fn agents(State(house): State<Arc<House>>) -> Result<Json<AgentList>, Fault> {
    Ok(Json(AgentList { agents: house.state.engine.board().await?.agents }))
}

/// One agent.
#[utoipa::path(get, path = "/api/v1/agents/{user}", tag = "floor", params(("user" = String, Path)),
    responses((status = 200, body = Agent), (status = 404, body = ErrorBody)))]
pub async fn agent(State(house): State<Arc<House>>, Path(user): Path<String>) -> Result<Json<Agent>, Fault> {
    let agent = house.state.engine.board().await?.agents.into_iter().find(|agent| agent.agent == user);
    let unknown = || Fault::not_found(format!("there is no agent {user}"), "see /api/v1/agents for who there is");
    agent.map(Json).ok_or_else(unknown)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StateBody {
    state: Wish,
    /// Of a break.
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Wish {
    Ready,
    Break,
    Offline,
}

/// The agent becomes ready, takes a break (after the talk, if there is one) or leaves.
#[utoipa::path(post, path = "/api/v1/agents/{user}/state", tag = "floor", params(("user" = String, Path)), request_body = StateBody,
    responses((status = 204), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn agent_state(
    State(house): State<Arc<House>>,
    Path(user): Path<String>,
    Told(body): Told<StateBody>,
) -> Result<StatusCode, Fault> {
    if body.reason.len() > MAX_REASON {
        return Err(Fault::invalid("the reason is too long", format!("keep it under {MAX_REASON} bytes")));
    }
    let wish = match body.state {
        Wish::Ready => AgentWish::Ready,
        Wish::Break => AgentWish::Break { reason: body.reason },
        Wish::Offline => AgentWish::Offline,
    };
    let agent = AgentId::from(user.as_str());
    house.done(|reply| Request::AgentState { agent, wish, reply }).await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OverrideBody {
    state: Wish,
    /// Of a break.
    #[serde(default)]
    reason: String,
    /// Who says so.
    by: String,
    why: String,
}

/// A supervisor's word over an agent: at once, or after a talk; a phone that rings stops, a wrap-up or a pause ends. Until it has
/// come true the agent's own wishes are refused, after that they count again; no registration of the phone undoes it.
#[utoipa::path(post, path = "/api/v1/agents/{user}/override", tag = "floor", params(("user" = String, Path)),
    request_body = OverrideBody, responses((status = 204), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn agent_override(
    State(house): State<Arc<House>>,
    Path(user): Path<String>,
    Told(body): Told<OverrideBody>,
) -> Result<StatusCode, Fault> {
    for (key, text) in [("reason", &body.reason), ("by", &body.by), ("why", &body.why)] {
        if text.len() > MAX_REASON {
            return Err(Fault::invalid(format!("`{key}` is too long"), format!("keep it under {MAX_REASON} bytes")));
        }
        if text.trim().is_empty() && key != "reason" {
            return Err(Fault::invalid(format!("`{key}` is empty"), "who overrides an agent says who they are, and why"));
        }
    }
    let order = match body.state {
        Wish::Ready => Order::Ready,
        Wish::Break => Order::Break { reason: body.reason },
        Wish::Offline => Order::Offline,
    };
    let (agent, by, why) = (AgentId::from(user.as_str()), body.by, body.why);
    house.done(|reply| Request::AgentOverride { agent, order, by, why, reply }).await
}

/// The agent is done with the wrap-up before its time.
#[utoipa::path(post, path = "/api/v1/agents/{user}/wrap-up/finish", tag = "floor", params(("user" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn wrap_up_finish(State(house): State<Arc<House>>, Path(user): Path<String>) -> Result<StatusCode, Fault> {
    let agent = AgentId::from(user.as_str());
    house.done(|reply| Request::AgentState { agent, wish: AgentWish::FinishWrapUp, reply }).await
}

/// The agent asks for more time after the talk; so much, and so long at most, as the queue allows.
#[utoipa::path(post, path = "/api/v1/agents/{user}/wrap-up/extend", tag = "floor", params(("user" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn wrap_up_extend(State(house): State<Arc<House>>, Path(user): Path<String>) -> Result<StatusCode, Fault> {
    let agent = AgentId::from(user.as_str());
    house.done(|reply| Request::AgentState { agent, wish: AgentWish::ExtendWrapUp, reply }).await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WrapUpCodeBody {
    /// One of the queue's `wrap_up_codes`.
    code: String,
}

/// What came of the agent's talk: the one that goes on, or else the last one.
#[utoipa::path(post, path = "/api/v1/agents/{user}/wrap-up/code", tag = "floor", params(("user" = String, Path)),
    request_body = WrapUpCodeBody, responses((status = 204), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn wrap_up_code(
    State(house): State<Arc<House>>,
    Path(user): Path<String>,
    Told(body): Told<WrapUpCodeBody>,
) -> Result<StatusCode, Fault> {
    let (agent, wish) = (AgentId::from(user.as_str()), AgentWish::Code { code: body.code });
    house.done(|reply| Request::AgentState { agent, wish, reply }).await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferBody {
    /// Name of a `[[route]]` in the configuration.
    route: Option<String>,
    /// Name of a `[[queue]]`.
    queue: Option<String>,
}

/// The agent hands the talk to a route out of the house, or to another queue, where the citizen comes first.
#[utoipa::path(post, path = "/api/v1/agents/{user}/transfer", tag = "floor", params(("user" = String, Path)),
    request_body = TransferBody, responses((status = 204), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn transfer(
    State(house): State<Arc<House>>,
    Path(user): Path<String>,
    Told(body): Told<TransferBody>,
) -> Result<StatusCode, Fault> {
    let agent = AgentId::from(user.as_str());
    match (body.route, body.queue) {
        (Some(route), None) => house.done(|reply| Request::Transfer { agent, route: RouteId::from(route.as_str()), reply }).await,
        (None, Some(queue)) => house.done(|reply| Request::HandOn { agent, queue: QueueId::from(queue.as_str()), reply }).await,
        (Some(_), Some(_)) | (None, None) => Err(Fault::invalid("a talk goes to one place", "name either `route` or `queue`")),
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordingBody {
    paused: bool,
}

/// Pauses the recording of the agent's talk, or goes on with it.
#[utoipa::path(post, path = "/api/v1/agents/{user}/recording", tag = "floor", params(("user" = String, Path)),
    request_body = RecordingBody, responses((status = 204), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn recording(
    State(house): State<Arc<House>>,
    Path(user): Path<String>,
    Told(body): Told<RecordingBody>,
) -> Result<StatusCode, Fault> {
    let agent = AgentId::from(user.as_str());
    house.done(|reply| Request::PauseRecording { agent, paused: body.paused, reply }).await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TakeBody {
    /// User name of the agent who calls back.
    agent: String,
}

#[derive(Serialize, ToSchema)]
pub struct TakenBody {
    /// The number to dial; only the taker is told. `null` if it was erased.
    phone: Option<String>,
}

/// An agent takes the callback in hand and is told the number.
#[utoipa::path(post, path = "/api/v1/callbacks/{task}/take", tag = "callbacks", params(("task" = String, Path)),
    request_body = TakeBody, responses((status = 200, body = TakenBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn callback_take(
    State(house): State<Arc<House>>,
    Path(task): Path<String>,
    Told(body): Told<TakeBody>,
) -> Result<Json<TakenBody>, Fault> {
    let (task, agent) = (read_task(&task)?, AgentId::from(body.agent.as_str()));
    house.done(|reply| Request::TaskTaken { task, agent, reply }).await?;
    tracing::info!(%task, agent = body.agent, "callback taken: the agent was told the number");
    let row = house.state.store.callback(task).await?;
    Ok(Json(TakenBody { phone: row.and_then(|row| row.phone).map(|phone| phone.expose().to_owned()) }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseBody {
    how: Closing,
}

/// `got_through` is not among them: the engine sees that by itself.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Closing {
    Reached,
    AttemptsEnded,
    ClosedByHand,
    WrongNumber,
}

/// The callback is done.
#[utoipa::path(post, path = "/api/v1/callbacks/{task}/close", tag = "callbacks", params(("task" = String, Path)),
    request_body = CloseBody, responses((status = 204), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn callback_close(
    State(house): State<Arc<House>>,
    Path(task): Path<String>,
    Told(body): Told<CloseBody>,
) -> Result<StatusCode, Fault> {
    let task = read_task(&task)?;
    let how = match body.how {
        Closing::Reached => TaskEnd::Reached,
        Closing::AttemptsEnded => TaskEnd::AttemptsEnded,
        Closing::ClosedByHand => TaskEnd::ClosedByHand,
        Closing::WrongNumber => TaskEnd::WrongNumber,
    };
    house.done(|reply| Request::TaskClosed { task, how, reply }).await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TriedBody {
    end: Tried,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Tried {
    Busy,
    NoAnswer,
    Failed,
    Voicemail,
}

/// Whoever took the callback, or talks with whom the engine called, reached nobody: the next attempt follows the rules.
#[utoipa::path(post, path = "/api/v1/callbacks/{task}/tried", tag = "callbacks", params(("task" = String, Path)),
    request_body = TriedBody, responses((status = 204), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn callback_tried(
    State(house): State<Arc<House>>,
    Path(task): Path<String>,
    Told(body): Told<TriedBody>,
) -> Result<StatusCode, Fault> {
    let task = read_task(&task)?;
    let end = match body.end {
        Tried::Busy => AttemptEnd::Busy,
        Tried::NoAnswer => AttemptEnd::NoAnswer,
        Tried::Failed => AttemptEnd::Failed,
        Tried::Voicemail => AttemptEnd::Voicemail,
    };
    house.done(|reply| Request::TaskTried { task, end, reply }).await
}

/// Reads configuration and scripts again. With a mistake in them nothing changes and the answer names it.
#[utoipa::path(post, path = "/api/v1/reload", tag = "engine", responses((status = 204), (status = 409, body = ErrorBody)))]
pub async fn reload(State(house): State<Arc<House>>) -> Result<StatusCode, Fault> {
    house.done(Request::Reload).await
}

/// New calls are refused from here on, talks go on to their end, then the engine stops.
#[utoipa::path(post, path = "/api/v1/drain", tag = "engine", responses((status = 202), (status = 503, body = ErrorBody)))]
pub async fn drain(State(house): State<Arc<House>>) -> Result<StatusCode, Fault> {
    let sent = house.state.engine.requests.send(Request::Drain).await;
    sent.map(|()| StatusCode::ACCEPTED).map_err(|_| crate::call::request::Refusal::Busy.into())
}

impl House {
    async fn done(&self, request: impl FnOnce(crate::call::request::Reply) -> Request) -> Result<StatusCode, Fault> {
        self.state.engine.ask(request).await?;
        Ok(StatusCode::NO_CONTENT)
    }
}

/// `task17`, as the list shows it.
fn read_task(text: &str) -> Result<TaskId, Fault> {
    let wrong = |_| Fault::invalid(format!("`{text}` is no callback"), "take the `task` of /api/v1/callbacks, such as task17");
    text.strip_prefix("task").unwrap_or(text).parse().map(TaskId).map_err(wrong)
}
