//! The engine as a process that dies and comes back, as its supervisor would have it.

use crate::Options;
use crate::air::now_us;
use crate::disk::SmallDisk;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A new life that does not speak by then has failed.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Who stands where: the engine .2, citizens .10, agents .20; whoever asks whether it lives .11.
pub struct Net {
    number: u8,
    _held: UdpSocket,
}

impl Net {
    pub fn take() -> Self {
        let free = |number| UdpSocket::bind((Ipv4Addr::new(127, 0, number, 1), 9)).ok().map(|held| (number, held));
        let (number, held) = (40..50).find_map(free).expect("none of 127.0.40.1 to 127.0.49.1 is free");
        Self { number, _held: held }
    }

    pub fn at(&self, host: u8, port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::new(127, 0, self.number, host), port))
    }

    pub fn engine(&self) -> SocketAddr {
        self.at(2, 5060)
    }
}

pub struct Engine {
    pub net: Net,
    /// Mounted in the folder, and gone before it.
    pub disks: Vec<SmallDisk>,
    folder: TempDir,
    /// Further variables of its lives.
    pub environment: Vec<(&'static str, PathBuf)>,
    child: Option<Child>,
    probe: UdpSocket,
    asked: u32,
    /// CPU seconds of former lives: the engine's and media's.
    spent: (f64, f64),
}

impl Engine {
    /// Its folder and configuration; it does not run yet.
    pub fn lay_out(options: &Options) -> Self {
        let net = Net::take();
        let folder = tempfile::Builder::new().prefix("dozvon-chaos-").tempdir().unwrap();
        lay_out(&net, folder.path(), options);
        let probe = UdpSocket::bind(net.at(11, 0)).unwrap();
        probe.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let (disks, environment) = (Vec::new(), Vec::new());
        Self { net, disks, folder, environment, child: None, probe, asked: 0, spent: (0.0, 0.0) }
    }

    pub fn start(&mut self) {
        self.spawn();
        self.wait_ready().unwrap_or_else(|why| panic!("{why}"));
    }

    /// A further section of its configuration.
    pub fn configure(&self, section: &str) {
        let config = fs::read_to_string(self.config()).unwrap() + section;
        fs::write(self.config(), config).unwrap();
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("dozvon.toml")
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Keeps folder and log for whoever reads the failure.
    pub fn keep(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.disks.drain(..).for_each(std::mem::forget);
        self.folder.path().to_owned()
    }

    pub fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder.path().join("engine.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dozvon"));
        command.args(["serve", "--config"]).arg(self.config());
        let log_filter = std::env::var("DOZVON_LOG").unwrap_or("warn".to_owned());
        command.env_remove("DOZVON_DATA").env("DOZVON_LOG", log_filter).envs(self.environment.clone()).stdin(Stdio::null());
        self.child = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }

    /// kill -9. False: it was dead already, by itself.
    pub fn kill9(&mut self) -> bool {
        self.spent.0 += self.pid().map_or(0.0, cpu_seconds);
        let Some(mut child) = self.child.take() else { return false };
        let by_itself = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        !by_itself
    }

