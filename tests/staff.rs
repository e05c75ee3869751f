//! `staff`: formulas against the chain they describe and against the simulator, forecasts against days that were held out, plans
//! against simulated weeks.

use dozvon::clock::Moment;
use dozvon::simulate::{Call, Dice, Generator, Interval, Roster, Router, Trace, figures, simulate, trace};
use dozvon::staffing::*;
use std::fmt::Write;
use std::time::Duration;

const BUSY: Load = Load { calls_per_s: 0.18, service_mean: 165.0, patience_mean: 446.0 };

#[test]
fn erlang_c_gives_the_textbook_figures() {
    // λ = 100 calls an hour of 3 minutes, 6 agents, 5 Erlang: C(6, 5) = 0.5875 in every table.
    let queue = erlang_c(&Load { calls_per_s: 100.0 / 3_600.0, service_mean: 180.0, patience_mean: 1.0 }, 6, 20.0).unwrap();
    assert!((queue.waits_share - 0.5875).abs() < 1e-4, "{queue:?}");
    assert!((queue.mean_wait_s - 0.5875 * 180.0).abs() < 0.02, "{queue:?}");
    assert!((queue.within_share - (1.0 - 0.5875 * (-20.0_f64 / 180.0).exp())).abs() < 1e-4);
    assert!(erlang_c(&BUSY, 29, 20.0).is_none(), "29.7 Erlang are too much for 29 agents");
}

#[test]
fn erlang_a_equals_its_birth_and_death_chain() {
    for (load, agents) in
        [(BUSY, 20), (BUSY, 29), (BUSY, 36), (Load { calls_per_s: 5.4, ..BUSY }, 850), (Load { calls_per_s: 0.002, ..BUSY }, 1)]
    {
        let (wait, abandoned, waits) = chain(&load, agents);
        let queue = erlang_a(&load, agents, 20.0);
        assert!((queue.mean_wait_s - wait).abs() < 1e-3 + 1e-4 * wait, "{agents}: {queue:?} against {wait}");
        assert!((queue.abandoned_share - abandoned).abs() < 1e-5, "{agents}: {queue:?} against {abandoned}");
        assert!((queue.waits_share - waits).abs() < 1e-4, "{agents}: {queue:?} against {waits}");
        assert!((queue.occupancy - load.erlangs() * (1.0 - abandoned) / f64::from(agents)).abs() < 1e-5);
    }
}

#[test]
fn erlang_a_without_hurry_is_erlang_c() {
    let patient = Load { patience_mean: 1e7, ..BUSY };
    let (a, c) = (erlang_a(&patient, 33, 20.0), erlang_c(&patient, 33, 20.0).unwrap());
    assert!((a.mean_wait_s / c.mean_wait_s - 1.0).abs() < 0.01, "{a:?} {c:?}");
    assert!((a.within_share - c.within_share).abs() < 0.002, "{a:?} {c:?}");
}

#[test]
fn the_simulator_agrees_with_erlang_a_and_c() {
    for (patience, agents) in [(446.0, 28), (446.0, 32), (60.0, 30), (1e9, 35)] {
        let load = Load { patience_mean: patience, ..BUSY };
        let expected = erlang_a(&load, agents, 20.0);
        let (mut waits, mut abandoned, mut within) = (Vec::new(), Vec::new(), Vec::new());
        for seed in 1..=20 {
            let found = balanced(&load, agents, seed);
            waits.push(found.0);
            abandoned.push(found.1);
            within.push(found.2);
        }
        let place = format!("patience {patience}, {agents} agents");
        near(&Interval::of(&waits), expected.mean_wait_s, 0.25, &place);
        near(&Interval::of(&abandoned), expected.abandoned_share, 0.003, &place);
        near(&Interval::of(&within), expected.within_share, 0.01, &place);
    }
}

#[test]
fn a_date_is_read_with_its_weekday() {
    for (text, weekday) in [("2026-11-02", 0), ("2024-02-29", 3), ("1970-01-01", 3), ("2000-03-01", 2)] {
        let date = Date::parse(text).unwrap();
        assert_eq!((date.to_string().as_str(), date.weekday()), (text, weekday));
    }
    for text in ["2026-02-29", "2026-13-01", "2026-1", "heute", "2026-01-00"] {
        assert_eq!(Date::parse(text), None, "{text}");
    }
}

