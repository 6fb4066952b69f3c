//! Links in the service's embedded store.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Row, params};
use sre_store::Store;

use super::{LinkRow, LinkStore, disposition_number, disposition_of, kind_number, kind_of};
use crate::basis::Recorder;
use crate::clock::Millis;
use crate::error::IoError;
use crate::router::keys::KeyRow;

const COLUMNS: &str = "id, file, subject, kind, disposition, etag, created_ms, expires_ms, revoked_ms";

/// Links in a store. Clones share it.
#[derive(Debug, Clone)]
pub struct SqliteLinks {
    store: Store,
}

impl SqliteLinks {
    /// Links in this store, whose schema has [`crate::schema::MIGRATIONS`].
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<LinkRow> {
    Ok(LinkRow {
        id: row.get(0)?,
        file: row.get(1)?,
        subject: row.get(2)?,
        kind: kind_of(row.get(3)?),
        disposition: disposition_of(row.get(4)?),
        etag: row.get(5)?,
        created_ms: row.get(6)?,
        expires_ms: row.get(7)?,
        revoked_ms: row.get(8)?,
    })
}

#[async_trait]
impl LinkStore for SqliteLinks {
    async fn create(&self, link: LinkRow, record: Recorder) -> Result<(), IoError> {
        let create = move |tx: &rusqlite::Connection| {
            let sql = format!(
                "insert or replace into link ({COLUMNS}) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
            );
            tx.prepare_cached(&sql)?.execute(params![
                link.id,
                link.file,
                link.subject,
                kind_number(link.kind),
                disposition_number(link.disposition),
                link.etag,
                link.created_ms,
                link.expires_ms,
                link.revoked_ms
            ])?;
            record.sqlite(tx)
        };
        Ok(self.store.write(create).await?)
    }

    async fn find(&self, id: &str) -> Result<Option<LinkRow>, IoError> {
        let id = id.to_owned();
        let find = move |conn: &rusqlite::Connection| {
            let sql = format!("select {COLUMNS} from link where id = ?1");
            Ok(conn.prepare_cached(&sql)?.query_row([id], read).optional()?)
        };
        Ok(self.store.read(find).await?)
    }

    async fn renew(&self, id: &str, expires: Millis, record: Recorder) -> Result<(), IoError> {
        let id = id.to_owned();
        let renew = move |tx: &rusqlite::Connection| {
            tx.prepare_cached("update link set expires_ms = max(expires_ms, ?2) where id = ?1")?
                .execute(params![id, expires])?;
            record.sqlite(tx)
        };
        Ok(self.store.write(renew).await?)
    }

    async fn revoke(&self, id: &str, now: Millis, record: Recorder) -> Result<(), IoError> {
        let id = id.to_owned();
        let revoke = move |tx: &rusqlite::Connection| {
            tx.prepare_cached("update link set revoked_ms = ?2 where id = ?1 and revoked_ms is null")?
                .execute(params![id, now])?;
            record.sqlite(tx)
        };
        Ok(self.store.write(revoke).await?)
    }

    async fn list(
        &self,
        file: &str,
        subject: Option<&str>,
        after: &str,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<LinkRow>, IoError> {
        let (file, subject, after) = (file.to_owned(), subject.map(str::to_owned), after.to_owned());
        let list = move |conn: &rusqlite::Connection| {
            let sql = format!(
                "select {COLUMNS} from link where file = ?1 and id > ?2 and expires_ms > ?3
                 and (?4 is null or subject = ?4) order by id limit ?5"
            );
            let mut statement = conn.prepare_cached(&sql)?;
            let rows = statement.query_map(params![file, after, now, subject, limit], read)?;
            Ok(rows.collect::<Result<_, _>>()?)
        };
        Ok(self.store.read(list).await?)
    }

    async fn drop_expired(&self, now: Millis, limit: u32) -> Result<usize, IoError> {
        let drop = move |tx: &rusqlite::Connection| {
            let sql = "delete from link where id in
                         (select id from link where expires_ms <= ?1 order by expires_ms limit ?2)";
            Ok(tx.prepare_cached(sql)?.execute(params![now, limit])?)
        };
        Ok(self.store.write(drop).await?)
    }

    async fn keys(&self) -> Result<Vec<KeyRow>, IoError> {
        let keys = |conn: &rusqlite::Connection| {
            let mut statement = conn.prepare_cached("select id, secret, created_ms from link_key")?;
            let rows = statement.query_map([], |row| {
                Ok(KeyRow { id: row.get(0)?, secret: row.get(1)?, created_ms: row.get(2)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        };
        Ok(self.store.read(keys).await?)
    }

    async fn add_key(&self, key: KeyRow) -> Result<(), IoError> {
        let add = move |tx: &rusqlite::Connection| {
            tx.prepare_cached(
                "insert or replace into link_key (id, secret, created_ms) values (?1, ?2, ?3)",
            )?
            .execute(params![key.id, key.secret, key.created_ms])?;
            Ok(())
        };
        Ok(self.store.write(add).await?)
    }

    async fn drop_keys(&self, before: Millis) -> Result<(), IoError> {
        let drop = move |tx: &rusqlite::Connection| {
            tx.prepare_cached("delete from link_key where created_ms < ?1")?.execute([before])?;
            Ok(())
        };
        Ok(self.store.write(drop).await?)
    }
}
