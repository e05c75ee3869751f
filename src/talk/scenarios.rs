//! Plays `tests/scenarios/talk/*.txt`: a line with a time is what happens, the lines with `>` below it are all that is done about it.
//!
//! Names: `citizen`, `A1`… are agents (and their legs), `R1`… the legs of a route, `O1`… offers. Facts are not written out, but an
//! `ended` without its `CallEnded` fact fails. `DOZVON_WRITE_SCENARIOS=1` writes the answers down for a person to read and judge.

use super::*;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

const CITIZEN: LegId = LegId(1);

#[test]
fn every_scenario_of_a_conversation_is_played_to_the_letter() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/talk");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "only {} scenarios found", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let played = play(&text);
        if std::env::var_os("DOZVON_WRITE_SCENARIOS").is_some() {
            std::fs::write(&file, format!("{played}\n")).unwrap();
            continue;
        }
        assert!(played == text.trim_end(), "{}\n--- is played as\n{played}\n---", file.display());
    }
}

/// The scenario as it is really played: its own stimuli and comments, with what the brain answered.
fn play(text: &str) -> String {
    let call = CallId(uuid::Uuid::nil());
    let mut talk = match text.starts_with("# A call out") {
        true => Talk::calling_back(
            call,
            CITIZEN,
            QueueId::from("therapy"),
            CalledBack {
                recorded: !text.lines().next().is_some_and(|first| first.contains("unrecorded")),
                rings: Duration::from_secs(30),
            },
            Moment::ZERO,
        ),
        false => Talk::new(call, CITIZEN, Moment::ZERO),
    };
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.starts_with('>')) {
        out.push_str(line);
        out.push('\n');
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let (time, what) = line.trim().split_once("  ").unwrap_or_else(|| panic!("no time in: {line}"));
        let now = Moment((time.parse::<f64>().unwrap() * 1e6) as u64);
        let what = what.trim();
        if what == "time passes" {
            talk.handle_timeout(now);
        } else {
            talk.handle(now, stimulus(what));
        }
        let mut noted = None;
        while let Some(command) = talk.poll_command() {
            match command {
                Command::Fact(Fact::CallEnded { outcome, .. }) => noted = Some(outcome),
                Command::Fact(_) => {}
                Command::Ended { outcome, after } => {
                    assert_eq!(noted, Some(outcome), "the ledger is told the same outcome");
                    writeln!(out, "> ended {} after {:.1}", outcome.as_str(), after.as_secs_f64()).unwrap();
                }
                command => writeln!(out, "> {}", say(&command)).unwrap(),
            }
        }
        // A brain that is put away and taken up again is the same brain.
        let mut taken_up: Talk = postcard::from_bytes(&postcard::to_stdvec(&talk).unwrap()).unwrap();
        std::mem::swap(&mut talk, &mut taken_up);
        assert_eq!(talk, taken_up);
    }
    out.trim_end().to_owned()
}

fn stimulus(what: &str) -> Event {
    let words: Vec<&str> = what.split_whitespace().collect();
    match words.as_slice() {
        ["robot", "answers"] => Event::AnswerWanted,
        ["robot", "speaks", "early"] => Event::EarlyMediaWanted,
        ["robot", "records"] => Event::RecordingWanted,
        ["robot", "queues", "for", queue] => Event::Queued { queue: QueueId::from(*queue), recorded: true },
        ["robot", "queues", "for", queue, "unrecorded"] => Event::Queued { queue: QueueId::from(*queue), recorded: false },
        ["robot", "dials", route, "by", steps @ ..] => {
            Event::TransferWanted { route: RouteId::from(*route), steps: route_steps(steps) }
        }
        ["robot", "hangs", "up", outcome] => Event::HangUpWanted { outcome: outcome_of(outcome) },
        ["offer", offer, "to", agent] => {
            Event::OfferMade { offer: OfferId(number(offer)), leg: leg(agent), agent: AgentId::from(*agent), auto_answer: false }
        }
        ["offer", offer, "withdrawn"] => Event::OfferWithdrawn { offer: OfferId(number(offer)) },
        ["queue", "overflows"] => Event::Overflowed,
        [who, "rings"] => Event::Ringing { leg: leg(who), early_media: false },
        [who, "rings", "with", "early", "media"] => Event::Ringing { leg: leg(who), early_media: true },
        [who, "answers"] => Event::Answered { leg: leg(who) },
        [who, "refuses", status] => Event::Refused { leg: leg(who), status: status.parse().unwrap() },
        [who, "hangs", "up"] => Event::HungUp { leg: leg(who) },
        [who, "is", "lost"] => Event::Lost { leg: leg(who) },
        ["citizen", "is", "lost", "call", "back", "by", recall] => Event::CitizenLost { recall: leg(recall) },
        ["citizen", "cancels"] => Event::Cancelled,
        [who, "holds"] => Event::Held { leg: leg(who), held: true },
        [who, "resumes"] => Event::Held { leg: leg(who), held: false },
        [who, "is", "silent"] => Event::Silent { leg: leg(who) },
        ["said"] => Event::Said,
        ["agent", "transfers", "to", route, "by", steps @ ..] => {
            Event::AgentTransfers { route: RouteId::from(*route), steps: route_steps(steps) }
        }
        ["agent", "hands", "on", "to", queue, unrecorded @ ..] => {
            Event::AgentHandsOn { queue: QueueId::from(*queue), recorded: unrecorded.is_empty() }
        }
        ["agent", "pauses", "recording"] => Event::RecordingPaused { paused: true },
        ["agent", "resumes", "recording"] => Event::RecordingPaused { paused: false },
        ["robot", "books", "place", "in", queue] => {
            Event::CallbackBooked { queue: QueueId::from(*queue), booking: Booking::Place }
        }
        ["agent", "hears", "a", "machine"] => Event::NotReached { end: AttemptEnd::Voicemail },
        ["called", "off"] => Event::CalledOff,
        ["robot", "says", "goodbye", outcome] => Event::Parting { outcome: Some(outcome_of(outcome)) },
        ["citizen", "leaves", "the", "queue"] => Event::LeavesQueue { why: QueueLeft::Transferred },
        ["engine", "stops"] => Event::Stop,
        _ => panic!("no such stimulus: {what}"),
    }
}

