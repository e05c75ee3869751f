//! Made-up traces: an hourly and a weekday profile, days that differ more than chance alone, and people who ring again.

use super::dice::Dice;
use super::input::{Call, Roster, Trace};
use super::run::{Arrival, simulate_redials};
use super::{CLASSES, Router};
use crate::clock::Moment;
use std::fmt::Write;
use std::time::Duration;

/// Share of a day's calls in each hour, in per cent: the mean of the public traces of a line of 165,800 calls a month.
pub const HOURS: [f64; 24] = [
    0.30, 0.23, 0.15, 0.15, 0.19, 0.50, 1.79, 8.00, 14.00, 12.50, 9.92, 8.50, 7.05, 6.50, 6.05, 5.45, 4.85, 3.92, 3.33, 2.58,
    1.85, 1.09, 0.68, 0.42,
];
/// Monday to Sunday over an average day.
pub const WEEKDAYS: [f64; 7] = [1.45, 1.15, 1.10, 1.07, 1.00, 0.68, 0.55];
/// Shares of the classes, in the order of [`CLASSES`].
pub const SHARES: [f64; CLASSES.len()] = [0.46, 0.266, 0.08, 0.13, 0.064];

const HOUR_S: f64 = 3_600.0;
/// Nobody rings more often for one need.
const ATTEMPTS: u32 = 6;

/// What a made-up line is like. Times in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Generator {
    /// First attempts in 30 average days.
    pub calls_per_month: f64,
    pub days: u32,
    /// 0 = the trace begins on a Monday.
    pub first_weekday: u32,
    pub hours: [f64; 24],
    pub weekdays: [f64; 7],
    /// Coefficient of variation of a whole day beyond its weekday: over-dispersion, log-normal.
    pub day_cv: f64,
    /// The same for each hour by itself.
    pub hour_cv: f64,
    pub service_mean: f64,
    pub service_cv: f64,
    /// Exponential.
    pub patience_mean: f64,
    /// How many people call at all.
    pub people: u64,
}

/// The 41-second line of the public reports: 165,800 calls a month, handle time 2:45.
impl Default for Generator {
    fn default() -> Self {
        Self {
            calls_per_month: 165_800.0,
            days: 7,
            first_weekday: 0,
            hours: HOURS,
            weekdays: WEEKDAYS,
            day_cv: 0.10,
            hour_cv: 0.0,
            service_mean: 165.0,
            service_cv: 1.0,
            patience_mean: 446.0,
            people: 25_000,
        }
    }
}

/// People who gave up and ring again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Redials {
    /// Which share of those who gave up.
    pub share: f64,
    /// After how many seconds, exponential.
    pub after_mean: f64,
}

/// One row of a made-up trace, before it is a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub call: Call,
    pub number: u64,
}

impl Generator {
    /// First attempts alone, sorted by their arrival.
    pub fn rows(&self, seed: u64) -> Vec<Row> {
        let dice = Dice::new(seed);
        let mut rows = Vec::new();
        for day in 0..u64::from(self.days) {
            let mut weather = dice.fork(2 * day);
            let weekday = ((u64::from(self.first_weekday) + day) % 7) as usize;
            let factor = self.weekdays.get(weekday).copied().unwrap_or(1.0) * weather.log_normal(1.0, self.day_cv);
            let mut draws = dice.fork(2 * day + 1);
            for (hour, share) in self.hours.iter().enumerate() {
                let wanted = self.calls_per_month / 30.0 * factor * share / self.hours.iter().sum::<f64>();
                let wanted = wanted * weather.log_normal(1.0, self.hour_cv);
                let start = (day as f64 * 24.0 + hour as f64) * HOUR_S;
                // Poisson within the hour: exponential gaps.
                let mut at = start + draws.exponential(HOUR_S / wanted.max(1e-9));
                while at < start + HOUR_S {
                    rows.push(Row { call: self.call(at, &mut draws), number: self.number(&mut draws) });
                    at += draws.exponential(HOUR_S / wanted.max(1e-9));
                }
            }
        }
        rows
    }

