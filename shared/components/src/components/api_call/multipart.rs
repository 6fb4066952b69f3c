//! Multipart forms.

use sre_engine::template;
use sre_engine::value::{Binary, Value};

use super::Values;
use super::body::{Body, file, prose};
use crate::context::Call;
use crate::form::Form;

pub(super) async fn build(call: Call<'_>, text: &str, values: Values<'_>) -> Result<Body, String> {
    let members: Value =
        serde_json::from_str(text).map_err(|error| format!("the multipart body is not JSON: {error}"))?;
    let members = members.as_object().ok_or("the multipart body is not a JSON object of its fields")?.clone();
    let mut form = Form::new();
    for (name, value) in &members {
        match part(call, value, values).await? {
            Part::File(binary) => form.file(name, &binary),
            Part::Text(text) if text.is_empty() => {}
            Part::Text(text) => form.text(name, &text),
        }
    }
    let (content_type, bytes) = form.finish();
    Ok(Body { content_type: Some(content_type), bytes: Some(bytes) })
}

enum Part {
    Text(String),
    File(Binary),
}

async fn part(call: Call<'_>, value: &Value, values: Values<'_>) -> Result<Part, String> {
    let Value::String(text) = value else {
        return Ok(match file(call, Some(value)).await? {
            Some(binary) => Part::File(binary),
            None => Part::Text(value.to_text()),
        });
    };
    if let Some(token) = single_token(text)
        && let Some(input) = call.input.get(token)
        && !matches!(input, Value::String(text) if !text.starts_with("smythfs://"))
        && let Some(binary) = file(call, Some(input)).await?
    {
        return Ok(Part::File(binary));
    }
    Ok(Part::Text(prose(text, values)))
}

/// The token of a text that is one placeholder and nothing else.
fn single_token(text: &str) -> Option<&str> {
    let mut parts = template::parts(text.trim());
    match (parts.next(), parts.next()) {
        (Some(template::Part::Token(token)), None) => Some(token),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lone_placeholder_is_a_file() {
        assert_eq!(single_token(" {{x}} "), Some("x"));
        assert_eq!(single_token("lit {{x}}"), None);
        assert_eq!(single_token("{{x}}{{y}}"), None);
    }
}
