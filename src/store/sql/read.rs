//! What is asked of the tables.

use super::{DbRow, Pool, cannot};
use super::columns::{Fields, id, outcome, time};
use crate::clock::Moment;
use crate::facts::{HandoffResult, Ledger, Outcome};
use crate::ids::*;
use crate::pii::Phone;
use crate::store::*;
use uuid::Uuid;

type Rows<T> = Result<Vec<T>, StoreError>;

pub async fn position(pool: &Pool, stream: &str) -> Result<u64, StoreError> {
    let found = sqlx::query_scalar::<_, i64>("SELECT position FROM fold_position WHERE stream = $1").bind(stream);
    found.fetch_one(pool).await.map(i64::cast_unsigned).map_err(cannot("tell its position"))
}

pub async fn person_phone(pool: &Pool, person: PersonId) -> Result<Option<Phone>, StoreError> {
    let found = sqlx::query_scalar::<_, String>("SELECT phone FROM people WHERE person = $1").bind(person.0);
    let text = found.fetch_optional(pool).await.map_err(cannot("look up a person"))?;
    Ok(text.and_then(|text| Phone::parse(&text, None)))
}

pub async fn ledger(pool: &Pool, region: Option<RegionId>, from: Moment, to: Moment) -> Result<Ledger, StoreError> {
    // One statement for the whole, so that the law holds while facts are being folded.
    let rows = sqlx::query(
        "SELECT outcome, COUNT(*) AS n FROM calls WHERE entered >= $1 AND entered < $2 AND ($3 IS NULL OR region = $3)
           AND callback IS NULL
         GROUP BY outcome
         UNION ALL
         SELECT 'open_callbacks', COUNT(*) FROM callbacks WHERE closed IS NULL AND ($3 IS NULL OR region = $3)",
    )
    .bind(time(from))
    .bind(time(to))
    .bind(region.map(|region| i64::from(region.0)))
    .fetch_all(pool)
    .await
    .map_err(cannot("count calls"))?;

    let mut ledger = Ledger::default();
    ledger.outcomes.extend(Outcome::ALL.iter().map(|outcome| (outcome.as_str().to_owned(), 0)));
    for row in &rows {
        let fields = Fields(row);
        let n = fields.id("n")?;
        match fields.get::<Option<&str>>("outcome")? {
            Some("open_callbacks") => ledger.open_callbacks = n,
            Some(word) => {
                ledger.outcomes.insert(outcome("outcome", word)?.as_str().to_owned(), n);
                ledger.entered += n;
            }
            None => {
                ledger.live = n;
                ledger.entered += n;
            }
        }
    }
    Ok(ledger)
}

pub async fn calls(pool: &Pool, filter: &CallFilter, page: &Page<(Moment, CallId)>) -> Rows<CallRow> {
    let (after_time, after_call) = page.after.map(|(at, call)| (time(at), call.0)).unzip();
    let query = sqlx::query(
        "SELECT * FROM calls
         WHERE entered >= $1 AND entered < $2
           AND ($3 IS NULL OR region = $3) AND ($4 IS NULL OR outcome = $4) AND ($5 IS NULL OR queue = $5)
           AND ($6 IS NULL OR agent = $6) AND ($7 IS NULL OR person = $7)
           AND ($8 IS NULL OR (entered, call) < ($8, $9))
         ORDER BY entered DESC, call DESC LIMIT $10",
    )
    .bind(filter.from.map_or(0, time))
    .bind(filter.to.map_or(i64::MAX, time))
    .bind(filter.region.map(|region| i64::from(region.0)))
    .bind(filter.outcome.map(Outcome::as_str))
    .bind(filter.queue.as_ref().map(QueueId::as_str))
    .bind(filter.agent.as_ref().map(AgentId::as_str))
    .bind(filter.person.map(|person| person.0))
    .bind(after_time)
    .bind(after_call)
    .bind(i64::from(page.limit.min(PAGE_MAX)));
    read(query.fetch_all(pool).await, "list calls", call_row)
}

