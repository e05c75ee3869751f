//! G.711: A-law and µ-law to linear samples and back, and from one to the other by table.

use crate::stream::Codec;

/// What silence sounds like: the code of the smallest positive level.
pub const fn silence(codec: Codec) -> u8 {
    match codec {
        Codec::Pcma => 0xD5,
        Codec::Pcmu => 0xFF,
    }
}

pub fn encode(codec: Codec, sample: i16) -> u8 {
    match codec {
        Codec::Pcma => encode_alaw(sample),
        Codec::Pcmu => encode_ulaw(sample),
    }
}

pub fn decode(codec: Codec, code: u8) -> i16 {
    match codec {
        Codec::Pcma => ALAW_TO_LINEAR[usize::from(code)],
        Codec::Pcmu => ULAW_TO_LINEAR[usize::from(code)],
    }
}

/// Turns a payload of one law into the other, in place.
pub fn transcode(payload: &mut [u8], from: Codec, to: Codec) {
    let table = match (from, to) {
        (Codec::Pcma, Codec::Pcmu) => &ALAW_TO_ULAW,
        (Codec::Pcmu, Codec::Pcma) => &ULAW_TO_ALAW,
        (Codec::Pcma, Codec::Pcma) | (Codec::Pcmu, Codec::Pcmu) => return,
    };
    for code in payload {
        *code = table[usize::from(*code)];
    }
}

static ALAW_TO_LINEAR: [i16; 256] = linear(Codec::Pcma);
static ULAW_TO_LINEAR: [i16; 256] = linear(Codec::Pcmu);
static ALAW_TO_ULAW: [u8; 256] = other_law(Codec::Pcma);
static ULAW_TO_ALAW: [u8; 256] = other_law(Codec::Pcmu);

/// ITU-T G.711 table 1: 13-bit levels in eight segments of sixteen steps; every second bit is inverted on the line.
const fn encode_alaw(sample: i16) -> u8 {
    let (sign, level) = if sample >= 0 { (0x80, (sample >> 3) as u16) } else { (0, (!sample >> 3) as u16) };
    let segment = segment_above(level, 5);
    let step = if segment == 0 { level >> 1 } else { level >> segment };
    (sign | (segment as u8) << 4 | (step & 0x0F) as u8) ^ 0x55
}

const fn decode_alaw(code: u8) -> i16 {
    let bits = code ^ 0x55;
    let segment = (bits >> 4) & 0x07;
    let step = ((bits & 0x0F) as i16) << 4;
    let level = if segment == 0 { step + 8 } else { (step + 0x108) << (segment - 1) };
    if bits & 0x80 != 0 { level } else { -level }
}

/// Makes µ-law's first step begin at a segment's edge (ITU-T G.711 table 2), in 14-bit levels.
const ULAW_BIAS: i32 = 33;
const ULAW_LEVEL_MAX: i32 = 8158;

/// ITU-T G.711 table 2: 14-bit levels, biased; all bits are inverted on the line.
const fn encode_ulaw(sample: i16) -> u8 {
    let level = (sample as i32) >> 2;
    let (sign, level) = if level >= 0 { (0x80, level) } else { (0, -level) };
    let level = (if level > ULAW_LEVEL_MAX { ULAW_LEVEL_MAX } else { level } + ULAW_BIAS) as u16;
    let segment = segment_above(level, 6);
    let step = (level >> (segment + 1)) & 0x0F;
    sign | (!((segment as u8) << 4 | step as u8) & 0x7F)
}

const fn decode_ulaw(code: u8) -> i16 {
    let bits = !code;
    let segment = (bits >> 4) & 0x07;
    let level = (((bits & 0x0F) as i16 * 2 + ULAW_BIAS as i16) << segment) - ULAW_BIAS as i16;
    let level = level << 2;
    if bits & 0x80 != 0 { -level } else { level }
}

/// By how many bits `level` is longer than the first segment, which holds `first` bits.
const fn segment_above(level: u16, first: u32) -> u32 {
    (u16::BITS - level.leading_zeros()).saturating_sub(first)
}

const fn linear(codec: Codec) -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = match codec {
            Codec::Pcma => decode_alaw(code as u8),
            Codec::Pcmu => decode_ulaw(code as u8),
        };
        code += 1;
    }
    table
}

const fn other_law(from: Codec) -> [u8; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = match from {
            Codec::Pcma => encode_ulaw(decode_alaw(code as u8)),
            Codec::Pcmu => encode_alaw(decode_ulaw(code as u8)),
        };
        code += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoder_values_are_those_of_the_recommendation() {
        // ITU-T G.711 tables 1a/1b (times 8 for 16 bits) and 2a/2b (times 4): ends of the scale, segment edges, smallest steps.
        for (code, level) in
            [(0xAA, 32256), (0x2A, -32256), (0xD5, 8), (0x55, -8), (0x80, 5504), (0x00, -5504), (0xC5, 264), (0xF5, 528)]
        {
            assert_eq!(decode(Codec::Pcma, code), level, "A-law {code:#04x}");
        }
        for (code, level) in
            [(0x80, 32124), (0x00, -32124), (0xFF, 0), (0x7F, 0), (0xFE, 8), (0x7E, -8), (0xEF, 132), (0xDF, 396)]
        {
            assert_eq!(decode(Codec::Pcmu, code), level, "mu-law {code:#04x}");
        }
    }

    #[test]
    fn encoder_values_are_those_of_the_recommendation() {
        for (sample, code) in [(0, 0xD5), (-1, 0x55), (32767, 0xAA), (-32768, 0x2A), (1000, 0xFA), (-1000, 0x7A), (8159, 0x8A)] {
            assert_eq!(encode(Codec::Pcma, sample), code, "A-law of {sample}");
        }
        for (sample, code) in [(0, 0xFF), (32767, 0x80), (-32768, 0x00), (1000, 0xCE), (-1000, 0x4E), (8159, 0x9F), (-1, 0x7E)] {
            assert_eq!(encode(Codec::Pcmu, sample), code, "mu-law of {sample}");
        }
    }

    #[test]
    fn every_code_survives_decoding_and_encoding() {
        for code in 0..=255u8 {
            assert_eq!(encode(Codec::Pcma, decode(Codec::Pcma, code)), code);
            // µ-law has two zeros; the negative one comes back as the positive one.
            let expected = if code == 0x7F { 0xFF } else { code };
            assert_eq!(encode(Codec::Pcmu, decode(Codec::Pcmu, code)), expected);
        }
    }

    #[test]
    fn transcoding_keeps_the_level_within_a_step() {
        for code in 0..=255u8 {
            let mut payload = [code];
            transcode(&mut payload, Codec::Pcma, Codec::Pcmu);
            let (was, is) = (i32::from(decode(Codec::Pcma, code)), i32::from(decode(Codec::Pcmu, payload[0])));
            assert!((was - is).abs() <= 8 + was.abs() / 16, "{code:#04x}: {was} became {is}");
        }
        let mut same = [0x12, 0x34];
        transcode(&mut same, Codec::Pcmu, Codec::Pcmu);
        assert_eq!(same, [0x12, 0x34]);
    }
}
