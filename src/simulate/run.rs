//! Virtual time: arrivals, seats, talks and patience in one order, a router that answers.

use super::callbacks::{CallbackStory, Callbacks};
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
    /// Left the line with the promise to be called.
    CallbackBooked,
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
    /// What a caller who has just come would be told about the wait; for routers that know.
    fn expected_wait(&self, _call: usize) -> Option<Duration> {
        None
    }
    /// For routers that call back.
    fn callback(&mut self, _now: Moment, _call: usize, _step: CallbackStep) {}
    /// When time matters to the router.
    fn next(&self) -> Option<Moment>;
    /// Drained after each of the above.
    fn poll(&mut self) -> Option<Ring>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ring {
    Begins {
        call: usize,
        agent: usize,
    },
    Stops {
        call: usize,
    },
    /// For the callback that this call is owed, not for a caller.
    ForCallback {
        call: usize,
        agent: usize,
    },
    CallbackOff {
        call: usize,
    },
    /// No ring, but what was promised before it.
    Promised {
        call: usize,
        by: Moment,
    },
}

/// What becomes of a callback outside the router. `call` is always the citizen's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallbackStep {
    Booked {
        class: usize,
    },
    /// The agent is at the phone, the citizen is dialled.
    Taken,
    Reached,
    NotReached {
        agent: usize,
    },
    TalkEnds {
        agent: usize,
    },
}

/// At one moment: seats end before anything begins, talks end before callers come, who leaves leaves before the phone is picked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    SeatEnds(usize),
    SeatBegins(usize),
    TalkEnds { call: usize, agent: usize },
    CallerLeaves(usize),
    AgentAnswers { call: usize, agent: usize, ring: u64 },
    CallbackTaken { call: usize, agent: usize, ring: u64 },
    CitizenAnswers { call: usize, agent: usize },
    CitizenDoesNot { call: usize, agent: usize },
    CallbackEnds { call: usize, agent: usize },
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
    callbacks: Option<&'a Callbacks>,
    offered: usize,
    stories: BTreeMap<usize, CallbackStory>,
    /// Calls whose callback rings at an agent's phone.
    ringing_back: BTreeMap<usize, u64>,
}

/// What a run came to.
pub(super) struct Played {
    pub arrivals: Vec<Arrival>,
    pub ends: Vec<End>,
    /// How often a callback was offered, and what became of each that was booked, by the call.
    pub offered: usize,
    pub stories: BTreeMap<usize, CallbackStory>,
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
    let Played { arrivals, ends, .. } = play(trace, roster, router, ring, redial, None);
    (arrivals, ends)
}

pub(super) fn play(
    trace: &Trace,
    roster: &Roster,
    router: Router,
    ring: Duration,
    redial: Redial,
    callbacks: Option<&Callbacks>,
) -> Played {
    let engine = |policy, pooled| EngineFloor::new(roster, policy, pooled, callbacks.map(|callbacks| &callbacks.dialling));
    let mut run = |floor: &mut dyn Floor| run(trace, roster, ring, redial, callbacks, floor);
    match router {
        Router::Default => run(&mut engine(None, false)),
        Router::Engine(policy) => run(&mut engine(Some(policy), false)),
        Router::Pooled => run(&mut engine(Some(Policy::LongestWait), true)),
        Router::AppQueue => run(&mut RivalFloor::new(roster, rivals::Rule::AppQueue)),
        Router::Overflow20 => run(&mut RivalFloor::new(roster, rivals::Rule::Overflow20)),
    }
}

/// On a floor of the caller's own, which comes back with what it has seen.
pub(super) fn run_on<F: Floor>(trace: &Trace, roster: &Roster, ring: Duration, mut floor: F) -> F {
    run(trace, roster, ring, &mut |_, _| None, None, &mut floor);
    floor
}

