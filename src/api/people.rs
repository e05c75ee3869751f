//! A person forgotten: number and recordings erased while the engine runs.

use super::House;
use super::fault::{ErrorBody, Fault, Told};
use crate::call::request::{Refusal, Request};
use crate::facts::TaskEnd;
use crate::ids::PersonId;
use crate::upkeep::forget::{ForgetError, Who, erase};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::oneshot;
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PhoneBody {
    /// In any form. It stands in the body, since paths reach logs.
    phone: String,
}

#[derive(Serialize, ToSchema)]
pub struct ForgottenBody {
    /// The id, which stays in the reports.
    person: String,
    /// Whether a number was known.
    known: bool,
    /// Files deleted.
    recordings: Vec<String>,
    /// Where the archive still has some, sealed: delete them there.
    archived: Vec<String>,
    /// Callbacks closed, since there is no number to call any more.
    callbacks: Vec<String>,
}

/// Forgets the person with this id.
#[utoipa::path(delete, path = "/api/v1/people/{person}", tag = "people", params(("person" = String, Path)),
    responses((status = 200, body = ForgottenBody), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub async fn forget(State(house): State<Arc<House>>, Path(person): Path<String>) -> Result<Json<ForgottenBody>, Fault> {
    let unknown = |_| Fault::invalid("this is no person's id", "take `person` of a call, or send the number in the body");
    house.forget(person.parse().map_err(unknown)?).await
}

/// Forgets the person with this number.
#[utoipa::path(delete, path = "/api/v1/people", tag = "people", request_body = PhoneBody,
    responses((status = 200, body = ForgottenBody), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub async fn forget_phone(State(house): State<Arc<House>>, Told(body): Told<PhoneBody>) -> Result<Json<ForgottenBody>, Fault> {
    let Some(Who::Phone(phone)) = Who::read(&body.phone) else {
        return Err(Fault::invalid("this is no full number", "write it as +79130000012"));
    };
    let (reply, answer) = oneshot::channel();
    let asked = house.state.engine.requests.send(Request::PersonOf { phone, reply }).await;
    asked.map_err(|_| Refusal::Busy)?;
    house.forget(answer.await.map_err(|_| Refusal::Busy)?).await
}

impl House {
    async fn forget(&self, person: PersonId) -> Result<Json<ForgottenBody>, Fault> {
        // What the tables do not know yet they could not forget.
        if self.catch_up().await? > 0 {
            let remedy = "nothing was erased; ask again when the tables have caught up";
            return Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, "the tables are behind the journal", remedy));
        }
        let forgotten = erase(self.state.store.as_ref(), self.state.recordings.folder(), person).await?;
        if let Some(core) = &self.state.core {
            core.forget(person).await.map_err(|error| {
                let remedy = "the rest is erased; ask again when the core answers";
                Fault::new(StatusCode::SERVICE_UNAVAILABLE, format!("the booking core does not forget: {error}"), remedy)
            })?;
        }
        for &task in &forgotten.callbacks {
            match self.state.engine.ask(|reply| Request::TaskClosed { task, how: TaskEnd::ClosedByHand, reply }).await {
                // Closed by somebody else meanwhile.
                Ok(()) | Err(Refusal::NotFound(_)) => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
        for deleted in forgotten.deleted {
            let told = self.state.engine.requests.send(Request::RecordingNews(deleted)).await;
            told.map_err(|_| Refusal::Busy)?;
        }
        let recordings = u32::try_from(forgotten.recordings.len()).unwrap_or(u32::MAX);
        self.state.engine.ask(|reply| Request::PersonForgotten { person, recordings, reply }).await?;
        tracing::info!(%person, recordings, known = forgotten.known, "a person was forgotten");
        Ok(Json(ForgottenBody {
            person: person.to_string(),
            known: forgotten.known,
            recordings: forgotten.recordings,
            archived: forgotten.archived,
            callbacks: forgotten.callbacks.iter().map(ToString::to_string).collect(),
        }))
    }
}

impl From<ForgetError> for Fault {
    fn from(error: ForgetError) -> Self {
        match error {
            ForgetError::Store(error) => error.into(),
            ForgetError::Recording { .. } => {
                tracing::error!(error = &error as &dyn std::error::Error, "a recording stays");
                let remedy = "mend the folder's rights, then ask again: the rest will be erased";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), remedy)
            }
        }
    }
}
