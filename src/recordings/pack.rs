//! One recording from WAV to its sealed form. Each step leaves on the disk all that the next life needs to go on.
//!
//! The sealed file gets its name only once it is whole and heard alike; the WAV goes after that. Whoever finds a WAV packs it
//! (again), whoever finds only the sealed file takes it as it is.

use super::audio::{self, AudioError, BLOCK_FRAMES, Packed};
use super::sealed::{SealError, Sealed, Sealer};
use super::wav::Wav;
use super::{Shelf, sealed_name};
use crate::ids::RegionId;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// How loudness is compared: 100 ms at a time.
const WINDOW: usize = 800;
/// Windows of the original and of what was packed may differ by half of their loudness …
const DIFFERS_MAX: f64 = 0.5;
/// … by what Opus lets over from the other channel …
const CROSSTALK_MAX: f64 = 0.15;
/// … and by what nobody hears (of 32768).
const INAUDIBLE: f64 = 120.0;
/// A share of the windows may differ more: an onset at a window's edge.
const UNLIKE_SHARE_MAX: f64 = 0.03;

#[derive(Clone, Debug, PartialEq)]
pub struct PackedFile {
    /// The sealed file's name within the folder.
    pub name: String,
    pub bytes: u64,
    pub ms: u64,
    /// Of the sealed file, hexadecimal.
    pub sha256: String,
    pub key: String,
}

