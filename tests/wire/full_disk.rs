//! The recordings' disk is full: the talk goes on, and what was recorded until then can be heard.

use crate::ear::{RATE, read_wav, seconds_of_tone};
use crate::engine::SOON;
use crate::line::{ANSWERS, CITIZEN, Line, Plan, rings, they_talk};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Three seconds of two channels.
const SIZE: u64 = 96 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c46_a_full_disk_of_recordings_costs_nobody_the_call_and_the_file_is_valid() {
    let mut line = Line::open(Plan { recording: true, ..Plan::default() }).await;
    line.kill9();
    line.errors_expected = true;
    let Some(disk) = SmallDisk::mount(&line.folder().join("data/recordings")) else { return };
    line.restart().await;
    let anna = line.phone_that(20, ANSWERS);
    let (citizen, talk) = line.talks_with(&anna).await;
    line.wait_for("the disk to be full", SOON, async || {
        String::from_utf8_lossy(&line.log()).contains("No space left on device").then_some(())
    })
    .await;
    they_talk(&citizen, &talk).await;
    citizen.hang_up();
    line.ended_as(&[("served", 1)]).await;
    let channels = read_wav(&wav_under(&disk.0).expect("a recording"));
    assert!(channels[0].len() > RATE, "more than a second");
    assert!(seconds_of_tone(&channels[0], CITIZEN) > 0.5);
    // The next call is served as well.
    let citizen = line.call_queue("+73852000002").await;
    they_talk(&citizen, &rings(&anna).await).await;
    citizen.hang_up();
    line.ended_as(&[("served", 2)]).await;
    line.kill9();
}

/// A tmpfs; `None` (and a word about it) where nobody may mount.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={SIZE}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(at.to_owned()));
        }
        eprintln!("no small disk can be mounted here: not tested");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn wav_under(folder: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.find_map(|path| {
        if path.is_dir() { wav_under(&path) } else { path.extension().is_some_and(|it| it == "wav").then_some(path) }
    })
}
