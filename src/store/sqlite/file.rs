//! What only whoever looks after an installation asks of the file: a copy of it, and that it is let go.

use super::{SqliteStore, StoreError, cannot};
use std::path::Path;

impl SqliteStore {
    /// Writes a consistent copy of the database as of one moment, while it is in use. Its tables may be of any version or kind.
    pub async fn copy_as_it_is(&self, file: &Path) -> Result<(), StoreError> {
        let copied = sqlx::query("VACUUM INTO ?").bind(file.display().to_string()).execute(&self.readers).await;
        copied.map(drop).map_err(cannot("be copied"))
    }

    /// Lets go of the file, with nothing left beside it.
    pub async fn close(self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
