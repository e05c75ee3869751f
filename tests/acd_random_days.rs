//! Random days by seed (a model check): callers come and go, phones ring, fail and reject, agents toggle, rules are reloaded.
//! After every step the brain's own invariants hold, and a naive floor, kept only from events and commands, agrees with it.

use dozvon::acd::{
    Acd, AgentRules, AgentView, CallbackDialling, CallbackRules, Command, Duty, Event, Flapping, LastAgentRules, MissPolicies,
    MissPolicy, Missed, Order, Overflow, QueueRules, Routing, Rules, Seek, Then, Way, When, WhileWaiting, WrapUpEnds,
    WrapUpRules,
};
use dozvon::clock::Moment;
use dozvon::facts::{AgentStateName, AttemptEnd, Booking, Fact, MissReason, OfferEnd, Outcome, Party, QueueLeft, TaskEnd};
use dozvon::ids::{AgentId, CallId, IdSource, OfferId, PersonId, QueueId, RegionId, Skill, TaskId, TrunkId};
use dozvon::routing::{AgentOrder, Policy};
use dozvon::skills::Requirement;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

const STEPS: u32 = 20_000;

#[test]
fn invariants_hold_through_a_random_day() {
    Day::new(1).live(STEPS);
}

#[test]
fn invariants_hold_through_another_random_day() {
    Day::new(122).live(STEPS);
}

#[test]
fn invariants_hold_through_a_third_random_day() {
    Day::new(2026).live(STEPS);
}

/// Many seeds find what few long days miss; `DOZVON_SEEDS` says how many (`scripts/mutate --seeds` counts what a fault takes).
#[test]
fn invariants_hold_through_many_short_days() {
    let seeds = std::env::var("DOZVON_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(20);
    let mut returns = Returns::default();
    for seed in 1..=seeds {
        let mut day = Day::new(seed);
        day.live(600);
        returns.add(&day.floor.returns);
    }
    let Returns { spoke, held, kept, released } = returns;
    assert!(seeds < 20 || [spoke, held, kept, released].into_iter().all(|times| times > 0), "{returns:?}");
}

#[test]
fn the_same_day_lived_twice_ends_the_same() {
    let mut days = [Day::new(7), Day::new(7)];
    for day in &mut days {
        day.live(3_000);
    }
    assert_eq!(days[0].acd.state_hash(), days[1].acd.state_hash());
}

#[test]
fn a_restored_floor_goes_on_as_the_one_it_was_taken_of() {
    for seed in [3, 4, 5] {
        let mut day = Day::new(seed);
        day.twins_wanted = true;
        day.live(5_000);
        assert!(day.twins_seen > 20, "restored {} times", day.twins_seen);
    }
}

#[test]
fn a_broken_snapshot_is_refused() {
    let mut day = Day::new(9);
    day.live_without_closing(500);
    let bytes = day.acd.snapshot();
    assert!(Acd::restore(&[]).is_err());
    assert!(Acd::restore(&bytes[..bytes.len() / 2]).is_err());
    assert!(Acd::restore(&[&[99], &bytes[1..]].concat()).is_err());
    for at in (1..bytes.len()).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        // It may still be a sound floor, but reading it never panics.
        let _ = Acd::restore(&damaged);
    }
}

struct Day {
    seed: u64,
    dice: Dice,
    acd: Acd,
    now: Moment,
    step: u32,
    rules: Rules,
    epoch: u32,
    twins_wanted: bool,
    twins_seen: u32,
    twin: Option<(Acd, u32)>,
    floor: NaiveFloor,
    /// How long a talk is remembered on this day, where the rules remember any.
    remembered: Duration,
}

/// How often callers who come back meet the agent they spoke with.
#[derive(Clone, Copy, Debug, Default)]
struct Returns {
    /// Offered to that agent.
    spoke: u32,
    /// Waited for that agent alone; and of these, got them, or went to anybody.
    held: u32,
    kept: u32,
    released: u32,
}

impl Returns {
    fn add(&mut self, other: &Self) {
        self.spoke += other.spoke;
        self.held += other.held;
        self.kept += other.kept;
        self.released += other.released;
    }
}

/// What one can know from events and commands alone.
#[derive(Default)]
struct NaiveFloor {
    entries: BTreeMap<CallId, (Moment, usize)>,
    callers: BTreeMap<CallId, NaiveCaller>,
    offers: BTreeMap<OfferId, (CallId, AgentId)>,
    old_offers: Vec<OfferId>,
    talks: BTreeMap<AgentId, CallId>,
    last_talks: BTreeMap<AgentId, CallId>,
    /// The queue of each agent's last talk.
    talked_for: BTreeMap<AgentId, QueueId>,
    states: BTreeMap<AgentId, AgentStateName>,
    ends: BTreeMap<CallId, u32>,
    missed_by: BTreeMap<CallId, AgentId>,
    /// How far each wait had come into effect before this turn: stage and overdue.
    ripe: BTreeMap<CallId, (Option<Duration>, bool)>,
    tasks: BTreeMap<TaskId, PersonId>,
    /// Callers who may have an old place back; how they compare with others is not said here.
    known: BTreeSet<CallId>,
    /// Calls out, whom they are for, and which agent's phone rings for them or is connected.
    calls_out: BTreeMap<CallId, (TaskId, QueueId)>,
    dialling: BTreeMap<AgentId, CallId>,
    reached: u32,
    /// Offers written down for which no phone was told to ring yet.
    unrung: BTreeSet<OfferId>,
    /// The queues that each caller has left.
    left: BTreeSet<(CallId, QueueId)>,
    /// Whose calls are in the house.
    on_the_line: BTreeSet<(CallId, PersonId)>,
    /// Offers taken back whose phone was not told to stop yet.
    rings_on: BTreeSet<OfferId>,
    /// The wait that a caller was told last.
    told: BTreeMap<CallId, Duration>,
    /// Whose call it is, with whom each person spoke last, and whom a caller may therefore wait for.
    persons: BTreeMap<CallId, PersonId>,
    spoke: BTreeMap<PersonId, (Moment, AgentId)>,
    lately: Vec<PersonId>,
    wants: BTreeMap<CallId, AgentId>,
    /// Who waited for one agent alone before this turn.
    held: BTreeMap<CallId, AgentId>,
    returns: Returns,
}

