//! Methods about datasources.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use sre_identity::Caller;
use sre_proto::io::v1::create_datasource_request::Part;
use sre_proto::io::v1::*;
use tonic::{Response, Status, Streaming};

use super::{There, VectorDbService};
use crate::clock::millis;
use crate::error::IoError;
use crate::request::{self, DECISIONS};
use crate::vector_db::citation::Origin;
use crate::vector_db::embed::Embedder;
use crate::vector_db::name::{DatasourceName, NamespaceName};
use crate::vector_db::record::Recorder;
use crate::vector_db::registry::DatasourceRow;
use crate::vector_db::write::{MAX_TEXT_BYTES, Metadata, NewDatasource, invalid};
use crate::vector_db::{GRACE, message};

/// The longest wait for the next piece of a text.
const PIECE_TIME: Duration = Duration::from_secs(30);
/// Bytes of a text in one message.
const PIECE_BYTES: usize = 64 << 10;
/// The longest label and request id.
const MAX_LABEL_BYTES: usize = 512;

impl VectorDbService {
    pub(super) async fn create_source(
        &self,
        caller: Caller,
        mut stream: Streaming<CreateDatasourceRequest>,
    ) -> Result<Response<Datasource>, Status> {
        let mut first = next(&mut stream).await?.unwrap_or_default();
        let Some(Part::Header(header)) = &mut first.part else {
            return Err(invalid("header", "must come first: send it before any text").into());
        };
        self.own(&caller, &mut header.name).await?;
        let name = DatasourceName::parse("header.name", &header.name)?;
        let there = self.there(&caller, &first, &name.parent).await?;
        let Some(Part::Header(header)) = first.part.clone() else {
            return Err(invalid("header", "must come first: send it before any text").into());
        };
        let new = read(name.clone(), header, &mut stream).await?;
        if let Some(row) = self.vectors.repeated(&there.row, &new).await? {
            return Ok(Response::new(message::datasource(&name.parent, row)));
        }
        // What fails anyway fails before anything is embedded.
        let before = self.vectors.registry.datasource(there.row.id, &name.datasource).await?;
        new.condition.check(before.map(|row| row.etag).as_deref()).map_err(IoError::from)?;
        let quota = self.quota(&name.parent).await?;
        let creator = there.granted.candidate()?.to_string();
        let mut embedder = Embedder::of(&self.host, &caller);
        let written = self.vectors.write(&there.row, new, creator, &mut embedder).await?;
        let namespace = there.row.clone();
        let mut decision = Some(there);
        for _ in 0..DECISIONS {
            let there = match decision.take() {
                Some(there) => there,
                None => self.there(&caller, &first, &name.parent).await?,
            };
            let (basis, record) = (there.basis(), Recorder::of(there.granted));
            match self.vectors.commit(&name.parent, basis, &written, quota, record).await {
                Err(IoError::AclChanged) => {}
                Ok(row) => return Ok(Response::new(message::datasource(&name.parent, row))),
                Err(error) => {
                    self.vectors.abandon(&namespace, written.row.generation).await;
                    return Err(error.into());
                }
            }
        }
        self.vectors.abandon(&namespace, written.row.generation).await;
        Err(IoError::AclChanged.into())
    }

    async fn source(&self, there: &There, name: &DatasourceName) -> Result<DatasourceRow, IoError> {
        let found = self.vectors.registry.datasource(there.row.id, &name.datasource).await?;
        found.ok_or_else(|| IoError::NotFound(name.to_string()))
    }

    pub(super) async fn get_source(
        &self,
        caller: Caller,
        mut request: GetDatasourceRequest,
    ) -> Result<Response<Datasource>, Status> {
        self.own(&caller, &mut request.name).await?;
        let name = DatasourceName::parse("name", &request.name)?;
        let there = self.there(&caller, &request, &name.parent).await?;
        let row = self.source(&there, &name).await?;
        Ok(Response::new(message::datasource(&name.parent, row)))
    }

