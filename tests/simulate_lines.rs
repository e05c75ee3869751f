//! Made-up lines and lived days: profiles, redials, seeds, a day of facts as a trace, pictures.

use dozvon::clock::Moment;
use dozvon::facts::{AgentStateName, Fact, OfferEnd, Party, QueueLeft, Stamped};
use dozvon::ids::{AgentId, CallId, OfferId, QueueId, RegionId};
use dozvon::simulate::*;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;
use uuid::Uuid;

#[test]
fn a_made_up_line_has_the_profile_it_was_given() {
    let line = Generator { days: 7 * 40, ..Generator::default() };
    let calls = trace(&line.rows(1)).calls;
    let per_day = calls.len() as f64 / 280.0;
    assert!((per_day / (165_800.0 / 30.0) - 1.0).abs() < 0.03, "{per_day} calls a day");
    let share = |holds: &dyn Fn(&Call) -> bool| calls.iter().filter(|call| holds(call)).count() as f64 / calls.len() as f64;
    let hour = share(&|call| call.at.as_unix_seconds() / 3_600 % 24 == 8);
    assert!((hour - 0.14).abs() < 0.002, "{hour} of a day's calls from 8 to 9");
    let monday = 7.0 * share(&|call| call.at.as_unix_seconds() / 86_400 % 7 == 0);
    assert!((monday - 1.45).abs() < 0.06, "Monday is {monday} of a day");
    let mean = |of: fn(&Call) -> Duration| calls.iter().map(|call| of(call).as_secs_f64()).sum::<f64>() / calls.len() as f64;
    assert!((mean(|call| call.service) - 165.0).abs() < 1.0 && (mean(|call| call.patience) - 446.0).abs() < 2.5);
    assert!((share(&|call| call.class == 0) - 0.46).abs() < 0.002 && (share(&|call| call.class == 4) - 0.064).abs() < 0.001);
}

#[test]
fn days_differ_as_much_as_they_are_told_to() {
    let cv = |day_cv: f64| {
        let line = Generator { days: 400, weekdays: [1.0; 7], day_cv, ..Generator::default() };
        let mut days = vec![0.0_f64; 400];
        line.rows(3).iter().for_each(|row| days[(row.call.at.as_unix_seconds() / 86_400) as usize] += 1.0);
        let mean = days.iter().sum::<f64>() / 400.0;
        (days.iter().map(|day| (day - mean).powi(2)).sum::<f64>() / 399.0).sqrt() / mean
    };
    assert!((cv(0.10) - 0.10).abs() < 0.015, "{}", cv(0.10));
    // Chance alone: 1/√5527.
    assert!((cv(0.0) - 0.01345).abs() < 0.002, "{}", cv(0.0));
}

#[test]
fn a_trace_reads_back_as_it_was_made_and_comes_again_by_its_seed() {
    let line = Generator { days: 2, ..Generator::default() };
    let rows = line.rows(5);
    assert_eq!(Trace::parse(&trace_csv(&rows)).unwrap(), trace(&rows));
    assert_eq!(rows, line.rows(5));
    assert_ne!(rows, line.rows(6));
    // A day more changes nothing in the days before.
    assert_eq!(rows, Generator { days: 3, ..line }.rows(5)[..rows.len()]);
    let roster = team(4);
    assert_eq!(Roster::parse(&roster_csv(&roster)).unwrap(), roster);
}

#[test]
fn who_gives_up_rings_again_and_makes_others_wait() {
    let line = Generator { days: 1, patience_mean: 120.0, ..Generator::default() };
    let redials = Redials { share: 0.5, after_mean: 60.0 };
    let roster = team(26);
    let [alone, again] = [line.rows(2), line.rows_with_redials(2, redials, &roster, Router::Default)];
    let lost = |rows: &[Row]| {
        let ends = simulate(&trace(rows), &roster, Router::Default, Duration::ZERO);
        ends.iter().filter(|end| end.outcome == Outcome::Abandoned).count()
    };
    assert!(lost(&again) > lost(&alone) + 50, "{} against {}", lost(&again), lost(&alone));
    // Every redial is somebody's who gave up, and half of those who gave up ring again.
    let redialled = (again.len() - alone.len()) as f64;
    assert!((redialled / lost(&again) as f64 - 0.5).abs() < 0.06, "{redialled} of {}", lost(&again));
    let ends = simulate(&trace(&again), &roster, Router::Default, Duration::ZERO);
    let times = |number: u64| again.iter().zip(&ends).filter(move |(row, _)| row.number == number);
    let first: Vec<u64> = alone.iter().map(|row| row.number).collect();
    for row in again.iter().filter(|row| alone.binary_search_by_key(&row.call.at, |row| row.call.at).is_err()) {
        assert!(first.contains(&row.number));
        let gave_up = times(row.number).any(|(_, end)| end.outcome == Outcome::Abandoned && end.at <= row.call.at);
        assert!(gave_up, "rings again without having given up");
    }
    assert_eq!(again, line.rows_with_redials(2, redials, &roster, Router::Default));
    assert_eq!(alone, line.rows_with_redials(2, Redials { share: 0.0, ..redials }, &roster, Router::Default));
}

