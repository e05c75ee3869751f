//! Calls of ours: to an agent's phone, or out over a trunk.

use super::command::cseq;
use super::leg::{Cancel, Leg, State, Talk};
use super::{SIGN_WITHIN, UserAgent, abilities};
use crate::clock::Moment;
use crate::ids::{LegId, TrunkId};
use crate::pii::Phone;
use crate::sip::dialog::Dialog;
use crate::sip::message::{Method, Response};
use crate::sip::sdp::{self, SdpError, Session};
use crate::sip::session_timer::{self, Terms};
use crate::sip::transaction::PATIENCE;
use crate::sip::transaction::client::{ClientKey, Hop, Owner, RequestHead};
use crate::sip::uri::host_text;
use crate::sip::{DialNote, Event, HangUpReason, Target, vet};
use crate::stream::{Direction, Stream};
use std::net::SocketAddr;

/// Where a call of ours goes.
struct Destination {
    hop: Hop,
    uri: String,
    trunk: Option<TrunkId>,
    /// Shown as caller; `None` = anonymous.
    caller: Option<String>,
}

impl UserAgent {
    pub(super) fn dial(
        &mut self,
        now: Moment,
        id: LegId,
        target: Target,
        local: SocketAddr,
        caller: Option<Phone>,
        note: DialNote,
    ) {
        if self.legs.contains_key(&id) {
            return;
        }
        let destination = match self.destination(&target, caller.as_ref()) {
            Ok(destination) if self.legs.len() < self.settings.limits.legs => destination,
            Ok(_) => return self.events.push_back(Event::Refused { leg: id, status: 503 }),
            Err(status) => return self.events.push_back(Event::Refused { leg: id, status }),
        };
        let Destination { hop, uri, trunk, caller } = destination;
        let Some(network) = self.network(hop.network).map(|network| network.name.clone()) else { return };
        let sent_by = self.sent_by(hop.network);
        let (tag, branch, call_id, session) = (self.dice.next(), self.dice.next(), self.dice.next(), self.dice.next());
        let display = note.queue.as_ref().map(|queue| quoted(queue.as_str())).unwrap_or_default();
        let user = caller.as_deref().unwrap_or("anonymous");
        let contact = self.contact(hop.network, user);
        let host = host_text(self.network(hop.network).map_or(hop.to.ip(), |network| network.advertise));
        let (from, to) = (format!("{display}<sip:{user}@{host}>"), format!("<{uri}>"));
        let call_id = format!("{call_id:016x}@{host}");
        let mut dialog = Dialog::calling(call_id, tag, from, to, contact, uri, hop.to);
        let head = dialog.request(sent_by, branch);
        let mut writer = head.writer(Method::Invite);
        let asked_s = self.settings.session_expires_s;
        session_timer::ask(&mut writer, asked_s, 0);
        let head_ends = writer.so_far().len();
        writer.field("Contact", &dialog.contact).field("User-Agent", &self.settings.product);
        abilities(&mut writer);
        if let Some(call) = note.call {
            writer.field("X-Interaction-Id", call.to_string());
        }
        if let Some(story) = &note.callback {
            writer.field("X-Callback", one_line(story));
        }
        if let Some(queue) = &note.queue {
            writer.field("X-Queue", one_line(queue.as_str()));
        }
        if note.auto_answer {
            writer.field("Call-Info", format!("<sip:{host}>;answer-after=0"));
            writer.field("Alert-Info", format!("<http://{host}>;info=alert-autoanswer"));
        }
        writer.field("Content-Type", "application/sdp");
        // RFC 4566 §5.2: a number that fits into every phone's integer.
        let session = Session { id: session >> 33, version: 1 };
        let offer = sdp::offer(local, Direction::SendRecv, &session);
        let request = writer.finish(&offer);
        let rest = request.get(head_ends..).unwrap_or_default().to_vec();
        let client = self.clients.send_invite(now, Owner::Dial(id), hop, head.clone(), request, &mut self.out);
        let talk = Talk {
            dialog,
            network,
            trunk,
            session,
            local: Some(local),
            stream: None,
            terms: Terms::default(),
            acknowledged: None,
        };
        let state = State::Dialling { client, head: Box::new(head), provisional: false, cancel: Cancel::No, asked_s, rest };
        self.add_leg(id, Leg { sign_by: Some(now + SIGN_WITHIN), described: offer, ..Leg::new(hop.network, state, talk) });
    }

