//! Definitions of agents: immutable versions named by their content, and what points at them.

mod access;
mod cache;
#[cfg(test)]
mod conformance_tests;
pub mod document;
mod message;
mod name;
mod openapi;
mod proto_file;
mod registration;
mod rescue;
mod service;
#[cfg(test)]
mod service_tests;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use sre_store::StoreError;
use sre_store::sql::Connection;
use sre_store::sql::Database;

pub(crate) use access::replacement;
pub use cache::{Known, Stored};
pub use name::{AgentName, OWN_TEAM, parse_team};
pub use registration::{AccountRegistry, Registry};
pub use service::AgentDataService;
pub use table::{AgentRow, VersionRow};

use crate::clock::{self, Millis};
use crate::error::AgentError;
use cache::Cache;

/// How long a request id is remembered.
const REQUEST_TIME: Duration = Duration::from_secs(24 * 3600);
/// How many digits of the digest name a version, unless another content has the same ones.
const VERSION_DIGITS: usize = 16;
const SWEEP_BATCH: u32 = 50;

/// Writes the audit record of a change in the change's own transaction.
pub type Record = Box<dyn FnOnce(&Connection<'_>) -> Result<(), StoreError> + Send>;

/// Which of an agent's lists is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aspect {
    /// Its definition.
    Definition,
    /// Its skills.
    Skills,
}

/// Which version is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The latest.
    Latest,
    /// The deployed one.
    Deployed,
    /// The deployed one, or the latest where none is.
    Current,
    /// This one.
    Exactly(String),
}

/// A document on its way into a version.
#[derive(Debug, Clone)]
pub struct Content {
    /// The document, byte for byte.
    pub document: bytes::Bytes,
    /// What it calls the agent.
    pub display_name: String,
    /// Who brings it.
    pub creator: String,
}

/// An agent to be created.
#[derive(Debug, Clone)]
pub struct Creation {
    /// Its id.
    pub id: String,
    /// Its home team.
    pub team: String,
    /// Its first version.
    pub content: Content,
    /// Who may do what with its definition.
    pub acl_definition: String,
    /// Who may do what with its skills.
    pub acl_skills: String,
    /// Makes it idempotent, where not empty.
    pub request_id: String,
}

/// All agents.
#[derive(Clone)]
pub struct Agents {
    store: Database,
    cache: Cache,
    registry: Arc<dyn Registry>,
    /// One registration at a time, so that a deletion and a creation of one id cannot cross at Account.
    registrations: Arc<tokio::sync::Semaphore>,
    max_versions: u32,
}

impl Agents {
    /// Agents in a store, each with so many versions; those that are pointed at stay besides.
    pub fn new(store: Database, registry: Arc<dyn Registry>, max_versions: u32) -> Self {
        let cache = Cache::new(store.clone());
        let registrations = Arc::new(tokio::sync::Semaphore::new(1));
        Self { store, cache, registry, registrations, max_versions }
    }

    /// An agent by its name. One of that id in another team is not it.
    pub async fn find(&self, name: &AgentName) -> Result<Option<Arc<Known>>, AgentError> {
        Ok(self.find_anywhere(&name.id).await?.filter(|agent| agent.row.team == name.team))
    }

    /// An agent by its id, in whatever team.
    pub async fn find_anywhere(&self, id: &str) -> Result<Option<Arc<Known>>, AgentError> {
        self.cache.agent(id).await
    }

    /// Some agents of a team by id, after `after`.
    pub async fn list(&self, team: &str, after: &str, limit: u32) -> Result<Vec<Known>, AgentError> {
        let (team, after) = (team.to_owned(), after.to_owned());
        let rows = self.store.read(move |conn| table::agents_of(conn, &team, &after, limit)).await?;
        rows.into_iter().map(Known::try_from).collect()
    }

    /// A version with its document.
    pub async fn version(&self, agent: &AgentRow, which: Which) -> Result<Arc<Stored>, AgentError> {
        let version = match which {
            Which::Latest => agent.latest.clone(),
            Which::Current => agent.deployed.clone().unwrap_or_else(|| agent.latest.clone()),
            Which::Deployed => {
                let none = || AgentError::NotFound(format!("a deployed version of agent {}", agent.id));
                agent.deployed.clone().ok_or_else(none)?
            }
            Which::Exactly(version) => version,
        };
        self.cache.version(agent.number, &agent.id, &version).await
    }

    /// Some versions, newest first, older than `before`.
    pub async fn versions(
        &self,
        agent: &AgentRow,
        before: i64,
        limit: u32,
    ) -> Result<Vec<VersionRow>, AgentError> {
        let number = agent.number;
        Ok(self.store.read(move |conn| table::versions(conn, number, before, limit)).await?)
    }

