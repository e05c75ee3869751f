//! One caller's way through the queues: in, announced to, out.

use super::agent::AgentNo;
use super::callbacks::Place;
use super::deadlines::Timer;
use super::last_agent::LastAgent;
use super::queue::{Caller, Rank, Stage, Told};
use super::{Acd, Command, FIRST, WhileWaiting};
use crate::clock::Moment;
use crate::facts::{Fact, QueueLeft};
use crate::ids::{CallId, PersonId, QueueId};
use std::cmp::Reverse;
use std::time::Duration;

/// Announcements closer than this would leave no music between them; with none at all time would stand still.
const LEAST_ANNOUNCE_GAP: Duration = Duration::from_secs(1);

impl Acd {
    pub(super) fn caller_queued(
        &mut self,
        now: Moment,
        call: CallId,
        queue: QueueId,
        person: Option<PersonId>,
        priority: u8,
        urgent: bool,
    ) {
        let (urgent, priority) = (Reverse(urgent), Reverse(priority));
        let target = self.queues.listed(&queue);
        if let Some(caller) = self.callers.get_mut(&call).filter(|caller| Some(caller.queue) == target) {
            // The queue they already wait in: only the order may change, and a phone that rings goes on ringing.
            let held = caller.held_until.is_some();
            let stands = (!caller.rings() && !held).then_some(caller.rank);
            (caller.rank.urgent, caller.rank.priority) = (urgent, priority);
            if let Some(old) = stands {
                let waiting = &mut self.queues[caller.queue].waiting;
                waiting.remove(caller.stage, &old);
                waiting.insert(caller.stage, caller.rank);
            }
            if held && urgent.0 {
                self.seek_agent(now, call);
            }
            return;
        }
        let (earlier, mut freed) = self.take_out(now, call, QueueLeft::Transferred);
        self.record(Fact::QueueEntered { call, queue: queue.clone(), priority: priority.0, urgent: urgent.0 });
        match target {
            Some(no) => {
                self.places += 1;
                let rank = Rank { overdue: Reverse(false), urgent, priority, entered: now, place: self.places, call };
                let mut caller = Caller {
                    queue: no,
                    rank,
                    joined: now,
                    offers: Vec::new(),
                    missed_by: None,
                    announce_at: None,
                    looks_at: None,
                    stage: Stage::default(),
                    person,
                    is_callback: false,
                    wants: None,
                    ripens: None,
                    came_open: !self.queues[no].rules.while_waiting.closed || priority.0 == FIRST,
                    been: Vec::new(),
                    said: Vec::new(),
                    texts_told: 0,
                    told: None,
                    held_until: None,
                };
                self.demand.caller_came(now, no);
                if let Some(person) = person {
                    self.takes_the_kept_place(now, person, &mut caller);
                }
                if caller.rank.priority.0 == FIRST {
                    // Who was handed on, or whose agent vanished, goes to somebody else.
                    caller.missed_by = self.agents.numbers().find(|no| self.agents[*no].talked_last_in(call));
                }
                if let Some(earlier) = earlier {
                    // Who changes the queue keeps the time waited.
                    (caller.rank.entered, caller.rank.place) = (earlier.rank.entered, earlier.rank.place);
                    caller.missed_by = earlier.missed_by;
                    caller.wants = earlier.wants;
                    // Whichever way somebody goes round, no rule sends them round again.
                    caller.been = earlier.been;
                    caller.been.push(earlier.queue);
                }
                if self.is_let_in(now, caller) {
                    if !freed.is_empty() && self.only_who_missed_is_ready(call) {
                        let agent = freed.remove(0);
                        self.agent_goes_before_who_missed(now, call, agent);
                    }
                    self.takes_a_place(now, call);
                }
            }
            None => self.turn_away(call, queue, QueueLeft::Transferred),
        }
        self.agents_after_withdrawal(now, freed);
    }

