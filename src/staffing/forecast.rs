//! Arrivals of days to come: a level, a weekday's factor, a weekday's profile over the day; and how far to trust it.
//!
//! Counts of a line differ more than Poisson's (L. Brown et al., Statistical analysis of a telephone call center, JASA 100, 2005): the
//! whole day is busier or calmer than expected, and so is each quarter by itself. Variance = μ + (cv_day² + cv_quarter²) μ², which is
//! a negative binomial count.

use super::history::{Date, History};
use super::{QUARTERS_PER_DAY, QUARTERS_PER_WEEK};

/// What is this many days old counts half.
const HALF_LIFE_DAYS: f64 = 21.0;
/// A weekday's own profile is mixed with the profile of all days as if it had been seen on so many more days.
const SHARED_DAYS: f64 = 2.0;
/// A day of fewer calls than this says nothing on profiles.
const LEAST_CALLS: f64 = 1.0;
/// Coverage is judged where this many calls or more are expected: below, a count is nearly always within.
const JUDGED_FROM: f64 = 5.0;

/// What is expected of one quarter (or of what the source counts as one).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    pub mean: f64,
    /// 80 % of counts lie within, ends included.
    pub low: f64,
    pub high: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// Calls of an average day.
    pub level: f64,
    /// Monday first; their mean is 1 where every weekday was seen.
    pub weekdays: [f64; 7],
    /// Monday's 96 quarters first; each day sums to 1.
    pub profile: Vec<f64>,
    /// How much whole days differ from what is expected, beyond chance.
    pub day_cv: f64,
    /// The same for a quarter within its day.
    pub quarter_cv: f64,
    grain: usize,
}

impl Forecast {
    /// `None` without a day of calls.
    pub fn learn(history: &History) -> Option<Self> {
        let last = history.last()?;
        let days: Vec<(f64, usize, f64, &[f64; QUARTERS_PER_DAY])> = history
            .days
            .iter()
            .map(|(date, day)| (weight(last, *date), date.weekday(), day.iter().sum::<f64>(), day))
            .filter(|(_, _, total, _)| *total >= LEAST_CALLS)
            .collect();
        if days.is_empty() {
            return None;
        }
        let weekdays = weekdays(&days);
        let level = average(days.iter().map(|(weight, weekday, total, _)| (*weight, total / weekdays[*weekday])));
        let mut shared = [0.0; QUARTERS_PER_DAY];
        for (weight, _, total, day) in &days {
            shared.iter_mut().zip(day.iter()).for_each(|(sum, calls)| *sum += weight * calls / total);
        }
        let all: f64 = shared.iter().sum();
        let mut profile = Vec::with_capacity(QUARTERS_PER_WEEK);
        for weekday in 0..7 {
            let mut own: Vec<f64> = shared.iter().map(|share| SHARED_DAYS * share / all).collect();
            for (weight, _, total, day) in days.iter().filter(|(_, of, _, _)| *of == weekday) {
                own.iter_mut().zip(day.iter()).for_each(|(sum, calls)| *sum += weight * calls / total);
            }
            let sum: f64 = own.iter().sum();
            profile.extend(own.iter().map(|share| share / sum));
        }
        let mut forecast = Self { level, weekdays, profile, day_cv: 0.0, quarter_cv: 0.0, grain: history.grain };
        (forecast.day_cv, forecast.quarter_cv) = forecast.dispersion(&days);
        Some(forecast)
    }

    /// Calls expected in a quarter of the week, Monday's midnight first.
    pub fn mean(&self, quarter_of_week: usize) -> f64 {
        let weekday = self.weekdays.get(quarter_of_week / QUARTERS_PER_DAY).copied().unwrap_or(0.0);
        self.level * weekday * self.profile.get(quarter_of_week).copied().unwrap_or(0.0)
    }

