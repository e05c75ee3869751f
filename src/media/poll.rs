//! What the kernel offers and the standard library does not: one epoll, a wake-up call, socket options for audio, a write that never
//! waits, a session of one's own.

use crate::clock::Moment;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sockets served in one look; the rest is seen in the next.
const READY_MAX: usize = 256;
/// A leg's socket holds about 0.6 s of audio as the kernel counts it: longer would be too late to hear, and it costs memory a call.
const RECEIVE_BUFFER: libc::c_int = 24 << 10;
/// RFC 4594 §4.1: telephony is Expedited Forwarding, code point 46.
const TOS_EXPEDITED: libc::c_int = 46 << 2;

pub struct Poll {
    epoll: OwnedFd,
    ready: Vec<libc::epoll_event>,
}

impl Poll {
    pub fn new() -> io::Result<Poll> {
        // SAFETY: no pointers; the result is checked and owned at once.
        let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        Ok(Poll { epoll, ready: Vec::with_capacity(READY_MAX) })
    }

    pub fn add(&self, fd: &impl AsRawFd, token: u32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token.into() };
        // SAFETY: `event` outlives the call.
        checked(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &mut event) }).map(drop)
    }

    pub fn remove(&self, fd: &impl AsRawFd) {
        // SAFETY: EPOLL_CTL_DEL takes no event. It fails only for a descriptor that is not in, which is what we want.
        unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, fd.as_raw_fd(), std::ptr::null_mut()) };
    }

    /// Sleeps until something arrives or `due` comes; the tokens of what arrived are then in `ready`.
    pub fn wait(&mut self, now: Moment, due: Moment) -> io::Result<()> {
        let sleep = due.since(now);
        let timeout = libc::timespec { tv_sec: sleep.as_secs() as libc::time_t, tv_nsec: sleep.subsec_nanos().into() };
        self.ready.clear();
        // SAFETY: the vector has room for READY_MAX events and the kernel writes at most so many; `timeout` outlives the call.
        let count = unsafe {
            libc::epoll_pwait2(
                self.epoll.as_raw_fd(),
                self.ready.as_mut_ptr(),
                READY_MAX as libc::c_int,
                &timeout,
                std::ptr::null(),
            )
        };
        let count = match checked(count) {
            Ok(count) => count as usize,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        // SAFETY: the kernel has filled this many.
        unsafe { self.ready.set_len(count) };
        Ok(())
    }

    pub fn ready(&self, at: usize) -> Option<u32> {
        self.ready.get(at).map(|event| event.u64 as u32)
    }
}

/// Wakes a thread that sleeps in its `Poll`; many calls before it looks cost one system call.
#[derive(Clone)]
pub struct Waker {
    fd: Arc<OwnedFd>,
    rung: Arc<AtomicBool>,
}

impl Waker {
    pub fn new() -> io::Result<Waker> {
        // SAFETY: no pointers; the result is checked and owned at once.
        let fd = owned(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
        Ok(Waker { fd: Arc::new(fd), rung: Arc::default() })
    }

    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // SAFETY: the descriptor is open as long as `self`.
            unsafe { libc::eventfd_write(self.fd.as_raw_fd(), 1) };
        }
    }

    /// To be called by the thread before it looks for what the ring was about.
    pub fn heard(&self) {
        let mut count = 0;
        // SAFETY: `count` outlives the call.
        unsafe { libc::eventfd_read(self.fd.as_raw_fd(), &mut count) };
        self.rung.store(false, Ordering::Release);
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

pub fn bind_audio(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER)?;
    if address.is_ipv4() {
        set_option(&socket, libc::IPPROTO_IP, libc::IP_TOS, TOS_EXPEDITED)?;
    } else {
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, TOS_EXPEDITED)?;
    }
    Ok(socket)
}

/// Lets this thread's sleeps end on time; the kernel's default is up to 50 µs late.
pub fn sleep_precisely() {
    // SAFETY: no pointers.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
}

/// Lets this thread run as soon as a packet is there, whatever else the machine does, where the system allows it (root, or
/// `LimitRTPRIO`). It sleeps most of the time; should it ever not, the kernel keeps a share for others (`sched_rt_runtime_us`).
pub fn go_before_other_work() -> bool {
    const PRIORITY: i32 = 10;
    let wanted = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: `wanted` outlives the call; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &wanted) == 0 }
}

/// Writes what the socket's buffer takes at this moment. `WouldBlock` if that is nothing.
pub fn send_now(stream: &UnixStream, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `bytes` outlives the call and its length is its own.
    let sent = unsafe { libc::send(stream.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// What `command` starts is no part of this session: signals of the terminal do not reach it.
pub fn leave_session(command: &mut Command) {
    // SAFETY: setsid is async-signal-safe and touches no memory. It fails only for the leader of a group, which a fork never is.
    unsafe { command.pre_exec(|| checked(libc::setsid()).map(drop)) };
}

fn set_option(socket: &UdpSocket, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `value` outlives the call and `size` is its size.
    checked(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size) }).map(drop)
}

fn owned(fd: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: a non-negative result of the calls above is a new descriptor that nobody else owns.
    checked(fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The process at the other end of the stream; of one that listens, the one that began to.
pub fn peer(stream: &UnixStream) -> io::Result<libc::pid_t> {
    let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `found` is a ucred of the length given, and both outlive the call.
    checked(unsafe {
        let found: *mut libc::ucred = &mut found;
        libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, found.cast(), &mut length)
    })?;
    Ok(found.pid)
}

/// SIGTERM.
pub fn terminate(process: libc::pid_t) -> io::Result<()> {
    // SAFETY: plain numbers.
    checked(unsafe { libc::kill(process, libc::SIGTERM) }).map(drop)
}
