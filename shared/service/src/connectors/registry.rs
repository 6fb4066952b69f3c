//! The kinds of a service, known without the service running: what validates and lists them.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::instances::{Instances, Plain, open_one};
use super::plan::{Planned, plan};
use super::table::{CLOSE_DEADLINE, checked};
use super::{Connector, Kind, Opening};
use crate::config::Config;
use crate::host::Host;
use crate::role::Role;

/// The kinds that one service knows: a static of its crate.
#[derive(Debug)]
pub struct Registry<C: ?Sized + 'static> {
    /// The role that runs the service.
    pub role: Role,
    /// The service's name in the configuration, `storage`.
    pub service: &'static str,
    /// Its kinds, one line each.
    pub kinds: &'static [Kind<C>],
    /// The kind that is opened where the configuration names none.
    pub built_in: &'static str,
}

impl<C: Connector + ?Sized> Registry<C> {
    /// Opens what the configuration names: [`Instances::open`].
    pub async fn open(&self, host: &Host) -> anyhow::Result<Instances<C>> {
        Instances::open(host, self.service, self.kinds, self.built_in).await
    }
}

/// What was found out about one configured instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The service.
    pub service: &'static str,
    /// The instance's id.
    pub id: String,
    /// Its connector: our name, or what is written where there is none of that name.
    pub connector: String,
    /// Whether it is the default.
    pub is_default: bool,
    /// What is wrong, and what to do; none where nothing is.
    pub problem: Option<String>,
    /// Whether it can be opened only inside its service, and was not.
    pub needs_service: bool,
}

/// A registry of any service.
pub trait Backends: Send + Sync {
    /// The role that runs the service.
    fn role(&self) -> Role;

    /// The service's name in the configuration.
    fn service(&self) -> &'static str;

    /// The kinds it knows.
    fn kinds(&self) -> Vec<&'static str>;

    /// Checks every configured instance's connector and settings, without opening any.
    fn check(&self, config: &Arc<Config>) -> Vec<Finding>;

    /// Opens every configured instance, or the one of this id, probes it and closes it again.
    fn probe(&self, config: &Arc<Config>, id: Option<&str>) -> BoxFuture<'static, Vec<Finding>>;
}

impl<C: Connector + ?Sized> Backends for Registry<C> {
    fn role(&self) -> Role {
        self.role
    }

    fn service(&self) -> &'static str {
        self.service
    }

    fn kinds(&self) -> Vec<&'static str> {
        self.kinds.iter().map(|kind| kind.name).collect()
    }

    fn check(&self, config: &Arc<Config>) -> Vec<Finding> {
        let planned = plan(config, self.service, self.kinds, self.built_in);
        let findings = planned.into_iter().map(|(id, planned)| match planned {
            Err(error) => unknown(self.service, config, id, &error),
            Ok(planned) => {
                let wrong = (planned.kind.check)(&opening(config, &planned));
                finding(self.service, &planned, wrong)
            }
        });
        findings.collect()
    }

    fn probe(&self, config: &Arc<Config>, id: Option<&str>) -> BoxFuture<'static, Vec<Finding>> {
        let service = self.service;
        let mut planned = plan(config, service, self.kinds, self.built_in);
        planned.retain(|(known, _)| id.is_none_or(|id| id == known));
        let config = Arc::clone(config);
        Box::pin(async move {
            let mut findings = Vec::new();
            for (id, planned) in planned {
                findings.push(match planned {
                    Err(error) => unknown(service, &config, id, &error),
                    Ok(planned) => {
                        let outcome = open_and_probe(&planned, opening(&config, &planned)).await;
                        finding(service, &planned, outcome)
                    }
                });
            }
            findings
        })
    }
}

async fn open_and_probe<C: Connector + ?Sized>(planned: &Planned<C>, opening: Opening) -> anyhow::Result<()> {
    (planned.kind.check)(&opening)?;
    let connector = Plain(open_one(planned.kind, opening).await?);
    let outcome = checked(&connector).await;
    // What is not closed in time ends with this process, which is a command.
    drop(tokio::time::timeout(CLOSE_DEADLINE, connector.close()).await);
    Ok(outcome?)
}

fn opening<C: ?Sized>(config: &Arc<Config>, planned: &Planned<C>) -> Opening {
    Opening {
        id: planned.id.clone(),
        settings: planned.settings.clone(),
        data_dir: config.data_dir.clone(),
        config: Arc::clone(config),
        host: None,
    }
}

fn finding<C: ?Sized>(service: &'static str, planned: &Planned<C>, outcome: anyhow::Result<()>) -> Finding {
    let needs_service = outcome.as_ref().err().is_some_and(|error| error.is::<super::NeedsService>());
    Finding {
        service,
        id: planned.id.clone(),
        connector: planned.kind.name.to_owned(),
        is_default: planned.is_default,
        problem: outcome.err().map(|error| format!("{error:#}")),
        needs_service,
    }
}

fn unknown(service: &'static str, config: &Config, id: String, error: &anyhow::Error) -> Finding {
    let entry = config.connectors.of(service).iter().find(|entry| entry.id() == id);
    Finding {
        service,
        connector: entry.map(|entry| entry.connector.clone()).unwrap_or_default(),
        is_default: config.connectors.default_of(service).is_some_and(|entry| entry.id() == id),
        id,
        problem: Some(format!("{error:#}")),
        needs_service: false,
    }
}
