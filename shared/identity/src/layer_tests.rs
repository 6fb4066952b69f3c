use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Duration;

use sre_proto::METHODS;
use tower::ServiceExt as _;

use super::*;
use crate::keys::Signer;
use crate::test_world::{AUTHORITY, Sts, claims, leaf_params, patterns, peer, public_key, svid};
use crate::token::Claims;

const GENERATE: &str = "/sre.llm.v1.Inference/Generate";
const KEY_SET: &str = "/sre.security.v1.Identity/GetKeySet";

/// What the handler behind the layer saw.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    candidate: Option<String>,
    peer: Option<String>,
    has_header: bool,
}

struct World {
    sts: Sts,
    source: Source,
    role: &'static str,
    refusals: Arc<Mutex<Vec<Refusal>>>,
}

impl World {
    fn new(role: &'static str) -> Self {
        Self { sts: Sts::new(), source: Source::Link, role, refusals: Arc::default() }
    }

    async fn call(&self, request: http::Request<Body>) -> Result<Seen, Status> {
        let seen: Arc<Mutex<Option<Seen>>> = Arc::default();
        let handler = {
            let seen = seen.clone();
            tower::service_fn(move |request: http::Request<Body>| {
                let caller = request.extensions().get::<Caller>().cloned();
                *seen.lock().unwrap() = Some(Seen {
                    candidate: caller.as_ref().and_then(Caller::candidate).map(ToString::to_string),
                    peer: caller.as_ref().map(|caller| caller.peer().principal().to_string()),
                    has_header: request
                        .headers()
                        .keys()
                        .any(|name| name.as_str().starts_with("sre-") || name == "x-forwarded-client-cert"),
                });
                async { Ok::<_, Infallible>(http::Response::new(Body::empty())) }
            })
        };
        let refusals = self.refusals.clone();
        let layer = AuthLayer::new(self.source, self.role, self.sts.verifier.clone())
            .on_refusal(Arc::new(move |refusal| refusals.lock().unwrap().push(refusal)));
        let Ok(answer) = layer.layer(handler).oneshot(request).await;
        match Status::from_header_map(answer.headers()) {
            Some(status) => {
                assert_eq!(*seen.lock().unwrap(), None, "a refused call reached the handler");
                Err(status)
            }
            None => Ok(seen.lock().unwrap().clone().unwrap()),
        }
    }

    async fn refused(&self, request: http::Request<Body>) -> (Code, Reason) {
        let before = self.refusals.lock().unwrap().len();
        let status = self.call(request).await.unwrap_err();
        let reason = error::reason(&status).unwrap();
        let refusals = self.refusals.lock().unwrap();
        if status.code() != Code::Unimplemented {
            assert_eq!(refusals.len(), before + 1, "every refusal is told once");
            assert_eq!(refusals.last().unwrap().reason, reason);
        }
        (status.code(), reason)
    }

    fn token(&self, change: impl FnOnce(&mut Claims)) -> String {
        let mut claims = claims();
        change(&mut claims);
        self.sts.signer.sign(&claims).unwrap()
    }
}

fn request(path: &str, who: &str, token: Option<&str>) -> http::Request<Body> {
    let mut request = anonymous(path, token);
    request.extensions_mut().insert(link_extension(&svid(who)));
    request
}

