//! Tokens: obtained from `security.Identity.Exchange`, kept until shortly before they end.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderValue;
use moka::Expiry;
use moka::future::Cache;
use sre_proto::error::status;
use sre_proto::security::v1 as pb;
use sre_proto::security::v1::identity_client::IdentityClient;
use sre_proto::types::v1::Reason;
use tonic::{Code, Status};

use crate::link::Link;

pub use sre_proto::security::v1::Purpose;

/// A token is asked for again when it would end within this time.
const MARGIN: Duration = Duration::from_secs(30);
/// In units of a kilobyte of proof or less: tokens of providers can be long.
const MAX_CACHED: u64 = 40_000;

/// What a token is asked for with. Equal keys share a token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ExchangeKey {
    /// The proof of who is acted for.
    pub proof: Proof,
    /// What for.
    pub purpose: Purpose,
    /// The agent to run, for `RUN` and `SUB_AGENT`: `teams/{team}/agents/{agent}`.
    pub agent: Option<String>,
    /// Roles that will be called.
    pub audience: Vec<String>,
    /// What will be called: `<proto service>:<level>`.
    pub scopes: Vec<String>,
    /// How long a resume grant must live, where one is wanted too.
    pub resume_grant: Option<Duration>,
    /// Who will present it, `service/<name>`, for `COMPONENT`; this role where none is named.
    pub presenter: Option<String>,
    /// The runs that its calls are made in, for `COMPONENT`: see [`sre_identity::runs`].
    pub runs: Vec<String>,
}

/// The proof of who is acted for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Proof {
    /// An API key, as the client sent it.
    ApiKey(String),
    /// An OpenID Connect token, as the client sent it.
    Oidc(String),
    /// The SPIFFE id of a client that this role authenticated. Only from the edge.
    Peer(String),
    /// A token that was presented to this role.
    Token(String),
    /// A resume grant from a journal. Only from the engine.
    ResumeGrant(String),
}

impl Proof {
    /// What it weighs in a cache: at least one.
    fn kilobytes(&self) -> u32 {
        let (Self::ApiKey(text)
        | Self::Oidc(text)
        | Self::Peer(text)
        | Self::Token(text)
        | Self::ResumeGrant(text)) = self;
        u32::try_from(text.len().div_ceil(1024)).unwrap_or(u32::MAX).max(1)
    }
}

impl ExchangeKey {
    /// The next hop with a token that was presented to this role: the subject stays.
    pub fn next_hop(token: impl Into<String>, audience: crate::Role, scopes: &[&str]) -> Self {
        Self {
            proof: Proof::Token(token.into()),
            purpose: Purpose::NextHop,
            agent: None,
            audience: vec![audience.name().to_owned()],
            scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
            resume_grant: None,
            presenter: None,
            runs: Vec::new(),
        }
    }

    fn request(&self) -> pb::ExchangeRequest {
        use pb::exchange_request::Proof as Wire;
        let proof = match &self.proof {
            Proof::ApiKey(key) => Wire::ApiKey(key.clone()),
            Proof::Oidc(token) => Wire::OidcToken(token.clone()),
            Proof::Peer(id) => Wire::Peer(pb::AttestedPeer { spiffe_id: id.clone() }),
            Proof::Token(token) => Wire::Token(token.clone()),
            Proof::ResumeGrant(grant) => Wire::ResumeGrant(grant.clone()),
        };
        pb::ExchangeRequest {
            proof: Some(proof),
            purpose: self.purpose.into(),
            agent: self.agent.clone().unwrap_or_default(),
            audience: self.audience.clone(),
            scopes: self.scopes.clone(),
            want_resume_grant: self.resume_grant.is_some(),
            resume_grant_time_to_live: self.resume_grant.and_then(|time| time.try_into().ok()),
            presenter: self.presenter.clone().unwrap_or_default(),
            runs: self.runs.clone(),
        }
    }
}

/// A token that this role may present, see [`Link::with_token`].
#[derive(Clone)]
pub struct Token {
    /// The token itself.
    pub jwt: String,
    /// When it ends.
    pub expires: SystemTime,
    /// The subject's SPIFFE id.
    pub subject: String,
    /// The root caller's SPIFFE id.
    pub root: String,
    /// The agent's full name, where it is for a run.
    pub agent: Option<String>,
    /// The subject's home team, where it has one.
    pub team: Option<String>,
    /// A resume grant and its end, where asked for.
    pub resume_grant: Option<(String, SystemTime)>,
    pub(crate) header: HeaderValue,
    renew_at: Instant,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The text is a credential.
        f.debug_struct("Token")
            .field("subject", &self.subject)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl Token {
    fn of_response(response: pb::ExchangeResponse) -> Result<Self, Status> {
        let malformed = || status(Code::Internal, Reason::Internal, "security answered a malformed token");
        let time = |time: Option<prost_types::Timestamp>| {
            time.and_then(|time| SystemTime::try_from(time).ok()).ok_or_else(malformed)
        };
        let expires = time(response.expire_time)?;
        let mut header = HeaderValue::try_from(&response.token).map_err(|_| malformed())?;
        header.set_sensitive(true);
        let resume_grant = match response.resume_grant.is_empty() {
            true => None,
            false => Some((response.resume_grant, time(response.resume_grant_expire_time)?)),
        };
        let left = expires.duration_since(SystemTime::now()).unwrap_or_default();
        // Tokens of short deployments and tests live less than the margin allows: half of their life then.
        let keep = left.checked_sub(MARGIN).filter(|keep| *keep > left / 2).unwrap_or(left / 2);
        Ok(Self {
            jwt: response.token,
            expires,
            subject: response.subject,
            root: response.root_caller,
            agent: Some(response.agent).filter(|agent| !agent.is_empty()),
            team: Some(response.team).filter(|team| !team.is_empty()),
            resume_grant,
            header,
            renew_at: Instant::now() + keep,
        })
    }
}

/// Obtains tokens. Clones share the cache.
#[derive(Clone)]
pub struct Tokens {
    security: Link,
    cache: Cache<Arc<ExchangeKey>, Arc<Token>>,
}

impl Tokens {
    pub(crate) fn new(security: Link) -> Self {
        let weigh = |key: &Arc<ExchangeKey>, _: &Arc<Token>| key.proof.kilobytes();
        let cache =
            Cache::builder().max_capacity(MAX_CACHED).weigher(weigh).expire_after(UntilRenewal).build();
        Self { security, cache }
    }

