//! Whoever looks after an installation: doctor, backup and return, a person forgotten, the law in print, and the supervisor's watchdog.

use crate::engine::SOON;
use crate::line::{ANSWERS, Line, Plan, rings, they_talk};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// Not to be found by chance in any file.
const FORGOTTEN: &str = "+73852417263";
const DIGITS: &[u8] = b"3852417263";
const STAYS: &str = "+73852555444";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_finds_a_line_at_work_whole_and_tells_what_is_broken() {
    let mut line = Line::open(Plan { recording: true, ..Plan::default() }).await;
    let anna = line.phone_that(20, ANSWERS);
    let citizen = line.call_queue("+73852000001").await;
    they_talk(&citizen, &rings(&anna).await).await;
    line.call("+73852000002").wait_answered().await.unwrap();
    line.ledger().await;
    let (code, findings) = doctor(&line).await;
    assert_eq!(code, 0, "{findings:#?}");
    assert!(says(&findings, "ok", "ledger", "entered 2 = live 2 + ended 0"), "{findings:#?}");
    assert!(says(&findings, "ok", "ports", "is held by the engine"), "{findings:#?}");
    citizen.hang_up();
    line.ended_as_so_far("served", 1).await;
    line.kill9();

    // A recording that is gone, a key for all to read, a record with a flipped bit, a table that says something else.
    let data = line.folder().join("data");
    let wav = files(&data.join("recordings")).into_iter().find(|file| file.extension().is_some_and(|end| end == "wav")).unwrap();
    fs::remove_file(wav).unwrap();
    fs::set_permissions(data.join("person-key"), fs::Permissions::from_mode(0o644)).unwrap();
    let people = files(&data.join("people")).into_iter().find(|file| fs::metadata(file).unwrap().len() > 40).unwrap();
    let mut bytes = fs::read(&people).unwrap();
    bytes[12] ^= 1;
    fs::write(people, bytes).unwrap();
    let (code, findings) = doctor(&line).await;
    assert_eq!(code, 2, "{findings:#?}");
    assert!(says(&findings, "warning", "engine", "does not answer"), "{findings:#?}");
    assert!(says(&findings, "warning", "orphans", "1 recordings are not where they should be"), "{findings:#?}");
    assert!(says(&findings, "fault", "secrets", "person-key may be read by others"), "{findings:#?}");
    assert!(says(&findings, "fault", "people", "damaged at byte 0"), "{findings:#?}");
    assert!(says(&findings, "ok", "ledger", "entered 2 = live 1 + ended 1"), "{findings:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_put_back_elsewhere_and_serves_there() {
    let line = Line::open(Plan { recording: true, ..Plan::default() }).await;
    let anna = line.phone_that(20, ANSWERS);
    let served = line.call_queue("+73852000001").await;
    they_talk(&served, &rings(&anna).await).await;
    served.hang_up();
    line.ended_as_so_far("served", 1).await;
    // Calls come and go while the copy is taken.
    let mut waiting = Vec::new();
    for number in 2..12 {
        waiting.push(line.call(&format!("+738520000{number:02}")));
    }
    let to = line.folder().join("copy.tar");
    let taking = run(&line, &["backup", "--to", to.to_str().unwrap()]);
    for call in waiting {
        call.wait_answered().await.unwrap();
        call.hang_up();
    }
    let taken = taking.await;
    assert!(taken.status.success(), "{taken:?}");
    assert!(String::from_utf8_lossy(&taken.stdout).contains("IT HOLDS KEYS AND PHONES"));
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);

    let again = run(&line, &["restore", "--from", to.to_str().unwrap()]).await;
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("is not empty"), "{again:?}");

    let mut other = Line::open(Plan { recording: true, ..Plan::default() }).await;
    other.kill9();
    let data = other.folder().join("data");
    fs::remove_dir_all(&data).unwrap();
    // One flipped byte is noticed before anything is written.
    let mut bytes = fs::read(&to).unwrap();
    let at = bytes.windows(8).position(|part| part == b"SQLite f").unwrap();
    bytes[at + 30] ^= 1;
    let broken = other.folder().join("broken.tar");
    fs::write(&broken, bytes).unwrap();
    let refused = run(&other, &["restore", "--from", broken.to_str().unwrap()]).await;
    assert!(
        !refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("is not as it was written"),
        "{refused:?}"
    );
    assert!(!data.exists());

    let put_back = run(&other, &["restore", "--from", to.to_str().unwrap()]).await;
    assert!(put_back.status.success(), "{put_back:?}");
    other.restart().await;
    let ledger = other.ledger().await;
    assert!(ledger.holds() && ledger.live == 0, "{ledger:?}");
    assert_eq!(ledger.outcomes["served"], 1);
    let wavs = files(&data.join("recordings"));
    assert_eq!(wavs.len(), 1, "the recording of the served call came along: {wavs:?}");
    let (_, findings) = doctor(&other).await;
    assert!(findings.iter().all(|finding| finding["level"] != "fault"), "{findings:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_forgotten_is_nowhere_in_the_data_while_the_engine_runs() {
    let line = Line::open(Plan { recording: true, ..Plan::default() }).await;
    let (recording, person) = two_citizens(&line).await;
    let done = run(&line, &["forget", "8 (3852) 41-72-63"]).await;
    assert!(done.status.success(), "{done:?}");
    assert!(!recording.exists(), "the recording stays");
    line.wait_for("the number to be gone", SOON, async || holders(&line, DIGITS).is_empty().then_some(())).await;
    assert!(!holders(&line, b"3852555444").is_empty(), "another's number went too");
    // The report stays as it was, and nobody is asked to call whom nobody can call.
    let ledger = line.ended_as(&[("served", 1), ("abandoned_in_menu", 2)]).await;
    assert_eq!(ledger.open_callbacks, 1);
    assert!(line.calls().await.iter().any(|call| call["person"] == person));
    let log = String::from_utf8_lossy(&line.log()).into_owned();
    assert!(log.contains("a person was forgotten") && !log.contains("417263"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_forgotten_is_nowhere_in_the_data_while_the_engine_is_down() {
    let mut line = Line::open(Plan { recording: true, ..Plan::default() }).await;
    let (recording, person) = two_citizens(&line).await;
    line.kill9();
    let done = run(&line, &["forget", &person]).await;
    assert!(done.status.success(), "{done:?}");
    assert!(!recording.exists(), "the recording stays");
    assert_eq!(holders(&line, DIGITS), Vec::<PathBuf>::new());
    assert!(!holders(&line, b"3852555444").is_empty(), "another's number went too");
    line.restart().await;
    line.ended_as(&[("served", 1), ("abandoned_in_menu", 2)]).await;
}

/// One is served and misses a second call, the other misses one. Gives the first one's recording and id.
async fn two_citizens(line: &Line) -> (PathBuf, String) {
    let anna = line.phone_that(20, ANSWERS);
    let citizen = line.call_queue(FORGOTTEN).await;
    they_talk(&citizen, &rings(&anna).await).await;
    citizen.hang_up();
    line.ended_as_so_far("served", 1).await;
    for (n, number) in [FORGOTTEN, STAYS].into_iter().enumerate() {
        let missed = line.call(number);
        missed.wait_answered().await.unwrap();
        line.board_shows("a second in the menu", |board| {
            let call = &board["calls"][0];
            board["at_ms"].as_u64().zip(call["since_ms"].as_u64()).is_some_and(|(now, since)| now - since > 1100)
        })
        .await;
        missed.hang_up();
        line.ended_as_so_far("abandoned_in_menu", n as u64 + 1).await;
    }
    assert_eq!(line.ledger().await.open_callbacks, 2);
    assert!(!holders(line, DIGITS).is_empty(), "nothing to be forgotten");
    let recording = files(&line.folder().join("data/recordings")).into_iter().next().unwrap();
    let served = line.calls().await.into_iter().find(|call| call["outcome"] == "served").unwrap();
    (recording, served["person"].as_str().unwrap().to_owned())
}

/// Files of the data folder that hold these bytes; dialogs of calls (`legs`) are kept for a day.
fn holders(line: &Line, wanted: &[u8]) -> Vec<PathBuf> {
    let all =
        files(&line.folder().join("data")).into_iter().filter(|file| !file.components().any(|part| part.as_os_str() == "legs"));
    all.filter(|file| fs::read(file).is_ok_and(|bytes| bytes.windows(wanted.len()).any(|part| part == wanted))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_law_of_today_is_printed_for_people() {
    let line = Line::open(Plan::default()).await;
    let citizen = line.call("+73852000001");
    citizen.wait_answered().await.unwrap();
    citizen.hang_up();
    line.ended_as(&[("abandoned_in_menu", 1)]).await;
    let today = jiff::Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::get("Europe/Moscow").unwrap()).date().to_string();
    let printed = run(&line, &["ledger", "--day", &today]).await;
    let text = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(text.contains("Закон сходится: 1 = 0 + 1"), "{printed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_supervisor_is_told_of_readiness_life_and_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("notify");
    let socket = UnixDatagram::bind(&name).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut line = Line::open(Plan::default()).await;
    line.kill9();
    line.restart_with(&[("NOTIFY_SOCKET", name.to_str().unwrap()), ("WATCHDOG_USEC", "300000")]).await;
    let hear = || {
        let mut word = [0; 64];
        let length = socket.recv(&mut word).expect("the supervisor is told nothing");
        String::from_utf8_lossy(&word[..length]).into_owned()
    };
    assert_eq!([hear(), hear(), hear()], ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]);
    line.signal("-TERM");
    assert!(line.ended(SOON).await.success());
    let rest: Vec<String> = std::iter::repeat_with(hear).take_while(|word| word == "WATCHDOG=1").collect();
    assert!(rest.len() < 1000, "STOPPING=1 ends them");
}

/// The engine is killed with people waiting; the standby on the same addresses (as a machine that took them over) has them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_promoted_after_kill_9_has_every_call_and_the_law_holds() {
    let mut line = Line::open(Plan { recording: true, ..Plan::default() }).await;
    let anna = line.phone_that(20, ANSWERS);
    let served = line.call_queue("+73852000001").await;
    they_talk(&served, &rings(&anna).await).await;
    served.hang_up();
    line.ended_as_so_far("served", 1).await;

    let folder = line.folder().join("standby");
    fs::create_dir(&folder).unwrap();
    let config = fs::read_to_string(line.folder().join("dozvon.toml")).unwrap();
    let (here, there) = (format!("{}/data", line.folder().display()), format!("{}/data", folder.display()));
    fs::write(folder.join("dozvon.toml"), config.replace(&here, &there)).unwrap();
    let mut standby = Standby::start(&line, &folder);
    // Under load: some talk, some wait, some are in the menu, and one has hung up already.
    let talking = line.call_queue("+73852000002").await;
    let operator = rings(&anna).await;
    they_talk(&talking, &operator).await;
    let mut held = Vec::new();
    for number in 3..8 {
        held.push(line.call_queue(&format!("+7385200000{number}")).await);
    }
    line.stages("waiting", 5).await;
    let position = line.board().await["journal"]["position"].as_u64().unwrap();
    line.wait_for("the copy to be here", SOON, async || (standby.journal_end() >= position).then_some(())).await;
    let recordings = |of: &Path| files(&of.join("data/recordings")).len();
    line.wait_for("the recordings to be here", SOON, async || (recordings(&folder) == recordings(line.folder())).then_some(()))
        .await;
    assert_eq!(line.ledger().await.live, 6);
    line.kill9();

    let told = Command::new(env!("CARGO_BIN_EXE_dozvon"))
        .args(["promote", "--config"])
        .arg(folder.join("dozvon.toml"))
        .env("WIRE_PASSWORD", crate::engine::PASSWORD)
        .output()
        .unwrap();
    assert!(told.status.success(), "{told:?}");
    line.wait_for("the standby to be the line", SOON, async || {
        line.get("/readyz").await.is_ok_and(|ready| ready["ready"] == true).then_some(())
    })
    .await;
    // Nobody was lost: the talk goes on, and whoever waited has the place they waited for.
    assert_eq!(line.ledger().await.live, 6);
    assert_eq!(files(&folder.join("data/recordings")).len(), files(&line.folder().join("data/recordings")).len());
    they_talk(&talking, &operator).await;
    talking.hang_up();
    let next = rings(&anna).await;
    they_talk(&held[0], &next).await;
    line.board_shows("all here for so long, the menu left out, that they are owed a call", |board| {
        let calls = board["calls"].as_array().unwrap();
        calls
            .iter()
            .all(|call| board["at_ms"].as_u64().zip(call["since_ms"].as_u64()).is_some_and(|(now, since)| now - since > 2000))
    })
    .await;
    for call in &held[1..] {
        call.hang_up();
    }
    line.ended_as_so_far("abandoned_in_queue", 4).await;
    held[0].hang_up();
    let ledger = line.ended_as(&[("served", 3), ("abandoned_in_queue", 4)]).await;
    assert_eq!((ledger.entered, ledger.open_callbacks), (7, 4));
    // It knows whom to call, and the lives of the old primary stand below its own.
    let callbacks = line.callbacks().await;
    assert!(callbacks.iter().all(|task| task["phone"].as_str().is_some_and(|phone| phone.starts_with("+7"))), "{callbacks:#?}");
    let epoch: u32 = fs::read_to_string(folder.join("data/journal/epoch")).unwrap().trim().parse().unwrap();
    assert!(epoch > 1000, "{epoch}");
    // Whoever calls now is served here.
    anna.hang_up_all().await;
    let citizen = line.call_queue("+73852000009").await;
    they_talk(&citizen, &rings(&anna).await).await;
    citizen.hang_up();
    line.ended_as(&[("served", 4), ("abandoned_in_queue", 4)]).await;
    // Killed and started as its unit would, it stays the line.
    standby.end();
    let _again = Standby::start(&line, &folder);
    line.wait_for("the promoted one to be the line again", SOON, async || {
        line.get("/readyz").await.is_ok_and(|ready| ready["ready"] == true).then_some(())
    })
    .await;
    line.ended_as(&[("served", 4), ("abandoned_in_queue", 4)]).await;
    // Nor is the old primary's own data ever taken for a copy.
    let wrong = run(&line, &["standby", "--primary", "http://127.0.31.1:1"]).await;
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("is the data of a line"), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doors_of_a_standby_are_shut_without_its_token() {
    let line = Line::open(Plan::default()).await;
    let refused = line.get("/api/v1/standby/files").await.unwrap_err();
    assert!(matches!(refused, ureq::Error::StatusCode(401)), "{refused}");
}

/// Keys get a new first line, and recordings are deleted long after their day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_follows_keys_that_are_rotated_and_recordings_that_go() {
    let line = Line::open(Plan::default()).await;
    let folder = line.folder().join("standby");
    fs::create_dir(&folder).unwrap();
    let config = fs::read_to_string(line.folder().join("dozvon.toml")).unwrap();
    let (here, there) = (line.folder().join("data"), folder.join("data"));
    let config = config.replace(&here.display().to_string(), &there.display().to_string());
    fs::write(folder.join("dozvon.toml"), config).unwrap();
    for day in ["2020-01-01", "2020-01-02", "2020-01-03"] {
        fs::create_dir_all(here.join("recordings").join(day)).unwrap();
        fs::write(here.join("recordings").join(day).join("call.ogg.sealed"), day).unwrap();
    }
    fs::write(here.join("recording-key-9"), "first\n").unwrap();
    let mut standby = Standby::start(&line, &folder);
    let is = |path: &'static str, wanted: Option<&'static str>| {
        let path = there.join(path);
        line.wait_for("the copy to follow", SOON, async move || {
            (fs::read_to_string(&path).ok().as_deref() == wanted).then_some(())
        })
    };
    is("recordings/2020-01-03/call.ogg.sealed", Some("2020-01-03")).await;
    is("recording-key-9", Some("first\n")).await;
    fs::write(here.join("recording-key-9"), "second\nfirst\n").unwrap();
    fs::remove_file(here.join("recordings/2020-01-01/call.ogg.sealed")).unwrap();
    fs::remove_dir_all(here.join("recordings/2020-01-02")).unwrap();
    is("recording-key-9", Some("second\nfirst\n")).await;
    is("recordings/2020-01-01/call.ogg.sealed", None).await;
    is("recordings/2020-01-02/call.ogg.sealed", None).await;
    standby.end();
}

/// A standby as a process of its own; promoted, it is the same process.
pub struct Standby {
    child: std::process::Child,
    data: PathBuf,
}

impl Standby {
    pub fn start(line: &Line, folder: &Path) -> Self {
        let log = fs::File::create(folder.join("standby.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_dozvon"))
            .args(["standby", "--primary", &format!("http://{}:8122", line.net.ip(2)), "--config"])
            .arg(folder.join("dozvon.toml"))
            .env_remove("DOZVON_DATA")
            .env("WIRE_PASSWORD", crate::engine::PASSWORD)
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, data: folder.join("data") }
    }

    /// How far the copy is.
    pub fn journal_end(&self) -> u64 {
        let segments = fs::read_dir(self.data.join("journal")).into_iter().flatten().flatten();
        let ends = segments.filter_map(|file| {
            let start: u64 = file.file_name().to_str()?.strip_suffix(".log")?.parse().ok()?;
            Some(start + file.metadata().ok()?.len())
        });
        ends.max().unwrap_or_default()
    }

    fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.data.with_file_name("standby.log")).unwrap_or_default();
            eprintln!("---- the standby's words ----\n{log}");
        }
    }
}

async fn doctor(line: &Line) -> (i32, Vec<Value>) {
    let output = run(line, &["doctor", "--json"]).await;
    let findings = serde_json::from_slice::<Vec<Value>>(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.code().unwrap(), findings)
}

fn says(findings: &[Value], level: &str, what: &str, text: &str) -> bool {
    let fits = |finding: &Value| {
        finding["level"] == level && finding["what"] == what && finding["text"].as_str().is_some_and(|said| said.contains(text))
    };
    findings.iter().any(fits)
}

/// A command of ours beside the engine; it runs from here on, not only when it is waited for.
fn run(line: &Line, arguments: &[&str]) -> impl Future<Output = Output> + use<> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dozvon"));
    command.args(arguments).arg("--config").arg(line.folder().join("dozvon.toml"));
    command.env_remove("DOZVON_DATA").env("WIRE_PASSWORD", crate::engine::PASSWORD);
    let running = tokio::task::spawn_blocking(move || command.output().unwrap());
    async { tokio::time::timeout(Duration::from_secs(60), running).await.expect("the command does not end").unwrap() }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push(path),
        }
    }
    found
}
