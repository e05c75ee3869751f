//! Who rings again gets the agent they spoke with, and waits for them alone for a while if they are busy.

use crate::line::{ANSWERS, Line, Plan, rings, stands, they_talk};
use dozvon::testphone::{Phone, PhoneCall};
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_rings_again_gets_the_agent_they_spoke_with_free_or_busy() {
    let (line, anna, _boris) = open("last_agent_within_s = 600\nlast_agent_wait_s = 60").await;
    // Whoever is idle longest would be asked first: that is boris.
    is(&line, "anna", "break").await;
    is(&line, "anna", "ready").await;
    let (again, talk) = line.talks_with(&anna).await;
    hang_up(&line, again, talk, 2).await;

    let (other, with_other) = anna_talks_with_another(&line, &anna).await;
    let again = line.call_queue("+73852000001").await;
    line.stages("waiting", 1).await;
    hang_up(&line, other, with_other, 3).await;
    let talk = rings(&anna).await;
    they_talk(&again, &talk).await;
    hang_up(&line, again, talk, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_their_agent_goes_to_another_when_the_bound_is_over() {
    let (line, anna, boris) = open("last_agent_within_s = 600\nlast_agent_wait_s = 2").await;
    let (other, with_other) = anna_talks_with_another(&line, &anna).await;
    #[expect(clippy::disallowed_methods, reason = "measures from outside")]
    let begun = Instant::now();
    let again = line.call_queue("+73852000001").await;
    let talk = rings(&boris).await;
    assert!(begun.elapsed() >= Duration::from_secs(2), "boris rang after {:?}", begun.elapsed());
    they_talk(&again, &talk).await;
    hang_up(&line, other, with_other, 2).await;
    hang_up(&line, again, talk, 3).await;
}

/// A line on which the first citizen has spoken with anna; she and boris are free, he for longer.
async fn open(acd: &'static str) -> (Line, Phone, Phone) {
    let agents = vec![stands("anna", 20), stands("boris", 21)];
    let line = Line::open(Plan { agents, acd, ..Plan::default() }).await;
    let (anna, boris) = (line.phone_that(20, ANSWERS), line.phone_that(21, ANSWERS));
    is(&line, "boris", "break").await;
    let (citizen, talk) = line.talks_with(&anna).await;
    is(&line, "boris", "ready").await;
    hang_up(&line, citizen, talk, 1).await;
    (line, anna, boris)
}

/// Boris is free meanwhile.
async fn anna_talks_with_another(line: &Line, anna: &Phone) -> (PhoneCall, PhoneCall) {
    is(line, "boris", "break").await;
    let other = line.call_queue("+73852000002").await;
    let with_other = rings(anna).await;
    they_talk(&other, &with_other).await;
    is(line, "boris", "ready").await;
    (other, with_other)
}

async fn is(line: &Line, agent: &str, state: &str) {
    line.post(&format!("/api/v1/agents/{agent}/state"), json!({ "state": state, "reason": "обед" })).await.unwrap();
    line.agent_is(agent, if state == "break" { "on_break" } else { state }, (state == "break").then_some("обед")).await;
}

async fn hang_up(line: &Line, citizen: PhoneCall, talk: PhoneCall, served: u64) {
    talk.hang_up();
    citizen.wait_ended().await.unwrap();
    line.ended_as_so_far("served", served).await;
}
