//! A day or a week in virtual time: recorded or made-up calls and seats, driven through the engine's own queue brain.
//!
//! Pure: texts in, figures and rows out; the same input gives the same output. Nothing here sees what the line could not see: talk
//! times and patience reach the router only when the talk ends or the caller leaves.

mod callbacks;
pub mod chart;
mod dice;
mod engine;
mod estimates;
mod figures;
mod generate;
mod input;
mod picture;
mod replay;
mod rivals;
mod run;
mod seeds;

pub use callbacks::{CallbackFigures, CallbackStory, Callbacks, callback_rows, simulate_callbacks};
pub use dice::Dice;
pub use estimates::{
    AnnouncementFigures, ESTIMATORS, Errors, EstimateFigures, HourFigures, Said, Told, estimate_figures, told, told_rows,
};
pub use figures::{ClassFigures, Figures, figures, rows};
pub use generate::{Generator, HOURS, Redials, Row, WEEKDAYS, replay_csv, roster_csv, trace, trace_csv};
pub use input::{Call, InputError, Roster, Seat, Trace};
pub use picture::{Quarter, picture, quarters};
pub use replay::{Lived, Replay, ReplayError};
pub use run::{End, Outcome, simulate};
pub use seeds::Interval;

use crate::routing::Policy;
use std::str::FromStr;
use std::time::Duration;

/// Classes of calls with the target of their mean wait, in the order of reports.
pub const CLASSES: [(&str, Duration); 5] = [
    ("booking", Duration::from_secs(20)),
    ("consultation", Duration::from_secs(40)),
    ("home_visit", Duration::from_secs(15)),
    ("urgent", Duration::from_secs(10)),
    ("other", Duration::from_secs(60)),
];

/// Who routes the calls of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Router {
    /// The engine as installed.
    Default,
    /// The engine by another of its policies.
    Engine(Policy),
    /// The engine by the longest wait, with agents who can do everything: the bound.
    Pooled,
    /// A queue for each class, polled each second, as Asterisk's app_queue does it.
    AppQueue,
    /// The primary skill first, others only for callers who have waited 20 s.
    Overflow20,
}

impl Router {
    /// Every router under the name by which `--policy` knows it.
    pub const ALL: [(&str, Router); 9] = [
        ("default", Router::Default),
        ("pooled", Router::Pooled),
        ("fifo", Router::Engine(Policy::LongestWait)),
        ("app_queue", Router::AppQueue),
        ("overflow20", Router::Overflow20),
        ("gcmu", Router::Engine(Policy::TargetWait)),
        ("fqr", Router::Engine(Policy::QueueRatio)),
        ("strict", Router::Engine(Policy::StrictPriority)),
        ("target_balance", Router::Engine(Policy::TargetBalance)),
    ];

    /// Whether the engine routes, which can call back.
    pub fn is_engine(self) -> bool {
        match self {
            Router::Default | Router::Engine(_) | Router::Pooled => true,
            Router::AppQueue | Router::Overflow20 => false,
        }
    }

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, router)| *router == self).map_or("default", |(name, _)| name)
    }
}

impl FromStr for Router {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(|(name, _)| name).join(", ");
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, router)| *router).ok_or_else(|| format!("no policy `{text}`; there are {}", known()))
    }
}
