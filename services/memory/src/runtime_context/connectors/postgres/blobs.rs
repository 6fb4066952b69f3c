//! Payloads in the database, in pieces, so that every process that shares the journal finds them.
//!
//! A piece is a row of its own transaction; the payload is there once its `blob` row has a size.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream;
use sre_store::StoreError;
use sre_store::pg::{Pg, PgClient};
use std::time::Duration;
use uuid::Uuid;

use super::open::id_of;
use super::rows::{Param, get, partition, query};
use super::{Result, sessions, transact};
use crate::runtime_context::blobs::{BlobStore, Incoming, PIECE_BYTES, Pieces};
use crate::runtime_context::error::JournalError;
use crate::runtime_context::ids::{Digest, RunId};

/// The payloads of all runs, in the journal's schema.
#[derive(Debug, Clone)]
pub struct PostgresBlobs {
    pg: Pg,
}

impl PostgresBlobs {
    /// Payloads in a database with the journal's migrations.
    pub fn new(pg: Pg) -> Self {
        Self { pg }
    }

    /// The upload that brought a payload, and its size.
    async fn find(&self, run: RunId, digest: Digest) -> Result<Option<(Uuid, i64)>> {
        let found = transact!(self, client => find(client, run, digest).await)?;
        Ok(found)
    }
}

async fn find(client: &PgClient, run: RunId, digest: Digest) -> Result<Option<(Uuid, i64)>> {
    let text = "select upload, size_bytes from blob \
                where run_id = $1 and partition = $2 and digest = $3 and size_bytes is not null";
    let digest: &[u8] = &digest.0;
    let found = query(client, text, &[&run.uuid, &partition(run), &digest]).await?;
    found.first().map(|row| Ok((get(row, 0)?, get(row, 1)?))).transpose()
}

