//! The topmost `Via`: who asks, and where the reply goes (RFC 3261 §18.2, RFC 3581).

use super::uri::{self, Malformed, end_of_part, host_and_port, ip_literal, params};
use std::net::SocketAddr;

/// RFC 3261 §8.1.1.7: a branch that begins so is unique by itself; others come from RFC 2543.
pub const MAGIC_COOKIE: &str = "z9hG4bK";
const DEFAULT_TLS_PORT: u16 = 5061;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// The whole first value, without those behind a comma.
    pub text: &'a str,
    pub transport: &'a str,
    pub host: &'a str,
    pub port: Option<u16>,
    params: &'a str,
}

impl<'a> Via<'a> {
    /// Reads the first value of a `Via` header.
    pub fn parse(header: &'a str) -> Result<Self, Malformed> {
        let via = Self::peek(header)?;
        // RFC 3261 §7.1: another version was refused by its start line already; in a Via alone it is a fault.
        if via.text.split('/').nth(1).is_none_or(|version| version.trim() != "2.0") {
            return Err(Malformed("via version"));
        }
        uri::check_params(via.params, via.text.contains(';'))?;
        Ok(via)
    }

    /// Reads as much as a reply needs: a Via with broken parameters still says where the 400 goes.
    pub fn peek(header: &'a str) -> Result<Self, Malformed> {
        let text = header.get(..end_of_part(header, b',')).unwrap_or(header).trim();
        let mut protocol = text.splitn(3, '/').map(str::trim);
        let (Some(name), Some(_version), Some(rest)) = (protocol.next(), protocol.next(), protocol.next()) else {
            return Err(Malformed("via protocol"));
        };
        if !name.eq_ignore_ascii_case("SIP") {
            return Err(Malformed("via protocol"));
        }
        let (transport, rest) = rest.split_once([' ', '\t']).ok_or(Malformed("via without address"))?;
        let (sent_by, params) = rest.split_once(';').unwrap_or((rest, ""));
        let (host, port) = host_and_port(sent_by.trim())?;
        Ok(Self { text, transport, host, port, params })
    }

    pub fn param(&self, name: &str) -> Option<&'a str> {
        params(self.params).find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.unwrap_or_default())
    }

    /// A branch that names a transaction. The cookie alone names none (RFC 4475 §3.2.1).
    pub fn branch(&self) -> Option<&'a str> {
        self.param("branch").filter(|branch| branch.len() > MAGIC_COOKIE.len() && branch.starts_with(MAGIC_COOKIE))
    }

    /// RFC 3261 §18.2.2: back to the address the request came from, at the port its sender listens on; with `rport` (RFC 3581 §4)
    /// at the port it was sent from, which passes a NAT. `maddr` names a multicast group or a stranger: never followed.
    pub fn reply_to(&self, source: SocketAddr) -> SocketAddr {
        if self.param("rport").is_some() {
            return source;
        }
        let default = if self.transport.eq_ignore_ascii_case("TLS") { DEFAULT_TLS_PORT } else { uri::DEFAULT_PORT };
        SocketAddr::new(source.ip(), self.port.unwrap_or(default))
    }

    /// Writes the value as it stands in our reply: with the address we saw (RFC 3261 §18.2.1), and its port if that was asked for
    /// (RFC 3581 §4). What the sender itself wrote there is dropped.
    pub fn write_received(&self, source: SocketAddr, out: &mut Vec<u8>) {
        let asks_port = self.param("rport").is_some();
        if !asks_port && ip_literal(self.host) == Some(source.ip()) {
            return out.extend_from_slice(self.text.as_bytes());
        }
        let end = self.text.find(';').unwrap_or(self.text.len());
        out.extend_from_slice(self.text.get(..end).unwrap_or_default().trim_end().as_bytes());
        for param in uri::list(self.params, b';').map(str::trim).filter(|param| !param.is_empty()) {
            let name = param.split('=').next().unwrap_or_default().trim();
            if !name.eq_ignore_ascii_case("rport") && !name.eq_ignore_ascii_case("received") {
                out.push(b';');
                out.extend_from_slice(param.as_bytes());
            }
        }
        // RFC 5118 §4.5 / RFC 3261 §25.1: `received` takes an IPv6 address without brackets.
        out.extend_from_slice(format!(";received={}", source.ip()).as_bytes());
        if asks_port {
            out.extend_from_slice(format!(";rport={}", source.port()).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(via: &str, source: &str) -> String {
        let mut out = Vec::new();
        Via::parse(via).unwrap().write_received(source.parse().unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_phone_behind_a_nat_is_answered_where_it_came_from() {
        let via = Via::parse("SIP/2.0/UDP 192.168.1.5:5062;rport;branch=z9hG4bK1").unwrap();
        assert_eq!(via.reply_to("203.0.113.7:40000".parse().unwrap()), "203.0.113.7:40000".parse().unwrap());
        assert_eq!(
            received("SIP/2.0/UDP 192.168.1.5:5062;rport;branch=z9hG4bK1", "203.0.113.7:40000"),
            "SIP/2.0/UDP 192.168.1.5:5062;branch=z9hG4bK1;received=203.0.113.7;rport=40000"
        );
    }

    #[test]
    fn without_rport_the_reply_goes_to_the_port_of_the_via() {
        let source = "203.0.113.7:40000".parse().unwrap();
        assert_eq!(Via::parse("SIP/2.0/UDP host.example:5062").unwrap().reply_to(source), "203.0.113.7:5062".parse().unwrap());
        assert_eq!(Via::parse("SIP / 2.0 /TLS  host.example").unwrap().reply_to(source), "203.0.113.7:5061".parse().unwrap());
    }

    #[test]
    fn a_via_speaks_ipv6() {
        // RFC 5118 §4.5: brackets are no part of `received`.
        let via = Via::parse("SIP/2.0/UDP [2001:db8::9:1]:5080;received=[2001:db8::9:255];branch=z9hG4bKas3-111").unwrap();
        assert_eq!((via.host, via.port, via.branch()), ("[2001:db8::9:1]", Some(5080), Some("z9hG4bKas3-111")));
        assert!(Via::parse("SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bKas3-111").is_ok());
        assert_eq!(
            received("SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bKas3", "[2001:db8::7]:5060"),
            "SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3;received=2001:db8::7"
        );
    }

    #[test]
    fn a_broken_via_still_says_where_the_refusal_goes() {
        let header = "SIP/2.0/UDP 192.0.2.15;;,;,,";
        assert!(Via::parse(header).is_err());
        assert_eq!(Via::peek(header).unwrap().host, "192.0.2.15");
    }

    #[test]
    fn the_cookie_alone_is_no_branch() {
        assert_eq!(Via::parse("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK").unwrap().branch(), None);
    }
}
