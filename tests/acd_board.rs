//! What boards see of the floor: places, counts, tasks. The scenarios speak of commands and facts only.

use dozvon::acd::{Acd, AgentRules, Command, Event, Missed, QueueRules, Refused, Routing, Rules, Seek, Way, WhileWaiting};
use dozvon::clock::Moment;
use dozvon::facts::{MissReason, Outcome, Party};
use dozvon::ids::{AgentId, CallId, IdSource, OfferId, PersonId, QueueId, RegionId, Skill, TaskId};
use dozvon::skills::Requirement;
use std::time::Duration;
use uuid::Uuid;

#[test]
fn places_count_from_the_head_and_a_ring_is_place_one() {
    let mut floor = Floor::new();
    (1..=3).for_each(|no| floor.queued(no, no));
    assert_eq!([1, 2, 3, 4].map(|no| floor.acd.position_of(call(no))), [Some(1), Some(2), Some(3), None]);
    floor.tell(10, Event::AgentReady { agent: agent("a1") });
    assert_eq!([1, 2, 3].map(|no| floor.acd.position_of(call(no))), [Some(1), Some(1), Some(2)]);
    let queue = floor.acd.queues().next().unwrap();
    assert_eq!((queue.waiting, queue.offered, queue.longest_since), (2, 1, Some(Moment::from_secs(1))));
}

#[test]
fn an_agents_calls_are_counted_from_nothing() {
    let mut floor = Floor::new();
    floor.tell(0, Event::AgentReady { agent: agent("a1") });
    assert_eq!(floor.counts("a1"), (0, 0));
    floor.queued(1, 1);
    let offer = floor.last_offer();
    assert_eq!(floor.acd.agent(&agent("a1")).unwrap().call, Some(call(1)));
    floor.tell(2, Event::OfferMissed { offer, reason: MissReason::NoAnswer });
    assert_eq!(floor.counts("a1"), (0, 1));
    let offer = floor.last_offer();
    floor.tell(3, Event::OfferAnswered { offer });
    assert_eq!(floor.counts("a1"), (1, 1));
    floor.tell(4, Event::TalkEnded { agent: agent("a1"), call: call(1), by: Party::Citizen });
    assert_eq!((floor.counts("a1"), floor.acd.agent(&agent("a1")).unwrap().call), ((1, 1), None));
}

#[test]
fn the_board_lists_who_is_in_the_rules_and_who_still_talks() {
    let mut floor = Floor::new();
    floor.tell(0, Event::AgentReady { agent: agent("a1") });
    floor.queued(1, 1);
    let offer = floor.last_offer();
    floor.tell(2, Event::OfferAnswered { offer });
    assert_eq!(floor.listed(), ["a1", "a2"]);
    floor.rules.agents.clear();
    floor.tell(3, Event::RulesChanged(Box::new(floor.rules.clone())));
    assert_eq!(floor.listed(), ["a1"], "the talk goes on");
    floor.tell(4, Event::TalkEnded { agent: agent("a1"), call: call(1), by: Party::Citizen });
    assert_eq!(floor.listed(), [""; 0]);
}

#[test]
fn why_no_code_is_taken_is_said() {
    let mut floor = Floor::new();
    let refused = |floor: &Floor| floor.acd.may_give_code(&agent("a1"), "1").unwrap_err();
    assert_eq!(refused(&floor), Refused::NoTalk(agent("a1")));
    floor.tell(0, Event::AgentReady { agent: agent("a1") });
    floor.queued(1, 1);
    let offer = floor.last_offer();
    floor.tell(2, Event::OfferAnswered { offer });
    assert_eq!(refused(&floor), Refused::NoCodes(QueueId::from("therapy")));
    floor.rules.queues.values_mut().for_each(|queue| queue.after_talk.codes = [("2".into(), "booked".into())].into());
    floor.tell(3, Event::RulesChanged(Box::new(floor.rules.clone())));
    let (code, queue, codes) = ("1".to_owned(), QueueId::from("therapy"), "2 booked".to_owned());
    assert_eq!(refused(&floor), Refused::UnknownCode { code, queue, codes });
}