    /// A token for this key: a kept one, or a new one. Calls at the same time share one exchange.
    pub async fn exchange(&self, key: ExchangeKey) -> Result<Arc<Token>, Status> {
        let key = Arc::new(key);
        if let Some(token) = self.cache.get(&key).await {
            return Ok(token);
        }
        let security = self.security.clone();
        let request = key.request();
        self.cache
            .try_get_with(key, async move {
                let mut client = IdentityClient::new(security);
                let answer = client.exchange(request).await;
                let result = match &answer {
                    Ok(_) => "ok",
                    Err(status) if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) => {
                        "unavailable"
                    }
                    Err(_) => "refused",
                };
                metrics::counter!("sre_delegation_exchanges_total", "result" => result).increment(1);
                Token::of_response(answer?.into_inner()).map(Arc::new)
            })
            .await
            .map_err(|status: Arc<Status>| Status::clone(&status))
    }

    /// Forgets a token that was refused, so that the next call asks again.
    pub async fn forget(&self, key: &ExchangeKey) {
        self.cache.invalidate(key).await;
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("cached", &self.cache.entry_count()).finish_non_exhaustive()
    }
}

struct UntilRenewal;

impl Expiry<Arc<ExchangeKey>, Arc<Token>> for UntilRenewal {
    fn expire_after_create(
        &self,
        _: &Arc<ExchangeKey>,
        token: &Arc<Token>,
        created: Instant,
    ) -> Option<Duration> {
        Some(token.renew_at.saturating_duration_since(created))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;
    use crate::testing::TestSuite;

    #[tokio::test]
    async fn calls_at_the_same_time_share_an_exchange_and_later_ones_the_token() {
        let suite =
            TestSuite::builder().role(Role::Engine, |_| async { Ok(tonic::service::Routes::default()) });
        let suite = suite.build().await.unwrap();
        let tokens = suite.host(Role::Engine).tokens();
        let proof = suite.token("user/dev", Role::Edge, Role::Engine, &["sre.io.v1.Nkv:read"]);
        let key = ExchangeKey::next_hop(proof, Role::Io, &["sre.io.v1.Nkv:read"]);
        let both = tokio::join!(tokens.exchange(key.clone()), tokens.exchange(key.clone()));
        let (first, second) = (both.0.unwrap(), both.1.unwrap());
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(
            (first.subject.as_str(), suite.stand_in().exchanges()),
            ("spiffe://sre.local/user/dev", 1)
        );
        assert!(Arc::ptr_eq(&first, &tokens.exchange(key.clone()).await.unwrap()));
        let other = ExchangeKey { scopes: vec!["sre.io.v1.Nkv:write".to_owned()], ..key.clone() };
        assert!(!Arc::ptr_eq(&first, &tokens.exchange(other).await.unwrap()));
        tokens.forget(&key).await;
        assert!(!Arc::ptr_eq(&first, &tokens.exchange(key).await.unwrap()));
        assert_eq!(suite.stand_in().exchanges(), 3);
        assert!(!format!("{first:?}").contains(&first.jwt), "a token is never printed");
    }

    #[tokio::test]
    async fn a_refusal_is_not_kept() {
        let suite =
            TestSuite::builder().role(Role::Engine, |_| async { Ok(tonic::service::Routes::default()) });
        let suite = suite.build().await.unwrap();
        let key = ExchangeKey::next_hop("no token", Role::Io, &[]);
        for _ in 0..2 {
            let status = suite.host(Role::Engine).tokens().exchange(key.clone()).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
        }
    }

    #[test]
    fn tokens_are_renewed_before_they_end() {
        let of = |seconds: i64| {
            let end = SystemTime::now() + Duration::from_secs(seconds.unsigned_abs());
            let response = pb::ExchangeResponse {
                token: "t".to_owned(),
                expire_time: Some(end.into()),
                ..Default::default()
            };
            Token::of_response(response).unwrap().renew_at - Instant::now()
        };
        assert!((Duration::from_secs(268)..=Duration::from_secs(270)).contains(&of(300)));
        assert!((Duration::from_secs(18)..=Duration::from_secs(20)).contains(&of(40)));
    }
}
