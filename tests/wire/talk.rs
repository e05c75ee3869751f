//! A talk from the menu to the last word: keys, hold, and who hangs up when.

use crate::ear::hears_music;
use crate::engine::SOON;
use crate::line::{AGENT, ANSWERS, CITIZEN, Line, Plan, longest_wait_ms, rings, they_talk};
use dozvon::testphone::{CallState, End};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agent_hangs_up_and_the_citizen_was_served() {
    let line = Line::open(Plan::default()).await;
    let anna = line.phone_that(20, ANSWERS);
    let (citizen, talk) = line.talks_with(&anna).await;
    assert!(talk.invite_header("From").unwrap().contains("+73852000001"));
    assert_eq!(talk.invite_header("X-Queue").as_deref(), Some("booking"));
    talk.hang_up();
    assert_eq!(citizen.wait_ended().await.unwrap(), End::TheyHungUp);
    line.ended_as(&[("served", 1)]).await;

    let calls = line.calls().await;
    assert_eq!(
        (&calls[0]["queue"], &calls[0]["theme"], &calls[0]["agent"]),
        (&"booking".into(), &"booking".into(), &"anna".into())
    );
    assert_eq!(talk.invite_header("X-Interaction-Id").as_deref(), calls[0]["call"].as_str());
    let held = line
        .wait_for("the booking core to hold the case", SOON, async || {
            let held = line.get("/api/v1/core/handoffs").await.unwrap();
            held["handoffs"].as_array().unwrap().first().cloned()
        })
        .await;
    assert_eq!(held["call"], calls[0]["call"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_citizen_hangs_up_and_was_served() {
    let line = Line::open(Plan::default()).await;
    let anna = line.phone_that(20, ANSWERS);
    let citizen = line.call("+73852000001");
    citizen.wait_answered().await.unwrap();
    citizen.press_info('0').await.unwrap();
    let talk = rings(&anna).await;
    they_talk(&citizen, &talk).await;
    citizen.hang_up();
    assert_eq!(talk.wait_ended().await.unwrap(), End::TheyHungUp);
    line.ended_as(&[("served", 1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_held_hears_music_and_then_the_voice_again() {
    let line = Line::open(Plan::default()).await;
    let anna = line.phone_that(20, ANSWERS);
    let (citizen, talk) = line.talks_with(&anna).await;

    talk.hold().await.unwrap();
    hears_music(&citizen, AGENT).await;
    talk.resume().await.unwrap();
    they_talk(&citizen, &talk).await;

    citizen.hold().await.unwrap();
    hears_music(&talk, CITIZEN).await;
    citizen.resume().await.unwrap();
    they_talk(&citizen, &talk).await;

    talk.hang_up();
    citizen.wait_ended().await.unwrap();
    line.ended_as(&[("served", 1)]).await;
}

/// Each side may hold the other: whoever comes back alone hears music until the other comes back too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_hold_and_each_comes_back_in_turn() {
    let line = Line::open(Plan::default()).await;
    let anna = line.phone_that(20, ANSWERS);
    let (citizen, talk) = line.talks_with(&anna).await;
    talk.hold().await.unwrap();
    hears_music(&citizen, AGENT).await;
    citizen.hold().await.unwrap();
    citizen.heard_silence().await.unwrap();
    citizen.resume().await.unwrap();
    hears_music(&citizen, AGENT).await;
    talk.resume().await.unwrap();
    they_talk(&citizen, &talk).await;
    citizen.hang_up();
    line.ended_as(&[("served", 1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hung_up_in_the_menu_is_abandoned_there() {
    let line = Line::open(Plan::default()).await;
    let citizen = line.call("+73852000001");
    citizen.wait_answered().await.unwrap();
    citizen.hears_sound().await.unwrap();
    citizen.hang_up();
    line.ended_as(&[("abandoned_in_menu", 1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_during_an_early_announcement_is_a_cancelled_call() {
    let line = Line::open(Plan::default()).await;
    let citizen = line.call_number("627766", "+73852000001");
    citizen.wait_ringing().await.unwrap();
    citizen.hears_sound().await.unwrap();
    assert_eq!(citizen.state(), CallState::Ringing, "early media is no answer");
    citizen.cancel();
    assert_eq!(citizen.wait_ended().await.unwrap(), End::Cancelled);
    assert_eq!(line.ended_as(&[("cancelled", 1)]).await.open_callbacks, 0);
}

/// The CANCEL leaves at the first provisional answer, while our 200 is on its way: whoever wins, the call ends on both sides.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_that_races_the_answer_ends_the_call_either_way() {
    let line = Line::open(Plan::default()).await;
    for number in 0..20 {
        let citizen = line.call(&format!("+7385200{number:04}"));
        citizen.cancel();
        let end = citizen.wait_ended().await.unwrap();
        assert!(matches!(end, End::Cancelled | End::WeHungUp), "{end:?}");
    }
    line.board_shows("no live call", |board| board["live_calls"] == 0).await;
    let ledger = line.ledger().await;
    assert!(ledger.holds() && ledger.entered == 20, "{ledger:?}");
    let ended = |outcome: &str| ledger.outcomes.get(outcome).copied().unwrap_or_default();
    assert_eq!(ended("cancelled") + ended("abandoned_in_menu"), 20, "{ledger:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_left_the_queue_is_owed_one_callback_until_served() {
    let line = Line::open(Plan::default()).await;
    // Anna's phone rings on and on.
    let anna = line.phone(20);
    for misses in 1..=2 {
        let citizen = line.call_queue("+73852000001").await;
        let ring = rings(&anna).await;
        // Of this call: the place in the queue is that of the first.
        let waited = |board: &Value| board["at_ms"].as_u64().unwrap() - board["calls"][0]["stage_since_ms"].as_u64().unwrap();
        line.board_shows("a wait longer than queue_after_s", |board| waited(board) > 1100).await;
        citizen.hang_up();
        ring.wait_ended().await.unwrap();
        let ledger = line.ended_as(&[("abandoned_in_queue", misses)]).await;
        assert_eq!(ledger.open_callbacks, 1);
        let callbacks = line.callbacks().await;
        assert_eq!((callbacks.len(), &callbacks[0]["misses"]), (1, &misses.into()));
    }
    let citizen = line.call_queue("+73852000001").await;
    let ring = rings(&anna).await;
    ring.answer();
    they_talk(&citizen, &ring).await;
    citizen.hang_up();
    let ledger = line.ended_as(&[("abandoned_in_queue", 2), ("served", 1)]).await;
    assert_eq!(ledger.open_callbacks, 0);
    let callbacks = line.callbacks().await;
    assert_eq!((callbacks.len(), &callbacks[0]["how"]), (1, &"got_through".into()));
}

/// The citizen goes in the very moment in which the agent answers: both are free again, whoever was first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hang_up_that_races_the_agents_answer_frees_both() {
    let line = Line::open(Plan::default()).await;
    let anna = line.phone(20);
    for number in 0..12 {
        let citizen = line.call_queue(&format!("+7385200{number:04}")).await;
        let ring = rings(&anna).await;
        if number % 2 == 0 {
            ring.answer();
            citizen.hang_up();
        } else {
            citizen.hang_up();
            ring.answer();
        }
        ring.wait_ended().await.unwrap();
        line.agent_is("anna", "ready", None).await;
    }
    line.board_shows("no live call", |board| board["live_calls"] == 0).await;
    let ledger = line.ledger().await;
    assert!(ledger.holds() && ledger.entered == 12, "{ledger:?}");
    assert_eq!(ledger.outcomes["served"] + ledger.outcomes["abandoned_in_queue"], 12, "{ledger:?}");
}

/// Whoever takes the task is told the number, and the person is owed nothing once it is closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missed_citizen_is_called_back() {
    let line = Line::open(Plan { agents: Vec::new(), ..Plan::default() }).await;
    let citizen = line.call_queue("83852000001").await;
    line.board_shows("a wait longer than queue_after_s", |board| longest_wait_ms(board) > 1100).await;
    citizen.hang_up();
    line.ended_as(&[("abandoned_in_queue", 1)]).await;
    let task = line.callbacks().await[0].clone();
    assert!(!task.to_string().contains("3852000001"), "the list shows no number: {task}");
    let path = |what: &str| format!("/api/v1/callbacks/{}/{what}", task["task"].as_str().unwrap());
    let told = line.post_for(&path("take"), json!({ "agent": "anna" })).await.unwrap();
    assert!(told.to_string().contains("+73852000001"), "{told}");
    line.post(&path("close"), json!({ "how": "reached" })).await.unwrap();
    assert_eq!(line.ledger().await.open_callbacks, 0);
}
