//! From where a leg takes packets: one address, locked; what comes from elsewhere is a stranger's.

use std::net::SocketAddr;

/// How many packets a far end behind NAT has to show its real address. After them the source is locked for good, so that who sprays
/// ports later is never heard.
pub const LEARNING_PACKETS: u8 = 5;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source {
    /// Nobody has said yet who the far end is: all are strangers.
    Unknown,
    /// Only this one.
    Locked(SocketAddr),
    /// The far end named an address that may be hidden behind a NAT; the first other address heard stands in for it, until the
    /// named one speaks or `left` packets have come.
    Learning { named: SocketAddr, heard: Option<SocketAddr>, left: u8 },
}

impl Source {
    /// The far end named (again) where it listens. Who named the same address before keeps what was learnt.
    pub fn name(&mut self, before: Option<SocketAddr>, named: SocketAddr, learn: bool) {
        if before == Some(named) && learn && *self != Source::Unknown {
            return;
        }
        *self = if learn { Source::Learning { named, heard: None, left: LEARNING_PACKETS } } else { Source::Locked(named) };
    }

    /// Whether a packet from there is the far end's.
    pub fn accepts(&mut self, from: SocketAddr) -> bool {
        match *self {
            Source::Unknown => false,
            Source::Locked(address) => address == from,
            Source::Learning { named, .. } if from == named => {
                *self = Source::Locked(named);
                true
            }
            Source::Learning { named, heard, left } => {
                let address = heard.unwrap_or(from);
                let left = left.saturating_sub(1);
                *self = if left == 0 { Source::Locked(address) } else { Source::Learning { named, heard: Some(address), left } };
                address == from
            }
        }
    }

    /// Where the far end is sent to.
    pub fn target(&self) -> Option<SocketAddr> {
        match *self {
            Source::Unknown => None,
            Source::Locked(address) => Some(address),
            Source::Learning { named, heard, .. } => Some(heard.unwrap_or(named)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }
    fn learning() -> Source {
        let mut source = Source::Unknown;
        source.name(None, at(1), true);
        source
    }

    #[test]
    fn before_the_far_end_is_known_all_are_strangers() {
        assert!(!Source::Unknown.accepts(at(1)));
        assert_eq!(Source::Unknown.target(), None);
    }

    #[test]
    fn known_remote_is_locked_at_once() {
        let mut source = Source::Unknown;
        source.name(None, at(1), false);
        assert!(!source.accepts(at(2)));
        assert!(source.accepts(at(1)));
        assert_eq!(source.target(), Some(at(1)));
    }

    #[test]
    fn symmetric_source_stands_in_for_a_silent_address_and_is_locked_after_five() {
        let mut source = learning();
        for _ in 0..LEARNING_PACKETS {
            assert!(source.accepts(at(2)));
        }
        assert_eq!(source, Source::Locked(at(2)));
        assert!(!source.accepts(at(1)));
        assert!(!source.accepts(at(3)));
    }

    #[test]
    fn named_address_takes_over_from_an_intruder_while_learning() {
        let mut source = learning();
        assert!(source.accepts(at(2)));
        assert_eq!(source.target(), Some(at(2)));
        assert!(source.accepts(at(1)));
        assert!(!source.accepts(at(2)));
        assert_eq!(source.target(), Some(at(1)));
    }

    #[test]
    fn second_intruder_does_not_move_the_target() {
        let mut source = learning();
        assert!(source.accepts(at(2)));
        assert!(!source.accepts(at(3)));
        assert_eq!(source.target(), Some(at(2)));
    }

    #[test]
    fn naming_the_same_address_again_keeps_what_was_learnt_and_a_new_one_does_not() {
        let mut source = learning();
        (0..LEARNING_PACKETS).for_each(|_| assert!(source.accepts(at(2))));
        source.name(Some(at(1)), at(1), true);
        assert_eq!(source, Source::Locked(at(2)));
        source.name(Some(at(1)), at(9), true);
        assert!(source.accepts(at(9)));
    }
}
