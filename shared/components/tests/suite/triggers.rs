//! Triggers: what they collect from a request, and what runs with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use hmac::{Hmac, Mac as _};
use serde_json::{Value as Json, json};
use sha2::Sha256;
use sre_components::context::web::Scraper;
use sre_components::trigger::{Collected, Payloads, Refused, Reply, TriggerRequest};
use sre_components::{Call, registry};
use sre_engine::{Map, PAYLOADS, RequestData, Value};

use crate::context::{Suite, TestContext};
use crate::driver::Agent;
use crate::fake::{Fake, Reply as Answer};
use crate::mock_http::Received;
use crate::world::places;

const SECRET: &str = "the sender's secret";

/// A trigger, and what takes its payloads.
pub fn document(name: &str, settings: Json, more: Json) -> Json {
    let mut data = json!({"triggerEndpoint": "t"});
    data.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let outputs = json!([{"name": "Payload", "default": true}, {"name": "Result", "default": true},
        {"name": "Payload.body.n", "expression": "Payload.body.n", "default": false},
        {"name": "Payload.n", "expression": "Payload.n", "default": false}]);
    let mut components =
        vec![json!({"id": "T", "name": name, "displayName": name, "title": "t", "data": data,
        "inputs": [], "outputs": outputs})];
    components.extend(more["components"].as_array().cloned().unwrap_or_default());
    json!({"version": "1.0.0", "id": "triggered", "name": "t", "variables": {}, "components": components,
        "connections": more["connections"].as_array().cloned().unwrap_or_default()})
}

/// What hashes a payload's number.
fn hashing(output: &str) -> Json {
    json!({"components": [{"id": "H", "name": "FHash", "displayName": "FHash", "title": "h",
            "data": {"algorithm": "md5", "encoding": "hex"}, "inputs": [{"name": "Data", "type": "Text"}],
            "outputs": [{"name": "Hash", "default": true}]}],
        "connections": [{"sourceId": "T", "sourceIndex": output, "targetId": "H", "targetIndex": "Data"}]})
}

pub async fn collect(
    suite: &Arc<Suite>,
    document: &Json,
    request: &TriggerRequest,
) -> Result<Collected, Refused> {
    let agent = Agent::new(document, suite.clone());
    let entry = agent.plan.route(&request.method, "/v1/trigger/t").unwrap();
    let node = agent.plan.entry_node(entry).clone();
    let context = TestContext::new(agent);
    let input = Map::new();
    let call = Call { input: &input, node: &node, context: &context };
    registry().component(&node.type_name).unwrap().collect(call, request).await
}

/// What the run of these payloads answers.
async fn answer(suite: &Arc<Suite>, document: &Json, payloads: &[Json]) -> Json {
    let agent = Agent::new(document, suite.clone());
    let entry = agent.plan.route("POST", "/trigger/t").unwrap();
    let body: Map = [(PAYLOADS.into(), Value::from(json!(payloads)))].into();
    let request = RequestData::post("/trigger/t", Value::object(body));
    agent.run(entry, request, String::new(), Map::new()).await
}

pub fn request(method: &str, headers: &[(&str, &str)], body: &str) -> TriggerRequest {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    TriggerRequest {
        method: method.into(),
        headers: headers.collect::<BTreeMap<_, _>>(),
        query: Map::new(),
        body: serde_json::from_str(body).unwrap_or_else(|_| Value::from(body)),
        raw: body.to_owned().into(),
    }
}

