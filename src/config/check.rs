//! What one section alone cannot know: that names meet, nothing is said twice, secrets are there, and nothing stands open by accident.

use super::read::{File, Placed};
use super::*;
use super::{overflow, recording};
use std::net::IpAddr;
use std::path::Path;

/// Agents of one `[[agents]]` group; a line that needs more has several groups.
const MAX_GROUP: u32 = 10_000;

/// Reads every section and checks it. `None` only together with a complaint.
pub fn config(file: &mut File, env: Environment) -> Option<Config> {
    let data = file.text("data").unwrap_or_else(|| "data".to_owned());
    let data = env("DOZVON_DATA").filter(|folder| !folder.is_empty()).unwrap_or(data);
    let scripts = file.text("scripts").unwrap_or_else(|| "ivr-scripts".to_owned());

    let regions = regions(file);
    let networks = networks(file);
    let trunks = trunks(file, &regions, &networks);
    let routes = routes(file, &trunks);
    let calendars = calendars(file, &regions);
    let queues = queues(file, &regions, &calendars, &routes);
    let agents = agents(file, &regions, &networks, &queues, env);
    let numbers = numbers(file, &regions);
    let callbacks = callbacks(file, &regions, &trunks);
    let store = store(file, env);
    let acd = acd(file);
    let http = http(file, env);
    let booking = file.table("booking");
    let webhooks = webhooks(file, env);
    let media = media(file, Path::new(&data));
    let recording = recording::recording(file);
    let archive = recording::archive(file, env);
    let sip = sip(file);
    let limits = limits(file);
    let codes = codes(file);
    let standby = standby(file, env, store.as_ref());
    let breaks = breaks(file, codes.as_ref());
    let missed_offers = missed_offers(file);
    let flapping = flapping(file);

    let agents_by_user = agents.iter().enumerate().map(|(at, agent)| (agent.user.clone(), at)).collect();
    Some(Config {
        data: data.into(),
        scripts: scripts.into(),
        regions,
        networks,
        trunks,
        numbers,
        queues,
        agents,
        agents_by_user,
        routes,
        calendars,
        callbacks: callbacks?,
        store: store?,
        acd: acd?,
        http: http?,
        booking: booking?.value,
        webhooks,
        media: media?,
        recording: recording?,
        archive,
        sip: sip?,
        limits: limits?,
        codes: codes?,
        standby: standby?,
        breaks,
        missed_offers: missed_offers?,
        flapping: flapping?,
    })
}

fn regions(file: &mut File) -> Vec<Region> {
    let regions = file.list::<Region>("region");
    for (n, region) in regions.iter().enumerate() {
        let code = region.value.code;
        if regions.iter().take(n).any(|earlier| earlier.value.code == code) {
            file.complain(region.place("code"), format!("region {code} is defined twice; delete one"));
        }
        if !region.value.callback_within.is_zero() {
            promise_fits(file, region.place("callback_within_s"), "callback_within_s", region.value.callback_within);
        }
        if jiff::tz::TimeZone::get(&region.value.zone).is_err() {
            let message = format!("`{}` is no time zone; write its IANA name, such as \"Asia/Barnaul\"", region.value.zone);
            file.complain(region.place("zone"), message);
        }
    }
    let mut regions = values(regions);
    if regions.is_empty() {
        regions.push(Region {
            code: RegionId(0),
            title: "Линия".into(),
            zone: "Europe/Moscow".into(),
            callback_when_closed: false,
            dial: true,
            callback_within: Duration::ZERO,
        });
    }
    regions
}

/// The only region needs no key; with several, each section names its own.
fn region_of<T>(file: &mut File, regions: &[Region], section: &Placed<T>, head: &str, given: RegionId) -> RegionId {
    match (section.gives("region"), regions) {
        (false, [only]) => return only.code,
        (false, _) => {
            file.complain(section.place("region"), format!("{head} lacks the key `region`; regions are: {}", codes_of(regions)))
        }
        (true, _) if regions.iter().any(|region| region.code == given) => {}
        (true, _) => {
            file.complain(section.place("region"), format!("region {given} is not defined; regions are: {}", codes_of(regions)))
        }
    }
    given
}

fn codes_of(regions: &[Region]) -> String {
    list(regions.iter().map(|region| region.code.0))
}

