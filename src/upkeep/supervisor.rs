//! The word to systemd (or whoever started us with `NOTIFY_SOCKET`): ready, and alive as long as the engine's loop turns.
//!
//! sd_notify(3): a datagram of `KEY=VALUE` lines to the socket named in the environment; a leading `@` stands for the zero byte of
//! Linux' abstract names.

use crate::call::request::Engine;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

/// Of the interval the supervisor waits, how many words fall into it.
const WORDS_PER_INTERVAL: u32 = 3;

pub struct Supervisor {
    socket: UnixDatagram,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// `None` if nobody waits for a word. `look` gives variables of the environment.
    pub fn of(look: &dyn Fn(&str) -> Option<String>) -> Option<Self> {
        let name = look("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        let connected = connect(&name);
        let socket =
            connected.map_err(|error| tracing::error!(%error, name, "the supervisor's socket cannot be reached")).ok()?;
        // The watchdog may be meant for another process of this service.
        let for_us = look("WATCHDOG_PID").is_none_or(|id| id == std::process::id().to_string());
        let interval = look("WATCHDOG_USEC").and_then(|us| us.parse().ok()).map(Duration::from_micros);
        Some(Self { socket, watchdog: interval.filter(|interval| for_us && !interval.is_zero()) })
    }

    pub fn tell(&self, words: &str) {
        if let Err(error) = self.socket.send(words.as_bytes()) {
            tracing::warn!(%error, words, "the supervisor was not told");
        }
    }

    /// Ready; then alive, each time the loop has answered. A loop that does not turn answers nobody, so nothing is said for it, and
    /// the supervisor does what it is there for.
    pub async fn keep_told(self: Arc<Self>, engine: Engine) {
        self.tell("READY=1");
        let Some(interval) = self.watchdog else { return };
        let mut pace = tokio::time::interval(interval / WORDS_PER_INTERVAL);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            match engine.board().await {
                Ok(_) => self.tell("WATCHDOG=1"),
                // The loop has ended by itself: a drain.
                Err(_) => return,
            }
        }
    }
}

fn connect(name: &str) -> std::io::Result<UnixDatagram> {
    let address = match name.strip_prefix('@') {
        Some(rest) => SocketAddr::from_abstract_name(rest)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::request::Request;
    use crate::call::view::Board;
    use tokio::sync::mpsc;

    /// The supervisor's end of the socket.
    fn listen(name: &str) -> UnixDatagram {
        let address = match name.strip_prefix('@') {
            Some(rest) => SocketAddr::from_abstract_name(rest).unwrap(),
            None => SocketAddr::from_pathname(name).unwrap(),
        };
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        socket
    }

    fn hear(socket: &UnixDatagram) -> Option<String> {
        let mut word = [0; 64];
        let length = socket.recv(&mut word).ok()?;
        Some(String::from_utf8_lossy(&word[..length]).into_owned())
    }

    /// A loop that turns so often and then is stuck for ever.
    fn turns(often: usize) -> Engine {
        let (requests, mut asked) = mpsc::channel(Engine::MAX_REQUESTS);
        tokio::spawn(async move {
            for _ in 0..often {
                if let Some(Request::Board(reply)) = asked.recv().await {
                    drop(reply.send(Board::default()));
                }
            }
            std::future::pending::<()>().await;
            drop(asked);
        });
        Engine { requests }
    }

    fn told(name: &str, watchdog: &str) -> Arc<Supervisor> {
        let environment = |key: &str| match key {
            "NOTIFY_SOCKET" => Some(name.to_owned()),
            "WATCHDOG_USEC" => Some(watchdog.to_owned()),
            _ => None,
        };
        Arc::new(Supervisor::of(&environment).unwrap())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stuck_loop_stops_feeding_the_watchdog() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join("notify").display().to_string();
        let socket = listen(&name);
        tokio::spawn(told(&name, "30000").keep_told(turns(4)));
        let heard: Vec<String> =
            tokio::task::spawn_blocking(move || std::iter::from_fn(|| hear(&socket)).collect()).await.unwrap();
        assert_eq!(heard, ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_abstract_socket_is_told_too() {
        let name = format!("@dozvon-test-{}", std::process::id());
        let socket = listen(&name);
        tokio::spawn(told(&name, "0").keep_told(turns(4)));
        let heard = tokio::task::spawn_blocking(move || (hear(&socket), hear(&socket))).await.unwrap();
        assert_eq!(heard, (Some("READY=1".to_owned()), None), "no watchdog is wanted");
    }

    #[test]
    fn without_a_supervisor_nobody_is_told() {
        assert!(Supervisor::of(&|_| None).is_none());
    }
}
