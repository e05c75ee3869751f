//! Text to `Config`, or sentences that name file, line and remedy: all that is wrong at once, not only the first.
//!
//! `config/example.toml` explains every key. The rooms have settings types of their own; the conductor fills those from here.

mod calendar;
mod check;
mod day_list;
mod overflow;
mod read;
mod recording;
mod secret;
mod span;

pub use calendar::{Calendar, Hours, Week};
pub use day_list::{Days, Holidays};
pub use overflow::{AtClosing, Overflow, Then};
pub use read::{ConfigError, ConfigErrors};
pub use recording::{Archive, ArchiveKind, Recording};
pub use secret::{Secret, read_or_make};
pub use span::{SpanError, span};

use crate::ids::*;
use crate::pii::Phone;
use crate::routing::{AgentOrder, Policy};
use crate::skills::Requirement;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One installation as its file describes it: every name in it is known, every secret is read.
#[derive(Clone, Debug)]
pub struct Config {
    /// Journal, tables, recordings and generated secrets live here. `DOZVON_DATA` wins over the file.
    pub data: PathBuf,
    /// Folder of the robot's scripts.
    pub scripts: PathBuf,
    /// At least one; region 0 in Moscow's zone if the file names none.
    pub regions: Vec<Region>,
    pub networks: Vec<Network>,
    pub trunks: Vec<Trunk>,
    pub numbers: Vec<Number>,
    pub queues: Vec<Queue>,
    /// `[[agent]]` one by one and each of every `[[agents]]` group.
    pub agents: Vec<Agent>,
    agents_by_user: BTreeMap<AgentId, usize>,
    pub routes: Vec<Route>,
    pub calendars: Vec<Calendar>,
    pub callbacks: Callbacks,
    pub store: Store,
    pub acd: Acd,
    pub http: Http,
    pub booking: Booking,
    pub webhooks: Vec<Webhook>,
    pub media: Media,
    pub recording: Recording,
    /// `None`: recordings stay here.
    pub archive: Option<Archive>,
    pub sip: Sip,
    pub limits: Limits,
    pub codes: Codes,
    pub standby: Standby,
    pub breaks: Vec<BreakReason>,
    pub missed_offers: MissedOffers,
    pub flapping: Flapping,
}

impl Config {
    pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|cause| ConfigErrors::unreadable(&name, &cause))?;
        Self::parse(&name, &text)
    }

    /// `name` stands before each error. Secrets and `DOZVON_DATA` come from the process environment.
    pub fn parse(name: &str, text: &str) -> Result<Config, ConfigErrors> {
        Self::parse_with(name, text, &|key| std::env::var(key).ok())
    }

    /// As [`Config::parse`], with the environment as an argument.
    pub fn parse_with(name: &str, text: &str, env: Environment) -> Result<Config, ConfigErrors> {
        let mut file = read::File::new(name, text);
        let config = check::config(&mut file, env);
        file.finish(config)
    }

    pub fn region(&self, region: RegionId) -> Option<&Region> {
        self.regions.iter().find(|r| r.code == region)
    }

    pub fn agent(&self, agent: &AgentId) -> Option<&Agent> {
        self.agents_by_user.get(agent).and_then(|at| self.agents.get(*at))
    }

    pub fn queue(&self, queue: &QueueId) -> Option<&Queue> {
        self.queues.iter().find(|q| q.name == *queue)
    }

    /// A reason that agents may give for a break; `None` also if any word will do.
    pub fn break_reason(&self, reason: &str) -> Option<&BreakReason> {
        self.breaks.iter().find(|known| known.reason == reason)
    }

    pub fn route(&self, route: &RouteId) -> Option<&Route> {
        self.routes.iter().find(|r| r.name == *route)
    }

    pub fn calendar(&self, name: &str) -> Option<&Calendar> {
        self.calendars.iter().find(|c| c.name == name)
    }

    /// Whose number was dialled, in whatever form the trunk writes it: `+78001234567` is also `88001234567` and `8001234567`.
    pub fn number(&self, dialled: &str) -> Option<&Number> {
        let dialled = one_form(dialled);
        self.numbers.iter().find(|number| number.dialled.iter().any(|own| one_form(own) == dialled))
    }

    /// Every form in which one of our numbers may stand in an INVITE.
    pub fn dialled_forms(&self) -> BTreeSet<String> {
        let mut forms = BTreeSet::new();
        for dialled in self.numbers.iter().flat_map(|number| &number.dialled) {
            let form = one_form(dialled);
            if let Some(ten) = form.strip_prefix("+7").filter(|ten| ten.len() == 10) {
                forms.extend([format!("7{ten}"), format!("8{ten}"), ten.to_owned()]);
            }
            forms.insert(form);
        }
        forms
    }

    /// Where the media process listens.
    pub fn media_socket(&self) -> PathBuf {
        self.media.socket.clone().unwrap_or_else(|| self.data.join("media.sock"))
    }

    /// Where recordings are kept.
    pub fn recordings(&self) -> PathBuf {
        self.recording.dir.clone().unwrap_or_else(|| self.data.join("recordings"))
    }

    /// How long recordings of this queue are kept.
    pub fn keep_recordings(&self, queue: Option<&QueueId>) -> Duration {
        let days = queue.and_then(|queue| self.queue(queue)).and_then(|queue| queue.keep_recordings_days);
        Duration::from_secs(u64::from(days.unwrap_or(self.recording.keep_days)) * 86_400)
    }

    /// The token the API wants, `None` if it stands open. Without a token in the configuration one is made at the first start and
    /// kept beside the journal, readable for the owner only.
    pub fn http_token(&self) -> std::io::Result<Option<Secret>> {
        match (&self.http.token, self.http.open) {
            (_, true) => Ok(None),
            (Some(token), false) => Ok(Some(token.clone())),
            (None, false) => secret::read_or_make(&self.data.join(Http::TOKEN_FILE)).map(Some),
        }
    }
}

