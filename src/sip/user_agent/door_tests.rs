//! What strangers, phones and old gateways get, message by message.

use super::tests::{media, settings};
use super::*;
use crate::sip::Target;
use crate::sip::digest::answer_challenge;
use std::time::Duration;

const PHONE: &str = "127.0.0.7:5070";
const CITY: &str = "127.0.0.2:5060";

struct Line {
    agent: UserAgent,
    now: Moment,
}

impl Line {
    fn new() -> Self {
        let settings = settings("127.0.0.1:5060".parse().unwrap(), CITY.parse().unwrap());
        Self { agent: UserAgent::new(settings, IdSource::new(1), [5; 4]), now: Moment::from_secs(1) }
    }

    /// Sends a request, returns the replies.
    fn ask(&mut self, from: &str, request: &str) -> Vec<String> {
        self.agent.handle_datagram(self.now, 0, from.parse().unwrap(), request.as_bytes());
        self.sent()
    }

    fn sent(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.agent.poll_transmit()).map(|sent| String::from_utf8(sent.bytes).unwrap()).collect()
    }

    fn status(&mut self, from: &str, request: &str) -> u16 {
        let replies = self.ask(from, request);
        replies.last().and_then(|reply| reply.get(8..11)?.parse().ok()).unwrap_or_default()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.agent.poll_event()).collect()
    }
}

/// A request of one CSeq number, with more header lines and a body.
fn request(method: &str, user: &str, cseq: u32, more: &str, body: &str) -> String {
    let branch = format!("z9hG4bK{method}{cseq}");
    format!(
        "{method} sip:{user}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.7:5070;rport;branch={branch}\r\nFrom: <sip:op1@127.0.0.1>;tag=f\r\n\
         To: <sip:{user}@127.0.0.1>\r\nCall-ID: c\r\nCSeq: {cseq} {method}\r\nContact: <sip:op1@127.0.0.7:5070>\r\nMax-Forwards: 70\r\n{more}\r\n{body}"
    )
}

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.7\r\ns=-\r\nc=IN IP4 127.0.0.7\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n";
const TYPE: &str = "Content-Type: application/sdp\r\n";

/// The `Authorization` line for the challenge in a 401.
fn authorization(reply: &str, method: &str, user: &str) -> String {
    nth_authorization(reply, method, user, 1)
}

fn nth_authorization(reply: &str, method: &str, user: &str, nc: u32) -> String {
    let challenge = reply.lines().find_map(|line| line.strip_prefix("WWW-Authenticate: ")).unwrap();
    let uri = format!("sip:{user}@127.0.0.1");
    let answer = answer_challenge(challenge, "op1", "secret", method, &uri, "cnonce", nc).unwrap();
    format!("Authorization: {answer}\r\n")
}

#[test]
fn a_stranger_calls_nobody_and_leaves_no_trace() {
    let mut line = Line::new();
    for (index, user) in ["122", "op1", "op2", "100"].iter().enumerate() {
        assert_eq!(line.status("127.0.0.9:5090", &request("INVITE", user, index as u32, TYPE, SDP)), 403, "{user}");
    }
    for method in ["SUBSCRIBE", "NOTIFY", "MESSAGE", "PUBLISH", "REFER", "PRACK"] {
        assert_eq!(line.status("127.0.0.9:5090", &request(method, "op1", 9, "", "")), 405, "{method}");
    }
    assert_eq!(line.status("127.0.0.9:5090", &request("JUMP", "op1", 9, "", "")), 501);
    assert_eq!(line.status("127.0.0.9:5090", &request("BYE", "op1", 9, "", "")), 481);
    assert_eq!((line.agent.counters().live_transactions, line.events()), (0, vec![]));
}

#[test]
fn an_existing_account_answers_a_stranger_like_an_absent_one() {
    let mut line = Line::new();
    let bare = |replies: Vec<String>| {
        replies.join("").lines().filter(|l| !l.contains("nonce") && !l.starts_with("To:")).collect::<Vec<_>>().join("\n")
    };
    let existing = bare(line.ask(PHONE, &request("REGISTER", "op1", 1, "", "")));
    let absent = bare(line.ask(PHONE, &request("REGISTER", "nobody", 1, "", "")));
    assert!(existing.starts_with("SIP/2.0 401"), "{existing}");
    assert_eq!(existing, absent);
}

