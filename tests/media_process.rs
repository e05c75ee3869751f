//! Media as a process of its own: the real binary at its socket, engines that come, go and die, phones that must not notice.

use dozvon::clock::{Clock, Moment};
use dozvon::ids::{LegId, PlayId};
use dozvon::media::door::{self, Hears, LegReport, MediaCommand, MediaEvent, Told};
use dozvon::media::framing::{add_frame, read_frame};
use dozvon::media::rtp::{HEADER, Mark, Packet, header};
use dozvon::media::{Line, Start};
use dozvon::stream::{Codec, Direction, Stream};
use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at a condition, and between two packets of a phone.
const LOOK: Duration = Duration::from_millis(20);
const BINARY: &str = env!("CARGO_BIN_EXE_dozvon");
const A: LegId = LegId(1);
const B: LegId = LegId(2);
/// Leg and network of a question whose refusal says that all before it was obeyed and told.
const NOWHERE: LegId = LegId(u64::MAX);

#[test]
fn talk_goes_on_while_no_engine_is_attached_and_the_next_hears_what_was_told_meanwhile() {
    let house = House::build(1);
    let mut media = house.media();
    let mut first = Engine::attach(&house, None);
    let mut citizen = first.phone(A);
    let mut operator = first.phone(B);
    first.say(MediaCommand::Bridge { a: A, b: B });
    first.all_obeyed();
    let life = first.life;
    let mut sequences = Vec::new();
    let mut talk = |word: u8, citizen: &mut Phone, operator: &mut Phone| {
        citizen.say(&[word; 160]);
        let (packet, payload) = operator.hear();
        assert_eq!(payload, [word; 160]);
        sequences.push(packet.sequence);
    };
    (0..10).for_each(|word| talk(word, &mut citizen, &mut operator));

    drop(first);
    (10..30).for_each(|word| talk(word, &mut citizen, &mut operator));
    citizen.press(5);
    citizen.hears_back(&mut operator);
    let mut second = Engine::attach(&house, None);
    (30..50).for_each(|word| talk(word, &mut citizen, &mut operator));

    assert!(sequences.iter().zip(sequences.iter().skip(1)).all(|(a, b)| b.wrapping_sub(*a) <= 2), "{sequences:?}");
    assert_eq!(second.life, life);
    let hears = |leg: LegId| second.legs.iter().find(|report| report.leg == leg).map(|report| report.hears.clone());
    assert_eq!((hears(A), hears(B)), (Some(Hears::Bridged { with: B }), Some(Hears::Bridged { with: A })));
    let report = &second.legs[0];
    assert_eq!((Some(report.local), report.stream), (citizen.target, Some(stream(citizen.address()))));
    let told = second.all_obeyed();
    let pressed = |told: &[Told]| told.iter().filter(|told| matches!(told.event, MediaEvent::Digit { .. })).count();
    assert_eq!(pressed(&told), 1);
    assert!(told.iter().zip(told.iter().skip(1)).all(|(a, b)| b.number == a.number + 1), "{told:?}");

    // What is written down is not told to a third.
    let number = told.last().unwrap().number;
    second.say(MediaCommand::Noted { life: life + 1, number });
    second.say(MediaCommand::Noted { life, number: number - 1 });
    second.all_obeyed();
    drop(second);
    let mut second = Engine::attach(&house, None);
    assert_eq!(second.all_obeyed().first().map(|told| told.number), Some(number), "another life's note says nothing");
    second.say(MediaCommand::Noted { life, number });
    second.all_obeyed();
    drop(second);
    let mut third = Engine::attach(&house, None);
    assert_eq!(pressed(&third.all_obeyed()), 0);
    third.end(&mut media, &[A, B]);
}

