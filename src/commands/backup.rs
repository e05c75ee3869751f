//! `dozvon backup` and `dozvon restore`.

use dozvon::clock::{Clock, Moment};
use dozvon::config::StoreKind;
use dozvon::upkeep::backup as copy;
use std::path::Path;

pub fn backup(config: &Path, to: &Path, recordings: bool) -> anyhow::Result<()> {
    let house = super::house(config)?;
    let now = Clock::start(Moment::ZERO).now();
    let manifest = super::runtime()?.block_on(copy::backup(&house, to, recordings, now))?;
    println!("{}: {} files, {} bytes, every one read again", to.display(), manifest.files.len(), manifest.bytes());
    println!("journal up to byte {}", manifest.journal);
    match (manifest.tables, house.config.store.kind) {
        (Some(position), _) => println!("tables up to byte {position}"),
        (None, StoreKind::Sqlite) => println!("no tables: they are made of the journal"),
        (None, StoreKind::Postgres) => println!(
            "the tables stand on a server: RIGHT BEFORE each backup run `pg_dump --format=custom --file=dozvon.dump ADDRESS`, keep both together, \
             and put both back together (`pg_restore --clean`); tables newer than the journal are refused"
        ),
    }
    println!("IT HOLDS KEYS AND PHONES: keep it where only you can read it, encrypted if it leaves this machine");
    Ok(())
}

pub fn restore(config: &Path, from: &Path) -> anyhow::Result<()> {
    let house = super::house(config)?;
    let manifest = super::runtime()?.block_on(copy::restore(&house.config, from))?;
    println!("{}: {} files put back, every one as it was written", house.config.data.display(), manifest.files.len());
    println!("the engine may be started; it must not run where the backup was taken at the same time");
    Ok(())
}
