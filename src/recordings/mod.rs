//! What becomes of a recording after its call: packed and sealed, kept for as long as its queue wants, archived, given out, deleted.
//!
//! The media thread's WAV goes only after what was made of it has been read back and heard alike. Nothing here holds up a call.

pub mod archive;
pub mod audio;
pub mod keeper;
pub mod keys;
mod pack;
pub mod s3;
pub mod sealed;
pub mod wav;

pub use audio::{AudioError, Form, Packed};
pub use keys::Keyring;
pub use pack::{PackError, PackedFile, export, hear_all, pack, sha256_of};

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where recordings lie and what opens them; cheap to clone.
#[derive(Clone, Default)]
pub struct Shelf {
    folder: PathBuf,
    keys: Arc<Keyring>,
    counts: Arc<Counts>,
}

/// What monitoring sees of this life's work.
#[derive(Default)]
pub struct Counts {
    pub packed: AtomicU64,
    pub pack_failures: AtomicU64,
    pub archived: AtomicU64,
    pub archive_failures: AtomicU64,
    pub deleted: AtomicU64,
    /// 1 while the last try to pack failed: full or read-only disk, no key.
    pub failing: AtomicU64,
}

impl Counts {
    /// Name, explanation, value.
    pub fn figures(&self) -> [(&'static str, &'static str, u64); 6] {
        let value = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("dozvon_recordings_packed_total", "recordings packed and sealed since the start", value(&self.packed)),
            ("dozvon_recordings_pack_failures_total", "tries to pack that failed", value(&self.pack_failures)),
            ("dozvon_recordings_archived_total", "recordings the archive took", value(&self.archived)),
            ("dozvon_recordings_archive_failures_total", "tries to archive that failed", value(&self.archive_failures)),
            ("dozvon_recordings_deleted_total", "recordings deleted after their retention", value(&self.deleted)),
            ("dozvon_recordings_failing", "1: recordings cannot be packed and wait as WAV", value(&self.failing)),
        ]
    }
}

impl Shelf {
    pub fn new(folder: impl Into<PathBuf>, keys: Keyring) -> Self {
        Shelf { folder: folder.into(), keys: Arc::new(keys), counts: Arc::default() }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn keys(&self) -> &Keyring {
        &self.keys
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Where the WAV of this name lies; none if the name leads out of the folder.
    pub fn wav(&self, file: &str) -> Option<PathBuf> {
        let inside = Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
        inside.then(|| self.folder.join(file))
    }

    /// Where its sealed form lies.
    pub fn sealed(&self, file: &str) -> Option<PathBuf> {
        self.wav(&sealed_name(file))
    }

    /// Opens the sealed form of a recording.
    pub fn open(&self, file: &str) -> Result<Packed, AudioError> {
        let path = self.sealed(file).ok_or(AudioError::Malformed)?;
        Packed::open(sealed::Sealed::open(&path, file, &self.keys)?)
    }
}

/// The name of the sealed form, beside the WAV's.
pub fn sealed_name(file: &str) -> String {
    format!("{}.ogg.sealed", file.strip_suffix(".wav").unwrap_or(file))
}
