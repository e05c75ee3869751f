//! How many operators, when: forecast of arrivals, waits by formula, shifts that come out of both.
//!
//! Pure: texts and numbers in, plans out. Every formula names its source; what the formulas promise is checked in the simulator
//! (`tests/staff.rs`), which knows nothing of them.

mod erlang;
mod forecast;
mod history;
mod picture;
mod shifts;

pub use erlang::{Load, Queue, agents_for, erlang_a, erlang_c};
pub use forecast::{Backtest, Expected, Forecast, backtest};
pub use history::{Date, History, HistoryError};
pub use picture::{forecast_picture, plan_picture};
pub use shifts::{Breaks, Demand, Goal, Plan, Shift, ShiftRules, plan};

/// A quarter of an hour is the step of every table here.
pub const QUARTER_S: f64 = 900.0;
pub const QUARTERS_PER_DAY: usize = 96;
pub const QUARTERS_PER_WEEK: usize = 7 * QUARTERS_PER_DAY;
