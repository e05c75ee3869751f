//! How much room a folder has left.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;

/// Between two looks at the disks.
const LOOK: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Space {
    /// Bytes that a process without privileges may still write.
    pub free: u64,
    pub total: u64,
}

impl Space {
    /// Whole percent.
    pub fn free_percent(self) -> u8 {
        let percent = u128::from(self.free) * 100 / u128::from(self.total.max(1));
        u8::try_from(percent).unwrap_or(100)
    }
}

/// The space of the file system under this folder, or under the nearest one above it that exists.
pub fn space(folder: &Path) -> std::io::Result<Space> {
    let folder = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    let path = CString::new(folder.as_os_str().as_bytes())?;
    let mut found = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with a zero byte, and statvfs fills the whole struct if it returns 0.
    let found = unsafe {
        if libc::statvfs(path.as_ptr(), found.as_mut_ptr()) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        found.assume_init()
    };
    Ok(Space { free: found.f_bavail * found.f_frsize, total: found.f_blocks * found.f_frsize })
}

/// Looks at the folders now and again; the fullest counts.
pub async fn watch(folders: Vec<PathBuf>, free_percent: watch::Sender<Option<u8>>) {
    let mut pace = tokio::time::interval(LOOK);
    while !free_percent.is_closed() {
        pace.tick().await;
        let folders = folders.clone();
        // A disk that hangs holds this look up and nothing else.
        let look = move || folders.iter().filter_map(|folder| space(folder).ok()).map(Space::free_percent).min();
        if let Ok(percent) = tokio::task::spawn_blocking(look).await {
            free_percent.send_if_modified(|known| std::mem::replace(known, percent) != percent);
        }
    }
}

/// Bytes of all files below a folder; what cannot be read counts nothing.
pub fn used(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => used(&entry.path()),
        Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |meta| meta.len()),
        Ok(_) | Err(_) => 0,
    });
    bytes.sum()
}
