//! Prompts and music: WAV files read once, encoded to both laws, shared by all legs.

use super::g711;
use crate::ids::PromptId;
use crate::stream::Codec;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// All prompts of a library together, both laws: four hours of speech. Beyond it files are refused, so that a wrong folder cannot
/// eat the memory of the line.
pub const LIBRARY_BYTES_MAX: usize = 256 << 20;
const SAMPLE_RATE: u32 = 8_000;

#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    #[error("cannot read {0}")]
    Unreadable(PathBuf, #[source] std::io::Error),
    #[error("{0} is no WAV file")]
    NoWav(PathBuf),
    #[error("{file} is {found}; wanted 8000 Hz mono, 16-bit PCM or A-law: sox {file} -r 8000 -c 1 -b 16 new.wav")]
    WrongForm { file: PathBuf, found: String },
    #[error("{0} does not fit: all prompts together are larger than {LIBRARY_BYTES_MAX} bytes")]
    TooMuch(PathBuf),
}

/// One recorded text, ready to send in either law.
#[derive(Debug)]
pub struct Prompt {
    alaw: Box<[u8]>,
    ulaw: Box<[u8]>,
}

impl Prompt {
    pub fn audio(&self, codec: Codec) -> &[u8] {
        match codec {
            Codec::Pcma => &self.alaw,
            Codec::Pcmu => &self.ulaw,
        }
    }
}

#[derive(Debug, Default)]
pub struct Library {
    prompts: BTreeMap<PromptId, Arc<Prompt>>,
    bytes: usize,
}

impl Library {
    /// Reads every `*.wav` of these folders; of two prompts with one name that of the later folder counts. What cannot be used is
    /// told in the second part and left out.
    pub fn load(folders: &[PathBuf]) -> (Library, Vec<PromptError>) {
        let (mut library, mut errors) = (Library::default(), Vec::new());
        for folder in folders {
            match wav_files(folder) {
                Ok(files) => errors.extend(files.into_iter().filter_map(|(id, file)| library.add(id, &file).err())),
                Err(error) => errors.push(error),
            }
        }
        (library, errors)
    }

    pub fn get(&self, id: &PromptId) -> Option<Arc<Prompt>> {
        self.prompts.get(id).cloned()
    }

    fn add(&mut self, id: PromptId, file: &Path) -> Result<(), PromptError> {
        let bytes = std::fs::read(file).map_err(|error| PromptError::Unreadable(file.into(), error))?;
        let prompt = read_wav(file, &bytes)?;
        let size = prompt.alaw.len() + prompt.ulaw.len();
        if self.bytes + size > LIBRARY_BYTES_MAX {
            return Err(PromptError::TooMuch(file.into()));
        }
        self.bytes += size;
        self.prompts.insert(id, Arc::new(prompt));
        Ok(())
    }
}

/// Prompts being played to one leg, back to back, without a gap between them.
#[derive(Debug)]
pub struct Playlist {
    prompts: Vec<Arc<Prompt>>,
    repeat: bool,
    prompt: usize,
    offset: usize,
}

impl Playlist {
    pub fn new(prompts: Vec<Arc<Prompt>>, repeat: bool) -> Self {
        // What is silent for ever must not be sought for ever.
        let repeat = repeat && prompts.iter().any(|prompt| !prompt.alaw.is_empty());
        Self { prompts, repeat, prompt: 0, offset: 0 }
    }

    /// Fills `frame` with what comes next, the rest of the last one with silence. False if all has been played.
    pub fn fill(&mut self, codec: Codec, frame: &mut [u8]) -> bool {
        let mut filled = 0;
        while let Some(room) = frame.get_mut(filled..).filter(|room| !room.is_empty()) {
            let Some(prompt) = self.prompts.get(self.prompt) else {
                if self.repeat {
                    self.prompt = 0;
                    continue;
                }
                room.fill(g711::silence(codec));
                break;
            };
            let rest = prompt.audio(codec).get(self.offset..).unwrap_or_default();
            let taken = rest.len().min(room.len());
            for (to, from) in room.iter_mut().zip(rest) {
                *to = *from;
            }
            filled += taken;
            self.offset += taken;
            if taken == rest.len() {
                (self.prompt, self.offset) = (self.prompt + 1, 0);
            }
        }
        filled > 0
    }
}

fn wav_files(folder: &Path) -> Result<Vec<(PromptId, PathBuf)>, PromptError> {
    let unreadable = |error| PromptError::Unreadable(folder.into(), error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("wav"))
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
        {
            files.push((PromptId::from(name), path.clone()));
        }
    }
    files.sort();
    Ok(files)
}

/// Format tags of RIFF.
const PCM: u16 = 1;
const ALAW: u16 = 6;
const EXTENSIBLE: u16 = 0xFFFE;