fn networks(file: &mut File) -> Vec<Network> {
    let networks = file.list::<Network>("network");
    if networks.is_empty() {
        file.complain(0, "there is no [[network]]; add one with `name` and `bind` (such as \"10.0.0.5:5060\")");
    }
    unique(file, "network", &networks, "name", |network| network.name.clone());
    for (n, network) in networks.iter().enumerate() {
        let (place, it) = (network.place("bind"), &network.value);
        if it.bind.port() == 0 {
            file.complain(place, "port 0 is no place to be called at; write 5060");
        }
        if it.bind.ip().is_unspecified() && (it.advertise.is_none() || it.media.is_none()) {
            let message = format!("{} names no address others could send to; add `advertise` and `media`", it.bind.ip());
            file.complain(place, message);
        }
        for earlier in networks.iter().take(n).map(|earlier| &earlier.value) {
            if earlier.bind == it.bind {
                file.complain(place, format!("{} is bound by network `{}` already; take another address", it.bind, earlier.name));
            }
            let overlap = earlier.ports.first <= it.ports.last && it.ports.first <= earlier.ports.last;
            if earlier.media_ip() == it.media_ip() && overlap {
                let message =
                    format!("the ports overlap with those of network `{}` on {}; part them", earlier.name, it.media_ip());
                file.complain(network.place("ports"), message);
            }
        }
    }
    values(networks)
}

fn network_known<T>(file: &mut File, networks: &[Network], section: &Placed<T>, path: &str, name: &str) {
    known(file, section.place(path), "network", name, networks.iter().map(|network| network.name.as_str()));
}

fn trunks(file: &mut File, regions: &[Region], networks: &[Network]) -> Vec<Trunk> {
    let mut trunks = file.list::<Trunk>("trunk");
    unique(file, "trunk", &trunks, "name", |trunk| trunk.name.to_string());
    let mut owners: BTreeMap<(String, IpAddr), TrunkId> = BTreeMap::new();
    for trunk in &mut trunks {
        network_known(file, networks, trunk, "network", &trunk.value.network);
        if let Some(region) = trunk.value.region {
            region_of(file, regions, trunk, "[[trunk]]", region);
        }
        let it = &trunk.value;
        if it.peers.is_empty() && it.contact.is_none() {
            let message = format!("trunk `{}` can neither be called from nor to; add `peers` or `contact`", it.name);
            file.complain(trunk.place("name"), message);
        }
        for (n, peer) in it.peers.iter().enumerate() {
            if let Some(owner) = owners.insert((it.network.clone(), *peer), it.name.clone()) {
                let message = format!("peer {peer} belongs to trunk `{owner}` already; an INVITE from it must have one trunk");
                file.complain(trunk.place(&format!("peers.{n}")), message);
            }
        }
        if it.area.as_ref().is_some_and(|area| !(3..=5).contains(&area.len()) || !area.bytes().all(|b| b.is_ascii_digit())) {
            file.complain(trunk.place("area"), "an area code has 3 to 5 digits, such as \"3852\"");
        }
    }
    values(trunks)
}

fn queues(file: &mut File, regions: &[Region], calendars: &[Calendar], routes: &[Route]) -> Vec<Queue> {
    let mut queues = file.list::<Queue>("queue");
    unique(file, "queue", &queues, "name", |queue| queue.name.to_string());
    let names: Vec<QueueId> = queues.iter().map(|queue| queue.value.name.clone()).collect();
    for queue in &mut queues {
        queue.value.region = region_of(file, regions, queue, "[[queue]]", queue.value.region);
        if let Some(skill) = queue.value.skill.take() {
            if queue.gives("requires") {
                file.complain(
                    queue.place("skill"),
                    format!("`skill` is short for `requires = {{ {skill} = 1 }}`; keep one of them"),
                );
            }
            queue.value.requires = Requires(Requirement::AtLeast(skill, 1));
        }
        requirements_fit(file, queue);
        phones_at_once_fit(file, queue);
        if queue.value.target.is_zero() {
            file.complain(queue.place("target_s"), "a target of 0 s cannot be weighed against others; write at least 1");
        }
        if queue.value.ring < Duration::from_secs(3) {
            file.complain(queue.place("ring_s"), "a phone that rings under 3 s cannot be answered; write 10 to 30");
        }
        if !queue.value.announce_after.is_zero() && queue.value.announce_every < Duration::from_secs(10) {
            file.complain(
                queue.place("announce_every_s"),
                "the place told each few seconds wears callers out; write at least 10",
            );
        }
        overflow::fits(file, queue, &names, calendars, routes);
        if queue.value.keep_recordings_days == Some(0) {
            let message = "recordings kept for 0 days are none; write `record = false`, or at least 1 day";
            file.complain(queue.place("keep_recordings_days"), message);
        }
        wrap_up_fits(file, queue);
        if queue.value.title.is_empty() {
            queue.value.title = queue.value.name.to_string();
        }
    }
    values(queues)
}

