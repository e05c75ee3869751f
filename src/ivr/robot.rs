//! One caller with the robot: where they are in the script, what is being said, which keys they have pressed.
//!
//! The node decides what an event means, the step how far the node has come.

use super::script::{Callback, HangUp, Menu, Node, Queue, Say, Script, Transfer};
use super::{Command, Event, is_phone_key, speak};
use crate::clock::Moment;
use crate::facts::{Booking, Fact, Outcome, QueueLeft};
use crate::ids::*;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// All that must outlive a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Caller {
    call: CallId,
    pub(super) version: u32,
    pub(super) node: String,
    step: Step,
    /// When the step ends by itself.
    pub(super) until: Option<Moment>,
    next_play: PlayId,
    /// The prompts being said now.
    playing: Option<PlayId>,
    /// Something is heard: a prompt or music.
    sounding: bool,
    answered: bool,
    recording: bool,
    /// Keys pressed before a menu was there to hear them.
    ahead: VecDeque<char>,
    theme: Option<String>,
    /// The last queue, and its node.
    queue: Option<(QueueId, String)>,
    pub(super) commands: VecDeque<Command>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Step {
    Before,
    /// A notice or an announcement.
    Saying,
    Choosing {
        pressed: String,
        errors: u8,
    },
    AskingHours,
    /// In the queue; `place` is the last announcement, `next` what is to be said after what is being said.
    Waiting {
        place: Vec<PromptId>,
        next: Vec<PromptId>,
    },
    Dialling,
    Done,
    /// What is said before this node: it begins when that is over.
    Returning,
    /// Whether anybody can call is asked.
    Booking,
}

/// A prompt whose end was never reported is over after this time: longer than any prompt, shorter than a citizen's patience.
const LONGEST_PLAY: Duration = Duration::from_secs(120);
/// A calendar that gives no answer in this time counts as open: nobody is turned away by a fault of ours.
const LONGEST_ASK: Duration = Duration::from_secs(2);
/// Between two keys of one extension.
const NEXT_KEY: Duration = Duration::from_secs(3);
/// After an announcement that offers keys, before hanging up.
const LAST_KEY: Duration = Duration::from_secs(5);
/// Keys kept for menus to come: the deepest tree has fewer levels, more is noise.
const MAX_AHEAD: usize = 8;
/// Prompts kept for after the one that is said: who waits wants music, not a lecture.
const MOST_NEXT: usize = 8;
/// Nodes passed in one turn. A checked script has no circles, so it is never reached; if it were, this one call fails.
const MAX_NODES_A_TURN: usize = 1000;

impl Caller {
    pub(super) fn new(call: CallId, script: &Script, first_play: PlayId) -> Self {
        Self {
            call,
            version: script.version,
            node: script.start.value.clone(),
            step: Step::Before,
            until: None,
            next_play: first_play,
            playing: None,
            sounding: false,
            answered: false,
            recording: false,
            ahead: VecDeque::new(),
            theme: None,
            queue: None,
            commands: VecDeque::new(),
        }
    }

    pub(super) fn handle(&mut self, script: &Script, now: Moment, event: Event) {
        match (&self.step, event) {
            (Step::Before, Event::Started) => self.enter(script, now, &script.start.value),
            (Step::Before, Event::Resumed { queue }) => self.resume(script, now, &queue),
            (Step::Before | Step::Done, _) | (_, Event::Started | Event::Resumed { .. }) => {}
            (_, Event::Digit(key)) => self.key(script, now, key),
            (_, Event::PlayEnded(play)) => self.play_ended(script, now, play),
            (_, Event::Hours { open }) => self.hours_told(script, now, open),
            (_, Event::Overflowed { queue, why }) => self.overflowed(script, now, &queue, why),
            (_, Event::RouteFailed { route, end: _ }) => self.route_failed(script, now, &route),
            (_, Event::RouteHeard) => self.quiet(),
            (_, Event::Announce { position, wait, fewer_agents }) => {
                self.announce(now, speak::place(position, wait, fewer_agents));
            }
            (_, Event::CallbackBooked { within }) => self.booked(script, now, within),
            (_, Event::CallbackRefused) => self.not_booked(script, now),
            (_, Event::Stopped) => self.done(),
            (_, Event::Say { prompt }) => self.say_next(now, vec![prompt]),
            (_, Event::Moved { queue: to }) => {
                if let Some((queue, _)) = &mut self.queue {
                    *queue = to;
                }
            }
            (_, Event::PromiseCallback) => self.promise_callback(script, now),
            (_, Event::Routed { queue }) => {
                if self.waits_in(&queue) {
                    self.step = Step::Dialling;
                }
            }
        }
    }

