//! What every store promises, whatever database is behind it: each test is a function over `&dyn Store`, run on each back end.

use dozvon::clock::Moment;
use dozvon::facts::*;
use dozvon::ids::*;
use dozvon::journal::PersonSeen;
use dozvon::pii::Phone;
use dozvon::store::sqlite::SqliteStore;
use dozvon::store::*;
use proptest::prelude::*;
use std::future::Future;
use std::pin::Pin;
use uuid::Uuid;

const REGION: RegionId = RegionId(22);
const ELSEWHERE: RegionId = RegionId(76);
const END: Moment = Moment(u64::MAX);

macro_rules! on_every_store {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[test] fn $name() { super::on_sqlite(|store| Box::pin(super::$name(store))); })*
        }
    };
}

on_every_store![
    a_call_is_one_row_with_its_whole_way,
    facts_that_are_already_there_are_skipped,
    the_law_holds_and_knows_every_word,
    a_call_has_one_outcome_the_first,
    calls_are_listed_newest_first_page_by_page,
    a_missed_person_has_one_task_until_it_closes,
    a_forgotten_person_has_no_phone_anywhere,
    an_unsettled_handoff_is_due_until_its_fact,
    of_one_call_a_receiver_gets_the_events_in_order,
    a_dead_receiver_holds_up_nobody_else,
    events_name_no_citizen,
    the_agents_day_is_listed,
];

async fn a_call_is_one_row_with_its_whole_way(store: &dyn Store) {
    fold(store, 0, served_call(1, 100)).await;
    let detail = store.call(call(1)).await.unwrap().unwrap();
    let row = &detail.call;
    assert_eq!((row.entered, row.answered, row.queue_entered), (secs(100), Some(secs(101)), Some(secs(103))));
    assert_eq!((row.first_offer, row.talk_started, row.talk_ended), (Some(secs(104)), Some(secs(110)), Some(secs(200))));
    assert_eq!(row.ended, Some((secs(201), Outcome::Served)));
    assert_eq!((row.theme.as_deref(), row.agent.clone()), (Some("doctor"), Some("op2".into())));
    assert_eq!(row.script, Some(("main".into(), 7)));
    assert_eq!(row.recording.as_deref(), Some("1.wav"));

    let visit = QueueVisitRow { queue: "therapy".into(), entered: secs(103), ended: Some((secs(110), "answered".into())) };
    assert_eq!(detail.visits, [visit]);
    let endings: Vec<_> = detail.offers.iter().map(|offer| offer.ended.clone().unwrap().1).collect();
    assert_eq!(endings, ["no_answer", "answered"]);
    assert_eq!(detail.talks[0].ended, Some((secs(200), "citizen".into())));
    assert_eq!(detail.recordings[0].ended, Some(RecordingEnd { at: secs(200), ms: 90_000, gaps: 0 }));
    assert_eq!(store.recordings(call(1)).await.unwrap(), detail.recordings);
    assert_eq!(detail.handoffs[0].settled, None);
    assert_eq!(store.call(call(9)).await.unwrap(), None);
}

async fn facts_that_are_already_there_are_skipped(store: &dyn Store) {
    let facts = numbered(0, served_call(1, 100).into_iter().chain(missed_call(2, 300)).collect());
    let last = facts.last().unwrap().0;
    store.apply(&facts, last).await.unwrap();
    let before = picture(store).await;
    assert_eq!(store.position().await.unwrap(), last);

    store.apply(&facts, last).await.unwrap();
    store.apply(&facts[3..9], facts[8].0).await.unwrap();
    assert_eq!(picture(store).await, before);
    assert_eq!(store.position().await.unwrap(), last, "the position never goes back");

    // Records that are no facts move the position too.
    store.apply(&[], last + 50).await.unwrap();
    assert_eq!(store.position().await.unwrap(), last + 50);
}

async fn the_law_holds_and_knows_every_word(store: &dyn Store) {
    let mut facts = Vec::new();
    for (n, outcome) in (1..).zip(Outcome::ALL) {
        facts.extend([(100, entered(n, REGION)), (150, Fact::CallEnded { call: call(n), outcome })]);
    }
    facts.extend([(120, entered(50, REGION)), (130, entered(51, ELSEWHERE)), (500, entered(52, REGION))]);
    fold(store, 0, facts).await;

    let ledger = store.ledger(Some(REGION), secs(100), secs(500)).await.unwrap();
    assert_eq!((ledger.entered, ledger.live, ledger.holds()), (13, 1, true));
    assert!(Outcome::ALL.iter().all(|outcome| ledger.outcomes[outcome.as_str()] == 1));
    let all = store.ledger(None, Moment::ZERO, END).await.unwrap();
    assert_eq!((all.entered, all.live, all.holds()), (15, 3, true));
    let nothing = store.ledger(Some(RegionId(1)), Moment::ZERO, END).await.unwrap();
    assert_eq!((nothing.entered, nothing.outcomes.len(), nothing.outcomes["cut"]), (0, 12, 0));
}

