//! Plays `tests/scenarios/acd/*.txt`: plain text a supervisor can read. Every command must stand in the text, and no other.
//!
//! ```text
//! rule queue therapy: needs therapy 50; target 20 s; ring 15 s      rules before the first moment, or at any later one
//! 0.0  A1 ready with therapy                                       what happens, at which second
//! > offer C1 to A1                                                 what the engine does about it, in order
//! shown: agents, queues, offers, talks, callbacks                  facts of these kinds must stand in the text as well
//! ```
//! Time runs deadline by deadline up to the next line; at the very moment of a deadline the line comes first, unless it is
//! `time passes`.

use dozvon::acd::{
    Acd, AgentRules, CallbackDialling, CallbackRules, Command, Duty, Event, Flapping, LastAgentRules, MissPolicy, Missed,
    OfRegion, Order, Overflow, QueueRules, Routing, Rules, Seek, Then, Way, When, WhileWaiting, WrapUpEnds, WrapUpRules,
};
use dozvon::clock::Moment;
use dozvon::facts::{AttemptEnd, Booking, Fact, MissReason, OfferEnd, Outcome, Party, QueueLeft, TaskEnd};
use dozvon::ids::{AgentId, CallId, IdSource, OfferId, PersonId, QueueId, RegionId, Skill, TaskId, TrunkId};
use dozvon::skills::Requirement;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

#[test]
fn every_scenario_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/acd");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 25, "scenarios are missing");
    let play_file =
        |file: &std::path::PathBuf| play(&std::fs::read_to_string(file).unwrap()).err().map(|why| (file.clone(), why));
    let failed: Vec<_> = files.iter().filter_map(play_file).collect();
    for (file, why) in &failed {
        eprintln!("--- {}\n{why}", file.display());
    }
    assert!(failed.is_empty(), "{} of {} scenarios fail", failed.len(), files.len());
}

#[test]
fn a_command_that_is_not_in_the_text_fails_the_scenario() {
    assert!(play("0.0 A1 ready with therapy\n1.0 C1 queued for therapy\n> offer C1 to A1").is_ok());
    assert!(play("0.0 A1 ready with therapy\n1.0 C1 queued for therapy").is_err());
}

#[test]
fn a_command_that_does_not_come_fails_the_scenario() {
    assert!(play("0.0 A1 ready with therapy\n1.0 C1 queued for drugs\n> offer C1 to A1").is_err());
}

type Said<T> = Result<T, String>;

struct Scene {
    acd: Acd,
    now: Moment,
    rules: Rules,
    rules_are_new: bool,
    shown: Vec<String>,
    /// The last offer of a caller to an agent, gone or not.
    offers: BTreeMap<(String, String), OfferId>,
    parties: BTreeMap<OfferId, (String, String)>,
    calls: BTreeMap<CallId, String>,
    persons: BTreeMap<PersonId, String>,
    happened: Vec<String>,
}

fn play(text: &str) -> Said<()> {
    let mut scene = Scene {
        acd: Acd::new(IdSource::new(1)),
        now: Moment::ZERO,
        rules: Rules::default(),
        rules_are_new: false,
        shown: Vec::new(),
        offers: BTreeMap::new(),
        parties: BTreeMap::new(),
        calls: BTreeMap::new(),
        persons: BTreeMap::new(),
        happened: Vec::new(),
    };
    let mut expected: Vec<String> = Vec::new();
    let mut at = "the beginning";
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(command) = line.strip_prefix('>') {
            expected.push(command.trim().to_owned());
            continue;
        }
        settle(&mut scene, &mut expected, at)?;
        at = line;
        scene.line(line).map_err(|why| format!("{line}: {why}"))?;
    }
    settle(&mut scene, &mut expected, at)
}

fn settle(scene: &mut Scene, expected: &mut Vec<String>, line: &str) -> Said<()> {
    let (expected, happened) = (std::mem::take(expected), std::mem::take(&mut scene.happened));
    if expected != happened {
        let list = |lines: &[String]| lines.iter().map(|line| format!("  > {line}\n")).collect::<String>();
        return Err(format!("{line}\n expected\n{} happened\n{}", list(&expected), list(&happened)));
    }
    Ok(())
}

