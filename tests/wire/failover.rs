//! A route whose first way is out of order: the second rings soon.

use crate::line::{ANSWERS, Line, Plan, rejects, rings, they_talk};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

const SECOND_WAY_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c49_a_first_way_that_answers_503_is_passed_over_at_once() {
    let line = Line::open(Plan::default()).await;
    let _refuses = line.phone_that(30, rejects(503));
    reaches_the_second_way(&line, Duration::from_secs(1)).await;
}

/// Nobody is bound there: the kernel says so by ICMP.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c49_a_first_way_that_is_not_there_is_passed_over() {
    let line = Line::open(Plan::default()).await;
    reaches_the_second_way(&line, SECOND_WAY_WITHIN).await;
}

/// Datagrams go in and nothing comes out, not even the 100 that every living exchange sends at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c49_a_first_way_that_is_silent_is_passed_over() {
    let mut line = Line::open(Plan::default()).await;
    line.kill9();
    line.configure(|config| {
        config.replace(
            "trunk = \"ambulance\", number = \"103\", ring_s = 5",
            "trunk = \"ambulance\", number = \"103\", ring_s = 20",
        )
    });
    line.restart().await;
    let _silent = UdpSocket::bind(line.net.at(30)).unwrap();
    reaches_the_second_way(&line, SECOND_WAY_WITHIN).await;
}

async fn reaches_the_second_way(line: &Line, within: Duration) {
    let second = line.phone_that(31, ANSWERS);
    let citizen = line.call("+73852000001");
    citizen.wait_answered().await.unwrap();
    citizen.press('9').await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "measures from outside")]
    let pressed = Instant::now();
    let talk = rings(&second).await;
    assert!(pressed.elapsed() < within, "the second way rang after {:?}", pressed.elapsed());
    they_talk(&citizen, &talk).await;
    citizen.hang_up();
    line.ended_as(&[("transferred_out", 1)]).await;
}
