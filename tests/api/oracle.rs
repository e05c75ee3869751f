//! A random day on a floor as the journal has it, and a second way to count it: call by call over the facts, without tables.

use dozvon::acd::*;
use dozvon::clock::Moment;
use dozvon::facts::*;
use dozvon::ids::*;
use dozvon::simulate::Dice;
use dozvon::skills::Requirement;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

const QUEUES: [(&str, u16); 3] = [("therapy", 22), ("children", 22), ("other_region", 76)];
const AGENTS: u32 = 7;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Call,
    GivesUp(CallId),
    PicksUp(OfferId),
    Misses(OfferId),
    HangsUp(u32, CallId),
    Break(u32),
    Back(u32),
}

struct Day {
    acd: Acd,
    dice: Dice,
    now: Moment,
    due: BTreeSet<(Moment, u64, Due)>,
    count: u64,
    facts: Vec<Stamped>,
}

/// Two hours and a half of calls, breaks, misses, wrap-up; whoever waits or talks at the end is live.
pub fn lived_day(seed: u64, start: Moment) -> Vec<Stamped> {
    let mut day = Day {
        acd: Acd::new(IdSource::new(1)),
        dice: Dice::new(seed),
        now: start,
        due: BTreeSet::new(),
        count: 0,
        facts: Vec::new(),
    };
    day.tell(Event::RulesChanged(Box::new(rules())));
    for no in 0..AGENTS {
        day.tell(Event::AgentReachable { agent: agent(no), reachable: true });
        day.later(f64::from(no) * 60.0, Due::Back(no));
        let at = 600.0 + day.dice.exponential(3_000.0);
        day.later(at, Due::Break(no));
    }
    day.later(1.0, Due::Call);
    let end = start + Duration::from_secs(9_000);
    loop {
        let (scheduled, timeout) = (day.due.first().map(|(at, ..)| *at), day.acd.poll_timeout());
        let Some(next) = [scheduled, timeout].into_iter().flatten().min().filter(|next| *next < end) else { return day.facts };
        day.now = next.max(day.now);
        if timeout == Some(next) {
            day.acd.handle_timeout(day.now);
            day.drain();
        } else if let Some((_, _, due)) = day.due.pop_first() {
            day.happens(due);
        }
    }
}

impl Day {
    fn happens(&mut self, due: Due) {
        match due {
            Due::Call => {
                self.count += 1;
                let call = CallId(Uuid::from_u128(0x0193_0000 << 96 | u128::from(self.count)));
                let (queue, region) = QUEUES[self.dice.below(3) as usize];
                self.fact(Fact::CallEntered {
                    call,
                    region: RegionId(region),
                    trunk: "mts".into(),
                    dialled: "122".into(),
                    person: None,
                });
                let urgent = self.dice.below(10) == 0;
                self.tell(Event::CallerQueued { call, queue: queue.into(), person: None, priority: 0, urgent });
                let (patience, gap) = (self.dice.exponential(120.0), self.dice.exponential(18.0));
                self.later(patience, Due::GivesUp(call));
                self.later(gap, Due::Call);
            }
            Due::GivesUp(call) if self.acd.stands(call).is_some() => {
                self.tell(Event::CallerLeft { call, why: QueueLeft::Abandoned });
                self.fact(Fact::CallEnded { call, outcome: Outcome::AbandonedInQueue });
            }
            Due::GivesUp(_) => {}
            Due::PicksUp(offer) => self.tell(Event::OfferAnswered { offer }),
            Due::Misses(offer) => self.tell(Event::OfferMissed { offer, reason: MissReason::Rejected }),
            Due::HangsUp(no, call) => {
                self.tell(Event::TalkEnded { agent: agent(no), call, by: Party::Citizen });
                self.fact(Fact::CallEnded { call, outcome: Outcome::Served });
            }
            Due::Break(no) => {
                self.tell(Event::AgentOnBreak { agent: agent(no), reason: "lunch".into() });
                self.later(400.0, Due::Back(no));
            }
            Due::Back(no) => self.tell(Event::AgentReady { agent: agent(no) }),
        }
    }

