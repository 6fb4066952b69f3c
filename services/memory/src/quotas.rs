//! `sre.memory.v1.Quotas`: what a team has in the cache, and how much it may.

use sre_identity::Caller;
use sre_proto::error::invalid_argument;
use sre_proto::memory::v1::quotas_server::Quotas;
use sre_proto::memory::v1::{ListQuotasRequest, ListQuotasResponse};
use sre_proto::types::v1::Quota;
use sre_service::Host;
use sre_service::limits::HolderQuota;
use tonic::{Request, Response, Status};

use crate::usage::Usage;

/// Serves `sre.memory.v1.Quotas`.
pub(crate) struct QuotasService {
    host: Host,
    usage: Usage,
}

impl QuotasService {
    pub(crate) fn new(host: Host, usage: Usage) -> Self {
        Self { host, usage }
    }
}

#[tonic::async_trait]
impl Quotas for QuotasService {
    async fn list_quotas(
        &self,
        request: Request<ListQuotasRequest>,
    ) -> Result<Response<ListQuotasResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.parent = self.host.authorizer().resolve_name(&caller, &request.parent).await?;
        self.host.authorizer().check(&caller, &request, None).await?.record_now();
        let holder = request.parent;
        let team = holder.strip_prefix("teams/").filter(|team| !team.contains('/'));
        let team = team.ok_or_else(|| invalid_argument("parent", "is no team: write teams/{team}"))?;
        let quota = self.host.limits().quota(team, HolderQuota::CACHE).await?;
        let held = self.usage.of(team);
        let row =
            |name: &str, used, limit| Quota { name: name.to_owned(), holder: holder.clone(), used, limit };
        let quotas = vec![
            row(HolderQuota::CACHE.items.name(), held.entries, quota.items),
            row(HolderQuota::CACHE.bytes.name(), held.bytes, quota.bytes),
        ];
        Ok(Response::new(ListQuotasResponse { quotas }))
    }
}
