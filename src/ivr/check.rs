//! Whether a script is fit for citizens: every way leads somewhere, nobody who erred is hung up on, nothing is recorded unannounced.

use super::script::{At, Menu, Node, Queue, Script, Target};
use super::speak;
use crate::facts::Outcome;
use crate::ids::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// What the installation has, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    pub prompts: BTreeSet<PromptId>,
    pub queues: BTreeSet<QueueId>,
    pub routes: BTreeSet<RouteId>,
    pub calendars: BTreeSet<String>,
    /// Queues whose callers may be offered or promised a callback.
    pub calling_back: BTreeSet<QueueId>,
}

/// One thing wrong in one script. Prints as `122.yaml:14: what is wrong; what to do`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    pub file: String,
    /// From 1; 0 if it concerns the whole file.
    pub line: u32,
    pub problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("this is no script: {why}; script.schema.json shows what may stand there")]
    Unreadable { why: String },
    #[error("more than {max} nodes; split the service into several scripts")]
    TooManyNodes { max: usize },
    #[error("there is no node `{node}`; the nodes are: {nodes}")]
    NoSuchNode { node: String, nodes: String },
    #[error("no way leads to the node `{node}`; let a node lead to it or delete it")]
    Unreachable { node: String },
    #[error("the robot could go round `{way}` for ever without hearing the caller; let one of them lead elsewhere")]
    Circle { way: String },
    #[error("`{node}` has nothing to say; name a prompt in `say`")]
    NothingToSay { node: String },
    #[error("a caller who errs in `{menu}` could be hung up on at `{end}`; let `operator` lead to a queue or a transfer")]
    HangsUpOnErrors { menu: String, end: String },
    #[error("a caller who errs in `{menu}` would be asked again at `{other}`; let `operator` lead to a queue or a transfer")]
    ErrorsLeadToMenu { menu: String, other: String },
    #[error("the menu `{menu}` has no keys; list them in `keys`, or use `say`")]
    NoKeys { menu: String },
    #[error("`{key}` cannot be pressed; write \"0\"…\"9\", \"*\" or \"#\", here at most {max} of them")]
    BadKey { key: String, max: usize },
    #[error("`{longer}` can never be dialled, for `{key}` acts at once; choose an extension that begins with a free key")]
    KeyInTheWay { key: String, longer: String },
    #[error("`tries` is {tries}; choose 1…{max}")]
    Tries { tries: u8, max: u8 },
    #[error("`timeout_s` is {seconds}; choose 1…{max}")]
    Timeout { seconds: u16, max: u16 },
    #[error(
        "the key `{key}` leads from a queue to a {kind}; from a queue a key may lead to a queue, a transfer, a callback or a menu"
    )]
    QueueKey { key: String, kind: &'static str },
    #[error(
        "`{queue}` records, but a caller can get here without having heard a `notice`; put one on every way, or `record: false`"
    )]
    RecordsUnannounced { queue: String },
    #[error("`{outcome}` is not for a script to say; use one of: {allowed}")]
    Outcome { outcome: &'static str, allowed: String },
    #[error("an early announcement cannot contain a {kind}, which needs an answered call; remove it, or `early: false`")]
    NotEarly { kind: &'static str },
    #[error("there is no WAV for the prompt `{prompt}`; write its text and render it, or correct the name")]
    NoSuchPrompt { prompt: PromptId },
    #[error(
        "a caller can get to `{node}` without having been in a queue; name its `queue` and where who is `refused` goes, or lead there from queues only"
    )]
    CallbackOfNoQueue { node: String },
    #[error("the configuration has no queue `{queue}`; add it there, or use one of: {known}")]
    NoSuchQueue { queue: QueueId, known: String },
    #[error("the configuration has no route `{route}`; add it there, or use one of: {known}")]
    NoSuchRoute { route: RouteId, known: String },
    #[error("the configuration has no calendar `{calendar}`; add it there, or use one of: {known}")]
    NoSuchCalendar { calendar: String, known: String },
    #[error(
        "the overflow list of `{queue}` leads to a callback, and `{node}` to none; add `callback: …` with the name of a callback node"
    )]
    NoCallback { queue: QueueId, node: String },
    #[error("`callback` leads to `{node}`, where nobody is promised a call; let it lead to a callback node")]
    NoPromise { node: String },
}

