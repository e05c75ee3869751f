//! `dozvon simulate`: calls through a roster of agents by one policy, in virtual time; a trace, or a made-up line over many seeds.

use super::files::{roster_of, trace_of, write};
use super::generate::{Line, LineArguments};
use anyhow::Context;
use dozvon::simulate::{CLASSES, Figures, Interval, Roster, Router, figures, picture, quarters, rows, simulate as run, trace};
use serde_json::json;
use std::path::PathBuf;
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
    /// How long an agent's phone rings before the answer.
    #[arg(long, default_value_t = 0)]
    ring_s: u32,
}

pub fn simulate(arguments: SimulateArguments) -> anyhow::Result<()> {
    let SimulateArguments { trace, seeds, line, roster, policy, json, calls, picture: svg, ring_s } = arguments;
    let (roster, ring) = (roster_of(&roster)?, Duration::from_secs(u64::from(ring_s)));
    let Some(trace) = trace else {
        return over_seeds(&line.line()?, seeds.unwrap_or(1), &roster, policy, ring, &json);
    };
    let trace = trace_of(&trace)?;
    let ends = run(&trace, &roster, policy, ring);
    write(&json, &(serde_json::to_string_pretty(&figures(policy.name(), &trace, &ends))? + "\n"))?;
    if let Some(calls) = calls {
        write(&calls, &rows(&roster, &ends))?;
    }
    if let Some(svg) = svg {
        write(&svg, &picture(&format!("Правило распределения {}", policy.name()), 0, &quarters(&trace, &roster, &ends)))?;
    }
    Ok(())
}

fn over_seeds(
    line: &Line,
    seeds: u64,
    roster: &Roster,
    policy: Router,
    ring: Duration,
    json: &std::path::Path,
) -> anyhow::Result<()> {
    let found: Vec<Figures> = (1..=seeds)
        .map(|seed| {
            let calls = trace(&line.rows(seed, roster, policy));
            figures(policy.name(), &calls, &run(&calls, roster, policy, ring))
        })
        .collect();
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
    let told = json!({
        "policy": policy.name(), "seeds": seeds, "calls": calls, "mean_wait_s": wait, "sl20": sl20, "abandoned_share": abandoned,
        "worst_wait_over_target": worst, "classes": classes,
    });
    write(json, &(serde_json::to_string_pretty(&told)? + "\n")).context("--json")?;
    println!("Среднее ± половина 95-процентного интервала, прогонов: {seeds}");
    println!("Вызовов                       {:>9.0} ± {:.0}", calls.mean, calls.half);
    println!("Среднее ожидание, с           {:>9.2} ± {:.2}", wait.mean, wait.half);
    println!("Отвечено за 20 с, %           {:>9.1} ± {:.1}", 100.0 * sl20.mean, 100.0 * sl20.half);
    println!("Не дождались, %               {:>9.2} ± {:.2}", 100.0 * abandoned.mean, 100.0 * abandoned.half);
    println!("Худшая тема к её цели         {:>9.2} ± {:.2}", worst.mean, worst.half);
    Ok(())
}
