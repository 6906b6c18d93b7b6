//! What clients are told: JSON, also when something is wrong.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::time::Duration;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    BadInput(String),
    #[error("the request is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the request took longer than {0:?}")]
    TooSlow(Duration),
    #[error(
        "send a picture as the body, a form with files, or JSON like {{\"images\": [\"BASE64\"]}}"
    )]
    NoInput,
    #[error("too many requests are waiting; try again in a second")]
    Busy,
    #[error("the model failed on this input; the server goes on")]
    Model,
    #[error("there is no {0} here; see / for a page and /openapi.json for the API")]
    NotFound(String),
    #[error("this needs {0}")]
    Method(&'static str),
    #[error("this model's answers are no pictures; ask for application/json")]
    NoPicture,
}

impl Failure {
    pub fn status(&self) -> StatusCode {
        match self {
            Failure::BadInput(_) | Failure::NoInput => StatusCode::BAD_REQUEST,
            Failure::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Failure::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Failure::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Failure::Model => StatusCode::INTERNAL_SERVER_ERROR,
            Failure::NotFound(_) => StatusCode::NOT_FOUND,
            Failure::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Failure::NoPicture => StatusCode::NOT_ACCEPTABLE,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response =
            (self.status(), Json(json!({"error": self.to_string()}))).into_response();
        let headers = response.headers_mut();
        match self {
            Failure::Busy => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Failure::Method(allowed) => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
            }
            _ => {}
        }
        response
    }
}
