//! Multipart forms, `multipart/form-data` of RFC 7578.

use bytes::{BufMut as _, Bytes, BytesMut};
use sre_engine::value::Binary;

/// A form that is being written.
pub(crate) struct Form {
    boundary: String,
    bytes: BytesMut,
}

impl Form {
    /// A form whose boundary is as random as it gets: no part can hold it by chance.
    pub(crate) fn new() -> Self {
        Self::bounded_by(format!("sre-{:016x}{:016x}", rand::random::<u64>(), rand::random::<u64>()))
    }

    /// A form with this boundary, which nothing in it holds.
    pub(crate) fn bounded_by(boundary: String) -> Self {
        Self { boundary, bytes: BytesMut::new() }
    }

    fn head(&mut self, name: &str, rest: &str) {
        let head = format!(
            "--{}\r\nContent-Disposition: form-data; name=\"{}\"{rest}\r\n\r\n",
            self.boundary,
            quoted(name)
        );
        self.bytes.put_slice(head.as_bytes());
    }

    /// A field.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.head(name, "");
        self.bytes.put_slice(text.as_bytes());
        self.bytes.put_slice(b"\r\n");
    }

    /// A file, with its own name and type.
    pub(crate) fn file(&mut self, name: &str, binary: &Binary) {
        let file_name = if binary.name.is_empty() { name } else { &binary.name };
        let mimetype = quoted(&binary.mimetype);
        self.head(name, &format!("; filename=\"{}\"\r\nContent-Type: {mimetype}", quoted(file_name)));
        self.bytes.put_slice(&binary.data);
        self.bytes.put_slice(b"\r\n");
    }

    /// Its content type and its bytes.
    pub(crate) fn finish(mut self) -> (String, Bytes) {
        self.bytes.put_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        (format!("multipart/form-data; boundary={}", self.boundary), self.bytes.freeze())
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
        let mut form = Form::bounded_by("B".into());
        form.text("a\"\r\nX: y", "v");
        let binary = Binary { name: "f.txt".into(), mimetype: "text/plain".into(), data: "hi".into() };
        form.file("f", &binary);
        let (content_type, bytes) = form.finish();
        assert_eq!(
            String::from_utf8(bytes.to_vec()).unwrap(),
            "--B\r\nContent-Disposition: form-data; name=\"a%22%0D%0AX: y\"\r\n\r\nv\r\n\
             --B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f.txt\"\r\nContent-Type: text/plain\
             \r\n\r\nhi\r\n--B--\r\n"
        );
        assert_eq!(content_type, "multipart/form-data; boundary=B");
    }
}
