//! `dozvon generate`, `simulate`, `replay` and `staff` as programs: files in, files and Russian tables out, mistakes named.

use dozvon::clock::Moment;
use dozvon::facts::{AgentStateName, Fact, OfferEnd, Outcome, Party};
use dozvon::ids::{AgentId, CallId, OfferId, QueueId, RegionId};
use dozvon::journal::{Body, Journal, Limits, Record};
use dozvon::simulate::{Roster, Trace};
use std::path::Path;
use std::process::{Command, Output};
use uuid::Uuid;

const SEATS: &str = "agent,from_s,to_s,skills\n";
const ALL: &str = "booking:50|consultation:50|home_visit:50|urgent:50|other:50";

#[test]
fn a_week_is_made_up_planned_and_played() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    told(&["generate", "--days", "28", "--seed", "3", "--out", &at("past.csv.gz")], "Вызовов: ");
    told(&["generate", "--seed", "4", "--out", &at("week.csv")], "Вызовов: ");
    assert!(Trace::parse(&std::fs::read_to_string(at("week.csv")).unwrap()).unwrap().calls.len() > 30_000);

    let plan = ["staff", "plan", "--trace", &at("past.csv.gz"), "--operator-hours", "2688", "--roster", &at("shifts.csv")];
    let more = ["--json", &at("plan.json"), "--picture", &at("plan.svg")];
    let table = told(&[plan.as_slice(), more.as_slice()].concat(), "Операторо-часов в неделю       2688");
    assert!(table.contains("Смены (начало, часов × человек)") && table.contains("Людей в штате"), "{table}");
    let plan = json(&at("plan.json"));
    assert_eq!((plan["operator_hours"].as_f64(), plan["quarters"]["on_duty"].as_array().unwrap().len()), (Some(2_688.0), 672));

    let played = ["simulate", "--trace", &at("week.csv"), "--roster", &at("shifts.csv"), "--policy", "pooled"];
    told(&[played.as_slice(), &["--json", &at("out.json"), "--picture", &at("week.svg")]].concat(), "");
    let wait = json(&at("out.json"))["mean_wait_s"].as_f64().unwrap();
    assert!(wait < 20.0, "{wait} s with 8-hour shifts instead of 41");
    for picture in ["plan.svg", "week.svg"] {
        assert!(std::fs::read_to_string(at(picture)).unwrap().contains("Операторы"));
    }

    let seeds = ["simulate", "--seeds", "3", "--days", "1", "--roster", &at("shifts.csv"), "--json", &at("seeds.json")];
    let table = told(&seeds, "прогонов: 3");
    assert!(table.contains("Худшая тема к её цели"), "{table}");
    let seeds = json(&at("seeds.json"));
    assert!(seeds["calls"]["half"].as_f64().unwrap() > 10.0 && seeds["classes"]["urgent"]["mean_wait_s"]["mean"].is_f64());
}

#[test]
fn counts_are_forecast_and_forecasts_judged() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    let mut counts = String::from("start,calls\n");
    for day in 1..=28 {
        for hour in 8..20 {
            // Weekdays twice as busy as weekends; 2026-06-01 is a Monday.
            let calls = if (day - 1) % 7 < 5 { 100 } else { 50 } + (day * 7 + hour * 3) % 11;
            counts += &format!("2026-06-{day:02}T{hour:02}:00,{calls}\n");
        }
    }
    std::fs::write(at("counts.csv"), counts).unwrap();
    let forecast = ["staff", "forecast", "--arrivals", &at("counts.csv"), "--days", "2", "--csv", &at("coming.csv")];
    told(&[forecast.as_slice(), &["--picture", &at("coming.svg")]].concat(), "2026-06-29 пн");
    let coming = std::fs::read_to_string(at("coming.csv")).unwrap();
    let row = coming.lines().find(|row| row.starts_with("2026-06-29T10:15,")).unwrap();
    let [mean, low, high] = [1, 2, 3].map(|cell| row.split(',').nth(cell).unwrap().parse::<f64>().unwrap());
    assert!((mean - 26.25).abs() < 1.5 && low < mean && mean < high, "{row}");
    assert_eq!(coming.lines().count(), 1 + 2 * 96);
    let backtest = ["staff", "backtest", "--arrivals", &at("counts.csv"), "--days", "7", "--json", &at("backtest.json")];
    told(&backtest, "Ошибка за 60 минут, %");
    assert!(json(&at("backtest.json"))["wape_step"].as_f64().unwrap() < 0.06);

    refused(&["staff", "backtest", "--arrivals", &at("counts.csv"), "--days", "28"], "nothing lies before the last 28 days");
    refused(&["staff", "plan", "--arrivals", &at("counts.csv"), "--shifts", "30"], "--shifts are hours from 0.25 to 24");
    refused(&["staff", "plan", "--arrivals", &at("none.csv")], "none.csv");
    refused(&["generate", "--redial-share", "0.5", "--out", &at("x.csv")], "name them with --roster");
    refused(&["generate", "--weekdays", "1,2", "--out", &at("x.csv")], "--weekdays wants 7 weights");
}

