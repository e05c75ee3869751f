//! The writer of one stream: one `write()` a turn, never waiting for the disk.

use super::segments::{self, Damage, Segment, Snapshot};
use super::sync::Syncer;
use super::{Entry, JournalError, frame};
use crate::clock::Moment;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::watch;

const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// How much a stream may hold, and what it must keep.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A segment that has grown this long is followed by the next.
    pub segment_bytes: u64,
    /// What is held in memory while the disk takes nothing; records beyond it are dropped and counted.
    pub pending_bytes: usize,
    /// A stream with snapshots keeps everything since the older of the last two; one without is read through the tables only.
    pub snapshots: bool,
    /// It names people: what is no longer needed goes also out of the segment that is open.
    pub personal: bool,
    /// A power failure loses at most what was written in this span; a killed process loses nothing.
    pub sync_every: Duration,
}

impl Limits {
    /// The facts: some 15,000 calls a segment.
    pub const FACTS: Limits = Limits {
        segment_bytes: 64 << 20,
        pending_bytes: 8 << 20,
        snapshots: true,
        personal: false,
        sync_every: Duration::from_millis(20),
    };
    /// The people: small segments, since each is to be deleted as soon as the tables have it. A person is folded before the first
    /// fact that names them, so the tables wait for this sync; nobody else does.
    pub const PEOPLE: Limits = Limits {
        segment_bytes: 1 << 20,
        pending_bytes: 1 << 20,
        snapshots: false,
        personal: true,
        sync_every: Duration::from_millis(200),
    };
    /// The legs: after a power failure there is no call left to take over.
    pub const LEGS: Limits = Limits {
        segment_bytes: 8 << 20,
        pending_bytes: 8 << 20,
        snapshots: true,
        personal: true,
        sync_every: Duration::from_millis(500),
    };
}

/// What was found when a stream was opened.
#[derive(Debug)]
pub struct Opened<R = super::Record> {
    /// How often this stream was opened, this time included.
    pub epoch: u32,
    /// Time of the last record; [`Moment::ZERO`] in a new stream.
    pub last: Moment,
    pub snapshot: Option<Vec<u8>>,
    /// Every record after the snapshot, in order.
    pub tail: Vec<R>,
    /// Everything that could not be read; each was also logged.
    pub damage: Vec<Damage>,
}

pub struct Log<R> {
    dir: PathBuf,
    limits: Limits,
    file: Arc<File>,
    segment: Segment,
    /// Bytes of whole frames in the open segment.
    segment_len: u64,
    /// Frames that are not yet in the file.
    pending: Vec<u8>,
    /// Where the last of them begins, until its turn is ended.
    open_turn: Option<usize>,
    last: Moment,
    dropped: u64,
    failing: bool,
    committed: watch::Sender<u64>,
    syncer: Syncer,
    _lock: File,
    _records: PhantomData<fn(&R)>,
}

impl<R: Entry> Log<R> {
    /// Opens the stream in `dir` (made if need be) for writing, which one process at a time may do. Cuts a torn tail; damage in
    /// the middle is kept in its file and passed over.
    pub fn open(dir: impl Into<PathBuf>, limits: Limits) -> Result<(Self, Opened<R>), JournalError> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(JournalError::io("make", &dir))?;
        let lock = lock(&dir)?;
        let epoch = next_epoch(&dir)?;

        let mut damage = Vec::new();
        let snapshot = segments::snapshot_newest(&dir, &mut damage)?;
        let from = snapshot.as_ref().map_or(0, |snapshot| snapshot.position);
        let (tail, end) = read_tail::<R>(&dir, from, &mut damage)?;
        for damage in &damage {
            tracing::warn!("{damage}");
        }

