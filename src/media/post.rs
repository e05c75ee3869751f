//! What media has told and the engine has not written down yet: numbered, kept, told again to the engine that comes next.

use super::door::{MediaEvent, Told};
use super::framing::add_frame;
use super::thread::lock;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

/// Events kept for an engine that is away, about 10 MB: ten for each of the 6,000 legs a line may have. Beyond it the oldest go.
pub const UNNOTED_MAX: usize = 65_536;
/// Events written at once; the media threads that tell more wait as long as these take to encode.
const BATCH: usize = 256;

#[derive(Default)]
pub struct Post {
    book: Mutex<Book>,
    news: Condvar,
}

#[derive(Default)]
struct Book {
    /// Number of the last event told.
    last: u64,
    /// Without gaps in their numbers, the oldest first.
    unnoted: VecDeque<Told>,
    /// Events dropped since the last engine noted something.
    lost: u64,
    /// The engine that listens; each has a number of its own, 0 is none.
    engine: u64,
    closed: bool,
}

impl Post {
    /// Called on media threads; waits only for a batch that is being encoded.
    pub fn tell(&self, event: MediaEvent) {
        let mut book = lock(&self.book);
        book.last += 1;
        let number = book.last;
        book.unnoted.push_back(Told { number, event });
        if book.unnoted.len() > UNNOTED_MAX {
            book.unnoted.pop_front();
            if book.lost == 0 {
                tracing::error!(kept = UNNOTED_MAX, "no engine takes the events; the oldest are dropped from here on");
            }
            book.lost += 1;
        }
        drop(book);
        self.news.notify_all();
    }

    pub fn noted(&self, number: u64) {
        let mut book = lock(&self.book);
        while book.unnoted.front().is_some_and(|told| told.number <= number) {
            book.unnoted.pop_front();
        }
        if book.lost > 0 {
            tracing::error!(lost = book.lost, "so many events were dropped while no engine took them");
            book.lost = 0;
        }
    }

    /// From here on `engine` is told, nobody else. The answer is the number of the last event told before.
    pub fn attach(&self, engine: u64) -> u64 {
        let mut book = lock(&self.book);
        book.engine = engine;
        self.news.notify_all();
        book.last
    }

    /// `engine` listens no more.
    pub fn detach(&self, engine: u64) {
        let mut book = lock(&self.book);
        if book.engine == engine {
            book.engine = 0;
        }
        self.news.notify_all();
    }

    /// Nothing more will be told: who listens gets the rest and is let go.
    pub fn close(&self) {
        lock(&self.book).closed = true;
        self.news.notify_all();
    }

    /// Waits for events with a number over `after` and adds the next of them to `bytes`. The answer is the number of the last added;
    /// `None` if `engine` is not told any more.
    pub fn next(&self, engine: u64, after: u64, bytes: &mut Vec<u8>) -> Option<u64> {
        let mut book = lock(&self.book);
        loop {
            if book.engine != engine {
                return None;
            }
            if book.last > after {
                break;
            }
            if book.closed {
                return None;
            }
            book = self.news.wait(book).unwrap_or_else(PoisonError::into_inner);
        }
        let first = book.unnoted.partition_point(|told| told.number <= after);
        let mut last = after;
        for told in book.unnoted.iter().skip(first).take(BATCH) {
            last = told.number;
            if let Err(error) = add_frame(bytes, told) {
                tracing::error!(%error, number = told.number, "an event cannot be told");
            }
        }
        // What was noted or dropped meanwhile is passed over.
        Some(if last == after { book.last } else { last })
    }
}
