//! Agents over the wire: every layer, a link, and the callers that there are.

use serde_json::json;
use sre_identity::{Acl, Candidate, Level};
use sre_proto::agent::v1 as proto;
use sre_proto::agent::v1::agent_data_client::AgentDataClient;
use sre_proto::error::{Reason, reason};
use sre_proto::security::v1 as security;
use sre_proto::types::v1 as types;
use sre_service::accounts::TeamRole;
use sre_service::testing::TestSuite;
use sre_service::{Link, Role};
use tonic::{Code, Status};
use tonic_types::StatusExt;

const NAME: &str = "teams/red/agents/helper";

struct Fixture {
    suite: TestSuite,
}

impl Fixture {
    async fn new() -> Self {
        let suite = TestSuite::builder()
            .role(Role::Agent, crate::start)
            .member("user/alice", "red", TeamRole::Member)
            .member("user/bob", "red", TeamRole::Member)
            .member("user/boss", "red", TeamRole::Admin)
            .member("user/eve", "blue", TeamRole::Member)
            .build()
            .await
            .unwrap();
        Self { suite }
    }

    fn client(&self, who: &str) -> AgentDataClient<Link> {
        AgentDataClient::new(self.suite.link_as(who, Role::Agent))
    }

    /// The engine, running the agent.
    fn engine(&self) -> AgentDataClient<Link> {
        let scopes = ["sre.agent.v1.AgentData:read"];
        let token = self.suite.token("agent/helper", Role::Engine, Role::Agent, &scopes);
        AgentDataClient::new(self.suite.link_as("service/engine", Role::Agent).with_jwt(&token))
    }

    async fn create(&self, who: &str, document: &str) -> Result<proto::Agent, Status> {
        let agent = proto::Agent { document_json: document.to_owned().into(), ..proto::Agent::default() };
        let request = proto::CreateAgentRequest {
            parent: "teams/-".into(),
            agent: Some(agent),
            ..proto::CreateAgentRequest::default()
        };
        Ok(self.client(who).create_agent(request).await?.into_inner())
    }

    async fn update(
        &self,
        who: &str,
        name: &str,
        document: &str,
        missing: bool,
    ) -> Result<proto::Agent, Status> {
        let document_json = document.to_owned().into();
        let agent = proto::Agent { name: name.into(), document_json, ..proto::Agent::default() };
        let request =
            proto::UpdateAgentRequest { agent: Some(agent), allow_missing: missing, update_mask: None };
        Ok(self.client(who).update_agent(request).await?.into_inner())
    }

    async fn get(&self, who: &str, name: &str, version: &str) -> Result<proto::Agent, Status> {
        let request = proto::GetAgentRequest { name: name.into(), version: version.into() };
        Ok(self.client(who).get_agent(request).await?.into_inner())
    }

    async fn share(
        &self,
        who: &str,
        aspect: proto::AclAspect,
        with: &str,
        level: Level,
    ) -> Result<types::Acl, Status> {
        let mut client = self.client(who);
        let get = proto::GetAgentAclRequest { name: NAME.into(), aspect: aspect.into() };
        let current = client.get_agent_acl(get).await?.into_inner();
        let mut acl = Acl::try_from(&current).unwrap();
        acl.grant(&with.parse::<Candidate>().unwrap(), &[level]).unwrap();
        let acl = Some(types::Acl { etag: current.etag, ..types::Acl::from(&acl) });
        let request = proto::SetAgentAclRequest { name: NAME.into(), aspect: aspect.into(), acl };
        Ok(client.set_agent_acl(request).await?.into_inner())
    }

    async fn allowed(&self, name: &str, who: &str, aspect: proto::AclAspect, level: types::Level) -> bool {
        self.allowed_as("service/security", None, name, who, aspect, level).await
    }

