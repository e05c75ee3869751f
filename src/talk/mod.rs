//! One conversation: its legs, the offers in the air, who hears whom, and what becomes of the others when one of them goes.
//!
//! A brain, one per call. It says what each leg does; whether and whom to offer is the acd's, what is said to the citizen before an
//! agent answers is the robot's. It decides the call's outcome, once.
//!
//! **Architecture invariant:** every end of a citizen's leg leads to exactly one [`Command::Ended`], at every moment of a call. The
//! scenarios in `tests/scenarios/talk` and the random walk beside them keep it so.

mod words;

pub use words::{Command, Event, RouteStep};

use crate::clock::Moment;
use crate::facts::{AttemptEnd, Booking, Fact, MissReason, Outcome, Party, QueueLeft, RouteEnd};
use crate::ids::*;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Talk {
    call: CallId,
    citizen: LegId,
    started: Moment,
    /// Our 200 left (or is about to).
    answered: bool,
    recording: bool,
    /// The queue's talks may be recorded; no agent can turn on what the house forbids.
    may_record: bool,
    /// The agent asked not to record for a while.
    paused: bool,
    /// A talk was broken off: unless another follows, the call ends as `cut`.
    cut_before: bool,
    /// How the call ends if the citizen goes while the robot says goodbye.
    parting: Option<Outcome>,
    citizen_holds: bool,
    partner_holds: bool,
    out: Option<Out>,
    stage: Stage,
    #[serde(skip)]
    commands: VecDeque<Command>,
}

/// How far a call has come that goes out to a citizen who is owed one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Out {
    /// An agent is sought, or waits while the citizen's phone is called, so long as it `rings`.
    Unreached {
        rang: bool,
        rings: Duration,
    },
    /// The citizen picked up and hears whose call this is; until then at the latest.
    Greeting {
        until: Moment,
    },
    Talking,
}

/// What the house wants of a call that goes out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CalledBack {
    pub recorded: bool,
    /// So long the citizen's phone rings.
    pub rings: Duration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Stage {
    Robot,
    /// `robot`: it still speaks to the citizen (music, place, overflow). After a broken talk it is gone and music is all.
    Waiting {
        since: Moment,
        queue: QueueId,
        /// The agents' phones that ring; who answers first has the citizen.
        rings: Vec<Ring>,
        robot: bool,
    },
    Talking {
        partner: Partner,
    },
    /// A route out of the house rings; `back` is where the citizen goes if nobody answers.
    Routing {
        route: RouteId,
        step: RouteStep,
        until: Moment,
        rest: VecDeque<RouteStep>,
        back: Back,
        heard: Heard,
    },
    /// The citizen was lost in the talk or is owed a call, and is being called; the agent hears music or the ringing.
    Recalling {
        agent: AgentId,
        /// The agent's leg.
        leg: LegId,
        queue: QueueId,
        recall: LegId,
        until: Moment,
    },
    Over,
}

/// An offer in the air.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Ring {
    offer: OfferId,
    leg: LegId,
    agent: AgentId,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Partner {
    Agent { agent: AgentId, leg: LegId, queue: QueueId },
    Outside { leg: LegId },
}

