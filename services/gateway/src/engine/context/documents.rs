//! Documents that the running agent keeps: files of its own, below a folder that says what they are.

use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use sre_components::context::documents::{Document, Documents};
use sre_components::{ContextError, Failure};
use sre_proto::io::v1::storage_client::StorageClient;
use sre_proto::io::v1::{ReadFileRequest, WriteFileHeader, read_file_response};
use sre_service::Role;
use tonic::Code;

use super::ActivationContext;
use crate::engine::files;

/// Where they are among the agent's files.
const FOLDER: &str = "_documents";
/// The largest document that is read.
const LARGEST_BYTES: usize = 16 << 20;

#[async_trait]
impl Documents for ActivationContext {
    async fn read(&self, key: &str) -> Result<Option<Document>, ContextError> {
        let request = ReadFileRequest { name: self.document(key), ..ReadFileRequest::default() };
        let mut storage = StorageClient::new(self.link(Role::Io).await?);
        let mut parts = match storage.read_file(self.call(request)).await {
            Ok(parts) => parts.into_inner(),
            Err(status) if status.code() == Code::NotFound => return Ok(None),
            Err(status) => return Err(status.into()),
        };
        let (mut version, mut value) = (String::new(), BytesMut::new());
        loop {
            let part = match parts.message().await {
                Ok(Some(part)) => part.part,
                Ok(None) => break,
                Err(status) if status.code() == Code::NotFound => return Ok(None),
                Err(status) => return Err(status.into()),
            };
            match part {
                Some(read_file_response::Part::File(file)) => version = file.etag,
                Some(read_file_response::Part::Data(bytes)) => value.extend_from_slice(&bytes),
                None => {}
            }
            if value.len() > LARGEST_BYTES {
                let message = format!("the document is larger than {LARGEST_BYTES} bytes");
                return Err(ContextError::new(Failure::Exhausted, message));
            }
        }
        Ok(Some(Document { value: value.freeze(), version }))
    }

    async fn replace(
        &self,
        key: &str,
        value: Bytes,
        replaces: Option<&str>,
        time_to_live: Option<Duration>,
    ) -> Result<bool, ContextError> {
        let header = WriteFileHeader {
            name: self.document(key),
            mimetype: "application/json".to_owned(),
            if_match: replaces.unwrap_or_default().to_owned(),
            if_absent: replaces.is_none(),
            time_to_live: time_to_live.and_then(|time| time.try_into().ok()),
            ..WriteFileHeader::default()
        };
        let link = self.link(Role::Io).await?;
        match files::write(link, header, value, self.scope.left()).await {
            Ok(()) => Ok(true),
            // Another version is there, one is there that was not, or none is there any more.
            Err(status) if matches!(status.code(), Code::Aborted | Code::AlreadyExists | Code::NotFound) => {
                Ok(false)
            }
            Err(status) => Err(status.into()),
        }
    }
}

impl ActivationContext {
    fn document(&self, key: &str) -> String {
        format!("{}/files/{FOLDER}/{key}.json", self.scope.subject.version.agent)
    }
}
