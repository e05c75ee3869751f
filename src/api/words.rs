//! Rows of the tables in the words of the wire: times in RFC 3339 UTC, ids as text, people without their numbers.

use crate::call::view::Callback;
use crate::clock::Moment;
use crate::facts::HandoffResult;
use crate::store::{self, CallDetail, CallRow, CallbackRow};
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub struct CallBody {
    pub call: String,
    pub region: u16,
    pub trunk: String,
    pub dialled: String,
    /// The same for each call of one person; tells nobody the number.
    pub person: Option<String>,
    pub entered: String,
    pub answered: Option<String>,
    pub script: Option<String>,
    /// Of the script with which the call began.
    pub script_version: Option<u32>,
    pub theme: Option<String>,
    pub queue: Option<String>,
    pub urgent: bool,
    pub queue_entered: Option<String>,
    pub first_offer: Option<String>,
    pub talk_started: Option<String>,
    pub talk_ended: Option<String>,
    pub agent: Option<String>,
    pub recorded: bool,
    /// `null` while the call is live.
    pub ended: Option<String>,
    pub outcome: Option<String>,
    /// Missed, and without a number to call back.
    pub unreachable: bool,
    /// Of a call that goes out, the task it is for; such calls are not in the ledger.
    pub callback: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct CallDetailBody {
    #[serde(flatten)]
    pub call: CallBody,
    pub visits: Vec<StepBody>,
    pub offers: Vec<StepBody>,
    pub talks: Vec<StepBody>,
    /// What agents said came of their talks; the last word of each counts.
    pub codes: Vec<CodeBody>,
    pub routes: Vec<StepBody>,
    pub recordings: Vec<RecordingBody>,
    pub handoffs: Vec<HandoffBody>,
}

/// One stay in a queue, offer, talk or route.
#[derive(Default, Serialize, ToSchema)]
pub struct StepBody {
    pub queue: Option<String>,
    pub agent: Option<String>,
    pub route: Option<String>,
    pub trunk: Option<String>,
    pub began: String,
    pub ended: Option<String>,
    /// How it ended, or who ended it.
    pub end: Option<String>,
    /// Why this agent was offered the call.
    pub why: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct RecordingBody {
    pub started: String,
    pub ended: Option<String>,
    pub ms: Option<u64>,
    /// Places where audio is missing.
    pub gaps: Option<u32>,
    /// Why it could not be written on, if so: a full disk.
    pub failed: Option<String>,
    /// When it was packed to Opus and sealed.
    pub packed: Option<String>,
    /// Of the sealed file.
    pub bytes: Option<u64>,
    pub sha256: Option<String>,
    /// Where the archive has it.
    pub archived: Option<String>,
    /// Why the archive did not take it.
    pub not_archived: Option<String>,
    /// Why it is deleted: retention, missing.
    pub deleted: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct HandoffBody {
    pub handoff: String,
    pub theme: Option<String>,
    pub requested: String,
    pub settled: Option<String>,
    /// accepted, booked, waitlisted, refused
    pub result: Option<String>,
    pub reference: Option<String>,
    pub reason: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct CodeBody {
    pub agent: String,
    pub queue: String,
    pub at: String,
    pub code: String,
    /// As the code was called then.
    pub title: String,
}

#[derive(Serialize, ToSchema)]
pub struct CallbackBody {
    pub task: String,
    pub region: u16,
    pub person: String,
    /// Masked; whoever takes the task is told the number.
    pub phone: Option<String>,
    /// The first missed call and its outcome.
    pub call: String,
    pub outcome: String,
    pub opened: String,
    /// How often the person was missed.
    pub misses: u32,
    pub last_missed: String,
    pub taken: Option<String>,
    pub taken_by: Option<String>,
    pub closed: Option<String>,
    pub how: Option<String>,
    /// What the call was about that was missed last, and where it waited.
    pub theme: Option<String>,
    pub queue: Option<String>,
    /// What the person chose: place, later; and by when they were promised the call.
    pub booking: Option<String>,
    pub promised: Option<String>,
    /// How often they were dialled; when the last time, and how it ended.
    pub attempts: u32,
    pub last_attempt: Option<String>,
    pub last_end: Option<String>,
    /// Of an open one: listed, on_the_line, resting, due, waiting, calling, talking.
    pub standing: Option<String>,
    /// When it is looked at again, while it rests.
    pub next_attempt: Option<String>,
}

impl CallbackBody {
    /// What only the engine knows.
    pub fn standing(self, view: Option<&Callback>) -> Self {
        let promised = view.and_then(|view| view.promised).map(time);
        Self {
            standing: view.map(|view| view.standing.to_owned()),
            next_attempt: view.and_then(|view| view.next_attempt).map(time),
            promised: promised.or(self.promised),
            ..self
        }
    }
}

impl From<CallRow> for CallBody {
    fn from(row: CallRow) -> Self {
        let (script, script_version) = row.script.map(|(script, version)| (script.to_string(), version)).unzip();
        let (ended, outcome) = row.ended.map(|(at, outcome)| (time(at), outcome.as_str().to_owned())).unzip();
        Self {
            call: row.call.to_string(),
            region: row.region.0,
            trunk: row.trunk.to_string(),
            dialled: row.dialled,
            person: row.person.map(|person| person.to_string()),
            entered: time(row.entered),
            answered: row.answered.map(time),
            script,
            script_version,
            theme: row.theme,
            queue: row.queue.map(|queue| queue.to_string()),
            urgent: row.urgent,
            queue_entered: row.queue_entered.map(time),
            first_offer: row.first_offer.map(time),
            talk_started: row.talk_started.map(time),
            talk_ended: row.talk_ended.map(time),
            agent: row.agent.map(|agent| agent.to_string()),
            recorded: row.recording.is_some(),
            ended,
            outcome,
            unreachable: row.unreachable,
            callback: row.callback.map(|task| task.to_string()),
        }
    }
}

impl From<CallDetail> for CallDetailBody {
    fn from(detail: CallDetail) -> Self {
        Self {
            call: detail.call.into(),
            visits: detail.visits.into_iter().map(StepBody::from).collect(),
            offers: detail.offers.into_iter().map(StepBody::from).collect(),
            talks: detail.talks.into_iter().map(StepBody::from).collect(),
            codes: detail.codes.into_iter().map(CodeBody::from).collect(),
            routes: detail.routes.into_iter().map(StepBody::from).collect(),
            recordings: detail.recordings.into_iter().map(RecordingBody::from).collect(),
            handoffs: detail.handoffs.into_iter().map(HandoffBody::from).collect(),
        }
    }
}

impl From<store::QueueVisitRow> for StepBody {
    fn from(row: store::QueueVisitRow) -> Self {
        Self { queue: Some(row.queue.to_string()), ..step(row.entered, row.ended) }
    }
}

impl From<store::OfferRow> for StepBody {
    fn from(row: store::OfferRow) -> Self {
        let (queue, agent) = (Some(row.queue.to_string()), Some(row.agent.to_string()));
        Self { queue, agent, why: Some(row.why), ..step(row.made, row.ended) }
    }
}

impl From<store::TalkRow> for StepBody {
    fn from(row: store::TalkRow) -> Self {
        Self { queue: Some(row.queue.to_string()), agent: Some(row.agent.to_string()), ..step(row.started, row.ended) }
    }
}

impl From<store::TalkCodeRow> for CodeBody {
    fn from(row: store::TalkCodeRow) -> Self {
        let (agent, queue) = (row.agent.to_string(), row.queue.to_string());
        Self { agent, queue, at: time(row.at), code: row.code, title: row.title }
    }
}

impl From<store::RouteRow> for StepBody {
    fn from(row: store::RouteRow) -> Self {
        Self { route: Some(row.route.to_string()), trunk: Some(row.trunk.to_string()), ..step(row.tried, row.ended) }
    }
}

impl From<store::RecordingRow> for RecordingBody {
    fn from(row: store::RecordingRow) -> Self {
        let (end, sealed) = (row.ended, row.sealed);
        Self {
            started: time(row.started),
            ended: end.as_ref().map(|end| time(end.at)),
            ms: end.as_ref().map(|end| end.ms).or(sealed.as_ref().map(|sealed| sealed.ms)),
            gaps: end.map(|end| end.gaps),
            failed: row.failed,
            packed: sealed.as_ref().map(|sealed| time(sealed.at)),
            bytes: sealed.as_ref().map(|sealed| sealed.bytes),
            sha256: sealed.map(|sealed| sealed.sha256),
            archived: row.archived.map(|(_, place)| place),
            not_archived: row.not_archived,
            deleted: row.deleted.map(|(_, why)| why),
        }
    }
}

impl From<store::HandoffRow> for HandoffBody {
    fn from(row: store::HandoffRow) -> Self {
        let (settled, result) = row.settled.map(|(at, result)| (time(at), result)).unzip();
        let (result, reference, reason) = match result {
            None => (None, None, None),
            Some(HandoffResult::Accepted { reference }) => (Some("accepted"), Some(reference), None),
            Some(HandoffResult::Booked { reference }) => (Some("booked"), Some(reference), None),
            Some(HandoffResult::Waitlisted { reference }) => (Some("waitlisted"), Some(reference), None),
            Some(HandoffResult::Refused { reason }) => (Some("refused"), None, Some(reason)),
        };
        Self {
            handoff: row.handoff.to_string(),
            theme: row.theme,
            requested: time(row.requested),
            settled,
            result: result.map(str::to_owned),
            reference,
            reason,
        }
    }
}

impl From<CallbackRow> for CallbackBody {
    fn from(row: CallbackRow) -> Self {
        let (taken, taken_by) = row.taken.map(|(at, agent)| (time(at), agent.to_string())).unzip();
        let (closed, how) = row.closed.map(|(at, how)| (time(at), how)).unzip();
        let (last_attempt, last_end) = row.last_attempt.map(|(at, end)| (time(at), end)).unzip();
        Self {
            task: row.task.to_string(),
            region: row.region.0,
            person: row.person.to_string(),
            phone: row.phone.map(|phone| phone.to_string()),
            call: row.call.to_string(),
            outcome: row.outcome.as_str().to_owned(),
            opened: time(row.opened),
            misses: row.misses,
            last_missed: time(row.last_missed),
            taken,
            taken_by,
            closed,
            how,
            theme: row.theme,
            queue: row.queue.map(|queue| queue.to_string()),
            booking: row.booking,
            promised: row.promised.map(time),
            attempts: row.attempts,
            last_attempt,
            last_end,
            standing: None,
            next_attempt: None,
        }
    }
}

fn step(began: Moment, ended: Option<(Moment, String)>) -> StepBody {
    let (ended, end) = ended.map(|(at, how)| (time(at), how)).unzip();
    StepBody { began: time(began), ended, end, ..StepBody::default() }
}

fn time(moment: Moment) -> String {
    let instant = i64::try_from(moment.0).ok().and_then(|us| jiff::Timestamp::from_microsecond(us).ok());
    // Always six digits, so that the texts sort like the times.
    format!("{:.6}", instant.unwrap_or(jiff::Timestamp::MAX))
}
