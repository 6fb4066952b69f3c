//! The typed result of a run: what came out, what failed, what waited in vain. The answer as the reference
//! gives it says the same, derived from it.

use serde_json::{Value, json};
use sre_proto::gateway::v1::RunState;

use crate::harness::agents::{api_call, component, document, endpoint, output};
use crate::harness::clients::{json as parsed, run_request};
use crate::harness::process::say;
use crate::harness::{Mode, Options, Suite, in_both_modes};

in_both_modes!(typed_result);

const AGENT: &str = "teams/default/agents/partly";

/// One branch answers, one fails, and one waits for what nobody sends.
fn partly() -> Value {
    document(
        "partly",
        json!({}),
        &[
            endpoint("go", "POST", &[("text", "Text"), ("other", "Text")]),
            component(
                "sha",
                "FHash",
                json!({ "algorithm": "sha256", "encoding": "hex" }),
                &["Data"],
                &["Hash"],
            ),
            // Nothing is allowed to be called here.
            api_call("call", "http://127.0.0.1:9/x", json!({}), json!({}), &["text"]),
            output("answer", &["sha256"]),
            output("both", &["sha256", "other"]),
        ],
        &[
            "go.text > sha.Data",
            "go.text > call.text",
            "sha.Hash > answer.sha256",
            "sha.Hash > both.sha256",
            "go.other > both.other",
        ],
    )
}

async fn typed_result(mode: Mode) {
    let suite = Suite::start("typed-result", mode, Options::default()).await;
    let dev = suite.client("user/dev");
    dev.put(AGENT, &partly()).await.unwrap();
    let mut request = run_request(AGENT, "go", &json!({ "text": "hello" }));
    request.value_view = true;
    let response = dev.runs().run_skill(request).await.unwrap().into_inner();
    let result = response.result.unwrap();

    assert!(result.failure.is_none(), "{result:?}");
    let answer = result.results.iter().find(|leaf| leaf.component == "answer").unwrap();
    assert_eq!(answer.r#type, "APIOutput");
    assert!(parsed(&answer.json)["sha256"].as_str().is_some_and(|hash| hash.starts_with("2cf24dba")));
    let Some(prost_types::value::Kind::StructValue(view)) = answer.value.clone().and_then(|value| value.kind)
    else {
        panic!("no view of {answer:?}")
    };
    assert!(view.fields.contains_key("sha256"), "{view:?}");

    let [error] = result.errors.as_slice() else { panic!("{:?}", result.errors) };
    assert_eq!((error.component.as_str(), error.r#type.as_str()), ("call", "APICall"));
    assert!(!error.message.is_empty());
    let [starved] = result.starved.as_slice() else { panic!("{:?}", result.starved) };
    assert_eq!((starved.component.as_str(), starved.r#type.as_str()), ("both", "APIOutput"));
    assert_eq!(starved.missing_inputs, ["other"]);

    // The reference's answer: the entries of what answered and of what failed, in the same order.
    let legacy = parsed(&response.legacy_json);
    let entries = legacy.as_array().unwrap_or_else(|| panic!("{legacy}"));
    let of =
        |id: &str| entries.iter().any(|entry| entry["id"] == id) || entries.contains(&parsed(&answer.json));
    assert!(of("answer") && of("call"), "{legacy}");
    assert!(legacy.to_string().contains(&error.message), "{legacy} has not {}", error.message);
    assert!(!legacy.to_string().contains("both"), "what never ran answers nothing: {legacy}");

    // Kept, it is the same; and people see it.
    let run = dev.reached(&response.run, &[RunState::Done]).await;
    let kept = run.result.unwrap();
    assert_eq!((&kept.errors, &kept.starved), (&result.errors, &result.starved));
    assert_eq!(run.legacy_json, response.legacy_json);
    let said = say(suite.folder(), &["runs", "get", &response.run, "--json"]).await.ok().json();
    assert_eq!(said["starved"], json!([{ "component": "both", "missing_inputs": ["other"] }]));
    assert_eq!(said["errors"][0]["component"], "call");

    failed_as_a_whole(&suite).await;
    suite.stop().await;
}

/// A skill that is not there: a failure of the whole, as a status.
async fn failed_as_a_whole(suite: &Suite) {
    let dev = suite.client("user/dev");
    let status = dev.run(AGENT, "nothing", &json!({})).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound, "{status:?}");
}
