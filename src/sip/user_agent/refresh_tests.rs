//! Sessions that are refreshed, or end (RFC 4028), and far ends on hold that are asked whether they are there.

use super::tests::{DIALLED, Pair, Tune, media};
use super::*;
use crate::sip::{DialNote, Target};
use crate::stream::Direction;
use std::time::Duration;

const PLAIN: Tune = |_| {};
const ASKS: Tune = |settings| settings.session_expires_s = Some(90);
const PROBES: Tune = |settings| settings.probe_held = Some(Duration::from_secs(60));

/// Long enough for ten refreshes.
const LONG: u64 = 460_000;

#[test]
fn a_caller_who_asks_for_a_timer_refreshes_and_is_believed_in() {
    let mut pair = Pair::tuned(1, 0, ASKS, PLAIN);
    let leg = pair.talk();
    assert!(pair.wire.iter().any(|(from_line, text)| *from_line
        && text.contains("Session-Expires: 90;refresher=uac\r\n")
        && text.contains("Require: timer\r\n")));
    let (ours, theirs) = (pair.line.events.len(), pair.caller.events.len());
    pair.run_for(LONG);
    assert_eq!(pair.line.agent.leg_stage(leg), Some(LegStage::Live));
    assert_eq!(sent(&pair, false, "UPDATE"), 10);
    assert_eq!((pair.line.events.len(), pair.caller.events.len()), (ours, theirs), "nobody hears of a refresh");
}

#[test]
fn a_caller_who_vanishes_is_lost_a_third_before_the_session_expires() {
    let mut pair = Pair::tuned(2, 0, ASKS, PLAIN);
    let leg = pair.talk();
    pair.run_for(50_000);
    assert_eq!(sent(&pair, false, "UPDATE"), 1, "at 45 s");
    pair.trouble = 100;
    // 45 s + 60 s, of which 50 s are over.
    pair.run_for(54_900);
    assert_eq!(pair.line.agent.leg_stage(leg), Some(LegStage::Live));
    pair.run_for(200);
    assert_eq!(pair.line.events.last(), Some(&Event::Lost { leg }));
    assert_eq!(sent(&pair, true, "BYE"), 1);
    pair.run_for(200_000);
    assert!(pair.is_clean());
}

#[test]
fn a_phone_that_vanishes_is_lost_when_our_refresh_stays_unanswered() {
    for without_update in [false, true] {
        let mut pair = Pair { without_update, ..Pair::tuned(3, 0, PLAIN, ASKS) };
        line_dials(&mut pair);
        pair.run_for(40_000);
        pair.trouble = 100;
        pair.run_for(20_100);
        assert_eq!(pair.line.events.last(), Some(&Event::Lost { leg: DIALLED }), "without UPDATE: {without_update}");
    }
}

#[test]
fn a_refresh_by_reinvite_says_the_same_description_and_changes_nothing() {
    let mut pair = Pair { without_update: true, ..Pair::tuned(4, 0, PLAIN, ASKS) };
    let leg = line_dials(&mut pair);
    let (ours, theirs) = (pair.line.events.len(), pair.caller.events.len());
    pair.run_for(100_000);
    let offers = bodies(&pair, true, "INVITE");
    assert_eq!(offers.len(), 3);
    assert!(offers.iter().all(|offer| *offer == offers[0]), "{offers:?}");
    let answers = bodies(&pair, false, "SIP/2.0 200");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!((pair.line.events.len(), pair.caller.events.len()), (ours, theirs));
    // A hold is told once; then the refreshes repeat it.
    pair.line_does(Command::Change { leg, local: media(4100), direction: Direction::SendOnly });
    pair.run_for(100_000);
    let offers = bodies(&pair, true, "INVITE");
    assert_eq!(offers.len(), 6);
    assert!(offers[3..].iter().all(|offer| *offer == offers[3] && offer.contains("a=sendonly")), "{offers:?}");
}

#[test]
fn a_restored_leg_refreshes_when_it_was_due_and_with_the_same_description() {
    let mut pair = Pair { without_update: true, ..Pair::tuned(5, 0, PLAIN, ASKS) };
    line_dials(&mut pair);
    pair.run_for(20_000);
    pair.restart();
    pair.run_for(24_900);
    assert_eq!(bodies(&pair, true, "INVITE").len(), 1);
    pair.run_for(200);
    let offers = bodies(&pair, true, "INVITE");
    assert_eq!((offers.len(), &offers[1]), (2, &offers[0]));
}

#[test]
fn a_caller_who_vanished_while_the_line_was_dead_is_lost_soon_after() {
    let mut pair = Pair::tuned(6, 0, ASKS, PLAIN);
    let leg = pair.talk();
    pair.trouble = 100;
    pair.now = pair.now + Duration::from_secs(300);
    pair.restart();
    pair.run_for(9_000);
    assert_eq!(pair.line.agent.leg_stage(leg), Some(LegStage::Live), "a refresh may be on its way");
    pair.run_for(1_100);
    assert_eq!(pair.line.events.last(), Some(&Event::Lost { leg }));
}