    fn tell(&mut self, event: Event) {
        self.acd.handle(self.now, event);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(command) = self.acd.poll_command() {
            match command {
                Command::Record(fact) => {
                    if let Fact::TalkStarted { call, agent, .. } = &fact {
                        let (no, call) = (agent.as_str()[2..].parse().unwrap(), *call);
                        let talk = self.dice.log_normal(100.0, 1.0);
                        self.later(talk, Due::HangsUp(no, call));
                    }
                    self.fact(fact);
                }
                Command::Offer { offer, .. } => {
                    let rings = self.dice.exponential(4.0);
                    let due = if self.dice.below(8) == 0 { Due::Misses(offer) } else { Due::PicksUp(offer) };
                    self.later(rings, due);
                }
                Command::Overflow { call, .. } => self.fact(Fact::CallEnded { call, outcome: Outcome::Failed }),
                _ => {}
            }
        }
    }

    fn later(&mut self, seconds: f64, due: Due) {
        self.count += 1;
        self.due.insert((self.now + Duration::from_secs_f64(seconds), self.count, due));
    }

    fn fact(&mut self, fact: Fact) {
        self.facts.push(Stamped { at: self.now, fact });
    }
}

/// The answer of `/api/v1/report/statistics` for one region, counted from the facts alone.
pub fn counted(facts: &[Stamped], region: u16, from: Moment, to: Moment, within_s: u64) -> Value {
    let mut calls: BTreeMap<CallId, Vec<&Stamped>> = BTreeMap::new();
    let mut agents: BTreeMap<&AgentId, Vec<(Moment, AgentStateName)>> = BTreeMap::new();
    for stamped in facts.iter().filter(|stamped| stamped.at < to) {
        match &stamped.fact {
            Fact::CallEntered { call, region: of, .. } if of.0 == region && stamped.at >= from => {
                calls.insert(*call, Vec::new());
            }
            Fact::QueueEntered { call, .. }
            | Fact::QueueLeft { call, .. }
            | Fact::TalkStarted { call, .. }
            | Fact::TalkEnded { call, .. } => {
                if let Some(steps) = calls.get_mut(call) {
                    steps.push(stamped);
                }
            }
            Fact::AgentChanged { agent, region: of, state, .. } if of.0 == region => {
                agents.entry(agent).or_default().push((stamped.at, *state));
            }
            _ => {}
        }
    }
    // Each call's way: what each stay in a queue came to.
    let mut stays: Vec<(String, &str, f64)> = Vec::new();
    let (mut talks, mut talk_s) = (0, 0.0);
    for steps in calls.values() {
        let mut waits: Option<(&QueueId, Moment)> = None;
        let mut talks_since = None;
        for Stamped { at, fact } in steps {
            match fact {
                Fact::QueueEntered { queue, .. } => waits = Some((queue, *at)),
                Fact::QueueLeft { why, .. } => {
                    let (queue, since) = waits.take().unwrap();
                    let how = if *why == QueueLeft::Abandoned { "abandoned" } else { "other" };
                    stays.push((queue.to_string(), how, seconds(*at - since)));
                }
                Fact::TalkStarted { .. } => {
                    let (queue, since) = waits.take().unwrap();
                    stays.push((queue.to_string(), "answered", seconds(*at - since)));
                    talks_since = Some(*at);
                }
                Fact::TalkEnded { .. } => {
                    talks += 1;
                    talk_s += seconds(*at - talks_since.take().unwrap());
                }
                _ => unreachable!(),
            }
        }
        stays.extend(waits.map(|(queue, _)| (queue.to_string(), "waiting", 0.0)));
    }
    // Each agent's day, state by state.
    let mut spent: BTreeMap<&str, f64> = BTreeMap::new();
    for changes in agents.values() {
        let ends = changes.iter().skip(1).map(|(at, _)| *at).chain([to]);
        for ((at, state), end) in changes.iter().zip(ends) {
            let (begin, end) = ((*at).max(from), end.max(from));
            *spent.entry(word(*state)).or_default() += seconds(end - begin);
        }
    }
    let spent = |state: &str| spent.get(state).copied().unwrap_or_default();
    let busy = spent("offered") + spent("talking") + spent("wrap_up");
    let names: BTreeSet<&String> = stays.iter().map(|(queue, ..)| queue).collect();
    let queues: BTreeMap<&String, Value> = names.iter().map(|name| (*name, visits(&stays, Some(name), within_s))).collect();
    json!({
        "within_s": within_s, "all": visits(&stays, None, within_s), "queues": queues, "talks": talks, "talk_s": talk_s,
        "handle_time_s": (talk_s + spent("wrap_up")) / f64::from(talks), "occupancy": busy / (busy + spent("ready")),
        "agents": {
            "ready_s": spent("ready"), "offered_s": spent("offered"), "talking_s": spent("talking"),
            "wrap_up_s": spent("wrap_up"), "on_break_s": spent("on_break"),
        },
    })
}

