//! The rows of agents and versions. Every statement about these tables is here.

use sre_store::StoreError;
use sre_store::sql::{Connection, OptionalExtension, Row, params};

use crate::clock::Millis;

/// An agent's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRow {
    /// Never used again.
    pub number: i64,
    /// Unique in the deployment.
    pub id: String,
    /// Its home team.
    pub team: String,
    /// From its latest document.
    pub display_name: String,
    /// The latest version.
    pub latest: String,
    /// The deployed version.
    pub deployed: Option<String>,
    /// Who may do what with its definition.
    pub acl_definition: String,
    /// Who may do what with its skills.
    pub acl_skills: String,
    /// Who created it.
    pub creator: String,
    /// When.
    pub created_ms: Millis,
    /// When its latest version was made.
    pub updated_ms: Millis,
}

/// A version's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRow {
    /// Order of making.
    pub sequence: i64,
    /// Digits of the digest.
    pub version: String,
    /// `b3:` and 64 hex digits.
    pub digest: String,
    /// Who made it.
    pub creator: String,
    /// When.
    pub created_ms: Millis,
}

const AGENT: &str = "number, id, team, display_name, latest, deployed, acl_definition, acl_skills, creator, created_ms, updated_ms";
const VERSION: &str = "sequence, version, digest, creator, created_ms";

impl AgentRow {
    fn read(row: &Row<'_>) -> sre_store::sql::Result<Self> {
        Ok(Self {
            number: row.get(0)?,
            id: row.get(1)?,
            team: row.get(2)?,
            display_name: row.get(3)?,
            latest: row.get(4)?,
            deployed: row.get(5)?,
            acl_definition: row.get(6)?,
            acl_skills: row.get(7)?,
            creator: row.get(8)?,
            created_ms: row.get(9)?,
            updated_ms: row.get(10)?,
        })
    }
}

impl VersionRow {
    fn read(row: &Row<'_>) -> sre_store::sql::Result<Self> {
        Ok(Self {
            sequence: row.get(0)?,
            version: row.get(1)?,
            digest: row.get(2)?,
            creator: row.get(3)?,
            created_ms: row.get(4)?,
        })
    }
}

/// An agent by its id.
pub fn agent(conn: &Connection<'_>, id: &str) -> Result<Option<AgentRow>, StoreError> {
    conn.prepare_cached(&format!("select {AGENT} from agent where id = ?1"))?
        .query_row([id], AgentRow::read)
        .optional()
}

/// An agent by its number.
pub fn agent_by_number(conn: &Connection<'_>, number: i64) -> Result<Option<AgentRow>, StoreError> {
    conn.prepare_cached(&format!("select {AGENT} from agent where number = ?1"))?
        .query_row([number], AgentRow::read)
        .optional()
}

/// Some agents of a team by id, after `after`.
pub fn agents_of(
    conn: &Connection<'_>,
    team: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<AgentRow>, StoreError> {
    let mut statement = conn.prepare_cached(&format!(
        "select {AGENT} from agent where team = ?1 and id > ?2 order by id limit ?3"
    ))?;
    let rows = statement.query_map(params![team, after, limit], AgentRow::read)?;
    rows.collect::<Result<_, _>>()
}

/// Inserts an agent; gives its number. `row.number` is not read.
pub fn insert_agent(tx: &Connection<'_>, row: &AgentRow) -> Result<i64, StoreError> {
    let values = params![
        row.id,
        row.team,
        row.display_name,
        row.latest,
        row.deployed,
        row.acl_definition,
        row.acl_skills,
        row.creator,
        row.created_ms,
        row.updated_ms
    ];
    tx.prepare_cached(
        "insert into agent (id, team, display_name, latest, deployed, acl_definition, acl_skills, creator,
           created_ms, updated_ms) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) returning number",
    )?
    .query_row(values, |row| row.get(0))
}

/// Writes what may change in an agent's row.
pub fn update_agent(tx: &Connection<'_>, row: &AgentRow) -> Result<(), StoreError> {
    tx.prepare_cached(
        "update agent set display_name = ?2, latest = ?3, deployed = ?4, acl_definition = ?5, acl_skills = ?6,
           updated_ms = ?7 where number = ?1",
    )?
    .execute(params![
        row.number,
        row.display_name,
        row.latest,
        row.deployed,
        row.acl_definition,
        row.acl_skills,
        row.updated_ms
    ])?;
    Ok(())
}

/// Removes an agent; its versions can no longer be reached and are swept.
pub fn drop_agent(tx: &Connection<'_>, number: i64) -> Result<(), StoreError> {
    tx.prepare_cached("delete from agent where number = ?1")?.execute([number])?;
    tx.prepare_cached("delete from creation_request where agent = ?1")?.execute([number])?;
    tx.prepare_cached("insert into dropped_agent (number) values (?1)")?.execute([number])?;
    Ok(())
}

