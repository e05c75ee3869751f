//! Where each agent's phone can be reached: the bindings of RFC 3261 §10.3.

use crate::clock::Moment;
use crate::ids::AgentId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use thiserror::Error;

/// Shorter registrations are refused (423): a floor of phones that refresh each second is a flood.
pub const EXPIRES_MIN: u32 = 60;
/// Longer ones are cut to it: a phone that vanished is noticed within the hour at the latest.
pub const EXPIRES_MAX: u32 = 3600;
/// For a phone that names none.
pub const EXPIRES_DEFAULT: u32 = 3600;
/// Longest Contact URI kept.
const URI_MAX: usize = 512;

/// All bindings. Plain data: a snapshot of it is its serialisation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Registrar {
    /// Per agent, the one refreshed last stands last.
    bindings: BTreeMap<AgentId, Vec<Binding>>,
    next_expiry: Option<Moment>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Binding {
    /// The Contact as the phone gave it: the Request-URI of what we send there.
    pub uri: String,
    /// Where the datagram goes.
    pub reach: SocketAddr,
    pub expires: Moment,
    call_id: String,
    cseq: u32,
}

/// One REGISTER that passed the digest.
#[derive(Clone, Debug)]
pub struct Register<'a> {
    pub agent: AgentId,
    pub contacts: Contacts,
    /// The `Expires` header.
    pub expires: Option<u32>,
    pub call_id: &'a str,
    pub cseq: u32,
    /// Where the datagram came from.
    pub source: SocketAddr,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Contacts {
    /// `Contact: *`.
    All,
    /// Possibly none: then the phone only asks what there is.
    Listed(Vec<Contact>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Contact {
    /// Without angle brackets and header parameters. A `q` is of no use: an agent's phones ring in the order they registered.
    pub uri: String,
    /// Its `expires` parameter.
    pub expires: Option<u32>,
}

/// Why a REGISTER changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RegisterError {
    #[error("registration is too brief")]
    TooBrief,
    #[error("wildcard contact without expires 0")]
    Wildcard,
    #[error("contact address is too long")]
    ContactTooLong,
    #[error("registration is older than the one known")]
    OutOfOrder,
}

impl RegisterError {
    /// 423 wants `Min-Expires:` [`EXPIRES_MIN`] beside it.
    pub const fn status(self) -> u16 {
        match self {
            RegisterError::TooBrief => 423,
            RegisterError::Wildcard | RegisterError::ContactTooLong => 400,
            RegisterError::OutOfOrder => 500,
        }
    }
}

impl Registrar {
    /// Adds, refreshes and removes, all or nothing, and gives the agent's bindings then (for the 200; none left = unreachable).
    /// `contacts_max` of one account are kept; the one not refreshed for the longest goes.
    pub fn register(&mut self, now: Moment, request: Register<'_>, contacts_max: usize) -> Result<&[Binding], RegisterError> {
        let mut bindings = self.bindings.get(&request.agent).cloned().unwrap_or_default();
        bindings.retain(|binding| binding.expires > now);
        match &request.contacts {
            // RFC 3261 §10.3 step 6: `*` takes everything away, and only with Expires: 0.
            Contacts::All if request.expires == Some(0) => {
                if bindings.iter().any(|binding| request.is_older_than(binding)) {
                    return Err(RegisterError::OutOfOrder);
                }
                bindings.clear();
            }
            Contacts::All => return Err(RegisterError::Wildcard),
            Contacts::Listed(contacts) => {
                for contact in contacts {
                    request.apply(now, contact, &mut bindings)?;
                }
            }
        }
        let surplus = bindings.len().saturating_sub(contacts_max);
        bindings.drain(..surplus);
        if bindings.is_empty() {
            self.bindings.remove(&request.agent);
        } else {
            self.bindings.insert(request.agent.clone(), bindings);
        }
        self.find_next_expiry();
        Ok(self.of(&request.agent))
    }

    /// Where this agent's phones are, the one refreshed last at the end. Empty = unreachable.
    pub fn of(&self, agent: &AgentId) -> &[Binding] {
        self.bindings.get(agent).map_or(&[], Vec::as_slice)
    }

    /// An agent's bindings written down for [`Registrar::restore`]; empty if there are none.
    pub fn written(&self, agent: &AgentId) -> Vec<u8> {
        self.bindings.get(agent).and_then(|bindings| postcard::to_stdvec(bindings).ok()).unwrap_or_default()
    }

    /// Everybody's bindings, each as [`Registrar::written`] gives it.
    pub fn all_written(&self) -> BTreeMap<AgentId, Vec<u8>> {
        self.bindings.keys().map(|agent| (agent.clone(), self.written(agent))).collect()
    }

    /// Takes up what was written down of an agent, as far as it has not expired. `false`: it cannot be read.
    pub fn restore(&mut self, now: Moment, agent: AgentId, written: &[u8]) -> bool {
        let Ok(mut bindings) = postcard::from_bytes::<Vec<Binding>>(written) else { return written.is_empty() };
        bindings.retain(|binding| binding.expires > now);
        if !bindings.is_empty() {
            self.bindings.insert(agent, bindings);
            self.find_next_expiry();
        }
        true
    }

    /// Forgets agents whose account is gone; returns those who were reachable.
    pub fn keep_only(&mut self, has_account: impl Fn(&AgentId) -> bool) -> Vec<AgentId> {
        let gone: Vec<_> = self.bindings.keys().filter(|agent| !has_account(agent)).cloned().collect();
        self.bindings.retain(|agent, _| !gone.contains(agent));
        self.find_next_expiry();
        gone
    }

    /// When the next binding expires.
    pub fn poll_timeout(&self) -> Option<Moment> {
        self.next_expiry
    }

    /// Drops what expired; returns the agents that became unreachable by it.
    pub fn handle_timeout(&mut self, now: Moment) -> Vec<AgentId> {
        if self.next_expiry.is_none_or(|expiry| expiry > now) {
            return Vec::new();
        }
        let mut unreachable = Vec::new();
        self.bindings.retain(|agent, bindings| {
            bindings.retain(|binding| binding.expires > now);
            if bindings.is_empty() {
                unreachable.push(agent.clone());
            }
            !bindings.is_empty()
        });
        self.find_next_expiry();
        unreachable
    }

    fn find_next_expiry(&mut self) {
        self.next_expiry = self.bindings.values().flatten().map(|binding| binding.expires).min();
    }
}

impl Register<'_> {
    fn apply(&self, now: Moment, contact: &Contact, bindings: &mut Vec<Binding>) -> Result<(), RegisterError> {
        // RFC 3261 §10.3 step 7: the contact's own time goes before the header, and that before our default.
        let expires = contact.expires.or(self.expires).unwrap_or(EXPIRES_DEFAULT).min(EXPIRES_MAX);
        if expires > 0 && expires < EXPIRES_MIN {
            return Err(RegisterError::TooBrief);
        }
        if contact.uri.len() > URI_MAX {
            return Err(RegisterError::ContactTooLong);
        }
        if let Some(known) = bindings.iter().position(|binding| same_contact(&binding.uri, &contact.uri)) {
            if bindings.get(known).is_some_and(|binding| self.is_older_than(binding)) {
                return Err(RegisterError::OutOfOrder);
            }
            bindings.remove(known);
        }
        if expires > 0 {
            bindings.push(Binding {
                uri: contact.uri.clone(),
                reach: reach(&contact.uri, self.source),
                expires: now + Duration::from_secs(u64::from(expires)),
                call_id: self.call_id.to_owned(),
                cseq: self.cseq,
            });
        }
        Ok(())
    }

    /// RFC 3261 §10.3 step 7: within one Call-ID the order is that of CSeq. The same CSeq may list one contact once only.
    fn is_older_than(&self, binding: &Binding) -> bool {
        binding.call_id == self.call_id && self.cseq <= binding.cseq
    }
}

