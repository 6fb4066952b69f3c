//! The open instances of one service.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use sre_proto::error::with_metadata;
use sre_proto::types::v1::Reason;
use tonic::{Code, Status};

use super::plan::{Planned, plan};
use super::table::Record;
use super::{Connector, Kind, Opening, Unhealthy};
use crate::config::Config;
use crate::host::Host;

/// How long opening one instance may take.
pub(super) const OPEN_DEADLINE: Duration = Duration::from_secs(60);
/// How often an optional instance that could not be opened is tried again.
const REOPEN: Duration = Duration::from_secs(30);

/// How long opening all configured instances may take.
pub(crate) fn time_to_open(config: &Config) -> Duration {
    let entries: usize =
        config.connectors.services().map(|service| config.connectors.of(service).len()).sum();
    OPEN_DEADLINE.saturating_mul(u32::try_from(entries).unwrap_or(u32::MAX))
}

/// The instances of one service, by id, with exactly one default. Clones share them.
pub struct Instances<C: ?Sized> {
    inner: Arc<Inner<C>>,
}

struct Inner<C: ?Sized> {
    service: &'static str,
    default: Instance<C>,
    by_id: HashMap<String, Arc<Slot<C>>>,
}

/// An instance that is open, or an optional one that may be later.
struct Slot<C: ?Sized> {
    record: Arc<Record>,
    open: OnceLock<Instance<C>>,
}

/// An open instance: its connector, and the id it is known by.
pub struct Instance<C: ?Sized> {
    id: Arc<str>,
    connector: Arc<C>,
}

impl<C: Connector + ?Sized> Instances<C> {
    /// Opens what the configuration names, in order, 60 s each; `built_in` where it names none.
    ///
    /// One that cannot be opened is an error, and the process that starts closes the others; where it is
    /// optional, the service starts without it and tries again every 30 s.
    pub async fn open(
        host: &Host,
        service: &'static str,
        kinds: &'static [Kind<C>],
        built_in: &str,
    ) -> anyhow::Result<Self> {
        let mut default = None;
        let mut by_id = HashMap::new();
        let planned: Vec<Planned<C>> = plan(host.config(), service, kinds, built_in)
            .into_iter()
            .map(|(id, planned)| planned.with_context(|| format!("connector {service}/{id}")))
            .collect::<anyhow::Result<_>>()?;
        for planned in planned {
            let (id, is_default) = (planned.id.clone(), planned.is_default);
            let slot = open_slot(host, service, planned).await?;
            if is_default {
                default = slot.open.get().cloned();
            }
            by_id.insert(id, slot);
        }
        let default = default.with_context(|| {
            format!("{service} has no default connector that is open: the default cannot be optional")
        })?;
        Ok(Self { inner: Arc::new(Inner { service, default, by_id }) })
    }

    /// Instances that a test has opened itself; the first is the default.
    pub fn of(service: &'static str, instances: Vec<(&str, Arc<C>)>) -> anyhow::Result<Self> {
        let mut by_id = HashMap::new();
        let mut default = None;
        for (id, connector) in instances {
            let record = Record::new(crate::Role::Io, service, id, "test", default.is_none(), false);
            let slot = Slot { record: Arc::new(record), open: OnceLock::new() };
            let open = slot.opened(connector);
            default.get_or_insert(open);
            by_id.insert(id.to_owned(), Arc::new(slot));
        }
        let default = default.with_context(|| format!("{service} has no instance"))?;
        Ok(Self { inner: Arc::new(Inner { service, default, by_id }) })
    }

    /// The default instance.
    pub fn default(&self) -> Instance<C> {
        self.inner.default.clone()
    }

    /// The instance of an id that a request names; empty: the default.
    pub fn get(&self, id: &str) -> Result<Instance<C>, NoInstance> {
        if id.is_empty() {
            return Ok(self.default());
        }
        let no = |cause| NoInstance { service: self.inner.service, id: shortened(id), cause };
        let slot = self.inner.by_id.get(id).ok_or_else(|| no(Cause::Unknown))?;
        slot.open.get().cloned().ok_or_else(|| no(Cause::NotOpen))
    }

    /// All instances that are open, by id: what a sweeper goes over.
    pub fn all(&self) -> Vec<Instance<C>> {
        let mut open: Vec<_> =
            self.inner.by_id.values().filter_map(|slot| slot.open.get().cloned()).collect();
        open.sort_by(|a, b| a.id.cmp(&b.id));
        open
    }
}

