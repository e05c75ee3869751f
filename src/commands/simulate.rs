//! `dozvon simulate`: calls through a roster of agents by one policy, in virtual time; a trace, or a made-up line over many seeds.

use super::files::{roster_of, trace_of, write};
use super::generate::{Line, LineArguments};
use anyhow::{Context, bail};
use dozvon::simulate::{
    CLASSES, CallbackFigures, Callbacks, EstimateFigures, Figures, Interval, Roster, Router, Told, Trace, callback_rows,
    estimate_figures, figures, picture, quarters, rows, simulate as run, simulate_callbacks, told, told_rows, trace,
};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(clap::Args)]
pub struct SimulateArguments {
    /// Calls as CSV (`t_s,number,class,service_s,patience_s`), also gzipped.
    #[arg(long, required_unless_present = "seeds")]
    trace: Option<PathBuf>,
    /// Instead of a trace: so many made-up ones, by the seeds 1, 2, …; figures come with their 95 % intervals.
    #[arg(long, conflicts_with_all = ["trace", "calls", "picture"])]
    seeds: Option<u64>,
    #[command(flatten)]
    line: LineArguments,
    /// Agents as CSV (`agent,from_s,to_s,skills`).
    #[arg(long)]
    roster: PathBuf,
    /// `default` is the rule of the engine as installed; others for comparison.
    #[arg(long, default_value = "default")]
    policy: Router,
    /// Where the figures go, as JSON.
    #[arg(long)]
    json: PathBuf,
    /// Where the end of each call goes, as CSV.
    #[arg(long)]
    calls: Option<PathBuf>,
    /// Where waits, queue and agents over the day go, as a picture (SVG).
    #[arg(long)]
    picture: Option<PathBuf>,
    /// Where goes what callers were told about their wait and how it came out by hour of the day, as JSON; a table is printed.
    #[arg(long)]
    estimate: Option<PathBuf>,
    /// Where goes each estimate with the wait, as CSV.
    #[arg(long, requires = "estimate")]
    estimate_rows: Option<PathBuf>,
    /// How long an agent's phone rings before the answer.
    #[arg(long, default_value_t = 0)]
    ring_s: u32,
    /// Who would wait long is offered a callback, which the line carries out: `default` or key=value with commas between, such as
    /// `over_s=60,within_s=14400,idle_agents=1`. `over_s` is compared with what they would be told.
    #[arg(long, num_args = 0..=1, default_missing_value = "default")]
    callbacks: Option<Callbacks>,
    /// Where goes what became of each callback, as CSV.
    #[arg(long, requires = "callbacks", conflicts_with = "seeds")]
    callback_rows: Option<PathBuf>,
}

#[derive(serde::Serialize)]
struct Found {
    #[serde(flatten)]
    figures: Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    callbacks: Option<CallbackFigures>,
}

