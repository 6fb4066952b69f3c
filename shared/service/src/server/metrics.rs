//! Requests, durations and what is in flight, by method and code.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderMap;
use metrics::{Counter, Gauge, Histogram};
use sre_proto::{METHODS, MethodPolicy};
use tonic::Code;

use crate::role::Role;
use crate::telemetry::exemplars::{self, Exemplars, Traced};
use crate::telemetry::metrics::{BUCKETS, counted};
use crate::telemetry::spans::WorkSpan;
use crate::telemetry::tally::{self, Apart, Collected, PLACES, place};

const CODES: usize = 17;

/// What is in flight of one method, and handles of its codes, made at its first call: recording then costs no look-up.
struct Handles {
    service: &'static str,
    method: &'static str,
    role: &'static str,
    by_code: [OnceLock<Box<OfCode>>; CODES],
    running: [Apart<AtomicI64>; PLACES],
    in_flight: Gauge,
}

/// Calls that ended with one code, by how long they took, as the recorder does not know them yet.
struct OfCode {
    places: [Apart<Took>; PLACES],
    counter: Counter,
    histogram: Histogram,
    exemplars: &'static Exemplars,
}

/// For each bucket, how many calls, and their nanoseconds together.
#[derive(Default)]
struct Took {
    calls: [AtomicU64; BUCKETS.len() + 1],
    nanos: [AtomicU64; BUCKETS.len() + 1],
}

/// The upper bounds of the buckets in nanoseconds.
const BOUNDS: [u64; BUCKETS.len()] = {
    let mut bounds = [0; BUCKETS.len()];
    let mut index = 0;
    while index < BUCKETS.len() {
        bounds[index] = (BUCKETS[index] * 1e9 + 0.5) as u64;
        index += 1;
    }
    bounds
};

/// The metrics of a role.
pub(crate) struct RoleMetrics {
    role: Role,
    methods: Vec<OnceLock<&'static Handles>>,
}

/// A call being measured; recorded when dropped.
pub(crate) struct Observation {
    handles: Option<&'static Handles>,
    started: Instant,
    code: Code,
    traced: Option<Traced>,
}

impl RoleMetrics {
    /// Lives as long as the process: handles are shared with bodies of streams.
    pub(crate) fn leaked(role: Role) -> &'static Self {
        static BY_ROLE: [OnceLock<RoleMetrics>; Role::ALL.len()] =
            [const { OnceLock::new() }; Role::ALL.len()];
        BY_ROLE[role.index()]
            .get_or_init(|| Self { role, methods: METHODS.iter().map(|_| OnceLock::new()).collect() })
    }

    /// Starts measuring a call.
    pub(crate) fn start(&'static self, method: Option<&'static MethodPolicy>) -> Observation {
        let handles = method.filter(|_| counted()).and_then(|row| self.handles(row));
        if let Some(handles) = handles {
            handles.running[place()].0.fetch_add(1, Ordering::Relaxed);
        }
        Observation { handles, started: Instant::now(), code: Code::Ok, traced: None }
    }

    fn handles(&'static self, row: &'static MethodPolicy) -> Option<&'static Handles> {
        let index = index_of(row)?;
        Some(self.methods[index].get_or_init(|| {
            let (role, service, method) = (self.role.name(), row.service, row.method);
            let in_flight = metrics::gauge!("sre_rpc_in_flight", "role" => role, "service" => service, "method" => method);
            let (by_code, running) = (Default::default(), Default::default());
            let handles: &'static Handles =
                Box::leak(Box::new(Handles { role, service, method, by_code, running, in_flight }));
            tally::register(handles);
            handles
        }))
    }
}

/// Where a row is in the table that all rows come from, without a search.
fn index_of(row: &'static MethodPolicy) -> Option<usize> {
    let apart = std::ptr::from_ref(row).addr().checked_sub(METHODS.as_ptr().addr())?;
    let index = apart / size_of::<MethodPolicy>();
    METHODS.get(index).filter(|known| std::ptr::eq(*known, row)).map(|_| index)
}

impl Handles {
    fn of_code(&self, code: Code) -> &OfCode {
        self.by_code[code as usize % CODES].get_or_init(|| {
            let pairs = [
                ("role", self.role),
                ("service", self.service),
                ("method", self.method),
                ("code", code_name(code)),
            ];
            let labels = pairs.map(|(name, value)| metrics::Label::from_static_parts(name, value));
            let counter = metrics::counter!("sre_rpc_requests_total", labels.iter());
            let histogram = metrics::histogram!("sre_rpc_duration_seconds", labels.iter());
            let exemplars = exemplars::of_series("sre_rpc_duration_seconds", &pairs);
            Box::new(OfCode { places: Default::default(), counter, histogram, exemplars })
        })
    }
}

impl OfCode {
    fn took(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|&bound| bound < nanos);
        let took = &self.places[place()].0;
        took.calls[bucket].fetch_add(1, Ordering::Relaxed);
        took.nanos[bucket].fetch_add(nanos, Ordering::Relaxed);
    }
}

