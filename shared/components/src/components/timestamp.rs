//! FTimestamp: the time now.

use chrono::{DateTime, FixedOffset, Local, SecondsFormat, Utc};
use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::Value;

use crate::context::{Call, Component};
use crate::outcome::one;
use crate::settings;

static SPEC: ComponentSpec = ComponentSpec::new("FTimestamp", "The time now")
    .effect(Effect::Read)
    .settings(&[SettingSpec::text("format", "Format", 0)
        .nullable()
        .check(check_format)
        .default("unix")
        .describe(
            "`unix` or `timestamp` for milliseconds, `iso`, or a pattern such as `YYYY-MM-DD HH:mm:ss`",
        )])
    .inputs(&[PortSpec::new("Trigger", "Any", "ignored").optional()])
    .outputs(&[PortSpec::new("Timestamp", "Any", "the time")]);

/// The type.
pub struct FTimestamp;

impl Component for FTimestamp {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        let format = settings::text(call, "format");
        let now = Local::now().fixed_offset();
        std::future::ready(one("Timestamp", timestamp(&format, now))).boxed()
    }
}

fn check_format(value: &Value) -> Result<(), String> {
    let format = value.as_str().unwrap_or_default();
    let named = matches!(format, "unix" | "timestamp" | "iso");
    let pattern = format.chars().all(|c| "YMDHhmsSZzAa-/:,.".contains(c) || c.is_whitespace());
    if named || pattern {
        return Ok(());
    }
    Err(format!("Invalid format string: {format}"))
}

fn timestamp(format: &str, now: DateTime<FixedOffset>) -> Value {
    match format {
        "" | "unix" | "timestamp" => Value::from(now.timestamp_millis()),
        "iso" => Value::from(now.with_timezone(&Utc).to_rfc3339_opts(SecondsFormat::Millis, true)),
        pattern => Value::from(by_pattern(pattern, now)),
    }
}

/// The tokens of day.js with the chrono format of each, longest first.
const TOKENS: &[(&str, &str)] = &[
    ("YYYY", "%Y"),
    ("YY", "%y"),
    ("MMMM", "%B"),
    ("MMM", "%b"),
    ("MM", "%m"),
    ("M", "%-m"),
    ("DD", "%d"),
    ("D", "%-d"),
    ("HH", "%H"),
    ("H", "%-H"),
    ("hh", "%I"),
    ("h", "%-I"),
    ("mm", "%M"),
    ("m", "%-M"),
    ("ss", "%S"),
    ("s", "%-S"),
    ("SSS", "%3f"),
    ("ZZ", "%z"),
    ("Z", "%:z"),
    ("A", "%p"),
    ("a", "%P"),
];

fn by_pattern(pattern: &str, now: DateTime<FixedOffset>) -> String {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(next) = rest.chars().next() {
        let token = TOKENS.iter().find(|(token, _)| rest.starts_with(token));
        match token {
            Some((token, format)) => {
                out.push_str(&now.format(format).to_string());
                rest = &rest[token.len()..];
            }
            None => {
                out.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(format: &str) -> String {
        let now = DateTime::parse_from_rfc3339("2024-02-03T16:05:06.078+02:00").unwrap();
        timestamp(format, now).to_text()
    }

    #[test]
    fn formats_are_those_of_dayjs() {
        for (format, text) in [
            ("unix", "1706969106078"),
            ("", "1706969106078"),
            ("iso", "2024-02-03T14:05:06.078Z"),
            ("YYYY-MM-DD", "2024-02-03"),
            ("D/M/YY, H:m:s.SSS", "3/2/24, 16:5:6.078"),
            ("hh:mm a A", "04:05 pm PM"),
            ("MMMM MMM h", "February Feb 4"),
            ("YYYYMMDDHHmmssZ ZZ z", "20240203160506+02:00 +0200 z"),
            ("S", "S"),
        ] {
            assert_eq!(at(format), text, "{format}");
        }
    }

    #[test]
    fn other_characters_are_refused() {
        for bad in ["dddd", "YYYY [x]", "Q#"] {
            let error = check_format(&Value::from(bad)).unwrap_err();
            assert_eq!(error, format!("Invalid format string: {bad}"));
        }
        for good in ["unix", "timestamp", "iso", "YYYY-MM-DD HH:mm"] {
            assert_eq!(check_format(&Value::from(good)), Ok(()));
        }
    }
}
