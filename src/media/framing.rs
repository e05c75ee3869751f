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

/// The next frame; `None` if the stream ended between two frames.
pub fn read_frame<T: DeserializeOwned>(reader: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match reader.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_MAX {
        return Err(too_long(io::ErrorKind::InvalidData, length));
    }
    let mut frame = vec![0; length];
    reader.read_exact(&mut frame)?;
    postcard::from_bytes(&frame).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn too_long(kind: io::ErrorKind, length: usize) -> io::Error {
    io::Error::new(kind, format!("frame of {length} bytes, at most {FRAME_MAX} are allowed"))
}
