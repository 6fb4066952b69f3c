//! What services outside charge: once for each answer, however often it is told or asked for.

use std::time::Duration;

use serde_json::{Value, json};
use sre_proto::observability::v1::{UsageGrouping, UsageRow};
use sre_proto::security::v1::{PutSecretRequest, Secret};

use super::sums;
use crate::harness::agents::{component, document, endpoint, output};
use crate::harness::clients::run_request;
use crate::harness::http_server::HttpServer;
use crate::harness::process::say;
use crate::harness::{Mode, Options, Suite, eventually};

const AGENT: &str = "teams/default/agents/searcher";

/// Searches.
fn searcher() -> Value {
    document(
        "searcher",
        json!({}),
        &[
            endpoint("find", "POST", &[("what", "Text")]),
            component("search", "TavilyWebSearch", json!({}), &["SearchQuery"], &["Results"]),
            output("found", &["results"]),
        ],
        &["find.what > search.SearchQuery", "search.Results > found.results"],
    )
}

async fn of_team(suite: &Suite) -> UsageRow {
    sums(suite, UsageGrouping::Team).await.remove("default").unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_is_counted_once() {
    let server = HttpServer::start().await;
    let options = Options::default()
        .set("egress.allow", format!("[\"{}\"]", server.address()))
        .set("web.tavily_url", server.url(""));
    let suite = Suite::start("usage-services", Mode::AllInOne, options).await;
    let dev = suite.client("user/dev");
    let secret = Secret { name: "teams/-/secrets/tavily".into(), ..Secret::default() };
    let put =
        PutSecretRequest { secret: Some(secret), value: "tvly-key".into(), ..PutSecretRequest::default() };
    dev.vault().put_secret(put).await.unwrap();
    dev.put(AGENT, &searcher()).await.unwrap();
    // One that its caller asks for twice, and one more.
    let mut twice = run_request(AGENT, "find", &json!({ "what": "once" }));
    twice.request_id = "search-once".into();
    let first = dev.runs().run_skill(twice.clone()).await.unwrap().into_inner();
    let again = dev.runs().run_skill(twice).await.unwrap().into_inner();
    assert_eq!(first.run, again.run);
    dev.run(AGENT, "find", &json!({ "what": "more" })).await.unwrap();
    assert_eq!(server.seen("/search").len(), 2);
    let counted = async || {
        let row = of_team(&suite).await;
        (row.executions == 2 && row.service_calls >= 2).then_some(row)
    };
    let row = eventually("both searches are in the ledger", Duration::from_secs(30), counted).await;
    assert_eq!((row.service_calls, row.service_credits, row.cost_micros, row.model_calls), (2, 2, 0, 0));
    // Told at once and with the record: the second time counts nothing, also a moment later.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(of_team(&suite).await.service_calls, 2);
    let trace = say(suite.folder(), &["runs", "trace", &first.run, "--json"]).await.ok().json();
    let spans: Vec<&str> =
        trace.as_array().unwrap().iter().map(|span| span["span"].as_str().unwrap()).collect();
    assert!(spans.contains(&"api:websearch.smyth"), "{spans:?}");
    suite.stop().await;
}
