//! From facts to rows. A batch and its journal position are one transaction.

use super::columns::{id, time, word};
use crate::facts::{Fact, HandoffResult, OfferEnd, Stamped};
use crate::ids::PersonId;
use crate::journal::PersonSeen;
use crate::store::outbox::{self, Subject};
use sqlx::sqlite::{SqliteConnection, SqlitePool};

/// One statement with its arguments.
macro_rules! run {
    ($db:expr, $sql:expr $(, $argument:expr)* $(,)?) => {
        sqlx::query($sql)$(.bind($argument))*.execute(&mut *$db).await?
    };
}

pub async fn facts(pool: &SqlitePool, facts: &[(u64, Stamped)], up_to: u64) -> sqlx::Result<()> {
    let mut db = pool.begin_with("BEGIN IMMEDIATE").await?;
    let known = position(&mut db, "facts").await?;
    // Events that nobody is to get are not kept.
    let heard: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM receivers)").fetch_one(&mut *db).await?;
    for (position, stamped) in facts.iter().filter(|(position, _)| *position > known) {
        fact(&mut db, *position, stamped).await?;
        if heard {
            event(&mut db, *position, stamped).await?;
        }
    }
    set_position(&mut db, "facts", up_to.max(known)).await?;
    db.commit().await
}

pub async fn people(pool: &SqlitePool, seen: &[(u64, PersonSeen)], up_to: u64) -> sqlx::Result<()> {
    let mut db = pool.begin_with("BEGIN IMMEDIATE").await?;
    let known = position(&mut db, "people").await?;
    for (_, seen) in seen.iter().filter(|(position, _)| *position > known) {
        run!(
            db,
            "INSERT INTO people (person, phone, last_seen) VALUES (?, ?, ?)
             ON CONFLICT (person) DO UPDATE SET phone = excluded.phone, last_seen = MAX(last_seen, excluded.last_seen)",
            seen.person.0,
            seen.phone.expose(),
            time(seen.at),
        );
    }
    set_position(&mut db, "people", up_to.max(known)).await?;
    db.commit().await
}

pub async fn person_forget(pool: &SqlitePool, person: PersonId) -> sqlx::Result<bool> {
    let done = sqlx::query("DELETE FROM people WHERE person = ?").bind(person.0).execute(pool).await?;
    Ok(done.rows_affected() > 0)
}

async fn position(db: &mut SqliteConnection, stream: &str) -> sqlx::Result<u64> {
    let sql = "SELECT position FROM fold_position WHERE stream = ?";
    sqlx::query_scalar::<_, i64>(sql).bind(stream).fetch_one(db).await.map(i64::cast_unsigned)
}

async fn set_position(db: &mut SqliteConnection, stream: &str, position: u64) -> sqlx::Result<()> {
    run!(db, "UPDATE fold_position SET position = ? WHERE stream = ?", id(position), stream);
    Ok(())
}

