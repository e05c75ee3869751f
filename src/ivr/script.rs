//! A robot's script as its author writes it: YAML in, a tree of nodes out. Whether the tree is fit for citizens says `check`.
//!
//! One script is one service. Its nodes stand by name; an edge is the name of the next node. A number dialled leads to a script by
//! the number plan of the configuration.

use super::check::{Known, Problem, ScriptError, check};
use crate::facts::{Booking, Outcome};
use crate::ids::*;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A script that passed every check. Calls hold it by `Arc` and finish on the version with which they began.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    pub id: ScriptId,
    /// CRC-32 of the text: the same text is the same version on every machine.
    pub version: u32,
    pub title: Title,
    /// Played as early media (183): the caller hears it without a connection and pays nothing.
    pub early: bool,
    pub start: Target,
    /// Said to a caller who fell out of a queue or a talk a moment ago, in place of the notice and the menu; without it they begin at
    /// the start like everybody.
    pub welcome_back: Say,
    /// What the prompts named here say. Read by whoever renders them and by people; the engine plays the WAVs.
    pub texts: BTreeMap<PromptId, String>,
    pub nodes: BTreeMap<String, At<Node>>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Title {
    pub ru: String,
    pub en: String,
}

/// A value and the line on which it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct At<T> {
    pub value: T,
    pub line: u32,
}

