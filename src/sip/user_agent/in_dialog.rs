//! Requests of the far end inside a dialog: ACK, BYE, re-INVITE, UPDATE, INFO, OPTIONS.

use super::leg::{Leg, Refresh, State, Unacknowledged};
use super::request::Incoming;
use super::{UserAgent, abilities, retry_after};
use crate::clock::Moment;
use crate::ids::LegId;
use crate::sip::message::{ALLOW, Method, Name, Request, Writer};
use crate::sip::reply::ReplyHead;
use crate::sip::sdp::{self, SdpError, Session};
use crate::sip::session_timer;
use crate::sip::vet::Vetted;
use crate::sip::{Event, uri};
use crate::stream::{Direction, Stream};
use std::net::SocketAddr;

/// Where nobody listens (RFC 863): media of a leg that has none.
const DISCARD_PORT: u16 = 9;

impl UserAgent {
    /// RFC 3261 §12.2.2: a dialog is known by Call-ID and both tags.
    pub(super) fn find_leg(&self, vetted: &Vetted<'_>) -> Option<LegId> {
        let tag = vetted.to.tag().filter(|tag| tag.len() == 16)?;
        let id = *self.by_tag.get(&u64::from_str_radix(tag, 16).ok()?)?;
        let dialog = &self.legs.get(&id)?.talk.dialog;
        let same = dialog.remote_tag.is_empty() || vetted.from.tag() == Some(dialog.remote_tag.as_str());
        (same && dialog.call_id == vetted.call_id).then_some(id)
    }

    pub(super) fn handle_in_dialog(&mut self, now: Moment, incoming: Incoming<'_>) {
        let Incoming { request, vetted, from, .. } = &incoming;
        let Some((id, leg)) = self.find_leg(vetted).and_then(|id| Some((id, self.legs.get_mut(&id)?))) else {
            return self.refuse(&incoming, 481, |_| {});
        };
        if !leg.requests.admits(now) {
            return self.refuse(&incoming, 503, retry_after);
        }
        // RFC 3261 §12.2.2: what was sent before something we already saw came too late.
        if leg.talk.dialog.remote_cseq.is_some_and(|seen| vetted.cseq < seen) {
            return self.settle(now, &incoming, id, 500, |_| {}, &[]);
        }
        let seen = leg.talk.dialog.remote_cseq.replace(vetted.cseq) == Some(vetted.cseq);
        leg.talk.dialog.peer = *from;
        leg.heard = now;
        self.schedule(id);
        match request.method {
            Method::Bye => self.bye(now, &incoming, id),
            Method::Invite => self.offered(now, &incoming, id),
            Method::Update => self.offered(now, &incoming, id),
            // Heard in a former life, whose answer was lost with it: a key counts once.
            Method::Info if seen => self.settle(now, &incoming, id, 200, |_| {}, &[]),
            Method::Info => self.info(now, &incoming, id),
            Method::Options => self.settle(now, &incoming, id, 200, abilities, &[]),
            Method::Prack
            | Method::Subscribe
            | Method::Notify
            | Method::Message
            | Method::Refer
            | Method::Publish
            | Method::Register
            | Method::Ack
            | Method::Cancel
            | Method::Other => self.settle(now, &incoming, id, 405, |w| _ = w.field("Allow", ALLOW), &[]),
        }
    }

    /// The ACK of a 2xx (RFC 3261 §13.3.1.4).
    pub(super) fn handle_ack(&mut self, now: Moment, request: &Request, vetted: &Vetted<'_>) {
        let Some((id, leg)) = self.find_leg(vetted).and_then(|id| Some((id, self.legs.get_mut(&id)?))) else { return };
        let Some(waiting) = leg.unacknowledged.take_if(|waiting| waiting.cseq == vetted.cseq) else { return };
        if waiting.then_bye {
            return self.send_bye(now, id, None);
        }
        if waiting.offers {
            match read_answer(request) {
                Ok(stream) => self.stream_is(id, stream),
                // RFC 3261 §13.2.1: an offer without an answer agrees on nothing.
                Err(_) => {
                    self.say(id, Event::Lost { leg: id });
                    return self.send_bye(now, id, None);
                }
            }
        }
        if waiting.initial {
            self.say(id, Event::Confirmed { leg: id });
        }
        self.try_change(now, id);
        self.schedule(id);
    }