    fn only_who_missed_is_ready(&self, call: CallId) -> bool {
        let Some(Caller { queue, stage, missed_by: Some(missed), .. }) = self.callers.get(&call) else { return false };
        !self.somebody_ready(&self.queues[*queue], *stage, Some(*missed))
    }

    /// The agent whose phone rang for this caller until now is free in a moment, and rings again rather than the phone that missed.
    fn agent_goes_before_who_missed(&mut self, now: Moment, call: CallId, agent: AgentNo) {
        if let Some(caller) = self.callers.get(&call) {
            self.queues[caller.queue].waiting.insert(caller.stage, caller.rank);
        }
        self.agent_after_withdrawal(now, agent);
    }

    /// Who fell out rings again and stands where they stood; who was cut off in mid-talk comes first, to the same agent if free.
    fn takes_the_kept_place(&mut self, now: Moment, person: PersonId, caller: &mut Caller) {
        let chosen = self.place_of_task(person, &self.queues[caller.queue].id);
        let kept = self.take_place(now, person, caller.queue);
        // They were inside already, whatever the hour.
        caller.came_open |= kept.is_some();
        match kept {
            Some(Place { cut_from: Some(agent), .. }) => {
                caller.wants = Some(LastAgent::cut_off_from(agent));
                (caller.rank.urgent, caller.rank.priority) = (Reverse(true), Reverse(u8::MAX));
            }
            Some(Place { entered, place, .. }) => (caller.rank.entered, caller.rank.place) = (entered, place),
            None => {}
        }
        caller.wants = caller.wants.or_else(|| self.last_agents.of(now, person));
        if let Some((entered, place)) = chosen.filter(|(entered, _)| *entered < caller.rank.entered) {
            (caller.rank.entered, caller.rank.place) = (entered, place);
        }
    }

    pub(super) fn enter_queue(&mut self, now: Moment, caller: Caller) {
        let call = caller.rank.call;
        if self.is_let_in(now, caller) {
            self.takes_a_place(now, call);
        }
    }

    fn takes_a_place(&mut self, now: Moment, call: CallId) {
        if self.callers.get(&call).is_some_and(|caller| !caller.rings()) {
            self.seek_agent(now, call);
        }
        self.promise(now, call);
    }

    /// Whether the queue keeps them; if not, they are sent on.
    fn is_let_in(&mut self, now: Moment, mut caller: Caller) -> bool {
        let (call, queue) = (caller.rank.call, &self.queues[caller.queue]);
        let stage = queue.stage_after(now.since(caller.rank.entered)).0;
        let closed = queue.rules.is_closed_for(&caller);
        // Who was in a talk already has been inside all the time.
        let had_a_talk = caller.rank.priority.0 == FIRST;
        if queue.is_full() && !closed && !had_a_talk {
            if !self.somebody_free(caller.queue, stage) {
                let id = queue.id.clone();
                self.turn_away(call, id, QueueLeft::Full);
                return false;
            }
            // Let in because of who is free, they wait for nobody else to come free.
            caller.wants = caller.wants.filter(|_| self.waits_for_last_agent(now, &caller).is_none());
        }
        self.callers.insert(call, caller);
        self.set_caller_deadlines(now, call);
        if closed {
            self.ask_overflow(now, call);
        }
        !closed
    }

    pub(super) fn caller_left(&mut self, now: Moment, call: CallId, why: QueueLeft) {
        let (_, freed) = self.take_out(now, call, why);
        self.agents_after_withdrawal(now, freed);
    }

    /// A free agent at once, else the old place in the queue, unless a rule leads elsewhere. For whom a phone rings, one more may.
    pub(super) fn seek_agent(&mut self, now: Moment, call: CallId) {
        self.no_longer_held(call);
        let Some(caller) = self.callers.get(&call) else { return };
        if caller.rings() {
            return self.ring_more(now, call);
        }
        if let Some((agent, until)) = self.waits_for_last_agent(now, caller) {
            self.hold_for_last_agent(call, agent, until);
            self.lent_phones_go_to_who_waits(now);
            return self.ask_overflow(now, call);
        }
        match self.choose_agent(now, caller) {
            Some((choice, idle)) => {
                if self.make_offer(now, choice, idle) {
                    self.ring_more(now, call);
                }
            }
            None if caller.is_callback && !self.callbacks.waits_in_order(call) => self.callback_found_nobody(now, call),
            None => {
                self.queues[caller.queue].waiting.insert(caller.stage, caller.rank);
                self.lent_phones_go_to_who_waits(now);
                self.ask_overflow(now, call);
            }
        }
    }

