//! Objects out of process: the local backend behind a server in Rust, and the sample in Python.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::stream::{self, BoxStream};
use sre_proto::connector::v1 as pb;
use sre_proto::connector::v1::storage_server::{Storage, StorageServer};
use sre_proto::connector::v1::write_object_request::Part;
use sre_service::testing::ConnectorServer;
use tokio::sync::RwLock;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use super::contract::{self, Aborts, Bench};
use super::grpc::GrpcObjects;
use super::local_tests::walk;
use super::{ByteRange, CHUNK_BYTES, LocalObjects, ObjectError, ObjectKey, ObjectStore};

/// A connector as somebody could write it: files, and what breaks off is cleaned away.
struct Files {
    store: Arc<LocalObjects>,
    /// Held for reading by each write, so that others can wait until what broke off is gone.
    writing: Arc<RwLock<()>>,
}

fn key(text: &str) -> Result<ObjectKey, Status> {
    ObjectKey::parse(text).ok_or_else(|| Status::invalid_argument("key: 32 hex digits"))
}

fn failed(error: ObjectError) -> Status {
    match error {
        ObjectError::NotFound(key) => Status::not_found(key),
        error => Status::internal(error.to_string()),
    }
}

async fn write(store: &LocalObjects, mut stream: Streaming<pb::WriteObjectRequest>) -> Result<(), Status> {
    let Some(pb::WriteObjectRequest { part: Some(Part::Key(name)) }) = stream.message().await? else {
        return Err(Status::invalid_argument("the key comes first"));
    };
    let key = key(&name)?;
    let received = async {
        let (mut writer, mut size) = (store.create(&key).await.map_err(failed)?, 0);
        while let Some(message) = stream.message().await? {
            match message.part {
                Some(Part::Data(data)) => {
                    size += data.len() as i64;
                    writer.write(data).await.map_err(failed)?;
                }
                Some(Part::End(end)) if end.size_bytes == size => {
                    return writer.finish().await.map_err(failed);
                }
                _ => return Err(Status::invalid_argument("bytes, and their number at the end")),
            }
        }
        Err(Status::invalid_argument("the stream ended before the object was whole"))
    };
    let received = received.await;
    if received.is_err() {
        store.remove(&key, None).await.map_err(failed)?;
    }
    received
}

#[tonic::async_trait]
impl Storage for Files {
    type ReadObjectStream = BoxStream<'static, Result<pb::ReadObjectResponse, Status>>;

    async fn write_object(
        &self,
        request: Request<Streaming<pb::WriteObjectRequest>>,
    ) -> Result<Response<pb::WriteObjectResponse>, Status> {
        let (store, writing) = (Arc::clone(&self.store), Arc::clone(&self.writing));
        // A task of its own: it goes on to its end when the caller goes away.
        let written = sre_service::task::spawn("test connector writes", async move {
            let _writing = writing.read_owned().await;
            write(&store, request.into_inner()).await
        });
        written.await.unwrap()?;
        Ok(Response::new(pb::WriteObjectResponse {}))
    }

    async fn read_object(
        &self,
        request: Request<pb::ReadObjectRequest>,
    ) -> Result<Response<Self::ReadObjectStream>, Status> {
        let request = request.into_inner();
        let range = ByteRange {
            offset_bytes: request.offset_bytes.unsigned_abs(),
            length_bytes: request.length_bytes.unsigned_abs(),
        };
        let reader = self.store.open(&key(&request.key)?, range).await.map_err(failed)?;
        let parts = stream::try_unfold(reader, |mut reader| async move {
            let data = reader.next().await.map_err(failed)?;
            Ok(data.map(|data| (pb::ReadObjectResponse { data }, reader)))
        });
        Ok(Response::new(Box::pin(parts)))
    }

    async fn remove_object(
        &self,
        request: Request<pb::RemoveObjectRequest>,
    ) -> Result<Response<pb::RemoveObjectResponse>, Status> {
        let key = key(&request.into_inner().key)?;
        self.store.remove(&key, None).await.map_err(failed)?;
        Ok(Response::new(pb::RemoveObjectResponse {}))
    }
}

async fn served(folder: &Path) -> (ConnectorServer, Arc<RwLock<()>>) {
    let store = Arc::new(LocalObjects::open(folder).unwrap());
    let writing = Arc::<RwLock<()>>::default();
    let files = Files { store, writing: Arc::clone(&writing) };
    (ConnectorServer::start(Routes::new(StorageServer::new(files))).await, writing)
}

