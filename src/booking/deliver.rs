//! Brings each case to the booking core once, in the order of its call, for as long as it takes.

use super::{BookingCore, Case, CoreError, pause_after};
use crate::clock::{Clock, Moment};
use crate::facts::HandoffResult;
use crate::ids::{CallId, HandoffId};
use crate::store::writer::Folded;
use crate::store::{HandoffDue, Store, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Cases tried at once: a core that answers slowly is not flooded.
const AT_ONCE: u32 = 8;
/// An answer that takes longer is none.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// An answer that was reported is journalled and folded long before; if the engine dies first, the case is tried again.
const FOLD_WITHIN: Duration = Duration::from_secs(60);
/// Looks for cases whose time has come at least this often.
const LOOK_EACH: Duration = Duration::from_secs(1);

pub type Settled = (HandoffId, CallId, HandoffResult);

pub struct Deliverer {
    pub store: Arc<dyn Store>,
    pub core: Arc<dyn BookingCore>,
    /// A case not delivered this long after it was requested is refused: an operator has to take care of it.
    pub give_up_after: Duration,
}

impl Deliverer {
    /// Delivers until nobody hears the results or the tables' writer has ended. To be spawned.
    pub async fn run(self, clock: Clock, mut folded: watch::Receiver<Folded>, settled: mpsc::Sender<Settled>) {
        let mut failing = false;
        loop {
            match self.turn(clock.now()).await {
                Ok(results) => {
                    failing = false;
                    for result in results {
                        if settled.send(result).await.is_err() {
                            return;
                        }
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(error = &error as &dyn std::error::Error, "hand-offs wait for the tables");
                    }
                }
            }
            tokio::select! {
                changed = folded.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK_EACH) => {}
            }
        }
    }

    /// Tries every case that is due now, once. Gives those that are settled.
    pub async fn turn(&self, now: Moment) -> Result<Vec<Settled>, StoreError> {
        let mut results = Vec::new();
        loop {
            let due = self.store.handoffs_due(now, AT_ONCE).await?;
            if due.is_empty() {
                return Ok(results);
            }
            let mut trying = JoinSet::new();
            for due in due {
                let core = self.core.clone();
                trying.spawn(async move {
                    let answer = try_once(&*core, &due, now).await;
                    (due, answer)
                });
            }
            while let Some(tried) = trying.join_next().await {
                // An adapter that panics is one that did not answer; its case is due again with the next turn.
                let Ok((due, answer)) = tried else { return Ok(results) };
                let (next_at, settled) = self.judge(&due, answer, now);
                self.store.handoff_tried(due.handoff, next_at).await?;
                results.extend(settled.map(|result| (due.handoff, due.call, result)));
            }
        }
    }

    /// When the case is due again, and its result if it has one.
    fn judge(&self, due: &HandoffDue, answer: Result<HandoffResult, CoreError>, now: Moment) -> (Moment, Option<HandoffResult>) {
        let settled = match answer {
            Ok(result) => result,
            Err(CoreError::Duplicate { reference }) => HandoffResult::Accepted { reference },
            Err(CoreError::Unavailable(_) | CoreError::SlotTaken) if now.since(due.requested) < self.give_up_after => {
                return (now + pause_after(due.attempts), None);
            }
            Err(error @ (CoreError::Unavailable(_) | CoreError::SlotTaken | CoreError::Refused(_))) => {
                HandoffResult::Refused { reason: error.to_string() }
            }
        };
        (now + FOLD_WITHIN, Some(settled))
    }
}

async fn try_once(core: &dyn BookingCore, due: &HandoffDue, now: Moment) -> Result<HandoffResult, CoreError> {
    let case = Case {
        handoff: due.handoff,
        call: due.call,
        region: due.region,
        person: due.person,
        phone: due.phone.clone(),
        theme: due.theme.clone(),
    };
    let answer = tokio::time::timeout(ANSWER_WITHIN, core.hand_off(&case, now)).await;
    answer.unwrap_or_else(|_| Err(CoreError::Unavailable(format!("no answer within {} s", ANSWER_WITHIN.as_secs()))))
}