    fn bye(&mut self, now: Moment, incoming: &Incoming<'_>, id: LegId) {
        self.settle(now, incoming, id, 200, |_| {}, &[]);
        let Some(leg) = self.legs.get(&id) else { return };
        match &leg.state {
            // RFC 3261 §15.1.2: a BYE before the answer ends the INVITE too.
            State::Invited { .. } => {
                self.say(id, Event::Cancelled { leg: id });
                self.reject(now, id, 487, None);
            }
            // Our phone answered and hung up, and its 200 was lost on the way.
            State::Dialling { client, .. } => {
                self.clients.end_by(*client, now);
                self.dial_refused(id, 480);
            }
            State::Live => {
                self.say(id, Event::HungUp { leg: id });
                self.remove_leg(id);
            }
            // Crossed ours, which has an answer of its own to come.
            State::Ending => {}
        }
    }

    /// re-INVITE or UPDATE: hold, resume, another address, or only another Contact.
    fn offered(&mut self, now: Moment, incoming: &Incoming<'_>, id: LegId) {
        let Incoming { request, .. } = incoming;
        let reinvite = request.method == Method::Invite;
        let Some(leg) = self.legs.get(&id) else { return };
        let has_offer = !request.body().is_empty();
        match &leg.state {
            // RFC 3261 §14.2, RFC 3311 §5.2: an offer while the first one waits for its answer.
            State::Invited { .. } | State::Dialling { .. } => return self.settle(now, incoming, id, 500, retry_after, &[]),
            State::Ending => return self.settle(now, incoming, id, 481, |_| {}, &[]),
            State::Live => {}
        }
        // RFC 3261 §14.2: glare. Both sides wait and one tries again.
        if (reinvite || has_offer) && (leg.change.is_sent() || leg.unacknowledged.is_some()) {
            return self.settle(now, incoming, id, 491, |_| {}, &[]);
        }
        if has_offer && !is_sdp(request) {
            return self.settle(now, incoming, id, 415, accept_sdp, &[]);
        }
        let Ok(terms) = leg.talk.terms.offered(now, request.method, &request.headers) else {
            return self.settle(now, incoming, id, 422, session_timer::name_least, &[]);
        };
        let local = leg.talk.local.unwrap_or_else(|| self.discard(leg.network));
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let (body, stream) = if has_offer {
            let described = sdp::parse(request.body())
                .and_then(|offer| leg.describe(|session| sdp::answer(&offer, local, session), |(body, _)| body));
            match described {
                Ok((body, stream)) => (body, Some(stream)),
                // RFC 3261 §14.2: the session stays as it was.
                Err(error) => return self.settle(now, incoming, id, error.status(), |_| {}, &[]),
            }
        } else if reinvite {
            let direction = leg.talk.stream.map_or(Direction::SendRecv, |stream| stream.direction);
            let Ok(body) = leg.describe(|session| Ok(sdp::offer(local, direction, session)), |body| body) else { return };
            (body, None)
        } else {
            (Vec::new(), None)
        };
        (leg.talk.terms, leg.refresh) = (terms, Refresh::Waiting);
        leg.talk.dialog.refresh_target(&request.headers);
        let contact = leg.talk.dialog.contact.clone();
        let fields = |writer: &mut Writer| {
            writer.field("Contact", contact);
            abilities(writer);
            terms.write_answer(writer);
            if !body.is_empty() {
                writer.field("Content-Type", "application/sdp");
            }
        };
        if reinvite {
            let Some(response) = self.settle_kept(now, incoming, id, 200, fields, &body) else { return };
            let Some((leg, (hop, response))) = self.legs.get_mut(&id).zip(Some(response)) else { return };
            leg.unacknowledged =
                Some(Unacknowledged::new(now, hop, incoming.key.clone(), response, incoming.vetted.cseq, !has_offer, false));
        } else {
            self.settle(now, incoming, id, 200, fields, &body);
        }
        self.schedule(id);
        if let Some(stream) = stream {
            self.stream_is(id, stream);
        }
    }

    /// Keys by INFO. A body of another kind is refused (RFC 6086 §4.2.2: 415); none at all is a sign of life.
    fn info(&mut self, now: Moment, incoming: &Incoming<'_>, id: LegId) {
        let request = incoming.request;
        let kind = media_type(request);
        let digit = match kind {
            _ if request.body().is_empty() => return self.settle(now, incoming, id, 200, |_| {}, &[]),
            Some(kind) if kind.eq_ignore_ascii_case("application/dtmf-relay") => relayed_digit(request.body()),
            Some(kind) if kind.eq_ignore_ascii_case("application/dtmf") => digit_named(request.body()),
            Some(_) | None => {
                let accept = |w: &mut Writer| _ = w.field("Accept", "application/dtmf-relay, application/dtmf");
                return self.settle(now, incoming, id, 415, accept, &[]);
            }
        };
        match digit {
            Some(digit) => {
                self.settle(now, incoming, id, 200, |_| {}, &[]);
                self.say(id, Event::Digit { leg: id, digit });
            }
            None => self.settle(now, incoming, id, 400, |_| {}, &[]),
        }
    }

