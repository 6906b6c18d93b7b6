//! The addresses of the API, and what each does.

use crate::answer::Failure;
use crate::batch::Queue;
use crate::contents::{Contents, contents, wants_picture};
use crate::metrics::Metrics;
use crate::server::Options;
use crate::{About, Model};
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::{Method, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// What every handler can reach.
pub struct App<M: Model> {
    pub model: Arc<M>,
    pub queue: Queue<M>,
    pub metrics: Arc<Metrics>,
    pub options: Options,
    pub about: About,
}

type Shared<M> = Arc<App<M>>;

/// The whole API.
pub fn router<M: Model>(app: Shared<M>) -> Router {
    let only_get = || async { Failure::Method("GET") };
    let only_post = || async { Failure::Method("POST") };
    Router::new()
        .route("/", get(page).fallback(only_get))
        .route("/health", get(health).fallback(only_get))
        .route("/info", get(info::<M>).fallback(only_get))
        .route("/metrics", get(metrics::<M>).fallback(only_get))
        .route("/openapi.json", get(openapi).fallback(only_get))
        .route("/predict", post(predict::<M>).fallback(only_post))
        .route("/explain", post(explain::<M>).fallback(only_post))
        .fallback(|method: Method, uri: Uri| async move {
            Failure::NotFound(format!("{method} {}", uri.path()))
        })
        .layer(from_fn_with_state(app.clone(), watch::<M>))
        .with_state(app)
}

/// Limits the time of each request, and counts it.
async fn watch<M: Model>(State(app): State<Shared<M>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let limit = app.options.timeout;
    let response = match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Failure::TooSlow(limit).into_response(),
    };
    app.metrics.answered(response.status().as_u16(), start.elapsed());
    response
}

async fn page() -> Html<&'static str> {
    Html(include_str!("page.html"))
}

async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

async fn info<M: Model>(State(app): State<Shared<M>>) -> Json<About> {
    Json(app.about.clone())
}

async fn metrics<M: Model>(State(app): State<Shared<M>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.text())
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json"))
}

#[derive(Deserialize)]
struct Wanted {
    #[serde(default = "five")]
    top: usize,
}

fn five() -> usize {
    5
}

async fn predict<M: Model>(
    State(app): State<Shared<M>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    request: Request,
) -> Result<Response, Failure> {
    let top = wanted.map_err(|e| Failure::BadInput(e.body_text()))?.top.max(1);
    let picture = wants_picture(&request);
    match contents(request, &app.options).await? {
        Contents::One(bytes) if picture => {
            let answer = answer(&app, bytes, top).await?;
            let png = app.model.picture(&answer).ok_or(Failure::NoPicture)?;
            Ok(([(header::CONTENT_TYPE, "image/png")], png).into_response())
        }
        Contents::Several(_) if picture => {
            Err(Failure::BadInput("image/png is the answer about one picture; send one".into()))
        }
        Contents::One(bytes) => Ok(Json(one(app, bytes, top).await?).into_response()),
        Contents::Several(all) => {
            let tasks: Vec<_> =
                all.into_iter().map(|bytes| tokio::spawn(one(app.clone(), bytes, top))).collect();
            let mut answers = Vec::new();
            for task in tasks {
                answers.push(match task.await.unwrap_or(Err(Failure::Model)) {
                    Ok(answer) => answer,
                    // The others are answered all the same.
                    Err(e @ (Failure::BadInput(_) | Failure::Model)) => {
                        json!({"error": e.to_string()})
                    }
                    Err(e) => return Err(e),
                });
            }
            Ok(Json(json!({"predictions": answers})).into_response())
        }
    }
}

async fn one<M: Model>(app: Shared<M>, bytes: Bytes, top: usize) -> Result<Value, Failure> {
    serde_json::to_value(answer(&app, bytes, top).await?).map_err(|_| Failure::Model)
}

async fn answer<M: Model>(app: &Shared<M>, bytes: Bytes, top: usize) -> Result<M::Output, Failure> {
    let input = read(app, bytes).await?;
    app.queue.predict(input, top).await
}

async fn explain<M: Model>(
    State(app): State<Shared<M>>,
    request: Request,
) -> Result<Json<Value>, Failure> {
    let Contents::One(bytes) = contents(request, &app.options).await? else {
        return Err(Failure::BadInput("explain takes one picture at a time".into()));
    };
    let input = read(&app, bytes).await?;
    let (answer, picture) = app.queue.explain(input).await?;
    let heat_map = picture.map(|png| format!("data:image/png;base64,{}", STANDARD.encode(png)));
    Ok(Json(json!({"prediction": answer, "heat_map": heat_map})))
}

/// Files larger than this are read on a thread that may block.
const LARGE: usize = 16 << 10;

/// Lets the model read a file; a panic in there is the model's failure, not the server's.
async fn read<M: Model>(app: &Shared<M>, bytes: Bytes) -> Result<M::Input, Failure> {
    let large = bytes.len() > LARGE;
    let model = app.model.clone();
    let read = move || {
        catch_unwind(AssertUnwindSafe(|| model.read(&bytes)))
            .map_err(|_| Failure::Model)?
            .map_err(Failure::BadInput)
    };
    match large {
        true => tokio::task::spawn_blocking(read).await.unwrap_or(Err(Failure::Model)),
        false => read(),
    }
}
