//! A recording after its call: packed, sealed, verified, kept, archived, deleted; and what kills, tampering and full disks do to it.

#[path = "talk_recorded/mod.rs"]
mod talk_recorded;

use dozvon::clock::Moment;
use dozvon::config::{Archive as ArchiveConfig, Config, Secret};
use dozvon::facts::{Fact, Outcome, RecordingGone, Stamped};
use dozvon::ids::*;
use dozvon::recordings::archive::Archive;
use dozvon::recordings::keeper::Keeper;
use dozvon::recordings::s3::{Signer, amz_date};
use dozvon::recordings::sealed::{SealError, Sealed};
use dozvon::recordings::{AudioError, Form, Keyring, PackError, Shelf, export, pack, sealed_name, wav};
use dozvon::store::Store;
use dozvon::store::sqlite::SqliteStore;
use sha2::Digest;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use talk_recorded::talk;
use tokio::sync::mpsc;

const REGION: RegionId = RegionId(22);
const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OTHER_KEY: &str = "ffff456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const FILE: &str = "2026-11-25/call.wav";

// ---- packed and read back ----

#[test]
fn packed_recording_has_the_wavs_length_and_sound_and_the_wav_is_gone() {
    let house = House::new();
    let frames = talk(25.3);
    house.write(FILE, &frames);
    let packed = pack(&house.shelf, FILE, REGION).unwrap();
    assert_eq!(packed.ms, 25_300);
    assert!(!house.path(FILE).exists());
    let heard = frames_of(&house.give(Form::Wav));
    assert_eq!(heard.len(), frames.len());
    // The citizen's two seconds of tone stand left where they were said, and not right.
    for (second, left, right) in [(1, true, false), (3, false, true), (12, true, false), (23, false, true)] {
        let window = &heard[second * 8000..(second + 1) * 8000];
        let loud =
            |channel: usize| window.iter().map(|f| f64::from(f[channel]).powi(2)).sum::<f64>().sqrt() / 8000f64.sqrt() > 1000.0;
        assert_eq!((loud(0), loud(1)), (left, right), "second {second}");
    }
    let size = std::fs::metadata(house.path(&sealed_name(FILE))).unwrap().len();
    assert_eq!(packed.bytes, size);
    assert!(size * 5 < frames.len() as u64 * 4, "{size} bytes");
}

#[test]
fn ogg_is_what_other_readers_take_for_opus() {
    let house = House::new();
    house.write(FILE, &talk(12.5));
    pack(&house.shelf, FILE, REGION).unwrap();
    let mut reader = ogg::PacketReader::new(std::io::Cursor::new(house.give(Form::Ogg)));
    let head = reader.read_packet_expected().unwrap();
    assert_eq!((&head.data[..10], head.first_in_stream()), (b"OpusHead\x01\x02".as_slice(), true));
    assert!(reader.read_packet_expected().unwrap().data.starts_with(b"OpusTags"));
    let (mut packets, mut last) = (0, None);
    while let Some(packet) = reader.read_packet().unwrap() {
        packets += 1;
        last = Some((packet.absgp_page(), packet.last_in_stream()));
    }
    let skip = u64::from(u16::from_le_bytes([head.data[10], head.data[11]]));
    assert_eq!(last, Some((12_500 * 48 + skip, true)));
    assert_eq!(packets, (12_500u64 * 8 + skip / 6).div_ceil(160));
}

#[test]
fn any_range_equals_that_part_of_the_whole() {
    let house = House::new();
    house.write(FILE, &talk(34.7));
    pack(&house.shelf, FILE, REGION).unwrap();
    for form in [Form::Wav, Form::Ogg] {
        let whole = house.give(form);
        let step = whole.len() / 7;
        for first in (0..whole.len())
            .step_by(step.max(1))
            .chain([1, 43, 44, 45, 320_043, whole.len() - 1])
            .filter(|first| *first < whole.len())
        {
            // Opened anew, as each request does.
            let mut packed = house.shelf.open(FILE).unwrap();
            let part = packed.read(form, first as u64, 5_001).unwrap();
            assert!(!part.is_empty());
            assert_eq!(part, whole[first..first + part.len()], "{form:?} from {first}");
        }
    }
}

#[test]
fn wav_of_a_process_that_died_is_packed_to_its_last_frame() {
    let house = House::new();
    let frames = talk(3.0);
    house.write(FILE, &frames);
    // The header was not renewed after the last second.
    let mut bytes = std::fs::read(house.path(FILE)).unwrap();
    bytes[..44].copy_from_slice(&wav::header(2 * 8000));
    // And half a frame was written.
    bytes.push(7);
    std::fs::write(house.path(FILE), bytes).unwrap();
    assert_eq!(pack(&house.shelf, FILE, REGION).unwrap().ms, 3_000);
}

