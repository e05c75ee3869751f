//! The overflow lists of queues as the file writes them, and what can be said of them before anybody calls.

use super::check::known;
use super::read::{File, Placed};
use super::{Calendar, Config, Queue, Route, seconds};
use crate::ids::*;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// What becomes of who waits when the queue closes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtClosing {
    /// They are served.
    #[default]
    Finish,
    /// As those who come then.
    Overflow,
}

/// One line of a queue's overflow list; all conditions that it names must hold.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overflow {
    /// Zero: not asked, as `estimate`.
    #[serde(rename = "waited_s", with = "seconds", default)]
    pub waited: Duration,
    /// More callers than this are before them.
    pub ahead: Option<u32>,
    #[serde(rename = "estimate_s", with = "seconds", default)]
    pub estimate: Duration,
    #[serde(default)]
    pub no_agents: bool,
    #[serde(default)]
    pub closed: bool,
    pub then: Then,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    Say(PromptId),
    Queue(QueueId),
    Route(RouteId),
    PromiseCallback,
    Robot,
}

/// Lines of one overflow list; nobody follows a longer one.
const MAX_OVERFLOW: usize = 20;

pub(super) fn fits(file: &mut File, queue: &Placed<Queue>, queues: &[QueueId], calendars: &[Calendar], routes: &[Route]) {
    let it = &queue.value;
    if let Some(calendar) = &it.calendar {
        known(file, queue.place("calendar"), "calendar", calendar, calendars.iter().map(|calendar| calendar.name.as_str()));
    }
    if it.calendar.is_none() && queue.gives("at_closing") {
        let message = format!("queue `{}` never closes; name its `calendar`, or delete `at_closing`", it.name);
        file.complain(queue.place("at_closing"), message);
    }
    if it.announce_after.is_zero() && !it.announce_texts.is_empty() {
        let message = "these texts are never said, for `announce_after_s` is 0; write at least 10 there, or delete them";
        file.complain(queue.place("announce_texts"), message);
    }
    if it.overflow.len() > MAX_OVERFLOW {
        file.complain(queue.place("overflow"), format!("an overflow list has at most {MAX_OVERFLOW} lines; join some"));
    }
    for (no, rule) in it.overflow.iter().enumerate() {
        let place = queue.place(&format!("overflow.{no}"));
        let asks_nothing = rule.waited.is_zero() && rule.estimate.is_zero() && rule.ahead.is_none();
        if asks_nothing && !rule.no_agents && !rule.closed {
            let message = "this line holds for everybody, so nobody would wait; name one of `waited_s`, `ahead`, `estimate_s`, \
                           `no_agents = true`, `closed = true`";
            file.complain(place, message);
        }
        if rule.closed && it.calendar.is_none() {
            file.complain(place, format!("queue `{}` never closes; name its `calendar`, or delete this line", it.name));
        }
        match &rule.then {
            Then::Queue(to) if *to == it.name => {
                file.complain(place, format!("queue `{to}` overflows into itself; name another queue"));
            }
            Then::Queue(to) => known(file, place, "queue", to.as_str(), queues.iter().map(QueueId::as_str)),
            Then::Route(to) => known(file, place, "route", to.as_str(), routes.iter().map(|route| route.name.as_str())),
            Then::Say(_) | Then::PromiseCallback | Then::Robot => {}
        }
    }
}

impl Config {
    /// Queues whose callers may come to a callback by a line of an overflow list, there or in a queue to which lines lead.
    pub fn queues_that_call_back(&self) -> BTreeSet<QueueId> {
        let mut found: BTreeSet<QueueId> = BTreeSet::new();
        loop {
            let leads = |rule: &Overflow| match &rule.then {
                Then::PromiseCallback => true,
                Then::Queue(to) => found.contains(to),
                Then::Say(_) | Then::Route(_) | Then::Robot => false,
            };
            let all = self.queues.iter().filter(|queue| queue.overflow.iter().any(leads)).map(|queue| queue.name.clone());
            let all: BTreeSet<QueueId> = all.collect();
            if all == found {
                return found;
            }
            found = all;
        }
    }

    /// Queues whose overflow lists lead back to them, each with the way round. No caller goes it twice: a queue takes nobody by a
    /// rule who has come from it.
    pub fn overflow_circles(&self) -> Vec<Vec<QueueId>> {
        let mut circles: Vec<Vec<QueueId>> = Vec::new();
        for queue in &self.queues {
            let (mut ways, mut seen) = (vec![vec![queue.name.clone()]], BTreeSet::new());
            while let Some(way) = ways.pop() {
                let Some(here) = way.last().and_then(|last| self.queue(last)) else { continue };
                for to in here.overflow.iter().filter_map(|rule| rule.then.queue()) {
                    let longer = || way.iter().chain([to]).cloned().collect::<Vec<_>>();
                    if *to == queue.name {
                        let known = |circle: &Vec<QueueId>| circle.contains(to) && circle.len() == way.len() + 1;
                        if !circles.iter().any(known) {
                            circles.push(longer());
                        }
                    } else if seen.insert(to.clone()) {
                        ways.push(longer());
                    }
                }
            }
        }
        circles
    }
}

impl Then {
    fn queue(&self) -> Option<&QueueId> {
        match self {
            Then::Queue(to) => Some(to),
            Then::Say(_) | Then::Route(_) | Then::PromiseCallback | Then::Robot => None,
        }
    }
}
