//! `dozvon serve`: opens the doors, runs the engine beside HTTP, tables and outbox, and ends when it is drained.

use anyhow::Context;
use dozvon::api::{self, ApiState, CoreBook, CoreHandoff};
use dozvon::booking::deliver::Deliverer;
use dozvon::booking::reference::{Held, ReferenceCore};
use dozvon::booking::webhook::{Receiver, Webhook};
use dozvon::call::House;
use dozvon::call::request::{Engine, Request};
use dozvon::call::serve::{Streams, open_streams, start};
use dozvon::clock::{Clock, Moment};
use dozvon::config::{BookingKind, Config, Region};
use dozvon::facts::{Fact, HandoffResult};
use dozvon::ids::{CallId, HandoffId, PersonId};
use dozvon::pii::Private;
use dozvon::store::Store;
use dozvon::store::retention::{self, Kept};
use dozvon::store::writer::{Folded, Source, follow};
use dozvon::upkeep::disk;
use dozvon::upkeep::law::Printer;
use dozvon::upkeep::lease;
use dozvon::upkeep::supervisor::Supervisor;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// How long the tables may take, after the last call, to have everything that the journal has.
const LAST_FOLD: Duration = Duration::from_secs(10);
/// Nobody waits for recordings that are being packed: their steps are found again on the disk, and the next life is to begin.
const LAST_PACKED: Duration = Duration::from_millis(200);
/// Exit status when the loop died (EX_SOFTWARE of sysexits.h).
const FAULT: i32 = 70;
/// Exit status when the lease was lost (EX_TEMPFAIL).
const NOT_THE_LINE: i32 = 75;
/// A case that the booking core did not take for this long becomes an operator's.
const HAND_OFF_WITHIN: Duration = Duration::from_secs(24 * 3600);
/// Settled hand-offs that wait for the engine; the deliverer waits beyond it.
const SETTLED_WAITING: usize = 64;
/// Themes for which the embedded core looks for an appointment.
const BOOKING_THEMES: [&str; 2] = ["booking", "vaccination"];
/// Appointments that the embedded core opens for each theme at every start: a quarter of an hour each, from the next hour on.
const OPEN_SLOTS: u64 = 40;

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
    let clock = Clock::start(streams.last());
    let held = match lease::lease(&house.config)? {
        Some(found) => Some(lease::Held::hold(found, &house.config.data, clock).await?),
        None => None,
    };
    let store: Arc<dyn Store> = super::store::open(&house.config)?;
    let kept = Kept { people: house.config.limits.people, outbox: house.config.limits.outbox };
    let (folded, tables) = watch::channel(Folded::default());
    let writer = tokio::spawn(follow(store.clone(), Source::of(&streams.journal), Source::of(&streams.people), folded));
    let core = open_core(&house.config);
    let hooks = receivers(&house.config);
    let (regions, token) = (house.config.regions.clone(), house.config.http_token()?);
    let shelf = super::recording::shelf(&house.config)?;
    let keeper = super::recording::keeper(&house.config, shelf.clone(), store.clone());
    let (bind, data) = (house.config.http.bind, house.config.data.clone());
    let recordings = house.config.recordings();
    let listener = TcpListener::bind(bind).await.with_context(|| format!("HTTP cannot be bound to {bind}"))?;
    let (committed, standby_token) = (streams.journal.committed(), house.config.standby.token.clone());
    let term = held.as_ref().map(|held| held.term.clone());
    // Media may be waited for, longer than a term lasts.
    held.map(|held| tokio::spawn(held.keep()));
    let running = tokio::task::block_in_place(|| start(house, streams, clock, term.clone()))?;
    tracing::info!(%bind, "HTTP");
    let zone = regions.first().map_or(jiff::tz::TimeZone::UTC, Region::time_zone);
    tokio::spawn(retention::nightly(store.clone(), running.clock, zone, kept));
    tokio::spawn(tell_how_far_the_tables_are(running.engine.clone(), tables.clone()));
    for receiver in hooks {
        tokio::spawn(Webhook::new(store.clone(), receiver).run(running.clock, tables.clone()));
    }
    if let Some(core) = core.clone() {
        open_slots(&core.0, &regions, running.clock.now()).await;
        let deliverer = Deliverer { store: store.clone(), core: core.0.clone(), give_up_after: HAND_OFF_WITHIN };
        let (settled, results) = mpsc::channel(SETTLED_WAITING);
        tokio::spawn(deliverer.run(running.clock, tables.clone(), settled));
        tokio::spawn(tell_what_the_core_said(running.engine.clone(), results));
    }
    let (news, told) = mpsc::channel(SETTLED_WAITING);
    tokio::spawn(tell_what_became_of_recordings(running.engine.clone(), told));
    let handle = tokio::runtime::Handle::current();
    let keeping = keeper.start(running.clock, handle, tables.clone(), news).context("recordings cannot be kept")?;
    let (free_percent, disk_free_percent) = watch::channel(None);
    tokio::spawn(disk::watch(vec![data.clone(), recordings], free_percent));
    let printer = Printer {
        data: data.clone(),
        regions: regions.clone(),
        store: store.clone(),
        folded: tables.clone(),
        clock: running.clock,
    };
    let api_state = ApiState {
        engine: running.engine.clone(),
        store: store.clone(),
        folded: tables,
        clock: running.clock,
        regions,
        token,
        data: data.clone(),
        committed,
        standby_token,
        recordings: shelf,
        core: core.map(|core| core as Arc<dyn CoreBook>),
        sockets_bound: Arc::new(AtomicBool::new(true)),
        disk_free_percent,
        counted: None,
    };
    tokio::spawn(obey_signals(running.engine.clone()));
    tokio::spawn(printer.keep_printing(running.engine.clone()));
    let supervisor = Supervisor::of(&|key| std::env::var(key).ok()).map(Arc::new);
    if let Some(supervisor) = supervisor.clone() {
        tokio::spawn(supervisor.keep_told(running.engine.clone()));
    }
    let (ended_now, ended) = tokio::sync::oneshot::channel::<()>();
    let http = tokio::spawn(api::serve(listener, api_state, async move { drop(ended.await) }));
    drop(running.engine);

    let ended = tokio::task::spawn_blocking(move || running.loop_thread.join()).await?;
    if ended.is_err() {
        // A fault of ours ended the loop. Calls are live: the next life must come at once.
        tracing::error!("the engine's loop died; the journal has everything up to then");
        std::process::exit(FAULT);
    }
    if term.is_some_and(|term| term.is_over(clock.now())) {
        // At once: the other may take the line in a few seconds.
        std::process::exit(NOT_THE_LINE);
    }
    if let Some(supervisor) = supervisor {
        supervisor.tell("STOPPING=1");
    }
    drop(ended_now);
    // Pages that still listen for events are cut.
    http.abort();
    // The streams closed with the loop, so the writer ends as soon as it has folded everything.
    if tokio::time::timeout(LAST_FOLD, writer).await.is_err() {
        tracing::warn!("the tables are behind; they catch up at the next start");
    }
    // Their thread waits by this runtime's clock, which must outlive it.
    if tokio::time::timeout(LAST_PACKED, tokio::task::spawn_blocking(move || keeping.join())).await.is_err() {
        tracing::info!("recordings are still being packed; they are taken up again at the next start");
        std::process::exit(0);
    }
    Ok(())
}

