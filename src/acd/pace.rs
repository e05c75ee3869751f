//! How fast a queue moves, and so what a waiting caller may be told.

use crate::clock::Moment;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The smoothed time between two answers out of one queue. The estimate is made of what callers have lately lived through and of
/// nothing else, so it follows breaks and rushes by itself (delay history: Ibrahim & Whitt, *Real-Time Delay Estimation Based on
/// Delay History*, M&SOM 11(3), 2009).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Pace {
    gap: Duration,
    answers: u32,
    last: Moment,
}

impl Pace {
    /// Answers after which the pace is believed.
    const ENOUGH: u32 = 4;
    /// Each new gap counts for one part in so many.
    const SMOOTHING: u32 = 8;

    /// A caller who joined then was answered now. Time in which nobody waited is no gap.
    pub fn answered(&mut self, now: Moment, joined: Moment) {
        let gap = now.since(self.last.max(joined));
        self.gap = if self.answers == 0 { gap } else { (self.gap * (Self::SMOOTHING - 1) + gap) / Self::SMOOTHING };
        self.answers = self.answers.saturating_add(1);
        self.last = now;
    }

    /// How long the caller at this place (1 = next) has still to wait.
    pub fn wait(&self, position: u32) -> Option<Duration> {
        (self.answers >= Self::ENOUGH).then(|| self.gap.saturating_mul(position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_answers_each_ten_seconds_makes_the_third_wait_thirty() {
        let mut pace = Pace::default();
        let entered = Moment::from_secs(100);
        for answer in 1..=3 {
            pace.answered(entered + Duration::from_secs(10 * answer), entered);
            assert_eq!(pace.wait(3), None, "too little is known after {answer} answers");
        }
        pace.answered(entered + Duration::from_secs(40), entered);
        assert_eq!(pace.wait(3), Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_night_without_callers_is_no_slow_pace() {
        let mut pace = Pace::default();
        for answer in 1..=4 {
            pace.answered(Moment::from_secs(10 * answer), Moment::ZERO);
        }
        let morning = Moment::from_secs(30_000);
        pace.answered(morning + Duration::from_secs(10), morning);
        assert_eq!(pace.wait(1), Some(Duration::from_secs(10)));
    }
}