#[derive(Clone)]
struct NaiveCaller {
    queue: QueueId,
    urgent: bool,
    priority: u8,
    /// How many ring for the caller.
    phones: u32,
}

impl Day {
    fn new(seed: u64) -> Self {
        let mut day = Self {
            seed,
            dice: Dice(seed),
            acd: Acd::new(IdSource::new(1)),
            now: Moment::from_secs(1_000),
            step: 0,
            rules: Rules::default(),
            epoch: 1,
            twins_wanted: false,
            twins_seen: 0,
            twin: None,
            floor: NaiveFloor::default(),
            remembered: Duration::ZERO,
        };
        day.remembered = Duration::from_secs([0, 60, 600, 3_600][day.dice.below(4) as usize]);
        day.reload();
        day
    }

    fn live(&mut self, steps: u32) {
        self.live_without_closing(steps);
        self.close();
        let not_once: Vec<_> = self.floor.entries.keys().filter(|call| self.floor.ends.get(call) != Some(&1)).collect();
        assert!(not_once.is_empty(), "seed {}: callers without exactly one end: {not_once:?}", self.seed);
        assert_eq!(self.acd.violations(), 0, "seed {}", self.seed);
        assert!(self.floor.ends.len() > steps as usize / 10, "seed {}: a day without callers", self.seed);
        let called_back = (self.floor.calls_out.len(), self.floor.reached);
        assert!(steps < 10_000 || called_back > (100, 0), "seed {}: called back {called_back:?}", self.seed);
        let Returns { spoke, held, kept, released } = self.floor.returns;
        let all = [spoke, held, kept, released].into_iter().all(|times| times > 10);
        assert!(steps < 10_000 || self.remembered.is_zero() || all, "seed {}: {:?}", self.seed, self.floor.returns);
    }

    fn live_without_closing(&mut self, steps: u32) {
        for _ in 0..steps {
            self.step += 1;
            self.time_passes();
            self.something_happens();
            self.compare_twins();
        }
    }

    /// Everybody stays until the last caller has talked or left.
    fn close(&mut self) {
        for _ in 0..20_000 {
            if self.floor.callers.is_empty() {
                return;
            }
            self.step += 1;
            self.time_passes();
            match self.dice.below(3) {
                0 => self.send_for_an_agent(|agent| Event::AgentReady { agent }),
                1 => self.an_offer_is_answered(),
                _ => self.a_talk_ends(),
            }
            if self.step.is_multiple_of(5)
                && let Some(call) = self.dice.one_of(self.floor.callers.keys())
            {
                self.send(Event::CallerLeft { call, why: QueueLeft::Abandoned });
            }
        }
        panic!("seed {}: {} callers never get away", self.seed, self.floor.callers.len());
    }

    fn time_passes(&mut self) {
        let until = self.now + Duration::from_millis(self.dice.below(900));
        // One time in four the shell is late.
        while self.acd.poll_timeout().is_some_and(|due| due <= until) && self.dice.below(4) > 0 {
            self.now = self.acd.poll_timeout().expect("just seen").max(self.now);
            let now = self.now;
            self.acd.handle_timeout(now);
            if let Some((twin, _)) = &mut self.twin {
                twin.handle_timeout(now);
            }
            self.drain();
        }
        self.now = until;
    }

    fn something_happens(&mut self) {
        match self.dice.below(100) {
            0..25 => self.a_caller_comes(),
            25..29 => self.a_caller_changes(),
            29..33 => {
                if let Some(call) = self.dice.one_of(self.floor.callers.keys()) {
                    let why =
                        [QueueLeft::Abandoned, QueueLeft::Transferred, QueueLeft::EngineFailed][self.dice.below(3) as usize];
                    self.send(Event::CallerLeft { call, why });
                }
            }
            33..50 => self.an_offer_is_answered(),
            50..58 => self.an_offer_is_missed(),
            58..72 => self.a_talk_ends(),
            72..78 => self.send_for_an_agent(|agent| Event::AgentReady { agent }),
            78..80 => self.send_for_an_agent(|agent| Event::AgentOnBreak { agent, reason: "lunch".into() }),
            80 => self.send_for_an_agent(|agent| Event::AgentOffline { agent }),
            81 => self.a_supervisor_decides(),
            82..88 => {
                let reachable = self.dice.below(4) > 0;
                self.send_for_an_agent(|agent| Event::AgentReachable { agent, reachable });
            }
            88..91 => self.a_wrap_up_goes_on(),
            97 => self.a_late_word(),
            94..97 => self.callbacks(),
            91 => self.send_for_an_agent(|agent| Event::WrapUpDone { agent }),
            92..94 => self.a_citizen_is_dialled(),
            98 if self.dice.below(20) == 0 => self.a_new_life(),
            98 if self.dice.below(4) == 0 => self.an_agent_is_found_talking(),
            98 => {
                let (queue, open) = (self.queue(), self.dice.below(3) > 0);
                self.send(Event::QueueOpens { queue, open });
            }
            _ => self.reload(),
        }
    }

    fn a_caller_comes(&mut self) {
        let call = CallId(Uuid::from_u128(u128::from(self.step)));
        let (queue, priority, urgent) = (self.queue(), self.dice.below(3) as u8, self.dice.below(10) == 0);
        let person = match self.dice.below(12) {
            0 => Some(self.person()),
            // Somebody who was here a moment ago.
            1..5 => self.dice.one_of(self.floor.lately.iter().rev().take(10)),
            _ => None,
        };
        if person.is_some() {
            self.floor.known.insert(call);
        }
        self.send(Event::CallerQueued { call, queue, person, priority, urgent });
    }

    fn person(&mut self) -> PersonId {
        PersonId(Uuid::from_u128(u128::from(self.dice.below(400))))
    }

    fn a_caller_changes(&mut self) {
        if let Some(call) = self.dice.one_of(self.floor.callers.keys()) {
            let (queue, priority, urgent) = (self.queue(), self.dice.below(3) as u8, self.dice.below(10) == 0);
            let caller = self.floor.callers.get_mut(&call).expect("one of them");
            if caller.queue == queue {
                (caller.priority, caller.urgent) = (priority, urgent);
            }
            let person = self.floor.persons.get(&call).copied();
            self.send(Event::CallerQueued { call, queue, person, priority, urgent });
        }
    }

