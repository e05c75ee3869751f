//! kill -9 at every step: whatever a dialogue was at, the next life brings it to the same end, and the far end sees lawful SIP.

use super::tests::{DIALLED, Kill, Pair, media};
use super::*;
use crate::sip::{DialNote, Target};
use crate::stream::Direction;

/// Who does something in a dialogue.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    City,
    /// The side that is killed.
    Line,
}
use Who::{City, Line};

#[derive(Clone, Copy, Debug)]
enum Act {
    Dial,
    Ring,
    Progress,
    Answer,
    Busy,
    Hold,
    Resume,
    HangUp,
}
use Act::*;

/// Long enough for everything lost to be said again, also after a glare (RFC 3261 §14.1: up to 4 s).
const SETTLE: u64 = 5_000;

/// Who does what, and how many milliseconds pass before the next.
type Script = &'static [(Who, Act, u64)];

/// Long enough for two refreshes of the shortest session (RFC 4028 §4: 90 s).
const TWO_REFRESHES: u64 = 100_000;

/// Who dials asks for a session timer; whether both know UPDATE.
struct Timers {
    by_update: bool,
}

const REFRESHED: &[(&str, Script, Timers)] = &[
    (
        "they refresh by UPDATE",
        &[(City, Dial, SETTLE), (Line, Answer, TWO_REFRESHES), (City, HangUp, SETTLE)],
        Timers { by_update: true },
    ),
    (
        "they refresh by re-INVITE",
        &[(City, Dial, SETTLE), (Line, Answer, TWO_REFRESHES), (Line, HangUp, SETTLE)],
        Timers { by_update: false },
    ),
    (
        "we refresh by UPDATE, and hold meanwhile",
        &[(Line, Dial, SETTLE), (City, Answer, TWO_REFRESHES), (Line, Hold, TWO_REFRESHES), (Line, HangUp, SETTLE)],
        Timers { by_update: true },
    ),
    (
        "we refresh by re-INVITE, and they hold meanwhile",
        &[(Line, Dial, SETTLE), (City, Answer, TWO_REFRESHES), (City, Hold, TWO_REFRESHES), (City, HangUp, SETTLE)],
        Timers { by_update: false },
    ),
    ("we ask, they are busy", &[(Line, Dial, SETTLE), (City, Ring, SETTLE), (City, Busy, SETTLE)], Timers { by_update: true }),
];

const DIALOGUES: &[(&str, Script)] = &[
    (
        "early media, answer, the caller hangs up",
        &[(City, Dial, SETTLE), (Line, Progress, SETTLE), (Line, Answer, SETTLE), (City, HangUp, SETTLE)],
    ),
    ("ring, answer, we hang up", &[(City, Dial, SETTLE), (Line, Ring, SETTLE), (Line, Answer, SETTLE), (Line, HangUp, SETTLE)]),
    (
        "we hold and resume",
        &[(City, Dial, SETTLE), (Line, Answer, SETTLE), (Line, Hold, SETTLE), (Line, Resume, SETTLE), (City, HangUp, SETTLE)],
    ),
    (
        "the caller holds and resumes",
        &[(City, Dial, SETTLE), (Line, Answer, SETTLE), (City, Hold, SETTLE), (City, Resume, SETTLE), (Line, HangUp, SETTLE)],
    ),
    ("hung up before the ACK", &[(City, Dial, SETTLE), (Line, Answer, 0), (Line, HangUp, SETTLE)]),
    ("we refuse", &[(City, Dial, SETTLE), (Line, Busy, SETTLE)]),
    ("the caller gives up", &[(City, Dial, SETTLE), (Line, Ring, SETTLE), (City, HangUp, SETTLE)]),
    (
        "we dial, they ring and answer, they hang up",
        &[(Line, Dial, SETTLE), (City, Ring, SETTLE), (City, Answer, SETTLE), (City, HangUp, SETTLE)],
    ),
    (
        "we dial, early media, we hang up",
        &[(Line, Dial, SETTLE), (City, Progress, SETTLE), (City, Answer, SETTLE), (Line, HangUp, SETTLE)],
    ),
    (
        "we dial, hold and resume",
        &[(Line, Dial, SETTLE), (City, Answer, SETTLE), (Line, Hold, SETTLE), (Line, Resume, SETTLE), (Line, HangUp, SETTLE)],
    ),
    ("we dial, they are busy", &[(Line, Dial, SETTLE), (City, Ring, SETTLE), (City, Busy, SETTLE)]),
    ("we dial and give up while it rings", &[(Line, Dial, SETTLE), (City, Ring, SETTLE), (Line, HangUp, SETTLE)]),
    ("we dial and give up at once", &[(Line, Dial, 0), (Line, HangUp, SETTLE)]),
    ("our CANCEL crosses their answer", &[(Line, Dial, SETTLE), (City, Ring, SETTLE), (City, Answer, 0), (Line, HangUp, SETTLE)]),
];

