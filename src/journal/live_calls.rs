//! Which calls the journal still holds for live: what the conductor finds, and closes, after the engine died.

use crate::clock::Moment;
use crate::facts::{Fact, Outcome, Party, RouteEnd, Stamped};
use crate::ids::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A fold of the facts: every call that has entered and not ended, in order of arrival.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LiveCalls {
    calls: BTreeMap<CallId, LiveCall>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveCall {
    pub region: RegionId,
    pub trunk: TrunkId,
    pub dialled: String,
    pub person: Option<PersonId>,
    pub entered: Moment,
    pub answered: bool,
    pub theme: Option<String>,
    pub stage: Stage,
    pub since: Moment,
    /// The file that is being recorded.
    pub recording: Option<String>,
    /// The booking core is due to have the case, or has it.
    pub handed_off: bool,
    talked: bool,
    /// It goes out, for this task.
    pub callback: Option<TaskId>,
    /// With which priority and urgency the citizen came to a queue last.
    pub rank: (u8, bool),
}

/// Where a call stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Stage {
    Robot,
    Waiting {
        queue: QueueId,
    },
    Talking {
        agent: AgentId,
        queue: QueueId,
    },
    /// The talk is over; the call has not ended yet.
    Talked {
        by: Party,
    },
    /// A route out of the house rings.
    Dialling {
        route: RouteId,
        leg: LegId,
    },
    /// Connected with somebody out of the house.
    Transferred {
        route: RouteId,
    },
}

impl LiveCall {
    fn new(at: Moment, region: RegionId, trunk: &TrunkId, dialled: &str, person: Option<PersonId>) -> Self {
        Self {
            region,
            trunk: trunk.clone(),
            dialled: dialled.to_owned(),
            person,
            entered: at,
            answered: false,
            theme: None,
            stage: Stage::Robot,
            since: at,
            recording: None,
            handed_off: false,
            talked: false,
            callback: None,
            rank: (0, false),
        }
    }

    /// How the call ends if the engine died now: whoever was in a talk was cut off, everybody else met a failure of ours (nobody
    /// abandoned anything); a talk that was over is served.
    pub fn outcome_if_lost(&self) -> Outcome {
        match &self.stage {
            // A call out that reached nobody; its task remembers.
            _ if self.callback.is_some() && !self.talked => Outcome::Cancelled,
            Stage::Talking { .. } | Stage::Transferred { .. } => Outcome::Cut,
            Stage::Talked { by: Party::Citizen | Party::Agent } => Outcome::Served,
            Stage::Talked { by: Party::Engine | Party::Network } => Outcome::Cut,
            Stage::Robot | Stage::Waiting { .. } | Stage::Dialling { .. } if self.talked => Outcome::Cut,
            Stage::Robot | Stage::Waiting { .. } | Stage::Dialling { .. } => Outcome::Failed,
        }
    }
}

impl LiveCalls {
    pub fn iter(&self) -> impl Iterator<Item = (CallId, &LiveCall)> {
        self.calls.iter().map(|(&call, live)| (call, live))
    }

    pub fn get(&self, call: CallId) -> Option<&LiveCall> {
        self.calls.get(&call)
    }

    pub fn len(&self) -> usize {
        self.calls.len()
    }

    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    pub fn apply(&mut self, stamped: &Stamped) {
        let at = stamped.at;
        match &stamped.fact {
            Fact::CallEntered { call, region, trunk, dialled, person } => {
                let new = LiveCall::new(at, *region, trunk, dialled, *person);
                self.calls.entry(*call).or_insert(new);
            }
            Fact::CallbackBegan { task, call, region, trunk, dialled, person } => {
                let new = LiveCall::new(at, *region, trunk, dialled, Some(*person));
                self.calls.entry(*call).or_insert(LiveCall { callback: Some(*task), handed_off: true, ..new });
            }
            Fact::CallAnswered { call } => self.change(*call, |live| live.answered = true),
            Fact::RobotAtNode { call, .. } => self.stage(*call, at, Stage::Robot),
            Fact::ThemeChosen { call, theme } => self.change(*call, |live| live.theme = Some(theme.clone())),
            Fact::QueueEntered { call, queue, priority, urgent } => {
                self.stage(*call, at, Stage::Waiting { queue: queue.clone() });
                self.change(*call, |live| live.rank = (*priority, *urgent));
            }
            Fact::QueueLeft { call, .. } => self.stage(*call, at, Stage::Robot),
            Fact::TalkStarted { call, agent, queue } => {
                self.stage(*call, at, Stage::Talking { agent: agent.clone(), queue: queue.clone() });
                self.change(*call, |live| live.talked = true);
            }
            Fact::TalkEnded { call, by, .. } => self.stage(*call, at, Stage::Talked { by: *by }),
            Fact::RouteTried { call, route, leg, .. } => {
                self.stage(*call, at, Stage::Dialling { route: route.clone(), leg: *leg });
            }
            Fact::RouteEnded { call, leg, end } => self.route_ended(*call, *leg, *end, at),
            Fact::HandoffRequested { call, .. } => self.change(*call, |live| live.handed_off = true),
            Fact::RecordingStarted { call, file } => self.change(*call, |live| live.recording = Some(file.clone())),
            Fact::RecordingEnded { call, .. } | Fact::RecordingFailed { call, .. } => {
                self.change(*call, |live| live.recording = None)
            }
            Fact::CallEnded { call, .. } => {
                self.calls.remove(call);
            }
            Fact::Unreachable { .. }
            | Fact::OfferMade { .. }
            | Fact::OfferEnded { .. }
            | Fact::CallbackOpened { .. }
            | Fact::CallbackRepeated { .. }
            | Fact::CallbackTaken { .. }
            | Fact::CallbackClosed { .. }
            | Fact::AgentChanged { .. }
            | Fact::HandoffSettled { .. }
            | Fact::EngineStarted { .. }
            | Fact::EngineStopped { .. }
            | Fact::PhonesWritten { .. }
            | Fact::CallbackAttempted { .. }
            | Fact::CallbackPromised { .. }
            | Fact::TalkCoded { .. }
            | Fact::AgentOverridden { .. }
            | Fact::PersonForgotten { .. }
            | Fact::RecordingPacked { .. }
            | Fact::RecordingArchived { .. }
            | Fact::RecordingNotArchived { .. }
            | Fact::RecordingDeleted { .. }
            | Fact::RecordingHeard { .. } => {}
        }
    }

