//! Queues open and close by their calendars, which follow the clock on the wall.

use super::conductor::{Conductor, Work};
use super::house::House;
use crate::acd;
use crate::clock::{Clock, Moment};
use std::time::Duration;

const MINUTE_US: u64 = 60_000_000;

/// When the calendars are looked at next: hours begin and end at whole minutes by the wall. `None`: no queue has any.
pub(super) fn next_look(house: &House, now: Moment, clock: &Clock) -> Option<Moment> {
    let wall = now.0.saturating_add_signed(clock.wall_step_us());
    let rest = Duration::from_micros(MINUTE_US - wall % MINUTE_US);
    house.config.queues.iter().any(|queue| queue.calendar.is_some()).then(|| now + rest)
}

impl Conductor {
    pub(super) fn queues_follow_their_hours(&mut self) {
        for queue in &self.house.config.queues {
            let open = self.house.queue_is_open(queue, self.now, &self.clock);
            if open != self.acd.is_open(&queue.name) {
                tracing::info!(queue = %queue.name, open, "the queue's hours changed");
                self.work.push_back(Work::Acd(acd::Event::QueueOpens { queue: queue.name.clone(), open }));
            }
        }
        self.hours_at = next_look(&self.house, self.now, &self.clock);
    }
}
