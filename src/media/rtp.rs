//! One RTP stream each way (RFC 3550): what came is read and counted, what leaves is numbered so that the far end sees one
//! stream without a break, whoever speaks: prompt, music or the other side of a bridge.

use crate::clock::Moment;
use rtp_rs::RtpReader;

pub const HEADER: usize = 12;
/// G.711 has 8,000 ticks a second; one packet is 20 ms of them.
pub const TICKS_PER_PACKET: u32 = 160;
/// RFC 3550 appendix A.1: a jump of this many numbers ahead is a new stream, not a loss.
const DROPOUT_MAX: i16 = 3000;
/// RFC 3550 appendix A.1: a packet more than this many numbers late is a new stream, not a late one.
const MISORDER_MIN: i16 = -100;
/// A timestamp this far (10 s) from the last is a new beginning; it covers every pause that silence suppression makes in a talk and
/// the age of a long key press.
const TIMESTAMP_JUMP_MAX: u32 = 80_000;

pub fn ticks_between(earlier: Moment, later: Moment) -> u32 {
    u32::try_from(later.since(earlier).as_micros() / 125).unwrap_or(u32::MAX)
}

/// The header of a packet that arrived, and where in it the payload lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Packet {
    pub payload_type: u8,
    pub marker: bool,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub payload_start: usize,
    pub payload_len: usize,
}

impl Packet {
    /// `None` for anything that is not RTP, RTCP included (RFC 5761 §4: second byte 192 to 223).
    pub fn read(bytes: &[u8]) -> Option<Packet> {
        if matches!(bytes.get(1), Some(192..=223)) {
            return None;
        }
        let reader = RtpReader::new(bytes).ok()?;
        Some(Packet {
            payload_type: reader.payload_type(),
            marker: reader.mark(),
            sequence: reader.sequence_number().into(),
            timestamp: reader.timestamp(),
            ssrc: reader.ssrc(),
            payload_start: reader.payload_offset(),
            payload_len: reader.payload().len(),
        })
    }
}

/// How a packet stands to those before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrival {
    /// The first of a stream, or the first after the far end began a new one.
    First,
    Next,
    Late,
    Duplicate,
}

/// Counts what one far end sends.
#[derive(Debug, Default)]
pub struct Received {
    pub packets: u64,
    pub lost: u64,
    stream: Option<Numbers>,
    jitter_x16_us: u64,
    transit_us: Option<i64>,
}

#[derive(Debug)]
struct Numbers {
    ssrc: u32,
    highest: u16,
    /// Bit n: number `highest - n` was seen.
    seen: u64,
}

impl Received {
    pub fn note(&mut self, packet: &Packet) -> Arrival {
        self.packets += 1;
        let Some(numbers) = self.stream.as_mut().filter(|numbers| numbers.ssrc == packet.ssrc) else {
            return self.begin(packet);
        };
        let ahead = packet.sequence.wrapping_sub(numbers.highest) as i16;
        match ahead {
            1..DROPOUT_MAX => {
                let shift = ahead.unsigned_abs().into();
                numbers.seen = numbers.seen.checked_shl(shift).unwrap_or(0) | 1;
                numbers.highest = packet.sequence;
                self.lost += u64::from(shift) - 1;
                Arrival::Next
            }
            MISORDER_MIN..=0 => {
                // Older than the window: it was counted lost; that it came after all changes nothing anybody can use.
                let bit = 1u64.checked_shl(ahead.unsigned_abs().into()).unwrap_or(0);
                if numbers.seen & bit != 0 {
                    return Arrival::Duplicate;
                }
                numbers.seen |= bit;
                self.lost = self.lost.saturating_sub(1);
                Arrival::Late
            }
            i16::MIN..MISORDER_MIN | DROPOUT_MAX..=i16::MAX => self.begin(packet),
        }
    }

    fn begin(&mut self, packet: &Packet) -> Arrival {
        self.stream = Some(Numbers { ssrc: packet.ssrc, highest: packet.sequence, seen: 1 });
        self.transit_us = None;
        Arrival::First
    }

