//! What must stand in a message before anybody looks at what it wants (RFC 3261 §8.1.1, §8.2).

use super::message::{Headers, Method, Name, Request, Response};
use super::uri::{self, Malformed, NameAddr, Scheme, Uri, is_token};
use super::via::Via;

/// RFC 3261 §8.1.1.5.
const CSEQ_MAX: u64 = (1 << 31) - 1;
const MAX_FORWARDS_MAX: u32 = 255;

/// The fields every request has, read.
#[derive(Debug)]
pub struct Vetted<'a> {
    pub uri: Uri<'a>,
    pub via: Via<'a>,
    pub from: NameAddr<'a>,
    pub to: NameAddr<'a>,
    pub call_id: &'a str,
    pub cseq: u32,
}

/// Reads them; the error is answered 400. A missing Max-Forwards, From tag or branch comes from RFC 2543 and is no fault.
pub fn request(request: &Request) -> Result<Vetted<'_>, Malformed> {
    let headers = &request.headers;
    for name in [Name::From, Name::To, Name::CallId, Name::CSeq, Name::MaxForwards, Name::ContentType, Name::Expires] {
        let mut values = headers.raw(name);
        let first = values.next();
        if values.any(|value| Some(value) != first) {
            return Err(Malformed("a field that may stand once differs from its double"));
        }
    }
    let mut vetted = Vetted {
        uri: Uri::parse(request.uri())?,
        via: Via::parse(headers.get(Name::Via).ok_or(Malformed("no via"))?)?,
        from: NameAddr::parse(headers.get(Name::From).ok_or(Malformed("no from"))?)?,
        to: NameAddr::parse(headers.get(Name::To).ok_or(Malformed("no to"))?)?,
        call_id: headers.get(Name::CallId).filter(|id| !id.is_empty()).ok_or(Malformed("no call-id"))?,
        cseq: 0,
    };
    let (number, method) = cseq(headers)?;
    vetted.cseq = number;
    // RFC 3261 §8.1.1.5: the method of CSeq is that of the request.
    if method != request.method_text() {
        return Err(Malformed("cseq of another method"));
    }
    // RFC 3261 §19.1.1: a Request-URI has no headers.
    if matches!(vetted.uri.scheme, Scheme::Sip | Scheme::Sips) && vetted.uri.headers.is_some() {
        return Err(Malformed("headers in the request-uri"));
    }
    let max_forwards = headers.get(Name::MaxForwards).unwrap_or("0").parse::<u32>();
    if !max_forwards.is_ok_and(|hops| hops <= MAX_FORWARDS_MAX) {
        return Err(Malformed("max-forwards"));
    }
    if headers.get(Name::Expires).is_some_and(|expires| !is_digits(expires)) {
        return Err(Malformed("expires"));
    }
    for contact in contacts(headers).filter(|contact| contact.trim() != "*") {
        NameAddr::parse(contact)?;
    }
    Ok(vetted)
}

/// What a response needs to find its request.
pub struct Answered<'a> {
    pub branch: &'a str,
    pub method: Method,
    pub to: NameAddr<'a>,
}

/// A response that cannot be read so is dropped.
pub fn response(response: &Response) -> Result<Answered<'_>, Malformed> {
    let headers = &response.headers;
    let via = Via::parse(headers.get(Name::Via).ok_or(Malformed("no via"))?)?;
    let (_, method) = cseq(headers)?;
    // RFC 3261 §8.1.3.3: a response with two Via was sent to us by mistake.
    if headers.all(Name::Via).flat_map(|via| uri::list(via, b',')).count() > 1 {
        return Err(Malformed("response for somebody behind us"));
    }
    Ok(Answered {
        branch: via.branch().ok_or(Malformed("no branch"))?,
        method: Method::named(method.as_bytes()),
        to: NameAddr::parse(headers.get(Name::To).ok_or(Malformed("no to"))?)?,
    })
}

fn cseq(headers: &Headers) -> Result<(u32, &str), Malformed> {
    let (number, method) = headers
        .get(Name::CSeq)
        .and_then(|cseq| cseq.split_once([' ', '\t']))
        .map(|(number, method)| (number, method.trim()))
        .ok_or(Malformed("cseq"))?;
    if !is_digits(number) || !is_token(method) {
        return Err(Malformed("cseq"));
    }
    let number = number.parse::<u64>().ok().filter(|number| *number <= CSEQ_MAX).and_then(|number| u32::try_from(number).ok());
    Ok((number.ok_or(Malformed("cseq beyond 2^31"))?, method))
}

/// Every Contact of a message, one each.
pub fn contacts(headers: &Headers) -> impl Iterator<Item = &str> {
    headers.all(Name::Contact).flat_map(|contacts| uri::list(contacts, b','))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
