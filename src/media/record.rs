//! Stereo recordings: media threads hand over what was said and heard, one writer thread lays it out in time and on the disk.
//!
//! The disk never holds up a call: what the writer cannot take in time is a gap. The WAV's header is renewed with every write (twice
//! a second), so that the file is whole up to the last second, whatever happens to the process.

use super::door::MediaEvent;
use super::g711;
use super::rtp::ticks_between;
use crate::clock::Moment;
use crate::ids::LegId;
use crate::stream::Codec;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// How much a leg gathers before it hands it over.
const CHUNK: Duration = Duration::from_millis(500);
/// Chunks on their way to the writer, about 32 MB: the disk is a minute behind with 35 recordings. Beyond it they are dropped.
const CHUNKS_WAITING_MAX: usize = 4_096;
/// How far the place a packet's timestamp claims may lie from its arrival (100 ms, the usual jitter); further, the arrival counts.
const SLACK_TICKS: u32 = 800;
/// A day of PCM would overflow no 32-bit size; nobody talks so long.
const FRAMES_MAX: u32 = 24 * 3600 * 8_000;
const WAV_HEADER: usize = 44;
const FRAME_BYTES: u32 = 4;

/// Left and right of the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Side {
    FarEndSays,
    FarEndHears,
}

/// The way to the writer thread.
#[derive(Clone)]
pub struct Recorder {
    jobs: mpsc::Sender<Job>,
    /// Chunks on their way.
    waiting: Arc<AtomicUsize>,
    begun: Arc<AtomicU64>,
}

enum Job {
    Start {
        recording: u64,
        leg: LegId,
        file: String,
        path: PathBuf,
    },
    /// Bring a file that nobody writes to a valid end.
    Finish {
        leg: LegId,
        file: String,
        path: PathBuf,
    },
    Chunk {
        recording: u64,
        chunk: Chunk,
    },
    Stop {
        recording: u64,
        chunk: Chunk,
    },
}

/// What came in half a second. Times are ticks since the recording began.
#[derive(Default)]
struct Chunk {
    entries: Vec<Entry>,
    payloads: Vec<u8>,
    until: u32,
}

struct Entry {
    at: u32,
    what: What,
}

enum What {
    Audio {
        side: Side,
        codec: Codec,
        timestamp: u32,
        len: usize,
    },
    /// A key was pressed instead of speech: no gap.
    Key,
    /// After a pause or hold: what lies between is no gap.
    Anew,
}

impl Recorder {
    /// Starts the writer; it ends when all its `Recorder`s and `Recording`s are gone.
    pub fn start(tell: impl Fn(MediaEvent) + Send + 'static) -> io::Result<(Recorder, std::thread::JoinHandle<()>)> {
        let (jobs, inbox) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let still = waiting.clone();
        let thread = std::thread::Builder::new().name("recorder".into()).spawn(move || write_all(inbox, &still, tell))?;
        Ok((Recorder { jobs, waiting, begun: Arc::default() }, thread))
    }

    /// `file` is how the door calls it, `path` where it lies.
    pub fn record(&self, now: Moment, leg: LegId, file: String, path: PathBuf) -> Recording {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        // The writer outlives every recorder; if it is gone the process is going down.
        let _ = self.jobs.send(Job::Start { recording: number, leg, file: file.clone(), path });
        Recording { recorder: self.clone(), number, file, began: now, chunk: Chunk::default(), chunk_began: now, paused: false }
    }

    /// For a file whose recording ended with the process that wrote it.
    pub fn finish(&self, leg: LegId, file: String, path: PathBuf) {
        let _ = self.jobs.send(Job::Finish { leg, file, path });
    }
}

/// The media thread's side of one recording.
pub struct Recording {
    recorder: Recorder,
    number: u64,
    /// As the door calls it.
    file: String,
    began: Moment,
    chunk: Chunk,
    chunk_began: Moment,
    paused: bool,
}

impl Recording {
    pub fn file(&self) -> &str {
        &self.file
    }

    pub fn is_paused(&self) -> bool {
        self.paused
    }

