//! The archive: a folder (another disk, a mounted share) or an S3-compatible store. It gets sealed files and no keys.

use super::pack::sha256_of;
use super::s3::{Address, Signer, amz_date};
use crate::clock::Moment;
use crate::config::{self, ArchiveKind, Secret};
use crate::store::SealedRow;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A store that answers slower than this is taken for away.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
const SHA256: &str = "x-amz-meta-sha256";

pub struct Archive {
    to: To,
    pub keep_local: bool,
}

enum To {
    Folder(PathBuf),
    S3 { address: Address, signer: Signer, prefix: String, http: ureq::Agent },
}

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("the sealed file cannot be read: {0}")]
    Here(#[source] io::Error),
    #[error("the archive's folder cannot take it: {0}")]
    Folder(#[source] io::Error),
    #[error("the archive cannot be reached: {0}")]
    Away(String),
    #[error("the archive answers {method} with status {status}")]
    Status { method: &'static str, status: u16 },
    #[error("the archive has something else under this name: {0}")]
    Other(String),
}

impl Archive {
    pub fn new(config: &config::Archive) -> Archive {
        let to = match config.kind {
            ArchiveKind::None | ArchiveKind::Folder => To::Folder(config.dir.clone().unwrap_or_default()),
            ArchiveKind::S3 => To::S3 {
                address: Address::new(&config.url, &config.bucket),
                signer: Signer {
                    region: config.region.clone(),
                    access_key: config.access_key.clone(),
                    secret: config.secret.clone().unwrap_or_else(|| Secret::new("")),
                },
                prefix: config.prefix.clone(),
                http: ureq::Agent::config_builder()
                    .http_status_as_error(false)
                    .timeout_global(Some(ANSWER_WITHIN))
                    .max_redirects(0)
                    .max_redirects_will_error(false)
                    .proxy(None)
                    .build()
                    .into(),
            },
        };
        Archive { to, keep_local: config.keep_local }
    }

    /// Puts a sealed file there and looks whether it is there whole. Gives the place. Done again, it does no harm; if the file is gone
    /// here because a former life had archived it, looking is enough.
    pub fn put(&self, now: Moment, path: &Path, sealed: &SealedRow) -> Result<String, ArchiveError> {
        let (name, sha256, length) = (sealed.file.as_str(), sealed.sha256.as_str(), sealed.bytes);
        let file = match File::open(path) {
            Ok(file) => Some(file),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
            Err(cause) => return Err(ArchiveError::Here(cause)),
        };
        match &self.to {
            To::Folder(folder) => put_in_folder(folder, file, name, sha256),
            To::S3 { address, signer, prefix, http } => {
                let place = address.path(&format!("{prefix}{name}"));
                let url = address.url(&place);
                let date = amz_date(now);
                let signed = |body| {
                    let headers =
                        [("host", address.host()), ("x-amz-content-sha256", body), ("x-amz-date", &date), (SHA256, sha256)];
                    signer.authorization(now, if body == sha256 { "PUT" } else { "HEAD" }, &place, &headers, body)
                };
                let away = |error: ureq::Error| ArchiveError::Away(error.to_string());
                if let Some(file) = file {
                    let answer = http
                        .put(&url)
                        .header("x-amz-content-sha256", sha256)
                        .header("x-amz-date", &date)
                        .header(SHA256, sha256)
                        .header("content-length", length)
                        .header("authorization", signed(sha256))
                        .send(file)
                        .map_err(away)?;
                    well("PUT", answer.status().as_u16())?;
                }
                // The store has checked the body against its signed SHA-256; HEAD tells that it is there, whole and under this name.
                let nothing = hex::encode(Sha256::digest(""));
                let answer = http
                    .head(&url)
                    .header("x-amz-content-sha256", &nothing)
                    .header("x-amz-date", &date)
                    .header(SHA256, sha256)
                    .header("authorization", signed(&nothing))
                    .call()
                    .map_err(away)?;
                well("HEAD", answer.status().as_u16())?;
                let told = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
                if told("content-length") != length.to_string() || told(SHA256) != sha256 {
                    return Err(ArchiveError::Other(format!("{} bytes, SHA-256 {}", told("content-length"), told(SHA256))));
                }
                Ok(url)
            }
        }
    }
}

fn well(method: &'static str, status: u16) -> Result<(), ArchiveError> {
    if (200..300).contains(&status) { Ok(()) } else { Err(ArchiveError::Status { method, status }) }
}

/// Copied under another name first: a name in the archive stands for a whole file.
fn put_in_folder(folder: &Path, file: Option<File>, name: &str, sha256: &str) -> Result<String, ArchiveError> {
    let place = folder.join(name);
    if let Some(mut file) = file {
        let part = place.with_extension("part");
        let copied = (|| {
            if let Some(parent) = place.parent() {
                std::fs::create_dir_all(parent)?;
            }
            let mut copy = File::create(&part)?;
            io::copy(&mut file, &mut copy)?;
            copy.sync_all()?;
            std::fs::rename(&part, &place)
        })();
        if let Err(cause) = copied {
            let _ = std::fs::remove_file(&part);
            return Err(ArchiveError::Folder(cause));
        }
    }
    match sha256_of(&place).map_err(ArchiveError::Folder)? {
        there if there == sha256 => Ok(place.display().to_string()),
        there => Err(ArchiveError::Other(format!("SHA-256 {there}"))),
    }
}
