//! The media room on real sockets: phones of our own on loopback, against the door.

use dozvon::clock::{Clock, Moment};
use dozvon::ids::{LegId, PlayId};
use dozvon::media::door::{Hears, LegSummary, MediaCommand, MediaEvent};
use dozvon::media::g711;
use dozvon::media::rtp::{HEADER, Mark, Packet, header};
use dozvon::media::{Media, MediaNetwork, MediaSettings};
use dozvon::stream::{Codec, Direction, Stream};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);
const A: LegId = LegId(1);
const B: LegId = LegId(2);

#[test]
fn prompts_are_heard_byte_for_byte_as_one_stream() {
    let prompts = tempfile::tempdir().unwrap();
    let (first, second) = (speech(400, 1), speech(300, 2));
    write_wav(&prompts.path().join("first.wav"), &first);
    write_wav(&prompts.path().join("second.wav"), &second);
    let room = Room::open(MediaSettings { prompt_dirs: vec![prompts.path().into()], ..settings(1) });
    let mut phone = room.phone(A, Codec::Pcma);

    room.play(A, 1, &["first", "no-such-prompt", "second"], false);

    let heard: Vec<_> = (0..5).map(|_| phone.hear()).collect();
    let mut expected: Vec<u8> = first.iter().chain(&second).map(|sample| g711::encode(Codec::Pcma, *sample)).collect();
    expected.resize(5 * 160, g711::silence(Codec::Pcma));
    assert_eq!(heard.iter().flat_map(|(_, payload)| payload.clone()).collect::<Vec<u8>>(), expected);
    assert!(heard.iter().map(|(packet, _)| packet.marker).eq([true, false, false, false, false]));
    assert_one_stream(heard.iter().map(|(packet, _)| *packet));
    room.wait_for(|event| *event == MediaEvent::PlayEnded { leg: A, play: PlayId(1) });
}

#[test]
fn bridge_relays_both_ways_and_turns_one_law_into_the_other() {
    let prompts = tempfile::tempdir().unwrap();
    write_wav(&prompts.path().join("music.wav"), &speech(160, 3));
    let room = Room::open(MediaSettings { prompt_dirs: vec![prompts.path().into()], ..settings(2) });
    let mut citizen = room.phone(A, Codec::Pcma);
    let mut operator = room.phone(B, Codec::Pcmu);
    room.play(A, 1, &["music"], true);
    let before: Vec<Packet> = (0..3).map(|_| citizen.hear().0).collect();

    room.bridge();
    citizen.say(&[0xAA; 160]);
    let (_, at_operator) = operator.hear();
    let mut after = Vec::new();
    operator.say(&[0x80; 160]);
    // Music that was on its way may come first.
    let at_citizen = loop {
        let (packet, payload) = citizen.hear();
        after.push(packet);
        if payload == [0xAA; 160] {
            break payload;
        }
    };

    assert_eq!(at_operator, [0x80; 160], "the loudest A-law code is the loudest mu-law code");
    assert_eq!(at_citizen.len(), 160);
    assert_one_stream(before.into_iter().chain(after.iter().copied()));
    assert!(after.last().unwrap().marker);
}

#[test]
fn payload_of_the_same_law_passes_untouched() {
    let room = Room::open(settings(3));
    let mut citizen = room.phone(A, Codec::Pcma);
    let mut operator = room.phone(B, Codec::Pcma);
    room.bridge();
    let words: Vec<u8> = (0..160).collect();
    citizen.say(&words);
    assert_eq!(operator.hear().1, words);
}

#[test]
fn prompt_on_a_bridged_leg_replaces_the_other_side_until_it_ends() {
    let prompts = tempfile::tempdir().unwrap();
    write_wav(&prompts.path().join("beep.wav"), &speech(320, 3));
    let room = Room::open(MediaSettings { prompt_dirs: vec![prompts.path().into()], ..settings(4) });
    let mut citizen = room.phone(A, Codec::Pcma);
    let mut operator = room.phone(B, Codec::Pcma);
    room.bridge();
    room.play(B, 7, &["beep"], false);
    let beep = operator.hear().0;
    citizen.say(&[1; 160]);
    operator.hear();
    room.wait_for(|event| *event == MediaEvent::PlayEnded { leg: B, play: PlayId(7) });
    citizen.say(&[2; 160]);
    let (packet, payload) = operator.hear();
    assert_eq!(payload, [2; 160]);
    assert_eq!(packet.ssrc, beep.ssrc);
}

