//! Offer and answer (RFC 3264) about one G.711 stream with telephone-event, in SDP (RFC 8866).
//!
//! The parser is our own: it keeps 16 streams and their payload types and nothing else, so no description, however odd, costs more
//! than a few KiB, and a session name in CP1251 does not lose the call.

use crate::stream::{Codec, Direction, Stream};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use thiserror::Error;

/// Longest description read; a SIP message over UDP is no longer than this.
pub const LENGTH_MAX: usize = 64 * 1024;
/// Streams in one description. The answer must repeat every one (RFC 3264 §6), so more are refused, not cut off.
pub const STREAMS_MAX: usize = 16;
/// Formats of one stream that are looked at; ours stand in front in every offer we have seen.
const FORMATS_MAX: usize = 64;
/// Longest media or transport name that an answer repeats.
const TOKEN_MAX: usize = 32;
/// What our own offers call telephone-event.
const TELEPHONE_EVENT: u8 = 101;
const PTIME_MS: u8 = 20;

/// Identity and version of our description in one dialog: `version` goes up by one with each new text (RFC 3264 §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub id: u64,
    pub version: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SdpError {
    #[error("session description is longer than 64 KiB")]
    TooLong,
    #[error("session description has more than 16 streams")]
    TooManyStreams,
    #[error("line {0} of the session description is malformed")]
    Malformed(usize),
    #[error("no audio stream over RTP/AVP")]
    NoAudio,
    #[error("the audio stream is refused (port 0)")]
    Refused,
    #[error("the audio stream has neither PCMA nor PCMU")]
    NoCodec,
    #[error("the audio stream has no address that is an IP literal of one host")]
    NoAddress,
}

impl SdpError {
    /// Status for the offer that caused it: 400 if it cannot be read, 488 if it cannot be met.
    pub const fn status(self) -> u16 {
        match self {
            SdpError::Malformed(_) => 400,
            SdpError::TooLong
            | SdpError::TooManyStreams
            | SdpError::NoAudio
            | SdpError::Refused
            | SdpError::NoCodec
            | SdpError::NoAddress => 488,
        }
    }
}

