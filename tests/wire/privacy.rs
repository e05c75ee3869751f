//! Nothing by which a citizen can be told stands in any log, however talkative, nor in the journal of facts.

use crate::line::{ANSWERS, Line, Plan, rings, they_talk};
use crate::sipp::Sipp;
use dozvon::testphone::Dial;
use std::fs;
use std::path::{Path, PathBuf};

const POLICY: &str = "2291408573946152";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phones_names_and_policies_are_in_no_log_and_not_in_the_journal() {
    let line = Line::open(Plan { script: "122", log: "trace", recording: true, ..Plan::default() }).await;
    let anna = line.phone_that(20, ANSWERS);

    // A foreign phone with a name, its number in another form where the carrier asserts it.
    let keys = [("name", "Planted Petrovna"), ("caller", "83852417263"), ("asserted", "8 (3852) 41-72-63")];
    let sipp = Sipp::play(&line, "citizen_waits_for_bye", 11, &keys);
    let talk = rings(&anna).await;
    line.stages("talking", 1).await;
    talk.hang_up();
    sipp.succeeds(&line).await;

    // A policy number, typed in the menu's queue and in the talk.
    let asserted = "\"Тайнова Секлетея\" <sip:+73852417263@127.0.0.1>;party=calling";
    let dial = Dial {
        headers: vec![
            ("P-Asserted-Identity".to_owned(), asserted.to_owned()),
            ("Remote-Party-ID".to_owned(), asserted.to_owned()),
        ],
        ..Dial::new(line.net.engine(), "122", "+73852417263")
    };
    let citizen = line.citizens.dial(dial).unwrap();
    citizen.say(dozvon::testphone::Voice::Tone(crate::line::CITIZEN));
    citizen.wait_answered().await.unwrap();
    citizen.press('1').await.unwrap();
    let talk = rings(&anna).await;
    they_talk(&citizen, &talk).await;
    for (at, digit) in POLICY.chars().enumerate() {
        if at % 2 == 0 {
            citizen.press(digit).await.unwrap();
        } else {
            citizen.press_info(digit).await.unwrap();
        }
    }
    citizen.hang_up();
    talk.wait_ended().await.unwrap();
    line.ended_as(&[("served", 2)]).await;
    let unanswered = line.call("+73852417263");
    unanswered.wait_answered().await.unwrap();
    unanswered.hang_up();
    line.board_shows("no live call", |board| board["live_calls"] == 0).await;

    let log = line.log();
    assert!(contains(&log, b"TRACE") || contains(&log, b"trace"), "the log is not as talkative as it should be");
    let mut places = vec![line.log_path()];
    places.extend(files(&line.folder().join("data/journal")));
    assert!(places.len() > 1, "the journal was not found");
    let seven = "4172 63".replace(' ', "");
    let planted = [
        "+73852417263",
        "83852417263",
        "3852417263",
        &seven,
        "417263",
        "41-72-63",
        "41 72 63",
        "Planted",
        "Petrovna",
        "Тайнова",
        "Секлетея",
        POLICY,
        &POLICY[..8],
    ];
    for place in &places {
        let bytes = fs::read(place).unwrap();
        for secret in planted {
            let near = position(&bytes, secret.as_bytes())
                .map(|at| String::from_utf8_lossy(&bytes[at.saturating_sub(200)..(at + 100).min(bytes.len())]).into_owned());
            assert_eq!(near, None, "`{secret}` is in {}", place.display());
        }
    }
    // The digits do not stand one by one in the log either.
    let log = String::from_utf8_lossy(&log).into_owned();
    let told = log.lines().filter(|line| line.to_lowercase().contains("digit") && line.contains('\'')).count();
    assert_eq!(told, 0, "the log tells which keys were pressed");
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    position(bytes, wanted).is_some()
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
}
