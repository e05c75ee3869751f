//! Days that are not like their weekday: the production calendar of Russia, or a list of the installation's own.

use jiff::civil::Date;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What each day is that is not like its weekday.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Days(BTreeMap<Date, DayKind>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DayKind {
    /// By law, or a day off moved here.
    Holiday,
    /// The working day before a holiday.
    Short,
    /// A day of the weekend on which people work as on a Monday.
    Work,
}

impl Days {
    pub fn of(&self, day: Date) -> Option<DayKind> {
        self.0.get(&day).copied()
    }

    /// The list that comes with the engine.
    pub fn russia() -> Result<Self, String> {
        Self::read(include_str!("russia.days"))
    }

    pub fn file(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|cause| {
            format!(
                "`{}` cannot be read ({cause}); write \"russia\", a list of dates, or the path of a list of days",
                path.display()
            )
        })?;
        Self::read(&text).map_err(|why| format!("{}: {why}", path.display()))
    }

    fn read(text: &str) -> Result<Self, String> {
        let mut days = BTreeMap::new();
        for (n, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(date) = words.next() else { continue };
            let wrong = |why: &str| format!("line {}: {why}; write such as \"2026-05-08 short\"", n + 1);
            let date: Date = date.parse().map_err(|_| wrong(&format!("`{date}` is no date")))?;
            let kind = match words.next() {
                Some("holiday" | "off") => DayKind::Holiday,
                Some("short") => DayKind::Short,
                Some("work") => DayKind::Work,
                Some(_) | None => return Err(wrong("a day is holiday, off, short or work")),
            };
            if days.insert(date, kind).is_some() {
                return Err(wrong(&format!("{date} stands here twice")));
            }
        }
        Ok(Self(days))
    }
}

/// `holidays` of a calendar: dates, `"russia"`, or the path of a list of days.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged, expecting = "write [\"2027-01-01\", …], \"russia\", or the path of a list of days")]
pub enum Holidays {
    Named(String),
    Dates(Vec<String>),
}

impl Default for Holidays {
    fn default() -> Self {
        Self::Dates(Vec::new())
    }
}

impl Holidays {
    pub fn days(&self) -> Result<Days, String> {
        match self {
            Holidays::Named(name) if name == "russia" => Days::russia(),
            Holidays::Named(path) => Days::file(Path::new(path)),
            Holidays::Dates(dates) => {
                let read = |text: &String| {
                    text.parse::<Date>().map_err(|_| format!("`{text}` is no date; write it as \"2027-01-01\", in quotes"))
                };
                let dates: BTreeSet<Date> = dates.iter().map(read).collect::<Result<_, _>>()?;
                Ok(Days(dates.into_iter().map(|date| (date, DayKind::Holiday)).collect()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::Weekday;

    /// The norms that the Ministry of Labour publishes for a five-day week.
    #[test]
    fn the_year_2026_has_247_working_days_of_which_four_are_short() {
        let days = Days::russia().unwrap();
        let (mut working, mut short) = (0, 0);
        let mut day: Date = "2026-01-01".parse().unwrap();
        while day.year() == 2026 {
            let weekend = matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday);
            match days.of(day) {
                Some(DayKind::Holiday) => {}
                Some(DayKind::Work) => working += 1,
                Some(DayKind::Short) => (working, short) = (working + 1, short + 1),
                None => working += i32::from(!weekend),
            }
            day = day.tomorrow().unwrap();
        }
        assert_eq!((working, short), (247, 4));
    }

    /// Article 112: fourteen days; article 95: only a working day can be short; a move fills a working day.
    #[test]
    fn both_years_have_the_holidays_of_the_law_and_no_short_day_at_a_weekend() {
        let days = Days::russia().unwrap();
        for year in [2026, 2027] {
            for (month, day) in (1..=8).map(|day| (1, day)).chain([(2, 23), (3, 8), (5, 1), (5, 9), (6, 12), (11, 4)]) {
                assert_eq!(days.of(Date::new(year, month, day).unwrap()), Some(DayKind::Holiday), "{year}-{month}-{day}");
            }
        }
        for (day, kind) in &days.0 {
            if *kind == DayKind::Short {
                assert!(!matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday), "{day}");
                assert_eq!(days.of(day.tomorrow().unwrap()), Some(DayKind::Holiday), "{day}");
            }
        }
    }

    #[test]
    fn a_list_that_cannot_be_read_says_where_and_what_to_write() {
        for (text, told) in [
            ("2026-13-01 off", "line 1: `2026-13-01` is no date; write such as \"2026-05-08 short\""),
            ("\n2026-05-08 shorter", "line 2: a day is holiday, off, short or work; write such as \"2026-05-08 short\""),
            ("2026-05-08 off\n2026-05-08 short", "line 2: 2026-05-08 stands here twice; write such as \"2026-05-08 short\""),
        ] {
            assert_eq!(Days::read(text).unwrap_err(), told);
        }
    }
}
