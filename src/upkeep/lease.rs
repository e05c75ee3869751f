//! The line's lease as an engine holds it and a standby waits for it: never two engines are the line at once.
//!
//! The engine counts from before it asks for a renewal, the server from when it renews, so ours is over first. The margin is for a
//! loop that is late and a process that takes its time to end.

use crate::call::term::Term;
use crate::clock::Clock;
use crate::config::Config;
use crate::store::postgres::lease::{Holder, Lease};
use anyhow::{Context, bail};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// From a renewal to the moment when another may take it.
pub const LENGTH: Duration = Duration::from_secs(15);
/// So much earlier the engine stops being the line.
pub const MARGIN: Duration = Duration::from_secs(5);
/// Between two renewals: three may fail.
const RENEW_EVERY: Duration = Duration::from_secs(3);
/// Between two tries to get it at the start, while the database does not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Within the data folder: under which name this folder holds the lease, and its last holding.
const FILE: &str = "lease";

/// `None` if the configuration wants no lease.
pub fn lease(config: &Config) -> anyhow::Result<Option<Lease>> {
    let Some(address) = config.store.address.as_ref().filter(|_| config.standby.lease) else { return Ok(None) };
    Ok(Some(Lease::new(address.expose(), LENGTH)?))
}

/// The last holding of this data folder.
pub fn holder(data: &Path) -> Option<Holder> {
    fs::read_to_string(data.join(FILE)).ok()?.parse().ok()
}

/// The lease, held by this engine.
pub struct Held {
    lease: Lease,
    holder: Holder,
    clock: Clock,
    pub term: Term,
}

impl Held {
    /// Waits for the database; gives up if the line is another's.
    pub async fn hold(lease: Lease, data: &Path, clock: Clock) -> anyhow::Result<Self> {
        let owner = owner(data);
        loop {
            let asked = clock.now();
            match once(&lease, &owner).await? {
                Ok(Some(holder)) => {
                    write(data, &holder)?;
                    tracing::info!(%holder, "the lease is held: this engine is the line");
                    return Ok(Self { lease, holder, clock, term: Term::until(asked + (LENGTH - MARGIN)) });
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "no lease yet; no calls are taken until there is");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Renews until it cannot be renewed any more. To be spawned.
    pub async fn keep(self) {
        let mut pace = tokio::time::interval(RENEW_EVERY);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            let asked = self.clock.now();
            // What is over is over, though it could be had again: the loop has ended.
            if self.term.is_over(asked) {
                return;
            }
            match self.lease.renew(&self.holder).await {
                Ok(true) => self.term.extend(asked + (LENGTH - MARGIN)),
                Ok(false) => return tracing::error!("the lease is another's"),
                Err(error) => {
                    let left = self.term.end().since(self.clock.now()).as_secs();
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        left,
                        "the lease is not renewed; without it this engine ends"
                    );
                }
            }
        }
    }
}

/// Who was the line before goes on with it; after another was, our data are old.
async fn once(lease: &Lease, owner: &str) -> anyhow::Result<anyhow::Result<Option<Holder>>> {
    let asked = async {
        match lease.look().await? {
            None => Ok(lease.begin(owner).await?.map_or(Step::Again, Step::Held)),
            Some((holder, _)) if holder.owner == owner => Ok(lease.take(owner, &holder).await?.map_or(Step::Again, Step::Held)),
            Some((holder, _)) => anyhow::Ok(Step::Others(holder)),
        }
    };
    match asked.await {
        Ok(Step::Held(holder)) => Ok(Ok(Some(holder))),
        Ok(Step::Again) => Ok(Ok(None)),
        Ok(Step::Others(holder)) => bail!(
            "the lease is held by {holder}, and its data are newer than ours: make this machine its standby (`dozvon standby` with an \
             empty data folder). If that machine is gone for good and this one shall go on with old data: DELETE FROM lease"
        ),
        Err(error) => Ok(Err(error)),
    }
}

enum Step {
    Held(Holder),
    Again,
    Others(Holder),
}

/// What a standby does about the lease.
pub struct Candidate {
    lease: Lease,
    owner: String,
}

impl Candidate {
    pub fn new(lease: Lease, data: &Path) -> Self {
        Self { lease, owner: owner(data) }
    }

    /// Takes it if it has expired and `fit` says that the copy lacks nothing; says whether it did.
    pub async fn take(&self, data: &Path, fit: impl AsyncFnOnce() -> anyhow::Result<bool>) -> anyhow::Result<bool> {
        let Some((from, true)) = self.lease.look().await? else { return Ok(false) };
        if !fit().await? {
            bail!(
                "the lease has expired, but this copy lacks what the tables have: it does not promote itself; `dozvon promote` does"
            );
        }
        let Some(holder) = self.lease.take(&self.owner, &from).await? else { return Ok(false) };
        write(data, &holder)?;
        tracing::warn!(%holder, %from, "the lease had expired and is ours");
        Ok(true)
    }
}

/// The name of this data folder: the machine's, to be read, and a random number.
fn owner(data: &Path) -> String {
    if let Some(holder) = holder(data) {
        return holder.owner;
    }
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.trim().chars().filter(|letter| letter.is_ascii_alphanumeric() || "-.".contains(*letter)).collect();
    format!("{host}:{:016x}", getrandom::u64().unwrap_or_default())
}

fn write(data: &Path, holder: &Holder) -> anyhow::Result<()> {
    let (path, unfinished) = (data.join(FILE), data.join("lease.tmp"));
    let written = fs::write(&unfinished, format!("{holder}\n")).and_then(|()| fs::rename(&unfinished, &path));
    written.with_context(|| format!("{} cannot be written", path.display()))
}
