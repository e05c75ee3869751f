//! The engine's end of the door: commands go down the line turn by turn, what media tells comes up, wherever media runs.

use super::door::{MediaCommand, MediaEvent, Told, VERSION, version_of, versioned};
use super::framing::{add_frame, read_frame};
use super::poll::{leave_session, peer, send_now, terminate};
use super::post::UNNOTED_MAX;
use super::process::beside;
use super::thread::lock;
use super::{Media, MediaSettings};
use crate::clock::Clock;
use std::io::{self, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Commands that media has not taken: far more than a busy second's. Beyond it the connection is given up; the next begins clean.
const UNSENT_MAX: usize = 4 << 20;
/// How long a process just started may take until it can be attached to; it reads its prompts before.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks for its socket.
const LOOK: Duration = Duration::from_millis(5);
/// A life of media shorter than this counts as a failed attempt.
const STEADY: Duration = Duration::from_millis(500);
/// The pauses between attempts, after the first which is made at once.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const DOUBLINGS: u32 = 7;

/// How a media process is started if none listens.
#[derive(Clone, Debug)]
pub struct Start {
    pub program: PathBuf,
    pub config: PathBuf,
}

/// Where commands go. While media is detached they go nowhere: who hears `Attached` compares and says again what is missing.
pub struct Line {
    end: End,
}

enum End {
    Inside(Media),
    Process {
        turn: Vec<u8>,
        connection: Slot,
        /// The keeper ends when it is gone.
        _alive: mpsc::Sender<()>,
    },
}

type Slot = Arc<Mutex<Way>>;

#[derive(Default)]
struct Way {
    connection: Option<Arc<Connection>>,
    /// Media was told to stop, or the engine is done with it: no other connection is wanted after this one.
    over: bool,
}

impl Line {
    /// Media on threads of this process.
    pub fn inside(settings: MediaSettings, clock: Clock) -> io::Result<(Line, Receiver<Told>)> {
        let (tell, told) = channel(UNNOTED_MAX);
        let _ = tell.try_send(Told { number: 0, event: MediaEvent::Attached { life: getrandom::u64()?, legs: Vec::new() } });
        // One lock for number and channel, so that they agree on the order.
        let last = Arc::new(Mutex::new(0));
        let media = Media::start(settings, clock, move |event| {
            let mut last = lock(&last);
            *last += 1;
            // A media thread waits for nobody; an engine that is so far behind has stopped.
            if let Err(TrySendError::Full(told)) = tell.try_send(Told { number: *last, event }) {
                tracing::error!(number = told.number, "the engine takes no events of media; this one is lost");
            }
        })?;
        Ok((Line { end: End::Inside(media) }, told))
    }

    /// Media in the process that listens at `socket`, started if it may be and none does. Waits until it is reached, a bounded time;
    /// if that takes longer, the line goes on trying and says `Attached` then.
    pub fn process(socket: PathBuf, start: Option<Start>, clock: Clock) -> io::Result<(Line, Receiver<Told>)> {
        let (tell, told) = channel(UNNOTED_MAX);
        let (alive, ended) = mpsc::channel();
        let (reached, first) = mpsc::channel();
        let connection = Slot::default();
        let mut keeper = Keeper { socket, start, clock, slot: connection.clone(), tell, ended, reached, child: None };
        std::thread::Builder::new().name("media-line".into()).spawn(move || keeper.run())?;
        if first.recv_timeout(START_PATIENCE).is_err() {
            tracing::error!("media is not there yet; calls have no audio until it is");
        }
        Ok((Line { end: End::Process { turn: Vec::new(), connection, _alive: alive } }, told))
    }

    pub fn send(&mut self, command: MediaCommand) {
        match &mut self.end {
            End::Inside(media) => media.send(command),
            End::Process { turn, connection, .. } => {
                if command == MediaCommand::Stop {
                    lock(connection).over = true;
                }
                if let Err(error) = add_frame(turn, &command) {
                    tracing::error!(%error, "a media command cannot be sent");
                }
            }
        }
    }

    /// Lets all commands since the last time leave by one write. Never waits.
    pub fn flush(&mut self) {
        let End::Process { turn, connection, .. } = &mut self.end else { return };
        if turn.is_empty() {
            return;
        }
        if let Some(connection) = lock(connection).connection.clone() {
            connection.send(turn);
        }
        turn.clear();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.flush();
        if let End::Process { connection, .. } = &self.end {
            let mut way = lock(connection);
            way.over = true;
            if let Some(connection) = way.connection.take() {
                // What was sent still arrives.
                let _ = connection.stream.shutdown(Shutdown::Read);
            }
        }
    }
}

/// The way down of one connection.
struct Connection {
    stream: UnixStream,
    unsent: Mutex<Unsent>,
}

#[derive(Default)]
struct Unsent {
    bytes: Vec<u8>,
    /// A thread waits for media to take more.
    helped: bool,
    broken: bool,
}

impl Connection {
    fn send(self: &Arc<Self>, turn: &[u8]) {
        let mut unsent = lock(&self.unsent);
        if unsent.broken {
            return;
        }
        let mut rest = turn;
        if !unsent.helped {
            match send_now(&self.stream, turn) {
                Ok(sent) => rest = turn.get(sent..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The reader sees the end of the stream too and says so.
                Err(_) => {
                    unsent.broken = true;
                    return;
                }
            }
        }
        if rest.is_empty() {
            return;
        }
        unsent.bytes.extend_from_slice(rest);
        if unsent.bytes.len() > UNSENT_MAX {
            tracing::error!("media takes no commands; its connection is given up");
            *unsent = Unsent { broken: true, ..Unsent::default() };
            let _ = self.stream.shutdown(Shutdown::Both);
        } else if !unsent.helped {
            let connection = self.clone();
            let helper = std::thread::Builder::new().name("media-line-rest".into()).spawn(move || connection.send_rest());
            unsent.helped = helper.is_ok();
        }
    }

    /// Waits as long as media does; what comes meanwhile queues up behind.
    fn send_rest(&self) {
        loop {
            let bytes = {
                let mut unsent = lock(&self.unsent);
                if unsent.bytes.is_empty() || unsent.broken {
                    unsent.helped = false;
                    return;
                }
                std::mem::take(&mut unsent.bytes)
            };
            if (&self.stream).write_all(&bytes).is_err() {
                lock(&self.unsent).broken = true;
            }
        }
    }
}

/// Keeps the line up: connects, starts media if need be, listens, and begins again when it breaks.
struct Keeper {
    socket: PathBuf,
    start: Option<Start>,
    clock: Clock,
    slot: Slot,
    tell: Sender<Told>,
    ended: mpsc::Receiver<()>,
    reached: mpsc::Sender<()>,
    child: Option<Child>,
}

impl Keeper {
    fn run(&mut self) {
        let mut failures = 0u32;
        loop {
            let began = self.clock.now();
            match self.reach().and_then(|stream| self.listen(stream)) {
                Ok(()) if self.clock.now().since(began) > STEADY => failures = 0,
                Ok(()) => {}
                Err(error) if failures == 0 => {
                    tracing::error!(%error, socket = %self.socket.display(), "media cannot be reached; tried again until it can");
                }
                Err(_) => {}
            }
            let pause = if failures == 0 { Duration::ZERO } else { FIRST_PAUSE * 2u32.pow((failures - 1).min(DOUBLINGS)) };
            failures = failures.saturating_add(1);
            let over = lock(&self.slot).over || self.tell.is_closed();
            if over || self.ended.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    fn reach(&mut self) -> io::Result<UnixStream> {
        let socket = versioned(&self.socket);
        let nobody = match UnixStream::connect(&socket) {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        let Some(start) = self.start.clone() else {
            let others = self.media_of_another_version();
            let Some((other, version, _)) = others.first() else { return Err(nobody) };
            let why = format!("media at {} speaks version {version}, this engine {VERSION}; restart media", other.display());
            return Err(io::Error::new(nobody.kind(), why));
        };
        if self.child.as_mut().is_none_or(has_ended) {
            self.end_media_of_another_version()?;
            tracing::info!(socket = %socket.display(), "no media process listens; one is started");
            self.child = Some(start.spawn()?);
        }
        for _ in 0..START_PATIENCE.as_millis() / LOOK.as_millis() {
            let ended = self.child.as_mut().is_none_or(has_ended);
            // One that another engine had started may stand there, which is why ours ended.
            match UnixStream::connect(&socket) {
                Ok(stream) => return Ok(stream),
                Err(_) if ended => return Err(io::Error::other("the media process ended; its log says why")),
                Err(_) => {}
            }
            if self.ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Disconnected) {
                break;
            }
        }
        Err(nobody)
    }

    /// Media that another build of us left, with the version its door has: the two cannot talk with one another.
    fn media_of_another_version(&self) -> Vec<(PathBuf, u32, UnixStream)> {
        let folder = self.socket.parent().map(std::fs::read_dir);
        let beside = folder.into_iter().flatten().flatten().flatten().map(|entry| entry.path());
        let others = beside.filter_map(|path| version_of(&self.socket, &path).map(|version| (path, version)));
        let others = others.filter(|(_, version)| *version != VERSION);
        others.filter_map(|(path, version)| UnixStream::connect(&path).ok().map(|stream| (path, version, stream))).collect()
    }

    /// It is told to end, and its end is waited for, so that ports and recordings are free for ours. Signalling goes on meanwhile;
    /// the legs are opened again where they stood.
    fn end_media_of_another_version(&self) -> io::Result<()> {
        for (path, version, stream) in self.media_of_another_version() {
            tracing::warn!(socket = %path.display(), version, ours = VERSION, "media of another build is ended; ours takes its legs up");
            terminate(peer(&stream)?)?;
            // Who is not attached to is nobody's, and ends at once.
            drop(stream);
            let lock = std::fs::File::options().write(true).open(beside(&path, ".lock"))?;
            let looks = START_PATIENCE.as_millis() / LOOK.as_millis();
            let gone = (0..looks)
                .any(|_| lock.try_lock().is_ok() || self.ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Disconnected));
            if !gone {
                return Err(io::Error::other(format!("media at {} does not end; end it by hand", path.display())));
            }
        }
        Ok(())
    }

    /// Brings up what media tells, until it hangs up.
    fn listen(&mut self, stream: UnixStream) -> io::Result<()> {
        let connection = Connection { stream: stream.try_clone()?, unsent: Mutex::default() };
        {
            let mut way = lock(&self.slot);
            if way.over {
                return Ok(());
            }
            way.connection = Some(Arc::new(connection));
        }
        let _ = self.reached.send(());
        let mut reader = BufReader::new(&stream);
        let mut last = None;
        let ended = loop {
            match read_frame::<Told>(&mut reader) {
                Ok(Some(told)) => {
                    last = Some(told.number);
                    if self.tell.blocking_send(told).is_err() {
                        break Ok(());
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        lock(&self.slot).connection = None;
        let _ = stream.shutdown(Shutdown::Both);
        if let Some(number) = last {
            let _ = self.tell.blocking_send(Told { number, event: MediaEvent::Detached });
        }
        ended
    }
}

impl Start {
    /// Media outlives who starts it: it leaves the session, so that neither Ctrl-C nor a closed terminal reaches it.
    fn spawn(&self) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.arg("media").arg("--config").arg(&self.config).stdin(Stdio::null()).stdout(Stdio::null());
        leave_session(&mut command);
        command.spawn()
    }
}

/// Also lets the kernel forget a child that has ended.
fn has_ended(child: &mut Child) -> bool {
    !matches!(child.try_wait(), Ok(None))
}
