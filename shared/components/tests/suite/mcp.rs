//! MCPClient against servers built with the official SDKs for Python and TypeScript, of today's protocol revision and
//! of the one before, over HTTP, over the older HTTP with events, and over pipes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use sre_components::context::commands::ListedCommand;

use crate::context::Suite;
use crate::driver::{lone, result_of};
use crate::tools::{Opened, open, seen, server};

fn suite_for(url: &str) -> Arc<Suite> {
    Suite::new(&[url.strip_prefix("http://").unwrap().to_owned()])
}

/// The header keeps the list of one test from another's.
fn settings(url: &str, path: &str, test: &str) -> Json {
    json!({"mcpUrl": format!("{url}{path}"), "name": "", "headers": {"x-test": test}})
}

async fn both(test: &str, path: &str, check: impl AsyncFn(Opened, String)) {
    for variable in ["SRE_TEST_MCP_PYTHON", "SRE_TEST_MCP_NODE"] {
        let Some(url) = server(variable) else { continue };
        let opened = open(&suite_for(&url), "MCPClient", settings(&url, path, test)).await;
        let opened = opened.unwrap_or_else(|error| panic!("{variable}: {error}"));
        check(opened, url).await;
    }
}

#[tokio::test]
async fn d35_tools_have_their_whole_schema_and_a_failure_is_one() {
    both("whole", "/mcp", async |opened, _| {
        assert!(opened.names().contains(&"add") && opened.names().contains(&"greet"), "{:?}", opened.names());
        let add = opened.parameters("add");
        assert!(add["properties"]["a"]["type"].is_string(), "{add}");
        let greet = opened.parameters("greet").to_string();
        assert!(greet.contains("\"loud\""), "an enum in a nested schema is there: {greet}");
        assert_eq!(opened.call("add", json!({"a": 2, "b": 3})).await.text, "5");
        let loud = json!({"person": {"name": "Ada", "tone": "loud"}});
        let greeted = opened.call("greet", loud).await;
        assert_eq!((greeted.text.to_uppercase().as_str(), greeted.failed), ("HELLO ADA", false));
        let failed = opened.call("fail", json!({})).await;
        assert!(failed.failed && failed.text.contains("it went wrong"), "{failed:?}");
        assert!(opened.call("nope", json!({})).await.failed);
        opened.tools.close().await;
    })
    .await;
}

#[tokio::test]
async fn d35_a_server_that_knows_only_the_older_transport_is_reached() {
    both("older", "/sse", async |opened, url| {
        assert_eq!(opened.call("add", json!({"a": 4, "b": 5})).await.text, "9");
        opened.tools.close().await;
        assert!(seen(&url).await.keys().any(|name| name.starts_with("POST /messages")));
    })
    .await;
}

#[tokio::test]
async fn d35_a_session_is_ended() {
    let Some(url) = server("SRE_TEST_MCP_NODE") else { return };
    let ended = async |url: &str| seen(url).await.get("ended: DELETE /mcp").copied().unwrap_or_default();
    let before = ended(&url).await;
    let opened = open(&suite_for(&url), "MCPClient", settings(&url, "/mcp", "ended")).await.unwrap();
    opened.call("add", json!({"a": 1, "b": 1})).await;
    opened.tools.close().await;
    assert!(ended(&url).await > before, "{:?}", seen(&url).await);
}

#[tokio::test]
async fn d35_programs_that_are_listed_are_started_and_no_others() {
    for variable in ["SRE_TEST_MCP_PYTHON_STDIO", "SRE_TEST_MCP_NODE_STDIO"] {
        let Some(command) = server(variable) else { continue };
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        let suite = Suite::new(&[]);
        let listed = ListedCommand {
            program: words[0].clone(),
            arguments: words[1..].to_vec(),
            environment: Vec::new(),
        };
        suite.commands.lock().insert("sums".into(), listed);
        let opened = open(&suite, "MCPClient", json!({"mcpCommand": "sums", "name": ""})).await.unwrap();
        assert_eq!(opened.call("add", json!({"a": 7, "b": 5})).await.text, "12");
        let began = Instant::now();
        opened.tools.close().await;
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        let refused =
            open(&suite, "MCPClient", json!({"mcpCommand": "/bin/sh", "name": ""})).await.err().unwrap();
        assert!(refused.contains("is not listed"), "{refused}");
    }
}

#[tokio::test]
async fn d35_headers_come_from_the_vault() {
    let Some(url) = server("SRE_TEST_MCP_PYTHON") else { return };
    let suite = suite_for(&url);
    let mut private = settings(&url, "/private/mcp", "private");
    let refused = open(&suite, "MCPClient", private.clone()).await.err().unwrap();
    assert!(refused.contains("wants credentials (401)"), "{refused}");
    private["headers"] = json!({"Authorization": "Bearer {{KEY(mcp)}}"});
    let missing = open(&suite, "MCPClient", private.clone()).await.err().unwrap();
    assert_eq!(missing, "Vault key 'mcp' not found");
    let mut vault = Suite::new(&[url.strip_prefix("http://").unwrap().to_owned()]);
    Arc::get_mut(&mut vault).unwrap().vault.insert("mcp".into(), "top-secret".into());
    let opened = open(&vault, "MCPClient", private).await.unwrap();
    assert_eq!(opened.call("add", json!({"a": 1, "b": 1})).await.text, "2");
    opened.tools.close().await;
}

