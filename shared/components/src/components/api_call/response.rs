//! Reading the answer of a request.

use http::HeaderMap;
use sre_engine::Outcome;
use sre_engine::data::binary as binaries;
use sre_engine::value::{Map, Value};

use crate::context::Call;
use crate::egress::Response;
use crate::outcome::{failed_with, values};
use crate::page;

pub(super) async fn outcome(call: Call<'_>, response: Response) -> Result<Outcome, String> {
    let headers = Value::object(headers(&response.headers));
    let status = Value::from(u64::from(response.status.as_u16()));
    let body = match kind(&response) {
        Kind::Json => json(&response),
        Kind::Text => Ok(Value::from(text(&response))),
        Kind::Binary => Ok(store(call, &response).await?),
    };
    let failed = response.status.is_client_error() || response.status.is_server_error();
    let refused = || format!("Request failed with status code {}", response.status.as_u16());
    Ok(match body {
        Ok(body) if failed => {
            failed_with([("Response", body), ("Headers", headers), ("Status", status)], &refused())
        }
        Ok(body) => values([("Response", body), ("Headers", headers), ("Status", status)]),
        // What came is kept beside the error, so that it is not lost.
        Err(error) => failed_with(
            [
                ("Response", Value::Null),
                ("Headers", headers),
                ("Status", status),
                ("RawResponse", Value::from(text(&response))),
            ],
            &if failed { refused() } else { error },
        ),
    })
}

fn headers(headers: &HeaderMap) -> Map {
    let mut map = Map::new();
    for name in headers.keys() {
        let values: Vec<_> = headers.get_all(name).iter().map(|value| latin1(value.as_bytes())).collect();
        map.insert(name.as_str().into(), Value::from(values.join(", ")));
    }
    map
}

fn latin1(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap_or_else(|_| bytes.iter().copied().map(char::from).collect())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Text,
    Binary,
}

fn kind(response: &Response) -> Kind {
    let media = page::media_type(&response.headers);
    // No body is empty text, whatever its type.
    if response.body.is_empty() {
        return if is_json(&media) { Kind::Json } else { Kind::Text };
    }
    kind_of(&media, &response.body)
}

fn kind_of(media: &str, body: &[u8]) -> Kind {
    if is_json(media) {
        return Kind::Json;
    }
    let family = media.split('/').next().unwrap_or_default();
    let text = [
        "application/xml",
        "application/xhtml+xml",
        "application/csv",
        "application/x-www-form-urlencoded",
        "application/yaml",
        "application/x-yaml",
        "application/javascript",
        "application/sql",
        "application/rtf",
    ];
    if family == "text" || media.ends_with("+xml") && family != "image" || text.contains(&media) {
        return Kind::Text;
    }
    if matches!(family, "image" | "audio" | "video" | "model" | "font") || media == "multipart/form-data" {
        return Kind::Binary;
    }
    if media.starts_with("application/") && looks_binary(body) {
        return Kind::Binary;
    }
    let files = ["application/pdf", "application/zip", "application/octet-stream", "application/gzip"];
    if files.contains(&media) || looks_binary(body) { Kind::Binary } else { Kind::Text }
}

fn is_json(media: &str) -> bool {
    let named = ["application/json", "application/graphql", "application/json-seq", "application/csp-report"];
    named.contains(&media) || (media.starts_with("application/") && media.ends_with("+json"))
}

/// No text: a NUL byte, or no UTF-8.
fn looks_binary(body: &[u8]) -> bool {
    let head = &body[..body.len().min(4096)];
    match std::str::from_utf8(head) {
        Ok(text) => text.contains('\0'),
        // A character cut off at the end of the sample is fine.
        Err(error) => error.error_len().is_some() || head.contains(&0),
    }
}

fn json(response: &Response) -> Result<Value, String> {
    if response.body.is_empty() {
        return Ok(Value::object(Map::new()));
    }
    let text = text(response);
    serde_json::from_str(&text).map_err(|error| match error.classify() {
        serde_json::error::Category::Eof => "Unexpected end of JSON input".to_owned(),
        _ => format!("Unexpected token in JSON: {error}"),
    })
}

/// The body as text, in the charset it names, else UTF-8.
fn text(response: &Response) -> String {
    page::decode(&response.headers, &response.body)
}

async fn store(call: Call<'_>, response: &Response) -> Result<Value, String> {
    let media = page::media_type(&response.headers);
    let told = Some(media.as_str()).filter(|media| !media.is_empty());
    let name = format!("{}-response", sre_proto::ids::new_id());
    let binary = binaries::binary(&name, told, response.body.clone());
    call.context.store_temp(&binary).await.map_err(|error| error.message)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http::header::CONTENT_TYPE;

    use super::*;

    #[test]
    fn media_types_are_told_apart() {
        for (media, body, kind) in [
            ("application/json", "{}", Kind::Json),
            ("application/vnd.foo+json", "{}", Kind::Json),
            ("application/problem+json", "{}", Kind::Json),
            ("text/html", "x", Kind::Text),
            ("application/atom+xml", "x", Kind::Text),
            ("application/x-yaml", "x", Kind::Text),
            ("image/svg+xml", "<svg/>", Kind::Binary),
            ("image/png", "x", Kind::Binary),
            ("application/pdf", "x", Kind::Binary),
            ("application/octet-stream", "x", Kind::Binary),
            ("application/msword", "\0x", Kind::Binary),
            ("application/unknown", "plain", Kind::Text),
            ("", "plain", Kind::Text),
            ("", "\0", Kind::Binary),
        ] {
            assert_eq!(kind_of(media, body.as_bytes()), kind, "{media}");
        }
    }

    fn response(content_type: &str, body: &'static [u8]) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        let url = "http://h/".parse().unwrap();
        Response { status: StatusCode::OK, headers, body: body.into(), url }
    }

    #[test]
    fn bodies_are_read() {
        assert_eq!(json(&response("application/json", b"")), Ok(Value::object(Map::new())));
        let cut = json(&response("application/json", b"{\"broken\": "));
        assert_eq!(cut, Err("Unexpected end of JSON input".to_owned()));
        assert_eq!(text(&response("text/plain; charset=iso-8859-1", b"\xe9")), "é");
        assert_eq!(text(&response("text/plain", "plain ✓ text".as_bytes())), "plain ✓ text");
    }
}
