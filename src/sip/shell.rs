//! The sockets of the user agent: one UDP socket a network, and the kernel's word on peers that refuse.

use super::{Settings, Transmit};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::pin;
use std::task::Poll;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Room for a burst of 2,000 INVITEs while the loop is elsewhere. The kernel may give less (`net.core.rmem_max`).
const RECEIVE_BUFFER: libc::c_int = 4 * 1024 * 1024;
/// No UDP datagram is longer.
const DATAGRAM_MAX: usize = 64 * 1024;
/// A refusal that waits in the socket makes the next send fail in its stead; so many sends in a row may.
const SEND_ATTEMPTS: usize = 3;

pub struct Sockets {
    sockets: Vec<AsyncFd<UdpSocket>>,
    buffer: Vec<u8>,
    /// Where reading goes on, so that a busy network cannot starve another.
    next: usize,
}

/// What a socket had for us.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    Datagram {
        network: usize,
        from: SocketAddr,
        bytes: &'a [u8],
    },
    /// ICMP: nobody listens there. For `UserAgent::handle_icmp`.
    Refused {
        network: usize,
        peer: SocketAddr,
    },
}

impl Sockets {
    /// Binds every network of the settings, in their order. Call it inside the tokio runtime.
    pub fn bind(settings: &Settings) -> io::Result<Self> {
        let sockets = settings.networks.iter().map(|network| bind(network.bind)).collect::<io::Result<_>>()?;
        Ok(Self { sockets, buffer: vec![0; DATAGRAM_MAX], next: 0 })
    }

    /// The address a network is bound to: says the port if the settings left it to the kernel (0).
    pub fn local_addr(&self, network: usize) -> io::Result<SocketAddr> {
        self.sockets.get(network).ok_or(io::ErrorKind::NotFound)?.get_ref().local_addr()
    }

    /// Waits until a socket has something. Cancel-safe.
    pub async fn readable(&self) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::ERROR;
        if let [only] = self.sockets.as_slice() {
            return only.ready(interest).await.map(|_| ());
        }
        let mut waits: Vec<_> = self.sockets.iter().map(|socket| Box::pin(socket.ready(interest))).collect();
        let mut any = pin!(poll_fn(|context| {
            let ready = waits.iter_mut().find_map(|wait| match wait.as_mut().poll(context) {
                Poll::Ready(ready) => Some(ready.map(|_| ())),
                Poll::Pending => None,
            });
            ready.map_or(Poll::Pending, Poll::Ready)
        }));
        any.as_mut().await
    }

    /// Takes what is there without waiting, at most `limit` datagrams; returns how many came.
    pub fn recv_batch(&mut self, limit: usize, mut take: impl FnMut(Received<'_>)) -> usize {
        let mut count = 0;
        for turn in 0..self.sockets.len() {
            let network = (self.next.wrapping_add(turn)) % self.sockets.len();
            let Some(socket) = self.sockets.get(network) else { continue };
            while let Ok(peer) = socket.try_io(Interest::ERROR, |socket| refused_peer(socket.as_raw_fd())) {
                if let Some(peer) = peer {
                    take(Received::Refused { network, peer });
                }
            }
            while count < limit {
                match socket.try_io(Interest::READABLE, |socket| socket.recv_from(&mut self.buffer)) {
                    Ok((length, from)) => {
                        count += 1;
                        let bytes = self.buffer.get(..length).unwrap_or_default();
                        take(Received::Datagram { network, from, bytes });
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // A refusal, told here once and again by the error queue.
                    Err(_) => count += 1,
                }
            }
        }
        self.next = self.next.wrapping_add(1);
        count
    }

    /// Sends one datagram. One that finds no room is lost like one the network loses: its sender repeats it.
    pub fn send(&self, transmit: &Transmit) -> io::Result<()> {
        let socket = self.sockets.get(transmit.network).ok_or(io::ErrorKind::NotFound)?;
        let mut last = Ok(());
        for _ in 0..SEND_ATTEMPTS {
            match socket.get_ref().send_to(&transmit.bytes, transmit.to) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => last = Err(error),
                Err(error) => return Err(error),
            }
        }
        last
    }
}

