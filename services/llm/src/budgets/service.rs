//! The tonic adapter of budgets.

use std::time::Duration;

use sre_identity::Caller;
use sre_identity::candidate::is_valid_id;
use sre_identity::resource::Pattern;
use sre_proto::error::invalid_argument;
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::budgets_server::Budgets as Rpc;
use sre_service::Host;
use tonic::{Request, Response, Status};

use super::budget::{Budget, Subject};
use super::{Budgets, InRun, Spender};
use crate::inference::Payer;
use crate::kept::{Document, Expect, Kept, KeptError, Kind, now_ms};

static OF_TEAM: Pattern = Pattern::new("teams/{holder}/budgets/{budget}");
static OF_ORGANIZATION: Pattern = Pattern::new("organizations/{holder}/budgets/{budget}");

/// `sre.llm.v1.Budgets`.
#[derive(Clone)]
pub struct BudgetsService {
    budgets: Budgets,
    kept: Kept,
    host: Host,
}

/// A budget's place.
struct Place {
    /// `teams/{team}` or `organizations/{organization}`.
    holder: String,
    id: String,
}

impl Place {
    fn parse(name: &str) -> Result<Self, Status> {
        let (kind, captures) = if name.starts_with("organizations/") {
            ("organizations", OF_ORGANIZATION.parse(name)?)
        } else {
            ("teams", OF_TEAM.parse(name)?)
        };
        let holder = format!("{kind}/{}", captures.get("holder"));
        Ok(Self { holder, id: captures.get("budget").to_owned() })
    }

    fn name(&self) -> String {
        format!("{}/budgets/{}", self.holder, self.id)
    }

    fn is_of_organization(&self) -> bool {
        self.holder.starts_with("organizations/")
    }

    /// As meters name it.
    fn scope(&self) -> String {
        let letter = if self.is_of_organization() { 'o' } else { 't' };
        format!("{letter}/{}", self.holder.split_once('/').map_or("", |(_, id)| id))
    }

    fn message(&self, document: &Document) -> Result<pb::Budget, Status> {
        let budget: Budget = serde_json::from_str(&document.json).map_err(|_| missing())?;
        Ok(pb::Budget {
            create_time: document.create_time(),
            update_time: document.update_time(),
            etag: document.etag.clone(),
            ..budget.message(self.name())
        })
    }
}

fn missing() -> Status {
    KeptError::Missing.into()
}

impl BudgetsService {
    /// The service over budgets that are kept.
    pub fn new(budgets: Budgets, kept: Kept, host: Host) -> Self {
        Self { budgets, kept, host }
    }

    async fn resolve(&self, caller: &Caller, name: &mut String) -> Result<(), Status> {
        *name = self.host.authorizer().resolve_name(caller, name).await?;
        Ok(())
    }

    fn find(&self, place: &Place) -> Result<Document, Status> {
        self.kept.shelf(Kind::Budget, &place.holder).get(&place.id).cloned().ok_or_else(missing)
    }

    async fn put(
        &self,
        place: &Place,
        message: &pb::Budget,
        expect: Expect,
        granted: sre_service::Granted,
    ) -> Result<pb::Budget, Status> {
        let budget = Budget::of(message, place.is_of_organization())?;
        let json =
            serde_json::to_string(&budget).map_err(|error| invalid_argument("budget", error.to_string()))?;
        let put = self.kept.put(Kind::Budget, &place.holder, &place.id, json, expect, granted).await?;
        place.message(&put)
    }
}