fn wrap_up_fits(file: &mut File, queue: &Placed<Queue>) {
    let it = &queue.value;
    for code in it.wrap_up_codes.keys() {
        if !(1..=4).contains(&code.len()) || !code.bytes().all(|b| b.is_ascii_digit()) {
            let message = format!("`{code}` is no wrap-up code; take 1 to 4 digits, which agents dial, such as {{ 1 = \"…\" }}");
            file.complain(queue.place(&format!("wrap_up_codes.{code}")), message);
        }
    }
    if it.wrap_up_code_required && it.wrap_up_codes.is_empty() {
        let message = "a code is required, but there is none to give; add `wrap_up_codes`, or delete this key";
        file.complain(queue.place("wrap_up_code_required"), message);
    }
    let may_be_longer = it.wrap_up == WrapUp::Extendable || it.wrap_up_code_required;
    if may_be_longer && it.wrap_up_longest <= it.wrap_up_time {
        let (longest, time) = (it.wrap_up_longest.as_secs(), it.wrap_up_time.as_secs());
        let message = format!("the longest wrap-up ({longest} s) leaves no room beyond `wrap_up_s` ({time} s); write more");
        file.complain(queue.place("wrap_up_longest_s"), message);
    }
    if it.wrap_up == WrapUp::Extendable && it.wrap_up_more.is_zero() {
        file.complain(
            queue.place("wrap_up_more_s"),
            "an extension of 0 s is none; write at least 1, or `wrap_up = \"finish_early\"`",
        );
    }
}

/// `[[agent]]`, and what each agent of an `[[agents]]` group has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentText {
    user: Option<String>,
    prefix: Option<String>,
    #[serde(default = "super::number::<1>")]
    first: u32,
    #[serde(default)]
    count: u32,
    #[serde(default)]
    title: String,
    #[serde(default)]
    region: RegionId,
    network: Option<String>,
    #[serde(default)]
    skills: BTreeMap<Skill, u8>,
    contact: Option<SocketAddr>,
    #[serde(default)]
    always_ready: bool,
    password_env: Option<String>,
    password_file: Option<PathBuf>,
    #[serde(default)]
    sha256: bool,
    #[serde(default)]
    auto_answer: bool,
    #[serde(default)]
    ready_on_register: bool,
    #[serde(default = "super::misses")]
    misses_to_break: u8,
    #[serde(default)]
    reserve: bool,
}

fn agents(file: &mut File, regions: &[Region], networks: &[Network], queues: &[Queue], env: Environment) -> Vec<Agent> {
    let skills: BTreeSet<&str> = queues.iter().flat_map(Queue::skills).map(Skill::as_str).collect();
    let mut agents: Vec<Agent> = Vec::new();
    let mut seen = BTreeSet::new();
    let singles = file.list::<AgentText>("agent").into_iter().map(|text| (text, "[[agent]]"));
    let groups = file.list::<AgentText>("agents").into_iter().map(|text| (text, "[[agents]]"));
    for (mut text, head) in singles.chain(groups).collect::<Vec<_>>() {
        text.value.region = region_of(file, regions, &text, head, text.value.region);
        let network = match (&text.value.network, networks) {
            (Some(name), _) => {
                network_known(file, networks, &text, "network", name);
                name.clone()
            }
            (None, [only]) => only.name.clone(),
            (None, _) => {
                file.complain(text.place("network"), format!("{head} lacks the key `network`; name one of the [[network]]s"));
                String::new()
            }
        };
        levels_fit(file, &text, "skills", &text.value.skills);
        for skill in text.value.skills.keys() {
            let place = text.place(&format!("skills.{skill}"));
            if !queues.is_empty() {
                known(file, place, "skill", skill.as_str(), skills.iter().copied());
            }
        }
        let phone = agent_phone(file, &text, env);
        for user in users(file, &text, head) {
            if !seen.insert(user.clone()) {
                file.complain(text.place("user"), format!("agent `{user}` is defined twice; delete one"));
                break;
            }
            let title = if text.value.title.is_empty() { user.clone() } else { text.value.title.clone() };
            agents.push(Agent {
                user: user.as_str().into(),
                title,
                region: text.value.region,
                network: network.clone(),
                skills: text.value.skills.clone(),
                phone: phone.clone(),
                auto_answer: text.value.auto_answer,
                ready_on_register: text.value.ready_on_register,
                misses_to_break: text.value.misses_to_break,
                reserve: text.value.reserve,
            });
        }
    }
    agents
}

