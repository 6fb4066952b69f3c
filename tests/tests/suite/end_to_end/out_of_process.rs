//! A suite whose files, values, cache entries and secrets are kept by somebody else's server: the sample in Python.

use std::path::Path;

use bytes::Bytes;
use serde_json::json;
use sre_proto::io::v1::write_file_request::Part;
use sre_proto::io::v1::{
    GetValueRequest, KeyValue, ReadFileRequest, SetValueRequest, WriteFileHeader, WriteFileRequest,
    read_file_response,
};
use sre_proto::security::v1::{AccessSecretRequest, PutSecretRequest, Secret};
use sre_service::testing::sample_connector;

use crate::harness::process::say;
use crate::harness::{Mode, Options, Suite, in_both_modes};

in_both_modes!(kept_elsewhere);

async fn kept_elsewhere(mode: Mode) {
    let dir = tempfile::tempdir().unwrap();
    let Some(sample) = sample_connector(dir.path()) else { return };
    let endpoint = sample.settings["endpoint"].as_str().unwrap();
    // The sample keeps each instance beside its socket.
    let socket = Path::new(endpoint.trim_start_matches("unix:"));
    let kept = socket.with_file_name("stores").join(&sample.id);
    let entry = format!("[{{Connector='Grpc', Id='{}', Settings={{endpoint='{endpoint}'}}}}]", sample.id);
    let mut options = Options::default();
    for service in ["storage", "nkv", "cache", "vault"] {
        options = options.set(&format!("connectors.{service}"), &entry);
    }
    let suite = Suite::start("out-of-process", mode, options).await;
    let checked = say(suite.folder(), &["connectors", "check", "--id", &sample.id, "--json"]).await;
    assert_eq!(checked.code, 0, "{checked:?}");
    let rows = checked.json();
    assert_eq!(rows.as_array().unwrap().len(), 4, "{rows}");
    assert!(rows.as_array().unwrap().iter().all(|row| row["state"] == json!("ready")), "{rows}");

    let dev = suite.client("user/dev");
    let name = "teams/default/users/dev/files/f.txt".to_owned();
    let header = WriteFileHeader { name: name.clone(), ..WriteFileHeader::default() };
    let parts = [Part::Header(header), Part::Data(Bytes::from_static(b"elsewhere"))];
    let messages = parts.map(|part| WriteFileRequest { part: Some(part) });
    dev.storage().write_file(tokio_stream::iter(messages)).await.unwrap();
    let request = ReadFileRequest { name, offset_bytes: 4, limit_bytes: 3, ..ReadFileRequest::default() };
    let mut stream = dev.storage().read_file(request).await.unwrap().into_inner();
    let mut content = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        if let Some(read_file_response::Part::Data(data)) = message.part {
            content.extend_from_slice(&data);
        }
    }
    assert_eq!(content, b"whe");

    let name = "teams/default/nkv/ns/keys/k".to_owned();
    let value = KeyValue { name: name.clone(), value: "v".into(), ..KeyValue::default() };
    dev.nkv().set_value(SetValueRequest { value: Some(value), ..SetValueRequest::default() }).await.unwrap();
    let got = dev.nkv().get_value(GetValueRequest { name, ..GetValueRequest::default() }).await.unwrap();
    assert_eq!(got.into_inner().value, "v");

    // The sample keeps it in clear: one that is found nowhere else is for other tests.
    let name = "teams/-/secrets/elsewhere".to_owned();
    let secret = Some(Secret { name: name.clone(), ..Secret::default() });
    let put = PutSecretRequest { secret, value: "kept elsewhere".into(), ..PutSecretRequest::default() };
    dev.vault().put_secret(put).await.unwrap();
    let request = AccessSecretRequest { name, ..AccessSecretRequest::default() };
    let secret = dev.vault().access_secret(request).await.unwrap().into_inner();
    assert_eq!(secret.value, "kept elsewhere");

    for there in ["objects", "values.db", "secrets.db"] {
        assert!(kept.join(there).exists(), "{} has no {there}", kept.display());
    }
    assert!(!suite.folder().join("vault.enc").exists(), "nothing is kept here");
    suite.stop().await;
}
