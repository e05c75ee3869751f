//! What the world says, told to whom it concerns.

use super::conductor::{Conductor, Work};
use super::legs::Way;
use super::live_call::LiveCall;
use super::request::{AgentWish, Refusal, Request};
use crate::acd;
use crate::clock::Moment;
use crate::facts::{AgentStateName, AttemptEnd, Fact, Outcome, TaskEnd};
use crate::ids::*;
use crate::ivr::{self, Ivr, Script};
use crate::journal::{Body, Heard, PersonSeen};
use crate::media::door::{MediaCommand, MediaEvent, Told};
use crate::sip::{self, Invited};
use crate::stream::Stream;
use crate::talk::{self, Talk};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

impl Conductor {
    pub(super) fn sip_says(&mut self, event: sip::Event) {
        match event {
            sip::Event::Invited(invited) => self.call_arrives(*invited),
            sip::Event::Blocked { trunk, dialled, caller, status: _ } => self.call_blocked(trunk, dialled, caller.as_ref()),
            sip::Event::Confirmed { leg } => tracing::debug!(%leg, "confirmed"),
            sip::Event::Cancelled { leg } => self.leg_over(leg, |_| talk::Event::Cancelled),
            sip::Event::Ringing { leg, early } => {
                if let Some(stream) = early {
                    self.legs.agreed_on(&mut self.acts, leg, stream);
                }
                self.tell_talk(leg, talk::Event::Ringing { leg, early_media: early.is_some() });
            }
            sip::Event::Answered { leg, stream } => {
                self.legs.agreed_on(&mut self.acts, leg, stream);
                self.tell_talk(leg, talk::Event::Answered { leg });
            }
            sip::Event::Refused { leg, status } => self.leg_over(leg, |leg| talk::Event::Refused { leg, status }),
            sip::Event::Changed { leg, stream } => self.stream_changed(leg, stream),
            sip::Event::Digit { leg, digit } => self.digit(leg, digit, Way::Signalling),
            sip::Event::HungUp { leg } => self.leg_over(leg, |leg| talk::Event::HungUp { leg }),
            sip::Event::Lost { leg } => {
                let lost = self.lost(leg);
                self.leg_over(leg, |_| lost.clone());
            }
            sip::Event::Registered { agent, reachable } => self.phone_registered(agent, reachable),
            sip::Event::FeatureCode { agent, code } => self.feature_code(agent, &code),
            sip::Event::TrunkReachable { trunk, reachable } => {
                if self.trunks.insert(trunk.clone(), reachable) != Some(reachable) {
                    tracing::info!(%trunk, reachable, "trunk");
                }
            }
        }
    }

    /// An event of media is taken in once, also if it is told again because we died over it.
    pub(super) fn media_told(&mut self, told: Told) {
        match told.event {
            MediaEvent::Attached { life, legs } => {
                tracing::info!(legs = legs.len(), "media attached");
                if life != self.heard.life {
                    self.heard = Heard { life, number: 0 };
                }
                let Self { legs: table, acts, house, .. } = self;
                table.attached(acts, legs, |local| house.shown(local));
            }
            MediaEvent::Detached => {
                tracing::error!("media is gone; it is started again");
                self.legs.detached();
            }
            event if told.number > self.heard.number => {
                self.heard.number = told.number;
                self.media_says(event);
            }
            _ => {}
        }
    }

    fn media_says(&mut self, event: MediaEvent) {
        match event {
            // Not counted, so never here.
            MediaEvent::Attached { .. } | MediaEvent::Detached => {}
            MediaEvent::Opened { leg, local } => self.legs.opened(&mut self.acts, leg, local, self.house.shown(local)),
            MediaEvent::OpenFailed { leg, why } => {
                tracing::error!(%leg, why, "no media for a leg");
                self.acts.sip.push(sip::Command::HangUp { leg, reason: None });
                let lost = self.lost(leg);
                self.tell_talk(leg, lost);
                self.legs.closed(leg);
            }
            MediaEvent::PlayEnded { leg, play } => {
                self.legs.play_ended(leg, play);
                self.tell_robot(leg, ivr::Event::PlayEnded(play));
                self.tell_talk(leg, talk::Event::Said);
            }
            MediaEvent::Digit { leg, digit } => self.digit(leg, digit, Way::Media),
            MediaEvent::Heard { leg, from: _ } => tracing::debug!(%leg, "heard"),
            MediaEvent::Silent { leg, ms: _ } => self.tell_talk(leg, talk::Event::Silent { leg }),
            MediaEvent::RecordFailed { leg, file, why } => {
                tracing::error!(%leg, file, why, "recording failed, the call goes on");
                let call = self.legs.call_of(leg);
                self.legs.recorded(leg, &file);
                if let Some(call) = call {
                    self.record(Fact::RecordingFailed { call, file, why });
                }
            }
            MediaEvent::Recorded { leg, file, ms, gaps } => {
                let call = self.legs.call_of(leg);
                self.legs.recorded(leg, &file);
                if let Some(call) = call {
                    self.record(Fact::RecordingEnded { call, file, ms, gaps });
                }
            }
            MediaEvent::Closed { leg, summary } => {
                tracing::debug!(%leg, ?summary, "leg closed");
                self.legs.closed(leg);
            }
        }
    }

