//! A call's recording as WAV or Opus, whole or in part, for players that jump. Who listens is written down.

use super::House;
use super::fault::{Asked, ErrorBody, Fault};
use super::records::read_call;
use crate::call::request::Request;
use crate::facts::Fact;
use crate::recordings::{Form, Packed};
use crate::store::RecordingRow;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
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
    /// `wav` (default), or `ogg`: Opus as it is kept, an eighth of the size.
    #[serde(default)]
    #[param(value_type = String)]
    form: Form,
}

/// The recording of a call; `Range` with one range of bytes is understood.
#[utoipa::path(get, path = "/api/v1/recordings/{call}", tag = "records", params(("call" = String, Path), RecordingQuery),
    responses((status = 200, description = "WAV or Ogg Opus", content_type = "audio/wav"),
        (status = 206, content_type = "audio/wav"), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 416, body = ErrorBody)))]
pub async fn recording(
    State(house): State<Arc<House>>,
    Path(call): Path<String>,
    Asked(query): Asked<RecordingQuery>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let id = read_call(&call)?;
    let none = || Fault::not_found(format!("call {call} has no such recording"), "see `recordings` in /api/v1/calls/{call}");
    let row = house.state.store.recordings(id).await?.into_iter().nth(query.part).ok_or_else(none)?;
    let file = row.file.clone();
    let form = query.form;
    let (shelf, asked_of) = (house.state.recordings.clone(), row.clone());
    let opened = tokio::task::spawn_blocking(move || open(&shelf, &asked_of, form)).await;
    let (source, length) = opened.unwrap_or_else(|_| Err(unreadable()))?;
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
    tracing::info!(call = %id, part = query.part, first, last, "a recording was listened to");
    let who = if house.state.token.is_some() { "token" } else { "open" };
    let heard = Fact::RecordingHeard { call: id, file, who: who.to_owned() };
    // Nobody listens unwritten.
    house.state.engine.requests.send(Request::RecordingNews(heard)).await.map_err(|_| crate::call::request::Refusal::Busy)?;

    let mut response = (status, pieces(source, first, last)).into_response();
    let headers = response.headers_mut();
    let kind = match form {
        Form::Wav => "audio/wav",
        Form::Ogg => "audio/ogg; codecs=opus",
    };
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
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

enum Source {
    /// Not packed (yet).
    Wav(File),
    Packed(Box<Packed>, Form),
}

impl Source {
    fn read(&mut self, at: u64, most: usize) -> std::io::Result<Vec<u8>> {
        match self {
            Source::Wav(file) => {
                let mut piece = vec![0; most];
                let read = file.read_at(&mut piece, at)?;
                piece.truncate(read);
                Ok(piece)
            }
            Source::Packed(packed, form) => packed.read(*form, at, most).map_err(std::io::Error::other),
        }
    }
}

/// Opens what there is of a recording, with its length in this form.
fn open(shelf: &crate::recordings::Shelf, row: &RecordingRow, form: Form) -> Result<(Source, u64), Fault> {
    if let Some((_, why)) = &row.deleted {
        return Err(Fault::not_found(format!("the recording is deleted ({why})"), "nothing is left of it here"));
    }
    if !row.here {
        let place = row.archived.as_ref().map(|(_, place)| place.as_str()).unwrap_or_default();
        return Err(Fault::not_found(
            "the recording lies in the archive only",
            format!("fetch {place} and open it with its key"),
        ));
    }
    let gone = |cause: &dyn std::fmt::Display| {
        tracing::warn!(call = %row.call, file = row.file, %cause, "a recording cannot be read");
        unreadable()
    };
    // A WAV may be packed between the look at the tables and here.
    let wav = shelf.wav(&row.file).filter(|path| row.sealed.is_none() && path.is_file());
    match (wav, form) {
        (Some(path), Form::Wav) => {
            let file = File::open(path).map_err(|cause| gone(&cause))?;
            let length = file.metadata().map_err(|cause| gone(&cause))?.len();
            Ok((Source::Wav(file), length))
        }
        (Some(_), Form::Ogg) => {
            Err(Fault::new(StatusCode::CONFLICT, "the recording is not packed yet", "ask for form=wav, or again later"))
        }
        (None, _) => {
            let packed = shelf.open(&row.file).map_err(|cause| gone(&cause))?;
            let length = packed.length(form);
            Ok((Source::Packed(Box::new(packed), form), length))
        }
    }
}

fn unreadable() -> Fault {
    Fault::not_found(
        "the recording's file is gone or cannot be read",
        "see the log; `dozvon recording verify` names all such files",
    )
}

/// Read on threads that may wait: opening and decoding are work.
fn pieces(mut source: Source, first: u64, end: u64) -> Body {
    Body::from_stream(async_stream::stream! {
        let mut at = first;
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(PIECE);
            let reading = tokio::task::spawn_blocking(move || {
                let piece = source.read(at, most);
                (source, piece)
            });
            let Ok((back, piece)) = reading.await else { break };
            source = back;
            match piece {
                Ok(piece) if piece.is_empty() => break,
                Ok(piece) => {
                    at += piece.len() as u64;
                    yield Ok(piece);
                }
                Err(cause) => {
                    yield Err(cause);
                    break;
                }
            }
        }
    })
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
