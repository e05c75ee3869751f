//! Citizens who are called back: first an agent's phone rings, then theirs, which stands at .15 behind the trunk.

use crate::ear::{hears, hears_music, hears_prompt, read_wav, seconds_of_tone};
use crate::engine::SOON;
use crate::line::{AGENT, ANSWERS, CITIZEN, Line, Plan, registers, rejects, rings, stands, they_talk};
use crate::sipp::Sipp;
use dozvon::testphone::{End, Phone, PhoneCall, Voice};
use serde_json::{Value, json};
use std::time::Duration;

const IVANOVA: &str = "+73852000001";

/// Anna's phone registers when a test wants her; by day and by night people may be called.
fn plan() -> Plan {
    Plan {
        agents: vec![registers("anna")],
        callbacks: "dial = true\nhours = [0, 24]\nring_s = 5\ngap_s = 900",
        script: "callbacks",
        recording: true,
        ..Plan::default()
    }
}

/// Ivanova waits in vain and hangs up.
async fn missed(line: &Line) {
    let citizen = line.call_queue(IVANOVA).await;
    line.stages("waiting", 1).await;
    line.wait_for("a wait that owes a call", SOON, async || {
        let board = line.board().await;
        (crate::line::longest_wait_ms(&board) > 1_100).then_some(())
    })
    .await;
    citizen.hang_up();
    line.ended_as(&[("abandoned_in_queue", 1)]).await;
}

async fn anna_comes(line: &Line) -> Phone {
    let anna = line.phone_that(20, ANSWERS);
    anna.register(line.net.engine(), "anna", crate::engine::PASSWORD).await.unwrap();
    anna
}

/// The citizen's phone rings.
async fn rings_at_home(home: &Phone) -> PhoneCall {
    let call = home.next_call(SOON).await.expect("the citizen is called back");
    call.say(Voice::Tone(CITIZEN));
    call.wait_ringing().await.unwrap();
    call
}

