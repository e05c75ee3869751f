//! HTTP and server-sent events for people and monitoring: routes, who may come in, and the document that describes them.
//!
//! Architecture invariant: no type of another room goes on the wire as it is, except the picture of the board, which is made for it.

mod events;
mod fault;
mod floor;
mod ledger;
mod monitor;
mod page;
mod people;
mod recordings;
mod records;
mod standby;
mod statistics;
mod words;

use crate::call::request::{Engine, Refusal};
use crate::call::view::Board;
use crate::clock::Clock;
use crate::config::{Region, Secret};
use crate::recordings::Shelf;
use crate::store::Store;
use crate::store::writer::Folded;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{delete, get, post};
use fault::Fault;
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use utoipa::OpenApi;

/// What the API stands on. Regions, token and folders are those of the start; a reload changes none of them.
#[derive(Clone)]
pub struct ApiState {
    pub engine: Engine,
    pub store: Arc<dyn Store>,
    /// How far the tables are.
    pub folded: tokio::sync::watch::Receiver<Folded>,
    pub clock: Clock,
    /// At least one; "today" is meant in the zone of the region asked for, else of the first.
    pub regions: Vec<Region>,
    /// `None`: everybody may come in.
    pub token: Option<Secret>,
    /// The data folder, and how far its journal is written.
    pub data: PathBuf,
    pub committed: tokio::sync::watch::Receiver<u64>,
    /// Of a warm standby; `None`: nothing is given to one.
    pub standby_token: Option<Secret>,
    pub recordings: Shelf,
    /// The embedded booking core, if it is in use.
    pub core: Option<Arc<dyn CoreBook>>,
    /// True once the trunks' sockets are bound.
    pub sockets_bound: Arc<AtomicBool>,
    /// Room on the fullest disk we write to, in percent, as it changes.
    pub disk_free_percent: tokio::sync::watch::Receiver<Option<u8>>,
    /// What the rooms count by themselves, shown after our own metrics.
    pub counted: Option<metrics_exporter_prometheus::PrometheusHandle>,
}

/// What the embedded booking core shows of itself, newest first.
#[async_trait::async_trait]
pub trait CoreBook: Send + Sync {
    async fn handoffs(&self, limit: u32) -> Result<Vec<CoreHandoff>, String>;
    /// Erases a person's number; the cases stay.
    async fn forget(&self, person: crate::ids::PersonId) -> Result<(), String>;
}

/// One case as the core has it.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct CoreHandoff {
    /// The hand-off's id: the idempotency key.
    pub handoff: String,
    pub call: String,
    /// The core's own reference.
    pub reference: String,
    /// accepted, booked, waitlisted, refused
    pub status: String,
    pub theme: Option<String>,
}

/// Answers until `until` comes true.
pub async fn serve(
    listener: tokio::net::TcpListener,
    state: ApiState,
    until: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(state)).with_graceful_shutdown(until).await
}

