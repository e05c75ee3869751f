//! Callbacks in a simulation: who takes the offer, who picks up, and what it came to. The line itself carries them out.

use super::dice::Dice;
use super::engine::TRUNK;
use super::figures::{Seconds, rounded};
use super::input::{Roster, Trace};
use super::run::{End, Outcome, play};
use super::{Router, figures};
use crate::acd::CallbackDialling;
use crate::clock::Moment;
use crate::ids::TrunkId;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::str::FromStr;
use std::time::Duration;

const HOUR: u32 = 3_600;

/// Who is offered a callback, how people behave, and how the line calls them.
#[derive(Clone, Debug, PartialEq)]
pub struct Callbacks {
    /// To who comes and would be told to wait longer than this: four of five wait less than they are told, so that 80 s here are
    /// about a minute of mean wait.
    pub offered_over: Duration,
    /// The share that takes the offer, and the shares that pick up at the first and at each later call.
    pub accepted: f64,
    pub answered_first: f64,
    pub answered_next: f64,
    /// How long the agent hears ringing before the citizen picks up, and before it is given up.
    pub picked_up_after: Duration,
    pub given_up_after: Duration,
    pub dialling: CallbackDialling,
    pub seed: u64,
}

impl Default for Callbacks {
    fn default() -> Self {
        let dialling = CallbackDialling {
            attempts: 3,
            gap: Duration::from_secs(1_800),
            hours: (9 * HOUR, 21 * HOUR),
            idle: None,
            within: Duration::from_secs(8 * 3_600),
            trunks: BTreeSet::from([TrunkId::from(TRUNK)]),
            regions: BTreeMap::new(),
        };
        Self {
            offered_over: Duration::from_secs(80),
            accepted: 0.5,
            answered_first: 0.6,
            answered_next: 0.4,
            picked_up_after: Duration::from_secs(10),
            given_up_after: Duration::from_secs(30),
            dialling,
            seed: 1,
        }
    }
}

impl Callbacks {
    /// The dice of one call are its own: what others do does not change them.
    fn dice(&self, call: usize) -> Dice {
        Dice::new(self.seed).fork(call as u64)
    }

    pub(super) fn is_accepted(&self, call: usize) -> bool {
        self.dice(call).unit() < self.accepted
    }

    /// Whether the citizen picks up at this attempt, the first being 1.
    pub(super) fn is_answered(&self, call: usize, attempt: u32) -> bool {
        let share = if attempt == 1 { self.answered_first } else { self.answered_next };
        self.dice(call).fork(u64::from(attempt)).unit() < share
    }
}

/// `key=value` with commas between; what is not named is as in [`Callbacks::default`], and so is all by the word `default`.
impl FromStr for Callbacks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut it = Self::default();
        for pair in text.split(',').filter(|pair| *pair != "default") {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("`{pair}` is no key=value; {KEYS}"))?;
            let number = |least: f64, most: f64| match value.parse::<f64>() {
                Ok(number) if (least..=most).contains(&number) => Ok(number),
                Ok(_) | Err(_) => Err(format!("`{key}` is a number from {least} to {most}, not `{value}`")),
            };
            let seconds = |least: f64, most: f64| number(least, most).map(Duration::from_secs_f64);
            match key {
                "over_s" => it.offered_over = seconds(0.0, 3_600.0)?,
                "accepted" => it.accepted = number(0.0, 1.0)?,
                "answered_first" => it.answered_first = number(0.0, 1.0)?,
                "answered_next" => it.answered_next = number(0.0, 1.0)?,
                "picked_up_s" => it.picked_up_after = seconds(0.0, 120.0)?,
                "given_up_s" => it.given_up_after = seconds(0.0, 120.0)?,
                "within_s" => it.dialling.within = seconds(600.0, 604_800.0)?,
                "attempts" => it.dialling.attempts = number(1.0, 10.0)? as u32,
                "gap_s" => it.dialling.gap = seconds(900.0, 86_400.0)?,
                "from_h" => it.dialling.hours.0 = number(0.0, 23.0)? as u32 * HOUR,
                "to_h" => it.dialling.hours.1 = number(1.0, 24.0)? as u32 * HOUR,
                "idle_agents" => it.dialling.idle = Some(number(0.0, 10_000.0)? as u32),
                "seed" => it.seed = number(0.0, 1e15)? as u64,
                _ => return Err(format!("no key `{key}`; {KEYS}")),
            }
        }
        if it.dialling.hours.0 >= it.dialling.hours.1 {
            return Err("people are called from `from_h` to `to_h` of one day; let `to_h` be the later".to_owned());
        }
        Ok(it)
    }
}

const KEYS: &str = "there are over_s, accepted, answered_first, answered_next, picked_up_s, given_up_s, within_s, attempts, gap_s, \
                    from_h, to_h, idle_agents and seed";