#[test]
fn empty_recording_is_packed_too() {
    let house = House::new();
    house.write(FILE, &[]);
    assert_eq!(pack(&house.shelf, FILE, REGION).unwrap().ms, 0);
    assert_eq!(house.give(Form::Wav), wav::header(0));
}

// ---- kills ----

#[test]
fn killed_at_any_step_it_comes_to_the_same_end() {
    let house = House::new();
    let frames = talk(8.0);
    let sealed = house.path(&sealed_name(FILE));
    // While the sealed file is being written.
    house.write(FILE, &frames);
    std::fs::write(sealed.with_extension("part"), "half of it").unwrap();
    let first = pack(&house.shelf, FILE, REGION).unwrap();
    assert!(!sealed.with_extension("part").exists());
    // After it got its name, before the WAV went.
    house.write(FILE, &frames);
    let second = pack(&house.shelf, FILE, REGION).unwrap();
    assert!(!house.path(FILE).exists() && second.sha256 != first.sha256, "a file id was used twice");
    // After the WAV went, before the fact was written.
    let third = pack(&house.shelf, FILE, REGION).unwrap();
    assert_eq!(third, second);
    // And with nothing at all it is said.
    std::fs::remove_file(sealed).unwrap();
    assert!(matches!(pack(&house.shelf, FILE, REGION), Err(PackError::Gone)));
}

// ---- tampering ----

#[test]
fn tampered_cut_moved_or_renamed_files_do_not_open() {
    let house = House::new();
    house.write(FILE, &talk(60.0));
    pack(&house.shelf, FILE, REGION).unwrap();
    let path = house.path(&sealed_name(FILE));
    let good = std::fs::read(&path).unwrap();
    assert!(good.len() > 2 * 65_552 + 32, "three chunks are needed, {} bytes are there", good.len());
    let reads = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let mut packed = house.shelf.open(FILE)?;
        export(&mut packed, Form::Wav, &mut std::io::sink())
    };
    assert!(reads(&good).is_ok());
    for at in [8, 20, 40, 65_000, 70_000, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(reads(&bad).is_err(), "byte {at}");
    }
    // Cut, also at a chunk's end.
    for length in [0, 10, 32, 32 + 65_552, 32 + 2 * 65_552, good.len() - 1] {
        assert!(reads(&good[..length]).is_err(), "{length} bytes");
    }
    // Two chunks in each other's place.
    let (head, rest) = good.split_at(32);
    let (first, rest) = rest.split_at(65_552);
    let (second, rest) = rest.split_at(65_552);
    assert!(reads(&[head, second, first, rest].concat()).is_err());
    // Under another call's name.
    std::fs::write(&path, &good).unwrap();
    std::fs::copy(&path, house.path("2026-11-25/other.ogg.sealed")).unwrap();
    assert!(matches!(house.shelf.open("2026-11-25/other.wav"), Err(AudioError::Sealed(SealError::Damaged(_)))));
}

#[test]
fn only_the_right_key_opens_and_after_rotation_the_old_one_still_does() {
    let house = House::new();
    house.write(FILE, &talk(2.0));
    let old = pack(&house.shelf, FILE, REGION).unwrap();
    let path = house.path(&sealed_name(FILE));
    assert!(matches!(Sealed::open(&path, FILE, &keys(OTHER_KEY)), Err(SealError::KeyMissing(_))));
    let rotated = Shelf::new(house.folder.path(), keys(&format!("{OTHER_KEY}\n{KEY}\n")));
    assert!(rotated.open(FILE).is_ok());
    house.write("new.wav", &talk(2.0));
    assert_ne!(pack(&rotated, "new.wav", REGION).unwrap().key, old.key);
    assert!(house.shelf.open("new.wav").is_err() && rotated.open("new.wav").is_ok());
}

#[test]
fn no_sound_stands_open_on_the_disk() {
    let house = House::new();
    house.write(FILE, &talk(5.0));
    pack(&house.shelf, FILE, REGION).unwrap();
    let sealed = std::fs::read(house.path(&sealed_name(FILE))).unwrap();
    assert!(!sealed.windows(4).any(|window| window == b"OggS" || window == b"Opus"));
}

// ---- the keeper ----