impl Partner {
    fn leg(&self) -> LegId {
        match self {
            Partner::Agent { leg, .. } | Partner::Outside { leg } => *leg,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Back {
    Robot,
    Queue(QueueId),
}

/// What the citizen hears while a route rings: the robot's (or our) ringback, or the other house itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Heard {
    Ringback,
    EarlyMedia,
}

impl Talk {
    /// Said when a talk was broken off and the citizen is back at the head of the queue.
    pub const APOLOGY: &'static str = "apology";
    /// A citizen who was cut off picks up within this time, or is owed a call like everybody else.
    const RECALL: Duration = Duration::from_secs(20);
    /// Said to a citizen who picks up: the law wants to be told before anything is recorded.
    pub const NOTICE: &'static str = "callback-notice";
    /// The same where nothing is recorded.
    pub const GREETING: &'static str = "callback-greeting";
    /// Longer than either.
    const LONGEST_GREETING: Duration = Duration::from_secs(20);

    pub fn new(call: CallId, citizen: LegId, now: Moment) -> Self {
        Self {
            call,
            citizen,
            started: now,
            answered: false,
            recording: false,
            may_record: true,
            paused: false,
            cut_before: false,
            parting: None,
            citizen_holds: false,
            partner_holds: false,
            out: None,
            stage: Stage::Robot,
            commands: VecDeque::new(),
        }
    }

    /// A call to a citizen who is owed one: an agent of this queue first, then the citizen by the leg `citizen`.
    pub fn calling_back(call: CallId, citizen: LegId, queue: QueueId, how: CalledBack, now: Moment) -> Self {
        let CalledBack { recorded, rings } = how;
        let stage = Stage::Waiting { since: now, queue, rings: Vec::new(), robot: false };
        let out = Some(Out::Unreached { rang: false, rings });
        Self { out, recording: recorded, may_record: recorded, stage, ..Self::new(call, citizen, now) }
    }

    /// Whether this call goes out and its citizen has not picked up yet.
    pub fn is_unreached(&self) -> bool {
        matches!(self.out, Some(Out::Unreached { .. }))
    }

    pub fn handle(&mut self, now: Moment, event: Event) {
        if self.stage == Stage::Over {
            // Whoever answers a call that is over is told so at once.
            if let Event::Answered { leg } = event {
                self.hang_up(leg);
            }
            return;
        }
        match event {
            Event::AnswerWanted => self.answer(),
            Event::EarlyMediaWanted => self.push(Command::EarlyMedia { leg: self.citizen }),
            Event::RecordingWanted => {
                self.recording = true;
                self.push(Command::Record { leg: self.citizen });
            }
            Event::RecordingPaused { paused } => self.pause_recording(paused),
            Event::Queued { queue, recorded } => self.queued(now, queue, recorded),
            Event::TransferWanted { route, steps } => self.transfer_wanted(now, route, steps),
            Event::AgentTransfers { route, steps } => self.agent_transfers(now, route, steps),
            Event::AgentHandsOn { queue, recorded } => self.agent_hands_on(now, queue, recorded),
            Event::HangUpWanted { outcome } => self.finish(now, outcome),
            Event::OfferMade { offer, leg, agent, auto_answer } => self.offer_made(Ring { offer, leg, agent }, auto_answer),
            Event::OfferWithdrawn { offer } => self.offer_withdrawn(offer),
            Event::Overflowed => self.overflowed(now),
            Event::Ringing { leg, early_media } => self.ringing(leg, early_media),
            Event::Answered { leg } => self.leg_answered(now, leg),
            Event::Refused { leg, status } => self.leg_refused(now, leg, status),
            Event::Held { leg, held } => self.held(leg, held),
            Event::Silent { leg } => self.push(Command::Probe { leg }),
            Event::Said => self.said(),
            Event::CitizenLost { recall } => self.citizen_lost(now, recall),
            Event::Cancelled => self.citizen_gone(now, Party::Citizen),
            Event::HungUp { leg } | Event::Lost { leg } if leg == self.citizen && self.is_unreached() => {
                self.citizen_unreached(now, AttemptEnd::Failed);
            }
            Event::CalledOff if self.is_unreached() => self.finish(now, Outcome::Cancelled),
            Event::CalledOff => {}
            Event::CallbackBooked { queue, booking } => self.callback_booked(queue, booking),
            Event::NotReached { end } => self.not_reached(now, end),
            Event::HungUp { leg } if leg == self.citizen => self.citizen_gone(now, Party::Citizen),
            Event::Lost { leg } if leg == self.citizen => self.citizen_gone(now, Party::Network),
            Event::HungUp { leg } => self.other_gone(now, leg, false),
            Event::Lost { leg } => self.other_gone(now, leg, true),
            Event::Stop => self.stop(now),
            Event::Parting { outcome } => self.parting = outcome,
            Event::LeavesQueue { why } => self.leaves_queue(why),
        }
    }

    pub fn handle_timeout(&mut self, now: Moment) {
        if let Stage::Routing { step, until, .. } = &self.stage
            && now >= *until
        {
            let leg = step.leg;
            self.hang_up(leg);
            self.route_ended(now, leg, RouteEnd::NoAnswer);
        }
        if let Stage::Recalling { until, .. } = &self.stage
            && now >= *until
        {
            self.citizen_unreached(now, AttemptEnd::NoAnswer);
        }
        if let (Stage::Talking { .. }, Some(Out::Greeting { until })) = (&self.stage, self.out)
            && now >= until
        {
            self.said();
        }
    }

    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Moment> {
        match &self.stage {
            Stage::Routing { until, .. } | Stage::Recalling { until, .. } => Some(*until),
            Stage::Talking { .. } if let Some(Out::Greeting { until }) = self.out => Some(until),
            Stage::Robot | Stage::Waiting { .. } | Stage::Talking { .. } | Stage::Over => None,
        }
    }

    /// The word for the board: `robot`, `waiting`, `ringing`, `talking`, `transferring`, `recalling`.
    pub fn stage_word(&self) -> &'static str {
        match &self.stage {
            Stage::Robot => "robot",
            Stage::Waiting { rings, .. } if rings.is_empty() => "waiting",
            Stage::Waiting { .. } => "ringing",
            Stage::Talking { .. } => "talking",
            Stage::Routing { .. } => "transferring",
            Stage::Recalling { .. } => "recalling",
            Stage::Over => "over",
        }
    }

    pub fn citizen(&self) -> LegId {
        self.citizen
    }

    /// Every leg this talk believes to stand or to be dialled.
    pub fn legs(&self) -> Vec<LegId> {
        let rung = |rings: &[Ring]| rings.iter().map(|ring| ring.leg).collect();
        let others: Vec<LegId> = match &self.stage {
            Stage::Waiting { rings, .. } if self.is_unreached() => return rung(rings),
            Stage::Waiting { rings, .. } => rung(rings),
            Stage::Talking { partner } => vec![partner.leg()],
            Stage::Routing { step, .. } => vec![step.leg],
            Stage::Recalling { leg, recall, .. } => return vec![*leg, *recall],
            Stage::Robot => Vec::new(),
            Stage::Over => return Vec::new(),
        };
        std::iter::once(self.citizen).chain(others).collect()
    }

    /// Nobody but the robot speaks to the citizen.
    pub fn is_with_robot(&self) -> bool {
        self.stage == Stage::Robot
    }

    /// Nobody speaks to who waits any more: music is all.
    pub fn robot_is_gone(&mut self) {
        if let Stage::Waiting { robot, .. } = &mut self.stage {
            *robot = false;
        }
    }

    /// The queue in which the citizen waits.
    pub fn waits_in(&self) -> Option<&QueueId> {
        match &self.stage {
            Stage::Waiting { queue, .. } => Some(queue),
            Stage::Robot | Stage::Talking { .. } | Stage::Routing { .. } | Stage::Recalling { .. } | Stage::Over => None,
        }
    }

    /// The queue in which the citizen waits or from which the agent came.
    pub fn queue(&self) -> Option<&QueueId> {
        match &self.stage {
            Stage::Talking { partner: Partner::Agent { queue, .. } } | Stage::Recalling { queue, .. } => Some(queue),
            Stage::Waiting { .. } | Stage::Robot | Stage::Talking { .. } | Stage::Routing { .. } | Stage::Over => self.waits_in(),
        }
    }

    /// The offers in the air.
    pub fn rings(&self) -> Vec<OfferId> {
        match &self.stage {
            Stage::Waiting { rings, .. } => rings.iter().map(|ring| ring.offer).collect(),
            Stage::Robot | Stage::Talking { .. } | Stage::Routing { .. } | Stage::Recalling { .. } | Stage::Over => Vec::new(),
        }
    }

    /// The agent whose talk this is, also while the citizen is called back into it.
    pub fn talking_agent(&self) -> Option<&AgentId> {
        self.agent().filter(|agent| self.talks_with(agent))
    }

    pub fn talks_with(&self, agent: &AgentId) -> bool {
        match &self.stage {
            Stage::Talking { partner: Partner::Agent { agent: partner, .. } } | Stage::Recalling { agent: partner, .. } => {
                partner == agent
            }
            Stage::Talking { .. } | Stage::Robot | Stage::Waiting { .. } | Stage::Routing { .. } | Stage::Over => false,
        }
    }

    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// The agent who talks, or of those who are rung the first.
    pub fn agent(&self) -> Option<&AgentId> {
        match &self.stage {
            Stage::Waiting { rings, .. } => rings.first().map(|ring| &ring.agent),
            Stage::Talking { partner: Partner::Agent { agent, .. } } | Stage::Recalling { agent, .. } => Some(agent),
            Stage::Robot | Stage::Talking { .. } | Stage::Routing { .. } | Stage::Over => None,
        }
    }

    // ---- towards the citizen ----

    fn answer(&mut self) {
        if !self.answered {
            self.answered = true;
            self.push(Command::Answer { leg: self.citizen });
            self.push(Command::Fact(Fact::CallAnswered { call: self.call }));
        }
    }

    fn pause_recording(&mut self, paused: bool) {
        if self.recording && self.may_record {
            self.paused = paused;
            self.push(Command::PauseRecord { leg: self.citizen, paused });
        }
    }

    /// A pause is one agent's: it ends with the agent's part in the call.
    fn end_pause(&mut self) {
        if std::mem::take(&mut self.paused) {
            self.push(Command::PauseRecord { leg: self.citizen, paused: false });
        }
    }

    fn citizen_gone(&mut self, now: Moment, by: Party) {
        let unexpected = by == Party::Network;
        let outcome = match &self.stage {
            _ if !self.answered && !unexpected => Outcome::Cancelled,
            Stage::Talking { .. } if unexpected => Outcome::Cut,
            Stage::Talking { partner: Partner::Agent { .. } } => Outcome::Served,
            Stage::Talking { partner: Partner::Outside { .. } } => Outcome::TransferredOut,
            // An agent handed them on: they were served, even if the other organisation did not answer in time.
            Stage::Routing { back: Back::Queue(_), .. } => Outcome::Served,
            _ if self.cut_before => Outcome::Cut,
            Stage::Robot | Stage::Waiting { .. } | Stage::Routing { .. } if unexpected => Outcome::Failed,
            Stage::Waiting { .. } => Outcome::AbandonedInQueue,
            // Nobody abandons a line that is closed or full by not hearing out that it is.
            Stage::Robot if let Some(outcome) = self.parting => outcome,
            Stage::Robot | Stage::Routing { .. } => Outcome::AbandonedInMenu,
            // Of the leg that was lost; nothing is known of who is being called back.
            Stage::Recalling { .. } | Stage::Over => return,
        };
        self.part_from_others(by);
        self.over(now, outcome);
    }

    /// We end the call in good order, with this outcome.
    fn finish(&mut self, now: Moment, outcome: Outcome) {
        let citizen_is_there = !self.is_unreached() && !matches!(self.stage, Stage::Recalling { .. });
        self.part_from_others(if citizen_is_there { Party::Engine } else { Party::Network });
        if !citizen_is_there {
            return self.over(now, outcome);
        }
        if self.answered {
            self.hang_up(self.citizen);
        } else {
            self.push(Command::Reject { leg: self.citizen, status: refusal_status(outcome) });
        }
        self.over(now, outcome);
    }

    /// We end the call because we have to.
    fn stop(&mut self, now: Moment) {
        let cut = matches!(self.stage, Stage::Talking { .. } | Stage::Recalling { .. }) || self.cut_before;
        let outcome = if cut { Outcome::Cut } else { Outcome::Failed };
        // Of a call that reached nobody nothing is missed; the task remembers.
        self.finish(now, if self.is_unreached() { Outcome::Cancelled } else { outcome });
    }

    /// Who was cut off does not come back; or who is owed a call is owed it still.
    fn citizen_unreached(&mut self, now: Moment, end: AttemptEnd) {
        if self.is_unreached() {
            self.push(Command::CallbackAttempted { end });
        }
        self.finish(now, if self.is_unreached() { Outcome::Cancelled } else { Outcome::Cut });
    }

    /// A machine, or somebody else: nothing was talked about, and nobody is owed less.
    fn not_reached(&mut self, now: Moment, end: AttemptEnd) {
        if let (Some(_), Stage::Talking { partner: Partner::Agent { .. } }) = (self.out, &self.stage) {
            self.push(Command::CallbackAttempted { end });
            self.part_from_others(Party::Agent);
            self.hang_up(self.citizen);
            self.over(now, Outcome::Cancelled);
        }
    }

    /// Out of the queue; the robot says the promise and hangs up.
    fn callback_booked(&mut self, queue: QueueId, booking: Booking) {
        match self.stage.clone() {
            Stage::Robot => {}
            Stage::Waiting { rings, robot: true, .. } => {
                self.push(Command::CallerLeft { why: QueueLeft::CallbackBooked });
                self.stop_ringing(rings);
                self.stage = Stage::Robot;
            }
            Stage::Waiting { .. } | Stage::Talking { .. } | Stage::Routing { .. } | Stage::Recalling { .. } | Stage::Over => {
                return;
            }
        }
        self.parting = Some(Outcome::CallbackBooked);
        self.push(Command::CallbackBooked { queue, booking });
    }

    /// Everybody but the citizen is let go: the ringing agent, the partner, the route, the queue and the robot.
    fn part_from_others(&mut self, by: Party) {
        let why = match by {
            Party::Citizen | Party::Network => QueueLeft::Abandoned,
            Party::Agent | Party::Engine => QueueLeft::EngineFailed,
        };
        match self.stage.clone() {
            Stage::Robot => self.push(Command::RobotDone),
            Stage::Waiting { rings, robot, .. } => {
                self.push(Command::CallerLeft { why });
                self.stop_ringing(rings);
                if robot {
                    self.push(Command::RobotDone);
                }
            }
            Stage::Talking { partner } => {
                self.hang_up(partner.leg());
                if let Partner::Agent { agent, .. } = partner {
                    self.push(Command::AgentFreed { agent, by });
                }
            }
            Stage::Routing { step, back, .. } => {
                self.hang_up(step.leg);
                self.fact(Fact::RouteEnded { call: self.call, leg: step.leg, end: RouteEnd::Withdrawn });
                if back == Back::Robot {
                    self.push(Command::RobotDone);
                }
            }
            Stage::Recalling { agent, leg, recall, .. } => {
                self.hang_up(recall);
                self.hang_up(leg);
                self.push(Command::AgentFreed { agent, by });
            }
            Stage::Over => {}
        }
    }

    fn over(&mut self, now: Moment, outcome: Outcome) {
        let since = match &self.stage {
            Stage::Waiting { since, .. } => *since,
            Stage::Robot | Stage::Talking { .. } | Stage::Routing { .. } | Stage::Recalling { .. } | Stage::Over => self.started,
        };
        self.stage = Stage::Over;
        self.fact(Fact::CallEnded { call: self.call, outcome });
        self.push(Command::Ended { outcome, after: now.since(since) });
    }

    // ---- waiting and offers ----

    fn queued(&mut self, now: Moment, queue: QueueId, recorded: bool) {
        self.records_if(recorded);
        self.stage = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Robot => Stage::Waiting { since: now, queue, rings: Vec::new(), robot: true },
            // Another queue: the caller keeps the time waited.
            Stage::Waiting { since, rings, robot, .. } => Stage::Waiting { since, queue, rings, robot },
            other @ (Stage::Talking { .. } | Stage::Routing { .. } | Stage::Recalling { .. } | Stage::Over) => other,
        };
    }

