//! `dozvon standby`: a byte-exact copy of the primary's journal, people, dialogs, keys and recordings, pulled over its HTTP and
//! folded into tables of its own, so that this machine can become the line within a restart.
//!
//! What a fact names is pulled before the fact: people, then dialogs, then the journal, each up to the length it had when the list
//! was made. Numbers leave the copy as they leave the primary, but not before our own tables have them. Recordings follow some
//! seconds behind, a day's folder at a time and only days in which something changed: there may be millions.

use crate::journal::{PersonSeen, Reader, Record};
use crate::recordings::Keyring;
use crate::store::Store;
use crate::store::sqlite::SqliteStore;
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A primary that is silent for this long is asked anew.
const PATIENCE: Duration = Duration::from_secs(10);
/// Making and sending a copy of the primary's tables, once, may take this long.
const TABLES_PATIENCE: Duration = Duration::from_secs(3600);
/// Turns between two looks at the recordings: some seconds.
const TURNS_A_LOOK: u32 = 8;
/// Bytes of recordings pulled in one turn; the journal does not wait for more.
const RECORDINGS_A_TURN: u64 = 64 << 20;
/// Days in which recordings still grow, which their folders do not tell: today and, around midnight, yesterday.
const GROWING_DAYS: usize = 2;
/// Bytes of a stream folded at once.
const BATCH: usize = 256 << 10;
/// By how much the epoch grows at a promotion: ids and lives of the old primary, started again by mistake, never meet ours.
pub const EPOCHS_PER_PROMOTION: u32 = 1000;

/// A file of the primary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// Below the data folder; recordings stand below `recordings` wherever they are kept.
    pub path: String,
    pub bytes: u64,
    /// Unix rights.
    pub mode: u32,
}

/// A day's folder of recordings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Day {
    pub folder: String,
    /// When a file last came to it or left it, in microseconds since 1970.
    pub changed: u64,
}

/// In this order: what is named before what names it.
const PULLED: [&str; 5] = ["recordings", "scripts", "people", "legs", "journal"];

/// Whether a file below the data folder belongs to the copy.
pub fn is_pulled(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut parts = path.components();
    let first = parts.next().map(|part| part.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
    match PULLED.contains(&first.as_str()) {
        true if first == "recordings" || first == "scripts" => !name.ends_with(".tmp"),
        true => name.ends_with(".log") || name.ends_with(".snap") || name == "epoch",
        false => {
            first == "keys"
                || (name == first && (name.ends_with("-key") || name.ends_with(".key") || name.starts_with(Keyring::FILE)))
        }
    }
}

/// A key or a list of keys, at the top of the data folder or in `keys/`.
fn is_key(path: &Path) -> bool {
    let first = path.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned());
    first.is_some_and(|first| !PULLED.contains(&first.as_str()))
}

/// What there is but recordings: the journal is looked at first, so that all it names is in what is looked at after it.
pub fn list(data: &Path) -> std::io::Result<Vec<Listed>> {
    let mut found = Vec::new();
    for stream in ["journal", "legs", "people", "scripts", "keys"] {
        below(&data.join(stream), Path::new(stream), &mut found)?;
    }
    for entry in fs::read_dir(data)?.flatten() {
        if entry.path().is_file() {
            found.extend(listed(&entry.path(), Path::new(&entry.file_name()))?);
        }
    }
    Ok(found)
}

/// The folders of recordings, oldest first.
pub fn days(recordings: &Path) -> std::io::Result<Vec<Day>> {
    let mut days = Vec::new();
    for entry in fs::read_dir(recordings).into_iter().flatten().flatten() {
        let (Ok(meta), Ok(folder)) = (entry.metadata(), entry.file_name().into_string()) else { continue };
        if meta.is_dir() {
            let since = meta.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            days.push(Day { folder, changed: u64::try_from(since.as_micros()).unwrap_or(u64::MAX) });
        }
    }
    days.sort_by(|a, b| a.folder.cmp(&b.folder));
    Ok(days)
}

/// The recordings of one day.
pub fn list_day(recordings: &Path, day: &str) -> std::io::Result<Vec<Listed>> {
    let mut found = Vec::new();
    below(&recordings.join(day), &Path::new("recordings").join(day), &mut found)?;
    Ok(found)
}

