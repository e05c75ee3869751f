//! A day that was lived, as a trace and a roster: "yesterday, with three more agents".
//!
//! What the facts do not say is drawn by seed, and only that: the patience of who was answered (longer than the wait; the rest
//! exponential, which has no memory), and the talk of who gave up (that of somebody who was served).

use super::CLASSES;
use super::dice::Dice;
use super::input::{Call, Roster, Seat, Trace};
use crate::clock::Moment;
use crate::facts::{AgentStateName, Fact, OfferEnd, Outcome, Stamped};
use crate::ids::{AgentId, CallId, OfferId, QueueId};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

/// Patience of a day on which nobody gave up.
const NOBODY_GAVE_UP: Duration = Duration::from_secs(3_600);

/// What the facts of a span say. Facts come in their order; those before the span tell who was on duty at its start.
#[derive(Debug, Default)]
pub struct Lived {
    span: Range<u64>,
    waits: Vec<Wait>,
    /// Where in `waits` a call waits or talks.
    open: BTreeMap<CallId, usize>,
    /// Whom an agent talked with last, and whether wrap-up has begun since.
    busy: BTreeMap<AgentId, (usize, bool)>,
    on_duty: BTreeMap<AgentId, Moment>,
    duties: Vec<(AgentId, Moment, Moment)>,
    offers: BTreeMap<OfferId, Moment>,
    rings: (Duration, u32),
    offered: BTreeMap<AgentId, BTreeSet<QueueId>>,
}

/// One stay in the queue and the talk it came to.
#[derive(Debug)]
struct Wait {
    from: Moment,
    queue: QueueId,
    end: Option<(WaitEnd, Moment)>,
    /// Until the agent was free again, wrap-up counted.
    busy_until: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitEnd {
    Answered,
    GaveUp,
    /// Overflow, transfer, failure: might have waited longer.
    TakenAway,
}

/// The lived day, ready to be simulated.
#[derive(Clone, Debug)]
pub struct Replay {
    pub trace: Trace,
    pub roster: Roster,
    /// Mean of what it took to answer an agent's phone.
    pub ring: Duration,
    /// What is known of patience: waited by everybody, over those who gave up.
    pub patience_mean: Duration,
    /// Everybody's mean wait as it was, s, and the share that gave up.
    pub mean_wait_s: f64,
    pub abandoned_share: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("nobody waited in that span")]
    Nobody,
    #[error("queue `{0}` has no class; name one with --class {0}=CLASS, where CLASS is one of {known}", known = CLASSES.map(|(name, _)| name).join(", "))]
    UnknownQueue(QueueId),
}

impl Lived {
    pub fn new(span: Range<Moment>) -> Self {
        Self { span: span.start.0..span.end.0, ..Self::default() }
    }

    pub fn see(&mut self, Stamped { at, fact }: Stamped) {
        let within = self.span.contains(&at.0);
        match fact {
            Fact::QueueEntered { call, queue, .. } => match self.open.get(&call).and_then(|no| self.waits.get_mut(*no)) {
                // Who changes the queue keeps the time waited.
                Some(wait) if wait.end.is_none() => wait.queue = queue,
                _ if within => {
                    self.open.insert(call, self.waits.len());
                    self.waits.push(Wait { from: at, queue, end: None, busy_until: None });
                }
                _ => {}
            },
            Fact::QueueLeft { call, why: crate::facts::QueueLeft::Abandoned, .. } => self.wait_ends(call, WaitEnd::GaveUp, at),
            Fact::QueueLeft { call, .. } => self.wait_ends(call, WaitEnd::TakenAway, at),
            Fact::CallEnded { call, outcome } => {
                let end = if outcome == Outcome::AbandonedInQueue { WaitEnd::GaveUp } else { WaitEnd::TakenAway };
                self.wait_ends(call, end, at);
                self.open.remove(&call);
            }
            Fact::OfferMade { offer, agent, queue, .. } if within => {
                self.offers.insert(offer, at);
                self.offered.entry(agent).or_default().insert(queue);
            }
            Fact::OfferEnded { offer, end } => {
                if let Some(made) = self.offers.remove(&offer).filter(|_| end == OfferEnd::Answered) {
                    self.rings = (self.rings.0 + at.since(made), self.rings.1 + 1);
                }
            }
            Fact::TalkStarted { call, agent, .. } => {
                self.wait_ends(call, WaitEnd::Answered, at);
                if let Some(no) = self.open.get(&call) {
                    self.busy.insert(agent, (*no, false));
                }
            }
            Fact::TalkEnded { agent, .. } => self.busy_until(&agent, at, false),
            Fact::AgentChanged { agent, state, .. } => self.agent_changed(agent, state, at),
            _ => {}
        }
    }

    fn agent_changed(&mut self, agent: AgentId, state: AgentStateName, at: Moment) {
        match state {
            AgentStateName::Talking => {}
            AgentStateName::WrapUp => self.busy_until(&agent, at, true),
            AgentStateName::Ready | AgentStateName::Offered | AgentStateName::OnBreak | AgentStateName::Offline => {
                if self.busy.get(&agent).is_some_and(|(_, wraps_up)| *wraps_up) {
                    self.busy_until(&agent, at, true);
                }
                self.busy.remove(&agent);
            }
        }
        let works = !matches!(state, AgentStateName::OnBreak | AgentStateName::Offline);
        if works {
            self.on_duty.entry(agent).or_insert(at);
        } else if let Some(since) = self.on_duty.remove(&agent) {
            self.duties.push((agent, since, at));
        }
    }

