//! Every example agent answers what its description says.

use std::time::Duration;

use serde_json::{Value, json};
use sre_proto::gateway::v1::{ApprovalState, DecideApprovalRequest, ListApprovalsRequest};

use crate::harness::clients::Client;
use crate::harness::{Mode, Options, Suite, agents, eventually, in_both_modes};

in_both_modes!(examples);

/// The example of every component type runs in a real suite, unless it says that it needs something from outside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn component_examples() {
    let suite = Suite::start("component-examples", Mode::AllInOne, Options::default()).await;
    let dev = suite.client("user/dev");
    let (mut ran, mut wrong) = (0, Vec::new());
    for (id, document) in agents::component_examples() {
        dev.put(&name(&id), &document).await.unwrap();
        if document["needs"].is_string() {
            continue;
        }
        let answer = dev.answer(&name(&id), "demo", &json!({})).await.unwrap();
        ran += 1;
        if answer.is_null() || answer == json!([]) || answer.to_string().contains("\"_error\"") {
            wrong.push(format!("{id}: {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(ran >= 20, "only {ran} ran");
    suite.stop().await;
}

async fn examples(mode: Mode) {
    let suite = Suite::start("examples", mode, Options::default()).await;
    let dev = suite.client("user/dev");
    let documents = agents::examples();
    assert!(documents.len() >= 5, "five example agents at least");
    for (id, document) in &documents {
        dev.put(&name(id), document).await.unwrap();
    }
    // At a time: some of them wait.
    let answers =
        documents.iter().flat_map(|(id, _)| vectors(id).into_iter().map(move |vector| (id, vector)));
    let answers = answers.map(async |(id, (skill, input, check))| {
        check(&dev.answer(&name(id), skill, &input).await.unwrap());
    });
    tokio::join!(futures::future::join_all(answers), approve(&dev));
    suite.stop().await;
}

fn name(id: &str) -> String {
    format!("teams/default/agents/{id}")
}

/// Approves what `expense` asks.
async fn approve(dev: &Client) {
    let asked = eventually("an expense is asked for", Duration::from_secs(20), async || {
        let request = ListApprovalsRequest { parent: name("expense"), ..ListApprovalsRequest::default() };
        dev.approvals().list_approvals(request).await.ok()?.into_inner().approvals.pop()
    })
    .await;
    let request = DecideApprovalRequest {
        name: asked.name,
        decision: ApprovalState::Approved.into(),
        ..DecideApprovalRequest::default()
    };
    dev.approvals().decide_approval(request).await.unwrap();
}

type Check = Box<dyn Fn(&Value)>;

fn is(expected: Value) -> Check {
    Box::new(move |answer| assert_eq!(*answer, expected))
}

/// What an example's skills answer. An example without a line here fails the test.
fn vectors(id: &str) -> Vec<(&'static str, Value, Check)> {
    let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    match id {
        "greeter" => vec![("greet", json!({ "name": "Ada" }), is(json!({ "greeting": "Hello, Ada!" })))],
        "fingerprint" => vec![(
            "digest",
            json!({ "text": "hello" }),
            Box::new(move |answer| {
                assert_eq!(answer["md5"], "5d41402abc4b2a76b9719d911017c592");
                assert_eq!(answer["sha256"], sha256);
                assert_eq!(answer["hex"], "68656c6c6f");
            }),
        )],
        "checklist" => vec![(
            "sign",
            json!({ "items": ["a", "b", "c"] }),
            Box::new(|answer| {
                let text = answer.to_string();
                assert_eq!(
                    text.matches("Signature")
                        .count()
                        .max(answer["signatures"].as_array().map_or(0, Vec::len)),
                    3
                );
            }),
        )],
        "eligibility" => vec![
            (
                "check",
                json!({ "adult": true, "invited": true }),
                Box::new(|a| assert!(a["eligible"] != Value::Null, "{a}")),
            ),
            (
                "check",
                json!({ "adult": false, "member": true }),
                Box::new(|a| assert!(a["refused"] != Value::Null, "{a}")),
            ),
        ],
        "background" => vec![(
            "work",
            json!({ "text": "hello" }),
            Box::new(move |answer| assert!(answer.to_string().contains(sha256), "{answer}")),
        )],
        "redact" => vec![(
            "publish",
            json!({ "record": { "name": "Ada", "email": "a@b.c", "address": { "city": "London", "zip": "1" } } }),
            Box::new(|answer| {
                assert_eq!(answer["record"], json!({ "name": "Ada", "address": { "city": "London" } }));
                assert!(answer["published"].is_string() || answer["published"].is_number(), "{answer}");
            }),
        )],
        "expense" => vec![(
            "pay",
            json!({ "amount": 5, "purpose": "cake" }),
            Box::new(|answer| {
                assert_eq!(answer["expense"], json!({ "amount": 5, "purpose": "cake" }));
                assert!(answer["receipt"].as_str().is_some_and(|text| text.len() == 32), "{answer}");
            }),
        )],
        "reminder" => vec![("remind", json!({ "text": "tea" }), is(json!({ "reminder": "Remember: tea" })))],
        other => panic!("examples/{other}.smyth has no expectation here"),
    }
}
