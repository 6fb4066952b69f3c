//! The services as one running component may use them.

mod code;
mod documents;
mod links;
mod managed;
mod models;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use secrecy::ExposeSecret as _;
use sre_components::context::{
    code::DeployedCode, documents::Documents, links::FileLinks, managed::ManagedSecrets, web::Places,
};
use sre_components::egress;
use sre_components::vectors::Vectors;
use sre_components::{
    AgentInfo, Charge, Chunk, Content, Context, ContextError, Decision, Failure, Files, JobView, Memory,
    Models, Question, RequestInfo, SecretText,
};
use sre_engine::{ActivationKey, Binary, Map, Value};
use sre_proto::compute::v1::code_client::CodeClient;
use sre_proto::compute::v1::{ExecuteCodeRequest, ExecuteCodeResponse};
use sre_proto::gateway::v1::run_event::Event;
use sre_proto::gateway::v1::{ComponentLog, ContentChunk};
use sre_proto::llm::v1::generate_event::Event as Generated;
use sre_proto::llm::v1::inference_client::InferenceClient;
use sre_proto::llm::v1::{GenerateRequest, GenerateResponse, GenerateStreamRequest, Model};
use sre_proto::observability::v1::LogLevel;
use sre_service::{Link, Role};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use super::files;
use super::journal::records::{WaitKind, Waiting};
use super::questions::{self, About};
use super::scope::RunScope;
use super::usage;

mod memory;
mod published;
mod vectors;

/// A longer event of the ledger is none.
const MOST_USED_BYTES: usize = 4096;

/// The context of one activation.
pub struct ActivationContext {
    scope: Arc<RunScope>,
    key: ActivationKey,
    sleeps: AtomicU32,
    awaits: AtomicU32,
    questions: AtomicU32,
    /// What models said they used, for the ledger.
    used: Mutex<Vec<Bytes>>,
}

impl ActivationContext {
    /// The context of an activation of this run.
    pub fn new(scope: Arc<RunScope>, key: ActivationKey) -> Self {
        let counter = AtomicU32::default;
        Self {
            scope,
            key,
            sleeps: counter(),
            awaits: counter(),
            questions: counter(),
            used: Mutex::default(),
        }
    }

    /// The run.
    pub fn scope(&self) -> &Arc<RunScope> {
        &self.scope
    }

    /// The activation's name.
    pub fn key(&self) -> &ActivationKey {
        &self.key
    }

    /// Which wait for other runs comes next.
    pub fn next_await(&self) -> u32 {
        self.awaits.fetch_add(1, Ordering::Relaxed)
    }

    /// What models said they used so far.
    pub fn take_used(&self) -> Vec<Bytes> {
        std::mem::take(&mut *self.used.lock())
    }

    /// Keeps what a model says it used.
    fn use_up(&self, used: Bytes) {
        if !used.is_empty() && used.len() <= MOST_USED_BYTES {
            self.used.lock().push(used);
        }
    }

    /// Says in a request who asks.
    fn name(&self, request: &mut GenerateRequest) {
        if request.idempotency_key.is_empty() {
            request.idempotency_key = self.idempotency_key();
        }
        request.run_id.clone_from(&self.scope.id);
        request.step = self.key.to_string();
        request.conversation_id.clone_from(&self.scope.conversation);
    }

    async fn link(&self, role: Role) -> Result<Link, Status> {
        self.scope.authority.link(self.scope.engine.host.link(role), role).await
    }

    /// A call that ends with the run.
    fn call<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.scope.left());
        request
    }
}

#[async_trait]
impl Context for ActivationContext {
    fn agent(&self) -> &AgentInfo {
        self.scope.agent()
    }

    fn run_id(&self) -> &str {
        &self.scope.id
    }

    fn session_id(&self) -> &str {
        &self.scope.session_id
    }

    fn request(&self) -> &RequestInfo {
        self.scope.request()
    }

    fn idempotency_key(&self) -> String {
        self.key.idempotency_key(&self.scope.id)
    }

