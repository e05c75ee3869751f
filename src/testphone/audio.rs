//! What a test phone says and hears: one RTP stream, on its own 20 ms beat. Shares nothing with the engine's media.

use super::wave::{self, Voice};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::watch;

pub const BEAT: Duration = Duration::from_millis(20);
const BEAT_SAMPLES: u32 = 160;
/// What was heard is kept for 5 s.
const HEARD_SAMPLES: usize = 5 * 8000;
/// Beats without a packet after which silence is heard: more than jitter makes.
const SILENT_AFTER: u32 = 3;
/// A key is held for 100 ms, its end said three times (RFC 4733 §2.5.1.4), then a pause of 80 ms.
const PRESS_BEATS: u16 = 5;
const END_BEATS: u16 = 3;
const PAUSE_BEATS: u16 = 4;

/// One stream. Its socket closes when it is dropped or [`Audio::close`]d; what was heard stays.
pub struct Audio {
    pub local: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    beats: watch::Sender<u64>,
}

/// Where our packets go, as the far end's description says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Far {
    pub at: SocketAddr,
    pub payload_type: u8,
    pub telephone_event: Option<u8>,
    /// Whether we may send at all (hold).
    pub sending: bool,
}

/// Everything heard so far.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// The last 5 s, with silence where nothing came.
    pub samples: VecDeque<i16>,
    pub packets: u64,
    /// Holes in the sequence numbers within one source.
    pub lost: u64,
    /// Keys by RFC 4733.
    pub digits: String,
    pub sources: BTreeSet<SocketAddr>,
    /// How often another SSRC began.
    pub streams: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Press {
    /// RFC 4733.
    Event(char),
    /// Two tones in the audio.
    InBand(char),
}

impl Audio {
    pub fn open(ip: IpAddr) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind((ip, 0))?;
        socket.set_nonblocking(true)?;
        let (local, sending) = (socket.local_addr()?, socket.try_clone()?);
        let shared = Arc::new(Shared { state: Mutex::new(State::new(local)), beats: watch::Sender::new(0) });
        tokio::spawn(run(UdpSocket::from_std(socket)?, sending, shared.clone()));
        Ok(Self { local, shared })
    }

    pub fn send_to(&self, far: Option<Far>) {
        self.shared.lock().far = far;
    }

    pub fn say(&self, voice: Voice) {
        self.shared.lock().voice = voice;
    }

    pub fn press(&self, press: Press) {
        self.shared.lock().presses.push_back(press);
    }

    /// Whether keys are still being sent.
    pub fn pressing(&self) -> bool {
        let state = self.shared.lock();
        !state.closed && (!state.presses.is_empty() || state.pressing.is_some())
    }

    pub fn heard(&self) -> Heard {
        self.shared.lock().heard.clone()
    }

    /// Share of the last 200 ms that is a tone of `hertz`: 1.0 for the tone alone, 0 also for near silence.
    pub fn tone_share(&self, hertz: f64) -> f64 {
        wave::tone_share(&self.last(1600), hertz)
    }

    /// Root mean square of the last 400 ms; `None` before that much was heard.
    pub fn loudness(&self) -> Option<f64> {
        let last = self.last(3200);
        (last.len() == 3200).then(|| wave::loudness(&last))
    }

    /// Changes once a beat.
    pub fn beats(&self) -> watch::Receiver<u64> {
        self.shared.beats.subscribe()
    }

    pub fn close(&self) {
        self.shared.lock().closed = true;
    }

    fn last(&self, count: usize) -> Vec<i16> {
        let state = self.shared.lock();
        state.heard.samples.iter().skip(state.heard.samples.len().saturating_sub(count)).copied().collect()
    }
}