/// User names of one section: one, or those a group counts out.
fn users(file: &mut File, text: &Placed<AgentText>, head: &str) -> Vec<String> {
    let it = &text.value;
    let sip_user = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    match (head, &it.user, &it.prefix) {
        ("[[agent]]", Some(user), None) if sip_user(user) => vec![user.clone()],
        ("[[agents]]", None, Some(prefix)) if sip_user(prefix) => {
            if it.count == 0 || it.count > MAX_GROUP {
                file.complain(text.place("count"), format!("`count` is 1 to {MAX_GROUP}; that many agents share the prefix"));
            }
            (0..it.count.min(MAX_GROUP)).map(|n| format!("{prefix}{}", it.first.saturating_add(n))).collect()
        }
        ("[[agent]]", Some(user), None) => {
            file.complain(text.place("user"), format!("`{user}` is no user name; take Latin letters, digits, `-`, `_`, `.`"));
            Vec::new()
        }
        ("[[agents]]", None, Some(prefix)) => {
            file.complain(
                text.place("prefix"),
                format!("`{prefix}` begins no user name; take Latin letters, digits, `-`, `_`, `.`"),
            );
            Vec::new()
        }
        ("[[agent]]", _, _) => {
            file.complain(text.place("prefix"), "[[agent]] is one agent with a `user`; a `prefix` belongs into [[agents]]");
            Vec::new()
        }
        (_, _, _) => {
            file.complain(text.place("user"), "[[agents]] is a group with `prefix` and `count`; a `user` belongs into [[agent]]");
            Vec::new()
        }
    }
}

/// A password makes the phone register. A contact beside it stands in while the password's variable is not set.
fn agent_phone(file: &mut File, text: &Placed<AgentText>, env: Environment) -> AgentPhone {
    let it = &text.value;
    let standing = it.contact.map(|contact| AgentPhone::Stands { contact, always_ready: it.always_ready });
    if it.always_ready && it.contact.is_none() {
        file.complain(
            text.place("always_ready"),
            "only a phone with a `contact` can be always ready; add it or delete `always_ready`",
        );
    }
    let password = match (&it.password_env, &it.password_file) {
        (Some(_), Some(_)) => {
            file.complain(text.place("password_file"), "`password_env` and `password_file` exclude each other; keep one");
            return AgentPhone::None;
        }
        (Some(variable), None) => match (secret::from_env(variable, env), standing) {
            (Ok(password), _) => Ok(password),
            (Err(_), Some(standing)) => return standing,
            (Err(why), None) => Err((text.place("password_env"), why)),
        },
        (None, Some(path)) => secret::from_file(path).map_err(|why| (text.place("password_file"), why)),
        (None, None) => return standing.unwrap_or(AgentPhone::None),
    };
    match password {
        Ok(password) => AgentPhone::Registers { password, sha256: it.sha256 },
        Err((place, why)) => {
            file.complain(place, why);
            AgentPhone::None
        }
    }
}

fn numbers(file: &mut File, regions: &[Region]) -> Vec<Number> {
    let mut numbers = file.list::<Number>("number");
    let mut owners: BTreeMap<String, ScriptId> = BTreeMap::new();
    for number in &mut numbers {
        number.value.region = region_of(file, regions, number, "[[number]]", number.value.region);
        if number.value.dialled.is_empty() {
            file.complain(number.place("dialled"), "`dialled` is empty; list the numbers that citizens dial");
        }
        for (n, dialled) in number.value.dialled.iter().enumerate() {
            let place = number.place(&format!("dialled.{n}"));
            if Phone::parse(dialled, None).is_none() {
                file.complain(place, format!("`{dialled}` is no number; write digits, with +7 for a full one"));
            }
            if let Some(owner) = owners.insert(super::one_form(dialled), number.value.script.clone()) {
                file.complain(place, format!("number {dialled} goes to script `{owner}` already; one number has one script"));
            }
        }
    }
    values(numbers)
}

fn routes(file: &mut File, trunks: &[Trunk]) -> Vec<Route> {
    let mut routes = file.list::<Route>("route");
    unique(file, "route", &routes, "name", |route| route.name.to_string());
    for route in &mut routes {
        if route.value.steps.is_empty() {
            let message =
                format!("route `{}` leads nowhere; add `steps = [{{ trunk = \"…\", number = \"103\" }}]`", route.value.name);
            file.complain(route.place("steps"), message);
        }
        for (n, step) in route.value.steps.iter().enumerate() {
            let place = route.place(&format!("steps.{n}.trunk"));
            known(file, place, "trunk", step.trunk.as_str(), trunks.iter().map(|trunk| trunk.name.as_str()));
            if trunks.iter().any(|trunk| trunk.name == step.trunk && trunk.contact.is_none()) {
                let message =
                    format!("trunk `{}` has no `contact`, so nothing can be dialled over it; add one to the trunk", step.trunk);
                file.complain(place, message);
            }
            if Phone::parse(&step.number, None).is_none() {
                let message = format!("`{}` is no number; write the digits to dial", step.number);
                file.complain(route.place(&format!("steps.{n}.number")), message);
            }
        }
        if route.value.title.is_empty() {
            route.value.title = route.value.name.to_string();
        }
    }
    values(routes)
}

