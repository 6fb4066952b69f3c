//! MCPClient: a model that answers with the tools of an MCP server.

use std::time::Duration;

use async_trait::async_trait;
use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use url::Url;

use super::talk;
use crate::context::{Call, Component};
use crate::oauth::settings as oauth;
use crate::outcome::or_error;
use crate::settings;
use crate::toolbox::mcp::{McpTools, Server};
use crate::toolbox::{AllowList, OpenToolbox, Toolbox, headers};

/// A tool may take so long, unless the author says.
const TOOL_SECONDS: f64 = 60.0;

static SPEC: ComponentSpec =
    ComponentSpec::new("MCPClient", "Asks a model that may use the tools of an MCP server")
        .effect(Effect::Effect)
        .waits()
        .settings(&[
            SettingSpec::text_or_empty("mcpUrl", "MCP URL", 2048)
                .template()
                .describe("the server's address; empty where `mcpCommand` names a program"),
            SettingSpec::text_or_empty("mcpCommand", "MCP Command", 64)
                .describe("the name of a program that the operator listed under `[mcp.commands]`"),
            SettingSpec::any("headers", "Headers").describe(
                "an object of headers for the server; values are templates and may name vault keys",
            ),
            oauth::SERVICE,
            oauth::CONNECTION,
            oauth::CLIENT_ID,
            oauth::CLIENT_SECRET,
            oauth::TOKEN_URL,
            oauth::SCOPE,
            SettingSpec::text_or_empty("tools", "Tools", 20_000)
                .default("")
                .describe("names of the tools that the model may use, between commas; empty for all"),
            SettingSpec::integer("toolTimeout", "Tool Timeout", 1.0, 600.0)
                .default("60")
                .describe("seconds that one call of a tool may take"),
            SettingSpec::text_or_empty("prompt", "Prompt", 5000)
                .template()
                .default("{{Prompt}}")
                .describe("what the model is asked"),
            talk::MODEL,
            talk::OLD_MODEL,
            SettingSpec::text_or_empty("descForModel", "Description for Model", 5000)
                .template()
                .describe("what the model is told about its task"),
            talk::MAX_ROUNDS,
            talk::MAX_TOOL_CALLS,
            talk::ID,
            SettingSpec::text_or_empty("name", "Name", 200)
                .nullable()
                .describe("shown to people in the editor"),
            talk::DESC,
            talk::LOGO,
            talk::DOMAIN,
        ])
        .inputs(&[PortSpec::new("Prompt", "Any", "for the prompt")])
        .outputs(&[PortSpec::new("Output", "Text", "the answer")])
        .scopes(&[
            "sre.llm.v1.Models",
            "sre.security.v1.Vault",
            "sre.security.v1.ManagedVault:read",
            "sre.security.v1.ManagedVault:write",
        ]);

/// The type.
pub struct McpClient;

impl Component for McpClient {
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
    if settings::text(call, "mcpUrl").trim().is_empty() && command_name(call).is_empty() {
        return Err("Please provide a MCP URL!".to_owned());
    }
    let failed = |message: String| format!("Error on running MCP Client!\n{message}");
    let prompt = prompt(call).await.map_err(failed)?;
    if prompt.is_empty() {
        return Err("Please provide a prompt".to_owned());
    }
    talk::with_own_tools(call, prompt).await.map_err(failed)
}

async fn prompt(call: Call<'_>) -> Result<String, String> {
    let template = settings::text(call, "prompt");
    if matches!(template.trim(), "" | "{{Prompt}}") {
        return Ok(talk::question(call, &["Prompt"]));
    }
    settings::render(call, &template).await.map_err(|error| error.message)
}

fn command_name(call: Call<'_>) -> String {
    settings::text(call, "mcpCommand").trim().to_owned()
}

async fn server(call: Call<'_>) -> Result<Server, String> {
    let url = settings::text(call, "mcpUrl");
    let name = command_name(call);
    if url.trim().is_empty() {
        let command = call.context.command(&name).ok_or_else(|| {
            format!("the command {name:?} is not listed: the operator lists programs under [mcp.commands]")
        })?;
        return Ok(Server::Command { name, command });
    }
    let url = settings::render(call, &url).await.map_err(|error| error.message)?;
    // The text may hold a secret: it is not shown.
    let url: Url = url.trim().parse().map_err(|_| "the MCP URL is no URL".to_owned())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("an MCP URL begins with http:// or https://, not {}:", url.scheme()));
    }
    Ok(Server::Http { url, headers: headers::of_setting(call, "headers").await? })
}

#[async_trait]
impl Toolbox for McpClient {
    async fn open(&self, call: Call<'_>) -> Result<Box<dyn OpenToolbox>, String> {
        let server = server(call).await?;
        let allow = AllowList::parse(&settings::text(call, "tools"));
        let seconds = settings::number(call, "toolTimeout").filter(|seconds| *seconds >= 1.0);
        let timeout = Duration::try_from_secs_f64(seconds.unwrap_or(TOOL_SECONDS)).unwrap_or_default();
        Ok(Box::new(McpTools::open(call, server, &allow, timeout).await?))
    }
}
