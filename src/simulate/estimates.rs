//! What callers are told about their wait and how it came out, beside what the rules of two open systems would have told them.

use super::engine::EngineFloor;
use super::input::{Roster, Seat, Trace};
use super::run::{Floor, Ring, run_on};
use super::{CLASSES, Router};
use crate::clock::Moment;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::time::Duration;

/// When callers hear how long, and how often again.
const ANNOUNCE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(30));
/// Hours with no more answers than this say nothing about coverage.
const FEW: usize = 30;

/// Who could estimate a wait.
pub const ESTIMATORS: [&str; 4] = ["promised", "mean", "app_queue", "call_center"];

/// One caller who had to wait, with what each of [`ESTIMATORS`] said when the wait began, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The place in the trace.
    pub call: usize,
    pub at: Moment,
    pub estimates: [f64; ESTIMATORS.len()],
    pub wait_s: f64,
    pub served: bool,
    /// What was said over the line while the caller waited.
    pub said: Vec<Said>,
}

/// One announcement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Said {
    /// After the wait began.
    pub after: Duration,
    pub wait: Duration,
    /// Said with it: agents have left, it takes longer.
    pub fewer_agents: bool,
}

/// What the estimates came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EstimateFigures {
    pub policy: String,
    pub all: HourFigures,
    /// By the hour of the day in which the wait began, hours with more than 30 answers.
    pub hours: BTreeMap<u8, HourFigures>,
    pub announcements: AnnouncementFigures,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HourFigures {
    /// Callers who had to wait and were told how long.
    pub told: usize,
    pub served: usize,
    /// Of those served: the share that was answered within what was promised.
    pub coverage: f64,
    /// The same of all told, those who gave up taken as censored (Kaplan & Meier 1958, over wait / promise).
    pub coverage_censored: f64,
    /// Announcements made first to callers who were served, and the share answered within what was said.
    pub announced: usize,
    pub announced_coverage: f64,
    /// Of those served.
    pub mean_wait_s: f64,
    pub estimators: BTreeMap<&'static str, Errors>,
}

/// Over those served.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Errors {
    /// Estimate less wait: above zero is too pessimistic.
    pub mean_error_s: f64,
    pub mean_absolute_error_s: f64,
    /// The score of a p80: a second too little costs 0.8, a second too much 0.2.
    pub pinball_s: f64,
    pub coverage: f64,
}

/// What was said over the line, the first time and again; it never grows without a reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct AnnouncementFigures {
    pub said: usize,
    /// Longer than what the same caller was told before, and said to be so because agents left.
    pub grew_with_reason: usize,
    /// Longer without a word.
    pub grew_without_reason: usize,
}

/// Everybody who had to wait, in the order of the trace. Only the engine's own policies tell callers anything.
pub fn told(trace: &Trace, roster: &Roster, router: Router, ring: Duration) -> Option<Vec<Told>> {
    let floor = match router {
        Router::Default => EngineFloor::new(roster, None, false, None),
        Router::Engine(policy) => EngineFloor::new(roster, Some(policy), false, None),
        Router::Pooled | Router::AppQueue | Router::Overflow20 => return None,
    };
    Some(run_on(trace, roster, ring, Listener::new(floor, roster)).told.into_iter().flatten().collect())
}

pub fn estimate_figures(policy: &str, told: &[Told]) -> EstimateFigures {
    let mut hours: BTreeMap<u8, Vec<&Told>> = BTreeMap::new();
    for one in told {
        hours.entry((one.at.as_unix_seconds() / 3_600 % 24) as u8).or_default().push(one);
    }
    let hours = hours.into_iter().map(|(hour, told)| (hour, summary(&told))).filter(|(_, hour)| hour.served > FEW);
    EstimateFigures {
        policy: policy.to_owned(),
        all: summary(&told.iter().collect::<Vec<_>>()),
        hours: hours.collect(),
        announcements: announcements(told),
    }
}