    pub(super) fn announcement_due(&mut self, now: Moment, call: CallId) {
        let Some(caller) = self.callers.get_mut(&call) else { return };
        let queue = &self.queues[caller.queue];
        caller.announce_at = queue.rules.announce.map(|(_, each)| now + each.max(LEAST_ANNOUNCE_GAP));
        if let Some(at) = caller.announce_at {
            self.deadlines.set(at, Timer::Announcement(call));
        }
        // Who hears "you are third" while a phone rings for them would be told a lie in a second.
        if !caller.rings() {
            let position = queue.position(&caller.rank);
            let WhileWaiting { place_untold, texts, .. } = &queue.rules.while_waiting;
            let (tells, text) = (!place_untold, texts.get(usize::from(caller.texts_told)).cloned());
            caller.texts_told = (caller.texts_told + 1) % u16::try_from(texts.len()).unwrap_or(u16::MAX).max(1);
            if tells {
                let (wait, fewer_agents) = self.wait_to_tell(now, call);
                self.command(Command::Announce { call, position, wait, fewer_agents });
            }
            if let Some(prompt) = text {
                self.command(Command::Say { call, prompt });
            }
        }
    }

    /// Never more than was told before, unless agents have left since; then that is said.
    fn wait_to_tell(&mut self, now: Moment, call: CallId) -> (Option<Duration>, bool) {
        let Some(caller) = self.callers.get(&call) else { return (None, false) };
        let (agents, told) = (self.groups.staff(caller.queue).on_duty, caller.told);
        let Some(rest) = self.rest_of_wait(now, call) else { return (None, false) };
        let (wait, fewer_agents) = match told {
            Some(told) if agents < told.agents => (rest, rest > told.wait),
            Some(told) => (rest.min(told.wait), false),
            None => (rest, false),
        };
        if let Some(caller) = self.callers.get_mut(&call) {
            caller.told = Some(Told { wait, agents });
        }
        (Some(wait), fewer_agents)
    }

    pub(super) fn overflow(&mut self, now: Moment, call: CallId, why: QueueLeft) {
        self.overflow_into(now, call, why, |queue| Command::Overflow { call, queue, why });
    }

    pub(super) fn overflow_into(&mut self, now: Moment, call: CallId, why: QueueLeft, way: impl FnOnce(QueueId) -> Command) {
        let (Some(caller), freed) = self.take_out(now, call, why) else { return };
        let queue = self.queues[caller.queue].id.clone();
        self.command(way(queue));
        self.agents_after_withdrawal(now, freed);
    }

    /// The wait has brought the caller to where more agents will do, or before all who entered later.
    pub(super) fn caller_ripens(&mut self, now: Moment, call: CallId) {
        self.ripen(now, call);
        self.seek_agent(now, call);
    }

    /// Stage and rank by the time waited, and the moment when they change next.
    pub(super) fn ripen(&mut self, now: Moment, call: CallId) {
        let Some(caller) = self.callers.get_mut(&call) else { return };
        let queue = &mut self.queues[caller.queue];
        let wait = now.since(caller.rank.entered);
        let stands = queue.waiting.remove(caller.stage, &caller.rank);
        let (stage, next_stage) = queue.stage_after(wait);
        caller.stage = stage;
        let overdue_in = self.overdue_after.map(|after| after.saturating_sub(wait));
        caller.rank.overdue = Reverse(overdue_in.is_some_and(|rest| rest.is_zero()));
        if stands {
            queue.waiting.insert(caller.stage, caller.rank);
        }
        if let Some(at) = caller.ripens.take() {
            self.deadlines.clear(at, Timer::Ripens(call));
        }
        let rest = next_stage.into_iter().chain(overdue_in.filter(|rest| !rest.is_zero())).min();
        if let Some(rest) = rest {
            caller.ripens = Some(now + rest);
            self.deadlines.set(now + rest, Timer::Ripens(call));
        }
    }

