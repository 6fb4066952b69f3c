//! The registry in the embedded store.

mod schema;
mod statements;

use std::collections::HashMap;

use async_trait::async_trait;
use sre_store::Store;
use sre_store::rusqlite::{OptionalExtension, params};
use sre_vectors::{Collection, CollectionId, Generation, Metric, Visibility};

pub use schema::MIGRATIONS;
use statements::{
    add_stray, book, commit, datasource, decided, namespace, read_datasource, read_namespace, remove, usage,
};

use super::{
    Commit, DATASOURCE, DatasourceRow, Due, NAMESPACE, NamespaceRow, Registry, RequestRow, Result, hex, id_of,
};
use crate::basis::Basis;
use crate::clock::Millis;
use crate::error::IoError;
use crate::usage::Quota;
use crate::vector_db::name::NamespaceName;
use crate::vector_db::record::Recorder;

/// The registry in a file.
#[derive(Debug, Clone)]
pub struct SqliteRegistry {
    store: Store,
}

impl SqliteRegistry {
    /// Over a store with [`MIGRATIONS`].
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

#[async_trait]
impl Registry for SqliteRegistry {
    async fn namespace(&self, name: &str) -> Result<Option<NamespaceRow>> {
        let name = name.to_owned();
        Ok(self.store.read(move |conn| namespace(conn, &name)).await?)
    }

    async fn namespaces(&self, scope: &str, after: &str, limit: usize) -> Result<Vec<NamespaceRow>> {
        let (scope, after) = (scope.to_owned(), after.to_owned());
        let found = self.store.read(move |conn| {
            let sql = format!(
                "select {NAMESPACE} from vector_namespace where scope = ?1 and name > ?2 order by name limit ?3"
            );
            let mut statement = conn.prepare_cached(&sql)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![scope, after, limit], read_namespace)?;
            Ok(rows.collect::<std::result::Result<_, _>>()?)
        });
        Ok(found.await?)
    }

