//! `dozvon doctor`: is everything whole, does everything agree, will it last. Only looks, also while the engine runs.

use super::disk;
use super::neighbour::Neighbour;
use crate::call::House;
use crate::clock::Moment;
use crate::config::{Config, Region, StoreKind};
use crate::facts::Ledger;
use crate::ids::RegionId;
use crate::journal::{self, Inspected, LedgerFold, LegWritten, PersonSeen, Record};
use crate::store::{Orphans, Store, StoreError};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Tables that are this far behind will not be there when the engine stops for an update.
const BEHIND_S: u64 = 60;
/// A wall clock that differs from the engine's time by more puts calls into the wrong hour.
const CLOCK_STEP: Duration = Duration::from_secs(5);
/// Room left on a disk.
const FREE_PERCENT_WARN: u8 = 10;
const FREE_PERCENT_FAULT: u8 = 2;
const DAYS_WARN: u64 = 14;
const DAYS_FAULT: u64 = 2;
/// Growth is judged from this much history on.
const HISTORY: Duration = Duration::from_secs(3600);
/// How often the tables are looked at again while they are being written.
const STEADY_LOOKS: usize = 20;
/// Names shown of a longer list.
const SHOWN: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Ok,
    Warning,
    Fault,
}

/// One line of the examination.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    pub level: Level,
    pub what: &'static str,
    pub text: String,
    /// What to do; empty if nothing is.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Fault => "FAULT",
        };
        write!(f, "{level:<8} {:<10} {}", self.what, self.text)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

/// Everything found, in the order in which it was looked at.
#[derive(Debug, Default)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    pub fn worst(&self) -> Level {
        self.0.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }

    fn ok(&mut self, what: &'static str, text: impl Into<String>) {
        self.add(Level::Ok, what, text, "");
    }

    fn add(&mut self, level: Level, what: &'static str, text: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Finding { level, what, text: text.into(), remedy: remedy.into() });
    }
}

pub async fn examine(house: &House, store: &dyn Store, now: Moment) -> Findings {
    let config = &house.config;
    let mut found = Findings::default();
    let neighbour = Neighbour::of(config);
    let (neighbour, alive) = tokio::task::spawn_blocking(move || {
        let alive = neighbour.is_alive();
        (neighbour, alive)
    })
    .await
    .unwrap_or((Neighbour::of(config), false));
    let board = if alive { neighbour.get("/api/v1/board").ok() } else { None };
    match (alive, &board) {
        (true, Some(_)) => found.ok("engine", format!("answers on {}", config.http.bind)),
        (true, None) => found.add(
            Level::Warning,
            "engine",
            format!("answers on {}, but gives no board", config.http.bind),
            "check that this user may read the token, and that the engine of this configuration listens there",
        ),
        (false, _) => found.add(
            Level::Warning,
            "engine",
            format!("does not answer on {}", config.http.bind),
            "start it, unless it is meant to be down",
        ),
    }

    let facts = journals(&mut found, &config.data);
    clock(&mut found, &facts.inspected, now);
    // Looking must not make the file.
    let file = config.data.join("dozvon.db");
    if config.store.kind == StoreKind::Postgres || file.exists() {
        if let Err(error) = tables(&mut found, config, store, facts.inspected.start == 0).await {
            found.add(
                Level::Fault,
                "tables",
                chain(&error),
                "look at the disk and at who holds the database; moved away, it is made again of the journal (but for phones)",
            );
        }
    } else {
        found.add(
            Level::Warning,
            "tables",
            format!("{} is not there", file.display()),
            "it is made of the journal at the next start",
        );
    }
    if let Some(board) = &board {
        let journal = &board["journal"];
        let behind = journal["behind_s"].as_u64().unwrap_or_default();
        let text = format!("the tables are {behind} s behind the journal");
        match behind {
            ..=BEHIND_S => found.ok("tables", text),
            _ => found.add(Level::Warning, "tables", text, "look at the database and its disk; calls go on meanwhile"),
        }
        if journal["failing"] == true {
            found.add(Level::Fault, "journal", "the engine cannot write it", "free the disk: nothing is kept of calls now");
        }
    }
    ports(&mut found, config, alive);
    disks(&mut found, config, &facts.inspected);
    secrets(&mut found, &config.data);
    found
}

