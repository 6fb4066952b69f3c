//! The gRPC face of files: parse, check, call, map.

use std::sync::Arc;
use std::time::Duration;

use sre_identity::{Acl, Caller, decide};
use sre_proto::error::invalid_argument;
use sre_proto::io::v1::storage_server::Storage;
use sre_proto::io::v1::{
    BatchDeleteFilesRequest, BatchDeleteFilesResponse, CopyFileRequest, DeleteFileRequest, File,
    GetFileAclRequest, GetFileRequest, ListFilesRequest, ListFilesResponse, ReadFileRequest,
    SetFileAclRequest, UpdateFileRequest, UploadTempRequest, UploadTempResponse, WriteFileRequest,
    write_file_request::Part,
};
use sre_proto::types::v1 as types;
use sre_proto::{AccessLevel, Guarded};
use sre_service::{Granted, Host};
use tonic::{Request, Response, Status, Streaming};

use super::message::{self, Write, file_name};
use super::name::FileName;
use super::stream::{self, Reading, Receiving};
use super::{Commit, Deletion, FileRow, Files, FolderName, file_of};
use crate::basis::{Basis, Condition, Recorder};
use crate::error::IoError;
use crate::request::{self, DECISIONS};

/// Rows that a list looks at in one step.
const LIST_BATCH: u32 = 256;
/// Steps that a list takes for one page: beyond it, the page ends early.
const LIST_STEPS: usize = 16;

/// The most files of one batch.
const MAX_BATCH: usize = 1000;

/// Serves `sre.io.v1.Storage`.
#[derive(Clone)]
pub struct StorageService {
    pub(super) host: Host,
    pub(super) files: Files,
    revalidate: Duration,
}

/// A file that is there, and its list.
pub(super) struct Found {
    pub(super) row: FileRow,
    pub(super) acl: Acl,
}

impl Found {
    /// What a decision on it was made on.
    pub(super) fn basis(found: Option<&Self>) -> Basis {
        found.map_or_else(Basis::absent, |found| Basis::row(&found.row.acl))
    }
}

impl StorageService {
    /// Serves these files.
    pub fn new(host: Host, files: Files) -> Self {
        let revalidate = host.config().deadlines.revalidate();
        Self { host, files, revalidate }
    }

    /// Puts the full name in the place of what the request says.
    pub(super) async fn own(&self, caller: &Caller, name: &mut String) -> Result<(), Status> {
        *name = file_of(&self.host, caller, "name", name).await?;
        Ok(())
    }

    /// A file that is there, and its list.
    pub(super) async fn find(&self, name: &FileName) -> Result<Option<Found>, Status> {
        Ok(match self.files.find(name).await? {
            Some(row) => Some(Found { acl: request::stored_acl(&row.acl)?, row }),
            None => None,
        })
    }

    /// Decides on the file's list, or on the rights of its place where there is none.
    pub(super) async fn decide<R: Guarded>(
        &self,
        caller: &Caller,
        request: &R,
        name: &FileName,
    ) -> Result<(Granted, Option<Found>), Status> {
        let found = self.find(name).await?;
        let acl = found.as_ref().map(|found| &found.acl);
        Ok((self.host.authorizer().check(caller, request, acl).await?, found))
    }

    async fn decide_there<R: Guarded>(
        &self,
        caller: &Caller,
        request: &R,
        name: &FileName,
    ) -> Result<(Granted, Found), Status> {
        let (granted, found) = self.decide(caller, request, name).await?;
        Ok((granted, found.ok_or_else(|| IoError::NotFound(name.to_string()))?))
    }

    /// Decides, and commits what was received; again where the list changed in between.
    async fn commit(
        &self,
        caller: &Caller,
        request: &WriteFileRequest,
        write: &Write,
        upload: super::Upload,
    ) -> Result<FileRow, Status> {
        for _ in 0..DECISIONS {
            let (granted, found) = self.decide_write(caller, request, write).await?;
            let commit = Commit {
                name: write.name.clone(),
                upload: upload.clone(),
                condition: write.condition.clone(),
                basis: Found::basis(found.as_ref()),
                acl_when_new: write.acl_when_new(granted.candidate()?)?.to_text(),
                acl_when_there: match &found {
                    Some(_) => write.acl_when_there()?.map(Acl::to_text),
                    None => None,
                },
                metadata: write.metadata.clone(),
                time_to_live: write.time_to_live,
            };
            match self.files.commit(commit, recorder(granted)).await {
                Err(IoError::AclChanged) => {}
                done => return Ok(done?),
            }
        }
        Err(IoError::AclChanged.into())
    }

