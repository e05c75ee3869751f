//! How many called when: counts by quarter of an hour, from a table of counts or from a trace.

use super::{QUARTER_S, QUARTERS_PER_DAY};
use crate::simulate::Trace;
use std::collections::BTreeMap;
use std::fmt;

/// A day by its number since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(pub i64);

impl Date {
    /// `2026-11-02`. Days from civil: H. Hinnant, chrono-compatible low-level date algorithms, 2014.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (year, month, day): (i64, i64, i64) =
            (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        if parts.next().is_some() || !(1970..=9999).contains(&year) {
            return None;
        }
        let shifted = if month <= 2 { year - 1 } else { year };
        let (era, year_of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let date = Self(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468);
        // A month or day that does not exist comes back as another.
        (date.civil() == (year, month, day)).then_some(date)
    }

    /// 0 = Monday; 1970-01-01 was a Thursday.
    pub fn weekday(self) -> usize {
        (self.0 + 3).rem_euclid(7) as usize
    }

    fn civil(self) -> (i64, i64, i64) {
        let days = self.0 + 719_468;
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let (day, month) = (day_of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
        (year_of_era + era * 400 + i64::from(month <= 2), month, day)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// Whole days of counts; a day that is missing is not there, a quarter without calls is 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    pub days: BTreeMap<Date, [f64; QUARTERS_PER_DAY]>,
    /// Quarters that the source counted as one: 1, 2 or 4. Within them calls are spread evenly.
    pub grain: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct HistoryError {
    pub line: usize,
    pub what: String,
}

impl History {
    /// Columns `start,calls`: local time `2026-11-02T08:15` (or with a space), counts of 15, 30 or 60 minutes from there on. Which of
    /// these is seen from the minutes that occur.
    pub fn parse(text: &str) -> Result<Self, HistoryError> {
        let mut lines = text.lines().enumerate().map(|(no, line)| (no + 1, line.trim()));
        if lines.next().is_none_or(|(_, head)| head.trim_start_matches('\u{feff}') != "start,calls") {
            return Err(wrong(1, "the header should be `start,calls`"));
        }
        let mut counts = BTreeMap::new();
        for (line, row) in lines.filter(|(_, row)| !row.is_empty()) {
            let (start, calls) = row.split_once(',').ok_or_else(|| wrong(line, "two columns are wanted: start,calls"))?;
            let (date, quarter) = quarter(start)
                .ok_or_else(|| wrong(line, &format!("`{start}` is no time such as 2026-11-02T08:15, on a quarter of an hour")))?;
            let calls = calls.trim().parse().ok().filter(|calls: &u32| *calls < 1_000_000);
            let calls = calls.ok_or_else(|| wrong(line, "calls are a whole number from 0 to 999999"))?;
            if counts.insert((date, quarter), calls).is_some() {
                return Err(wrong(line, "this time was counted before; leave one of the rows out"));
            }
        }
        let grain = match () {
            () if counts.keys().any(|(_, quarter)| quarter % 2 == 1) => 1,
            () if counts.keys().any(|(_, quarter)| quarter % 4 == 2) => 2,
            () => 4,
        };
        let mut history = Self { days: BTreeMap::new(), grain };
        for ((date, start), calls) in counts {
            let day = history.days.entry(date).or_insert([0.0; QUARTERS_PER_DAY]);
            day.iter_mut().skip(start).take(grain).for_each(|quarter| *quarter = f64::from(calls) / grain as f64);
        }
        Ok(history)
    }

    /// Arrivals of a trace whose start is the midnight of `first`; days without a call are not there.
    pub fn of_trace(trace: &Trace, first: Date) -> Self {
        let mut history = Self { days: BTreeMap::new(), grain: 1 };
        for call in &trace.calls {
            let quarter = (call.at.0 as f64 / 1e6 / QUARTER_S) as usize;
            let date = Date(first.0 + (quarter / QUARTERS_PER_DAY) as i64);
            let day = history.days.entry(date).or_insert([0.0; QUARTERS_PER_DAY]);
            day[quarter % QUARTERS_PER_DAY] += 1.0;
        }
        history
    }

    pub fn last(&self) -> Option<Date> {
        self.days.keys().next_back().copied()
    }

    /// Without its last day, which is not over.
    pub fn without_today(mut self) -> Self {
        self.days.pop_last();
        self
    }

    /// Without the days from `date` on.
    pub fn before(&self, date: Date) -> Self {
        Self { days: self.days.range(..date).map(|(date, day)| (*date, *day)).collect(), grain: self.grain }
    }
}

fn quarter(start: &str) -> Option<(Date, usize)> {
    let (date, time) = start.trim().split_once(['T', ' '])?;
    let mut parts = time.split(':');
    let (hour, minute): (usize, usize) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let whole = parts.all(|rest| rest == "00");
    (hour < 24 && minute < 60 && minute % 15 == 0 && whole).then_some((Date::parse(date)?, hour * 4 + minute / 15))
}

fn wrong(line: usize, what: &str) -> HistoryError {
    HistoryError { line, what: what.to_owned() }
}
