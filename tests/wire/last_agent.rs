//! Who rings again gets the agent they spoke with, and waits for them alone for a while if they are busy.

use crate::engine::SOON;
use crate::line::{ANSWERS, Line, Plan, rings, stands, they_talk};
use dozvon::testphone::PhoneCall;
use serde_json::json;
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(3);

/// Anna talks with one citizen on end; boris, idle longer than she, is to be passed over for who spoke with her before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_rings_again_gets_the_agent_they_spoke_with_and_after_a_bound_the_other() {
    let agents = vec![stands("anna", 20), stands("boris", 21)];
    let acd = "last_agent_within_s = 600\nlast_agent_wait_s = 3";
    let line = Line::open(Plan { agents, acd, ..Plan::default() }).await;
    let (anna, boris) = (line.phone_that(20, ANSWERS), line.phone_that(21, ANSWERS));
    is(&line, "boris", "break").await;
    let (citizen, talk) = line.talks_with(&anna).await;
    hang_up(&line, citizen, talk, 1).await;

    // Whoever is idle longest would be asked first: that is boris.
    is(&line, "boris", "ready").await;
    is(&line, "anna", "break").await;
    is(&line, "anna", "ready").await;
    let (again, talk) = line.talks_with(&anna).await;
    hang_up(&line, again, talk, 2).await;

    // She talks with somebody else: first the citizen waits for her though boris is free.
    is(&line, "boris", "break").await;
    let other = line.call_queue("+73852000002").await;
    let with_other = rings(&anna).await;
    is(&line, "boris", "ready").await;
    #[expect(clippy::disallowed_methods, reason = "measures from outside")]
    let begun = Instant::now();
    let again = line.call_queue("+73852000001").await;
    line.stages("waiting", 1).await;
    with_other.hang_up();
    other.wait_ended().await.unwrap();
    let talk = rings(&anna).await;
    they_talk(&again, &talk).await;
    assert!(begun.elapsed() < WAIT, "the machine is too slow to tell who came first");
    hang_up(&line, again, talk, 4).await;

    // And she does not come free in time.
    is(&line, "boris", "break").await;
    let other = line.call_queue("+73852000002").await;
    let with_other = rings(&anna).await;
    is(&line, "boris", "ready").await;
    #[expect(clippy::disallowed_methods, reason = "measures from outside")]
    let begun = Instant::now();
    let again = line.call_queue("+73852000001").await;
    let talk = rings(&boris).await;
    assert!((WAIT..WAIT + SOON).contains(&begun.elapsed()), "boris rang after {:?}", begun.elapsed());
    they_talk(&again, &talk).await;
    with_other.hang_up();
    other.wait_ended().await.unwrap();
    hang_up(&line, again, talk, 6).await;
}

async fn is(line: &Line, agent: &str, state: &str) {
    line.post(&format!("/api/v1/agents/{agent}/state"), json!({ "state": state, "reason": "обед" })).await.unwrap();
    line.agent_is(agent, if state == "break" { "on_break" } else { state }, (state == "break").then_some("обед")).await;
}

async fn hang_up(line: &Line, citizen: PhoneCall, talk: PhoneCall, served: u64) {
    talk.hang_up();
    citizen.wait_ended().await.unwrap();
    line.ended_as(&[("served", served)]).await;
}
