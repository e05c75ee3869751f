//! Key presses by RFC 4733: each one heard is counted once, each one sent is spelled out.

use std::collections::VecDeque;

/// Older by up to this many ticks (10 s) is a packet that comes late; older by more is a far end that began to count anew.
const LATE_TICKS_MAX: i32 = 80_000;
const KEYS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D'];

/// The payload of a telephone-event (RFC 4733 §2.3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    pub code: u8,
    pub ended: bool,
    pub duration: u16,
}

impl Event {
    pub fn read(payload: &[u8]) -> Option<Event> {
        let [code, flags, high, low, ..] = *payload else { return None };
        Some(Event { code, ended: flags & 0x80 != 0, duration: u16::from_be_bytes([high, low]) })
    }

    pub fn write(&self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        [self.code, (u8::from(self.ended) << 7) | VOLUME, high, low]
    }

    fn key(&self) -> Option<char> {
        KEYS.get(usize::from(self.code)).copied()
    }
}

/// Level of a press we send: -10 dBm0, in the middle of what RFC 4733 §2.3.2 allows.
const VOLUME: u8 = 10;

/// Hears presses. Any packet of a press makes it certain, so the loss of its start, its end or both costs nothing.
#[derive(Debug, Default)]
pub struct KeyListener {
    last: Option<Press>,
}

#[derive(Clone, Copy, Debug)]
struct Press {
    ssrc: u32,
    timestamp: u32,
    code: u8,
    duration: u16,
    ended: bool,
}

impl KeyListener {
    /// The key, if this packet is the first heard of its press.
    pub fn hear(&mut self, ssrc: u32, timestamp: u32, event: Event) -> Option<char> {
        let fresh = Press { ssrc, timestamp, code: event.code, duration: event.duration, ended: event.ended };
        let Some(last) = self.last.as_mut().filter(|last| last.ssrc == ssrc) else {
            self.last = Some(fresh);
            return event.key();
        };
        let later = timestamp.wrapping_sub(last.timestamp) as i32;
        if later == 0 {
            // Updates and the repeated end carry the timestamp of the press (RFC 4733 §2.2.1).
            last.duration = last.duration.max(event.duration);
            last.ended |= event.ended;
            return None;
        }
        if (-LATE_TICKS_MAX..0).contains(&later) {
            return None;
        }
        // RFC 4733 §2.5.1.3: a very long press goes on in a new segment that begins where the former stopped without an end. Some
        // phones also move the timestamp within a press.
        let continues = !last.ended && last.code == event.code && later > 0 && later <= i32::from(last.duration);
        self.last = Some(fresh);
        if continues { None } else { event.key() }
    }
}

/// A press of ours lasts 100 ms (Q.24 wants at least 40), its end is said three times (RFC 4733 §2.5.1.4), then 60 ms of silence.
const PRESS_STEPS: u8 = 5;
const END_REPEATS: u8 = 2;
const SILENT_STEPS: u8 = 3;
const TICKS_PER_STEP: u16 = 160;
/// More keys than any number we would dial; beyond it keys are not taken.
const KEYS_WAITING_MAX: usize = 64;

/// Spells out presses in steps of 20 ms.
#[derive(Debug, Default)]
pub struct KeySender {
    waiting: VecDeque<u8>,
    step: u8,
    /// Timestamp of the press that is being sent; the owner sets it at the step `Begin`.
    pub timestamp: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KeyStep {
    Begin(Event),
    Go(Event),
    Silence,
    Done,
}

impl KeySender {
    /// False if this is no key or too many wait.
    pub fn push(&mut self, key: char) -> bool {
        let code = KEYS.iter().position(|known| *known == key.to_ascii_uppercase()).and_then(|at| u8::try_from(at).ok());
        match code {
            Some(code) if self.waiting.len() < KEYS_WAITING_MAX => {
                self.waiting.push_back(code);
                true
            }
            Some(_) | None => false,
        }
    }