#[tokio::test]
async fn keeper_packs_what_ended_and_what_nobody_closed_and_waits_for_the_rest() {
    let line = Line::new().await;
    let (ended, unclosed, live) = (line.call(1, "therapy").await, line.call(2, "therapy").await, line.call(3, "therapy").await);
    for call in [ended, unclosed, live] {
        line.house.write(&file_of(call), &talk(2.0));
    }
    line.tell(100, Fact::RecordingEnded { call: ended, file: file_of(ended), ms: 2000, gaps: 1 }).await;
    line.tell(100, Fact::CallEnded { call: unclosed, outcome: Outcome::Cut }).await;
    let facts = line.turn(101).await;
    assert!(matches!(&facts[..], [Fact::RecordingPacked { call, ms: 2000, .. }] if *call == ended), "{facts:?}");
    let facts = line.turn(170).await;
    assert!(matches!(&facts[..], [Fact::RecordingPacked { call, .. }] if *call == unclosed), "{facts:?}");
    assert!(line.house.path(&file_of(live)).exists());
    assert_eq!(line.turn(171).await, []);
    let row = line.store.recordings(ended).await.unwrap().remove(0);
    assert_eq!((row.ended.unwrap().gaps, row.sealed.unwrap().ms), (1, 2000));
}

#[tokio::test]
async fn fact_that_was_lost_with_the_engine_is_told_again() {
    let line = Line::new().await;
    let call = line.ended_call(1, "therapy").await;
    // Told, and not folded: the engine died.
    let lost = line.turn_unfolded(101).await;
    assert_eq!(line.turn(102).await, []);
    assert_eq!(line.turn(200).await, lost);
    assert!(matches!(&lost[..], [Fact::RecordingPacked { call: of, .. }] if *of == call));
}

#[tokio::test]
async fn recordings_go_after_as_many_days_as_their_queue_wants() {
    let line = Line::new().await;
    let (short, long) = (line.ended_call(1, "short").await, line.ended_call(2, "long").await);
    line.turn(101).await;
    let day = 86_400;
    assert_eq!(line.retention(9 * day).await, []);
    let gone = line.retention(11 * day).await;
    assert_eq!(gone, [Fact::RecordingDeleted { call: short, file: file_of(short), why: RecordingGone::Retention }]);
    assert!(!line.house.path(&sealed_name(&file_of(short))).exists());
    assert!(line.house.shelf.open(&file_of(long)).is_ok());
    assert_eq!(line.retention(11 * day).await, []);
    assert_eq!(line.retention(101 * day).await.len(), 1);
}

#[tokio::test]
async fn archive_gets_the_sealed_file_and_the_local_one_goes_if_so_configured() {
    let archive = tempfile::tempdir().unwrap();
    let mut line = Line::new().await;
    line.keeper.archive =
        Some(Archive::new(&archive_config(&format!("kind = \"folder\"\ndir = {:?}\nkeep_local = false", archive.path()))));
    let call = line.ended_call(1, "therapy").await;
    line.turn(101).await;
    // Told, and not folded: the engine died. The local file is gone, the archive still has it.
    assert_eq!(line.turn_unfolded(102).await.len(), 1);
    let facts = line.turn(200).await;
    let [Fact::RecordingArchived { place, kept: false, .. }] = &facts[..] else { panic!("{facts:?}") };
    let row = line.store.recordings(call).await.unwrap().remove(0);
    assert_eq!(dozvon::recordings::sha256_of(Path::new(place)).unwrap(), row.sealed.unwrap().sha256);
    assert!(!row.here && !line.house.path(&sealed_name(&file_of(call))).exists());
    assert_eq!(line.turn(900).await, []);
}

#[tokio::test]
async fn archive_that_is_away_is_tried_with_longer_pauses_and_given_up_in_the_open() {
    let mut line = Line::new().await;
    line.keeper.archive = Some(Archive::new(&archive_config(
        "kind = \"s3\"\nurl = \"http://127.0.0.1:9\"\nbucket = \"b\"\naccess_key = \"a\"\nsecret_env = \"SECRET\"",
    )));
    let call = line.ended_call(1, "therapy").await;
    line.turn(101).await;
    for (second, tries) in [(110, 1), (111, 2), (112, 2), (113, 3), (116, 3), (117, 4)] {
        assert_eq!(line.turn(second).await, []);
        assert_eq!(line.store.recordings(call).await.unwrap()[0].attempts, tries, "second {second}");
    }
    let facts = line.turn(200 + 3 * 86_400).await;
    assert!(matches!(&facts[..], [Fact::RecordingNotArchived { .. }]), "{facts:?}");
    assert_eq!(line.turn(900 + 3 * 86_400).await, []);
    assert!(line.house.shelf.open(&file_of(call)).is_ok(), "it stays here");
}

