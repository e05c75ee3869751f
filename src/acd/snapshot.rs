//! The whole floor as bytes, and back: restored, it goes on exactly as the one it was taken of.

use super::{Acd, Violation};
use sha2::{Digest, Sha256};

/// Counts changes of the state's shape; a snapshot of another shape is refused, and the journal replayed from the start.
const SNAPSHOT_SHAPE: u8 = 5;

#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("snapshot has shape {found}, this engine reads {SNAPSHOT_SHAPE}")]
    OtherShape { found: u8 },
    #[error("snapshot is empty")]
    Empty,
    #[error("snapshot cannot be read")]
    Unreadable(#[from] postcard::Error),
    #[error("snapshot breaks an invariant")]
    Unsound(#[from] Violation),
}

impl Acd {
    /// Take it when all commands are drained; commands left in it come out of the restored floor too.
    pub fn snapshot(&self) -> Vec<u8> {
        let bytes = vec![SNAPSHOT_SHAPE];
        postcard::to_extend(self, bytes).expect("a state in memory can always be encoded")
    }

    pub fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        match bytes.split_first() {
            None => Err(RestoreError::Empty),
            Some((&SNAPSHOT_SHAPE, state)) => {
                let acd: Self = postcard::from_bytes(state)?;
                acd.check()?;
                Ok(acd)
            }
            Some((&found, _)) => Err(RestoreError::OtherShape { found }),
        }
    }

    /// Equal for equal floors: a replay can be compared with the live line.
    pub fn state_hash(&self) -> [u8; 32] {
        Sha256::digest(self.snapshot()).into()
    }
}
