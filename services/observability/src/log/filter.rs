//! Which lines pass.

use prost_types::Timestamp;
use sre_proto::error::invalid_argument;
use sre_proto::observability::v1::{LogFilter, LogLevel};
use tonic::Status;

const MAX_TEXT_BYTES: usize = 256;

/// Which lines pass. What is not set lets all pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this run, where not empty.
    pub run: String,
    /// Of this component, where not empty.
    pub component: String,
    /// Of this level and worse.
    pub min_level: i32,
    /// From this moment on: seconds and nanoseconds.
    pub start: Option<(i64, i32)>,
    /// Before this moment.
    pub end: Option<(i64, i32)>,
    /// With this text, in lower case.
    pub text: String,
}

impl Filter {
    /// Reads a request's filter.
    pub fn parse(message: Option<LogFilter>) -> Result<Self, Status> {
        let message = message.unwrap_or_default();
        if LogLevel::try_from(message.min_level).is_err() {
            return Err(invalid_argument("filter.min_level", "is no level: use debug, info, warn or error"));
        }
        if message.text.len() > MAX_TEXT_BYTES {
            return Err(invalid_argument("filter.text", "is longer than 256 bytes: search for less"));
        }
        let moment = |time: Option<Timestamp>| time.map(|time| (time.seconds, time.nanos));
        Ok(Self {
            run: message.run_id,
            component: message.component,
            min_level: message.min_level,
            start: moment(message.start_time),
            end: moment(message.end_time),
            text: message.text.to_ascii_lowercase(),
        })
    }
}