    pub(super) fn handle_timeout(&mut self, script: &Script, now: Moment) {
        if self.until.is_none_or(|until| now < until) {
            return;
        }
        self.until = None;
        if let Some(play) = self.playing {
            return self.play_ended(script, now, play);
        }
        match (&self.step, self.at(script)) {
            (Step::Choosing { pressed, .. }, Some(Node::Menu(menu))) => {
                let sorry = if pressed.is_empty() { &menu.say_silence } else { &menu.say_wrong };
                self.erred(script, now, menu, sorry);
            }
            (Step::AskingHours, _) => self.hours_told(script, now, true),
            (Step::Booking, _) => self.not_booked(script, now),
            (Step::Saying, Some(Node::HangUp(end))) => self.hang_up(end.outcome),
            (Step::Before | Step::Saying | Step::Choosing { .. } | Step::Waiting { .. }, _) => {}
            (Step::Dialling | Step::Done | Step::Returning, _) => {}
        }
    }

    fn at<'s>(&self, script: &'s Script) -> Option<&'s Node> {
        script.nodes.get(&self.node).map(|node| &node.value)
    }
}

/// The way through the tree.
impl Caller {
    fn enter(&mut self, script: &Script, now: Moment, first: &str) {
        let mut next = first;
        for _ in 0..MAX_NODES_A_TURN {
            self.node = next.to_owned();
            self.until = None;
            self.playing = None;
            self.leave_queue(script);
            self.fact(Fact::RobotAtNode {
                call: self.call,
                script: script.id.clone(),
                version: script.version,
                node: self.node.clone(),
            });
            match self.at(script) {
                Some(Node::Goto(goto)) => next = &goto.node.value,
                Some(Node::Notice(notice)) => return self.say(script, now, &notice.say),
                Some(Node::Say(saying)) => return self.say(script, now, &saying.say),
                Some(Node::Menu(menu)) => return self.offer(script, now, menu),
                Some(Node::Hours(hours)) => {
                    self.step = Step::AskingHours;
                    self.until = Some(now + LONGEST_ASK);
                    return self.commands.push_back(Command::AskHours { calendar: hours.calendar.value.clone() });
                }
                Some(Node::Queue(queue)) => return self.queue(now, queue),
                Some(Node::Transfer(transfer)) => return self.transfer(now, transfer),
                Some(Node::HangUp(end)) => return self.say_goodbye(script, now, end),
                Some(Node::Callback(callback)) => return self.book(script, now, callback),
                None => break,
            }
        }
        self.hang_up(Outcome::Failed);
    }

    fn say(&mut self, script: &Script, now: Moment, say: &Say) {
        self.step = Step::Saying;
        self.connect(script.early);
        self.play(now, prompts(say));
    }

    /// A menu is said only to those who have not dialled ahead.
    fn offer(&mut self, script: &Script, now: Moment, menu: &Menu) {
        self.step = Step::Choosing { pressed: String::new(), errors: 0 };
        self.connect(script.early);
        match self.ahead.pop_front() {
            Some(key) => self.press(script, now, menu, key),
            None => self.play(now, prompts(&menu.say)),
        }
    }

    /// Back to where they fell out of the queue: of several nodes with it, to one without a theme.
    fn resume(&mut self, script: &Script, now: Moment, queue: &QueueId) {
        let fits = || script.nodes.iter().filter(|(_, node)| node.value.is_queue(queue)).map(|(name, node)| (name, &node.value));
        let plain = fits().find(|(_, node)| matches!(node, Node::Queue(queue) if queue.theme.is_none()));
        match plain.or_else(|| fits().next()).filter(|_| !script.welcome_back.is_empty()) {
            Some((name, _)) => {
                self.node.clone_from(name);
                self.say(script, now, &script.welcome_back);
                self.step = Step::Returning;
            }
            None => self.enter(script, now, &script.start.value),
        }
    }

    fn book(&mut self, script: &Script, now: Moment, callback: &Callback) {
        let before = self.queue.as_ref().map(|(queue, _)| queue);
        let queue = callback.queue.as_ref().map(|queue| &queue.value).or(before).cloned();
        self.step = Step::Booking;
        let Some(queue) = queue else { return self.not_booked(script, now) };
        self.until = Some(now + LONGEST_ASK);
        self.ahead.clear();
        self.connect(false);
        self.commands.push_back(Command::BookCallback { queue, booking: callback.book });
    }