    async fn create(&self, row: NamespaceRow, record: Recorder) -> Result<()> {
        let embedding = row.embedding.as_ref().and_then(|found| serde_json::to_string(found).ok());
        self.store
            .try_write(move |tx| {
                if namespace(tx, &row.name)?.is_some() {
                    return Err(IoError::Exists);
                }
                tx.prepare_cached(&format!(
                    "insert into vector_namespace ({NAMESPACE}, next_generation)
                     values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0, 0, 1)"
                ))?
                .execute(params![
                    hex(row.id),
                    row.name,
                    row.scope,
                    row.team,
                    i64::try_from(row.dimension).unwrap_or_default(),
                    row.metric.name(),
                    embedding,
                    row.instance,
                    row.description,
                    row.acl,
                    row.created_ms
                ])?;
                Ok(record.sqlite(tx)?)
            })
            .await
    }

    async fn remove(&self, name: NamespaceName, basis: Basis, record: Recorder) -> Result<()> {
        self.store
            .try_write(move |tx| {
                remove(tx, &name, &basis)?;
                Ok(record.sqlite(tx)?)
            })
            .await
    }

    async fn set_acl(&self, name: NamespaceName, basis: Basis, acl: String, record: Recorder) -> Result<()> {
        self.store
            .try_write(move |tx| {
                let row = decided(tx, &name, &basis)?;
                tx.prepare_cached("update vector_namespace set acl = ?2 where id = ?1")?
                    .execute(params![hex(row.id), acl])?;
                Ok(record.sqlite(tx)?)
            })
            .await
    }

    async fn visibility(&self, id: CollectionId) -> Result<Visibility> {
        let id = hex(id);
        let found = self.store.read(move |conn| {
            let below = conn
                .prepare_cached("select next_generation from vector_namespace where id = ?1")?
                .query_row([&id], |row| row.get(0))
                .optional()?;
            let mut statement = conn.prepare_cached(
                "select generation from stray_generation where namespace = ?1 order by generation",
            )?;
            let except = statement.query_map([&id], |row| row.get(0))?;
            Ok(Visibility {
                below: below.unwrap_or(0),
                except: except.collect::<std::result::Result<_, _>>()?,
            })
        });
        Ok(found.await?)
    }

    async fn begin(&self, id: CollectionId, due_ms: Millis) -> Result<Generation> {
        self.store
            .try_write(move |tx| {
                let hex = hex(id);
                let generation: Option<Generation> = tx
                    .prepare_cached(
                        "update vector_namespace set next_generation = next_generation + 1 where id = ?1
                         returning next_generation - 1",
                    )?
                    .query_row([&hex], |row| row.get(0))
                    .optional()?;
                let generation = generation.ok_or(IoError::AclChanged)?;
                add_stray(tx, &hex, generation, due_ms)?;
                Ok(generation)
            })
            .await
    }

    async fn commit(&self, asked: Commit, record: Recorder) -> Result<DatasourceRow> {
        self.store
            .try_write(move |tx| {
                let row = commit(tx, asked)?;
                record.sqlite(tx)?;
                Ok(row)
            })
            .await
    }

    async fn datasource(&self, id: CollectionId, name: &str) -> Result<Option<DatasourceRow>> {
        let name = name.to_owned();
        Ok(self.store.read(move |conn| datasource(conn, &hex(id), &name)).await?)
    }

    async fn text(&self, id: CollectionId, name: &str) -> Result<Option<String>> {
        let name = name.to_owned();
        let found = self.store.read(move |conn| {
            Ok(conn
                .prepare_cached("select text from datasource_text where namespace = ?1 and id = ?2")?
                .query_row([hex(id), name], |row| row.get(0))
                .optional()?)
        });
        Ok(found.await?)
    }

    async fn datasources(&self, id: CollectionId, after: &str, limit: usize) -> Result<Vec<DatasourceRow>> {
        let after = after.to_owned();
        let found = self.store.read(move |conn| {
            let sql = format!(
                "select {DATASOURCE} from datasource where namespace = ?1 and id > ?2 order by id limit ?3"
            );
            let mut statement = conn.prepare_cached(&sql)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![hex(id), after, limit], read_datasource)?;
            Ok(rows.collect::<std::result::Result<_, _>>()?)
        });
        Ok(found.await?)
    }

    async fn labels(&self, id: CollectionId, names: Vec<String>) -> Result<HashMap<String, String>> {
        let found = self.store.read(move |conn| {
            let mut statement =
                conn.prepare_cached("select label from datasource where namespace = ?1 and id = ?2")?;
            let mut labels = HashMap::new();
            for name in names {
                let label: Option<String> =
                    statement.query_row([&hex(id), &name], |row| row.get(0)).optional()?;
                labels.extend(label.map(|label| (name, label)));
            }
            Ok(labels)
        });
        Ok(found.await?)
    }

    async fn remove_datasource(
        &self,
        name: NamespaceName,
        basis: Basis,
        id: String,
        due_ms: Millis,
        record: Recorder,
    ) -> Result<()> {
        self.store
            .try_write(move |tx| {
                let namespace = decided(tx, &name, &basis)?;
                let hex = hex(namespace.id);
                let absent = || IoError::NotFound(format!("{name}/datasources/{id}"));
                let row = datasource(tx, &hex, &id)?.ok_or_else(absent)?;
                add_stray(tx, &hex, row.generation, due_ms)?;
                book(tx, &namespace, -i64::from(row.chunks), -row.bytes, None)?;
                for table in ["datasource", "datasource_text"] {
                    tx.prepare_cached(&format!("delete from {table} where namespace = ?1 and id = ?2"))?
                        .execute([&hex, &id])?;
                }
                Ok(record.sqlite(tx)?)
            })
            .await
    }

    async fn book(
        &self,
        name: NamespaceName,
        basis: Basis,
        rows: Vec<(String, i64)>,
        quota: Quota,
        record: Recorder,
    ) -> Result<usize> {
        self.store
            .try_write(move |tx| {
                let namespace = decided(tx, &name, &basis)?;
                let hex = hex(namespace.id);
                let (mut created, mut bytes) = (0, 0);
                for (id, size) in rows {
                    let before: Option<i64> = tx
                        .prepare_cached("select bytes from direct_row where namespace = ?1 and id = ?2")?
                        .query_row([&hex, &id], |row| row.get(0))
                        .optional()?;
                    created += usize::from(before.is_none());
                    bytes += size - before.unwrap_or_default();
                    tx.prepare_cached(
                        "insert or replace into direct_row (namespace, id, bytes) values (?1, ?2, ?3)",
                    )?
                    .execute(params![hex, id, size])?;
                }
                book(tx, &namespace, i64::try_from(created).unwrap_or(i64::MAX), bytes, Some(quota))?;
                record.sqlite(tx)?;
                Ok(created)
            })
            .await
    }

    async fn release(
        &self,
        name: NamespaceName,
        basis: Basis,
        rows: Vec<String>,
        record: Recorder,
    ) -> Result<()> {
        self.store
            .try_write(move |tx| {
                let namespace = decided(tx, &name, &basis)?;
                let hex = hex(namespace.id);
                let (mut count, mut bytes) = (0, 0);
                for id in rows {
                    let gone: Option<i64> = tx
                        .prepare_cached(
                            "delete from direct_row where namespace = ?1 and id = ?2 returning bytes",
                        )?
                        .query_row([&hex, &id], |row| row.get(0))
                        .optional()?;
                    count += i64::from(gone.is_some());
                    bytes += gone.unwrap_or_default();
                }
                book(tx, &namespace, -count, -bytes, None)?;
                Ok(record.sqlite(tx)?)
            })
            .await
    }

    async fn request(
        &self,
        id: CollectionId,
        request_id: &str,
        since_ms: Millis,
    ) -> Result<Option<(RequestRow, String)>> {
        let request_id = request_id.to_owned();
        let found = self.store.read(move |conn| {
            Ok(conn
                .prepare_cached(
                    "select id, digest, datasource from vector_request
                     where namespace = ?1 and id = ?2 and at_ms >= ?3",
                )?
                .query_row(params![hex(id), request_id, since_ms], |row| {
                    Ok((RequestRow { id: row.get(0)?, digest: row.get(1)? }, row.get(2)?))
                })
                .optional()?)
        });
        Ok(found.await?)
    }

    async fn due(&self, now: Millis, limit: usize) -> Result<Vec<Due>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = self.store.write(move |tx| {
            let mut statement = tx.prepare_cached(
                "select n.id, n.dimension, n.metric, n.instance, s.generation
                 from stray_generation s join vector_namespace n on n.id = s.namespace
                 where s.due_ms <= ?1 order by s.due_ms limit ?2",
            )?;
            let rows = statement.query_map(params![now, limit], |row| {
                let collection = Collection {
                    id: id_of(&row.get::<_, String>(0)?),
                    dimension: usize::try_from(row.get::<_, i64>(1)?).unwrap_or_default(),
                    metric: Metric::of_name(&row.get::<_, String>(2)?).unwrap_or(Metric::Cosine),
                };
                Ok(Due { collection, instance: row.get(3)?, generation: row.get(4)? })
            })?;
            let due: Vec<Due> = rows.collect::<std::result::Result<_, _>>()?;
            for one in &due {
                tx.prepare_cached(
                    "update stray_generation set condemned = 1 where namespace = ?1 and generation = ?2",
                )?
                .execute(params![hex(one.collection.id), one.generation])?;
            }
            Ok(due)
        });
        Ok(found.await?)
    }

    async fn removed(&self, id: CollectionId, generation: Generation) -> Result<()> {
        let done = self.store.write(move |tx| {
            tx.prepare_cached("delete from stray_generation where namespace = ?1 and generation = ?2")?
                .execute(params![hex(id), generation])?;
            Ok(())
        });
        Ok(done.await?)
    }

    async fn dropped(&self, limit: usize) -> Result<Vec<(Collection, String)>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = self.store.read(move |conn| {
            let mut statement = conn
                .prepare_cached("select id, dimension, metric, instance from dropped_collection limit ?1")?;
            let rows = statement.query_map([limit], |row| {
                let collection = Collection {
                    id: id_of(&row.get::<_, String>(0)?),
                    dimension: usize::try_from(row.get::<_, i64>(1)?).unwrap_or_default(),
                    metric: Metric::of_name(&row.get::<_, String>(2)?).unwrap_or(Metric::Cosine),
                };
                Ok((collection, row.get(3)?))
            })?;
            Ok(rows.collect::<std::result::Result<_, _>>()?)
        });
        Ok(found.await?)
    }

    async fn forget(&self, id: CollectionId) -> Result<()> {
        let done = self.store.write(move |tx| {
            tx.prepare_cached("delete from dropped_collection where id = ?1")?.execute([hex(id)])?;
            Ok(())
        });
        Ok(done.await?)
    }

    async fn forget_requests(&self, before_ms: Millis) -> Result<()> {
        let done = self.store.write(move |tx| {
            tx.prepare_cached("delete from vector_request where at_ms < ?1")?.execute([before_ms])?;
            Ok(())
        });
        Ok(done.await?)
    }

    async fn usage(&self, team: &str) -> Result<(i64, i64)> {
        let team = team.to_owned();
        Ok(self.store.read(move |conn| usage(conn, &team)).await?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sre_store::{OpenOptions, Store};

    use super::*;
    use crate::vector_db::registry::contract::{self, Bench};

    async fn fresh() -> Option<Bench> {
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions::new(folder.path().join("vectors.db"), "store.dir", MIGRATIONS);
        let registry = SqliteRegistry::new(Store::open(options).unwrap());
        Some(Bench { registry: Arc::new(registry), _keep: Box::new(folder) })
    }

    contract::every_case!(fresh);
}
