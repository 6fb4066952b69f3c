//! Registered component types: what is stored of those that are served out of process.

mod table;

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use prost::Message as _;
use sre_identity::{Acl, Candidate, Level, TeamId, decide};
use sre_proto::component::v1::Description;
use sre_store::StoreError;
use sre_store::sql::Connection;
use sre_store::sql::Database;

pub use table::{TypeRow, VersionRow};

use crate::agent_data::Record;
use crate::clock;
use crate::error::AgentError;

/// Versions of a type.
const MAX_VERSIONS: usize = 50;
/// Types of a team, and of the deployment.
const MAX_OF_TEAM: u32 = 500;
const MAX_TYPES: u32 = 5_000;
/// How long all of them are kept in memory.
const KEPT: Duration = Duration::from_secs(5);

/// A type with its versions.
#[derive(Debug, Clone)]
pub struct Registered {
    /// Its row.
    pub row: TypeRow,
    /// Who may do what with it.
    pub acl: Acl,
    /// Its versions, oldest first.
    pub versions: Vec<Version>,
}

/// A version.
#[derive(Debug, Clone)]
pub struct Version {
    /// Its row; the description in it is decoded below.
    pub row: VersionRow,
    /// What it says about itself.
    pub description: Description,
    /// Where it is served.
    pub endpoints: Vec<String>,
}

impl Registered {
    /// Its full name; one that the configuration declares is of no team.
    pub fn name(&self) -> String {
        match self.row.team.as_str() {
            "" => format!("components/{}", self.row.name),
            team => format!("teams/{team}/components/{}", self.row.name),
        }
    }

    /// A version; the default one where none is named.
    pub fn version(&self, version: Option<&str>) -> Option<&Version> {
        let wanted = version.unwrap_or(&self.row.default_version);
        self.versions.iter().find(|it| it.row.version == wanted)
    }

    /// Whether a Candidate of these teams has a level.
    pub fn allows(&self, candidate: &Candidate, teams: &[TeamId], level: Level) -> bool {
        decide(candidate, teams, &[level], &self.acl).is_allowed()
    }
}

/// A version on its way in.
#[derive(Debug, Clone)]
pub struct NewVersion {
    /// What it says about itself; checked.
    pub description: Description,
    /// Where it is served; checked.
    pub endpoints: Vec<String>,
    /// Who serves it.
    pub identity: String,
    /// Who brings it.
    pub creator: String,
}

impl NewVersion {
    fn row(&self) -> VersionRow {
        VersionRow {
            version: self.description.version.clone(),
            description: self.description.encode_to_vec(),
            endpoints: serde_json::json!(self.endpoints).to_string(),
            identity: self.identity.clone(),
            creator: self.creator.clone(),
            created_ms: clock::now(),
        }
    }
}

/// All registered types.
#[derive(Clone)]
pub struct Registrations {
    store: Database,
    all: Cache<(), Arc<Vec<Registered>>>,
}

impl Registrations {
    /// Types in a store.
    pub fn new(store: Database) -> Self {
        Self { store, all: Cache::builder().max_capacity(1).time_to_live(KEPT).build() }
    }

    /// All types, by name.
    pub async fn all(&self) -> Result<Arc<Vec<Registered>>, AgentError> {
        let store = self.store.clone();
        let read = async move {
            let rows = store
                .read(|conn| {
                    let types = table::all(conn, MAX_TYPES)?;
                    let with_versions = types.into_iter().map(|row| {
                        let versions = table::versions(conn, row.number)?;
                        Ok::<_, StoreError>((row, versions))
                    });
                    with_versions.collect::<Result<Vec<_>, _>>()
                })
                .await?;
            let all: Result<Vec<_>, _> =
                rows.into_iter().map(|(row, versions)| decoded(row, versions)).collect();
            Ok::<_, AgentError>(Arc::new(all?))
        };
        let kept = self.all.try_get_with((), read).await;
        kept.map_err(|error| AgentError::Store(StoreError::backend(error.to_string())))
    }

    /// A type by its name.
    pub async fn find(&self, name: &str) -> Result<Option<Registered>, AgentError> {
        let all = self.all().await?;
        let at = all.binary_search_by(|known| known.row.name.as_str().cmp(name)).ok();
        Ok(at.and_then(|at| all.get(at)).cloned())
    }

