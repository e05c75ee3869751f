//! When an agent who wants work is left alone for a while: after an offer that was missed, and after coming and going too often.

use super::Acd;
use super::agent::{AgentNo, State, Wish};
use crate::clock::Moment;
use crate::facts::MissReason;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A phone that says no at once would otherwise be rung at wire speed.
const LEAST_REST: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Duty {
    pub misses: MissPolicies,
    /// `None`: agents may come and go as often as they like.
    pub flapping: Option<Flapping>,
}

/// What follows from a missed offer, by its reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MissPolicies {
    pub no_answer: MissPolicy,
    pub busy: MissPolicy,
    pub rejected: MissPolicy,
    /// Of a phone that stands somewhere; one that registers is waited for.
    pub unregistered: MissPolicy,
    pub unreachable: MissPolicy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissPolicy {
    /// The agent is left alone for so long …
    pub rest: Duration,
    /// … doubled with every such failure in a row up to this; no more than `rest`: it does not grow.
    pub longest_rest: Duration,
    /// Whether it is one of the misses in a row that end in a break.
    pub counts: bool,
}

/// Who comes to work more often than `times` `within` this time is left alone for `rest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flapping {
    pub times: u32,
    pub within: Duration,
    pub rest: Duration,
}

impl Default for MissPolicies {
    fn default() -> Self {
        let policy = |rest, longest_rest, counts| MissPolicy {
            rest: Duration::from_secs(rest),
            longest_rest: Duration::from_secs(longest_rest),
            counts,
        };
        Self {
            no_answer: policy(0, 0, true),
            // In use for something else; asking again at once would only hear 486 again.
            busy: policy(5, 5, false),
            rejected: policy(1, 1, true),
            unregistered: policy(5, 60, false),
            unreachable: policy(5, 60, true),
        }
    }
}

impl MissPolicies {
    pub(super) fn of(&self, reason: MissReason) -> MissPolicy {
        let policy = match reason {
            MissReason::NoAnswer => return self.no_answer,
            MissReason::Busy => self.busy,
            MissReason::Rejected => self.rejected,
            MissReason::Unregistered => self.unregistered,
            MissReason::Unreachable => self.unreachable,
        };
        MissPolicy { rest: policy.rest.max(LEAST_REST), ..policy }
    }
}

impl Acd {
    /// An agent who was away wants work and can be reached.
    pub(super) fn agent_comes_to_work(&mut self, now: Moment, no: AgentNo) {
        match self.left_alone_until(now, no) {
            Some(until) => {
                self.agent_becomes(now, no, State::OnBreak { reason: "flapping".to_owned(), until: Some(until) });
            }
            None => self.agent_goes_on(now, no, Wish::Work),
        }
    }

    /// A break of their own does not shorten it.
    fn left_alone_until(&mut self, now: Moment, no: AgentNo) -> Option<Moment> {
        let rules = self.duty.flapping?;
        let agent = &mut self.agents[no];
        if let Some(until) = agent.left_alone_until.filter(|until| *until > now) {
            return Some(until);
        }
        agent.comings.push_back(now);
        while agent.comings.front().is_some_and(|came| now.since(*came) > rules.within) {
            agent.comings.pop_front();
        }
        if agent.comings.len() <= rules.times as usize {
            return None;
        }
        agent.comings.clear();
        agent.left_alone_until = Some(now + rules.rest);
        agent.left_alone_until
    }
}