/// `call,told_s,…,wait_s,outcome` with a column for each of [`ESTIMATORS`].
pub fn told_rows(told: &[Told]) -> String {
    let mut text = format!("call,told_s,{},wait_s,outcome\n", ESTIMATORS.map(|name| format!("{name}_s")).join(","));
    for Told { call, at, estimates, wait_s, served, .. } in told {
        let at = at.0 as f64 / 1e6;
        let estimates = estimates.map(|estimate| format!("{estimate:.2}")).join(",");
        // A String takes everything that is written to it.
        let _ = writeln!(text, "{call},{at:.2},{estimates},{wait_s:.2},{}", if *served { "served" } else { "abandoned" });
    }
    text
}

fn summary(told: &[&Told]) -> HourFigures {
    let served: Vec<&Told> = told.iter().filter(|told| told.served).copied().collect();
    let over = |of: &dyn Fn(&Told) -> f64| rounded(served.iter().map(|told| of(told)).sum::<f64>() / served.len().max(1) as f64);
    let estimators = ESTIMATORS.iter().enumerate().map(|(no, name)| {
        let error = |told: &Told| told.estimates.get(no).map_or(0.0, |estimate| estimate - told.wait_s);
        let errors = Errors {
            mean_error_s: over(&error),
            mean_absolute_error_s: over(&|told| error(told).abs()),
            pinball_s: over(&|told| f64::max(0.2 * error(told), -0.8 * error(told))),
            coverage: over(&|told| f64::from(u8::from(error(told) >= 0.0))),
        };
        (*name, errors)
    });
    let estimators: BTreeMap<_, _> = estimators.collect();
    let first = |told: &&Told| told.said.first().map(|said| told.wait_s <= (said.after + said.wait).as_secs_f64());
    let announced: Vec<bool> = served.iter().filter_map(first).collect();
    HourFigures {
        told: told.len(),
        served: served.len(),
        coverage: estimators.get("promised").map_or(0.0, |errors: &Errors| errors.coverage),
        coverage_censored: rounded(coverage_censored(told)),
        announced: announced.len(),
        announced_coverage: rounded(announced.iter().filter(|kept| **kept).count() as f64 / announced.len().max(1) as f64),
        mean_wait_s: over(&|told| told.wait_s),
        estimators,
    }
}

/// The product-limit estimate of the share answered within the promise, had nobody given up.
fn coverage_censored(told: &[&Told]) -> f64 {
    let mut ratios: Vec<(f64, bool)> = told.iter().map(|told| (told.wait_s / told.estimates[0], told.served)).collect();
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
    let mut still_waiting = 1.0;
    for (no, (_, served)) in ratios.iter().enumerate().take_while(|(_, (ratio, _))| *ratio <= 1.0) {
        if *served {
            still_waiting *= 1.0 - 1.0 / (ratios.len() - no) as f64;
        }
    }
    1.0 - still_waiting
}

fn announcements(told: &[Told]) -> AnnouncementFigures {
    let mut figures = AnnouncementFigures::default();
    for one in told {
        figures.said += one.said.len();
        for pair in one.said.windows(2) {
            if let [before, after] = pair
                && after.wait > before.wait
            {
                figures.grew_with_reason += usize::from(after.fewer_agents);
                figures.grew_without_reason += usize::from(!after.fewer_agents);
            }
        }
    }
    figures
}

fn rounded(figure: f64) -> f64 {
    (figure * 1e6).round() / 1e6
}

/// A floor that is listened to: it routes as it does, and what the open rules would say follows from what passes by.
struct Listener {
    floor: EngineFloor,
    seats: Vec<Seat>,
    /// Open seats of each agent, the latest last.
    open: Vec<Vec<usize>>,
    calls: Vec<Heard>,
    classes: [Class; CLASSES.len()],
    rings: VecDeque<Ring>,
    told: Vec<Option<Told>>,
}

struct Heard {
    class: usize,
    came: Moment,
    answered: Moment,
}

#[derive(Clone, Copy, Default)]
struct Class {
    waiting: u32,
    /// Asterisk's hold time of a queue, in whole seconds.
    hold_s: u64,
    talks: f64,
    talked_s: f64,
}

impl Class {
    /// Asterisk's app_queue.c: `recalc_holdtime` smooths the waits of those answered, `holdtime = (3 · holdtime + wait) >> 2`; what
    /// `say_position` tells is `holdtime + 30 s − waited`, and nobody has waited when the wait begins.
    fn app_queue_s(self) -> f64 {
        (self.hold_s + 30) as f64
    }

