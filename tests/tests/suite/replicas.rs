//! Two whole suites over one PostgreSQL, as replicas behind a balancer: what one does the other knows, and neither
//! breaks what the other keeps in order.

use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use serde_json::json;
use sre_proto::agent::v1::{Agent, CreateAgentRequest, DeleteAgentRequest};
use sre_proto::llm::v1::budgets_client::BudgetsClient;
use sre_proto::llm::v1::{
    Budget, BudgetSubject, BudgetUnit, BudgetWindow, CreateBudgetRequest, DeleteBudgetRequest,
    ListBudgetsRequest,
};
use sre_proto::security::v1::audit_client::AuditClient;
use sre_proto::security::v1::identity_client::IdentityClient;
use sre_proto::security::v1::{
    ApiKey, CreateApiKeyRequest, Member, RemoveMemberRequest, RevokeApiKeyRequest, RotateKeyRequest,
    SetMemberRequest, TeamRole, VerifyRecordsRequest,
};
use sre_proto::types::v1::{Candidate, Role};
use tonic::Code;

use crate::harness::clients::Client;
use crate::harness::outside::{Outside, Program};
use crate::harness::{Mode, Options, Suite, agents, eventually};

/// Notices come at once; what other roles keep of memberships is looked at again after that.
const SEEN_WITHIN: Duration = Duration::from_secs(30);

