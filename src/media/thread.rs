//! One media thread: it alone owns its legs and their sockets. What passes through leaves as it arrives; what is made here leaves
//! with the wheel.

use super::door::{LegReport, MediaCommand, MediaEvent};
use super::leg::{Leg, Playing, Turn};
use super::poll::{Poll, Waker, bind_audio};
use super::ports::Ports;
use super::prompts::{Library, Playlist};
use super::record::Recorder;
use super::rtp::OutStream;
use super::wheel::Wheel;
use crate::clock::{Clock, Moment};
use crate::ids::{LegId, PlayId, PromptId};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

/// The token of the waker; legs have their place as token.
const WAKE: u32 = u32::MAX;
/// Larger than any packet of 60 ms with extensions; more is cut and then fails to be read.
const DATAGRAM_MAX: usize = 2_048;
/// Ports another process holds are passed over; so many in a row mean that the range is wrong.
const BIND_ATTEMPTS: usize = 8;
/// How often silences and recordings are looked after.
const SWEEP: Duration = Duration::from_millis(250);
/// Orders obeyed in one turn; packets do not wait for more.
const ORDERS_MAX: usize = 256;
/// Who comes back this late was stopped, or starved: an idle thread sleeps no longer than `SWEEP`.
const STALLED: Duration = Duration::from_millis(500);
/// Names of missing prompts remembered, so that each is told once.
const MISSING_TOLD_MAX: usize = 1_000;

/// What reaches a media thread from outside.
pub enum Order {
    Command(MediaCommand),
    Library(Arc<Library>),
    /// Give this leg away, to be bridged on another thread.
    Give {
        leg: LegId,
        to: mpsc::SyncSender<Option<Box<Leg>>>,
    },
    Receive(Box<Leg>),
    /// Say which legs are here, as all orders before have left them.
    Report(mpsc::Sender<Vec<LegReport>>),
    Stop,
}

/// What all media threads have in common; touched when a leg opens or closes, never for a packet.
pub struct Common {
    pub ports: Mutex<Ports>,
    /// Legs that are closed or never opened, for the post room to forget.
    pub gone: Mutex<Vec<LegId>>,
    pub silent_after: Duration,
    pub record_dir: PathBuf,
}

pub struct MediaThread {
    clock: Clock,
    common: Arc<Common>,
    orders: mpsc::Receiver<Order>,
    waker: Waker,
    tell: Box<dyn Fn(MediaEvent) + Send>,
    recorder: Recorder,
    library: Arc<Library>,
    poll: Poll,
    wheel: Wheel,
    legs: Vec<Option<Box<Leg>>>,
    places: HashMap<LegId, u32>,
    free_places: Vec<u32>,
    sweep_due: Moment,
    /// When the last turn looked at the clock.
    ran_at: Moment,
    missing_told: BTreeSet<PromptId>,
    /// The leg being served: if the house has a fault there, only this leg pays for it.
    serving: Option<u32>,
    stopped: bool,
    served: Vec<u32>,
    datagram: Box<[u8; DATAGRAM_MAX]>,
}

impl MediaThread {
    pub fn new(
        clock: Clock,
        common: Arc<Common>,
        orders: mpsc::Receiver<Order>,
        waker: Waker,
        tell: Box<dyn Fn(MediaEvent) + Send>,
        recorder: Recorder,
        library: Arc<Library>,
    ) -> io::Result<Self> {
        let now = clock.now();
        let poll = Poll::new()?;
        poll.add(&waker, WAKE)?;
        Ok(Self {
            clock,
            common,
            orders,
            waker,
            tell,
            recorder,
            library,
            poll,
            wheel: Wheel::new(now),
            legs: Vec::new(),
            places: HashMap::new(),
            free_places: Vec::new(),
            sweep_due: now,
            ran_at: now,
            missing_told: BTreeSet::new(),
            serving: None,
            stopped: false,
            served: Vec::new(),
            datagram: Box::new([0; DATAGRAM_MAX]),
        })
    }

