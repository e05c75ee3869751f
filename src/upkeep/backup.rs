//! `dozvon backup` and `dozvon restore`: a copy of the data folder that is consistent although the engine goes on writing, proven
//! after it is written, and put back only where nothing is.
//!
//! The order makes it consistent: what the tables know must stand in the journal of the copy, and whom a fact names must stand in
//! the people stream or in the tables. So: people (before the tables fold and delete them), tables, core, journal, people
//! again (what was written meanwhile). Whatever grew during the copy is kept up to its last whole record.

use crate::call::House;
use crate::clock::Moment;
use crate::config::{Config, StoreKind};
use crate::journal::{self, PersonSeen, Record};
use crate::store::Store;
use crate::store::sqlite::SqliteStore;
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

const MANIFEST: &str = "manifest.json";
/// Below the backup: the data folder, and the recordings wherever the configuration keeps them.
const DATA: &str = "data";
const RECORDINGS: &str = "recordings";
const STREAMS: [&str; 3] = ["people", "journal", "legs"];
/// The tables, if they stand in a file.
const TABLES: &str = "dozvon.db";
const DATABASES: [&str; 2] = [TABLES, "core.db"];
/// Bytes copied at once.
const PIECE: usize = 1 << 20;

/// What a backup holds, written last.
#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Of the engine that wrote it.
    pub version: String,
    /// Unix seconds.
    pub taken: u64,
    /// Byte of the journal up to which the tables have it; `None` if the tables stand elsewhere.
    pub tables: Option<u64>,
    /// Byte behind the last record of the journal.
    pub journal: u64,
    pub files: BTreeMap<String, Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Entry {
    pub bytes: u64,
    pub sha256: String,
    /// Unix rights.
    pub mode: u32,
}

impl Manifest {
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|entry| entry.bytes).sum()
    }
}

/// Writes a backup into `to`, a folder that is made, or a file if its name ends with `.tar`.
pub async fn backup(house: &House, to: &Path, recordings: bool, now: Moment) -> anyhow::Result<Manifest> {
    if to.exists() {
        bail!("{} exists already; name a new folder or file", to.display());
    }
    let is_tar = to.extension().is_some_and(|end| end == "tar");
    // It becomes itself only when it is whole.
    let folder = to.with_extension("unfinished");
    if folder.exists() {
        bail!("{} is left of a backup that broke off; delete it", folder.display());
    }
    fs::DirBuilder::new().mode(0o700).create(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let written = fill(&house.config, &folder, recordings, now).await;
    let finished = match written {
        Ok(manifest) if is_tar => pack(&folder, to).map(|()| manifest),
        Ok(manifest) => {
            fs::rename(&folder, to)?;
            return Ok(manifest);
        }
        Err(error) => Err(error),
    };
    fs::remove_dir_all(&folder)?;
    finished
}

async fn fill(config: &Config, folder: &Path, recordings: bool, now: Moment) -> anyhow::Result<Manifest> {
    let (from, to) = (&config.data, folder.join(DATA));
    fs::create_dir(&to)?;
    copy_stream(&from.join("people"), &to.join("people"))?;
    for name in DATABASES {
        let file = from.join(name);
        let in_use = name != TABLES || config.store.kind == StoreKind::Sqlite;
        if in_use && file.exists() {
            SqliteStore::new(&file).copy_as_it_is(&to.join(name)).await?;
        }
    }
    // Dialogs stay behind: whoever puts a backup back does so later, and calls that were live then must not rise from it.
    for stream in ["journal", "people"] {
        copy_stream(&from.join(stream), &to.join(stream))?;
    }
    let apart = |path: &Path| {
        let name = path.strip_prefix(from).unwrap_or(path).display().to_string();
        let database = DATABASES.iter().any(|database| name.starts_with(database));
        STREAMS.contains(&name.as_str()) || database || path == config.recordings() || name == "lease" || name.ends_with(".tmp")
    };
    copy_tree(from, &to, &apart)?;
    if recordings && config.recordings().exists() {
        copy_tree(&config.recordings(), &folder.join(RECORDINGS), &|_| false)?;
    }

    let mut manifest = Manifest {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        taken: now.as_unix_seconds(),
        tables: None,
        journal: 0,
        files: BTreeMap::new(),
    };
    (manifest.tables, manifest.journal) = prove(&to).await?;
    // Only then: a database that was opened is not byte for byte what it was.
    list(folder, folder, &mut manifest.files)?;
    let text = serde_json::to_vec_pretty(&manifest)?;
    fs::write(folder.join(MANIFEST), text)?;
    Ok(manifest)
}

/// What was written can be read, and its parts agree.
async fn prove(data: &Path) -> anyhow::Result<(Option<u64>, u64)> {
    let facts = journal::inspect::<Record>(&data.join("journal"), |_| {})?;
    let people = journal::inspect::<PersonSeen>(&data.join("people"), |_| {})?;
    if let Some(damage) = facts.damage.iter().chain(&people.damage).next() {
        bail!("{damage}");
    }
    if facts.snapshot.is_some_and(|snapshot| snapshot < facts.start) {
        bail!("the journal was cleared while it was copied; take the backup again");
    }
    let database = data.join(TABLES);
    if !database.exists() {
        return Ok((None, facts.end));
    }
    let store = SqliteStore::new(&database);
    let (tables, tables_people) = (store.position().await?, store.people_position().await?);
    store.close().await;
    if tables > facts.end || tables_people > people.end {
        bail!("the tables are ahead of the journal they were copied with; take the backup again");
    }
    if tables_people < people.start {
        bail!("the people stream was cleared while it was copied; take the backup again");
    }
    Ok((Some(tables), facts.end))
}

/// Snapshots and segments as they are at this moment; of a stream that is there already only what has grown.
fn copy_stream(from: &Path, to: &Path) -> anyhow::Result<()> {
    if !from.exists() {
        return Ok(());
    }
    fs::create_dir_all(to)?;
    let mut names: Vec<String> =
        fs::read_dir(from)?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    // Snapshots first: each stands for records that are in the segments copied after it.
    names.sort_by_key(|name| (!name.ends_with(".snap"), name.clone()));
    for name in names.iter().filter(|name| name.ends_with(".snap") || name.ends_with(".log") || *name == "epoch") {
        match copy_file(&from.join(name), &to.join(name)) {
            // Cleared away between the list and the copy.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            copied => copied.with_context(|| format!("{} cannot be copied", from.join(name).display()))?,
        }
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path, apart: &impl Fn(&Path) -> bool) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let target = to.join(entry.file_name());
        if apart(&path) {
            continue;
        }
        if kind.is_dir() {
            copy_tree(&path, &target, apart)?;
        } else if kind.is_file() {
            copy_file(&path, &target).with_context(|| format!("{} cannot be copied", path.display()))?;
        }
    }
    Ok(())
}

