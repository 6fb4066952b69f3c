//! The HTTP door, as `curl` uses it.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::agents::{component, document, endpoint, hasher, output};
use crate::harness::{Mode, Options, Suite, in_both_modes};

in_both_modes!(http_door);

const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

/// Answers to GET what the query says.
fn getter() -> Value {
    document(
        "getter",
        json!({}),
        &[endpoint("look", "GET", &[("what", "Text")]), output("answer", &["seen"])],
        &["look.what > answer.seen"],
    )
}

/// Answers the uploaded file's description.
fn uploader() -> Value {
    document(
        "uploader",
        json!({}),
        &[
            endpoint("upload", "POST", &[("file", "Binary"), ("note", "Text")]),
            component(
                "hash",
                "FHash",
                json!({ "algorithm": "md5", "encoding": "hex" }),
                &["Data"],
                &["Hash"],
            ),
            output("answer", &["note", "md5"]),
        ],
        &["upload.note > answer.note", "upload.note > hash.Data", "hash.Hash > answer.md5"],
    )
}

async fn http_door(mode: Mode) {
    let options = Options::default().set("gateway.hosts", r#"{ "agents.example" = "hasher" }"#);
    let suite = Suite::start("http-door", mode, options).await;
    let dev = suite.client("user/dev");
    for (id, agent) in [("hasher", hasher("hasher")), ("getter", getter()), ("uploader", uploader())] {
        dev.put(&format!("teams/default/agents/{id}"), &agent).await.unwrap();
    }
    let http = reqwest::Client::new();
    let url = |path: &str| format!("http://{}{path}", suite.address("http"));
    let key = suite.dev_key();
    let body = json!({ "text": "hello" }).to_string();
    let post = |agent: &str| {
        let request =
            http.post(url("/api/hash")).header("content-type", "application/json").body(body.clone());
        if agent.is_empty() { request } else { request.header("x-agent-id", agent) }
    };
    let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status();

    assert_eq!(status(post("hasher")).await, StatusCode::UNAUTHORIZED, "no bearer");
    assert_eq!(
        status(post("hasher").bearer_auth("sre_wrong")).await,
        StatusCode::UNAUTHORIZED,
        "a wrong bearer"
    );
    assert_eq!(status(post("").bearer_auth(&key)).await, StatusCode::BAD_REQUEST, "no agent");
    assert_eq!(status(post("nobody").bearer_auth(&key)).await, StatusCode::NOT_FOUND, "an absent agent");

    let answer = text(post("hasher").bearer_auth(&key)).await;
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap(), json!({ "sha256": HELLO }));
    // By host name.
    let answer = text(post("").bearer_auth(&key).header("host", "agents.example")).await;
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap(), json!({ "sha256": HELLO }));

    let look = http.get(url("/api/look?what=a%20b")).header("x-agent-id", "getter").bearer_auth(&key);
    assert_eq!(serde_json::from_str::<Value>(&text(look).await).unwrap(), json!({ "seen": "a b" }));
    let missing = http.get(url("/api/nothing")).header("x-agent-id", "getter").bearer_auth(&key);
    assert_eq!(status(missing).await, StatusCode::NOT_FOUND, "an absent endpoint");
    let broken = http.post(url("/api/hash")).header("x-agent-id", "hasher").bearer_auth(&key).body("{");
    assert_eq!(status(broken).await, StatusCode::BAD_REQUEST, "a broken body");

    // Somebody else's agent does not exist for one who may not run it.
    let stranger = strangers_key(&suite).await;
    assert_eq!(
        status(post("hasher").bearer_auth(&stranger)).await,
        StatusCode::NOT_FOUND,
        "another team's agent"
    );

    let form = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\ncontent-type: text/plain\r\n\r\nhello\r\n\
                --b\r\ncontent-disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--b--\r\n";
    let upload = http
        .post(url("/api/upload"))
        .header("x-agent-id", "uploader")
        .header("content-type", "multipart/form-data; boundary=b")
        .bearer_auth(&key)
        .body(form);
    let answer: Value = serde_json::from_str(&text(upload).await).unwrap();
    assert_eq!(answer, json!({ "note": "hello", "md5": "5d41402abc4b2a76b9719d911017c592" }));
    suite.stop().await;
}

async fn text(request: reqwest::RequestBuilder) -> String {
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    assert_eq!(status, StatusCode::OK, "{text}");
    text
}

/// The API key of an admin of another team.
async fn strangers_key(suite: &Suite) -> String {
    use sre_proto::security::v1::{
        ApiKey, CreateApiKeyRequest, CreateTeamRequest, Member, SetMemberRequest, TeamRole,
    };
    use sre_proto::types::v1::{Candidate, Role};
    let dev = suite.client("user/dev");
    dev.account().create_team(CreateTeamRequest { team_id: "other".into(), team: None }).await.unwrap();
    let candidate = Some(Candidate { role: Role::User.into(), id: "mallory".into() });
    let member = Some(Member { candidate, role: TeamRole::Admin.into(), home: false });
    dev.account().set_member(SetMemberRequest { parent: "teams/other".into(), member }).await.unwrap();
    let request = CreateApiKeyRequest { parent: "users/-".into(), api_key: Some(ApiKey::default()) };
    suite.client("user/mallory").keys().create_api_key(request).await.unwrap().into_inner().key
}
