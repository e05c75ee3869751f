//! The line under test. Who stands where in its network 127.61.N.0: the engine .2, the citizens' trunk .10 (and .11 to .14 for foreign
//! phones), their phones at home .15, agents from .20 on, 103 at .30 and its second way at .31.

use crate::engine::{Engine, Net};
use dozvon::testphone::{Dial, OnInvite, Phone, PhoneCall, Voice};
use serde_json::Value;
use std::fmt::Write;
use std::fs;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

/// Tones far from music, ringback and the robot's beep.
pub const CITIZEN: f64 = 1250.0;
pub const AGENT: f64 = 1750.0;

/// What a test wants different from the usual line.
pub struct Plan {
    pub agents: Vec<Agent>,
    pub ring_s: u32,
    pub wrap_up_s: u32,
    /// Further keys of every queue.
    pub queues: &'static str,
    /// Reasons for a break, of a second at most; their keys are 1, 2 …; none: any.
    pub breaks: &'static [&'static str],
    pub max_waiting: u32,
    /// Contracted channels of the citizens' trunk; 0: no limit.
    pub channels: u32,
    pub recording: bool,
    /// Recordings are packed and sealed after their call.
    pub pack: bool,
    /// Out of hours for scripts that ask the calendar `main`.
    pub closed: bool,
    /// From which wait on an abandon owes a callback.
    pub owed_after_s: u32,
    /// Further keys of the queues behind keys 1 and 2.
    pub booking: &'static str,
    pub quiet: &'static str,
    /// Keys of `[callbacks]`; with any, the citizens' trunk can be dialled: their phones stand at .15.
    pub callbacks: &'static str,
    /// The script of 122.
    pub script: &'static str,
    /// Keys of `[acd]`.
    pub acd: &'static str,
    /// Keys of `[store]`, and of `[standby]`.
    pub store: String,
    pub standby: &'static str,
    /// Keys of `[media]`.
    pub media: &'static str,
    pub log: &'static str,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            agents: vec![stands("anna", 20)],
            ring_s: 10,
            wrap_up_s: 0,
            queues: "",
            breaks: &[],
            max_waiting: 50,
            channels: 0,
            recording: false,
            pack: false,
            closed: false,
            owed_after_s: 1,
            booking: "",
            quiet: "",
            callbacks: "",
            script: "line",
            acd: "",
            store: String::new(),
            standby: "",
            media: "inside = true",
            log: "debug,sqlx=warn",
        }
    }
}

pub struct Agent {
    user: &'static str,
    phone: String,
}

/// An agent whose phone always stands at this host, always ready.
pub fn stands(user: &'static str, host: u8) -> Agent {
    Agent { user, phone: format!("contact = \"127.61.N.{host}:5060\"\nalways_ready = true") }
}

/// An agent whose phone registers, and who is ready then.
pub fn registers(user: &'static str) -> Agent {
    Agent { user, phone: "password_env = \"WIRE_PASSWORD\"\nready_on_register = true".to_owned() }
}

impl Agent {
    /// Further keys of the agent's section.
    pub fn and(mut self, keys: &str) -> Self {
        let _ = write!(self.phone, "\n{keys}");
        self
    }
}

/// An engine and its trunk of citizens.
pub struct Line {
    engine: Engine,
    pub citizens: Phone,
}

impl Line {
    pub async fn open(plan: Plan) -> Self {
        let engine = Engine::start(plan.log, |net, folder| plan.write(net, folder)).await;
        let citizens = Phone::bind(engine.net.at(10)).unwrap();
        Self { engine, citizens }
    }

    /// Dials 122 as this citizen and speaks in the citizens' tone.
    pub fn call(&self, from: &str) -> PhoneCall {
        self.call_number("122", from)
    }

    pub fn call_number(&self, number: &str, from: &str) -> PhoneCall {
        let call = self.citizens.dial(Dial::new(self.net.engine(), number, from)).unwrap();
        call.say(Voice::Tone(CITIZEN));
        call
    }

    /// Dials 122, presses 1 and stands in the queue.
    pub async fn call_queue(&self, from: &str) -> PhoneCall {
        let call = self.call(from);
        call.wait_answered().await.unwrap();
        call.press('1').await.unwrap();
        call
    }

    /// The first citizen of a test, through the queue to this agent, both hearing each other; and the agent's side of it.
    pub async fn talks_with(&self, agent: &Phone) -> (PhoneCall, PhoneCall) {
        let citizen = self.call_queue("+73852000001").await;
        let talk = rings(agent).await;
        they_talk(&citizen, &talk).await;
        (citizen, talk)
    }

    /// A phone at this host. Its owner answers by hand.
    pub fn phone(&self, host: u8) -> Phone {
        Phone::bind(self.net.at(host)).unwrap()
    }

    /// A phone at this host that does this with every call.
    pub fn phone_that(&self, host: u8, does: OnInvite) -> Phone {
        let phone = self.phone(host);
        phone.on_invite(does);
        phone
    }
}

/// After a moment of ringing.
pub const ANSWERS: OnInvite = OnInvite::Answer { after: Duration::from_millis(100) };

pub const fn rejects(status: u16) -> OnInvite {
    OnInvite::Reject { status, after: Duration::from_millis(50) }
}