#[test]
fn a_line_killed_at_any_step_brings_every_dialogue_to_the_same_end() {
    for (name, script) in DIALOGUES {
        assert_survives(name, |kill| play(script, kill));
    }
}

#[test]
fn a_line_killed_at_any_step_goes_on_with_the_refreshes() {
    for (name, script, Timers { by_update }) in REFRESHED {
        let whole = assert_survives(name, |kill| {
            let asks = |settings: &mut Settings| settings.session_expires_s = Some(90);
            let pair = Pair { without_update: !by_update, kill, ..Pair::tuned(1, 0, asks, asks) };
            play_to_end(pair, script)
        });
        let refreshes = whole.wire.iter().filter(|(_, text)| text.starts_with("UPDATE")).count();
        let busy = script.iter().any(|(_, act, _)| matches!(act, Busy));
        assert_eq!(refreshes > 0, *by_update && !busy, "{name}\n{}", shown(&whole.wire));
    }
}

/// Plays a dialogue to its end, and then again with a kill at each of its turns. Returns the first.
fn assert_survives(name: &str, play: impl Fn(Option<Kill>) -> Pair) -> Pair {
    let whole = play(None);
    assert!(whole.is_clean(), "{name}: {:?}", whole.line.agent.counters());
    assert_lawful(&whole.wire, name);
    for turn in 1..=whole.turns {
        for before_sending in [false, true] {
            let kill = Kill { turn, before_sending };
            let pair = play(Some(kill));
            let what = format!("{name}, {kill:?}");
            assert_lawful(&pair.wire, &what);
            assert_eq!(ends(&pair.caller.events), ends(&whole.caller.events), "the city's end: {what}\n{}", shown(&pair.wire));
            assert_eq!(ends(&pair.line.events), ends(&whole.line.events), "our end: {what}\n{}", shown(&pair.wire));
            assert!(pair.is_clean(), "{what}: {:?} {:?}", pair.line.agent.counters(), pair.caller.agent.counters());
            assert!(pair.line.written.is_empty(), "{what}: a record stays");
        }
    }
    whole
}

#[test]
fn a_change_of_address_is_made_on_a_restored_leg() {
    let mut pair = Pair::new(11, 0);
    let leg = pair.talk();
    pair.restart();
    assert_eq!(pair.line.agent.legs().collect::<Vec<_>>(), [leg]);
    assert_eq!(pair.line.agent.leg_stage(leg), Some(LegStage::Live));
    pair.line_does(Command::Change { leg, local: media(4900), direction: Direction::SendRecv });
    pair.run_for(10);
    assert!(matches!(pair.caller.events.last(), Some(Event::Changed { stream, .. }) if stream.remote == media(4900)));
}

#[test]
fn a_second_phone_that_answers_after_the_restart_is_acknowledged_and_hung_up() {
    let mut pair = play(&[(Line, Dial, 10), (City, Answer, 10)], None);
    let answer = pair.wire.iter().find(|(from_line, text)| !from_line && text.starts_with("SIP/2.0 200")).unwrap().1.clone();
    let tag = tag(&answer, "To").unwrap();
    pair.restart();
    pair.wire.clear();
    pair.line.agent.handle_datagram(pair.now, 0, pair.caller.address, answer.replace(&tag, "another").as_bytes());
    pair.collect();
    let sent: Vec<&str> = pair.wire.iter().filter(|(from_line, _)| *from_line).map(|(_, text)| method(text)).collect();
    assert_eq!(sent, ["ACK", "BYE"]);
}

