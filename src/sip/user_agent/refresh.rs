//! Refreshes of ours, and what becomes of a session without one (RFC 4028 §7.4, §10).

use super::leg::{Change, Refresh};
use super::{UserAgent, abilities};
use crate::clock::Moment;
use crate::ids::LegId;
use crate::sip::message::{Method, Response};
use crate::sip::sdp;
use crate::sip::transaction::client::{ClientKey, Owner};
use crate::stream::Direction;
use std::time::Duration;

/// A refresh that was refused is tried again after so long, until the session ends.
const RETRY: Duration = Duration::from_secs(5);

impl UserAgent {
    /// Ends the leg whose session was not refreshed, refreshes one whose time has come, asks one that is silent.
    pub(super) fn refresh_timeout(&mut self, now: Moment, id: LegId) {
        let Some(leg) = self.legs.get(&id) else { return };
        if leg.session_ends().is_some_and(|ends| ends <= now) {
            self.lose(now, id, 408);
        } else if leg.refresh_at().is_some_and(|at| at <= now) {
            self.send_refresh(now, id);
        } else if leg.probe_at(self.settings.probe_held).is_some_and(|at| at <= now) {
            self.probe(now, id);
        }
    }

    fn send_refresh(&mut self, now: Moment, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.refresh = Refresh::Sent;
        if leg.talk.terms.by_update {
            return self.send_update(now, id);
        }
        leg.change = Change::Refreshing { next: None };
        if leg.described.is_empty() {
            leg.talk.session.version = leg.talk.session.version.saturating_add(1);
            let direction = leg.talk.stream.map_or(Direction::SendRecv, |stream| stream.direction);
            let network = leg.network;
            let local = leg.talk.local.unwrap_or_else(|| self.discard(network));
            let Some(leg) = self.legs.get_mut(&id) else { return };
            leg.described = sdp::offer(local, direction, &leg.talk.session);
        }
        // RFC 3264 §8: the same text under the same version changes nothing.
        let Some(described) = self.legs.get(&id).map(|leg| leg.described.clone()) else { return };
        self.send_reinvite(now, id, Owner::Refresh(id), &described);
    }

    /// RFC 4028 §7.4: an UPDATE need not carry an offer.
    fn send_update(&mut self, now: Moment, id: LegId) {
        let Some((hop, head)) = self.next_request(id) else { return };
        let Some(leg) = self.legs.get(&id) else { return };
        let mut writer = head.writer(Method::Update);
        writer.field("Contact", &leg.talk.dialog.contact).field("User-Agent", &self.settings.product);
        abilities(&mut writer);
        leg.talk.terms.write_request(&mut writer);
        let key = ClientKey::of(head.branch, Method::Update);
        self.clients.send_request(now, Owner::Update(id), hop, key, writer.finish(&[]), &mut self.out);
    }

    /// An answer to our UPDATE.
    pub(super) fn update_heard(&mut self, now: Moment, id: LegId, response: &Response) {
        match response.status {
            100..=199 => {}
            200..=299 => {
                if let Some(leg) = self.legs.get_mut(&id) {
                    leg.talk.dialog.refresh_target(&response.headers);
                }
                self.refreshed(now, id, response);
                self.schedule(id);
            }
            422 if self.lengthen(id, response) => self.refresh_again(now, id, now),
            status => self.refresh_failed(now, id, status),
        }
    }

    /// An answer to our re-INVITE that only refreshes.
    pub(super) fn refresh_heard(&mut self, now: Moment, id: LegId, response: &Response) {
        match response.status {
            100..=199 => {}
            200..=299 => {
                self.acknowledge(id, response);
                let Some(leg) = self.legs.get_mut(&id) else { return };
                // RFC 3261 §13.2.2.4: the 2xx came again, so does its ACK; no more.
                let Change::Refreshing { next } = leg.change else { return };
                leg.talk.dialog.refresh_target(&response.headers);
                leg.change = Change::wanted(now, next);
                self.refreshed(now, id, response);
                if let Ok(stream) = sdp::parse(response.body()).and_then(|answer| sdp::accept(&answer)) {
                    self.stream_is(id, stream);
                }
                self.try_change(now, id);
                self.schedule(id);
            }
            422 if self.lengthen(id, response) => self.refresh_again(now, id, now),
            status => self.refresh_failed(now, id, status),
        }
    }

    pub(super) fn refresh_failed(&mut self, now: Moment, id: LegId, status: u16) {
        match status {
            // RFC 4028 §10: then the dialog is over.
            408 | 481 => self.lose(now, id, status),
            491 => {
                let at = self.after_glare(now, id);
                self.refresh_again(now, id, at);
            }
            405 | 501 if self.legs.get(&id).is_some_and(|leg| leg.talk.terms.by_update) => {
                if let Some(leg) = self.legs.get_mut(&id) {
                    leg.talk.terms.by_update = false;
                }
                self.refresh_again(now, id, now);
            }
            _ => self.refresh_again(now, id, now + RETRY),
        }
    }

    fn refresh_again(&mut self, now: Moment, id: LegId, at: Moment) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.refresh = Refresh::Again(at);
        if let Change::Refreshing { next } = leg.change {
            leg.change = Change::wanted(at, next);
        }
        self.try_change(now, id);
        self.schedule(id);
    }

    /// A 2xx to a re-INVITE or UPDATE of ours: the interval begins anew.
    pub(super) fn refreshed(&mut self, now: Moment, id: LegId, response: &Response) {
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.talk.terms = leg.talk.terms.answered(now, &response.headers);
            leg.refresh = Refresh::Waiting;
        }
    }

    /// Takes the longer interval of a 422, if there is one.
    pub(super) fn lengthen(&mut self, id: LegId, refusal: &Response) -> bool {
        self.legs.get_mut(&id).is_some_and(|leg| leg.talk.terms.lengthen(&refusal.headers))
    }
}
