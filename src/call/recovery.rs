//! What a former life of the engine left: its state out of snapshot and journal, and an end for every call that was live in it.

use super::conductor::{Conductor, Work};
use crate::acd::{self, Acd};
use crate::clock::Moment;
use crate::facts::{Fact, Outcome, RouteEnd, Stamped};
use crate::ids::*;
use crate::journal::live_calls::Stage;
use crate::journal::{Body, Brain, LedgerFold, LiveCalls, Record};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything the conductor keeps between two turns that the journal alone would take long to replay.
#[derive(Serialize, Deserialize)]
struct Snapshot {
    acd: Vec<u8>,
    live: LiveCalls,
    ledger: LedgerFold,
    phones: Phones,
}

/// Counts changes of the snapshot's shape; one of another shape is not read.
const SNAPSHOT_SHAPE: u8 = 2;

/// Where each agent's phones registered, in the registrar's own encoding.
pub type Phones = BTreeMap<AgentId, Vec<u8>>;

/// The state at the end of the journal.
pub struct Restored {
    pub acd: Acd,
    pub live: LiveCalls,
    pub ledger: LedgerFold,
    pub phones: Phones,
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
        phones: Phones::default(),
    });
    for record in tail {
        match record.body {
            Body::Fact(fact) => {
                let stamped = Stamped { at: record.at, fact };
                restored.live.apply(&stamped);
                restored.ledger.apply(&stamped, &midnight);
                if let Fact::PhonesWritten { agent, state } = stamped.fact {
                    restored.phones.insert(agent, state);
                }
            }
            Body::Input { brain: Brain::Acd, event, .. } => replay(&mut restored.acd, record.at, &event),
            // Robots and talks of calls that are closed below need no replay.
            Body::Input { brain: Brain::Ivr | Brain::Talk, .. } => {}
        }
    }
    restored
}

