//! One engine as a process of its own: started, asked over HTTP, ended by signals, its log kept for whoever reads the failure.

use dozvon::facts::Ledger;
use serde_json::Value;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Bound of a wait that nothing of the configuration makes longer.
pub const SOON: Duration = Duration::from_secs(10);
/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(40);
/// Lines of the engine's log shown with a failure.
const TAIL: usize = 60;

/// The loopback addresses of one test: `127.61.N.x`, held by a socket so that no other run has them.
pub struct Net {
    number: u8,
    _held: UdpSocket,
}

impl Net {
    pub fn take() -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        for _ in 0..=u8::MAX {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            if let Ok(held) = UdpSocket::bind((Ipv4Addr::new(127, 61, number, 1), 9)) {
                return Self { number, _held: held };
            }
        }
        panic!("no network 127.61.N is free");
    }

    pub fn ip(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, 61, self.number, host)
    }

    /// Where a phone stands.
    pub fn at(&self, host: u8) -> SocketAddr {
        SocketAddr::from((self.ip(host), 5060))
    }

    /// Where the engine speaks SIP.
    pub fn engine(&self) -> SocketAddr {
        self.at(2)
    }
}

pub struct Engine {
    pub net: Net,
    folder: TempDir,
    child: Option<Child>,
    log_filter: &'static str,
    /// Further variables of the next start.
    pub environment: Vec<(&'static str, PathBuf)>,
    /// Errors in the log are part of the test.
    pub errors_expected: bool,
}

impl Engine {
    /// Starts on the configuration that `config` writes, given the folder in which `scripts/` and `data/` are; waits until it is ready.
    pub async fn start(log_filter: &'static str, config: impl FnOnce(&Net, &Path) -> String) -> Self {
        let folder = tempfile::Builder::new().prefix("dozvon-wire-").tempdir().unwrap();
        let net = Net::take();
        fs::write(folder.path().join("dozvon.toml"), config(&net, folder.path())).unwrap();
        let mut engine = Self { net, folder, child: None, log_filter, environment: Vec::new(), errors_expected: false };
        engine.restart().await;
        engine
    }

    /// Starts again on the same data.
    pub async fn restart(&mut self) {
        self.restart_with(&[]).await;
    }

    /// Starts again on the same data, with these variables in its environment.
    pub async fn restart_with(&mut self, environment: &[(&str, &str)]) {
        assert!(self.child.is_none(), "it runs already");
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_dozvon"))
            .args(["serve", "--config"])
            .arg(self.folder().join("dozvon.toml"))
            .env_remove("DOZVON_DATA")
            .env("DOZVON_LOG", self.log_filter)
            .env("WIRE_PASSWORD", PASSWORD)
            .envs(self.environment.clone())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        self.wait_for("the engine to be ready", Duration::from_secs(20), async || {
            self.get("/readyz").await.is_ok_and(|ready| ready["ready"] == true).then_some(())
        })
        .await;
    }