/// Against a store started for real, which `scripts/setup test` installs.
#[tokio::test]
async fn s3_store_takes_it_and_has_it_whole() {
    let server = S3Server::start();
    let mut line = Line::new().await;
    let config = format!(
        "kind = \"s3\"\nurl = \"{}\"\nbucket = \"line122\"\naccess_key = \"testing\"\nsecret_env = \"SECRET\"",
        server.url
    );
    let http: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
    let signed = |method: &str, path: &str| {
        let secret = Secret::new("testing");
        let signer = Signer { region: "us-east-1".into(), access_key: "testing".into(), secret };
        let now = dozvon::clock::Clock::start(Moment::ZERO).now();
        let (nothing, date) = (hex::encode(sha2::Sha256::digest("")), amz_date(now));
        let host = server.url.strip_prefix("http://").unwrap();
        let headers = [("host", host), ("x-amz-content-sha256", nothing.as_str()), ("x-amz-date", date.as_str())];
        let authorization = signer.authorization(now, method, path, &headers, &nothing);
        [("x-amz-content-sha256", nothing.clone()), ("x-amz-date", date.clone()), ("authorization", authorization)]
    };
    let create = http.put(format!("{}/line122", server.url));
    signed("PUT", "/line122").into_iter().fold(create, |ask, (name, value)| ask.header(name, value)).send_empty().unwrap();
    line.keeper.archive = Some(Archive::new(&archive_config(&config)));
    line.ended_call(1, "therapy").await;
    line.turn(101).await;
    let facts = line.turn(102).await;
    let [Fact::RecordingArchived { place, kept: true, .. }] = &facts[..] else { panic!("{facts:?}") };
    let path = place.strip_prefix(&server.url).unwrap();
    let get = signed("GET", path).into_iter().fold(http.get(place), |ask, (name, value)| ask.header(name, value));
    let there = get.call().unwrap().body_mut().read_to_vec().unwrap();
    let call = CallId(uuid::Uuid::from_u128(1));
    assert!(there == std::fs::read(line.house.path(&sealed_name(&file_of(call)))).unwrap());
}

#[tokio::test]
async fn c46_full_disk_keeps_the_wav_and_packing_goes_on_when_there_is_room() {
    let line = Line::new().await;
    let call = line.ended_call(1, "therapy").await;
    let folder = line.house.path("2026-11-25");
    let Some(disk) = SmallDisk::over(&folder, &file_of(call), &line.house) else {
        eprintln!("SKIPPED: a small tmpfs needs root");
        return;
    };
    disk.fill();
    let wav = std::fs::read(line.house.path(&file_of(call))).unwrap();
    assert_eq!(line.turn(101).await, []);
    assert!(std::fs::read(line.house.path(&file_of(call))).unwrap() == wav);
    assert!(!line.house.path(&sealed_name(&file_of(call))).with_extension("part").exists());
    assert!(
        line.house.shelf.counts().figures().iter().any(|(name, _, value)| *name == "dozvon_recordings_failing" && *value == 1)
    );
    disk.empty();
    let facts = line.turn(103).await;
    assert!(matches!(&facts[..], [Fact::RecordingPacked { .. }]), "{facts:?}");
    assert!(
        line.house.shelf.counts().figures().iter().any(|(name, _, value)| *name == "dozvon_recordings_failing" && *value == 0)
    );
}

// ---- helpers ----

struct House {
    folder: tempfile::TempDir,
    shelf: Shelf,
}