#[async_trait]
impl BlobStore for PostgresBlobs {
    async fn receive(&self, run: RunId, digest: Digest) -> Result<Box<dyn Incoming>> {
        let upload = sre_proto::ids::new_uuid();
        let text =
            "insert into blob (upload, at_ms, run_id, partition, digest) values ($1, now_ms(), $2, $3, $4)";
        let bytes: &[u8] = &digest.0;
        let params: [Param<'_>; 4] = [&upload, &run.uuid, &partition(run), &bytes];
        transact!(self, client => query(client, text, &params).await)?;
        let (pg, waiting) = (self.pg.clone(), BytesMut::new());
        Ok(Box::new(IncomingPieces { pg, run, digest, upload, pieces: 0, waiting }))
    }

    async fn size_bytes(&self, run: RunId, digest: Digest) -> Result<Option<i64>> {
        Ok(self.find(run, digest).await?.map(|(_, size)| size))
    }

    async fn read(&self, run: RunId, digest: Digest) -> Result<Pieces> {
        let (upload, size) = self.find(run, digest).await?.ok_or(JournalError::BlobNotFound)?;
        let blobs = self.clone();
        let pieces = stream::try_unfold((0i32, 0i64), move |(n, read)| {
            let blobs = blobs.clone();
            async move {
                if read >= size {
                    return Ok(None);
                }
                let piece = blobs.piece(upload, n).await?;
                let read = read + i64::try_from(piece.len()).unwrap_or(i64::MAX);
                Ok(Some((piece, (n + 1, read))))
            }
        });
        Ok(pieces.boxed())
    }

    async fn remove(&self, run: RunId) -> Result<()> {
        let text = "
            with gone as (delete from blob where run_id = $1 and partition = $2 returning upload)
            delete from blob_piece p using gone where p.upload = gone.upload";
        let params: [Param<'_>; 2] = [&run.uuid, &partition(run)];
        transact!(self, client => query(client, text, &params).await)?;
        Ok(())
    }

    async fn untouched(&self, age: Duration, after: Option<RunId>, limit: usize) -> Result<Vec<RunId>> {
        let text = "
            select partition, run_id from blob
            where size_bytes is not null and (run_id, partition) > ($1::uuid, $2::int2)
            group by run_id, partition having max(at_ms) <= (select now_ms()) - $3::int8
            order by run_id, partition limit $4::int8";
        let (id, part) = after.map_or((Uuid::nil(), -1), |run| (run.uuid, partition(run)));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let params: [Param<'_>; 4] = [&id, &part, &sessions::millis(age), &limit];
        let found = transact!(self, client => query(client, text, &params).await)?;
        found.iter().map(|row| id_of(row, 0)).collect()
    }

    async fn remove_unfinished(&self, age: Duration) -> Result<()> {
        let text = "
            with gone as (
                delete from blob where upload in (select upload from blob
                    where size_bytes is null and at_ms <= (select now_ms()) - $1::int8
                    order by at_ms limit 1000 for update skip locked)
                returning upload)
            delete from blob_piece p using gone where p.upload = gone.upload";
        transact!(self, client => query(client, text, &[&sessions::millis(age)]).await)?;
        Ok(())
    }
}

impl PostgresBlobs {
    async fn piece(&self, upload: Uuid, n: i32) -> Result<Bytes> {
        let text = "select data from blob_piece where upload = $1 and n = $2";
        let found = transact!(self, client => query(client, text, &[&upload, &n]).await)?;
        // Deleted while it was read, with its run.
        let row = found.first().ok_or(JournalError::BlobNotFound)?;
        Ok(Bytes::copy_from_slice(get(row, 0)?))
    }
}

/// A payload on its way in. What an abandoned one leaves, the sweeper removes.
struct IncomingPieces {
    pg: Pg,
    run: RunId,
    digest: Digest,
    upload: Uuid,
    pieces: i32,
    waiting: BytesMut,
}

impl IncomingPieces {
    async fn insert(&mut self, piece: Bytes) -> Result<()> {
        // Nothing where the upload was given up meanwhile: then it cannot be kept either.
        let text = "insert into blob_piece (upload, n, data) select $1, $2, $3 \
                    where exists (select 1 from blob where upload = $1)";
        let data: &[u8] = &piece;
        let params: [Param<'_>; 3] = [&self.upload, &self.pieces, &data];
        transact!(self, client => query(client, text, &params).await)?;
        self.pieces += 1;
        Ok(())
    }
}

#[async_trait]
impl Incoming for IncomingPieces {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        self.waiting.extend_from_slice(&data);
        while self.waiting.len() >= PIECE_BYTES {
            let piece = self.waiting.split_to(PIECE_BYTES).freeze();
            self.insert(piece).await?;
        }
        Ok(())
    }

    async fn keep(mut self: Box<Self>, size_bytes: i64) -> Result<()> {
        if !self.waiting.is_empty() {
            let rest = self.waiting.split().freeze();
            self.insert(rest).await?;
        }
        let text = "update blob set size_bytes = $2, at_ms = now_ms() where upload = $1 returning 1";
        let kept = transact!(self, client => query(client, text, &[&self.upload, &size_bytes]).await);
        match kept {
            Ok(rows) if !rows.is_empty() => Ok(()),
            Ok(_) => Err(StoreError::Unavailable { message: "the upload took too long".to_owned() }.into()),
            // It is there already: this one is not needed, and that one was touched.
            Err(JournalError::Store(error)) if error.is_duplicate() => {
                let text = "
                    with gone as (delete from blob where upload = $1),
                    touched as (update blob set at_ms = now_ms() where run_id = $2 and partition = $3
                        and digest = $4 and size_bytes is not null)
                    delete from blob_piece where upload = $1";
                let digest: &[u8] = &self.digest.0;
                let params: [Param<'_>; 4] = [&self.upload, &self.run.uuid, &partition(self.run), &digest];
                transact!(self, client => query(client, text, &params).await)?;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sre_service::testing::Schema;

    use super::*;
    use crate::runtime_context::blobs::contract;
    use crate::runtime_context::connectors::postgres::PG_MIGRATIONS;
    use crate::runtime_context::connectors::postgres::tests::config;

    async fn fresh() -> Option<(Arc<dyn BlobStore>, Schema)> {
        let pg = Pg::connect(&config()?, PG_MIGRATIONS).await.unwrap();
        Some((Arc::new(PostgresBlobs::new(pg.clone())), Schema(pg)))
    }

    contract::every_case!(fresh);
}
