//! A file that only the region's key opens, in chunks that can be sought.
//!
//! Header (magic, key id, file id), then chunks of 64 KiB under AES-256-GCM, each with its tag. The nonce is the chunk's number and
//! whether it is the last (Hoang, Reyhanitabar, Rogaway, Vizár 2015, "STREAM"), so that chunks cannot be moved and a cut file is not
//! taken for a whole one. Header and name are bound to each chunk: no file passes for another call's.

use super::keys::{Key, KeyId, Keyring};
use aes_gcm::aead::Aead;
use aes_gcm::aead::Payload;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: &[u8; 8] = b"DZVNREC1";
const FILE_ID: usize = 16;
const HEADER: usize = MAGIC.len() + 8 + FILE_ID;
const CHUNK: usize = 64 << 10;
const TAG: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("this is no sealed recording")]
    NotSealed,
    #[error("it is sealed with key {0}, which is not at hand; add it as a line to its region's key file")]
    KeyMissing(KeyId),
    #[error("chunk {0} is damaged, moved or cut off")]
    Damaged(u64),
    #[error("there is no key for region {0}")]
    NoKey(crate::ids::RegionId),
}

struct Cipher {
    cipher: Aes256Gcm,
    bound: Vec<u8>,
}

impl Cipher {
    fn new(key: &Key, header: &[u8; HEADER], name: &str) -> Cipher {
        let key = key.of_file(header);
        let bound = [header.as_slice(), name.as_bytes()].concat();
        Cipher { cipher: Aes256Gcm::new(&key.into()), bound }
    }

    fn nonce(number: u64, last: bool) -> Nonce<aes_gcm::aead::consts::U12> {
        let mut nonce = [0; 12];
        for (place, byte) in nonce.iter_mut().zip(number.to_be_bytes().into_iter().chain([0, 0, 0, u8::from(last)])) {
            *place = byte;
        }
        nonce.into()
    }

    fn seal(&self, number: u64, last: bool, chunk: &[u8]) -> io::Result<Vec<u8>> {
        let payload = Payload { msg: chunk, aad: &self.bound };
        self.cipher.encrypt(&Self::nonce(number, last), payload).map_err(|_| io::Error::other("a chunk is too large"))
    }

    fn open(&self, number: u64, last: bool, chunk: &[u8]) -> Result<Vec<u8>, SealError> {
        let payload = Payload { msg: chunk, aad: &self.bound };
        self.cipher.decrypt(&Self::nonce(number, last), payload).map_err(|_| SealError::Damaged(number))
    }
}

/// Seals what is written to it.
pub struct Sealer<W: Write> {
    out: W,
    cipher: Cipher,
    number: u64,
    pending: Vec<u8>,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Sealer<W> {
    /// `file_id` is random and never used twice.
    pub fn new(out: W, key: &Key, name: &str, file_id: [u8; FILE_ID]) -> io::Result<Self> {
        let mut header = [0; HEADER];
        for (place, byte) in header.iter_mut().zip(MAGIC.iter().chain(&key.id().0).chain(&file_id)) {
            *place = *byte;
        }
        let cipher = Cipher::new(key, &header, name);
        let mut sealer = Sealer { out, cipher, number: 0, pending: Vec::new(), hash: Sha256::new(), bytes: 0 };
        sealer.put(&header)?;
        Ok(sealer)
    }

    /// Seals the last chunk. Gives the file, its length and its SHA-256.
    pub fn finish(mut self) -> io::Result<(W, u64, [u8; 32])> {
        let last = std::mem::take(&mut self.pending);
        let sealed = self.cipher.seal(self.number, true, &last)?;
        self.put(&sealed)?;
        self.out.flush()?;
        Ok((self.out, self.bytes, self.hash.finalize().into()))
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        // The last chunk is known only when nothing follows.
        while self.pending.len() > CHUNK {
            let rest = self.pending.split_off(CHUNK);
            let sealed = self.cipher.seal(self.number, false, &self.pending)?;
            self.put(&sealed)?;
            self.pending = rest;
            self.number += 1;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A sealed file, open for reading anywhere.
pub struct Sealed {
    file: File,
    cipher: Cipher,
    key: KeyId,
    chunks: u64,
    length: u64,
    at_hand: Option<(u64, Vec<u8>)>,
}

impl Sealed {
    /// `name` is what it was sealed under. That the file ends where it should is checked here.
    pub fn open(path: &Path, name: &str, keys: &Keyring) -> Result<Sealed, SealError> {
        let file = File::open(path)?;
        let body = file.metadata()?.len().checked_sub(HEADER as u64).ok_or(SealError::NotSealed)?;
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0)?;
        let (Some(magic), Some(id)) = (header.first_chunk::<8>(), header.get(8..).and_then(|rest| rest.first_chunk::<8>()))
        else {
            return Err(SealError::NotSealed);
        };
        if magic != MAGIC {
            return Err(SealError::NotSealed);
        }
        let key = keys.get(KeyId(*id)).ok_or(SealError::KeyMissing(KeyId(*id)))?;
        let chunks = body.div_ceil((CHUNK + TAG) as u64);
        let length = body.checked_sub(chunks * TAG as u64).filter(|_| chunks > 0).ok_or(SealError::Damaged(0))?;
        let cipher = Cipher::new(key, &header, name);
        let mut sealed = Sealed { file, cipher, key: KeyId(*id), chunks, length, at_hand: None };
        sealed.chunk(chunks.saturating_sub(1))?;
        Ok(sealed)
    }

    /// Bytes within.
    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn key(&self) -> KeyId {
        self.key
    }

    /// Bytes from `offset` on, fewer only at the end. Opens the chunks they lie in and no other.
    pub fn read_at(&mut self, offset: u64, length: usize) -> Result<Vec<u8>, SealError> {
        let end = offset.saturating_add(length as u64).min(self.length);
        let mut found = Vec::with_capacity(end.saturating_sub(offset) as usize);
        let mut at = offset;
        while at < end {
            let (number, within) = (at / CHUNK as u64, (at % CHUNK as u64) as usize);
            let chunk = self.chunk(number)?;
            let part = chunk.iter().skip(within).take((end - at) as usize);
            found.extend(part);
            at = (number + 1) * CHUNK as u64;
        }
        Ok(found)
    }

    fn chunk(&mut self, number: u64) -> Result<&[u8], SealError> {
        if self.at_hand.as_ref().is_none_or(|(at_hand, _)| *at_hand != number) {
            let last = number + 1 == self.chunks;
            let start = number * CHUNK as u64;
            let length = self.length.saturating_sub(start).min(CHUNK as u64) as usize + TAG;
            let mut sealed = vec![0; length];
            self.file.read_exact_at(&mut sealed, HEADER as u64 + number * (CHUNK + TAG) as u64)?;
            self.at_hand = Some((number, self.cipher.open(number, last, &sealed)?));
        }
        Ok(self.at_hand.as_ref().map(|(_, chunk)| chunk.as_slice()).unwrap_or_default())
    }
}
