//! Moves everything from one store to another, so that an engine goes on with the other without a gap.

use super::table::FOLD_POSITION;
use super::{PAGE_MAX, Store, StoreError, TABLES, Table, Value};

#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("the store to copy from fails")]
    From(#[source] StoreError),
    #[error("the store to copy to fails; empty it before the next attempt")]
    To(#[source] StoreError),
    #[error("the store to copy to is not empty: {table} has rows; name an empty database, or drop its tables first")]
    NotEmpty { table: &'static str },
    #[error("the store was written to meanwhile; stop the engine, empty the copy and repeat")]
    Moved,
}

/// Table by table, the position last. `told` hears of each batch: the table and its rows so far.
pub async fn copy(from: &dyn Store, to: &dyn Store, mut told: impl FnMut(&'static str, usize)) -> Result<(), CopyError> {
    for table in TABLES {
        let found = to.rows(table, None, PAGE_MAX).await.map_err(CopyError::To)?;
        if found.iter().any(|row| !is_a_beginning(table, row)) {
            return Err(CopyError::NotEmpty { table: table.name });
        }
    }
    let before = from.rows(&FOLD_POSITION, None, PAGE_MAX).await.map_err(CopyError::From)?;
    for table in TABLES {
        let (mut after, mut copied) = (None, 0);
        loop {
            let rows = from.rows(table, after.as_deref(), PAGE_MAX).await.map_err(CopyError::From)?;
            let Some(last) = rows.last() else { break };
            if table.name == FOLD_POSITION.name && rows != before {
                return Err(CopyError::Moved);
            }
            after = Some(key(table, last));
            to.rows_put(table, &rows).await.map_err(CopyError::To)?;
            copied += rows.len();
            told(table.name, copied);
        }
    }
    Ok(())
}

/// A row that a new database has: the position at the beginning of the journal.
fn is_a_beginning(table: &Table, row: &[Value]) -> bool {
    table.name == FOLD_POSITION.name && row.get(1) == Some(&Value::Int(0))
}

fn key(table: &Table, row: &[Value]) -> Vec<Value> {
    table.key.iter().filter_map(|column| row.get(table.at(column)?).cloned()).collect()
}
