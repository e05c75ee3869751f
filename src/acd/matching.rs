//! Who gets whom, and why. The only file that chooses.

use super::Acd;
use super::agent::{AgentNo, Idle, State};
use super::groups::{Group, GroupNo};
use super::last_agent;
use super::queue::{Caller, Queue, QueueNo, Rank, Stage};
use crate::clock::Moment;
use crate::ids::CallId;
use crate::routing::{AgentOrder, Policy};
use std::cmp::Ordering;
use std::time::Duration;

/// A decision with its reason in one line.
pub(super) struct Choice {
    pub call: CallId,
    pub agent: AgentNo,
    pub why: String,
}

/// Whom a caller may not get, as long as there is somebody else.
#[derive(Clone, Copy)]
struct Wanted {
    stage: Stage,
    preferred: bool,
    but: Option<AgentNo>,
}

impl Acd {
    /// For a caller: preferred agents before permitted ones, among them by the queue's order; whoever missed this caller last only
    /// if nobody else is ready.
    pub(super) fn choose_agent(&self, now: Moment, caller: &Caller) -> Option<(Choice, Idle)> {
        // On a busy floor nobody is ready, and nothing has to be weighed.
        if self.groups.staff(caller.queue).ready == 0 {
            return None;
        }
        if let Some(found) = self.wanted_agent(now, caller) {
            return Some(found);
        }
        let queue = &self.queues[caller.queue];
        let (stage, but) = (caller.stage, caller.missed_by);
        let order = queue.rules.seek.agents.unwrap_or(self.policy.agent_order());
        let first = |preferred, but| self.first_agent(now, caller, order, Wanted { stage, preferred, but });
        let ((idle, agent), why) = first(true, but).or_else(|| first(false, but)).or_else(|| first(false, None))?;
        Some((Choice { call: caller.rank.call, agent, why }, idle))
    }

    /// The agent with whom the caller spoke last, if free.
    fn wanted_agent(&self, now: Moment, caller: &Caller) -> Option<(Choice, Idle)> {
        let last = caller.wants.filter(|last| caller.missed_by != Some(last.agent))?;
        let agent = last.agent;
        let State::Ready { idle } = self.agents.get(agent)?.state else { return None };
        let fits = self.groups[self.agents[agent].group].serves(caller.queue, caller.stage);
        let choice = Choice { call: caller.rank.call, agent, why: last_agent::why(now, self.agents[agent].id.as_str(), last) };
        fits.then_some((choice, idle))
    }

    /// Whether somebody other than `but` could take a caller of this queue now.
    pub(super) fn somebody_ready(&self, queue: &Queue, stage: Stage, but: Option<AgentNo>) -> bool {
        let wanted = Wanted { stage, preferred: false, but };
        self.groups_for(queue, wanted).any(|group| first_but(group, but).is_some())
    }

    fn groups_for<'a>(&'a self, queue: &'a Queue, wanted: Wanted) -> impl Iterator<Item = &'a Group> {
        let fits =
            move |(_, from, preferred): &&(GroupNo, Stage, bool)| *from <= wanted.stage && (*preferred || !wanted.preferred);
        queue.groups.iter().filter(fits).map(|(no, ..)| &self.groups[*no]).filter(|group| !group.ready.is_empty())
    }

