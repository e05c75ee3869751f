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

/// The head fields of a response that answers `request`, with a To tag.
fn response(status: &str, request: &str, more: &str) -> String {
    let field = |name: &str| request.lines().find(|line| line.starts_with(name)).unwrap();
    let to = field("To: ");
    let tag = if to.contains("tag=") { "" } else { ";tag=theirs" };
    format!(
        "SIP/2.0 {status} Word\r\n{}\r\n{}\r\n{to}{tag}\r\n{}\r\n{}\r\n{more}",
        field("Via: "),
        field("From: "),
        field("Call-ID: "),
        field("CSeq: ")
    )
}

fn dial_city(line: &mut Line) -> String {
    let target = Target::Trunk { trunk: TrunkId::from("city"), number: "103".into() };
    let note = crate::sip::DialNote::default();
    line.agent.handle_command(line.now, Command::Dial { leg: LegId(5), target, local: media(4000), caller: None, note });
    line.sent().remove(0)
}

fn line_that_asks() -> Line {
    let mut line = Line::new();
    let mut settings = settings("127.0.0.1:5060".parse().unwrap(), CITY.parse().unwrap());
    settings.session_expires_s = Some(90);
    line.agent.handle_command(line.now, Command::Settings(Box::new(settings)));
    line
}

#[test]
fn too_short_a_session_is_refused_with_our_least_interval() {
    let mut line = Line::new();
    let more = format!("Supported: timer\r\nSession-Expires: 60\r\n{TYPE}");
    let refusal = line.ask(CITY, &request("INVITE", "122", 1, &more, SDP)).remove(0);
    assert!(refusal.starts_with("SIP/2.0 422 Session Interval Too Small\r\n") && refusal.contains("Min-SE: 90\r\n"), "{refusal}");
    assert_eq!((line.events(), line.agent.counters().live_transactions), (vec![], 0));
    let insists = format!("Require: timer\r\nSession-Expires: 90\r\n{TYPE}");
    assert_eq!(line.status(CITY, &request("INVITE", "122", 2, &insists, SDP)), 100);
}

#[test]
fn a_session_that_is_too_short_for_them_is_asked_for_once_more_and_longer() {
    let mut line = line_that_asks();
    let first = dial_city(&mut line);
    assert!(first.contains("Session-Expires: 90\r\n") && !first.contains("Min-SE"), "{first}");
    let sent = line.ask(CITY, &response("422", &first, "Min-SE: 300\r\n\r\n"));
    assert!(sent[0].starts_with("ACK ") && sent[1].starts_with("INVITE "), "{sent:?}");
    for part in ["Session-Expires: 300\r\n", "Min-SE: 300\r\n", "CSeq: 2 INVITE\r\n", "m=audio 4000"] {
        assert!(sent[1].contains(part), "{part} in {}", sent[1]);
    }
    let of = |text: &str, name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    for name in ["Call-ID: ", "From: ", "To: "] {
        assert_eq!(of(&first, name), of(&sent[1], name));
    }
    assert_eq!(line.events(), []);
    line.ask(CITY, &response("422", &sent[1], "Min-SE: 600\r\n\r\n"));
    assert_eq!(line.events(), [Event::Refused { leg: LegId(5), status: 422 }]);
}

#[test]
fn a_life_after_the_422_asks_longer_and_acknowledges_it_when_it_comes_again() {
    let mut line = line_that_asks();
    let first = dial_city(&mut line);
    let refusal = response("422", &first, "Min-SE: 300\r\n\r\n");
    line.ask(CITY, &refusal);
    let Some((leg, Some(record))) = line.agent.poll_written() else { panic!() };
    let mut next = line_that_asks();
    next.agent.restore_leg(next.now, leg, &record).unwrap();
    let sent = next.sent();
    assert!(sent.len() == 1 && sent[0].starts_with("INVITE ") && sent[0].contains("Session-Expires: 300\r\n"), "{sent:?}");
    assert!(sent[0].contains("CSeq: 2 INVITE\r\n") && sent[0].contains("m=audio 4000"), "{}", sent[0]);
    let sent = next.ask(CITY, &refusal);
    assert!(sent.len() == 1 && sent[0].starts_with("ACK ") && sent[0].contains("CSeq: 1 ACK\r\n"), "{sent:?}");
    assert_eq!(next.agent.leg_stage(leg), Some(LegStage::Dialling));
}

#[test]
fn an_update_that_wants_too_short_a_session_changes_nothing() {
    let mut line = Line::new();
    let invite = request("INVITE", "122", 1, &format!("Supported: timer\r\nSession-Expires: 90\r\n{TYPE}"), SDP);
    line.ask(CITY, &invite);
    let Some(Event::Invited(invited)) = line.events().pop() else { panic!() };
    line.agent.handle_command(line.now, Command::Answer { leg: invited.leg, local: media(4000) });
    let answer = line.sent().remove(0);
    let tag = answer.lines().find_map(|line| line.strip_prefix("To: ")?.split_once("tag=")).unwrap().1.to_owned();
    let in_dialog = |method: &str, cseq: u32, more: &str| {
        request(method, "122", cseq, more, "").replace("To: <sip:122@127.0.0.1>", &format!("To: <sip:122@127.0.0.1>;tag={tag}"))
    };
    line.ask(CITY, &in_dialog("ACK", 1, ""));
    line.events();
    line.now = line.now + Duration::from_secs(50);
    let refusal = line.ask(CITY, &in_dialog("UPDATE", 2, "Supported: timer\r\nSession-Expires: 30\r\n")).remove(0);
    assert!(refusal.starts_with("SIP/2.0 422") && refusal.contains("Min-SE: 90\r\n"), "{refusal}");
    line.now = line.now + Duration::from_secs(10);
    line.agent.handle_timeout(line.now);
    assert_eq!(line.events(), [Event::Lost { leg: invited.leg }], "a refused refresh is none");
}

