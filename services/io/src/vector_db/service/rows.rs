//! Methods about rows.

use std::collections::HashMap;

use sre_identity::Caller;
use sre_proto::io::v1::search_request::Query as Message;
use sre_proto::io::v1::*;
use sre_vectors::{Features, Row as StoredRow, Wanted};
use tonic::{Response, Status};

use super::{There, VectorDbService};
use crate::error::IoError;
use crate::request::DECISIONS;
use crate::vector_db::embed::Embedder;
use crate::vector_db::find::{Asked, check_vector};
use crate::vector_db::name::{NamespaceName, check_datasource};
use crate::vector_db::record::Recorder;
use crate::vector_db::registry::NamespaceRow;
use crate::vector_db::write::{MAX_ROW_BYTES, Metadata, invalid};
use crate::vector_db::{citation, message};

/// Rows of one call.
const MOST_ROWS: usize = 1000;
/// The longest id of a row.
const MAX_ID_BYTES: usize = 512;
const TOP_K: i32 = 10;
const MAX_TOP_K: usize = 100;
const MAX_DATASOURCES: usize = 256;
/// The most bytes of an answer: it travels in one message.
const MAX_ANSWER_BYTES: usize = 3 << 20;

impl VectorDbService {
    pub(super) async fn put_rows(
        &self,
        caller: Caller,
        mut request: UpsertRowsRequest,
    ) -> Result<Response<UpsertRowsResponse>, Status> {
        self.own(&caller, &mut request.parent).await?;
        let name = NamespaceName::parse("parent", &request.parent)?;
        let mut there = self.there(&caller, &request, &name).await?;
        if request.rows.is_empty() || request.rows.len() > MOST_ROWS {
            return Err(invalid("rows", format!("must be 1 to {MOST_ROWS}")).into());
        }
        let given = std::mem::take(&mut request.rows);
        let rows = self.rows(&caller, &there, given).await?;
        let quota = self.quota(&name).await?;
        for _ in 0..DECISIONS {
            let (basis, record) = (there.basis(), Recorder::of(there.granted));
            match self.vectors.put(&name, &there.row, basis, rows.clone(), quota, record).await {
                Err(IoError::AclChanged) => there = self.there(&caller, &request, &name).await?,
                done => {
                    let created_count = i32::try_from(done?).unwrap_or(i32::MAX);
                    return Ok(Response::new(UpsertRowsResponse { created_count }));
                }
            }
        }
        Err(IoError::AclChanged.into())
    }

    /// Rows as the backend takes them: of two with one id the later; texts without a vector embedded.
    async fn rows(&self, caller: &Caller, there: &There, given: Vec<Row>) -> Result<Vec<StoredRow>, Status> {
        let mut by_id: HashMap<String, StoredRow> = HashMap::new();
        for row in given {
            let row = stored(row, &there.row)?;
            by_id.insert(row.id.clone(), row);
        }
        let (mut ready, mut bare): (Vec<_>, Vec<_>) =
            by_id.into_values().partition(|row| !row.vector.is_empty());
        if bare.is_empty() {
            return Ok(ready);
        }
        let words =
            "is missing, and the namespace embeds no texts: give it, or create a namespace with a model";
        let embedding = there.row.embedding.as_ref().ok_or_else(|| invalid("rows.vector", words))?;
        let mut embedder = Embedder::of(&self.host, caller);
        while !bare.is_empty() {
            let texts: Vec<&String> = bare.iter().map(|row| &row.text).collect();
            let count = Embedder::fitting(&texts, there.row.dimension);
            let texts = texts.into_iter().take(count).cloned().collect();
            let vectors = embedder.embed(embedding, there.row.dimension, texts).await?;
            let rest = bare.split_off(count);
            ready.extend(bare.into_iter().zip(vectors).map(|(row, vector)| StoredRow { vector, ..row }));
            bare = rest;
        }
        Ok(ready)
    }

    pub(super) async fn remove_rows(
        &self,
        caller: Caller,
        mut request: DeleteRowsRequest,
    ) -> Result<Response<()>, Status> {
        self.own(&caller, &mut request.parent).await?;
        let name = NamespaceName::parse("parent", &request.parent)?;
        for _ in 0..DECISIONS {
            let there = self.there(&caller, &request, &name).await?;
            if request.ids.is_empty() || request.ids.len() > MOST_ROWS {
                return Err(invalid("ids", format!("must be 1 to {MOST_ROWS}")).into());
            }
            let (basis, record) = (there.basis(), Recorder::of(there.granted));
            match self.vectors.delete(&name, &there.row, basis, request.ids.clone(), record).await {
                Err(IoError::AclChanged) => {}
                done => return Ok(Response::new(done?)),
            }
        }
        Err(IoError::AclChanged.into())
    }

