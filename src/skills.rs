//! What a queue requires of an agent: `therapy >= 5 and (tatar >= 1 or russian >= 80)`.

use crate::ids::Skill;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Parentheses deeper than this are refused, so that no configuration exhausts the stack.
const DEEPEST: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Requirement {
    /// The skill with at least this level (1–100).
    AtLeast(Skill, u8),
    /// All of them; none at all is fulfilled by everybody.
    All(Vec<Requirement>),
    Any(Vec<Requirement>),
}

/// Why a text is no requirement; `at` is the place in it, counted in characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {what}")]
pub struct RequirementError {
    pub at: usize,
    pub what: String,
}

impl Requirement {
    /// `skill >= level`, `skill` alone (level 1), `and`, `or`, parentheses; `and` binds closer.
    pub fn parse(text: &str) -> Result<Self, RequirementError> {
        let mut words = Words::split(text)?;
        let requirement = words.any(0)?;
        match words.next() {
            None => Ok(requirement),
            Some((at, word)) => Err(RequirementError { at, what: format!("`and` or `or` should stand before `{word}`") }),
        }
    }

    /// Whether an agent with these levels will do.
    pub fn fulfilled_by(&self, levels: &BTreeMap<Skill, u8>) -> bool {
        match self {
            Requirement::AtLeast(skill, least) => levels.get(skill).is_some_and(|level| level >= least),
            Requirement::All(all) => all.iter().all(|one| one.fulfilled_by(levels)),
            Requirement::Any(any) => any.iter().any(|one| one.fulfilled_by(levels)),
        }
    }

    /// Every skill that stands in it.
    pub fn skills(&self) -> BTreeSet<&Skill> {
        match self {
            Requirement::AtLeast(skill, _) => BTreeSet::from([skill]),
            Requirement::All(parts) | Requirement::Any(parts) => parts.iter().flat_map(Requirement::skills).collect(),
        }
    }
}

impl Default for Requirement {
    /// Everybody will do.
    fn default() -> Self {
        Requirement::All(Vec::new())
    }
}

impl From<BTreeMap<Skill, u8>> for Requirement {
    /// Every skill with its least level.
    fn from(levels: BTreeMap<Skill, u8>) -> Self {
        Requirement::All(levels.into_iter().map(|(skill, least)| Requirement::AtLeast(skill, least)).collect())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, word) = match self {
            Requirement::AtLeast(skill, least) => return write!(f, "{skill} >= {least}"),
            Requirement::All(parts) => (parts, " and "),
            Requirement::Any(parts) => (parts, " or "),
        };
        for (no, part) in parts.iter().enumerate() {
            f.write_str(if no == 0 { "" } else { word })?;
            match part {
                Requirement::AtLeast(..) => write!(f, "{part}")?,
                Requirement::All(_) | Requirement::Any(_) => write!(f, "({part})")?,
            }
        }
        Ok(())
    }
}

/// The words of a text, each with its place.
struct Words {
    words: Vec<(usize, String)>,
    read: usize,
    end: usize,
}

impl Words {
    fn split(text: &str) -> Result<Self, RequirementError> {
        let mut words: Vec<(usize, String)> = Vec::new();
        let mut in_name = false;
        for (place, sign) in text.chars().enumerate() {
            let at = place + 1;
            let named = sign.is_alphanumeric() || sign == '_' || sign == '-';
            match (sign, words.last_mut()) {
                _ if sign.is_whitespace() => {}
                ('=', Some((_, word))) if word == ">" => word.push(sign),
                _ if named && in_name => words.last_mut().into_iter().for_each(|(_, word)| word.push(sign)),
                ('(' | ')' | '>', _) => words.push((at, sign.to_string())),
                _ if named => words.push((at, sign.to_string())),
                _ => return Err(RequirementError { at, what: format!("`{sign}` means nothing here; write `skill >= level`") }),
            }
            in_name = named;
        }
        Ok(Self { words, read: 0, end: text.chars().count() + 1 })
    }

    fn peek(&self) -> Option<&str> {
        self.words.get(self.read).map(|(_, word)| word.as_str())
    }

    fn next(&mut self) -> Option<(usize, String)> {
        let word = self.words.get(self.read).cloned();
        self.read += 1;
        word
    }

