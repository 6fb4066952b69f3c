//! Requests, durations and what is in flight, by method and code.

use std::sync::OnceLock;
use std::time::Instant;

use http::HeaderMap;
use metrics::{Counter, Gauge, Histogram};
use sre_proto::MethodPolicy;
use tonic::Code;

use crate::role::Role;

const CODES: usize = 17;

/// Handles of one method, made at its first call: recording then costs no look-up.
struct Handles {
    service: &'static str,
    method: &'static str,
    role: &'static str,
    by_code: [OnceLock<(Counter, Histogram)>; CODES],
    in_flight: Gauge,
}

/// The metrics of a role.
pub(crate) struct RoleMetrics {
    role: Role,
    methods: Vec<OnceLock<Box<Handles>>>,
}

/// A call being measured; recorded when dropped.
pub(crate) struct Observation {
    handles: Option<&'static Handles>,
    started: Instant,
    code: Code,
}

impl RoleMetrics {
    /// Lives as long as the process: handles are shared with bodies of streams.
    pub(crate) fn leaked(role: Role) -> &'static Self {
        static BY_ROLE: [OnceLock<RoleMetrics>; Role::ALL.len()] =
            [const { OnceLock::new() }; Role::ALL.len()];
        BY_ROLE[role.index()].get_or_init(|| Self {
            role,
            methods: sre_proto::METHODS.iter().map(|_| OnceLock::new()).collect(),
        })
    }

    /// Starts measuring a call.
    pub(crate) fn start(&'static self, method: Option<&'static MethodPolicy>) -> Observation {
        let handles = method.and_then(|row| self.handles(row));
        if let Some(handles) = handles {
            handles.in_flight.increment(1.0);
        }
        Observation { handles, started: Instant::now(), code: Code::Ok }
    }

    fn handles(&'static self, row: &'static MethodPolicy) -> Option<&'static Handles> {
        let index = sre_proto::METHODS.binary_search_by(|known| known.path.cmp(row.path)).ok()?;
        Some(self.methods[index].get_or_init(|| {
            let (role, service, method) = (self.role.name(), row.service, row.method);
            let in_flight = metrics::gauge!("sre_rpc_in_flight", "role" => role, "service" => service, "method" => method);
            Box::new(Handles { role, service, method, by_code: Default::default(), in_flight })
        }))
    }
}

impl Handles {
    fn of_code(&self, code: Code) -> &(Counter, Histogram) {
        self.by_code[code as usize % CODES].get_or_init(|| {
            let labels = [
                metrics::Label::from_static_parts("role", self.role),
                metrics::Label::from_static_parts("service", self.service),
                metrics::Label::from_static_parts("method", self.method),
                metrics::Label::from_static_parts("code", code_name(code)),
            ];
            let counter = metrics::counter!("sre_rpc_requests_total", labels.iter());
            let histogram = metrics::histogram!("sre_rpc_duration_seconds", labels.iter());
            (counter, histogram)
        })
    }
}

impl Observation {
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
        handles.in_flight.decrement(1.0);
        let (counter, histogram) = handles.of_code(self.code);
        counter.increment(1);
        histogram.record(self.started.elapsed().as_secs_f64());
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
