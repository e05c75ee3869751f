//! Media as a process of its own: one engine after the other at its socket, and legs that live on while there is none.

use super::door::{MediaCommand, MediaEvent, Told, versioned};
use super::framing::{add_frame, read_frame};
use super::post::Post;
use super::{Media, MediaSettings};
use crate::clock::{Clock, Moment};
use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long legs may live on after the process was told to terminate, if an engine is there to let them go.
const TERMINATE_WITHIN: Duration = Duration::from_secs(10);
/// An engine that takes no event for so long, with the socket's buffer full, is stuck: its connection is closed.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);

pub struct Door {
    /// Where engines attach, before the door's version is put into the name; for its owner only.
    pub socket: PathBuf,
    /// Without an engine for so long, all legs close and the process ends.
    pub orphan_after: Duration,
}

/// Serves until stopped, orphaned, or until `terminated` returns. Recordings are finished then.
pub fn run(door: Door, settings: MediaSettings, clock: Clock, terminated: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let socket = versioned(&door.socket);
    let (_only_one, listener) = bind(&socket)?;
    let (words, heard) = mpsc::channel();
    let post = Arc::new(Post::default());
    let media = {
        let (post, words) = (post.clone(), words.clone());
        Media::start(settings, clock, move |event| {
            let closed = matches!(event, MediaEvent::Closed { .. });
            post.tell(event);
            if closed {
                // Whoever ends the process looks whether it was the last.
                let _ = words.send(Word::LegClosed);
            }
        })?
    };
    let (accepted, signalled) = (words.clone(), words.clone());
    thread("media-accept", move || accept(&listener, &accepted))?;
    thread("media-signals", move || {
        terminated();
        let _ = signalled.send(Word::Terminate);
    })?;
    let mut server = Server { media, post, words, attached: None, engines: 0, life: getrandom::u64()? };
    server.serve(&heard, &clock, door.orphan_after);
    let _ = fs::remove_file(&socket);
    server.end();
    Ok(())
}

/// What the process has to think about.
enum Word {
    Engine(UnixStream),
    /// The engine of this number hung up.
    Left(u64),
    LegClosed,
    Stop,
    Terminate,
}

struct Server {
    media: Media,
    post: Arc<Post>,
    words: mpsc::Sender<Word>,
    attached: Option<Attached>,
    /// Engines that have attached so far.
    engines: u64,
    life: u64,
}

struct Attached {
    engine: u64,
    stream: UnixStream,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
}

impl Server {
    fn serve(&mut self, heard: &mpsc::Receiver<Word>, clock: &Clock, orphan_after: Duration) {
        let mut orphan_at = Some(clock.now() + orphan_after);
        let (mut draining, mut end_by) = (false, None::<Moment>);
        loop {
            let due = [orphan_at, end_by].into_iter().flatten().min();
            let word = match due {
                Some(at) => heard.recv_timeout(at.since(clock.now())).ok(),
                None => heard.recv().ok(),
            };
            match word {
                Some(Word::Engine(stream)) => match self.attach(stream) {
                    Ok(()) => orphan_at = None,
                    Err(error) => tracing::error!(%error, "an engine cannot be attached"),
                },
                Some(Word::Left(engine)) => {
                    if self.attached.as_ref().is_some_and(|attached| attached.engine == engine) {
                        tracing::warn!(legs = self.media.legs().len(), "the engine is gone; the legs live on");
                        self.detach();
                        orphan_at = Some(clock.now() + orphan_after);
                        // Nobody is there any more who would let legs go.
                        end_by = end_by.map(|_| clock.now());
                    }
                }
                Some(Word::LegClosed) => {}
                Some(Word::Stop) => draining = true,
                Some(Word::Terminate) => {
                    let patience = if self.attached.is_some() { TERMINATE_WITHIN } else { Duration::ZERO };
                    (draining, end_by) = (true, Some(clock.now() + patience));
                }
                None => {
                    tracing::warn!(legs = self.media.legs().len(), "media ends: no engine came, or legs were not let go in time");
                    return;
                }
            }
            if draining && self.media.legs().is_empty() {
                tracing::info!("media ends, all legs are closed");
                return;
            }
        }
    }

