//! One queue's overflow list: what becomes of a caller when the wait or the queue is long, nobody is there to serve it, or it is closed.

use super::deadlines::Timer;
use super::queue::{Caller, Queue, QueueNo};
use super::{Acd, Command, FIRST, QueueRules};
use crate::clock::Moment;
use crate::facts::{Fact, QueueLeft};
use crate::ids::{CallId, PromptId, QueueId, RouteId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What changes without an event of the caller's own (places, the estimate, who is on duty) is looked at this often.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(5);

/// One line of the list. The first that holds for a caller counts. One that only speaks to them counts once in a queue, and one that
/// leads to a queue only while that queue takes them: it is open, not full, and they have not come from it. So nobody goes in circles,
/// whatever the lists of the queues say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overflow {
    pub when: When,
    pub then: Then,
}

/// All that is named must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct When {
    /// The caller has waited so long in this queue.
    pub waited: Option<Duration>,
    /// More callers than this stand before them.
    pub ahead: Option<u32>,
    /// They would be told to wait longer than this from now on.
    pub estimate: Option<Duration>,
    /// No agent who could serve the queue is on duty.
    pub no_agents: bool,
    /// The queue is out of its hours.
    pub closed: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Then {
    /// Say this; the wait goes on.
    Say(PromptId),
    /// To another queue, with the time waited.
    Queue(QueueId),
    /// To a number outside.
    Route(RouteId),
    /// Promise a callback; the wait goes on until they leave, and where nobody can be called it goes on for good.
    PromiseCallback,
    /// Back to the robot.
    Robot,
}

impl When {
    /// The condition that the journal and the reports name.
    fn why(&self) -> QueueLeft {
        if self.closed {
            QueueLeft::Closed
        } else if self.no_agents {
            QueueLeft::NoAgents
        } else if self.waited.is_some() {
            QueueLeft::WaitedTooLong
        } else if self.estimate.is_some() {
            QueueLeft::EstimateTooLong
        } else {
            QueueLeft::Full
        }
    }

    /// Whether it can come true by itself from one moment to the next.
    fn drifts(&self) -> bool {
        self.ahead.is_some() || self.estimate.is_some() || self.no_agents
    }
}

impl QueueRules {
    /// Who came before the queue closed is served by whoever is still there, if the rules want it.
    pub(super) fn is_closed_for(&self, caller: &Caller) -> bool {
        self.while_waiting.closed && (self.while_waiting.let_go_at_closing || !caller.came_open)
    }
}

impl Acd {
    /// A queue opens or closes by its calendar.
    pub(super) fn queue_opens(&mut self, now: Moment, queue: &QueueId, open: bool) {
        let Some(no) = self.queues.listed(queue) else { return };
        self.queues[no].rules.while_waiting.closed = !open;
        let held = self.callers.iter().filter(|(_, caller)| caller.queue == no && caller.held_until.is_some());
        let calls: Vec<CallId> =
            self.queues[no].waiting.iter().map(|rank| rank.call).chain(held.map(|(call, _)| *call)).collect();
        for call in calls {
            self.ask_overflow(now, call);
        }
    }

    pub fn is_open(&self, queue: &QueueId) -> bool {
        self.queues.listed(queue).is_some_and(|no| !self.queues[no].rules.while_waiting.closed)
    }

    /// Asked when a caller finds no agent: on coming, after a ring in vain, when time or the queue's hours may have changed the answer.
    pub(super) fn ask_overflow(&mut self, now: Moment, call: CallId) {
        while let Some(caller) = self.callers.get(&call).filter(|caller| !caller.rings() && !caller.is_callback) {
            let Some((then, why)) = self.overflow_due(now, caller) else { break };
            match &then {
                Then::Say(prompt) => self.command(Command::Say { call, prompt: prompt.clone() }),
                Then::PromiseCallback => self.command(Command::PromiseCallback { call }),
                Then::Queue(to) => return self.move_on(now, call, to, why),
                Then::Route(route) => {
                    let route = route.clone();
                    return self.overflow_into(now, call, why, |queue| Command::ToRoute { call, queue, route });
                }
                Then::Robot => return self.overflow(now, call, why),
            }
            if let Some(caller) = self.callers.get_mut(&call) {
                caller.said.push(then);
            }
        }
        self.set_next_look(now, call);
    }

