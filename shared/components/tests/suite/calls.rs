//! CallSkill and AgentPlugin: what they ask for, and what they make of what comes back. That a call is a run of its
//! own is tested with the engine.

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use sre_components::context::calls::{
    CallError, CallFailure, Calls, SkillAnswer, SkillCalled, SkillResult, Talk, VersionOf,
};
use std::collections::VecDeque;
use std::time::Duration;

use super::context::Suite;
use super::driver::{lone, result_of};

/// Calls that come to what a test says.
#[derive(Default)]
pub struct Scripted {
    pub skills: Mutex<Vec<SkillCalled>>,
    pub answers: Mutex<VecDeque<Result<SkillAnswer, CallError>>>,
    pub talks: Mutex<Vec<Talk>>,
    pub texts: Mutex<VecDeque<Result<String, CallError>>>,
}

#[async_trait]
impl Calls for Scripted {
    async fn call_skill(&self, call: SkillCalled) -> Result<SkillAnswer, CallError> {
        self.skills.lock().push(call);
        self.answers.lock().pop_front().unwrap_or_else(|| Ok(SkillAnswer::default()))
    }

    async fn talk(&self, talk: Talk) -> Result<String, CallError> {
        self.talks.lock().push(talk);
        self.texts.lock().pop_front().unwrap_or_else(|| Ok(String::new()))
    }
}

fn call_skill(settings: Json) -> Json {
    let inputs = json!([{"name": "Input", "type": "Object", "optional": true}, {"name": "a", "type": "Any"}]);
    lone("CallSkill", settings, inputs, json!([{"name": "Result", "default": true}]))
}

fn failed(kind: CallFailure, message: &str) -> CallError {
    CallError::new(kind, message)
}

#[tokio::test]
async fn call_skill_passes_its_inputs_on_and_gives_what_the_skill_gave() {
    let suite = Suite::new(&[]);
    let value = json!({"Output": {"sum": 3}}).into();
    let result = SkillResult { component_type: "APIOutput".into(), value };
    let answer = SkillAnswer { results: vec![result], answer: json!("raw").into(), ..SkillAnswer::default() };
    suite.calls.answers.lock().push_back(Ok(answer));
    let document = call_skill(json!({"skill": "add", "timeout": "7"}));
    let got = result_of(&suite, &document, json!({"Input": {"a": 9, "b": 2}, "a": 1})).await;
    assert_eq!(got, json!({"Result": {"sum": 3}, "Answer": "raw"}));
    let called = suite.calls.skills.lock()[0].clone();
    assert_eq!((called.skill.as_str(), called.callee.agent.as_str()), ("add", ""));
    assert_eq!(called.time, Some(Duration::from_secs(7)));
    let input = sre_engine::Value::object(called.input).to_json_text();
    assert_eq!(input, r#"{"a":1,"b":2}"#, "an added input counts over a member of Input");
}

#[tokio::test]
async fn call_skill_says_what_kind_of_failure_it_was() {
    let suite = Suite::new(&[]);
    let document = call_skill(json!({"skill": "add", "agentId": "other", "version": "prod-latest"}));
    for kind in [
        CallFailure::AgentNotFound,
        CallFailure::SkillNotFound,
        CallFailure::NotDeployed,
        CallFailure::Circular,
        CallFailure::TooDeep,
        CallFailure::Denied,
        CallFailure::Invalid,
        CallFailure::Timeout,
        CallFailure::Cancelled,
        CallFailure::Failed,
        CallFailure::Unavailable,
    ] {
        suite.calls.answers.lock().push_back(Err(failed(kind, "no")));
        let got = result_of(&suite, &document, json!({"a": 1})).await;
        assert_eq!(got, json!({"Reason": kind.word(), "_error": "no"}));
    }
    assert_eq!(suite.calls.skills.lock()[0].callee.version, VersionOf::Deployed);
}

#[tokio::test]
async fn call_skill_refuses_an_input_that_is_no_object() {
    let suite = Suite::new(&[]);
    let document = lone(
        "CallSkill",
        json!({"skill": "add"}),
        json!([{"name": "Input", "type": "Any"}]),
        json!([{"name": "Result", "default": true}]),
    );
    let got = result_of(&suite, &document, json!({"Input": [1]})).await;
    assert_eq!(got["_error"], "Input must be an object, not array");
    assert!(suite.calls.skills.lock().is_empty());
}

fn agent_plugin(settings: Json, outputs: Json) -> Json {
    lone("AgentPlugin", settings, json!([{"name": "Prompt", "type": "Any"}]), outputs)
}

fn response() -> Json {
    json!([{"name": "Response", "default": true}])
}

#[tokio::test]
async fn agent_plugin_asks_with_its_description_as_the_instructions() {
    let suite = Suite::new(&[]);
    suite.calls.texts.lock().push_back(Ok("fine".into()));
    let settings = json!({"agentId": "sub", "openAiModel": "mock-gpt", "name": "Sub",
        "descForModel": "say {{greet}}", "version": "same-as-parent", "maxRounds": "3", "maxToolCalls": 5});
    let got = result_of(&suite, &agent_plugin(settings, response()), json!({"Prompt": {"q": 1}})).await;
    assert_eq!(got, json!({"Response": "fine"}));
    let talk = suite.calls.talks.lock()[0].clone();
    assert_eq!((talk.prompt.as_str(), talk.instructions.as_str()), (r#"{"q":1}"#, "say Hello"));
    assert_eq!((talk.model.as_str(), talk.rounds, talk.tool_calls), ("mock-gpt", 3, 5));
    assert_eq!((talk.callee.agent.as_str(), talk.callee.name.as_str()), ("sub", "Sub"));
    assert_eq!(talk.callee.version, VersionOf::SameAsParent);
    assert!(talk.own_tools.is_none());
}

#[tokio::test]
async fn agent_plugin_reads_an_answer_that_is_json_and_asks_for_added_outputs() {
    let suite = Suite::new(&[]);
    suite.calls.texts.lock().push_back(Ok(r#"{"title":"T"}"#.into()));
    let outputs = json!([{"name": "Response", "default": true},
        {"name": "title", "default": false, "description": "the title"}]);
    let document = agent_plugin(json!({"agentId": "sub", "model": "mock-gpt"}), outputs);
    let got = result_of(&suite, &document, json!({"Prompt": "x"})).await;
    assert_eq!(got, json!({"Response": {"title": "T"}}));
    let prompt = suite.calls.talks.lock()[0].prompt.clone();
    assert!(prompt.starts_with("x\n") && prompt.contains("<value> (the title)"), "{prompt}");
}

#[tokio::test]
async fn agent_plugin_fails_in_the_words_of_the_reference() {
    let suite = Suite::new(&[]);
    let error = async |settings: Json| {
        let got = result_of(&suite, &agent_plugin(settings, response()), json!({"Prompt": "x"})).await;
        got["_error"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(error(json!({"agentId": " "})).await, "Agent Component ID is required!");
    assert_eq!(
        error(json!({"agentId": "sub", "model": "nope"})).await,
        "The model 'nope' is not available. Please try a different one."
    );
    let missing = failed(CallFailure::AgentNotFound, "Agent 'sub' not found");
    suite.calls.texts.lock().push_back(Err(missing));
    let sub = json!({"agentId": "sub", "model": "mock-gpt"});
    assert_eq!(error(sub.clone()).await, "Error on running Agent Component!\nAgent 'sub' not found");
    // A model that says nothing.
    assert_eq!(error(sub).await, "Error on running Agent Component!\n LLM Error = Empty Response!");
}
