//! What was used before: the ledger, which forgets nothing of an hour or a run.

use std::time::Duration;

use async_trait::async_trait;
use sre_proto::observability::v1::usage_client::UsageClient;
use sre_proto::observability::v1::{SumUsageRequest, UsageRow};
use sre_proto::security::v1::ResolveOrganizationRequest;
use sre_proto::security::v1::account_client::AccountClient;
use sre_service::{Host, Link, Role};
use tonic::{Request, Status};

use super::budget::Unit;
use super::meters::Millis;

/// A ledger that does not answer must not hold a call for longer.
const DEADLINE: Duration = Duration::from_secs(5);

/// What is asked of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sum {
    /// Of this team,
    pub team: String,
    /// or of all teams of this organisation, where it is not empty.
    pub organization: String,
    /// Of this agent; of all where empty.
    pub agent: String,
    /// Of this user; of all where empty.
    pub user: String,
    /// Of this model; of all where empty.
    pub model: String,
    /// Of this run, with what was started from it.
    pub run: String,
    /// From then on.
    pub from: Millis,
    /// Until then.
    pub to: Millis,
}

/// Says what was used.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// The sum of all that fits. What has been recorded when this is called is in it.
    async fn sum(&self, sum: &Sum, unit: Unit) -> Result<i64, Status>;
}

/// The suite's ledger.
pub struct UsageLedger {
    usage: UsageClient<Link>,
    accounts: AccountClient<Link>,
}

impl UsageLedger {
    /// Of a role's host.
    pub fn of(host: &Host) -> Self {
        Self {
            usage: UsageClient::new(host.link(Role::Observability)),
            accounts: AccountClient::new(host.link(Role::Security)),
        }
    }

    async fn teams(&self, sum: &Sum) -> Result<Vec<String>, Status> {
        if sum.organization.is_empty() {
            return Ok(vec![sum.team.clone()]);
        }
        let mut request = Request::new(ResolveOrganizationRequest { organization: sum.organization.clone() });
        request.set_timeout(DEADLINE);
        Ok(self.accounts.clone().resolve_organization(request).await?.into_inner().teams)
    }
}

#[async_trait]
impl Ledger for UsageLedger {
    async fn sum(&self, sum: &Sum, unit: Unit) -> Result<i64, Status> {
        let time = |ms: Millis| prost_types::Timestamp { seconds: ms / 1000, nanos: 0 };
        let mut request = Request::new(SumUsageRequest {
            teams: self.teams(sum).await?,
            agent: sum.agent.clone(),
            user: sum.user.clone(),
            model: sum.model.clone(),
            run_id: sum.run.clone(),
            start_time: Some(time(sum.from)),
            end_time: Some(time(sum.to)),
        });
        request.set_timeout(DEADLINE);
        let row = self.usage.clone().sum_usage(request).await?.into_inner();
        Ok(of_row(&row, unit))
    }
}

fn of_row(row: &UsageRow, unit: Unit) -> i64 {
    match unit {
        Unit::Requests => row.model_calls,
        Unit::Tokens => row.input_tokens.saturating_add(row.output_tokens),
        Unit::Micros => row.cost_micros,
        Unit::Concurrent => 0,
    }
}
