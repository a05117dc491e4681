//! Path to question to answer. Each request waits for its answer on a thread of its own, so that one that takes long (a
//! plugin is compiled, rows are waited for) stops no other.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use crossbeam_channel::{RecvTimeoutError, Sender, TrySendError, bounded};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::life::{Answer, Ask, Question};
use super::capture;
use super::shapes::{
    ANSWER_MAX_BYTES, CAPTURE_MAX_ROWS, CAPTURE_MAX_WAIT_SECONDS, CaptureRequest, PROPOSAL_MAX_BYTES, Proposal,
    REQUEST_MAX_BYTES, Refusal, Which,
};
use crate::error::{Error, ErrorKind, Result};

/// The longest wait for an answer: a large plugin takes minutes to compile on a busy machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);

/// What handlers share.
#[derive(Clone)]
struct Host {
    pipeline: String,
    asking: Sender<Question>,
}

/// All paths.
pub(super) fn router(pipeline: &str, asking: Sender<Question>) -> Router {
    let host = Host { pipeline: pipeline.to_owned(), asking };
    Router::new()
        .route("/v1/stages", get(list))
        .route("/v1/history", get(history))
        .route("/v1/drain", post(drain))
        .route("/v1/stages/{stage}/history", get(stage_history))
        .route("/v1/stages/{stage}/diff", get(diff))
        .route("/v1/stages/{stage}/propose", post(propose).layer(DefaultBodyLimit::max(PROPOSAL_MAX_BYTES)))
        .route("/v1/stages/{stage}/accept", post(accept))
        .route("/v1/stages/{stage}/rollback", post(rollback))
        .route("/v1/stages/{stage}/pin", post(pin))
        .route("/v1/stages/{stage}/unpin", post(unpin))
        .route("/v1/stages/{stage}/capture", post(take))
        .route("/v1/rejects/replay", post(replay))
        .fallback(nothing_here)
        .method_not_allowed_fallback(nothing_here)
        .layer(DefaultBodyLimit::max(REQUEST_MAX_BYTES))
        .with_state(host)
}

impl Host {
    /// Asks, and waits for the answer.
    async fn ask(&self, ask: Ask, patience: Duration) -> Result<Answer> {
        let asking = self.asking.clone();
        let wait = move || {
            let unavailable = |what: &str| Error::new(ErrorKind::Unavailable, what);
            let (reply, answer) = bounded(1);
            asking.try_send(Question { ask, reply }).map_err(|error| match error {
                TrySendError::Full(_) => unavailable("too many questions wait for an answer").help("ask again later"),
                TrySendError::Disconnected(_) => unavailable("the run is over"),
            })?;
            answer.recv_timeout(patience).map_err(|error| match error {
                RecvTimeoutError::Timeout => unavailable("the host is busy and gave no answer in time"),
                RecvTimeoutError::Disconnected => {
                    unavailable("the run went back to its last commit, or ended, before it answered").help("ask again")
                }
            })?
        };
        tokio::task::spawn_blocking(wait)
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, "a question was lost").caused_by(error))?
    }
}

/// An error as an answer.
struct Refused(Error);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(Refusal::status(&self.0)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(Refusal::of(&self.0))).into_response()
    }
}

type Answered = Result<Response, Refused>;

fn json(value: &impl Serialize) -> Answered {
    Ok(Json(value).into_response())
}

fn another_answer() -> Refused {
    Refused(Error::new(ErrorKind::Internal, "the host answered something else than it was asked"))
}

/// The body as JSON, whatever the client calls it; nothing at all counts as `{}`.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| Error::new(ErrorKind::Config, "the request's body is not as it should be").caused_by(error))
}

async fn nothing_here(request: axum::extract::Request) -> Answered {
    let (method, path) = (request.method(), request.uri().path());
    let message = format!("there is no {method} {path} here");
    Err(Error::new(ErrorKind::Config, message).help("docs/operating.md has the list").into())
}

async fn list(State(host): State<Host>) -> Answered {
    match host.ask(Ask::List, ANSWER_TIMEOUT).await? {
        Answer::Stages(stages) => json(&stages),
        _ => Err(another_answer()),
    }
}

async fn drain(State(host): State<Host>) -> Answered {
    match host.ask(Ask::Drain, ANSWER_TIMEOUT).await? {
        Answer::Draining => json(&()),
        _ => Err(another_answer()),
    }
}

