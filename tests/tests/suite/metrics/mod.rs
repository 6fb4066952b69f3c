//! Metrics: the code counts what the list says, dashboards and alerts name nothing else, and a Prometheus that scrapes
//! a split suite finds them.

mod prometheus;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sre_service::telemetry::catalogue::{METRICS, Metric, MetricKind};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// The metric that a series belongs to.
fn metric_of_series(series: &str) -> Option<&'static Metric> {
    let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| series.strip_suffix(suffix));
    metric(series)
        .or_else(|| of_histogram.and_then(metric).filter(|metric| metric.kind == MetricKind::Histogram))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != "tests" {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// Names and labels of the metrics that the code counts: the literals of `counter!`, `gauge!` and `histogram!`.
fn counted() -> BTreeMap<String, BTreeSet<String>> {
    let mut files = Vec::new();
    for folder in ["services", "shared"] {
        sources(&root().join(folder), &mut files);
    }
    let mut counted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for kind in ["counter!(", "gauge!(", "histogram!("] {
            for (at, _) in text.match_indices(kind) {
                // Describing is no counting.
                if text[..at].ends_with("describe_") {
                    continue;
                }
                let rest = text[at + kind.len()..].trim_start();
                let Some(rest) = rest.strip_prefix('"') else { continue };
                let (name, rest) = rest.split_once('"').unwrap();
                let call = &rest[..rest.find(')').unwrap_or(rest.len())];
                let labels = call.split("=>").filter_map(|part| part.rsplit('"').nth(1));
                let literal = call.matches("=>").count();
                counted.entry(name.to_owned()).or_default().extend(labels.take(literal).map(str::to_owned));
            }
        }
    }
    counted
}

#[test]
fn the_code_counts_what_the_list_says() {
    let counted = counted();
    let listed: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    let found: BTreeSet<&str> = counted.keys().map(String::as_str).collect();
    assert_eq!(found, listed, "left: counted in the code; right: in the list of metrics");
    for (name, labels) in &counted {
        let known: BTreeSet<&str> = metric(name).unwrap().labels.iter().map(|label| label.name).collect();
        for label in labels {
            assert!(known.contains(label.as_str()), "{name} has a label {label} that the list does not have");
        }
    }
}

/// Words that can be metrics' names.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("sre_"))
}

#[test]
fn dashboards_and_alerts_name_what_exists() {
    let folder = root().join("deploy/monitoring");
    let dashboard = std::fs::read_to_string(folder.join("dashboard.json")).unwrap();
    let read: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = read["panels"].as_array().unwrap();
    let expressions = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let expressions: Vec<&str> = expressions.map(|target| target["expr"].as_str().unwrap()).collect();
    let rules = std::fs::read_to_string(folder.join("rules.yml")).unwrap();
    let expressions: Vec<&str> = expressions.into_iter().chain([rules.as_str()]).collect();
    let mut named = BTreeSet::new();
    for expression in expressions {
        for word in words(expression) {
            let metric = metric_of_series(word);
            named.insert(metric.unwrap_or_else(|| panic!("{word} is no metric: {expression}")).name);
        }
    }
    let unseen: Vec<&str> =
        METRICS.iter().map(|metric| metric.name).filter(|name| !named.contains(name)).collect();
    assert!(unseen.is_empty(), "no panel and no alert shows {unseen:?}");
}

#[test]
fn nothing_that_callers_choose_is_a_label() {
    for metric in METRICS {
        for label in metric.labels {
            let chosen = ["team", "agent", "user", "run", "model", "resource", "name", "caller", "path"];
            assert!(!chosen.contains(&label.name), "{}: {}", metric.name, label.name);
        }
    }
}