/// Looks a variable of the environment up.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// One number in one form, however it was written; short numbers stay as they are.
fn one_form(dialled: &str) -> String {
    Phone::parse(dialled, None).map_or_else(|| dialled.to_owned(), |phone| phone.expose().to_owned())
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// Number in the list of federal subjects.
    pub code: RegionId,
    pub title: String,
    /// IANA name, such as `Asia/Barnaul`.
    pub zone: String,
    /// Whether a call out of hours owes a callback.
    #[serde(default)]
    pub callback_when_closed: bool,
    /// Whether agents are asked to call back here, if anywhere.
    #[serde(default = "yes")]
    pub dial: bool,
    /// By when a callback is promised here; zero: as `[callbacks]` has it.
    #[serde(rename = "callback_within_s", with = "seconds", default)]
    pub callback_within: Duration,
}

impl Region {
    /// UTC should the zone have left the zone database since the configuration was read.
    pub fn time_zone(&self) -> jiff::tz::TimeZone {
        jiff::tz::TimeZone::get(&self.zone).unwrap_or(jiff::tz::TimeZone::UTC)
    }
}

/// One address on which we speak SIP and media.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    pub name: String,
    pub bind: SocketAddr,
    /// Shown in Via, Contact and SDP; the bound address if left out.
    pub advertise: Option<IpAddr>,
    /// Where media is bound; the address of `bind` if left out.
    pub media: Option<IpAddr>,
    #[serde(default)]
    pub ports: Ports,
}

impl Network {
    pub fn advertised(&self) -> IpAddr {
        self.advertise.unwrap_or(self.bind.ip())
    }
    pub fn media_ip(&self) -> IpAddr {
        self.media.unwrap_or(self.bind.ip())
    }
}

/// RTP ports, both ends included: even for RTP, the odd one above for RTCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    pub first: u16,
    pub last: u16,
}