struct Facts {
    inspected: Inspected,
}

fn journals(found: &mut Findings, data: &Path) -> Facts {
    let inspected = stream::<Record>(found, "journal", &data.join("journal"));
    stream::<PersonSeen>(found, "people", &data.join("people"));
    stream::<LegWritten>(found, "legs", &data.join("legs"));
    Facts { inspected }
}

fn stream<R: journal::Entry>(found: &mut Findings, what: &'static str, dir: &Path) -> Inspected {
    let inspected = match journal::inspect::<R>(dir, |_| {}) {
        Ok(inspected) => inspected,
        Err(error) => {
            found.add(Level::Fault, what, chain(&error), "mend the disk or its rights");
            return Inspected::default();
        }
    };
    for damage in &inspected.damage {
        let (text, remedy) = split(&damage.to_string());
        found.add(Level::Fault, what, text, remedy);
    }
    if inspected.damage.is_empty() {
        let Inspected { segments, records, end, .. } = inspected;
        found.ok(what, format!("{records} records in {segments} segments, whole up to byte {end}"));
    }
    inspected
}

fn clock(found: &mut Findings, facts: &Inspected, now: Moment) {
    let ahead = facts.last.since(now);
    if ahead > CLOCK_STEP {
        let text = format!("the wall clock is {} s behind the last record of the journal", ahead.as_secs());
        found.add(
            Level::Fault,
            "clock",
            text,
            "set the clock (chrony); until then the engine counts on from its own last moment",
        );
    } else {
        found.ok("clock", "not behind the journal");
    }
}

/// The same ledger twice: of the journal, folded here up to where the tables are, and of the tables.
async fn tables(found: &mut Findings, config: &Config, store: &dyn Store, from_the_beginning: bool) -> Result<(), StoreError> {
    let journal_dir = config.data.join("journal");
    let regions: Vec<RegionId> = config.regions.iter().map(|region| region.code).collect();
    for _ in 0..STEADY_LOOKS {
        let position = store.position().await?;
        let folded = fold_up_to(&journal_dir, position);
        let mut of_tables = Vec::new();
        for region in &regions {
            of_tables.push(store.ledger(Some(*region), folded.first, Moment(u64::MAX)).await?);
        }
        // The tables went on meanwhile: the two are of different moments.
        if store.position().await? != position {
            continue;
        }
        for (region, tables) in config.regions.iter().zip(of_tables) {
            compare(found, region, &folded.ledger.day(region.code, Moment::ZERO), &tables, from_the_beginning);
        }
        orphans(found, config, &store.orphans().await?, &store.recording_files().await?);
        return Ok(());
    }
    found.add(Level::Warning, "ledger", "the tables are written too fast to be compared", "ask again in a quieter moment");
    Ok(())
}

struct Folded {
    ledger: LedgerFold,
    first: Moment,
}

fn fold_up_to(dir: &Path, position: u64) -> Folded {
    let mut folded = Folded { ledger: LedgerFold::default(), first: Moment::ZERO };
    let (mut reader, mut at) = (journal::Reader::<Record>::new(dir), 0);
    // Damage was told of already.
    while at < position
        && let Ok(records) = reader.read_from(at, 1 << 20)
        && !records.is_empty()
    {
        for (behind, record) in records {
            if behind > position {
                return folded;
            }
            at = behind;
            if folded.first == Moment::ZERO {
                folded.first = record.at;
            }
            if let Some(stamped) = record.into_stamped() {
                // One day for ever: the whole journal is the span.
                folded.ledger.apply(&stamped, |_, _| Moment::ZERO);
            }
        }
    }
    folded
}

