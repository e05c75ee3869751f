//! The law of the ledger in print: what became of the calls of one day, kept as a file a day and said in the log.

use crate::call::request::Engine;
use crate::clock::{Clock, Moment};
use crate::config::{Region, span};
use crate::facts::{Ledger, Outcome};
use crate::store::Store;
use crate::store::writer::{Folded, caught_up};
use anyhow::Context;
use jiff::civil::Date;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often it is looked whether a day is over somewhere.
const LOOK: Duration = Duration::from_secs(20);

/// One day of one region as people read it.
pub fn print(region: &Region, day: Date, ledger: &Ledger) -> String {
    let mut text = format!("Учёт вызовов за {} · {} (регион {})\n\n", day.strftime("%d.%m.%Y"), region.title, region.code);
    let mut line = |name: &str, count: u64| {
        let dots = ".".repeat(44usize.saturating_sub(name.chars().count()));
        let _ = writeln!(text, "{name} {dots} {count}");
    };
    line("Поступило", ledger.entered);
    for outcome in Outcome::ALL {
        line(&format!("  {}", title(outcome)), ledger.outcomes.get(outcome.as_str()).copied().unwrap_or_default());
    }
    line("  ещё идут", ledger.live);
    line("Ждут обратного звонка сейчас", ledger.open_callbacks);
    let ended: u64 = ledger.outcomes.values().sum();
    let _ = match ledger.holds() {
        true => writeln!(text, "\nЗакон сходится: {} = {} + {ended}", ledger.entered, ledger.live),
        false => writeln!(
            text,
            "\nЗАКОН НЕ СХОДИТСЯ: поступило {}, идут {}, завершено {ended}. Выполните dozvon doctor.",
            ledger.entered, ledger.live
        ),
    };
    text
}

fn title(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Served => "обслужены оператором",
        Outcome::SelfServed => "обслужены роботом",
        Outcome::Announced => "прослушали объявление",
        Outcome::TransferredOut => "переведены в другую службу",
        Outcome::CallbackBooked => "заказали обратный звонок",
        Outcome::Cancelled => "положили трубку до ответа",
        Outcome::AbandonedInMenu => "положили трубку в меню",
        Outcome::AbandonedInQueue => "положили трубку в очереди",
        Outcome::Blocked => "не приняты: все каналы заняты",
        Outcome::Closed => "вне часов работы",
        Outcome::Failed => "технический сбой",
        Outcome::Cut => "разговор оборван",
    }
}

/// The law of one day, out of the tables.
pub async fn of_day(store: &dyn Store, region: &Region, day: Date) -> anyhow::Result<Ledger> {
    let date = day.to_string();
    let span = span(Moment::ZERO, &region.time_zone(), Some(&date), Some(&date))?;
    Ok(store.ledger(Some(region.code), span.start, span.end).await?)
}

/// The day of this moment in the region.
pub fn day_of(region: &Region, at: Moment) -> Date {
    let instant = i64::try_from(at.0).ok().and_then(|us| jiff::Timestamp::from_microsecond(us).ok()).unwrap_or_default();
    instant.to_zoned_datetime(region.time_zone()).date()
}

/// Prints the law of each day once it is over; ends with the engine.
pub struct Printer {
    pub data: PathBuf,
    pub regions: Vec<Region>,
    pub store: Arc<dyn Store>,
    pub folded: watch::Receiver<Folded>,
    pub clock: Clock,
}

impl Printer {
    pub async fn keep_printing(mut self, engine: Engine) {
        let mut done = BTreeSet::new();
        let mut pace = tokio::time::interval(LOOK);
        loop {
            pace.tick().await;
            let wall = Moment(self.clock.now().0.saturating_add_signed(self.clock.wall_step_us()));
            for region in self.regions.clone() {
                let Ok(day) = day_of(&region, wall).yesterday() else { continue };
                if done.contains(&(region.code, day)) {
                    continue;
                }
                // What the tables do not have yet belongs into the print too.
                let Ok(board) = engine.board().await else { return };
                if !caught_up(&mut self.folded, board.journal.position).await {
                    continue;
                }
                match self.print_day(&region, day).await {
                    Ok(()) => drop(done.insert((region.code, day))),
                    Err(error) => {
                        tracing::warn!(error = format!("{error:#}"), region = %region.code, "the day is not printed yet")
                    }
                }
            }
        }
    }