    pub(super) fn people_ask(&mut self, request: Request) {
        match request {
            Request::Board(reply) => drop(reply.send(self.board())),
            Request::AgentState { agent, wish, reply } => drop(reply.send(self.agent_wish(agent, wish))),
            Request::AgentOverride { agent, order, by, why, reply } => {
                drop(reply.send(self.agent_overridden(agent, order, by, why)));
            }
            Request::Transfer { agent, route, reply } => drop(reply.send(self.agent_transfers(&agent, &route))),
            Request::HandOn { agent, queue, reply } => drop(reply.send(self.agent_hands_on(&agent, queue))),
            Request::PauseRecording { agent, paused, reply } => drop(reply.send(self.pause_recording(&agent, paused))),
            Request::TaskTaken { task, agent, reply } => drop(reply.send(self.task_taken(task, agent))),
            Request::TaskClosed { task, how, reply } => drop(reply.send(self.task_closed(task, how))),
            Request::TaskTried { task, end, reply } => drop(reply.send(self.task_tried(task, end))),
            Request::OpenCallbacks(reply) => drop(reply.send(self.callbacks())),
            Request::Reload(reply) => drop(reply.send(self.reload())),
            Request::HandoffSettled { handoff, call, result } => self.record(Fact::HandoffSettled { handoff, call, result }),
            Request::RecordingNews(fact) => self.record(fact),
            Request::StoreAt { position, people } => {
                (self.store_at, self.people_at) = (position, people);
                self.note_what_tables_owe();
                self.release_journals();
            }
            Request::HandOver => {
                tracing::info!(calls = self.calls.len(), "handing over: every call is left to the next life");
                self.handing_over = true;
            }
            Request::PersonOf { phone, reply } => drop(reply.send(self.key.person(&phone))),
            Request::PersonForgotten { person, recordings, reply } => {
                self.record(Fact::PersonForgotten { person, recordings });
                self.phones.remove(&person);
                self.release_at = Moment::ZERO;
                drop(reply.send(self.people.part().map_err(|error| Refusal::Invalid(error.to_string()))));
            }
            Request::Drain => {
                tracing::info!(calls = self.calls.len(), "draining: new calls are refused, talks may end");
                self.acts.sip.push(sip::Command::Drain);
                self.drain_until.get_or_insert(self.now + self.house.drain_limit());
            }
        }
    }

    /// What the tables have may go: who stands behind an id at once, facts when they are as old as the house keeps them. Of legs only
    /// what two snapshots have behind them goes, so one is made now.
    pub(super) fn release_journals(&mut self) {
        const EVERY: Duration = Duration::from_secs(3600);
        if self.now < self.release_at {
            return;
        }
        self.release_at = self.now + EVERY;
        self.keep_phones_of_who_is_owed();
        self.snapshot_is_due();
        let kept = self.house.config.limits.journal.as_micros();
        let older_than = Moment(self.now.0.saturating_sub(u64::try_from(kept).unwrap_or(u64::MAX)));
        let released = [
            self.people.release(self.people_at, Moment(u64::MAX)),
            self.leg_states.release(self.leg_states.position(), Moment(u64::MAX)),
            self.journal.release(self.store_at, older_than),
        ];
        for error in released.into_iter().filter_map(Result::err) {
            tracing::warn!(error = &error as &dyn std::error::Error, "old segments of a journal stay");
        }
    }