fn below(folder: &Path, name: &Path, found: &mut Vec<Listed>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), name.join(entry.file_name()));
        if path.is_dir() {
            below(&path, &name, found)?;
        } else {
            found.extend(listed(&path, &name)?);
        }
    }
    Ok(())
}

fn listed(path: &Path, name: &Path) -> std::io::Result<Option<Listed>> {
    let (true, Some(text)) = (is_pulled(name), name.to_str()) else { return Ok(None) };
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(Listed { path: text.to_owned(), bytes: meta.len(), mode: meta.permissions().mode() & 0o777 })),
        // Cleared away meanwhile.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The primary as it is asked.
pub struct Primary {
    http: ureq::Agent,
    base: String,
    token: String,
}

impl Primary {
    pub fn new(base: &str, token: &str) -> Self {
        let settings = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build();
        Self { http: settings.into(), base: base.trim_end_matches('/').to_owned(), token: token.to_owned() }
    }

    fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<ureq::http::Response<ureq::Body>> {
        let mut request = self.http.get(format!("{}/api/v1/standby/{path}", self.base));
        for (key, value) in query {
            request = request.query(key, value);
        }
        let answer = request.header("authorization", format!("Bearer {}", self.token)).call();
        answer.with_context(|| format!("the primary at {} gives no {path}", self.base))
    }

    fn list(&self, seen: Option<u64>) -> anyhow::Result<Vec<Listed>> {
        let query: Vec<_> = seen.map(|seen| ("seen", seen.to_string())).into_iter().collect();
        Ok(self.get("files", &query)?.body_mut().read_json()?)
    }

    fn days(&self) -> anyhow::Result<Vec<Day>> {
        Ok(self.get("days", &[])?.body_mut().read_json()?)
    }

    fn day(&self, day: &str) -> anyhow::Result<Vec<Listed>> {
        let listed = self.get("files", &[("day", day.to_owned())])?;
        Ok(listed.into_body().with_config().limit(u64::MAX).read_json()?)
    }

    fn bytes(&self, path: &str, from: u64) -> anyhow::Result<Vec<u8>> {
        let query = [("path", path.to_owned()), ("from", from.to_string())];
        Ok(self.get("file", &query)?.body_mut().read_to_vec()?)
    }

    fn tables(&self, into: &Path) -> anyhow::Result<()> {
        let request =
            self.http.get(format!("{}/api/v1/standby/tables", self.base)).config().timeout_global(Some(TABLES_PATIENCE));
        let answer = request.build().header("authorization", format!("Bearer {}", self.token)).call();
        let answer = answer.with_context(|| format!("the primary at {} gives no tables", self.base))?;
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(into)?;
        std::io::copy(&mut answer.into_body().with_config().limit(u64::MAX).reader(), &mut file)?;
        Ok(())
    }
}

/// The copy on this machine.
pub struct Copy {
    primary: Primary,
    data: PathBuf,
    recordings: PathBuf,
    /// The tables, if the primary's and ours are the same, on a server; else they are a file of our own.
    shared: Option<Arc<dyn Store>>,
    /// Position of the journal up to which the copy has it.
    seen: Option<u64>,
    /// Position of the people stream up to which our tables have it.
    people: u64,
    turns: u32,
    /// The days of recordings that the copy has, as they were when they were pulled.
    days: BTreeMap<String, u64>,
}

impl Copy {
    pub fn new(primary: Primary, data: PathBuf, recordings: PathBuf, shared: Option<Arc<dyn Store>>) -> Self {
        Self { primary, data, recordings, shared, seen: None, people: 0, turns: 0, days: BTreeMap::new() }
    }

    /// One pull of all that is new, and its fold. Gives the position of the journal that the copy has.
    pub async fn turn(&mut self) -> anyhow::Result<u64> {
        tokio::task::block_in_place(|| self.pull())?;
        self.fold().await?;
        Ok(self.seen.unwrap_or_default())
    }

