//! Scripted citizens and agents on real SIP and RTP over UDP: the engine's peer in wire tests and in the demo.
//!
//! A [`Phone`] owns one SIP socket, a [`PhoneCall`] one call with its sound. Every wait is for a condition and has a bound. Messages,
//! transactions and audio are the phone's own, so that a mistake of the engine does not meet itself here.

mod audio;
mod call;
pub mod demo;
mod line;
pub mod message;
#[cfg(test)]
mod tests;
mod wave;

pub use audio::{Heard, Press};
pub use wave::{Voice, to_alaw};

use crate::stream::Direction;
use line::{CallKey, Line};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot, watch};

/// Bound of every wait unless [`PhoneCall::within`] sets another.
pub const WAIT: Duration = Duration::from_secs(10);
/// Calls that came in and wait for [`Phone::next_call`]; further ones follow the policy unseen.
const INCOMING_MAX: usize = 64;

/// One phone (or a whole trunk: it holds any number of calls).
pub struct Phone {
    line: Shared,
    incoming: AsyncMutex<mpsc::Receiver<PhoneCall>>,
}

/// What the phone does when it is called.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OnInvite {
    /// Rings, then answers.
    Answer { after: Duration },
    /// Rings, then refuses.
    Reject { status: u16, after: Duration },
    /// Rings until somebody calls [`PhoneCall::answer`].
    Ring,
}

/// A call to make.
#[derive(Clone)]
pub struct Dial {
    /// Where the INVITE goes.
    pub target: SocketAddr,
    /// User part of the Request-URI.
    pub number: String,
    /// User part of From; `anonymous` for a caller who hides.
    pub from: String,
    /// Payload types offered, in order of preference; 8 = PCMA, 0 = PCMU. Empty: no offer in the INVITE (the 200 offers).
    pub codecs: Vec<u8>,
    pub telephone_event: Option<u8>,
    /// Further headers, such as Diversion.
    pub headers: Vec<(String, String)>,
}

impl Dial {
    pub fn new(target: SocketAddr, number: &str, from: &str) -> Self {
        let (number, from) = (number.to_owned(), from.to_owned());
        Self { target, number, from, codecs: vec![8, 0], telephone_event: Some(101), headers: Vec::new() }
    }
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallState {
    /// INVITE sent, nothing but 100 came back.
    Calling,
    /// 18x sent or received.
    Ringing,
    Answered,
    Ended(End),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// We sent BYE.
    WeHungUp,
    /// They sent BYE.
    TheyHungUp,
    /// Refused with this status, by whichever side.
    Refused(u16),
    /// CANCEL and 487, by whichever side.
    Cancelled,
    /// No answer to our INVITE, or no ACK for our 200.
    Lost,
}

/// What is known of a call's signalling.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub state: CallState,
    /// Direction in the far end's last description, as the far end says it: `SendOnly` or `Inactive` = it holds us.
    pub far_direction: Direction,
    /// The far end's descriptions so far, early media included.
    pub descriptions: u32,
    /// The Reason header of its CANCEL or BYE.
    pub reason: Option<String>,
}

/// A wait that ended without its condition.
#[derive(Debug, Error)]
#[error("waited {bound:?} for {what}, but the call is {state:?} (far end: {far_direction:?})")]
pub struct Waited {
    what: String,
    bound: Duration,
    pub state: CallState,
    far_direction: Direction,
}

/// A registration or a request in a call that was not granted: the final status, `None` for silence.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("not granted: {0:?}")]
pub struct NotGranted(pub Option<u16>);

type Shared = Arc<Mutex<Line>>;

