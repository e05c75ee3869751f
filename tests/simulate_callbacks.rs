//! Callbacks in the simulator: people behave as said, the promise is kept, and the line of 41 seconds becomes one of 16.

use dozvon::clock::Moment;
use dozvon::simulate::{
    CallbackFigures, CallbackStory, Callbacks, End, Generator, Outcome, Roster, Router, Trace, callback_rows, figures, rows,
    simulate, simulate_callbacks, trace,
};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

#[test]
fn the_month_of_41_seconds_waits_16_with_one_caller_of_thirteen_called_back() {
    let (calls, roster) = (trace(&Generator { days: 30, first_weekday: 3, ..Generator::default() }.rows(1)), everybody(33));
    let before = figures("", &calls, &simulate(&calls, &roster, Router::Default, Duration::ZERO));
    assert!((36.0..50.0).contains(&before.mean_wait_s), "{} s without callbacks", before.mean_wait_s);
    let (ends, _, back) = played(&calls, &roster, &Callbacks::default());
    let after = figures("", &calls, &ends);
    assert!(after.mean_wait_s <= 16.0 && back.mean_wait_of_others_s < 18.0, "{} s with callbacks", after.mean_wait_s);
    assert!(back.booked_share <= 0.08 && back.in_time_share >= 0.9, "{back:?}");
    assert!(back.called_share > 0.99 && back.served_share > 0.94 && after.abandoned_share < 0.4 * before.abandoned_share);
}

#[test]
fn people_take_offers_and_pick_up_as_often_as_said() {
    let (_, stories, back) = played(&week(), &everybody(10), &Callbacks::default());
    assert!(back.offered > 3_000, "{back:?}");
    let near = |found: f64, said: f64, what: &str| assert!((found - said).abs() < 0.035, "{what}: {found}, not {said}");
    near(back.booked as f64 / back.offered as f64, 0.5, "accepted");
    let called = |least: u32| stories.values().filter(|story| story.attempts >= least).count() as f64;
    let reached = |nth: u32| stories.values().filter(|story| story.attempts == nth && story.served.is_some()).count() as f64;
    near(reached(1) / called(1), 0.6, "the first call");
    near(reached(2) / called(2), 0.4, "the second call");
    near(reached(3) / called(3), 0.4, "the third call");
    assert!(stories.values().all(|story| story.attempts <= 3));
}

#[test]
fn nobody_is_called_before_they_asked_at_night_or_twice_at_once() {
    let callbacks: Callbacks = "from_h=9,to_h=20,gap_s=3600,attempts=2".parse().unwrap();
    let (calls, roster) = (week(), everybody(10));
    let (ends, stories, _) = played(&calls, &roster, &callbacks);
    assert!(stories.len() > 1_000);
    for (call, story) in &stories {
        assert_eq!(ends[*call], End { outcome: Outcome::CallbackBooked, at: calls.calls[*call].at });
        assert_eq!(story.booked, calls.calls[*call].at);
        let Some(first) = story.first_dialled else { continue };
        let of_day = first.as_unix_seconds() % 86_400;
        assert!(first >= story.booked && (9 * 3_600..20 * 3_600).contains(&of_day), "{story:?}");
        if let (2, Some(served)) = (story.attempts, story.served) {
            assert!(served.since(first) >= Duration::from_secs(3_600), "{story:?}");
        }
    }
}

#[test]
fn an_agent_has_one_citizen_at_a_time_also_with_callbacks() {
    // Every second of talk and of dialling is an agent's: all together they cannot have more than the roster has.
    let (calls, roster) = (week(), everybody(8));
    let (ends, stories, _) = played(&calls, &roster, &Callbacks::default());
    let mut talks: BTreeMap<usize, Vec<(Moment, Moment)>> = BTreeMap::new();
    for end in &ends {
        if let Outcome::Served { agent, answered } = end.outcome {
            talks.entry(agent).or_default().push((answered, end.at));
        }
    }
    for talks in talks.values_mut() {
        talks.sort();
        assert!(talks.windows(2).all(|two| two[0].1 <= two[1].0), "two callers at a time");
    }
    for hour in (8..7 * 24).filter(|hour| (8..18).contains(&(hour % 24))) {
        let (from, to) = (Moment::from_secs(hour * 3_600), Moment::from_secs((hour + 1) * 3_600));
        let within = |begins: Moment, ends: Moment| ends.min(to).since(begins.max(from)).as_secs_f64();
        let on_the_line: f64 = talks.values().flatten().map(|(begins, ends)| within(*begins, *ends)).sum();
        let back = |(call, story): (&usize, &CallbackStory)| {
            story.served.map_or(0.0, |served| within(served, served + calls.calls[*call].service))
        };
        let called_back: f64 = stories.iter().map(back).sum();
        assert!(on_the_line + called_back <= 29.0 * 3_600.0 * 1.02, "hour {hour}: {on_the_line} s and {called_back} s");
    }
}

