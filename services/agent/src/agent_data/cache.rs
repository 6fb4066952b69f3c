//! Agents and documents in memory: every run asks for them.

use std::sync::Arc;

use moka::sync::Cache as Memory;
use sre_identity::Acl;
use sre_store::sql::Database;

use super::{AgentRow, Aspect, VersionRow, no_version, table};
use crate::error::AgentError;

const MAX_AGENTS: u64 = 10_000;
const MAX_DOCUMENT_BYTES: u64 = 64 << 20;

/// An agent with its lists read.
#[derive(Debug)]
pub struct Known {
    /// The row.
    pub row: AgentRow,
    definition: Acl,
    skills: Acl,
}

impl Known {
    /// One of its access lists.
    pub fn acl(&self, aspect: Aspect) -> &Acl {
        match aspect {
            Aspect::Definition => &self.definition,
            Aspect::Skills => &self.skills,
        }
    }
}

/// A version with its document.
#[derive(Debug)]
pub struct Stored {
    /// The row.
    pub row: VersionRow,
    /// The document, byte for byte.
    pub document: bytes::Bytes,
}

/// What was read, and after how many commits.
#[derive(Clone)]
struct Read {
    commits: u64,
    agent: Option<Arc<Known>>,
}

/// The caches. Clones share them.
#[derive(Clone)]
pub(super) struct Cache {
    store: Database,
    agents: Memory<String, Read>,
    versions: Memory<(i64, String), Arc<Stored>>,
}

impl Cache {
    pub(super) fn new(store: Database) -> Self {
        let weigh = |_: &(i64, String), version: &Arc<Stored>| {
            u32::try_from(version.document.len() + 256).unwrap_or(u32::MAX)
        };
        Self {
            store,
            agents: Memory::new(MAX_AGENTS),
            versions: Memory::builder().weigher(weigh).max_capacity(MAX_DOCUMENT_BYTES).build(),
        }
    }

    /// An agent. What is in memory counts only while nothing was committed since it was read, so that an
    /// answer is never older than a change that was acknowledged.
    pub(super) async fn agent(&self, id: &str) -> Result<Option<Arc<Known>>, AgentError> {
        let commits = *self.store.watch().borrow();
        if let Some(read) = self.agents.get(id).filter(|read| read.commits == commits) {
            return Ok(read.agent);
        }
        let key = id.to_owned();
        let row = self.store.read(move |conn| table::agent(conn, &key)).await?;
        let agent = row.map(Known::try_from).transpose()?.map(Arc::new);
        self.agents.insert(id.to_owned(), Read { commits, agent: agent.clone() });
        Ok(agent)
    }

    /// A version. Its content never changes, and an agent's number is never used again.
    pub(super) async fn version(
        &self,
        agent: i64,
        id: &str,
        version: &str,
    ) -> Result<Arc<Stored>, AgentError> {
        let key = (agent, version.to_owned());
        if let Some(stored) = self.versions.get(&key) {
            return Ok(stored);
        }
        let wanted = version.to_owned();
        let found = self.store.read(move |conn| {
            let Some(row) = table::version(conn, agent, &wanted)? else { return Ok(None) };
            let document = table::document(conn, row.sequence)?.into();
            Ok(Some(Stored { row, document }))
        });
        let stored = Arc::new(found.await?.ok_or_else(|| no_version(id, version))?);
        self.versions.insert(key, Arc::clone(&stored));
        Ok(stored)
    }
}

impl TryFrom<AgentRow> for Known {
    type Error = AgentError;

    fn try_from(row: AgentRow) -> Result<Self, AgentError> {
        let read = |what, text: &str| {
            Acl::from_text(text).map_err(|error| AgentError::Damaged {
                agent: row.id.clone(),
                what,
                message: error.to_string(),
            })
        };
        let definition = read("access list of the definition", &row.acl_definition)?;
        let skills = read("access list of the skills", &row.acl_skills)?;
        Ok(Self { row, definition, skills })
    }
}
