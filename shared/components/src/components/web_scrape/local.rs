//! Pages that this deployment reads itself: no script runs.

use http::Method;
use http::header::{ACCEPT, HeaderValue};
use url::Url;

use crate::context::Call;
use crate::egress::Request;
use crate::outbound;
use crate::page::{self, LinksAs};

const ACCEPTED: HeaderValue = HeaderValue::from_static(
    "text/html, application/xhtml+xml, text/plain;q=0.9, application/json;q=0.8, */*;q=0.1",
);

pub(super) async fn read(call: Call<'_>, url: Url, format: &str) -> Result<String, String> {
    if !matches!(format, "markdown" | "markdown:no_links" | "text" | "raw") {
        return Err(format!(
            "the format `{format}` needs Scrapfly: store its key as `scrapfly`, or use markdown, \
             markdown:no_links, text or raw"
        ));
    }
    let request = Request::new(Method::GET, url).header(ACCEPT, ACCEPTED).repeatable(outbound::ATTEMPTS);
    let answer = outbound::send(call.context, request).await.map_err(|error| error.to_string())?;
    if let Some(refusal) = outbound::refusal(&answer) {
        return Err(refusal);
    }
    let media = page::media_type(&answer.headers);
    let is_page = matches!(media.as_str(), "text/html" | "application/xhtml+xml" | "");
    let is_text = is_page
        || media.starts_with("text/")
        || media.ends_with("json")
        || media.ends_with("xml")
        || media == "application/javascript";
    if !is_text {
        return Err(format!("the answer is no page but `{media}`"));
    }
    let content = page::decode(&answer.headers, &answer.body);
    match format {
        "markdown" if is_page => page::markdown(&content, LinksAs::Links),
        "markdown:no_links" if is_page => page::markdown(&content, LinksAs::Text),
        "text" if is_page => Ok(page::text(&content)),
        _ => Ok(content),
    }
}