fn read_wav(file: &Path, bytes: &[u8]) -> Result<Prompt, PromptError> {
    let no_wav = || PromptError::NoWav(file.into());
    let chunk = |name| riff_chunk(bytes, name).ok_or_else(no_wav);
    let format = chunk(b"fmt ")?;
    let audio = chunk(b"data")?;
    let word =
        |at: usize| format.get(at..at + 2).and_then(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?))).ok_or_else(no_wav);
    let rate = u32::from(word(4)?) | u32::from(word(6)?) << 16;
    let (channels, bits) = (word(2)?, word(14)?);
    // An extensible header carries the real tag as the first word of a GUID at byte 24.
    let tag = if word(0)? == EXTENSIBLE { word(24)? } else { word(0)? };
    match (tag, channels, rate, bits) {
        (PCM, 1, SAMPLE_RATE, 16) => {
            let samples = || audio.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair));
            let law = |codec| samples().map(|sample| g711::encode(codec, sample)).collect();
            Ok(Prompt { alaw: law(Codec::Pcma), ulaw: law(Codec::Pcmu) })
        }
        (ALAW, 1, SAMPLE_RATE, 8) => {
            let mut ulaw: Box<[u8]> = audio.into();
            g711::transcode(&mut ulaw, Codec::Pcma, Codec::Pcmu);
            Ok(Prompt { alaw: audio.into(), ulaw })
        }
        _ => {
            let found = format!("{rate} Hz, {channels} channels, {bits} bits, format {tag}");
            Err(PromptError::WrongForm { file: file.into(), found })
        }
    }
}

/// The body of the first chunk of this name; a length beyond the end of the file is cut to it, as streaming tools leave it open.
fn riff_chunk<'a>(bytes: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    if bytes.get(..4)? != b"RIFF" || bytes.get(8..12)? != b"WAVE" {
        return None;
    }
    let mut rest = bytes.get(12..)?;
    loop {
        let (head, body) = rest.split_at_checked(8)?;
        let length = usize::try_from(u32::from_le_bytes(head.get(4..8)?.try_into().ok()?)).ok()?;
        if head.get(..4)? == name {
            return Some(body.get(..length).unwrap_or(body));
        }
        // Chunks begin at even places.
        rest = body.get(length.checked_add(length % 2)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav(tag: u16, rate: u32, bits: u16, audio: &[u8]) -> Vec<u8> {
        let mut bytes = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0".to_vec();
        bytes.extend(tag.to_le_bytes());
        bytes.extend(1u16.to_le_bytes());
        bytes.extend(rate.to_le_bytes());
        bytes.extend([0; 6]);
        bytes.extend(bits.to_le_bytes());
        bytes.extend(b"data");
        bytes.extend((audio.len() as u32).to_le_bytes());
        bytes.extend(audio);
        bytes
    }
    fn prompt(alaw: &[u8]) -> Arc<Prompt> {
        Arc::new(Prompt { alaw: alaw.into(), ulaw: alaw.into() })
    }

    #[test]
    fn pcm_and_alaw_files_become_the_same_prompt() {
        let pcm = read_wav(Path::new("a.wav"), &wav(1, 8000, 16, &[0xE8, 0x03, 0x00, 0x00])).unwrap();
        let alaw = read_wav(Path::new("b.wav"), &wav(6, 8000, 8, &[0xFA, 0xD5])).unwrap();
        assert_eq!(pcm.alaw, alaw.alaw);
        assert_eq!(pcm.audio(Codec::Pcmu)[0], 0xCE);
        assert_eq!(alaw.audio(Codec::Pcma), [0xFA, 0xD5]);
    }

    #[test]
    fn another_rate_is_refused_with_the_remedy() {
        let error = read_wav(Path::new("a.wav"), &wav(1, 44100, 16, &[0, 0])).unwrap_err().to_string();
        assert!(error.contains("a.wav is 44100 Hz") && error.contains("sox"), "{error}");
        assert!(matches!(read_wav(Path::new("a.wav"), b"RIFFxxxxWAVEfmt \xFF\xFF\xFF\xFF"), Err(PromptError::NoWav(_))));
    }

    #[test]
    fn prompts_follow_each_other_inside_a_frame() {
        let mut list = Playlist::new(vec![prompt(&[1, 2, 3]), prompt(&[]), prompt(&[4, 5, 6])], false);
        let mut frame = [0; 4];
        assert!(list.fill(Codec::Pcma, &mut frame));
        assert_eq!(frame, [1, 2, 3, 4]);
        assert!(list.fill(Codec::Pcma, &mut frame));
        assert_eq!(frame, [5, 6, 0xD5, 0xD5]);
        assert!(!list.fill(Codec::Pcma, &mut frame));
    }

    #[test]
    fn music_starts_over_without_a_gap_and_empty_music_ends() {
        let mut list = Playlist::new(vec![prompt(&[1, 2, 3])], true);
        let mut frame = [0; 4];
        assert!(list.fill(Codec::Pcma, &mut frame) && frame == [1, 2, 3, 1]);
        assert!(list.fill(Codec::Pcma, &mut frame) && frame == [2, 3, 1, 2]);
        assert!(!Playlist::new(vec![prompt(&[])], true).fill(Codec::Pcma, &mut frame));
    }

    #[test]
    fn later_folder_replaces_a_prompt_and_what_is_no_wav_is_told() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let paths: Vec<PathBuf> = folders.iter().map(|folder| folder.path().into()).collect();
        std::fs::write(paths[0].join("hello.wav"), wav(6, 8000, 8, &[1])).unwrap();
        std::fs::write(paths[0].join("broken.wav"), b"no").unwrap();
        std::fs::write(paths[1].join("hello.wav"), wav(6, 8000, 8, &[2])).unwrap();
        let (library, errors) = Library::load(&paths);
        assert_eq!(library.get(&"hello".into()).unwrap().audio(Codec::Pcma), [2]);
        assert_eq!(errors.len(), 1);
    }
}