/// A morning of one agent: four callers, of whom the third gave up; then the same with one agent more.
#[test]
fn yesterday_is_played_again_with_one_agent_more() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    // 2026-06-01, 10:00 in Barnaul.
    let start = 1_780_282_800;
    let (agent, region, queue) = (AgentId::from("op"), RegionId(22), QueueId::from("booking"));
    let is = |state| Fact::AgentChanged { agent: agent.clone(), region, state, reason: None };
    let call = |no: u64| CallId(Uuid::from_u128(u128::from(no)));
    let enters = |no| Fact::QueueEntered { call: call(no), queue: queue.clone(), priority: 0, urgent: false };
    let mut facts = vec![(0, is(AgentStateName::Ready))];
    for (no, entered, answered, ended) in [(1, 10, 10, 110), (2, 20, 110, 170), (4, 40, 170, 200)] {
        let offer = OfferId(no);
        facts.push((entered, enters(no)));
        facts.push((
            answered,
            Fact::OfferMade { offer, call: call(no), agent: agent.clone(), queue: queue.clone(), why: String::new() },
        ));
        facts.push((answered, Fact::OfferEnded { offer, end: OfferEnd::Answered }));
        facts.push((answered, Fact::TalkStarted { call: call(no), agent: agent.clone(), queue: queue.clone() }));
        facts.push((ended, Fact::TalkEnded { call: call(no), agent: agent.clone(), by: Party::Citizen }));
    }
    facts.push((30, enters(3)));
    facts.push((90, Fact::CallEnded { call: call(3), outcome: Outcome::AbandonedInQueue }));
    facts.push((3_600, is(AgentStateName::Offline)));
    facts.sort_by_key(|(secs, _)| *secs);
    let (mut journal, _) = Journal::open(home.path().join("journal"), Limits::FACTS).unwrap();
    for (secs, fact) in facts {
        journal.append(&Record { at: Moment::from_secs(start + secs), body: Body::Fact(fact) });
    }
    journal.commit().unwrap();
    drop(journal);

    let day = ["replay", "--config", "config/example.toml", "--from", "2026-06-01", "--to", "2026-06-01"];
    let changes = ["--agents", "+1", "--policy", "fifo", "--json", &at("out.json"), "--picture", &at("day.svg")];
    let files = ["--trace", &at("day.csv"), "--roster", &at("seats.csv")];
    let run = dozvon(&[day.as_slice(), &changes, &files].concat(), Some(home.path()));
    let table = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert!(table.contains("вызовов 4, операторов 1") && table.contains("+1 оп., правило fifo"), "{table}");
    let told = json(&at("out.json"));
    // 0 + 90 + 60 + 130 seconds.
    assert_eq!((told["lived"]["mean_wait_s"].as_f64(), told["lived"]["abandoned_share"].as_f64()), (Some(70.0), Some(0.25)));
    assert_eq!(
        (told["replayed"]["mean_wait_s"].as_f64(), told["replayed"]["abandoned_share"].as_f64()),
        (Some(70.0), Some(0.25))
    );
    // Two agents: 10→110, 20→80, who gave up waits for 80, the fourth is next.
    assert_eq!(told["changed"]["abandoned_share"].as_f64(), Some(0.0));
    assert!(told["changed"]["mean_wait_s"].as_f64().unwrap() < 50.0, "{told}");
    assert_eq!(Trace::parse(&std::fs::read_to_string(at("day.csv")).unwrap()).unwrap().calls.len(), 4);
    let roster = Roster::parse(&std::fs::read_to_string(at("seats.csv")).unwrap()).unwrap();
    assert_eq!((roster.agents, roster.seats.len()), (vec!["op".to_owned()], 1));

    let nobody =
        dozvon(&["replay", "--config", "config/example.toml", "--from", "2026-06-02", "--to", "2026-06-02"], Some(home.path()));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("nobody waited in that span"));
    let strange = dozvon(&[day.as_slice(), &["--class", "booking=dentist"]].concat(), Some(home.path()));
    assert!(String::from_utf8_lossy(&strange.stderr).contains("no class `dentist`; there are booking, consultation"));
}

#[test]
fn who_gives_up_on_a_roster_is_in_the_trace_again() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    let seats: String = (0..20).map(|no| format!("a{no},0,100000,{ALL}\n")).collect();
    std::fs::write(at("seats.csv"), SEATS.to_owned() + &seats).unwrap();
    let day = ["generate", "--days", "1", "--seed", "2", "--roster", &at("seats.csv"), "--redial-share"];
    told(&[day.as_slice(), &["0", "--out", &at("once.csv")]].concat(), "Вызовов: ");
    told(&[day.as_slice(), &["0.5", "--out", &at("again.csv")]].concat(), "Вызовов: ");
    let [once, again] = ["once.csv", "again.csv"].map(|name| std::fs::read_to_string(at(name)).unwrap().lines().count());
    assert!(again > once + 500, "{once} calls, {again} with redials");
}

/// What it printed, which contains `expected`.
fn told(arguments: &[&str], expected: &str) -> String {
    let run = dozvon(arguments, None);
    let printed = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
    assert!(printed.contains(expected), "{arguments:?}: {printed}");
    printed
}

fn refused(arguments: &[&str], expected: &str) {
    let run = dozvon(arguments, None);
    let printed = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(!run.status.success() && printed.contains(expected), "{arguments:?}: {printed}");
}

fn dozvon(arguments: &[&str], data: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dozvon"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    if let Some(data) = data {
        command.env("DOZVON_DATA", data);
    }
    command.output().unwrap()
}

fn json(path: &str) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
