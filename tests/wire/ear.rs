//! Ears for samples at 8 kHz, heard by a phone or read from a WAV.

use dozvon::testphone::PhoneCall;
use std::f64::consts::TAU;
use std::path::Path;
use std::time::Duration;

pub const RATE: usize = 8000;
/// A phone that went silent is asked after ten seconds; what follows is heard soon after.
const LONGER: Duration = Duration::from_secs(15);

/// Share of the energy that lies at `hertz`, 0 to 1 (Goertzel); 0 for near silence.
pub fn tone_share(samples: &[i16], hertz: f64) -> f64 {
    let energy: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    if energy < 1e4 * samples.len() as f64 {
        return 0.0;
    }
    let step = TAU * hertz / RATE as f64;
    let sum = |part: fn(f64) -> f64| -> f64 {
        samples.iter().enumerate().map(|(at, sample)| f64::from(*sample) * part(step * at as f64)).sum()
    };
    2.0 * (sum(f64::cos).powi(2) + sum(f64::sin).powi(2)) / (energy * samples.len() as f64)
}

/// Seconds of these samples that are this tone, looked at in pieces of 100 ms.
pub fn seconds_of_tone(samples: &[i16], hertz: f64) -> f64 {
    samples.chunks_exact(RATE / 10).filter(|piece| tone_share(piece, hertz) > 0.7).count() as f64 / 10.0
}

/// Waits until this call hears something for 400 ms that is neither silence nor this tone.
pub async fn hears_music(call: &PhoneCall, instead_of: f64) {
    let music = |samples: &[i16]| {
        let energy: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        energy > 1e4 * samples.len() as f64 && tone_share(samples, instead_of) < 0.1
    };
    hears(call, "music", |samples| samples.len() >= RATE * 2 / 5 && music(&samples[samples.len() - RATE * 2 / 5..])).await;
}

/// Waits until what was heard in the last 5 s fulfils the condition.
pub async fn hears(call: &PhoneCall, what: &str, condition: impl Fn(&[i16]) -> bool) {
    let heard = async {
        let mut beat = tokio::time::interval(Duration::from_millis(20));
        while !condition(&Vec::from(call.heard().samples)) {
            beat.tick().await;
        }
    };
    tokio::time::timeout(LONGER, heard)
        .await
        .unwrap_or_else(|_| panic!("did not hear {what} in {LONGER:?}; the call is {:?}", call.state()));
}

/// Waits until this call heard a prompt (of a long one the beginning), byte for byte as it is in A-law.
pub async fn hears_prompt(call: &PhoneCall, prompt: &str) {
    let wanted = in_alaw(prompt);
    hears(call, prompt, |heard| has(heard, &wanted)).await;
}

/// Whether it is in the last 5 s.
pub fn heard_prompt(call: &PhoneCall, prompt: &str) -> bool {
    has(&Vec::from(call.heard().samples), &in_alaw(prompt))
}

fn has(heard: &[i16], wanted: &[i16]) -> bool {
    heard.windows(wanted.len()).any(|window| window == wanted)
}

fn in_alaw(prompt: &str) -> Vec<i16> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ivr-scripts/prompts").join(format!("{prompt}.wav"));
    read_wav(&path)[0].iter().take(2 * RATE).map(|sample| nearest_alaw(*sample)).collect()
}

/// What a sample is after A-law (ITU-T G.711 table 1a): the middle of its interval.
fn nearest_alaw(sample: i16) -> i16 {
    let magnitude = if sample < 0 { !sample } else { sample };
    // Eight segments of sixteen steps; the first two have the same step.
    let segment = (magnitude >> 8).checked_ilog2().map_or(0, |log| log + 1);
    let step = 16 << segment.saturating_sub(1);
    let middle = magnitude / step * step + step / 2;
    if sample < 0 { -middle } else { middle }
}

/// The channels of a WAV of 16 bits.
pub fn read_wav(path: &Path) -> Vec<Vec<i16>> {
    let mut file = hound::WavReader::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let channels = usize::from(file.spec().channels);
    assert_eq!(file.spec().sample_rate as usize, RATE);
    let samples: Vec<i16> = file.samples().map(|sample| sample.unwrap()).collect();
    (0..channels).map(|channel| samples.iter().skip(channel).step_by(channels).copied().collect()).collect()
}
