//! Agents at Account: every agent is a member of its home team there, and nobody else is.
//!
//! Two stores cannot change in one transaction, so a note goes first: an id that Account may know and we do not
//! have. The creation's transaction removes it; what a crash leaves is unregistered later.

use std::time::Duration;

use async_trait::async_trait;
use sre_proto::security::v1::account_client::AccountClient;
use sre_proto::security::v1::{RegisterAgentRequest, UnregisterAgentRequest};
use sre_service::Link;
use sre_store::sql::Connection;
use tonic::{Code, Request, Status};

use super::document::digest;
use super::{AgentRow, Agents, Aspect, Creation, REQUEST_TIME, Record, put_version, still, table};
use crate::clock;
use crate::error::AgentError;

const DEADLINE: Duration = Duration::from_secs(5);
const SWEEP_BATCH: u32 = 100;

/// Account, as far as agents are concerned.
#[async_trait]
pub trait Registry: Send + Sync {
    /// Makes an agent a member of its home team. Idempotent; refuses an agent that has another.
    async fn register(&self, agent: &str, team: &str) -> Result<(), Status>;

    /// Removes an agent. Idempotent.
    async fn unregister(&self, agent: &str) -> Result<(), Status>;
}

/// The Account service.
#[derive(Debug, Clone)]
pub struct AccountRegistry {
    security: Link,
}

impl AccountRegistry {
    /// Over a link to the role that serves Account.
    pub fn new(security: Link) -> Self {
        Self { security }
    }
}

#[async_trait]
impl Registry for AccountRegistry {
    async fn register(&self, agent: &str, team: &str) -> Result<(), Status> {
        let message = RegisterAgentRequest { agent: agent.to_owned(), team: team.to_owned() };
        let mut request = Request::new(message);
        request.set_timeout(DEADLINE);
        AccountClient::new(self.security.clone()).register_agent(request).await.map(|_| ())
    }

    async fn unregister(&self, agent: &str) -> Result<(), Status> {
        let mut request = Request::new(UnregisterAgentRequest { agent: agent.to_owned() });
        request.set_timeout(DEADLINE);
        match AccountClient::new(self.security.clone()).unregister_agent(request).await {
            Err(status) if status.code() != Code::NotFound => Err(status),
            _ => Ok(()),
        }
    }
}

/// Of all replicas, one registers or unregisters at a time.
const REGISTRATION: &str = "registration";

/// What came of a creation.
#[derive(Debug)]
pub enum Created {
    /// The agent is new.
    New(AgentRow),
    /// The same request made it before.
    Before(AgentRow),
}

/// Why a creation or deletion failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// For a reason of our own.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// Account refused or cannot be reached.
    #[error("account: {0}")]
    Account(Status),
}

impl From<sre_store::StoreError> for RegistrationError {
    fn from(error: sre_store::StoreError) -> Self {
        Self::Agent(error.into())
    }
}

impl Agents {
    /// Creates an agent and makes it a member of its team.
    pub async fn create(&self, creation: Creation, record: Record) -> Result<Created, RegistrationError> {
        let _one_at_a_time = self.registrations.acquire().await;
        let turn = self.store.turn(REGISTRATION).await?;
        let created = self.create_in_turn(creation, record).await;
        turn.end().await;
        created
    }

    async fn create_in_turn(&self, creation: Creation, record: Record) -> Result<Created, RegistrationError> {
        if let Some(row) = self.created_before(&creation).await? {
            return Ok(Created::Before(row));
        }
        let (id, team) = (creation.id.clone(), creation.team.clone());
        let dangles = self
            .store
            .try_write(move |tx| {
                if table::agent(tx, &id)?.is_some() {
                    return Err(AgentError::Exists(id));
                }
                let dangles = table::has_registration(tx, &id)?;
                table::note_registration(tx, &id, &team, clock::now())?;
                Ok(dangles)
            })
            .await?;
        if dangles {
            // Account may still have it in the team it was in before.
            self.registry.unregister(&creation.id).await.map_err(RegistrationError::Account)?;
        }
        if let Err(status) = self.registry.register(&creation.id, &creation.team).await {
            if matches!(status.code(), Code::AlreadyExists | Code::FailedPrecondition) {
                // It was never ours to remove.
                let id = creation.id.clone();
                self.store.write(move |tx| table::clear_registration(tx, &id)).await?;
                return Err(AgentError::Exists(creation.id).into());
            }
            return Err(RegistrationError::Account(status));
        }
        let row = self.store.try_write(move |tx| insert(tx, creation, record)).await?;
        Ok(Created::New(row))
    }

