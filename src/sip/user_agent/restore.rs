//! What is written down of every leg, and how another life of the engine goes on with it.

use super::command::cseq;
use super::leg::{Cancel, Change, Leg, State, Talk, Unacknowledged};
use super::{SIGN_WITHIN, UserAgent};
use crate::clock::Moment;
use crate::ids::LegId;
use crate::sip::HangUpReason;
use crate::sip::message::{Method, Name, Response};
use crate::sip::reply::ReplyHead;
use crate::sip::sdp::Description;
use crate::sip::transaction::client::{Hop, Owner};
use crate::sip::transaction::server::{Key, MergeKey, Refusal};
use crate::sip::uri::NameAddr;
use crate::sip::vet;
use crate::sip::via::MAGIC_COOKIE;
use crate::stream::Direction;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use thiserror::Error;

/// Counts changes of the record's shape; one of another shape is not read.
const SHAPE: u8 = 1;

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
}

#[derive(Serialize, Deserialize)]
struct LegRecord {
    talk: Talk,
    silent: bool,
    stage: Stage,
    unacknowledged: Option<Unacknowledged>,
    /// Wanted, or on its way: then it is made again, under a new CSeq number.
    change: Option<(SocketAddr, Direction)>,
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
        /// The INVITE behind these fields, until a provisional response came.
        unheard: Option<Vec<u8>>,
        cancel: Cancel,
    },
    Live,
    /// The ACK before our BYE may be lost with it.
    Ending {
        acknowledged: Option<u32>,
    },
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
        live.chain(self.refused.keys().copied()).filter_map(|id| Some((id, self.record(id)?)))
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
        }
        self.written.insert(id, bytes.to_vec());
        Ok(())
    }

    fn restore_live(&mut self, now: Moment, id: LegId, record: LegRecord) -> Result<(), RestoreLegError> {
        let LegRecord { talk, silent, stage, unacknowledged, change } = record;
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
            Stage::Dialling { branch, unheard, cancel } => {
                let dialog = &talk.dialog;
                let head = dialog.ack(self.sent_by(network), branch, dialog.local_cseq);
                let provisional = unheard.is_none();
                let request = unheard.map(|rest| [head.writer(Method::Invite).so_far(), &rest].concat());
                let hop = Hop { network, to: dialog.peer };
                let client = self.clients.restore_invite(now, Owner::Dial(id), hop, head.clone(), request, &mut self.out);
                if let Cancel::Sent(reason) = cancel {
                    resume = Resume::Cancel(reason);
                }
                State::Dialling { client, head: Box::new(head), provisional, cancel }
            }
            Stage::Live => State::Live,
            Stage::Ending { acknowledged } => {
                resume = Resume::Bye(acknowledged);
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
        self.add_leg(id, leg);
        match resume {
            Resume::Nothing => {}
            Resume::Provisional(body) => self.say_provisional(now, id, &body),
            Resume::Cancel(reason) => self.send_cancel(now, id, reason),
            Resume::Bye(acknowledged) => {
                if let Some(cseq) = acknowledged {
                    self.send_ack(id, cseq);
                }
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

    /// The answered leg in whose dialog the request of this response was sent.
    fn leg_that_asked(&self, response: &Response) -> Option<(LegId, &Leg)> {
        let from = NameAddr::parse(response.headers.get(Name::From)?).ok()?;
        let id = *self.by_tag.get(&u64::from_str_radix(from.tag()?, 16).ok()?)?;
        let leg = self.legs.get(&id).filter(|leg| matches!(leg.state, State::Live | State::Ending))?;
        (response.headers.get(Name::CallId) == Some(leg.talk.dialog.call_id.as_str())).then_some((id, leg))
    }

    fn record(&self, id: LegId) -> Option<Vec<u8>> {
        let record = match self.legs.get(&id) {
            Some(leg) => Record::Leg(Box::new(self.leg_record(leg)?)),
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
            State::Dialling { client, head, cancel, .. } => {
                let request = self.clients.unheard(*client);
                let rest = request.and_then(|request| request.strip_prefix(head.writer(Method::Invite).so_far()));
                Stage::Dialling { branch: head.branch, unheard: rest.map(<[u8]>::to_vec), cancel: *cancel }
            }
            State::Live => Stage::Live,
            State::Ending => Stage::Ending { acknowledged: leg.acknowledged },
        };
        let change = match leg.change {
            Change::None => None,
            Change::Wanted { local, direction, .. } | Change::Sent { next: Some((local, direction)), .. } => {
                Some((local, direction))
            }
            Change::Sent { local, direction, next: None } => Some((local, direction)),
        };
        let (talk, unacknowledged) = (leg.talk.clone(), leg.unacknowledged.clone());
        Some(LegRecord { talk, silent: leg.silent, stage, unacknowledged, change })
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
    Bye(Option<u32>),
}
