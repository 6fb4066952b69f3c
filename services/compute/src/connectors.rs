//! `Connectors`: the backends of this role, for administrators of the deployment.

use sre_identity::Caller;
use sre_proto::compute::v1::ListConnectorsRequest;
use sre_proto::compute::v1::connectors_server::Connectors;
use sre_proto::types::v1::ListConnectorsResponse;
use sre_service::Host;
use tonic::{Request, Response, Status};

/// The gRPC service.
pub struct ConnectorsService(pub Host);

#[tonic::async_trait]
impl Connectors for ConnectorsService {
    async fn list_connectors(
        &self,
        request: Request<ListConnectorsRequest>,
    ) -> Result<Response<ListConnectorsResponse>, Status> {
        let caller = Caller::of(request.extensions())?;
        let granted = self.0.authorizer().check(caller, request.get_ref(), None).await?;
        drop(granted);
        let connectors = sre_service::connectors::list(&self.0, request.get_ref().probe).await;
        Ok(Response::new(ListConnectorsResponse { connectors }))
    }
}
