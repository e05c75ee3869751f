//! Random conversations by seed: whatever comes in whatever order, each call ends once and leaves nobody hanging.

use super::*;
use std::collections::BTreeSet;
use std::time::Duration;

const CITIZEN: LegId = LegId(1);

#[test]
fn every_conversation_ends_once_and_leaves_no_leg_behind() {
    for seed in 1..=3_000_u64 {
        let mut walk = Walk::new(seed);
        for _ in 0..40 {
            walk.step();
        }
        walk.end();
    }
}

struct Walk {
    seed: u64,
    dice: u64,
    now: Moment,
    talk: Talk,
    /// Legs that were dialled and have neither ended nor been let go.
    live: BTreeSet<LegId>,
    citizen_live: bool,
    next_leg: u64,
    outcomes: Vec<Outcome>,
    facts: Vec<Outcome>,
    held_agents: i32,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let talk = Talk::new(CallId(uuid::Uuid::nil()), CITIZEN, Moment::ZERO);
        Self {
            seed,
            dice: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            now: Moment::ZERO,
            talk,
            live: BTreeSet::new(),
            citizen_live: true,
            next_leg: 100,
            outcomes: Vec::new(),
            facts: Vec::new(),
            held_agents: 0,
        }
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % sides
    }

    fn any_leg(&mut self) -> LegId {
        let legs: Vec<LegId> = self.live.iter().copied().collect();
        if legs.is_empty() { LegId(9_999) } else { legs[self.roll(legs.len() as u64) as usize] }
    }

    fn new_leg(&mut self) -> LegId {
        self.next_leg += 1;
        LegId(self.next_leg)
    }

    fn steps(&mut self) -> Vec<RouteStep> {
        let count = self.roll(3);
        let ring = Duration::from_secs(5);
        (0..count)
            .map(|_| RouteStep { trunk: TrunkId::from("city"), number: "103".to_owned(), ring, leg: self.new_leg() })
            .collect()
    }

    fn step(&mut self) {
        self.now = self.now + Duration::from_millis(self.roll(4_000));
        let queue = QueueId::from("therapy");
        let event = match self.roll(20) {
            0 => Event::AnswerWanted,
            1 => Event::Queued { queue, recorded: self.roll(2) == 0 },
            2 => Event::TransferWanted { route: RouteId::from("ambulance"), steps: self.steps() },
            3 if self.roll(6) == 0 => Event::HangUpWanted { outcome: Outcome::SelfServed },
            4..=6 => Event::OfferMade {
                offer: OfferId(self.roll(5)),
                leg: self.new_leg(),
                agent: AgentId::from(["A1", "A2", "A3"][self.roll(3) as usize]),
                auto_answer: false,
            },
            7 => Event::OfferWithdrawn { offer: OfferId(self.roll(5)) },
            8 if self.roll(2) == 0 => Event::LeavesQueue { why: QueueLeft::Transferred },
            8 => Event::Overflowed,
            9 => Event::Ringing { leg: self.any_leg(), early_media: self.roll(2) == 0 },
            10..=12 => Event::Answered { leg: self.any_leg() },
            // A leg that was answered cannot be refused any more.
            13 if matches!(self.talk.stage_word(), "talking" | "recalling") => self.leg_ends(|leg| Event::HungUp { leg }),
            13 => self.leg_ends(|leg| Event::Refused { leg, status: 486 }),
            14 => self.leg_ends(|leg| Event::HungUp { leg }),
            15 => Event::Lost { leg: self.any_leg() },
            16 => Event::Held { leg: self.any_leg(), held: self.roll(2) == 0 },
            17 if self.roll(3) == 0 => Event::AgentHandsOn { queue, recorded: self.roll(2) == 0 },
            17 => Event::AgentTransfers { route: RouteId::from("ambulance"), steps: self.steps() },
            18 if self.roll(8) == 0 && self.citizen_live => {
                self.citizen_live = false;
                if self.talk.answered { Event::HungUp { leg: CITIZEN } } else { Event::Cancelled }
            }
            19 if self.roll(6) == 0 && self.talk.answered && self.citizen_live => {
                // The leg in which the citizen is now: the one that came in, or the one of an earlier call back.
                self.live.remove(&self.talk.citizen());
                self.citizen_live = false;
                Event::CitizenLost { recall: self.new_leg() }
            }
            _ => {
                self.talk.handle_timeout(self.now);
                self.drain();
                return;
            }
        };
        self.talk.handle(self.now, event);
        self.drain();
    }

    fn leg_ends(&mut self, event: impl Fn(LegId) -> Event) -> Event {
        let leg = self.any_leg();
        self.live.remove(&leg);
        event(leg)
    }

    fn drain(&mut self) {
        while let Some(command) = self.talk.poll_command() {
            match command {
                Command::DialAgent { leg, .. } | Command::DialRoute { leg, .. } | Command::DialCitizen { leg } => {
                    assert!(self.live.insert(leg), "seed {}: {leg} dialled twice", self.seed);
                }
                Command::HangUp { leg, .. } | Command::Reject { leg, .. } if leg == CITIZEN => {
                    assert!(self.citizen_live, "seed {}: the citizen is hung up twice", self.seed);
                    self.citizen_live = false;
                }
                Command::HangUp { leg, .. } => {
                    self.live.remove(&leg);
                }
                Command::OfferAnswered { .. } => self.held_agents += 1,
                Command::AgentFreed { .. } => self.held_agents -= 1,
                Command::Ended { outcome, .. } => self.outcomes.push(outcome),
                Command::Fact(Fact::CallEnded { outcome, .. }) => self.facts.push(outcome),
                Command::Bridge { a, b } => {
                    assert_eq!(a, self.talk.citizen());
                    assert!(a == CITIZEN || self.live.contains(&a), "seed {}: bridged with nobody", self.seed);
                    assert!(self.live.contains(&b), "seed {}: bridged with a leg that is gone", self.seed);
                }
                _ => {}
            }
        }
    }

    fn end(mut self) {
        if !self.talk.is_over() {
            self.citizen_live = false;
            let citizen = self.talk.citizen();
            self.live.remove(&citizen);
            let event = match self.talk.stage_word() {
                "recalling" => Event::Stop,
                _ if self.talk.answered => Event::HungUp { leg: citizen },
                _ => Event::Cancelled,
            };
            self.talk.handle(self.now, event);
            self.drain();
        }
        // Answers that crossed the end are hung up too.
        for leg in self.live.clone() {
            self.talk.handle(self.now, Event::Answered { leg });
        }
        self.drain();
        assert_eq!(self.outcomes.len(), 1, "seed {}: {:?}", self.seed, self.outcomes);
        assert_eq!(self.outcomes, self.facts, "seed {}", self.seed);
        assert!(self.live.is_empty(), "seed {}: legs left: {:?}", self.seed, self.live);
        assert_eq!(self.held_agents, 0, "seed {}: an agent is still held", self.seed);
        assert!(self.talk.is_over() && self.talk.poll_timeout().is_none());
    }
}
