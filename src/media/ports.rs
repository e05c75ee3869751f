//! Which RTP ports of each network are free, taken, or resting after a call.

use crate::clock::Moment;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

/// One `[[network]]` of the configuration as far as audio is concerned.
#[derive(Clone, Debug)]
pub struct MediaNetwork {
    pub name: String,
    pub bind: IpAddr,
    /// RTP takes the even ports of the range, the odd ones are kept for RTCP (RFC 3550 §11).
    pub ports: RangeInclusive<u16>,
}

#[derive(Debug, thiserror::Error, PartialEq)]
pub enum PortError {
    #[error("there is no network `{0}`")]
    NoSuchNetwork(String),
    #[error("all ports of network `{0}` are taken or resting")]
    NoneFree(String),
}

/// A port that belongs to one leg until it is put to rest.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    pub network: usize,
    pub address: SocketAddr,
}

#[derive(Debug)]
pub struct Ports {
    networks: Vec<Pool>,
    by_name: BTreeMap<String, usize>,
    rest: Duration,
}

#[derive(Debug)]
struct Pool {
    bind: IpAddr,
    /// Longest unused first.
    free: VecDeque<u16>,
    resting: VecDeque<(Moment, u16)>,
}

impl Ports {
    /// A port rests for `rest` after its call: who still sends there is heard by nobody.
    pub fn new(networks: &[MediaNetwork], rest: Duration) -> Self {
        let by_name = networks.iter().enumerate().map(|(at, network)| (network.name.clone(), at)).collect();
        let pool = |network: &MediaNetwork| Pool {
            bind: network.bind,
            free: network.ports.clone().filter(|port| port % 2 == 0).collect(),
            resting: VecDeque::new(),
        };
        Self { networks: networks.iter().map(pool).collect(), by_name, rest }
    }

    /// Goes on at another place of each range than the life before, whose far ends may still send to its ports: they rest so.
    pub fn begin_at(&mut self, dice: u64) {
        for pool in &mut self.networks {
            let place = dice.checked_rem(pool.free.len() as u64).unwrap_or_default();
            pool.free.rotate_left(place as usize);
        }
    }

    pub fn take(&mut self, now: Moment, network: &str) -> Result<Port, PortError> {
        let (at, pool) = self.pool(network)?;
        while let Some((until, port)) = pool.resting.front().copied()
            && until <= now
        {
            pool.resting.pop_front();
            pool.free.push_back(port);
        }
        let port = pool.free.pop_front().ok_or_else(|| PortError::NoneFree(network.into()))?;
        Ok(Port { network: at, address: SocketAddr::new(pool.bind, port) })
    }

    /// This very port, also if it rests: the far end of the leg that stood there still sends to it. `None` if it is taken or none of
    /// this network's.
    pub fn take_again(&mut self, network: &str, address: SocketAddr) -> Option<Port> {
        let (at, pool) = self.pool(network).ok().filter(|(_, pool)| pool.bind == address.ip())?;
        if let Some(place) = pool.free.iter().position(|port| *port == address.port()) {
            pool.free.remove(place)?;
        } else {
            let place = pool.resting.iter().position(|(_, port)| *port == address.port())?;
            pool.resting.remove(place)?;
        }
        Some(Port { network: at, address })
    }

    fn pool(&mut self, network: &str) -> Result<(usize, &mut Pool), PortError> {
        let missing = || PortError::NoSuchNetwork(network.into());
        let at = self.by_name.get(network).copied().ok_or_else(missing)?;
        Ok((at, self.networks.get_mut(at).ok_or_else(missing)?))
    }

    pub fn put_to_rest(&mut self, now: Moment, port: &Port) {
        if let Some(pool) = self.networks.get_mut(port.network) {
            pool.resting.push_back((now + self.rest, port.address.port()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports() -> Ports {
        let network = MediaNetwork { name: "trunk".into(), bind: IpAddr::from([127, 0, 0, 1]), ports: 4001..=4005 };
        Ports::new(&[network], Duration::from_secs(5))
    }
    fn number(port: Result<Port, PortError>) -> Option<u16> {
        port.ok().map(|port| port.address.port())
    }

    #[test]
    fn only_even_ports_of_the_range_are_given() {
        let mut ports = ports();
        assert_eq!(number(ports.take(Moment::ZERO, "trunk")), Some(4002));
        assert_eq!(number(ports.take(Moment::ZERO, "trunk")), Some(4004));
        assert_eq!(ports.take(Moment::ZERO, "trunk"), Err(PortError::NoneFree("trunk".into())));
        assert_eq!(ports.take(Moment::ZERO, "moon"), Err(PortError::NoSuchNetwork("moon".into())));
    }

    #[test]
    fn every_life_begins_at_a_place_of_its_own() {
        for (dice, first) in [(0, 4002), (1, 4004), (2, 4002), (u64::MAX, 4004)] {
            let mut ports = ports();
            ports.begin_at(dice);
            assert_eq!(number(ports.take(Moment::ZERO, "trunk")), Some(first));
        }
    }

    #[test]
    fn port_rests_after_its_call() {
        let mut ports = ports();
        let first = ports.take(Moment::ZERO, "trunk").unwrap();
        let second = ports.take(Moment::ZERO, "trunk").unwrap();
        ports.put_to_rest(Moment::from_secs(10), &first);
        ports.put_to_rest(Moment::from_secs(11), &second);
        assert_eq!(number(ports.take(Moment(14_999_999), "trunk")), None);
        assert_eq!(number(ports.take(Moment::from_secs(15), "trunk")), Some(4002));
        assert_eq!(number(ports.take(Moment::from_secs(15), "trunk")), None);
    }

    #[test]
    fn port_of_a_former_life_is_taken_again_also_while_it_rests() {
        let mut ports = ports();
        let taken = ports.take(Moment::ZERO, "trunk").unwrap();
        assert_eq!(ports.take_again("trunk", taken.address), None);
        ports.put_to_rest(Moment::ZERO, &taken);
        assert_eq!(ports.take_again("trunk", taken.address), Some(taken));
        assert_eq!(number(ports.take(Moment::from_secs(60), "trunk")), Some(4004));
        let elsewhere = SocketAddr::from(([127, 0, 0, 2], 4002));
        assert_eq!(ports.take_again("trunk", elsewhere), None);
    }
}
