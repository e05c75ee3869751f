//! How a task is carried out: an agent is sought and rung, then the citizen is dialled, so often as allowed. A task waits for an agent
//! who has nobody else; one whose place was promised, or whose promise presses, competes in the order of its queue.

use super::agent::{AgentNo, Idle, State};
use super::callbacks::{Missed, Next, Place, Standing, Task, Way};
use super::deadlines::Timer;
use super::last_agent::LastAgent;
use super::matching::Choice;
use super::queue::{Caller, QueueNo, Rank, Stage};
use super::{Acd, Command};
use crate::clock::Moment;
use crate::facts::{AttemptEnd, Booking, Fact, Outcome, Party, TaskEnd};
use crate::ids::{AgentId, CallId, PersonId, QueueId, RegionId, TaskId};
use std::cmp::Reverse;
use std::time::Duration;

/// Nobody took the callback, or our trunk failed: it is looked at again after this.
const REST: Duration = Duration::from_secs(60);

/// A call out that is not to be gone on with; `began`: the engine knows of it.
struct InTheAir {
    call: CallId,
    began: bool,
    person: PersonId,
}

/// What becomes of calls that came in.
impl Acd {
    /// The person's call is in the house; how it ends says how it goes on.
    pub(super) fn person_rings(&mut self, now: Moment, call: CallId, person: PersonId) {
        self.callbacks.rings(call, person);
        let Some(&id) = self.callbacks.by_person.get(&person) else { return };
        if self.callbacks.open.get(&id).is_some_and(|task| task.taken_by.is_none()) {
            let called = self.now_stands(id, Standing::OnTheLine);
            self.call_off(now, called);
        }
    }

    pub(super) fn call_missed(&mut self, now: Moment, missed: Missed) {
        let Missed { task: new, call, region, queue, person, outcome, after, way, booked } = missed;
        // Who books a callback is still there.
        let hung_up = booked.is_none() && person.is_some_and(|person| self.callbacks.hung_up(call, person));
        let known = person.and_then(|person| self.callbacks.by_person.get(&person).copied());
        let known = known.filter(|id| self.callbacks.open.contains_key(id));
        let told_before = known.is_some_and(|id| self.callbacks.open.get(&id).is_some_and(|task| task.call == call));
        if told_before || !self.callbacks.rules.is_due(region, outcome, after) {
            if let Some(id) = known.filter(|_| hung_up) {
                self.callback_waits(now, id);
            }
            return;
        }
        let Some(person) = person else { return self.record(Fact::Unreachable { call }) };
        let id = known.unwrap_or(new);
        match self.callbacks.open.get_mut(&id) {
            Some(open) => {
                (open.call, open.missed, open.last_missed) = (call, open.missed.saturating_add(1), now);
                open.way = way;
                open.queue = queue.or(open.queue.take());
                self.record(Fact::CallbackRepeated { task: id, call, outcome });
            }
            None => {
                self.callbacks.open.insert(id, Task::new(region, person, queue, way, call, outcome, now));
                self.callbacks.by_person.insert(person, id);
                self.record(Fact::CallbackOpened { task: id, region, person, call, outcome });
            }
        }
        self.now_owed(now, id, outcome, booked);
        self.callback_waits(now, id);
    }

    /// What the person was promised, or, if nothing, what the rules want for who was missed.
    fn now_owed(&mut self, now: Moment, id: TaskId, outcome: Outcome, booked: Option<Booking>) {
        // The turn of a task depends on how its call ended.
        if matches!(self.callbacks.open.get(&id).map(|task| task.standing), Some(Standing::Due { .. })) {
            self.stand(id, Standing::Listed);
        }
        let Some(task) = self.callbacks.open.get(&id) else { return };
        let fell_out = self.callbacks.place_of(now, task.person);
        let dial = self.callbacks.rules.dial.as_ref();
        let promised = dial.filter(|rules| rules.of(task.region).dial).map(|rules| rules.promise(task.region, now));
        let Some(task) = self.callbacks.open.get_mut(&id) else { return };
        task.outcome = outcome;
        task.agent = fell_out.and_then(|place| place.cut_from).or(task.agent);
        if booked.is_some() {
            // A new promise counts its attempts anew.
            (task.booked, task.promised, task.attempts) = (booked, promised, 0);
        }
        if booked == Some(Booking::Place) {
            let place = fell_out.filter(|place| place.cut_from.is_none());
            task.entered = Some(place.map_or((now, id.0), |place| (place.entered, place.place)));
        }
        task.promised = task.promised.or(promised);
        let (call, booking, by) = (task.call, task.booked, task.promised);
        if let Some(by) = by.filter(|_| booked.is_some()) {
            self.record(Fact::CallbackPromised { task: id, call, booking, by });
        }
    }