    fn queue(&mut self, now: Moment, queue: &Queue) {
        self.queue = Some((queue.queue.value.clone(), self.node.clone()));
        self.step = Step::Waiting { place: Vec::new(), next: Vec::new() };
        self.ahead.clear();
        self.connect(false);
        if queue.theme.is_some() && queue.theme != self.theme {
            self.theme.clone_from(&queue.theme);
            self.commands.extend(queue.theme.clone().map(|theme| Command::Fact(Fact::ThemeChosen { call: self.call, theme })));
        }
        if queue.record && !self.recording {
            self.recording = true;
            self.commands.push_back(Command::Record);
        }
        // The search for an agent begins before the first word: who is free need not wait for the robot.
        self.commands.push_back(Command::Enqueue {
            queue: queue.queue.value.clone(),
            priority: queue.priority,
            urgent: queue.urgent,
        });
        self.say_then_music(now, &queue.say, &queue.music.value);
    }

    fn transfer(&mut self, now: Moment, transfer: &Transfer) {
        self.step = Step::Dialling;
        self.ahead.clear();
        self.connect(false);
        self.commands.push_back(Command::Transfer { route: transfer.route.value.clone() });
        self.say_then_music(now, &transfer.say, &transfer.music.value);
    }

    fn say_goodbye(&mut self, script: &Script, now: Moment, end: &HangUp) {
        let dialled = std::mem::take(&mut self.ahead);
        if let Some(target) = dialled.iter().find_map(|key| end.keys.get(&key.to_string())) {
            return self.enter(script, now, &target.value);
        }
        if end.say.is_empty() { self.hang_up(end.outcome) } else { self.say(script, now, &end.say) }
    }
}

/// What the caller presses.
impl Caller {
    fn key(&mut self, script: &Script, now: Moment, key: char) {
        if !is_phone_key(key) {
            return;
        }
        match self.at(script) {
            Some(Node::Notice(notice)) => self.key_ahead(script, now, key, notice.interruptible.then_some(&notice.next.value)),
            Some(Node::Say(saying)) => self.key_ahead(script, now, key, saying.interruptible.then_some(&saying.next.value)),
            Some(Node::Hours(_)) => self.key_ahead(script, now, key, None),
            Some(Node::Menu(menu)) => self.press(script, now, menu, key),
            Some(Node::Queue(queue)) => self.key_in_queue(script, now, queue, key),
            Some(Node::HangUp(end)) => {
                if let Some(target) = end.keys.get(&key.to_string()) {
                    self.silence();
                    self.enter(script, now, &target.value);
                }
            }
            // Whoever is being connected, or promised a call, has nothing to choose.
            Some(Node::Transfer(_) | Node::Goto(_) | Node::Callback(_)) | None => {}
        }
    }

    fn key_ahead(&mut self, script: &Script, now: Moment, key: char, skip_to: Option<&String>) {
        if self.ahead.len() < MAX_AHEAD {
            self.ahead.push_back(key);
        }
        if let Some(next) = skip_to {
            self.silence();
            self.enter(script, now, next);
        }
    }

    /// One key in a menu acts in this very turn; one that begins an extension waits for the next.
    fn press(&mut self, script: &Script, now: Moment, menu: &Menu, key: char) {
        let Step::Choosing { pressed, .. } = &mut self.step else { return };
        pressed.push(key);
        if let Some(target) = menu.keys.get(pressed.as_str()) {
            self.silence();
            return self.enter(script, now, &target.value);
        }
        if !menu.keys.keys().any(|extension| extension.starts_with(pressed.as_str())) {
            return self.erred(script, now, menu, &menu.say_wrong);
        }
        self.silence();
        self.until = Some(now + NEXT_KEY);
        if let Some(next) = self.ahead.pop_front() {
            self.press(script, now, menu, next);
        }
    }

    fn erred(&mut self, script: &Script, now: Moment, menu: &Menu, sorry: &Say) {
        // What was dialled ahead was meant for another way than the one taken.
        self.ahead.clear();
        let Step::Choosing { pressed, errors } = &mut self.step else { return };
        pressed.clear();
        *errors = errors.saturating_add(1);
        if *errors >= menu.tries {
            self.silence();
            self.enter(script, now, &menu.operator.value);
        } else {
            self.play(now, [prompts(sorry), prompts(&menu.say)].concat());
        }
    }