    /// Whether talks of the queue are recorded.
    fn records_if(&mut self, recorded: bool) {
        self.may_record = recorded;
        if self.recording {
            self.push(Command::PauseRecord { leg: self.citizen, paused: !recorded });
        }
    }

    fn offer_made(&mut self, ring: Ring, auto_answer: bool) {
        let callback = self.is_unreached();
        if let Stage::Waiting { queue, rings, .. } = &mut self.stage
            && rings.iter().all(|other| other.offer != ring.offer && other.agent != ring.agent && !callback)
        {
            let dial = Command::DialAgent { leg: ring.leg, agent: ring.agent.clone(), queue: queue.clone(), auto_answer };
            rings.push(ring);
            self.push(dial);
        }
    }

    fn offer_withdrawn(&mut self, offer: OfferId) {
        if let Some(ring) = self.take_ring(|ring| ring.offer == offer) {
            self.push(Command::HangUp { leg: ring.leg, elsewhere: true });
        }
    }

    fn overflowed(&mut self, now: Moment) {
        if let Stage::Waiting { robot, rings, .. } = &mut self.stage {
            let (robot, rings) = (*robot, std::mem::take(rings));
            self.stop_ringing(rings);
            if robot {
                self.stage = Stage::Robot;
            } else {
                // Nobody is left to speak to the citizen; the callback task will.
                self.stop(now);
            }
        }
    }