impl Scene {
    fn line(&mut self, line: &str) -> Said<()> {
        if let Some(kinds) = line.strip_prefix("shown:") {
            self.shown = kinds.split(',').map(|kind| kind.trim().to_owned()).collect();
            return Ok(());
        }
        if let Some(rule) = line.strip_prefix("rule ") {
            return self.rule(rule);
        }
        let (at, what) = line.split_once(char::is_whitespace).ok_or("a moment and what happens")?;
        let at = Moment(seconds(at)?.as_micros() as u64);
        self.run_until(at, what.trim() == "time passes")?;
        match what.trim() {
            "time passes" => Ok(()),
            what => match what.strip_prefix("rule ") {
                Some(rule) => {
                    self.rule(rule)?;
                    self.send_rules()
                }
                None => self.happens(what),
            },
        }
    }

    fn run_until(&mut self, at: Moment, inclusive: bool) -> Said<()> {
        self.send_rules()?;
        while let Some(due) = self.acd.poll_timeout().filter(|due| *due < at || inclusive && *due == at) {
            self.now = due.max(self.now);
            self.acd.handle_timeout(self.now);
            self.drain()?;
        }
        self.now = at;
        Ok(())
    }

    fn happens(&mut self, what: &str) -> Said<()> {
        if let Some(keeping) = what.strip_prefix("the engine starts anew") {
            let kept =
                keeping.trim_start_matches(", keeping").split_whitespace().map(|call| self.call(call)).collect::<Said<_>>()?;
            return self.send(Event::EngineStarted { epoch: 2, kept });
        }
        let words: Vec<&str> = what.split_whitespace().collect();
        if let ["task", task, "tried", "by", "hand:", end] = words[..] {
            return self.send(Event::TaskTried { task: TaskId(number(task)?), end: word::<AttemptEnd>(end)? });
        }
        let agent = || AgentId::from(words[0]);
        let event = match &words[1..] {
            ["ready", "with", ..] => {
                self.skilled_agent(words[0], what.split_once("with").ok_or("skills")?.1)?;
                self.send_rules()?;
                self.send(Event::AgentReachable { agent: agent(), reachable: true })?;
                Event::AgentReady { agent: agent() }
            }
            ["ready"] => Event::AgentReady { agent: agent() },
            ["on", "break", reason] => Event::AgentOnBreak { agent: agent(), reason: (*reason).to_owned() },
            ["offline"] => Event::AgentOffline { agent: agent() },
            ["reachable"] => Event::AgentReachable { agent: agent(), reachable: true },
            ["unreachable"] => Event::AgentReachable { agent: agent(), reachable: false },
            ["finishes", "wrap-up"] => Event::WrapUpDone { agent: agent() },
            ["asks", "for", "more", "time"] => Event::WrapUpLonger { agent: agent() },
            ["is", "found", "talking", "with", call, "of", queue] => {
                let queue = QueueId::from(*queue);
                Event::AgentTalks { agent: agent(), call: self.call(call)?, queue, person: None }
            }
            ["is", "ordered", order @ .., "by", by] => {
                let order = match order {
                    ["ready"] => Order::Ready,
                    ["offline"] => Order::Offline,
                    ["break", reason] => Order::Break { reason: (*reason).to_owned() },
                    _ => return Err("ready, offline or break with its reason".into()),
                };
                Event::AgentOverridden { agent: agent(), order, by: (*by).to_owned(), why: "needed".to_owned() }
            }
            ["gives", "code", code] => Event::CodeGiven { agent: agent(), code: (*code).to_owned() },
            ["answers", call] => Event::OfferAnswered { offer: self.offer(call, words[0])? },
            ["misses", call, reason] => Event::OfferMissed {
                offer: self.offer(call.trim_end_matches(':'), words[0])?,
                reason: word::<MissReason>(reason)?,
            },
            ["ends", call] => Event::TalkEnded { agent: agent(), call: self.call(call)?, by: Party::Agent },
            ["loses", call] => Event::TalkEnded { agent: agent(), call: self.call(call)?, by: Party::Network },
            ["queued", "for", queue, more @ ..] => self.queued(words[0], queue, more)?,
            ["leaves", why] => Event::CallerLeft { call: self.call(words[0])?, why: word::<QueueLeft>(why)? },
            ["missed", outcome, "after", secs, "s", more @ ..] => self.missed(words[0], outcome, secs, more)?,
            [word @ ("opens" | "closes")] => {
                let (queue, open) = (QueueId::from(words[0]), *word == "opens");
                self.rules.queues.get_mut(&queue).ok_or("no such queue")?.while_waiting.closed = !open;
                Event::QueueOpens { queue, open }
            }
            ["dialled:", end] => Event::CallbackAttempted { call: self.call(words[0])?, end: word::<AttemptEnd>(end)? },
            ["rings", "as", person] => Event::PersonRings { call: self.call(words[0])?, person: self.person(person)? },
            ["served"] => Event::PersonServed { person: self.person(words[0])? },
            ["takes", "task", task] => Event::TaskTaken { task: TaskId(number(task)?), agent: agent() },
            ["closed", "task", task, how] => Event::TaskClosed { task: TaskId(number(task)?), how: word::<TaskEnd>(how)? },
            _ => return Err("not understood".into()),
        };
        self.send(event)
    }

