//! A dialog: what both ends must remember to speak of the same call (RFC 3261 §12). It can be written down and taken up again.

use super::message::{Headers, Name, Request, Response};
use super::transaction::client::{Hop, RequestHead};
use super::uri::{self, NameAddr, Uri};
use super::vet::{self, Vetted};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dialog {
    pub call_id: String,
    pub local_tag: u64,
    /// Empty until the far end gave one, and for a caller of RFC 2543.
    pub remote_tag: String,
    /// Our side as it stands in From of our requests, tag included; theirs as it stands in To.
    local: String,
    remote: String,
    /// Of our last request.
    pub local_cseq: u32,
    /// Of theirs, so that one that comes late is known (RFC 3261 §12.2.2).
    pub remote_cseq: Option<u32>,
    /// Proxies in between, the nearest first.
    routes: Vec<String>,
    remote_target: String,
    /// Our Contact, with its angle brackets.
    pub contact: String,
    /// Where their last datagram came from.
    pub peer: SocketAddr,
    /// A trunk's Contact may name another machine. A phone's may not: what is not the address we see is its side of a NAT.
    follows_contact: bool,
}

impl Dialog {
    /// The called side: from an INVITE (RFC 3261 §12.1.1).
    pub fn called(
        invite: &Request,
        vetted: &Vetted<'_>,
        local_tag: u64,
        contact: String,
        peer: SocketAddr,
        trusted: bool,
    ) -> Self {
        let headers = &invite.headers;
        let to = headers.get(Name::To).unwrap_or_default();
        Self {
            call_id: vetted.call_id.to_owned(),
            local_tag,
            remote_tag: vetted.from.tag().unwrap_or_default().to_owned(),
            local: format!("{to};tag={local_tag:016x}"),
            remote: headers.get(Name::From).unwrap_or_default().to_owned(),
            local_cseq: 0,
            remote_cseq: Some(vetted.cseq),
            routes: record_routes(headers),
            // RFC 2543 knew calls without Contact: the caller is then reached under From.
            remote_target: target(headers).unwrap_or(vetted.from.uri.text).to_owned(),
            contact,
            peer,
            follows_contact: trusted,
        }
    }

    /// The calling side, before anybody answered.
    pub fn calling(
        call_id: String,
        local_tag: u64,
        from: String,
        to: String,
        contact: String,
        target: String,
        peer: SocketAddr,
    ) -> Self {
        Self {
            call_id,
            local_tag,
            remote_tag: String::new(),
            local: format!("{from};tag={local_tag:016x}"),
            remote: to,
            local_cseq: 0,
            remote_cseq: None,
            routes: Vec::new(),
            remote_target: target,
            contact,
            peer,
            follows_contact: false,
        }
    }

    /// The calling side with one that answered (RFC 3261 §12.1.2). Forks of one INVITE make several.
    pub fn answered(&self, response: &Response, to: &NameAddr<'_>, peer: SocketAddr, trusted: bool) -> Self {
        let headers = &response.headers;
        let mut routes = record_routes(headers);
        routes.reverse();
        Self {
            remote_tag: to.tag().unwrap_or_default().to_owned(),
            remote: headers.get(Name::To).unwrap_or_default().to_owned(),
            routes,
            remote_target: target(headers).unwrap_or(&self.remote_target).to_owned(),
            peer,
            follows_contact: trusted,
            ..self.clone()
        }
    }

    /// RFC 3261 §12.2.1.2, §12.2.2: re-INVITE and UPDATE, and their 2xx, may move the far end.
    pub fn refresh_target(&mut self, headers: &Headers) {
        if let Some(target) = target(headers) {
            self.remote_target = target.to_owned();
        }
    }

    /// Fields of our next request.
    pub fn request(&mut self, sent_by: String, branch: u64) -> RequestHead {
        self.local_cseq = self.local_cseq.saturating_add(1);
        self.head(sent_by, branch, self.local_cseq)
    }

    /// Fields of the ACK for a 2xx: the CSeq number of its INVITE, a branch of its own (RFC 3261 §13.2.2.4).
    pub fn ack(&self, sent_by: String, branch: u64, cseq: u32) -> RequestHead {
        self.head(sent_by, branch, cseq)
    }

