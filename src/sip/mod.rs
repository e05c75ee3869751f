//! Signalling: SIP messages in, what they mean for a call out. A brain ([`UserAgent`]) and one shell that owns the sockets.
//!
//! **Architecture invariant:** this room names neither audio nor queues, and nothing from a wire is a type of its public signatures
//! before it has been read into our own words.

use crate::ids::*;
use crate::pii::Phone;
use crate::stream::{Direction, Stream};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

mod dialog;
pub mod digest;
pub mod framer;
pub mod message;
pub mod registrar;
mod reply;
pub mod sdp;
mod session_timer;
#[cfg(feature = "live")]
pub mod shell;
mod text;
mod transaction;
mod uri;
mod user_agent;
mod vet;
mod via;

#[cfg(feature = "live")]
pub use shell::{Received, Sockets};
pub use user_agent::{Counters, LegStage, RestoreLegError, UserAgent};

/// What the user agent has to tell the call.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A new call: the INVITE passed every check (trust, number plan, limits). 100 is already sent.
    Invited(Box<Invited>),
    /// Our 200 was acknowledged.
    Confirmed { leg: LegId },
    /// CANCEL came in time: the far end has its 487.
    Cancelled { leg: LegId },
    /// A provisional answer to our `Dial`: 180 and the like; `early` if it carries an answer.
    Ringing { leg: LegId, early: Option<Stream> },
    /// 200 to our `Dial`; the ACK is sent.
    Answered { leg: LegId, stream: Stream },
    /// A final refusal of our `Dial`, also 408 for silence and 503 for a network that refuses.
    Refused { leg: LegId, status: u16 },
    /// The stream is another one: the far end changed it (re-INVITE or UPDATE: hold, resume, another address; already answered),
    /// accepted our `Change`, or answered in its ACK the offer of our 200 (then right before `Confirmed`).
    Changed { leg: LegId, stream: Stream },
    /// A key by SIP INFO.
    Digit { leg: LegId, digit: char },
    /// BYE, already answered.
    HungUp { leg: LegId },
    /// The dialog is over without a word from the far end: ACK never came, a request was not answered, the session was not
    /// refreshed in time.
    Lost { leg: LegId },
    /// A phone registered, refreshed or left.
    Registered { agent: AgentId, reachable: bool },
    /// An agent dialled a feature code from a phone (`*1` ready, …); already answered with an empty call that ends at once.
    FeatureCode { agent: AgentId, code: String },
    /// A call for a number of ours was turned away by a limit: 486 beyond the trunk's channels, 503 beyond ours or while draining.
    /// Already answered.
    Blocked { trunk: TrunkId, dialled: String, caller: Option<Phone>, status: u16 },
    /// A trunk answers our OPTIONS (or its own were seen), or no longer does.
    TrunkReachable { trunk: TrunkId, reachable: bool },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Invited {
    pub leg: LegId,
    pub trunk: TrunkId,
    /// Network in which the leg stands (media is opened there).
    pub network: String,
    /// The number dialled, as the trunk's rule finds it (Request-URI, To, Diversion, P-Called-Party-ID): user part only.
    pub dialled: String,
    pub caller: Option<Phone>,
    /// The far end's offer, or `None`: then our 200 offers and the ACK answers.
    pub offer: Option<Stream>,
}

