//! How values stand in columns: times and counted ids as BIGINT, UUIDs as 16 bytes, enums by their serde word.

use super::{StoreError, cannot};
use crate::clock::Moment;
use crate::facts::Outcome;
use crate::ids::*;
use serde::Serialize;
use sqlx::sqlite::{Sqlite, SqliteRow};
use sqlx::{Decode, Row, Type};
use std::sync::Arc;
use uuid::Uuid;

/// A time as it stands in a column; what is beyond year 292,000 is the end of time.
pub fn time(at: Moment) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

/// A counted id or a position; all 64 bits are kept.
pub fn id(raw: u64) -> i64 {
    raw.cast_signed()
}

/// The word of an enum's variant, the same as in the API.
pub fn word(value: impl Serialize) -> Option<String> {
    match serde_json::to_value(value).ok()? {
        serde_json::Value::String(word) => Some(word),
        _ => None,
    }
}

/// One row, read column by column.
pub struct Fields<'r>(pub &'r SqliteRow);

impl<'r> Fields<'r> {
    pub fn get<T: Decode<'r, Sqlite> + Type<Sqlite>>(&self, column: &'static str) -> Result<T, StoreError> {
        self.0.try_get(column).map_err(cannot("give a row"))
    }

    pub fn time(&self, column: &'static str) -> Result<Moment, StoreError> {
        self.get::<i64>(column).map(|us| Moment(us.max(0).cast_unsigned()))
    }

    pub fn time_if(&self, column: &'static str) -> Result<Option<Moment>, StoreError> {
        Ok(self.get::<Option<i64>>(column)?.map(|us| Moment(us.max(0).cast_unsigned())))
    }

    pub fn id(&self, column: &'static str) -> Result<u64, StoreError> {
        self.get::<i64>(column).map(i64::cast_unsigned)
    }

    pub fn count(&self, column: &'static str) -> Result<u32, StoreError> {
        self.get::<i64>(column).map(|n| u32::try_from(n).unwrap_or(u32::MAX))
    }

    pub fn call(&self) -> Result<CallId, StoreError> {
        self.get::<Uuid>("call").map(CallId)
    }

    pub fn region(&self) -> Result<RegionId, StoreError> {
        let number: i64 = self.get("region")?;
        u16::try_from(number).map(RegionId).map_err(|_| StoreError::Unreadable { column: "region", value: number.to_string() })
    }

    pub fn person_if(&self) -> Result<Option<PersonId>, StoreError> {
        Ok(self.get::<Option<Uuid>>("person")?.map(PersonId))
    }

    pub fn name(&self, column: &'static str) -> Result<Arc<str>, StoreError> {
        self.get::<&str>(column).map(Arc::from)
    }

    pub fn name_if(&self, column: &'static str) -> Result<Option<Arc<str>>, StoreError> {
        Ok(self.get::<Option<&str>>(column)?.map(Arc::from))
    }

    /// A time with the word that goes with it; both are there or neither.
    pub fn end_if(&self, column: &'static str, word: &'static str) -> Result<Option<(Moment, String)>, StoreError> {
        Ok(self.time_if(column)?.zip(self.get::<Option<String>>(word)?))
    }

    pub fn outcome(&self, column: &'static str) -> Result<Outcome, StoreError> {
        outcome(column, self.get(column)?)
    }
}

pub fn outcome(column: &'static str, word: &str) -> Result<Outcome, StoreError> {
    let known = Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == word);
    known.ok_or_else(|| StoreError::Unreadable { column, value: word.to_owned() })
}