    fn first_agent(&self, now: Moment, caller: &Caller, order: AgentOrder, wanted: Wanted) -> Option<((Idle, AgentNo), String)> {
        let queue = &self.queues[caller.queue];
        let by_group = |key: &dyn Fn(&Group) -> f64| {
            let keyed = |group| first_but(group, wanted.but).map(|first| (key(group), first));
            let smaller = |a: &(f64, (Idle, AgentNo)), b: &(f64, (Idle, AgentNo))| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
            self.groups_for(queue, wanted).filter_map(keyed).min_by(smaller).map(|(_, first)| first)
        };
        let by_agent = |key: &dyn Fn(AgentNo) -> u64| {
            let ready = self.groups_for(queue, wanted).flat_map(|group| &group.ready);
            let others = ready.filter(|(_, agent)| Some(*agent) != wanted.but);
            others.min_by_key(|(idle, agent)| (key(*agent), *idle)).copied()
        };
        let first = match order {
            AgentOrder::LeastMissed => {
                let losses = self.losses(caller.queue);
                by_group(&|group| group.serves.iter().filter_map(|serves| losses.get(serves.queue.index())).sum())
            }
            AgentOrder::MostIdleGroup => by_group(&|group| -(group.ready.len() as f64)),
            AgentOrder::LongestIdle => by_group(&|_| 0.0),
            AgentOrder::LeastTalkTime => by_agent(&|agent| self.agents[agent].talked.as_micros() as u64),
            AgentOrder::FewestCalls => by_agent(&|agent| u64::from(self.agents[agent].served)),
            AgentOrder::LeastOccupied => by_agent(&|agent| self.agents[agent].occupied_ppm(now)),
            AgentOrder::RoundRobin => {
                let last = queue.asked_last.map_or(u64::MAX, AgentNo::number);
                by_agent(&|agent| agent.number().wrapping_sub(last).wrapping_sub(1))
            }
            AgentOrder::TopDown => by_agent(&|agent| u64::from(self.agents[agent].listed_at)),
            AgentOrder::Random => by_agent(&|agent| scrambled(caller.rank.place.wrapping_shl(20) ^ agent.number())),
        }?;
        let idle = now.since(first.0.since).as_secs();
        let why = match order {
            AgentOrder::LeastMissed => format!("least missed elsewhere, idle {idle} s"),
            AgentOrder::MostIdleGroup => format!("of the idlest group, idle {idle} s"),
            AgentOrder::LongestIdle => format!("longest idle: {idle} s"),
            AgentOrder::LeastTalkTime => format!("least talk time: {} s", self.agents[first.1].talked.as_secs()),
            AgentOrder::FewestCalls => format!("fewest calls: {}", self.agents[first.1].served),
            AgentOrder::LeastOccupied => format!("least occupied: {} %", self.agents[first.1].occupied_ppm(now) / 10_000),
            AgentOrder::RoundRobin => "next in turn".to_owned(),
            AgentOrder::TopDown => "first of the list".to_owned(),
            AgentOrder::Random => "by lot".to_owned(),
        };
        Some((first, why))
    }

    /// What each other queue loses if one of its agents is taken: the callers who will come, weighed with how badly the queue
    /// fares, if none of its idle agents is left for them (each halves the chance), for as long as an agent of it takes to come
    /// free.
    fn losses(&self, but: QueueNo) -> Vec<f64> {
        let loss = |no: QueueNo| {
            let staff = self.groups.staff(no);
            if no == but || staff.on_duty == 0 {
                return 0.0;
            }
            let strain = self.demand.strain(no, self.queues[no].rules.target);
            self.demand.rate(no) * strain * halved(staff.ready) / f64::from(staff.on_duty)
        };
        self.queues.numbers().map(loss).collect()
    }

    /// For an agent who is free: the best head of the queues they may serve.
    pub(super) fn choose_caller(&self, now: Moment, agent: AgentNo) -> Option<Choice> {
        let serves = &self.groups[self.agents[agent].group].serves;
        let mut heads = serves.iter().filter_map(|serves| self.head(now, serves.queue, serves.from));
        let best = heads.next().map(|first| {
            heads.fold((first, false), |(best, _), head| match head.compare(&best) {
                Ordering::Greater => (head, true),
                Ordering::Less | Ordering::Equal => (best, true),
            })
        });
        if let Some(held) = self.who_waits_for(agent)
            && let Some(last) = held.wants
            && !best.as_ref().is_some_and(|(best, _)| self.outranks(best.rank, best.priority, held))
        {
            let why = last_agent::why(now, self.agents[agent].id.as_str(), last);
            return Some(Choice { call: held.rank.call, agent, why });
        }
        let (best, others) = best?;
        let why = best.why(self.policy, others);
        Some(Choice { call: best.rank.call, agent, why })
    }

