//! The one loop of the engine: take in, think, write down, act.
//!
//! Everything that decides lives in the brains (`sip`, `ivr`, `talk`, `acd`); this loop carries their words to one another and to
//! the world. Nothing leaves before the journal has it: a turn's records are written by one `write()`, then its datagrams and media
//! commands go out.

use super::house::House;
use super::legs::{Acts, Legs};
use super::live_call::LiveCall;
use super::recovery::Former;
use super::request::Request;
use super::term::Term;
use crate::acd::{self, Acd};
use crate::clock::{Clock, Moment};
use crate::facts::{Fact, Stamped};
use crate::ids::*;
use crate::ivr;
use crate::journal::{Body, Brain, Heard, Journal, LedgerFold, LegStates, LegWord, LegWritten, LiveCalls, People, Record};
use crate::media::Line;
use crate::media::door::{MediaCommand, Told};
use crate::pii::{PersonKey, Phone};
use crate::sip::{Received, Sockets, UserAgent};
use crate::talk;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use tokio::sync::mpsc;

/// What the conductor is given: the doors, opened by `serve`, and what the last life of the engine left.
pub struct Doors {
    pub clock: Clock,
    pub house: House,
    pub agent: UserAgent,
    pub sockets: Sockets,
    pub media: Line,
    pub media_events: mpsc::Receiver<Told>,
    pub requests: mpsc::Receiver<Request>,
    pub journal: Journal,
    pub people: People,
    pub leg_states: LegStates,
    pub key: PersonKey,
    pub acd: Acd,
    pub ids: IdSource,
    pub epoch: u32,
    pub live: LiveCalls,
    pub ledger: LedgerFold,
    /// What the last life left of its calls.
    pub former: Former,
    /// Who stands behind a person, as the people stream has it.
    pub phones: BTreeMap<PersonId, Phone>,
    /// Seed for call ids; the dice of one life.
    pub seed: u64,
    /// `None`: this is the line whatever happens.
    pub term: Option<Term>,
}

pub struct Conductor {
    pub(super) now: Moment,
    pub(super) clock: Clock,
    pub(super) house: House,
    pub(super) agent: UserAgent,
    sockets: Sockets,
    media: Line,
    media_events: mpsc::Receiver<Told>,
    /// How far media's events are taken in.
    pub(super) heard: Heard,
    /// Of these, how far they are written down.
    noted: Heard,
    requests: mpsc::Receiver<Request>,
    pub(super) journal: Journal,
    pub(super) people: People,
    pub(super) leg_states: LegStates,
    pub(super) key: PersonKey,
    /// Of who is on the line or owed a call.
    pub(super) phones: BTreeMap<PersonId, Phone>,
    pub(super) acd: Acd,
    pub(super) calls: BTreeMap<CallId, LiveCall>,
    pub(super) legs: Legs,
    pub(super) acts: Acts,
    pub(super) work: VecDeque<Work>,
    /// When which call's brains want to be woken.
    timers: BTreeSet<(Moment, CallId)>,
    pub(super) ids: IdSource,
    epoch: u32,
    /// Dialogs of the former life, and legs of which the file holds words that did not happen; until they are taken over.
    pub(super) dialogs: Vec<(LegId, Vec<u8>)>,
    pub(super) undone: BTreeSet<LegId>,
    /// Calls whose robot begins anew.
    pub(super) afresh: BTreeSet<CallId>,
    pub(super) dice: u64,
    /// Folds in memory: what a snapshot and the board need without asking SQL.
    pub(super) live: LiveCalls,
    pub(super) ledger: LedgerFold,
    pub(super) trunks: BTreeMap<TrunkId, bool>,
    pub(super) store_at: u64,
    pub(super) people_at: u64,
    /// A journal position that the tables have not reached, and since when it is written.
    pub(super) tables_owe: Option<(u64, Moment)>,
    /// When the queues' calendars are looked at again.
    pub(super) hours_at: Option<Moment>,
    /// When the journals are looked through again for what may go.
    pub(super) release_at: Moment,
    pub(super) journal_failing: bool,
    records_since_snapshot: u32,
    pub(super) pictures: u64,
    /// Asked to end at once and leave every call to the next life.
    pub(super) handing_over: bool,
    /// Until when this is the line; `None`: for ever.
    term: Option<Term>,
    /// Drain limit, once asked to drain.
    pub(super) drain_until: Option<Moment>,
}

/// Something for a brain to think about.
pub(super) enum Work {
    Talk(CallId, talk::Event),
    Ivr(CallId, ivr::Event),
    Acd(acd::Event),
}

