//! What each subcommand does.

use super::*;
use dozvon::api::{self, ApiState};
use dozvon::call::request::Engine;
use dozvon::call::serve::{Streams, open_streams, start};
use dozvon::clock::{Clock, Moment};
use dozvon::config::{Region, span};
use dozvon::facts::Ledger;
use dozvon::ids::RegionId;
use dozvon::store::Store;
use dozvon::store::sqlite::SqliteStore;
use dozvon::store::writer::{Folded, Source, follow};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long the tables may take, after the last call, to have everything that the journal has.
const LAST_FOLD: Duration = Duration::from_secs(10);

pub fn check(config: &Path) -> anyhow::Result<()> {
    House::read(config).map_err(|errors| anyhow::anyhow!("\n{errors}"))?;
    println!("{}: configuration and scripts are in order", config.display());
    Ok(())
}

pub fn serve(config: &Path) -> anyhow::Result<()> {
    log_to_stderr();
    let house = House::read(config).map_err(|errors| anyhow::anyhow!("\n{errors}"))?;
    let data = house.config.data.clone();
    std::fs::create_dir_all(&data).with_context(|| format!("{} cannot be made", data.display()))?;
    let streams = open_streams(&data)?;
    // HTTP, SQL and the outbox share two threads; the loop and media have their own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(house, streams))
}

async fn run(house: House, streams: Streams) -> anyhow::Result<()> {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::new(&house.config.data.join("dozvon.db")));
    let (folded, tables) = watch::channel(Folded::default());
    let writer = tokio::spawn(follow(store.clone(), Source::of(&streams.journal), Source::of(&streams.people), folded));
    let (regions, recordings, token) = (house.config.regions.clone(), house.config.recordings(), house.config.http_token()?);
    let bind = house.config.http.bind;
    let listener = TcpListener::bind(bind).await.with_context(|| format!("HTTP cannot be bound to {bind}"))?;
    let running = start(house, streams)?;
    tracing::info!(%bind, "HTTP");
    tokio::spawn(tell_how_far_the_tables_are(running.engine.clone(), tables.clone()));
    let api_state = ApiState {
        engine: running.engine.clone(),
        store: store.clone(),
        folded: tables,
        clock: running.clock,
        regions,
        token,
        recordings,
        core: None,
        sockets_bound: Arc::new(AtomicBool::new(true)),
        counted: None,
    };
    tokio::spawn(obey_signals(running.engine.clone()));
    let (ended_now, ended) = tokio::sync::oneshot::channel::<()>();
    let http = tokio::spawn(api::serve(listener, api_state, async move { drop(ended.await) }));
    drop(running.engine);

    let ended = tokio::task::spawn_blocking(move || running.loop_thread.join()).await?;
    drop(ended_now);
    // Pages that still listen for events are cut.
    http.abort();
    // The streams closed with the loop, so the writer ends as soon as it has folded everything.
    if tokio::time::timeout(LAST_FOLD, writer).await.is_err() {
        tracing::warn!("the tables are behind; they catch up at the next start");
    }
    ended.map_err(|_| anyhow::anyhow!("the engine's loop died; the journal has everything up to then"))
}

async fn tell_how_far_the_tables_are(engine: Engine, mut tables: watch::Receiver<Folded>) {
    while tables.changed().await.is_ok() {
        let position = tables.borrow_and_update().position;
        engine.store_is_at(position).await;
    }
}

/// SIGTERM and Ctrl-C drain, SIGHUP reads configuration and scripts again.
async fn obey_signals(engine: Engine) {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
        tracing::error!("signals cannot be heard; stop the engine by its API");
        return;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => engine.drain().await,
            _ = interrupt.recv() => engine.drain().await,
            _ = hangup.recv() => match engine.ask(dozvon::call::request::Request::Reload).await {
                Ok(()) => {}
                Err(refusal) => tracing::error!("not reloaded, everything stays as it was:\n{refusal}"),
            },
        }
    }
}

pub fn ledger(config: &Path, region: Option<u16>, from: Option<&str>, to: Option<&str>) -> anyhow::Result<()> {
    let house = House::read(config).map_err(|errors| anyhow::anyhow!("\n{errors}"))?;
    let known =
        |code: u16| house.config.region(RegionId(code)).with_context(|| format!("the configuration has no region {code}"));
    let of = region.map(known).transpose()?;
    let zone = of.or(house.config.regions.first()).map_or(jiff::tz::TimeZone::UTC, Region::time_zone);
    let span = span(Clock::start(Moment::ZERO).now(), &zone, from, to)?;
    let store = SqliteStore::new(&house.config.data.join("dozvon.db"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ledger: Ledger = runtime.block_on(store.ledger(region.map(RegionId), span.start, span.end))?;
    println!("{}", serde_json::to_string_pretty(&ledger)?);
    Ok(())
}

fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("DOZVON_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