    pub fn audio(&mut self, now: Moment, side: Side, codec: Codec, timestamp: u32, payload: &[u8]) {
        if self.paused {
            return;
        }
        self.chunk.payloads.extend_from_slice(payload);
        self.note(now, What::Audio { side, codec, timestamp, len: payload.len() });
    }

    pub fn key(&mut self, now: Moment) {
        self.note(now, What::Key);
    }

    pub fn begin_anew(&mut self, now: Moment) {
        self.note(now, What::Anew);
    }

    /// While paused the file gets silence.
    pub fn pause(&mut self, now: Moment, paused: bool) {
        if self.paused && !paused {
            self.begin_anew(now);
        }
        self.paused = paused;
    }

    /// Hands over what is old enough, also if nothing more comes.
    pub fn flush_if_due(&mut self, now: Moment) {
        if now.since(self.chunk_began) < CHUNK {
            return;
        }
        let chunk = self.take_chunk(now);
        if self.recorder.waiting.fetch_add(1, Ordering::Relaxed) >= CHUNKS_WAITING_MAX {
            self.recorder.waiting.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let _ = self.recorder.jobs.send(Job::Chunk { recording: self.number, chunk });
    }

    pub fn stop(mut self, now: Moment) {
        let chunk = self.take_chunk(now);
        let _ = self.recorder.jobs.send(Job::Stop { recording: self.number, chunk });
    }

    fn note(&mut self, now: Moment, what: What) {
        self.chunk.entries.push(Entry { at: ticks_between(self.began, now), what });
        self.flush_if_due(now);
    }

    fn take_chunk(&mut self, now: Moment) -> Chunk {
        let (entries, bytes) = (self.chunk.entries.len(), self.chunk.payloads.len());
        let fresh = Chunk { entries: Vec::with_capacity(entries), payloads: Vec::with_capacity(bytes), until: 0 };
        self.chunk.until = ticks_between(self.began, now);
        self.chunk_began = now;
        std::mem::replace(&mut self.chunk, fresh)
    }
}

fn write_all(inbox: mpsc::Receiver<Job>, waiting: &AtomicUsize, tell: impl Fn(MediaEvent)) {
    let mut tracks: BTreeMap<u64, Track> = BTreeMap::new();
    for job in inbox {
        match job {
            Job::Finish { leg, file, path } => match finish(&path) {
                Ok(frames) => tell(MediaEvent::Recorded { leg, file, ms: u64::from(frames) / 8, gaps: 1 }),
                Err(error) => tell(failed(leg, &file, &error)),
            },
            Job::Start { recording, leg, file, path } => match Track::open(&path, leg, &file) {
                Ok(track) => {
                    tracks.insert(recording, track);
                }
                Err(error) => tell(failed(leg, &file, &error)),
            },
            Job::Chunk { recording, chunk } => {
                waiting.fetch_sub(1, Ordering::Relaxed);
                let Some(track) = tracks.get_mut(&recording) else { continue };
                if let Err(error) = track.take(&chunk, chunk.until.saturating_sub(SLACK_TICKS)) {
                    tell(failed(track.leg, &track.file, &error));
                    tracks.remove(&recording);
                }
            }
            Job::Stop { recording, chunk } => {
                let Some(mut track) = tracks.remove(&recording) else { continue };
                match track.take(&chunk, chunk.until.max(track.end())) {
                    Ok(()) => tell(track.recorded()),
                    Err(error) => tell(failed(track.leg, &track.file, &error)),
                }
            }
        }
    }
    // A shutdown without Stop: what was handed over is on the disk already.
}

fn failed(leg: LegId, file: &str, error: &io::Error) -> MediaEvent {
    tracing::warn!(%leg, file, %error, "recording failed");
    MediaEvent::RecordFailed { leg, file: file.into(), why: error.to_string() }
}

/// Gives a file that was cut off a header that fits; the answer is its frames. What the writer had not written yet is its gap.
fn finish(path: &Path) -> io::Result<u32> {
    let wav = File::options().read(true).write(true).open(path)?;
    let frames = frames_of(&wav)?;
    wav.set_len(WAV_HEADER as u64 + u64::from(frames) * u64::from(FRAME_BYTES))?;
    wav.write_all_at(&wav_header(frames), 0)?;
    Ok(frames)
}

/// How many whole frames lie in a recording of ours, whatever its header says of its length.
fn frames_of(wav: &File) -> io::Result<u32> {
    let mut header = [0; WAV_HEADER];
    wav.read_exact_at(&mut header, 0)?;
    let ours = wav_header(0);
    // Between the two sizes stand the form and the format.
    if header.get(..4) != ours.get(..4) || header.get(8..40) != ours.get(8..40) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is there already and is no recording of ours"));
    }
    let bytes = wav.metadata()?.len().saturating_sub(WAV_HEADER as u64);
    u32::try_from(bytes / u64::from(FRAME_BYTES)).map_err(|_| too_long())
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "the recording is longer than a day")
}

