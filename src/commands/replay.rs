//! `dozvon replay`: a span of the journal played again, as it was and with changes: "yesterday, with three more agents".

use super::files::write;
use super::house;
use anyhow::{Context, bail};
use dozvon::clock::{Clock, Moment};
use dozvon::config::{Region, span};
use dozvon::ids::QueueId;
use dozvon::journal::{Reader, Record};
use dozvon::simulate::{
    CLASSES, Figures, Lived, Replay, Roster, Router, figures, picture, quarters, replay_csv, roster_csv, simulate,
};
use dozvon::staffing::Date;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// So much of the journal is read at a time.
const READ_BYTES: usize = 1 << 20;

#[derive(clap::Args)]
pub struct ReplayArguments {
    #[command(flatten)]
    span: SpanArguments,
    /// So many agents more (twins of those who worked longest) or, with a minus, fewer.
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    agents: i32,
    #[arg(long, default_value = "default")]
    policy: Router,
    /// Draws what the journal does not know: patience of who was answered, talks of who gave up.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the figures go, as JSON: lived, replayed, changed.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where the day with its changes goes, as a picture (SVG).
    #[arg(long)]
    picture: Option<PathBuf>,
    /// Where the lived day goes as a trace and a roster for `dozvon simulate`.
    #[arg(long)]
    trace: Option<PathBuf>,
    #[arg(long)]
    roster: Option<PathBuf>,
}

/// Which part of which journal.
#[derive(clap::Args)]
pub struct SpanArguments {
    #[arg(long)]
    config: PathBuf,
    /// A date or RFC 3339 time in the first region's zone; today if left out.
    #[arg(long)]
    from: Option<String>,
    #[arg(long)]
    to: Option<String>,
    /// The class of a queue, QUEUE=CLASS; queues named like a class need none.
    #[arg(long)]
    class: Vec<String>,
}

/// A lived span, the date on which it begins, and whether it is over.
pub fn lived(arguments: &SpanArguments, seed: u64) -> anyhow::Result<(Replay, Date, bool)> {
    let house = house(&arguments.config)?;
    let zone = house.config.regions.first().map_or(jiff::tz::TimeZone::UTC, Region::time_zone);
    let now = Clock::start(Moment::ZERO).now();
    let span = span(now, &zone, arguments.from.as_deref(), arguments.to.as_deref())?;
    let start = i64::try_from(span.start.0).ok().and_then(|us| jiff::Timestamp::from_microsecond(us).ok());
    let date = start.and_then(|start| Date::parse(&start.to_zoned_datetime(zone).date().to_string()));
    let over = span.end <= now;
    let lived = read(&house.config.data.join("journal"), span)?;
    let classes = classes(&lived, &arguments.class)?;
    let replay = lived.replay(seed, &classes).with_context(|| arguments.config.display().to_string())?;
    Ok((replay, date.context("the span begins before 1970")?, over))
}

pub fn replay(arguments: ReplayArguments) -> anyhow::Result<()> {
    let (day, date, _) = lived(&arguments.span, arguments.seed)?;
    let play = |roster: &Roster, policy: Router| {
        let ends = simulate(&day.trace, roster, policy, day.ring);
        (figures(policy.name(), &day.trace, &ends), ends)
    };
    let changed = day.roster.with_agents(arguments.agents);
    let (as_it_was, _) = play(&day.roster, Router::Default);
    let (then, ends) = play(&changed, arguments.policy);
    println!("С {date}: вызовов {}, операторов {}", day.trace.calls.len(), day.roster.agents.len());
    println!("Терпение в среднем {:.0} с, звонок у оператора {:.1} с", day.patience_mean.as_secs_f64(), day.ring.as_secs_f64());
    println!("{:32}{:>18}{:>16}{:>16}", "", "ожидание, с", "не дождались, %", "за 20 с, %");
    println!("{:32}{:>18.1}{:>16.2}{:>16}", "как было", day.mean_wait_s, 100.0 * day.abandoned_share, "");
    row("как было, в модели", &as_it_was);
    row(&format!("{:+} оп., правило {}", arguments.agents, arguments.policy.name()), &then);
    if let Some(path) = arguments.json {
        let lived = serde_json::json!({
            "calls": day.trace.calls.len(), "mean_wait_s": day.mean_wait_s, "abandoned_share": day.abandoned_share,
            "patience_s": day.patience_mean.as_secs_f64(), "ring_s": day.ring.as_secs_f64(),
        });
        let told = serde_json::json!({ "lived": lived, "replayed": as_it_was, "changed": then });
        write(&path, &(serde_json::to_string_pretty(&told)? + "\n"))?;
    }
    if let Some(path) = arguments.picture {
        let title = format!("С {date}: {:+} оп., правило {}", arguments.agents, arguments.policy.name());
        write(&path, &picture(&title, date.weekday() as u32, &quarters(&day.trace, &changed, &ends)))?;
    }
    if let Some(path) = arguments.trace {
        write(&path, &replay_csv(&day.trace))?;
    }
    if let Some(path) = arguments.roster {
        write(&path, &roster_csv(&day.roster))?;
    }
    Ok(())
}

fn row(name: &str, figures: &Figures) {
    let (wait, lost, soon) = (figures.mean_wait_s, 100.0 * figures.abandoned_share, 100.0 * figures.sl20);
    println!("{name:32}{wait:>18.1}{lost:>16.2}{soon:>16.1}");
}

/// The whole journal is read: who was on duty at the span's start is told by what came before.
fn read(dir: &Path, span: Range<Moment>) -> anyhow::Result<Lived> {
    if !dir.is_dir() {
        bail!("there is no journal in {}; name the configuration of an engine that has run", dir.display());
    }
    let (mut reader, mut position) = (Reader::<Record>::new(dir), 0);
    let mut lived = Lived::new(span.clone());
    loop {
        let records = reader.read_from(position, READ_BYTES)?;
        let Some((behind, _)) = records.last() else { return Ok(lived) };
        position = *behind;
        for stamped in records.into_iter().filter_map(|(_, record)| record.into_stamped()) {
            if stamped.at >= span.end {
                return Ok(lived);
            }
            lived.see(stamped);
        }
    }
}

/// By option, else by name; what has neither takes a class that nobody else has, as long as there is one.
fn classes(lived: &Lived, options: &[String]) -> anyhow::Result<BTreeMap<QueueId, usize>> {
    let class = |name: &str| CLASSES.iter().position(|(class, _)| *class == name);
    let mut classes = BTreeMap::new();
    for option in options {
        let (queue, named) = option.split_once('=').with_context(|| format!("--class {option}: write QUEUE=CLASS"))?;
        let known = || CLASSES.map(|(name, _)| name).join(", ");
        let class = class(named).with_context(|| format!("--class {option}: no class `{named}`; there are {}", known()))?;
        classes.insert(QueueId::from(queue), class);
    }
    for queue in lived.queues() {
        if let (false, Some(class)) = (classes.contains_key(&queue), class(queue.as_str())) {
            classes.insert(queue, class);
        }
    }
    for queue in lived.queues() {
        if !classes.contains_key(&queue)
            && let Some(free) = (0..CLASSES.len()).find(|class| !classes.values().any(|taken| taken == class))
        {
            println!(
                "Очередь {queue} считается как {}; иначе: --class {queue}=…",
                CLASSES.get(free).map_or("", |(name, _)| name)
            );
            classes.insert(queue, free);
        }
    }
    Ok(classes)
}
