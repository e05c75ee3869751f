//! The door over a byte stream: every command and every event told is a postcard frame behind its length.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Read};

/// `Attached` names every leg: six thousand of them with a prompt list each stay under 4 MiB. A longer frame is no frame of ours.
pub const FRAME_MAX: usize = 4 << 20;

/// Adds one frame to what will be written.
pub fn add_frame(bytes: &mut Vec<u8>, what: &impl Serialize) -> io::Result<()> {
    let body = postcard::to_stdvec(what).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    if body.len() > FRAME_MAX {
        return Err(too_long(io::ErrorKind::InvalidInput, body.len()));
    }
    bytes.extend((body.len() as u32).to_be_bytes());
    bytes.extend(body);
    Ok(())
}

/// The next frame; `None` if the stream is at its end. Whoever is killed leaves half a frame, or what they had not read.
pub fn read_frame<T: DeserializeOwned>(reader: &mut impl Read) -> io::Result<Option<T>> {
    match whole_frame(reader) {
        Ok(frame) => postcard::from_bytes(&frame).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => Ok(None),
        Err(error) => Err(error),
    }
}

fn whole_frame(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    reader.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_MAX {
        return Err(too_long(io::ErrorKind::InvalidData, length));
    }
    let mut frame = vec![0; length];
    reader.read_exact(&mut frame)?;
    Ok(frame)
}

fn too_long(kind: io::ErrorKind, length: usize) -> io::Error {
    io::Error::new(kind, format!("frame of {length} bytes, at most {FRAME_MAX} are allowed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    /// `said` by one end, which then dies; what the other end takes in.
    fn heard_of(said: &[u8], unread: &[u8]) -> Vec<io::Result<Option<u32>>> {
        let (mut dying, mut living) = UnixStream::pair().unwrap();
        dying.write_all(said).unwrap();
        living.write_all(unread).unwrap();
        drop(dying);
        [(); 2].map(|()| read_frame(&mut living)).into()
    }

    #[test]
    fn who_dies_at_any_byte_with_words_unread_is_at_the_end_and_no_fault() {
        let mut frame = Vec::new();
        add_frame(&mut frame, &7_u32).unwrap();
        for unread in [&b""[..], b"not taken in"] {
            for cut in 0..frame.len() {
                assert!(matches!(heard_of(&frame[..cut], unread)[0], Ok(None)), "cut at {cut}, unread {}", unread.len());
            }
            assert!(matches!(heard_of(&frame, unread)[..], [Ok(Some(7)), Ok(None)]));
        }
        assert!(heard_of(&[0xff; 8], b"")[0].is_err(), "a frame of four gigabytes");
    }
}
