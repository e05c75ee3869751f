//! The WAV a call leaves behind: stereo at 8 kHz, 16-bit PCM or G.711, read frame by frame.
//!
//! The file's length counts, not the sizes in its header: a process that died left them half a second behind the sound.

use crate::media::g711;
use crate::stream::Codec;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

pub const RATE: u32 = 8_000;
/// Bytes before the sound in the WAVs that we give out.
pub const HEADER: usize = 44;
/// Both channels, 16 bits each.
pub const FRAME: usize = 4;
/// Chunks before the sound; a file with more of them is none of ours.
const CHUNKS_MAX: usize = 16;

pub struct Wav {
    sound: BufReader<File>,
    form: Form,
    frames: u64,
    left: u64,
}

#[derive(Clone, Copy)]
enum Form {
    Pcm,
    G711(Codec),
}

impl Form {
    fn frame(self) -> usize {
        match self {
            Form::Pcm => 4,
            Form::G711(_) => 2,
        }
    }
}

impl Wav {
    pub fn open(path: &Path) -> io::Result<Wav> {
        let mut file = BufReader::new(File::open(path)?);
        let length = file.get_ref().metadata()?.len();
        let [riff, _, wave] = words(&mut file)?;
        if (&riff, &wave) != (b"RIFF", b"WAVE") {
            return Err(unlike("no RIFF WAVE"));
        }
        let mut form = None;
        for _ in 0..CHUNKS_MAX {
            let [name, size] = words(&mut file)?;
            let size = u32::from_le_bytes(size);
            match &name {
                b"fmt " => {
                    let mut described = vec![0; size.min(64) as usize];
                    file.read_exact(&mut described)?;
                    file.seek_relative(i64::from(size) - described.len() as i64)?;
                    form = Some(read_form(&described)?);
                }
                b"data" => {
                    let form = form.ok_or_else(|| unlike("the sound stands before its description"))?;
                    let frames = length.saturating_sub(file.stream_position()?) / form.frame() as u64;
                    return Ok(Wav { sound: file, form, frames, left: frames });
                }
                _ => drop(file.seek(SeekFrom::Current(i64::from(size) + i64::from(size % 2)))?),
            }
        }
        Err(unlike("no sound in it"))
    }

    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// The next frames, `[left, right]`, at most that many; empty at the end.
    pub fn read(&mut self, most: usize) -> io::Result<Vec<[i16; 2]>> {
        let count = self.left.min(most as u64) as usize;
        let mut bytes = vec![0; count * self.form.frame()];
        self.sound.read_exact(&mut bytes)?;
        self.left -= count as u64;
        Ok(match self.form {
            Form::Pcm => bytes.as_chunks().0.iter().map(|[l0, l1, r0, r1]| pair(*l0, *l1, *r0, *r1)).collect(),
            Form::G711(codec) => {
                bytes.as_chunks().0.iter().map(|[l, r]| [g711::decode(codec, *l), g711::decode(codec, *r)]).collect()
            }
        })
    }
}

fn pair(l0: u8, l1: u8, r0: u8, r1: u8) -> [i16; 2] {
    [i16::from_le_bytes([l0, l1]), i16::from_le_bytes([r0, r1])]
}

fn words<const N: usize>(file: &mut impl Read) -> io::Result<[[u8; 4]; N]> {
    let mut words = [[0; 4]; N];
    for word in &mut words {
        file.read_exact(word)?;
    }
    Ok(words)
}

/// Tag, channels, rate, …, bits (RIFF WAVE `fmt `).
fn read_form(described: &[u8]) -> io::Result<Form> {
    let Some([t0, t1, c0, c1, rate @ .., _, _, _, _, _, _, b0, b1]) = described.first_chunk::<16>() else {
        return Err(unlike("its description is too short"));
    };
    let number = |low: &u8, high: &u8| u16::from_le_bytes([*low, *high]);
    if number(c0, c1) != 2 || u32::from_le_bytes(*rate) != RATE {
        return Err(unlike("not stereo at 8 kHz"));
    }
    match (number(t0, t1), number(b0, b1)) {
        (1, 16) => Ok(Form::Pcm),
        (6, 8) => Ok(Form::G711(Codec::Pcma)),
        (7, 8) => Ok(Form::G711(Codec::Pcmu)),
        (tag, bits) => Err(unlike(&format!("format {tag} of {bits} bits"))),
    }
}

fn unlike(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a recording of ours: {what}"))
}

/// RIFF, PCM, two channels of 16 bits at 8 kHz.
pub fn header(frames: u64) -> [u8; HEADER] {
    let size = u32::try_from(frames * FRAME as u64).unwrap_or(u32::MAX - 36);
    let mut header = *b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x02\0\x40\x1F\0\0\0\x7D\0\0\x04\0\x10\0data\0\0\0\0";
    header[4..8].copy_from_slice(&size.saturating_add(36).to_le_bytes());
    header[40..44].copy_from_slice(&size.to_le_bytes());
    header
}
