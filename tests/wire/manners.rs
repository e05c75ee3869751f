//! Odd but lawful messages of old exchanges: whoever sends them is a citizen all the same.

use crate::line::{ANSWERS, CITIZEN, Line, Plan, longest_wait_ms, rings, they_talk};
use crate::raw::{Raw, header};
use dozvon::testphone::{Dial, End, PhoneCall, Voice};

fn dial(line: &Line, dial: Dial) -> PhoneCall {
    let citizen = line.citizens.dial(dial).unwrap();
    citizen.say(Voice::Tone(CITIZEN));
    citizen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_in_cp1251_folded_compact_headers_and_no_length_are_served() {
    let line = Line::open(Plan { script: "line", ..Plan::default() }).await;
    let anna = line.phone_that(20, ANSWERS);
    let citizen = Raw::bind(&line, 11).await;
    let (me, engine) = (line.net.at(11), line.net.engine());
    // "Мария" in CP1251, which is no UTF-8.
    let mut invite =
        format!("INVITE sip:122@{engine} SIP/2.0\r\nv: SIP/2.0/UDP {me}\r\n ;branch=z9hG4bKodd\r\nf: \"").into_bytes();
    invite.extend([0xcc, 0xe0, 0xf0, 0xe8, 0xff]);
    invite.extend(
        format!(
            "\"\r\n\t<sip:+73852000001@{me}>;tag=odd\r\nt: <sip:122@{engine}>\r\ni: odd-call\r\nCSEQ:  1\r\n INVITE\r\nMax-Forwards: 70\r\n\
             m: <sip:+73852000001@{me}>\r\nc: application/sdp\r\n\r\n\
             v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n",
            ip = me.ip()
        )
        .into_bytes(),
    );
    citizen.send(&invite).await;
    let answered = citizen.receive("SIP/2.0 200").await;
    let to = header(&answered, "To").or(header(&answered, "t")).unwrap().to_owned();
    let request = |method: &str, cseq: u32, body: &str| {
        format!(
            "{method} sip:122@{engine} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bKodd{cseq}{method}\r\nMax-Forwards: 70\r\n\
             From: <sip:+73852000001@{me}>;tag=odd\r\nTo: {to}\r\nCall-ID: odd-call\r\nCSeq: {cseq} {method}\r\n\
             Content-Type: application/dtmf-relay\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    };
    citizen.send(&request("ACK", 1, "")).await;
    citizen.send(&request("INFO", 2, "Signal=1\r\nDuration=160\r\n")).await;
    let talk = rings(&anna).await;
    talk.wait_answered().await.unwrap();
    line.stages("talking", 1).await;
    talk.hang_up();
    let bye = citizen.receive("BYE").await;
    citizen.ok(&bye).await;
    line.ended_as(&[("served", 1)]).await;
}

/// RFC 3264 §5: an INVITE without an offer gets the offer with our 200, and the answer comes with the ACK.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_citizen_without_an_offer_is_served() {
    let line = Line::open(Plan::default()).await;
    let anna = line.phone_that(20, ANSWERS);
    let citizen = dial(&line, Dial { codecs: Vec::new(), ..Dial::new(line.net.engine(), "122", "+73852000001") });
    citizen.wait_answered().await.unwrap();
    citizen.press('1').await.unwrap();
    let talk = rings(&anna).await;
    they_talk(&citizen, &talk).await;
    citizen.hang_up();
    line.ended_as(&[("served", 1)]).await;
}

/// Without an offer there is no early media either: the announcement is heard after an answer, or the caller is refused at once, but
/// nobody hangs in the air.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_number_dialled_without_an_offer_does_not_hang() {
    let line = Line::open(Plan::default()).await;
    let citizen = dial(&line, Dial { codecs: Vec::new(), ..Dial::new(line.net.engine(), "627766", "+73852000001") });
    citizen.wait_ended().await.unwrap();
    line.ended_as(&[("announced", 1)]).await;
}

/// An exchange that speaks only µ-law and numbers its keys 96, an agent that takes A-law: both hear each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn laws_are_translated_and_keys_come_under_any_number() {
    let line = Line::open(Plan::default()).await;
    let anna = line.phone_that(20, ANSWERS);
    let law = Dial { codecs: vec![0], telephone_event: Some(96), ..Dial::new(line.net.engine(), "122", "+73852000001") };
    let citizen = dial(&line, law);
    citizen.wait_answered().await.unwrap();
    citizen.press('1').await.unwrap();
    let talk = rings(&anna).await;
    they_talk(&citizen, &talk).await;
    // The agent's keys reach the citizen under the citizen's number, and the citizen's the agent.
    talk.press('5').await.unwrap();
    citizen.hears_digits("5").await.unwrap();
    citizen.press('7').await.unwrap();
    talk.hears_digits("7").await.unwrap();
    citizen.hang_up();
    line.ended_as(&[("served", 1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c51_who_hides_the_number_is_served_or_counted_as_unreachable() {
    let line = Line::open(Plan::default()).await;
    let anna = line.phone(20);
    for answered in [true, false] {
        let citizen = line.call_queue("anonymous").await;
        let talk = rings(&anna).await;
        if answered {
            talk.answer();
            they_talk(&citizen, &talk).await;
        } else {
            line.board_shows("a wait longer than queue_after_s", |board| longest_wait_ms(board) > 1100).await;
        }
        citizen.hang_up();
        talk.wait_ended().await.unwrap();
    }
    let ledger = line.ended_as(&[("served", 1), ("abandoned_in_queue", 1)]).await;
    assert_eq!(ledger.open_callbacks, 0);
    let calls = line.calls().await;
    assert_eq!(
        (&calls[0]["unreachable"], &calls[0]["person"], &calls[1]["unreachable"]),
        (&true.into(), &().into(), &false.into())
    );
}

/// One person by whatever form of the number the exchange sends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c51_one_person_in_five_forms_is_owed_one_callback() {
    let line = Line::open(Plan { agents: Vec::new(), max_waiting: 1, ..Plan::default() }).await;
    let _first = line.call_queue("+73852000001").await;
    line.stages("waiting", 1).await;
    for from in ["+73852417263", "83852417263", "73852417263", "3852417263", "417263"] {
        let citizen = line.call_queue(from).await;
        assert_eq!(citizen.wait_ended().await.unwrap(), End::TheyHungUp);
    }
    let ledger = line.ledger().await;
    assert_eq!((ledger.outcomes["blocked"], ledger.open_callbacks), (5, 1));
    assert_eq!(line.callbacks().await[0]["misses"], 5);
}

/// RFC 3261 §13.3.1.4 and §17: what comes twice is one thing; a 200 is said again until its ACK.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_bad_line_repeats_is_one_call() {
    let line = Line::open(Plan::default()).await;
    let citizen = Raw::bind(&line, 11).await;
    let invite = citizen.invite("+73852000001");
    for _ in 0..3 {
        citizen.send(&invite).await;
    }
    let first = citizen.receive("SIP/2.0 200").await;
    let again = citizen.receive("SIP/2.0 200").await;
    assert_eq!(first, again);
    let to = header(&first, "To").unwrap();
    let in_dialog = |method: &str, cseq: u32| {
        let plain = String::from_utf8(citizen.request(method, "122", "+73852000001", "")).unwrap();
        let own_to = header(&plain, "To").unwrap();
        let call = format!("Call-ID: {}", header(&plain, "Call-ID").unwrap());
        let dialog = plain.replace(&format!("To: {own_to}"), &format!("To: {to}"));
        dialog.replace(&call, "Call-ID: INVITE-122-+73852000001").replace("CSeq: 1", &format!("CSeq: {cseq}"))
    };
    citizen.send(in_dialog("ACK", 1).as_bytes()).await;
    line.stages("robot", 1).await;
    for _ in 0..2 {
        citizen.send(in_dialog("BYE", 2).as_bytes()).await;
        loop {
            let answer = citizen.receive("SIP/2.0").await;
            // A 200 to the INVITE may still have been on its way.
            if header(&answer, "CSeq") == Some("2 BYE") {
                assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
                break;
            }
        }
    }
    let ledger = line.ledger().await;
    assert!(ledger.holds() && ledger.entered == 1 && ledger.live == 0, "{ledger:?}");
}

/// The line under each form in which exchanges dial it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c51_122_and_9_122_are_one_line() {
    let mut line = Line::open(Plan::default()).await;
    line.kill9();
    line.configure(|config| config.replace("dialled = [\"122\"]", "dialled = [\"122\", \"9122\", \"+78001234567\"]"));
    line.restart().await;
    let anna = line.phone_that(20, ANSWERS);
    for (served, number) in ["122", "9122", "+78001234567", "88001234567", "8001234567"].into_iter().enumerate() {
        let citizen = line.call_number(number, "+73852000001");
        citizen.wait_answered().await.unwrap();
        citizen.press('1').await.unwrap();
        they_talk(&citizen, &rings(&anna).await).await;
        citizen.hang_up();
        line.ended_as(&[("served", served as u64 + 1)]).await;
    }
}