    pub(super) fn person_served(&mut self, now: Moment, person: PersonId) {
        self.callbacks.on_the_line.remove(&person);
        self.callbacks.forget_place(person);
        if let Some(&task) = self.callbacks.by_person.get(&person) {
            self.task_closed(now, task, TaskEnd::GotThrough);
        }
    }

    /// Calls that were in the house when the engine died, but for those that go on.
    pub(super) fn lines_of_the_former_life(&mut self, now: Moment, kept: impl Fn(CallId) -> bool) {
        self.callbacks.on_the_line.retain(|_, calls| {
            calls.retain(|call| kept(*call));
            !calls.is_empty()
        });
        let waiting = |task: &Task| task.standing == Standing::OnTheLine;
        let ids: Vec<TaskId> = self.callbacks.open.iter().filter(|(_, task)| waiting(task)).map(|(id, _)| *id).collect();
        for id in ids {
            self.callback_waits(now, id);
        }
    }

    /// The place that is kept for a caller in this queue; it is theirs once.
    pub(super) fn take_place(&mut self, now: Moment, person: PersonId, queue: QueueNo) -> Option<Place> {
        let kept = self.callbacks.place_of(now, person).filter(|place| place.queue == queue);
        self.callbacks.forget_place(person);
        kept
    }

    /// The place that a person has who chose to be called at it, should they rather ring themselves.
    pub(super) fn place_of_task(&self, person: PersonId, queue: &QueueId) -> Option<(Moment, u64)> {
        let task = self.callbacks.open.get(self.callbacks.by_person.get(&person)?)?;
        task.entered.filter(|_| task.booked == Some(Booking::Place) && task.queue.as_ref() == Some(queue))
    }
}

/// What people at a screen do.
impl Acd {
    pub(super) fn task_closed(&mut self, now: Moment, id: TaskId, how: TaskEnd) {
        let called = self.now_stands(id, Standing::Listed);
        let Some(task) = self.callbacks.open.remove(&id) else { return };
        self.callbacks.by_person.remove(&task.person);
        self.record(Fact::CallbackClosed { task: id, how });
        self.call_off(now, called);
    }

    /// Who went offline keeps no task: each looks for somebody else in the same moment, when this turn is over.
    pub(super) fn tasks_are_nobodys(&mut self, now: Moment, agent: &AgentId) {
        let theirs = |task: &Task| task.taken_by.as_ref() == Some(agent);
        let ids: Vec<TaskId> = self.callbacks.open.iter().filter(|(_, task)| theirs(task)).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(task) = self.callbacks.open.get_mut(&id) else { continue };
            task.taken_by = None;
            if task.standing == Standing::Listed {
                self.stand(id, Standing::Rests { until: now });
            }
        }
    }

    /// The first operator keeps the task, so that nobody is rung by two at once; one who went offline keeps nothing.
    pub(super) fn task_taken(&mut self, now: Moment, id: TaskId, agent: AgentId) {
        let Some(task) = self.callbacks.open.get_mut(&id) else { return };
        let is_here = |agent: &AgentId| self.agents.listed(agent).is_some_and(|no| self.agents[no].state != State::Offline);
        if task.taken_by.as_ref().is_some_and(is_here) || matches!(task.standing, Standing::Called { .. }) {
            return;
        }
        task.taken_by = Some(agent.clone());
        let called = self.now_stands(id, Standing::Listed);
        self.call_off(now, called);
        self.record(Fact::CallbackTaken { task: id, agent });
    }
}

impl Acd {
    /// The task is in nobody's hand again; it counts as an attempt like those of ours.
    pub(super) fn task_tried(&mut self, now: Moment, id: TaskId, end: AttemptEnd) {
        let Some(task) = self.callbacks.open.get_mut(&id) else { return };
        if task.standing.call().is_some() {
            return;
        }
        task.taken_by = None;
        task.sought = task.sought.saturating_add(1);
        let call = CallId::of_callback(id, task.sought);
        self.attempt_ends(now, id, call, end);
    }
}

