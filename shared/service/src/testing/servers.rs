//! The stand-in's gRPC services. What no test of another service needs is not built.

use std::time::{Duration, SystemTime};

use sre_identity::token::issuer;
use sre_identity::{Caller, Candidate};
use sre_proto::error::{not_implemented, status};
use sre_proto::security::v1 as pb;
use sre_proto::security::v1::account_server::Account;
use sre_proto::security::v1::audit_server::Audit;
use sre_proto::security::v1::identity_server::Identity;
use sre_proto::types::v1::Reason;
use tonic::{Code, Request, Response, Status};

use super::security::StandIn;
use crate::accounts::TeamRole;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Identity for StandIn {
    async fn exchange(&self, request: Request<pb::ExchangeRequest>) -> Answer<pb::ExchangeResponse> {
        let presenter = Caller::of(request.extensions())?.peer().spiffe_id().to_string();
        self.exchanged(&presenter, request.get_ref()).map(Response::new)
    }

    async fn get_key_set(&self, _: Request<pb::GetKeySetRequest>) -> Answer<pb::KeySet> {
        let revocations = self.revocations.lock().clone();
        let end = SystemTime::now() + Duration::from_secs(86_400);
        Ok(Response::new(pb::KeySet {
            version: 1 + i64::try_from(revocations.len()).unwrap_or_default(),
            unchanged: false,
            issuer: issuer(&self.domain),
            keys: vec![pb::PublicKey {
                key_id: self.signer.key_id().to_owned(),
                ed25519: self.signer.public_key().to_vec().into(),
                expire_time: Some(end.into()),
            }],
            revocations,
        }))
    }

    async fn revoke(&self, _: Request<pb::RevokeRequest>) -> Answer<pb::RevokeResponse> {
        Err(not_implemented("Revoke"))
    }

    async fn rotate_key(&self, _: Request<pb::RotateKeyRequest>) -> Answer<pb::RotateKeyResponse> {
        Err(not_implemented("RotateKey"))
    }

    async fn get_trust_bundle(&self, _: Request<pb::GetTrustBundleRequest>) -> Answer<pb::TrustBundle> {
        Err(not_implemented("GetTrustBundle"))
    }

    async fn issue_certificate(
        &self,
        _: Request<pb::IssueCertificateRequest>,
    ) -> Answer<pb::IssueCertificateResponse> {
        Err(not_implemented("IssueCertificate"))
    }
}

#[tonic::async_trait]
impl Audit for StandIn {
    async fn write_records(
        &self,
        request: Request<pb::WriteRecordsRequest>,
    ) -> Answer<pb::WriteRecordsResponse> {
        if *self.refuses_records.lock() {
            return Err(status(Code::Unavailable, Reason::BackendUnavailable, "told to refuse"));
        }
        let batch = request.into_inner().records;
        let last_sequence = batch.last().map(|record| record.sequence).unwrap_or_default();
        let mut records = self.records.lock();
        for record in batch {
            // Idempotent by writer and sequence, as the contract says.
            let known =
                |old: &pb::AuditRecord| old.writer == record.writer && old.sequence == record.sequence;
            if !records.iter().any(known) {
                records.push(record);
            }
        }
        Ok(Response::new(pb::WriteRecordsResponse { last_sequence }))
    }

    async fn list_records(&self, _: Request<pb::ListRecordsRequest>) -> Answer<pb::ListRecordsResponse> {
        Err(not_implemented("ListRecords"))
    }

    type VerifyRecordsStream = futures::stream::Empty<Result<pb::VerifyRecordsResponse, Status>>;

    async fn verify_records(
        &self,
        _: Request<pb::VerifyRecordsRequest>,
    ) -> Answer<Self::VerifyRecordsStream> {
        Err(not_implemented("VerifyRecords"))
    }

    async fn list_checkpoints(
        &self,
        _: Request<pb::ListCheckpointsRequest>,
    ) -> Answer<pb::ListCheckpointsResponse> {
        Err(not_implemented("ListCheckpoints"))
    }
}

fn candidate(message: Option<&sre_proto::types::v1::Candidate>) -> Result<Candidate, Status> {
    let invalid = || sre_proto::error::invalid_argument("candidate", "is no principal");
    Candidate::try_from(message.ok_or_else(invalid)?).map_err(|_| invalid())
}

#[tonic::async_trait]
impl Account for StandIn {
    async fn resolve_principal(
        &self,
        request: Request<pb::ResolvePrincipalRequest>,
    ) -> Answer<pb::Principal> {
        let candidate = candidate(request.get_ref().candidate.as_ref())?;
        Ok(Response::new(self.principal(&candidate)))
    }

    async fn resolve_organization(
        &self,
        _: Request<pb::ResolveOrganizationRequest>,
    ) -> Answer<pb::ResolveOrganizationResponse> {
        Err(not_implemented("ResolveOrganization"))
    }

    async fn register_agent(&self, request: Request<pb::RegisterAgentRequest>) -> Answer<pb::Principal> {
        let pb::RegisterAgentRequest { agent, team } = request.into_inner();
        let candidate = Candidate::agent(&agent)
            .map_err(|error| sre_proto::error::invalid_argument("agent", error.to_string()))?;
        let known = self.principal(&candidate);
        if known.known && known.home_team != team {
            let message = format!("agent {agent} is of another team");
            return Err(status(Code::AlreadyExists, Reason::AlreadyExists, message));
        }
        self.set_member(&candidate.to_string(), &team, TeamRole::Member);
        Ok(Response::new(self.principal(&candidate)))
    }

    async fn unregister_agent(&self, request: Request<pb::UnregisterAgentRequest>) -> Answer<()> {
        self.accounts.lock().remove(&format!("agent/{}", request.get_ref().agent));
        Ok(Response::new(()))
    }

    async fn get_self(&self, request: Request<pb::GetSelfRequest>) -> Answer<pb::Principal> {
        let caller = Caller::of(request.extensions())?;
        Ok(Response::new(self.principal(caller.require_candidate()?)))
    }

    async fn list_teams(&self, _: Request<pb::ListTeamsRequest>) -> Answer<pb::ListTeamsResponse> {
        Err(not_implemented("ListTeams"))
    }

    async fn get_team(&self, _: Request<pb::GetTeamRequest>) -> Answer<pb::Team> {
        Err(not_implemented("GetTeam"))
    }

    async fn create_team(&self, _: Request<pb::CreateTeamRequest>) -> Answer<pb::Team> {
        Err(not_implemented("CreateTeam"))
    }

    async fn list_members(&self, _: Request<pb::ListMembersRequest>) -> Answer<pb::ListMembersResponse> {
        Err(not_implemented("ListMembers"))
    }

    async fn set_member(&self, _: Request<pb::SetMemberRequest>) -> Answer<pb::Member> {
        Err(not_implemented("SetMember"))
    }

    async fn remove_member(&self, _: Request<pb::RemoveMemberRequest>) -> Answer<()> {
        Err(not_implemented("RemoveMember"))
    }

    async fn get_setting(&self, _: Request<pb::GetSettingRequest>) -> Answer<pb::Setting> {
        Err(not_implemented("GetSetting"))
    }

    async fn list_settings(&self, _: Request<pb::ListSettingsRequest>) -> Answer<pb::ListSettingsResponse> {
        Err(not_implemented("ListSettings"))
    }

    async fn set_setting(&self, _: Request<pb::SetSettingRequest>) -> Answer<pb::Setting> {
        Err(not_implemented("SetSetting"))
    }
}
