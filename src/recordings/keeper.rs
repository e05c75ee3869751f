//! The one thread that packs, archives and deletes recordings, at the lowest priority, as the tables tell it what is due.
//!
//! Whatever it did is a fact before the next step; whatever it did not (full disk, archive away) it tries again, with longer pauses.

use super::archive::Archive;
use super::pack::{PackError, pack};
use super::{Shelf, sealed_name};
use crate::clock::{Clock, Moment};
use crate::facts::{Fact, RecordingGone};
use crate::ids::QueueId;
use crate::store::writer::Folded;
use crate::store::{RecordingRow, RecordingStep, Store, StoreError};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

/// Taken up at once; what is due after them is asked for again.
const AT_ONCE: u32 = 16;
/// Looks for what is due at least this often.
const LOOK_EACH: Duration = Duration::from_secs(1);
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LONGEST: Duration = Duration::from_secs(300);
/// A fact that was told is journalled and folded long before; if the engine dies first, the step is done again.
const FOLD_WITHIN: Duration = Duration::from_secs(60);
/// A recording that nobody closed is packed this long after its call: its writer has nothing more by then.
const UNCLOSED: Duration = Duration::from_secs(60);
/// What the archive did not take for this long becomes a person's.
const ARCHIVE_WITHIN: Duration = Duration::from_secs(3 * 86_400);
const RETENTION_EACH: Duration = Duration::from_secs(86_400);
/// The kindest there is to other threads.
const NICE: libc::c_int = 19;

/// How long recordings of a queue are kept.
pub type Keep = Box<dyn Fn(Option<&QueueId>) -> Duration + Send>;

pub struct Keeper {
    pub shelf: Shelf,
    pub store: Arc<dyn Store>,
    /// `false`: WAVs stay as they are.
    pub pack: bool,
    pub archive: Option<Archive>,
    pub keep: Keep,
}

