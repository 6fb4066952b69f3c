//! Calls of skills and talks with other agents: child runs that are found again.

use serde_json::{Value, json};
use sre_proto::gateway::v1::{CancelRunRequest, RunState};
use sre_proto::llm::v1::ChatRole;
use sre_proto::memory::v1::{ListRunsRequest, RunKind, RunRecord};

use super::documents::{component, document, endpoint, post};
use super::llm::{calls, says};
use super::world::World;

fn call_skill(data: Value) -> Value {
    component("call", "CallSkill", data, &["x"], &["Result", "Reason"])
}

/// The skill `inner`, which posts its `v` to a path.
fn inner(world: &World) -> Vec<Value> {
    let mut entry = endpoint();
    entry["id"] = json!("inner");
    entry["data"]["endpoint"] = json!("inner");
    vec![entry, post("post", &world.server.url("/inner"), json!({}))]
}

const INNER: &str = "inner.x > post.v";

/// An agent that has only the skill `inner`.
async fn sub_agent(world: &World, id: &str) -> String {
    world.put(&document(id, inner(world), &[INNER])).await
}

/// An agent whose skill `go` calls a skill.
async fn caller(world: &World, id: &str, data: Value) -> String {
    let components = [vec![endpoint(), call_skill(data)], inner(world)].concat();
    world.put(&document(id, components, &["go.x > call.x", INNER])).await
}

async fn children(world: &World, agent: &str, parent: &str) -> Vec<RunRecord> {
    let asked = ListRunsRequest {
        team: "default".into(),
        agent: agent.rsplit('/').next().unwrap().into(),
        parent_run: parent.rsplit('/').next().unwrap().into(),
        page_size: 100,
        ..ListRunsRequest::default()
    };
    world.engines[0].journal.list(asked).await.unwrap().runs
}

