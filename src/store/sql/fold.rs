//! Writes what a batch of the journal comes to. The batch and its journal position are one transaction.

use super::columns::{id, time};
use super::{Connection, Pool, begin, load, sequences, write};
use crate::ids::PersonId;
use crate::journal::PersonSeen;
use crate::store::fold::{Held, wanted};
use crate::store::table::CALLS;
use crate::store::{Deleted, Keep, Stamped};
use std::collections::{BTreeMap, BTreeSet};

/// Rows that retention deletes in one statement, so that the fold never waits long for it.
const DELETED_AT_ONCE: i64 = 1000;

pub async fn facts(pool: &Pool, facts: &[(u64, Stamped)], up_to: u64) -> Result<(), sqlx::Error> {
    let mut db = begin(pool).await?;
    let known = position(&mut db, "facts").await?;
    let new: Vec<_> = facts.iter().filter(|(position, _)| *position > known).collect();
    let (mut held, mut calls) = (Held::default(), BTreeSet::new());
    for wanted in wanted(new.iter().map(|(_, stamped)| &stamped.fact)) {
        for row in load(&mut db, &wanted).await? {
            held.take(wanted.table, row);
        }
        if wanted.table.name == CALLS.name {
            calls = wanted.keys;
        }
    }
    // Events that nobody is to get are not kept.
    let heard: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM receivers)").fetch_one(&mut *db).await?;
    if heard {
        calls.extend(held.calls_of_callbacks());
        for (call, last) in sequences(&mut db, calls).await? {
            held.take_sequence(call, last);
        }
    }
    for (position, stamped) in new {
        held.fold(*position, stamped);
        if heard {
            held.fold_event(*position, stamped);
        }
    }
    for handoff in std::mem::take(&mut held.settled) {
        sqlx::query("DELETE FROM handoff_attempts WHERE handoff = $1").bind(handoff).execute(&mut *db).await?;
    }
    for file in std::mem::take(&mut held.stepped) {
        sqlx::query("DELETE FROM recording_attempts WHERE file = $1").bind(file).execute(&mut *db).await?;
    }
    for (table, rows) in held.changed() {
        write(&mut db, table, &rows).await?;
    }
    set_position(&mut db, "facts", up_to.max(known)).await?;
    db.commit().await
}

pub async fn people(pool: &Pool, seen: &[(u64, PersonSeen)], up_to: u64) -> sqlx::Result<()> {
    let mut db = begin(pool).await?;
    let known = position(&mut db, "people").await?;
    let mut last: BTreeMap<PersonId, &PersonSeen> = BTreeMap::new();
    last.extend(seen.iter().filter(|(position, _)| *position > known).map(|(_, seen)| (seen.person, seen)));
    for (person, seen) in last {
        let query = sqlx::query(
            "INSERT INTO people (person, phone, last_seen) VALUES ($1, $2, $3)
             ON CONFLICT (person) DO UPDATE SET phone = excluded.phone, last_seen =
                 CASE WHEN excluded.last_seen > people.last_seen THEN excluded.last_seen ELSE people.last_seen END",
        );
        query.bind(person.0).bind(seen.phone.expose()).bind(time(seen.at)).execute(&mut *db).await?;
    }
    set_position(&mut db, "people", up_to.max(known)).await?;
    db.commit().await
}

pub async fn person_forget(pool: &Pool, person: PersonId) -> sqlx::Result<bool> {
    let done = sqlx::query("DELETE FROM people WHERE person = $1").bind(person.0).execute(pool).await?;
    Ok(done.rows_affected() > 0)
}

pub async fn retain(pool: &Pool, keep: &Keep) -> sqlx::Result<Deleted> {
    // Who is still owed a call, or whose case the booking core has not got yet, is not forgotten before.
    let people = sqlx::query(
        "DELETE FROM people WHERE person IN (
             SELECT person FROM people p WHERE last_seen < $1
               AND NOT EXISTS (SELECT 1 FROM callbacks c WHERE c.person = p.person AND c.closed IS NULL)
               AND NOT EXISTS (SELECT 1 FROM handoffs h WHERE h.person = p.person AND h.settled IS NULL)
               AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.person = p.person AND c.ended IS NULL)
             LIMIT $2)",
    );
    let people = people.bind(time(keep.people_since)).bind(DELETED_AT_ONCE).execute(pool).await?.rows_affected();
    // What a receiver refused for good needs its event no longer than what it took.
    let refused = sqlx::query(
        "DELETE FROM deliveries WHERE refused IS NOT NULL
           AND EXISTS (SELECT 1 FROM outbox o WHERE o.event = deliveries.event AND o.at < $1)",
    );
    refused.bind(time(keep.outbox_since)).execute(pool).await?;
    // The last event of a call stays while another may follow: it has the number from which that one counts on.
    let outbox = sqlx::query(
        "DELETE FROM outbox WHERE event IN (
             SELECT event FROM outbox o WHERE at < $1
               AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event = o.event)
               AND NOT EXISTS (SELECT 1 FROM receivers r WHERE r.cursor < o.event)
               AND NOT EXISTS (SELECT 1 FROM callbacks c WHERE c.call = o.call AND c.closed IS NULL)
               AND NOT EXISTS (SELECT 1 FROM calls c WHERE c.call = o.call AND c.ended IS NULL)
             LIMIT $2)",
    );
    let outbox = outbox.bind(time(keep.outbox_since)).bind(DELETED_AT_ONCE).execute(pool).await?.rows_affected();
    Ok(Deleted { people, outbox })
}

/// Where the tables are, locked until the end of the transaction: whoever else folds into them waits.
async fn position(db: &mut Connection, stream: &str) -> sqlx::Result<u64> {
    let sql = "UPDATE fold_position SET position = position WHERE stream = $1 RETURNING position";
    sqlx::query_scalar::<_, i64>(sql).bind(stream).fetch_one(db).await.map(i64::cast_unsigned)
}

async fn set_position(db: &mut Connection, stream: &str, position: u64) -> sqlx::Result<()> {
    let query = sqlx::query("UPDATE fold_position SET position = $1 WHERE stream = $2");
    query.bind(id(position)).bind(stream).execute(db).await.map(|_| ())
}
