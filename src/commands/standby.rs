//! `dozvon standby` and `dozvon promote`.

use anyhow::Context;
use dozvon::config::StoreKind;
use dozvon::upkeep::lease::{self, Candidate};
use dozvon::upkeep::standby::{Copy, Folder, Primary, claim, fence, lock};
use dozvon::upkeep::supervisor::Supervisor;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Where a running standby says who it is, within the data folder.
const PID_FILE: &str = "standby.pid";
/// Between two turns: the copy is never a second behind, and the primary's folders are not listed at every record.
const PACE: Duration = Duration::from_millis(200);
/// Between two tries while the primary does not answer.
const PAUSE: Duration = Duration::from_millis(500);

/// The watchdog's patience for a turn, in microseconds (sd_notify(3)); beyond it systemd starts the standby again.
const FIRST_TURN_WITHIN: &str = "WATCHDOG_USEC=3600000000";
const TURN_WITHIN: &str = "WATCHDOG_USEC=60000000";

/// Pulls until it is told to stop (SIGTERM) or to become the line (SIGUSR1).
pub fn standby(config: &Path, primary: &str) -> anyhow::Result<()> {
    super::serve::log_to_stderr();
    let house = super::house(config)?;
    let token = house.config.standby.token.clone();
    let token = token.context("[standby] has no token; give it token_env or token_file, the same as at the primary")?;
    let (data, recordings) = (house.config.data.clone(), house.config.recordings());
    std::fs::create_dir_all(&data).with_context(|| format!("{} cannot be made", data.display()))?;
    if claim(&data)? == Folder::Promoted {
        tracing::warn!("this copy was promoted before: it stays the line");
        return become_engine(config);
    }
    let held = lock(&data)?;
    std::fs::write(data.join(PID_FILE), std::process::id().to_string())?;
    let primary = Primary::new(primary, token.expose());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let promoted = runtime.block_on(async {
        let shared = match house.config.store.kind {
            StoreKind::Sqlite => None,
            StoreKind::Postgres => Some(super::store::open(&house.config)?),
        };
        let candidate = lease::lease(&house.config)?.map(|lease| Candidate::new(lease, &data));
        pull(Copy::new(primary, data.clone(), recordings, shared), candidate, &data).await
    })?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    std::fs::remove_file(data.join(PID_FILE))?;
    if !promoted {
        return Ok(());
    }
    fence(&data)?;
    tracing::warn!("promoted: this machine becomes the line");
    drop(held);
    become_engine(config)
}

fn become_engine(config: &Path) -> anyhow::Result<()> {
    let error = std::process::Command::new(std::env::current_exe()?).arg("serve").arg("--config").arg(config).exec();
    Err(error).context("the engine cannot be started; start `dozvon serve` by hand")
}

/// Pulls until it is told to stop, or to become the line and may; without being told, once the lease has expired.
async fn pull(mut copy: Copy, candidate: Option<Candidate>, data: &Path) -> anyhow::Result<bool> {
    let (mut promote, mut stop) = (signal(SignalKind::user_defined1())?, signal(SignalKind::terminate())?);
    let supervisor = Supervisor::of(&|key| std::env::var(key).ok());
    let tell = |word: &str| supervisor.iter().for_each(|supervisor| supervisor.tell(word));
    tell("READY=1");
    // The first turn fetches the tables, however large they are; from then on a turn takes seconds.
    tell(FIRST_TURN_WITHIN);
    let (mut away, mut told, mut refused) = (None, false, None);
    loop {
        tell("WATCHDOG=1");
        // A turn that has begun is finished: half of one is never left.
        let turn = copy.turn().await;
        match (&turn, away.take()) {
            (Ok(position), None) => {
                tracing::trace!(position, "copied");
                tell(TURN_WITHIN);
            }
            (Ok(position), Some(())) => tracing::warn!(position, "the primary gives again"),
            (Err(_), Some(())) => away = Some(()),
            (Err(error), None) => {
                tracing::warn!(error = format!("{error:#}"), "the copy falls behind");
                away = Some(());
            }
        }
        let pause = if turn.is_ok() { PACE } else { PAUSE };
        tokio::select! {
            biased;
            _ = promote.recv() => told = true,
            _ = stop.recv() => return Ok(false),
            () = tokio::time::sleep(pause) => {}
        }
        let Some(candidate) = &candidate else {
            if told {
                return Ok(true);
            } else {
                continue;
            };
        };
        match candidate.take(data, async || Ok(told || copy.lacks_nothing().await?)).await {
            Ok(true) => return Ok(true),
            Ok(false) if told => refuse(&mut refused, "the lease has not expired: stop the engine that holds it"),
            Ok(false) => refused = None,
            Err(error) => refuse(&mut refused, &format!("{error:#}")),
        }
    }
}

/// Says once why this is not the line.
fn refuse(said: &mut Option<String>, why: &str) {
    if said.as_deref() != Some(why) {
        tracing::warn!(why, "not promoted");
        *said = Some(why.to_owned());
    }
}

/// Tells the standby of this configuration to become the line.
pub fn promote(config: &Path) -> anyhow::Result<()> {
    let house = super::house(config)?;
    let path = house.config.data.join(PID_FILE);
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!("no standby runs here ({} is not there); `dozvon serve` starts an engine on what there is", path.display())
    })?;
    let id: libc::pid_t = text.trim().parse().with_context(|| format!("{} holds no process id", path.display()))?;
    anyhow::ensure!(lock(&house.config.data).is_err(), "the standby of {} is dead; start `dozvon serve`", path.display());
    // SAFETY: kill takes plain numbers and touches no memory of ours.
    let sent = unsafe { libc::kill(id, libc::SIGUSR1) };
    anyhow::ensure!(sent == 0, "the standby (process {id}) cannot be told: {}", std::io::Error::last_os_error());
    println!("told: it becomes the line; stop the old primary for good, or point the trunk here");
    Ok(())
}