    fn leaves_queue(&mut self, why: QueueLeft) {
        if let Stage::Waiting { rings, robot: true, .. } = &mut self.stage {
            let rings = std::mem::take(rings);
            self.stage = Stage::Robot;
            self.push(Command::CallerLeft { why });
            self.stop_ringing(rings);
        }
    }

    /// A talk was broken off or a transfer failed: first in the queue again, with an apology.
    fn queue_again(&mut self, now: Moment, queue: QueueId) {
        self.stage = Stage::Waiting { since: now, queue: queue.clone(), rings: Vec::new(), robot: false };
        self.push(Command::Say { leg: self.citizen, prompt: PromptId::from(Self::APOLOGY) });
        self.push(Command::QueueAgain { queue });
    }

    fn said(&mut self) {
        match &self.stage {
            Stage::Talking { partner } if matches!(self.out, Some(Out::Greeting { .. })) => {
                let partner = partner.leg();
                self.out = Some(Out::Talking);
                if self.recording {
                    self.push(Command::Record { leg: self.citizen });
                    if self.paused || !self.may_record {
                        self.push(Command::PauseRecord { leg: self.citizen, paused: true });
                    }
                }
                self.heard_by_both(partner);
            }
            Stage::Waiting { robot: false, .. } => self.push(Command::Music { leg: self.citizen }),
            Stage::Recalling { leg, .. } => self.push(Command::Music { leg: *leg }),
            Stage::Waiting { .. } | Stage::Robot | Stage::Talking { .. } | Stage::Routing { .. } | Stage::Over => {}
        }
    }

