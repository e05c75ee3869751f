//! Requests from outside any dialog: who may ask for what, and what is refused with which word (RFC 3261 §8.2).

use super::in_dialog::{accept_sdp, is_sdp};
use super::leg::{Leg, State, Talk};
use super::{UserAgent, abilities, one_form, retry_after};
use crate::clock::Moment;
use crate::ids::TrunkId;
use crate::pii::Phone;
use crate::sip::dialog::Dialog;
use crate::sip::message::{ALLOW, Headers, Method, Name, Request, Writer};
use crate::sip::reply::ReplyHead;
use crate::sip::sdp::{self, Description, Session};
use crate::sip::session_timer::{self, Terms};
use crate::sip::transaction::server::{Key, Known, MergeKey, ServerId};
use crate::sip::uri::{self, NameAddr, Scheme, Uri};
use crate::sip::vet::{self, Vetted};
use crate::sip::{DialledFrom, Event, Invited, Trunk};
use std::net::SocketAddr;

/// One request on its way through the rules.
pub(super) struct Incoming<'a> {
    pub network: usize,
    pub from: SocketAddr,
    pub request: &'a Request,
    pub vetted: &'a Vetted<'a>,
    pub key: Key,
}

impl UserAgent {
    pub(super) fn handle_request(&mut self, now: Moment, network: usize, from: SocketAddr, request: &Request) {
        let vetted = match vet::request(request) {
            Ok(vetted) => vetted,
            Err(why) => {
                tracing::debug!(%why, "malformed request");
                return self.refuse_malformed(network, from, request, 400);
            }
        };
        let key = Key::of(request, &vetted, request.method);
        if let Some(server) = self.servers.find(&key) {
            match self.servers.repeated(now, server, request.method, &mut self.out) {
                Known::Absorbed => return,
                Known::AckOfAnswer => return self.handle_ack(now, request, &vetted),
            }
        }
        let incoming = Incoming { network, from, request, vetted: &vetted, key };
        match request.method {
            Method::Ack => return self.handle_ack(now, request, &vetted),
            Method::Cancel => return self.cancel(now, &incoming),
            Method::Other => return self.refuse(&incoming, 501, |w| _ = w.field("Allow", ALLOW)),
            _ => {}
        }
        if !matches!(vetted.uri.scheme, Scheme::Sip | Scheme::Sips | Scheme::Tel) {
            return self.refuse(&incoming, 416, |_| {});
        }
        // RFC 3261 §8.2.2.3: a request may insist on session timers, and on nothing else.
        let unsupported = session_timer::unsupported(&request.headers);
        if !unsupported.is_empty() {
            return self.refuse(&incoming, 420, |w| _ = w.field("Unsupported", unsupported.join(", ")));
        }
        if vetted.to.tag().is_some() && request.method != Method::Register {
            return self.handle_in_dialog(now, incoming);
        }
        match request.method {
            Method::Invite => self.invite(now, &incoming),
            Method::Options => self.options(&incoming),
            Method::Register => self.register(now, &incoming),
            Method::Bye | Method::Info | Method::Update => self.refuse(&incoming, 481, |_| {}),
            Method::Prack
            | Method::Subscribe
            | Method::Notify
            | Method::Message
            | Method::Refer
            | Method::Publish
            | Method::Other
            | Method::Ack
            | Method::Cancel => self.refuse(&incoming, 405, |w| _ = w.field("Allow", ALLOW)),
        }
    }

    /// A final answer that leaves no trace.
    pub(super) fn refuse(&mut self, incoming: &Incoming<'_>, status: u16, fields: impl FnOnce(&mut Writer)) {
        let Incoming { network, from, request, vetted, .. } = incoming;
        self.counters.strangers_refused += 1;
        self.answer_stateless(*network, *from, request, Some(vetted), status, fields);
    }

    fn options(&mut self, incoming: &Incoming<'_>) {
        let trunk = self.trunk_of(incoming).map(|trunk| trunk.trunk.clone());
        // A trunk sends its calls elsewhere then; a phone still is where its talk goes on.
        let draining = self.draining && trunk.is_some();
        if let Some(trunk) = trunk {
            self.trunk_is(trunk, true);
        }
        let Incoming { network, from, request, vetted, .. } = incoming;
        self.answer_stateless(*network, *from, request, Some(vetted), if draining { 503 } else { 200 }, |writer| {
            abilities(writer);
            if draining {
                retry_after(writer);
            }
        });
    }