#[test]
fn legs_opened_on_two_threads_are_brought_together() {
    let room = Room::open(MediaSettings { threads: 2, ..settings(5) });
    let mut citizen = room.phone(A, Codec::Pcma);
    let mut operator = room.phone(B, Codec::Pcma);
    room.bridge();
    citizen.say(&[1; 160]);
    assert_eq!(operator.hear().1, [1; 160]);
    operator.say(&[2; 160]);
    assert_eq!(citizen.hear().1, [2; 160]);
    assert_eq!(room.close(B).received, 1);
}

#[test]
fn key_is_told_once_and_relayed_with_the_number_the_other_side_wants() {
    let room = Room::open(settings(6));
    let mut citizen = room.phone(A, Codec::Pcma);
    let mut operator = room.phone_with(B, Stream { telephone_event: Some(97), ..stream(Codec::Pcma) }, false);
    room.bridge();

    // Five: its start is lost, two packets change places, the end comes twice more. Then a pound of which only an end arrives.
    for (sequence, duration, end) in
        [(11, 320, false), (13, 640, false), (12, 480, false), (14, 800, true), (15, 800, true), (15, 800, true)]
    {
        citizen.press(sequence, 9000, 5, duration, end);
    }
    citizen.press(30, 12_000, 11, 800, true);

    assert_eq!(room.digits(2), ['5', '#']);
    let (packet, payload) = operator.hear();
    assert_eq!((packet.payload_type, payload.as_slice()), (97, &[5, 10, 1, 64][..]));
    // Six of the seven: one was a copy.
    let rest: Vec<Packet> = (0..5).map(|_| operator.hear().0).collect();
    assert!(rest.iter().take(4).all(|each| each.timestamp == packet.timestamp));
    assert_eq!(rest.last().unwrap().sequence, packet.sequence.wrapping_add(19));
    assert!(!room.close(A).received.is_multiple_of(2));
    assert!(!room.heard_more_digits());
}

#[test]
fn sent_key_reaches_the_far_end_with_three_ends() {
    let room = Room::open(settings(7));
    let mut phone = room.phone(A, Codec::Pcma);
    room.media.send(MediaCommand::SendDigit { leg: A, digit: '#' });
    let press: Vec<_> = (0..7).map(|_| phone.hear()).collect();
    assert!(press.iter().all(|(packet, payload)| packet.payload_type == 101 && payload[0] == 11));
    assert!(press.iter().all(|(packet, _)| packet.timestamp == press[0].0.timestamp));
    assert_eq!(press.iter().filter(|(_, payload)| payload[1] & 0x80 != 0).count(), 3);
    assert!(press[0].0.marker);
}

#[test]
fn stranger_is_counted_and_heard_by_nobody() {
    let room = Room::open(settings(8));
    let mut citizen = room.phone(A, Codec::Pcma);
    let mut operator = room.phone(B, Codec::Pcma);
    room.bridge();
    let mut stranger = Phone::new();
    stranger.target = citizen.target;
    for _ in 0..20 {
        stranger.say(&[0x11; 160]);
    }
    stranger.press(900, 5, 9, 800, true);
    citizen.say(&[0x22; 160]);

    assert_eq!(operator.hear().1, [0x22; 160]);
    let summary = room.close(A);
    assert_eq!((summary.strangers, summary.received), (21, 1));
    assert!(!room.heard_more_digits());
    assert!(stranger.hears_nothing());
}

