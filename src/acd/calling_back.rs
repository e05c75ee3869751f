//! How a task is carried out: an agent for whom nobody waits is sought, rung, and then the citizen is dialled, so often as allowed.

use super::agent::{AgentNo, Idle, State};
use super::callbacks::{Missed, Standing, Task, Way};
use super::deadlines::Timer;
use super::matching::Choice;
use super::queue::{Caller, QueueNo, Rank, Stage};
use super::{Acd, Command};
use crate::clock::Moment;
use crate::facts::{AttemptEnd, Fact, TaskEnd};
use crate::ids::{AgentId, CallId, PersonId, TaskId};
use std::cmp::Reverse;
use std::time::Duration;

/// Nobody took the callback, or the citizen is on the line: it is looked at again after this.
const REST: Duration = Duration::from_secs(60);

impl Acd {
    pub(super) fn call_missed(&mut self, now: Moment, missed: Missed) {
        let Missed { task, call, region, queue, person, outcome, after, way } = missed;
        if !self.callbacks.rules.is_due(region, outcome, after) {
            return;
        }
        let Some(person) = person else { return self.record(Fact::Unreachable { call }) };
        if let Some(&id) = self.callbacks.by_person.get(&person)
            && let Some(open) = self.callbacks.open.get_mut(&id)
        {
            (open.call, open.outcome, open.missed) = (call, outcome, open.missed.saturating_add(1));
            open.way = way;
            open.queue = queue.or(open.queue.take());
            self.record(Fact::CallbackRepeated { task: id, call, outcome });
            return self.callback_waits(now, id);
        }
        let (standing, taken_by) = (Standing::Listed, None);
        let (attempts, sought) = (0, 0);
        let new = Task { region, person, queue, way, call, outcome, since: now, missed: 1, taken_by, attempts, sought, standing };
        self.callbacks.open.insert(task, new);
        self.callbacks.by_person.insert(person, task);
        self.record(Fact::CallbackOpened { task, region, person, call, outcome });
        self.callback_waits(now, task);
    }

    pub(super) fn person_served(&mut self, now: Moment, person: PersonId) {
        if let Some(&task) = self.callbacks.by_person.get(&person) {
            self.task_closed(now, task, TaskEnd::GotThrough);
        }
    }

    pub(super) fn task_closed(&mut self, now: Moment, id: TaskId, how: TaskEnd) {
        let called = self.now_stands(id, Standing::Listed);
        let Some(task) = self.callbacks.open.remove(&id) else { return };
        self.callbacks.by_person.remove(&task.person);
        self.record(Fact::CallbackClosed { task: id, how });
        self.call_off(now, called);
    }

    /// The first operator keeps the task, so that nobody is rung by two at once; one who went offline keeps nothing.
    pub(super) fn task_taken(&mut self, id: TaskId, agent: AgentId) {
        let Some(task) = self.callbacks.open.get_mut(&id) else { return };
        let is_here = |agent: &AgentId| self.agents.listed(agent).is_some_and(|no| self.agents[no].state != State::Offline);
        if task.taken_by.as_ref().is_some_and(is_here) || matches!(task.standing, Standing::Called { .. }) {
            return;
        }
        task.taken_by = Some(agent.clone());
        self.place(id, Standing::Listed);
        self.record(Fact::CallbackTaken { task: id, agent });
    }

    /// Who waits for an operator is not rung meanwhile; how the wait ends says how it goes on.
    pub(super) fn person_is_on_the_line(&mut self, now: Moment, person: Option<PersonId>) {
        let Some(&id) = person.and_then(|person| self.callbacks.by_person.get(&person)) else { return };
        let Some(task) = self.callbacks.open.get(&id) else { return };
        match task.standing {
            Standing::Listed => {}
            Standing::Rests { .. } | Standing::Due { .. } => self.place(id, Standing::Rests { until: now + REST }),
            Standing::Called { .. } => {
                let called = self.now_stands(id, Standing::Rests { until: now + REST });
                self.call_off(now, called);
            }
        }
    }

    /// The gap, the night or the line of the person is over.
    pub(super) fn callback_rested(&mut self, now: Moment, id: TaskId) {
        let person = self.callbacks.open.get(&id).map(|task| task.person);
        match self.callers.values().any(|caller| person.is_some() && caller.person == person) {
            true => self.place(id, Standing::Rests { until: now + REST }),
            false => self.callback_waits(now, id),
        }
    }

