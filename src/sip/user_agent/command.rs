//! What the call wants of a leg: ring, answer, refuse, hang up, change.

use super::leg::{Cancel, Change, Leg, State, Talk, Unacknowledged};
use super::{UserAgent, abilities};
use crate::clock::Moment;
use crate::ids::LegId;
use crate::sip::message::{Method, Name, Response};
use crate::sip::transaction::client::{ClientKey, Owner};
use crate::sip::{Event, HangUpReason, sdp};
use crate::stream::Direction;
use std::net::SocketAddr;
use std::time::Duration;

/// RFC 3261 §14.1: after a 491 the side that chose the Call-ID waits 2.1–4 s, the other 0–2 s, in steps of 10 ms.
const GLARE_STEP: Duration = Duration::from_millis(10);

impl UserAgent {
    pub(super) fn ring(&mut self, now: Moment, id: LegId) {
        self.provisional(now, id, 180, None);
    }

    /// A caller without an offer can only be told to wait: a 183 may not offer without 100rel (RFC 3261 §13.2.1).
    pub(super) fn progress(&mut self, now: Moment, id: LegId, local: SocketAddr) {
        self.provisional(now, id, 183, Some(local));
    }

    fn provisional(&mut self, now: Moment, id: LegId, status: u16, local: Option<SocketAddr>) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let answer = match local {
            Some(local) => leg.answer_offer(local),
            None => Some(Vec::new()),
        };
        let (State::Invited { status: last, .. }, Some(body)) = (&mut leg.state, answer) else { return };
        *last = status;
        self.say_provisional(now, id, &body);
    }

    /// Sends the last provisional status.
    pub(super) fn say_provisional(&mut self, now: Moment, id: LegId, body: &[u8]) {
        let Some(Leg { state: State::Invited { server, reply, status, .. }, talk, .. }) = self.legs.get(&id) else { return };
        let (server, status) = (*server, *status);
        // RFC 3261 §8.2.6.1: 100 has no To tag of ours.
        let mut writer = if status == 100 { reply.trying() } else { reply.writer(status, talk.dialog.local_tag) };
        if status > 100 {
            writer.field("Contact", &talk.dialog.contact);
        }
        if !body.is_empty() {
            writer.field("Content-Type", "application/sdp");
        }
        let response = self.finish(writer, body);
        self.servers.respond(now, server, status, response, &mut self.out);
    }

    pub(super) fn answer(&mut self, now: Moment, id: LegId, local: SocketAddr) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let answer = leg.answer_offer(local);
        let State::Invited { server, reply, offer, cseq, .. } = &leg.state else { return };
        let (server, offers, hop, cseq) = (*server, offer.is_none(), reply.hop, *cseq);
        let Some(key) = self.servers.key(server).cloned() else { return };
        let body = match answer {
            Some(answer) if !offers => answer,
            // RFC 3264 §5: who invited without an offer gets ours.
            Some(_) | None => sdp::offer(local, Direction::SendRecv, &leg.talk.session),
        };
        leg.talk.local = Some(local);
        let mut writer = reply.writer(200, leg.talk.dialog.local_tag);
        writer.field("Contact", &leg.talk.dialog.contact);
        abilities(&mut writer);
        leg.talk.terms.write_answer(&mut writer);
        writer.field("Content-Type", "application/sdp");
        let response = self.finish(writer, &body);
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.talk.terms.timer = leg.talk.terms.timer.map(|timer| timer.begun(now));
            (leg.described, leg.heard) = (body, now);
            leg.unacknowledged = Some(Unacknowledged::new(now, hop, key, response.clone(), cseq, offers, true));
            leg.state = State::Live;
        }
        self.by_server.remove(&server);
        self.servers.respond(now, server, 200, response, &mut self.out);
        self.schedule(id);
    }

    pub(super) fn reject(&mut self, now: Moment, id: LegId, status: u16, retry_after: Option<Duration>) {
        let Some(leg) = self.legs.get(&id) else { return };
        let State::Invited { server, reply, .. } = &leg.state else { return };
        // A refusal is final: anything else would leave the caller without one.
        let (server, status) = (*server, if (300..700).contains(&status) { status } else { 500 });
        let mut writer = reply.writer(status, leg.talk.dialog.local_tag);
        if let Some(after) = retry_after {
            writer.field("Retry-After", after.as_secs().to_string());
        }
        let response = self.finish(writer, &[]);
        self.servers.respond(now, server, status, response, &mut self.out);
        self.remove_leg(id);
        self.servers.refused(server, id);
        self.refused.insert(id, server);
    }

    /// The call's last word about a leg: no event follows.
    pub(super) fn hang_up(&mut self, now: Moment, id: LegId, reason: Option<HangUpReason>) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.silent = true;
        match &mut leg.state {
            State::Invited { .. } => self.reject(now, id, 480, None),
            State::Dialling { provisional: true, cancel: Cancel::No, .. } => self.send_cancel(now, id, reason),
            State::Dialling { cancel, .. } if *cancel == Cancel::No => *cancel = Cancel::Wanted(reason),
            State::Live => match &mut leg.unacknowledged {
                // RFC 3261 §15: the called side may not send BYE before the ACK of its 2xx.
                Some(unacknowledged) => unacknowledged.then_bye = true,
                None => self.send_bye(now, id, reason),
            },
            State::Dialling { .. } | State::Ending => {}
        }
    }

    /// BYE; the leg stays until it is answered, so that a BYE that crosses it finds a dialog.
    pub(super) fn send_bye(&mut self, now: Moment, id: LegId, reason: Option<HangUpReason>) {
        let Some((hop, head)) = self.next_request(id) else { return };
        let mut writer = head.writer(Method::Bye);
        if let Some(reason) = reason {
            writer.field("Reason", reason.field());
        }
        writer.field("User-Agent", &self.settings.product);
        self.clients.send_request(
            now,
            Owner::Bye(id),
            hop,
            ClientKey::of(head.branch, Method::Bye),
            writer.finish(&[]),
            &mut self.out,
        );
        if let Some(leg) = self.legs.get_mut(&id) {
            (leg.state, leg.silent, leg.unacknowledged, leg.change) = (State::Ending, true, None, Change::None);
        }
        self.schedule(id);
    }

    pub(super) fn probe(&mut self, now: Moment, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| matches!(leg.state, State::Live)) else { return };
        // The answer, or its absence, says more than another question would.
        leg.heard = now;
        let Some((hop, head)) = self.next_request(id) else { return };
        let request = head.writer(Method::Options).finish(&[]);
        self.clients.send_request(
            now,
            Owner::Probe(id),
            hop,
            ClientKey::of(head.branch, Method::Options),
            request,
            &mut self.out,
        );
    }

    /// Wishes that come while one is on its way replace each other: only the last matters.
    pub(super) fn change(&mut self, now: Moment, id: LegId, local: SocketAddr, direction: Direction) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| matches!(leg.state, State::Live)) else { return };
        match &mut leg.change {
            Change::Sent { next, .. } | Change::Refreshing { next } => *next = Some((local, direction)),
            Change::None | Change::Wanted { .. } => leg.change = Change::Wanted { at: now, local, direction },
        }
        self.try_change(now, id);
        self.schedule(id);
    }

    /// Sends the re-INVITE that is wanted, if its time has come and the way is free.
    pub(super) fn try_change(&mut self, now: Moment, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.is_free()) else { return };
        let Change::Wanted { at, local, direction } = leg.change else { return };
        if at > now {
            return;
        }
        leg.talk.session.version = leg.talk.session.version.saturating_add(1);
        leg.change = Change::Sent { local, direction, next: None };
        let offer = sdp::offer(local, direction, &leg.talk.session);
        self.send_reinvite(now, id, Owner::Change(id), &offer);
    }

    pub(super) fn send_reinvite(&mut self, now: Moment, id: LegId, owner: Owner, offer: &[u8]) {
        let Some((hop, head)) = self.next_request(id) else { return };
        let Some(Talk { dialog, terms, .. }) = self.legs.get(&id).map(|leg| &leg.talk) else { return };
        let mut writer = head.writer(Method::Invite);
        writer.field("Contact", &dialog.contact).field("User-Agent", &self.settings.product);
        abilities(&mut writer);
        terms.write_request(&mut writer);
        writer.field("Content-Type", "application/sdp");
        self.clients.send_invite(now, owner, hop, head, writer.finish(offer), &mut self.out);
    }

    pub(super) fn change_heard(&mut self, now: Moment, id: LegId, response: &Response) {
        match response.status {
            100..=199 => {}
            200..=299 => self.change_accepted(now, id, response),
            422 if self.lengthen(id, response) => self.change_again(now, id, now),
            status => self.change_failed(now, id, status),
        }
    }

    fn change_accepted(&mut self, now: Moment, id: LegId, response: &Response) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Change::Sent { local, direction, next } = leg.change else {
            // RFC 3261 §13.2.2.4: the 2xx came again, so does its ACK.
            self.acknowledge(id, response);
            return;
        };
        leg.talk.dialog.refresh_target(&response.headers);
        leg.talk.local = Some(local);
        leg.described = sdp::offer(local, direction, &leg.talk.session);
        leg.change = Change::wanted(now, next);
        self.refreshed(now, id, response);
        self.acknowledge(id, response);
        // An answer that cannot be met leaves the stream as it was.
        if let Ok(stream) = sdp::parse(response.body()).and_then(|answer| sdp::accept(&answer)) {
            self.stream_is(id, stream);
        }
        self.try_change(now, id);
        self.schedule(id);
    }

    pub(super) fn change_failed(&mut self, now: Moment, id: LegId, status: u16) {
        if matches!(status, 408 | 481) {
            return self.lose(now, id, status);
        }
        if status == 491 {
            let at = self.after_glare(now, id);
            return self.change_again(now, id, at);
        }
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Change::Sent { next, .. } = leg.change else { return };
        leg.change = Change::wanted(now, next);
        self.try_change(now, id);
        self.schedule(id);
    }

    /// The change that was refused, or what was asked for meanwhile.
    fn change_again(&mut self, now: Moment, id: LegId, at: Moment) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Change::Sent { local, direction, next } = leg.change else { return };
        leg.change = Change::wanted(at, next.or(Some((local, direction))));
        self.try_change(now, id);
        self.schedule(id);
    }

    /// When a request of ours may be made again that met one of the far end's.
    pub(super) fn after_glare(&mut self, now: Moment, id: LegId) -> Moment {
        let step = u32::try_from(self.dice.next() % 200).unwrap_or_default();
        let called = self.legs.get(&id).is_some_and(|leg| leg.talk.dialog.remote_cseq.is_some());
        let first = if called { Duration::ZERO } else { Duration::from_millis(2100) };
        now + first + GLARE_STEP.saturating_mul(step)
    }

    /// Sends the ACK of a 2xx to an INVITE of ours.
    pub(super) fn acknowledge(&mut self, id: LegId, response: &Response) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.talk.acknowledged = cseq(response).or(Some(leg.talk.dialog.local_cseq));
        self.acknowledge_again(id);
    }

    pub(super) fn acknowledge_again(&mut self, id: LegId) {
        let branch = self.dice.next();
        let Some(leg) = self.legs.get(&id) else { return };
        let (dialog, hop) = (&leg.talk.dialog, leg.hop());
        let Some(cseq) = leg.talk.acknowledged else { return };
        let ack = dialog.ack(self.sent_by(leg.network), branch, cseq).writer(Method::Ack).finish(&[]);
        self.send(hop, ack);
    }

    /// Says a stream that differs from the last one.
    pub(super) fn stream_is(&mut self, id: LegId, stream: crate::stream::Stream) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if leg.talk.stream != Some(stream) {
            leg.talk.stream = Some(stream);
            self.say(id, Event::Changed { leg: id, stream });
        }
    }
}