#[test]
fn a_record_that_is_cut_or_spoilt_is_an_error_and_no_panic() {
    let mut records: Vec<Vec<u8>> = Vec::new();
    for script in [&DIALOGUES[0].1[..2], &DIALOGUES[4].1[..2], &DIALOGUES[7].1[..1], &DIALOGUES[7].1[..3]] {
        records.extend(play_unfinished(script).line.written.into_values());
    }
    assert!(records.len() >= 4);
    let mut dice = Dice::new([7; 4]);
    for record in records {
        for length in 0..record.len() {
            assert!(restored(&record[..length]).is_err(), "cut after {length}");
        }
        for _ in 0..2_000 {
            let mut spoilt = record.clone();
            let at = dice.next() as usize % spoilt.len();
            spoilt[at] = dice.next() as u8;
            let _ = restored(&spoilt);
        }
    }
    assert!(matches!(restored(&[99, 1]), Err(RestoreLegError::Shape { found: 99 })));
}

#[test]
fn the_records_of_a_usual_call_are_small() {
    let citizen = play(DIALOGUES[0].1, None).line.bytes_written;
    let agent = play(DIALOGUES[8].1, None).line.bytes_written;
    assert!(citizen + agent < 5 * 1024, "{citizen} + {agent} bytes");
}

fn restored(record: &[u8]) -> Result<(), RestoreLegError> {
    let mut pair = Pair::new(1, 0);
    pair.line.agent.restore_leg(pair.now, LegId(1), record)
}

fn play(script: &[(Who, Act, u64)], kill: Option<Kill>) -> Pair {
    play_to_end(Pair { kill, ..Pair::new(1, 0) }, script)
}

fn play_to_end(pair: Pair, script: &[(Who, Act, u64)]) -> Pair {
    let finished = script.iter().any(|(_, act, _)| matches!(act, HangUp | Busy));
    let mut pair = play_from(pair, script);
    if finished {
        pair.run_for(200_000);
    }
    pair
}

fn play_unfinished(script: &[(Who, Act, u64)]) -> Pair {
    // The last act is still under way.
    let wait = |index| if index + 1 < script.len() { 10 } else { 0 };
    let quick: Vec<_> = script.iter().enumerate().map(|(index, (who, act, _))| (*who, *act, wait(index))).collect();
    play_from(Pair::new(1, 0), &quick)
}

fn play_from(mut pair: Pair, script: &[(Who, Act, u64)]) -> Pair {
    for (who, act, wait) in script {
        let side = if *who == Line { &pair.line } else { &pair.caller };
        let invited =
            side.events.iter().find_map(|event| if let Event::Invited(invited) = event { Some(invited.leg) } else { None });
        let (leg, local) = (invited.unwrap_or(DIALLED), media(if *who == Line { 4100 } else { 4200 }));
        let command = match act {
            Dial => {
                let target = Target::Trunk { trunk: TrunkId::from("city"), number: "122".into() };
                let call = Some(crate::ids::CallId(uuid::Uuid::from_u128(1)));
                let note = DialNote { call, queue: Some("therapy".into()), auto_answer: true, ..Default::default() };
                Command::Dial { leg, target, local, caller: Phone::parse("+79130000012", None), note }
            }
            Ring => Command::Ring { leg },
            Progress => Command::Progress { leg, local },
            Answer => Command::Answer { leg, local },
            Busy => Command::Reject { leg, status: 486, retry_after: None },
            Hold => Command::Change { leg, local, direction: Direction::SendOnly },
            Resume => Command::Change { leg, local, direction: Direction::SendRecv },
            HangUp => Command::HangUp { leg, reason: None },
        };
        match who {
            Line => pair.line_does(command),
            City => pair.caller_does(command),
        }
        pair.run_for(*wait);
    }
    pair
}