#[test]
fn counts_are_read_at_the_step_they_have() {
    let history = History::parse("start,calls\n2026-11-02T08:00,40\n2026-11-02 09:00,20\n2026-11-03T00:00,4\n").unwrap();
    assert_eq!(history.grain, 4);
    assert_eq!(history.days[&Date::parse("2026-11-02").unwrap()][31..37], [0.0, 10.0, 10.0, 10.0, 10.0, 5.0]);
    assert_eq!(History::parse("start,calls\n2026-11-02T08:15,3\n").unwrap().grain, 1);
    let wrong = |row: &str| History::parse(&format!("start,calls\n{row}\n")).unwrap_err().to_string();
    assert!(wrong("2026-11-02T08:10,3").contains("line 2: `2026-11-02T08:10` is no time such as"));
    assert!(wrong("2026-11-02T08:15,-3").contains("line 2: calls are a whole number"));
    assert!(wrong("2026-11-02T08:15,3\n2026-11-02T08:15,3").contains("line 3: this time was counted before"));
    assert!(History::parse("time,n\n").unwrap_err().to_string().contains("line 1: the header should be"));
}

#[test]
fn a_forecast_is_better_than_last_week_and_its_intervals_hold() {
    let (mut step, mut naive, mut covered) = (0.0, 0.0, 0.0);
    for seed in 1..=5 {
        let history = lived(seed, 70);
        let told = backtest(&history, 28).unwrap();
        assert_eq!(told.days, 28);
        (step, naive, covered) = (step + told.wape_step / 5.0, naive + told.naive_step / 5.0, covered + told.covered / 5.0);
    }
    assert!(step < 0.85 * naive, "forecast {step}, last week {naive}");
    assert!((0.75..=0.87).contains(&covered), "{covered} of counts within their 80 % interval");
}

#[test]
fn a_forecast_knows_nothing_of_the_days_held_out() {
    let history = lived(3, 42);
    let mut other = history.clone();
    let held_out = Date(history.last().unwrap().0 - 6);
    other.days.range_mut(held_out..).for_each(|(_, day)| day.iter_mut().for_each(|calls| *calls *= 3.0));
    let [one, two] = [&history, &other].map(|history| Forecast::learn(&history.before(held_out)).unwrap());
    assert_eq!(one, two);
    let wrong = backtest(&other, 7).unwrap();
    assert!((wrong.bias - (1.0 / 3.0 - 1.0)).abs() < 0.1, "{wrong:?}");
}

/// The 41-second month: 29 operators from 7 to 19 h and 3 by night, 2,688 operator-hours a week.
#[test]
fn the_same_hours_laid_by_need_end_the_41_second_month() {
    let waits = |roster: &Roster| {
        let of_seed = |seed| {
            let calls = trace(&Generator { days: 14, ..Generator::default() }.rows(seed));
            figures("", &calls, &simulate(&calls, roster, Router::Pooled, Duration::ZERO)).mean_wait_s
        };
        Interval::of(&(101..=104).map(of_seed).collect::<Vec<f64>>())
    };
    let as_it_is = waits(&flat_roster(14));
    assert!((as_it_is.mean - 41.0).abs() < as_it_is.half.max(4.0), "as it is: {as_it_is:?}");

    // Learnt from eight weeks, judged on others.
    let demand = learnt(&lived(1, 56));
    let rules = |length| ShiftRules { lengths: vec![length], start_every: 4, breaks: Breaks::default(), at_least: 1 };
    let shifts = plan(&demand, &rules(32), Goal::Hours(2_688.0)).unwrap();
    let hourly = plan(&demand, &rules(4), Goal::Hours(2_688.0)).unwrap();
    assert!(shifts.operator_hours <= 2_688.0 && hourly.operator_hours <= 2_688.0);
    let (shifts, hourly) = (waits(&shifts.roster(2, &everything())), waits(&hourly.roster(2, &everything())));
    eprintln!("as it is {as_it_is:?}, 8-hour shifts {shifts:?}, hourly {hourly:?}");
    assert!(shifts.mean <= 10.0, "8-hour shifts: {shifts:?}");
    assert!(hourly.mean <= 1.6, "hourly: {hourly:?}");
}

