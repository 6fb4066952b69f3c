//! `sre.security.v1.Audit` over gRPC.

use sre_identity::Caller;
use sre_proto::security::v1 as pb;
use sre_proto::security::v1::audit_server;
use sre_service::Host;
use tonic::{Request, Response, Status};

use crate::account::names;
use crate::error::Error;
use crate::page::Page;
use crate::state::State;

/// The adapter.
pub struct AuditService {
    host: Host,
    state: State,
}

impl AuditService {
    /// Over the role's store.
    pub fn new(host: Host, state: State) -> Self {
        Self { host, state }
    }
}

#[tonic::async_trait]
impl audit_server::Audit for AuditService {
    async fn write_records(
        &self,
        request: Request<pb::WriteRecordsRequest>,
    ) -> Result<Response<pb::WriteRecordsResponse>, Status> {
        let role = Caller::of(request.extensions())?.peer().principal().name().to_owned();
        let records = request.into_inner().records;
        // A service writes its own chain and nobody else's.
        let own = |writer: &str| writer.strip_prefix(role.as_str()).is_some_and(|rest| rest.starts_with('/'));
        if let Some(foreign) = records.iter().find(|record| !own(&record.writer)) {
            let message =
                format!("writer {:?} is not of service/{role}: write {role}/<instance>", foreign.writer);
            return Err(Error::invalid("records", message).into());
        }
        let tip = self.state.append_audit(records).await?;
        Ok(Response::new(pb::WriteRecordsResponse { last_sequence: tip.sequence }))
    }

    async fn list_records(
        &self,
        request: Request<pb::ListRecordsRequest>,
    ) -> Result<Response<pb::ListRecordsResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.parent = self.host.authorizer().resolve_name(&caller, &request.parent).await?;
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let team = names::team("parent", &request.parent)?;
        let page = Page::read(request.page_size, &request.page_token)?;
        let (records, next_page_token) = self.state.read(move |conn| super::list(conn, &team, &page)).await?;
        Ok(Response::new(pb::ListRecordsResponse { records, next_page_token }))
    }
}
