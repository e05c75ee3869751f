//! The words of a conversation: what happens to it, and what is to be done.

use crate::facts::{AttemptEnd, Booking, Fact, MissReason, Outcome, Party, QueueLeft, RouteEnd};
use crate::ids::*;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    // The robot's wishes.
    AnswerWanted,
    EarlyMediaWanted,
    RecordingWanted,
    /// The citizen waits for an agent of this queue from here on.
    Queued {
        queue: QueueId,
        recorded: bool,
    },
    /// Dial the steps of this route one after the other.
    TransferWanted {
        route: RouteId,
        steps: Vec<RouteStep>,
    },
    HangUpWanted {
        outcome: Outcome,
    },

    // The acd's decisions.
    /// `leg` is the id for the agent's leg.
    OfferMade {
        offer: OfferId,
        leg: LegId,
        agent: AgentId,
        auto_answer: bool,
    },
    OfferWithdrawn {
        offer: OfferId,
    },
    /// The queue could not keep the citizen; the robot goes on.
    Overflowed,

    // What legs did.
    Ringing {
        leg: LegId,
        early_media: bool,
    },
    Answered {
        leg: LegId,
    },
    Refused {
        leg: LegId,
        status: u16,
    },
    HungUp {
        leg: LegId,
    },
    /// Gone without a word, or its media could not be opened.
    Lost {
        leg: LegId,
    },
    /// The citizen's leg is gone without a word, and they can be called back; `recall` is the id for the leg that would carry it.
    CitizenLost {
        recall: LegId,
    },
    /// CANCEL: the citizen hung up before our 200.
    Cancelled,
    /// The far end put us on hold, or took us back.
    Held {
        leg: LegId,
        held: bool,
    },
    /// Nothing is heard from a leg that should be heard.
    Silent {
        leg: LegId,
    },
    /// What [`Command::Say`] said has been said.
    Said,

    // What people at a screen want.
    /// The agent hands the citizen to a route out of the house and leaves.
    AgentTransfers {
        route: RouteId,
        steps: Vec<RouteStep>,
    },
    RecordingPaused {
        paused: bool,
    },
    /// The engine has to end this call (drain limit, a failure of ours).
    Stop,
    /// The robot says goodbye with this outcome (or, `None`, no longer): it is the citizen's too who does not hear it out.
    Parting {
        outcome: Option<Outcome>,
    },
    /// Nobody is to be called back any more.
    CalledOff,
    /// The citizen chose to be called by this queue's agents and leaves it.
    CallbackBooked {
        queue: QueueId,
        booking: Booking,
    },
    /// The agent says whom they hear in place of the citizen.
    NotReached {
        end: AttemptEnd,
    },
    /// The citizen chose something else than to wait; the robot goes on.
    LeavesQueue {
        why: QueueLeft,
    },
    /// The agent hands the citizen to another queue of the house and leaves; `recorded`: its talks are.
    AgentHandsOn {
        queue: QueueId,
        recorded: bool,
    },
}

/// One try of a route. `leg` is the id for the leg that would carry it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteStep {
    pub trunk: TrunkId,
    pub number: String,
    pub ring: Duration,
    pub leg: LegId,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    // What legs are to do.
    Answer {
        leg: LegId,
    },
    EarlyMedia {
        leg: LegId,
    },
    /// Refuse a leg that is not answered yet.
    Reject {
        leg: LegId,
        status: u16,
    },
    DialAgent {
        leg: LegId,
        agent: AgentId,
        queue: QueueId,
        auto_answer: bool,
    },
    DialRoute {
        leg: LegId,
        trunk: TrunkId,
        number: String,
    },
    /// Call the citizen back, over the trunk on which they came.
    DialCitizen {
        leg: LegId,
    },
    /// `elsewhere`: somebody else took the call, so the phone need not show it as missed.
    HangUp {
        leg: LegId,
        elsewhere: bool,
    },
    /// Ask the far end whether it still lives.
    Probe {
        leg: LegId,
    },

    // Who hears what.
    Bridge {
        a: LegId,
        b: LegId,
    },
    Music {
        leg: LegId,
    },
    Ringback {
        leg: LegId,
    },
    /// Say this; [`Event::Said`] follows.
    Say {
        leg: LegId,
        prompt: PromptId,
    },
    Record {
        leg: LegId,
    },
    PauseRecord {
        leg: LegId,
        paused: bool,
    },

    // For the acd.
    OfferAnswered {
        offer: OfferId,
    },
    OfferMissed {
        offer: OfferId,
        reason: MissReason,
    },
    CallerLeft {
        why: QueueLeft,
    },
    AgentFreed {
        agent: AgentId,
        by: Party,
    },
    /// The citizen of a callback was reached or not.
    CallbackAttempted {
        end: AttemptEnd,
    },
    /// The citizen is promised a call.
    CallbackBooked {
        queue: QueueId,
        booking: Booking,
    },
    /// To the head of this queue: a talk was broken off, or a transfer failed.
    QueueAgain {
        queue: QueueId,
    },

    // For the robot.
    /// Somebody else is heard while the route rings; the robot stays for the case that nobody answers.
    RobotQuiet,
    RobotDone,
    RouteFailed {
        route: RouteId,
        end: RouteEnd,
    },

    /// Write this down.
    Fact(Fact),
    /// The call is over. `after` is how long the citizen had been with the robot or in the queue in vain.
    Ended {
        outcome: Outcome,
        after: Duration,
    },
}
