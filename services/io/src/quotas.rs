//! `sre.io.v1.Quotas`: what a team holds here, and how much it may.

use sre_identity::Caller;
use sre_proto::error::invalid_argument;
use sre_proto::io::v1::quotas_server::Quotas;
use sre_proto::io::v1::{ListQuotasRequest, ListQuotasResponse};
use sre_proto::types::v1::Quota;
use sre_service::Host;
use sre_service::limits::HolderQuota;
use tonic::{Request, Response, Status};

use crate::database::Database;
use crate::usage::Kind;
use crate::vector_db::Vectors;

/// So many agents are listed, those that hold most.
const MAX_AGENTS: u32 = 400;

/// Serves `sre.io.v1.Quotas`.
pub struct QuotasService {
    host: Host,
    database: Database,
    vectors: Vectors,
}

impl QuotasService {
    /// Over the database that counts, and the registry of vectors, which counts for itself.
    pub fn new(host: Host, database: Database, vectors: Vectors) -> Self {
        Self { host, database, vectors }
    }

    async fn of_team(&self, team: &str) -> Result<Vec<Quota>, Status> {
        let mut quotas = Vec::new();
        for kind in Kind::OF_TEAMS {
            let (items, bytes) = match kind {
                Kind::Vectors => self.vectors.usage(team).await?,
                _ => self.database.usage(team, kind).await?,
            };
            quotas.extend(self.rows(team, format!("teams/{team}"), kind.limits(), items, bytes).await?);
        }
        let agents = self.database.usage_of_agents(team, MAX_AGENTS).await?;
        for (agent, items, bytes) in agents {
            let holder = format!("teams/{team}/agents/{agent}");
            quotas.extend(self.rows(team, holder, HolderQuota::AGENT_FILES, items, bytes).await?);
        }
        Ok(quotas)
    }

    async fn rows(
        &self,
        team: &str,
        holder: String,
        of: HolderQuota,
        items: i64,
        bytes: i64,
    ) -> Result<[Quota; 2], Status> {
        let limit = self.host.limits().quota(team, of).await?;
        let row = |name: &str, used: i64, limit| Quota {
            name: name.to_owned(),
            holder: holder.clone(),
            used: used.try_into().unwrap_or_default(),
            limit,
        };
        Ok([row(of.items.name(), items, limit.items), row(of.bytes.name(), bytes, limit.bytes)])
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
        let team = request.parent.strip_prefix("teams/").filter(|team| !team.contains('/'));
        let team = team.ok_or_else(|| invalid_argument("parent", "is no team: write teams/{team}"))?;
        Ok(Response::new(ListQuotasResponse { quotas: self.of_team(team).await? }))
    }
}
