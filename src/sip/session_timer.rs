//! Session timers (RFC 4028): what two ends agree about how often a session is refreshed, and by whom.

use super::message::{Headers, Method, Name, Writer};
use super::transaction::PATIENCE;
use super::uri::{self, list};
use crate::clock::Moment;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// RFC 4028 §5: no interval is shorter.
pub const MIN_SE_S: u32 = 90;
/// The option tag.
const TIMER: &str = "timer";

/// What one dialog knows about refreshes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// `None`: the session has no end of its own.
    pub timer: Option<SessionTimer>,
    /// The far end lists UPDATE in its Allow.
    pub by_update: bool,
    /// The largest Min-SE heard (RFC 4028 §7.4); 0: none.
    pub min_se_s: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionTimer {
    interval_s: u32,
    pub refresher: Refresher,
    /// The far end knows session timers too; else a proxy in between asked for them.
    mutual: bool,
    /// Of the last refresh.
    since: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refresher {
    Us,
    Them,
}

/// The interval asked for is below [`MIN_SE_S`]: answered 422.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooShort;

impl SessionTimer {
    fn interval(&self) -> Duration {
        Duration::from_secs(self.interval_s.into())
    }

    /// RFC 4028 §7.2, §9: when half of the interval is over we refresh, if it is ours to do.
    pub fn refresh_at(&self) -> Option<Moment> {
        (self.refresher == Refresher::Us).then(|| self.since + self.interval() / 2)
    }

    /// RFC 4028 §10: without a refresh until here the session is over, 32 s or a third of the interval before it expires.
    pub fn ends(&self) -> Moment {
        self.since + self.interval().saturating_sub(PATIENCE.min(self.interval() / 3))
    }

    /// In another life: a refresh that came while nobody listened is repeated each 4 s, so there is time to hear it.
    #[must_use]
    pub fn restored(self, now: Moment) -> Self {
        const GRACE: Duration = Duration::from_secs(10);
        let late = (now + GRACE).since(self.ends());
        Self { since: self.since + late, ..self }
    }

    /// The session was refreshed, or begins.
    #[must_use]
    pub fn begun(self, now: Moment) -> Self {
        Self { since: now, ..self }
    }
}

impl Terms {
    /// What an INVITE, re-INVITE or UPDATE of the far end leads to (RFC 4028 §9, table 2). Nobody is asked for a timer who does not
    /// ask; one that stands goes on also over a request that does not name it.
    pub fn offered(self, now: Moment, method: Method, headers: &Headers) -> Result<Self, TooShort> {
        let mutual = has_tag(headers, Name::Supported) || has_tag(headers, Name::Require);
        let timer = match (session_expires(headers), self.timer) {
            (Some((interval_s, _)), _) if interval_s < MIN_SE_S && mutual => return Err(TooShort),
            (Some((interval_s, refresher)), _) => {
                // Who does not know the timer cannot refresh; who knows it and leaves the choice to us does so.
                let us = !mutual || refresher.is_some_and(|refresher| refresher.eq_ignore_ascii_case("uas"));
                // Erratum 1687: who cannot understand a 422 gets our least interval.
                let interval_s = interval_s.max(MIN_SE_S);
                Some(SessionTimer { interval_s, refresher: if us { Refresher::Us } else { Refresher::Them }, mutual, since: now })
            }
            (None, Some(timer)) if mutual || timer.refresher == Refresher::Us => {
                Some(SessionTimer { mutual, since: now, ..timer })
            }
            (None, _) => None,
        };
        let min_se_s = self.min_se_s.max(min_se(headers).unwrap_or_default());
        let by_update = method == Method::Update || allows_update(headers).unwrap_or(self.by_update);
        Ok(Self { timer, by_update, min_se_s })
    }

    /// What the 2xx to an INVITE, re-INVITE or UPDATE of ours says (RFC 4028 §7.2): without Session-Expires there is no timer.
    #[must_use]
    pub fn answered(self, now: Moment, headers: &Headers) -> Self {
        let timer = session_expires(headers).map(|(interval_s, refresher)| {
            let them = refresher.is_some_and(|refresher| refresher.eq_ignore_ascii_case("uas"));
            let refresher = if them { Refresher::Them } else { Refresher::Us };
            SessionTimer { interval_s: interval_s.max(MIN_SE_S), refresher, mutual: true, since: now }
        });
        Self { timer, by_update: allows_update(headers).unwrap_or(self.by_update), ..self }
    }

    /// RFC 4028 §7.3: a 422 names the least interval. `false`: it is none that would help.
    pub fn lengthen(&mut self, refusal: &Headers) -> bool {
        let (Some(timer), Some(least)) = (&mut self.timer, min_se(refusal)) else { return false };
        if least <= timer.interval_s {
            return false;
        }
        (timer.interval_s, self.min_se_s) = (least, self.min_se_s.max(least));
        true
    }

    /// Into a request of ours inside the dialog (RFC 4028 §7.4).
    pub fn write_request(&self, writer: &mut Writer) {
        if let Some(timer) = &self.timer {
            let refresher = if timer.refresher == Refresher::Us { "uac" } else { "uas" };
            let interval_s = timer.interval_s.max(self.min_se_s);
            writer.field("Session-Expires", format!("{interval_s};refresher={refresher}"));
            if self.min_se_s > 0 {
                writer.field("Min-SE", self.min_se_s.to_string());
            }
        }
    }

    /// Into our 2xx (RFC 4028 §9). The far end must look at it if it has a duty by it.
    pub fn write_answer(&self, writer: &mut Writer) {
        if let Some(timer) = &self.timer {
            let refresher = if timer.refresher == Refresher::Us { "uas" } else { "uac" };
            writer.field("Session-Expires", format!("{};refresher={refresher}", timer.interval_s));
            if timer.mutual {
                writer.field("Require", TIMER);
            }
        }
    }
}

/// Asks the called side for a timer; it chooses who refreshes (RFC 4028 §7.1).
pub fn ask(writer: &mut Writer, interval_s: Option<u32>, min_se_s: u32) {
    if let Some(interval_s) = interval_s {
        writer.field("Session-Expires", interval_s.to_string());
    }
    if min_se_s > 0 {
        writer.field("Min-SE", min_se_s.to_string());
    }
}

/// Into a 422 (RFC 4028 §6).
pub fn name_least(writer: &mut Writer) {
    writer.field("Min-SE", MIN_SE_S.to_string());
}

/// Extensions that a request insists on and we do not have.
pub fn unsupported(headers: &Headers) -> Vec<&str> {
    let tags = headers.all(Name::Require).flat_map(|tags| list(tags, b',')).map(str::trim);
    tags.filter(|tag| !tag.is_empty() && !tag.eq_ignore_ascii_case(TIMER)).collect()
}

pub fn min_se(headers: &Headers) -> Option<u32> {
    seconds(headers.get(Name::MinSe)?)
}

/// `1800;refresher=uac`. One that cannot be read is none: no call is lost over it.
fn session_expires(headers: &Headers) -> Option<(u32, Option<&str>)> {
    let value = headers.get(Name::SessionExpires)?;
    let (interval, params) = value.split_once(';').unwrap_or((value, ""));
    let refresher = uri::params(params).find(|(name, _)| name.eq_ignore_ascii_case("refresher")).and_then(|(_, value)| value);
    Some((seconds(value.get(..interval.len())?)?, refresher))
}

fn seconds(value: &str) -> Option<u32> {
    let digits = value.split(';').next()?.trim();
    let numeric = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    numeric.then(|| digits.parse().unwrap_or(u32::MAX))
}

fn has_tag(headers: &Headers, name: Name) -> bool {
    headers.all(name).flat_map(|tags| list(tags, b',')).any(|tag| tag.trim().eq_ignore_ascii_case(TIMER))
}

/// `None`: the message does not say.
fn allows_update(headers: &Headers) -> Option<bool> {
    let mut methods = headers.all(Name::Allow).flat_map(|methods| list(methods, b',')).peekable();
    methods.peek()?;
    Some(methods.any(|method| method.trim() == Method::Update.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::framer;
    use crate::sip::message::Message;

    const NOW: Moment = Moment::from_secs(1);

    fn headers(lines: &str) -> Headers {
        let text = format!("INVITE sip:122@10.0.0.9 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1\r\n{lines}\r\n");
        let Ok(Message::Request(request)) = framer::read(text.as_bytes()) else { panic!("{text}") };
        request.headers
    }

    fn offered(lines: &str) -> Result<Option<(u32, Refresher, bool)>, TooShort> {
        let terms = Terms::default().offered(NOW, Method::Invite, &headers(lines))?;
        Ok(terms.timer.map(|timer| (timer.interval_s, timer.refresher, timer.mutual)))
    }

    #[test]
    fn the_called_side_chooses_the_refresher_by_table_2() {
        assert_eq!(offered("Session-Expires: 1800\r\n"), Ok(Some((1800, Refresher::Us, false))));
        assert_eq!(offered("k: timer\r\nx: 1800\r\n"), Ok(Some((1800, Refresher::Them, true))));
        assert_eq!(
            offered("Supported: 100rel, timer\r\nSession-Expires: 90 ; refresher=UAC\r\n"),
            Ok(Some((90, Refresher::Them, true)))
        );
        assert_eq!(offered("Require: timer\r\nSession-Expires: 90;refresher=uas\r\n"), Ok(Some((90, Refresher::Us, true))));
        assert_eq!(offered("Supported: timer\r\n"), Ok(None));
    }

    #[test]
    fn too_short_an_interval_is_refused_to_who_understands_and_lengthened_to_who_does_not() {
        assert_eq!(offered("Supported: timer\r\nSession-Expires: 89\r\n"), Err(TooShort));
        assert_eq!(offered("Session-Expires: 0\r\n"), Ok(Some((90, Refresher::Us, false))));
    }

    #[test]
    fn odd_values_make_no_timer_and_no_panic() {
        for value in ["", "soon", "-1", "1800 s", ";refresher=uac"] {
            assert_eq!(offered(&format!("Supported: timer\r\nSession-Expires: {value}\r\n")), Ok(None), "{value}");
        }
        let endless = Terms::default().offered(NOW, Method::Invite, &headers("k: timer\r\nx: 99999999999\r\n")).unwrap();
        assert!(endless.timer.unwrap().ends() > NOW);
    }

    #[test]
    fn a_session_ends_32_s_or_a_third_before_it_expires() {
        let ends = |interval: u32| {
            let terms = Terms::default().answered(NOW, &headers(&format!("x: {interval};refresher=uas\r\n")));
            terms.timer.unwrap().ends().since(NOW).as_secs()
        };
        assert_eq!((ends(90), ends(96), ends(1800)), (60, 64, 1768));
    }
}