    fn queued(&mut self, call: &str, queue: &str, more: &[&str]) -> Said<Event> {
        if !self.rules.queues.contains_key(&QueueId::from(queue)) && !more.contains(&"unknown") {
            self.rule(&format!("queue {queue}: needs {queue}"))?;
            self.send_rules()?;
        }
        let priority = more.iter().position(|word| *word == "priority").and_then(|at| more.get(at + 1));
        Ok(Event::CallerQueued {
            call: self.call(call)?,
            queue: queue.into(),
            person: more
                .iter()
                .position(|word| *word == "from")
                .and_then(|at| more.get(at + 1))
                .map(|name| self.person(name))
                .transpose()?,
            priority: priority.map_or(Ok(0), |text| number(text))? as u8,
            urgent: more.contains(&"urgent"),
        })
    }

    /// `C1 missed abandoned_in_queue after 5 s task 1 from P1 region 22`
    fn missed(&mut self, call: &str, outcome: &str, secs: &str, more: &[&str]) -> Said<Event> {
        let value = |key: &str| more.iter().position(|word| *word == key).and_then(|at| more.get(at + 1));
        Ok(Event::CallMissed(Missed {
            task: TaskId(number(value("task").ok_or("task")?)?),
            call: self.call(call)?,
            region: RegionId(value("region").map_or(Ok(0), |text| number(text))? as u16),
            person: value("from").map(|name| self.person(name)).transpose()?,
            outcome: word::<Outcome>(outcome)?,
            after: seconds(secs)?,
            queue: value("in").map(|queue| QueueId::from(*queue)),
            way: Way { trunk: "city".into(), dialled: value("dialled").map_or("122", |number| number).to_owned() },
            booked: more
                .iter()
                .position(|word| *word == "books")
                .and_then(|at| more.get(at + 1))
                .map(|word_| word::<Booking>(word_))
                .transpose()?,
        }))
    }

    fn rule(&mut self, rule: &str) -> Said<()> {
        self.rules_are_new = true;
        if let Some(name) = rule.strip_prefix("no queue ") {
            self.rules.queues.remove(&QueueId::from(name)).map(|_| ()).ok_or("no such queue".to_owned())
        } else if let Some(name) = rule.strip_prefix("no agent ") {
            self.rules.agents.remove(&AgentId::from(name)).map(|_| ()).ok_or("no such agent".to_owned())
        } else if let Some(rule) = rule.strip_prefix("queue ") {
            let (name, parts) = rule.split_once(':').ok_or("a colon")?;
            let queue = self.rules.queues.entry(name.into()).or_insert_with(plain_queue);
            parts.split(';').try_for_each(|part| queue_part(queue, part.trim()))
        } else if let Some(rule) = rule.strip_prefix("agent ") {
            let (name, parts) = rule.split_once(':').ok_or("a colon")?;
            let agent = self.rules.agents.entry(name.into()).or_insert_with(plain_agent);
            parts.split(';').try_for_each(|part| agent_part(agent, part.trim()))
        } else if let Some(rule) = rule.strip_prefix("routing: ") {
            rule.split(';').try_for_each(|part| routing_part(&mut self.rules.routing, part.trim()))
        } else if let Some(rule) = rule.strip_prefix("misses: ") {
            rule.split(';').try_for_each(|part| miss_part(&mut self.rules.duty, part.trim()))
        } else if let Some(rule) = rule.strip_prefix("flapping: ") {
            match rule.split_whitespace().collect::<Vec<_>>()[..] {
                ["more", "than", times, "times", "in", within, "s,", "rest", rest, "s"] => {
                    let (times, within, rest) = (number(times)? as u32, seconds(within)?, seconds(rest)?);
                    self.rules.duty.flapping = Some(Flapping { times, within, rest });
                    Ok(())
                }
                _ => Err("more than N times in S s, rest S s".into()),
            }
        } else if let Some(rule) = rule.strip_prefix("callbacks: ") {
            rule.split(';').try_for_each(|part| callbacks_part(&mut self.rules.callbacks, part.trim()))
        } else {
            Err("rule not understood".into())
        }
    }

