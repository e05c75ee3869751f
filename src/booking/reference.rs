//! The embedded booking core: a small one that keeps its word, for a first start, for tests and as a model for adapters.
//! It stands for somebody else's system, so it has a database file of its own.

use super::*;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use tokio::sync::OnceCell;
use uuid::Uuid;

pub struct ReferenceCore {
    pool: SqlitePool,
    migrated: OnceCell<()>,
    /// Cases of these themes get the first free slot, or a place on the waiting list.
    booking_themes: BTreeSet<String>,
    fault: Mutex<Fault>,
}

/// What can be wrong with a core, to be tried on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    Down,
    Slow(Duration),
    /// The work is done, the answer is lost.
    AnswerLost,
    /// A hand-off that it has already is answered with `duplicate` instead of its result.
    Duplicate,
}

/// A hand-off as the core holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    pub case: Case,
    pub taken: Moment,
    pub result: HandoffResult,
}

impl ReferenceCore {
    /// Touches nothing yet; the file is made and brought up to date at first use.
    pub fn new(path: &Path, booking_themes: BTreeSet<String>) -> Self {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
        // What is forgotten is overwritten, not only let go.
        let options = options.pragma("secure_delete", "on");
        let pool = SqlitePoolOptions::new().max_connections(1).connect_lazy_with(options);
        Self { pool, migrated: OnceCell::new(), booking_themes, fault: Mutex::new(Fault::None) }
    }

    pub fn fault(&self, fault: Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Opens an appointment for booking; one that exists already stays as it is.
    pub async fn slot_add(&self, region: RegionId, service: &str, doctor: &str, starts: Moment) -> Result<(), CoreError> {
        let sql = "INSERT INTO core_slots (region, service, doctor, starts) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
        let query = sqlx::query(sql).bind(region.0).bind(service).bind(doctor).bind(time(starts));
        query.execute(self.pool().await?).await.map(|_| ()).map_err(away)
    }

    /// The hand-offs it took, newest first.
    pub async fn handoffs(&self, limit: u32) -> Result<Vec<Held>, CoreError> {
        let query = sqlx::query("SELECT * FROM core_handoffs ORDER BY taken DESC, handoff DESC LIMIT ?").bind(limit);
        let rows = query.fetch_all(self.pool().await?).await.map_err(away)?;
        rows.iter().map(held).collect::<sqlx::Result<_>>().map_err(away)
    }

    /// Erases the numbers of a person's cases; the cases stay. Returns how many had one.
    pub async fn forget(&self, person: PersonId) -> Result<u64, CoreError> {
        let pool = self.pool().await?;
        let sql = "UPDATE core_handoffs SET phone = NULL WHERE person = ? AND phone IS NOT NULL";
        let erased = sqlx::query(sql).bind(person.0).execute(pool).await.map_err(away)?;
        // Old pages with the number would stay in the write-ahead file.
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(pool).await.map_err(away)?;
        Ok(erased.rows_affected())
    }

    async fn pool(&self) -> Result<&SqlitePool, CoreError> {
        let migrate = || async { sqlx::migrate!("migrations/core").run(&self.pool).await };
        self.migrated.get_or_try_init(migrate).await.map_err(away)?;
        Ok(&self.pool)
    }

    /// The pool, unless a fault forbids it.
    async fn up(&self) -> Result<(&SqlitePool, Fault), CoreError> {
        let fault = *self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Fault::Down => return Err(CoreError::Unavailable("503".into())),
            Fault::Slow(pause) => tokio::time::sleep(pause).await,
            Fault::None | Fault::AnswerLost | Fault::Duplicate => {}
        }
        Ok((self.pool().await?, fault))
    }