fn bind(address: SocketAddr) -> io::Result<AsyncFd<UdpSocket>> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER)?;
    match address {
        SocketAddr::V4(_) => set_option(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_RECVERR, 1)?,
        SocketAddr::V6(_) => set_option(socket.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?,
    }
    // SAFETY: the socket is owned by the result, keeps its descriptor, and closes it only when dropped.
    Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE | Interest::ERROR) }?)
}

fn set_option(fd: RawFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or_default();
    // SAFETY: the pointer and the size describe `value`, which outlives the call.
    let result = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes one entry from the socket's error queue: where the datagram went that was refused, `None` for another kind of trouble.
fn refused_peer(fd: RawFd) -> io::Result<Option<SocketAddr>> {
    #[repr(align(8))]
    struct Control([u8; 512]);
    // SAFETY: all-zero is a valid value of these C structs.
    let (mut name, mut message): (libc::sockaddr_storage, libc::msghdr) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let mut control = Control([0; 512]);
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = libc::socklen_t::try_from(size_of_val(&name)).unwrap_or_default();
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len();
    // SAFETY: every pointer in `message` is to a buffer on this stack of the length that stands beside it.
    if unsafe { libc::recvmsg(fd, &raw mut message, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel filled `message`; the macros stay within its control buffer.
    let mut entry = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !entry.is_null() {
        // SAFETY: `entry` is not null and comes from the CMSG macros.
        let (level, kind) = unsafe { ((*entry).cmsg_level, (*entry).cmsg_type) };
        let is_error = matches!((level, kind), (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR));
        if is_error {
            // SAFETY: the kernel puts a `sock_extended_err` into a control message of this kind.
            let error = unsafe { libc::CMSG_DATA(entry).cast::<libc::sock_extended_err>().read_unaligned() };
            let gone = [libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::ENETUNREACH];
            if gone.iter().any(|code| u32::try_from(*code).is_ok_and(|code| code == error.ee_errno)) {
                return Ok(socket_addr(&name));
            }
        }
        // SAFETY: as above.
        entry = unsafe { libc::CMSG_NXTHDR(&raw const message, entry) };
    }
    Ok(None)
}

fn socket_addr(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let pointer = &raw const *name;
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which struct it is, and the storage is large and aligned enough for each.
            let v4 = unsafe { pointer.cast::<libc::sockaddr_in>().read() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(v4.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { pointer.cast::<libc::sockaddr_in6>().read() };
            Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)), u16::from_be(v6.sin6_port)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Network;

    fn settings(addresses: &[&str]) -> Settings {
        let networks = addresses
            .iter()
            .map(|bind| {
                let bind: SocketAddr = bind.parse().unwrap();
                Network { name: bind.to_string(), bind, advertise: bind.ip() }
            })
            .collect();
        Settings { networks, ..Settings::default() }
    }

    #[tokio::test]
    async fn a_datagram_goes_from_one_network_to_another() {
        let mut sockets = Sockets::bind(&settings(&["127.0.0.1:0", "127.0.0.2:0"])).unwrap();
        let to = sockets.local_addr(1).unwrap();
        sockets.send(&Transmit { network: 0, to, bytes: b"hello".to_vec() }).unwrap();
        sockets.readable().await.unwrap();
        let mut got = Vec::new();
        let count = sockets.recv_batch(10, |received| match received {
            Received::Datagram { network, from, bytes } => got.push((network, from, bytes.to_vec())),
            Received::Refused { .. } => {}
        });
        assert_eq!((count, got), (1, vec![(1, sockets.local_addr(0).unwrap(), b"hello".to_vec())]));
    }

    #[tokio::test]
    async fn the_kernel_says_which_peer_refuses() {
        let mut sockets = Sockets::bind(&settings(&["127.0.0.1:0"])).unwrap();
        let peer = {
            let gone = UdpSocket::bind("127.0.0.3:0").unwrap();
            gone.local_addr().unwrap()
        };
        sockets.send(&Transmit { network: 0, to: peer, bytes: b"hello".to_vec() }).unwrap();
        sockets.readable().await.unwrap();
        let mut refused = Vec::new();
        sockets.recv_batch(10, |received| {
            if let Received::Refused { network, peer } = received {
                refused.push((network, peer));
            }
        });
        assert_eq!(refused, vec![(0, peer)]);
    }
}
