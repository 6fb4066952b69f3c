//! Frames of AWS event streams: lengths, headers, payload and two checksums. Written from their description, so that
//! what reads them is not tested against itself.

use serde_json::Value;

/// A string header.
const STRING: u8 = 7;

/// An event.
pub fn event(name: &str, payload: &Value) -> Vec<u8> {
    frame(
        &[(":event-type", name), (":content-type", "application/json"), (":message-type", "event")],
        payload,
    )
}

/// An exception.
pub fn exception(name: &str, payload: &Value) -> Vec<u8> {
    frame(
        &[(":exception-type", name), (":content-type", "application/json"), (":message-type", "exception")],
        payload,
    )
}

/// An event whose last checksum is wrong.
pub fn corrupt() -> Vec<u8> {
    let mut frame =
        event("contentBlockDelta", &serde_json::json!({"contentBlockIndex": 0, "delta": {"text": "x"}}));
    if let Some(last) = frame.last_mut() {
        *last ^= 0xff;
    }
    frame
}

fn frame(headers: &[(&str, &str)], payload: &Value) -> Vec<u8> {
    let mut names = Vec::new();
    for (name, value) in headers {
        names.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        names.extend_from_slice(name.as_bytes());
        names.push(STRING);
        names.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        names.extend_from_slice(value.as_bytes());
    }
    let payload = payload.to_string();
    let total = 12 + names.len() + payload.len() + 4;
    let mut frame = Vec::with_capacity(total);
    frame.extend_from_slice(&(total as u32).to_be_bytes());
    frame.extend_from_slice(&(names.len() as u32).to_be_bytes());
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(&names);
    frame.extend_from_slice(payload.as_bytes());
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame
}
