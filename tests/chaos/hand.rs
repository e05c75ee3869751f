//! What is done to the line: each trial is a line of its own, with its faults at random moments.

use crate::air::now_us;
use crate::core::{Core, Mood};
use crate::database::{Database, Trouble};
use crate::disk::SmallDisk;
use crate::engine::{Engine, Whose};
use crate::lives::Dice;
use crate::phones::Fault;
use crate::{Options, wall};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// Engine and media are killed, stopped and handed over.
    Processes,
    RecordingsDisk,
    JournalDisk,
    Database(Trouble),
    Core(Mood),
    Clock,
    Crowd,
}

/// After the last fault everything may settle for so long, and then everybody hangs up.
const SETTLE: Duration = Duration::from_secs(3);
/// How long a disk is full, and how long it has room before the next time.
const FULL: Duration = Duration::from_secs(5);
/// Who answers on without a journal has to say so by then.
const SAYS_SO_WITHIN: u64 = 5_000_000;
/// The tables have everything so long after their database came back.
const CAUGHT_UP_WITHIN: u64 = 60_000_000;
const KILLS_IN_A_CROWD: u32 = 5;

/// What the phones are told of.
pub enum Word {
    Done(Fault),
    /// Media go on after a stand-still.
    Resumed,
}

/// What was done, and what it took.
#[derive(Default)]
pub struct Done {
    /// How often, and the restarts in ms.
    pub tried: BTreeMap<Fault, (u32, Vec<f64>)>,
    pub failure: Option<String>,
    pub notes: Vec<String>,
    /// When the journal could not be written: from, to.
    pub unwritten: Vec<(u64, u64)>,
}

pub struct Hand {
    pub engine: Engine,
    tell: Sender<Word>,
    options: Options,
    trial: Trial,
    core: Option<Arc<Core>>,
    database: Option<Database>,
    wall_step: PathBuf,
    done: Done,
}

impl Hand {
    /// The line of this trial, running; or why it cannot be tried here.
    pub fn of(trial: Trial, options: &Options, tell: Sender<Word>) -> Result<Self, String> {
        let options = Options { record: options.record || trial == Trial::RecordingsDisk, ..options.clone() };
        let mut engine = Engine::lay_out(&options);
        let (mut core, mut database, wall_step) = (None, None, engine.folder().join("wall-step"));
        match trial {
            Trial::Processes | Trial::Crowd => {}
            Trial::RecordingsDisk => engine.disks.push(SmallDisk::mount(&engine.data().join("recordings"))?),
            Trial::JournalDisk => engine.disks.push(SmallDisk::mount(&engine.data())?),
            Trial::Database(_) => {
                let private = Database::start();
                engine.configure(&private.section());
                database = Some(private);
            }
            Trial::Core(_) => {
                let outside = Core::open(engine.net.at(30, 0));
                engine.configure(&outside.section());
                core = Some(Arc::new(outside));
            }
            Trial::Clock => {
                fs::write(&wall_step, "0").unwrap();
                engine.environment = vec![("LD_PRELOAD", wall::shim(engine.folder())), ("WALL_STEP", wall_step.clone())];
            }
        }
        engine.start();
        Ok(Self { engine, tell, options, trial, core, database, wall_step, done: Done::default() })
    }

    pub fn core(&self) -> Option<Arc<Core>> {
        self.core.clone()
    }

    /// `after`: until the line is full. The database is given back too: it runs for as long as somebody has it.
    pub fn work(mut self, after: Duration) -> (Engine, Done, Option<Database>) {
        std::thread::sleep(after + Duration::from_secs(self.options.calm_s));
        if self.options.dropping.is_some() {
            std::thread::sleep(Duration::from_secs(self.options.loss_s));
        } else if let Err(failure) = self.do_it() {
            self.done.failure = Some(failure);
        }
        std::thread::sleep(SETTLE);
        (self.engine, self.done, self.database)
    }

