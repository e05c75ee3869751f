//! Live calls in the hands of the engine's next life after kill -9.

use crate::ear::hears_music;
use crate::engine::SOON;
use crate::line::{AGENT, ANSWERS, Line, Plan, rings, stands, they_talk};
use dozvon::testphone::{CallState, End};

/// A talk, a second agent whose phone rings, and callers with the robot and in the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c40_after_kill_9_talks_go_on_and_who_waited_keeps_the_place() {
    let mut line = Line::open(Plan { ring_s: 60, ..Plan::default() }).await;
    let anna = line.phone_that(20, ANSWERS);
    let citizen = line.call_queue("+73852000001").await;
    let talk = rings(&anna).await;
    they_talk(&citizen, &talk).await;
    let mut waiting = Vec::new();
    for number in 2..5 {
        waiting.push(line.call_queue(&format!("+7385200000{number}")).await);
        line.stages("waiting", number - 1).await;
    }
    let in_menu = line.call("+73852000009");
    in_menu.wait_answered().await.unwrap();
    line.stages("robot", 1).await;

    line.kill9();
    line.restart().await;
    line.stages("talking", 1).await;
    line.stages("waiting", 3).await;
    line.stages("robot", 1).await;
    they_talk(&citizen, &talk).await;
    for call in &waiting {
        hears_music(call, AGENT).await;
    }
    line.agent_is("anna", "talking", None).await;

    // The places are as they were: each talk that ends brings the next in the order of arrival.
    citizen.hang_up();
    assert_eq!(talk.wait_ended().await.unwrap(), End::TheyHungUp);
    for (place, call) in waiting.iter().enumerate() {
        let talk = rings(&anna).await;
        let from = talk.invite_header("From").unwrap();
        assert!(from.contains(&format!("+7385200000{}", place + 2)), "{from}");
        they_talk(call, &talk).await;
        talk.hang_up();
        assert_eq!(call.wait_ended().await.unwrap(), End::TheyHungUp);
    }
    // And the robot listens where it stood.
    in_menu.press('1').await.unwrap();
    they_talk(&in_menu, &rings(&anna).await).await;
    in_menu.hang_up();
    let ledger = line.ended_as(&[("served", 5)]).await;
    assert_eq!((ledger.entered, ledger.open_callbacks), (5, 0));
}

/// The caller who left while nobody was there to hear it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c40_who_hung_up_while_the_engine_was_dead_has_an_outcome_of_their_own() {
    let mut line = Line::open(Plan { agents: Vec::new(), ..Plan::default() }).await;
    let stays = line.call_queue("+73852000001").await;
    let leaves = line.call_queue("+73852000002").await;
    line.stages("waiting", 2).await;
    line.kill9();
    // The BYE is repeated until the next life answers it.
    leaves.hang_up();
    line.restart().await;
    line.ended_as_so_far("abandoned_in_queue", 1).await;
    line.stages("waiting", 1).await;
    assert_eq!(stays.state(), CallState::Answered);
    stays.hang_up();
    line.ended_as(&[("abandoned_in_queue", 2)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c41_after_kill_9_a_hang_up_from_either_side_ends_both() {
    let mut line = Line::open(Plan { agents: vec![stands("anna", 20), stands("boris", 21)], ..Plan::default() }).await;
    let (anna, boris) = (line.phone_that(20, ANSWERS), line.phone_that(21, ANSWERS));
    let mut phones = [&anna, &boris];
    let mut talks = Vec::new();
    for number in ["+73852000001", "+73852000002"] {
        let citizen = line.call_queue(number).await;
        let (at, agent) = tokio::select! {
            talk = rings(phones[0]) => (0, talk),
            talk = rings(phones[1]) => (1, talk),
        };
        they_talk(&citizen, &agent).await;
        phones.rotate_left(at + 1);
        talks.push((citizen, agent));
    }
    let [(first, of_first), (second, of_second)] = talks.as_slice() else { panic!("two talks") };
    line.kill9();
    line.restart().await;
    line.stages("talking", 2).await;
    first.hang_up();
    assert_eq!(of_first.wait_ended().await.unwrap(), End::TheyHungUp);
    of_second.hang_up();
    assert_eq!(second.wait_ended().await.unwrap(), End::TheyHungUp);
    line.ended_as(&[("served", 2)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c41_a_held_talk_is_held_after_kill_9_and_can_be_resumed() {
    let mut line = Line::open(Plan::default()).await;
    let anna = line.phone_that(20, ANSWERS);
    let citizen = line.call_queue("+73852000001").await;
    let talk = rings(&anna).await;
    they_talk(&citizen, &talk).await;
    talk.hold().await.unwrap();
    hears_music(&citizen, AGENT).await;
    line.kill9();
    line.restart().await;
    line.stages("talking", 1).await;
    hears_music(&citizen, AGENT).await;
    talk.resume().await.unwrap();
    they_talk(&citizen, &talk).await;
    // Held and resumed anew: CSeq and session version go on where the former life was.
    talk.hold().await.unwrap();
    hears_music(&citizen, AGENT).await;
    talk.resume().await.unwrap();
    they_talk(&citizen, &talk).await;
    citizen.hang_up();
    assert_eq!(talk.wait_ended().await.unwrap(), End::TheyHungUp);
    line.ended_as(&[("served", 1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c41_a_talk_handed_on_to_103_survives_kill_9() {
    let mut line = Line::open(Plan::default()).await;
    let (anna, ambulance) = (line.phone_that(20, ANSWERS), line.phone_that(30, ANSWERS));
    let citizen = line.call_queue("+73852000001").await;
    let talk = rings(&anna).await;
    they_talk(&citizen, &talk).await;
    line.post("/api/v1/agents/anna/transfer", serde_json::json!({ "route": "ambulance" })).await.unwrap();
    let on = rings(&ambulance).await;
    they_talk(&citizen, &on).await;
    line.kill9();
    line.restart().await;
    they_talk(&citizen, &on).await;
    on.hang_up();
    assert_eq!(citizen.wait_ended().await.unwrap(), End::TheyHungUp);
    line.wait_for("the end of the call", SOON, async || (line.ledger().await.live == 0).then_some(())).await;
    assert!(line.ledger().await.holds());
}