/// The call that rings at this phone; its owner speaks in the agents' tone.
pub async fn rings(phone: &Phone) -> PhoneCall {
    let call = phone.next_call(crate::engine::SOON).await.expect("no call came");
    call.say(Voice::Tone(AGENT));
    call
}

/// Both hear each other.
pub async fn they_talk(citizen: &PhoneCall, agent: &PhoneCall) {
    citizen.hears_tone(AGENT).await.unwrap();
    agent.hears_tone(CITIZEN).await.unwrap();
}

/// The wait of who waits longest, in any queue of the board.
pub fn longest_wait_ms(board: &Value) -> u64 {
    board["queues"].as_array().unwrap().iter().filter_map(|queue| queue["longest_wait_ms"].as_u64()).max().unwrap_or_default()
}

impl Deref for Line {
    type Target = Engine;
    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl DerefMut for Line {
    fn deref_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }
}

impl Plan {
    fn write(&self, net: &Net, folder: &Path) -> String {
        lay_out_scripts(folder);
        let Self { ring_s, wrap_up_s, max_waiting, channels, owed_after_s, recording, pack, script, .. } = self;
        let Self { acd, store, standby, media, callbacks, booking, quiet, queues, .. } = self;
        let home = if callbacks.is_empty() { "" } else { "contact = \"127.61.N.15:5060\"\nwatch_s = 0" };
        let hours = if self.closed { "closed" } else { "24h" };
        let mut config = format!(
            r#"
data = "{folder}/data"
scripts = "{folder}/scripts"

[[network]]
name = "loop"
bind = "127.61.N.2:5060"
ports = "10000-19999"

[[trunk]]
name = "city"
network = "loop"
peers = ["127.61.N.10", "127.61.N.11", "127.61.N.12", "127.61.N.13", "127.61.N.14"]
area = "3852"
channels = {channels}
{home}

[[trunk]]
name = "ambulance"
network = "loop"
contact = "127.61.N.30:5060"
watch_s = 0
our_number = "+73852122122"

[[trunk]]
name = "second"
network = "loop"
contact = "127.61.N.31:5060"
watch_s = 0
our_number = "+73852122122"

[[number]]
dialled = ["122"]
script = "{script}"

[[number]]
dialled = ["627766"]
script = "old-number"

[[route]]
name = "ambulance"
steps = [{{ trunk = "ambulance", number = "103", ring_s = 5 }}, {{ trunk = "second", number = "103", ring_s = 5 }}]

[[calendar]]
name = "main"
open = {{ mon = "{hours}", tue = "{hours}", wed = "{hours}", thu = "{hours}", fri = "{hours}", sat = "{hours}", sun = "{hours}" }}

[[calendar]]
name = "day"
open = {{ mon = "08:00-20:00", tue = "08:00-20:00", wed = "08:00-20:00", thu = "08:00-20:00", fri = "08:00-20:00", sat = "08:00-20:00", sun = "08:00-20:00" }}

[acd]
{acd}

[callbacks]
menu_after_s = {owed_after_s}
queue_after_s = {owed_after_s}
{callbacks}

[booking]
kind = "reference"

[media]
{media}

[recording]
enabled = {recording}
pack = {pack}

[http]
bind = "127.61.N.2:8122"
open = true

[standby]
token_env = "WIRE_PASSWORD"
{standby}

[store]
{store}
"#,
            folder = folder.display()
        );
        for queue in ["booking", "quiet", "home_visit", "drugs", "consultation", "appeals", "other"] {
            let record = queue != "quiet";
            let keys = format!("ring_s = {ring_s}\nwrap_up_s = {wrap_up_s}\nmax_waiting = {max_waiting}\nrecord = {record}");
            let more = if queue == "booking" {
                booking
            } else if queue == "quiet" {
                quiet
            } else {
                ""
            };
            let _ = write!(
                config,
                "\n[[queue]]\nname = \"{queue}\"\nskill = \"talk\"\nannounce_after_s = 0\n{keys}\n{queues}\n{more}\n"
            );
        }
        for (no, reason) in self.breaks.iter().enumerate() {
            let _ = write!(config, "\n[[break]]\nreason = \"{reason}\"\nlongest_s = 1\nkey = \"{}\"\n", no + 1);
        }
        for Agent { user, phone } in &self.agents {
            let _ = write!(config, "\n[[agent]]\nuser = \"{user}\"\nskills = {{ talk = 50 }}\n{phone}\n");
        }
        config.replace("127.61.N.", net.ip(0).to_string().trim_end_matches('0'))
    }
}

/// The line's own scripts and ours, with the recorded prompts.
fn lay_out_scripts(folder: &Path) {
    let (scripts, ours) = (folder.join("scripts"), Path::new(env!("CARGO_MANIFEST_DIR")).join("ivr-scripts"));
    fs::create_dir(&scripts).unwrap();
    fs::copy(ours.join("122.yaml"), scripts.join("122.yaml")).unwrap();
    fs::write(scripts.join("line.yaml"), include_str!("line.yaml")).unwrap();
    fs::write(scripts.join("callbacks.yaml"), include_str!("callbacks.yaml")).unwrap();
    fs::write(scripts.join("old-number.yaml"), include_str!("old-number.yaml")).unwrap();
    symlink(ours.join("prompts"), scripts.join("prompts")).unwrap();
}