async fn a_call_has_one_outcome_the_first(store: &dyn Store) {
    let ends = [(20, Outcome::Cut), (30, Outcome::Served)].map(|(at, outcome)| (at, Fact::CallEnded { call: call(1), outcome }));
    fold(store, 0, [vec![(10, entered(1, REGION))], ends.to_vec()].concat()).await;
    assert_eq!(store.call(call(1)).await.unwrap().unwrap().call.ended, Some((secs(20), Outcome::Cut)));
}

async fn calls_are_listed_newest_first_page_by_page(store: &dyn Store) {
    // Two by two at the same moment: the page border falls between them.
    fold(store, 0, (0..10).map(|n| (u64::from(n) / 2, entered(n, REGION))).collect()).await;
    let (mut page, mut listed) = (Page::first(3), Vec::new());
    loop {
        let rows = store.calls(&CallFilter::default(), &page).await.unwrap();
        let Some(last) = rows.last() else { break };
        page.after = Some((last.entered, last.call));
        listed.extend(rows.iter().map(|row| row.call));
    }
    assert_eq!(listed, (0..10).rev().map(call).collect::<Vec<_>>());

    fold(store, 1000, served_call(30, 100)).await;
    let only = |filter: CallFilter| async move {
        let rows = store.calls(&filter, &Page::first(100)).await.unwrap();
        rows.iter().map(|row| row.call).collect::<Vec<_>>()
    };
    let none = CallFilter::default;
    assert_eq!(only(CallFilter { outcome: Some(Outcome::Served), ..none() }).await, [call(30)]);
    assert_eq!(only(CallFilter { agent: Some("op2".into()), ..none() }).await, [call(30)]);
    assert_eq!(only(CallFilter { agent: Some("op1".into()), ..none() }).await, []);
    assert_eq!(only(CallFilter { queue: Some("therapy".into()), ..none() }).await, [call(30)]);
    assert_eq!(only(CallFilter { person: Some(person(30)), region: Some(REGION), ..none() }).await, [call(30)]);
    assert_eq!(only(CallFilter { from: Some(secs(4)), to: Some(secs(5)), ..none() }).await, [call(9), call(8)]);
}

async fn a_missed_person_has_one_task_until_it_closes(store: &dyn Store) {
    seen(store, 2, "+79130000012").await;
    fold(store, 0, missed_call(2, 100)).await;
    let again = Fact::CallbackRepeated { task: TaskId(2), call: call(3), outcome: Outcome::AbandonedInMenu };
    fold(store, 1000, vec![(150, entered(3, REGION)), (160, again)]).await;
    let open = CallbackFilter { open_only: true, region: Some(REGION), ..CallbackFilter::default() };
    let tasks = store.callbacks(&open, &Page::first(10)).await.unwrap();
    let [task] = &tasks[..] else { panic!("one task, not {tasks:?}") };
    assert_eq!((task.misses, task.call, task.last_call, task.last_missed), (2, call(2), call(3), secs(160)));
    assert_eq!(task.phone.as_ref().unwrap().expose(), "+79130000012");
    assert!(!format!("{task:?}").contains("0000012"), "a row prints masked");
    assert_eq!(store.ledger(Some(REGION), secs(1), secs(2)).await.unwrap().open_callbacks, 1);
    assert_eq!(store.ledger(Some(ELSEWHERE), Moment::ZERO, END).await.unwrap().open_callbacks, 0);

    let taken = Fact::CallbackTaken { task: TaskId(2), agent: "op1".into() };
    let closed = Fact::CallbackClosed { task: TaskId(2), how: TaskEnd::Reached };
    fold(store, 2000, vec![(170, taken), (180, closed)]).await;
    assert_eq!(store.callbacks(&open, &Page::first(10)).await.unwrap(), []);
    let task = store.callback(TaskId(2)).await.unwrap().unwrap();
    assert_eq!(task.taken, Some((secs(170), "op1".into())));
    assert_eq!(task.closed, Some((secs(180), "reached".into())));
    let page = Page { after: Some((task.opened, task.task)), limit: 10 };
    assert_eq!(store.callbacks(&CallbackFilter::default(), &page).await.unwrap(), [], "nothing behind the only one");
}