    /// With everybody who gives up on `roster` under `router` and rings again. What is rung again lengthens the queue and makes others
    /// give up, who ring again.
    pub fn rows_with_redials(&self, seed: u64, redials: Redials, roster: &Roster, router: Router) -> Vec<Row> {
        let first = self.rows(seed);
        let dice = Dice::new(!seed);
        let mut redial = |gave_up: &Arrival, at: Moment| self.rings_again(gave_up, at, redials, &dice);
        let (arrivals, _) = simulate_redials(&trace(&first), roster, router, Duration::ZERO, &mut redial);
        let row = |arrival: Arrival| Some(Row { number: first.get(arrival.need)?.number, call: arrival.call });
        arrivals.into_iter().filter_map(row).collect()
    }

    /// The dice of one attempt at one need are its own: what others do does not change it.
    fn rings_again(
        &self,
        Arrival { call, need, attempt }: &Arrival,
        gave_up: Moment,
        redials: Redials,
        dice: &Dice,
    ) -> Option<Call> {
        let mut dice = dice.fork(*need as u64 * u64::from(ATTEMPTS) + u64::from(*attempt));
        let again = *attempt < ATTEMPTS && dice.unit() < redials.share;
        let at = hundredths(gave_up.0 as f64 / 1e6 + dice.exponential(redials.after_mean)).max(gave_up);
        let patience = tenths(dice.exponential(self.patience_mean));
        again.then(|| Call { at, patience, ..call.clone() })
    }

    fn call(&self, at: f64, dice: &mut Dice) -> Call {
        let class = class(dice.unit());
        let service = tenths(dice.log_normal(self.service_mean, self.service_cv));
        Call { at: hundredths(at), class, service, patience: tenths(dice.exponential(self.patience_mean)) }
    }

    fn number(&self, dice: &mut Dice) -> u64 {
        79_020_000_000 + dice.below(self.people)
    }
}

pub fn trace(rows: &[Row]) -> Trace {
    Trace { calls: rows.iter().map(|row| row.call.clone()).collect() }
}

/// The text that [`Trace::parse`] reads.
pub fn trace_csv(rows: &[Row]) -> String {
    csv(rows.iter().map(|row| (&row.call, row.number)))
}

/// The same of calls whose numbers nobody knows.
pub fn replay_csv(trace: &Trace) -> String {
    csv(trace.calls.iter().map(|call| (call, 0)))
}

fn csv<'a>(calls: impl Iterator<Item = (&'a Call, u64)>) -> String {
    let mut text = String::from("t_s,number,class,service_s,patience_s\n");
    for (call, number) in calls {
        let class = CLASSES.get(call.class).map_or("", |(name, _)| name);
        let (at, service, patience) = (call.at.0 / 10_000, call.service.as_millis() / 100, call.patience.as_millis() / 100);
        let at = format!("{}.{:02}", at / 100, at % 100);
        // A String takes everything that is written to it.
        let _ = writeln!(text, "{at},{number},{class},{}.{},{}.{}", service / 10, service % 10, patience / 10, patience % 10);
    }
    text
}

/// The text that [`Roster::parse`] reads.
pub fn roster_csv(roster: &Roster) -> String {
    let mut text = String::from("agent,from_s,to_s,skills\n");
    for seat in &roster.seats {
        let skill = |(class, level): &(usize, u8)| format!("{}:{level}", CLASSES.get(*class).map_or("", |(name, _)| name));
        let skills: Vec<String> = seat.skills.iter().map(skill).collect();
        let name = roster.agents.get(seat.agent).map_or("", String::as_str);
        let _ = writeln!(text, "{name},{},{},{}", seat.from.as_unix_seconds(), seat.to.as_unix_seconds(), skills.join("|"));
    }
    text
}

fn class(draw: f64) -> usize {
    let mut sum = 0.0;
    let found = SHARES.iter().position(|share| {
        sum += share;
        draw < sum
    });
    found.unwrap_or(SHARES.len() - 1)
}

/// Arrivals have two decimals, as in the traces.
fn hundredths(seconds: f64) -> Moment {
    Moment((seconds.max(0.0) * 100.0).round() as u64 * 10_000)
}

/// Spans have one, and are never nothing.
fn tenths(seconds: f64) -> Duration {
    Duration::from_millis((seconds * 10.0).round().max(1.0) as u64 * 100)
}
