//! The phones' sound: stamped RTP out, and an ear that measures gaps in what arrives.
//!
//! Each packet carries who sent it, its number and the moment it left; the kernel notes the moment it came. A gap is what the way did:
//! packets that never came, plus how much later than its forerunner the next one was under way. That the phones themselves were late
//! to send or to read adds nothing to it.

use std::collections::BTreeSet;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;

pub const BEAT_US: u64 = 20_000;
const PAYLOAD: usize = 160;
const STAMP: [u8; 4] = *b"CHAO";
/// Room for what comes while the phones are not scheduled: a second of the whole line.
const RECEIVE_BYTES: libc::c_int = 32 << 20;

/// The clock with which the kernel notes arrivals, in microseconds.
pub fn now_us() -> u64 {
    // SAFETY: the struct is plain data and outlives the call.
    let time = unsafe {
        let mut time: libc::timespec = zeroed();
        libc::clock_gettime(libc::CLOCK_REALTIME, &mut time);
        time
    };
    microseconds(time.tv_sec, time.tv_nsec)
}

fn microseconds(seconds: i64, nanoseconds: i64) -> u64 {
    seconds as u64 * 1_000_000 + nanoseconds as u64 / 1000
}

/// A socket that notes arrivals and never blocks.
pub struct Port {
    socket: UdpSocket,
}

impl Port {
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        let set = |level, name, value: libc::c_int| {
            // SAFETY: the value is a c_int on this stack, as each of these options wants.
            unsafe {
                libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size_of::<libc::c_int>() as u32)
            }
        };
        if set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BYTES) != 0 {
            set(libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BYTES);
        }
        if set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { socket })
    }

    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub fn fd(&self) -> i32 {
        self.socket.as_raw_fd()
    }

    /// A datagram lost in a full buffer of ours is one lost on the way.
    pub fn send(&self, bytes: &[u8], to: SocketAddr) {
        let _ = self.socket.send_to(bytes, to);
    }

    /// Length, sender and arrival of the next datagram that is there.
    pub fn receive(&self, buffer: &mut [u8]) -> Option<(usize, SocketAddr, u64)> {
        #[repr(align(8))]
        struct Control([u8; 128]);
        let mut control = Control([0; 128]);
        // SAFETY: every pointer in `message` is to something on this stack that outlives the call, with its true length.
        unsafe {
            let mut from: libc::sockaddr_in = zeroed();
            let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            let mut message: libc::msghdr = zeroed();
            message.msg_name = (&raw mut from).cast();
            message.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            message.msg_control = control.0.as_mut_ptr().cast();
            message.msg_controllen = control.0.len() as _;
            let length = libc::recvmsg(self.fd(), &raw mut message, 0);
            let length = usize::try_from(length).ok()?;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            let arrived = match header.as_ref() {
                Some(header) if header.cmsg_type == libc::SCM_TIMESTAMPNS => {
                    let time: libc::timespec = std::ptr::read_unaligned(libc::CMSG_DATA(header).cast());
                    microseconds(time.tv_sec, time.tv_nsec)
                }
                Some(_) | None => now_us(),
            };
            let ip = Ipv4Addr::from(u32::from_be(from.sin_addr.s_addr));
            Some((length, SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(from.sin_port))), arrived))
        }
    }

    /// Datagrams that the kernel dropped at our full buffer: each would look like the engine's loss.
    pub fn dropped(&self) -> u64 {
        let SocketAddr::V4(address) = self.address() else { return 0 };
        let ours = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port());
        let table = std::fs::read_to_string("/proc/net/udp").unwrap_or_default();
        let row = table.lines().find(|line| line.split_whitespace().nth(1) == Some(&ours));
        row.and_then(|row| row.split_whitespace().last()?.parse().ok()).unwrap_or(0)
    }
}

/// Waits until one of the ports has something, at most a millisecond.
pub fn wait(ports: [&Port; 4]) {
    let mut polled = ports.map(|port| libc::pollfd { fd: port.fd(), events: libc::POLLIN, revents: 0 });
    // SAFETY: the array outlives the call and its length is told.
    unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as _, 1) };
}

/// What one phone says: a stamp each 20 ms, or a key.
pub struct Mouth {
    leg: u32,
    next: u64,
    number: u32,
    sequence: u16,
    timestamp: u32,
    /// Key code and how many of its packets are said.
    key: Option<(u8, u16, u32)>,
}

/// RFC 4733 §2.5.1.4: a key of 100 ms, its end said three times.
const KEY_BEATS: u16 = 5;
const END_BEATS: u16 = 3;

impl Mouth {
    pub fn new(leg: u32, now: u64) -> Self {
        Self { leg, next: now, number: 0, sequence: 0, timestamp: leg << 8, key: None }
    }

    pub fn press(&mut self, key: u8) {
        self.key = Some((key, 0, self.timestamp));
    }

    pub fn presses(&self) -> bool {
        self.key.is_some()
    }

