//! The regions' keys. One file a region, a key a line: the first seals what is new, all of them open what is old.

use crate::config::Recording;
use crate::ids::RegionId;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Shorter ones can be guessed; a key that we make has 64 hexadecimal digits.
const KEY_CHARACTERS_MIN: usize = 32;

/// Tells which key a file wants, and nothing of the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    fn new(text: &str) -> Result<Key, String> {
        if text.len() < KEY_CHARACTERS_MIN {
            return Err(format!(
                "a key of recordings has at least {KEY_CHARACTERS_MIN} characters; make one: openssl rand -hex 32"
            ));
        }
        Ok(Key(derive(b"dozvon recordings", text.as_bytes())))
    }

    pub fn id(&self) -> KeyId {
        let mut id = [0; 8];
        for (byte, of) in id.iter_mut().zip(derive(&self.0, b"key id")) {
            *byte = of;
        }
        KeyId(id)
    }

    /// The key of one file: none seals two files, so a chunk's number is nonce enough.
    pub fn of_file(&self, file: &[u8]) -> [u8; 32] {
        derive(&self.0, file)
    }
}

fn derive(key: &[u8], from: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(from);
    mac.finalize().into_bytes().into()
}

#[derive(Clone, Default)]
pub struct Keyring {
    current: BTreeMap<RegionId, Key>,
    all: BTreeMap<KeyId, Key>,
}

impl Keyring {
    pub const FILE: &str = "recording-key-";

    /// Reads each region's keys; a region without any gets one, unless the configuration says where they come from.
    pub fn open(data: &Path, recording: &Recording, regions: impl Iterator<Item = RegionId>) -> Result<Keyring, String> {
        let mut ring = Keyring::default();
        for region in regions {
            let text = match &recording.key_env {
                Some(prefix) => {
                    let variable = format!("{prefix}_{region}");
                    std::env::var(&variable).map_err(|_| format!("the environment variable `{variable}` is not set"))?
                }
                None => {
                    let file = format!("{}{region}", Self::FILE);
                    let path = recording.key_dir.as_deref().unwrap_or(data).join(file);
                    let said = |cause| format!("{} cannot be read or made: {cause}", path.display());
                    crate::config::read_or_make(&path).map_err(said)?;
                    std::fs::read_to_string(&path).map_err(said)?
                }
            };
            ring.add(region, &text)?;
        }
        Ok(ring)
    }

    /// Keys of a region, a line each, newest first.
    pub fn add(&mut self, region: RegionId, text: &str) -> Result<(), String> {
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let key = Key::new(line).map_err(|why| format!("region {region}: {why}"))?;
            self.all.insert(key.id(), key.clone());
            self.current.entry(region).or_insert(key);
        }
        Ok(())
    }

    pub fn current(&self, region: RegionId) -> Option<&Key> {
        self.current.get(&region)
    }

    pub fn get(&self, id: KeyId) -> Option<&Key> {
        self.all.get(&id)
    }
}
