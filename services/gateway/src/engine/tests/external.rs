//! Components out of process, as runs use them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sre_proto::agent::v1::components_client::ComponentsClient;
use sre_proto::agent::v1::{
    ComponentVersion, DeleteComponentRequest, ListComponentsRequest, PutComponentVersionRequest,
    RegisterComponentRequest, SetComponentAclRequest,
};
use sre_proto::component::v1::{Description, Effect, FailureKind, OnUncertain};
use sre_proto::gateway::v1::RunState;
use sre_proto::types::v1::{Acl, AclEntry, Candidate, Level, Role as Kind};
use sre_service::{Link, Role};

use super::documents::{component, document, endpoint};
use super::external_server::{Act, Server, TYPE, description};
use super::world::World;

struct Place {
    world: World,
    dir: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sockets = dir.path().to_owned();
        let world = World::with(move |config| {
            config.components.sockets = vec![sockets];
            config.components.refresh_ms = 10;
        })
        .await;
        Self { world, dir }
    }

    fn serve(&self, name: &str, description: Description) -> Server {
        Server::start(self.dir.path(), name, description)
    }

    fn components(&self) -> ComponentsClient<Link> {
        ComponentsClient::new(self.world.suite.link_as("user/dev", Role::Agent))
    }

    async fn register(&self, description: Description, endpoints: &[&Server]) {
        let version = Some(version(description, endpoints));
        let request = RegisterComponentRequest { parent: "teams/default".into(), version };
        self.components().register_component(request).await.unwrap();
    }

    /// An agent whose one skill goes through a component of this type.
    async fn agent(&self, id: &str, type_name: &str, data: Value) -> String {
        let part = component("probe", type_name, data, &["v"], &["Out"]);
        self.world.put(&document(id, vec![endpoint(), part], &["go.x > probe.v"])).await
    }

    /// What a run answers for the component.
    async fn result(&self, agent: &str, x: Value) -> Value {
        let answer = self.world.run(0, agent, x).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.legacy_json).unwrap();
        answer["result"].clone()
    }
}

fn version(description: Description, endpoints: &[&Server]) -> ComponentVersion {
    ComponentVersion {
        description: Some(description),
        endpoints: endpoints.iter().map(|server| server.endpoint()).collect(),
        ..ComponentVersion::default()
    }
}

fn effect(change: impl FnOnce(&mut Description)) -> Description {
    let mut described = description();
    described.effect = Effect::Effect.into();
    change(&mut described);
    described
}

