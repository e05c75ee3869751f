//! How long the simulator takes for a region's year: 165,800 calls a month, twelve months, through the engine's own brain.
//!
//! `cargo bench --no-default-features --bench simulate`. One thread; on a busy machine compare with its CPU time (`time`).

use dozvon::simulate::{Generator, Roster, Router, estimate_figures, figures, simulate, told, trace};
use std::fmt::Write;
use std::time::{Duration, Instant};

const DAYS: u32 = 360;

#[allow(clippy::disallowed_methods)] // a bench measures
fn main() {
    // `cargo test --benches` only asks whether it starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let (year, roster) = (trace(&Generator { days: DAYS, ..Generator::default() }.rows(1)), team());
    let start = Instant::now();
    let found = figures("default", &year, &simulate(&year, &roster, Router::Default, Duration::ZERO));
    let (calls, wait) = (found.calls, found.mean_wait_s);
    println!("a region's year: {:.1} s for {calls} calls, mean wait {wait:.1} s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    let told = told(&year, &roster, Router::Default, Duration::ZERO).expect("the engine tells its callers");
    let coverage = estimate_figures("default", &told).all.coverage;
    println!("with announcements and three estimates for who waits: {:.1} s, {coverage:.3} kept", start.elapsed().as_secs_f64());
}

/// 45 by day and 5 by night, two skills each.
fn team() -> Roster {
    let mut text = String::from("agent,from_s,to_s,skills\n");
    let seconds = ["consultation", "urgent", "home_visit", "consultation", "other"];
    for day in 0..DAYS {
        for (name, count, from, to) in [("day", 45, 7, 19), ("night", 5, 19, 31)] {
            for no in 0..count {
                let (from, to) = (day * 86_400 + from * 3_600, day * 86_400 + to * 3_600);
                writeln!(text, "{name}{no},{from},{to},booking:50|{}:50", seconds[no % seconds.len()])
                    .expect("a String takes it");
            }
        }
    }
    Roster::parse(&text).expect("the roster is well-formed")
}