async fn a_forgotten_person_has_no_phone_anywhere(store: &dyn Store) {
    seen(store, 2, "+79130000012").await;
    fold(store, 0, missed_call(2, 100)).await;
    assert!(store.person_phone(person(2)).await.unwrap().is_some());
    assert!(store.person_forget(person(2)).await.unwrap());
    assert!(!store.person_forget(person(2)).await.unwrap());
    assert_eq!(store.person_phone(person(2)).await.unwrap(), None);
    assert_eq!(store.callback(TaskId(2)).await.unwrap().unwrap().phone, None);
}

async fn an_unsettled_handoff_is_due_until_its_fact(store: &dyn Store) {
    seen(store, 1, "+79130000012").await;
    fold(store, 0, served_call(1, 100)).await;
    let second = HandoffId(900);
    let request =
        Fact::HandoffRequested { handoff: second, call: call(1), region: REGION, person: None, theme: Some("other".into()) };
    fold(store, 1000, vec![(210, request)]).await;

    let due = store.handoffs_due(secs(300), 10).await.unwrap();
    let [first] = &due[..] else { panic!("the second of one call waits for the first: {due:?}") };
    assert_eq!((first.handoff, first.attempts, first.phone.as_ref().map(Phone::expose)), (HandoffId(1), 0, Some("+79130000012")));
    store.handoff_tried(first.handoff, secs(400)).await.unwrap();
    assert_eq!(store.handoffs_due(secs(399), 10).await.unwrap(), []);
    assert_eq!(store.handoffs_due(secs(400), 10).await.unwrap()[0].attempts, 1);

    let result = HandoffResult::Booked { reference: "T-1".into() };
    fold(store, 2000, vec![(410, Fact::HandoffSettled { handoff: HandoffId(1), call: call(1), result: result.clone() })]).await;
    let due: Vec<_> = store.handoffs_due(secs(410), 10).await.unwrap().into_iter().map(|due| due.handoff).collect();
    assert_eq!(due, [second]);
    assert_eq!(store.call(call(1)).await.unwrap().unwrap().handoffs[0].settled, Some((secs(410), result)));
}

async fn of_one_call_a_receiver_gets_the_events_in_order(store: &dyn Store) {
    store.receiver_add("mis").await.unwrap();
    fold(store, 0, served_call(1, 100).into_iter().chain([(300, entered(2, REGION))]).collect()).await;
    let (mut got, mut refused_once) = (Vec::new(), false);
    loop {
        let due = store.deliveries_due("mis", secs(1000), 10).await.unwrap();
        if due.is_empty() {
            break;
        }
        for event in due {
            let end = match event.kind.as_str() {
                // Put off once: the later events of this call wait for it, the other call's do not.
                "interaction.queued" if event.attempts == 0 => DeliveryEnd::Later(secs(1000)),
                "interaction.answered" if !refused_once => {
                    refused_once = true;
                    DeliveryEnd::Refused("no such card".into())
                }
                _ => DeliveryEnd::Done,
            };
            if end == DeliveryEnd::Done {
                got.push((event.call, event.sequence, event.kind.clone()));
            }
            store.delivery_settle("mis", event.event, end).await.unwrap();
        }
    }
    let of_first: Vec<_> = got.iter().filter(|(of, ..)| *of == call(1)).map(|(_, n, kind)| (*n, kind.as_str())).collect();
    let expected = [
        (1, "interaction.entered"),
        (2, "interaction.queued"),
        (3, "interaction.offered"),
        (4, "interaction.offered"),
        (6, "recording.available"),
        (7, "interaction.ended"),
        (8, "handoff.requested"),
    ];
    assert_eq!(of_first, expected);
    assert_eq!(got[1].0, call(2));
}

async fn a_dead_receiver_holds_up_nobody_else(store: &dyn Store) {
    for receiver in ["dead", "well"] {
        store.receiver_add(receiver).await.unwrap();
    }
    fold(store, 0, vec![(100, entered(1, REGION))]).await;
    let event = store.deliveries_due("dead", secs(100), 10).await.unwrap()[0].event;
    store.delivery_settle("dead", event, DeliveryEnd::Later(secs(500))).await.unwrap();
    assert_eq!(store.deliveries_due("dead", secs(499), 10).await.unwrap(), []);
    assert_eq!(store.deliveries_due("well", secs(100), 10).await.unwrap().len(), 1);
    store.delivery_settle("well", event, DeliveryEnd::Done).await.unwrap();
    assert_eq!(store.deliveries_due("dead", secs(500), 10).await.unwrap()[0].attempts, 1);
    store.receiver_add("new").await.unwrap();
    assert_eq!(store.deliveries_due("new", secs(500), 10).await.unwrap(), [], "a new receiver gets what happens from here on");
}

