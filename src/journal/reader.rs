//! Follows a stream from any position, in this process or another, while it is being written.

use super::segments::{self, Damage, Segment};
use super::{Entry, JournalError, frame};
use std::fs::File;
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

pub struct Reader<R> {
    dir: PathBuf,
    open: Option<(Segment, File)>,
    buffer: Vec<u8>,
    _records: PhantomData<fn() -> R>,
}

impl<R: Entry> Reader<R> {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), open: None, buffer: Vec::new(), _records: PhantomData }
    }

    /// The whole records from `position` on, each with the position behind it: about `max_bytes` of them, at least one if there
    /// is one. Half-written frames are not seen. What is damaged or already deleted is passed over with a warning.
    pub fn read_from(&mut self, position: u64, max_bytes: usize) -> Result<Vec<(u64, R)>, JournalError> {
        let mut position = position;
        loop {
            if !self.open_at(position)? {
                return Ok(Vec::new());
            }
            if let Some((segment, _)) = &self.open {
                position = position.max(segment.start);
            }
            let (found, behind) = self.read_segment(position, max_bytes)?;
            if !found.is_empty() {
                return Ok(found);
            }
            if behind > position {
                position = behind;
                continue;
            }
            // The beginning of the next segment is where this one ended; only a listing made after the read above tells it.
            let Some(next) = segments::list(&self.dir)?.into_iter().find(|segment| segment.start > self.open_start()) else {
                return Ok(Vec::new());
            };
            if position < next.start {
                let (found, behind) = self.read_segment(position, max_bytes)?;
                if !found.is_empty() {
                    return Ok(found);
                }
                if behind > position {
                    position = behind;
                    continue;
                }
                self.tell_damage(position, next.start);
            }
            position = next.start;
        }
    }

    fn open_start(&self) -> u64 {
        self.open.as_ref().map_or(0, |(segment, _)| segment.start)
    }

    /// Opens the last segment that begins at or before `position`, else the first there is.
    fn open_at(&mut self, position: u64) -> Result<bool, JournalError> {
        if self.open.as_ref().is_some_and(|(segment, file)| {
            segment.start <= position && file.metadata().is_ok_and(|meta| position - segment.start < meta.len())
        }) {
            return Ok(true);
        }
        let all = segments::list(&self.dir)?;
        let Some(segment) = all.iter().rev().find(|segment| segment.start <= position).or(all.first()).cloned() else {
            return Ok(false);
        };
        if segment.start > position && position > 0 {
            tracing::warn!(position, first = segment.start, "the journal was asked for records that are deleted");
        }
        if self.open.as_ref().is_none_or(|(open, _)| open.start != segment.start) {
            let file = File::open(&segment.path).map_err(JournalError::io("open", &segment.path))?;
            self.open = Some((segment, file));
        }
        Ok(true)
    }

    /// The records of the open segment, and the position behind the last whole frame read.
    #[allow(clippy::type_complexity)]
    fn read_segment(&mut self, position: u64, max_bytes: usize) -> Result<(Vec<(u64, R)>, u64), JournalError> {
        let Some((segment, file)) = &self.open else { return Ok((Vec::new(), position)) };
        let offset = position.saturating_sub(segment.start);
        let read = |buffer: &mut Vec<u8>, len: usize| -> Result<(), JournalError> {
            buffer.resize(len, 0);
            let mut filled = 0;
            while filled < len {
                match file.read_at(&mut buffer[filled..], offset + filled as u64) {
                    Ok(0) => break,
                    Ok(n) => filled += n,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(JournalError::io("read", &segment.path)(error)),
                }
            }
            buffer.truncate(filled);
            Ok(())
        };
        read(&mut self.buffer, max_bytes.max(frame::HEADER))?;
        if let frame::Next::Short { need } = frame::next(&self.buffer)
            && need > max_bytes
        {
            read(&mut self.buffer, need)?;
        }
        let (mut found, mut at) = (Vec::new(), 0);
        while let frame::Next::Whole { body, len } = frame::next(&self.buffer[at..]) {
            let here = position + at as u64;
            at += len;
            match frame::decode(body) {
                Some(record) => found.push((position + at as u64, record)),
                None => {
                    tracing::warn!("{}", Damage::UnknownRecord { path: segment.path.clone(), offset: here - segment.start });
                }
            }
        }
        Ok((found, position + at as u64))
    }

    fn tell_damage(&self, position: u64, next_start: u64) {
        if let Some((segment, _)) = &self.open {
            let (offset, lost) = (position - segment.start, next_start - position);
            tracing::warn!("{}", Damage::Unreadable { path: segment.path.clone(), offset, lost });
        }
    }
}
