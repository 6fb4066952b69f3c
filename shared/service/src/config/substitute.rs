//! `$env(NAME)` and `$env(NAME:-fallback)` inside text values of files.

/// Replaces every occurrence. An unset variable without a fallback is an error: the name is returned.
///
/// Only files that the operator owns pass here; nothing that a caller can write does, or it could read
/// the environment of the service.
pub(super) fn substitute(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    const OPEN: &str = "$env(";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(OPEN) {
        let inside = &rest[start + OPEN.len()..];
        let Some(end) = inside.find(')') else { break };
        let (name, fallback) = match inside[..end].split_once(":-") {
            Some((name, fallback)) => (name, Some(fallback)),
            None => (&inside[..end], None),
        };
        out.push_str(&rest[..start]);
        match (lookup(name), fallback) {
            (Some(value), _) => out.push_str(&value),
            (None, Some(fallback)) => out.push_str(fallback),
            (None, None) => return Err(name.to_owned()),
        }
        rest = &inside[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<String, String> {
        substitute(text, &|name| (name == "SET").then(|| "value".to_owned()))
    }

    #[test]
    fn every_occurrence_is_replaced() {
        assert_eq!(run("a$env(SET)b$env(SET)").unwrap(), "avaluebvalue");
        assert_eq!(run("$env(NOT:-fall back)$env(SET:-x)").unwrap(), "fall backvalue");
        assert_eq!(run("$env(NOT:-)").unwrap(), "");
    }

    #[test]
    fn an_unset_variable_is_named() {
        assert_eq!(run("$env(SET)$env(NOPE)"), Err("NOPE".to_owned()));
    }

    #[test]
    fn other_text_stays() {
        assert_eq!(run("$env(SET").unwrap(), "$env(SET");
        assert_eq!(run("env(SET) $ {}").unwrap(), "env(SET) $ {}");
    }
}