#[test]
fn the_promise_is_kept_also_when_it_is_short() {
    let callbacks: Callbacks = "within_s=7200".parse().unwrap();
    let (_, stories, back) = played(&week(), &everybody(10), &callbacks);
    let late =
        stories.values().filter(|story| story.first_dialled.zip(story.promised).is_none_or(|(first, by)| first > by)).count();
    assert_eq!((back.in_time_share * stories.len() as f64).round() as usize, stories.len() - late);
    assert!(back.in_time_share > 0.8, "{back:?}");
}

#[test]
fn the_same_input_gives_the_same_callbacks() {
    let (calls, roster, callbacks) = (week(), everybody(10), Callbacks::default());
    let [one, two] = [(), ()].map(|()| played(&calls, &roster, &callbacks));
    assert_eq!((rows(&roster, &one.0), callback_rows(&one.1), one.2), (rows(&roster, &two.0), callback_rows(&two.1), two.2));
    let other = played(&calls, &roster, &Callbacks { seed: 2, ..callbacks });
    assert_ne!(callback_rows(&one.1), callback_rows(&other.1));
}

#[test]
fn without_takers_the_line_is_as_it_was() {
    let (calls, roster) = (week(), everybody(10));
    let (ends, stories, back) = played(&calls, &roster, &"accepted=0".parse().unwrap());
    assert_eq!((ends, stories.len()), (simulate(&calls, &roster, Router::Default, Duration::ZERO), 0));
    assert!(back.offered > 0 && back.booked_share == 0.0);
}

#[test]
fn rows_tell_what_became_of_each() {
    let at = |secs: u64| Some(Moment::from_secs(secs));
    let story = |promised, first_dialled, attempts, served| CallbackStory {
        booked: Moment::from_secs(5),
        promised,
        first_dialled,
        attempts,
        served,
    };
    let stories = BTreeMap::from([(3, story(at(90), at(60), 2, at(80))), (4, story(at(90), None, 0, None))]);
    let text = "call,booked_s,promised_s,first_called_s,attempts,served_s\n3,5.00,90.00,60.00,2,80.00\n4,5.00,90.00,,0,\n";
    assert_eq!(callback_rows(&stories), text);
}

#[test]
fn a_wrong_key_is_named_with_those_there_are() {
    let wrong = |text: &str| text.parse::<Callbacks>().unwrap_err();
    assert!(wrong("colour=1").contains("no key `colour`; there are over_s, accepted"));
    assert!(wrong("accepted=2").contains("`accepted` is a number from 0 to 1, not `2`"));
    assert!(wrong("accepted").contains("`accepted` is no key=value"));
    assert!(wrong("from_h=20,to_h=8").contains("`to_h`"));
    assert_eq!("default".parse(), Ok(Callbacks::default()));
}

fn played(calls: &Trace, roster: &Roster, callbacks: &Callbacks) -> (Vec<End>, BTreeMap<usize, CallbackStory>, CallbackFigures) {
    simulate_callbacks(calls, roster, Router::Default, Duration::ZERO, callbacks)
}

fn week() -> Trace {
    trace(&Generator::default().rows(5))
}

/// 29 agents from 7 to 19 h and 3 by night, who do everything.
fn everybody(days: u64) -> Roster {
    let mut text = String::from("agent,from_s,to_s,skills\n");
    let skills = "booking:50|consultation:50|home_visit:50|urgent:50|other:50";
    for day in 0..days {
        let hour = |hour: u64| day * 86_400 + hour * 3_600;
        (0..29).for_each(|no| writeln!(text, "d{no},{},{},{skills}", hour(7), hour(19)).unwrap());
        (0..3).for_each(|no| {
            writeln!(text, "n{no},{},{},{skills}\nn{no},{},{},{skills}", hour(0), hour(7), hour(19), hour(24)).unwrap()
        });
    }
    Roster::parse(&text).unwrap()
}