impl Collected for Handles {
    fn collect(&self) {
        let running: i64 = self.running.iter().map(|place| place.0.load(Ordering::Relaxed)).sum();
        // A call may begin at one place and end at another, and be seen at one only.
        self.in_flight.set(running.max(0) as f64);
        for of_code in self.by_code.iter().filter_map(OnceLock::get) {
            of_code.collect();
        }
    }
}

impl OfCode {
    /// The calls of each bucket are told as so many of their mean, which is in the same bucket: counts and the sum are
    /// what they would have been one by one.
    fn collect(&self) {
        for bucket in 0..=BUCKETS.len() {
            let taken = |of: fn(&Took) -> &[AtomicU64; BUCKETS.len() + 1]| -> u64 {
                self.places.iter().map(|place| of(&place.0)[bucket].swap(0, Ordering::Relaxed)).sum()
            };
            let (nanos, calls) = (taken(|took| &took.nanos), taken(|took| &took.calls));
            if calls == 0 {
                // The time of a call that is counted next time.
                self.places[0].0.nanos[bucket].fetch_add(nanos, Ordering::Relaxed);
                continue;
            }
            // A call may be counted here whose time comes next time.
            let least = bucket.checked_sub(1).map_or(0, |below| BOUNDS[below] + 1);
            let most = BOUNDS.get(bucket).copied().unwrap_or(u64::MAX);
            let mean = (nanos as f64 / calls as f64).clamp(least as f64, most as f64) / 1e9;
            self.counter.increment(calls);
            self.histogram.record_many(mean, usize::try_from(calls).unwrap_or(usize::MAX));
        }
    }
}

impl Observation {
    /// The call's span.
    pub(crate) fn traced(&mut self, span: &WorkSpan) {
        self.traced = span.traced();
    }

    /// How the call ended.
    pub(crate) fn code(&mut self, code: Code) {
        self.code = code;
    }

    /// Counts a call whose credentials were refused, by the reason.
    pub(crate) fn count_refused_credentials(&self, role: Role, headers: &HeaderMap) {
        if self.code != Code::Unauthenticated {
            return;
        }
        let reason =
            tonic::Status::from_header_map(headers).and_then(|status| sre_proto::error::reason(&status));
        let reason = reason.map_or("UNKNOWN", sre_proto::error::name);
        metrics::counter!("sre_auth_failures_total", "role" => role.name(), "reason" => reason).increment(1);
    }

    /// How the call ended so far.
    pub(crate) fn code_name(&self) -> &'static str {
        code_name(self.code)
    }

    /// How the call ended, as headers or trailers say.
    pub(crate) fn code_of(&mut self, headers: &HeaderMap) {
        if let Some(value) = headers.get("grpc-status") {
            self.code = Code::from_bytes(value.as_bytes());
        }
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let Some(handles) = self.handles else { return };
        handles.running[place()].0.fetch_sub(1, Ordering::Relaxed);
        let took = self.started.elapsed();
        let of_code = handles.of_code(self.code);
        of_code.took(took);
        if let Some(traced) = self.traced {
            of_code.exemplars.see(traced, took.as_secs_f64(), self.started + took);
        }
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use metrics::HistogramFn;
    use parking_lot::Mutex;

    use super::*;

    #[derive(Default)]
    struct Samples(Mutex<Vec<f64>>);

    impl HistogramFn for Samples {
        fn record(&self, value: f64) {
            self.0.lock().push(value);
        }
    }

    #[test]
    fn a_rows_place_is_found() {
        for (index, row) in METHODS.iter().enumerate() {
            assert_eq!(index_of(row), Some(index));
        }
        let elsewhere: &'static MethodPolicy = Box::leak(Box::new(METHODS[0]));
        assert_eq!(index_of(elsewhere), None);
    }

    #[test]
    fn calls_reach_the_recorder_in_their_buckets_and_with_their_sum() {
        let (total, samples) = (Arc::new(AtomicU64::new(0)), Arc::new(Samples::default()));
        let of_code = OfCode {
            places: Default::default(),
            counter: Counter::from_arc(Arc::clone(&total)),
            histogram: Histogram::from_arc(Arc::clone(&samples)),
            exemplars: Box::leak(Box::default()),
        };
        // At, above and beyond bounds.
        let micros = [1_u64, 99, 100, 101, 500, 10_000, 200_000_000];
        std::thread::scope(|scope| {
            for micros in micros {
                let of_code = &of_code;
                scope.spawn(move || of_code.took(Duration::from_micros(micros)));
            }
        });
        of_code.collect();
        of_code.collect();
        assert_eq!(total.load(Ordering::Relaxed), 7);
        let samples = samples.0.lock().clone();
        let at_most = |bound: f64| samples.iter().filter(|sample| **sample <= bound).count();
        let counts: Vec<usize> = BUCKETS.iter().map(|bound| at_most(*bound)).collect();
        let expected = |bound: &f64| micros.iter().filter(|micros| **micros as f64 / 1e6 <= *bound).count();
        assert_eq!(counts, BUCKETS.iter().map(expected).collect::<Vec<_>>());
        let sum: f64 = samples.iter().sum();
        assert!((sum - 200.010_801).abs() < 1e-6, "{sum}");
    }
}