#[test]
fn a_closed_queue_is_shown_as_closed() {
    let mut floor = Floor::new();
    let closed = |floor: &Floor| floor.acd.queues().next().unwrap().closed;
    assert!(!closed(&floor));
    assert!(!floor.acd.is_open(&QueueId::from("nowhere")));
    for open in [false, true] {
        floor.tell(1, Event::QueueOpens { queue: QueueId::from("therapy"), open });
        assert_eq!((closed(&floor), floor.acd.is_open(&QueueId::from("therapy"))), (!open, open));
    }
}

#[test]
fn tasks_are_listed_by_region_with_the_last_call() {
    let mut floor = Floor::new();
    let missed = |no, region, person, outcome| {
        Event::CallMissed(Missed {
            task: TaskId(no),
            call: call(no),
            region: RegionId(region),
            person: Some(PersonId(Uuid::from_u128(person))),
            outcome,
            after: Duration::from_secs(60),
            queue: None,
            way: Way { trunk: "city".into(), dialled: "122".into() },
            booked: None,
        })
    };
    floor.tell(1, missed(1, 22, 1, Outcome::AbandonedInQueue));
    floor.tell(2, missed(2, 76, 2, Outcome::Cut));
    floor.tell(3, missed(3, 22, 1, Outcome::Blocked));
    let of = |region: Option<u16>| floor.acd.open_callbacks(region.map(RegionId)).collect::<Vec<_>>();
    assert_eq!((of(None).len(), of(Some(22)).len(), of(Some(76)).len(), of(Some(92)).len()), (2, 1, 1, 0));
    let task = &of(Some(22))[0];
    assert_eq!((task.task, task.call, task.outcome, task.missed), (TaskId(1), call(3), Outcome::Blocked, 2));
    assert_eq!((of(Some(76))[0].task, of(Some(76))[0].call), (TaskId(2), call(2)));
}

struct Floor {
    acd: Acd,
    rules: Rules,
    offers: Vec<OfferId>,
}

impl Floor {
    /// One queue, two agents who can do it.
    fn new() -> Self {
        let queue = QueueRules {
            region: RegionId(22),
            requires: Requirement::AtLeast(Skill::from("therapy"), 1),
            target: Duration::from_secs(20),
            priority: 0,
            max_waiting: 100,
            ring: Duration::from_secs(15),
            wrap_up: Duration::ZERO,
            announce: None,
            seek: Seek::default(),
            while_waiting: WhileWaiting::default(),
            after_talk: Default::default(),
        };
        let one = AgentRules {
            region: RegionId(22),
            skills: [(Skill::from("therapy"), 50)].into(),
            always_ready: false,
            misses_to_break: 0,
            reserve: false,
        };
        let rules = Rules {
            queues: [(QueueId::from("therapy"), queue)].into(),
            agents: [(agent("a1"), one.clone()), (agent("a2"), one)].into(),
            callbacks: Default::default(),
            routing: Routing::installed(),
            duty: Default::default(),
        };
        let mut floor = Self { acd: Acd::new(IdSource::new(1)), rules: rules.clone(), offers: Vec::new() };
        floor.tell(0, Event::RulesChanged(Box::new(rules)));
        floor.tell(0, Event::AgentReachable { agent: agent("a1"), reachable: true });
        floor
    }

    fn tell(&mut self, secs: u64, event: Event) {
        self.acd.handle(Moment::from_secs(secs), event);
        while let Some(command) = self.acd.poll_command() {
            if let Command::Offer { offer, .. } = command {
                self.offers.push(offer);
            }
        }
    }

    fn queued(&mut self, secs: u64, no: u64) {
        let queue = QueueId::from("therapy");
        self.tell(secs, Event::CallerQueued { call: call(no), queue, person: None, priority: 0, urgent: false });
    }

    fn last_offer(&self) -> OfferId {
        *self.offers.last().unwrap()
    }

    fn counts(&self, name: &str) -> (u32, u32) {
        let seen = self.acd.agent(&agent(name)).unwrap();
        (seen.served, seen.missed)
    }

    fn listed(&self) -> Vec<String> {
        self.acd.agents().map(|agent| agent.agent.to_string()).collect()
    }
}

fn agent(name: &str) -> AgentId {
    AgentId::from(name)
}

fn call(no: u64) -> CallId {
    CallId(Uuid::from_u128(u128::from(no)))
}
