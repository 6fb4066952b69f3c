//! `sre.security.v1.Identity` over gRPC.

use std::time::Duration;

use sre_identity::spiffe::TrustDomain;
use sre_identity::{Caller, Purpose, SpiffeId};
use sre_proto::AccessLevel;
use sre_proto::error::reason;
use sre_proto::security::v1 as pb;
use sre_proto::security::v1::identity_server;
use sre_proto::security::v1::revocation::Target;
use sre_service::{Host, Role};
use tonic::{Code, Request, Response, Status};

use super::certificates::Certificates;
use super::mint::Minted;
use super::revocations::Revocation;
use super::{Ask, Sts, credentials, proof};
use crate::account::names;
use crate::audit::entry::Entry;
use crate::error::Error;
use crate::moment::Moment;
use crate::state::State;

/// The adapter.
pub struct IdentityService {
    host: Host,
    state: State,
    sts: Sts,
    certificates: Certificates,
}

impl IdentityService {
    /// Over the token service.
    pub fn new(host: Host, state: State, sts: Sts, certificates: Certificates) -> Self {
        Self { host, state, sts, certificates }
    }
}

#[tonic::async_trait]
impl identity_server::Identity for IdentityService {
    async fn exchange(
        &self,
        request: Request<pb::ExchangeRequest>,
    ) -> Result<Response<pb::ExchangeResponse>, Status> {
        let entry = Entry::of_call(&request)?;
        let presenter = Caller::of(request.extensions())?.peer().clone();
        let request = request.into_inner();
        let purpose =
            Purpose::from_proto(request.purpose).ok_or_else(|| Error::invalid("purpose", "is not set"))?;
        let ask = Ask {
            bound_to: bound_to(purpose, &request.presenter, self.state.trust_domain())?,
            presenter,
            purpose,
            agent: request.agent,
            audience: request.audience,
            scopes: request.scopes,
            grant_lifetime: grant_lifetime(request.want_resume_grant, request.resume_grant_time_to_live)?,
            runs: runs_of(purpose, request.runs)?,
        };
        let result = self.sts.exchange(&ask, request.proof, entry.clone()).await.map_err(Status::from);
        match result {
            Ok(minted) => Ok(Response::new(answer(minted))),
            Err(status) => {
                if matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated) {
                    let why = reason(&status).unwrap_or_default();
                    self.host.audit().record(entry.on(ask.agent).refused(why).into_record())?;
                }
                Err(status)
            }
        }
    }

    async fn get_key_set(
        &self,
        request: Request<pb::GetKeySetRequest>,
    ) -> Result<Response<pb::KeySet>, Status> {
        Ok(Response::new(self.state.ring().published(request.into_inner().known_version)?))
    }

    async fn revoke(
        &self,
        request: Request<pb::RevokeRequest>,
    ) -> Result<Response<pb::RevokeResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        request.parent = self.host.authorizer().resolve_name(&caller, &request.parent).await?;
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        let team = names::team("parent", &request.parent)?;
        let asked = request.revocation.unwrap_or_default();
        let target = asked.target.ok_or_else(|| Error::invalid("revocation.target", "is not set"))?;
        if let Target::Presenter(_) = target {
            // A service acts for every team.
            self.host
                .authorizer()
                .check_level(&caller, "deployment", AccessLevel::Owner, None)
                .await?
                .record_now();
        }
        let revocation = self.revocation(&team, target, asked.time.as_ref()).await?;
        let version = self.state.revoke(vec![revocation], move |tx| Ok(granted.record(tx)?)).await?;
        Ok(Response::new(pb::RevokeResponse { version }))
    }

    async fn rotate_key(
        &self,
        request: Request<pb::RotateKeyRequest>,
    ) -> Result<Response<pb::RotateKeyResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let granted = self.host.authorizer().check(&caller, request.get_ref(), None).await?;
        let key_id = self.state.rotate_key(move |tx| Ok(granted.record(tx)?)).await?;
        Ok(Response::new(pb::RotateKeyResponse { key_id }))
    }

    async fn get_trust_bundle(
        &self,
        _request: Request<pb::GetTrustBundleRequest>,
    ) -> Result<Response<pb::TrustBundle>, Status> {
        let certificates_pem = self.host.identity().roots().pem().to_owned();
        let trust_domain = self.state.trust_domain().to_string();
        Ok(Response::new(pb::TrustBundle { trust_domain, certificates_pem }))
    }

    async fn issue_certificate(
        &self,
        request: Request<pb::IssueCertificateRequest>,
    ) -> Result<Response<pb::IssueCertificateResponse>, Status> {
        let entry = Entry::of_call(&request)?;
        let peer = Caller::of(request.extensions())?.peer().clone();
        let entry = entry.on(peer.spiffe_id().to_string());
        // Before it is made: nothing is issued unrecorded.
        self.state.write(move |tx| entry.write(tx)).await?;
        let issued =
            self.certificates.issue(request.into_inner().request_pem, peer.principal().clone()).await?;
        Ok(Response::new(pb::IssueCertificateResponse {
            certificate_pem: issued.pem,
            expire_time: Some(issued.ends.into()),
        }))
    }
}

