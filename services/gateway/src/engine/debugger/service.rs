//! `sre.gateway.v1.Debugger`.

use sre_proto::error::not_implemented;
use sre_proto::gateway::v1::debugger_server::Debugger;
use sre_proto::gateway::v1::{
    ContinueDebugSessionRequest, DebugSession, DebugStep, GetDebugSessionRequest, InjectDebugSessionRequest,
    ListDebugSessionsRequest, ListDebugSessionsResponse, StartDebugSessionRequest, StepDebugSessionRequest,
    StopDebugSessionRequest, UpdateDebugSessionRequest,
};
use tonic::{Request, Response, Status};

use crate::engine::core::Engine;

/// The service.
pub struct DebuggerService {
    #[expect(dead_code, reason = "its methods follow")]
    engine: Engine,
}

impl DebuggerService {
    /// Serves debug sessions.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[tonic::async_trait]
impl Debugger for DebuggerService {
    async fn start_debug_session(
        &self,
        _: Request<StartDebugSessionRequest>,
    ) -> Result<Response<DebugStep>, Status> {
        Err(not_implemented("StartDebugSession"))
    }

    async fn step_debug_session(
        &self,
        _: Request<StepDebugSessionRequest>,
    ) -> Result<Response<DebugStep>, Status> {
        Err(not_implemented("StepDebugSession"))
    }

    async fn continue_debug_session(
        &self,
        _: Request<ContinueDebugSessionRequest>,
    ) -> Result<Response<DebugStep>, Status> {
        Err(not_implemented("ContinueDebugSession"))
    }

    async fn inject_debug_session(
        &self,
        _: Request<InjectDebugSessionRequest>,
    ) -> Result<Response<DebugStep>, Status> {
        Err(not_implemented("InjectDebugSession"))
    }

    async fn update_debug_session(
        &self,
        _: Request<UpdateDebugSessionRequest>,
    ) -> Result<Response<DebugSession>, Status> {
        Err(not_implemented("UpdateDebugSession"))
    }

    async fn get_debug_session(
        &self,
        _: Request<GetDebugSessionRequest>,
    ) -> Result<Response<DebugSession>, Status> {
        Err(not_implemented("GetDebugSession"))
    }

    async fn list_debug_sessions(
        &self,
        _: Request<ListDebugSessionsRequest>,
    ) -> Result<Response<ListDebugSessionsResponse>, Status> {
        Err(not_implemented("ListDebugSessions"))
    }

    async fn stop_debug_session(
        &self,
        _: Request<StopDebugSessionRequest>,
    ) -> Result<Response<DebugSession>, Status> {
        Err(not_implemented("StopDebugSession"))
    }
}