/// One file being written.
struct Track {
    leg: LegId,
    file: String,
    wav: File,
    /// The frame at which this recording began: not 0 if the file goes on with what another life of media wrote.
    first: u32,
    /// Frames in the file; `window` goes on from there.
    written: u32,
    window: Vec<[i16; 2]>,
    left: Lane,
    right: Lane,
    gaps: u32,
    bytes: Vec<u8>,
}

/// One side's place in time.
#[derive(Default)]
struct Lane {
    /// A timestamp and the frame where it lies.
    anchor: Option<(u32, u32)>,
    /// The frame after the last that was said; `None` if nothing was said since the beginning or a pause.
    end: Option<u32>,
}

impl Track {
    /// A file that is there already goes on, in time with the call.
    fn open(path: &Path, leg: LegId, file: &str) -> io::Result<Track> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let wav = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let goes_on = wav.metadata()?.len() >= WAV_HEADER as u64;
        let first = if goes_on { frames_of(&wav)?.saturating_add(frames_missed(&wav)?) } else { 0 };
        if first > FRAMES_MAX {
            return Err(too_long());
        }
        if goes_on {
            // The hole that this leaves reads as silence.
            wav.set_len(WAV_HEADER as u64 + u64::from(first) * u64::from(FRAME_BYTES))?;
        }
        wav.write_all_at(&wav_header(first), 0)?;
        Ok(Track {
            leg,
            file: file.into(),
            wav,
            first,
            written: first,
            window: Vec::new(),
            left: Lane::default(),
            right: Lane::default(),
            gaps: u32::from(goes_on),
            bytes: Vec::new(),
        })
    }

    /// Lays out a chunk and writes the frames up to `settled` (ticks of the chunk), which nothing can change any more.
    fn take(&mut self, chunk: &Chunk, settled: u32) -> io::Result<()> {
        let mut payloads = chunk.payloads.as_slice();
        for entry in &chunk.entries {
            match entry.what {
                What::Audio { side, codec, timestamp, len } => {
                    let Some((payload, rest)) = payloads.split_at_checked(len) else { break };
                    payloads = rest;
                    self.lay(side, codec, self.first.saturating_add(entry.at), timestamp, payload);
                }
                What::Key => self.left.end = self.left.end.map(|end| end.max(self.first.saturating_add(entry.at))),
                What::Anew => (self.left, self.right) = (Lane::default(), Lane::default()),
            }
        }
        self.write_until(self.first.saturating_add(settled))
    }

    fn lay(&mut self, side: Side, codec: Codec, at: u32, timestamp: u32, payload: &[u8]) {
        let (lane, channel) = match side {
            Side::FarEndSays => (&mut self.left, 0),
            Side::FarEndHears => (&mut self.right, 1),
        };
        let start = lane.place(at, timestamp);
        if side == Side::FarEndSays && lane.end.is_some_and(|end| start > end) {
            self.gaps += 1;
        }
        let end = start.saturating_add(payload.len() as u32);
        lane.end = Some(lane.end.map_or(end, |before| before.max(end)));
        // What lies before the window came too late to be written.
        let late = self.written.saturating_sub(start) as usize;
        let first = start.saturating_sub(self.written) as usize;
        let needed = end.saturating_sub(self.written) as usize;
        if self.window.len() < needed {
            self.window.resize(needed, [0, 0]);
        }
        let places = self.window.iter_mut().skip(first);
        for (frame, code) in places.zip(payload.iter().skip(late)) {
            if let Some(sample) = frame.get_mut(channel) {
                *sample = g711::decode(codec, *code);
            }
        }
    }

    fn write_until(&mut self, settled: u32) -> io::Result<()> {
        let count = settled.saturating_sub(self.written);
        if count == 0 {
            return Ok(());
        }
        if settled > FRAMES_MAX {
            return Err(too_long());
        }
        let known = self.window.len().min(count as usize);
        self.bytes.clear();
        self.bytes.extend(self.window.drain(..known).flat_map(|[left, right]| {
            let ([l0, l1], [r0, r1]) = (left.to_le_bytes(), right.to_le_bytes());
            [l0, l1, r0, r1]
        }));
        self.bytes.resize(count as usize * FRAME_BYTES as usize, 0);
        let place = WAV_HEADER as u64 + u64::from(self.written) * u64::from(FRAME_BYTES);
        self.wav.write_all_at(&self.bytes, place)?;
        self.wav.write_all_at(&wav_header(settled), 0)?;
        self.written = settled;
        Ok(())
    }

    /// In ticks of the chunks.
    fn end(&self) -> u32 {
        self.written.saturating_add(self.window.len() as u32).saturating_sub(self.first)
    }

    fn recorded(self) -> MediaEvent {
        MediaEvent::Recorded { leg: self.leg, file: self.file, ms: u64::from(self.written) / 8, gaps: self.gaps }
    }
}