/// Where a task stands.
impl Acd {
    /// The gap or the night is over, the evening came, or the promise presses.
    pub(super) fn callback_rested(&mut self, now: Moment, id: TaskId) {
        let Some(task) = self.callbacks.open.get(&id) else { return };
        if let Standing::Waits { call, queue, .. } = task.standing
            && self.callers.get(&call).is_some_and(|caller| caller.rings())
        {
            // A phone rings for it: let it be answered.
            return self.stand(id, Standing::Waits { call, queue, until: now + REST });
        }
        self.callback_waits(now, id);
    }

    /// A task in nobody's hand stands where the rules want it, and with an agent if one is free.
    fn callback_waits(&mut self, now: Moment, id: TaskId) {
        let Some(next) = self.next_for(now, id) else { return };
        self.goes_to(now, id, next, true);
    }

    /// `None`: it is in somebody's hand.
    fn next_for(&self, now: Moment, id: TaskId) -> Option<Next> {
        let task = self.callbacks.open.get(&id)?;
        let is_free = task.taken_by.is_none() && !matches!(task.standing, Standing::Called { .. });
        is_free.then(|| self.next_by_the_rules(now, id, task))
    }

    fn next_by_the_rules(&self, now: Moment, id: TaskId, task: &Task) -> Next {
        let named = task.queue.as_ref().and_then(|queue| self.queues.listed(queue));
        // Who hung up in the menu wanted nobody in particular: the queue of the region with the most agents.
        let of_region = || {
            let queues = self.queues.by_name().filter(|(_, queue)| queue.rules.region == task.region).map(|(no, _)| no);
            queues.max_by_key(|no| (self.groups.staff(*no).on_duty, Reverse(no.index())))
        };
        let may_call = self.callbacks.may_call(now, task);
        let (Some(at), Some(queue), Some(rules)) = (may_call, named.or_else(of_region), &self.callbacks.rules.dial) else {
            return Next::Stands(Standing::Listed);
        };
        if self.callbacks.on_the_line.contains_key(&task.person) {
            return Next::Stands(Standing::OnTheLine);
        }
        if at > now {
            return Next::Stands(Standing::Rests { until: at });
        }
        // Who was called once and not reached has had the turn that was promised.
        let presses = task.promised.filter(|_| task.attempts == 0).map(|by| rules.presses(task.region, by));
        let joins = task.entered.filter(|_| task.attempts == 0);
        match joins.or_else(|| presses.filter(|at| *at <= now).map(|_| (now, id.0))) {
            Some((entered, place)) => Next::Joins { queue, until: rules.closes(task.region, now), entered, place },
            None => Next::Stands(Standing::Due { queue, until: presses }),
        }
    }

    /// `seeks`: with an agent, if one is free; else somebody will look for all who wait.
    fn goes_to(&mut self, now: Moment, id: TaskId, next: Next, seeks: bool) {
        match next {
            Next::Stands(standing) => {
                let called = self.now_stands(id, standing);
                self.call_off(now, called);
                if let (Standing::Due { queue, .. }, true) = (standing, seeks) {
                    self.seek_idle_agent(now, id, queue);
                }
            }
            Next::Joins { queue, until, entered, place } => self.joins(now, id, queue, until, (entered, place), seeks),
        }
    }

    fn seek_idle_agent(&mut self, now: Moment, id: TaskId, queue: QueueNo) {
        let Some(task) = self.callbacks.open.get(&id) else { return };
        if self.groups.staff(queue).ready <= self.agents_kept_idle(queue, 0) {
            return;
        }
        let sought = caller_of(now, task, CallId::of_callback(id, task.sought), queue, (now, id.0));
        if let Some((choice, idle)) = self.choose_agent(now, &sought) {
            self.agent_is_asked(now, id, choice.agent, idle, choice.why);
        }
    }

    /// Into the order of a queue, or on in it.
    fn joins(&mut self, now: Moment, id: TaskId, queue: QueueNo, until: Moment, entry: (Moment, u64), seeks: bool) {
        let Some(task) = self.callbacks.open.get_mut(&id) else { return };
        task.entered.get_or_insert(entry);
        if let Standing::Waits { call, queue: stands, .. } = task.standing
            && stands == queue
        {
            self.stand(id, Standing::Waits { call, queue, until });
            return self.ripen(now, call);
        }
        let called = self.now_stands(id, Standing::Listed);
        self.call_off(now, called);
        let Some(task) = self.callbacks.open.get_mut(&id) else { return };
        (task.sought, task.began) = (task.sought.saturating_add(1), false);
        let call = CallId::of_callback(id, task.sought);
        let caller = caller_of(now, task, call, queue, entry);
        self.stand(id, Standing::Waits { call, queue, until });
        self.sought(now, caller);
        match seeks {
            true => self.seek_agent(now, call),
            false => self.back_in_order(call),
        }
    }

