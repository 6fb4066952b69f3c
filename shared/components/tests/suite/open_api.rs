//! OpenAPI documents: fetched and called over real HTTP.

use std::sync::Arc;

use axum::Json as Answer;
use axum::Router;
use axum::extract::{FromRequest as _, Request};
use axum::response::{IntoResponse as _, Redirect, Response};
use http::StatusCode;
use serde_json::{Value as Json, json};
use sre_engine::Binary;
use tokio::task::JoinSet;

use crate::context::Suite;
use crate::driver::{lone, result_of};
use crate::tools::open;

/// A service with a document, which answers what it received.
struct Service {
    url: String,
    suite: Arc<Suite>,
    _serving: JoinSet<()>,
}

async fn service() -> Service {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
    let mut suite = Suite::new(std::slice::from_ref(&address));
    Arc::get_mut(&mut suite).unwrap().vault.insert("api".into(), "top-secret".into());
    Service { url: format!("http://{address}"), suite, _serving: serving }
}

async fn answer(request: Request) -> Response {
    let (parts_of, body) = request.into_parts();
    let path = parts_of.uri.path().to_owned();
    match path.as_str() {
        "/spec.yaml" => return SPEC.into_response(),
        "/spec.json" => return Answer(document()).into_response(),
        "/huge" => return "x".repeat(5 << 20).into_response(),
        "/v1/away" => return Redirect::temporary("http://127.0.0.1:1/").into_response(),
        "/inner" => return Redirect::temporary("http://127.0.0.1:1/spec.json").into_response(),
        "/v1/refused" => return (StatusCode::CONFLICT, "taken").into_response(),
        "/v1/photos" => return Answer(parts(Request::from_parts(parts_of, body)).await).into_response(),
        "/v1/slow" => tokio::time::sleep(std::time::Duration::from_secs(30)).await,
        _ => {}
    }
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let header =
        |name: &str| parts_of.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Answer(json!({"method": parts_of.method.as_str(), "uri": parts_of.uri.to_string(), "body": String::from_utf8_lossy(&body),
        "authorization": header("authorization"), "key": header("x-key"), "cookie": header("cookie"),
        "type": header("content-type")}))
    .into_response()
}

const SPEC: &str = "openapi: 3.0.3\ninfo: {title: Shop, description: Sells things.}\nservers: [{url: /v1}]\n\
    paths:\n  /things:\n    get: {}\n    post:\n      operationId: sell\n      requestBody:\n        content:\n          \
    application/x-www-form-urlencoded:\n            schema: {$ref: '#/components/schemas/Thing'}\n\
    components:\n  schemas:\n    Thing:\n      type: object\n      properties:\n        name: {type: string}\n        \
    parts: {type: array, items: {$ref: '#/components/schemas/Thing'}}\n";

fn document() -> Json {
    let operation = |id: &str| json!({ "get": { "operationId": id } });
    json!({"openapi": "3.1.0", "info": {"title": "T"}, "servers": [{"url": "/v1"}],
        "paths": {"/things/{id}": operation("look"), "/away": operation("away"), "/refused": operation("refused"),
            "/slow": operation("slow"), "/photos": {"post": {"operationId": "upload", "requestBody": {"content": {
                "multipart/form-data": {"schema": {"type": "object", "properties": {
                    "photo": {"type": "string", "format": "binary", "description": "a picture"},
                    "more": {"type": "array", "items": {"type": "string", "format": "binary"}},
                    "title": {"type": "string"}}}}}}}},
            "/raw": {"put": {"operationId": "put", "requestBody": {"content": {"application/octet-stream": {}}}}}},
        "components": {"securitySchemes": {"k": {"type": "apiKey", "name": "X-Key", "in": "header"}}}})
}

fn settings(service: &Service, path: &str, more: Json) -> Json {
    let mut settings =
        json!({"specUrl": format!("{}{path}", service.url), "descForModel": "", "name": "Shop", "desc": ""});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    settings
}

#[tokio::test]
async fn d36_a_document_in_yaml_with_a_cycle_and_a_form_is_called() {
    let service = service().await;
    let opened = open(&service.suite, "OpenAPI", settings(&service, "/spec.yaml", json!({}))).await.unwrap();
    assert_eq!(opened.names(), ["get_things", "sell"]);
    let about = opened.tools.about();
    assert_eq!((about.name.as_str(), about.description.as_str()), ("Shop", "Sells things."));
    let sold = opened.call("sell", json!({"body": {"name": "a b"}})).await;
    let sold: Json = serde_json::from_str(&sold.text).unwrap();
    assert_eq!((sold["uri"].as_str(), sold["body"].as_str()), (Some("/v1/things"), Some("name=a+b")));
    assert_eq!(sold["type"], "application/x-www-form-urlencoded");
}

