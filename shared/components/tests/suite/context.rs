//! A context in which everything is in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use sre_components::context::code::DeployedCode;
use sre_components::context::documents::{Document, Documents};
use sre_components::context::links::FileLinks;
use sre_components::context::managed::ManagedSecrets;
use sre_components::context::web::{Places, Scraper};
use sre_components::egress::{Client, Limits, Policy};
use sre_components::vectors::Vectors;
use sre_components::{
    AgentInfo, Charge, Chunk, Content, Context, ContextError, Decision, Failure, Files, JobStatus, JobView,
    Memory, Models, Question, RequestInfo, SecretText,
};
use sre_engine::{Binary, Map, RequestData, Value};
use sre_proto::compute::v1::{ExecuteCodeRequest, ExecuteCodeResponse};
use sre_proto::llm::v1::{GenerateRequest, GenerateResponse, Model};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::driver::Agent;
use super::llm;
use super::rag_double::Namespace;
use super::world::{self, Deployed, Doors, Vault};

/// What the runs of a test share.
pub struct Suite {
    pub vault: BTreeMap<String, String>,
    pub http: Client,
    pub files: Mutex<BTreeMap<String, Binary>>,
    pub jobs: Mutex<HashMap<String, watch::Receiver<Option<Value>>>>,
    pub requests: Mutex<Vec<GenerateRequest>>,
    pub content: Mutex<String>,
    pub slept: Mutex<Vec<Duration>>,
    /// What people were asked, and what they say to the next questions.
    pub asked: Mutex<Vec<Question>>,
    /// What is outside.
    pub places: Mutex<Places>,
    pub managed: Vault,
    pub doors: Doors,
    pub deployed: Deployed,
    /// Secrets that components said are none of the team's vault.
    pub kept: Mutex<Vec<String>>,
    /// What services charged.
    pub charged: Mutex<Vec<Charge>>,
    /// What components logged.
    pub logged: Mutex<Vec<String>>,
    pub decisions: Mutex<Vec<Decision>>,
    /// What models do and saw.
    pub scene: llm::Scene,
    /// Cancels every run.
    pub cancelled: CancellationToken,
    /// What was called, and what the next calls come to.
    pub calls: super::calls::Scripted,
    /// Programs that the operator listed.
    pub commands: Mutex<BTreeMap<String, sre_components::context::commands::ListedCommand>>,
    /// The next run's id and session.
    pub run: Mutex<(String, String)>,
    /// What is remembered, with how long it lives.
    pub memory: Mutex<BTreeMap<String, (Bytes, Duration)>>,
    /// What was published, with how long it lives.
    pub published: Mutex<BTreeMap<String, (Binary, Duration)>>,
    /// Texts by namespace, and the model of each.
    pub vectors: Mutex<BTreeMap<String, Namespace>>,
    /// Services that answer nothing.
    pub hangs: AtomicBool,
    job_serial: AtomicUsize,
    tasks: Mutex<tokio::task::JoinSet<()>>,
}

impl Suite {
    pub fn new(allow: &[String]) -> Arc<Self> {
        let vault = [("my-key", "Hello vault"), ("openai", "sk-local-dummy"), ("mock", "sk-local-dummy")];
        Self::with_vault(allow, &vault)
    }

    pub fn with_vault(allow: &[String], vault: &[(&str, &str)]) -> Arc<Self> {
        let http = Client::new(Policy::new(allow).unwrap(), Limits::default()).unwrap();
        Self::with_client(http, vault)
    }

    pub fn with_client(http: Client, vault: &[(&str, &str)]) -> Arc<Self> {
        let vault = vault.iter().map(|(key, secret)| ((*key).to_owned(), (*secret).to_owned()));
        // What the agent of `lone` names.
        let named = [("my-key".to_owned(), "Hello vault".to_owned())];
        Arc::new(Self {
            vault: named.into_iter().chain(vault).collect(),
            http,
            files: Mutex::default(),
            jobs: Mutex::default(),
            requests: Mutex::default(),
            content: Mutex::default(),
            slept: Mutex::default(),
            asked: Mutex::default(),
            places: Mutex::new(world::places("http://127.0.0.1:9", Scraper::Auto)),
            managed: Vault::default(),
            doors: Doors::default(),
            deployed: Deployed::default(),
            kept: Mutex::default(),
            charged: Mutex::default(),
            logged: Mutex::default(),
            decisions: Mutex::default(),
            scene: llm::Scene::default(),
            cancelled: CancellationToken::new(),
            calls: super::calls::Scripted::default(),
            commands: Mutex::default(),
            run: Mutex::new(("run".into(), "session".into())),
            memory: Mutex::default(),
            published: Mutex::default(),
            vectors: Mutex::default(),
            hangs: AtomicBool::new(false),
            job_serial: AtomicUsize::new(1),
            tasks: Mutex::default(),
        })
    }
}