impl Default for Ports {
    /// Under Linux' ephemeral range (32768 on), so that no socket of somebody else takes one of them by chance.
    fn default() -> Self {
        Self { first: 10_000, last: 29_999 }
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let text = String::deserialize(source)?;
        let ends = text.split_once('-').and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
        let wrong = || serde::de::Error::custom(format!("`{text}` is no port range; write it as \"10000-29999\", first even"));
        let (first, last): (u16, u16) = ends.ok_or_else(wrong)?;
        if first % 2 == 0 && first >= 1024 && first < last { Ok(Self { first, last }) } else { Err(wrong()) }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trunk {
    pub name: TrunkId,
    pub network: String,
    pub region: Option<RegionId>,
    /// INVITEs from these addresses are this trunk's, without authentication.
    #[serde(default)]
    pub peers: Vec<IpAddr>,
    /// Where our calls go out.
    pub contact: Option<SocketAddr>,
    /// OPTIONS to `contact` this often; zero: never.
    #[serde(rename = "watch_s", with = "seconds", default = "secs::<30>")]
    pub watch: Duration,
    #[serde(default)]
    pub dialled: Dialled,
    /// Completes local callers (`3852`).
    pub area: Option<String>,
    pub our_number: Option<String>,
    /// Outgoing calls show the citizen's number instead of ours.
    #[serde(default)]
    pub show_caller: bool,
    /// Contracted channels; 0 = no limit.
    #[serde(default)]
    pub channels: u32,
}

/// Where the number dialled stands in an INVITE of this trunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialled {
    #[default]
    RequestUri,
    To,
    Diversion,
    PCalledPartyId,
}

/// One service and the numbers under which it is dialled.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Number {
    pub dialled: Vec<String>,
    pub script: ScriptId,
    #[serde(default)]
    pub region: RegionId,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    pub name: QueueId,
    /// Name for people; the key if left out.
    #[serde(default)]
    pub title: String,
    #[serde(default)]
    pub region: RegionId,
    /// Skill → least level (1–100). `skill = "x"` in the file is `requires = { x = 1 }`.
    #[serde(default)]
    pub requires: Requires,
    #[serde(default)]
    skill: Option<Skill>,
    /// After so much waiting agents who fulfil this will do as well.
    #[serde(default)]
    pub relax: Vec<Relaxed>,
    /// Agents who fulfil this are asked before the others.
    pub prefers: Option<Requires>,
    /// Reserve agents join for callers who have waited this long; zero: never.
    #[serde(rename = "reserves_after_s", with = "seconds", default)]
    pub reserves_after: Duration,
    /// Which free agent a caller gets; the policy's own way if left out.
    pub agents: Option<AgentOrder>,
    /// So many phones ring for one caller at a time, where so many agents are free; who answers first has the caller.
    #[serde(default = "number::<1>")]
    pub ring_at_once: u32,
    #[serde(rename = "target_s", with = "seconds", default = "secs::<30>")]
    pub target: Duration,
    #[serde(default)]
    pub priority: u8,
    #[serde(default = "number::<200>")]
    pub max_waiting: u32,
    #[serde(rename = "ring_s", with = "seconds", default = "secs::<15>")]
    pub ring: Duration,
    #[serde(rename = "wrap_up_s", with = "seconds", default = "secs::<20>")]
    pub wrap_up_time: Duration,
    /// Zero: the place is never told.
    #[serde(rename = "announce_after_s", with = "seconds", default = "secs::<20>")]
    pub announce_after: Duration,
    #[serde(rename = "announce_every_s", with = "seconds", default = "secs::<45>")]
    pub announce_every: Duration,
    /// Talks of this queue may be recorded.
    #[serde(default = "yes")]
    pub record: bool,
    /// How long recordings of this queue are kept; as `[recording]` says if left out.
    #[serde(default)]
    pub keep_recordings_days: Option<u32>,
    /// Ask the agent's phone to answer by itself.
    #[serde(default)]
    pub auto_answer: bool,
    /// Its opening hours; always open if left out.
    pub calendar: Option<String>,
    #[serde(default)]
    pub at_closing: AtClosing,
    /// The first line that holds for a caller counts.
    #[serde(default)]
    pub overflow: Vec<Overflow>,
    #[serde(default = "yes")]
    pub announce_place: bool,
    /// One of them is said with each announcement, in turn.
    #[serde(default)]
    pub announce_texts: Vec<PromptId>,
    #[serde(default)]
    pub wrap_up: WrapUp,
    /// So much longer each time an agent asks.
    #[serde(rename = "wrap_up_more_s", with = "seconds", default = "secs::<30>")]
    pub wrap_up_more: Duration,
    /// No wrap-up lasts longer, asked for or for want of a code.
    #[serde(rename = "wrap_up_longest_s", with = "seconds", default = "secs::<180>")]
    pub wrap_up_longest: Duration,
    /// What may come of a talk: digits and title.
    #[serde(default)]
    pub wrap_up_codes: BTreeMap<String, String>,
    #[serde(default)]
    pub wrap_up_code_required: bool,
}