    fn pull(&mut self) -> anyhow::Result<()> {
        let database = self.data.join("dozvon.db");
        let mut files = self.primary.list(self.seen)?;
        files.sort_by_key(|file| order(&file.path));
        if self.shared.is_none() && !database.exists() {
            // People first, since the primary deletes there what its tables have; then its tables; then all the rest.
            for file in files.iter().filter(|file| file.path.starts_with("people/")) {
                self.bring(file)?;
            }
            let unfinished = self.data.join("dozvon.tmp");
            self.primary.tables(&unfinished)?;
            fs::rename(unfinished, database)?;
            // The tables are newer than the list.
            files = self.primary.list(None)?;
            files.sort_by_key(|file| order(&file.path));
        }
        for file in &files {
            self.bring(file)?;
        }
        let segments = files.iter().filter_map(|file| Some((segment_start(&file.path, "journal/")?, file.bytes)));
        self.seen = segments.map(|(start, bytes)| start + bytes).max();
        self.clear(&files)?;
        if self.turns.is_multiple_of(TURNS_A_LOOK) {
            // The rest is looked for again in the next turn.
            let all = self.pull_recordings()?;
            self.turns = if all { 1 } else { 0 };
        } else {
            self.turns += 1;
        }
        Ok(())
    }

    /// Whether the copy has them all now; a large lack is made up over many turns.
    fn pull_recordings(&mut self) -> anyhow::Result<bool> {
        let days = self.primary.days()?;
        let still = days.len().saturating_sub(GROWING_DAYS);
        let mut room = RECORDINGS_A_TURN;
        for (at, Day { folder, changed }) in days.iter().enumerate() {
            if at < still && self.days.get(folder) == Some(changed) {
                continue;
            }
            let files = self.primary.day(folder)?;
            for file in &files {
                room = room.saturating_sub(self.bring(file)?);
                if room == 0 {
                    return Ok(false);
                }
            }
            self.clear_day(folder, &files)?;
            self.days.insert(folder.clone(), *changed);
        }
        let there: BTreeSet<&str> = days.iter().map(|day| day.folder.as_str()).collect();
        for gone in self::days(&self.recordings)? {
            if !there.contains(gone.folder.as_str()) {
                fs::remove_dir_all(self.recordings.join(&gone.folder))?;
                self.days.remove(&gone.folder);
            }
        }
        Ok(true)
    }

    fn clear_day(&self, day: &str, files: &[Listed]) -> anyhow::Result<()> {
        let there: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        for file in list_day(&self.recordings, day)?.iter().filter(|file| !there.contains(file.path.as_str())) {
            fs::remove_file(self.target(&file.path))?;
        }
        Ok(())
    }

    /// Whether the copy has all that the shared tables have: without it, they would be ahead of the journal for ever.
    pub async fn lacks_nothing(&self) -> anyhow::Result<bool> {
        let Some(shared) = &self.shared else { return Ok(true) };
        let ours = list(&self.data)?;
        let end = |stream| {
            let ends = ours.iter().filter_map(|file| Some(segment_start(&file.path, stream)? + file.bytes));
            ends.max().unwrap_or_default()
        };
        Ok(shared.position().await? <= end("journal/") && shared.people_position().await? <= end("people/"))
    }

    fn target(&self, path: &str) -> PathBuf {
        match path.strip_prefix("recordings/") {
            Some(rest) => self.recordings.join(rest),
            None => self.data.join(path),
        }
    }

    /// Appends what is missing and says how much it was; small files that are not only appended to are replaced whole.
    fn bring(&self, file: &Listed) -> anyhow::Result<u64> {
        let name = Path::new(&file.path);
        if !is_pulled(name) || !name.components().all(|part| matches!(part, std::path::Component::Normal(_))) {
            bail!("the primary names {}, which is no part of a copy", file.path);
        }
        let target = self.target(&file.path);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        if file.path.ends_with("/epoch") {
            return self.bring_epoch(&file.path, &target).map(|()| 0);
        }
        if is_key(name) {
            return self.bring_whole(file, &target).map(|()| 0);
        }
        let mut here = OpenOptions::new().create(true).write(true).truncate(false).open(&target)?;
        let mut at = here.seek(SeekFrom::End(0))?;
        if at > file.bytes {
            // A torn end that the primary cut when it started again.
            here.set_len(file.bytes)?;
            at = here.seek(SeekFrom::End(0))?;
        }
        let before = at;
        if at == 0 {
            here.set_permissions(fs::Permissions::from_mode(file.mode))?;
        }
        while at < file.bytes {
            let bytes = self.primary.bytes(&file.path, at)?;
            let wanted = usize::try_from(file.bytes - at).unwrap_or(usize::MAX);
            let Some(new) = bytes.get(..wanted.min(bytes.len())).filter(|new| !new.is_empty()) else { break };
            here.write_all(new)?;
            at += new.len() as u64;
        }
        Ok(at - before)
    }

