//! What every store promises, whatever database is behind it: each test is a function over `&dyn Store`, run on each back end.

#[path = "postgres/mod.rs"]
mod postgres;

use dozvon::clock::Moment;
use dozvon::facts::*;
use dozvon::ids::*;
use dozvon::journal::PersonSeen;
use dozvon::pii::Phone;
use dozvon::store::copy::{CopyError, copy};
use dozvon::store::postgres::PostgresStore;
use dozvon::store::postgres::lease::Lease;
use dozvon::store::retention::{Kept, delete_old};
use dozvon::store::sqlite::SqliteStore;
use dozvon::store::*;
use proptest::prelude::*;
use sqlx::Connection;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use uuid::Uuid;

const REGION: RegionId = RegionId(22);
const ELSEWHERE: RegionId = RegionId(76);
const END: Moment = Moment(u64::MAX);

macro_rules! on_every_store {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[test] fn $name() { super::on_sqlite(|store| Box::pin(super::$name(store))); })*
        }
        mod on_postgres {
            $(#[test] fn $name() { super::on_postgres(|store| Box::pin(super::$name(store))); })*
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
    visits_and_talks_are_counted_over_the_calls_of_a_span,
    whom_we_owe_nothing_is_forgotten_in_time,
    old_events_go_when_everybody_has_them,
    what_no_database_can_hold_holds_up_nothing,
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
    let (agent, queue): (AgentId, QueueId) = ("op2".into(), "therapy".into());
    let (code, title) = ("1".to_owned(), "booked".to_owned());
    let coded =
        Fact::TalkCoded { call: call(1), agent: agent.clone(), queue: queue.clone(), code: code.clone(), title: title.clone() };
    fold(store, 500, vec![(220, coded)]).await;
    assert_eq!(store.call(call(1)).await.unwrap().unwrap().codes, [TalkCodeRow { agent, queue, at: secs(220), code, title }]);
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

async fn visits_and_talks_are_counted_over_the_calls_of_a_span(store: &dyn Store) {
    fold(store, 0, served_call(1, 100)).await;
    fold(store, 1_000, missed_call(2, 100)).await;
    fold(store, 2_000, served_call(3, 900)).await;
    let counted = |within| store.queue_visits(Some(REGION), secs(0), secs(500), Duration::from_secs(within));
    let visits = counted(20).await.unwrap();
    let all = statistics::together(&visits);
    assert_eq!((all.offered, all.answered, all.answered_within, all.waiting), (2, 1, 1, 0), "{visits:?}");
    assert_eq!((all.answered_wait, all.abandoned), (Duration::from_secs(7), 1), "{visits:?}");
    assert_eq!(statistics::together(&counted(6).await.unwrap()).answered_within, 0);
    let talks = store.talks(Some(REGION), secs(0), secs(500)).await.unwrap();
    assert_eq!(talks, statistics::Talks { talks: 1, talked: Duration::from_secs(90) });
    assert_eq!(store.queue_visits(Some(ELSEWHERE), secs(0), secs(500), Duration::ZERO).await.unwrap(), Default::default());
    assert_eq!(store.talks(Some(ELSEWHERE), secs(0), secs(500)).await.unwrap(), statistics::Talks::default());
}

async fn whom_we_owe_nothing_is_forgotten_in_time(store: &dyn Store) {
    const DAY: u64 = 86_400;
    let phone = |n| Phone::parse(&format!("+7913{n:07}"), None).unwrap();
    let seen = |n, day: u64| PersonSeen { at: secs(day * DAY), person: person(n), phone: phone(n) };
    store.people_apply(&[(1, seen(1, 10)), (2, seen(2, 10)), (3, seen(3, 10)), (4, seen(4, 200))], 9).await.unwrap();
    let request = |handoff, n| Fact::HandoffRequested {
        handoff: HandoffId(handoff),
        call: call(n),
        region: REGION,
        person: Some(person(n)),
        theme: None,
    };
    fold(store, 0, [missed_call(2, 100), vec![(200, request(3, 3))]].concat()).await;
    let kept = Kept { people: Duration::from_secs(180 * DAY), outbox: Duration::from_secs(30 * DAY) };
    assert_eq!(delete_old(store, secs(190 * DAY), kept).await.unwrap().people, 0, "180 days to the second");
    assert_eq!(delete_old(store, secs(190 * DAY + 1), kept).await.unwrap().people, 1);
    assert_eq!(store.person_phone(person(1)).await.unwrap(), None);
    for owed in [2, 3] {
        assert!(store.person_phone(person(owed)).await.unwrap().is_some(), "person {owed} is owed something");
    }
    let closed = Fact::CallbackClosed { task: TaskId(2), how: TaskEnd::Reached };
    let settled = Fact::HandoffSettled {
        handoff: HandoffId(3),
        call: call(3),
        result: HandoffResult::Accepted { reference: "T-3".into() },
    };
    fold(store, 1000, vec![(300, closed), (300, settled)]).await;
    assert_eq!(delete_old(store, secs(190 * DAY + 1), kept).await.unwrap().people, 2);
    assert!(store.person_phone(person(4)).await.unwrap().is_some());
}

async fn old_events_go_when_everybody_has_them(store: &dyn Store) {
    let kept = Kept { people: Duration::from_secs(1), outbox: Duration::from_secs(1000) };
    store.receiver_add("mis").await.unwrap();
    fold(store, 0, served_call(1, 100).into_iter().chain(missed_call(2, 100)).collect()).await;
    assert_eq!(delete_old(store, secs(5000), kept).await.unwrap().outbox, 0, "the receiver has not got them");
    while let [event, ..] = &store.deliveries_due("mis", secs(5000), 50).await.unwrap()[..] {
        let refused = event.kind == "interaction.offered";
        let end = if refused { DeliveryEnd::Refused("no such card".into()) } else { DeliveryEnd::Done };
        store.delivery_settle("mis", event.event, end).await.unwrap();
    }
    assert_eq!(delete_old(store, secs(1000), kept).await.unwrap().outbox, 0, "they are not old");
    assert_eq!(delete_old(store, secs(5000), kept).await.unwrap().outbox, 8, "those of the call with an open task stay");
    let closed = Fact::CallbackClosed { task: TaskId(2), how: TaskEnd::Reached };
    fold(store, 1000, vec![(5000, closed)]).await;
    let due = store.deliveries_due("mis", secs(5000), 10).await.unwrap();
    assert_eq!((due[0].kind.as_str(), due[0].sequence), ("callback.closed", 5), "it counts on");
}

async fn what_no_database_can_hold_holds_up_nothing(store: &dyn Store) {
    let theme = "a\0b".to_owned();
    fold(store, 0, vec![(1, entered(1, REGION)), (2, Fact::ThemeChosen { call: call(1), theme })]).await;
    assert_eq!(store.call(call(1)).await.unwrap().unwrap().call.theme.as_deref(), Some("a\u{FFFD}b"));
}

#[test]
fn the_tables_are_those_that_are_told_of() {
    let told: BTreeSet<(String, String)> = TABLES
        .iter()
        .flat_map(|table| table.columns.iter().map(|(column, _)| (table.name.to_owned(), (*column).to_owned())))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("dozvon.db");
        SqliteStore::new(&path).position().await.unwrap();
        let mut db = sqlx::SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
        let sql = "SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c WHERE t.type = 'table'";
        let there: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&mut db).await.unwrap();
        assert_eq!(there.into_iter().filter(|(table, _)| table != "_sqlx_migrations").collect::<BTreeSet<_>>(), told);

        let url = postgres::shared().database();
        PostgresStore::new(&url).unwrap().position().await.unwrap();
        let mut db = sqlx::PgConnection::connect(&url).await.unwrap();
        let sql = "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'public'";
        let there: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&mut db).await.unwrap();
        // Whose the line is, is not moved to another database.
        let apart = ["_sqlx_migrations", "lease"];
        assert_eq!(there.into_iter().filter(|(table, _)| !apart.contains(&table.as_str())).collect::<BTreeSet<_>>(), told);
    });
}