impl Drop for Audio {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(socket: UdpSocket, sending: std::net::UdpSocket, shared: Arc<Shared>) {
    let mut beat = tokio::time::interval(BEAT);
    let mut packet = [0; 2048];
    loop {
        tokio::select! {
            _ = beat.tick() => {
                let mut state = shared.lock();
                if state.closed {
                    return;
                }
                if let Some((bytes, to)) = state.beat() {
                    let _ = sending.send_to(&bytes, to); // non-blocking: a full socket buffer is a lost packet
                }
                drop(state);
                shared.beats.send_modify(|beats| *beats += 1);
            }
            received = socket.recv_from(&mut packet) => {
                if let Ok((length, from)) = received && let Some(bytes) = packet.get(..length) {
                    shared.lock().hear(bytes, from);
                }
            }
        }
    }
}

struct State {
    far: Option<Far>,
    voice: Voice,
    sample: u64,
    presses: VecDeque<Press>,
    pressing: Option<Pressing>,
    closed: bool,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    heard: Heard,
    last: Option<(u32, u16)>,
    last_event: Option<u32>,
    idle: u32,
}

#[derive(Clone, Copy)]
struct Pressing {
    press: Press,
    beat: u16,
    timestamp: u32,
}

impl State {
    fn new(local: SocketAddr) -> Self {
        let ssrc = 0x7e57_0000 | u32::from(local.port());
        Self {
            far: None,
            voice: Voice::Silence,
            sample: 0,
            presses: VecDeque::new(),
            pressing: None,
            closed: false,
            sequence: local.port(),
            timestamp: ssrc,
            ssrc,
            heard: Heard::default(),
            last: None,
            last_event: None,
            idle: 0,
        }
    }

    /// One beat: the packet due, and silence into the ear if nothing came.
    fn beat(&mut self) -> Option<(Vec<u8>, SocketAddr)> {
        self.idle = self.idle.saturating_add(1);
        if self.idle > SILENT_AFTER {
            self.listen(&[0; BEAT_SAMPLES as usize]);
        }
        self.timestamp = self.timestamp.wrapping_add(BEAT_SAMPLES);
        self.sample = self.sample.wrapping_add(u64::from(BEAT_SAMPLES));
        let far = self.far.filter(|far| far.sending)?;
        if self.pressing.is_none() {
            self.pressing = self.presses.pop_front().map(|press| Pressing { press, beat: 0, timestamp: self.timestamp });
        }
        let Some(now) = self.pressing else {
            let samples = self.voice.samples(self.sample);
            return Some((self.audio_packet(&far, &samples), far.at));
        };
        let over = now.beat + 1 >= PRESS_BEATS + END_BEATS + PAUSE_BEATS;
        self.pressing = (!over).then_some(Pressing { beat: now.beat + 1, ..now });
        let bytes = match (now.press, far.telephone_event) {
            (Press::Event(digit), Some(payload_type)) if now.beat < PRESS_BEATS + END_BEATS => {
                let duration = (now.beat + 1).min(PRESS_BEATS) * BEAT_SAMPLES as u16;
                let end = if now.beat >= PRESS_BEATS { 0x80 } else { 0 };
                let [high, low] = duration.to_be_bytes();
                let marker = now.beat == 0;
                self.packet(payload_type, marker, now.timestamp, &[event_code(digit), end | 10, high, low])
            }
            (Press::InBand(digit), _) if now.beat < PRESS_BEATS => {
                let samples = wave::dtmf(digit, self.sample);
                self.audio_packet(&far, &samples)
            }
            (Press::Event(_) | Press::InBand(_), _) => self.audio_packet(&far, &[0; BEAT_SAMPLES as usize]),
        };
        Some((bytes, far.at))
    }

    fn audio_packet(&mut self, far: &Far, samples: &[i16]) -> Vec<u8> {
        let encode = if far.payload_type == 8 { wave::to_alaw } else { wave::to_ulaw };
        let payload: Vec<u8> = samples.iter().map(|sample| encode(*sample)).collect();
        self.packet(far.payload_type, false, self.timestamp, &payload)
    }

