//! The one look at the clock. Everything else takes `now` as an argument.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Microseconds since 1970-01-01 UTC as the engine counts them: the wall clock when the process started plus monotonic time
/// since. It never goes back, and two lives of the engine share one scale.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Moment(pub u64);

impl Moment {
    pub const ZERO: Moment = Moment(0);

    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1_000_000)
    }
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000)
    }
    /// Time from `earlier` to here; zero if `earlier` is later.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
    pub fn as_unix_seconds(self) -> u64 {
        self.0 / 1_000_000
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;
    fn add(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Moment> for Moment {
    type Output = Duration;
    fn sub(self, earlier: Moment) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// The clock of one process.
#[derive(Clone, Copy, Debug)]
#[cfg(feature = "live")]
pub struct Clock {
    wall_at_start: Moment,
    start: std::time::Instant,
}

#[cfg(feature = "live")]
impl Clock {
    /// Reads the wall clock once. A `floor` (the last moment of the journal) keeps time from going back over a restart.
    #[allow(clippy::disallowed_methods)] // the one place that may look
    pub fn start(floor: Moment) -> Self {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let wall = Moment(u64::try_from(wall.as_micros()).unwrap_or(u64::MAX));
        Self { wall_at_start: wall.max(floor), start: std::time::Instant::now() }
    }

    #[allow(clippy::disallowed_methods)]
    pub fn now(&self) -> Moment {
        self.wall_at_start + self.start.elapsed()
    }

    /// How far the wall clock has stepped away from [`Clock::now`], in microseconds; positive if the wall is ahead. Calendars
    /// follow the wall, durations do not.
    #[allow(clippy::disallowed_methods)]
    pub fn wall_step_us(&self) -> i64 {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(wall.as_micros()).unwrap_or(i64::MAX) - i64::try_from(self.now().0).unwrap_or(i64::MAX)
    }
}
