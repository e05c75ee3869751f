//! What each subcommand does.

mod recording;
mod serve;

pub use recording::{export, verify};
pub use serve::serve;

use anyhow::Context;
use dozvon::call::House;
use dozvon::clock::{Clock, Moment};
use dozvon::config::{Region, span};
use dozvon::facts::Ledger;
use dozvon::ids::RegionId;
use dozvon::store::Store;
use dozvon::store::sqlite::SqliteStore;
use std::path::Path;

pub fn check(config: &Path) -> anyhow::Result<()> {
    House::read(config).map_err(|errors| anyhow::anyhow!("\n{errors}"))?;
    println!("{}: configuration and scripts are in order", config.display());
    Ok(())
}

pub fn ledger(config: &Path, region: Option<u16>, from: Option<&str>, to: Option<&str>) -> anyhow::Result<()> {
    let house = House::read(config).map_err(|errors| anyhow::anyhow!("\n{errors}"))?;
    let known =
        |code: u16| house.config.region(RegionId(code)).with_context(|| format!("the configuration has no region {code}"));
    let of = region.map(known).transpose()?;
    let zone = of.or(house.config.regions.first()).map_or(jiff::tz::TimeZone::UTC, Region::time_zone);
    let span = span(Clock::start(Moment::ZERO).now(), &zone, from, to)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ledger: Ledger = runtime.block_on(async {
        let store = SqliteStore::new(&house.config.data.join("dozvon.db"));
        store.ledger(region.map(RegionId), span.start, span.end).await
    })?;
    println!("{}", serde_json::to_string_pretty(&ledger)?);
    Ok(())
}
