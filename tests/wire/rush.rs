//! More callers at once than the queue takes.

use crate::ear::heard_prompt;
use crate::line::{Line, Plan};
use dozvon::testphone::{CallState, End};

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