#[tonic::async_trait]
impl Rpc for BudgetsService {
    async fn create_budget(
        &self,
        request: Request<pb::CreateBudgetRequest>,
    ) -> Result<Response<pb::Budget>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.resolve(&caller, &mut request.parent).await?;
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        if !is_valid_id(&request.budget_id) {
            let words = "must be letters, digits, - and _, 64 at most";
            return Err(invalid_argument("budget_id", words));
        }
        let place = Place::parse(&format!("{}/budgets/{}", request.parent, request.budget_id))?;
        let budget = request.budget.unwrap_or_default();
        Ok(Response::new(self.put(&place, &budget, Expect::Absent, granted).await?))
    }

    async fn get_budget(
        &self,
        request: Request<pb::GetBudgetRequest>,
    ) -> Result<Response<pb::Budget>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.resolve(&caller, &mut request.name).await?;
        let _granted = self.host.authorizer().check(&caller, &request, None).await?;
        let place = Place::parse(&request.name)?;
        Ok(Response::new(place.message(&self.find(&place)?)?))
    }

    async fn list_budgets(
        &self,
        request: Request<pb::ListBudgetsRequest>,
    ) -> Result<Response<pb::ListBudgetsResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.resolve(&caller, &mut request.parent).await?;
        let _granted = self.host.authorizer().check(&caller, &request, None).await?;
        let shelf = self.kept.shelf(Kind::Budget, &request.parent);
        let holder = &request.parent;
        let budgets = shelf
            .iter()
            .map(|(id, document)| Place { holder: holder.clone(), id: id.clone() }.message(document))
            .collect::<Result<_, _>>()?;
        Ok(Response::new(pb::ListBudgetsResponse { budgets }))
    }

    async fn update_budget(
        &self,
        request: Request<pb::UpdateBudgetRequest>,
    ) -> Result<Response<pb::Budget>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        let Some(budget) = &mut request.budget else {
            return Err(invalid_argument("budget", "is not set"));
        };
        self.resolve(&caller, &mut budget.name).await?;
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        let budget = request.budget.unwrap_or_default();
        let place = Place::parse(&budget.name)?;
        let etag = Some(budget.etag.clone()).filter(|etag| !etag.is_empty());
        Ok(Response::new(self.put(&place, &budget, Expect::Present(etag), granted).await?))
    }

    async fn delete_budget(&self, request: Request<pb::DeleteBudgetRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.resolve(&caller, &mut request.name).await?;
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        let place = Place::parse(&request.name)?;
        let etag = Some(request.etag).filter(|etag| !etag.is_empty());
        self.kept.remove(Kind::Budget, &place.holder, &place.id, etag, granted).await?;
        Ok(Response::new(()))
    }

    async fn get_budget_state(
        &self,
        request: Request<pb::GetBudgetStateRequest>,
    ) -> Result<Response<pb::BudgetState>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.resolve(&caller, &mut request.name).await?;
        let _granted = self.host.authorizer().check(&caller, &request, None).await?;
        let place = Place::parse(&request.name)?;
        let document = self.find(&place)?;
        let budget: Budget = serde_json::from_str(&document.json).map_err(|_| missing())?;
        let subject = if budget.subject_id.is_empty() {
            request.subject_id.as_str()
        } else {
            budget.subject_id.as_str()
        };
        let by_subject = matches!(budget.subject, Subject::User | Subject::Agent | Subject::Run);
        if by_subject && subject.is_empty() {
            return Err(invalid_argument("subject_id", "is empty: name the user, agent or run"));
        }
        let holder = place.holder.split_once('/').map_or("", |(_, id)| id).to_owned();
        let spender = Spender {
            organization: if place.is_of_organization() { holder.clone() } else { String::new() },
            runs: vec![InRun { team: holder.clone(), id: subject.to_owned() }],
            payer: Payer { team: holder, agent: subject.into(), user: subject.into(), ..Payer::default() },
        };
        let (used, window) = self.budgets.state(&place.scope(), &place.id, &budget, &spender).await?;
        let left =
            window.map(|(_, ends)| Duration::from_millis(u64::try_from(ends - now_ms()).unwrap_or_default()));
        Ok(Response::new(pb::BudgetState {
            name: place.name(),
            used,
            remaining: budget.limit.saturating_sub(used).max(0),
            window_start: window.map(|(began, _)| prost_types::Timestamp { seconds: began / 1000, nanos: 0 }),
            resets_in: left.and_then(|left| left.try_into().ok()),
        }))
    }
}
