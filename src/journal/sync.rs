//! The thread that brings written pages to the disk, so that nobody who writes ever waits for it.

use super::segments::{self, Snapshot};
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

pub struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    dir: PathBuf,
    every: Duration,
    work: Mutex<Work>,
    stopping: AtomicBool,
    durable: watch::Sender<u64>,
}

#[derive(Default)]
struct Work {
    files: Vec<Arc<File>>,
    position: u64,
    snapshot: Option<Snapshot>,
}

impl Syncer {
    /// Syncs what was written each `every`.
    pub fn start(dir: PathBuf, position: u64, every: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            dir,
            every,
            work: Mutex::default(),
            stopping: AtomicBool::new(false),
            durable: watch::Sender::new(position),
        });
        let for_thread = shared.clone();
        let thread = std::thread::Builder::new().name("journal-sync".into()).spawn(move || for_thread.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// `file` was written up to the stream's `position`.
    pub fn written(&self, file: &Arc<File>, position: u64) {
        self.add(|work| {
            if !work.files.iter().any(|known| Arc::ptr_eq(known, file)) {
                work.files.push(file.clone());
            }
            work.position = position;
        });
    }

    /// To be written once everything before it is on disk. A newer one replaces one that is still to be written.
    pub fn snapshot(&self, snapshot: Snapshot) {
        self.add(|work| {
            work.position = snapshot.position;
            work.snapshot = Some(snapshot);
        });
    }

    pub fn durable(&self) -> watch::Receiver<u64> {
        self.shared.durable.subscribe()
    }

    fn add(&self, change: impl FnOnce(&mut Work)) {
        let mut work = self.shared.work.lock().unwrap_or_else(PoisonError::into_inner);
        let was_idle = work.files.is_empty() && work.snapshot.is_none();
        change(&mut work);
        drop(work);
        if was_idle && let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut failing = false;
        loop {
            let stopping = self.stopping.load(Ordering::Acquire);
            let work = std::mem::take(&mut *self.work.lock().unwrap_or_else(PoisonError::into_inner));
            if work.files.is_empty() && work.snapshot.is_none() {
                if stopping {
                    return;
                }
                std::thread::park();
                continue;
            }
            let failed = work.files.iter().find_map(|file| file.sync_data().err());
            if let Some(error) = &failed
                && !failing
            {
                tracing::warn!(%error, dir = %self.dir.display(), "the journal cannot be brought to the disk: a power failure would lose it");
            }
            failing = failed.is_some();
            // Also when syncing fails: the folds go on, since a process that dies still loses nothing.
            self.durable.send_replace(work.position);
            if let Some(snapshot) = work.snapshot
                && let Err(error) = segments::snapshot_write(&self.dir, &snapshot)
            {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a snapshot was not written; the next start replays more"
                );
            }
            if !stopping {
                self.rest();
            }
        }
    }

    /// Sleeps until it is time to sync again, or the stream is closed.
    fn rest(&self) {
        let piece = self.every.min(Duration::from_millis(100));
        let mut slept = Duration::ZERO;
        while slept < self.every && !self.stopping.load(Ordering::Acquire) {
            std::thread::sleep(piece);
            slept += piece;
        }
    }
}