/// How a wrap-up ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WrapUp {
    /// By its time, or when the agent is done.
    #[default]
    FinishEarly,
    /// By its time only.
    Forced,
    /// As `FinishEarly`, and an agent may ask for more.
    Extendable,
}

impl Queue {
    /// Every skill that is required or preferred, now or after a while.
    fn skills(&self) -> BTreeSet<&Skill> {
        let later = self.relax.iter().map(|relaxed| &relaxed.requires);
        std::iter::once(&self.requires).chain(later).chain(&self.prefers).flat_map(|requires| requires.0.skills()).collect()
    }
}

/// A requirement as the file writes it: `{ booking = 50 }` or `"therapy >= 5 and tatar >= 1"`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Requires(pub Requirement);

impl<'de> Deserialize<'de> for Requires {
    fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "write { skill = level } or \"skill >= level and …\"")]
        enum Written {
            Text(String),
            Levels(BTreeMap<Skill, u8>),
        }
        match Written::deserialize(source)? {
            Written::Levels(levels) => Ok(Self(levels.into())),
            Written::Text(text) => Requirement::parse(&text).map(Self).map_err(serde::de::Error::custom),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relaxed {
    #[serde(rename = "after_s", with = "seconds")]
    pub after: Duration,
    pub requires: Requires,
}

/// What holds for all queues.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acd {
    #[serde(default)]
    pub policy: Policy,
    /// Whoever has waited this long comes before everybody who entered later; zero: nobody does.
    #[serde(rename = "overdue_after_s", with = "seconds", default = "secs::<600>")]
    pub overdue_after: Duration,
    /// Who rings again within this time gets the agent they spoke with; zero: nobody is remembered.
    #[serde(rename = "last_agent_within_s", with = "seconds", default)]
    pub last_agent_within: Duration,
    /// … and waits so long for that agent alone, if they are busy.
    #[serde(rename = "last_agent_wait_s", with = "seconds", default = "secs::<20>")]
    pub last_agent_wait: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    pub user: AgentId,
    /// Name for people; the user name if the file gives none.
    pub title: String,
    pub region: RegionId,
    pub network: String,
    /// Skill → level (1–100).
    pub skills: BTreeMap<Skill, u8>,
    pub phone: AgentPhone,
    pub auto_answer: bool,
    /// A phone that registers makes its agent ready, without a sign-in.
    pub ready_on_register: bool,
    /// Missed offers in a row that end in a break; 0 = never.
    pub misses_to_break: u8,
    /// Joins a queue only for callers who have waited its `reserves_after_s`.
    pub reserve: bool,
}

/// How the agent's phone is found.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentPhone {
    /// The phone registers with this password.
    Registers { password: Secret, sha256: bool },
    /// The phone always stands here. `always_ready`: and its agent needs no sign-in.
    Stands { contact: SocketAddr, always_ready: bool },
    /// No phone yet; the account only stands in the list.
    None,
}

/// A way out of the house: 103, another organisation.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    pub name: RouteId,
    #[serde(default)]
    pub title: String,
    /// Tried one after the other.
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub trunk: TrunkId,
    pub number: String,
    #[serde(rename = "ring_s", with = "seconds", default = "secs::<30>")]
    pub ring: Duration,
}

/// From which wait on an abandon owes a callback.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Callbacks {
    #[serde(rename = "menu_after_s", with = "seconds", default = "secs::<10>")]
    pub menu_after: Duration,
    #[serde(rename = "queue_after_s", with = "seconds", default = "secs::<3>")]
    pub queue_after: Duration,
    /// The engine calls back by itself; otherwise tasks are listed for people.
    #[serde(default)]
    pub dial: bool,
    #[serde(default = "three")]
    pub attempts: u32,
    #[serde(rename = "gap_s", with = "seconds", default = "secs::<1800>")]
    pub gap: Duration,
    /// Hours of the citizen's day: from the first, before the second.
    #[serde(default = "by_day")]
    pub hours: [u32; 2],
    /// Agents of a queue who stay free for who may call; left out: the square root of a third of those on duty.
    pub idle_agents: Option<u32>,
    /// So long the citizen's phone rings.
    #[serde(rename = "ring_s", with = "seconds", default = "secs::<30>")]
    pub ring: Duration,
    /// By when a callback is promised, counted in `hours`.
    #[serde(rename = "within_s", with = "seconds", default = "secs::<28_800>")]
    pub within: Duration,
    /// Who fell out of a queue or a talk and rings again so soon has the old place.
    #[serde(rename = "place_kept_s", with = "seconds", default = "secs::<300>")]
    pub place_kept: Duration,
    /// They go there without the menu.
    #[serde(default = "yes")]
    pub skip_menu: bool,
}

