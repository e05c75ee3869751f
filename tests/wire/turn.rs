//! What comes to the engine within one turn of its loop.

use crate::engine::SOON;
use crate::line::{ANSWERS, Line, Plan};
use crate::raw::{Raw, header};
use tokio::net::UdpSocket;

/// The key queues the citizen; the goodbye behind it must find them there, or an agent would ring for nobody for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_and_a_goodbye_at_once_leave_nobody_in_the_queue() {
    let line = Line::open(Plan::default()).await;
    let anna = line.phone_that(20, ANSWERS);
    let citizen = Raw::bind(&line, 11).await;
    let ear = UdpSocket::bind((line.net.ip(11), 4000)).await.unwrap();
    citizen.send(&citizen.invite("+73852000001")).await;
    let answer = citizen.receive("SIP/2.0 200").await;
    let in_dialog = |method: &str, cseq: u32, kind: &str, body: &str| {
        let plain = String::from_utf8(citizen.request(method, "122", "+73852000001", kind)).unwrap();
        let to = format!("To: {}", header(&plain, "To").unwrap());
        let call = format!("Call-ID: {}", header(&plain, "Call-ID").unwrap());
        let length = format!("Length: {}\r\n\r\n{body}", body.len());
        let plain = plain.replace("Length: 0\r\n\r\n", &length).replace("CSeq: 1", &format!("CSeq: {cseq}"));
        plain.replace(&to, &format!("To: {}", header(&answer, "To").unwrap())).replace(&call, "Call-ID: INVITE-122-+73852000001")
    };
    citizen.send(in_dialog("ACK", 1, "", "").as_bytes()).await;
    // Half a second: the notice is over, the menu listens.
    let mut packet = [0; 256];
    for _ in 0..25 {
        tokio::time::timeout(SOON, ear.recv(&mut packet)).await.expect("the robot is heard").unwrap();
    }

    line.signal("-STOP");
    citizen.send(in_dialog("INFO", 2, "Content-Type: application/dtmf-relay\r\n", "Signal=1\r\n").as_bytes()).await;
    citizen.send(in_dialog("BYE", 3, "", "").as_bytes()).await;
    line.signal("-CONT");
    line.ended_as(&[("abandoned_in_queue", 1)]).await;
    let board = line.board().await;
    let busy = |queue: &serde_json::Value| queue["waiting"] != 0 || queue["offered"] != 0;
    assert!(!board["queues"].as_array().unwrap().iter().any(busy), "{board:#}");
    let anna_now = line.agent_is("anna", "ready", None).await;
    assert_eq!((&anna_now["missed"], &anna_now["served"]), (&0.into(), &0.into()));
    drop(anna);
}
