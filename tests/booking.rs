//! Hand-offs and events arrive once and in order, whatever the other side does.

use axum::http::{HeaderMap, StatusCode};
use dozvon::booking::deliver::Deliverer;
use dozvon::booking::reference::{Fault, ReferenceCore};
use dozvon::booking::webhook::{Receiver, Webhook};
use dozvon::booking::{BookingCore, CoreError};
use dozvon::clock::Moment;
use dozvon::facts::*;
use dozvon::ids::*;
use dozvon::journal::PersonSeen;
use dozvon::pii::{Phone, Private};
use dozvon::store::Store;
use dozvon::store::sqlite::SqliteStore;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use uuid::Uuid;

const REGION: RegionId = RegionId(22);
const CALL: CallId = CallId(Uuid::from_u128(7));
const HANDOFF: HandoffId = HandoffId(5);
const SECRET: &str = "between us two";

#[tokio::test]
async fn c47_a_case_is_taken_once_though_the_core_was_down_and_its_answer_was_lost() {
    let bench = Bench::new();
    bench.request(HANDOFF, "doctor").await;
    let deliverer = bench.deliverer();
    let mut now = secs(100);
    for fault in [Fault::Down, Fault::AnswerLost, Fault::AnswerLost] {
        bench.core.fault(fault);
        assert_eq!(deliverer.turn(now).await.unwrap(), [], "{fault:?}");
        assert_eq!(deliverer.turn(now).await.unwrap(), [], "the pause is kept");
        now = now + Duration::from_secs(10);
    }
    bench.core.fault(Fault::None);
    let settled = deliverer.turn(now).await.unwrap();
    let result = HandoffResult::Waitlisted { reference: "W-5".into() };
    assert_eq!(settled, [(HANDOFF, CALL, result.clone())]);

    // Its fact comes back through the journal; until then it is not tried again.
    assert_eq!(deliverer.turn(now + Duration::from_secs(5)).await.unwrap(), []);
    bench.fold(vec![Fact::HandoffSettled { handoff: HANDOFF, call: CALL, result }]).await;
    assert_eq!(deliverer.turn(now + Duration::from_secs(5000)).await.unwrap(), []);
    let held = bench.core.handoffs(10).await.unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].case.phone.as_ref().map(Phone::expose), Some("+79130000012"), "the phone is added at sending time");
}