    fn an_offer_is_answered(&mut self) {
        if let Some(offer) = self.dice.one_of(self.floor.offers.keys()) {
            self.send(Event::OfferAnswered { offer });
        }
    }

    fn an_offer_is_missed(&mut self) {
        if let Some(offer) = self.dice.one_of(self.floor.offers.keys()) {
            let reasons =
                [MissReason::NoAnswer, MissReason::Busy, MissReason::Rejected, MissReason::Unregistered, MissReason::Unreachable];
            let reason = reasons[self.dice.below(5) as usize];
            self.send(Event::OfferMissed { offer, reason });
        }
    }

    fn a_talk_ends(&mut self) {
        if let Some(agent) = self.dice.one_of(self.floor.talks.keys().chain(self.floor.dialling.keys())) {
            let call = self.floor.talks.get(&agent).or(self.floor.dialling.get(&agent)).copied().expect("one of them");
            let by = [Party::Citizen, Party::Agent, Party::Network][self.dice.below(3) as usize];
            self.send(Event::TalkEnded { agent, call, by });
        }
    }

    /// What is refused changes nothing.
    fn a_wrap_up_goes_on(&mut self) {
        let agent = AgentId::from(format!("op{}", self.dice.below(25)).as_str());
        let code = self.dice.below(3).to_string();
        let forced = self.is_forced_to_wrap_up(&agent);
        let (may, event) = match self.dice.below(3) {
            0 => (self.acd.may_finish_wrap_up(&agent), Event::WrapUpDone { agent }),
            1 => (self.acd.may_extend_wrap_up(&agent), Event::WrapUpLonger { agent }),
            _ => (self.acd.may_give_code(&agent, &code), Event::CodeGiven { agent, code }),
        };
        let place = format!("seed {} step {}: {event:?}", self.seed, self.step);
        assert!(may.is_err() || !forced || !matches!(event, Event::WrapUpDone { .. }), "{place}: before its time");
        let before = self.acd.state_hash();
        self.send(event);
        assert!(may.is_ok() || self.acd.state_hash() == before, "seed {} step {}: {may:?}", self.seed, self.step);
    }

    /// Whose wrap-up has its full time still before it.
    fn is_forced_to_wrap_up(&self, agent: &AgentId) -> bool {
        let by_time = |view: &AgentView| view.state == AgentStateName::WrapUp && view.reason.is_none();
        let queue = self.floor.talked_for.get(agent).and_then(|queue| self.rules.queues.get(queue));
        self.rules.agents.contains_key(agent)
            && self.acd.agent(agent).is_some_and(|view| by_time(&view))
            && queue.is_some_and(|queue| queue.after_talk.ends == WrapUpEnds::Forced)
    }

    /// It comes true at once or, of who talks, after that, whatever the agent wishes meanwhile.
    fn a_supervisor_decides(&mut self) {
        let orders = [Order::Ready, Order::Break { reason: "training".into() }, Order::Offline];
        let order = orders[self.dice.below(3) as usize].clone();
        let agent = AgentId::from(format!("op{}", self.dice.below(25)).as_str());
        let talks = self.acd.agent(&agent).is_some_and(|view| view.state == AgentStateName::Talking);
        let known = self.rules.agents.contains_key(&agent);
        let (by, why) = ("petrova".to_owned(), "needed".to_owned());
        self.send(Event::AgentOverridden { agent: agent.clone(), order: order.clone(), by, why });
        if !known {
            return;
        }
        let place = format!("seed {} step {}: {agent} {order:?}", self.seed, self.step);
        if talks {
            assert!(self.acd.may_wish(&agent).is_err(), "{place}");
            let before = self.acd.state_hash();
            self.send(Event::AgentReady { agent });
            return assert_eq!(self.acd.state_hash(), before, "{place}: their own wish came before");
        }
        let view = self.acd.agent(&agent).expect("known");
        match order {
            Order::Ready => {
                let works = [AgentStateName::Ready, AgentStateName::Offered].contains(&view.state);
                assert_eq!(works, view.reachable || view.state == AgentStateName::Offered, "{place}: {view:?}");
            }
            Order::Break { .. } => assert_eq!(view.state, AgentStateName::OnBreak, "{place}"),
            Order::Offline => assert_eq!(view.state, AgentStateName::Offline, "{place}"),
        }
    }

    fn a_citizen_is_dialled(&mut self) {
        if let Some(agent) = self.dice.one_of(self.floor.dialling.keys()) {
            let ends = [
                AttemptEnd::Reached,
                AttemptEnd::Reached,
                AttemptEnd::Busy,
                AttemptEnd::NoAnswer,
                AttemptEnd::Voicemail,
                AttemptEnd::WrongNumber,
                AttemptEnd::TrunkFailed,
            ];
            let (call, end) = (self.floor.dialling[&agent], ends[self.dice.below(7) as usize]);
            self.send(Event::CallbackAttempted { call, end });
        }
    }

    /// About an offer, a talk, an agent or a caller that is gone: changes nothing at all.
    fn a_late_word(&mut self) {
        let Some(offer) = self.dice.one_of(self.floor.old_offers.iter().rev().take(20)) else { return };
        let before = self.acd.state_hash();
        let call = CallId(Uuid::from_u128(u128::MAX));
        for event in [
            Event::OfferAnswered { offer },
            Event::OfferMissed { offer, reason: MissReason::Busy },
            Event::TalkEnded { agent: "op1".into(), call, by: Party::Agent },
            Event::CallerLeft { call, why: QueueLeft::Abandoned },
            Event::AgentReady { agent: "nobody".into() },
        ] {
            self.send(event);
        }
        assert_eq!(self.acd.state_hash(), before, "seed {} step {}: a late word changed the floor", self.seed, self.step);
    }