#[test]
fn killed_media_is_started_anew_and_takes_up_ports_and_recordings() {
    let house = House::build(2);
    let mut media = house.media();
    let mut engine = Engine::attach(&house, Some(BINARY));
    let life = engine.life;
    let citizen = engine.phone(A);
    engine.phone(B);
    for (leg, file) in [(A, "a.wav"), (B, "b.wav")] {
        engine.say(MediaCommand::Record { leg, file: file.into() });
    }
    engine.all_obeyed();
    for file in ["a.wav", "b.wav"] {
        wait_for("the recording to grow", || std::fs::metadata(house.recording(file)).is_ok_and(|file| file.len() > 4_000));
    }

    media.kill().unwrap();
    media.wait().unwrap();
    assert!(house.socket().exists(), "the file that the next life finds is stale");
    engine.wait_for(|event| *event == MediaEvent::Detached);
    let MediaEvent::Attached { life: next, legs } = engine.wait_for(|event| matches!(event, MediaEvent::Attached { .. })) else {
        unreachable!()
    };
    assert!(next != life && legs.is_empty());

    engine.say(MediaCommand::Open { leg: A, network: "net".into(), near: None, at: citizen.target });
    let opened = engine.wait_for(|event| matches!(event, MediaEvent::Opened { .. }));
    assert_eq!(opened, MediaEvent::Opened { leg: A, local: citizen.target.unwrap() });
    engine.say(MediaCommand::Record { leg: A, file: "a.wav".into() });
    engine.say(MediaCommand::Close { leg: A });
    engine.say(MediaCommand::FinishRecord { leg: B, file: "b.wav".into() });
    engine.say(MediaCommand::FinishRecord { leg: B, file: "never.wav".into() });
    engine.flush();
    for (leg, name) in [(A, "a.wav"), (B, "b.wav")] {
        let recorded = engine.wait_for(|event| matches!(event, MediaEvent::Recorded { .. }));
        let MediaEvent::Recorded { leg: of, file, ms, gaps: 1 } = recorded else { panic!("{recorded:?}") };
        assert_eq!((of, file.as_str()), (leg, name));
        let wav = hound::WavReader::open(house.recording(name)).unwrap();
        assert_eq!(u64::from(wav.duration()) / 8, ms);
        assert!(ms >= 100, "{name} has only {ms} ms");
    }
    engine.wait_for(|event| matches!(event, MediaEvent::RecordFailed { leg: B, file, .. } if file == "never.wav"));
    engine.say(MediaCommand::Stop);
    engine.flush();
    wait_for("the media process to end", || !house.socket().exists());
}

/// What an upgrade finds whose door says other words than that of the media that runs.
#[test]
fn media_of_another_door_is_ended_and_its_legs_stand_where_they_stood() {
    let house = House::build(9);
    let mut old = house.media();
    let mut former = Engine::attach(&house, None);
    let citizen = former.phone(A);
    former.say(MediaCommand::Record { leg: A, file: "a.wav".into() });
    former.all_obeyed();
    let life = former.life;
    wait_for("the recording to grow", || std::fs::metadata(house.recording("a.wav")).is_ok_and(|file| file.len() > 4_000));
    drop(former);
    let another = house.base().with_file_name("media-0.sock");
    for end in ["", ".lock"] {
        let name = |socket: &Path| format!("{}{end}", socket.display());
        std::fs::rename(name(&house.socket()), name(&another)).unwrap();
    }

    let mut engine = Engine::attach(&house, Some(BINARY));
    assert!(ended(&mut old).success(), "the two never run at once");
    assert!(engine.life != life && engine.legs.is_empty());
    engine.say(MediaCommand::Open { leg: A, network: "net".into(), near: None, at: citizen.target });
    let opened = engine.wait_for(|event| matches!(event, MediaEvent::Opened { .. }));
    assert_eq!(opened, MediaEvent::Opened { leg: A, local: citizen.target.unwrap() });
    engine.say(MediaCommand::Record { leg: A, file: "a.wav".into() });
    engine.say(MediaCommand::Close { leg: A });
    engine.wait_for(|event| matches!(event, MediaEvent::Recorded { leg: A, .. }));
    engine.say(MediaCommand::Stop);
    engine.flush();
    wait_for("the media process to end", || !house.socket().exists());
}

#[test]
fn engine_that_comes_replaces_the_one_that_is_there_and_garbage_ends_only_its_own_connection() {
    let house = House::build(3);
    let mut media = house.media();
    let mut stuck = house.connect();
    let first: Told = read_frame(&mut stuck).unwrap().unwrap();
    let mut bytes = Vec::new();
    add_frame(&mut bytes, &open(A)).unwrap();
    stuck.write_all(&bytes).unwrap();

    let mut living = house.connect();
    let second: Told = read_frame(&mut living).unwrap().unwrap();
    let (MediaEvent::Attached { life, legs: none }, MediaEvent::Attached { life: same, legs }) = (first.event, second.event)
    else {
        panic!("not attached")
    };
    assert_eq!((none.len(), legs.len()), (0, 1), "what the former engine had asked for is reported to the next");
    assert_eq!(life, same);
    while read_frame::<Told>(&mut stuck).unwrap().is_some() {}

    living.write_all(&[0xFF; 64]).unwrap();
    while read_frame::<Told>(&mut living).unwrap().is_some() {}
    let engine = Engine::attach(&house, None);
    assert_eq!((engine.life, engine.legs.len()), (life, 1));
    engine.end(&mut media, &[A]);
}