fn compare(found: &mut Findings, region: &Region, journal: &Ledger, tables: &Ledger, from_the_beginning: bool) {
    let name = format!("region {}", region.code);
    let mut wrong = Vec::new();
    for (whose, ledger) in [("journal", journal), ("tables", tables)] {
        if !ledger.holds() {
            wrong.push(format!("the law does not hold in the {whose}: {}", sum(ledger)));
        }
    }
    let same_calls = journal.entered == tables.entered && journal.live == tables.live && journal.outcomes == tables.outcomes;
    // Callbacks opened in a part of the journal that is deleted stand in the tables only.
    let same_callbacks = !from_the_beginning || journal.open_callbacks == tables.open_callbacks;
    if !same_calls || !same_callbacks {
        wrong.push(format!("journal says {}, tables say {}", sum(journal), sum(tables)));
    }
    match wrong.is_empty() {
        true => found.ok("ledger", format!("{name}: {}, the same in journal and tables", sum(tables))),
        false => found.add(
            Level::Fault,
            "ledger",
            format!("{name}: {}", wrong.join("; ")),
            "the journal is right: stop the engine, move dozvon.db away (keep it: it alone has the phones), start again",
        ),
    }
}

fn sum(ledger: &Ledger) -> String {
    let ended: u64 = ledger.outcomes.values().sum();
    format!("entered {} = live {} + ended {ended}, open callbacks {}", ledger.entered, ledger.live, ledger.open_callbacks)
}

fn orphans(found: &mut Findings, config: &Config, orphans: &Orphans, known: &[String]) {
    let before = found.0.len();
    let folder = config.recordings();
    let there: BTreeSet<String> = stems(&folder, &folder);
    let missing: Vec<String> = known.iter().filter(|file| !there.contains(&super::stem(Path::new(file)))).cloned().collect();
    let mut list = |names: Vec<String>, text: &str, remedy: &str| {
        if !names.is_empty() {
            let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
            let more = if names.len() > SHOWN { ", …" } else { "" };
            found.add(Level::Warning, "orphans", format!("{} {text}: {shown}{more}", names.len()), remedy);
        }
    };
    list(missing, "recordings are not where they should be", "put them back from a backup, unless retention took them");
    list(orphans.recordings.clone(), "recordings belong to no call", "compare with the journal before you delete them");
    let talks = orphans.talks.iter().map(ToString::to_string).collect();
    list(talks, "talks are open although their call ended", "handle times of these calls are unknown; report it");
    let tasks = orphans.callbacks.iter().map(ToString::to_string).collect();
    list(tasks, "open callbacks have no number", "close them by hand on the board: nobody can be called");
    if found.0.len() == before {
        found.ok("orphans", "none: recordings, talks and callbacks all belong to something");
    }
}

fn stems(root: &Path, folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(stems(root, &path));
        } else if let Ok(relative) = path.strip_prefix(root) {
            found.insert(super::stem(relative));
        }
    }
    found
}

fn ports(found: &mut Findings, config: &Config, alive: bool) {
    let sip = config.networks.iter().map(|network| (network.bind, "UDP", UdpSocket::bind(network.bind).err()));
    let http = std::iter::once((config.http.bind, "TCP", TcpListener::bind(config.http.bind).err()));
    for (address, kind, error) in sip.chain(http) {
        let taken = error.as_ref().is_some_and(|error| error.kind() == std::io::ErrorKind::AddrInUse);
        match (error, taken, alive) {
            (None, _, false) => found.ok("ports", format!("{address}/{kind} is free")),
            (None, _, true) => found.add(
                Level::Fault,
                "ports",
                format!("{address}/{kind} is free although an engine answers"),
                "the engine runs on another configuration; reload or restart it",
            ),
            (Some(_), true, true) => found.ok("ports", format!("{address}/{kind} is held by the engine")),
            (Some(_), true, false) => found.add(
                Level::Fault,
                "ports",
                format!("{address}/{kind} is held by somebody else"),
                format!("see who: ss -lnp | grep {}", address.port()),
            ),
            (Some(error), false, _) => {
                let remedy = "give this machine the address, or change `bind`";
                found.add(Level::Fault, "ports", format!("{address}/{kind} cannot be bound: {error}"), remedy);
            }
        }
    }
}