    fn take_ring(&mut self, is_meant: impl Fn(&Ring) -> bool) -> Option<Ring> {
        match &mut self.stage {
            Stage::Waiting { rings, .. } => rings.iter().position(is_meant).map(|at| rings.remove(at)),
            Stage::Robot | Stage::Talking { .. } | Stage::Routing { .. } | Stage::Recalling { .. } | Stage::Over => None,
        }
    }

    // ---- a citizen lost in the talk ----

    /// The agent stays; the citizen's phone rings again in a moment. Who was lost anywhere else is owed a call in their turn.
    fn citizen_lost(&mut self, now: Moment, recall: LegId) {
        let Stage::Talking { partner: Partner::Agent { agent, leg, queue } } = self.stage.clone() else {
            return self.citizen_gone(now, Party::Network);
        };
        self.push(Command::Say { leg, prompt: PromptId::from(Self::APOLOGY) });
        self.push(Command::DialCitizen { leg: recall });
        self.stage = Stage::Recalling { agent, leg, queue, recall, until: now + Self::RECALL };
    }

    /// The agent hears them at once, they hear first whose call this is.
    fn greet(&mut self, now: Moment, partner: Partner) {
        if self.is_unreached() {
            self.answered = true;
            self.push(Command::CallbackAttempted { end: AttemptEnd::Reached });
            self.fact(Fact::CallAnswered { call: self.call });
        }
        self.talk_with(partner);
        let prompt = PromptId::from(if self.recording { Self::NOTICE } else { Self::GREETING });
        self.push(Command::Say { leg: self.citizen, prompt });
        self.out = Some(Out::Greeting { until: now + Self::LONGEST_GREETING });
    }