async fn fact(db: &mut SqliteConnection, position: u64, stamped: &Stamped) -> sqlx::Result<()> {
    let at = time(stamped.at);
    match &stamped.fact {
        Fact::CallEntered { call, region, trunk, dialled, person } => {
            run!(
                db,
                "INSERT INTO calls (call, region, trunk, dialled, person, entered) VALUES (?, ?, ?, ?, ?, ?)
                 ON CONFLICT DO NOTHING",
                call.0,
                region.0,
                trunk.as_str(),
                dialled,
                person.map(|person| person.0),
                at,
            );
        }
        Fact::CallAnswered { call } => {
            run!(db, "UPDATE calls SET answered = ? WHERE call = ? AND answered IS NULL", at, call.0);
        }
        Fact::RobotAtNode { call, script, version, node: _ } => {
            let sql = "UPDATE calls SET script = ?, script_version = ? WHERE call = ? AND script IS NULL";
            run!(db, sql, script.as_str(), version, call.0);
        }
        Fact::ThemeChosen { call, theme } => {
            run!(db, "UPDATE calls SET theme = ? WHERE call = ?", theme, call.0);
        }
        Fact::QueueEntered { call, queue, priority: _, urgent } => {
            // Who already waits somewhere and is queued again changed the queue.
            visit_end(db, call.0, at, "transferred").await?;
            run!(
                db,
                "UPDATE calls SET queue = ?, urgent = ?, queue_entered = COALESCE(queue_entered, ?) WHERE call = ?",
                queue.as_str(),
                urgent,
                at,
                call.0,
            );
            run!(
                db,
                "INSERT INTO queue_visits (visit, region, call, queue, entered)
                 SELECT ?, region, call, ?, ? FROM calls WHERE call = ?",
                id(position),
                queue.as_str(),
                at,
                call.0,
            );
        }
        Fact::QueueLeft { call, queue: _, why } => visit_end(db, call.0, at, &word(why).unwrap_or_default()).await?,
        Fact::OfferMade { offer, call, agent, queue, why } => {
            run!(
                db,
                "INSERT INTO offers (offer, region, call, agent, queue, why, made)
                 SELECT ?, region, call, ?, ?, ?, ? FROM calls WHERE call = ? ON CONFLICT DO NOTHING",
                id(offer.0),
                agent.as_str(),
                queue.as_str(),
                why,
                at,
                call.0,
            );
            run!(db, "UPDATE calls SET first_offer = ? WHERE call = ? AND first_offer IS NULL", at, call.0);
        }
        Fact::OfferEnded { offer, end } => {
            let ending = match end {
                OfferEnd::Answered => Some("answered".to_owned()),
                OfferEnd::Withdrawn => Some("withdrawn".to_owned()),
                OfferEnd::Missed(reason) => word(reason),
            };
            run!(db, "UPDATE offers SET ended = ?, ending = ? WHERE offer = ? AND ended IS NULL", at, ending, id(offer.0));
        }
        Fact::TalkStarted { call, agent, queue } => {
            visit_end(db, call.0, at, "answered").await?;
            run!(
                db,
                "UPDATE calls SET talk_started = COALESCE(talk_started, ?), agent = ?, queue = ? WHERE call = ?",
                at,
                agent.as_str(),
                queue.as_str(),
                call.0,
            );
            run!(
                db,
                "INSERT INTO talks (talk, region, call, agent, queue, started)
                 SELECT ?, region, call, ?, ?, ? FROM calls WHERE call = ?",
                id(position),
                agent.as_str(),
                queue.as_str(),
                at,
                call.0,
            );
        }
        Fact::TalkEnded { call, agent, by } => {
            run!(
                db,
                "UPDATE talks SET ended = ?, ended_by = ? WHERE call = ? AND agent = ? AND ended IS NULL",
                at,
                word(by),
                call.0,
                agent.as_str(),
            );
            run!(db, "UPDATE calls SET talk_ended = ? WHERE call = ?", at, call.0);
        }
        Fact::RouteTried { call, route, trunk, leg } => {
            run!(
                db,
                "INSERT INTO routes (leg, region, call, route, trunk, tried)
                 SELECT ?, region, call, ?, ?, ? FROM calls WHERE call = ? ON CONFLICT DO NOTHING",
                id(leg.0),
                route.as_str(),
                trunk.as_str(),
                at,
                call.0,
            );
        }
        Fact::RouteEnded { call: _, leg, end } => {
            run!(db, "UPDATE routes SET ended = ?, ending = ? WHERE leg = ? AND ended IS NULL", at, word(end), id(leg.0));
        }
        Fact::RecordingStarted { call, file } => {
            run!(
                db,
                "INSERT INTO recordings (file, region, call, started)
                 SELECT ?, region, call, ? FROM calls WHERE call = ? ON CONFLICT DO NOTHING",
                file,
                at,
                call.0,
            );
            run!(db, "UPDATE calls SET recording = ? WHERE call = ?", file, call.0);
        }
        Fact::RecordingEnded { call: _, file, ms, gaps } => {
            run!(db, "UPDATE recordings SET ended = ?, ms = ?, gaps = ? WHERE file = ?", at, id(*ms), gaps, file);
        }
        Fact::RecordingFailed { call: _, file, why } => {
            run!(db, "UPDATE recordings SET failed = ? WHERE file = ?", why, file);
        }
        Fact::RecordingPacked { call: _, file, sealed, bytes, ms, sha256, key } => {
            run!(
                db,
                "UPDATE recordings SET packed = ?, sealed = ?, bytes = ?, ms = ?, sha256 = ?, key = ? WHERE file = ?",
                at,
                sealed,
                id(*bytes),
                id(*ms),
                sha256,
                key,
                file,
            );
            // What is to be done next begins with its own patience.
            run!(db, "DELETE FROM recording_attempts WHERE file = ?", file);
        }
        Fact::RecordingArchived { call: _, file, place, kept } => {
            let sql = "UPDATE recordings SET archived = ?, place = ?, here = ? WHERE file = ?";
            run!(db, sql, at, place, *kept, file);
            run!(db, "DELETE FROM recording_attempts WHERE file = ?", file);
        }
        Fact::RecordingNotArchived { call: _, file, why } => {
            run!(db, "UPDATE recordings SET not_archived = ? WHERE file = ?", why, file);
        }
        Fact::RecordingDeleted { call: _, file, why } => {
            run!(db, "UPDATE recordings SET deleted = ?, gone = ? WHERE file = ?", at, word(why), file);
            run!(db, "DELETE FROM recording_attempts WHERE file = ?", file);
        }
        Fact::RecordingHeard { call, file, who } => {
            let sql = "INSERT INTO recording_hearings (hearing, call, file, at, who) VALUES (?, ?, ?, ?, ?)";
            run!(db, sql, id(position), call.0, file, at, who);
        }
        Fact::CallEnded { call, outcome } => {
            // A call has one outcome, the first that was written down.
            let sql = "UPDATE calls SET ended = ?, outcome = ? WHERE call = ? AND ended IS NULL";
            run!(db, sql, at, outcome.as_str(), call.0);
        }
        Fact::Unreachable { call } => {
            run!(db, "UPDATE calls SET unreachable = 1 WHERE call = ?", call.0);
        }
        Fact::CallbackOpened { task, region, person, call, outcome } => {
            run!(
                db,
                "INSERT INTO callbacks (task, region, person, call, outcome, opened, misses, last_call, last_missed)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?4, ?6) ON CONFLICT DO NOTHING",
                id(task.0),
                region.0,
                person.0,
                call.0,
                outcome.as_str(),
                at,
            );
        }
        Fact::CallbackRepeated { task, call, outcome: _ } => {
            let sql = "UPDATE callbacks SET misses = misses + 1, last_call = ?, last_missed = ? WHERE task = ?";
            run!(db, sql, call.0, at, id(task.0));
        }
        Fact::CallbackTaken { task, agent } => {
            run!(db, "UPDATE callbacks SET taken_by = ?, taken = ? WHERE task = ?", agent.as_str(), at, id(task.0));
        }
        Fact::CallbackClosed { task, how } => {
            let sql = "UPDATE callbacks SET closed = ?, ending = ? WHERE task = ? AND closed IS NULL";
            run!(db, sql, at, word(how), id(task.0));
        }
        Fact::AgentChanged { agent, region, state, reason } => {
            run!(
                db,
                "INSERT INTO agent_changes (change, region, agent, at, state, reason) VALUES (?, ?, ?, ?, ?, ?)",
                id(position),
                region.0,
                agent.as_str(),
                at,
                word(state),
                reason,
            );
        }
        Fact::HandoffRequested { handoff, call, region, person, theme } => {
            run!(
                db,
                "INSERT INTO handoffs (handoff, region, call, person, theme, requested) VALUES (?, ?, ?, ?, ?, ?)
                 ON CONFLICT DO NOTHING",
                id(handoff.0),
                region.0,
                call.0,
                person.map(|person| person.0),
                theme,
                at,
            );
        }
        Fact::HandoffSettled { handoff, call: _, result } => {
            let (result, reference, reason) = match result {
                HandoffResult::Accepted { reference } => ("accepted", Some(reference), None),
                HandoffResult::Booked { reference } => ("booked", Some(reference), None),
                HandoffResult::Waitlisted { reference } => ("waitlisted", Some(reference), None),
                HandoffResult::Refused { reason } => ("refused", None, Some(reason)),
            };
            run!(
                db,
                "UPDATE handoffs SET settled = ?, result = ?, reference = ?, reason = ? WHERE handoff = ? AND settled IS NULL",
                at,
                result,
                reference,
                reason,
                id(handoff.0),
            );
            run!(db, "DELETE FROM handoff_attempts WHERE handoff = ?", id(handoff.0));
        }
        Fact::PhonesWritten { .. } => {}
        Fact::EngineStarted { .. } | Fact::EngineStopped { .. } => {}
    }
    Ok(())
}