    fn callbacks(&mut self) {
        let (call, task) = (CallId(Uuid::from_u128(u128::from(self.step))), TaskId(u64::from(self.step)));
        let person = self.person();
        let after = Duration::from_secs(self.dice.below(20));
        let event = match self.dice.below(8) {
            0 | 1 => Event::PersonServed { person },
            2 if self.dice.below(4) == 0 => Event::PersonRings { call, person },
            3 if self.dice.below(4) == 0 => {
                let task = self.dice.one_of(self.floor.tasks.keys()).unwrap_or(task);
                Event::TaskTaken { task, agent: AgentId::from(format!("op{}", self.dice.below(25)).as_str()) }
            }
            4 => Event::TaskClosed { task: TaskId(self.dice.below(u64::from(self.step))), how: TaskEnd::Reached },
            _ => {
                let outcome = Outcome::ALL[self.dice.below(Outcome::ALL.len() as u64) as usize];
                let way = Way { trunk: "city".into(), dialled: "122".into() };
                let (queue, person) = (Some(self.queue()), Some(person));
                let booked = [None, None, Some(Booking::Place), Some(Booking::Later)][self.dice.below(4) as usize];
                Event::CallMissed(Missed { task, call, region: RegionId(22), queue, person, outcome, after, way, booked })
            }
        };
        self.send(event);
    }

    fn reload(&mut self) {
        let skills = ["therapy", "drugs", "home", "pain"];
        let dice = &mut self.dice;
        let mut queues = BTreeMap::new();
        for no in 0..6 {
            if dice.below(8) > 0 {
                let rules = QueueRules {
                    region: RegionId(22),
                    requires: Requirement::AtLeast(Skill::from(skills[no % 4]), 30 + dice.below(40) as u8),
                    target: Duration::from_secs(dice.below(60)),
                    priority: dice.below(2) as u8,
                    max_waiting: dice.below(30) as u32,
                    ring: Duration::from_secs(dice.below(20)),
                    wrap_up: Duration::from_secs(dice.below(10)),
                    announce: (dice.below(2) == 0)
                        .then(|| (Duration::from_secs(dice.below(9)), Duration::from_secs(dice.below(9)))),
                    seek: seek(dice, skills),
                    while_waiting: while_waiting(dice),
                    after_talk: after_talk(dice),
                };
                queues.insert(QueueId::from(format!("queue{no}").as_str()), rules);
            }
        }
        let mut agents = BTreeMap::new();
        for no in 0..25 {
            if dice.below(10) > 0 {
                let known = skills.iter().filter(|_| dice.below(2) == 0).collect::<Vec<_>>();
                let skills = known.into_iter().map(|skill| (Skill::from(*skill), dice.below(100) as u8)).collect();
                let (always_ready, misses_to_break) = (no % 5 == 0, dice.below(4) as u8);
                let reserve = dice.below(8) == 0;
                let rules = AgentRules { region: RegionId(22), skills, always_ready, misses_to_break, reserve };
                agents.insert(AgentId::from(format!("op{no}").as_str()), rules);
            }
        }
        let policy = Policy::ALL[dice.below(Policy::ALL.len() as u64) as usize];
        let overdue_after = (dice.below(3) == 0).then(|| Duration::from_secs(5 + dice.below(60)));
        let wait = Duration::from_secs(dice.below(30));
        let last_agent = LastAgentRules { within: if dice.below(30) > 0 { self.remembered } else { Duration::ZERO }, wait };
        let routing = Routing { policy, overdue_after, last_agent };
        let callbacks = callback_rules(dice);
        let duty = duty(dice);
        self.rules = Rules { queues, agents, callbacks, routing, duty };
        self.send(Event::RulesChanged(Box::new(self.rules.clone())));
    }

    /// After a kill: some calls go on; of the others nobody waits, rings or talks any more, and agents go on as they were.
    fn a_new_life(&mut self) {
        self.epoch += 1;
        let calls: Vec<CallId> =
            self.floor.callers.keys().chain(self.floor.talks.values()).chain(self.floor.calls_out.keys()).copied().collect();
        let kept: BTreeSet<CallId> = calls.into_iter().filter(|_| self.dice.below(2) == 0).collect();
        self.send(Event::EngineStarted { epoch: self.epoch, kept: kept.clone() });
        let left = self.floor.callers.keys().chain(self.floor.talks.values()).filter(|call| !kept.contains(call)).count();
        assert_eq!(left, 0, "seed {} step {}: somebody waits or talks on a dead line", self.seed, self.step);
    }

    /// As a new life may: a call whose talk goes on though the floor has never heard of it.
    fn an_agent_is_found_talking(&mut self) {
        let (call, queue) = (CallId(Uuid::from_u128(u128::from(self.step))), self.queue());
        let agent = AgentId::from(format!("op{}", self.dice.below(25)).as_str());
        let busy = self.acd.agent(&agent).is_none_or(|view| view.state == AgentStateName::Talking);
        let listed = self.rules.agents.contains_key(&agent) && self.rules.queues.contains_key(&queue);
        if listed && !busy {
            self.floor.talks.insert(agent.clone(), call);
            self.floor.talked_for.insert(agent.clone(), queue.clone());
        }
        self.send(Event::AgentTalks { agent: agent.clone(), call, queue, person: None });
        if listed && !busy {
            let view = self.acd.agent(&agent).expect("listed");
            assert_eq!((view.state, view.call), (AgentStateName::Talking, Some(call)), "seed {} step {}", self.seed, self.step);
        }
    }

    fn queue(&mut self) -> QueueId {
        QueueId::from(format!("queue{}", self.dice.below(6)).as_str())
    }

    fn send_for_an_agent(&mut self, event: impl FnOnce(AgentId) -> Event) {
        let agent = AgentId::from(format!("op{}", self.dice.below(25)).as_str());
        self.send(event(agent));
    }