    /// RFC 3261 §9.2: the CANCEL is answered 200 if its INVITE is known, and takes effect if that has no final answer yet.
    fn cancel(&mut self, now: Moment, incoming: &Incoming<'_>) {
        let invite = Key::of(incoming.request, incoming.vetted, Method::Invite);
        let Some(server) = self.servers.find(&invite) else {
            return self.refuse(incoming, 481, |_| {});
        };
        let leg = self.invited_by(server);
        let tag = leg.and_then(|id| self.legs.get(&id)).map(|leg| leg.talk.dialog.local_tag);
        if let Some(reply) = ReplyHead::of(incoming.request, incoming.network, incoming.from) {
            let tag = tag.unwrap_or_else(|| crate::sip::reply::stateless_tag(Some(incoming.vetted)));
            let response = self.finish(reply.writer(200, tag), &[]);
            self.send(reply.hop, response);
        }
        if let Some(id) = leg {
            self.say(id, Event::Cancelled { leg: id });
            self.reject(now, id, 487, None);
        }
    }

    fn invited_by(&self, server: ServerId) -> Option<crate::ids::LegId> {
        self.by_server.get(&server).copied()
    }

    fn invite(&mut self, now: Moment, incoming: &Incoming<'_>) {
        let user = incoming.vetted.uri.user();
        let trunk = self.trunk_of(incoming).cloned();
        let dialled = trunk.as_ref().and_then(|trunk| dialled_number(trunk.dialled, incoming.request, incoming.vetted));
        // A local form, which only this trunk's area completes, is told in the form that everybody knows.
        let ours = trunk.zip(dialled).and_then(|(trunk, dialled)| {
            let form = one_form(&dialled, trunk.area.as_deref());
            let known = [dialled, form].into_iter().find(|dialled| self.directory.numbers.contains(dialled))?;
            Some((trunk, known))
        });
        match ours {
            Some((trunk, dialled)) => self.citizen(now, incoming, &trunk, dialled),
            None if self.settings.feature_codes.iter().any(|code| *code == user) => self.feature_code(now, incoming, &user),
            // The same to every stranger, whether the number exists or not.
            None if self.trunk_of(incoming).is_none() => self.refuse(incoming, 403, |_| {}),
            None => self.refuse(incoming, 404, |_| {}),
        }
    }

    /// A call from a trunk for a number of ours.
    fn citizen(&mut self, now: Moment, incoming: &Incoming<'_>, trunk: &Trunk, dialled: String) {
        let Incoming { request, vetted, .. } = incoming;
        self.counters.invites += 1;
        // RFC 3261 §8.2.2.2: the same call over two ways is one call.
        let merge_key = MergeKey::of(vetted);
        if self.servers.is_merged(&merge_key) {
            return self.refuse(incoming, 482, |_| {});
        }
        let offer = match read_offer(request) {
            Ok(offer) => offer,
            Err(Unmet::Type) => return self.refuse(incoming, 415, accept_sdp),
            Err(Unmet::Encoding) => return self.refuse(incoming, 415, |w| _ = w.field("Accept-Encoding", "identity")),
            Err(Unmet::Description(status)) => return self.refuse(incoming, status, |_| {}),
        };
        if !accepts_sdp(&request.headers) {
            return self.refuse(incoming, 406, |_| {});
        }
        if Terms::default().offered(now, request.method, &request.headers).is_err() {
            return self.refuse(incoming, 422, session_timer::name_least);
        }
        let caller = caller(trunk, request, vetted);
        let limits = &self.settings.limits;
        let blocked = if self.draining || self.legs.len() >= limits.legs || self.servers.open() >= limits.transactions {
            Some(503)
        } else if !self.channel_is_free(trunk) {
            Some(486)
        } else {
            None
        };
        let Some(reply) = ReplyHead::of(request, incoming.network, incoming.from) else { return };
        let server = self.servers.start(incoming.key.clone(), Some(merge_key), Method::Invite, reply.hop);
        if let Some(status) = blocked {
            self.counters.blocked += 1;
            let mut writer = reply.writer(status, self.dice.next());
            if status == 503 {
                retry_after(&mut writer);
            }
            let response = self.finish(writer, &[]);
            self.servers.respond(now, server, status, response, &mut self.out);
            return self.events.push_back(Event::Blocked { trunk: trunk.trunk.clone(), dialled, caller, status });
        }
        // RFC 3261 §8.2.6.1: 100 has no To tag of ours; it only stops the repetitions.
        let trying = self.finish(reply.trying(), &[]);
        self.servers.respond(now, server, 100, trying, &mut self.out);
        let stream = offer.as_ref().and_then(|offer| offer.stream().ok());
        let leg = self.add_called_leg(incoming, server, reply, offer, Some(trunk.trunk.clone()), &dialled);
        let network = trunk.network.clone();
        let invited = Invited { leg, trunk: trunk.trunk.clone(), network, dialled, caller, offer: stream };
        self.events.push_back(Event::Invited(Box::new(invited)));
    }