    fn deadline(&self) -> Instant {
        self.scope.deadline
    }

    fn cancelled(&self) -> CancellationToken {
        self.scope.cancel.token().clone()
    }

    async fn secret(&self, key: &str) -> Result<SecretText, ContextError> {
        match self.scope.secret(key).await? {
            Some(secret) => Ok(SecretText::new(key, secret.expose_secret().to_owned())),
            None => Err(ContextError::new(Failure::NotFound, format!("Vault key '{key}' not found"))),
        }
    }

    async fn generate(
        &self,
        mut request: GenerateRequest,
        on_chunk: &mut (dyn FnMut(Chunk) + Send),
    ) -> Result<GenerateResponse, ContextError> {
        self.name(&mut request);
        let mut client = InferenceClient::new(self.link(Role::Llm).await?);
        let call = self.call(GenerateStreamRequest { request: Some(request) });
        let mut events = client.generate_stream(call).await?.into_inner();
        while let Some(event) = events.message().await? {
            match event.event {
                Some(Generated::Text(text)) => on_chunk(Chunk::Text(text)),
                Some(Generated::Thinking(text)) => on_chunk(Chunk::Thinking(text)),
                Some(Generated::Finished(mut answer)) => {
                    self.use_up(std::mem::take(&mut answer.usage_event));
                    return Ok(answer);
                }
                // Calls come whole in the answer; who answers is in it, too.
                Some(Generated::ToolCall(_) | Generated::Fallback(_)) | None => {}
            }
        }
        Err(ContextError::new(Failure::Unavailable, "the model's answer broke off before its end"))
    }

    async fn model(&self, name: &str) -> Result<Model, ContextError> {
        let (link, scope) = (self.link(Role::Llm).await?, &self.scope);
        Ok(scope.engine.models.get(&scope.subject.version.agent, name, link, scope.left()).await?)
    }

    async fn execute_code(&self, request: ExecuteCodeRequest) -> Result<ExecuteCodeResponse, ContextError> {
        let mut client = CodeClient::new(self.link(Role::Compute).await?);
        let call = client.execute_code(self.call(request));
        // The sandbox ends what nobody waits for.
        let cancelled = self.cancelled();
        tokio::select! {
            done = call => Ok(done?.into_inner()),
            () = cancelled.cancelled() => Err(ContextError::new(Failure::Cancelled, "Agent killed")),
        }
    }

    fn calls(&self) -> &dyn sre_components::context::calls::Calls {
        self
    }

    fn command(&self, name: &str) -> Option<sre_components::context::commands::ListedCommand> {
        let mcp = &self.scope.engine.host.config().mcp;
        let listed = mcp.commands.get(name)?;
        let team = &self.scope.subject.version.agent.team;
        (listed.teams.is_empty() || listed.teams.contains(team)).then(|| {
            let environment = listed.env.iter().map(|(name, value)| (name.clone(), value.clone()));
            sre_components::context::commands::ListedCommand {
                program: listed.program.clone(),
                arguments: listed.args.clone(),
                environment: environment.collect(),
            }
        })
    }

    fn http(&self) -> &egress::Client {
        let agent = &self.scope.subject.version.agent;
        self.scope.engine.http.of(&agent.team, &agent.agent)
    }

    fn web(&self) -> &Places {
        &self.scope.engine.web
    }

    fn trace_parent(&self) -> String {
        self.scope.traceparent()
    }

    fn keep_secret(&self, name: &str, value: &str) {
        self.scope.keep_secret(name, value);
    }

    fn managed(&self) -> &dyn ManagedSecrets {
        self
    }

    fn links(&self) -> &dyn FileLinks {
        self
    }

    fn deployed_code(&self) -> &dyn DeployedCode {
        self
    }

    async fn store_temp(&self, binary: &Binary) -> Result<Value, ContextError> {
        let link = self.link(Role::Io).await?;
        Ok(files::store_temp(link, &self.scope.subject.version.agent, binary, self.scope.left()).await?)
    }

