//! SIP and SDP text as the test phone writes and reads it. Not the engine's parser: two that misread alike would agree.

use crate::stream::Direction;
use std::net::{IpAddr, SocketAddr};

/// One message. Header names are long and as they came otherwise; compare without case.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    start: String,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Message {
    pub fn request(method: &str, uri: &str) -> Self {
        Self { start: format!("{method} {uri} SIP/2.0"), headers: Vec::new(), body: String::new() }
    }

    /// An answer to `request`; `tag` goes into To if there is none (RFC 3261 §8.2.6.2).
    pub fn response(request: &Message, status: u16, tag: &str) -> Self {
        let reason = match status {
            100 => "Trying",
            180 => "Ringing",
            200 => "OK",
            486 => "Busy Here",
            487 => "Request Terminated",
            _ => "Answer",
        };
        let mut response = Self { start: format!("SIP/2.0 {status} {reason}"), headers: Vec::new(), body: String::new() };
        for (name, value) in &request.headers {
            if ["via", "from", "call-id", "cseq", "record-route"].contains(&name.to_ascii_lowercase().as_str()) {
                response.headers.push((name.clone(), value.clone()));
            }
        }
        let to = request.header("To").unwrap_or_default();
        let to = if parameter(to, "tag").is_some() || status == 100 { to.to_owned() } else { format!("{to};tag={tag}") };
        response.with("To", &to)
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn with_body(self, content_type: &str, body: String) -> Self {
        Self { body, ..self.with("Content-Type", content_type) }
    }

    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let start = lines.next()?.to_owned();
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines {
            if line.starts_with([' ', '\t']) {
                let (_, value) = headers.last_mut()?;
                value.push_str(line);
            } else {
                let (name, value) = line.split_once(':')?;
                headers.push((long_name(name.trim()).to_owned(), value.trim().to_owned()));
            }
        }
        Some(Self { start, headers, body: body.to_owned() })
    }

    pub fn bytes(&self) -> Vec<u8> {
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{}\r\n{headers}Content-Length: {}\r\n\r\n{}", self.start, self.body.len(), self.body).into_bytes()
    }

    /// `None` for a response.
    pub fn method(&self) -> Option<&str> {
        self.start.split(' ').next().filter(|word| *word != "SIP/2.0")
    }

    /// `None` for a request.
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// Request-URI of a request.
    pub fn uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn replace(&mut self, name: &str, value: String) {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value));
    }

    pub fn branch(&self) -> &str {
        self.header("Via").and_then(|via| parameter(via, "branch")).unwrap_or_default()
    }

    pub fn call_id(&self) -> &str {
        self.header("Call-ID").unwrap_or_default()
    }

    pub fn cseq(&self) -> (u32, &str) {
        let (number, method) = self.header("CSeq").and_then(|cseq| cseq.split_once(' ')).unwrap_or_default();
        (number.parse().unwrap_or_default(), method.trim())
    }
}

/// `;name=value` of a header value, outside its URI.
pub fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let outside = value.rsplit_once('>').map_or(value, |(_, outside)| outside);
    let found =
        outside.split(';').skip(1).filter_map(|pair| pair.trim().split_once('=')).find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim())
}

/// The URI of `"Name" <sip:x@y>;tag=…`.
pub fn uri_of(value: &str) -> &str {
    match value.split_once('<').and_then(|(_, rest)| rest.split_once('>')) {
        Some((uri, _)) => uri,
        None => value.split(';').next().unwrap_or_default().trim(),
    }
}

/// Address a URI names by its IP, port 5060 if it names none.
pub fn address_of(uri: &str) -> Option<SocketAddr> {
    let host = uri.split(';').next()?;
    let host = host.rsplit_once('@').or_else(|| host.split_once(':')).map_or(host, |(_, host)| host);
    host.parse().ok().or_else(|| Some(SocketAddr::new(host.trim_matches(['[', ']']).parse().ok()?, 5060)))
}

/// What a description says of its audio, with the direction as its **writer** sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sound {
    pub at: SocketAddr,
    /// 8 or 0.
    pub payload_type: u8,
    pub telephone_event: Option<u8>,
    pub direction: Direction,
}