fn run(
    trace: &Trace,
    roster: &Roster,
    ring: Duration,
    redial: Redial,
    callbacks: Option<&Callbacks>,
    floor: &mut dyn Floor,
) -> Played {
    let mut run = Run {
        arrivals: Vec::with_capacity(trace.calls.len()),
        again: BTreeMap::new(),
        redial,
        ring,
        due: BinaryHeap::new(),
        standing: Vec::new(),
        ends: Vec::new(),
        rings: 0,
        callbacks,
        offered: 0,
        stories: BTreeMap::new(),
        ringing_back: BTreeMap::new(),
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
    let ends = run.ends.into_iter().map(|end| end.unwrap_or(lost)).collect();
    Played { arrivals: run.arrivals, ends, offered: run.offered, stories: run.stories }
}

impl Run<'_> {
    fn arrives(&mut self, arrival: Arrival, floor: &mut dyn Floor) {
        let (no, at, class) = (self.arrivals.len(), arrival.call.at, arrival.call.class);
        self.due.push(Reverse((at + arrival.call.patience, Happens::CallerLeaves(no))));
        self.arrivals.push(arrival);
        self.standing.push(Standing::Waits);
        self.ends.push(None);
        floor.caller_comes(at, no, class);
        self.obey(at, floor);
        self.offer_callback(at, no, class, floor);
    }

    /// To who has just come and is to wait long.
    fn offer_callback(&mut self, now: Moment, call: usize, class: usize, floor: &mut dyn Floor) {
        let Some(callbacks) = self.callbacks.filter(|_| self.standing[call] == Standing::Waits) else { return };
        if floor.expected_wait(call).is_none_or(|wait| wait <= callbacks.offered_over) {
            return;
        }
        self.offered += 1;
        if callbacks.is_accepted(call) {
            self.standing[call] = Standing::Gone;
            self.ends[call] = Some(End { outcome: Outcome::CallbackBooked, at: now });
            self.stories.insert(call, CallbackStory::new(now));
            floor.callback(now, call, CallbackStep::Booked { class });
        }
    }

    fn happens(&mut self, now: Moment, happens: Happens, floor: &mut dyn Floor) {
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
            Happens::CallbackTaken { call, agent, ring } => {
                if self.ringing_back.get(&call) == Some(&ring) {
                    self.citizen_is_dialled(now, call, agent, floor);
                }
            }
            Happens::CitizenAnswers { call, agent } => {
                if let Some(story) = self.stories.get_mut(&call) {
                    story.served = Some(now);
                }
                floor.callback(now, call, CallbackStep::Reached);
                self.due.push(Reverse((now + self.arrivals[call].call.service, Happens::CallbackEnds { call, agent })));
            }
            Happens::CitizenDoesNot { call, agent } => floor.callback(now, call, CallbackStep::NotReached { agent }),
            Happens::CallbackEnds { call, agent } => floor.callback(now, call, CallbackStep::TalkEnds { agent }),
        }
    }

    fn citizen_is_dialled(&mut self, now: Moment, call: usize, agent: usize, floor: &mut dyn Floor) {
        self.ringing_back.remove(&call);
        let (Some(callbacks), Some(story)) = (self.callbacks, self.stories.get_mut(&call)) else { return };
        story.dialled(now);
        let next = if callbacks.is_answered(call, story.attempts) {
            (now + callbacks.picked_up_after, Happens::CitizenAnswers { call, agent })
        } else {
            (now + callbacks.given_up_after, Happens::CitizenDoesNot { call, agent })
        };
        self.due.push(Reverse(next));
        floor.callback(now, call, CallbackStep::Taken);
    }

    fn obey(&mut self, now: Moment, floor: &mut dyn Floor) {
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
                Ring::ForCallback { call, agent } if self.ring.is_zero() => self.citizen_is_dialled(now, call, agent, floor),
                Ring::ForCallback { call, agent } => {
                    self.rings += 1;
                    self.ringing_back.insert(call, self.rings);
                    self.due.push(Reverse((now + self.ring, Happens::CallbackTaken { call, agent, ring: self.rings })));
                }
                Ring::CallbackOff { call } => {
                    self.ringing_back.remove(&call);
                }
                Ring::Promised { call, by } => {
                    if let Some(story) = self.stories.get_mut(&call) {
                        story.promised.get_or_insert(by);
                    }
                }
            }
        }
    }

    fn answered(&mut self, now: Moment, call: usize, agent: usize, floor: &mut dyn Floor) {
        let end = now + self.arrivals[call].call.service;
        self.standing[call] = Standing::Gone;
        self.ends[call] = Some(End { outcome: Outcome::Served { agent, answered: now }, at: end });
        self.due.push(Reverse((end, Happens::TalkEnds { call, agent })));
        floor.agent_answers(now, call);
    }
}
