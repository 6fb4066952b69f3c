//! A secret goes everywhere an agent can take it, and stays in clear nowhere that is written.

use base64::Engine as _;
use serde_json::{Value, json};
use sre_proto::gateway::v1::run_event::Event;
use sre_proto::observability::v1::ListEntriesRequest;
use sre_proto::observability::v1::log_client::LogClient;

use crate::harness::agents::{api_call, component, document, endpoint, output};
use crate::harness::clients::{json, run_request};
use crate::harness::http_server::HttpServer;
use crate::harness::{CANARY, Mode, Options, Suite, in_both_modes, process};

in_both_modes!(canary);

const AGENT: &str = "teams/default/agents/secretive";
/// How a document names the secret.
const REFERENCE: &str = "{{KEY(canary)}}";

/// Uses the secret in a variable, a header, a body, a signature, and a call that fails.
fn secretive(server: &HttpServer) -> Value {
    let headers = json!({ "x-canary": REFERENCE, "authorization": "Bearer {{TOKEN}}" });
    let body = json!({ "text": "{{text}}", "token": "{{TOKEN}}" });
    document(
        "secretive",
        json!({ "TOKEN": REFERENCE }),
        &[
            endpoint("use", "POST", &[("text", "Text")]),
            api_call("echo", &server.url("/echo"), headers.clone(), body.clone(), &["text"]),
            api_call("fail", &server.url("/fail"), headers, body, &["text"]),
            component(
                "sign",
                "FSign",
                json!({
                    "signMethod": "HMAC", "key": REFERENCE, "dataTransform": "None", "hashType": "sha256",
                    "encoding": "hex",
                }),
                &["Data"],
                &["Signature"],
            ),
            component(
                "say",
                "GenAILLM",
                json!({ "model": "Echo", "prompt": "{{text}} {{TOKEN}}" }),
                &["text"],
                &["Reply"],
            ),
            output("answer", &["echoed", "signature", "said"]),
        ],
        &[
            "use.text > echo.text",
            "use.text > fail.text",
            "use.text > sign.Data",
            "use.text > say.text",
            "echo.Response > answer.echoed",
            "sign.Signature > answer.signature",
            "say.Reply > answer.said",
        ],
    )
}

async fn canary(mode: Mode) {
    let server = HttpServer::start().await;
    let options = Options::default()
        .set("egress.allow", format!("[\"{}\"]", server.address()))
        .set("telemetry.level", "debug");
    let suite = Suite::start("canary", mode, options).await;
    let dev = suite.client("user/dev");
    dev.put_canary().await;
    dev.put(AGENT, &secretive(&server)).await.unwrap();

    let mut request = run_request(AGENT, "use", &json!({ "text": "hello" }));
    request.request_id = "once".into();
    let answer = json(&dev.runs().run_skill(request.clone()).await.unwrap().into_inner().legacy_json);
    the_server_saw_it(&server, 1);
    // The caller gets the answer as it is.
    assert!(answer.to_string().contains(CANARY), "the echoed secret is the caller's: {answer}");

    let run = dev.start(AGENT, "use", &json!({ "text": "hello" })).await.unwrap();
    let events = dev.watch(&run.name).await.unwrap();
    the_server_saw_it(&server, 2);
    let mut finished = 0;
    for event in &events {
        match event.event.as_ref().unwrap() {
            // The answer again; see below.
            Event::RunEnded(_) => {}
            Event::ComponentFinished(done) => {
                finished += 1;
                assert_clean(&done.output_json);
                assert_clean(done.error.as_bytes());
            }
            other => assert_clean(format!("{other:?}").as_bytes()),
        }
    }
    assert!(finished >= 5, "{events:?}");
    // For others who may see the run, its answer holds the reference.
    let seen = dev.get_run(&run.name).await.unwrap();
    assert_clean(&seen.legacy_json);
    // Repeated for the caller it is unchanged, and nothing is called again.
    let again = dev.runs().run_skill(request).await.unwrap().into_inner();
    assert_eq!(json(&again.legacy_json), answer, "a repeated answer is unchanged");
    the_server_saw_it(&server, 2);

    let mut log = LogClient::new(suite.channel("user/dev", "edge"));
    let list = ListEntriesRequest { parent: AGENT.into(), ..ListEntriesRequest::default() };
    let lines = log.list_entries(list).await.unwrap().into_inner();
    assert_clean(format!("{lines:?}").as_bytes());

    let folder = suite.folder().to_owned();
    suite.stop().await;
    for path in files(&folder) {
        let bytes = std::fs::read(&path).unwrap();
        assert!(!holds(&bytes), "{} holds the secret in clear", path.display());
    }
    std::fs::write(process::kept().join("canary-used"), "").unwrap();
}

/// Both endpoints got it in a header and in the body, as it is.
fn the_server_saw_it(server: &HttpServer, times: usize) {
    for path in ["/echo", "/fail"] {
        let seen = server.seen(path);
        assert_eq!(seen.len(), times, "{path} was called {} times", seen.len());
        for request in seen {
            assert_eq!(request.header("x-canary"), CANARY, "{path}");
            assert_eq!(request.header("authorization"), format!("Bearer {CANARY}"), "{path}");
            assert!(request.body.contains(CANARY), "{path}: {}", request.body);
        }
    }
}

fn assert_clean(bytes: &[u8]) {
    assert!(!holds(bytes), "holds the secret in clear: {}", String::from_utf8_lossy(bytes));
}

/// Whether the secret is in there: as it is, in base64, in hexadecimal.
fn holds(bytes: &[u8]) -> bool {
    let base64 = base64::engine::general_purpose::STANDARD_NO_PAD.encode(CANARY);
    let hexadecimal: String = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect();
    [CANARY.to_owned(), base64, hexadecimal]
        .iter()
        .any(|form| bytes.windows(form.len()).any(|part| part == form.as_bytes()))
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
