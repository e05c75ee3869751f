//! One datagram into one message, or into what is wrong with it.

use super::message::{Field, Headers, Message, Method, Name, Request, Response};
use super::text::shown;
use super::uri::is_token_byte;
use std::borrow::Cow;
use std::ops::Range;

/// Start line and fields. Real ones have 1–4 KiB; beyond it the message is refused.
pub const HEAD_MAX: usize = 64 * 1024;
/// A datagram is shorter; the bound holds for streams.
pub const BODY_MAX: usize = 256 * 1024;
/// Fields in one message. A long way through proxies makes some 60.
pub const FIELDS_MAX: usize = 256;

/// What came in a datagram that is no message.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A request that cannot be taken: answered with this status as far as its fields can be read.
    Refuse { request: Box<Request>, status: u16, why: &'static str },
    /// A broken response, noise, or a keep-alive (RFC 5626 §3.5.1: empty lines): nothing to answer.
    Drop { why: &'static str },
}

/// Reads one datagram.
///
/// - RFC 3261 §7.5: empty lines in front are passed over.
/// - RFC 3261 §18.3: without `Content-Length` the body is the rest of the datagram; octets behind a shorter one are dropped; a
///   request with a longer one is answered 400, such a response dropped.
pub fn read(datagram: &[u8]) -> Result<Message, Fault> {
    let start = datagram.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).ok_or(Fault::Drop { why: "keep-alive" })?;
    let datagram = datagram.get(start..).unwrap_or_default();
    let (head, body) = split_head(datagram);
    let mut fault = None;
    if body.is_none() {
        fault = Some("header without end");
    }
    if head > HEAD_MAX {
        return Err(Fault::Drop { why: "header longer than 64 KiB" });
    }
    let mut bytes = datagram.to_vec();
    let mut lines = Lines { bytes: &mut bytes, next: 0, end: head };
    let start_line = lines.next_line().unwrap_or(0..0);
    let mut fields = Vec::with_capacity(16);
    while let Some(line) = lines.next_line() {
        if fields.len() == FIELDS_MAX {
            fault = fault.or(Some("too many header fields"));
            break;
        }
        match field(lines.bytes, line) {
            Some(field) => fields.push(field),
            None => fault = fault.or(Some("header field without name")),
        }
    }
    let body = body.unwrap_or(datagram.len())..datagram.len();
    let mut headers = Headers { bytes, fields, body };
    match headers.cut_body() {
        Ok(()) => {}
        Err(why) => fault = fault.or(Some(why)),
    }
    let start = StartLine::read(&headers.bytes, start_line)?;
    match (start, fault) {
        (StartLine::Request { method_text, uri, fault: line_fault }, fault) => {
            let method = Method::named(headers.slice(&method_text));
            let request = Request { method, method_text, uri, headers };
            match line_fault.or(fault.map(|why| (400, why))) {
                None => Ok(Message::Request(request)),
                Some((status, why)) => Err(Fault::Refuse { request: Box::new(request), status, why }),
            }
        }
        (StartLine::Response { .. }, Some(why)) => Err(Fault::Drop { why }),
        (StartLine::Response { status, reason }, None) => Ok(Message::Response(Response { status, reason, headers })),
    }
}

/// Where the head ends, and where the body begins, if there is an empty line.
fn split_head(datagram: &[u8]) -> (usize, Option<usize>) {
    let mut from = 0;
    while let Some(at) = datagram.get(from..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n')) {
        let line_end = from.saturating_add(at).saturating_add(1);
        match datagram.get(line_end..) {
            Some([b'\r', b'\n', ..]) => return (line_end, Some(line_end.saturating_add(2))),
            Some([b'\n', ..]) => return (line_end, Some(line_end.saturating_add(1))),
            Some(_) | None => from = line_end,
        }
    }
    (datagram.len(), None)
}

/// The logical lines of a head. RFC 3261 §7.3.1: a line that begins with white space goes on with the one before it; the line
/// break between them is overwritten by spaces, so that the value is one piece.
struct Lines<'a> {
    bytes: &'a mut Vec<u8>,
    next: usize,
    end: usize,
}

