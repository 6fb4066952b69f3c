//! Temporary uploads: files under names that the service makes, for a day at most (D18, D44).

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sre_identity::Caller;
use sre_proto::error::invalid_argument;
use sre_proto::io::v1::{File, UploadTempHeader, UploadTempRequest, UploadTempResponse, upload_temp_request};
use tonic::{Status, Streaming};

use super::message::{acl_when_new, file_name};
use super::service::{StorageService, recorder};
use super::stream::silence;
use super::upload::{Claims, Source, check_claims};
use super::{Commit, FileName, FolderName, IoError, Metadata, Upload, mimetype};
use crate::basis::{Basis, Condition};
use crate::request;

/// The most bytes of one file.
pub const MAX_FILE_BYTES: u64 = 10 << 20;
/// The most files of one upload.
pub const MAX_FILES: usize = 10;
/// How long they live where nothing is said, and at most.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// The folder below the root of files.
const FOLDER: &str = "_temp";
/// What is kept of a file's own name.
const NAME_CHARS: usize = 100;

/// One file of an upload, stored and not committed.
struct Stored {
    upload: Upload,
    name: FileName,
    life: Duration,
}

impl StorageService {
    pub(super) async fn temp(
        &self,
        caller: &Caller,
        stream: Streaming<UploadTempRequest>,
    ) -> Result<UploadTempResponse, Status> {
        let mut parts = Parts { stream, header: None };
        let mut first = parts.message().await?.unwrap_or_default();
        let Some(upload_temp_request::Part::Header(header)) = &mut first.part else {
            return Err(invalid_argument("header", "must come first: send it before any data"));
        };
        self.own(caller, &mut header.parent).await?;
        let parent = root(&header.parent)?;
        parts.header = Some(header.clone());
        let granted = self.host.authorizer().check(caller, &first, None).await?;
        let mut stored = Vec::new();
        let committed = match self.store(caller, &parent, &mut parts, &mut stored).await {
            Ok(()) => self.name(&parent, granted, &stored).await,
            Err(error) => Err(error),
        };
        if committed.is_err() {
            for file in &stored {
                self.files.abandon(&file.upload.object).await;
            }
        }
        Ok(UploadTempResponse { files: committed? })
    }

    /// Stores all files before the first of them gets its name, so that an upload that breaks leaves none.
    async fn store(
        &self,
        caller: &Caller,
        parent: &FolderName,
        parts: &mut Parts,
        stored: &mut Vec<Stored>,
    ) -> Result<(), Status> {
        while let Some(mut header) = parts.header.take() {
            if stored.len() == MAX_FILES {
                let message = format!("an upload has {MAX_FILES} files at most: send the others in another");
                return Err(invalid_argument("header", message));
            }
            self.own(caller, &mut header.parent).await?;
            if root(&header.parent)? != *parent {
                return Err(invalid_argument("header.parent", "must be the same for all files of an upload"));
            }
            let life = request::time_to_live("header.time_to_live", header.time_to_live)?.unwrap_or(LIFE);
            if life > LIFE {
                return Err(invalid_argument("header.time_to_live", "temporary files live a day at most"));
            }
            let claims = Claims {
                path: &header.file_name,
                mimetype: &header.mimetype,
                limit_bytes: MAX_FILE_BYTES,
                ..Claims::default()
            };
            check_claims(&claims)?;
            let upload = self.files.receive(claims, parts).await?;
            let name = format!("{parent}/{FOLDER}/{}", own_name(&header.file_name, &upload.mimetype));
            stored.push(Stored { upload, name: file_name("header.file_name", &name)?, life });
        }
        Ok(())
    }

    async fn name(
        &self,
        parent: &FolderName,
        granted: sre_service::Granted,
        stored: &[Stored],
    ) -> Result<Vec<File>, Status> {
        let acl = acl_when_new(&parent.scope, None, granted.candidate()?)?.to_text();
        let record = recorder(granted);
        let mut files = Vec::with_capacity(stored.len());
        for file in stored {
            let commit = Commit {
                name: file.name.clone(),
                upload: file.upload.clone(),
                condition: Condition::IfAbsent,
                basis: Basis::absent(),
                acl_when_new: acl.clone(),
                acl_when_there: None,
                metadata: Metadata::new(),
                time_to_live: Some(file.life),
            };
            files.push(File::from(&self.files.commit(commit, record.clone()).await?));
        }
        Ok(files)
    }
}

/// A root of files; nothing below it.
fn root(parent: &str) -> Result<FolderName, Status> {
    let folder =
        FolderName::parse(parent).map_err(|error| invalid_argument("header.parent", error.to_string()))?;
    if !folder.path.is_empty() {
        return Err(invalid_argument("header.parent", "give the root of the files, without a path below it"));
    }
    Ok(folder)
}

/// A name that no other file has, with what the sender calls it behind it, and an ending that fits.
fn own_name(told: &str, media_type: &str) -> String {
    let last = told.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut kept: String =
        last.chars().filter(|c| !c.is_control()).take(NAME_CHARS).collect::<String>().trim().to_owned();
    if matches!(kept.as_str(), "" | "." | "..") {
        "file".clone_into(&mut kept);
    }
    if !kept.trim_start_matches('.').contains('.')
        && let Some(ending) = mimetype::ending(media_type)
    {
        kept = format!("{kept}.{ending}");
    }
    format!("{}-{kept}", sre_proto::ids::new_uuid().simple())
}

/// The bytes of the file that is being sent; ends where the next header begins.
struct Parts {
    stream: Streaming<UploadTempRequest>,
    header: Option<UploadTempHeader>,
}

impl Parts {
    async fn message(&mut self) -> Result<Option<UploadTempRequest>, Status> {
        silence(self.stream.message()).await
    }
}

#[async_trait]
impl Source for Parts {
    async fn next(&mut self) -> Result<Option<Bytes>, IoError> {
        if self.header.is_some() {
            return Ok(None);
        }
        let message =
            self.message().await.map_err(|status| IoError::Interrupted(status.message().to_owned()))?;
        match message.map(|message| message.part) {
            None => Ok(None),
            Some(Some(upload_temp_request::Part::Data(data))) => Ok(Some(data)),
            Some(Some(upload_temp_request::Part::Header(header))) => {
                self.header = Some(header);
                Ok(None)
            }
            Some(None) => Err(IoError::Invalid { field: "part", message: "is empty: send data".to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_here_and_keep_what_is_harmless() {
        let rest = |told: &str, media_type: &str| own_name(told, media_type)[33..].to_owned();
        assert_eq!(rest("a.png", "image/png"), "a.png");
        assert_eq!(rest("a", "image/png"), "a.png");
        assert_eq!(rest("note", "text/plain"), "note.txt");
        assert_eq!(rest("", "application/octet-stream"), "file.bin");
        // H9: nothing of a path is kept.
        assert_eq!(rest("../../etc/pass\0wd", "x/unknown"), "passwd");
        assert_eq!(rest("a\\..", "text/plain"), "file.txt");
        assert!(rest(&"x".repeat(5000), "text/plain").len() <= NAME_CHARS + 4);
    }
}
