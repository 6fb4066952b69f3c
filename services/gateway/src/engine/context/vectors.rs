//! The namespaces of the running agent's team.

use async_trait::async_trait;
use futures::stream;
use sre_components::vectors::{Citation, Hit, NewDatasource, Vectors, Wanted};
use sre_components::{ContextError, Failure};
use sre_engine::Value;
use sre_proto::io::v1::create_datasource_request::Part;
use sre_proto::io::v1::search_request::Query;
use sre_proto::io::v1::vector_db_client::VectorDbClient;
use sre_proto::io::v1::{
    CreateDatasourceRequest, CreateVectorNamespaceRequest, DatasourceHeader, DeleteDatasourceRequest,
    Embedding, GetVectorNamespaceRequest, PageStart, SearchHit, SearchRequest, VectorNamespace,
};
use sre_service::{Link, Role};
use tonic::{Code, Status};

use super::ActivationContext;

/// Bytes of a text in one message.
const PIECE_BYTES: usize = 64 << 10;

#[async_trait]
impl Vectors for ActivationContext {
    async fn open(&self, namespace: &str, model: &str) -> Result<(), ContextError> {
        let name = self.namespace(namespace);
        let mut client = self.vector_db().await?;
        let get = self.call(GetVectorNamespaceRequest { name: name.clone() });
        match client.get_vector_namespace(get).await {
            Ok(_) => return Ok(()),
            Err(status) if status.code() == Code::NotFound => {}
            Err(status) => return Err(status.into()),
        }
        let embedding = Some(Embedding { model: model.to_owned(), ..Embedding::default() });
        let new = VectorNamespace { name, embedding, ..VectorNamespace::default() };
        let create = CreateVectorNamespaceRequest { namespace: Some(new), acl: None };
        match client.create_vector_namespace(self.call(create)).await {
            // Another run was faster.
            Err(status) if status.code() == Code::AlreadyExists => Ok(()),
            created => created.map(drop).map_err(ContextError::from),
        }
    }

    async fn index(&self, namespace: &str, new: NewDatasource) -> Result<(), ContextError> {
        let mut rest = new.text;
        let mut header = Some(DatasourceHeader {
            name: format!("{}/datasources/{}", self.namespace(namespace), new.id),
            label: new.label,
            metadata_json: new.metadata_json.into_bytes().into(),
            chunk_size: new.chunk_size.unwrap_or_default(),
            chunk_overlap: new.chunk_overlap,
            request_id: self.key.idempotency_key(&self.scope.id),
            source: new.source,
            pages: new.pages.into_iter().map(page).collect(),
            ..DatasourceHeader::default()
        });
        let parts = stream::iter(std::iter::from_fn(move || {
            let part = match header.take() {
                Some(header) => Part::Header(header),
                None if rest.is_empty() => return None,
                None => {
                    let later = rest.split_off(rest.floor_char_boundary(PIECE_BYTES));
                    Part::Text(std::mem::replace(&mut rest, later))
                }
            };
            Some(CreateDatasourceRequest { part: Some(part) })
        }));
        let request = self.call(parts);
        self.vector_db().await?.create_datasource(request).await.map_err(|status| told(status, namespace))?;
        Ok(())
    }

    async fn search(&self, namespace: &str, wanted: Wanted) -> Result<Vec<Hit>, ContextError> {
        let request = SearchRequest {
            parent: self.namespace(namespace),
            query: Some(Query::Text(wanted.text)),
            top_k: i32::try_from(wanted.top_k).ok(),
            min_score: wanted.min_score,
            include_metadata: wanted.metadata,
            include_citations: wanted.citations,
            ..SearchRequest::default()
        };
        let found = self.vector_db().await?.search(self.call(request)).await;
        let found = found.map_err(|status| told(status, namespace))?.into_inner();
        Ok(found.hits.into_iter().map(hit).collect())
    }

    async fn forget(&self, namespace: &str, id: &str) -> Result<bool, ContextError> {
        let name = format!("{}/datasources/{id}", self.namespace(namespace));
        let mut client = self.vector_db().await?;
        match client.delete_datasource(self.call(DeleteDatasourceRequest { name: name.clone() })).await {
            Ok(_) => Ok(true),
            // Of what is not there: the text, or the namespace.
            Err(status) if status.code() == Code::NotFound => {
                let get = self.call(GetVectorNamespaceRequest { name: self.namespace(namespace) });
                client.get_vector_namespace(get).await.map_err(|status| told(status, namespace))?;
                Ok(false)
            }
            Err(status) => Err(status.into()),
        }
    }
}

impl ActivationContext {
    async fn vector_db(&self) -> Result<VectorDbClient<Link>, Status> {
        Ok(VectorDbClient::new(self.link(Role::Io).await?))
    }

    fn namespace(&self, namespace: &str) -> String {
        format!("teams/{}/vectors/{namespace}", self.scope.subject.version.agent.team)
    }
}

/// Why a call about a namespace failed, in the words that agents know.
fn told(status: Status, namespace: &str) -> ContextError {
    match status.code() {
        Code::NotFound => {
            ContextError::new(Failure::NotFound, format!("Namespace {namespace} does not exist"))
        }
        _ => status.into(),
    }
}

fn page((offset, page): (u64, u32)) -> PageStart {
    PageStart {
        page: i32::try_from(page).unwrap_or(i32::MAX),
        offset: i64::try_from(offset).unwrap_or(i64::MAX),
    }
}

fn hit(hit: SearchHit) -> Hit {
    let metadata = serde_json::from_slice::<serde_json::Value>(&hit.metadata_json);
    Hit {
        text: hit.text,
        score: hit.score,
        metadata: metadata.map(Value::from).unwrap_or_default(),
        datasource: hit.datasource,
        citation: hit.citation.map(|found| Citation {
            source: found.source,
            page: found.page,
            start: found.start,
            end: found.end,
        }),
    }
}
