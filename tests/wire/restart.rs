//! What is left of live calls after kill -9.

use crate::engine::{PASSWORD, SOON};
use crate::line::{ANSWERS, Line, Plan, registers, rings, stands, they_talk};
use crate::raw::Raw;
use serde_json::json;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use tokio::net::UdpSocket;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_ends_every_call_once_and_owes_everybody_one_callback() {
    let agents = vec![stands("anna", 20), stands("boris", 21), stands("vera", 22)];
    let mut line = Line::open(Plan { agents, ..Plan::default() }).await;
    let phones = [20, 21, 22].map(|host| line.phone_that(host, ANSWERS));
    let mut talking = Vec::new();
    for number in 0..3 {
        talking.push(line.call_queue(&format!("+7385200000{number}")).await);
    }
    line.stages("talking", 3).await;
    for phone in &phones {
        rings(phone).await;
    }
    let mut waiting = Vec::new();
    for number in 3..8 {
        waiting.push(line.call_queue(&format!("+7385200000{number}")).await);
    }
    line.stages("waiting", 5).await;
    let robot = [8, 9].map(|number| line.call(&format!("+7385200000{number}")));
    for call in &robot {
        call.wait_answered().await.unwrap();
    }
    line.stages("robot", 2).await;

    line.kill9();
    line.restart().await;
    let ledger = line.ended_as(&[("cut", 3), ("failed", 7)]).await;
    assert_eq!((ledger.entered, ledger.open_callbacks), (10, 10));
    let callbacks = line.callbacks().await;
    let people: BTreeSet<_> = callbacks.iter().map(|task| task["person"].as_str().unwrap()).collect();
    assert_eq!((callbacks.len(), people.len()), (10, 10), "{callbacks:#?}");

    // Every call was answered, so each is one case in the booking core, also those that never came out of the menu.
    for call in line.calls().await {
        assert_eq!(call["handoffs"].as_array().unwrap().len(), 1, "{call:#}");
    }

    // A second life that nothing happens in changes nothing.
    line.kill9();
    line.restart().await;
    assert_eq!(line.ended_as(&[("cut", 3), ("failed", 7)]).await, ledger);
    assert_eq!(line.callbacks().await, callbacks);

    // The agents are back, and whoever calls again is no longer owed anything.
    for phone in &phones {
        phone.hang_up_all().await;
    }
    let citizen = line.call_queue("+73852000000").await;
    line.board_shows("a talk", |board| board["calls"][0]["stage"] == "talking").await;
    let anybody = async {
        tokio::select! {
            talk = rings(&phones[0]) => talk,
            talk = rings(&phones[1]) => talk,
            talk = rings(&phones[2]) => talk,
        }
    };
    let talk = anybody.await;
    they_talk(&citizen, &talk).await;
    citizen.hang_up();
    let ledger = line.ended_as(&[("cut", 3), ("failed", 7), ("served", 1)]).await;
    assert_eq!(ledger.open_callbacks, 9);
}

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
    let citizen = line.call_queue("+73852000001").await;
    let talk = rings(&anna).await;
    they_talk(&citizen, &talk).await;

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
    let ledger = line.ended_as(&[("served", 1), ("failed", 1)]).await;
    assert_eq!((ledger.entered, ledger.open_callbacks), (2, 1));
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
