//! Folds the journal into the tables, at the tables' pace: a slow, locked or absent database makes them late and nothing else.

use super::{Store, StoreError};
use crate::clock::Moment;
use crate::journal::{Entry, JournalError, Log, PersonSeen, Reader, Record};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Bytes of the journal folded in one transaction: about 100 calls, a few tens of milliseconds.
const BATCH_BYTES: usize = 256 << 10;
/// Facts of this long are folded together: one transaction for all of them costs a fraction of one each, and nobody waits for
/// tables but people at a page.
const GATHER: Duration = Duration::from_millis(250);
/// Pause after a failure, doubled up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LONGEST: Duration = Duration::from_secs(5);
/// How long a reader waits for the tables to catch up with what it just did.
const READ_WAIT: Duration = Duration::from_secs(1);

/// How far the tables are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Folded {
    pub position: u64,
    pub people: u64,
    /// Time of the last record folded; [`Moment::ZERO`] before the first.
    pub at: Moment,
    pub failing: bool,
}

/// A stream as its reader needs it.
pub struct Source<R> {
    dir: PathBuf,
    committed: watch::Receiver<u64>,
    durable: watch::Receiver<u64>,
    _records: std::marker::PhantomData<fn() -> R>,
}

impl<R: Entry> Source<R> {
    pub fn of(log: &Log<R>) -> Self {
        let dir = log.dir().to_owned();
        Self { dir, committed: log.committed(), durable: log.durable(), _records: std::marker::PhantomData }
    }

    fn closed(&self) -> bool {
        self.durable.has_changed().is_err()
    }
}

/// Follows both streams until they are closed (their logs dropped) and folded, or cannot be folded. To be spawned. However long
/// the database is away, the log hears of it twice: when the tables fall behind, and when they have caught up.
pub async fn follow(store: Arc<dyn Store>, facts: Source<Record>, people: Source<PersonSeen>, folded: watch::Sender<Folded>) {
    let (mut pause, mut behind) = (PAUSE_FIRST, false);
    let mut writer = Writer { store, facts: Follower::new(facts), people: Follower::new(people), folded };
    loop {
        match writer.turn().await {
            Ok(Turn::Folded) => {
                pause = PAUSE_FIRST;
                writer.folded.send_if_modified(|folded| std::mem::take(&mut folded.failing));
                if behind && writer.has_caught_up() {
                    behind = false;
                    tracing::warn!("the tables have caught up");
                }
            }
            Ok(Turn::Closed) => return,
            Err(error) => {
                if !std::mem::replace(&mut behind, true) {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the tables fall behind; calls go on");
                }
                writer.folded.send_if_modified(|folded| !std::mem::replace(&mut folded.failing, true));
                // The engine has stopped and waits: the next life folds the rest.
                if writer.facts.source.closed() && writer.people.source.closed() {
                    return;
                }
                // What was written last may or may not be there: the tables know.
                (writer.facts.position, writer.people.position) = (None, None);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_LONGEST);
            }
        }
    }
}

/// Waits until the tables have everything up to `position`, a second at most; says whether they have.
pub async fn caught_up(folded: &mut watch::Receiver<Folded>, position: u64) -> bool {
    let waited = tokio::time::timeout(READ_WAIT, folded.wait_for(|folded| folded.position >= position)).await;
    matches!(waited, Ok(Ok(_)))
}

struct Writer {
    store: Arc<dyn Store>,
    facts: Follower<Record>,
    people: Follower<PersonSeen>,
    folded: watch::Sender<Folded>,
}

enum Turn {
    Folded,
    Closed,
}

