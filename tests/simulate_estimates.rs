//! What callers are told about their wait, judged over simulated days: rushes, breaks, people who ring again, priorities.

use dozvon::acd::*;
use dozvon::clock::Moment;
use dozvon::ids::*;
use dozvon::simulate::*;
use dozvon::skills::Requirement;
use std::fmt::Write;
use std::time::Duration;
use uuid::Uuid;

const DAYS: u32 = 30;

#[test]
fn c37_four_of_five_callers_are_answered_within_what_they_were_promised_at_every_hour() {
    let line = Generator { days: DAYS, hour_cv: 0.1, ..Generator::default() };
    let roster = floor_with_breaks();
    let redials = Redials { share: 0.4, after_mean: 120.0 };
    let rung_again = trace(&line.rows_with_redials(37, redials, &roster, Router::Default));
    covers("default, redials", &rung_again, &roster, Router::Default);
    covers("strict priority", &trace(&line.rows(38)), &roster, Router::Engine(dozvon::routing::Policy::StrictPriority));
}

fn covers(name: &str, calls: &Trace, roster: &Roster, router: Router) {
    let told = told(calls, roster, router, Duration::ZERO).unwrap();
    let found = estimate_figures(name, &told);
    assert!(found.all.served > 20_000 && found.hours.len() >= 15, "{name}: too little to judge: {found:?}");
    for (hour, figures) in &found.hours {
        assert!(four_of_five(figures.coverage, figures.served), "{name}, {hour} h, on entry: {figures:?}");
        // Fewer are left at the first announcement.
        let announced = figures.announced <= 30 || four_of_five(figures.announced_coverage, figures.announced);
        assert!(announced, "{name}, {hour} h, announced: {figures:?}");
    }
    let of = |estimator: &str| found.all.estimators[estimator];
    for open in ["app_queue", "call_center"] {
        assert!(of("promised").pinball_s < 0.8 * of(open).pinball_s, "{name}: {open} promises as well: {:?}", found.all);
        assert!(of("mean").mean_error_s.abs() < 0.5 * of(open).mean_error_s.abs(), "{name}: {open}: {:?}", found.all);
        assert!(of("mean").mean_absolute_error_s < of(open).mean_absolute_error_s, "{name}: {open}: {:?}", found.all);
    }
    let said = &found.announcements;
    assert_eq!(said.grew_without_reason, 0, "{name}: {said:?}");
    assert!(said.grew_with_reason > 0, "{name}: agents left and nobody heard of it: {said:?}");
}

/// 75 to 85 %, give or take one caller: of 31 a single one is 3 %.
fn four_of_five(share: f64, callers: usize) -> bool {
    (share - 0.8).abs() <= 0.05 + 1.0 / callers as f64
}

#[test]
fn the_open_rules_are_what_their_sources_say() {
    let calls = Trace::parse(
        "t_s,number,class,service_s,patience_s\n\
         0,7,urgent,100,900\n1,7,urgent,100,900\n2,7,urgent,100,900\n3,7,urgent,100,900\n4,7,urgent,100,900\n\
         410,7,urgent,100,900\n420,7,urgent,100,900\n430,7,urgent,100,900\n",
    );
    let roster = Roster::parse("agent,from_s,to_s,skills\na,0,9000,urgent:50\n").unwrap();
    let told = told(&calls.unwrap(), &roster, Router::Default, Duration::ZERO).unwrap();
    // Waits of those answered before, smoothed and cut to whole seconds: 0, 99 → 24, 198 → 67, 297 → 124, 396 → 192.
    let last = &told[told.len() - 2..];
    let [app_queue, call_center] = [2, 3].map(|no| last.iter().map(|told| told.estimates[no]).collect::<Vec<_>>());
    assert_eq!(app_queue, [192.0 + 30.0, 192.0 + 30.0]);
    assert_eq!(call_center, [200.0, 300.0], "100 s a talk, two and three in the queue, one agent");
}

#[test]
fn what_is_learned_survives_a_snapshot() {
    let mut floor = Floor::new();
    (0..200).for_each(|_| floor.turn());
    let mut restored = Floor { acd: Acd::restore(&floor.acd.snapshot()).unwrap(), ..floor.clone() };
    assert_eq!(restored.told(), floor.told());
    for _ in 0..50 {
        floor.turn();
        restored.turn();
        assert_eq!(restored.told(), floor.told());
    }
    assert_eq!(restored.acd.state_hash(), floor.acd.state_hash());
}