    fn route_ended(&mut self, call: CallId, ended: LegId, end: RouteEnd, at: Moment) {
        let Some(live) = self.calls.get_mut(&call) else { return };
        let Stage::Dialling { route, leg } = &live.stage else { return };
        if *leg == ended {
            live.stage = match end {
                RouteEnd::Answered => Stage::Transferred { route: route.clone() },
                RouteEnd::Busy | RouteEnd::NoAnswer | RouteEnd::Failed | RouteEnd::Withdrawn => Stage::Robot,
            };
            live.since = at;
        }
    }

    fn stage(&mut self, call: CallId, at: Moment, stage: Stage) {
        self.change(call, |live| {
            // The nodes of a robot are one stage.
            if live.stage != stage {
                live.stage = stage;
                live.since = at;
            }
        });
    }

    fn change(&mut self, call: CallId, change: impl FnOnce(&mut LiveCall)) {
        if let Some(live) = self.calls.get_mut(&call) {
            change(live);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::QueueLeft;
    use uuid::Uuid;

    const CALL: CallId = CallId(Uuid::from_u128(1));
    const AGENT: &str = "op1";

    #[test]
    fn a_caller_lost_in_the_robot_or_the_queue_met_a_failure_of_ours() {
        let mut fold = entered();
        assert_eq!(outcome(&fold), Outcome::Failed);
        fold.apply(&at(2, queued()));
        assert_eq!(outcome(&fold), Outcome::Failed);
        assert_eq!(fold.get(CALL).unwrap().stage, Stage::Waiting { queue: "therapy".into() });
        fold.apply(&at(3, Fact::QueueLeft { call: CALL, queue: "therapy".into(), why: QueueLeft::WaitedTooLong }));
        assert_eq!(fold.get(CALL).unwrap().stage, Stage::Robot);
    }

    #[test]
    fn a_talk_that_was_going_on_is_cut_and_one_that_was_over_is_served() {
        let mut fold = entered();
        fold.apply(&at(2, queued()));
        fold.apply(&at(3, Fact::TalkStarted { call: CALL, agent: AGENT.into(), queue: "therapy".into() }));
        assert_eq!(outcome(&fold), Outcome::Cut);
        fold.apply(&at(9, Fact::TalkEnded { call: CALL, agent: AGENT.into(), by: Party::Citizen }));
        assert_eq!(outcome(&fold), Outcome::Served);
        fold.apply(&at(9, queued()));
        assert_eq!(outcome(&fold), Outcome::Cut, "talked before, waiting for a second agent");
    }

    #[test]
    fn an_ended_call_is_gone_whatever_comes_late() {
        let mut fold = entered();
        fold.apply(&at(5, Fact::CallEnded { call: CALL, outcome: Outcome::Served }));
        fold.apply(&at(6, queued()));
        assert_eq!(fold, LiveCalls::default());
    }

    #[test]
    fn a_citizen_connected_with_103_was_cut() {
        let mut fold = entered();
        let leg = LegId(4);
        fold.apply(&at(2, Fact::RouteTried { call: CALL, route: "103".into(), trunk: "mts".into(), leg }));
        assert_eq!(outcome(&fold), Outcome::Failed);
        fold.apply(&at(3, Fact::RouteEnded { call: CALL, leg, end: RouteEnd::Answered }));
        assert_eq!(outcome(&fold), Outcome::Cut);
    }

    fn outcome(fold: &LiveCalls) -> Outcome {
        fold.get(CALL).unwrap().outcome_if_lost()
    }
    fn entered() -> LiveCalls {
        let mut fold = LiveCalls::default();
        let fact =
            Fact::CallEntered { call: CALL, region: RegionId(22), trunk: "mts".into(), dialled: "122".into(), person: None };
        fold.apply(&at(1, fact));
        fold
    }
    fn queued() -> Fact {
        Fact::QueueEntered { call: CALL, queue: "therapy".into(), priority: 0, urgent: false }
    }
    fn at(secs: u64, fact: Fact) -> Stamped {
        Stamped { at: Moment::from_secs(secs), fact }
    }
}