    fn citizen_is_back(&mut self, now: Moment, partner: Partner, leg: LegId) {
        self.citizen = leg;
        self.citizen_holds = false;
        if matches!(self.out, Some(Out::Unreached { .. } | Out::Greeting { .. })) {
            return self.greet(now, partner);
        }
        let held = self.partner_holds;
        self.talk_with(partner);
        self.partner_holds = held;
        if held {
            self.push(Command::Music { leg });
        }
        if self.recording {
            self.push(Command::Record { leg });
            if self.paused || !self.may_record {
                self.push(Command::PauseRecord { leg, paused: true });
            }
        }
    }

    // ---- what other legs do ----

    fn ringing(&mut self, leg: LegId, early_media: bool) {
        if let Stage::Routing { step, heard, back, .. } = &mut self.stage
            && step.leg == leg
            && early_media
            && *heard == Heard::Ringback
        {
            *heard = Heard::EarlyMedia;
            if *back == Back::Robot {
                self.push(Command::RobotQuiet);
            }
            self.push(Command::Bridge { a: self.citizen, b: leg });
        }
        if let (Stage::Recalling { leg: partner, recall, .. }, Some(Out::Unreached { rings, .. })) = (&self.stage, self.out)
            && *recall == leg
        {
            self.out = Some(Out::Unreached { rang: true, rings });
            if early_media {
                // What the network says to us (switched off, changed) tells the agent more than a tone of ours.
                let partner = *partner;
                self.push(Command::Bridge { a: leg, b: partner });
            }
        }
    }

    fn leg_answered(&mut self, now: Moment, leg: LegId) {
        if let Some(ring) = self.take_ring(|ring| ring.leg == leg) {
            return self.agent_answered(now, ring);
        }
        match self.stage.clone() {
            Stage::Routing { step, back, .. } if step.leg == leg => {
                if back == Back::Robot {
                    self.push(Command::RobotDone);
                }
                self.fact(Fact::RouteEnded { call: self.call, leg, end: RouteEnd::Answered });
                self.talk_with(Partner::Outside { leg });
            }
            Stage::Recalling { agent, leg: partner, queue, recall, .. } if recall == leg => {
                self.citizen_is_back(now, Partner::Agent { agent, leg: partner, queue }, leg);
            }
            // Told twice.
            Stage::Talking { partner } if partner.leg() == leg || self.citizen == leg => {}
            Stage::Recalling { leg: partner, .. } if partner == leg => {}
            // An answer that crossed our withdrawal.
            Stage::Robot
            | Stage::Waiting { .. }
            | Stage::Talking { .. }
            | Stage::Routing { .. }
            | Stage::Recalling { .. }
            | Stage::Over => self.hang_up(leg),
        }
    }

    /// Who answers first has the citizen, or calls them back; the other phones are told that it was not for want of them.
    fn agent_answered(&mut self, now: Moment, ring: Ring) {
        let Stage::Waiting { queue, rings, robot, .. } = &mut self.stage else { return };
        let (queue, others, robot) = (queue.clone(), std::mem::take(rings), *robot);
        let Ring { offer, leg, agent } = ring;
        if robot {
            self.push(Command::RobotDone);
        }
        self.push(Command::OfferAnswered { offer });
        for other in others {
            self.push(Command::HangUp { leg: other.leg, elsewhere: true });
        }
        if let Some(Out::Unreached { rings, .. }) = self.out {
            self.push(Command::Ringback { leg });
            self.push(Command::DialCitizen { leg: self.citizen });
            let recall = self.citizen;
            self.stage = Stage::Recalling { agent, leg, queue, recall, until: now + rings };
        } else {
            self.talk_with(Partner::Agent { agent, leg, queue });
        }
    }

    /// Both hear each other, or music where one of them holds.
    fn heard_by_both(&mut self, partner: LegId) {
        match (self.citizen_holds, self.partner_holds) {
            (false, false) => self.push(Command::Bridge { a: self.citizen, b: partner }),
            (true, _) => self.push(Command::Music { leg: partner }),
            (false, true) => self.push(Command::Music { leg: self.citizen }),
        }
    }