    /// As somebody asks who says what Account knows.
    async fn allowed_as(
        &self,
        asks: &str,
        principal: Option<security::Principal>,
        name: &str,
        who: &str,
        aspect: proto::AclAspect,
        level: types::Level,
    ) -> bool {
        let candidate = types::Candidate::from(&who.parse::<Candidate>().unwrap());
        let request = proto::CheckAccessRequest {
            name: name.into(),
            candidate: Some(candidate),
            level: level.into(),
            aspect: aspect.into(),
            principal,
        };
        let answer = self.client(asks).check_access(request).await.unwrap().into_inner();
        assert_eq!(answer.name, if answer.allowed { NAME } else { "" });
        answer.allowed
    }
}

fn document(greeting: &str) -> String {
    json!({
        "version": "1.0.0", "id": "helper", "name": "Helper", "shortDescription": "helps",
        "behavior": "You help.", "kept": { "as": "it is" },
        "components": [
            { "id": "E", "name": "APIEndpoint", "displayName": "APIEndpoint", "title": greeting,
              "data": { "endpoint": "greet", "method": "POST", "description": "greets" },
              "inputs": [{ "name": "who", "type": "Text", "optional": true, "description": "whom" }],
              "outputs": [{ "name": "headers", "default": true }, { "name": "body", "default": true },
                          { "name": "query", "default": true }, { "name": "who", "expression": "body.who" }] },
            { "id": "O", "name": "APIOutput", "displayName": "APIOutput", "title": "out",
              "data": { "format": "minimal" }, "inputs": [{ "name": "who", "type": "Any" }],
              "outputs": [{ "name": "Output", "default": true }] }],
        "connections": [{ "sourceId": "E", "sourceIndex": 3, "targetId": "O", "targetIndex": 0 }],
    })
    .to_string()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> String {
    let status = result.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::PermissionDenied, Some(Reason::AclDenied)));
    status.message().to_owned()
}

#[tokio::test]
async fn an_agent_is_created_updated_deployed_and_deleted() {
    let fx = Fixture::new().await;
    let one = fx.create("user/alice", &document("one")).await.unwrap();
    assert_eq!((one.name.as_str(), one.display_name.as_str()), (NAME, "Helper"));
    assert_eq!(one.document_json, document("one").as_bytes(), "byte for byte");
    assert_eq!((one.skills[0].endpoint.as_str(), one.skills[0].inputs[0].name.as_str()), ("greet", "who"));
    let two = fx.update("user/alice", "teams/-/agents/helper", &document("two"), false).await.unwrap();
    assert_ne!(one.version, two.version);
    let same = fx.update("user/alice", NAME, &document("two"), false).await.unwrap();
    assert_eq!(same.version, two.version);
    let deploy = proto::DeployVersionRequest { name: NAME.into(), version: one.version.clone() };
    let deployed = fx.client("user/alice").deploy_version(deploy).await.unwrap().into_inner();
    assert_eq!((&deployed.deployed_version, &deployed.latest_version), (&one.version, &two.version));
    assert_eq!(fx.get("user/alice", NAME, "deployed").await.unwrap().version, one.version);
    assert_eq!(fx.get("user/alice", NAME, "").await.unwrap().version, two.version);
    assert_eq!(fx.get("user/alice", NAME, "nope").await.unwrap_err().code(), Code::NotFound);
    // The agent itself finds what it runs.
    let resolve = |version: &str| proto::ResolveVersionRequest {
        name: "teams/-/agents/helper".into(),
        version: version.into(),
    };
    let mut agent = fx.engine();
    let current = agent.resolve_version(resolve("")).await.unwrap().into_inner();
    assert_eq!((current.name.as_str(), &current.version, current.deployed), (NAME, &one.version, true));
    let latest = agent.resolve_version(resolve("dev")).await.unwrap().into_inner();
    assert_eq!((&latest.version, latest.deployed), (&two.version, false));
    let get = proto::GetVersionRequest { name: NAME.into(), version: latest.version };
    let version = agent.get_version(get).await.unwrap().into_inner();
    assert_eq!((version.document_json, version.digest), (document("two").into(), latest.digest));
    let list = proto::ListVersionsRequest { parent: NAME.into(), page_size: 1, page_token: String::new() };
    let page = fx.client("user/alice").list_versions(list.clone()).await.unwrap().into_inner();
    assert_eq!((page.versions.len(), page.versions[0].creator.as_str()), (1, "user/alice"));
    assert!(page.versions[0].document_json.is_empty());
    let rest = proto::ListVersionsRequest { page_token: page.next_page_token, ..list };
    let rest = fx.client("user/alice").list_versions(rest).await.unwrap().into_inner();
    assert_eq!((rest.versions[0].version.as_str(), rest.versions[0].deployed), (one.version.as_str(), true));
    let delete = proto::DeleteAgentRequest { name: NAME.into() };
    fx.client("user/alice").delete_agent(delete).await.unwrap();
    refused(fx.get("user/alice", NAME, "").await);
    // It is gone from its team too.
    refused(fx.engine().resolve_version(resolve("")).await);
    let methods: Vec<String> =
        fx.suite.audit_records().await.into_iter().map(|record| record.method).collect();
    for method in ["CreateAgent", "UpdateAgent", "DeployVersion", "DeleteAgent"] {
        assert!(methods.iter().any(|known| known.ends_with(method)), "{method} in {methods:?}");
    }
    assert!(fx.suite.stop().await);
}