async fn visit_end(db: &mut SqliteConnection, call: uuid::Uuid, at: i64, ending: &str) -> sqlx::Result<()> {
    run!(db, "UPDATE queue_visits SET ended = ?, ending = ? WHERE call = ? AND ended IS NULL", at, ending, call);
    Ok(())
}

/// Puts what others are to hear of into the outbox.
async fn event(db: &mut SqliteConnection, position: u64, stamped: &Stamped) -> sqlx::Result<()> {
    let Some(event) = outbox::event(&stamped.fact) else { return Ok(()) };
    let (key, data, at) = (event.idempotency_key, event.data.to_string(), time(stamped.at));
    match event.subject {
        Subject::Call(call) => run!(
            db,
            "INSERT INTO outbox (event, region, call, sequence, kind, at, key, data)
             SELECT ?1, region, call, (SELECT COALESCE(MAX(sequence), 0) + 1 FROM outbox WHERE call = ?2), ?3, ?4, ?5, ?6
             FROM calls WHERE call = ?2",
            id(position),
            call.0,
            event.kind,
            at,
            key,
            data,
        ),
        Subject::Task(task) => run!(
            db,
            "INSERT INTO outbox (event, region, call, sequence, kind, at, key, data)
             SELECT ?1, region, call, (SELECT COALESCE(MAX(sequence), 0) + 1 FROM outbox WHERE call = callbacks.call),
                    ?3, ?4, ?5, ?6
             FROM callbacks WHERE task = ?2",
            id(position),
            id(task.0),
            event.kind,
            at,
            key,
            data,
        ),
    };
    Ok(())
}
