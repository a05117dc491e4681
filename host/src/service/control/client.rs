//! The command line's end of the control socket.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

use super::super::life::{Candidate, Entry, ProposeOutcome, RolledBack, StageState};
use super::shapes::{ANSWER_MAX_BYTES, CaptureRequest, PLUGIN_MAX_BYTES, Proposal, Refusal, Which};
use super::socket::{Address, SOCKET_NAME};
use crate::error::{Error, ErrorKind, Result};
use crate::replay;

/// Asks the host that runs on a data folder. A connection a question.
#[derive(Clone, Debug)]
pub struct Client {
    data: PathBuf,
    /// How to start the host, for the error when there is none.
    start: String,
}

impl Client {
    /// A client of the host on `data`; `start` is the command that starts it.
    pub fn new(data: &Path, start: String) -> Self {
        Self { data: data.to_path_buf(), start }
    }

    /// All stages that are plugins.
    pub fn stages(&self) -> Result<Vec<StageState>> {
        self.get("/v1/stages")
    }

    /// What happened, of one stage or of all, oldest first.
    pub fn history(&self, stage: Option<&str>) -> Result<Vec<Entry>> {
        match stage {
            None => self.get("/v1/history"),
            Some(stage) => self.get(&path(stage, "history")?),
        }
    }

    /// How the candidate of a stage differs from what runs.
    pub fn diff(&self, stage: &str) -> Result<Candidate> {
        self.get(&path(stage, "diff")?)
    }

    /// Proposes a plugin, a config or both.
    pub fn propose(&self, stage: &str, plugin: Option<&[u8]>, config: Option<Value>) -> Result<ProposeOutcome> {
        if let Some(bytes) = plugin.filter(|bytes| bytes.len() > PLUGIN_MAX_BYTES) {
            let message = format!("the plugin has {} bytes; a host takes {PLUGIN_MAX_BYTES} at most", bytes.len());
            return Err(Error::new(ErrorKind::Plugin, message));
        }
        let plugin = plugin.map(|bytes| BASE64_STANDARD.encode(bytes));
        self.post(&path(stage, "propose")?, &Proposal { plugin, config })
    }

    /// Lets a held candidate take over.
    pub fn accept(&self, stage: &str) -> Result<ProposeOutcome> {
        self.post(&path(stage, "accept")?, &())
    }

    /// Goes back to a version that ran before.
    pub fn rollback(&self, stage: &str, digest: Option<String>) -> Result<RolledBack> {
        self.post(&path(stage, "rollback")?, &Which { digest })
    }

    /// Lets nothing else run than one version.
    pub fn pin(&self, stage: &str, digest: Option<String>) -> Result<ProposeOutcome> {
        self.post(&path(stage, "pin")?, &Which { digest })
    }

    /// Takes a pin away.
    pub fn unpin(&self, stage: &str) -> Result<ProposeOutcome> {
        self.post(&path(stage, "unpin")?, &())
    }

    /// Lets the host finish its epoch and end.
    pub fn drain(&self) -> Result<()> {
        self.post("/v1/drain", &())
    }

    /// Lets rejects go in again.
    pub fn replay(&self, request: &replay::Request) -> Result<replay::Asked> {
        self.post("/v1/rejects/replay", request)
    }

    /// Whether a host listens.
    pub fn is_answered(&self) -> bool {
        Address::of(&self.data, SOCKET_NAME)
            .is_ok_and(|address| std::os::unix::net::UnixStream::connect(address.path()).is_ok())
    }

    /// Rows in front of a stage, as the text of a case.
    pub fn capture(&self, stage: &str, request: &CaptureRequest) -> Result<Vec<u8>> {
        self.ask("POST", &path(stage, "capture")?, body(request)?)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask("GET", path, Vec::new()).and_then(|answer| read(&answer))
    }

    fn post<T: DeserializeOwned>(&self, path: &str, request: &impl Serialize) -> Result<T> {
        self.ask("POST", path, body(request)?).and_then(|answer| read(&answer))
    }

    fn ask(&self, method: &str, path: &str, body: Vec<u8>) -> Result<Vec<u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let runtime = runtime.map_err(|error| self.broken(error))?;
        runtime.block_on(self.exchange(method, path, body))
    }

    async fn exchange(&self, method: &str, path: &str, body: Vec<u8>) -> Result<Vec<u8>> {
        let address = Address::of(&self.data, SOCKET_NAME).map_err(|error| self.no_host(error))?;
        let stream = UnixStream::connect(address.path()).await.map_err(|error| self.no_host(error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(error))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "millstream")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.broken(error))?;
        let answer = sender.send_request(request).await.map_err(|error| self.broken(error))?;
        let good = answer.status().is_success();
        let body = Limited::new(answer.into_body(), ANSWER_MAX_BYTES).collect().await;
        let body = body.map_err(|error| self.broken(error))?.to_bytes().to_vec();
        if good { Ok(body) } else { Err(refused(&body)) }
    }

    /// Nobody listens: no socket, one that a killed host left, or one of somebody else.
    fn no_host(&self, error: io::Error) -> Error {
        let folder = self.data.display();
        if error.kind() == io::ErrorKind::PermissionDenied {
            let message = format!("the host with the data folder {folder} runs as another user");
            return Error::new(ErrorKind::Config, message).caused_by(error).help("ask it as that user, or as root");
        }
        let nobody = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused, io::ErrorKind::NotADirectory];
        let message = format!("no running host has the data folder {folder}");
        let wrong = Error::new(ErrorKind::Unavailable, message).help(format!("start it with `{}`", self.start));
        if nobody.contains(&error.kind()) { wrong } else { wrong.caused_by(error) }
    }

    fn broken(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        let message = format!("the host with the data folder {} ended before it answered", self.data.display());
        Error::new(ErrorKind::Unavailable, message).caused_by(error).help("see its log, and ask again")
    }
}

/// The path of something about a stage. Names in a pipeline file are of these characters alone.
fn path(stage: &str, what: &str) -> Result<String> {
    if stage.is_empty() || !stage.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        return Err(Error::new(ErrorKind::Config, format!("\"{stage}\" is no name of a stage"))
            .help("write PIPELINE.toml/STAGE, such as clicks.toml/clean"));
    }
    Ok(format!("/v1/stages/{stage}/{what}"))
}

fn body(request: &impl Serialize) -> Result<Vec<u8>> {
    let wrong = |error| Error::new(ErrorKind::Internal, "a request has no JSON form").caused_by(error);
    match serde_json::to_vec(request).map_err(wrong)? {
        // `()`
        null if null == b"null" => Ok(Vec::new()),
        body => Ok(body),
    }
}

fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T> {
    serde_json::from_slice(answer).map_err(|error| {
        Error::new(ErrorKind::Unavailable, "the host's answer is not understood")
            .caused_by(error)
            .help("does the host run another release of millstream?")
    })
}

fn refused(answer: &[u8]) -> Error {
    match serde_json::from_slice::<Refusal>(answer) {
        Ok(refusal) => refusal.into_error(),
        // Written by the HTTP library: a body that is too large, a path that cannot be read.
        Err(_) => {
            let text: String = String::from_utf8_lossy(answer).chars().take(200).collect();
            Error::new(ErrorKind::Config, format!("the host refuses the request: {text}"))
        }
    }
}