/// A phone that names the address we see stands where it says. Any other name is its side of a NAT (or a host name we would have to
/// look up): then the way back is the way it came.
fn reach(uri: &str, source: SocketAddr) -> SocketAddr {
    literal(uri).filter(|named| named.ip() == source.ip()).unwrap_or(source)
}

fn literal(uri: &str) -> Option<SocketAddr> {
    const PORT: u16 = 5060; // RFC 3261 §19.1.2
    let host = host_part(uri);
    if let Ok(address) = host.parse::<SocketAddr>() {
        return Some(address);
    }
    let ip: IpAddr = host.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    Some(SocketAddr::new(ip, PORT))
}

fn host_part(uri: &str) -> &str {
    let uri = uri.split([';', '?']).next().unwrap_or_default();
    uri.rsplit_once('@').or_else(|| uri.split_once(':')).map_or(uri, |(_, host)| host)
}

/// RFC 3261 §19.1.4 as far as phones use it: user, host (without case), port and transport decide; other parameters change with
/// each start of some phones and would leave dead bindings behind.
fn same_contact(a: &str, b: &str) -> bool {
    let core = |uri: &str| {
        let mut parts = uri.split([';', '?']);
        let address = parts.next().unwrap_or_default();
        let transport = parts.map(str::to_ascii_lowercase).find(|parameter| parameter.starts_with("transport="));
        let user = address.strip_suffix(host_part(uri)).unwrap_or_default().to_owned();
        (user, host_part(uri).to_ascii_lowercase(), transport)
    };
    core(a) == core(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_secs(1_000);
    const DESK: &str = "sip:op1@10.0.0.7:5062;transport=udp";

    #[test]
    fn a_phone_is_reachable_until_its_time_is_over() {
        let mut registrar = Registrar::default();
        assert_eq!(registrar.register(NOW, request(1, DESK, Some(120)), 4).unwrap().len(), 1);
        assert_eq!(registrar.poll_timeout(), Some(Moment::from_secs(1_120)));
        assert!(registrar.handle_timeout(Moment::from_secs(1_119)).is_empty());
        assert_eq!(registrar.handle_timeout(Moment::from_secs(1_120)), [agent()]);
        assert!(registrar.of(&agent()).is_empty() && registrar.poll_timeout().is_none());
    }

    #[test]
    fn a_refresh_moves_the_end_and_keeps_one_binding() {
        let mut registrar = Registrar::default();
        registrar.register(NOW, request(1, DESK, Some(120)), 4).unwrap();
        let again = "sip:op1@10.0.0.7:5062;transport=UDP;line=x9";
        let later = Moment::from_secs(1_100);
        assert_eq!(registrar.register(later, request(2, again, None), 4).unwrap().len(), 1);
        assert_eq!(registrar.poll_timeout(), Some(later + Duration::from_secs(3600)));
    }

    #[test]
    fn expires_zero_and_the_star_take_bindings_away() {
        let mut registrar = Registrar::default();
        registrar.register(NOW, request(1, DESK, None), 4).unwrap();
        registrar.register(NOW, request(2, "sip:op1@10.0.0.8", None), 4).unwrap();
        assert_eq!(registrar.register(NOW, request(3, DESK, Some(0)), 4).unwrap().len(), 1);
        let star = |cseq, expires| Register { contacts: Contacts::All, expires, ..request(cseq, DESK, None) };
        assert_eq!(registrar.register(NOW, star(4, None), 4), Err(RegisterError::Wildcard));
        assert_eq!(registrar.register(NOW, star(2, Some(0)), 4), Err(RegisterError::OutOfOrder));
        assert!(registrar.register(NOW, star(5, Some(0)), 4).unwrap().is_empty());
    }

    #[test]
    fn a_late_datagram_does_not_undo_a_newer_one() {
        let mut registrar = Registrar::default();
        registrar.register(NOW, request(5, DESK, None), 4).unwrap();
        assert_eq!(registrar.register(NOW, request(4, DESK, Some(0)), 4), Err(RegisterError::OutOfOrder));
        assert_eq!(registrar.of(&agent()).len(), 1);
        let restarted = Register { call_id: "other", ..request(1, DESK, Some(0)) };
        assert!(registrar.register(NOW, restarted, 4).unwrap().is_empty());
    }

    #[test]
    fn a_brief_time_is_refused_a_long_one_cut_and_the_contacts_own_goes_first() {
        let mut registrar = Registrar::default();
        assert_eq!(registrar.register(NOW, request(1, DESK, Some(59)), 4), Err(RegisterError::TooBrief));
        let contact = |expires| Contacts::Listed(vec![Contact { uri: DESK.into(), expires }]);
        let long = Register { contacts: contact(Some(u32::MAX)), ..request(2, DESK, Some(60)) };
        assert_eq!(registrar.register(NOW, long, 4).unwrap()[0].expires, NOW + Duration::from_secs(3600));
        let header = Register { contacts: contact(None), ..request(3, DESK, Some(90)) };
        assert_eq!(registrar.register(NOW, header, 4).unwrap()[0].expires, NOW + Duration::from_secs(90));
    }

    #[test]
    fn beyond_the_limit_the_oldest_contact_goes() {
        let mut registrar = Registrar::default();
        for host in 1..=3 {
            registrar.register(NOW, request(host, &format!("sip:op1@10.0.0.{host}"), None), 2).unwrap();
        }
        let uris: Vec<_> = registrar.of(&agent()).iter().map(|binding| binding.uri.as_str()).collect();
        assert_eq!(uris, ["sip:op1@10.0.0.2", "sip:op1@10.0.0.3"]);
    }

    #[test]
    fn one_bad_contact_leaves_everything_as_it_was() {
        let mut registrar = Registrar::default();
        registrar.register(NOW, request(1, DESK, None), 4).unwrap();
        let before = registrar.clone();
        let listed = |uri: &str, expires| Contact { uri: uri.into(), expires };
        let mixed = vec![listed(DESK, Some(0)), listed("sip:op1@10.0.0.9", Some(5))];
        let request = Register { contacts: Contacts::Listed(mixed), ..request(2, DESK, None) };
        assert_eq!(registrar.register(NOW, request, 4), Err(RegisterError::TooBrief));
        assert_eq!(registrar, before);
    }

    #[test]
    fn behind_a_nat_the_way_back_is_the_way_it_came() {
        let source: SocketAddr = "10.0.0.7:33000".parse().unwrap();
        assert_eq!(reach(DESK, source), "10.0.0.7:5062".parse().unwrap());
        assert_eq!(reach("sip:10.0.0.7", source), "10.0.0.7:5060".parse().unwrap());
        assert_eq!(reach("sip:op1@192.168.1.5:5062", source), source);
        assert_eq!(reach("sip:x@df7jal23ls0d.invalid;transport=ws", source), source);
        let six: SocketAddr = "[2001:db8::7]:33000".parse().unwrap();
        assert_eq!(reach("sip:op1@[2001:db8::7]:5070", six), "[2001:db8::7]:5070".parse().unwrap());
        assert_eq!(reach("sip:op1@[2001:db8::7]", six), "[2001:db8::7]:5060".parse().unwrap());
    }

    #[test]
    fn agents_without_an_account_are_forgotten() {
        let mut registrar = Registrar::default();
        registrar.register(NOW, request(1, DESK, None), 4).unwrap();
        assert_eq!(registrar.keep_only(|_| true), []);
        assert_eq!(registrar.keep_only(|_| false), [agent()]);
        assert!(registrar.of(&agent()).is_empty());
    }

    #[test]
    fn a_snapshot_gives_the_same_registrar() {
        let mut registrar = Registrar::default();
        registrar.register(NOW, request(1, DESK, None), 4).unwrap();
        let bytes = postcard::to_stdvec(&registrar).unwrap();
        assert_eq!(postcard::from_bytes::<Registrar>(&bytes).unwrap(), registrar);
    }

    #[test]
    fn what_was_written_down_is_taken_up_as_far_as_it_has_not_expired() {
        let mut registrar = Registrar::default();
        registrar.register(NOW, request(1, DESK, Some(120)), 4).unwrap();
        registrar.register(NOW, request(2, "sip:op1@10.0.0.8", Some(600)), 4).unwrap();
        let mut successor = Registrar::default();
        let later = Moment::from_secs(1_300);
        assert!(successor.restore(later, agent(), &registrar.written(&agent())));
        assert_eq!(successor.of(&agent()), &registrar.of(&agent())[1..]);
        assert_eq!(successor.poll_timeout(), Some(Moment::from_secs(1_600)));
        assert!(!successor.restore(later, agent(), &[7]));
        assert!(successor.restore(later, "op2".into(), &registrar.written(&"op2".into())));
    }

    fn agent() -> AgentId {
        "op1".into()
    }

    fn request(cseq: u32, uri: &str, expires: Option<u32>) -> Register<'static> {
        let contacts = Contacts::Listed(vec![Contact { uri: uri.into(), expires }]);
        Register { agent: agent(), contacts, expires: None, call_id: "a", cseq, source: "10.0.0.7:5062".parse().unwrap() }
            .with_header(expires)
    }

    impl Register<'_> {
        fn with_header(self, expires: Option<u32>) -> Self {
            Self { expires, ..self }
        }
    }
}