    /// A task in nobody's hand stands where the rules want it, and with an agent if one is free.
    fn callback_waits(&mut self, now: Moment, id: TaskId) {
        let Some(task) = self.callbacks.open.get(&id) else { return };
        if task.taken_by.is_some() || matches!(task.standing, Standing::Called { .. }) {
            return;
        }
        let (standing, sought) = (self.standing_by_the_rules(now, task), task.sought);
        self.place(id, standing);
        if let Standing::Due { queue } = standing
            && self.groups.staff(queue).ready > self.agents_kept_idle()
            && let Some((choice, idle)) = self.choose_agent(now, &caller_of(now, id, CallId::of_callback(id, sought), queue))
        {
            self.agent_is_asked(now, id, choice.agent, idle, choice.why);
        }
    }

    fn standing_by_the_rules(&self, now: Moment, task: &Task) -> Standing {
        let named = task.queue.as_ref().and_then(|queue| self.queues.listed(queue));
        let of_region = || self.queues.by_name().find(|(_, queue)| queue.rules.region == task.region).map(|(no, _)| no);
        match (self.callbacks.may_call(now, task), named.or_else(of_region)) {
            (None, _) | (_, None) => Standing::Listed,
            (Some(at), Some(_)) if at > now => Standing::Rests { until: at },
            (Some(_), Some(queue)) => Standing::Due { queue },
        }
    }

    fn agents_kept_idle(&self) -> u32 {
        self.callbacks.rules.dial.as_ref().map_or(0, |rules| rules.idle)
    }

    /// An agent is free and nobody waits for them: the oldest due task of their queues.
    pub(super) fn agent_calls_back(&mut self, now: Moment, no: AgentNo, idle: Idle) -> bool {
        loop {
            let serves = &self.groups[self.agents[no].group].serves;
            let counted = u32::from(matches!(self.agents[no].state, State::Ready { .. }));
            let enough = |queue: QueueNo| self.groups.staff(queue).ready >= self.agents_kept_idle() + counted;
            let at_once = serves.iter().filter(|serves| serves.from == Stage::default() && enough(serves.queue));
            let Some(id) = at_once.filter_map(|serves| self.callbacks.due.get(&serves.queue)?.first().copied()).min() else {
                return false;
            };
            let Some(task) = self.callbacks.open.get(&id) else { return false };
            match self.standing_by_the_rules(now, task) {
                Standing::Due { .. } => {
                    self.agent_is_asked(now, id, no, idle, "nobody waits".to_owned());
                    return true;
                }
                // The evening came.
                other @ (Standing::Listed | Standing::Rests { .. } | Standing::Called { .. }) => self.place(id, other),
            }
        }
    }

    fn agent_is_asked(&mut self, now: Moment, id: TaskId, agent: AgentNo, idle: Idle, why: String) {
        let Some(task) = self.callbacks.open.get_mut(&id) else { return };
        let Standing::Due { queue } = task.standing else { return };
        task.sought += 1;
        let (call, since) = (CallId::of_callback(id, task.sought), task.since);
        let (region, person, Way { trunk, dialled }, missed) = (task.region, task.person, task.way.clone(), task.call);
        self.place(id, Standing::Called { call });
        let caller = caller_of(now, id, call, queue);
        self.callers.insert(call, caller);
        let queue = self.queues[queue].id.clone();
        self.record(Fact::CallbackBegan { task: id, call, region, trunk, dialled, person });
        self.command(Command::CallBack { call, task: id, missed, queue });
        let why = format!("callback, owed for {} s, {why}", now.since(since).as_secs());
        self.make_offer(now, Choice { call, agent, why }, idle);
    }

    /// Every free agent was asked in vain.
    pub(super) fn callback_found_nobody(&mut self, now: Moment, call: CallId) {
        self.forget_caller(call);
        self.callback_rests(now, call);
        self.command(Command::CallbackOff { call });
    }

    pub(super) fn callback_rests(&mut self, now: Moment, call: CallId) {
        if let Some(&id) = self.callbacks.called.get(&call) {
            self.place(id, Standing::Rests { until: now + REST });
        }
    }

