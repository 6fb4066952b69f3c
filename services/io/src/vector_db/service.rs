//! The gRPC face of vectors.

use futures::stream::Empty;
use sre_identity::Caller;
use sre_proto::Guarded;
use sre_proto::error::{invalid_argument, not_implemented};
use sre_proto::io::v1::vector_db_server::VectorDb;
use sre_proto::io::v1::*;
use sre_proto::types::v1::Acl;
use sre_service::Host;
use tonic::{Request, Response, Status, Streaming};

/// Serves `sre.io.v1.VectorDb`.
#[derive(Debug, Clone)]
pub struct VectorDbService {
    host: Host,
}

impl VectorDbService {
    /// Serves vectors for this role.
    pub fn new(host: Host) -> Self {
        Self { host }
    }

    /// Decides first, so that only who may learns that it cannot be done yet.
    async fn unbuilt<R: Guarded, A>(&self, caller: &Caller, request: &R) -> Result<A, Status> {
        let granted = self.host.authorizer().check(caller, request, None).await?;
        granted.record_now();
        Err(not_implemented(caller.policy().path))
    }
}

macro_rules! unbuilt {
    ($($method:ident($request:ty) -> $answer:ty;)*) => {
        #[tonic::async_trait]
        impl VectorDb for VectorDbService {
            type ReadDatasourceStream = Empty<Result<ReadDatasourceResponse, Status>>;

            $(async fn $method(&self, request: Request<$request>) -> Result<Response<$answer>, Status> {
                self.unbuilt(Caller::of(request.extensions())?, request.get_ref()).await
            })*

            async fn create_datasource(
                &self,
                request: Request<Streaming<CreateDatasourceRequest>>,
            ) -> Result<Response<Datasource>, Status> {
                let caller = Caller::of(request.extensions())?.clone();
                let first = request.into_inner().message().await?;
                let first = first.ok_or_else(|| invalid_argument("header", "must come first"))?;
                self.unbuilt(&caller, &first).await
            }
        }
    };
}

unbuilt! {
    create_vector_namespace(CreateVectorNamespaceRequest) -> VectorNamespace;
    get_vector_namespace(GetVectorNamespaceRequest) -> VectorNamespace;
    list_vector_namespaces(ListVectorNamespacesRequest) -> ListVectorNamespacesResponse;
    delete_vector_namespace(DeleteVectorNamespaceRequest) -> ();
    get_vector_namespace_acl(GetVectorNamespaceAclRequest) -> Acl;
    set_vector_namespace_acl(SetVectorNamespaceAclRequest) -> Acl;
    get_datasource(GetDatasourceRequest) -> Datasource;
    read_datasource(ReadDatasourceRequest) -> Self::ReadDatasourceStream;
    list_datasources(ListDatasourcesRequest) -> ListDatasourcesResponse;
    delete_datasource(DeleteDatasourceRequest) -> ();
    upsert_rows(UpsertRowsRequest) -> UpsertRowsResponse;
    delete_rows(DeleteRowsRequest) -> ();
    search(SearchRequest) -> SearchResponse;
}