pub fn simulate(arguments: SimulateArguments) -> anyhow::Result<()> {
    let SimulateArguments {
        trace,
        seeds,
        line,
        roster,
        policy,
        json,
        calls,
        picture: svg,
        estimate,
        estimate_rows,
        ring_s,
        callbacks,
        callback_rows: back_rows,
    } = arguments;
    if callbacks.is_some() && !policy.is_engine() {
        bail!("--callbacks: `{}` does not call back; choose a policy of the engine", policy.name());
    }
    let (roster, ring) = (roster_of(&roster)?, Duration::from_secs(u64::from(ring_s)));
    let Some(trace) = trace else {
        let (line, seeds) = (line.line()?, seeds.unwrap_or(1));
        over_seeds(&line, seeds, &roster, policy, ring, callbacks.as_ref(), &json)?;
        if let Some(estimate) = estimate {
            let traces = (1..=seeds).map(|seed| dozvon::simulate::trace(&line.rows(seed, &roster, policy)));
            judge_estimates(traces, &roster, policy, ring, &estimate, estimate_rows.as_deref())?;
        }
        return Ok(());
    };
    let trace = trace_of(&trace)?;
    let (ends, back) = match &callbacks {
        None => (run(&trace, &roster, policy, ring), None),
        Some(callbacks) => {
            let (ends, stories, found) = simulate_callbacks(&trace, &roster, policy, ring, callbacks);
            if let Some(back_rows) = back_rows {
                write(&back_rows, &callback_rows(&stories))?;
            }
            (ends, Some(found))
        }
    };
    let found = Found { figures: figures(policy.name(), &trace, &ends), callbacks: back };
    write(&json, &(serde_json::to_string_pretty(&found)? + "\n"))?;
    if let Some(calls) = calls {
        write(&calls, &rows(&roster, &ends))?;
    }
    if let Some(svg) = svg {
        write(&svg, &picture(&format!("Правило распределения {}", policy.name()), 0, &quarters(&trace, &roster, &ends)))?;
    }
    if let Some(estimate) = estimate {
        judge_estimates([trace].into_iter(), &roster, policy, ring, &estimate, estimate_rows.as_deref())?;
    }
    Ok(())
}

/// Over all traces together; each begins with an engine that knows nothing.
fn judge_estimates(
    traces: impl Iterator<Item = Trace>,
    roster: &Roster,
    policy: Router,
    ring: Duration,
    json: &Path,
    rows: Option<&Path>,
) -> anyhow::Result<()> {
    let mut all: Vec<Told> = Vec::new();
    for trace in traces {
        let told = told(&trace, roster, policy, ring);
        all.extend(told.with_context(|| format!("by policy {} nobody is told anything", policy.name())).context("--estimate")?);
    }
    let found = estimate_figures(policy.name(), &all);
    write(json, &(serde_json::to_string_pretty(&found)? + "\n"))?;
    if let Some(rows) = rows {
        write(rows, &told_rows(&all))?;
    }
    print_estimates(&found);
    Ok(())
}

fn print_estimates(found: &EstimateFigures) {
    println!("Прогноз ожидания: обещано p80; доли от дождавшихся, ошибки в секундах (средняя; средняя по модулю)");
    println!(
        "  час  сказано  дождались  в срок, %  с ушедшими, %  объявлено, %    ожидание       среднее     app_queue   call_center"
    );
    let hours = found.hours.iter().map(|(hour, figures)| (format!("{hour:>5}"), figures));
    for (name, hour) in hours.chain([("всего".to_owned(), &found.all)]) {
        let [mean, app_queue, call_center] = ["mean", "app_queue", "call_center"].map(|name| {
            let errors = hour.estimators.get(name);
            errors.map_or(String::new(), |errors| format!("{:.1}; {:.1}", errors.mean_error_s, errors.mean_absolute_error_s))
        });
        let [kept, censored, announced] =
            [hour.coverage, hour.coverage_censored, hour.announced_coverage].map(|share| 100.0 * share);
        println!(
            "{name} {:>8} {:>10} {kept:>10.1} {censored:>14.1} {announced:>13.1} {:>11.1} {mean:>13} {app_queue:>13} {call_center:>13}",
            hour.told, hour.served, hour.mean_wait_s
        );
    }
    let said = &found.announcements;
    println!(
        "Объявлений {}; стало длиннее с объяснением {}, без него {}",
        said.said, said.grew_with_reason, said.grew_without_reason
    );
}

