//! Opens the doors in the order in which they need one another, runs the engine, and closes them when it is drained.

use super::conductor::{Conductor, Doors};
use super::house::House;
use super::recovery::restore;
use super::request::{Engine, Request};
use super::term::Term;
use crate::clock::Clock;
use crate::config::Config;
use crate::ids::{IdSource, PersonId, ScriptId};
use crate::journal::{Journal, KeptLegs, LegStates, Limits, People};
use crate::media::door::Told;
use crate::media::{Line, MediaNetwork, MediaSettings, Start};
use crate::pii::{PersonKey, Phone};
use crate::sip::{Sockets, UserAgent};
use anyhow::Context;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use tokio::sync::mpsc;

/// The running engine: its loop on a thread of its own, and what others need to know of it.
pub struct Running {
    pub engine: Engine,
    pub clock: Clock,
    pub loop_thread: JoinHandle<()>,
}

/// The journal's two streams, open for writing.
pub struct Streams {
    pub journal: Journal,
    pub people: People,
    phones: BTreeMap<PersonId, Phone>,
    leg_states: LegStates,
    opened: crate::journal::Opened,
    legs: KeptLegs,
}

impl Streams {
    /// Time of the last record.
    pub fn last(&self) -> crate::clock::Moment {
        self.opened.last
    }
}

/// Opens the journal: what went before is read, nobody else can open it meanwhile.
pub fn open_streams(data: &Path) -> anyhow::Result<Streams> {
    let (journal, opened) = Journal::open(data.join("journal"), Limits::FACTS)?;
    let (people, seen) = People::open(data.join("people"), Limits::PEOPLE)?;
    let phones = seen.tail.into_iter().map(|seen| (seen.person, seen.phone)).collect();
    let (leg_states, legs) = LegStates::open(data.join("legs"), Limits::LEGS)?;
    let legs = KeptLegs::fold(legs.snapshot, legs.tail, journal.position());
    Ok(Streams { journal, people, phones, leg_states, opened, legs })
}

/// Starts media and the loop. The sockets are bound when this returns.
/// With a term, the loop ends when that does.
pub fn start(house: House, streams: Streams, clock: Clock, term: Option<Term>) -> anyhow::Result<Running> {
    let Streams { journal, people, phones, leg_states, opened, legs } = streams;
    let epoch = opened.epoch;
    if let Err(error) = house.keep_scripts() {
        tracing::warn!(%error, "scripts cannot be kept: calls in the menu would begin anew after a restart with other scripts");
    }
    let script = |id: &ScriptId, version| house.script(id, version);
    let mut restored = restore(opened.snapshot, opened.tail, script, |region, at| house.midnight(region, at));
    let former = restored.former(&legs, |dialled| house.number(dialled).map(|number| number.script.clone()));

    let settings = house.sip_settings();
    let sockets = Sockets::bind(&settings).context("a SIP address cannot be bound")?;
    // Legs that come in and legs that we dial count in different halves of one space.
    let mut agent = UserAgent::new(settings, IdSource::new(epoch | INBOUND), secret_words()?);
    for (account, state) in restored.phones {
        if !agent.restore_phones(clock.now(), account.clone(), &state) {
            tracing::info!(agent = %account, "a registration of the former life is not taken up");
        }
    }
    let (media, media_events) = open_media(&house, clock).context("media cannot be started")?;
    let (requests, asked) = mpsc::channel(Engine::MAX_REQUESTS);
    let key = PersonKey::new(person_key(&house.config.data)?);
    let [seed, ..] = secret_words()?;

    let doors = Doors {
        clock,
        house,
        agent,
        sockets,
        media,
        media_events,
        requests: asked,
        journal,
        people,
        phones,
        leg_states,
        key,
        acd: restored.acd,
        ids: IdSource::new(epoch),
        epoch,
        live: restored.live,
        ledger: restored.ledger,
        former,
        seed,
        term,
    };
    let loop_thread = std::thread::Builder::new().name("engine".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(Conductor::new(doors).run()),
            Err(error) => tracing::error!(%error, "the engine's loop cannot be started"),
        }
    })?;
    Ok(Running { engine: Engine { requests }, clock, loop_thread })
}

/// Bit of the epoch that marks legs that came in.
const INBOUND: u32 = 1 << 22;

fn open_media(house: &House, clock: Clock) -> std::io::Result<(Line, mpsc::Receiver<Told>)> {
    let config = &house.config;
    if config.media.inside {
        return Line::inside(media_settings(config), clock);
    }
    // Its own program, also after an upgrade has put another file in its place: the two ends of the door are of one build.
    let start = Start { program: "/proc/self/exe".into(), config: house.path().to_owned() };
    Line::process(config.media_socket(), config.media.start.then_some(start), clock)
}

/// What media needs to know of the configuration, in whichever process it runs.
pub fn media_settings(config: &Config) -> MediaSettings {
    let networks = config.networks.iter().map(|network| MediaNetwork {
        name: network.name.clone(),
        bind: network.media_ip(),
        ports: network.ports.first..=network.ports.last,
    });
    MediaSettings {
        networks: networks.collect(),
        threads: config.media.threads,
        prompt_dirs: vec![config.scripts.join("prompts")],
        record_dir: config.recordings(),
        ..MediaSettings::default()
    }
}

fn secret_words() -> anyhow::Result<[u64; 4]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the system has no random numbers: {error}"))?;
    let mut words = [0; 4];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    Ok(words)
}

/// The secret behind every `PersonId`; made at the first start, readable for the owner only. Whoever loses it loses the link between
/// old records and people.
pub fn person_key(data: &Path) -> anyhow::Result<[u8; 32]> {
    let path: PathBuf = data.join("person-key");
    let secret = crate::config::read_or_make(&path).with_context(|| format!("{} cannot be read or made", path.display()))?;
    use sha2::Digest;
    Ok(sha2::Sha256::digest(secret.expose().as_bytes()).into())
}

impl Engine {
    /// Tells the engine how far the tables are.
    pub async fn store_is_at(&self, position: u64, people: u64) {
        drop(self.requests.send(Request::StoreAt { position, people }).await);
    }

    pub async fn drain(&self) {
        drop(self.requests.send(Request::Drain).await);
    }
}