impl Lane {
    /// The frame where a packet belongs: by its timestamp, so that loss and order of arrival do not shift what was said; by its
    /// arrival, if the timestamp strays from the clock.
    fn place(&mut self, at: u32, timestamp: u32) -> u32 {
        let claimed = self.anchor.and_then(|(known, frame)| frame.checked_add_signed(timestamp.wrapping_sub(known) as i32));
        let start = claimed.filter(|start| start.abs_diff(at) <= SLACK_TICKS).unwrap_or(at);
        self.anchor = Some((timestamp, start));
        start
    }
}

/// How long nobody has written to the file, in frames. The file system's clock says when it was written last and when it is written
/// now; what had not settled then is missing too.
fn frames_missed(wav: &File) -> io::Result<u32> {
    let last = wav.metadata()?.modified()?;
    let mut byte = [0];
    wav.read_exact_at(&mut byte, 0)?;
    wav.write_all_at(&byte, 0)?;
    let missed = wav.metadata()?.modified()?.duration_since(last).unwrap_or_default();
    let frames = u32::try_from(missed.as_millis().saturating_mul(8)).map_err(|_| too_long())?;
    Ok(frames.saturating_add(SLACK_TICKS))
}

/// RIFF, PCM, two channels of 16 bits at 8 kHz, with the sizes of that many frames.
fn wav_header(frames: u32) -> [u8; WAV_HEADER] {
    let size = frames.saturating_mul(FRAME_BYTES);
    let mut header = *b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x02\0\x40\x1F\0\0\0\x7D\0\0\x04\0\x10\0data\0\0\0\0";
    header[4..8].copy_from_slice(&size.saturating_add(36).to_le_bytes());
    header[40..44].copy_from_slice(&size.to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet of 20 ms of one loud code that arrives at `at`.
    fn said(side: Side, at: u32, timestamp: u32) -> Entry {
        Entry { at, what: What::Audio { side, codec: Codec::Pcma, timestamp, len: 160 } }
    }

    /// The runs of silence (false) and sound on one channel, in packets of 20 ms, and the gaps counted.
    fn recorded(entries: Vec<Entry>, until: u32, channel: usize) -> (Vec<(bool, usize)>, u32) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("call.wav");
        let mut track = Track::open(&path, LegId(1), "call.wav").unwrap();
        let payloads = vec![0xAA; entries.len() * 160];
        track.take(&Chunk { entries, payloads, until }, until).unwrap();
        let samples: Vec<i16> = hound::WavReader::open(&path).unwrap().into_samples().map(Result::unwrap).collect();
        assert_eq!(samples.len(), until as usize * 2);
        let side: Vec<bool> = samples.iter().skip(channel).step_by(2).map(|sample| *sample != 0).collect();
        (side.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() / 160)).collect(), track.gaps)
    }

    #[test]
    fn lost_packet_leaves_its_hole_in_place() {
        let entries = vec![said(Side::FarEndSays, 160, 7000), said(Side::FarEndSays, 500, 7320)];
        assert_eq!(recorded(entries, 800, 0), (vec![(false, 1), (true, 1), (false, 1), (true, 1), (false, 1)], 1));
    }

    #[test]
    fn jitter_does_not_tear_what_was_said() {
        let entries =
            vec![said(Side::FarEndHears, 0, 7000), said(Side::FarEndHears, 400, 7160), said(Side::FarEndHears, 410, 7320)];
        assert_eq!(recorded(entries, 480, 1), (vec![(true, 3)], 0));
    }

    #[test]
    fn timestamp_that_strays_from_the_clock_is_not_believed() {
        let entries = vec![said(Side::FarEndSays, 0, 7000), said(Side::FarEndSays, 160, 9_000_000)];
        assert_eq!(recorded(entries, 320, 0), (vec![(true, 2)], 0));
    }

    #[test]
    fn file_that_was_cut_off_goes_on_in_time_with_the_call() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("call.wav");
        let chunk = |until| Chunk { entries: vec![said(Side::FarEndSays, 0, 7000)], payloads: vec![0xAA; 160], until };
        let mut track = Track::open(&path, LegId(1), "call.wav").unwrap();
        track.take(&chunk(4_000), 3_200).unwrap();
        // Ten seconds ago, in the middle of a frame.
        track.wav.set_len(track.wav.metadata().unwrap().len() + 3).unwrap();
        let modified = track.wav.metadata().unwrap().modified().unwrap();
        track.wav.set_modified(modified - Duration::from_secs(10)).unwrap();

        let mut track = Track::open(&path, LegId(1), "call.wav").unwrap();
        track.take(&chunk(160), 160).unwrap();

        let MediaEvent::Recorded { ms, gaps: 1, .. } = track.recorded() else { panic!("not one gap") };
        let samples: Vec<i16> = hound::WavReader::open(&path).unwrap().into_samples().map(Result::unwrap).collect();
        assert_eq!(samples.len() as u64 / 2 / 8, ms);
        // 0.4 s settled before, 0.1 s not, then ten seconds.
        let second = samples.iter().step_by(2).skip(160).position(|sample| *sample != 0).unwrap() + 160;
        assert!((84_000..86_000).contains(&second), "the second word lies at {second}");
    }

    #[test]
    fn file_that_nobody_writes_any_more_is_brought_to_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("call.wav");
        assert!(finish(&path).is_err());
        std::fs::write(&path, [wav_header(9).as_slice(), &[1; 4 * 800 + 2]].concat()).unwrap();
        assert_eq!(finish(&path).unwrap(), 800);
        assert_eq!(hound::WavReader::open(&path).unwrap().duration(), 800);
        std::fs::write(&path, [7; 100]).unwrap();
        assert!(finish(&path).is_err(), "a foreign file was taken for a recording");
    }

    #[test]
    fn hold_and_keys_are_no_gaps() {
        let anew = Entry { at: 300, what: What::Anew };
        let key = Entry { at: 640, what: What::Key };
        let mut entries = vec![said(Side::FarEndSays, 0, 7000), anew, said(Side::FarEndSays, 320, 7320), key];
        entries.push(said(Side::FarEndSays, 640, 7640));
        assert_eq!(recorded(entries, 800, 0).1, 0);
    }
}
