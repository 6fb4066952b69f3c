//! The rows of files. Every statement about the table `file` is here.

use sre_store::StoreError;
use sre_store::pg::tokio_postgres::Row;
use sre_store::pg::{GenericClient, PgClient};

use crate::clock::Millis;
use crate::storage::index::FileRow;
use crate::storage::metadata;

const COLUMNS: &str = "name, team, etag, mimetype, size_bytes, digest, object, acl, created_ms, updated_ms, \
                       expires_ms, instance, metadata";

fn read(row: &Row) -> Result<FileRow, StoreError> {
    Ok(FileRow {
        name: row.try_get(0)?,
        team: row.try_get(1)?,
        etag: row.try_get(2)?,
        mimetype: row.try_get(3)?,
        size_bytes: row.try_get(4)?,
        digest: row.try_get(5)?,
        object: row.try_get(6)?,
        acl: row.try_get(7)?,
        created_ms: row.try_get(8)?,
        updated_ms: row.try_get(9)?,
        expires_ms: row.try_get(10)?,
        instance: row.try_get(11)?,
        metadata: metadata::from_text(row.try_get(12)?),
    })
}

/// Holds other writers of this name back until the transaction ends.
pub async fn lock(client: &PgClient, name: &str) -> Result<(), StoreError> {
    let sql = "select pg_advisory_xact_lock(hashtextextended('sre-file:' || $1, 0))";
    client.execute(&client.prepare_cached(sql).await?, &[&name]).await?;
    Ok(())
}

/// The row of a name, expired or not.
pub async fn find(client: &PgClient, name: &str) -> Result<Option<FileRow>, StoreError> {
    let sql = format!("select {COLUMNS} from file where name = $1");
    let row = client.query_opt(&client.prepare_cached(&sql).await?, &[&name]).await?;
    row.as_ref().map(read).transpose()
}

/// Live rows in a range of names, by name, after `after`.
pub async fn between(
    client: &PgClient,
    (from, to): (&str, &str),
    after: &str,
    now: Millis,
    limit: u32,
) -> Result<Vec<FileRow>, StoreError> {
    let sql = format!(
        "select {COLUMNS} from file where name >= $1 and name < $2 and name > $3
         and (expires_ms is null or expires_ms > $4) order by name limit $5"
    );
    let statement = client.prepare_cached(&sql).await?;
    let rows = client.query(&statement, &[&from, &to, &after, &now, &i64::from(limit)]).await?;
    rows.iter().map(read).collect()
}

/// Puts a row, over the one of that name if there is one.
pub async fn put(client: &PgClient, row: &FileRow) -> Result<(), StoreError> {
    let sql = format!(
        "insert into file ({COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         on conflict (name) do update set team = excluded.team, etag = excluded.etag,
           mimetype = excluded.mimetype, size_bytes = excluded.size_bytes, digest = excluded.digest,
           object = excluded.object, acl = excluded.acl, created_ms = excluded.created_ms,
           updated_ms = excluded.updated_ms, expires_ms = excluded.expires_ms, instance = excluded.instance,
           metadata = excluded.metadata"
    );
    let statement = client.prepare_cached(&sql).await?;
    let metadata = metadata::to_text(&row.metadata);
    client
        .execute(
            &statement,
            &[
                &row.name,
                &row.team,
                &row.etag,
                &row.mimetype,
                &row.size_bytes,
                &row.digest,
                &row.object,
                &row.acl,
                &row.created_ms,
                &row.updated_ms,
                &row.expires_ms,
                &row.instance,
                &metadata,
            ],
        )
        .await?;
    Ok(())
}

/// Removes a row.
pub async fn remove(client: &PgClient, name: &str) -> Result<(), StoreError> {
    client.execute(&client.prepare_cached("delete from file where name = $1").await?, &[&name]).await?;
    Ok(())
}

/// The names of rows that have expired, some of them, in order.
pub async fn expired(client: &PgClient, now: Millis, limit: u32) -> Result<Vec<String>, StoreError> {
    let sql =
        "select name from (select name from file where expires_ms <= $1 order by expires_ms limit $2) due
               order by name";
    let rows = client.query(&client.prepare_cached(sql).await?, &[&now, &i64::from(limit)]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