impl Conductor {
    /// Records between two snapshots: a restart replays at most these.
    const RECORDS_PER_SNAPSHOT: u32 = 20_000;
    /// Datagrams, media events and requests taken in one turn; the rest waits for the next, so that a flood cannot hold a turn open.
    const MAX_INTAKE: usize = 256;

    pub fn new(doors: Doors) -> Self {
        Self {
            now: doors.clock.now(),
            clock: doors.clock,
            house: doors.house,
            agent: doors.agent,
            sockets: doors.sockets,
            media: doors.media,
            media_events: doors.media_events,
            heard: doors.former.heard,
            noted: doors.former.heard,
            requests: doors.requests,
            journal: doors.journal,
            people: doors.people,
            leg_states: doors.leg_states,
            key: doors.key,
            phones: doors.phones,
            acd: doors.acd,
            calls: doors.former.calls,
            legs: doors.former.legs,
            acts: Acts::default(),
            work: VecDeque::new(),
            timers: BTreeSet::new(),
            ids: doors.ids,
            epoch: doors.epoch,
            dialogs: doors.former.dialogs,
            undone: doors.former.undone,
            afresh: doors.former.afresh,
            dice: doors.seed | 1,
            live: doors.live,
            ledger: doors.ledger,
            trunks: BTreeMap::new(),
            store_at: 0,
            people_at: 0,
            tables_owe: None,
            hours_at: None,
            release_at: Moment::ZERO,
            journal_failing: false,
            // The first turn writes one: the next start need not replay what this one did.
            records_since_snapshot: Self::RECORDS_PER_SNAPSHOT,
            pictures: 0,
            handing_over: false,
            term: doors.term,
            drain_until: None,
        }
    }

    /// Runs until drained.
    pub async fn run(mut self) {
        self.take_over(self.epoch);
        loop {
            // 1. Let the brains think until none has anything more to say.
            self.think();
            // 2. Write down.
            self.write_down();
            if self.is_anothers(self.clock.now()) {
                return;
            }
            // 3. Act.
            self.act();
            if self.is_drained() || self.handing_over {
                self.record(Fact::EngineStopped { epoch: self.epoch });
                self.snapshot();
                if !self.handing_over {
                    self.media.send(MediaCommand::Stop);
                    self.media.flush();
                }
                return;
            }
            // 4. Wait for a datagram, a word from media, a request or the next deadline.
            let first = self.wait().await;
            // 5. Take in all that is there.
            self.now = self.clock.now();
            if self.is_anothers(self.now) {
                return;
            }
            self.take_in(first);
        }
    }

    /// Whoever is the line now, or will be soon, goes on with all calls: nothing leaves any more.
    fn is_anothers(&self, now: Moment) -> bool {
        let over = self.term.as_ref().is_some_and(|term| term.is_over(now));
        if over {
            tracing::error!(calls = self.calls.len(), "the lease is over: this engine is not the line any more and ends");
        }
        over
    }

    async fn wait(&mut self) -> Intake {
        let idle = match self.next_deadline() {
            Some(at) => at.since(self.clock.now()),
            None => Duration::from_secs(3600),
        };
        tokio::select! {
            biased;
            Some(told) = self.media_events.recv() => Intake::Media(told),
            _ = self.sockets.readable() => Intake::Datagrams,
            Some(request) = self.requests.recv() => Intake::Request(request),
            () = tokio::time::sleep(idle) => Intake::Time,
        }
    }

    fn next_deadline(&self) -> Option<Moment> {
        let calls = self.timers.first().map(|(at, _)| *at);
        let term = self.term.as_ref().map(Term::end);
        [self.agent.poll_timeout(), self.acd.poll_timeout(), calls, self.drain_until, term, self.hours_at]
            .into_iter()
            .flatten()
            .min()
    }

    fn take_in(&mut self, first: Intake) {
        match first {
            Intake::Media(told) => self.media_told(told),
            Intake::Request(request) => self.people_ask(request),
            Intake::Datagrams | Intake::Time => {}
        }
        self.think();
        let now = self.now;
        let Self { sockets, agent, .. } = self;
        sockets.recv_batch(Self::MAX_INTAKE, |received| match received {
            Received::Datagram { network, from, bytes } => agent.handle_datagram(now, network, from, bytes),
            Received::Refused { network, peer } => agent.handle_icmp(now, network, peer),
        });
        self.think();
        for _ in 0..Self::MAX_INTAKE {
            let Ok(told) = self.media_events.try_recv() else { break };
            self.media_told(told);
            self.think();
        }
        for _ in 0..Self::MAX_INTAKE {
            let Ok(request) = self.requests.try_recv() else { break };
            self.people_ask(request);
            self.think();
        }
        self.time_passes();
    }

