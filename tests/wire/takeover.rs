//! Live calls in the hands of the engine's next life after kill -9.

use crate::ear::hears_music;
use crate::engine::SOON;
use crate::line::{AGENT, ANSWERS, CITIZEN, Line, Plan, rings, stands, they_talk};
use dozvon::testphone::{CallState, End, Voice};
use std::time::Duration;

/// Media runs as a process of its own, which ends soon after a test that leaves it alone.
const APART: &str = "orphan_after_s = 5";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c40_kill_9_takes_no_call_and_no_place() {
    let agents = vec![stands("anna", 20), stands("boris", 21), stands("vera", 22)];
    let mut line = Line::open(Plan { agents, owed_after_s: 0, media: APART, ..Plan::default() }).await;
    let phones = [20, 21, 22].map(|host| line.phone_that(host, ANSWERS));
    let mut talking = Vec::new();
    for number in 0..3 {
        talking.push(line.call_queue(&format!("+7385200000{number}")).await);
    }
    line.stages("talking", 3).await;
    let mut talks = Vec::new();
    for phone in &phones {
        talks.push(rings(phone).await);
    }
    let mut waiting = Vec::new();
    for number in 3..8 {
        waiting.push(line.call_queue(&format!("+7385200000{number}")).await);
        line.stages("waiting", waiting.len()).await;
    }
    let robot = [8, 9].map(|number| line.call(&format!("+7385200000{number}")));
    for call in &robot {
        call.wait_answered().await.unwrap();
    }
    line.stages("robot", 2).await;

    for (life, tone) in [(1, 2000.0), (2, 1500.0)] {
        line.kill9();
        line.restart().await;
        for (stage, calls) in [("talking", 3), ("waiting", 5), ("robot", 2)] {
            line.stages(stage, calls).await;
        }
        // Both ways: every citizen hears the agents' new voice, every agent the citizens' new one.
        for (citizen, agent) in talking.iter().zip(&talks) {
            agent.say(Voice::Tone(tone));
            citizen.say(Voice::Tone(tone + 100.0));
        }
        for call in &talking {
            call.hears_tone(tone).await.unwrap_or_else(|waited| panic!("life {life}: {waited}"));
        }
        for call in &talks {
            call.hears_tone(tone + 100.0).await.unwrap_or_else(|waited| panic!("life {life}: {waited}"));
        }
    }

    // Whoever waited longest is next, and the menu goes on where it was.
    talks[0].hang_up();
    let next = rings(&phones[0]).await;
    assert!(next.invite_header("From").unwrap().contains("+73852000003"), "{:?}", next.invite_header("From"));
    they_talk(&waiting[0], &next).await;
    robot[0].press('1').await.unwrap();
    line.stages("waiting", 5).await;

    robot[1].hang_up();
    for call in waiting.iter().skip(1).chain([&robot[0]]) {
        call.hang_up();
    }
    for call in talks.iter().skip(1).chain([&next]) {
        call.hang_up();
    }
    let ledger = line.ended_as(&[("served", 4), ("abandoned_in_menu", 1), ("abandoned_in_queue", 5)]).await;
    assert_eq!((ledger.entered, ledger.open_callbacks), (10, 6));
    for call in line.calls().await {
        assert_eq!(call["handoffs"].as_array().unwrap().len(), 1, "{call:#}");
    }
    // Nobody is left on the line.
    for call in talking.iter().chain(&talks) {
        call.wait_ended().await.unwrap();
    }
}

/// A phone that vanished while the engine was dead is found by its silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c41_who_vanished_while_the_engine_was_dead_is_found_and_owed_a_call() {
    let mut line = Line::open(Plan::default()).await;
    let anna = line.phone_that(20, ANSWERS);
    let (_citizen, talk) = line.talks_with(&anna).await;
    line.kill9();
    line.citizens.vanish();
    line.restart().await;
    line.stages("talking", 1).await;
    // Silence is told after ten seconds, and a probe is given up after 32 (RFC 3261 §17.1.2.2).
    let ledger = line
        .wait_for("the silence to be noticed", Duration::from_secs(60), async || {
            Some(line.ledger().await).filter(|ledger| ledger.live == 0)
        })
        .await;
    assert_eq!((ledger.outcomes["cut"], ledger.open_callbacks), (1, 1));
    talk.wait_ended().await.unwrap();
    line.agent_is("anna", "ready", None).await;
}

/// A talk, a second agent whose phone rings, and callers with the robot and in the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c40_after_kill_9_talks_go_on_and_who_waited_keeps_the_place() {
    let mut line = Line::open(Plan { ring_s: 60, ..Plan::default() }).await;
    let anna = line.phone_that(20, ANSWERS);
    let (citizen, talk) = line.talks_with(&anna).await;
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
    let (citizen, talk) = line.talks_with(&anna).await;
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
    let (citizen, _talk) = line.talks_with(&anna).await;
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

/// The citizen's exchange is gone when the engine comes back, and nothing is heard from it: the citizen is called back over the
/// trunk, and the agent stays on the line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c41_a_citizen_who_was_lost_with_the_exchange_is_called_back_to_the_same_agent() {
    let mut line = Line::open(Plan::default()).await;
    line.kill9();
    let home = line.net.at(15);
    line.configure(|config| {
        config.replace("name = \"city\"\n", &format!("name = \"city\"\ncontact = \"{home}\"\nwatch_s = 0\n"))
    });
    line.restart().await;
    let (anna, home) = (line.phone_that(20, ANSWERS), line.phone_that(15, ANSWERS));
    let (citizen, talk) = line.talks_with(&anna).await;

    line.kill9();
    let elsewhere = line.phone(16);
    drop((std::mem::replace(&mut line.citizens, elsewhere), citizen));
    line.restart().await;
    // Silence is told after ten seconds; the kernel says at once that nobody listens there any more.
    let again = home.next_call(Duration::from_secs(30)).await.expect("the citizen is called back");
    again.say(Voice::Tone(CITIZEN));
    they_talk(&again, &talk).await;
    again.hang_up();
    assert_eq!(talk.wait_ended().await.unwrap(), End::TheyHungUp);
    let ledger = line.ended_as(&[("served", 1)]).await;
    assert_eq!((ledger.entered, ledger.open_callbacks), (1, 0));
}