    /// Deletes an agent with all its versions.
    pub async fn delete(&self, agent: &AgentRow, record: Record) -> Result<(), RegistrationError> {
        let _one_at_a_time = self.registrations.acquire().await;
        let turn = self.store.turn(REGISTRATION).await?;
        let deleted = self.delete_in_turn(agent, record).await;
        turn.end().await;
        deleted
    }

    async fn delete_in_turn(&self, agent: &AgentRow, record: Record) -> Result<(), RegistrationError> {
        let before = agent.clone();
        self.store
            .try_write(move |tx| {
                let row = still(tx, &before, Aspect::Definition)?;
                table::note_registration(tx, &row.id, &row.team, clock::now())?;
                table::drop_agent(tx, row.number)?;
                Ok::<_, AgentError>(record(tx)?)
            })
            .await?;
        // The agent is gone; that Account has not heard of it yet is no failure of the deletion.
        if let Err(error) = self.unregister(&agent.id).await {
            tracing::info!(agent = agent.id, %error, "the agent is unregistered later");
        }
        Ok(())
    }

    /// Unregisters what creations and deletions left behind.
    pub async fn settle_registrations(&self) -> Result<(), RegistrationError> {
        let _one_at_a_time = self.registrations.acquire().await;
        let turn = self.store.turn(REGISTRATION).await?;
        let settled = self.settle_in_turn().await;
        turn.end().await;
        settled
    }

    async fn settle_in_turn(&self) -> Result<(), RegistrationError> {
        for agent in self.store.read(|conn| table::dangling(conn, SWEEP_BATCH)).await? {
            self.unregister(&agent).await?;
        }
        Ok(())
    }

    async fn unregister(&self, agent: &str) -> Result<(), RegistrationError> {
        self.registry.unregister(agent).await.map_err(RegistrationError::Account)?;
        let agent = agent.to_owned();
        Ok(self.store.write(move |tx| table::clear_registration(tx, &agent)).await?)
    }

    async fn created_before(&self, creation: &Creation) -> Result<Option<AgentRow>, AgentError> {
        if creation.request_id.is_empty() {
            return Ok(None);
        }
        let (caller, request_id) = (creation.content.creator.clone(), creation.request_id.clone());
        let wanted = request_digest(creation);
        self.store
            .try_read(move |conn| {
                let Some((digest, number)) = table::creation(conn, &caller, &request_id, oldest())? else {
                    return Ok(None);
                };
                if digest != wanted {
                    return Err(AgentError::RequestReused(request_id));
                }
                Ok(table::agent_by_number(conn, number)?)
            })
            .await
    }
}

fn insert(tx: &Connection<'_>, creation: Creation, record: Record) -> Result<AgentRow, AgentError> {
    let now = clock::now();
    let digest = request_digest(&creation);
    let (creator, request_id) = (creation.content.creator.clone(), creation.request_id.clone());
    let mut row = AgentRow {
        number: 0,
        id: creation.id,
        team: creation.team,
        display_name: creation.content.display_name.clone(),
        latest: String::new(),
        deployed: None,
        acl_definition: creation.acl_definition,
        acl_skills: creation.acl_skills,
        creator: creator.clone(),
        created_ms: now,
        updated_ms: now,
    };
    row.number = table::insert_agent(tx, &row)?;
    row.latest = put_version(tx, row.number, creation.content, now)?;
    table::update_agent(tx, &row)?;
    table::clear_registration(tx, &row.id)?;
    if !request_id.is_empty() {
        table::note_creation(tx, &creator, &request_id, &digest, row.number, now, oldest())?;
    }
    record(tx)?;
    Ok(row)
}

fn request_digest(creation: &Creation) -> String {
    let content = digest(&creation.content.document);
    digest(format!("{}/{}/{content}", creation.team, creation.id).as_bytes())
}

fn oldest() -> clock::Millis {
    clock::now() - clock::Millis::try_from(REQUEST_TIME.as_millis()).unwrap_or(clock::Millis::MAX)
}