impl IdentityService {
    /// What is revoked must be of the team that the caller administers.
    async fn revocation(
        &self,
        team: &str,
        target: Target,
        time: Option<&prost_types::Timestamp>,
    ) -> Result<Revocation, Error> {
        let now = Moment::now();
        let of_another = || Error::NotFound(format!("such a credential or principal of team {team}"));
        let mut revocation = Revocation::new(target, now);
        // A time to come would lock its subject out until then.
        revocation.time = time.map_or(now, |time| Moment::from(time).min(now));
        match &revocation.target {
            Target::TokenId(id) => {
                let id = id.clone();
                let known = self.state.read(move |conn| credentials::find(conn, &id)).await?;
                revocation.expires = known.filter(|known| known.team == team).ok_or_else(of_another)?.ends;
            }
            Target::Subject(id) | Target::RootCaller(id) => {
                let wrong = |error| Error::invalid("revocation.target", format!("{error}"));
                let id: sre_identity::SpiffeId = id.parse().map_err(wrong)?;
                let known = self.state.resolve(&proof::candidate(&id)?).await?;
                let home = known.filter(|_| id.trust_domain() == self.state.trust_domain());
                if home.is_none_or(|known| known.home_team != team) {
                    return Err(of_another());
                }
            }
            Target::Presenter(_) => {}
        }
        Ok(revocation)
    }
}

/// Who will present the token, where that is a component and not who asks. No service of the suite can be named: its
/// tokens are bound to what asked for them.
fn bound_to(purpose: Purpose, presenter: &str, domain: &TrustDomain) -> Result<Option<SpiffeId>, Error> {
    if purpose != Purpose::Component {
        return match presenter.is_empty() {
            true => Ok(None),
            false => Err(Error::invalid("presenter", "is for PURPOSE_COMPONENT alone")),
        };
    }
    let wrong = || Error::invalid("presenter", "write service/<name>, of a component and not of the suite");
    let name = presenter.strip_prefix("service/").ok_or_else(wrong)?;
    if name.parse::<Role>().is_ok() {
        return Err(wrong());
    }
    format!("spiffe://{domain}/service/{name}").parse().map(Some).map_err(|_| wrong())
}

/// The runs that a component works for. Everybody else's are said by those who may ask for such a token.
fn runs_of(purpose: Purpose, runs: Vec<String>) -> Result<Vec<String>, Error> {
    if purpose != Purpose::Component && !runs.is_empty() {
        return Err(Error::invalid("runs", "is for PURPOSE_COMPONENT alone"));
    }
    if !sre_identity::runs::are_valid(&runs) {
        let most = sre_identity::runs::MOST;
        return Err(Error::invalid("runs", format!("are {{team}}/{{run}}, and {most} at most")));
    }
    Ok(runs)
}

fn grant_lifetime(wanted: bool, lifetime: Option<prost_types::Duration>) -> Result<Option<Duration>, Error> {
    if !wanted {
        return Ok(None);
    }
    let wrong = || Error::invalid("resume_grant_time_to_live", "must be set and positive");
    let lifetime = Duration::try_from(lifetime.ok_or_else(wrong)?).map_err(|_| wrong())?;
    if lifetime < Duration::from_secs(1) { Err(wrong()) } else { Ok(Some(lifetime)) }
}

fn answer(minted: Minted) -> pb::ExchangeResponse {
    let (resume_grant, ends) =
        minted.grant.map_or((String::new(), None), |(text, ends)| (text, Some(ends.into())));
    pb::ExchangeResponse {
        token: minted.token,
        expire_time: Some(Moment::from_secs(minted.claims.exp).into()),
        subject: minted.claims.sub,
        root_caller: minted.claims.root,
        agent: minted.claims.agent.unwrap_or_default(),
        team: minted.claims.team.unwrap_or_default(),
        resume_grant,
        resume_grant_expire_time: ends,
    }
}
