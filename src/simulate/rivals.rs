//! Routers of other systems, for comparison: queues that poll, and overflow by a timer. Plain lists, no cleverness.

use super::CLASSES;
use super::input::{Roster, Seat};
use super::run::{Floor, Ring};
use crate::clock::Moment;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

/// app_queue's callers each wake once a second.
const POLL: Duration = Duration::from_secs(1);
const OVERFLOW: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// A caller takes the longest-idle agent when more eligible agents are free than callers stand before.
    AppQueue,
    /// Callers of the primary skill first; other skills for callers who have waited 20 s.
    Overflow20,
}

struct Agent {
    skills: Vec<(usize, u8)>,
    open: u32,
    talks: bool,
}

pub(super) struct RivalFloor {
    rule: Rule,
    seats: Vec<Seat>,
    agents: Vec<Agent>,
    /// Free agents, the longest idle first.
    free: BTreeSet<(u64, usize)>,
    turns: u64,
    idle_since: Vec<u64>,
    waiting: [BTreeSet<usize>; CLASSES.len()],
    classes: Vec<(usize, Moment)>,
    wakes: BinaryHeap<Reverse<(Moment, usize)>>,
    rings: VecDeque<Ring>,
    ringing: Vec<Option<usize>>,
}

impl RivalFloor {
    pub fn new(roster: &Roster, rule: Rule) -> Self {
        let agent = |_: &String| Agent { skills: Vec::new(), open: 0, talks: false };
        Self {
            rule,
            seats: roster.seats.clone(),
            agents: roster.agents.iter().map(agent).collect(),
            free: BTreeSet::new(),
            turns: 0,
            idle_since: vec![0; roster.agents.len()],
            waiting: Default::default(),
            classes: Vec::new(),
            wakes: BinaryHeap::new(),
            rings: VecDeque::new(),
            ringing: Vec::new(),
        }
    }

    fn becomes_free(&mut self, now: Moment, agent: usize) {
        self.agents[agent].talks = false;
        if self.agents[agent].open == 0 {
            return;
        }
        let next = match self.rule {
            // Nothing wakes the callers; each polls by itself.
            Rule::AppQueue => None,
            Rule::Overflow20 => self.next_for(now, agent),
        };
        match next {
            Some(call) => self.ring(call, agent),
            None => {
                self.turns += 1;
                self.idle_since[agent] = self.turns;
                self.free.insert((self.turns, agent));
            }
        }
    }

    fn next_for(&self, now: Moment, agent: usize) -> Option<usize> {
        let mut skills = self.agents[agent].skills.iter().map(|(class, _)| *class);
        let primary = self.waiting[skills.next()?].first().copied();
        primary.or_else(|| {
            let overflown = |call: &usize| now.since(self.classes[*call].1) >= OVERFLOW;
            skills.filter_map(|class| self.waiting[class].first().copied()).filter(overflown).min()
        })
    }

    fn seek(&mut self, now: Moment, call: usize) {
        let (class, came) = self.classes[call];
        let mut free = self.free.iter().map(|(_, agent)| *agent).filter(|agent| self.serves(*agent, class));
        let found = match self.rule {
            Rule::AppQueue => {
                let before = self.waiting[class].range(..call).count();
                let longest_idle = free.next();
                longest_idle.filter(|_| free.take(before).count() >= before)
            }
            Rule::Overflow20 if now.since(came) >= OVERFLOW => free.next(),
            Rule::Overflow20 => free.find(|agent| self.agents[*agent].skills.first().is_some_and(|(first, _)| *first == class)),
        };
        match (found, self.rule) {
            (Some(agent), _) => self.ring(call, agent),
            (None, Rule::AppQueue) => self.wakes.push(Reverse((now + POLL, call))),
            (None, Rule::Overflow20) if now.since(came) < OVERFLOW => self.wakes.push(Reverse((came + OVERFLOW, call))),
            (None, Rule::Overflow20) => {}
        }
    }

    fn serves(&self, agent: usize, class: usize) -> bool {
        self.agents[agent].skills.iter().any(|(skill, _)| *skill == class)
    }

    fn ring(&mut self, call: usize, agent: usize) {
        self.waiting[self.classes[call].0].remove(&call);
        self.free.remove(&(self.idle_since[agent], agent));
        self.agents[agent].talks = true;
        self.ringing[call] = Some(agent);
        self.rings.push_back(Ring::Begins { call, agent });
    }
}

impl Floor for RivalFloor {
    fn seat_begins(&mut self, now: Moment, seat: usize) {
        let Seat { agent, skills, .. } = self.seats[seat].clone();
        self.agents[agent].skills = skills;
        self.agents[agent].open += 1;
        if self.agents[agent].open == 1 && !self.agents[agent].talks {
            self.becomes_free(now, agent);
        }
    }

    fn seat_ends(&mut self, _now: Moment, seat: usize) {
        let agent = self.seats[seat].agent;
        self.agents[agent].open -= 1;
        if self.agents[agent].open == 0 {
            self.free.remove(&(self.idle_since[agent], agent));
        }
    }

    fn caller_comes(&mut self, now: Moment, call: usize, class: usize) {
        self.classes.push((class, now));
        self.ringing.push(None);
        self.waiting[class].insert(call);
        self.seek(now, call);
    }

    fn caller_leaves(&mut self, now: Moment, call: usize) {
        self.waiting[self.classes[call].0].remove(&call);
        if let Some(agent) = self.ringing[call].take() {
            self.becomes_free(now, agent);
        }
    }

    fn agent_answers(&mut self, _now: Moment, call: usize) {
        self.ringing[call] = None;
    }

    fn talk_ends(&mut self, now: Moment, agent: usize, _call: usize) {
        self.becomes_free(now, agent);
    }

    fn time_passes(&mut self, now: Moment) {
        if let Some(Reverse((_, call))) = self.wakes.pop()
            && self.waiting[self.classes[call].0].contains(&call)
        {
            self.seek(now, call);
        }
    }

    fn next(&self) -> Option<Moment> {
        self.wakes.peek().map(|Reverse((at, _))| *at)
    }

    fn poll(&mut self) -> Option<Ring> {
        self.rings.pop_front()
    }
}