#[test]
fn a_goal_is_reached_with_no_shift_to_spare() {
    let demand = learnt(&lived(2, 28));
    let rules = ShiftRules { lengths: vec![32, 16], start_every: 4, breaks: Breaks::default(), at_least: 2 };
    let goal = Goal::Answered { share: 0.8, within: 20.0 };
    let good = plan(&demand, &rules, goal).unwrap();
    assert!(good.week_answered_share >= 0.8 && good.within == 20.0);
    assert!(good.on_duty.iter().all(|duty| *duty >= 2), "somebody is always there");
    let tighter = plan(&demand, &rules, Goal::Hours(0.97 * good.operator_hours)).unwrap();
    assert!(tighter.week_answered_share < good.week_answered_share);
    let fast = plan(&demand, &rules, Goal::MeanWait(5.0)).unwrap();
    assert!(fast.week_mean_wait_s <= 5.0 && fast.operator_hours > 1_500.0, "{}", fast.operator_hours);
    // What a plan says of a week is what a simulated week comes to.
    let calls = trace(&Generator { days: 28, ..Generator::default() }.rows(77));
    let found = figures("", &calls, &simulate(&calls, &good.roster(4, &everything()), Router::Pooled, Duration::ZERO));
    assert!((found.sl20 - good.week_answered_share).abs() < 0.04, "{} planned, {} found", good.week_answered_share, found.sl20);
}

#[test]
fn breaks_are_taken_turn_by_turn_and_counted() {
    let demand = learnt(&lived(2, 28));
    let breaks = Breaks { minutes_per_hour: 10, lunch_minutes: 30 };
    let rules = ShiftRules { lengths: vec![32], start_every: 4, breaks, at_least: 1 };
    let with = plan(&demand, &rules, Goal::MeanWait(15.0)).unwrap();
    let without = plan(&demand, &ShiftRules { breaks: Breaks::default(), ..rules }, Goal::MeanWait(15.0)).unwrap();
    let more = with.operator_hours / without.operator_hours;
    assert!((1.15..1.45).contains(&more), "breaks cost {more}");
    let roster = with.roster(1, &everything());
    let worked: f64 = roster.seats.iter().map(|seat| seat.to.since(seat.from).as_secs_f64() / 3_600.0).sum();
    // 8 h − 80 min − 30 min, but for lunches that meet a break.
    let share = worked / with.operator_hours;
    assert!((0.76..0.80).contains(&share), "{share} of the hours are worked");
    let planned: f64 = with.available.iter().sum::<f64>() / 4.0;
    assert!((planned / worked - 1.0).abs() < 0.02, "{planned} planned, {worked} worked");
    for agent in 0..roster.agents.len() {
        let mut seats: Vec<_> = roster.seats.iter().filter(|seat| seat.agent == agent).collect();
        seats.sort_by_key(|seat| seat.from);
        assert!(seats.windows(2).all(|two| two[0].to < two[1].from), "works and rests at one time");
        assert!(seats.iter().all(|seat| seat.to.since(seat.from) <= Duration::from_secs(2 * 3_600)), "two hours without rest");
    }
}

#[test]
fn pictures_speak_russian_and_hold_every_line() {
    let demand = learnt(&lived(2, 14));
    let rules = ShiftRules { lengths: vec![32], start_every: 4, breaks: Breaks::default(), at_least: 1 };
    let plan = plan(&demand, &rules, Goal::Hours(2_000.0)).unwrap();
    let svg = plan_picture("План <недели>", &demand, &plan);
    assert!(svg.starts_with("<svg ") && svg.contains("План &lt;недели&gt;") && svg.contains("нужно, Эрланг A"));
    assert_eq!(svg.matches("fill=\"none\"").count(), 5);
}