async fn pair(server: &Outside) -> [Suite; 2] {
    let options = || {
        Options::default()
            .listen_everywhere()
            .set("store.backend", "postgres")
            .set("store.postgres.url", server.url())
            .set("store.postgres.tls", "disable")
            .set("security.deployment_admins", r#"["user/dev"]"#)
            .set("connectors.vault", r#"[{Connector="postgres"}]"#)
    };
    let first = Suite::start("replicas-a", Mode::AllInOne, options()).await;
    // One trust domain and one set of keys, as secrets mounted in both.
    let at = |path: &str| first.folder().join(path).display().to_string();
    let second = options()
        .set("certs.dir", at("certs"))
        .set("vault.key", at("keys/vault.key"))
        .set("vault.managed_key", at("keys/managed.key"));
    let second = Suite::start("replicas-b", Mode::AllInOne, second).await;
    [first, second]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_replica_does_the_other_knows() {
    let Some(server) = Outside::start("replicas-server", Program::Postgres).await else { return };
    let suites = pair(&server).await;
    let [a, b] = suites.each_ref().map(|suite| suite.client("user/dev"));
    agents_are_one(&a, &b).await;
    members_and_keys_are_one(&suites).await;
    budgets_are_one(&suites).await;
    secrets_are_one(&a, &b).await;
    the_signing_key_is_one(&suites).await;
    the_audit_log_holds(&suites).await;
    let [first, second] = suites;
    second.stop().await;
    first.stop().await;
}

async fn agents_are_one(a: &Client, b: &Client) {
    const NAME: &str = "teams/default/agents/hasher";
    a.put(NAME, &agents::hasher("hasher")).await.unwrap();
    let answer = async || b.answer(NAME, "hash", &json!({ "text": "x" })).await.ok();
    let first = eventually("the other replica runs the agent", SEEN_WITHIN, answer).await;
    assert_eq!(first, a.answer(NAME, "hash", &json!({ "text": "x" })).await.unwrap());

    // A new version here is what runs there.
    a.put(NAME, &agents::sleeper("hasher", 0)).await.unwrap();
    let slept = async || b.answer(NAME, "sleep", &json!({ "text": "y" })).await.ok();
    eventually("the other replica runs the new version", SEEN_WITHIN, slept).await;

    // Of creations of one id at once, one succeeds; what is deleted here and created there is there.
    let create = |client: &Client, id: &str| {
        let agent = Agent { document_json: agents::hasher(id).to_string().into(), ..Agent::default() };
        let request = CreateAgentRequest {
            parent: "teams/default".into(),
            agent_id: id.into(),
            agent: Some(agent),
            ..CreateAgentRequest::default()
        };
        let mut agents = client.agents();
        async move { agents.create_agent(request).await }
    };
    for round in 0..5 {
        let id = format!("contested-{round}");
        let made = join_all([a, b, a, b].map(|client| create(client, &id))).await;
        let made_count = made.iter().filter(|made| made.is_ok()).count();
        assert_eq!(made_count, 1, "{made:?}");
        for refused in made.iter().filter_map(|made| made.as_ref().err()) {
            assert_eq!(refused.code(), Code::AlreadyExists, "{refused:?}");
        }
        let name = format!("teams/default/agents/{id}");
        let delete = async {
            a.agents().delete_agent(DeleteAgentRequest { name: name.clone() }).await.unwrap();
        };
        let create_again =
            eventually("the id is free again", SEEN_WITHIN, async || create(b, &id).await.ok());
        tokio::join!(delete, create_again);
        // It is registered: it can act, which a deletion that came late would have taken from it for good. Tokens
        // of its first second are void with those of the agent that was deleted.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let acts = async || b.answer(&name, "hash", &json!({ "text": "x" })).await.ok();
        eventually("the new agent acts", SEEN_WITHIN, acts).await;
    }
}

async fn members_and_keys_are_one(suites: &[Suite; 2]) {
    let [a, b] = suites;
    let dev = a.client("user/dev");
    let candidate = Some(Candidate { role: Role::User.into(), id: "guest".into() });
    let member = Some(Member { candidate: candidate.clone(), role: TeamRole::Member.into(), home: false });
    dev.account().set_member(SetMemberRequest { parent: "teams/default".into(), member }).await.unwrap();
    let guest = b.client("user/guest");
    let runs = async || guest.answer("teams/default/agents/hasher", "sleep", &json!({ "text": "z" })).await;
    eventually("the member may there", SEEN_WITHIN, async || runs().await.ok()).await;
    let request = RemoveMemberRequest { parent: "teams/default".into(), candidate };
    dev.account().remove_member(request).await.unwrap();
    let refused = async || runs().await.err().filter(|refused| refused.code() == Code::PermissionDenied);
    eventually("the member may there no more", SEEN_WITHIN, refused).await;

    // A key that was made here opens the door there, until it is revoked here.
    let key = CreateApiKeyRequest { parent: "users/-".into(), api_key: Some(ApiKey::default()) };
    let key = dev.keys().create_api_key(key).await.unwrap().into_inner();
    let door = format!("http://{}/api/sleep", b.address("http"));
    let knock = async || {
        let request = reqwest::Client::new().post(&door).header("x-agent-id", "hasher").bearer_auth(&key.key);
        request.body(json!({ "text": "z" }).to_string()).send().await.unwrap().status().as_u16()
    };
    assert_eq!(knock().await, 200);
    let name = key.api_key.unwrap_or_default().name;
    dev.keys().revoke_api_key(RevokeApiKeyRequest { name }).await.unwrap();
    let closed = async || (knock().await == 401).then_some(());
    eventually("the key is void there", SEEN_WITHIN, closed).await;
}

async fn budgets_are_one(suites: &[Suite; 2]) {
    let [mut a, mut b] = suites.each_ref().map(|suite| BudgetsClient::new(suite.channel("user/dev", "llm")));
    let budget = Budget {
        subject: BudgetSubject::Agent.into(),
        subject_id: "nobody".into(),
        unit: BudgetUnit::Requests.into(),
        window: BudgetWindow::Minute.into(),
        limit: 7,
        ..Budget::default()
    };
    let create = CreateBudgetRequest {
        parent: "teams/default".into(),
        budget_id: "shared".into(),
        budget: Some(budget),
    };
    let made = a.create_budget(create.clone()).await.unwrap().into_inner();
    // The database refuses the second one at once, whatever the other replica has heard of.
    assert_eq!(b.create_budget(create).await.unwrap_err().code(), Code::AlreadyExists);
    let listed = async |expected: usize| {
        let count = async || {
            let request = ListBudgetsRequest { parent: "teams/default".into() };
            let found = b.clone().list_budgets(request).await.unwrap().into_inner().budgets;
            (found.len() == expected).then_some(())
        };
        eventually("the other replica knows the budgets", SEEN_WITHIN, count).await;
    };
    listed(1).await;
    a.delete_budget(DeleteBudgetRequest { name: made.name, etag: made.etag }).await.unwrap();
    listed(0).await;
}

async fn secrets_are_one(a: &Client, b: &Client) {
    a.put_canary().await;
    let request =
        sre_proto::security::v1::ListSecretsRequest { parent: "teams/-".into(), ..Default::default() };
    let secrets = b.vault().list_secrets(request).await.unwrap().into_inner().secrets;
    assert!(secrets.iter().any(|secret| secret.name.ends_with(crate::harness::CANARY_KEY)), "{secrets:?}");
}

/// Tokens that one replica signs are believed everywhere, whichever of them rotates the key.
async fn the_signing_key_is_one(suites: &[Suite; 2]) {
    for turn in 0..4 {
        let by = &suites[turn % 2];
        let mut identity = IdentityClient::new(by.channel("user/dev", "security"));
        identity.rotate_key(RotateKeyRequest::default()).await.unwrap();
        let run = |suite: &Suite| {
            let client = suite.client("user/dev");
            async move { client.answer("teams/default/agents/hasher", "sleep", &json!({ "text": "k" })).await }
        };
        for answer in join_all(suites.iter().chain(suites).map(run)).await {
            answer.unwrap();
        }
    }
}

/// Both wrote to it; both find it whole.
async fn the_audit_log_holds(suites: &[Suite; 2]) {
    for suite in suites {
        let mut audit = AuditClient::new(suite.channel("user/dev", "security"));
        let mut parts = audit.verify_records(VerifyRecordsRequest::default()).await.unwrap().into_inner();
        let mut last = None;
        while let Some(part) = parts.next().await {
            let part = part.unwrap();
            assert!(part.findings.is_empty(), "{:?}", part.findings);
            last = Some(part);
        }
        let last = last.unwrap();
        assert!(last.complete && last.records > 20 && last.writers > 4, "{last:?}");
    }
}