/// One activation's way out.
pub struct TestContext {
    pub agent: Agent,
    info: AgentInfo,
    request: RequestInfo,
    run: (String, String),
    places: Places,
}

impl TestContext {
    pub fn new(agent: Agent) -> Self {
        let id = agent.plan.identity().id.clone().unwrap_or_default();
        let info = AgentInfo {
            name: format!("teams/default/agents/{id}"),
            id,
            team: "default".into(),
            behavior: agent.plan.identity().behavior.clone(),
            variables: agent.variables.clone(),
        };
        let run = agent.suite.run.lock().clone();
        let places = agent.suite.places.lock().clone();
        Self { agent, info, request: RequestInfo::default(), run, places }
    }

    /// What the runs of the test share.
    pub fn suite(&self) -> &Suite {
        &self.agent.suite
    }

    /// Somebody cancels the run.
    pub fn cancel(&self) {
        self.agent.suite.cancelled.cancel();
    }
}

#[async_trait]
impl Context for TestContext {
    fn agent(&self) -> &AgentInfo {
        &self.info
    }

    fn run_id(&self) -> &str {
        &self.run.0
    }

    fn session_id(&self) -> &str {
        &self.run.1
    }

    fn request(&self) -> &RequestInfo {
        &self.request
    }

    fn idempotency_key(&self) -> String {
        "key".into()
    }

    fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    fn cancelled(&self) -> CancellationToken {
        self.agent.suite.cancelled.clone()
    }

    async fn secret(&self, key: &str) -> Result<SecretText, ContextError> {
        let secret = self.agent.suite.vault.get(key);
        let missing = || ContextError::new(Failure::NotFound, format!("Vault key '{key}' not found"));
        secret.map(|text| SecretText::new(key, text.clone())).ok_or_else(missing)
    }

    async fn generate(
        &self,
        request: GenerateRequest,
        on_chunk: &mut (dyn FnMut(Chunk) + Send),
    ) -> Result<GenerateResponse, ContextError> {
        self.generated(&request, on_chunk)
    }

    async fn model(&self, name: &str) -> Result<Model, ContextError> {
        llm::model(name)
    }

    async fn execute_code(&self, request: ExecuteCodeRequest) -> Result<ExecuteCodeResponse, ContextError> {
        tokio::select! {
            done = super::sandbox::execute(request) => done,
            () = self.agent.suite.cancelled.cancelled() => {
                Err(ContextError::new(Failure::Cancelled, "Agent killed"))
            }
        }
    }

    fn calls(&self) -> &dyn sre_components::context::calls::Calls {
        &self.agent.suite.calls
    }

    fn command(&self, name: &str) -> Option<sre_components::context::commands::ListedCommand> {
        self.agent.suite.commands.lock().get(name).cloned()
    }

    fn http(&self) -> &Client {
        &self.agent.suite.http
    }

    fn web(&self) -> &Places {
        &self.places
    }

    fn trace_parent(&self) -> String {
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()
    }

    fn keep_secret(&self, _: &str, value: &str) {
        self.agent.suite.kept.lock().push(value.into());
    }

    fn managed(&self) -> &dyn ManagedSecrets {
        &self.agent.suite.managed
    }

    fn links(&self) -> &dyn FileLinks {
        &self.agent.suite.doors
    }

    fn deployed_code(&self) -> &dyn DeployedCode {
        &self.agent.suite.deployed
    }

    async fn store_temp(&self, binary: &Binary) -> Result<Value, ContextError> {
        let url = format!("smythfs://default.team/{}/_temp/{}", self.info.id, binary.name);
        self.agent.suite.files.lock().insert(url.clone(), binary.clone());
        let mut file = binary.members();
        file.insert("url".into(), Value::from(url));
        Ok(Value::object(file))
    }

    async fn read_file(&self, uri: &str) -> Result<Binary, ContextError> {
        let file = self.agent.suite.files.lock().get(uri).cloned();
        file.ok_or_else(|| ContextError::new(Failure::Denied, "Access Denied"))
    }

    async fn start_job(&self, component_id: &str, input: Map) -> Result<String, ContextError> {
        let suite = &self.agent.suite;
        let id = format!("{component_id}-JOB{}", suite.job_serial.fetch_add(1, Ordering::SeqCst));
        let entry = self.agent.plan.fork(component_id).unwrap();
        let (done, seen) = watch::channel(None);
        suite.jobs.lock().insert(id.clone(), seen);
        let (agent, job_id) = (self.agent.clone(), id.clone());
        suite.tasks.lock().spawn(async move {
            let answer = Box::pin(agent.run(entry, RequestData::default(), job_id, input)).await;
            done.send_replace(Some(Value::from(answer)));
        });
        Ok(id)
    }

