//! What a queue's overflow list, its hours and a key do to who waits.

use crate::ear::{hears_music, hears_prompt};
use crate::engine::SOON;
use crate::line::{AGENT, ANSWERS, CITIZEN, Line, Plan, rejects, rings, they_talk};
use crate::wall;
use dozvon::testphone::{CallState, End};
use jiff::civil::time;
use jiff::tz::TimeZone;
use serde_json::Value;
use std::fs;
use std::time::Duration;

fn waiting_in(board: &Value, queue: &str) -> u64 {
    let queues = board["queues"].as_array().unwrap();
    queues.iter().find(|shown| shown["queue"] == queue).and_then(|shown| shown["waiting"].as_u64()).unwrap()
}

/// Also after a kill: the place in the other queue is in the journal like every other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waited_to_the_limit_is_served_in_the_other_queue() {
    let booking = "overflow = [{ waited_s = 1, then = { queue = \"quiet\" } }]";
    let mut line = Line::open(Plan { booking, ..Plan::default() }).await;
    let anna = line.phone_that(20, ANSWERS);
    let (first, talk) = line.talks_with(&anna).await;
    let second = line.call_queue("+73852000002").await;
    line.board_shows("the second in the other queue", |board| waiting_in(board, "quiet") == 1).await;
    line.kill9();
    line.restart().await;
    line.board_shows("the second in the other queue still", |board| waiting_in(board, "quiet") == 1).await;
    hears_music(&second, AGENT).await;
    talk.hang_up();
    first.wait_ended().await.unwrap();
    let talk = rings(&anna).await;
    assert_eq!(talk.invite_header("X-Queue").as_deref(), Some("quiet"));
    they_talk(&second, &talk).await;
    talk.hang_up();
    line.ended_as(&[("served", 2)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_is_on_duty_a_rule_dials_another_number() {
    let booking = "overflow = [{ no_agents = true, then = { route = \"ambulance\" } }]";
    let line = Line::open(Plan { agents: Vec::new(), booking, ..Plan::default() }).await;
    let other = line.phone_that(30, ANSWERS);
    let citizen = line.call_queue("+73852000001").await;
    let talk = rings(&other).await;
    citizen.hears_tone(AGENT).await.unwrap();
    talk.hears_tone(CITIZEN).await.unwrap();
    citizen.hang_up();
    talk.wait_ended().await.unwrap();
    line.ended_as(&[("transferred_out", 1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_the_other_number_does_not_answer_is_with_the_robot_again() {
    let booking = "overflow = [{ no_agents = true, then = { route = \"ambulance\" } }]";
    let line = Line::open(Plan { agents: Vec::new(), booking, ..Plan::default() }).await;
    let _busy = [30, 31].map(|host| line.phone_that(host, rejects(486)));
    let citizen = line.call_queue("+73852000001").await;
    hears_prompt(&citizen, "wrong-key").await;
    assert_eq!(citizen.wait_ended().await.unwrap(), End::TheyHungUp);
    line.ended_as(&[("blocked", 1)]).await;
}

/// `booking` lets go at its end, `quiet` serves who waits; to neither comes anybody after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_close_over_who_waits_as_each_says() {
    let booking = "calendar = \"day\"\nat_closing = \"overflow\"";
    let mut line = Line::open(Plan { booking, quiet: "calendar = \"day\"", ..Plan::default() }).await;
    line.kill9();
    let step = line.folder().join("wall-step");
    line.environment = vec![("LD_PRELOAD", wall::shim(line.folder())), ("WALL_STEP", step.clone())];
    // Nine seconds before the end of the hours, by the wall of the region.
    let moscow = TimeZone::get("Europe/Moscow").unwrap();
    let now = jiff::Timestamp::now();
    let evening = now.to_zoned_datetime(moscow).with().time(time(19, 59, 51, 0)).build().unwrap().timestamp();
    fs::write(&step, (evening.as_second() - now.as_second()).to_string()).unwrap();
    line.restart().await;
    let anna = line.phone_that(20, ANSWERS);
    let (first, talk) = line.talks_with(&anna).await;
    let let_go = line.call_queue("+73852000002").await;
    let finished = line.call("+73852000003");
    finished.wait_answered().await.unwrap();
    finished.press('2').await.unwrap();
    line.board_shows("both waiting", |board| waiting_in(board, "quiet") == 1 && waiting_in(board, "booking") == 1).await;

    let end = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            if let Ok(end) = let_go.wait_ended().await {
                return end;
            }
        }
    });
    assert_eq!(end.await.expect("the queue closes"), End::TheyHungUp);
    assert_eq!(finished.state(), CallState::Answered);
    line.board_shows("one waiting", |board| waiting_in(board, "quiet") == 1 && waiting_in(board, "booking") == 0).await;
    let late = line.call("+73852000004");
    late.wait_answered().await.unwrap();
    late.press('2').await.unwrap();
    assert_eq!(late.wait_ended().await.unwrap(), End::TheyHungUp);
    talk.hang_up();
    first.wait_ended().await.unwrap();
    let talk = rings(&anna).await;
    they_talk(&finished, &talk).await;
    talk.hang_up();
    line.ended_as(&[("served", 2), ("closed", 2)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_cuts_an_announcement_short_and_the_music_goes_on() {
    // By then the first music is no longer among what was heard of late.
    let booking = "overflow = [{ waited_s = 6, then = { say = \"all-busy\" } }]";
    let line = Line::open(Plan { agents: Vec::new(), booking, ..Plan::default() }).await;
    let citizen = line.call_queue("+73852000001").await;
    hears_prompt(&citizen, "all-busy").await;
    citizen.press('5').await.unwrap();
    hears_prompt(&citizen, "music").await;
    line.stages("waiting", 1).await;
    citizen.hang_up();
    line.wait_for("the end of the call", SOON, async || (line.ledger().await.live == 0).then_some(())).await;
}

/// The rule leads to the script's callback node; who has a number is told by when, and is owed the call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_promises_a_callback_in_place_of_the_wait() {
    let booking = "overflow = [{ waited_s = 1, then = \"promise_callback\" }]";
    let callbacks = "dial = true\nhours = [0, 24]";
    let line = Line::open(Plan { agents: Vec::new(), booking, callbacks, script: "callbacks", ..Plan::default() }).await;
    let citizen = line.call_queue("+73852000001").await;
    hears_prompt(&citizen, "within").await;
    assert_eq!(citizen.wait_ended().await.unwrap(), End::TheyHungUp);
    let ledger = line.ended_as(&[("callback_booked", 1)]).await;
    assert_eq!(ledger.open_callbacks, 1);
    assert_eq!(line.callbacks().await[0]["booking"], "later");
}