async fn events_name_no_citizen(store: &dyn Store) {
    store.receiver_add("mis").await.unwrap();
    seen(store, 2, "+79130000012").await;
    let closed = Fact::CallbackClosed { task: TaskId(2), how: TaskEnd::GotThrough };
    fold(store, 0, missed_call(2, 100).into_iter().chain([(200, closed)]).collect()).await;
    let mut kinds = Vec::new();
    while let [event] = &store.deliveries_due("mis", secs(1000), 10).await.unwrap()[..] {
        assert!(!event.data.contains("0000012"));
        assert_eq!(event.region, REGION);
        kinds.push(event.kind.clone());
        store.delivery_settle("mis", event.event, DeliveryEnd::Done).await.unwrap();
    }
    assert_eq!(kinds, ["interaction.entered", "interaction.queued", "interaction.ended", "callback.opened", "callback.closed"]);
}

async fn the_agents_day_is_listed(store: &dyn Store) {
    let change = |state, reason: Option<&str>| Fact::AgentChanged {
        agent: "op1".into(),
        region: REGION,
        state,
        reason: reason.map(str::to_owned),
    };
    let lunch = change(AgentStateName::OnBreak, Some("lunch"));
    fold(store, 0, vec![(10, change(AgentStateName::Ready, None)), (20, lunch), (30, change(AgentStateName::Offline, None))])
        .await;
    let rows = store.agent_changes(Some(REGION), secs(10), secs(30)).await.unwrap();
    let rows: Vec<_> = rows.iter().map(|row| (row.at, row.state.as_str(), row.reason.as_deref())).collect();
    assert_eq!(rows, [(secs(10), "ready", None), (secs(20), "on_break", Some("lunch"))]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever happens in whatever batches, and however often a batch is folded again: the law holds, and the tables count as
    /// the fold in memory does.
    #[test]
    fn tables_and_memory_count_alike(
        steps in prop::collection::vec((0u32..6, 0usize..14), 1..60),
        batches in prop::collection::vec(1usize..9, 1..60),
    ) {
        let facts: Vec<(u64, Fact)> = (1..).zip(steps).map(|(at, (n, what))| (at, match Outcome::ALL.get(what) {
            Some(&outcome) => Fact::CallEnded { call: call(n), outcome },
            None => entered(n, REGION),
        })).collect();
        // A call enters once in its life.
        let mut known = std::collections::BTreeSet::new();
        let facts: Vec<_> = facts.into_iter().filter(|(_, fact)| match fact {
            Fact::CallEntered { call, .. } => known.insert(*call),
            _ => true,
        }).collect();
        on_sqlite(move |store| {
            let (facts, batches) = (numbered(0, facts.clone()), batches.clone());
            Box::pin(async move {
                let mut memory = dozvon::journal::LedgerFold::default();
                for (_, stamped) in &facts {
                    memory.apply(stamped, |_, _| Moment::ZERO);
                }
                let (mut rest, mut before): (_, &[_]) = (&facts[..], &[]);
                for size in batches.iter().cycle() {
                    if rest.is_empty() { break }
                    let (batch, later) = rest.split_at((*size).min(rest.len()));
                    store.apply(batch, batch[batch.len() - 1].0).await.unwrap();
                    store.apply(before, batch[batch.len() - 1].0).await.unwrap();
                    (rest, before) = (later, batch);
                }
                let tables = store.ledger(Some(REGION), Moment::ZERO, END).await.unwrap();
                assert!(tables.holds(), "{tables:?}");
                assert_eq!(tables, memory.day(REGION, Moment::ZERO));
            })
        });
    }
}

fn on_sqlite(test: impl for<'a> Fn(&'a dyn Store) -> Pin<Box<dyn Future<Output = ()> + 'a>>) {
    let home = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::new(&home.path().join("dozvon.db"));
        test(&store).await;
    });
}