    fn head(&self, sent_by: String, branch: u64, cseq: u32) -> RequestHead {
        // RFC 3261 §12.2.1.1: a first proxy without `lr` wants its own address as Request-URI and the target at the end.
        let strict =
            self.routes.first().and_then(|route| NameAddr::parse(route).ok()).filter(|route| route.uri.param("lr").is_none());
        let target = format!("<{}>", self.remote_target);
        let (uri, routes): (_, Vec<&str>) = match &strict {
            Some(first) => (first.uri.text, self.routes.iter().skip(1).map(String::as_str).chain([target.as_str()]).collect()),
            None => (self.remote_target.as_str(), self.routes.iter().map(String::as_str).collect()),
        };
        RequestHead {
            uri: uri.to_owned(),
            sent_by,
            branch,
            routes: routes.iter().map(|route| format!("Route: {route}\r\n")).collect(),
            from: self.local.clone(),
            to: self.remote.clone(),
            call_id: self.call_id.clone(),
            cseq,
        }
    }

    /// Where our requests go: the first proxy, else the far end itself. Host names are not looked up: the way they came leads back.
    pub fn hop(&self, network: usize) -> Hop {
        let named = match self.routes.first() {
            Some(route) => NameAddr::parse(route).ok().and_then(|route| route.uri.socket_addr()),
            None => Uri::parse(&self.remote_target)
                .ok()
                .and_then(|target| target.socket_addr())
                .filter(|target| self.follows_contact || target.ip() == self.peer.ip()),
        };
        Hop { network, to: named.unwrap_or(self.peer) }
    }
}

fn record_routes(headers: &Headers) -> Vec<String> {
    headers.all(Name::RecordRoute).flat_map(|routes| uri::list(routes, b',')).map(|route| route.trim().to_owned()).collect()
}

fn target(headers: &Headers) -> Option<&str> {
    let contact = vet::contacts(headers).next()?;
    NameAddr::parse(contact).ok().map(|contact| contact.uri.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::framer;
    use crate::sip::message::Message;

    fn dialog(routes: &str) -> Dialog {
        let text = format!(
            "INVITE sip:122@10.0.0.9 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1\r\nFrom: <sip:a@10.0.0.1>;tag=f\r\nTo: <sip:122@10.0.0.9>\r\n\
             Call-ID: c\r\nCSeq: 7 INVITE\r\nContact: <sip:a@10.0.0.5:5080;x=y>\r\n{routes}\r\n"
        );
        let Ok(Message::Request(invite)) = framer::read(text.as_bytes()) else { panic!("{text}") };
        let vetted = vet::request(&invite).unwrap();
        Dialog::called(&invite, &vetted, 1, "<sip:122@10.0.0.9>".into(), "10.0.0.1:5060".parse().unwrap(), true)
    }

    #[test]
    fn requests_follow_the_proxies_that_stayed_in_the_way() {
        let mut dialog = dialog("Record-Route: <sip:10.0.0.2;lr>, <sip:10.0.0.3:5070;lr>\r\n");
        let head = dialog.request("10.0.0.9:5060".into(), 5);
        assert_eq!((head.uri.as_str(), head.cseq), ("sip:a@10.0.0.5:5080;x=y", 1));
        assert_eq!(head.routes, "Route: <sip:10.0.0.2;lr>\r\nRoute: <sip:10.0.0.3:5070;lr>\r\n");
        assert_eq!(dialog.hop(0).to, "10.0.0.2:5060".parse().unwrap());
    }

    #[test]
    fn a_strict_router_gets_its_own_address_as_request_uri() {
        let head = dialog("Record-Route: <sip:10.0.0.2>\r\n").request("10.0.0.9:5060".into(), 5);
        assert_eq!((head.uri.as_str(), head.routes.as_str()), ("sip:10.0.0.2", "Route: <sip:a@10.0.0.5:5080;x=y>\r\n"));
    }

    #[test]
    fn a_phone_behind_a_nat_is_reached_where_it_came_from() {
        let mut dialog = dialog("");
        assert_eq!(dialog.hop(0).to, "10.0.0.5:5080".parse().unwrap());
        dialog.follows_contact = false;
        assert_eq!(dialog.hop(0).to, "10.0.0.1:5060".parse().unwrap());
    }
}
