//! Times as people read them.

use prost_types::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Reads RFC 3339; none where it is something else.
pub fn parse(text: &str) -> Option<Timestamp> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Some(Timestamp { seconds: time.unix_timestamp(), nanos: i32::try_from(time.nanosecond()).ok()? })
}

/// RFC 3339 in UTC; empty where there is none.
pub fn text(time: Option<&Timestamp>) -> String {
    let moment = time.and_then(|t| OffsetDateTime::from_unix_timestamp(t.seconds).ok());
    moment.and_then(|m| m.format(&Rfc3339).ok()).unwrap_or_default()
}

/// The time now.
pub fn now() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}