/// Reads all scripts, given as (file name without `.yaml`, text). Either all are good, or everything that is wrong is told.
pub fn check_scripts<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a str)>,
    known: &Known,
) -> Result<Vec<Arc<Script>>, Vec<ScriptError>> {
    let (mut scripts, mut errors) = (Vec::new(), Vec::new());
    for (name, text) in files {
        match Script::read(name, text, known) {
            Ok(script) => scripts.push(script),
            Err(more) => errors.extend(more),
        }
    }
    if errors.is_empty() { Ok(scripts) } else { Err(errors) }
}

/// More nodes than any service line has; keeps the walks below short.
const MAX_NODES: usize = 500;
/// What a robot can know about the end of a call; `served` or `abandoned_in_queue` would be a lie in the ledger.
const OUTCOMES: [Outcome; 5] = [Outcome::SelfServed, Outcome::Announced, Outcome::Blocked, Outcome::Closed, Outcome::Failed];
/// Internal numbers have three or four digits; six leave room.
const MAX_KEYS: usize = 6;

pub(super) fn check(script: &Script, known: &Known) -> Vec<ScriptError> {
    if script.nodes.len() > MAX_NODES {
        return vec![error(script, 0, Problem::TooManyNodes { max: MAX_NODES })];
    }
    let mut errors = missing_targets(script);
    errors.extend(each_node(script, known));
    errors.extend(record_without_notice(script));
    errors.extend(callback_of_no_queue(script));
    // The walks below would only repeat what a missing node has already said.
    if errors.iter().all(|error| !matches!(error.problem, Problem::NoSuchNode { .. })) {
        errors.extend(unreachable(script));
        errors.extend(circles(script));
        errors.extend(menu_errors(script));
        errors.extend(queue_keys(script));
    }
    errors.sort_by_key(|error| error.line);
    errors
}

fn missing_targets(script: &Script) -> Vec<ScriptError> {
    let nodes = || script.nodes.keys().cloned().collect::<Vec<_>>().join(", ");
    let edges = script.nodes.values().flat_map(|node| edges(&node.value));
    edges
        .chain([&script.start])
        .filter(|target| !script.nodes.contains_key(&target.value))
        .map(|target| error(script, target.line, Problem::NoSuchNode { node: target.value.clone(), nodes: nodes() }))
        .collect()
}

fn unreachable(script: &Script) -> Vec<ScriptError> {
    let reached = reachable(script, |_| true);
    let lost = script.nodes.iter().filter(|(name, _)| !reached.contains(name.as_str()));
    lost.map(|(name, node)| error(script, node.line, Problem::Unreachable { node: name.clone() })).collect()
}

/// A recording is refused where a way from the start meets no notice.
fn record_without_notice(script: &Script) -> Vec<ScriptError> {
    let unannounced = reachable(script, |node| !matches!(node, Node::Notice(_)));
    let records = |node: &Node| matches!(node, Node::Queue(queue) if queue.record);
    let found = script.nodes.iter().filter(|(name, node)| records(&node.value) && unannounced.contains(name.as_str()));
    found.map(|(name, node)| error(script, node.line, Problem::RecordsUnannounced { queue: name.clone() })).collect()
}

fn callback_of_no_queue(script: &Script) -> Vec<ScriptError> {
    let before_queues = reachable(script, |node| !matches!(node, Node::Queue(_)));
    let nameless =
        |node: &Node| matches!(node, Node::Callback(callback) if callback.queue.is_none() || callback.refused.is_none());
    let found = script.nodes.iter().filter(|(name, node)| nameless(&node.value) && before_queues.contains(name.as_str()));
    found.map(|(name, node)| error(script, node.line, Problem::CallbackOfNoQueue { node: name.clone() })).collect()
}

/// Names of the nodes that can be reached from the start; `through` says behind which nodes to look on.
fn reachable(script: &Script, through: impl Fn(&Node) -> bool) -> BTreeSet<&str> {
    let mut reached = BTreeSet::new();
    let mut ahead = vec![script.start.value.as_str()];
    while let Some(name) = ahead.pop() {
        let Some((name, node)) = script.nodes.get_key_value(name) else { continue };
        if reached.insert(name.as_str()) && through(&node.value) {
            ahead.extend(edges(&node.value).map(|target| target.value.as_str()));
        }
    }
    reached
}

/// Ways round that need no key: the caller would hear the same for ever. A menu that gives up counts as such a way too.
fn circles(script: &Script) -> Vec<ScriptError> {
    let mut errors = Vec::new();
    let mut done = BTreeSet::new();
    for name in script.nodes.keys() {
        walk_circle(script, name, &mut Vec::new(), &mut done, &mut errors);
    }
    errors
}