    async fn await_jobs(
        &self,
        ids: &[String],
        count: usize,
        max: Duration,
    ) -> Result<Vec<JobView>, ContextError> {
        let known = |id: &String| self.agent.suite.jobs.lock().get(id).cloned();
        let until = Instant::now() + max;
        loop {
            let jobs: Vec<_> = ids.iter().map(|id| (id.clone(), known(id))).collect();
            let views: Vec<JobView> = jobs.iter().map(|(id, job)| view(id, job.as_ref())).collect();
            let pending = views.iter().filter(|job| job.status == JobStatus::Pending).count();
            if pending == 0 || views.len() - pending >= count {
                return Ok(views);
            }
            let waits = jobs.into_iter().filter_map(|(_, job)| job).filter(|job| job.borrow().is_none());
            let waits = waits.map(|mut job| Box::pin(async move { job.changed().await.ok() }));
            tokio::select! {
                _ = futures::future::select_all(waits) => {}
                () = tokio::time::sleep_until(until) => return Ok(views),
            }
        }
    }

    async fn sleep(&self, duration: Duration) {
        self.agent.suite.slept.lock().push(duration);
        let _ = tokio::time::timeout(duration, self.cancelled().cancelled()).await;
    }

    async fn approval(&self, question: Question) -> Result<Decision, ContextError> {
        self.agent.suite.asked.lock().push(question);
        let said = self.agent.suite.decisions.lock().pop();
        said.ok_or_else(|| ContextError::new(Failure::Unavailable, "nobody is there to ask"))
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
        self.agent.suite.charged.lock().push(charge);
    }

    fn emit_content(&self, text: &str, content: Content) {
        if content == Content::Answer {
            self.agent.suite.content.lock().push_str(text);
        }
    }

    fn log(&self, _level: tracing::Level, message: &str) {
        self.agent.suite.logged.lock().push(message.into());
    }
}

impl TestContext {
    pub async fn answer(&self) {
        if self.agent.suite.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Memory for TestContext {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, ContextError> {
        self.answer().await;
        Ok(self.agent.suite.memory.lock().get(key).map(|(value, _)| value.clone()))
    }

    async fn set(&self, key: &str, value: Bytes, time_to_live: Duration) -> Result<(), ContextError> {
        self.answer().await;
        self.agent.suite.memory.lock().insert(key.to_owned(), (value, time_to_live));
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<bool, ContextError> {
        self.answer().await;
        Ok(self.agent.suite.memory.lock().remove(key).is_some())
    }
}

#[async_trait]
impl Documents for TestContext {
    async fn read(&self, key: &str) -> Result<Option<Document>, ContextError> {
        let documents = self.suite().scene.documents.lock();
        let found =
            documents.get(key).filter(|(_, _, end)| end.is_none_or(|end| Instant::now() < end)).cloned();
        Ok(found.map(|(document, version, _)| Document { value: document, version: version.to_string() }))
    }

    async fn replace(
        &self,
        key: &str,
        value: Bytes,
        replaces: Option<&str>,
        time_to_live: Option<Duration>,
    ) -> Result<bool, ContextError> {
        let now = Documents::read(self, key).await?.map(|document| document.version);
        if now.as_deref() != replaces {
            return Ok(false);
        }
        let version = now.and_then(|version| version.parse::<u64>().ok()).unwrap_or(0) + 1;
        let end = time_to_live.map(|time| Instant::now() + time);
        self.suite().scene.documents.lock().insert(key.to_owned(), (value, version, end));
        Ok(true)
    }
}

#[async_trait]
impl Files for TestContext {
    async fn publish(&self, path: &str, binary: &Binary, time: Duration) -> Result<String, ContextError> {
        self.answer().await;
        let mut published = self.agent.suite.published.lock();
        published.insert(path.to_owned(), (binary.clone(), time));
        Ok(format!("http://files.test/r/{}", published.len()))
    }
}

fn view(id: &str, job: Option<&watch::Receiver<Option<Value>>>) -> JobView {
    let output = job.and_then(|job| job.borrow().clone());
    let status = match (job, &output) {
        (None, _) => JobStatus::Unknown,
        (_, None) => JobStatus::Pending,
        (_, Some(_)) => JobStatus::Done,
    };
    JobView { id: id.to_owned(), status, output }
}