    fn talk_with(&mut self, partner: Partner) {
        self.push(Command::Bridge { a: self.citizen, b: partner.leg() });
        if self.citizen_holds {
            self.push(Command::Music { leg: partner.leg() });
        }
        (self.cut_before, self.partner_holds) = (false, false);
        self.stage = Stage::Talking { partner };
    }

    fn leg_refused(&mut self, now: Moment, leg: LegId, status: u16) {
        if let Some(ring) = self.take_ring(|ring| ring.leg == leg) {
            self.push(Command::OfferMissed { offer: ring.offer, reason: miss_reason(status) });
        } else if self.is_route_leg(leg) {
            self.route_ended(now, leg, route_end(status));
        } else if matches!(self.stage, Stage::Recalling { recall, .. } if recall == leg) {
            let rang = matches!(self.out, Some(Out::Unreached { rang: true, .. }));
            self.citizen_unreached(now, attempt_end(status, rang));
        }
    }

    /// Another leg than the citizen's is gone, by BYE or (`lost`) without a word.
    fn other_gone(&mut self, now: Moment, leg: LegId, lost: bool) {
        match self.stage.clone() {
            Stage::Waiting { rings, .. } if rings.iter().any(|ring| ring.leg == leg) => self.leg_refused(now, leg, 503),
            Stage::Routing { step, .. } if step.leg == leg => self.route_ended(now, leg, RouteEnd::Failed),
            Stage::Talking { partner: Partner::Agent { agent, leg: partner, queue } } if partner == leg => {
                let by = if lost { Party::Network } else { Party::Agent };
                self.push(Command::AgentFreed { agent, by });
                if lost {
                    self.hang_up(leg);
                    self.end_pause();
                    self.cut_before = true;
                    self.queue_again(now, queue);
                } else {
                    self.hang_up(self.citizen);
                    self.over(now, Outcome::Served);
                }
            }
            Stage::Talking { partner: Partner::Outside { leg: partner } } if partner == leg => {
                if lost {
                    self.hang_up(leg);
                }
                self.hang_up(self.citizen);
                self.over(now, if lost { Outcome::Cut } else { Outcome::TransferredOut });
            }
            Stage::Recalling { leg: partner, .. } if leg == partner => self.citizen_unreached(now, AttemptEnd::AgentLeft),
            Stage::Recalling { recall, .. } if leg == recall => self.citizen_unreached(now, AttemptEnd::Failed),
            Stage::Robot
            | Stage::Waiting { .. }
            | Stage::Talking { .. }
            | Stage::Routing { .. }
            | Stage::Recalling { .. }
            | Stage::Over => {}
        }
    }

    /// Who is held hears music. Who comes back while the other still holds goes on hearing it.
    fn held(&mut self, leg: LegId, held: bool) {
        let partner = match &self.stage {
            Stage::Talking { partner } => Some(partner.leg()),
            Stage::Robot | Stage::Waiting { .. } | Stage::Routing { .. } | Stage::Recalling { .. } | Stage::Over => None,
        };
        let other = if leg == self.citizen {
            self.citizen_holds = held;
            partner
        } else if Some(leg) == partner {
            self.partner_holds = held;
            Some(self.citizen)
        } else {
            None
        };
        let (Some(partner), Some(other)) = (partner, other) else { return };
        if matches!(self.out, Some(Out::Greeting { .. })) && other == self.citizen {
            // Who is greeted hears that to its end.
            return;
        }
        if held {
            self.push(Command::Music { leg: other });
        } else if !self.citizen_holds && !self.partner_holds {
            self.push(Command::Bridge { a: self.citizen, b: partner });
        }
    }

    // ---- out of the house ----

    fn transfer_wanted(&mut self, now: Moment, route: RouteId, steps: Vec<RouteStep>) {
        match self.stage.clone() {
            Stage::Robot => {}
            // Nobody could take the citizen back if the route does not answer; the callback task will.
            Stage::Waiting { robot: false, .. } => return self.stop(now),
            Stage::Waiting { rings, .. } => {
                self.push(Command::CallerLeft { why: QueueLeft::Transferred });
                self.stop_ringing(rings);
            }
            Stage::Talking { .. } | Stage::Routing { .. } | Stage::Recalling { .. } | Stage::Over => return,
        }
        self.try_route(now, route, steps.into(), Back::Robot, RouteEnd::Failed);
    }

    fn agent_transfers(&mut self, now: Moment, route: RouteId, steps: Vec<RouteStep>) {
        if let Stage::Talking { partner: Partner::Agent { agent, leg, queue } } = self.stage.clone() {
            self.hang_up(leg);
            self.push(Command::AgentFreed { agent, by: Party::Agent });
            self.end_pause();
            self.push(Command::Ringback { leg: self.citizen });
            self.try_route(now, route, steps.into(), Back::Queue(queue), RouteEnd::Failed);
        }
    }