    pub fn day(&self, date: Date) -> Vec<Expected> {
        (0..QUARTERS_PER_DAY).map(|quarter| self.expected(self.mean(date.weekday() * QUARTERS_PER_DAY + quarter))).collect()
    }

    /// Quarters of a day differ by themselves, but hardly all to one side.
    pub fn whole_day(&self, date: Date) -> Expected {
        let mean: f64 = (0..QUARTERS_PER_DAY).map(|quarter| self.mean(date.weekday() * QUARTERS_PER_DAY + quarter)).sum();
        let dispersion = self.day_cv.powi(2);
        Expected { mean, low: quantile(0.1, mean, dispersion), high: quantile(0.9, mean, dispersion) }
    }

    fn expected(&self, mean: f64) -> Expected {
        let dispersion = self.day_cv.powi(2) + self.quarter_cv.powi(2);
        Expected { mean, low: quantile(0.1, mean, dispersion), high: quantile(0.9, mean, dispersion) }
    }

    /// How much the days learnt from differ beyond chance. Moments: E(x − μ)² = μ + cv²μ².
    fn dispersion(&self, days: &[(f64, usize, f64, &[f64; QUARTERS_PER_DAY])]) -> (f64, f64) {
        let expected = |weekday: usize| self.level * self.weekdays[weekday];
        let of_days = days.iter().map(|(weight, weekday, total, _)| {
            let mean = expected(*weekday);
            (weight * mean * mean, ((total - mean).powi(2) - mean) / (mean * mean))
        });
        let day_cv = average(of_days).max(0.0).sqrt();
        let (mut sum, mut weights) = (0.0, 0.0);
        for (weight, weekday, total, day) in days {
            for start in (0..QUARTERS_PER_DAY).step_by(self.grain) {
                let span = start..start + self.grain;
                let profile = self.profile.iter().skip(weekday * QUARTERS_PER_DAY);
                let mean: f64 = profile.skip(start).take(self.grain).map(|share| share * total).sum();
                let calls: f64 = day.get(span).into_iter().flatten().sum();
                (sum, weights) = (sum + weight * ((calls - mean).powi(2) - mean), weights + weight * mean * mean);
            }
        }
        (day_cv, (sum / weights.max(1e-9)).max(0.0).sqrt())
    }
}

fn weight(last: Date, date: Date) -> f64 {
    (-((last.0 - date.0) as f64) / HALF_LIFE_DAYS).exp2()
}

/// Each weekday's mean over the mean of those that were seen; 1 for a weekday never seen.
fn weekdays(days: &[(f64, usize, f64, &[f64; QUARTERS_PER_DAY])]) -> [f64; 7] {
    let means: Vec<Option<f64>> = (0..7)
        .map(|weekday| {
            let of = || days.iter().filter(|(_, of, _, _)| *of == weekday).map(|(weight, _, total, _)| (*weight, *total));
            of().next().map(|_| average(of()))
        })
        .collect();
    let seen: Vec<f64> = means.iter().flatten().copied().collect();
    let mean = seen.iter().sum::<f64>() / seen.len().max(1) as f64;
    let mut factors = [1.0; 7];
    factors.iter_mut().zip(means).for_each(|(factor, own)| *factor = own.map_or(1.0, |own| own / mean));
    factors
}

fn average(of: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (sum, weights) = of.fold((0.0, 0.0), |(sum, weights), (weight, value)| (sum + weight * value, weights + weight));
    sum / weights.max(1e-12)
}

