//! Samples at 8 kHz: voices a test phone speaks with, G.711 both ways, and an ear for one tone (Goertzel).

use std::f64::consts::TAU;

const RATE: f64 = 8000.0;
const BEAT_SAMPLES: usize = 160;
/// Below this loudness nothing is a tone.
const FAINT: f64 = 100.0;
/// Loudness under which it is silent: G.711 has no exact zero.
pub const SILENT: f64 = 30.0;

/// What the phone says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Voice {
    Silence,
    /// A sine of this frequency.
    Tone(f64),
    /// Something that moves like speech: a voice of this pitch in syllables and pauses.
    Speech {
        pitch: f64,
    },
}

impl Voice {
    /// 20 ms from sample number `from` on.
    pub fn samples(self, from: u64) -> Vec<i16> {
        let at = |index: usize| (from + index as u64) as f64 / RATE;
        (0..BEAT_SAMPLES).map(|index| self.sample(at(index)) as i16).collect()
    }

    fn sample(self, t: f64) -> f64 {
        match self {
            Voice::Silence => 0.0,
            Voice::Tone(hertz) => 8000.0 * (TAU * hertz * t).sin(),
            Voice::Speech { pitch } => {
                let syllable = (TAU * 2.2 * t).sin().max(0.0) * (0.6 + 0.4 * (TAU * 0.7 * t).sin());
                let phrase = if (t * 0.25).fract() < 0.7 { 1.0 } else { 0.0 };
                let harmonics: f64 = (1..=6).map(|n| (TAU * pitch * f64::from(n) * t).sin() / f64::from(n)).sum();
                4000.0 * syllable * phrase * harmonics
            }
        }
    }
}

/// The two tones of a key (ITU-T Q.23), 20 ms from sample number `from` on.
pub fn dtmf(digit: char, from: u64) -> Vec<i16> {
    const ROWS: [(&str, f64); 4] = [("123A", 697.0), ("456B", 770.0), ("789C", 852.0), ("*0#D", 941.0)];
    const COLUMNS: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
    let (low, high) = ROWS
        .iter()
        .find_map(|(keys, low)| Some((*low, *COLUMNS.get(keys.find(digit.to_ascii_uppercase())?)?)))
        .unwrap_or((0.0, 0.0));
    let at = |index: usize| (from + index as u64) as f64 / RATE;
    (0..BEAT_SAMPLES).map(|index| (6000.0 * ((TAU * low * at(index)).sin() + (TAU * high * at(index)).sin())) as i16).collect()
}

/// Share of the energy that lies at `hertz`, 0 to 1.
pub fn tone_share(samples: &[i16], hertz: f64) -> f64 {
    if samples.is_empty() || loudness(samples) < FAINT {
        return 0.0;
    }
    let coefficient = 2.0 * (TAU * hertz / RATE).cos();
    let (mut one, mut two) = (0.0, 0.0);
    for sample in samples {
        (one, two) = (f64::from(*sample) + coefficient * one - two, one);
    }
    let power = one * one + two * two - coefficient * one * two;
    let energy: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    2.0 * power / (energy * samples.len() as f64)
}

/// Root mean square.
pub fn loudness(samples: &[i16]) -> f64 {
    let energy: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    (energy / samples.len().max(1) as f64).sqrt()
}

/// ITU-T G.711 A-law: sign, three bits of segment, four of step; even bits inverted.
pub fn to_alaw(sample: i16) -> u8 {
    // Negative values count from -1, so that both signs have the same steps.
    let (sign, magnitude) = if sample >= 0 { (0x80, sample >> 4) } else { (0, !sample >> 4) };
    // Shift that leaves five bits, whose first is implied.
    let shift = (11 - magnitude.leading_zeros() as i16).max(0);
    let code = if magnitude < 32 { magnitude } else { ((shift + 1) << 4) | ((magnitude >> shift) & 0x0f) };
    (sign | code as u8) ^ 0x55
}

pub fn from_alaw(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let (segment, step) = (i16::from((byte >> 4) & 7), i16::from(byte & 0x0f));
    let magnitude = if segment == 0 { (step << 4) + 8 } else { ((step << 4) + 0x108) << (segment - 1) };
    if byte & 0x80 != 0 { magnitude } else { -magnitude }
}

/// ITU-T G.711 µ-law: 14 bits with a bias of 33, all bits inverted.
pub fn to_ulaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(32_635) + 132;
    let segment = (24 - magnitude.leading_zeros() as i32).max(0);
    !(sign | (segment << 4) as u8 | ((magnitude >> (segment + 3)) & 0x0f) as u8)
}

pub fn from_ulaw(byte: u8) -> i16 {
    let byte = !byte;
    let magnitude = ((i32::from(byte & 0x0f) << 3) + 132) << ((byte >> 4) & 7);
    let magnitude = (magnitude - 132) as i16;
    if byte & 0x80 != 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_g711_survives_the_way_there_and_back() {
        for byte in 0..=255 {
            assert_eq!(to_alaw(from_alaw(byte)), byte, "A-law {byte:#x} = {}", from_alaw(byte));
            // µ-law has two zeros; the negative one is heard as the positive.
            assert_eq!(to_ulaw(from_ulaw(byte)), if byte == 0x7f { 0xff } else { byte }, "µ-law {byte:#x}");
        }
    }

    #[test]
    fn known_values_of_g711() {
        assert_eq!((to_alaw(0), to_alaw(i16::MAX), to_alaw(i16::MIN)), (0xd5, 0xaa, 0x2a));
        assert_eq!((from_alaw(0xaa), from_alaw(0xd5)), (32_256, 8));
        assert_eq!((to_ulaw(0), to_ulaw(i16::MAX), to_ulaw(i16::MIN)), (0xff, 0x80, 0x00));
        assert_eq!(from_ulaw(0x80), 32_124);
    }

    #[test]
    fn the_ear_tells_tones_speech_and_silence_apart() {
        let said = |voice: Voice| (0..10).flat_map(|beat| voice.samples(beat * 160)).collect::<Vec<_>>();
        assert!(tone_share(&said(Voice::Tone(440.0)), 440.0) > 0.95);
        assert!(tone_share(&said(Voice::Tone(440.0)), 1000.0) < 0.05);
        assert!(tone_share(&said(Voice::Speech { pitch: 120.0 }), 440.0) < 0.3);
        assert_eq!(tone_share(&said(Voice::Silence), 440.0), 0.0);
        assert!(loudness(&said(Voice::Silence)) < SILENT && loudness(&said(Voice::Speech { pitch: 120.0 })) > FAINT);
        let five: Vec<_> = (0..10).flat_map(|beat| dtmf('5', beat * 160)).collect();
        assert!(tone_share(&five, 770.0) > 0.4 && tone_share(&five, 1336.0) > 0.4);
    }
}