#[test]
fn changes_and_refreshes_that_meet_are_all_made_on_a_bad_network() {
    for seed in 0..60 {
        let without_update = seed % 2 == 0;
        let mut pair = Pair { without_update, ..Pair::tuned(seed, seed % 3 * 6, ASKS, ASKS) };
        let leg = if seed % 4 < 2 {
            line_dials(&mut pair)
        } else {
            pair.dial();
            pair.run_for(2_000);
            let leg = invited(&pair.line.events);
            pair.line_does(Command::Answer { leg, local: media(4100) });
            leg
        };
        let theirs = if leg == DIALLED { invited(&pair.caller.events) } else { DIALLED };
        pair.run_for(10_000);
        for port in 0..10 {
            // Around the moments at which a refresh is due.
            let wait = 44_000 + pair.dice.next() % 2_000;
            pair.run_for(wait);
            pair.line_does(Command::Change { leg, local: media(4200 + port), direction: Direction::SendRecv });
            pair.caller_does(Command::Change { leg: theirs, local: media(4300 + port), direction: Direction::SendRecv });
        }
        pair.trouble = 0;
        pair.run_for(60_000);
        let what = format!("seed {seed}: {:?} {:?}", pair.line.events.last(), pair.caller.events.last());
        assert_eq!(pair.line.agent.leg_stage(leg), Some(LegStage::Live), "{what}");
        assert_eq!(pair.caller.agent.leg_stage(theirs), Some(LegStage::Live), "{what}");
        assert_eq!(last_remote(&pair.line.events), Some(media(4309)), "{what}");
        assert_eq!(last_remote(&pair.caller.events), Some(media(4209)), "{what}");
    }
}

#[test]
fn a_far_end_on_hold_is_asked_each_minute_of_silence_and_lost_when_it_is_gone() {
    let mut pair = Pair::tuned(7, 0, PLAIN, PROBES);
    let leg = pair.talk();
    pair.run_for(200_000);
    assert_eq!(sent(&pair, true, "OPTIONS"), 0, "its audio says that it is there");
    pair.caller_does(Command::Change { leg: DIALLED, local: media(4300), direction: Direction::RecvOnly });
    pair.run_for(200_000);
    assert_eq!(sent(&pair, true, "OPTIONS"), 3);
    pair.trouble = 100;
    pair.run_for(60_000 + 32_000);
    assert_eq!(pair.line.events.last(), Some(&Event::Lost { leg }));
}

#[test]
fn a_far_end_on_hold_that_hung_up_unheard_is_found() {
    let mut pair = Pair::tuned(8, 0, PLAIN, PROBES);
    let leg = pair.talk();
    pair.line_does(Command::Change { leg, local: media(4100), direction: Direction::SendOnly });
    pair.run_for(10_000);
    pair.trouble = 100;
    pair.caller_does(Command::HangUp { leg: DIALLED, reason: None });
    pair.run_for(40_000);
    pair.trouble = 0;
    pair.run_for(30_000);
    assert_eq!(pair.line.events.last(), Some(&Event::HungUp { leg }));
}

fn line_dials(pair: &mut Pair) -> LegId {
    let target = Target::Trunk { trunk: TrunkId::from("city"), number: "122".into() };
    pair.line_does(Command::Dial { leg: DIALLED, target, local: media(4100), caller: None, note: DialNote::default() });
    pair.run_for(if pair.trouble > 0 { 3_000 } else { 10 });
    let leg = invited(&pair.caller.events);
    pair.caller_does(Command::Answer { leg, local: media(4200) });
    pair.run_for(10);
    DIALLED
}

fn invited(events: &[Event]) -> LegId {
    events.iter().find_map(|event| if let Event::Invited(invited) = event { Some(invited.leg) } else { None }).unwrap()
}

fn last_remote(events: &[Event]) -> Option<SocketAddr> {
    events.iter().rev().find_map(|event| if let Event::Changed { stream, .. } = event { Some(stream.remote) } else { None })
}

/// How many different requests of a method one side sent.
fn sent(pair: &Pair, by_line: bool, method: &str) -> usize {
    let texts = pair.wire.iter().filter(|(from_line, text)| *from_line == by_line && text.starts_with(method));
    texts.map(|(_, text)| text).collect::<BTreeSet<_>>().len()
}

/// Bodies of one side's messages that begin so and have one.
fn bodies<'a>(pair: &'a Pair, by_line: bool, start: &str) -> Vec<&'a str> {
    let texts = pair.wire.iter().filter(|(from_line, text)| *from_line == by_line && text.starts_with(start));
    texts.filter_map(|(_, text)| text.split_once("\r\n\r\n")).map(|(_, body)| body).filter(|body| !body.is_empty()).collect()
}
