//! WhatsAppTrigger enters its address at Meta: against a server that answers as the Graph API does.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use sre_components::context::web::Scraper;
use sre_components::trigger::{Collected, Refused, Reply};

use crate::context::Suite;
use crate::fake::{Fake, Reply as Answer};
use crate::mock_http::Received;
use crate::triggers::{collect, document, request};
use crate::world::places;

const CALLBACK: &str = "https://sre.example/trigger/t?key=k-1&agent=triggered";

/// The subscriptions of one app.
#[derive(Default)]
struct Meta(Mutex<Vec<Json>>);

impl Meta {
    fn answer(&self, request: &Received) -> Answer {
        let refused = |status, message: &str| {
            let error = json!({"message": message, "type": "OAuthException", "code": 190, "fbtrace_id": "A"});
            Answer::json(status, &json!({ "error": error }))
        };
        let form = |name: &str| request.form(name).unwrap_or_default();
        if request.path() == "/graph/v19.0/oauth/access_token" {
            let known = form("client_id") == "4711" && form("client_secret") == "the app's secret";
            return match known && form("grant_type") == "client_credentials" {
                true => Answer::json(200, &json!({"access_token": "4711|app-token", "token_type": "bearer"})),
                false => refused(400, "Error validating client secret."),
            };
        }
        if request.path() != "/graph/v19.0/4711/subscriptions" {
            return refused(404, "Unknown path components");
        }
        if request.header("authorization") != Some("Bearer 4711|app-token") {
            return refused(401, "Invalid OAuth access token.");
        }
        let mut kept = self.0.lock();
        match request.method.as_str() {
            "GET" => Answer::json(200, &json!({ "data": *kept })),
            "DELETE" => {
                let object = request.query().into_iter().find(|(name, _)| name == "object").unwrap().1;
                kept.retain(|known| known["object"] != object);
                Answer::json(200, &json!({"success": true}))
            }
            _ if form("verify_token") == "wrong" => refused(400, "(#2200) Callback verification failed"),
            _ => {
                kept.push(
                    json!({"object": form("object"), "callback_url": form("callback_url"), "active": true,
                    "fields": form("fields"), "include_values": form("include_values"),
                    "verify_token": form("verify_token")}),
                );
                Answer::json(200, &json!({"success": true}))
            }
        }
    }
}

struct World {
    meta: Arc<Meta>,
    server: Fake,
    suite: Arc<Suite>,
}

impl World {
    async fn new() -> Self {
        let meta = Arc::new(Meta::default());
        let answers = meta.clone();
        let server = Fake::start(move |request| answers.answer(request)).await;
        let keys = [("app-secret", "the app's secret"), ("verify", "the verify token")];
        let suite = Suite::with_vault(&[server.address.to_string()], &keys);
        *suite.places.lock() = places(&server.url(), Scraper::Auto);
        Self { meta, server, suite }
    }

    async fn register(&self, more: Json) -> Result<Collected, Refused> {
        let mut settings = json!({"clientId": "4711", "clientSecret": "{{KEY(app-secret)}}",
            "verifyToken": "{{KEY(verify)}}", "webhookUrl": CALLBACK});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        collect(&self.suite, &document("WhatsAppTrigger", settings, json!({})), &request("PUT", &[], ""))
            .await
    }
}

#[tokio::test]
async fn whatsapp_enters_its_address_in_place_of_another() {
    let world = World::new().await;
    let old = json!({"object": "whatsapp_business_account", "callback_url": "https://old.example/", "active": true});
    let other = json!({"object": "page", "callback_url": "https://page.example/", "active": true});
    world.meta.0.lock().extend([old, other.clone()]);
    let ours = json!({"object": "whatsapp_business_account", "callback_url": CALLBACK, "active": true,
        "fields": "messages,message_template_status_update", "include_values": "true",
        "verify_token": "the verify token"});
    // The same again is the same.
    for _ in 0..2 {
        let registered = world.register(json!({})).await.unwrap();
        assert_eq!(registered, Collected::Reply(Reply { status: 200, text: "registered".into() }));
        assert_eq!(*world.meta.0.lock(), [other.clone(), ours.clone()]);
    }
    let kept = world.suite.kept.lock().clone();
    assert!(kept.iter().any(|secret| secret == "4711|app-token"), "the token is kept out of what is written");
    assert!(world.server.seen().iter().all(|request| !request.target.contains("secret")));
}

#[tokio::test]
async fn what_keeps_it_from_registering_is_said() {
    let world = World::new().await;
    for (more, status, told) in [
        (json!({"clientId": ""}), 400, "WhatsAppTrigger.register: Missing clientId/clientSecret"),
        (json!({"clientSecret": ""}), 400, "WhatsAppTrigger.register: Missing clientId/clientSecret"),
        (json!({"verifyToken": ""}), 400, "WhatsAppTrigger.register: Missing verifyToken"),
        (json!({"webhookUrl": null}), 400, "WhatsAppTrigger.register: Missing webhookUrl"),
        (
            json!({"webhookUrl": "http://plain.example/"}),
            400,
            "WhatsAppTrigger.register: webhookUrl is no address",
        ),
        (json!({"clientId": "../me"}), 400, "WhatsAppTrigger.register: clientId is no app's id"),
        (json!({"clientSecret": "other"}), 502, "access token failed: Error validating client secret."),
        (json!({"verifyToken": "wrong"}), 502, "subscribe failed: (#2200) Callback verification failed"),
        (json!({"clientSecret": "{{KEY(nope)}}"}), 500, "the trigger's clientSecret cannot be had"),
    ] {
        let refused = world.register(more.clone()).await.unwrap_err();
        assert!(refused.status == status && refused.message.starts_with(told), "{more}: {refused:?}");
    }
    assert!(world.meta.0.lock().is_empty());
}

/// What a WhatsAppTrigger says that cannot register.
pub async fn asked(suite: &Arc<Suite>) -> String {
    let settings =
        json!({"clientId": "1", "clientSecret": "s", "verifyToken": "v", "webhookUrl": "https://h.example/"});
    let document = document("WhatsAppTrigger", settings, json!({}));
    collect(suite, &document, &request("PUT", &[], "")).await.unwrap_err().message
}
