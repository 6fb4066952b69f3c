//! TavilyWebSearch, also WebSearch: a search of the web by Tavily.

use futures::future::{BoxFuture, FutureExt as _};
use http::Method;
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::{Map, Value};

use crate::context::{Call, Charge, Component, web};
use crate::egress::Request;
use crate::outbound;
use crate::outcome::{Failed, or_failed};
use crate::settings;

/// The vault key of the team's account.
const KEY: &str = "tavily";
/// What a search is in the ledger, and what Tavily takes for one.
const USE: Charge =
    Charge { source: "api:websearch.smyth", provider: "Tavily", answer: 0, credits: 1, cost_micros: 0 };
/// Results where the setting says nothing, and the most that Tavily gives.
const USUAL_RESULTS: i64 = 10;
const MOST_RESULTS: f64 = 20.0;

static SPEC: ComponentSpec = ComponentSpec::new("TavilyWebSearch", "Searches the web with Tavily")
    .aliases(&["WebSearch"])
    .effect(Effect::Effect)
    .settings(&[
        SettingSpec::integer("sourcesLimit", "Sources Limit", 1.0, MOST_RESULTS)
            .default("10")
            .nullable()
            .describe("how many results"),
        SettingSpec::one_of("searchTopic", "Search Topic", &["general", "news", ""])
            .default("general")
            .describe("what kind of pages"),
        SettingSpec::one_of("timeRange", "Time Range", &["None", "day", "week", "month", "year", ""])
            .default("None")
            .describe("how old a result may be"),
        SettingSpec::boolean("includeImages", "Include Images").default("false").describe("gives `Images`"),
        SettingSpec::boolean("includeQAs", "Include QAs")
            .default("false")
            .describe("gives `Answer`, made of what was found"),
        SettingSpec::boolean("includeRawContent", "Include Raw Content")
            .default("false")
            .describe("gives each page's whole text as `raw_content`"),
        SettingSpec::text_or_empty("excludeDomains", "Exclude Domains", 10_000)
            .describe("hosts between commas, of which nothing is given"),
    ])
    .inputs(&[PortSpec::new("SearchQuery", "Text", "what to search for")])
    .outputs(&[
        PortSpec::new("Results", "Array", "what was found: title, url, content, score"),
        PortSpec::new("Images", "Array", "images, if asked for"),
        PortSpec::new("Answer", "Text", "an answer, if asked for"),
    ])
    .scopes(&["sre.security.v1.Vault"]);

/// The type.
pub struct WebSearch;

impl Component for WebSearch {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_failed(search(call).await) }.boxed()
    }
}

async fn search(call: Call<'_>) -> Result<Outcome, Failed> {
    let query = call.get("SearchQuery").map(Value::to_text).unwrap_or_default();
    if query.trim().is_empty() {
        return Err("SearchQuery is empty: give what to search for".into());
    }
    let key = call.context.secret(KEY).await?;
    let url = web::below(&call.context.web().tavily, "search");
    let request = outbound::json(Request::new(Method::POST, url), &question(call, &query));
    let mut request = outbound::bearer(request, key.expose())?;
    // A search changes nothing.
    request.attempts = outbound::ATTEMPTS;
    let answer = outbound::send(call.context, request).await.map_err(|error| error.to_string())?;
    if let Some(refusal) = outbound::refused(&answer) {
        if answer.status.as_u16() == 401 {
            call.context.log(tracing::Level::WARN, "check the vault key `tavily` of the agent's team");
        }
        return Err(refusal);
    }
    call.context.charged(USE);
    let found = outbound::json_of(&answer).ok_or("Tavily's answer is not JSON")?;
    let member = |name: &str, otherwise: Value| found.get(name).cloned().unwrap_or(otherwise);
    let mut outputs: Map = [("Results".into(), member("results", Value::array(Vec::new())))].into();
    if settings::flag(call, "includeImages") {
        outputs.insert("Images".into(), member("images", Value::array(Vec::new())));
    }
    if settings::flag(call, "includeQAs") {
        outputs.insert("Answer".into(), member("answer", Value::Null));
    }
    let count = outputs.get("Results").and_then(Value::as_array).map_or(0, <[Value]>::len);
    call.context.log(tracing::Level::INFO, &format!("{count} results"));
    Ok(Outcome::output(outputs))
}

/// What Tavily is asked.
fn question(call: Call<'_>, query: &str) -> Value {
    let text = |name: &str, usual: &str| match settings::text(call, name) {
        empty if empty.is_empty() => usual.to_owned(),
        text => text,
    };
    let limit = settings::number(call, "sourcesLimit").map_or(USUAL_RESULTS, |limit| limit as i64);
    let domains = settings::text(call, "excludeDomains");
    let domains = domains.split(',').map(str::trim).filter(|domain| !domain.is_empty());
    let mut asked: Map = [
        ("query".into(), Value::from(query)),
        ("topic".into(), Value::from(text("searchTopic", "general"))),
        ("exclude_domains".into(), Value::array(domains.map(Value::from).collect())),
        ("max_results".into(), Value::from(limit)),
    ]
    .into();
    let range = text("timeRange", "None");
    if range != "None" {
        asked.insert("time_range".into(), Value::from(range));
    }
    for (setting, member) in [
        ("includeImages", "include_images"),
        ("includeQAs", "include_answer"),
        ("includeRawContent", "include_raw_content"),
    ] {
        if settings::flag(call, setting) {
            asked.insert(member.into(), Value::Bool(true));
        }
    }
    Value::object(asked)
}
