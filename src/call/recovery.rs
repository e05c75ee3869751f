//! What a former life of the engine left: its state out of snapshot and journal, and an end for every call that was live in it.

use super::conductor::{Conductor, Work};
use crate::acd::{self, Acd};
use crate::clock::Moment;
use crate::facts::{Fact, Outcome, Stamped};
use crate::ids::*;
use crate::journal::{Body, Brain, LedgerFold, LiveCalls, Record};
use serde::{Deserialize, Serialize};

/// Everything the conductor keeps between two turns that the journal alone would take long to replay.
#[derive(Serialize, Deserialize)]
struct Snapshot {
    acd: Vec<u8>,
    live: LiveCalls,
    ledger: LedgerFold,
}

/// The state at the end of the journal.
pub struct Restored {
    pub acd: Acd,
    pub live: LiveCalls,
    pub ledger: LedgerFold,
}

/// Snapshot first, then every record after it, told to the same brain that was told it before.
pub fn restore(
    snapshot: Option<Vec<u8>>,
    tail: impl IntoIterator<Item = Record>,
    midnight: impl Fn(RegionId, Moment) -> Moment,
) -> Restored {
    let mut restored = snapshot.and_then(|bytes| from_snapshot(&bytes)).unwrap_or_else(|| Restored {
        // Every life begins with an event that says in which epoch the floor counts.
        acd: Acd::new(IdSource::new(0)),
        live: LiveCalls::default(),
        ledger: LedgerFold::default(),
    });
    for record in tail {
        match record.body {
            Body::Fact(fact) => {
                let stamped = Stamped { at: record.at, fact };
                restored.live.apply(&stamped);
                restored.ledger.apply(&stamped, &midnight);
            }
            Body::Input { brain: Brain::Acd, event, .. } => replay(&mut restored.acd, record.at, &event),
            // Robots and talks of calls that are closed below need no replay.
            Body::Input { brain: Brain::Ivr | Brain::Talk, .. } => {}
        }
    }
    restored
}

fn from_snapshot(bytes: &[u8]) -> Option<Restored> {
    let read = postcard::from_bytes::<Snapshot>(bytes).map_err(|error| error.to_string());
    let read = read.and_then(|it| Ok((Acd::restore(&it.acd).map_err(|error| error.to_string())?, it.live, it.ledger)));
    match read {
        Ok((acd, live, ledger)) => Some(Restored { acd, live, ledger }),
        Err(error) => {
            tracing::warn!(error, "the snapshot is of another form; agents sign in anew, the tables keep the callbacks");
            None
        }
    }
}

fn replay(acd: &mut Acd, at: Moment, event: &[u8]) {
    match postcard::from_bytes::<Option<acd::Event>>(event) {
        Ok(Some(event)) => acd.handle(at, event),
        Ok(None) => acd.handle_timeout(at),
        Err(error) => tracing::warn!(%error, "an input of the queue cannot be read and is passed over"),
    }
    // What it commanded then was done then.
    while acd.poll_command().is_some() {}
}

impl Conductor {
    pub(super) fn snapshot(&mut self) {
        let snapshot = Snapshot { acd: self.acd.snapshot(), live: self.live.clone(), ledger: self.ledger.clone() };
        let written = postcard::to_stdvec(&snapshot).map_err(|error| error.to_string());
        let written = written.and_then(|bytes| self.journal.snapshot(bytes).map_err(|error| error.to_string()));
        if let Err(error) = written {
            tracing::warn!(error, "no snapshot could be written; the next start replays more of the journal");
        }
    }

    /// Every call that was live when the engine died ends here, with the outcome it had come to and the callback it is owed.
    pub(super) fn close_what_a_former_life_left(&mut self, epoch: u32) {
        self.record(Fact::EngineStarted { epoch, version: env!("CARGO_PKG_VERSION").to_owned() });
        let left: Vec<_> = self.live.iter().map(|(id, call)| (id, call.clone())).collect();
        if !left.is_empty() {
            tracing::warn!(calls = left.len(), "the engine died with live calls; each is closed and owed what it is owed");
        }
        self.think_about(Work::Acd(acd::Event::EngineStarted { epoch }));
        for (id, call) in left {
            let outcome = call.outcome_if_lost();
            self.record(Fact::CallEnded { call: id, outcome });
            let after = self.now.since(call.since);
            self.owe_or_settle(id, call.region, call.person, outcome, after);
        }
    }

    /// Served people are owed nothing; for everybody else the acd decides by its table.
    pub(super) fn owe_or_settle(
        &mut self,
        call: CallId,
        region: RegionId,
        person: Option<PersonId>,
        outcome: Outcome,
        after: std::time::Duration,
    ) {
        let told = match outcome {
            Outcome::Served | Outcome::SelfServed | Outcome::TransferredOut => {
                person.map(|person| acd::Event::PersonServed { person })
            }
            Outcome::Announced
            | Outcome::CallbackBooked
            | Outcome::Cancelled
            | Outcome::AbandonedInMenu
            | Outcome::AbandonedInQueue
            | Outcome::Blocked
            | Outcome::Closed
            | Outcome::Failed
            | Outcome::Cut => {
                let task = self.ids.task();
                Some(acd::Event::CallMissed { task, call, region, person, outcome, after })
            }
        };
        self.work.extend(told.map(Work::Acd));
    }
}