    pub(super) fn discard(&self, network: usize) -> SocketAddr {
        let ip = self.network(network).map_or(std::net::Ipv4Addr::LOCALHOST.into(), |network| network.advertise);
        SocketAddr::new(ip, DISCARD_PORT)
    }

    /// A final answer inside a dialog, remembered for repetitions.
    fn settle(
        &mut self,
        now: Moment,
        incoming: &Incoming<'_>,
        id: LegId,
        status: u16,
        fields: impl FnOnce(&mut Writer),
        body: &[u8],
    ) {
        let _ = self.settle_kept(now, incoming, id, status, fields, body);
    }

    fn settle_kept(
        &mut self,
        now: Moment,
        incoming: &Incoming<'_>,
        id: LegId,
        status: u16,
        fields: impl FnOnce(&mut Writer),
        body: &[u8],
    ) -> Option<(crate::sip::transaction::client::Hop, Vec<u8>)> {
        let reply = ReplyHead::of(incoming.request, incoming.network, incoming.from)?;
        let tag = self.legs.get(&id)?.talk.dialog.local_tag;
        let mut writer = reply.writer(status, tag);
        fields(&mut writer);
        let response = self.finish(writer, body);
        let server = self.servers.start(incoming.key.clone(), None, incoming.request.method, reply.hop);
        self.servers.respond(now, server, status, response.clone(), &mut self.out);
        Some((reply.hop, response))
    }
}

impl Leg {
    /// Makes our next description. RFC 3264 §8: its version goes up only if the text is another than the far end has.
    fn describe<D>(
        &mut self,
        make: impl Fn(&Session) -> Result<D, SdpError>,
        body: impl Fn(&D) -> &Vec<u8>,
    ) -> Result<D, SdpError> {
        let mut made = make(&self.talk.session)?;
        if *body(&made) != self.described {
            self.talk.session.version = self.talk.session.version.saturating_add(1);
            made = make(&self.talk.session)?;
            self.described = body(&made).clone();
        }
        Ok(made)
    }
}

fn read_answer(ack: &Request) -> Result<Stream, SdpError> {
    sdp::accept(&sdp::parse(ack.body())?)
}

/// `type/subtype` of the body, without parameters.
pub(super) fn media_type(request: &Request) -> Option<&str> {
    request.headers.get(Name::ContentType).map(|kind| uri::list(kind, b';').next().unwrap_or(kind).trim())
}

pub(super) fn is_sdp(request: &Request) -> bool {
    media_type(request).is_some_and(|kind| kind.eq_ignore_ascii_case("application/sdp"))
}

pub(super) fn accept_sdp(writer: &mut Writer) {
    writer.field("Accept", "application/sdp");
}

/// `Signal=5` (RFC-less, but what every gateway sends; some write `Signal= 5` or 10 and 11 for `*` and `#`).
fn relayed_digit(body: &[u8]) -> Option<char> {
    body.split(|byte| matches!(byte, b'\r' | b'\n')).find_map(|line| {
        let (name, value) = line.split_at_checked(line.iter().position(|byte| *byte == b'=')?)?;
        name.trim_ascii().eq_ignore_ascii_case(b"Signal").then(|| digit_named(value.get(1..)?))?
    })
}

fn digit_named(text: &[u8]) -> Option<char> {
    match text.trim_ascii() {
        [digit @ (b'0'..=b'9' | b'*' | b'#' | b'A'..=b'D')] => Some(char::from(*digit)),
        [digit @ b'a'..=b'd'] => Some(char::from(digit.to_ascii_uppercase())),
        b"10" => Some('*'),
        b"11" => Some('#'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_gateways_write_them() {
        assert_eq!(relayed_digit(b"Signal=1\nDuration=160\n"), Some('1'));
        assert_eq!(relayed_digit(b"Duration=160\r\nsignal = #\r\n"), Some('#'));
        assert_eq!(relayed_digit(b"Signal=10\r\n"), Some('*'));
        assert_eq!(relayed_digit(b"Signal=\r\n"), None);
        assert_eq!(digit_named(b" 5 "), Some('5'));
        assert_eq!(digit_named(b"55"), None);
    }
}
