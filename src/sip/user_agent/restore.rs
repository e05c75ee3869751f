//! What is written down of every leg, and how another life of the engine goes on with it.

use super::command::cseq;
use super::leg::{Cancel, Change, Leg, State, Talk, Unacknowledged};
use super::{SIGN_WITHIN, UserAgent, dial};
use crate::clock::Moment;
use crate::ids::LegId;
use crate::sip::HangUpReason;
use crate::sip::message::{Method, Name, Response};
use crate::sip::reply::ReplyHead;
use crate::sip::sdp::Description;
use crate::sip::session_timer::Refresher;
use crate::sip::transaction::client::{Declined, Hop, Owner};
use crate::sip::transaction::server::{Key, MergeKey, Refusal};
use crate::sip::uri::NameAddr;
use crate::sip::vet;
use crate::sip::via::MAGIC_COOKIE;
use crate::stream::Direction;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use thiserror::Error;

/// Counts changes of the record's shape; one of another shape is not read.
const SHAPE: u8 = 2;

#[derive(Debug, Error)]
pub enum RestoreLegError {
    #[error("the record of the leg cannot be read")]
    Unreadable(#[source] postcard::Error),
    #[error("the record of the leg has shape {found}, not {SHAPE}")]
    Shape { found: u8 },
    #[error("the record of the leg is empty")]
    Empty,
    #[error("the leg stands in network `{0}`, which the configuration no longer has")]
    NetworkGone(String),
    #[error("a leg of this id or tag lives already")]
    Known,
}

#[derive(Serialize, Deserialize)]
enum Record {
    Leg(Box<LegRecord>),
    /// Over for us; the far end has not acknowledged the refusal yet.
    Refused {
        network: String,
        refusal: Refusal,
    },
    /// The far end refused; its response may come again.
    Declined {
        network: String,
        declined: Declined,
    },
}

#[derive(Serialize, Deserialize)]
struct LegRecord {
    talk: Talk,
    silent: bool,
    stage: Stage,
    unacknowledged: Option<Unacknowledged>,
    /// Wanted, or on its way: then it is made again, under a new CSeq number.
    change: Option<(SocketAddr, Direction)>,
    /// Our description, if a refresh has to repeat it.
    described: Option<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
enum Stage {
    Invited {
        key: Key,
        reply: ReplyHead,
        offer: Option<Box<Description>>,
        answer: Option<Vec<u8>>,
        cseq: u32,
        status: u16,
    },
    /// The other fields of the INVITE are the dialog's.
    Dialling {
        branch: u64,
        provisional: bool,
        cancel: Cancel,
        asked_s: Option<u32>,
        /// The INVITE behind these fields, as long as it may have to be said again.
        rest: Vec<u8>,
    },
    Live,
    Ending,
}

impl UserAgent {
    /// The next leg whose durable state is another than when this was last asked, with its bytes for [`UserAgent::restore_leg`];
    /// `None` in place of bytes: the leg is gone. Whoever keeps them writes them down before any datagram of
    /// [`UserAgent::poll_transmit`] leaves: then CSeq numbers, tags and descriptions on disk are never behind those on the wire.
    pub fn poll_written(&mut self) -> Option<(LegId, Option<Vec<u8>>)> {
        for leg in self.servers.refusals_over() {
            self.refused.remove(&leg);
            self.legs.touch(leg);
        }
        for client in self.clients.declines_over() {
            let over: Vec<LegId> = self.declined.iter().filter(|(_, known)| **known == client).map(|(leg, _)| *leg).collect();
            for leg in over {
                self.declined.remove(&leg);
                self.legs.touch(leg);
            }
        }
        while let Some(id) = self.legs.next_touched() {
            let record = self.record(id);
            if record.as_ref() == self.written.get(&id) {
                continue;
            }
            match &record {
                Some(bytes) => self.written.insert(id, bytes.clone()),
                None => self.written.remove(&id),
            };
            return Some((id, record));
        }
        None
    }

    /// Every leg's bytes, for a snapshot.
    pub fn all_written(&self) -> impl Iterator<Item = (LegId, Vec<u8>)> {
        let live = self.legs.iter().map(|(id, _)| id);
        let over = self.refused.keys().chain(self.declined.keys()).copied();
        live.chain(over).filter_map(|id| Some((id, self.record(id)?)))
    }

