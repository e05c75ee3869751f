//! SIGTERM ends gently; SIGHUP reads scripts again, or changes nothing.

use crate::engine::SOON;
use crate::line::{ANSWERS, Line, Plan, rings, they_talk};
use crate::raw::{Raw, header};
use std::fs;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c42_sigterm_lets_talks_end_and_refuses_new_calls() {
    let mut line = Line::open(Plan::default()).await;
    let anna = line.phone_that(20, ANSWERS);
    let (citizen, talk) = line.talks_with(&anna).await;
    line.signal("-TERM");
    line.board_shows("a drain", |board| board["draining"] == true).await;

    assert!(matches!(line.get("/readyz").await, Err(ureq::Error::StatusCode(503))));

    let other = Raw::bind(&line, 11).await;
    for method in ["OPTIONS", "INVITE"] {
        other.send(&other.request(method, "122", "+73852000002", "")).await;
        let refused = other.receive("SIP/2.0").await;
        assert!(refused.starts_with("SIP/2.0 503") && header(&refused, "Retry-After").is_some(), "{refused}");
    }
    they_talk(&citizen, &talk).await;
    citizen.hang_up();
    talk.wait_ended().await.unwrap();
    assert_eq!(line.ended(SOON).await.code(), Some(0));

    line.restart().await;
    let ledger = line.ended_as(&[("served", 1), ("blocked", 1)]).await;
    assert_eq!((ledger.entered, ledger.open_callbacks), (2, 1), "who was turned away is called back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_takes_a_good_script_for_new_calls_and_nothing_of_a_broken_one() {
    let mut line = Line::open(Plan::default()).await;
    line.errors_expected = true;
    let anna = line.phone_that(20, ANSWERS);
    let in_menu = line.call("+73852000001");
    in_menu.wait_answered().await.unwrap();
    line.stages("robot", 1).await;
    let script = line.folder().join("scripts/line.yaml");
    let good = fs::read_to_string(&script).unwrap();

    let broken = good.replace("\"2\": quiet", "\"2\": nowhere");
    let at = 1 + broken.lines().position(|line| line.contains("nowhere")).unwrap();
    fs::write(&script, broken).unwrap();
    line.signal("-HUP");
    let place = format!("line.yaml:{at}");
    line.wait_for(&format!("{place} in the log"), SOON, async || {
        String::from_utf8_lossy(&line.log()).contains(&place).then_some(())
    })
    .await;
    let before = line.call_queue("+73852000002").await;
    let talk = rings(&anna).await;
    assert_eq!(talk.invite_header("X-Queue").as_deref(), Some("booking"));
    before.hang_up();
    talk.wait_ended().await.unwrap();

    fs::write(&script, good.replace("\"1\": booking", "\"1\": quiet").replace("\"2\": quiet", "\"2\": booking")).unwrap();
    line.signal("-HUP");
    let read = "configuration and scripts read again";
    line.wait_for(read, SOON, async || String::from_utf8_lossy(&line.log()).contains(read).then_some(())).await;
    // Who is in the menu goes on by the script with which the call began; who calls now hears the new one.
    for (call, queue) in [(in_menu, "booking"), (line.call("+73852000003"), "quiet")] {
        call.wait_answered().await.unwrap();
        call.press('1').await.unwrap();
        let talk = rings(&anna).await;
        assert_eq!(talk.invite_header("X-Queue").as_deref(), Some(queue));
        call.hang_up();
        talk.wait_ended().await.unwrap();
    }
}
