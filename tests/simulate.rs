//! `simulate`: counting rules, no foresight, and that rules differ as they should.

use dozvon::clock::Moment;
use dozvon::simulate::{End, Figures, Outcome, Roster, Router, Trace, figures, rows, simulate};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

const TWO_AGENTS: &str = "agent,from_s,to_s,skills\na1,0,1000,booking:50|urgent:50\na2,0,1000,booking:50\n";

#[test]
fn a_free_agent_takes_a_call_at_once_and_to_the_end() {
    let (ends, text) = play("10,7,urgent,30.5,100\n12,7,urgent,5,100\n", TWO_AGENTS, Router::Default, 0);
    assert_eq!(ends[0], served(0, 10.0, 40.5));
    assert_eq!(ends[1], served(0, 40.5, 45.5), "a2 has no such skill");
    assert_eq!(text, "call,agent,start_s,end_s,outcome\n0,a1,10.00,40.50,served\n1,a1,40.50,45.50,served\n");
}

#[test]
fn a_caller_leaves_when_patience_ends() {
    let (ends, text) = play("10,7,urgent,30,100\n12,7,urgent,5,13.25\n", TWO_AGENTS, Router::Default, 0);
    assert_eq!(ends[1], End { outcome: Outcome::Abandoned, at: at(25.25) });
    assert!(text.ends_with("1,,,25.25,abandoned\n"), "{text}");
}

#[test]
fn a_running_call_is_finished_after_the_seats_end_and_no_new_one_begun() {
    let trace = "990,7,urgent,30,100\n1000,7,booking,5,13\n";
    let (ends, _) = play(trace, TWO_AGENTS, Router::Default, 0);
    assert_eq!(ends[0], served(0, 990.0, 1020.0));
    assert_eq!(ends[1], End { outcome: Outcome::Abandoned, at: at(1013.0) });
}

#[test]
fn an_agent_with_two_seats_has_one_call_at_a_time() {
    let roster = "agent,from_s,to_s,skills\na1,0,100,urgent:50\na1,110,200,booking:50\n";
    let (ends, _) = play("90,7,urgent,60,900\n112,7,booking,5,900\n", roster, Router::Default, 0);
    assert_eq!(ends[0], served(0, 90.0, 150.0));
    assert_eq!(ends[1], served(0, 150.0, 155.0), "with the skills of the second seat");
}

#[test]
fn a_phone_rings_before_the_answer_and_stops_for_who_leaves() {
    let (ends, _) = play("10,7,urgent,30,100\n50,7,urgent,5,2\n53,7,urgent,5,50\n", TWO_AGENTS, Router::Default, 4);
    assert_eq!(ends[0], served(0, 14.0, 44.0));
    assert_eq!(ends[1], End { outcome: Outcome::Abandoned, at: at(52.0) });
    assert_eq!(ends[2], served(0, 57.0, 62.0));
}

#[test]
fn waits_are_counted_over_all_callers() {
    let trace = "0,7,urgent,100,900\n0,7,urgent,5,40\n0,7,urgent,5,900\n0,7,urgent,5,10\n0,7,booking,5,9\n";
    let (trace, roster) = (parse(trace), Roster::parse(TWO_AGENTS).unwrap());
    let ends = simulate(&trace, &roster, Router::Engine(dozvon::routing::Policy::LongestWait), Duration::ZERO);
    let figures = figures("fifo", &trace, &ends);
    let urgent = &figures.classes["urgent"];
    // Waits 0, 40 (gave up), 100, 10 (gave up).
    assert_eq!((urgent.calls, urgent.mean_wait_s, urgent.abandoned_share, urgent.sl20), (4, 37.5, 0.5, 0.25));
    assert_eq!((urgent.p80_wait_s, urgent.p95_wait_s), (100.0, 100.0));
    assert_eq!((figures.calls, figures.mean_wait_s, figures.abandoned_share, figures.sl20), (5, 30.0, 0.4, 0.4));
    assert_eq!(figures.worst_wait_over_target(), 3.75);
}

