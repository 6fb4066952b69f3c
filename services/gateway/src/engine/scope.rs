//! What the components of one run share: whose it is, what it may, how long it may take, and the secrets it
//! has resolved.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use sre_components::{AgentInfo, RequestInfo};
use sre_engine::{ActivationKey, EntryId, Outcome, RequestData, Secrets};
use sre_proto::error::{Reason, status};
use sre_proto::memory::v1::PendingSignal;
use sre_proto::observability::v1::LogLevel;
use sre_proto::security::v1::AccessSecretsRequest;
use sre_proto::security::v1::vault_client::VaultClient;
use sre_service::Role;
use sre_service::telemetry::spans::TraceParent;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::admission::Slot;
use super::authority::Authority;
use super::calls::lineage::Lineage;
use super::core::Engine;
use super::events::RunEvents;
use super::inbox::Inbox;
use super::live::{self, Cancel};
use super::names::AgentName;
use super::nesting::Nesting;
use super::plans::{Compiled, Version};
use super::redact::Redactor;
use super::steps;
use super::trace::{self, RunSpan};
use super::waits::Waits;

/// Keys that one call of the vault takes.
const KEYS_PER_CALL: usize = 100;

/// What a run is about.
#[derive(Clone)]
pub struct Subject {
    /// The version of the agent.
    pub version: Version,
    /// Its plan.
    pub compiled: Arc<Compiled>,
    /// Where the run starts.
    pub entry: EntryId,
    /// The root caller's SPIFFE id.
    pub root: Arc<str>,
}

/// What the components of one run share.
pub struct RunScope {
    /// The engine.
    pub engine: Engine,
    /// The run's id.
    pub id: String,
    /// What it is about.
    pub subject: Subject,
    /// What it answers.
    pub request: RequestData,
    infos: OnceLock<(AgentInfo, RequestInfo)>,
    /// The session, for components.
    pub session_id: String,
    /// When it must be over.
    pub deadline: Instant,
    /// How long it may take, for messages.
    pub time: Duration,
    /// Cancels it.
    pub cancel: Cancel,
    /// Its signals.
    pub inbox: Inbox,
    /// What it may do.
    pub authority: Authority,
    /// The grant that its journal keeps; none for a run without one.
    pub grant: Option<Arc<str>>,
    /// Its transient events.
    pub events: RunEvents,
    /// Its slot, where it holds one.
    pub slot: Option<Slot>,
    /// What its components wait for; none for a run without a journal, which waits in memory.
    pub waits: Option<Arc<Waits>>,
    /// Cancelled once the run is durable: what it waits for counts from then on.
    pub opened: CancellationToken,
    /// Its owner's epoch.
    pub epoch: i64,
    /// The conversation whose model called it; empty where none did.
    pub conversation: String,
    /// The calls it is nested in.
    pub lineage: Lineage,
    /// It and the runs that it was started from.
    pub nesting: Nesting,
    /// Its span; none unless spans are exported.
    pub span: Option<RunSpan>,
    traced: Option<TraceParent>,
    secrets: Mutex<RunSecrets>,
}

struct RunSecrets {
    redactor: Redactor,
    values: HashMap<String, SecretString>,
}

/// The parts of a [`RunScope`] that differ from run to run.
pub struct NewScope {
    /// The run's id.
    pub id: String,
    /// What it is about.
    pub subject: Subject,
    /// The number in its secret markers.
    pub marker: String,
    /// How long it may take in all.
    pub time: Duration,
    /// How much of that is left.
    pub left: Duration,
    /// What it may do.
    pub authority: Authority,
    /// The grant that its journal keeps.
    pub grant: Option<Arc<str>>,
    /// Cancels it.
    pub cancel: Cancel,
    /// Its signals.
    pub inbox: Inbox,
    /// Its transient events.
    pub events: RunEvents,
    /// Its slot.
    pub slot: Option<Slot>,
    /// What its components wait for.
    pub waits: Option<Arc<Waits>>,
    /// Cancelled once the run is durable.
    pub opened: CancellationToken,
    /// Its owner's epoch.
    pub epoch: i64,
    /// The conversation whose model called it; empty where none did.
    pub conversation: String,
    /// The calls it is nested in.
    pub lineage: Lineage,
    /// The runs that it was started from.
    pub above: Vec<String>,
    /// The context of whoever asked for it; none for a scope in which nothing runs.
    pub traced: Option<TraceParent>,
}

impl RunScope {
    /// The scope of a run that answers this request.
    pub fn new(engine: Engine, new: NewScope, request: &RequestData) -> Self {
        let session_id = match request.session_id.as_deref() {
            Some(session) if !session.is_empty() => format!("rt-{session}"),
            _ => format!("rt-{}", new.id),
        };
        let nesting = Nesting::of(&new.above, &new.subject.version.agent.team, &new.id);
        let span = new.traced.as_ref().and_then(|parent| trace::skill(&new, &session_id, parent));
        Self {
            engine,
            span,
            traced: new.traced,
            lineage: new.lineage,
            authority: new
                .authority
                .of_run(nesting.clone())
                .with_scopes(new.subject.compiled.scopes(new.subject.entry)),
            nesting,
            id: new.id,
            subject: new.subject,
            request: request.clone(),
            infos: OnceLock::new(),
            session_id,
            deadline: Instant::now() + new.left,
            time: new.time,
            cancel: new.cancel,
            inbox: new.inbox,
            grant: new.grant,
            events: new.events,
            slot: new.slot,
            waits: new.waits,
            opened: new.opened,
            epoch: new.epoch,
            conversation: new.conversation,
            secrets: Mutex::new(RunSecrets { redactor: Redactor::new(new.marker), values: HashMap::new() }),
        }
    }

