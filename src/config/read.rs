//! TOML text → sections that remember where each of their keys stands, so that every complaint can name its line.

use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// What is wrong at one place, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigError {
    pub file: String,
    /// Counted from 1; 0 if no line is to blame.
    pub line: usize,
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}

/// All that is wrong with one file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigErrors {
    pub(super) fn unreadable(file: &str, cause: &std::io::Error) -> Self {
        let message = format!("cannot be read ({cause}); start from config/example.toml");
        Self(vec![ConfigError { file: file.to_owned(), line: 0, message }])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// A file while it is read: sections are taken out one by one, complaints gather.
pub struct File<'t> {
    name: String,
    text: &'t str,
    root: DeTable<'t>,
    known: Vec<&'static str>,
    errors: BTreeSet<ConfigError>,
}

/// One section with the byte offsets of its values: `queue`, `skills.booking`, `steps.1.trunk`.
pub struct Placed<T> {
    pub value: T,
    at: usize,
    places: BTreeMap<String, usize>,
}

impl<T> Placed<T> {
    /// Where this key's value stands; the head of the section if the file does not give it.
    pub fn place(&self, path: &str) -> usize {
        self.places.get(path).copied().unwrap_or(self.at)
    }
    pub fn gives(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }
}

impl<'t> File<'t> {
    pub fn new(name: &str, text: &'t str) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut file = Self { name: name.to_owned(), text, root: root.into_inner(), known: Vec::new(), errors: BTreeSet::new() };
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            file.complain(at, format!("this is no TOML: {}", one_line(error.message())));
        }
        file
    }

    pub fn complain(&mut self, at: usize, message: impl Into<String>) {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        self.errors.insert(ConfigError { file: self.name.clone(), line, message: message.into() });
    }

    /// Every `[[key]]`; those that cannot be read are complained about and left out.
    pub fn list<T: DeserializeOwned>(&mut self, key: &'static str) -> Vec<Placed<T>> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let at = value.span().start;
        match value.into_inner() {
            DeValue::Array(entries) => {
                entries.into_iter().filter_map(|entry| self.section(&format!("[[{key}]]"), entry)).collect()
            }
            _ => {
                self.complain(at, format!("`{key}` is a list of sections; write each as [[{key}]]"));
                Vec::new()
            }
        }
    }

    /// The one `[key]`, empty if the file has none.
    pub fn table<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<Placed<T>> {
        let empty = || Spanned::new(0..0, DeValue::Table(DeTable::new()));
        let value = self.take(key).unwrap_or_else(empty);
        if !value.get_ref().is_table() {
            self.complain(value.span().start, format!("there is one `{key}`; write it as [{key}]"));
            return self.section(&format!("[{key}]"), empty());
        }
        self.section(&format!("[{key}]"), value)
    }

    /// A key of the first lines, before any section.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        let value = self.take(key)?;
        match value.get_ref().as_str() {
            Some(text) => Some(text.to_owned()),
            None => {
                self.complain(value.span().start, format!("`{key}` is a text; write it in quotes"));
                None
            }
        }
    }

    /// The configuration, unless anything was complained about.
    pub fn finish<C>(mut self, config: Option<C>) -> Result<C, ConfigErrors> {
        let known = std::mem::take(&mut self.known);
        for (key, _) in std::mem::take(&mut self.root) {
            let message = format!("`{}` is not known here; known are: {}", key.get_ref(), known.join(", "));
            self.complain(key.span().start, message);
        }
        match config {
            Some(config) if self.errors.is_empty() => Ok(config),
            _ => {
                let mut errors: Vec<_> = self.errors.into_iter().collect();
                errors.sort_by_key(|error| error.line);
                Err(ConfigErrors(errors))
            }
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.root.remove(key)
    }

    /// Reads one section. The reader stops at its first error, so the key to blame is taken out and the rest read again: all wrong
    /// keys of a section are told at once.
    fn section<T: DeserializeOwned>(&mut self, head: &str, mut entry: Spanned<DeValue<'t>>) -> Option<Placed<T>> {
        let at = entry.span().start;
        let mut places = BTreeMap::new();
        note_places("", &entry, &mut places);
        let mut removed = Vec::new();
        loop {
            let error = match T::deserialize(ValueDeserializer::from(entry.clone())) {
                Ok(value) if removed.is_empty() => return Some(Placed { value, at, places }),
                Ok(_) => return None,
                Err(error) => error,
            };
            let span = error.span().unwrap_or(at..at);
            let blamed = blamed_key(&entry, &span);
            let message = in_our_words(head, blamed.as_deref(), error.message());
            // A key taken out for a wrong value is then missed; that was said already.
            let told = removed.iter().any(|key: &String| error.message() == format!("missing field `{key}`"));
            if !told {
                self.complain(if blamed.is_some() { span.start } else { at }, message);
            }
            match (blamed, entry.get_mut()) {
                (Some(key), DeValue::Table(table)) => {
                    table.remove(key.as_str());
                    removed.push(key);
                }
                _ => return None,
            }
        }
    }
}

fn note_places(path: &str, value: &Spanned<DeValue>, places: &mut BTreeMap<String, usize>) {
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    if !path.is_empty() {
        places.insert(path.to_owned(), value.span().start);
    }
    match value.get_ref() {
        DeValue::Table(table) => table.iter().for_each(|(key, value)| note_places(&join(key.get_ref()), value, places)),
        DeValue::Array(list) => list.iter().enumerate().for_each(|(n, value)| note_places(&join(&n.to_string()), value, places)),
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}

/// The key of this section within whose words (or value) the error lies.
fn blamed_key(entry: &Spanned<DeValue>, span: &Range<usize>) -> Option<String> {
    let table = entry.get_ref().as_table()?;
    let holds = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end && !outer.is_empty();
    table.iter().find(|(key, value)| holds(key.span()) || holds(value.span())).map(|(key, _)| key.get_ref().to_string())
}

fn in_our_words(head: &str, key: Option<&str>, message: &str) -> String {
    let message = one_line(message);
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let (field, keys) = rest.split_once(", expected ").unwrap_or((rest, ""));
        let keys = keys.trim_start_matches("one of ").trim_start_matches("`skip`");
        return format!("{head} knows no key {field}; its keys are: {keys}");
    }
    if let Some(field) = message.strip_prefix("missing field ") {
        return format!("{head} lacks the key {field}; add it");
    }
    match key {
        Some(key) => format!("{head} `{key}`: {message}"),
        None => format!("{head}: {message}"),
    }
}

fn one_line(message: &str) -> String {
    message.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}
