//! The gRPC face of vectors: parse, check, call, map.

mod datasources;
mod rows;

use futures::stream::BoxStream;
use sre_identity::{Acl, Caller, Candidate, Level};
use sre_proto::io::v1::vector_db_server::VectorDb;
use sre_proto::io::v1::*;
use sre_proto::types::v1 as types;
use sre_proto::{AccessLevel, Guarded};
use sre_service::{Granted, Host};
use sre_vectors::CollectionId;
use tonic::{Request, Response, Status, Streaming};

use super::embed::Embedder;
use super::name::{NamespaceName, team_of};
use super::record::Recorder;
use super::registry::NamespaceRow;
use super::write::invalid;
use super::{Vectors, message};
use crate::basis::Basis;
use crate::error::IoError;
use crate::request::{self, DECISIONS};
use crate::usage::{Kind, Quota};

/// Rows that a list looks at in one step, and steps for one page: beyond them, the page ends early.
const LIST_BATCH: usize = 256;
const LIST_STEPS: usize = 16;
/// The longest description.
const MAX_DESCRIPTION_BYTES: usize = 4096;

/// Serves `sre.io.v1.VectorDb`.
#[derive(Debug, Clone)]
pub struct VectorDbService {
    host: Host,
    vectors: Vectors,
}

/// A namespace that is there, and that somebody may do something with.
struct There {
    granted: Granted,
    row: NamespaceRow,
    acl: Acl,
}

impl There {
    fn basis(&self) -> Basis {
        Basis::row(&self.row.acl)
    }
}

impl VectorDbService {
    /// Serves these namespaces.
    pub fn new(host: Host, vectors: Vectors) -> Self {
        Self { host, vectors }
    }

    /// The namespaces.
    pub fn vectors(&self) -> &Vectors {
        &self.vectors
    }

    /// How much the team of a namespace may hold.
    async fn quota(&self, name: &NamespaceName) -> Result<Quota, Status> {
        Ok(self.host.limits().quota(&name.team, Kind::Vectors.limits()).await?.into())
    }

    async fn own(&self, caller: &Caller, name: &mut String) -> Result<(), Status> {
        *name = self.host.authorizer().resolve_name(caller, name).await?;
        Ok(())
    }

    /// Decides on a namespace that is there: on its list, or on the rights of its place where there is none.
    async fn there<R: Guarded>(
        &self,
        caller: &Caller,
        request: &R,
        name: &NamespaceName,
    ) -> Result<There, Status> {
        let row = self.vectors.registry.namespace(&name.to_string()).await?;
        let acl = row.as_ref().map(|row| request::stored_acl(&row.acl)).transpose()?;
        let granted = self.host.authorizer().check(caller, request, acl.as_ref()).await?;
        match (row, acl) {
            (Some(row), Some(acl)) => Ok(There { granted, row, acl }),
            _ => Err(IoError::NotFound(name.to_string()).into()),
        }
    }

    async fn new_row(
        &self,
        caller: &Caller,
        asked: &VectorNamespace,
        name: &NamespaceName,
        acl: String,
    ) -> Result<NamespaceRow, Status> {
        if asked.description.len() > MAX_DESCRIPTION_BYTES {
            let limit_bytes = MAX_DESCRIPTION_BYTES as u64;
            return Err(IoError::TooLarge { what: "a description", limit_bytes }.into());
        }
        let instance = self.vectors.instance(&asked.instance)?.id().to_owned();
        let embedding = asked.embedding.as_ref().map(message::embedding).transpose()?;
        let dimension = match (message::dimension(asked.dimension)?, &embedding) {
            (Some(dimension), _) => dimension,
            (None, Some(embedding)) => Embedder::of(&self.host, caller).dimension(&embedding.model).await?,
            (None, None) => {
                let words = "is missing: give it, or an embedding model to take it from";
                return Err(invalid("namespace.dimension", words).into());
            }
        };
        Ok(NamespaceRow {
            id: CollectionId(sre_proto::ids::new_uuid().as_u128()),
            name: name.to_string(),
            scope: name.scope.clone(),
            team: name.team.clone(),
            dimension,
            metric: message::metric(asked.metric()),
            embedding,
            instance,
            description: asked.description.clone(),
            acl,
            created_ms: self.vectors.clock.now(),
            rows: 0,
            bytes: 0,
        })
    }
}

#[tonic::async_trait]
impl VectorDb for VectorDbService {
    type ReadDatasourceStream = BoxStream<'static, Result<ReadDatasourceResponse, Status>>;