/// What counts in the end: answered, the stream as it was last, how it was over.
fn ends(events: &[Event]) -> Vec<String> {
    let direction = events.iter().rev().find_map(|event| match event {
        Event::Changed { stream, .. } => Some(format!("{:?}", stream.direction)),
        _ => None,
    });
    let mut ends: Vec<String> = events
        .iter()
        .filter(|event| {
            matches!(
                event,
                Event::Answered { .. }
                    | Event::Confirmed { .. }
                    | Event::Refused { .. }
                    | Event::HungUp { .. }
                    | Event::Lost { .. }
                    | Event::Cancelled { .. }
            )
        })
        .map(|event| match event {
            Event::Refused { status, .. } => format!("Refused {status}"),
            // A call that another life heard first has another id.
            other => format!("{other:?}").split(' ').next().unwrap().to_owned(),
        })
        .collect();
    ends.extend(direction);
    ends
}

/// What the far end may see of us (RFC 3261 §12.2.1.1, §13.2.2.4, §13.3.1).
fn assert_lawful(wire: &[(bool, String)], what: &str) {
    let ours = || wire.iter().filter(|(from_line, _)| *from_line).map(|(_, text)| text.as_str());
    let theirs = || wire.iter().filter(|(from_line, _)| !from_line).map(|(_, text)| text.as_str());
    // Each new request has a greater CSeq number than the one before.
    let (mut branches, mut last) = (BTreeSet::new(), 0);
    for request in ours().filter(|text| !text.starts_with("SIP/2.0") && !matches!(method(text), "ACK" | "CANCEL")) {
        if branches.insert(field(request, "Via")) {
            let number = cseq(request).0;
            assert!(number > last, "CSeq {number} after {last}: {what}\n{}", shown(wire));
            last = number;
        }
    }
    // One dialog: our tag and theirs never change.
    let tag_of_ours = |text: &str| tag(text, if text.starts_with("SIP/2.0") { "To" } else { "From" });
    let tags: BTreeSet<String> =
        ours().filter(|text| cseq(text).1 != "CANCEL" && !text.starts_with("SIP/2.0 481")).filter_map(tag_of_ours).collect();
    assert!(tags.len() <= 1, "tags {tags:?}: {what}\n{}", shown(wire));
    // One final answer to each INVITE.
    let mut finals: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for response in
        ours().filter(|text| text.starts_with("SIP/2.0 ") && cseq(text).1 == "INVITE" && !text.starts_with("SIP/2.0 1"))
    {
        finals.entry(field(response, "Via")).or_default().insert(response.lines().next().unwrap().to_owned());
    }
    assert!(finals.values().all(|statuses| statuses.len() == 1), "{finals:?}: {what}\n{}", shown(wire));
    // An ACK for each final answer.
    let is_final = |text: &&str| text.starts_with("SIP/2.0 ") && !text.starts_with("SIP/2.0 1") && cseq(text).1 == "INVITE";
    for (number, _) in theirs().filter(is_final).map(cseq) {
        let acked = ours().any(|text| method(text) == "ACK" && cseq(text).0 == number);
        assert!(acked, "no ACK for {number}: {what}\n{}", shown(wire));
    }
}

fn method(text: &str) -> &str {
    text.split(' ').next().unwrap()
}

fn field(text: &str, name: &str) -> String {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap().to_owned()
}

fn tag(text: &str, name: &str) -> Option<String> {
    Some(field(text, name).split_once(";tag=")?.1.to_owned())
}

fn cseq(text: &str) -> (u32, String) {
    let value = field(text, "CSeq");
    let (number, method) = value.split_once(' ').unwrap();
    (number.parse().unwrap(), method.to_owned())
}

fn shown(wire: &[(bool, String)]) -> String {
    let line = |(from_line, text): &(bool, String)| {
        format!("{} {} | {}", if *from_line { ">" } else { "<" }, text.lines().next().unwrap(), field(text, "CSeq"))
    };
    wire.iter().map(line).collect::<Vec<_>>().join("\n")
}
