//! What the brains want, done: each command becomes words for another brain, for signalling or for media.

use super::conductor::{Conductor, Work};
use super::live_call::LiveCall;
use crate::acd;
use crate::facts::{AttemptEnd, Booking, Fact, Outcome, QueueLeft};
use crate::ids::*;
use crate::ivr;
use crate::journal::Body;
use crate::sip;
use crate::talk::{self, CalledBack, Talk};
use std::time::Duration;

impl Conductor {
    pub(super) fn obey_acd(&mut self) {
        while let Some(command) = self.acd.poll_command() {
            match command {
                acd::Command::Offer { offer, call, agent, queue } => {
                    let leg = self.ids.leg();
                    let auto_answer = self.house.auto_answer(&agent, &queue);
                    self.work.push_back(Work::Talk(call, talk::Event::OfferMade { offer, leg, agent, auto_answer }));
                }
                acd::Command::Withdraw { offer, call } => {
                    self.work.push_back(Work::Talk(call, talk::Event::OfferWithdrawn { offer }));
                }
                acd::Command::Announce { call, position, wait, fewer_agents } => {
                    self.work.push_back(Work::Ivr(call, ivr::Event::Announce { position, wait, fewer_agents }));
                }
                acd::Command::Overflow { call, queue, why } => {
                    self.work.push_back(Work::Talk(call, talk::Event::Overflowed));
                    self.work.push_back(Work::Ivr(call, ivr::Event::Overflowed { queue, why }));
                }
                acd::Command::CallBack { call, task, missed, queue } => self.call_back(call, task, missed, queue),
                acd::Command::CallbackOff { call } => self.work.push_back(Work::Talk(call, talk::Event::CalledOff)),
                acd::Command::Record(fact) => self.record(fact),
                acd::Command::Say { call, prompt } => self.work.push_back(Work::Ivr(call, ivr::Event::Say { prompt })),
                acd::Command::Moved { call, queue } => self.moved(call, queue),
                acd::Command::ToRoute { call, queue, route } => {
                    let steps = self.route_steps(&route);
                    self.work.push_back(Work::Ivr(call, ivr::Event::Routed { queue }));
                    self.work.push_back(Work::Talk(call, talk::Event::TransferWanted { route, steps }));
                }
                acd::Command::PromiseCallback { call } => self.work.push_back(Work::Ivr(call, ivr::Event::PromiseCallback)),
            }
        }
    }

    pub(super) fn obey_ivr(&mut self, id: CallId) {
        loop {
            let Some(call) = self.calls.get_mut(&id) else { return };
            let citizen = call.citizen;
            let Some(command) = call.robot.as_mut().and_then(ivr::Ivr::poll_command) else { return };
            match command {
                ivr::Command::Answer => self.work.push_back(Work::Talk(id, talk::Event::AnswerWanted)),
                ivr::Command::EarlyMedia => {
                    // An INVITE without an offer leaves nowhere to send early media to (RFC 3261 §13.2.1: its offer is our 200).
                    let offered = self.legs.stream(citizen).is_some();
                    let wanted = if offered { talk::Event::EarlyMediaWanted } else { talk::Event::AnswerWanted };
                    self.work.push_back(Work::Talk(id, wanted));
                }
                ivr::Command::Record => self.work.push_back(Work::Talk(id, talk::Event::RecordingWanted)),
                ivr::Command::Play { play, prompts } => self.legs.play(&mut self.acts, citizen, play, prompts, false),
                ivr::Command::Music(prompt) => self.loop_prompt(citizen, prompt),
                ivr::Command::StopPlay => self.legs.stop_play(&mut self.acts, citizen),
                ivr::Command::AskHours { calendar } => {
                    let open = self.house.is_open(&calendar, self.now, &self.clock);
                    self.work.push_back(Work::Ivr(id, ivr::Event::Hours { open }));
                }
                ivr::Command::Enqueue { queue, priority, urgent } => self.enqueue(id, queue, priority, urgent),
                ivr::Command::Transfer { route } => {
                    let steps = self.route_steps(&route);
                    self.work.push_back(Work::Talk(id, talk::Event::TransferWanted { route, steps }));
                }
                ivr::Command::HangUp { outcome } => self.work.push_back(Work::Talk(id, talk::Event::HangUpWanted { outcome })),
                ivr::Command::LeaveQueue { why } => self.work.push_back(Work::Talk(id, talk::Event::LeavesQueue { why })),
                ivr::Command::BookCallback { queue, booking } => self.book_callback(id, queue, booking),
                ivr::Command::Fact(fact) => {
                    if let Fact::ThemeChosen { theme, .. } = &fact
                        && let Some(call) = self.calls.get_mut(&id)
                    {
                        call.theme = Some(theme.clone());
                    }
                    if let Fact::RobotAtNode { .. } = &fact {
                        self.note_parting(id);
                    }
                    self.record(fact);
                }
            }
        }
    }