#[test]
fn who_does_not_take_our_update_is_asked_by_reinvite() {
    let mut line = line_that_asks();
    let invite = dial_city(&mut line);
    let answer = "Contact: <sip:103@127.0.0.2:5060>\r\nAllow: INVITE, UPDATE\r\nSession-Expires: 90;refresher=uac\r\n";
    line.ask(CITY, &response("200", &invite, &format!("{answer}{TYPE}\r\n{SDP}")));
    line.now = line.now + Duration::from_secs(45);
    line.agent.handle_timeout(line.now);
    let update = line.sent().pop().unwrap();
    assert!(update.starts_with("UPDATE ") && update.contains("Session-Expires: 90;refresher=uac\r\n"), "{update}");
    assert!(update.ends_with("Content-Length: 0\r\n\r\n"), "{update}");
    line.ask(CITY, &response("405", &update, "\r\n"));
    line.agent.handle_timeout(line.now);
    let reinvite = line.sent().pop().unwrap();
    let body = |text: &str| text.split_once("\r\n\r\n").unwrap().1.to_owned();
    assert!(reinvite.starts_with("INVITE "), "{reinvite}");
    assert_eq!(body(&reinvite), body(&invite));
    // Their least interval rises: the refresh is made again with it.
    let sent = line.ask(CITY, &response("422", &reinvite, "Min-SE: 120\r\n\r\n"));
    line.agent.handle_timeout(line.now);
    let again = sent.into_iter().chain(line.sent()).find(|text| text.starts_with("INVITE ")).unwrap();
    assert!(again.contains("Session-Expires: 120;refresher=uac\r\nMin-SE: 120\r\n"), "{again}");
    assert_eq!(body(&again), body(&invite));
    line.events();
    line.ask(CITY, &response("481", &again, "\r\n"));
    assert_eq!(line.events(), [Event::HungUp { leg: LegId(5) }]);
}

#[test]
fn a_refusal_is_acknowledged_also_by_another_life() {
    let mut line = Line::new();
    let invite = dial_city(&mut line);
    let busy = response("486", &invite, "\r\n");
    line.ask(CITY, &busy);
    let written: Vec<_> = std::iter::from_fn(|| line.agent.poll_written()).collect();
    let [(leg, Some(record))] = written.as_slice() else { panic!("{written:?}") };
    assert!(record.len() < 400, "{} bytes", record.len());
    let mut next = Line::new();
    next.agent.restore_leg(next.now, *leg, record).unwrap();
    assert_eq!(next.agent.legs().count(), 0);
    for _ in 0..2 {
        let sent = next.ask(CITY, &busy);
        assert!(sent.len() == 1 && sent[0].starts_with("ACK ") && sent[0].contains("tag=theirs"), "{sent:?}");
    }
    next.now = next.now + Duration::from_secs(33);
    next.agent.handle_timeout(next.now);
    assert_eq!(next.agent.poll_written(), Some((*leg, None)));
    assert_eq!(next.ask(CITY, &busy), Vec::<String>::new());
}

/// RFC 3261 §11.2: OPTIONS is answered as an INVITE would be.
#[test]
fn a_draining_line_says_so_to_trunks_and_serves_its_phones() {
    let mut line = Line::new();
    assert_eq!(line.status(CITY, &request("OPTIONS", "122", 1, "", "")), 200);
    line.agent.handle_command(line.now, Command::Drain);
    let answer = line.ask(CITY, &request("OPTIONS", "122", 2, "", "")).remove(0);
    assert!(answer.starts_with("SIP/2.0 503") && answer.contains("Retry-After: "), "{answer}");
    assert_eq!(line.status(PHONE, &request("OPTIONS", "op1", 3, "", "")), 200);
    let challenge = line.ask(PHONE, &request("REGISTER", "op1", 4, "", "")).remove(0);
    let proof = authorization(&challenge, "REGISTER", "op1");
    assert_eq!(line.status(PHONE, &request("REGISTER", "op1", 5, &format!("{proof}Expires: 600\r\n"), "")), 200);
    assert!(line.events().contains(&Event::Registered { agent: AgentId::from("op1"), reachable: true }));
    // Those who wait are still served.
    let target = Target::Agent(AgentId::from("op1"));
    let note = crate::sip::DialNote::default();
    line.agent.handle_command(line.now, Command::Dial { leg: LegId(6), target, local: media(4000), caller: None, note });
    assert!(line.sent().remove(0).starts_with("INVITE sip:op1@127.0.0.7:5070 SIP/2.0\r\n"));
    let challenge = line.ask(PHONE, &request("INVITE", "*1", 6, TYPE, SDP)).remove(0);
    let proof = authorization(&challenge, "INVITE", "*1");
    assert_eq!(line.status(PHONE, &request("INVITE", "*1", 7, &format!("{proof}{TYPE}"), SDP)), 200);
}