    /// OpenSIPS' call_center, cc_data.c, `cc_flow_get_etw`: `avg_call_duration · queued_calls / logged_agents` of the flow; the new
    /// caller is among the queued.
    fn call_center_s(self, agents: usize) -> f64 {
        self.talked_s / self.talks.max(1.0) * f64::from(self.waiting) / agents.max(1) as f64
    }

    fn answered(&mut self, wait: Duration) {
        self.hold_s = (3 * self.hold_s + wait.as_secs()) >> 2;
    }
}

impl Listener {
    fn new(floor: EngineFloor, roster: &Roster) -> Self {
        Self {
            floor: floor.with_announcements(ANNOUNCE.0, ANNOUNCE.1),
            seats: roster.seats.clone(),
            open: vec![Vec::new(); roster.agents.len()],
            calls: Vec::new(),
            classes: Default::default(),
            rings: VecDeque::new(),
            told: Vec::new(),
        }
    }

    fn listen(&mut self, now: Moment) {
        while let Some(ring) = self.floor.poll() {
            self.rings.push_back(ring);
        }
        for said in self.floor.announced() {
            let after = now.since(self.calls[said.call].came);
            if let Some(told) = &mut self.told[said.call] {
                told.said.push(Said { after, wait: said.wait, fewer_agents: said.fewer_agents });
            }
        }
    }

    fn agents_for(&self, class: usize) -> usize {
        let serves = |seat: &usize| self.seats[*seat].skills.iter().any(|(skill, _)| *skill == class);
        self.open.iter().filter(|open| open.last().is_some_and(serves)).count()
    }

    fn ends(&mut self, now: Moment, call: usize, served: bool) {
        let Heard { class, came, .. } = self.calls[call];
        if let Some(told) = &mut self.told[call] {
            (told.wait_s, told.served) = (now.since(came).as_secs_f64(), served);
        }
        self.classes[class].waiting -= 1;
    }
}

impl Floor for Listener {
    fn seat_begins(&mut self, now: Moment, seat: usize) {
        self.open[self.seats[seat].agent].push(seat);
        self.floor.seat_begins(now, seat);
        self.listen(now);
    }

    fn seat_ends(&mut self, now: Moment, seat: usize) {
        self.open[self.seats[seat].agent].retain(|open| *open != seat);
        self.floor.seat_ends(now, seat);
        self.listen(now);
    }

    fn caller_comes(&mut self, now: Moment, call: usize, class: usize) {
        self.calls.push(Heard { class, came: now, answered: now });
        self.told.push(None);
        self.classes[class].waiting += 1;
        self.floor.caller_comes(now, call, class);
        if let Some(ours) = self.floor.promise_of(call) {
            let heard = self.classes[class];
            let estimates = [
                ours.promised.as_secs_f64(),
                ours.mean.as_secs_f64(),
                heard.app_queue_s(),
                heard.call_center_s(self.agents_for(class)),
            ];
            self.told[call] = Some(Told { call, at: now, estimates, wait_s: 0.0, served: false, said: Vec::new() });
        }
        self.listen(now);
    }

    fn caller_leaves(&mut self, now: Moment, call: usize) {
        self.ends(now, call, false);
        self.floor.caller_leaves(now, call);
        self.listen(now);
    }

    fn agent_answers(&mut self, now: Moment, call: usize) {
        self.ends(now, call, true);
        self.calls[call].answered = now;
        let Heard { class, came, .. } = self.calls[call];
        self.classes[class].answered(now.since(came));
        self.floor.agent_answers(now, call);
        self.listen(now);
    }

    fn talk_ends(&mut self, now: Moment, agent: usize, call: usize) {
        let Heard { class, answered, .. } = self.calls[call];
        self.classes[class].talks += 1.0;
        self.classes[class].talked_s += now.since(answered).as_secs_f64();
        self.floor.talk_ends(now, agent, call);
        self.listen(now);
    }

    fn time_passes(&mut self, now: Moment) {
        self.floor.time_passes(now);
        self.listen(now);
    }

    fn next(&self) -> Option<Moment> {
        self.floor.next()
    }

    fn poll(&mut self) -> Option<Ring> {
        self.rings.pop_front()
    }
}