    /// A list that comes with an overwrite changes who may do what, which writers may not (H7).
    async fn decide_write(
        &self,
        caller: &Caller,
        request: &WriteFileRequest,
        write: &Write,
    ) -> Result<(Granted, Option<Found>), Status> {
        let (granted, found) = self.decide(caller, request, &write.name).await?;
        if let Some(found) = &found
            && write.acl_when_there()?.is_some()
        {
            let resource = write.name.to_string();
            let authorizer = self.host.authorizer();
            authorizer
                .check_level(caller, &resource, AccessLevel::Owner, Some(&found.acl))
                .await?
                .record_now();
        }
        Ok((granted, found))
    }
}

impl StorageService {
    /// The files of a batch, each once.
    async fn batch(
        &self,
        caller: &Caller,
        request: &mut BatchDeleteFilesRequest,
    ) -> Result<Vec<FileName>, Status> {
        let folder = FolderName::parse(&request.parent)
            .map_err(|error| invalid_argument("parent", error.to_string()))?;
        if request.names.is_empty() || request.names.len() > MAX_BATCH {
            return Err(invalid_argument("names", format!("names 1 to {MAX_BATCH} files: split the batch")));
        }
        let mut names = Vec::with_capacity(request.names.len());
        for name in &mut request.names {
            self.own(caller, name).await?;
            if !name.starts_with(&folder.prefix()) {
                return Err(invalid_argument("names", format!("{name} does not lie below {folder}")));
            }
            names.push(file_name("names", name)?);
        }
        names.sort_by_cached_key(ToString::to_string);
        names.dedup();
        Ok(names)
    }
}

/// Records the change with the change.
pub(super) fn recorder(granted: Granted) -> Recorder {
    Arc::new(granted)
}

#[tonic::async_trait]
impl Storage for StorageService {
    type ReadFileStream = stream::Chunks;

