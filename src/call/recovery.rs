//! What a former life of the engine left: its state out of snapshot and journal, by telling the brains again what they were told.

use super::conductor::Conductor;
use super::legs::Legs;
use super::live_call::LiveCall;
use crate::acd::{self, Acd};
use crate::clock::Moment;
use crate::facts::{Fact, Stamped};
use crate::ids::*;
use crate::ivr::{self, Ivr, Script};
use crate::journal::{Body, Brain, Heard, KeptLegs, LedgerFold, LiveCalls, Record};
use crate::talk::{self, CalledBack, Talk};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Everything the conductor keeps between two turns that the journal alone would take long to replay. Each part has a shape of its
/// own, so that a new build that thinks otherwise about calls still knows which there were and what they are owed.
#[derive(Serialize, Deserialize)]
struct Snapshot {
    folds: Vec<u8>,
    acd: Vec<u8>,
    /// Of [`KeptCall`]s.
    calls: Vec<u8>,
    heard: Heard,
}

#[derive(Serialize, Deserialize)]
struct Folds {
    live: LiveCalls,
    ledger: LedgerFold,
    phones: Phones,
}

/// The brains of one call.
#[derive(Serialize, Deserialize)]
struct KeptCall {
    call: CallId,
    talk: Talk,
    /// The script, its version, and the robot's own encoding of where it stands.
    robot: Option<(ScriptId, u32, Vec<u8>)>,
}

/// Count changes of each part's shape; a part of another shape is not read.
const FOLDS_SHAPE: u8 = 4;
const CALLS_SHAPE: u8 = 3;
/// Of the whole; for good.
const SNAPSHOT_SHAPE: u8 = 4;

/// Where each agent's phones registered, in the registrar's own encoding.
pub type Phones = BTreeMap<AgentId, Vec<u8>>;

/// The state at the end of the journal.
pub struct Restored {
    pub acd: Acd,
    pub live: LiveCalls,
    pub ledger: LedgerFold,
    pub phones: Phones,
    pub calls: BTreeMap<CallId, Brains>,
    pub heard: Heard,
}

/// The two brains of a call that is live.
pub struct Brains {
    talk: Talk,
    robot: Option<Ivr>,
}

/// What the last life left of its calls, for the conductor to go on with.
#[derive(Default)]
pub struct Former {
    pub calls: BTreeMap<CallId, LiveCall>,
    /// Of these the robot begins anew.
    pub afresh: BTreeSet<CallId>,
    pub legs: Legs,
    /// Dialogs, in the user agent's own encoding.
    pub dialogs: Vec<(LegId, Vec<u8>)>,
    /// Legs of which the file holds words that did not happen.
    pub undone: BTreeSet<LegId>,
    pub heard: Heard,
}

/// Snapshot first, then every record after it, told to the same brains that were told it before. `script` gives the version with
/// which a call began.
pub fn restore(
    snapshot: Option<Vec<u8>>,
    tail: impl IntoIterator<Item = Record>,
    script: impl Fn(&ScriptId, u32) -> Option<Arc<Script>>,
    midnight: impl Fn(RegionId, Moment) -> Moment,
) -> Restored {
    let mut restored = snapshot.and_then(|bytes| from_snapshot(&bytes, &script)).unwrap_or_else(|| Restored {
        // Every life begins with an event that says in which epoch the floor counts.
        acd: Acd::new(IdSource::new(0)),
        live: LiveCalls::default(),
        ledger: LedgerFold::default(),
        phones: Phones::default(),
        calls: BTreeMap::new(),
        heard: Heard::default(),
    });
    for Record { at, body } in tail {
        match body {
            Body::Fact(fact) => {
                let stamped = Stamped { at, fact };
                restored.live.apply(&stamped);
                restored.ledger.apply(&stamped, &midnight);
                if let Fact::PhonesWritten { agent, state } = stamped.fact {
                    restored.phones.insert(agent, state);
                }
            }
            Body::Input { brain: Brain::Acd, event, .. } => replay_acd(&mut restored.acd, at, &event),
            Body::Input { brain, call: Some(call), event } => restored.replay(brain, call, at, &event),
            Body::Input { call: None, .. } => {}
            Body::Began { call, citizen, script: id, version } => {
                let robot = script(&id, version).map(|script| Ivr::new(call, script, LiveCall::FIRST_PLAY));
                restored.calls.insert(call, Brains { talk: Talk::new(call, citizen, at), robot });
            }
            Body::CalledBack { call, citizen, queue, recorded, rings } => {
                let talk = Talk::calling_back(call, citizen, queue, CalledBack { recorded, rings }, at);
                restored.calls.insert(call, Brains { talk, robot: None });
            }
            Body::Turn { heard } => restored.heard = heard,
        }
    }
    restored
}

