//! `dozvon doctor`: what was found, a line each, and the worst of it as exit code.

use dozvon::clock::{Clock, Moment};
use dozvon::upkeep::doctor::{Finding, Findings, Level, examine};
use std::path::Path;
use std::process::ExitCode;

pub fn doctor(config: &Path, json: bool) -> ExitCode {
    let found = match super::house(config) {
        Ok(house) => super::runtime().map_err(anyhow::Error::from).and_then(|runtime| {
            let now = Clock::start(Moment::ZERO).now();
            runtime.block_on(async { anyhow::Ok(examine(&house, super::store::open(&house.config)?.as_ref(), now).await) })
        }),
        Err(errors) => Err(errors),
    };
    let found = found.unwrap_or_else(|error| {
        let remedy = "mend what is said; `dozvon check` says it too".to_owned();
        Findings(vec![Finding { level: Level::Fault, what: "config", text: format!("{error:#}"), remedy }])
    });
    match json {
        true => println!("{}", serde_json::to_string_pretty(&found.0).unwrap_or_default()),
        false => found.0.iter().for_each(|finding| println!("{finding}")),
    }
    ExitCode::from(match found.worst() {
        Level::Ok => 0,
        Level::Warning => 1,
        Level::Fault => 2,
    })
}
