//! Files and values through the edge, frame by frame.

use bytes::Bytes;
use sre_proto::io::v1::write_file_request::Part;
use sre_proto::io::v1::{
    DeleteFileRequest, GetValueRequest, KeyValue, ListFilesRequest, ListValuesRequest, ReadFileRequest,
    SetValueRequest, WriteFileHeader, WriteFileRequest, read_file_response,
};
use tonic::Code;

use crate::harness::{Mode, Options, Suite, in_both_modes};

in_both_modes!(data);

const FILE_BYTES: usize = 20 << 20;
const PIECE_BYTES: usize = 64 << 10;

async fn data(mode: Mode) {
    let suite = Suite::start("data", mode, Options::default()).await;
    let dev = suite.client("user/dev");
    let name = "teams/default/users/dev/files/large.bin";
    let content: Bytes = (0..FILE_BYTES).map(|index| (index * 31 % 251) as u8).collect::<Vec<u8>>().into();
    let digest = format!("b3:{}", blake3::hash(&content).to_hex());

    let header = WriteFileHeader { name: name.into(), digest: digest.clone(), ..WriteFileHeader::default() };
    let pieces: Vec<Bytes> =
        (0..FILE_BYTES).step_by(PIECE_BYTES).map(|at| content.slice(at..at + PIECE_BYTES)).collect();
    let parts = std::iter::once(Part::Header(header)).chain(pieces.into_iter().map(Part::Data));
    let messages: Vec<WriteFileRequest> = parts.map(|part| WriteFileRequest { part: Some(part) }).collect();
    let file = dev.storage().write_file(tokio_stream::iter(messages)).await.unwrap().into_inner();
    assert_eq!((file.size_bytes, file.digest.as_str()), (FILE_BYTES as i64, digest.as_str()));

    let request = ReadFileRequest { name: name.into(), ..ReadFileRequest::default() };
    let mut stream = dev.storage().read_file(request).await.unwrap().into_inner();
    let mut hasher = blake3::Hasher::new();
    let (mut received, mut described) = (0, false);
    while let Some(part) = stream.message().await.unwrap() {
        match part.part.unwrap() {
            read_file_response::Part::File(file) => described = file.digest == digest,
            read_file_response::Part::Data(data) => {
                received += data.len();
                hasher.update(&data);
            }
        }
    }
    assert!(described);
    assert_eq!((received, format!("b3:{}", hasher.finalize().to_hex())), (FILE_BYTES, digest));

    let list =
        ListFilesRequest { parent: "teams/default/users/dev/files".into(), ..ListFilesRequest::default() };
    let files = dev.storage().list_files(list.clone()).await.unwrap().into_inner().files;
    assert_eq!(files.len(), 1);
    let delete = DeleteFileRequest { name: name.into(), if_match: String::new() };
    dev.storage().delete_file(delete).await.unwrap();
    assert!(dev.storage().list_files(list).await.unwrap().into_inner().files.is_empty());

    values(&suite).await;
    suite.stop().await;
}

async fn values(suite: &Suite) {
    let dev = suite.client("user/dev");
    let name = |key: &str| format!("teams/-/nkv/notes/keys/{key}");
    let set = |key: &str, value: &'static str| SetValueRequest {
        value: Some(KeyValue { name: name(key), value: value.into(), ..KeyValue::default() }),
        ..SetValueRequest::default()
    };
    for (key, value) in [("a", "1"), ("b", "2"), ("ab", "3")] {
        dev.nkv().set_value(set(key, value)).await.unwrap();
    }
    let got = dev
        .nkv()
        .get_value(GetValueRequest { name: name("a"), ..Default::default() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(got.value, "1");
    let list = ListValuesRequest {
        parent: "teams/-/nkv/notes".into(),
        prefix: "a".into(),
        ..ListValuesRequest::default()
    };
    let listed = dev.nkv().list_values(list).await.unwrap().into_inner().values;
    assert_eq!(listed.iter().map(|value| value.value.as_ref()).collect::<Vec<_>>(), [b"1", b"3"]);
    // Compare and set: an old version does not win.
    let over = |etag: &str| SetValueRequest { if_match: etag.into(), ..set("a", "4") };
    let newer = dev.nkv().set_value(over(&got.etag)).await.unwrap().into_inner();
    let lost = dev.nkv().set_value(over(&got.etag)).await.unwrap_err();
    assert!(matches!(lost.code(), Code::Aborted | Code::FailedPrecondition), "{lost:?}");
    dev.nkv().set_value(over(&newer.etag)).await.unwrap();
}