#[tokio::test]
async fn d36_the_agent_says_who_it_is() {
    let service = service().await;
    for (auth, place, value) in [
        (json!({"authentication": "bearer"}), "authorization", "Bearer top-secret"),
        (json!({"authentication": "basic", "authUser": "me"}), "authorization", "Basic bWU6dG9wLXNlY3JldA=="),
        (json!({"authentication": "apiKey"}), "key", "top-secret"),
        (
            json!({"authentication": "apiKey", "authKeyName": "k", "authKeyIn": "query"}),
            "uri",
            "/v1/things/1?k=top-secret",
        ),
        (
            json!({"authentication": "apiKey", "authKeyName": "k", "authKeyIn": "cookie"}),
            "cookie",
            "k=top-secret",
        ),
        (json!({"headers": {"X-Key": "{{KEY(api)}}"}}), "key", "top-secret"),
    ] {
        let mut more = auth.clone();
        more["authToken"] = json!("{{KEY(api)}}");
        let opened = open(&service.suite, "GPTPlugin", settings(&service, "/spec.json", more)).await;
        // The path has a parameter that the document does not describe: it stays as it is.
        let opened = opened.unwrap_or_else(|error| panic!("{auth}: {error}"));
        let answer = opened.call("look", json!({})).await;
        let answer: Json = serde_json::from_str(&answer.text).unwrap();
        let got = answer[place].as_str().unwrap().replace("%7Bid%7D", "1");
        assert_eq!(got, value, "{auth}");
    }
    let missing =
        settings(&service, "/spec.json", json!({"authentication": "bearer", "authToken": "{{KEY(no)}}"}));
    assert_eq!(open(&service.suite, "OpenAPI", missing).await.err().unwrap(), "Vault key 'no' not found");
}

#[tokio::test]
async fn d36_failures_timeouts_and_redirects_are_told_to_the_model() {
    let service = service().await;
    let more = json!({"toolTimeout": 1, "authentication": "apiKey", "authToken": "x", "operations": "away,refused,slow"});
    let opened = open(&service.suite, "OpenAPI", settings(&service, "/spec.json", more)).await.unwrap();
    assert_eq!(opened.names().len(), 3);
    assert!(opened.call("look", json!({})).await.failed, "an operation that is not allowed is not there");
    let refused = opened.call("refused", json!({})).await;
    assert!(refused.failed && refused.text.contains("status code 409: taken"), "{refused:?}");
    let away = opened.call("away", json!({})).await;
    assert!(away.failed && away.text.contains("not followed"), "{away:?}");
    let slow = opened.call("slow", json!({})).await;
    assert!(slow.failed && slow.text.contains("timeout of 1000ms"), "{slow:?}");
    opened.cancel();
    assert!(opened.call("slow", json!({})).await.text.contains("Agent killed"));
}

/// A form as a server reads it: name, file name, type and bytes of each part.
async fn parts(request: Request) -> Vec<(String, String, String, Vec<u8>)> {
    let mut form = axum::extract::Multipart::from_request(request, &()).await.unwrap();
    let mut parts = Vec::new();
    while let Some(field) = form.next_field().await.unwrap() {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let (name, file, kind) = (text(field.name()), text(field.file_name()), text(field.content_type()));
        parts.push((name, file, kind, field.bytes().await.unwrap().to_vec()));
    }
    // Fields of one name stay in their order.
    parts.sort_by(|one, other| one.0.cmp(&other.0));
    parts
}