impl Lines<'_> {
    fn next_line(&mut self) -> Option<Range<usize>> {
        let start = self.next;
        if start >= self.end {
            return None;
        }
        let mut from = start;
        loop {
            let line = self.bytes.get(from..self.end).unwrap_or_default();
            let Some(at) = line.iter().position(|byte| *byte == b'\n') else {
                self.next = self.end;
                return Some(start..self.end);
            };
            let (mut content_end, after) = (from.saturating_add(at), from.saturating_add(at).saturating_add(1));
            if at > 0 && line.get(at.saturating_sub(1)) == Some(&b'\r') {
                content_end = content_end.saturating_sub(1);
            }
            if after < self.end && matches!(self.bytes.get(after), Some(b' ' | b'\t')) {
                self.bytes.get_mut(content_end..after).unwrap_or_default().fill(b' ');
                from = after;
                continue;
            }
            self.next = after;
            return Some(start..content_end);
        }
    }
}

fn field(bytes: &[u8], line: Range<usize>) -> Option<Field> {
    let text = bytes.get(line.clone())?;
    let colon = text.iter().position(|byte| *byte == b':')?;
    let (name, value) = (text.get(..colon)?.trim_ascii_end(), text.get(colon.checked_add(1)?..)?);
    if name.is_empty() || !name.iter().copied().all(is_token_byte) {
        return None;
    }
    let lead = value.len().saturating_sub(value.trim_ascii_start().len());
    let value = value.trim_ascii();
    let value_at = line.start.saturating_add(colon).saturating_add(1).saturating_add(lead);
    let shown = match shown(value) {
        Cow::Borrowed(_) => None,
        Cow::Owned(text) => Some(text.into_boxed_str()),
    };
    Some(Field {
        name: Name::named(name),
        name_text: line.start..line.start.saturating_add(name.len()),
        value: value_at..value_at.saturating_add(value.len()),
        shown,
    })
}

impl Headers {
    /// Applies `Content-Length`. Two that differ could hide a second message from one reader and show it to another: refused.
    fn cut_body(&mut self) -> Result<(), &'static str> {
        let mut lengths = self.all(Name::ContentLength);
        let Some(first) = lengths.next() else {
            return if self.body.len() > BODY_MAX { Err("body longer than 256 KiB") } else { Ok(()) };
        };
        if lengths.any(|other| other != first) {
            return Err("two different content-length");
        }
        if first.is_empty() || !first.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("content-length is no number");
        }
        let length = first.parse::<usize>().ok().filter(|length| *length <= self.body.len().min(BODY_MAX));
        drop(lengths);
        self.body.end = self.body.start.saturating_add(length.ok_or("content-length beyond the datagram")?);
        Ok(())
    }
}

