//! Does to the line under load what can go wrong, and counts what was lost, by the accounts of the phones alone.
//!
//! Kills, stops and hand-overs come to one line; disks, database, booking core, clock and a crowd each have a line of their own.
//! `cargo test --test chaos` is the short form; `make chaos` the long one. The last table says `fault | tried | lost | gap | restart`;
//! the exit code is 1 if anything was lost.

mod air;
mod core;
mod database;
mod disk;
mod engine;
mod hand;
mod judge;
mod lives;
mod loss;
mod phones;
#[path = "../postgres/mod.rs"]
mod postgres;
#[path = "../wall/mod.rs"]
mod wall;

use crate::core::Mood;
use crate::engine::Engine;
use air::{Music, now_us};
use clap::Parser;
use database::Trouble;
use hand::{Done, Hand, Trial, Word};
use judge::{Case, Verdict, judge};
use lives::{Dice, Life};
use phones::{Fault, Phones};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

#[derive(Parser, Clone)]
#[command(about = "Kills the engine and its media under load, and counts what was lost")]
pub struct Options {
    #[arg(long, default_value_t = 5)]
    engine_kills: u32,
    #[arg(long, default_value_t = 2)]
    media_kills: u32,
    /// SIGUSR2: the engine ends and leaves its calls to the next life
    #[arg(long, default_value_t = 0)]
    hand_overs: u32,
    /// SIGSTOP of the engine for 2 to 5 s, then SIGCONT
    #[arg(long, default_value_t = 0)]
    engine_stops: u32,
    /// The same of media
    #[arg(long, default_value_t = 0)]
    media_stops: u32,
    /// How often the recordings' disk is full for a while, and then the journal's (root only)
    #[arg(long, default_value_t = 0)]
    disk_full: u32,
    /// What is wrong with the database, a PostgreSQL of its own
    #[arg(long)]
    database: Vec<Trouble>,
    /// For how long
    #[arg(long, default_value_t = 600)]
    database_s: u64,
    /// What is wrong with the booking core
    #[arg(long)]
    core: Vec<Mood>,
    /// For how long
    #[arg(long, default_value_t = 30)]
    core_s: u64,
    /// Jumps of the wall clock by an hour
    #[arg(long, default_value_t = 0)]
    clock: u32,
    /// So many callers wait and listen to nothing, and the engine is killed five times: restart to ready with all of them on record
    #[arg(long, default_value_t = 0)]
    crowd: u32,
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
/// Callers of a crowd, each second.
const CROWD_CPS: f64 = 40.0;
/// A BYE is repeated for 32 s.
const GOODBYES: u64 = 36_000_000;

fn main() -> ExitCode {
    let options = Options::parse();
    if options.filter.iter().any(|name| !"chaos".contains(name.as_str())) {
        return ExitCode::SUCCESS;
    }
    let mut rows = Vec::new();
    let mut held = true;
    for trial in options.trials() {
        held &= run(trial, &options, &mut rows);
    }
    println!("fault | tried | lost | gap p50/p99/max ms | restart p50/p99/max ms");
    rows.iter().for_each(|row| println!("{row}"));
    for percent in &options.loss {
        held &= loss::run_in_a_network_that_drops(*percent, &options);
    }
    let (passed, failed) = if held { (1, 0) } else { (0, 1) };
    if options.dropping.is_none() {
        println!("test result: {}. {passed} passed; {failed} failed", if held { "ok" } else { "FAILED" });
    }
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Options {
    fn trials(&self) -> Vec<Trial> {
        let processes = [self.engine_kills, self.media_kills, self.hand_overs, self.engine_stops, self.media_stops];
        let mut trials = Vec::new();
        if self.dropping.is_some() || processes.iter().any(|times| *times > 0) {
            trials.push(Trial::Processes);
        }
        if self.disk_full > 0 {
            trials.extend([Trial::RecordingsDisk, Trial::JournalDisk]);
        }
        trials.extend(self.database.iter().map(|trouble| Trial::Database(*trouble)));
        trials.extend(self.core.iter().map(|mood| Trial::Core(*mood)));
        trials.extend((self.clock > 0).then_some(Trial::Clock));
        trials.extend((self.crowd > 0).then_some(Trial::Crowd));
        trials
    }
}

/// How calls arrive: until the line is full, and from then on.
struct Load {
    at_first: f64,
    fill: u64,
    cps: f64,
    /// And not more than so many.
    most: u64,
}

impl Load {
    fn of(trial: Trial, options: &Options) -> Self {
        if trial == Trial::Crowd {
            // Dice may be slow: a fifth longer.
            let fill = (f64::from(options.crowd) / CROWD_CPS * 1.2e6) as u64;
            return Self { at_first: CROWD_CPS, fill, cps: 0.0, most: options.crowd.into() };
        }
        let people = f64::from(options.talking + options.waiting + options.robot);
        Self { at_first: (people / FILL as f64 * 1e6).max(options.cps), fill: FILL, cps: options.cps, most: u64::MAX }
    }
}

/// True if nothing was lost, or if it cannot be tried here.
fn run(trial: Trial, options: &Options, rows: &mut Vec<String>) -> bool {
    let (tell, told) = channel();
    let hand = match Hand::of(trial, options, tell) {
        Ok(hand) => hand,
        Err(why) => {
            println!("{trial:?} SKIPPED: {why}");
            return true;
        }
    };
    let music = Music::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("ivr-scripts/prompts/music.wav"));
    let life = if trial == Trial::Crowd { Life::of_a_crowd() } else { Life::of(options) };
    let mut phones = Phones::new(&hand.engine.net, music, life, Dice::new(options.seed));
    let (core, arrivals) = (hand.core(), Load::of(trial, options));
    // A crowd needs a while after its last call until everybody is in the queue.
    let full_after = Duration::from_micros(arrivals.fill + if trial == Trial::Crowd { FILL } else { 0 });
    let hand = std::thread::spawn(move || hand.work(full_after));
    let faults = load(&mut phones, options, &arrivals, &told);
    let (mut engine, done, _database) = hand.join().unwrap();
    let lossy = options.dropping.is_some();
    let case = Case { phones: &phones, faults: &faults, lossy, unwritten: &done.unwritten, core: core.as_deref() };
    let verdict = judge(&engine, &case);
    println!("{trial:?}");
    print(&phones, &verdict, &done, options);
    if let Some(core) = core {
        println!("{}", core.counts());
    }
    print_price(&engine, &verdict);
    rows.extend(rows_of(&phones, &verdict, &done, options));
    let held = verdict.holds() && done.failure.is_none();
    if !held {
        println!("data and log are kept in {}", engine.keep().display());
    }
    held
}

/// The phones live until the hand has done everything and everybody has hung up.
fn load(phones: &mut Phones, options: &Options, arrivals: &Load, told: &Receiver<Word>) -> Vec<(u64, Fault)> {
    let (began, mut dice, mut faults) = (now_us(), Dice::new(options.seed ^ 0xca11), Vec::new());
    let mut caller = 0_u64;
    let mut next_call = began;
    let mut tell_at = began + 10_000_000;
    loop {
        let now = now_us();
        let cps = if now - began < arrivals.fill { arrivals.at_first } else { arrivals.cps };
        if now >= next_call && cps > 0.0 && caller < arrivals.most {
            next_call += dice.mean((1e6 / cps) as u64);
            caller += 1;
            phones.citizen_calls(format!("+7385{:07}", options.seed % 100 * 100_000 + caller));
        }
        phones.turn();
        if now >= tell_at {
            tell_at += 10_000_000;
            let (talking, waiting, robot) = phones.stages();
            let done = faults.len();
            eprintln!(
                "{:5} s: {talking} talking, {waiting} waiting, {robot} in the robot, {done} faults",
                (now - began) / 1_000_000
            );
        }
        match told.try_recv() {
            Ok(Word::Done(fault)) => {
                phones.mark(fault);
                faults.push((now_us(), fault));
            }
            Ok(Word::Resumed) => phones.expect_sound(),
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
    for note in &done.notes {
        println!("{note}");
    }
    if verdict.media_talks.0 > 0 {
        let (lived, heard_again) = verdict.media_talks;
        println!("talks through a kill of media: {lived}, audio both ways again within 2 s: {heard_again}");
    }
    if !phones.resumed.is_empty() {
        let after = phones.resumed.iter().map(|resumed| resumed.after as f64 / 1000.0).collect();
        let stale = phones.resumed.iter().map(|resumed| f64::from(resumed.stale)).collect();
        println!(
            "after media stood still: sound is back after p50/p99/max {} ms, stale packets {}",
            spread(after),
            spread(stale)
        );
    }
}

/// What the machine paid for the calls.
fn print_price(engine: &Engine, verdict: &Verdict) {
    let per_call = |amount: f64| amount / verdict.calls.max(1) as f64;
    let (of_engine, of_media) = engine.cpu_seconds();
    let streams = engine.journal_bytes().map(|(name, bytes)| format!("{name} {:.0}", per_call(bytes as f64)));
    println!(
        "{} calls; CPU seconds per 1,000 calls: engine {:.1}, media {:.1}; journal bytes per call: {}",
        verdict.calls,
        per_call(of_engine) * 1000.0,
        per_call(of_media) * 1000.0,
        streams.join(", ")
    );
}

fn rows_of(phones: &Phones, verdict: &Verdict, done: &Done, options: &Options) -> Vec<String> {
    let mut faults: BTreeSet<Fault> = done.tried.keys().chain(phones.gaps.keys()).copied().collect();
    faults.extend(verdict.lost.keys().map(|(fault, _)| fault));
    let row = |fault: Fault| {
        let (tried, restarts) = done.tried.get(&fault).cloned().unwrap_or_default();
        let gaps: Vec<f64> = phones.gaps.get(&fault).into_iter().flatten().map(|gap| *gap as f64 / 1000.0).collect();
        let dropping = options.dropping.filter(|_| fault == Fault::Calm);
        let name = dropping.map_or(fault.name().to_owned(), |percent| format!("{percent} % of datagrams lost"));
        format!("{name} | {tried} | {} | {} | {}", verdict.lost_after(fault), spread(gaps), spread(restarts))
    };
    faults.into_iter().map(row).collect()
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