/// A description as read, reduced to what an answer needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    address: Address,
    direction: Option<Direction>,
    media: Vec<Media>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Media {
    kind: String,
    port: u16,
    transport: String,
    first_format: String,
    formats: Vec<u8>,
    names: Vec<(u8, Format)>,
    address: Address,
    /// As the far end says it.
    direction: Option<Direction>,
    ptime_ms: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Address {
    Absent,
    /// A host name, a multicast group or another network: nothing we send to.
    Unusable,
    Ip(IpAddr),
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Format {
    Audio(Codec),
    TelephoneEvent,
    Other,
}

/// Reads a description. Lines that a G.711 stream has no use for (times, bandwidth, keys, unknown letters) are passed over unread.
pub fn parse(bytes: &[u8]) -> Result<Description, SdpError> {
    if bytes.len() > LENGTH_MAX {
        return Err(SdpError::TooLong);
    }
    let mut lines = bytes.split(|b| *b == b'\n').map(<[u8]>::trim_ascii_end).enumerate();
    if lines.next().is_none_or(|(_, first)| first != b"v=0") {
        return Err(SdpError::Malformed(1));
    }
    let mut description = Description { address: Address::Absent, direction: None, media: Vec::new() };
    for (index, line) in lines {
        let malformed = SdpError::Malformed(index.saturating_add(1));
        // Only c=, a= and m= are read, and those are ASCII wherever they matter.
        let Some((key @ (b"c" | b"a" | b"m"), value)) =
            line.split_at_checked(1).and_then(|(k, v)| Some((k, v.strip_prefix(b"=")?)))
        else {
            continue;
        };
        let Ok(value) = std::str::from_utf8(value) else {
            if key == b"a" {
                continue;
            } else {
                return Err(malformed);
            };
        };
        let streams = description.media.len();
        match (key, description.media.last_mut()) {
            (b"m", _) if streams >= STREAMS_MAX => return Err(SdpError::TooManyStreams),
            (b"m", _) => description.media.push(Media::parse(value).ok_or(malformed)?),
            (b"c", Some(media)) if media.address == Address::Absent => media.address = Address::parse(value),
            (b"c", Some(_)) => {} // further addresses of one stream are layers (RFC 8866 §5.7), which G.711 has not
            (b"c", None) => description.address = Address::parse(value),
            (_, Some(media)) => media.attribute(value),
            (_, None) => description.direction = direction_named(value).or(description.direction),
        }
    }
    Ok(description)
}

impl Description {
    /// The stream an offer proposes, as we take it: the first audio line that can be met, the first codec of ours in it.
    pub fn stream(&self) -> Result<Stream, SdpError> {
        self.chosen().map(|(_, stream)| stream)
    }

    fn chosen(&self) -> Result<(usize, Stream), SdpError> {
        let mut refusal = SdpError::NoAudio;
        for (index, media) in self.media.iter().enumerate().filter(|(_, media)| media.is_audio()) {
            match self.stream_of(media) {
                Ok(stream) => return Ok((index, stream)),
                Err(error) if refusal == SdpError::NoAudio => refusal = error,
                Err(_) => {}
            }
        }
        Err(refusal)
    }

    fn stream_of(&self, media: &Media) -> Result<Stream, SdpError> {
        if media.port == 0 {
            return Err(SdpError::Refused);
        }
        // RFC 8866 §5.7: an address of the stream goes before that of the session.
        let address = if media.address == Address::Absent { self.address } else { media.address };
        let Address::Ip(ip) = address else {
            return Err(SdpError::NoAddress);
        };
        let codec = media.formats.iter().find_map(|pt| media.codec(*pt)).ok_or(SdpError::NoCodec)?;
        let theirs = media.direction.or(self.direction).unwrap_or(Direction::SendRecv);
        Ok(Stream {
            remote: SocketAddr::new(ip, media.port),
            codec,
            telephone_event: media.formats.iter().copied().find(|pt| media.format(*pt) == Format::TelephoneEvent),
            ptime_ms: media.ptime_ms.unwrap_or(PTIME_MS),
            // RFC 3264 §8.4: the unspecified address is the old form of hold; nothing may be sent there.
            direction: if ip.is_unspecified() { without_sending(flipped(theirs)) } else { flipped(theirs) },
        })
    }
}

/// Our answer to `offer`, and the stream agreed by it. Media of ours stands at `local`.
pub fn answer(offer: &Description, local: SocketAddr, session: &Session) -> Result<(Vec<u8>, Stream), SdpError> {
    let (chosen, stream) = offer.chosen()?;
    let mut text = head(local, session);
    for (index, media) in offer.media.iter().enumerate() {
        let Media { kind, transport, first_format, .. } = media;
        if index == chosen {
            // RFC 3264 §6.1: the numbers of the offer stand in the answer.
            stream_lines(&mut text, local, transport, &[stream.codec], stream.telephone_event, stream.ptime_ms, stream.direction);
        } else {
            // RFC 3264 §6: a stream that is not wanted stays in its place, with port 0.
            let _ = write!(text, "m={kind} 0 {transport} {first_format}\r\n");
        }
    }
    Ok((text.into_bytes(), stream))
}

/// Our own offer: PCMA before PCMU, telephone-event, 20 ms.
pub fn offer(local: SocketAddr, direction: Direction, session: &Session) -> Vec<u8> {
    let mut text = head(local, session);
    stream_lines(&mut text, local, "RTP/AVP", &[Codec::Pcma, Codec::Pcmu], Some(TELEPHONE_EVENT), PTIME_MS, direction);
    text.into_bytes()
}

/// What the far end made of our offer. It had one stream, so the first line decides (RFC 3264 §6: lines match by place).
pub fn accept(answer: &Description) -> Result<Stream, SdpError> {
    match answer.media.first() {
        Some(media) if media.is_audio() => answer.stream_of(media),
        Some(_) | None => Err(SdpError::NoAudio),
    }
}

fn head(local: SocketAddr, session: &Session) -> String {
    let (family, ip) = (if local.is_ipv4() { "IP4" } else { "IP6" }, local.ip());
    let Session { id, version } = session;
    format!("v=0\r\no=- {id} {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n")
}

fn stream_lines(
    text: &mut String,
    local: SocketAddr,
    transport: &str,
    codecs: &[Codec],
    telephone_event: Option<u8>,
    ptime_ms: u8,
    direction: Direction,
) {
    // Writing to a String cannot fail.
    let _ = write!(text, "m=audio {} {transport}", local.port());
    for payload_type in codecs.iter().map(|codec| codec.payload_type()).chain(telephone_event) {
        let _ = write!(text, " {payload_type}");
    }
    text.push_str("\r\n");
    for codec in codecs {
        let _ = write!(text, "a=rtpmap:{} {}/8000\r\n", codec.payload_type(), codec.name());
    }
    if let Some(pt) = telephone_event {
        let _ = write!(text, "a=rtpmap:{pt} telephone-event/8000\r\na=fmtp:{pt} 0-15\r\n");
    }
    let _ = write!(text, "a=ptime:{ptime_ms}\r\na={}\r\n", direction_name(direction));
}

impl Media {
    /// `audio 49170 RTP/AVP 8 0 101`; a port may be followed by `/count`.
    fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let (kind, port, transport) = (words.next()?, words.next()?, words.next()?);
        let first_format = words.clone().next()?;
        let port = port.split('/').next()?.parse().ok()?;
        // These three go back to the far end, so they must be tokens (RFC 8866 §9).
        if !is_token(kind) || !transport.split('/').all(is_token) || transport.len() > TOKEN_MAX || !is_token(first_format) {
            return None;
        }
        Some(Self {
            kind: kind.to_owned(),
            port,
            transport: transport.to_owned(),
            first_format: first_format.to_owned(),
            // RFC 3551 §6: a payload type has seven bits; other words are formats of media we do not speak.
            formats: words.take(FORMATS_MAX).filter_map(|word| word.parse().ok()).filter(|pt| *pt < 128).collect(),
            names: Vec::new(),
            address: Address::Absent,
            direction: None,
            ptime_ms: None,
        })
    }

    /// Attributes of ours; one that is odd counts as absent.
    fn attribute(&mut self, value: &str) {
        if let Some(direction) = direction_named(value) {
            self.direction = Some(direction);
        } else if let Some(ptime) = value.strip_prefix("ptime:") {
            // Packets of other lengths are no whole number of our 10 ms steps or too long to lose.
            self.ptime_ms = ptime.trim().parse().ok().filter(|ms| matches!(ms, 10 | 20 | 30 | 40 | 60));
        } else if let Some(map) = value.strip_prefix("rtpmap:") {
            let mut words = map.split_ascii_whitespace();
            let pt = words.next().and_then(|word| word.parse().ok());
            if let (Some(pt), Some(name)) = (pt, words.next())
                && self.formats.contains(&pt)
                && self.names.iter().all(|(known, _)| *known != pt)
            {
                self.names.push((pt, Format::named(name)));
            }
        }
    }

    fn is_audio(&self) -> bool {
        self.kind == "audio" && matches!(self.transport.as_str(), "RTP/AVP" | "RTP/AVPF")
    }

    fn format(&self, pt: u8) -> Format {
        self.names.iter().find(|(known, _)| *known == pt).map_or(Format::Other, |(_, format)| *format)
    }

    /// G.711 under its static number (RFC 3551 §6), unless an rtpmap gives that number to something else. [`Stream`] has no place
    /// for another number, and no phone or trunk gives G.711 one.
    fn codec(&self, pt: u8) -> Option<Codec> {
        let codec = [Codec::Pcma, Codec::Pcmu].into_iter().find(|codec| codec.payload_type() == pt)?;
        self.names.iter().all(|(known, format)| *known != pt || *format == Format::Audio(codec)).then_some(codec)
    }
}

impl Format {
    /// `PCMA/8000`, `PCMA/8000/1`; names are compared without case (RFC 4855 §3).
    fn named(name: &str) -> Self {
        let mut parts = name.split('/');
        let encoding = parts.next().unwrap_or_default();
        if parts.next() != Some("8000") || !matches!(parts.next(), None | Some("1")) {
            return Format::Other;
        }
        match encoding {
            _ if encoding.eq_ignore_ascii_case("PCMA") => Format::Audio(Codec::Pcma),
            _ if encoding.eq_ignore_ascii_case("PCMU") => Format::Audio(Codec::Pcmu),
            _ if encoding.eq_ignore_ascii_case("telephone-event") => Format::TelephoneEvent,
            _ => Format::Other,
        }
    }
}

impl Address {
    /// `IN IP4 192.0.2.1`. A host name would make us ask a name server for whoever calls; a group would make us flood it.
    fn parse(value: &str) -> Self {
        let mut words = value.split_ascii_whitespace();
        let (net, _family, address) = (words.next(), words.next(), words.next());
        let ip = address.and_then(|address| address.parse::<IpAddr>().ok());
        match ip {
            Some(ip) if net == Some("IN") && !ip.is_multicast() && ip != IpAddr::from([255; 4]) => Address::Ip(ip),
            Some(_) | None => Address::Unusable,
        }
    }
}

fn is_token(word: &str) -> bool {
    !word.is_empty()
        && word.len() <= TOKEN_MAX
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&b))
}