#[tokio::test]
async fn files_go_as_parts_with_their_names_and_types() {
    const FILE: &str = "smythfs://default.team/lone/_temp/cat.png";
    const PNG: [u8; 6] = [137, 80, 78, 71, 13, 10];
    let service = service().await;
    let file = Binary { name: "cat.png".into(), mimetype: "image/png".into(), data: PNG.to_vec().into() };
    service.suite.files.lock().insert(FILE.into(), file);
    let opened = open(&service.suite, "OpenAPI", settings(&service, "/spec.json", json!({}))).await.unwrap();
    let told = &opened.parameters("upload")["properties"]["body"]["properties"];
    assert_eq!(told["photo"]["description"], "a picture (a file: its smythfs:// address, or a data URL)");
    assert!(told["more"]["items"]["description"].as_str().unwrap().starts_with("a file"), "{told}");
    let stored = json!({"url": FILE, "name": "own \"name\".png", "mimetype": "image/png", "size": 6});
    let body = json!({"photo": FILE, "more": ["data:text/plain;base64,aGk=", stored], "title": "a: b"});
    let answer = opened.call("upload", json!({ "body": body })).await;
    let answer: Json = serde_json::from_str(&answer.text).unwrap_or_else(|_| panic!("{answer:?}"));
    let expected = json!([
        ["more", "file.txt", "text/plain", b"hi"],
        ["more", "own %22name%22.png", "image/png", PNG],
        ["photo", "cat.png", "image/png", PNG],
        ["title", "", "", b"a: b"],
    ]);
    assert_eq!(answer, expected);
    // Bytes that are the whole body.
    let answer = opened.call("put", json!({"body": "data:image/gif;base64,R0lGODlh"})).await;
    let answer: Json = serde_json::from_str(&answer.text).unwrap();
    assert_eq!((&answer["body"], &answer["type"]), (&json!("GIF89a"), &json!("application/octet-stream")));
    // What the agent may not read is not sent.
    let refused = opened.call("upload", json!({"body": {"photo": "smythfs://other.team/a/b.png"}})).await;
    assert!(refused.failed && refused.text.contains("Access Denied"), "{refused:?}");
    let broken = opened.call("upload", json!({"body": {"photo": "data:image/png;base64,?"}})).await;
    assert!(broken.failed && broken.text.contains("photo is no data URL"), "{broken:?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_document_is_said() {
    let service = service().await;
    for (path, more, words) in [
        ("/huge", json!({}), "more than 4194304 bytes"),
        ("/v1/refused", json!({}), "HTTP 409"),
        ("/other", json!({}), "no OpenAPI 3 document"),
        ("/spec.json", json!({"operations": "look, nope"}), "no operation \"nope\""),
        ("/spec.json", json!({"authentication": "bearer"}), "authToken is empty"),
        ("/spec.json", json!({"headers": {"host": "evil"}}), "set by the client itself"),
        ("/spec.json", json!({"headers": {"a b": "x"}}), "is no name of a header"),
    ] {
        let error = open(&service.suite, "OpenAPI", settings(&service, path, more)).await.err().unwrap();
        assert!(error.contains(words), "{path}: {error}");
    }
    let refused = async |suite: &Arc<Suite>, url: &str| {
        let settings = json!({"specUrl": url, "descForModel": "", "name": "", "desc": ""});
        let error = open(suite, "OpenAPI", settings).await.err().unwrap();
        assert!(error.contains("not allowed by the egress policy"), "{url}: {error}");
    };
    let closed = Suite::new(&[]);
    for url in
        ["http://127.0.0.1/s", "http://[::ffff:127.0.0.1]/s", "http://2130706433/s", "http://localhost/s"]
    {
        refused(&closed, url).await;
    }
    // A redirect leads no further than the policy does.
    refused(&service.suite, &format!("{}/inner", service.url)).await;
}

#[tokio::test]
async fn it_fails_in_the_words_of_the_reference() {
    let suite = Suite::new(&[]);
    let error = async |url: &str, body: Json| {
        let settings =
            json!({"specUrl": url, "descForModel": "", "name": "", "desc": "", "model": "mock-gpt"});
        let inputs = json!([{"name": "Prompt", "type": "Any", "optional": true}, {"name": "Query", "type": "Any", "optional": true}]);
        let document = lone("OpenAPI", settings, inputs, json!([{"name": "Output", "default": true}]));
        let got = result_of(&suite, &document, body).await;
        got["_error"].as_str().map_or_else(|| got["Output"].as_str().unwrap().to_owned(), str::to_owned)
    };
    assert_eq!(error("", json!({"Query": "x"})).await, "Please provide a Open API Specification URL!");
    assert_eq!(error("http://h/s", json!({"Query": ""})).await, "Please provide a prompt");
    assert_eq!(
        error("http://h/s", json!({"Query": "x"})).await,
        "Error on running Open API!\n LLM Error = Empty Response!"
    );
    suite.calls.texts.lock().push_back(Ok("fine".into()));
    assert_eq!(error("http://h/s", json!({"Query": "x"})).await, "fine");
    assert_eq!(suite.calls.talks.lock().last().unwrap().prompt, "x");
}