    async fn create_vector_namespace(
        &self,
        request: Request<CreateVectorNamespaceRequest>,
    ) -> Result<Response<VectorNamespace>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let asked =
            request.namespace.as_mut().ok_or_else(|| invalid("namespace", "is missing: give its name"))?;
        self.own(&caller, &mut asked.name).await?;
        let name = NamespaceName::parse("namespace.name", &asked.name)?;
        // On the rights of its place: whoever may create here may know that there is one already.
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        let acl = match &request.acl {
            Some(acl) => {
                let mut acl = request::acl("acl", acl)?;
                let owner = &[Level::Owner];
                acl.grant(granted.candidate()?, owner).map_err(|error| invalid("acl", error.to_string()))?;
                acl
            }
            None => acl_when_new(&name, granted.candidate()?)?,
        };
        let asked = request.namespace.unwrap_or_default();
        let row = self.new_row(&caller, &asked, &name, acl.to_text()).await?;
        let row = self.vectors.create(row, Recorder::of(granted)).await?;
        Ok(Response::new(message::namespace(row)))
    }

    async fn get_vector_namespace(
        &self,
        request: Request<GetVectorNamespaceRequest>,
    ) -> Result<Response<VectorNamespace>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.name).await?;
        let name = NamespaceName::parse("name", &request.name)?;
        let there = self.there(&caller, &request, &name).await?;
        Ok(Response::new(message::namespace(there.row)))
    }

    async fn list_vector_namespaces(
        &self,
        request: Request<ListVectorNamespacesRequest>,
    ) -> Result<Response<ListVectorNamespacesResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.parent).await?;
        team_of("parent", &request.parent)?;
        let size = request::page_size(request.page_size)?;
        let _granted = self.host.authorizer().check(&caller, &request, None).await?;
        let (mut namespaces, mut after) = (Vec::new(), request.page_token.clone());
        for _ in 0..LIST_STEPS {
            let rows = self.vectors.registry.namespaces(&request.parent, &after, LIST_BATCH).await?;
            let is_last = rows.len() < LIST_BATCH;
            for row in rows {
                if namespaces.len() == size {
                    return Ok(Response::new(ListVectorNamespacesResponse {
                        namespaces,
                        next_page_token: after,
                    }));
                }
                after.clone_from(&row.name);
                let acl = request::stored_acl(&row.acl)?;
                if self.host.authorizer().may(&caller, &row.name, AccessLevel::Read, Some(&acl)).await? {
                    namespaces.push(message::namespace(row));
                }
            }
            if is_last {
                after.clear();
                break;
            }
        }
        Ok(Response::new(ListVectorNamespacesResponse { namespaces, next_page_token: after }))
    }

    async fn delete_vector_namespace(
        &self,
        request: Request<DeleteVectorNamespaceRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.name).await?;
        let name = NamespaceName::parse("name", &request.name)?;
        for _ in 0..DECISIONS {
            let there = self.there(&caller, &request, &name).await?;
            let basis = there.basis();
            match self.vectors.registry.remove(name.clone(), basis, Recorder::of(there.granted)).await {
                Err(IoError::AclChanged) => {}
                done => return Ok(Response::new(done?)),
            }
        }
        Err(IoError::AclChanged.into())
    }

    async fn get_vector_namespace_acl(
        &self,
        request: Request<GetVectorNamespaceAclRequest>,
    ) -> Result<Response<types::Acl>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.name).await?;
        let name = NamespaceName::parse("name", &request.name)?;
        let there = self.there(&caller, &request, &name).await?;
        Ok(Response::new(types::Acl::from(&there.acl)))
    }

    async fn set_vector_namespace_acl(
        &self,
        request: Request<SetVectorNamespaceAclRequest>,
    ) -> Result<Response<types::Acl>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.name).await?;
        let name = NamespaceName::parse("name", &request.name)?;
        for _ in 0..DECISIONS {
            let there = self.there(&caller, &request, &name).await?;
            let new = request::replacement(request.acl.as_ref(), &there.acl)?;
            let (basis, record) = (there.basis(), Recorder::of(there.granted));
            match self.vectors.registry.set_acl(name.clone(), basis, new.to_text(), record).await {
                Err(IoError::AclChanged) => {}
                done => return done.map(|()| Response::new(types::Acl::from(&new))).map_err(Status::from),
            }
        }
        Err(IoError::AclChanged.into())
    }

    async fn create_datasource(
        &self,
        request: Request<Streaming<CreateDatasourceRequest>>,
    ) -> Result<Response<Datasource>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        Box::pin(self.create_source(caller, request.into_inner())).await
    }

    async fn get_datasource(
        &self,
        request: Request<GetDatasourceRequest>,
    ) -> Result<Response<Datasource>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        self.get_source(caller, request.into_inner()).await
    }

    async fn read_datasource(
        &self,
        request: Request<ReadDatasourceRequest>,
    ) -> Result<Response<Self::ReadDatasourceStream>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        self.read_source(caller, request.into_inner()).await
    }

    async fn list_datasources(
        &self,
        request: Request<ListDatasourcesRequest>,
    ) -> Result<Response<ListDatasourcesResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        self.list_sources(caller, request.into_inner()).await
    }

    async fn delete_datasource(
        &self,
        request: Request<DeleteDatasourceRequest>,
    ) -> Result<Response<()>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        self.delete_source(caller, request.into_inner()).await
    }

    async fn upsert_rows(
        &self,
        request: Request<UpsertRowsRequest>,
    ) -> Result<Response<UpsertRowsResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        Box::pin(self.put_rows(caller, request.into_inner())).await
    }

    async fn delete_rows(&self, request: Request<DeleteRowsRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        self.remove_rows(caller, request.into_inner()).await
    }

    async fn search(&self, request: Request<SearchRequest>) -> Result<Response<SearchResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        Box::pin(self.find_rows(caller, request.into_inner())).await
    }
}

/// A new namespace belongs to who creates it; where its place is the team's, the team reads and writes.
fn acl_when_new(name: &NamespaceName, creator: &Candidate) -> Result<Acl, IoError> {
    let wrong = |error: &dyn std::fmt::Display| invalid("namespace.name", error.to_string());
    let mut acl = Acl::owned_by(creator);
    if name.scope == format!("teams/{}", name.team) {
        let team = Candidate::team(&name.team).map_err(|error| wrong(&error))?;
        acl.grant(&team, &[Level::Read, Level::Write]).map_err(|error| wrong(&error))?;
    }
    Ok(acl)
}