fn error(result: &Value) -> &str {
    result["_error"].as_str().unwrap_or_else(|| panic!("no error: {result}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_through_it_and_secrets_come_with_settings_alone() {
    let place = Place::new().await;
    let server = place.serve("a.sock", description());
    let data = json!({"plain": "{{v}}", "text": "<{{v}}>", "other": "kept back"});
    let agent = place.agent("through", TYPE, data).await;
    let before = place.result(&agent, json!(7)).await;
    assert_eq!(error(&before), "Component Acme.Probe not found");
    // It is registered while the engine runs, and is there in the next run.
    place.register(description(), &[&server]).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let result = place.result(&agent, json!(7)).await;
    assert_eq!(
        result["Out"],
        json!({"inputs": {"v": 7}, "settings": {"plain": "{{v}}", "text": "<7>"}}),
        "{result}"
    );
    let seen = &server.seen()[0];
    assert_eq!((seen.agent.as_str(), seen.team.as_str()), ("teams/default/agents/through", "default"));
    assert_eq!((seen.r#type.as_str(), seen.component_id.as_str(), seen.attempt), (TYPE, "probe", 1));
    assert!(seen.token.is_empty() && seen.idempotency_key.len() == 64, "{seen:?}");
    let long = "x".repeat(50);
    let result = place.result(&agent, json!(long)).await;
    assert!(error(&result).contains("setting 'text' is not what its schema says"), "{result}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_held_to_the_declaration_and_failures_are_told() {
    let place = Place::new().await;
    let server = place.serve("a.sock", description());
    place.register(description(), &[&server]).await;
    let agent = place.agent("held", TYPE, json!({})).await;
    for (act, expected) in [
        (Act::Answer(json!({})), "answered without its output 'Out'"),
        (Act::Answer(json!({"Out": 3})), "that is no Object"),
        (Act::Answer(json!([])), "no object of outputs"),
        (Act::Answer(json!({"Out": {}, "_error": "x"})), "a failure is answered as a failure"),
        (Act::Answer(json!({"Out": {"big": "x".repeat(9 << 20)}})), "decoded message length too large"),
        (Act::Fail(FailureKind::InvalidInput, "v is no fruit"), "v is no fruit"),
        (Act::Fail(FailureKind::Internal, ""), "does not say why: FAILURE_KIND_INTERNAL"),
    ] {
        let shown = format!("{act:?}").chars().take(60).collect::<String>();
        server.next([act]);
        let result = place.result(&agent, json!(1)).await;
        assert!(error(&result).contains(expected), "{shown}: {result}");
    }
    assert_eq!(server.seen().len(), 7, "none of them is repeated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_repeated_is_tried_again_elsewhere() {
    let place = Place::new().await;
    let mut one = place.serve("a.sock", description());
    let two = place.serve("b.sock", description());
    one.next([Act::Hang]);
    place.register(description(), &[&one]).await;
    let agent = place.agent("again", TYPE, json!({})).await;
    let run = place.world.start(0, &agent, json!(1)).await;
    one.called(1).await;
    // Where it is served changes while it runs.
    let request = PutComponentVersionRequest {
        name: format!("teams/default/components/{TYPE}"),
        version: Some(version(description(), &[&one, &two])),
        make_default: false,
    };
    place.components().put_component_version(request).await.unwrap();
    one.kill();
    // The run had the one endpoint alone, which is there again.
    one.start_again();
    let answer = place.world.done(&run.name).await;
    assert_eq!(answer["result"]["Out"]["inputs"]["v"], 1, "{answer}");
    let seen = one.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen[0].idempotency_key == seen[1].idempotency_key && seen[1].attempt > 1, "{seen:?}");
    one.kill();
    for _ in 0..4 {
        let result = place.result(&agent, json!(2)).await;
        assert_eq!(result["Out"]["inputs"]["v"], 2, "{result}");
    }
    assert_eq!(two.seen().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_effect_that_broke_off_is_settled_by_its_policy() {
    let place = Place::new().await;
    for (number, policy, data, expected) in [
        ("1", OnUncertain::Unspecified, json!({}), "fails"),
        ("2", OnUncertain::Fail, json!({}), "fails"),
        ("3", OnUncertain::Retry, json!({}), "again"),
        ("4", OnUncertain::Fail, json!({"onUncertain": "retry"}), "again"),
        ("5", OnUncertain::LookUp, json!({}), "again"),
        ("6", OnUncertain::LookUp, json!({}), "looked"),
    ] {
        let described = effect(|it| {
            it.r#type = format!("{TYPE}{number}");
            it.on_uncertain = policy.into();
            it.can_look_up = policy == OnUncertain::LookUp;
        });
        let mut server = place.serve(&format!("{number}.sock"), described.clone());
        place.register(described.clone(), &[&server]).await;
        if expected == "looked" {
            server.it_happened();
        }
        let agent = place.agent(&format!("policy{number}"), &described.r#type, data).await;
        server.next([Act::Hang]);
        let run = place.world.start(0, &agent, json!("x")).await;
        server.called(1).await;
        server.kill();
        server.start_again();
        let answer = place.world.done(&run.name).await;
        let (result, seen) = (&answer["result"], server.seen());
        match expected {
            "fails" => {
                let text = error(result);
                assert!(
                    text.starts_with("EFFECT_UNCERTAIN: ") && text.contains("went away during the call"),
                    "{number}: {text}"
                );
                assert_eq!(seen.len(), 1, "{number}");
            }
            "looked" => {
                assert_eq!(result["Out"], json!({"looked": "up"}), "{number}: {result}");
                assert_eq!(seen.len(), 1, "{number}");
            }
            _ => {
                assert_eq!(result["Out"]["inputs"]["v"], "x", "{number}: {result}");
                assert_eq!(seen.len(), 2, "{number}");
                assert_eq!(seen[0].idempotency_key, seen[1].idempotency_key);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_gone_for_good_is_a_typed_error_in_bounded_time() {
    let place = Place::new().await;
    let mut server = place.serve("a.sock", description());
    place.register(description(), &[&server]).await;
    let agent = place.agent("gone", TYPE, json!({})).await;
    server.next([Act::Silent, Act::Silent, Act::Silent, Act::Silent]);
    let result = place.result(&agent, json!(1)).await;
    let text = error(&result);
    assert!(
        text.starts_with("COMPONENT_UNAVAILABLE: Component Acme.Probe went away during the call")
            && text.contains("without an answer"),
        "{text}"
    );
    assert_eq!(server.seen().len(), 4);
    server.kill();
    let began = Instant::now();
    let result = place.result(&agent, json!(1)).await;
    assert!(
        error(&result).starts_with("COMPONENT_UNAVAILABLE: Component Acme.Probe cannot be reached"),
        "{result}"
    );
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_and_cancellation_reach_it() {
    let place = Place::new().await;
    let described = {
        let mut it = description();
        it.limits = Some(sre_proto::component::v1::Limits { timeout_ms: 200, ..Default::default() });
        it
    };
    let server = place.serve("a.sock", described.clone());
    place.register(described, &[&server]).await;
    let agent = place.agent("late", TYPE, json!({})).await;
    server.next([Act::Hang]);
    let result = place.result(&agent, json!(1)).await;
    assert_eq!(error(&result), "Component Acme.Probe did not answer within 200ms");

    let mut slow = description();
    slow.r#type = "Acme.Slow".into();
    let server = place.serve("b.sock", slow.clone());
    place.register(slow, &[&server]).await;
    let agent = place.agent("stopped", "Acme.Slow", json!({})).await;
    server.next([Act::Hang]);
    let run = place.world.start(0, &agent, json!(1)).await;
    server.called(1).await;
    let request = sre_proto::gateway::v1::CancelRunRequest { name: run.name.clone(), ..Default::default() };
    place.world.runs("user/dev").cancel_run(request).await.unwrap();
    place.world.until(&run.name, RunState::Cancelled).await;
    let told = async {
        while server.cancelled() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), told).await.expect("the component is not told to stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_use_it_does_not_know_it() {
    let place = Place::new().await;
    let server = place.serve("a.sock", description());
    place.register(description(), &[&server]).await;
    let agent = place.agent("shut", TYPE, json!({})).await;
    assert_eq!(place.result(&agent, json!(1)).await["Out"]["inputs"]["v"], 1);
    let dev = Candidate { role: Kind::User.into(), id: "dev".into() };
    let only_dev = Acl {
        entries: vec![AclEntry { candidate: Some(dev), levels: vec![Level::Owner.into()] }],
        ..Acl::default()
    };
    let name = format!("teams/default/components/{TYPE}");
    let request = SetComponentAclRequest { name: name.clone(), acl: Some(only_dev) };
    place.components().set_component_acl(request).await.unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    let result = place.result(&agent, json!(1)).await;
    assert_eq!(error(&result), "Component Acme.Probe not found");
    place
        .components()
        .delete_component(DeleteComponentRequest { name, version: String::new() })
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    let result = place.result(&agent, json!(1)).await;
    assert_eq!(error(&result), "Component Acme.Probe not found");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_stand_beside_each_other_and_another_server_is_not_believed() {
    let place = Place::new().await;
    let newer = {
        let mut it = description();
        it.version = "2".into();
        it
    };
    let (one, two) = (place.serve("1.sock", description()), place.serve("2.sock", newer.clone()));
    place.register(description(), &[&one]).await;
    let request = PutComponentVersionRequest {
        name: format!("teams/default/components/{TYPE}"),
        version: Some(version(newer.clone(), &[&two])),
        make_default: true,
    };
    place.components().put_component_version(request).await.unwrap();
    let latest = place.agent("latest", TYPE, json!({})).await;
    let pinned = place.agent("pinned", &format!("{TYPE}@1"), json!({})).await;
    assert_eq!(place.result(&latest, json!(1)).await["Out"]["inputs"]["v"], 1);
    assert_eq!((one.seen().len(), two.seen().len()), (0, 1));
    assert_eq!(place.result(&pinned, json!(1)).await["Out"]["inputs"]["v"], 1);
    assert_eq!((one.seen().len(), two.seen().len()), (1, 1));
    // Version 2 is said to be where version 1 is.
    let request = PutComponentVersionRequest {
        name: format!("teams/default/components/{TYPE}"),
        version: Some(version(newer, &[&one])),
        make_default: true,
    };
    place.components().put_component_version(request).await.unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    let result = place.result(&latest, json!(1)).await;
    assert!(error(&result).contains("describes it otherwise than was registered"), "{result}");
    assert_eq!(one.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_may_declare_it_for_some_teams() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), "fixed.sock", description());
    let endpoint = server.endpoint();
    let world = World::with(move |config| {
        config.components.refresh_ms = 10;
        config.components.fixed = vec![sre_service::config::FixedComponent {
            endpoints: vec![endpoint],
            teams: vec!["default".into()],
            ..Default::default()
        }];
    })
    .await;
    let place = Place { world, dir };
    let agent = place.agent("fixed", TYPE, json!({})).await;
    let mut result = Value::Null;
    for _ in 0..200 {
        result = place.result(&agent, json!(3)).await;
        if result["_error"].is_null() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(result["Out"]["inputs"]["v"], 3, "{result}");
    let of = |who: &str| ComponentsClient::new(place.world.suite.link_as(who, Role::Agent));
    let shown = |list: sre_proto::agent::v1::ListComponentsResponse| {
        list.components.into_iter().find(|it| it.name == format!("components/{TYPE}"))
    };
    let list = of("user/alice").list_components(ListComponentsRequest::default()).await.unwrap().into_inner();
    let registration = shown(list).unwrap().registration.unwrap();
    assert_eq!(
        (registration.name.as_str(), registration.default_version.as_str()),
        ("components/Acme.Probe", "1")
    );
    assert!(registration.versions[0].endpoints.is_empty(), "where it is served is not for everybody");
    let list = of("user/eve").list_components(ListComponentsRequest::default()).await.unwrap().into_inner();
    assert!(shown(list).is_none(), "it is of another team");
}