async fn callback_is(line: &Line, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    line.wait_for(&format!("the callback to be {what}"), SOON, async || {
        last = line.callbacks().await[0].clone();
        is(&last).then(|| last.clone())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c36_who_hung_up_is_called_by_a_free_agent_and_greeted_before_anything_is_recorded() {
    let line = Line::open(plan()).await;
    let home = line.phone(15);
    missed(&line).await;
    let missed_call = line.calls().await[0]["call"].clone();
    let anna = anna_comes(&line).await;
    let talk = rings(&anna).await;
    let story = talk.invite_header("X-Callback").expect("the agent is told the story");
    assert!(story.contains(";outcome=abandoned_in_queue;missed=1;at=20") && story.ends_with(";attempt=1"), "{story}");
    assert!(talk.invite_header("From").unwrap().contains(IVANOVA), "the agent is told whom");
    assert_eq!(talk.invite_header("X-Interaction-Id").as_deref(), missed_call.as_str());

    let ivanova = rings_at_home(&home).await;
    hears_music(&talk, CITIZEN).await;
    ivanova.answer();
    // The agent hears them at once, without a rest of the ringing; they hear the notice, then the agent.
    talk.hears_tone(CITIZEN).await.unwrap();
    hears_prompt(&ivanova, "callback-notice").await;
    they_talk(&ivanova, &talk).await;
    hears(&ivanova, "two seconds of the agent", |heard| seconds_of_tone(heard, AGENT) >= 2.0).await;
    callback_is(&line, "talked", |task| task["standing"] == "talking").await;
    ivanova.hang_up();
    assert_eq!(talk.wait_ended().await.unwrap(), End::TheyHungUp);

    let task = callback_is(&line, "closed", |task| task["closed"].is_string()).await;
    assert_eq!((&task["how"], &task["attempts"], &task["last_end"]), (&json!("reached"), &json!(1), &json!("reached")));
    let ledger = line.ended_as(&[("abandoned_in_queue", 1)]).await;
    assert_eq!((ledger.entered, ledger.open_callbacks), (1, 0), "a call that goes out is not entered");
    let out = line
        .wait_for("the recording of the call out to be closed", SOON, async || {
            let out = line.calls().await.into_iter().find(|call| call["callback"] == task["task"])?;
            out["recordings"].as_array()?.first()?["ended"].is_string().then_some(out)
        })
        .await;
    assert_eq!((&out["outcome"], &out["agent"], out["talks"].as_array().unwrap().len()), (&json!("served"), &json!("anna"), 1));
    let tape = line.folder().join("tape.wav");
    std::fs::write(&tape, line.get_bytes(&format!("/api/v1/recordings/{}", out["call"].as_str().unwrap())).await).unwrap();
    let [left, right] = read_wav(&tape).try_into().unwrap();
    assert!(seconds_of_tone(&left, CITIZEN) >= 1.5 && seconds_of_tone(&right, AGENT) >= 1.5);
    line.agent_is("anna", "ready", None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c36_a_busy_line_frees_the_agent_at_once_and_is_left_alone_for_the_gap() {
    let line = Line::open(Plan { wrap_up_s: 30, ..plan() }).await;
    let _home = line.phone_that(15, rejects(486));
    missed(&line).await;
    let anna = anna_comes(&line).await;
    let talk = rings(&anna).await;
    assert_eq!(talk.wait_ended().await.unwrap(), End::TheyHungUp);
    line.agent_is("anna", "ready", None).await;
    let task = callback_is(&line, "tried", |task| task["attempts"] == 1).await;
    assert_eq!((&task["last_end"], &task["standing"], &task["closed"]), (&json!("busy"), &json!("resting"), &Value::Null));
    let time = |at: &Value| at.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let gap = time(&task["next_attempt"]).duration_since(time(&task["last_attempt"]));
    assert_eq!(gap.as_secs(), 900, "{task:#}");
    line.ended_as(&[("abandoned_in_queue", 1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c36_a_phone_that_nobody_picks_up_stops_ringing() {
    let line = Line::open(plan()).await;
    let home = line.phone(15);
    missed(&line).await;
    let anna = anna_comes(&line).await;
    let talk = rings(&anna).await;
    let ivanova = rings_at_home(&home).await;
    assert_eq!(ivanova.wait_ended().await.unwrap(), End::Cancelled);
    assert_eq!(talk.wait_ended().await.unwrap(), End::TheyHungUp);
    callback_is(&line, "tried", |task| task["attempts"] == 1 && task["last_end"] == "no_answer").await;
    line.agent_is("anna", "ready", None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c36_a_trunk_that_is_gone_costs_the_citizen_no_attempt() {
    let line = Line::open(plan()).await;
    missed(&line).await;
    let anna = anna_comes(&line).await;
    rings(&anna).await.wait_ended().await.unwrap();
    let task = callback_is(&line, "tried", |task| task["last_end"] == "trunk_failed").await;
    assert_eq!((&task["attempts"], &task["standing"]), (&json!(0), &json!("resting")));
    line.agent_is("anna", "ready", None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c36_who_rings_up_while_they_are_dialled_is_not_called_any_more() {
    let line = Line::open(plan()).await;
    let home = line.phone(15);
    missed(&line).await;
    let anna = anna_comes(&line).await;
    let talk = rings(&anna).await;
    let at_home = rings_at_home(&home).await;
    // Within the time in which a place is kept, so without the menu.
    let ivanova = line.call(IVANOVA);
    assert_eq!(at_home.wait_ended().await.unwrap(), End::Cancelled);
    assert_eq!(talk.wait_ended().await.unwrap(), End::TheyHungUp);
    let talk = rings(&anna).await;
    assert_eq!(talk.invite_header("X-Callback"), None, "this is their own call");
    they_talk(&ivanova, &talk).await;
    callback_is(&line, "left alone", |task| task["standing"] == "on_the_line").await;
    ivanova.hang_up();
    let task = callback_is(&line, "closed", |task| task["closed"].is_string()).await;
    assert_eq!(task["how"], "got_through");
    line.ended_as(&[("abandoned_in_queue", 1), ("served", 1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c36_an_agent_who_leaves_during_the_dial_stops_it() {
    let line = Line::open(plan()).await;
    let home = line.phone(15);
    missed(&line).await;
    let anna = anna_comes(&line).await;
    let talk = rings(&anna).await;
    let ivanova = rings_at_home(&home).await;
    // Logging off waits for the end of what the agent does; hanging up ends it.
    line.post("/api/v1/agents/anna/state", json!({ "state": "offline" })).await.unwrap();
    talk.hang_up();
    assert_eq!(ivanova.wait_ended().await.unwrap(), End::Cancelled);
    callback_is(&line, "tried", |task| task["attempts"] == 1 && task["last_end"] == "agent_left").await;
    line.agent_is("anna", "offline", None).await;
    line.stages("recalling", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c36_a_machine_is_told_by_a_code_and_the_next_attempt_follows_the_rules() {
    let line = Line::open(Plan { wrap_up_s: 30, ..plan() }).await;
    let home = line.phone_that(15, ANSWERS);
    missed(&line).await;
    let anna = anna_comes(&line).await;
    let talk = rings(&anna).await;
    let machine = home.next_call(SOON).await.expect("the citizen is called back");
    machine.wait_answered().await.unwrap();
    callback_is(&line, "talked", |task| task["standing"] == "talking").await;
    talk.press('*').await.unwrap();
    // The first packet of the second key ends it.
    let _ = talk.press('5').await;
    assert_eq!(machine.wait_ended().await.unwrap(), End::TheyHungUp);
    assert_eq!(talk.wait_ended().await.unwrap(), End::TheyHungUp);
    line.agent_is("anna", "ready", None).await;
    let task = callback_is(&line, "tried", |task| task["attempts"] == 1).await;
    assert_eq!((&task["last_end"], &task["standing"]), (&json!("voicemail"), &json!("resting")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_keeps_the_place_is_called_before_who_came_later() {
    let line = Line::open(plan()).await;
    let home = line.phone_that(15, ANSWERS);
    let ivanova = line.call_queue(IVANOVA).await;
    line.stages("waiting", 1).await;
    let later = line.call_queue("+73852000002").await;
    line.stages("waiting", 2).await;
    let _ = ivanova.press('2').await;
    assert_eq!(ivanova.wait_ended().await.unwrap(), End::TheyHungUp);
    line.ended_as_so_far("callback_booked", 1).await;
    let task = callback_is(&line, "booked", |task| task["booking"] == "place").await;
    assert_eq!(
        (&task["outcome"], &task["theme"], &task["standing"]),
        (&json!("callback_booked"), &json!("booking"), &json!("waiting"))
    );
    assert!(task["promised"].is_string());

    let anna = anna_comes(&line).await;
    let talk = rings(&anna).await;
    assert!(talk.invite_header("X-Callback").unwrap().ends_with(";booked=place"));
    let ivanova = home.next_call(SOON).await.expect("the citizen is called back");
    ivanova.say(Voice::Tone(CITIZEN));
    they_talk(&ivanova, &talk).await;
    line.stages("waiting", 1).await;
    ivanova.hang_up();
    talk.wait_ended().await.unwrap();
    they_talk(&later, &rings(&anna).await).await;
    later.hang_up();
    let ledger = line.ended_as(&[("callback_booked", 1), ("served", 1)]).await;
    assert_eq!(ledger.open_callbacks, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_to_be_called_later_gives_way_to_the_line() {
    let line = Line::open(plan()).await;
    let home = line.phone_that(15, ANSWERS);
    let ivanova = line.call_queue(IVANOVA).await;
    line.stages("waiting", 1).await;
    let later = line.call_queue("+73852000002").await;
    line.stages("waiting", 2).await;
    let _ = ivanova.press('3').await;
    hears_prompt(&ivanova, "within").await;
    assert_eq!(ivanova.wait_ended().await.unwrap(), End::TheyHungUp);
    callback_is(&line, "booked", |task| task["booking"] == "later" && task["standing"] == "due").await;
    let anna = anna_comes(&line).await;
    let talk = rings(&anna).await;
    they_talk(&later, &talk).await;
    later.hang_up();
    let talk = rings(&anna).await;
    assert!(talk.invite_header("X-Callback").unwrap().ends_with(";booked=later"));
    let ivanova = home.next_call(SOON).await.expect("the citizen is called back");
    ivanova.say(Voice::Tone(CITIZEN));
    they_talk(&ivanova, &talk).await;
    talk.hang_up();
    line.ended_as(&[("callback_booked", 1), ("served", 1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hides_their_number_is_promised_nothing_and_stays_in_the_queue() {
    let line = Line::open(plan()).await;
    let _home = line.phone(15);
    let hidden = line.call_queue("anonymous").await;
    line.stages("waiting", 1).await;
    hidden.press('2').await.unwrap();
    let anna = anna_comes(&line).await;
    they_talk(&hidden, &rings(&anna).await).await;
    hidden.hang_up();
    line.ended_as(&[("served", 1)]).await;
    assert!(line.callbacks().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_drops_and_rings_again_has_the_place_and_no_menu() {
    let line = Line::open(Plan { agents: vec![registers("anna")], script: "callbacks", ..Plan::default() }).await;
    let ivanova = line.call_queue(IVANOVA).await;
    line.stages("waiting", 1).await;
    let later = line.call_queue("+73852000002").await;
    line.stages("waiting", 2).await;
    ivanova.hang_up();
    line.stages("waiting", 1).await;
    // No key is pressed.
    let ivanova = line.call(IVANOVA);
    line.stages("waiting", 2).await;
    let anna = anna_comes(&line).await;
    let talk = rings(&anna).await;
    they_talk(&ivanova, &talk).await;
    ivanova.hang_up();
    they_talk(&later, &rings(&anna).await).await;
    later.hang_up();
    line.ended_as_so_far("served", 2).await;
}

/// Media runs as a process of its own, which ends soon after a test that leaves it alone.
const APART: &str = "orphan_after_s = 5";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_a_callback_that_talks_talks_on_and_is_closed_once() {
    let mut line = Line::open(Plan { media: APART, ..plan() }).await;
    let home = line.phone_that(15, ANSWERS);
    missed(&line).await;
    let anna = anna_comes(&line).await;
    let talk = rings(&anna).await;
    let ivanova = home.next_call(SOON).await.expect("the citizen is called back");
    ivanova.say(Voice::Tone(CITIZEN));
    they_talk(&ivanova, &talk).await;
    line.errors_expected = true;
    line.kill9();
    line.restart().await;
    line.stages("talking", 1).await;
    for (call, tone) in [(&talk, 1500.0), (&ivanova, 2000.0)] {
        call.say(Voice::Tone(tone));
    }
    ivanova.hears_tone(1500.0).await.unwrap();
    talk.hears_tone(2000.0).await.unwrap();
    ivanova.hang_up();
    talk.wait_ended().await.unwrap();
    let task = callback_is(&line, "closed", |task| task["closed"].is_string()).await;
    assert_eq!((&task["how"], &task["attempts"]), (&json!("reached"), &json!(1)));
    assert_eq!(line.calls().await.iter().filter(|call| call["callback"].is_string()).count(), 1);
    assert!(home.next_call(Duration::from_secs(2)).await.is_none(), "nobody is called twice");
    line.ended_as(&[("abandoned_in_queue", 1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_a_citizen_who_was_being_dialled_is_not_dialled_twice() {
    let mut line = Line::open(Plan { media: APART, ..plan() }).await;
    let home = line.phone(15);
    missed(&line).await;
    let anna = anna_comes(&line).await;
    let talk = rings(&anna).await;
    let at_home = rings_at_home(&home).await;
    line.errors_expected = true;
    line.kill9();
    line.restart().await;
    // Their phone rings on, and the call is as if nothing had been.
    at_home.answer();
    hears_prompt(&at_home, "callback-notice").await;
    they_talk(&at_home, &talk).await;
    talk.hang_up();
    at_home.wait_ended().await.unwrap();
    let task = callback_is(&line, "closed", |task| task["closed"].is_string()).await;
    assert_eq!((&task["how"], &task["attempts"]), (&json!("reached"), &json!(1)));
    assert!(home.next_call(Duration::from_secs(2)).await.is_none(), "nobody is called twice");
    line.ended_as(&[("abandoned_in_queue", 1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_an_agent_who_was_asked_is_not_asked_twice_at_once() {
    let mut line = Line::open(Plan { media: APART, ring_s: 60, ..plan() }).await;
    let home = line.phone_that(15, ANSWERS);
    missed(&line).await;
    let anna = line.phone(20);
    anna.register(line.net.engine(), "anna", crate::engine::PASSWORD).await.unwrap();
    let asked = rings(&anna).await;
    asked.wait_ringing().await.unwrap();
    line.errors_expected = true;
    line.kill9();
    line.restart().await;
    asked.answer();
    asked.hears_sound().await.unwrap();
    let ivanova = home.next_call(SOON).await.expect("the citizen is called back");
    ivanova.say(Voice::Tone(CITIZEN));
    they_talk(&ivanova, &asked).await;
    ivanova.hang_up();
    let task = callback_is(&line, "closed", |task| task["closed"].is_string()).await;
    assert_eq!((&task["how"], &task["attempts"]), (&json!("reached"), &json!(1)));
    line.ended_as(&[("abandoned_in_queue", 1)]).await;
}

/// SIPp's citizens pick up in 60 % of cases; every one is called once, by the dice of SIPp reached, busy or out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c36_sipp_citizens_are_called_back_once_each() {
    const CITIZENS: u64 = 20;
    let agents = vec![stands("anna", 20), stands("boris", 21), stands("vera", 22)];
    let line = Line::open(Plan { agents, recording: false, ..plan() }).await;
    let homes = Sipp::play_calls(&line, "citizens_at_home", 15, &[], CITIZENS);
    give_up(&line, CITIZENS).await;
    // Only now somebody sits at the desks.
    let _phones = [20, 21, 22].map(|host| line.phone_that(host, ANSWERS));
    homes.succeeds(&line).await;
    let ends = line
        .wait_for("all to be tried", SOON, async || {
            let tasks = line.callbacks().await;
            let ends = ["reached", "busy", "no_answer"]
                .map(|end| tasks.iter().filter(|task| task["attempts"] == 1 && task["last_end"] == end).count() as u64);
            (ends.iter().sum::<u64>() == CITIZENS).then_some(ends)
        })
        .await;
    println!("of {CITIZENS} citizens reached {}, busy {}, out {}", ends[0], ends[1], ends[2]);
    assert!(ends[0] > 0);
    assert_eq!(line.ended_as(&[("abandoned_in_queue", CITIZENS)]).await.open_callbacks, CITIZENS - ends[0]);
}

/// So many citizens wait a second in vain.
async fn give_up(line: &Line, citizens: u64) {
    let mut waiting = Vec::new();
    for number in 0..citizens {
        waiting.push(line.call_queue(&format!("+738520001{number:02}")).await);
    }
    line.stages("waiting", waiting.len()).await;
    line.board_shows("waits that owe calls", |board| {
        let since = |call: &Value| call["stage_since_ms"].as_u64().unwrap();
        let last = board["calls"].as_array().unwrap().iter().map(since).max().unwrap();
        board["at_ms"].as_u64().unwrap() > last + 1_100
    })
    .await;
    waiting.iter().for_each(PhoneCall::hang_up);
    line.ended_as(&[("abandoned_in_queue", citizens)]).await;
}

/// Of ten citizens six pick up; every agent has at most one of them, every citizen at most one call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_of_ten_citizens_pick_up() {
    let agents = vec![stands("anna", 20), stands("boris", 21), stands("vera", 22)];
    let line = Line::open(Plan { agents, recording: false, ..plan() }).await;
    let home = line.phone(15);
    give_up(&line, 10).await;
    let _phones = [20, 21, 22].map(|host| line.phone_that(host, ANSWERS));
    for number in 0..10 {
        let call = home.next_call(Duration::from_secs(30)).await.expect("each is called");
        if number % 5 < 3 {
            call.answer()
        } else {
            call.reject(486)
        }
        if number % 5 < 3 {
            call.wait_answered().await.unwrap();
            call.hang_up();
        }
    }
    line.wait_for("all to be tried", SOON, async || {
        let tasks = line.callbacks().await;
        let ended = |end: &str| tasks.iter().filter(|task| task["attempts"] == 1 && task["last_end"] == end).count();
        (tasks.len() == 10 && (ended("reached"), ended("busy")) == (6, 4)).then_some(())
    })
    .await;
    assert_eq!(line.ended_as(&[("abandoned_in_queue", 10)]).await.open_callbacks, 4);
}
