//! The picture of the engine for people: made on request, from the brains' views and the folds in memory.

use super::conductor::Conductor;
use super::live_call::LiveCall;
use super::view;
use crate::acd::{AgentView, CallbackView};
use crate::clock::Moment;
use crate::facts::AgentStateName;
use crate::ids::QueueId;

impl Conductor {
    pub(super) fn board(&mut self) -> view::Board {
        self.pictures += 1;
        view::Board {
            sequence: self.pictures,
            at_ms: ms(self.now),
            queues: self.queues(),
            agents: self.agents(),
            calls: self.calls.values().take(view::Board::MAX_CALLS).map(|call| self.call_view(call)).collect(),
            live_calls: self.calls.len() as u64,
            regions: self.regions(),
            journal: view::Journal {
                position: self.journal.position(),
                behind_bytes: self.journal.position().saturating_sub(self.store_at),
                behind_s: self.tables_owe.map_or(0, |(_, since)| self.now.since(since).as_secs()),
                failing: self.journal_failing,
            },
            trunks: self.trunk_views(),
            draining: self.drain_until.is_some(),
            around: view::Around::default(),
        }
    }

    pub(super) fn callbacks(&self) -> Vec<view::Callback> {
        let view = |open: CallbackView| view::Callback {
            task: open.task,
            standing: open.standing,
            next_attempt: open.next_attempt,
            promised: open.promised,
        };
        self.acd.open_callbacks(None).map(view).collect()
    }

    fn queues(&self) -> Vec<view::Queue> {
        let title = |queue: &QueueId| self.house.config.queue(queue).map(|queue| queue.title.clone()).unwrap_or_default();
        let queues = self.acd.queues().map(|queue| view::Queue {
            title: title(&queue.queue),
            wait_estimate_ms: self.acd.estimate_for_newcomer(self.now, &queue.queue).map(|wait| wait.promised.as_millis() as u64),
            queue: queue.queue.to_string(),
            region: queue.region.0,
            waiting: queue.waiting,
            offered: queue.offered,
            longest_wait_ms: queue.longest_since.map_or(0, |since| self.now.since(since).as_millis() as u64),
            target_ms: queue.target.as_millis() as u64,
            ready_agents: queue.ready_agents,
            closed: queue.closed,
        });
        queues.collect()
    }

    fn agents(&self) -> Vec<view::Agent> {
        let overdue = |agent: &AgentView| {
            let reason = agent.reason.as_ref().filter(|_| agent.state == AgentStateName::OnBreak);
            let longest = reason.and_then(|reason| self.house.config.break_reason(reason)).map(|known| known.longest);
            longest.is_some_and(|longest| !longest.is_zero() && self.now.since(agent.since) > longest)
        };
        let agents = self.acd.agents().map(|agent| view::Agent {
            overdue: overdue(&agent),
            overridden_by: agent.overridden.as_ref().map(|order| order.by.clone()),
            overridden_why: agent.overridden.map(|order| order.why),
            agent: agent.agent.to_string(),
            region: agent.region.0,
            state: state_word(agent.state).to_owned(),
            reason: agent.reason,
            since_ms: ms(agent.since),
            call: agent.call.map(|call| call.to_string()),
            reachable: agent.reachable,
            served: agent.served,
            missed: agent.missed,
            until_ms: agent.until.map(ms),
        });
        agents.collect()
    }

    fn call_view(&self, call: &LiveCall) -> view::Call {
        view::Call {
            call: call.id.to_string(),
            region: call.region.0,
            caller: call.caller.as_ref().map(ToString::to_string).unwrap_or_default(),
            dialled: call.dialled.clone(),
            stage: call.talk.stage_word().to_owned(),
            queue: call.queue.as_ref().map(ToString::to_string),
            agent: call.talk.agent().map(ToString::to_string),
            theme: call.theme.clone(),
            since_ms: ms(call.since),
            stage_since_ms: ms(call.stage_since),
        }
    }

    fn regions(&self) -> Vec<view::RegionLedger> {
        let regions = self.house.config.regions.iter().map(|region| {
            let ledger = self.ledger.day(region.code, self.house.midnight(region.code, self.now));
            view::RegionLedger {
                region: region.code.0,
                title: region.title.clone(),
                entered: ledger.entered,
                live: ledger.live,
                outcomes: ledger.outcomes,
                open_callbacks: ledger.open_callbacks,
            }
        });
        regions.collect()
    }

    fn trunk_views(&self) -> Vec<view::Trunk> {
        let trunks = self.house.config.trunks.iter().map(|trunk| view::Trunk {
            trunk: trunk.name.to_string(),
            reachable: self.trunks.get(&trunk.name).copied().unwrap_or(true),
            live: self.calls.values().filter(|call| call.trunk == trunk.name).count() as u32,
            channels: trunk.channels,
        });
        trunks.collect()
    }
}

fn ms(moment: Moment) -> u64 {
    moment.0 / 1000
}

fn state_word(state: AgentStateName) -> &'static str {
    match state {
        AgentStateName::Offline => "offline",
        AgentStateName::Ready => "ready",
        AgentStateName::Offered => "offered",
        AgentStateName::Talking => "talking",
        AgentStateName::WrapUp => "wrap_up",
        AgentStateName::OnBreak => "on_break",
    }
}
