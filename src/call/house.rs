//! The configuration and the scripts as the conductor uses them: read at the door, looked up in constant time.

use super::request::AgentWish;
use crate::acd;
use crate::clock::{Clock, Moment};
use crate::config::{AgentPhone, AtClosing, Config, Dialled, Overflow, Queue, Step, Then, WrapUp};
use crate::facts::AttemptEnd;
use crate::ids::*;
use crate::ivr::{self, Script};
use crate::sip;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub struct House {
    path: PathBuf,
    pub config: Config,
    numbers: BTreeMap<String, Number>,
    /// What each script says, as its author wrote it.
    scripts: Vec<Written>,
    /// Where each agent stands in the configuration's list.
    agents: BTreeMap<AgentId, usize>,
}

struct Written {
    script: Arc<Script>,
    text: String,
}

/// What a dialled number leads to.
#[derive(Clone)]
pub struct Number {
    pub region: RegionId,
    pub script: Arc<Script>,
}

impl House {
    /// Configuration and scripts, or everything that is wrong with them, one sentence a line.
    pub fn read(path: &Path) -> Result<House, String> {
        let config = Config::load(path).map_err(|errors| errors.to_string())?;
        let known = known(&config);
        prompts_are_there(&config, &known.prompts)?;
        let scripts = read_scripts(&config, &known)?;
        let by_id: BTreeMap<&ScriptId, &Arc<Script>> =
            scripts.iter().map(|written| (&written.script.id, &written.script)).collect();
        let mut numbers = BTreeMap::new();
        for form in config.dialled_forms() {
            if let Some(number) = config.number(&form)
                && let Some(script) = by_id.get(&number.script)
            {
                numbers.insert(form, Number { region: number.region, script: Arc::clone(script) });
            }
        }
        let agents = config.agents.iter().enumerate().map(|(at, agent)| (agent.user.clone(), at)).collect();
        Ok(House { path: path.to_owned(), config, numbers, scripts, agents })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn read_again(&self) -> Result<House, String> {
        Self::read(&self.path)
    }

    pub fn number(&self, dialled: &str) -> Option<&Number> {
        self.numbers.get(dialled)
    }

    /// Keeps each version of a script that calls may begin with, so that they finish on it also in the engine's next life.
    pub fn keep_scripts(&self) -> std::io::Result<()> {
        std::fs::create_dir_all(self.kept_scripts())?;
        for Written { script, text } in &self.scripts {
            let path = self.kept_script(&script.id, script.version);
            if !path.exists() {
                let fresh = path.with_extension("new");
                std::fs::write(&fresh, text)?;
                std::fs::rename(fresh, path)?;
            }
        }
        Ok(())
    }

    /// The script in the version with which a call began: today's, or one that was kept.
    pub fn script(&self, id: &ScriptId, version: u32) -> Option<Arc<Script>> {
        let today = self.scripts.iter().map(|written| &written.script).find(|script| script.id == *id);
        if let Some(script) = today.filter(|script| script.version == version) {
            return Some(script.clone());
        }
        let text = std::fs::read_to_string(self.kept_script(id, version)).ok()?;
        // What today's queues offer, a former version of the script need not know.
        let known = ivr::Known { calling_back: BTreeSet::new(), ..known(&self.config) };
        let read = ivr::check_scripts([(id.as_str(), text.as_str())], &known);
        let scripts = read.inspect_err(
            |errors| tracing::warn!(script = %id, version, ?errors, "a script kept for its calls does not fit any more"),
        );
        scripts.ok()?.into_iter().next()
    }

    fn kept_scripts(&self) -> PathBuf {
        self.config.data.join("scripts")
    }

    fn kept_script(&self, id: &ScriptId, version: u32) -> PathBuf {
        self.kept_scripts().join(format!("{id}-{version:08x}.yaml"))
    }

    pub fn route(&self, route: &RouteId) -> Vec<Step> {
        self.config.route(route).map(|route| route.steps.clone()).unwrap_or_default()
    }

    pub fn is_recorded(&self, queue: &QueueId) -> bool {
        self.config.recording.enabled && self.config.queue(queue).is_some_and(|queue| queue.record)
    }

    /// Where this call's recording goes, relative to the recordings folder: a folder a day, a file a call. Each leg in which the
    /// citizen was called back has a file of its own: the first may be packed by then.
    pub fn recording_file(&self, call: CallId, again: Option<LegId>, now: Moment) -> Option<String> {
        let day = jiff::Timestamp::from_second(i64::try_from(now.as_unix_seconds()).ok()?).ok()?.strftime("%Y-%m-%d");
        let part = again.map(|leg| format!("-{}", leg.0)).unwrap_or_default();
        self.config.recording.enabled.then(|| format!("{day}/{call}{part}.wav"))
    }

    pub fn auto_answer(&self, agent: &AgentId, queue: &QueueId) -> bool {
        self.config.queue(queue).is_some_and(|queue| queue.auto_answer)
            || self.agent(agent).is_some_and(|agent| agent.auto_answer)
    }

    pub fn ready_on_register(&self, agent: &AgentId) -> bool {
        self.agent(agent).is_some_and(|agent| agent.ready_on_register)
    }

    pub fn network_of_agent(&self, agent: &AgentId) -> String {
        self.agent(agent).map(|agent| agent.network.clone()).unwrap_or_default()
    }

    pub fn network_of_trunk(&self, trunk: &TrunkId) -> String {
        self.config.trunks.iter().find(|known| known.name == *trunk).map(|trunk| trunk.network.clone()).unwrap_or_default()
    }

    /// Whether calls of ours can go out over this trunk.
    pub fn dials_out(&self, trunk: &TrunkId) -> bool {
        self.config.trunks.iter().any(|known| known.name == *trunk && known.contact.is_some())
    }

    fn agent(&self, agent: &AgentId) -> Option<&crate::config::Agent> {
        self.agents.get(agent).and_then(|at| self.config.agents.get(*at))
    }

    /// What a feature code dialled by an agent's phone means.
    pub fn feature_code(&self, code: &str) -> Option<AgentWish> {
        let codes = &self.config.codes;
        if code == codes.ready {
            Some(AgentWish::Ready)
        } else if code == codes.on_break {
            Some(AgentWish::Break { reason: self.config.breaks.first().map_or("phone", |first| &first.reason).to_owned() })
        } else if code == codes.offline {
            Some(AgentWish::Offline)
        } else if code == codes.finish_wrap_up {
            Some(AgentWish::FinishWrapUp)
        } else if code == codes.extend_wrap_up {
            Some(AgentWish::ExtendWrapUp)
        } else {
            let reason = |reason: &&crate::config::BreakReason| {
                reason.key.as_ref().is_some_and(|key| code.strip_prefix(&codes.on_break) == Some(key))
            };
            if let Some(known) = self.config.breaks.iter().find(reason) {
                return Some(AgentWish::Break { reason: known.reason.clone() });
            }
            let code = code.strip_prefix(&codes.wrap_up_code).filter(|code| !code.is_empty())?;
            Some(AgentWish::Code { code: code.to_owned() })
        }
    }

    /// Everything that agents may dial: with each of the queues' wrap-up codes, and each reason of a break.
    fn feature_codes(&self) -> Vec<String> {
        let Config { codes, queues, breaks, .. } = &self.config;
        let given = queues.iter().flat_map(|queue| queue.wrap_up_codes.keys());
        let given: BTreeSet<String> = given.map(|code| format!("{}{code}", codes.wrap_up_code)).collect();
        let reasons = breaks.iter().filter_map(|reason| reason.key.as_ref()).map(|key| format!("{}{key}", codes.on_break));
        codes.all().into_iter().map(str::to_owned).chain(given).chain(reasons).collect()
    }

    /// What a code says about whom a callback reached.
    pub fn attempt_end(&self, code: &str) -> Option<AttemptEnd> {
        let codes = &self.config.codes;
        [(&codes.voicemail, AttemptEnd::Voicemail), (&codes.wrong_number, AttemptEnd::WrongNumber)]
            .into_iter()
            .find_map(|(known, end)| (known == code).then_some(end))
    }

    /// Whether the calendar is open at this moment by the wall clock; a calendar that a reload took away counts as open, so that
    /// nobody is turned away by a mistake in a file.
    pub fn is_open(&self, calendar: &str, now: Moment, clock: &Clock) -> bool {
        let wall = Moment(now.0.saturating_add_signed(clock.wall_step_us()));
        self.config.calendar(calendar).is_none_or(|calendar| calendar.is_open(wall))
    }

    pub fn queue_is_open(&self, queue: &Queue, now: Moment, clock: &Clock) -> bool {
        queue.calendar.as_ref().is_none_or(|calendar| self.is_open(calendar, now, clock))
    }

    /// When the day of this moment began in a region.
    pub fn midnight(&self, region: RegionId, at: Moment) -> Moment {
        let zone = self.config.region(region).map_or(jiff::tz::TimeZone::UTC, crate::config::Region::time_zone);
        let start = jiff::Timestamp::from_microsecond(i64::try_from(at.0).unwrap_or(i64::MAX))
            .ok()
            .and_then(|instant| instant.to_zoned_datetime(zone).start_of_day().ok());
        start.map_or(at, |day| Moment(u64::try_from(day.timestamp().as_microsecond()).unwrap_or_default()))
    }

    /// The address the far end is to send to for media that stands at `local`.
    pub fn shown(&self, local: SocketAddr) -> SocketAddr {
        shown_by(&self.config.networks, local)
    }

    pub fn drain_limit(&self) -> Duration {
        self.config.limits.drain
    }

    /// Zones and hours count as they stand at `now`: where clocks change, a reload follows.
    pub fn acd_rules(&self, now: Moment, clock: &Clock) -> acd::Rules {
        let config = &self.config;
        let queues = config.queues.iter().map(|queue| {
            let rules = acd::QueueRules {
                region: queue.region,
                requires: queue.requires.0.clone(),
                target: queue.target,
                priority: queue.priority,
                max_waiting: queue.max_waiting,
                ring: queue.ring,
                wrap_up: queue.wrap_up_time,
                announce: some(queue.announce_after).map(|first| (first, queue.announce_every)),
                seek: acd::Seek {
                    relax: queue.relax.iter().map(|relaxed| (relaxed.after, relaxed.requires.0.clone())).collect(),
                    prefers: queue.prefers.as_ref().map(|prefers| prefers.0.clone()),
                    reserves_after: some(queue.reserves_after),
                    agents: queue.agents,
                    more_phones: queue.ring_at_once.saturating_sub(1),
                },
                while_waiting: acd::WhileWaiting {
                    overflow: queue.overflow.iter().map(overflow).collect(),
                    closed: !self.queue_is_open(queue, now, clock),
                    let_go_at_closing: queue.at_closing == AtClosing::Overflow,
                    place_untold: !queue.announce_place,
                    texts: queue.announce_texts.clone(),
                },
                after_talk: after_talk(queue),
            };
            (queue.name.clone(), rules)
        });
        let agents = config.agents.iter().map(|agent| {
            let rules = acd::AgentRules {
                region: agent.region,
                skills: agent.skills.clone(),
                always_ready: matches!(agent.phone, AgentPhone::Stands { always_ready: true, .. }),
                misses_to_break: agent.misses_to_break,
                reserve: agent.reserve,
            };
            (agent.user.clone(), rules)
        });
        let routing = acd::Routing {
            policy: config.acd.policy,
            overdue_after: some(config.acd.overdue_after),
            last_agent: acd::LastAgentRules { within: config.acd.last_agent_within, wait: config.acd.last_agent_wait },
        };
        let callbacks = acd::CallbackRules {
            menu_after: config.callbacks.menu_after,
            queue_after: config.callbacks.queue_after,
            closed: config.regions.iter().map(|region| (region.code, region.callback_when_closed)).collect(),
            dial: config.callbacks.dial.then(|| acd::CallbackDialling {
                attempts: config.callbacks.attempts,
                gap: config.callbacks.gap,
                hours: hours_of(config.callbacks.hours),
                idle: config.callbacks.idle_agents,
                within: config.callbacks.within,
                trunks: config.trunks.iter().filter(|trunk| trunk.contact.is_some()).map(|trunk| trunk.name.clone()).collect(),
                regions: config.regions.iter().map(|region| (region.code, self.of_region(region, now))).collect(),
            }),
            place_kept: config.callbacks.place_kept,
        };
        acd::Rules { queues: queues.collect(), agents: agents.collect(), callbacks, routing, duty: duty(config) }
    }

    fn of_region(&self, region: &crate::config::Region, now: Moment) -> acd::OfRegion {
        let within = some(region.callback_within).unwrap_or(self.config.callbacks.within);
        acd::OfRegion { ahead: seconds_ahead(region, now), dial: region.dial, within }
    }

    pub fn sip_settings(&self) -> sip::Settings {
        let config = &self.config;
        let networks = config.networks.iter().map(|network| sip::Network {
            name: network.name.clone(),
            bind: network.bind,
            advertise: network.advertised(),
        });
        let trunks = config.trunks.iter().map(|trunk| sip::Trunk {
            trunk: trunk.name.clone(),
            network: trunk.network.clone(),
            peers: trunk.peers.clone(),
            contact: trunk.contact,
            watch: trunk.contact.and_then(|_| some(trunk.watch)),
            dialled: match trunk.dialled {
                Dialled::RequestUri => sip::DialledFrom::RequestUri,
                Dialled::To => sip::DialledFrom::To,
                Dialled::Diversion => sip::DialledFrom::Diversion,
                Dialled::PCalledPartyId => sip::DialledFrom::PCalledPartyId,
            },
            area: trunk.area.clone(),
            our_number: trunk.our_number.clone(),
            show_caller: trunk.show_caller,
            channels: trunk.channels,
        });
        let accounts = config.agents.iter().map(|agent| {
            let (password, sha256, contact) = match &agent.phone {
                AgentPhone::Registers { password, sha256 } => (Some(password.expose().to_owned()), *sha256, None),
                AgentPhone::Stands { contact, .. } => (None, false, Some(*contact)),
                AgentPhone::None => (None, false, None),
            };
            sip::Account { agent: agent.user.clone(), network: agent.network.clone(), password, sha256, contact }
        });
        let limits = &config.limits;
        sip::Settings {
            networks: networks.collect(),
            trunks: trunks.collect(),
            accounts: sip::Accounts { listed: accounts.collect() },
            numbers: self.numbers.keys().cloned().collect(),
            feature_codes: self.feature_codes(),
            limits: sip::Limits {
                transactions: limits.transactions,
                reserved_for_trunks: limits.reserved_for_trunks,
                per_source: limits.per_source,
                legs: limits.legs,
                contacts: limits.contacts,
            },
            session_expires_s: some(config.sip.session_expires).map(|interval| interval.as_secs().try_into().unwrap_or(u32::MAX)),
            probe_held: some(config.sip.probe_held),
            realm: "dozvon".to_owned(),
            product: format!("dozvon/{}", env!("CARGO_PKG_VERSION")),
        }
    }
}

fn duty(config: &Config) -> acd::Duty {
    let default = acd::MissPolicies::default();
    let policy = |given: Option<crate::config::MissPolicy>, default| {
        given.map_or(default, |it| acd::MissPolicy { rest: it.rest, longest_rest: it.longest_rest, counts: it.counts })
    };
    let given = &config.missed_offers;
    let (times, within, rest) = (config.flapping.times, config.flapping.within, config.flapping.rest);
    acd::Duty {
        misses: acd::MissPolicies {
            no_answer: policy(given.no_answer, default.no_answer),
            busy: policy(given.busy, default.busy),
            rejected: policy(given.rejected, default.rejected),
            unregistered: policy(given.unregistered, default.unregistered),
            unreachable: policy(given.unreachable, default.unreachable),
        },
        flapping: (times > 0).then_some(acd::Flapping { times, within, rest }),
    }
}

fn after_talk(queue: &crate::config::Queue) -> acd::WrapUpRules {
    acd::WrapUpRules {
        ends: match queue.wrap_up {
            WrapUp::FinishEarly => acd::WrapUpEnds::Early,
            WrapUp::Forced => acd::WrapUpEnds::Forced,
            WrapUp::Extendable => acd::WrapUpEnds::Extendable { more: queue.wrap_up_more },
        },
        codes: queue.wrap_up_codes.clone(),
        code_required: queue.wrap_up_code_required,
        longest: queue.wrap_up_longest,
    }
}

fn overflow(rule: &Overflow) -> acd::Overflow {
    let when = acd::When {
        waited: some(rule.waited),
        ahead: rule.ahead,
        estimate: some(rule.estimate),
        no_agents: rule.no_agents,
        closed: rule.closed,
    };
    let then = match rule.then.clone() {
        Then::Say(prompt) => acd::Then::Say(prompt),
        Then::Queue(queue) => acd::Then::Queue(queue),
        Then::Route(route) => acd::Then::Route(route),
        Then::PromiseCallback => acd::Then::PromiseCallback,
        Then::Robot => acd::Then::Robot,
    };
    acd::Overflow { when, then }
}

fn hours_of([from, to]: [u32; 2]) -> (u32, u32) {
    (from.saturating_mul(3600), to.saturating_mul(3600))
}

/// By which a region's clock is ahead of UTC.
fn seconds_ahead(region: &crate::config::Region, now: Moment) -> i32 {
    let at = jiff::Timestamp::from_microsecond(i64::try_from(now.0).unwrap_or(i64::MAX)).unwrap_or_default();
    region.time_zone().to_offset(at).seconds()
}

/// Behind a NAT the address that is bound is not the one to send to. Networks of one address differ in their ports.
fn shown_by(networks: &[crate::config::Network], local: SocketAddr) -> SocketAddr {
    let network = networks
        .iter()
        .find(|network| network.media_ip() == local.ip() && (network.ports.first..=network.ports.last).contains(&local.port()));
    SocketAddr::new(network.and_then(|network| network.advertise).unwrap_or(local.ip()), local.port())
}

/// In the file zero seconds mean never.
fn some(duration: Duration) -> Option<Duration> {
    Some(duration).filter(|duration| !duration.is_zero())
}

/// Every script that a number leads to, checked against what the configuration knows.
fn read_scripts(config: &Config, known: &ivr::Known) -> Result<Vec<Written>, String> {
    let named: BTreeSet<&ScriptId> = config.numbers.iter().map(|number| &number.script).collect();
    let mut texts = Vec::new();
    for script in named {
        let path = config.scripts.join(format!("{script}.yaml"));
        let text =
            std::fs::read_to_string(&path).map_err(|cause| format!("{}: the script cannot be read: {cause}", path.display()))?;
        texts.push((script.as_str(), text));
    }
    let scripts = ivr::check_scripts(texts.iter().map(|(name, text)| (*name, text.as_str())), known)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let text_of = |script: &Script| texts.iter().find(|(name, _)| *name == script.id.as_str()).map(|(_, text)| text.clone());
    Ok(scripts.into_iter().filter_map(|script| Some(Written { text: text_of(&script)?, script })).collect())
}

/// What scripts may name.
fn known(config: &Config) -> ivr::Known {
    ivr::Known {
        queues: config.queues.iter().map(|queue| queue.name.clone()).collect(),
        routes: config.routes.iter().map(|route| route.name.clone()).collect(),
        calendars: config.calendars.iter().map(|calendar| calendar.name.clone()).collect(),
        prompts: prompts_in(&config.scripts.join("prompts")),
        calling_back: config.queues_that_call_back(),
    }
}

/// What queues say must be there to be said.
fn prompts_are_there(config: &Config, prompts: &BTreeSet<PromptId>) -> Result<(), String> {
    let said = config.queues.iter().flat_map(|queue| {
        let by_rule =
            queue.overflow.iter().filter_map(|rule| if let Then::Say(prompt) = &rule.then { Some(prompt) } else { None });
        queue.announce_texts.iter().chain(by_rule).map(move |prompt| (&queue.name, prompt))
    });
    let missing = said.filter(|(_, prompt)| !prompts.contains(*prompt)).map(|(queue, prompt)| {
        format!("queue `{queue}` says `{prompt}`, and there is no WAV of this name in `scripts`/prompts; render it, or correct the name")
    });
    let missing: Vec<String> = missing.collect();
    if missing.is_empty() { Ok(()) } else { Err(missing.join("\n")) }
}

fn prompts_in(folder: &Path) -> BTreeSet<PromptId> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeSet::new() };
    let wavs = entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "wav"));
    wavs.filter_map(|path| Some(PromptId::from(path.file_stem()?.to_str()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_behind_a_nat_is_shown_where_the_world_finds_it() {
        let text = r#"
            [[network]]
            name = "trunk"
            bind = "10.0.0.5:5060"
            advertise = "203.0.113.5"
            ports = "10000-19999"
            [[network]]
            name = "office"
            bind = "10.0.0.5:5070"
            ports = "20000-29999"
        "#;
        let mut file: BTreeMap<String, Vec<crate::config::Network>> = toml::from_str(text).unwrap();
        let networks = file.remove("network").unwrap();
        let shown = |local: &str| shown_by(&networks, local.parse().unwrap()).to_string();
        assert_eq!(shown("10.0.0.5:10004"), "203.0.113.5:10004");
        assert_eq!(shown("10.0.0.5:20004"), "10.0.0.5:20004");
    }
}