    fn skilled_agent(&mut self, name: &str, skills: &str) -> Said<()> {
        let skills = skill_list(skills, 100)?;
        let agent = self.rules.agents.entry(name.into()).or_insert_with(plain_agent);
        self.rules_are_new |= agent.skills != skills;
        agent.skills = skills;
        Ok(())
    }

    fn send_rules(&mut self) -> Said<()> {
        if std::mem::take(&mut self.rules_are_new) {
            self.send(Event::RulesChanged(Box::new(self.rules.clone())))?;
        }
        Ok(())
    }

    fn send(&mut self, event: Event) -> Said<()> {
        self.acd.handle(self.now, event);
        self.drain()
    }

    fn drain(&mut self) -> Said<()> {
        while let Some(command) = self.acd.poll_command() {
            if let Some(text) = self.text(command) {
                self.happened.push(text);
            }
        }
        self.acd.check().map_err(|violation| violation.to_string())
    }

    fn text(&mut self, command: Command) -> Option<String> {
        match command {
            Command::Offer { call, agent, .. } => Some(format!("offer {} to {agent}", self.calls[&call])),
            Command::Withdraw { offer, .. } => {
                Some(format!("withdraw {} from {}", self.parties[&offer].0, self.parties[&offer].1))
            }
            Command::Announce { call, position, wait: None, .. } => Some(format!("tell {}: place {position}", self.calls[&call])),
            Command::Announce { call, position, wait: Some(wait), fewer_agents } => {
                let why = if fewer_agents { ", fewer agents" } else { "" };
                Some(format!("tell {}: place {position}, {} s{why}", self.calls[&call], wait.as_secs()))
            }
            Command::Overflow { call, queue, why } => {
                Some(format!("overflow {} from {queue}: {}", self.calls[&call], said(&why)))
            }
            Command::Say { call, prompt } => Some(format!("say to {}: {prompt}", self.calls[&call])),
            Command::PromiseCallback { call } => Some(format!("promise {} a callback", self.calls[&call])),
            Command::Moved { call, queue } => Some(format!("move {} to {queue}", self.calls[&call])),
            Command::ToRoute { call, queue, route } => Some(format!("hand {} from {queue} to route {route}", self.calls[&call])),
            Command::CallBack { call, queue, .. } => Some(format!("call back {} in {queue}", self.calls[&call])),
            Command::CallbackOff { call } => Some(format!("call off {}", self.calls[&call])),
            Command::Record(fact) => {
                let (kind, text) = self.fact(fact);
                self.shown.iter().any(|shown| shown == kind).then_some(text)
            }
        }
    }

