//! Exemplars: for each bucket of a histogram the last call whose span is exported, so that a slow call on a dashboard
//! leads to its trace. Neither the recorder nor the SDK of OpenTelemetry has them: they are kept beside the recorder,
//! and put into its text where a scraper asks for
//! [OpenMetrics](https://prometheus.io/docs/specs/om/open_metrics_spec/#exemplars), the one text format that has them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Mutex, RwLock};

use super::metrics::BUCKETS;
use super::trace_context::{TraceContext, write_hex};

/// A span that is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traced {
    trace: [u8; 16],
    span: [u8; 8],
}

impl From<&TraceContext> for Traced {
    fn from(context: &TraceContext) -> Self {
        Self { trace: context.trace, span: context.span }
    }
}

/// What a bucket saw last.
#[derive(Debug)]
struct Seen {
    of: Traced,
    seconds: f64,
    at: Instant,
}

/// The exemplars of one series: one for each bucket.
#[derive(Debug, Default)]
pub(crate) struct Exemplars([Mutex<Option<Seen>>; BUCKETS.len() + 1]);

impl Exemplars {
    /// Something took so long, and ended then. Where another one is just being seen, that one is as good.
    pub(crate) fn see(&self, of: Traced, seconds: f64, at: Instant) {
        let bucket = BUCKETS.partition_point(|&bound| bound < seconds);
        if let Some(mut slot) = self.0[bucket].try_lock() {
            *slot = Some(Seen { of, seconds, at });
        }
    }
}

/// By the beginning that the lines of a series' buckets have, up to their bound. As many as there are series.
static SERIES: RwLock<Option<HashMap<String, &'static Exemplars>>> = RwLock::new(None);

/// The exemplars of a series.
pub(crate) fn of_series(name: &str, labels: &[(&str, &str)]) -> &'static Exemplars {
    let mut line = format!("{name}_bucket{{");
    for (label, value) in labels {
        // Values are names of ours: nothing in them is escaped.
        let _ = write!(line, "{label}=\"{value}\",");
    }
    if let Some(known) = SERIES.read().as_ref().and_then(|series| series.get(&line)) {
        return known;
    }
    SERIES.write().get_or_insert_default().entry(line).or_insert_with(|| Box::leak(Box::default()))
}

/// The recorder's text as OpenMetrics, with exemplars.
pub(super) fn open_metrics(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let (now, wall) = (Instant::now(), SystemTime::now());
    let since_epoch = |at: Instant| {
        let ended = wall.checked_sub(now.saturating_duration_since(at)).unwrap_or(wall);
        ended.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    };
    // Empty lines are not allowed.
    for line in text.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix("# ") {
            // A counter is a family, and `_total` is what its sample adds.
            Some(described) => {
                let mut words = described.splitn(3, ' ');
                let (kind, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                let family = name.strip_suffix("_total").unwrap_or(name);
                let _ = write!(out, "# {kind} {family} {}", words.next().unwrap_or_default());
            }
            None => {
                out.push_str(line);
                exemplar(&mut out, line, since_epoch);
            }
        }
        out.push('\n');
    }
    out.push_str("# EOF\n");
    out
}

/// Adds what a bucket saw last, where the line is a bucket's.
fn exemplar(out: &mut String, line: &str, since_epoch: impl Fn(Instant) -> Duration) -> Option<()> {
    // The bound is the last label; names of others may end like it.
    let (series, bound) = line.split_at(line.rfind("le=\"")?);
    let exemplars = *SERIES.read().as_ref()?.get(series)?;
    let bound = bound.strip_prefix("le=\"")?.split('"').next()?.parse::<f64>().ok()?;
    let bucket = BUCKETS.partition_point(|&below| below < bound);
    let slot = exemplars.0.get(bucket)?.lock();
    let seen = slot.as_ref()?;
    let (mut trace, mut span) = ([0; 32], [0; 16]);
    write_hex(&mut trace, &seen.of.trace);
    write_hex(&mut span, &seen.of.span);
    let text = |hex: &[u8]| hex.iter().copied().map(char::from).collect::<String>();
    let (trace, span, at) = (text(&trace), text(&span), since_epoch(seen.at).as_secs_f64());
    write!(out, " # {{trace_id=\"{trace}\",span_id=\"{span}\"}} {} {at:.3}", seen.seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF: Traced = Traced { trace: [0xab; 16], span: [0x01; 8] };

    fn hex(byte: &str, times: usize) -> String {
        byte.repeat(times)
    }

    #[test]
    fn buckets_show_what_they_saw_last_and_nothing_else_changes() {
        let labels = [("role", "llm"), ("method", "Get")];
        let exemplars = of_series("sre_seen_seconds", &labels);
        assert!(std::ptr::eq(exemplars, of_series("sre_seen_seconds", &labels)));
        let now = Instant::now();
        exemplars.see(OF, 0.0004, now);
        exemplars.see(OF, 0.0005, now);
        exemplars.see(OF, 500.0, now);
        let text = "# HELP sre_seen_seconds How long.\n# TYPE sre_seen_seconds histogram\n\
            sre_seen_seconds_bucket{role=\"llm\",method=\"Get\",le=\"0.0001\"} 0\n\
            sre_seen_seconds_bucket{role=\"llm\",method=\"Get\",le=\"0.0005\"} 2\n\
            sre_seen_seconds_bucket{role=\"llm\",method=\"Put\",le=\"0.0005\"} 2\n\
            sre_seen_seconds_bucket{role=\"llm\",method=\"Get\",le=\"+Inf\"} 3\n\
            sre_seen_seconds_count{role=\"llm\",method=\"Get\"} 3\n\n\
            # HELP sre_seen_total How many.\n# TYPE sre_seen_total counter\nsre_seen_total 7\n\n";
        let shown = open_metrics(text);
        let lines: Vec<&str> = shown.lines().collect();
        let of = format!(" # {{trace_id=\"{}\",span_id=\"{}\"}} ", hex("ab", 16), hex("01", 8));
        assert_eq!(lines[0], "# HELP sre_seen_seconds How long.");
        assert!(lines[2].ends_with("le=\"0.0001\"} 0"), "{shown}");
        // The bound belongs to its bucket, and the later one is shown.
        let (before, after) = lines[3].split_once(&of).unwrap_or_else(|| panic!("{shown}"));
        assert!(before.ends_with("le=\"0.0005\"} 2"), "{shown}");
        let (seconds, at) = after.split_once(' ').unwrap();
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        assert_eq!(seconds, "0.0005");
        assert!((at.parse::<f64>().unwrap() - wall).abs() < 60.0, "{at}");
        assert!(lines[4].ends_with("le=\"0.0005\"} 2"), "another series: {shown}");
        assert!(lines[5].contains(&format!("{of}500 ")), "{shown}");
        assert_eq!(lines[7], "# HELP sre_seen How many.");
        assert_eq!(lines[8..], ["# TYPE sre_seen counter", "sre_seen_total 7", "# EOF"]);
    }
}