    fn sought(&mut self, now: Moment, caller: Caller) {
        let call = caller.rank.call;
        self.queues[caller.queue].callbacks += 1;
        self.callers.insert(call, caller);
        self.ripen(now, call);
    }

    fn back_in_order(&mut self, call: CallId) {
        if let Some(caller) = self.callers.get(&call) {
            self.queues[caller.queue].waiting.insert(caller.stage, caller.rank);
        }
    }

    /// `coming`: agents who come on duty this very moment and are not counted yet.
    fn agents_kept_idle(&self, queue: QueueNo, coming: u32) -> u32 {
        let by_the_root = || ((self.groups.staff(queue).on_duty + coming) / 3).isqrt();
        self.callbacks.rules.dial.as_ref().map_or(0, |rules| rules.idle.unwrap_or_else(by_the_root))
    }

    /// Where the new rules want every task that is in nobody's hand; the free agents choose afterwards.
    pub(super) fn callbacks_follow_the_rules(&mut self, now: Moment) {
        let ids: Vec<TaskId> = self.callbacks.open.keys().copied().collect();
        for id in ids {
            if let Some(next) = self.next_for(now, id) {
                self.goes_to(now, id, next, false);
            }
        }
    }

    /// The one door to where a task stands: keeps the indices and the deadlines.
    fn stand(&mut self, id: TaskId, standing: Standing) {
        let Some(task) = self.callbacks.open.get_mut(&id) else { return };
        let (turn, before) = (task.turn(id), std::mem::replace(&mut task.standing, standing));
        if let Some(until) = before.until() {
            self.deadlines.clear(until, Timer::CallbackRested(id));
        }
        if let Standing::Due { queue, .. } = before {
            self.callbacks.due.get_mut(&queue).map(|due| due.remove(&turn));
        }
        if let Some(call) = before.call() {
            self.callbacks.called.remove(&call);
        }
        if let Some(until) = standing.until() {
            self.deadlines.set(until, Timer::CallbackRested(id));
        }
        if let Standing::Due { queue, .. } = standing {
            self.callbacks.due.entry(queue).or_default().insert(turn);
        }
        if let Some(call) = standing.call() {
            self.callbacks.called.insert(call, id);
        }
    }

    /// As [`Acd::stand`]; gives the call out that was in the air.
    fn now_stands(&mut self, id: TaskId, standing: Standing) -> Option<InTheAir> {
        let task = self.callbacks.open.get(&id)?;
        let (before, began, person) = (task.standing, task.began, task.person);
        self.stand(id, standing);
        if matches!(before, Standing::Called { reached: true, .. }) {
            // A talk goes on.
            return None;
        }
        before.call().filter(|call| standing.call() != Some(*call)).map(|call| InTheAir { call, began, person })
    }

    fn call_off(&mut self, now: Moment, called: Option<InTheAir>) {
        let Some(InTheAir { call, began, person }) = called else { return };
        if self.talks_in(call).is_some() {
            // The citizen's phone may have rung.
            self.callbacks.was_dialled(now, person);
            self.callbacks.in_vain.insert(call);
        }
        let freed = self.forget_caller(call).map(|caller| self.withdraw_offers(&caller)).unwrap_or_default();
        if began {
            self.command(Command::CallbackOff { call });
        }
        self.agents_after_withdrawal(now, freed);
    }
}

