//! A Prometheus that scrapes a split suite.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::{metric_of_series, root};
use crate::harness::agents::{component, document, endpoint, output};
use crate::harness::otlp::{Collector, hex};
use crate::harness::{Mode, Options, Suite, eventually};
use crate::usage::provider::Provider;
use sre_service::telemetry::catalogue::{METRICS, MetricKind};
use sre_service::testing::backend;

const AGENT: &str = "teams/default/agents/measured";
const LENGTH: &str = "async function main(text) { return text.length; }";
const WITHIN: Duration = Duration::from_secs(60);
/// More values than this of one label are no bounded set. Methods are the largest one.
const MOST_VALUES: usize = 300;

/// Prometheus; dropped, it is ended.
struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    /// Starts it on these targets.
    fn start(program: &str, folder: &Path, targets: &[String]) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let config = json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s" },
            "rule_files": [root().join("deploy/monitoring/rules.yml")],
            "scrape_configs": [{ "job_name": "sre", "static_configs": [{ "targets": targets }] }],
        });
        // JSON is YAML.
        std::fs::write(folder.join("prometheus.yml"), config.to_string()).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let child = Command::new(program)
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--enable-feature=exemplar-storage")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, address }
    }

    /// What its API answers; none while it is not there.
    async fn get(&self, path: &str) -> Option<Value> {
        let answer = reqwest::get(format!("http://{}/api/v1/{path}", self.address)).await.ok()?;
        let answer: Value = serde_json::from_str(&answer.text().await.ok()?).ok()?;
        Some(answer["data"].clone())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks a model, and runs code.
fn measured() -> Value {
    let ask = json!({ "model": "charging", "prompt": "{{text}}", "passthrough": true });
    document(
        "measured",
        json!({}),
        &[
            endpoint("ask", "POST", &[("text", "Text")]),
            component("model", "GenAILLM", ask, &["text"], &["Reply"]),
            component("code", "ECMASandbox", json!({ "code": LENGTH }), &["text"], &["Output"]),
            output("answer", &["reply", "length"]),
        ],
        &[
            "ask.text > model.text",
            "ask.text > code.text",
            "model.Reply > answer.reply",
            "code.Output > answer.length",
        ],
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_finds_every_metric_and_no_label_grows() {
    let Some(program) = backend("SRE_TEST_PROMETHEUS") else { return };
    let provider = Provider::start().await;
    provider.release();
    let models = tempfile::tempdir().unwrap();
    std::fs::write(models.path().join("models.json"), provider.models().to_string()).unwrap();
    let collector = Collector::start().await;
    let options = Options::default()
        .set("models.path", models.path().display())
        .set("telemetry.otlp_endpoint", collector.endpoint())
        .set("limits.teams.small.calls_per_second", 1);
    let suite = Suite::start("metrics", Mode::Split, options).await;
    let dev = suite.client("user/dev");
    dev.put(AGENT, &measured()).await.unwrap();
    for number in 0..20 {
        // Each with a session, a text and a run of its own: none may become a label.
        dev.answer(AGENT, "ask", &json!({ "text": format!("text {number}") })).await.unwrap();
    }
    let _ = dev.get_run("teams/other/agents/nobody/runs/00-none").await.unwrap_err();
    // A token that is none.
    let door = format!("http://{}/api/ask", suite.address("http"));
    let refused = reqwest::Client::new()
        .post(door)
        .header("x-agent-id", "measured")
        .bearer_auth("nonsense")
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 401);

    let admins: BTreeMap<&String, &String> =
        suite.endpoints().iter().filter(|(name, _)| name.starts_with("admin")).collect();
    let targets: Vec<String> = admins.into_values().cloned().collect();
    let prometheus = Prometheus::start(&program, &suite.folder().join("prometheus"), &targets);
    let up = async || {
        let answer = prometheus.get("query?query=up").await?;
        let up = answer["result"].as_array()?.iter().filter(|one| one["value"][1] == "1").count();
        (up == targets.len()).then_some(())
    };
    eventually("Prometheus has scraped every process", WITHIN, up).await;

    // Those that count what goes wrong somewhere else, and did not here.
    let rare = [
        "sre_audit_denials_dropped_total",
        "sre_limit_refusals_total",
        "sre_auth_failures_total",
        "sre_connector_health",
    ];
    let wanted: BTreeSet<&str> =
        METRICS.iter().map(|metric| metric.name).filter(|name| !rare.contains(name)).collect();
    let found = async || {
        let names = prometheus.get("label/__name__/values").await?;
        let series: Vec<String> =
            names.as_array()?.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
        let found: BTreeSet<&str> =
            series.iter().filter_map(|series| metric_of_series(series)).map(|metric| metric.name).collect();
        let missing: Vec<&&str> = wanted.difference(&found).collect();
        if !missing.is_empty() {
            eprintln!("not there yet: {missing:?}");
            return None;
        }
        Some(series)
    };
    let series = eventually("every metric is there", WITHIN, found).await;
    for name in series.iter().filter(|name| name.starts_with("sre_")) {
        assert!(metric_of_series(name).is_some(), "{name} is not in the list of metrics");
    }
    labels_are_bounded(&prometheus).await;
    exemplars_lead_to_traces(&prometheus, &collector).await;
    alerts_are_understood(&prometheus).await;
    drop(prometheus);
    suite.stop().await;
}

async fn labels_are_bounded(prometheus: &Prometheus) {
    let known: BTreeSet<&str> =
        METRICS.iter().flat_map(|metric| metric.labels).map(|label| label.name).collect();
    let own = ["__name__", "instance", "job", "le", "quantile"];
    let answer = prometheus.get("series?match[]={__name__=~\"sre_.*\"}").await.unwrap();
    let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for series in answer.as_array().unwrap() {
        for (name, value) in series.as_object().unwrap() {
            values.entry(name.clone()).or_default().insert(value.as_str().unwrap().to_owned());
        }
    }
    for (name, values) in &values {
        assert!(own.contains(&name.as_str()) || known.contains(name.as_str()), "a label {name}: {values:?}");
        assert!(values.len() <= MOST_VALUES, "{name} has {} values", values.len());
        for value in values.iter().filter(|_| name != "__name__") {
            for chosen in ["measured", "user/", "text ", "00-"] {
                assert!(!value.contains(chosen), "the label {name} holds what callers chose: {value}");
            }
        }
    }
}

/// Each histogram's exemplars name spans that the collector has, and say how long those took at least.
async fn exemplars_lead_to_traces(prometheus: &Prometheus, collector: &Collector) {
    let histograms = METRICS.iter().filter(|metric| metric.kind == MetricKind::Histogram);
    for histogram in histograms.map(|metric| metric.name) {
        let path = format!("query_exemplars?query={histogram}_bucket&start=0&end=4102444800");
        let known = async || {
            let answer = prometheus.get(&path).await?;
            let series = answer.as_array()?;
            let exemplars =
                series.iter().flat_map(|series| series["exemplars"].as_array().into_iter().flatten());
            let of_spans: Vec<f64> = exemplars.filter_map(|exemplar| took(exemplar, collector)).collect();
            (!of_spans.is_empty()).then_some(of_spans)
        };
        let apart = eventually(&format!("an exemplar of {histogram} leads to its span"), WITHIN, known).await;
        // A span lasts as long as what is measured, but for the moment between the beginnings of the two.
        assert!(apart.iter().all(|apart| *apart > -0.5), "{histogram}: {apart:?}");
    }
}

/// By how many seconds the span that an exemplar names lasted longer than the exemplar says, if the collector has it.
fn took(exemplar: &Value, collector: &Collector) -> Option<f64> {
    let said: f64 = exemplar["value"].as_str()?.parse().ok()?;
    let spans = collector.trace(exemplar["labels"]["trace_id"].as_str()?);
    let id = exemplar["labels"]["span_id"].as_str()?;
    let span = spans.iter().find(|span| hex(&span.span_id) == id)?;
    let lasted = (span.end_time_unix_nano - span.start_time_unix_nano) as f64 / 1e9;
    Some(lasted - said)
}

async fn alerts_are_understood(prometheus: &Prometheus) {
    let rules = prometheus.get("rules").await.unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap().clone();
    assert!(rules.len() > 5, "{rules:?}");
    for rule in rules {
        assert_ne!(rule["health"], "err", "{rule}");
    }
}
