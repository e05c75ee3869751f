//! One queue: who waits in it, and in which order.

use super::agent::AgentNo;
use super::groups::GroupNo;
use super::last_agent::LastAgent;
use super::{QueueRules, Then};
use crate::clock::Moment;
use crate::ids::{CallId, OfferId, PersonId, QueueId};
use serde::{Deserialize, Serialize};
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Index, IndexMut};
use std::time::Duration;

/// The number of a queue inside this brain; kept for the life of the engine like an agent's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct QueueNo(u32);

impl QueueNo {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// How far a caller has come on the timeline of the queue: at each stage more agents will do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Stage(u16);

impl Stage {
    pub fn of(stage: usize) -> Self {
        Self(u16::try_from(stage).unwrap_or(u16::MAX))
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Queue {
    pub id: QueueId,
    pub rules: QueueRules,
    /// Whether the configuration still knows the queue.
    pub listed: bool,
    /// Callers to whom no phone rings, the next one first.
    pub waiting: Line,
    /// Callers for whom phones ring.
    pub offered: u32,
    /// Of both, those who are not on the line: callbacks that seek an agent.
    pub callbacks: u32,
    /// The moments of waiting at which more agents will do, beginning with 0.
    pub stages: Vec<Duration>,
    /// The groups of agents with the skills for it: from which stage on, and whether preferred.
    pub groups: Vec<(GroupNo, Stage, bool)>,
    /// For the round robin.
    pub asked_last: Option<AgentNo>,
    /// Callers who wait for one agent alone.
    pub held: u32,
}

/// A caller's order within one queue: who is overdue by time of entry, then urgent, the caller's priority, time of entry. The place
/// orders callers of one moment; it is kept with the time of entry when an offer was missed or the queue was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rank {
    pub overdue: Reverse<bool>,
    pub urgent: Reverse<bool>,
    pub priority: Reverse<u8>,
    pub entered: Moment,
    pub place: u64,
    pub call: CallId,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let class = |rank: &Self| if rank.overdue.0 { (Reverse(true), Reverse(0)) } else { (rank.urgent, rank.priority) };
        (self.overdue.cmp(&other.overdue))
            .then_with(|| class(self).cmp(&class(other)))
            .then_with(|| (self.entered, self.place, self.call).cmp(&(other.entered, other.place, other.call)))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Caller {
    pub queue: QueueNo,
    pub rank: Rank,
    /// When the caller came to this queue; the time of entry may be earlier.
    pub joined: Moment,
    /// The offers that ring for the caller, in the order made; without one the caller stands in the queue's order.
    pub offers: Vec<OfferId>,
    /// Who missed an offer for this caller last.
    pub missed_by: Option<AgentNo>,
    pub announce_at: Option<Moment>,
    /// When the overflow list is asked again.
    pub looks_at: Option<Moment>,
    pub stage: Stage,
    pub person: Option<PersonId>,
    /// Nobody on the line: an agent is sought who calls the person back.
    pub is_callback: bool,
    /// Whom they talked with before: asked first, if free.
    pub wants: Option<LastAgent>,
    /// When the next stage begins or the caller is overdue.
    pub ripens: Option<Moment>,
    /// The queue was open when the caller came.
    pub came_open: bool,
    /// The queues that this caller has left by a rule.
    pub been: Vec<QueueNo>,
    /// What the queue's overflow list has said to the caller.
    pub said: Vec<Then>,
    /// How many of the announcements' texts the caller has heard.
    pub texts_told: u16,
    pub told: Option<Told>,
    /// Until then the caller waits for that agent alone and stands in no queue's order.
    pub held_until: Option<Moment>,
}

/// The wait that a caller was told last, and how many agents were on duty then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    pub wait: Duration,
    pub agents: u32,
}

impl Caller {
    /// Some phone rings for the caller.
    pub fn rings(&self) -> bool {
        !self.offers.is_empty()
    }

    /// As one who comes to this queue now; the rank and who missed them stay.
    pub fn comes_to(&mut self, queue: QueueNo, now: Moment) {
        (self.queue, self.joined, self.stage) = (queue, now, Stage::default());
        (self.announce_at, self.looks_at, self.ripens) = (None, None, None);
        self.told = None;
        self.said.clear();
        self.texts_told = 0;
    }
}

impl Queue {
    pub fn is_full(&self) -> bool {
        // A callback takes nobody's room: there is no line behind it.
        self.waiting.len() + (self.offered + self.held) as usize - self.callbacks as usize >= self.rules.max_waiting as usize
    }

    /// 1 = next.
    pub fn position(&self, rank: &Rank) -> u32 {
        self.waiting.before(rank) as u32 + 1
    }

    pub fn begins(&self, stage: Stage) -> Option<Duration> {
        self.stages.get(usize::from(stage.0)).copied()
    }

    /// The stage of who has waited so long, and how long the next one is away.
    pub fn stage_after(&self, wait: Duration) -> (Stage, Option<Duration>) {
        let begun = self.stages.iter().filter(|begins| **begins <= wait).count();
        (Stage::of(begun.saturating_sub(1)), self.stages.get(begun).map(|begins| *begins - wait))
    }
}

/// The order in which callers wait, by stage: an agent who will do only from a stage on sees only who has come so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Line {
    by_stage: Vec<BTreeSet<Rank>>,
    len: usize,
}

impl Line {
    pub fn insert(&mut self, stage: Stage, rank: Rank) {
        let at = usize::from(stage.0);
        if self.by_stage.len() <= at {
            self.by_stage.resize(at + 1, BTreeSet::new());
        }
        self.len += usize::from(self.by_stage[at].insert(rank));
    }

    pub fn remove(&mut self, stage: Stage, rank: &Rank) -> bool {
        let removed = self.by_stage.get_mut(usize::from(stage.0)).is_some_and(|ranks| ranks.remove(rank));
        self.len -= usize::from(removed);
        removed
    }

    pub fn contains(&self, stage: Stage, rank: &Rank) -> bool {
        self.by_stage.get(usize::from(stage.0)).is_some_and(|ranks| ranks.contains(rank))
    }

    /// Who is next of those who have come to this stage.
    pub fn first_from(&self, stage: Stage) -> Option<&Rank> {
        self.by_stage.iter().skip(usize::from(stage.0)).filter_map(|ranks| ranks.first()).min()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Rank> {
        self.by_stage.iter().flatten()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    fn before(&self, rank: &Rank) -> usize {
        self.by_stage.iter().map(|ranks| count_before(ranks, rank)).sum()
    }
}

/// Counted from the nearer end: newcomers are mostly the last.
fn count_before(ranks: &BTreeSet<Rank>, rank: &Rank) -> usize {
    let (mut before, mut behind) = (ranks.range(..rank), ranks.range(rank..));
    let mut seen = 0;
    loop {
        if before.next().is_none() {
            return seen;
        }
        if behind.next().is_none() {
            return ranks.len() - seen;
        }
        seen += 1;
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
                Some(no) => {
                    let queue = &mut self.list[no.0 as usize];
                    queue.rules = rules.clone();
                    queue.stages = rules.stages();
                }
                None => {
                    self.numbers.insert(id.clone(), QueueNo(self.list.len() as u32));
                    self.list.push(Queue {
                        id: id.clone(),
                        rules: rules.clone(),
                        listed: true,
                        waiting: Line::default(),
                        offered: 0,
                        callbacks: 0,
                        stages: rules.stages(),
                        groups: Vec::new(),
                        asked_last: None,
                        held: 0,
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
