//! `sre.gateway.v1.Approvals`.

use sre_proto::error::not_implemented;
use sre_proto::gateway::v1::approvals_server::Approvals;
use sre_proto::gateway::v1::{
    Approval, DecideApprovalRequest, GetApprovalRequest, ListApprovalsRequest, ListApprovalsResponse,
};
use tonic::{Request, Response, Status};

use super::core::Engine;

/// The service.
pub struct ApprovalsService {
    #[expect(dead_code, reason = "its methods follow")]
    engine: Engine,
}

impl ApprovalsService {
    /// Serves the approvals of an engine's runs.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[tonic::async_trait]
impl Approvals for ApprovalsService {
    async fn list_approvals(
        &self,
        _: Request<ListApprovalsRequest>,
    ) -> Result<Response<ListApprovalsResponse>, Status> {
        Err(not_implemented("ListApprovals"))
    }

    async fn get_approval(&self, _: Request<GetApprovalRequest>) -> Result<Response<Approval>, Status> {
        Err(not_implemented("GetApproval"))
    }

    async fn decide_approval(&self, _: Request<DecideApprovalRequest>) -> Result<Response<Approval>, Status> {
        Err(not_implemented("DecideApproval"))
    }
}
