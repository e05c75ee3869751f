//! The two sides of every leg kept in step: signalling says when, media says where.
//!
//! A leg's media is opened first, because our answer or offer must name its address; what is to be heard on a leg waits until the
//! far end's address is known. No decision is taken here.

use crate::ids::*;
use crate::media::door::MediaCommand;
use crate::pii::Phone;
use crate::sip;
use crate::stream::Stream;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What is to be sent once the journal is written.
#[derive(Default)]
pub struct Acts {
    pub sip: Vec<sip::Command>,
    pub media: Vec<MediaCommand>,
}

#[derive(Default)]
pub struct Legs {
    by_id: BTreeMap<LegId, Leg>,
}

struct Leg {
    call: CallId,
    /// What signalling is to do as soon as media has an address.
    wish: Option<Wish>,
    local: Option<SocketAddr>,
    /// What the two ends agreed, once they did.
    stream: Option<Stream>,
    connected: bool,
    /// Media commands that wait for the far end's address, at most [`Legs::MAX_HELD_BACK`].
    held_back: Vec<MediaCommand>,
    closing: bool,
    /// Files that media has begun and not told the end of.
    recordings: u32,
    /// Media has let the leg go; it is remembered for its recordings only.
    gone: bool,
}

enum Wish {
    Answer,
    Progress,
    Dial { target: sip::Target, caller: Option<Phone>, note: sip::DialNote },
}

impl Legs {
    /// Prompts, bridge and recording asked for before a leg is connected; more than these is a fault of ours and dropped.
    const MAX_HELD_BACK: usize = 16;

    pub fn call_of(&self, leg: LegId) -> Option<CallId> {
        self.by_id.get(&leg).map(|leg| leg.call)
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// What was agreed on this leg and where our side of it stands.
    pub fn agreed(&self, leg: LegId) -> Option<(SocketAddr, Stream)> {
        let leg = self.by_id.get(&leg)?;
        Some((leg.local?, leg.stream?))
    }

    /// Whether the far end has said where it listens.
    pub fn is_offered(&self, leg: LegId) -> bool {
        self.by_id.get(&leg).is_some_and(|leg| leg.stream.is_some())
    }

    /// A citizen's INVITE: its offer, if it had one, is connected as soon as our side is open.
    pub fn invited(&mut self, acts: &mut Acts, leg: LegId, call: CallId, network: String, offer: Option<Stream>) {
        self.open(acts, leg, call, network, None, None, offer);
    }

    /// A leg that we dial, to be bridged with `near`.
    #[allow(clippy::too_many_arguments)] // one leg, all it needs, at one place
    pub fn dial(
        &mut self,
        acts: &mut Acts,
        leg: LegId,
        call: CallId,
        network: String,
        near: LegId,
        target: sip::Target,
        caller: Option<Phone>,
        note: sip::DialNote,
    ) {
        self.open(acts, leg, call, network, Some(near), Some(Wish::Dial { target, caller, note }), None);
    }

    #[allow(clippy::too_many_arguments)]
    fn open(
        &mut self,
        acts: &mut Acts,
        leg: LegId,
        call: CallId,
        network: String,
        near: Option<LegId>,
        wish: Option<Wish>,
        stream: Option<Stream>,
    ) {
        acts.media.push(MediaCommand::Open { leg, network, near, at: None });
        let new = Leg {
            call,
            wish,
            local: None,
            stream,
            connected: false,
            held_back: Vec::new(),
            closing: false,
            recordings: 0,
            gone: false,
        };
        self.by_id.insert(leg, new);
    }

    pub fn answer(&mut self, acts: &mut Acts, leg: LegId) {
        self.wish(acts, leg, Wish::Answer);
    }

    pub fn early_media(&mut self, acts: &mut Acts, leg: LegId) {
        self.wish(acts, leg, Wish::Progress);
    }

    fn wish(&mut self, acts: &mut Acts, id: LegId, wish: Wish) {
        if let Some(leg) = self.by_id.get_mut(&id) {
            match leg.local {
                Some(local) => acts.sip.push(fulfil(id, wish, local)),
                None => leg.wish = Some(wish),
            }
        }
    }

    /// Media has an address for the leg.
    pub fn opened(&mut self, acts: &mut Acts, id: LegId, local: SocketAddr) {
        let Some(leg) = self.by_id.get_mut(&id) else { return };
        leg.local = Some(local);
        if let Some(wish) = leg.wish.take() {
            acts.sip.push(fulfil(id, wish, local));
        }
        if let Some(stream) = leg.stream {
            self.agreed_on(acts, id, stream);
        }
    }

    /// The two ends agreed (anew).
    pub fn agreed_on(&mut self, acts: &mut Acts, id: LegId, stream: Stream) {
        let Some(leg) = self.by_id.get_mut(&id) else { return };
        leg.stream = Some(stream);
        if leg.closing || leg.local.is_none() {
            return;
        }
        leg.connected = true;
        acts.media.push(MediaCommand::Connect { leg: id, stream, learn: true });
        for command in std::mem::take(&mut leg.held_back) {
            leg.tell(acts, command);
        }
    }

    /// Something to hear on (or from) this leg.
    pub fn media(&mut self, acts: &mut Acts, id: LegId, command: MediaCommand) {
        match self.by_id.get_mut(&id) {
            Some(leg) if leg.connected => leg.tell(acts, command),
            Some(leg) if leg.held_back.len() < Self::MAX_HELD_BACK => leg.held_back.push(command),
            Some(_) | None => tracing::error!(leg = %id, "media command for a leg that is not connected dropped"),
        }
    }

    /// The leg's signalling is over: so is its media.
    pub fn close(&mut self, acts: &mut Acts, id: LegId) {
        if let Some(leg) = self.by_id.get_mut(&id)
            && !leg.closing
        {
            leg.closing = true;
            leg.connected = false;
            leg.wish = None;
            leg.held_back.clear();
            acts.media.push(MediaCommand::Close { leg: id });
        }
    }

    /// Media has let the leg go (or could not open it). Its recording may be told of later: files end on a thread of their own.
    pub fn closed(&mut self, id: LegId) {
        if let Some(leg) = self.by_id.get_mut(&id) {
            leg.gone = true;
            self.forget_if_over(id);
        }
    }

    /// A file of this leg has come to its end, well or not: one word of media for each that was begun.
    pub fn recorded(&mut self, id: LegId) {
        if let Some(leg) = self.by_id.get_mut(&id) {
            leg.recordings = leg.recordings.saturating_sub(1);
            self.forget_if_over(id);
        }
    }

    fn forget_if_over(&mut self, id: LegId) {
        if self.by_id.get(&id).is_some_and(|leg| leg.gone && leg.recordings == 0) {
            self.by_id.remove(&id);
        }
    }
}

impl Leg {
    fn tell(&mut self, acts: &mut Acts, command: MediaCommand) {
        if let MediaCommand::Record { .. } = command {
            self.recordings += 1;
        }
        acts.media.push(command);
    }
}

fn fulfil(leg: LegId, wish: Wish, local: SocketAddr) -> sip::Command {
    match wish {
        Wish::Answer => sip::Command::Answer { leg, local },
        Wish::Progress => sip::Command::Progress { leg, local },
        Wish::Dial { target, caller, note } => sip::Command::Dial { leg, target, local, caller, note },
    }
}