    /// The context of what it calls: its span, or where there is none that of whoever asked for it.
    pub fn traceparent(&self) -> String {
        let own = self.span.as_ref().map(|span| span.context());
        own.as_ref().or(self.traced.as_ref()).map_or_else(String::new, |context| context.as_str().to_owned())
    }

    /// The agent, for components.
    pub fn agent(&self) -> &AgentInfo {
        &self.infos().0
    }

    /// The request, for components.
    pub fn request(&self) -> &RequestInfo {
        &self.infos().1
    }

    /// Made for the first component that asks: most skills have none.
    fn infos(&self) -> &(AgentInfo, RequestInfo) {
        self.infos.get_or_init(|| {
            let name: &AgentName = &self.subject.version.agent;
            let agent = AgentInfo {
                id: name.agent.clone(),
                name: name.to_string(),
                team: name.team.clone(),
                behavior: self.subject.compiled.plan.identity().behavior.clone(),
                variables: self.subject.compiled.variables.clone(),
            };
            let method = self.request.method.to_uppercase();
            let headers = self.request.headers.iter();
            let request = RequestInfo {
                method: if method.is_empty() { "POST".to_owned() } else { method },
                path: self.request.path.clone(),
                headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_text())).collect(),
            };
            (agent, request)
        })
    }

    /// What keeps the resolved secrets out of what is written.
    pub fn redactor(&self) -> Redactor {
        self.secrets.lock().redactor.clone()
    }

    /// A secret of the agent's team; none where the vault has no such key.
    pub async fn secret(&self, key: &str) -> Result<Option<SecretString>, Status> {
        self.learn(&[key]).await?;
        Ok(self.secrets.lock().values.get(key).cloned())
    }

    /// Remembers a secret that the vault of the team does not have, to keep it out of what is written.
    pub fn keep_secret(&self, name: &str, value: &str) {
        self.secrets.lock().redactor.learn(name, value);
    }

    /// The secrets that the agent's variables name.
    pub async fn variable_secrets(&self) -> Result<Secrets, Status> {
        let names = self.subject.compiled.plan.variable_secret_names();
        let mut secrets = Secrets::new();
        if names.is_empty() {
            return Ok(secrets);
        }
        self.learn(&names.iter().map(AsRef::as_ref).collect::<Vec<_>>()).await?;
        let known = self.secrets.lock();
        for name in &names {
            if let Some(value) = known.values.get(name.as_ref()) {
                secrets.insert(name.as_ref(), value.expose_secret());
            }
        }
        Ok(secrets)
    }

    /// Resolves secrets that are not known yet. Missing ones stay unknown.
    pub async fn learn(&self, keys: &[&str]) -> Result<(), Status> {
        let wanted: Vec<String> = {
            let known = self.secrets.lock();
            keys.iter().filter(|key| !known.values.contains_key(**key)).map(|key| (*key).to_owned()).collect()
        };
        for keys in wanted.chunks(KEYS_PER_CALL) {
            let link = self.authority.link(self.engine.host.link(Role::Security), Role::Security).await?;
            let parent = format!("teams/{}", self.subject.version.agent.team);
            let request = AccessSecretsRequest {
                parent: parent.clone(),
                keys: keys.to_vec(),
                ..AccessSecretsRequest::default()
            };
            let answer = VaultClient::new(link).access_secrets(request).await?.into_inner();
            let prefix = format!("{parent}/secrets/");
            let mut known = self.secrets.lock();
            for secret in answer.secrets {
                let key = secret.name.strip_prefix(&prefix).unwrap_or(&secret.name).to_owned();
                let value = String::from_utf8(secret.value.to_vec()).map_err(|_| {
                    status(
                        Code::FailedPrecondition,
                        Reason::InvalidArgument,
                        format!("vault key '{key}' is not text"),
                    )
                })?;
                known.redactor.learn(&key, &value);
                known.values.insert(key, value.into());
            }
        }
        Ok(())
    }

    /// Knows the secrets that another run of this agent knows, to keep them out of what this one writes.
    pub fn adopt_secrets(&self, redactor: &mut Redactor) {
        for (name, value) in &self.secrets.lock().values {
            redactor.learn(name, value.expose_secret());
        }
    }

    /// What failed is said in the agent's log.
    pub fn log_failure(&self, key: &ActivationKey, component_type: &str, outcome: &Outcome) {
        let Some(error) = outcome.output.as_ref().and_then(steps::error_of) else { return };
        self.engine.lines.write(self, &key.component, LogLevel::Error, || {
            let error = self.redactor().presentable_text(&error);
            format!("{component_type} ({key}) failed: {error}")
        });
    }

    /// A signal came, in another way than by the command stream.
    pub fn signal(&self, signal: PendingSignal) {
        live::deliver(&self.cancel, &self.inbox, signal);
    }

    /// Waits for something without holding the run's slot.
    pub async fn lend<T>(&self, wait: impl Future<Output = T>) -> T {
        match &self.slot {
            Some(slot) => slot.lend(wait).await,
            None => wait.await,
        }
    }

    /// The time that is left.
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}
