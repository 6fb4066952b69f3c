//! Files of the reference's local storage, taken over by `sre import`.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use futures::stream;
use sre_identity::Candidate;
use sre_io::storage::import::{self, OldFile};
use sre_io::storage::metadata_message;
use sre_proto::io::v1::{WriteFileHeader, WriteFileRequest, write_file_request::Part};
use sre_proto::types::v1::Acl;
use tonic::Code;

use crate::client::Client;

/// Where the reference keeps them: bytes, and what is said of them beside.
const PLACES: [(&str, &str); 2] =
    [("storage/local", "storage/.local.metadata"), (".sre/storage/local", ".sre/storage/.local.metadata")];
const CHUNK_BYTES: usize = 64 << 10;
/// Temporary files are that here too.
const TEMPORARY_SECONDS: i64 = 24 * 60 * 60;

/// What became of the files.
#[derive(Debug, Default)]
pub struct Files {
    /// Taken over.
    pub imported: usize,
    /// There already.
    pub there: usize,
    /// Left where they are, with the reason.
    pub left: Vec<String>,
    /// Entries of access lists whose Candidates nobody knows.
    pub unknown: usize,
}

/// Takes over the files of a `.smyth` folder. `known` are the Candidates whose rights can be recognised.
pub async fn run(client: &Client, folder: &Path, known: &[Candidate]) -> Result<Files> {
    let mut files = Files::default();
    for (bytes, metadata) in PLACES {
        let (bytes, metadata) = (folder.join(bytes), folder.join(metadata));
        if bytes.is_dir() {
            for path in below(&bytes)? {
                one(client, &bytes, &metadata, &path, known, &mut files)
                    .await
                    .with_context(|| path.display().to_string())?;
            }
        }
    }
    Ok(files)
}

async fn one(
    client: &Client,
    bytes: &Path,
    metadata: &Path,
    path: &Path,
    known: &[Candidate],
    files: &mut Files,
) -> Result<()> {
    let relative = path.strip_prefix(bytes)?;
    let resource = relative.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/");
    let said = match std::fs::read_to_string(metadata.join(relative)) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let old = match import::read(&resource, said.as_deref(), known) {
        Ok(old) => old,
        Err(error) => {
            files.left.push(error.to_string());
            return Ok(());
        }
    };
    files.unknown += old.unknown;
    let parts = parts(header(&old), File::open(path)?);
    match client.storage().write_file(parts).await {
        Ok(_) => files.imported += 1,
        // Of an earlier import, or newer than what is imported.
        Err(status) if status.code() == Code::AlreadyExists => files.there += 1,
        // A user's own place: nobody else writes there, an admin of the team neither.
        Err(status) if status.code() == Code::PermissionDenied => {
            files.left.push(format!("{}: whose files these are must import them", old.name));
        }
        Err(status) => return Err(status.into()),
    }
    Ok(())
}

fn header(old: &OldFile) -> WriteFileHeader {
    let temporary = old.name.path.starts_with("_temp/");
    let time_to_live = temporary.then_some(prost_types::Duration { seconds: TEMPORARY_SECONDS, nanos: 0 });
    WriteFileHeader {
        name: old.name.to_string(),
        mimetype: old.mimetype.clone(),
        time_to_live,
        acl: Some(Acl::from(&old.acl)),
        metadata: metadata_message(&old.metadata),
        if_absent: true,
        ..WriteFileHeader::default()
    }
}

/// The messages of a write, a piece of the file at a time. One that cannot be read ends with an empty message, which
/// the service refuses, so that no file is taken over in part.
fn parts(header: WriteFileHeader, file: File) -> impl futures::Stream<Item = WriteFileRequest> + Send {
    let mut header = Some(header);
    let mut file = Some(file);
    stream::iter(std::iter::from_fn(move || {
        if let Some(header) = header.take() {
            return Some(WriteFileRequest { part: Some(Part::Header(header)) });
        }
        let mut piece = vec![0; CHUNK_BYTES];
        match file.as_mut()?.read(&mut piece) {
            Ok(0) => None,
            Ok(read) => {
                piece.truncate(read);
                Some(WriteFileRequest { part: Some(Part::Data(piece.into())) })
            }
            Err(_) => {
                file = None;
                Some(WriteFileRequest { part: None })
            }
        }
    }))
}

/// All files below a folder, in order. Links are left out: they may lead anywhere.
fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}
