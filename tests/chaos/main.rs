//! Kills the engine again and again under load and counts what was lost, by the accounts of the phones alone.
//!
//! `cargo test --test chaos` is the short form; `make chaos` the long one. The last table says `fault | tried | lost | gap | restart`;
//! the exit code is 1 if anything was lost.

mod air;
mod engine;
mod judge;
mod lives;
mod loss;
mod phones;

use air::{Music, now_us};
use clap::Parser;
use engine::Engine;
use judge::{Case, Verdict, judge};
use lives::{Dice, Life};
use phones::{Fault, Phones};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::Duration;

#[derive(Parser, Clone)]
#[command(about = "Kills the engine and its media under load, and counts what was lost")]
pub struct Options {
    #[arg(long, default_value_t = 5)]
    engine_kills: u32,
    #[arg(long, default_value_t = 2)]
    media_kills: u32,
    /// The same seed gives the same lives and the same moments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Agents, all of whom are kept busy
    #[arg(long, default_value_t = 6)]
    talking: u32,
    /// Citizens in the queue
    #[arg(long, default_value_t = 8)]
    waiting: u32,
    /// Citizens in the menu
    #[arg(long, default_value_t = 3)]
    robot: u32,
    /// Calls that arrive each second
    #[arg(long, default_value_t = 2.0)]
    cps: f64,
    /// Load without faults, before the first: what the machine itself does to the sound
    #[arg(long, default_value_t = 3)]
    calm_s: u64,
    /// No further kill of either after so long
    #[arg(long)]
    minutes: Option<u64>,
    /// Record every talk
    #[arg(long)]
    record: bool,
    /// Further runs without kills in a network of their own that drops this share of all datagrams, in percent (root only)
    #[arg(long)]
    loss: Vec<u32>,
    /// How long each of these runs
    #[arg(long, default_value_t = 60)]
    loss_s: u64,
    /// Such a run, in its network already
    #[arg(long, hide = true)]
    dropping: Option<u32>,
    /// A test name of `cargo test NAME` that is not this one's
    #[arg(hide = true)]
    filter: Vec<String>,
}

/// Filling the line takes so long.
const FILL: u64 = 8_000_000;
/// After the last fault everything may settle for so long, and then everybody hangs up.
const SETTLE: Duration = Duration::from_secs(3);
/// A BYE is repeated for 32 s.
const GOODBYES: u64 = 36_000_000;

fn main() -> ExitCode {
    let options = Options::parse();
    if options.filter.iter().any(|name| !"chaos".contains(name.as_str())) {
        return ExitCode::SUCCESS;
    }
    let mut held = run(&options);
    for percent in &options.loss {
        held &= loss::run_in_a_network_that_drops(*percent, &options);
    }
    let (passed, failed) = if held { (1, 0) } else { (0, 1) };
    if options.dropping.is_none() {
        println!("test result: {}. {passed} passed; {failed} failed", if held { "ok" } else { "FAILED" });
    }
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(options: &Options) -> bool {
    let music = Music::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("ivr-scripts/prompts/music.wav"));
    let engine = Engine::start(options);
    let mut phones = Phones::new(&engine.net, music, Life::of(options), Dice::new(options.seed));
    let (tell, told) = channel();
    let chosen = options.clone();
    let hand = std::thread::spawn(move || Hand { engine, tell, options: chosen }.work());
    let faults = load(&mut phones, options, &told);
    let (mut engine, done) = hand.join().unwrap();
    let case = Case { phones: &phones, faults: &faults, lossy: options.dropping.is_some() };
    let verdict = judge(&engine, &case);
    print(&phones, &verdict, &done, options);
    let held = verdict.holds() && done.failure.is_none();
    if !held {
        println!("data and log are kept in {}", engine.keep().display());
    }
    held
}