fn calendars(file: &mut File, regions: &[Region]) -> Vec<Calendar> {
    let mut calendars = file.list::<Calendar>("calendar");
    unique(file, "calendar", &calendars, "name", |calendar| calendar.name.clone());
    for calendar in &mut calendars {
        let code = region_of(file, regions, calendar, "[[calendar]]", calendar.value.region);
        calendar.value.region = code;
        match calendar.value.holidays.days() {
            Ok(days) => calendar.value.days = days,
            Err(why) => file.complain(calendar.place("holidays"), why),
        }
        if let Some(region) = regions.iter().find(|region| region.code == code) {
            calendar.value.zone = region.time_zone();
        }
    }
    values(calendars)
}

fn store(file: &mut File, env: Environment) -> Option<Store> {
    let mut store = file.table::<Store>("store")?;
    let it = &store.value;
    let given = match (&it.url, &it.url_env, &it.url_file) {
        (None, None, None) => Ok(None),
        (Some(url), None, None) if has_password(url) => {
            Err(("url", "a password stands in `url`; move the address to `url_env` or `url_file` (mode 600)".to_owned()))
        }
        (Some(url), None, None) => Ok(Some(("url", Secret::new(url)))),
        (None, Some(variable), None) => {
            secret::from_env(variable, env).map(|url| Some(("url_env", url))).map_err(|why| ("url_env", why))
        }
        (None, None, Some(path)) => secret::from_file(path).map(|url| Some(("url_file", url))).map_err(|why| ("url_file", why)),
        _ => Err(("url", "`url`, `url_env` and `url_file` exclude each other; keep one".to_owned())),
    };
    let complaint = match (given, it.kind) {
        (Err(complaint), _) => Some(complaint),
        (Ok(None), StoreKind::Sqlite) => None,
        (Ok(Some((key, _))), StoreKind::Sqlite) => {
            Some((key, "the embedded store needs no address; write kind = \"postgres\" or delete this key".to_owned()))
        }
        (Ok(None), StoreKind::Postgres) => {
            let why = "kind \"postgres\" wants an address; add `url_env` and set the variable to postgres://USER:PASSWORD@HOST/DATABASE";
            Some(("kind", why.to_owned()))
        }
        (Ok(Some((_, url))), StoreKind::Postgres) if is_postgres(url.expose()) => {
            store.value.address = Some(url);
            None
        }
        (Ok(Some((key, _))), StoreKind::Postgres) => {
            Some((key, "the store's address begins with postgres://, such as postgres://USER:PASSWORD@HOST/DATABASE".to_owned()))
        }
    };
    if let Some((key, why)) = complaint {
        file.complain(store.place(key), why);
    }
    Some(store.value)
}

fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// `scheme://user:password@host`, or `?password=`.
fn has_password(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) || url.contains("password=")
}

fn http(file: &mut File, env: Environment) -> Option<Http> {
    let mut http = file.table::<Http>("http")?;
    let it = &mut http.value;
    let given = token(it.token_env.as_deref(), it.token_file.as_deref(), env);
    let refused = it.open && !it.bind.ip().is_loopback();
    let bind = it.bind;
    let complaint = match given {
        Ok(token) => {
            it.token = token;
            None
        }
        Err(complaint) => Some(complaint),
    };
    if let Some((key, why)) = complaint {
        file.complain(http.place(key), why);
    }
    if refused {
        let message =
            format!("`open` without a token is for loopback only, but HTTP is bound to {bind}; delete `open` or bind 127.0.0.1");
        file.complain(http.place("open"), message);
    }
    Some(http.value)
}

/// The token that one of two keys names; the error goes with the key.
fn token(variable: Option<&str>, path: Option<&Path>, env: Environment) -> Result<Option<Secret>, (&'static str, String)> {
    match (variable, path) {
        (Some(variable), None) => secret::from_env(variable, env).map(Some).map_err(|why| ("token_env", why)),
        (None, Some(path)) => secret::from_file(path).map(Some).map_err(|why| ("token_file", why)),
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(("token_file", "`token_env` and `token_file` exclude each other; keep one".to_owned())),
    }
}