/// One attempt.
impl Acd {
    /// An agent is free and nobody waits for them: the first due task of their queues.
    pub(super) fn agent_calls_back(&mut self, now: Moment, no: AgentNo, idle: Idle) -> bool {
        loop {
            let serves = &self.groups[self.agents[no].group].serves;
            let counted = u32::from(matches!(self.agents[no].state, State::Ready { .. }));
            let coming = u32::from(!self.agents[no].state.is_on_duty());
            let enough = |queue: QueueNo| self.groups.staff(queue).ready >= self.agents_kept_idle(queue, coming) + counted;
            let at_once = serves.iter().filter(|serves| serves.from == Stage::default() && enough(serves.queue));
            let first = at_once.filter_map(|serves| self.callbacks.due.get(&serves.queue)?.first().copied()).min();
            let Some((_, id)) = first else { return false };
            match self.next_for(now, id) {
                Some(Next::Stands(Standing::Due { .. })) => {
                    self.agent_is_asked(now, id, no, idle, "nobody waits".to_owned());
                    return true;
                }
                // The evening came, or the promise presses this very moment.
                Some(next) => self.goes_to(now, id, next, false),
                None => self.stand(id, Standing::Listed),
            }
            // What joined the order of a queue may be this agent's.
            if let Some(choice) = self.choose_caller(now, no) {
                self.make_offer(now, choice, idle);
                return true;
            }
        }
    }

    /// For this task alone, and not in the order of a queue.
    fn agent_is_asked(&mut self, now: Moment, id: TaskId, agent: AgentNo, idle: Idle, why: String) {
        let Some(task) = self.callbacks.open.get_mut(&id) else { return };
        let Standing::Due { queue, .. } = task.standing else { return };
        (task.sought, task.began) = (task.sought.saturating_add(1), false);
        let (call, since) = (CallId::of_callback(id, task.sought), task.since);
        let caller = caller_of(now, task, call, queue, (now, id.0));
        self.stand(id, Standing::Called { call, reached: false });
        self.sought(now, caller);
        let why = format!("callback, owed for {} s, {why}", now.since(since).as_secs());
        self.make_offer(now, Choice { call, agent, why }, idle);
    }

    /// Before the first phone rings for it, the engine is told of the call out.
    pub(super) fn callback_is_offered(&mut self, call: CallId) {
        let Some(&id) = self.callbacks.called.get(&call) else { return };
        let Some(task) = self.callbacks.open.get_mut(&id) else { return };
        if std::mem::replace(&mut task.began, true) {
            return;
        }
        let (region, person, Way { trunk, dialled }, missed) = (task.region, task.person, task.way.clone(), task.call);
        let Some(queue) = self.callers.get(&call).map(|caller| self.queues[caller.queue].id.clone()) else { return };
        self.record(Fact::CallbackBegan { task: id, call, region, trunk, dialled, person });
        self.command(Command::CallBack { call, task: id, missed, queue });
    }

    /// Every free agent was asked in vain.
    pub(super) fn callback_found_nobody(&mut self, now: Moment, call: CallId) {
        self.forget_caller(call);
        self.callback_rests(now, call);
        self.command(Command::CallbackOff { call });
    }

    pub(super) fn callback_rests(&mut self, now: Moment, call: CallId) {
        if let Some(&id) = self.callbacks.called.get(&call) {
            self.stand(id, Standing::Rests { until: now + REST });
        }
    }

    /// The agent has accepted; the citizen is dialled.
    pub(super) fn callback_is_taken(&mut self, call: CallId) {
        if let Some(&id) = self.callbacks.called.get(&call) {
            self.stand(id, Standing::Called { call, reached: false });
        }
    }

    /// The citizen picked up, or did not; or the agent says whom they heard.
    pub(super) fn callback_attempted(&mut self, now: Moment, call: CallId, end: AttemptEnd) {
        let Some((id, task)) = self.callbacks.by_call(call) else { return };
        let reached = matches!(task.standing, Standing::Called { reached: true, .. });
        let talk = self.talks_in(call);
        if end == AttemptEnd::Reached {
            if reached || talk.is_none() {
                return;
            }
            self.callbacks.was_dialled(now, task.person);
            self.stand(id, Standing::Called { call, reached: true });
            if let Some((no, queue)) = talk {
                let (agent, queue) = (self.agents[no].id.clone(), self.queues[queue].id.clone());
                self.record(Fact::TalkStarted { call, agent, queue });
            }
            return;
        }
        if let Some((no, _)) = talk {
            if reached {
                self.record(Fact::TalkEnded { call, agent: self.agents[no].id.clone(), by: Party::Agent });
            }
            self.callbacks.in_vain.insert(call);
        }
        self.attempt_ends(now, id, call, end);
    }

