//! What a component gets and gives: the [`Component`] trait, its [`Call`], and the [`Context`] through
//! which it reaches the services.

pub mod calls;
mod charge;
pub mod code;
pub mod commands;
pub mod documents;
pub mod links;
pub mod managed;
pub mod web;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use sre_engine::Node;
pub use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, TypeEntry};
use sre_engine::value::{Binary, Map, Value};
use sre_proto::compute::v1::{ExecuteCodeRequest, ExecuteCodeResponse};
use sre_proto::llm::v1::{GenerateRequest, GenerateResponse, Model};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub mod models;

use crate::egress;
use crate::question::{Decision, LookedUp, Question};
use crate::toolbox::Toolbox;

mod files;
mod memory;
pub mod vectors;

use crate::trigger::{Collected, Refused, TriggerRequest};
pub use charge::Charge;
use documents::Documents;
pub use files::Files;
pub use memory::Memory;
use vectors::Vectors;

/// A component type. One instance serves every run, so it holds no state.
pub trait Component: Send + Sync {
    /// What it says about itself.
    fn spec(&self) -> &'static ComponentSpec;

    /// [`Component::spec`] with what the engine runs for it: post-processing, further validation.
    fn entry(&self) -> TypeEntry {
        TypeEntry::new(self.spec())
    }

    /// Executes one activation. Never panics; a failure is an outcome with `_error`.
    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome>;

    /// Finds out whether this activation's effect happened. It was started under this idempotency key by an
    /// engine that died; nothing may be started here.
    fn look_up<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, LookedUp> {
        let why = format!("{} cannot find out whether it happened", call.node.type_name);
        Box::pin(std::future::ready(LookedUp::Unknown(why)))
    }

    /// The tools that it gives a model, where it has any.
    fn toolbox(&self) -> Option<&dyn Toolbox> {
        None
    }

    /// What a trigger makes of a request to its path, before its run begins.
    fn collect<'a>(
        &'a self,
        call: Call<'a>,
        _request: &'a TriggerRequest,
    ) -> BoxFuture<'a, Result<Collected, Refused>> {
        let why = format!("{} is no trigger", call.node.type_name);
        Box::pin(std::future::ready(Err(Refused { status: 404, message: why })))
    }
}

/// One activation of a component.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The inputs: declared ones after defaults and typing, over the agent's variables.
    pub input: &'a Map,
    /// The component's record.
    pub node: &'a Node,
    /// The way out.
    pub context: &'a dyn Context,
}

impl Call<'_> {
    /// The inputs the record declares and that have a value; agent variables are left out.
    pub fn declared(&self) -> Map {
        let value =
            |name: &Arc<str>| self.input.get(name.as_ref()).cloned().map(|value| (name.clone(), value));
        self.node.inputs.iter().filter_map(|port| value(&port.name)).collect()
    }

    /// An input, unless it is absent.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.input.get(name)
    }
}

/// The agent that runs.
#[derive(Clone, Debug, Default)]
pub struct AgentInfo {
    /// Its id.
    pub id: String,
    /// Its full resource name, `teams/{team}/agents/{agent}`.
    pub name: String,
    /// Its team.
    pub team: String,
    /// Its system prompt.
    pub behavior: String,
    /// Its variables, as the author wrote them: texts are templates and may name vault keys.
    pub variables: Map,
}

/// The request that started the run.
#[derive(Clone, Debug, Default)]
pub struct RequestInfo {
    /// HTTP method in upper case.
    pub method: String,
    /// Path as it came.
    pub path: String,
    /// Headers under lower-case names.
    pub headers: BTreeMap<String, String>,
}

/// A secret's text. Not shown in `Debug`, wiped when dropped.
#[derive(Clone)]
pub struct SecretText {
    key: Arc<str>,
    text: SecretString,
}