impl Change {
    pub(super) fn wanted(at: Moment, next: Option<(SocketAddr, Direction)>) -> Self {
        next.map_or(Change::None, |(local, direction)| Change::Wanted { at, local, direction })
    }
}

/// The number in CSeq: of the request that a response answers.
pub(super) fn cseq(response: &Response) -> Option<u32> {
    response.headers.get(Name::CSeq)?.split([' ', '\t']).next()?.parse().ok()
}

impl HangUpReason {
    pub(super) fn field(self) -> &'static str {
        match self {
            // RFC 3326 §2: the phone counts no missed call.
            HangUpReason::CompletedElsewhere => r#"SIP;cause=200;text="Call completed elsewhere""#,
        }
    }
}

impl Leg {
    /// Our answer to the caller's offer, made once: 183 and 200 of one INVITE carry the same (RFC 3261 §13.2.1). Empty if there was
    /// no offer; `None` if the leg is not one to answer.
    fn answer_offer(&mut self, local: SocketAddr) -> Option<Vec<u8>> {
        let State::Invited { offer, answer, .. } = &mut self.state else { return None };
        let Some(offer) = offer else { return Some(Vec::new()) };
        if let Some(answer) = answer {
            return Some(answer.clone());
        }
        let (made, stream) = sdp::answer(offer, local, &self.talk.session).ok()?;
        (self.talk.local, self.talk.stream) = (Some(local), Some(stream));
        *answer = Some(made.clone());
        Some(made)
    }
}
