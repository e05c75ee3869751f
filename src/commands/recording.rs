//! `dozvon recording`: opens and verifies what is kept; and the keeper that `serve` runs.

use anyhow::{Context, bail};
use dozvon::clock::{Clock, Moment};
use dozvon::config::Config;
use dozvon::ids::CallId;
use dozvon::recordings::archive::Archive;
use dozvon::recordings::keeper::Keeper;
use dozvon::recordings::{Form, Keyring, Shelf, export as write_out, hear_all, sha256_of};
use dozvon::store::{RecordingRow, Store};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// Recordings listed at once.
const PAGE: u32 = 500;
/// Within the data folder: exports by the command line.
const AUDIT_FILE: &str = "recordings-exported.log";

/// Where recordings lie, with the regions' keys: made now, if there are none.
pub fn shelf(config: &Config) -> anyhow::Result<Shelf> {
    let keys = Keyring::open(&config.data, &config.recording, config.regions.iter().map(|region| region.code));
    Ok(Shelf::new(config.recordings(), keys.map_err(anyhow::Error::msg)?))
}

pub fn keeper(config: &Config, shelf: Shelf, store: Arc<dyn Store>) -> Keeper {
    let of = config.clone();
    Keeper {
        shelf,
        store,
        pack: config.recording.pack,
        archive: config.archive.as_ref().map(Archive::new),
        keep: Box::new(move |queue| of.keep_recordings(queue)),
    }
}

pub fn export(config: &Path, call: &str, part: usize, output: &Path) -> anyhow::Result<()> {
    let config = Config::load(config).map_err(|errors| anyhow::anyhow!("\n{errors}"))?;
    let row = rows(&config, Some(call))?.into_iter().nth(part).with_context(|| format!("call {call} has no such recording"))?;
    let shelf = shelf(&config)?;
    let form = match output.extension() {
        Some(end) if end == "ogg" || end == "opus" => Form::Ogg,
        Some(_) | None => Form::Wav,
    };
    // Nobody exports unwritten.
    let audit = config.data.join(AUDIT_FILE);
    let mut log =
        OpenOptions::new().append(true).create(true).mode(0o600).open(&audit).with_context(|| audit.display().to_string())?;
    let now = jiff::Timestamp::from_microsecond(i64::try_from(Clock::start(Moment::ZERO).now().0)?)?;
    let who = ["SUDO_USER", "USER"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_else(|| "?".into());
    writeln!(log, "{now} {who} exported part {part} of call {call}")?;

    let to = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(output);
    let mut to = BufWriter::new(to.with_context(|| format!("{} cannot be written", output.display()))?);
    if row.sealed.is_none() && form == Form::Wav {
        let path = shelf.wav(&row.file).context("the recording's name leads out of its folder")?;
        std::io::copy(&mut File::open(&path).with_context(|| path.display().to_string())?, &mut to)?;
    } else {
        write_out(&mut shelf.open(&row.file)?, form, &mut to)?;
    }
    to.flush()?;
    println!("{}", output.display());
    Ok(())
}

pub fn verify(config: &Path, call: Option<&str>) -> anyhow::Result<()> {
    let config = Config::load(config).map_err(|errors| anyhow::anyhow!("\n{errors}"))?;
    let shelf = shelf(&config)?;
    let rows = rows(&config, call)?;
    let kept: Vec<_> = rows.iter().filter(|row| row.sealed.is_some() && row.here && row.deleted.is_none()).collect();
    let bad = kept.iter().filter(|row| match verify_one(&shelf, row) {
        Ok(()) => false,
        Err(error) => {
            println!("{}: {error:#}", row.file);
            true
        }
    });
    let bad = bad.count();
    println!("{} of {} sealed recordings are in order, {} are not sealed", kept.len() - bad, kept.len(), rows.len() - kept.len());
    if bad > 0 { bail!("{bad} recordings fail") } else { Ok(()) }
}

fn verify_one(shelf: &Shelf, row: &RecordingRow) -> anyhow::Result<()> {
    let sealed = row.sealed.as_ref().context("it is not sealed")?;
    let path = shelf.sealed(&row.file).context("its name leads out of the folder")?;
    let found = sha256_of(&path).context("its file cannot be read")?;
    if found != sealed.sha256 {
        bail!("its SHA-256 is {found}, the ledger has {}", sealed.sha256);
    }
    let mut packed = shelf.open(&row.file)?;
    hear_all(&mut packed, |_, _| Ok(()))?;
    if packed.ms() != sealed.ms {
        bail!("it lasts {} ms, the ledger has {}", packed.ms(), sealed.ms);
    }
    Ok(())
}

fn rows(config: &Config, call: Option<&str>) -> anyhow::Result<Vec<RecordingRow>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = super::store::open(config)?;
        if let Some(call) = call {
            let id: CallId = call.parse().with_context(|| format!("`{call}` is no id of a call"))?;
            return Ok(store.recordings(id).await?);
        }
        let mut rows: Vec<RecordingRow> = Vec::new();
        loop {
            let after = rows.last().map(|row| row.file.clone()).unwrap_or_default();
            let more = store.recordings_kept(&after, Moment(i64::MAX as u64), PAGE).await?;
            if more.is_empty() {
                return Ok(rows);
            }
            rows.extend(more);
        }
    })
}