/// Everything under one roof. Must be called within a tokio runtime: the pictures for `/events` are made by a task of their own,
/// which ends with the router.
pub fn router(state: ApiState) -> Router {
    let house = Arc::new(House { pictures: events::Pictures::default(), state });
    events::Pictures::keep(&house);
    let api = Router::new()
        .route("/api/v1/ledger", get(ledger::ledger))
        .route("/api/v1/report/statistics", get(statistics::statistics))
        .route("/api/v1/board", get(floor::board))
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/calls", get(records::calls))
        .route("/api/v1/calls/{call}", get(records::call))
        .route("/api/v1/callbacks", get(records::callbacks))
        .route("/api/v1/callbacks/{task}/take", post(floor::callback_take))
        .route("/api/v1/callbacks/{task}/close", post(floor::callback_close))
        .route("/api/v1/callbacks/{task}/tried", post(floor::callback_tried))
        .route("/api/v1/agents", get(floor::agents))
        .route("/api/v1/agents/{user}", get(floor::agent))
        .route("/api/v1/agents/{user}/state", post(floor::agent_state))
        .route("/api/v1/agents/{user}/override", post(floor::agent_override))
        .route("/api/v1/agents/{user}/wrap-up/finish", post(floor::wrap_up_finish))
        .route("/api/v1/agents/{user}/wrap-up/extend", post(floor::wrap_up_extend))
        .route("/api/v1/agents/{user}/wrap-up/code", post(floor::wrap_up_code))
        .route("/api/v1/agents/{user}/transfer", post(floor::transfer))
        .route("/api/v1/agents/{user}/recording", post(floor::recording))
        .route("/api/v1/recordings/{call}", get(recordings::recording))
        .route("/api/v1/people", delete(people::forget_phone))
        .route("/api/v1/people/{person}", delete(people::forget))
        .route("/api/v1/core/handoffs", get(records::core_handoffs))
        .route("/api/v1/reload", post(floor::reload))
        .route("/api/v1/drain", post(floor::drain))
        .route("/api/openapi.json", get(openapi))
        .layer(middleware::from_fn_with_state(house.clone(), let_in));
    // With a token of their own.
    let standby = Router::new()
        .route("/api/v1/standby/files", get(standby::files))
        .route("/api/v1/standby/days", get(standby::recorded_days))
        .route("/api/v1/standby/file", get(standby::file))
        .route("/api/v1/standby/tables", get(standby::tables));
    Router::new()
        .merge(api)
        .merge(standby)
        .route("/", get(page::board))
        .route("/healthz", get(monitor::healthz))
        .route("/readyz", get(monitor::readyz))
        .route("/metrics", get(monitor::metrics))
        .fallback(Fault::no_such_path)
        .method_not_allowed_fallback(Fault::wrong_method)
        .with_state(house)
}

struct House {
    state: ApiState,
    pictures: events::Pictures,
}

impl House {
    /// The engine's picture, with what it does not know itself.
    async fn board(&self) -> Result<Board, Refusal> {
        let mut board = self.state.engine.board().await?;
        board.around.database_away = self.state.folded.borrow().failing;
        board.around.disk_free_percent = *self.state.disk_free_percent.borrow();
        Ok(board)
    }
}

/// Only who knows the token comes in.
async fn let_in(State(house): State<Arc<House>>, request: Request, next: Next) -> Result<Response, Fault> {
    if let Some(token) = &house.state.token {
        let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.strip_prefix("Bearer "));
        if !shown.is_some_and(|shown| same(shown, token.expose())) {
            return Err(Fault::unauthorized());
        }
    }
    Ok(next.run(request).await)
}

/// Compares digests in constant time, so that the time of the answer tells nothing of the token.
fn same(a: &str, b: &str) -> bool {
    let (a, b) = (Sha256::digest(a), Sha256::digest(b));
    a.iter().zip(b.iter()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "monitoring", responses((status = 200, description = "OpenAPI 3.1")))]
async fn openapi() -> axum::Json<utoipa::openapi::OpenApi> {
    axum::Json(document())
}

/// The description of every route.
pub fn document() -> utoipa::openapi::OpenApi {
    use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
    let mut document = Document::openapi();
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document.components.get_or_insert_default().security_schemes.insert("bearer".to_owned(), utoipa::openapi::RefOr::T(bearer));
    document.security = Some(vec![SecurityRequirement::new("bearer", Vec::<String>::new())]);
    document
}

#[derive(OpenApi)]
#[openapi(
    info(title = "dozvon", description = "The engine of a health line. Errors are `{\"error\", \"remedy\"}`."),
    paths(
        ledger::ledger,
        statistics::statistics,
        floor::board,
        events::events,
        records::calls,
        records::call,
        records::callbacks,
        floor::callback_take,
        floor::callback_close,
        floor::callback_tried,
        floor::agents,
        floor::agent,
        floor::agent_state,
        floor::agent_override,
        floor::wrap_up_finish,
        floor::wrap_up_extend,
        floor::wrap_up_code,
        floor::transfer,
        floor::recording,
        recordings::recording,
        people::forget,
        people::forget_phone,
        records::core_handoffs,
        floor::reload,
        floor::drain,
        standby::files,
        standby::recorded_days,
        standby::file,
        standby::tables,
        openapi,
        page::board,
        monitor::healthz,
        monitor::readyz,
        monitor::metrics,
    )
)]
struct Document;
