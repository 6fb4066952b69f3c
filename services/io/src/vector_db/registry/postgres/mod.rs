//! The registry in a PostgreSQL database, which several processes may share.
//!
//! Writers lock the row of the namespace first, then that of the team's usage, so that no two wait for each other
//! in a circle.

mod schema;
mod statements;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use sre_store::ErrorKind;
use sre_store::pg::Pg;
use sre_vectors::{Collection, CollectionId, Generation, Visibility};

pub use schema::{PG_MIGRATIONS, PG_SESSION};
use statements::{
    batch, begin, book_rows, commit, create, datasource, decided, due, execute, get, one, query,
    read_collection, read_datasource, read_namespace, release_rows, remove, remove_datasource, visibility,
};

use super::{
    Commit, DATASOURCE, DatasourceRow, Due, NAMESPACE, NamespaceRow, Registry, RequestRow, Result, hex,
};
use crate::basis::Basis;
use crate::clock::Millis;
use crate::error::IoError;
use crate::usage::Quota;
use crate::vector_db::name::NamespaceName;
use crate::vector_db::record::Recorder;

/// Tries of a transaction that was in another's way. Nothing was written by those before.
const TRIES: u32 = 6;
/// The wait after the first; doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(5);

/// Runs work on a connection in a transaction, again where another was in its way. No function over a closure, for
/// its future could not be told to be `Send` for every connection.
macro_rules! transact {
    ($pg:expr, $client:ident => $work:expr) => {{
        let mut tries = 0;
        loop {
            let loan = $pg.lend().await?;
            let outcome: Result<_> = {
                let $client = loan.client()?;
                loan.run(async {
                    batch($client, "begin").await?;
                    let done = $work;
                    batch($client, "commit").await?;
                    Ok(done)
                })
                .await
            };
            let outcome = loan.finish(outcome).await;
            tries += 1;
            if tries == TRIES || !is_busy(outcome.as_ref().err()) {
                break outcome;
            }
            tokio::time::sleep(FIRST_WAIT * 2u32.pow(tries)).await;
        }
    }};
}

fn is_busy(error: Option<&IoError>) -> bool {
    matches!(error, Some(IoError::Store(error)) if error.kind() == ErrorKind::Busy)
}

/// The registry in a database. Clones share it.
#[derive(Debug, Clone)]
pub struct PostgresRegistry {
    pg: Pg,
}

impl PostgresRegistry {
    /// Over a pool with [`PG_MIGRATIONS`] and [`PG_SESSION`].
    pub fn new(pg: Pg) -> Self {
        Self { pg }
    }
}

#[async_trait]
impl Registry for PostgresRegistry {
    async fn namespace(&self, name: &str) -> Result<Option<NamespaceRow>> {
        let sql = format!("select {NAMESPACE} from vector_namespace where name = $1");
        let row = transact!(self.pg, client => one(client, &sql, &[&name]).await?)?;
        row.as_ref().map(read_namespace).transpose()
    }