#[tokio::test]
async fn a_list_is_kept_until_its_server_says_that_it_changed() {
    let Some(url) = server("SRE_TEST_MCP_NODE") else { return };
    let suite = suite_for(&url);
    let asked = async || seen(&url).await.get("kept: POST /mcp").copied().unwrap_or_default();
    let first = open(&suite, "MCPClient", settings(&url, "/mcp", "kept")).await.unwrap();
    let before = asked().await;
    let second = open(&suite, "MCPClient", settings(&url, "/mcp", "kept")).await.unwrap();
    assert_eq!(asked().await, before, "the second one asked nobody");
    assert_eq!(second.names(), first.names());
    assert!(!first.names().contains(&"grown"));
    assert_eq!(first.call("grow", json!({})).await.text, "there is one more");
    // What a server says by itself arrives beside its answers.
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let third = open(&suite, "MCPClient", settings(&url, "/mcp", "kept")).await.unwrap();
        third.tools.close().await;
        if asked().await > before + 3 {
            break;
        }
        assert!(Instant::now() < until, "the list was not asked for again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    first.tools.close().await;
    second.tools.close().await;
}

#[tokio::test]
async fn an_agent_may_use_the_tools_that_its_author_allows() {
    both("allowed", "/mcp", async |opened, url| {
        opened.tools.close().await;
        let mut some = settings(&url, "/mcp", "allowed");
        some["tools"] = json!("add, fail");
        let some_open = open(&suite_for(&url), "MCPClient", some.clone()).await.unwrap();
        assert_eq!(some_open.names(), ["add", "fail"]);
        assert!(some_open.call("greet", json!({"person": {"name": "x"}})).await.failed);
        some_open.tools.close().await;
        some["tools"] = json!("add, minus");
        let refused = open(&suite_for(&url), "MCPClient", some).await.err().unwrap();
        assert!(refused.contains("no tool \"minus\""), "{refused}");
    })
    .await;
}

#[tokio::test]
async fn d35_a_tool_that_takes_too_long_is_given_up() {
    let Some(url) = server("SRE_TEST_MCP_PYTHON") else { return };
    let mut slow = settings(&url, "/mcp", "slow");
    slow["toolTimeout"] = json!(1);
    let opened = open(&suite_for(&url), "MCPClient", slow).await.unwrap();
    let began = Instant::now();
    let answer = opened.call("slow", json!({"seconds": 20})).await;
    assert!(answer.failed && answer.text.contains("longer than 1 s"), "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
    opened.tools.close().await;
}

#[tokio::test]
async fn d35_a_server_that_is_away_is_named_and_inner_addresses_are_refused() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let suite = Suite::new(&[nobody.to_string()]);
    let mcp = |url: String| json!({ "mcpUrl": url, "name": "" });
    let away = open(&suite, "MCPClient", mcp(format!("http://{nobody}/mcp"))).await.err().unwrap();
    assert!(away.contains("ECONNREFUSED"), "{away}");
    let closed = Suite::new(&[]);
    for url in [
        "http://127.0.0.1/mcp",
        "http://[::ffff:127.0.0.1]/mcp",
        "http://2130706433/mcp",
        "http://localhost/mcp",
    ] {
        let refused = open(&closed, "MCPClient", mcp(url.to_owned())).await.err().unwrap();
        assert!(refused.contains("not allowed by the egress policy"), "{url}: {refused}");
    }
    for (url, words) in [("file:///etc/passwd", "begins with http"), ("no url", "is no URL")] {
        let refused = open(&closed, "MCPClient", mcp(url.to_owned())).await.err().unwrap();
        assert!(refused.contains(words), "{refused}");
    }
}

fn component(settings: Json) -> Json {
    lone(
        "MCPClient",
        settings,
        json!([{"name": "Prompt", "type": "Any"}]),
        json!([{"name": "Output", "default": true}]),
    )
}

#[tokio::test]
async fn it_asks_a_model_that_has_the_tools() {
    let suite = Suite::new(&[]);
    suite.calls.texts.lock().push_back(Ok("{\"sum\": 5}".into()));
    let settings = json!({"mcpUrl": "http://h/mcp", "name": "", "model": "mock-gpt", "prompt": "Do: {{Prompt}}",
        "descForModel": "{{greet}}"});
    let got = result_of(&suite, &component(settings), json!({"Prompt": "2+3"})).await;
    assert_eq!(got, json!({"Output": "{\"sum\": 5}"}), "the answer is a text, whatever it holds");
    let talk = suite.calls.talks.lock()[0].clone();
    assert_eq!((talk.prompt.as_str(), talk.instructions.as_str()), ("Do: 2+3", "Hello"));
    assert!(talk.own_tools.unwrap().contains_key("Prompt"));
}

#[tokio::test]
async fn it_fails_in_the_words_of_the_reference() {
    let suite = Suite::new(&[]);
    let error = async |settings: Json, body: Json| {
        result_of(&suite, &component(settings), body).await["_error"].as_str().unwrap().to_owned()
    };
    let url = json!({"mcpUrl": "http://h/mcp", "name": "", "model": "mock-gpt"});
    assert_eq!(
        error(json!({"mcpUrl": "", "name": ""}), json!({"Prompt": "x"})).await,
        "Please provide a MCP URL!"
    );
    assert_eq!(error(url.clone(), json!({"Prompt": ""})).await, "Please provide a prompt");
    assert_eq!(
        error(json!({"mcpUrl": "http://h/", "name": "", "model": "nope"}), json!({"Prompt": "x"})).await,
        "Error on running MCP Client!\nThe model 'nope' is not available. Please try a different one."
    );
    assert_eq!(
        error(url, json!({"Prompt": "x"})).await,
        "Error on running MCP Client!\n LLM Error = Empty Response!"
    );
}
