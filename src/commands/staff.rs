//! `dozvon staff`: what will come, how many operators it takes and in which shifts, and how good forecasts have been.

use super::files::{text_of, trace_of, write};
use super::replay::{SpanArguments, lived};
use anyhow::{Context, bail};
use dozvon::simulate::{CLASSES, Call, Trace, roster_csv};
use dozvon::staffing::{
    Breaks, Date, Demand, Forecast, Goal, History, Plan, QUARTERS_PER_WEEK, ShiftRules, backtest, forecast_picture, plan,
    plan_picture,
};
use std::path::PathBuf;
use std::time::Duration;

const WEEKDAYS: [&str; 7] = ["пн", "вт", "ср", "чт", "пт", "сб", "вс"];
/// Of a line of which only counts are known, s.
const SERVICE_S: f64 = 165.0;
const PATIENCE_S: f64 = 446.0;

#[derive(clap::Subcommand)]
pub enum StaffCommand {
    /// Operators by the hour and shifts of a week, for hours given or a goal to reach.
    Plan(Box<PlanArguments>),
    /// Arrivals expected by quarter of an hour, with the interval in which 80 % of counts lie.
    Forecast {
        #[command(flatten)]
        source: SourceArguments,
        #[arg(long, default_value_t = 7)]
        days: u32,
        /// Where it goes, as CSV (`start,mean,low,high`).
        #[arg(long)]
        csv: PathBuf,
        #[arg(long)]
        picture: Option<PathBuf>,
    },
    /// The last days held out and forecast from what lay before them, a week at a time.
    Backtest {
        #[command(flatten)]
        source: SourceArguments,
        #[arg(long, default_value_t = 14)]
        days: u32,
        #[arg(long)]
        json: Option<PathBuf>,
    },
}

/// Where arrivals are known from.
#[derive(clap::Args)]
pub struct SourceArguments {
    /// Counts as CSV (`start,calls`, a row for each 15, 30 or 60 minutes), also gzipped.
    #[arg(long, conflicts_with_all = ["trace", "config"], required_unless_present_any = ["trace", "config"])]
    arrivals: Option<PathBuf>,
    /// Calls as CSV, as for `dozvon simulate`.
    #[arg(long, conflicts_with = "config")]
    trace: Option<PathBuf>,
    /// The day on which the trace begins, for its weekdays.
    #[arg(long, default_value = "2026-01-05")]
    first_day: String,
    #[command(flatten)]
    journal: Option<SpanArguments>,
}

#[derive(clap::Args)]
pub struct PlanArguments {
    #[command(flatten)]
    source: SourceArguments,
    /// The goal: the best for so many operator-hours a week.
    #[arg(long, group = "goal")]
    operator_hours: Option<f64>,
    /// The goal: the mean wait of all callers over the week, s.
    #[arg(long, group = "goal")]
    mean_wait_s: Option<f64>,
    /// The goal if no other is named: per cent of all callers answered within --within-s.
    #[arg(long, group = "goal")]
    answered: Option<f64>,
    #[arg(long, default_value_t = 20.0)]
    within_s: f64,
    /// Handle time with wrap-up; measured if the source knows it.
    #[arg(long)]
    service_s: Option<f64>,
    /// Mean patience; measured if the source knows it.
    #[arg(long)]
    patience_s: Option<f64>,
    /// Lengths of shifts in hours, with commas.
    #[arg(long, value_delimiter = ',', default_value = "8")]
    shifts: Vec<f64>,
    /// A shift may start every so many minutes, from midnight on.
    #[arg(long, default_value_t = 60)]
    start_every_min: u32,
    /// Breaks at a screen: 10 to 15 minutes an hour are usual; 0: the hours are worked through.
    #[arg(long, default_value_t = 0)]
    break_min_per_hour: u32,
    /// Lunch of shifts of more than four hours; the law wants 30 minutes at least.
    #[arg(long, default_value_t = 0)]
    lunch_min: u32,
    /// Per cent of paid time lost to leave, illness and training.
    #[arg(long, default_value_t = 25.0)]
    shrinkage: f64,
    /// So many on duty whenever calls are expected.
    #[arg(long, default_value_t = 1)]
    at_least: u32,
    /// Where the plan goes, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    #[arg(long)]
    picture: Option<PathBuf>,
    /// Where the shifts go as a roster for `dozvon simulate`, every operator with every skill.
    #[arg(long)]
    roster: Option<PathBuf>,
    /// How many weeks the roster is to last.
    #[arg(long, default_value_t = 1)]
    weeks: u64,
}

pub fn staff(command: StaffCommand) -> anyhow::Result<()> {
    match command {
        StaffCommand::Plan(arguments) => planned(*arguments),
        StaffCommand::Forecast { source, days, csv, picture } => forecast(&source, days, &csv, picture.as_deref()),
        StaffCommand::Backtest { source, days, json } => tested(&source, days, json.as_deref()),
    }
}

/// What a source knows.
struct Known {
    history: History,
    service_s: f64,
    patience_s: f64,
}

