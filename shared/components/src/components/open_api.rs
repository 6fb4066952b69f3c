//! GPTPlugin, also called OpenAPI: a model that answers with the operations of an OpenAPI document.

use std::time::Duration;

use async_trait::async_trait;
use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use url::Url;

use super::talk;
use crate::context::{Call, Component};
use crate::outcome::or_error;
use crate::settings;
use crate::toolbox::openapi::{OpenApiTools, auth};
use crate::toolbox::{AllowList, OpenToolbox, Toolbox};

/// An operation may take so long, unless the author says.
const TOOL_SECONDS: f64 = 60.0;

static SPEC: ComponentSpec = ComponentSpec::new(
    "GPTPlugin",
    "Asks a model that may call the operations of a service, as its OpenAPI document describes them",
)
.aliases(&["OpenAPI"])
.effect(Effect::Effect)
.waits()
.settings(&[
    SettingSpec::text_or_empty("specUrl", "Spec URL", 2048)
        .required()
        .template()
        .describe("where the OpenAPI document is, as JSON or YAML"),
    SettingSpec::text_or_empty("descForModel", "Description for Model", 5000)
        .required()
        .template()
        .describe("what the model is told about its task; empty for the document's description"),
    SettingSpec::text_or_empty("name", "Name", 200).required().describe("shown to people in the editor"),
    SettingSpec::text_or_empty("desc", "Description", 5000)
        .required()
        .describe("shown to people in the editor"),
    talk::MODEL,
    talk::OLD_MODEL,
    auth::AUTHENTICATION,
    auth::TOKEN,
    auth::USER,
    auth::KEY_NAME,
    auth::KEY_IN,
    SettingSpec::any("headers", "Headers")
        .describe("an object of headers for every call; values are templates and may name vault keys"),
    SettingSpec::text_or_empty("operations", "Operations", 20_000)
        .default("")
        .describe("ids of the operations that the model may call, between commas; empty for all"),
    SettingSpec::integer("toolTimeout", "Tool Timeout", 1.0, 600.0)
        .default("60")
        .describe("seconds that one call of an operation may take"),
    talk::MAX_ROUNDS,
    talk::MAX_TOOL_CALLS,
    talk::ID,
    talk::LOGO,
    talk::DOMAIN,
])
.inputs(&[
    PortSpec::new("Prompt", "Any", "what the model is asked").optional(),
    PortSpec::new("Query", "Any", "the older name of `Prompt`, which counts where both are there").optional(),
])
.outputs(&[PortSpec::new("Output", "Text", "the answer")])
.scopes(&["sre.llm.v1.Models", "sre.security.v1.Vault"]);

/// The type.
pub struct OpenApi;

impl Component for OpenApi {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(ask(call).await) }.boxed()
    }

    fn toolbox(&self) -> Option<&dyn Toolbox> {
        Some(self)
    }
}

async fn ask(call: Call<'_>) -> Result<Outcome, String> {
    if settings::text(call, "specUrl").trim().is_empty() {
        return Err("Please provide a Open API Specification URL!".to_owned());
    }
    let prompt = talk::question(call, &["Prompt", "Query"]);
    if prompt.is_empty() {
        return Err("Please provide a prompt".to_owned());
    }
    talk::with_own_tools(call, prompt)
        .await
        .map_err(|message| format!("Error on running Open API!\n{message}"))
}

#[async_trait]
impl Toolbox for OpenApi {
    async fn open(&self, call: Call<'_>) -> Result<Box<dyn OpenToolbox>, String> {
        let url = settings::text(call, "specUrl");
        let url = settings::render(call, &url).await.map_err(|error| error.message)?;
        // The text may hold a secret: it is not shown.
        let url: Url = url.trim().parse().map_err(|_| "the specification's URL is no URL".to_owned())?;
        let allow = AllowList::parse(&settings::text(call, "operations"));
        let seconds = settings::number(call, "toolTimeout").filter(|seconds| *seconds >= 1.0);
        let timeout = Duration::try_from_secs_f64(seconds.unwrap_or(TOOL_SECONDS)).unwrap_or_default();
        Ok(Box::new(OpenApiTools::open(call, &url, &allow, timeout).await?))
    }
}