fn from_snapshot(bytes: &[u8], script: impl Fn(&ScriptId, u32) -> Option<Arc<Script>>) -> Option<Restored> {
    let parts = part::<Snapshot>(bytes, SNAPSHOT_SHAPE);
    let Some((folds, parts)) = parts.and_then(|parts| Some((part::<Folds>(&parts.folds, FOLDS_SHAPE)?, parts))) else {
        tracing::error!(
            "the snapshot is of another form: calls that were live in it have no end, callbacks stand in the tables only"
        );
        return None;
    };
    let Snapshot { acd, calls, heard, .. } = parts;
    let Folds { live, ledger, phones } = folds;
    let calls = part::<Vec<KeptCall>>(&calls, CALLS_SHAPE).unwrap_or_else(|| {
        tracing::error!("another build wrote these calls: each is closed and owed what it is owed");
        Vec::new()
    });
    // The calls and the ledger are taken up also if the floor cannot be.
    let acd = Acd::restore(&acd).unwrap_or_else(|error| {
        tracing::error!(%error, "the floor cannot be taken up; agents sign in anew, callbacks stand in the tables only");
        Acd::new(IdSource::new(0))
    });
    let revived = calls.into_iter().map(|KeptCall { call, talk, robot }| {
        let robot = robot.and_then(|(id, version, state)| Ivr::restore(script(&id, version)?, &state).ok());
        (call, Brains { talk, robot })
    });
    Some(Restored { acd, live, ledger, phones, calls: revived.collect(), heard })
}

fn part<T: DeserializeOwned>(bytes: &[u8], shape: u8) -> Option<T> {
    postcard::from_bytes(bytes.strip_prefix(&[shape])?).ok()
}

fn write_part<T: Serialize>(part: &T, shape: u8) -> Result<Vec<u8>, String> {
    postcard::to_extend(part, vec![shape]).map_err(|error| error.to_string())
}

/// An input as it was written down: `None` is the passing of time.
fn read<E: DeserializeOwned>(event: &[u8]) -> Option<Option<E>> {
    postcard::from_bytes(event).inspect_err(|error| tracing::warn!(%error, "an input cannot be read and is passed over")).ok()
}

fn replay_acd(acd: &mut Acd, at: Moment, event: &[u8]) {
    match read::<acd::Event>(event) {
        Some(Some(event)) => acd.handle(at, event),
        Some(None) => acd.handle_timeout(at),
        None => {}
    }
    // What it commanded then was done then.
    while acd.poll_command().is_some() {}
}

impl Restored {
    /// A call whose brain falls over is let go: it is closed with the others that cannot be kept.
    fn replay(&mut self, brain: Brain, call: CallId, at: Moment, event: &[u8]) {
        let Some(brains) = self.calls.get_mut(&call) else { return };
        let over = catch_unwind(AssertUnwindSafe(|| match brain {
            Brain::Talk => brains.replay_talk(at, event),
            Brain::Ivr => brains.replay_ivr(at, event),
            Brain::Acd => false,
        }));
        if over.unwrap_or(true) {
            self.calls.remove(&call);
        }
    }

    /// The calls and legs as the conductor holds them. `current` is the script of a number as it is now.
    pub fn former(&mut self, kept: &KeptLegs, current: impl Fn(&str) -> Option<Arc<Script>>) -> Former {
        let audio = kept.legs.iter().filter_map(|(leg, kept)| Some((*leg, kept.audio.as_deref()?)));
        let legs = Legs::restore(audio);
        let (mut calls, mut afresh) = (BTreeMap::new(), BTreeSet::new());
        for (id, mut brains) in std::mem::take(&mut self.calls) {
            let Some(live) = self.live.get(id) else { continue };
            if brains.robot.is_none() {
                // Who waits goes on to wait, with music; overflow ends with a callback.
                brains.talk.robot_is_gone();
            }
            if brains.robot.is_none() && brains.talk.is_with_robot() {
                // Its version of the script is nowhere to be had: the citizen begins anew with today's.
                let Some(script) = current(&live.dialled) else { continue };
                brains.robot = Some(Ivr::new(id, script, LiveCall::FIRST_PLAY));
                afresh.insert(id);
            }
            let caller = legs.caller_of(brains.talk.citizen());
            calls.insert(id, LiveCall::revived(id, live, caller, brains.talk, brains.robot));
        }
        let dialogs = kept.legs.iter().filter_map(|(leg, kept)| Some((*leg, kept.signalling.clone()?)));
        Former { calls, afresh, legs, dialogs: dialogs.collect(), undone: kept.undone.clone(), heard: self.heard }
    }
}

impl Brains {
    /// Both say whether the call is over.
    fn replay_talk(&mut self, at: Moment, event: &[u8]) -> bool {
        match read::<talk::Event>(event) {
            Some(Some(event)) => self.talk.handle(at, event),
            Some(None) => self.talk.handle_timeout(at),
            None => {}
        }
        while let Some(command) = self.talk.poll_command() {
            if command == talk::Command::RobotDone {
                self.robot = None;
            }
        }
        self.talk.is_over()
    }

