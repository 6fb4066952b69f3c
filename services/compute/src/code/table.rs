//! The rows of code, revisions and deployments. Every statement about these tables is here.

use sre_sandbox::protocol::Program;
use sre_store::StoreError;
use sre_store::sql::{Connection, OptionalExtension as _, Row, params};

use super::name::CodeName;
use crate::clock::Millis;

/// A piece of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CodeRow {
    /// Never used again.
    pub id: i64,
    /// Who may do what with it.
    pub acl: String,
}

/// A revision without its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RevisionRow {
    /// The SHA-256 of what it runs, in hex.
    pub revision: String,
    /// What it looks like from outside, as JSON.
    pub outline: String,
    /// When it was first prepared.
    pub created_ms: Millis,
}

/// A deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeploymentRow {
    /// Its id.
    pub deployment: String,
    /// What it runs.
    pub revision: String,
    /// How, as JSON.
    pub settings: String,
    /// When it was first deployed.
    pub created_ms: Millis,
    /// When it was last deployed.
    pub updated_ms: Millis,
    /// When it was last run.
    pub used_ms: Option<Millis>,
}

const DEPLOYMENT: &str = "deployment, revision, settings, created_ms, updated_ms, used_ms";

impl DeploymentRow {
    fn read(row: &Row<'_>) -> sre_store::sql::Result<Self> {
        Ok(Self {
            deployment: row.get(0)?,
            revision: row.get(1)?,
            settings: row.get(2)?,
            created_ms: row.get(3)?,
            updated_ms: row.get(4)?,
            used_ms: row.get(5)?,
        })
    }
}

/// A piece of code by its name.
pub(super) fn find(conn: &Connection<'_>, name: &CodeName) -> Result<Option<CodeRow>, StoreError> {
    let mut statement =
        conn.prepare_cached("select id, acl from code where team = ?1 and agent = ?2 and code = ?3")?;
    let key = params![name.owner.team, name.owner.agent, name.code];
    statement.query_row(key, |row| Ok(CodeRow { id: row.get(0)?, acl: row.get(1)? })).optional()
}

/// How many pieces of code an agent has.
pub(super) fn count(conn: &Connection<'_>, name: &CodeName) -> Result<u32, StoreError> {
    conn.prepare_cached("select count(*) from code where team = ?1 and agent = ?2")?
        .query_row([&name.owner.team, &name.owner.agent], |row| row.get(0))
}

/// Creates a piece of code; gives its id.
pub(super) fn create(
    tx: &Connection<'_>,
    name: &CodeName,
    acl: &str,
    now: Millis,
) -> Result<i64, StoreError> {
    tx.prepare_cached(
        "insert into code (team, agent, code, acl, created_ms) values (?1, ?2, ?3, ?4, ?5) returning id",
    )?
    .query_row(params![name.owner.team, name.owner.agent, name.code, acl, now], |row| row.get(0))
}

/// Replaces a list.
pub(super) fn set_acl(tx: &Connection<'_>, id: i64, acl: &str) -> Result<(), StoreError> {
    tx.prepare_cached("update code set acl = ?2 where id = ?1")?.execute(params![id, acl])?;
    Ok(())
}

/// A revision without its source.
pub(super) fn revision(
    conn: &Connection<'_>,
    code: i64,
    revision: &str,
) -> Result<Option<RevisionRow>, StoreError> {
    conn.prepare_cached(
        "select revision, outline, created_ms from revision where code = ?1 and revision = ?2",
    )?
    .query_row(params![code, revision], |row| {
        Ok(RevisionRow { revision: row.get(0)?, outline: row.get(1)?, created_ms: row.get(2)? })
    })
    .optional()
}