impl House {
    fn new() -> House {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path(), keys(KEY));
        House { folder, shelf }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn write(&self, file: &str, frames: &[[i16; 2]]) {
        let path = self.path(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let sound = frames.iter().flatten().flat_map(|sample| sample.to_le_bytes());
        std::fs::write(path, wav::header(frames.len() as u64).into_iter().chain(sound).collect::<Vec<u8>>()).unwrap();
    }

    fn give(&self, form: Form) -> Vec<u8> {
        let mut bytes = Vec::new();
        export(&mut self.shelf.open(FILE).unwrap(), form, &mut bytes).unwrap();
        bytes
    }
}

fn keys(text: &str) -> Keyring {
    let mut keys = Keyring::default();
    keys.add(REGION, text).unwrap();
    keys
}

fn frames_of(wav: &[u8]) -> Vec<[i16; 2]> {
    let sample = |bytes: &[u8]| i16::from_le_bytes([bytes[0], bytes[1]]);
    wav[44..].chunks(4).map(|frame| [sample(&frame[..2]), sample(&frame[2..])]).collect()
}

fn archive_config(archive: &str) -> ArchiveConfig {
    let text = format!("[[network]]\nname = \"n\"\nbind = \"127.0.0.1:5060\"\n[archive]\n{archive}\n");
    let env = |key: &str| (key == "SECRET").then(|| "testing".to_owned());
    Config::parse_with("test.toml", &text, &env).unwrap_or_else(|errors| panic!("{errors}")).archive.unwrap()
}

fn file_of(call: CallId) -> String {
    format!("2026-11-25/{call}.wav")
}

/// Tables, a folder and the keeper between them.
struct Line {
    house: House,
    store: Arc<dyn Store>,
    keeper: Keeper,
    position: std::cell::Cell<u64>,
    _tables: tempfile::TempDir,
}

impl Line {
    async fn new() -> Line {
        let tables = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::new(&tables.path().join("dozvon.db")));
        let house = House::new();
        let days = |queue: Option<&QueueId>| if queue.is_some_and(|queue| queue.as_str() == "short") { 10 } else { 100 };
        let keep = Box::new(move |queue: Option<&QueueId>| Duration::from_secs(days(queue) * 86_400));
        let keeper = Keeper { shelf: house.shelf.clone(), store: store.clone(), pack: true, archive: None, keep };
        Line { house, store, keeper, position: Default::default(), _tables: tables }
    }

    async fn tell(&self, second: u64, fact: Fact) {
        self.position.set(self.position.get() + 1);
        let stamped = Stamped { at: Moment::from_secs(second), fact };
        self.store.apply(&[(self.position.get(), stamped)], self.position.get()).await.unwrap();
    }

    async fn call(&self, number: u128, queue: &str) -> CallId {
        let call = CallId(uuid::Uuid::from_u128(number));
        let (trunk, dialled) = ("city".into(), "122".into());
        self.tell(1, Fact::CallEntered { call, region: REGION, trunk, dialled, person: None }).await;
        self.tell(2, Fact::QueueEntered { call, queue: queue.into(), priority: 0, urgent: false }).await;
        self.tell(3, Fact::RecordingStarted { call, file: file_of(call) }).await;
        call
    }

    async fn ended_call(&self, number: u128, queue: &str) -> CallId {
        let call = self.call(number, queue).await;
        self.house.write(&file_of(call), &talk(2.0));
        self.tell(100, Fact::RecordingEnded { call, file: file_of(call), ms: 2000, gaps: 0 }).await;
        call
    }

    async fn turn_unfolded(&self, second: u64) -> Vec<Fact> {
        let (facts, mut told) = mpsc::channel(16);
        self.keeper.turn(Moment::from_secs(second), &facts).await.unwrap();
        std::iter::from_fn(|| told.try_recv().ok()).collect()
    }

    async fn turn(&self, second: u64) -> Vec<Fact> {
        let told = self.turn_unfolded(second).await;
        for fact in &told {
            self.tell(second, fact.clone()).await;
        }
        told
    }

    async fn retention(&self, second: u64) -> Vec<Fact> {
        let (facts, mut told) = mpsc::channel(16);
        self.keeper.delete_old(Moment::from_secs(second), &facts).await.unwrap();
        let told: Vec<Fact> = std::iter::from_fn(|| told.try_recv().ok()).collect();
        for fact in &told {
            self.tell(second, fact.clone()).await;
        }
        told
    }
}

/// A tmpfs of 256 KiB over a folder, with one WAV moved onto it.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn over(folder: &Path, file: &str, house: &House) -> Option<SmallDisk> {
        let wav = std::fs::read(house.path(file)).unwrap();
        let mount = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(folder).output();
        mount.ok().filter(|done| done.status.success())?;
        std::fs::write(house.path(file), wav).unwrap();
        Some(SmallDisk(folder.to_owned()))
    }

    fn fill(&self) {
        use std::io::Write;
        let mut ballast = std::fs::File::create(self.0.join("ballast")).unwrap();
        while ballast.write_all(&[0; 512]).is_ok() {}
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

struct S3Server {
    process: std::process::Child,
    url: String,
}

impl S3Server {
    fn start() -> S3Server {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/target/moto/bin/moto_server");
        let mut command = std::process::Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(std::process::Stdio::null());
        let process = command.stderr(std::process::Stdio::null()).spawn();
        let process = process.unwrap_or_else(|error| panic!("{program}: {error}; scripts/setup test installs it"));
        let server = S3Server { process, url: format!("http://127.0.0.1:{port}") };
        for _ in 0..600 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return server;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("moto_server does not listen within 30 s");
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn secrets_of_the_archive_print_as_dots() {
    assert_eq!(format!("{:?}", Secret::new("testing")), "•••");
}
