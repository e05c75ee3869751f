//! The API over real HTTP, with a stand-in for the conductor and real tables.

mod fake;
mod oracle;

use dozvon::api::{self, ApiState, CoreBook, CoreHandoff};
use dozvon::call::view::Board;
use dozvon::clock::{Clock, Moment};
use dozvon::config::{Region, Secret};
use dozvon::facts::{Fact, Outcome, Stamped};
use dozvon::ids::*;
use dozvon::journal::PersonSeen;
use dozvon::pii::Phone;
use dozvon::store::Store;
use dozvon::store::sqlite::SqliteStore;
use dozvon::store::writer::Folded;
use fake::Fake;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;

const TOKEN: &str = "correct-horse";
const CALL: &str = "0193a1b2-0000-7000-8000-000000000001";

#[tokio::test]
async fn nobody_comes_in_without_the_token_but_monitoring_and_the_empty_page() {
    let house = House::start().await;
    for path in ["/api/v1/board", "/api/v1/ledger", "/api/v1/events", "/api/openapi.json", "/api/v1/callbacks"] {
        for token in [None, Some("correct-hors"), Some("correct-horse2"), Some("")] {
            let answer = house.ask("GET", path, token, None).await;
            assert_eq!(answer.status, 401, "{path} {token:?}");
            assert!(answer.json()["remedy"].as_str().unwrap().contains("Authorization: Bearer"), "{}", answer.text);
        }
    }
    for path in ["/", "/healthz", "/readyz", "/metrics"] {
        assert_eq!(house.ask("GET", path, None, None).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn an_open_house_asks_for_no_token() {
    let house = House::start_with(|state| state.token = None).await;
    assert_eq!(house.ask("GET", "/api/v1/board", None, None).await.status, 200);
}

#[tokio::test]
async fn the_ledger_has_exactly_its_four_words_and_keeps_its_law() {
    let house = House::start().await;
    let ledger = house.get("/api/v1/ledger?region=22").await.json();
    let words: Vec<_> = ledger.as_object().unwrap().keys().cloned().collect();
    assert_eq!(words, ["entered", "live", "open_callbacks", "outcomes"]);
    assert_eq!((&ledger["entered"], &ledger["live"], &ledger["open_callbacks"]), (&json!(2), &json!(1), &json!(1)));
    assert_eq!(ledger["outcomes"]["abandoned_in_queue"], 1);
    assert_eq!(ledger["outcomes"].as_object().unwrap().len(), Outcome::ALL.len());
}

#[tokio::test]
async fn a_ledger_of_another_day_or_region_does_not_hold_todays_calls() {
    let house = House::start().await;
    assert_eq!(house.get("/api/v1/ledger?from=2020-01-01&to=2020-01-31").await.json()["entered"], 0);
    assert_eq!(house.get("/api/v1/ledger?from=2020-01-01T00:00:00%2B07:00").await.json()["entered"], 2);
    assert_eq!(house.get("/api/v1/ledger?region=76").await.json()["entered"], 0);
    let today = house.get("/api/v1/ledger").await.json();
    assert_eq!(house.get("/api/v1/ledger?region=&from=&to=").await.json(), today);
    let unknown = house.get("/api/v1/ledger?region=99").await;
    assert_eq!((unknown.status, &unknown.json()["remedy"]), (404, &json!("regions are: 22, 76")));
}

#[tokio::test]
async fn the_ledger_waits_for_tables_that_are_behind_and_says_if_it_waited_in_vain() {
    let house = House::start().await;
    house.fake.board.lock().unwrap().journal.position = 100;
    let late = house.get("/api/v1/ledger").await;
    assert_eq!((late.status, late.header("dozvon-behind-bytes")), (200, Some("100".to_owned())));

    let asking = house.get("/api/v1/ledger");
    let folding = async { house.folded.send_modify(|folded| folded.position = 100) };
    let (in_time, ()) = tokio::join!(asking, folding);
    assert_eq!((in_time.status, in_time.header("dozvon-behind-bytes")), (200, None));
}

/// Service level in three forms, speed of answer, handle time, abandonment, occupancy: as a second fold over the facts has them.
#[tokio::test]
async fn c38_statistics_are_what_a_fold_over_the_facts_says() {
    let (start, zone) = (Moment::from_secs(1_763_618_400), "%2B00:00");
    for seed in 1..=3 {
        let facts = oracle::lived_day(seed, start);
        let mut store = None;
        let house = House::start_with(|state| store = Some(state.store.clone())).await;
        let store = store.unwrap();
        let behind = store.position().await.unwrap();
        let numbered: Vec<_> = facts.iter().cloned().zip(1_u64..).map(|(fact, no)| (behind + no * 10, fact)).collect();
        store.apply(&numbered, behind + numbered.len() as u64 * 10).await.unwrap();
        // The whole, a part that begins while agents talk, another threshold, the other region.
        for (region, from, to, within) in [(22, 0, 9_000, 20), (22, 3_000, 9_000, 20), (22, 0, 9_000, 45), (76, 1_234, 9_000, 20)]
        {
            let time = |after: u64| format!("2025-11-20T{:02}:{:02}:{:02}{zone}", 6 + after / 3_600, after / 60 % 60, after % 60);
            let path = format!("/api/v1/report/statistics?region={region}&from={}&to={}&within_s={within}", time(from), time(to));
            let told = house.get(&path).await.json();
            let [from, to] = [from, to].map(|after| start + Duration::from_secs(after));
            let counted = oracle::counted(&facts, region, from, to, within);
            assert!(oracle::same(&told, &counted), "seed {seed}, {path}:\n{told:#}\n{counted:#}");
            assert!(told["all"]["answered"].as_u64().unwrap() > 50 && told["all"]["abandoned_within"].as_u64().unwrap() > 0);
        }
    }
}

#[tokio::test]
async fn unknown_keys_and_unclear_values_are_refused_with_a_remedy() {
    let house = House::start().await;
    for (path, status) in [
        ("/api/v1/ledger?regoin=22", 400),
        ("/api/v1/ledger?from=yesterday", 400),
        ("/api/v1/ledger?from=2026-11-25&to=2026-11-01", 400),
        ("/api/v1/report/statistics?within_s=0", 400),
        ("/api/v1/report/statistics?from=2026-01-01&to=2026-02-15", 400),
        ("/api/v1/calls?outcome=lost", 400),
        ("/api/v1/calls?limit=501", 400),
        ("/api/v1/calls?after=x", 400),
        ("/api/v1/calls/17", 400),
        ("/api/v1/calls/0193a1b2-0000-7000-8000-00000000ffff", 404),
        ("/api/v1/callbacks?open=1", 400),
        ("/api/v1/agents/nobody", 404),
        ("/api/v1/recordings/0193a1b2-0000-7000-8000-00000000ffff", 404),
        ("/api/v1/nothing", 404),
        ("/api/v1/drain", 405),
    ] {
        let answer = house.get(path).await;
        assert_eq!(answer.status, status, "{path} {}", answer.text);
        for word in ["error", "remedy"] {
            assert!(answer.json()[word].as_str().is_some_and(|text| !text.is_empty()), "{path} {}", answer.text);
        }
    }
    let unknown = house.post("/api/v1/agents/line7/state", json!({"state": "ready", "now": true})).await;
    assert_eq!(unknown.status, 422, "{}", unknown.text);
    let nobody = house.post("/api/v1/agents/line7/override", json!({"state": "ready", "by": " ", "why": "x"})).await;
    assert_eq!((nobody.status, &nobody.json()["error"]), (400, &json!("`by` is empty")), "{}", nobody.text);
    let word = house.post("/api/v1/agents/line7/state", json!({"state": "asleep"})).await;
    assert!(word.json()["error"].as_str().unwrap().contains("ready"), "{}", word.text);
}

#[tokio::test]
async fn what_agents_want_reaches_the_engine() {
    let house = House::start().await;
    for (path, body) in [
        ("/api/v1/agents/line7/state", json!({"state": "ready"})),
        ("/api/v1/agents/line7/state", json!({"state": "break", "reason": "обед"})),
        ("/api/v1/agents/line7/state", json!({"state": "offline"})),
        ("/api/v1/agents/line7/wrap-up/finish", Value::Null),
        ("/api/v1/agents/line7/transfer", json!({"route": "ambulance"})),
        ("/api/v1/agents/line7/transfer", json!({"queue": "drugs"})),
        ("/api/v1/agents/line7/recording", json!({"paused": true})),
        ("/api/v1/agents/line7/wrap-up/extend", Value::Null),
        ("/api/v1/agents/line7/wrap-up/code", json!({"code": "1"})),
        ("/api/v1/agents/line7/override", json!({"state": "offline", "by": "petrova", "why": "ушла"})),
        ("/api/v1/callbacks/task7/close", json!({"how": "reached"})),
    ] {
        let answer = house.post(path, body).await;
        assert_eq!(answer.status, 204, "{path} {}", answer.text);
    }
    assert_eq!(house.post("/api/v1/drain", Value::Null).await.status, 202);
    let asked = house.fake.asked.lock().unwrap().clone();
    let words = ["line7 ready", "line7 break обед", "line7 offline", "line7 finishes wrap-up", "line7 transfers to ambulance"];
    assert_eq!(asked[..5], words);
    let word = "petrova wants line7 Offline: ушла";
    let words = [
        "line7 hands on to drugs",
        "line7 recording paused true",
        "line7 extends wrap-up",
        "line7 gives code 1",
        word,
        "task7 closed Reached",
        "drain",
    ];
    assert_eq!(asked[5..], words);
    for both_or_none in [json!({"route": "ambulance", "queue": "drugs"}), json!({})] {
        let answer = house.post("/api/v1/agents/line7/transfer", both_or_none).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
    }
}

#[tokio::test]
async fn the_engines_refusals_have_their_statuses() {
    let house = House::start().await;
    let unknown = house.post("/api/v1/agents/nobody/state", json!({"state": "ready"})).await;
    assert_eq!((unknown.status, &unknown.json()["error"]), (404, &json!("there is no agent nobody")));
    let reload = house.post("/api/v1/reload", Value::Null).await;
    assert_eq!((reload.status, &reload.json()["error"]), (409, &json!("config/x.toml:12: queue `terapy` is not defined")));
}

#[tokio::test]
async fn an_engine_that_is_gone_is_503_with_retry_after() {
    let (requests, inbox) = tokio::sync::mpsc::channel(1);
    drop(inbox);
    let gone = dozvon::call::request::Engine { requests };
    let house = House::start_with(|state| state.engine = gone).await;
    let answer = house.get("/api/v1/board").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1".to_owned())));
    assert_eq!(house.get("/readyz").await.json()["reasons"], json!(["the engine does not answer"]));
}

#[tokio::test]
async fn the_list_of_callbacks_is_masked_and_only_the_taker_is_told_the_number() {
    let house = House::start().await;
    let list = house.get("/api/v1/callbacks").await;
    let first = &list.json()["callbacks"][0];
    assert_eq!((&first["phone"], &first["outcome"]), (&json!("+7•••••••12"), &json!("abandoned_in_queue")));
    assert!(!list.text.contains("9130000012"), "{}", list.text);

    let task = first["task"].as_str().unwrap();
    let taken = house.post(&format!("/api/v1/callbacks/{task}/take"), json!({"agent": "line7"})).await;
    assert_eq!(taken.json(), json!({"phone": "+79130000012"}));
    assert_eq!(house.fake.asked.lock().unwrap().last().unwrap(), &format!("line7 takes {task}"));
}

#[tokio::test]
async fn calls_are_listed_page_by_page_newest_first() {
    let house = House::start().await;
    let first = house.get("/api/v1/calls?limit=1").await.json();
    let next = first["next"].as_str().unwrap();
    let second = house.get(&format!("/api/v1/calls?limit=1&after={next}")).await.json();
    assert!(first["calls"][0]["entered"].as_str() > second["calls"][0]["entered"].as_str());
    assert_eq!(second["calls"][0]["call"], CALL);
    let lost = house.get("/api/v1/calls?outcome=abandoned_in_queue").await.json();
    assert_eq!((lost["calls"].as_array().unwrap().len(), &lost["calls"][0]["call"]), (1, &json!(CALL)));
    assert_eq!(house.get(&format!("/api/v1/calls/{CALL}")).await.json()["outcome"], "abandoned_in_queue");
}

#[tokio::test]
async fn a_recording_is_heard_whole_or_in_part_and_nothing_outside_its_folder() {
    let house = House::start().await;
    let whole = house.get(&format!("/api/v1/recordings/{CALL}")).await;
    assert_eq!(
        (whole.status, whole.header("content-type"), whole.text.as_str()),
        (200, Some("audio/wav".into()), "RIFF0123456789")
    );

    let part =
        house.ask_with("GET", &format!("/api/v1/recordings/{CALL}"), Some(TOKEN), None, Some(("range", "bytes=4-7"))).await;
    assert_eq!((part.status, part.text.as_str()), (206, "0123"));
    assert_eq!(part.header("content-range"), Some("bytes 4-7/14".to_owned()));

    let beyond =
        house.ask_with("GET", &format!("/api/v1/recordings/{CALL}"), Some(TOKEN), None, Some(("range", "bytes=14-"))).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */14".to_owned())));

    // The second recording's name leads out of the folder.
    assert_eq!(house.get(&format!("/api/v1/recordings/{CALL}?part=1")).await.status, 404);
    // Who listened is written down; who was refused heard nothing.
    let asked = house.fake.asked.lock().unwrap().clone();
    assert_eq!(asked.iter().filter(|words| words.starts_with("RecordingHeard") && words.contains("token")).count(), 2);
}

#[tokio::test]
async fn watchers_get_a_picture_at_once_and_another_only_when_something_changed() {
    let house = House::start().await;
    let mut events = house.watch().await;
    let (first, board) = events.next().await;
    assert_eq!(board["queues"][0]["waiting"], 7);

    // Time alone is no change: the wait grew, but the same caller waits.
    house.change(|board| {
        board.at_ms += 5000;
        board.queues[0].longest_wait_ms += 5000;
    });
    house.change(|board| board.queues[1].waiting = 9);
    let (second, board) = events.next().await;
    assert!(second > first, "{second} after {first}");
    assert_eq!(board["queues"][1]["waiting"], 9);
}

#[tokio::test]
async fn a_picture_that_only_grew_older_is_not_sent() {
    let house = House::start().await;
    let mut events = house.watch().await;
    events.next().await;
    let asked_before = house.fake.board.lock().unwrap().sequence;
    house.change(|board| {
        board.at_ms += 5000;
        board.queues[0].longest_wait_ms += 5000;
        board.queues[1].longest_wait_ms += 5000;
        board.queues[2].longest_wait_ms += 5000;
    });
    // The engine is asked twice more, then something happens: the next picture must be that one.
    assert!(house.until(Duration::from_secs(10), |board| board.sequence >= asked_before + 2).await);
    house.change(|board| board.live_calls = 99);
    assert_eq!(events.next().await.1["live_calls"], 99);
}

#[tokio::test]
async fn nobody_watching_means_nobody_asks_the_engine() {
    let house = House::start().await;
    let mut events = house.watch().await;
    events.next().await;
    drop(events);
    // That a watcher left is noticed when the next pictures go out.
    for n in 0..40 {
        house.change(|board| board.live_calls = n);
        let before = house.fake.board.lock().unwrap().sequence;
        if !house.until(Duration::from_millis(1500), |board| board.sequence > before).await {
            return;
        }
    }
    panic!("the engine was asked on and on");
}

#[tokio::test]
async fn readiness_names_each_reason() {
    let house = House::start().await;
    assert_eq!(house.get("/readyz").await.status, 200);
    house.change(|board| {
        board.journal.failing = true;
        board.draining = true;
    });
    house.sockets_bound.store(false, Ordering::Relaxed);
    let answer = house.get("/readyz").await;
    assert_eq!(answer.status, 503);
    let reasons = ["the trunks' sockets are not bound", "the journal cannot be written", "the engine is draining"];
    assert_eq!(answer.json()["reasons"], json!(reasons));
    assert_eq!(house.get("/healthz").await.status, 200, "a line that drains is alive");
}

#[tokio::test]
async fn metrics_stand_together_by_name_and_count_every_agent() {
    let house = House::start().await;
    let text = house.get("/metrics").await.text;
    for line in [
        "dozvon_queue_waiting{queue=\"booking\"} 7",
        "dozvon_queue_longest_wait_seconds{queue=\"booking\"} 42.000",
        "dozvon_agents{state=\"talking\"} 5",
        "dozvon_today_ended_calls{region=\"22\",outcome=\"served\"} 1103",
        "dozvon_trunk_reachable{trunk=\"ambulance\"} 0",
        "dozvon_live_calls 24",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    let names: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let mut once = names.clone();
    once.dedup();
    assert_eq!(names, once);
}

#[tokio::test]
async fn the_core_shows_what_it_holds() {
    let house = House::start().await;
    assert_eq!(house.get("/api/v1/core/handoffs").await.status, 404);
    let house = House::start_with(|state| state.core = Some(Arc::new(OneCase))).await;
    assert_eq!(house.get("/api/v1/core/handoffs").await.json()["handoffs"][0]["reference"], "R-1");
}

#[tokio::test]
async fn every_route_is_described_and_every_description_has_its_route() {
    let house = House::start_with(|state| state.core = Some(Arc::new(OneCase))).await;
    let document = house.get("/api/openapi.json").await.json();
    let described = document["paths"].as_object().unwrap();

    let source = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/mod.rs")).unwrap();
    let routes: Vec<_> = source.split(".route(\"").skip(1).map(|rest| rest.split_once('"').unwrap()).collect();
    assert!(routes.len() > 20, "the routes were not found");
    for (path, rest) in &routes {
        let known = ["get", "post", "delete"].into_iter().find(|method| rest.starts_with(&format!(", {method}(")));
        let method = known.unwrap_or_else(|| panic!("{path} has a method that this test does not know"));
        assert!(described.get(*path).is_some_and(|methods| methods.get(method).is_some()), "{method} {path} is not described");
    }
    assert_eq!(described.len(), routes.len());
    for (path, methods) in described {
        let open = !path.starts_with("/api/");
        let method = methods.as_object().unwrap().keys().next().unwrap();
        assert_eq!(methods[method].get("security").is_some(), open, "{path}: who needs no token says so");
        assert!(methods[method]["summary"].as_str().or(methods[method]["description"].as_str()).is_some(), "{path} has no words");
    }
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let house = House::start().await;
    let page = house.ask("GET", "/", None, None).await;
    assert!(page.header("content-security-policy").unwrap().contains("connect-src 'self'"));
    assert!(page.text.contains("lang=\"ru\"") && page.text.len() < 40 * 1024, "{} bytes", page.text.len());
    for outside in ["src=\"http", "href=\"http", "@import", "innerHTML"] {
        assert!(!page.text.contains(outside), "{outside}");
    }
    for stage in ["robot", "waiting_", "ringing", "talking", "transferring", "recalling"] {
        let words = page.text.matches(&format!(" {stage}: \"")).count();
        assert!(words >= 2, "{stage} has a word in Russian and in English");
    }
}

struct House {
    fake: Fake,
    address: std::net::SocketAddr,
    folded: watch::Sender<Folded>,
    sockets_bound: Arc<AtomicBool>,
    _data: tempfile::TempDir,
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
    fn header(&self, name: &str) -> Option<String> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }
}

impl House {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut ApiState)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let clock = Clock::start(Moment::ZERO);
        let store = Arc::new(SqliteStore::new(&data.path().join("tables.sqlite")));
        one_lost_and_one_live(&*store, clock.now()).await;
        let recordings = data.path().join("recordings");
        std::fs::create_dir(&recordings).unwrap();
        std::fs::write(recordings.join("one.wav"), "RIFF0123456789").unwrap();
        std::fs::write(data.path().join("secret"), "secret").unwrap();

        let fake = Fake::start(fake::morning(clock.now().0 / 1000));
        let (folded, follower) = watch::channel(Folded::default());
        let sockets_bound = Arc::new(AtomicBool::new(true));
        let mut state = ApiState {
            engine: fake.engine.clone(),
            store,
            folded: follower,
            clock,
            regions: vec![region(22, "Asia/Barnaul"), region(76, "Europe/Moscow")],
            token: Some(Secret::new(TOKEN)),
            data: "/nowhere".into(),
            committed: tokio::sync::watch::channel(0).1,
            standby_token: None,
            recordings: dozvon::recordings::Shelf::new(recordings, Default::default()),
            core: None,
            sockets_bound: sockets_bound.clone(),
            disk_free_percent: tokio::sync::watch::channel(Some(41)).1,
            counted: None,
        };
        change(&mut state);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(api::serve(listener, state, std::future::pending()));
        Self { fake, address, folded, sockets_bound, _data: data }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, Some(TOKEN), None).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, Some(TOKEN), Some(body)).await
    }

    async fn ask(&self, method: &str, path: &str, token: Option<&str>, body: Option<Value>) -> Answer {
        self.ask_with(method, path, token, body, None).await
    }

    async fn ask_with(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
        header: Option<(&'static str, &'static str)>,
    ) -> Answer {
        let (url, post) = (format!("http://{}{path}", self.address), method == "POST");
        let token = token.map(|token| format!("Bearer {token}"));
        let asking = tokio::task::spawn_blocking(move || {
            let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
            let headers = token.map(|token| ("authorization", token)).into_iter().chain(header.map(|(k, v)| (k, v.to_owned())));
            let mut answer = match (post, body) {
                (true, Some(body)) if !body.is_null() => {
                    headers.fold(agent.post(url), |request, (key, value)| request.header(key, value)).send_json(body)
                }
                (true, _) => headers.fold(agent.post(url), |request, (key, value)| request.header(key, value)).send_empty(),
                (false, _) => headers.fold(agent.get(url), |request, (key, value)| request.header(key, value)).call(),
            }
            .unwrap();
            let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            Answer {
                status: answer.status().as_u16(),
                headers: answer.headers().iter().map(|(key, value)| (key.to_string(), text(value.as_bytes()))).collect(),
                text: answer.body_mut().read_to_string().unwrap(),
            }
        });
        asking.await.unwrap()
    }

    async fn watch(&self) -> Events {
        let url = format!("http://{}/api/v1/events", self.address);
        let (pictures, events) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || {
            let answer = ureq::get(url).header("authorization", format!("Bearer {TOKEN}")).call().unwrap();
            assert_eq!(answer.headers()["content-type"], "text/event-stream");
            let mut id = 0;
            for line in BufReader::new(answer.into_body().into_reader()).lines().map_while(Result::ok) {
                if let Some(text) = line.strip_prefix("id: ") {
                    id = text.parse().unwrap();
                } else if let Some(text) = line.strip_prefix("data: ")
                    && pictures.send((id, serde_json::from_str(text).unwrap())).is_err()
                {
                    return;
                }
            }
        });
        Events(events)
    }

    fn change(&self, change: impl FnOnce(&mut Board)) {
        change(&mut self.fake.board.lock().unwrap());
    }

    /// Until the stand-in's board is so; says whether it came to that in time.
    async fn until(&self, time: Duration, so: impl Fn(&Board) -> bool) -> bool {
        let becoming = async {
            while !so(&self.fake.board.lock().unwrap()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(time, becoming).await.is_ok()
    }
}

struct Events(tokio::sync::mpsc::UnboundedReceiver<(u64, Value)>);

impl Events {
    async fn next(&mut self) -> (u64, Value) {
        tokio::time::timeout(Duration::from_secs(10), self.0.recv())
            .await
            .expect("a picture in time")
            .expect("the stream is open")
    }
}

struct OneCase;

#[async_trait::async_trait]
impl CoreBook for OneCase {
    async fn handoffs(&self, _limit: u32) -> Result<Vec<CoreHandoff>, String> {
        let (handoff, call, reference) = ("handoff1".to_owned(), CALL.to_owned(), "R-1".to_owned());
        Ok(vec![CoreHandoff { handoff, call, reference, status: "accepted".to_owned(), theme: None }])
    }

    async fn forget(&self, _: dozvon::ids::PersonId) -> Result<(), String> {
        Ok(())
    }
}

/// Two calls of region 22: one abandoned in the queue, with a callback and two recordings, and one in the house.
async fn one_lost_and_one_live(store: &dyn Store, now: Moment) {
    let (lost, live): (CallId, CallId) = (CALL.parse().unwrap(), "0193a1b2-0000-7000-8000-000000000002".parse().unwrap());
    let person = PersonId(uuid::Uuid::from_u128(12));
    let entered = |call| Fact::CallEntered {
        call,
        region: RegionId(22),
        trunk: "city".into(),
        dialled: "122".into(),
        person: Some(person),
    };
    let outcome = Outcome::AbandonedInQueue;
    let facts = [
        entered(lost),
        Fact::RecordingStarted { call: lost, file: "one.wav".into() },
        Fact::RecordingStarted { call: lost, file: "../secret".into() },
        Fact::CallEnded { call: lost, outcome },
        Fact::CallbackOpened { task: TaskId(7), region: RegionId(22), person, call: lost, outcome },
        entered(live),
    ];
    let facts: Vec<_> = (1..).zip(facts).map(|(n, fact)| (n, Stamped { at: Moment(now.0 + n), fact })).collect();
    store.apply(&facts, 100).await.unwrap();
    let phone = Phone::parse("+79130000012", None).unwrap();
    store.people_apply(&[(1, PersonSeen { at: now, person, phone })], 1).await.unwrap();
}

fn region(code: u16, zone: &str) -> Region {
    let (title, zone) = (format!("region {code}"), zone.to_owned());
    Region { code: RegionId(code), title, zone, callback_when_closed: false, dial: true, callback_within: Duration::ZERO }
}
