//! Bytes go through the service as they come: whoever is slow, at either end, holds the other back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use serde_json::json;
use sre_proto::connector::v1 as connector;
use sre_proto::connector::v1::storage_server::{Storage, StorageServer};
use sre_proto::connector::v1::write_object_request::Part as Sent;
use sre_proto::io::v1::storage_client::StorageClient;
use sre_proto::io::v1::write_file_request::Part;
use sre_proto::io::v1::{ReadFileRequest, WriteFileHeader, WriteFileRequest, read_file_response};
use sre_service::Role;
use sre_service::accounts::TeamRole;
use sre_service::testing::{ConnectorServer, TestSuite};
use tokio::sync::{Notify, watch};
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

const NAME: &str = "teams/red/agents/helper/files/large";
const PIECE: usize = 64 << 10;
const PIECES: u64 = 1024;
/// What the windows and buffers of all connections on the way hold together, and some more.
const ON_THE_WAY: u64 = 128;
/// Long enough for all pieces, where nothing holds them back.
const A_WHILE: Duration = Duration::from_millis(300);

/// A backend that keeps nothing, takes bytes when it is told to, and counts those that it gives.
struct Bottomless {
    first_came: Arc<Notify>,
    takes: watch::Receiver<bool>,
    given: Arc<AtomicU64>,
}

#[tonic::async_trait]
impl Storage for Bottomless {
    type ReadObjectStream = BoxStream<'static, Result<connector::ReadObjectResponse, Status>>;

    async fn write_object(
        &self,
        request: Request<Streaming<connector::WriteObjectRequest>>,
    ) -> Result<Response<connector::WriteObjectResponse>, Status> {
        let (mut messages, mut takes) = (request.into_inner(), self.takes.clone());
        while let Some(message) = messages.message().await? {
            match message.part {
                Some(Sent::Data(_)) => {
                    self.first_came.notify_one();
                    drop(takes.wait_for(|takes| *takes).await);
                }
                Some(Sent::End(_)) => return Ok(Response::new(connector::WriteObjectResponse {})),
                _ => {}
            }
        }
        Err(Status::invalid_argument("no end"))
    }

    async fn read_object(
        &self,
        request: Request<connector::ReadObjectRequest>,
    ) -> Result<Response<Self::ReadObjectStream>, Status> {
        let pieces = request.into_inner().length_bytes as usize / PIECE;
        let given = Arc::clone(&self.given);
        let parts = stream::iter(0..pieces).map(move |_| {
            given.fetch_add(1, Ordering::Relaxed);
            Ok(connector::ReadObjectResponse { data: Bytes::from_static(&[0; PIECE]) })
        });
        Ok(Response::new(Box::pin(parts)))
    }

    async fn remove_object(
        &self,
        _: Request<connector::RemoveObjectRequest>,
    ) -> Result<Response<connector::RemoveObjectResponse>, Status> {
        Ok(Response::new(connector::RemoveObjectResponse {}))
    }
}

/// services.md D42: the reference held whole files in memory, for writing, reading and serving.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d42_bytes_flow_as_they_are_taken() {
    let (first_came, given) = (Arc::new(Notify::new()), Arc::new(AtomicU64::new(0)));
    let (take, takes) = watch::channel(false);
    let backend = Bottomless { first_came: Arc::clone(&first_came), takes, given: Arc::clone(&given) };
    let server = ConnectorServer::start(Routes::new(StorageServer::new(backend))).await;
    let settings = serde_json::Value::Object(server.opening().settings);
    let connectors = json!({ "storage": { "Connector": "Grpc", "Settings": settings } });
    let suite = TestSuite::builder()
        .authority_of(server.suite())
        .role(Role::Io, crate::start)
        .member("agent/helper", "red", TeamRole::Member)
        .config(|config| config.connectors = serde_json::from_value(connectors).unwrap())
        .build()
        .await
        .unwrap();
    let mut client = StorageClient::new(suite.link_as("agent/helper", Role::Io));

    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let header = WriteFileHeader { name: NAME.into(), ..WriteFileHeader::default() };
    let pieces = stream::iter(0..PIECES).map(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Part::Data(Bytes::from_static(&[0; PIECE]))
    });
    let parts = stream::iter([Part::Header(header)]).chain(pieces);
    let mut writing = client.clone();
    let written = sre_service::task::spawn("write", async move {
        writing.write_file(parts.map(|part| WriteFileRequest { part: Some(part) })).await
    });
    first_came.notified().await;
    tokio::time::sleep(A_WHILE).await;
    let on_the_way = sent.load(Ordering::Relaxed);
    assert!(on_the_way <= ON_THE_WAY, "{on_the_way} pieces are on the way to a backend that takes none");
    take.send(true).unwrap();
    let file = written.await.unwrap().unwrap().into_inner();
    assert_eq!(file.size_bytes, (PIECES * PIECE as u64) as i64);

    let request = ReadFileRequest { name: NAME.into(), ..ReadFileRequest::default() };
    let mut parts = client.read_file(request).await.unwrap().into_inner();
    let mut taken = 0;
    let mut take_one = async || {
        let part = parts.message().await.unwrap().and_then(|message| message.part);
        if let Some(read_file_response::Part::Data(data)) = &part {
            taken += data.len();
        }
        part.is_some()
    };
    assert!(take_one().await && take_one().await, "the metadata and the first bytes");
    tokio::time::sleep(A_WHILE).await;
    let on_the_way = given.load(Ordering::Relaxed);
    assert!(on_the_way <= ON_THE_WAY, "{on_the_way} pieces are on the way to a reader that takes none");
    while take_one().await {}
    assert_eq!(taken as i64, file.size_bytes);
    suite.stop().await;
}