        let (segment, segment_len) = match end {
            End::AppendTo(segment, len) => (segment, len),
            End::StartAt(start) => (Segment { start, path: segments::segment_path(&dir, start) }, 0),
        };
        let file = open_segment(&segment.path, segment_len)?;
        let position = segment.start + segment_len;
        let last = tail.last().map(Entry::at).or(snapshot.as_ref().map(|snapshot| snapshot.last)).unwrap_or_default();
        let syncer = Syncer::start(dir.clone(), position, limits.sync_every)
            .map_err(JournalError::io("start the sync thread for", &dir))?;
        let log = Self {
            dir,
            limits,
            file: Arc::new(file),
            segment,
            segment_len,
            pending: Vec::new(),
            open_turn: None,
            last,
            dropped: 0,
            failing: false,
            committed: watch::Sender::new(position),
            syncer,
            _lock: lock,
            _records: PhantomData,
        };
        Ok((log, Opened { epoch, last, snapshot: snapshot.map(|snapshot| snapshot.bytes), tail, damage }))
    }

    /// Puts a record behind all others; it is in the file after the next [`Log::commit`]. If the disk has taken nothing for so
    /// long that memory is used up, the record is dropped and counted.
    pub fn append(&mut self, record: &R) {
        let before = self.pending.len();
        if before >= self.limits.pending_bytes || frame::push(&mut self.pending, record).is_err() {
            self.dropped += 1;
            return;
        }
        self.open_turn = Some(before);
        self.last = self.last.max(record.at());
    }

    /// Ends the turn: writes everything appended with one `write()`, from which on it survives the death of this process; should we
    /// die in the middle of it, the next opening finds nothing of it. Gives the position behind it. After an error (disk full) nothing of it stays in the file, all of it in memory for the next commit.
    pub fn commit(&mut self) -> Result<u64, JournalError> {
        if self.pending.is_empty() {
            return Ok(self.position());
        }
        self.end_turn();
        if self.segment_len >= self.limits.segment_bytes
            && let Err(error) = self.rotate()
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "the journal goes on in its full segment");
        }
        let (written, result) = write_at(&self.file, &self.pending, self.segment_len);
        let whole = if result.is_ok() { written } else { self.take_back() };
        self.pending.drain(..whole);
        self.segment_len += whole as u64;
        let position = self.position();
        if whole > 0 {
            self.syncer.written(&self.file, position);
            self.committed.send_replace(position);
        }
        let failed = result.is_err();
        if failed != self.failing {
            self.failing = failed;
            match failed {
                true => tracing::warn!(path = %self.segment.path.display(), "the journal takes no more records; free the disk"),
                false => tracing::warn!(dropped = self.dropped, "the journal takes records again"),
            }
        }
        result.map_err(JournalError::io("write", &self.segment.path))?;
        Ok(position)
    }

    /// Keeps a brain's state as of everything appended so far. It is written in the background, after all that precedes it is on
    /// disk; the next opening starts from it.
    pub fn snapshot(&mut self, bytes: Vec<u8>) -> Result<(), JournalError> {
        let position = self.commit()?;
        self.syncer.snapshot(Snapshot { position, last: self.last, bytes });
        Ok(())
    }

    /// Deletes segments that lie wholly before `position` (the tables have them), were last written before `older_than`, and are
    /// not needed by a snapshot. Returns how many.
    pub fn release(&mut self, position: u64, older_than: Moment) -> Result<usize, JournalError> {
        let limit = match self.limits.snapshots {
            true => segments::snapshots(&self.dir)?.first().map_or(0, |&oldest| oldest.min(position)),
            false => position,
        };
        if self.limits.personal && self.segment_len > 0 && self.pending.is_empty() && position >= self.position() {
            self.rotate()?;
        }
        let all = segments::list(&self.dir)?;
        let mut deleted = 0;
        for (segment, next) in all.iter().zip(all.iter().skip(1)) {
            if next.start > limit || written_at(&segment.path)? >= older_than {
                break;
            }
            fs::remove_file(&segment.path).map_err(JournalError::io("remove", &segment.path))?;
            deleted += 1;
        }
        Ok(deleted)
    }

    /// Begins a new segment, so that what is written so far can be released although writing goes on.
    pub fn part(&mut self) -> Result<(), JournalError> {
        self.commit()?;
        if self.segment_len == 0 { Ok(()) } else { self.rotate() }
    }

    /// Position behind the last committed record.
    pub fn position(&self) -> u64 {
        self.segment.start + self.segment_len
    }

    /// The position behind the last record in the file, as it grows.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    /// The position up to which the disk has everything. Tables follow this one: after a power failure they must not know
    /// more than the journal.
    pub fn durable(&self) -> watch::Receiver<u64> {
        self.syncer.durable()
    }

    /// Whether the last commit failed.
    pub fn failing(&self) -> bool {
        self.failing
    }

    /// Records lost in this life of the engine because neither disk nor memory took them.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn rotate(&mut self) -> Result<(), JournalError> {
        let start = self.position();
        let path = segments::segment_path(&self.dir, start);
        let file = open_segment(&path, 0)?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(JournalError::io("sync", &self.dir))?;
        self.file = Arc::new(file);
        self.segment = Segment { start, path };
        self.segment_len = 0;
        Ok(())
    }

    /// After a write that broke off: a turn stands in the file whole or not at all. Should even this fail, the next commit writes over
    /// what is left of it.
    fn take_back(&self) -> usize {
        let _ = self.file.set_len(self.segment_len);
        0
    }
}

