//! Code that is kept: what happens to its rows, each change with the decision that allows it and its record.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sre_identity::Acl;
use sre_sandbox::Limits;
use sre_sandbox::contract::Outline;
use sre_sandbox::protocol::Program;
use sre_service::Granted;
use sre_store::StoreError;
use sre_store::sql::{Connection, Database};

use super::name::{CodeName, DeploymentName};
use super::table::{self, CodeRow, DeploymentRow, RevisionRow};
use crate::clock;
use crate::error::CodeError;

/// The most pieces of code of an agent, revisions of one that no deployment runs, and deployments of one.
const MOST_CODES: u32 = 1_000;
const MOST_REVISIONS: u32 = 50;
const MOST_DEPLOYMENTS: u32 = 50;
/// How exactly it is known when a deployment was last run.
const USE_STEP_MS: i64 = 60_000;

/// How a deployment runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    /// What a call may take that states no limits.
    pub limits: Limits,
    /// Hosts that it reaches.
    pub http_hosts: Vec<String>,
    /// Where it runs: the id of an instance; empty: the sandbox.
    #[serde(default)]
    pub instance: String,
}

/// The list that a decision was made on; none where there was no code of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Basis(Option<String>);

/// A piece of code as it was found, with its list.
#[derive(Debug, Clone)]
pub(super) struct Found {
    row: Option<CodeRow>,
    acl: Option<Acl>,
}

impl Found {
    /// Its list.
    pub(super) fn acl(&self) -> Option<&Acl> {
        self.acl.as_ref()
    }

    /// What a decision on it rests on.
    pub(super) fn basis(&self) -> Basis {
        Basis(self.row.as_ref().map(|row| row.acl.clone()))
    }
}

/// What is kept. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Codes {
    store: Database,
}

impl Codes {
    /// Over this store.
    pub(super) fn new(store: Database) -> Self {
        Self { store }
    }

    /// A piece of code, whether it is there or not.
    pub(super) async fn find(&self, name: &CodeName) -> Result<Found, CodeError> {
        let name = name.clone();
        let row = self.store.look_up(move |conn| table::find(conn, &name)).await?;
        let acl = row.as_ref().map(|row| stored_acl(&row.acl)).transpose()?;
        Ok(Found { row, acl })
    }

