//! Receivers of events that are slow, beside one that is well: each case and each event arrives once.

use crate::engine::SOON;
use crate::line::{ANSWERS, Line, Plan, rings, they_talk};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c47_a_receiver_that_never_answers_holds_up_neither_calls_nor_the_others() {
    let mut line = Line::open(Plan::default()).await;
    line.kill9();
    // Connections are taken by the kernel, and nobody ever answers.
    let deaf = TcpListener::bind((line.net.ip(40), 0)).unwrap();
    let well = Receiver::open(TcpListener::bind((line.net.ip(41), 0)).unwrap());
    let hook = |url: String| format!("\n[[webhook]]\nurl = \"http://{url}/events\"\n");
    let deaf_at = deaf.local_addr().unwrap().to_string();
    line.configure(|config| config + &hook(deaf_at) + &hook(well.address.clone()));
    line.restart().await;
    let anna = line.phone_that(20, ANSWERS);
    for number in 1..4_u64 {
        let citizen = line.call_queue(&format!("+7385200000{number}")).await;
        they_talk(&citizen, &rings(&anna).await).await;
        citizen.hang_up();
        line.ended_as(&[("served", number)]).await;
    }
    let all = ["interaction.entered", "handoff.requested", "interaction.ended"];
    let came = || all.map(|kind| well.heard(kind));
    line.wait_for("three of each at the receiver that is well", SOON, async || (came() == [3; 3]).then_some(())).await;

    // After kill -9 nothing comes again that was taken, and what the deaf one has not is still owed.
    line.kill9();
    line.restart().await;
    let citizen = line.call_queue("+73852000004").await;
    they_talk(&citizen, &rings(&anna).await).await;
    citizen.hang_up();
    line.wait_for("the fourth of each", SOON, async || (came() == [4; 3]).then_some(())).await;
    let keys = well.keys.lock().unwrap().clone();
    let twice: Vec<_> = keys.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.len() <= 1, "only what was on its way at the kill may come again: {twice:?}");
    let held = line.get("/api/v1/core/handoffs").await.unwrap();
    assert_eq!(held["handoffs"].as_array().unwrap().len(), 4, "{held:#}");
}

/// A receiver that says 200 and counts.
struct Receiver {
    address: String,
    kinds: Arc<Mutex<BTreeMap<String, std::collections::BTreeSet<String>>>>,
    keys: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Receiver {
    fn open(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap().to_string();
        let this = Self { address, kinds: Arc::default(), keys: Arc::default() };
        let (kinds, keys) = (this.kinds.clone(), this.keys.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (kinds, keys) = (kinds.clone(), keys.clone());
                std::thread::spawn(move || take(stream.unwrap(), &kinds, &keys));
            }
        });
        this
    }

    /// How many different events of this kind came.
    fn heard(&self, kind: &str) -> usize {
        self.kinds.lock().unwrap().get(&format!("ru.dozvon.{kind}")).map_or(0, |keys| keys.len())
    }
}

type Kinds = Mutex<BTreeMap<String, std::collections::BTreeSet<String>>>;

fn take(stream: std::net::TcpStream, kinds: &Kinds, keys: &Mutex<BTreeMap<String, u32>>) {
    let (mut reader, mut writer) = (BufReader::new(stream.try_clone().unwrap()), stream);
    loop {
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let event: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let (kind, key) = (event["type"].as_str().unwrap().to_owned(), event["id"].to_string());
        kinds.lock().unwrap().entry(kind).or_default().insert(key.clone());
        *keys.lock().unwrap().entry(key).or_insert(0) += 1;
        let _ = writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
}