    /// Keys change by their first line: what grows at its end is something else.
    fn bring_whole(&self, file: &Listed, target: &Path) -> anyhow::Result<()> {
        let bytes = self.primary.bytes(&file.path, 0)?;
        if fs::read(target).is_ok_and(|known| known == bytes) {
            return Ok(());
        }
        let unfinished = target.with_extension("tmp");
        fs::write(&unfinished, bytes)?;
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(file.mode))?;
        Ok(fs::rename(unfinished, target)?)
    }

    /// A primary that started again cut an unfinished record; if we had it already, the segment is pulled anew. Whole records, and
    /// so our tables, stay as they are.
    fn bring_epoch(&self, name: &str, target: &Path) -> anyhow::Result<()> {
        let epoch = self.primary.bytes(name, 0)?;
        if fs::read(target).is_ok_and(|known| known == epoch) {
            return Ok(());
        }
        let stream = name.trim_end_matches("epoch");
        let ours = list(&self.data)?;
        let newest = ours.iter().filter_map(|file| Some((segment_start(&file.path, stream)?, &file.path))).max();
        if let Some((_, path)) = newest {
            fs::remove_file(self.target(path))?;
        }
        let unfinished = target.with_extension("tmp");
        fs::write(&unfinished, epoch)?;
        Ok(fs::rename(unfinished, target)?)
    }

    /// What the primary has deleted goes here too: dialogs of yesterday, numbers that are folded.
    fn clear(&self, files: &[Listed]) -> anyhow::Result<()> {
        let there: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let ours = list(&self.data)?;
        let next_people = |start| {
            let starts = ours.iter().filter_map(|file| segment_start(&file.path, "people/"));
            starts.filter(|&other| other > start).min().unwrap_or(u64::MAX)
        };
        for file in ours.iter().filter(|file| !there.contains(file.path.as_str())) {
            let folded = segment_start(&file.path, "people/").is_none_or(|start| next_people(start) <= self.people);
            if folded {
                fs::remove_file(self.target(&file.path))?;
            }
        }
        Ok(())
    }

    /// The copy's own tables, from where they are to where the copy is.
    async fn fold(&mut self) -> anyhow::Result<()> {
        if let Some(shared) = &self.shared {
            // While the server is away, numbers stay in the copy.
            self.people = shared.people_position().await.unwrap_or(self.people);
            return Ok(());
        }
        let store = SqliteStore::new(&self.data.join("dozvon.db"));
        let mut people = Reader::<PersonSeen>::new(self.data.join("people"));
        let mut at = store.people_position().await?;
        let ours = list(&self.data)?;
        if ours.iter().filter_map(|file| segment_start(&file.path, "people/")).min().is_some_and(|first| first > at) {
            bail!("the copy was away so long that the primary deleted numbers it lacks; begin anew with an empty data folder");
        }
        while let Some(seen) = Some(people.read_from(at, BATCH)?).filter(|seen| !seen.is_empty()) {
            at = seen.last().map_or(at, |&(behind, _)| behind);
            store.people_apply(&seen, at).await?;
        }
        self.people = at;
        let mut journal = Reader::<Record>::new(self.data.join("journal"));
        let mut at = store.position().await?;
        while let Some(records) = Some(journal.read_from(at, BATCH)?).filter(|records| !records.is_empty()) {
            at = records.last().map_or(at, |&(behind, _)| behind);
            let facts: Vec<_> =
                records.into_iter().filter_map(|(position, record)| Some((position, record.into_stamped()?))).collect();
            store.apply(&facts, at).await?;
        }
        store.close().await;
        Ok(())
    }
}