    pub(super) fn add_called_leg(
        &mut self,
        incoming: &Incoming<'_>,
        server: ServerId,
        reply: ReplyHead,
        offer: Option<Description>,
        trunk: Option<TrunkId>,
        dialled: &str,
    ) -> crate::ids::LegId {
        let id = self.ids.leg();
        let (tag, session) = (self.dice.next(), self.dice.next());
        let contact = self.contact(incoming.network, dialled);
        let dialog = Dialog::called(incoming.request, incoming.vetted, tag, contact, incoming.from, trunk.is_some());
        let network = self.network(incoming.network).map(|network| network.name.clone()).unwrap_or_default();
        let session = Session { id: session >> 33, version: 1 };
        // The session begins with our 2xx.
        let terms = Terms::default().offered(Moment::ZERO, Method::Invite, &incoming.request.headers).unwrap_or_default();
        let talk = Talk { dialog, network, trunk, session, local: None, stream: None, terms, acknowledged: None };
        let (cseq, offer) = (incoming.vetted.cseq, offer.map(Box::new));
        let state = State::Invited { server, reply, offer, answer: None, cseq, status: 100 };
        self.add_leg(id, Leg::new(incoming.network, state, talk));
        id
    }

    /// The trunk a request comes from, by the address it comes from.
    fn trunk_of(&self, incoming: &Incoming<'_>) -> Option<&Trunk> {
        let index = self.directory.trunk_by_peer.get(&(incoming.network, incoming.from.ip()))?;
        self.settings.trunks.get(*index)
    }
}

/// Why a body cannot be taken.
pub(super) enum Unmet {
    Type,
    Encoding,
    Description(u16),
}

/// The offer of an INVITE, if it has one that can be met.
pub(super) fn read_offer(request: &Request) -> Result<Option<Description>, Unmet> {
    if request.body().is_empty() {
        return Ok(None);
    }
    if request.headers.get(Name::ContentEncoding).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(Unmet::Encoding);
    }
    if !is_sdp(request) {
        return Err(Unmet::Type);
    }
    let offer = sdp::parse(request.body()).map_err(|error| Unmet::Description(error.status()))?;
    offer.stream().map_err(|error| Unmet::Description(error.status()))?;
    Ok(Some(offer))
}

/// RFC 3261 §20.1: without Accept everything is.
fn accepts_sdp(headers: &Headers) -> bool {
    let mut ranges = headers.all(Name::Accept).flat_map(|ranges| uri::list(ranges, b',')).peekable();
    let fits = |range: &str| {
        let range = range.split(';').next().unwrap_or_default().trim();
        ["application/sdp", "application/*", "*/*"].iter().any(|fit| range.eq_ignore_ascii_case(fit))
    };
    ranges.peek().is_none() || ranges.any(fits)
}

fn dialled_number(from: DialledFrom, request: &Request, vetted: &Vetted<'_>) -> Option<String> {
    let user = |name: Name| {
        let value = request.headers.all(name).flat_map(|value| uri::list(value, b',')).next()?;
        Some(NameAddr::parse(value).ok()?.uri.user().into_owned())
    };
    let number = match from {
        DialledFrom::RequestUri => Some(vetted.uri.user().into_owned()),
        DialledFrom::To => Some(vetted.to.uri.user().into_owned()),
        DialledFrom::Diversion => user(Name::Diversion),
        DialledFrom::PCalledPartyId => user(Name::PCalledPartyId),
    };
    // A trunk that leaves its header out still says the number where every INVITE does.
    number.filter(|number| !number.is_empty()).or_else(|| Some(vetted.uri.user().into_owned()))
}

/// RFC 3325: what a trunk asserts goes before what the caller's side wrote into From.
fn caller(trunk: &Trunk, request: &Request, vetted: &Vetted<'_>) -> Option<Phone> {
    let number = |uri: Uri<'_>| Phone::parse(&uri.user(), trunk.area.as_deref());
    let asserted = request.headers.all(Name::PAssertedIdentity).flat_map(|value| uri::list(value, b','));
    asserted
        .filter_map(|value| NameAddr::parse(value).ok())
        .find_map(|asserted| number(asserted.uri))
        .or_else(|| number(vetted.from.uri))
}