#[test]
fn a_queue_that_breaks_its_promises_promises_more() {
    let mut floor = Floor::new();
    (0..40).for_each(|_| floor.turn());
    let before = floor.told().unwrap();
    // Half of what the agents do is nothing that a talk would show: they rest after each call.
    for _ in 0..400 {
        floor.turn_with_rest(Duration::from_secs(100));
    }
    let after = floor.told().unwrap();
    assert!(after.promised > before.promised.mul_f64(1.4), "{before:?}, then {after:?}");
}

/// One agent, talks of 100 s, three who wait.
#[derive(Clone)]
struct Floor {
    acd: Acd,
    now: Moment,
    calls: u128,
    talk: Option<CallId>,
}

impl Floor {
    fn new() -> Self {
        let mut floor = Self { acd: Acd::new(IdSource::new(1)), now: Moment::from_secs(36_000), calls: 0, talk: None };
        floor.acd.handle(floor.now, Event::RulesChanged(Box::new(rules())));
        (0..4).for_each(|_| floor.caller());
        floor
    }

    fn turn(&mut self) {
        self.turn_with_rest(Duration::ZERO);
    }

    fn turn_with_rest(&mut self, rest: Duration) {
        self.now = self.now + Duration::from_secs(100);
        let agent = AgentId::from("op");
        if !rest.is_zero() {
            self.acd.handle(self.now, Event::AgentOnBreak { agent: agent.clone(), reason: "rest".into() });
        }
        if let Some(call) = self.talk.take() {
            self.acd.handle(self.now, Event::TalkEnded { agent: agent.clone(), call, by: dozvon::facts::Party::Citizen });
        }
        self.answer();
        if !rest.is_zero() {
            self.now = self.now + rest;
            self.acd.handle(self.now, Event::AgentReady { agent });
            self.answer();
        }
        self.caller();
    }

    fn caller(&mut self) {
        self.calls += 1;
        let (call, queue) = (CallId(Uuid::from_u128(self.calls)), QueueId::from("urgent"));
        self.acd.handle(self.now, Event::CallerQueued { call, queue, person: None, priority: 0, urgent: false });
        self.answer();
    }

    fn answer(&mut self) {
        while let Some(command) = self.acd.poll_command() {
            if let Command::Offer { offer, call, .. } = command {
                self.talk = Some(call);
                self.acd.handle(self.now, Event::OfferAnswered { offer });
            }
        }
    }

    fn told(&self) -> Option<Estimate> {
        self.acd.estimate_for_newcomer(self.now, &QueueId::from("urgent"))
    }
}

fn rules() -> Rules {
    let queue = QueueRules {
        region: RegionId(22),
        requires: Requirement::AtLeast(Skill::from("urgent"), 1),
        target: Duration::from_secs(20),
        priority: 0,
        max_waiting: 100,
        ring: Duration::from_secs(20),
        wrap_up: Duration::ZERO,
        announce: None,
        seek: Seek::default(),
        while_waiting: WhileWaiting::default(),
        after_talk: Default::default(),
    };
    let agent = AgentRules {
        region: RegionId(22),
        skills: [(Skill::from("urgent"), 50)].into(),
        always_ready: true,
        misses_to_break: 0,
        reserve: false,
    };
    Rules {
        queues: [(QueueId::from("urgent"), queue)].into(),
        agents: [(AgentId::from("op"), agent)].into(),
        callbacks: CallbackRules::default(),
        routing: Routing::installed(),
        duty: Default::default(),
    }
}

/// Shifts of eight and four hours, two skills an agent, a break of 45 minutes in the middle of the long ones; five at night.
fn floor_with_breaks() -> Roster {
    let mut text = String::from("agent,from_s,to_s,skills\n");
    let seconds = ["consultation", "urgent", "home_visit", "consultation", "other"];
    for day in 0..DAYS {
        let mut seat = |name: &str, no: u32, from: f64, to: f64| {
            let second = seconds[no as usize % seconds.len()];
            let skills = if no.is_multiple_of(2) { format!("booking:50|{second}:50") } else { format!("{second}:50|booking:50") };
            let at = |hour: f64| f64::from(day) * 86_400.0 + hour * 3_600.0;
            writeln!(text, "{name}{no},{:.0},{:.0},{skills}", at(from), at(to)).unwrap();
        };
        for (name, count, begins, hours) in [("early", 26, 7.0, 8.0), ("late", 18, 11.0, 8.0)] {
            for no in 0..count {
                let lunch = begins + 3.0 + f64::from(no) / 10.0;
                seat(name, no, begins, lunch);
                seat(name, no, lunch + 0.75, begins + hours);
            }
        }
        (0..14).for_each(|no| seat("morning", no, 8.0, 12.0));
        (0..5).for_each(|no| seat("evening", no, 19.0, 24.0));
        (0..5).for_each(|no| seat("night", no, 0.0, 7.0));
    }
    Roster::parse(&text).unwrap()
}