#[test]
fn a_copy_holds_every_row_and_the_engine_goes_on_with_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = tempfile::tempdir().unwrap();
        let embedded = SqliteStore::new(&home.path().join("first.db"));
        let server = PostgresStore::new(&postgres::shared().database()).unwrap();
        let back = SqliteStore::new(&home.path().join("back.db"));

        embedded.receiver_add("mis").await.unwrap();
        seen(&embedded, 2, "+79130000012").await;
        // More than one batch of rows.
        for n in 0..600 {
            fold(&embedded, u64::from(n) * 1000, served_call(n, 100).into_iter().chain(missed_call(n + 1000, 100)).collect())
                .await;
        }
        embedded.deliveries_due("mis", secs(1000), 10).await.unwrap();
        embedded.handoff_tried(HandoffId(1), secs(400)).await.unwrap();
        let first = dump(&embedded).await;

        let mut told = 0;
        copy(&embedded, &server, |_, _| told += 1).await.unwrap();
        assert!(told > TABLES.len(), "progress batch by batch");
        assert_eq!(sorted(dump(&server).await), sorted(first.clone()));
        copy(&server, &back, |_, _| {}).await.unwrap();
        assert_eq!(dump(&back).await, first);

        let refused = copy(&embedded, &server, |_, _| {}).await.unwrap_err();
        assert!(matches!(refused, CopyError::NotEmpty { table: "calls" }), "{refused}");
        assert!(refused.to_string().contains("name an empty database"));

        // The same facts from here on, and one that both have already.
        for store in [&embedded as &dyn Store, &server, &back] {
            fold(store, 1000, served_call(1, 100)).await;
            fold(store, 700_000, missed_call(5000, 300)).await;
        }
        assert_eq!(dump(&back).await, dump(&embedded).await);
        assert_eq!(sorted(dump(&server).await), sorted(dump(&embedded).await));
        let all = |ledger: Ledger| (ledger.entered, ledger.outcomes, ledger.open_callbacks);
        let ledger = all(embedded.ledger(None, Moment::ZERO, END).await.unwrap());
        assert_eq!(ledger.0, 1201);
        assert_eq!(all(server.ledger(None, Moment::ZERO, END).await.unwrap()), ledger);
        assert_eq!(
            server.calls(&CallFilter::default(), &Page::first(500)).await.unwrap(),
            embedded.calls(&CallFilter::default(), &Page::first(500)).await.unwrap()
        );
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// A batch leaves the very rows that its facts leave one by one, in both databases, whatever order they come in.
    #[test]
    fn a_batch_is_its_facts_one_by_one(
        steps in prop::collection::vec((0u32..4, 0u64..3, 0usize..35), 1..80),
        batches in prop::collection::vec(1usize..40, 1..20),
    ) {
        let facts = numbered(0, (1..).zip(&steps).map(|(at, &(n, id, what))| (at, any_fact(n, id, what))).collect());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let home = tempfile::tempdir().unwrap();
            let one_by_one = SqliteStore::new(&home.path().join("one.db"));
            let embedded = SqliteStore::new(&home.path().join("batches.db"));
            let server = PostgresStore::new(&postgres::shared().database()).unwrap();
            for store in [&one_by_one as &dyn Store, &embedded, &server] {
                store.receiver_add("mis").await.unwrap();
                store.handoff_tried(HandoffId(1), secs(1)).await.unwrap();
            }
            for fact in &facts {
                one_by_one.apply(std::slice::from_ref(fact), fact.0).await.unwrap();
            }
            let mut rest = &facts[..];
            for size in batches.iter().cycle() {
                let Some(last) = rest.len().checked_sub(1) else { break };
                let (batch, later) = rest.split_at((*size).min(last + 1));
                for store in [&embedded as &dyn Store, &server] {
                    store.apply(batch, batch[batch.len() - 1].0).await.unwrap();
                }
                rest = later;
            }
            let expected = dump(&one_by_one).await;
            assert_eq!(dump(&embedded).await, expected);
            assert_eq!(dump(&server).await, expected);
        });
    }
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
        on_both(move |store| {
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

#[test]
fn a_lease_is_one_engines_until_it_expires_and_the_tables_take_facts_from_no_other() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = postgres::shared().database();
        PostgresStore::new(&url).unwrap().position().await.unwrap();
        let long = Lease::new(&url, Duration::from_secs(3600)).unwrap();
        let gone = Lease::new(&url, Duration::ZERO).unwrap();
        assert_eq!(long.look().await.unwrap(), None);
        let first = long.begin("one").await.unwrap().unwrap();
        assert_eq!(long.begin("two").await.unwrap(), None);
        assert_eq!(long.take("two", &first).await.unwrap(), None, "it has not expired");
        let mine = long.take("one", &first).await.unwrap().unwrap();
        assert!(!long.renew(&first).await.unwrap(), "another life of the same engine holds it");
        assert!(long.renew(&mine).await.unwrap());
        assert_eq!(long.look().await.unwrap(), Some((mine.clone(), false)));

        let old = PostgresStore::held(&url, Some(&mine)).unwrap();
        fold(&old, 0, vec![(100, entered(1, REGION))]).await;
        // It could not renew any more.
        assert!(gone.renew(&mine).await.unwrap());
        assert_eq!(long.take("two", &first).await.unwrap(), None, "what was seen is over since");
        let theirs = long.take("two", &mine).await.unwrap().unwrap();
        assert_eq!((theirs.owner.as_str(), theirs.epoch), ("two", 3));
        assert!(!long.renew(&mine).await.unwrap());
        let other = Stamped { at: secs(200), fact: entered(2, REGION) };
        assert!(old.apply(&[(1000, other.clone())], 1000).await.is_err());
        assert!(PostgresStore::new(&url).unwrap().apply(&[(1000, other.clone())], 1000).await.is_err(), "who holds nothing");
        let new = PostgresStore::held(&url, Some(&theirs)).unwrap();
        new.apply(&[(1000, other)], 1000).await.unwrap();
        assert_eq!(new.ledger(None, Moment::ZERO, END).await.unwrap().entered, 2);
    });
}

