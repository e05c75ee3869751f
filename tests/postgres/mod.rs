//! PostgreSQL servers for tests: Debian's own, on a Unix socket in a folder of their own, gone with the test.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;
use tempfile::TempDir;

/// PostgreSQL refuses to run as root: `nobody` of Debian does instead.
const NOBODY: u32 = 65_534;
const START_WITHIN: Duration = Duration::from_secs(60);

pub struct Server {
    home: TempDir,
    running: Option<Child>,
}

impl Server {
    pub fn start() -> Self {
        let home = tempfile::Builder::new().prefix("dozvon-pg").tempdir().unwrap();
        if is_root() {
            std::os::unix::fs::chown(home.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let mut server = Self { home, running: None };
        let mut initdb = server.command("initdb");
        initdb.args(["--username=dozvon", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "--pgdata"]);
        let made = initdb.arg(server.tables()).output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        server.resume();
        server
    }

    /// Starts again what was stopped.
    pub fn resume(&mut self) {
        let mut postgres = self.command("postgres");
        postgres.arg("-D").arg(self.tables()).arg("-k").arg(self.home.path()).args([
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
            "-c",
            "full_page_writes=off",
            "-c",
            "max_connections=60",
            "-c",
            "shared_buffers=16MB",
        ]);
        // SAFETY: prctl is a bare system call and touches nothing of the parent's memory.
        unsafe {
            postgres.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGQUIT) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        // The kernel sends that signal when the thread ends that started the server, so that thread stays.
        let (sender, started) = mpsc::channel();
        std::thread::spawn(move || {
            sender.send(postgres.spawn().unwrap()).unwrap();
            loop {
                std::thread::park();
            }
        });
        self.running = Some(started.recv().unwrap());
        let ready = async {
            while PgConnection::connect(&self.url("postgres")).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        on_a_thread(async { tokio::time::timeout(START_WITHIN, ready).await.expect("PostgreSQL starts") });
    }

    /// As `systemctl stop` does it: connections are cut, what is committed stays.
    #[allow(dead_code)] // not every test binary breaks its server
    pub fn stop(&mut self) {
        self.signal(libc::SIGINT);
    }

    fn signal(&mut self, signal: i32) {
        if let Some(mut child) = self.running.take() {
            // SAFETY: a child of ours that was not waited for yet; its id is its own.
            unsafe { libc::kill(i32::try_from(child.id()).unwrap(), signal) };
            child.wait().unwrap();
        }
    }

    /// The address of a new, empty database.
    pub fn database(&self) -> String {
        static COUNTED: AtomicU32 = AtomicU32::new(0);
        let name = format!("test{}", COUNTED.fetch_add(1, Ordering::Relaxed));
        on_a_thread(async {
            let mut admin = PgConnection::connect(&self.url("postgres")).await.unwrap();
            admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        });
        self.url(&name)
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://dozvon@localhost/{database}?host={}", self.home.path().display())
    }

    fn tables(&self) -> PathBuf {
        self.home.path().join("tables")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(programs().join(program));
        command.current_dir(self.home.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(libc::SIGQUIT);
    }
}

/// The one server of a test binary; it ends with it.
#[allow(dead_code)] // nor does every one share it
pub fn shared() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    extern "C" fn at_exit() {
        if let Some(server) = SERVER.get() {
            let pid = server.running.as_ref().map_or(0, Child::id);
            let mut status = 0;
            // SAFETY: a child of ours that nobody waits for; at exit no test uses it any more.
            unsafe {
                libc::kill(i32::try_from(pid).unwrap(), libc::SIGQUIT);
                libc::waitpid(i32::try_from(pid).unwrap(), &mut status, 0);
            }
            let _ = std::fs::remove_dir_all(server.home.path());
        }
    }
    SERVER.get_or_init(|| {
        // SAFETY: the handler uses nothing that is torn down before it.
        unsafe { libc::atexit(at_exit) };
        Server::start()
    })
}

/// Debian keeps them out of PATH; the newest there is.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let newest = versions.filter(|bin| bin.join("initdb").exists()).max();
    newest
        .or_else(|| Some(Path::new("/usr/bin").to_owned()).filter(|bin| bin.join("initdb").exists()))
        .expect("run `scripts/setup test`: there is no PostgreSQL")
}

fn is_root() -> bool {
    // SAFETY: asks the kernel and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Runs to the end, whether the caller is within a runtime or not.
fn on_a_thread<T: Send>(work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        scope.spawn(move || runtime().block_on(work)).join().unwrap()
    })
}