    fn send(&mut self, event: Event) {
        if let Some((twin, _)) = &mut self.twin {
            twin.handle(self.now, event.clone());
        }
        if let Event::CallerQueued { call, person: Some(person), .. } = &event {
            let comes = self.floor.persons.insert(*call, *person).is_none();
            if comes
                && let Some((at, agent)) = self.floor.spoke.get(person)
                && self.now.since(*at) < self.rules.routing.last_agent.within
            {
                self.floor.wants.insert(*call, agent.clone());
            }
        }
        if let Event::CallerQueued { call, queue, priority, urgent, .. } = &event {
            let place = self.floor.entries.len();
            self.floor.entries.entry(*call).or_insert((self.now, place));
            if let Some(caller) = self.floor.callers.get_mut(call)
                && caller.queue != *queue
            {
                (caller.priority, caller.urgent) = (*priority, *urgent);
            }
        }
        self.floor.hears(&event);
        let came = if let Event::CallerQueued { call, .. } = &event { Some((*call, self.floor.queue_of(*call))) } else { None };
        self.acd.handle(self.now, event);
        self.drain();
        if let Some((call, before)) = came
            && let Some(queue) = self.floor.queue_of(call).filter(|queue| before.as_ref() != Some(queue))
            && self.floor.callers[&call].phones == 0
            // Who was cut off in a talk is let in.
            && !self.floor.known.contains(&call)
        {
            let there = self.floor.callers.values().filter(|caller| caller.queue == queue).count();
            let most = self.rules.queues[&queue].max_waiting as usize;
            assert!(there <= most, "seed {} step {}: {there} in {queue}, which takes {most}", self.seed, self.step);
        }
    }

    fn drain(&mut self) {
        while let Some(command) = self.acd.poll_command() {
            if let Some((twin, _)) = &mut self.twin {
                assert_eq!(
                    twin.poll_command().as_ref(),
                    Some(&command),
                    "seed {} step {}: the twin differs",
                    self.seed,
                    self.step
                );
            }
            self.see(command);
        }
        self.floor.ripe = self.floor.callers.keys().map(|call| (*call, self.ripe(*call))).collect();
        let place = format!("seed {} step {}", self.seed, self.step);
        assert!(self.floor.unrung.is_empty(), "{place}: an offer for which no phone rings");
        assert!(self.floor.rings_on.is_empty(), "{place}: a phone rings on for nobody");
        self.acd.check().unwrap_or_else(|violation| panic!("{place}: {violation}"));
        self.nobody_is_free_for_who_waits(&place);
        self.holds_are_bounded(&place);
        let stands = |call: &CallId| self.floor.callers.contains_key(call);
        let in_vain = self.floor.offers.values().find(|(call, agent)| stands(call) && !self.may_serve(agent, *call));
        assert_eq!(in_vain, None, "{place}: rings at an agent who may not serve them");
        let waiting: u32 = self.acd.queues().map(|queue| queue.waiting + queue.offered).sum();
        let out = self.floor.offers.values().filter(|(call, _)| self.floor.calls_out.contains_key(call)).count();
        assert_eq!(waiting as usize, self.floor.callers.len() + out, "{place}: the board counts callers wrong");
        assert_eq!(self.acd.open_callbacks(None).count(), self.floor.tasks.len(), "{place}: the board counts tasks wrong");
    }

    fn see(&mut self, command: Command) {
        let place = format!("seed {} step {}: {command:?}", self.seed, self.step);
        let floor = &mut self.floor;
        match command {
            Command::Offer { offer, call, agent, .. } => {
                assert_eq!(floor.offers.get(&offer), Some(&(call, agent)), "{place}: another offer was written down");
                assert!(floor.unrung.remove(&offer), "{place}: rings twice");
            }
            Command::Withdraw { offer, call } => {
                let known =
                    floor.old_offers.last() == Some(&offer) || floor.offers.get(&offer).is_some_and(|(of, _)| *of == call);
                assert!(known, "{place}: withdraws what does not ring");
                floor.rings_on.remove(&offer);
            }
            Command::Announce { call, position, wait, fewer_agents } => {
                assert!(floor.callers[&call].phones == 0, "{place}: talks over a ring");
                assert!(position >= 1, "{place}");
                let before = wait.and_then(|wait| floor.told.insert(call, wait));
                let grew = before.is_some_and(|before| wait.is_some_and(|wait| wait > before));
                assert_eq!(grew, fewer_agents, "{place}: told {before:?} before");
            }
            Command::Overflow { call, .. } => assert!(!floor.callers.contains_key(&call), "{place}: still waits"),
            Command::ToRoute { call, .. } => assert!(!floor.callers.contains_key(&call), "{place}: still waits"),
            Command::Say { call, .. } | Command::PromiseCallback { call } => {
                assert!(floor.callers[&call].phones == 0, "{place}: talks over a ring");
            }
            Command::Moved { call, queue } => {
                assert_eq!(floor.callers[&call].queue, queue, "{place}: waits elsewhere");
                assert!(!floor.left.contains(&(call, queue)), "{place}: sent round");
            }
            Command::CallBack { call, task, queue, .. } => {
                assert_eq!(floor.calls_out.insert(call, (task, queue)).map(|(task, _)| task), Some(task), "{place}: not begun");
            }
            Command::CallbackOff { call } => {
                assert!(floor.calls_out.contains_key(&call), "{place}: not begun");
                assert!(floor.offers.values().all(|(of, _)| *of != call), "{place}: a phone rings on");
            }
            Command::Record(fact) => self.note(fact, &place),
        }
    }

