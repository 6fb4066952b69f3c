//! What a finished run is good for: its steps, a fork with other input, a replay without any service.

use serde_json::{Value, json};
use sre_proto::gateway::v1::{ForkRunRequest, ListStepsRequest, RunState};
use tonic::Code;

use crate::harness::agents::{api_call, component, document, endpoint, output};
use crate::harness::clients::json as parsed;
use crate::harness::http_server::HttpServer;
use crate::harness::process::say;
use crate::harness::{Mode, Options, Suite, in_both_modes};

in_both_modes!(fork_and_replay);

const AGENT: &str = "teams/default/agents/chain";

/// An effect, then something made of what it answered.
fn chain(url: &str) -> Value {
    document(
        "chain",
        json!({}),
        &[
            endpoint("go", "POST", &[("text", "Text")]),
            api_call("post", url, json!({}), json!({ "text": "{{text}}" }), &["text"]),
            component(
                "sha",
                "FHash",
                json!({ "algorithm": "sha256", "encoding": "hex" }),
                &["Data"],
                &["Hash"],
            ),
            output("answer", &["sha256", "response"]),
        ],
        &[
            "go.text > post.text",
            "go.text > sha.Data",
            "sha.Hash > answer.sha256",
            "post.Response > answer.response",
        ],
    )
}

async fn fork_and_replay(mode: Mode) {
    let server = HttpServer::start().await;
    let options = || Options::default().set("egress.allow", format!("[\"{}\"]", server.address()));
    let suite = Suite::start("fork-replay", mode, options()).await;
    let dev = suite.client("user/dev");
    dev.put_canary().await;
    dev.put(AGENT, &chain(&server.url("/effect"))).await.unwrap();
    let run = dev.start(AGENT, "go", &json!({ "text": "hello" })).await.unwrap().name;
    let ended = dev.reached(&run, &[RunState::Done]).await;
    let answer = parsed(&ended.legacy_json);
    assert_eq!(server.seen("/effect").len(), 1);

    steps(&suite, &run).await;
    forked(&suite, &server, &run, &answer).await;

    // Exported, the suite stopped: the same answer, and nobody is called.
    let file = suite.folder().join("run.json").display().to_string();
    say(suite.folder(), &["runs", "export", &run, "-o", &file]).await.ok();
    let said = say(suite.folder(), &["runs", "replay", &run]).await.ok();
    assert!(said.out.contains("same"), "{said:?}");
    let folder = suite.folder().to_owned();
    suite.stop().await;
    let calls = server.seen("/effect").len();
    let said = say(&folder, &["runs", "replay", &file, "--json"]).await.ok().json();
    assert_eq!((&said["same"], &said["answer"]), (&json!(true), &answer), "{said}");
    // By its name, from the stopped suite's own folder.
    let said = say(&folder, &["runs", "replay", &run, "--json"]).await.ok().json();
    assert_eq!((&said["same"], &said["answer"]), (&json!(true), &answer), "{said}");
    assert_eq!(server.seen("/effect").len(), calls, "a replay calls nobody");

    // A recording whose answer was changed is not replayed to the same.
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(crate::harness::CANARY));
    let file = folder.join("wrong.json").display().to_string();
    std::fs::write(&file, differing(&text)).unwrap();
    let said = say(&folder, &["runs", "replay", &file, "--json"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(said.json()["same"], json!(false));
}

/// The recording with another answer.
fn differing(text: &str) -> String {
    let mut recording: Value = serde_json::from_str(text).unwrap();
    let Some(answer) = recording.pointer_mut("/answer/legacy/sha256") else { panic!("no answer in {text}") };
    *answer = json!("another");
    recording.to_string()
}

async fn steps(suite: &Suite, run: &str) {
    let dev = suite.client("user/dev");
    let mut request = ListStepsRequest { name: run.into(), page_size: 2, page_token: String::new() };
    let mut steps = Vec::new();
    loop {
        let page = dev.runs().list_steps(request.clone()).await.unwrap().into_inner();
        assert!(page.steps.len() <= 2, "{page:?}");
        steps.extend(page.steps);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let ids: Vec<&str> = steps.iter().map(|step| step.component.as_str()).collect();
    for id in ["go", "post", "sha", "answer"] {
        assert_eq!(ids.iter().filter(|known| **known == id).count(), 1, "{id} in {ids:?}");
    }
    let post = steps.iter().find(|step| step.component == "post").unwrap();
    assert!(!post.idempotency_key.is_empty() && post.r#type == "APICall", "{post:?}");
    assert!(
        post.end_time.is_some() && String::from_utf8_lossy(&post.output_json).contains("hello"),
        "{post:?}"
    );
    let said = say(suite.folder(), &["runs", "steps", run, "--json"]).await.ok().json();
    assert_eq!(said.as_array().unwrap().len(), steps.len(), "{said}");
}

async fn forked(suite: &Suite, server: &HttpServer, run: &str, answer: &Value) {
    let dev = suite.client("user/dev");
    // Only the hash is made again: the effect keeps its recorded output.
    let words = ["runs", "fork", run, "--at", "sha", "--set", "Data=other", "--json"];
    let forked = say(suite.folder(), &words).await.ok().json();
    let sha = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa";
    assert_eq!(forked, json!({ "sha256": sha, "response": answer["response"] }));
    assert_eq!(server.seen("/effect").len(), 1, "the effect was not repeated");
    // From the effect on, it is an effect of another run.
    let request = ForkRunRequest {
        agent: AGENT.into(),
        run: run.into(),
        at: "post".into(),
        set_json: r#"{"text":"changed"}"#.into(),
        ..ForkRunRequest::default()
    };
    let fork = dev.runs().fork_run(request).await.unwrap().into_inner();
    let fork = dev.reached(&fork.name, &[RunState::Done]).await;
    let seen = server.seen("/effect");
    assert_eq!(seen.len(), 2);
    assert!(seen[1].body.contains("changed"), "{:?}", seen[1]);
    assert_ne!(seen[0].header("idempotency-key"), seen[1].header("idempotency-key"));
    let forked = parsed(&fork.legacy_json);
    assert_eq!(forked["sha256"], answer["sha256"]);
    // A place that the run does not have.
    let request = ForkRunRequest {
        agent: AGENT.into(),
        run: run.into(),
        at: "nowhere".into(),
        ..ForkRunRequest::default()
    };
    let refused = dev.runs().fork_run(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert!(refused.message().contains("nowhere"), "{refused:?}");
}