#[test]
fn an_interval_covers_the_truth_19_times_of_20() {
    let mut covered = 0;
    for seed in 0..400 {
        let mut dice = Dice::new(seed);
        let draws: Vec<f64> = (0..8).map(|_| 10.0 + 3.0 * dice.normal()).collect();
        covered += u32::from(Interval::of(&draws).holds(10.0));
    }
    assert!((368..=392).contains(&covered), "{covered} of 400");
    assert_eq!(Interval::of(&[1.0, 2.0, 3.0]).mean, 2.0);
    assert!((Interval::of(&[1.0, 2.0, 3.0]).half - 4.303 / 3.0_f64.sqrt()).abs() < 1e-9);
    assert!(Interval::of(&[1.0]).half.is_infinite());
}

#[test]
fn a_lived_day_played_again_ends_as_it_was_lived() {
    let calls = trace(&Generator { days: 1, ..Generator::default() }.rows(9));
    let roster = team(30);
    let ends = simulate(&calls, &roster, Router::Default, Duration::ZERO);
    let day = relived(&calls, &roster, &ends);
    assert_eq!(day.trace.calls.len(), calls.calls.len());
    for ((then, call), end) in day.trace.calls.iter().zip(&calls.calls).zip(&ends) {
        assert_eq!((then.at, then.class), (call.at, call.class));
        match end.outcome {
            Outcome::Served { answered, .. } => {
                assert_eq!(then.service, call.service);
                assert!(then.patience >= answered.since(call.at));
            }
            Outcome::Abandoned | Outcome::CallbackBooked => assert_eq!(then.patience, call.patience),
        }
    }
    let again = simulate(&day.trace, &day.roster, Router::Default, Duration::ZERO);
    let [lived, replayed] = [(&calls, &ends), (&day.trace, &again)].map(|(calls, ends)| figures("", calls, ends));
    assert_eq!(lived, replayed);
    assert!((day.mean_wait_s - lived.mean_wait_s).abs() < 1e-6 && (day.abandoned_share - lived.abandoned_share).abs() < 1e-9);
    assert!((day.patience_mean.as_secs_f64() - 446.0).abs() < 60.0, "{:?}", day.patience_mean);

    let more = figures("", &day.trace, &simulate(&day.trace, &day.roster.with_agents(3), Router::Default, Duration::ZERO));
    let fewer = figures("", &day.trace, &simulate(&day.trace, &day.roster.with_agents(-3), Router::Default, Duration::ZERO));
    assert!(more.mean_wait_s < 0.8 * lived.mean_wait_s, "{} after {}", more.mean_wait_s, lived.mean_wait_s);
    assert!(fewer.mean_wait_s > 1.2 * lived.mean_wait_s, "{} after {}", fewer.mean_wait_s, lived.mean_wait_s);
}

#[test]
fn only_the_span_is_replayed_with_whoever_was_on_duty_then() {
    let (agent, queue, region) = (AgentId::from("op"), QueueId::from("urgent"), RegionId(22));
    let offer = OfferId(1);
    let enter =
        |no: u128| Fact::QueueEntered { call: CallId(Uuid::from_u128(no)), queue: queue.clone(), priority: 0, urgent: false };
    let is = |state| Fact::AgentChanged { agent: agent.clone(), region, state, reason: None };
    let call = CallId(Uuid::from_u128(2));
    let facts = [
        (10, is(AgentStateName::Ready)),
        (20, enter(1)),
        (130, enter(2)),
        (131, Fact::OfferMade { offer, call, agent: agent.clone(), queue: queue.clone(), why: String::new() }),
        (135, Fact::OfferEnded { offer, end: OfferEnd::Answered }),
        (135, Fact::TalkStarted { call, agent: agent.clone(), queue: queue.clone() }),
        (165, Fact::TalkEnded { call, agent: agent.clone(), by: Party::Citizen }),
        (165, is(AgentStateName::WrapUp)),
        (185, is(AgentStateName::Ready)),
        (190, enter(3)),
        (193, Fact::QueueLeft { call: CallId(Uuid::from_u128(3)), queue: queue.clone(), why: QueueLeft::Abandoned }),
        (195, is(AgentStateName::OnBreak)),
        (198, enter(4)),
    ];
    let mut lived = Lived::new(Moment::from_secs(100)..Moment::from_secs(200));
    facts.into_iter().for_each(|(at, fact)| lived.see(Stamped { at: Moment::from_secs(at), fact }));
    assert_eq!(lived.queues(), std::collections::BTreeSet::from([queue.clone()]));
    let day = lived.replay(1, &BTreeMap::from([(queue.clone(), 3)])).unwrap();
    let secs = |from: Moment| from.as_unix_seconds();
    let calls: Vec<_> = day.trace.calls.iter().map(|call| (secs(call.at), call.class, call.service.as_secs())).collect();
    assert_eq!(calls, [(30, 3, 50), (90, 3, 50)], "wrap-up counts as service; who still waits is left out");
    assert_eq!(day.trace.calls[1].patience, Duration::from_secs(3));
    assert_eq!(day.ring, Duration::from_secs(4));
    let seats: Vec<_> = day.roster.seats.iter().map(|seat| (secs(seat.from), secs(seat.to), seat.skills.clone())).collect();
    assert_eq!(seats, [(0, 95, vec![(3, 50)])]);

    let nobody = Lived::new(Moment::from_secs(100)..Moment::from_secs(200)).replay(1, &BTreeMap::new());
    assert_eq!(nobody.unwrap_err(), ReplayError::Nobody);
    let mut lived = Lived::new(Moment::ZERO..Moment::from_secs(9));
    lived.see(Stamped { at: Moment::from_secs(1), fact: enter(1) });
    lived.see(Stamped {
        at: Moment::from_secs(2),
        fact: Fact::QueueLeft { call: CallId(Uuid::from_u128(1)), queue, why: QueueLeft::Abandoned },
    });
    assert!(lived.replay(1, &BTreeMap::new()).unwrap_err().to_string().contains("queue `urgent` has no class; name one with"));
}