#[test]
fn two_media_processes_at_one_socket_are_impossible() {
    let house = House::build(4);
    let mut media = house.media();
    let engine = Engine::attach(&house, None);
    let mut second = house.command().stderr(Stdio::piped()).spawn().unwrap();
    assert!(!ended(&mut second).success());
    let mut why = String::new();
    second.stderr.take().unwrap().read_to_string(&mut why).unwrap();
    assert!(why.contains("another media process serves") && why.contains("[media] socket"), "{why}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(house.socket()).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    engine.end(&mut media, &[]);
}

#[test]
fn events_that_nobody_notes_are_kept_up_to_a_bound() {
    const KEPT: u64 = 65_536;
    let house = House::build(5);
    let mut media = house.media();
    let mut silent = house.connect();
    let mut bytes = Vec::new();
    for _ in 0..KEPT + 100 {
        add_frame(&mut bytes, &nowhere()).unwrap();
    }
    let mut writer = silent.try_clone().unwrap();
    let asking = std::thread::spawn(move || writer.write_all(&bytes).unwrap());
    let mut reader = std::io::BufReader::new(&mut silent);
    while read_frame::<Told>(&mut reader).unwrap().is_some_and(|told| told.number < KEPT + 100) {}
    asking.join().unwrap();

    let mut engine = Engine::attach(&house, None);
    let told = engine.all_obeyed();
    // Three questions of this engine may have pushed out three more.
    assert!((101..=104).contains(&told.first().unwrap().number), "{:?}", told.first());
    assert_eq!(told.last().unwrap().number, KEPT + 103);
    engine.end(&mut media, &[]);
}

#[test]
fn process_ends_when_stopped_or_terminated_and_its_legs_are_gone_and_never_by_ctrl_c() {
    for signal in [None, Some("-TERM")] {
        let house = House::build(6);
        let mut media = house.media();
        let mut engine = Engine::attach(&house, None);
        engine.phone(A);
        engine.say(MediaCommand::Record { leg: A, file: "a.wav".into() });
        signal_to(&media, "-INT");
        match signal {
            Some(signal) => signal_to(&media, signal),
            None => engine.say(MediaCommand::Stop),
        }
        engine.all_obeyed();
        assert!(media.try_wait().unwrap().is_none(), "a leg was open");

        engine.say(MediaCommand::Close { leg: A });
        engine.flush();
        engine.wait_for(|event| matches!(event, MediaEvent::Closed { leg: A, .. }));
        engine.wait_for(|event| matches!(event, MediaEvent::Recorded { leg: A, .. }));
        assert!(ended(&mut media).success());
        assert!(!house.socket().exists());
    }
}

#[test]
fn orphan_closes_its_legs_and_ends() {
    let house = House::build(7);
    house.configure("orphan_after_s = 1");
    let mut media = house.media();
    let mut engine = Engine::attach(&house, None);
    engine.phone(A);
    engine.say(MediaCommand::Record { leg: A, file: "a.wav".into() });
    engine.all_obeyed();
    drop(engine);
    assert!(ended(&mut media).success());
    assert!(hound::WavReader::open(house.recording("a.wav")).is_ok());
}

#[test]
fn c44_media_stopped_for_two_seconds_sends_nothing_stale() {
    let house = House::build(8);
    let mut media = house.media();
    let mut engine = Engine::attach(&house, None);
    let mut citizen = engine.phone(A);
    let mut operator = engine.phone(B);
    let mut listener = engine.phone(LegId(3));
    engine.say(MediaCommand::Bridge { a: A, b: B });
    let play = MediaCommand::Play { leg: LegId(3), play: PlayId(1), prompts: vec!["music".into()], repeat: true };
    engine.say(play);
    engine.all_obeyed();
    citizen.say(&[1; 160]);
    assert_eq!(operator.hear().1, [1; 160]);
    listener.hear();

    signal_to(&media, "-STOP");
    wait_for("the process to be stopped", || state_of(&media) == 'T');
    listener.forget();
    citizen.press(5);
    for _ in 0..100 {
        citizen.say(&[7; 160]);
        std::thread::sleep(LOOK);
    }
    signal_to(&media, "-CONT");
    let mut said = 0;
    let heard = loop {
        citizen.say(&[9; 160]);
        said += 1;
        assert!(said < 500, "the operator heard nothing any more");
        std::thread::sleep(LOOK);
        if let Some((_, payload)) = operator.hear_now() {
            break payload;
        }
    };
    let music = std::iter::from_fn(|| listener.hear_now()).count();

    assert_eq!(heard, [9; 160]);
    assert!(music <= said + 5, "{music} packets of music in {said} times 20 ms");
    let told = engine.all_obeyed();
    assert!(told.iter().any(|told| matches!(told.event, MediaEvent::Digit { leg: A, digit: '5' })), "a key counts however late");
    assert!(!told.iter().any(|told| matches!(told.event, MediaEvent::Silent { .. })));
    engine.end(&mut media, &[A, B, LegId(3)]);
}

/// A configuration, a folder of data and prompts, an address.
struct House {
    folder: TempDir,
    number: u8,
}

impl House {
    fn build(number: u8) -> House {
        let house = House { folder: tempfile::Builder::new().prefix("dozvon-media-").tempdir().unwrap(), number };
        house.configure("orphan_after_s = 30");
        let prompts = house.folder.path().join("scripts/prompts");
        std::fs::create_dir_all(&prompts).unwrap();
        let spec =
            hound::WavSpec { channels: 1, sample_rate: 8000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
        let mut wav = hound::WavWriter::create(prompts.join("music.wav"), spec).unwrap();
        (0..8_000).for_each(|at| wav.write_sample((at % 80) as i16 * 100).unwrap());
        wav.finalize().unwrap();
        house
    }

    fn configure(&self, media: &str) {
        let Self { folder, number } = self;
        let folder = folder.path().display();
        let text = format!(
            "data = \"{folder}/data\"\nscripts = \"{folder}/scripts\"\n[[network]]\nname = \"net\"\nbind = \"127.0.30.{number}:5060\"\n\
             ports = \"30000-30099\"\n[media]\n{media}\n"
        );
        std::fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("dozvon.toml")
    }

    fn socket(&self) -> PathBuf {
        door::versioned(&self.base())
    }

    fn base(&self) -> PathBuf {
        self.folder.path().join("data/media.sock")
    }

    fn recording(&self, file: &str) -> PathBuf {
        self.folder.path().join("data/recordings").join(file)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(BINARY);
        command.arg("media").arg("--config").arg(self.config()).env_remove("DOZVON_DATA").stdin(Stdio::null());
        command
    }

    /// A media process, once it listens.
    fn media(&self) -> Child {
        let media = self.command().spawn().unwrap();
        let socket: &Path = &self.socket();
        wait_for("the socket", || socket.exists());
        media
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

/// An engine's end of the door.
struct Engine {
    line: Line,
    told: mpsc::Receiver<Told>,
    life: u64,
    legs: Vec<LegReport>,
}

impl Engine {
    fn attach(house: &House, start: Option<&str>) -> Engine {
        let start = start.map(|program| Start { program: program.into(), config: house.config() });
        let (line, mut events) = Line::process(house.base(), start, Clock::start(Moment::ZERO)).unwrap();
        let (up, told) = mpsc::channel();
        std::thread::spawn(move || {
            while let Some(event) = events.blocking_recv() {
                let _ = up.send(event);
            }
        });
        let mut engine = Engine { line, told, life: 0, legs: Vec::new() };
        match engine.next().event {
            MediaEvent::Attached { life, legs } => (engine.life, engine.legs) = (life, legs),
            other => panic!("the first word is {other:?}"),
        }
        engine
    }

    fn say(&mut self, command: MediaCommand) {
        self.line.send(command);
    }

    fn flush(&mut self) {
        self.line.flush();
    }

    fn next(&mut self) -> Told {
        self.told.recv_timeout(PATIENCE).expect("the awaited event did not come")
    }

    fn wait_for(&mut self, wanted: impl Fn(&MediaEvent) -> bool) -> MediaEvent {
        self.flush();
        loop {
            let event = self.next().event;
            if wanted(&event) {
                return event;
            }
        }
    }

    /// What is told until all that was said is obeyed: on the thread of each leg a question is refused.
    fn all_obeyed(&mut self) -> Vec<Told> {
        static ASKED: AtomicU64 = AtomicU64::new(1);
        let mut asked = Vec::new();
        for near in [A, B, LegId(3)] {
            let leg = LegId(NOWHERE.0 - ASKED.fetch_add(1, Ordering::Relaxed));
            self.say(MediaCommand::Open { leg, network: "nowhere".into(), near: Some(near), at: None });
            asked.push(leg);
        }
        self.flush();
        let mut all = Vec::new();
        while !asked.is_empty() {
            let told = self.next();
            if let MediaEvent::OpenFailed { leg, .. } = &told.event {
                asked.retain(|each| each != leg);
            }
            all.push(told);
        }
        all
    }

    fn phone(&mut self, leg: LegId) -> Phone {
        self.say(open(leg));
        let opened = self.wait_for(|event| matches!(event, MediaEvent::Opened { leg: of, .. } if *of == leg));
        let MediaEvent::Opened { local, .. } = opened else { unreachable!() };
        let phone = Phone::new(local);
        self.say(MediaCommand::Connect { leg, stream: stream(phone.address()), learn: false });
        self.flush();
        phone
    }

    fn end(mut self, media: &mut Child, legs: &[LegId]) {
        for leg in legs {
            self.say(MediaCommand::Close { leg: *leg });
        }
        self.say(MediaCommand::Stop);
        self.flush();
        assert!(ended(media).success());
    }
}

struct Phone {
    socket: UdpSocket,
    target: Option<SocketAddr>,
    sequence: u16,
    timestamp: u32,
}

impl Phone {
    fn new(target: SocketAddr) -> Phone {
        let socket = UdpSocket::bind("127.0.30.200:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Phone { socket, target: Some(target), sequence: 100, timestamp: 5_000 }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn say(&mut self, payload: &[u8]) {
        self.send(8, payload);
        self.timestamp += 160;
    }

    /// One packet of a key whose end was lost twice.
    fn press(&mut self, code: u8) {
        self.send(101, &[code, 0x80 | 10, 3, 32]);
        self.timestamp += 800;
    }

    fn send(&mut self, payload_type: u8, payload: &[u8]) {
        let mark = Mark { sequence: self.sequence, timestamp: self.timestamp, marker: false };
        self.sequence += 1;
        let packet = [&header(payload_type, mark, u32::from(self.address().port())), payload].concat();
        self.socket.send_to(&packet, self.target.unwrap()).unwrap();
    }

    fn hear(&mut self) -> (Packet, Vec<u8>) {
        let mut bytes = [0; 1500];
        let len = self.socket.recv(&mut bytes).expect("the phone heard nothing");
        (Packet::read(&bytes[..len]).unwrap(), bytes[HEADER..len].to_vec())
    }

    fn hear_now(&mut self) -> Option<(Packet, Vec<u8>)> {
        self.socket.set_nonblocking(true).unwrap();
        let mut bytes = [0; 1500];
        let heard = self.socket.recv(&mut bytes);
        self.socket.set_nonblocking(false).unwrap();
        heard.ok().map(|len| (Packet::read(&bytes[..len]).unwrap(), bytes[HEADER..len].to_vec()))
    }

    fn forget(&mut self) {
        while self.hear_now().is_some() {}
    }

    /// The key just pressed has come through to the other.
    fn hears_back(&self, other: &mut Phone) {
        assert_eq!(other.hear().0.payload_type, 101, "{:?} was not passed on", self.address());
    }
}

fn stream(remote: SocketAddr) -> Stream {
    Stream { remote, codec: Codec::Pcma, telephone_event: Some(101), ptime_ms: 20, direction: Direction::SendRecv }
}

fn open(leg: LegId) -> MediaCommand {
    MediaCommand::Open { leg, network: "net".into(), near: None, at: None }
}

fn nowhere() -> MediaCommand {
    MediaCommand::Open { leg: NOWHERE, network: "nowhere".into(), near: None, at: None }
}

fn signal_to(process: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &process.id().to_string()]).status().unwrap().success());
}

fn state_of(process: &Child) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

fn ended(process: &mut Child) -> std::process::ExitStatus {
    let mut status = None;
    wait_for("the process to end", || {
        status = process.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..PATIENCE.as_millis() / LOOK.as_millis() {
        if condition() {
            return;
        }
        std::thread::sleep(LOOK);
    }
    panic!("waited {PATIENCE:?} for {what}");
}
