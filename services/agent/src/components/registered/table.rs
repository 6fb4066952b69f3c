//! The rows of registered component types. Every statement about these tables is here.

use sre_store::StoreError;
use sre_store::sql::{Connection, OptionalExtension, Row, params};

use crate::clock::Millis;

/// A type's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeRow {
    /// Never used again.
    pub number: i64,
    /// Its name, unique in the deployment.
    pub name: String,
    /// Its team.
    pub team: String,
    /// The version that documents get which name none.
    pub default_version: String,
    /// Who may do what with it.
    pub acl: String,
    /// Who registered it.
    pub creator: String,
    /// When.
    pub created_ms: Millis,
    /// When it was changed last.
    pub updated_ms: Millis,
}

/// A version's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRow {
    /// Its version.
    pub version: String,
    /// What it says about itself, encoded.
    pub description: Vec<u8>,
    /// Where it is served, a JSON list of texts.
    pub endpoints: String,
    /// Who serves it; empty where nobody is named.
    pub identity: String,
    /// Who registered it.
    pub creator: String,
    /// When.
    pub created_ms: Millis,
}

const TYPE: &str = "number, name, team, default_version, acl, creator, created_ms, updated_ms";
const VERSION: &str = "version, description, endpoints, identity, creator, created_ms";

impl TypeRow {
    fn read(row: &Row<'_>) -> sre_store::sql::Result<Self> {
        Ok(Self {
            number: row.get(0)?,
            name: row.get(1)?,
            team: row.get(2)?,
            default_version: row.get(3)?,
            acl: row.get(4)?,
            creator: row.get(5)?,
            created_ms: row.get(6)?,
            updated_ms: row.get(7)?,
        })
    }
}

impl VersionRow {
    fn read(row: &Row<'_>) -> sre_store::sql::Result<Self> {
        Ok(Self {
            version: row.get(0)?,
            description: row.get(1)?,
            endpoints: row.get(2)?,
            identity: row.get(3)?,
            creator: row.get(4)?,
            created_ms: row.get(5)?,
        })
    }
}

/// A type by its name.
pub fn find(conn: &Connection<'_>, name: &str) -> Result<Option<TypeRow>, StoreError> {
    conn.prepare_cached(&format!("select {TYPE} from component_type where name = ?1"))?
        .query_row([name], TypeRow::read)
        .optional()
}

/// All types, by name.
pub fn all(conn: &Connection<'_>, limit: u32) -> Result<Vec<TypeRow>, StoreError> {
    let mut statement =
        conn.prepare_cached(&format!("select {TYPE} from component_type order by name limit ?1"))?;
    let rows = statement.query_map([limit], TypeRow::read)?;
    rows.collect::<Result<_, _>>()
}

/// How many types there are: of a team, and in all.
pub fn count(conn: &Connection<'_>, team: &str) -> Result<(u32, u32), StoreError> {
    conn.prepare_cached("select count(*) filter (where team = ?1), count(*) from component_type")?
        .query_row([team], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// The versions of a type, oldest first.
pub fn versions(conn: &Connection<'_>, number: i64) -> Result<Vec<VersionRow>, StoreError> {
    let mut statement = conn.prepare_cached(&format!(
        "select {VERSION} from component_version where type = ?1 order by created_ms, version"
    ))?;
    let rows = statement.query_map([number], VersionRow::read)?;
    rows.collect::<Result<_, _>>()
}

/// Inserts a type; gives its number. `row.number` is not read.
pub fn insert(tx: &Connection<'_>, row: &TypeRow) -> Result<i64, StoreError> {
    let values = params![
        row.name,
        row.team,
        row.default_version,
        row.acl,
        row.creator,
        row.created_ms,
        row.updated_ms
    ];
    tx.prepare_cached(
        "insert into component_type (name, team, default_version, acl, creator, created_ms, updated_ms)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7) returning number",
    )?
    .query_row(values, |row| row.get(0))
}

/// Writes what may change in a type's row.
pub fn update(tx: &Connection<'_>, row: &TypeRow) -> Result<(), StoreError> {
    tx.prepare_cached(
        "update component_type set default_version = ?2, acl = ?3, updated_ms = ?4 where number = ?1",
    )?
    .execute(params![row.number, row.default_version, row.acl, row.updated_ms])?;
    Ok(())
}

/// Inserts a version, or changes where it is served.
pub fn put_version(tx: &Connection<'_>, number: i64, row: &VersionRow) -> Result<(), StoreError> {
    tx.prepare_cached(
        "insert into component_version (type, version, description, endpoints, identity, creator, created_ms)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         on conflict (type, version) do update set endpoints = excluded.endpoints, identity = excluded.identity",
    )?
    .execute(params![
        number,
        row.version,
        row.description,
        row.endpoints,
        row.identity,
        row.creator,
        row.created_ms
    ])?;
    Ok(())
}

/// Removes a version; false where there is none.
pub fn drop_version(tx: &Connection<'_>, number: i64, version: &str) -> Result<bool, StoreError> {
    let gone = tx
        .prepare_cached("delete from component_version where type = ?1 and version = ?2")?
        .execute(params![number, version])?;
    Ok(gone > 0)
}

/// Removes a type with its versions.
pub fn drop_type(tx: &Connection<'_>, number: i64) -> Result<(), StoreError> {
    tx.prepare_cached("delete from component_version where type = ?1")?.execute([number])?;
    tx.prepare_cached("delete from component_type where number = ?1")?.execute([number])?;
    Ok(())
}
