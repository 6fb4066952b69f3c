//! An engine dies while an effect runs; another goes on, by the effect's policy.

use serde_json::{Value, json};
use sre_proto::gateway::v1::{
    ApprovalKind, ApprovalState, DecideApprovalRequest, ListApprovalsRequest, RunState,
};
use sre_proto::memory::v1::RecordKind;

use super::documents::{document, endpoint, post};
use super::world::{World, at};

/// A run whose one effect was under way when its engine died.
async fn interrupted(world: &World, more: Value) -> String {
    world.server.hold("/effect");
    let id = format!("uncertain{}", world.server.count("/effect"));
    let agent = document(
        &id,
        vec![endpoint(), post("effect", &world.server.url("/effect"), more)],
        &["go.x > effect.v"],
    );
    let agent = world.put(&agent).await;
    let run = world.start(0, &agent, json!("x")).await;
    world.server.called("/effect", 1).await;
    world.kill(0).await;
    run.name
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_repeats_it_under_its_key() {
    let world = World::new().await;
    let run = interrupted(&world, json!({})).await;
    world.server.called("/effect", 2).await;
    world.server.release("/effect");
    let answer = world.done(&run).await;
    assert_eq!(answer["result"]["Status"], 200, "{answer}");
    let keys = world.server.keys("/effect");
    assert!(keys.len() == 2 && keys[0] == keys[1] && !keys[0].is_empty(), "{keys:?}");
}

/// A look-up changes nothing: nothing has to be durable before it, and it is looked up again. A record that says what
/// becomes of it is taken at its word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_up_has_no_intent_unless_its_record_has_a_policy() {
    let world = World::new().await;
    let cases = [
        (json!({"method": "GET"}), 0),
        (json!({"method": "GET", "onUncertain": "fail"}), 1),
        (json!({"method": "DELETE"}), 1),
        (json!({}), 1),
    ];
    for (turn, (more, intents)) in cases.into_iter().enumerate() {
        let url = world.server.url("/plain");
        let agent = document(
            &format!("looks{turn}"),
            vec![endpoint(), post("effect", &url, more.clone())],
            &["go.x > effect.v"],
        );
        let agent = world.put(&agent).await;
        let run = world.start(0, &agent, json!("x")).await;
        let answer = world.done(&run.name).await;
        assert_eq!(answer["result"]["Status"], 200, "{answer}");
        assert_eq!(world.count(&run.name, RecordKind::Intent).await, intents, "{more}");
    }
    let run = interrupted(&world, json!({"method": "GET"})).await;
    world.server.called("/effect", 2).await;
    world.server.release("/effect");
    let answer = world.done(&run).await;
    assert_eq!(answer["result"]["Status"], 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fail_never_starts_it_twice() {
    let world = World::new().await;
    let run = interrupted(&world, json!({"onUncertain": "fail"})).await;
    let answer = world.done(&run).await;
    let error = answer["result"]["_error"].as_str().unwrap_or_else(|| panic!("{answer}"));
    assert!(error.starts_with("EFFECT_UNCERTAIN: "), "{error}");
    world.server.release("/effect");
    assert_eq!(world.server.count("/effect"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lookup_takes_what_happened_or_starts_what_did_not() {
    let world = World::new().await;
    let lookup = |path: &str| json!({"onUncertain": "lookup", "lookupUrl": world.server.url(path)});
    let run = interrupted(&world, lookup("/lookup/{{idempotencyKey}}")).await;
    let answer = world.done(&run).await;
    let key = world.server.keys("/effect")[0].clone();
    assert_eq!(answer["result"]["Response"]["path"], format!("/lookup/{key}"), "{answer}");
    assert_eq!(world.server.count("/effect"), 1);
    world.server.release("/effect");

    let world = World::new().await;
    let lookup = |path: &str| json!({"onUncertain": "lookup", "lookupUrl": world.server.url(path)});
    let run = interrupted(&world, lookup("/lookup/missing")).await;
    world.server.called("/effect", 2).await;
    world.server.release("/effect");
    let answer = world.done(&run).await;
    assert_eq!(answer["result"]["Status"], 200, "{answer}");

    let world = World::new().await;
    let run = interrupted(
        &world,
        json!({"onUncertain": "lookup", "lookupUrl": world.server.url("/lookup/broken")}),
    )
    .await;
    let answer = world.done(&run).await;
    let error = answer["result"]["_error"].as_str().unwrap_or_else(|| panic!("{answer}"));
    assert!(error.starts_with("EFFECT_UNCERTAIN: ") && error.ends_with("status code 500"), "{error}");
    assert_eq!(world.server.count("/effect"), 1);
    world.server.release("/effect");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ask_waits_for_people_without_memory() {
    for (decision, output, calls) in [
        (ApprovalState::Approved, "", 2),
        (ApprovalState::Rejected, "", 1),
        (ApprovalState::Rejected, r#"{"Response":"by hand"}"#, 1),
    ] {
        let world = World::new().await;
        let run = interrupted(&world, json!({"onUncertain": "ask"})).await;
        world.until(&run, RunState::Waiting).await;
        assert!(world.nothing_lives(&run).await);
        let list = ListApprovalsRequest { parent: "teams/default".into(), ..ListApprovalsRequest::default() };
        let found = world.approvals("user/dev").list_approvals(list).await.unwrap().into_inner().approvals;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].kind(), found[0].component.as_str()), (ApprovalKind::UncertainEffect, "effect"));
        let request = DecideApprovalRequest {
            name: found[0].name.clone(),
            decision: decision.into(),
            comment: "looked".into(),
            output_json: output.into(),
        };
        world.approvals("user/dev").decide_approval(at(1, request)).await.unwrap();
        world.server.called("/effect", calls).await;
        world.server.release("/effect");
        let answer = world.done(&run).await;
        match (decision, output) {
            (ApprovalState::Approved, _) => assert_eq!(answer["result"]["Status"], 200, "{answer}"),
            (_, "") => {
                let error = answer["result"]["_error"].as_str().unwrap_or_else(|| panic!("{answer}"));
                assert!(error.starts_with("EFFECT_UNCERTAIN: ") && error.ends_with("looked"), "{error}");
            }
            _ => assert_eq!(answer["result"]["Response"], "by hand", "{answer}"),
        }
        assert_eq!(world.server.count("/effect"), calls);
    }
}
