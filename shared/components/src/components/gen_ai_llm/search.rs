//! A search by the provider, as the settings of OpenAI's and xAI's models name it.

use sre_proto::llm::v1::{Model, WebSearch};

use super::spec;
use crate::components::llm::parameters::{list, whole};
use crate::context::Call;
use crate::settings;

/// The search that a record wants, if the model can. Agents that are stored want one of models of every kind: it is
/// left out for those that search nothing.
///
/// # Errors
/// If a vault key of a template cannot be had.
pub(super) async fn wanted(call: Call<'_>, model: &Model) -> Result<Option<WebSearch>, String> {
    if !model.features.iter().any(|feature| feature == "search") {
        return Ok(None);
    }
    if settings::flag(call, "useWebSearch") {
        return Ok(Some(of_the_web(call).await?));
    }
    let is_off = settings::text(call, "searchMode") == "off";
    if settings::flag(call, "useSearch") && !is_off {
        return Ok(Some(of_sources(call).await?));
    }
    Ok(None)
}

async fn rendered(call: Call<'_>, name: &str) -> Result<String, String> {
    settings::render(call, &settings::text(call, name)).await.map_err(|error| error.message)
}

async fn of_the_web(call: Call<'_>) -> Result<WebSearch, String> {
    Ok(WebSearch {
        context_size: settings::text(call, "webSearchContextSize"),
        city: rendered(call, "webSearchCity").await?,
        country: rendered(call, "webSearchCountry").await?,
        region: rendered(call, "webSearchRegion").await?,
        timezone: rendered(call, "webSearchTimezone").await?,
        ..WebSearch::default()
    })
}

async fn of_sources(call: Call<'_>) -> Result<WebSearch, String> {
    let texts = |name: &str| list(&settings::text(call, name));
    let count = |name: &str| settings::number(call, name).map(whole);
    let sources = call.node.setting("searchDataSources").map(spec::sources).unwrap_or_default();
    // Providers take one of each pair: what is allowed says more than what is not.
    let (allowed, handles) = (texts("allowedWebsites"), texts("includedXHandles"));
    let unless = |others: &[String], name: &str| if others.is_empty() { texts(name) } else { Vec::new() };
    Ok(WebSearch {
        country: rendered(call, "searchCountry").await?,
        excluded_domains: unless(&allowed, "excludedWebsites"),
        excluded_handles: unless(&handles, "excludedXHandles"),
        allowed_domains: allowed,
        included_handles: handles,
        max_results: count("maxSearchResults").and_then(|most| i32::try_from(most).ok()).unwrap_or(0),
        from_date: settings::text(call, "fromDate"),
        to_date: settings::text(call, "toDate"),
        sources,
        feeds: texts("rssLinks"),
        safe_search: call.node.setting("safeSearch").and_then(sre_engine::Value::to_bool_lenient),
        return_citations: Some(settings::flag(call, "returnCitations")),
        min_favorites: count("postFavoriteCount").unwrap_or(0),
        min_views: count("postViewCount").unwrap_or(0),
        ..WebSearch::default()
    })
}
