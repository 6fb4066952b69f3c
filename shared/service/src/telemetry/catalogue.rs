//! Every metric that the suite has: `docs/metrics.md` lists them, dashboards and alerts name no other, and a test
//! holds the code to this list.

/// What kind a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution; seconds.
    Histogram,
}

/// A label and the values that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricLabel {
    /// Its name.
    pub name: &'static str,
    /// What bounds its values, for people.
    pub bounded_by: &'static str,
}

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// Its labels.
    pub labels: &'static [MetricLabel],
    /// What it counts.
    pub help: &'static str,
    /// Label values under which it is there from the start, as 0, so that its first event is a rise; empty where it
    /// appears with its first sample.
    pub from_start: &'static [&'static [(&'static str, &'static str)]],
}

const fn label(name: &'static str, bounded_by: &'static str) -> MetricLabel {
    MetricLabel { name, bounded_by }
}

const ROLE: MetricLabel = label("role", "the roles of the suite");
const SERVICE: MetricLabel = label("service", "the services of `proto/`");
const METHOD: MetricLabel = label("method", "the methods of `proto/`");
const CODE: MetricLabel = label("code", "the 17 codes of gRPC");
const PROVIDER: MetricLabel = label("provider", "the providers of the model catalogue");

const fn counter(
    name: &'static str,
    labels: &'static [MetricLabel],
    help: &'static str,
    from_start: &'static [&'static [(&'static str, &'static str)]],
) -> Metric {
    Metric { name, kind: MetricKind::Counter, labels, help, from_start }
}

const fn gauge(name: &'static str, labels: &'static [MetricLabel], help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Gauge, labels, help, from_start: &[] }
}

const fn histogram(name: &'static str, labels: &'static [MetricLabel], help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Histogram, labels, help, from_start: &[] }
}

/// There from the start, without labels.
const ONE: &[&[(&str, &str)]] = &[&[]];

/// All metrics, by name.
pub const METRICS: &[Metric] = &[
    counter(
        "sre_acl_decisions_total",
        &[
            label("level", "read, write, owner"),
            label("result", "allowed, denied"),
            label("step", "list (by an access list), name (by the resource's name)"),
        ],
        "Decisions on whether a caller may do what it asks.",
        &[],
    ),
    counter(
        "sre_audit_denials_dropped_total",
        &[ROLE],
        "Refusals that found no place in the audit queue.",
        &[],
    ),
    counter(
        "sre_auth_failures_total",
        &[ROLE, label("reason", "the reasons of `sre.type.v1.Reason`")],
        "Calls whose credentials were refused.",
        &[],
    ),
    counter(
        "sre_cache_reads_total",
        &[label("result", "hit, miss")],
        "Entries of the cache that were asked for.",
        &[&[("result", "hit")], &[("result", "miss")]],
    ),
    histogram(
        "sre_code_duration_seconds",
        &[],
        "How long calls of the sandbox took, without waiting for a place.",
    ),
    counter(
        "sre_code_executions_total",
        &[label("outcome", "returned, threw, refused, limit, violation, gone, failed")],
        "Calls of the sandbox.",
        &[
            &[("outcome", "returned")],
            &[("outcome", "threw")],
            &[("outcome", "refused")],
            &[("outcome", "limit")],
            &[("outcome", "violation")],
            &[("outcome", "gone")],
            &[("outcome", "failed")],
        ],
    ),
    counter(
        "sre_code_limit_hits_total",
        &[label("limit", "the limits of `docs/sandbox.md`")],
        "Calls of the sandbox that reached a limit.",
        &[
            &[("limit", "wall")],
            &[("limit", "cpu")],
            &[("limit", "heap")],
            &[("limit", "stack")],
            &[("limit", "source")],
            &[("limit", "arguments")],
            &[("limit", "logs")],
            &[("limit", "result")],
            &[("limit", "concurrency")],
            &[("limit", "http")],
        ],
    ),
    counter("sre_code_workers_started_total", &[], "Processes started for the sandbox.", ONE),
    counter(
        "sre_component_attempts_total",
        &[label("result", "answered, failed, unreached, broken, wrong, late, cancelled")],
        "Streams of components out of process, by how they ended.",
        &[
            &[("result", "answered")],
            &[("result", "failed")],
            &[("result", "unreached")],
            &[("result", "broken")],
            &[("result", "wrong")],
            &[("result", "late")],
            &[("result", "cancelled")],
        ],
    ),
    gauge(
        "sre_connector_health",
        &[label("service", "the services with backends"), label("id", "the backends of the configuration")],
        "1 where a backend answers, 0 where it does not.",
    ),
    counter(
        "sre_delegation_exchanges_total",
        &[label("result", "ok, refused, unavailable")],
        "Exchanges of tokens that this process asked for and did not have.",
        &[&[("result", "ok")], &[("result", "refused")], &[("result", "unavailable")]],
    ),
    counter("sre_engine_summaries_capped_total", &[], "Summaries of runs that a team's rate left out.", ONE),
    counter("sre_engine_summaries_lost_total", &[], "Summaries of runs that were lost.", ONE),
    counter(
        "sre_file_links_total",
        &[label("outcome", "served, other")],
        "Requests for linked files.",
        &[&[("outcome", "served")], &[("outcome", "other")]],
    ),
    counter(
        "sre_limit_refusals_total",
        &[ROLE, label("limit", "the limits of the configuration")],
        "Calls beyond a team's or a caller's limit.",
        &[],
    ),
    counter(
        "sre_llm_breaker_opened_total",
        &[PROVIDER],
        "Places of models that are left alone for a while, because they failed.",
        &[&[("provider", "openai")]],
    ),
    counter(
        "sre_llm_budget_reached_total",
        &[label("kind", "hard, soft")],
        "Calls of models that a budget refused, or that went on beyond a soft one.",
        &[&[("kind", "hard")], &[("kind", "soft")]],
    ),
    counter(
        "sre_llm_cached_answers_total",
        &[label("result", "hit, miss")],
        "Answers that were looked for among those that are kept.",
        &[&[("result", "hit")], &[("result", "miss")]],
    ),
    histogram(
        "sre_llm_call_seconds",
        &[PROVIDER, label("result", "ok, abandoned, or what went wrong")],
        "Answers of models, to their end.",
    ),
    counter(
        "sre_llm_cost_micros_total",
        &[PROVIDER],
        "What answers cost, in millionths of a US dollar.",
        &[],
    ),
    counter(
        "sre_llm_fallbacks_total",
        &[PROVIDER],
        "Requests that another model took over from one of this provider.",
        &[&[("provider", "openai")]],
    ),
    histogram("sre_llm_first_piece_seconds", &[PROVIDER], "The wait for the first piece of an answer."),
    counter(
        "sre_llm_retries_total",
        &[PROVIDER],
        "Calls of models that were repeated.",
        &[&[("provider", "openai")]],
    ),
    counter(
        "sre_llm_tokens_total",
        &[PROVIDER, label("kind", "input, output, embedding")],
        "Tokens that providers counted.",
        &[],
    ),
    counter(
        "sre_log_lines_lost_total",
        &[label("reason", "queue, refused, unavailable")],
        "Log lines of agents that did not reach the log.",
        &[&[("reason", "queue")], &[("reason", "refused")], &[("reason", "unavailable")]],
    ),
    counter("sre_log_lines_total", &[], "Log lines of agents that were stored.", ONE),
    counter(
        "sre_log_refused_total",
        &[label("limit", "log_lines_per_minute, agent_log_lines_per_minute")],
        "Log lines beyond the rate of an agent or its team.",
        &[&[("limit", "log_lines_per_minute")], &[("limit", "agent_log_lines_per_minute")]],
    ),
    counter("sre_log_sink_lines_lost_total", &[], "Copies of log lines that a sink did not take.", ONE),
    histogram(
        "sre_rpc_duration_seconds",
        &[ROLE, SERVICE, METHOD, CODE],
        "Calls that were served, streams to their end.",
    ),
    gauge("sre_rpc_in_flight", &[ROLE, SERVICE, METHOD], "Calls that are being served."),
    counter("sre_rpc_requests_total", &[ROLE, SERVICE, METHOD, CODE], "Calls that were served.", &[]),
    counter(
        "sre_storage_bytes_total",
        &[label("op", "read, write")],
        "Bytes of files that were written, and of those that were asked for.",
        &[&[("op", "read")], &[("op", "write")]],
    ),
    counter(
        "sre_telemetry_spans_total",
        &[label("result", "ended, exported, failed")],
        "Spans for export: what ended and was neither exported nor failed waits, or was dropped from a full queue.",
        &[&[("result", "ended")], &[("result", "exported")], &[("result", "failed")]],
    ),
    counter(
        "sre_usage_events_lost_total",
        &[],
        "Events that did not reach the ledger, and were in no journal.",
        ONE,
    ),
    counter(
        "sre_usage_events_total",
        &[label("result", "recorded, known")],
        "Events that reached the ledger: new ones, and repeats that count nothing.",
        &[&[("result", "recorded")], &[("result", "known")]],
    ),
];