fn on_sqlite(test: impl for<'a> Fn(&'a dyn Store) -> Pin<Box<dyn Future<Output = ()> + 'a>>) {
    let home = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::new(&home.path().join("dozvon.db"));
        test(&store).await;
    });
}

fn on_postgres(test: impl for<'a> Fn(&'a dyn Store) -> Pin<Box<dyn Future<Output = ()> + 'a>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = PostgresStore::new(&postgres::shared().database()).unwrap();
        test(&store).await;
    });
}

fn on_both(test: impl for<'a> Fn(&'a dyn Store) -> Pin<Box<dyn Future<Output = ()> + 'a>>) {
    on_sqlite(&test);
    on_postgres(&test);
}

/// Every row of every table.
async fn dump(store: &dyn Store) -> Vec<Vec<Vec<Value>>> {
    let mut tables = Vec::new();
    for table in TABLES {
        let (mut rows, mut after): (Vec<Vec<Value>>, Option<Vec<Value>>) = (Vec::new(), None);
        loop {
            let page = store.rows(table, after.as_deref(), 500).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(table.key.iter().map(|column| last[table.at(column).unwrap()].clone()).collect());
            rows.extend(page);
        }
        tables.push(rows);
    }
    tables
}

/// Texts sort by other rules in other databases.
fn sorted(mut tables: Vec<Vec<Vec<Value>>>) -> Vec<Vec<Vec<Value>>> {
    tables.iter_mut().for_each(|rows| rows.sort());
    tables
}