/// Everything the tables say.
async fn picture(store: &dyn Store) -> String {
    let calls = store.calls(&CallFilter::default(), &Page::first(500)).await.unwrap();
    let mut details = Vec::new();
    for row in calls {
        details.push(store.call(row.call).await.unwrap());
    }
    let callbacks = store.callbacks(&CallbackFilter::default(), &Page::first(500)).await.unwrap();
    let ledger = store.ledger(None, Moment::ZERO, END).await.unwrap();
    format!("{details:#?} {callbacks:#?} {ledger:#?}")
}

fn served_call(n: u32, start: u64) -> Vec<(u64, Fact)> {
    let (of, queue) = (call(n), QueueId::from("therapy"));
    let offer = |offer, agent: &str| Fact::OfferMade {
        offer: OfferId(offer),
        call: of,
        agent: agent.into(),
        queue: "therapy".into(),
        why: "longest idle".into(),
    };
    let (first, second) = (u64::from(n) * 10, u64::from(n) * 10 + 1);
    let facts = vec![
        (0, entered(n, REGION)),
        (1, Fact::CallAnswered { call: of }),
        (1, Fact::RobotAtNode { call: of, script: "main".into(), version: 7, node: "greeting".into() }),
        (2, Fact::RobotAtNode { call: of, script: "main".into(), version: 7, node: "menu".into() }),
        (2, Fact::ThemeChosen { call: of, theme: "doctor".into() }),
        (3, Fact::QueueEntered { call: of, queue: queue.clone(), priority: 0, urgent: false }),
        (4, offer(first, "op1")),
        (8, Fact::OfferEnded { offer: OfferId(first), end: OfferEnd::Missed(MissReason::NoAnswer) }),
        (8, offer(second, "op2")),
        (10, Fact::OfferEnded { offer: OfferId(second), end: OfferEnd::Answered }),
        (10, Fact::TalkStarted { call: of, agent: "op2".into(), queue }),
        (10, Fact::RecordingStarted { call: of, file: format!("{n}.wav") }),
        (100, Fact::TalkEnded { call: of, agent: "op2".into(), by: Party::Citizen }),
        (100, Fact::RecordingEnded { call: of, file: format!("{n}.wav"), ms: 90_000, gaps: 0 }),
        (101, Fact::CallEnded { call: of, outcome: Outcome::Served }),
        (
            101,
            Fact::HandoffRequested {
                handoff: HandoffId(u64::from(n)),
                call: of,
                region: REGION,
                person: Some(person(n)),
                theme: Some("doctor".into()),
            },
        ),
    ];
    facts.into_iter().map(|(at, fact)| (start + at, fact)).collect()
}

fn missed_call(n: u32, start: u64) -> Vec<(u64, Fact)> {
    let (of, outcome) = (call(n), Outcome::AbandonedInQueue);
    vec![
        (start, entered(n, REGION)),
        (start + 3, Fact::QueueEntered { call: of, queue: "therapy".into(), priority: 0, urgent: true }),
        (start + 40, Fact::QueueLeft { call: of, queue: "therapy".into(), why: QueueLeft::Abandoned }),
        (start + 40, Fact::CallEnded { call: of, outcome }),
        (start + 40, Fact::CallbackOpened { task: TaskId(u64::from(n)), region: REGION, person: person(n), call: of, outcome }),
    ]
}

fn entered(n: u32, region: RegionId) -> Fact {
    Fact::CallEntered { call: call(n), region, trunk: "mts".into(), dialled: "122".into(), person: Some(person(n)) }
}

fn call(n: u32) -> CallId {
    CallId(Uuid::from_u128(u128::from(n)))
}
fn person(n: u32) -> PersonId {
    PersonId(Uuid::from_u128(0xABCD_0000 + u128::from(n)))
}
fn secs(n: u64) -> Moment {
    Moment::from_secs(n)
}

async fn seen(store: &dyn Store, n: u32, phone: &str) {
    let seen = PersonSeen { at: secs(1), person: person(n), phone: Phone::parse(phone, None).unwrap() };
    store.people_apply(&[(40, seen)], 40).await.unwrap();
    assert_eq!(store.people_position().await.unwrap(), 40);
}

async fn fold(store: &dyn Store, base: u64, facts: Vec<(u64, Fact)>) {
    let facts = numbered(base, facts);
    store.apply(&facts, facts.last().unwrap().0).await.unwrap();
}

fn numbered(base: u64, facts: Vec<(u64, Fact)>) -> Vec<(u64, Stamped)> {
    (1..).zip(facts).map(|(n, (at, fact))| (base + n * 10, Stamped { at: secs(at), fact })).collect()
}