fn visits(stays: &[(String, &str, f64)], queue: Option<&str>, within_s: u64) -> Value {
    let of = |how: &str, longest: f64| -> Vec<f64> {
        let theirs = stays.iter().filter(|(name, ..)| queue.is_none_or(|queue| queue == name));
        theirs.filter(|(_, end, wait)| *end == how && *wait <= longest).map(|(_, _, wait)| *wait).collect()
    };
    let (any, within) = (f64::INFINITY, within_s as f64);
    let [answered, quickly, abandoned, soon, waiting, other] = [
        of("answered", any),
        of("answered", within),
        of("abandoned", any),
        of("abandoned", within),
        of("waiting", any),
        of("other", any),
    ];
    let [n, q, a, s] = [&answered, &quickly, &abandoned, &soon].map(|list| list.len() as f64);
    json!({
        "offered": answered.len() + abandoned.len() + waiting.len() + other.len(), "answered": answered.len(),
        "answered_within": quickly.len(), "abandoned": abandoned.len(), "abandoned_within": soon.len(), "waiting": waiting.len(),
        "service_level_of_answered": q / n, "service_level_of_offered": q / (n + a),
        "service_level_without_short_abandons": q / (n + a - s),
        "speed_of_answer_s": answered.iter().sum::<f64>() / n, "abandoned_share": a / (n + a),
    })
}

/// Equal but for the last digits of a sum of many.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 1e-9 * a.abs().max(1.0)
        }
        (a, b) => a == b,
    }
}

fn seconds(span: Duration) -> f64 {
    span.as_micros() as f64 / 1e6
}

fn word(state: AgentStateName) -> &'static str {
    match state {
        AgentStateName::Offline => "offline",
        AgentStateName::Ready => "ready",
        AgentStateName::Offered => "offered",
        AgentStateName::Talking => "talking",
        AgentStateName::WrapUp => "wrap_up",
        AgentStateName::OnBreak => "on_break",
    }
}

fn agent(no: u32) -> AgentId {
    AgentId::from(format!("op{no}").as_str())
}

fn rules() -> Rules {
    let queues = QUEUES.map(|(name, region)| {
        let waited = When { waited: Some(Duration::from_secs(200)), ..When::default() };
        let rules = QueueRules {
            region: RegionId(region),
            requires: Requirement::AtLeast(Skill::from(name), 1),
            target: Duration::from_secs(20),
            priority: 0,
            max_waiting: 12,
            ring: Duration::from_secs(15),
            wrap_up: Duration::from_secs(12),
            announce: None,
            seek: Seek::default(),
            after_talk: Default::default(),
            while_waiting: WhileWaiting {
                overflow: vec![Overflow { when: waited, then: Then::Robot }],
                ..WhileWaiting::default()
            },
        };
        (QueueId::from(name), rules)
    });
    let agents = (0..AGENTS).map(|no| {
        let skills = QUEUES.iter().filter(|(_, region)| (*region == 76) == (no % 3 == 2));
        let rules = AgentRules {
            region: RegionId(if no % 3 == 2 { 76 } else { 22 }),
            skills: skills.map(|(name, _)| (Skill::from(*name), 50)).collect(),
            always_ready: false,
            misses_to_break: 0,
            reserve: false,
        };
        (agent(no), rules)
    });
    Rules {
        queues: queues.into(),
        agents: agents.collect(),
        callbacks: CallbackRules::default(),
        routing: Routing::installed(),
        duty: Default::default(),
    }
}
