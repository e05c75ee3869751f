//! The tables as data: names, keys and columns, the same in every database. What folds, moves or compares rows goes by this.

use crate::clock::Moment;
use uuid::Uuid;

#[derive(Debug)]
pub struct Table {
    pub name: &'static str,
    pub key: &'static [&'static str],
    pub columns: &'static [(&'static str, Kind)],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Numbers, counted ids, positions, and times in microseconds UTC.
    Int,
    Text,
    Uuid,
    Bool,
}

/// What stands in one column of one row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Null,
    Int(i64),
    Text(String),
    Uuid(Uuid),
    Bool(bool),
}

use Kind::{Bool, Int, Text, Uuid as Id};

pub const CALLS: Table = Table {
    name: "calls",
    key: &["call"],
    columns: &[
        ("call", Id),
        ("region", Int),
        ("trunk", Text),
        ("dialled", Text),
        ("person", Id),
        ("entered", Int),
        ("answered", Int),
        ("script", Text),
        ("script_version", Int),
        ("theme", Text),
        ("queue", Text),
        ("urgent", Bool),
        ("queue_entered", Int),
        ("first_offer", Int),
        ("talk_started", Int),
        ("talk_ended", Int),
        ("agent", Text),
        ("recording", Text),
        ("ended", Int),
        ("outcome", Text),
        ("unreachable", Bool),
        // Of a call that goes out, the task it is for.
        ("callback", Int),
    ],
};

pub const OFFERS: Table = Table {
    name: "offers",
    key: &["offer"],
    columns: &[
        ("offer", Int),
        ("region", Int),
        ("call", Id),
        ("agent", Text),
        ("queue", Text),
        ("why", Text),
        ("made", Int),
        ("ended", Int),
        ("ending", Text),
    ],
};

pub const QUEUE_VISITS: Table = Table {
    name: "queue_visits",
    key: &["visit"],
    columns: &[
        ("visit", Int),
        ("region", Int),
        ("call", Id),
        ("queue", Text),
        ("entered", Int),
        ("ended", Int),
        ("ending", Text),
    ],
};

pub const TALKS: Table = Table {
    name: "talks",
    key: &["talk"],
    columns: &[
        ("talk", Int),
        ("region", Int),
        ("call", Id),
        ("agent", Text),
        ("queue", Text),
        ("started", Int),
        ("ended", Int),
        ("ended_by", Text),
    ],
};

/// What agents said came of their talks; of one talk the last word counts.
pub const TALK_CODES: Table = Table {
    name: "talk_codes",
    key: &["given"],
    columns: &[
        ("given", Int),
        ("region", Int),
        ("call", Id),
        ("agent", Text),
        ("queue", Text),
        ("at", Int),
        ("code", Text),
        ("title", Text),
    ],
};

pub const ROUTES: Table = Table {
    name: "routes",
    key: &["leg"],
    columns: &[
        ("leg", Int),
        ("region", Int),
        ("call", Id),
        ("route", Text),
        ("trunk", Text),
        ("tried", Int),
        ("ended", Int),
        ("ending", Text),
    ],
};

pub const RECORDINGS: Table = Table {
    name: "recordings",
    key: &["file"],
    columns: &[
        ("file", Text),
        ("region", Int),
        ("call", Id),
        ("started", Int),
        ("ended", Int),
        ("ms", Int),
        ("gaps", Int),
        ("failed", Text),
        ("packed", Int),
        ("sealed", Text),
        ("bytes", Int),
        ("sha256", Text),
        ("key", Text),
        ("archived", Int),
        ("place", Text),
        ("not_archived", Text),
        ("here", Bool),
        ("deleted", Int),
        ("gone", Text),
    ],
};

pub const RECORDING_HEARINGS: Table = Table {
    name: "recording_hearings",
    key: &["hearing"],
    columns: &[("hearing", Int), ("region", Int), ("call", Id), ("file", Text), ("at", Int), ("who", Text)],
};

pub const CALLBACKS: Table = Table {
    name: "callbacks",
    key: &["task"],
    columns: &[
        ("task", Int),
        ("region", Int),
        ("person", Id),
        ("call", Id),
        ("outcome", Text),
        ("opened", Int),
        ("misses", Int),
        ("last_call", Id),
        ("last_missed", Int),
        ("taken_by", Text),
        ("taken", Int),
        ("closed", Int),
        ("ending", Text),
        ("booking", Text),
        ("promised", Int),
        ("attempts", Int),
        ("last_attempt", Int),
        ("last_end", Text),
    ],
};

pub const AGENT_CHANGES: Table = Table {
    name: "agent_changes",
    key: &["change"],
    columns: &[("change", Int), ("region", Int), ("agent", Text), ("at", Int), ("state", Text), ("reason", Text)],
};