    async fn namespaces(&self, scope: &str, after: &str, limit: usize) -> Result<Vec<NamespaceRow>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = format!(
            "select {NAMESPACE} from vector_namespace where scope = $1 and name > $2 order by name limit $3"
        );
        let rows = transact!(self.pg, client => query(client, &sql, &[&scope, &after, &limit]).await?)?;
        rows.iter().map(read_namespace).collect()
    }

    async fn create(&self, row: NamespaceRow, record: Recorder) -> Result<()> {
        transact!(self.pg, client => {
            create(client, &row).await?;
            record.postgres(client).await?;
        })?;
        record.committed();
        Ok(())
    }

    async fn remove(&self, name: NamespaceName, basis: Basis, record: Recorder) -> Result<()> {
        transact!(self.pg, client => {
            remove(client, &name, &basis).await?;
            record.postgres(client).await?;
        })?;
        record.committed();
        Ok(())
    }

    async fn set_acl(&self, name: NamespaceName, basis: Basis, acl: String, record: Recorder) -> Result<()> {
        transact!(self.pg, client => {
            let row = decided(client, &name, &basis).await?;
            let sql = "update vector_namespace set acl = $2 where id = $1";
            execute(client, sql, &[&hex(row.id), &acl]).await?;
            record.postgres(client).await?;
        })?;
        record.committed();
        Ok(())
    }

    async fn visibility(&self, id: CollectionId) -> Result<Visibility> {
        transact!(self.pg, client => visibility(client, &hex(id)).await?)
    }

    async fn begin(&self, id: CollectionId, due_ms: Millis) -> Result<Generation> {
        transact!(self.pg, client => begin(client, &hex(id), due_ms).await?)
    }

    async fn commit(&self, asked: Commit, record: Recorder) -> Result<DatasourceRow> {
        let row = transact!(self.pg, client => {
            let row = commit(client, &asked).await?;
            record.postgres(client).await?;
            row
        })?;
        record.committed();
        Ok(row)
    }

    async fn datasource(&self, id: CollectionId, name: &str) -> Result<Option<DatasourceRow>> {
        transact!(self.pg, client => datasource(client, &hex(id), name).await?)
    }

    async fn text(&self, id: CollectionId, name: &str) -> Result<Option<String>> {
        let sql = "select text from datasource where namespace = $1 and id = $2";
        let row = transact!(self.pg, client => one(client, sql, &[&hex(id), &name]).await?)?;
        let bytes: Option<Vec<u8>> = row.as_ref().map(|row| get(row, 0)).transpose()?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    async fn datasources(&self, id: CollectionId, after: &str, limit: usize) -> Result<Vec<DatasourceRow>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = format!(
            "select {DATASOURCE} from datasource where namespace = $1 and id > $2 order by id limit $3"
        );
        let rows = transact!(self.pg, client => query(client, &sql, &[&hex(id), &after, &limit]).await?)?;
        rows.iter().map(read_datasource).collect()
    }

    async fn labels(&self, id: CollectionId, names: Vec<String>) -> Result<HashMap<String, String>> {
        let sql = "select id, label from datasource where namespace = $1 and id = any ($2)";
        let rows = transact!(self.pg, client => query(client, sql, &[&hex(id), &names]).await?)?;
        rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
    }

    async fn remove_datasource(
        &self,
        name: NamespaceName,
        basis: Basis,
        id: String,
        due_ms: Millis,
        record: Recorder,
    ) -> Result<()> {
        transact!(self.pg, client => {
            remove_datasource(client, &name, &basis, &id, due_ms).await?;
            record.postgres(client).await?;
        })?;
        record.committed();
        Ok(())
    }

    async fn book(
        &self,
        name: NamespaceName,
        basis: Basis,
        rows: Vec<(String, i64)>,
        quota: Quota,
        record: Recorder,
    ) -> Result<usize> {
        let created = transact!(self.pg, client => {
            let created = book_rows(client, &name, &basis, &rows, quota).await?;
            record.postgres(client).await?;
            created
        })?;
        record.committed();
        Ok(created)
    }

    async fn release(
        &self,
        name: NamespaceName,
        basis: Basis,
        rows: Vec<String>,
        record: Recorder,
    ) -> Result<()> {
        transact!(self.pg, client => {
            release_rows(client, &name, &basis, &rows).await?;
            record.postgres(client).await?;
        })?;
        record.committed();
        Ok(())
    }

    async fn request(
        &self,
        id: CollectionId,
        request_id: &str,
        since_ms: Millis,
    ) -> Result<Option<(RequestRow, String)>> {
        let sql = "select id, digest, datasource from vector_request
                   where namespace = $1 and id = $2 and at_ms >= $3";
        let row = transact!(self.pg, client => {
            one(client, sql, &[&hex(id), &request_id, &since_ms]).await?
        })?;
        row.as_ref()
            .map(|row| Ok((RequestRow { id: get(row, 0)?, digest: get(row, 1)? }, get(row, 2)?)))
            .transpose()
    }

    async fn due(&self, now: Millis, limit: usize) -> Result<Vec<Due>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        transact!(self.pg, client => due(client, now, limit).await?)
    }

    async fn removed(&self, id: CollectionId, generation: Generation) -> Result<()> {
        let sql = "delete from stray_generation where namespace = $1 and generation = $2";
        transact!(self.pg, client => execute(client, sql, &[&hex(id), &generation]).await?).map(drop)
    }

    async fn dropped(&self, limit: usize) -> Result<Vec<(Collection, String)>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = "select id, dimension, metric, instance from dropped_collection limit $1";
        let rows = transact!(self.pg, client => query(client, sql, &[&limit]).await?)?;
        rows.iter().map(|row| Ok((read_collection(row)?, get(row, 3)?))).collect()
    }

    async fn forget(&self, id: CollectionId) -> Result<()> {
        let sql = "delete from dropped_collection where id = $1";
        transact!(self.pg, client => execute(client, sql, &[&hex(id)]).await?).map(drop)
    }

    async fn forget_requests(&self, before_ms: Millis) -> Result<()> {
        let sql = "delete from vector_request where at_ms < $1";
        transact!(self.pg, client => execute(client, sql, &[&before_ms]).await?).map(drop)
    }

    async fn usage(&self, team: &str) -> Result<(i64, i64)> {
        let sql = "select row_count, size_bytes from vector_usage where team = $1";
        match transact!(self.pg, client => one(client, sql, &[&team]).await?)? {
            Some(row) => Ok((get(&row, 0)?, get(&row, 1)?)),
            None => Ok((0, 0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sre_service::testing::{Schema, postgres};

    use super::*;
    use crate::vector_db::registry::contract::{self, Bench};

    async fn fresh() -> Option<Bench> {
        let config = postgres("v", PG_SESSION)?;
        let pg = Pg::connect(&config, PG_MIGRATIONS).await.unwrap();
        let registry = Arc::new(PostgresRegistry::new(pg.clone()));
        Some(Bench { registry, _keep: Box::new(Schema(pg)) })
    }

    contract::every_case!(fresh);
}
