//! What else survives kill -9: registrations, books, and nobody taken for somebody else.

use crate::engine::{PASSWORD, SOON};
use crate::line::{ANSWERS, Line, Plan, registers, rings, they_talk};
use crate::raw::Raw;
use serde_json::json;
use std::fs::{self, File};
use std::io::Write;
use tokio::net::UdpSocket;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phones_registered_before_kill_9_ring_after_it_and_agents_are_where_they_were() {
    let mut line = Line::open(Plan { agents: vec![registers("anna"), registers("boris")], ..Plan::default() }).await;
    let (anna, boris) = (line.phone_that(20, ANSWERS), line.phone_that(21, ANSWERS));
    for (phone, user) in [(&anna, "anna"), (&boris, "boris")] {
        phone.register(line.net.engine(), user, PASSWORD).await.unwrap();
        line.agent_is(user, "ready", None).await;
    }
    line.post("/api/v1/agents/boris/state", json!({ "state": "offline" })).await.unwrap();
    line.agent_is("boris", "offline", None).await;

    line.kill9();
    line.restart().await;
    line.agent_is("anna", "ready", None).await;
    line.agent_is("boris", "offline", None).await;
    let (citizen, _talk) = line.talks_with(&anna).await;

    // A refresh makes nobody ready who went offline beside the phone.
    boris.register(line.net.engine(), "boris", PASSWORD).await.unwrap();
    citizen.hang_up();
    line.ended_as(&[("served", 1)]).await;
    line.agent_is("boris", "offline", None).await;
}

/// Phones whose talk died go on sending for a while. Whoever calls after the restart must not be taken for one of them, not even
/// somebody who listens and says nothing. (The new life begins at ports of its own; that they meet by chance is one in a thousand.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_citizen_is_not_mistaken_for_one_of_a_former_life() {
    let mut line = Line::open(Plan::default()).await;
    let mut former = Vec::new();
    for number in 0..4 {
        former.push(line.call_queue(&format!("+7385200000{number}")).await);
    }
    line.kill9();
    line.restart().await;
    let citizen = Raw::bind(&line, 11).await;
    let ear = UdpSocket::bind((line.net.ip(11), 4000)).await.unwrap();
    citizen.send(&citizen.invite("+73852000009")).await;
    citizen.receive("SIP/2.0 200").await;
    let mut packet = [0; 256];
    // Half a second of the robot.
    for _ in 0..25 {
        tokio::time::timeout(SOON, ear.recv(&mut packet)).await.expect("the robot is heard").unwrap();
    }
}

/// The tables are a fold of the journal: deleted, they are made again; a torn last record costs only itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn books_are_made_again_of_the_journal_and_a_torn_end_is_cut() {
    let mut line = Line::open(Plan::default()).await;
    let anna = line.phone_that(20, ANSWERS);
    let served = line.call_queue("+73852000001").await;
    they_talk(&served, &rings(&anna).await).await;
    let missed = line.call("+73852000002");
    missed.wait_answered().await.unwrap();
    served.hang_up();
    line.ended_as_so_far("served", 1).await;
    line.kill9();

    let data = line.folder().join("data");
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(data.join(format!("dozvon.db{end}")));
    }
    let last = fs::read_dir(data.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let last = last.filter(|path| path.extension().is_some_and(|end| end == "log")).max().unwrap();
    File::options().append(true).open(last).unwrap().write_all(b"torn by a power cut").unwrap();
    line.restart().await;
    line.stages("robot", 1).await;
    missed.hang_up();
    let ledger = line.ended_as(&[("served", 1), ("abandoned_in_menu", 1)]).await;
    assert_eq!(ledger.entered, 2);
    let calls = line.calls().await;
    assert!(calls.iter().any(|call| call["agent"] == "anna" && call["theme"] == "booking"), "{calls:#?}");
}

/// The people stream holds numbers bare: what the tables have is deleted there, at the start and then every hour.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_leave_the_people_stream_once_the_tables_have_them() {
    let mut line = Line::open(Plan::default()).await;
    let people = line.folder().join("data/people");
    let holds_the_number = || {
        let files = std::fs::read_dir(&people).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
        files.into_iter().any(|bytes| bytes.windows(10).any(|part| part == b"3852417263"))
    };
    let citizen = line.call("+73852417263");
    citizen.wait_answered().await.unwrap();
    citizen.hang_up();
    line.ended_as(&[("abandoned_in_menu", 1)]).await;
    assert_eq!(line.calls().await.len(), 1);
    assert!(holds_the_number());

    line.kill9();
    line.restart().await;
    line.wait_for("the number to be gone", SOON, async || (!holds_the_number()).then_some(())).await;
}