    /// As a power cut would.
    pub fn kill9(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Changes the configuration for the next start.
    pub fn configure(&self, change: impl FnOnce(String) -> String) {
        let path = self.folder().join("dozvon.toml");
        fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// The end after SIGTERM, or after a drain.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let ended = self.look("the engine to end", within, async || child.try_wait().unwrap()).await;
        ended.unwrap_or_else(|what| {
            self.child = Some(child);
            panic!("{what}")
        })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn log_path(&self) -> PathBuf {
        self.folder().join("engine.log")
    }

    pub fn log(&self) -> Vec<u8> {
        fs::read(self.log_path()).unwrap()
    }

    // ---- what people see ----

    pub async fn board(&self) -> Value {
        self.get("/api/v1/board").await.unwrap()
    }

    pub async fn ledger(&self) -> Ledger {
        serde_json::from_value(self.get("/api/v1/ledger").await.unwrap()).unwrap()
    }

    /// Today's calls in full, newest first, once the tables have all that has happened.
    pub async fn calls(&self) -> Vec<Value> {
        self.ledger().await;
        let list = self.get("/api/v1/calls?limit=500").await.unwrap();
        let mut calls = Vec::new();
        for call in list["calls"].as_array().unwrap() {
            calls.push(self.get(&format!("/api/v1/calls/{}", call["call"].as_str().unwrap())).await.unwrap());
        }
        calls
    }

    pub async fn callbacks(&self) -> Vec<Value> {
        self.get("/api/v1/callbacks?all=true&limit=500").await.unwrap()["callbacks"].as_array().unwrap().clone()
    }

    pub async fn agent(&self, user: &str) -> Value {
        self.get(&format!("/api/v1/agents/{user}")).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Result<Value, ureq::Error> {
        let url = self.url(path);
        tokio::task::spawn_blocking(move || http().get(&url).call()?.body_mut().read_json()).await.unwrap()
    }

    pub async fn get_bytes(&self, path: &str) -> Vec<u8> {
        let url = self.url(path);
        tokio::task::spawn_blocking(move || http().get(&url).call().unwrap().body_mut().read_to_vec().unwrap()).await.unwrap()
    }

    pub async fn post(&self, path: &str, body: Value) -> Result<(), ureq::Error> {
        let url = self.url(path);
        tokio::task::spawn_blocking(move || http().post(&url).send_json(body).map(drop)).await.unwrap()
    }

    pub async fn post_for(&self, path: &str, body: Value) -> Result<Value, ureq::Error> {
        let url = self.url(path);
        tokio::task::spawn_blocking(move || http().post(&url).send_json(body)?.body_mut().read_json()).await.unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}:8122{path}", self.net.ip(2))
    }

    // ---- waits ----

    /// Looks until the condition gives something.
    pub async fn wait_for<T>(&self, what: &str, bound: Duration, condition: impl AsyncFnMut() -> Option<T>) -> T {
        self.look(what, bound, condition).await.unwrap_or_else(|what| panic!("{what}"))
    }

    async fn look<T>(&self, what: &str, bound: Duration, mut condition: impl AsyncFnMut() -> Option<T>) -> Result<T, String> {
        let looking = async {
            loop {
                if let Some(found) = condition().await {
                    return found;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(bound, looking).await.map_err(|_| format!("waited {bound:?} for {what}"))
    }

    pub async fn board_shows(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let shown = self
            .look(what, SOON, async || {
                last = self.board().await;
                condition(&last).then(|| last.clone())
            })
            .await;
        shown.unwrap_or_else(|what| panic!("{what}; the board shows {last:#}"))
    }

    /// The agent is in this state (and, if given, for this reason).
    pub async fn agent_is(&self, user: &str, state: &str, reason: Option<&str>) -> Value {
        let mut last = Value::Null;
        let shown = self
            .look(&format!("{user} to be {state}"), SOON, async || {
                last = self.agent(user).await;
                (last["state"] == state && reason.is_none_or(|reason| last["reason"] == reason)).then(|| last.clone())
            })
            .await;
        shown.unwrap_or_else(|what| panic!("{what}; it is {last:#}"))
    }

    /// So many calls have come to this stage: robot, waiting, ringing, talking, transferring.
    pub async fn stages(&self, stage: &str, count: usize) {
        let is_so =
            |board: &Value| board["calls"].as_array().unwrap().iter().filter(|call| call["stage"] == stage).count() == count;
        self.board_shows(&format!("{count} calls {stage}"), is_so).await;
    }

    /// So many calls have ended like this; others may still live.
    pub async fn ended_as_so_far(&self, outcome: &str, count: u64) {
        self.wait_for(&format!("{count} calls {outcome}"), SOON, async || {
            let ledger = self.ledger().await;
            assert!(ledger.holds(), "entered = live + outcomes: {ledger:?}");
            (ledger.outcomes.get(outcome) == Some(&count)).then_some(())
        })
        .await;
    }

    /// All calls are over and these are their outcomes; the law of the ledger holds.
    pub async fn ended_as(&self, outcomes: &[(&str, u64)]) -> Ledger {
        let mut last = Ledger::default();
        let is_so = |ledger: &Ledger| {
            let other = ledger.outcomes.iter().filter(|(_, count)| **count > 0).count();
            ledger.live == 0
                && other == outcomes.len()
                && outcomes.iter().all(|(outcome, count)| ledger.outcomes.get(*outcome) == Some(count))
        };
        let seen = self
            .look(&format!("the outcomes {outcomes:?}"), SOON, async || {
                last = self.ledger().await;
                assert!(last.holds(), "entered = live + outcomes: {last:?}");
                is_so(&last).then(|| last.clone())
            })
            .await;
        seen.unwrap_or_else(|what| panic!("{what}; the ledger says {last:?}"))
    }
}

/// Of every account that registers.
pub const PASSWORD: &str = "wire-secret";

fn http() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5))).build().into()
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = String::from_utf8_lossy(&self.log()).into_owned();
            let lines: Vec<_> = log.lines().collect();
            let tail = lines.iter().skip(lines.len().saturating_sub(TAIL)).copied().collect::<Vec<_>>();
            eprintln!("---- the engine's last words ----\n{}", tail.join("\n"));
        } else if !self.errors_expected {
            let log = String::from_utf8_lossy(&self.log()).into_owned();
            let errors: Vec<_> = log.lines().filter(|line| line.contains(" ERROR ") || line.contains("panicked")).collect();
            assert!(errors.is_empty(), "the engine's log has errors:\n{}", errors.join("\n"));
        }
    }
}