fn walk_circle<'a>(
    script: &'a Script,
    name: &'a str,
    way: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
    errors: &mut Vec<ScriptError>,
) {
    if let Some(begin) = way.iter().position(|step| *step == name) {
        let circle: Vec<_> = way.iter().skip(begin).copied().chain([name]).collect();
        let line = script.nodes.get(name).map_or(0, |node| node.line);
        errors.push(error(script, line, Problem::Circle { way: circle.join(" → ") }));
        return;
    }
    if !done.insert(name) {
        return;
    }
    way.push(name);
    if let Some(node) = script.nodes.get(name) {
        for target in node.value.onward() {
            walk_circle(script, &target.value, way, done, errors);
        }
    }
    way.pop();
}

/// Whoever erred too often meets a queue or a route, whatever happens on the way there.
fn menu_errors(script: &Script) -> Vec<ScriptError> {
    let mut errors = Vec::new();
    for (name, node) in &script.nodes {
        let Node::Menu(menu) = &node.value else { continue };
        let mut seen = BTreeSet::new();
        let mut ahead = vec![menu.operator.value.as_str()];
        while let Some(next) = ahead.pop() {
            let Some(At { value: found, .. }) = script.nodes.get(next) else { continue };
            if !seen.insert(next) {
                continue;
            }
            let menu_name = name.clone();
            match found {
                Node::Queue(_) | Node::Transfer(_) => {}
                Node::HangUp(_) => {
                    let problem = Problem::HangsUpOnErrors { menu: menu_name, end: next.to_owned() };
                    errors.push(error(script, menu.operator.line, problem));
                }
                Node::Menu(_) => {
                    let problem = Problem::ErrorsLeadToMenu { menu: menu_name, other: next.to_owned() };
                    errors.push(error(script, menu.operator.line, problem));
                }
                Node::Notice(_) | Node::Say(_) | Node::Hours(_) | Node::Goto(_) | Node::Callback(_) => {
                    ahead.extend(found.onward().iter().map(|target| target.value.as_str()));
                }
            }
        }
    }
    errors
}

/// A key in a queue leads to where somebody speaks: the place in the queue is given up for it.
fn queue_keys(script: &Script) -> Vec<ScriptError> {
    let mut errors = Vec::new();
    for node in script.nodes.values() {
        let Node::Queue(queue) = &node.value else { continue };
        if let Some(callback) = &queue.callback
            && script.nodes.get(&callback.value).is_some_and(|node| !matches!(node.value, Node::Callback(_)))
        {
            errors.push(error(script, callback.line, Problem::NoPromise { node: callback.value.clone() }));
        }
        for (key, target) in &queue.keys {
            match script.nodes.get(&target.value).map(|node| &node.value) {
                Some(Node::Queue(_) | Node::Transfer(_) | Node::Callback(_) | Node::Menu(_)) | None => {}
                Some(other) => {
                    errors.push(error(script, target.line, Problem::QueueKey { key: key.clone(), kind: other.kind() }));
                }
            }
        }
    }
    errors
}