fn standby(file: &mut File, env: Environment, store: Option<&Store>) -> Option<Standby> {
    let mut standby = file.table::<Standby>("standby")?;
    match token(standby.value.token_env.as_deref(), standby.value.token_file.as_deref(), env) {
        Ok(token) => standby.value.token = token,
        Err((key, why)) => file.complain(standby.place(key), why),
    }
    if standby.value.lease && store.is_some_and(|store| store.kind != StoreKind::Postgres) {
        let message =
            "`lease` stands in PostgreSQL; write `kind = \"postgres\"` in [store], or promote by hand and delete this key";
        file.complain(standby.place("lease"), message);
    }
    Some(standby.value)
}

fn webhooks(file: &mut File, env: Environment) -> Vec<Webhook> {
    let mut webhooks = file.list::<Webhook>("webhook");
    for webhook in &mut webhooks {
        if !(webhook.value.url.starts_with("http://") || webhook.value.url.starts_with("https://")) {
            file.complain(webhook.place("url"), "a webhook's `url` begins with https:// or http://");
        }
        let secret = webhook.value.secret_env.as_ref().map(|variable| secret::from_env(variable, env)).transpose();
        match secret {
            Ok(secret) => webhook.value.secret = secret,
            Err(why) => file.complain(webhook.place("secret_env"), why),
        }
    }
    values(webhooks)
}

/// The kernel takes 107 bytes of a socket's path; the name under which it is bound first is longer by `.new` and the door's version.
const SOCKET_PATH_MAX: usize = 99;

fn media(file: &mut File, data: &Path) -> Option<Media> {
    let media = file.table::<Media>("media")?;
    let it = &media.value;
    if it.inside {
        for key in ["start", "socket", "orphan_after_s"] {
            if media.gives(key) {
                let message = format!("`{key}` is for a media process, and `inside = true` wants none; delete one of the two");
                file.complain(media.place(key), message);
            }
        }
    }
    let socket = it.socket.clone().unwrap_or_else(|| data.join("media.sock"));
    let length = socket.as_os_str().len();
    if !it.inside && length > SOCKET_PATH_MAX {
        let message = format!(
            "the path of the media socket has {length} bytes, at most {SOCKET_PATH_MAX} are allowed; name a shorter `socket`, such as \
             \"/run/dozvon/media.sock\""
        );
        file.complain(media.place("socket"), message);
    }
    if it.orphan_after.is_zero() {
        let message = "0 would end all audio whenever the engine is started anew; delete the key for 600";
        file.complain(media.place("orphan_after_s"), message);
    }
    Some(media.value)
}

fn sip(file: &mut File) -> Option<Sip> {
    let sip = file.table::<Sip>("sip")?;
    // RFC 4028 §4.
    const LEAST: Duration = Duration::from_secs(90);
    if !sip.value.session_expires.is_zero() && sip.value.session_expires < LEAST {
        file.complain(sip.place("session_expires_s"), "`session_expires_s` is below 90; write at least 90, or 0 for none");
    }
    Some(sip.value)
}

fn acd(file: &mut File) -> Option<Acd> {
    let acd = file.table::<Acd>("acd")?;
    if acd.value.last_agent_within > Duration::from_secs(30 * 86_400) {
        let message = "a talk is remembered for 30 days at most; write a `last_agent_within_s` of 0 to 2592000";
        file.complain(acd.place("last_agent_within_s"), message);
    }
    if acd.value.last_agent_wait > Duration::from_secs(120) {
        let message = "nobody waits longer than 120 s for one agent; write a `last_agent_wait_s` of 0 to 120";
        file.complain(acd.place("last_agent_wait_s"), message);
    }
    Some(acd.value)
}

fn callbacks(file: &mut File, regions: &[Region], trunks: &[Trunk]) -> Option<Callbacks> {
    let callbacks = file.table::<Callbacks>("callbacks")?;
    let it = &callbacks.value;
    if !(1..=10).contains(&it.attempts) {
        file.complain(callbacks.place("attempts"), format!("`attempts` is {}; write 1 to 10", it.attempts));
    }
    if !(900..=86_400).contains(&it.gap.as_secs()) {
        let message = "nobody is rung five times an hour; write a `gap_s` of 900 to 86400";
        file.complain(callbacks.place("gap_s"), message);
    }
    if !(5..=120).contains(&it.ring.as_secs()) {
        file.complain(callbacks.place("ring_s"), format!("`ring_s` is {}; write 5 to 120", it.ring.as_secs()));
    }
    let [from, to] = it.hours;
    if from >= to || to > 24 {
        let message = format!("`hours` is [{from}, {to}]; write the first and the last hour of one day, such as [9, 21]");
        file.complain(callbacks.place("hours"), message);
    }
    promise_fits(file, callbacks.place("within_s"), "within_s", it.within);
    if it.place_kept > Duration::from_secs(3600) {
        let message = "a place is kept for an hour at most; write a `place_kept_s` of 0 to 3600";
        file.complain(callbacks.place("place_kept_s"), message);
    }
    let dials = it.dial && regions.iter().any(|region| region.dial);
    if dials && !trunks.iter().any(|trunk| trunk.contact.is_some()) {
        let message =
            "`dial = true` calls citizens back, but no trunk has a `contact` to send calls to; add it, or write `dial = false`";
        file.complain(callbacks.place("dial"), message);
    }
    Some(callbacks.value)
}