    fn time_passes(&mut self) {
        let now = self.now;
        if self.agent.poll_timeout().is_some_and(|at| at <= now) {
            self.agent.handle_timeout(now);
            self.think();
        }
        if self.acd.poll_timeout().is_some_and(|at| at <= now) {
            self.note_input(Brain::Acd, None, &Option::<acd::Event>::None);
            self.acd.handle_timeout(now);
            self.obey_acd();
            self.think();
        }
        if self.hours_at.is_some_and(|at| at <= now) {
            self.queues_follow_their_hours();
            self.think();
        }
        while let Some(&(at, call)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            self.call_timeout(call);
            self.think();
        }
        // The first time when the tables say where they are; then also while they stand still, since dialogs name people.
        if self.release_at != Moment::ZERO {
            self.release_journals();
        }
        if self.drain_until.is_some_and(|until| until <= now) {
            self.drain_until = Some(now + Duration::from_secs(1));
            if self.calls.is_empty() {
                tracing::warn!("media does not let go of its legs; the engine ends without");
                self.legs = Legs::default();
            }
            let calls: Vec<CallId> = self.calls.keys().copied().collect();
            self.work.extend(calls.into_iter().map(|call| Work::Talk(call, talk::Event::Stop)));
        }
    }

    fn call_timeout(&mut self, id: CallId) {
        let now = self.now;
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.timer = None;
        if call.talk.poll_timeout().is_some_and(|at| at <= now) {
            if fell_over(|| call.talk.handle_timeout(now)) {
                return self.call_failed(id);
            }
            self.note_input(Brain::Talk, Some(id), &Option::<talk::Event>::None);
            self.obey_talk(id);
        }
        if let Some(robot) = self.calls.get_mut(&id).and_then(|call| call.robot.as_mut())
            && robot.poll_timeout().is_some_and(|at| at <= now)
        {
            if fell_over(|| robot.handle_timeout(now)) {
                return self.call_failed(id);
            }
            self.note_input(Brain::Ivr, Some(id), &Option::<ivr::Event>::None);
            self.obey_ivr(id);
        }
        self.set_timer(id);
    }

    /// What one brain says to another is heard before the world's next word, so that no two brains ever see one call differently: an
    /// agent who answered is not offered to somebody else, nobody is queued whose call is over.
    pub(super) fn think(&mut self) {
        loop {
            for command in std::mem::take(&mut self.acts.sip) {
                self.agent.handle_command(self.now, command);
            }
            if let Some(work) = self.work.pop_front() {
                self.think_about(work);
            } else if let Some(event) = self.agent.poll_event() {
                self.sip_says(event);
            } else if self.acts.sip.is_empty() {
                return;
            }
        }
    }

    pub(super) fn think_about(&mut self, work: Work) {
        match work {
            Work::Acd(event) => {
                self.note_input(Brain::Acd, None, &Some(&event));
                self.acd.handle(self.now, event);
                self.obey_acd();
            }
            Work::Talk(id, event) => {
                if !self.calls.contains_key(&id) {
                    return;
                }
                self.note_input(Brain::Talk, Some(id), &Some(&event));
                if let Some(call) = self.calls.get_mut(&id) {
                    let (now, before) = (self.now, call.talk.stage_word());
                    if fell_over(|| call.talk.handle(now, event)) {
                        return self.call_failed(id);
                    }
                    call.citizen = call.talk.citizen();
                    if call.talk.stage_word() != before {
                        call.stage_since = now;
                    }
                }
                self.obey_talk(id);
                self.set_timer(id);
            }
            Work::Ivr(id, event) => {
                if self.calls.get(&id).is_none_or(|call| call.robot.is_none()) {
                    return;
                }
                self.note_input(Brain::Ivr, Some(id), &Some(&event));
                let now = self.now;
                if let Some(robot) = self.calls.get_mut(&id).and_then(|call| call.robot.as_mut())
                    && fell_over(|| robot.handle(now, event))
                {
                    return self.call_failed(id);
                }
                self.obey_ivr(id);
                self.set_timer(id);
            }
        }
    }

    /// The call stands in the timers under its next deadline, and under no other.
    pub(super) fn set_timer(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let next = call.poll_timeout();
        if next == call.timer {
            return;
        }
        if let Some(at) = std::mem::replace(&mut call.timer, next) {
            self.timers.remove(&(at, id));
        }
        if let Some(at) = next {
            self.timers.insert((at, id));
        }
    }

