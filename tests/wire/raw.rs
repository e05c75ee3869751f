//! A peer that writes its datagrams byte by byte: for messages that no good phone sends, and headers that no phone shows.

use crate::engine::{Engine, SOON};
use std::net::SocketAddr;
use tokio::net::UdpSocket;

pub struct Raw {
    socket: UdpSocket,
    engine: SocketAddr,
}

impl Raw {
    pub async fn bind(engine: &Engine, host: u8) -> Self {
        Self { socket: UdpSocket::bind(engine.net.at(host)).await.unwrap(), engine: engine.net.engine() }
    }

    pub async fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.engine).await.unwrap();
    }

    /// The next datagram whose first line begins so.
    pub async fn receive(&self, start: &str) -> String {
        let mut seen = Vec::new();
        let mut bytes = vec![0; 8192];
        let received = async {
            loop {
                let (length, _) = self.socket.recv_from(&mut bytes).await.unwrap();
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                if text.starts_with(start) {
                    return text;
                }
                seen.push(text.lines().next().unwrap_or_default().to_owned());
            }
        };
        tokio::time::timeout(SOON, received).await.unwrap_or_else(|_| panic!("no `{start}` in {SOON:?}, but {seen:?}"))
    }

    /// A request without a body, as from the citizens' trunk; `head` are further header lines, each with its end.
    pub fn request(&self, method: &str, number: &str, from: &str, head: &str) -> Vec<u8> {
        let (me, engine) = (self.socket.local_addr().unwrap(), self.engine);
        let key = format!("{method}-{number}-{from}");
        format!(
            "{method} sip:{number}@{engine} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bK{key};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{from}@{me}>;tag={from}\r\nTo: <sip:{number}@{engine}>\r\nCall-ID: {key}\r\nCSeq: 1 {method}\r\n\
             Contact: <sip:{from}@{me}>\r\n{head}Content-Length: 0\r\n\r\n"
        )
        .into_bytes()
    }

    /// The INVITE of a citizen who dials 122 and listens at port 4000.
    pub fn invite(&self, from: &str) -> Vec<u8> {
        let ip = self.socket.local_addr().unwrap().ip();
        let sdp = format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n");
        let plain = String::from_utf8(self.request("INVITE", "122", from, "Content-Type: application/sdp\r\n")).unwrap();
        plain.replace("Length: 0\r\n\r\n", &format!("Length: {}\r\n\r\n{sdp}", sdp.len())).into_bytes()
    }

    /// An answer 200 to this request.
    pub async fn ok(&self, request: &str) {
        let copied =
            |line: &&str| ["via:", "from:", "to:", "call-id:", "cseq:"].iter().any(|name| line.to_lowercase().starts_with(name));
        let head: Vec<_> = request.lines().filter(copied).collect();
        self.send(format!("SIP/2.0 200 OK\r\n{}\r\nContent-Length: 0\r\n\r\n", head.join("\r\n")).as_bytes()).await;
    }
}

/// The value of a header, by its long name.
pub fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message
        .lines()
        .find_map(|line| line.split_once(':').filter(|(known, _)| known.eq_ignore_ascii_case(name)))
        .map(|(_, value)| value.trim())
}