async fn tell_how_far_the_tables_are(engine: Engine, mut tables: watch::Receiver<Folded>) {
    while tables.changed().await.is_ok() {
        let (position, people) = {
            let folded = tables.borrow_and_update();
            (folded.position, folded.people)
        };
        engine.store_is_at(position, people).await;
    }
}

async fn tell_what_the_core_said(engine: Engine, mut results: mpsc::Receiver<(HandoffId, CallId, HandoffResult)>) {
    while let Some((handoff, call, result)) = results.recv().await {
        drop(engine.requests.send(Request::HandoffSettled { handoff, call, result }).await);
    }
}

async fn tell_what_became_of_recordings(engine: Engine, mut news: mpsc::Receiver<Fact>) {
    while let Some(fact) = news.recv().await {
        drop(engine.requests.send(Request::RecordingNews(fact)).await);
    }
}

/// The embedded core as the API shows it.
struct Core(Arc<ReferenceCore>);

#[async_trait::async_trait]
impl CoreBook for Core {
    async fn handoffs(&self, limit: u32) -> Result<Vec<CoreHandoff>, String> {
        let held = self.0.handoffs(limit).await.map_err(|error| error.to_string())?;
        Ok(held.into_iter().map(shown).collect())
    }

    async fn forget(&self, person: PersonId) -> Result<(), String> {
        self.0.forget(person).await.map(drop).map_err(|error| error.to_string())
    }
}

