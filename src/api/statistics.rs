//! The figures by which lines are compared, over the calls that entered in a span of time.

use super::House;
use super::fault::{Asked, ErrorBody, Fault};
use crate::clock::Moment;
use crate::store::statistics::{AgentTimes, HEARD_WITHIN, QueueVisits, together};
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// A threshold of the service level that nothing else was asked for.
const WITHIN_S: u32 = 20;
/// Every change of an agent in the span is read: more than a month would be a burden on the line's own tables.
const LONGEST_SPAN: Duration = Duration::from_secs(31 * 86_400 + 3_600);

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StatisticsQuery {
    region: Option<u16>,
    /// As for the ledger; left out: today. A month at most.
    from: Option<String>,
    to: Option<String>,
    /// Threshold of the service level in seconds, 1 to 3600 (default 20).
    within_s: Option<u32>,
}

/// Shares are between 0 and 1; `null` where nobody is to be counted.
#[derive(Serialize, ToSchema)]
pub struct StatisticsBody {
    within_s: u32,
    all: VisitsBody,
    queues: BTreeMap<String, VisitsBody>,
    /// Talks that have ended.
    talks: u64,
    talk_s: f64,
    /// Mean of talk and wrap-up (AHT).
    handle_time_s: Option<f64>,
    /// Share of the time on duty, breaks left out, in which agents were rung, talking or wrapping up.
    occupancy: Option<f64>,
    agents: AgentTimesBody,
}

/// Visits to a queue: a call may have several.
#[derive(Serialize, ToSchema)]
pub struct VisitsBody {
    offered: u64,
    answered: u64,
    answered_within: u64,
    abandoned: u64,
    abandoned_within: u64,
    waiting: u64,
    /// Answered within / answered.
    service_level_of_answered: Option<f64>,
    /// Answered within / (answered + abandoned).
    service_level_of_offered: Option<f64>,
    /// Answered within / (answered + abandoned − abandoned within).
    service_level_without_short_abandons: Option<f64>,
    /// Mean wait of those answered (ASA).
    speed_of_answer_s: Option<f64>,
    /// Abandoned / (answered + abandoned).
    abandoned_share: Option<f64>,
}

/// All agents together, in seconds.
#[derive(Serialize, ToSchema)]
pub struct AgentTimesBody {
    ready_s: f64,
    offered_s: f64,
    talking_s: f64,
    wrap_up_s: f64,
    on_break_s: f64,
}

/// Service level in its three forms, speed of answer, handle time, abandonment and occupancy.
#[utoipa::path(get, path = "/api/v1/report/statistics", tag = "ledger", params(StatisticsQuery),
    responses((status = 200, body = StatisticsBody), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn statistics(
    State(house): State<Arc<House>>,
    Asked(query): Asked<StatisticsQuery>,
) -> Result<Json<StatisticsBody>, Fault> {
    let region = house.region(query.region)?;
    let (from, to) = house.span(region, query.from.as_deref(), query.to.as_deref())?;
    if to.since(from) > LONGEST_SPAN {
        return Err(Fault::invalid("a report spans a month at most", "ask for 31 days or fewer"));
    }
    let within_s = query.within_s.unwrap_or(WITHIN_S);
    if !(1..=3_600).contains(&within_s) {
        return Err(Fault::invalid(format!("{within_s} s is no threshold"), "within_s is 1 to 3600"));
    }
    house.catch_up().await?;
    let (store, code) = (&house.state.store, region.map(|region| region.code));
    let queues = store.queue_visits(code, from, to, Duration::from_secs(u64::from(within_s))).await?;
    let talks = store.talks(code, from, to).await?;
    let changes = store.agent_changes(code, Moment(from.0.saturating_sub(HEARD_WITHIN.as_micros() as u64)), to).await?;
    let times = AgentTimes::of(&changes, from, to.min(house.state.clock.now()));
    Ok(Json(StatisticsBody {
        within_s,
        all: (&together(&queues)).into(),
        queues: queues.iter().map(|(queue, visits)| (queue.to_string(), visits.into())).collect(),
        talks: talks.talks,
        talk_s: talks.talked.as_secs_f64(),
        handle_time_s: times.handle_time_s(talks),
        occupancy: times.occupancy(),
        agents: times.into(),
    }))
}

impl From<&QueueVisits> for VisitsBody {
    fn from(visits: &QueueVisits) -> Self {
        Self {
            offered: visits.offered,
            answered: visits.answered,
            answered_within: visits.answered_within,
            abandoned: visits.abandoned,
            abandoned_within: visits.abandoned_within,
            waiting: visits.waiting,
            service_level_of_answered: visits.service_level_of_answered(),
            service_level_of_offered: visits.service_level_of_offered(),
            service_level_without_short_abandons: visits.service_level_without_short_abandons(),
            speed_of_answer_s: visits.speed_of_answer_s(),
            abandoned_share: visits.abandoned_share(),
        }
    }
}

impl From<AgentTimes> for AgentTimesBody {
    fn from(times: AgentTimes) -> Self {
        Self {
            ready_s: times.ready.as_secs_f64(),
            offered_s: times.offered.as_secs_f64(),
            talking_s: times.talking.as_secs_f64(),
            wrap_up_s: times.wrap_up.as_secs_f64(),
            on_break_s: times.on_break.as_secs_f64(),
        }
    }
}
