//! Several phones ring for one caller: who answers first talks, and nobody else has missed anything.

use crate::engine::SOON;
use crate::line::{Line, Plan, rings, stands, they_talk};
use dozvon::testphone::{CallState, End, OnInvite, Phone, PhoneCall};
use std::time::Duration;

fn two_ring() -> Plan {
    Plan { agents: vec![stands("anna", 20), stands("boris", 21)], booking: "ring_at_once = 2", ..Plan::default() }
}

async fn both_ring(line: &Line) -> (PhoneCall, [(Phone, PhoneCall); 2]) {
    let (anna, boris) = (line.phone_that(20, OnInvite::Ring), line.phone_that(21, OnInvite::Ring));
    let citizen = line.call_queue("+73852000001").await;
    let (at_anna, at_boris) = (rings(&anna).await, rings(&boris).await);
    (citizen, [(anna, at_anna), (boris, at_boris)])
}

async fn was_called_off(call: &PhoneCall) {
    assert_eq!(call.wait_ended().await.unwrap(), End::Cancelled);
    let reason = call.view().reason.unwrap_or_default();
    assert!(reason.contains("cause=200") && reason.contains("Call completed elsewhere"), "{reason}");
}

async fn nobody_missed(line: &Line) {
    for agent in ["anna", "boris"] {
        assert_eq!(line.agent(agent).await["missed"], 0, "{agent}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_to_answer_has_the_caller_and_the_others_are_told_why_it_stops() {
    let line = Line::open(two_ring()).await;
    let (citizen, [(_anna, at_anna), (_boris, at_boris)]) = both_ring(&line).await;
    at_boris.answer();
    they_talk(&citizen, &at_boris).await;
    was_called_off(&at_anna).await;
    line.agent_is("anna", "ready", None).await;
    citizen.hang_up();
    line.ended_as(&[("served", 1)]).await;
    nobody_missed(&line).await;
}

/// C28: two answers at once, over and over; one talk each time, and the other phone is let go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_answer_at_once_one_talks_and_neither_has_missed() {
    const CALLERS: u64 = 10;
    let line = Line::open(two_ring()).await;
    let at_once = OnInvite::Answer { after: Duration::from_millis(50) };
    let (anna, boris) = (line.phone_that(20, at_once), line.phone_that(21, at_once));
    for _ in 0..CALLERS {
        let citizen = line.call_queue("+73852000001").await;
        let (at_anna, at_boris) = (rings(&anna).await, rings(&boris).await);
        let (talk, other) = line
            .wait_for("one of two to be let go", SOON, async || match (at_anna.state(), at_boris.state()) {
                (CallState::Answered, CallState::Ended(_)) => Some((&at_anna, &at_boris)),
                (CallState::Ended(_), CallState::Answered) => Some((&at_boris, &at_anna)),
                _ => None,
            })
            .await;
        they_talk(&citizen, talk).await;
        assert!(matches!(other.state(), CallState::Ended(End::Cancelled | End::TheyHungUp)), "{:?}", other.state());
        talk.hang_up();
        citizen.wait_ended().await.unwrap();
    }
    line.ended_as(&[("served", CALLERS)]).await;
    nobody_missed(&line).await;
    let (anna, boris) = (line.agent("anna").await["served"].as_u64(), line.agent("boris").await["served"].as_u64());
    assert_eq!(anna.zip(boris).map(|(anna, boris)| anna + boris), Some(CALLERS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_phones_that_ring_through_kill_9_ring_on_and_one_has_the_caller() {
    let mut line = Line::open(Plan { media: "", ..two_ring() }).await;
    let (citizen, [(anna, at_anna), (_boris, at_boris)]) = both_ring(&line).await;
    line.kill9();
    line.restart().await;
    line.agent_is("anna", "offered", None).await;
    line.agent_is("boris", "offered", None).await;
    at_anna.answer();
    they_talk(&citizen, &at_anna).await;
    was_called_off(&at_boris).await;
    assert!(anna.next_call(Duration::from_millis(1)).await.is_none(), "rings twice for one caller");
    at_anna.hang_up();
    line.ended_as(&[("served", 1)]).await;
    nobody_missed(&line).await;
}

/// The next caller waits for nobody's second phone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_rings_beside_another_goes_to_the_next_caller_at_once() {
    let line = Line::open(two_ring()).await;
    let (first, [(_anna, at_anna), (boris, at_boris)]) = both_ring(&line).await;
    let second = line.call_queue("+73852000002").await;
    was_called_off(&at_boris).await;
    let for_second = rings(&boris).await;
    assert!(for_second.invite_header("From").unwrap().contains("+73852000002"));
    for_second.answer();
    at_anna.answer();
    they_talk(&second, &for_second).await;
    they_talk(&first, &at_anna).await;
    first.hang_up();
    second.hang_up();
    line.ended_as(&[("served", 2)]).await;
    nobody_missed(&line).await;
}
