//! The door over a byte stream: every command and event as a postcard frame behind its length, so that media may run as a process
//! of its own.

use super::door::{MediaCommand, MediaEvent};
use super::{Media, MediaSettings};
use crate::clock::Clock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

/// The longest command names a few hundred prompts; a longer frame is no frame of ours.
pub const FRAME_MAX: usize = 64 << 10;

/// Serves one engine until it hangs up; then all legs close.
pub fn serve(stream: UnixStream, settings: MediaSettings, clock: Clock) -> io::Result<()> {
    let (events, told) = mpsc::channel();
    let mut writer = stream.try_clone()?;
    let teller = std::thread::Builder::new().name("media-door".into()).spawn(move || {
        // An engine that does not listen any more is noticed by the reader below.
        while let Ok(event) = told.recv() {
            if write_event(&mut writer, &event).is_err() {
                break;
            }
        }
    })?;
    let media = Media::start(settings, clock, move |event| drop(events.send(event)))?;
    let mut reader = io::BufReader::new(stream);
    let ended = loop {
        match read_frame::<MediaCommand>(&mut reader) {
            Ok(Some(command)) => media.send(command),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    drop(media);
    let _ = teller.join();
    ended
}

pub fn write_command(writer: &mut impl Write, command: &MediaCommand) -> io::Result<()> {
    write_frame(writer, command)
}

pub fn write_event(writer: &mut impl Write, event: &MediaEvent) -> io::Result<()> {
    write_frame(writer, event)
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
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("frame of {length} bytes, at most {FRAME_MAX} are allowed"),
        ));
    }
    let mut frame = vec![0; length];
    reader.read_exact(&mut frame)?;
    postcard::from_bytes(&frame).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn write_frame(writer: &mut impl Write, what: &impl Serialize) -> io::Result<()> {
    let body = postcard::to_stdvec(what).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    if body.len() > FRAME_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("frame of {} bytes, at most {FRAME_MAX} are allowed", body.len()),
        ));
    }
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend((body.len() as u32).to_be_bytes());
    frame.extend(body);
    writer.write_all(&frame)
}
