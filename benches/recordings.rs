//! What a minute of a recorded talk costs after the call: packed to Opus, sealed, read back and compared; and a jump into it.

#[path = "../tests/talk_recorded/mod.rs"]
mod talk_recorded;

use dozvon::ids::RegionId;
use dozvon::recordings::{Form, Keyring, Shelf, pack, sealed_name, wav};
use std::path::Path;
use talk_recorded::talk;

const FILE: &str = "2026-11-25/call.wav";
const REGION: RegionId = RegionId(22);
const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn main() {
    divan::main();
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn a_minute_packed_and_verified(bencher: divan::Bencher) {
    let home = tempfile::tempdir().expect("a temporary directory");
    let (shelf, sound) = (shelf(home.path()), recorded(60.0));
    bencher.with_inputs(|| write(home.path(), &sound)).bench_local_values(|()| pack(&shelf, FILE, REGION).expect("packed"));
    let sealed = std::fs::metadata(home.path().join(sealed_name(FILE))).expect("the sealed file").len();
    println!("a minute: {} bytes of WAV, {sealed} sealed", sound.len());
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn a_jump_into_the_middle_of_ten_minutes(bencher: divan::Bencher) {
    let home = tempfile::tempdir().expect("a temporary directory");
    let shelf = shelf(home.path());
    write(home.path(), &recorded(600.0));
    pack(&shelf, FILE, REGION).expect("packed");
    bencher.bench_local(|| {
        let mut packed = shelf.open(FILE).expect("opened");
        packed.read(Form::Wav, packed.length(Form::Wav) / 2, 1).expect("read")
    });
}

fn shelf(folder: &Path) -> Shelf {
    let mut keys = Keyring::default();
    keys.add(REGION, KEY).expect("a key");
    Shelf::new(folder, keys)
}

fn recorded(seconds: f64) -> Vec<u8> {
    let frames = talk(seconds);
    let sound = frames.iter().flatten().flat_map(|sample| sample.to_le_bytes());
    wav::header(frames.len() as u64).into_iter().chain(sound).collect()
}

fn write(folder: &Path, sound: &[u8]) {
    let path = folder.join(FILE);
    std::fs::create_dir_all(path.parent().expect("a day's folder")).expect("made");
    std::fs::write(path, sound).expect("written");
}