/// `docs/metrics.md`: the list for people.
pub fn reference_markdown() -> String {
    let mut text = String::from(
        "# Metrics\n\nEvery metric that the suite has, scraped from `/metrics` of each process's admin port and, with \
         `telemetry.otlp_endpoint`, exported over OTLP. This page is the output of `sre config metrics`; a test holds \
         the code, the dashboard and the alerts in `deploy/monitoring` to it.\n\nHistograms are in seconds and have \
         `_bucket`, `_sum` and `_count`. No label holds the name of a team, an agent, a user, a run or anything else \
         that callers choose: what those used is in the ledger (`sre usage`).\n\n| metric | kind | labels | counts |\n|---|---|---|---|\n",
    );
    for metric in METRICS {
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let labels: Vec<String> =
            metric.labels.iter().map(|label| format!("`{}`: {}", label.name, label.bounded_by)).collect();
        text.push_str(&format!("| `{}` | {kind} | {} | {} |\n", metric.name, labels.join("; "), metric.help));
    }
    text
}

/// Describes all metrics to the recorder, and begins those that are there from the start.
pub(super) fn describe() {
    for metric in METRICS {
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            MetricKind::Histogram => {
                metrics::describe_histogram!(metric.name, metrics::Unit::Seconds, metric.help);
            }
        }
        for labels in metric.from_start {
            let labels: Vec<metrics::Label> =
                labels.iter().map(|(name, value)| metrics::Label::from_static_parts(name, value)).collect();
            metrics::counter!(metric.name, labels).increment(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_unique_and_say_their_unit() {
        assert!(METRICS.is_sorted_by(|one, other| one.name < other.name));
        for metric in METRICS {
            assert!(metric.name.starts_with("sre_"), "{metric:?}");
            let seconds = metric.name.ends_with("_seconds");
            assert_eq!(metric.kind == MetricKind::Histogram, seconds, "{metric:?}");
        }
    }

    #[test]
    fn what_is_there_from_the_start_has_the_labels_of_its_metric() {
        for metric in METRICS {
            let labels: Vec<&str> = metric.labels.iter().map(|label| label.name).collect();
            for start in metric.from_start {
                assert_eq!(start.iter().map(|(name, _)| *name).collect::<Vec<_>>(), labels, "{metric:?}");
            }
        }
    }
}