#[test]
fn phone_behind_nat_is_learnt_and_then_locked() {
    let room = Room::open(settings(9));
    // Its SDP names an address where nobody is.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let local = room.open_leg(A);
    let named = Stream { remote: silent.local_addr().unwrap(), ..stream(Codec::Pcma) };
    room.obey(MediaCommand::Connect { leg: A, stream: named, learn: true });
    let mut citizen = Phone::new();
    citizen.target = Some(local);
    let mut operator = room.phone(B, Codec::Pcma);
    room.bridge();

    for _ in 0..5 {
        citizen.say(&[1; 160]);
        assert_eq!(operator.hear().1, [1; 160]);
    }
    let mut stranger = Phone::new();
    stranger.target = Some(local);
    stranger.say(&[9; 160]);
    citizen.say(&[2; 160]);
    assert_eq!(operator.hear().1, [2; 160]);
    operator.say(&[3; 160]);
    assert_eq!(citizen.hear().1, [3; 160]);
    assert_eq!(room.close(A).strangers, 1);
}

#[test]
fn held_phone_is_not_sent_to_and_who_we_hold_is_not_heard() {
    let room = Room::open(settings(10));
    let mut citizen = room.phone(A, Codec::Pcma);
    let mut operator = room.phone(B, Codec::Pcma);
    room.bridge();
    // The operator put the line on hold: `a=sendonly`, so we only receive.
    let held = Stream { direction: Direction::RecvOnly, remote: operator.address(), ..stream(Codec::Pcma) };
    room.obey(MediaCommand::Connect { leg: B, stream: held, learn: false });
    citizen.say(&[1; 160]);
    operator.say(&[2; 160]);
    assert_eq!(citizen.hear().1, [2; 160]);
    assert!(operator.hears_nothing());
    let ours = Stream { direction: Direction::SendOnly, ..held };
    room.obey(MediaCommand::Connect { leg: B, stream: ours, learn: false });
    operator.say(&[3; 160]);
    citizen.say(&[4; 160]);
    assert_eq!(operator.hear().1, [4; 160]);
    assert_eq!(room.close(B).received, 2);
    assert!(citizen.hears_nothing());
}

#[test]
fn port_rests_after_its_call() {
    let network = MediaNetwork { name: "net".into(), bind: IpAddr::from([127, 0, 40, 11]), ports: 4000..=4001 };
    let room = Room::open(MediaSettings { networks: vec![network], port_rest: Duration::from_millis(300), ..settings(11) });
    let first = room.open_leg(A);
    room.close(A);
    room.media.send(open(B));
    room.wait_for(|event| matches!(event, MediaEvent::OpenFailed { leg: B, .. }));
    let second = (10..100_000).find_map(|leg| {
        room.media.send(open(LegId(leg)));
        match room.wait_for(|event| matches!(event, MediaEvent::OpenFailed { .. } | MediaEvent::Opened { .. })) {
            MediaEvent::Opened { local, .. } => Some(local),
            _ => None,
        }
    });
    assert_eq!(second, Some(first));
}

#[test]
fn silence_is_told_once_and_never_of_who_is_on_hold() {
    let room = Room::open(MediaSettings { silent_after: Duration::from_millis(300), ..settings(12) });
    let mut phone = room.phone(A, Codec::Pcma);
    let on_hold = Stream { direction: Direction::SendOnly, ..stream(Codec::Pcma) };
    let _held = room.phone_with(B, on_hold, false);
    let silent = |event: &MediaEvent| matches!(event, MediaEvent::Silent { .. });
    let MediaEvent::Silent { leg: A, ms } = room.wait_for(silent) else { panic!("the held leg was told silent") };
    assert!(ms >= 300);
    phone.say(&[1; 160]);
    // The next is a new silence, of the same leg; between them there was no second telling.
    assert!(matches!(room.wait_for(silent), MediaEvent::Silent { leg: A, .. }));
    assert_eq!(room.close(A).received, 1);
}

