//! The clock on the wall jumps, or the whole machine stands still for a while: nobody's wait or talk changes.

use crate::engine::SOON;
use crate::line::{ANSWERS, Line, Plan, longest_wait_ms, rings, stands, they_talk};
use crate::wall;
use dozvon::testphone::{CallState, End};
use std::fs;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c43_steps_of_the_wall_clock_change_no_wait_and_no_talk() {
    let mut line = Line::open(Plan { ring_s: 60, wrap_up_s: 1, ..Plan::default() }).await;
    line.kill9();
    let step = line.folder().join("wall-step");
    fs::write(&step, "0").unwrap();
    line.environment = vec![("LD_PRELOAD", wall::shim(line.folder())), ("WALL_STEP", step.clone())];
    line.restart().await;
    let anna = line.phone_that(20, ANSWERS);
    let (citizen, talk) = line.talks_with(&anna).await;
    let waiting = line.call_queue("+73852000002").await;
    line.stages("waiting", 1).await;

    for seconds in ["3600", "-3600", "1", "86400"] {
        fs::write(&step, seconds).unwrap();
        let before = longest_wait_ms(&line.board().await);
        let after = line.board_shows("the wait to go on", |board| longest_wait_ms(board) > before + 200).await;
        assert!(
            longest_wait_ms(&after) < before + 10_000,
            "{seconds} s of the wall: {before} ms, then {}",
            longest_wait_ms(&after)
        );
        they_talk(&citizen, &talk).await;
        assert_eq!(waiting.state(), CallState::Answered);
    }
    // The wrap-up of a second ends after a second, whatever the wall says.
    fs::write(&step, "-7200").unwrap();
    citizen.hang_up();
    let next = rings(&anna).await;
    they_talk(&waiting, &next).await;
    waiting.hang_up();
    let ledger = line.ended_as(&[("served", 2)]).await;
    assert_eq!(ledger.open_callbacks, 0);
    for call in line.calls().await {
        let moment = |key: &str| call[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
        let steps = ["entered", "answered", "queue_entered", "talk_started", "talk_ended", "ended"].map(moment);
        assert!(steps.is_sorted(), "{call:#}");
        assert!(steps[5] - steps[0] < 60_000, "{call:#}");
    }

    // The shim does move the clock: a new life begins at the wall's time.
    line.kill9();
    fs::write(&step, "7200").unwrap();
    line.restart().await;
    let later = line.call("+73852000003");
    later.wait_answered().await.unwrap();
    later.hang_up();
    line.ended_as(&[("served", 2), ("abandoned_in_menu", 1)]).await;
    let calls = line.get("/api/v1/calls?from=2020-01-01&to=2100-01-01").await.unwrap()["calls"].clone();
    let entered = |at: usize| calls[at]["entered"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(entered(0).as_second() - entered(1).as_second() > 3600, "{calls:#}");
}

/// As a paused virtual machine does: half a minute of timers would be due at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c44_a_machine_that_stood_still_drops_nobody_and_takes_back_stale_offers() {
    let agents = vec![stands("anna", 20), stands("boris", 21)];
    let line = Line::open(Plan { agents, ring_s: 3, ..Plan::default() }).await;
    let anna = line.phone_that(20, ANSWERS);
    let (citizen, talk) = line.talks_with(&anna).await;
    let mut waiting = Vec::new();
    let boris = line.phone(21);
    for number in 2..5 {
        waiting.push(line.call_queue(&format!("+7385200000{number}")).await);
    }
    let ring = rings(&boris).await;
    line.signal("-STOP");
    citizen.heard_silence().await.unwrap();
    // The stand-still is the fault itself: longer than a ring, and than the silence after which a phone is asked.
    tokio::time::sleep(Duration::from_secs(11)).await;
    line.signal("-CONT");

    assert_eq!(ring.within(Duration::from_secs(3)).wait_ended().await.unwrap(), End::Cancelled, "the offer is stale");
    they_talk(&citizen, &talk).await;
    line.board_shows("everybody", |board| board["live_calls"] == 4).await;
    assert!(waiting.iter().all(|call| call.state() == CallState::Answered));
    // Who was passed over is offered again, to whoever is free next.
    talk.hang_up();
    let next = rings(&anna).await;
    next.wait_answered().await.unwrap();
    for call in &waiting {
        call.hang_up();
    }
    line.wait_for("the end of all calls", SOON, async || (line.ledger().await.live == 0).then_some(())).await;
    let ledger = line.ledger().await;
    assert!(ledger.holds() && ledger.outcomes["failed"] == 0 && ledger.outcomes["cut"] == 0, "{ledger:?}");
}