/// Ruling 32, and H37: absent and forbidden look alike.
#[tokio::test]
async fn h37_a_new_agent_is_its_creators_and_others_learn_nothing() {
    let fx = Fixture::new().await;
    fx.create("user/alice", &document("one")).await.unwrap();
    for who in ["user/bob", "user/eve", "user/unknown"] {
        let mut messages = Vec::new();
        for name in [NAME, "teams/red/agents/absent", "teams/-/agents/helper", "teams/blue/agents/helper"] {
            if who == "user/unknown" && name.contains("/-/") {
                continue;
            }
            messages.push(refused(fx.get(who, name, "").await));
            messages.push(refused(fx.update(who, name, &document("x"), false).await));
            let delete = proto::DeleteAgentRequest { name: name.into() };
            messages.push(refused(fx.client(who).delete_agent(delete).await));
            let acl = proto::GetAgentAclRequest { name: name.into(), aspect: 0 };
            messages.push(refused(fx.client(who).get_agent_acl(acl).await));
        }
        messages.dedup();
        assert_eq!(messages.len(), 1, "{messages:?}");
    }
    // The team may use the skills, and see what they are.
    let open_api = |name: &str| proto::GetOpenApiRequest {
        name: name.into(),
        server_url: "https://x".into(),
        ai_only: false,
    };
    let described = fx.client("user/bob").get_open_api(open_api(NAME)).await.unwrap().into_inner();
    let described: serde_json::Value = serde_json::from_slice(&described.document_json).unwrap();
    assert_eq!(described["paths"]["/api/greet"]["post"]["operationId"], "greet");
    assert_eq!(described["info"]["description"], "helps");
    refused(fx.client("user/eve").get_open_api(open_api(NAME)).await);
    refused(fx.client("user/bob").get_open_api(open_api("teams/red/agents/absent")).await);
    // The agent reads its definition, and changes nothing.
    fx.get("agent/helper", NAME, "").await.unwrap();
    refused(fx.update("agent/helper", NAME, &document("x"), false).await);
}

/// H7: a writer cannot make itself an owner.
#[tokio::test]
async fn h7_writers_change_documents_and_no_lists() {
    let fx = Fixture::new().await;
    fx.create("user/alice", &document("one")).await.unwrap();
    let definition = proto::AclAspect::Definition;
    fx.share("user/alice", definition, "user/bob", Level::Write).await.unwrap();
    fx.update("user/bob", NAME, &document("bob's"), false).await.unwrap();
    refused(fx.get("user/bob", NAME, "").await);
    refused(fx.share("user/bob", definition, "user/bob", Level::Owner).await);
    refused(fx.share("user/bob", proto::AclAspect::Skills, "user/bob", Level::Owner).await);
    let delete = proto::DeleteAgentRequest { name: NAME.into() };
    refused(fx.client("user/bob").delete_agent(delete).await);
    // The list is still alice's, whoever updated the document.
    fx.share("user/alice", proto::AclAspect::Skills, "user/eve", Level::Read).await.unwrap();
    let get = proto::GetOpenApiRequest { name: NAME.into(), ..proto::GetOpenApiRequest::default() };
    fx.client("user/eve").get_open_api(get).await.unwrap();
    let get = proto::GetProtoRequest { name: NAME.into(), package: String::new() };
    let file = fx.client("user/eve").get_proto(get).await.unwrap().into_inner();
    assert_eq!(file.path, "agents/helper/v1/helper.proto");
    assert!(file.proto.contains("rpc Greet(GreetRequest) returns (GreetResponse);"), "{}", file.proto);
    let get = proto::GetProtoRequest { name: NAME.into(), package: "no package".into() };
    let status = fx.client("user/eve").get_proto(get).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    refused(fx.get("user/eve", NAME, "").await);
}