fn anonymous(path: &str, token: Option<&str>) -> http::Request<Body> {
    let mut request = http::Request::new(Body::empty());
    *request.uri_mut() = format!("http://role{path}").parse().unwrap();
    if let Some(token) = token {
        request.headers_mut().insert(METADATA_KEY, token.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn a_token_acts_for_its_subject() {
    let world = World::new("llm");
    let token = world.token(|_| ());
    let seen = world.call(request(GENERATE, "service/engine", Some(&token))).await.unwrap();
    let expected = Seen {
        candidate: Some("agent/a".into()),
        peer: Some("service/engine".into()),
        // Taken off the metadata: no handler forwards or logs it by accident.
        has_header: false,
    };
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn agents_users_and_teams_are_themselves() {
    let world = World::new("llm");
    for who in ["agent/a", "user/alice", "team/t"] {
        let seen = world.call(request(GENERATE, who, None)).await.unwrap();
        assert_eq!(seen.candidate.as_deref(), Some(who));
    }
}

#[tokio::test]
async fn no_identity_gets_nowhere() {
    let world = World::new("llm");
    let missing = (Code::Unauthenticated, Reason::CredentialsMissing);
    for path in [GENERATE, KEY_SET, "/nothing/Here", "/grpc.health.v1.Health/Check", "/"] {
        assert_eq!(world.refused(anonymous(path, None)).await, missing, "{path}");
    }
    let token = world.token(|_| ());
    assert_eq!(world.refused(anonymous(GENERATE, Some(&token))).await, missing);
}

#[tokio::test]
async fn a_layer_never_takes_the_peer_from_the_other_source() {
    let missing = (Code::Unauthenticated, Reason::CredentialsMissing);
    let mut world = World::new("llm");
    world.source = Source::Tls;
    assert_eq!(world.refused(request(GENERATE, "user/alice", None)).await, missing);
    let mut tls = anonymous(GENERATE, None);
    tls.extensions_mut().insert(tls_extension(peer("user/alice")));
    assert!(world.call(tls).await.is_ok());
    world.source = Source::Link;
    let mut tls = anonymous(GENERATE, None);
    tls.extensions_mut().insert(tls_extension(peer("user/alice")));
    assert_eq!(world.refused(tls).await, missing);
}

#[tokio::test]
async fn a_service_must_act_for_somebody() {
    let world = World::new("llm");
    for who in ["service/engine", "service/llm", "service/security", "service/other"] {
        let refused = world.refused(request(GENERATE, who, None)).await;
        assert_eq!(refused, (Code::Unauthenticated, Reason::CredentialsMissing), "{who}");
    }
}

#[tokio::test]
async fn tokens_are_checked() {
    let world = World::new("llm");
    let good = world.token(|_| ());
    let forged = Signer::generate().unwrap().sign(&claims()).unwrap();
    let forged = format!("{}.{}", good.split('.').next().unwrap(), forged.split_once('.').unwrap().1);
    let expired = world.token(|claims| (claims.iat, claims.exp) = (claims.iat - 300, claims.iat - 10));
    let elsewhere = world.token(|claims| claims.aud = vec!["io".into()]);
    let other_scope = world.token(|claims| claims.scope = vec!["sre.llm.v1.Models:read".into()]);
    let other_level = world.token(|claims| claims.scope = vec!["sre.llm.v1.Inference:write".into()]);
    let by_ceiling = world.token(|claims| {
        claims.scope = vec!["sre.llm.v1.Models:read".into()];
        claims.ceil = vec!["sre.llm.v1.Inference:read".into()];
    });
    let invalid = (Code::Unauthenticated, Reason::CredentialsInvalid);
    let exceeded = (Code::PermissionDenied, Reason::ScopeExceeded);
    for (what, token, expected) in [
        ("nonsense", "nonsense", invalid),
        ("empty", "", invalid),
        ("forged", &forged, invalid),
        ("expired", &expired, invalid),
        ("for another service", &elsewhere, invalid),
        ("with another scope", &other_scope, exceeded),
        ("with another level", &other_level, exceeded),
        ("with the right in its ceiling only", &by_ceiling, exceeded),
    ] {
        assert_eq!(world.refused(request(GENERATE, "service/engine", Some(token))).await, expected, "{what}");
    }
    let thief = (Code::PermissionDenied, Reason::WrongPresenter);
    for who in ["service/llm", "service/edge", "agent/a", "user/alice"] {
        assert_eq!(world.refused(request(GENERATE, who, Some(&good))).await, thief, "{who}");
    }
    assert!(world.call(request(GENERATE, "service/engine", Some(&good))).await.is_ok());
}

#[tokio::test]
async fn two_tokens_are_one_too_many() {
    let world = World::new("llm");
    let token = world.token(|_| ());
    let mut twice = request(GENERATE, "service/engine", Some(&token));
    twice.headers_mut().append(METADATA_KEY, token.parse().unwrap());
    assert_eq!(world.refused(twice).await, (Code::Unauthenticated, Reason::CredentialsInvalid));
    let mut binary = request(GENERATE, "service/engine", None);
    binary.headers_mut().insert(METADATA_KEY, http::HeaderValue::from_bytes(b"\xff\xfe").unwrap());
    assert_eq!(world.refused(binary).await, (Code::Unauthenticated, Reason::CredentialsInvalid));
}

#[tokio::test]
async fn h13_the_edge_believes_no_header() {
    let world = World::new("edge");
    let token = world.token(|claims| {
        claims.aud = vec!["edge".into()];
        claims.act = "spiffe://sre.local/user/eve".into();
        claims.scope = vec!["sre.llm.v1.Inference:owner".into()];
    });
    // Ignored, not judged: the caller stays who its certificate says.
    let mut with_headers = request(GENERATE, "user/eve", Some(&token));
    with_headers
        .headers_mut()
        .insert("x-forwarded-client-cert", "URI=spiffe://sre.local/user/alice".parse().unwrap());
    with_headers.headers_mut().insert("sre-anything", "1".parse().unwrap());
    let seen = world.call(with_headers).await.unwrap();
    assert_eq!((seen.candidate.as_deref(), seen.has_header), (Some("user/eve"), false));
    let service = world.refused(request(GENERATE, "service/io", Some(&token))).await;
    assert_eq!(service, (Code::Unauthenticated, Reason::CredentialsMissing));
}

#[tokio::test]
async fn a_revoked_token_is_refused() {
    use sre_proto::security::v1::{Revocation, revocation::Target};
    let world = World::new("llm");
    let token = world.token(|_| ());
    assert!(world.call(request(GENERATE, "service/engine", Some(&token))).await.is_ok());
    let target = Some(Target::RootCaller("spiffe://sre.local/user/alice".into()));
    world.sts.publish(2, vec![Revocation { target, time: None }]);
    let refused = world.refused(request(GENERATE, "service/engine", Some(&token))).await;
    assert_eq!(refused, (Code::Unauthenticated, Reason::CredentialsRevoked));
}

#[tokio::test]
async fn system_methods_are_for_listed_services() {
    let world = World::new("security");
    let seen = world.call(request(KEY_SET, "service/io", None)).await.unwrap();
    assert_eq!((seen.candidate, seen.peer.as_deref()), (None, Some("service/io")));
    // A token gives nobody anything here, and a service no Candidate.
    let token = world.token(|_| ());
    let seen = world.call(request(KEY_SET, "service/io", Some(&token))).await.unwrap();
    assert_eq!((seen.candidate, seen.has_header), (None, false));
    let refused = (Code::PermissionDenied, Reason::MethodNotAllowed);
    for who in ["user/io", "agent/engine", "team/edge", "service/other", "service/gateway"] {
        assert_eq!(world.refused(request(KEY_SET, who, Some(&token))).await, refused, "{who}");
    }
    let exchange = "/sre.security.v1.Identity/Exchange";
    assert_eq!(world.refused(request(exchange, "service/security", None)).await, refused);
}

#[tokio::test]
async fn internal_methods_are_neither_for_clients_nor_for_the_edge() {
    let world = World::new("agent");
    let internal = "/sre.agent.v1.AgentData/GetVersion";
    let refused = (Code::PermissionDenied, Reason::MethodNotAllowed);
    let read = |claims: &mut Claims, act: &str| {
        claims.aud = vec!["agent".into()];
        claims.scope = vec!["sre.agent.v1.AgentData:read".into()];
        claims.act = format!("spiffe://sre.local/service/{act}");
    };
    for who in ["agent/a", "user/alice"] {
        assert_eq!(world.refused(request(internal, who, None)).await, refused, "{who}");
    }
    let token = world.token(|claims| read(claims, "edge"));
    assert_eq!(world.refused(request(internal, "service/edge", Some(&token))).await, refused);
    let token = world.token(|claims| read(claims, "engine"));
    assert!(world.call(request(internal, "service/engine", Some(&token))).await.is_ok());
    // A component is a service by its certificate, and none of the suite.
    let component = |claims: &mut Claims| {
        read(claims, "acme");
        claims.purpose = Purpose::Component;
    };
    let token = world.token(component);
    assert_eq!(world.refused(request(internal, "service/acme", Some(&token))).await, refused);
    let public = "/sre.agent.v1.AgentData/GetAgent";
    assert!(world.call(request(public, "service/acme", Some(&token))).await.is_ok());
}

#[tokio::test]
async fn the_engine_listens_to_the_edge_alone() {
    let world = World::new("engine");
    let run = "/sre.gateway.v1.Runs/RunSkill";
    let to_engine = |act: &str| {
        world.token(|claims| {
            claims.aud = vec!["engine".into()];
            claims.scope = vec!["sre.gateway.v1.Runs:read".into()];
            claims.act = format!("spiffe://sre.local/service/{act}");
        })
    };
    let token = to_engine("edge");
    assert!(world.call(request(run, "service/edge", Some(&token))).await.is_ok());
    let missing = world.refused(request(run, "service/edge", None)).await;
    assert_eq!(missing, (Code::Unauthenticated, Reason::CredentialsMissing));
    let refused = (Code::PermissionDenied, Reason::MethodNotAllowed);
    for who in ["user/alice", "agent/a", "user/edge"] {
        assert_eq!(world.refused(request(run, who, None)).await, refused, "{who}");
    }
    // Not even itself: a sub-agent's token is a proof for exchanges.
    let own = to_engine("engine");
    assert_eq!(world.refused(request(run, "service/engine", Some(&own))).await, refused);
}

#[tokio::test]
async fn unknown_methods_and_infrastructure() {
    let world = World::new("llm");
    for path in [
        "/sre.llm.v1.Inference/Nothing",
        "/x.Y/Z",
        "/",
        "/sre.llm.v1.Inference/Generate/",
        "/grpc.health.v1.HealthX/Check",
    ] {
        let refused = world.refused(request(path, "user/alice", None)).await;
        assert_eq!(refused, (Code::Unimplemented, Reason::NotImplemented), "{path}");
    }
    for path in ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"]
    {
        // Any verified peer; and no Caller, so a handler of ours could do nothing with it.
        let seen = world.call(request(path, "service/other", None)).await.unwrap();
        assert_eq!(seen.peer, None, "{path}");
    }
}

#[tokio::test]
async fn a_connection_does_not_outlive_its_certificate() {
    let world = World::new("llm");
    let mut params = leaf_params(&["spiffe://sre.local/user/alice"], &[]);
    params.not_after = params.not_before + Duration::from_secs(30);
    let issued = AUTHORITY.sign_anything(&params);
    let over = Svid::from_pem(&issued.cert_pem, &issued.key_pem, &patterns()).unwrap();
    let mut late = anonymous(GENERATE, None);
    late.extensions_mut().insert(link_extension(&over));
    assert_eq!(world.refused(late).await, (Code::Unauthenticated, Reason::CredentialsInvalid));
}

#[tokio::test]
async fn without_a_key_set_tokens_cannot_be_judged() {
    let mut world = World::new("llm");
    let token = world.token(|_| ());
    world.sts.verifier = TokenVerifier::new(&crate::test_world::domain());
    let refused = world.refused(request(GENERATE, "service/engine", Some(&token))).await;
    assert_eq!(refused, (Code::Unavailable, Reason::RoleUnavailable));
    // Whoever needs no token still gets through.
    assert!(world.call(request(GENERATE, "user/alice", None)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_token_of_a_newer_key_waits_for_it() {
    let world = World::new("llm");
    let next = Signer::generate().unwrap();
    let token = next.sign(&claims()).unwrap();
    let mut keys = world.sts.key_set(2, vec![]);
    keys.keys.insert(0, public_key(&next));
    let poller = async {
        world.sts.verifier.refresh_wanted().await;
        world.sts.verifier.update(&keys).unwrap();
    };
    let (seen, ()) = tokio::join!(world.call(request(GENERATE, "service/engine", Some(&token))), poller);
    assert_eq!(seen.unwrap().candidate.as_deref(), Some("agent/a"));
    let stranger = Signer::generate().unwrap().sign(&claims()).unwrap();
    let refused = world.refused(request(GENERATE, "service/engine", Some(&stranger))).await;
    assert_eq!(refused, (Code::Unauthenticated, Reason::CredentialsInvalid));
    // The scope counts on this path too.
    let mut narrow = claims();
    narrow.scope = vec!["sre.llm.v1.Models:read".into()];
    let third = Signer::generate().unwrap();
    let token = third.sign(&narrow).unwrap();
    keys.version = 3;
    keys.keys.insert(0, public_key(&third));
    let poller = async {
        world.sts.verifier.refresh_wanted().await;
        world.sts.verifier.update(&keys).unwrap();
    };
    let (refused, ()) =
        tokio::join!(world.refused(request(GENERATE, "service/engine", Some(&token))), poller);
    assert_eq!(refused, (Code::PermissionDenied, Reason::ScopeExceeded));
}

/// Every method of every contract, called by every kind of peer without a token: only what the table says.
#[tokio::test]
async fn the_whole_method_table_without_tokens() {
    let peers: Vec<(String, Svid)> = [
        "agent/a",
        "user/u",
        "team/t",
        "service/edge",
        "service/engine",
        "service/agent",
        "service/memory",
        "service/llm",
        "service/io",
        "service/security",
        "service/compute",
        "service/observability",
        "service/gateway",
    ]
    .into_iter()
    .map(|who| (who.to_owned(), svid(who)))
    .collect();
    for policy in METHODS {
        let role = crate::exchange::role_of_package(policy.package);
        let world = World::new(role);
        for (who, svid) in &peers {
            let mut request = anonymous(policy.path, None);
            request.extensions_mut().insert(link_extension(svid));
            let allowed = world.call(request).await.is_ok();
            let service = who.strip_prefix("service/");
            let expected = match policy.rule {
                Rule::System { services } => service.is_some_and(|name| services.contains(&name)),
                Rule::Access { .. } => {
                    service.is_none() && policy.visibility == Visibility::Public && role != "engine"
                }
            };
            assert_eq!(allowed, expected, "{who} calls {}", policy.path);
        }
    }
}

#[tokio::test]
async fn a_handler_without_the_layer_fails_closed() {
    let request = tonic::Request::new(());
    let refused = Caller::of(request.extensions()).unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}
