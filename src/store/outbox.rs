//! Which facts others hear of, and in which words. Nothing here names a citizen: a person stands as an id.

use crate::facts::Fact;
use crate::ids::*;
use serde_json::{Value, json};

/// What an event is about, before the tables add region and sequence.
pub struct Event {
    pub subject: Subject,
    /// The type without its prefix.
    pub kind: &'static str,
    pub idempotency_key: Option<String>,
    pub data: Value,
}

pub enum Subject {
    Call(CallId),
    /// The call of this task.
    Task(TaskId),
}

pub fn event(fact: &Fact) -> Option<Event> {
    let of_call = |call: &CallId, kind, data| Some(Event { subject: Subject::Call(*call), kind, idempotency_key: None, data });
    match fact {
        Fact::CallEntered { call, trunk, dialled, person, .. } => {
            of_call(call, "interaction.entered", json!({ "trunk": trunk, "dialled": dialled, "person": person }))
        }
        Fact::QueueEntered { call, queue, priority, urgent } => {
            of_call(call, "interaction.queued", json!({ "queue": queue, "priority": priority, "urgent": urgent }))
        }
        Fact::OfferMade { offer, call, agent, queue, .. } => {
            of_call(call, "interaction.offered", json!({ "offer": offer.0.to_string(), "agent": agent, "queue": queue }))
        }
        Fact::TalkStarted { call, agent, queue } => {
            of_call(call, "interaction.answered", json!({ "agent": agent, "queue": queue }))
        }
        Fact::CallEnded { call, outcome } => of_call(call, "interaction.ended", json!({ "outcome": outcome })),
        Fact::RecordingEnded { call, file, ms, gaps } => {
            of_call(call, "recording.available", json!({ "file": file, "ms": ms, "gaps": gaps }))
        }
        Fact::HandoffRequested { handoff, call, person, theme, .. } => Some(Event {
            subject: Subject::Call(*call),
            kind: "handoff.requested",
            idempotency_key: Some(handoff.0.to_string()),
            data: json!({ "handoff": handoff.0.to_string(), "theme": theme, "person": person }),
        }),
        Fact::CallbackOpened { task, person, call, outcome, .. } => {
            of_call(call, "callback.opened", json!({ "task": task.0.to_string(), "person": person, "outcome": outcome }))
        }
        Fact::CallbackClosed { task, how } => Some(Event {
            subject: Subject::Task(*task),
            kind: "callback.closed",
            idempotency_key: None,
            data: json!({ "task": task.0.to_string(), "how": how }),
        }),
        Fact::CallbackBegan { task, call, person, .. } => {
            of_call(call, "callback.began", json!({ "task": task.0.to_string(), "person": person }))
        }
        Fact::CallbackAttempted { task, nth, end, .. } => Some(Event {
            subject: Subject::Task(*task),
            kind: "callback.attempted",
            idempotency_key: None,
            data: json!({ "task": task.0.to_string(), "attempt": nth, "end": end }),
        }),
        Fact::CallbackPromised { task, booking, by, .. } => Some(Event {
            subject: Subject::Task(*task),
            kind: "callback.promised",
            idempotency_key: None,
            data: json!({ "task": task.0.to_string(), "booking": booking, "by_ms": by.0 / 1000 }),
        }),
        Fact::TalkCoded { call, agent, queue, code, title } => {
            of_call(call, "interaction.coded", json!({ "agent": agent, "queue": queue, "code": code, "title": title }))
        }
        Fact::CallAnswered { .. }
        | Fact::RobotAtNode { .. }
        | Fact::ThemeChosen { .. }
        | Fact::QueueLeft { .. }
        | Fact::OfferEnded { .. }
        | Fact::TalkEnded { .. }
        | Fact::RouteTried { .. }
        | Fact::RouteEnded { .. }
        | Fact::RecordingStarted { .. }
        | Fact::Unreachable { .. }
        | Fact::CallbackRepeated { .. }
        | Fact::CallbackTaken { .. }
        | Fact::AgentChanged { .. }
        | Fact::HandoffSettled { .. }
        | Fact::PhonesWritten { .. }
        | Fact::PersonForgotten { .. }
        | Fact::EngineStarted { .. }
        | Fact::EngineStopped { .. }
        | Fact::RecordingFailed { .. }
        | Fact::RecordingPacked { .. }
        | Fact::RecordingArchived { .. }
        | Fact::RecordingNotArchived { .. }
        | Fact::RecordingDeleted { .. }
        | Fact::RecordingHeard { .. }
        | Fact::AgentOverridden { .. } => None,
    }
}