#[tokio::test]
async fn access_is_decided_for_other_services() {
    use proto::AclAspect::{Definition, Skills};
    use types::Level::{Read, Write};
    let fx = Fixture::new().await;
    fx.create("user/alice", &document("one")).await.unwrap();
    for name in [NAME, "teams/-/agents/helper"] {
        assert!(fx.allowed(name, "user/bob", Skills, Read).await);
        assert!(!fx.allowed(name, "user/bob", Skills, Write).await);
        assert!(!fx.allowed(name, "user/bob", Definition, Read).await);
        assert!(!fx.allowed(name, "user/eve", Skills, Read).await);
        assert!(fx.allowed(name, "user/alice", Definition, Write).await);
        assert!(fx.allowed(name, "agent/helper", Definition, Read).await);
    }
    assert!(!fx.allowed("teams/blue/agents/helper", "user/alice", Skills, Read).await);
    assert!(!fx.allowed("teams/red/agents/absent", "user/boss", Skills, Read).await);
    let request = proto::CheckAccessRequest { name: NAME.into(), ..proto::CheckAccessRequest::default() };
    let status = fx.client("user/alice").check_access(request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    let status = fx.client("service/io").check_access(request).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
}

/// Account's word counts at once, and nobody else's: what the agent service has kept of memberships may be seconds old.
#[tokio::test]
async fn memberships_are_those_that_account_says() {
    use proto::AclAspect::Skills;
    let fx = Fixture::new().await;
    fx.create("user/alice", &document("x")).await.unwrap();
    let member_of = |team: &str| {
        let membership = security::Membership { team: team.into(), role: security::TeamRole::Member.into() };
        security::Principal { known: true, memberships: vec![membership], ..security::Principal::default() }
    };
    let level = types::Level::Read;
    let bob =
        async |asks: &str, principal| fx.allowed_as(asks, principal, NAME, "user/bob", Skills, level).await;
    let by_itself = bob("service/security", None).await;
    for (principal, expected) in [(member_of("red"), true), (security::Principal::default(), false)] {
        assert_eq!(bob("service/security", Some(principal.clone())).await, expected, "{principal:?}");
        assert_eq!(bob("service/engine", Some(principal)).await, by_itself);
    }
}

#[tokio::test]
async fn wrong_documents_are_refused_and_doubtful_ones_warned_about() {
    let fx = Fixture::new().await;
    let broken = json!({
        "id": "helper",
        "components": [{ "id": "E", "name": "APIEndpoint", "data": { "endpoint": "x" }, "inputs": [], "outputs": [] }],
        "connections": [{ "sourceId": "E", "sourceIndex": 7, "targetId": "nope", "targetIndex": 0 }],
    });
    let status = fx.create("user/alice", &broken.to_string()).await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::InvalidArgument, Some(Reason::InvalidAgent)));
    let violations = status.get_details_bad_request().unwrap().field_violations;
    assert!(violations.iter().any(|violation| violation.field.contains("connections[0]")), "{violations:?}");
    for text in ["", "{", "[]", "{}"] {
        let status = fx.create("user/alice", text).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::InvalidArgument, Some(Reason::InvalidAgent)),
            "{text}"
        );
    }
    let doubtful = document("one").replace("\"name\":\"APIOutput\"", "\"name\":\"APIOutpt\"");
    let doubtful = doubtful.replacen("{\"version\"", "{\"teamId\":\"t9\",\"version\"", 1);
    let created = fx.create("user/alice", &doubtful).await.unwrap();
    let fields: Vec<_> = created.warnings.iter().map(|issue| issue.field.as_str()).collect();
    assert!(fields.contains(&"teamId"), "{fields:?}");
    let unknown = created.warnings.iter().find(|issue| issue.message.contains("APIOutpt")).unwrap();
    assert!(unknown.component == "O" && unknown.hint.contains("APIOutput"), "{unknown:?}");
    // Looking at a document stores nothing.
    let request =
        proto::ValidateAgentRequest { parent: "teams/-".into(), document_json: broken.to_string().into() };
    let found = fx.client("user/bob").validate_agent(request).await.unwrap().into_inner();
    assert_eq!(found.issues[0].severity(), proto::Severity::Error);
    let large = proto::ValidateAgentRequest {
        parent: "teams/-".into(),
        document_json: vec![b' '; super::document::MAX_DOCUMENT_BYTES + 1].into(),
    };
    let status = fx.client("user/bob").validate_agent(large).await.unwrap_err();
    assert!(matches!(status.code(), Code::ResourceExhausted | Code::OutOfRange), "{status:?}");
}