/// A copy with the same rights, brought to the disk.
fn copy_file(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut source = File::open(from)?;
    let mode = source.metadata()?.permissions();
    let mut target = File::create(to)?;
    target.set_permissions(mode)?;
    std::io::copy(&mut source, &mut target)?;
    target.sync_all()
}

fn list(root: &Path, folder: &Path, files: &mut BTreeMap<String, Entry>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(root, &path, files)?;
        } else {
            let name = path.strip_prefix(root)?.to_str().context("a file's name is no UTF-8; rename it")?.to_owned();
            let meta = fs::metadata(&path)?;
            let entry = Entry { bytes: meta.len(), sha256: hash(&path)?, mode: meta.permissions().mode() & 0o777 };
            files.insert(name, entry);
        }
    }
    Ok(())
}

fn hash(path: &Path) -> std::io::Result<String> {
    let (mut file, mut hash, mut piece) = (File::open(path)?, Sha256::new(), vec![0; PIECE]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex::encode(hash.finalize())),
            n => hash.update(piece.get(..n).unwrap_or_default()),
        }
    }
}

fn pack(folder: &Path, to: &Path) -> anyhow::Result<()> {
    let mut file = File::create(to).with_context(|| format!("{} cannot be made", to.display()))?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    let mut tar = tar::Builder::new(&mut file);
    tar.append_dir_all(".", folder)?;
    tar.finish()?;
    drop(tar);
    file.flush()?;
    file.sync_all()?;
    // What was packed is what will be unpacked: every byte is read once more.
    let again = to.with_extension("proof");
    let proven = unpack(to, &again).and_then(|()| read_manifest(&again));
    fs::remove_dir_all(&again)?;
    proven.map(drop)
}

fn unpack(tar: &Path, to: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(to).with_context(|| format!("{} cannot be made", to.display()))?;
    let mut archive = tar::Archive::new(File::open(tar).with_context(|| format!("{} cannot be read", tar.display()))?);
    archive.set_preserve_permissions(true);
    archive.unpack(to).with_context(|| format!("{} is no whole tar", tar.display()))
}

/// The manifest of a backup of which every file is as it was written.
fn read_manifest(folder: &Path) -> anyhow::Result<Manifest> {
    let path = folder.join(MANIFEST);
    let text = fs::read(&path).with_context(|| format!("{} cannot be read; this is no backup", path.display()))?;
    let manifest: Manifest = serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
    for (name, entry) in &manifest.files {
        // A manifest is a file like any other: it must not lead out of the folder.
        if !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
            bail!("the manifest names `{name}`, which leads out of the backup; do not use it");
        }
        let file = folder.join(name);
        let found = hash(&file).with_context(|| format!("{} cannot be read; the backup is not whole", file.display()))?;
        if found != entry.sha256 {
            bail!("{} is not as it was written; take another backup", file.display());
        }
    }
    Ok(manifest)
}

/// Puts a backup back into the data folder of this configuration, which must be empty.
pub async fn restore(config: &Config, from: &Path) -> anyhow::Result<Manifest> {
    let data = &config.data;
    for folder in [data, &config.recordings()] {
        if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
            bail!("{} is not empty; nothing is overwritten: move it away, or name another data folder", folder.display());
        }
    }
    if from.is_dir() {
        return put_back(config, from).await;
    }
    let folder = data.with_extension("unpacked");
    let done = match unpack(from, &folder) {
        Ok(()) => put_back(config, &folder).await,
        Err(error) => Err(error),
    };
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    done
}

async fn put_back(config: &Config, from: &Path) -> anyhow::Result<Manifest> {
    let manifest = read_manifest(from)?;
    for (name, entry) in &manifest.files {
        let target: PathBuf = match (name.strip_prefix("data/"), name.strip_prefix("recordings/")) {
            (Some(rest), _) => config.data.join(rest),
            (None, Some(rest)) => config.recordings().join(rest),
            (None, None) => bail!("the manifest names `{name}`, which has no place here; use the version that wrote it"),
        };
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        copy_file(&from.join(name), &target).with_context(|| format!("{} cannot be written", target.display()))?;
        fs::set_permissions(&target, fs::Permissions::from_mode(entry.mode))?;
    }
    prove(&config.data).await?;
    Ok(manifest)
}
