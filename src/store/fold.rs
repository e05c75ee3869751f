//! From facts to rows, without a database: the rows that a batch of facts touches are held here, each fact changes them, and what
//! changed is written once, in its final state.

use super::outbox::{self, Subject};
use super::table::*;
use crate::facts::{Fact, HandoffResult, OfferEnd, Stamped};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Rows of this table that the facts may change: those whose `column` is one of `keys`, and of these only the open ones if `open`.
pub struct Wanted {
    pub table: &'static Table,
    pub column: &'static str,
    pub open: bool,
    pub keys: BTreeSet<Value>,
}

/// What must be held before these facts are folded.
pub fn wanted<'a>(facts: impl Iterator<Item = &'a Fact>) -> Vec<Wanted> {
    let mut keys: BTreeMap<&str, BTreeSet<Value>> = BTreeMap::new();
    for fact in facts {
        let (table, key): (&Table, Value) = match fact {
            Fact::CallEntered { call, .. }
            | Fact::CallAnswered { call }
            | Fact::RobotAtNode { call, .. }
            | Fact::ThemeChosen { call, .. }
            | Fact::QueueEntered { call, .. }
            | Fact::QueueLeft { call, .. }
            | Fact::TalkStarted { call, .. }
            | Fact::TalkEnded { call, .. }
            | Fact::CallEnded { call, .. }
            | Fact::CallbackBegan { call, .. }
            | Fact::Unreachable { call } => (&CALLS, call.0.into()),
            Fact::OfferMade { offer, call, .. } => {
                keys.entry(CALLS.name).or_default().insert(call.0.into());
                (&OFFERS, offer.0.into())
            }
            Fact::OfferEnded { offer, .. } => (&OFFERS, offer.0.into()),
            Fact::RouteTried { call, leg, .. } | Fact::RouteEnded { call, leg, .. } => {
                keys.entry(CALLS.name).or_default().insert(call.0.into());
                (&ROUTES, leg.0.into())
            }
            Fact::RecordingStarted { call, file } | Fact::RecordingEnded { call, file, .. } => {
                keys.entry(CALLS.name).or_default().insert(call.0.into());
                (&RECORDINGS, file.into())
            }
            Fact::RecordingFailed { file, .. }
            | Fact::RecordingPacked { file, .. }
            | Fact::RecordingArchived { file, .. }
            | Fact::RecordingNotArchived { file, .. }
            | Fact::RecordingDeleted { file, .. } => (&RECORDINGS, file.into()),
            Fact::RecordingHeard { call, .. } | Fact::TalkCoded { call, .. } => (&CALLS, call.0.into()),
            Fact::CallbackOpened { task, call, .. } => {
                keys.entry(CALLS.name).or_default().insert(call.0.into());
                (&CALLBACKS, task.0.into())
            }
            Fact::CallbackRepeated { task, .. }
            | Fact::CallbackTaken { task, .. }
            | Fact::CallbackAttempted { task, .. }
            | Fact::CallbackPromised { task, .. }
            | Fact::CallbackClosed { task, .. } => (&CALLBACKS, task.0.into()),
            Fact::HandoffRequested { handoff, call, .. } | Fact::HandoffSettled { handoff, call, .. } => {
                keys.entry(CALLS.name).or_default().insert(call.0.into());
                (&HANDOFFS, handoff.0.into())
            }
            Fact::AgentChanged { .. }
            | Fact::AgentOverridden { .. }
            | Fact::PhonesWritten { .. }
            | Fact::PersonForgotten { .. }
            | Fact::EngineStarted { .. }
            | Fact::EngineStopped { .. } => continue,
        };
        keys.entry(table.name).or_default().insert(key);
    }
    let calls = keys.get(CALLS.name).cloned().unwrap_or_default();
    let by = |table: &'static Table, column, open, keys| Wanted { table, column, open, keys };
    let mut of = |table: &'static Table, column| by(table, column, false, keys.remove(table.name).unwrap_or_default());
    let by_key = [
        of(&CALLS, "call"),
        of(&OFFERS, "offer"),
        of(&ROUTES, "leg"),
        of(&RECORDINGS, "file"),
        of(&CALLBACKS, "task"),
        of(&HANDOFFS, "handoff"),
    ];
    let open = [by(&QUEUE_VISITS, "call", true, calls.clone()), by(&TALKS, "call", true, calls)];
    by_key.into_iter().chain(open).filter(|wanted| !wanted.keys.is_empty()).collect()
}

