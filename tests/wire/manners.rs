//! Odd but lawful messages of old exchanges: whoever sends them is a citizen all the same.

use crate::line::{ANSWERS, Line, Plan, rings};
use crate::raw::{Raw, header};

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
    let dial =
        dozvon::testphone::Dial { codecs: Vec::new(), ..dozvon::testphone::Dial::new(line.net.engine(), "122", "+73852000001") };
    let citizen = line.citizens.dial(dial).unwrap();
    citizen.say(dozvon::testphone::Voice::Tone(crate::line::CITIZEN));
    citizen.wait_answered().await.unwrap();
    citizen.press('1').await.unwrap();
    let talk = rings(&anna).await;
    crate::line::they_talk(&citizen, &talk).await;
    citizen.hang_up();
    line.ended_as(&[("served", 1)]).await;
}
