//! Agents: versions, deployment, roll-back, and what is wrong with a document.

use serde_json::{Value, json};
use sre_proto::agent::v1::{
    DeleteAgentRequest, GetAgentRequest, ListAgentsRequest, ListVersionsRequest, ValidateAgentRequest,
};
use tonic::Code;

use crate::harness::agents::{component, document, endpoint, output};
use crate::harness::{Mode, Options, Suite, in_both_modes};

in_both_modes!(versions);

const NAME: &str = "teams/default/agents/versioned";

/// An agent that answers its own edition.
fn edition(word: &str) -> Value {
    document(
        "versioned",
        json!({ "WORD": word }),
        &[
            endpoint("say", "POST", &[("to", "Text")]),
            component(
                "echo",
                "GenAILLM",
                json!({ "model": "Echo", "prompt": "{{WORD}} {{to}}" }),
                &["to"],
                &["Reply"],
            ),
            output("answer", &["said"]),
        ],
        &["say.to > echo.to", "echo.Reply > answer.said"],
    )
}

async fn versions(mode: Mode) {
    let suite = Suite::start("versions", mode, Options::default()).await;
    let dev = suite.client("user/dev");
    let said = async |expected: &str| {
        let answer = dev.answer(NAME, "say", &json!({ "to": "you" })).await.unwrap();
        assert_eq!(answer, json!({ "said": expected }));
    };

    let first = dev.put(NAME, &edition("one")).await.unwrap();
    said("one you").await;
    let second = dev.put(NAME, &edition("two")).await.unwrap();
    assert_ne!(first.version, second.version);
    // Where none is deployed, the latest runs.
    said("two you").await;
    dev.deploy(NAME, &first.version).await.unwrap();
    said("one you").await;
    dev.deploy(NAME, "").await.unwrap();
    said("two you").await;
    let back = dev.deploy(NAME, &first.version).await.unwrap();
    assert_eq!(back.deployed_version, first.version);
    said("one you").await;
    // The same content is the same version.
    let again = dev.put(NAME, &edition("two")).await.unwrap();
    assert_eq!(again.version, second.version);

    let list = ListVersionsRequest { parent: NAME.into(), ..ListVersionsRequest::default() };
    let listed = dev.agents().list_versions(list).await.unwrap().into_inner().versions;
    let seen: Vec<(&str, bool)> = listed.iter().map(|v| (v.version.as_str(), v.deployed)).collect();
    assert_eq!(seen, [(second.version.as_str(), false), (first.version.as_str(), true)]);
    let get = |version: &str| GetAgentRequest { name: NAME.into(), version: version.into() };
    let deployed = dev.agents().get_agent(get("deployed")).await.unwrap().into_inner();
    let stored: Value = serde_json::from_slice(&deployed.document_json).unwrap();
    assert_eq!(stored, edition("one"), "a document comes back as it was put");
    assert_eq!(dev.agents().get_agent(get("")).await.unwrap().into_inner().version, second.version);

    let list = ListAgentsRequest { parent: "teams/-".into(), ..ListAgentsRequest::default() };
    let agents = dev.agents().list_agents(list).await.unwrap().into_inner().agents;
    assert_eq!(agents.iter().map(|agent| agent.name.as_str()).collect::<Vec<_>>(), [NAME]);

    wrong_documents(&suite).await;
    dev.agents().delete_agent(DeleteAgentRequest { name: NAME.into() }).await.unwrap();
    let gone = dev.agents().get_agent(get("")).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound, "{gone:?}");
    let gone = dev.answer(NAME, "say", &json!({ "to": "you" })).await.unwrap_err();
    assert_eq!(gone.code(), Code::PermissionDenied, "{gone:?}");
    suite.stop().await;
}

/// A document that is wrong says where.
async fn wrong_documents(suite: &Suite) {
    let dev = suite.client("user/dev");
    let mut broken = edition("three");
    broken["connections"][0]["targetId"] = json!("nowhere");
    let refused = dev.put("teams/default/agents/broken", &broken).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert!(refused.message().contains("nowhere"), "{refused:?}");
    let request = ValidateAgentRequest { parent: "teams/-".into(), document_json: broken.to_string().into() };
    let answer = dev.agents().validate_agent(request).await.unwrap().into_inner();
    assert!(answer.issues.iter().any(|issue| issue.message.contains("nowhere")), "{:?}", answer.issues);
}