#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Neither WAV nor sealed file.
    #[error("the recording's file is gone")]
    Gone,
    #[error("the WAV cannot be read")]
    Wav(#[source] io::Error),
    #[error("the sealed file cannot be written")]
    Write(#[source] AudioError),
    #[error("the sealed file cannot be read back")]
    ReadBack(#[source] AudioError),
    #[error("what was packed does not sound like the WAV: {0}")]
    Unlike(String),
    #[error("there is no key for region {0}")]
    NoKey(RegionId),
    #[error("the WAV cannot be deleted")]
    Delete(#[source] io::Error),
}

/// Packs, seals, verifies, and deletes the WAV. Done again at any time, it comes to the same end.
pub fn pack(shelf: &Shelf, file: &str, region: RegionId) -> Result<PackedFile, PackError> {
    let (Some(wav_path), Some(sealed_path)) = (shelf.wav(file), shelf.sealed(file)) else { return Err(PackError::Gone) };
    let mut wav = match Wav::open(&wav_path) {
        Ok(wav) => wav,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return take_as_it_is(shelf, file, &sealed_path),
        Err(cause) => return Err(PackError::Wav(cause)),
    };
    let part = sealed_path.with_extension("part");
    let packed = seal(shelf, file, region, &mut wav, &part).and_then(|packed| {
        let mut again = Wav::open(&wav_path).map_err(PackError::Wav)?;
        let sealed = Sealed::open(&part, file, shelf.keys()).map_err(|cause| PackError::ReadBack(cause.into()))?;
        compare(&mut again, &mut Packed::open(sealed).map_err(PackError::ReadBack)?)?;
        std::fs::rename(&part, &sealed_path).map_err(|cause| PackError::Write(cause.into()))?;
        sync_folder(&sealed_path).map_err(|cause| PackError::Write(cause.into()))?;
        Ok(packed)
    });
    if packed.is_err() {
        // A full disk gets its room back.
        let _ = std::fs::remove_file(&part);
    }
    let packed = packed?;
    std::fs::remove_file(&wav_path).map_err(PackError::Delete)?;
    Ok(packed)
}

fn seal(shelf: &Shelf, file: &str, region: RegionId, wav: &mut Wav, part: &Path) -> Result<PackedFile, PackError> {
    let key = shelf.keys().current(region).ok_or(PackError::NoKey(region))?;
    let cannot = |cause: io::Error| PackError::Write(cause.into());
    let mut file_id = [0; 16];
    getrandom::fill(&mut file_id).map_err(|cause| cannot(io::Error::other(cause)))?;
    let ms = wav.frames() / 8;
    let out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(part).map_err(cannot)?;
    let mut sealer = Sealer::new(BufWriter::new(out), key, file, file_id).map_err(cannot)?;
    audio::pack(wav, &mut sealer).map_err(PackError::Write)?;
    let (out, bytes, sha256) = sealer.finish().map_err(cannot)?;
    out.into_inner().map_err(|cause| cannot(cause.into_error()))?.sync_all().map_err(cannot)?;
    Ok(PackedFile { name: sealed_name(file), bytes, ms, sha256: hex::encode(sha256), key: key.id().to_string() })
}

/// A former life packed it and died before it could say so.
fn take_as_it_is(shelf: &Shelf, file: &str, path: &Path) -> Result<PackedFile, PackError> {
    if !path.exists() {
        return Err(PackError::Gone);
    }
    let cannot = |cause: io::Error| PackError::ReadBack(cause.into());
    let mut packed = shelf.open(file).map_err(PackError::ReadBack)?;
    hear_all(&mut packed, |_, _| Ok(()))?;
    let bytes = std::fs::metadata(path).map_err(cannot)?.len();
    let sha256 = sha256_of(path).map_err(cannot)?;
    Ok(PackedFile { name: sealed_name(file), bytes, ms: packed.ms(), sha256, key: packed.key().to_string() })
}

pub fn sha256_of(path: &Path) -> io::Result<String> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let mut piece = vec![0; 64 << 10];
    loop {
        let read = file.read(&mut piece)?;
        let Some(piece) = piece.get(..read).filter(|piece| !piece.is_empty()) else { break };
        hash.update(piece);
    }
    Ok(hex::encode(hash.finalize()))
}

/// Opens and decodes every block.
pub fn hear_all(
    packed: &mut Packed,
    mut heard: impl FnMut(u64, Vec<[i16; 2]>) -> Result<(), PackError>,
) -> Result<(), PackError> {
    for block in 0..packed.frames().div_ceil(BLOCK_FRAMES) {
        let frames = packed.frames_of_block(block).map_err(PackError::ReadBack)?;
        heard(block, frames)?;
    }
    Ok(())
}

/// Equal length, and both channels as loud at each moment as they were.
fn compare(wav: &mut Wav, packed: &mut Packed) -> Result<(), PackError> {
    if packed.frames().abs_diff(wav.frames()) > audio::PACKET_FRAMES as u64 {
        return Err(PackError::Unlike(format!("{} frames instead of {}", packed.frames(), wav.frames())));
    }
    let (mut windows, mut unlike) = (0u64, 0u64);
    hear_all(packed, |_, heard| {
        let said = wav.read(heard.len()).map_err(PackError::Wav)?;
        if said.len() != heard.len() {
            return Err(PackError::Unlike("the WAV is shorter".into()));
        }
        for (said, heard) in said.chunks(WINDOW).zip(heard.chunks(WINDOW)) {
            let (said, heard) = (loudness(said), loudness(heard));
            let [left, right] = said;
            for (said, other, heard) in [(left, right, heard[0]), (right, left, heard[1])] {
                windows += 1;
                unlike += u64::from((said - heard).abs() > said * DIFFERS_MAX + other * CROSSTALK_MAX + INAUDIBLE);
            }
        }
        Ok(())
    })?;
    // A recording of a few windows may have one that differs.
    if unlike as f64 > (windows as f64 * UNLIKE_SHARE_MAX).max(1.0) {
        return Err(PackError::Unlike(format!("{unlike} of {windows} tenths of a second differ")));
    }
    Ok(())
}

/// Root of the mean square of each channel.
fn loudness(window: &[[i16; 2]]) -> [f64; 2] {
    let of = |channel: fn(&[i16; 2]) -> i16| {
        let sum: f64 = window.iter().map(|frame| f64::from(channel(frame)).powi(2)).sum();
        (sum / window.len().max(1) as f64).sqrt()
    };
    [of(|[left, _]| *left), of(|[_, right]| *right)]
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Writes a recording out in this form.
pub fn export(packed: &mut Packed, form: super::Form, out: &mut impl Write) -> Result<u64, AudioError> {
    let mut at = 0;
    loop {
        let piece = packed.read(form, at, 64 << 10)?;
        if piece.is_empty() {
            return Ok(at);
        }
        out.write_all(&piece)?;
        at += piece.len() as u64;
    }
}

impl From<SealError> for PackError {
    fn from(cause: SealError) -> Self {
        PackError::ReadBack(cause.into())
    }
}