pub async fn call(pool: &Pool, call: CallId) -> Result<Option<CallDetail>, StoreError> {
    let found = of_call(pool, call, "SELECT * FROM calls WHERE call = $1", call_row).await?;
    let Some(row) = found.into_iter().next() else { return Ok(None) };
    Ok(Some(CallDetail {
        call: row,
        visits: of_call(pool, call, "SELECT * FROM queue_visits WHERE call = $1 ORDER BY visit", |row| {
            Ok(QueueVisitRow {
                queue: QueueId(row.name("queue")?),
                entered: row.time("entered")?,
                ended: row.end_if("ended", "ending")?,
            })
        })
        .await?,
        offers: of_call(pool, call, "SELECT * FROM offers WHERE call = $1 ORDER BY offer", |row| {
            Ok(OfferRow {
                offer: OfferId(row.id("offer")?),
                agent: AgentId(row.name("agent")?),
                queue: QueueId(row.name("queue")?),
                why: row.get("why")?,
                made: row.time("made")?,
                ended: row.end_if("ended", "ending")?,
            })
        })
        .await?,
        talks: of_call(pool, call, "SELECT * FROM talks WHERE call = $1 ORDER BY talk", |row| {
            Ok(TalkRow {
                agent: AgentId(row.name("agent")?),
                queue: QueueId(row.name("queue")?),
                started: row.time("started")?,
                ended: row.end_if("ended", "ended_by")?,
            })
        })
        .await?,
        codes: of_call(pool, call, "SELECT * FROM talk_codes WHERE call = $1 ORDER BY given", |row| {
            Ok(TalkCodeRow {
                agent: AgentId(row.name("agent")?),
                queue: QueueId(row.name("queue")?),
                at: row.time("at")?,
                code: row.get("code")?,
                title: row.get("title")?,
            })
        })
        .await?,
        routes: of_call(pool, call, "SELECT * FROM routes WHERE call = $1 ORDER BY leg", |row| {
            Ok(RouteRow {
                route: RouteId(row.name("route")?),
                trunk: TrunkId(row.name("trunk")?),
                tried: row.time("tried")?,
                ended: row.end_if("ended", "ending")?,
            })
        })
        .await?,
        recordings: super::recordings::of_call(pool, call).await?,
        handoffs: of_call(pool, call, "SELECT * FROM handoffs WHERE call = $1 ORDER BY handoff", handoff_row).await?,
    }))
}

pub async fn callbacks(pool: &Pool, filter: &CallbackFilter, page: &Page<(Moment, TaskId)>) -> Rows<CallbackRow> {
    let (after_time, after_task) = page.after.map(|(at, task)| (time(at), id(task.0))).unzip();
    let query = sqlx::query(
        "SELECT callbacks.*, phone, calls.theme, calls.queue
         FROM callbacks LEFT JOIN people USING (person) LEFT JOIN calls ON calls.call = callbacks.last_call
         WHERE ($1 IS NULL OR callbacks.region = $1) AND (NOT $2 OR closed IS NULL) AND ($3 IS NULL OR callbacks.person = $3)
           AND ($4 IS NULL OR (opened, task) > ($4, $5))
         ORDER BY opened, task LIMIT $6",
    )
    .bind(filter.region.map(|region| i64::from(region.0)))
    .bind(filter.open_only)
    .bind(filter.person.map(|person| person.0))
    .bind(after_time)
    .bind(after_task)
    .bind(i64::from(page.limit.min(PAGE_MAX)));
    read(query.fetch_all(pool).await, "list callbacks", callback_row)
}

pub async fn callback(pool: &Pool, task: TaskId) -> Result<Option<CallbackRow>, StoreError> {
    let query = sqlx::query(
        "SELECT callbacks.*, phone, calls.theme, calls.queue
         FROM callbacks LEFT JOIN people USING (person) LEFT JOIN calls ON calls.call = callbacks.last_call WHERE task = $1",
    );
    let rows = query.bind(id(task.0)).fetch_all(pool).await;
    Ok(read(rows, "look up a callback", callback_row)?.into_iter().next())
}

pub async fn agent_changes(pool: &Pool, region: Option<RegionId>, from: Moment, to: Moment) -> Rows<AgentChangeRow> {
    let query =
        sqlx::query("SELECT * FROM agent_changes WHERE at >= $1 AND at < $2 AND ($3 IS NULL OR region = $3) ORDER BY at, change");
    let query = query.bind(time(from)).bind(time(to)).bind(region.map(|region| i64::from(region.0)));
    read(query.fetch_all(pool).await, "list the agents' day", |row| {
        Ok(AgentChangeRow {
            agent: AgentId(row.name("agent")?),
            region: row.region()?,
            at: row.time("at")?,
            state: row.get("state")?,
            reason: row.get("reason")?,
        })
    })
}