impl SecretText {
    /// A secret and the vault key it is stored under.
    pub fn new(key: impl Into<Arc<str>>, text: String) -> Self {
        Self { key: key.into(), text: text.into() }
    }

    /// The vault key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The text, for the one call that needs it.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretText({})", self.key)
    }
}

/// A piece of a model's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Of the answer.
    Text(String),
    /// Of its thinking.
    Thinking(String),
}

/// What kind of content [`Context::emit_content`] carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Part of an answer.
    Answer,
    /// Part of a model's thinking.
    Thinking,
}

/// A job as [`Context::await_jobs`] saw it last.
#[derive(Clone, Debug, PartialEq)]
pub struct JobView {
    /// Its id, as it was asked for.
    pub id: String,
    /// Where it stands.
    pub status: JobStatus,
    /// Its answer, once done.
    pub output: Option<Value>,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobStatus {
    /// Waiting or running.
    Pending,
    /// Ended with an answer.
    Done,
    /// Ended without one: failed or cancelled.
    Failed,
    /// No job of this agent has the id.
    Unknown,
}

impl JobStatus {
    /// The word in Await's results.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unknown => "unknown_job",
        }
    }
}

/// Why the context could not do something.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ContextError {
    /// What kind of failure.
    pub kind: Failure,
    /// What users read.
    pub message: String,
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// What was named does not exist, or the agent may not know that it does.
    NotFound,
    /// The agent may not.
    Denied,
    /// The request makes no sense.
    Invalid,
    /// A limit or budget is used up.
    Exhausted,
    /// It took too long.
    Timeout,
    /// The run was cancelled.
    Cancelled,
    /// The service cannot be reached now.
    Unavailable,
    /// Anything else.
    Internal,
}