    fn do_it(&mut self) -> Result<(), String> {
        match self.trial {
            Trial::Processes => {
                self.kill_the_engine(Fault::EngineKilled, self.options.engine_kills)?;
                self.hand_over()?;
                self.stop(Whose::Engine, self.options.engine_stops)?;
                self.kill_media()?;
                self.stop(Whose::Media, self.options.media_stops)
            }
            Trial::Crowd => self.kill_the_engine(Fault::KilledInACrowd, KILLS_IN_A_CROWD),
            Trial::RecordingsDisk => self.fill_the_disk(Fault::RecordingsFull),
            Trial::JournalDisk => self.fill_the_disk(Fault::JournalFull),
            Trial::Database(trouble) => self.trouble_the_database(trouble),
            Trial::Core(mood) => {
                self.mark(match mood {
                    Mood::Down => Fault::CoreDown,
                    Mood::Slow => Fault::CoreSlow,
                    Mood::Twice | Mood::Well => Fault::CoreTwice,
                });
                let core = self.core.clone().ok_or("there is no core")?;
                core.mood(mood);
                std::thread::sleep(Duration::from_secs(self.options.core_s));
                core.mood(Mood::Well);
                Ok(())
            }
            Trial::Clock => self.move_the_clock(),
        }
    }

    fn mark(&mut self, fault: Fault) {
        let _ = self.tell.send(Word::Done(fault));
        self.done.tried.entry(fault).or_default().0 += 1;
    }

    fn until(&self) -> u64 {
        self.options.minutes.map_or(u64::MAX, |minutes| now_us() + minutes * 60_000_000)
    }

    fn came_back(&mut self, fault: Fault) -> Result<(), String> {
        let took = self.engine.wait_ready()?;
        self.done.tried.entry(fault).or_default().1.push(took);
        Ok(())
    }