async fn open_slot<C: Connector + ?Sized>(
    host: &Host,
    service: &'static str,
    planned: Planned<C>,
) -> anyhow::Result<Arc<Slot<C>>> {
    let Planned { kind, id, settings, is_default, is_optional } = planned;
    let record = Record::new(host.role(), service, &id, kind.name, is_default, is_optional);
    let record = host.connectors().add(record);
    let slot = Arc::new(Slot { record, open: OnceLock::new() });
    let opening = Opening {
        id: id.clone(),
        settings,
        data_dir: host.data_dir().to_owned(),
        config: Arc::clone(host.config()),
        host: Some(host.clone()),
    };
    match open_one(kind, opening.clone()).await {
        Ok(connector) => {
            slot.opened(connector);
            host.connectors().changed();
        }
        Err(error) => {
            slot.record.failed(format!("{error:#}"));
            if !is_optional {
                return Err(
                    error.context(format!("connector {service}/{id} ({}) cannot be opened", kind.name))
                );
            }
            tracing::warn!(service, id, error = format!("{error:#}"), "an optional connector is not open");
            host.spawn("open a connector", reopen(host.clone(), kind, opening, Arc::clone(&slot)));
        }
    }
    Ok(slot)
}

pub(super) async fn open_one<C: ?Sized>(kind: &Kind<C>, opening: Opening) -> anyhow::Result<Arc<C>> {
    match tokio::time::timeout(OPEN_DEADLINE, (kind.open)(opening)).await {
        Ok(opened) => opened,
        Err(_) => anyhow::bail!("did not open within {} s", OPEN_DEADLINE.as_secs()),
    }
}

async fn reopen<C: Connector + ?Sized>(
    host: Host,
    kind: &'static Kind<C>,
    opening: Opening,
    slot: Arc<Slot<C>>,
) {
    loop {
        tokio::time::sleep(REOPEN).await;
        match open_one(kind, opening.clone()).await {
            Ok(connector) => {
                slot.opened(connector);
                host.connectors().changed();
                tracing::info!(id = opening.id, "an optional connector is open now");
                return;
            }
            Err(error) => slot.record.failed(format!("{error:#}")),
        }
    }
}

impl<C: Connector + ?Sized> Slot<C> {
    fn opened(&self, connector: Arc<C>) -> Instance<C> {
        self.record.opened(Arc::new(Plain(Arc::clone(&connector))));
        let instance = Instance { id: Arc::from(self.record.id()), connector };
        self.open.get_or_init(|| instance).clone()
    }
}

/// A connector without its service's trait.
pub(super) struct Plain<C: ?Sized>(pub(super) Arc<C>);

#[async_trait]
impl<C: Connector + ?Sized> Connector for Plain<C> {
    async fn check(&self) -> Result<(), Unhealthy> {
        self.0.check().await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

impl<C: ?Sized> Instance<C> {
    /// The id that the configuration gives it.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl<C: ?Sized> Deref for Instance<C> {
    type Target = Arc<C>;

    fn deref(&self) -> &Arc<C> {
        &self.connector
    }
}

impl<C: ?Sized> Clone for Instance<C> {
    fn clone(&self) -> Self {
        Self { id: Arc::clone(&self.id), connector: Arc::clone(&self.connector) }
    }
}

impl<C: ?Sized> Clone for Instances<C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<C: ?Sized> fmt::Debug for Instance<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Instance").field(&self.id).finish()
    }
}

impl<C: ?Sized> fmt::Debug for Instances<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ids: Vec<&String> = self.inner.by_id.keys().collect();
        ids.sort();
        f.debug_struct("Instances").field("service", &self.inner.service).field("ids", &ids).finish()
    }
}

/// There is no such instance, or it is not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoInstance {
    service: &'static str,
    id: String,
    cause: Cause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Unknown,
    NotOpen,
}

impl fmt::Display for NoInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, id, cause } = self;
        match cause {
            Cause::Unknown => write!(
                f,
                "{service} has no instance {id:?}: name one that is configured, or none for the default"
            ),
            Cause::NotOpen => write!(f, "instance {id:?} of {service} cannot be reached: try again later"),
        }
    }
}

impl std::error::Error for NoInstance {}

impl NoInstance {
    /// Code and reason: an unknown one is the caller's or the operator's to mend, one that is not open may
    /// come back by itself.
    pub fn code_and_reason(&self) -> (Code, Reason) {
        match self.cause {
            Cause::Unknown => (Code::FailedPrecondition, Reason::InstanceUnknown),
            Cause::NotOpen => (Code::Unavailable, Reason::BackendUnavailable),
        }
    }
}

impl From<NoInstance> for Status {
    fn from(error: NoInstance) -> Self {
        let (code, reason) = error.code_and_reason();
        let metadata = [("service", error.service.to_owned()), ("instance", error.id.clone())];
        with_metadata(code, reason, error.to_string(), metadata)
    }
}

/// What a caller wrote, short enough for a message.
fn shortened(id: &str) -> String {
    id.chars().take(64).collect()
}