    /// Takes a case that is not there yet.
    async fn take(&self, db: &mut SqliteConnection, case: &Case, now: Moment) -> sqlx::Result<HandoffResult> {
        let key = case.handoff.0.to_string();
        let result = match case.theme.as_deref().filter(|theme| self.booking_themes.contains(*theme)) {
            None => HandoffResult::Accepted { reference: format!("C-{key}") },
            Some(service) => match first_free(db, case.region, service, now).await? {
                Some(slot) if book(db, slot, &key, now).await? => HandoffResult::Booked { reference: booking_reference(&key) },
                Some(_) | None => HandoffResult::Waitlisted { reference: wait(db, case.region, service, &key, now).await? },
            },
        };
        let (word, reference) = match &result {
            HandoffResult::Accepted { reference } => ("accepted", reference.as_str()),
            HandoffResult::Booked { reference } => ("booked", reference.as_str()),
            HandoffResult::Waitlisted { reference } => ("waitlisted", reference.as_str()),
            HandoffResult::Refused { reason } => ("refused", reason.as_str()),
        };
        sqlx::query(
            "INSERT INTO core_handoffs (handoff, region, call, person, phone, theme, taken, result, reference)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(case.handoff.0.cast_signed())
        .bind(case.region.0)
        .bind(case.call.0)
        .bind(case.person.map(|person| person.0))
        .bind(case.phone.as_ref().map(Phone::expose))
        .bind(case.theme.as_deref())
        .bind(time(now))
        .bind(word)
        .bind(reference)
        .execute(&mut *db)
        .await?;
        Ok(result)
    }
}

#[async_trait]
impl BookingCore for ReferenceCore {
    async fn hand_off(&self, case: &Case, now: Moment) -> Result<HandoffResult, CoreError> {
        let (pool, fault) = self.up().await?;
        let mut db = pool.begin_with("BEGIN IMMEDIATE").await.map_err(away)?;
        let known = sqlx::query("SELECT * FROM core_handoffs WHERE handoff = ?").bind(case.handoff.0.cast_signed());
        let known = known.fetch_optional(&mut *db).await.map_err(away)?;
        let result = match known {
            Some(row) if fault == Fault::Duplicate => {
                return Err(CoreError::Duplicate { reference: row.try_get("reference").map_err(away)? });
            }
            Some(row) => held(&row).map_err(away)?.result,
            None => self.take(&mut db, case, now).await.map_err(away)?,
        };
        db.commit().await.map_err(away)?;
        match fault {
            Fault::AnswerLost => Err(CoreError::Unavailable("the connection was closed before an answer".into())),
            Fault::None | Fault::Down | Fault::Slow(_) | Fault::Duplicate => Ok(result),
        }
    }

    async fn slots(&self, region: RegionId, service: &str, now: Moment, limit: u32) -> Result<Vec<Slot>, CoreError> {
        let query = sqlx::query(
            "SELECT slot, doctor, starts FROM core_slots
             WHERE region = ?1 AND service = ?2 AND starts > ?3 AND booking IS NULL AND (hold IS NULL OR hold_until <= ?3)
             ORDER BY starts, slot LIMIT ?4",
        );
        let query = query.bind(region.0).bind(service).bind(time(now)).bind(limit);
        let rows = query.fetch_all(self.up().await?.0).await.map_err(away)?;
        let slot = |row: &SqliteRow| {
            let (slot, doctor) = (SlotId(row.try_get("slot")?), row.try_get("doctor")?);
            Ok(Slot { slot, doctor, starts: Moment(row.try_get::<i64, _>("starts")?.cast_unsigned()) })
        };
        rows.iter().map(slot).collect::<sqlx::Result<_>>().map_err(away)
    }

    async fn hold(&self, slot: SlotId, key: &str, now: Moment, until: Moment) -> Result<(), CoreError> {
        let query = sqlx::query(
            "UPDATE core_slots SET hold = ?1, hold_until = ?2
             WHERE slot = ?3 AND booking IS NULL AND (hold IS NULL OR hold = ?1 OR hold_until <= ?4)",
        );
        let query = query.bind(key).bind(time(until)).bind(slot.0).bind(time(now));
        let done = query.execute(self.up().await?.0).await.map_err(away)?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(CoreError::SlotTaken) }
    }

