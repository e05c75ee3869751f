//! Agents who can serve the same queues form a group, so that a choice looks at groups and heads of queues, never at all agents or
//! all callers.

use super::AgentRules;
use super::agent::{AgentNo, Agents, Idle, State};
use super::queue::{QueueNo, Queues, Stage};
use crate::ids::{AgentId, Skill};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Index;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct GroupNo(u32);

impl GroupNo {
    /// The group that serves nothing: agents without a fitting skill, agents not in the configuration.
    pub const NOBODY: GroupNo = GroupNo(0);
}

/// That a group may serve the callers of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Serves {
    pub queue: QueueNo,
    /// Callers who have waited up to this stage of the queue's timeline, or longer.
    pub from: Stage,
    /// Asked before agents who are only permitted.
    pub preferred: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Group {
    pub serves: Vec<Serves>,
    /// The longest idle first.
    pub ready: BTreeSet<(Idle, AgentNo)>,
}

impl Group {
    pub fn serves(&self, queue: QueueNo, stage: Stage) -> bool {
        self.serves.iter().any(|serves| serves.queue == queue && serves.from <= stage)
    }
}

/// How many agents there are for a queue, at whatever stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Staff {
    pub ready: u32,
    /// Ready, offered, talking or wrapping up.
    pub on_duty: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Groups {
    list: Vec<Group>,
    staff: Vec<Staff>,
}

impl Groups {
    /// Puts every agent of the configuration into its group, and the ready ones into its order.
    pub fn form(agents: &mut Agents, queues: &mut Queues, rules: &BTreeMap<AgentId, AgentRules>) -> Self {
        let mut groups = Self { list: vec![Group::default()], staff: vec![Staff::default(); queues.numbers().count()] };
        let mut by_queues: BTreeMap<Vec<Serves>, GroupNo> = BTreeMap::from([(Vec::new(), GroupNo::NOBODY)]);
        let mut by_skills: BTreeMap<(&BTreeMap<Skill, u8>, bool), GroupNo> = BTreeMap::new();
        for no in agents.numbers() {
            agents[no].group = GroupNo::NOBODY;
        }
        for (id, rules) in rules {
            let Some(no) = agents.known(id) else { continue };
            agents[no].group = *by_skills.entry((&rules.skills, rules.reserve)).or_insert_with(|| {
                let may_serve = |(no, queue): (QueueNo, &super::queue::Queue)| {
                    let (from, preferred) = queue.rules.admits(rules)?;
                    Some(Serves { queue: no, from, preferred })
                };
                let serves: Vec<Serves> = queues.by_name().filter_map(may_serve).collect();
                *by_queues.entry(serves.clone()).or_insert_with(|| {
                    groups.list.push(Group { serves, ready: BTreeSet::new() });
                    GroupNo(groups.list.len() as u32 - 1)
                })
            });
        }
        for no in agents.numbers() {
            let agent = &agents[no];
            if agent.state.is_on_duty() {
                groups.comes_on_duty(agent.group);
            }
            if let State::Ready { idle } = agent.state {
                groups.ready(agent.group, idle, no);
            }
        }
        for queue in queues.numbers() {
            queues[queue].groups.clear();
        }
        for (no, group) in groups.list.iter().enumerate() {
            for serves in &group.serves {
                queues[serves.queue].groups.push((GroupNo(no as u32), serves.from, serves.preferred));
            }
        }
        groups
    }

    pub fn ready(&mut self, group: GroupNo, idle: Idle, agent: AgentNo) {
        if self.list[group.0 as usize].ready.insert((idle, agent)) {
            self.count(group, |staff| staff.ready += 1);
        }
    }

    pub fn no_longer_ready(&mut self, group: GroupNo, idle: Idle, agent: AgentNo) {
        if self.list[group.0 as usize].ready.remove(&(idle, agent)) {
            self.count(group, |staff| staff.ready = staff.ready.saturating_sub(1));
        }
    }

    pub fn comes_on_duty(&mut self, group: GroupNo) {
        self.count(group, |staff| staff.on_duty += 1);
    }

    pub fn goes_off_duty(&mut self, group: GroupNo) {
        self.count(group, |staff| staff.on_duty = staff.on_duty.saturating_sub(1));
    }

    fn count(&mut self, group: GroupNo, how: impl Fn(&mut Staff)) {
        let Self { list, staff } = self;
        for serves in &list[group.0 as usize].serves {
            if let Some(staff) = staff.get_mut(serves.queue.index()) {
                how(staff);
            }
        }
    }

    pub fn staff(&self, queue: QueueNo) -> Staff {
        self.staff.get(queue.index()).copied().unwrap_or_default()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Group> {
        self.list.iter()
    }

    pub fn get(&self, no: GroupNo) -> Option<&Group> {
        self.list.get(no.0 as usize)
    }
}

impl Default for Groups {
    fn default() -> Self {
        Self { list: vec![Group::default()], staff: Vec::new() }
    }
}

impl Index<GroupNo> for Groups {
    type Output = Group;
    fn index(&self, no: GroupNo) -> &Group {
        &self.list[no.0 as usize]
    }
}
