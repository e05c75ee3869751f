//! How values stand in columns: times and counted ids as BIGINT, enums by their serde word.

use super::{Db, DbRow, StoreError, cannot};
use crate::clock::Moment;
use crate::facts::Outcome;
use crate::ids::*;
use crate::store::table::{Kind, Table, Value};
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

/// One row, read column by column.
pub struct Fields<'r>(pub &'r DbRow);

impl<'r> Fields<'r> {
    pub fn get<T: Decode<'r, Db> + Type<Db>>(&self, column: &'static str) -> Result<T, StoreError> {
        self.0.try_get(column).map_err(cannot("give a row"))
    }

    /// The whole row, column by column as the table has them.
    pub fn values(&self, table: &Table) -> sqlx::Result<Vec<Value>> {
        let value = |&(column, kind): &(&str, Kind)| {
            Ok(match kind {
                Kind::Int => self.0.try_get::<Option<i64>, _>(column)?.into(),
                Kind::Text => self.0.try_get::<Option<String>, _>(column)?.into(),
                Kind::Uuid => self.0.try_get::<Option<Uuid>, _>(column)?.into(),
                Kind::Bool => self.0.try_get::<Option<bool>, _>(column)?.into(),
            })
        };
        table.columns.iter().map(value).collect()
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