    fn turn_away(&mut self, call: CallId, queue: QueueId, why: QueueLeft) {
        self.record(Fact::QueueLeft { call, queue: queue.clone(), why });
        self.command(Command::Overflow { call, queue, why });
    }

    /// Out of the queue without an answer. Gives the agents whose phones rang for this caller: free again, not yet settled.
    pub(super) fn take_out(&mut self, now: Moment, call: CallId, why: QueueLeft) -> (Option<Caller>, Vec<AgentNo>) {
        let Some(caller) = self.forget_caller(call) else { return (None, Vec::new()) };
        self.estimator.left(now, call);
        if !caller.is_callback && counts_as_waited(why) {
            self.demand.wait_ended(now, caller.queue, now.since(caller.rank.entered));
        }
        let freed = self.withdraw_offers(&caller);
        if caller.is_callback {
            self.callback_rests(now, call);
            return (Some(caller), freed);
        }
        match (why, caller.person) {
            (QueueLeft::Abandoned | QueueLeft::EngineFailed, Some(person)) => self.callbacks.keep_place(now, person, &caller),
            (QueueLeft::CallbackBooked, Some(person)) => self.callbacks.keep_booked_place(now, person, &caller),
            (QueueLeft::WaitedTooLong | QueueLeft::Full | QueueLeft::Transferred, _)
            | (QueueLeft::Closed | QueueLeft::NoAgents | QueueLeft::EstimateTooLong, _)
            | (_, None) => {}
        }
        let queue = self.queues[caller.queue].id.clone();
        self.record(Fact::QueueLeft { call, queue, why });
        (Some(caller), freed)
    }

    pub(super) fn forget_caller(&mut self, call: CallId) -> Option<Caller> {
        self.no_longer_held(call);
        let caller = self.callers.remove(&call)?;
        let queue = &mut self.queues[caller.queue];
        queue.waiting.remove(caller.stage, &caller.rank);
        queue.callbacks -= u32::from(caller.is_callback);
        queue.offered -= u32::from(caller.rings());
        if let Some(at) = caller.announce_at {
            self.deadlines.clear(at, Timer::Announcement(call));
        }
        if let Some(at) = caller.looks_at {
            self.deadlines.clear(at, Timer::Overflow(call));
        }
        if let Some(at) = caller.ripens {
            self.deadlines.clear(at, Timer::Ripens(call));
        }
        Some(caller)
    }

    /// By the rules of the caller's queue, at entry and when the rules change. An announcement already planned stays.
    pub(super) fn set_caller_deadlines(&mut self, now: Moment, call: CallId) {
        self.ripen(now, call);
        let Some(caller) = self.callers.get_mut(&call) else { return };
        let rules = &self.queues[caller.queue].rules;
        let planned = caller.announce_at.take();
        if let Some(at) = planned {
            self.deadlines.clear(at, Timer::Announcement(call));
        }
        if let Some((first, _)) = rules.announce {
            let at = planned.unwrap_or(now + first);
            caller.announce_at = Some(at);
            self.deadlines.set(at, Timer::Announcement(call));
        }
    }
}

/// Whether this end of a wait says something about the queue; who goes on elsewhere, or was never taken, has not waited in vain.
fn counts_as_waited(why: QueueLeft) -> bool {
    match why {
        QueueLeft::Abandoned | QueueLeft::WaitedTooLong | QueueLeft::NoAgents | QueueLeft::EstimateTooLong => true,
        QueueLeft::Full | QueueLeft::Transferred | QueueLeft::EngineFailed | QueueLeft::Closed | QueueLeft::CallbackBooked => {
            false
        }
    }
}