impl Phone {
    /// A phone at `address` (port 0: any). Its calls' audio stands on the same IP.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        let (address, sending) = (socket.local_addr()?, socket.try_clone()?);
        let (sender, receiver) = mpsc::channel(INCOMING_MAX);
        let line = Arc::new_cyclic(|me| Mutex::new(Line::new(sending, address, me.clone(), sender)));
        tokio::spawn(serve(UdpSocket::from_std(socket)?, Arc::downgrade(&line)));
        Ok(Self { line, incoming: AsyncMutex::new(receiver) })
    }

    pub fn address(&self) -> SocketAddr {
        lock(&self.line).address()
    }

    /// Calls `number` at `target`, with `from` as our number.
    pub fn call(&self, target: SocketAddr, number: &str, from: &str) -> io::Result<PhoneCall> {
        self.dial(Dial::new(target, number, from))
    }

    pub fn dial(&self, dial: Dial) -> io::Result<PhoneCall> {
        lock(&self.line).dial(dial)
    }

    /// Registers and keeps registered (each half of the time granted); the account also answers challenges to our calls.
    pub async fn register(&self, registrar: SocketAddr, user: &str, password: &str) -> Result<(), NotGranted> {
        let granted = lock(&self.line).register(registrar, user, password);
        granted_within(granted).await
    }

    /// Takes the registration back (`Expires: 0`).
    pub async fn unregister(&self) -> Result<(), NotGranted> {
        let granted = lock(&self.line).unregister();
        granted_within(granted).await
    }

    /// What happens to calls that come in from here on; at the start [`OnInvite::Ring`].
    pub fn on_invite(&self, policy: OnInvite) {
        lock(&self.line).policy = policy;
    }

    /// The next call that comes in, whatever the policy makes of it.
    pub async fn next_call(&self, within: Duration) -> Option<PhoneCall> {
        tokio::time::timeout(within, async { self.incoming.lock().await.recv().await }).await.ok().flatten()
    }

    /// The phone loses power: not a packet leaves it any more, and it hears nothing. Its sockets stay open, as a firewall would.
    pub fn vanish(&self) {
        lock(&self.line).vanish();
    }

    /// BYE, CANCEL or a refusal for every call, and a moment for the answers.
    pub async fn hang_up_all(&self) {
        let calls = lock(&self.line).calls();
        for call in calls {
            let call = call.within(Duration::from_secs(1));
            call.hang_up();
            let _ = call.wait_ended().await;
        }
    }
}

/// One call of a phone. A clone is another handle on the same call; dropping them all does not hang up.
#[derive(Clone)]
pub struct PhoneCall {
    line: Shared,
    key: CallKey,
    view: watch::Receiver<View>,
    audio: Arc<audio::Audio>,
    bound: Duration,
}

impl PhoneCall {
    /// The same call, waiting no longer than `bound`.
    pub fn within(&self, bound: Duration) -> Self {
        Self { bound, ..self.clone() }
    }

    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    pub fn state(&self) -> CallState {
        self.view.borrow().state
    }

    /// A header of the INVITE that began the call, such as `X-Queue`.
    pub fn invite_header(&self, name: &str) -> Option<String> {
        lock(&self.line).invite_header(&self.key, name)
    }

    pub async fn wait_ringing(&self) -> Result<(), Waited> {
        self.wait_for("ringing", |view| matches!(view.state, CallState::Ringing | CallState::Answered)).await
    }

    pub async fn wait_answered(&self) -> Result<(), Waited> {
        self.wait_for("an answer", |view| view.state == CallState::Answered).await
    }

    /// The call's end, however it came.
    pub async fn wait_ended(&self) -> Result<End, Waited> {
        self.wait_for("the end", |view| matches!(view.state, CallState::Ended(_))).await?;
        match self.state() {
            CallState::Ended(end) => Ok(end),
            CallState::Calling | CallState::Ringing | CallState::Answered => Err(self.waited("the end")),
        }
    }

    /// The far end puts us on hold.
    pub async fn wait_held(&self) -> Result<(), Waited> {
        self.wait_for("hold", |view| matches!(view.far_direction, Direction::SendOnly | Direction::Inactive)).await
    }

    /// The far end talks to us again.
    pub async fn wait_resumed(&self) -> Result<(), Waited> {
        self.wait_for("the end of hold", |view| view.far_direction == Direction::SendRecv).await
    }

    /// Any condition on the signalling. Ends early if the call ended without it.
    pub async fn wait_for(&self, what: &str, condition: impl Fn(&View) -> bool) -> Result<(), Waited> {
        let mut view = self.view.clone();
        let seen = view.wait_for(|view| condition(view) || matches!(view.state, CallState::Ended(_)));
        match tokio::time::timeout(self.bound, seen).await {
            Ok(Ok(view)) if condition(&view) => Ok(()),
            Ok(Ok(_) | Err(_)) | Err(_) => Err(self.waited(what)),
        }
    }

    /// Answers an incoming call that rings.
    pub fn answer(&self) {
        lock(&self.line).answer(&self.key);
    }

    /// Refuses an incoming call that rings.
    pub fn reject(&self, status: u16) {
        lock(&self.line).reject(&self.key, status);
    }

    /// CANCEL, BYE or 603, as the call's state asks for.
    pub fn hang_up(&self) {
        lock(&self.line).hang_up(&self.key);
    }

