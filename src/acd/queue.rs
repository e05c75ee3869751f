//! One queue: who waits in it, and in which order.

use super::QueueRules;
use super::agent::AgentNo;
use super::matching::GroupNo;
use super::pace::Pace;
use crate::clock::Moment;
use crate::ids::{CallId, OfferId, QueueId};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Index, IndexMut};

/// The number of a queue inside this brain; kept for the life of the engine like an agent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct QueueNo(u32);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Queue {
    pub id: QueueId,
    pub rules: QueueRules,
    /// Whether the configuration still knows the queue.
    pub listed: bool,
    /// Callers to whom no phone rings, the next one first.
    pub waiting: BTreeSet<Rank>,
    /// Callers whose offer rings.
    pub offered: u32,
    /// The groups of agents with the skills for it.
    pub groups: Vec<GroupNo>,
    pub pace: Pace,
}

/// A caller's order within one queue: urgent, then the caller's priority, then time of entry. The place orders callers of one
/// moment; it is kept with the time of entry when an offer was missed or the queue was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Rank {
    pub urgent: Reverse<bool>,
    pub priority: Reverse<u8>,
    pub entered: Moment,
    pub place: u64,
    pub call: CallId,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Caller {
    pub queue: QueueNo,
    pub rank: Rank,
    /// When the caller came to this queue; the time of entry may be earlier.
    pub joined: Moment,
    /// The offer that rings for the caller; without one the caller stands in the queue's order.
    pub offer: Option<OfferId>,
    /// Who missed an offer for this caller last.
    pub missed_by: Option<AgentNo>,
    pub announce_at: Option<Moment>,
    pub wait_ends: Option<Moment>,
}

impl Queue {
    pub fn is_full(&self) -> bool {
        self.waiting.len() + self.offered as usize >= self.rules.max_waiting as usize
    }

    /// 1 = next.
    pub fn position(&self, rank: &Rank) -> u32 {
        self.waiting.range(..rank).count() as u32 + 1
    }
}

/// All queues this life of the engine has known.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Queues {
    list: Vec<Queue>,
    numbers: BTreeMap<QueueId, QueueNo>,
}

impl Queues {
    /// The number of a queue in the configuration.
    pub fn listed(&self, id: &QueueId) -> Option<QueueNo> {
        self.numbers.get(id).copied().filter(|no| self[*no].listed)
    }

    /// These rules hold from here on; the callers stay.
    pub fn obey(&mut self, rules: &BTreeMap<QueueId, QueueRules>) {
        for queue in &mut self.list {
            queue.listed = rules.contains_key(&queue.id);
        }
        for (id, rules) in rules {
            match self.numbers.get(id) {
                Some(no) => self.list[no.0 as usize].rules = rules.clone(),
                None => {
                    self.numbers.insert(id.clone(), QueueNo(self.list.len() as u32));
                    self.list.push(Queue {
                        id: id.clone(),
                        rules: rules.clone(),
                        listed: true,
                        waiting: BTreeSet::new(),
                        offered: 0,
                        groups: Vec::new(),
                        pace: Pace::default(),
                    });
                }
            }
        }
    }

    pub fn numbers(&self) -> impl Iterator<Item = QueueNo> + use<> {
        (0..self.list.len() as u32).map(QueueNo)
    }

    /// The queues in the configuration, by name.
    pub fn by_name(&self) -> impl Iterator<Item = (QueueNo, &Queue)> {
        self.numbers.values().map(|no| (*no, &self[*no])).filter(|(_, queue)| queue.listed)
    }

    pub fn get(&self, no: QueueNo) -> Option<&Queue> {
        self.list.get(no.0 as usize)
    }
}

impl Index<QueueNo> for Queues {
    type Output = Queue;
    fn index(&self, no: QueueNo) -> &Queue {
        &self.list[no.0 as usize]
    }
}
impl IndexMut<QueueNo> for Queues {
    fn index_mut(&mut self, no: QueueNo) -> &mut Queue {
        &mut self.list[no.0 as usize]
    }
}