    fn busy_until(&mut self, agent: &AgentId, at: Moment, wraps_up: bool) {
        let Some((no, wrapping)) = self.busy.get_mut(agent) else { return };
        *wrapping |= wraps_up;
        if let Some(wait) = self.waits.get_mut(*no) {
            wait.busy_until = Some(at);
        }
    }

    fn wait_ends(&mut self, call: CallId, end: WaitEnd, at: Moment) {
        if let Some(wait) = self.open.get(&call).and_then(|no| self.waits.get_mut(*no)) {
            wait.end.get_or_insert((end, at));
        }
    }

    /// `classes` says which class a queue is; who still waits at the end of the facts is left out.
    pub fn replay(mut self, seed: u64, classes: &BTreeMap<QueueId, usize>) -> Result<Replay, ReplayError> {
        let waits: Vec<(&Wait, WaitEnd, Duration)> =
            self.waits.iter().filter_map(|wait| wait.end.map(|(end, at)| (wait, end, at.since(wait.from)))).collect();
        let waited: Duration = waits.iter().map(|(_, _, long)| *long).sum();
        let gave_up = waits.iter().filter(|(_, end, _)| *end == WaitEnd::GaveUp).count();
        let patience_mean = u32::try_from(gave_up).ok().and_then(|count| waited.checked_div(count)).unwrap_or(NOBODY_GAVE_UP);
        let talk = |(wait, end, long): &(&Wait, WaitEnd, Duration)| {
            let until = wait.busy_until.filter(|_| *end == WaitEnd::Answered)?;
            Some(until.since(wait.from + *long)).filter(|talk| !talk.is_zero())
        };
        let talks: Vec<Duration> = waits.iter().filter_map(talk).collect();
        if waits.is_empty() {
            return Err(ReplayError::Nobody);
        }
        let mut dice = Dice::new(seed);
        let mut calls = Vec::new();
        for stay in &waits {
            let (wait, end, long) = stay;
            let (other_talk, more) =
                (dice.below(talks.len() as u64) as usize, dice.exponential(patience_mean.as_secs_f64().max(1.0)));
            let class = *classes.get(&wait.queue).ok_or_else(|| ReplayError::UnknownQueue(wait.queue.clone()))?;
            let service = talk(stay).or_else(|| talks.get(other_talk).copied()).unwrap_or(Duration::from_secs(165));
            let patience = if *end == WaitEnd::GaveUp { *long } else { *long + Duration::from_secs_f64(more) };
            calls.push(Call { at: self.since_start(wait.from), class, service, patience });
        }
        let (count, mean_wait_s) = (waits.len() as f64, waited.as_secs_f64() / waits.len() as f64);
        let ring = self.rings.0.checked_div(self.rings.1).unwrap_or_default();
        let roster = self.roster(classes);
        let abandoned_share = gave_up as f64 / count;
        Ok(Replay { trace: Trace { calls }, roster, ring, patience_mean, mean_wait_s, abandoned_share })
    }

    /// The queues of the span, for whoever maps them to classes.
    pub fn queues(&self) -> BTreeSet<QueueId> {
        self.waits.iter().map(|wait| wait.queue.clone()).collect()
    }

    /// Duties clipped to the span; an agent's skills are the queues of which calls were offered to them, or all if none was.
    fn roster(&mut self, classes: &BTreeMap<QueueId, usize>) -> Roster {
        let end = Moment(self.span.end);
        self.duties.extend(std::mem::take(&mut self.on_duty).into_iter().map(|(agent, since)| (agent, since, end)));
        let (mut roster, mut numbers) = (Roster::default(), BTreeMap::new());
        let all: BTreeSet<usize> = classes.values().copied().collect();
        for (agent, from, to) in &self.duties {
            let (from, to) = (self.since_start((*from).max(Moment(self.span.start))), self.since_start((*to).min(end)));
            if from >= to {
                continue;
            }
            let known: BTreeSet<usize> =
                self.offered.get(agent).into_iter().flatten().filter_map(|queue| classes.get(queue).copied()).collect();
            let skills = if known.is_empty() { &all } else { &known }.iter().map(|class| (*class, 50)).collect();
            let number = *numbers.entry(agent.clone()).or_insert(roster.agents.len());
            if number == roster.agents.len() {
                roster.agents.push(agent.as_str().to_owned());
            }
            roster.seats.push(Seat { agent: number, from, to, skills });
        }
        roster
    }

    fn since_start(&self, at: Moment) -> Moment {
        Moment(at.0.saturating_sub(self.span.start))
    }
}

impl Roster {
    /// With so many agents more (twins of those who worked longest, seat by seat) or fewer (without those).
    pub fn with_agents(&self, change: i32) -> Roster {
        let mut worked: BTreeMap<usize, Duration> = BTreeMap::new();
        for seat in &self.seats {
            *worked.entry(seat.agent).or_default() += seat.to.since(seat.from);
        }
        let mut longest: Vec<(usize, Duration)> = worked.into_iter().collect();
        longest.sort_by_key(|(agent, worked)| (std::cmp::Reverse(*worked), *agent));
        let mut roster = self.clone();
        if change < 0 {
            let gone: BTreeSet<usize> = longest.iter().take(change.unsigned_abs() as usize).map(|(agent, _)| *agent).collect();
            roster.seats.retain(|seat| !gone.contains(&seat.agent));
            return roster;
        }
        for (no, (model, _)) in longest.iter().cycle().take(change.unsigned_abs() as usize).enumerate() {
            let twin = roster.agents.len();
            roster.agents.push(format!("+{}", no + 1));
            let seats = self.seats.iter().filter(|seat| seat.agent == *model);
            roster.seats.extend(seats.map(|seat| Seat { agent: twin, ..seat.clone() }));
        }
        roster
    }
}