fn say(command: &Command) -> String {
    match command {
        Command::Answer { leg } => format!("answer {}", name(*leg)),
        Command::EarlyMedia { leg } => format!("early media to {}", name(*leg)),
        Command::Reject { leg, status } => format!("reject {} {status}", name(*leg)),
        Command::DialAgent { leg, queue, .. } => format!("dial {} from {queue}", name(*leg)),
        Command::DialRoute { leg, trunk, number } => format!("dial {} at {trunk} {number}", name(*leg)),
        Command::DialCitizen { leg } => format!("call the citizen back by {}", name(*leg)),
        Command::HangUp { leg, elsewhere: false } => format!("hang up {}", name(*leg)),
        Command::HangUp { leg, elsewhere: true } => format!("hang up {} elsewhere", name(*leg)),
        Command::Probe { leg } => format!("probe {}", name(*leg)),
        Command::Bridge { a, b } => format!("bridge {} {}", name(*a), name(*b)),
        Command::Music { leg } => format!("music to {}", name(*leg)),
        Command::Ringback { leg } => format!("ringback to {}", name(*leg)),
        Command::Say { leg, prompt } => format!("say {prompt} to {}", name(*leg)),
        Command::Record { leg } => format!("record {}", name(*leg)),
        Command::PauseRecord { paused: true, .. } => "pause recording".to_owned(),
        Command::PauseRecord { paused: false, .. } => "resume recording".to_owned(),
        Command::OfferAnswered { offer } => format!("tell queue: offer O{} answered", offer.0),
        Command::OfferMissed { offer, reason } => format!("tell queue: offer O{} missed {reason:?}", offer.0),
        Command::CallerLeft { why } => format!("tell queue: caller left {why:?}"),
        Command::AgentFreed { agent, by } => format!("tell queue: {agent} freed by {by:?}"),
        Command::CallbackBooked { queue, booking } => format!("tell acd: {booking:?} booked in {queue}"),
        Command::CallbackAttempted { end } => format!("tell acd: attempt {end:?}"),
        Command::QueueAgain { queue } => format!("tell queue: first in {queue} again"),
        Command::RobotQuiet => "robot quiet".to_owned(),
        Command::RobotDone => "robot done".to_owned(),
        Command::RouteFailed { route, end } => format!("tell robot: {route} failed {end:?}"),
        Command::Fact(_) | Command::Ended { .. } => unreachable!("written by the runner"),
    }
}

fn route_steps(words: &[&str]) -> Vec<RouteStep> {
    let ring = Duration::from_secs(30);
    words.iter().map(|word| RouteStep { trunk: TrunkId::from("city"), number: "103".to_owned(), ring, leg: leg(word) }).collect()
}

fn number(word: &str) -> u64 {
    word[1..].parse().unwrap()
}

fn leg(word: &str) -> LegId {
    match word.as_bytes()[0] {
        b'A' => LegId(100 + number(word)),
        b'R' => LegId(200 + number(word)),
        _ if word == "citizen" => CITIZEN,
        _ => panic!("no such leg: {word}"),
    }
}

fn name(leg: LegId) -> String {
    match leg.0 {
        1 => "citizen".to_owned(),
        n @ 100..200 => format!("A{}", n - 100),
        n => format!("R{}", n - 200),
    }
}

fn outcome_of(word: &str) -> Outcome {
    Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == word).unwrap_or_else(|| panic!("no outcome {word}"))
}