    fn fact(&mut self, fact: Fact) -> (&'static str, String) {
        match fact {
            Fact::QueueEntered { call, queue, .. } => ("queues", format!("{} entered {queue}", self.calls[&call])),
            Fact::QueueLeft { call, queue, why } => ("queues", format!("{} left {queue}: {}", self.calls[&call], said(&why))),
            Fact::OfferMade { offer, call, agent, why, .. } => {
                let parties = (self.calls[&call].clone(), agent.to_string());
                self.offers.insert(parties.clone(), offer);
                self.parties.insert(offer, parties);
                ("offers", format!("{} for {agent} because {why}", self.calls[&call]))
            }
            Fact::OfferEnded { offer, end } => {
                let (call, agent) = &self.parties[&offer];
                let end = match end {
                    OfferEnd::Answered => "answered".to_owned(),
                    OfferEnd::Withdrawn => "withdrawn".to_owned(),
                    OfferEnd::Missed(reason) => format!("missed, {}", said(&reason)),
                };
                ("offers", format!("{call} for {agent} {end}"))
            }
            Fact::TalkStarted { call, agent, .. } => ("talks", format!("{} talks with {agent}", self.calls[&call])),
            Fact::TalkEnded { call, agent, by } => {
                ("talks", format!("{} talked with {agent}, ended by {}", self.calls[&call], said(&by)))
            }
            Fact::TalkCoded { call, agent, code, title, .. } => {
                ("talks", format!("{agent} says of {}: {code} {title}", self.calls[&call]))
            }
            Fact::AgentOverridden { agent, state, reason, by, .. } => {
                let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
                ("agents", format!("{by} wants {agent} {}{reason}", said(&state)))
            }
            Fact::AgentChanged { agent, state, reason, .. } => {
                let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
                ("agents", format!("{agent} is {}{reason}", said(&state)))
            }
            Fact::Unreachable { call } => ("callbacks", format!("{} cannot be called back", self.calls[&call])),
            Fact::CallbackOpened { task, person, outcome, .. } => {
                ("callbacks", format!("{task} opened for {}: {}", self.persons[&person], said(&outcome)))
            }
            Fact::CallbackRepeated { task, call, outcome } => {
                ("callbacks", format!("{task} repeated by {}: {}", self.calls[&call], said(&outcome)))
            }
            Fact::CallbackTaken { task, agent } => ("callbacks", format!("{task} taken by {agent}")),
            Fact::CallbackClosed { task, how } => ("callbacks", format!("{task} closed: {}", said(&how))),
            Fact::CallbackBegan { task, call, dialled, .. } => {
                // `task1.2`: for the second time an agent is sought for it.
                let nth = (1..).find(|nth| CallId::of_callback(task, *nth) == call).unwrap();
                self.calls.insert(call, format!("{task}.{nth}"));
                ("calls out", format!("{task}.{nth} begins as {dialled}"))
            }
            Fact::CallbackPromised { task, booking, by, .. } => {
                let booked = booking.map_or("nothing".to_owned(), |booking| said(&booking));
                ("callbacks", format!("{task} promised: {booked}, by {} s", by.as_unix_seconds()))
            }
            Fact::CallbackAttempted { task, nth, end, .. } => ("callbacks", format!("{task} attempt {nth}: {}", said(&end))),
            other => panic!("not a fact of the acd: {other:?}"),
        }
    }

    fn offer(&self, call: &str, agent: &str) -> Said<OfferId> {
        self.offers.get(&(call.to_owned(), agent.to_owned())).copied().ok_or(format!("{call} was never offered to {agent}"))
    }

    fn call(&mut self, name: &str) -> Said<CallId> {
        if let Some((call, _)) = self.calls.iter().find(|(_, known)| *known == name) {
            return Ok(*call);
        }
        let id = CallId(Uuid::from_u128(u128::from(number(name.trim_start_matches('C'))?)));
        self.calls.insert(id, name.to_owned());
        Ok(id)
    }

    fn person(&mut self, name: &str) -> Said<PersonId> {
        let id = PersonId(Uuid::from_u128(u128::from(number(name.trim_start_matches('P'))?)));
        self.persons.insert(id, name.to_owned());
        Ok(id)
    }
}

fn plain_queue() -> QueueRules {
    QueueRules {
        region: RegionId(0),
        requires: Requirement::default(),
        target: Duration::from_secs(20),
        priority: 0,
        max_waiting: 100,
        ring: Duration::from_secs(15),
        wrap_up: Duration::ZERO,
        announce: None,
        seek: Seek::default(),
        while_waiting: WhileWaiting::default(),
        after_talk: WrapUpRules { longest: Duration::from_secs(120), ..WrapUpRules::default() },
    }
}

fn plain_agent() -> AgentRules {
    AgentRules { region: RegionId(0), skills: BTreeMap::new(), always_ready: false, misses_to_break: 0, reserve: false }
}