    /// Registers a type.
    pub async fn register(
        &self,
        team: &str,
        acl: &Acl,
        version: NewVersion,
        record: Record,
    ) -> Result<(), AgentError> {
        let (team, acl) = (team.to_owned(), acl.to_text());
        self.write(move |tx| {
            let name = version.description.r#type.clone();
            if table::find(tx, &name)?.is_some() {
                return Err(AgentError::ComponentExists(name));
            }
            let (of_team, in_all) = table::count(tx, &team)?;
            if of_team >= MAX_OF_TEAM || in_all >= MAX_TYPES {
                return Err(AgentError::Invalid {
                    field: "version.description.type",
                    message: format!(
                        "there are {of_team} component types of the team and {in_all} in all, and {MAX_OF_TEAM} and \
                         {MAX_TYPES} are the most: delete some"
                    ),
                });
            }
            let first = version.row();
            let row = TypeRow {
                number: 0,
                name,
                team,
                default_version: first.version.clone(),
                acl,
                creator: version.creator,
                created_ms: first.created_ms,
                updated_ms: first.created_ms,
            };
            let number = table::insert(tx, &row)?;
            table::put_version(tx, number, &first)?;
            Ok(record(tx)?)
        })
        .await
    }

    /// Adds a version, or changes where it is served.
    pub async fn put_version(
        &self,
        before: &Registered,
        version: NewVersion,
        make_default: bool,
        record: Record,
    ) -> Result<(), AgentError> {
        self.change(before, record, move |tx, row| {
            let new = version.row();
            let known = table::versions(tx, row.number)?;
            match known.iter().find(|known| known.version == new.version) {
                Some(known) if known.description != new.description => {
                    return Err(AgentError::Invalid {
                        field: "version.description",
                        message: format!(
                            "version {} says something else about itself: give what changed a new version",
                            new.version
                        ),
                    });
                }
                None if known.len() >= MAX_VERSIONS => {
                    return Err(AgentError::Invalid {
                        field: "version",
                        message: format!(
                            "there are {MAX_VERSIONS} versions, the most there may be: delete one"
                        ),
                    });
                }
                _ => {}
            }
            table::put_version(tx, row.number, &new)?;
            if make_default {
                row.default_version = new.version;
            }
            Ok(())
        })
        .await
    }

    /// Removes a version, or the type where none is named.
    pub async fn delete(&self, before: &Registered, version: &str, record: Record) -> Result<(), AgentError> {
        let version = version.to_owned();
        if version.is_empty() {
            let before = before.row.clone();
            return self
                .write(move |tx| {
                    let row = still(tx, &before)?;
                    table::drop_type(tx, row.number)?;
                    Ok(record(tx)?)
                })
                .await;
        }
        self.change(before, record, move |tx, row| {
            if version == row.default_version {
                return Err(AgentError::Invalid {
                    field: "version",
                    message: format!(
                        "{version} is the default: make another the default first, or delete the type"
                    ),
                });
            }
            match table::drop_version(tx, row.number, &version)? {
                true => Ok(()),
                false => {
                    Err(AgentError::NotFound(format!("version {version} of component type {}", row.name)))
                }
            }
        })
        .await
    }

    /// Replaces the access list.
    pub async fn set_acl(&self, before: &Registered, acl: &Acl, record: Record) -> Result<(), AgentError> {
        let acl = acl.to_text();
        self.change(before, record, move |_, row| {
            row.acl = acl;
            Ok(())
        })
        .await
    }

    /// Changes a type, if the list that the right to do so was decided on is still the same.
    async fn change(
        &self,
        before: &Registered,
        record: Record,
        change: impl FnOnce(&Connection<'_>, &mut TypeRow) -> Result<(), AgentError> + Send + 'static,
    ) -> Result<(), AgentError> {
        let before = before.row.clone();
        self.write(move |tx| {
            let mut row = still(tx, &before)?;
            change(tx, &mut row)?;
            row.updated_ms = clock::now();
            table::update(tx, &row)?;
            Ok(record(tx)?)
        })
        .await
    }

    async fn write(
        &self,
        work: impl FnOnce(&Connection<'_>) -> Result<(), AgentError> + Send + 'static,
    ) -> Result<(), AgentError> {
        let done = self.store.try_write(move |tx| work(tx)).await;
        self.all.invalidate(&()).await;
        done
    }
}

fn still(tx: &Connection<'_>, before: &TypeRow) -> Result<TypeRow, AgentError> {
    let row = table::find(tx, &before.name)?.filter(|row| row.number == before.number);
    row.filter(|row| row.acl == before.acl).ok_or(AgentError::AclChanged)
}

fn decoded(row: TypeRow, versions: Vec<VersionRow>) -> Result<Registered, AgentError> {
    let damaged =
        |what: &'static str, message: String| AgentError::Damaged { agent: row.name.clone(), what, message };
    let acl = Acl::from_text(&row.acl).map_err(|error| damaged("access list", error.to_string()))?;
    let versions = versions.into_iter().map(|version| {
        let description = Description::decode(version.description.as_slice())
            .map_err(|error| damaged("description", error.to_string()))?;
        let endpoints = serde_json::from_str(&version.endpoints)
            .map_err(|error| damaged("endpoints", error.to_string()))?;
        Ok(Version { row: version, description, endpoints })
    });
    let versions = versions.collect::<Result<_, AgentError>>()?;
    Ok(Registered { row: row.clone(), acl, versions })
}

#[cfg(test)]
mod tests;