    pub(super) fn forget_call(&mut self, id: CallId) {
        if let Some(call) = self.calls.remove(&id)
            && let Some(at) = call.timer
        {
            self.timers.remove(&(at, id));
        }
    }

    // ---- the journal ----

    /// Writes a fact down and shows it to the folds in memory.
    pub(super) fn record(&mut self, fact: Fact) {
        let stamped = Stamped { at: self.now, fact };
        self.live.apply(&stamped);
        let Self { ledger, house, .. } = self;
        ledger.apply(&stamped, |region, at| house.midnight(region, at));
        self.append(Body::Fact(stamped.fact));
    }

    pub(super) fn append(&mut self, body: Body) {
        self.journal.append(&Record { at: self.now, body });
        self.records_since_snapshot += 1;
    }

    /// What a brain is told is kept too, so that a successor can be told the same. `None` is the passing of time.
    fn note_input<E: serde::Serialize>(&mut self, brain: Brain, call: Option<CallId>, event: &Option<E>) {
        match postcard::to_stdvec(event) {
            Ok(event) => self.append(Body::Input { brain, call, event }),
            Err(error) => tracing::error!(%error, ?brain, "an input could not be encoded"),
        }
    }

    fn write_down(&mut self) {
        self.write_legs();
        let people = self.people.commit().and(self.leg_states.commit());
        let facts = self.journal.commit();
        if facts.is_ok() && self.noted != self.heard {
            self.noted = self.heard;
            self.acts.media.push(MediaCommand::Noted { life: self.heard.life, number: self.heard.number });
        }
        if self.records_since_snapshot >= Self::RECORDS_PER_SNAPSHOT && facts.is_ok() {
            self.records_since_snapshot = 0;
            self.snapshot();
        }
        let failing = people.err().map(|error| error.to_string()).or(facts.err().map(|error| error.to_string()));
        match (&failing, self.journal_failing) {
            (Some(error), false) => {
                tracing::error!(error, "the journal cannot be written; the line answers on, but a crash would forget")
            }
            (None, true) => tracing::warn!("the journal is written again"),
            (Some(_), true) | (None, false) => {}
        }
        self.journal_failing = failing.is_some();
        self.note_what_tables_owe();
    }

    /// One is made at the end of this turn, which it must not split: the facts of half a turn would stand without its legs.
    pub(super) fn snapshot_is_due(&mut self) {
        self.records_since_snapshot = Self::RECORDS_PER_SNAPSHOT;
    }

    /// Legs that changed, as they stand at the end of this turn; before the facts, which make the turn one that happened.
    fn write_legs(&mut self) {
        let (at, turn) = (self.now, self.journal.position());
        let mut changed = self.noted != self.heard;
        let mut write = |leg, word| {
            changed = true;
            self.leg_states.append(&LegWritten { at, turn, leg, word });
        };
        while let Some((leg, state)) = self.agent.poll_written() {
            write(leg, LegWord::Signalling(state));
        }
        while let Some((leg, state)) = self.legs.poll_written() {
            write(leg, LegWord::Audio(state));
        }
        if changed {
            self.append(Body::Turn { heard: self.heard });
        }
    }

    /// One position at a time is waited for, so that tables which keep up are never called behind, however much is written.
    pub(super) fn note_what_tables_owe(&mut self) {
        let position = self.journal.position();
        if self.tables_owe.is_some_and(|(owed, _)| owed <= self.store_at) {
            self.tables_owe = None;
        }
        if self.store_at < position {
            self.tables_owe.get_or_insert((position, self.now));
        }
    }

    fn act(&mut self) {
        while let Some(transmit) = self.agent.poll_transmit() {
            if let Err(error) = self.sockets.send(&transmit) {
                tracing::debug!(%error, to = %transmit.to, "a datagram was not sent");
            }
        }
        for command in self.acts.media.drain(..) {
            self.media.send(command);
        }
        self.media.flush();
    }

    fn is_drained(&self) -> bool {
        self.drain_until.is_some() && self.calls.is_empty() && self.legs.is_empty()
    }

    /// A number from the dice of this life (xorshift; only ids are made of it, never a secret).
    pub(super) fn roll(&mut self) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice
    }
}

/// A fault of ours in a brain of one call ends that call, not the line.
fn fell_over(does: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(does)).is_err()
}

enum Intake {
    Media(Told),
    Datagrams,
    Request(Request),
    Time,
}
