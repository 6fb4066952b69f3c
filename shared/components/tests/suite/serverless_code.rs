//! ServerlessCode: what is deployed of it, where it runs, and who pays.

use std::time::Duration;

use serde_json::{Value as Json, json};
use sre_components::Charge;
use sre_proto::compute::v1::{CloudAccount, CodeError, CodeLogLine, ExecuteCodeResponse};

use crate::context::Suite;
use crate::web::{error, run};

fn answered(result: &str, error: Option<&str>) -> Result<ExecuteCodeResponse, String> {
    Ok(ExecuteCodeResponse {
        result_json: result.to_owned().into(),
        error: error.map(|message| CodeError {
            name: "Error".into(),
            message: message.into(),
            stack: String::new(),
        }),
        logs: vec![CodeLogLine { level: "log".into(), text: "hello".into() }],
        ..Default::default()
    })
}

#[tokio::test]
async fn serverless_code_is_deployed_by_name_and_gets_its_inputs() {
    let suite = Suite::new(&[]);
    suite.deployed.answers.lock().push(answered("{\"sum\":3}", None));
    let code = "async function main(a, b) { return {sum: a + b.x}; }";
    let result = run(
        &suite,
        "ServerlessCode",
        json!({"code": code, "instance": "lambda"}),
        json!({"a": "1", "b": "{\"x\":2}", "c": "it's"}),
    )
    .await;
    assert_eq!(result["Output"], json!({"sum": 3}));
    let (name, source, instance, arguments) = suite.deployed.ran.lock().pop().unwrap();
    assert_eq!((name.as_str(), source.as_str(), instance.as_str()), ("C", code, "lambda"));
    assert_eq!(
        serde_json::from_str::<Json>(&arguments).unwrap(),
        json!({"a": 1, "b": {"x": 2}, "c": "it's"})
    );
    assert!(suite.logged.lock().iter().any(|line| line == "hello"));
    // Agents from before `code`.
    suite.deployed.answers.lock().push(answered("", None));
    let legacy = json!({"code_body": "return a;", "code_imports": "import x from 'x';"});
    run(&suite, "ServerlessCode", legacy, json!({"a": 1})).await;
    let (_, source, ..) = suite.deployed.ran.lock().pop().unwrap();
    assert_eq!(source, "import x from 'x';\nasync function main(a) {\nreturn a;\n}\n");
}

#[tokio::test]
async fn serverless_code_says_what_went_wrong() {
    let suite = Suite::with_vault(&[], &[("my-key", "v")]);
    suite
        .deployed
        .answers
        .lock()
        .extend([answered("", Some("boom")), Err("the source has no main".to_owned())]);
    let run = async |settings: Json| run(&suite, "ServerlessCode", settings, json!({"a": 1})).await;
    let code = json!({"code": "async function main() {}"});
    assert_eq!(error(&run(code.clone()).await), "the source has no main");
    assert_eq!(error(&run(code.clone()).await), "Error: boom");
    assert!(error(&run(json!({})).await).contains("there is no code"));
    let own =
        json!({"code": "x", "use_own_keys": true, "accessKeyId": "a", "secretAccessKey": "b", "region": "r"});
    assert!(error(&run(own).await).contains("role is empty: own keys need"));
    let secret = json!({"code": "async function main() { return '{{KEY(my-key)}}'; }"});
    assert!(error(&run(secret).await).contains("'my-key'"));
    assert_eq!(suite.deployed.ran.lock().len(), 2);
}

#[tokio::test]
async fn serverless_code_runs_in_the_agents_own_account_by_keys_of_the_vault() {
    let suite = Suite::with_vault(&[], &[("aws-id", "AKIDOWN"), ("aws-secret", "own-secret")]);
    let charging = ExecuteCodeResponse { cost_micros: 42, ..answered("1", None).unwrap() };
    suite.deployed.answers.lock().extend([Ok(charging), answered("1", None)]);
    let mut settings = json!({"code": "async function main() { return 1; }", "instance": "aws", "use_own_keys": "true",
        "accessKeyId": "{{KEY(aws-id)}}", "secretAccessKey": "{{KEY(aws-secret)}}", "region": "eu-central-1",
        "role": "arn:aws:iam::123456789012:role/own"});
    let result = run(&suite, "ServerlessCode", settings.clone(), json!({"a": 1})).await;
    assert_eq!(result, json!({"Output": 1}));
    let own = CloudAccount {
        access_key_id: "AKIDOWN".into(),
        secret_access_key: "own-secret".into(),
        region: "eu-central-1".into(),
        role: "arn:aws:iam::123456789012:role/own".into(),
    };
    assert_eq!(suite.deployed.accounts.lock()[0].as_ref(), Some(&own));
    assert_eq!(suite.deployed.ran.lock()[0].2, "", "no connector of the operator's");
    assert!(
        suite.kept.lock().iter().any(|secret| secret == "own-secret"),
        "it is kept out of what is written"
    );
    assert!(suite.charged.lock().is_empty(), "the agent pays by itself");
    // The same without its keys: the operator's connector, whose costs are counted.
    settings["use_own_keys"] = json!(false);
    run(&suite, "ServerlessCode", settings, json!({"a": 1})).await;
    assert_eq!(
        (suite.deployed.accounts.lock()[1].clone(), suite.deployed.ran.lock()[1].2.as_str()),
        (None, "aws")
    );
    let charge = Charge {
        source: "api:serverless_code.smyth",
        provider: "AWS Lambda",
        answer: 0,
        credits: 0,
        cost_micros: 42,
    };
    assert_eq!(*suite.charged.lock(), [charge]);
}

/// What code names as packages is data: it goes to the service in one piece, and no command is made of it.
#[tokio::test]
async fn d24_names_of_packages_are_never_a_command() {
    let suite = Suite::new(&[]);
    let folder = std::env::temp_dir().join(format!("sre-d24-{}", std::process::id()));
    let code =
        format!("import x from 'foo; touch {}'; async function main() {{ return 1; }}", folder.display());
    suite.deployed.answers.lock().push(answered("1", None));
    run(&suite, "ServerlessCode", json!({"code": code}), json!({"a": 1})).await;
    assert_eq!(suite.deployed.ran.lock()[0].1, code);
    assert!(!folder.exists());
}

/// The reference slept ten seconds before each call.
#[tokio::test(start_paused = true)]
async fn d23_nothing_is_waited_for() {
    let suite = Suite::new(&[]);
    suite.deployed.answers.lock().push(answered("1", None));
    let from = tokio::time::Instant::now();
    run(&suite, "ServerlessCode", json!({"code": "async function main() { return 1; }"}), json!({"a": 1}))
        .await;
    assert_eq!(from.elapsed(), Duration::ZERO);
}