    /// The error is what the far end would have said: 404 nobody there, 503 no way.
    fn destination(&self, target: &Target, caller: Option<&Phone>) -> Result<Destination, u16> {
        match target {
            Target::Agent(agent) => {
                let account = self.directory.accounts.get(agent).and_then(|index| self.settings.accounts.listed.get(*index));
                let account = account.ok_or(404_u16)?;
                let network = self.directory.network(&account.network).ok_or(503_u16)?;
                // Of several phones the one that registered last is where the agent sits.
                let (uri, to) = match (self.registrar.of(agent).last(), account.contact) {
                    (Some(binding), _) => (binding.uri.clone(), binding.reach),
                    (None, Some(to)) => (format!("sip:{agent}@{}:{}", host_text(to.ip()), to.port()), to),
                    (None, None) => return Err(404),
                };
                let caller = caller.map(|caller| caller.expose().to_owned());
                Ok(Destination { hop: Hop { network, to }, uri, trunk: None, caller })
            }
            Target::Trunk { trunk, number } => {
                let trunk = self.directory.trunks.get(trunk).and_then(|index| self.settings.trunks.get(*index)).ok_or(404_u16)?;
                let network = self.directory.network(&trunk.network).ok_or(503_u16)?;
                let to = trunk.contact.filter(|_| self.channel_is_free(trunk)).ok_or(503_u16)?;
                // What a number may not hold could write headers of its own.
                let number: String = number.chars().filter(|c| c.is_ascii_digit() || "+*#".contains(*c)).collect();
                let uri = format!("sip:{}@{}:{}", number.replace('#', "%23"), host_text(to.ip()), to.port());
                let ours = trunk.our_number.clone();
                let caller = caller.map(|caller| caller.expose().to_owned()).filter(|_| trunk.show_caller).or(ours);
                Ok(Destination { hop: Hop { network, to }, uri, trunk: Some(trunk.trunk.clone()), caller })
            }
        }
    }

    pub(super) fn dial_heard(
        &mut self,
        now: Moment,
        id: LegId,
        from: SocketAddr,
        response: &Response,
        answered: &vet::Answered<'_>,
    ) {
        match response.status {
            100..=199 => self.dial_rings(now, id, response),
            200..=299 => self.dial_answered(now, id, from, response, answered),
            422 if self.dial_longer(now, id, response) => {}
            status => self.dial_refused(id, status),
        }
    }

    /// RFC 4028 §7.3: the same call with the interval that a 422 demands, once. `false`: there is nothing to try.
    fn dial_longer(&mut self, now: Moment, id: LegId, refusal: &Response) -> bool {
        let branch = self.dice.next();
        let Some(network) = self.legs.get(&id).map(|leg| leg.network) else { return false };
        let sent_by = self.sent_by(network);
        let Some(leg) = self.legs.get_mut(&id) else { return false };
        let State::Dialling { client, head, provisional, cancel: Cancel::No, asked_s: Some(asked_s), rest } = &mut leg.state
        else {
            return false;
        };
        let Some(least) = session_timer::min_se(&refusal.headers).filter(|least| *least > *asked_s) else { return false };
        if leg.talk.terms.min_se_s > 0 {
            return false;
        }
        leg.talk.terms.min_se_s = least;
        let (hop, next) = (Hop { network, to: leg.talk.dialog.peer }, leg.talk.dialog.request(sent_by, branch));
        (**head, *provisional, *asked_s) = (next.clone(), false, least);
        let request = invite(&next, Some(least), least, rest);
        *client = self.clients.send_invite(now, Owner::Dial(id), hop, next, request, &mut self.out);
        true
    }