enum StartLine {
    Request { method_text: Range<usize>, uri: Range<usize>, fault: Option<(u16, &'static str)> },
    Response { status: u16, reason: Range<usize> },
}

impl StartLine {
    fn read(bytes: &[u8], line: Range<usize>) -> Result<Self, Fault> {
        let text = bytes.get(line.clone()).unwrap_or_default();
        if text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/")) {
            return Self::response(text, line.start).ok_or(Fault::Drop { why: "status line" });
        }
        Self::request(text, line.start).ok_or(Fault::Drop { why: "no sip message" })
    }

    /// RFC 3261 §7.2: `SIP/2.0`, three digits, a reason that may be empty or hold any bytes.
    fn response(text: &[u8], at: usize) -> Option<Self> {
        let rest = strip_version(text)?.strip_prefix(b" ")?;
        let (digits, reason) = rest.split_at_checked(3)?;
        let reason = match reason {
            [] => reason,
            [b' ', reason @ ..] => reason,
            _ => return None,
        };
        let status = std::str::from_utf8(digits).ok()?.parse().ok().filter(|status| (100..700).contains(status))?;
        let end = at.saturating_add(text.len());
        Some(StartLine::Response { status, reason: end.saturating_sub(reason.len())..end })
    }

    /// RFC 3261 §7.1: method, URI and version with one space between them and nothing behind. A line with more spaces could be read
    /// two ways, so it is refused; the last `SIP/` still tells it from noise.
    fn request(text: &[u8], at: usize) -> Option<Self> {
        let method = text.iter().position(|byte| *byte == b' ')?;
        if method == 0 || !text.get(..method)?.iter().copied().all(is_token_byte) {
            return None;
        }
        let uri = method.checked_add(1)?;
        let version =
            text.windows(5).rposition(|window| window.eq_ignore_ascii_case(b" SIP/")).filter(|version| *version >= method)?;
        let (uri_text, version_text) = (text.get(uri..version.max(uri))?, text.get(version.checked_add(1)?..)?);
        let fault = if uri_text.is_empty() || uri_text.iter().any(|byte| byte.is_ascii_whitespace()) {
            Some((400, "request line with spaces"))
        } else if std::str::from_utf8(uri_text).is_err() {
            Some((400, "request-uri with foreign bytes"))
        } else if strip_version(version_text) == Some(b"") {
            None
        } else if version_text.iter().any(u8::is_ascii_whitespace) {
            Some((400, "request line with spaces"))
        } else {
            Some((505, "sip version"))
        };
        let range = |from: usize, to: usize| at.saturating_add(from)..at.saturating_add(to);
        Some(StartLine::Request { method_text: range(0, method), uri: range(uri, version.max(uri)), fault })
    }
}

/// RFC 3261 §7.1: the version is compared without case.
fn strip_version(text: &[u8]) -> Option<&[u8]> {
    let (version, rest) = text.split_at_checked(7)?;
    version.eq_ignore_ascii_case(b"SIP/2.0").then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(datagram: &str) -> Request {
        match read(datagram.as_bytes()) {
            Ok(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn refusal(datagram: &str) -> u16 {
        match read(datagram.as_bytes()) {
            Err(Fault::Refuse { status, .. }) => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn folded_lines_are_one_value() {
        let request = request("OPTIONS sip:a SIP/2.0\r\nSubject : one\r\n\t two\r\nf: x\r\n\r\n");
        assert_eq!(request.headers.iter().next().unwrap(), ("Subject", b"one  \t two".as_slice()));
        assert_eq!(request.headers.get(Name::From), Some("x"));
    }

    #[test]
    fn content_length_rules_the_body() {
        let with = |length: &str| format!("OPTIONS sip:a SIP/2.0\r\n{length}\r\nbody");
        assert_eq!(request(&with("")).body(), b"body");
        assert_eq!(request(&with("l: 2\r\n")).body(), b"bo");
        assert_eq!(request(&with("l: 2\r\nContent-Length: 2\r\n")).body(), b"bo");
        for length in
            ["l: 5\r\n", "l: -1\r\n", "l: x\r\n", "l:\r\n", "l: 2\r\nContent-Length: 3\r\n", "l: 99999999999999999999999\r\n"]
        {
            assert_eq!(refusal(&with(length)), 400, "{length}");
        }
    }

    #[test]
    fn another_version_is_505() {
        assert_eq!(refusal("OPTIONS sip:a SIP/7.0\r\n\r\n"), 505);
    }

    #[test]
    fn noise_is_dropped() {
        for noise in
            ["", "\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "SIP/2.0 4294967301 x\r\n\r\n", "SIP/3.0 200 OK\r\n\r\n", "\u{0}\u{0}"]
        {
            assert!(matches!(read(noise.as_bytes()), Err(Fault::Drop { .. })), "{noise:?}");
        }
    }

    #[test]
    fn foreign_bytes_of_a_name_survive() {
        let Ok(Message::Request(request)) = read(b"OPTIONS sip:a SIP/2.0\r\nFrom: \xc8\xe2\xe0\xed <sip:a@b>;tag=1\r\n\r\n")
        else {
            panic!()
        };
        assert_eq!(request.headers.get(Name::From), Some("Иван <sip:a@b>;tag=1"));
        assert_eq!(request.headers.raw(Name::From).next(), Some(b"\xc8\xe2\xe0\xed <sip:a@b>;tag=1".as_slice()));
    }

    #[test]
    fn a_message_with_too_many_fields_is_refused() {
        assert_eq!(refusal(&format!("OPTIONS sip:a SIP/2.0\r\n{}\r\n", "x: y\r\n".repeat(300))), 400);
    }
}