#[tokio::test]
async fn c47_a_settlement_that_was_lost_with_the_engine_is_asked_for_again() {
    let bench = Bench::new();
    bench.request(HANDOFF, "other").await;
    let first = bench.deliverer().turn(secs(100)).await.unwrap();
    let again = bench.deliverer().turn(secs(1000)).await.unwrap();
    assert_eq!((first.len(), &first), (1, &again));
    bench.core.fault(Fault::Duplicate);
    let duplicate = bench.deliverer().turn(secs(2000)).await.unwrap();
    assert_eq!(duplicate, [(HANDOFF, CALL, HandoffResult::Accepted { reference: "C-5".into() })]);
    assert_eq!(bench.core.handoffs(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_case_the_core_never_took_is_given_to_a_person_in_the_end() {
    let bench = Bench::new();
    bench.request(HANDOFF, "doctor").await;
    bench.core.fault(Fault::Down);
    let deliverer = bench.deliverer();
    assert_eq!(deliverer.turn(secs(100)).await.unwrap(), []);
    let settled = deliverer.turn(secs(100_000)).await.unwrap();
    assert!(
        matches!(&settled[..], [(HANDOFF, CALL, HandoffResult::Refused { reason })] if reason.contains("503")),
        "{settled:?}"
    );
}

#[tokio::test]
async fn cases_get_the_slots_there_are_and_then_the_waiting_list() {
    let bench = Bench::new();
    for starts in [5000, 4000] {
        bench.core.slot_add(REGION, "doctor", "Ivanova", secs(starts)).await.unwrap();
    }
    for n in 1..=4 {
        bench.request(HandoffId(n), if n == 4 { "other" } else { "doctor" }).await;
    }
    // All of one call: the next is due when the one before is settled.
    let mut results = Vec::new();
    for _ in 1..=4 {
        let settled = bench.deliverer().turn(secs(100)).await.unwrap();
        let [(handoff, call, result)] = &settled[..] else { panic!("one at a time, not {settled:?}") };
        bench.fold(vec![Fact::HandoffSettled { handoff: *handoff, call: *call, result: result.clone() }]).await;
        results.push(result.clone());
    }
    let reference = |text: &str| text.to_owned();
    let expected = [
        HandoffResult::Booked { reference: reference("B-1") },
        HandoffResult::Booked { reference: reference("B-2") },
        HandoffResult::Waitlisted { reference: reference("W-3") },
        HandoffResult::Accepted { reference: reference("C-4") },
    ];
    assert_eq!(results, expected);
}

#[tokio::test]
async fn a_held_slot_is_nobody_elses_until_the_hold_runs_out() {
    let bench = Bench::new();
    let core = &bench.core;
    core.slot_add(REGION, "doctor", "Ivanova", secs(5000)).await.unwrap();
    let slot = core.slots(REGION, "doctor", secs(100), 10).await.unwrap()[0].slot;
    core.hold(slot, "anna", secs(100), secs(160)).await.unwrap();
    assert_eq!(core.slots(REGION, "doctor", secs(159), 10).await.unwrap(), []);
    assert_eq!(core.hold(slot, "boris", secs(159), secs(200)).await, Err(CoreError::SlotTaken));
    assert_eq!(core.book(slot, "boris", secs(159)).await, Err(CoreError::SlotTaken));
    assert_eq!(core.book(slot, "boris", secs(160)).await, Ok("B-boris".into()));
    assert_eq!(core.book(slot, "boris", secs(161)).await, Ok("B-boris".into()), "asked twice, booked once");
    assert_eq!(core.book(slot, "anna", secs(161)).await, Err(CoreError::SlotTaken));
    core.cancel("B-boris").await.unwrap();
    assert!(matches!(core.cancel("B-boris").await, Err(CoreError::Refused(_))));
    assert_eq!(core.book(slot, "anna", secs(162)).await, Ok("B-anna".into()));
}

#[tokio::test]
async fn c47_an_event_refused_twice_for_now_arrives_once_signed_and_in_order() {
    let receiver = Heard::serve(|n| if n < 2 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }).await;
    let bench = Bench::new();
    bench.store.receiver_add("mis").await.unwrap();
    bench.request(HANDOFF, "doctor").await;
    bench.fold(vec![Fact::CallEnded { call: CALL, outcome: Outcome::Served }]).await;
    let webhook = bench.webhook(&receiver.url);

    let mut taken = 0;
    for second in 0..10 {
        taken += webhook.turn(secs(100 + second)).await.unwrap();
    }
    assert_eq!(taken, 3);
    let heard = receiver.heard.lock().unwrap();
    let kinds: Vec<&str> = heard.iter().map(|(_, event)| event["type"].as_str().unwrap()).collect();
    let first = "ru.dozvon.interaction.entered";
    assert_eq!(kinds, [first, first, first, "ru.dozvon.handoff.requested", "ru.dozvon.interaction.ended"]);
    let key = |n: usize| heard[n].0["idempotency-key"].to_str().unwrap();
    assert!(key(0) == key(1) && key(1) == key(2), "the same event has the same key each time");
    assert_eq!((key(3), heard[3].1["idempotencykey"].as_str()), ("5", Some("5")), "a hand-off's key is its id");
    let sequences: Vec<&str> = heard[2..].iter().map(|(_, event)| event["sequence"].as_str().unwrap()).collect();
    assert_eq!(sequences, ["0000000001", "0000000002", "0000000003"]);
    assert_eq!((heard[2].1["subject"].as_str(), heard[2].1["region"].as_str()), (Some(CALL.to_string().as_str()), Some("22")));
    assert_eq!(heard[2].1["time"].as_str(), Some("1970-01-01T00:00:50Z"));
}

#[tokio::test]
async fn an_event_the_receiver_cannot_read_does_not_stop_those_behind_it() {
    let receiver = Heard::serve(|n| if n == 0 { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::CONFLICT }).await;
    let bench = Bench::new();
    bench.store.receiver_add("mis").await.unwrap();
    bench.request(HANDOFF, "doctor").await;
    assert_eq!(bench.webhook(&receiver.url).turn(secs(100)).await.unwrap(), 1, "409 says that it is there already");
    assert_eq!(receiver.heard.lock().unwrap().len(), 2);
}

/// What a receiver heard: headers and event, after the signature was found right.
struct Heard {
    url: String,
    heard: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
}

impl Heard {
    /// Answers the n-th request with `answer(n)`.
    async fn serve(answer: impl Fn(usize) -> StatusCode + Clone + Send + Sync + 'static) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = heard.clone();
        let take = move |headers: HeaderMap, body: String| async move {
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
            mac.update(format!("{}.{body}", headers["x-dozvon-timestamp"].to_str().unwrap()).as_bytes());
            let expected = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
            assert_eq!(headers["x-dozvon-signature"], expected.as_str());
            let mut heard = hears.lock().unwrap();
            heard.push((headers, serde_json::from_str(&body).unwrap()));
            answer(heard.len() - 1)
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        let app = axum::Router::new().route("/events", axum::routing::post(take));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, heard }
    }
}

/// Tables with one call in them, and a core.
struct Bench {
    store: Arc<dyn Store>,
    core: Arc<ReferenceCore>,
    _home: TempDir,
}

impl Bench {
    fn new() -> Self {
        let home = TempDir::new().unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::new(&home.path().join("tables.db")));
        let core = Arc::new(ReferenceCore::new(&home.path().join("core.db"), ["doctor".to_owned()].into()));
        Self { store, core, _home: home }
    }

    fn deliverer(&self) -> Deliverer {
        Deliverer { store: self.store.clone(), core: self.core.clone(), give_up_after: Duration::from_secs(86_400) }
    }

    fn webhook(&self, url: &str) -> Webhook {
        Webhook::new(
            self.store.clone(),
            Receiver { name: "mis".into(), url: url.into(), secret: Private::new(SECRET), events: Vec::new() },
        )
    }

    /// The case of the one call, which enters with its first.
    async fn request(&self, handoff: HandoffId, theme: &str) {
        let person = Some(PersonId(Uuid::from_u128(1)));
        let seen = PersonSeen { at: secs(50), person: PersonId(Uuid::from_u128(1)), phone: phone() };
        self.store.people_apply(&[(1, seen)], 1).await.unwrap();
        let request = Fact::HandoffRequested { handoff, call: CALL, region: REGION, person, theme: Some(theme.into()) };
        let mut facts = vec![request];
        if self.store.call(CALL).await.unwrap().is_none() {
            let (trunk, dialled) = ("mts".into(), "122".into());
            facts.insert(0, Fact::CallEntered { call: CALL, region: REGION, trunk, dialled, person });
        }
        self.fold(facts).await;
    }

    async fn fold(&self, facts: Vec<Fact>) {
        let base = self.store.position().await.unwrap();
        let facts: Vec<_> = (base + 1..).zip(facts.into_iter().map(|fact| Stamped { at: secs(50), fact })).collect();
        self.store.apply(&facts, facts.last().unwrap().0).await.unwrap();
    }
}

fn phone() -> Phone {
    Phone::parse("+79130000012", None).unwrap()
}
fn secs(n: u64) -> Moment {
    Moment::from_secs(n)
}
