//! Who rings again gets the agent they spoke with: at once if free, and for a little while they wait for that agent alone.

use super::agent::{AgentNo, State, Wish};
use super::deadlines::Timer;
use super::queue::{Caller, Rank};
use super::{Acd, LastAgentRules};
use crate::clock::Moment;
use crate::ids::{CallId, PersonId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// So many people's last talks are remembered, 4 MB; the oldest are forgotten first. A region has 10,000 callers on a bad day.
const MOST_REMEMBERED: usize = 65_536;

/// Whom a caller should get, and since when they know each other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LastAgent {
    pub agent: AgentNo,
    /// The end of their talk; `None`: it was cut off, or is owed a call for that.
    pub spoke: Option<Moment>,
}

impl LastAgent {
    pub fn cut_off_from(agent: AgentNo) -> Self {
        Self { agent, spoke: None }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct LastAgents {
    pub rules: LastAgentRules,
    talks: BTreeMap<PersonId, (Moment, AgentNo)>,
    oldest: BTreeSet<(Moment, PersonId)>,
    /// Callers in no queue's order, who wait for one agent alone.
    held: BTreeMap<AgentNo, BTreeSet<CallId>>,
}

impl LastAgents {
    pub fn spoke(&mut self, now: Moment, person: PersonId, agent: AgentNo) {
        if let Some((before, _)) = self.talks.insert(person, (now, agent)) {
            self.oldest.remove(&(before, person));
        }
        self.oldest.insert((now, person));
        while let Some((at, person)) = self.oldest.first().copied()
            && (now.since(at) >= self.rules.within || self.oldest.len() > MOST_REMEMBERED)
        {
            self.oldest.remove(&(at, person));
            self.talks.remove(&person);
        }
    }

    pub fn of(&self, now: Moment, person: PersonId) -> Option<LastAgent> {
        let (at, agent) = self.talks.get(&person).copied().filter(|(at, _)| now.since(*at) < self.rules.within)?;
        Some(LastAgent { agent, spoke: Some(at) })
    }

    pub fn holds(&self, agent: AgentNo, call: CallId) -> bool {
        self.held.get(&agent).is_some_and(|calls| calls.contains(&call))
    }

    pub fn held_count(&self) -> usize {
        self.held.values().map(BTreeSet::len).sum()
    }

    pub fn is_sound(&self, agent_is_known: impl Fn(AgentNo) -> bool) -> bool {
        self.talks.len() == self.oldest.len()
            && self.talks.iter().all(|(person, (at, agent))| self.oldest.contains(&(*at, *person)) && agent_is_known(*agent))
    }
}

impl Acd {
    /// The agent is on duty and busy, and the caller may wait for them alone. Counted from the entry, so that no change of queue and
    /// no missed offer adds to it; who is urgent or overdue waits for nobody in particular.
    pub(super) fn waits_for_last_agent(&self, now: Moment, caller: &Caller) -> Option<(AgentNo, Moment)> {
        let LastAgent { agent, spoke: Some(_) } = caller.wants? else { return None };
        let until = caller.rank.entered + self.last_agents.rules.wait;
        let free_to_go = caller.rank.urgent.0 || caller.rank.overdue.0 || caller.is_callback || caller.missed_by == Some(agent);
        let last = self.agents.get(agent)?;
        let comes_back = match &last.state {
            State::Talking { then, .. } | State::WrapUp { then, .. } | State::Offered { then, .. } => *then == Wish::Work,
            State::Offline | State::Unreachable | State::Ready { .. } | State::OnBreak { .. } => false,
        };
        let serves = last.listed && self.groups[last.group].serves(caller.queue, caller.stage);
        (comes_back && serves && !free_to_go && until > now).then_some((agent, until))
    }

    pub(super) fn hold_for_last_agent(&mut self, call: CallId, agent: AgentNo, until: Moment) {
        let Some(caller) = self.callers.get_mut(&call) else { return };
        let queue = &mut self.queues[caller.queue];
        queue.waiting.remove(caller.stage, &caller.rank);
        queue.held += 1;
        caller.held_until = Some(until);
        self.last_agents.held.entry(agent).or_default().insert(call);
        self.deadlines.set(until, Timer::LastAgentWaitEnds(call));
    }

    /// The caller is nobody's in particular again, and for the moment in no place at all.
    pub(super) fn no_longer_held(&mut self, call: CallId) {
        let Some(caller) = self.callers.get_mut(&call) else { return };
        let (Some(until), Some(LastAgent { agent, .. })) = (caller.held_until.take(), caller.wants) else { return };
        self.queues[caller.queue].held -= 1;
        self.deadlines.clear(until, Timer::LastAgentWaitEnds(call));
        if let Some(calls) = self.last_agents.held.get_mut(&agent) {
            calls.remove(&call);
            if calls.is_empty() {
                self.last_agents.held.remove(&agent);
            }
        }
    }

    pub(super) fn last_agent_wait_ends(&mut self, now: Moment, call: CallId) {
        self.seek_agent(now, call);
    }

    /// By the new rules: who waits no longer for one agent alone stands in the order of the queue again.
    pub(super) fn held_follow_the_rules(&mut self, now: Moment) {
        for call in self.last_agents.held.values().flatten().copied().collect::<Vec<_>>() {
            let Some(caller) = self.callers.get(&call) else { continue };
            let (no, stage, rank, still) = (caller.queue, caller.stage, caller.rank, self.waits_for_last_agent(now, caller));
            self.no_longer_held(call);
            match still {
                Some((agent, until)) => self.hold_for_last_agent(call, agent, until),
                None => self.queues[no].waiting.insert(stage, rank),
            }
        }
    }

    /// The agent goes off duty, or will after what they do now: who waits for them looks for somebody else in the same moment, when this
    /// turn is over.
    pub(super) fn nobody_waits_for(&mut self, now: Moment, agent: AgentNo) {
        let Some(calls) = self.last_agents.held.get(&agent) else { return };
        for call in calls {
            if let Some(until) = self.callers.get_mut(call).and_then(|caller| caller.held_until.replace(now)) {
                self.deadlines.clear(until, Timer::LastAgentWaitEnds(*call));
                self.deadlines.set(now, Timer::LastAgentWaitEnds(*call));
            }
        }
    }

    /// Who waits for this agent alone and may be served by them, in the order of a queue.
    pub(super) fn who_waits_for(&self, agent: AgentNo) -> Option<&Caller> {
        let calls = self.last_agents.held.get(&agent)?;
        let group = &self.groups[self.agents[agent].group];
        let callers = calls.iter().filter_map(|call| self.callers.get(call));
        callers.filter(|caller| group.serves(caller.queue, caller.stage)).min_by_key(|caller| caller.rank)
    }

    /// Whether the head of a queue comes before who waits for one agent alone: by overdue, urgency or priority, not by the wait.
    pub(super) fn outranks(&self, head: &Rank, head_priority: u16, held: &Caller) -> bool {
        let priority = u16::from(held.rank.priority.0) + u16::from(self.queues[held.queue].rules.priority);
        head.overdue.0 || (head.urgent.0, head_priority) > (held.rank.urgent.0, priority)
    }
}

/// The reason of such an offer in one line.
pub(super) fn why(now: Moment, agent: &str, last: LastAgent) -> String {
    match last.spoke {
        Some(at) => format!("spoke with {agent} {} min ago", now.since(at).as_secs() / 60),
        None => "was cut off in a talk with them".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acd::agent::Agents;
    use std::time::Duration;
    use uuid::Uuid;

    #[test]
    fn a_talk_is_forgotten_after_its_time_and_the_oldest_go_first_when_there_are_too_many() {
        let mut agents = Agents::default();
        let agent = agents.known_or_new(&"a1".into(), Moment::ZERO);
        let person = |no: usize| PersonId(Uuid::from_u128(no as u128));
        let mut last = LastAgents::default();
        last.rules.within = Duration::from_secs(100);
        for (no, at) in [(1, 0), (2, 50), (3, 100)] {
            last.spoke(Moment::from_secs(at), person(no), agent);
        }
        assert_eq!(last.talks.keys().copied().collect::<Vec<_>>(), [person(2), person(3)]);
        let now = Moment::from_secs(101);
        for no in 4..=MOST_REMEMBERED + 1 {
            last.spoke(now, person(no), agent);
        }
        assert_eq!((last.talks.len(), last.of(now, person(2)).is_some()), (MOST_REMEMBERED, true));
        last.spoke(now, person(MOST_REMEMBERED + 2), agent);
        assert_eq!((last.talks.len(), last.of(now, person(2)).is_some()), (MOST_REMEMBERED, false));
    }
}
