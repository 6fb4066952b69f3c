//! ScrapflyWebScrape, also WebScrape: reads pages of the web, by Scrapfly or by itself.

mod local;
mod scrapfly;
mod urls;

use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::Value;

use crate::context::{Call, Component, Failure, SecretText, web};
use crate::outcome::{or_error, values};
use crate::settings;

/// The vault key of the team's account.
const KEY: &str = "scrapfly";
/// Pages that are read at a time, and of one call.
const AT_A_TIME: usize = 5;
const MOST_PAGES: usize = 100;

static SPEC: ComponentSpec = ComponentSpec::new(
    "ScrapflyWebScrape",
    "Reads pages of the web, as Markdown or otherwise",
)
.aliases(&["WebScrape"])
.effect(Effect::Effect)
.settings(&[
    SettingSpec::one_of("scraper", "Scraper", &["auto", "scrapfly", "local", ""]).default("auto").describe(
        "who reads the pages: Scrapfly, or this deployment, which runs no script; `auto` is Scrapfly where \
                     the team's vault has the key `scrapfly`, unless the deployment says otherwise",
    ),
    SettingSpec::boolean("antiScrapingProtection", "Anti-Scraping Protection")
        .default("false")
        .describe("gets by protections against reading by machines; Scrapfly only"),
    SettingSpec::boolean("javascriptRendering", "JavaScript Rendering")
        .default("false")
        .describe("runs the page's scripts first; Scrapfly only"),
    SettingSpec::boolean("autoScroll", "Auto Scroll")
        .default("false")
        .describe("scrolls to the page's end first, for what loads late; Scrapfly only"),
    SettingSpec::text_or_empty("format", "Format", 100).default("markdown").describe(
        "`markdown`, `markdown:no_links`, `text`, `raw`; with Scrapfly also `clean_html` and `json`",
    ),
    SettingSpec::any("countries", "Countries")
        .describe("codes of countries to read from, as a list or between commas; Scrapfly only"),
])
.inputs(&[PortSpec::new("URLs", "Any", "addresses: a list, JSON text of one, or between commas")])
.outputs(&[
    PortSpec::new("Results", "Array", "each page that was read: url, content"),
    PortSpec::new("FailedURLs", "Array", "each that was not: url, error"),
])
.scopes(&["sre.security.v1.Vault"]);

/// The type.
pub struct WebScrape;

impl Component for WebScrape {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(scrape(call).await) }.boxed()
    }
}

/// Who reads.
enum By {
    Scrapfly(SecretText),
    Local,
}

async fn scrape(call: Call<'_>) -> Result<Outcome, String> {
    let wanted = urls::of(&call.declared())?;
    if wanted.is_empty() {
        return Err(
            "no address is given: connect an input with one, for example https://example.com".to_owned()
        );
    }
    if wanted.len() > MOST_PAGES {
        return Err(format!("{} addresses are given: {MOST_PAGES} at most", wanted.len()));
    }
    let (by, format) = (scraper(call).await?, format(call));
    let (by, format) = (&by, format.as_str());
    let pages =
        futures::stream::iter(wanted.into_iter().enumerate().map(|(place, (text, url))| async move {
            let read = match url {
                Err(error) => Err(error),
                Ok(url) => match by {
                    By::Scrapfly(key) => scrapfly::read(call, place, &url, key, format).await,
                    By::Local => local::read(call, url, format).await,
                },
            };
            (text, read)
        }));
    let pages: Vec<_> = pages.buffered(AT_A_TIME).collect().await;
    if call.context.cancelled().is_cancelled() {
        return Err("Agent killed".to_owned());
    }
    let (mut results, mut failed) = (Vec::new(), Vec::new());
    for (url, read) in pages {
        let entry = |name: &str, value: String| {
            Value::object(
                [("url".into(), Value::from(url.as_str())), (name.into(), Value::from(value))].into(),
            )
        };
        match read {
            Ok(content) => results.push(entry("content", content)),
            Err(error) => failed.push(entry("error", error)),
        }
    }
    call.context.log(tracing::Level::INFO, &format!("{} pages read, {} not", results.len(), failed.len()));
    Ok(values([("Results", Value::array(results)), ("FailedURLs", Value::array(failed))]))
}

async fn scraper(call: Call<'_>) -> Result<By, String> {
    let chosen = match settings::text(call, "scraper").as_str() {
        "scrapfly" => web::Scraper::Scrapfly,
        "local" => web::Scraper::Local,
        _ => call.context.web().scraper,
    };
    if chosen == web::Scraper::Local {
        return Ok(By::Local);
    }
    match call.context.secret(KEY).await {
        Ok(key) => Ok(By::Scrapfly(key)),
        Err(error) if chosen == web::Scraper::Auto && error.kind == Failure::NotFound => Ok(By::Local),
        Err(error) => Err(error.message),
    }
}

fn format(call: Call<'_>) -> String {
    match settings::text(call, "format").trim() {
        "" => "markdown".to_owned(),
        format => format.to_owned(),
    }
}