fn shown(held: Held) -> CoreHandoff {
    let (status, reference) = match held.result {
        HandoffResult::Accepted { reference } => ("accepted", reference),
        HandoffResult::Booked { reference } => ("booked", reference),
        HandoffResult::Waitlisted { reference } => ("waitlisted", reference),
        HandoffResult::Refused { reason } => ("refused", reason),
    };
    CoreHandoff {
        handoff: held.case.handoff.to_string(),
        call: held.case.call.to_string(),
        reference,
        status: status.to_owned(),
        theme: held.case.theme,
    }
}

fn open_core(config: &Config) -> Option<Arc<Core>> {
    match config.booking.kind {
        BookingKind::None => None,
        BookingKind::Reference => {
            let themes = BOOKING_THEMES.iter().map(|theme| (*theme).to_owned()).collect();
            Some(Arc::new(Core(Arc::new(ReferenceCore::new(&config.data.join("core.db"), themes)))))
        }
    }
}

async fn open_slots(core: &ReferenceCore, regions: &[Region], now: Moment) {
    let hour = Duration::from_secs(3600);
    let first = Moment::from_secs(now.as_unix_seconds() / 3600 * 3600) + hour;
    for region in regions {
        for service in BOOKING_THEMES {
            for slot in 0..OPEN_SLOTS {
                let starts = first + Duration::from_secs(900 * slot);
                if let Err(error) = core.slot_add(region.code, service, "Дежурный врач", starts).await {
                    tracing::warn!(%error, "the booking core opens no appointments; everybody goes to its waiting list");
                    return;
                }
            }
        }
    }
}

fn receivers(config: &Config) -> Vec<Receiver> {
    let receiver = |hook: &dozvon::config::Webhook| Receiver {
        name: hook.url.clone(),
        url: hook.url.clone(),
        secret: Private::new(hook.secret.as_ref().map(|secret| secret.expose()).unwrap_or_default()),
        events: hook.events.clone(),
    };
    config.webhooks.iter().map(receiver).collect()
}

/// SIGTERM and Ctrl-C drain, SIGHUP reads configuration and scripts again, SIGUSR2 ends at once and leaves every call to the next
/// life of the engine.
async fn obey_signals(engine: Engine) {
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
        signal(SignalKind::user_defined2()),
    );
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup), Ok(mut hand_over)) = signals else {
        tracing::error!("signals cannot be heard; stop the engine by its API");
        return;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => engine.drain().await,
            _ = interrupt.recv() => engine.drain().await,
            _ = hand_over.recv() => drop(engine.requests.send(Request::HandOver).await),
            _ = hangup.recv() => match engine.ask(dozvon::call::request::Request::Reload).await {
                Ok(()) => {}
                Err(refusal) => tracing::error!("not reloaded, everything stays as it was:\n{refusal}"),
            },
        }
    }
}

pub fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("DOZVON_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
