//! Who gets whom, and why. The only file that chooses.
//!
//! Agents with the same set of queues form a group, so that a choice looks at groups and heads of queues, never at all agents or
//! all callers.

use super::agent::{AgentNo, Agents, Idle, State};
use super::queue::{Caller, Queue, QueueNo, Queues, Rank};
use super::{Acd, AgentRules};
use crate::clock::Moment;
use crate::ids::{AgentId, CallId, Skill};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Index;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct GroupNo(u32);

impl GroupNo {
    /// The group that serves nothing: agents without a fitting skill, agents not in the configuration.
    pub const NOBODY: GroupNo = GroupNo(0);
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Group {
    pub queues: Vec<QueueNo>,
    /// The longest idle first.
    pub ready: BTreeSet<(Idle, AgentNo)>,
}

/// A decision with its reason in one line.
pub(super) struct Choice {
    pub call: CallId,
    pub agent: AgentNo,
    pub why: String,
}

impl Acd {
    /// For a caller: the longest idle of the ready agents whose skills satisfy the queue; whoever missed this caller last only if
    /// nobody else is ready.
    pub(super) fn choose_agent(&self, now: Moment, caller: &Caller) -> Option<(Choice, Idle)> {
        let queue = &self.queues[caller.queue];
        let (idle, agent) = (self.longest_idle(queue, caller.missed_by)).or_else(|| self.longest_idle(queue, None))?;
        let why = format!("longest idle: {} s", now.since(idle.since).as_secs());
        Some((Choice { call: caller.rank.call, agent, why }, idle))
    }

    pub(super) fn longest_idle(&self, queue: &Queue, but: Option<AgentNo>) -> Option<(Idle, AgentNo)> {
        let first = |group: &GroupNo| self.groups[*group].ready.iter().find(|(_, agent)| Some(*agent) != but).copied();
        queue.groups.iter().filter_map(first).min()
    }

    /// For an agent who is free: the best head of the queues they may serve.
    pub(super) fn choose_caller(&self, now: Moment, agent: AgentNo) -> Option<Choice> {
        let queues = &self.groups[self.agents[agent].group].queues;
        let best = queues.iter().filter_map(|no| self.head(now, *no)).max_by(Head::compare)?;
        let urgent = if best.rank.urgent.0 { "urgent, " } else { "" };
        let (wait, target) = (best.wait.as_secs(), best.target.as_secs());
        let why = format!("{urgent}priority {}, waited {wait} s of target {target} s", best.priority);
        Some(Choice { call: best.rank.call, agent, why })
    }

    fn head(&self, now: Moment, queue: QueueNo) -> Option<Head<'_>> {
        let queue = &self.queues[queue];
        let rank = queue.waiting.first()?;
        Some(Head {
            rank,
            priority: u16::from(rank.priority.0) + u16::from(queue.rules.priority),
            wait: now.since(rank.entered),
            target: queue.rules.target,
        })
    }
}

struct Head<'a> {
    rank: &'a Rank,
    priority: u16,
    wait: Duration,
    target: Duration,
}

impl Head<'_> {
    /// The greater is served first: urgent, then priority, then the wait in targets, then who entered first.
    fn compare(&self, other: &Self) -> Ordering {
        // wait / target against wait / target, without the division
        let wait_in_targets = |a: &Self, b: &Self| a.wait.as_micros().saturating_mul(b.target.as_micros().max(1));
        (self.rank.urgent.0.cmp(&other.rank.urgent.0))
            .then_with(|| self.priority.cmp(&other.priority))
            .then_with(|| wait_in_targets(self, other).cmp(&wait_in_targets(other, self)))
            .then_with(|| other.rank.place.cmp(&self.rank.place))
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Groups(Vec<Group>);

impl Groups {
    /// Puts every agent of the configuration into its group, and the ready ones into its order.
    pub fn form(agents: &mut Agents, queues: &mut Queues, rules: &BTreeMap<AgentId, AgentRules>) -> Self {
        let mut groups = vec![Group::default()];
        let mut by_queues: BTreeMap<Vec<QueueNo>, GroupNo> = BTreeMap::from([(Vec::new(), GroupNo::NOBODY)]);
        let mut by_skills: BTreeMap<&BTreeMap<Skill, u8>, GroupNo> = BTreeMap::new();
        for no in agents.numbers() {
            agents[no].group = GroupNo::NOBODY;
        }
        for (id, rules) in rules {
            let Some(no) = agents.known(id) else { continue };
            agents[no].group = *by_skills.entry(&rules.skills).or_insert_with(|| {
                let served: Vec<QueueNo> = queues
                    .by_name()
                    .filter(|(_, queue)| satisfies(&rules.skills, &queue.rules.requires))
                    .map(|(no, _)| no)
                    .collect();
                *by_queues.entry(served.clone()).or_insert_with(|| {
                    groups.push(Group { queues: served, ready: BTreeSet::new() });
                    GroupNo(groups.len() as u32 - 1)
                })
            });
        }
        for no in agents.numbers() {
            if let State::Ready { idle } = agents[no].state {
                groups[agents[no].group.0 as usize].ready.insert((idle, no));
            }
        }
        for queue in queues.numbers() {
            queues[queue].groups.clear();
        }
        for (no, group) in groups.iter().enumerate() {
            for queue in &group.queues {
                queues[*queue].groups.push(GroupNo(no as u32));
            }
        }
        Self(groups)
    }

    pub fn ready(&mut self, group: GroupNo, idle: Idle, agent: AgentNo) {
        self.0[group.0 as usize].ready.insert((idle, agent));
    }

    pub fn no_longer_ready(&mut self, group: GroupNo, idle: Idle, agent: AgentNo) {
        self.0[group.0 as usize].ready.remove(&(idle, agent));
    }

    pub fn iter(&self) -> impl Iterator<Item = &Group> {
        self.0.iter()
    }

    pub fn get(&self, no: GroupNo) -> Option<&Group> {
        self.0.get(no.0 as usize)
    }
}

impl Default for Groups {
    fn default() -> Self {
        Self(vec![Group::default()])
    }
}

impl Index<GroupNo> for Groups {
    type Output = Group;
    fn index(&self, no: GroupNo) -> &Group {
        &self.0[no.0 as usize]
    }
}

fn satisfies(skills: &BTreeMap<Skill, u8>, requires: &BTreeMap<Skill, u8>) -> bool {
    requires.iter().all(|(skill, least)| skills.get(skill).is_some_and(|level| level >= least))
}
