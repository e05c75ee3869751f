//! What a warm standby pulls: which files there are and how long, their bytes from any place on, and a copy of the tables to begin
//! with. A token of its own opens these doors and no others; without one in the configuration they are shut.

use super::House;
use super::fault::{Asked, ErrorBody, Fault};
use crate::store::sqlite::SqliteStore;
use crate::upkeep::standby::{Day, Listed, days, list, list_day};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use utoipa::IntoParams;

/// Longest that a question for what is new waits; recordings grow without a word in the journal.
const WAIT: Duration = Duration::from_millis(500);
/// Bytes given at once.
const PIECE: u64 = 4 << 20;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FilesQuery {
    /// Position of the journal that the asker has: the answer waits a little for more.
    seen: Option<u64>,
    /// Only the recordings of this day's folder.
    day: Option<String>,
}

/// Every file a standby must have, with its length: all but recordings, or those of one day. Wants the standby's token.
#[utoipa::path(get, path = "/api/v1/standby/files", tag = "standby", params(FilesQuery),
    responses((status = 200, description = "`path`, `bytes`, `mode` of each"), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn files(
    State(house): State<Arc<House>>,
    headers: HeaderMap,
    Asked(query): Asked<FilesQuery>,
) -> Result<Json<Vec<Listed>>, Fault> {
    house.let_standby_in(&headers)?;
    if let Some(seen) = query.seen {
        let mut committed = house.state.committed.clone();
        // Whether it came or not: the list says what there is.
        let _ = tokio::time::timeout(WAIT, committed.wait_for(|&position| position > seen)).await;
    }
    if query.day.as_ref().is_some_and(|day| !is_plain(Path::new(day))) {
        return Err(Fault::not_found("that is no day's folder", "ask for the days"));
    }
    let (data, recordings) = (house.state.data.clone(), house.state.recordings.folder().to_owned());
    look(move || match query.day {
        Some(day) => list_day(&recordings, &day),
        None => list(&data),
    })
    .await
}

/// The folders of recordings, a day each, and when something last came or went there. Wants the standby's token.
#[utoipa::path(get, path = "/api/v1/standby/days", tag = "standby",
    responses((status = 200, description = "`folder`, `changed` (µs since 1970) of each"), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn recorded_days(State(house): State<Arc<House>>, headers: HeaderMap) -> Result<Json<Vec<Day>>, Fault> {
    house.let_standby_in(&headers)?;
    let recordings = house.state.recordings.folder().to_owned();
    look(move || days(&recordings)).await
}

async fn look<T: Send + 'static>(at: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<Json<T>, Fault> {
    let seen = tokio::task::spawn_blocking(at).await.map_err(std::io::Error::other).flatten();
    seen.map(Json).map_err(|error| Fault::not_found(format!("the data folder cannot be listed: {error}"), "look at its rights"))
}

/// No way out of the folder it is looked for in.
fn is_plain(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_)))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FileQuery {
    path: String,
    from: u64,
}

/// Bytes of one file from a place on, a few megabytes at most. Wants the standby's token.
#[utoipa::path(get, path = "/api/v1/standby/file", tag = "standby", params(FileQuery),
    responses((status = 200, content_type = "application/octet-stream"), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn file(
    State(house): State<Arc<House>>,
    headers: HeaderMap,
    Asked(query): Asked<FileQuery>,
) -> Result<Response, Fault> {
    house.let_standby_in(&headers)?;
    let gone = || Fault::not_found(format!("there is no {}", query.path), "ask for the list again");
    let path = PathBuf::from(&query.path);
    let root = match path.strip_prefix("recordings") {
        Ok(rest) => house.state.recordings.folder().join(rest),
        Err(_) => house.state.data.join(&path),
    };
    // Only what the list names: not the API's token, nor anything outside.
    if !is_plain(&path) || !crate::upkeep::standby::is_pulled(&path) {
        return Err(gone());
    }
    let mut file = tokio::fs::File::open(root).await.map_err(|_| gone())?;
    file.seek(std::io::SeekFrom::Start(query.from)).await.map_err(|_| gone())?;
    let mut bytes = Vec::new();
    file.take(PIECE).read_to_end(&mut bytes).await.map_err(|_| gone())?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], Body::from(bytes)).into_response())
}

/// The tables as of this moment, as one database file. Wants the standby's token.
#[utoipa::path(get, path = "/api/v1/standby/tables", tag = "standby",
    responses((status = 200, content_type = "application/octet-stream"), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn tables(State(house): State<Arc<House>>, headers: HeaderMap) -> Result<Response, Fault> {
    house.let_standby_in(&headers)?;
    let copy = house.state.data.join("standby-tables.tmp");
    let _ = tokio::fs::remove_file(&copy).await;
    SqliteStore::new(&house.state.data.join("dozvon.db")).copy_as_it_is(&copy).await?;
    let opened = tokio::fs::File::open(&copy).await;
    // It is read to its end, and then gone.
    let _ = tokio::fs::remove_file(&copy).await;
    let mut file = opened.map_err(|error| Fault::not_found(format!("the copy cannot be read: {error}"), "ask again"))?;
    let pieces = async_stream::stream! {
        loop {
            let mut piece = Vec::new();
            match (&mut file).take(PIECE).read_to_end(&mut piece).await {
                Ok(0) => break,
                Ok(_) => yield Ok(piece),
                Err(error) => yield Err(error),
            }
        }
    };
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], Body::from_stream(pieces)).into_response())
}

impl House {
    fn let_standby_in(&self, headers: &HeaderMap) -> Result<(), Fault> {
        let Some(token) = &self.state.standby_token else {
            let remedy = "give [standby] a token_env or token_file, the same on both machines";
            return Err(Fault::not_found("no standby is configured here", remedy));
        };
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.strip_prefix("Bearer "));
        if shown.is_some_and(|shown| super::same(shown, token.expose())) { Ok(()) } else { Err(Fault::unauthorized()) }
    }
}
