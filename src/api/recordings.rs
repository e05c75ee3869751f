//! A call's recording as WAV, whole or in part, for players that jump.

use super::House;
use super::fault::{Asked, ErrorBody, Fault};
use super::records::read_call;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::io::SeekFrom;
use std::path::{Component, PathBuf};
use std::sync::Arc;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use utoipa::IntoParams;

/// Bytes read and sent at once.
const PIECE: usize = 64 * 1024;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RecordingQuery {
    /// Which recording of the call, from 0 (default) on.
    #[serde(default)]
    part: usize,
}

/// The recording of a call; `Range` with one range of bytes is understood.
#[utoipa::path(get, path = "/api/v1/recordings/{call}", tag = "records", params(("call" = String, Path), RecordingQuery),
    responses((status = 200, description = "WAV", content_type = "audio/wav"), (status = 206, content_type = "audio/wav"),
        (status = 404, body = ErrorBody), (status = 416, body = ErrorBody)))]
pub async fn recording(
    State(house): State<Arc<House>>,
    Path(call): Path<String>,
    Asked(query): Asked<RecordingQuery>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let id = read_call(&call)?;
    let none = || Fault::not_found(format!("call {call} has no such recording"), "see `recordings` in /api/v1/calls/{call}");
    let row = house.state.store.recordings(id).await?.into_iter().nth(query.part).ok_or_else(none)?;
    let path = house.recording_path(&row.file).ok_or_else(none)?;
    let gone = |cause| {
        tracing::warn!(call = %id, file = row.file, %cause, "a recording cannot be read");
        Fault::not_found(
            "the recording's file is gone or cannot be read",
            "see the log; it may have been deleted after its retention",
        )
    };
    let mut file = File::open(path).await.map_err(gone)?;
    let length = file.metadata().await.map_err(gone)?.len();
    let asked = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let (first, last, status) = match asked.map(|asked| read_range(asked, length)) {
        None | Some(Range::Ignored) => (0, length, StatusCode::OK),
        Some(Range::Part { first, end }) => (first, end, StatusCode::PARTIAL_CONTENT),
        Some(Range::Outside) => {
            let fault = Fault::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "the range lies beyond the end",
                format!("the file has {length} bytes"),
            );
            return Ok(([(header::CONTENT_RANGE, format!("bytes */{length}"))], fault).into_response());
        }
    };
    file.seek(SeekFrom::Start(first)).await.map_err(gone)?;
    tracing::info!(call = %id, part = query.part, "a recording was listened to");
    let mut rest = file.take(last.saturating_sub(first));
    let pieces = async_stream::stream! {
        loop {
            let mut piece = vec![0; PIECE];
            match rest.read(&mut piece).await {
                Ok(0) => break,
                Ok(read) => {
                    piece.truncate(read);
                    yield std::io::Result::Ok(piece);
                }
                Err(cause) => {
                    yield Err(cause);
                    break;
                }
            }
        }
    };
    let mut response = (status, Body::from_stream(pieces)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("audio/wav"));
    headers.insert(header::ACCEPT_RANGES, header::HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_LENGTH, last.saturating_sub(first).into());
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(value) = format!("bytes {first}-{}/{length}", last.saturating_sub(1)).parse()
    {
        headers.insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}

impl House {
    /// The tables name files relative to the folder of recordings; none leads out of it.
    fn recording_path(&self, file: &str) -> Option<PathBuf> {
        let file = PathBuf::from(file);
        let inside = file.components().all(|part| matches!(part, Component::Normal(_)));
        inside.then(|| self.state.recordings.join(file))
    }
}

#[derive(Debug, PartialEq)]
enum Range {
    /// `end` is not included.
    Part {
        first: u64,
        end: u64,
    },
    Outside,
    /// Another unit, or several ranges: the whole file is a right answer then (RFC 9110 §14.2).
    Ignored,
}

fn read_range(asked: &str, length: u64) -> Range {
    let Some((first, last)) = asked.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else { return Range::Ignored };
    let (first, end) = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if last < first => return Range::Ignored,
        (Ok(first), Ok(last)) => (first, last.saturating_add(1).min(length)),
        (Ok(first), Err(_)) if last.trim().is_empty() => (first, length),
        // The last so many bytes.
        (Err(_), Ok(0)) => return Range::Outside,
        (Err(_), Ok(suffix)) if first.trim().is_empty() => (length.saturating_sub(suffix), length),
        (Ok(_), Err(_)) | (Err(_), Ok(_)) | (Err(_), Err(_)) => return Range::Ignored,
    };
    if first < end { Range::Part { first, end } } else { Range::Outside }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_rfc_9110_says() {
        let table = [
            ("bytes=0-3", Range::Part { first: 0, end: 4 }),
            ("bytes=4-", Range::Part { first: 4, end: 10 }),
            ("bytes=-3", Range::Part { first: 7, end: 10 }),
            ("bytes=-30", Range::Part { first: 0, end: 10 }),
            ("bytes=8-99", Range::Part { first: 8, end: 10 }),
            ("bytes=10-", Range::Outside),
            ("bytes=-0", Range::Outside),
            ("bytes=5-2", Range::Ignored),
            ("bytes=0-1,4-5", Range::Ignored),
            ("bytes=18446744073709551615-18446744073709551615", Range::Outside),
            ("pages=1-2", Range::Ignored),
            ("bytes=", Range::Ignored),
        ];
        for (asked, range) in table {
            assert_eq!(read_range(asked, 10), range, "{asked}");
        }
    }
}
