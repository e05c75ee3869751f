//! `dozvon simulate`: a trace of calls through a roster of agents by one policy, in virtual time.

use anyhow::Context;
use dozvon::simulate::{Roster, Router, Trace, figures, rows, simulate as run};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(clap::Args)]
pub struct SimulateArguments {
    /// Calls as CSV (`t_s,number,class,service_s,patience_s`), also gzipped.
    #[arg(long)]
    trace: PathBuf,
    /// Agents as CSV (`agent,from_s,to_s,skills`).
    #[arg(long)]
    roster: PathBuf,
    /// `default` is the rule of the engine as installed; others for comparison.
    #[arg(long, default_value = "default")]
    policy: Router,
    /// Where the figures go, as JSON.
    #[arg(long)]
    json: PathBuf,
    /// Where the end of each call goes, as CSV.
    #[arg(long)]
    calls: Option<PathBuf>,
    /// How long an agent's phone rings before the answer.
    #[arg(long, default_value_t = 0)]
    ring_s: u32,
}

pub fn simulate(arguments: SimulateArguments) -> anyhow::Result<()> {
    let SimulateArguments { trace, roster, policy, json, calls, ring_s } = arguments;
    let trace = Trace::parse(&text_of(&trace)?).with_context(|| trace.display().to_string())?;
    let roster = Roster::parse(&text_of(&roster)?).with_context(|| roster.display().to_string())?;
    let ends = run(&trace, &roster, policy, Duration::from_secs(u64::from(ring_s)));
    let figures = serde_json::to_string_pretty(&figures(policy.name(), &trace, &ends))? + "\n";
    std::fs::write(&json, figures).with_context(|| json.display().to_string())?;
    if let Some(calls) = calls {
        std::fs::write(&calls, rows(&roster, &ends)).with_context(|| calls.display().to_string())?;
    }
    Ok(())
}

/// What begins like gzip is unpacked, whatever its name.
fn text_of(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_string(&mut text)
    } else {
        bytes.as_slice().read_to_string(&mut text)
    }
    .with_context(|| format!("{} is no text", path.display()))?;
    Ok(text)
}