    fn note(&mut self, fact: Fact, place: &str) {
        match fact {
            Fact::QueueEntered { call, queue, priority, urgent } => {
                self.floor.told.remove(&call);
                let caller = NaiveCaller { queue, urgent, priority, phones: 0 };
                assert!(self.floor.callers.insert(call, caller).is_none(), "{place}: waits twice");
                // Whoever changed the queue has not ended.
                self.floor.ends.remove(&call);
            }
            Fact::QueueLeft { call, queue, .. } => {
                self.floor.left.insert((call, queue));
                assert!(self.floor.callers.remove(&call).is_some_and(|caller| caller.phones == 0), "{place}: did not wait");
                *self.floor.ends.entry(call).or_default() += 1;
            }
            Fact::OfferMade { offer, call, agent, why, .. } if self.floor.calls_out.contains_key(&call) => {
                let waiting = |(caller, at): (&CallId, &NaiveCaller)| {
                    at.phones == 0 && self.is_settled(*caller) && !self.is_held(*caller) && self.may_serve(&agent, *caller)
                };
                // Unless it stands in the order of its queue, it comes after everybody.
                if why.starts_with("callback") {
                    assert!(!self.floor.callers.iter().any(waiting), "{place}: somebody waits");
                }
                assert!(self.floor.offers.values().all(|(_, other)| *other != agent), "{place}: two offers for one agent");
                assert!(self.floor.offers.values().all(|(other, _)| *other != call), "{place}: two phones for one callback");
                self.floor.offers.insert(offer, (call, agent));
                self.floor.unrung.insert(offer);
            }
            Fact::OfferMade { offer, call, agent, why, .. } => {
                if why.starts_with("spoke with") {
                    assert_eq!(self.floor.wants.get(&call), Some(&agent), "{place}: never spoke");
                    self.floor.returns.spoke += 1;
                }
                let caller = self.floor.callers.get(&call).unwrap_or_else(|| panic!("{place}: does not wait"));
                match caller.phones {
                    0 => self.is_the_best_choice(call, &agent, place),
                    _ => self.may_ring_beside(call, &agent, place),
                }
                self.floor.callers.entry(call).and_modify(|caller| caller.phones += 1);
                assert!(self.floor.offers.values().all(|(_, other)| *other != agent), "{place}: two offers for one agent");
                self.floor.offers.insert(offer, (call, agent));
                self.floor.unrung.insert(offer);
            }
            Fact::OfferEnded { offer, end } => {
                let (call, agent) = self.floor.offers.remove(&offer).unwrap_or_else(|| panic!("{place}: no such offer"));
                self.floor.old_offers.push(offer);
                match end {
                    OfferEnd::Answered if self.floor.calls_out.contains_key(&call) => {
                        assert!(self.floor.dialling.values().all(|other| *other != call), "{place}: called twice at once");
                        self.floor.dialling.insert(agent, call);
                    }
                    OfferEnd::Answered => {
                        self.floor.callers.remove(&call);
                        *self.floor.ends.entry(call).or_default() += 1;
                    }
                    OfferEnd::Withdrawn | OfferEnd::Missed(_) => {
                        if let Some(caller) = self.floor.callers.get_mut(&call) {
                            caller.phones -= 1;
                        }
                        self.floor.missed_by.insert(call, agent);
                    }
                }
                if end == OfferEnd::Withdrawn {
                    self.floor.rings_on.insert(offer);
                    self.floor.missed_by.remove(&call);
                }
            }
            Fact::TalkStarted { call, agent, queue } => {
                self.floor.talked_for.insert(agent.clone(), queue);
                assert!(self.floor.talks.insert(agent, call).is_none(), "{place}: talks twice");
            }
            Fact::TalkEnded { call, agent, .. } => {
                assert_eq!(self.floor.talks.remove(&agent), Some(call), "{place}");
                if let Some(person) = self.floor.persons.get(&call) {
                    self.floor.spoke.insert(*person, (self.now, agent.clone()));
                    self.floor.lately.push(*person);
                }
                self.floor.last_talks.insert(agent, call);
            }
            Fact::AgentOverridden { agent, .. } => {
                assert!(self.rules.agents.contains_key(&agent), "{place}: nobody's agent");
            }
            Fact::TalkCoded { call, agent, .. } => {
                let talk = self.floor.talks.get(&agent).or(self.floor.dialling.get(&agent)).or(self.floor.last_talks.get(&agent));
                assert_eq!(talk, Some(&call), "{place}: not their last talk");
            }
            Fact::AgentChanged { agent, state, .. } => {
                if state != AgentStateName::Talking {
                    self.floor.dialling.remove(&agent);
                }
                self.floor.states.insert(agent, state);
            }
            Fact::CallbackOpened { task, person, .. } => {
                assert!(self.floor.tasks.values().all(|other| *other != person), "{place}: two tasks for a person");
                self.floor.tasks.insert(task, person);
            }
            Fact::CallbackClosed { task, .. } => assert!(self.floor.tasks.remove(&task).is_some(), "{place}: was not open"),
            Fact::CallbackBegan { task, call, person, .. } => {
                assert_eq!(self.floor.tasks.get(&task), Some(&person), "{place}: nobody is owed it");
                let on_the_line = self.floor.on_the_line.iter().any(|(_, other)| *other == person);
                assert!(!on_the_line, "{place}: is on the line");
                let before = self.floor.calls_out.insert(call, (task, QueueId::from("")));
                assert!(before.is_none(), "{place}: begins twice");
            }
            Fact::CallbackAttempted { task, call, end, .. } => {
                let person = self.floor.tasks.get(&task).unwrap_or_else(|| panic!("{place}: was not open"));
                if end == AttemptEnd::Reached {
                    self.floor.reached += 1;
                    // Only who was reached has spoken with anybody.
                    self.floor.persons.insert(call, *person);
                }
                assert!(self.floor.dialling.values().any(|other| *other == call), "{place}: no agent for it");
            }
            Fact::CallbackPromised { task, .. } | Fact::CallbackTaken { task, .. } => {
                assert!(self.floor.tasks.contains_key(&task), "{place}: was not open");
            }
            Fact::CallbackRepeated { task, .. } => assert!(self.floor.tasks.contains_key(&task), "{place}: was not open"),
            other => panic!("{place}: not a fact of the acd: {other:?}"),
        }
    }

    /// The slow and plain way to choose: all waiting callers, one by one. How far the policies of one rank agree is not said here.
    fn is_the_best_choice(&self, call: CallId, agent: &AgentId, place: &str) {
        assert!(self.may_serve(agent, call), "{place}: lacks the skill");
        let settled = |call: CallId| !self.floor.known.contains(&call) && self.is_settled(call);
        if !settled(call) {
            return;
        }
        let contends =
            |(other, caller): &(&CallId, &NaiveCaller)| caller.phones == 0 && settled(**other) && self.may_serve(agent, **other);
        let waiting = self.floor.callers.iter().filter(contends);
        let best = waiting.map(|(call, _)| *call).reduce(|best, other| if self.is_before(other, best) { other } else { best });
        let best = best.unwrap_or_else(|| panic!("{place}: nobody waits"));
        if matches!(self.rules.routing.policy, Policy::TargetWait | Policy::LongestWait | Policy::StrictPriority) {
            assert_eq!(best, call, "{place}: somebody else was next");
        } else {
            assert_eq!(self.class_of(best), self.class_of(call), "{place}: somebody of a higher rank was next");
        }
        if self.floor.missed_by.get(&call) == Some(agent) {
            let ready = |(other, state): (&AgentId, &AgentStateName)| {
                *state == AgentStateName::Ready && other != agent && self.may_serve(other, call)
            };
            assert!(!self.floor.states.iter().any(ready), "{place}: the same agent twice in a row, and not alone");
        }
    }