fn direction_named(name: &str) -> Option<Direction> {
    match name {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    }
}

const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::SendRecv => "sendrecv",
        Direction::SendOnly => "sendonly",
        Direction::RecvOnly => "recvonly",
        Direction::Inactive => "inactive",
    }
}

/// What the far end calls sending is receiving for us.
const fn flipped(theirs: Direction) -> Direction {
    match theirs {
        Direction::SendRecv => Direction::SendRecv,
        Direction::SendOnly => Direction::RecvOnly,
        Direction::RecvOnly => Direction::SendOnly,
        Direction::Inactive => Direction::Inactive,
    }
}

const fn without_sending(direction: Direction) -> Direction {
    match direction {
        Direction::SendRecv | Direction::RecvOnly => Direction::RecvOnly,
        Direction::SendOnly | Direction::Inactive => Direction::Inactive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SESSION: Session = Session { id: 7, version: 1 };

    #[test]
    fn the_offerers_first_codec_of_ours_is_taken() {
        assert_eq!(offered("RTP/AVP 18 0 8 96", "a=rtpmap:96 telephone-event/8000\r\n").unwrap().codec, Codec::Pcmu);
        assert_eq!(offered("RTP/AVP 8 0", "").unwrap().codec, Codec::Pcma);
        assert_eq!(offered("RTP/AVP 8 0", "a=rtpmap:8 pcma/8000/1\r\n").unwrap().codec, Codec::Pcma);
        assert_eq!(offered("RTP/AVP 8 0", "a=rtpmap:8 opus/48000/2\r\n").unwrap().codec, Codec::Pcmu);
        assert_eq!(offered("RTP/AVP 18 97", "a=rtpmap:97 PCMA/16000\r\n"), Err(SdpError::NoCodec));
    }

    #[test]
    fn an_answer_speaks_of_every_stream_and_keeps_the_offers_numbers() {
        let offer = format!(
            "{HEAD}m=video 5000 RTP/AVP 96\r\nm=audio 6000 RTP/SAVP 8\r\nm=audio 7000 RTP/AVPF 8 96\r\n\
             a=rtpmap:96 telephone-event/8000\r\na=sendonly\r\na=ptime:30\r\nm=application 1 UDP/BFCP *\r\n"
        );
        let (answer, stream) = answer(&parse(offer.as_bytes()).unwrap(), local(), &SESSION).unwrap();
        assert_eq!(
            String::from_utf8(answer).unwrap(),
            "v=0\r\no=- 7 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\nm=audio 0 RTP/SAVP 8\r\n\
             m=audio 30000 RTP/AVPF 8 96\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-15\r\n\
             a=ptime:30\r\na=recvonly\r\nm=application 0 UDP/BFCP *\r\n"
        );
        let direction = Direction::RecvOnly;
        let (codec, telephone_event) = (Codec::Pcma, Some(96));
        assert_eq!(
            stream,
            Stream { remote: "198.51.100.9:7000".parse().unwrap(), codec, telephone_event, ptime_ms: 30, direction }
        );
    }

    #[test]
    fn keys_are_promised_only_to_those_who_offered_them() {
        let offer = parse(format!("{HEAD}m=audio 6000 RTP/AVP 8 101\r\n").as_bytes()).unwrap();
        let (answer, stream) = answer(&offer, local(), &SESSION).unwrap();
        assert_eq!(stream.telephone_event, None);
        assert!(!String::from_utf8(answer).unwrap().contains("telephone-event"));
    }

    #[test]
    fn our_offer_is_answered_by_our_own_answer() {
        for direction in [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive] {
            let offer = parse(&offer(local(), direction, &SESSION)).unwrap();
            let far: SocketAddr = "[2001:db8::1]:4000".parse().unwrap();
            let (answer, theirs) = answer(&offer, far, &SESSION).unwrap();
            let ours = accept(&parse(&answer).unwrap()).unwrap();
            assert_eq!((ours.direction, ours.remote, ours.telephone_event), (direction, far, Some(101)));
            assert_eq!((theirs.direction, theirs.remote), (flipped(direction), local()));
        }
    }

    #[test]
    fn hold_in_both_fashions_stops_us_from_sending() {
        let held = offered("RTP/AVP 8", "a=sendonly\r\n").unwrap();
        assert_eq!(held.direction, Direction::RecvOnly);
        let old = offered("RTP/AVP 8", "c=IN IP4 0.0.0.0\r\n").unwrap();
        assert_eq!(old.direction, Direction::RecvOnly);
        let session_level = format!("{HEAD}a=inactive\r\nm=audio 6000 RTP/AVP 8\r\n");
        assert_eq!(parse(session_level.as_bytes()).unwrap().stream().unwrap().direction, Direction::Inactive);
    }

    #[test]
    fn the_streams_own_address_goes_first() {
        assert_eq!(offered("RTP/AVP 8", "c=IN IP6 2001:db8::5\r\n").unwrap().remote, "[2001:db8::5]:6000".parse().unwrap());
    }

    #[test]
    fn addresses_that_are_no_single_host_are_refused() {
        for c in ["IN IP4 evil.example", "IN IP4 224.2.1.1/127", "IN IP4 255.255.255.255", "ATM X 1", "IN IP6 ff02::1", ""] {
            assert_eq!(offered("RTP/AVP 8", &format!("c={c}\r\n")), Err(SdpError::NoAddress), "{c}");
        }
        assert_eq!(parse(b"v=0\r\nm=audio 6000 RTP/AVP 8\r\n").unwrap().stream(), Err(SdpError::NoAddress));
    }

    #[test]
    fn hostile_descriptions_are_refused_or_their_oddity_is_ignored() {
        assert!(offered("RTP/AVP 255 8", "a=fmtp:101 0-15\r\na=rtpmap:255 PCMA/8000\r\na=rtpmap:8\r\n").is_ok());
        assert!(offered("RTP/AVP 8", "b=AS:99999999999999999999999999\r\na=ptime:300\r\na=ptime\r\n").is_ok());
        assert_eq!(offered("RTP/AVP 255", "a=rtpmap:255 PCMA/8000\r\n"), Err(SdpError::NoCodec));
        for (line, error) in [
            ("m=audio 0 RTP/AVP 8", SdpError::Refused),
            ("m=audio 65536 RTP/AVP 8", SdpError::Malformed(6)),
            ("m=audio -1 RTP/AVP 8", SdpError::Malformed(6)),
            ("m=audio 6000 RTP/AVP", SdpError::Malformed(6)),
            ("m=audio 6000 RTP/SAVP 8", SdpError::NoAudio),
            ("s=nothing", SdpError::NoAudio),
        ] {
            assert_eq!(parse(format!("{HEAD}{line}\r\n").as_bytes()).and_then(|it| it.stream()), Err(error), "{line}");
        }
        let many = format!("{HEAD}{}", "m=a 1 b 8\n".repeat(5_000));
        assert_eq!(parse(many.as_bytes()), Err(SdpError::TooManyStreams));
        assert_eq!(parse(&vec![b'v'; LENGTH_MAX + 1]), Err(SdpError::TooLong));
        assert_eq!(parse(b""), Err(SdpError::Malformed(1)));
        assert_eq!((SdpError::Malformed(1).status(), SdpError::NoCodec.status()), (400, 488));
    }

    #[test]
    fn a_session_name_in_another_alphabet_does_not_lose_the_call() {
        let mut text = b"v=0\r\ns=\xcf\xf0\xe8\xe2\xe5\xf2\r\nc=IN IP4 198.51.100.9\r\n".to_vec();
        text.extend_from_slice(b"m=audio 6000 RTP/AVP 8\r\na=x:\xff\r\n");
        assert!(parse(&text).unwrap().stream().is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_every_answer_has_the_offers_streams(
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 0..40),
        ) {
            let mut bytes = format!(
                "{HEAD}m=audio 6000 RTP/AVP 8 0 96\r\na=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-15\r\na=sendonly\r\n\
                 c=IN IP4 198.51.100.7\r\nm=video 9 RTP/AVP 97\r\nb=AS:64\r\n"
            ).into_bytes();
            for (at, byte, kind) in edits {
                let at = at.index(bytes.len());
                match kind {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => { bytes.remove(at); }
                }
            }
            if let Ok(offer) = parse(&bytes) && let Ok((text, _)) = answer(&offer, local(), &SESSION) {
                let read = parse(&text).unwrap();
                prop_assert_eq!(read.media.len(), offer.media.len());
                prop_assert!(read.stream().is_ok());
            }
        }
    }

    const HEAD: &str = "v=0\r\no=x 1 1 IN IP4 203.0.113.1\r\ns=call\r\nc=IN IP4 198.51.100.9\r\nt=0 0\r\n";

    fn local() -> SocketAddr {
        "192.0.2.1:30000".parse().unwrap()
    }

    fn offered(formats: &str, attributes: &str) -> Result<Stream, SdpError> {
        parse(format!("{HEAD}m=audio 6000 {formats}\r\n{attributes}").as_bytes())?.stream()
    }
}