/// What the call wants of the user agent. A command for a leg that is gone changes nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// 180 without a body.
    Ring { leg: LegId },
    /// 183 with our answer: media is heard before the call is answered. Our media stands at `local`.
    Progress { leg: LegId, local: SocketAddr },
    /// 200 with our answer (or offer).
    Answer { leg: LegId, local: SocketAddr },
    /// Refuse with this status; `retry_after` for 503.
    Reject { leg: LegId, status: u16, retry_after: Option<Duration> },
    /// A new leg to an agent's phone or out over a trunk.
    Dial { leg: LegId, target: Target, local: SocketAddr, caller: Option<Phone>, note: DialNote },
    /// End the leg in the way its state asks for: CANCEL, BYE or a refusal. The last word: no event follows.
    HangUp { leg: LegId, reason: Option<HangUpReason> },
    /// Offer the far end another direction or address for our stream.
    Change { leg: LegId, local: SocketAddr, direction: Direction },
    /// OPTIONS inside the dialog; `Lost` follows if the far end no longer knows it.
    Probe { leg: LegId },
    /// Refuse new calls with 503 from here on; OPTIONS says so too.
    Drain,
    /// New settings: trunks, accounts, limits. Live dialogs go on.
    Settings(Box<Settings>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Target {
    /// The agent's registered or static contact.
    Agent(AgentId),
    /// A number over a trunk.
    Trunk { trunk: TrunkId, number: String },
}

/// What the callee's phone is told besides the citizen's number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DialNote {
    /// Goes out as `X-Interaction-Id`.
    pub call: Option<CallId>,
    /// Goes out as `X-Callback`: the task that the call is to carry out, and its story.
    pub callback: Option<String>,
    /// Goes out as `X-Queue` and as display name.
    pub queue: Option<QueueId>,
    /// Ask the phone to answer by itself (`Call-Info: ;answer-after=0` and `Alert-Info: <…>;info=alert-autoanswer`).
    pub auto_answer: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HangUpReason {
    /// `Reason: SIP;cause=200;text="Call completed elsewhere"` (RFC 3326): the phone counts no missed call.
    CompletedElsewhere,
}

/// One datagram to send.
#[derive(Clone, Debug, PartialEq)]
pub struct Transmit {
    /// Index into [`Settings::networks`].
    pub network: usize,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

/// What the user agent must know about the world around it; read at the door from the configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    pub networks: Vec<Network>,
    pub trunks: Vec<Trunk>,
    pub accounts: Accounts,
    /// Numbers that are ours. An INVITE for another one is answered 404.
    pub numbers: Vec<String>,
    /// Feature codes agents may dial, such as `*1`.
    pub feature_codes: Vec<String>,
    pub limits: Limits,
    /// Ask whom we dial for a session timer of so many seconds (RFC 4028), at least 90; `None`: only those that are asked of us.
    pub session_expires_s: Option<u32>,
    /// After so much silence in a dialog that brings us no media, ask whether it still is there.
    pub probe_held: Option<Duration>,
    /// Digest realm.
    pub realm: String,
    /// `Server` and `User-Agent`.
    pub product: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    pub name: String,
    pub bind: SocketAddr,
    /// Address shown in Via, Contact and SDP.
    pub advertise: IpAddr,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Trunk {
    pub trunk: TrunkId,
    pub network: String,
    /// INVITEs from these addresses (any port) are this trunk's, without authentication.
    pub peers: Vec<IpAddr>,
    /// Where our calls go out; also watched by OPTIONS if `watch` is set.
    pub contact: Option<SocketAddr>,
    pub watch: Option<Duration>,
    pub dialled: DialledFrom,
    /// Completes local callers (`3852`).
    pub area: Option<String>,
    /// Our number shown on outgoing calls.
    pub our_number: Option<String>,
    /// Pass the citizen's number on instead of ours.
    pub show_caller: bool,
    /// Contracted channels: live calls above it are 486 (counted as blocked). 0 = no limit.
    pub channels: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DialledFrom {
    #[default]
    RequestUri,
    To,
    Diversion,
    PCalledPartyId,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Accounts {
    pub listed: Vec<Account>,
}

/// An agent's phone account.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    pub agent: AgentId,
    pub network: String,
    /// Password for digest; `None`: cannot register.
    pub password: Option<String>,
    /// Challenge with SHA-256 (RFC 7616) first, MD5 beside it.
    pub sha256: bool,
    /// Where the phone always is, without a registration.
    pub contact: Option<SocketAddr>,
}

/// Bounds, each with what happens beyond it.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Live server transactions in all; beyond it a stateless 503 with Retry-After.
    pub transactions: usize,
    /// Of these, kept free for trunks.
    pub reserved_for_trunks: usize,
    /// Live server transactions of one address from which phones register or dial codes; beyond it 503 with Retry-After.
    pub per_source: usize,
    /// Live legs; beyond it 503.
    pub legs: usize,
    /// Contacts kept for one account; the oldest goes.
    pub contacts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { transactions: 20_000, reserved_for_trunks: 10_000, per_source: 200, legs: 6_000, contacts: 4 }
    }
}