/// Turns rows into values; shared with the deliverers' queries.
pub fn read<T>(
    rows: sqlx::Result<Vec<DbRow>>,
    doing: &'static str,
    each: impl Fn(Fields<'_>) -> Result<T, StoreError>,
) -> Rows<T> {
    rows.map_err(cannot(doing))?.iter().map(|row| each(Fields(row))).collect()
}

async fn of_call<T>(
    pool: &Pool,
    call: CallId,
    sql: &'static str,
    each: impl Fn(Fields<'_>) -> Result<T, StoreError>,
) -> Rows<T> {
    read(sqlx::query(sql).bind(call.0).fetch_all(pool).await, "look up a call", each)
}

fn call_row(row: Fields<'_>) -> Result<CallRow, StoreError> {
    let ended = match row.time_if("ended")? {
        Some(at) => Some((at, row.outcome("outcome")?)),
        None => None,
    };
    let script = match row.name_if("script")? {
        Some(script) => Some((ScriptId(script), row.count("script_version")?)),
        None => None,
    };
    Ok(CallRow {
        call: row.call()?,
        region: row.region()?,
        trunk: TrunkId(row.name("trunk")?),
        dialled: row.get("dialled")?,
        person: row.person_if()?,
        entered: row.time("entered")?,
        answered: row.time_if("answered")?,
        script,
        theme: row.get("theme")?,
        queue: row.name_if("queue")?.map(QueueId),
        urgent: row.get("urgent")?,
        queue_entered: row.time_if("queue_entered")?,
        first_offer: row.time_if("first_offer")?,
        talk_started: row.time_if("talk_started")?,
        talk_ended: row.time_if("talk_ended")?,
        agent: row.name_if("agent")?.map(AgentId),
        recording: row.get("recording")?,
        ended,
        unreachable: row.get("unreachable")?,
        callback: row.get::<Option<i64>>("callback")?.map(|task| TaskId(task.cast_unsigned())),
    })
}

fn handoff_row(row: Fields<'_>) -> Result<HandoffRow, StoreError> {
    let settled = match row.end_if("settled", "result")? {
        Some((at, result)) => Some((at, handoff_result(&row, &result)?)),
        None => None,
    };
    Ok(HandoffRow {
        handoff: HandoffId(row.id("handoff")?),
        theme: row.get("theme")?,
        requested: row.time("requested")?,
        settled,
    })
}

fn handoff_result(row: &Fields<'_>, word: &str) -> Result<HandoffResult, StoreError> {
    let text = |column| Ok::<_, StoreError>(row.get::<Option<String>>(column)?.unwrap_or_default());
    match word {
        "accepted" => Ok(HandoffResult::Accepted { reference: text("reference")? }),
        "booked" => Ok(HandoffResult::Booked { reference: text("reference")? }),
        "waitlisted" => Ok(HandoffResult::Waitlisted { reference: text("reference")? }),
        "refused" => Ok(HandoffResult::Refused { reason: text("reason")? }),
        other => Err(StoreError::Unreadable { column: "result", value: other.to_owned() }),
    }
}

fn callback_row(row: Fields<'_>) -> Result<CallbackRow, StoreError> {
    Ok(CallbackRow {
        task: TaskId(row.id("task")?),
        region: row.region()?,
        person: PersonId(row.get::<Uuid>("person")?),
        phone: row.get::<Option<&str>>("phone")?.and_then(|text| Phone::parse(text, None)),
        call: row.call()?,
        outcome: row.outcome("outcome")?,
        opened: row.time("opened")?,
        misses: row.count("misses")?,
        last_call: CallId(row.get("last_call")?),
        last_missed: row.time("last_missed")?,
        taken: row.time_if("taken")?.zip(row.name_if("taken_by")?.map(AgentId)),
        closed: row.end_if("closed", "ending")?,
        theme: row.get("theme")?,
        queue: row.name_if("queue")?.map(QueueId),
        booking: row.get("booking")?,
        promised: row.time_if("promised")?,
        attempts: row.get::<Option<i64>>("attempts")?.map_or(0, |n| u32::try_from(n).unwrap_or(u32::MAX)),
        last_attempt: row.end_if("last_attempt", "last_end")?,
    })
}
