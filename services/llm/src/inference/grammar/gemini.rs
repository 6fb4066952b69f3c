//! Gemini's contents: a person speaks first and last, and the calls of a turn are answered in the content right behind
//! it, as many as there are, in their order.

use serde_json::Value;

use super::list;

/// What of a body is against the grammar.
pub fn check(body: &Value) -> Result<(), String> {
    let contents = list(&body["contents"]);
    let is_user = |content: &Value| content["role"] == "user";
    if !(contents.first().is_some_and(is_user) && contents.last().is_some_and(is_user)) {
        return Err("a person must speak first and last".to_owned());
    }
    let mut open: Vec<&str> = Vec::new();
    for (place, content) in contents.iter().enumerate() {
        let parts = list(&content["parts"]);
        if parts.is_empty() || !(is_user(content) || content["role"] == "model") {
            return Err(format!("content {place}: is empty, or nobody's"));
        }
        let names = |kind: &str| -> Vec<&str> {
            parts.iter().filter_map(|part| part.get(kind)?["name"].as_str()).collect()
        };
        let (calls, results) = (names("functionCall"), names("functionResponse"));
        if results != open {
            return Err(format!("content {place}: results of {results:?} where {open:?} were called"));
        }
        if !calls.is_empty() && is_user(content) || !results.is_empty() && !is_user(content) {
            return Err(format!("content {place}: calls of a person, or results of the model"));
        }
        let is_object = |part: &Value| match (part.get("functionCall"), part.get("functionResponse")) {
            (Some(call), _) => call["args"].is_object(),
            (_, Some(result)) => result["response"].is_object(),
            (None, None) => part.is_object(),
        };
        if !parts.iter().all(is_object) {
            return Err(format!("content {place}: arguments or results that are no object"));
        }
        open = calls;
    }
    Ok(())
}