fn queue_part(queue: &mut QueueRules, part: &str) -> Said<()> {
    let words: Vec<&str> = part.split_whitespace().collect();
    match words[..] {
        ["needs", ..] if part.contains(">=") => queue.requires = requirement(&part["needs".len()..])?,
        ["needs", ..] => queue.requires = skill_list(&part["needs".len()..], 1)?.into(),
        ["prefers", ..] => queue.seek.prefers = Some(requirement(&part["prefers".len()..])?),
        ["after", secs, "s", "needs", ..] => {
            let requires = requirement(part.split_once("needs").ok_or("needs")?.1)?;
            queue.seek.relax.push((seconds(secs)?, requires));
        }
        ["reserves", "after", secs, "s"] => queue.seek.reserves_after = Some(seconds(secs)?),
        ["rings", phones, "at", "once"] => queue.seek.more_phones = number(phones)? as u32 - 1,
        ["agents", order] => queue.seek.agents = Some(word(order)?),
        ["region", region] => queue.region = RegionId(number(region)? as u16),
        ["target", secs, "s"] => queue.target = seconds(secs)?,
        ["priority", level] => queue.priority = number(level)? as u8,
        ["at", "most", limit] => queue.max_waiting = number(limit)? as u32,
        ["longest", "wait", secs, "s"] => {
            let when = When { waited: Some(seconds(secs)?), ..When::default() };
            queue.while_waiting.overflow.push(Overflow { when, then: Then::Robot });
        }
        ["overflow", ..] => queue.while_waiting.overflow.push(overflow(&part["overflow".len()..])?),
        ["no", "overflow"] => queue.while_waiting.overflow.clear(),
        ["closed"] => queue.while_waiting.closed = true,
        ["lets", "go", "at", "closing"] => queue.while_waiting.let_go_at_closing = true,
        ["place", "untold"] => queue.while_waiting.place_untold = true,
        ["texts", ref texts @ ..] => queue.while_waiting.texts = texts.iter().map(|text| (*text).into()).collect(),
        ["ring", secs, "s"] => queue.ring = seconds(secs)?,
        ["wrap-up", "forced"] => queue.after_talk.ends = WrapUpEnds::Forced,
        ["wrap-up", "extended", "by", secs, "s"] => queue.after_talk.ends = WrapUpEnds::Extendable { more: seconds(secs)? },
        ["wrap-up", "at", "most", secs, "s"] => queue.after_talk.longest = seconds(secs)?,
        ["code", "required"] => queue.after_talk.code_required = true,
        ["code", code, ..] => {
            queue.after_talk.codes.insert(code.to_owned(), words[2..].join(" "));
        }
        ["wrap-up", secs, "s"] => queue.wrap_up = seconds(secs)?,
        ["announce", "after", first, "s,", "then", "each", each, "s"] => queue.announce = Some((seconds(first)?, seconds(each)?)),
        _ => return Err(format!("queue rule not understood: {part}")),
    }
    Ok(())
}

/// `closed and waited 60 s then queue drugs`
fn overflow(text: &str) -> Said<Overflow> {
    let (conditions, then) = text.split_once(" then ").ok_or("then")?;
    let mut when = When::default();
    for condition in conditions.split(" and ") {
        match condition.split_whitespace().collect::<Vec<_>>()[..] {
            ["waited", secs, "s"] => when.waited = Some(seconds(secs)?),
            ["ahead", count] => when.ahead = Some(number(count)? as u32),
            ["estimate", secs, "s"] => when.estimate = Some(seconds(secs)?),
            ["no", "agents"] => when.no_agents = true,
            ["closed"] => when.closed = true,
            _ => return Err(format!("condition not understood: {condition}")),
        }
    }
    let then = match then.split_whitespace().collect::<Vec<_>>()[..] {
        ["say", prompt] => Then::Say(prompt.into()),
        ["queue", queue] => Then::Queue(queue.into()),
        ["route", route] => Then::Route(route.into()),
        ["promise", "a", "callback"] => Then::PromiseCallback,
        ["robot"] => Then::Robot,
        _ => return Err(format!("action not understood: {then}")),
    };
    Ok(Overflow { when, then })
}

fn requirement(text: &str) -> Said<Requirement> {
    Requirement::parse(text).map_err(|error| error.to_string())
}

fn routing_part(routing: &mut Routing, part: &str) -> Said<()> {
    match part.split_whitespace().collect::<Vec<_>>()[..] {
        ["policy", policy] => routing.policy = word(policy)?,
        ["last", "agent", "within", within, "s", "waits", wait, "s"] => {
            routing.last_agent = LastAgentRules { within: seconds(within)?, wait: seconds(wait)? };
        }
        ["overdue", "after", secs, "s"] => routing.overdue_after = Some(seconds(secs)?),
        _ => return Err(format!("routing rule not understood: {part}")),
    }
    Ok(())
}

