//! Key 9: the way to 103, and what happens if 103 is silent.

use crate::ear::hears_prompt;
use crate::line::{AGENT, ANSWERS, CITIZEN, Line, Plan, rejects, rings, they_talk};
use dozvon::testphone::{End, PhoneCall};

async fn call_103(line: &Line, from: &str) -> PhoneCall {
    let citizen = line.call(from);
    citizen.wait_answered().await.unwrap();
    citizen.press('9').await.unwrap();
    citizen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_9_leads_to_103_which_sees_our_number() {
    let line = Line::open(Plan::default()).await;
    let ambulance = line.phone_that(30, ANSWERS);
    let citizen = call_103(&line, "+73852000001").await;
    let talk = rings(&ambulance).await;
    they_talk(&citizen, &talk).await;
    assert!(talk.invite_header("From").unwrap().contains("+73852122122"), "{:?}", talk.invite_header("From"));
    talk.hang_up();
    assert_eq!(citizen.wait_ended().await.unwrap(), End::TheyHungUp);
    line.ended_as(&[("transferred_out", 1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c49_a_busy_103_is_reached_by_the_second_way() {
    let line = Line::open(Plan::default()).await;
    let (_busy, second) = (line.phone_that(30, rejects(486)), line.phone_that(31, ANSWERS));
    let citizen = call_103(&line, "+73852000001").await;
    let talk = rings(&second).await;
    they_talk(&citizen, &talk).await;
    citizen.hang_up();
    assert_eq!(talk.wait_ended().await.unwrap(), End::TheyHungUp);
    line.ended_as(&[("transferred_out", 1)]).await;
    let routes = line.calls().await[0]["routes"].as_array().unwrap().clone();
    let ways: Vec<_> = routes.iter().map(|route| (route["trunk"].clone(), route["end"].clone())).collect();
    assert_eq!(ways, [("ambulance".into(), "busy".into()), ("second".into(), "answered".into())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_reach_103_is_first_in_the_queue() {
    let line = Line::open(Plan::default()).await;
    let anna = line.phone_that(20, ANSWERS);
    let _busy = [30, 31].map(|host| line.phone_that(host, rejects(486)));
    let first = line.call_queue("+73852000001").await;
    let talk = rings(&anna).await;
    they_talk(&first, &talk).await;
    let patient = line.call_queue("+73852000002").await;
    line.stages("waiting", 1).await;
    let urgent = call_103(&line, "+73852000003").await;
    line.stages("waiting", 2).await;
    talk.hang_up();
    let talk = rings(&anna).await;
    assert!(talk.invite_header("From").unwrap().contains("+73852000003"));
    they_talk(&urgent, &talk).await;
    patient.hang_up();
    urgent.hang_up();
    line.board_shows("no live call", |board| board["live_calls"] == 0).await;
    let calls = line.calls().await;
    let urgent = calls.iter().find(|call| call["theme"] == "ambulance_failed").unwrap();
    assert_eq!((&urgent["outcome"], &urgent["urgent"]), (&"served".into(), &true.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_hands_the_talk_on_to_103() {
    let line = Line::open(Plan::default()).await;
    let (anna, ambulance) = (line.phone_that(20, ANSWERS), line.phone_that(30, ANSWERS));
    let (citizen, talk) = line.talks_with(&anna).await;
    line.post("/api/v1/agents/anna/transfer", serde_json::json!({ "route": "ambulance" })).await.unwrap();
    let on = rings(&ambulance).await;
    assert_eq!(talk.wait_ended().await.unwrap(), End::TheyHungUp);
    citizen.hears_tone(AGENT).await.unwrap();
    on.hears_tone(CITIZEN).await.unwrap();
    citizen.hang_up();
    on.wait_ended().await.unwrap();
    line.board_shows("no live call", |board| board["live_calls"] == 0).await;
    assert!(line.ledger().await.holds());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_handed_on_in_vain_hears_so_and_is_first_again() {
    let line = Line::open(Plan::default()).await;
    let anna = line.phone_that(20, ANSWERS);
    let _busy = [30, 31].map(|host| line.phone_that(host, rejects(486)));
    let (citizen, talk) = line.talks_with(&anna).await;
    let other = line.call_queue("+73852000002").await;
    line.stages("waiting", 1).await;
    line.post("/api/v1/agents/anna/transfer", serde_json::json!({ "route": "ambulance" })).await.unwrap();
    assert_eq!(talk.wait_ended().await.unwrap(), End::TheyHungUp);
    hears_prompt(&citizen, "apology").await;
    // Anna was free before 103 had refused, and took who waited.
    let talk = rings(&anna).await;
    they_talk(&other, &talk).await;
    other.hang_up();
    let talk = rings(&anna).await;
    they_talk(&citizen, &talk).await;
    citizen.hang_up();
    line.ended_as(&[("served", 2)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c49_no_answer_from_103_ends_in_time_and_the_second_way_rings() {
    let line = Line::open(Plan::default()).await;
    let (silent, second) = (line.phone(30), line.phone_that(31, ANSWERS));
    let citizen = call_103(&line, "+73852000001").await;
    let ring = rings(&silent).await;
    // The first way rings for five seconds.
    let talk = rings(&second).await;
    assert_eq!(ring.wait_ended().await.unwrap(), End::Cancelled);
    they_talk(&citizen, &talk).await;
    citizen.hang_up();
    line.ended_as(&[("transferred_out", 1)]).await;
}

/// The line's own script: out of hours nobody waits in a queue, but 103 is one key away as ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_hours_key_9_leads_to_103() {
    let line = Line::open(Plan { script: "122", closed: true, ..Plan::default() }).await;
    let ambulance = line.phone_that(30, ANSWERS);
    let citizen = line.call("+73852000001");
    hears_prompt(&citizen, "closed").await;
    citizen.press('9').await.unwrap();
    let talk = rings(&ambulance).await;
    they_talk(&citizen, &talk).await;
    talk.hang_up();
    line.ended_as(&[("transferred_out", 1)]).await;

    let other = line.call("+73852000002");
    hears_prompt(&other, "closed").await;
    other.hang_up();
    let ledger = line.ended_as(&[("transferred_out", 1), ("closed", 1)]).await;
    assert_eq!(ledger.open_callbacks, 0, "this region owes no callback out of hours");
}
