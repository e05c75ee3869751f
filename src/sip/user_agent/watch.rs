//! Whether a trunk is there: our OPTIONS to it at intervals, and whatever it sends by itself.

use super::UserAgent;
use crate::clock::Moment;
use crate::ids::TrunkId;
use crate::sip::Event;
use crate::sip::message::Method;
use crate::sip::transaction::client::{ClientKey, Hop, Owner, RequestHead};
use crate::sip::uri::host_text;
use std::net::SocketAddr;
use std::time::Duration;

/// One trunk under watch.
#[derive(Debug)]
pub struct Watch {
    hop: Hop,
    every: Duration,
    /// `None` while an OPTIONS is on its way.
    next: Option<Moment>,
    reachable: Option<bool>,
}

impl UserAgent {
    pub(super) fn take_watches(&mut self) {
        let wanted: Vec<(TrunkId, SocketAddr, Duration, usize)> = self
            .settings
            .trunks
            .iter()
            .filter_map(|t| Some((t.trunk.clone(), t.contact?, t.watch?, self.directory.network(&t.network)?)))
            .collect();
        let mut former = std::mem::take(&mut self.watches);
        for (trunk, to, every, network) in wanted {
            let hop = Hop { network, to };
            let watch = former.remove(&trunk).filter(|watch| watch.hop == hop).map(|watch| Watch { every, ..watch });
            self.watches.insert(trunk, watch.unwrap_or(Watch { hop, every, next: Some(Moment::ZERO), reachable: None }));
        }
    }

    pub(super) fn watch_due(&self) -> Option<Moment> {
        self.watches.values().filter_map(|watch| watch.next).min()
    }

    pub(super) fn watch_timeout(&mut self, now: Moment) {
        let due: Vec<_> = self.watches.iter().filter(|(_, watch)| watch.next.is_some_and(|next| next <= now)).collect();
        let due: Vec<_> = due.into_iter().map(|(trunk, watch)| (trunk.clone(), watch.hop)).collect();
        for (trunk, hop) in due {
            if let Some(watch) = self.watches.get_mut(&trunk) {
                watch.next = None;
            }
            let uri = format!("sip:{}:{}", host_text(hop.to.ip()), hop.to.port());
            let (branch, tag, call) = (self.dice.next(), self.dice.next(), self.dice.next());
            let sent_by = self.sent_by(hop.network);
            let head = RequestHead {
                from: format!("<sip:{sent_by}>;tag={tag:016x}"),
                to: format!("<{uri}>"),
                call_id: format!("{call:016x}"),
                uri,
                sent_by,
                branch,
                routes: String::new(),
                cseq: 1,
            };
            let mut writer = head.writer(Method::Options);
            writer.field("User-Agent", &self.settings.product);
            let owner = Owner::Watch(trunk);
            self.clients.send_request(now, owner, hop, ClientKey::of(branch, Method::Options), writer.finish(&[]), &mut self.out);
        }
    }

    /// Any answer says that it is there, but for a 503, which says that it takes no calls.
    pub(super) fn watch_heard(&mut self, now: Moment, trunk: TrunkId, status: u16) {
        if let Some(watch) = self.watches.get_mut(&trunk) {
            watch.next = Some(now + watch.every);
        }
        self.trunk_is(trunk, !matches!(status, 408 | 503));
    }

    /// Says it if that is news.
    pub(super) fn trunk_is(&mut self, trunk: TrunkId, reachable: bool) {
        if let Some(watch) = self.watches.get_mut(&trunk)
            && watch.reachable != Some(reachable)
        {
            watch.reachable = Some(reachable);
            self.events.push_back(Event::TrunkReachable { trunk, reachable });
        }
    }
}
