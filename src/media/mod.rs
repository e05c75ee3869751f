//! Audio: RTP, codecs, digits, prompts, bridge, recorder; on threads of its own behind a door of plain data. `process` runs them in a
//! process of its own, `line` is the engine's end of the door.
//!
//! This file is the post room: it knows which thread has which leg and brings each command there. Legs that will be bridged are
//! opened on one thread (`near`); if two others are to be bridged, one of them moves.

pub mod door;
pub mod dtmf;
pub mod framing;
pub mod g711;
mod leg;
mod line;
mod poll;
mod ports;
mod post;
pub mod process;
mod prompts;
mod record;
pub mod rtp;
mod source;
mod thread;
mod wheel;

pub use line::{Line, Start};
pub use ports::MediaNetwork;

use crate::clock::Clock;
use crate::ids::LegId;
use door::{LegReport, MediaCommand, MediaEvent};
use poll::Waker;
use ports::Ports;
use prompts::Library;
use record::Recorder;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use thread::{Common, MediaThread, Order, lock};

#[derive(Clone, Debug)]
pub struct MediaSettings {
    pub networks: Vec<MediaNetwork>,
    /// Media threads; 0 = one per core.
    pub threads: usize,
    /// Folders with the WAVs of prompts and music.
    pub prompt_dirs: Vec<PathBuf>,
    /// Relative names of recordings lie below it.
    pub record_dir: PathBuf,
    /// No packet for so long from who should be sending is told as `Silent`.
    pub silent_after: Duration,
    /// How long a port rests after its call.
    pub port_rest: Duration,
}

impl Default for MediaSettings {
    fn default() -> Self {
        Self {
            networks: Vec::new(),
            threads: 0,
            prompt_dirs: Vec::new(),
            record_dir: PathBuf::new(),
            silent_after: Duration::from_secs(10),
            port_rest: Duration::from_secs(5),
        }
    }
}

/// The running media room; clones speak to the same one. When the last is dropped all legs close and recordings are finished.
#[derive(Clone)]
pub struct Media {
    house: Arc<House>,
}

struct House {
    threads: Vec<Mailbox>,
    routes: Mutex<Routes>,
    common: Arc<Common>,
    prompt_dirs: Vec<PathBuf>,
    running: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Clone)]
struct Mailbox {
    /// Not bounded by itself: the conductor sends a bounded number of commands for each of its bounded number of calls.
    orders: mpsc::Sender<Order>,
    waker: Waker,
}

#[derive(Default)]
struct Routes {
    thread_by_leg: HashMap<LegId, usize>,
    legs_by_thread: Vec<usize>,
}

impl Media {
    /// Reads the prompts and starts the threads. `events` is called on media threads: it must not block.
    pub fn start(
        settings: MediaSettings,
        clock: Clock,
        events: impl Fn(MediaEvent) + Send + Clone + 'static,
    ) -> std::io::Result<Media> {
        let count = match settings.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let library = load(&settings.prompt_dirs);
        let mut ports = Ports::new(&settings.networks, settings.port_rest);
        ports.begin_at(getrandom::u64()?);
        let common = Arc::new(Common {
            ports: Mutex::new(ports),
            gone: Mutex::default(),
            silent_after: settings.silent_after,
            record_dir: settings.record_dir,
        });
        let (recorder, writer) = Recorder::start(events.clone())?;
        let (mut threads, mut running) = (Vec::new(), Vec::new());
        for number in 0..count {
            let (orders, inbox) = mpsc::channel();
            let waker = Waker::new()?;
            let tell = Box::new(events.clone());
            let thread = MediaThread::new(clock, common.clone(), inbox, waker.clone(), tell, recorder.clone(), library.clone())?;
            running.push(std::thread::Builder::new().name(format!("media-{number}")).spawn(move || thread.run())?);
            threads.push(Mailbox { orders, waker });
        }
        running.push(writer);
        let routes = Routes { thread_by_leg: HashMap::new(), legs_by_thread: vec![0; count] };
        let house = House {
            threads,
            routes: Mutex::new(routes),
            common,
            prompt_dirs: settings.prompt_dirs,
            running: Mutex::new(running),
        };
        Ok(Media { house: Arc::new(house) })
    }