#[test]
fn recording_has_both_sides_in_step_and_can_be_read_while_it_grows() {
    let folder = tempfile::tempdir().unwrap();
    // A second of silence, a tenth of a second of tone.
    let music: Vec<i16> = (0..8800).map(|i| if i < 8000 { 0 } else { 8031 }).collect();
    write_wav(&folder.path().join("music.wav"), &music);
    let settings = MediaSettings { prompt_dirs: vec![folder.path().into()], record_dir: folder.path().into(), ..settings(13) };
    let room = Room::open(settings);
    let mut phone = room.phone(A, Codec::Pcma);
    room.media.send(MediaCommand::Record { leg: A, file: "day/call.wav".into() });
    room.play(A, 1, &["music"], true);
    let file = folder.path().join("day/call.wav");

    // The phone says back what it hears, so the sides must be in step.
    let mut heard = 0u32;
    let mut read_while_growing = 0;
    while heard < 60 || (heard < 600 && read_while_growing == 0) {
        let (_, payload) = phone.hear();
        phone.say(&payload);
        heard += 1;
        if heard >= 60 {
            let copy = folder.path().join("copy.wav");
            std::fs::copy(&file, &copy).unwrap();
            read_while_growing = hound::WavReader::open(&copy).unwrap().into_samples::<i16>().map(Result::unwrap).count();
        }
    }
    assert!(read_while_growing > 0);
    room.media.send(MediaCommand::StopRecord { leg: A });
    let MediaEvent::Recorded { ms, gaps, .. } = room.wait_for(|event| matches!(event, MediaEvent::Recorded { .. })) else {
        unreachable!()
    };

    let mut wav = hound::WavReader::open(&file).unwrap();
    assert_eq!((wav.spec().channels, wav.spec().sample_rate, wav.spec().bits_per_sample), (2, 8000, 16));
    assert_eq!(u64::from(wav.duration()) / 8, ms);
    let samples: Vec<i16> = wav.samples().map(Result::unwrap).collect();
    let onset = |side: usize| samples.iter().skip(side).step_by(2).position(|sample| *sample > 4000).unwrap();
    let (left, right) = (onset(0), onset(1));
    assert!((7900..9600).contains(&right), "the tone begins after a second, not at {right}");
    assert!(left.abs_diff(right) <= 800, "said at {left}, heard at {right}");
    let loud = |side: usize| samples.iter().skip(side).step_by(2).take(9600).filter(|sample| **sample > 4000).count();
    assert_eq!(loud(1), 800);
    assert!(gaps <= 1, "{gaps} gaps");
}

#[test]
fn paused_recording_is_silent_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let loud: Vec<i16> = vec![8031; 8000];
    write_wav(&folder.path().join("loud.wav"), &loud);
    let settings = MediaSettings { prompt_dirs: vec![folder.path().into()], record_dir: folder.path().into(), ..settings(14) };
    let room = Room::open(settings);
    let mut phone = room.phone(A, Codec::Pcma);
    room.media.send(MediaCommand::Record { leg: A, file: "call.wav".into() });
    room.play(A, 1, &["loud"], true);
    (0..10).for_each(|_| drop(phone.hear()));
    room.media.send(MediaCommand::PauseRecord { leg: A, paused: true });
    (0..20).for_each(|_| drop(phone.hear()));
    room.media.send(MediaCommand::PauseRecord { leg: A, paused: false });
    (0..10).for_each(|_| drop(phone.hear()));
    room.media.send(MediaCommand::Close { leg: A });
    let MediaEvent::Recorded { gaps: 0, .. } = room.wait_for(|event| matches!(event, MediaEvent::Recorded { .. })) else {
        panic!()
    };
    let wav = hound::WavReader::open(folder.path().join("call.wav")).unwrap();
    let right: Vec<i16> = wav.into_samples().map(Result::unwrap).skip(1).step_by(2).collect();
    let runs: Vec<(bool, usize)> = right.chunk_by(|a, b| (*a == 0) == (*b == 0)).map(|run| (run[0] == 0, run.len())).collect();
    let pause = runs.iter().filter(|(silent, _)| *silent).map(|(_, length)| *length).max();
    assert!(pause.is_some_and(|pause| (2400..8000).contains(&pause)), "{runs:?}");
    assert!(right.iter().rev().take(160).all(|sample| *sample != 0) || runs.len() >= 3, "{runs:?}");
}

