//! `dozvon media`: audio in a process of its own, so that talks outlive the engine.

use super::serve::log_to_stderr;
use anyhow::Context;
use dozvon::call::serve::media_settings;
use dozvon::clock::{Clock, Moment};
use dozvon::config::Config;
use dozvon::media::process::{Door, run};
use std::path::Path;
use tokio::signal::unix::{SignalKind, signal};

pub fn media(config: &Path) -> anyhow::Result<()> {
    log_to_stderr();
    let config = Config::load(config).map_err(|errors| anyhow::anyhow!("\n{errors}"))?;
    let socket = config.media_socket();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    // Ctrl-C and a closed terminal are meant for the engine, which drains and says `Stop`: they are caught and change nothing.
    let (mut terminate, _interrupt, _hangup) = {
        let _signals = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?)
    };
    let terminated = move || {
        runtime.block_on(terminate.recv());
    };
    let door = Door { socket: socket.clone(), orphan_after: config.media.orphan_after };
    run(door, media_settings(&config), Clock::start(Moment::ZERO), terminated)
        .with_context(|| format!("media cannot be served at {}", socket.display()))
}
