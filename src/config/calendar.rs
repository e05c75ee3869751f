//! When a service is open: hours by weekday, holidays and other days, round the clock, over midnight; in the zone of a region.

use super::day_list::{DayKind, Days, Holidays};
use crate::clock::Moment;
use crate::ids::RegionId;
use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;

/// Minutes since midnight of a whole day.
const DAY: u16 = 24 * 60;

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calendar {
    /// As the scripts ask for it.
    pub name: String,
    #[serde(default)]
    pub region: RegionId,
    /// The region's.
    #[serde(skip, default = "utc")]
    pub zone: TimeZone,
    pub open: Week,
    #[serde(default)]
    pub(super) holidays: Holidays,
    /// What `holidays` names, read.
    #[serde(skip)]
    pub(super) days: Days,
    /// The last span of a day before a holiday ends so much earlier; a span over midnight or to it does not.
    #[serde(default = "an_hour")]
    pub short_by_min: u16,
    /// Days with hours of their own, whatever they are otherwise.
    #[serde(default, deserialize_with = "days_with_hours")]
    pub exceptions: BTreeMap<Date, Hours>,
}

/// Hours by weekday, and on holidays; what is left out is closed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Week {
    pub mon: Hours,
    pub tue: Hours,
    pub wed: Hours,
    pub thu: Hours,
    pub fri: Hours,
    pub sat: Hours,
    pub sun: Hours,
    pub holiday: Hours,
}

/// Spans of one day in minutes since its midnight. A span over midnight (`22:00-06:00`) ends beyond 24:00, on the next day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hours(Vec<Range<u16>>);

impl Calendar {
    /// Whether the service is open. The end does not count: `08:00-20:00` is closed at 20:00:00.
    pub fn is_open(&self, now: Moment) -> bool {
        let now = i64::try_from(now.0).ok().and_then(|us| Timestamp::from_microsecond(us).ok()).unwrap_or(Timestamp::MAX);
        let now = now.to_zoned_datetime(self.zone.clone());
        // The hand of the clock on the wall decides, also on a day of 23 or 25 hours.
        let minute = u16::try_from(i32::from(now.hour()) * 60 + i32::from(now.minute())).unwrap_or(0);
        let today = now.date();
        let yesterday = today.yesterday().ok();
        self.opens(today, minute) || yesterday.is_some_and(|yesterday| self.opens(yesterday, minute + DAY))
    }

    /// Whether the hours that begin on this day hold this minute.
    fn opens(&self, day: Date, minute: u16) -> bool {
        if let Some(hours) = self.exceptions.get(&day) {
            return hours.hold(minute, 0);
        }
        match self.days.of(day) {
            Some(DayKind::Holiday) => self.open.holiday.hold(minute, 0),
            Some(DayKind::Short) => self.open.day(day.weekday()).hold(minute, self.short_by_min),
            Some(DayKind::Work) => self.open.mon.hold(minute, 0),
            None => self.open.day(day.weekday()).hold(minute, 0),
        }
    }
}

impl Week {
    fn day(&self, weekday: Weekday) -> &Hours {
        match weekday {
            Weekday::Monday => &self.mon,
            Weekday::Tuesday => &self.tue,
            Weekday::Wednesday => &self.wed,
            Weekday::Thursday => &self.thu,
            Weekday::Friday => &self.fri,
            Weekday::Saturday => &self.sat,
            Weekday::Sunday => &self.sun,
        }
    }
}

impl Hours {
    /// `08:00-20:00`, several with commas, `24h`, or `closed`.
    fn read(text: &str) -> Option<Self> {
        match text.trim() {
            "24h" => Some(Self(std::iter::once(0..DAY).collect())),
            "closed" => Some(Self::default()),
            spans => spans.split(',').map(Self::span).collect::<Option<_>>().map(Self),
        }
    }

    /// Whether these hours, the last of them shorter by so many minutes, hold this minute.
    fn hold(&self, minute: u16, shorter: u16) -> bool {
        let last = self.0.iter().map(|span| span.end).max().unwrap_or_default();
        let end = |span: &Range<u16>| if span.end == last && last < DAY { last.saturating_sub(shorter) } else { span.end };
        self.0.iter().any(|span| (span.start..end(span)).contains(&minute))
    }