#[test]
fn a_phone_registers_and_is_dialled_where_it_is() {
    let mut line = Line::new();
    let challenge = line.ask(PHONE, &request("REGISTER", "op1", 1, "", "")).remove(0);
    let proof = authorization(&challenge, "REGISTER", "op1");
    let register = request("REGISTER", "op1", 2, &format!("{proof}Expires: 600\r\n"), "");
    let granted = line.ask(PHONE, &register).remove(0);
    assert!(granted.starts_with("SIP/2.0 200") && granted.contains("Contact: <sip:op1@127.0.0.7:5070>;expires=600"), "{granted}");
    assert_eq!(line.ask(PHONE, &register), [granted], "a repeated REGISTER is no replay");
    assert_eq!(line.events(), [Event::Registered { agent: AgentId::from("op1"), reachable: true }]);
    let target = Target::Agent(AgentId::from("op1"));
    let note = crate::sip::DialNote { call: None, queue: Some("therapy".into()), auto_answer: true, ..Default::default() };
    let caller = Phone::parse("+79130000012", None);
    line.agent.handle_command(line.now, Command::Dial { leg: LegId(5), target, local: media(4000), caller, note });
    let invite = line.sent().remove(0);
    assert!(invite.starts_with("INVITE sip:op1@127.0.0.7:5070 SIP/2.0\r\n"), "{invite}");
    for part in
        ["From: \"therapy\" <sip:+79130000012@127.0.0.1>;tag=", "X-Queue: therapy\r\n", "answer-after=0", "alert-autoanswer"]
    {
        assert!(invite.contains(part), "{part} in {invite}");
    }
    line.now = line.now + Duration::from_secs(601);
    line.agent.handle_timeout(line.now);
    assert!(line.events().contains(&Event::Registered { agent: AgentId::from("op1"), reachable: false }));
}

#[test]
fn a_feature_code_is_heard_from_a_phone_that_proves_itself() {
    let mut line = Line::new();
    let challenge = line.ask(PHONE, &request("INVITE", "*1", 1, TYPE, SDP)).remove(0);
    assert!(challenge.starts_with("SIP/2.0 401"));
    let proof = authorization(&challenge, "INVITE", "*1");
    let replies = line.ask(PHONE, &request("INVITE", "*1", 2, &format!("{proof}{TYPE}"), SDP));
    assert_eq!(line.events(), [Event::FeatureCode { agent: AgentId::from("op1"), code: "*1".into() }]);
    let answer = replies.last().unwrap();
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    let tag = answer.lines().find_map(|line| line.strip_prefix("To: ")?.split_once("tag=")).unwrap().1;
    let ack = request("ACK", "*1", 2, "", "").replace("To: <sip:*1@127.0.0.1>", &format!("To: <sip:*1@127.0.0.1>;tag={tag}"));
    assert!(line.ask(PHONE, &ack)[0].starts_with("BYE "));
    assert_eq!(line.events(), []);
}

#[test]
fn a_challenge_to_our_bye_is_never_answered() {
    let mut line = Line::new();
    line.ask(CITY, &request("INVITE", "122", 1, TYPE, SDP));
    let Some(Event::Invited(invited)) = line.events().pop() else { panic!() };
    line.agent.handle_command(line.now, Command::Answer { leg: invited.leg, local: media(4000) });
    let answer = line.sent().remove(0);
    let tag = answer.lines().find_map(|line| line.strip_prefix("To: ")?.split_once("tag=")).unwrap().1;
    line.ask(
        CITY,
        &request("ACK", "122", 1, "", "").replace("To: <sip:122@127.0.0.1>", &format!("To: <sip:122@127.0.0.1>;tag={tag}")),
    );
    line.agent.handle_command(line.now, Command::HangUp { leg: invited.leg, reason: None });
    let bye = line.sent().remove(0);
    let field = |name: &str| bye.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let challenge = format!(
        "SIP/2.0 407 Proxy Authentication Required\r\n{}\r\n{}\r\n{}\r\n{}\r\n{}\r\nProxy-Authenticate: Digest realm=\"dozvon\", nonce=\"n\"\r\n\r\n",
        field("Via"),
        field("From"),
        field("To"),
        field("Call-ID"),
        field("CSeq")
    );
    assert_eq!(line.ask(CITY, &challenge), Vec::<String>::new());
    assert_eq!(line.agent.counters().live_legs, 0);
}