    fn head(&self, now: Moment, no: QueueNo, from: Stage) -> Option<Head<'_>> {
        let queue = &self.queues[no];
        let rank = queue.waiting.first_from(from)?;
        let wait = now.since(rank.entered);
        Some(Head {
            rank,
            priority: u16::from(rank.priority.0) + u16::from(queue.rules.priority),
            wait,
            target: queue.rules.target,
            score: self.score(no, wait),
        })
    }

    /// The greater is served first.
    fn score(&self, no: QueueNo, wait: Duration) -> f64 {
        let queue = &self.queues[no];
        let target = queue.rules.target.as_secs_f64().max(1e-6);
        match self.policy {
            Policy::TargetBalance => {
                let work = queue.waiting.len() as f64 / (self.demand.rate(no) * target);
                let staff = f64::from(self.groups.staff(no).on_duty.max(1));
                let strain = self.demand.strain(no, queue.rules.target);
                work / staff * sixteenth_power(strain)
            }
            Policy::QueueRatio => queue.waiting.len() as f64 - self.share_of_the_waiting(no),
            Policy::TargetWait => wait.as_secs_f64() / target,
            Policy::LongestWait => wait.as_secs_f64(),
            Policy::StrictPriority => -target,
        }
    }

    /// How many of all who wait in the region should be this queue's.
    fn share_of_the_waiting(&self, no: QueueNo) -> f64 {
        let region = self.queues[no].rules.region;
        let weight = |no: QueueNo| self.demand.rate(no) * self.queues[no].rules.target.as_secs_f64();
        let (mut all, mut waiting) = (0.0, 0.0);
        for other in self.queues.numbers().filter(|other| self.queues[*other].rules.region == region) {
            all += weight(other);
            waiting += self.queues[other].waiting.len() as f64;
        }
        waiting * weight(no) / f64::max(all, 1e-9)
    }
}

fn first_but(group: &Group, but: Option<AgentNo>) -> Option<(Idle, AgentNo)> {
    group.ready.iter().find(|(_, agent)| Some(*agent) != but).copied()
}

struct Head<'a> {
    rank: &'a Rank,
    priority: u16,
    wait: Duration,
    target: Duration,
    score: f64,
}

impl Head<'_> {
    /// The greater is served first: overdue (who entered first), then urgent, then priority, then by the policy, then who entered
    /// first.
    fn compare(&self, other: &Self) -> Ordering {
        let earlier = || (other.rank.entered, other.rank.place).cmp(&(self.rank.entered, self.rank.place));
        match (self.rank.overdue.0, other.rank.overdue.0) {
            (true, true) => earlier(),
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => (self.rank.urgent.0.cmp(&other.rank.urgent.0))
                .then_with(|| self.priority.cmp(&other.priority))
                .then_with(|| self.score.total_cmp(&other.score))
                .then_with(earlier),
        }
    }

    fn why(&self, policy: Policy, others: bool) -> String {
        let (wait, target) = (self.wait.as_secs(), self.target.as_secs());
        if self.rank.overdue.0 {
            return format!("overdue: waited {wait} s");
        }
        let urgent = if self.rank.urgent.0 { "urgent, " } else { "" };
        let rule = match policy {
            _ if !others => "",
            Policy::TargetBalance => ", queue furthest behind its target",
            Policy::QueueRatio => ", queue furthest over its share",
            Policy::TargetWait => ", largest wait over target",
            Policy::LongestWait => ", longest wait",
            Policy::StrictPriority => ", shortest target",
        };
        format!("{urgent}priority {}, waited {wait} s of target {target} s{rule}", self.priority)
    }
}

/// 0.5 to this power.
fn halved(times: u32) -> f64 {
    f64::from_bits((1023 - u64::from(times.min(1000))) << 52)
}

fn sixteenth_power(x: f64) -> f64 {
    let square = |x: f64| x * x;
    square(square(square(square(x))))
}

/// A number that looks drawn (the last step of SplitMix64), the same in every replay.
fn scrambled(from: u64) -> u64 {
    let mut z = from.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_idle_agent_halves_the_chance_that_none_is_left() {
        assert_eq!([0, 1, 2, 10].map(halved), [1.0, 0.5, 0.25, 1.0 / 1024.0]);
        assert!(halved(u32::MAX) > 0.0);
    }
}
