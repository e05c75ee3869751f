//! What each subcommand does.

mod files;
mod generate;
mod media;
mod replay;
mod serve;
mod simulate;
mod staff;
mod store;

pub use generate::{GenerateArguments, generate};
pub use media::media;
pub use replay::{ReplayArguments, replay};
pub use serve::serve;
pub use simulate::{SimulateArguments, simulate};
pub use staff::{StaffCommand, staff};
pub use store::store_copy;

use anyhow::Context;
use dozvon::call::House;
use dozvon::clock::{Clock, Moment};
use dozvon::config::{Region, span};
use dozvon::facts::Ledger;
use dozvon::ids::RegionId;
use std::path::Path;

pub fn check(config: &Path) -> anyhow::Result<()> {
    house(config)?;
    println!("{}: configuration and scripts are in order", config.display());
    Ok(())
}

pub fn ledger(config: &Path, region: Option<u16>, from: Option<&str>, to: Option<&str>) -> anyhow::Result<()> {
    let house = house(config)?;
    let known =
        |code: u16| house.config.region(RegionId(code)).with_context(|| format!("the configuration has no region {code}"));
    let of = region.map(known).transpose()?;
    let zone = of.or(house.config.regions.first()).map_or(jiff::tz::TimeZone::UTC, Region::time_zone);
    let span = span(Clock::start(Moment::ZERO).now(), &zone, from, to)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ledger: Ledger = runtime.block_on(async {
        let store = store::open(&house.config)?;
        anyhow::Ok(store.ledger(region.map(RegionId), span.start, span.end).await?)
    })?;
    println!("{}", serde_json::to_string_pretty(&ledger)?);
    Ok(())
}

fn house(config: &Path) -> anyhow::Result<House> {
    House::read(config).map_err(|errors| anyhow::anyhow!("\n{errors}"))
}