fn known(source: &SourceArguments) -> anyhow::Result<Known> {
    if let Some(path) = &source.arrivals {
        let history = History::parse(&text_of(path)?).with_context(|| path.display().to_string())?;
        return Ok(Known { history, service_s: SERVICE_S, patience_s: PATIENCE_S });
    }
    if let Some(path) = &source.trace {
        let first =
            Date::parse(&source.first_day).with_context(|| format!("--first-day {}: write 2026-01-05", source.first_day))?;
        let trace = trace_of(path)?;
        let (service_s, patience_s) = (mean(&trace, |call| call.service), mean(&trace, |call| call.patience));
        return Ok(Known { history: History::of_trace(&trace, first), service_s, patience_s });
    }
    let journal = source.journal.as_ref().context("name the arrivals: --arrivals, --trace or --config")?;
    let (day, first, over) = lived(journal, 1)?;
    let history = History::of_trace(&day.trace, first);
    let history = if over { history } else { history.without_today() };
    Ok(Known { history, service_s: mean(&day.trace, |call| call.service), patience_s: day.patience_mean.as_secs_f64() })
}

/// s.
fn mean(trace: &Trace, of: impl Fn(&Call) -> Duration) -> f64 {
    trace.calls.iter().map(|call| of(call).as_secs_f64()).sum::<f64>() / trace.calls.len().max(1) as f64
}

fn learnt(history: &History) -> anyhow::Result<Forecast> {
    Forecast::learn(history).context("the source has no calls")
}

fn planned(arguments: PlanArguments) -> anyhow::Result<()> {
    let known = known(&arguments.source)?;
    let forecast = learnt(&known.history)?;
    let demand = Demand {
        calls: (0..QUARTERS_PER_WEEK).map(|quarter| forecast.mean(quarter)).collect(),
        day_cv: forecast.day_cv,
        service_mean: positive("service-s", arguments.service_s.unwrap_or(known.service_s))?,
        patience_mean: positive("patience-s", arguments.patience_s.unwrap_or(known.patience_s))?,
    };
    let within = positive("within-s", arguments.within_s)?;
    let goal = match (arguments.operator_hours, arguments.mean_wait_s, arguments.answered) {
        (Some(hours), ..) => Goal::Hours(positive("operator-hours", hours)?),
        (_, Some(wait), _) => Goal::MeanWait(positive("mean-wait-s", wait)?),
        (_, _, answered) => {
            let percent = answered.unwrap_or(80.0);
            if !(1.0..=99.5).contains(&percent) {
                bail!("--answered is per cent, from 1 to 99.5, not {percent}");
            }
            Goal::Answered { share: percent / 100.0, within }
        }
    };
    let quarters = |hours: &f64| (hours * 4.0).round() as usize;
    if arguments.shifts.iter().any(|hours| !(0.25..=24.0).contains(hours)) || arguments.start_every_min < 15 {
        bail!("--shifts are hours from 0.25 to 24, --start-every-min is 15 or more");
    }
    if arguments.break_min_per_hour > 30 || arguments.lunch_min > 120 || !(0.0..90.0).contains(&arguments.shrinkage) {
        bail!("--break-min-per-hour is 30 at most, --lunch-min 120, --shrinkage less than 90");
    }
    let rules = ShiftRules {
        lengths: arguments.shifts.iter().map(quarters).collect(),
        start_every: (arguments.start_every_min / 15) as usize,
        breaks: Breaks { minutes_per_hour: arguments.break_min_per_hour, lunch_minutes: arguments.lunch_min },
        at_least: arguments.at_least,
    };
    let plan = plan(&demand, &rules, goal).context("no shift can be laid; look at --shifts and at the arrivals")?;
    tell(&demand, &plan, arguments.shrinkage);
    if let Some(path) = arguments.json {
        write(&path, &(serde_json::to_string_pretty(&as_json(&demand, &plan, arguments.shrinkage))? + "\n"))?;
    }
    if let Some(path) = arguments.picture {
        write(&path, &plan_picture("План смен на неделю", &demand, &plan))?;
    }
    if let Some(path) = arguments.roster {
        let everything: Vec<(usize, u8)> = (0..CLASSES.len()).map(|class| (class, 50)).collect();
        write(&path, &roster_csv(&plan.roster(arguments.weeks, &everything)))?;
    }
    Ok(())
}

fn positive(name: &str, value: f64) -> anyhow::Result<f64> {
    if value > 0.0 && value < 1e7 { Ok(value) } else { bail!("--{name} is a number above 0, not {value}") }
}

