//! The line by a lease in PostgreSQL: an engine that is cut off from it ends before a standby takes the line, and loses no call.

use crate::engine::SOON;
use crate::line::{ANSWERS, Line, Plan, rings, they_talk};
use crate::postgres;
use crate::upkeep::Standby;
use dozvon::store::postgres::lease::Lease;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// Longer than the lease and all that follows upon its end.
const FAILOVER: Duration = Duration::from_secs(60);

/// C53: the database cannot be reached from the primary any more, from the standby it can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c53_a_primary_cut_off_from_the_lease_ends_before_the_standby_is_the_line() {
    let server = tokio::task::spawn_blocking(postgres::Server::start).await.unwrap();
    let direct = server.database();
    let (database, behind) = direct.split_once("?host=").unwrap();
    let way = tempfile::tempdir().unwrap();
    let route = cuttable(way.path(), PathBuf::from(behind).join(SOCKET));
    let store = |url: &str| format!("kind = \"postgres\"\nurl = \"{url}\"");
    let cut_off = store(&format!("{database}?host={}", way.path().display()));
    let mut line = Line::open(Plan { store: cut_off.clone(), standby: "lease = true", ..Plan::default() }).await;
    line.errors_expected = true;

    let folder = line.folder().join("standby");
    fs::create_dir(&folder).unwrap();
    let config = fs::read_to_string(line.folder().join("dozvon.toml")).unwrap();
    let (here, there) = (format!("{}/data", line.folder().display()), format!("{}/data", folder.display()));
    fs::write(folder.join("dozvon.toml"), config.replace(&here, &there).replace(&cut_off, &store(&direct))).unwrap();
    let standby = Standby::start(&line, &folder);
    let anna = line.phone_that(20, ANSWERS);
    let talking = line.call_queue("+73852000001").await;
    let operator = rings(&anna).await;
    they_talk(&talking, &operator).await;
    let waiting = line.call_queue("+73852000002").await;
    line.stages("waiting", 1).await;
    let position = line.board().await["journal"]["position"].as_u64().unwrap();
    line.wait_for("the copy to be here", SOON, async || (standby.journal_end() >= position).then_some(())).await;

    let lease = Lease::new(&direct, Duration::ZERO).unwrap();
    let (primary, expired) = lease.look().await.unwrap().unwrap();
    assert!(!expired);
    route.abort();
    assert_eq!(line.ended(FAILOVER).await.code(), Some(75));
    assert_eq!(lease.look().await.unwrap(), Some((primary.clone(), false)), "nobody else is the line yet");
    line.wait_for("the standby to be the line", FAILOVER, async || {
        line.get("/readyz").await.is_ok_and(|ready| ready["ready"] == true).then_some(())
    })
    .await;
    let (successor, expired) = lease.look().await.unwrap().unwrap();
    assert!(successor.owner != primary.owner && successor.epoch > primary.epoch && !expired);

    // Both calls are here, and so are the tables, with no fact twice.
    assert_eq!(line.ledger().await.live, 2);
    they_talk(&talking, &operator).await;
    talking.hang_up();
    they_talk(&waiting, &rings(&anna).await).await;
    waiting.hang_up();
    line.ended_as(&[("served", 2)]).await;
}

/// The name that every client of PostgreSQL looks for.
const SOCKET: &str = ".s.PGSQL.5432";

/// A way to the server's socket that ends, with all connections, when the task is aborted.
fn cuttable(folder: &Path, server: PathBuf) -> JoinHandle<()> {
    let listener = UnixListener::bind(folder.join(SOCKET)).unwrap();
    tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let server = server.clone();
            connections.spawn(async move {
                let mut server = UnixStream::connect(server).await.unwrap();
                drop(copy_bidirectional(&mut client, &mut server).await);
            });
        }
    })
}
