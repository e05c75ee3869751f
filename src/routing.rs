//! By which rule callers and agents find each other: the names a configuration may write, and what each compares.
//!
//! Overdue callers come before all others, then urgent ones, then the higher priority; a [`Policy`] decides among the rest.

use serde::{Deserialize, Serialize};

/// Which of the queues an agent serves next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The queue whose mean wait over target has been the worst of late, weighed with the work that stands in it and with how few
    /// agents can do it (`docs/decisions/0010`).
    #[default]
    TargetBalance,
    /// Fixed queue ratio: the queue that is the furthest over its share of all who wait, where a share follows from arrivals and
    /// target (Gurvich & Whitt, *Service-Level Differentiation in Many-Server Service Systems via Queue-Ratio Routing*,
    /// Operations Research 58(2), 2010).
    QueueRatio,
    /// The largest wait of a first caller over its target (generalised cµ).
    TargetWait,
    /// The longest wait of a first caller.
    LongestWait,
    /// The queue with the shortest target, whatever the others wait.
    StrictPriority,
}

impl Policy {
    pub const ALL: [Policy; 5] =
        [Policy::TargetBalance, Policy::QueueRatio, Policy::TargetWait, Policy::LongestWait, Policy::StrictPriority];

    /// How a caller's agent is chosen where the queue does not say it.
    pub fn agent_order(self) -> AgentOrder {
        match self {
            Policy::TargetBalance => AgentOrder::LeastMissed,
            Policy::QueueRatio => AgentOrder::MostIdleGroup,
            Policy::TargetWait | Policy::LongestWait | Policy::StrictPriority => AgentOrder::LongestIdle,
        }
    }
}

/// Which of the free agents a caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentOrder {
    /// The one whom the other queues would miss least.
    LeastMissed,
    /// The group of like agents with the most idle ones, there the longest idle.
    MostIdleGroup,
    LongestIdle,
    LeastTalkTime,
    FewestCalls,
    /// The smallest share of the time on duty spent in talks.
    LeastOccupied,
    /// The next one after whom this queue asked last.
    RoundRobin,
    /// Always from the top of the list, by name.
    TopDown,
    Random,
}

impl AgentOrder {
    pub const ALL: [AgentOrder; 9] = [
        AgentOrder::LeastMissed,
        AgentOrder::MostIdleGroup,
        AgentOrder::LongestIdle,
        AgentOrder::LeastTalkTime,
        AgentOrder::FewestCalls,
        AgentOrder::LeastOccupied,
        AgentOrder::RoundRobin,
        AgentOrder::TopDown,
        AgentOrder::Random,
    ];
}