    /// Takes up a leg of a former life, in whatever state it was, and goes on: what may have been lost with that life is sent
    /// again.
    pub fn restore_leg(&mut self, now: Moment, id: LegId, bytes: &[u8]) -> Result<(), RestoreLegError> {
        let (shape, record) = bytes.split_first().ok_or(RestoreLegError::Empty)?;
        if *shape != SHAPE {
            return Err(RestoreLegError::Shape { found: *shape });
        }
        let record = postcard::from_bytes(record).map_err(RestoreLegError::Unreadable)?;
        match record {
            Record::Leg(record) => self.restore_live(now, id, *record)?,
            Record::Refused { network, mut refusal } => {
                if self.legs.contains_key(&id) || self.refused.contains_key(&id) {
                    return Err(RestoreLegError::Known);
                }
                refusal.hop.network = self.network_named(&network)?;
                let server = self.servers.restore_refusal(now, id, refusal, &mut self.out);
                self.refused.insert(id, server);
            }
            Record::Declined { network, mut declined } => {
                if self.legs.contains_key(&id) || self.declined.contains_key(&id) {
                    return Err(RestoreLegError::Known);
                }
                declined.hop.network = self.network_named(&network)?;
                let client = self.clients.restore_declined(now, Owner::Dial(id), declined, &mut self.out);
                self.declined.insert(id, client);
            }
        }
        self.written.insert(id, bytes.to_vec());
        Ok(())
    }

    fn restore_live(&mut self, now: Moment, id: LegId, record: LegRecord) -> Result<(), RestoreLegError> {
        let LegRecord { mut talk, silent, stage, unacknowledged, change, described } = record;
        talk.terms.timer = talk.terms.timer.map(|timer| timer.restored(now));
        let network = self.network_named(&talk.network)?;
        if self.legs.contains_key(&id) || self.by_tag.contains_key(&talk.dialog.local_tag) {
            return Err(RestoreLegError::Known);
        }
        let merge_key = |cseq| Some(MergeKey::from_parts(&talk.dialog.call_id, &talk.dialog.remote_tag, cseq));
        let mut resume = Resume::Nothing;
        let state = match stage {
            Stage::Invited { key, mut reply, offer, answer, cseq, status } => {
                reply.hop.network = network;
                let server = self.servers.start(key, merge_key(cseq), Method::Invite, reply.hop);
                let body = answer.clone().filter(|_| status == PROGRESS).unwrap_or_default();
                resume = Resume::Provisional(body);
                State::Invited { server, reply, offer, answer, cseq, status }
            }
            Stage::Dialling { branch, provisional, cancel, asked_s, rest } => {
                let dialog = &talk.dialog;
                let head = dialog.ack(self.sent_by(network), branch, dialog.local_cseq);
                let request = (!provisional).then(|| dial::invite(&head, asked_s, talk.terms.min_se_s, &rest));
                let hop = Hop { network, to: dialog.peer };
                let client = self.clients.restore_invite(now, Owner::Dial(id), hop, head.clone(), request, &mut self.out);
                if let Cancel::Sent(reason) = cancel {
                    resume = Resume::Cancel(reason);
                }
                State::Dialling { client, head: Box::new(head), provisional, cancel, asked_s, rest }
            }
            Stage::Live => State::Live,
            Stage::Ending => {
                resume = Resume::Bye;
                State::Live
            }
        };
        if let Some(waiting) = &unacknowledged {
            let hop = Hop { network, ..waiting.hop };
            let merge_key = merge_key(waiting.cseq).filter(|_| waiting.initial);
            self.servers.restore_accepted(now, waiting.key.clone(), merge_key, hop);
        }
        let mut leg = Leg::new(network, state, talk);
        leg.silent = silent;
        leg.sign_by = Some(now + SIGN_WITHIN);
        leg.unacknowledged = unacknowledged.map(|waiting| waiting.restored(now, network));
        leg.change = change.map_or(Change::None, |(local, direction)| Change::Wanted { at: now, local, direction });
        (leg.described, leg.heard) = (described.unwrap_or_default(), now);
        self.add_leg(id, leg);
        match resume {
            Resume::Nothing => {}
            Resume::Provisional(body) => self.say_provisional(now, id, &body),
            Resume::Cancel(reason) => self.send_cancel(now, id, reason),
            Resume::Bye => {
                // The ACK of the answer that we hung up on may be lost with the BYE.
                self.acknowledge_again(id);
                self.send_bye(now, id, None);
            }
        }
        Ok(())
    }

