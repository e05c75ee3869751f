//! A person forgotten (152-FZ): the number, wherever tables and booking core hold it, and the recordings. The id stays, so that
//! reports stay right; alone it tells nobody the number.
//!
//! Where the number may still stand: in dialogs of calls (stream `legs`), a day at most; in backups taken before.

use crate::booking::reference::ReferenceCore;
use crate::call::House;
use crate::call::serve::{open_streams, person_key};
use crate::clock::Clock;
use crate::facts::{Fact, RecordingGone};
use crate::ids::*;
use crate::journal::{Body, Record};
use crate::pii::{PersonKey, Phone};
use crate::store::writer::{Folded, Source, follow};
use crate::store::{CallFilter, CallbackFilter, PAGE_MAX, Page, Store, StoreError};
use anyhow::Context;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

/// What was erased, by names that tell nobody who it was.
#[derive(Debug, Default)]
pub struct Forgotten {
    /// The tables had a number.
    pub known: bool,
    /// Files of recordings deleted.
    pub recordings: Vec<String>,
    /// To be written down of each recording.
    pub deleted: Vec<Fact>,
    /// Where the archive still has some, sealed.
    pub archived: Vec<String>,
    /// Open callbacks that nobody can make any more.
    pub callbacks: Vec<TaskId>,
}

#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the recording {file} cannot be deleted")]
    Recording {
        file: String,
        #[source]
        source: std::io::Error,
    },
}

/// Erases number and recordings of a person. Asked again after an error, it does the rest.
pub async fn erase(store: &dyn Store, recordings: &Path, person: PersonId) -> Result<Forgotten, ForgetError> {
    let mut forgotten = Forgotten::default();
    let (filter, mut page) = (CallFilter { person: Some(person), ..CallFilter::default() }, Page::first(PAGE_MAX));
    loop {
        let calls = store.calls(&filter, &page).await?;
        for row in &calls {
            for recording in store.recordings(row.call).await? {
                forgotten.recordings.extend(delete(recordings, &recording.file)?);
                if recording.deleted.is_none() {
                    let (call, file) = (recording.call, recording.file);
                    forgotten.deleted.push(Fact::RecordingDeleted { call, file, why: RecordingGone::Forgotten });
                    forgotten.archived.extend(recording.archived.map(|(_, place)| place));
                }
            }
        }
        match calls.last() {
            Some(last) => page.after = Some((last.entered, last.call)),
            None => break,
        }
    }
    let open = CallbackFilter { open_only: true, person: Some(person), ..CallbackFilter::default() };
    let open = store.callbacks(&open, &Page::first(PAGE_MAX)).await?;
    forgotten.callbacks = open.into_iter().map(|row| row.task).collect();
    forgotten.known = store.person_forget(person).await?;
    Ok(forgotten)
}

/// Deletes a recording in whatever form it is kept: as it was recorded, or packed under the same name.
fn delete(folder: &Path, file: &str) -> Result<Vec<String>, ForgetError> {
    let cannot = |source| ForgetError::Recording { file: file.to_owned(), source };
    let path = folder.join(file);
    let Some(parent) = path.parent() else { return Ok(Vec::new()) };
    let stem = super::stem(&path);
    let mut deleted = Vec::new();
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.path();
        if stem == super::stem(&name) {
            std::fs::remove_file(&name).map_err(cannot)?;
            deleted.push(name.strip_prefix(folder).unwrap_or(&name).display().to_string());
        }
    }
    Ok(deleted)
}

/// As the running engine would do it, for an engine that is down: the streams are taken as an engine takes them, so that none can
/// start meanwhile.
pub async fn forget_while_down(house: &House, store: Arc<dyn Store>, who: &Who) -> anyhow::Result<(PersonId, Forgotten)> {
    let data = &house.config.data;
    let person = match who {
        Who::Person(person) => *person,
        Who::Phone(phone) => PersonKey::new(person_key(data)?).person(phone),
    };
    let mut streams = open_streams(data)?;
    let clock = Clock::start(streams.last());
    // What stands in the people stream alone goes into the tables first: others are not to be lost with this one.
    fold(&store, &streams).await?;
    let forgotten = erase(store.as_ref(), &house.config.recordings(), person).await?;
    let core = data.join("core.db");
    if core.exists() {
        ReferenceCore::new(&core, Default::default()).forget(person).await.context("the booking core does not forget")?;
    }
    let fact = Fact::PersonForgotten { person, recordings: u32::try_from(forgotten.recordings.len()).unwrap_or(u32::MAX) };
    for fact in forgotten.deleted.iter().cloned().chain([fact]) {
        streams.journal.append(&Record { at: clock.now(), body: Body::Fact(fact) });
    }
    streams.journal.commit()?;
    let folded = store.people_position().await?;
    streams.people.release(folded, crate::clock::Moment(u64::MAX))?;
    Ok((person, forgotten))
}

async fn fold(store: &Arc<dyn Store>, streams: &crate::call::serve::Streams) -> anyhow::Result<()> {
    let (wanted, people) = (streams.journal.position(), streams.people.position());
    let (folded, mut at) = watch::channel(Folded::default());
    let following = tokio::spawn(follow(store.clone(), Source::of(&streams.journal), Source::of(&streams.people), folded));
    let done = at.wait_for(|at| at.failing || (at.position >= wanted && at.people >= people)).await;
    let failing = done.map_or(true, |at| at.failing);
    following.abort();
    anyhow::ensure!(
        !failing,
        "the tables cannot be written; nothing was erased: mend the database (dozvon doctor), then ask again"
    );
    Ok(())
}

/// Who is to be forgotten.
#[derive(Clone, Debug, PartialEq)]
pub enum Who {
    Person(PersonId),
    Phone(Phone),
}

impl Who {
    /// A person's id as the API shows it, or a number in any form.
    pub fn read(text: &str) -> Option<Self> {
        let person = text.parse().ok().map(Who::Person);
        person.or_else(|| Phone::parse(text, None).filter(Phone::is_dialable).map(Who::Phone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_named_by_id_or_by_number() {
        let phone = Phone::parse("+79130000012", None).unwrap();
        assert_eq!(Who::read("8 (913) 000-00-12"), Some(Who::Phone(phone.clone())));
        let person = PersonKey::new([1; 32]).person(&phone);
        assert_eq!(Who::read(&person.to_string()), Some(Who::Person(person)));
        assert_eq!(Who::read("122"), None, "a short number is no person");
        assert_eq!(Who::read("Иванова"), None);
    }
}