impl<R> Log<R> {
    fn end_turn(&mut self) {
        if let Some(last) = self.open_turn.take() {
            frame::end_turn(&mut self.pending, last);
        }
    }
}

impl<R> Drop for Log<R> {
    fn drop(&mut self) {
        // What led to a fault of ours is not kept, or the next life would meet it again.
        if std::thread::panicking() {
            return;
        }
        self.end_turn();
        let (_, result) = write_at(&self.file, &self.pending, self.segment_len);
        if result.is_ok() && !self.pending.is_empty() {
            self.syncer.written(&self.file, self.segment.start + self.segment_len + self.pending.len() as u64);
        }
    }
}

enum End {
    AppendTo(Segment, u64),
    /// There is no last file, or it is damaged and kept as it is.
    StartAt(u64),
}

fn read_tail<R: Entry>(dir: &Path, from: u64, damage: &mut Vec<Damage>) -> Result<(Vec<R>, End), JournalError> {
    let all = segments::list(dir)?;
    let (mut tail, mut end) = (Vec::new(), End::StartAt(from));
    for (n, segment) in all.iter().enumerate() {
        let next_start = all.get(n + 1).map(|next| next.start);
        if next_start.is_some_and(|next| next <= from) {
            continue;
        }
        let path = &segment.path;
        let scan = segments::scan::<R>(path, from.saturating_sub(segment.start))?;
        tail.extend(scan.records);
        damage.extend(scan.unknown.iter().map(|&offset| Damage::UnknownRecord { path: path.clone(), offset }));
        let rest = scan.len.saturating_sub(scan.good);
        let is_last = next_start.is_none();
        if rest > 0 && is_last && !scan.more_behind {
            damage.push(Damage::TornTail { path: path.clone(), offset: scan.good, cut: rest });
        } else if rest > 0 {
            damage.push(Damage::Unreadable { path: path.clone(), offset: scan.good, lost: rest });
        }
        end = match is_last && scan.more_behind {
            true => End::StartAt(segment.start + scan.len),
            // It ends before the snapshot: the file lost its end. A position is never used twice, so a new file begins.
            false if scan.good > scan.len => End::StartAt(from),
            false => End::AppendTo(segment.clone(), scan.good),
        };
    }
    Ok((tail, end))
}

fn open_segment(path: &Path, len: u64) -> Result<File, JournalError> {
    let opened = OpenOptions::new().create(true).write(true).truncate(false).open(path).and_then(|file| {
        file.set_len(len)?;
        Ok(file)
    });
    opened.map_err(JournalError::io("open", path))
}

fn lock(dir: &Path) -> Result<File, JournalError> {
    let path = dir.join("lock");
    let file =
        OpenOptions::new().create(true).write(true).truncate(false).open(&path).map_err(JournalError::io("open", &path))?;
    // A child that the former holder was just starting has the lock until it is another program: a moment.
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(source)) => return Err(JournalError::Io { doing: "lock", path, source }),
        }
    }
    Err(JournalError::Locked(dir.to_owned()))
}

/// Counts this opening; the count is on disk before anything else happens.
fn next_epoch(dir: &Path) -> Result<u32, JournalError> {
    let path = dir.join("epoch");
    let before = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse::<u32>().map_err(|error| JournalError::Io {
            doing: "read the epoch (a number, one per opening; write a higher one than ever used) in",
            path: path.clone(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
        })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(source) => return Err(JournalError::Io { doing: "read", path, source }),
    };
    let epoch = before.saturating_add(1);
    let text = format!("{epoch}\n");
    match segments::write_whole(dir, &path, text.as_bytes()) {
        // A full disk keeps no line from starting: the count fits where it stood.
        Err(JournalError::Io { source, .. }) if source.kind() == std::io::ErrorKind::StorageFull => {
            let file = OpenOptions::new().write(true).open(&path).map_err(JournalError::io("write", &path))?;
            write_at(&file, text.as_bytes(), 0).1.map_err(JournalError::io("write", &path))?;
        }
        done => done?,
    }
    Ok(epoch)
}

fn written_at(path: &Path) -> Result<Moment, JournalError> {
    let modified = fs::metadata(path).and_then(|meta| meta.modified()).map_err(JournalError::io("look at", path))?;
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Moment(u64::try_from(since.as_micros()).unwrap_or(u64::MAX)))
}

/// Writes all of `bytes` at `offset`; also says how many got there before an error.
fn write_at(file: &File, bytes: &[u8], offset: u64) -> (usize, std::io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write_at(&bytes[written..], offset + written as u64) {
            Ok(0) => return (written, Err(std::io::ErrorKind::WriteZero.into())),
            Ok(n) => written += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}