#[test]
fn every_router_obeys_trace_and_roster() {
    let (trace, roster) = (parse(&busy_day(3)), Roster::parse(&team()).unwrap());
    for (name, router) in Router::ALL {
        let ends = simulate(&trace, &roster, router, Duration::ZERO);
        let mut talks: BTreeMap<usize, Vec<(Moment, Moment)>> = BTreeMap::new();
        for (call, end) in trace.calls.iter().zip(&ends) {
            match end.outcome {
                Outcome::CallbackBooked => panic!("{name}: nobody offers that"),
                Outcome::Abandoned => assert_eq!(end.at, call.at + call.patience, "{name}"),
                Outcome::Served { agent, answered } => {
                    assert!(answered >= call.at && answered <= call.at + call.patience, "{name}: answered out of time");
                    assert_eq!(end.at, answered + call.service, "{name}");
                    let on_duty = roster.seats.iter().find(|s| s.agent == agent && s.from <= answered && answered < s.to);
                    let seat = on_duty.unwrap_or_else(|| panic!("{name}: nobody sat there"));
                    let skilled = router == Router::Pooled || seat.skills.iter().any(|(class, _)| *class == call.class);
                    assert!(skilled, "{name}: without the skill");
                    talks.entry(agent).or_default().push((answered, end.at));
                }
            }
        }
        for talks in talks.values_mut() {
            talks.sort();
            assert!(talks.windows(2).all(|two| two[0].1 <= two[1].0), "{name}: two calls at a time");
        }
        assert!(talks.len() > 5, "{name}: nobody works");
    }
}

#[test]
fn no_router_sees_what_has_not_happened() {
    let roster = Roster::parse(&team()).unwrap();
    let trace = parse(&busy_day(3));
    let until = at(20_000.0);
    for (name, router) in Router::ALL {
        let ends = simulate(&trace, &roster, router, Duration::ZERO);
        // Everything that is still hidden at that moment comes otherwise: running talks, patience of who waits, all later calls.
        let mut other = trace.clone();
        for (call, end) in other.calls.iter_mut().zip(&ends) {
            if end.at > until {
                call.service += Duration::from_secs(77);
            }
            if end.at > until && !matches!(end.outcome, Outcome::Served { answered, .. } if answered <= until) {
                call.patience += Duration::from_secs(1_000);
            }
        }
        other.calls.retain(|call| call.at <= until || call.class != 0);
        let then = simulate(&other, &roster, router, Duration::ZERO);
        let mut compared = 0;
        for ((call, end), then) in trace.calls.iter().zip(&ends).zip(&then).take_while(|((call, _), _)| call.at <= until) {
            let known = |end: &End| match end.outcome {
                Outcome::Served { agent, answered } => (answered <= until).then_some((Some(agent), answered)),
                Outcome::Abandoned | Outcome::CallbackBooked => (end.at <= until).then_some((None, end.at)),
            };
            assert_eq!(known(end), known(then), "{name}: the call of {:?}", call.at);
            compared += 1;
        }
        assert!(compared > 300, "{name}: {compared} calls compared");
    }
}

#[test]
fn the_same_input_gives_the_same_output() {
    let (trace, roster) = (parse(&busy_day(5)), Roster::parse(&team()).unwrap());
    for (_, router) in Router::ALL {
        let [one, two] = [(), ()].map(|()| rows(&roster, &simulate(&trace, &roster, router, Duration::ZERO)));
        assert_eq!(one, two);
    }
}

#[test]
fn the_default_keeps_the_worst_class_below_the_comparison_at_no_higher_a_mean() {
    let roster = Roster::parse(&team()).unwrap();
    let sum = |router: Router| {
        (1..=6)
            .map(|seed| run(seed, &roster, router))
            .fold((0.0, 0.0), |sum, day| (sum.0 + day.worst_wait_over_target(), sum.1 + day.mean_wait_s))
    };
    let ours = sum(Router::Default);
    let (fifo, fqr) = (sum("fifo".parse().unwrap()), sum("fqr".parse().unwrap()));
    assert!(ours.0 < 0.97 * fqr.0 && ours.0 < 0.85 * fifo.0, "worst class {} against {} and {}", ours.0, fqr.0, fifo.0);
    assert!(ours.1 < 1.03 * fqr.1 && ours.1 < 1.03 * fifo.1, "mean wait {} against {} and {}", ours.1, fqr.1, fifo.1);
}