/// What supervisors said agents are to be.
pub const AGENT_OVERRIDES: Table = Table {
    name: "agent_overrides",
    key: &["word"],
    columns: &[
        ("word", Int),
        ("region", Int),
        ("agent", Text),
        ("at", Int),
        ("state", Text),
        ("reason", Text),
        ("who", Text),
        ("why", Text),
    ],
};

pub const HANDOFFS: Table = Table {
    name: "handoffs",
    key: &["handoff"],
    columns: &[
        ("handoff", Int),
        ("region", Int),
        ("call", Id),
        ("person", Id),
        ("theme", Text),
        ("requested", Int),
        ("settled", Int),
        ("result", Text),
        ("reference", Text),
        ("reason", Text),
    ],
};

pub const OUTBOX: Table = Table {
    name: "outbox",
    key: &["event"],
    columns: &[
        ("event", Int),
        ("region", Int),
        ("call", Id),
        ("sequence", Int),
        ("kind", Text),
        ("at", Int),
        ("key", Text),
        ("data", Text),
    ],
};

const PEOPLE: Table = Table { name: "people", key: &["person"], columns: &[("person", Id), ("phone", Text), ("last_seen", Int)] };

const HANDOFF_ATTEMPTS: Table =
    Table { name: "handoff_attempts", key: &["handoff"], columns: &[("handoff", Int), ("attempts", Int), ("next_at", Int)] };

const RECORDING_ATTEMPTS: Table =
    Table { name: "recording_attempts", key: &["file"], columns: &[("file", Text), ("attempts", Int), ("next_at", Int)] };

const RECEIVERS: Table = Table { name: "receivers", key: &["receiver"], columns: &[("receiver", Text), ("cursor", Int)] };

const DELIVERIES: Table = Table {
    name: "deliveries",
    key: &["receiver", "event"],
    columns: &[("receiver", Text), ("event", Int), ("call", Id), ("attempts", Int), ("next_at", Int), ("refused", Text)],
};

pub const FOLD_POSITION: Table =
    Table { name: "fold_position", key: &["stream"], columns: &[("stream", Text), ("position", Int)] };

/// Every table; the position last, so that what is moved half is not taken for the whole.
pub static TABLES: [&Table; 19] = [
    &CALLS,
    &OFFERS,
    &QUEUE_VISITS,
    &TALKS,
    &TALK_CODES,
    &ROUTES,
    &RECORDINGS,
    &RECORDING_HEARINGS,
    &CALLBACKS,
    &AGENT_CHANGES,
    &AGENT_OVERRIDES,
    &HANDOFFS,
    &OUTBOX,
    &PEOPLE,
    &HANDOFF_ATTEMPTS,
    &RECORDING_ATTEMPTS,
    &RECEIVERS,
    &DELIVERIES,
    &FOLD_POSITION,
];

impl Table {
    pub fn at(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|(name, _)| *name == column)
    }

    pub fn kind(&self, column: &str) -> Kind {
        self.columns.iter().find(|(name, _)| *name == column).map_or(Int, |(_, kind)| *kind)
    }

    /// `a, b, c`
    pub fn column_list(&self) -> String {
        self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// What follows an INSERT's rows, so that a row that is there takes the new one's values.
    pub fn or_replace(&self) -> String {
        let others = self.columns.iter().filter(|(name, _)| !self.key.contains(name));
        let sets: Vec<_> = others.map(|(name, _)| format!("{name} = excluded.{name}")).collect();
        format!(" ON CONFLICT ({}) DO UPDATE SET {}", self.key.join(", "), sets.join(", "))
    }
}

impl Value {
    pub fn is_null(&self) -> bool {
        *self == Value::Null
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}
impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Value::Int(number.into())
    }
}
impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Value::Int(number.into())
    }
}
/// A counted id or a position; all 64 bits are kept.
impl From<u64> for Value {
    fn from(raw: u64) -> Self {
        Value::Int(raw.cast_signed())
    }
}
/// What is beyond year 292,000 is the end of time.
impl From<Moment> for Value {
    fn from(at: Moment) -> Self {
        Value::Int(i64::try_from(at.0).unwrap_or(i64::MAX))
    }
}
impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Value::Bool(yes)
    }
}
impl From<Uuid> for Value {
    fn from(id: Uuid) -> Self {
        Value::Uuid(id)
    }
}
impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::from(text.as_str())
    }
}
impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Value::from(text.as_str())
    }
}
/// PostgreSQL's TEXT holds no NUL; one from a wire must not keep the tables from going on.
impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.replace('\0', "\u{FFFD}"))
    }
}
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}
