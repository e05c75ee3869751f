//! Virtual time: arrivals, seats, talks and patience in one order, a router that answers.

use super::engine::EngineFloor;
use super::input::{Call, Roster, Trace};
use super::rivals::RivalFloor;
use super::{Router, rivals};
use crate::clock::Moment;
use crate::routing::Policy;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `agent` is an index in [`Roster::agents`].
    Served {
        agent: usize,
        answered: Moment,
    },
    Abandoned,
}

/// How one call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub outcome: Outcome,
    pub at: Moment,
}

/// What may be told to a router, and what it says: a phone rings for a call, or stops.
pub(super) trait Floor {
    fn seat_begins(&mut self, now: Moment, seat: usize);
    fn seat_ends(&mut self, now: Moment, seat: usize);
    fn caller_comes(&mut self, now: Moment, call: usize, class: usize);
    fn caller_leaves(&mut self, now: Moment, call: usize);
    fn agent_answers(&mut self, now: Moment, call: usize);
    fn talk_ends(&mut self, now: Moment, agent: usize, call: usize);
    fn time_passes(&mut self, now: Moment);
    /// When time matters to the router.
    fn next(&self) -> Option<Moment>;
    /// Drained after each of the above.
    fn poll(&mut self) -> Option<Ring>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ring {
    Begins { call: usize, agent: usize },
    Stops { call: usize },
}

/// At one moment: seats end before anything begins, talks end before callers come, who leaves leaves before the phone is picked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    SeatEnds(usize),
    SeatBegins(usize),
    TalkEnds { call: usize, agent: usize },
    CallerLeaves(usize),
    AgentAnswers { call: usize, agent: usize, ring: u64 },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Waits,
    Rings { ring: u64 },
    Gone,
}

/// A call as it reached the line.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub call: Call,
    /// The place in the trace of the first call for this need.
    pub need: usize,
    /// 1 = the call of the trace itself.
    pub attempt: u32,
}

/// The later call of somebody who gave up, and when.
type Redial<'a> = &'a mut dyn FnMut(&Arrival, Moment) -> Option<Call>;

struct Run<'a> {
    /// In their order; those of the trace and those rung again.
    arrivals: Vec<Arrival>,
    /// Who will ring again; numbered, for two of one moment.
    again: BTreeMap<(Moment, usize), Arrival>,
    redial: Redial<'a>,
    ring: Duration,
    due: BinaryHeap<Reverse<(Moment, Happens)>>,
    standing: Vec<Standing>,
    ends: Vec<Option<End>>,
    rings: u64,
}

/// The end of every call, in the order of the trace. An agent's phone rings `ring` long before the answer.
pub fn simulate(trace: &Trace, roster: &Roster, router: Router, ring: Duration) -> Vec<End> {
    simulate_redials(trace, roster, router, ring, &mut |_, _| None).1
}

/// With calls that follow from others: all that arrived, and how each ended.
pub(super) fn simulate_redials(
    trace: &Trace,
    roster: &Roster,
    router: Router,
    ring: Duration,
    redial: Redial,
) -> (Vec<Arrival>, Vec<End>) {
    let engine = |policy, pooled| EngineFloor::new(roster, policy, pooled);
    match router {
        Router::Default => run(trace, roster, ring, redial, &mut engine(None, false)),
        Router::Engine(policy) => run(trace, roster, ring, redial, &mut engine(Some(policy), false)),
        Router::Pooled => run(trace, roster, ring, redial, &mut engine(Some(Policy::LongestWait), true)),
        Router::AppQueue => run(trace, roster, ring, redial, &mut RivalFloor::new(roster, rivals::Rule::AppQueue)),
        Router::Overflow20 => run(trace, roster, ring, redial, &mut RivalFloor::new(roster, rivals::Rule::Overflow20)),
    }
}

/// On a floor of the caller's own, which comes back with what it has seen.
pub(super) fn run_on<F: Floor>(trace: &Trace, roster: &Roster, ring: Duration, mut floor: F) -> F {
    run(trace, roster, ring, &mut |_, _| None, &mut floor);
    floor
}