fn from_snapshot(bytes: &[u8]) -> Option<Restored> {
    let state = bytes.strip_prefix(&[SNAPSHOT_SHAPE]);
    let Some(Snapshot { acd, live, ledger, phones }) = state.and_then(|state| postcard::from_bytes(state).ok()) else {
        tracing::error!(
            "the snapshot is of another form: calls that were live in it have no end, callbacks stand in the tables only"
        );
        return None;
    };
    // The calls and the ledger are taken up also if the floor cannot be.
    let acd = Acd::restore(&acd).unwrap_or_else(|error| {
        tracing::error!(%error, "the floor cannot be taken up; agents sign in anew, callbacks stand in the tables only");
        Acd::new(IdSource::new(0))
    });
    Some(Restored { acd, live, ledger, phones })
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
        let (live, ledger) = (self.live.clone(), self.ledger.clone());
        let snapshot = Snapshot { acd: self.acd.snapshot(), live, ledger, phones: self.agent.all_phones_states() };
        let written = postcard::to_extend(&snapshot, vec![SNAPSHOT_SHAPE]).map_err(|error| error.to_string());
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
            if let Stage::Dialling { leg, .. } = &call.stage {
                self.record(Fact::RouteEnded { call: id, leg: *leg, end: RouteEnd::Failed });
            }
            if call.answered && !call.handed_off {
                let handoff = self.ids.handoff();
                self.record(Fact::HandoffRequested {
                    handoff,
                    call: id,
                    region: call.region,
                    person: call.person,
                    theme: call.theme.clone(),
                });
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acd::{AgentRules, CallbackRules, QueueRules, Rules};
    use crate::facts::AgentStateName;
    use crate::journal::{Journal, Limits};
    use std::time::Duration;
    use uuid::Uuid;

    const CITIZEN: CallId = CallId(Uuid::from_u128(1));
    const NEXT_CITIZEN: CallId = CallId(Uuid::from_u128(2));

    #[test]
    fn a_floor_of_many_lives_is_restored_as_it_was_left() {
        let folder = tempfile::tempdir().unwrap();
        for life in 1..=3 {
            let mut floor = Floor::open(folder.path(), life);
            let offer = floor.offered(CITIZEN);
            floor.tell(acd::Event::OfferAnswered { offer });
            floor.tell(queued(NEXT_CITIZEN));
            // kill -9: the journal is all there is.
            let left = floor.acd.state_hash();
            drop(floor);
            let (_journal, opened) = Journal::open(folder.path(), Limits::FACTS).unwrap();
            let restored = restore(opened.snapshot, opened.tail, |_, at| at);
            assert_eq!(restored.acd.state_hash(), left);
        }
    }

    #[test]
    fn the_next_life_finds_the_agent_free_and_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let mut floor = Floor::open(folder.path(), 1);
        let first = floor.offered(CITIZEN);
        floor.tell(queued(NEXT_CITIZEN));
        drop(floor);
        let mut floor = Floor::open(folder.path(), 2);
        assert_eq!(floor.acd.agent(&agent()).unwrap().state, AgentStateName::Ready);
        assert_eq!(floor.acd.queues().next().unwrap().waiting, 0);
        assert!(floor.offered(NEXT_CITIZEN) > first, "offers of two lives never meet");
    }

    #[test]
    fn phones_and_hand_offs_are_folded_from_the_facts() {
        let fact = |fact| Record { at: Moment::from_secs(1), body: Body::Fact(fact) };
        let entered =
            Fact::CallEntered { call: CITIZEN, region: RegionId(0), trunk: "city".into(), dialled: "122".into(), person: None };
        let handoff =
            Fact::HandoffRequested { handoff: HandoffId(1), call: CITIZEN, region: RegionId(0), person: None, theme: None };
        let phones = |state: &[u8]| Fact::PhonesWritten { agent: agent(), state: state.to_vec() };
        let tail = [entered, phones(&[1]), handoff, phones(&[2])].map(fact);
        let restored = restore(None, tail, |_, at| at);
        assert_eq!(restored.phones, Phones::from([(agent(), vec![2])]));
        assert!(restored.live.get(CITIZEN).unwrap().handed_off);
    }

    /// The floor of one life, told and journalled as the conductor does it.
    struct Floor {
        acd: Acd,
        journal: Journal,
        now: Moment,
    }

    impl Floor {
        fn open(folder: &std::path::Path, life: u64) -> Self {
            let (journal, opened) = Journal::open(folder, Limits::FACTS).unwrap();
            let epoch = opened.epoch;
            let acd = restore(opened.snapshot, opened.tail, |_, at| at).acd;
            let mut floor = Self { acd, journal, now: Moment::from_secs(1_000 * life) };
            floor.tell(acd::Event::EngineStarted { epoch });
            floor.tell(acd::Event::RulesChanged(Box::new(rules())));
            floor.tell(acd::Event::AgentReachable { agent: agent(), reachable: true });
            floor.tell(acd::Event::AgentReady { agent: agent() });
            floor
        }

        fn tell(&mut self, event: acd::Event) -> Vec<acd::Command> {
            let input = postcard::to_stdvec(&Some(&event)).unwrap();
            self.journal.append(&Record { at: self.now, body: Body::Input { brain: Brain::Acd, call: None, event: input } });
            self.journal.commit().unwrap();
            self.acd.handle(self.now, event);
            std::iter::from_fn(|| self.acd.poll_command()).collect()
        }

        fn offered(&mut self, call: CallId) -> OfferId {
            let commands = self.tell(queued(call));
            let offer = commands.iter().find_map(|command| match command {
                acd::Command::Offer { offer, .. } => Some(*offer),
                _ => None,
            });
            offer.unwrap()
        }
    }

    fn agent() -> AgentId {
        "anna".into()
    }

    fn queued(call: CallId) -> acd::Event {
        acd::Event::CallerQueued { call, queue: "therapy".into(), person: None, priority: 0, urgent: false }
    }

    fn rules() -> Rules {
        let queue = QueueRules {
            region: RegionId(0),
            requires: Default::default(),
            target: Duration::from_secs(20),
            priority: 0,
            max_waiting: 10,
            max_wait: None,
            ring: Duration::from_secs(15),
            wrap_up: Duration::ZERO,
            announce: None,
            seek: Default::default(),
        };
        let (always_ready, misses_to_break, reserve) = (false, 0, false);
        let anna = AgentRules { region: RegionId(0), skills: BTreeMap::new(), always_ready, misses_to_break, reserve };
        Rules {
            queues: BTreeMap::from([("therapy".into(), queue)]),
            agents: BTreeMap::from([(agent(), anna)]),
            callbacks: CallbackRules::default(),
            routing: Default::default(),
        }
    }
}