    pub fn run(mut self) {
        super::poll::sleep_precisely();
        if !super::poll::go_before_other_work() {
            tracing::debug!("media runs at usual priority: a busy machine may delay packets");
        }
        while !self.stopped {
            match catch_unwind(AssertUnwindSafe(|| self.turn())) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(%error, "media thread cannot wait for packets");
                    break;
                }
                Err(_) => self.drop_faulty_leg(),
            }
        }
        for place in 0..self.legs.len() as u32 {
            self.close(self.clock.now(), place);
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        // 1. Sleep until something arrives or is due.
        let now = self.clock.now();
        self.poll.wait(now, self.wheel.due().map_or(self.sweep_due, |due| due.min(self.sweep_due)))?;
        // 2. Pass on what arrived.
        let now = self.clock.now();
        let gap = now.since(std::mem::replace(&mut self.ran_at, now));
        if gap > STALLED {
            self.catch_up(now, gap);
        }
        let mut woken = false;
        let mut at = 0;
        while let Some(token) = self.poll.ready(at) {
            if token == WAKE {
                woken = true;
            } else {
                self.receive(now, token);
            }
            at += 1;
        }
        // 3. Send what is due.
        self.send_due(self.clock.now());
        // 4. Obey. After the packets, so that a place is not given to another leg while its packets are being read.
        if woken {
            self.waker.heard();
            let mut obeyed = 0;
            for _ in 0..ORDERS_MAX {
                let Ok(order) = self.orders.try_recv() else { break };
                self.obey(self.clock.now(), order);
                obeyed += 1;
            }
            if obeyed == ORDERS_MAX {
                self.waker.ring();
            }
        }
        // 5. Look after silences and recordings.
        if now >= self.sweep_due {
            self.sweep(now);
        }
        self.serving = None;
        Ok(())
    }

    fn catch_up(&mut self, now: Moment, gap: Duration) {
        tracing::warn!(ms = gap.as_millis() as u64, "the media thread did not run; what came meanwhile is not passed on");
        for place in 0..self.legs.len() as u32 {
            self.serving = Some(place);
            if let Some(leg) = leg_at(&mut self.legs, place) {
                leg.catch_up(now, gap, self.datagram.as_mut(), &self.tell);
            }
        }
    }

    /// One datagram of one leg; if more wait there, the next look sees them.
    fn receive(&mut self, now: Moment, place: u32) {
        self.serving = Some(place);
        let Some(leg) = leg_at(&mut self.legs, place) else { return };
        let Ok((len, from)) = leg.socket.recv_from(self.datagram.as_mut()) else { return };
        let Some(bytes) = self.datagram.get_mut(..len) else { return };
        let Some(incoming) = leg.take(now, from, bytes, &self.tell) else { return };
        if let Some(peer) = leg.peer.and_then(|peer| leg_at(&mut self.legs, peer)) {
            peer.relay(now, &incoming, bytes);
        }
    }

    fn send_due(&mut self, now: Moment) {
        let mut served = std::mem::take(&mut self.served);
        while self.wheel.take_due(now, &mut served) {
            for place in served.iter().copied() {
                self.serving = Some(place);
                let Some(leg) = leg_at(&mut self.legs, place) else { continue };
                match leg.turn(now) {
                    Turn::GoesOn => {}
                    Turn::Ended(play) => (self.tell)(MediaEvent::PlayEnded { leg: leg.id, play }),
                    Turn::NothingToSend => self.unseat(place),
                }
            }
        }
        self.served = served;
    }

    fn obey(&mut self, now: Moment, order: Order) {
        match order {
            Order::Command(command) => self.command(now, command),
            Order::Library(library) => self.library = library,
            Order::Give { leg, to } => {
                let leg = self.places.get(&leg).copied().and_then(|place| self.remove(place));
                // Who asked waits for the answer; if not, the leg closes with it.
                let _ = to.send(leg);
            }
            Order::Receive(leg) => self.insert(now, leg),
            // Who asked may have gone.
            Order::Report(to) => drop(to.send(self.report(now))),
            Order::Stop => self.stopped = true,
        }
    }

    fn command(&mut self, now: Moment, command: MediaCommand) {
        match command {
            MediaCommand::Open { leg, network, near: _, at } => self.open(now, leg, &network, at),
            MediaCommand::Bridge { a, b } => self.bridge(a, b),
            MediaCommand::Connect { leg, stream, learn } => self.with_leg(now, leg, |leg, _| leg.connect(now, stream, learn)),
            MediaCommand::Play { leg, play, prompts, repeat } => self.play(now, leg, play, prompts, repeat),
            MediaCommand::StopPlay { leg } => self.with_leg(now, leg, |leg, _| leg.stop_play()),
            MediaCommand::Unbridge { leg } => {
                if let Some(place) = self.places.get(&leg).copied() {
                    self.part(place);
                }
            }
            MediaCommand::Record { leg, file } => self.record(now, leg, file),
            MediaCommand::PauseRecord { leg, paused } => self.with_leg(now, leg, |leg, _| {
                if let Some(recording) = &mut leg.recording {
                    recording.pause(now, paused);
                }
            }),
            MediaCommand::StopRecord { leg } => self.with_leg(now, leg, |leg, _| {
                if let Some(recording) = leg.recording.take() {
                    recording.stop(now);
                }
            }),
            MediaCommand::SendDigit { leg, digit } => self.with_leg(now, leg, |leg, _| {
                if !leg.send_key(digit) {
                    tracing::warn!(leg = %leg.id, "key cannot be sent: no telephone-event was agreed, or too many wait");
                }
            }),
            MediaCommand::Close { leg } => {
                if let Some(place) = self.places.get(&leg).copied() {
                    self.close(now, place);
                }
            }
            MediaCommand::FinishRecord { leg, file } => self.finish_record(now, leg, file),
            // The post room reads the folders and sends the library; the process keeps what it told.
            MediaCommand::ReloadPrompts | MediaCommand::Noted { .. } | MediaCommand::Stop => {}
        }
    }

    fn open(&mut self, now: Moment, leg: LegId, network: &str, at: Option<SocketAddr>) {
        if let Some(open) = self.places.get(&leg).copied().and_then(|place| leg_at(&mut self.legs, place)) {
            (self.tell)(MediaEvent::Opened { leg, local: open.port.address });
            return;
        }
        match self.bind(now, leg, network, at) {
            Ok(opened) => {
                let local = opened.port.address;
                self.insert(now, opened);
                (self.tell)(MediaEvent::Opened { leg, local });
            }
            Err(why) => {
                lock(&self.common.gone).push(leg);
                (self.tell)(MediaEvent::OpenFailed { leg, why });
            }
        }
    }

    fn bind(&self, now: Moment, leg: LegId, network: &str, at: Option<SocketAddr>) -> Result<Box<Leg>, String> {
        let out = new_stream().map_err(|error| error.to_string())?;
        let mut why = String::new();
        let mut again = at.and_then(|at| lock(&self.common.ports).take_again(network, at));
        for _ in 0..BIND_ATTEMPTS {
            let port = match again.take() {
                Some(port) => port,
                None => lock(&self.common.ports).take(now, network).map_err(|error| error.to_string())?,
            };
            match bind_audio(port.address) {
                Ok(socket) => return Ok(Box::new(Leg::new(leg, port, socket, out, now))),
                Err(error) => {
                    why = format!("cannot bind {}: {error}", port.address);
                    lock(&self.common.ports).put_to_rest(now, &port);
                }
            }
        }
        Err(why)
    }

    fn play(&mut self, now: Moment, leg: LegId, play: PlayId, prompts: Vec<PromptId>, repeat: bool) {
        let known = self.places.get(&leg).copied().and_then(|place| leg_at(&mut self.legs, place));
        if known.is_none_or(|leg| leg.plays(play)) {
            return;
        }
        let mut found = Vec::with_capacity(prompts.len());
        for prompt in &prompts {
            match self.library.get(prompt) {
                Some(known) => found.push(known),
                None if self.missing_told.len() < MISSING_TOLD_MAX && self.missing_told.insert(prompt.clone()) => {
                    tracing::warn!(%prompt, "there is no such prompt; it is left out");
                }
                None => {}
            }
        }
        let playing = Playing { play, prompts, repeat, list: Playlist::new(found, repeat) };
        self.with_leg(now, leg, |leg, _| leg.play(playing));
    }

    fn bridge(&mut self, a: LegId, b: LegId) {
        let (Some(a), Some(b)) = (self.places.get(&a).copied(), self.places.get(&b).copied()) else { return };
        if a == b {
            return;
        }
        for (place, peer) in [(a, b), (b, a)] {
            self.part(place);
            if let Some(leg) = leg_at(&mut self.legs, place) {
                leg.stop_play();
                leg.peer = Some(peer);
            }
        }
    }

    fn part(&mut self, place: u32) {
        if let Some(peer) = leg_at(&mut self.legs, place).and_then(|leg| leg.peer.take())
            && let Some(peer) = leg_at(&mut self.legs, peer)
        {
            peer.peer = None;
        }
    }

    fn record(&mut self, now: Moment, leg: LegId, file: String) {
        let path = self.common.record_dir.join(&file);
        let recorder = self.recorder.clone();
        self.with_leg(now, leg, |leg, _| {
            if leg.recording.as_ref().is_some_and(|recording| recording.file() == file) {
                return;
            }
            let fresh = recorder.record(now, leg.id, file, path);
            if let Some(former) = leg.recording.replace(Box::new(fresh)) {
                former.stop(now);
            }
        });
    }

    fn finish_record(&mut self, now: Moment, leg: LegId, file: String) {
        let here = self.places.get(&leg).copied().and_then(|place| leg_at(&mut self.legs, place));
        match here.and_then(|leg| leg.recording.take_if(|recording| recording.file() == file)) {
            Some(recording) => recording.stop(now),
            None => {
                let path = self.common.record_dir.join(&file);
                self.recorder.finish(leg, file, path);
            }
        }
    }

    fn report(&self, now: Moment) -> Vec<LegReport> {
        let id_at = |place: u32| self.legs.get(place as usize)?.as_ref().map(|leg| leg.id);
        self.legs.iter().flatten().map(|leg| leg.report(now, leg.peer.and_then(id_at))).collect()
    }

    /// Does something to a leg and gives it a seat on the wheel if there is something to be made for it then.
    fn with_leg(&mut self, now: Moment, leg: LegId, act: impl FnOnce(&mut Leg, u32)) {
        let Some(place) = self.places.get(&leg).copied() else { return };
        self.serving = Some(place);
        let Some(leg) = leg_at(&mut self.legs, place) else { return };
        act(leg, place);
        if leg.slot.is_none() && leg.makes() {
            leg.slot = Some(self.wheel.add(now, place));
        }
    }

    fn insert(&mut self, now: Moment, leg: Box<Leg>) {
        let place = self.free_places.pop().unwrap_or_else(|| {
            self.legs.push(None);
            self.legs.len() as u32 - 1
        });
        let id = leg.id;
        if let Err(error) = self.poll.add(&leg.socket, place) {
            tracing::error!(leg = %id, %error, "leg will hear nothing");
        }
        if let Some(vacant) = self.legs.get_mut(place as usize) {
            *vacant = Some(leg);
        }
        self.places.insert(id, place);
        self.with_leg(now, id, |_, _| {});
    }

    fn remove(&mut self, place: u32) -> Option<Box<Leg>> {
        self.part(place);
        self.unseat(place);
        let leg = self.legs.get_mut(place as usize)?.take()?;
        self.poll.remove(&leg.socket);
        self.places.remove(&leg.id);
        self.free_places.push(place);
        Some(leg)
    }

    fn close(&mut self, now: Moment, place: u32) {
        let Some(leg) = self.remove(place) else { return };
        let summary = leg.summary();
        let Leg { id, port, recording, socket, .. } = *leg;
        if let Some(recording) = recording {
            recording.stop(now);
        }
        drop::<UdpSocket>(socket);
        lock(&self.common.ports).put_to_rest(now, &port);
        lock(&self.common.gone).push(id);
        (self.tell)(MediaEvent::Closed { leg: id, summary });
    }

    fn unseat(&mut self, place: u32) {
        if let Some(slot) = leg_at(&mut self.legs, place).and_then(|leg| leg.slot.take()) {
            self.wheel.remove(slot, place);
        }
    }

    fn sweep(&mut self, now: Moment) {
        self.sweep_due = now + SWEEP;
        for leg in self.legs.iter_mut().flatten() {
            if let Some(silence) = leg.newly_silent(now, self.common.silent_after) {
                (self.tell)(MediaEvent::Silent { leg: leg.id, ms: silence.as_millis() as u64 });
            }
            if let Some(recording) = &mut leg.recording {
                recording.flush_if_due(now);
            }
        }
    }

    fn drop_faulty_leg(&mut self) {
        // Orders that were still waiting must not wait for the next ring.
        self.waker.ring();
        let Some(place) = self.serving.take() else { return };
        tracing::error!(leg = ?leg_at(&mut self.legs, place).map(|leg| leg.id), "a fault in the media room ends this leg");
        self.close(self.clock.now(), place);
    }
}

fn leg_at(legs: &mut [Option<Box<Leg>>], place: u32) -> Option<&mut Leg> {
    legs.get_mut(place as usize)?.as_deref_mut()
}

/// RFC 3550 §5.1: SSRC, first sequence number and first timestamp are random.
fn new_stream() -> Result<OutStream, getrandom::Error> {
    let (ssrc, first) = (getrandom::u32()?, getrandom::u64()?);
    Ok(OutStream::new(ssrc, first as u16, (first >> 32) as u32))
}

/// A thread that fell over holding this lock left nothing half done: pools and lists change in one step.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