    fn note_parting(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let outcome = call.robot.as_ref().and_then(ivr::Ivr::parting);
        if std::mem::replace(&mut call.parting, outcome) != outcome {
            self.work.push_back(Work::Talk(id, talk::Event::Parting { outcome }));
        }
    }

    pub(super) fn obey_talk(&mut self, id: CallId) {
        while let Some(command) = self.calls.get_mut(&id).and_then(|call| call.talk.poll_command()) {
            match command {
                talk::Command::Answer { leg } => {
                    if let Some(call) = self.calls.get_mut(&id) {
                        call.answered = true;
                    }
                    self.legs.answer(&mut self.acts, leg);
                }
                talk::Command::EarlyMedia { leg } => self.legs.early_media(&mut self.acts, leg),
                talk::Command::Reject { leg, status } => {
                    self.acts.sip.push(sip::Command::Reject { leg, status, retry_after: None });
                    self.legs.close(&mut self.acts, leg);
                }
                talk::Command::DialAgent { leg, agent, queue, auto_answer } => {
                    self.dial_agent(id, leg, agent, queue, auto_answer)
                }
                talk::Command::DialRoute { leg, trunk, number } => self.dial_route(id, leg, trunk, number),
                talk::Command::DialCitizen { leg } => self.dial_citizen(id, leg),
                talk::Command::HangUp { leg, elsewhere } => {
                    let reason = elsewhere.then_some(sip::HangUpReason::CompletedElsewhere);
                    self.acts.sip.push(sip::Command::HangUp { leg, reason });
                    self.legs.close(&mut self.acts, leg);
                }
                talk::Command::Probe { leg } => self.acts.sip.push(sip::Command::Probe { leg }),
                talk::Command::Bridge { a, b } => self.legs.bridge(&mut self.acts, a, b),
                talk::Command::Music { leg } => self.loop_prompt(leg, PromptId::from("music")),
                talk::Command::Ringback { leg } => self.loop_prompt(leg, PromptId::from("ringback")),
                talk::Command::Say { leg, prompt } => {
                    let play = self.ids.play();
                    self.legs.play(&mut self.acts, leg, play, vec![prompt], false);
                }
                talk::Command::Record { leg } => self.start_recording(id, leg),
                talk::Command::PauseRecord { leg, paused } => self.legs.pause_record(&mut self.acts, leg, paused),
                talk::Command::OfferAnswered { offer } => self.work.push_back(Work::Acd(acd::Event::OfferAnswered { offer })),
                talk::Command::OfferMissed { offer, reason } => {
                    self.work.push_back(Work::Acd(acd::Event::OfferMissed { offer, reason }));
                }
                talk::Command::CallerLeft { why } => self.work.push_back(Work::Acd(acd::Event::CallerLeft { call: id, why })),
                talk::Command::AgentFreed { agent, by } => {
                    self.work.push_back(Work::Acd(acd::Event::TalkEnded { agent, call: id, by }));
                }
                talk::Command::CallbackAttempted { end } => {
                    if let Some(call) = self.calls.get_mut(&id) {
                        call.answered |= end == AttemptEnd::Reached;
                    }
                    self.work.push_back(Work::Acd(acd::Event::CallbackAttempted { call: id, end }));
                }
                talk::Command::CallbackBooked { queue, booking } => self.callback_booked(id, queue, booking),
                talk::Command::QueueAgain { queue } => self.queue_caller(id, queue, acd::FIRST, true),
                talk::Command::RobotQuiet => self.work.push_back(Work::Ivr(id, ivr::Event::RouteHeard)),
                talk::Command::RobotDone => self.dismiss_robot(id),
                talk::Command::RouteFailed { route, end } => {
                    self.work.push_back(Work::Ivr(id, ivr::Event::RouteFailed { route, end }));
                }
                talk::Command::Fact(fact) => self.record(fact),
                talk::Command::Ended { outcome, after } => self.call_ended(id, outcome, after),
            }
        }
    }

    fn loop_prompt(&mut self, leg: LegId, prompt: PromptId) {
        let play = self.ids.play();
        self.legs.play(&mut self.acts, leg, play, vec![prompt], true);
    }