fn disks(found: &mut Findings, config: &Config, facts: &Inspected) {
    let history = facts.last.since(facts.first);
    for folder in BTreeSet::from([config.data.clone(), config.recordings()]) {
        let space = match disk::space(&folder) {
            Ok(space) => space,
            Err(error) => {
                let text = format!("{}: {error}", folder.display());
                found.add(Level::Fault, "disk", text, "mount it, or name another folder");
                continue;
            }
        };
        let days = days_left(space.free, disk::used(&folder), history);
        let shown = days.map_or(String::new(), |days| format!(", at the present growth for {days} days"));
        let text = format!("{}: {} MB free of {} MB{shown}", folder.display(), space.free / 1_000_000, space.total / 1_000_000);
        let remedy = "make room, or shorten what is kept (limits.journal_days, retention of recordings)";
        match (space.free_percent(), days.unwrap_or(u64::MAX)) {
            (..FREE_PERCENT_FAULT, _) | (_, ..DAYS_FAULT) => found.add(Level::Fault, "disk", text, remedy),
            (..FREE_PERCENT_WARN, _) | (_, ..DAYS_WARN) => found.add(Level::Warning, "disk", text, remedy),
            _ => found.ok("disk", text),
        }
    }
}

/// As if it went on growing as it did on the average; `None` with too short a history.
fn days_left(free: u64, used: u64, history: Duration) -> Option<u64> {
    let per_second = (history >= HISTORY).then(|| used / history.as_secs().max(1))?;
    (per_second > 0).then(|| free / per_second / 86_400)
}

fn secrets(found: &mut Findings, data: &Path) {
    let files: Vec<PathBuf> = secret_files(data);
    for path in &files {
        let mode = std::fs::metadata(path).map(|meta| meta.permissions().mode() & 0o777);
        match mode {
            Ok(mode) if mode & 0o077 != 0 => found.add(
                Level::Fault,
                "secrets",
                format!("{} may be read by others (mode {mode:o})", path.display()),
                format!("chmod 600 {}, and make it anew if others use this machine", path.display()),
            ),
            Ok(_) => found.ok("secrets", format!("{} is for its owner only", path.display())),
            Err(error) => found.add(Level::Fault, "secrets", format!("{}: {error}", path.display()), "mend its rights"),
        }
    }
}

/// Tokens and keys that stand in the data folder.
fn secret_files(data: &Path) -> Vec<PathBuf> {
    let is_secret = |path: &Path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        path.is_file() && (name.ends_with("-token") || name.ends_with("-key") || name.ends_with(".key"))
    };
    let mut files = Vec::new();
    for folder in [data.to_owned(), data.join("keys")] {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        files.extend(entries.map(|entry| entry.path()).filter(|path| is_secret(path)));
    }
    files.sort();
    files
}

/// `what; what to do`, as sentences of this house are made.
fn split(text: &str) -> (String, String) {
    let (what, remedy) = text.split_once("; ").unwrap_or((text, ""));
    (what.to_owned(), remedy.to_owned())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_left_follow_the_growth() {
        let day = Duration::from_secs(86_400);
        assert_eq!(days_left(864_000_000, 86_400_000, day), Some(10));
        assert_eq!(days_left(864_000_000, 86_400_000, Duration::from_secs(60)), None, "too short a history");
        assert_eq!(days_left(864_000_000, 0, day), None, "nothing grows");
    }
}
