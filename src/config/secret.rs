//! Passwords and tokens: where they come from, and that no log shows them.

use super::Environment;
use std::fmt;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Prints as dots.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

/// The secret of this variable; the error says what to do.
pub fn from_env(variable: &str, env: Environment) -> Result<Secret, String> {
    match env(variable).filter(|value| !value.is_empty()) {
        Some(value) => Ok(Secret(value)),
        None => Err(format!("the environment variable `{variable}` is not set; set it before the start")),
    }
}

/// The first line of a file that only its owner may read.
pub fn from_file(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let mode = std::fs::metadata(path).map_err(|cause| format!("cannot read `{shown}`: {cause}"))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(format!("`{shown}` may be read by others (mode {:o}); run: chmod 600 {shown}", mode & 0o777));
    }
    let text = std::fs::read_to_string(path).map_err(|cause| format!("cannot read `{shown}`: {cause}"))?;
    match text.lines().next().map(str::trim).filter(|line| !line.is_empty()) {
        Some(line) => Ok(Secret(line.to_owned())),
        None => Err(format!("`{shown}` is empty; write the secret into its first line")),
    }
}

/// Reads the secret of this file, or makes one of 256 random bits if there is no such file.
pub fn read_or_make(path: &Path) -> io::Result<Secret> {
    if path.exists() {
        return from_file(path).map_err(io::Error::other);
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut dice = [0u8; 32];
    getrandom::fill(&mut dice).map_err(io::Error::other)?;
    let secret = hex::encode(dice);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{secret}")?;
    file.sync_all()?;
    Ok(Secret(secret))
}
