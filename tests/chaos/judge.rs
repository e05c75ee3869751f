//! The phones' accounts against what the engine has on record: store, ledger and journal.

use crate::air::now_us;
use crate::core::Core;
use crate::engine::Engine;
use crate::lives::PATIENCE_WITH_RINGING;
use crate::phones::{End, Fault, Leg, Phones, Side, Talk};
use dozvon::facts::{Fact, Ledger};
use dozvon::journal::{Reader, Record};
use dozvon::pii::{PersonKey, Phone};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// A talk may not pause for longer when the engine dies, in microseconds.
pub const GAP_MAX: u64 = 200_000;
/// Nor when media die: both hear each other again by then.
pub const MEDIA_GAP_MAX: u64 = 2_000_000;
/// Sound is back so soon after media stood still, and what was said meanwhile is not made up for: half a second of packets.
const BACK_WITHIN: u64 = 500_000;
const STALE_MAX: u32 = 25;
/// Share of the talks that hear each other again in time when media die.
const MEDIA_SHARE: f64 = 0.98;
/// Who leaves the queue after this long is owed a callback; less is a matter of whose clock.
const OWED_AFTER: u64 = 4_500_000;
/// How long the engine may take, after the last phone hung up, to know it.
const LAST_CALLS: u64 = 20_000_000;
/// Examples shown of each kind of loss.
const EXAMPLES: usize = 3;

#[derive(Default)]
pub struct Verdict {
    /// What was lost, by the fault it followed and its kind.
    pub lost: BTreeMap<(Fault, &'static str), Vec<String>>,
    pub outcomes: BTreeMap<String, u64>,
    pub talks: usize,
    /// Talks that lived through a media kill, and those of them that heard each other again in time.
    pub media_talks: (usize, usize),
    /// Calls that ended while nothing could be written, and what is wrong with them on record.
    pub unwritten: (usize, Vec<String>),
    pub calls: u64,
}

impl Verdict {
    pub fn lost_after(&self, fault: Fault) -> usize {
        self.lost.iter().filter(|((after, _), _)| *after == fault).map(|(_, examples)| examples.len()).sum()
    }

    pub fn holds(&self) -> bool {
        let (lived, heard_again) = self.media_talks;
        self.lost.is_empty() && heard_again as f64 >= MEDIA_SHARE * lived as f64
    }

    pub fn print(&self) {
        for ((fault, kind), examples) in &self.lost {
            println!("{:>6} {kind}, after: {}", examples.len(), fault.name());
            for example in examples.iter().take(EXAMPLES) {
                println!("         {example}");
            }
        }
        let (ended, wrong) = &self.unwritten;
        if *ended > 0 {
            println!("calls that ended while nothing could be written: {ended}, of these wrong on record: {}", wrong.len());
        }
        for example in wrong.iter().take(EXAMPLES) {
            println!("         {example}");
        }
    }
}

pub struct Case<'a> {
    pub phones: &'a Phones,
    /// Faults with their moments, in order.
    pub faults: &'a [(u64, Fault)],
    /// Datagrams were dropped: gaps are the network's.
    pub lossy: bool,
    /// When nothing could be written: from, to. Calls that ended then are counted apart.
    pub unwritten: &'a [(u64, u64)],
    /// Takes the hand-offs.
    pub core: Option<&'a Core>,
}