fn promise_fits(file: &mut File, place: usize, key: &str, within: Duration) {
    if !(600..=7 * 86_400).contains(&within.as_secs()) {
        file.complain(
            place,
            format!("a callback is promised within ten minutes to seven days; write a `{key}` of 600 to 604800"),
        );
    }
}

fn limits(file: &mut File) -> Option<Limits> {
    let limits = file.table::<Limits>("limits")?;
    let it = &limits.value;
    if it.reserved_for_trunks >= it.transactions {
        file.complain(
            limits.place("reserved_for_trunks"),
            "the trunks' share must be smaller than `transactions`; phones need room too",
        );
    }
    for (key, value) in
        [("transactions", it.transactions), ("per_source", it.per_source), ("legs", it.legs), ("contacts", it.contacts)]
    {
        if value == 0 {
            file.complain(limits.place(key), format!("`{key}` of 0 lets nobody in; delete the key for the default"));
        }
    }
    if it.people.is_zero() {
        file.complain(limits.place("people_days"), "`people_days` of 0 forgets whom to call back; write at least 1");
    }
    Some(limits.value)
}

fn codes(file: &mut File) -> Option<Codes> {
    let codes = file.table::<Codes>("codes")?;
    let mut seen = BTreeSet::new();
    let keys = ["ready", "break", "offline", "finish_wrap_up", "voicemail", "wrong_number", "wrap_up_code", "extend_wrap_up"];
    for (key, code) in keys.into_iter().zip(codes.value.all()) {
        let dialable = code.len() >= 2 && code.len() <= 6 && code.bytes().all(|b| b.is_ascii_digit() || b == b'*' || b == b'#');
        if !dialable {
            file.complain(codes.place(key), format!("`{code}` is no feature code; take 2 to 6 of the keys 0-9, * and #"));
        }
        if !seen.insert(code) {
            file.complain(codes.place(key), format!("code `{code}` stands for two things; take another one"));
        }
        let before = &codes.value.wrap_up_code;
        if code != before && code.starts_with(before.as_str()) {
            let message = format!("`{code}` begins as `{before}`, which stands before wrap-up codes; take another one");
            file.complain(codes.place(key), message);
        }
    }
    Some(codes.value)
}

/// Longest reason of a break, in bytes; it stands in every picture of the board.
const MAX_REASON: usize = 100;

fn breaks(file: &mut File, codes: Option<&Codes>) -> Vec<BreakReason> {
    let breaks = file.list::<BreakReason>("break");
    unique(file, "break", &breaks, "reason", |reason| reason.reason.clone());
    let mut seen = BTreeSet::new();
    for reason in &breaks {
        if reason.value.reason.len() > MAX_REASON {
            file.complain(reason.place("reason"), format!("the reason is too long; keep it under {MAX_REASON} bytes"));
        }
        let Some(key) = &reason.value.key else { continue };
        if !(1..=2).contains(&key.len()) || !key.bytes().all(|b| b.is_ascii_digit()) {
            file.complain(reason.place("key"), format!("`{key}` is no key for a reason; take 1 or 2 digits"));
        } else if !seen.insert(key) {
            file.complain(reason.place("key"), format!("key `{key}` stands for two reasons; take another one"));
        }
        let dialled = codes.map(|codes| format!("{}{key}", codes.on_break));
        if let (Some(dialled), Some(codes)) = (&dialled, codes)
            && (codes.all().contains(&dialled.as_str()) || dialled.starts_with(codes.wrap_up_code.as_str()))
        {
            file.complain(reason.place("key"), format!("`{dialled}` is a code for something else; take another key"));
        }
    }
    values(breaks)
}

fn missed_offers(file: &mut File) -> Option<MissedOffers> {
    let missed = file.table::<MissedOffers>("missed_offers")?;
    for (key, policy) in missed.value.all() {
        let Some(policy) = policy else { continue };
        // A phone that rings takes its time; the others say no at once.
        if key != "no_answer" && policy.rest.is_zero() {
            let message =
                "such a phone says so at once, and without a rest it would be rung without end; write a `rest_s` of at least 1";
            file.complain(missed.place(key), message);
        }
        if !policy.longest_rest.is_zero() && policy.longest_rest < policy.rest {
            file.complain(missed.place(key), "`longest_rest_s` is shorter than `rest_s`; write more, or delete it");
        }
        if policy.rest.max(policy.longest_rest) > Duration::from_secs(3600) {
            file.complain(missed.place(key), "an agent would be left alone for over an hour; write at most 3600");
        }
    }
    Some(missed.value)
}

