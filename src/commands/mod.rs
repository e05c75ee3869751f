//! What each subcommand does.

mod backup;
mod doctor;
mod files;
mod forget;
mod generate;
mod media;
mod recording;
mod replay;
mod serve;
mod simulate;
mod staff;
mod standby;
mod store;

pub use backup::{backup, restore};
pub use doctor::doctor;
pub use forget::forget;
pub use generate::{GenerateArguments, generate};
pub use media::media;
pub use recording::{export, verify};
pub use replay::{ReplayArguments, replay};
pub use serve::serve;
pub use simulate::{SimulateArguments, simulate};
pub use staff::{StaffCommand, staff};
pub use standby::{promote, standby};
pub use store::store_copy;

use anyhow::Context;
use dozvon::call::House;
use dozvon::clock::{Clock, Moment};
use dozvon::config::{Region, span};
use dozvon::facts::Ledger;
use dozvon::ids::RegionId;
use dozvon::upkeep::law;
use std::path::Path;

pub fn check(config: &Path) -> anyhow::Result<()> {
    for circle in house(config)?.config.overflow_circles() {
        let way = circle.iter().map(|queue| queue.as_str()).collect::<Vec<_>>().join(" → ");
        println!(
            "{}: note: the overflow lists go round, {way}; a caller comes to each of these queues once at most",
            config.display()
        );
    }
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

/// Prints the law of one day (`yesterday`, or a date), each region by itself.
pub fn ledger_day(config: &Path, region: Option<u16>, day: &str) -> anyhow::Result<()> {
    let house = house(config)?;
    let now = Clock::start(Moment::ZERO).now();
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let store = store::open(&house.config)?;
    let regions = house.config.regions.iter().filter(|known| region.is_none_or(|code| known.code == RegionId(code)));
    let mut printed = 0;
    for region in regions {
        let day = match day {
            "yesterday" => law::day_of(region, now).yesterday()?,
            date => date.parse().with_context(|| format!("`{date}` is no day; write 2026-11-24"))?,
        };
        let ledger = runtime.block_on(law::of_day(store.as_ref(), region, day))?;
        println!("{}", law::print(region, day, &ledger));
        printed += 1;
    }
    anyhow::ensure!(printed > 0, "the configuration has no such region");
    Ok(())
}

fn house(config: &Path) -> anyhow::Result<House> {
    House::read(config).map_err(|errors| anyhow::anyhow!("\n{errors}"))
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
