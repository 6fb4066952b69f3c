//! Approval: what is asked, and which branch runs.

use std::time::Duration;

use serde_json::{Value as Json, json};
use sre_components::{Decision, Said};

use crate::context::Suite;
use crate::driver::{lone, result_of};

async fn decided(settings: Json, decision: Decision) -> (std::sync::Arc<Suite>, Json) {
    let suite = Suite::new(&[]);
    suite.decisions.lock().push(decision);
    let inputs = json!([{"name": "amount"}, {"name": "who"}]);
    let outputs = json!([{"name": "Approved", "default": true}, {"name": "Rejected", "default": true}]);
    let document = lone("Approval", settings, inputs, outputs);
    let result = result_of(&suite, &document, json!({"amount": 5, "who": "Ann"})).await;
    (suite, result)
}

fn said(comment: &str) -> Said {
    Said { by: "user/alice".into(), comment: comment.into() }
}

#[tokio::test]
async fn people_are_asked_with_the_inputs() {
    let settings = json!({"title": "Pay {{amount}}?", "message": "{{who}} wants {{amount}}",
        "approvers": "user/alice, admins", "timeLimit": "60"});
    let (suite, result) = decided(settings, Decision::Approved(said("fine"))).await;
    assert_eq!(result["Approved"], json!({"amount": 5, "who": "Ann"}));
    assert_eq!((&result["Comment"], &result["DecidedBy"]), (&json!("fine"), &json!("user/alice")));
    assert!(result.get("Rejected").is_none(), "{result}");
    let asked = suite.asked.lock()[0].clone();
    assert_eq!((asked.title.as_str(), asked.approvers.len()), ("Pay 5?", 2));
    assert_eq!(asked.time_limit, Duration::from_secs(60));
    let details = serde_json::to_value(&asked.details).unwrap();
    assert_eq!(details, json!({"message": "Ann wants 5", "inputs": {"amount": 5, "who": "Ann"}}));
}

#[tokio::test]
async fn silence_rejects_or_fails() {
    let (_, result) = decided(json!({"title": "?"}), Decision::Expired).await;
    assert_eq!(result["Rejected"], json!({"amount": 5, "who": "Ann"}));
    assert_eq!(result["DecidedBy"], "");
    let (_, result) = decided(json!({"title": "?", "onTimeout": "error"}), Decision::Expired).await;
    assert_eq!(result["_error"], "nobody decided in time");
    let (_, result) = decided(json!({"title": "?"}), Decision::Rejected(said("no"))).await;
    assert!(result.get("Approved").is_none() && result["Rejected"]["amount"] == 5, "{result}");
}

#[tokio::test]
async fn settings_are_checked() {
    for (settings, wrong) in [
        (json!({}), "\"Title\" is required"),
        (json!({"title": "?", "approvers": "everybody"}), "\"Approvers\" must be"),
        (json!({"title": "?", "timeLimit": 2_592_001}), "\"Time Limit\" must be less than"),
        (json!({"title": "?", "onTimeout": "go on"}), "\"On Timeout\" must be one of"),
        (json!({"title": "?", "onUncertain": "perhaps"}), "\"On Uncertain\" must be one of"),
    ] {
        let (suite, result) = decided(settings.clone(), Decision::Expired).await;
        assert!(result["_error"].as_str().unwrap_or_default().contains(wrong), "{settings}: {result}");
        assert!(suite.asked.lock().is_empty());
    }
}