impl Keeper {
    /// Works on a thread of its own until the tables' writer has ended or nobody hears the facts.
    pub fn start(
        self,
        clock: Clock,
        tables: Handle,
        folded: watch::Receiver<Folded>,
        facts: mpsc::Sender<Fact>,
    ) -> io::Result<std::thread::JoinHandle<()>> {
        std::thread::Builder::new().name("recordings".into()).spawn(move || {
            // SAFETY: takes numbers only. On Linux 0 is the calling thread, and each thread has a priority of its own.
            if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } != 0 {
                tracing::warn!(error = %io::Error::last_os_error(), "recordings are packed at the usual priority");
            }
            self.run(clock, &tables, folded, &facts);
        })
    }

    fn run(self, clock: Clock, tables: &Handle, mut folded: watch::Receiver<Folded>, facts: &mpsc::Sender<Fact>) {
        let (mut failing, mut retention_at) = (false, Moment::ZERO);
        loop {
            let now = clock.now();
            let mut turn = tables.block_on(self.turn(now, facts));
            if matches!(turn, Ok(Turn::Done)) && now >= retention_at {
                turn = tables.block_on(self.delete_old(now, facts));
                if turn.is_ok() {
                    retention_at = now + RETENTION_EACH;
                }
            }
            match turn {
                Ok(Turn::Unheard) => return,
                Ok(Turn::Done) => failing = false,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(error = &error as &dyn std::error::Error, "recordings wait for the tables");
                    }
                }
            }
            let changed = tables.block_on(async { tokio::time::timeout(LOOK_EACH, folded.changed()).await });
            if matches!(changed, Ok(Err(_))) {
                return;
            }
        }
    }

    /// Does everything that is due now, once.
    pub async fn turn(&self, now: Moment, facts: &mpsc::Sender<Fact>) -> Result<Turn, StoreError> {
        if self.pack {
            let unclosed_before = Moment(now.0.saturating_sub(UNCLOSED.as_micros() as u64));
            let step = RecordingStep::Pack { unclosed_before };
            for row in self.store.recordings_due(step, now, AT_ONCE).await? {
                let fact = self.pack_one(&row);
                if self.settle(&row, now, fact, facts).await? == Turn::Unheard {
                    return Ok(Turn::Unheard);
                }
            }
        }
        if let Some(archive) = &self.archive {
            for row in self.store.recordings_due(RecordingStep::Archive, now, AT_ONCE).await? {
                let fact = self.archive_one(archive, &row, now);
                if self.settle(&row, now, fact, facts).await? == Turn::Unheard {
                    return Ok(Turn::Unheard);
                }
            }
        }
        Ok(Turn::Done)
    }

    /// Notes the try, then tells the fact if there is one.
    async fn settle(
        &self,
        row: &RecordingRow,
        now: Moment,
        fact: Option<Fact>,
        facts: &mpsc::Sender<Fact>,
    ) -> Result<Turn, StoreError> {
        let next_at = now + if fact.is_some() { FOLD_WITHIN } else { pause_after(row.attempts) };
        self.store.recording_tried(&row.file, next_at).await?;
        let heard = match fact {
            Some(fact) => facts.send(fact).await.is_ok(),
            None => true,
        };
        Ok(if heard { Turn::Done } else { Turn::Unheard })
    }

    fn pack_one(&self, row: &RecordingRow) -> Option<Fact> {
        let counts = self.shelf.counts();
        let (call, file) = (row.call, row.file.clone());
        match pack(&self.shelf, &row.file, row.region) {
            Ok(packed) => {
                counts.packed.fetch_add(1, Ordering::Relaxed);
                counts.failing.store(0, Ordering::Relaxed);
                tracing::info!(%call, bytes = packed.bytes, ms = packed.ms, "recording packed and sealed");
                let super::PackedFile { name, bytes, ms, sha256, key } = packed;
                Some(Fact::RecordingPacked { call, file, sealed: name, bytes, ms, sha256, key })
            }
            Err(PackError::Gone) => {
                tracing::error!(%call, file, "a recording's file is gone");
                Some(Fact::RecordingDeleted { call, file, why: RecordingGone::Missing })
            }
            Err(error) => {
                counts.pack_failures.fetch_add(1, Ordering::Relaxed);
                counts.failing.store(1, Ordering::Relaxed);
                if row.attempts == 0 {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(%call, file, error, "a recording cannot be packed; its WAV stays, and it is tried again");
                }
                None
            }
        }
    }

    fn archive_one(&self, archive: &Archive, row: &RecordingRow, now: Moment) -> Option<Fact> {
        let sealed = row.sealed.as_ref()?;
        let path = self.shelf.wav(&sealed.file)?;
        let (call, file) = (row.call, row.file.clone());
        match archive.put(now, &path, sealed) {
            Ok(place) => {
                self.shelf.counts().archived.fetch_add(1, Ordering::Relaxed);
                tracing::info!(%call, place, "recording archived");
                // After a death right here it is gone already.
                if !archive.keep_local {
                    let _ = std::fs::remove_file(&path);
                }
                let kept = path.exists();
                Some(Fact::RecordingArchived { call, file, place, kept })
            }
            Err(error) => {
                self.shelf.counts().archive_failures.fetch_add(1, Ordering::Relaxed);
                let why = error.to_string();
                if row.attempts == 0 {
                    tracing::error!(%call, why, "a recording cannot be archived; it stays here and is tried again");
                }
                let give_up = now.since(sealed.at) >= ARCHIVE_WITHIN;
                give_up.then_some(Fact::RecordingNotArchived { call, file, why })
            }
        }
    }

    /// Deletes what was kept as long as its queue wants.
    pub async fn delete_old(&self, now: Moment, facts: &mpsc::Sender<Fact>) -> Result<Turn, StoreError> {
        let mut after = String::new();
        loop {
            let rows = self.store.recordings_kept(&after, now, AT_ONCE).await?;
            let Some(last) = rows.last() else { return Ok(Turn::Done) };
            after = last.file.clone();
            for row in rows {
                if now.since(row.started) < (self.keep)(row.queue.as_ref()) || !self.delete(&row) {
                    continue;
                }
                let fact = Fact::RecordingDeleted { call: row.call, file: row.file, why: RecordingGone::Retention };
                if facts.send(fact).await.is_err() {
                    return Ok(Turn::Unheard);
                }
            }
        }
    }

    /// Says whether nothing of it is left here.
    fn delete(&self, row: &RecordingRow) -> bool {
        let names = [row.file.clone(), sealed_name(&row.file)];
        let deleted = names.iter().filter_map(|name| self.shelf.wav(name)).all(|path| match std::fs::remove_file(&path) {
            Ok(()) => true,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => true,
            Err(cause) => {
                tracing::error!(call = %row.call, %cause, "a recording cannot be deleted; it is tried again tomorrow");
                false
            }
        });
        if deleted {
            self.shelf.counts().deleted.fetch_add(1, Ordering::Relaxed);
            tracing::info!(call = %row.call, "recording deleted after its retention");
        }
        deleted
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Done,
    /// Nobody hears facts any more: the engine has ended.
    Unheard,
}

/// 1, 2, 4 … seconds, five minutes at most.
fn pause_after(attempts: u32) -> Duration {
    PAUSE_FIRST.saturating_mul(1 << attempts.min(16)).min(PAUSE_LONGEST)
}
