//! The fences between the rooms: which room may name which, what a brain must never touch, where each outside library lives.
//!
//! Each fence is proven here too: a planted offence must be found by the same search that passes over the real tree.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Words every room may use.
const WORDS: [&str; 7] = ["clock", "facts", "ids", "pii", "routing", "skills", "stream"];

/// A room and the other rooms it may name.
const MAY_NAME: [(&str, &[&str]); 16] = [
    ("acd", &[]),
    ("ivr", &[]),
    ("talk", &[]),
    ("sip", &[]),
    ("simulate", &["acd"]),
    ("staffing", &["simulate"]),
    ("media", &[]),
    ("journal", &[]),
    ("config", &[]),
    ("booking", &["store"]),
    ("store", &["journal"]),
    // Of media it wants the tables of G.711 alone.
    ("recordings", &["config", "media", "store"]),
    ("call", &["acd", "config", "ivr", "journal", "media", "sip", "talk"]),
    ("api", &["booking", "call", "config", "recordings", "store", "upkeep"]),
    // The demo's and the tests' own phone speaks SIP by our grammar and nothing else of the house.
    ("testphone", &["sip"]),
    ("upkeep", &["booking", "call", "config", "journal", "recordings", "store"]),
];

/// Rooms that know neither time nor the world. Of `sip`, the shell alone may.
const BRAINS: [&str; 6] = ["acd", "ivr", "simulate", "staffing", "talk", "sip"];
const SHELLS: [&str; 1] = ["sip/shell.rs"];

/// What no brain may touch.
const WORLD: [&str; 14] = [
    "tokio",
    "std::net::UdpSocket",
    "std::net::TcpStream",
    "std::fs",
    "std::thread",
    "std::process",
    "std::env::var",
    "Instant::now",
    "SystemTime::now",
    "HashMap",
    "async fn",
    "sqlx",
    "axum",
    "getrandom",
];

/// An outside library and the rooms (or files) that may name it.
const HOMES: [(&str, &[&str]); 11] = [
    ("sqlx", &["store", "booking"]),
    ("axum", &["api"]),
    ("utoipa", &["api", "call/view.rs"]),
    ("hound", &["media"]),
    ("rtp_rs", &["media"]),
    ("toml", &["config"]),
    ("serde_saphyr", &["ivr"]),
    ("ureq", &["booking", "recordings", "upkeep"]),
    ("aes_gcm", &["recordings"]),
    ("ogg", &["recordings"]),
    ("::opus", &["recordings"]),
];

#[test]
fn every_room_names_only_the_rooms_it_may() {
    assert_none(offences(&tree(), wrong_room));
}

#[test]
fn brains_touch_neither_clock_nor_world() {
    assert_none(offences(&tree(), world_in_brain));
}

#[test]
fn every_outside_library_has_its_home() {
    assert_none(offences(&tree(), library_away_from_home));
}

#[test]
fn each_fence_bites() {
    let planted = |file: &str, line: &str| BTreeMap::from([(file.to_owned(), line.to_owned())]);
    assert_eq!(offences(&planted("acd/mod.rs", "use crate::sip::Event;"), wrong_room).len(), 1);
    assert_eq!(offences(&planted("store/mod.rs", "use crate::call::request::Engine;"), wrong_room).len(), 1);
    assert_eq!(offences(&planted("talk/mod.rs", "let now = std::time::Instant::now();"), world_in_brain).len(), 1);
    assert_eq!(offences(&planted("sip/dialog.rs", "tokio::spawn(later);"), world_in_brain).len(), 1);
    assert_eq!(offences(&planted("sip/shell.rs", "tokio::spawn(later);"), world_in_brain).len(), 0);
    assert_eq!(offences(&planted("call/desk.rs", "sqlx::query(\"\")"), library_away_from_home).len(), 1);
    // Comments and tests may speak of anything.
    assert_eq!(offences(&planted("acd/mod.rs", "//! Knows nothing of crate::sip."), wrong_room).len(), 0);
}

#[test]
fn only_the_clock_looks_at_the_clock() {
    let looks = |file: &str, line: &str| {
        let looks = line.contains("Instant::now") || line.contains("SystemTime::now");
        (looks && file != "clock.rs").then(|| "looks at the clock".to_owned())
    };
    assert_none(offences(&tree(), looks));
}

fn wrong_room(file: &str, line: &str) -> Option<String> {
    let room = room(file);
    let (_, allowed) = MAY_NAME.iter().find(|(name, _)| *name == room)?;
    line.split("crate::").skip(1).find_map(|rest| {
        let named: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let known = MAY_NAME.iter().any(|(name, _)| *name == named);
        let fine = !known || named == room || allowed.contains(&named.as_str()) || WORDS.contains(&named.as_str());
        (!fine).then(|| format!("`{room}` must not name `{named}`"))
    })
}

fn world_in_brain(file: &str, line: &str) -> Option<String> {
    if !BRAINS.contains(&room(file)) || SHELLS.contains(&file) {
        return None;
    }
    WORLD.iter().find(|word| line.contains(*word)).map(|word| format!("a brain touches `{word}`"))
}

fn library_away_from_home(file: &str, line: &str) -> Option<String> {
    HOMES.iter().find_map(|(library, homes)| {
        let named = line.contains(&format!("{library}::"));
        let home = homes.iter().any(|home| room(file) == *home || file == *home);
        (named && !home).then(|| format!("`{library}` lives in {homes:?}"))
    })
}

fn room(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

/// `file:line: what` for every line of code (no comment, no test module) in which the search finds an offence.
fn offences(files: &BTreeMap<String, String>, search: impl Fn(&str, &str) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    for (file, text) in files {
        for (number, line) in text.lines().enumerate() {
            if line.starts_with("#[cfg(test)]") {
                break;
            }
            if !line.trim_start().starts_with("//")
                && let Some(offence) = search(file, line)
            {
                found.push(format!("src/{file}:{}: {offence}", number + 1));
            }
        }
    }
    found
}

fn assert_none(offences: Vec<String>) {
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

/// Every source file that is no test, by its path below `src`.
fn tree() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut files, mut folders) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && !is_test(&path) {
                let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                files.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(files.len() > 20, "the tree of sources was not found");
    files
}

/// A module of tests in a file or folder of its own.
fn is_test(path: &Path) -> bool {
    let word =
        |part: &str| ["tests", "scenarios", "random_walk", "random_days", "pair", "test"].contains(&part.trim_end_matches(".rs"));
    path.components().any(|part| word(&part.as_os_str().to_string_lossy()))
}