#[test]
fn a_mistake_in_a_file_is_named_with_its_line() {
    let trace = |text: &str| Trace::parse(text).unwrap_err().to_string();
    assert!(trace("x\n").contains("line 1: the header should be"));
    let head = "t_s,number,class,service_s,patience_s\n";
    assert!(trace(&format!("{head}1,7,dentist,1,1\n")).contains("line 2: no class `dentist`; there are booking"));
    assert!(trace(&format!("{head}2,7,urgent,1,1\n1,7,urgent,1,1\n")).contains("line 3: calls come in the order"));
    assert!(trace(&format!("{head}-2,7,urgent,1,1\n")).contains("line 2: `-2` is no time in seconds"));
    assert!(trace(&format!("{head}2,7,urgent,1\n")).contains("line 2: 5 columns are wanted"));
    let roster = |text: &str| Roster::parse(&format!("agent,from_s,to_s,skills\n{text}\n")).unwrap_err().to_string();
    assert!(roster("a,5,5,urgent:50").contains("line 2: a seat ends after it begins"));
    assert!(roster("a,0,5,urgent:101").contains("line 2: a level is a number from 1 to 100"));
    assert!("luck".parse::<Router>().unwrap_err().contains("no policy `luck`; there are default, pooled"));
}

fn run(seed: u64, roster: &Roster, router: Router) -> Figures {
    let trace = parse(&busy_day(seed));
    figures("", &trace, &simulate(&trace, roster, router, Duration::ZERO))
}

fn play(trace: &str, roster: &str, router: Router, ring_s: u64) -> (Vec<End>, String) {
    let (trace, roster) = (parse(trace), Roster::parse(roster).unwrap());
    let ends = simulate(&trace, &roster, router, Duration::from_secs(ring_s));
    let text = rows(&roster, &ends);
    (ends, text)
}

fn parse(calls: &str) -> Trace {
    Trace::parse(&format!("t_s,number,class,service_s,patience_s\n{calls}")).unwrap()
}

fn served(agent: usize, from: f64, to: f64) -> End {
    End { outcome: Outcome::Served { agent, answered: at(from) }, at: at(to) }
}

fn at(secs: f64) -> Moment {
    Moment((secs * 1e6).round() as u64)
}

/// Ten agents of two skills each, from morning to evening.
fn team() -> String {
    let mut text = String::from("agent,from_s,to_s,skills\n");
    for (no, second) in [
        "consultation",
        "urgent",
        "home_visit",
        "other",
        "urgent",
        "consultation",
        "consultation",
        "home_visit",
        "other",
        "urgent",
    ]
    .iter()
    .enumerate()
    {
        let (first, second) = if no % 2 == 0 { ("booking", *second) } else { (*second, "booking") };
        writeln!(text, "a{no},{},{},{first}:50|{second}:50", no * 60, 36_000 + no * 60).unwrap();
    }
    text
}

/// Ten hours that keep ten agents busy, by a generator whose numbers are the same everywhere.
fn busy_day(seed: u64) -> String {
    let mut state = seed;
    let mut draw = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as f64 + 0.5) / (1_u64 << 31) as f64
    };
    let mut text = String::new();
    let mut now = 0.0;
    loop {
        now += -19.0 * draw().ln();
        if now > 36_000.0 {
            return text;
        }
        let class = match draw() {
            x if x < 0.46 => "booking",
            x if x < 0.726 => "consultation",
            x if x < 0.806 => "home_visit",
            x if x < 0.936 => "urgent",
            _ => "other",
        };
        let (service, patience) = (-165.0 * draw().ln() + 1.0, -446.0 * draw().ln());
        writeln!(text, "{now:.2},7,{class},{service:.1},{patience:.1}").unwrap();
    }
}
