//! Shifts for a week: which starts and lengths keep callers waiting least, for hours given or for a goal to reach.
//!
//! Each quarter of an hour is a queue in balance (Erlang A) with the operators who are not on a break; what a shift is worth is the
//! waiting that it saves, all its quarters together. Shifts are added where they save most per hour and then moved while that helps:
//! waiting is convex in the operators, so hourly shifts come out best possible, and longer ones close to it.

use super::erlang::{Load, agents_for, erlang_a, erlang_c};
use super::{QUARTER_S, QUARTERS_PER_WEEK};
use crate::clock::Moment;
use crate::simulate::{Roster, Seat};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

/// A seat that ought to be taken and is not costs more than any waiting, s.
const EMPTY_CHAIR: f64 = 1e7;
/// Moves end by themselves; this bounds a search that would crawl.
const PASSES: u32 = 30;
/// Lunches of a shift lie within two hours about its middle.
const LUNCH_ZONE: usize = 8;
/// No lunch is due in a shift of four hours or less (Labour Code of Russia, article 108).
const NO_LUNCH_UP_TO: usize = 16;

/// A week of calls, Monday's first quarter first. Times in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Demand {
    pub calls: Vec<f64>,
    /// How much whole days differ beyond chance: the plan is made for calm and busy days together.
    pub day_cv: f64,
    pub service_mean: f64,
    pub patience_mean: f64,
}

/// Rest that the law or the house gives. At a screen 10 to 15 minutes an hour are usual; lunch is 30 minutes at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaks {
    pub minutes_per_hour: u32,
    pub lunch_minutes: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ShiftRules {
    /// In quarters.
    pub lengths: Vec<usize>,
    /// A shift may start every so many quarters, counted from midnight.
    pub start_every: usize,
    pub breaks: Breaks,
    /// So many on duty whenever calls are expected.
    pub at_least: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// Make the best of so many operator-hours a week.
    Hours(f64),
    /// Everybody's mean wait over the week, s.
    MeanWait(f64),
    /// This share of all callers answered within so many seconds.
    Answered { share: f64, within: f64 },
}

/// Start in quarters of the week, length in quarters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Shift {
    pub start: usize,
    pub length: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub shifts: BTreeMap<Shift, u32>,
    /// By quarter of the week: who is in the house, and how many of them are not on a break.
    pub on_duty: Vec<u32>,
    pub available: Vec<f64>,
    /// By quarter: operators that the goal would take by Erlang C and by Erlang A, were quarters planned one by one.
    pub needed_c: Vec<u32>,
    pub needed_a: Vec<u32>,
    /// By quarter, by Erlang A.
    pub mean_wait_s: Vec<f64>,
    pub operator_hours: f64,
    /// Over all callers of the week.
    pub week_mean_wait_s: f64,
    pub week_answered_share: f64,
    /// Within this time, s.
    pub within: f64,
    breaks: Breaks,
}

/// `None` if no shift can be laid: no length, no start, or no calls.
pub fn plan(demand: &Demand, rules: &ShiftRules, goal: Goal) -> Option<Plan> {
    let starts = (0..QUARTERS_PER_WEEK).step_by(rules.start_every.max(1));
    let lengths = rules.lengths.iter().copied().filter(|length| (1..QUARTERS_PER_WEEK).contains(length));
    let allowed: Vec<Shift> = lengths.flat_map(|length| starts.clone().map(move |start| Shift { start, length })).collect();
    let total: f64 = demand.calls.iter().sum();
    if allowed.is_empty() || demand.calls.len() != QUARTERS_PER_WEEK || total <= 0.0 {
        return None;
    }
    let within = if let Goal::Answered { within, .. } = goal { within } else { 20.0 };
    let mut search = Search {
        costs: Costs { demand, within, known: RefCell::new(vec![Vec::new(); QUARTERS_PER_WEEK]) },
        rules,
        allowed,
        shifts: BTreeMap::new(),
        on_duty: vec![0; QUARTERS_PER_WEEK],
        available: vec![0.0; QUARTERS_PER_WEEK],
    };
    match goal {
        Goal::Hours(hours) => {
            search.fill(hours);
            search.improve();
        }
        Goal::MeanWait(_) | Goal::Answered { .. } => search.reach(goal),
    }
    Some(search.planned(goal))
}

/// Waiting of a quarter by operators available, learnt when asked for.
struct Costs<'a> {
    demand: &'a Demand,
    within: f64,
    known: RefCell<Vec<Vec<Option<Cost>>>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    /// Seconds waited by all who call in the quarter.
    waited: f64,
    /// Callers not answered in time.
    late: f64,
}

