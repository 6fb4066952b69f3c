//! A form with files, as OpenAI wants images to edit.

use bytes::{BufMut as _, Bytes, BytesMut};

/// A form under way.
#[derive(Debug)]
pub struct Form {
    boundary: String,
    body: BytesMut,
}

impl Form {
    /// An empty form. What ends its parts is made at random, so that nothing in them ends one.
    pub fn new() -> Self {
        Self { boundary: format!("sre-{}", sre_proto::ids::new_uuid()), body: BytesMut::new() }
    }

    /// A field.
    pub fn field(&mut self, name: &str, value: &str) {
        self.body.put_slice(format!("--{}\r\n", self.boundary).as_bytes());
        self.body.put_slice(
            format!("content-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").as_bytes(),
        );
    }

    /// A file.
    pub fn file(&mut self, name: &str, file_name: &str, mimetype: &str, data: &[u8]) {
        let head = format!(
            "--{}\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"{file_name}\"\r\ncontent-type: {mimetype}\r\n\r\n",
            self.boundary
        );
        self.body.put_slice(head.as_bytes());
        self.body.put_slice(data);
        self.body.put_slice(b"\r\n");
    }

    /// Its type and its body.
    pub fn finish(mut self) -> (String, Bytes) {
        self.body.put_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        (format!("multipart/form-data; boundary={}", self.boundary), self.body.freeze())
    }
}