/// The phones live until the hand has done everything and everybody has hung up.
fn load(phones: &mut Phones, options: &Options, told: &Receiver<Fault>) -> Vec<(u64, Fault)> {
    let (began, mut dice, mut faults) = (now_us(), Dice::new(options.seed ^ 0xca11), Vec::new());
    let mut caller = 0_u64;
    let mut next_call = began;
    let at_first = (f64::from(options.talking + options.waiting + options.robot) / FILL as f64 * 1e6).max(options.cps);
    let mut tell_at = began + 10_000_000;
    loop {
        let now = now_us();
        if now >= next_call {
            let cps = if now - began < FILL { at_first } else { options.cps };
            next_call += dice.mean((1e6 / cps) as u64);
            caller += 1;
            phones.citizen_calls(format!("+7385{:07}", options.seed % 100 * 100_000 + caller));
        }
        phones.turn();
        if now >= tell_at {
            tell_at += 10_000_000;
            let (talking, waiting, robot) = phones.stages();
            let kills = faults.len();
            eprintln!(
                "{:5} s: {talking} talking, {waiting} waiting, {robot} in the robot, {kills} kills",
                (now - began) / 1_000_000
            );
        }
        match told.try_recv() {
            Ok(fault) => {
                phones.mark(fault);
                faults.push((now_us(), fault));
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => break,
        }
    }
    phones.hang_up_all();
    let hung_up = now_us();
    while phones.in_the_air() && now_us() - hung_up < GOODBYES {
        phones.turn();
    }
    faults
}

/// What was done, and what it took.
#[derive(Default)]
struct Done {
    engine_kills: u32,
    media_kills: u32,
    restarts_ms: Vec<f64>,
    failure: Option<String>,
    /// Why no media process was killed.
    no_media: Option<&'static str>,
}

struct Hand {
    engine: Engine,
    tell: Sender<Fault>,
    options: Options,
}

impl Hand {
    fn work(mut self) -> (Engine, Done) {
        let mut done = Done::default();
        std::thread::sleep(Duration::from_micros(FILL) + Duration::from_secs(self.options.calm_s));
        if self.options.dropping.is_some() {
            std::thread::sleep(Duration::from_secs(self.options.loss_s));
        } else if let Err(failure) = self.kill_the_engine(&mut done).and_then(|()| self.kill_media(&mut done)) {
            done.failure = Some(failure);
        }
        std::thread::sleep(SETTLE);
        (self.engine, done)
    }

    fn kill_the_engine(&mut self, done: &mut Done) -> Result<(), String> {
        let mut dice = Dice::new(self.options.seed ^ 0xdead);
        let until = self.options.minutes.map_or(u64::MAX, |minutes| now_us() + minutes * 60_000_000);
        while done.engine_kills < self.options.engine_kills && now_us() < until {
            std::thread::sleep(Duration::from_micros(300_000 + dice.below(2_000_000)));
            loop {
                let _ = self.tell.send(Fault::EngineKilled);
                done.engine_kills += 1;
                if !self.engine.kill9() {
                    return Err("the engine died by itself".to_owned());
                }
                self.engine.spawn();
                // One in twenty dies again while it recovers.
                if dice.of_100() >= 5 || done.engine_kills >= self.options.engine_kills {
                    break;
                }
                std::thread::sleep(Duration::from_micros(dice.below(150_000)));
            }
            done.restarts_ms.push(self.engine.wait_ready()?);
        }
        Ok(())
    }

    fn kill_media(&mut self, done: &mut Done) -> Result<(), String> {
        let mut dice = Dice::new(self.options.seed ^ 0xbeef);
        if self.options.media_kills > 0 && self.engine.media_pid().is_none() {
            done.no_media = Some("there is no `dozvon media` process");
            return Ok(());
        }
        let until = self.options.minutes.map_or(u64::MAX, |minutes| now_us() + minutes * 60_000_000);
        while done.media_kills < self.options.media_kills && now_us() < until {
            std::thread::sleep(Duration::from_micros(2_000_000 + dice.below(2_000_000)));
            let _ = self.tell.send(Fault::MediaKilled);
            if !self.engine.kill_media() {
                return Err("no media process two seconds after its last end".to_owned());
            }
            done.media_kills += 1;
        }
        std::thread::sleep(Duration::from_secs(3));
        Ok(())
    }
}

fn print(phones: &Phones, verdict: &Verdict, done: &Done, options: &Options) {
    let answered = phones.legs.iter().filter(|leg| leg.answered_at.is_some()).count();
    println!(
        "seed {}: {} calls' legs, {answered} answered, {} talks; on record: {:?}",
        options.seed,
        phones.legs.len(),
        verdict.talks,
        verdict.outcomes
    );
    println!(
        "agents rung while they talked: {}; datagrams dropped by the phones' own buffers: {}",
        phones.rung_in_a_talk,
        phones.packets_dropped_by_us()
    );
    verdict.print();
    if let Some(failure) = &done.failure {
        println!("STOPPED: {failure}");
    }
    if let Some(why) = done.no_media.filter(|_| options.dropping.is_none()) {
        println!("MEDIA KILLS SKIPPED: {why}; {} were asked for", options.media_kills);
    }
    if verdict.media_talks.0 > 0 {
        let (lived, heard_again) = verdict.media_talks;
        println!("talks through a kill of media: {lived}, audio both ways again within 2 s: {heard_again}");
    }
    let name = options.dropping.map(|percent| format!("{percent} % of datagrams lost"));
    println!("fault | tried | lost | gap p50/p99/max ms | restart p50/p99/max ms");
    let rows = [
        (Fault::Calm, 0, &[][..]),
        (Fault::EngineKilled, done.engine_kills, &done.restarts_ms[..]),
        (Fault::MediaKilled, done.media_kills, &[][..]),
    ];
    for (fault, tried, restarts) in rows {
        let gaps: Vec<f64> = phones.gaps.get(&fault).into_iter().flatten().map(|gap| *gap as f64 / 1000.0).collect();
        let shown = name.as_deref().filter(|_| fault == Fault::Calm).unwrap_or(fault.name());
        let lost = verdict.lost_after(fault);
        if tried > 0 || !gaps.is_empty() || lost > 0 {
            println!("{shown} | {tried} | {lost} | {} | {}", spread(gaps), spread(restarts.to_vec()));
        }
    }
}

/// Median, 99th percentile, largest.
fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values.get(((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1)));
    match (at(0.5), at(0.99), values.last()) {
        (Some(half), Some(most), Some(all)) => format!("{half:.0}/{most:.0}/{all:.0}"),
        _ => "–".to_owned(),
    }
}