fn flapping(file: &mut File) -> Option<Flapping> {
    let flapping = file.table::<Flapping>("flapping")?;
    let it = &flapping.value;
    if it.times == 1 || it.times > 100 {
        let message = format!("`times` is {}; write 2 to 100, or 0 for no damping", it.times);
        file.complain(flapping.place("times"), message);
    }
    for (key, value) in [("within_s", it.within), ("rest_s", it.rest)] {
        if !(1..=3600).contains(&value.as_secs()) {
            file.complain(flapping.place(key), format!("`{key}` is {}; write 1 to 3600", value.as_secs()));
        }
    }
    Some(flapping.value)
}

/// Each phone that rings takes a port of the agents' range and an INVITE.
const MOST_AT_ONCE: u32 = 20;

fn phones_at_once_fit(file: &mut File, queue: &Placed<Queue>) {
    let phones = queue.value.ring_at_once;
    if !(1..=MOST_AT_ONCE).contains(&phones) {
        let message = format!("`ring_at_once` is {phones}; write 1 (one phone after the other) to {MOST_AT_ONCE}");
        file.complain(queue.place("ring_at_once"), message);
    }
}

fn requirements_fit(file: &mut File, queue: &Placed<Queue>) {
    levels_required_fit(file, queue, "requires", &queue.value.requires.0);
    if let Some(prefers) = &queue.value.prefers {
        levels_required_fit(file, queue, "prefers", &prefers.0);
    }
    let mut before = Duration::ZERO;
    for (no, relaxed) in queue.value.relax.iter().enumerate() {
        levels_required_fit(file, queue, &format!("relax.{no}.requires"), &relaxed.requires.0);
        if relaxed.after <= before {
            let message =
                "each step of `relax` comes later than the one before, the first after at least 1 s; sort them by `after_s`";
            file.complain(queue.place(&format!("relax.{no}.after_s")), message);
        }
        before = relaxed.after;
    }
}

fn levels_required_fit(file: &mut File, queue: &Placed<Queue>, key: &str, requires: &Requirement) {
    match requires {
        Requirement::AtLeast(skill, level) if !(1..=100).contains(level) => {
            let message = format!("level {level} of skill `{skill}` is out of bounds; a level is 1 to 100");
            let place = format!("{key}.{skill}");
            file.complain(queue.place(if queue.gives(&place) { &place } else { key }), message);
        }
        Requirement::AtLeast(..) => {}
        Requirement::All(parts) | Requirement::Any(parts) => {
            parts.iter().for_each(|part| levels_required_fit(file, queue, key, part));
        }
    }
}

fn levels_fit<T>(file: &mut File, section: &Placed<T>, key: &str, levels: &BTreeMap<Skill, u8>) {
    for (skill, level) in levels.iter().filter(|(_, level)| !(1..=100).contains(*level)) {
        let message = format!("level {level} of skill `{skill}` is out of bounds; a level is 1 to 100");
        file.complain(section.place(&format!("{key}.{skill}")), message);
    }
}

pub(super) fn known<'a>(file: &mut File, place: usize, kind: &str, name: &str, names: impl Iterator<Item = &'a str> + Clone) {
    if names.clone().any(|known| known == name) {
        return;
    }
    let message = match list(names) {
        none if none.is_empty() => format!("{kind} `{name}` is not defined, nor is any other {kind}; add it"),
        names => format!("{kind} `{name}` is not defined; {kind}s are: {names}"),
    };
    file.complain(place, message);
}

fn unique<T>(file: &mut File, kind: &str, sections: &[Placed<T>], key: &str, name: impl Fn(&T) -> String) {
    let mut seen = BTreeSet::new();
    for section in sections {
        let name = name(&section.value);
        if name.is_empty() {
            file.complain(section.place(key), format!("this {kind} has an empty name; give it one"));
        } else if !seen.insert(name.clone()) {
            file.complain(section.place(key), format!("{kind} `{name}` is defined twice; rename or delete one"));
        }
    }
}

fn list(names: impl Iterator<Item = impl ToString>) -> String {
    names.map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

fn values<T>(sections: Vec<Placed<T>>) -> Vec<T> {
    sections.into_iter().map(|section| section.value).collect()
}