    /// Makes a version of new content and points `latest` at it. Content that the agent had before is that
    /// version again, and no new row.
    pub async fn update(
        &self,
        agent: &AgentRow,
        etag: &str,
        content: Content,
        record: Record,
    ) -> Result<AgentRow, AgentError> {
        let (etag, keep) = (etag.to_owned(), self.max_versions);
        self.change(agent, Aspect::Definition, record, move |tx, row| {
            if !etag.is_empty() && etag != row.latest {
                return Err(AgentError::OtherVersion("the etag"));
            }
            row.display_name.clone_from(&content.display_name);
            let now = clock::now();
            let version = put_version(tx, row.number, content, now)?;
            if version != row.latest {
                row.latest = version;
                row.updated_ms = now;
            }
            table::prune_versions(tx, row, keep)?;
            Ok(())
        })
        .await
    }

    /// Points `deployed` at a version.
    pub async fn deploy(
        &self,
        agent: &AgentRow,
        version: &str,
        record: Record,
    ) -> Result<AgentRow, AgentError> {
        let version = version.to_owned();
        self.change(agent, Aspect::Definition, record, move |tx, row| {
            let version = if version.is_empty() { row.latest.clone() } else { version };
            if table::version(tx, row.number, &version)?.is_none() {
                return Err(no_version(&row.id, &version));
            }
            row.deployed = Some(version);
            Ok(())
        })
        .await
    }

    /// Replaces an access list.
    pub async fn set_acl(
        &self,
        agent: &AgentRow,
        aspect: Aspect,
        acl: String,
        record: Record,
    ) -> Result<AgentRow, AgentError> {
        self.change(agent, aspect, record, move |_, row| {
            match aspect {
                Aspect::Definition => row.acl_definition = acl,
                Aspect::Skills => row.acl_skills = acl,
            }
            Ok(())
        })
        .await
    }

    /// Changes an agent's row, if the list that the right to do so was decided on is still the same: so there
    /// is no moment between check and act (H33).
    async fn change(
        &self,
        agent: &AgentRow,
        decided_on: Aspect,
        record: Record,
        change: impl FnOnce(&Connection<'_>, &mut AgentRow) -> Result<(), AgentError> + Send + 'static,
    ) -> Result<AgentRow, AgentError> {
        let before = agent.clone();
        self.store
            .try_write(move |tx| {
                let mut row = still(tx, &before, decided_on)?;
                change(tx, &mut row)?;
                table::update_agent(tx, &row)?;
                record(tx)?;
                Ok(row)
            })
            .await
    }

    /// Removes versions of agents that are gone.
    pub async fn sweep(&self) -> Result<(), AgentError> {
        while self.store.write(|tx| table::sweep_dropped(tx, SWEEP_BATCH)).await? {}
        Ok(())
    }
}

impl AgentRow {
    /// One of its access lists.
    pub fn acl(&self, aspect: Aspect) -> &str {
        match aspect {
            Aspect::Definition => &self.acl_definition,
            Aspect::Skills => &self.acl_skills,
        }
    }

    /// Its full name.
    pub fn name(&self) -> String {
        format!("teams/{}/agents/{}", self.team, self.id)
    }
}

/// The row as it is now, if the decision still stands on its list.
fn still(tx: &Connection<'_>, before: &AgentRow, decided_on: Aspect) -> Result<AgentRow, AgentError> {
    let row = table::agent_by_number(tx, before.number)?.ok_or(AgentError::AclChanged)?;
    if row.acl(decided_on) == before.acl(decided_on) { Ok(row) } else { Err(AgentError::AclChanged) }
}

/// Finds or makes the version of some content; gives its id.
fn put_version(tx: &Connection<'_>, agent: i64, content: Content, now: Millis) -> Result<String, AgentError> {
    let digest = document::digest(&content.document);
    let digits = digest.trim_start_matches("b3:");
    // Whoever makes two contents with the same first digits gets the longer name for the second.
    for version in [&digits[..VERSION_DIGITS], digits] {
        match table::version(tx, agent, version)? {
            Some(there) if there.digest == digest => return Ok(there.version),
            Some(_) => {}
            None => {
                let row = VersionRow {
                    sequence: 0,
                    version: version.to_owned(),
                    digest: digest.clone(),
                    creator: content.creator,
                    created_ms: now,
                };
                table::insert_version(tx, agent, &row, &content.document)?;
                return Ok(row.version);
            }
        }
    }
    Err(StoreError::backend("two contents have one digest").into())
}

fn no_version(agent: &str, version: &str) -> AgentError {
    AgentError::NotFound(format!("version {version} of agent {agent}"))
}