    /// A response whose request a former life sent. A leg is known by our tag in From, so a final response to an INVITE still
    /// gets the ACK without which the far end would repeat it, and at last hang up (RFC 3261 §13.2.2.4, §13.3.1.4).
    pub(super) fn hear_unknown(&mut self, now: Moment, from: SocketAddr, response: &Response, answered: &vet::Answered<'_>) {
        self.counters.dropped += 1;
        let Some((id, leg)) = self.leg_that_asked(response).filter(|_| answered.method == Method::Invite) else { return };
        let is_ours = answered.to.tag().unwrap_or_default() == leg.talk.dialog.remote_tag;
        match response.status {
            ..=199 => {}
            // Another INVITE of this call is on its way.
            200..=299 if !matches!(leg.state, State::Live | State::Ending) => {}
            200..=299 if is_ours => self.acknowledge(id, response),
            200..=299 => self.end_fork(now, id, from, response, answered),
            300.. => {
                let branch = answered.branch.strip_prefix(MAGIC_COOKIE).and_then(|hex| u64::from_str_radix(hex, 16).ok());
                let (Some(branch), Some(cseq)) = (branch, cseq(response)) else { return };
                let to = response.headers.get(Name::To).unwrap_or_default();
                let ack = leg.talk.dialog.ack(self.sent_by(leg.network), branch, cseq).ack(to);
                self.send(leg.hop(), ack);
            }
        }
    }

    /// The leg in whose dialog the request of this response was sent.
    fn leg_that_asked(&self, response: &Response) -> Option<(LegId, &Leg)> {
        let from = NameAddr::parse(response.headers.get(Name::From)?).ok()?;
        let id = *self.by_tag.get(&u64::from_str_radix(from.tag()?, 16).ok()?)?;
        let leg = self.legs.get(&id)?;
        (response.headers.get(Name::CallId) == Some(leg.talk.dialog.call_id.as_str())).then_some((id, leg))
    }

    fn record(&self, id: LegId) -> Option<Vec<u8>> {
        let record = match self.legs.get(&id) {
            Some(leg) => Record::Leg(Box::new(self.leg_record(leg)?)),
            None if self.declined.contains_key(&id) => {
                let declined = self.clients.declined(*self.declined.get(&id)?)?;
                Record::Declined { network: self.network(declined.hop.network)?.name.clone(), declined }
            }
            None => {
                let refusal = self.servers.refusal(*self.refused.get(&id)?)?;
                Record::Refused { network: self.network(refusal.hop.network)?.name.clone(), refusal }
            }
        };
        postcard::to_extend(&record, vec![SHAPE]).ok()
    }

    fn leg_record(&self, leg: &Leg) -> Option<LegRecord> {
        let stage = match &leg.state {
            State::Invited { server, reply, offer, answer, cseq, status } => Stage::Invited {
                key: self.servers.key(*server)?.clone(),
                reply: reply.clone(),
                offer: offer.clone(),
                answer: answer.clone(),
                cseq: *cseq,
                status: *status,
            },
            State::Dialling { head, provisional, cancel, asked_s, rest, .. } => Stage::Dialling {
                branch: head.branch,
                provisional: *provisional,
                cancel: *cancel,
                asked_s: *asked_s,
                // Only a 422 makes one that was heard be said again.
                rest: if *provisional && asked_s.is_none() { Vec::new() } else { rest.clone() },
            },
            State::Live => Stage::Live,
            State::Ending => Stage::Ending,
        };
        let change = match leg.change {
            Change::None => None,
            Change::Refreshing { next } => next,
            Change::Wanted { local, direction, .. } | Change::Sent { next: Some((local, direction)), .. } => {
                Some((local, direction))
            }
            Change::Sent { local, direction, next: None } => Some((local, direction)),
        };
        let (talk, unacknowledged) = (leg.talk.clone(), leg.unacknowledged.clone());
        // An UPDATE refreshes without it.
        let repeats = !talk.terms.by_update && talk.terms.timer.is_some_and(|timer| timer.refresher == Refresher::Us);
        let described = repeats.then(|| leg.described.clone());
        Some(LegRecord { talk, silent: leg.silent, stage, unacknowledged, change, described })
    }

    fn network_named(&self, name: &str) -> Result<usize, RestoreLegError> {
        self.directory.network(name).ok_or_else(|| RestoreLegError::NetworkGone(name.to_owned()))
    }
}

/// 183, the provisional response that carries our answer.
const PROGRESS: u16 = 183;

/// What a leg that is taken up says first.
enum Resume {
    Nothing,
    Provisional(Vec<u8>),
    Cancel(Option<HangUpReason>),
    Bye,
}