pub fn judge(engine: &Engine, case: &Case) -> Verdict {
    let mut verdict = Verdict::default();
    let fault_at = |at: u64| case.faults.iter().rev().find(|(done, _)| *done <= at).map_or(Fault::Calm, |(_, fault)| *fault);
    let mut lose = |at: u64, kind: &'static str, what: String| {
        verdict.lost.entry((fault_at(at), kind)).or_default().push(what);
    };
    let end = u64::MAX;
    let books = Books::read(engine);
    for (kind, what) in case.core.map(|core| core.compare(&engine.data())).into_iter().flatten() {
        lose(end, kind, what);
    }
    for wrong in &books.wrong {
        lose(end, "books that contradict each other", wrong.clone());
    }
    for what in &case.phones.bad_manners {
        lose(end, "requests that no good far end sends", what.clone());
    }
    let mut talks_of: BTreeMap<u32, Vec<&Talk>> = BTreeMap::new();
    for talk in &case.phones.talks {
        talks_of.entry(talk.citizen).or_default().push(talk);
    }
    for (id, leg) in case.phones.legs.iter().enumerate() {
        let who = || format!("{} {:?} {:?} {:?}", leg.number, leg.side, leg.state, leg.end);
        // 481 to our BYE while no BYE of theirs crossed it, or no answer at all: the phone was alone in its call.
        if matches!(leg.bye_answer, Some(0 | 481)) && !leg.got_bye {
            lose(leg.ended_at, "phones in a call that the engine did not know", who());
        }
        if leg.end.is_none() {
            lose(end, "phones still in a call at the end", who());
        }
        if leg.side == Side::Citizen {
            let talks = talks_of.get(&(id as u32)).map_or(&[][..], Vec::as_slice);
            let is_unwritten = case.unwritten.iter().any(|(from, to)| (*from..*to).contains(&leg.ended_at));
            if is_unwritten {
                verdict.unwritten.0 += 1;
                let mut apart = |_, kind: &str, what: String| verdict.unwritten.1.push(format!("{kind}: {what}"));
                compare(leg, talks, books.of(&leg.number), &mut apart);
            } else {
                compare(leg, talks, books.of(&leg.number), &mut lose);
            }
        }
    }
    for talk in &case.phones.talks {
        let who = || case.phones.legs[talk.citizen as usize].number.clone();
        if let Some(why) = talk.broken {
            lose(talk.ended.unwrap_or(end), "talks broken off", format!("{}: {why}", who()));
        }
    }
    let unbroken = case.phones.talks.iter().filter(|talk| talk.broken.is_none() && !case.lossy);
    for (talk, (fault, gap)) in unbroken.flat_map(|talk| talk.gaps.iter().map(move |gap| (talk, gap))) {
        if *gap > GAP_MAX && !matches!(fault, Fault::MediaKilled | Fault::MediaStopped) {
            let what = format!("{}: {} ms", case.phones.legs[talk.citizen as usize].number, gap / 1000);
            verdict.lost.entry((*fault, "talks with a gap over 200 ms")).or_default().push(what);
        }
    }
    for resumed in &case.phones.resumed {
        let what = || {
            format!(
                "{}: {} ms, {} packets",
                case.phones.legs[resumed.citizen as usize].number,
                resumed.after / 1000,
                resumed.stale
            )
        };
        let mut lose = |kind| verdict.lost.entry((Fault::MediaStopped, kind)).or_default().push(what());
        if resumed.after > BACK_WITHIN {
            lose("talks without sound half a second after media went on");
        }
        if resumed.stale > STALE_MAX {
            lose("talks with a burst of stale sound");
        }
    }
    let through_media_kill = || case.phones.talks.iter().filter_map(|talk| Some((talk, talk.gaps.get(&Fault::MediaKilled)?)));
    let heard_again = through_media_kill().filter(|(talk, gap)| **gap <= MEDIA_GAP_MAX && talk.broken.is_none()).count();
    let media_talks = (through_media_kill().count(), heard_again);
    let calls = books.outcomes.values().sum();
    Verdict { calls, outcomes: books.outcomes, talks: case.phones.talks.len(), media_talks, ..verdict }
}