impl Sound {
    pub fn parse(sdp: &str) -> Option<Self> {
        let lines = || sdp.split(['\r', '\n']);
        let media = lines().find_map(|line| line.strip_prefix("m=audio "))?;
        let mut words = media.split(' ');
        let port = words.next()?.parse().ok()?;
        let payload_type = words.skip(1).filter_map(|word| word.parse().ok()).find(|pt| matches!(pt, 0 | 8))?;
        let ip: IpAddr = lines().filter_map(|line| line.strip_prefix("c=IN IP")).next_back()?.get(2..)?.parse().ok()?;
        let telephone_event =
            lines().filter_map(|line| line.strip_prefix("a=rtpmap:")?.strip_suffix(" telephone-event/8000")?.parse().ok()).next();
        let direction = lines()
            .find_map(|line| match line {
                "a=sendonly" => Some(Direction::SendOnly),
                "a=recvonly" => Some(Direction::RecvOnly),
                "a=inactive" => Some(Direction::Inactive),
                _ => None,
            })
            .unwrap_or(Direction::SendRecv);
        Some(Self { at: SocketAddr::new(ip, port), payload_type, telephone_event, direction })
    }

    /// A description of our side: an answer if `only` names the one codec agreed, else an offer of `codecs`.
    pub fn write(at: SocketAddr, codecs: &[u8], telephone_event: Option<u8>, direction: Direction, version: u32) -> String {
        let (family, ip, port) = (if at.is_ipv4() { "IP4" } else { "IP6" }, at.ip(), at.port());
        let formats: Vec<_> = codecs.iter().copied().chain(telephone_event).map(|pt| pt.to_string()).collect();
        let events = telephone_event.map(|pt| format!("a=rtpmap:{pt} telephone-event/8000\r\na=fmtp:{pt} 0-16\r\n"));
        let direction = match direction {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        };
        format!(
            "v=0\r\no=testphone {port} {version} IN {family} {ip}\r\ns=testphone\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP {}\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n{}a={direction}\r\n",
            formats.join(" "),
            events.unwrap_or_default()
        )
    }
}

fn long_name(name: &str) -> &str {
    match name {
        "v" => "Via",
        "f" => "From",
        "t" => "To",
        "i" => "Call-ID",
        "m" => "Contact",
        "l" => "Content-Length",
        "c" => "Content-Type",
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let sent = Message::request("INVITE", "sip:122@127.0.0.1")
            .with("Via", "SIP/2.0/UDP 127.0.0.9:5;branch=z9hG4bKa;rport")
            .with("From", "<sip:a@b;x=1>;tag=q")
            .with("To", "<sip:122@127.0.0.1>")
            .with("CSeq", "7 INVITE")
            .with_body("application/sdp", "v=0\r\n".into());
        let read = Message::parse(&sent.bytes()).unwrap();
        assert_eq!(
            (read.method(), read.branch(), read.cseq(), read.body.as_str()),
            (Some("INVITE"), "z9hG4bKa", (7, "INVITE"), "v=0\r\n")
        );
        let refusal = Message::parse(&Message::response(&read, 486, "t1").bytes()).unwrap();
        assert_eq!((refusal.status(), refusal.header("to")), (Some(486), Some("<sip:122@127.0.0.1>;tag=t1")));
        assert_eq!(parameter(read.header("From").unwrap(), "tag"), Some("q"));
    }

    #[test]
    fn compact_and_folded_headers_are_understood() {
        let read = Message::parse(b"BYE sip:a SIP/2.0\r\ni: x\r\nReason: SIP\r\n ;cause=200\r\n\r\n").unwrap();
        assert_eq!((read.call_id(), read.header("Reason")), ("x", Some("SIP ;cause=200")));
    }

    #[test]
    fn addresses_come_from_uris_with_an_ip() {
        assert_eq!(address_of("sip:a@127.0.0.1:5070;transport=udp"), "127.0.0.1:5070".parse().ok());
        assert_eq!(address_of("sip:127.0.0.1"), "127.0.0.1:5060".parse().ok());
        assert_eq!(address_of("sip:a@[::1]"), "[::1]:5060".parse().ok());
        assert_eq!(address_of("sip:a@host"), None);
    }

    #[test]
    fn a_description_says_where_and_how_to_talk() {
        let at = "127.0.0.1:4000".parse().unwrap();
        let written = Sound::write(at, &[0, 8], Some(96), Direction::SendOnly, 1);
        let read = Sound { at, payload_type: 0, telephone_event: Some(96), direction: Direction::SendOnly };
        assert_eq!(Sound::parse(&written), Some(read));
    }
}