/// What a revision runs.
pub(super) fn program(
    conn: &Connection<'_>,
    code: i64,
    revision: &str,
) -> Result<Option<Program>, StoreError> {
    conn.prepare_cached("select source, component from revision where code = ?1 and revision = ?2")?
        .query_row(params![code, revision], |row| {
            let component: Option<Vec<u8>> = row.get(1)?;
            Ok(match component {
                Some(component) => Program::Component(component),
                None => Program::Script(row.get(0)?),
            })
        })
        .optional()
}

/// Keeps a revision.
pub(super) fn insert_revision(
    tx: &Connection<'_>,
    code: i64,
    row: &RevisionRow,
    program: &Program,
) -> Result<(), StoreError> {
    let (source, component) = match program {
        Program::Script(source) => (source.as_str(), None),
        Program::Component(component) => ("", Some(component)),
    };
    tx.prepare_cached(
        "insert into revision (code, revision, source, component, outline, created_ms)
         values (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![code, row.revision, source, component, row.outline, row.created_ms])?;
    Ok(())
}

/// Removes the oldest revisions beyond so many that no deployment runs.
pub(super) fn prune_revisions(tx: &Connection<'_>, code: i64, keep: u32) -> Result<(), StoreError> {
    tx.prepare_cached(
        "delete from revision where code = ?1 and revision in (
           select revision from revision where code = ?1
             and revision not in (select revision from deployment where code = ?1)
           order by created_ms desc, revision limit 1000000 offset ?2)",
    )?
    .execute(params![code, keep])?;
    Ok(())
}

/// A deployment.
pub(super) fn deployment(
    conn: &Connection<'_>,
    code: i64,
    id: &str,
) -> Result<Option<DeploymentRow>, StoreError> {
    conn.prepare_cached(&format!("select {DEPLOYMENT} from deployment where code = ?1 and deployment = ?2"))?
        .query_row(params![code, id], DeploymentRow::read)
        .optional()
}

/// How many deployments a piece of code has.
pub(super) fn count_deployments(conn: &Connection<'_>, code: i64) -> Result<u32, StoreError> {
    conn.prepare_cached("select count(*) from deployment where code = ?1")?
        .query_row([code], |row| row.get(0))
}

/// Some deployments by id, after this one.
pub(super) fn deployments(
    conn: &Connection<'_>,
    code: i64,
    after: &str,
    most: u32,
) -> Result<Vec<DeploymentRow>, StoreError> {
    let mut statement = conn.prepare_cached(&format!(
        "select {DEPLOYMENT} from deployment where code = ?1 and deployment > ?2 order by deployment limit ?3"
    ))?;
    let rows = statement.query_map(params![code, after, most], DeploymentRow::read)?;
    rows.collect::<Result<_, _>>()
}

/// Writes a deployment.
pub(super) fn put_deployment(tx: &Connection<'_>, code: i64, row: &DeploymentRow) -> Result<(), StoreError> {
    tx.prepare_cached(
        "insert into deployment (code, deployment, revision, settings, created_ms, updated_ms, used_ms)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         on conflict (code, deployment) do update set revision = excluded.revision, settings = excluded.settings,
         created_ms = excluded.created_ms, updated_ms = excluded.updated_ms, used_ms = excluded.used_ms",
    )?
    .execute(params![
        code,
        row.deployment,
        row.revision,
        row.settings,
        row.created_ms,
        row.updated_ms,
        row.used_ms
    ])?;
    Ok(())
}

/// Notes when a deployment was run.
pub(super) fn used(tx: &Connection<'_>, code: i64, id: &str, now: Millis) -> Result<(), StoreError> {
    tx.prepare_cached("update deployment set used_ms = ?3 where code = ?1 and deployment = ?2")?
        .execute(params![code, id, now])?;
    Ok(())
}

/// Deletes a deployment; false if there is none.
pub(super) fn delete_deployment(tx: &Connection<'_>, code: i64, id: &str) -> Result<bool, StoreError> {
    let gone = tx
        .prepare_cached("delete from deployment where code = ?1 and deployment = ?2")?
        .execute(params![code, id])?;
    Ok(gone > 0)
}