fn run(trace: &Trace, roster: &Roster, ring: Duration, redial: Redial, floor: &mut impl Floor) -> (Vec<Arrival>, Vec<End>) {
    let mut run = Run {
        arrivals: Vec::with_capacity(trace.calls.len()),
        again: BTreeMap::new(),
        redial,
        ring,
        due: BinaryHeap::new(),
        standing: Vec::new(),
        ends: Vec::new(),
        rings: 0,
    };
    for (no, seat) in roster.seats.iter().enumerate() {
        run.due.push(Reverse((seat.from, Happens::SeatBegins(no))));
        run.due.push(Reverse((seat.to, Happens::SeatEnds(no))));
    }
    let mut coming = trace.calls.iter().enumerate().peekable();
    loop {
        let due = run.due.peek().map(|Reverse((at, _))| *at);
        let rung_again = run.again.first_key_value().map(|((at, _), _)| *at);
        let arrival = [coming.peek().map(|(_, call)| call.at), rung_again].into_iter().flatten().min();
        let Some(next) = [due, arrival, floor.next()].into_iter().flatten().min() else { break };
        if due == Some(next)
            && let Some(Reverse((now, happens))) = run.due.pop()
        {
            run.happens(now, happens, floor);
        } else if floor.next() == Some(next) {
            floor.time_passes(next);
            // After the last call and the last seat only the router's own time would go on.
            if due.is_none() && arrival.is_none() && run.standing.iter().all(|standing| *standing == Standing::Gone) {
                break;
            }
        } else if rung_again == Some(next)
            && let Some((_, again)) = run.again.pop_first()
        {
            run.arrives(again, floor);
        } else if let Some((need, call)) = coming.next() {
            run.arrives(Arrival { call: call.clone(), need, attempt: 1 }, floor);
        }
        run.obey(next, floor);
    }
    let lost = End { outcome: Outcome::Abandoned, at: Moment::ZERO };
    (run.arrivals, run.ends.into_iter().map(|end| end.unwrap_or(lost)).collect())
}

impl Run<'_> {
    fn arrives(&mut self, arrival: Arrival, floor: &mut impl Floor) {
        let (no, at, class) = (self.arrivals.len(), arrival.call.at, arrival.call.class);
        self.due.push(Reverse((at + arrival.call.patience, Happens::CallerLeaves(no))));
        self.arrivals.push(arrival);
        self.standing.push(Standing::Waits);
        self.ends.push(None);
        floor.caller_comes(at, no, class);
    }

    fn happens(&mut self, now: Moment, happens: Happens, floor: &mut impl Floor) {
        match happens {
            Happens::SeatBegins(seat) => floor.seat_begins(now, seat),
            Happens::SeatEnds(seat) => floor.seat_ends(now, seat),
            Happens::TalkEnds { call, agent } => floor.talk_ends(now, agent, call),
            Happens::CallerLeaves(call) => {
                if self.standing[call] != Standing::Gone {
                    self.standing[call] = Standing::Gone;
                    self.ends[call] = Some(End { outcome: Outcome::Abandoned, at: now });
                    floor.caller_leaves(now, call);
                    let gave_up = &self.arrivals[call];
                    if let Some(again) = (self.redial)(gave_up, now) {
                        let again = Arrival { call: again, need: gave_up.need, attempt: gave_up.attempt + 1 };
                        self.again.insert((again.call.at.max(now), call), again);
                    }
                }
            }
            Happens::AgentAnswers { call, agent, ring } => {
                if self.standing[call] == (Standing::Rings { ring }) {
                    self.answered(now, call, agent, floor);
                }
            }
        }
    }

    fn obey(&mut self, now: Moment, floor: &mut impl Floor) {
        while let Some(ring) = floor.poll() {
            match ring {
                Ring::Begins { call, agent } if self.ring.is_zero() => self.answered(now, call, agent, floor),
                Ring::Begins { call, agent } => {
                    self.rings += 1;
                    self.standing[call] = Standing::Rings { ring: self.rings };
                    self.due.push(Reverse((now + self.ring, Happens::AgentAnswers { call, agent, ring: self.rings })));
                }
                Ring::Stops { call } => {
                    if self.standing[call] != Standing::Gone {
                        self.standing[call] = Standing::Waits;
                    }
                }
            }
        }
    }

    fn answered(&mut self, now: Moment, call: usize, agent: usize, floor: &mut impl Floor) {
        let end = now + self.arrivals[call].call.service;
        self.standing[call] = Standing::Gone;
        self.ends[call] = Some(End { outcome: Outcome::Served { agent, answered: now }, at: end });
        self.due.push(Reverse((end, Happens::TalkEnds { call, agent })));
        floor.agent_answers(now, call);
    }
}
