//! What a request brings: a picture as its body, a form with files, or JSON with base64.

use crate::answer::Failure;
use crate::server::Options;
use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::header;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::LengthLimitError;
use serde::Deserialize;
use std::error::Error;

/// The files of a request.
pub enum Contents {
    /// Sent as the body, or as the JSON field `image`: answered by one object.
    One(Bytes),
    /// From a form, or the JSON field `images`: answered by a list.
    Several(Vec<Bytes>),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Json {
    Image(String),
    Images(Vec<String>),
}

/// Reads a request within the limits.
pub async fn contents(request: Request, options: &Options) -> Result<Contents, Failure> {
    let kind = head(&request, header::CONTENT_TYPE).unwrap_or_default();
    let length = head(&request, header::CONTENT_LENGTH).and_then(|l| l.parse::<usize>().ok());
    let limit = options.max_body;
    if length.is_some_and(|l| l > limit) {
        return Err(Failure::TooLarge(limit));
    }
    let found = if kind.starts_with("multipart/form-data") {
        Contents::Several(form(request, limit).await?)
    } else {
        let body = to_bytes(request.into_body(), limit).await;
        let body = body.map_err(|e| unreadable(&*e.into_inner(), limit))?;
        match kind.starts_with("application/json") {
            true => json(&body)?,
            false => Contents::One(body),
        }
    };
    match &found {
        Contents::One(bytes) if bytes.is_empty() => Err(Failure::NoInput),
        Contents::Several(all) if all.is_empty() => Err(Failure::NoInput),
        Contents::Several(all) if all.len() > options.queue => Err(Failure::BadInput(format!(
            "{} pictures in one request; at most {} are taken",
            all.len(),
            options.queue
        ))),
        _ => Ok(found),
    }
}

/// Whether the answer should be a picture and nothing else will do.
pub fn wants_picture(request: &Request) -> bool {
    let accepted = head(request, header::ACCEPT).unwrap_or_default();
    let kinds = accepted.split(',').map(|kind| kind.split(';').next().unwrap_or("").trim());
    let json = |kind: &str| matches!(kind, "application/json" | "application/*" | "*/*");
    kinds.clone().any(|kind| kind == "image/png") && !kinds.clone().any(json)
}

fn head(request: &Request, name: header::HeaderName) -> Option<String> {
    Some(request.headers().get(name)?.to_str().ok()?.to_ascii_lowercase())
}

async fn form(request: Request, limit: usize) -> Result<Vec<Bytes>, Failure> {
    let bad = |e: String| Failure::BadInput(format!("the form cannot be read: {e}"));
    // The form's parser has no limit of its own: the body gets one, and the parts together must keep it too.
    let request =
        request.map(|body| axum::body::Body::new(http_body_util::Limited::new(body, limit)));
    let mut form = Multipart::from_request(request, &()).await.map_err(|e| bad(e.body_text()))?;
    let mut files = Vec::new();
    loop {
        let field = form.next_field().await;
        let Some(field) = field.map_err(|e| part_error(&e, limit))? else { return Ok(files) };
        files.push(field.bytes().await.map_err(|e| part_error(&e, limit))?);
    }
}

fn part_error(e: &axum::extract::multipart::MultipartError, limit: usize) -> Failure {
    match e.status().as_u16() {
        413 => Failure::TooLarge(limit),
        _ if too_long(e) => Failure::TooLarge(limit),
        _ => Failure::BadInput(format!("the form cannot be read: {}", e.body_text())),
    }
}

fn json(body: &[u8]) -> Result<Contents, Failure> {
    let bad = |e: String| Failure::BadInput(format!("the JSON cannot be read: {e}"));
    let decode = |text: &String| {
        // As browsers write it: data:image/png;base64,....
        let data = match text.split_once(";base64,") {
            Some((kind, data)) if kind.starts_with("data:") => data,
            _ => text,
        };
        STANDARD.decode(data.trim()).map(Bytes::from).map_err(|e| bad(format!("base64: {e}")))
    };
    match serde_json::from_slice(body).map_err(|e| bad(e.to_string()))? {
        Json::Image(text) => Ok(Contents::One(decode(&text)?)),
        Json::Images(all) => {
            Ok(Contents::Several(all.iter().map(decode).collect::<Result<_, _>>()?))
        }
    }
}

fn unreadable(e: &(dyn Error + 'static), limit: usize) -> Failure {
    match too_long(e) {
        true => Failure::TooLarge(limit),
        false => Failure::BadInput(format!("the body cannot be read: {e}")),
    }
}

/// Whether this error, or one that caused it, is that of a body over its limit.
fn too_long(e: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(e), |e: &&(dyn Error + 'static)| (*e).source())
        .any(|e| e.is::<LengthLimitError>())
}