    fn take(&mut self, word: &str) -> bool {
        let there = self.peek() == Some(word);
        self.read += usize::from(there);
        there
    }

    fn any(&mut self, depth: usize) -> Result<Requirement, RequirementError> {
        let mut parts = vec![self.all(depth)?];
        while self.take("or") {
            parts.push(self.all(depth)?);
        }
        Ok(one_or(parts, Requirement::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Requirement, RequirementError> {
        let mut parts = vec![self.one(depth)?];
        while self.take("and") {
            parts.push(self.one(depth)?);
        }
        Ok(one_or(parts, Requirement::All))
    }

    fn one(&mut self, depth: usize) -> Result<Requirement, RequirementError> {
        let end = self.end;
        let Some((at, word)) = self.next() else { return Err(wrong(end, "a skill is missing at the end")) };
        match word.as_str() {
            "(" if depth < DEEPEST => {
                let inner = self.any(depth + 1)?;
                if self.take(")") { Ok(inner) } else { Err(wrong(at, "this parenthesis is not closed")) }
            }
            "(" => Err(wrong(at, "too many parentheses")),
            ")" | ">" | ">=" | "and" | "or" => Err(wrong(at, &format!("a skill should stand here, not `{word}`"))),
            _ if self.take(">=") => {
                let Some((at, level)) = self.next() else { return Err(wrong(end, "a level from 1 to 100 is missing")) };
                let level = level.parse().ok().filter(|level| (1..=100).contains(level));
                let level = level.ok_or_else(|| wrong(at, "a level is a number from 1 to 100"))?;
                Ok(Requirement::AtLeast(Skill::from(word.as_str()), level))
            }
            _ => Ok(Requirement::AtLeast(Skill::from(word.as_str()), 1)),
        }
    }
}

fn one_or(mut parts: Vec<Requirement>, many: impl FnOnce(Vec<Requirement>) -> Requirement) -> Requirement {
    if parts.len() == 1 { parts.remove(0) } else { many(parts) }
}

fn wrong(at: usize, what: &str) -> RequirementError {
    RequirementError { at, what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(levels: &[(&str, u8)]) -> BTreeMap<Skill, u8> {
        levels.iter().map(|(skill, level)| (Skill::from(*skill), *level)).collect()
    }

    #[test]
    fn and_binds_closer_than_or() {
        let either = Requirement::parse("therapy >= 5 and tatar >= 1 or all_round >= 90").unwrap();
        assert!(either.fulfilled_by(&levels(&[("therapy", 5), ("tatar", 1)])));
        assert!(either.fulfilled_by(&levels(&[("all_round", 90)])));
        assert!(!either.fulfilled_by(&levels(&[("therapy", 5), ("all_round", 89)])));
    }

    #[test]
    fn parentheses_come_first() {
        let both = Requirement::parse("therapy>=5 and (tatar or russian>=80)").unwrap();
        assert!(both.fulfilled_by(&levels(&[("therapy", 9), ("tatar", 1)])));
        assert!(!both.fulfilled_by(&levels(&[("russian", 80)])));
    }

    #[test]
    fn nothing_required_is_fulfilled_by_everybody() {
        assert!(Requirement::default().fulfilled_by(&BTreeMap::new()));
    }

    #[test]
    fn what_is_written_out_reads_back_the_same() {
        for text in ["a >= 1", "a >= 1 and b >= 2", "a >= 1 and (b >= 2 or c >= 3)", "(a >= 1 and b >= 2) or c >= 100"] {
            let requirement = Requirement::parse(text).unwrap();
            assert_eq!(Requirement::parse(&requirement.to_string()).unwrap(), requirement);
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        let said = |text: &str| Requirement::parse(text).unwrap_err().to_string();
        assert_eq!(said("therapy >= 101"), "at character 12: a level is a number from 1 to 100");
        assert_eq!(said("therapy and"), "at character 12: a skill is missing at the end");
        assert_eq!(said("therapy tatar"), "at character 9: `and` or `or` should stand before `tatar`");
        assert_eq!(said("(therapy"), "at character 1: this parenthesis is not closed");
        assert_eq!(said("therapy < 5"), "at character 9: `<` means nothing here; write `skill >= level`");
        assert_eq!(said(""), "at character 1: a skill is missing at the end");
    }
}