    /// Gives up a call of ours before it is answered (RFC 3261 §9.1: the CANCEL waits for the first provisional answer).
    pub fn cancel(&self) {
        self.hang_up();
    }

    /// `sendonly`: the far end listens to nothing.
    pub async fn hold(&self) -> Result<(), NotGranted> {
        let granted = lock(&self.line).offer(&self.key, Direction::SendOnly);
        granted_within(granted).await
    }

    pub async fn resume(&self) -> Result<(), NotGranted> {
        let granted = lock(&self.line).offer(&self.key, Direction::SendRecv);
        granted_within(granted).await
    }

    pub fn say(&self, voice: Voice) {
        self.audio.say(voice);
    }

    /// Presses a key by RFC 4733, and waits until it is sent.
    pub async fn press(&self, digit: char) -> Result<(), Waited> {
        self.audio.press(Press::Event(digit));
        self.listen_until("the key to be sent", |audio| !audio.pressing()).await
    }

    /// Presses a key as two tones in the audio, and waits until it is sent.
    pub async fn press_in_band(&self, digit: char) -> Result<(), Waited> {
        self.audio.press(Press::InBand(digit));
        self.listen_until("the key to be sent", |audio| !audio.pressing()).await
    }

    /// Presses a key by SIP INFO (`application/dtmf-relay`), and waits for its 200.
    pub async fn press_info(&self, digit: char) -> Result<(), NotGranted> {
        let granted = lock(&self.line).info(&self.key, digit);
        granted_within(granted).await
    }

    /// Waits until 200 ms of this tone are heard.
    pub async fn hears_tone(&self, hertz: f64) -> Result<(), Waited> {
        self.listen_until(&format!("a tone of {hertz} Hz"), |audio| audio.tone_share(hertz) > 0.7).await
    }

    /// Waits until 400 ms of silence are heard (packets of silence, or none).
    pub async fn heard_silence(&self) -> Result<(), Waited> {
        self.listen_until("silence", |audio| audio.loudness().is_some_and(|loudness| loudness < wave::SILENT)).await
    }

    /// Waits until 400 ms of anything but silence are heard: a prompt, music.
    pub async fn hears_sound(&self) -> Result<(), Waited> {
        self.listen_until("a sound", |audio| audio.loudness().is_some_and(|loudness| loudness >= wave::SILENT)).await
    }

    /// Waits until these keys came in by RFC 4733, in this order, since the call began.
    pub async fn hears_digits(&self, digits: &str) -> Result<(), Waited> {
        self.listen_until(&format!("keys {digits}"), |audio| audio.heard().digits == digits).await
    }

    pub fn heard(&self) -> Heard {
        self.audio.heard()
    }

    async fn listen_until(&self, what: &str, condition: impl Fn(&audio::Audio) -> bool) -> Result<(), Waited> {
        let mut beats = self.audio.beats();
        let heard = async {
            while !condition(&self.audio) {
                if matches!(self.state(), CallState::Ended(_)) || beats.changed().await.is_err() {
                    return Err(self.waited(what));
                }
            }
            Ok(())
        };
        tokio::time::timeout(self.bound, heard).await.unwrap_or_else(|_| Err(self.waited(what)))
    }

    fn waited(&self, what: &str) -> Waited {
        let View { state, far_direction, .. } = self.view();
        Waited { what: what.to_owned(), bound: self.bound, state, far_direction }
    }
}

fn lock(line: &Shared) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn granted_within(granted: oneshot::Receiver<u16>) -> Result<(), NotGranted> {
    match tokio::time::timeout(WAIT, granted).await {
        Ok(Ok(status)) if (200..300).contains(&status) => Ok(()),
        Ok(Ok(status)) => Err(NotGranted(Some(status))),
        Ok(Err(_)) | Err(_) => Err(NotGranted(None)),
    }
}

/// The phone's own loop: datagrams in, and a beat for its timers. Ends with the last handle.
async fn serve(socket: UdpSocket, line: Weak<Mutex<Line>>) {
    let mut beat = tokio::time::interval(audio::BEAT);
    let mut datagram = vec![0; 64 * 1024];
    loop {
        tokio::select! {
            _ = beat.tick() => {
                let Some(line) = line.upgrade() else { return };
                lock(&line).handle_timeout();
            }
            received = socket.recv_from(&mut datagram) => {
                let Some(line) = line.upgrade() else { return };
                if let Ok((length, from)) = received && let Some(bytes) = datagram.get(..length) {
                    lock(&line).handle_datagram(bytes, from);
                }
            }
        }
    }
}