/// The least count k with P(X ≤ k) ≥ p, X negative binomial with this mean and variance mean + dispersion · mean².
fn quantile(p: f64, mean: f64, dispersion: f64) -> f64 {
    if mean <= 0.0 {
        return 0.0;
    }
    if mean > 400.0 {
        // Far from zero the normal's quantile is within a call.
        let deviation = (mean + dispersion * mean * mean).sqrt();
        return (mean + 1.281_552 * if p < 0.5 { -deviation } else { deviation }).round().max(0.0);
    }
    let shape = 1.0 / dispersion.max(1e-6);
    // P(0) = (r/(r + μ))^r, P(k + 1) = P(k) · (r + k)/(k + 1) · μ/(r + μ).
    let mut here = (-shape * (mean / shape).ln_1p()).exp();
    let (mut sum, mut count) = (here, 0.0);
    while sum < p && count < 10.0 * mean + 100.0 {
        here *= (shape + count) / (count + 1.0) * mean / (shape + mean);
        count += 1.0;
        sum += here;
    }
    count
}

/// Forecasts made a week ahead against what came.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Backtest {
    pub days: usize,
    /// Σ|forecast − came| / Σ came, by the source's own step and by day.
    pub wape_step: f64,
    pub wape_day: f64,
    /// The same of the plain rule: as on the same weekday a week before.
    pub naive_step: f64,
    pub naive_day: f64,
    /// (Σ forecast − Σ came) / Σ came.
    pub bias: f64,
    /// Share of steps with five calls or more expected that lay within their 80 % interval.
    pub covered: f64,
}

/// The last `days` days are held out, a week at a time: each week is forecast from what lies before it. `None` if nothing lies before.
pub fn backtest(history: &History, days: u32) -> Option<Backtest> {
    let last = history.last()?;
    let first = Date(last.0 + 1 - i64::from(days));
    let mut errors = Errors::default();
    let mut start = first;
    while start <= last {
        let forecast = Forecast::learn(&history.before(start))?;
        let end = Date((start.0 + 7).min(last.0 + 1));
        for (date, came) in history.days.range(start..end) {
            errors.see(&forecast, *date, came, history.days.get(&Date(date.0 - 7)));
        }
        start = end;
    }
    errors.told()
}

#[derive(Default)]
struct Errors {
    days: usize,
    came: f64,
    forecast: f64,
    step: f64,
    day: f64,
    naive_came: f64,
    naive_step: f64,
    naive_day: f64,
    judged: u32,
    within: u32,
}

impl Errors {
    fn see(
        &mut self,
        forecast: &Forecast,
        date: Date,
        came: &[f64; QUARTERS_PER_DAY],
        week_before: Option<&[f64; QUARTERS_PER_DAY]>,
    ) {
        self.days += 1;
        let (mut expected_day, came_day) = (0.0, came.iter().sum::<f64>());
        let steps = |day: &[f64]| day.chunks(forecast.grain).map(|step| step.iter().sum()).collect::<Vec<f64>>();
        let means: Vec<f64> = forecast.day(date).iter().map(|quarter| quarter.mean).collect();
        for (mean, came) in steps(&means).into_iter().zip(steps(came)) {
            expected_day += mean;
            self.step += (mean - came).abs();
            if mean >= JUDGED_FROM {
                let Expected { low, high, .. } = forecast.expected(mean);
                self.judged += 1;
                self.within += u32::from(low <= came && came <= high);
            }
        }
        self.came += came_day;
        self.forecast += expected_day;
        self.day += (expected_day - came_day).abs();
        if let Some(before) = week_before {
            self.naive_came += came_day;
            self.naive_step += steps(before).iter().zip(steps(came)).map(|(before, came)| (before - came).abs()).sum::<f64>();
            self.naive_day += (before.iter().sum::<f64>() - came_day).abs();
        }
    }

    fn told(self) -> Option<Backtest> {
        if self.came <= 0.0 {
            return None;
        }
        let naive = self.naive_came.max(1e-9);
        Some(Backtest {
            days: self.days,
            wape_step: self.step / self.came,
            wape_day: self.day / self.came,
            naive_step: self.naive_step / naive,
            naive_day: self.naive_day / naive,
            bias: (self.forecast - self.came) / self.came,
            covered: f64::from(self.within) / f64::from(self.judged.max(1)),
        })
    }
}
