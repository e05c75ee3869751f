//! What people on the line do, by dice of a seed: how long they listen, wait and talk, who hangs up, who holds.

use crate::Options;
use crate::phones::Side;

const MILLISECOND: u64 = 1000;
const SECOND: u64 = 1_000_000;
/// Who is not answered for so long gives up.
pub const PATIENCE_WITH_RINGING: u64 = 20 * SECOND;

/// What somebody does at a planned moment, if it still makes sense then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    GiveUpRinging,
    LeaveMenu,
    Press,
    /// The key had no effect that could be heard.
    PressAgain,
    LeaveQueue,
    Answer,
    Reject,
    /// Lets it ring.
    Ignore,
    Hold,
    Resume,
    EndTalk,
}

/// Means, in microseconds, chosen so that so many talk, wait and listen at a time as the options say.
pub struct Life {
    pub menu_mean: u64,
    pub queue_mean: u64,
    pub talk_mean: u64,
    /// Who calls goes straight to a queue that nobody serves, and listens to nothing.
    pub only_waits: bool,
}

impl Life {
    /// Little's law: of those who arrive a tenth leaves in the menu, half is served, four tenths leave the queue.
    pub fn of(options: &Options) -> Self {
        let each = |people: u32, share: f64| (f64::from(people) / (options.cps * share) * 1e6) as u64;
        Self {
            // A second goes by until the key is heard and the music begins.
            menu_mean: each(options.robot, 1.0).saturating_sub(SECOND).max(SECOND / 4),
            queue_mean: each(options.waiting, 0.4),
            talk_mean: each(options.talking, 0.5),
            only_waits: false,
        }
    }

    pub fn of_a_crowd() -> Self {
        Self { menu_mean: 0, queue_mean: 0, talk_mean: 0, only_waits: true }
    }

    /// The key of the queue.
    pub fn key(&self) -> u8 {
        if self.only_waits { 2 } else { 1 }
    }

    pub fn how_a_citizen_chooses(&self, dice: &mut Dice) -> Vec<(u64, Action)> {
        if self.only_waits {
            return vec![(SECOND, Action::Press)];
        }
        let stay = 400 * MILLISECOND + dice.mean(self.menu_mean);
        match dice.of_100() {
            0..10 => vec![(stay, Action::LeaveMenu)],
            10..15 => vec![(stay + 5 * SECOND, Action::Press)],
            _ => vec![(stay, Action::Press)],
        }
    }

    pub fn how_an_agent_takes_it(&self, dice: &mut Dice) -> (u64, Action) {
        let after = 50 * MILLISECOND + dice.below(800 * MILLISECOND);
        match dice.of_100() {
            0..2 => (after, Action::Reject),
            2..4 => (after, Action::Ignore),
            _ => (after, Action::Answer),
        }
    }

    pub fn how_a_talk_goes(&self, dice: &mut Dice) -> Vec<(u64, Side, Action)> {
        let length = SECOND + dice.mean(self.talk_mean);
        let who = if dice.of_100() < 60 { Side::Citizen } else { Side::Agent };
        let mut plan = vec![(length, who, Action::EndTalk)];
        if dice.of_100() < 15 && length > 4 * SECOND {
            let hold = SECOND + dice.below(length / 2);
            plan.push((hold, Side::Agent, Action::Hold));
            plan.push((hold + SECOND, Side::Agent, Action::Resume));
        }
        plan
    }
}

/// SplitMix64: the same seed, the same day.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub fn of_100(&mut self) -> u64 {
        self.below(100)
    }

    /// Exponential with this mean, at most ten times it.
    pub fn mean(&mut self, mean: u64) -> u64 {
        let share = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        ((-(1.0 - share).ln()).min(10.0) * mean as f64) as u64
    }
}