fn over_seeds(
    line: &Line,
    seeds: u64,
    roster: &Roster,
    policy: Router,
    ring: Duration,
    callbacks: Option<&Callbacks>,
    json: &std::path::Path,
) -> anyhow::Result<()> {
    let (mut found, mut back): (Vec<Figures>, Vec<CallbackFigures>) = (Vec::new(), Vec::new());
    for seed in 1..=seeds {
        let calls = trace(&line.rows(seed, roster, policy));
        let ends = match callbacks {
            None => run(&calls, roster, policy, ring),
            Some(callbacks) => {
                let (ends, _, found) = simulate_callbacks(&calls, roster, policy, ring, callbacks);
                back.push(found);
                ends
            }
        };
        found.push(figures(policy.name(), &calls, &ends));
    }
    let over = |of: &dyn Fn(&Figures) -> f64| Interval::of(&found.iter().map(of).collect::<Vec<f64>>());
    let classes: serde_json::Map<String, serde_json::Value> = CLASSES
        .iter()
        .map(|(name, _)| {
            let wait = over(&|figures| figures.classes.get(name).map_or(0.0, |class| class.mean_wait_s));
            ((*name).to_owned(), json!({ "mean_wait_s": wait }))
        })
        .collect();
    let (calls, wait) = (over(&|figures| figures.calls as f64), over(&|figures| figures.mean_wait_s));
    let (abandoned, sl20) = (over(&|figures| figures.abandoned_share), over(&|figures| figures.sl20));
    let worst = over(&Figures::worst_wait_over_target);
    let mut told = json!({
        "policy": policy.name(), "seeds": seeds, "calls": calls, "mean_wait_s": wait, "sl20": sl20, "abandoned_share": abandoned,
        "worst_wait_over_target": worst, "classes": classes,
    });
    let over_back = |of: fn(&CallbackFigures) -> f64| Interval::of(&back.iter().map(of).collect::<Vec<f64>>());
    let back: Vec<(&str, &str, f64, Interval)> = CALLBACK_ROWS
        .iter()
        .filter(|_| callbacks.is_some())
        .map(|(key, title, times, of)| (*key, *title, *times, over_back(*of)))
        .collect();
    if let Some(told) = told.as_object_mut().filter(|_| callbacks.is_some()) {
        told.insert("callbacks".to_owned(), back.iter().map(|(key, _, _, over)| ((*key).to_owned(), json!(over))).collect());
    }
    write(json, &(serde_json::to_string_pretty(&told)? + "\n")).context("--json")?;
    println!("Среднее ± половина 95-процентного интервала, прогонов: {seeds}");
    println!("Вызовов                       {:>9.0} ± {:.0}", calls.mean, calls.half);
    println!("Среднее ожидание, с           {:>9.2} ± {:.2}", wait.mean, wait.half);
    println!("Отвечено за 20 с, %           {:>9.1} ± {:.1}", 100.0 * sl20.mean, 100.0 * sl20.half);
    println!("Не дождались, %               {:>9.2} ± {:.2}", 100.0 * abandoned.mean, 100.0 * abandoned.half);
    println!("Худшая тема к её цели         {:>9.2} ± {:.2}", worst.mean, worst.half);
    for (_, title, times, over) in back {
        println!("{title:<29} {:>9.2} ± {:.2}", times * over.mean, times * over.half);
    }
    Ok(())
}

type CallbackRow = (&'static str, &'static str, f64, fn(&CallbackFigures) -> f64);

/// Key, title, factor of the table, figure.
const CALLBACK_ROWS: [CallbackRow; 8] = [
    ("booked_share", "Выбрали перезвон, %", 100.0, |back| back.booked_share),
    ("in_time_share", "Перезвон в срок, %", 100.0, |back| back.in_time_share),
    ("called_share", "Перезвонили вообще, %", 100.0, |back| back.called_share),
    ("reached_share", "Дозвонились до них, %", 100.0, |back| back.reached_share),
    ("mean_to_first_call_s", "До первого перезвона, с", 1.0, |back| back.mean_to_first_call_s),
    ("mean_wait_of_others_s", "Ожидание оставшихся, с", 1.0, |back| back.mean_wait_of_others_s),
    ("served_share", "Обслужены всего, %", 100.0, |back| back.served_share),
    ("mean_time_to_served_s", "От звонка до ответа, с", 1.0, |back| back.mean_time_to_served_s),
];
