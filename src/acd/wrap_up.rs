//! After the talk: how long the wrap-up lasts, who may end or lengthen it, and what the agent says came of the talk.

use super::Acd;
use super::agent::{AgentNo, State, Wish};
use super::queue::QueueNo;
use crate::clock::Moment;
use crate::facts::Fact;
use crate::ids::{AgentId, CallId, QueueId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// How wrap-ups of a queue end; how long they last without a word stands in its `wrap_up`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WrapUpRules {
    pub ends: WrapUpEnds,
    /// What may have come of a talk: the code as agents give it, and its title. Empty: nobody is asked.
    pub codes: BTreeMap<String, String>,
    /// It lasts until a code is given, though never beyond `longest`.
    pub code_required: bool,
    /// No wrap-up lasts longer, whatever is asked for or missing.
    pub longest: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WrapUpEnds {
    /// When the agent is done, or its time is over.
    #[default]
    Early,
    /// When its time is over, not before.
    Forced,
    /// As `Early`; each time the agent asks, its end is so much later.
    Extendable { more: Duration },
}

/// What keeps an agent in the wrap-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Held {
    ByTime,
    /// The agent asked for more.
    Longer,
    /// The time is over, but nobody knows yet what came of the talk.
    ForCode,
}

/// The talk to which a code of this agent belongs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LastTalk {
    pub call: CallId,
    pub queue: QueueNo,
    pub coded: bool,
}

/// What an agent may not do now, in a sentence for them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("agent {0} is not wrapping up")]
    NotWrappingUp(AgentId),
    #[error("the wrap-up of queue {0} lasts its full time; nobody can end it before")]
    LastsItsTime(QueueId),
    #[error("say first what came of the talk; codes are: {0}")]
    CodeMissing(String),
    #[error("the wrap-up of queue {0} cannot be made longer")]
    NotExtendable(QueueId),
    #[error("no wrap-up of queue {queue} lasts longer than {longest_s} s")]
    LongEnough { queue: QueueId, longest_s: u64 },
    #[error("agent {0} has had no talk that a code could be given for")]
    NoTalk(AgentId),
    #[error("queue {0} asks for no codes")]
    NoCodes(QueueId),
    #[error("`{code}` is no code of queue {queue}; codes are: {codes}")]
    UnknownCode { code: String, queue: QueueId, codes: String },
}

impl WrapUpRules {
    /// `1 booked, 2 told`
    fn list(&self) -> String {
        self.codes.iter().map(|(code, title)| format!("{code} {title}")).collect::<Vec<_>>().join(", ")
    }
}

/// What the agent says about it; refused words change nothing.
impl Acd {
    pub fn may_finish_wrap_up(&self, agent: &AgentId) -> Result<(), Refused> {
        let no = self.wrapping_up(agent)?;
        self.wrap_up_held(no)
    }

    pub fn may_extend_wrap_up(&self, agent: &AgentId) -> Result<(), Refused> {
        self.longer_wrap_up(self.wrapping_up(agent)?).map(|_| ())
    }

    pub fn may_give_code(&self, agent: &AgentId, code: &str) -> Result<(), Refused> {
        self.talk_for_code(agent, code).map(|_| ())
    }

    pub(super) fn wrap_up_done(&mut self, now: Moment, no: AgentNo) {
        if let (State::WrapUp { then, .. }, Ok(())) = (&self.agents[no].state, self.wrap_up_held(no)) {
            let then = then.clone();
            self.agent_goes_on(now, no, then);
        }
    }

    pub(super) fn wrap_up_extended(&mut self, now: Moment, no: AgentNo) {
        let Ok(longer) = self.longer_wrap_up(no) else { return };
        if let State::WrapUp { call, queue, then, .. } = &self.agents[no].state {
            let state = State::WrapUp { call: *call, queue: *queue, until: longer, then: then.clone(), held: Held::Longer };
            self.agent_becomes(now, no, state);
        }
    }

    /// The last word counts. Whom only the code kept goes on.
    pub(super) fn code_given(&mut self, now: Moment, agent: &AgentId, code: String) {
        let Ok((no, call, queue)) = self.talk_for_code(agent, &code) else { return };
        let title = self.queues[queue].rules.after_talk.codes.get(&code).cloned().unwrap_or_default();
        self.agents[no].last_talk = Some(LastTalk { call, queue, coded: true });
        let queue = self.queues[queue].id.clone();
        self.record(Fact::TalkCoded { call, agent: agent.clone(), queue, code, title });
        if let State::WrapUp { held: Held::ForCode, then, .. } = &self.agents[no].state {
            let then = then.clone();
            self.agent_goes_on(now, no, then);
        }
    }
}