    fn kill_the_engine(&mut self, fault: Fault, times: u32) -> Result<(), String> {
        let mut dice = Dice::new(self.options.seed ^ 0xdead);
        let (until, mut kills) = (self.until(), 0);
        while kills < times && now_us() < until {
            std::thread::sleep(Duration::from_micros(300_000 + dice.below(2_000_000)));
            loop {
                self.mark(fault);
                kills += 1;
                if !self.engine.kill9() {
                    return Err("the engine died by itself".to_owned());
                }
                self.engine.spawn();
                // One in twenty dies again while it recovers.
                if dice.of_100() >= 5 || kills >= times {
                    break;
                }
                std::thread::sleep(Duration::from_micros(dice.below(150_000)));
            }
            self.came_back(fault)?;
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<(), String> {
        let mut dice = Dice::new(self.options.seed ^ 0x0bed);
        let until = self.until();
        for _ in 0..self.options.hand_overs {
            if now_us() >= until {
                break;
            }
            std::thread::sleep(Duration::from_micros(300_000 + dice.below(2_000_000)));
            self.mark(Fault::HandedOver);
            self.engine.hand_over()?;
            self.engine.spawn();
            self.came_back(Fault::HandedOver)?;
        }
        Ok(())
    }

    fn kill_media(&mut self) -> Result<(), String> {
        let mut dice = Dice::new(self.options.seed ^ 0xbeef);
        let (until, mut kills) = (self.until(), 0);
        while kills < self.options.media_kills && now_us() < until {
            std::thread::sleep(Duration::from_micros(2_000_000 + dice.below(2_000_000)));
            self.mark(Fault::MediaKilled);
            kills += 1;
            if !self.engine.kill_media() {
                return Err("no media process two seconds after its last end".to_owned());
            }
        }
        std::thread::sleep(SETTLE);
        Ok(())
    }

    /// SIGSTOP for 2 to 5 s, then SIGCONT.
    fn stop(&mut self, whose: Whose, times: u32) -> Result<(), String> {
        let mut dice = Dice::new(self.options.seed ^ 0x5709);
        for _ in 0..times {
            std::thread::sleep(Duration::from_micros(2_000_000 + dice.below(2_000_000)));
            self.mark(match whose {
                Whose::Engine => Fault::EngineStopped,
                Whose::Media => Fault::MediaStopped,
            });
            if !self.engine.signal(whose, libc::SIGSTOP) {
                return Err("there is no process to be stopped".to_owned());
            }
            std::thread::sleep(Duration::from_micros(2_000_000 + dice.below(3_000_000)));
            if matches!(whose, Whose::Media) {
                let _ = self.tell.send(Word::Resumed);
            }
            self.engine.signal(whose, libc::SIGCONT);
        }
        std::thread::sleep(SETTLE);
        Ok(())
    }

    fn fill_the_disk(&mut self, fault: Fault) -> Result<(), String> {
        for _ in 0..self.options.disk_full {
            self.mark(fault);
            let from = now_us();
            self.disk()?.fill()?;
            if fault == Fault::JournalFull {
                let says_so = self.board_shows(SAYS_SO_WITHIN, |board| board["journal"]["failing"] == true);
                let after = says_so.ok_or("the journal's disk is full and the board does not say so")?;
                self.done
                    .notes
                    .push(format!("the board says that the journal fails {} ms after its disk was full", after / 1000));
            }
            std::thread::sleep(FULL);
            self.disk()?.free()?;
            if fault == Fault::JournalFull {
                let well = self.board_shows(SAYS_SO_WITHIN, |board| board["journal"]["failing"] == false);
                let after = well.ok_or("the journal is not written again though its disk has room")?;
                self.done.notes.push(format!("the journal was written again {} ms after its disk had room", after / 1000));
                self.done.unwritten.push((from, now_us()));
            }
            std::thread::sleep(FULL);
        }
        Ok(())
    }

    fn disk(&self) -> Result<&SmallDisk, String> {
        self.engine.disks.first().ok_or_else(|| "there is no small disk".to_owned())
    }

    fn trouble_the_database(&mut self, trouble: Trouble) -> Result<(), String> {
        self.mark(match trouble {
            Trouble::Stopped => Fault::DatabaseStopped,
            Trouble::Slow => Fault::DatabaseSlow,
            Trouble::ReadOnly => Fault::DatabaseReadOnly,
        });
        let database = self.database.as_mut().ok_or("there is no database")?;
        database.suffer(trouble, Duration::from_secs(self.options.database_s));
        let board = self.engine.get("/api/v1/board").map_err(|error| error.to_string())?;
        let number = |board: &serde_json::Value, name: &str| board["journal"][name].as_u64().unwrap_or(0);
        let (owed, behind_s) = (number(&board, "position"), number(&board, "behind_s"));
        let has_it = |board: &serde_json::Value| number(board, "position") - number(board, "behind_bytes") >= owed;
        let took = self.board_shows(CAUGHT_UP_WITHIN, has_it);
        let took =
            took.ok_or(format!("the tables have not all facts {} s after the database's return", CAUGHT_UP_WITHIN / 1_000_000))?;
        let bytes = number(&board, "behind_bytes");
        self.done.notes.push(format!(
            "{trouble:?} for {} s: the board said {behind_s} s and {bytes} bytes behind; all facts were in the tables {} ms after",
            self.options.database_s,
            took / 1000
        ));
        Ok(())
    }

    fn move_the_clock(&mut self) -> Result<(), String> {
        let mut dice = Dice::new(self.options.seed ^ 0xc10c);
        for jump in 0..self.options.clock {
            self.mark(Fault::ClockJumped);
            // There and back: +1 h, 0, -1 h, 0.
            let seconds = [3600, 0, -3600, 0][jump as usize % 4];
            let written = self.wall_step.with_extension("next");
            fs::write(&written, seconds.to_string())
                .and_then(|()| fs::rename(&written, &self.wall_step))
                .map_err(|error| error.to_string())?;
            std::thread::sleep(Duration::from_micros(2_000_000 + dice.below(2_000_000)));
        }
        Ok(())
    }

    /// Microseconds until the board is so.
    fn board_shows(&self, within: u64, is_so: impl Fn(&serde_json::Value) -> bool) -> Option<u64> {
        let began = now_us();
        while now_us() - began < within {
            if self.engine.get("/api/v1/board").is_ok_and(|board| is_so(&board)) {
                return Some(now_us() - began);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }
}