/// Removes some versions of a dropped agent; false when there is no dropped agent.
pub fn sweep_dropped(tx: &Connection<'_>, limit: u32) -> Result<bool, StoreError> {
    let number: Option<i64> = tx
        .prepare_cached("select number from dropped_agent limit 1")?
        .query_row(params![], |row| row.get(0))
        .optional()?;
    let Some(number) = number else { return Ok(false) };
    let gone = tx
        .prepare_cached(
            "delete from version where sequence in
               (select sequence from version where agent = ?1 order by sequence limit ?2)",
        )?
        .execute(params![number, limit])?;
    if gone < limit as usize {
        tx.prepare_cached("delete from dropped_agent where number = ?1")?.execute([number])?;
    }
    Ok(true)
}

/// A version without its document.
pub fn version(conn: &Connection<'_>, agent: i64, version: &str) -> Result<Option<VersionRow>, StoreError> {
    conn.prepare_cached(&format!("select {VERSION} from version where agent = ?1 and version = ?2"))?
        .query_row(params![agent, version], VersionRow::read)
        .optional()
}

/// A version's document.
pub fn document(conn: &Connection<'_>, sequence: i64) -> Result<Vec<u8>, StoreError> {
    conn.prepare_cached("select document from version where sequence = ?1")?
        .query_row([sequence], |row| row.get(0))
}

/// Removes the oldest versions beyond so many, but not the latest and the deployed one.
pub fn prune_versions(tx: &Connection<'_>, agent: &AgentRow, keep: u32) -> Result<(), StoreError> {
    tx.prepare_cached(
        "delete from version where agent = ?1 and version <> ?2 and version is distinct from ?3 and sequence <=
           (select sequence from version where agent = ?1 order by sequence desc limit 1 offset ?4)",
    )?
    .execute(params![agent.number, agent.latest, agent.deployed, keep])?;
    Ok(())
}

/// Some versions, newest first, older than `before`.
pub fn versions(
    conn: &Connection<'_>,
    agent: i64,
    before: i64,
    limit: u32,
) -> Result<Vec<VersionRow>, StoreError> {
    let mut statement = conn.prepare_cached(&format!(
        "select {VERSION} from version where agent = ?1 and sequence < ?2 order by sequence desc limit ?3"
    ))?;
    let rows = statement.query_map(params![agent, before, limit], VersionRow::read)?;
    rows.collect::<Result<_, _>>()
}

/// Inserts a version; `row.sequence` is not read.
pub fn insert_version(
    tx: &Connection<'_>,
    agent: i64,
    row: &VersionRow,
    document: &[u8],
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "insert into version (agent, version, digest, document, creator, created_ms)
         values (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![agent, row.version, row.digest, document, row.creator, row.created_ms])?;
    Ok(())
}

/// The creation that a request id stands for: the digest of its input, and its agent's number.
pub fn creation(
    conn: &Connection<'_>,
    caller: &str,
    request_id: &str,
    oldest: Millis,
) -> Result<Option<(String, i64)>, StoreError> {
    conn.prepare_cached(
        "select digest, agent from creation_request
             where caller = ?1 and request_id = ?2 and created_ms > ?3",
    )?
    .query_row(params![caller, request_id, oldest], |row| Ok((row.get(0)?, row.get(1)?)))
    .optional()
}

/// Notes what a request id stands for, and forgets some old ones.
pub fn note_creation(
    tx: &Connection<'_>,
    caller: &str,
    request_id: &str,
    digest: &str,
    agent: i64,
    now: Millis,
    oldest: Millis,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "delete from creation_request where (caller, request_id) in
           (select caller, request_id from creation_request where created_ms <= ?1 limit 100)",
    )?
    .execute([oldest])?;
    tx.prepare_cached(
        "insert into creation_request (caller, request_id, digest, agent, created_ms) values (?1, ?2, ?3, ?4, ?5)
         on conflict (caller, request_id) do update set digest = excluded.digest, agent = excluded.agent,
         created_ms = excluded.created_ms",
    )?
    .execute(params![caller, request_id, digest, agent, now])?;
    Ok(())
}

/// Notes that Account may know an agent that we do not have.
pub fn note_registration(
    tx: &Connection<'_>,
    agent: &str,
    team: &str,
    now: Millis,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "insert into registration (agent, team, since_ms) values (?1, ?2, ?3)
         on conflict (agent) do update set team = excluded.team, since_ms = excluded.since_ms",
    )?
    .execute(params![agent, team, now])?;
    Ok(())
}

/// Whether Account may know it.
pub fn has_registration(conn: &Connection<'_>, agent: &str) -> Result<bool, StoreError> {
    conn.prepare_cached("select 1 from registration where agent = ?1")?.exists([agent])
}

/// Forgets it.
pub fn clear_registration(tx: &Connection<'_>, agent: &str) -> Result<(), StoreError> {
    tx.prepare_cached("delete from registration where agent = ?1")?.execute([agent])?;
    Ok(())
}

/// Some agents that Account may know and we do not have.
pub fn dangling(conn: &Connection<'_>, limit: u32) -> Result<Vec<String>, StoreError> {
    let mut statement = conn.prepare_cached("select agent from registration order by since_ms limit ?1")?;
    let agents = statement.query_map([limit], |row| row.get(0))?;
    agents.collect::<Result<_, _>>()
}
