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
    // What is meant for the engine, and may reach all of a unit or a terminal, is caught and changes nothing.
    let engines = [SignalKind::interrupt(), SignalKind::hangup(), SignalKind::user_defined1(), SignalKind::user_defined2()];
    let (mut terminate, _caught) = {
        let _signals = runtime.enter();
        let caught = engines.into_iter().map(signal).collect::<std::io::Result<Vec<_>>>()?;
        (signal(SignalKind::terminate())?, caught)
    };
    let terminated = move || {
        runtime.block_on(terminate.recv());
    };
    let door = Door { socket: socket.clone(), orphan_after: config.media.orphan_after };
    run(door, media_settings(&config), Clock::start(Moment::ZERO), terminated)
        .with_context(|| format!("media cannot be served at {}", socket.display()))
}
