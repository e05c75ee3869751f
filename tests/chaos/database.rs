//! A private PostgreSQL under the line, and what can be wrong with it.

use crate::postgres::Server;
use clap::ValueEnum;
use sqlx::{Connection, Executor, PgConnection};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Trouble {
    Stopped,
    /// Each of its processes stands still for 5 s and then works for a tenth of a second.
    Slow,
    ReadOnly,
}

const STANDS_STILL: Duration = Duration::from_secs(5);
const WORKS: Duration = Duration::from_millis(100);

pub struct Database {
    server: Server,
    url: String,
}

impl Database {
    pub fn start() -> Self {
        let server = Server::start();
        let url = server.database();
        Self { server, url }
    }

    pub fn section(&self) -> String {
        format!("\n[store]\nkind = \"postgres\"\nurl = \"{}\"\n", self.url)
    }

    /// In trouble for so long, and well again.
    pub fn suffer(&mut self, trouble: Trouble, length: Duration) {
        match trouble {
            Trouble::Stopped => {
                self.server.stop();
                std::thread::sleep(length);
                self.server.resume();
            }
            Trouble::Slow => self.stand_still_again_and_again(length),
            Trouble::ReadOnly => {
                self.execute(&["ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"]);
                std::thread::sleep(length);
                self.execute(&["ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()"]);
            }
        }
    }

    fn stand_still_again_and_again(&self, length: Duration) {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let processes = self.processes();
                    signal(&processes, libc::SIGSTOP);
                    std::thread::sleep(STANDS_STILL);
                    signal(&processes, libc::SIGCONT);
                    std::thread::sleep(WORKS);
                }
            });
            std::thread::sleep(length);
            over.store(true, Ordering::Relaxed);
        });
    }

    /// The server's children: one for each connection, and its own workers.
    fn processes(&self) -> Vec<i32> {
        let home = self.url.split_once("?host=").map(|(_, home)| PathBuf::from(home)).unwrap();
        let first_line = fs::read_to_string(home.join("tables/postmaster.pid")).unwrap_or_default();
        let postmaster = first_line.lines().next().unwrap_or_default().trim().to_owned();
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    fn execute(&self, statements: &'static [&'static str]) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut admin = PgConnection::connect(&self.url).await.unwrap();
            for statement in statements {
                admin.execute(*statement).await.unwrap();
            }
        });
    }
}

fn signal(processes: &[i32], signal: i32) {
    for pid in processes {
        // SAFETY: signals to children of a server of ours.
        unsafe { libc::kill(*pid, signal) };
    }
}