    // ---- queue ----

    fn enqueue(&mut self, id: CallId, queue: QueueId, priority: u8, urgent: bool) {
        let recorded = self.house.is_recorded(&queue);
        self.work.push_back(Work::Talk(id, talk::Event::Queued { queue: queue.clone(), recorded }));
        self.queue_caller(id, queue, priority, urgent);
    }

    fn moved(&mut self, id: CallId, queue: QueueId) {
        let recorded = self.house.is_recorded(&queue);
        if let Some(call) = self.calls.get_mut(&id) {
            call.queue = Some(queue.clone());
        }
        self.work.push_back(Work::Talk(id, talk::Event::Queued { queue: queue.clone(), recorded }));
        self.work.push_back(Work::Ivr(id, ivr::Event::Moved { queue }));
    }

    pub(super) fn queue_caller(&mut self, id: CallId, queue: QueueId, priority: u8, urgent: bool) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.queue = Some(queue.clone());
        call.rank = (priority, urgent);
        let person = call.person;
        self.work.push_back(Work::Acd(acd::Event::CallerQueued { call: id, queue, person, priority, urgent }));
        self.request_handoff(id);
    }

    /// The case exists from the moment it is understood, not from the hang-up: it is due at the booking core once a call.
    fn request_handoff(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if !std::mem::replace(&mut call.handed_off, true) {
            let (region, person, theme) = (call.region, call.person, call.theme.clone());
            let handoff = self.ids.handoff();
            self.record(Fact::HandoffRequested { handoff, call: id, region, person, theme });
        }
    }

    // ---- calls out ----

    /// Who has a number that we can dial is told by when; the talk leads them out of the queue.
    fn book_callback(&mut self, id: CallId, queue: QueueId, booking: Booking) {
        let Some(call) = self.calls.get(&id) else { return };
        let dialable = call.person.is_some_and(|person| self.phones.contains_key(&person)) && self.house.dials_out(&call.trunk);
        match self.acd.callback_promise(self.now, call.region).filter(|_| dialable) {
            Some(by) => {
                self.work.push_back(Work::Talk(id, talk::Event::CallbackBooked { queue, booking }));
                self.work.push_back(Work::Ivr(id, ivr::Event::CallbackBooked { within: by.since(self.now) }));
            }
            None => self.work.push_back(Work::Ivr(id, ivr::Event::CallbackRefused)),
        }
    }

    fn callback_booked(&mut self, id: CallId, queue: QueueId, booking: Booking) {
        let Some(call) = self.calls.get(&id) else { return };
        let (region, person, outcome) = (call.region, call.person, Outcome::CallbackBooked);
        let way = acd::Way { trunk: call.trunk.clone(), dialled: call.dialled.clone() };
        let (task, after) = (self.ids.task(), self.now.since(call.since));
        let (queue, booked) = (Some(queue), Some(booking));
        let missed = acd::Missed { task, call: id, region, queue, person, outcome, after, way, booked };
        self.work.push_back(Work::Acd(acd::Event::CallMissed(missed)));
    }

    /// The call that carries out a task, as the facts know it; its talk waits for the agent's offer, which follows.
    fn call_back(&mut self, id: CallId, task: TaskId, missed: CallId, queue: QueueId) {
        let Some(known) = self.live.get(id).cloned() else { return };
        let phone = known.person.and_then(|person| self.phones.get(&person)).cloned();
        let draining = self.drain_until.is_some();
        let Some(phone) = phone.filter(|_| self.house.dials_out(&known.trunk) && !draining) else {
            tracing::info!(%task, trunk = %known.trunk, draining, "nobody is called: no phone, a trunk without a contact, or the end");
            self.record(Fact::CallEnded { call: id, outcome: Outcome::Cancelled });
            let end = if draining { AttemptEnd::TrunkFailed } else { AttemptEnd::Failed };
            self.work.push_back(Work::Acd(acd::Event::CallbackAttempted { call: id, end }));
            return self.work.push_back(Work::Acd(acd::Event::CallerLeft { call: id, why: QueueLeft::EngineFailed }));
        };
        let citizen = self.ids.leg();
        let recorded = self.house.is_recorded(&queue);
        let rings = self.house.config.callbacks.ring;
        self.append(Body::CalledBack { call: id, citizen, queue: queue.clone(), recorded, rings });
        let talk = Talk::calling_back(id, citizen, queue, CalledBack { recorded, rings }, self.now);
        let mut call = LiveCall::revived(id, &known, Some(phone), talk, None);
        call.callback = Some((task, missed));
        tracing::info!(call = %id, %task, "a callback begins");
        self.calls.insert(id, call);
    }

    // ---- legs ----

    fn dial_agent(&mut self, id: CallId, leg: LegId, agent: AgentId, queue: QueueId, auto_answer: bool) {
        let Some(call) = self.calls.get(&id) else { return };
        let callback = call.callback.and_then(|(task, _)| self.story(task));
        // What the agent looks up of a callback is the call that was missed.
        let shown = call.callback.map_or(id, |(_, missed)| missed);
        let note = sip::DialNote { call: Some(shown), callback, queue: Some(queue), auto_answer };
        let network = self.house.network_of_agent(&agent);
        let caller = call.caller.clone();
        let citizen = call.citizen;
        tracing::info!(call = %id, %agent, "offered");
        self.legs.dial(&mut self.acts, leg, id, network, citizen, sip::Target::Agent(agent), caller, note);
    }

    /// `task17;outcome=abandoned_in_queue;missed=2;at=2026-11-25T06:20:11Z;attempt=1`
    fn story(&self, task: TaskId) -> Option<String> {
        let open = self.acd.open_callback(task)?;
        let at = jiff::Timestamp::from_microsecond(i64::try_from(open.last_missed.0).ok()?).ok()?.strftime("%Y-%m-%dT%H:%M:%SZ");
        let (outcome, missed, attempt) = (open.outcome.as_str(), open.missed, open.attempts.saturating_add(1));
        let booked = open.booked.map_or("", |booked| match booked {
            Booking::Place => ";booked=place",
            Booking::Later => ";booked=later",
        });
        Some(format!("{task};outcome={outcome};missed={missed};at={at};attempt={attempt}{booked}"))
    }

    fn dial_route(&mut self, id: CallId, leg: LegId, trunk: TrunkId, number: String) {
        let Some(call) = self.calls.get(&id) else { return };
        let note = sip::DialNote { call: Some(id), ..Default::default() };
        let network = self.house.network_of_trunk(&trunk);
        let caller = call.caller.clone();
        let citizen = call.citizen;
        tracing::info!(call = %id, %trunk, number, "route dialled");
        self.legs.dial(&mut self.acts, leg, id, network, citizen, sip::Target::Trunk { trunk, number }, caller, note);
    }

    fn dial_citizen(&mut self, id: CallId, leg: LegId) {
        let Some(call) = self.calls.get(&id) else { return };
        let Some(number) = call.caller.as_ref().map(|phone| phone.expose().to_owned()) else { return };
        let note = sip::DialNote { call: Some(id), ..Default::default() };
        let (trunk, near) = (call.trunk.clone(), call.talk.legs().into_iter().next().unwrap_or(call.citizen));
        let network = self.house.network_of_trunk(&trunk);
        tracing::info!(call = %id, %trunk, "the citizen is called back");
        self.legs.dial(&mut self.acts, leg, id, network, near, sip::Target::Trunk { trunk, number }, None, note);
    }

    fn start_recording(&mut self, id: CallId, leg: LegId) {
        let again = self.calls.get(&id).is_some_and(|call| call.recording.is_some()).then_some(leg);
        let Some(file) = self.house.recording_file(id, again, self.now) else { return };
        if let Some(call) = self.calls.get_mut(&id) {
            call.recording = Some(file.clone());
        }
        self.legs.record(&mut self.acts, leg, file.clone());
        self.record(Fact::RecordingStarted { call: id, file });
    }

    // ---- the end ----

    fn dismiss_robot(&mut self, id: CallId) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.robot = None;
        }
        self.set_timer(id);
    }

    fn call_ended(&mut self, id: CallId, outcome: Outcome, after: Duration) {
        let Some(call) = self.calls.get(&id) else { return };
        tracing::info!(call = %id, outcome = outcome.as_str(), "call ended");
        let (citizen, region, person, answered) = (call.citizen, call.region, call.person, call.answered);
        let way = acd::Way { trunk: call.trunk.clone(), dialled: call.dialled.clone() };
        let queue = call.queue.clone();
        // Every answered call is one case in the booking core, also one that ended in the menu; an old number's announcement is none.
        if answered && outcome != Outcome::Announced {
            self.request_handoff(id);
        }
        self.legs.close(&mut self.acts, citizen);
        self.owe_or_settle(id, region, person, way, queue, outcome, after);
        self.forget_call(id);
    }
}