#[test]
fn the_same_call_over_two_ways_is_one_call() {
    let mut line = Line::new();
    let invite = request("INVITE", "122", 1, TYPE, SDP);
    line.ask(CITY, &invite);
    assert_eq!(line.status(CITY, &invite), 100, "repeated: the last response again");
    assert_eq!(line.status(CITY, &invite.replace("z9hG4bKINVITE1", "z9hG4bKother")), 482);
    assert_eq!(line.events().len(), 1);
}

#[test]
fn what_cannot_be_met_is_refused_with_its_word() {
    let mut line = Line::new();
    assert_eq!(line.status(CITY, &request("INVITE", "555", 1, TYPE, SDP)), 404);
    assert_eq!(line.status(CITY, &request("INVITE", "122", 2, "Content-Type: text/plain\r\n", "x")), 415);
    assert_eq!(line.status(CITY, &request("INVITE", "122", 3, "Require: 100rel\r\n", "")), 420);
    assert_eq!(line.status(CITY, &request("INVITE", "122", 4, TYPE, &SDP.replace("AVP 8", "AVP 9"))), 488);
    assert_eq!(line.status(CITY, &request("INVITE", "122", 5, "Accept: text/plain\r\n", "")), 406);
    assert_eq!(line.status(CITY, &request("CANCEL", "122", 6, "", "")), 481);
    assert_eq!(line.events(), []);
}

#[test]
fn who_invites_without_an_offer_gets_ours_and_answers_in_the_ack() {
    let mut line = Line::new();
    line.ask(CITY, &request("INVITE", "122", 1, "", ""));
    let Some(Event::Invited(invited)) = line.events().pop() else { panic!() };
    assert_eq!(invited.offer, None);
    line.agent.handle_command(line.now, Command::Answer { leg: invited.leg, local: media(4000) });
    let offer = line.sent().remove(0);
    assert!(offer.contains("m=audio 4000 RTP/AVP 8 0 101"), "{offer}");
    let tag = offer.lines().find_map(|line| line.strip_prefix("To: ")?.split_once("tag=")).unwrap().1;
    line.ask(
        CITY,
        &request("ACK", "122", 1, TYPE, SDP).replace("To: <sip:122@127.0.0.1>", &format!("To: <sip:122@127.0.0.1>;tag={tag}")),
    );
    let events = line.events();
    assert!(
        matches!(events[0], Event::Changed { stream, .. } if stream.remote == "127.0.0.7:4000".parse().unwrap()),
        "{events:?}"
    );
    assert_eq!(events[1], Event::Confirmed { leg: invited.leg });
}

#[test]
fn a_phone_that_registers_without_end_is_told_to_wait_while_another_is_heard() {
    let mut line = Line::new();
    let mut settings = settings("127.0.0.1:5060".parse().unwrap(), CITY.parse().unwrap());
    settings.limits.per_source = 2;
    line.agent.handle_command(line.now, Command::Settings(Box::new(settings)));
    let challenge = line.ask(PHONE, &request("REGISTER", "op1", 1, "", "")).remove(0);
    let register = |cseq: u32| {
        let proof = nth_authorization(&challenge, "REGISTER", "op1", cseq);
        request("REGISTER", "op1", cseq, &format!("{proof}Expires: 600\r\n"), "")
    };
    let statuses: Vec<u16> = (2..5).map(|cseq| line.status(PHONE, &register(cseq))).collect();
    assert_eq!(statuses, [200, 200, 503]);
    assert_eq!(line.status("127.0.0.8:5070", &register(5)), 200);
    line.now = line.now + Duration::from_secs(33);
    line.agent.handle_timeout(line.now);
    assert_eq!(line.status(PHONE, &register(6)), 200);
}

#[test]
fn a_local_form_of_our_number_is_told_in_the_form_everybody_knows() {
    let mut line = Line::new();
    let mut settings = settings("127.0.0.1:5060".parse().unwrap(), CITY.parse().unwrap());
    settings.numbers = vec!["+73852627766".into(), "83852627766".into()];
    line.agent.handle_command(line.now, Command::Settings(Box::new(settings)));
    let mut dialled = |user: &str, cseq| {
        line.ask(CITY, &request("INVITE", user, cseq, TYPE, SDP));
        line.events().into_iter().find_map(|event| match event {
            Event::Invited(invited) => Some(invited.dialled),
            _ => None,
        })
    };
    assert_eq!(dialled("627766", 1).as_deref(), Some("+73852627766"));
    assert_eq!(dialled("83852627766", 2).as_deref(), Some("83852627766"));
    assert_eq!(dialled("627767", 3), None);
}
