//! One party's audio: its socket, whom it hears and who is heard, what plays to it, its keys and its recording.

use super::door::{Hears, LegReport, LegSummary, MediaEvent};
use super::dtmf::{Event, KeyListener, KeySender, KeyStep};
use super::g711;
use super::ports::Port;
use super::prompts::Playlist;
use super::record::{Recording, Side};
use super::rtp::{self, Arrival, HEADER, Mark, OutStream, Packet, Received, TICKS_PER_PACKET};
use super::source::Source;
use crate::clock::Moment;
use crate::ids::{LegId, PlayId, PromptId};
use crate::stream::{Codec, Stream};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// Payload types from here on are given out by SDP (RFC 3551 §6). We agree on one such only: telephone-event.
const DYNAMIC_TYPES: std::ops::RangeInclusive<u8> = 96..=127;
/// More datagrams than a leg's receive buffer holds.
const STALE_MAX: usize = 256;
const FRAME: usize = TICKS_PER_PACKET as usize;

pub struct Leg {
    pub id: LegId,
    pub port: Port,
    pub socket: UdpSocket,
    /// The other leg of the bridge, by its place on this thread.
    pub peer: Option<u32>,
    /// Its slot of the wheel, while something is made for it.
    pub slot: Option<u8>,
    pub recording: Option<Box<Recording>>,
    stream: Option<Stream>,
    source: Source,
    out: OutStream,
    playing: Option<Box<Playing>>,
    keys_to_send: Option<Box<KeySender>>,
    keys: KeyListener,
    received: Received,
    sent: u64,
    strangers: u64,
    told_from: Option<SocketAddr>,
    quiet_since: Moment,
    silence_told: bool,
}

/// What was asked, for whoever asks what is heard, and what it comes to.
pub struct Playing {
    pub play: PlayId,
    pub prompts: Vec<PromptId>,
    pub repeat: bool,
    pub list: Playlist,
}

/// A packet of the far end that may be passed on.
pub struct Incoming {
    packet: Packet,
    content: Content,
}

enum Content {
    Audio(Codec),
    Key(Event),
}

/// What a turn of the wheel did for a leg.
pub enum Turn {
    GoesOn,
    Ended(PlayId),
    NothingToSend,
}

impl Leg {
    pub fn new(id: LegId, port: Port, socket: UdpSocket, out: OutStream, now: Moment) -> Self {
        Self {
            id,
            port,
            socket,
            peer: None,
            slot: None,
            recording: None,
            stream: None,
            source: Source::Unknown,
            out,
            playing: None,
            keys_to_send: None,
            keys: KeyListener::default(),
            received: Received::default(),
            sent: 0,
            strangers: 0,
            told_from: None,
            quiet_since: now,
            silence_told: false,
        }
    }

    pub fn connect(&mut self, now: Moment, stream: Stream, learn: bool) {
        self.source.name(self.stream.map(|stream| stream.remote), stream.remote, learn);
        let received_before = self.stream.is_some_and(|stream| stream.direction.receives());
        if received_before != stream.direction.receives() {
            // Silence is counted anew from here, and a hold is no gap in the recording.
            (self.quiet_since, self.silence_told) = (now, false);
            self.recording_begins_anew(now);
        }
        self.stream = Some(stream);
    }

    pub fn plays(&self, play: PlayId) -> bool {
        self.playing.as_ref().is_some_and(|playing| playing.play == play)
    }

    pub fn play(&mut self, playing: Playing) {
        self.playing = Some(Box::new(playing));
    }

    pub fn stop_play(&mut self) {
        self.playing = None;
    }

    pub fn send_key(&mut self, key: char) -> bool {
        self.stream.is_some_and(|stream| stream.telephone_event.is_some()) && self.keys_to_send.get_or_insert_default().push(key)
    }

    /// Whether the wheel has work for it. A list waits for the far end to be known, so that nobody misses its beginning.
    pub fn makes(&self) -> bool {
        self.stream.is_some() && (self.playing.is_some() || self.keys_to_send.is_some())
    }

