//! SIPp as a phone: one scenario of `tests/sipp`, one call or several, judged by its exit code.

use crate::engine::Engine;
use crate::tools::program;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

/// A scenario's longest wall time for one call; then SIPp ends by itself and counts as failed.
const TIMEOUT_S: u64 = 20;

pub struct Sipp {
    name: &'static str,
    folder: PathBuf,
    child: Child,
    timeout_s: u64,
}

impl Sipp {
    /// Plays `tests/sipp/{name}.xml` at this host; `keys` are what the scenario calls `[key]`.
    pub fn play(engine: &Engine, name: &'static str, host: u8, keys: &[(&str, &str)]) -> Self {
        Self::play_calls(engine, name, host, keys, 1)
    }

    /// As [`Sipp::play`], so many calls; each has a few seconds more.
    pub fn play_calls(engine: &Engine, name: &'static str, host: u8, keys: &[(&str, &str)], calls: u64) -> Self {
        let timeout_s = TIMEOUT_S + 3 * (calls - 1);
        let folder = engine.folder().join(format!("sipp-{host}"));
        fs::create_dir(&folder).unwrap();
        let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sipp").join(format!("{name}.xml"));
        let output = File::create(folder.join("screen")).unwrap();
        let mut command = program("sipp");
        command.current_dir(&folder).arg(engine.net.engine().to_string()).arg("-sf").arg(scenario);
        command.args([
            "-i",
            &engine.net.ip(host).to_string(),
            "-mi",
            &engine.net.ip(host).to_string(),
            "-p",
            "5060",
            "-m",
            &calls.to_string(),
        ]);
        command.args(["-nostdin", "-timeout_error", "-timeout", &format!("{timeout_s}s"), "-recv_timeout", "15000"]);
        command.args(["-trace_err", "-error_file", "errors", "-trace_msg", "-message_file", "messages"]);
        for (key, value) in keys {
            command.args(["-key", key, value]);
        }
        let child = command.stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
        Self { name, folder, child, timeout_s }
    }

    /// The scenario came to its end, and everything in it was as it demands.
    pub async fn succeeds(mut self, engine: &Engine) -> String {
        let what = format!("SIPp to end {}", self.name);
        let status =
            engine.wait_for(&what, Duration::from_secs(self.timeout_s + 5), async || self.child.try_wait().unwrap()).await;
        let read = |file: &str| fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        let screen = read("screen");
        assert!(status.success(), "SIPp {}: {status}\n{}\n{}\n{}", self.name, read("errors"), read("messages"), screen);
        read("messages")
    }
}

impl Drop for Sipp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
