//! Reads a stream from its first byte to its last without touching it, also while an engine writes it.

use super::segments::{self, Damage};
use super::{Entry, JournalError};
use crate::clock::Moment;
use std::path::Path;

/// What stands in a stream.
#[derive(Debug, Default)]
pub struct Inspected {
    pub segments: usize,
    pub records: u64,
    /// Position of the first byte that is kept, and behind the last whole record.
    pub start: u64,
    pub end: u64,
    /// Time of the first and of the last record.
    pub first: Moment,
    pub last: Moment,
    /// Position of the newest snapshot that is whole.
    pub snapshot: Option<u64>,
    /// Everything that could not be read.
    pub damage: Vec<Damage>,
    /// Bytes of a record that is being written, or that a dying engine left.
    pub unfinished: u64,
}

/// Gives every record to `each`; a stream that does not exist is empty.
pub fn inspect<R: Entry>(dir: &Path, mut each: impl FnMut(R)) -> Result<Inspected, JournalError> {
    let mut found = Inspected::default();
    if !dir.exists() {
        return Ok(found);
    }
    found.snapshot = segments::snapshot_newest(dir, &mut found.damage)?.map(|snapshot| snapshot.position);
    let all = segments::list(dir)?;
    found.start = all.first().map_or(0, |segment| segment.start);
    for (n, segment) in all.iter().enumerate() {
        let scan = segments::scan::<R>(&segment.path, 0)?;
        found.segments += 1;
        found.records += scan.records.len() as u64;
        found.end = segment.start + scan.good;
        let path = &segment.path;
        found.damage.extend(scan.unknown.iter().map(|&offset| Damage::UnknownRecord { path: path.clone(), offset }));
        let rest = scan.len.saturating_sub(scan.good);
        let is_last = n + 1 == all.len();
        if rest > 0 && (!is_last || scan.more_behind) {
            found.damage.push(Damage::Unreadable { path: path.clone(), offset: scan.good, lost: rest });
        } else {
            found.unfinished = rest;
        }
        for record in scan.records {
            if found.first == Moment::ZERO {
                found.first = record.at();
            }
            found.last = found.last.max(record.at());
            each(record);
        }
    }
    Ok(found)
}