/// The name of the node that comes next.
pub type Target = At<String>;
/// Prompts said one after the other.
pub type Say = Vec<At<PromptId>>;

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Node {
    /// A robot answers and the talk is recorded: from here on recording is lawful.
    Notice(Notice),
    Say(Saying),
    Menu(Menu),
    Hours(Hours),
    Queue(Queue),
    Transfer(Transfer),
    HangUp(HangUp),
    Goto(Goto),
    Callback(Callback),
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    pub say: Say,
    /// A notice is law, so a key does not cut it short; the key is kept for the menu that follows.
    #[serde(default)]
    pub interruptible: bool,
    pub next: Target,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saying {
    pub say: Say,
    #[serde(default = "yes")]
    pub interruptible: bool,
    pub next: Target,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Menu {
    pub say: Say,
    /// One key, or an extension of several; no extension may begin with a key that leads somewhere by itself.
    pub keys: BTreeMap<String, Target>,
    /// Silence after the last word of the menu.
    #[serde(default = "Menu::default_timeout")]
    pub timeout_s: u16,
    /// Said before the menu is repeated.
    #[serde(default)]
    pub say_silence: Say,
    #[serde(default)]
    pub say_wrong: Say,
    /// So many silences and wrong keys in a row lead to `operator`.
    #[serde(default = "Menu::default_tries")]
    pub tries: u8,
    pub operator: Target,
}

impl Menu {
    pub const MAX_TRIES: u8 = 9;
    /// A citizen who is asked for longer silence than this has been left alone.
    pub const MAX_TIMEOUT_S: u16 = 60;

    fn default_timeout() -> u16 {
        5
    }
    fn default_tries() -> u8 {
        3
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    pub calendar: At<String>,
    pub open: Target,
    pub closed: Target,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    pub queue: At<QueueId>,
    #[serde(default)]
    pub priority: u8,
    #[serde(default)]
    pub urgent: bool,
    /// The request as it is understood here; the appeal begins with it.
    #[serde(default)]
    pub theme: Option<String>,
    /// The talk is recorded. Needs a notice on every way to here.
    #[serde(default)]
    pub record: bool,
    /// Said once while the search for an agent already runs.
    #[serde(default)]
    pub say: Say,
    pub music: At<PromptId>,
    /// Ways out while waiting: to a route, another queue, a menu, or a callback.
    #[serde(default)]
    pub keys: BTreeMap<String, Target>,
    /// The key that tells the place in the queue once more.
    #[serde(default)]
    pub repeat: Option<At<String>>,
    /// The callback node to which the overflow list of the queue leads.
    #[serde(default)]
    pub callback: Option<Target>,
    pub overflow: Target,
    /// Instead of `overflow`, when the queue is out of its hours.
    #[serde(default)]
    pub closed: Option<Target>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    pub route: At<RouteId>,
    /// Said while it is already being dialled.
    #[serde(default)]
    pub say: Say,
    /// Heard until somebody answers.
    pub music: At<PromptId>,
    pub failed: Target,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HangUp {
    #[serde(default)]
    pub say: Say,
    pub outcome: Outcome,
    /// Ways out while the announcement is said and a little after it.
    #[serde(default)]
    pub keys: BTreeMap<String, Target>,
}

/// Promises a call and says goodbye.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Callback {
    /// `place`: when they would have been next; `later`: some time within what the region promises, which is said after `say`.
    pub book: Booking,
    /// Whose agents will call; the queue the caller was in, if left out.
    #[serde(default)]
    pub queue: Option<At<QueueId>>,
    #[serde(default)]
    pub say: Say,
    /// For who has no number to be called at, or where nobody calls back: said before they go to `refused`, or, without one, back to
    /// the queue they were in.
    #[serde(default)]
    pub say_refused: Say,
    #[serde(default)]
    pub refused: Option<Target>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goto {
    pub node: Target,
}

impl Script {
    /// Reads one script and checks it against what the configuration knows. All that is wrong is told at once, except that text
    /// which is no YAML of this shape ends at the first fault.
    pub fn read(name: &str, text: &str, known: &Known) -> Result<Arc<Script>, Vec<ScriptError>> {
        let script = Self::parse(name, text).map_err(|error| vec![error])?;
        let errors = check(&script, known);
        if errors.is_empty() { Ok(Arc::new(script)) } else { Err(errors) }
    }

    fn parse(name: &str, text: &str) -> Result<Script, ScriptError> {
        let file: File = serde_saphyr::from_str(text).map_err(|error| {
            let error = error.without_snippet();
            let line = error.location().map_or(0, |at| u32::try_from(at.line()).unwrap_or(0));
            ScriptError { file: format!("{name}.yaml"), line, problem: Problem::Unreadable { why: error.to_string() } }
        })?;
        Ok(Script {
            id: ScriptId::from(name),
            version: crc32fast::hash(text.as_bytes()),
            title: file.title,
            early: file.early,
            start: file.start,
            welcome_back: file.welcome_back,
            texts: file.texts,
            nodes: file.nodes,
        })
    }
}

impl Node {
    /// Whether a caller who fell out of this queue can be led back here.
    pub fn is_queue(&self, queue: &QueueId) -> bool {
        matches!(self, Node::Queue(node) if node.queue.value == *queue)
    }

    /// The word of its kind, as in the script.
    pub const fn kind(&self) -> &'static str {
        match self {
            Node::Notice(_) => "notice",
            Node::Say(_) => "say",
            Node::Menu(_) => "menu",
            Node::Hours(_) => "hours",
            Node::Queue(_) => "queue",
            Node::Transfer(_) => "transfer",
            Node::HangUp(_) => "hang_up",
            Node::Goto(_) => "goto",
            Node::Callback(_) => "callback",
        }
    }

    /// Edges that are taken because the caller pressed something.
    pub fn keys(&self) -> Option<&BTreeMap<String, Target>> {
        match self {
            Node::Menu(menu) => Some(&menu.keys),
            Node::Queue(queue) => Some(&queue.keys),
            Node::HangUp(end) => Some(&end.keys),
            Node::Notice(_) | Node::Say(_) | Node::Hours(_) | Node::Transfer(_) | Node::Goto(_) | Node::Callback(_) => None,
        }
    }

    /// Edges that are taken by themselves, without a word from the caller.
    pub fn onward(&self) -> Vec<&Target> {
        match self {
            Node::Notice(notice) => vec![&notice.next],
            Node::Say(saying) => vec![&saying.next],
            Node::Menu(menu) => vec![&menu.operator],
            Node::Hours(hours) => vec![&hours.open, &hours.closed],
            Node::Queue(queue) => [&queue.overflow].into_iter().chain(&queue.closed).chain(&queue.callback).collect(),
            Node::Transfer(transfer) => vec![&transfer.failed],
            Node::HangUp(_) => vec![],
            Node::Goto(goto) => vec![&goto.node],
            Node::Callback(callback) => callback.refused.iter().collect(),
        }
    }

    /// Every prompt it may play.
    pub fn prompts(&self) -> Vec<&At<PromptId>> {
        match self {
            Node::Notice(notice) => notice.say.iter().collect(),
            Node::Say(saying) => saying.say.iter().collect(),
            Node::Menu(menu) => menu.say.iter().chain(&menu.say_silence).chain(&menu.say_wrong).collect(),
            Node::Queue(queue) => queue.say.iter().chain([&queue.music]).collect(),
            Node::Transfer(transfer) => transfer.say.iter().chain([&transfer.music]).collect(),
            Node::HangUp(end) => end.say.iter().collect(),
            Node::Callback(callback) => callback.say.iter().chain(&callback.say_refused).collect(),
            Node::Hours(_) | Node::Goto(_) => vec![],
        }
    }
}

/// The file, word for word.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: Title,
    #[serde(default)]
    early: bool,
    start: Target,
    #[serde(default)]
    welcome_back: Say,
    #[serde(default)]
    texts: BTreeMap<PromptId, String>,
    nodes: BTreeMap<String, At<Node>>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_saphyr::Spanned::<T>::deserialize(deserializer)?;
        Ok(At { value: spanned.value, line: u32::try_from(spanned.referenced.line()).unwrap_or(0) })
    }
}

fn yes() -> bool {
    true
}