    pub fn step(&mut self) -> KeyStep {
        let Some(&code) = self.waiting.front() else { return KeyStep::Done };
        self.step += 1;
        let ended = self.step >= PRESS_STEPS;
        let event = Event { code, ended, duration: u16::from(self.step.min(PRESS_STEPS)) * TICKS_PER_STEP };
        if self.step == 1 {
            KeyStep::Begin(event)
        } else if self.step <= PRESS_STEPS + END_REPEATS {
            KeyStep::Go(event)
        } else {
            if self.step == PRESS_STEPS + END_REPEATS + SILENT_STEPS {
                self.waiting.pop_front();
                self.step = 0;
            }
            KeyStep::Silence
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(code: u8, duration: u16, ended: bool) -> Event {
        Event { code, ended, duration }
    }

    #[test]
    fn press_counts_at_its_first_packet_and_only_once() {
        let mut keys = KeyListener::default();
        assert_eq!(keys.hear(1, 1000, event(5, 160, false)), Some('5'));
        assert_eq!(keys.hear(1, 1000, event(5, 320, false)), None);
        for _ in 0..3 {
            assert_eq!(keys.hear(1, 1000, event(5, 800, true)), None);
        }
    }

    #[test]
    fn press_of_which_only_the_end_arrives_counts() {
        let mut keys = KeyListener::default();
        assert_eq!(keys.hear(1, 1000, event(11, 800, true)), Some('#'));
    }

    #[test]
    fn same_key_twice_counts_twice_even_if_the_ends_are_lost() {
        let mut keys = KeyListener::default();
        assert_eq!(keys.hear(1, 1000, event(1, 640, false)), Some('1'));
        assert_eq!(keys.hear(1, 2600, event(1, 160, false)), Some('1'));
    }

    #[test]
    fn late_packet_of_the_former_press_counts_nothing() {
        let mut keys = KeyListener::default();
        assert_eq!(keys.hear(1, 1000, event(1, 160, false)), Some('1'));
        assert_eq!(keys.hear(1, 2600, event(2, 160, false)), Some('2'));
        assert_eq!(keys.hear(1, 1000, event(1, 800, true)), None);
        assert_eq!(keys.hear(1, 2600, event(2, 320, false)), None);
    }

    #[test]
    fn next_segment_of_a_long_press_is_the_same_press() {
        let mut keys = KeyListener::default();
        assert_eq!(keys.hear(1, 1000, event(1, 0xFFFF, false)), Some('1'));
        assert_eq!(keys.hear(1, 1000 + 0xFFFF, event(1, 160, false)), None);
    }

    #[test]
    fn timestamps_may_wrap_or_start_anew() {
        let mut keys = KeyListener::default();
        assert_eq!(keys.hear(1, u32::MAX - 100, event(1, 160, true)), Some('1'));
        assert_eq!(keys.hear(1, 1500, event(2, 160, true)), Some('2'));
        assert_eq!(keys.hear(1, 0x8000_0000, event(3, 160, true)), Some('3'));
        assert_eq!(keys.hear(2, 0x8000_0000, event(4, 160, true)), Some('4'));
    }

    #[test]
    fn flash_is_no_key() {
        assert_eq!(KeyListener::default().hear(1, 1, event(16, 160, false)), None);
        assert_eq!(Event::read(&[1, 2, 3]), None);
    }

    #[test]
    fn sent_press_ends_three_times_and_is_heard_once() {
        let mut sender = KeySender::default();
        assert!(sender.push('7') && sender.push('*') && !sender.push('x'));
        let mut heard = Vec::new();
        let mut listener = KeyListener::default();
        let (mut ends, mut timestamp) = (0, 0);
        for at in 0u32.. {
            let event = match sender.step() {
                KeyStep::Begin(event) => {
                    timestamp = at * 160;
                    event
                }
                KeyStep::Go(event) => event,
                KeyStep::Silence => continue,
                KeyStep::Done => break,
            };
            assert_eq!(Event::read(&event.write()), Some(event));
            ends += u32::from(event.ended);
            heard.extend(listener.hear(1, timestamp, event));
        }
        assert_eq!((heard, ends), (vec!['7', '*'], 6));
    }
}
