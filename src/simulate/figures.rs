//! What a simulation came to: means, percentiles and shares over all callers, those who gave up included; and the rows behind them.

use super::CLASSES;
use super::input::{Roster, Trace};
use super::run::{End, Outcome};
use crate::clock::Moment;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// An answer within this counts for the service level.
const SERVICE_LEVEL: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    pub policy: String,
    pub calls: usize,
    #[serde(serialize_with = "rounded")]
    pub mean_wait_s: f64,
    #[serde(serialize_with = "rounded")]
    pub sl20: f64,
    #[serde(serialize_with = "rounded")]
    pub abandoned_share: f64,
    pub classes: BTreeMap<&'static str, ClassFigures>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassFigures {
    pub calls: usize,
    #[serde(serialize_with = "rounded")]
    pub mean_wait_s: f64,
    #[serde(serialize_with = "rounded")]
    pub p80_wait_s: f64,
    #[serde(serialize_with = "rounded")]
    pub p95_wait_s: f64,
    #[serde(serialize_with = "rounded")]
    pub abandoned_share: f64,
    #[serde(serialize_with = "rounded")]
    pub sl20: f64,
}

impl Figures {
    /// The largest mean wait of a class over its target.
    pub fn worst_wait_over_target(&self) -> f64 {
        let over =
            |(name, target): (&str, Duration)| self.classes.get(name).map(|class| class.mean_wait_s / target.as_secs_f64());
        CLASSES.into_iter().filter_map(over).fold(0.0, f64::max)
    }
}

pub fn figures(policy: &str, trace: &Trace, ends: &[End]) -> Figures {
    let of = |class: Option<usize>| {
        let theirs = trace.calls.iter().zip(ends).filter(|(call, _)| class.is_none_or(|class| class == call.class));
        summary(theirs.map(|(call, end)| (wait(call.at, end), end.outcome)).collect())
    };
    let all = of(None);
    Figures {
        policy: policy.to_owned(),
        calls: all.calls,
        mean_wait_s: all.mean_wait_s,
        sl20: all.sl20,
        abandoned_share: all.abandoned_share,
        classes: CLASSES.iter().enumerate().map(|(no, (name, _))| (*name, of(Some(no)))).collect(),
    }
}

pub(super) fn wait(came: Moment, end: &End) -> Duration {
    match end.outcome {
        Outcome::Served { answered, .. } => answered.since(came),
        Outcome::Abandoned | Outcome::CallbackBooked => end.at.since(came),
    }
}

fn summary(mut waits: Vec<(Duration, Outcome)>) -> ClassFigures {
    waits.sort_unstable_by_key(|(wait, _)| *wait);
    let calls = waits.len();
    let share = |count: usize| if calls == 0 { 0.0 } else { count as f64 / calls as f64 };
    let total: Duration = waits.iter().map(|(wait, _)| *wait).sum();
    // The value at place ⌈q·n⌉, counted from 1.
    let percentile = |q: usize| {
        let place = (q * calls).div_ceil(100);
        waits.get(place.saturating_sub(1)).map_or(0.0, |(wait, _)| wait.as_secs_f64())
    };
    ClassFigures {
        calls,
        mean_wait_s: if calls == 0 { 0.0 } else { total.as_secs_f64() / calls as f64 },
        p80_wait_s: percentile(80),
        p95_wait_s: percentile(95),
        abandoned_share: share(waits.iter().filter(|(_, outcome)| *outcome == Outcome::Abandoned).count()),
        sl20: share(
            waits.iter().filter(|(wait, outcome)| matches!(outcome, Outcome::Served { .. }) && *wait <= SERVICE_LEVEL).count(),
        ),
    }
}

/// `call,agent,start_s,end_s,outcome`, one row a call in the order of the trace.
pub fn rows(roster: &Roster, ends: &[End]) -> String {
    let mut text = String::from("call,agent,start_s,end_s,outcome\n");
    for (call, end) in ends.iter().enumerate() {
        // A String takes everything that is written to it.
        let _ = match end.outcome {
            Outcome::Served { agent, answered } => {
                let agent = roster.agents.get(agent).map_or("", String::as_str);
                writeln!(text, "{call},{agent},{},{},served", Seconds(answered), Seconds(end.at))
            }
            Outcome::Abandoned => writeln!(text, "{call},,,{},abandoned", Seconds(end.at)),
            Outcome::CallbackBooked => writeln!(text, "{call},,,{},callback", Seconds(end.at)),
        };
    }
    text
}

/// With two decimals, or as many as it takes to be exact.
pub(super) struct Seconds(pub Moment);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, part) = (self.0.0 / 1_000_000, self.0.0 % 1_000_000);
        if part.is_multiple_of(10_000) { write!(f, "{whole}.{:02}", part / 10_000) } else { write!(f, "{whole}.{part:06}") }
    }
}

pub(super) fn rounded<S: Serializer>(figure: &f64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64((figure * 1e6).round() / 1e6)
}
