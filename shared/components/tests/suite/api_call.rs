//! APICall against the HTTP fixture.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use sre_components::{Call, LookedUp, registry};

use crate::context::{Suite, TestContext};
use crate::driver::{Agent, lone, result_of};
use crate::mock_http::MockHttp;

struct World {
    http: MockHttp,
    suite: Arc<Suite>,
}

impl World {
    async fn new() -> Self {
        let http = MockHttp::start().await;
        let suite = Suite::new(&[http.address.to_string()]);
        Self { http, suite }
    }

    /// Calls a path with some settings; `x` is the input.
    async fn call(&self, path: &str, settings: Json, input: Json) -> Json {
        let mut all = json!({"method": "POST", "url": format!("http://{}{path}", self.http.address)});
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let kind =
            if input.as_str().is_some_and(|text| text.starts_with("data:")) { "Binary" } else { "Any" };
        let outputs = json!([{"name": "Response", "default": true}]);
        let document = lone("APICall", all, json!([{"name": "x", "type": kind}]), outputs);
        result_of(&self.suite, &document, json!({ "x": input })).await
    }
}

#[tokio::test]
async fn status_and_headers_are_there() {
    let world = World::new().await;
    let result = world.call("/status/404", json!({"method": "GET"}), json!(1)).await;
    assert_eq!(result["_error"], "Request failed with status code 404");
    assert_eq!(result["Status"], 404);
    assert_eq!(result["Headers"]["content-type"], "application/json");
    assert_eq!(result["Response"], json!({"error": "status 404"}));
}

#[tokio::test]
async fn a_malformed_answer_is_kept() {
    let world = World::new().await;
    let result = world.call("/badjson", json!({"method": "GET"}), json!(1)).await;
    assert_eq!(result["Response"], Json::Null);
    assert_eq!(result["RawResponse"], "{\"broken\": ");
    assert_eq!(result["_error"], "Unexpected end of JSON input");
}

#[tokio::test]
async fn headers_are_lower_case_and_a_bad_one_is_refused() {
    let world = World::new().await;
    let settings = json!({"headers": {"X-Tok": "{{x}}", "Content-Type": "text/csv"}, "contentType": "text/plain", "body": "b"});
    let result = world.call("/echo", settings.clone(), json!("a b")).await;
    assert_eq!(result["Response"]["headers"]["x-tok"], "a b");
    assert_eq!(result["Response"]["headers"]["content-type"], "text/csv");
    let injected = world.call("/echo", settings, json!("a\r\nX-Vault: evil")).await;
    assert!(injected["_error"].as_str().unwrap().starts_with("Invalid character in header content"));
    let unterminated = json!({"method": "GET", "headers": "{\"X-Vault\":\"Bearer {{KEY(my-key)}}"});
    let repaired = world.call("/echo", unterminated, json!(1)).await;
    assert_eq!(repaired["Response"]["headers"]["x-vault"], "Bearer Hello vault");
    let unreadable = world.call("/echo", json!({"method": "GET", "headers": "not json"}), json!(1)).await;
    assert_eq!(unreadable["Response"]["headers"]["x-smyth-error"], "Error parsing headers");
}