#[test]
fn words_said_twice_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write_wav(&folder.path().join("long.wav"), &speech(1_600, 4));
    let room = Room::open(MediaSettings {
        prompt_dirs: vec![folder.path().into()],
        record_dir: folder.path().into(),
        threads: 2,
        ..settings(16)
    });
    let mut citizen = room.phone(A, Codec::Pcma);
    let mut operator = room.phone(B, Codec::Pcma);
    let local = citizen.target.unwrap();
    assert_eq!(room.open_leg(A), local);

    room.play(A, 1, &["long"], false);
    let first = citizen.hear().1;
    room.play(A, 1, &["long"], false);
    let rest: Vec<Vec<u8>> = (0..9).map(|_| citizen.hear().1).collect();
    assert!(!rest.contains(&first), "the prompt began anew");
    room.wait_for(|event| *event == MediaEvent::PlayEnded { leg: A, play: PlayId(1) });

    for _ in 0..2 {
        room.media.send(MediaCommand::Record { leg: A, file: "call.wav".into() });
        room.bridge();
        citizen.say(&[1; 160]);
        assert_eq!(operator.hear().1, [1; 160]);
    }
    let report = &room.media.legs()[0];
    assert_eq!((report.leg, report.local, &report.hears), (A, local, &Hears::Bridged { with: B }));
    assert_eq!(report.recording, Some(("call.wav".into(), false)));
    room.media.send(MediaCommand::FinishRecord { leg: A, file: "call.wav".into() });
    room.wait_for(|event| matches!(event, MediaEvent::Recorded { leg: A, .. }));
    assert_eq!(room.media.legs()[0].recording, None);
}

#[test]
fn call_goes_on_when_the_disk_does_not() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("full"), b"").unwrap();
    let room = Room::open(MediaSettings { record_dir: folder.path().into(), ..settings(15) });
    let mut citizen = room.phone(A, Codec::Pcma);
    let mut operator = room.phone(B, Codec::Pcma);
    room.bridge();
    room.media.send(MediaCommand::Record { leg: A, file: "full/call.wav".into() });
    room.media.send(MediaCommand::Record { leg: B, file: "/dev/full".into() });
    room.wait_for(|event| matches!(event, MediaEvent::RecordFailed { leg: A, .. }));
    room.wait_for(|event| matches!(event, MediaEvent::RecordFailed { leg: B, .. }));
    citizen.say(&[1; 160]);
    assert_eq!(operator.hear().1, [1; 160]);
}

fn settings(test: u8) -> MediaSettings {
    let network = MediaNetwork { name: "net".into(), bind: IpAddr::from([127, 0, 40, test]), ports: 30_000..=30_099 };
    MediaSettings { networks: vec![network], threads: 1, ..MediaSettings::default() }
}

fn stream(codec: Codec) -> Stream {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    Stream { remote: nowhere, codec, telephone_event: Some(101), ptime_ms: 20, direction: Direction::SendRecv }
}

fn open(leg: LegId) -> MediaCommand {
    MediaCommand::Open { leg, network: "net".into(), near: None, at: None }
}

fn speech(samples: usize, seed: i32) -> Vec<i16> {
    (0..samples as i32).map(|i| (((i * 7919 + 1) * seed * 31) % 30_000) as i16).collect()
}