fn any_fact(n: u32, id: u64, what: usize) -> Fact {
    let (of, agent, queue) = (call(n), AgentId::from(["op1", "op2", "op3"][id as usize]), QueueId::from("therapy"));
    let (offer, task, leg, handoff, file) = (OfferId(id), TaskId(id), LegId(id), HandoffId(id), format!("{id}.wav"));
    let outcome = Outcome::ALL[id as usize];
    match what {
        0..3 => entered(n, REGION),
        3 => Fact::CallAnswered { call: of },
        4 => Fact::RobotAtNode { call: of, script: "main".into(), version: id as u32, node: "menu".into() },
        5 => Fact::ThemeChosen { call: of, theme: format!("theme{id}") },
        6 => Fact::QueueEntered { call: of, queue, priority: 0, urgent: id == 1 },
        7 => {
            let why = [QueueLeft::Full, QueueLeft::Closed, QueueLeft::NoAgents, QueueLeft::EstimateTooLong][n as usize % 4];
            Fact::QueueLeft { call: of, queue, why }
        }
        8 => Fact::OfferMade { offer, call: of, agent, queue, why: "longest idle".into() },
        9 => Fact::OfferEnded { offer, end: OfferEnd::Missed(MissReason::Busy) },
        10 => Fact::TalkStarted { call: of, agent, queue },
        11 => Fact::TalkEnded { call: of, agent, by: Party::Agent },
        12 => Fact::RouteTried { call: of, route: "ambulance".into(), trunk: "mts".into(), leg },
        13 => Fact::RouteEnded { call: of, leg, end: RouteEnd::Busy },
        14 => Fact::RecordingStarted { call: of, file },
        15 => Fact::RecordingEnded { call: of, file, ms: 5, gaps: 1 },
        16 => Fact::CallEnded { call: of, outcome },
        17 => Fact::CallbackOpened { task, region: REGION, person: person(n), call: of, outcome },
        18 => Fact::CallbackRepeated { task, call: of, outcome },
        19 => Fact::CallbackTaken { task, agent },
        20 => Fact::CallbackClosed { task, how: TaskEnd::Reached },
        21 => Fact::HandoffRequested { handoff, call: of, region: REGION, person: None, theme: None },
        22 => Fact::PersonForgotten { person: person(n), recordings: 1 },
        23 => Fact::RecordingFailed { call: of, file, why: "disk full".into() },
        24 => {
            let (sealed, sha256, key) = (format!("{id}.ogg.sealed"), "ab".repeat(32), "k1".into());
            Fact::RecordingPacked { call: of, file, sealed, bytes: 7, ms: 6, sha256, key }
        }
        25 => Fact::RecordingArchived { call: of, file, place: "there".into(), kept: id == 1 },
        26 => Fact::RecordingNotArchived { call: of, file, why: "refused".into() },
        27 => Fact::RecordingDeleted { call: of, file, why: RecordingGone::Retention },
        28 => Fact::RecordingHeard { call: of, file, who: "token".into() },
        29 => Fact::CallbackBegan {
            task,
            call: CallId::of_callback(task, n),
            region: REGION,
            trunk: "mts".into(),
            dialled: "122".into(),
            person: person(n),
        },
        30 => Fact::CallbackAttempted { task, call: CallId::of_callback(task, n), nth: 1, end: AttemptEnd::Busy },
        33 => {
            let (state, by, why) = (AgentStateName::OnBreak, "petrova".into(), "needed".into());
            Fact::AgentOverridden { agent, region: REGION, state, reason: Some("training".into()), by, why }
        }
        32 => Fact::TalkCoded { call: of, agent, queue, code: id.to_string(), title: "booked".into() },
        31 => Fact::CallbackPromised { task, call: of, booking: Some(Booking::Later), by: Moment::from_secs(9) },
        _ => Fact::HandoffSettled { handoff, call: of, result: HandoffResult::Booked { reference: format!("T{id}") } },
    }
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