/// Balance equations of the chain, state by state: up at λ, down at min(n, c)·μ + (n − c)⁺·θ.
fn chain(load: &Load, agents: u32) -> (f64, f64, f64) {
    let (mu, theta) = (1.0 / load.service_mean, 1.0 / load.patience_mean);
    let down = |n: u32| f64::from(n.min(agents)) * mu + f64::from(n.saturating_sub(agents)) * theta;
    let mut logs = vec![0.0_f64];
    for n in 1..agents + 6_000 {
        logs.push(logs[n as usize - 1] + (load.calls_per_s / down(n)).ln());
    }
    let highest = logs.iter().copied().fold(f64::MIN, f64::max);
    let weights: Vec<f64> = logs.iter().map(|log| (log - highest).exp()).collect();
    let whole: f64 = weights.iter().sum();
    let queue: f64 = weights.iter().enumerate().map(|(n, w)| w * (n as f64 - f64::from(agents)).max(0.0)).sum::<f64>() / whole;
    let waits = weights.iter().skip(agents as usize).sum::<f64>() / whole;
    (queue / load.calls_per_s, theta * queue / load.calls_per_s, waits)
}

/// Ten hours of a queue that began two hours before: mean wait, abandoned share, share answered within 20 s.
fn balanced(load: &Load, agents: u32, seed: u64) -> (f64, f64, f64) {
    let mut dice = Dice::new(seed);
    let span = |seconds: f64| Duration::from_micros((seconds * 1e6) as u64 + 1);
    let (mut calls, mut at) = (Vec::new(), 0.0);
    while at < 12.0 * 3_600.0 {
        at += dice.exponential(1.0 / load.calls_per_s);
        let (service, patience) = (dice.exponential(load.service_mean), dice.exponential(load.patience_mean));
        calls.push(Call { at: Moment::ZERO + span(at), class: 0, service: span(service), patience: span(patience) });
    }
    let mut roster = String::from("agent,from_s,to_s,skills\n");
    (0..agents).for_each(|no| writeln!(roster, "a{no},0,90000,booking:50").unwrap());
    let calls = Trace { calls };
    let ends = simulate(&calls, &Roster::parse(&roster).unwrap(), Router::Default, Duration::ZERO);
    let warm = Moment::from_secs(7_200);
    let (calls, ends): (Vec<_>, Vec<_>) = calls.calls.into_iter().zip(ends).filter(|(call, _)| call.at >= warm).unzip();
    let found = figures("", &Trace { calls }, &ends);
    (found.mean_wait_s, found.abandoned_share, found.sl20)
}

/// Within the 95 % interval, or nearly: one interval of twenty is wrong by right.
fn near(found: &Interval, expected: f64, slack: f64, place: &str) {
    assert!(
        found.half.is_finite() && (found.mean - expected).abs() <= found.half + slack,
        "{place}: {found:?} against {expected}"
    );
}

fn lived(seed: u64, days: u32) -> History {
    let rows = Generator { days, ..Generator::default() }.rows(seed);
    History::of_trace(&trace(&rows), Date::parse("2026-08-31").unwrap())
}

fn learnt(history: &History) -> Demand {
    let forecast = Forecast::learn(history).unwrap();
    let calls = (0..QUARTERS_PER_WEEK).map(|quarter| forecast.mean(quarter)).collect();
    Demand { calls, day_cv: forecast.day_cv, service_mean: 165.0, patience_mean: 446.0 }
}

fn flat_roster(days: u32) -> Roster {
    let mut text = String::from("agent,from_s,to_s,skills\n");
    for day in 0..days {
        let start = day * 86_400;
        for no in 0..29 {
            let hours = |hour: u32| start + hour * 3_600;
            writeln!(text, "d{no},{},{},booking:50", hours(7), hours(19)).unwrap();
            if no < 3 {
                writeln!(text, "n{no},{},{},booking:50\nn{no},{},{},booking:50", start, hours(7), hours(19), hours(24)).unwrap();
            }
        }
    }
    Roster::parse(&text).unwrap()
}

fn everything() -> Vec<(usize, u8)> {
    (0..5).map(|class| (class, 50)).collect()
}