    fn span(text: &str) -> Option<Range<u16>> {
        let (from, to) = text.trim().split_once('-')?;
        let (from, to) = (minute_of_day(from)?, minute_of_day(to)?);
        // A span that ends before it begins goes on over midnight.
        (from != to && from < DAY).then(|| from..if to > from { to } else { to + DAY })
    }
}

fn minute_of_day(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (minute < 60 && (hour < 24 || (hour == 24 && minute == 0))).then(|| hour * 60 + minute)
}

impl<'de> Deserialize<'de> for Hours {
    fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let text = String::deserialize(source)?;
        Self::read(&text).ok_or_else(|| {
            let message =
                "are no hours; write \"08:00-20:00\", \"09:00-13:00, 14:00-18:00\", \"22:00-06:00\", \"24h\" or \"closed\"";
            serde::de::Error::custom(format!("`{text}` {message}"))
        })
    }
}

fn utc() -> TimeZone {
    TimeZone::UTC
}

fn an_hour() -> u16 {
    60
}

fn days_with_hours<'de, D: serde::Deserializer<'de>>(source: D) -> Result<BTreeMap<Date, Hours>, D::Error> {
    let read = |(text, hours): (String, Hours)| {
        let wrong = |_| serde::de::Error::custom(format!("`{text}` is no date; write it as \"2027-01-01\" = \"10:00-16:00\""));
        Ok((text.parse().map_err(wrong)?, hours))
    };
    BTreeMap::<String, Hours>::deserialize(source)?.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_working_day_opens_at_the_minute_and_is_closed_at_its_end() {
        let calendar = calendar(r#"open = { mon = "08:00-20:00" }"#);
        for (time, open) in [("07:59:59", false), ("08:00:00", true), ("19:59:59", true), ("20:00:00", false)] {
            assert_eq!(calendar.is_open(barnaul(&format!("2026-11-23T{time}"))), open, "{time}");
        }
    }

    #[test]
    fn a_weekday_without_hours_is_closed() {
        assert!(!calendar(r#"open = { mon = "24h" }"#).is_open(barnaul("2026-11-24T12:00:00")));
    }

    #[test]
    fn the_zone_decides_which_day_it_is() {
        let mut calendar = calendar(r#"open = { mon = "08:00-20:00" }"#);
        // Monday 08:30 in Barnaul is Monday 04:30 in Moscow.
        let moment = barnaul("2026-11-23T08:30:00");
        assert!(calendar.is_open(moment));
        calendar.zone = TimeZone::get("Europe/Moscow").unwrap();
        assert!(!calendar.is_open(moment));
    }

    #[test]
    fn a_night_shift_goes_on_over_midnight_into_a_day_without_hours() {
        let calendar = calendar(r#"open = { sun = "22:00-06:00" }"#);
        for (time, open) in [
            ("2026-11-22T21:59:59", false),
            ("2026-11-22T22:00:00", true),
            ("2026-11-23T00:00:00", true),
            ("2026-11-23T05:59:59", true),
            ("2026-11-23T06:00:00", false),
            ("2026-11-22T05:00:00", false),
        ] {
            assert_eq!(calendar.is_open(barnaul(time)), open, "{time}");
        }
    }

    #[test]
    fn round_the_clock_has_no_gap_at_midnight() {
        let calendar = calendar(r#"open = { sun = "24h", mon = "24h" }"#);
        for time in ["2026-11-22T00:00:00", "2026-11-22T23:59:59", "2026-11-23T00:00:00"] {
            assert!(calendar.is_open(barnaul(time)), "{time}");
        }
    }

    #[test]
    fn a_holiday_is_closed_but_the_shift_of_the_evening_before_ends_in_it() {
        let calendar = calendar(r#"open = { thu = "22:00-02:00", fri = "08:00-20:00, 22:00-02:00" }, holidays = ["2027-01-01"]"#);
        for (time, open) in [
            ("2026-12-31T23:00:00", true),
            ("2027-01-01T01:59:00", true),
            ("2027-01-01T10:00:00", false),
            ("2027-01-02T01:00:00", false),
            ("2027-01-08T10:00:00", true),
        ] {
            assert_eq!(calendar.is_open(barnaul(time)), open, "{time}");
        }
    }

    #[test]
    fn the_day_before_a_holiday_ends_an_hour_earlier_where_it_ends_at_all() {
        let day = r#"open = { mon = "08:00-20:00", tue = "09:00-13:00, 14:00-18:00", fri = "24h" }, holidays = "russia""#;
        let (calendar, full) = (calendar(day), calendar(&format!("{day}, short_by_min = 0")));
        for (time, open, full_open) in [
            ("2026-11-03T12:59:00", true, true),
            ("2026-11-03T16:59:00", true, true),
            ("2026-11-03T17:00:00", false, true),
            ("2026-11-03T18:00:00", false, false),
            ("2026-05-08T23:30:00", true, true),
            ("2026-11-10T17:30:00", true, true),
        ] {
            assert_eq!((calendar.is_open(barnaul(time)), full.is_open(barnaul(time))), (open, full_open), "{time}");
        }
    }

    #[test]
    fn holidays_have_hours_of_their_own_if_any_and_a_moved_day_off_is_one() {
        let week = r#"open = { mon = "08:00-20:00", thu = "08:00-20:00", holiday = "10:00-16:00" }, holidays = "russia""#;
        for (time, open) in [
            ("2026-05-11T09:00:00", false),
            ("2026-05-11T10:00:00", true),
            ("2026-12-31T15:59:00", true),
            ("2026-12-31T16:00:00", false),
            ("2026-12-30T10:00:00", false),
        ] {
            assert_eq!(calendar(week).is_open(barnaul(time)), open, "{time}");
        }
        assert!(!calendar(&week.replace(", holiday = \"10:00-16:00\"", "")).is_open(barnaul("2026-05-11T10:00:00")));
    }

    #[test]
    fn an_exception_opens_or_shortens_a_day_whatever_it_is_otherwise() {
        let week = r#"open = { mon = "08:00-20:00" }, holidays = "russia",
            exceptions = { "2026-05-11" = "12:00-14:00", "2026-11-21" = "09:00-18:00", "2026-11-23" = "closed" }"#;
        let calendar = calendar(&week.replace('\n', ""));
        for (time, open) in [
            ("2026-05-11T12:00:00", true),
            ("2026-05-11T14:00:00", false),
            ("2026-11-21T10:00:00", true),
            ("2026-11-23T10:00:00", false),
            ("2026-11-30T10:00:00", true),
        ] {
            assert_eq!(calendar.is_open(barnaul(time)), open, "{time}");
        }
    }

    #[test]
    fn a_working_saturday_has_the_hours_of_a_monday() {
        let mut calendar = calendar(r#"open = { mon = "08:00-20:00" }"#);
        let saturday = barnaul("2026-11-21T10:00:00");
        assert!(!calendar.is_open(saturday));
        let list = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(list.path(), "2026-11-21 work  moved to Monday\n").unwrap();
        calendar.days = Days::file(list.path()).unwrap();
        assert!(calendar.is_open(saturday));
    }

    #[test]
    fn a_lunch_break_is_closed() {
        let calendar = calendar(r#"open = { mon = "09:00-13:00, 14:00-18:00" }"#);
        assert!(!calendar.is_open(barnaul("2026-11-23T13:30:00")));
        assert!(calendar.is_open(barnaul("2026-11-23T14:00:00")));
    }

    #[test]
    fn what_are_no_hours_is_refused() {
        for text in ["8-20", "25:00-26:00", "08:00-08:00", "24:00-25:00", "08:60-09:00", "", "always"] {
            assert_eq!(Hours::read(text), None, "{text}");
        }
    }

    fn calendar(rest: &str) -> Calendar {
        let text = format!("c = {{ name = \"c\", {rest} }}");
        let mut calendar = toml::from_str::<std::collections::BTreeMap<String, Calendar>>(&text).unwrap().remove("c").unwrap();
        calendar.zone = zone();
        calendar.days = calendar.holidays.days().unwrap();
        calendar
    }

    fn zone() -> TimeZone {
        TimeZone::get("Asia/Barnaul").unwrap()
    }

    fn barnaul(time: &str) -> Moment {
        let time: jiff::civil::DateTime = time.parse().unwrap();
        Moment(time.to_zoned_datetime(zone()).unwrap().timestamp().as_microsecond().try_into().unwrap())
    }
}