fn tell(demand: &Demand, plan: &Plan, shrinkage: f64) {
    println!(
        "Вызовов в неделю: {:.0}, обслуживание {:.0} с, терпение {:.0} с",
        demand.calls.iter().sum::<f64>(),
        demand.service_mean,
        demand.patience_mean
    );
    println!("\nОператоры на смене (в скобках нужно по Эрлангу A / C)");
    println!("час  {}", WEEKDAYS.map(|day| format!("{day:>14}")).join(""));
    for hour in 0..24 {
        let cells: Vec<String> = (0..7)
            .map(|day| {
                let quarters = (day * 24 + hour) * 4..(day * 24 + hour + 1) * 4;
                let most = |of: &[u32]| of.get(quarters.clone()).into_iter().flatten().max().copied().unwrap_or(0);
                format!("{:>14}", format!("{} ({}/{})", most(&plan.on_duty), most(&plan.needed_a), most(&plan.needed_c)))
            })
            .collect();
        println!("{hour:>3}  {}", cells.join(""));
    }
    println!("\nСмены (начало, часов × человек)");
    for (day, name) in WEEKDAYS.iter().enumerate() {
        let of_day = plan.shifts.iter().filter(|(shift, _)| shift.start / 96 == day);
        let shifts: Vec<String> = of_day
            .map(|(shift, count)| format!("{}:{:02} {} × {count}", shift.start % 96 / 4, shift.start % 4 * 15, shift.hours()))
            .collect();
        println!("  {name}  {}", shifts.join(", "));
    }
    println!("\nОператоро-часов в неделю   {:>8.0}", plan.operator_hours);
    println!(
        "Людей в штате              {:>8.1}  (40 ч в неделю, {shrinkage:.0} % отпуска, болезни, учёба)",
        plan.people(shrinkage / 100.0)
    );
    println!("Среднее ожидание, с        {:>8.1}", plan.week_mean_wait_s);
    println!("Отвечено за {:>3.0} с, %       {:>8.1}", plan.within, 100.0 * plan.week_answered_share);
}

fn as_json(demand: &Demand, plan: &Plan, shrinkage: f64) -> serde_json::Value {
    let shifts: Vec<serde_json::Value> = plan
        .shifts
        .iter()
        .map(|(shift, count)| serde_json::json!({ "start_quarter": shift.start, "hours": shift.hours(), "people": count }))
        .collect();
    serde_json::json!({
        "operator_hours": plan.operator_hours, "people": plan.people(shrinkage / 100.0), "mean_wait_s": plan.week_mean_wait_s,
        "within_s": plan.within, "answered_share": plan.week_answered_share, "shifts": shifts,
        "quarters": {
            "calls": demand.calls, "on_duty": plan.on_duty, "available": plan.available, "erlang_a": plan.needed_a,
            "erlang_c": plan.needed_c, "mean_wait_s": plan.mean_wait_s,
        },
    })
}

fn forecast(source: &SourceArguments, days: u32, csv: &std::path::Path, picture: Option<&std::path::Path>) -> anyhow::Result<()> {
    let known = known(source)?;
    let forecast = learnt(&known.history)?;
    let last = known.history.last().context("the source has no calls")?;
    let coming: Vec<(Date, _)> =
        (1..=i64::from(days)).map(|day| Date(last.0 + day)).map(|date| (date, forecast.day(date))).collect();
    let mut text = String::from("start,mean,low,high\n");
    println!("Ожидается вызовов (80 % дней — в границах)");
    for (date, quarters) in &coming {
        for (no, quarter) in quarters.iter().enumerate() {
            let (hour, minute) = (no / 4, no % 4 * 15);
            text += &format!("{date}T{hour:02}:{minute:02},{:.2},{:.0},{:.0}\n", quarter.mean, quarter.low, quarter.high);
        }
        let whole = forecast.whole_day(*date);
        println!("{date} {}  {:>7.0}  ({:.0}–{:.0})", WEEKDAYS[date.weekday()], whole.mean, whole.low, whole.high);
    }
    write(csv, &text)?;
    if let Some(path) = picture {
        let days: Vec<(String, _)> =
            coming.into_iter().map(|(date, day)| (format!("{} {date}", WEEKDAYS[date.weekday()]), day)).collect();
        write(path, &forecast_picture("Прогноз вызовов", &days))?;
    }
    Ok(())
}

fn tested(source: &SourceArguments, days: u32, json: Option<&std::path::Path>) -> anyhow::Result<()> {
    let known = known(source)?;
    let told = backtest(&known.history, days)
        .with_context(|| format!("nothing lies before the last {days} days; hold out fewer with --days"))?;
    println!("Проверено дней: {}", told.days);
    println!("{:36}{:>10}{:>22}", "", "прогноз", "как неделю назад");
    println!("{:36}{:>10.1}{:>22.1}", "Ошибка по дням, %", 100.0 * told.wape_day, 100.0 * told.naive_day);
    println!(
        "{:36}{:>10.1}{:>22.1}",
        format!("Ошибка за {} минут, %", 15 * known.history.grain),
        100.0 * told.wape_step,
        100.0 * told.naive_step
    );
    println!("{:36}{:>+10.1}", "Сдвиг, %", 100.0 * told.bias);
    println!("{:36}{:>10.1}", "В 80-процентных границах, %", 100.0 * told.covered);
    if let Some(path) = json {
        write(path, &(serde_json::to_string_pretty(&told)? + "\n"))?;
    }
    Ok(())
}
