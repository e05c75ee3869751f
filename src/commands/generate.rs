//! `dozvon generate`: a made-up trace by seed. What a made-up line is like is said the same way to `dozvon simulate --seeds`.

use super::files::{roster_of, write};
use anyhow::{Context, bail};
use dozvon::simulate::{Generator, HOURS, Redials, Roster, Router, Row, WEEKDAYS, trace_csv};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct GenerateArguments {
    #[command(flatten)]
    line: LineArguments,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the trace goes, as CSV; gzipped if the name ends in .gz.
    #[arg(long)]
    out: PathBuf,
    /// Agents as CSV: on whom people give up and ring again (with --redial-share).
    #[arg(long)]
    roster: Option<PathBuf>,
    /// Who routes the calls on which people give up.
    #[arg(long, default_value = "default")]
    policy: Router,
}

/// A made-up line. Left out is the line of the public reports: 165,800 calls a month, 2:45 a talk.
#[derive(clap::Args)]
pub struct LineArguments {
    /// First attempts in 30 average days.
    #[arg(long, default_value_t = 165_800.0)]
    calls_per_month: f64,
    #[arg(long, default_value_t = 7)]
    days: u32,
    /// Weekday of the first day, 1 = Monday.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=7))]
    first_weekday: u32,
    /// 24 weights of the hours of a day, with commas.
    #[arg(long, value_delimiter = ',')]
    hours: Option<Vec<f64>>,
    /// Seven weights, Monday first; 1 = an average day.
    #[arg(long, value_delimiter = ',')]
    weekdays: Option<Vec<f64>>,
    /// How much whole days differ beyond chance (coefficient of variation).
    #[arg(long, default_value_t = 0.10)]
    day_cv: f64,
    /// The same for each hour by itself.
    #[arg(long, default_value_t = 0.0)]
    hour_cv: f64,
    #[arg(long, default_value_t = 165.0)]
    service_s: f64,
    #[arg(long, default_value_t = 1.0)]
    service_cv: f64,
    #[arg(long, default_value_t = 446.0)]
    patience_s: f64,
    #[arg(long, default_value_t = 25_000)]
    people: u64,
    /// Share of those who give up that ring again.
    #[arg(long, default_value_t = 0.0)]
    redial_share: f64,
    #[arg(long, default_value_t = 120.0)]
    redial_after_s: f64,
}

/// The line and who rings it again.
pub struct Line {
    generator: Generator,
    redials: Option<Redials>,
}

impl LineArguments {
    pub fn line(self) -> anyhow::Result<Line> {
        let weights = |name: &str, given: Option<Vec<f64>>, count: usize| match given {
            Some(given)
                if given.len() == count
                    && given.iter().all(|weight| (0.0..1e9).contains(weight))
                    && given.iter().sum::<f64>() > 0.0 =>
            {
                Ok(Some(given))
            }
            Some(_) => bail!("--{name} wants {count} weights from 0 on, with commas between, not all of them 0"),
            None => Ok(None),
        };
        let hours = weights("hours", self.hours, 24)?.and_then(|hours| hours.try_into().ok()).unwrap_or(HOURS);
        let weekdays = weights("weekdays", self.weekdays, 7)?.and_then(|days| days.try_into().ok()).unwrap_or(WEEKDAYS);
        let positive = [
            ("calls-per-month", self.calls_per_month),
            ("service-s", self.service_s),
            ("patience-s", self.patience_s),
            ("redial-after-s", self.redial_after_s),
        ];
        for (name, value) in positive {
            if !(value > 0.0 && value < 1e9) {
                bail!("--{name} is a number above 0, not {value}");
            }
        }
        for (name, value, most) in [
            ("day-cv", self.day_cv, 5.0),
            ("hour-cv", self.hour_cv, 5.0),
            ("service-cv", self.service_cv, 10.0),
            ("redial-share", self.redial_share, 1.0),
        ] {
            if !(0.0..=most).contains(&value) {
                bail!("--{name} is a number from 0 to {most}, not {value}");
            }
        }
        let generator = Generator {
            calls_per_month: self.calls_per_month,
            days: self.days,
            first_weekday: self.first_weekday - 1,
            hours,
            weekdays,
            day_cv: self.day_cv,
            hour_cv: self.hour_cv,
            service_mean: self.service_s,
            service_cv: self.service_cv,
            patience_mean: self.patience_s,
            people: self.people,
        };
        let redials = Redials { share: self.redial_share, after_mean: self.redial_after_s };
        Ok(Line { generator, redials: (redials.share > 0.0).then_some(redials) })
    }
}

impl Line {
    pub fn rings_again(&self) -> bool {
        self.redials.is_some()
    }

    pub fn rows(&self, seed: u64, roster: &Roster, policy: Router) -> Vec<Row> {
        match self.redials {
            Some(redials) => self.generator.rows_with_redials(seed, redials, roster, policy),
            None => self.generator.rows(seed),
        }
    }
}

pub fn generate(arguments: GenerateArguments) -> anyhow::Result<()> {
    let GenerateArguments { line, seed, out, roster, policy } = arguments;
    let line = line.line()?;
    let roster = match roster {
        Some(path) => roster_of(&path)?,
        None if line.rings_again() => {
            return Err(anyhow::anyhow!("nobody gives up without agents; name them with --roster")).context("--redial-share");
        }
        None => Roster::default(),
    };
    let rows = line.rows(seed, &roster, policy);
    write(&out, &trace_csv(&rows))?;
    println!("Вызовов: {}, записано в {}", rows.len(), out.display());
    Ok(())
}