    fn replay_ivr(&mut self, at: Moment, event: &[u8]) -> bool {
        let Some(robot) = &mut self.robot else { return false };
        match read::<ivr::Event>(event) {
            Some(Some(event)) => robot.handle(at, event),
            Some(None) => robot.handle_timeout(at),
            None => {}
        }
        while robot.poll_command().is_some() {}
        false
    }
}

impl Conductor {
    pub(super) fn snapshot(&mut self) {
        let calls = self.calls.values().map(|call| {
            let robot = call.robot.as_ref().and_then(|robot| {
                let script = robot.script();
                Some((script.id.clone(), script.version, robot.snapshot().ok()?))
            });
            KeptCall { call: call.id, talk: call.talk.clone(), robot }
        });
        let calls: Vec<KeptCall> = calls.collect();
        let folds = Folds { live: self.live.clone(), ledger: self.ledger.clone(), phones: self.agent.all_phones_states() };
        let parts = write_part(&folds, FOLDS_SHAPE).and_then(|folds| Ok((folds, write_part(&calls, CALLS_SHAPE)?)));
        let (acd, heard) = (self.acd.snapshot(), self.heard);
        let written = parts.and_then(|(folds, calls)| write_part(&Snapshot { folds, acd, calls, heard }, SNAPSHOT_SHAPE));
        let written = written.and_then(|bytes| self.journal.snapshot(bytes).map_err(|error| error.to_string()));
        // Never ahead of the facts.
        let legs = written.and_then(|()| postcard::to_stdvec(&self.kept_legs()).map_err(|error| error.to_string()));
        let legs = legs.and_then(|bytes| self.leg_states.snapshot(bytes).map_err(|error| error.to_string()));
        if let Err(error) = legs {
            tracing::warn!(error, "no snapshot could be written; the next start replays more of the journal");
        }
    }

    fn kept_legs(&self) -> KeptLegs {
        let mut kept = KeptLegs::default();
        for (leg, state) in self.agent.all_written() {
            kept.legs.entry(leg).or_default().signalling = Some(state);
        }
        for leg in self.legs.ids() {
            kept.legs.entry(leg).or_default().audio = self.legs.written(leg);
        }
        kept
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
            let restored = restore(opened.snapshot, opened.tail, |_, _| None, |_, at| at);
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
        let restored = restore(None, tail, |_, _| None, |_, at| at);
        assert_eq!(restored.phones, Phones::from([(agent(), vec![2])]));
        assert!(restored.live.get(CITIZEN).unwrap().handed_off);
    }

    #[test]
    fn a_build_that_cannot_read_the_calls_still_knows_which_there_were() {
        let mut folds =
            Folds { live: LiveCalls::default(), ledger: LedgerFold::default(), phones: Phones::from([(agent(), vec![1])]) };
        let (trunk, dialled) = ("city".into(), "122".into());
        let entered = Fact::CallEntered { call: CITIZEN, region: RegionId(0), trunk, dialled, person: None };
        folds.live.apply(&Stamped { at: Moment::from_secs(1), fact: entered });
        let snapshot = Snapshot {
            folds: write_part(&folds, FOLDS_SHAPE).unwrap(),
            acd: Acd::new(IdSource::new(1)).snapshot(),
            calls: vec![CALLS_SHAPE + 1, 9, 9],
            heard: Heard::default(),
        };
        let snapshot = write_part(&snapshot, SNAPSHOT_SHAPE).unwrap();
        let restored = restore(Some(snapshot), [], |_, _| None, |_, at| at);
        assert_eq!((restored.live.len(), restored.calls.len()), (1, 0));
        assert_eq!(restored.phones, folds.phones);
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
            let acd = restore(opened.snapshot, opened.tail, |_, _| None, |_, at| at).acd;
            let mut floor = Self { acd, journal, now: Moment::from_secs(1_000 * life) };
            floor.tell(acd::Event::EngineStarted { epoch, kept: BTreeSet::new() });
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
            ring: Duration::from_secs(15),
            wrap_up: Duration::ZERO,
            announce: None,
            seek: Default::default(),
            while_waiting: Default::default(),
            after_talk: Default::default(),
        };
        let (always_ready, misses_to_break, reserve) = (false, 0, false);
        let anna = AgentRules { region: RegionId(0), skills: BTreeMap::new(), always_ready, misses_to_break, reserve };
        Rules {
            queues: BTreeMap::from([("therapy".into(), queue)]),
            agents: BTreeMap::from([(agent(), anna)]),
            callbacks: CallbackRules::default(),
            routing: Default::default(),
            duty: Default::default(),
        }
    }
}