    /// The agent's part in a call out is over. Says whether it was a talk.
    pub(super) fn callback_talk_ended(&mut self, now: Moment, call: CallId) -> bool {
        if self.callbacks.was_in_vain(call) {
            return false;
        }
        let Some((id, task)) = self.callbacks.by_call(call) else { return true };
        let was_talk = matches!(task.standing, Standing::Called { reached: true, .. });
        // Else the agent goes before the citizen was reached: a phone may have rung, nothing was talked about.
        self.attempt_ends(now, id, call, if was_talk { AttemptEnd::Reached } else { AttemptEnd::AgentLeft });
        was_talk
    }

    fn attempt_ends(&mut self, now: Moment, id: TaskId, call: CallId, end: AttemptEnd) {
        let Some(task) = self.callbacks.open.get_mut(&id) else { return };
        // A failure of our trunk is no call to the citizen.
        let rang = end != AttemptEnd::TrunkFailed;
        task.attempts += u32::from(rang);
        let (nth, person) = (task.attempts, task.person);
        if rang {
            self.callbacks.was_dialled(now, person);
        }
        self.record(Fact::CallbackAttempted { task: id, call, nth, end });
        self.stand(id, Standing::Rests { until: now + REST });
        let most = self.callbacks.rules.dial.as_ref().map(|rules| rules.attempts);
        match end {
            AttemptEnd::Reached => self.task_closed(now, id, TaskEnd::Reached),
            AttemptEnd::WrongNumber => self.task_closed(now, id, TaskEnd::WrongNumber),
            AttemptEnd::Busy | AttemptEnd::NoAnswer | AttemptEnd::Failed | AttemptEnd::AgentLeft | AttemptEnd::Voicemail
                if most.is_some_and(|most| nth >= most) =>
            {
                self.task_closed(now, id, TaskEnd::AttemptsEnded);
            }
            AttemptEnd::Busy | AttemptEnd::NoAnswer | AttemptEnd::Failed | AttemptEnd::AgentLeft | AttemptEnd::Voicemail => {
                self.callback_waits(now, id);
            }
            AttemptEnd::TrunkFailed => {}
        }
    }

    fn talks_in(&self, call: CallId) -> Option<(AgentNo, QueueNo)> {
        self.agents.numbers().find_map(|no| match &self.agents[no].state {
            State::Talking { call: with, queue, .. } if *with == call => Some((no, *queue)),
            State::Talking { .. } | State::WrapUp { .. } | State::OnBreak { .. } => None,
            State::Offline | State::Unreachable | State::Ready { .. } | State::Offered { .. } => None,
        })
    }
}

/// What the robot may ask.
impl Acd {
    /// By when somebody of this region would be called who books it now; `None`: nobody calls back there.
    pub fn callback_promise(&self, now: Moment, region: RegionId) -> Option<Moment> {
        let rules = self.callbacks.rules.dial.as_ref()?;
        rules.of(region).dial.then(|| rules.promise(region, now))
    }

    /// The queue in which a place is kept for this person, who fell out of it or of a talk a moment ago.
    pub fn place_kept(&self, now: Moment, person: PersonId) -> Option<QueueId> {
        let place = self.callbacks.place_of(now, person)?;
        let queue = &self.queues[place.queue];
        queue.listed.then(|| queue.id.clone())
    }
}

impl Task {
    fn new(
        region: RegionId,
        person: PersonId,
        queue: Option<QueueId>,
        way: Way,
        call: CallId,
        outcome: Outcome,
        now: Moment,
    ) -> Self {
        Self {
            region,
            person,
            queue,
            way,
            call,
            outcome,
            since: now,
            last_missed: now,
            missed: 1,
            taken_by: None,
            attempts: 0,
            sought: 0,
            began: false,
            booked: None,
            promised: None,
            entered: None,
            agent: None,
            standing: Standing::Listed,
        }
    }
}

/// An agent is sought for a callback as for a caller.
fn caller_of(now: Moment, task: &Task, call: CallId, queue: QueueNo, entry: (Moment, u64)) -> Caller {
    let (urgent, priority, overdue) = (Reverse(false), Reverse(0), Reverse(false));
    Caller {
        queue,
        rank: Rank { overdue, urgent, priority, entered: entry.0, place: entry.1, call },
        joined: now,
        offers: Vec::new(),
        missed_by: None,
        announce_at: None,
        looks_at: None,
        told: None,
        came_open: true,
        been: Vec::new(),
        said: Vec::new(),
        texts_told: 0,
        stage: Stage::default(),
        person: Some(task.person),
        is_callback: true,
        wants: task.agent.map(LastAgent::cut_off_from),
        ripens: None,
        held_until: None,
    }
}
