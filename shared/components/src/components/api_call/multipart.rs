//! Multipart forms.

use bytes::{BufMut as _, BytesMut};
use sre_engine::template;
use sre_engine::value::{Binary, Value};

use super::Values;
use super::body::{Body, file, prose};
use crate::context::Call;

pub(super) async fn build(call: Call<'_>, text: &str, values: Values<'_>) -> Result<Body, String> {
    let members: Value =
        serde_json::from_str(text).map_err(|error| format!("the multipart body is not JSON: {error}"))?;
    let members = members.as_object().ok_or("the multipart body is not a JSON object of its fields")?.clone();
    // No part can hold it by chance: it is as random as the run's id, and a digest of the content.
    let boundary = format!("sre-{:016x}{:016x}", rand::random::<u64>(), rand::random::<u64>());
    let mut form = Form { boundary, bytes: BytesMut::new() };
    for (name, value) in &members {
        match part(call, value, values).await? {
            Part::File(binary) => form.file(name, &binary),
            Part::Text(text) if text.is_empty() => {}
            Part::Text(text) => form.text(name, &text),
        }
    }
    Ok(form.finish())
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

struct Form {
    boundary: String,
    bytes: BytesMut,
}

impl Form {
    fn head(&mut self, name: &str, rest: &str) {
        let head = format!(
            "--{}\r\nContent-Disposition: form-data; name=\"{}\"{rest}\r\n\r\n",
            self.boundary,
            quoted(name)
        );
        self.bytes.put_slice(head.as_bytes());
    }

    fn text(&mut self, name: &str, text: &str) {
        self.head(name, "");
        self.bytes.put_slice(text.as_bytes());
        self.bytes.put_slice(b"\r\n");
    }

    fn file(&mut self, name: &str, binary: &Binary) {
        let file_name = if binary.name.is_empty() { name } else { &binary.name };
        let mimetype = quoted(&binary.mimetype);
        self.head(name, &format!("; filename=\"{}\"\r\nContent-Type: {mimetype}", quoted(file_name)));
        self.bytes.put_slice(&binary.data);
        self.bytes.put_slice(b"\r\n");
    }

    fn finish(mut self) -> Body {
        self.bytes.put_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        Body {
            content_type: Some(format!("multipart/form-data; boundary={}", self.boundary)),
            bytes: Some(self.bytes.freeze()),
        }
    }
}

/// A name in quotes cannot end them, nor the line.
fn quoted(text: &str) -> String {
    text.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_framed_and_names_cannot_break_out() {
        let mut form = Form { boundary: "B".into(), bytes: BytesMut::new() };
        form.text("a\"\r\nX: y", "v");
        let binary = Binary { name: "f.txt".into(), mimetype: "text/plain".into(), data: "hi".into() };
        form.file("f", &binary);
        let body = form.finish();
        assert_eq!(
            String::from_utf8(body.bytes.unwrap().to_vec()).unwrap(),
            "--B\r\nContent-Disposition: form-data; name=\"a%22%0D%0AX: y\"\r\n\r\nv\r\n\
             --B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f.txt\"\r\nContent-Type: text/plain\
             \r\n\r\nhi\r\n--B--\r\n"
        );
        assert_eq!(body.content_type.as_deref(), Some("multipart/form-data; boundary=B"));
    }

    #[test]
    fn only_a_lone_placeholder_is_a_file() {
        assert_eq!(single_token(" {{x}} "), Some("x"));
        assert_eq!(single_token("lit {{x}}"), None);
        assert_eq!(single_token("{{x}}{{y}}"), None);
    }
}