    /// Who stands behind the id of a person who is owed a call is written down again before the old word of it goes; nobody else's
    /// phone is kept.
    fn keep_phones_of_who_is_owed(&mut self) {
        let owed = self.acd.open_callbacks(None).map(|task| task.person);
        let wanted: BTreeSet<PersonId> = owed.chain(self.calls.values().filter_map(|call| call.person)).collect();
        self.phones.retain(|person, _| wanted.contains(person));
        for (person, phone) in &self.phones {
            self.people.append(&PersonSeen { at: self.now, person: *person, phone: phone.clone() });
        }
    }

    // ---- a call begins ----

    fn call_arrives(&mut self, invited: Invited) {
        let id = self.new_call_id();
        let Some(number) = self.house.number(&invited.dialled).cloned() else {
            // The number was taken away between two turns.
            self.acts.sip.push(sip::Command::Reject { leg: invited.leg, status: 404, retry_after: None });
            return;
        };
        let person = self.person_of(invited.caller.as_ref());
        self.record(Fact::CallEntered {
            call: id,
            region: number.region,
            trunk: invited.trunk.clone(),
            dialled: invited.dialled.clone(),
            person,
        });
        tracing::info!(call = %id, dialled = invited.dialled, caller = ?invited.caller, "call entered");
        self.append(Body::Began {
            call: id,
            citizen: invited.leg,
            script: number.script.id.clone(),
            version: number.script.version,
        });
        let begins = self.resumed(person, &number.script).unwrap_or(ivr::Event::Started);
        self.legs.invited(&mut self.acts, invited.leg, id, invited.network, invited.caller.clone(), invited.offer);
        let call = LiveCall {
            id,
            region: number.region,
            trunk: invited.trunk,
            dialled: invited.dialled,
            caller: invited.caller,
            person,
            citizen: invited.leg,
            talk: Talk::new(id, invited.leg, self.now),
            callback: None,
            agent_keys: String::new(),
            robot: Some(Ivr::new(id, number.script, LiveCall::FIRST_PLAY)),
            queue: None,
            rank: (0, false),
            theme: None,
            handed_off: false,
            parting: None,
            answered: false,
            recording: None,
            since: self.now,
            stage_since: self.now,
            timer: None,
        };
        self.calls.insert(id, call);
        self.work.push_back(Work::Ivr(id, begins));
        self.work.extend(person.map(|person| Work::Acd(acd::Event::PersonRings { call: id, person })));
    }

    /// Whose place is kept goes back to it, where the script has words for that.
    fn resumed(&self, person: Option<PersonId>, script: &Script) -> Option<ivr::Event> {
        let queue = self.acd.place_kept(self.now, person?).filter(|_| self.house.config.callbacks.skip_menu)?;
        Ivr::leads_back_to(script, &queue).then_some(ivr::Event::Resumed { queue })
    }

    /// A call that a limit turned away is entered too: nobody is forgotten because we were full.
    fn call_blocked(&mut self, trunk: TrunkId, dialled: String, caller: Option<&crate::pii::Phone>) {
        let call = self.new_call_id();
        let region = self.house.number(&dialled).map(|number| number.region).unwrap_or_default();
        let person = self.person_of(caller);
        let way = acd::Way { trunk: trunk.clone(), dialled: dialled.clone() };
        self.record(Fact::CallEntered { call, region, trunk, dialled, person });
        self.record(Fact::CallEnded { call, outcome: Outcome::Blocked });
        self.owe_or_settle(call, region, person, way, None, Outcome::Blocked, Duration::ZERO);
    }

    fn person_of(&mut self, caller: Option<&crate::pii::Phone>) -> Option<PersonId> {
        let phone = caller.filter(|phone| phone.is_dialable())?;
        let person = self.key.person(phone);
        self.people.append(&PersonSeen { at: self.now, person, phone: phone.clone() });
        self.phones.insert(person, phone.clone());
        Some(person)
    }