    /// Keeps a source that was looked at. `acl_when_new` is the list of code that is not there yet.
    pub(super) async fn prepare(
        &self,
        name: CodeName,
        basis: Basis,
        acl_when_new: String,
        (program, outline): (Program, Outline),
        granted: Granted,
    ) -> Result<(String, RevisionRow), CodeError> {
        let now = clock::now();
        let row = RevisionRow {
            revision: hex::encode(digest(&program)),
            outline: serde_json::to_string(&outline).map_err(|error| CodeError::Failed(error.to_string()))?,
            created_ms: now,
        };
        let work = move |tx: &Connection<'_>| {
            let known = checked(tx, &name, &basis)?;
            let code = match known {
                Some(known) => known.id,
                None => {
                    if table::count(tx, &name)? >= MOST_CODES {
                        let what = format!("agent {}", name.owner.agent);
                        return Err(CodeError::TooMany { what, most: MOST_CODES, of: "pieces of code" });
                    }
                    table::create(tx, &name, &acl_when_new, now)?
                }
            };
            let kept = match table::revision(tx, code, &row.revision)? {
                Some(kept) => kept,
                None => {
                    table::insert_revision(tx, code, &row, &program)?;
                    table::prune_revisions(tx, code, MOST_REVISIONS)?;
                    row
                }
            };
            granted.record(tx)?;
            Ok((name.to_string(), kept))
        };
        self.store.try_write(work).await
    }

    /// Makes a revision ready to run.
    pub(super) async fn deploy(
        &self,
        name: CodeName,
        basis: Basis,
        revision: String,
        settings: Settings,
        granted: Granted,
    ) -> Result<(DeploymentName, DeploymentRow), CodeError> {
        let now = clock::now();
        let settings =
            serde_json::to_string(&settings).map_err(|error| CodeError::Failed(error.to_string()))?;
        let work = move |tx: &Connection<'_>| {
            let missing = || CodeError::NotFound(format!("{name}/revisions/{revision}"));
            let code = checked(tx, &name, &basis)?.ok_or_else(missing)?.id;
            if table::revision(tx, code, &revision)?.is_none() {
                return Err(missing());
            }
            let id = deployment_of(&name, &revision).deployment;
            let known = table::deployment(tx, code, &id)?;
            if known.is_none() && table::count_deployments(tx, code)? >= MOST_DEPLOYMENTS {
                let most = MOST_DEPLOYMENTS;
                return Err(CodeError::TooMany { what: name.to_string(), most, of: "deployments" });
            }
            let row = DeploymentRow {
                deployment: id.clone(),
                revision,
                settings,
                created_ms: known.as_ref().map_or(now, |known| known.created_ms),
                updated_ms: now,
                used_ms: known.and_then(|known| known.used_ms),
            };
            table::put_deployment(tx, code, &row)?;
            granted.record(tx)?;
            Ok((DeploymentName { code: name, deployment: id }, row))
        };
        self.store.try_write(work).await
    }

    /// A deployment.
    pub(super) async fn deployment(&self, name: &DeploymentName) -> Result<DeploymentRow, CodeError> {
        let name = name.clone();
        let row = self.store.look_up(move |conn| match table::find(conn, &name.code)? {
            Some(code) => Ok(table::deployment(conn, code.id, &name.deployment)?.ok_or(name)),
            None => Ok(Err(name)),
        });
        row.await?.map_err(|name| CodeError::NotFound(name.to_string()))
    }

    /// A deployment with the source that it runs; that it was run is noted.
    pub(super) async fn to_run(&self, name: &DeploymentName) -> Result<(DeploymentRow, Program), CodeError> {
        let wanted = name.clone();
        let found = self.store.read(move |conn| {
            let Some(code) = table::find(conn, &wanted.code)? else { return Ok(None) };
            let Some(row) = table::deployment(conn, code.id, &wanted.deployment)? else { return Ok(None) };
            Ok(table::program(conn, code.id, &row.revision)?.map(|program| (code.id, row, program)))
        });
        let missing = || CodeError::NotFound(name.to_string());
        let (code, row, program) = found.await?.ok_or_else(missing)?;
        let now = clock::now();
        if row.used_ms.is_none_or(|used| now - used >= USE_STEP_MS) {
            let id = row.deployment.clone();
            self.store.write(move |tx| table::used(tx, code, &id, now)).await?;
        }
        Ok((row, program))
    }

    /// What a revision runs, and what it looks like from outside.
    pub(super) async fn revision(
        &self,
        name: &CodeName,
        revision: &str,
    ) -> Result<(Program, Outline), CodeError> {
        let (wanted, id) = (name.clone(), revision.to_owned());
        let found = self.store.read(move |conn| {
            let Some(code) = table::find(conn, &wanted)? else { return Ok(None) };
            let Some(row) = table::revision(conn, code.id, &id)? else { return Ok(None) };
            Ok(table::program(conn, code.id, &id)?.map(|program| (program, row.outline)))
        });
        let missing = || CodeError::NotFound(format!("{name}/revisions/{revision}"));
        let (program, outline) = found.await?.ok_or_else(missing)?;
        let outline = serde_json::from_str(&outline).map_err(|error| CodeError::Failed(error.to_string()))?;
        Ok((program, outline))
    }

    /// Some deployments by id, after this one.
    pub(super) async fn deployments(
        &self,
        name: CodeName,
        after: String,
        most: u32,
    ) -> Result<Vec<DeploymentRow>, CodeError> {
        let rows = self.store.read(move |conn| match table::find(conn, &name)? {
            Some(code) => table::deployments(conn, code.id, &after, most),
            None => Ok(Vec::new()),
        });
        Ok(rows.await?)
    }

    /// Deletes a deployment.
    pub(super) async fn delete(
        &self,
        name: DeploymentName,
        basis: Basis,
        granted: Granted,
    ) -> Result<(), CodeError> {
        let work = move |tx: &Connection<'_>| {
            let missing = || CodeError::NotFound(name.to_string());
            let code = checked(tx, &name.code, &basis)?.ok_or_else(missing)?;
            if !table::delete_deployment(tx, code.id, &name.deployment)? {
                return Err(missing());
            }
            Ok(granted.record(tx)?)
        };
        self.store.try_write(work).await
    }

    /// Replaces a list.
    pub(super) async fn set_acl(
        &self,
        name: CodeName,
        basis: Basis,
        acl: String,
        granted: Granted,
    ) -> Result<(), CodeError> {
        let work = move |tx: &Connection<'_>| {
            let code = checked(tx, &name, &basis)?.ok_or_else(|| CodeError::NotFound(name.to_string()))?;
            table::set_acl(tx, code.id, &acl)?;
            Ok(granted.record(tx)?)
        };
        self.store.try_write(work).await
    }
}

fn digest(program: &Program) -> impl AsRef<[u8]> {
    match program {
        Program::Script(source) => Sha256::digest(source.as_bytes()),
        Program::Component(component) => Sha256::digest(component),
    }
}

/// The deployment of a revision: of the same revision, the same one.
pub(super) fn deployment_of(name: &CodeName, revision: &str) -> DeploymentName {
    let deployment = revision.get(..16).unwrap_or(revision).to_owned();
    DeploymentName { code: name.clone(), deployment }
}

/// The code, if its list is still what was decided on: there is no moment between check and act.
fn checked(tx: &Connection<'_>, name: &CodeName, basis: &Basis) -> Result<Option<CodeRow>, CodeError> {
    let row = table::find(tx, name)?;
    if row.as_ref().map(|row| &row.acl) != basis.0.as_ref() {
        return Err(CodeError::AclChanged);
    }
    Ok(row)
}

fn stored_acl(text: &str) -> Result<Acl, StoreError> {
    Acl::from_text(text).map_err(|error| StoreError::backend(format!("stored access list: {error}")))
}