fn signature(content: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(content.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

fn suite() -> Arc<Suite> {
    Suite::with_vault(&[], &[("sender", SECRET)])
}

fn payloads(collected: Result<Collected, Refused>) -> Payloads {
    match collected {
        Ok(Collected::Payloads(payloads)) => payloads,
        other => panic!("no payloads: {other:?}"),
    }
}

fn status(collected: Result<Collected, Refused>) -> u16 {
    collected.unwrap_err().status
}

#[tokio::test]
async fn d38_what_follows_runs_once_for_each_payload_and_one_is_as_many() {
    let suite = suite();
    let document = document("JobSchedulerTrigger", json!({}), hashing("Payload.n"));
    let (one, two) = ("c4ca4238a0b923820dcc509a6f75849b", "c81e728d9d4c2f636f067f89cc14862c");
    let answered = answer(&suite, &document, &[json!({"n": 1}), json!({"n": 2})]).await;
    assert_eq!(answered["result"], json!([{"Hash": one}, {"Hash": two}]), "{answered}");
    let answered = answer(&suite, &document, &[json!({"n": 1})]).await;
    assert_eq!(answered["result"], json!([{"Hash": one}]), "{answered}");
    assert_eq!(answer(&suite, &document, &[]).await["result"], json!([]));
    // Nothing follows: the payloads themselves.
    let bare = self::document("JobSchedulerTrigger", json!({}), json!({}));
    assert_eq!(answer(&suite, &bare, &[json!({"n": 1})]).await["result"], json!([{"n": 1}]));
}

#[tokio::test]
async fn a_trigger_feeds_a_skill_as_a_whole() {
    let suite = suite();
    let more = json!({"components": [
        {"id": "E", "name": "APIEndpoint", "displayName": "E", "title": "e", "data": {"endpoint": "e", "method": "POST"},
            "inputs": [{"name": "n", "type": "Number"}, {"name": "word", "type": "Text", "optional": true}],
            "outputs": [{"name": "body", "default": true}, {"name": "n", "expression": "body.n", "default": false}]},
        {"id": "H", "name": "FHash", "displayName": "FHash", "title": "h", "data": {"algorithm": "md5", "encoding": "hex"},
            "inputs": [{"name": "Data", "type": "Text"}], "outputs": [{"name": "Hash", "default": true}]}],
        "connections": [{"sourceId": "T", "sourceIndex": 0, "targetId": "E", "targetIndex": -1},
            {"sourceId": "E", "sourceIndex": "n", "targetId": "H", "targetIndex": "Data"}]});
    let document = document("JobSchedulerTrigger", json!({}), more);
    let answered = answer(&suite, &document, &[json!({"n": "1"}), json!({"n": 2, "word": "x"})]).await;
    let hashes: Vec<&Json> =
        answered["result"].as_array().unwrap().iter().map(|entry| &entry["Hash"]).collect();
    assert_eq!(
        hashes,
        ["c4ca4238a0b923820dcc509a6f75849b", "c81e728d9d4c2f636f067f89cc14862c"],
        "{answered}"
    );
    // The skill by itself is as it was.
    let agent = Agent::new(&document, suite);
    let called = agent.call(RequestData::post("/api/e", json!({"n": 1}).into())).await;
    assert_eq!(called["data"]["result"]["Hash"], "c4ca4238a0b923820dcc509a6f75849b", "{called}");
    assert_eq!(agent.plan.skills().len(), 1, "a trigger is no skill");
}

#[tokio::test]
async fn d38_a_schedule_has_the_authors_payload_and_takes_post_alone() {
    let suite = suite();
    for (payload, expected) in [
        (json!("{\"a\":1}"), json!({"a": 1})),
        (json!({"b": 2}), json!({"b": 2})),
        (json!("[1]"), json!({})),
        (json!("x"), json!({})),
    ] {
        let document =
            document("JobSchedulerTrigger", json!({"payload": payload, "interval": "5"}), json!({}));
        let found = payloads(collect(&suite, &document, &request("POST", &[], "{}")).await);
        assert_eq!(serde_json::to_value(&found.items).unwrap(), json!([expected]));
        assert_eq!(status(collect(&suite, &document, &request("GET", &[], "")).await), 405);
    }
}

#[tokio::test]
async fn d39_a_webhook_takes_what_is_signed_and_nothing_else() {
    let suite = suite();
    let settings = json!({"secret": "{{KEY(sender)}}", "signatureHeader": "X-Hub-Signature-256"});
    let document = document("WebhookTrigger", settings, hashing("Payload.body.n"));
    let body = r#"{"n": 1}"#;
    let signed = format!("sha256={}", signature(body));
    let good = request("POST", &[("x-hub-signature-256", &signed), ("user-agent", "sender")], body);
    let found = payloads(collect(&suite, &document, &good).await);
    let item = serde_json::to_value(&found.items[0]).unwrap();
    assert_eq!(
        item,
        json!({"body": {"n": 1}, "headers": {"user-agent": "sender"}, "query": {}, "method": "POST"})
    );
    assert!(!found.at_once);
    for (headers, body) in [
        (vec![], body),
        (vec![("x-hub-signature-256", signed.as_str())], r#"{"n": 2}"#),
        (vec![("x-hub-signature-256", "sha256=00")], body),
        (vec![("x-hub-signature-256", "")], body),
    ] {
        let refused = collect(&suite, &document, &request("POST", &headers, body)).await.unwrap_err();
        assert_eq!(refused.status, 401);
        assert!(!refused.message.contains("secret"), "{}", refused.message);
    }
    let got = request("GET", &[("x-hub-signature-256", &signed)], body);
    assert_eq!(status(collect(&suite, &document, &got).await), 405);
    for settings in [json!({}), json!({"secret": "{{KEY(nowhere)}}"})] {
        let document = self::document("WebhookTrigger", settings, json!({}));
        assert_eq!(status(collect(&suite, &document, &good).await), 500);
    }
    let open = self::document("WebhookTrigger", json!({"unsigned": true, "respond": "atOnce"}), json!({}));
    assert!(payloads(collect(&suite, &open, &request("POST", &[], "[1,2]")).await).at_once);
}

#[tokio::test]
async fn a_webhook_that_comes_again_is_the_same_event_and_an_old_one_is_refused() {
    let suite = suite();
    let settings = json!({"secret": "{{KEY(sender)}}", "signatureHeader": "x-slack-signature", "signaturePrefix": "v0=",
        "timestampHeader": "x-slack-request-timestamp", "signedContent": "v0:{timestamp}:{body}", "tolerance": 60});
    let document = document("WebhookTrigger", settings, json!({}));
    let at = |seconds: i64, body: &str| {
        let time = (chrono::Utc::now().timestamp() + seconds).to_string();
        let signed = format!("v0={}", signature(&format!("v0:{time}:{body}")));
        request("POST", &[("x-slack-signature", &signed), ("x-slack-request-timestamp", &time)], body)
    };
    let first = at(0, "{}");
    let event = payloads(collect(&suite, &document, &first).await).event;
    let mut again = first.clone();
    again.headers.insert("x-retry".into(), "1".into());
    assert_eq!(payloads(collect(&suite, &document, &again).await).event, event);
    assert_ne!(payloads(collect(&suite, &document, &at(0, "[]")).await).event, event);
    // Well beyond it: the clock goes on between here and there.
    for seconds in [-120, 120] {
        assert_eq!(status(collect(&suite, &document, &at(seconds, "{}")).await), 401);
    }
    // A time that is not part of what is signed proves nothing.
    let mut moved = at(-3_600, "{}");
    moved.headers.insert("x-slack-request-timestamp".into(), chrono::Utc::now().timestamp().to_string());
    assert_eq!(status(collect(&suite, &document, &moved).await), 401);
    let delivered =
        self::document("WebhookTrigger", json!({"unsigned": true, "idHeader": "X-Delivery"}), json!({}));
    let with = |id: &str| request("POST", &[("x-delivery", id)], "{}");
    let one = payloads(collect(&suite, &delivered, &with("1")).await).event;
    assert_eq!(payloads(collect(&suite, &delivered, &with("1")).await).event, one);
    assert_ne!(payloads(collect(&suite, &delivered, &with("2")).await).event, one);
}

#[tokio::test]
async fn d39_whatsapp_proves_itself_and_every_message_counts() {
    let suite = suite();
    let settings = json!({"verifyToken": "{{KEY(my-key)}}", "appSecret": "{{KEY(sender)}}"});
    let document = document("WhatsAppTrigger", settings, json!({}));
    let ask = |token: &str| {
        let pairs = [("hub.mode", "subscribe"), ("hub.verify_token", token), ("hub.challenge", "1158201444")];
        let query: Map = pairs.into_iter().map(|(name, value)| (name.into(), Value::from(value))).collect();
        TriggerRequest { method: "GET".into(), query, ..TriggerRequest::default() }
    };
    let replied = collect(&suite, &document, &ask("Hello vault")).await.unwrap();
    assert_eq!(replied, Collected::Reply(Reply { status: 200, text: "1158201444".into() }));
    let forbidden = collect(&suite, &document, &ask("other")).await.unwrap_err();
    assert_eq!((forbidden.status, forbidden.message.as_str()), (403, "Forbidden"));

    let message = |id: &str, more: Json| {
        let mut message = json!({"from": "491", "id": id, "timestamp": "1700000000"});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        message
    };
    let value = |messages: Json| {
        json!({"field": "messages", "value": {"messaging_product": "whatsapp", "metadata": {"phone_number_id": "77"},
            "contacts": [{"wa_id": "491", "profile": {"name": "Ada"}}], "messages": messages}})
    };
    let body = json!({"object": "whatsapp_business_account", "entry": [
        {"changes": [value(json!([message("m1", json!({"type": "text", "text": {"body": "hi"}})),
            message("m2", json!({"type": "image", "image": {"id": "i"}})),
            message("m3", json!({"type": "button", "button": {"text": "Yes"}}))]))]},
        {"changes": [value(json!([message("m4", json!({"type": "interactive",
            "interactive": {"type": "list_reply", "list_reply": {"id": "1", "title": "Tea"}}}))])),
            {"field": "messages", "value": {"statuses": [{"id": "s"}]}}]},
    ]})
    .to_string();
    let signed = format!("sha256={}", signature(&body));
    let found = payloads(
        collect(&suite, &document, &request("POST", &[("x-hub-signature-256", &signed)], &body)).await,
    );
    let items = serde_json::to_value(&found.items).unwrap();
    let texts: Vec<&Json> = items.as_array().unwrap().iter().map(|item| &item["message"]["text"]).collect();
    assert_eq!(texts, ["hi", "Yes", "Tea"]);
    assert_eq!(
        items[0]["message"],
        json!({"id": "m1", "from": "491", "profileName": "Ada", "text": "hi", "type": "text",
            "timestamp": "2023-11-14T22:13:20.000Z", "phoneNumberId": "77"})
    );
    assert!(found.at_once && !found.event.is_empty());
    let forged = request("POST", &[("x-hub-signature-256", &signed)], &body.replace("hi", "ho"));
    assert_eq!(status(collect(&suite, &document, &forged).await), 401);
    assert_eq!(status(collect(&suite, &document, &request("POST", &[], &body)).await), 401);
    // News of what was sent start nothing.
    let news = json!({"entry": [{"changes": [{"value": {"statuses": [{}]}}]}]}).to_string();
    let signed = format!("sha256={}", signature(&news));
    let reply = collect(&suite, &document, &request("POST", &[("x-hub-signature-256", &signed)], &news))
        .await
        .unwrap();
    assert_eq!(reply, Collected::Reply(Reply { status: 200, text: "EVENT_RECEIVED".into() }));
    let bare = self::document("WhatsAppTrigger", json!({}), json!({}));
    assert_eq!(status(collect(&suite, &bare, &ask("x")).await), 500);
}

fn gmail(request: &Received) -> Answer {
    if request.header("authorization") != Some("Bearer mail-token") {
        return Answer::json(401, &json!({"error": {"code": 401, "message": "Invalid Credentials"}}));
    }
    let encoded = |text: &str| URL_SAFE.encode(text);
    match request.path() {
        "/google/gmail/v1/users/me/messages" => {
            assert_eq!(
                request.query(),
                [("q".into(), "is:unread".into()), ("maxResults".into(), "5".into())]
            );
            Answer::json(200, &json!({"messages": [{"id": "m1"}, {"id": "m2"}, {"id": "../evil"}]}))
        }
        "/google/gmail/v1/users/me/messages/m1" => Answer::json(
            200,
            &json!({
            "id": "m1", "threadId": "t1", "labelIds": ["INBOX", "UNREAD"], "snippet": "Hello", "sizeEstimate": 10,
            "internalDate": "1700000000000", "payload": {"mimeType": "multipart/mixed",
                "headers": [{"name": "From", "value": "Ada <a@h>"}, {"name": "SUBJECT", "value": "Hi"},
                    {"name": "Message-ID", "value": "<1@h>"}],
                "parts": [{"mimeType": "text/html", "body": {"data": encoded("<p>Hello <b>you</b></p><style>p{}</style>")}},
                    {"mimeType": "application/pdf", "filename": "a.pdf", "body": {"size": 9, "attachmentId": "at"}}]}}),
        ),
        "/google/gmail/v1/users/me/messages/m2" => Answer::json(
            200,
            &json!({
            "id": "m2", "labelIds": [], "payload": {"mimeType": "text/plain", "body": {"data": encoded("a < b\nc")}}}),
        ),
        other => Answer::json(404, &json!({"error": {"message": format!("no {other}")}})),
    }
}

#[tokio::test]
async fn d39_each_mail_starts_one_run_and_no_token_is_told() {
    let fake = Fake::start(gmail).await;
    let suite = Suite::with_vault(&[fake.address.to_string()], &[]);
    *suite.places.lock() = places(&fake.url(), Scraper::Auto);
    let record = |token: &str| {
        json!({"auth_data": {"primary": token, "secondary": "", "expires_in": "9999999999999"},
            "auth_settings": {"type": "oauth2", "service": "google"}})
        .to_string()
    };
    suite.managed.put("mail", &record("mail-token"));
    let document = document("GmailTrigger", json!({"oauth_cred_id": "mail"}), json!({}));
    let ask = request("POST", &[], "{}");
    let found = payloads(collect(&suite, &document, &ask).await);
    let items = serde_json::to_value(&found.items).unwrap();
    let first = &items[0]["email"];
    assert_eq!(items.as_array().unwrap().len(), 2, "{items}");
    assert_eq!(
        first["body"],
        json!({"text": "Hello you\n", "html": "<p>Hello <b>you</b></p><style>p{}</style>"})
    );
    assert_eq!(
        first["headers"],
        json!({"from": "Ada <a@h>", "to": null, "cc": null, "bcc": null, "subject": "Hi", "date": null, "messageId": "<1@h>"})
    );
    assert_eq!(
        first["attachments"],
        json!([{"filename": "a.pdf", "mimeType": "application/pdf", "size": 9, "attachmentId": "at"}])
    );
    assert_eq!(
        (&first["internalDate"], &first["isUnread"]),
        (&json!("2023-11-14T22:13:20.000Z"), &json!(true))
    );
    assert_eq!(items[1]["email"]["body"]["html"], "a &lt; b<br>c");
    // The same mail again: nothing.
    assert!(payloads(collect(&suite, &document, &ask).await).items.is_empty());
    assert!(suite.logged.lock().iter().all(|line| !line.contains("mail-token") && !line.contains("Hello")));
    assert!(suite.kept.lock().iter().any(|secret| secret == "mail-token"));
    // What goes wrong is said.
    suite.managed.put("mail", &record("other"));
    let refused = collect(&suite, &document, &ask).await.unwrap_err();
    assert_eq!(
        (refused.status, refused.message.as_str()),
        (502, "Gmail: Request failed with status code 401: Invalid Credentials")
    );
    let bare = self::document("GmailTrigger", json!({}), json!({}));
    assert!(collect(&suite, &bare, &ask).await.unwrap_err().message.contains("oauth_cred_id"));
    let nobody = self::document("GmailTrigger", json!({"oauth_cred_id": "nobody"}), json!({}));
    assert!(collect(&suite, &nobody, &ask).await.unwrap_err().message.contains("Please authenticate"));
    assert_eq!(status(collect(&suite, &document, &request("GET", &[], "")).await), 405);
}

#[tokio::test]
async fn a_cancelled_trigger_asks_no_further() {
    let fake = Fake::start(|_| Answer::json(200, &json!({})).after(Duration::from_secs(30))).await;
    let suite = Suite::with_vault(&[fake.address.to_string()], &[]);
    *suite.places.lock() = places(&fake.url(), Scraper::Auto);
    suite.managed.put("mail", r#"{"primary":"t","expires_in":"9999999999999"}"#);
    let document = document("GmailTrigger", json!({"oauth_cred_id": "mail"}), json!({}));
    let cancel = suite.cancelled.clone();
    let ask = request("POST", &[], "{}");
    let (collected, ()) = tokio::join!(collect(&suite, &document, &ask), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cancel.cancel();
    });
    assert_eq!(collected.unwrap_err().message, "Agent killed");
}

/// What a GmailTrigger says that cannot collect.
pub async fn asked_gmail(suite: &Arc<Suite>) -> String {
    let document = document("GmailTrigger", json!({"oauth_cred_id": "mail"}), json!({}));
    collect(suite, &document, &request("POST", &[], "{}")).await.unwrap_err().message
}
