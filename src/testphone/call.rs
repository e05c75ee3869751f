//! One call as its phone knows it: who, how far, and what the two descriptions let us send.

use super::audio::{Audio, Far};
use super::message::{Message, Sound, parameter};
use super::{CallState, End, View};
use crate::clock::Moment;
use crate::stream::Direction;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;

pub struct Call {
    pub view: watch::Sender<View>,
    pub audio: Arc<Audio>,
    /// From and To of our requests, tags included.
    pub local: String,
    pub remote: String,
    /// Request-URI of our requests in the dialog, and where they go.
    pub target: String,
    pub peer: SocketAddr,
    pub cseq: u32,
    /// The INVITE that began it, either way.
    pub invite: Message,
    pub outgoing: bool,
    pub codecs: Vec<u8>,
    pub telephone_event: Option<u8>,
    /// What we want the direction to be.
    pub own: Direction,
    pub version: u32,
    /// Hung up before the answer: CANCEL as soon as it is allowed, BYE if a 200 was quicker.
    pub given_up: bool,
    pub planned: Option<(Moment, Planned)>,
    pub ended_at: Option<Moment>,
}

#[derive(Clone, Copy)]
pub enum Planned {
    Answer,
    Reject(u16),
}

impl Call {
    pub fn state(&self) -> CallState {
        self.view.borrow().state
    }

    pub fn set_state(&self, state: CallState) {
        self.view.send_modify(|view| view.state = state);
    }

    pub fn rings_here(&self) -> bool {
        !self.outgoing && self.state() == CallState::Ringing
    }

    pub fn end(&mut self, end: End, now: Moment) {
        if self.ended_at.is_none() {
            self.ended_at = Some(now);
            self.planned = None;
            self.audio.close();
            self.set_state(CallState::Ended(end));
        }
    }

    pub fn note_reason(&self, request: &Message) {
        let reason = request.header("Reason").map(str::to_owned);
        self.view.send_modify(|view| view.reason = reason);
    }

    pub fn local_tag(&self) -> String {
        parameter(&self.local, "tag").unwrap_or_default().to_owned()
    }

    pub fn describe(&mut self, direction: Direction) -> String {
        self.version += 1;
        let codecs: &[u8] = if self.codecs.is_empty() { &[8, 0] } else { &self.codecs };
        Sound::write(self.audio.local, codecs, self.telephone_event, direction, self.version)
    }

    /// Our answer to an offer; an offer of ours if there is none.
    pub fn answer_to(&mut self, offer: &str) -> String {
        let Some(sound) = Sound::parse(offer) else { return self.describe(self.own) };
        self.listen_to(sound);
        self.version += 1;
        let direction = ours_for(sound.direction, self.own);
        Sound::write(self.audio.local, &[sound.payload_type], sound.telephone_event, direction, self.version)
    }

    pub fn listen_to(&self, sound: Sound) {
        let direction = ours_for(sound.direction, self.own);
        // While we hold the far end, it hears nothing from this phone (it has no music).
        let sending = direction.sends() && self.own == Direction::SendRecv && !sound.at.ip().is_unspecified();
        let Sound { at, payload_type, telephone_event, .. } = sound;
        self.audio.send_to(Some(Far { at, payload_type, telephone_event, sending }));
        self.view.send_modify(|view| {
            view.far_direction = sound.direction;
            view.descriptions += 1;
        });
    }
}

impl View {
    pub fn new(state: CallState) -> Self {
        Self { state, far_direction: Direction::SendRecv, descriptions: 0, reason: None }
    }
}

/// RFC 3264 §6.1: we send only if they receive, receive only if they send, and neither beyond what we want.
fn ours_for(theirs: Direction, own: Direction) -> Direction {
    match (theirs.receives() && own.sends(), theirs.sends() && own.receives()) {
        (true, true) => Direction::SendRecv,
        (true, false) => Direction::SendOnly,
        (false, true) => Direction::RecvOnly,
        (false, false) => Direction::Inactive,
    }
}