    fn may_ring_beside(&self, call: CallId, agent: &AgentId, place: &str) {
        let caller = &self.floor.callers[&call];
        let more = self.rules.queues[&caller.queue].seek.more_phones;
        assert!(caller.phones <= more, "{place}: more phones than the queue wants");
        assert!(self.may_serve(agent, call), "{place}: lacks the skill");
        assert!(self.floor.missed_by.get(&call) != Some(agent), "{place}: rings again beside another");
        let waits = |(call, caller): (&CallId, &NaiveCaller)| {
            caller.phones == 0 && !self.floor.known.contains(call) && self.is_settled(*call) && self.may_serve(agent, *call)
        };
        assert!(!self.floor.callers.iter().any(waits), "{place}: somebody waits without a phone");
    }

    /// Who ripened within this turn may have been chosen, or passed over, just before.
    fn is_settled(&self, call: CallId) -> bool {
        self.floor.ripe.get(&call).is_none_or(|ripe| *ripe == self.ripe(call))
    }

    fn is_before(&self, a: CallId, b: CallId) -> bool {
        let (class_a, class_b) = (self.class_of(a), self.class_of(b));
        if class_a != class_b {
            return class_a > class_b;
        }
        let [(entered_a, place_a), (entered_b, place_b)] = [a, b].map(|call| self.floor.entries[&call]);
        if class_a.0 && entered_a != entered_b {
            return entered_a < entered_b;
        }
        let [score_a, score_b] = if class_a.0 { [0.0, 0.0] } else { [a, b].map(|call| self.score(call)) };
        // Of one queue who entered first is always first.
        score_a.total_cmp(&score_b).then(place_b.cmp(&place_a)).is_gt()
    }

    fn ripe(&self, call: CallId) -> (Option<Duration>, bool) {
        (self.acd.ripe_wait(call), self.acd.is_overdue(call))
    }

    fn class_of(&self, call: CallId) -> (bool, bool, u16) {
        let caller = &self.floor.callers[&call];
        if self.acd.is_overdue(call) {
            return (true, false, 0);
        }
        (false, caller.urgent, u16::from(caller.priority) + u16::from(self.rules.queues[&caller.queue].priority))
    }

    fn score(&self, call: CallId) -> f64 {
        let target = self.rules.queues[&self.floor.callers[&call].queue].target.as_secs_f64().max(1e-6);
        let wait = self.wait(call).as_secs_f64();
        match self.rules.routing.policy {
            Policy::TargetWait => wait / target,
            Policy::LongestWait => wait,
            Policy::StrictPriority => -target,
            Policy::TargetBalance | Policy::QueueRatio => 0.0,
        }
    }

    fn wait(&self, call: CallId) -> Duration {
        self.now.since(self.floor.entries[&call].0)
    }

    /// By the skills, and by what the wait has relaxed; a stage that begins this very moment may or may not have come.
    fn may_serve(&self, agent: &AgentId, call: CallId) -> bool {
        let Some(queue) = self.floor.callers.get(&call).and_then(|caller| self.rules.queues.get(&caller.queue)) else {
            return false;
        };
        let Some(agent) = self.rules.agents.get(agent) else { return false };
        let wait = self.acd.ripe_wait(call).unwrap_or_default();
        let relaxed = |(after, requires): &(Duration, Requirement)| *after <= wait && requires.fulfilled_by(&agent.skills);
        let will_do = queue.requires.fulfilled_by(&agent.skills) || queue.seek.relax.iter().any(relaxed);
        will_do && (!agent.reserve || queue.seek.reserves_after.is_some_and(|after| after <= wait))
    }

    fn nobody_is_free_for_who_waits(&self, place: &str) {
        let seeks = |(call, caller): &(&CallId, &NaiveCaller)| caller.phones == 0 && self.acd.held_for(**call).is_none();
        let waiting: Vec<CallId> = self.floor.callers.iter().filter(seeks).map(|(call, _)| *call).collect();
        for agent in self.acd.agents().filter(|agent| agent.state == AgentStateName::Ready) {
            assert!(!waiting.iter().any(|call| self.may_serve(&agent.agent, *call)), "{place}: {} is free", agent.agent);
        }
        let is_lent = |call: &CallId| self.floor.callers.get(call).is_some_and(|caller| caller.phones > 1);
        for (_, agent) in self.floor.offers.values().filter(|(call, _)| is_lent(call)) {
            assert!(!waiting.iter().any(|call| self.may_serve(agent, *call)), "{place}: {agent} rings beside another");
        }
    }

    /// Who waits for one agent alone has spoken with them, who is busy and comes back to them, and does so for no longer than the rules say.
    fn holds_are_bounded(&mut self, place: &str) {
        // A shell that is late has still to say that somebody's time is over.
        let late = self.acd.poll_timeout().is_some_and(|due| due <= self.now);
        let held = self.floor.callers.keys().filter_map(|call| Some((*call, self.acd.held_for(*call)?)));
        let held: BTreeMap<CallId, AgentId> = held.collect();
        for (call, agent) in &held {
            let place = format!("{place}: {call:?} waits for {agent}");
            let caller = &self.floor.callers[call];
            assert_eq!(self.floor.wants.get(call), Some(agent), "{place}");
            assert!(caller.phones == 0 && !caller.urgent && self.may_serve(agent, *call), "{place}");
            let state = self.floor.states[agent];
            assert_ne!(state, AgentStateName::Ready, "{place}");
            let busy = [AgentStateName::Offered, AgentStateName::Talking, AgentStateName::WrapUp].contains(&state);
            let in_time = self.wait(*call) < self.rules.routing.last_agent.wait && !self.acd.is_overdue(*call);
            assert!(late || busy && in_time, "{place}: {state:?}, {:?}", self.wait(*call));
        }
        let floor = &mut self.floor;
        let before = std::mem::take(&mut floor.held);
        floor.returns.held += held.keys().filter(|call| !before.contains_key(call)).count() as u32;
        for (call, agent) in before.iter().filter(|(call, _)| !held.contains_key(call)) {
            match floor.offers.values().find(|(of, _)| of == call) {
                Some((_, other)) if other == agent => floor.returns.kept += 1,
                Some(_) => floor.returns.released += 1,
                None => floor.returns.released += u32::from(floor.callers.contains_key(call)),
            }
        }
        floor.held = held;
    }

