//! What the queues have lived through of late: how many came, how long they waited. Routing weighs the queues by it.

use super::queue::QueueNo;
use crate::clock::Moment;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Everything ages at the same moments, so that queues stay comparable and nothing depends on who asks when.
const QUARTER: Duration = Duration::from_secs(900);
/// Arrivals follow the hour of the day: what is left of their count after a quarter of an hour.
const ARRIVALS_KEPT: f64 = 0.75;
/// Mean waits are to be even over days: what is left of their sums.
const WAITS_KEPT: f64 = 0.996;
/// After so many quarters of silence nothing of the arrivals is left.
const FORGOTTEN: u64 = 2_000;
/// A new queue is taken to have met its target with so many callers: the first few waits say little.
const BELIEVED: f64 = 5.0;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Demand {
    quarter: u64,
    queues: Vec<Seen>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Seen {
    arrivals: f64,
    waits: f64,
    /// Of all waits in seconds.
    waited: f64,
}

impl Demand {
    pub fn caller_came(&mut self, now: Moment, queue: QueueNo) {
        self.age(now);
        self.of(queue).arrivals += 1.0;
    }

    /// A wait ended, by whatever: answered, given up, at its limit.
    pub fn wait_ended(&mut self, now: Moment, queue: QueueNo, wait: Duration) {
        self.age(now);
        let seen = self.of(queue);
        seen.waits += 1.0;
        seen.waited += wait.as_secs_f64();
    }

    /// Callers a second; never zero.
    pub fn rate(&self, queue: QueueNo) -> f64 {
        // A geometric series of quarters: a count kept at so much a quarter stands for an hour.
        let remembered = QUARTER.as_secs_f64() / (1.0 - ARRIVALS_KEPT);
        (self.seen(queue).arrivals + 0.1) / remembered
    }

    /// The mean wait over its target.
    pub fn strain(&self, queue: QueueNo, target: Duration) -> f64 {
        let seen = self.seen(queue);
        let target = target.as_secs_f64().max(1.0);
        (seen.waited + BELIEVED * target) / ((seen.waits + BELIEVED) * target)
    }

    fn age(&mut self, now: Moment) {
        let quarter = now.as_unix_seconds() / QUARTER.as_secs();
        let passed = quarter.saturating_sub(self.quarter).min(FORGOTTEN);
        self.quarter = self.quarter.max(quarter);
        for _ in 0..passed {
            for seen in &mut self.queues {
                seen.arrivals *= ARRIVALS_KEPT;
                seen.waits *= WAITS_KEPT;
                seen.waited *= WAITS_KEPT;
            }
        }
    }

    fn seen(&self, queue: QueueNo) -> Seen {
        self.queues.get(queue.index()).copied().unwrap_or_default()
    }

    fn of(&mut self, queue: QueueNo) -> &mut Seen {
        let at = queue.index();
        if self.queues.len() <= at {
            self.queues.resize(at + 1, Seen::default());
        }
        &mut self.queues[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_secs(20);

    #[test]
    fn strain_is_the_mean_wait_over_target_after_five_who_met_it() {
        let (mut demand, queue) = (Demand::default(), QueueNo::default());
        assert_eq!(demand.strain(queue, TARGET), 1.0);
        for _ in 0..5 {
            demand.wait_ended(Moment::ZERO, queue, Duration::from_secs(40));
        }
        assert_eq!(demand.strain(queue, TARGET), 1.5);
    }

    #[test]
    fn arrivals_fade_by_the_hour_and_waits_by_the_week() {
        let (mut demand, queue) = (Demand::default(), QueueNo::default());
        for _ in 0..100 {
            demand.caller_came(Moment::ZERO, queue);
            demand.wait_ended(Moment::ZERO, queue, Duration::from_secs(40));
        }
        assert!((demand.rate(queue) - 100.1 / 3600.0).abs() < 1e-9);
        let (before, later) = (demand.strain(queue, TARGET), Moment::from_secs(4 * 900));
        demand.caller_came(later, queue);
        assert!((demand.rate(queue) - (100.0 * 0.75_f64.powi(4) + 1.1) / 3600.0).abs() < 1e-9);
        let kept = 100.0 * 0.996_f64.powi(4);
        let expected = (40.0 * kept + 100.0) / ((kept + 5.0) * 20.0);
        assert!((demand.strain(queue, TARGET) - expected).abs() < 1e-9 && before > expected);
    }
}
