//! Foreign programs: there, or a failure that says what to do.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A program of `scripts/setup test`.
pub fn program(name: &str) -> Command {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file());
    let path: PathBuf = found.unwrap_or_else(|| panic!("{name} is not installed; run `scripts/setup test`"));
    let mut command = Command::new(path);
    command.stdin(Stdio::null());
    command
}