    /// Judges a datagram: counts it, tells what it means, and gives back what the other side of a bridge should hear.
    pub fn take(&mut self, now: Moment, from: SocketAddr, bytes: &[u8], tell: &dyn Fn(MediaEvent)) -> Option<Incoming> {
        let packet = Packet::read(bytes)?;
        if !self.source.accepts(from) {
            self.strangers += 1;
            return None;
        }
        let stream = self.stream?;
        (self.quiet_since, self.silence_told) = (now, false);
        if self.told_from != Some(from) {
            self.told_from = Some(from);
            tell(MediaEvent::Heard { leg: self.id, from });
        }
        let arrival = self.received.note(&packet);
        let payload = bytes.get(packet.payload_start..)?.get(..packet.payload_len)?;
        let content = content_of(&packet, payload, &stream)?;
        match content {
            Content::Audio(codec) => {
                self.received.note_spacing(now, &packet);
                if let Some(recording) = self.recording.as_mut().filter(|_| stream.direction.receives()) {
                    recording.audio(now, Side::FarEndSays, codec, packet.timestamp, payload);
                }
            }
            Content::Key(event) => {
                if let Some(digit) = self.keys.hear(packet.ssrc, packet.timestamp, event) {
                    tell(MediaEvent::Digit { leg: self.id, digit });
                }
                if let Some(recording) = &mut self.recording {
                    recording.key(now);
                }
            }
        }
        // Who is on hold is not heard (RFC 3264 §8.4), and a copy says nothing new.
        (stream.direction.receives() && arrival != Arrival::Duplicate).then_some(Incoming { packet, content })
    }

    /// Sends on what the other side of the bridge said. `bytes` is the datagram as it came; its head is written over.
    pub fn relay(&mut self, now: Moment, incoming: &Incoming, bytes: &mut [u8]) {
        let Some(stream) = self.stream.filter(|stream| stream.direction.sends()) else { return };
        if self.playing.is_some() || self.keys_to_send.is_some() {
            return;
        }
        let Incoming { packet, content } = incoming;
        let (payload_type, ticks) = match content {
            Content::Audio(_) => (stream.codec.payload_type(), packet.payload_len as u32),
            Content::Key(event) => match stream.telephone_event {
                Some(payload_type) => (payload_type, event.duration.into()),
                None => return,
            },
        };
        let Some(mark) = self.out.relayed(now, packet, ticks) else { return };
        let end = packet.payload_start + packet.payload_len;
        let Some(outgoing) = packet.payload_start.checked_sub(HEADER).and_then(|start| bytes.get_mut(start..end)) else { return };
        if let (Content::Audio(codec), Some(payload)) = (content, outgoing.get_mut(HEADER..)) {
            g711::transcode(payload, *codec, stream.codec);
            self.record_heard(now, stream.codec, mark.timestamp, payload);
        }
        self.send(payload_type, mark, outgoing);
    }

    /// Sends what is due in this turn of the wheel.
    pub fn turn(&mut self, now: Moment) -> Turn {
        let Some(stream) = self.stream else { return Turn::NothingToSend };
        if let Some(sender) = &mut self.keys_to_send {
            match sender.step() {
                KeyStep::Begin(event) => {
                    sender.timestamp = self.out.event_begins(now);
                    self.send_event(now, &stream, event, true);
                }
                KeyStep::Go(event) => self.send_event(now, &stream, event, false),
                KeyStep::Silence => {}
                KeyStep::Done => self.keys_to_send = None,
            }
            return Turn::GoesOn;
        }
        let Some(playing) = &mut self.playing else { return Turn::NothingToSend };
        let mut packet = [0; HEADER + FRAME];
        let Some((_, payload)) = packet.split_at_mut_checked(HEADER) else { return Turn::NothingToSend };
        if !playing.list.fill(stream.codec, payload) {
            let play = playing.play;
            self.playing = None;
            return Turn::Ended(play);
        }
        // Time passes in a prompt also for who has put us on hold.
        if stream.direction.sends() {
            let mark = self.out.made(now);
            self.record_heard(now, stream.codec, mark.timestamp, payload);
            self.send(stream.codec.payload_type(), mark, &mut packet);
        }
        Turn::GoesOn
    }

    /// How long a far end that should be sending has been silent, once a silence.
    pub fn newly_silent(&mut self, now: Moment, limit: Duration) -> Option<Duration> {
        let silence = now.since(self.quiet_since);
        let expected = self.stream.is_some_and(|stream| stream.direction.receives());
        (expected && !self.silence_told && silence >= limit).then(|| {
            self.silence_told = true;
            silence
        })
    }

    /// The house itself did not run for `gap`: nobody was silent meanwhile, and what waits in the socket is too old to be heard. Keys
    /// count however late.
    pub fn catch_up(&mut self, now: Moment, gap: Duration, datagram: &mut [u8], tell: &dyn Fn(MediaEvent)) {
        self.quiet_since = self.quiet_since + gap;
        let recording = self.recording.take();
        for _ in 0..STALE_MAX {
            let Ok((len, from)) = self.socket.recv_from(datagram) else { break };
            let Some(bytes) = datagram.get(..len) else { break };
            self.take(now, from, bytes, tell);
        }
        self.recording = recording;
    }