    /// Before this turn, or from here on.
    fn is_held(&self, call: CallId) -> bool {
        self.floor.held.contains_key(&call) || self.acd.held_for(call).is_some()
    }

    fn compare_twins(&mut self) {
        match &mut self.twin {
            Some((twin, steps)) if *steps > 0 => {
                *steps -= 1;
                assert_eq!(twin.state_hash(), self.acd.state_hash(), "seed {} step {}: the twin differs", self.seed, self.step);
            }
            Some(_) => self.twin = None,
            None if self.twins_wanted && self.dice.below(100) == 0 => {
                self.twins_seen += 1;
                self.twin = Some((Acd::restore(&self.acd.snapshot()).expect("a sound snapshot"), 50));
            }
            None => {}
        }
    }
}

fn callback_rules(dice: &mut Dice) -> CallbackRules {
    let dial = CallbackDialling {
        attempts: 1 + dice.below(3) as u32,
        gap: Duration::ZERO,
        hours: (0, [86_400, 2_000, 8_000][dice.below(3) as usize]),
        idle: Some(dice.below(4) as u32).filter(|idle| *idle < 3),
        within: Duration::from_secs(dice.below(60)),
        trunks: [TrunkId::from("city")].into(),
        regions: BTreeMap::new(),
    };
    let place_kept = Duration::from_secs(dice.below(40));
    CallbackRules { dial: (dice.below(4) > 0).then_some(dial), place_kept, ..CallbackRules::default() }
}

fn duty(dice: &mut Dice) -> Duty {
    let mut policy = || MissPolicy {
        rest: Duration::from_secs(dice.below(6)),
        longest_rest: Duration::from_secs(dice.below(20)),
        counts: dice.below(2) == 0,
    };
    let (no_answer, busy, rejected, unregistered, unreachable) = (policy(), policy(), policy(), policy(), policy());
    let misses = MissPolicies { no_answer, busy, rejected, unregistered, unreachable };
    let (times, within, rest) =
        (2 + dice.below(4) as u32, Duration::from_secs(dice.below(90)), Duration::from_secs(dice.below(20)));
    Duty { misses, flapping: (dice.below(3) > 0).then_some(Flapping { times, within, rest }) }
}

fn after_talk(dice: &mut Dice) -> WrapUpRules {
    let more = Duration::from_secs(dice.below(5));
    WrapUpRules {
        ends: [WrapUpEnds::Early, WrapUpEnds::Forced, WrapUpEnds::Extendable { more }][dice.below(3) as usize],
        codes: (0..dice.below(3)).map(|code| (code.to_string(), format!("title {code}"))).collect(),
        code_required: dice.below(2) == 0,
        longest: Duration::from_secs(dice.below(20)),
    }
}

fn seek(dice: &mut Dice, skills: [&str; 4]) -> Seek {
    let mut some = |one_in: u64| dice.below(one_in) == 0;
    let (relaxes, prefers, reserves, ordered, several) = (some(2), some(3), some(2), some(2), some(3));
    let requirement =
        |dice: &mut Dice| Requirement::AtLeast(Skill::from(skills[dice.below(4) as usize]), 10 + dice.below(60) as u8);
    Seek {
        relax: if relaxes { vec![(Duration::from_secs(dice.below(20)), requirement(dice))] } else { Vec::new() },
        prefers: prefers.then(|| requirement(dice)),
        reserves_after: reserves.then(|| Duration::from_secs(dice.below(30))),
        more_phones: if several { 1 + dice.below(3) as u32 } else { 0 },
        agents: ordered.then(|| AgentOrder::ALL[dice.below(AgentOrder::ALL.len() as u64) as usize]),
    }
}

fn while_waiting(dice: &mut Dice) -> WhileWaiting {
    let rule = |dice: &mut Dice| {
        let mut named = [false; 5].map(|_| dice.below(3) == 0);
        named[dice.below(5) as usize] = true;
        let when = When {
            waited: named[0].then(|| Duration::from_secs(dice.below(120))),
            ahead: named[1].then(|| dice.below(20) as u32),
            estimate: named[2].then(|| Duration::from_secs(dice.below(100))),
            no_agents: named[3],
            closed: named[4],
        };
        let then = match dice.below(8) {
            0 => Then::Say("all-busy".into()),
            1 => Then::PromiseCallback,
            2 => Then::Say("long-wait".into()),
            3 => Then::Route("hospital".into()),
            4 => Then::Robot,
            _ => Then::Queue(format!("queue{}", dice.below(7)).as_str().into()),
        };
        Overflow { when, then }
    };
    let lines = dice.below(4) * dice.below(2);
    WhileWaiting {
        overflow: (0..lines).map(|_| rule(dice)).collect(),
        closed: dice.below(12) == 0,
        let_go_at_closing: dice.below(2) == 0,
        place_untold: dice.below(2) == 0,
        texts: (0..dice.below(3)).map(|no| format!("text{no}").as_str().into()).collect(),
    }
}

impl NaiveFloor {
    /// What events say without any command.
    fn hears(&mut self, event: &Event) {
        match event {
            Event::CallerQueued { call, person: Some(person), .. } | Event::PersonRings { call, person } => {
                self.on_the_line.insert((*call, *person));
            }
            Event::CallMissed(Missed { call, person: Some(person), booked: None, .. }) => {
                self.on_the_line.remove(&(*call, *person));
            }
            Event::PersonServed { person } => self.on_the_line.retain(|(_, other)| other != person),
            Event::EngineStarted { kept, .. } => self.on_the_line.retain(|(call, _)| kept.contains(call)),
            _ => {}
        }
    }

    fn queue_of(&self, call: CallId) -> Option<QueueId> {
        self.callers.get(&call).map(|caller| caller.queue.clone())
    }
}

/// SplitMix64: the same numbers for the same seed on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end.max(1)
    }

    fn one_of<'a, T: Clone + 'a>(&mut self, of: impl Iterator<Item = &'a T>) -> Option<T> {
        let all: Vec<&T> = of.collect();
        let at = self.below(all.len() as u64) as usize;
        all.get(at).map(|one| (*one).clone())
    }
}