    /// RFC 3550 §6.4.1: a sixteenth of each new deviation of the transit time is taken in.
    pub fn note_spacing(&mut self, now: Moment, packet: &Packet) {
        let transit = (now.0 as i64).wrapping_sub(i64::from(packet.timestamp) * 125);
        if let Some(before) = self.transit_us.replace(transit) {
            let deviation = transit.wrapping_sub(before).unsigned_abs();
            if deviation < u64::from(TIMESTAMP_JUMP_MAX) * 125 {
                self.jitter_x16_us = self.jitter_x16_us + deviation - (self.jitter_x16_us + 8) / 16;
            }
        }
    }

    pub fn jitter_us(&self) -> u64 {
        self.jitter_x16_us / 16
    }
}

/// What the header of one outgoing packet says beside its payload type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    pub sequence: u16,
    pub timestamp: u32,
    pub marker: bool,
}

/// The stream one far end hears from us.
#[derive(Debug)]
pub struct OutStream {
    pub ssrc: u32,
    /// Of the next packet.
    pub sequence: u16,
    /// Of the next packet, if it follows without a pause.
    pub timestamp: u32,
    sent_at: Option<Moment>,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    Nothing,
    Made,
    Relayed(Shift),
}

/// How numbers of the far side of a bridge become ours.
#[derive(Clone, Copy, Debug)]
struct Shift {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    /// Our number of the first packet: nothing before it may be sent, its number is another's.
    first: u16,
    last_timestamp: u32,
}

impl OutStream {
    pub fn new(ssrc: u32, sequence: u16, timestamp: u32) -> Self {
        Self { ssrc, sequence, timestamp, sent_at: None, origin: Origin::Nothing }
    }

    /// Numbers a packet of prompt or music. The marker stands at the first after anything else, or after a pause.
    pub fn made(&mut self, now: Moment) -> Mark {
        let paused = self.resume(now);
        let marker = paused || !matches!(self.origin, Origin::Made);
        self.origin = Origin::Made;
        let mark = Mark { sequence: self.sequence, timestamp: self.timestamp, marker };
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(TICKS_PER_PACKET);
        self.sent_at = Some(now);
        mark
    }

    /// Numbers a packet that passes through and lasts `ticks`. Loss and order of the other side stay visible, as the far end's
    /// concealment needs them. `None`: too late to be sent.
    pub fn relayed(&mut self, now: Moment, packet: &Packet, ticks: u32) -> Option<Mark> {
        let (shift, marker) = match self.origin {
            Origin::Relayed(shift) if self.fits(&shift, packet) => (shift, packet.marker),
            Origin::Nothing | Origin::Made | Origin::Relayed(_) => {
                self.resume(now);
                let sequence = self.sequence.wrapping_sub(packet.sequence);
                let timestamp = self.timestamp.wrapping_sub(packet.timestamp);
                (Shift { ssrc: packet.ssrc, sequence, timestamp, first: self.sequence, last_timestamp: packet.timestamp }, true)
            }
        };
        let mark = Mark {
            sequence: packet.sequence.wrapping_add(shift.sequence),
            timestamp: packet.timestamp.wrapping_add(shift.timestamp),
            marker,
        };
        if (mark.sequence.wrapping_sub(shift.first) as i16) < 0 {
            return None;
        }
        // `first` moves along behind the stream, so that the comparison above holds when the numbers wrap.
        let first = if (mark.sequence.wrapping_sub(shift.first) as i16) > DROPOUT_MAX * 2 {
            mark.sequence.wrapping_sub(DROPOUT_MAX.unsigned_abs())
        } else {
            shift.first
        };
        self.origin = Origin::Relayed(Shift { last_timestamp: packet.timestamp, first, ..shift });
        self.pass(mark.sequence, mark.timestamp.wrapping_add(ticks));
        self.sent_at = Some(now);
        Some(mark)
    }

    /// The timestamp of a key press that begins now; it stands in all packets of the press (RFC 4733 §2.2.1).
    pub fn event_begins(&mut self, now: Moment) -> u32 {
        self.resume(now);
        self.origin = Origin::Nothing;
        self.timestamp
    }