    /// Brings a command to the thread of its leg. Takes microseconds; only a bridge of legs on two threads waits for one of them to
    /// let go, at most for the turn it is in.
    pub fn send(&self, command: MediaCommand) {
        let thread = match &command {
            MediaCommand::Open { leg, near, .. } => Some(self.house.seat(*leg, *near)),
            MediaCommand::Bridge { a, b } => self.house.bring_together(*a, *b),
            MediaCommand::ReloadPrompts => {
                self.house.reload_prompts();
                None
            }
            // Of one whose leg is gone any thread can do it.
            MediaCommand::FinishRecord { leg, .. } => self.house.thread_of(*leg).or(Some(0)),
            // Words for whoever keeps what was told: the process.
            MediaCommand::Noted { .. } | MediaCommand::Stop => None,
            MediaCommand::Connect { leg, .. }
            | MediaCommand::Play { leg, .. }
            | MediaCommand::StopPlay { leg }
            | MediaCommand::Unbridge { leg }
            | MediaCommand::Record { leg, .. }
            | MediaCommand::PauseRecord { leg, .. }
            | MediaCommand::StopRecord { leg }
            | MediaCommand::SendDigit { leg, .. }
            | MediaCommand::Close { leg } => self.house.thread_of(*leg),
        };
        if let Some(mailbox) = thread.and_then(|thread| self.house.threads.get(thread)) {
            mailbox.put(Order::Command(command));
        }
    }

    /// Every leg, as the commands sent before have left it.
    pub fn legs(&self) -> Vec<LegReport> {
        // No leg moves from one thread to another meanwhile.
        let _routes = lock(&self.house.routes);
        let (to, reports) = mpsc::channel();
        for mailbox in &self.house.threads {
            mailbox.put(Order::Report(to.clone()));
        }
        drop(to);
        let mut legs: Vec<LegReport> = reports.into_iter().flatten().collect();
        legs.sort_by_key(|report| report.leg);
        legs
    }
}

impl House {
    fn thread_of(&self, leg: LegId) -> Option<usize> {
        lock(&self.routes).thread_by_leg.get(&leg).copied()
    }

    /// Chooses the thread of a new leg: that of the leg it belongs to, else the one with the fewest.
    fn seat(&self, leg: LegId, near: Option<LegId>) -> usize {
        let mut routes = lock(&self.routes);
        for gone in lock(&self.common.gone).drain(..) {
            routes.forget(gone);
        }
        if let Some(thread) = routes.thread_by_leg.get(&leg) {
            return *thread;
        }
        let beside = near.and_then(|near| routes.thread_by_leg.get(&near).copied());
        let emptiest = || (0..self.threads.len()).min_by_key(|thread| routes.legs_by_thread.get(*thread).copied());
        let thread = beside.or_else(emptiest).unwrap_or(0);
        routes.remember(leg, thread);
        thread
    }

    /// Moves `b` to the thread of `a` if it is elsewhere. The routes stay locked meanwhile, so that no command overtakes the move.
    fn bring_together(&self, a: LegId, b: LegId) -> Option<usize> {
        let mut routes = lock(&self.routes);
        let (to, from) = (*routes.thread_by_leg.get(&a)?, *routes.thread_by_leg.get(&b)?);
        if to == from {
            return Some(to);
        }
        let (give, given) = mpsc::sync_channel(1);
        self.threads.get(from)?.put(Order::Give { leg: b, to: give });
        let leg = given.recv().ok().flatten()?;
        self.threads.get(to)?.put(Order::Receive(leg));
        routes.forget(b);
        routes.remember(b, to);
        Some(to)
    }

    /// Reads the folders on a thread of its own; media threads only change a pointer.
    fn reload_prompts(&self) {
        let (folders, threads) = (self.prompt_dirs.clone(), self.threads.clone());
        let reader = std::thread::Builder::new().name("prompts".into()).spawn(move || {
            let library = load(&folders);
            for mailbox in threads {
                mailbox.put(Order::Library(library.clone()));
            }
        });
        if let Err(error) = reader {
            tracing::error!(%error, "prompts cannot be read again");
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        for mailbox in &self.threads {
            mailbox.put(Order::Stop);
        }
        for thread in lock(&self.running).drain(..) {
            let _ = thread.join();
        }
    }
}

impl Mailbox {
    fn put(&self, order: Order) {
        // A thread that is gone has no legs any more: nothing to change.
        if self.orders.send(order).is_ok() {
            self.waker.ring();
        }
    }
}

impl Routes {
    fn remember(&mut self, leg: LegId, thread: usize) {
        self.thread_by_leg.insert(leg, thread);
        if let Some(legs) = self.legs_by_thread.get_mut(thread) {
            *legs += 1;
        }
    }

    fn forget(&mut self, leg: LegId) {
        let thread = self.thread_by_leg.remove(&leg);
        if let Some(legs) = thread.and_then(|thread| self.legs_by_thread.get_mut(thread)) {
            *legs = legs.saturating_sub(1);
        }
    }
}

fn load(folders: &[PathBuf]) -> Arc<Library> {
    let (library, errors) = Library::load(folders);
    for error in errors {
        tracing::warn!(%error, cause = std::error::Error::source(&error), "prompt left out");
    }
    Arc::new(library)
}
