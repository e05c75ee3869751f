//! What every response to one request begins with (RFC 3261 §8.2.6.2).

use super::message::{Method, Name, Request, Writer};
use super::transaction::client::Hop;
use super::uri::{NameAddr, end_of_part};
use super::vet;
use super::via::Via;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Via, From, To, Call-ID and CSeq, ready to write, and where the response goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplyHead {
    pub hop: Hop,
    lines: Vec<u8>,
    /// Where our To tag goes, if the request's To has none.
    tag_at: Option<usize>,
    /// RFC 3261 §12.1.1: copied into what opens a dialog.
    record_routes: Vec<u8>,
}

impl ReplyHead {
    /// Takes over what can be read, so that also a broken request gets its 400. `None`: it does not say where to.
    pub fn of(request: &Request, network: usize, source: SocketAddr) -> Option<Self> {
        let headers = &request.headers;
        let to = Via::peek(headers.get(Name::Via)?).ok()?.reply_to(source);
        let mut lines = Vec::with_capacity(512);
        for (index, via) in headers.all(Name::Via).enumerate() {
            lines.extend_from_slice(b"Via: ");
            match Via::parse(via).ok().filter(|_| index == 0) {
                Some(top) => {
                    top.write_received(source, &mut lines);
                    lines.extend_from_slice(via.get(end_of_part(via, b',')..).unwrap_or_default().as_bytes());
                }
                None => lines.extend_from_slice(via.as_bytes()),
            }
            lines.extend_from_slice(b"\r\n");
        }
        let mut tag_at = None;
        for name in [Name::From, Name::To, Name::CallId, Name::CSeq] {
            let Some(value) = headers.raw(name).next() else { continue };
            line(name, value, &mut lines);
            if name == Name::To && headers.get(name).is_some_and(|to| NameAddr::parse(to).is_ok_and(|to| to.tag().is_none())) {
                tag_at = Some(lines.len().saturating_sub(2));
            }
        }
        let mut record_routes = Vec::new();
        if request.method == Method::Invite {
            headers.raw(Name::RecordRoute).for_each(|value| line(Name::RecordRoute, value, &mut record_routes));
        }
        Some(Self { hop: Hop { network, to }, lines, tag_at, record_routes })
    }

    /// A 100, which opens no dialog and has no To tag (RFC 3261 §8.2.6.2).
    pub fn trying(&self) -> Writer {
        let mut writer = Writer::response(100);
        writer.bytes(&self.lines);
        writer
    }

    /// The response so far; `tag` is our side's name in the dialog.
    pub fn writer(&self, status: u16, tag: u64) -> Writer {
        let mut writer = Writer::response(status);
        match self.tag_at.and_then(|at| self.lines.split_at_checked(at)) {
            Some((before, after)) => writer.bytes(before).bytes(format!(";tag={tag:016x}").as_bytes()).bytes(after),
            None => writer.bytes(&self.lines),
        };
        if (101..=299).contains(&status) {
            writer.bytes(&self.record_routes);
        }
        writer
    }
}

/// A To tag for answers nobody remembers: a repeated request gets the same one (RFC 3261 §8.2.7).
pub fn stateless_tag(vetted: Option<&vet::Vetted<'_>>) -> u64 {
    const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const FNV_PRIME: u64 = 0x0100_0000_01b3;
    let parts = vetted.map(|vetted| [vetted.call_id, vetted.from.tag().unwrap_or_default()]).unwrap_or_default();
    parts.iter().flat_map(|part| part.bytes()).fold(FNV_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME))
}

fn line(name: Name, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.long().unwrap_or_default().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
