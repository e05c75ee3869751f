//! More callers at once than the queue takes.

use crate::ear::heard_prompt;
use crate::line::{AGENT, ANSWERS, Line, Plan, rejects, stands};
use dozvon::testphone::{CallState, End, PhoneCall};
use std::time::Duration;

const CALLERS: usize = 30;
const PLACES: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_beyond_the_limit_hear_so_and_are_owed_a_call() {
    let line = Line::open(Plan { agents: Vec::new(), max_waiting: PLACES as u32, ..Plan::default() }).await;
    let calls: Vec<_> = (0..CALLERS).map(|number| line.call(&format!("+738520000{number:02}"))).collect();
    for call in &calls {
        call.wait_answered().await.expect("nobody is refused");
    }
    let presses: Vec<_> = calls.iter().cloned().map(|call| tokio::spawn(async move { call.press('1').await })).collect();
    for press in presses {
        press.await.unwrap().unwrap();
    }
    line.stages("waiting", PLACES).await;
    line.board_shows("the others gone", |board| board["live_calls"] == PLACES).await;
    let ledger = line.ledger().await;
    assert!(ledger.holds(), "{ledger:?}");
    let blocked = (CALLERS - PLACES) as u64;
    assert_eq!((ledger.outcomes["blocked"], ledger.open_callbacks), (blocked, blocked));
    let turned_away: Vec<_> = calls.iter().filter(|call| call.state() == CallState::Ended(End::TheyHungUp)).collect();
    assert_eq!(turned_away.len(), CALLERS - PLACES);
    assert!(turned_away.iter().all(|call| heard_prompt(call, "wrong-key")), "they heard why");
    for call in &calls {
        call.hang_up();
    }
    line.board_shows("no live call", |board| board["live_calls"] == 0).await;
    assert_eq!(line.ledger().await.outcomes["abandoned_in_queue"], PLACES as u64);
}

/// The contract ends at three channels: who comes fourth is told busy, and is called back all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_beyond_the_contracted_channels_are_owed_a_call() {
    let line = Line::open(Plan { channels: 3, ..Plan::default() }).await;
    let calls: Vec<_> = (0..5).map(|number| line.call(&format!("+738520000{number:02}"))).collect();
    line.stages("robot", 3).await;
    let mut refused = 0;
    for call in &calls {
        if let Err(waited) = call.wait_answered().await {
            assert!(matches!(waited.state, CallState::Ended(End::Refused(486 | 503))), "{waited}");
            refused += 1;
        }
    }
    let ledger = line.ledger().await;
    assert!(ledger.holds(), "{ledger:?}");
    assert_eq!((refused, ledger.entered, ledger.outcomes["blocked"], ledger.open_callbacks), (2, 5, 2, 2));
}

/// Forty people do as people do, all at once; at the end nobody is forgotten and everybody is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_busy_minute_the_books_are_in_order() {
    let agents = vec![stands("anna", 20), stands("boris", 21), stands("vera", 22), stands("gleb", 23)];
    let line = Line::open(Plan { agents, recording: true, ..Plan::default() }).await;
    let _answering = [20, 21].map(|host| line.phone_that(host, ANSWERS));
    let _rejecting = line.phone_that(22, rejects(603));
    let _ambulance = line.phone_that(30, ANSWERS);
    let people = (0..40_u64).map(|number| {
        let call = line.call(&format!("+738520000{number:02}"));
        tokio::spawn(person(call, number))
    });
    for person in people.collect::<Vec<_>>() {
        person.await.unwrap();
    }
    line.board_shows("no live call", |board| board["live_calls"] == 0).await;
    let board = line
        .board_shows("everybody free", |board| {
            let waiting = board["queues"].as_array().unwrap().iter().any(|queue| queue["waiting"] != 0 || queue["offered"] != 0);
            let held = ["offered", "talking"];
            !waiting && board["agents"].as_array().unwrap().iter().all(|agent| held.iter().all(|state| agent["state"] != *state))
        })
        .await;
    let ledger = line.ledger().await;
    assert!(ledger.holds() && ledger.entered == 40 && ledger.live == 0, "{ledger:?}");
    assert_eq!(board["regions"][0]["entered"], 40);
    for outcome in ["served", "transferred_out", "abandoned_in_menu"] {
        assert!(ledger.outcomes[outcome] > 0, "{ledger:?}");
    }
}

/// What a person does is a matter of the number: a quarter each talks, leaves the menu, wants 103, or leaves the queue.
async fn person(call: PhoneCall, number: u64) {
    if number % 8 == 3 {
        return call.cancel();
    }
    call.wait_answered().await.unwrap();
    match number % 4 {
        0 => {
            call.press('1').await.unwrap();
            // An agent may be long in coming; who is still waiting then goes.
            let _ = call.within(Duration::from_secs(4)).hears_tone(AGENT).await;
        }
        1 => call.hears_sound().await.unwrap(),
        2 => {
            call.press('9').await.unwrap();
            // The ringback ends, and 103 says nothing.
            call.heard_silence().await.unwrap();
        }
        _ => call.press_info('1').await.unwrap(),
    }
    call.hang_up();
    let _ = call.wait_ended().await;
}
