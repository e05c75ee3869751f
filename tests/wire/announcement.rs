//! A clinic's old number: announced without an answer, word for word.

use crate::ear::hears_prompt;
use crate::line::{Line, Plan};
use dozvon::testphone::{CallState, End};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_number_is_announced_without_an_answer_and_byte_for_byte() {
    let line = Line::open(Plan::default()).await;
    let citizen = line.call_number("627766", "+73852000001");
    hears_prompt(&citizen, "wait-minute").await;
    assert_eq!(citizen.state(), CallState::Ringing);
    assert_eq!(citizen.wait_ended().await.unwrap(), End::Refused(410));
    let ledger = line.ended_as(&[("announced", 1)]).await;
    assert_eq!(ledger.open_callbacks, 0);
}
