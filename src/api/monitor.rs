//! For machines that watch: alive, ready, and figures in Prometheus' text form.

use super::House;
use super::fault::Fault;
use crate::call::view::Board;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use utoipa::ToSchema;

/// An engine that does not answer within this is not ready.
const PATIENCE: Duration = Duration::from_secs(2);

/// The process is alive.
#[utoipa::path(get, path = "/healthz", tag = "monitoring", security(()), responses((status = 200, description = "alive")))]
pub async fn healthz() -> &'static str {
    "ok\n"
}

#[derive(Serialize, ToSchema)]
pub struct Readiness {
    ready: bool,
    /// Why not.
    reasons: Vec<&'static str>,
    /// What fails without touching a call.
    warnings: Vec<&'static str>,
}

/// Tables that are behind for longer are worth a word.
const BEHIND_S: u64 = 10;

/// The line takes calls: the journal can be written, the trunks' sockets are bound, and the engine is not draining.
#[utoipa::path(get, path = "/readyz", tag = "monitoring", security(()),
    responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
pub async fn readyz(State(house): State<Arc<House>>) -> (StatusCode, Json<Readiness>) {
    let (mut reasons, mut warnings) = (Vec::new(), Vec::new());
    if !house.state.sockets_bound.load(Ordering::Relaxed) {
        reasons.push("the trunks' sockets are not bound");
    }
    match tokio::time::timeout(PATIENCE, house.board()).await {
        Ok(Ok(board)) => {
            if board.journal.failing {
                reasons.push("the journal cannot be written");
            }
            if board.draining {
                reasons.push("the engine is draining");
            }
            if board.around.database_away {
                warnings.push("the database is away, the tables fall behind");
            } else if board.journal.behind_s > BEHIND_S {
                warnings.push("the tables are behind the journal");
            }
            if board.around.disk_low() {
                warnings.push("a disk is nearly full");
            }
            if board.around.media_attached == Some(false) {
                warnings.push("the media process is not attached");
            }
        }
        Ok(Err(_)) | Err(_) => reasons.push("the engine does not answer"),
    }
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready: reasons.is_empty(), reasons, warnings }))
}

/// Figures of this moment, and of today by region.
#[utoipa::path(get, path = "/metrics", tag = "monitoring", security(()),
    responses((status = 200, description = "Prometheus text", content_type = "text/plain")))]
pub async fn metrics(State(house): State<Arc<House>>) -> Result<Response, Fault> {
    let mut text = figures(&house.board().await?);
    for (name, what, value) in house.state.recordings.counts().figures() {
        text.push_str(&format!("# HELP {name} {what}\n# TYPE {name} gauge\n{name} {value}\n"));
    }
    if let Some(counted) = &house.state.counted {
        text.push_str(&counted.render());
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

fn figures(board: &Board) -> String {
    let mut sheet = Sheet::default();
    for queue in &board.queues {
        let labels = [("queue", queue.queue.as_str())];
        sheet.line("dozvon_queue_waiting", "callers who wait", &labels, queue.waiting);
        sheet.line("dozvon_queue_offered", "callers for whom a phone rings", &labels, queue.offered);
        sheet.line("dozvon_queue_longest_wait_seconds", "wait of who waits longest", &labels, seconds(queue.longest_wait_ms));
        sheet.line("dozvon_queue_target_seconds", "target of the mean wait", &labels, seconds(queue.target_ms));
        sheet.line("dozvon_queue_ready_agents", "ready agents with its skills", &labels, queue.ready_agents);
        if let Some(estimate) = queue.wait_estimate_ms {
            sheet.line(
                "dozvon_queue_wait_estimate_seconds",
                "four of five who come now are answered within",
                &labels,
                seconds(estimate),
            );
        }
    }
    let mut agents: BTreeMap<&str, u32> =
        ["offline", "ready", "offered", "talking", "wrap_up", "on_break"].map(|state| (state, 0)).into();
    for agent in &board.agents {
        *agents.entry(&agent.state).or_default() += 1;
    }
    for (state, count) in agents {
        sheet.line("dozvon_agents", "agents by state", &[("state", state)], count);
    }
    sheet.line("dozvon_live_calls", "calls in the house", &[], board.live_calls);
    for region in &board.regions {
        let code = region.region.to_string();
        let labels = [("region", code.as_str())];
        sheet.line("dozvon_today_entered_calls", "calls entered since the region's midnight", &labels, region.entered);
        sheet.line("dozvon_open_callbacks", "people to be called back", &labels, region.open_callbacks);
        for (outcome, count) in &region.outcomes {
            let labels = [("region", code.as_str()), ("outcome", outcome.as_str())];
            sheet.line("dozvon_today_ended_calls", "calls entered since the region's midnight, by outcome", &labels, count);
        }
    }
    sheet.line("dozvon_journal_position_bytes", "journal written so far", &[], board.journal.position);
    sheet.line("dozvon_journal_behind_bytes", "how far the tables are behind", &[], board.journal.behind_bytes);
    sheet.line("dozvon_journal_behind_seconds", "how long they have been behind", &[], board.journal.behind_s);
    sheet.line("dozvon_journal_failing", "1: nothing is kept", &[], u8::from(board.journal.failing));
    sheet.line("dozvon_database_away", "1: the tables fall behind", &[], u8::from(board.around.database_away));
    if let Some(percent) = board.around.disk_free_percent {
        sheet.line("dozvon_disk_free_percent", "room on the fullest disk we write to", &[], percent);
    }
    if let Some(attached) = board.around.media_attached {
        sheet.line("dozvon_media_attached", "1: the media process is attached", &[], u8::from(attached));
    }
    for trunk in &board.trunks {
        let labels = [("trunk", trunk.trunk.as_str())];
        sheet.line("dozvon_trunk_reachable", "1: the trunk answers", &labels, u8::from(trunk.reachable));
        sheet.line("dozvon_trunk_live_calls", "calls over the trunk", &labels, trunk.live);
        sheet.line("dozvon_trunk_channels", "contracted channels, 0: no limit", &labels, trunk.channels);
    }
    sheet.line("dozvon_draining", "1: new calls are refused", &[], u8::from(board.draining));
    sheet.line("dozvon_build_info", "always 1", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    sheet.text()
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// Lines by metric, since all lines of one metric must stand together.
#[derive(Default)]
struct Sheet(BTreeMap<&'static str, (&'static str, String)>);

impl Sheet {
    fn line(&mut self, name: &'static str, help: &'static str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let (_, lines) = self.0.entry(name).or_insert_with(|| (help, String::new()));
        let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escape(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(lines, "{name}{labels} {value}");
    }

    fn text(self) -> String {
        let metrics = self.0.into_iter();
        metrics.map(|(name, (help, lines))| format!("# HELP {name} {help}\n# TYPE {name} gauge\n{lines}")).collect()
    }
}