async fn reason_of(world: &World, agent: &str, x: Value) -> (Value, Value) {
    let run = world.start(0, agent, x).await;
    let answer = world.done(&run.name).await;
    (answer["result"]["Reason"].clone(), answer["result"]["_error"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_skill_of_the_same_agent_runs_as_a_child() {
    let world = World::new().await;
    let agent = caller(&world, "own", json!({"skill": "inner"})).await;
    let run = world.start(0, &agent, json!("a")).await;
    let answer = world.done(&run.name).await;
    assert_eq!(answer["result"]["Result"]["Response"]["path"], "/inner", "{answer}");
    let children = children(&world, &agent, &run.name).await;
    assert_eq!(children.len(), 1);
    assert_eq!((children[0].label.as_str(), children[0].caller.as_str()), ("inner", "user/dev"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_skill_of_another_agent_runs_as_that_agent() {
    let world = World::new().await;
    let sub = sub_agent(&world, "helper").await;
    let agent = caller(&world, "asks", json!({"skill": "inner", "agentId": "helper"})).await;
    let run = world.start(0, &agent, json!("a")).await;
    let answer = world.done(&run.name).await;
    assert_eq!(answer["result"]["Result"]["Status"], 200, "{answer}");
    assert_eq!(children(&world, &sub, &run.name).await.len(), 1);
    assert!(children(&world, &agent, &run.name).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_called_is_said() {
    let world = World::new().await;
    sub_agent(&world, "helper").await;
    let agent = caller(&world, "a1", json!({"skill": "inner", "agentId": "nobody"})).await;
    let (reason, error) = reason_of(&world, &agent, json!(1)).await;
    assert_eq!((reason, error), (json!("AGENT_NOT_FOUND"), json!("Agent 'nobody' not found")));
    let agent = caller(&world, "a2", json!({"skill": "nope", "agentId": "helper"})).await;
    let (reason, error) = reason_of(&world, &agent, json!(1)).await;
    assert_eq!((reason, error), (json!("SKILL_NOT_FOUND"), json!("Agent 'helper' has no skill 'nope'")));
    let data = json!({"skill": "inner", "agentId": "helper", "version": "prod-latest"});
    let agent = caller(&world, "a3", data).await;
    let (reason, error) = reason_of(&world, &agent, json!(1)).await;
    assert_eq!(reason, "NOT_DEPLOYED");
    let said = "Call failed, Agent 'helper' (helper) is not deployed. Please deploy the agent and try again.";
    assert_eq!(error, said);
    let data = json!({"skill": "inner", "agentId": "helper", "version": "abc"});
    let agent = caller(&world, "a4", data).await;
    assert_eq!(reason_of(&world, &agent, json!(1)).await.0, "AGENT_NOT_FOUND");
    assert_eq!(world.server.count("/inner"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_come_round_and_calls_too_deep_are_refused() {
    let world = World::new().await;
    let agent = caller(&world, "round", json!({"skill": "go"})).await;
    let (reason, error) = reason_of(&world, &agent, json!("same")).await;
    assert_eq!(reason, "FAILED", "the outer call failed because the inner one was refused");
    assert!(error.as_str().unwrap().contains("inside of its own call"), "{error}");
    // Each call gets what the one before it got, one level deeper: no two are the same.
    let deeper =
        document("deeper", vec![endpoint(), call_skill(json!({"skill": "go"}))], &["go.body > call.x"]);
    let agent = world.put(&deeper).await;
    let (_, error) = reason_of(&world, &agent, json!("x")).await;
    assert!(error.as_str().unwrap().contains("calls are nested 16 deep"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_skill_that_takes_too_long_is_ended() {
    let world = World::new().await;
    world.server.hold("/inner");
    let agent = caller(&world, "slow", json!({"skill": "inner", "timeout": 1})).await;
    let (reason, error) = reason_of(&world, &agent, json!(1)).await;
    assert_eq!(reason, "TIMEOUT", "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_dies_during_a_call_leaves_one_call_behind() {
    let world = World::new().await;
    world.server.hold("/inner");
    let agent = caller(&world, "dies", json!({"skill": "inner"})).await;
    let run = world.start(0, &agent, json!("a")).await;
    world.server.called("/inner", 1).await;
    world.kill(0).await;
    world.server.release("/inner");
    let answer = world.done(&run.name).await;
    assert_eq!(answer["result"]["Result"]["Status"], 200, "{answer}");
    assert_eq!(children(&world, &agent, &run.name).await.len(), 1);
    let keys = world.server.keys("/inner");
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cancelled_takes_its_calls_along() {
    let world = World::new().await;
    world.server.hold("/inner");
    let sub = sub_agent(&world, "helper").await;
    let agent = caller(&world, "left", json!({"skill": "inner", "agentId": "helper"})).await;
    let run = world.start(0, &agent, json!("a")).await;
    world.server.called("/inner", 1).await;
    let request = CancelRunRequest { name: run.name.clone(), reason: "enough".into() };
    world.runs("user/dev").cancel_run(request).await.unwrap();
    let child = children(&world, &sub, &run.name).await.remove(0);
    world.until(&format!("{sub}/runs/{}", child.run_id), RunState::Cancelled).await;
}

/// An agent whose skill `go` asks the agent `helper`.
async fn plugin(world: &World, id: &str, more: Value) -> String {
    let mut data = json!({"agentId": "helper", "model": "m", "descForModel": "be brief"});
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let plugin = component("ask", "AgentPlugin", data, &["Prompt"], &["Response"]);
    world.put(&document(id, vec![endpoint(), plugin], &["go.x > ask.Prompt"])).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_answers_with_the_skills_of_the_other_agent() {
    let world = World::new().await;
    let sub = sub_agent(&world, "helper").await;
    let agent = plugin(&world, "asker", json!({})).await;
    world.llm.answer([calls(&[("c1", "inner", r#"{"x":1}"#)]), says("all done")]);
    let run = world.start(0, &agent, json!("please")).await;
    let answer = world.done(&run.name).await;
    assert_eq!(answer["result"]["Response"], "all done", "{answer}");
    let asked = world.llm.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["inner"]);
    assert_eq!(asked[0].messages[0].role(), ChatRole::System);
    assert!(asked[0].messages[0].text.contains("be brief"), "{}", asked[0].messages[0].text);
    assert_eq!(asked[0].messages[1].text, "please");
    let result = asked[1].messages.last().unwrap();
    assert!(result.tool_call_id == "c1" && result.text.contains("/inner"), "{}", result.text);
    let turns = children(&world, &sub, &run.name).await;
    assert_eq!((turns.len(), turns[0].kind()), (1, RunKind::Turn));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_dies_during_a_plugin_repeats_no_finished_tool() {
    let world = World::new().await;
    let sub = sub_agent(&world, "helper").await;
    let agent = plugin(&world, "survivor", json!({})).await;
    world.llm.answer([calls(&[("c1", "inner", r#"{"x":1}"#)]), says("all done")]);
    let run = world.start(0, &agent, json!("please")).await;
    // The tool has answered; the model is asked again and does not answer.
    world.llm.was_asked(1).await;
    world.server.called("/inner", 1).await;
    world.llm.hold();
    world.llm.was_asked(2).await;
    world.kill(0).await;
    world.llm.answer([says("all done")]);
    world.llm.release();
    let answer = world.done(&run.name).await;
    assert_eq!(answer["result"]["Response"], "all done", "{answer}");
    assert_eq!(world.server.count("/inner"), 1);
    assert_eq!(children(&world, &sub, &run.name).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_stops_at_its_limit_of_rounds() {
    let world = World::new().await;
    sub_agent(&world, "helper").await;
    let agent = plugin(&world, "limited", json!({"maxRounds": 1})).await;
    world.llm.answer([calls(&[("c1", "inner", r#"{"x":1}"#)]), says("as far as I came")]);
    let run = world.start(0, &agent, json!("please")).await;
    let answer = world.done(&run.name).await;
    assert_eq!(answer["result"]["Response"], "as far as I came", "{answer}");
    assert!(world.llm.asked()[1].tools.is_empty(), "the last word is without tools");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_says_what_went_wrong() {
    let world = World::new().await;
    let agent = plugin(&world, "lost", json!({})).await;
    let run = world.start(0, &agent, json!("please")).await;
    let answer = world.done(&run.name).await;
    let error = answer["result"]["_error"].as_str().unwrap().to_owned();
    assert_eq!(error, "Error on running Agent Component!\nAgent 'helper' not found");
    sub_agent(&world, "helper").await;
    world.llm.fail(tonic::Status::internal("500 mock error"));
    let run = world.start(0, &agent, json!("please")).await;
    let answer = world.done(&run.name).await;
    let error = answer["result"]["_error"].as_str().unwrap().to_owned();
    assert_eq!(error, "Error on running Agent Component!\n500 mock error");
}

/// An agent whose skill `go` asks a model that may call the operations of the test's server.
async fn shop(world: &World, id: &str, more: Value) -> String {
    let mut data = json!({"specUrl": world.server.url("/openapi.json"), "descForModel": "", "name": "", "desc": "", "model": "m"});
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let plugin = component("ask", "OpenAPI", data, &["Prompt"], &["Output"]);
    world.put(&document(id, vec![endpoint(), plugin], &["go.x > ask.Prompt"])).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_calls_the_operations_of_a_document() {
    let world = World::new().await;
    let agent = shop(&world, "shop", json!({})).await;
    world.llm.answer([calls(&[("c1", "sell", r#"{"body":{"n":1}}"#), ("c2", "look", "{}")]), says("sold")]);
    let run = world.start(0, &agent, json!("please")).await;
    let answer = world.done(&run.name).await;
    assert_eq!(answer["result"]["Output"], "sold", "{answer}");
    let asked = world.llm.asked();
    assert_eq!(asked[0].tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["sell", "look"]);
    let system = &asked[0].messages[0];
    assert_eq!(
        (system.role(), system.text.as_str()),
        (ChatRole::System, "Assistant Name : Shop\n\nSells things.")
    );
    let results: Vec<&str> =
        asked[1].messages.iter().rev().take(2).map(|message| message.text.as_str()).collect();
    assert!(results[0].contains("/look") && results[1].contains("/sell"), "{results:?}");
    assert!(!world.server.keys("/sell")[0].is_empty(), "what changes something carries a key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_that_an_engine_left_behind_is_not_made_twice_unless_that_does_no_harm() {
    let world = World::new().await;
    let agent = shop(&world, "left-behind", json!({})).await;
    world.server.hold("/sell");
    world.server.hold("/look");
    world.llm.answer([calls(&[("c1", "sell", "{}"), ("c2", "look", "{}")]), says("looked")]);
    let run = world.start(0, &agent, json!("please")).await;
    world.server.called("/sell", 1).await;
    world.server.called("/look", 1).await;
    // Whichever engine works on the turn: both lose what they have.
    world.kill(0).await;
    world.kill(1).await;
    world.server.called("/look", 2).await;
    world.server.release("/sell");
    world.server.release("/look");
    let answer = world.done(&run.name).await;
    assert_eq!(answer["result"]["Output"], "looked", "{answer}");
    assert_eq!(world.server.count("/sell"), 1);
    let messages = world.llm.asked().last().unwrap().messages.clone();
    let sold = messages.iter().find(|message| message.tool_call_id == "c1").unwrap();
    assert!(sold.tool_failed && sold.text.contains("nobody knows whether it happened"), "{}", sold.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_toolbox_that_cannot_be_opened_is_said_before_the_model_is_asked() {
    let world = World::new().await;
    let more = json!({"headers": {"x-key": "{{KEY(nope)}}"}});
    let agent = shop(&world, "without-key", more).await;
    let run = world.start(0, &agent, json!("please")).await;
    let answer = world.done(&run.name).await;
    let error = answer["result"]["_error"].as_str().unwrap();
    assert!(error.starts_with("Error on running Open API!\n"), "{error}");
    assert!(world.llm.asked().is_empty(), "the model is not asked before the tools are there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_talk_is_cancelled_with_its_run() {
    let world = World::new().await;
    let agent = shop(&world, "stopped", json!({})).await;
    world.server.hold("/look");
    world.llm.answer([calls(&[("c1", "look", "{}")])]);
    let run = world.start(0, &agent, json!("please")).await;
    world.server.called("/look", 1).await;
    let request = CancelRunRequest { name: run.name.clone(), reason: "enough".into() };
    world.runs("user/dev").cancel_run(request).await.unwrap();
    let turn = children(&world, &agent, &run.name).await.remove(0);
    assert_eq!(turn.kind(), RunKind::Turn);
    world.until(&format!("{agent}/runs/{}", turn.run_id), RunState::Cancelled).await;
}

/// What is used in a call, in a talk and in the tools of a talk counts for the run that began it all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_counts_is_told_of_all_the_runs_above_the_one_that_asks() {
    let world = World::new().await;
    // The helper's skill asks the model itself.
    let mut entry = endpoint();
    entry["id"] = json!("inner");
    entry["data"]["endpoint"] = json!("inner");
    let own = component("own", "GenAILLM", json!({"model": "m", "prompt": "{{v}}"}), &["v"], &["Reply"]);
    let sub = world.put(&document("helper", vec![entry, own], &["inner.x > own.v"])).await;
    let call = json!({"skill": "inner", "agentId": "helper"});
    let talk = json!({"agentId": "helper", "model": "m", "descForModel": "be brief"});
    let components =
        vec![endpoint(), call_skill(call), component("ask", "AgentPlugin", talk, &["Prompt"], &["Response"])];
    let asker =
        world.put(&document("asker", components, &["go.x > call.x", "call.Result > ask.Prompt"])).await;
    world.llm.answer([says("one"), calls(&[("c1", "inner", r#"{"x":1}"#)]), says("two"), says("three")]);
    let run = world.start(0, &asker, json!("please")).await;
    let answer = world.done(&run.name).await;
    assert_eq!(answer["result"]["Response"], "three", "{answer}");
    let named = |id: &str| format!("default/{id}");
    let root = run.name.rsplit('/').next().unwrap();
    let below = children(&world, &sub, &run.name).await;
    let of_kind = |kind: RunKind| below.iter().find(|child| child.kind() == kind).unwrap().run_id.clone();
    let (skill, turn) = (of_kind(RunKind::Skill), of_kind(RunKind::Turn));
    let tools = children(&world, &sub, &turn).await;
    assert_eq!(tools.len(), 1);
    let to_turn = vec![named(root), named(&turn)];
    let to_tool = [to_turn.clone(), vec![named(&tools[0].run_id)]].concat();
    assert_eq!(world.llm.runs(), [vec![named(root), named(&skill)], to_turn.clone(), to_tool, to_turn]);
}
