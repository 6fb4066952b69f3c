//! One place where a component is served: a channel that stays, whether it is well, and how many work there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::Mutex;
use sre_components::external::{Declaration, MAX_DESCRIPTION_BYTES, digest};
use sre_proto::component::v1::DescribeRequest;
use sre_proto::component::v1::component_client::ComponentClient;
use sre_service::connectors::grpc::with_causes;
use sre_service::dial::{self, Channel, Place, Proof};
use sre_service::{Host, task};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// How often its health is asked for, and how long the answer may take.
const CHECK_EVERY: Duration = Duration::from_secs(5);
const CHECK_TIME: Duration = Duration::from_secs(3);
/// How long it may take to say what it is.
const DESCRIBE_TIME: Duration = Duration::from_secs(5);
/// After so many failures in a row nothing is sent there for a while, which doubles up to the longest.
const FAILURES: u32 = 5;
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// An endpoint that nobody used for so long is let go.
const IDLE: Duration = Duration::from_secs(600);
const MOST_ENDPOINTS: u64 = 10_000;

/// Address, identity, type and declaration.
type Known = Cache<(String, String, &'static str, String), Arc<Endpoint>>;

/// All endpoints that were used lately. Clones share them.
#[derive(Clone)]
pub struct Endpoints {
    host: Host,
    known: Known,
}

impl Endpoints {
    /// None yet.
    pub fn new(host: Host) -> Self {
        Self { host, known: Cache::builder().max_capacity(MOST_ENDPOINTS).time_to_idle(IDLE).build() }
    }

    /// The endpoint at an address, as it was before or new.
    pub fn get(&self, address: &str, identity: &str, declared: &'static Declaration) -> Arc<Endpoint> {
        let key = (address.to_owned(), identity.to_owned(), declared.name(), declared.digest.clone());
        self.known.get_with(key, || {
            let endpoint = Arc::new(Endpoint::new(&self.host, address, identity, declared));
            task::spawn("component health", watch(Arc::downgrade(&endpoint), self.known.clone()));
            endpoint
        })
    }
}

/// One place where a component is served.
#[derive(Debug)]
pub struct Endpoint {
    address: String,
    declared: &'static Declaration,
    /// None where the configuration does not let a component be there; the text says why.
    channel: Result<Channel, String>,
    slots: Arc<Semaphore>,
    width: usize,
    /// Counts connections that are made and that end: whoever is behind a new one is asked what it is.
    connections: Arc<AtomicU64>,
    /// The connection whose server said that it is what was registered.
    verified: AtomicU64,
    verifying: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    rest: Option<Duration>,
    rests_until: Option<Instant>,
    /// What its health said last, where that was not that it serves.
    sick: Option<String>,
}

/// A connection that was not made: nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotConnected(std::io::Error);

impl Endpoint {
    fn new(host: &Host, address: &str, identity: &str, declared: &'static Declaration) -> Self {
        let width = host.config().components.max_concurrency;
        let width = declared.bounds.concurrency.map_or(width, |own| own.min(width));
        let connections = Arc::new(AtomicU64::new(0));
        let channel =
            channel(host, address, identity, connections.clone()).map_err(|error| format!("{error:#}"));
        Self {
            address: address.to_owned(),
            declared,
            channel,
            slots: Arc::new(Semaphore::new(width)),
            width,
            connections,
            verified: AtomicU64::new(0),
            verifying: tokio::sync::Mutex::new(()),
            state: Mutex::default(),
        }
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How many work there.
    pub fn in_flight(&self) -> usize {
        self.width - self.slots.available_permits()
    }

    /// Why nothing should be sent there now; nothing where it is well.
    pub fn problem(&self) -> Option<String> {
        if let Err(problem) = &self.channel {
            return Some(problem.clone());
        }
        self.resting().or_else(|| self.state.lock().sick.clone())
    }

    /// Why nothing is sent there now, whatever else there is: it failed again and again, and its time is not over.
    pub fn resting(&self) -> Option<String> {
        let state = self.state.lock();
        let rests = state.rests_until.is_some_and(|until| Instant::now() < until);
        rests.then(|| format!("it failed {} times in a row and is left alone for a while", state.failures))
    }

    /// A place to work there, once one is free.
    pub async fn enter(&self) -> Result<OwnedSemaphorePermit, String> {
        self.slots.clone().acquire_owned().await.map_err(|_| "it is closed".to_owned())
    }

    /// A client, once the server behind the connection has said that it is what was registered.
    ///
    /// # Errors
    /// If it cannot be reached, or is something else.
    pub async fn client(&self) -> Result<ComponentClient<Channel>, String> {
        let channel = self.channel.as_ref().map_err(Clone::clone)?;
        let client = ComponentClient::new(channel.clone());
        if self.is_verified() {
            return Ok(client);
        }
        let _one_at_a_time = self.verifying.lock().await;
        if self.is_verified() {
            return Ok(client);
        }
        let before = self.connections.load(Ordering::Acquire);
        let mut asking = client.clone().max_decoding_message_size(MAX_DESCRIPTION_BYTES + 4096);
        let mut request = Request::new(DescribeRequest {});
        request.set_timeout(DESCRIBE_TIME);
        let answer = tokio::time::timeout(DESCRIBE_TIME, asking.describe(request)).await;
        let answer = answer.map_err(|_| "it does not say in time what it is".to_owned())?;
        let described = answer.map_err(|status| with_causes(&status))?.into_inner();
        if digest(&described) != self.declared.digest {
            return Err(format!(
                "it serves {} {} and describes it otherwise than was registered as {} {}: register what it serves",
                described.r#type,
                described.version,
                self.declared.name(),
                self.declared.version
            ));
        }
        let after = self.connections.load(Ordering::Acquire);
        // One connection may have been made for the question.
        if after > before + 1 {
            return Err("its connection broke while it was asked what it is".to_owned());
        }
        self.verified.store(after, Ordering::Release);
        Ok(client)
    }

    fn is_verified(&self) -> bool {
        let verified = self.verified.load(Ordering::Acquire);
        verified > 0 && verified == self.connections.load(Ordering::Acquire)
    }

    /// Something came back.
    pub fn succeeded(&self) {
        let mut state = self.state.lock();
        state.failures = 0;
        state.rest = None;
        state.rests_until = None;
    }

    /// It could not be reached, or broke off.
    pub fn failed(&self) {
        let mut state = self.state.lock();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES {
            let rest = state.rest.map_or(FIRST_REST, |rest| (rest * 2).min(LONGEST_REST));
            state.rest = Some(rest);
            state.rests_until = Some(Instant::now() + rest);
        }
    }

    async fn check(&self) {
        let Ok(channel) = &self.channel else { return };
        let mut request = Request::new(HealthCheckRequest { service: String::new() });
        request.set_timeout(CHECK_TIME);
        let mut client = HealthClient::new(channel.clone());
        let answer = tokio::time::timeout(CHECK_TIME, client.check(request)).await;
        let sick = match answer {
            Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving => None,
            Ok(Ok(answer)) => Some(format!("its health says {}", answer.get_ref().status().as_str_name())),
            // Whether it can be reached is seen by whoever sends something there.
            Ok(Err(status)) if status.code() == Code::Unimplemented => Some("it serves no health".to_owned()),
            Ok(Err(status)) => Some(with_causes(&status)),
            Err(_) => Some("its health does not answer".to_owned()),
        };
        let is_well = sick.is_none();
        let changed =
            std::mem::replace(&mut self.state.lock().sick, sick.clone()).is_some() != sick.is_some();
        if is_well {
            // What was broken is tried again at once.
            self.succeeded();
        }
        if changed {
            let (address, kind) = (&self.address, self.declared.name());
            match sick {
                Some(why) => tracing::warn!(address, kind, why, "a component is not well"),
                None => tracing::info!(address, kind, "a component is well again"),
            }
        }
    }
}

/// Asks for its health until nobody uses it any more.
async fn watch(endpoint: std::sync::Weak<Endpoint>, known: Known) {
    loop {
        tokio::time::sleep(CHECK_EVERY).await;
        // Those that are idle go when the cache is looked after, and nobody else may do that now.
        known.run_pending_tasks();
        let Some(endpoint) = endpoint.upgrade() else { return };
        endpoint.check().await;
    }
}

fn channel(
    host: &Host,
    address: &str,
    identity: &str,
    connections: Arc<AtomicU64>,
) -> anyhow::Result<Channel> {
    let is_fixed =
        host.config().components.fixed.iter().any(|fixed| fixed.endpoints.iter().any(|it| it == address));
    let place = match is_fixed {
        true => Place::parse_or_loopback(address)?,
        false => dial::component_place(host.config(), address, identity)?,
    };
    let service = match &place {
        Place::Tcp { .. } => dial::component_identity(identity)?,
        _ => "",
    };
    let proof = Proof::service(&place, host.identity(), service)?;
    Ok(dial::channel_by(move || {
        let (place, proof, connections) = (place.clone(), proof.clone(), connections.clone());
        async move {
            let dialled = tokio::time::timeout(dial::CONNECT, dial::dial(place, proof)).await;
            let dialled = dialled.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
            let wire = dialled.map_err(NotConnected)?;
            connections.fetch_add(1, Ordering::AcqRel);
            // Its end counts too, so that nothing is sent to whoever is there next before it has said what it is.
            let wire = dial::watched(wire, move || {
                connections.fetch_add(1, Ordering::AcqRel);
            });
            Ok::<_, NotConnected>(wire)
        }
    }))
}

/// Whether a call failed before anything was sent.
pub fn never_connected(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(inner) = cause {
        if inner.is::<NotConnected>() {
            return true;
        }
        cause = inner.source();
    }
    false
}
