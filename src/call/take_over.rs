//! The first turn of a life: the calls of the former one go on. What its brains believe is compared with the legs that stand, and
//! what differs is told to whom it concerns; a call that cannot go on ends with the outcome it had come to and what it is owed.

use super::conductor::{Conductor, Work};
use crate::acd::{self, Acd};
use crate::facts::{AgentStateName, Fact, Outcome, Party, QueueLeft, RouteEnd};
use crate::ids::*;
use crate::ivr;
use crate::journal::live_calls::{LiveCall, Stage};
use crate::journal::{LegWord, LegWritten};
use crate::sip;
use crate::talk::{self, Talk};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the floor and the talk of a call believe differently, each named by who alone believes it.
#[derive(Debug, PartialEq)]
enum Differs {
    WaitsOnFloor(CallId),
    WaitsInTalk {
        call: CallId,
        queue: QueueId,
    },
    /// The citizen was to be dialled once an agent has accepted.
    IsCalledBackInTalk(CallId),
    RingsOnFloor {
        call: CallId,
        offer: OfferId,
        agent: AgentId,
        queue: QueueId,
    },
    RingsInTalk {
        call: CallId,
        offer: OfferId,
    },
    TalksOnFloor {
        agent: AgentId,
        call: CallId,
    },
    TalksInTalk {
        agent: AgentId,
        call: CallId,
        queue: QueueId,
    },
}

impl Conductor {
    pub(super) fn take_over(&mut self, epoch: u32) {
        let (dialogs, undone) = (std::mem::take(&mut self.dialogs), std::mem::take(&mut self.undone));
        self.record(Fact::EngineStarted { epoch, version: env!("CARGO_PKG_VERSION").to_owned() });
        self.write_again(&dialogs, undone);
        for (leg, state) in dialogs {
            if let Err(error) = self.agent.restore_leg(self.now, leg, &state) {
                tracing::error!(%leg, %error, "a dialog of the former life is lost");
            }
        }
        let stands = |call: &super::live_call::LiveCall| call.talk.legs().iter().any(|leg| self.agent.leg_stage(*leg).is_some());
        let kept: BTreeSet<CallId> = self.calls.values().filter(|call| stands(call)).map(|call| call.id).collect();
        let lost: Vec<_> = self.live.iter().filter(|(id, _)| !kept.contains(id)).map(|(id, call)| (id, call.clone())).collect();
        if !kept.is_empty() || !lost.is_empty() {
            tracing::warn!(taken_over = kept.len(), lost = lost.len(), "the engine ended with live calls");
        }
        self.think_about(Work::Acd(acd::Event::EngineStarted { epoch, kept }));
        for (id, call) in lost {
            self.forget_call(id);
            self.close(id, &call);
        }
        for call in self.calls.values_mut().filter(|call| call.callback.is_some() && call.caller.is_none()) {
            call.caller = call.person.and_then(|person| self.phones.get(&person)).cloned();
        }
        for id in std::mem::take(&mut self.afresh) {
            self.work.push_back(Work::Ivr(id, ivr::Event::Started));
        }
        self.rules_hold();
        self.compare_legs();
        self.compare_floor();
        for id in self.calls.keys().copied().collect::<Vec<_>>() {
            self.set_timer(id);
        }
    }

    /// Words of a turn that did not happen still stand behind those that did; what is true follows them before the facts grow past
    /// that turn.
    fn write_again(&mut self, dialogs: &[(LegId, Vec<u8>)], undone: BTreeSet<LegId>) {
        let (at, turn) = (self.now, self.journal.position());
        for leg in undone {
            let state = dialogs.iter().find(|(known, _)| *known == leg).map(|(_, state)| state.clone());
            self.leg_states.append(&LegWritten { at, turn, leg, word: LegWord::Signalling(state) });
            self.legs.write_again(leg);
        }
    }

    /// Every leg that a talk believes in stands, and no other.
    fn compare_legs(&mut self) {
        let believed: BTreeMap<LegId, CallId> =
            self.calls.values().flat_map(|call| call.talk.legs().into_iter().map(|leg| (leg, call.id))).collect();
        for (&leg, &call) in &believed {
            if self.agent.leg_stage(leg).is_none() && !self.legs.waits_for_media(leg) {
                let lost = self.lost(leg);
                self.work.push_back(Work::Talk(call, lost));
            }
        }
        let wanted: BTreeSet<LegId> = believed.into_keys().collect();
        let strangers: Vec<LegId> = self.agent.legs().filter(|leg| !wanted.contains(leg)).collect();
        self.acts.sip.extend(strangers.into_iter().map(|leg| sip::Command::HangUp { leg, reason: None }));
        let strangers: Vec<LegId> = self.legs.ids().filter(|leg| !wanted.contains(leg)).collect();
        for leg in strangers {
            self.legs.close(&mut self.acts, leg);
        }
    }

