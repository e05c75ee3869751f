//! The torture messages of RFC 4475 and their mutations: the right answer or the right silence, and the line answers on.

use dozvon::clock::Moment;
use dozvon::ids::{IdSource, TrunkId};
use dozvon::sip::message::Message;
use dozvon::sip::{Network, Settings, Transmit, Trunk, UserAgent, framer};
use std::net::SocketAddr;
use std::path::Path;

const OPTIONS: &str = "OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.9:5090;branch=z9hG4bKalive\r\nFrom: <sip:p@127.0.0.9>;tag=1\r\n\
                       To: <sip:127.0.0.1>\r\nCall-ID: alive\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n\r\n";

#[test]
fn every_torture_message_gets_what_is_due() {
    let (mut count, mut wrong) = (0, Vec::new());
    for row in expected() {
        count += 1;
        let bytes = std::fs::read(data().join(format!("{}.dat", row.message))).unwrap();
        // From a stranger, and from a trunk: what is malformed is so from anybody.
        for from in ["127.0.0.9:5090", "127.0.0.2:5090"] {
            let mut agent = agent();
            agent.handle_datagram(Moment::from_secs(1), 0, from.parse().unwrap(), &bytes);
            let statuses = statuses(&mut agent);
            let finals: Vec<_> = statuses.iter().filter(|status| **status >= 200).collect();
            let right = match row.replies.as_slice() {
                [] => statuses.is_empty(),
                due => !finals.is_empty() && finals.iter().all(|status| due.contains(status)),
            };
            if !right {
                wrong.push(format!("{} from {from}: {statuses:?}, due {:?}", row.message, row.replies));
            }
            assert!(is_alive(&mut agent, Moment::from_secs(2)), "{} silenced the line", row.message);
        }
    }
    assert_eq!(count, 49);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_reply_goes_where_the_via_says_even_if_that_is_broken() {
    for (message, port) in [("quotbal", 5050), ("badinv01", 5060), ("clerr", 5060)] {
        let bytes = std::fs::read(data().join(format!("{message}.dat"))).unwrap();
        let mut agent = agent();
        agent.handle_datagram(Moment::from_secs(1), 0, "127.0.0.9:777".parse().unwrap(), &bytes);
        assert_eq!(agent.poll_transmit().unwrap().to, SocketAddr::from(([127, 0, 0, 9], port)), "{message}");
    }
}

#[test]
fn valid_messages_survive_being_read_and_written() {
    for row in expected().into_iter().filter(|row| row.kind == "valid") {
        let bytes = std::fs::read(data().join(format!("{}.dat", row.message))).unwrap();
        let once = framer::read(&bytes).unwrap();
        let twice = framer::read(&once.to_bytes()).unwrap();
        assert_eq!(shape(&once), shape(&twice), "{}", row.message);
        assert_eq!(once.to_bytes(), twice.to_bytes(), "{}", row.message);
    }
}

#[test]
fn octets_behind_the_body_are_no_second_message() {
    let bytes = std::fs::read(data().join("dblreq.dat")).unwrap();
    let mut agent = agent();
    agent.handle_datagram(Moment::from_secs(1), 0, "127.0.0.9:5090".parse().unwrap(), &bytes);
    assert_eq!(statuses(&mut agent).len(), 1);
}

/// `DOZVON_MUTATIONS=1000000` runs the long form.
#[test]
fn no_mutation_silences_the_line() {
    let rounds: u64 = std::env::var("DOZVON_MUTATIONS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20_000);
    let mut corpus: Vec<Vec<u8>> =
        expected().iter().map(|row| std::fs::read(data().join(format!("{}.dat", row.message))).unwrap()).collect();
    corpus.push(INVITE.as_bytes().to_vec());
    let mut agent = agent();
    let mut dice = Dice(0x0122);
    for round in 0..rounds {
        let mut bytes = corpus[dice.below(corpus.len())].clone();
        for _ in 0..=dice.below(4) {
            mutate(&mut bytes, &mut dice);
        }
        let now = Moment::from_millis(1_000 + round);
        let from = if dice.below(2) == 0 { "127.0.0.9:5090" } else { "127.0.0.2:5090" };
        agent.handle_datagram(now, 0, from.parse().unwrap(), &bytes);
        agent.handle_timeout(now);
        while agent.poll_event().is_some() {}
        while agent.poll_transmit().is_some() {}
        if round % 16 == 0 {
            assert!(is_alive(&mut agent, now), "silent after {:?}", String::from_utf8_lossy(&bytes));
        }
    }
}

const INVITE: &str = "INVITE sip:122@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2:5090;rport;branch=z9hG4bKone\r\nFrom: \"A\" <sip:+79130000012@127.0.0.2>;tag=1\r\n\
To: <sip:122@127.0.0.1>\r\nCall-ID: one\r\nCSeq: 1 INVITE\r\nContact: <sip:a@127.0.0.2:5090>\r\nContent-Type: application/sdp\r\n\r\n\
v=0\r\no=- 1 1 IN IP4 127.0.0.2\r\ns=-\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";

/// The faults of PROTOS c07-sip: empty, long, repeated, signs, borders of integers, foreign bytes; plus flips and cuts.
fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
    const BAD: [&[u8]; 16] = [
        b"",
        b"%n%s",
        b"\0",
        b"\xff\xfe",
        b"-1",
        b"2147483648",
        b"4294967296",
        b"18446744073709551616",
        b"\r\n",
        b"\r\n ",
        b":",
        b";;",
        b"<<",
        b"\"",
        b"[::",
        b"@",
    ];
    let at = dice.below(bytes.len() + 1);
    match dice.below(6) {
        0 => {
            let end = (at + dice.below(20)).min(bytes.len());
            bytes.splice(at..end, BAD[dice.below(BAD.len())].iter().copied());
        }
        1 => bytes.truncate(at),
        2 if at < bytes.len() => bytes[at] = dice.below(256) as u8,
        3 => {
            let end = (at + dice.below(60)).min(bytes.len());
            let piece = bytes[at..end].to_vec();
            let to = dice.below(bytes.len() + 1);
            bytes.splice(to..to, piece);
        }
        4 => {
            let length = [10, 1_000, 65_536][dice.below(3)];
            bytes.splice(at..at, std::iter::repeat_n(b'a', length));
        }
        _ => {
            let end = (at + dice.below(40)).min(bytes.len());
            bytes.drain(at..end);
        }
    }
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }
}