fn three() -> u32 {
    3
}

fn by_day() -> [u32; 2] {
    [9, 21]
}

/// Where the tables stand.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    #[serde(default)]
    pub kind: StoreKind,
    url: Option<String>,
    url_env: Option<String>,
    url_file: Option<PathBuf>,
    /// PostgreSQL's address; read from `url`, `url_env` or `url_file`, and there if `kind` wants it.
    #[serde(skip)]
    pub address: Option<Secret>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// One file in the data folder.
    #[default]
    Sqlite,
    Postgres,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    #[serde(default = "Http::default_bind")]
    pub bind: SocketAddr,
    /// No token wanted; only on loopback.
    #[serde(default)]
    pub open: bool,
    token_env: Option<String>,
    token_file: Option<PathBuf>,
    /// Read from `token_env` or `token_file`.
    #[serde(skip)]
    pub token: Option<Secret>,
    /// Reverse proxies whose `X-Forwarded-For` counts in the audit.
    #[serde(default)]
    pub trusted: Vec<IpAddr>,
}

impl Http {
    /// Within the data folder.
    pub const TOKEN_FILE: &str = "http-token";

    fn default_bind() -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 8122))
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Booking {
    #[serde(default)]
    pub kind: BookingKind,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BookingKind {
    /// The embedded core.
    Reference,
    #[default]
    None,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    pub url: String,
    secret_env: Option<String>,
    /// Key of the HMAC over the body.
    #[serde(skip)]
    pub secret: Option<Secret>,
    /// Event names, `interaction.*` for a kind; empty: all.
    #[serde(default)]
    pub events: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Media {
    /// 0: one per core.
    #[serde(default)]
    pub threads: usize,
    /// On threads of the engine: its end is then the end of all audio.
    #[serde(default)]
    pub inside: bool,
    /// The engine starts a media process if none listens; else somebody else does.
    #[serde(default = "yes")]
    pub start: bool,
    socket: Option<PathBuf>,
    /// Without an engine for so long, the media process ends.
    #[serde(rename = "orphan_after_s", with = "seconds", default = "secs::<600>")]
    pub orphan_after: Duration,
}

/// The warm standby of this line, or the line of this standby: both have the same token.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standby {
    token_env: Option<String>,
    token_file: Option<PathBuf>,
    /// The line is whose the lease in PostgreSQL is: a standby takes it, and the line, once it has expired.
    #[serde(default)]
    pub lease: bool,
    /// `None`: nothing is given to a standby.
    #[serde(skip)]
    pub token: Option<Secret>,
}

/// How a far end that is gone is found out; see `sip::Settings`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sip {
    /// Zero: nobody is asked for a session timer.
    #[serde(rename = "session_expires_s", with = "seconds", default = "secs::<0>")]
    pub session_expires: Duration,
    /// Zero: never.
    #[serde(rename = "probe_held_s", with = "seconds", default = "secs::<60>")]
    pub probe_held: Duration,
}

/// Bounds; see `sip::Limits` for what happens beyond each of the SIP side.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    #[serde(default = "size::<20_000>")]
    pub transactions: usize,
    #[serde(default = "size::<10_000>")]
    pub reserved_for_trunks: usize,
    #[serde(default = "size::<200>")]
    pub per_source: usize,
    #[serde(default = "size::<6_000>")]
    pub legs: usize,
    #[serde(default = "size::<4>")]
    pub contacts: usize,
    /// How long a drain waits for talks to end before they are cut.
    #[serde(rename = "drain_s", with = "seconds", default = "secs::<600>")]
    pub drain: Duration,
    /// How long the journal of facts is kept once the tables have it.
    #[serde(rename = "journal_days", with = "days", default = "secs::<{ 400 * 86_400 }>")]
    pub journal: Duration,
    /// How long the phone of a person is kept after it was last used.
    #[serde(rename = "people_days", with = "days", default = "secs::<{ 180 * 86_400 }>")]
    pub people: Duration,
    /// How long events are kept in the outbox once every receiver has them.
    #[serde(rename = "outbox_days", with = "days", default = "secs::<{ 30 * 86_400 }>")]
    pub outbox: Duration,
}