    async fn print_day(&self, region: &Region, day: Date) -> anyhow::Result<()> {
        let path = report(&self.data, &self.regions, region, day);
        if path.exists() {
            return Ok(());
        }
        let ledger = of_day(self.store.as_ref(), region, day).await?;
        if ledger.entered == 0 && !self.data.join("reports").exists() {
            // The day before the first day of this installation.
            return Ok(());
        }
        let holds = ledger.holds();
        tracing::info!(region = %region.code, %day, entered = ledger.entered, live = ledger.live, outcomes = ?ledger.outcomes,
            open_callbacks = ledger.open_callbacks, holds, "the law of the day");
        write_report(&path, &print(region, day, &ledger))
    }
}

fn write_report(path: &Path, text: &str) -> anyhow::Result<()> {
    let written = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let unfinished = path.with_extension("tmp");
    let written = written.and_then(|()| std::fs::write(&unfinished, text)).and_then(|()| std::fs::rename(&unfinished, path));
    written.with_context(|| format!("{} cannot be written", path.display()))
}

/// `ledger-2026-11-24.txt`; with several regions the number of the region stands behind the day.
pub fn report(data: &Path, regions: &[Region], region: &Region, day: Date) -> PathBuf {
    let name = match regions {
        [_] => format!("ledger-{day}.txt"),
        _ => format!("ledger-{day}-{}.txt", region.code),
    };
    data.join("reports").join(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::request::Request;
    use crate::call::view::Board;
    use crate::facts::{Fact, Stamped};
    use crate::ids::*;
    use crate::store::sqlite::SqliteStore;

    fn region() -> Region {
        Region {
            code: RegionId(22),
            title: "Алтайский край".into(),
            zone: "Asia/Barnaul".into(),
            callback_when_closed: false,
            dial: true,
            callback_within: std::time::Duration::ZERO,
        }
    }

    #[test]
    fn a_print_says_whether_the_law_holds() {
        let mut ledger = Ledger { entered: 12, live: 1, open_callbacks: 3, ..Ledger::default() };
        ledger.outcomes.insert("served".into(), 9);
        ledger.outcomes.insert("cut".into(), 2);
        let day = "2026-11-24".parse().unwrap();
        let text = print(&region(), day, &ledger);
        assert!(text.starts_with("Учёт вызовов за 24.11.2026 · Алтайский край (регион 22)\n"), "{text}");
        assert!(text.contains("Закон сходится: 12 = 1 + 11"), "{text}");
        ledger.entered = 13;
        assert!(print(&region(), day, &ledger).contains("ЗАКОН НЕ СХОДИТСЯ"));
    }

    #[tokio::test]
    async fn a_day_that_is_over_is_kept_as_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::start(Moment::ZERO);
        let store = SqliteStore::new(&folder.path().join("tables.db"));
        let (call, at) = (CallId(uuid::Uuid::from_u128(1)), Moment(clock.now().0 - 86_400_000_000));
        let entered = Fact::CallEntered { call, region: RegionId(22), trunk: "city".into(), dialled: "122".into(), person: None };
        store.apply(&[(1, Stamped { at, fact: entered })], 1).await.unwrap();
        let (requests, mut asked) = tokio::sync::mpsc::channel(1);
        let (_folded, at_the_end) = watch::channel(Folded { position: 1, ..Folded::default() });
        let regions = vec![region()];
        let printer = Printer { data: folder.path().to_owned(), regions, store: Arc::new(store), folded: at_the_end, clock };
        let day = day_of(&region(), at);
        tokio::spawn(printer.keep_printing(Engine { requests }));
        let Some(Request::Board(reply)) = asked.recv().await else { panic!("the engine is asked how far it is") };
        drop(reply.send(Board::default()));
        let path = folder.path().join(format!("reports/ledger-{day}.txt"));
        let printed = async {
            while !path.exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), printed).await.expect("nothing is printed");
        assert!(std::fs::read_to_string(path).unwrap().contains("Закон сходится: 1 = 1 + 0"));
    }

    #[test]
    fn the_day_is_that_of_the_region() {
        // 18:30 in Greenwich is half past one of the next day in Barnaul.
        let at = Moment::from_secs(1_795_545_000);
        assert_eq!(day_of(&region(), at).to_string(), "2026-11-25");
    }
}
