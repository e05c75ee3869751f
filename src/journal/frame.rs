//! One record on disk: length, checksum, version, body.
//!
//! `u32` length of what follows the header · `u32` CRC-32 of length and body · `u8` version of the encoding, which also says whether
//! more of its turn follows · postcard.

use serde::Serialize;
use serde::de::DeserializeOwned;

pub const HEADER: usize = 8;
/// Largest body: one brain input with the whole rules of a region (hundreds of queues, thousands of agents) stays far below.
pub const MAX_BODY: usize = 4 << 20;
/// Bodies that are believed when a readable frame is looked for behind a damage; longer ones would make the search slow.
const MAX_BODY_SEARCHED: usize = 64 << 10;
/// The last record of a turn, and every one of before turns were marked.
const VERSION: u8 = 1;
/// More records of the same turn follow.
const GOES_ON: u8 = 2;

/// What stands at the start of some bytes.
#[derive(Debug, PartialEq)]
pub enum Next<'a> {
    Whole {
        body: &'a [u8],
        len: usize,
    },
    /// The beginning of a frame that has `need` bytes in all, as far as is known.
    Short {
        need: usize,
    },
    Bad,
}

pub fn next(bytes: &[u8]) -> Next<'_> {
    let Some((&[a, b, c, d, e, f, g, h], rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Next::Short { need: HEADER };
    };
    let length = [a, b, c, d];
    let body_len = u32::from_le_bytes(length) as usize;
    if body_len == 0 || body_len > MAX_BODY {
        return Next::Bad;
    }
    let Some(body) = rest.get(..body_len) else {
        return Next::Short { need: HEADER + body_len };
    };
    if checksum(length, body) != u32::from_le_bytes([e, f, g, h]) {
        return Next::Bad;
    }
    Next::Whole { body, len: HEADER + body_len }
}

/// Appends one frame, after which its turn goes on until [`end_turn`]; on failure the buffer is as before.
pub fn push<R: Serialize>(buffer: &mut Vec<u8>, record: &R) -> Result<(), TooLarge> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADER]);
    buffer.push(GOES_ON);
    let encoded = postcard::to_io(record, &mut *buffer).is_ok();
    let body_len = buffer.len() - start - HEADER;
    if !encoded || body_len > MAX_BODY {
        buffer.truncate(start);
        return Err(TooLarge);
    }
    seal(&mut buffer[start..]);
    Ok(())
}

/// Marks the frame that begins at `last` and ends the buffer as the last one of its turn.
pub fn end_turn(buffer: &mut [u8], last: usize) {
    if let Some(version) = buffer.get_mut(last + HEADER) {
        *version = VERSION;
        seal(&mut buffer[last..]);
    }
}

/// Fills in the header of a frame.
fn seal(frame: &mut [u8]) {
    let length = ((frame.len() - HEADER) as u32).to_le_bytes();
    let sum = checksum(length, &frame[HEADER..]).to_le_bytes();
    frame[..4].copy_from_slice(&length);
    frame[4..HEADER].copy_from_slice(&sum);
}

/// Whether a turn is whole with the frame of this body.
pub fn ends_turn(body: &[u8]) -> bool {
    body.first() != Some(&GOES_ON)
}

#[derive(Debug, PartialEq)]
pub struct TooLarge;

/// Reads the body of a frame; `None` if it was written by an encoding this engine does not know.
pub fn decode<R: DeserializeOwned>(body: &[u8]) -> Option<R> {
    match body.split_first() {
        Some((&(VERSION | GOES_ON), encoded)) => postcard::from_bytes(encoded).ok(),
        Some(_) | None => None,
    }
}

/// Whether a whole frame stands anywhere in `bytes`: tells damage in the middle from a torn tail.
pub fn any_frame_in(bytes: &[u8]) -> bool {
    (0..bytes.len()).any(|at| {
        let rest = &bytes[at..];
        let plausible = rest.split_first_chunk::<4>().is_some_and(|(length, after)| {
            let body_len = u32::from_le_bytes(*length) as usize;
            body_len <= MAX_BODY_SEARCHED && matches!(after.get(4), Some(&(VERSION | GOES_ON)))
        });
        plausible && matches!(next(rest), Next::Whole { .. })
    })
}

fn checksum(length: [u8; 4], body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&length);
    crc.update(body);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_framed_is_read_back(records in prop::collection::vec(("[a-z]{0,40}", any::<u64>()), 0..20)) {
            let mut bytes = Vec::new();
            for record in &records {
                push(&mut bytes, record).unwrap();
            }
            let mut read = Vec::new();
            let mut rest = &bytes[..];
            while let Next::Whole { body, len } = next(rest) {
                read.push(decode::<(String, u64)>(body).unwrap());
                rest = &rest[len..];
            }
            prop_assert_eq!(read, records);
        }

        #[test]
        fn any_flipped_bit_is_noticed(text in "[a-z]{1,60}", at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = Vec::new();
            push(&mut bytes, &text).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let whole = matches!(next(&bytes), Next::Whole { .. });
            prop_assert!(!whole);
        }

        #[test]
        fn garbage_is_no_frame_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let whole = matches!(next(&bytes), Next::Whole { .. });
            prop_assert!(!whole);
        }
    }

    #[test]
    fn a_zeroed_page_is_no_frame() {
        assert_eq!(next(&[0; 64]), Next::Bad);
        assert!(!any_frame_in(&[0; 4096]));
    }
}
