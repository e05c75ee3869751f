//! A simulated day or week as a picture: waits, queue and agents, a quarter of an hour a step.

use super::chart::{Line, Panel, chart};
use super::input::{Roster, Trace};
use super::run::{End, Outcome};
use crate::clock::Moment;
use std::time::Duration;

const STEP: Duration = Duration::from_secs(900);
const WEEKDAYS: [&str; 7] = ["пн", "вт", "ср", "чт", "пт", "сб", "вс"];

/// What one quarter of an hour came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quarter {
    pub calls: usize,
    /// Of those who came in it, everybody counted, s.
    pub mean_wait_s: f64,
    pub p80_wait_s: f64,
    /// Averages over its time.
    pub waiting: f64,
    pub talking: f64,
    pub on_duty: f64,
}

/// From the trace's start to its last call, whole quarters.
pub fn quarters(trace: &Trace, roster: &Roster, ends: &[End]) -> Vec<Quarter> {
    let last = trace.calls.last().map_or(Moment::ZERO, |call| call.at);
    let count = usize::try_from(last.0 / STEP.as_micros() as u64).unwrap_or(0) + 1;
    let mut quarters = vec![Quarter::default(); count];
    let mut waits: Vec<Vec<f64>> = vec![Vec::new(); count];
    for (call, end) in trace.calls.iter().zip(ends) {
        let answered = match end.outcome {
            Outcome::Served { answered, .. } => {
                spread(&mut quarters, answered, end.at, |quarter, share| quarter.talking += share);
                answered
            }
            Outcome::Abandoned | Outcome::CallbackBooked => end.at,
        };
        spread(&mut quarters, call.at, answered, |quarter, share| quarter.waiting += share);
        if let Some(waits) = waits.get_mut(place(call.at)) {
            waits.push(answered.since(call.at).as_secs_f64());
        }
    }
    for seat in &roster.seats {
        spread(&mut quarters, seat.from, seat.to, |quarter, share| quarter.on_duty += share);
    }
    for (quarter, mut waits) in quarters.iter_mut().zip(waits) {
        waits.sort_by(f64::total_cmp);
        quarter.calls = waits.len();
        quarter.mean_wait_s = waits.iter().sum::<f64>() / waits.len().max(1) as f64;
        quarter.p80_wait_s = waits.get((waits.len() * 4).div_ceil(5).saturating_sub(1)).copied().unwrap_or(0.0);
    }
    quarters
}

/// SVG, with the trace's start as a midnight; `first_weekday` 0 = Monday.
pub fn picture(title: &str, first_weekday: u32, quarters: &[Quarter]) -> String {
    let line = |name, colour, filled, of: fn(&Quarter) -> f64| Line {
        name,
        colour,
        filled,
        steps: false,
        values: quarters.iter().map(of).collect(),
    };
    let panels = [
        Panel {
            title: "Ожидание, с",
            lines: vec![
                line("80 % не дольше", "#c0392b", false, |quarter| quarter.p80_wait_s),
                line("среднее", "#2c3e50", false, |quarter| quarter.mean_wait_s),
            ],
        },
        Panel {
            title: "Ждут в очереди", lines: vec![line("в среднем", "#e67e22", true, |quarter| quarter.waiting)]
        },
        Panel {
            title: "Операторы",
            lines: vec![
                line("на месте", "#27ae60", false, |quarter| quarter.on_duty),
                line("говорят", "#2980b9", true, |quarter| quarter.talking),
            ],
        },
    ];
    chart(title, &ticks(first_weekday, quarters.len()), &panels)
}

/// Every third hour of a day or two, else every midnight.
pub(crate) fn ticks(first_weekday: u32, quarters: usize) -> Vec<(f64, String)> {
    let every = if quarters <= 2 * 96 + 8 { 12 } else { 96 };
    let label = |quarter: usize| {
        let weekday = WEEKDAYS[(first_weekday as usize + quarter / 96) % 7];
        if quarter.is_multiple_of(96) { weekday.to_owned() } else { format!("{}:00", quarter % 96 / 4) }
    };
    (0..quarters).step_by(every).map(|quarter| (quarter as f64 / quarters as f64, label(quarter))).collect()
}

fn place(at: Moment) -> usize {
    (at.0 / STEP.as_micros() as u64) as usize
}

/// Gives each quarter its share (1 = all of it) of a span.
fn spread(quarters: &mut [Quarter], from: Moment, to: Moment, mut give: impl FnMut(&mut Quarter, f64)) {
    let step = STEP.as_micros() as u64;
    for (no, quarter) in quarters.iter_mut().enumerate().skip(place(from)) {
        let (start, stop) = (no as u64 * step, (no as u64 + 1) * step);
        if start >= to.0 {
            break;
        }
        give(quarter, (to.0.min(stop) - from.0.max(start)) as f64 / step as f64);
    }
}