/// `busy rests 5 s up to 60 s, counts`
fn miss_part(duty: &mut Duty, part: &str) -> Said<()> {
    let words: Vec<&str> = part.split_whitespace().collect();
    let [reason, "rests", rest, "s" | "s,", ref more @ ..] = words[..] else {
        return Err(format!("miss rule not understood: {part}"));
    };
    let longest = more.iter().position(|word| *word == "to").and_then(|at| more.get(at + 1));
    let (rest, longest_rest) = (seconds(rest)?, longest.map_or(Ok(Duration::ZERO), |secs| seconds(secs))?);
    let policy = MissPolicy { rest, longest_rest, counts: more.contains(&"counts") };
    let misses = &mut duty.misses;
    match word::<MissReason>(reason)? {
        MissReason::NoAnswer => misses.no_answer = policy,
        MissReason::Busy => misses.busy = policy,
        MissReason::Rejected => misses.rejected = policy,
        MissReason::Unregistered => misses.unregistered = policy,
        MissReason::Unreachable => misses.unreachable = policy,
    }
    Ok(())
}

fn callbacks_part(callbacks: &mut CallbackRules, part: &str) -> Said<()> {
    let new = || CallbackDialling {
        attempts: 3,
        gap: Duration::ZERO,
        hours: (0, 86_400),
        idle: Some(0),
        within: Duration::from_secs(7200),
        trunks: [TrunkId::from("city")].into(),
        regions: BTreeMap::new(),
    };
    let of_region = OfRegion { ahead: 0, dial: true, within: Duration::from_secs(7200) };
    let words: Vec<&str> = part.split_whitespace().collect();
    if let ["closed", "in", "region", region] = words[..] {
        callbacks.closed.insert(RegionId(number(region)? as u16), true);
        return Ok(());
    }
    let dial = callbacks.dial.get_or_insert_with(new);
    match words[..] {
        ["dialled"] => {}
        ["at", "most", attempts, "attempts"] => dial.attempts = number(attempts)? as u32,
        ["gap", secs, "s"] => dial.gap = seconds(secs)?,
        ["hours", from, "to", to] => dial.hours = (number(from)? as u32 * 3600, number(to)? as u32 * 3600),
        ["region", region, "is", hours, "h", "ahead"] => {
            let region = dial.regions.entry(RegionId(number(region)? as u16)).or_insert(of_region);
            region.ahead = number(hours)? as i32 * 3600;
        }
        ["region", region, "does", "not", "dial"] => {
            dial.regions.entry(RegionId(number(region)? as u16)).or_insert(of_region).dial = false;
        }
        ["promised", "within", secs, "s"] => dial.within = seconds(secs)?,
        ["place", "kept", secs, "s"] => {
            callbacks.place_kept = seconds(secs)?;
        }
        ["enough", "agents", "stay", "idle"] => dial.idle = None,
        [idle, "agents", "stay", "idle"] => dial.idle = Some(number(idle)? as u32),
        _ => return Err(format!("callback rule not understood: {part}")),
    }
    Ok(())
}

fn agent_part(agent: &mut AgentRules, part: &str) -> Said<()> {
    let words: Vec<&str> = part.split_whitespace().collect();
    match words[..] {
        ["with", ..] => agent.skills = skill_list(&part["with".len()..], 100)?,
        ["always", "ready"] => agent.always_ready = true,
        ["reserve"] => agent.reserve = true,
        ["break", "after", misses, "misses"] => agent.misses_to_break = number(misses)? as u8,
        _ => return Err(format!("agent rule not understood: {part}")),
    }
    Ok(())
}

/// `therapy 50, drugs`
fn skill_list(text: &str, level: u8) -> Said<BTreeMap<Skill, u8>> {
    let skill = |text: &str| match text.split_whitespace().collect::<Vec<_>>()[..] {
        [skill] => Ok((Skill::from(skill), level)),
        [skill, level] => Ok((Skill::from(skill), number(level)? as u8)),
        _ => Err(format!("skill not understood: {text}")),
    };
    text.split(',').map(skill).collect()
}

fn seconds(text: &str) -> Said<Duration> {
    text.parse::<f64>().map(Duration::from_secs_f64).map_err(|_| format!("seconds, not {text}"))
}

fn number(text: &str) -> Said<u64> {
    text.parse().map_err(|_| format!("a number, not {text}"))
}

/// The word of an enum's variant as tables and API spell it.
fn said(value: &impl Serialize) -> String {
    serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()
}

fn word<T: DeserializeOwned>(text: &str) -> Said<T> {
    serde_json::from_value(text.into()).map_err(|_| format!("unknown word {text}"))
}
