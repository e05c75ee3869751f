//! Agents: who misses a call and why, whose phone vanishes, who may register, and what an agent does between calls.

use crate::ear::hears_prompt;
use crate::engine::{PASSWORD, SOON};
use crate::line::{ANSWERS, Line, Plan, registers, rejects, rings, stands, they_talk};
use crate::raw::{Raw, header};
use dozvon::sip::digest;
use dozvon::testphone::{End, NotGranted, OnInvite, PhoneCall};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_rejects_pauses_and_the_next_agent_serves() {
    the_first_misses(Some(rejects(603)), Some("rejected"), "rejected").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_busy_pauses_and_the_next_agent_serves() {
    the_first_misses(Some(rejects(486)), Some("busy"), "busy").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_answer_in_time_is_passed_over() {
    the_first_misses(Some(OnInvite::Ring), None, "no_answer").await;
}

/// Nothing listens where the phone should stand: the kernel says so at once (ICMP).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_is_not_there_is_passed_over_at_once() {
    the_first_misses(None, Some("unreachable"), "unreachable").await;
}

async fn the_first_misses(does: Option<OnInvite>, reason: Option<&str>, end: &str) {
    let agents = vec![stands("anna", 20), stands("boris", 21)];
    let line = Line::open(Plan { agents, ring_s: 3, ..Plan::default() }).await;
    let anna = does.map(|does| line.phone_that(20, does));
    // Whoever is free longest is asked first, and both are free since the start: boris takes a break until anna was asked.
    line.post("/api/v1/agents/boris/state", json!({ "state": "break", "reason": "обед" })).await.unwrap();
    line.agent_is("boris", "on_break", Some("обед")).await;
    let boris = line.phone_that(21, ANSWERS);
    let citizen = line.call_queue("+73852000001").await;
    if let Some(reason) = reason {
        line.agent_is("anna", "on_break", Some(reason)).await;
    }
    line.wait_for("anna to miss the call", SOON, async || (line.agent("anna").await["missed"] == 1).then_some(())).await;
    line.post("/api/v1/agents/boris/state", json!({ "state": "ready" })).await.unwrap();
    if reason.is_none() {
        // It rings at anna's again; boris is next when that is over.
        line.post("/api/v1/agents/anna/state", json!({ "state": "offline" })).await.unwrap();
    }
    let talk = rings(&boris).await;
    they_talk(&citizen, &talk).await;
    talk.hang_up();
    line.ended_as(&[("served", 1)]).await;
    let call = &line.calls().await[0];
    let offers: Vec<_> =
        call["offers"].as_array().unwrap().iter().map(|offer| (offer["agent"].clone(), offer["end"].clone())).collect();
    assert_eq!(offers.first(), Some(&("anna".into(), end.into())), "{offers:?}");
    assert_eq!(offers.last(), Some(&("boris".into(), "answered".into())), "{offers:?}");
    drop(anna);
}

/// No BYE, no RTP: the engine asks the phone after ten seconds and learns that it is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_vanishes_in_the_talk_leaves_the_citizen_first_in_the_queue() {
    let agents = vec![stands("anna", 20), stands("boris", 21)];
    let line = Line::open(Plan { agents, ..Plan::default() }).await;
    let (anna, boris) = (line.phone_that(20, ANSWERS), line.phone_that(21, ANSWERS));
    let first = line.call_queue("+73852000001").await;
    let second = line.call_queue("+73852000002").await;
    let (with_anna, with_boris) = (rings(&anna).await, rings(&boris).await);
    line.stages("talking", 2).await;
    let third = line.call_queue("+73852000003").await;
    line.stages("waiting", 1).await;
    let is_from = |call: &PhoneCall, number: &str| call.invite_header("From").unwrap().contains(number);
    let (cut, other) = if is_from(&with_anna, "+73852000001") { (first, second) } else { (second, first) };

    // The phone and all its sockets are gone.
    drop((with_anna, anna));
    hears_prompt(&cut, "apology").await;
    with_boris.hang_up();
    other.wait_ended().await.unwrap();
    let talk = rings(&boris).await;
    they_talk(&cut, &talk).await;
    third.hang_up();
    talk.hang_up();
    line.ended_as(&[("served", 2), ("abandoned_in_queue", 1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c35_an_agent_hands_the_citizen_on_to_another_queue() {
    let agents = vec![stands("anna", 20), stands("boris", 21)];
    let line = Line::open(Plan { agents, ..Plan::default() }).await;
    let (anna, boris) = (line.phone_that(20, ANSWERS), line.phone_that(21, ANSWERS));
    line.post("/api/v1/agents/boris/state", json!({ "state": "break", "reason": "обед" })).await.unwrap();
    line.agent_is("boris", "on_break", Some("обед")).await;
    let (citizen, with_anna) = line.talks_with(&anna).await;
    line.post("/api/v1/agents/boris/state", json!({ "state": "ready" })).await.unwrap();
    assert!(line.post("/api/v1/agents/anna/transfer", json!({ "queue": "nowhere" })).await.is_err());
    line.post("/api/v1/agents/anna/transfer", json!({ "queue": "drugs" })).await.unwrap();
    with_anna.wait_ended().await.unwrap();
    let with_boris = rings(&boris).await;
    assert_eq!(with_boris.invite_header("X-Queue").as_deref(), Some("drugs"));
    they_talk(&citizen, &with_boris).await;
    citizen.hang_up();
    line.ended_as(&[("served", 1)]).await;
    let call = &line.calls().await[0];
    let talks: Vec<_> = call["talks"].as_array().unwrap().iter().map(|talk| (&talk["agent"], &talk["queue"])).collect();
    assert_eq!(talks, [(&json!("anna"), &json!("booking")), (&json!("boris"), &json!("drugs"))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_never_makes_an_agent_reachable() {
    let line = Line::open(Plan { agents: vec![registers("boris")], ..Plan::default() }).await;
    let phone = line.phone(20);
    for (user, password) in [("boris", "wrong"), ("nobody", PASSWORD)] {
        let NotGranted(status) = phone.register(line.net.engine(), user, password).await.unwrap_err();
        assert!(matches!(status, Some(401 | 403)), "{status:?}");
    }
    let boris = line.agent("boris").await;
    assert_eq!((&boris["state"], &boris["reachable"]), (&"offline".into(), &false.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_registers_with_md5_and_with_sha_256_and_takes_calls() {
    for account in [registers("boris"), registers("boris").and("sha256 = true")] {
        let line = Line::open(Plan { agents: vec![account], ..Plan::default() }).await;
        let phone = line.phone_that(20, ANSWERS);
        phone.register(line.net.engine(), "boris", PASSWORD).await.unwrap();
        line.agent_is("boris", "ready", None).await;
        let citizen = line.call_queue("+73852000001").await;
        they_talk(&citizen, &rings(&phone).await).await;
        citizen.hang_up();
        line.ended_as(&[("served", 1)]).await;
        phone.unregister().await.unwrap();
        line.wait_for("boris to be unreachable", SOON, async || (line.agent("boris").await["reachable"] == false).then_some(()))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replayed_answer_to_a_challenge_is_stale() {
    let line = Line::open(Plan { agents: vec![registers("boris")], ..Plan::default() }).await;
    let phone = Raw::bind(&line, 20).await;
    let uri = format!("sip:boris@{}", line.net.engine());
    let register = async |cseq: u32, head: &str| {
        let text = String::from_utf8(phone.request("REGISTER", "boris", "boris", head)).unwrap();
        phone
            .send(
                text.replace("CSeq: 1", &format!("CSeq: {cseq}"))
                    .replace("branch=z9hG4bK", &format!("branch=z9hG4bK{cseq}"))
                    .as_bytes(),
            )
            .await;
        phone.receive("SIP/2.0").await
    };
    let challenged = register(1, "").await;
    let challenge = header(&challenged, "WWW-Authenticate").unwrap();
    assert!(challenged.starts_with("SIP/2.0 401") && !challenge.contains("stale=true"), "{challenged}");
    let answer = digest::answer_challenge(challenge, "boris", PASSWORD, "REGISTER", &uri, "dice", 1).unwrap();
    let answer = format!("Authorization: {answer}\r\n");
    assert!(register(2, &answer).await.starts_with("SIP/2.0 200"));
    let replayed = register(3, &answer).await;
    assert!(replayed.starts_with("SIP/2.0 401") && replayed.contains("stale=true"), "{replayed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_numbers_and_strangers_are_refused() {
    let line = Line::open(Plan::default()).await;
    let unknown = line.call_number("999", "+73852000001");
    assert_eq!(unknown.wait_ended().await.unwrap(), End::Refused(404));
    let stranger = line.phone(99).call(line.net.engine(), "122", "+73852000001").unwrap();
    let end = stranger.wait_ended().await.unwrap();
    assert!(matches!(end, End::Refused(401 | 403)), "{end:?}");
    assert_eq!(line.ledger().await.entered, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feature_codes_and_the_api_change_what_an_agent_does() {
    let line = Line::open(Plan { agents: vec![registers("boris")], wrap_up_s: 2, ..Plan::default() }).await;
    let phone = line.phone_that(20, ANSWERS);
    phone.register(line.net.engine(), "boris", PASSWORD).await.unwrap();
    line.agent_is("boris", "ready", None).await;
    for (code, state) in [("*2", "on_break"), ("*1", "ready"), ("*3", "offline"), ("*1", "ready")] {
        let call = phone.call(line.net.engine(), code, "boris").unwrap();
        call.wait_ended().await.unwrap();
        line.agent_is("boris", state, None).await;
    }
    line.post("/api/v1/agents/boris/state", json!({ "state": "break", "reason": "обед" })).await.unwrap();
    line.agent_is("boris", "on_break", Some("обед")).await;
    line.post("/api/v1/agents/boris/state", json!({ "state": "ready" })).await.unwrap();

    // The wrap-up ends by its time, then by the agent's word.
    for by_code in [false, true] {
        let citizen = line.call_queue("+73852000001").await;
        let talk = rings(&phone).await;
        they_talk(&citizen, &talk).await;
        talk.hang_up();
        line.agent_is("boris", "wrap_up", None).await;
        if by_code {
            phone.call(line.net.engine(), "*4", "boris").unwrap();
        }
        line.agent_is("boris", "ready", None).await;
    }
    let calls = line.calls().await;
    assert_eq!(calls.len(), 2, "feature codes are no calls of citizens");
}

/// The wrap-up lasts until somebody knows what came of the talk: said from the phone, or over the API.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_of_a_talk_is_said_by_phone_and_by_api() {
    let queues = "auto_answer = true\nwrap_up_codes = { 1 = \"Записан\", 12 = \"Справка\" }\nwrap_up_code_required = true";
    let line = Line::open(Plan { agents: vec![registers("boris")], wrap_up_s: 1, queues, ..Plan::default() }).await;
    let phone = line.phone_that(20, ANSWERS);
    phone.register(line.net.engine(), "boris", PASSWORD).await.unwrap();
    for by_phone in [true, false] {
        line.agent_is("boris", "ready", None).await;
        let (citizen, talk) = line.talks_with(&phone).await;
        // The queue wants its agents' phones to answer by themselves.
        assert!(talk.invite_header("Call-Info").is_some_and(|header| header.contains("answer-after=0")));
        talk.hang_up();
        citizen.wait_ended().await.unwrap();
        line.agent_is("boris", "wrap_up", Some("code_missing")).await;
        for (path, body) in [("finish", json!(null)), ("code", json!({ "code": "2" }))] {
            let refused = line.post(&format!("/api/v1/agents/boris/wrap-up/{path}"), body).await;
            assert!(matches!(refused, Err(ureq::Error::StatusCode(409))), "{path} {refused:?}");
        }
        if by_phone {
            phone.call(line.net.engine(), "*712", "boris").unwrap().wait_ended().await.unwrap();
        } else {
            line.post("/api/v1/agents/boris/wrap-up/code", json!({ "code": "1" })).await.unwrap();
        }
    }
    line.agent_is("boris", "ready", None).await;
    let codes: Vec<_> = line.calls().await.iter().map(|call| call["codes"].clone()).collect();
    let said = |codes: &serde_json::Value| (codes[0]["code"].clone(), codes[0]["title"].clone(), codes[0]["agent"].clone());
    let newest_first = [("1".into(), "Записан".into(), "boris".into()), ("12".into(), "Справка".into(), "boris".into())];
    assert_eq!(codes.iter().map(said).collect::<Vec<_>>(), newest_first);
}

/// It holds though the phone registers anew, until the agent's own next word; and a reason that is none is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_sends_an_agent_away_and_the_phone_does_not_undo_it() {
    let boris = registers("boris").and("auto_answer = true");
    let line = Line::open(Plan { agents: vec![boris], breaks: &["обед", "учёба"], ..Plan::default() }).await;
    let phone = line.phone_that(20, ANSWERS);
    phone.register(line.net.engine(), "boris", PASSWORD).await.unwrap();
    line.agent_is("boris", "ready", None).await;
    let (citizen, talk) = line.talks_with(&phone).await;
    assert!(talk.invite_header("Call-Info").is_some_and(|header| header.contains("answer-after=0")));
    let order = json!({ "state": "offline", "by": "petrova", "why": "конец смены" });
    line.post("/api/v1/agents/boris/override", order).await.unwrap();
    they_talk(&citizen, &talk).await;
    let wish = line.post("/api/v1/agents/boris/state", json!({ "state": "ready" })).await;
    assert!(matches!(wish, Err(ureq::Error::StatusCode(409))), "{wish:?}");
    talk.hang_up();
    let boris = line.agent_is("boris", "offline", None).await;
    assert_eq!((&boris["overridden_by"], &boris["overridden_why"]), (&"petrova".into(), &"конец смены".into()));

    phone.unregister().await.unwrap();
    line.wait_for("boris to be unreachable", SOON, async || (line.agent("boris").await["reachable"] == false).then_some(()))
        .await;
    phone.register(line.net.engine(), "boris", PASSWORD).await.unwrap();
    let back = async || (line.agent("boris").await["reachable"] == true).then_some(());
    line.wait_for("boris to be reachable", SOON, back).await;
    assert_eq!(line.agent("boris").await["state"], "offline");
    phone.call(line.net.engine(), "*1", "boris").unwrap().wait_ended().await.unwrap();
    assert_eq!(line.agent_is("boris", "ready", None).await["overridden_by"], serde_json::Value::Null);

    let coffee = line.post("/api/v1/agents/boris/state", json!({ "state": "break", "reason": "кофе" })).await;
    assert!(matches!(coffee, Err(ureq::Error::StatusCode(409))), "{coffee:?}");
    phone.call(line.net.engine(), "*22", "boris").unwrap().wait_ended().await.unwrap();
    assert_eq!(line.agent_is("boris", "on_break", Some("учёба")).await["overdue"], false);
    line.wait_for("boris to be overdue", SOON, async || (line.agent("boris").await["overdue"] == true).then_some(())).await;
}

/// Where the phone registered last is where the agent sits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_phones_the_one_that_registered_last_rings() {
    let line = Line::open(Plan { agents: vec![registers("boris")], ..Plan::default() }).await;
    let (desk, home) = (line.phone(20), line.phone_that(21, ANSWERS));
    desk.register(line.net.engine(), "boris", PASSWORD).await.unwrap();
    home.register(line.net.engine(), "boris", PASSWORD).await.unwrap();
    let citizen = line.call_queue("+73852000001").await;
    they_talk(&citizen, &rings(&home).await).await;
    citizen.hang_up();
    line.ended_as(&[("served", 1)]).await;
    home.unregister().await.unwrap();
    let citizen = line.call_queue("+73852000001").await;
    let talk = rings(&desk).await;
    talk.answer();
    they_talk(&citizen, &talk).await;
    citizen.hang_up();
    line.ended_as(&[("served", 2)]).await;
}

/// What an agent wishes in a talk comes true after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_who_goes_offline_in_a_talk_finishes_it() {
    let line = Line::open(Plan { agents: vec![registers("boris")], ..Plan::default() }).await;
    let phone = line.phone_that(20, ANSWERS);
    phone.register(line.net.engine(), "boris", PASSWORD).await.unwrap();
    let (citizen, talk) = line.talks_with(&phone).await;
    phone.call(line.net.engine(), "*3", "boris").unwrap().wait_ended().await.unwrap();
    they_talk(&citizen, &talk).await;
    talk.hang_up();
    line.agent_is("boris", "offline", None).await;
    line.ended_as(&[("served", 1)]).await;
}
