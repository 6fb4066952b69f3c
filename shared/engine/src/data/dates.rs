//! Dates as English-speaking people write them, as ISO-8601 UTC with milliseconds.
//!
//! A text without a zone is read as UTC: an answer must not depend on where the engine runs. Days that do
//! not exist are an error, not rolled over (rulings 15).

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, Utc};

const DATE_TIMES: &[&str] = &[
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %I:%M %p",
    "%B %d %Y %H:%M:%S",
    "%B %d %Y %I:%M:%S %p",
    "%B %d %Y %H:%M",
    "%B %d %Y %I:%M %p",
    "%d %B %Y %H:%M:%S",
    "%d %B %Y %H:%M",
];
const DATES: &[&str] = &["%Y-%m-%d", "%Y/%m/%d", "%m/%d/%Y", "%m-%d-%Y", "%B %d %Y", "%d %B %Y"];
const ZONED: &[&str] = &["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z"];
const ZONED_WORDS: &[&str] = &["%B %d %Y %H:%M:%S %#z", "%d %B %Y %H:%M:%S %#z", "%m/%d/%Y %H:%M:%S %#z"];
const WEEKDAYS: &[&str] = &["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// The ISO form of a point in time given in milliseconds since 1970.
pub fn from_millis(millis: f64) -> Option<String> {
    // The range of a JavaScript date.
    if !millis.is_finite() || millis.abs() > 8.64e15 {
        return None;
    }
    DateTime::from_timestamp_millis(millis.trunc() as i64).map(iso)
}

/// The ISO form of a date in words or figures.
pub fn parse(text: &str) -> Option<String> {
    let text = text.trim();
    if let Ok(date) = DateTime::parse_from_rfc3339(text) {
        return Some(iso(date.to_utc()));
    }
    if let Some(month) = year_month(text) {
        return Some(month);
    }
    let zoned = |text: &str, formats: &[&str]| {
        formats.iter().find_map(|format| DateTime::parse_from_str(text, format).ok()).map(|d| iso(d.to_utc()))
    };
    let plain = plain_words(text);
    zoned(text, ZONED).or_else(|| zoned(&plain, ZONED_WORDS)).or_else(|| without_zone(&plain))
}

fn without_zone(text: &str) -> Option<String> {
    let time = |format: &&str| NaiveDateTime::parse_from_str(text, format).ok();
    let date = |format: &&str| NaiveDate::parse_from_str(text, format).ok()?.and_hms_opt(0, 0, 0);
    DATE_TIMES.iter().find_map(time).or_else(|| DATES.iter().find_map(date)).map(|naive| iso(naive.and_utc()))
}

/// `2024-01`: the first of the month. (A bare year is a number of milliseconds, as in the reference.)
fn year_month(text: &str) -> Option<String> {
    let (year, month) = text.split_once('-')?;
    if year.len() != 4 || month.len() != 2 {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, 1)?;
    Some(iso(date.and_hms_opt(0, 0, 0)?.and_utc()))
}

/// Without weekday, commas, ordinals' dots and the word GMT before an offset.
fn plain_words(text: &str) -> String {
    let text = text.split(" (").next().unwrap_or(text).replace(',', " ");
    let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    let weekday = words.first().is_some_and(|word| {
        word.chars().all(char::is_alphabetic)
            && WEEKDAYS.iter().any(|day| word.to_lowercase().starts_with(day))
    });
    if weekday {
        words.remove(0);
    }
    for word in &mut words {
        match word.to_uppercase().as_str() {
            "GMT" | "UTC" | "Z" => *word = "+0000".to_owned(),
            upper if upper.starts_with("GMT+") || upper.starts_with("GMT-") => word.replace_range(..3, ""),
            _ => {}
        }
    }
    words.join(" ")
}

fn iso(date: DateTime<Utc>) -> String {
    date.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_in_use_are_read() {
        for (text, iso) in [
            ("2024-01-20", "2024-01-20T00:00:00.000Z"),
            ("01/20/2024", "2024-01-20T00:00:00.000Z"),
            ("Jan 20, 2024", "2024-01-20T00:00:00.000Z"),
            ("January 20, 2024", "2024-01-20T00:00:00.000Z"),
            ("20 January 2024", "2024-01-20T00:00:00.000Z"),
            ("2024-01-20T10:20:30Z", "2024-01-20T10:20:30.000Z"),
            ("2024-01-20T10:20:30.5+02:00", "2024-01-20T08:20:30.500Z"),
            ("2024-01-20 10:20", "2024-01-20T10:20:00.000Z"),
            ("01/20/2024 3:04 PM", "2024-01-20T15:04:00.000Z"),
            ("Sat, 20 Jan 2024 10:20:30 GMT", "2024-01-20T10:20:30.000Z"),
            ("Sat Jan 20 2024 10:20:30 GMT+0100 (CET)", "2024-01-20T09:20:30.000Z"),
            ("2024-03", "2024-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(parse(text).as_deref(), Some(iso), "{text}");
        }
    }

    #[test]
    fn days_that_do_not_exist_and_prose_are_refused() {
        for text in ["2024-02-30", "02/30/2024", "garbage", "2024-13-01", "sometime in May"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn millis_become_iso() {
        assert_eq!(from_millis(1_705_705_200_000.0).as_deref(), Some("2024-01-19T23:00:00.000Z"));
        assert_eq!(from_millis(2024.0).as_deref(), Some("1970-01-01T00:00:02.024Z"));
        assert_eq!(from_millis(9e15), None);
    }
}
