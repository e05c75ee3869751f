//! The stream of legs: what each live leg is now, so that the next life of the engine goes on with it.

use super::Entry;
use crate::clock::Moment;
use crate::ids::LegId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One entry: a side of a leg as it stands from here on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LegWritten {
    pub at: Moment,
    /// The position of the facts when the turn began in which this was written. The facts are written after the legs: if they end
    /// there, the turn did not happen.
    pub turn: u64,
    pub leg: LegId,
    pub word: LegWord,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LegWord {
    /// The dialog, in the user agent's own encoding; `None`: signalling has let it go.
    Signalling(Option<Vec<u8>>),
    /// Media's side, in the conductor's own encoding.
    Audio(Option<Vec<u8>>),
}

impl Entry for LegWritten {
    fn at(&self) -> Moment {
        self.at
    }
}

/// A leg as the words left it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptLeg {
    pub signalling: Option<Vec<u8>>,
    pub audio: Option<Vec<u8>>,
}

/// The fold of the stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptLegs {
    pub legs: BTreeMap<LegId, KeptLeg>,
    /// Of these the file holds words of a turn that did not happen: they are to be written anew before the facts grow beyond it.
    #[serde(skip)]
    pub undone: BTreeSet<LegId>,
}

impl KeptLegs {
    /// Everything up to the end of the facts.
    pub fn fold(snapshot: Option<Vec<u8>>, tail: Vec<LegWritten>, facts_end: u64) -> KeptLegs {
        let read = |bytes: Vec<u8>| {
            postcard::from_bytes(&bytes)
                .inspect_err(|error| tracing::error!(%error, "the snapshot of the legs cannot be read"))
                .ok()
        };
        let mut kept: KeptLegs = snapshot.and_then(read).unwrap_or_default();
        for written in tail {
            if written.turn < facts_end {
                kept.apply(written.leg, written.word);
            } else {
                kept.undone.insert(written.leg);
            }
        }
        kept
    }

    fn apply(&mut self, leg: LegId, word: LegWord) {
        let kept = self.legs.entry(leg).or_default();
        match word {
            LegWord::Signalling(state) => kept.signalling = state,
            LegWord::Audio(state) => kept.audio = state,
        }
        if *kept == KeptLeg::default() {
            self.legs.remove(&leg);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(turn: u64, leg: u64, word: LegWord) -> LegWritten {
        LegWritten { at: Moment::ZERO, turn, leg: LegId(leg), word }
    }

    #[test]
    fn words_of_a_turn_that_did_not_happen_are_passed_over_and_named() {
        let state = |byte| Some(vec![byte]);
        let tail = vec![
            written(0, 1, LegWord::Signalling(state(1))),
            written(0, 1, LegWord::Audio(state(2))),
            written(10, 2, LegWord::Signalling(state(3))),
            written(20, 2, LegWord::Signalling(None)),
            written(30, 1, LegWord::Signalling(None)),
        ];
        let kept = KeptLegs::fold(None, tail, 30);
        assert_eq!(kept.legs, BTreeMap::from([(LegId(1), KeptLeg { signalling: state(1), audio: state(2) })]));
        assert_eq!(kept.undone, BTreeSet::from([LegId(1)]));
    }

    #[test]
    fn a_snapshot_goes_before_the_words_behind_it() {
        let before = KeptLegs::fold(None, vec![written(0, 1, LegWord::Audio(Some(vec![7])))], 5);
        let snapshot = postcard::to_stdvec(&before).unwrap();
        let kept = KeptLegs::fold(Some(snapshot), vec![written(5, 2, LegWord::Audio(Some(vec![8])))], 9);
        assert_eq!(kept.legs.len(), 2);
    }
}