    /// Numbers one packet of the press that began at `timestamp` and has lasted `ticks`.
    pub fn event(&mut self, now: Moment, timestamp: u32, ticks: u32, marker: bool) -> Mark {
        let mark = Mark { sequence: self.sequence, timestamp, marker };
        self.pass(mark.sequence, timestamp.wrapping_add(ticks));
        self.sent_at = Some(now);
        mark
    }

    fn fits(&self, shift: &Shift, packet: &Packet) -> bool {
        let ahead = packet.sequence.wrapping_add(shift.sequence).wrapping_sub(self.sequence) as i16;
        let turned = packet.timestamp.wrapping_sub(shift.last_timestamp) as i32;
        shift.ssrc == packet.ssrc && (MISORDER_MIN..DROPOUT_MAX).contains(&ahead) && turned.unsigned_abs() <= TIMESTAMP_JUMP_MAX
    }

    /// Lets the timestamp follow the clock over a pause (RFC 3550 §5.1). True if there was one.
    fn resume(&mut self, now: Moment) -> bool {
        let Some(sent_at) = self.sent_at else { return true };
        let idle = ticks_between(sent_at, now).saturating_sub(TICKS_PER_PACKET);
        // Less than a packet late is our own scheduling, not a pause.
        if idle < TICKS_PER_PACKET {
            return false;
        }
        self.timestamp = self.timestamp.wrapping_add(idle);
        true
    }

    fn pass(&mut self, sequence: u16, timestamp_after: u32) {
        let next = sequence.wrapping_add(1);
        if (next.wrapping_sub(self.sequence) as i16) > 0 {
            self.sequence = next;
        }
        if (timestamp_after.wrapping_sub(self.timestamp) as i32) > 0 {
            self.timestamp = timestamp_after;
        }
    }
}

