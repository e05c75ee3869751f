//! The files of one stream: which there are, where each begins, what is readable in it.

use super::{Entry, JournalError, frame};
use crate::clock::Moment;
use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// One segment; its first byte is the stream's byte `start`.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    pub start: u64,
    pub path: PathBuf,
}

/// A place that cannot be read, as a sentence with a remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The engine died while it wrote its last turn: nothing that was acted upon is lost.
    TornTail { path: PathBuf, offset: u64, cut: u64 },
    /// Bytes in the middle are wrong; what stands behind them in this file is not read.
    Unreadable { path: PathBuf, offset: u64, lost: u64 },
    /// A whole frame whose body is of an unknown encoding is passed over.
    UnknownRecord { path: PathBuf, offset: u64 },
    /// A snapshot with a wrong checksum; the one before it is used.
    Snapshot { path: PathBuf },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::TornTail { path, offset, cut } => {
                write!(f, "{}: cut {cut} bytes of an unfinished turn at byte {offset}", path.display())
            }
            Damage::Unreadable { path, offset, lost } => write!(
                f,
                "{}: damaged at byte {offset}, {lost} bytes from there on are not read; the file is kept, check the disk and \
                 put back a copy of this file from a backup, then restart",
                path.display()
            ),
            Damage::UnknownRecord { path, offset } => write!(
                f,
                "{}: the record at byte {offset} is passed over, a newer version of the engine wrote it; run that version",
                path.display()
            ),
            Damage::Snapshot { path } => {
                write!(f, "{}: damaged snapshot, the one before it is used; check the disk", path.display())
            }
        }
    }
}

pub fn segment_path(dir: &Path, start: u64) -> PathBuf {
    dir.join(format!("{start:020}.log"))
}

/// All segments, oldest first.
pub fn list(dir: &Path) -> Result<Vec<Segment>, JournalError> {
    let found = positions(dir, ".log")?;
    Ok(found.into_iter().map(|start| Segment { start, path: segment_path(dir, start) }).collect())
}

fn positions(dir: &Path, suffix: &str) -> Result<Vec<u64>, JournalError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(JournalError::io("list", dir))? {
        let entry = entry.map_err(JournalError::io("list", dir))?;
        if let Some(position) = entry.file_name().to_str().and_then(|name| name.strip_suffix(suffix)?.parse().ok()) {
            found.push(position);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// What one segment gave from some offset on.
pub struct Scan<R> {
    pub records: Vec<R>,
    /// Offset behind the last whole turn; behind the last whole frame, if damage follows and not the end.
    pub good: u64,
    /// Length of the file.
    pub len: u64,
    /// Whole frames stand behind the first unreadable byte.
    pub more_behind: bool,
    pub unknown: Vec<u64>,
}

pub fn scan<R: Entry>(path: &Path, from: u64) -> Result<Scan<R>, JournalError> {
    let (bytes, file_len) = File::open(path)
        .and_then(|mut file| {
            let file_len = file.seek(SeekFrom::End(0))?;
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok((bytes, file_len))
        })
        .map_err(JournalError::io("read", path))?;
    let (mut records, mut unknown, mut at) = (Vec::new(), Vec::new(), 0);
    let mut ended = (0, 0);
    while let frame::Next::Whole { body, len } = frame::next(&bytes[at..]) {
        match frame::decode(body) {
            Some(record) => records.push(record),
            None => unknown.push(from + at as u64),
        }
        at += len;
        if frame::ends_turn(body) {
            ended = (at, records.len());
        }
    }
    let more_behind = at < bytes.len() && frame::any_frame_in(&bytes[at + 1..]);
    if !more_behind {
        // A turn that was not written to its end did not happen.
        records.truncate(ended.1);
        at = ended.0;
    }
    Ok(Scan { records, good: from + at as u64, len: file_len, more_behind, unknown })
}

/// A brain's state at one position of the stream.
pub struct Snapshot {
    pub position: u64,
    /// Time of the last record before it.
    pub last: Moment,
    pub bytes: Vec<u8>,
}

/// Snapshots kept: the newest, and one before it should the newest be damaged.
const SNAPSHOTS_KEPT: usize = 2;
const SNAPSHOT_HEADER: usize = 12;

/// Positions of all snapshots, oldest first.
pub fn snapshots(dir: &Path) -> Result<Vec<u64>, JournalError> {
    positions(dir, ".snap")
}

/// The newest snapshot that is whole.
pub fn snapshot_newest(dir: &Path, damage: &mut Vec<Damage>) -> Result<Option<Snapshot>, JournalError> {
    for position in snapshots(dir)?.into_iter().rev() {
        let path = snapshot_path(dir, position);
        let content = fs::read(&path).map_err(JournalError::io("read", &path))?;
        match snapshot_decode(&content) {
            Some((last, bytes)) => return Ok(Some(Snapshot { position, last, bytes: bytes.to_vec() })),
            None => damage.push(Damage::Snapshot { path }),
        }
    }
    Ok(None)
}

/// Writes a snapshot so that it is there whole or not at all, and removes those no longer needed.
pub fn snapshot_write(dir: &Path, snapshot: &Snapshot) -> Result<(), JournalError> {
    let mut content = Vec::with_capacity(snapshot.bytes.len() + SNAPSHOT_HEADER);
    content.extend_from_slice(&[0; 4]);
    content.extend_from_slice(&snapshot.last.0.to_le_bytes());
    content.extend_from_slice(&snapshot.bytes);
    let sum = crc32fast::hash(&content[4..]).to_le_bytes();
    content[..4].copy_from_slice(&sum);
    write_whole(dir, &snapshot_path(dir, snapshot.position), &content)?;
    let all = snapshots(dir)?;
    for &old in &all[..all.len().saturating_sub(SNAPSHOTS_KEPT)] {
        let path = snapshot_path(dir, old);
        fs::remove_file(&path).map_err(JournalError::io("remove", path))?;
    }
    Ok(())
}

fn snapshot_path(dir: &Path, position: u64) -> PathBuf {
    dir.join(format!("{position:020}.snap"))
}

fn snapshot_decode(content: &[u8]) -> Option<(Moment, &[u8])> {
    let (sum, summed) = content.split_first_chunk::<4>()?;
    let (last, bytes) = summed.split_first_chunk::<8>()?;
    (crc32fast::hash(summed) == u32::from_le_bytes(*sum)).then(|| (Moment(u64::from_le_bytes(*last)), bytes))
}

/// Temporary file, fsync, rename, fsync of the directory.
pub fn write_whole(dir: &Path, path: &Path, content: &[u8]) -> Result<(), JournalError> {
    let tmp = path.with_extension("tmp");
    let written = fs::write(&tmp, content)
        .and_then(|()| File::open(&tmp)?.sync_all())
        .and_then(|()| fs::rename(&tmp, path))
        .and_then(|()| File::open(dir)?.sync_all());
    written.map_err(JournalError::io("write", path))
}