/// The rows that a batch works on.
#[derive(Default)]
pub struct Held {
    tables: BTreeMap<&'static str, BTreeMap<Value, Row>>,
    /// The last event's number of each call.
    sequences: BTreeMap<Uuid, i64>,
    /// Hand-offs that need no attempts any more.
    pub settled: Vec<i64>,
    /// Recordings of which a step is done: the next has attempts of its own.
    pub stepped: Vec<String>,
}

struct Row {
    table: &'static Table,
    values: Vec<Value>,
    changed: bool,
}

impl Held {
    /// A row as the database has it.
    pub fn take(&mut self, table: &'static Table, values: Vec<Value>) {
        if let Some(key) = values.first() {
            let key = key.clone();
            self.tables.entry(table.name).or_default().insert(key, Row { table, values, changed: false });
        }
    }

    pub fn take_sequence(&mut self, call: Uuid, last: i64) {
        self.sequences.insert(call, last);
    }

    /// Events of a callback task count among those of its call.
    pub fn calls_of_callbacks(&self) -> impl Iterator<Item = Value> {
        self.tables.get(CALLBACKS.name).into_iter().flatten().map(|(_, row)| row.get("call").clone())
    }

    /// What is to be written, table by table.
    pub fn changed(self) -> Vec<(&'static Table, Vec<Vec<Value>>)> {
        let of_table = |table: &'static Table, rows: BTreeMap<Value, Row>| {
            (table, rows.into_values().filter(|row| row.changed).map(|row| row.values).collect::<Vec<_>>())
        };
        let mut tables = self.tables;
        let all = TABLES.iter().filter_map(|table| Some(of_table(table, tables.remove(table.name)?)));
        all.filter(|(_, rows)| !rows.is_empty()).collect()
    }

    pub fn fold(&mut self, position: u64, stamped: &Stamped) {
        let at = Value::from(stamped.at);
        match &stamped.fact {
            Fact::CallEntered { call, region, trunk, dialled, person } => self.add(
                &CALLS,
                &[
                    ("call", call.0.into()),
                    ("region", region.0.into()),
                    ("trunk", trunk.as_str().into()),
                    ("dialled", dialled.into()),
                    ("person", person.map(|person| person.0).into()),
                    ("entered", at),
                    ("urgent", false.into()),
                    ("unreachable", false.into()),
                ],
            ),
            Fact::CallAnswered { call } => self.change(&CALLS, call.0, |row| row.set_first("answered", at)),
            Fact::RobotAtNode { call, script, version, node: _ } => self.change(&CALLS, call.0, |row| {
                if row.get("script").is_null() {
                    row.set("script", script.as_str());
                    row.set("script_version", *version);
                }
            }),
            Fact::ThemeChosen { call, theme } => self.change(&CALLS, call.0, |row| row.set("theme", theme)),
            Fact::QueueEntered { call, queue, priority: _, urgent } => {
                // Who already waits somewhere and is queued again changed the queue.
                self.visit_end(call.0, &at, "transferred");
                self.change(&CALLS, call.0, |row| {
                    row.set("queue", queue.as_str());
                    row.set("urgent", *urgent);
                    row.set_first("queue_entered", at.clone());
                });
                let visit = [("visit", position.into()), ("queue", queue.as_str().into()), ("entered", at)];
                self.add_to_call(&QUEUE_VISITS, call.0, &visit);
            }
            Fact::QueueLeft { call, queue: _, why } => self.visit_end(call.0, &at, word(why)),
            Fact::OfferMade { offer, call, agent, queue, why } => {
                self.change(&CALLS, call.0, |row| row.set_first("first_offer", at.clone()));
                let made = [
                    ("offer", offer.0.into()),
                    ("agent", agent.as_str().into()),
                    ("queue", queue.as_str().into()),
                    ("why", why.into()),
                    ("made", at),
                ];
                self.add_to_call(&OFFERS, call.0, &made);
            }
            Fact::OfferEnded { offer, end } => {
                let ending = match end {
                    OfferEnd::Answered => "answered".into(),
                    OfferEnd::Withdrawn => "withdrawn".into(),
                    OfferEnd::Missed(reason) => word(reason),
                };
                self.change(&OFFERS, offer.0, |row| row.end("ended", at, &[("ending", ending)]));
            }
            Fact::TalkStarted { call, agent, queue } => {
                self.visit_end(call.0, &at, "answered");
                self.change(&CALLS, call.0, |row| {
                    row.set_first("talk_started", at.clone());
                    row.set("agent", agent.as_str());
                    row.set("queue", queue.as_str());
                });
                let talk = [
                    ("talk", position.into()),
                    ("agent", agent.as_str().into()),
                    ("queue", queue.as_str().into()),
                    ("started", at),
                ];
                self.add_to_call(&TALKS, call.0, &talk);
            }
            Fact::TalkEnded { call, agent, by } => {
                let agent = Value::from(agent.as_str());
                self.each_open(&TALKS, call.0, |row| {
                    if *row.get("agent") == agent {
                        row.end("ended", at.clone(), &[("ended_by", word(by))]);
                    }
                });
                self.change(&CALLS, call.0, |row| row.set("talk_ended", at));
            }
            Fact::RouteTried { call, route, trunk, leg } => {
                let tried =
                    [("leg", leg.0.into()), ("route", route.as_str().into()), ("trunk", trunk.as_str().into()), ("tried", at)];
                self.add_to_call(&ROUTES, call.0, &tried);
            }
            Fact::RouteEnded { call: _, leg, end } => {
                self.change(&ROUTES, leg.0, |row| row.end("ended", at, &[("ending", word(end))]))
            }
            Fact::RecordingStarted { call, file } => {
                self.add_to_call(&RECORDINGS, call.0, &[("file", file.into()), ("started", at), ("here", true.into())]);
                self.change(&CALLS, call.0, |row| row.set("recording", file));
            }
            Fact::RecordingEnded { call: _, file, ms, gaps } => self.change(&RECORDINGS, file, |row| {
                row.set("ended", at);
                row.set("ms", *ms);
                row.set("gaps", *gaps);
            }),
            Fact::RecordingFailed { call: _, file, why } => self.change(&RECORDINGS, file, |row| row.set("failed", why)),
            Fact::RecordingPacked { call: _, file, sealed, bytes, ms, sha256, key } => {
                self.change(&RECORDINGS, file, |row| {
                    row.set("packed", at);
                    row.set("sealed", sealed);
                    row.set("bytes", *bytes);
                    row.set("ms", *ms);
                    row.set("sha256", sha256);
                    row.set("key", key);
                });
                // What is to be done next begins with its own patience.
                self.stepped.push(file.clone());
            }
            Fact::RecordingArchived { call: _, file, place, kept } => {
                self.change(&RECORDINGS, file, |row| {
                    row.set("archived", at);
                    row.set("place", place);
                    row.set("here", *kept);
                });
                self.stepped.push(file.clone());
            }
            Fact::RecordingNotArchived { call: _, file, why } => {
                self.change(&RECORDINGS, file, |row| row.set("not_archived", why))
            }
            Fact::RecordingDeleted { call: _, file, why } => {
                self.change(&RECORDINGS, file, |row| {
                    row.set("deleted", at);
                    row.set("gone", word(why));
                });
                self.stepped.push(file.clone());
            }
            Fact::RecordingHeard { call, file, who } => {
                let heard = [("hearing", position.into()), ("file", file.into()), ("at", at), ("who", who.into())];
                self.add_to_call(&RECORDING_HEARINGS, call.0, &heard);
            }
            // A call has one outcome, the first that was written down.
            Fact::CallEnded { call, outcome } => {
                self.change(&CALLS, call.0, |row| row.end("ended", at, &[("outcome", outcome.as_str().into())]))
            }
            Fact::Unreachable { call } => self.change(&CALLS, call.0, |row| row.set("unreachable", true)),
            Fact::CallbackOpened { task, region, person, call, outcome } => self.add(
                &CALLBACKS,
                &[
                    ("task", task.0.into()),
                    ("region", region.0.into()),
                    ("person", person.0.into()),
                    ("call", call.0.into()),
                    ("outcome", outcome.as_str().into()),
                    ("opened", at.clone()),
                    ("misses", 1u32.into()),
                    ("last_call", call.0.into()),
                    ("last_missed", at),
                ],
            ),
            Fact::CallbackRepeated { task, call, outcome: _ } => self.change(&CALLBACKS, task.0, |row| {
                if let Value::Int(misses) = row.get("misses") {
                    row.set("misses", misses.saturating_add(1));
                }
                row.set("last_call", call.0);
                row.set("last_missed", at);
            }),
            Fact::CallbackTaken { task, agent } => self.change(&CALLBACKS, task.0, |row| {
                row.set("taken_by", agent.as_str());
                row.set("taken", at);
            }),
            Fact::CallbackClosed { task, how } => {
                self.change(&CALLBACKS, task.0, |row| row.end("closed", at, &[("ending", word(how))]))
            }
            Fact::AgentChanged { agent, region, state, reason } => self.add(
                &AGENT_CHANGES,
                &[
                    ("change", position.into()),
                    ("region", region.0.into()),
                    ("agent", agent.as_str().into()),
                    ("at", at),
                    ("state", word(state)),
                    ("reason", reason.as_ref().into()),
                ],
            ),
            Fact::HandoffRequested { handoff, call, region, person, theme } => self.add(
                &HANDOFFS,
                &[
                    ("handoff", handoff.0.into()),
                    ("region", region.0.into()),
                    ("call", call.0.into()),
                    ("person", person.map(|person| person.0).into()),
                    ("theme", theme.as_ref().into()),
                    ("requested", at),
                ],
            ),
            Fact::HandoffSettled { handoff, call: _, result } => {
                let (result, reference, reason) = match result {
                    HandoffResult::Accepted { reference } => ("accepted", Some(reference), None),
                    HandoffResult::Booked { reference } => ("booked", Some(reference), None),
                    HandoffResult::Waitlisted { reference } => ("waitlisted", Some(reference), None),
                    HandoffResult::Refused { reason } => ("refused", None, Some(reason)),
                };
                let settled = [("result", result.into()), ("reference", reference.into()), ("reason", reason.into())];
                self.change(&HANDOFFS, handoff.0, |row| row.end("settled", at, &settled));
                self.settled.push(handoff.0.cast_signed());
            }
            Fact::PhonesWritten { .. }
            | Fact::PersonForgotten { .. }
            | Fact::EngineStarted { .. }
            | Fact::EngineStopped { .. } => {}
            Fact::CallbackBegan { task, call, region, trunk, dialled, person } => self.add(
                &CALLS,
                &[
                    ("call", call.0.into()),
                    ("region", region.0.into()),
                    ("trunk", trunk.as_str().into()),
                    ("dialled", dialled.into()),
                    ("person", person.0.into()),
                    ("entered", at),
                    ("urgent", false.into()),
                    ("unreachable", false.into()),
                    ("callback", task.0.into()),
                ],
            ),
            Fact::CallbackAttempted { task, call: _, nth, end } => self.change(&CALLBACKS, task.0, |row| {
                row.set("attempts", *nth);
                row.set("last_attempt", at);
                row.set("last_end", word(end));
                // Whoever had it in hand has tried.
                row.set("taken_by", Value::Null);
                row.set("taken", Value::Null);
            }),
            Fact::AgentOverridden { agent, region, state, reason, by, why } => self.add(
                &AGENT_OVERRIDES,
                &[
                    ("word", position.into()),
                    ("region", region.0.into()),
                    ("agent", agent.as_str().into()),
                    ("at", at),
                    ("state", word(state)),
                    ("reason", reason.as_ref().into()),
                    ("who", by.into()),
                    ("why", why.into()),
                ],
            ),
            Fact::TalkCoded { call, agent, queue, code, title } => {
                let given = [
                    ("given", position.into()),
                    ("agent", agent.as_str().into()),
                    ("queue", queue.as_str().into()),
                    ("at", at),
                    ("code", code.into()),
                    ("title", title.into()),
                ];
                self.add_to_call(&TALK_CODES, call.0, &given);
            }
            Fact::CallbackPromised { task, call: _, booking, by } => self.change(&CALLBACKS, task.0, |row| {
                row.set("booking", booking.as_ref().map(word).unwrap_or(Value::Null));
                row.set("promised", *by);
                row.set("attempts", 0u32);
            }),
        }
    }

    /// Puts what others are to hear of into the outbox.
    pub fn fold_event(&mut self, position: u64, stamped: &Stamped) {
        let Some(event) = outbox::event(&stamped.fact) else { return };
        let about = match event.subject {
            Subject::Call(call) => self.row(&CALLS, call.0),
            Subject::Task(task) => self.row(&CALLBACKS, task.0),
        };
        let Some((region, Value::Uuid(call))) = about.map(|row| (row.get("region").clone(), row.get("call").clone())) else {
            return;
        };
        let last = self.sequences.entry(call).or_default();
        *last = last.saturating_add(1);
        let row = [
            ("event", position.into()),
            ("region", region),
            ("call", call.into()),
            ("sequence", (*last).into()),
            ("kind", event.kind.into()),
            ("at", stamped.at.into()),
            ("key", event.idempotency_key.into()),
            ("data", event.data.to_string().into()),
        ];
        self.add(&OUTBOX, &row);
    }

    fn row(&self, table: &'static Table, key: impl Into<Value>) -> Option<&Row> {
        self.tables.get(table.name)?.get(&key.into())
    }

    fn change(&mut self, table: &'static Table, key: impl Into<Value>, change: impl FnOnce(&mut Row)) {
        if let Some(row) = self.tables.get_mut(table.name).and_then(|rows| rows.get_mut(&key.into())) {
            change(row);
        }
    }

    /// A new row; the first of its columns is its key. One that is there stays as it is.
    fn add(&mut self, table: &'static Table, given: &[(&str, Value)]) {
        let Some((_, key)) = given.first() else { return };
        let new = || {
            let mut row = Row { table, values: vec![Value::Null; table.columns.len()], changed: true };
            for (column, value) in given {
                row.set(column, value.clone());
            }
            row
        };
        self.tables.entry(table.name).or_default().entry(key.clone()).or_insert_with(new);
    }

    /// As [`Held::add`], of a call that is known; region and call come from its row.
    fn add_to_call(&mut self, table: &'static Table, call: Uuid, given: &[(&str, Value)]) {
        if let Some(region) = self.row(&CALLS, call).map(|row| row.get("region").clone()) {
            self.add(table, &[given, &[("region", region), ("call", call.into())]].concat());
        }
    }

    fn visit_end(&mut self, call: Uuid, at: &Value, ending: impl Into<Value>) {
        let ending = ending.into();
        self.each_open(&QUEUE_VISITS, call, |row| row.end("ended", at.clone(), &[("ending", ending.clone())]));
    }

    fn each_open(&mut self, table: &'static Table, call: Uuid, mut change: impl FnMut(&mut Row)) {
        let call = Value::Uuid(call);
        let rows = self.tables.get_mut(table.name).into_iter().flat_map(BTreeMap::values_mut);
        rows.filter(|row| *row.get("call") == call && row.get("ended").is_null()).for_each(&mut change);
    }
}

impl Row {
    fn get(&self, column: &str) -> &Value {
        self.table.at(column).and_then(|at| self.values.get(at)).unwrap_or(&Value::Null)
    }

    fn set(&mut self, column: &str, value: impl Into<Value>) {
        debug_assert!(self.table.at(column).is_some(), "{} has no column {column}", self.table.name);
        if let Some(place) = self.table.at(column).and_then(|at| self.values.get_mut(at)) {
            *place = value.into();
            self.changed = true;
        }
    }

    fn set_first(&mut self, column: &str, value: impl Into<Value>) {
        if self.get(column).is_null() {
            self.set(column, value);
        }
    }

    /// What ended once stays as it ended.
    fn end(&mut self, column: &str, at: Value, how: &[(&str, Value)]) {
        if self.get(column).is_null() {
            self.set(column, at);
            for (column, value) in how {
                self.set(column, value.clone());
            }
        }
    }
}

/// The word of an enum's variant, the same as in the API.
fn word(value: impl Serialize) -> Value {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word.into(),
        _ => Value::Null,
    }
}