impl Costs<'_> {
    /// Between whole numbers of operators in proportion: some of the time there is one more.
    fn at(&self, quarter: usize, available: f64) -> Cost {
        let (below, part) = (available.floor(), available.fract());
        let here = self.whole(quarter, below as u32);
        if part < 1e-9 {
            return here;
        }
        let above = self.whole(quarter, below as u32 + 1);
        let between = |here: f64, above: f64| here + part * (above - here);
        Cost { waited: between(here.waited, above.waited), late: between(here.late, above.late) }
    }

    fn whole(&self, quarter: usize, agents: u32) -> Cost {
        let mut known = self.known.borrow_mut();
        let Some(of_quarter) = known.get_mut(quarter) else { return Cost::default() };
        let place = agents as usize;
        if of_quarter.len() <= place {
            of_quarter.resize(place + 1, None);
        }
        *of_quarter[place].get_or_insert_with(|| self.reckon(quarter, agents))
    }

    /// Calm, usual and busy days by Gauss and Hermite's three points: 1 and 1 ± √3·cv with weights 2/3 and 1/6 each.
    fn reckon(&self, quarter: usize, agents: u32) -> Cost {
        let calls = self.demand.calls.get(quarter).copied().unwrap_or(0.0);
        let away = 3_f64.sqrt() * self.demand.day_cv;
        let points = [(1.0, 2.0 / 3.0), ((1.0 - away).max(0.0), 1.0 / 6.0), (1.0 + away, 1.0 / 6.0)];
        points.into_iter().fold(Cost::default(), |sum, (factor, weight)| {
            let queue = erlang_a(&self.load(quarter, factor), agents, self.within);
            let theirs = weight * factor * calls;
            Cost { waited: sum.waited + theirs * queue.mean_wait_s, late: sum.late + theirs * (1.0 - queue.within_share) }
        })
    }

    fn load(&self, quarter: usize, factor: f64) -> Load {
        let Demand { calls, service_mean, patience_mean, .. } = self.demand;
        let calls_per_s = factor * calls.get(quarter).copied().unwrap_or(0.0) / QUARTER_S;
        Load { calls_per_s, service_mean: *service_mean, patience_mean: *patience_mean }
    }
}

struct Search<'a> {
    costs: Costs<'a>,
    rules: &'a ShiftRules,
    allowed: Vec<Shift>,
    shifts: BTreeMap<Shift, u32>,
    on_duty: Vec<u32>,
    available: Vec<f64>,
}