async fn history(State(host): State<Host>) -> Answered {
    entries(&host, None).await
}

async fn stage_history(State(host): State<Host>, Path(stage): Path<String>) -> Answered {
    entries(&host, Some(stage)).await
}

async fn entries(host: &Host, stage: Option<String>) -> Answered {
    match host.ask(Ask::History { stage }, ANSWER_TIMEOUT).await? {
        Answer::History(entries) => json(&entries),
        _ => Err(another_answer()),
    }
}

async fn diff(State(host): State<Host>, Path(stage): Path<String>) -> Answered {
    match host.ask(Ask::Diff { stage }, ANSWER_TIMEOUT).await? {
        Answer::Diff(candidate) => json(&candidate),
        _ => Err(another_answer()),
    }
}

async fn propose(State(host): State<Host>, Path(stage): Path<String>, body: Bytes) -> Answered {
    let Proposal { plugin, config } = read(&body)?;
    if plugin.is_none() && config.is_none() {
        return Err(Error::new(ErrorKind::Config, "a proposal has a `plugin`, a `config`, or both").into());
    }
    let decode = |text: String| BASE64_STANDARD.decode(text);
    let plugin = plugin.map(decode).transpose().map_err(|error| {
        Error::new(ErrorKind::Config, "`plugin` is not the bytes of a component in base64").caused_by(error)
    })?;
    outcome(&host, Ask::Propose { stage, plugin, config }).await
}

async fn outcome(host: &Host, ask: Ask) -> Answered {
    match host.ask(ask, ANSWER_TIMEOUT).await? {
        Answer::Outcome(outcome) => json(&outcome),
        _ => Err(another_answer()),
    }
}

async fn accept(State(host): State<Host>, Path(stage): Path<String>) -> Answered {
    outcome(&host, Ask::Accept { stage }).await
}

async fn rollback(State(host): State<Host>, Path(stage): Path<String>, body: Bytes) -> Answered {
    let Which { digest } = read(&body)?;
    match host.ask(Ask::Rollback { stage, digest }, ANSWER_TIMEOUT).await? {
        Answer::Rollback(rolled_back) => json(&rolled_back),
        _ => Err(another_answer()),
    }
}

async fn pin(State(host): State<Host>, Path(stage): Path<String>, body: Bytes) -> Answered {
    let Which { digest } = read(&body)?;
    outcome(&host, Ask::Pin { stage, digest }).await
}

async fn unpin(State(host): State<Host>, Path(stage): Path<String>) -> Answered {
    outcome(&host, Ask::Unpin { stage }).await
}

async fn replay(State(host): State<Host>, body: Bytes) -> Answered {
    match host.ask(Ask::Replay(read(&body)?), ANSWER_TIMEOUT).await? {
        Answer::Replay(asked) => json(&asked),
        _ => Err(another_answer()),
    }
}

async fn take(State(host): State<Host>, Path(stage): Path<String>, body: Bytes) -> Answered {
    let request: CaptureRequest = read(&body)?;
    let CaptureRequest { rows, rejected, wait_seconds, .. } = request;
    let bounds = [("rows", rows as u64, CAPTURE_MAX_ROWS as u64), ("wait", wait_seconds, CAPTURE_MAX_WAIT_SECONDS)];
    if let Some((what, _, most)) = bounds.into_iter().find(|(_, asked, most)| !(1..=*most).contains(asked)) {
        return Err(Error::new(ErrorKind::Config, format!("a capture's {what} is a number from 1 to {most}")).into());
    }
    let patience = Duration::from_secs(wait_seconds);
    let ask = Ask::Capture { stage, rows, only_rejected: rejected, patience };
    let Answer::Rows(captured) = host.ask(ask, patience + ANSWER_TIMEOUT).await? else { return Err(another_answer()) };
    let pipeline = host.pipeline.clone();
    // Rows become text: too long for the thread that answers everybody.
    let text = tokio::task::spawn_blocking(move || capture::case(&pipeline, &captured, &request, ANSWER_MAX_BYTES))
        .await
        .map_err(|error| Error::new(ErrorKind::Internal, "a capture was lost").caused_by(error))??;
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from(text)).into_response())
}
