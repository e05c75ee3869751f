//! Traces (who calls when) and rosters (who sits where when) as CSV texts.

use crate::clock::Moment;
use std::time::Duration;

use super::CLASSES;

/// One line of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// From the trace's start.
    pub at: Moment,
    /// Index in [`CLASSES`].
    pub class: usize,
    pub service: Duration,
    pub patience: Duration,
}

/// Calls in the order of their arrival.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    pub calls: Vec<Call>,
}

/// One row of a roster: an agent on duty.
#[derive(Clone, Debug, PartialEq)]
pub struct Seat {
    /// Index in [`Roster::agents`].
    pub agent: usize,
    pub from: Moment,
    pub to: Moment,
    /// Classes by index and level; the first is the primary skill.
    pub skills: Vec<(usize, u8)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roster {
    /// Names, in the order in which they come up.
    pub agents: Vec<String>,
    pub seats: Vec<Seat>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct InputError {
    pub line: usize,
    pub what: String,
}

impl Trace {
    /// Columns `t_s,number,class,service_s,patience_s`, sorted by `t_s`.
    pub fn parse(text: &str) -> Result<Self, InputError> {
        let mut calls: Vec<Call> = Vec::new();
        for (line, [at, _number, class, service, patience]) in table(text, "t_s,number,class,service_s,patience_s")? {
            let at = Moment(micros(line, at)?);
            if calls.last().is_some_and(|before| before.at > at) {
                return Err(wrong(line, "calls come in the order of their arrival; sort by t_s"));
            }
            let (service, patience) =
                (Duration::from_micros(micros(line, service)?), Duration::from_micros(micros(line, patience)?));
            calls.push(Call { at, class: class_of(line, class)?, service, patience });
        }
        Ok(Self { calls })
    }
}

impl Roster {
    /// Columns `agent,from_s,to_s,skills`; skills as `booking:50|urgent:50`.
    pub fn parse(text: &str) -> Result<Self, InputError> {
        let mut roster = Self::default();
        let mut numbers = std::collections::BTreeMap::new();
        for (line, [name, from, to, skills]) in table(text, "agent,from_s,to_s,skills")? {
            let agent = *numbers.entry(name).or_insert(roster.agents.len());
            if agent == roster.agents.len() {
                roster.agents.push(name.to_owned());
            }
            let (from, to) = (Moment(micros(line, from)?), Moment(micros(line, to)?));
            if from >= to {
                return Err(wrong(line, "a seat ends after it begins; swap from_s and to_s"));
            }
            let skills = skills.split('|').map(|skill| level(line, skill)).collect::<Result<_, _>>()?;
            roster.seats.push(Seat { agent, from, to, skills });
        }
        Ok(roster)
    }
}

/// The rows below the header, each with its line number.
fn table<'a, const N: usize>(text: &'a str, header: &str) -> Result<Vec<(usize, [&'a str; N])>, InputError> {
    let mut lines = text.lines().enumerate().map(|(no, line)| (no + 1, line.trim_end()));
    if lines.next().is_none_or(|(_, first)| first.trim_start_matches('\u{feff}') != header) {
        return Err(wrong(1, &format!("the header should be `{header}`")));
    }
    let rows = lines.filter(|(_, row)| !row.is_empty()).map(|(line, row)| {
        let mut cells = [""; N];
        let mut parts = row.split(',');
        for cell in &mut cells {
            *cell = parts.next().ok_or_else(|| wrong(line, &format!("{N} columns are wanted: {header}")))?;
        }
        if parts.next().is_some() { Err(wrong(line, &format!("{N} columns are wanted: {header}"))) } else { Ok((line, cells)) }
    });
    rows.collect()
}

fn class_of(line: usize, name: &str) -> Result<usize, InputError> {
    let known = || CLASSES.map(|(name, _)| name).join(", ");
    CLASSES
        .iter()
        .position(|(class, _)| *class == name)
        .ok_or_else(|| wrong(line, &format!("no class `{name}`; there are {}", known())))
}

/// `booking:50`, or `booking` for level 1.
fn level(line: usize, skill: &str) -> Result<(usize, u8), InputError> {
    let (name, level) = skill.split_once(':').unwrap_or((skill, "1"));
    let level = level.parse().ok().filter(|level| (1..=100).contains(level));
    Ok((class_of(line, name)?, level.ok_or_else(|| wrong(line, "a level is a number from 1 to 100"))?))
}

/// Decimal seconds as microseconds, without the detour over floats.
fn micros(line: usize, text: &str) -> Result<u64, InputError> {
    let seconds = || -> Option<u64> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        if part.len() > 6 || !part.bytes().chain(whole.bytes()).all(|sign| sign.is_ascii_digit()) {
            return None;
        }
        let part: u64 = format!("{part:0<6}").parse().ok()?;
        whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(part)
    };
    seconds().ok_or_else(|| wrong(line, &format!("`{text}` is no time in seconds with at most six decimals")))
}

fn wrong(line: usize, what: &str) -> InputError {
    InputError { line, what: what.to_owned() }
}