    fn key_in_queue(&mut self, script: &Script, now: Moment, queue: &Queue, key: char) {
        // Whoever is being connected has nothing to choose.
        let Step::Waiting { place, .. } = &self.step else { return };
        if let Some(target) = queue.keys.get(&key.to_string()) {
            self.silence();
            return self.enter(script, now, &target.value);
        }
        let asked_again = queue.repeat.as_ref().is_some_and(|repeat| repeat.value.starts_with(key));
        if asked_again && !place.is_empty() {
            self.play(now, place.clone());
        } else if self.playing.is_some() {
            self.wait_on(now, queue);
        }
    }
}

/// What the house says.
impl Caller {
    /// The end of a prompt that was cut short by a key concerns nobody.
    fn play_ended(&mut self, script: &Script, now: Moment, ended: PlayId) {
        if self.playing != Some(ended) {
            return;
        }
        self.playing = None;
        self.sounding = false;
        self.until = None;
        if self.step == Step::Returning {
            return self.enter(script, now, &self.node.clone());
        }
        match self.at(script) {
            Some(Node::Notice(notice)) => self.enter(script, now, &notice.next.value),
            Some(Node::Say(saying)) => self.enter(script, now, &saying.next.value),
            Some(Node::Menu(menu)) => self.until = Some(now + Duration::from_secs(menu.timeout_s.into())),
            Some(Node::Queue(queue)) => self.wait_on(now, queue),
            Some(Node::Transfer(transfer)) => self.music(&transfer.music.value),
            Some(Node::HangUp(end)) if end.keys.is_empty() => self.hang_up(end.outcome),
            Some(Node::HangUp(_)) => self.until = Some(now + LAST_KEY),
            Some(Node::Callback(_)) => self.hang_up(Outcome::CallbackBooked),
            Some(Node::Hours(_) | Node::Goto(_)) | None => {}
        }
    }

    fn hours_told(&mut self, script: &Script, now: Moment, open: bool) {
        if let Some(Node::Hours(hours)) = self.at(script) {
            self.enter(script, now, if open { &hours.open.value } else { &hours.closed.value });
        }
    }

    /// The promise is said; with it the call is over.
    fn booked(&mut self, script: &Script, now: Moment, within: Duration) {
        let (Step::Booking, Some(Node::Callback(callback))) = (&self.step, self.at(script)) else { return };
        let said = match callback.book {
            Booking::Place => prompts(&callback.say),
            Booking::Later => [prompts(&callback.say), speak::within(within)].concat(),
        };
        self.step = Step::Saying;
        if said.is_empty() { self.hang_up(Outcome::CallbackBooked) } else { self.play(now, said) }
    }

    fn not_booked(&mut self, script: &Script, now: Moment) {
        let (Step::Booking, Some(Node::Callback(callback))) = (&self.step, self.at(script)) else { return };
        let back = self.queue.as_ref().map(|(_, node)| node);
        let Some(next) = callback.refused.as_ref().map(|target| &target.value).or(back).cloned() else {
            return self.hang_up(Outcome::Failed);
        };
        if callback.say_refused.is_empty() {
            return self.enter(script, now, &next);
        }
        self.node = next;
        self.say(script, now, &callback.say_refused);
        self.step = Step::Returning;
    }

    pub(super) fn has_booked(&self) -> bool {
        matches!(self.step, Step::Saying | Step::Done)
    }