/// What a citizen's phone says of its call, against the record of it.
fn compare(leg: &Leg, talks: &[&Talk], person: &Person, lose: &mut impl FnMut(u64, &'static str, String)) {
    let who = || {
        let music = leg.ear.music_since.is_some();
        format!(
            "{}: {:?}, {} s after the answer, music {music}, keys {}, talks {}; on record {:?}, callbacks {}",
            leg.number,
            leg.end,
            leg.answered_at.map_or(0, |at| leg.ended_at.saturating_sub(at) / 1_000_000),
            leg.keys_pressed,
            talks.len(),
            person.outcomes,
            person.callbacks
        )
    };
    let mut lose = |kind| lose(leg.ended_at, kind, who());
    if person.outcomes.len() > 1 {
        lose("calls that are two on record");
    }
    if leg.answered_at.is_none() {
        match leg.end {
            Some(End::Refused(_)) => lose("callers turned away"),
            Some(End::Unanswered) => lose("callers whom nobody answered"),
            Some(End::Cancelled) if leg.ended_at - leg.begun_at >= PATIENCE_WITH_RINGING => lose("callers whom nobody answered"),
            Some(End::Cancelled | End::HungUp | End::GaveUpInSilence | End::TheyHungUp) | None => {}
        }
    }
    let Some(outcome) = person.outcomes.first() else {
        if leg.answered_at.is_some() {
            lose("answered calls without a record");
        }
        return;
    };
    let Some(outcome) = outcome.as_deref() else { return lose("calls without an outcome") };
    let owed = matches!(outcome, "failed" | "cut" | "blocked");
    let waited = leg.ear.music_since.map(|since| leg.ended_at.saturating_sub(since));
    let left_the_queue = outcome == "abandoned_in_queue" && waited.is_some_and(|waited| waited > OWED_AFTER);
    if (owed || left_the_queue) && person.callbacks == 0 && !person.unreachable {
        lose("callers who lost place and callback");
    }
    if person.callbacks > 1 {
        lose("callbacks that are owed twice");
    }
    let talked = talks.iter().any(|talk| talk.broken.is_none());
    let fits: &[&str] = match (leg.answered_at, leg.end) {
        (None, _) => &["cancelled", "failed", "abandoned_in_menu"],
        _ if talked => &["served"],
        _ if !talks.is_empty() => &["served", "cut", "abandoned_in_queue"],
        // A hang-up that crosses the agent's answer is a talk for the engine.
        (_, Some(End::HungUp)) if waited.is_some() => &["abandoned_in_queue", "served"],
        (_, Some(End::HungUp)) if leg.keys_pressed > 0 => &["abandoned_in_menu", "abandoned_in_queue", "served"],
        (_, Some(End::HungUp)) => &["abandoned_in_menu"],
        (_, Some(End::Cancelled)) => &["cancelled", "abandoned_in_menu"],
        (_, Some(End::GaveUpInSilence | End::TheyHungUp | End::Refused(_) | End::Unanswered) | None) => {
            &["failed", "cut", "blocked"]
        }
    };
    if !fits.contains(&outcome) {
        lose("outcomes that contradict the phone");
    }
    if matches!(leg.end, Some(End::GaveUpInSilence)) && talks.is_empty() {
        lose("waiting callers left in silence");
    }
    if matches!(leg.end, Some(End::TheyHungUp)) && talks.is_empty() && outcome != "blocked" {
        lose("waiting callers hung up on");
    }
}

#[derive(Default)]
struct Person {
    /// One entry for each record; `None` while the call is live.
    outcomes: Vec<Option<String>>,
    callbacks: usize,
    unreachable: bool,
}

struct Books {
    key: PersonKey,
    people: BTreeMap<String, Person>,
    nobody: Person,
    outcomes: BTreeMap<String, u64>,
    wrong: Vec<String>,
}

impl Books {
    fn read(engine: &Engine) -> Self {
        let secret = fs::read_to_string(engine.data().join("person-key")).unwrap();
        let key = PersonKey::new(Sha256::digest(secret.trim().as_bytes()).into());
        // The ledger waits until the tables have all that has happened; the list of calls does not.
        let by_api = settled_ledger(engine);
        let mut people: BTreeMap<String, Person> = BTreeMap::new();
        let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
        let calls = pages(engine, "/api/v1/calls?from=2020-01-01&to=2100-01-01", "calls");
        for call in &calls {
            let outcome = call["outcome"].as_str().map(str::to_owned);
            *outcomes.entry(outcome.clone().unwrap_or("live".to_owned())).or_default() += 1;
            let person = people.entry(call["person"].as_str().unwrap_or_default().to_owned()).or_default();
            person.outcomes.push(outcome);
            person.unreachable |= call["unreachable"] == true;
        }
        for task in pages(engine, "/api/v1/callbacks?all=true", "callbacks") {
            people.entry(task["person"].as_str().unwrap_or_default().to_owned()).or_default().callbacks += 1;
        }
        let mut wrong = Vec::new();
        let ledgers = [("API", by_api), ("command", engine.ledger_by_command())];
        for (name, ledger) in &ledgers {
            let ended: u64 = outcomes.iter().filter(|(outcome, _)| *outcome != "live").map(|(_, count)| count).sum();
            let of_ledger: u64 = ledger.outcomes.values().sum();
            if !ledger.holds() || ledger.entered != calls.len() as u64 || of_ledger != ended || ledger.live != 0 {
                wrong.push(format!("the ledger by {name} against {} calls and {ended} outcomes: {ledger:?}", calls.len()));
            }
        }
        wrong.extend(twice_in_the_journal(engine));
        wrong.extend(left_on_the_board(engine));
        Self { key, people, nobody: Person::default(), outcomes, wrong }
    }

    fn of(&self, number: &str) -> &Person {
        let person = self.key.person(&Phone::parse(number, None).expect("citizens have numbers"));
        self.people.get(&person.to_string()).unwrap_or(&self.nobody)
    }
}

/// Once no call is live any more, or after [`LAST_CALLS`].
fn settled_ledger(engine: &Engine) -> Ledger {
    let asked_first = now_us();
    loop {
        let ledger = engine.get("/api/v1/ledger?from=2020-01-01&to=2100-01-01").unwrap();
        let ledger: Ledger = serde_json::from_value(ledger).unwrap();
        if ledger.live == 0 || now_us() - asked_first > LAST_CALLS {
            return ledger;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn pages(engine: &Engine, path: &str, rows: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let mut page = engine.get(&format!("{path}&limit=500{after}")).unwrap();
        all.extend(page[rows].take().as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return all,
        }
    }
}

/// An outcome is written once; tables and ledger would not show a second.
fn twice_in_the_journal(engine: &Engine) -> Vec<String> {
    let mut reader = Reader::<Record>::new(engine.data().join("journal"));
    let (mut ends, mut position) = (BTreeMap::new(), 0);
    loop {
        let records = reader.read_from(position, 1 << 20).unwrap();
        let Some((behind, _)) = records.last() else { break };
        position = *behind;
        for (_, record) in records {
            if let Some(Fact::CallEnded { call, .. }) = record.into_stamped().map(|stamped| stamped.fact) {
                *ends.entry(call.to_string()).or_insert(0) += 1;
            }
        }
    }
    ends.into_iter().filter(|(_, times)| *times > 1).map(|(call, times)| format!("{call} ended {times} times")).collect()
}

/// Every phone has hung up: whoever is still in a call is so for the engine alone.
fn left_on_the_board(engine: &Engine) -> Vec<String> {
    let board = engine.get("/api/v1/board").unwrap();
    let busy = |agent: &&Value| ["offered", "talking"].iter().any(|state| agent["state"] == *state);
    let agents = board["agents"].as_array().unwrap().iter().filter(busy);
    let calls = board["calls"].as_array().unwrap().iter();
    calls.chain(agents).map(|left| format!("left on the board: {left}")).collect()
}

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            Fault::Calm => "no fault",
            Fault::EngineKilled => "engine killed",
            Fault::MediaKilled => "media killed",
            Fault::HandedOver => "engine handed over",
            Fault::EngineStopped => "engine stopped 2–5 s",
            Fault::MediaStopped => "media stopped 2–5 s",
            Fault::RecordingsFull => "recordings' disk full",
            Fault::JournalFull => "journal's disk full",
            Fault::DatabaseStopped => "database stopped",
            Fault::DatabaseSlow => "database slow",
            Fault::DatabaseReadOnly => "database read-only",
            Fault::CoreDown => "booking core down",
            Fault::CoreSlow => "booking core slow",
            Fault::CoreTwice => "booking core answers twice",
            Fault::ClockJumped => "clock jumped an hour",
            Fault::KilledInACrowd => "engine killed, a crowd waits",
        }
    }
}