    /// UUID v7 (RFC 9562 §5.7): the engine's time and dice.
    fn new_call_id(&mut self) -> CallId {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.roll().to_be_bytes());
        random[8..].copy_from_slice(&self.roll().to_be_bytes()[..2]);
        CallId(uuid::Builder::from_unix_timestamp_millis(self.now.0 / 1000, &random).into_uuid())
    }

    // ---- legs ----

    fn tell_talk(&mut self, leg: LegId, event: talk::Event) {
        if let Some(call) = self.legs.call_of(leg) {
            self.work.push_back(Work::Talk(call, event));
        }
    }

    /// The robot hears what happens on the citizen's leg.
    fn tell_robot(&mut self, leg: LegId, event: ivr::Event) {
        if let Some(call) = self.legs.call_of(leg) {
            self.work.push_back(Work::Ivr(call, event));
        }
    }

    /// What it means to the talk that this leg is gone without a word: a citizen with a number is called back.
    pub(super) fn lost(&mut self, leg: LegId) -> talk::Event {
        let call = self.legs.call_of(leg).and_then(|call| self.calls.get(&call)).filter(|call| call.citizen == leg);
        let can_be_called = |call: &LiveCall| {
            call.answered && call.caller.as_ref().is_some_and(|phone| phone.is_dialable()) && self.house.dials_out(&call.trunk)
        };
        match call.is_some_and(can_be_called) {
            true => talk::Event::CitizenLost { recall: self.ids.leg() },
            false => talk::Event::Lost { leg },
        }
    }

    /// The far end ended the leg: its media goes, and the talk is told.
    fn leg_over(&mut self, leg: LegId, event: impl Fn(LegId) -> talk::Event) {
        self.tell_talk(leg, event(leg));
        self.legs.close(&mut self.acts, leg);
    }

    fn stream_changed(&mut self, leg: LegId, stream: Stream) {
        let held_before = self.legs.stream(leg).is_some_and(|stream| !stream.direction.sends());
        let held = !stream.direction.sends();
        self.legs.agreed_on(&mut self.acts, leg, stream);
        if held != held_before {
            self.tell_talk(leg, talk::Event::Held { leg, held });
        }
    }

    fn digit(&mut self, leg: LegId, digit: char, way: Way) {
        let Some(call) = self.legs.call_of(leg).and_then(|call| self.calls.get(&call)) else { return };
        if call.citizen == leg && self.legs.is_new_key(leg, digit, way, self.now) {
            self.tell_robot(leg, ivr::Event::Digit(digit));
        } else if call.callback.is_some() && self.legs.is_new_key(leg, digit, way, self.now) {
            self.agent_presses(call.id, digit);
        }
    }

    /// In a callback's talk the agent says by a code that it is none.
    fn agent_presses(&mut self, id: CallId, digit: char) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.agent_keys.push(digit);
        let codes = &self.house.config.codes;
        let code = codes.all().into_iter().find(|code| call.agent_keys.ends_with(code));
        if let Some(end) = code.and_then(|code| self.house.attempt_end(code)) {
            call.agent_keys.clear();
            self.work.push_back(Work::Talk(id, talk::Event::NotReached { end }));
        }
    }

    // ---- agents ----

    fn phone_registered(&mut self, agent: AgentId, reachable: bool) {
        let state = self.agent.phones_state(&agent);
        self.record(Fact::PhonesWritten { agent: agent.clone(), state });
        self.reachable_is(agent, reachable);
    }

    /// A phone that comes makes its agent ready where the house says so; one that only refreshes does not, since its agent may have
    /// gone offline beside it; nor does one of an agent whom a supervisor took off duty.
    fn reachable_is(&mut self, agent: AgentId, reachable: bool) {
        let before = self.acd.agent(&agent);
        let was_reachable = before.as_ref().is_some_and(|view| view.reachable);
        let overridden = before.is_some_and(|view| view.overridden.is_some());
        if reachable == was_reachable {
            return;
        }
        tracing::info!(%agent, reachable, "phone");
        self.work.push_back(Work::Acd(acd::Event::AgentReachable { agent: agent.clone(), reachable }));
        if reachable
            && !overridden
            && self.house.ready_on_register(&agent)
            && self.agent_state(&agent) == Some(AgentStateName::Offline)
        {
            self.work.push_back(Work::Acd(acd::Event::AgentReady { agent }));
        }
    }

    fn agent_state(&self, agent: &AgentId) -> Option<AgentStateName> {
        self.acd.agent(agent).map(|view| view.state)
    }

    fn feature_code(&mut self, agent: AgentId, code: &str) {
        if let Some(end) = self.house.attempt_end(code) {
            if let Err(refusal) = self.agent_reached_nobody(&agent, end) {
                tracing::info!(code, %refusal, "feature code refused");
            }
            return;
        }
        match self.house.feature_code(code) {
            Some(wish) => {
                if let Err(refusal) = self.agent_wish(agent, wish) {
                    tracing::info!(code, %refusal, "feature code refused");
                }
            }
            None => tracing::info!(%agent, code, "no such feature code"),
        }
    }

    fn agent_wish(&mut self, agent: AgentId, wish: AgentWish) -> Result<(), Refusal> {
        if self.acd.agent(&agent).is_none() {
            return Err(Refusal::NotFound(format!("agent {agent}")));
        }
        if let AgentWish::Break { reason } = &wish {
            self.is_reason(reason)?;
        }
        let may = match &wish {
            AgentWish::Ready | AgentWish::Break { .. } | AgentWish::Offline => {
                self.acd.may_wish(&agent).map_err(|refused| refused.to_string())
            }
            AgentWish::FinishWrapUp => self.acd.may_finish_wrap_up(&agent).map_err(|refused| refused.to_string()),
            AgentWish::ExtendWrapUp => self.acd.may_extend_wrap_up(&agent).map_err(|refused| refused.to_string()),
            AgentWish::Code { code } => self.acd.may_give_code(&agent, code).map_err(|refused| refused.to_string()),
        };
        may.map_err(Refusal::Invalid)?;
        self.work.push_back(Work::Acd(match wish {
            AgentWish::Ready => acd::Event::AgentReady { agent },
            AgentWish::Break { reason } => acd::Event::AgentOnBreak { agent, reason },
            AgentWish::Offline => acd::Event::AgentOffline { agent },
            AgentWish::FinishWrapUp => acd::Event::WrapUpDone { agent },
            AgentWish::ExtendWrapUp => acd::Event::WrapUpLonger { agent },
            AgentWish::Code { code } => acd::Event::CodeGiven { agent, code },
        }));
        Ok(())
    }

    fn is_reason(&self, reason: &str) -> Result<(), Refusal> {
        let breaks = &self.house.config.breaks;
        if breaks.is_empty() || breaks.iter().any(|known| known.reason == reason) {
            return Ok(());
        }
        let known: Vec<&str> = breaks.iter().map(|known| known.reason.as_str()).collect();
        Err(Refusal::Invalid(format!("`{reason}` is no reason for a break; reasons are: {}", known.join(", "))))
    }

    fn agent_overridden(&mut self, agent: AgentId, order: acd::Order, by: String, why: String) -> Result<(), Refusal> {
        if self.acd.agent(&agent).is_none() {
            return Err(Refusal::NotFound(format!("agent {agent}")));
        }
        if let acd::Order::Break { reason } = &order {
            self.is_reason(reason)?;
        }
        tracing::info!(%agent, by, "a supervisor's word over an agent");
        self.work.push_back(Work::Acd(acd::Event::AgentOverridden { agent, order, by, why }));
        Ok(())
    }

    fn call_of_agent(&self, agent: &AgentId) -> Result<CallId, Refusal> {
        let view = self.acd.agent(agent).ok_or_else(|| Refusal::NotFound(format!("agent {agent}")))?;
        view.call
            .filter(|_| view.state == AgentStateName::Talking)
            .ok_or_else(|| Refusal::Invalid(format!("agent {agent} is not talking with anybody")))
    }

    /// The agent heard a machine, or somebody else, in place of the citizen they were to call back.
    fn agent_reached_nobody(&mut self, agent: &AgentId, end: AttemptEnd) -> Result<(), Refusal> {
        let id = self.call_of_agent(agent)?;
        if self.calls.get(&id).is_none_or(|call| call.callback.is_none()) {
            return Err(Refusal::Invalid(format!("agent {agent} is not calling anybody back")));
        }
        self.work.push_back(Work::Talk(id, talk::Event::NotReached { end }));
        Ok(())
    }

    fn agent_transfers(&mut self, agent: &AgentId, route: &RouteId) -> Result<(), Refusal> {
        let call = self.call_of_agent(agent)?;
        let steps = self.route_steps(route);
        if steps.is_empty() {
            return Err(Refusal::NotFound(format!("route {route}")));
        }
        self.work.push_back(Work::Talk(call, talk::Event::AgentTransfers { route: route.clone(), steps }));
        Ok(())
    }

    fn agent_hands_on(&mut self, agent: &AgentId, queue: QueueId) -> Result<(), Refusal> {
        let call = self.call_of_agent(agent)?;
        if self.house.config.queue(&queue).is_none() {
            return Err(Refusal::NotFound(format!("queue {queue}")));
        }
        if !self.acd.is_open(&queue) {
            return Err(Refusal::Invalid(format!("queue {queue} is closed")));
        }
        let recorded = self.house.is_recorded(&queue);
        self.work.push_back(Work::Talk(call, talk::Event::AgentHandsOn { queue, recorded }));
        Ok(())
    }

    fn pause_recording(&mut self, agent: &AgentId, paused: bool) -> Result<(), Refusal> {
        let call = self.call_of_agent(agent)?;
        self.work.push_back(Work::Talk(call, talk::Event::RecordingPaused { paused }));
        Ok(())
    }

    // ---- callbacks ----

    fn task_taken(&mut self, task: TaskId, agent: AgentId) -> Result<(), Refusal> {
        self.work.push_back(Work::Acd(acd::Event::TaskTaken { task, agent: agent.clone() }));
        self.think();
        let open = self.acd.open_callbacks(None).find(|open| open.task == task);
        match open.ok_or_else(|| Refusal::NotFound(format!("open task {}", task.0)))?.taken_by {
            Some(taken_by) if taken_by == agent => Ok(()),
            Some(other) => Err(Refusal::Invalid(format!("agent {other} has taken it"))),
            None => Err(Refusal::Invalid(format!("agent {agent} cannot take it"))),
        }
    }

    /// While the engine itself talks with them, it is the agent's word that they are not who was to be called.
    fn task_tried(&mut self, task: TaskId, end: AttemptEnd) -> Result<(), Refusal> {
        if !self.acd.open_callbacks(None).any(|open| open.task == task) {
            return Err(Refusal::NotFound(format!("open task {}", task.0)));
        }
        let live = self.calls.values().find(|call| call.callback.is_some_and(|(of, _)| of == task)).map(|call| call.id);
        self.work.push_back(match live {
            Some(call) => Work::Talk(call, talk::Event::NotReached { end }),
            None => Work::Acd(acd::Event::TaskTried { task, end }),
        });
        Ok(())
    }

    fn task_closed(&mut self, task: TaskId, how: TaskEnd) -> Result<(), Refusal> {
        if !self.acd.open_callbacks(None).any(|open| open.task == task) {
            return Err(Refusal::NotFound(format!("open task {}", task.0)));
        }
        self.work.push_back(Work::Acd(acd::Event::TaskClosed { task, how }));
        Ok(())
    }

    // ---- rules ----

    /// The rules of the house hold from here on, and the floor knows which phones can be reached: by a registration, also one of a
    /// former life, or because they stand where they stand.
    pub(super) fn rules_hold(&mut self) {
        let rules = self.house.acd_rules(self.now, &self.clock);
        self.work.push_back(Work::Acd(acd::Event::RulesChanged(Box::new(rules))));
        self.hours_at = super::hours::next_look(&self.house, self.now, &self.clock);
        self.think();
        let agents: Vec<AgentId> = self.house.config.agents.iter().map(|agent| agent.user.clone()).collect();
        for agent in agents {
            let reachable = self.agent.is_reachable(&agent);
            self.reachable_is(agent, reachable);
        }
    }

    fn reload(&mut self) -> Result<(), Refusal> {
        let house = self.house.read_again().map_err(Refusal::Invalid)?;
        self.house = house;
        if let Err(error) = self.house.keep_scripts() {
            tracing::warn!(%error, "scripts cannot be kept");
        }
        self.acts.sip.push(sip::Command::Settings(Box::new(self.house.sip_settings())));
        self.acts.media.push(MediaCommand::ReloadPrompts);
        self.rules_hold();
        tracing::info!("configuration and scripts read again");
        Ok(())
    }

    /// The steps of a route, each with the leg that would carry it.
    pub(super) fn route_steps(&mut self, route: &RouteId) -> Vec<talk::RouteStep> {
        let steps: VecDeque<_> = self.house.route(route).into();
        steps
            .into_iter()
            .map(|step| talk::RouteStep { trunk: step.trunk, number: step.number, ring: step.ring, leg: self.ids.leg() })
            .collect()
    }
}
