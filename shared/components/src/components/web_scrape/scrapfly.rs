//! Pages that Scrapfly reads.

use http::Method;
use sre_engine::value::Value;
use url::Url;

use crate::context::{Call, Charge, SecretText, web};
use crate::egress::Request;
use crate::outbound;
use crate::settings;

/// The most credits that one page may cost.
const BUDGET: &str = "80";
/// What is said where Scrapfly does not say more.
const FAILED: &str = "Failed to scrape URL";

/// Reads a page, which is the call's page at this place.
pub(super) async fn read(
    call: Call<'_>,
    place: usize,
    page: &Url,
    key: &SecretText,
    format: &str,
) -> Result<String, String> {
    let mut url = web::below(&call.context.web().scrapfly, "scrape");
    question(call, &mut url, page, format);
    // The one way in which this service takes its key.
    url.query_pairs_mut().append_pair("key", key.expose());
    let request = Request::new(Method::GET, url);
    let answer = outbound::send(call.context, request).await.map_err(|error| error.to_string())?;
    let json = outbound::json_of(&answer);
    let at = |path: &[&str]| path.iter().try_fold(json.as_ref()?, |value, name| value.get(name));
    let is_error = answer.status.is_client_error() || answer.status.is_server_error();
    let cost = at(&["context", "cost", "total"]).and_then(Value::as_f64).map(f64::ceil);
    // A page that could not be read may cost, too.
    if !is_error || cost.is_some() {
        let credits = cost.unwrap_or_default().max(0.0) as i64;
        call.context.charged(Charge {
            source: "api:webscrape.smyth",
            provider: "Scrapfly",
            answer: place,
            credits,
            cost_micros: 0,
        });
        call.context.log(tracing::Level::INFO, &format!("{credits} credits of Scrapfly"));
    }
    if is_error {
        let said = at(&["result", "error", "message"]).or_else(|| at(&["message"])).and_then(Value::as_str);
        return Err(match said {
            Some(said) => said.to_owned(),
            None => format!("{FAILED}: status code {}", answer.status.as_u16()),
        });
    }
    if let Some(error) = at(&["result", "error", "message"]).and_then(Value::as_str) {
        return Err(error.to_owned());
    }
    at(&["result", "content"]).map(Value::to_text).ok_or_else(|| FAILED.to_owned())
}

fn question(call: Call<'_>, url: &mut Url, page: &Url, format: &str) {
    let flag = |name: &str| settings::flag(call, name);
    let mut query = url.query_pairs_mut();
    query.append_pair("url", page.as_str()).append_pair("cost_budget", BUDGET).append_pair("format", format);
    if flag("antiScrapingProtection") {
        query.append_pair("asp", "true");
    }
    if flag("javascriptRendering") || flag("autoScroll") {
        query.append_pair("render_js", "true");
    }
    if flag("autoScroll") {
        query.append_pair("auto_scroll", "true");
    }
    let countries = match call.node.setting("countries") {
        Some(Value::Array(codes)) => codes.iter().map(Value::to_text).collect::<Vec<_>>().join(","),
        Some(Value::String(codes)) => codes.to_string(),
        _ => String::new(),
    };
    if !countries.trim().is_empty() {
        query.append_pair("country", countries.trim());
    }
}
