//! The store's doors onto this database.

use super::{Database, cannot, care, delivery, fold, overwrite_deleted, read, recordings, rows, statistics};
use crate::store::statistics::{QueueVisits, Talks};
use crate::store::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a page or a deliverer waits for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

#[async_trait]
impl Store for Database {
    async fn position(&self) -> Result<u64, StoreError> {
        answer(async { read::position(self.readers().await?, "facts").await }).await
    }

    async fn apply(&self, facts: &[(u64, Stamped)], up_to: u64) -> Result<(), StoreError> {
        fold::facts(self.writer().await?, facts, up_to).await.map_err(cannot("take facts"))
    }

    async fn people_position(&self) -> Result<u64, StoreError> {
        answer(async { read::position(self.readers().await?, "people").await }).await
    }

    async fn people_apply(&self, seen: &[(u64, PersonSeen)], up_to: u64) -> Result<(), StoreError> {
        fold::people(self.writer().await?, seen, up_to).await.map_err(cannot("take people"))
    }

    async fn person_phone(&self, person: PersonId) -> Result<Option<Phone>, StoreError> {
        answer(async { read::person_phone(self.readers().await?, person).await }).await
    }

    async fn person_forget(&self, person: PersonId) -> Result<bool, StoreError> {
        let pool = self.writer().await?;
        let known = fold::person_forget(pool, person).await.map_err(cannot("forget a person"))?;
        overwrite_deleted(pool).await.map_err(cannot("overwrite what it forgot"))?;
        Ok(known)
    }

    async fn ledger(&self, region: Option<RegionId>, from: Moment, to: Moment) -> Result<Ledger, StoreError> {
        answer(async { read::ledger(self.readers().await?, region, from, to).await }).await
    }

    async fn calls(&self, filter: &CallFilter, page: &Page<(Moment, CallId)>) -> Result<Vec<CallRow>, StoreError> {
        answer(async { read::calls(self.readers().await?, filter, page).await }).await
    }

    async fn call(&self, call: CallId) -> Result<Option<CallDetail>, StoreError> {
        answer(async { read::call(self.readers().await?, call).await }).await
    }

    async fn recordings(&self, call: CallId) -> Result<Vec<RecordingRow>, StoreError> {
        answer(async { recordings::of_call(self.readers().await?, call).await }).await
    }

    async fn recordings_due(&self, step: RecordingStep, now: Moment, limit: u32) -> Result<Vec<RecordingRow>, StoreError> {
        answer(async { recordings::due(self.readers().await?, step, now, limit).await }).await
    }

    async fn recording_tried(&self, file: &str, next_at: Moment) -> Result<(), StoreError> {
        answer(async { recordings::tried(self.writer().await?, file, next_at).await }).await
    }

    async fn recordings_kept(&self, after: &str, before: Moment, limit: u32) -> Result<Vec<RecordingRow>, StoreError> {
        answer(async { recordings::kept(self.readers().await?, after, before, limit).await }).await
    }

    async fn recording_files(&self) -> Result<Vec<String>, StoreError> {
        answer(async { care::recording_files(self.readers().await?).await }).await
    }

    async fn orphans(&self) -> Result<Orphans, StoreError> {
        answer(async { care::orphans(self.readers().await?).await }).await
    }

    async fn callbacks(&self, filter: &CallbackFilter, page: &Page<(Moment, TaskId)>) -> Result<Vec<CallbackRow>, StoreError> {
        answer(async { read::callbacks(self.readers().await?, filter, page).await }).await
    }

    async fn callback(&self, task: TaskId) -> Result<Option<CallbackRow>, StoreError> {
        answer(async { read::callback(self.readers().await?, task).await }).await
    }

    async fn agent_changes(&self, region: Option<RegionId>, from: Moment, to: Moment) -> Result<Vec<AgentChangeRow>, StoreError> {
        answer(async { read::agent_changes(self.readers().await?, region, from, to).await }).await
    }

    async fn queue_visits(
        &self,
        region: Option<RegionId>,
        from: Moment,
        to: Moment,
        within: Duration,
    ) -> Result<BTreeMap<QueueId, QueueVisits>, StoreError> {
        answer(async { statistics::queue_visits(self.readers().await?, region, from, to, within).await }).await
    }

    async fn talks(&self, region: Option<RegionId>, from: Moment, to: Moment) -> Result<Talks, StoreError> {
        answer(async { statistics::talks(self.readers().await?, region, from, to).await }).await
    }

    async fn handoffs_due(&self, now: Moment, limit: u32) -> Result<Vec<HandoffDue>, StoreError> {
        answer(async { delivery::handoffs_due(self.readers().await?, now, limit).await }).await
    }

    async fn handoff_tried(&self, handoff: HandoffId, next_at: Moment) -> Result<(), StoreError> {
        answer(async { delivery::handoff_tried(self.writer().await?, handoff, next_at).await }).await
    }

    async fn receiver_add(&self, receiver: &str) -> Result<(), StoreError> {
        answer(async { delivery::receiver_add(self.writer().await?, receiver).await }).await
    }

    async fn deliveries_due(&self, receiver: &str, now: Moment, limit: u32) -> Result<Vec<DeliveryDue>, StoreError> {
        answer(async { delivery::deliveries_due(self.writer().await?, receiver, now, limit).await }).await
    }

    async fn delivery_settle(&self, receiver: &str, event: u64, end: DeliveryEnd) -> Result<(), StoreError> {
        answer(async { delivery::delivery_settle(self.writer().await?, receiver, event, end).await }).await
    }

    async fn rows(&self, table: &'static Table, after: Option<&[Value]>, limit: u32) -> Result<Vec<Vec<Value>>, StoreError> {
        rows::after(self.readers().await?, table, after, limit).await
    }

    async fn rows_put(&self, table: &'static Table, rows: &[Vec<Value>]) -> Result<(), StoreError> {
        rows::put(self.writer().await?, table, rows).await.map_err(cannot("take rows"))
    }

    async fn retain(&self, keep: &Keep) -> Result<Deleted, StoreError> {
        fold::retain(self.writer().await?, keep).await.map_err(cannot("delete what is old"))
    }
}

/// Bounds a page's wait: the connection's own limits do not cover a network that swallows everything.
async fn answer<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(ANSWER_WITHIN, answer).await.unwrap_or(Err(StoreError::NoAnswer))
}