/// What can be said of a node without looking at others.
fn each_node(script: &Script, known: &Known) -> Vec<ScriptError> {
    let mut problems: Vec<(u32, Problem)> = Vec::new();
    for (name, At { value: node, line }) in &script.nodes {
        for prompt in node.prompts().into_iter().filter(|prompt| !known.prompts.contains(&prompt.value)) {
            problems.push((prompt.line, Problem::NoSuchPrompt { prompt: prompt.value.clone() }));
        }
        if let Some(keys) = node.keys() {
            let max = if matches!(node, Node::Menu(_)) { MAX_KEYS } else { 1 };
            problems.extend(bad_keys(keys, max));
        }
        match node {
            Node::Notice(notice) if notice.say.is_empty() => problems.push((*line, Problem::NothingToSay { node: name.clone() })),
            Node::Say(saying) if saying.say.is_empty() => problems.push((*line, Problem::NothingToSay { node: name.clone() })),
            Node::Menu(menu) => problems.extend(bad_menu(name, menu, *line)),
            Node::Hours(hours) if !known.calendars.contains(&hours.calendar.value) => {
                let problem = Problem::NoSuchCalendar { calendar: hours.calendar.value.clone(), known: list(&known.calendars) };
                problems.push((hours.calendar.line, problem));
            }
            Node::Queue(queue) => {
                if !known.queues.contains(&queue.queue.value) {
                    let problem = Problem::NoSuchQueue { queue: queue.queue.value.clone(), known: list(&known.queues) };
                    problems.push((queue.queue.line, problem));
                }
                problems
                    .extend(queue.repeat.iter().filter(|key| !is_key(&key.value, 1)).map(|key| bad_key(key.line, &key.value, 1)));
                problems.extend(no_callback(name, queue, known));
                for prompt in speak::prompts().filter(|prompt| !known.prompts.contains(prompt)) {
                    problems.push((0, Problem::NoSuchPrompt { prompt }));
                }
            }
            Node::Transfer(transfer) if !known.routes.contains(&transfer.route.value) => {
                let problem = Problem::NoSuchRoute { route: transfer.route.value.clone(), known: list(&known.routes) };
                problems.push((transfer.route.line, problem));
            }
            Node::HangUp(end) if !OUTCOMES.contains(&end.outcome) => {
                let allowed = OUTCOMES.map(Outcome::as_str).join(", ");
                problems.push((*line, Problem::Outcome { outcome: end.outcome.as_str(), allowed }));
            }
            Node::Callback(callback) => {
                if let Some(queue) = callback.queue.as_ref().filter(|queue| !known.queues.contains(&queue.value)) {
                    let problem = Problem::NoSuchQueue { queue: queue.value.clone(), known: list(&known.queues) };
                    problems.push((queue.line, problem));
                }
                for prompt in speak::within_prompts().filter(|prompt| !known.prompts.contains(prompt)) {
                    problems.push((0, Problem::NoSuchPrompt { prompt }));
                }
            }
            Node::Notice(_) | Node::Say(_) | Node::Hours(_) | Node::Transfer(_) | Node::HangUp(_) | Node::Goto(_) => {}
        }
        if script.early && matches!(node, Node::Menu(_) | Node::Queue(_) | Node::Transfer(_) | Node::Callback(_)) {
            problems.push((*line, Problem::NotEarly { kind: node.kind() }));
        }
    }
    for prompt in script.welcome_back.iter().filter(|prompt| !known.prompts.contains(&prompt.value)) {
        problems.push((prompt.line, Problem::NoSuchPrompt { prompt: prompt.value.clone() }));
    }
    let mut errors: Vec<_> = problems.into_iter().map(|(line, problem)| error(script, line, problem)).collect();
    errors.dedup();
    errors
}

fn bad_menu(name: &str, menu: &Menu, line: u32) -> Vec<(u32, Problem)> {
    let mut problems = Vec::new();
    if menu.say.is_empty() {
        problems.push((line, Problem::NothingToSay { node: name.to_owned() }));
    }
    if menu.keys.is_empty() {
        problems.push((line, Problem::NoKeys { menu: name.to_owned() }));
    }
    if !(1..=Menu::MAX_TRIES).contains(&menu.tries) {
        problems.push((line, Problem::Tries { tries: menu.tries, max: Menu::MAX_TRIES }));
    }
    if !(1..=Menu::MAX_TIMEOUT_S).contains(&menu.timeout_s) {
        problems.push((line, Problem::Timeout { seconds: menu.timeout_s, max: Menu::MAX_TIMEOUT_S }));
    }
    problems
}

fn no_callback(name: &str, queue: &Queue, known: &Known) -> Option<(u32, Problem)> {
    let (node, At { value: queue, line }, callback) = (name.to_owned(), &queue.queue, &queue.callback);
    let lacks = callback.is_none() && known.calling_back.contains(queue);
    lacks.then(|| (*line, Problem::NoCallback { queue: queue.clone(), node }))
}

fn bad_keys(keys: &BTreeMap<String, Target>, max: usize) -> Vec<(u32, Problem)> {
    let mut problems: Vec<_> =
        keys.iter().filter(|(key, _)| !is_key(key, max)).map(|(key, target)| bad_key(target.line, key, max)).collect();
    for key in keys.keys() {
        for (longer, target) in keys.iter().filter(|(longer, _)| longer.len() > key.len() && longer.starts_with(key.as_str())) {
            problems.push((target.line, Problem::KeyInTheWay { key: key.clone(), longer: longer.clone() }));
        }
    }
    problems
}

fn bad_key(line: u32, key: &str, max: usize) -> (u32, Problem) {
    (line, Problem::BadKey { key: key.to_owned(), max })
}

fn is_key(key: &str, max: usize) -> bool {
    (1..=max).contains(&key.len()) && key.chars().all(super::is_phone_key)
}

fn edges(node: &Node) -> impl Iterator<Item = &Target> {
    node.onward().into_iter().chain(node.keys().into_iter().flat_map(BTreeMap::values))
}

fn error(script: &Script, line: u32, problem: Problem) -> ScriptError {
    ScriptError { file: format!("{}.yaml", script.id), line, problem }
}

fn list<T: fmt::Display>(names: &BTreeSet<T>) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.problem)
    }
}

impl std::error::Error for ScriptError {}
