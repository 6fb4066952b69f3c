//! What is called: the binary over TLS, or the roles inside this process over links.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

use bytes::Bytes;
use sre_proto::MethodPolicy;
use sre_service::testing::TestSuite;
use sre_service::{Link, Role};
use tonic::Status;
use tonic::transport::Channel;

use super::painter::Painter;
use crate::harness::{Suite, raw};

/// Who calls: a principal's certificate, and a delegation token where it acts for somebody.
#[derive(Debug, Clone)]
pub struct Who {
    pub principal: String,
    pub token: Option<String>,
}

impl Who {
    /// A principal for itself.
    pub fn is(principal: impl Into<String>) -> Self {
        Self { principal: principal.into(), token: None }
    }

    /// A principal that presents a token.
    pub fn presents(principal: impl Into<String>, token: String) -> Self {
        Self { principal: principal.into(), token: Some(token) }
    }
}

/// A running suite.
pub enum Target {
    /// The binary; connections by principal and role.
    Binary { suite: Box<Suite>, channels: Mutex<HashMap<(String, Role), Channel>>, database: Option<String> },
    /// Every role in this process; links by principal and role.
    InProcess { suite: Box<TestSuite>, links: Mutex<HashMap<(String, Role), Link>> },
}

impl Target {
    pub fn binary(suite: Suite) -> Self {
        Self::Binary { suite: Box::new(suite), channels: Mutex::default(), database: None }
    }

    /// The binary with its state in a database.
    pub fn binary_over(suite: Suite, database: &str) -> Self {
        Self::Binary {
            suite: Box::new(suite),
            channels: Mutex::default(),
            database: Some(database.to_owned()),
        }
    }

    /// The database that holds the state, where it is not in files.
    pub fn database(&self) -> Option<&str> {
        match self {
            Self::Binary { database, .. } => database.as_deref(),
            Self::InProcess { .. } => None,
        }
    }

    /// Starts every role in this process, without any socket.
    pub async fn in_process(painter: &Painter) -> Self {
        let builder = Role::ALL.into_iter().fold(TestSuite::builder(), |builder, role| match role {
            Role::Edge => builder.role(role, sre_gateway::edge::start),
            Role::Engine => builder.role(role, sre_gateway::engine::start),
            Role::Agent => builder.role(role, sre_agent::start),
            Role::Memory => builder.role(role, sre_memory::start),
            Role::Llm => builder.role(role, sre_llm::start),
            Role::Io => builder.role(role, sre_io::start),
            Role::Security => builder.role(role, sre_security::start),
            Role::Compute => builder.role(role, sre_compute::start),
            Role::Observability => builder.role(role, sre_observability::start),
        });
        let models = painter.models();
        let admins = vec!["user/dev".to_owned(), "user/root".to_owned()];
        let builder = builder.config(|config| {
            config.security.deployment_admins = admins;
            config.models.path = Some(models);
            config.journal.sweep_interval_ms = 3_600_000;
            // The sandbox's process is the suite's program, which this one is not.
            config.compute.worker = Some(crate::harness::process::binary());
            // Without a socket there is no door; links are made for another.
            config.files.base_url = Some("https://files.example.com".to_owned());
        });
        let suite = builder.build().await.unwrap();
        // The security service issues certificates by the authority of this folder.
        suite.authority().save(&suite.data_dir().join("certs")).unwrap();
        Self::InProcess { suite: Box::new(suite), links: Mutex::default() }
    }

    pub fn data_dir(&self) -> &Path {
        match self {
            Self::Binary { suite, .. } => suite.folder(),
            Self::InProcess { suite, .. } => suite.data_dir(),
        }
    }

    /// Calls a method at a role with these bytes.
    pub async fn call(
        &self,
        who: &Who,
        to: Role,
        row: &MethodPolicy,
        messages: &[Bytes],
    ) -> Result<Vec<Bytes>, Status> {
        let (key, token) = ((who.principal.clone(), to), who.token.as_deref());
        match self {
            Self::Binary { suite, channels, .. } => {
                let open = || suite.channel(&who.principal, to.name());
                let channel = channels.lock().unwrap().entry(key).or_insert_with(open).clone();
                raw::call(channel, row, messages, token).await
            }
            Self::InProcess { suite, links } => {
                let link = links
                    .lock()
                    .unwrap()
                    .entry(key)
                    .or_insert_with(|| suite.link_as(&who.principal, to))
                    .clone();
                raw::call(link, row, messages, token).await
            }
        }
    }

    pub async fn stop(self) {
        match self {
            Self::Binary { suite, channels, .. } => {
                drop(channels);
                suite.stop().await;
            }
            Self::InProcess { suite, links } => {
                drop(links);
                assert!(suite.stop().await, "work in flight was cut");
            }
        }
    }
}
