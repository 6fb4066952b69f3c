//! `sre.security.v1.Audit` over gRPC.

use std::pin::Pin;

use futures::Stream;
use futures::stream;
use sre_identity::{Caller, Candidate};
use sre_proto::security::v1 as pb;
use sre_proto::security::v1::audit_server;
use sre_service::{Host, Role};
use tonic::{Request, Response, Status};

use super::checkpoint::{self, Checkpoint};
use super::query::{self, Filter};
use super::verify::{Report, Verification};
use crate::account::names;
use crate::error::Error;
use crate::moment::Moment;
use crate::page::Page;
use crate::state::State;

/// The parent of the records of all teams.
const DEPLOYMENT: &str = "deployment";
const MAX_WITNESSES: usize = 1000;
const MAX_FILTER_CHARS: usize = 1000;

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
        let filter = filter(&request)?;
        let page = Page::read(request.page_size, &request.page_token)?;
        let (records, next_page_token) =
            self.state.read(move |conn| query::list(conn, &filter, &page)).await?;
        Ok(Response::new(pb::ListRecordsResponse { records, next_page_token }))
    }

    type VerifyRecordsStream = Pin<Box<dyn Stream<Item = Result<pb::VerifyRecordsResponse, Status>> + Send>>;

    async fn verify_records(
        &self,
        request: Request<pb::VerifyRecordsRequest>,
    ) -> Result<Response<Self::VerifyRecordsStream>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        if request.witnesses.len() > MAX_WITNESSES {
            let message = format!("are {}: send {MAX_WITNESSES} at most", request.witnesses.len());
            return Err(Error::invalid("witnesses", message).into());
        }
        let witnesses: Vec<Checkpoint> =
            request.witnesses.iter().map(Checkpoint::try_from).collect::<Result<_, _>>()?;
        let begun = self.state.verify_audit(witnesses).await?;
        let (host, state) = (self.host.clone(), self.state.clone());
        // One part at a time, as the reader takes them; a reader that went away ends it.
        let parts = stream::try_unfold(Some(begun), move |so_far: Option<Verification>| {
            let (host, state, caller) = (host.clone(), state.clone(), caller.clone());
            async move {
                let Some(so_far) = so_far else { return Ok(None) };
                host.authorizer().revalidate(&caller).await?;
                let (next, report) = state.verify_more(so_far).await?;
                let next = (!report.complete).then_some(next);
                Ok::<_, Status>(Some((part(report), next)))
            }
        });
        Ok(Response::new(Box::pin(parts)))
    }

    async fn list_checkpoints(
        &self,
        request: Request<pb::ListCheckpointsRequest>,
    ) -> Result<Response<pb::ListCheckpointsResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let page = Page::read(request.page_size, &request.page_token)?;
        let (found, next_page_token) =
            self.state.read(move |conn| checkpoint::list(conn, request.newest, &page)).await?;
        let checkpoints = found.iter().map(pb::Checkpoint::from).collect();
        Ok(Response::new(pb::ListCheckpointsResponse { checkpoints, next_page_token }))
    }
}

fn filter(request: &pb::ListRecordsRequest) -> Result<Filter, Error> {
    let team = match request.parent.as_str() {
        DEPLOYMENT => None,
        parent => Some(names::team("parent", parent)?),
    };
    for (field, text) in [("method", &request.method), ("resource", &request.resource)] {
        if text.chars().count() > MAX_FILTER_CHARS {
            return Err(Error::invalid(field, format!("has more than {MAX_FILTER_CHARS} characters")));
        }
    }
    let service = request.principal.strip_prefix("service/");
    let is_principal = request.principal.is_empty()
        || request.principal.parse::<Candidate>().is_ok()
        || service.is_some_and(|name| name.parse::<Role>().is_ok());
    if !is_principal {
        let message = format!("{:?} is no principal: write for example user/alice", request.principal);
        return Err(Error::invalid("principal", message));
    }
    if !request.service.is_empty() && request.service.parse::<Role>().is_err() {
        let message = format!("{:?} is no role: write for example io", request.service);
        return Err(Error::invalid("service", message));
    }
    let decision = match request.decision() {
        pb::Decision::Unspecified => None,
        decision => Some(decision),
    };
    Ok(Filter {
        team,
        from_us: request.start_time.as_ref().map(|time| Moment::from(time).0),
        until_us: request.end_time.as_ref().map(|time| Moment::from(time).0),
        principal: request.principal.clone(),
        service: request.service.clone(),
        method: request.method.clone(),
        resource: request.resource.clone(),
        decision,
    })
}

fn part(report: Report) -> pb::VerifyRecordsResponse {
    pb::VerifyRecordsResponse {
        findings: report.findings,
        records: report.records,
        checkpoints: report.checkpoints,
        writers: report.writers,
        unsigned_records: report.unsigned,
        findings_left_out: report.left_out,
        sealed_time: report.since.map(Into::into),
        complete: report.complete,
    }
}
