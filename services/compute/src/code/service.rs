//! The gRPC face of code.

use sre_identity::Caller;
use sre_proto::compute::v1::code_server::Code;
use sre_proto::compute::v1::{ExecuteCodeRequest, ExecuteCodeResponse};
use sre_proto::error::not_implemented;
use sre_service::Host;
use tonic::{Request, Response, Status};

/// Serves `sre.compute.v1.Code`.
#[derive(Debug, Clone)]
pub struct CodeService {
    host: Host,
}

impl CodeService {
    /// Serves code for this role.
    pub fn new(host: Host) -> Self {
        Self { host }
    }
}

#[tonic::async_trait]
impl Code for CodeService {
    /// Decides first, so that only who may run code learns that it cannot be run yet.
    async fn execute_code(
        &self,
        request: Request<ExecuteCodeRequest>,
    ) -> Result<Response<ExecuteCodeResponse>, Status> {
        let caller = Caller::of(request.extensions())?;
        let granted = self.host.authorizer().check(caller, request.get_ref(), None).await?;
        granted.record_now();
        Err(not_implemented("sre.compute.v1.Code.ExecuteCode"))
    }
}
