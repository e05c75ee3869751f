//! URIs, name-addrs and parameters, read from a header value without copying (RFC 3261 §19.1, §25.1).

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// RFC 3261 §19.1.2: the port of a `sip:` URI that names none.
pub const DEFAULT_PORT: u16 = 5060;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// A `sip:`, `sips:` or other URI. For another scheme only `scheme` and `text` say anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    pub text: &'a str,
    pub scheme: Scheme,
    /// Everything before `@`, escapes and user parameters included.
    pub userinfo: Option<&'a str>,
    /// As written: an IPv6 literal keeps its brackets.
    pub host: &'a str,
    pub port: Option<u16>,
    /// After the host, without the first `;`.
    pub params: &'a str,
    /// After `?`.
    pub headers: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Sip,
    Sips,
    Tel,
    Other,
}

impl<'a> Uri<'a> {
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        if text.bytes().any(|byte| byte.is_ascii_whitespace() || matches!(byte, b'<' | b'>' | b'"')) {
            return Err(Malformed("space or bracket inside a uri"));
        }
        let (scheme, rest) = text.split_once(':').ok_or(Malformed("uri without scheme"))?;
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(is_scheme_byte) {
            return Err(Malformed("uri scheme"));
        }
        let scheme = match scheme {
            _ if scheme.eq_ignore_ascii_case("sip") => Scheme::Sip,
            _ if scheme.eq_ignore_ascii_case("sips") => Scheme::Sips,
            _ if scheme.eq_ignore_ascii_case("tel") => Scheme::Tel,
            _ => Scheme::Other,
        };
        let mut uri = Self { text, scheme, userinfo: None, host: "", port: None, params: "", headers: None };
        match scheme {
            Scheme::Sip | Scheme::Sips => uri.read_address(rest)?,
            Scheme::Tel => {
                let (number, params) = rest.split_once(';').unwrap_or((rest, ""));
                (uri.userinfo, uri.params) = (Some(number), params);
            }
            Scheme::Other => {}
        }
        Ok(uri)
    }

    fn read_address(&mut self, rest: &'a str) -> Result<(), Malformed> {
        // A user part may hold `;` and `?`, a host, its parameters and headers no `@`: the first `@` ends the user part.
        let address = match rest.split_once('@') {
            Some(("", _)) => return Err(Malformed("empty user part")),
            Some((user, address)) => {
                self.userinfo = Some(user);
                address
            }
            None => rest,
        };
        let (address, headers) = address.split_once('?').map_or((address, None), |(address, headers)| (address, Some(headers)));
        let (host_port, params) = address.split_once(';').unwrap_or((address, ""));
        (self.headers, self.params) = (headers, params);
        (self.host, self.port) = host_and_port(host_port)?;
        if params.split(';').any(|param| param.is_empty() || param.starts_with('=')) && address.contains(';') {
            return Err(Malformed("empty uri parameter"));
        }
        Ok(())
    }

    /// The user part as a number or name: escapes undone, password and user parameters (`;phone-context=…`) cut off.
    pub fn user(&self) -> Cow<'a, str> {
        let user = self.userinfo.unwrap_or_default();
        let user = user.split_once(';').map_or(user, |(user, _)| user);
        unescaped(user.split_once(':').map_or(user, |(user, _)| user))
    }

    pub fn param(&self, name: &str) -> Option<&'a str> {
        params(self.params).find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.unwrap_or_default())
    }

    /// Where a datagram to it goes, if that can be said without a name server.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        let ip = self.param("maddr").and_then(ip_literal).or_else(|| ip_literal(self.host))?;
        Some(SocketAddr::new(ip, self.port.unwrap_or(DEFAULT_PORT)))
    }
}

