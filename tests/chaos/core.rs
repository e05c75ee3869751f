//! A booking core outside: takes hand-offs over HTTP and may be down, slow, or answer twice.

use crate::air::now_us;
use clap::ValueEnum;
use dozvon::facts::Fact;
use dozvon::journal::{Reader, Record};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A failed hand-off is tried again after 1, 2, 4 … s: so long after the longest pause of a fault all have come.
const SETTLED_WITHIN: u64 = 180_000_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mood {
    #[default]
    #[value(skip)]
    Well,
    /// 503 to everything.
    Down,
    /// The work is done at once, the answer comes after 3 s or after 12 s, when nobody waits for it any more.
    Slow,
    /// The first answer is lost, the repeat gets 409, and each answer comes twice.
    Twice,
}

#[derive(Default)]
struct Held {
    mood: Mood,
    /// By the key of the hand-off: its call, and how often it came.
    cases: BTreeMap<String, (String, u32)>,
    asked: u64,
}

pub struct Core {
    pub address: SocketAddr,
    held: Arc<Mutex<Held>>,
}

impl Core {
    pub fn open(at: SocketAddr) -> Self {
        let listener = TcpListener::bind(at).unwrap();
        let this = Self { address: listener.local_addr().unwrap(), held: Arc::default() };
        let held = this.held.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let held = held.clone();
                std::thread::spawn(move || drop(serve(&stream, &held)));
            }
        });
        this
    }

    /// As the line's configuration names it.
    pub fn section(&self) -> String {
        format!("\n[[webhook]]\nurl = \"http://{}/handoffs\"\nevents = [\"handoff.requested\"]\n", self.address)
    }

    pub fn mood(&self, mood: Mood) {
        self.held.lock().unwrap().mood = mood;
    }

    pub fn counts(&self) -> String {
        let held = self.held.lock().unwrap();
        let again: u32 = held.cases.values().map(|(_, times)| times - 1).sum();
        format!("the booking core holds {} hand-offs of {} requests; {again} came again", held.cases.len(), held.asked)
    }

    /// What it holds against the hand-offs that the journal requested, once it has them all or time is up.
    pub fn compare(&self, data: &Path) -> Vec<(&'static str, String)> {
        let (wanted, began) = (requested(data), now_us());
        let has_all = || wanted.keys().all(|key| self.held.lock().unwrap().cases.contains_key(key));
        while !has_all() && now_us() - began < SETTLED_WITHIN {
            std::thread::sleep(Duration::from_millis(100));
        }
        let held = self.held.lock().unwrap();
        let lost = wanted.iter().filter(|(key, _)| !held.cases.contains_key(*key));
        let mut wrong: Vec<_> = lost.map(|(key, call)| ("hand-offs lost", format!("{key} of {call}"))).collect();
        let mut of_call: BTreeMap<&str, u32> = BTreeMap::new();
        for (key, (call, _)) in &held.cases {
            *of_call.entry(call).or_default() += 1;
            if !wanted.contains_key(key) {
                wrong.push(("hand-offs that nobody requested", format!("{key} of {call}")));
            }
        }
        let doubled = of_call.into_iter().filter(|(_, cases)| *cases > 1);
        wrong.extend(doubled.map(|(call, cases)| ("hand-offs doubled", format!("{call} is {cases} cases"))));
        wrong
    }
}

/// Hand-offs by their key, each with its call.
fn requested(data: &Path) -> BTreeMap<String, String> {
    let mut reader = Reader::<Record>::new(data.join("journal"));
    let (mut all, mut position) = (BTreeMap::new(), 0);
    loop {
        let records = reader.read_from(position, 1 << 20).unwrap();
        let Some((behind, _)) = records.last() else { return all };
        position = *behind;
        for (_, record) in records {
            if let Some(Fact::HandoffRequested { handoff, call, .. }) = record.into_stamped().map(|stamped| stamped.fact) {
                all.insert(handoff.0.to_string(), call.to_string());
            }
        }
    }
}

fn serve(stream: &TcpStream, held: &Mutex<Held>) -> std::io::Result<()> {
    let (mut reader, mut writer) = (BufReader::new(stream.try_clone()?), stream);
    loop {
        let (mut length, mut line) = (0, String::new());
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let event: serde_json::Value = serde_json::from_slice(&body)?;
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let (mood, times, asked) = {
            let mut held = held.lock().unwrap();
            held.asked += 1;
            let (mood, asked) = (held.mood, held.asked);
            let times = if mood == Mood::Down {
                0
            } else {
                let case = held.cases.entry(text("idempotencykey")).or_insert((text("subject"), 0));
                case.1 += 1;
                case.1
            };
            (mood, times, asked)
        };
        let answer = |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        match (mood, times) {
            (Mood::Down, _) => writer.write_all(answer("503 Service Unavailable").as_bytes())?,
            (Mood::Slow, _) => {
                std::thread::sleep(Duration::from_secs(if asked.is_multiple_of(2) { 3 } else { 12 }));
                writer.write_all(answer("200 OK").as_bytes())?;
            }
            (Mood::Twice, 1) => return Ok(()),
            (Mood::Twice, _) => writer.write_all(answer("409 Conflict").repeat(2).as_bytes())?,
            (Mood::Well, _) => writer.write_all(answer("200 OK").as_bytes())?,
        }
    }
}