    fn packet(&mut self, payload_type: u8, marker: bool, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = vec![0x80, payload_type | if marker { 0x80 } else { 0 }];
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&timestamp.to_be_bytes());
        bytes.extend_from_slice(&self.ssrc.to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    fn hear(&mut self, bytes: &[u8], from: SocketAddr) {
        let Some((head, payload)) = bytes.split_first_chunk::<12>() else { return };
        let [0x80, type_and_marker, s1, s2, t1, t2, t3, t4, r1, r2, r3, r4] = *head else { return };
        let (sequence, ssrc) = (u16::from_be_bytes([s1, s2]), u32::from_be_bytes([r1, r2, r3, r4]));
        let timestamp = u32::from_be_bytes([t1, t2, t3, t4]);
        self.heard.packets += 1;
        if self.heard.sources.len() < 16 {
            self.heard.sources.insert(from);
        }
        match self.last {
            Some((known, last)) if known == ssrc => {
                let step = sequence.wrapping_sub(last);
                if step < 0x8000 {
                    self.heard.lost += u64::from(step.saturating_sub(1));
                } else {
                    self.heard.lost = self.heard.lost.saturating_sub(1); // late, not lost
                }
                self.last = Some((ssrc, if step < 0x8000 { sequence } else { last }));
            }
            Some(_) | None => {
                self.heard.streams += 1;
                self.last = Some((ssrc, sequence));
            }
        }
        let payload_type = type_and_marker & 0x7f;
        match payload_type {
            8 => self.listen(&payload.iter().map(|byte| wave::from_alaw(*byte)).collect::<Vec<_>>()),
            0 => self.listen(&payload.iter().map(|byte| wave::from_ulaw(*byte)).collect::<Vec<_>>()),
            96.. => {
                if let Some(digit) = payload.first().and_then(|code| event_digit(*code))
                    && self.last_event.replace(timestamp) != Some(timestamp)
                {
                    self.heard.digits.push(digit);
                }
            }
            1..=7 | 9..=95 => {}
        }
        if matches!(payload_type, 0 | 8) {
            self.idle = 0;
        }
    }

    fn listen(&mut self, samples: &[i16]) {
        self.heard.samples.extend(samples);
        let surplus = self.heard.samples.len().saturating_sub(HEARD_SAMPLES);
        self.heard.samples.drain(..surplus);
    }
}

/// RFC 4733 §3.2 table 3.
const EVENTS: &str = "0123456789*#ABCD";

fn event_code(digit: char) -> u8 {
    EVENTS.find(digit.to_ascii_uppercase()).and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
}

fn event_digit(code: u8) -> Option<char> {
    EVENTS.chars().nth(usize::from(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_press_is_one_event_and_heard_once() {
        let (mut mouth, mut ear) = (state(Some(101)), state(None));
        mouth.presses.extend([Press::Event('5'), Press::Event('5'), Press::Event('#')]);
        for _ in 0..40 {
            let (bytes, _) = mouth.beat().unwrap();
            ear.hear(&bytes, "127.0.0.1:1".parse().unwrap());
        }
        assert_eq!((ear.heard.digits.as_str(), ear.heard.lost, ear.heard.streams), ("55#", 0, 1));
    }

    #[test]
    fn a_tone_is_heard_in_both_laws_and_then_silence() {
        for payload_type in [8, 0] {
            let (mut mouth, mut ear) = (state(None), state(None));
            mouth.far = mouth.far.map(|far| Far { payload_type, ..far });
            mouth.voice = Voice::Tone(440.0);
            for _ in 0..20 {
                let (bytes, _) = mouth.beat().unwrap();
                ear.hear(&bytes, "127.0.0.1:1".parse().unwrap());
            }
            let heard: Vec<_> = ear.heard.samples.iter().copied().collect();
            assert!(wave::tone_share(&heard, 440.0) > 0.9 && wave::tone_share(&heard, 1000.0) < 0.1);
            for _ in 0..300 {
                ear.beat();
            }
            assert!(ear.heard.samples.iter().all(|sample| *sample == 0));
        }
    }

    #[test]
    fn nothing_is_sent_while_held() {
        let mut mouth = state(None);
        mouth.far = mouth.far.map(|far| Far { sending: false, ..far });
        assert_eq!(mouth.beat(), None);
    }

    #[test]
    fn a_hole_in_the_sequence_is_a_lost_packet_and_a_late_one_is_not() {
        let (mut mouth, mut ear) = (state(None), state(None));
        let packets: Vec<_> = (0..6).map(|_| mouth.beat().unwrap().0).collect();
        for index in [0, 2, 1, 4, 5] {
            ear.hear(&packets[index], "127.0.0.1:1".parse().unwrap());
        }
        assert_eq!(ear.heard.packets, 5);
        assert_eq!(ear.heard.lost, 1);
    }

    fn state(telephone_event: Option<u8>) -> State {
        let at = "127.0.0.1:9".parse().unwrap();
        State { far: Some(Far { at, payload_type: 8, telephone_event, sending: true }), ..State::new(at) }
    }
}