    async fn book(&self, slot: SlotId, key: &str, now: Moment) -> Result<String, CoreError> {
        let mut db = self.up().await?.0.acquire().await.map_err(away)?;
        let booked = book(&mut db, slot, key, now).await.map_err(away)?;
        if booked { Ok(booking_reference(key)) } else { Err(CoreError::SlotTaken) }
    }

    async fn cancel(&self, reference: &str) -> Result<(), CoreError> {
        let query = sqlx::query("UPDATE core_slots SET booking = NULL WHERE booking = ?").bind(reference);
        let done = query.execute(self.up().await?.0).await.map_err(away)?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(CoreError::Refused("there is no such booking".into())) }
    }

    async fn waitlist(&self, region: RegionId, service: &str, key: &str, now: Moment) -> Result<String, CoreError> {
        let mut db = self.up().await?.0.acquire().await.map_err(away)?;
        wait(&mut db, region, service, key, now).await.map_err(away)
    }
}

async fn first_free(db: &mut SqliteConnection, region: RegionId, service: &str, now: Moment) -> sqlx::Result<Option<SlotId>> {
    let query = sqlx::query_scalar(
        "SELECT slot FROM core_slots
         WHERE region = ?1 AND service = ?2 AND starts > ?3 AND booking IS NULL AND (hold IS NULL OR hold_until <= ?3)
         ORDER BY starts, slot LIMIT 1",
    );
    Ok(query.bind(region.0).bind(service).bind(time(now)).fetch_optional(db).await?.map(SlotId))
}

/// `true` if the slot is booked under this key, now or before.
async fn book(db: &mut SqliteConnection, slot: SlotId, key: &str, now: Moment) -> sqlx::Result<bool> {
    let query = sqlx::query(
        "UPDATE OR IGNORE core_slots SET booking = ?1, hold = NULL, hold_until = NULL
         WHERE slot = ?2 AND (booking = ?1 OR (booking IS NULL AND (hold IS NULL OR hold = ?3 OR hold_until <= ?4)))",
    );
    let query = query.bind(booking_reference(key)).bind(slot.0).bind(key).bind(time(now));
    Ok(query.execute(db).await?.rows_affected() == 1)
}

async fn wait(db: &mut SqliteConnection, region: RegionId, service: &str, key: &str, now: Moment) -> sqlx::Result<String> {
    let reference = format!("W-{key}");
    let sql = "INSERT INTO core_waiting (reference, region, service, since) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
    sqlx::query(sql).bind(&reference).bind(region.0).bind(service).bind(time(now)).execute(db).await?;
    Ok(reference)
}

fn booking_reference(key: &str) -> String {
    format!("B-{key}")
}

fn held(row: &SqliteRow) -> sqlx::Result<Held> {
    let reference = row.try_get("reference")?;
    let result = match row.try_get("result")? {
        "booked" => HandoffResult::Booked { reference },
        "waitlisted" => HandoffResult::Waitlisted { reference },
        // The column's CHECK knows one more word.
        _accepted => HandoffResult::Accepted { reference },
    };
    let case = Case {
        handoff: HandoffId(row.try_get::<i64, _>("handoff")?.cast_unsigned()),
        call: CallId(row.try_get("call")?),
        region: RegionId(row.try_get("region")?),
        person: row.try_get::<Option<Uuid>, _>("person")?.map(PersonId),
        phone: row.try_get::<Option<&str>, _>("phone")?.and_then(|text| Phone::parse(text, None)),
        theme: row.try_get("theme")?,
    };
    Ok(Held { case, taken: Moment(row.try_get::<i64, _>("taken")?.cast_unsigned()), result })
}

fn time(at: Moment) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

fn away(error: impl std::error::Error) -> CoreError {
    CoreError::Unavailable(error.to_string())
}
