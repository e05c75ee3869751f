//! Pictures of the board as they change, to everyone who watches: made once for all, bounded for each.

use super::House;
use super::fault::{ErrorBody, Fault};
use crate::call::view::Board;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};

/// At most two pictures a second: people do not read faster.
const EVERY: Duration = Duration::from_millis(500);
/// Who watches at once; beyond it 503.
const MAX_WATCHERS: usize = 200;
/// Pictures (the newest of eight seconds) held for one who reads slowly; then they are cut, and come again by themselves.
const MAX_HELD: usize = 16;
/// A comment after this long without a picture keeps proxies from closing the stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub struct Pictures {
    newest: watch::Sender<Option<Arc<Picture>>>,
    wanted: Arc<Notify>,
    seats: Arc<Semaphore>,
}

struct Picture {
    sequence: u64,
    json: String,
}

impl Default for Pictures {
    fn default() -> Self {
        Self { newest: watch::Sender::new(None), wanted: Arc::default(), seats: Arc::new(Semaphore::new(MAX_WATCHERS)) }
    }
}

impl Pictures {
    /// Makes pictures as long as the house stands and somebody watches.
    pub fn keep(house: &Arc<House>) {
        let (weak, wanted) = (Arc::downgrade(house), house.pictures.wanted.clone());
        tokio::spawn(async move {
            let mut shown = None;
            let mut pace = tokio::time::interval(EVERY);
            pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                let Some(house) = weak.upgrade() else { return };
                if house.pictures.newest.receiver_count() == 0 {
                    // Whoever comes next must not be shown what was true before.
                    house.pictures.newest.send_replace(None);
                    shown = None;
                    drop(house);
                    // A look once in a while whether the house still stands.
                    let _ = tokio::time::timeout(KEEP_ALIVE, wanted.notified()).await;
                    continue;
                }
                if let Ok(board) = house.board().await {
                    house.pictures.show(&board, &mut shown);
                }
                drop(house);
                pace.tick().await;
            }
        });
    }

    fn show(&self, board: &Board, shown: &mut Option<String>) {
        let (Ok(json), Ok(essence)) = (serde_json::to_string(board), serde_json::to_string(&essence(board))) else { return };
        if shown.as_ref() != Some(&essence) {
            *shown = Some(essence);
            self.newest.send_replace(Some(Arc::new(Picture { sequence: board.sequence, json })));
        }
    }
}

/// The picture without what changes by itself as time goes on; the page counts that on.
fn essence(board: &Board) -> Board {
    let mut still = board.clone();
    (still.sequence, still.at_ms, still.journal.position) = (0, 0, 0);
    for queue in &mut still.queues {
        // Since when the first one waits, in seconds.
        queue.longest_wait_ms = if queue.waiting == 0 { 0 } else { board.at_ms.saturating_sub(queue.longest_wait_ms) / 1000 };
    }
    still
}

/// `event: board` with a picture of the whole floor, at once and then at most twice a second, only if something changed. The id is
/// the picture's sequence: each holds everything, so nothing need be sent again to who comes back.
#[utoipa::path(get, path = "/api/v1/events", tag = "floor",
    responses((status = 200, description = "pictures of the board", body = Board, content_type = "text/event-stream"),
        (status = 503, body = ErrorBody)))]
pub async fn events(State(house): State<Arc<House>>) -> Result<Response, Fault> {
    let full = |_| Fault::new(StatusCode::SERVICE_UNAVAILABLE, "too many are watching", "close some boards, then ask again");
    let seat = house.pictures.seats.clone().try_acquire_owned().map_err(full)?;
    let pictures = house.pictures.newest.subscribe();
    house.pictures.wanted.notify_one();
    let (to_watcher, mut held) = mpsc::channel(MAX_HELD);
    tokio::spawn(feed(pictures, to_watcher, seat));
    let stream = async_stream::stream! {
        while let Some(picture) = held.recv().await {
            yield Ok::<_, Infallible>(Event::default().event("board").id(picture.sequence.to_string()).data(&picture.json));
        }
    };
    let stream = Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // Proxies must not gather pictures before they pass them on.
    Ok(([(header::HeaderName::from_static("x-accel-buffering"), "no")], stream).into_response())
}

/// Passes pictures on until the watcher is gone, or so slow that no more can be held: then the stream ends with what is held.
async fn feed(
    mut pictures: watch::Receiver<Option<Arc<Picture>>>,
    to_watcher: mpsc::Sender<Arc<Picture>>,
    _seat: OwnedSemaphorePermit,
) {
    loop {
        let picture = pictures.borrow_and_update().clone();
        if let Some(picture) = picture
            && to_watcher.try_send(picture).is_err()
        {
            return;
        }
        let changed = tokio::select! {
            changed = pictures.changed() => changed.is_ok(),
            () = to_watcher.closed() => false,
        };
        if !changed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_reads_too_slowly_is_cut_and_the_seat_is_free_again() {
        let (seats, newest) = (Arc::new(Semaphore::new(1)), watch::Sender::new(None));
        let (to_watcher, mut held) = mpsc::channel(MAX_HELD);
        let feeding = tokio::spawn(feed(newest.subscribe(), to_watcher, seats.clone().try_acquire_owned().unwrap()));
        for sequence in 1..=MAX_HELD {
            newest.send_replace(Some(picture(sequence)));
            while held.len() < sequence {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(seats.available_permits(), 0, "as many as can be held are held");

        newest.send_replace(Some(picture(MAX_HELD + 1)));
        feeding.await.unwrap();
        assert_eq!(seats.available_permits(), 1);
        for sequence in 1..=MAX_HELD {
            assert_eq!(held.recv().await.unwrap().sequence, sequence as u64);
        }
        assert!(held.recv().await.is_none(), "then the stream ends");
    }

    fn picture(sequence: usize) -> Arc<Picture> {
        Arc::new(Picture { sequence: sequence as u64, json: String::new() })
    }
}
