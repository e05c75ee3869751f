//! What a waiting caller may be told: a time within which four of five are answered, and the mean.
//!
//! The promise is the work before the caller over the agents who do it, times a factor that each queue learns from the promises it has
//! kept and broken: quantile regression by stochastic gradient (Koenker & Bassett 1978), with a correction for the hour of the day that
//! pushes back whatever is missing or too much of coverage (adaptive conformal inference: Gibbs & Candès, NeurIPS 2021; steps that
//! become smaller: Angelopoulos, Barber & Bates, ICML 2024). Of whom it learns: callers who were answered. Who gave up before the
//! promise ran out says nothing about it; who gave up after it is taken back. See docs/decisions/0011.

use super::Acd;
use super::queue::{Caller, QueueNo};
use crate::clock::Moment;
use crate::ids::{CallId, QueueId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The share of promises to be kept.
const KEPT: f64 = 0.8;
/// Answers after which a queue's promises are told to people.
const ENOUGH: u32 = 4;
const LEAST: f64 = 1.0;
const MOST: f64 = 7_200.0;
/// Until a queue knows better: talks of three minutes, promises of half as much again as the mean.
const TALK: f64 = 180.0;
const FACTOR: f64 = 1.5;
const MEAN_OF_PROMISE: f64 = 0.6;
/// Steps of learning: a queue's factor, its other weights, the hour's correction (at first, and what is left of it later).
const FACTOR_STEP: f64 = 0.02;
const WEIGHT_STEP: f64 = 0.01;
const HOUR_STEP: f64 = 0.35;
const HOUR_STEP_LEAST: f64 = 0.02;
/// After so many promises the hour's step has shrunk by √2.
const HOUR_SETTLES: f64 = 50.0;
/// Promises made together fail together: the more of them are open, the less each one teaches.
const SHARED_IN_QUEUE: f64 = 0.3;
const SHARED_IN_ALL: f64 = 0.1;
/// No weight goes further, whatever happens: a factor of 20 up or down.
const WEIGHT_MOST: f64 = 3.0;
/// The mean follows the last two hundred answers of its hour.
const MEAN_KEPT: f64 = 0.995;

/// How long a caller has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Four of five are answered within this.
    pub promised: Duration,
    pub mean: Duration,
}

/// What the floor looks like to a caller.
#[derive(Clone, Copy, Debug, PartialEq)]
struct View {
    /// 1 = next.
    place: u32,
    /// Agents on duty who may serve the queue.
    agents: u32,
    /// Who waits in other queues for the same agents.
    rivals: u32,
}

/// When a promise is made. Who still waits at an announcement is another crowd than who comes, with a correction of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Made {
    OnEntry,
    /// At the first announcement.
    Waiting,
}