#[tokio::test]
async fn put_creates_what_is_missing_where_the_caller_may() {
    let fx = Fixture::new().await;
    refused(fx.update("user/eve", NAME, &document("one"), true).await);
    let created = fx.update("user/bob", NAME, &document("one"), true).await.unwrap();
    assert_eq!(created.name, NAME);
    let again = fx.update("user/bob", NAME, &document("two"), true).await.unwrap();
    assert_ne!(created.version, again.version);
    refused(fx.update("user/alice", NAME, &document("three"), true).await);
    // The id is taken in the whole deployment.
    let elsewhere =
        fx.update("user/eve", "teams/blue/agents/helper", &document("x"), true).await.unwrap_err();
    assert_eq!((elsewhere.code(), reason(&elsewhere)), (Code::AlreadyExists, Some(Reason::AlreadyExists)));
    let renamed = fx.update("user/bob", "teams/red/agents/other_1", &document("one"), true).await.unwrap();
    assert!(renamed.warnings.iter().any(|issue| issue.field == "id"));
    let agent = proto::Agent { name: NAME.into(), document_json: "{}".into(), ..proto::Agent::default() };
    let mask = prost_types::FieldMask { paths: vec!["display_name".into()] };
    let request =
        proto::UpdateAgentRequest { agent: Some(agent), allow_missing: false, update_mask: Some(mask) };
    let status = fx.client("user/bob").update_agent(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let nameless = document("one").replace("\"id\":\"helper\"", "\"id\":\"a.b\"");
    assert_eq!(fx.create("user/bob", &nameless).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_list_shows_readable_agents_alone() {
    let fx = Fixture::new().await;
    for id in ["a", "b", "c"] {
        let who = if id == "b" { "user/bob" } else { "user/alice" };
        let name = format!("teams/red/agents/{id}");
        fx.update(who, &name, &document(id), true).await.unwrap();
    }
    let list = async |who: &str, token: String| {
        let parent = "teams/red".to_owned();
        let request = proto::ListAgentsRequest { parent, page_size: 1, page_token: token };
        fx.client(who).list_agents(request).await.map(tonic::Response::into_inner)
    };
    let first = list("user/alice", String::new()).await.unwrap();
    assert_eq!(
        (first.agents[0].name.as_str(), first.agents[0].document_json.len()),
        ("teams/red/agents/a", 0)
    );
    let second = list("user/alice", first.next_page_token).await.unwrap();
    assert_eq!(second.agents[0].name, "teams/red/agents/c");
    assert_eq!(list("user/bob", String::new()).await.unwrap().agents[0].name, "teams/red/agents/b");
    refused(list("user/eve", String::new()).await);
}
