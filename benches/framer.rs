//! What signalling costs: reading one message, and one whole call between two user agents (7 messages written and read).

use divan::{Bencher, black_box};
use dozvon::clock::Moment;
use dozvon::ids::{IdSource, LegId, TrunkId};
use dozvon::sip::{Command, DialNote, Event, Network, Settings, Target, Trunk, UserAgent, framer};
use std::net::SocketAddr;

const INVITE: &str = "INVITE sip:122@127.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bK-1-2-3\r\n\
From: <sip:+79130000012@127.0.0.2:5060>;tag=1c1\r\nTo: <sip:122@127.0.0.1:5060>\r\nCall-ID: 1-7@127.0.0.2\r\nCSeq: 1 INVITE\r\n\
Contact: <sip:+79130000012@127.0.0.2:5060>\r\nMax-Forwards: 70\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE\r\n\
Content-Type: application/sdp\r\nContent-Length: 203\r\n\r\nv=0\r\no=citizen 1 1 IN IP4 127.0.0.2\r\ns=-\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\n\
m=audio 6000 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n";

fn main() {
    divan::main();
}

#[divan::bench]
fn read_invite() -> bool {
    framer::read(black_box(INVITE.as_bytes())).is_ok()
}

/// INVITE, 100, 180, 200, ACK, BYE, 200: each handled by one side and written by the other.
#[divan::bench]
fn whole_call(bencher: Bencher) {
    let mut pair = (agent("127.0.0.1:5060", "127.0.0.2:5060"), agent("127.0.0.2:5060", "127.0.0.1:5060"));
    let mut number = 0;
    bencher.bench_local(|| {
        number += 1;
        // Old transactions end as in a day at 100 calls a second.
        call(&mut pair, Moment::from_millis(10 * number), LegId(number));
    });
}

fn call((line, city): &mut (UserAgent, UserAgent), now: Moment, dialled: LegId) {
    let target = Target::Trunk { trunk: TrunkId::from("city"), number: "122".into() };
    let local = "127.0.0.2:4000".parse().unwrap();
    city.handle_command(now, Command::Dial { leg: dialled, target, local, caller: None, note: DialNote::default() });
    exchange(now, line, city);
    let Some(Event::Invited(invited)) = line.poll_event() else { panic!("no call came") };
    line.handle_command(now, Command::Ring { leg: invited.leg });
    line.handle_command(now, Command::Answer { leg: invited.leg, local: "127.0.0.1:4000".parse().unwrap() });
    exchange(now, line, city);
    city.handle_command(now, Command::HangUp { leg: dialled, reason: None });
    exchange(now, line, city);
    for agent in [line, city] {
        agent.handle_timeout(now);
        while agent.poll_event().is_some() {}
    }
}

fn exchange(now: Moment, line: &mut UserAgent, city: &mut UserAgent) {
    let (at_line, at_city): (SocketAddr, SocketAddr) = ("127.0.0.1:5060".parse().unwrap(), "127.0.0.2:5060".parse().unwrap());
    loop {
        let mut quiet = true;
        while let Some(transmit) = city.poll_transmit() {
            line.handle_datagram(now, 0, at_city, &transmit.bytes);
            quiet = false;
        }
        while let Some(transmit) = line.poll_transmit() {
            city.handle_datagram(now, 0, at_line, &transmit.bytes);
            quiet = false;
        }
        if quiet {
            return;
        }
    }
}

fn agent(bind: &str, peer: &str) -> UserAgent {
    let (bind, peer): (SocketAddr, SocketAddr) = (bind.parse().unwrap(), peer.parse().unwrap());
    let trunk = Trunk {
        trunk: TrunkId::from("city"),
        network: "lan".into(),
        peers: vec![peer.ip()],
        contact: Some(peer),
        watch: None,
        dialled: Default::default(),
        area: None,
        our_number: Some("+79130000012".into()),
        show_caller: false,
        channels: 0,
    };
    let settings = Settings {
        networks: vec![Network { name: "lan".into(), bind, advertise: bind.ip() }],
        trunks: vec![trunk],
        numbers: vec!["122".into()],
        product: "dozvon".into(),
        ..Settings::default()
    };
    UserAgent::new(settings, IdSource::new(1), [1, 2, 3, u64::from(bind.port())])
}