mod over_tls {
    use super::*;

    async fn fresh() -> Option<Bench> {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().to_owned();
        let (server, writing) = served(&folder).await;
        let store = Arc::new(GrpcObjects::open(&server.opening()).await.unwrap());
        let left = move || {
            let (folder, writing) = (folder.clone(), Arc::clone(&writing));
            async move {
                let _idle = writing.write_owned().await;
                walk(&folder).iter().map(|path| path.display().to_string()).collect()
            }
            .boxed()
        };
        let keep = Box::new((dir, server));
        Some(Bench { store, left: Box::new(left), aborts: Aborts::Again, _keep: keep })
    }

    contract::every_case!(fresh);
}

mod the_sample {
    use super::*;

    async fn fresh() -> Option<Bench> {
        let dir = tempfile::tempdir().unwrap();
        let opening = sre_service::testing::sample_connector(dir.path())?;
        let store = Arc::new(GrpcObjects::open(&opening).await.unwrap());
        // The sample keeps each instance beside its socket.
        let socket = opening.settings["endpoint"].as_str().unwrap().trim_start_matches("unix:");
        let folder = Path::new(socket).with_file_name("stores").join(&opening.id).join("objects");
        let left = move || {
            let folder = folder.clone();
            async move {
                let is_unfinished =
                    |paths: &[std::path::PathBuf]| paths.iter().any(|path| path.extension().is_some());
                let mut found = walk(&folder);
                // A thread of its own notices the stream that broke, and removes what it began.
                for _ in 0..100 {
                    if !is_unfinished(&found) {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    found = walk(&folder);
                }
                found.iter().map(|path| path.display().to_string()).collect()
            }
            .boxed()
        };
        Some(Bench { store, left: Box::new(left), aborts: Aborts::Again, _keep: Box::new(dir) })
    }

    contract::every_case!(fresh);
}

/// Full, away, and giving more than it was asked for.
struct Wrong;

#[tonic::async_trait]
impl Storage for Wrong {
    type ReadObjectStream = BoxStream<'static, Result<pb::ReadObjectResponse, Status>>;

    async fn write_object(
        &self,
        _: Request<Streaming<pb::WriteObjectRequest>>,
    ) -> Result<Response<pb::WriteObjectResponse>, Status> {
        Err(Status::resource_exhausted("no room on /dev/canary"))
    }

    async fn read_object(
        &self,
        _: Request<pb::ReadObjectRequest>,
    ) -> Result<Response<Self::ReadObjectStream>, Status> {
        let part = || Ok(pb::ReadObjectResponse { data: vec![7; CHUNK_BYTES].into() });
        Ok(Response::new(Box::pin(stream::iter([part(), part()]))))
    }

    async fn remove_object(
        &self,
        _: Request<pb::RemoveObjectRequest>,
    ) -> Result<Response<pb::RemoveObjectResponse>, Status> {
        Err(Status::unavailable("later"))
    }
}

#[tokio::test]
async fn what_a_connector_does_wrong_is_told() {
    let server = ConnectorServer::start(Routes::new(StorageServer::new(Wrong))).await;
    let store = GrpcObjects::open(&server.opening()).await.unwrap();
    let key = ObjectKey::generate();
    let written = async {
        let mut writer = store.create(&key).await?;
        // More than fits in what is under way: a writer learns of it before it has sent everything.
        for _ in 0..64 {
            writer.write(Bytes::from(vec![1; 1 << 20])).await?;
        }
        writer.finish().await
    };
    let full = written.await.unwrap_err();
    assert!(matches!(full, ObjectError::Full { .. }), "{full:?}");
    let shown = Status::from(crate::error::IoError::from(full));
    assert_eq!(shown.code(), tonic::Code::ResourceExhausted);
    assert!(!shown.message().contains("canary"), "what it says is for the log: {shown:?}");
    let range = ByteRange { offset_bytes: 0, length_bytes: CHUNK_BYTES as u64 + 1 };
    let mut reader = store.open(&key, range).await.unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap().len(), CHUNK_BYTES);
    let more = reader.next().await.unwrap_err();
    assert!(matches!(more, ObjectError::Io { .. }), "{more:?}");
    let away = store.remove(&key, None).await.unwrap_err();
    assert!(matches!(away, ObjectError::Unavailable { .. }), "{away:?}");
}