    pub(super) async fn read_source(
        &self,
        caller: Caller,
        mut request: ReadDatasourceRequest,
    ) -> Result<Response<BoxStream<'static, Result<ReadDatasourceResponse, Status>>>, Status> {
        self.own(&caller, &mut request.name).await?;
        let name = DatasourceName::parse("name", &request.name)?;
        let there = self.there(&caller, &request, &name.parent).await?;
        let text = self.vectors.registry.text(there.row.id, &name.datasource).await?;
        let text = text.ok_or_else(|| IoError::NotFound(name.to_string()))?;
        let pieces = stream::unfold(text, |rest| async move {
            if rest.is_empty() {
                return None;
            }
            let (piece, rest) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
            Some((Ok(ReadDatasourceResponse { text: piece.to_owned() }), rest.to_owned()))
        });
        Ok(Response::new(pieces.boxed()))
    }

    pub(super) async fn list_sources(
        &self,
        caller: Caller,
        mut request: ListDatasourcesRequest,
    ) -> Result<Response<ListDatasourcesResponse>, Status> {
        self.own(&caller, &mut request.parent).await?;
        let name = NamespaceName::parse("parent", &request.parent)?;
        let size = request::page_size(request.page_size)?;
        let there = self.there(&caller, &request, &name).await?;
        let mut rows = self.vectors.registry.datasources(there.row.id, &request.page_token, size + 1).await?;
        let has_more = rows.len() > size;
        rows.truncate(size);
        let last = rows.last().map(|row| row.id.clone()).filter(|_| has_more);
        Ok(Response::new(ListDatasourcesResponse {
            datasources: rows.into_iter().map(|row| message::datasource(&name, row)).collect(),
            next_page_token: last.unwrap_or_default(),
        }))
    }

    pub(super) async fn delete_source(
        &self,
        caller: Caller,
        mut request: DeleteDatasourceRequest,
    ) -> Result<Response<()>, Status> {
        self.own(&caller, &mut request.name).await?;
        let name = DatasourceName::parse("name", &request.name)?;
        for _ in 0..DECISIONS {
            let there = self.there(&caller, &request, &name.parent).await?;
            let (basis, record) = (there.basis(), Recorder::of(there.granted));
            let due = self.vectors.clock.now() + millis(GRACE);
            let (parent, id) = (name.parent.clone(), name.datasource.clone());
            match self.vectors.registry.remove_datasource(parent, basis, id, due, record).await {
                Err(IoError::AclChanged) => {}
                done => return Ok(Response::new(done?)),
            }
        }
        Err(IoError::AclChanged.into())
    }
}

async fn next(
    stream: &mut Streaming<CreateDatasourceRequest>,
) -> Result<Option<CreateDatasourceRequest>, Status> {
    let waited = tokio::time::timeout(PIECE_TIME, stream.message()).await;
    waited.map_err(|_| IoError::Interrupted("no piece of the text came within 30 s".to_owned()))?
}

/// Reads the rest of a request.
async fn read(
    name: DatasourceName,
    header: DatasourceHeader,
    stream: &mut Streaming<CreateDatasourceRequest>,
) -> Result<NewDatasource, Status> {
    for (field, text) in [("header.label", &header.label), ("header.request_id", &header.request_id)] {
        if text.len() > MAX_LABEL_BYTES {
            return Err(invalid(field, format!("has more than {MAX_LABEL_BYTES} bytes")).into());
        }
    }
    let (chunk_size, chunk_overlap) = NewDatasource::chunking(header.chunk_size, header.chunk_overlap)?;
    let metadata = Metadata::of("header.metadata_json", &header.metadata_json)?;
    let origin = Origin::read(header.source, &header.pages, &metadata)?;
    let condition = request::condition("header.if_match", &header.if_match, header.if_absent)?;
    let mut text = header.text;
    while let Some(message) = next(stream).await? {
        let Some(Part::Text(piece)) = message.part else {
            return Err(invalid("header", "must come once: send text after it").into());
        };
        text.push_str(&piece);
        check(&text)?;
    }
    check(&text)?;
    let request_id = header.request_id;
    let label = header.label;
    Ok(NewDatasource {
        name,
        label,
        metadata,
        chunk_size,
        chunk_overlap,
        request_id,
        condition,
        text,
        origin,
    })
}

fn check(text: &str) -> Result<(), IoError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(IoError::TooLarge {
            what: "the text of a datasource",
            limit_bytes: MAX_TEXT_BYTES as u64,
        });
    }
    Ok(())
}
