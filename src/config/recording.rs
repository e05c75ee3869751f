//! Recordings: whether, where, how long, under which keys, and the archive they go to.

use super::read::File;
use super::{Environment, Secret, number, secret, yes};
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    #[serde(default)]
    pub enabled: bool,
    pub(super) dir: Option<PathBuf>,
    /// After the call: to Opus, sealed with the region's key. Otherwise WAVs stay as they are, readable for whoever reads the disk.
    #[serde(default = "yes")]
    pub pack: bool,
    /// Three years: as long as a claim can be raised (article 196 of the Civil Code).
    #[serde(default = "number::<1095>")]
    pub keep_days: u32,
    /// Folder of the files `recording-key-<region>`; the data folder if left out.
    pub key_dir: Option<PathBuf>,
    /// The keys stand in the variables `<key_env>_<region>` instead.
    pub key_env: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    #[serde(default)]
    pub kind: ArchiveKind,
    /// Of a folder.
    pub dir: Option<PathBuf>,
    /// Of an S3-compatible store, without the bucket: `https://s3.example.org`.
    #[serde(default)]
    pub url: String,
    #[serde(default)]
    pub bucket: String,
    #[serde(default = "region")]
    pub region: String,
    /// Before each name in the bucket, such as `line122/`.
    #[serde(default)]
    pub prefix: String,
    #[serde(default)]
    pub access_key: String,
    secret_env: Option<String>,
    secret_file: Option<PathBuf>,
    #[serde(skip)]
    pub secret: Option<Secret>,
    /// The sealed file also stays here.
    #[serde(default = "yes")]
    pub keep_local: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArchiveKind {
    /// Recordings stay here.
    #[default]
    None,
    Folder,
    S3,
}

fn region() -> String {
    "us-east-1".into()
}

pub fn recording(file: &mut File) -> Option<Recording> {
    let recording = file.table::<Recording>("recording")?;
    if recording.value.key_dir.is_some() && recording.value.key_env.is_some() {
        file.complain(recording.place("key_env"), "`key_dir` and `key_env` exclude each other; keep one");
    }
    if recording.value.keep_days == 0 {
        let message = "recordings kept for 0 days are none; write `enabled = false`, or at least 1 day";
        file.complain(recording.place("keep_days"), message);
    }
    Some(recording.value)
}

/// `None` without an archive, or together with a complaint.
pub fn archive(file: &mut File, env: Environment) -> Option<Archive> {
    let mut archive = file.table::<Archive>("archive")?;
    let it = &archive.value;
    let mut complaints: Vec<(&str, String)> = Vec::new();
    match it.kind {
        ArchiveKind::None => return None,
        ArchiveKind::Folder if it.dir.is_none() => {
            complaints.push(("kind", "an archive of kind \"folder\" needs `dir`, the folder it is".into()));
        }
        ArchiveKind::Folder => {}
        ArchiveKind::S3 => {
            if !(it.url.starts_with("http://") || it.url.starts_with("https://")) {
                complaints.push(("url", "an archive of kind \"s3\" needs a `url` that begins with https:// or http://".into()));
            }
            for (key, value) in [("bucket", &it.bucket), ("access_key", &it.access_key)] {
                if value.is_empty() {
                    complaints.push((key, format!("an archive of kind \"s3\" needs `{key}`")));
                }
            }
        }
    }
    let secret = match (&it.secret_env, &it.secret_file) {
        (Some(variable), None) => secret::from_env(variable, env).map(Some).map_err(|why| ("secret_env", why)),
        (None, Some(path)) => secret::from_file(path).map(Some).map_err(|why| ("secret_file", why)),
        (Some(_), Some(_)) => Err(("secret_file", "`secret_env` and `secret_file` exclude each other; keep one".to_owned())),
        (None, None) if it.kind == ArchiveKind::S3 => {
            Err(("kind", "an archive of kind \"s3\" needs its secret key: add `secret_env` or `secret_file`".to_owned()))
        }
        (None, None) => Ok(None),
    };
    match secret {
        Ok(secret) => archive.value.secret = secret,
        Err(complaint) => complaints.push(complaint),
    }
    for (key, why) in complaints {
        file.complain(archive.place(key), why);
    }
    Some(archive.value)
}