    pub(super) fn callback_attempted(&mut self, now: Moment, call: CallId, end: AttemptEnd) {
        let Some(&id) = self.callbacks.called.get(&call) else { return };
        let Some(task) = self.callbacks.open.get_mut(&id) else { return };
        task.attempts += 1;
        let (nth, person) = (task.attempts, task.person);
        self.callbacks.was_dialled(now, person);
        self.record(Fact::CallbackAttempted { task: id, call, nth, end });
        self.place(id, Standing::Listed);
        if end == AttemptEnd::Reached {
            if let Some((no, queue)) = self.talks_in(call) {
                let (agent, queue) = (self.agents[no].id.clone(), self.queues[queue].id.clone());
                self.record(Fact::TalkStarted { call, agent, queue });
            }
            return self.task_closed(now, id, TaskEnd::Reached);
        }
        if end != AttemptEnd::AgentLeft && self.talks_in(call).is_some() {
            self.callbacks.in_vain.insert(call);
        }
        match self.callbacks.rules.dial.as_ref().is_some_and(|rules| nth >= rules.attempts) {
            true => self.task_closed(now, id, TaskEnd::AttemptsEnded),
            false => self.callback_waits(now, id),
        }
    }

    fn talks_in(&self, call: CallId) -> Option<(AgentNo, QueueNo)> {
        self.agents.numbers().find_map(|no| match &self.agents[no].state {
            State::Talking { call: with, queue, .. } if *with == call => Some((no, *queue)),
            State::Talking { .. } | State::WrapUp { .. } | State::OnBreak { .. } => None,
            State::Offline | State::Unreachable | State::Ready { .. } | State::Offered { .. } => None,
        })
    }

    /// Where the new rules want every task that is in nobody's hand; the free agents choose afterwards.
    pub(super) fn callbacks_follow_the_rules(&mut self, now: Moment) {
        let ids: Vec<TaskId> = self.callbacks.open.keys().copied().collect();
        for id in ids {
            let Some(task) = self.callbacks.open.get(&id) else { continue };
            if task.taken_by.is_none() && !matches!(task.standing, Standing::Called { .. }) {
                let standing = self.standing_by_the_rules(now, task);
                self.place(id, standing);
            }
        }
    }

    /// The one door to where a task stands: keeps the indices and the deadlines.
    fn place(&mut self, id: TaskId, standing: Standing) {
        let Some(task) = self.callbacks.open.get_mut(&id) else { return };
        match std::mem::replace(&mut task.standing, standing) {
            Standing::Listed => {}
            Standing::Rests { until } => self.deadlines.clear(until, Timer::CallbackRested(id)),
            Standing::Due { queue } => {
                self.callbacks.due.get_mut(&queue).map(|due| due.remove(&id));
            }
            Standing::Called { call } => {
                self.callbacks.called.remove(&call);
            }
        }
        match standing {
            Standing::Listed => {}
            Standing::Rests { until } => self.deadlines.set(until, Timer::CallbackRested(id)),
            Standing::Due { queue } => {
                self.callbacks.due.entry(queue).or_default().insert(id);
            }
            Standing::Called { call } => {
                self.callbacks.called.insert(call, id);
            }
        }
    }

    /// As [`Acd::place`]; gives the call out that was in the air.
    fn now_stands(&mut self, id: TaskId, standing: Standing) -> Option<CallId> {
        let before = self.callbacks.open.get(&id)?.standing;
        self.place(id, standing);
        match before {
            Standing::Called { call } => Some(call),
            Standing::Listed | Standing::Rests { .. } | Standing::Due { .. } => None,
        }
    }

    fn call_off(&mut self, now: Moment, called: Option<CallId>) {
        let Some(call) = called else { return };
        if self.talks_in(call).is_some() {
            self.callbacks.in_vain.insert(call);
        }
        let freed = self.forget_caller(call).and_then(|caller| self.withdraw_offer(caller.offer?)).map(|offer| offer.agent);
        self.command(Command::CallbackOff { call });
        if let Some(agent) = freed {
            self.agent_after_withdrawal(now, agent);
        }
    }
}

/// An agent is sought for a callback as for a caller who has just come.
fn caller_of(now: Moment, id: TaskId, call: CallId, queue: QueueNo) -> Caller {
    let (urgent, priority, overdue) = (Reverse(false), Reverse(0), Reverse(false));
    Caller {
        queue,
        rank: Rank { overdue, urgent, priority, entered: now, place: id.0, call },
        joined: now,
        offer: None,
        missed_by: None,
        announce_at: None,
        wait_ends: None,
        stage: Stage::default(),
        person: None,
        is_callback: true,
        ripens: None,
    }
}