    /// The engine that comes is the living one: a former one, if it still holds its end, is dead or stuck.
    fn attach(&mut self, stream: UnixStream) -> io::Result<()> {
        self.detach();
        self.engines += 1;
        let engine = self.engines;
        stream.set_write_timeout(Some(WRITE_PATIENCE))?;
        let (mut out, input) = (stream.try_clone()?, stream.try_clone()?);
        let number = self.post.attach(engine);
        // The former engine's commands have all been obeyed or lie in the threads' boxes before this question.
        let attached = Told { number, event: MediaEvent::Attached { life: self.life, legs: self.media.legs() } };
        let mut bytes = Vec::new();
        add_frame(&mut bytes, &attached)?;
        let post = self.post.clone();
        let writer = thread("media-teller", move || {
            let mut told = 0;
            while out.write_all(&bytes).is_ok() {
                bytes.clear();
                match post.next(engine, told, &mut bytes) {
                    Some(last) => told = last,
                    None => return,
                }
            }
            // The reader sees the end of the stream and says so.
            let _ = out.shutdown(Shutdown::Both);
        })?;
        let (life, media, post, words) = (self.life, self.media.clone(), self.post.clone(), self.words.clone());
        let reader = thread("media-door", move || {
            if let Err(error) = obey(&input, life, &media, &post, &words) {
                tracing::error!(%error, "the engine's connection is closed");
            }
            let _ = words.send(Word::Left(engine));
        })?;
        self.attached = Some(Attached { engine, stream, reader, writer });
        tracing::info!(engine, "an engine has attached");
        Ok(())
    }

    /// What the engine had sent is obeyed before its connection is forgotten.
    fn detach(&mut self) {
        let Some(Attached { engine, stream, reader, writer }) = self.attached.take() else { return };
        let _ = stream.shutdown(Shutdown::Both);
        self.post.detach(engine);
        let _ = (reader.join(), writer.join());
    }

    /// Closes all legs and tells the engine, if it is there, how that went.
    fn end(mut self) {
        let attached = self.attached.take();
        let writer = attached.map(|Attached { stream, reader, writer, .. }| {
            let _ = stream.shutdown(Shutdown::Read);
            let _ = reader.join();
            writer
        });
        // The last hold on the media room: its threads end, and after them the recorder.
        drop(self.media);
        self.post.close();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }
}

/// Obeys until the engine hangs up.
fn obey(stream: &UnixStream, life: u64, media: &Media, post: &Post, words: &mpsc::Sender<Word>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(command) = read_frame::<MediaCommand>(&mut reader)? {
        match command {
            MediaCommand::Noted { life: of, number } if of == life => post.noted(number),
            MediaCommand::Stop => drop(words.send(Word::Stop)),
            command => media.send(command),
        }
    }
    Ok(())
}

fn accept(listener: &UnixListener, words: &mpsc::Sender<Word>) {
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => {
                if words.send(Word::Engine(stream)).is_err() {
                    return;
                }
            }
            Err(error) => tracing::error!(%error, "an engine cannot attach"),
        }
    }
}

/// The lock comes first, so that a socket file found then is stale and may be replaced. It appears under its name with its mode set.
fn bind(socket: &Path) -> io::Result<(File, UnixListener)> {
    if let Some(folder) = socket.parent() {
        fs::create_dir_all(folder)?;
    }
    let lock = File::options().create(true).truncate(false).write(true).open(beside(socket, ".lock"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let why = format!("another media process serves {}; end it or name another `[media] socket`", socket.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let fresh = beside(socket, ".new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&fresh)?;
    fs::set_permissions(&fresh, Permissions::from_mode(0o600))?;
    fs::rename(&fresh, socket)?;
    Ok((lock, listener))
}

pub(super) fn beside(socket: &Path, end: &str) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}