    /// To another queue of the house, where the citizen comes first.
    fn agent_hands_on(&mut self, now: Moment, queue: QueueId, recorded: bool) {
        if let Stage::Talking { partner: Partner::Agent { agent, leg, .. } } = self.stage.clone() {
            self.hang_up(leg);
            self.push(Command::AgentFreed { agent, by: Party::Agent });
            self.paused = false;
            self.records_if(recorded);
            self.stage = Stage::Waiting { since: now, queue: queue.clone(), rings: Vec::new(), robot: false };
            self.push(Command::Music { leg: self.citizen });
            self.push(Command::QueueAgain { queue });
        }
    }

    fn is_route_leg(&self, leg: LegId) -> bool {
        matches!(&self.stage, Stage::Routing { step, .. } if step.leg == leg)
    }

    fn route_ended(&mut self, now: Moment, leg: LegId, end: RouteEnd) {
        if let Stage::Routing { route, rest, back, heard, .. } = self.stage.clone() {
            self.fact(Fact::RouteEnded { call: self.call, leg, end });
            if heard == Heard::EarlyMedia && !rest.is_empty() {
                self.push(Command::Ringback { leg: self.citizen });
            }
            self.try_route(now, route, rest, back, end);
        }
    }

    /// The next step of the route; with none left the citizen goes back to where an operator can be had.
    fn try_route(&mut self, now: Moment, route: RouteId, mut steps: VecDeque<RouteStep>, back: Back, last: RouteEnd) {
        if let Some(step) = steps.pop_front() {
            self.push(Command::DialRoute { leg: step.leg, trunk: step.trunk.clone(), number: step.number.clone() });
            self.fact(Fact::RouteTried { call: self.call, route: route.clone(), trunk: step.trunk.clone(), leg: step.leg });
            let until = now + step.ring;
            self.stage = Stage::Routing { route, step, until, rest: steps, back, heard: Heard::Ringback };
            return;
        }
        match back {
            Back::Robot => {
                self.stage = Stage::Robot;
                self.push(Command::RouteFailed { route, end: last });
            }
            Back::Queue(queue) => self.queue_again(now, queue),
        }
    }

    // ---- small words ----

    fn stop_ringing(&mut self, rings: Vec<Ring>) {
        for ring in rings {
            self.hang_up(ring.leg);
        }
    }

    fn push(&mut self, command: Command) {
        self.commands.push_back(command);
    }
    fn fact(&mut self, fact: Fact) {
        self.push(Command::Fact(fact));
    }
    fn hang_up(&mut self, leg: LegId) {
        self.push(Command::HangUp { leg, elsewhere: false });
    }
}

/// What a refused offer says about the agent (RFC 3261 §21.4–21.6).
fn miss_reason(status: u16) -> MissReason {
    match status {
        486 | 600 => MissReason::Busy,
        480 | 603 | 403 | 606 => MissReason::Rejected,
        404 | 410 | 604 => MissReason::Unregistered,
        487 => MissReason::NoAnswer,
        _ => MissReason::Unreachable,
    }
}

fn route_end(status: u16) -> RouteEnd {
    match status {
        486 | 600 | 603 => RouteEnd::Busy,
        480 | 487 | 408 => RouteEnd::NoAnswer,
        _ => RouteEnd::Failed,
    }
}

/// What a refusal says about an attempt to call a citizen (RFC 3261 §21). Without a ring before it, a failure of servers is our trunk's,
/// and so is silence (408 is our own word for it).
fn attempt_end(status: u16, rang: bool) -> AttemptEnd {
    match status {
        486 | 600 | 603 => AttemptEnd::Busy,
        480 | 487 => AttemptEnd::NoAnswer,
        408 | 500..=599 if rang => AttemptEnd::NoAnswer,
        401 | 403 | 407 | 408 | 500..=599 => AttemptEnd::TrunkFailed,
        _ => AttemptEnd::Failed,
    }
}

/// How a call is refused that we end without having answered it.
fn refusal_status(outcome: Outcome) -> u16 {
    match outcome {
        Outcome::Announced => 410,
        Outcome::Closed => 480,
        Outcome::Blocked => 486,
        Outcome::Served
        | Outcome::SelfServed
        | Outcome::TransferredOut
        | Outcome::CallbackBooked
        | Outcome::Cancelled
        | Outcome::AbandonedInMenu
        | Outcome::AbandonedInQueue
        | Outcome::Failed
        | Outcome::Cut => 503,
    }
}

#[cfg(test)]
mod random_walk;
#[cfg(test)]
mod scenarios;