/// How it goes by itself.
impl Acd {
    pub(super) fn wrap_up_begins(&mut self, now: Moment, no: AgentNo, (call, queue): (CallId, QueueNo), then: Wish) {
        let coded = self.agents[no].last_talk.as_ref().is_some_and(|last| last.call == call && last.coded);
        self.agents[no].last_talk = Some(LastTalk { call, queue, coded });
        let rules = &self.queues[queue].rules;
        let (time, longest) = (rules.wrap_up, rules.after_talk.longest);
        let for_code = time.is_zero() && self.owes_code(no) && !longest.is_zero();
        if !self.agents[no].listed || (time.is_zero() && !for_code) {
            return self.agent_goes_on(now, no, then);
        }
        let (until, held) = if for_code { (now + longest, Held::ForCode) } else { (now + time, Held::ByTime) };
        self.agent_becomes(now, no, State::WrapUp { call, queue, until, then, held });
    }

    /// Its time is over: who owes a code stays a while.
    pub(super) fn wrap_up_ends(&mut self, now: Moment, no: AgentNo) {
        let State::WrapUp { call, queue, then, held, .. } = &self.agents[no].state else { return };
        let (call, queue, then, held) = (*call, *queue, then.clone(), *held);
        let until = self.agents[no].since + self.queues[queue].rules.after_talk.longest;
        if held != Held::ForCode && self.owes_code(no) && until > now {
            return self.agent_becomes(now, no, State::WrapUp { call, queue, until, then, held: Held::ForCode });
        }
        self.agent_goes_on(now, no, then);
    }

    /// Whether the agent's own wish has to wait for the end of the wrap-up.
    pub(super) fn wrap_up_held(&self, no: AgentNo) -> Result<(), Refused> {
        let State::WrapUp { queue, held, .. } = &self.agents[no].state else { return Ok(()) };
        let queue = &self.queues[*queue];
        if self.owes_code(no) {
            return Err(Refused::CodeMissing(queue.rules.after_talk.list()));
        }
        match (queue.rules.after_talk.ends, held) {
            (WrapUpEnds::Forced, Held::ByTime) => Err(Refused::LastsItsTime(queue.id.clone())),
            (WrapUpEnds::Forced, Held::Longer | Held::ForCode) => Ok(()),
            (WrapUpEnds::Early | WrapUpEnds::Extendable { .. }, _) => Ok(()),
        }
    }

    fn wrapping_up(&self, agent: &AgentId) -> Result<AgentNo, Refused> {
        let no = self.agents.listed(agent).filter(|no| matches!(self.agents[*no].state, State::WrapUp { .. }));
        no.ok_or_else(|| Refused::NotWrappingUp(agent.clone()))
    }

    fn owes_code(&self, no: AgentNo) -> bool {
        let owed = |queue: QueueNo| {
            let rules = &self.queues[queue].rules.after_talk;
            rules.code_required && !rules.codes.is_empty()
        };
        self.agents[no].last_talk.as_ref().is_some_and(|last| !last.coded && owed(last.queue))
    }

    /// The end of the wrap-up once it is made longer.
    fn longer_wrap_up(&self, no: AgentNo) -> Result<Moment, Refused> {
        let State::WrapUp { queue, until, .. } = &self.agents[no].state else {
            return Err(Refused::NotWrappingUp(self.agents[no].id.clone()));
        };
        let queue = &self.queues[*queue];
        let WrapUpEnds::Extendable { more } = queue.rules.after_talk.ends else {
            return Err(Refused::NotExtendable(queue.id.clone()));
        };
        let longest = queue.rules.after_talk.longest;
        let latest = self.agents[no].since + longest;
        let too_long = || Refused::LongEnough { queue: queue.id.clone(), longest_s: longest.as_secs() };
        Some((*until + more).min(latest)).filter(|longer| longer > until).ok_or_else(too_long)
    }

    /// The talk that goes on, or else the last one.
    fn talk_for_code(&self, agent: &AgentId, code: &str) -> Result<(AgentNo, CallId, QueueNo), Refused> {
        let none = || Refused::NoTalk(agent.clone());
        let no = self.agents.listed(agent).ok_or_else(none)?;
        let (call, queue) = match (&self.agents[no].state, &self.agents[no].last_talk) {
            (State::Talking { call, queue, .. }, _) => (*call, *queue),
            (_, Some(last)) => (last.call, last.queue),
            (_, None) => return Err(none()),
        };
        let known = &self.queues[queue];
        let rules = &known.rules.after_talk;
        match rules.codes.contains_key(code) {
            true => Ok((no, call, queue)),
            false if rules.codes.is_empty() => Err(Refused::NoCodes(known.id.clone())),
            false => Err(Refused::UnknownCode { code: code.to_owned(), queue: known.id.clone(), codes: rules.list() }),
        }
    }
}