impl Search<'_> {
    /// The shift that saves most per hour, as long as hours are left.
    fn fill(&mut self, hours: f64) {
        let mut left = hours;
        while let Some((shift, _)) = self.best(|shift| shift.hours() <= left + 1e-9) {
            left -= shift.hours();
            self.change(shift, 1);
        }
    }

    fn reach(&mut self, goal: Goal) {
        while !self.reached(goal) {
            let Some((shift, saved)) = self.best(|_| true) else { return };
            if saved <= 0.0 {
                return;
            }
            self.change(shift, 1);
        }
        self.improve_within(goal);
        // What moving made needless goes, the least missed first.
        loop {
            let mut used: Vec<(f64, Shift)> =
                self.shifts.keys().map(|shift| (self.loss(*shift) / shift.hours(), *shift)).collect();
            used.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            let needless = used.into_iter().map(|(_, shift)| shift).find(|shift| {
                self.change(*shift, -1);
                let spared = self.reached(goal);
                if !spared {
                    self.change(*shift, 1);
                }
                spared
            });
            if needless.is_none() {
                return;
            }
            self.improve_within(goal);
        }
    }

    /// Less waiting in all may answer fewer in time; then nothing is moved.
    fn improve_within(&mut self, goal: Goal) {
        let before = (self.shifts.clone(), self.on_duty.clone(), self.available.clone());
        self.improve();
        if !self.reached(goal) {
            (self.shifts, self.on_duty, self.available) = before;
        }
    }

    fn reached(&self, goal: Goal) -> bool {
        let manned = self.empty_chairs() == 0;
        let (wait, answered) = self.week();
        manned
            && match goal {
                Goal::Hours(_) => true,
                Goal::MeanWait(most) => wait <= most,
                Goal::Answered { share, .. } => answered >= share,
            }
    }

    /// Moves shifts, one at a time, while waiting gets less.
    fn improve(&mut self) {
        for _ in 0..PASSES {
            let mut moved = false;
            for shift in self.shifts.keys().copied().collect::<Vec<_>>() {
                let lost = self.loss(shift);
                self.change(shift, -1);
                match self.best(|other| other.length == shift.length) {
                    Some((better, saved)) if better != shift && saved > lost + 1e-6 => {
                        self.change(better, 1);
                        moved = true;
                    }
                    _ => self.change(shift, 1),
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// With what it saves, all in all.
    fn best(&self, allowed: impl Fn(&Shift) -> bool) -> Option<(Shift, f64)> {
        let rated = self.allowed.iter().filter(|shift| allowed(shift)).map(|shift| (*shift, -self.difference(*shift, 1.0)));
        rated.reduce(|best, other| if other.1 / other.0.hours() > best.1 / best.0.hours() + 1e-12 { other } else { best })
    }

    fn loss(&self, shift: Shift) -> f64 {
        self.difference(shift, -1.0)
    }

    /// How much more is waited with this shift once more (`sign` 1) or once less (−1).
    fn difference(&self, shift: Shift, sign: f64) -> f64 {
        let of_quarter = |(quarter, share): (usize, f64)| {
            let available = self.available.get(quarter).copied().unwrap_or(0.0);
            let then = self.costs.at(quarter, (available + sign * share).max(0.0)).waited;
            let duty = f64::from(self.on_duty.get(quarter).copied().unwrap_or(0));
            let chairs = |duty: f64| (self.wanted(quarter) - duty).max(0.0) * EMPTY_CHAIR;
            then - self.costs.at(quarter, available).waited + chairs(duty + sign) - chairs(duty)
        };
        shift.quarters(self.rules.breaks).map(of_quarter).sum()
    }

    fn wanted(&self, quarter: usize) -> f64 {
        let called = self.costs.demand.calls.get(quarter).is_some_and(|calls| *calls > 0.0);
        if called { f64::from(self.rules.at_least) } else { 0.0 }
    }

    fn empty_chairs(&self) -> usize {
        self.on_duty.iter().enumerate().filter(|(quarter, duty)| f64::from(**duty) < self.wanted(*quarter)).count()
    }

    fn change(&mut self, shift: Shift, by: i32) {
        let count = self.shifts.entry(shift).or_default();
        *count = count.saturating_add_signed(by);
        if *count == 0 {
            self.shifts.remove(&shift);
        }
        for (quarter, share) in shift.quarters(self.rules.breaks) {
            if let (Some(duty), Some(available)) = (self.on_duty.get_mut(quarter), self.available.get_mut(quarter)) {
                *duty = duty.saturating_add_signed(by);
                *available = (*available + f64::from(by) * share).max(0.0);
            }
        }
    }

    /// Mean wait and share answered in time, over all callers.
    fn week(&self) -> (f64, f64) {
        let costs = self.available.iter().enumerate().map(|(quarter, available)| self.costs.at(quarter, *available));
        let sum = costs.fold(Cost::default(), |sum, cost| Cost { waited: sum.waited + cost.waited, late: sum.late + cost.late });
        let calls: f64 = self.costs.demand.calls.iter().sum();
        (sum.waited / calls, 1.0 - sum.late / calls)
    }

    fn planned(self, goal: Goal) -> Plan {
        let (week_mean_wait_s, week_answered_share) = self.week();
        let waits = self.available.iter().enumerate().map(|(quarter, available)| {
            let calls = self.costs.demand.calls.get(quarter).copied().unwrap_or(0.0);
            self.costs.at(quarter, *available).waited / calls.max(1e-9)
        });
        let mean_wait_s = waits.collect();
        let (needed_c, needed_a) = (0..QUARTERS_PER_WEEK).map(|quarter| self.needed(quarter, goal)).unzip();
        Plan {
            operator_hours: self.shifts.iter().map(|(shift, count)| shift.hours() * f64::from(*count)).sum(),
            within: self.costs.within,
            breaks: self.rules.breaks,
            shifts: self.shifts,
            on_duty: self.on_duty,
            available: self.available,
            needed_c,
            needed_a,
            mean_wait_s,
            week_mean_wait_s,
            week_answered_share,
        }
    }

    /// By Erlang C and A, for the goal's quality; for given hours that of four in five answered within 20 s.
    fn needed(&self, quarter: usize, goal: Goal) -> (u32, u32) {
        let (load, within) = (self.costs.load(quarter, 1.0), self.costs.within);
        let good = |queue: super::Queue| match goal {
            Goal::MeanWait(most) => queue.mean_wait_s <= most,
            Goal::Answered { share, .. } => queue.within_share >= share,
            Goal::Hours(_) => queue.within_share >= 0.8,
        };
        if load.calls_per_s <= 0.0 {
            return (0, 0);
        }
        let by_c = agents_for(&load, |agents| erlang_c(&load, agents, within).is_some_and(good));
        (by_c, agents_for(&load, |agents| good(erlang_a(&load, agents, within))))
    }
}

impl Shift {
    pub fn hours(&self) -> f64 {
        self.length as f64 / 4.0
    }

    /// Its quarters of the week, each with the share of it that is worked; after Sunday comes Monday.
    fn quarters(self, breaks: Breaks) -> impl Iterator<Item = (usize, f64)> {
        let works = 1.0 - f64::from(breaks.minutes_per_hour.min(60)) / 60.0;
        let lunch = self.lunch_minutes(breaks) / (LUNCH_ZONE as f64 * 15.0);
        let zone = self.lunch_zone();
        (0..self.length).map(move |no| {
            let at_table = if zone.contains(&no) { lunch.min(1.0) } else { 0.0 };
            ((self.start + no) % QUARTERS_PER_WEEK, works * (1.0 - at_table))
        })
    }

    fn lunch_minutes(self, breaks: Breaks) -> f64 {
        if self.length > NO_LUNCH_UP_TO { f64::from(breaks.lunch_minutes) } else { 0.0 }
    }

    fn lunch_zone(self) -> std::ops::Range<usize> {
        let start = (self.length / 2).saturating_sub(LUNCH_ZONE / 2);
        start..start + LUNCH_ZONE
    }

    /// Minutes of the shift that its `no`-th holder works, breaks taken turn by turn.
    fn worked(self, no: u32, breaks: Breaks) -> Vec<(u32, u32)> {
        let length = self.length as u32 * 15;
        let mut pauses = Vec::new();
        let (rest, lunch) = (breaks.minutes_per_hour.min(60), self.lunch_minutes(breaks) as u32);
        if rest > 0 {
            let offset = (no * rest) % (61 - rest);
            pauses.extend((0..length.div_ceil(60)).map(|hour| (hour * 60 + offset, hour * 60 + offset + rest)));
        }
        if let Some(turns) = (LUNCH_ZONE as u32 * 15).checked_div(lunch) {
            let start = self.lunch_zone().start as u32 * 15 + no % turns.max(1) * lunch;
            pauses.push((start, start + lunch));
        }
        pauses.sort_unstable();
        let (mut worked, mut from) = (Vec::new(), 0);
        for (begins, ends) in pauses {
            if begins.min(length) > from {
                worked.push((from, begins.min(length)));
            }
            from = from.max(ends);
        }
        if from < length {
            worked.push((from, length));
        }
        worked
    }
}

impl Plan {
    /// The plan, week after week, as seats for the simulator; every operator has all of `skills`. The roster starts on a Monday.
    pub fn roster(&self, weeks: u64, skills: &[(usize, u8)]) -> Roster {
        let mut roster = Roster::default();
        let minutes_per_week = QUARTERS_PER_WEEK as i64 * 15;
        // A shift of the Sunday before may reach into the first Monday.
        for week in -1..weeks as i64 {
            for (shift, count) in &self.shifts {
                for no in 0..*count {
                    let start = week * minutes_per_week + shift.start as i64 * 15;
                    let agent = roster.agents.len();
                    let seats = shift.worked(no, self.breaks).into_iter().filter_map(|(from, to)| {
                        let (from, to) = (minute(start + i64::from(from)), minute(start + i64::from(to)));
                        (from < to).then(|| Seat { agent, from, to, skills: skills.to_vec() })
                    });
                    let before = roster.seats.len();
                    roster.seats.extend(seats);
                    if roster.seats.len() > before {
                        roster.agents.push(format!("s{:04}", agent + 1));
                    }
                }
            }
        }
        roster
    }

    /// People on the payroll: hours over what is left of a 40-hour week (Labour Code, article 91) after leave, illness, training.
    pub fn people(&self, shrinkage: f64) -> f64 {
        self.operator_hours / (40.0 * (1.0 - shrinkage.clamp(0.0, 0.95)))
    }
}

/// Nothing lies before the start.
fn minute(minute: i64) -> Moment {
    Moment::ZERO + Duration::from_secs(u64::try_from(minute).unwrap_or(0) * 60)
}
