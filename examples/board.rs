//! The live board with a made-up morning, to look at: `cargo run --example board`, then http://127.0.0.1:8199/.

#[path = "../tests/api/fake.rs"]
mod fake;

use dozvon::api::{self, ApiState};
use dozvon::clock::{Clock, Moment};
use dozvon::config::Region;
use dozvon::ids::RegionId;
use dozvon::store::sqlite::SqliteStore;
use dozvon::store::writer::Folded;
use std::sync::Arc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let clock = Clock::start(Moment::ZERO);
    let fake = fake::Fake::start(fake::morning(clock.now().0 / 1000));
    let (_folded, follower) = tokio::sync::watch::channel(Folded::default());
    let region = Region {
        code: RegionId(22),
        title: "Алтайский край".to_owned(),
        zone: "Asia/Barnaul".to_owned(),
        callback_when_closed: false,
        dial: true,
        callback_within: std::time::Duration::ZERO,
    };
    let state = ApiState {
        engine: fake.engine.clone(),
        store: Arc::new(SqliteStore::new("/nowhere/tables.sqlite".as_ref())),
        folded: follower,
        clock,
        regions: vec![region],
        token: None,
        data: "/nowhere".into(),
        committed: tokio::sync::watch::channel(0).1,
        standby_token: None,
        recordings: dozvon::recordings::Shelf::default(),
        core: None,
        sockets_bound: Arc::default(),
        disk_free_percent: tokio::sync::watch::channel(Some(7)).1,
        counted: None,
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8199").await?;
    println!("http://{}/", listener.local_addr()?);
    api::serve(listener, state, std::future::pending()).await?;
    Ok(())
}
