//! Times as people read them.

use prost_types::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Reads RFC 3339; none where it is something else.
pub fn parse(text: &str) -> Option<Timestamp> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Some(Timestamp { seconds: time.unix_timestamp(), nanos: i32::try_from(time.nanosecond()).ok()? })
}

/// Reads a moment: RFC 3339, or how long ago it is: `90s`, `15m`, `2h`, `7d`. For command lines.
pub fn since(text: &str) -> Result<Timestamp, String> {
    let ago = |text: &str| {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return None,
        };
        let seconds = number.parse::<u32>().ok().map(|number| i64::from(number) * seconds)?;
        let now = OffsetDateTime::now_utc();
        Some(Timestamp { seconds: now.unix_timestamp() - seconds, nanos: 0 })
    };
    parse(text)
        .or_else(|| ago(text))
        .ok_or_else(|| format!("{text:?} is no moment: write 15m, 2h, 7d or 2026-01-31T12:00:00Z"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_full_or_as_how_long_ago() {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        assert!((now - 901..=now - 899).contains(&since("15m").unwrap().seconds));
        assert_eq!(since("1970-01-01T00:01:00Z").unwrap().seconds, 60);
        for wrong in ["", "m", "15", "-1h", "15w", "yesterday", "é"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }
}
