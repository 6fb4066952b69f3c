//! Requests of other services at `/trigger/<endpoint>`, signed or not, with key and agent in the address as senders
//! need it.

use reqwest::StatusCode;
use serde_json::{Value, json};
use sre_proto::gateway::v1::RunState;

use crate::harness::agents::{api_call, document, output};
use crate::harness::clients::json as parsed;
use crate::harness::http_server::HttpServer;
use crate::harness::process::say;
use crate::harness::{Mode, Options, Suite, in_both_modes, logs};

in_both_modes!(triggers);

const AGENT: &str = "teams/default/agents/hooked";
const SECRET: &str = "of the sender";
const BODY: &str = r#"{"n":1}"#;
/// HMAC-SHA-256 of [`BODY`] under [`SECRET`].
const SIGNATURE: &str = "sha256=309650f29f9be1e999a255ab17449322b59930c8a76be8d20bc799cb174b8e1d";

fn trigger(id: &str, settings: Value) -> Value {
    let mut data = json!({
        "triggerEndpoint": id, "secret": "{{KEY(webhook)}}", "signatureHeader": "X-Hub-Signature-256",
        "signaturePrefix": "sha256=", "idHeader": "X-Delivery",
    });
    data.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    json!({
        "id": id, "name": "WebhookTrigger", "displayName": id, "title": id, "data": data, "inputs": [],
        "outputs": [
            { "name": "Payload", "default": true }, { "name": "Result", "default": true },
            { "name": "Payload.body.n", "expression": "Payload.body.n", "default": false },
        ],
    })
}

/// Sends on what it is told, so that each run can be counted.
fn hooked(server: &HttpServer) -> Value {
    let send =
        |id: &str| api_call(id, &server.url(&format!("/{id}")), json!({}), json!({ "n": "{{n}}" }), &["n"]);
    document(
        "hooked",
        json!({}),
        &[
            trigger("orders", json!({})),
            trigger("later", json!({ "respond": "atOnce" })),
            send("told"),
            send("told-later"),
            output("answer", &["count"]),
        ],
        &[
            "orders.Payload.body.n > told.n",
            "later.Payload.body.n > told-later.n",
            "told.Response > answer.count",
        ],
    )
}

async fn triggers(mode: Mode) {
    let server = HttpServer::start().await;
    let options = Options::default().set("egress.allow", format!("[\"{}\"]", server.address()));
    let suite = Suite::start("triggers", mode, options).await;
    let secret = suite.folder().join("webhook.secret");
    std::fs::write(&secret, SECRET).unwrap();
    say(suite.folder(), &["vault", "put", "webhook", "--file", secret.to_str().unwrap()]).await.ok();
    let dev = suite.client("user/dev");
    dev.put(AGENT, &hooked(&server)).await.unwrap();

    let (http, key) = (reqwest::Client::new(), suite.dev_key());
    let post = |path: &str, delivery: &str, signature: &str| {
        let request = http.post(format!("http://{}{path}", suite.address("http"))).body(BODY);
        let request = request.header("content-type", "application/json").header("x-delivery", delivery);
        request.header("x-hub-signature-256", signature)
    };
    let at = |endpoint: &str| format!("/trigger/{endpoint}?shop=7&key={key}&agent=hooked");

    let first = answered(post(&at("orders"), "d-1", SIGNATURE)).await;
    assert_eq!(first.0, StatusCode::OK, "{first:?}");
    assert_eq!(server.seen("/told").len(), 1, "{first:?}");
    assert_eq!(parsed(server.seen("/told")[0].body.as_bytes())["n"].to_string().trim_matches('"'), "1");
    // What comes again is answered as before, and does nothing.
    assert_eq!(answered(post(&at("orders"), "d-1", SIGNATURE)).await, first);
    assert_eq!(server.seen("/told").len(), 1);
    // As other callers say who they are.
    let said = post("/trigger/orders", "d-2", SIGNATURE).bearer_auth(&key).header("x-agent-id", "hooked");
    assert_eq!(answered(said).await.0, StatusCode::OK);
    assert_eq!(server.seen("/told").len(), 2);

    for (path, signature, status) in [
        (at("orders"), "sha256=00", StatusCode::UNAUTHORIZED),
        (at("orders"), "", StatusCode::UNAUTHORIZED),
        (at("nothing"), SIGNATURE, StatusCode::NOT_FOUND),
        ("/trigger/orders?agent=hooked".to_owned(), SIGNATURE, StatusCode::UNAUTHORIZED),
        ("/trigger/orders?agent=hooked&key=sre_wrong".to_owned(), SIGNATURE, StatusCode::UNAUTHORIZED),
        (format!("/trigger/orders?agent=nobody&key={key}"), SIGNATURE, StatusCode::NOT_FOUND),
        (format!("/trigger/orders?agent=a/b&key={key}"), SIGNATURE, StatusCode::BAD_REQUEST),
    ] {
        let refused = answered(post(&path, "d-3", signature)).await;
        assert_eq!(refused.0, status, "{path} {signature}: {}", refused.1);
    }
    let get = http.get(format!("http://{}{}", suite.address("http"), at("orders")));
    assert_eq!(answered(get).await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(server.seen("/told").len(), 2, "what is refused runs nothing");

    // A sender in a hurry hears at once which run it is.
    let (status, text) = answered(post(&at("later"), "d-1", SIGNATURE)).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let run = parsed(text.as_bytes())["run"].as_str().unwrap().to_owned();
    dev.reached(&run, &[RunState::Done]).await;
    assert_eq!(server.seen("/told-later").len(), 1);

    let folder = suite.folder().to_owned();
    suite.stop().await;
    for secret in [SECRET, key.as_str()] {
        assert_eq!(logs::count(&folder, secret), 0, "a log holds what the sender proved itself with");
    }
}

async fn answered(request: reqwest::RequestBuilder) -> (StatusCode, String) {
    let response = request.send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}