    /// A late word of a queue that the caller has left changes nothing.
    fn overflowed(&mut self, script: &Script, now: Moment, from: &QueueId, why: QueueLeft) {
        let way = |queue: &'_ Queue| match &queue.closed {
            Some(closed) if why == QueueLeft::Closed => closed.value.clone(),
            Some(_) | None => queue.overflow.value.clone(),
        };
        self.let_go(script, now, from, way);
    }

    /// The wait goes on until the callback is booked.
    fn promise_callback(&mut self, script: &Script, now: Moment) {
        if let (Step::Waiting { .. }, Some(Node::Queue(Queue { callback: Some(callback), .. }))) = (&self.step, self.at(script)) {
            self.silence();
            self.enter(script, now, &callback.value);
        }
    }

    fn let_go(&mut self, script: &Script, now: Moment, from: &QueueId, way: impl FnOnce(&Queue) -> String) {
        if let Some(Node::Queue(queue)) = self.at(script)
            && self.waits_in(from)
        {
            self.silence();
            self.step = Step::Saying;
            self.enter(script, now, &way(queue));
        }
    }

    fn waits_in(&self, named: &QueueId) -> bool {
        matches!(self.step, Step::Waiting { .. }) && self.queue.as_ref().is_some_and(|(queue, _)| queue == named)
    }

    /// Whoever goes from a queue to where no place is kept waits no longer.
    fn leave_queue(&mut self, script: &Script) {
        match self.at(script) {
            Some(Node::Queue(_) | Node::Transfer(_) | Node::Goto(_) | Node::Callback(_)) | None => {}
            Some(Node::Notice(_) | Node::Say(_) | Node::Menu(_) | Node::Hours(_) | Node::HangUp(_)) => {
                if let Step::Waiting { .. } = self.step {
                    self.step = Step::Saying;
                    self.commands.push_back(Command::LeaveQueue { why: QueueLeft::Transferred });
                }
            }
        }
    }

    fn route_failed(&mut self, script: &Script, now: Moment, failed: &RouteId) {
        let way = match self.at(script) {
            Some(Node::Transfer(transfer)) if transfer.route.value == *failed => &transfer.failed.value,
            // A rule of the queue had dialled it.
            Some(Node::Queue(queue)) if self.step == Step::Dialling => &queue.overflow.value,
            Some(_) | None => return,
        };
        self.silence();
        self.enter(script, now, way);
    }

    /// The place is told between two pieces of music, never into a sentence: then only the key tells it.
    fn announce(&mut self, now: Moment, told: Vec<PromptId>) {
        let Step::Waiting { place, .. } = &mut self.step else { return };
        place.clone_from(&told);
        if self.playing.is_none() && !told.is_empty() {
            self.play(now, told);
        }
    }

    /// After what is being said.
    fn say_next(&mut self, now: Moment, mut said: Vec<PromptId>) {
        let Step::Waiting { next, .. } = &mut self.step else { return };
        if self.playing.is_none() {
            self.play(now, said);
        } else if next.len() < MOST_NEXT {
            next.append(&mut said);
        }
    }

    /// The next word, if there is one, or music.
    fn wait_on(&mut self, now: Moment, queue: &Queue) {
        (self.playing, self.until) = (None, None);
        match &mut self.step {
            Step::Waiting { next, .. } if !next.is_empty() => {
                let said = std::mem::take(next);
                self.play(now, said);
            }
            Step::Waiting { .. } | Step::Dialling => self.music(&queue.music.value),
            Step::Before | Step::Saying | Step::Choosing { .. } | Step::AskingHours | Step::Done => {}
            Step::Returning | Step::Booking => {}
        }
    }
}

/// What the caller hears, and when the call counts as answered.
impl Caller {
    /// Before the first sound the call is answered, or in an early announcement opened without an answer; once.
    fn connect(&mut self, early: bool) {
        if !self.answered {
            self.answered = true;
            self.commands.push_back(if early { Command::EarlyMedia } else { Command::Answer });
        }
    }

    fn say_then_music(&mut self, now: Moment, say: &Say, music: &PromptId) {
        if say.is_empty() { self.music(music) } else { self.play(now, prompts(say)) }
    }

    fn play(&mut self, now: Moment, prompts: Vec<PromptId>) {
        let play = self.next_play;
        self.next_play = PlayId(play.0.wrapping_add(1));
        self.playing = Some(play);
        self.sounding = true;
        self.until = Some(now + LONGEST_PLAY);
        self.commands.push_back(Command::Play { play, prompts });
    }

    fn music(&mut self, music: &PromptId) {
        self.sounding = true;
        self.commands.push_back(Command::Music(music.clone()));
    }

    /// Somebody else is heard in our place: there is nothing left to end or to stop.
    fn quiet(&mut self) {
        (self.playing, self.until, self.sounding) = (None, None, false);
    }

    fn silence(&mut self) {
        self.playing = None;
        if std::mem::take(&mut self.sounding) {
            self.commands.push_back(Command::StopPlay);
        }
    }

    fn hang_up(&mut self, outcome: Outcome) {
        self.commands.push_back(Command::HangUp { outcome });
        self.done();
    }

    fn done(&mut self) {
        self.step = Step::Done;
        self.playing = None;
        self.until = None;
    }

    fn fact(&mut self, fact: Fact) {
        self.commands.push_back(Command::Fact(fact));
    }
}

fn prompts(say: &Say) -> Vec<PromptId> {
    say.iter().map(|prompt| prompt.value.clone()).collect()
}