#[test]
fn a_picture_counts_what_happened() {
    let calls =
        Trace::parse("t_s,number,class,service_s,patience_s\n0,7,urgent,900,9\n450,7,urgent,450,2000\n2000,7,urgent,1,1\n");
    let (calls, roster) = (calls.unwrap(), Roster::parse("agent,from_s,to_s,skills\na,0,1350,urgent:50\n").unwrap());
    let found = quarters(&calls, &roster, &simulate(&calls, &roster, Router::Default, Duration::ZERO));
    assert_eq!(found.len(), 3);
    let first = Quarter { calls: 2, mean_wait_s: 225.0, p80_wait_s: 450.0, waiting: 0.5, talking: 1.0, on_duty: 1.0 };
    assert_eq!(found[0], first);
    assert_eq!((found[1].talking, found[1].on_duty, found[2].calls, found[2].mean_wait_s), (0.5, 0.5, 1, 1.0));
    let svg = picture("День <1>", 0, &found);
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>") && svg.contains("День &lt;1&gt;"));
    for word in ["Ожидание, с", "Ждут в очереди", "Операторы", "на месте", "говорят", ">пн<"]
    {
        assert!(svg.contains(word), "{word}");
    }
}

/// The facts of a simulated day as the journal would have them, two days later and with a life before.
fn relived(calls: &Trace, roster: &Roster, ends: &[End]) -> Replay {
    let start = Duration::from_secs(2 * 86_400);
    let (region, queue) = (RegionId(22), |class: usize| QueueId::from(CLASSES[class].0));
    let agent = |no: usize| AgentId::from(roster.agents[no].as_str());
    let is = |no: usize, state| Fact::AgentChanged { agent: agent(no), region, state, reason: None };
    let mut facts: Vec<(Moment, u8, Fact)> = Vec::new();
    for seat in &roster.seats {
        facts.push((seat.from + start, 2, is(seat.agent, AgentStateName::Ready)));
        facts.push((seat.to + start, 0, is(seat.agent, AgentStateName::Offline)));
    }
    for (no, (call, end)) in calls.calls.iter().zip(ends).enumerate() {
        let (id, queue) = (CallId(Uuid::from_u128(no as u128)), queue(call.class));
        facts.push((call.at + start, 3, Fact::QueueEntered { call: id, queue: queue.clone(), priority: 0, urgent: false }));
        match end.outcome {
            Outcome::Abandoned | Outcome::CallbackBooked => {
                facts.push((end.at + start, 4, Fact::QueueLeft { call: id, queue, why: QueueLeft::Abandoned }))
            }
            Outcome::Served { agent: by, answered } => {
                let offer = OfferId(no as u64);
                let at = answered + start;
                facts.push((
                    at,
                    5,
                    Fact::OfferMade { offer, call: id, agent: agent(by), queue: queue.clone(), why: String::new() },
                ));
                facts.push((at, 5, Fact::OfferEnded { offer, end: OfferEnd::Answered }));
                facts.push((at, 5, Fact::TalkStarted { call: id, agent: agent(by), queue }));
                facts.push((end.at + start, 1, Fact::TalkEnded { call: id, agent: agent(by), by: Party::Citizen }));
            }
        }
    }
    facts.sort_by_key(|(at, order, _)| (*at, *order));
    let mut lived = Lived::new(Moment::ZERO + start..Moment::from_secs(3 * 86_400 + 14_400));
    facts.into_iter().for_each(|(at, _, fact)| lived.see(Stamped { at, fact }));
    lived.replay(1, &CLASSES.iter().enumerate().map(|(no, (name, _))| (QueueId::from(*name), no)).collect()).unwrap()
}

/// From midnight to four in the morning after, everybody for everything.
fn team(agents: u32) -> Roster {
    let mut text = String::from("agent,from_s,to_s,skills\n");
    let skills = CLASSES.map(|(name, _)| format!("{name}:50")).join("|");
    (0..agents).for_each(|no| writeln!(text, "a{no:02},0,100800,{skills}").unwrap());
    Roster::parse(&text).unwrap()
}
