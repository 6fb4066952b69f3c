//! Entering a trigger's address at Meta: the app's subscription to messages, by the Graph API.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use sre_engine::value::Value;
use url::Url;

use super::rendered;
use crate::context::{Call, web};
use crate::egress::{Request, Response};
use crate::outbound;
use crate::trigger::{Refused, Reply};

const VERSION: &str = "v19.0";
/// What is subscribed to, and what of it.
const OBJECT: &str = "whatsapp_business_account";
const FIELDS: &str = "messages,message_template_status_update";

/// What a registration needs.
struct Wanted {
    app: String,
    secret: String,
    verify: String,
    callback: Url,
}

impl Wanted {
    async fn of(call: Call<'_>) -> Result<Self, Refused> {
        let setting = async |names: [&str; 2], missing: &str| {
            let text = rendered(call, names).await?.unwrap_or_default();
            match text.is_empty() {
                true => Err(refused(StatusCode::BAD_REQUEST, &format!("Missing {missing}"))),
                false => Ok(text),
            }
        };
        let app = setting(["clientId", "appId"], "clientId/clientSecret").await?;
        let secret = setting(["clientSecret", "appSecret"], "clientId/clientSecret").await?;
        let verify = setting(["verifyToken", "verify_token"], "verifyToken").await?;
        let url = setting(["webhookUrl", "webhookUrl"], "webhookUrl").await?;
        if !app.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refused(StatusCode::BAD_REQUEST, "clientId is no app's id: it has digits only"));
        }
        let callback = Url::parse(&url).ok().filter(|url| url.scheme() == "https");
        let callback = callback.ok_or_else(|| {
            refused(StatusCode::BAD_REQUEST, "webhookUrl is no address that Meta calls: write https://…")
        })?;
        Ok(Self { app, secret, verify, callback })
    }
}

/// Has Meta send the app's messages to the trigger's address. The same again is the same.
pub(super) async fn register(call: Call<'_>) -> Result<Reply, Refused> {
    let wanted = Wanted::of(call).await?;
    let graph = Graph { call, token: token(call, &wanted).await?, app: wanted.app.clone() };
    if graph.is_subscribed().await? {
        let mut url = graph.subscriptions();
        url.query_pairs_mut().append_pair("object", OBJECT);
        graph.ask("unsubscribe", Request::new(Method::DELETE, url)).await?;
    }
    let form = [
        ("object", OBJECT),
        ("callback_url", wanted.callback.as_str()),
        ("verify_token", &wanted.verify),
        ("fields", FIELDS),
        ("include_values", "true"),
    ];
    // Meta asks the address for its token before it answers.
    graph.ask("subscribe", form_of(Request::new(Method::POST, graph.subscriptions()), &form)).await?;
    call.context.log(tracing::Level::INFO, "messages of WhatsApp come to this trigger");
    Ok(Reply { status: 200, text: "registered".to_owned() })
}

/// The app's own token.
async fn token(call: Call<'_>, wanted: &Wanted) -> Result<String, Refused> {
    let url = web::below(&call.context.web().graph, &format!("{VERSION}/oauth/access_token"));
    let form = [
        ("client_id", wanted.app.as_str()),
        ("client_secret", &wanted.secret),
        ("grant_type", "client_credentials"),
    ];
    let answer = send(call, "access token", form_of(Request::new(Method::POST, url), &form)).await?;
    let json = outbound::json_of(&answer);
    let token = json.as_ref().and_then(|json| json.get("access_token")?.as_str()).unwrap_or_default();
    if token.is_empty() {
        return Err(failed("access token", "the answer has none"));
    }
    call.context.keep_secret("whatsapp", token);
    Ok(token.to_owned())
}

/// The Graph API, as the app.
struct Graph<'a> {
    call: Call<'a>,
    token: String,
    app: String,
}

impl Graph<'_> {
    fn subscriptions(&self) -> Url {
        web::below(&self.call.context.web().graph, &format!("{VERSION}/{}/subscriptions", self.app))
    }

    async fn ask(&self, step: &str, request: Request) -> Result<Response, Refused> {
        let request = outbound::bearer(request, &self.token).map_err(|error| failed(step, &error.message))?;
        send(self.call, step, request).await
    }

    async fn is_subscribed(&self) -> Result<bool, Refused> {
        let answer = self.ask("list subscriptions", Request::new(Method::GET, self.subscriptions())).await?;
        let json = outbound::json_of(&answer).unwrap_or(Value::Null);
        let listed = json.get("data").and_then(Value::as_array).unwrap_or_default();
        Ok(listed.iter().any(|subscription| {
            let is_ours = subscription.get("object").and_then(Value::as_str) == Some(OBJECT);
            is_ours && subscription.get("active").is_none_or(Value::truthy)
        }))
    }
}

fn form_of(mut request: Request, fields: &[(&str, &str)]) -> Request {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers.insert(CONTENT_TYPE, form);
    request.body = Some(body.into());
    request
}

async fn send(call: Call<'_>, step: &str, request: Request) -> Result<Response, Refused> {
    // What is asked for twice is there once.
    let request = request.repeatable(outbound::ATTEMPTS);
    let answer = outbound::send(call.context, request).await;
    let answer = answer.map_err(|error| failed(step, &error.to_string()))?;
    match outbound::refusal(&answer) {
        Some(refusal) => Err(failed(step, &outbound::message_of(&answer).unwrap_or(refusal))),
        None => Ok(answer),
    }
}

fn failed(step: &str, why: &str) -> Refused {
    Refused::new(StatusCode::BAD_GATEWAY.as_u16(), format!("{step} failed: {why}"))
}

fn refused(status: StatusCode, why: &str) -> Refused {
    Refused::new(status.as_u16(), format!("WhatsAppTrigger.register: {why}"))
}
