//! HuggingFace: a model of the hub, by the inference router.

mod answer;
mod parameters;
mod task;

use futures::future::{BoxFuture, FutureExt as _};
use http::Method;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::{Map, Value};

use crate::context::{Call, Component, web};
use crate::egress::{Request, Response};
use crate::outbound;
use crate::outcome::{Failed, one, or_failed};
use crate::settings;
use task::Body;

const USE_CACHE: HeaderName = HeaderName::from_static("x-use-cache");
const WAIT_FOR_MODEL: HeaderName = HeaderName::from_static("x-wait-for-model");

static SPEC: ComponentSpec = ComponentSpec::new("HuggingFace", "Runs a model of the Hugging Face hub")
    .effect(Effect::Effect)
    .settings(&[
        SettingSpec::text("accessToken", "Access Token", 350)
            .required()
            .template()
            .describe("a token of the hub, from the vault: `{{KEY(huggingface)}}`"),
        SettingSpec::text("modelName", "Model Name", 100).required().describe("the model: `owner/name`"),
        SettingSpec::text("modelTask", "Model Task", 100)
            .required()
            .describe("what it does, for example `text-classification`; it decides which inputs there are"),
        SettingSpec::any("parameters", "Parameters")
            .template()
            .nullable()
            .check(parameters::check)
            .describe("a JSON object of the task's parameters; `none` leaves one out"),
        SettingSpec::any("inputConfig", "Input Config").nullable().describe("for editors"),
        SettingSpec::boolean("disableCache", "Disable Cache")
            .default("false")
            .describe("asks for a new answer where there is one from before"),
        SettingSpec::text_or_empty("name", "Name", 0).nullable().describe("for editors"),
        SettingSpec::text_or_empty("displayName", "Display Name", 0).nullable().describe("for editors"),
        SettingSpec::text_or_empty("desc", "Description", 0).nullable().describe("for editors"),
        SettingSpec::text_or_empty("logoUrl", "Logo URL", 0).nullable().describe("for editors"),
    ])
    .outputs(&[PortSpec::new("Output", "Any", "what the model gives: JSON, or a file")])
    .scopes(&["sre.security.v1.Vault", "sre.io.v1.Storage"]);

/// The type.
pub struct HuggingFace;

impl Component for HuggingFace {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_failed(infer(call).await) }.boxed()
    }
}

async fn infer(call: Call<'_>) -> Result<Outcome, Failed> {
    let setting = |name: &str| settings::text(call, name).trim().to_owned();
    let token = settings::render(call, &setting("accessToken")).await?;
    if token.trim().is_empty() {
        return Err("Please provide a valid Hugging Face Access Token".into());
    }
    let (task, model) = (setting("modelTask"), setting("modelName"));
    if task.is_empty() {
        return Err("Hugging Face Task is required!".into());
    }
    if model.is_empty() {
        return Err("Hugging Face Model is required!".into());
    }
    if !is_model(&model) {
        return Err(format!("`{model}` is no model of the hub: write owner/name").into());
    }
    let body = task::body(call, &task).await?;
    let request = request(call, &model, body, token.trim()).await?;
    let answered = ask(call, request).await;
    let answer =
        answered.map_err(|failed| failed.told(|text| format!("Error from Hugging Face: \n{text}")))?;
    call.context.log(tracing::Level::INFO, &format!("{model}: {} bytes", answer.body.len()));
    Ok(one("Output", answer::value(call, answer).await?))
}

/// One or two names, nothing that leads elsewhere.
fn is_model(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.bytes().all(|byte| byte == b'.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    name.split('/').count() <= 2 && name.split('/').all(part)
}

async fn request(call: Call<'_>, model: &str, body: Body, token: &str) -> Result<Request, String> {
    let url = web::below(&call.context.web().huggingface, &format!("models/{model}"));
    let mut request = Request::new(Method::POST, url);
    match body {
        Body::Json(inputs) => {
            let mut members: Map = [("model".into(), Value::from(model))].into();
            members.extend(inputs);
            let parameters = parameters::read(call)?;
            if !parameters.is_empty() {
                members.insert("parameters".into(), Value::object(parameters));
            }
            request = outbound::json(request, &Value::object(members));
        }
        Body::Bytes(file) => {
            let kind = HeaderValue::from_str(&file.mimetype);
            request
                .headers
                .insert(CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static("application/octet-stream")));
            request.body = Some(file.data);
        }
    }
    if settings::flag(call, "disableCache") {
        request.headers.insert(USE_CACHE, HeaderValue::from_static("false"));
    }
    outbound::bearer(request, token).map_err(|error| error.message)
}

/// Asks; a model that is being loaded is waited for. What the caller did wrong is not tried again.
async fn ask(call: Call<'_>, request: Request) -> Result<Response, Failed> {
    let mut waiting = request.clone().header(WAIT_FOR_MODEL, HeaderValue::from_static("true"));
    waiting.attempts = outbound::ATTEMPTS - 1;
    let mut answer = outbound::send(call.context, request).await.map_err(|error| error.to_string())?;
    if matches!(answer.status.as_u16(), 429 | 502 | 503 | 504) {
        answer = outbound::send(call.context, waiting).await.map_err(|error| error.to_string())?;
    }
    match outbound::refused(&answer) {
        Some(refusal) => Err(refusal),
        None => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::is_model;

    #[test]
    fn a_model_leads_nowhere_else() {
        for good in ["gpt2", "org/model-1.5_x"] {
            assert!(is_model(good), "{good}");
        }
        for bad in ["", "a/b/c", "../x", "a/..", "a?b", "a#b", "a%2e", "a b", "/a"] {
            assert!(!is_model(bad), "{bad}");
        }
    }
}
