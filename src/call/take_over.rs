//! The first turn of a life: the calls of the former one go on. What its brains believe is compared with the legs that stand, and
//! what differs is told to whom it concerns; a call that cannot go on ends with the outcome it had come to and what it is owed.

use super::conductor::{Conductor, Work};
use crate::acd;
use crate::facts::{AgentStateName, Fact, Outcome, Party, QueueLeft, RouteEnd};
use crate::ids::*;
use crate::ivr;
use crate::journal::live_calls::{LiveCall, Stage};
use crate::journal::{LegWord, LegWritten};
use crate::sip;
use crate::talk;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

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
        let ids: Vec<CallId> = self.calls.keys().copied().collect();
        for id in ids {
            let Some(call) = self.calls.get(&id) else { continue };
            let (waits, rings, (priority, urgent)) = (call.talk.waits_in().cloned(), call.talk.rings(), call.rank);
            match (waits, self.acd.stands(id)) {
                (None, None) => {}
                (None, Some(_)) => {
                    self.work.push_back(Work::Acd(acd::Event::CallerLeft { call: id, why: QueueLeft::EngineFailed }));
                }
                (Some(_), None) if call.talk.is_unreached() => {
                    self.work.push_back(Work::Talk(id, talk::Event::CalledOff));
                }
                (Some(queue), None) => self.queue_caller(id, queue, priority, urgent),
                (Some(queue), Some(offers)) => {
                    for former in rings.iter().filter(|ring| offers.iter().all(|(offer, _)| offer != *ring)) {
                        self.work.push_back(Work::Talk(id, talk::Event::OfferWithdrawn { offer: *former }));
                    }
                    for (offer, agent) in offers.into_iter().filter(|(offer, _)| !rings.contains(offer)) {
                        let (leg, auto_answer) = (self.ids.leg(), self.house.auto_answer(&agent, &queue));
                        self.work.push_back(Work::Talk(id, talk::Event::OfferMade { offer, leg, agent, auto_answer }));
                    }
                }
            }
        }
        let talks = |agent: &AgentId, call: &CallId| self.calls.get(call).is_some_and(|call| call.talk.talks_with(agent));
        let idle = self.acd.agents().filter(|view| view.state == AgentStateName::Talking);
        let idle = idle.filter_map(|view| Some((view.agent, view.call?))).filter(|(agent, call)| !talks(agent, call));
        let over = idle.map(|(agent, call)| Work::Acd(acd::Event::TalkEnded { agent, call, by: Party::Engine }));
        let over: Vec<Work> = over.collect();
        let seen = |agent: &AgentId, call: CallId| {
            let view = self.acd.agent(agent);
            view.is_some_and(|view| view.state == AgentStateName::Talking && view.call == Some(call))
        };
        let talks = self.calls.values().filter_map(|call| Some((call, call.talk.talking_agent()?, call.talk.queue()?)));
        let unseen = talks.filter(|(call, agent, _)| !seen(agent, call.id)).map(|(call, agent, queue)| {
            tracing::warn!(call = %call.id, %agent, "an agent talks whom the floor thought free");
            let (agent, queue) = (agent.clone(), queue.clone());
            Work::Acd(acd::Event::AgentTalks { agent, call: call.id, queue, person: call.person })
        });
        let unseen: Vec<Work> = unseen.collect();
        self.work.extend(over.into_iter().chain(unseen));
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
