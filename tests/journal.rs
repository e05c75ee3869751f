//! What the journal promises: nothing committed is lost, nothing half-written is read, the line goes on when the disk does not.

use dozvon::clock::Moment;
use dozvon::facts::Fact;
use dozvon::ids::{CallId, PersonId};
use dozvon::journal::{Body, Damage, Journal, JournalError, Limits, People, PersonSeen, Reader, Record};
use dozvon::pii::Phone;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use uuid::Uuid;

#[test]
fn what_was_committed_is_there_for_the_next_life() {
    let home = TempDir::new().unwrap();
    let (mut journal, opened) = Journal::open(home.path(), Limits::FACTS).unwrap();
    assert_eq!((opened.epoch, opened.last, opened.tail.len()), (1, Moment::ZERO, 0));
    write(&mut journal, 0..5);

    // The writer is still alive and has not been asked to close anything: this is what a killed one leaves.
    let crashed = copy(home.path());
    let (_, opened) = Journal::open(crashed.path(), Limits::FACTS).unwrap();
    assert_eq!((opened.epoch, opened.last), (2, record(4).at));
    assert_eq!(opened.tail, records(0..5));
    assert_eq!(opened.damage, []);
}

#[test]
fn what_was_committed_survives_kill_9() {
    const CHILD: &str = "DOZVON_TEST_KILLED";
    if let Some(dir) = std::env::var_os(CHILD) {
        let (mut journal, _) = Journal::open(PathBuf::from(dir), Limits { segment_bytes: 2000, ..Limits::FACTS }).unwrap();
        for n in 0.. {
            write(&mut journal, n..n + 1);
            println!("{n}");
        }
    }
    let home = TempDir::new().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "what_was_committed_survives_kill_9", "--nocapture"])
        .env(CHILD, home.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    while lines.next().unwrap() != "300" {}
    child.kill().unwrap();
    child.wait().unwrap();
    let told = lines.filter_map(|line| line.parse::<u64>().ok()).last().unwrap_or(300);

    let (_, opened) = Journal::open(home.path(), Limits::FACTS).unwrap();
    let kept = opened.tail.len() as u64;
    assert!(kept > told, "{kept} records, though number {told} was told committed");
    assert_eq!((opened.epoch, opened.tail), (2, records(0..kept)));
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_to_whole_turns() {
    let home = TempDir::new().unwrap();
    let (mut journal, _) = Journal::open(home.path(), Limits::FACTS).unwrap();
    let mut ends = vec![0];
    for turn in 0..4 {
        ends.push(write(&mut journal, 3 * turn..3 * turn + 3));
    }
    drop(journal);
    let whole = fs::read(segment(home.path(), 0)).unwrap();
    for len in 0..=whole.len() {
        let torn = TempDir::new().unwrap();
        fs::write(segment(torn.path(), 0), &whole[..len]).unwrap();
        let kept = 3 * ends.iter().filter(|&&end| end > 0 && end <= len as u64).count() as u64;

        let (mut journal, opened) = Journal::open(torn.path(), Limits::FACTS).unwrap();
        assert_eq!(opened.tail, records(0..kept), "cut at byte {len}");
        assert_eq!(opened.damage.is_empty(), ends.contains(&(len as u64)), "cut at byte {len}");
        write(&mut journal, 90..91);
        drop(journal);

        let (_, opened) = Journal::open(torn.path(), Limits::FACTS).unwrap();
        let expected: Vec<Record> = (0..kept).chain([90]).map(record).collect();
        assert_eq!(opened.tail, expected, "written on after the cut at byte {len}");
    }
}

#[test]
fn a_tail_of_zeroes_or_garbage_is_cut() {
    for tail in [vec![0; 5000], vec![0xA5; 333]] {
        let home = TempDir::new().unwrap();
        let (mut journal, _) = Journal::open(home.path(), Limits::FACTS).unwrap();
        let end = write(&mut journal, 0..3);
        drop(journal);
        let path = segment(home.path(), 0);
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend(&tail);
        fs::write(&path, bytes).unwrap();

        let (_journal, opened) = Journal::open(home.path(), Limits::FACTS).unwrap();
        assert_eq!(opened.tail, records(0..3));
        assert_eq!(opened.damage, [Damage::TornTail { path: path.clone(), offset: end, cut: tail.len() as u64 }]);
        assert_eq!(fs::metadata(path).unwrap().len(), end);
    }
}

#[test]
fn damage_in_the_middle_is_named_and_the_line_starts_with_what_is_readable() {
    let home = TempDir::new().unwrap();
    let (mut journal, _) = Journal::open(home.path(), Limits::FACTS).unwrap();
    let first_end = write(&mut journal, 0..1);
    let end = write(&mut journal, 1..5);
    drop(journal);
    let path = segment(home.path(), 0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[first_end as usize + 10] ^= 1;
    fs::write(&path, &bytes).unwrap();

    let (mut journal, opened) = Journal::open(home.path(), Limits::FACTS).unwrap();
    assert_eq!(opened.tail, records(0..1));
    assert_eq!(opened.damage, [Damage::Unreadable { path: path.clone(), offset: first_end, lost: end - first_end }]);
    let sentence = opened.damage[0].to_string();
    assert!(sentence.contains(&format!("byte {first_end}")) && sentence.contains("backup"), "{sentence}");
    assert_eq!(journal.position(), end, "the damaged file is left as it is, positions go on behind it");

    write(&mut journal, 7..9);
    assert_eq!(fs::read(&path).unwrap(), bytes);
    let read = read_all(home.path(), 0, 1 << 20);
    assert_eq!(read, [record(0), record(7), record(8)]);
}

#[test]
fn a_start_replays_from_the_last_snapshot() {
    let home = TempDir::new().unwrap();
    let (mut journal, _) = Journal::open(home.path(), Limits::FACTS).unwrap();
    write(&mut journal, 0..3);
    journal.snapshot(b"three".to_vec()).unwrap();
    drop(journal);
    let (mut journal, opened) = Journal::open(home.path(), Limits::FACTS).unwrap();
    assert_eq!((opened.snapshot.as_deref(), opened.last), (Some(&b"three"[..]), record(2).at));
    write(&mut journal, 3..5);
    journal.snapshot(b"five".to_vec()).unwrap();
    write(&mut journal, 5..7);
    drop(journal);

    let (journal, opened) = Journal::open(home.path(), Limits::FACTS).unwrap();
    assert_eq!(opened.snapshot.as_deref(), Some(&b"five"[..]));
    assert_eq!(opened.tail, records(5..7));
    drop(journal);

    let mut snapshots = files(home.path(), "snap");
    assert_eq!(snapshots.len(), 2);
    fs::write(snapshots.pop().unwrap(), b"rubbish of some length").unwrap();
    let (_journal, opened) = Journal::open(home.path(), Limits::FACTS).unwrap();
    assert_eq!(opened.snapshot.as_deref(), Some(&b"three"[..]), "the one before a damaged snapshot serves");
    assert_eq!(opened.tail, records(3..7));
    assert!(matches!(opened.damage[..], [Damage::Snapshot { .. }]));
}

#[test]
fn a_snapshot_behind_the_end_of_the_file_never_gives_a_position_twice() {
    let home = TempDir::new().unwrap();
    let (mut journal, _) = Journal::open(home.path(), Limits::FACTS).unwrap();
    let end = write(&mut journal, 0..3);
    journal.snapshot(b"three".to_vec()).unwrap();
    drop(journal);
    fs::write(segment(home.path(), 0), b"").unwrap();
    let (journal, opened) = Journal::open(home.path(), Limits::FACTS).unwrap();
    assert_eq!(opened.snapshot.as_deref(), Some(&b"three"[..]));
    assert_eq!(journal.position(), end);
}

#[test]
fn a_reader_beside_the_writer_sees_every_record_once_and_in_order() {
    const RECORDS: u64 = 20_000;
    let home = TempDir::new().unwrap();
    let limits = Limits { segment_bytes: 32 << 10, ..Limits::FACTS };
    let (mut journal, _) = Journal::open(home.path(), limits).unwrap();
    let mut committed = journal.committed();
    let dir = home.path().to_owned();
    let reading = std::thread::spawn(move || {
        let mut reader = Reader::<Record>::new(dir);
        let (mut position, mut read) = (0, Vec::new());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        while read.len() < RECORDS as usize {
            let found = reader.read_from(position, 4096).unwrap();
            match found.last() {
                Some(&(behind, _)) => position = behind,
                None => runtime.block_on(committed.wait_for(|&end| end > position)).map(|_| ()).unwrap(),
            }
            read.extend(found.into_iter().map(|(_, record)| record));
        }
        (position, read)
    });
    for n in (0..RECORDS).step_by(3) {
        write(&mut journal, n..(n + 3).min(RECORDS));
    }
    let (position, read) = reading.join().unwrap();
    assert_eq!(position, journal.position());
    assert_eq!(read, records(0..RECORDS));
    assert!(files(home.path(), "log").len() > 10);
}

#[test]
fn a_reader_can_begin_behind_any_record() {
    let home = TempDir::new().unwrap();
    let limits = Limits { segment_bytes: 100, ..Limits::FACTS };
    let (mut journal, _) = Journal::open(home.path(), limits).unwrap();
    let ends: Vec<u64> = (0..20).map(|n| write(&mut journal, n..n + 1)).collect();
    for (n, &end) in ends.iter().enumerate() {
        assert_eq!(read_all(home.path(), end, 1), records(n as u64 + 1..20));
    }
}

#[test]
fn two_engines_cannot_open_one_journal() {
    let home = TempDir::new().unwrap();
    let (journal, _) = Journal::open(home.path(), Limits::FACTS).unwrap();
    assert!(matches!(Journal::open(home.path(), Limits::FACTS).map(|_| ()), Err(JournalError::Locked(_))));
    drop(journal);
    let (_journal, opened) = Journal::open(home.path(), Limits::FACTS).unwrap();
    assert_eq!(opened.epoch, 2, "the refused one was no life of the engine");
}

#[test]
fn a_segment_goes_only_when_folded_old_and_before_the_snapshots() {
    const LATE: Moment = Moment(u64::MAX);
    let home = TempDir::new().unwrap();
    let limits = Limits { segment_bytes: 100, ..Limits::FACTS };
    let (mut journal, _) = Journal::open(home.path(), limits).unwrap();
    write_each(&mut journal, 0..30);
    let folded = journal.position();
    assert_eq!(journal.release(folded, LATE).unwrap(), 0, "no snapshot: the next start needs all of it");
    journal.snapshot(b"thirty".to_vec()).unwrap();
    drop(journal);

    let (mut journal, _) = Journal::open(home.path(), limits).unwrap();
    assert_eq!(journal.release(0, LATE).unwrap(), 0, "not folded");
    assert_eq!(journal.release(folded, Moment::from_secs(1)).unwrap(), 0, "too young");
    assert!(journal.release(folded, LATE).unwrap() > 5);
    write_each(&mut journal, 30..31);
    drop(journal);
    let (_journal, opened) = Journal::open(home.path(), limits).unwrap();
    assert_eq!((opened.snapshot.as_deref(), opened.tail), (Some(&b"thirty"[..]), records(30..31)));
}

#[test]
fn phones_leave_the_disk_once_the_tables_have_them() {
    let home = TempDir::new().unwrap();
    let (mut people, _) = People::open(home.path(), Limits::PEOPLE).unwrap();
    let phone = Phone::parse("+79130000012", None).unwrap();
    people.append(&PersonSeen { at: Moment::from_secs(1), person: PersonId(Uuid::from_u128(1)), phone: phone.clone() });
    let end = people.commit().unwrap();
    let on_disk = || files(home.path(), "log").iter().any(|path| contains(&fs::read(path).unwrap(), b"9130000012"));
    assert!(on_disk());
    people.release(end, Moment(u64::MAX)).unwrap();
    assert!(!on_disk());
    people.append(&PersonSeen { at: Moment::from_secs(2), person: PersonId(Uuid::from_u128(1)), phone });
    people.commit().unwrap();
    assert_eq!(Reader::<PersonSeen>::new(home.path()).read_from(end, 1000).unwrap().len(), 1);
}

#[test]
fn on_a_full_disk_the_line_goes_on_and_nothing_half_written_remains() {
    // The limit on file size is the process's own, so it is tried in a child.
    const CHILD: &str = "DOZVON_TEST_FULL_DISK";
    match std::env::var_os(CHILD) {
        Some(dir) => full_disk(&PathBuf::from(dir)),
        None => {
            let home = TempDir::new().unwrap();
            let name = "on_a_full_disk_the_line_goes_on_and_nothing_half_written_remains";
            let mut child = std::process::Command::new(std::env::current_exe().unwrap());
            let status = child.args(["--exact", name]).env(CHILD, home.path()).status().unwrap();
            assert!(status.success());
        }
    }
}

fn full_disk(dir: &Path) {
    const LIMIT: u64 = 1000;
    let limits = Limits { pending_bytes: 5000, ..Limits::FACTS };
    let (mut journal, _) = Journal::open(dir, limits).unwrap();
    limit_file_size(LIMIT);
    let mut n = 0;
    while !journal.failing() {
        journal.append(&record(n));
        let _ = journal.commit();
        n += 1;
    }
    let at_failure = journal.position();
    assert!(at_failure <= LIMIT && at_failure > LIMIT - 200);
    let copied = copy(dir);
    let (_, opened) = Journal::open(copied.path(), Limits::FACTS).unwrap();
    assert_eq!((opened.tail, opened.damage), (records(0..n - 1), vec![]), "the file ends with a whole record");

    for _ in 0..200 {
        journal.append(&record(n));
        assert!(journal.commit().is_err());
        n += 1;
    }
    assert!(journal.dropped() > 0, "memory is bounded");
    let kept = n - journal.dropped();

    limit_file_size(u64::MAX);
    journal.commit().unwrap();
    assert!(!journal.failing());
    drop(journal);
    let (_journal, opened) = Journal::open(dir, Limits::FACTS).unwrap();
    assert_eq!((opened.tail, opened.damage), (records(0..kept), vec![]));
}

fn limit_file_size(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: both calls take plain values and change only this child process.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
}

fn record(n: u64) -> Record {
    let call = CallId(Uuid::from_u128(u128::from(n)));
    let body = match n % 3 {
        0 => Body::Fact(Fact::CallAnswered { call }),
        1 => Body::Fact(Fact::ThemeChosen { call, theme: format!("theme {n}") }),
        _ => Body::Input { brain: dozvon::journal::Brain::Acd, call: Some(call), event: vec![7; n as usize % 50] },
    };
    Record { at: Moment::from_secs(n + 1), body }
}

fn records(range: std::ops::Range<u64>) -> Vec<Record> {
    range.map(record).collect()
}

fn write(journal: &mut Journal, range: std::ops::Range<u64>) -> u64 {
    for n in range {
        journal.append(&record(n));
    }
    journal.commit().unwrap()
}

fn write_each(journal: &mut Journal, range: std::ops::Range<u64>) {
    for n in range {
        write(journal, n..n + 1);
    }
}

fn read_all(dir: &Path, from: u64, max_bytes: usize) -> Vec<Record> {
    let mut reader = Reader::<Record>::new(dir);
    let (mut position, mut all) = (from, Vec::new());
    loop {
        let found = reader.read_from(position, max_bytes).unwrap();
        let Some(&(behind, _)) = found.last() else { return all };
        position = behind;
        all.extend(found.into_iter().map(|(_, record)| record));
    }
}

fn segment(dir: &Path, start: u64) -> PathBuf {
    dir.join(format!("{start:020}.log"))
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|found| found == extension));
    found.sort();
    found
}

fn copy(dir: &Path) -> TempDir {
    let to = TempDir::new().unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}
