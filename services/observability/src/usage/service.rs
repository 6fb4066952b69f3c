//! The gRPC face of the ledger.

use sre_identity::Caller;
use sre_proto::error::invalid_argument;
use sre_proto::observability::v1::usage_server::Usage;
use sre_proto::observability::v1::{
    QueryUsageRequest, QueryUsageResponse, RecordUsageRequest, RecordUsageResponse, SumUsageRequest,
    UsageEvent, UsageGrouping, UsageRow,
};
use sre_service::Host;
use sre_service::usage::{MAX_ID_BYTES, counted};
use tonic::{Request, Response, Status};

use super::{By, HOUR_MS, Ledger, Query, Sums, Total, held};
use crate::clock;
use crate::log::rescue;

const MAX_EVENTS: usize = 1000;
const MAX_TEAMS: usize = 1000;
const DEFAULT_PAGE: u32 = 100;
const MAX_PAGE: u32 = 1000;

/// Serves `sre.observability.v1.Usage`.
#[derive(Debug, Clone)]
pub struct UsageService {
    host: Host,
    ledger: Ledger,
}

impl UsageService {
    /// Serves this ledger.
    pub fn new(host: Host, ledger: Ledger) -> Self {
        Self { host, ledger }
    }
}

#[tonic::async_trait]
impl Usage for UsageService {
    /// The layer has let in services alone.
    async fn record_usage(
        &self,
        request: Request<RecordUsageRequest>,
    ) -> Result<Response<RecordUsageResponse>, Status> {
        let events = request.into_inner().events;
        if events.iter().map(counted).sum::<usize>() > MAX_EVENTS {
            return Err(invalid_argument("events", "1000 at most: record in several calls"));
        }
        let asked = events.len();
        let events: Vec<UsageEvent> = events.into_iter().filter(is_valid).collect();
        let invalid = asked - events.len();
        if invalid > 0 {
            // One writer's mistake must not stop the others' events behind it.
            tracing::warn!(
                invalid,
                "usage events without a team or an id, or of a wrong shape, were left out"
            );
        }
        let recorded = self.ledger.record(events, clock::now()).await.map_err(rescue)?;
        let count = |number: i32| u64::try_from(number).unwrap_or_default();
        metrics::counter!("sre_usage_events_total", "result" => "recorded").increment(count(recorded.new));
        metrics::counter!("sre_usage_events_total", "result" => "known").increment(count(recorded.known));
        Ok(Response::new(RecordUsageResponse {
            recorded: recorded.new,
            known: recorded.known,
            invalid: i32::try_from(invalid).unwrap_or(i32::MAX),
        }))
    }

    async fn sum_usage(&self, request: Request<SumUsageRequest>) -> Result<Response<UsageRow>, Status> {
        let request = request.into_inner();
        if request.teams.len() > MAX_TEAMS {
            return Err(invalid_argument("teams", "1000 at most: sum up in several calls"));
        }
        let hour = |time: Option<prost_types::Timestamp>| {
            time.map(|time| time.seconds.saturating_mul(1000) / HOUR_MS)
        };
        let sums = if request.run_id.is_empty() {
            let total = Total {
                teams: request.teams,
                agent: request.agent,
                user: request.user,
                model: request.model,
                from_hour: hour(request.start_time).unwrap_or(0),
                to_hour: hour(request.end_time).unwrap_or(i64::MAX),
            };
            self.ledger.total(total).await.map_err(rescue)?
        } else {
            let mut sums = Sums::default();
            for team in &request.teams {
                let of_team = self.ledger.sums_of_run(team, &request.run_id).await.map_err(rescue)?;
                sums = sums.plus(&of_team);
            }
            sums
        };
        Ok(Response::new(sums.row(String::new())))
    }

    async fn query_usage(
        &self,
        request: Request<QueryUsageRequest>,
    ) -> Result<Response<QueryUsageResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.parent = self.host.authorizer().resolve_name(&caller, &request.parent).await?;
        let _granted = self.host.authorizer().check(&caller, &request, None).await?;
        let team = request.parent.strip_prefix("teams/").filter(|team| !team.contains('/'));
        let team = team.ok_or_else(|| invalid_argument("parent", "is no team: write teams/{team}"))?;
        let query = parse(team, &request)?;
        let asked = Query { limit: query.limit + 1, ..query.clone() };
        let mut found = self.ledger.query(&asked).await.map_err(rescue)?;
        let more = found.len() > query.limit as usize;
        found.truncate(query.limit as usize);
        let next = if more { (query.offset + query.limit).to_string() } else { String::new() };
        let rows = found.into_iter().map(|(key, sums)| sums.row(key)).collect();
        Ok(Response::new(QueryUsageResponse { rows, next_page_token: next }))
    }
}

fn is_valid(event: &UsageEvent) -> bool {
    !event.team.is_empty() && !event.id.is_empty() && event.id.len() <= MAX_ID_BYTES && held::may_hold(event)
}

fn parse(team: &str, request: &QueryUsageRequest) -> Result<Query, Status> {
    let by = match request.group_by() {
        UsageGrouping::Unspecified | UsageGrouping::Team => By::Team,
        UsageGrouping::Agent => By::Agent,
        UsageGrouping::User => By::User,
        UsageGrouping::Model => By::Model,
        UsageGrouping::Run => By::Run,
    };
    let hour =
        |time: Option<prost_types::Timestamp>| time.map(|time| time.seconds.saturating_mul(1000) / HOUR_MS);
    let limit = match u32::try_from(request.page_size) {
        Ok(0) => DEFAULT_PAGE,
        Ok(size) => size.min(MAX_PAGE),
        Err(_) => return Err(invalid_argument("page_size", "must not be negative: leave it out for 100")),
    };
    let offset = match request.page_token.as_str() {
        "" => 0,
        token => token
            .parse()
            .map_err(|_| invalid_argument("page_token", "is not of this list: start without one"))?,
    };
    Ok(Query {
        team: team.to_owned(),
        by,
        from_hour: hour(request.start_time).unwrap_or(0),
        to_hour: hour(request.end_time).unwrap_or(i64::MAX),
        agent: request.agent.clone(),
        offset,
        limit,
    })
}