    pub(super) async fn find_rows(
        &self,
        caller: Caller,
        mut request: SearchRequest,
    ) -> Result<Response<SearchResponse>, Status> {
        self.own(&caller, &mut request.parent).await?;
        let name = NamespaceName::parse("parent", &request.parent)?;
        let there = self.there(&caller, &request, &name).await?;
        let query = request.query.take();
        let mut asked = asked(&request)?;
        asked.vector = match query {
            Some(Message::Vector(vector)) => vector.values,
            Some(Message::Text(text)) => self.query_vector(&caller, &there, text).await?,
            None => return Err(invalid("query", "is missing: give a text or a vector").into()),
        };
        let (found, labels) = self.vectors.find(&there.row, asked).await?;
        let hits: Vec<SearchHit> = found
            .into_iter()
            .map(|found| {
                let label = labels.get(&found.datasource);
                let mut hit = message::hit(found, label);
                citation::told(&mut hit, request.include_citations, request.include_metadata);
                hit
            })
            .collect();
        let size = |hit: &SearchHit| {
            let vector = hit.vector.as_ref().map_or(0, |vector| vector.values.len() * size_of::<f32>());
            hit.id.len() + hit.text.len() + hit.metadata_json.len() + hit.datasource_label.len() + vector
        };
        if hits.iter().map(size).sum::<usize>() > MAX_ANSWER_BYTES {
            let limit_bytes = MAX_ANSWER_BYTES as u64;
            return Err(IoError::TooLarge {
                what: "an answer (lower top_k, or leave texts out)",
                limit_bytes,
            }
            .into());
        }
        Ok(Response::new(SearchResponse { hits }))
    }

    async fn query_vector(&self, caller: &Caller, there: &There, text: String) -> Result<Vec<f32>, Status> {
        let words = "is a text, and the namespace embeds none: search with a vector";
        let embedding = there.row.embedding.as_ref().ok_or_else(|| invalid("query", words))?;
        check_text("query", &text)?;
        if text.trim().is_empty() {
            return Err(invalid("query", "is an empty text: say what to look for").into());
        }
        let mut embedder = Embedder::of(&self.host, caller);
        let vectors = embedder.embed(embedding, there.row.dimension, vec![text]).await?;
        Ok(vectors.into_iter().next().unwrap_or_default())
    }
}

/// A search as it is asked for, without its vector.
fn asked(request: &SearchRequest) -> Result<Asked, IoError> {
    let top_k = usize::try_from(request.top_k.unwrap_or(TOP_K)).unwrap_or_default();
    if top_k == 0 || top_k > MAX_TOP_K {
        return Err(invalid("top_k", format!("must be between 1 and {MAX_TOP_K}")));
    }
    if request.datasources.len() > MAX_DATASOURCES {
        return Err(invalid("datasources", format!("are more than {MAX_DATASOURCES}")));
    }
    request.datasources.iter().try_for_each(|id| check_datasource("datasources", id))?;
    if request.min_score.is_some_and(f32::is_nan) {
        return Err(invalid("min_score", "is not a number"));
    }
    Ok(Asked {
        vector: Vec::new(),
        top_k,
        condition: request.filter.as_ref().map(message::condition).transpose()?,
        datasources: request.datasources.clone(),
        min_score: request.min_score,
        wanted: Wanted {
            text: request.include_text.unwrap_or(true),
            metadata: request.include_metadata || request.include_citations,
            vector: request.include_vectors,
        },
    })
}

/// A row as it is stored, with an empty vector where it has none.
fn stored(row: Row, namespace: &NamespaceRow) -> Result<StoredRow, IoError> {
    if row.id.is_empty() || row.id.len() > MAX_ID_BYTES || row.id.chars().any(char::is_control) {
        let words = format!("has 1 to {MAX_ID_BYTES} bytes and no control characters");
        return Err(invalid("rows.id", words));
    }
    check_text("rows.text", &row.text)?;
    let metadata = Metadata::of("rows.metadata_json", &row.metadata_json)?;
    let features = Features::of(&metadata.object, "")
        .map_err(|error| invalid("rows.metadata_json", error.to_string()))?;
    let vector = match row.vector {
        Some(vector) => {
            check_vector("rows.vector", &vector.values, namespace)?;
            vector.values
        }
        None if row.text.trim().is_empty() => {
            return Err(invalid("rows", "hold one with neither vector nor text"));
        }
        None => Vec::new(),
    };
    Ok(StoredRow {
        id: row.id,
        generation: 0,
        vector,
        text: row.text,
        metadata: metadata.json,
        features,
        datasource: String::new(),
        chunk: 0,
    })
}

fn check_text(what: &'static str, text: &str) -> Result<(), IoError> {
    if text.len() > MAX_ROW_BYTES {
        return Err(IoError::TooLarge { what, limit_bytes: MAX_ROW_BYTES as u64 });
    }
    Ok(())
}