/// A reason for a break.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakReason {
    pub reason: String,
    /// Who stays longer is overdue; zero: nobody is.
    #[serde(rename = "longest_s", with = "seconds", default)]
    pub longest: Duration,
    /// Digit that agents dial behind the code for a break.
    pub key: Option<String>,
}

/// What follows from a missed offer, by its reason; see `acd::MissPolicies`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MissedOffers {
    pub no_answer: Option<MissPolicy>,
    pub busy: Option<MissPolicy>,
    pub rejected: Option<MissPolicy>,
    pub unregistered: Option<MissPolicy>,
    pub unreachable: Option<MissPolicy>,
}

impl MissedOffers {
    fn all(&self) -> [(&'static str, Option<MissPolicy>); 5] {
        let Self { no_answer, busy, rejected, unregistered, unreachable } = *self;
        [
            ("no_answer", no_answer),
            ("busy", busy),
            ("rejected", rejected),
            ("unregistered", unregistered),
            ("unreachable", unreachable),
        ]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MissPolicy {
    #[serde(rename = "rest_s", with = "seconds")]
    pub rest: Duration,
    /// Doubled with every such failure in a row up to this; zero: it does not grow.
    #[serde(rename = "longest_rest_s", with = "seconds", default)]
    pub longest_rest: Duration,
    /// Whether it counts among `misses_to_break`.
    pub counts: bool,
}

/// Who comes to work more often than `times` within a while is left alone for a while; 0: nobody is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flapping {
    #[serde(default = "number::<6>")]
    pub times: u32,
    #[serde(rename = "within_s", with = "seconds", default = "secs::<60>")]
    pub within: Duration,
    #[serde(rename = "rest_s", with = "seconds", default = "secs::<60>")]
    pub rest: Duration,
}

/// What an agent may dial from the phone.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Codes {
    #[serde(default = "code::<'1'>")]
    pub ready: String,
    #[serde(rename = "break", default = "code::<'2'>")]
    pub on_break: String,
    #[serde(default = "code::<'3'>")]
    pub offline: String,
    #[serde(default = "code::<'4'>")]
    pub finish_wrap_up: String,
    /// Pressed in a callback's talk, or dialled beside it.
    #[serde(default = "code::<'5'>")]
    pub voicemail: String,
    #[serde(default = "code::<'6'>")]
    pub wrong_number: String,
    /// Dialled with the digits of a wrap-up code behind it.
    #[serde(default = "code::<'7'>")]
    pub wrap_up_code: String,
    #[serde(default = "code::<'8'>")]
    pub extend_wrap_up: String,
}

impl Codes {
    pub fn all(&self) -> [&str; 8] {
        let Self { ready, on_break, offline, finish_wrap_up, voicemail, wrong_number, wrap_up_code, extend_wrap_up } = self;
        [ready, on_break, offline, finish_wrap_up, voicemail, wrong_number, wrap_up_code, extend_wrap_up]
    }
}

/// `_s` keys: whole seconds.
mod seconds {
    use super::*;

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
        u32::deserialize(source).map(|seconds| Duration::from_secs(seconds.into()))
    }
}

/// `_days` keys: whole days.
mod days {
    use super::*;

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
        u32::deserialize(source).map(|days| Duration::from_secs(u64::from(days) * 86_400))
    }
}

fn secs<const N: u64>() -> Duration {
    Duration::from_secs(N)
}
fn number<const N: u32>() -> u32 {
    N
}
fn size<const N: usize>() -> usize {
    N
}
fn code<const KEY: char>() -> String {
    format!("*{KEY}")
}
fn misses() -> u8 {
    3
}
fn yes() -> bool {
    true
}