    /// `peer` is the other leg of its bridge. A prompt on a bridged leg is what is heard.
    pub fn report(&self, now: Moment, peer: Option<LegId>) -> LegReport {
        let hears = match (&self.playing, peer) {
            (Some(playing), _) => Hears::Plays { play: playing.play, prompts: playing.prompts.clone(), repeat: playing.repeat },
            (None, Some(with)) => Hears::Bridged { with },
            (None, None) => Hears::Nothing,
        };
        LegReport {
            leg: self.id,
            local: self.port.address,
            stream: self.stream,
            hears,
            recording: self.recording.as_ref().map(|recording| (recording.file().to_owned(), recording.is_paused())),
            silent_ms: now.since(self.quiet_since).as_millis() as u64,
        }
    }

    pub fn recording_begins_anew(&mut self, now: Moment) {
        if let Some(recording) = &mut self.recording {
            recording.begin_anew(now);
        }
    }

    pub fn summary(&self) -> LegSummary {
        LegSummary {
            received: self.received.packets,
            sent: self.sent,
            lost: self.received.lost,
            strangers: self.strangers,
            jitter_us: self.received.jitter_us(),
            ssrc: self.out.ssrc,
            sequence: self.out.sequence,
            timestamp: self.out.timestamp,
        }
    }

    fn send_event(&mut self, now: Moment, stream: &Stream, event: Event, first: bool) {
        let (Some(payload_type), Some(sender)) = (stream.telephone_event, &self.keys_to_send) else { return };
        let mark = self.out.event(now, sender.timestamp, event.duration.into(), first);
        let mut packet = [0; HEADER + 4];
        if let Some(payload) = packet.last_chunk_mut() {
            *payload = event.write();
        }
        self.send(payload_type, mark, &mut packet);
    }

    /// Fills in the head of `packet` and sends it. What the network refuses at this moment is lost, as audio is.
    fn send(&mut self, payload_type: u8, mark: Mark, packet: &mut [u8]) {
        let Some(target) = self.source.target().filter(|target| !target.ip().is_unspecified() && target.port() != 0) else {
            return;
        };
        if let Some(head) = packet.first_chunk_mut() {
            *head = rtp::header(payload_type, mark, self.out.ssrc);
        }
        if self.socket.send_to(packet, target).is_ok() {
            self.sent += 1;
        }
    }

    fn record_heard(&mut self, now: Moment, codec: Codec, timestamp: u32, payload: &[u8]) {
        if let Some(recording) = &mut self.recording {
            recording.audio(now, Side::FarEndHears, codec, timestamp, payload);
        }
    }
}

/// `None` for what was not agreed: comfort noise, foreign codecs.
fn content_of(packet: &Packet, payload: &[u8], stream: &Stream) -> Option<Content> {
    if packet.payload_type == Codec::Pcma.payload_type() {
        return Some(Content::Audio(Codec::Pcma));
    }
    if packet.payload_type == Codec::Pcmu.payload_type() {
        return Some(Content::Audio(Codec::Pcmu));
    }
    // RFC 3264 §5.1 lets each side choose its own number for telephone-event: any dynamic type with the length of one is taken.
    let agreed = stream.telephone_event == Some(packet.payload_type);
    if agreed || (DYNAMIC_TYPES.contains(&packet.payload_type) && payload.len() == 4) {
        return Event::read(payload).map(Content::Key);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Direction;

    #[test]
    fn time_in_which_media_did_not_run_is_nobodys_silence() {
        let (ours, far_end) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        ours.set_nonblocking(true).unwrap();
        let (address, remote) = (ours.local_addr().unwrap(), far_end.local_addr().unwrap());
        let mut leg = Leg::new(LegId(1), Port { network: 0, address }, ours, OutStream::new(1, 1, 1), Moment::ZERO);
        let direction = Direction::SendRecv;
        let stream = Stream { remote, codec: Codec::Pcma, telephone_event: None, ptime_ms: 20, direction };
        leg.connect(Moment::ZERO, stream, false);
        let (limit, stopped) = (Duration::from_secs(10), Duration::from_secs(60));
        leg.catch_up(Moment::from_secs(61), stopped, &mut [0; 2_048], &|_| {});
        assert_eq!(leg.newly_silent(Moment::from_secs(69), limit), None);
        assert_eq!(leg.newly_silent(Moment::from_secs(70), limit), Some(limit));
    }
}