    /// Milliseconds until the first 200 to an OPTIONS.
    pub fn wait_ready(&mut self) -> Result<f64, String> {
        let (began, first) = (now_us(), self.asked + 1);
        while now_us() - began < READY_WITHIN.as_micros() as u64 {
            if let Some(ended) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
                return Err(format!("the engine did not come back: {ended}; see {}", self.folder.path().display()));
            }
            if self.speaks(first) {
                return Ok((now_us() - began) as f64 / 1000.0);
            }
        }
        Err(format!("the engine says nothing for {READY_WITHIN:?}"))
    }

    /// Whether a question asked in this life is answered; an answer to number `first` or a later one.
    fn speaks(&mut self, first: u32) -> bool {
        self.asked += 1;
        let (asked, me, engine) = (self.asked, self.probe.local_addr().unwrap(), self.net.engine());
        let options = format!(
            "OPTIONS sip:{engine} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bKchaos{asked};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:chaos@{me}>;tag=c\r\nTo: <sip:{engine}>\r\nCall-ID: chaos-{asked}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        // Nobody listens yet: the kernel says so at the next call on this socket.
        let _ = self.probe.send_to(options.as_bytes(), engine);
        let mut answer = [0; 2048];
        match self.probe.recv_from(&mut answer) {
            Ok((length, _)) => {
                let text = String::from_utf8_lossy(&answer[..length]).into_owned();
                let number = text.lines().find_map(|line| line.strip_prefix("Call-ID: chaos-")?.trim().parse::<u32>().ok());
                text.starts_with("SIP/2.0 200") && number.is_some_and(|number| number >= first)
            }
            Err(_) => {
                std::thread::sleep(Duration::from_millis(1));
                false
            }
        }
    }

    /// The media process of this engine, by its command line; it may have another parent than the engine that runs.
    pub fn media_pid(&self) -> Option<i32> {
        let config = self.config();
        let is_ours = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<_> = line.split(|byte| *byte == 0).collect();
            words.get(1) == Some(&b"media".as_slice()) && words.contains(&config.as_os_str().as_encoded_bytes())
        };
        let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.into_iter().find(is_ours)
    }

    fn pid(&self) -> Option<i32> {
        self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok())
    }

    /// kill -9 of the media process.
    pub fn kill_media(&mut self) -> bool {
        let Some(pid) = self.media_pid() else { return false };
        self.spent.1 += cpu_seconds(pid);
        signal(pid, libc::SIGKILL)
    }

    /// Stops or continues the engine, or media.
    pub fn signal(&self, whose: Whose, name: i32) -> bool {
        let pid = match whose {
            Whose::Engine => self.pid(),
            Whose::Media => self.media_pid(),
        };
        pid.is_some_and(|pid| signal(pid, name))
    }

    /// SIGUSR2: the engine ends by itself and leaves its calls to the next life.
    pub fn hand_over(&mut self) -> Result<(), String> {
        // What it spends at its very end is not seen.
        self.spent.0 += self.pid().map_or(0.0, cpu_seconds);
        self.signal(Whose::Engine, libc::SIGUSR2);
        let mut child = self.child.take().ok_or("there is no engine to hand over")?;
        let asked_at = now_us();
        while now_us() - asked_at < READY_WITHIN.as_micros() as u64 {
            match child.try_wait().unwrap() {
                Some(ended) if ended.success() => return Ok(()),
                Some(ended) => return Err(format!("the engine that was to hand over ended with {ended}")),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        self.child = Some(child);
        Err(format!("the engine does not hand over for {READY_WITHIN:?}"))
    }

    /// CPU seconds of all lives: the engine's and media's.
    pub fn cpu_seconds(&self) -> (f64, f64) {
        let (engine, media) = self.spent;
        (engine + self.pid().map_or(0.0, cpu_seconds), media + self.media_pid().map_or(0.0, cpu_seconds))
    }

    /// Bytes of each stream as ever written: the newest segment says where it begins.
    pub fn journal_bytes(&self) -> [(&'static str, u64); 3] {
        [("facts", "journal"), ("dialogs", "legs"), ("people", "people")].map(|(name, folder)| {
            let segments = fs::read_dir(self.data().join(folder)).into_iter().flatten().flatten();
            let ends = segments.filter_map(|entry| {
                let start: u64 = entry.file_name().to_str()?.strip_suffix(".log")?.parse().ok()?;
                Some(start + entry.metadata().ok()?.len())
            });
            (name, ends.max().unwrap_or(0))
        })
    }

    pub fn get(&self, path: &str) -> Result<serde_json::Value, ureq::Error> {
        let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(15))).build().into();
        agent.get(format!("http://{}{path}", self.net.at(2, 8122))).call()?.body_mut().read_json()
    }

    /// `dozvon ledger`, the other way to ask.
    pub fn ledger_by_command(&self) -> dozvon::facts::Ledger {
        let output = Command::new(env!("CARGO_BIN_EXE_dozvon")).args(["ledger", "--config"]).arg(self.config()).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill9();
        self.kill_media();
    }
}

#[derive(Clone, Copy)]
pub enum Whose {
    Engine,
    Media,
}

fn signal(pid: i32, name: i32) -> bool {
    // SAFETY: a signal to a process of ours.
    unsafe { libc::kill(pid, name) == 0 }
}

/// User and system time of a process (proc(5), fields 14 and 15, counted behind the name).
fn cpu_seconds(pid: i32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    // SAFETY: asks the C library and cannot fail for this name.
    ticks as f64 / unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64
}

fn lay_out(net: &Net, folder: &Path, options: &Options) {
    let house = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scripts = folder.join("scripts");
    fs::create_dir(&scripts).unwrap();
    fs::copy(house.join("tests/wire/line.yaml"), scripts.join("line.yaml")).unwrap();
    symlink(house.join("ivr-scripts/prompts"), scripts.join("prompts")).unwrap();
    let (engine, citizens, desks) = (net.engine(), net.at(10, 5060), net.at(20, 5060));
    let (folder, agents, record) = (folder.display(), options.talking, options.record);
    let config = format!(
        r#"
data = "{folder}/data"
scripts = "{folder}/scripts"

[[network]]
name = "loop"
bind = "{engine}"
ports = "10000-19999"

[[trunk]]
name = "city"
network = "loop"
peers = ["{citizens}", "{probe}"]
contact = "{contact}"
watch_s = 0
area = "3852"

[[number]]
dialled = ["122"]
script = "line"

[[queue]]
name = "booking"
ring_s = 5
wrap_up_s = 0
max_waiting = 10000
announce_after_s = 0

[[queue]]
name = "quiet"
skill = "silence"
max_waiting = 10000
announce_after_s = 0

[[agents]]
prefix = "op"
count = {agents}
contact = "{desks}"
always_ready = true
misses_to_break = 0

[[route]]
name = "ambulance"
steps = [{{ trunk = "city", number = "103", ring_s = 5 }}]

[callbacks]
menu_after_s = 10
queue_after_s = 3

[recording]
enabled = {record}

[http]
bind = "{http}"
open = true
"#,
        citizens = citizens.ip(),
        probe = net.at(11, 0).ip(),
        contact = citizens,
        http = net.at(2, 8122),
    );
    fs::write(folder.to_string() + "/dozvon.toml", config).unwrap();
}
