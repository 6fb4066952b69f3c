//! Links in a PostgreSQL database.

use async_trait::async_trait;
use sre_store::StoreError;
use sre_store::pg::tokio_postgres::Row;
use sre_store::pg::{GenericClient as _, Pg};

use super::{LinkRow, LinkStore, disposition_number, disposition_of, kind_number, kind_of};
use crate::basis::Recorder;
use crate::clock::Millis;
use crate::error::IoError;
use crate::router::keys::KeyRow;
use crate::storage::transact;

const COLUMNS: &str = "id, file, subject, kind, disposition, etag, created_ms, expires_ms, revoked_ms";

/// Links in a database. Clones share it.
#[derive(Debug, Clone)]
pub struct PostgresLinks {
    pg: Pg,
}

impl PostgresLinks {
    /// Links in this database, whose schema has [`crate::schema::PG_MIGRATIONS`].
    pub fn new(pg: Pg) -> Self {
        Self { pg }
    }
}

fn read(row: &Row) -> Result<LinkRow, StoreError> {
    Ok(LinkRow {
        id: row.try_get(0)?,
        file: row.try_get(1)?,
        subject: row.try_get(2)?,
        kind: kind_of(row.try_get(3)?),
        disposition: disposition_of(row.try_get(4)?),
        etag: row.try_get(5)?,
        created_ms: row.try_get(6)?,
        expires_ms: row.try_get(7)?,
        revoked_ms: row.try_get(8)?,
    })
}

#[async_trait]
impl LinkStore for PostgresLinks {
    async fn create(&self, link: LinkRow, record: Recorder) -> Result<(), IoError> {
        let sql = format!(
            "insert into link ({COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict do nothing"
        );
        let (kind, disposition) = (kind_number(link.kind), disposition_number(link.disposition));
        transact!(self.pg, client => {
            let statement = client.prepare_cached(&sql).await.map_err(StoreError::from)?;
            client
                .execute(
                    &statement,
                    &[
                        &link.id,
                        &link.file,
                        &link.subject,
                        &kind,
                        &disposition,
                        &link.etag,
                        &link.created_ms,
                        &link.expires_ms,
                        &link.revoked_ms,
                    ],
                )
                .await
                .map_err(StoreError::from)?;
            record.postgres(client).await?;
        })?;
        record.committed();
        Ok(())
    }

    async fn find(&self, id: &str) -> Result<Option<LinkRow>, IoError> {
        let client = self.pg.get().await?;
        let sql = format!("select {COLUMNS} from link where id = $1");
        let row = self.pg.bounded(client.query_opt(&sql, &[&id])).await?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    async fn renew(&self, id: &str, expires: Millis, record: Recorder) -> Result<(), IoError> {
        let sql = "update link set expires_ms = greatest(expires_ms, $2) where id = $1";
        transact!(self.pg, client => {
            client.execute(sql, &[&id, &expires]).await.map_err(StoreError::from)?;
            record.postgres(client).await?;
        })?;
        record.committed();
        Ok(())
    }

    async fn revoke(&self, id: &str, now: Millis, record: Recorder) -> Result<(), IoError> {
        let sql = "update link set revoked_ms = $2 where id = $1 and revoked_ms is null";
        transact!(self.pg, client => {
            client.execute(sql, &[&id, &now]).await.map_err(StoreError::from)?;
            record.postgres(client).await?;
        })?;
        record.committed();
        Ok(())
    }

    async fn list(
        &self,
        file: &str,
        subject: Option<&str>,
        after: &str,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<LinkRow>, IoError> {
        let client = self.pg.get().await?;
        let sql = format!(
            "select {COLUMNS} from link where file = $1 and id > $2 and expires_ms > $3
             and ($4::text is null or subject = $4) order by id limit $5"
        );
        let limit = i64::from(limit);
        let rows = self.pg.bounded(client.query(&sql, &[&file, &after, &now, &subject, &limit])).await?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    async fn drop_expired(&self, now: Millis, limit: u32) -> Result<usize, IoError> {
        let client = self.pg.get().await?;
        let sql = "delete from link where id in
                     (select id from link where expires_ms <= $1 order by expires_ms limit $2
                      for update skip locked)";
        let gone = self.pg.bounded(client.execute(sql, &[&now, &i64::from(limit)])).await?;
        Ok(usize::try_from(gone).unwrap_or(usize::MAX))
    }

    async fn keys(&self) -> Result<Vec<KeyRow>, IoError> {
        let client = self.pg.get().await?;
        let rows = self.pg.bounded(client.query("select id, secret, created_ms from link_key", &[])).await?;
        let read = |row: &Row| -> Result<KeyRow, StoreError> {
            Ok(KeyRow { id: row.try_get(0)?, secret: row.try_get(1)?, created_ms: row.try_get(2)? })
        };
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    async fn add_key(&self, key: KeyRow) -> Result<(), IoError> {
        let client = self.pg.get().await?;
        let sql = "insert into link_key (id, secret, created_ms) values ($1, $2, $3) on conflict do nothing";
        self.pg.bounded(client.execute(sql, &[&key.id, &key.secret, &key.created_ms])).await?;
        Ok(())
    }

    async fn drop_keys(&self, before: Millis) -> Result<(), IoError> {
        let client = self.pg.get().await?;
        self.pg.bounded(client.execute("delete from link_key where created_ms < $1", &[&before])).await?;
        Ok(())
    }
}