fn is_scheme_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`. An IPv6 address without brackets is refused: where it ends nobody can tell
/// (RFC 5118 §4.2).
pub fn host_and_port(text: &str) -> Result<(&str, Option<u16>), Malformed> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, after)) => {
            inside.parse::<Ipv6Addr>().map_err(|_| Malformed("ipv6 address"))?;
            let host = text.get(..inside.len().saturating_add(2)).unwrap_or_default();
            (host, after.trim_start().strip_prefix(':').or(if after.trim().is_empty() { None } else { Some("?") }))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let host = host.trim();
    if host.is_empty() || !(host.starts_with('[') || host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))) {
        return Err(Malformed("host"));
    }
    let port = match port.map(str::trim) {
        None => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port| *port != 0).ok_or(Malformed("port"))?)
        }
        Some(_) => return Err(Malformed("port")),
    };
    Ok((host, port))
}

/// An IP address as a host part writes it, IPv6 with or without brackets.
pub fn ip_literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

/// `host` of a URI for this address: IPv6 in brackets.
pub fn host_text(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| after.split_at_checked(2)).flatten();
        let decoded =
            escaped.and_then(|(hex, after)| Some((u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?, after)));
        let (byte, next) = decoded.unwrap_or((*first, after));
        bytes.push(byte);
        rest = next;
    }
    Cow::Owned(super::text::shown(&bytes).into_owned())
}

/// `From`, `To`, `Contact`, `Route`: an address, perhaps with a display name in front and parameters behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// As written, quotes included.
    pub display: &'a str,
    pub uri: Uri<'a>,
    pub params: &'a str,
}

impl<'a> NameAddr<'a> {
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        let text = text.trim();
        let (display, rest) = if text.starts_with('"') {
            let end = quoted_end(text).ok_or(Malformed("quoted string without end"))?;
            text.split_at_checked(end).ok_or(Malformed("quoted string"))?
        } else {
            text.find(['<', ';']).and_then(|at| text.split_at_checked(at)).unwrap_or((text, ""))
        };
        let (display, inside, after) = match rest.trim_start().strip_prefix('<') {
            Some(inside) => {
                let (inside, after) = inside.split_once('>').ok_or(Malformed("address without >"))?;
                // RFC 3261 §25.1: an unquoted display name is made of tokens.
                if !display.starts_with('"')
                    && !display.bytes().all(|byte| is_token_byte(byte) || byte == b' ' || byte == b'\t' || byte >= 0x80)
                {
                    return Err(Malformed("display name that must be quoted"));
                }
                (display.trim(), inside, after)
            }
            None if display.starts_with('"') => return Err(Malformed("display name without address")),
            // RFC 3261 §20: a URI with a comma, question mark or semicolon stands in brackets; so a `;` begins header parameters.
            None if display.contains([',', '?']) => return Err(Malformed("address that must stand in brackets")),
            None => ("", display.trim(), rest),
        };
        let params = after.trim();
        let params = match params.strip_prefix(';') {
            Some(params) => params,
            None if params.is_empty() => params,
            None => return Err(Malformed("text behind an address")),
        };
        check_params(params, after.contains(';'))?;
        Ok(Self { display, uri: Uri::parse(inside)?, params })
    }

    pub fn param(&self, name: &str) -> Option<&'a str> {
        params(self.params).find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.unwrap_or_default())
    }

    pub fn tag(&self) -> Option<&'a str> {
        self.param("tag").filter(|tag| !tag.is_empty())
    }
}

/// The parameters of `a=b;c;d="e;f"`, spaces around names and values taken off.
pub fn params(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    list(text, b';').map(|param| match param.split_once('=') {
        Some((name, value)) => (name.trim(), Some(value.trim())),
        None => (param.trim(), None),
    })
}

/// Every parameter has a name that is a token, and a value if there is a `=`.
pub fn check_params(text: &str, expected: bool) -> Result<(), Malformed> {
    let right = |(name, value): (&str, Option<&str>)| is_token(name) && value.is_none_or(|value| !value.is_empty());
    if (expected || !text.trim().is_empty()) && !params(text).all(right) { Err(Malformed("parameter")) } else { Ok(()) }
}

/// The parts of a list, split at `separator` outside quotes and angle brackets.
pub fn list(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = end_of_part(text, separator);
        let part = text.get(..end)?;
        rest = text.get(end.saturating_add(1)..);
        Some(part)
    })
}

/// Where the first part of a list ends.
pub fn end_of_part(text: &str, separator: u8) -> usize {
    let (mut quoted, mut bracketed, mut escaped) = (false, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'<' if !quoted => bracketed = true,
            b'>' if !quoted => bracketed = false,
            _ if byte == separator && !quoted && !bracketed => return at,
            _ => {}
        }
    }
    text.len()
}

/// Offset behind the closing quote of a text that begins with one.
fn quoted_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at.checked_add(1),
            _ => {}
        }
    }
    None
}

pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// RFC 3261 §25.1 `token`.
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_part_may_hold_what_looks_like_parameters() {
        let uri = Uri::parse("sip:user;par=u%40example.net@example.com").unwrap();
        assert_eq!((uri.user().as_ref(), uri.host, uri.params), ("user", "example.com", ""));
        let uri = Uri::parse("sip:%2B79130000012;phone-context=ru:secret@10.0.0.1:5070;user=phone?a=b").unwrap();
        assert_eq!(
            (uri.user().as_ref(), uri.port, uri.param("user"), uri.headers),
            ("+79130000012", Some(5070), Some("phone"), Some("a=b"))
        );
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        // RFC 5118 §4.1–4.4.
        let uri = Uri::parse("sip:[2001:db8::10]:5070").unwrap();
        assert_eq!(uri.socket_addr(), Some("[2001:db8::10]:5070".parse().unwrap()));
        let ambiguous = Uri::parse("sip:[2001:db8::10:5070]").unwrap();
        assert_eq!(ambiguous.socket_addr(), Some("[2001:db8::10:5070]:5060".parse().unwrap()));
        assert!(Uri::parse("sip:2001:db8::10").is_err());
        assert!(Uri::parse("sip:user@[2001:db8::10").is_err());
        // RFC 5118 §4.10.
        assert!(Uri::parse("sip:[::ffff:192.0.2.10]").is_ok());
    }

    #[test]
    fn an_address_keeps_its_name_and_tag() {
        let to = NameAddr::parse(r#""quoted \"<string" <sip:a@b;x=y> ; tag = 12"#).unwrap();
        assert_eq!((to.display, to.uri.text, to.tag()), (r#""quoted \"<string""#, "sip:a@b;x=y", Some("12")));
        let bare = NameAddr::parse("sip:a@b;tag=12").unwrap();
        assert_eq!((bare.uri.params, bare.tag()), ("", Some("12")));
        assert_eq!(NameAddr::parse("caller<sip:caller@example.com>;tag=323").unwrap().display, "caller");
    }

    #[test]
    fn a_broken_address_is_refused() {
        for text in [
            r#""Mr. J. User <sip:j.user@example.com>"#,
            "< sip:joe@example.org >",
            "Bell, Alexander <sip:a.g.bell@example.com>;tag=43",
            "sip:user@example.com?Route=%3Csip:sip.example.com%3E",
            r#""Joe" <sip:joe@example.org>;;;;"#,
            "<sip:a@b> x",
            "<sip:a@b",
            "",
        ] {
            assert!(NameAddr::parse(text).is_err(), "{text}");
        }
    }
}