    pub(super) fn overflow_looked_at(&mut self, now: Moment, call: CallId) {
        if let Some(caller) = self.callers.get_mut(&call) {
            caller.looks_at = None;
        }
        self.ask_overflow(now, call);
    }

    fn overflow_due(&self, now: Moment, caller: &Caller) -> Option<(Then, QueueLeft)> {
        let queue = &self.queues[caller.queue];
        let rule = queue
            .rules
            .while_waiting
            .overflow
            .iter()
            .find(|rule| self.counts(queue, caller, rule) && self.holds(now, caller, &rule.when));
        let closed = queue.rules.is_closed_for(caller).then_some((Then::Robot, QueueLeft::Closed));
        rule.map(|rule| (rule.then.clone(), rule.when.why())).or(closed)
    }

    fn counts(&self, queue: &Queue, caller: &Caller, rule: &Overflow) -> bool {
        match &rule.then {
            Then::Say(_) | Then::PromiseCallback => !caller.said.contains(&rule.then),
            Then::Queue(to) => *to != queue.id && self.queues.listed(to).is_some_and(|to| self.takes(to, caller)),
            // Who was in a talk already has no robot any more; only if nobody is there to wait for, the callback they are owed is better.
            Then::Route(_) | Then::Robot => caller.rank.priority.0 != FIRST || rule.when.closed || rule.when.no_agents,
        }
    }

    fn takes(&self, to: QueueNo, caller: &Caller) -> bool {
        let queue = &self.queues[to];
        !queue.rules.while_waiting.closed && !queue.is_full() && !caller.been.contains(&to)
    }

    fn holds(&self, now: Moment, caller: &Caller, when: &When) -> bool {
        let queue = &self.queues[caller.queue];
        let position = || queue.position(&caller.rank);
        when.waited.is_none_or(|limit| now.since(caller.joined) >= limit)
            && (!when.closed || queue.rules.is_closed_for(caller))
            && (!when.no_agents || self.groups.staff(caller.queue).on_duty == 0)
            && when.ahead.is_none_or(|limit| position() > limit.saturating_add(1))
            && when.estimate.is_none_or(|limit| self.wait_promised(now, caller).is_some_and(|wait| wait > limit))
    }

    /// The caller keeps the time waited, and the priority.
    fn move_on(&mut self, now: Moment, call: CallId, to: &QueueId, why: QueueLeft) {
        let (Some(no), Some(mut caller)) = (self.queues.listed(to), self.forget_caller(call)) else { return };
        self.record(Fact::QueueLeft { call, queue: self.queues[caller.queue].id.clone(), why });
        self.record(Fact::QueueEntered {
            call,
            queue: to.clone(),
            priority: caller.rank.priority.0,
            urgent: caller.rank.urgent.0,
        });
        self.command(Command::Moved { call, queue: to.clone() });
        self.demand.caller_came(now, no);
        self.estimator.left(now, call);
        caller.been.push(caller.queue);
        caller.comes_to(no, now);
        self.enter_queue(now, caller);
    }

    /// When time alone may have made another line hold.
    fn set_next_look(&mut self, now: Moment, call: CallId) {
        let Some(caller) = self.callers.get_mut(&call).filter(|caller| !caller.rings() && !caller.is_callback) else {
            return;
        };
        let rules = &self.queues[caller.queue].rules.while_waiting.overflow;
        let open = || rules.iter().filter(|rule| !caller.said.contains(&rule.then)).map(|rule| &rule.when);
        let limits = open().filter_map(|when| Some(caller.joined + when.waited?)).filter(|at| *at > now);
        let drift = open().any(When::drifts).then(|| now + LOOKED_AT_EVERY);
        let next = limits.chain(drift).min();
        if let Some(at) = std::mem::replace(&mut caller.looks_at, next) {
            self.deadlines.clear(at, Timer::Overflow(call));
        }
        if let Some(at) = next {
            self.deadlines.set(at, Timer::Overflow(call));
        }
    }
}
