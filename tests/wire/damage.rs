//! Keys over a line that loses, doubles and shuffles packets: each press counts once.

use crate::line::{AGENT, ANSWERS, Line, Plan, rings};
use crate::raw::{Raw, header};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::UdpSocket;

const EVENT: u8 = 101;
/// Of the dice that damage the line.
const SEED: u64 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c50_each_press_counts_once_with_a_fifth_of_the_packets_lost_doubled_or_shuffled() {
    let line = Line::open(Plan::default()).await;
    let anna = line.phone_that(20, ANSWERS);
    let mut citizen = Damaged::call(&line).await;
    citizen.press('1', |packets| packets).await;
    let talk = rings(&anna).await;
    talk.wait_answered().await.unwrap();

    let mut dice = SEED;
    let mut of_five = move || {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % 5
    };
    let digits = "159263784*0#";
    for (index, digit) in digits.chars().enumerate() {
        if index == 6 {
            citizen.begin_anew();
        }
        citizen
            .press(digit, |packets| {
                let mut damaged = Vec::new();
                for (number, packet) in packets.into_iter().enumerate() {
                    match of_five() {
                        // One of each press comes through: a press of which nothing arrives was not made.
                        0 if number != 2 => {}
                        1 => damaged.extend([packet.clone(), packet]),
                        2 if !damaged.is_empty() => damaged.insert(damaged.len() - 1, packet),
                        _ => damaged.push(packet),
                    }
                }
                // Every third press ends without an end.
                if index % 3 == 0 {
                    damaged.retain(|packet| packet[13] & 0x80 == 0);
                }
                damaged
            })
            .await;
    }
    talk.hears_digits(digits).await.unwrap();
    // A key by which nothing follows proves that no late one was counted after the last.
    citizen.press('5', |packets| packets).await;
    talk.hears_digits(&format!("{digits}5")).await.unwrap();
    talk.say(dozvon::testphone::Voice::Tone(AGENT));
    talk.hang_up();
    line.ended_as(&[("served", 1)]).await;
}

/// An exchange that says a key twice, as packets and by INFO.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c50_a_key_by_rfc_4733_and_by_info_counts_once() {
    let mut line = Line::open(Plan::default()).await;
    line.kill9();
    // Pressed once: booking. Counted twice: quiet.
    let twice = "
title: { ru: Дважды, en: Twice }
start: notice
nodes:
  notice: { notice: { say: [beep], next: first } }
  first: { menu: { say: [bench-prompt], tries: 9, operator: booking, keys: { \"1\": second } } }
  second: { menu: { say: [bench-prompt], tries: 1, operator: booking, keys: { \"1\": quiet } } }
  booking: { queue: { queue: booking, music: music, overflow: full } }
  quiet: { queue: { queue: quiet, music: music, overflow: full } }
  full: { hang_up: { say: [wrong-key], outcome: blocked } }
";
    std::fs::write(line.folder().join("scripts/twice.yaml"), twice).unwrap();
    line.configure(|config| config.replace("script = \"line\"", "script = \"twice\""));
    line.restart().await;
    let anna = line.phone_that(20, ANSWERS);
    let mut citizen = Damaged::call(&line).await;
    citizen.press('1', |packets| packets).await;
    citizen.info('1').await;
    let talk = rings(&anna).await;
    assert_eq!(talk.invite_header("X-Queue").as_deref(), Some("booking"));
}

/// A citizen whose packets are made by hand.
struct Damaged {
    raw: Raw,
    media: UdpSocket,
    engine: SocketAddr,
    answer: String,
    from: &'static str,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
}

impl Damaged {
    async fn call(line: &Line) -> Self {
        let (raw, from) = (Raw::bind(line, 11).await, "+73852000001");
        let media = UdpSocket::bind((line.net.ip(11), 4000)).await.unwrap();
        let invite = String::from_utf8(raw.invite(from)).unwrap();
        let (head, sdp) = invite.split_once("\r\n\r\n").unwrap();
        let keys = sdp.replace("RTP/AVP 8\r\n", "RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n");
        let head = head.replace(&format!("Length: {}", sdp.len()), &format!("Length: {}", keys.len()));
        raw.send(format!("{head}\r\n\r\n{keys}").as_bytes()).await;
        let answer = raw.receive("SIP/2.0 200").await;
        let port = answer.split("m=audio ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        let engine = SocketAddr::from((line.net.ip(2), port));
        let citizen = Self { raw, media, engine, answer, from, sequence: 0, timestamp: 8000, ssrc: 1 };
        citizen.raw.send(citizen.in_dialog("ACK", 1, "", "").as_bytes()).await;
        line.stages("robot", 1).await;
        citizen
    }

    /// 100 ms of a key and three ends, after whatever the line does to them.
    async fn press(&mut self, key: char, damage: impl FnOnce(Vec<Vec<u8>>) -> Vec<Vec<u8>>) {
        let code = "0123456789*#".find(key).unwrap() as u8;
        let packets = (1..=8_u16).map(|number| {
            self.sequence = self.sequence.wrapping_add(1);
            let mut packet = vec![0x80, EVENT | if number == 1 { 0x80 } else { 0 }];
            packet.extend(self.sequence.to_be_bytes());
            packet.extend(self.timestamp.to_be_bytes());
            packet.extend(self.ssrc.to_be_bytes());
            packet.extend([code, if number > 5 { 0x8a } else { 10 }]);
            packet.extend((number.min(5) * 160).to_be_bytes());
            packet
        });
        let mut beat = tokio::time::interval(Duration::from_millis(20));
        for packet in damage(packets.collect()) {
            beat.tick().await;
            self.media.send_to(&packet, self.engine).await.unwrap();
        }
        self.timestamp += 2400;
    }

    /// Another SSRC, sequence and clock, as after a transfer in the carrier's network.
    fn begin_anew(&mut self) {
        (self.sequence, self.timestamp, self.ssrc) = (40_000, 77_000, 2);
    }

    async fn info(&self, key: char) {
        let kind = "Content-Type: application/dtmf-relay\r\n";
        self.raw.send(self.in_dialog("INFO", 2, kind, &format!("Signal={key}\r\nDuration=160\r\n")).as_bytes()).await;
        self.raw.receive("SIP/2.0 200").await;
    }

    fn in_dialog(&self, method: &str, cseq: u32, kind: &str, body: &str) -> String {
        let plain = String::from_utf8(self.raw.request(method, "122", self.from, kind)).unwrap();
        let to = format!("To: {}", header(&plain, "To").unwrap());
        let call = format!("Call-ID: {}", header(&plain, "Call-ID").unwrap());
        let length = format!("Length: {}\r\n\r\n{body}", body.len());
        let plain = plain.replace("Length: 0\r\n\r\n", &length).replace("CSeq: 1", &format!("CSeq: {cseq}"));
        let ours = format!("Call-ID: INVITE-122-{}", self.from);
        plain.replace(&to, &format!("To: {}", header(&self.answer, "To").unwrap())).replace(&call, &ours)
    }
}
