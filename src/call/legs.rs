//! The two sides of every leg kept in step: signalling says when, media says where.
//!
//! A table of what each leg is to be: where it stands, what was agreed, what its far end hears, what is recorded. Media is told
//! what changes. When media is attached anew (it was started again, or we were), what it has is compared with the table and the
//! difference is told: nothing else is needed to go on. No decision is taken here.

use crate::clock::Moment;
use crate::ids::*;
use crate::media::door::{Hears, LegReport, MediaCommand};
use crate::pii::Phone;
use crate::sip;
use crate::stream::Stream;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// What is to be sent once the journal is written.
#[derive(Default)]
pub struct Acts {
    pub sip: Vec<sip::Command>,
    pub media: Vec<MediaCommand>,
}

#[derive(Default)]
pub struct Legs {
    by_id: BTreeMap<LegId, Leg>,
    /// Media listens; otherwise it is told everything when it attaches.
    attached: bool,
    /// Changed since they were last written down.
    changed: BTreeSet<LegId>,
}

/// Written down at every change, so that the next life has the same table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Leg {
    call: CallId,
    network: String,
    /// The leg it will be bridged with.
    near: Option<LegId>,
    /// The citizen's number, on the citizen's leg.
    caller: Option<Phone>,
    /// What signalling is to do as soon as media has an address.
    wish: Option<Wish>,
    local: Option<Local>,
    /// What the two ends agreed, once they did.
    stream: Option<Stream>,
    hears: Hears,
    recording: Option<Recording>,
    /// Signalling is over; media is asked to let go.
    closing: bool,
    /// Files that media has begun and not told the end of.
    files: BTreeSet<String>,
    /// Media has let the leg go; it is remembered for its files only.
    gone: bool,
    /// The last key pressed, how it came, and when.
    #[serde(skip)]
    key: Option<(char, Way, Moment)>,
    /// Media has the leg open and knows what was agreed. True for no leg of a media that is not attached.
    #[serde(skip)]
    connected: bool,
}

/// How a key reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// RFC 4733.
    Media,
    /// SIP INFO.
    Signalling,
}

