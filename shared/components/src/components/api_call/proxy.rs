//! The proxies of a request.

use percent_encoding::percent_decode_str;
use rand::seq::SliceRandom as _;

use super::Values;
use super::body::prose;
use crate::egress::Proxy;

/// The proxies of the setting in any order; none where it is empty.
///
/// # Errors
/// If one is no proxy, or the setting comes to nothing.
pub(super) fn list(text: &str, values: Values<'_>) -> Result<Vec<Proxy>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let decoded = percent_decode_str(text).decode_utf8_lossy();
    let rendered = prose(&decoded, values).replace("\\n", "\n");
    let lines: Vec<&str> = rendered.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return Err("Invalid URL".to_owned());
    }
    let parsed: Result<Vec<Proxy>, _> = lines.into_iter().map(Proxy::parse).collect();
    let mut proxies = parsed.map_err(|error| error.to_string())?;
    proxies.shuffle(&mut rand::rng());
    Ok(proxies)
}

#[cfg(test)]
mod tests {
    use sre_engine::template::Secrets;
    use sre_engine::value::{Map, Value};

    use super::*;

    fn listed(text: &str) -> Result<Vec<String>, String> {
        let inputs: Map = [("host".into(), Value::from("p.example"))].into();
        let values = Values { inputs: &inputs, secrets: &Secrets::new() };
        let mut shown: Vec<String> = list(text, values)?.iter().map(|proxy| format!("{proxy:?}")).collect();
        shown.sort();
        Ok(shown)
    }

    #[test]
    fn proxies_are_read_from_lines() {
        assert_eq!(listed("").unwrap(), Vec::<String>::new());
        assert_eq!(listed("http%3A%2F%2F{{host}}:8080").unwrap(), ["http://p.example:8080"]);
        let two = listed("http://a:1\\nsocks5://u:p@b:2\n").unwrap();
        assert_eq!(two, ["http://a:1", "socks5://b:2"]);
        assert_eq!(listed("{{nothing}}").unwrap_err(), "Invalid URL");
        assert!(listed("gopher://h").unwrap_err().contains("gopher"));
    }
}