impl ContextError {
    /// A failure with its message.
    pub fn new(kind: Failure, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl From<tonic::Status> for ContextError {
    fn from(status: tonic::Status) -> Self {
        use tonic::Code;
        let kind = match status.code() {
            Code::NotFound => Failure::NotFound,
            Code::PermissionDenied | Code::Unauthenticated => Failure::Denied,
            Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => Failure::Invalid,
            Code::ResourceExhausted => Failure::Exhausted,
            Code::DeadlineExceeded => Failure::Timeout,
            Code::Cancelled => Failure::Cancelled,
            Code::Unavailable => Failure::Unavailable,
            _ => Failure::Internal,
        };
        Self::new(kind, status.message())
    }
}

impl From<egress::EgressError> for ContextError {
    fn from(error: egress::EgressError) -> Self {
        let kind = match &error {
            egress::EgressError::Refused { .. } => Failure::Denied,
            egress::EgressError::Timeout { .. } => Failure::Timeout,
            egress::EgressError::InvalidUrl | egress::EgressError::Scheme(_) => Failure::Invalid,
            _ => Failure::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}

/// The services as one running component may use them: as its agent, within its run's deadline.
#[async_trait]
pub trait Context: Send + Sync {
    /// The agent.
    fn agent(&self) -> &AgentInfo;

    /// The run.
    fn run_id(&self) -> &str;

    /// The session the run belongs to.
    fn session_id(&self) -> &str;

    /// The request that started the run.
    fn request(&self) -> &RequestInfo;

    /// The key that makes a retry of this activation recognisable.
    fn idempotency_key(&self) -> String;

    /// When the run must be over.
    fn deadline(&self) -> Instant;

    /// Fires when the run is cancelled.
    fn cancelled(&self) -> CancellationToken;

    /// The vault key of the agent's team. The context remembers it, to keep it out of what is written.
    ///
    /// # Errors
    /// A missing key is [`Failure::NotFound`] with the message `Vault key '<key>' not found`.
    async fn secret(&self, key: &str) -> Result<SecretText, ContextError>;

    /// Calls a model and streams its answer.
    ///
    /// # Errors
    /// The message is the provider's, for example `500 mock error`.
    async fn generate(
        &self,
        request: GenerateRequest,
        on_chunk: &mut (dyn FnMut(Chunk) + Send),
    ) -> Result<GenerateResponse, ContextError>;

    /// A model of the catalogue.
    ///
    /// # Errors
    /// [`Failure::NotFound`] if there is none of this name.
    async fn model(&self, name: &str) -> Result<Model, ContextError>;

    /// Runs code that nobody trusts.
    ///
    /// # Errors
    /// What is wrong with the code, in the reference's words, or the limit that it reached. What code throws is no
    /// error.
    async fn execute_code(&self, request: ExecuteCodeRequest) -> Result<ExecuteCodeResponse, ContextError>;

    /// The way to skills, and to models that have tools.
    fn calls(&self) -> &dyn calls::Calls;

    /// A program that the operator lets this agent start, by the operator's name for it.
    fn command(&self, name: &str) -> Option<commands::ListedCommand>;

    /// The way to the network.
    fn http(&self) -> &egress::Client;

    /// Where the services of the web are.
    fn web(&self) -> &web::Places;

    /// The trace this activation belongs to, as the header `traceparent` says it; empty where nothing is traced.
    fn trace_parent(&self) -> String {
        String::new()
    }

    /// Remembers a secret that did not come from the team's vault, to keep it out of what is written.
    fn keep_secret(&self, name: &str, value: &str);

    /// The agent's managed vault.
    fn managed(&self) -> &dyn managed::ManagedSecrets;

    /// Links to files.
    fn links(&self) -> &dyn links::FileLinks;

    /// Deployed code.
    fn deployed_code(&self) -> &dyn code::DeployedCode;

    /// Stores bytes in the agent's temporary area; the value is `{mimetype, size, url, name}`.
    ///
    /// # Errors
    /// If storage refuses or cannot be reached.
    async fn store_temp(&self, binary: &Binary) -> Result<Value, ContextError>;

    /// Reads a `smythfs://` file as the running agent, whatever agent the address names.
    ///
    /// # Errors
    /// If there is no such file or the agent may not read it.
    async fn read_file(&self, uri: &str) -> Result<Binary, ContextError>;

    /// Starts the branch below an Async component as a job; gives its id, `<component>-<id>`.
    ///
    /// # Errors
    /// If the job cannot be stored.
    async fn start_job(&self, component_id: &str, input: Map) -> Result<String, ContextError>;

    /// Waits until `count` of the jobs ended, none is pending, or `max` is over; gives all in order.
    ///
    /// # Errors
    /// If jobs cannot be looked up.
    async fn await_jobs(
        &self,
        ids: &[String],
        count: usize,
        max: Duration,
    ) -> Result<Vec<JobView>, ContextError>;

    /// Sleeps, giving up the run's slot; ends early when the run is cancelled. Over a long sleep the run leaves
    /// memory: whoever goes on with it executes the component again, which comes back here and sleeps on.
    async fn sleep(&self, duration: Duration);

    /// Asks people and waits for what they say. Like a long sleep; the same question is asked once.
    ///
    /// # Errors
    /// If the question cannot be stored, or the run has no journal.
    async fn approval(&self, question: Question) -> Result<Decision, ContextError>;

    /// Models, beside their streamed answers.
    fn models(&self) -> &dyn models::Models;

    /// What the agent remembers.
    fn memory(&self) -> &dyn Memory;

    /// What the agent keeps.
    fn documents(&self) -> &dyn Documents;

    /// The agent's own files.
    fn files(&self) -> &dyn Files;

    /// Texts found by likeness.
    fn vectors(&self) -> &dyn Vectors;

    /// Notes in the ledger what a service outside charged. It is counted at once, and once.
    fn charged(&self, charge: Charge);

    /// Passes a piece of an answer to whoever watches the run.
    fn emit_content(&self, text: &str, content: Content);

    /// Writes a line of the component's log.
    fn log(&self, level: tracing::Level, message: &str);
}
