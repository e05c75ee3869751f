//! Phones that others wrote: SIPp and baresip, as citizens and as agents.

use crate::baresip::Baresip;
use crate::ear::{hears_music, read_wav, seconds_of_tone};
use crate::engine::{PASSWORD, SOON};
use crate::line::{AGENT, ANSWERS, CITIZEN, Line, Plan, registers, rings};
use crate::sipp::Sipp;

const IVANOVA: [(&str, &str); 3] = [("name", "Ivanova"), ("caller", "+73852000001"), ("asserted", "+73852000001")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_citizen_is_served_and_the_agent_hangs_up() {
    let line = Line::open(Plan::default()).await;
    let anna = line.phone_that(20, ANSWERS);
    let citizen = Sipp::play(&line, "citizen_waits_for_bye", 11, &IVANOVA);
    let talk = rings(&anna).await;
    talk.wait_answered().await.unwrap();
    line.stages("talking", 1).await;
    talk.hang_up();
    citizen.succeeds(&line).await;
    line.ended_as(&[("served", 1)]).await;
    let calls = line.calls().await;
    assert_eq!(
        (&calls[0]["queue"], &calls[0]["theme"], &calls[0]["agent"]),
        (&"booking".into(), &"booking".into(), &"anna".into())
    );
    line.wait_for("the booking core to hold the case", SOON, async || {
        let held = line.get("/api/v1/core/handoffs").await.unwrap();
        (held["handoffs"][0]["call"] == calls[0]["call"]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_citizen_hangs_up_and_was_served() {
    let line = Line::open(Plan::default()).await;
    let anna = line.phone_that(20, ANSWERS);
    let citizen = Sipp::play(&line, "citizen_hangs_up", 11, &IVANOVA);
    let talk = rings(&anna).await;
    citizen.succeeds(&line).await;
    talk.wait_ended().await.unwrap();
    line.ended_as(&[("served", 1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_agent_is_told_who_calls_and_from_which_queue() {
    let line = Line::open(Plan::default()).await;
    let anna = Sipp::play(&line, "agent", 20, &[]);
    let citizen = line.call_queue("+73852000001").await;
    anna.succeeds(&line).await;
    citizen.wait_ended().await.unwrap();
    line.ended_as(&[("served", 1)]).await;
}

/// RFC 4028: too short a session is refused, the least one agreed on, and refreshed by the far end's UPDATE.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_agrees_on_a_session_timer_and_refreshes() {
    let line = Line::open(Plan::default()).await;
    let anna = line.phone_that(20, ANSWERS);
    let citizen = Sipp::play(&line, "citizen_refreshes", 11, &IVANOVA);
    let talk = rings(&anna).await;
    talk.wait_answered().await.unwrap();
    line.stages("talking", 1).await;
    talk.hang_up();
    citizen.succeeds(&line).await;
    line.ended_as(&[("served", 1)]).await;
}

/// RFC 3264 §8: the session stays the same; its version grows by one with each change, and only then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hold_keeps_the_session_and_counts_its_version() {
    for (citizen, agent) in [("citizen_holds", None), ("citizen_waits_for_bye", Some("agent_holds"))] {
        let line = Line::open(Plan::default()).await;
        let phone = agent.is_none().then(|| line.phone_that(20, ANSWERS));
        let anna = agent.map(|scenario| Sipp::play(&line, scenario, 20, &[]));
        let ivanova = Sipp::play(&line, citizen, 11, &IVANOVA);
        let mut messages = ivanova.succeeds(&line).await;
        if let Some(anna) = anna {
            messages = anna.succeeds(&line).await;
        }
        line.ended_as(&[("served", 1)]).await;
        let origins: Vec<_> = messages.lines().filter(|line| line.starts_with("o=") && !line.starts_with("o=sipp")).collect();
        let mut numbers = Vec::new();
        for origin in &origins {
            let words: Vec<_> = origin.split(' ').collect();
            numbers.push((words[1].parse::<u64>().unwrap(), words[2].parse::<u64>().unwrap()));
        }
        // A 200 may come twice.
        numbers.dedup();
        let (session, version) = numbers[0];
        assert_eq!(numbers, [(session, version), (session, version + 1), (session, version + 2)], "{origins:#?}");
        drop(phone);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baresip_registers_as_an_agent_and_both_hear_each_other() {
    let line = Line::open(Plan { agents: vec![registers("boris")], ..Plan::default() }).await;
    let account = format!("<sip:boris@{}>;auth_pass={PASSWORD};answermode=auto;regint=60;audio_codecs=pcma", line.net.ip(2));
    let mut boris = Baresip::start(&line, 20, &account, AGENT).await;
    line.agent_is("boris", "ready", None).await;
    let citizen = line.call("+73852000001");
    citizen.wait_answered().await.unwrap();
    citizen.press('1').await.unwrap();
    citizen.hears_tone(AGENT).await.unwrap();
    line.stages("talking", 1).await;
    // Two seconds of our tone arrive before we go.
    crate::ear::hears(&citizen, "two seconds of baresip's tone", |heard| seconds_of_tone(heard, AGENT) >= 2.0).await;
    boris.command("hold", "");
    hears_music(&citizen, AGENT).await;
    boris.command("resume", "");
    citizen.hears_tone(AGENT).await.unwrap();
    citizen.hang_up();
    boris.tells(&line, "CALL_CLOSED").await;
    line.ended_as(&[("served", 1)]).await;
    heard_by(&boris, &line, CITIZEN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baresip_dials_122_presses_a_key_by_rfc_4733_and_is_served() {
    let line = Line::open(Plan::default()).await;
    let anna = line.phone_that(20, ANSWERS);
    let account = format!("<sip:+73852000001@{}>;regint=0;audio_codecs=pcma", line.net.ip(11));
    let mut citizen = Baresip::start(&line, 11, &account, CITIZEN).await;
    citizen.command("dial", &format!("sip:122@{}", line.net.ip(2)));
    citizen.tells(&line, "CALL_ESTABLISHED").await;
    citizen.command("sndcode", "1");
    let talk = rings(&anna).await;
    talk.hears_tone(CITIZEN).await.unwrap();
    crate::ear::hears(&talk, "two seconds of baresip's tone", |heard| seconds_of_tone(heard, CITIZEN) >= 2.0).await;
    assert!(talk.invite_header("From").unwrap().contains("+73852000001"));
    talk.hang_up();
    citizen.tells(&line, "CALL_CLOSED").await;
    line.ended_as(&[("served", 1)]).await;
    assert_eq!(line.calls().await[0]["theme"], "booking");
    heard_by(&citizen, &line, AGENT).await;
}

/// At least a second of this tone is in what baresip heard.
async fn heard_by(phone: &Baresip, line: &Line, hertz: f64) {
    line.wait_for("baresip's recording", SOON, async || {
        let seconds: f64 = phone.heard().iter().map(|path| seconds_of_tone(&read_wav(path)[0], hertz)).sum();
        (seconds >= 1.0).then_some(())
    })
    .await;
}