    /// The floor and the talks see every call alike.
    fn compare_floor(&mut self) {
        let talks: BTreeMap<CallId, &Talk> = self.calls.iter().map(|(id, call)| (*id, &call.talk)).collect();
        for differs in what_differs(&self.acd, &talks) {
            match differs {
                Differs::WaitsOnFloor(call) => {
                    self.work.push_back(Work::Acd(acd::Event::CallerLeft { call, why: QueueLeft::EngineFailed }));
                }
                Differs::WaitsInTalk { call, queue } => {
                    let (priority, urgent) = self.calls.get(&call).map(|call| call.rank).unwrap_or_default();
                    self.queue_caller(call, queue, priority, urgent);
                }
                Differs::IsCalledBackInTalk(call) => self.work.push_back(Work::Talk(call, talk::Event::CalledOff)),
                Differs::RingsInTalk { call, offer } => {
                    self.work.push_back(Work::Talk(call, talk::Event::OfferWithdrawn { offer }));
                }
                Differs::RingsOnFloor { call, offer, agent, queue } => {
                    let (leg, auto_answer) = (self.ids.leg(), self.house.auto_answer(&agent, &queue));
                    self.work.push_back(Work::Talk(call, talk::Event::OfferMade { offer, leg, agent, auto_answer }));
                }
                Differs::TalksOnFloor { agent, call } => {
                    self.work.push_back(Work::Acd(acd::Event::TalkEnded { agent, call, by: Party::Engine }));
                }
                Differs::TalksInTalk { agent, call, queue } => {
                    tracing::warn!(%call, %agent, "an agent talks whom the floor thought free");
                    let person = self.calls.get(&call).and_then(|call| call.person);
                    self.work.push_back(Work::Acd(acd::Event::AgentTalks { agent, call, queue, person }));
                }
            }
        }
    }

    /// Ends a call that cannot go on, as the facts have it: with the outcome it had come to, its hand-off, and what it is owed.
    pub(super) fn close(&mut self, id: CallId, call: &LiveCall) {
        let outcome = call.outcome_if_lost();
        if let Stage::Dialling { leg, .. } = &call.stage {
            self.record(Fact::RouteEnded { call: id, leg: *leg, end: RouteEnd::Failed });
        }
        if call.answered && !call.handed_off {
            let (handoff, region, person, theme) = (self.ids.handoff(), call.region, call.person, call.theme.clone());
            self.record(Fact::HandoffRequested { handoff, call: id, region, person, theme });
        }
        self.record(Fact::CallEnded { call: id, outcome });
        let after = self.now.since(call.since);
        let way = acd::Way { trunk: call.trunk.clone(), dialled: call.dialled.clone() };
        let queue = match &call.stage {
            Stage::Waiting { queue } | Stage::Talking { queue, .. } => Some(queue.clone()),
            Stage::Robot | Stage::Talked { .. } | Stage::Dialling { .. } | Stage::Transferred { .. } => None,
        };
        self.owe_or_settle(id, call.region, call.person, way, queue, outcome, after);
    }

    /// A brain of this call fell over: the call ends, and only it.
    pub(super) fn call_failed(&mut self, id: CallId) {
        tracing::error!(call = %id, "a fault of ours ends this call");
        self.forget_call(id);
        let legs: Vec<LegId> = self.legs.ids().filter(|leg| self.legs.call_of(*leg) == Some(id)).collect();
        for leg in legs {
            self.acts.sip.push(sip::Command::HangUp { leg, reason: None });
            self.legs.close(&mut self.acts, leg);
        }
        if let Some(call) = self.live.get(id).cloned() {
            self.close(id, &call);
        }
        self.work.push_back(Work::Acd(acd::Event::CallerLeft { call: id, why: QueueLeft::EngineFailed }));
        let talking = self.acd.agents().filter(|view| view.call == Some(id)).map(|view| view.agent);
        let freed = talking.map(|agent| Work::Acd(acd::Event::TalkEnded { agent, call: id, by: Party::Engine }));
        self.work.extend(freed.collect::<Vec<_>>());
    }

    /// Served people are owed nothing; for everybody else the acd decides by its table.
    #[allow(clippy::too_many_arguments)] // the fields of one event
    pub(super) fn owe_or_settle(
        &mut self,
        call: CallId,
        region: RegionId,
        person: Option<PersonId>,
        way: acd::Way,
        queue: Option<QueueId>,
        outcome: Outcome,
        after: Duration,
    ) {
        let told = match outcome {
            Outcome::Served | Outcome::SelfServed | Outcome::TransferredOut => {
                person.map(|person| acd::Event::PersonServed { person })
            }
            Outcome::Announced
            | Outcome::CallbackBooked
            | Outcome::Cancelled
            | Outcome::AbandonedInMenu
            | Outcome::AbandonedInQueue
            | Outcome::Blocked
            | Outcome::Closed
            | Outcome::Failed
            | Outcome::Cut => {
                let task = self.ids.task();
                Some(acd::Event::CallMissed(acd::Missed { task, call, region, queue, person, outcome, after, way, booked: None }))
            }
        };
        self.work.extend(told.map(Work::Acd));
    }
}

