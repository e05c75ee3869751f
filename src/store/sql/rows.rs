//! Rows as they are, for moving them to another database.

use super::read::read;
use super::{Db, Pool, begin, cannot, write};
use crate::store::table::{Table, Value};
use crate::store::{PAGE_MAX, StoreError};
use sqlx::AssertSqlSafe;
use sqlx::query::Query;

pub async fn after(
    pool: &Pool,
    table: &'static Table,
    after: Option<&[Value]>,
    limit: u32,
) -> Result<Vec<Vec<Value>>, StoreError> {
    let (columns, key) = (table.column_list(), table.key.join(", "));
    let places: Vec<_> = (1..=table.key.len()).map(|n| format!("${n}")).collect();
    let rest = after.map_or_else(String::new, |_| format!(" WHERE ({key}) > ({})", places.join(", ")));
    let limit = limit.min(PAGE_MAX);
    let sql = format!("SELECT {columns} FROM {}{rest} ORDER BY {key} LIMIT {limit}", table.name);
    let query = after.unwrap_or_default().iter().fold(sqlx::query(AssertSqlSafe(sql)), bind);
    read(query.fetch_all(pool).await, "give rows", |row| row.values(table).map_err(cannot("give a row")))
}

pub async fn put(pool: &Pool, table: &'static Table, rows: &[Vec<Value>]) -> sqlx::Result<()> {
    let mut db = begin(pool).await?;
    write(&mut db, table, rows).await?;
    db.commit().await
}

type Asked<'q> = Query<'q, Db, <Db as sqlx::Database>::Arguments>;

fn bind<'q>(query: Asked<'q>, value: &Value) -> Asked<'q> {
    match value {
        // No key is NULL.
        Value::Null => query,
        Value::Int(number) => query.bind(*number),
        Value::Text(text) => query.bind(text.clone()),
        Value::Uuid(id) => query.bind(*id),
        Value::Bool(yes) => query.bind(*yes),
    }
}