impl Writer {
    async fn turn(&mut self) -> Result<Turn, WriterError> {
        let facts_from = match self.facts.position {
            Some(position) => position,
            None => self.begin().await?,
        };
        if !self.something_new(facts_from).await {
            return Ok(Turn::Closed);
        }
        tokio::time::sleep(GATHER).await;
        // A person is written before the first fact that names them: everything committed there when these facts were on disk.
        let facts_to = *self.facts.source.durable.borrow_and_update();
        let people_to = *self.people.source.committed.borrow();
        let _ = self.people.source.durable.wait_for(|&durable| durable >= people_to).await;
        while let Some((seen, up_to)) = self.people.next(people_to).await? {
            self.store.people_apply(&seen, up_to).await?;
            self.people.position = Some(up_to);
            self.folded.send_modify(|folded| folded.people = up_to);
        }
        if let Some((records, up_to)) = self.facts.next(facts_to).await? {
            let at = records.last().map(|(_, record)| record.at);
            let facts: Vec<_> =
                records.into_iter().filter_map(|(position, record)| Some((position, record.into_stamped()?))).collect();
            self.store.apply(&facts, up_to).await?;
            self.facts.position = Some(up_to);
            self.folded.send_modify(|folded| {
                folded.position = up_to;
                folded.at = at.unwrap_or(folded.at);
            });
        }
        Ok(Turn::Folded)
    }

    fn has_caught_up(&self) -> bool {
        self.facts.position >= Some(*self.facts.source.durable.borrow())
    }

    /// Asks the tables where they are.
    async fn begin(&mut self) -> Result<u64, WriterError> {
        let (facts, people) = (self.store.position().await?, self.store.people_position().await?);
        for (tables, journal) in
            [(facts, *self.facts.source.committed.borrow()), (people, *self.people.source.committed.borrow())]
        {
            if tables > journal {
                return Err(StoreError::Ahead { tables, journal }.into());
            }
        }
        self.facts.position = Some(facts);
        self.people.position = Some(people);
        self.folded.send_modify(|folded| (folded.position, folded.people) = (facts, people));
        Ok(facts)
    }

    /// Waits until one of the streams grew; `false` once both are closed and folded.
    async fn something_new(&mut self, facts_from: u64) -> bool {
        let people_from = self.people.position.unwrap_or_default();
        let (facts, people) = (&mut self.facts.source.durable, &mut self.people.source.durable);
        let (mut facts_open, mut people_open) = (true, true);
        while facts_open || people_open {
            tokio::select! {
                grown = facts.wait_for(|&durable| durable > facts_from), if facts_open => match grown {
                    Ok(_) => return true,
                    Err(_) => facts_open = false,
                },
                grown = people.wait_for(|&durable| durable > people_from), if people_open => match grown {
                    Ok(_) => return true,
                    Err(_) => people_open = false,
                },
            }
        }
        false
    }
}

/// One stream with its reader and the place up to which it is folded (`None` until the tables told it).
struct Follower<R> {
    source: Source<R>,
    reader: Option<Reader<R>>,
    position: Option<u64>,
}

/// Records, each with the position behind it, and the position behind all of them.
type Batch<R> = (Vec<(u64, R)>, u64);

impl<R: Entry> Follower<R> {
    fn new(source: Source<R>) -> Self {
        Self { source, reader: None, position: None }
    }

    /// The next batch that ends at or before `to`; `None` if there is nothing more.
    async fn next(&mut self, to: u64) -> Result<Option<Batch<R>>, WriterError> {
        let Some(from) = self.position.filter(|&from| from < to) else { return Ok(None) };
        let mut reader = self.reader.take().unwrap_or_else(|| Reader::new(&self.source.dir));
        let room = usize::try_from(to - from).unwrap_or(usize::MAX).min(BATCH_BYTES);
        let reading = tokio::task::spawn_blocking(move || {
            let found = reader.read_from(from, room);
            (reader, found)
        });
        // A reader that died is made anew with the next batch.
        let (reader, found) = reading.await.map_err(|_| WriterError::ReaderDied)?;
        self.reader = Some(reader);
        let found = found?;
        // Nothing readable up to there: damage that the reader told of.
        let up_to = found.last().map_or(to, |&(behind, _)| behind);
        Ok(Some((found, up_to)))
    }
}

#[derive(Debug, thiserror::Error)]
enum WriterError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the reader of the journal died")]
    ReaderDied,
}