/// The twelve bytes in front of a payload of ours.
pub fn header(payload_type: u8, mark: Mark, ssrc: u32) -> [u8; HEADER] {
    let [s0, s1] = mark.sequence.to_be_bytes();
    let [t0, t1, t2, t3] = mark.timestamp.to_be_bytes();
    let [r0, r1, r2, r3] = ssrc.to_be_bytes();
    [0x80, (u8::from(mark.marker) << 7) | (payload_type & 0x7F), s0, s1, t0, t1, t2, t3, r0, r1, r2, r3]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u16, timestamp: u32) -> Packet {
        Packet { payload_type: 8, marker: false, sequence, timestamp, ssrc: 7, payload_start: HEADER, payload_len: 160 }
    }
    fn ms(ms: u64) -> Moment {
        Moment::from_millis(1_000_000 + ms)
    }
    fn mark(sequence: u16, timestamp: u32, marker: bool) -> Mark {
        Mark { sequence, timestamp, marker }
    }

    #[test]
    fn header_is_read_as_it_was_written() {
        let mut bytes = header(8, mark(65535, 0x0102_0304, true), 0xAABB_CCDD).to_vec();
        bytes.extend([1, 2, 3]);
        let read = Packet::read(&bytes);
        let expected = Packet {
            payload_type: 8,
            marker: true,
            sequence: 65535,
            timestamp: 0x0102_0304,
            ssrc: 0xAABB_CCDD,
            payload_start: 12,
            payload_len: 3,
        };
        assert_eq!(read, Some(expected));
    }

    #[test]
    fn rtcp_and_rubbish_are_not_rtp() {
        let mut report = header(72, mark(1, 1, true), 1);
        assert_eq!(Packet::read(&report), None);
        report[1] = 8;
        report[0] = 0x40;
        assert_eq!(Packet::read(&report), None);
        assert_eq!(Packet::read(&[0x80, 8, 0]), None);
        // A padding count larger than the packet.
        assert_eq!(Packet::read(&[0xA0, 8, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 200]), None);
    }

    #[test]
    fn losses_late_ones_and_duplicates_are_told_apart() {
        let mut received = Received::default();
        assert_eq!(received.note(&packet(65534, 0)), Arrival::First);
        assert_eq!(received.note(&packet(1, 480)), Arrival::Next);
        assert_eq!(received.lost, 2);
        assert_eq!(received.note(&packet(65535, 160)), Arrival::Late);
        assert_eq!(received.note(&packet(65535, 160)), Arrival::Duplicate);
        assert_eq!(received.note(&packet(1, 480)), Arrival::Duplicate);
        assert_eq!((received.packets, received.lost), (5, 1));
        assert_eq!(received.note(&packet(20000, 0)), Arrival::First);
        assert_eq!(received.lost, 1);
    }

    #[test]
    fn evenly_spaced_packets_have_no_jitter_and_late_ones_do() {
        let mut received = Received::default();
        for i in 0..50 {
            received.note_spacing(ms(u64::from(i) * 20), &packet(0, i * 160));
        }
        assert_eq!(received.jitter_us(), 0);
        received.note_spacing(ms(1016), &packet(0, 50 * 160));
        assert_eq!(received.jitter_us(), 1000);
    }

    #[test]
    fn prompt_then_bridge_then_music_is_one_stream() {
        let mut out = OutStream::new(1, 65535, 1000);
        assert_eq!(out.made(ms(0)), mark(65535, 1000, true));
        assert_eq!(out.made(ms(20)), mark(0, 1160, false));
        // The bridge brings numbers of its own, 35 ms later.
        assert_eq!(out.relayed(ms(55), &packet(500, 90_000), 160), Some(mark(1, 1320, true)));
        assert_eq!(out.relayed(ms(75), &packet(501, 90_160), 160), Some(mark(2, 1480, false)));
        assert_eq!(out.made(ms(90)), mark(3, 1640, true));
    }

    #[test]
    fn loss_and_order_of_the_other_side_stay_visible() {
        let mut out = OutStream::new(1, 10, 1000);
        out.relayed(ms(0), &packet(500, 0), 160);
        assert_eq!(out.relayed(ms(40), &packet(502, 320), 160), Some(mark(12, 1320, false)));
        assert_eq!(out.relayed(ms(41), &packet(501, 160), 160), Some(mark(11, 1160, false)));
        assert_eq!(out.relayed(ms(60), &packet(503, 480), 160), Some(mark(13, 1480, false)));
    }

    #[test]
    fn late_packet_from_before_the_bridge_takes_nobodys_number() {
        let mut out = OutStream::new(1, 10, 1000);
        out.made(ms(0));
        assert!(out.relayed(ms(20), &packet(500, 0), 160).is_some());
        assert_eq!(out.relayed(ms(21), &packet(499, 0), 160), None);
    }

    #[test]
    fn pause_moves_the_timestamp_with_the_clock_and_sets_the_marker() {
        let mut out = OutStream::new(1, 10, 1000);
        out.made(ms(0));
        assert_eq!(out.made(ms(1020)), mark(11, 1000 + 1020 * 8, true));
    }

    #[test]
    fn a_new_source_or_a_jump_on_the_other_side_goes_on_where_we_are() {
        let mut out = OutStream::new(1, 10, 1000);
        out.relayed(ms(0), &packet(500, 0), 160);
        let restarted = Packet { ssrc: 8, ..packet(40_000, 5_000_000) };
        assert_eq!(out.relayed(ms(20), &restarted, 160), Some(mark(11, 1160, true)));
        let jumped = Packet { ssrc: 8, ..packet(40_001, 9_000_000) };
        assert_eq!(out.relayed(ms(40), &jumped, 160), Some(mark(12, 1320, true)));
    }

    #[test]
    fn hour_long_relay_passes_the_wrap_of_the_numbers() {
        let mut out = OutStream::new(1, 10, 1000);
        for i in 0..200_000u32 {
            let mark = out.relayed(ms(u64::from(i) * 20), &packet(i as u16, i * 160), 160);
            assert_eq!(mark.map(|mark| mark.sequence), Some((i as u16).wrapping_add(10)));
        }
    }

    #[test]
    fn audio_after_a_key_press_follows_its_length() {
        let mut out = OutStream::new(1, 10, 1000);
        out.made(ms(0));
        let timestamp = out.event_begins(ms(20));
        assert_eq!(out.event(ms(20), timestamp, 160, true), mark(11, 1160, true));
        assert_eq!(out.event(ms(40), timestamp, 320, false), mark(12, 1160, false));
        assert_eq!(out.made(ms(60)), mark(13, 1480, true));
    }
}