#[tokio::test]
async fn bodies_are_rendered_whatever_their_type() {
    let world = World::new().await;
    for (content_type, body, sent) in [
        ("application/xml", json!("<a>{{x}}</a>"), "<a>v</a>"),
        ("none", json!("N:{{x}}{{nope}}"), "N:v"),
        ("none", json!({"k": "{{x}}"}), r#"{"k":"v"}"#),
        ("application/json", json!({"k": ["{{x}}", 1]}), r#"{"k":["v",1]}"#),
        (
            "application/x-www-form-urlencoded",
            json!({"k": "{{x}}", "o": {"a": 1}}),
            "k=v&o=%7B%22a%22%3A1%7D",
        ),
        ("text/plain", json!(""), ""),
    ] {
        let result =
            world.call("/echo", json!({"contentType": content_type, "body": body}), json!("v")).await;
        assert_eq!(result["Response"]["body"], sent, "{content_type}: {result}");
    }
}

#[tokio::test]
async fn a_post_without_body_has_length_zero() {
    let world = World::new().await;
    let result = world.call("/echo", json!({"contentType": "none", "body": ""}), json!(1)).await;
    assert_eq!(result["Response"]["headers"]["content-length"], "0");
    assert_eq!(result["Response"]["headers"]["content-type"], "application/x-www-form-urlencoded");
}

#[tokio::test]
async fn files_go_as_bytes_and_as_parts() {
    let world = World::new().await;
    let file = json!("data:text/plain;base64,SGVsbG8sIHdvcmxkIQ==");
    let result = world.call("/echo", json!({"contentType": "binary", "body": "{{x}}"}), file.clone()).await;
    assert_eq!(result["Response"]["body"], "Hello, world!");
    assert_eq!(result["Response"]["headers"]["content-type"], "text/plain");
    let parts = json!({"contentType": "multipart/form-data", "body": "{\"f\":\"{{x}}\",\"t\":\"lit {{greet}}\",\"b\":true}"});
    let result = world.call("/echo", parts, file).await;
    let body = result["Response"]["body"].as_str().unwrap();
    assert!(body.contains("Content-Type: text/plain\r\n\r\nHello, world!\r\n"), "{body}");
    assert!(
        body.contains("name=\"t\"\r\n\r\nlit Hello\r\n") && body.contains("name=\"b\"\r\n\r\ntrue\r\n"),
        "{body}"
    );
    let kind = result["Response"]["headers"]["content-type"].as_str().unwrap();
    assert!(kind.starts_with("multipart/form-data; boundary="));
}

#[tokio::test]
async fn binary_answers_are_stored() {
    let world = World::new().await;
    let result = world.call("/png", json!({"method": "GET"}), json!(1)).await;
    let file = &result["Response"];
    assert_eq!((&file["mimetype"], &file["size"]), (&json!("image/png"), &json!(8)));
    assert!(world.suite.files.lock().contains_key(file["url"].as_str().unwrap()));
    let empty = world.call("/empty", json!({"method": "GET"}), json!(1)).await;
    assert_eq!((&empty["Response"], &empty["Status"]), (&json!(""), &json!(204)));
}

#[tokio::test]
async fn inner_addresses_are_out_of_reach() {
    let world = World::new().await;
    let result =
        world.call("", json!({"method": "GET", "url": "http://169.254.169.254/latest"}), json!(1)).await;
    let error =
        "connect to 169.254.169.254:80 is not allowed by the egress policy: list it in [egress] allow";
    assert_eq!(result, json!({"Response": null, "Headers": {}, "_error": error}));
}

#[tokio::test]
async fn template_variables_of_a_record_are_put_in() {
    let world = World::new().await;
    let url = format!("http://{}/echo?k={{{{VARVAULTINPUT:Api Key:[\"\"]}}}}", world.http.address);
    let settings = json!({"method": "GET", "url": url, "_templateVars": {"ID1": "{{KEY(my-key)}}"}});
    let mut document = lone("APICall", settings, json!([{"name": "x", "type": "Any"}]), json!([]));
    document["components"][1]["template"] = json!({"settings": {"ID1": {"id": "ID1", "label": "Api Key"}}});
    let result = result_of(&world.suite, &document, json!({"x": 1})).await;
    assert_eq!(result["Response"]["query"], json!({"k": "Hello vault"}));
}

/// A context in which one APICall looks up what became of its request.
async fn looked_up(world: &World, lookup_url: &str) -> LookedUp {
    let settings = json!({"method": "POST", "url": "http://unused.invalid/", "lookupUrl": lookup_url,
        "headers": {"X-Tok": "{{x}}"}, "onUncertain": "lookup"});
    let document = lone("APICall", settings, json!([{"name": "x"}]), json!([{"name": "Response"}]));
    let agent = Agent::new(&document, world.suite.clone());
    let node = agent.plan.node("C").unwrap().clone();
    let context = TestContext::new(agent);
    let input = [("x".into(), "tok".into())].into();
    registry()
        .component("APICall")
        .unwrap()
        .look_up(Call { input: &input, node: &node, context: &context })
        .await
}

#[tokio::test]
async fn whether_a_request_was_received_is_asked_for() {
    let world = World::new().await;
    let base = format!("http://{}", world.http.address);
    let LookedUp::Happened(outcome) =
        looked_up(&world, &format!("{base}/echo?key={{{{idempotencyKey}}}}")).await
    else {
        panic!("a success is an answer")
    };
    let output = serde_json::to_value(outcome.output.unwrap()).unwrap();
    assert_eq!(output["Response"]["method"], "GET", "nothing is started: {output}");
    assert_eq!(output["Response"]["headers"]["x-tok"], "tok", "{output}");
    assert!(output["Response"].to_string().contains("key=key"), "{output}");
    assert_eq!(looked_up(&world, &format!("{base}/status/404")).await, LookedUp::NotHappened);
    for (url, why) in [(format!("{base}/status/500"), "status code 500"), (String::new(), "`lookupUrl`")] {
        let LookedUp::Unknown(said) = looked_up(&world, &url).await else { panic!("{url:?} says nothing") };
        assert!(said.contains(why), "{said}");
    }
}