fn write_wav(file: &Path, samples: &[i16]) {
    let spec = hound::WavSpec { channels: 1, sample_rate: 8000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut wav = hound::WavWriter::create(file, spec).unwrap();
    samples.iter().for_each(|sample| wav.write_sample(*sample).unwrap());
    wav.finalize().unwrap();
}

fn assert_one_stream(packets: impl Iterator<Item = Packet>) {
    let packets: Vec<Packet> = packets.collect();
    for pair in packets.windows(2) {
        assert_eq!(pair[1].ssrc, pair[0].ssrc);
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        let ticks = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        assert!((160..80_000).contains(&ticks), "{ticks} ticks from one packet to the next");
    }
}

struct Room {
    media: Media,
    events: mpsc::Receiver<MediaEvent>,
}

impl Room {
    fn open(settings: MediaSettings) -> Room {
        let (tell, events) = mpsc::channel();
        let media = Media::start(settings, Clock::start(Moment::ZERO), move |event| drop(tell.send(event))).unwrap();
        Room { media, events }
    }

    fn open_leg(&self, leg: LegId) -> SocketAddr {
        self.media.send(open(leg));
        match self.wait_for(|event| matches!(event, MediaEvent::Opened { .. })) {
            MediaEvent::Opened { local, .. } => local,
            other => panic!("{other:?}"),
        }
    }

    fn phone(&self, leg: LegId, codec: Codec) -> Phone {
        self.phone_with(leg, stream(codec), false)
    }

    fn phone_with(&self, leg: LegId, stream: Stream, learn: bool) -> Phone {
        let mut phone = Phone::new();
        phone.codec = stream.codec;
        phone.target = Some(self.open_leg(leg));
        self.obey(MediaCommand::Connect { leg, stream: Stream { remote: phone.address(), ..stream }, learn });
        phone
    }

    fn bridge(&self) {
        self.obey(MediaCommand::Bridge { a: A, b: B });
    }

    /// Sends a command and waits until it is obeyed: what is asked behind it, on the same thread, has been answered.
    fn obey(&self, command: MediaCommand) {
        let asked = LegId(u64::MAX);
        self.media.send(command);
        self.media.send(MediaCommand::Open { leg: asked, network: "nowhere".into(), near: Some(A), at: None });
        self.wait_for(|event| matches!(event, MediaEvent::OpenFailed { leg, .. } if *leg == asked));
    }

    fn play(&self, leg: LegId, play: u64, prompts: &[&str], repeat: bool) {
        let prompts = prompts.iter().map(|name| (*name).into()).collect();
        self.media.send(MediaCommand::Play { leg, play: PlayId(play), prompts, repeat });
    }

    fn close(&self, leg: LegId) -> LegSummary {
        self.media.send(MediaCommand::Close { leg });
        match self.wait_for(|event| matches!(event, MediaEvent::Closed { .. } | MediaEvent::Digit { .. })) {
            MediaEvent::Closed { summary, .. } => summary,
            other => panic!("{other:?}"),
        }
    }

    fn digits(&self, count: usize) -> Vec<char> {
        let digit = || match self.wait_for(|event| matches!(event, MediaEvent::Digit { .. })) {
            MediaEvent::Digit { digit, .. } => digit,
            other => panic!("{other:?}"),
        };
        (0..count).map(|_| digit()).collect()
    }

    fn heard_more_digits(&self) -> bool {
        self.events.try_iter().any(|event| matches!(event, MediaEvent::Digit { .. }))
    }

    fn wait_for(&self, wanted: impl Fn(&MediaEvent) -> bool) -> MediaEvent {
        loop {
            let event = self.events.recv_timeout(PATIENCE).expect("the awaited event did not come");
            if wanted(&event) {
                return event;
            }
        }
    }
}

struct Phone {
    socket: UdpSocket,
    target: Option<SocketAddr>,
    codec: Codec,
    sequence: u16,
    timestamp: u32,
}

impl Phone {
    fn new() -> Phone {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Phone { socket, target: None, codec: Codec::Pcma, sequence: 100, timestamp: 5_000 }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn say(&mut self, payload: &[u8]) {
        let mark = Mark { sequence: self.sequence, timestamp: self.timestamp, marker: false };
        self.sequence += 1;
        self.timestamp += 160;
        self.send(self.codec.payload_type(), mark, payload);
    }

    fn press(&mut self, sequence: u16, timestamp: u32, code: u8, duration: u16, end: bool) {
        let [high, low] = duration.to_be_bytes();
        let mark = Mark { sequence, timestamp, marker: false };
        self.send(101, mark, &[code, (u8::from(end) << 7) | 10, high, low]);
    }

    fn send(&self, payload_type: u8, mark: Mark, payload: &[u8]) {
        let ssrc = u32::from(self.address().port());
        let packet = [&header(payload_type, mark, ssrc), payload].concat();
        self.socket.send_to(&packet, self.target.unwrap()).unwrap();
    }

    fn hear(&mut self) -> (Packet, Vec<u8>) {
        let mut bytes = [0; 1500];
        let (len, from) = self.socket.recv_from(&mut bytes).expect("the phone heard nothing");
        assert_eq!(self.target, Some(from));
        let packet = Packet::read(&bytes[..len]).unwrap();
        (packet, bytes[HEADER..len].to_vec())
    }

    /// Whether nothing is waiting. To be asked after something later was heard elsewhere.
    fn hears_nothing(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let nothing = self.socket.recv(&mut [0; 1500]).is_err();
        self.socket.set_nonblocking(false).unwrap();
        nothing
    }
}