/// All queues' learning, and the promises not yet judged.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Estimator {
    queues: Vec<Learned>,
    on_entry: [Hour; 24],
    waiting: [Hour; 24],
    promises: BTreeMap<(CallId, Made), Promise>,
    /// Promises that time has not yet broken, the first to run out first.
    running: BTreeSet<(Moment, CallId, Made)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Learned {
    /// Queues that share agents with this one.
    rivals: Vec<QueueNo>,
    weights: [f64; 4],
    /// What a caller costs an agent: the ring, and the talk with its wrap-up.
    ring_s: f64,
    talk_s: f64,
    talks: u32,
    answers: u32,
    open: u32,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Hour {
    correction: f64,
    judged: u32,
    /// Waits and promises of those answered, in seconds, the older the less.
    waited: f64,
    promised: f64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Promise {
    queue: QueueNo,
    made: Made,
    at: Moment,
    until: Moment,
    signs: [f64; 3],
    /// How far its end will move what is learned: settled when it is made, so that kept and broken promises weigh the same.
    step: Step,
    broken: bool,
}

/// Of the queue's weights and of the hour's correction.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Step {
    queue: f64,
    hour: f64,
}

impl Default for Learned {
    fn default() -> Self {
        Self {
            rivals: Vec::new(),
            weights: [ln(FACTOR), 0.0, 0.0, 0.0],
            ring_s: 0.0,
            talk_s: TALK,
            talks: 0,
            answers: 0,
            open: 0,
        }
    }
}

impl Default for Hour {
    fn default() -> Self {
        Self { correction: 0.0, judged: 0, waited: 100.0 * MEAN_OF_PROMISE, promised: 100.0 }
    }
}

impl Acd {
    /// What a caller who came to this queue now could be told; `None` as long as too little is known, or while nobody is on duty.
    pub fn estimate_for_newcomer(&self, now: Moment, queue: &QueueId) -> Option<Estimate> {
        let queue = self.queues.listed(queue)?;
        if self.groups.staff(queue).ready > 0 {
            return Some(Estimate { promised: Duration::ZERO, mean: Duration::ZERO });
        }
        let view = self.view_at(queue, self.queues[queue].waiting.len() as u32 + 1)?;
        self.estimator.believed(queue).then(|| self.estimator.estimate(now, queue, view, Made::OnEntry))
    }

    /// How long a caller who waits has still to wait. What is told the first time is a promise.
    pub(super) fn rest_of_wait(&mut self, now: Moment, call: CallId) -> Option<Duration> {
        let caller = self.callers.get(&call)?;
        let (queue, first) = (caller.queue, caller.told.is_none());
        let view = self.view_at(queue, self.queues[queue].position(&caller.rank))?;
        if first {
            self.estimator.promise(now, call, queue, view, Made::Waiting);
        }
        self.estimator.believed(queue).then(|| self.estimator.estimate(now, queue, view, Made::Waiting).promised)
    }

    /// What a waiting caller would be told now.
    pub(super) fn wait_promised(&self, now: Moment, caller: &Caller) -> Option<Duration> {
        let view = self.view_at(caller.queue, self.queues[caller.queue].position(&caller.rank))?;
        let believed = self.estimator.believed(caller.queue);
        believed.then(|| self.estimator.estimate(now, caller.queue, view, Made::Waiting).promised)
    }

    /// Whoever begins to wait is promised a time, told to them or not: the promise is what the queue learns of. Those we call are not.
    pub(super) fn promise(&mut self, now: Moment, call: CallId) {
        let Some(caller) = self.callers.get(&call).filter(|caller| !caller.rings() && !caller.is_callback) else {
            return;
        };
        let queue = caller.queue;
        if let Some(view) = self.view_at(queue, self.queues[queue].position(&caller.rank)) {
            self.estimator.promise(now, call, queue, view, Made::OnEntry);
        }
    }

    /// What a caller who waits was promised on entry; `None` for who does not wait, or while too little is known.
    pub fn promise_of(&self, call: CallId) -> Option<Estimate> {
        let promise = self.estimator.promises.get(&(call, Made::OnEntry))?;
        let mean = || self.estimator.mean_of(promise.at, Made::OnEntry, promise.length());
        self.estimator.believed(promise.queue).then(|| Estimate { promised: promise.length(), mean: mean() })
    }

    fn view_at(&self, queue: QueueNo, place: u32) -> Option<View> {
        let agents = self.groups.staff(queue).on_duty;
        let waiting = |no: &QueueNo| self.queues[*no].waiting.len() as u32;
        let rivals = self.estimator.queues.get(queue.index())?.rivals.iter().map(waiting).sum();
        (agents > 0).then_some(View { place, agents, rivals })
    }

    /// Which queues share agents, by the groups as they are.
    pub(super) fn find_rivals(&mut self) {
        let mut rivals: Vec<BTreeSet<QueueNo>> = vec![BTreeSet::new(); self.queues.numbers().count()];
        for group in self.groups.iter() {
            for serves in &group.serves {
                rivals[serves.queue.index()].extend(group.serves.iter().map(|serves| serves.queue));
            }
        }
        let rivals = self.queues.numbers().zip(rivals).map(|(no, mut rivals)| {
            rivals.remove(&no);
            rivals.into_iter().collect()
        });
        self.estimator.obey(rivals.collect());
    }
}

impl Estimator {
    fn obey(&mut self, rivals: Vec<Vec<QueueNo>>) {
        self.queues.resize(rivals.len().max(self.queues.len()), Learned::default());
        for (learned, rivals) in self.queues.iter_mut().zip(rivals) {
            learned.rivals = rivals;
        }
    }

    pub fn talk_ended(&mut self, queue: QueueNo, handled: Duration) {
        if let Some(learned) = self.queues.get_mut(queue.index()) {
            learned.talks = learned.talks.saturating_add(1);
            learned.talk_s = smoothed(learned.talk_s, handled, learned.talks);
        }
    }

    fn believed(&self, queue: QueueNo) -> bool {
        self.queues.get(queue.index()).is_some_and(|learned| learned.answers >= ENOUGH)
    }

    fn estimate(&self, now: Moment, queue: QueueNo, view: View, made: Made) -> Estimate {
        let promised = self.promised(now, queue, view, made);
        Estimate { promised, mean: self.mean_of(now, made, promised) }
    }

    fn promised(&self, now: Moment, queue: QueueNo, view: View, made: Made) -> Duration {
        let Some(learned) = self.queues.get(queue.index()) else { return Duration::ZERO };
        let work = (learned.ring_s + learned.talk_s) * f64::from(view.place) / f64::from(view.agents);
        let [factor, weights @ ..] = learned.weights;
        let signs = signs(view);
        let learned: f64 = weights.iter().zip(signs).map(|(weight, sign)| weight * sign).sum();
        let promised = exp(ln(work) + factor + learned + self.hour(now, made).correction);
        Duration::from_millis((promised.clamp(LEAST, MOST) * 1_000.0) as u64)
    }

    fn mean_of(&self, at: Moment, made: Made, promised: Duration) -> Duration {
        let hour = self.hour(at, made);
        promised.mul_f64((hour.waited / hour.promised).clamp(0.05, 2.0))
    }

    fn promise(&mut self, now: Moment, call: CallId, queue: QueueNo, view: View, made: Made) {
        self.time_passes(now);
        if self.promises.contains_key(&(call, made)) {
            return;
        }
        let until = now + self.promised(now, queue, view, made);
        let step = self.step(now, queue, made);
        if let (Some(learned), Made::OnEntry) = (self.queues.get_mut(queue.index()), made) {
            learned.open += 1;
        }
        self.promises.insert((call, made), Promise { queue, made, at: now, until, signs: signs(view), step, broken: false });
        self.running.insert((until, call, made));
    }

    /// A promise that has run out is broken, however long the caller has still to wait.
    fn time_passes(&mut self, now: Moment) {
        while let Some((until, call, made)) = self.running.first().copied().filter(|(until, ..)| *until < now) {
            self.running.remove(&(until, call, made));
            if let Some(promise) = self.promises.get_mut(&(call, made)) {
                promise.broken = true;
                let promise = *promise;
                self.learn(&promise, KEPT);
            }
        }
    }

    pub fn answered(&mut self, now: Moment, queue: QueueNo, call: CallId, rang: Duration) {
        if let Some(learned) = self.queues.get_mut(queue.index()) {
            learned.answers = learned.answers.saturating_add(1);
            learned.ring_s = smoothed(learned.ring_s, rang, learned.answers);
        }
        self.time_passes(now);
        for promise in [Made::OnEntry, Made::Waiting].map(|made| self.end(call, made)).into_iter().flatten() {
            if !promise.broken {
                self.learn(&promise, KEPT - 1.0);
            }
            let hour = self.hour_mut(&promise);
            hour.judged = hour.judged.saturating_add(1);
            hour.waited = MEAN_KEPT * hour.waited + now.since(promise.at).as_secs_f64();
            hour.promised = MEAN_KEPT * hour.promised + promise.length().as_secs_f64();
        }
    }

    /// Gone without an answer.
    pub fn left(&mut self, now: Moment, call: CallId) {
        self.time_passes(now);
        for promise in [Made::OnEntry, Made::Waiting].map(|made| self.end(call, made)).into_iter().flatten() {
            if promise.broken {
                self.learn(&promise, -KEPT);
            }
        }
    }

    fn end(&mut self, call: CallId, made: Made) -> Option<Promise> {
        let promise = self.promises.remove(&(call, made))?;
        self.running.remove(&(promise.until, call, made));
        if let (Some(learned), Made::OnEntry) = (self.queues.get_mut(promise.queue.index()), made) {
            learned.open = learned.open.saturating_sub(1);
        }
        Some(promise)
    }

    fn step(&self, now: Moment, queue: QueueNo, made: Made) -> Step {
        let open = self.queues.get(queue.index()).map_or(0, |learned| learned.open);
        let settled = (1.0 + f64::from(self.hour(now, made).judged) / HOUR_SETTLES).sqrt();
        Step {
            queue: 1.0 / (1.0 + SHARED_IN_QUEUE * f64::from(open)),
            hour: (HOUR_STEP / settled).max(HOUR_STEP_LEAST) / (1.0 + SHARED_IN_ALL * self.promises.len() as f64),
        }
    }

    /// Above zero: promise more time.
    fn learn(&mut self, promise: &Promise, lesson: f64) {
        let bounded = |weight: f64| weight.clamp(-WEIGHT_MOST, WEIGHT_MOST);
        let learned = self.queues.get_mut(promise.queue.index()).filter(|_| promise.made == Made::OnEntry);
        if let Some(Learned { weights: [factor, weights @ ..], .. }) = learned {
            *factor = bounded(*factor + FACTOR_STEP * promise.step.queue * lesson);
            for (weight, sign) in weights.iter_mut().zip(promise.signs) {
                *weight = bounded(*weight + WEIGHT_STEP * promise.step.queue * lesson * sign);
            }
        }
        let hour = self.hour_mut(promise);
        hour.correction = bounded(hour.correction + promise.step.hour * lesson);
    }

    fn hour(&self, at: Moment, made: Made) -> Hour {
        match made {
            Made::OnEntry => self.on_entry[hour_of(at)],
            Made::Waiting => self.waiting[hour_of(at)],
        }
    }

    fn hour_mut(&mut self, promise: &Promise) -> &mut Hour {
        match promise.made {
            Made::OnEntry => &mut self.on_entry[hour_of(promise.at)],
            Made::Waiting => &mut self.waiting[hour_of(promise.at)],
        }
    }

    /// Whether every promise is somebody's who waits, and what was learned are numbers.
    pub fn is_sound(&self, waits: impl Fn(&CallId) -> bool) -> bool {
        let known = self.running.iter().all(|(_, call, made)| self.promises.contains_key(&(*call, *made)));
        let hours = self.on_entry.iter().chain(&self.waiting);
        let sums = hours.flat_map(|hour| [hour.correction, hour.waited, hour.promised]);
        let weights = self.queues.iter().flat_map(|learned| learned.weights.into_iter().chain([learned.ring_s, learned.talk_s]));
        let numbers = sums.chain(weights).all(f64::is_finite);
        known
            && numbers
            && self.promises.iter().all(|((call, _), promise)| waits(call) && promise.queue.index() < self.queues.len())
    }
}

impl Promise {
    fn length(&self) -> Duration {
        self.until.since(self.at)
    }
}

/// How a caller's place stands to the work of the agents: what the plain quotient misses, each about 0 on an ordinary day.
fn signs(view: View) -> [f64; 3] {
    let (place, rivals, agents) = (f64::from(view.place.max(1)), f64::from(view.rivals), f64::from(view.agents.max(1)));
    [ln(place) - 1.0, ln(1.0 + rivals) - ln(place), ln(agents) - ln(20.0)]
}

/// The mean of the first hundred; then the older count less and less.
fn smoothed(mean_s: f64, next: Duration, count: u32) -> f64 {
    mean_s + (next.as_secs_f64() - mean_s) / f64::from(count.clamp(1, 100))
}

fn hour_of(at: Moment) -> usize {
    (at.as_unix_seconds() / 3_600 % 24) as usize
}

/// Nearly the natural logarithm: straight between powers of two, so that it is the same on every machine. [`exp`] undoes it exactly.
fn ln(x: f64) -> f64 {
    let bits = x.max(f64::MIN_POSITIVE).to_bits();
    let exponent = (bits >> 52) as f64 - 1_023.0;
    let fraction = (bits & ((1 << 52) - 1)) as f64 / (1_u64 << 52) as f64;
    (exponent + fraction) * std::f64::consts::LN_2
}

fn exp(x: f64) -> f64 {
    let power = (x / std::f64::consts::LN_2).clamp(-60.0, 60.0);
    let whole = power.floor();
    f64::from_bits(((whole + 1_023.0) as u64) << 52) * (1.0 + power - whole)
}
