//! The gRPC face of traces.

use sre_identity::resource::Pattern;
use sre_identity::{Acl, Caller, Candidate, Level};
use sre_proto::error::{Reason, status};
use sre_proto::observability::v1::telemetry_server::Telemetry;
use sre_proto::observability::v1::usage_event::Use;
use sre_proto::observability::v1::{GetTraceRequest, Trace, UsageEvent};
use sre_proto::{AccessLevel, Guarded as _};
use sre_service::Host;
use tonic::{Code, Request, Response, Status};

use super::tree;
use crate::log::rescue;
use crate::usage::Ledger;

const RUN: Pattern = Pattern::new("teams/{team}/agents/{agent}/runs/{run}");
const MAX_SPANS: usize = 10_000;

/// Serves `sre.observability.v1.Telemetry`.
#[derive(Debug, Clone)]
pub struct TelemetryService {
    host: Host,
    ledger: Ledger,
}

impl TelemetryService {
    /// Serves traces from this ledger.
    pub fn new(host: Host, ledger: Ledger) -> Self {
        Self { host, ledger }
    }
}

#[tonic::async_trait]
impl Telemetry for TelemetryService {
    async fn get_trace(&self, request: Request<GetTraceRequest>) -> Result<Response<Trace>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let authorizer = self.host.authorizer();
        request.name = authorizer.resolve_name(&caller, &request.name).await?;
        let name = RUN.parse_field("name", &request.name)?;
        let (team, agent, run) = (name.get("team"), name.get("agent"), name.get("run"));
        let mut events = self.ledger.of_run(team, run, MAX_SPANS + 1).await.map_err(rescue)?;
        events.retain(|event| event.agent == agent);
        // Administrators and the agent by the name; else whoever started it, by what is stored.
        if !authorizer.may(&caller, &request.resource(), AccessLevel::Read, None).await? {
            let acl = acl_of(&events);
            let _granted = authorizer.check(&caller, &request, acl.as_ref()).await?;
        }
        if events.is_empty() {
            let message = format!(
                "there is no trace of {}: a run has one from its first record on, for 35 days; one that answers \
                 before it is written down has none",
                request.name
            );
            return Err(status(Code::NotFound, Reason::NotFound, message));
        }
        let truncated = events.len() > MAX_SPANS;
        events.truncate(MAX_SPANS);
        let sums = self.ledger.sums_of_run(team, run).await.map_err(rescue)?;
        Ok(Response::new(Trace {
            input_tokens: sums.input_tokens,
            output_tokens: sums.output_tokens,
            cost_micros: sums.cost_micros,
            truncated,
            ..tree::build(&request.name, &events)
        }))
    }
}

/// Whoever is at the beginning of the run's chain may see it.
fn acl_of(events: &[UsageEvent]) -> Option<Acl> {
    let run = events.iter().find(|event| matches!(event.r#use, Some(Use::Run(_))))?;
    let root: Candidate = run.user.parse().ok()?;
    let mut acl = Acl::default();
    acl.grant(&root, &[Level::Read]).ok()?;
    Some(acl)
}