fn agent() -> UserAgent {
    let network =
        Network { name: "lan".into(), bind: "127.0.0.1:5060".parse().unwrap(), advertise: "127.0.0.1".parse().unwrap() };
    let trunk = Trunk {
        trunk: TrunkId::from("city"),
        network: "lan".into(),
        peers: vec!["127.0.0.2".parse().unwrap()],
        contact: None,
        watch: None,
        dialled: Default::default(),
        area: None,
        our_number: None,
        show_caller: false,
        channels: 0,
    };
    let settings = Settings {
        networks: vec![network],
        trunks: vec![trunk],
        numbers: vec!["122".into()],
        realm: "dozvon".into(),
        product: "dozvon".into(),
        ..Settings::default()
    };
    UserAgent::new(settings, IdSource::new(1), [1, 2, 3, 4])
}

fn is_alive(agent: &mut UserAgent, now: Moment) -> bool {
    agent.handle_datagram(now, 0, "127.0.0.9:5090".parse().unwrap(), OPTIONS.as_bytes());
    statuses(agent).contains(&200)
}

/// Of everything that goes out.
fn statuses(agent: &mut UserAgent) -> Vec<u16> {
    let sent: Vec<Transmit> = std::iter::from_fn(|| agent.poll_transmit()).collect();
    let status = |sent: &Transmit| match framer::read(&sent.bytes) {
        Ok(Message::Response(response)) => response.status,
        other => panic!("{other:?}"),
    };
    sent.iter().map(status).collect()
}

/// Start line, fields and body, without Content-Length.
fn shape(message: &Message) -> impl PartialEq + std::fmt::Debug + use<> {
    let start = match message {
        Message::Request(request) => format!("{} {}", request.method_text(), request.uri()),
        Message::Response(response) => format!("{} {}", response.status, response.reason()),
    };
    let fields = message
        .headers()
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_vec()))
        .filter(|(name, _)| name != "Content-Length");
    (start, fields.collect::<Vec<_>>(), message.body().to_vec())
}

struct Row {
    message: String,
    kind: String,
    replies: Vec<u16>,
}

/// The table of `EXPECTED.md`, its words resolved.
fn expected() -> Vec<Row> {
    let text = std::fs::read_to_string(data().join("EXPECTED.md")).unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("| ---"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let numbers = |text: &str| -> Vec<u16> { text.split_whitespace().filter_map(|word| word.parse().ok()).collect() };
    let word = |word: &str| rows.iter().find(|row| row.len() == 2 && row[0] == word).map(|row| numbers(row[1]));
    rows.iter()
        .filter(|row| row.len() == 5 && row[0] != "message")
        .map(|row| {
            let replies = row[3].split_whitespace().flat_map(|reply| word(reply).unwrap_or_else(|| numbers(reply))).collect();
            Row { message: row[0].into(), kind: row[2].into(), replies }
        })
        .collect()
}

fn data() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/rfc4475"))
}