/// Where our side of a leg stands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Local {
    bound: SocketAddr,
    /// What the far end is told; another address behind a NAT.
    shown: SocketAddr,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Recording {
    file: String,
    paused: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Wish {
    Answer,
    Progress,
    Dial { target: sip::Target, caller: Option<Phone>, note: sip::DialNote },
}

impl Legs {
    /// A table of a former life, of which media is still to say what it has.
    pub fn restore<'a>(kept: impl Iterator<Item = (LegId, &'a [u8])>) -> Legs {
        let mut legs = Legs::default();
        for (id, state) in kept {
            match postcard::from_bytes(state) {
                Ok(leg) => drop(legs.by_id.insert(id, leg)),
                Err(error) => tracing::error!(leg = %id, %error, "a leg of the former life cannot be read"),
            }
        }
        legs
    }

    /// Legs that changed since this was last asked, each once, as they are now; `None` = gone.
    pub fn poll_written(&mut self) -> Option<(LegId, Option<Vec<u8>>)> {
        let id = self.changed.pop_first()?;
        Some((id, self.written(id)))
    }

    /// As it would be written down now.
    pub fn written(&self, id: LegId) -> Option<Vec<u8>> {
        self.by_id.get(&id).and_then(|leg| postcard::to_stdvec(leg).ok())
    }

    /// It is to be written down though it did not change.
    pub fn write_again(&mut self, id: LegId) {
        self.changed.insert(id);
    }

    pub fn ids(&self) -> impl Iterator<Item = LegId> {
        self.by_id.keys().copied()
    }

    pub fn call_of(&self, leg: LegId) -> Option<CallId> {
        self.by_id.get(&leg).map(|leg| leg.call)
    }

    pub fn caller_of(&self, leg: LegId) -> Option<Phone> {
        self.by_id.get(&leg)?.caller.clone()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// What was agreed on this leg.
    pub fn stream(&self, leg: LegId) -> Option<Stream> {
        self.by_id.get(&leg)?.stream
    }

    /// Signalling is still to be told something about this leg, as soon as media has an address.
    pub fn waits_for_media(&self, leg: LegId) -> bool {
        self.by_id.get(&leg).is_some_and(|leg| !leg.closing && leg.local.is_none())
    }

    pub fn is_closing(&self, leg: LegId) -> bool {
        self.by_id.get(&leg).is_some_and(|leg| leg.closing)
    }

    pub fn media_is_attached(&self) -> bool {
        self.attached
    }

    /// False if this is the last key once more, by the other way: some exchanges say a key in both.
    pub fn is_new_key(&mut self, id: LegId, key: char, way: Way, now: Moment) -> bool {
        /// A finger does not press one key twice in it by two ways; an INFO may be late by a retransmission.
        const TOGETHER: Duration = Duration::from_millis(1_000);
        let Some(leg) = self.by_id.get_mut(&id) else { return false };
        let echo = leg.key.is_some_and(|(last, by, at)| last == key && by != way && now.since(at) <= TOGETHER);
        // Its echo told, the same key by either way is a press of its own.
        leg.key = (!echo).then_some((key, way, now));
        !echo
    }

    /// A citizen's INVITE: its offer, if it had one, is connected as soon as our side is open.
    pub fn invited(
        &mut self,
        acts: &mut Acts,
        leg: LegId,
        call: CallId,
        network: String,
        caller: Option<Phone>,
        offer: Option<Stream>,
    ) {
        self.open(acts, leg, Leg { caller, stream: offer, ..Leg::new(call, network) });
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
        let wish = Some(Wish::Dial { target, caller, note });
        self.open(acts, leg, Leg { near: Some(near), wish, ..Leg::new(call, network) });
    }

    fn open(&mut self, acts: &mut Acts, id: LegId, leg: Leg) {
        if self.attached {
            acts.media.push(leg.opening(id));
        }
        self.by_id.insert(id, leg);
        self.changed.insert(id);
    }

    pub fn answer(&mut self, acts: &mut Acts, leg: LegId) {
        self.wish(acts, leg, Wish::Answer);
    }

    pub fn early_media(&mut self, acts: &mut Acts, leg: LegId) {
        self.wish(acts, leg, Wish::Progress);
    }

    fn wish(&mut self, acts: &mut Acts, id: LegId, wish: Wish) {
        let Some(leg) = self.by_id.get_mut(&id) else { return };
        match leg.local {
            Some(local) => acts.sip.push(fulfil(id, wish, local.shown)),
            None => {
                leg.wish = Some(wish);
                self.changed.insert(id);
            }
        }
    }

    /// Media has the leg open at `bound`, which the far end finds under `shown`.
    pub fn opened(&mut self, acts: &mut Acts, id: LegId, bound: SocketAddr, shown: SocketAddr) {
        let Some(leg) = self.by_id.get_mut(&id) else { return };
        let before = leg.local.replace(Local { bound, shown });
        if before != leg.local {
            self.changed.insert(id);
        }
        if leg.closing {
            return;
        }
        if let Some(wish) = leg.wish.take() {
            acts.sip.push(fulfil(id, wish, shown));
        }
        let Some(stream) = leg.stream else { return };
        if before.is_some_and(|before| before.shown != shown) {
            // Its former port could not be had again: the far end is asked to send elsewhere.
            acts.sip.push(sip::Command::Change { leg: id, local: shown, direction: stream.direction });
        }
        self.connect(acts, id);
    }

    /// The two ends agreed (anew).
    pub fn agreed_on(&mut self, acts: &mut Acts, id: LegId, stream: Stream) {
        let Some(leg) = self.by_id.get_mut(&id) else { return };
        if leg.stream.replace(stream) != Some(stream) {
            self.changed.insert(id);
        }
        if self.attached && !leg.closing && leg.local.is_some() {
            if leg.connected {
                acts.media.push(MediaCommand::Connect { leg: id, stream, learn: true });
            } else {
                self.connect(acts, id);
            }
        }
    }

    /// The leg is open and agreed on: its far end hears from here on what it is to hear.
    fn connect(&mut self, acts: &mut Acts, id: LegId) {
        let Some(leg) = self.by_id.get_mut(&id).filter(|_| self.attached) else { return };
        let Some(stream) = leg.stream else { return };
        leg.connected = true;
        acts.media.push(MediaCommand::Connect { leg: id, stream, learn: true });
        if let Some(recording) = leg.recording.clone() {
            recording.tell(acts, id);
        }
        self.tell_hearing(acts, id);
    }

    fn tell_hearing(&self, acts: &mut Acts, id: LegId) {
        let Some(leg) = self.by_id.get(&id).filter(|leg| leg.connected) else { return };
        match &leg.hears {
            Hears::Nothing => {}
            Hears::Plays { play, prompts, repeat } => {
                acts.media.push(MediaCommand::Play { leg: id, play: *play, prompts: prompts.clone(), repeat: *repeat });
            }
            Hears::Bridged { with } => {
                // The bridge stands when both are there; a play of the other side goes on over it.
                let Some(other) = self.by_id.get(with).filter(|other| other.connected) else { return };
                acts.media.push(MediaCommand::Bridge { a: id, b: *with });
                if let Hears::Plays { play, prompts, repeat } = &other.hears {
                    acts.media.push(MediaCommand::Play { leg: *with, play: *play, prompts: prompts.clone(), repeat: *repeat });
                }
            }
        }
    }

    pub fn bridge(&mut self, acts: &mut Acts, a: LegId, b: LegId) {
        for (leg, with) in [(a, b), (b, a)] {
            if let Some(leg) = self.by_id.get_mut(&leg) {
                leg.hears = Hears::Bridged { with };
            }
            self.changed.insert(leg);
        }
        self.tell_hearing(acts, a);
    }

    pub fn play(&mut self, acts: &mut Acts, id: LegId, play: PlayId, prompts: Vec<PromptId>, repeat: bool) {
        self.hears(acts, id, Hears::Plays { play, prompts, repeat });
    }

    pub fn stop_play(&mut self, acts: &mut Acts, id: LegId) {
        self.hears(acts, id, Hears::Nothing);
        if self.by_id.get(&id).is_some_and(|leg| leg.connected) {
            acts.media.push(MediaCommand::StopPlay { leg: id });
        }
    }

    fn hears(&mut self, acts: &mut Acts, id: LegId, hears: Hears) {
        let Some(leg) = self.by_id.get_mut(&id) else { return };
        leg.hears = hears;
        self.changed.insert(id);
        self.tell_hearing(acts, id);
    }

    /// All of this play has been said.
    pub fn play_ended(&mut self, id: LegId, ended: PlayId) {
        if let Some(leg) = self.by_id.get_mut(&id)
            && matches!(leg.hears, Hears::Plays { play, .. } if play == ended)
        {
            leg.hears = Hears::Nothing;
            self.changed.insert(id);
        }
    }

    pub fn record(&mut self, acts: &mut Acts, id: LegId, file: String) {
        let Some(leg) = self.by_id.get_mut(&id) else { return };
        leg.files.insert(file.clone());
        let recording = leg.recording.insert(Recording { file, paused: false }).clone();
        if leg.connected {
            recording.tell(acts, id);
        }
        self.changed.insert(id);
    }

    pub fn pause_record(&mut self, acts: &mut Acts, id: LegId, paused: bool) {
        let Some(leg) = self.by_id.get_mut(&id) else { return };
        let Some(recording) = &mut leg.recording else { return };
        recording.paused = paused;
        if leg.connected {
            acts.media.push(MediaCommand::PauseRecord { leg: id, paused });
        }
        self.changed.insert(id);
    }

    /// The leg's signalling is over: so is its media.
    pub fn close(&mut self, acts: &mut Acts, id: LegId) {
        let Some(leg) = self.by_id.get_mut(&id).filter(|leg| !leg.closing) else { return };
        leg.closing = true;
        leg.connected = false;
        (leg.wish, leg.recording) = (None, None);
        if self.attached {
            acts.media.push(MediaCommand::Close { leg: id });
        }
        self.changed.insert(id);
        if let Hears::Bridged { with } = std::mem::take(&mut leg.hears)
            && let Some(other) = self.by_id.get_mut(&with)
            && other.hears == (Hears::Bridged { with: id })
        {
            other.hears = Hears::Nothing;
            self.changed.insert(with);
        }
    }

    /// Media has let the leg go (or could not open it). Its recording may be told of later: files end on a thread of their own.
    pub fn closed(&mut self, id: LegId) {
        if let Some(leg) = self.by_id.get_mut(&id) {
            (leg.gone, leg.closing) = (true, true);
            self.changed.insert(id);
            self.forget_if_over(id);
        }
    }

    /// A file of this leg has come to its end, well or not: one word of media for each that was begun.
    pub fn recorded(&mut self, id: LegId, file: &str) {
        if let Some(leg) = self.by_id.get_mut(&id) {
            leg.files.remove(file);
            leg.recording.take_if(|recording| recording.file == file);
            self.changed.insert(id);
            self.forget_if_over(id);
        }
    }

    fn forget_if_over(&mut self, id: LegId) {
        if self.by_id.get(&id).is_some_and(|leg| leg.gone && leg.files.is_empty()) {
            self.by_id.remove(&id);
        }
    }

    // ---- media comes and goes ----

    /// Media is gone; what is asked of it waits in the table.
    pub fn detached(&mut self) {
        self.attached = false;
        for leg in self.by_id.values_mut() {
            leg.connected = false;
        }
    }

    /// Media is there and has these legs: it is told the difference to the table. `shown` says under which address the far end
    /// finds ours.
    pub fn attached(&mut self, acts: &mut Acts, reports: Vec<LegReport>, shown: impl Fn(SocketAddr) -> SocketAddr) {
        self.detached();
        self.attached = true;
        let reports: BTreeMap<LegId, LegReport> = reports.into_iter().map(|report| (report.leg, report)).collect();
        for id in reports.keys().filter(|id| !self.by_id.contains_key(id)) {
            acts.media.push(MediaCommand::Close { leg: *id });
        }
        let ids: Vec<LegId> = self.by_id.keys().copied().collect();
        for id in ids {
            match reports.get(&id) {
                Some(report) => self.compare(acts, id, report, shown(report.local)),
                None => self.open_anew(acts, id),
            }
        }
        for (id, report) in &reports {
            if self.by_id.get(id).is_some_and(|leg| leg.connected && leg.hears != report.hears) {
                self.tell_hearing(acts, *id);
            }
        }
    }

    fn compare(&mut self, acts: &mut Acts, id: LegId, report: &LegReport, shown: SocketAddr) {
        let Some(leg) = self.by_id.get_mut(&id) else { return };
        if leg.closing {
            acts.media.push(MediaCommand::Close { leg: id });
            return;
        }
        if report.stream != leg.stream || leg.local.is_none() {
            // It was opened or agreed on, and one side did not hear of it any more.
            return self.opened(acts, id, report.local, shown);
        }
        leg.connected = leg.stream.is_some();
        let recorded = report.recording.as_ref().map(|(file, paused)| (file.as_str(), *paused));
        let wanted = leg.recording.as_ref().map(|recording| (recording.file.as_str(), recording.paused));
        if let Some(recording) = leg.recording.clone().filter(|_| leg.connected && recorded != wanted) {
            recording.tell(acts, id);
        }
        if leg.hears == Hears::Nothing && matches!(report.hears, Hears::Plays { .. }) {
            acts.media.push(MediaCommand::StopPlay { leg: id });
        }
    }

    /// Media knows nothing of this leg: it is opened where it stood, or its files are brought to their end.
    fn open_anew(&mut self, acts: &mut Acts, id: LegId) {
        let Some(leg) = self.by_id.get(&id) else { return };
        if leg.closing {
            let files = leg.files.iter().cloned();
            acts.media.extend(files.map(|file| MediaCommand::FinishRecord { leg: id, file }));
            self.closed(id);
        } else {
            acts.media.push(leg.opening(id));
        }
    }
}

impl Leg {
    fn new(call: CallId, network: String) -> Self {
        Self {
            call,
            network,
            near: None,
            caller: None,
            wish: None,
            local: None,
            stream: None,
            hears: Hears::Nothing,
            recording: None,
            closing: false,
            files: BTreeSet::new(),
            gone: false,
            key: None,
            connected: false,
        }
    }

    fn opening(&self, id: LegId) -> MediaCommand {
        let at = self.local.map(|local| local.bound);
        MediaCommand::Open { leg: id, network: self.network.clone(), near: self.near, at }
    }
}

impl Recording {
    fn tell(self, acts: &mut Acts, leg: LegId) {
        acts.media.push(MediaCommand::Record { leg, file: self.file });
        if self.paused {
            acts.media.push(MediaCommand::PauseRecord { leg, paused: true });
        }
    }
}

fn fulfil(leg: LegId, wish: Wish, local: SocketAddr) -> sip::Command {
    match wish {
        Wish::Answer => sip::Command::Answer { leg, local },
        Wish::Progress => sip::Command::Progress { leg, local },
        Wish::Dial { target, caller, note } => sip::Command::Dial { leg, target, local, caller, note },
    }
}