    fn dial_rings(&mut self, now: Moment, id: LegId, response: &Response) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let State::Dialling { provisional, cancel, .. } = &mut leg.state else { return };
        *provisional = true;
        if let Cancel::Wanted(reason) = *cancel {
            return self.send_cancel(now, id, reason);
        }
        if response.status > 100 {
            let early = read_answer(response).ok();
            leg.talk.stream = early.or(leg.talk.stream);
            self.say(id, Event::Ringing { leg: id, early });
        }
    }

    fn dial_answered(&mut self, now: Moment, id: LegId, from: SocketAddr, response: &Response, answered: &vet::Answered<'_>) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let State::Dialling { cancel, .. } = &leg.state else {
            if answered.to.tag().unwrap_or_default() == leg.talk.dialog.remote_tag {
                // RFC 3261 §13.2.2.4: the 2xx came again, so does its ACK.
                return self.acknowledge(id, response);
            }
            return self.end_fork(now, id, from, response, answered);
        };
        let cancelled = *cancel != Cancel::No;
        leg.talk.dialog = leg.talk.dialog.answered(response, &answered.to, from, leg.talk.trunk.is_some());
        leg.state = State::Live;
        leg.talk.terms = leg.talk.terms.answered(now, &response.headers);
        leg.heard = now;
        let stream = match (read_answer(response), leg.talk.stream) {
            (Ok(stream), _) => Ok(stream),
            // The answer stood in a provisional response.
            (Err(_), Some(early)) if response.body().is_empty() => Ok(early),
            (Err(error), _) => Err(error),
        };
        self.acknowledge(id, response);
        match stream {
            // RFC 3261 §9.1: the answer crossed our CANCEL. It is taken and hung up.
            _ if cancelled => self.send_bye(now, id, None),
            Ok(stream) => {
                if let Some(leg) = self.legs.get_mut(&id) {
                    leg.talk.stream = Some(stream);
                }
                self.say(id, Event::Answered { leg: id, stream });
            }
            Err(_) => {
                self.say(id, Event::Refused { leg: id, status: 488 });
                self.send_bye(now, id, None);
            }
        }
        self.schedule(id);
    }

    /// RFC 3261 §13.2.2.4: a second phone answered the same INVITE. It gets its ACK, then a BYE.
    pub(super) fn end_fork(
        &mut self,
        now: Moment,
        id: LegId,
        from: SocketAddr,
        response: &Response,
        answered: &vet::Answered<'_>,
    ) {
        let (ack_branch, bye_branch) = (self.dice.next(), self.dice.next());
        let Some(leg) = self.legs.get(&id) else { return };
        let sent_by = self.sent_by(leg.network);
        let cseq = cseq(response).unwrap_or(leg.talk.dialog.local_cseq);
        let mut fork = leg.talk.dialog.answered(response, &answered.to, from, leg.talk.trunk.is_some());
        let hop = fork.hop(leg.network);
        let ack = fork.ack(sent_by.clone(), ack_branch, cseq).writer(Method::Ack).finish(&[]);
        let bye = fork.request(sent_by, bye_branch).writer(Method::Bye).finish(&[]);
        self.send(hop, ack);
        self.clients.send_request(now, Owner::Nobody, hop, ClientKey::of(bye_branch, Method::Bye), bye, &mut self.out);
    }

    /// Refused, or silent to the end. A challenge (401, 407) is a refusal too: nobody gets a proof of a password who did not
    /// register with us.
    pub(super) fn dial_refused(&mut self, id: LegId, status: u16) {
        let Some(Leg { state: State::Dialling { client, .. }, .. }) = self.legs.get(&id) else { return };
        let client = *client;
        self.say(id, Event::Refused { leg: id, status });
        self.remove_leg(id);
        self.declined.insert(id, client);
    }

    /// RFC 3261 §9.1: CANCEL has the INVITE's branch, URI, tags and CSeq number and goes the same way.
    pub(super) fn send_cancel(&mut self, now: Moment, id: LegId, reason: Option<HangUpReason>) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let State::Dialling { client, head, cancel, .. } = &mut leg.state else { return };
        *cancel = Cancel::Sent(reason);
        let mut writer = head.writer(Method::Cancel);
        if let Some(reason) = reason {
            writer.field("Reason", reason.field());
        }
        let hop = Hop { network: leg.network, to: leg.talk.dialog.peer };
        let RequestHead { branch, .. } = **head;
        // RFC 3261 §9.1: a phone that never says 487 is given up after 64·T1.
        self.clients.end_by(*client, now + PATIENCE);
        self.clients.send_request(
            now,
            Owner::Nobody,
            hop,
            ClientKey::of(branch, Method::Cancel),
            writer.finish(&[]),
            &mut self.out,
        );
    }
}

/// The bytes of an INVITE; `rest` are those behind its head and the session timer it asks for.
pub(super) fn invite(head: &RequestHead, asked_s: Option<u32>, min_se_s: u32, rest: &[u8]) -> Vec<u8> {
    let mut writer = head.writer(Method::Invite);
    session_timer::ask(&mut writer, asked_s, min_se_s);
    [writer.so_far(), rest].concat()
}

fn read_answer(response: &Response) -> Result<Stream, SdpError> {
    sdp::accept(&sdp::parse(response.body())?)
}

fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// A display name and the space behind it.
fn quoted(text: &str) -> String {
    let inside: String = one_line(text).chars().filter(|c| !matches!(c, '"' | '\\')).collect();
    format!("\"{inside}\" ")
}
