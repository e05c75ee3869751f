//! When to send what is made here: a wheel of 20 ms in twenty slots of 1 ms, legs spread over them so that packets do not leave in
//! bursts.

use crate::clock::Moment;

const SLOTS: usize = 20;
const SLOT_US: u64 = 1_000;
/// A leg begins within this many slots, in the emptiest: soon, yet spread when many begin at once.
const CHOICE: usize = 5;
/// Who slept longer than this (three turns) does not send the missed packets in one burst; the far end's buffer could not hold them.
const CATCH_UP_SLOTS: u64 = 60;

#[derive(Debug)]
pub struct Wheel {
    slots: [Vec<u32>; SLOTS],
    members: usize,
    /// The tick to be served next, counted in slots since `Moment::ZERO`.
    next: u64,
}

impl Wheel {
    pub fn new(now: Moment) -> Self {
        Self { slots: Default::default(), members: 0, next: now.0 / SLOT_US + 1 }
    }

    /// Takes a member in; the answer is its slot, needed to remove it.
    pub fn add(&mut self, now: Moment, member: u32) -> u8 {
        if self.members == 0 {
            self.next = self.next.max(now.0 / SLOT_US + 1);
        }
        let slot = (0..CHOICE)
            .map(|ahead| self.slot_of(self.next + ahead as u64))
            .min_by_key(|slot| self.slots[*slot].len())
            .unwrap_or(0);
        self.slots[slot].push(member);
        self.members += 1;
        slot as u8
    }

    pub fn remove(&mut self, slot: u8, member: u32) {
        let Some(members) = self.slots.get_mut(usize::from(slot)) else { return };
        if let Some(at) = members.iter().position(|each| *each == member) {
            members.swap_remove(at);
            self.members -= 1;
        }
    }

    /// When the next member is due.
    pub fn due(&self) -> Option<Moment> {
        if self.members == 0 {
            return None;
        }
        (self.next..self.next + SLOTS as u64)
            .find(|tick| !self.slots[self.slot_of(*tick)].is_empty())
            .map(|tick| Moment(tick * SLOT_US))
    }

    /// Puts the members of the next slot that is due by `now` into `served` (emptied first). False if none is due.
    pub fn take_due(&mut self, now: Moment, served: &mut Vec<u32>) -> bool {
        served.clear();
        let now = now.0 / SLOT_US;
        if self.members == 0 {
            return false;
        }
        if now.saturating_sub(self.next) > CATCH_UP_SLOTS {
            // Whole turns are left out, so that every member keeps its place.
            self.next += (now - self.next) / SLOTS as u64 * SLOTS as u64;
        }
        while self.next <= now {
            let slot = self.slot_of(self.next);
            self.next += 1;
            if !self.slots[slot].is_empty() {
                served.extend_from_slice(&self.slots[slot]);
                return true;
            }
        }
        false
    }

    fn slot_of(&self, tick: u64) -> usize {
        (tick % SLOTS as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(us: u64) -> Moment {
        Moment(50_000_000 + us)
    }
    fn served(wheel: &mut Wheel, now: Moment) -> Vec<u32> {
        let (mut all, mut slot) = (Vec::new(), Vec::new());
        while wheel.take_due(now, &mut slot) {
            all.extend_from_slice(&slot);
        }
        all
    }

    #[test]
    fn member_is_served_once_a_turn_and_never_early() {
        let mut wheel = Wheel::new(us(0));
        wheel.add(us(0), 7);
        assert_eq!(wheel.due(), Some(us(1_000)));
        assert_eq!(served(&mut wheel, us(999)), Vec::<u32>::new());
        assert_eq!(served(&mut wheel, us(1_000)), [7]);
        assert_eq!(wheel.due(), Some(us(21_000)));
        assert_eq!(served(&mut wheel, us(20_900)), Vec::<u32>::new());
        assert_eq!(served(&mut wheel, us(21_100)), [7]);
    }

    #[test]
    fn many_that_begin_at_once_are_spread() {
        let mut wheel = Wheel::new(us(0));
        for member in 0..50 {
            wheel.add(us(0), member);
        }
        let mut slot = Vec::new();
        for ms in 1..=5 {
            assert!(wheel.take_due(us(ms * 1_000), &mut slot));
            assert_eq!(slot.len(), 10);
        }
        assert!(!wheel.take_due(us(19_000), &mut slot));
    }

    #[test]
    fn short_delay_is_made_up_for_and_a_long_one_is_not() {
        let mut wheel = Wheel::new(us(0));
        wheel.add(us(0), 7);
        assert_eq!(served(&mut wheel, us(41_000)), [7, 7, 7]);
        assert_eq!(served(&mut wheel, us(10_001_000)), [7]);
    }

    #[test]
    fn removed_member_is_not_served_and_an_empty_wheel_is_never_due() {
        let mut wheel = Wheel::new(us(0));
        let slot = wheel.add(us(0), 7);
        wheel.remove(slot, 7);
        assert_eq!(wheel.due(), None);
        assert_eq!(served(&mut wheel, us(100_000)), Vec::<u32>::new());
        // An idle wheel owes nothing to who comes later.
        wheel.add(us(900_000), 8);
        assert_eq!(wheel.due(), Some(us(901_000)));
    }
}