    /// The packet due. Who was asleep for long begins anew and does not hurry.
    pub fn due(&mut self, now: u64, event_type: Option<u8>) -> Option<Vec<u8>> {
        if now < self.next {
            return None;
        }
        self.next = if now - self.next > 5 * BEAT_US { now + BEAT_US } else { self.next + BEAT_US };
        self.timestamp = self.timestamp.wrapping_add(PAYLOAD as u32);
        self.sequence = self.sequence.wrapping_add(1);
        let head = |marked: bool, payload_type: u8, timestamp: u32| {
            let mut bytes = Vec::with_capacity(12 + PAYLOAD);
            bytes.extend([0x80, payload_type | if marked { 0x80 } else { 0 }]);
            bytes.extend(self.sequence.to_be_bytes());
            bytes.extend(timestamp.to_be_bytes());
            bytes.extend((0xc4a0_0000 | self.leg).to_be_bytes());
            bytes
        };
        if let (Some((key, said, began)), Some(event_type)) = (self.key, event_type) {
            let mut bytes = head(said == 0, event_type, began);
            let end = if said >= KEY_BEATS { 0x80 } else { 0 };
            bytes.extend([key, end | 10]);
            bytes.extend(((said + 1).min(KEY_BEATS) * PAYLOAD as u16).to_be_bytes());
            self.key = (said + 1 < KEY_BEATS + END_BEATS).then_some((key, said + 1, began));
            return Some(bytes);
        }
        self.number += 1;
        let mut bytes = head(self.number == 1, 8, self.timestamp);
        bytes.extend(STAMP);
        bytes.extend(self.leg.to_be_bytes());
        bytes.extend(self.number.to_be_bytes());
        bytes.extend(now.to_be_bytes());
        bytes.resize(12 + PAYLOAD, 0xd5);
        Some(bytes)
    }
}

/// What one phone hears.
#[derive(Default)]
pub struct Ear {
    /// Arrival of the last packet of whatever kind.
    pub last: Option<u64>,
    /// When music was first heard: whoever hears it stands in a queue.
    pub music_since: Option<u64>,
    /// The other phone, as its stamps say.
    pub from: Option<u32>,
    pub stamped: u64,
    last_stamp: Option<Stamp>,
    /// The other phone is expected from here on.
    expected_since: u64,
    /// Largest gap since [`Ear::take_gap`].
    gap: u64,
    /// Media stood still until just now.
    resuming: Option<Resuming>,
}

/// How sound comes back after media stood still.
#[derive(Clone, Copy)]
struct Resuming {
    at: u64,
    /// Arrival of the first stamp that left after that moment.
    back: Option<u64>,
    /// Stamps heard since that left before.
    stale: u32,
}

struct Stamp {
    number: u32,
    sent: u64,
    arrived: u64,
}

impl Ear {
    pub fn hear(&mut self, packet: &[u8], arrived: u64, music: &Music) {
        let Some((_, payload)) = packet.split_first_chunk::<12>() else { return };
        self.last = Some(arrived);
        let Some((leg, number, sent)) = stamp(payload) else {
            if self.music_since.is_none() && music.has(payload) {
                self.music_since = Some(arrived);
            }
            return;
        };
        self.stamped += 1;
        if let Some(resuming) = &mut self.resuming {
            if sent < resuming.at {
                resuming.stale += u32::from(arrived > resuming.at);
            } else {
                resuming.back.get_or_insert(arrived);
            }
        }
        if self.from.replace(leg) != Some(leg) {
            self.last_stamp = None;
        }
        if let Some(last) = &self.last_stamp {
            if number <= last.number {
                return; // twice, or overtaken
            }
            let later = arrived.saturating_sub(sent).saturating_sub(last.arrived.saturating_sub(last.sent));
            self.gap = self.gap.max(u64::from(number - last.number) * BEAT_US + later);
        }
        self.last_stamp = Some(Stamp { number, sent, arrived });
    }

    /// A talk or a hold begins or ends in this moment: the next stamp is a first one.
    pub fn begin_anew(&mut self, now: u64) {
        self.last_stamp = None;
        self.expected_since = now;
    }

    /// Media go on in this moment.
    pub fn expect_sound(&mut self, now: u64) {
        self.resuming = Some(Resuming { at: now, back: None, stale: 0 });
    }

    /// How long the other was not heard after media went on, and how many stale packets came; once.
    pub fn take_resumed(&mut self, now: u64) -> Option<(u64, u32)> {
        let resuming = self.resuming.take()?;
        let silent = resuming.back.unwrap_or(now).saturating_sub(resuming.at);
        // Who hung up at once may not have heard anything yet.
        (resuming.back.is_some() || silent > 25 * BEAT_US).then_some((silent, resuming.stale))
    }

    /// Since when the other phone is not heard.
    pub fn silent_since(&self) -> u64 {
        self.last_stamp.as_ref().map_or(self.expected_since, |last| last.arrived)
    }

    /// The largest gap since the last question, the one that still lasts included.
    pub fn take_gap(&mut self, now: u64) -> u64 {
        let open = self.last_stamp.as_ref().map_or(0, |last| now.saturating_sub(last.arrived));
        // A packet may be on its way or unread; half of the limit is certain.
        let open = if open > 100_000 { open } else { 0 };
        std::mem::take(&mut self.gap).max(open)
    }
}

fn stamp(payload: &[u8]) -> Option<(u32, u32, u64)> {
    let (magic, rest) = payload.split_first_chunk::<4>()?;
    let (leg, rest) = rest.split_first_chunk::<4>()?;
    let (number, rest) = rest.split_first_chunk::<4>()?;
    let (sent, _) = rest.split_first_chunk::<8>()?;
    (*magic == STAMP).then(|| (u32::from_be_bytes(*leg), u32::from_be_bytes(*number), u64::from_be_bytes(*sent)))
}

/// The line's music in pieces of 20 ms, so that it can be told from a prompt.
pub struct Music(BTreeSet<Vec<u8>>);

impl Music {
    pub fn read(path: &Path) -> Self {
        let mut file = hound::WavReader::open(path).unwrap();
        let coded: Vec<u8> = file.samples::<i16>().map(|sample| dozvon::testphone::to_alaw(sample.unwrap())).collect();
        // Silence is in every prompt.
        let sounding = |piece: &&[u8]| piece.iter().any(|code| *code != piece[0]);
        Self(coded.chunks_exact(PAYLOAD).filter(sounding).map(<[u8]>::to_vec).collect())
    }

    fn has(&self, payload: &[u8]) -> bool {
        self.0.contains(payload)
    }
}