    async fn write_file(
        &self,
        request: Request<Streaming<WriteFileRequest>>,
    ) -> Result<Response<File>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut receiving = Receiving::new(request.into_inner());
        let mut first = receiving.header().await?;
        let Some(Part::Header(header)) = &mut first.part else {
            return Err(invalid_argument("header", "must come first: send it before any data"));
        };
        self.own(&caller, &mut header.name).await?;
        let write = Write::try_from(&*header)?;
        let (_granted, found) = self.decide_write(&caller, &first, &write).await?;
        // What fails anyway fails before the bytes are sent.
        write.condition.check(found.map(|found| found.row.etag).as_deref()).map_err(IoError::from)?;
        let upload = self.files.receive(write.claims(), &mut receiving).await?;
        let object = upload.object.clone();
        match self.commit(&caller, &first, &write, upload).await {
            Ok(row) => {
                let file = File::from(&row);
                count_bytes("write", file.size_bytes);
                Ok(Response::new(file))
            }
            Err(status) => {
                self.files.abandon(&object).await;
                Err(status)
            }
        }
    }

    async fn read_file(
        &self,
        request: Request<ReadFileRequest>,
    ) -> Result<Response<Self::ReadFileStream>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.name).await?;
        let name = file_name("name", &request.name)?;
        let (_granted, found) = self.decide_there(&caller, &request, &name).await?;
        request::condition("if_match", &request.if_match, false)?
            .check(Some(&found.row.etag))
            .map_err(IoError::from)?;
        let range = stream::range(&request, &found.row)?;
        let reader = self.files.open(&found.row, range).await?;
        let file = File::from(&found.row);
        count_bytes("read", file.size_bytes);
        let reading = Reading {
            file: Some(file),
            reader,
            authorizer: self.host.authorizer().clone(),
            caller,
            revalidate: self.revalidate,
        };
        Ok(Response::new(reading.chunks()))
    }

    async fn get_file(&self, request: Request<GetFileRequest>) -> Result<Response<File>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.name).await?;
        let name = file_name("name", &request.name)?;
        let (_granted, found) = self.decide_there(&caller, &request, &name).await?;
        Ok(Response::new(File::from(&found.row)))
    }

    async fn list_files(
        &self,
        request: Request<ListFilesRequest>,
    ) -> Result<Response<ListFilesResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.parent).await?;
        let folder = FolderName::parse(&request.parent)
            .map_err(|error| invalid_argument("parent", error.to_string()))?;
        let size = request::page_size(request.page_size)?;
        let mut after = request.page_token.clone();
        if !after.is_empty() && !after.starts_with(&format!("{}{}", folder.prefix(), request.prefix)) {
            return Err(invalid_argument("page_token", "is of another list: start without one"));
        }
        // The folder's own right is that of its place; each file is shown by its own list.
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        let (candidate, teams) = (granted.candidate()?, granted.memberships().team_ids());
        let mut answer = ListFilesResponse::default();
        for _ in 0..LIST_STEPS {
            let rows = self.files.below(&folder, &request.prefix, &after, LIST_BATCH).await?;
            let is_last = rows.len() < LIST_BATCH as usize;
            for row in rows {
                if answer.files.len() == size {
                    answer.next_page_token = after;
                    return Ok(Response::new(answer));
                }
                let acl = request::stored_acl(&row.acl)?;
                if decide(candidate, &teams, &[sre_identity::Level::Read], &acl).is_allowed() {
                    answer.files.push(File::from(&row));
                }
                after = row.name;
            }
            if is_last {
                return Ok(Response::new(answer));
            }
        }
        answer.next_page_token = after;
        Ok(Response::new(answer))
    }

    async fn update_file(&self, request: Request<UpdateFileRequest>) -> Result<Response<File>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.name).await?;
        let name = file_name("name", &request.name)?;
        for _ in 0..DECISIONS {
            let (granted, found) = self.decide_there(&caller, &request, &name).await?;
            let update = message::update(&request, name.clone(), Found::basis(Some(&found)))?;
            match self.files.update(update, recorder(granted)).await {
                Err(IoError::AclChanged) => {}
                done => return Ok(Response::new(File::from(&done?))),
            }
        }
        Err(IoError::AclChanged.into())
    }

    async fn copy_file(&self, request: Request<CopyFileRequest>) -> Result<Response<File>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        self.copy(&caller, request.into_inner()).await.map(Response::new)
    }

    async fn upload_temp(
        &self,
        request: Request<Streaming<UploadTempRequest>>,
    ) -> Result<Response<UploadTempResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        self.temp(&caller, request.into_inner()).await.map(Response::new)
    }

    /// Deleting needs `write`; a reader cannot (H6).
    async fn delete_file(&self, request: Request<DeleteFileRequest>) -> Result<Response<()>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.name).await?;
        let name = file_name("name", &request.name)?;
        let condition = request::condition("if_match", &request.if_match, false)?;
        for _ in 0..DECISIONS {
            let (granted, found) = self.decide_there(&caller, &request, &name).await?;
            let basis = Found::basis(Some(&found));
            let deletion = Deletion { name: name.clone(), basis, condition: condition.clone() };
            match self.files.delete(vec![deletion], recorder(granted)).await {
                Err(IoError::AclChanged) => {}
                done => return done.map(|_| Response::new(())).map_err(Status::from),
            }
        }
        Err(IoError::AclChanged.into())
    }

    async fn batch_delete_files(
        &self,
        request: Request<BatchDeleteFilesRequest>,
    ) -> Result<Response<BatchDeleteFilesResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.parent).await?;
        let names = self.batch(&caller, &mut request).await?;
        for _ in 0..DECISIONS {
            let granted = self.host.authorizer().check(&caller, &request, None).await?;
            let mut deletions = Vec::with_capacity(names.len());
            for name in &names {
                let found = self.find(name).await?;
                if let Some(found) = &found {
                    let authorizer = self.host.authorizer();
                    let resource = name.to_string();
                    let each =
                        authorizer.check_level(&caller, &resource, AccessLevel::Write, Some(&found.acl));
                    each.await?.record_now();
                }
                let basis = Found::basis(found.as_ref());
                deletions.push(Deletion { name: name.clone(), basis, condition: Condition::Always });
            }
            match self.files.delete(deletions, recorder(granted)).await {
                Err(IoError::AclChanged) => {}
                done => {
                    let deleted_count = i32::try_from(done?).unwrap_or(i32::MAX);
                    return Ok(Response::new(BatchDeleteFilesResponse { deleted_count }));
                }
            }
        }
        Err(IoError::AclChanged.into())
    }

    async fn get_file_acl(
        &self,
        request: Request<GetFileAclRequest>,
    ) -> Result<Response<types::Acl>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.name).await?;
        let name = file_name("name", &request.name)?;
        let (_granted, found) = self.decide_there(&caller, &request, &name).await?;
        Ok(Response::new(types::Acl::from(&found.acl)))
    }

    /// Changing the list needs `owner`; a writer cannot make itself one (H7).
    async fn set_file_acl(
        &self,
        request: Request<SetFileAclRequest>,
    ) -> Result<Response<types::Acl>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let mut request = request.into_inner();
        self.own(&caller, &mut request.name).await?;
        let name = file_name("name", &request.name)?;
        for _ in 0..DECISIONS {
            let (granted, found) = self.decide_there(&caller, &request, &name).await?;
            let new = request::replacement(request.acl.as_ref(), &found.acl)?;
            let basis = Found::basis(Some(&found));
            match self.files.set_acl(&name, basis, new.to_text(), recorder(granted)).await {
                Err(IoError::AclChanged) => {}
                done => return done.map(|()| Response::new(types::Acl::from(&new))).map_err(Status::from),
            }
        }
        Err(IoError::AclChanged.into())
    }
}

/// Bytes of files that were written, and of those that were asked for.
fn count_bytes(op: &'static str, bytes: i64) {
    let bytes = u64::try_from(bytes).unwrap_or_default();
    metrics::counter!("sre_storage_bytes_total", "op" => op).increment(bytes);
}