fn order(path: &str) -> usize {
    // Epochs before all: a new life of the primary may have cut the end of a segment.
    if path.ends_with("/epoch") {
        return 0;
    }
    PULLED.iter().position(|stream| path.starts_with(stream)).map_or(0, |at| at + 1)
}

fn segment_start(path: &str, stream: &str) -> Option<u64> {
    path.strip_prefix(stream)?.strip_suffix(".log")?.parse().ok()
}

/// Keeps engines and other standbys out of this data folder; let go when the process becomes an engine.
pub fn lock(data: &Path) -> anyhow::Result<File> {
    let folder = data.join("journal");
    fs::create_dir_all(&folder)?;
    let file = OpenOptions::new().create(true).write(true).truncate(false).open(folder.join("lock"))?;
    file.try_lock().map_err(|error| anyhow::anyhow!("{} is in use ({error}); stop the engine there first", data.display()))?;
    Ok(file)
}

/// What a data folder is to a standby.
#[derive(Debug, PartialEq)]
pub enum Folder {
    /// A copy, or nothing yet.
    Copy,
    /// It was promoted: it is a line of its own, and no primary may write over it.
    Promoted,
}

/// Says what the folder is, and marks an empty one as a copy. A line's own data is never taken for a copy.
pub fn claim(data: &Path) -> anyhow::Result<Folder> {
    if data.join(PROMOTED).exists() {
        return Ok(Folder::Promoted);
    }
    if !data.join(COPY).exists() {
        let own = fs::read_dir(data.join("journal")).into_iter().flatten().flatten();
        if own.filter(|entry| entry.path().extension().is_some_and(|end| end == "log")).count() > 0 {
            bail!("{} is the data of a line, not a copy of one; name an empty folder", data.display());
        }
        fs::write(data.join(COPY), "")?;
    }
    Ok(Folder::Copy)
}

/// Marks of a copy and of one that was promoted, within the data folder.
const COPY: &str = "standby.copy";
const PROMOTED: &str = "standby.promoted";

/// From here on this copy is a line of its own: every life of it stands above every life of the old primary.
pub fn fence(data: &Path) -> anyhow::Result<()> {
    fs::write(data.join(PROMOTED), "")?;
    for stream in ["journal", "people", "legs"] {
        let path = data.join(stream).join("epoch");
        let before: u32 = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().with_context(|| format!("{} holds no number", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error.into()),
        };
        let unfinished = path.with_extension("tmp");
        fs::write(&unfinished, format!("{}\n", before.saturating_add(EPOCHS_PER_PROMOTION)))?;
        File::open(&unfinished)?.sync_all()?;
        fs::rename(unfinished, path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_copy_that_lacks_numbers_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let people = folder.path().join("people");
        fs::create_dir_all(folder.path().join("journal")).unwrap();
        fs::create_dir(&people).unwrap();
        fs::write(people.join("00000000000000000000.log"), "").unwrap();
        let primary = Primary::new("http://127.0.31.1:1", "token");
        let mut copy = Copy::new(primary, folder.path().to_owned(), folder.path().join("recordings"), None);
        copy.fold().await.unwrap();
        fs::rename(people.join("00000000000000000000.log"), people.join("00000000000000000100.log")).unwrap();
        assert!(copy.fold().await.unwrap_err().to_string().contains("away so long"));
    }

    #[test]
    fn only_what_a_successor_needs_is_pulled() {
        for path in [
            "journal/0.log",
            "journal/0.snap",
            "people/epoch",
            "legs/0.log",
            "person-key",
            "recording-key-22",
            "scripts/122-0.yaml",
            "recordings/d/c.wav",
        ] {
            assert!(is_pulled(Path::new(path)), "{path}");
        }
        for path in ["http-token", "dozvon.db", "journal/lock", "journal/0.tmp", "reports/x-key", "recordings/c.tmp"] {
            assert!(!is_pulled(Path::new(path)), "{path}");
        }
    }
}
