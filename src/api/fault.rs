//! What goes wrong, as an answer: a status, what happened, and what to do about it. And the doors that refuse what they don't know.

use crate::call::request::Refusal;
use crate::store::StoreError;
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

#[derive(Debug)]
pub struct Fault {
    status: StatusCode,
    body: ErrorBody,
}

/// Every error of the API.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    pub error: String,
    pub remedy: String,
}

impl Fault {
    pub fn new(status: StatusCode, error: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status, body: ErrorBody { error: error.into(), remedy: remedy.into() } }
    }

    pub fn invalid(error: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, remedy)
    }

    pub fn not_found(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, what, remedy)
    }

    pub fn unauthorized() -> Self {
        let remedy = "send `Authorization: Bearer <token>`; the token is in http-token in the data folder unless the configuration names another";
        Self::new(StatusCode::UNAUTHORIZED, "the token is missing or wrong", remedy)
    }

    pub async fn no_such_path() -> Self {
        Self::not_found("there is nothing here", "see /api/openapi.json for what there is")
    }

    pub async fn wrong_method() -> Self {
        let remedy = "see /api/openapi.json for the methods of this path";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not know this method", remedy)
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        let (name, value) = match self.status {
            StatusCode::UNAUTHORIZED => (header::WWW_AUTHENTICATE, "Bearer"),
            StatusCode::SERVICE_UNAVAILABLE => (header::RETRY_AFTER, "1"),
            _ => return response,
        };
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        response
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let error = refusal.to_string();
        match refusal {
            Refusal::NotFound(_) => Self::not_found(error, "look the name up in /api/v1/board"),
            Refusal::Invalid(_) => Self::new(StatusCode::CONFLICT, error, "nothing was changed; mend what is said and ask again"),
            Refusal::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, error, "ask again in a second"),
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "the tables gave no answer");
        let remedy = "the line answers on and the tables catch up by themselves; look into the log, then ask again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string(), remedy)
    }
}

/// A query string of which every key is known.
pub struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        let wrong = |wrong: QueryRejection| Fault::invalid(wrong.body_text(), "see this path's parameters in /api/openapi.json");
        query.map(|Query(query)| Self(query)).map_err(wrong)
    }
}

/// A JSON body of which every key is known.
pub struct Told<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Told<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, state: &S) -> Result<Self, Fault> {
        let body = Json::<T>::from_request(request, state).await;
        let wrong =
            |wrong: JsonRejection| Fault::new(wrong.status(), wrong.body_text(), "see this path's body in /api/openapi.json");
        body.map(|Json(body)| Self(body)).map_err(wrong)
    }
}
