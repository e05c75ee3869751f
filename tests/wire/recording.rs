//! What is on tape: the citizen left, what the citizen hears right; nothing where nothing may be; all but the last second after kill -9.

use crate::ear::{hears, read_wav, seconds_of_tone};
use crate::line::{AGENT, ANSWERS, CITIZEN, Line, Plan, rings, they_talk};
use dozvon::testphone::Voice;
use serde_json::json;
use std::path::{Path, PathBuf};

const SECRET: f64 = 2250.0;

fn plan() -> Plan {
    Plan { recording: true, ..Plan::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_citizen_is_left_and_the_agent_right() {
    let line = Line::open(plan()).await;
    let anna = line.phone_that(20, ANSWERS);
    let (citizen, _talk) = line.talks_with(&anna).await;
    hears(&citizen, "two seconds of the agent", |heard| seconds_of_tone(heard, AGENT) >= 2.0).await;
    citizen.hang_up();
    line.ended_as(&[("served", 1)]).await;
    let call = line
        .wait_for("the recording to be closed", crate::engine::SOON, async || {
            let call = line.calls().await[0].clone();
            call["recordings"][0]["ended"].is_string().then_some(call)
        })
        .await;
    let path = only_wav(&line.folder().join("data/recordings"));
    let [left, right] = stereo(&path);
    assert!(seconds_of_tone(&left, CITIZEN) >= 1.5 && seconds_of_tone(&left, AGENT) == 0.0);
    assert!(seconds_of_tone(&right, AGENT) >= 1.5 && seconds_of_tone(&right, CITIZEN) == 0.0);
    let told = call["recordings"][0]["ms"].as_u64().unwrap();
    assert!(told.abs_diff(left.len() as u64 / 8) <= 20, "{told} ms are told, {} are there", left.len() / 8);
    let listened = line.get_bytes(&format!("/api/v1/recordings/{}", call["call"].as_str().unwrap())).await;
    assert!(listened == std::fs::read(path).unwrap(), "the API gives another file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_call_it_is_sealed_and_the_api_gives_it_out_as_it_was_heard() {
    let line = Line::open(Plan { pack: true, ..plan() }).await;
    let anna = line.phone_that(20, ANSWERS);
    let (citizen, _talk) = line.talks_with(&anna).await;
    hears(&citizen, "two seconds of the agent", |heard| seconds_of_tone(heard, AGENT) >= 2.0).await;
    citizen.hang_up();
    line.ended_as(&[("served", 1)]).await;
    let call = line
        .wait_for("the recording to be packed", crate::engine::SOON, async || {
            let call = line.calls().await[0].clone();
            call["recordings"][0]["packed"].is_string().then_some(call)
        })
        .await;
    let folder = line.folder().join("data/recordings");
    let days: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|day| day.unwrap().path()).collect();
    let files: Vec<_> =
        std::fs::read_dir(&days[0]).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert!(matches!(&files[..], [file] if file.ends_with(".ogg.sealed")), "{files:?}");
    let listened = line.get_bytes(&format!("/api/v1/recordings/{}", call["call"].as_str().unwrap())).await;
    let path = line.folder().join("listened.wav");
    std::fs::write(&path, listened).unwrap();
    let [left, right] = stereo(&path);
    assert!(seconds_of_tone(&left, CITIZEN) >= 1.5 && seconds_of_tone(&left, AGENT) == 0.0);
    assert!(seconds_of_tone(&right, AGENT) >= 1.5 && seconds_of_tone(&right, CITIZEN) == 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_while_the_agent_pauses_the_recording_is_on_no_tape() {
    let line = Line::open(plan()).await;
    let anna = line.phone_that(20, ANSWERS);
    let (citizen, talk) = line.talks_with(&anna).await;
    line.post("/api/v1/agents/anna/recording", json!({ "paused": true })).await.unwrap();
    // A policy number is told.
    talk.say(Voice::Tone(SECRET));
    hears(&citizen, "a second of the secret", |heard| seconds_of_tone(heard, SECRET) >= 1.0).await;
    talk.say(Voice::Tone(AGENT));
    citizen.hears_tone(AGENT).await.unwrap();
    line.post("/api/v1/agents/anna/recording", json!({ "paused": false })).await.unwrap();
    hears(&citizen, "a second of the agent", |heard| seconds_of_tone(heard, AGENT) >= 1.0).await;
    line.signal("-TERM");
    citizen.hang_up();
    let mut line = line;
    assert!(line.ended(crate::engine::SOON).await.success());
    let [_, right] = stereo(&only_wav(&line.folder().join("data/recordings")));
    assert_eq!(seconds_of_tone(&right, SECRET), 0.0);
    assert!(seconds_of_tone(&right, AGENT) >= 0.5);
    // Also the last recording before a stop is told to the tables.
    line.restart().await;
    assert!(line.calls().await[0]["recordings"][0]["ended"].is_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_all_but_the_last_second_is_there() {
    let mut line = Line::open(plan()).await;
    let anna = line.phone_that(20, ANSWERS);
    let (citizen, _talk) = line.talks_with(&anna).await;
    hears(&citizen, "three seconds of the agent", |heard| seconds_of_tone(heard, AGENT) >= 3.0).await;
    line.kill9();
    let [left, right] = stereo(&only_wav(&line.folder().join("data/recordings")));
    assert!(seconds_of_tone(&right, AGENT) >= 1.9, "{}", seconds_of_tone(&right, AGENT));
    assert!(seconds_of_tone(&left, CITIZEN) >= 1.9, "{}", seconds_of_tone(&left, CITIZEN));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_talk_of_an_unrecorded_queue_is_on_no_tape() {
    let line = Line::open(plan()).await;
    let anna = line.phone_that(20, ANSWERS);
    let citizen = line.call("+73852000001");
    citizen.wait_answered().await.unwrap();
    citizen.press('2').await.unwrap();
    let talk = rings(&anna).await;
    they_talk(&citizen, &talk).await;
    hears(&citizen, "a second of the agent", |heard| seconds_of_tone(heard, AGENT) >= 1.0).await;
    citizen.hang_up();
    line.ended_as(&[("served", 1)]).await;
    for path in wavs(&line.folder().join("data/recordings")) {
        let [left, right] = stereo(&path);
        assert_eq!((seconds_of_tone(&right, AGENT), seconds_of_tone(&left, AGENT)), (0.0, 0.0));
        // Before the queue the menu was recorded, with the citizen's tone; not a second of it is the talk.
        assert!(seconds_of_tone(&left, CITIZEN) < 1.0);
    }
}

/// A full or broken disk is no reason to lose a citizen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c46_a_recording_that_cannot_be_written_costs_nobody_the_call() {
    let mut line = Line::open(plan()).await;
    line.errors_expected = true;
    let recordings = line.folder().join("data/recordings");
    let _ = std::fs::remove_dir_all(&recordings);
    std::fs::write(&recordings, "no folder").unwrap();
    let anna = line.phone_that(20, ANSWERS);
    let citizen = line.call_queue("+73852000001").await;
    they_talk(&citizen, &rings(&anna).await).await;
    citizen.hang_up();
    line.ended_as(&[("served", 1)]).await;
    // Nothing waits for the recording either.
    line.signal("-TERM");
    assert!(line.ended(crate::engine::SOON).await.success());
}

fn stereo(path: &Path) -> [Vec<i16>; 2] {
    read_wav(path).try_into().unwrap_or_else(|channels: Vec<_>| panic!("{} channels", channels.len()))
}

fn only_wav(folder: &Path) -> PathBuf {
    let found = wavs(folder);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

fn wavs(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| if path.is_dir() { wavs(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|end| end == "wav"))
        .collect()
}