    async fn read_file(&self, uri: &str) -> Result<Binary, ContextError> {
        let name = files::name_of(uri, &self.scope.engine.host, &self.scope.subject.version.agent).await?;
        let read = files::read(self.link(Role::Io).await?, &name, self.scope.left()).await;
        read.map_err(|status| files::unreadable(status, &name, &self.scope.subject.version.agent))
    }

    async fn start_job(&self, component_id: &str, input: Map) -> Result<String, ContextError> {
        super::jobs::start(&self.scope, component_id, &self.idempotency_key(), input).await
    }

    async fn await_jobs(
        &self,
        ids: &[String],
        count: usize,
        max: Duration,
    ) -> Result<Vec<JobView>, ContextError> {
        let place = self.next_await();
        let wait = Box::pin(super::jobs::wait(&self.scope, &self.key, place, ids, count, max));
        self.scope.lend(wait).await
    }

    async fn sleep(&self, duration: Duration) {
        let place = self.sleeps.fetch_add(1, Ordering::Relaxed);
        let far = self.scope.engine.host.config().gateway.park_after();
        let cancelled = self.scope.cancel.token();
        let nap = async |duration| {
            tokio::select! {
                () = cancelled.cancelled() => {}
                () = tokio::time::sleep(duration) => {}
            }
        };
        if self.scope.waits.is_some() {
            self.scope.opened.cancelled().await;
        }
        match &self.scope.waits {
            Some(waits) if duration > far => {
                let clock = self.scope.engine.journal.clock();
                let wanted = Waiting {
                    kind: WaitKind::Sleep.into(),
                    until_ms: clock.now_ms() + super::launch::milliseconds(duration),
                    place,
                    ..Waiting::default()
                };
                let (waiting, _wait) = waits.begin(&self.key, wanted, None);
                self.scope.lend(nap(clock.until(waiting.until_ms))).await;
            }
            _ => self.scope.lend(nap(duration)).await,
        }
    }

    async fn approval(&self, question: Question) -> Result<Decision, ContextError> {
        let place = self.questions.fetch_add(1, Ordering::Relaxed);
        let asked = questions::ask(&self.scope, &self.key, About::Component(place), question);
        Ok(Box::pin(asked).await?.into())
    }

    fn models(&self) -> &dyn Models {
        self
    }

    fn memory(&self) -> &dyn Memory {
        self
    }

    fn documents(&self) -> &dyn Documents {
        self
    }

    fn files(&self) -> &dyn Files {
        self
    }

    fn vectors(&self) -> &dyn Vectors {
        self
    }

    fn charged(&self, charge: Charge) {
        let event = usage::charged(&self.scope, &self.key, charge);
        // With the activation's record too: whichever comes second counts nothing.
        self.use_up(usage::encoded(event.clone()));
        self.scope.engine.usage.report(event);
    }

    fn emit_content(&self, text: &str, content: Content) {
        self.scope.events.emit(|| {
            Event::Content(ContentChunk {
                component: self.key.component.to_string(),
                text: self.scope.redactor().presentable_text(text),
                thinking: content == Content::Thinking,
            })
        });
    }

    fn log(&self, level: tracing::Level, message: &str) {
        let message = self.scope.redactor().presentable_text(message);
        let of_log = match level {
            tracing::Level::ERROR => LogLevel::Error,
            tracing::Level::WARN => LogLevel::Warn,
            tracing::Level::INFO => LogLevel::Info,
            _ => LogLevel::Debug,
        };
        self.scope.engine.lines.write(&self.scope, &self.key.component, of_log, || message.clone());
        let (run, component) = (self.scope.id.as_str(), self.key.component.as_ref());
        match level {
            tracing::Level::ERROR => tracing::warn!(run, component, "{message}"),
            tracing::Level::WARN => tracing::info!(run, component, "{message}"),
            _ => tracing::debug!(run, component, "{message}"),
        }
        self.scope.events.emit(|| {
            Event::Log(ComponentLog {
                component: self.key.component.to_string(),
                level: level.as_str().to_lowercase(),
                message,
                ..ComponentLog::default()
            })
        });
    }
}