/// Who waits and rings call by call; then the talks that are over before those that go on, for an agent has one.
fn what_differs(acd: &Acd, talks: &BTreeMap<CallId, &Talk>) -> Vec<Differs> {
    let mut differs = Vec::new();
    for (&call, talk) in talks {
        let rings = talk.rings();
        match (talk.waits_in().cloned(), acd.stands(call)) {
            (None, None) => {}
            (None, Some(_)) => differs.push(Differs::WaitsOnFloor(call)),
            (Some(_), None) if talk.is_unreached() => differs.push(Differs::IsCalledBackInTalk(call)),
            (Some(queue), None) => differs.push(Differs::WaitsInTalk { call, queue }),
            (Some(queue), Some(offers)) => {
                let former = rings.iter().filter(|ring| offers.iter().all(|(offer, _)| offer != *ring));
                differs.extend(former.map(|offer| Differs::RingsInTalk { call, offer: *offer }));
                let missing = offers.into_iter().filter(|(offer, _)| !rings.contains(offer));
                differs.extend(missing.map(|(offer, agent)| Differs::RingsOnFloor { call, offer, agent, queue: queue.clone() }));
            }
        }
    }
    let talking = acd.agents().filter(|view| view.state == AgentStateName::Talking);
    let seen: BTreeMap<AgentId, CallId> = talking.filter_map(|view| Some((view.agent, view.call?))).collect();
    let is_over = |(agent, call): &(&AgentId, &CallId)| talks.get(call).is_none_or(|talk| !talk.talks_with(agent));
    let over = seen.iter().filter(is_over);
    differs.extend(over.map(|(agent, call)| Differs::TalksOnFloor { agent: agent.clone(), call: *call }));
    let going_on = talks.iter().filter_map(|(call, talk)| Some((*call, talk.talking_agent()?, talk.queue()?)));
    let unseen = going_on.filter(|(call, agent, _)| seen.get(*agent) != Some(call));
    differs.extend(unseen.map(|(call, agent, queue)| Differs::TalksInTalk { agent: agent.clone(), call, queue: queue.clone() }));
    differs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acd::{AgentRules, Command, QueueRules, Rules, Seek, WhileWaiting, WrapUpRules};
    use crate::clock::Moment;
    use crate::skills::Requirement;
    use crate::talk::CalledBack;

    const NOW: Moment = Moment::ZERO;

    #[test]
    fn of_one_mind_about_a_call_nothing_differs() {
        let mut life = Life::new();
        life.waits(1);
        life.talks_of(1);
        let offer = life.on_floor(acd::Event::AgentReady { agent: "a1".into() }).expect("a1 is free");
        assert_eq!(life.differs(), [Differs::RingsOnFloor { call: call(1), offer, agent: "a1".into(), queue: therapy() }]);
        life.in_talk(1, offer_made(offer, "a1"));
        assert_eq!(life.differs(), []);
        life.on_floor(acd::Event::OfferAnswered { offer });
        assert_eq!(life.differs(), [Differs::WaitsInTalk { call: call(1), queue: therapy() }, talks_on_floor("a1", 1)]);
        life.in_talk(1, talk::Event::Answered { leg: LegId(2) });
        assert_eq!(life.differs(), []);
    }

    #[test]
    fn who_waits_for_one_alone_is_named() {
        let mut life = Life::new();
        life.waits(1);
        assert_eq!(life.differs(), [], "of a call that is gone the floor is told elsewhere");
        life.talks.insert(call(1), Talk::new(call(1), LegId(1), NOW));
        assert_eq!(life.differs(), [Differs::WaitsOnFloor(call(1))]);
        life.talks_of(2);
        assert_eq!(life.differs(), [Differs::WaitsOnFloor(call(1)), Differs::WaitsInTalk { call: call(2), queue: therapy() }]);
        let how = CalledBack { recorded: false, rings: Duration::from_secs(9) };
        life.talks.insert(call(2), Talk::calling_back(call(2), LegId(1), therapy(), how, NOW));
        assert_eq!(life.differs(), [Differs::WaitsOnFloor(call(1)), Differs::IsCalledBackInTalk(call(2))]);
    }

    #[test]
    fn a_ring_of_the_talk_alone_is_named() {
        let mut life = Life::new();
        life.waits(1);
        life.talks_of(1);
        let stray = OfferId(99);
        life.in_talk(1, offer_made(stray, "a2"));
        assert_eq!(life.differs(), [Differs::RingsInTalk { call: call(1), offer: stray }]);
        let offer = life.on_floor(acd::Event::AgentReady { agent: "a1".into() }).expect("a1 is free");
        let on_floor = Differs::RingsOnFloor { call: call(1), offer, agent: "a1".into(), queue: therapy() };
        assert_eq!(life.differs(), [Differs::RingsInTalk { call: call(1), offer: stray }, on_floor]);
    }

    #[test]
    fn a_talk_of_one_alone_is_named_and_the_ended_one_first() {
        let mut life = Life::new();
        for (no, agent) in [(1, "a1"), (2, "a2")] {
            life.waits(no);
            life.talks_of(no);
            let offer = life.on_floor(acd::Event::AgentReady { agent: agent.into() }).expect("free");
            life.in_talk(no, offer_made(offer, agent));
            life.on_floor(acd::Event::OfferAnswered { offer });
            life.in_talk(no, talk::Event::Answered { leg: LegId(2) });
        }
        assert_eq!(life.differs(), []);
        // The floor believes that a1 talks in call 1; the talk of call 3 has them.
        life.talks.remove(&call(1));
        life.talks_of(3);
        life.in_talk(3, offer_made(OfferId(98), "a1"));
        life.in_talk(3, talk::Event::Answered { leg: LegId(2) });
        let goes_on = Differs::TalksInTalk { agent: "a1".into(), call: call(3), queue: therapy() };
        assert_eq!(life.differs(), [talks_on_floor("a1", 1), goes_on]);
    }

    /// A floor and the talks of its calls, each told things of its own.
    struct Life {
        acd: Acd,
        talks: BTreeMap<CallId, Talk>,
    }

    impl Life {
        fn new() -> Self {
            let queue = QueueRules {
                region: RegionId(0),
                requires: Requirement::default(),
                target: Duration::from_secs(20),
                priority: 0,
                max_waiting: 9,
                ring: Duration::from_secs(15),
                wrap_up: Duration::ZERO,
                announce: None,
                seek: Seek::default(),
                while_waiting: WhileWaiting::default(),
                after_talk: WrapUpRules::default(),
            };
            let agent = AgentRules {
                region: RegionId(0),
                skills: BTreeMap::new(),
                always_ready: false,
                misses_to_break: 0,
                reserve: false,
            };
            let agents = ["a1", "a2"].map(|user| (AgentId::from(user), agent.clone())).into();
            let rules = Rules { queues: [(therapy(), queue)].into(), agents, ..Rules::default() };
            let mut life = Self { acd: Acd::new(IdSource::new(1)), talks: BTreeMap::new() };
            life.on_floor(acd::Event::RulesChanged(Box::new(rules)));
            for agent in ["a1", "a2"] {
                life.on_floor(acd::Event::AgentReachable { agent: agent.into(), reachable: true });
            }
            life
        }

        /// Gives the offer that follows from it.
        fn on_floor(&mut self, event: acd::Event) -> Option<OfferId> {
            self.acd.handle(NOW, event);
            let commands = std::iter::from_fn(|| self.acd.poll_command());
            commands.filter_map(|command| if let Command::Offer { offer, .. } = command { Some(offer) } else { None }).last()
        }

        fn waits(&mut self, no: u128) {
            let (queue, person) = (therapy(), None);
            self.on_floor(acd::Event::CallerQueued { call: call(no), queue, person, priority: 0, urgent: false });
        }

        /// A talk that waits for an agent.
        fn talks_of(&mut self, no: u128) {
            self.talks.insert(call(no), Talk::new(call(no), LegId(1), NOW));
            self.in_talk(no, talk::Event::AnswerWanted);
            self.in_talk(no, talk::Event::Queued { queue: therapy(), recorded: false });
        }

        fn in_talk(&mut self, no: u128, event: talk::Event) {
            self.talks.get_mut(&call(no)).expect("a talk").handle(NOW, event);
        }

        fn differs(&self) -> Vec<Differs> {
            what_differs(&self.acd, &self.talks.iter().map(|(id, talk)| (*id, talk)).collect())
        }
    }

    fn offer_made(offer: OfferId, agent: &str) -> talk::Event {
        talk::Event::OfferMade { offer, leg: LegId(2), agent: agent.into(), auto_answer: false }
    }

    fn talks_on_floor(agent: &str, no: u128) -> Differs {
        Differs::TalksOnFloor { agent: agent.into(), call: call(no) }
    }

    fn call(no: u128) -> CallId {
        CallId(uuid::Uuid::from_u128(no))
    }

    fn therapy() -> QueueId {
        "therapy".into()
    }
}