/// What became of one callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallbackStory {
    pub booked: Moment,
    /// The citizen is to be called before this.
    pub promised: Option<Moment>,
    pub first_dialled: Option<Moment>,
    pub attempts: u32,
    /// When they picked up.
    pub served: Option<Moment>,
}

impl CallbackStory {
    pub(super) fn new(booked: Moment) -> Self {
        Self { booked, promised: None, first_dialled: None, attempts: 0, served: None }
    }

    pub(super) fn dialled(&mut self, now: Moment) {
        self.first_dialled.get_or_insert(now);
        self.attempts += 1;
    }

    fn is_in_time(&self) -> bool {
        self.first_dialled.zip(self.promised).is_some_and(|(dialled, promised)| dialled <= promised)
    }
}

/// Shares between 0 and 1; `booked` and what is reckoned of them by the call of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CallbackFigures {
    pub offered: usize,
    pub booked: usize,
    /// Of all calls.
    #[serde(serialize_with = "rounded")]
    pub booked_share: f64,
    /// Of those who booked: called for the first time before the promised moment; ever called; reached.
    #[serde(serialize_with = "rounded")]
    pub in_time_share: f64,
    #[serde(serialize_with = "rounded")]
    pub called_share: f64,
    #[serde(serialize_with = "rounded")]
    pub reached_share: f64,
    pub attempts: usize,
    /// From booking to the first call, of those who were called.
    #[serde(serialize_with = "rounded")]
    pub mean_to_first_call_s: f64,
    /// The wait of those who did not book.
    #[serde(serialize_with = "rounded")]
    pub mean_wait_of_others_s: f64,
    /// Of all calls: answered on the line or by a callback.
    #[serde(serialize_with = "rounded")]
    pub served_share: f64,
    /// From the first call to being served, over all who were.
    #[serde(serialize_with = "rounded")]
    pub mean_time_to_served_s: f64,
}

/// The end of every call and, by their place in the trace, the callbacks. Only the engine's own routers call back.
pub fn simulate_callbacks(
    trace: &Trace,
    roster: &Roster,
    router: Router,
    ring: Duration,
    callbacks: &Callbacks,
) -> (Vec<End>, BTreeMap<usize, CallbackStory>, CallbackFigures) {
    let played = play(trace, roster, router, ring, &mut |_, _| None, Some(callbacks));
    let found = callback_figures(trace, &played.ends, &played.stories, played.offered);
    (played.ends, played.stories, found)
}

fn callback_figures(trace: &Trace, ends: &[End], stories: &BTreeMap<usize, CallbackStory>, offered: usize) -> CallbackFigures {
    let (booked, calls) = (stories.len(), trace.calls.len());
    let of_booked = |is: &dyn Fn(&CallbackStory) -> bool| share(stories.values().filter(|story| is(story)).count(), booked);
    let to_first = stories.values().filter_map(|story| Some(story.first_dialled?.since(story.booked)));
    let ended = || trace.calls.iter().zip(ends).enumerate();
    let stayed = ended().filter(|(no, _)| !stories.contains_key(no)).map(|(_, (call, end))| figures::wait(call.at, end));
    let served: Vec<Duration> = ended()
        .filter_map(|(no, (call, end))| match end.outcome {
            Outcome::Served { answered, .. } => Some(answered.since(call.at)),
            Outcome::CallbackBooked => Some(stories.get(&no)?.served?.since(call.at)),
            Outcome::Abandoned => None,
        })
        .collect();
    CallbackFigures {
        offered,
        booked,
        booked_share: share(booked, calls),
        in_time_share: of_booked(&CallbackStory::is_in_time),
        called_share: of_booked(&|story| story.first_dialled.is_some()),
        reached_share: of_booked(&|story| story.served.is_some()),
        attempts: stories.values().map(|story| story.attempts as usize).sum(),
        mean_to_first_call_s: mean(to_first),
        mean_wait_of_others_s: mean(stayed),
        served_share: share(served.len(), calls),
        mean_time_to_served_s: mean(served.into_iter()),
    }
}

/// `call,booked_s,promised_s,first_called_s,attempts,served_s`, one row a callback; empty where it did not come to that.
pub fn callback_rows(stories: &BTreeMap<usize, CallbackStory>) -> String {
    let mut text = String::from("call,booked_s,promised_s,first_called_s,attempts,served_s\n");
    let at = |moment: Option<Moment>| moment.map_or(String::new(), |moment| Seconds(moment).to_string());
    for (call, story) in stories {
        let (booked, attempts) = (Seconds(story.booked), story.attempts);
        let (promised, first, served) = (at(story.promised), at(story.first_dialled), at(story.served));
        // A String takes everything that is written to it.
        let _ = writeln!(text, "{call},{booked},{promised},{first},{attempts},{served}");
    }
    text
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn mean(spans: impl Iterator<Item = Duration>) -> f64 {
    let (sum, count) = spans.fold((0.0, 0_usize), |(sum, count), span| (sum + span.as_secs_f64(), count + 1));
    if count == 0 { 0.0 } else { sum / count as f64 }
}
