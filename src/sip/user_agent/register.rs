//! Phones that prove a password: REGISTER, and calls to feature codes.

use super::request::{Incoming, Unmet, read_offer};
use super::{UserAgent, retry_after};
use crate::clock::Moment;
use crate::ids::AgentId;
use crate::sip::Event;
use crate::sip::digest::Verdict;
use crate::sip::message::{Method, Name, Writer};
use crate::sip::registrar::{Contact, Contacts, EXPIRES_MIN, Register};
use crate::sip::reply::ReplyHead;
use crate::sip::uri::{NameAddr, Scheme};
use crate::sip::vet;

impl UserAgent {
    /// RFC 3261 §10.3. Unknown users and wrong passwords get the same answer after the same work.
    pub(super) fn register(&mut self, now: Moment, incoming: &Incoming<'_>) {
        self.counters.registers += 1;
        let Incoming { request, vetted, .. } = incoming;
        let Some(user) = self.prove(now, incoming) else { return };
        if self.source_is_full(incoming) {
            self.counters.blocked += 1;
            return self.refuse(incoming, 503, retry_after);
        }
        // RFC 3261 §10.3 step 4: an account registers itself only.
        if user != vetted.to.uri.user() || !matches!(vetted.to.uri.scheme, Scheme::Sip | Scheme::Sips) {
            return self.refuse(incoming, 403, |_| {});
        }
        let agent = AgentId::from(user.as_str());
        let contacts = match contacts(incoming) {
            Some(contacts) => contacts,
            None => return self.refuse(incoming, 400, |_| {}),
        };
        let was_reachable = !self.registrar.of(&agent).is_empty();
        let asked = Register {
            agent: agent.clone(),
            contacts,
            expires: request.headers.get(Name::Expires).map(number),
            call_id: vetted.call_id,
            cseq: vetted.cseq,
            source: incoming.from,
        };
        let Some(reply) = ReplyHead::of(request, incoming.network, incoming.from) else { return };
        let mut writer;
        let status = match self.registrar.register(now, asked, self.settings.limits.contacts) {
            Ok(bindings) => {
                writer = reply.writer(200, self.dice.next());
                for binding in bindings {
                    writer.field("Contact", format!("<{}>;expires={}", binding.uri, binding.expires.since(now).as_secs()));
                }
                200
            }
            Err(error) => {
                writer = reply.writer(error.status(), self.dice.next());
                if error.status() == 423 {
                    writer.field("Min-Expires", EXPIRES_MIN.to_string());
                }
                error.status()
            }
        };
        let response = self.finish(writer, &[]);
        let reachable = !self.registrar.of(&agent).is_empty();
        if status == 200 && (reachable || was_reachable) {
            self.events.push_back(Event::Registered { agent, reachable });
        }
        let server = self.servers.start(incoming.key.clone(), None, Method::Register, reply.hop);
        self.servers.respond(now, server, status, response, &mut self.out);
    }

    /// An agent's phone dials `*1`: it hears an empty call that ends at once, which phones show as success.
    pub(super) fn feature_code(&mut self, now: Moment, incoming: &Incoming<'_>, code: &str) {
        let Some(user) = self.prove(now, incoming) else { return };
        let limits = &self.settings.limits;
        let open_to_phones = limits.transactions.saturating_sub(limits.reserved_for_trunks);
        if self.source_is_full(incoming) || self.servers.open() >= open_to_phones || self.legs.len() >= limits.legs {
            self.counters.blocked += 1;
            return self.refuse(incoming, 503, retry_after);
        }
        let offer = match read_offer(incoming.request) {
            Ok(offer) => offer,
            Err(Unmet::Type | Unmet::Encoding) => return self.refuse(incoming, 415, |_| {}),
            Err(Unmet::Description(status)) => return self.refuse(incoming, status, |_| {}),
        };
        let Some(reply) = ReplyHead::of(incoming.request, incoming.network, incoming.from) else { return };
        let server = self.servers.start(incoming.key.clone(), None, Method::Invite, reply.hop);
        let leg = self.add_called_leg(incoming, server, reply, offer, None, code);
        self.answer(now, leg, self.discard(incoming.network));
        self.hang_up(now, leg, None);
        self.events.push_back(Event::FeatureCode { agent: AgentId::from(user.as_str()), code: code.to_owned() });
    }

    /// A phone that asks without end holds only its own share of the transactions. What a stranger asks leaves none behind.
    fn source_is_full(&self, incoming: &Incoming<'_>) -> bool {
        self.servers.of_source(incoming.from.ip()) >= self.settings.limits.per_source
    }

    /// The account that proved its password with this request. `None`: it was challenged, without a trace of it here.
    fn prove(&mut self, now: Moment, incoming: &Incoming<'_>) -> Option<String> {
        let Incoming { request, network, .. } = incoming;
        let digests = request.headers.all(Name::Authorization).find(|value| is_digest(value));
        let (directory, listed) = (&self.directory, &self.settings.accounts.listed);
        let account = |user: &str| directory.accounts.get(&AgentId::from(user)).and_then(|index| listed.get(*index));
        let password_of =
            |user: &str| account(user).filter(|account| directory.network(&account.network) == Some(*network))?.password.clone();
        let realm = self.settings.realm.clone();
        let verdict = match digests {
            Some(digest) => self.nonces.check(now, digest, request.method.name(), request.uri(), &realm, password_of),
            None => Verdict::Denied,
        };
        let stale = match verdict {
            Verdict::Granted { user } => return Some(user),
            Verdict::Stale => true,
            Verdict::Denied => {
                self.counters.digest_failures += u64::from(digests.is_some());
                false
            }
        };
        // One kind of challenge for all, so that it does not tell whose account exists.
        let sha256 = self.settings.accounts.listed.iter().any(|account| account.sha256);
        let challenges = self.nonces.challenge(now, &realm, sha256, stale);
        self.refuse(incoming, 401, |writer: &mut Writer| {
            for challenge in challenges {
                writer.field("WWW-Authenticate", challenge);
            }
        });
        None
    }
}

fn is_digest(authorization: &str) -> bool {
    authorization.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("Digest "))
}

/// `None`: a `*` beside other contacts (RFC 3261 §10.3 step 6).
fn contacts(incoming: &Incoming<'_>) -> Option<Contacts> {
    let mut listed = Vec::new();
    let mut all = false;
    for contact in vet::contacts(&incoming.request.headers) {
        if contact.trim() == "*" {
            all = true;
            continue;
        }
        let contact = NameAddr::parse(contact).ok()?;
        listed.push(Contact { uri: contact.uri.text.to_owned(), expires: contact.param("expires").map(number) });
    }
    match (all, listed.is_empty()) {
        (true, true) => Some(Contacts::All),
        (true, false) => None,
        (false, _) => Some(Contacts::Listed(listed)),
    }
}

/// RFC 3261 §20.19: a number of seconds beyond 32 bits is as long as can be.
fn number(text: &str) -> u32 {
    match text.trim() {
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().unwrap_or(u32::MAX),
        _ => 3600,
    }
}
