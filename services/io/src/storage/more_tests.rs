//! Files over the wire: what is said of them, addresses, copies, batches and temporary uploads.

use std::collections::HashMap;

use bytes::Bytes;
use prost_types::value::Kind;
use sre_identity::Level;
use sre_proto::error::{Reason, reason};
use sre_proto::io::v1::upload_temp_request::Part;
use sre_proto::io::v1::{
    BatchDeleteFilesRequest, CopyFileRequest, File, GetFileAclRequest, GetFileRequest, ListFilesRequest,
    ReadFileRequest, UpdateFileRequest, UploadTempHeader, UploadTempRequest, WriteFileHeader,
    update_file_request::Expiry,
};
use tonic::{Code, Status};

use super::service_tests::{F, Fixture, header, refused};

const HOME: &str = "teams/red/agents/helper/files";

fn text(text: &str) -> prost_types::Value {
    prost_types::Value { kind: Some(Kind::StringValue(text.to_owned())) }
}

fn metadata(entries: &[(&str, prost_types::Value)]) -> HashMap<String, prost_types::Value> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

fn code<T: std::fmt::Debug>(result: Result<T, Status>) -> Code {
    result.unwrap_err().code()
}

impl Fixture {
    async fn update(&self, who: &str, request: UpdateFileRequest) -> Result<File, Status> {
        Ok(self.client(who).update_file(request).await?.into_inner())
    }

    async fn file(&self, who: &str, name: &str) -> Result<File, Status> {
        Ok(self.client(who).get_file(GetFileRequest { name: name.into() }).await?.into_inner())
    }

    async fn copy(&self, who: &str, source: &str, destination: &str) -> Result<File, Status> {
        let request = CopyFileRequest {
            source: source.into(),
            destination: destination.into(),
            ..CopyFileRequest::default()
        };
        Ok(self.client(who).copy_file(request).await?.into_inner())
    }

    async fn temp(&self, who: &str, files: &[(UploadTempHeader, &[u8])]) -> Result<Vec<File>, Status> {
        let parts: Vec<UploadTempRequest> = files
            .iter()
            .flat_map(|(header, content)| {
                let data = content.chunks(1 << 20).map(|data| Part::Data(Bytes::copy_from_slice(data)));
                std::iter::once(Part::Header(header.clone())).chain(data)
            })
            .map(|part| UploadTempRequest { part: Some(part) })
            .collect();
        Ok(self.client(who).upload_temp(futures::stream::iter(parts)).await?.into_inner().files)
    }
}

fn temp_header(file_name: &str) -> UploadTempHeader {
    UploadTempHeader { parent: HOME.into(), file_name: file_name.into(), ..UploadTempHeader::default() }
}

/// D20, D21: metadata keeps its types, and setting it touches neither bytes nor media type.
#[tokio::test]
async fn d20_d21_metadata_is_typed_and_merged() {
    let fx = Fixture::new().await;
    let number = prost_types::Value { kind: Some(Kind::NumberValue(5.0)) };
    let written = WriteFileHeader {
        metadata: metadata(&[("text", text("5")), ("number", number.clone())]),
        mimetype: "image/png".into(),
        ..header(F)
    };
    let file = fx.put("agent/helper", written, b"x").await.unwrap();
    assert_eq!(file.metadata, metadata(&[("text", text("5")), ("number", number.clone())]));
    assert_eq!(file.instance, "local");
    let update = UpdateFileRequest {
        name: F.into(),
        set_metadata: metadata(&[("more", text("y"))]),
        remove_metadata: vec!["text".into()],
        if_match: file.etag.clone(),
        ..UpdateFileRequest::default()
    };
    let changed = fx.update("agent/helper", update.clone()).await.unwrap();
    assert_eq!(changed.metadata, metadata(&[("number", number), ("more", text("y"))]));
    assert_eq!((changed.mimetype.as_str(), changed.digest.as_str()), ("image/png", file.digest.as_str()));
    assert_eq!(fx.get("agent/helper", F).await.unwrap(), b"x");
    assert_eq!(code(fx.update("agent/helper", update).await), Code::Aborted);
    for key in ["acl", "x-amz-meta-acl", "sre-owner", "ContentType"] {
        let reserved = UpdateFileRequest {
            name: F.into(),
            set_metadata: metadata(&[(key, text("h:none|u:eve/o"))]),
            ..UpdateFileRequest::default()
        };
        assert_eq!(code(fx.update("agent/helper", reserved).await), Code::InvalidArgument, "{key}");
    }
    // A reader changes nothing; a writer does, and becomes no owner by it (H7).
    fx.share("agent/helper", F, "user/eve", Level::Read).await.unwrap();
    let plain = || UpdateFileRequest { name: F.into(), mimetype: "text/plain".into(), ..Default::default() };
    refused(fx.update("user/eve", plain()).await);
    fx.share("agent/helper", F, "user/alice", Level::Write).await.unwrap();
    let list = async || {
        fx.client("agent/helper")
            .get_file_acl(GetFileAclRequest { name: F.into() })
            .await
            .unwrap()
            .into_inner()
    };
    let before = list().await;
    fx.update("user/alice", plain()).await.unwrap();
    assert_eq!(list().await, before);
}

/// D18: expiry can be set, moved and taken away, and is exact.
#[tokio::test]
async fn d18_expiry_is_set_and_taken_away() {
    let fx = Fixture::new().await;
    fx.put("agent/helper", header(F), b"x").await.unwrap();
    let expiry = |expiry| UpdateFileRequest { name: F.into(), expiry: Some(expiry), ..Default::default() };
    let hour = prost_types::Duration { seconds: 3600, nanos: 0 };
    let file = fx.update("agent/helper", expiry(Expiry::TimeToLive(hour))).await.unwrap();
    assert!(file.expire_time.is_some());
    let file = fx.update("agent/helper", expiry(Expiry::NoExpiry(()))).await.unwrap();
    assert!(file.expire_time.is_none());
    let instant = prost_types::Duration { seconds: 0, nanos: 1_000_000 };
    fx.update("agent/helper", expiry(Expiry::TimeToLive(instant))).await.unwrap();
    while fx.file("agent/helper", F).await.is_ok() {}
    assert_eq!(code(fx.file("agent/helper", F).await), Code::NotFound);
}

#[tokio::test]
async fn a_version_is_read_in_parts_that_belong_together() {
    let fx = Fixture::new().await;
    let file = fx.put("agent/helper", header(F), b"one").await.unwrap();
    let read =
        || ReadFileRequest { name: F.into(), if_match: file.etag.clone(), ..ReadFileRequest::default() };
    fx.client("agent/helper").read_file(read()).await.unwrap();
    fx.put("agent/helper", header(F), b"two").await.unwrap();
    let stale = fx.client("agent/helper").read_file(read()).await.map(|_| ());
    assert_eq!(code(stale), Code::Aborted);
}

/// H20: an address gives no right; D38, D39: agents' and users' areas are folders, names are decoded once.
#[tokio::test]
async fn h20_d38_d39_addresses_name_files_and_give_no_right() {
    let fx = Fixture::new().await;
    let address = "smythfs://helper.agent/d/a%20b%25%C3%A9.txt?q=1#f";
    let file = fx.put("agent/helper", header(address), b"x").await.unwrap();
    assert_eq!(file.name, format!("{HOME}/d/a b%é.txt"));
    assert_eq!(file.uri, "smythfs://helper.agent/d/a%20b%25%C3%A9.txt");
    assert_eq!(fx.get("agent/helper", &file.uri).await.unwrap(), b"x");
    // Decomposed accents are the same name.
    assert_eq!(fx.file("agent/helper", &format!("{HOME}/d/a b%e\u{301}.txt")).await.unwrap().name, file.name);
    for who in ["user/eve", "user/alice", "user/unknown"] {
        let mut told = vec![refused(fx.get(who, &file.uri).await)];
        told.push(refused(fx.get(who, "smythfs://nobody.agent/x").await));
        told.push(refused(fx.get(who, "smythfs://boss.user/x").await));
        told.push(refused(fx.put(who, header("smythfs://helper.agent/x"), b"x").await));
        told.dedup();
        assert_eq!(told.len(), 1, "{told:?}");
    }
    let own = fx.put("user/alice", header("smythfs://alice.user/n.txt"), b"x").await.unwrap();
    assert_eq!(own.name, "teams/red/users/alice/files/n.txt");
    let shared = fx.put("user/alice", header("smythfs://red.team/s.txt"), b"x").await.unwrap();
    assert_eq!(
        (shared.name.as_str(), fx.get("agent/helper", &shared.uri).await.unwrap().as_slice()),
        ("teams/red/files/s.txt", b"x".as_slice())
    );
    refused(fx.get("user/eve", &shared.uri).await);
}

/// H9: the traversal corpus, by address and by name: refused before anything is looked up.
#[tokio::test]
async fn h9_the_traversal_corpus_is_refused() {
    let fx = Fixture::new().await;
    for address in [
        "smythfs://helper.agent/../x",
        "smythfs://helper.agent/%2e%2e/x",
        "smythfs://helper.agent/%2E%2E%2Fx",
        "smythfs://helper.agent/a/./b",
        "smythfs://helper.agent/a//b",
        "smythfs://helper.agent/a%5Cb",
        "smythfs://helper.agent/a%00b",
        "smythfs://helper.agent/a%0Ab",
        "smythfs://helper.agent/%ff",
        "smythfs://helper.agent/%zz",
        "smythfs://helper.agent/%2",
        "smythfs://helper.agent/",
        "smythfs://helper.agent",
        "smythfs://helper.smyth/x",
        "smythfs://helper.AGENT/x",
        "smythfs://user:pass@helper.agent/x",
        "smythfs://a.b.team/x",
        "smythfs://te am.team/x",
        "smythfs://../../x.team/y",
        "http://helper.agent/x",
        "file:///etc/passwd",
        "teams/red/agents/helper/files/a\u{0}b",
        "teams/red/agents/../files/x",
        "teams/red/agents/helper/files",
        "",
    ] {
        let read = fx.get("agent/helper", address).await;
        let written = fx.put("agent/helper", header(address), b"x").await;
        for status in [read.unwrap_err(), written.unwrap_err()] {
            assert_eq!(status.code(), Code::InvalidArgument, "{address:?}: {status:?}");
        }
    }
    let long = format!("{HOME}/{}", "x".repeat(1100));
    assert_eq!(code(fx.put("agent/helper", header(&long), b"x").await), Code::InvalidArgument);
    // What only looks like it is a name like any other.
    for path in ["...", "%2e%2e", "..x", "c:", "con", "\u{202e}gpj", "~", "$HOME", "*"] {
        let name = format!("{HOME}/{path}");
        fx.put("agent/helper", header(&name), path.as_bytes()).await.unwrap();
        assert_eq!(fx.get("agent/helper", &name).await.unwrap(), path.as_bytes(), "{path}");
    }
}

#[tokio::test]
async fn a_copy_is_a_file_of_its_own() {
    let fx = Fixture::new().await;
    let source = WriteFileHeader {
        metadata: metadata(&[("k", text("v"))]),
        mimetype: "image/png".into(),
        ..header(F)
    };
    fx.put("agent/helper", source, b"bytes").await.unwrap();
    fx.share("agent/helper", F, "user/alice", Level::Read).await.unwrap();
    let to = "teams/red/users/alice/files/copy.png";
    let copy = fx.copy("user/alice", F, to).await.unwrap();
    assert_eq!((copy.name.as_str(), copy.mimetype.as_str(), copy.size_bytes), (to, "image/png", 5));
    assert_eq!(copy.metadata, metadata(&[("k", text("v"))]));
    // The copy has the list of a new file there, whatever the source's says.
    refused(fx.get("agent/helper", to).await);
    fx.put("agent/helper", header(F), b"other").await.unwrap();
    assert_eq!(fx.get("user/alice", to).await.unwrap(), b"bytes");
    // Reading is needed, and writing.
    refused(fx.copy("user/eve", F, "teams/blue/users/eve/files/x").await);
    refused(fx.copy("user/alice", F, &format!("{HOME}/x")).await);
    let absent = fx.copy("agent/helper", &format!("{HOME}/absent"), &format!("{HOME}/x")).await;
    assert_eq!(code(absent), Code::NotFound);
}

#[tokio::test]
async fn a_batch_is_deleted_in_whole_or_not_at_all() {
    let fx = Fixture::new().await;
    let names: Vec<String> = ["a", "b", "c/d"].iter().map(|path| format!("{HOME}/d/{path}")).collect();
    for name in &names {
        fx.put("agent/helper", header(name), b"x").await.unwrap();
    }
    let batch =
        |names: &[String]| BatchDeleteFilesRequest { parent: format!("{HOME}/d"), names: names.to_vec() };
    // The boss may write in the place, but not these files.
    refused(fx.client("user/boss").batch_delete_files(batch(&names)).await);
    fx.share("agent/helper", &names[0], "user/boss", Level::Write).await.unwrap();
    refused(fx.client("user/boss").batch_delete_files(batch(&names)).await);
    assert_eq!(fx.get("agent/helper", &names[0]).await.unwrap(), b"x");
    let done = fx.client("user/boss").batch_delete_files(batch(&names[..1])).await.unwrap().into_inner();
    assert_eq!(done.deleted_count, 1);
    // What is not there is left out; what is named twice counts once.
    let twice: Vec<String> = names.iter().chain(&names).cloned().collect();
    let done = fx.client("agent/helper").batch_delete_files(batch(&twice)).await.unwrap().into_inner();
    assert_eq!(done.deleted_count, 2);
    let beside = batch(&[format!("{HOME}/other")]);
    assert_eq!(code(fx.client("agent/helper").batch_delete_files(beside).await), Code::InvalidArgument);
    assert_eq!(code(fx.client("agent/helper").batch_delete_files(batch(&[])).await), Code::InvalidArgument);
}

#[tokio::test]
async fn a_list_can_be_narrowed_by_a_prefix() {
    let fx = Fixture::new().await;
    for path in ["ab", "abc/d", "b"] {
        fx.put("agent/helper", header(&format!("{HOME}/{path}")), b"x").await.unwrap();
    }
    let request =
        ListFilesRequest { parent: HOME.into(), prefix: "ab".into(), ..ListFilesRequest::default() };
    let listed = fx.client("agent/helper").list_files(request).await.unwrap().into_inner();
    let names: Vec<&str> = listed.files.iter().map(|file| &file.name[HOME.len() + 1..]).collect();
    assert_eq!(names, ["ab", "abc/d"]);
}

/// D44, H24: temporary uploads are sized, counted and named by the service, and nothing is fetched.
#[tokio::test]
async fn d44_h24_temporary_uploads_are_bounded() {
    let fx = Fixture::new().await;
    let files = fx
        .temp(
            "agent/helper",
            &[
                (temp_header("a b.png"), b"\x89PNG\r\n\x1a\n0000IHDR".as_slice()),
                (temp_header("ü"), "grüße".as_bytes()),
                (temp_header("page.html"), b"http://127.0.0.1:1/never-fetched".as_slice()),
            ],
        )
        .await
        .unwrap();
    let of =
        |n: usize| (files[n].mimetype.as_str(), files[n].size_bytes, &files[n].name[HOME.len() + 7 + 33..]);
    assert_eq!(of(0), ("image/png", 16, "a b.png"));
    // D44: the size is that of the bytes.
    assert_eq!(of(1), ("text/plain", 7, "ü.txt"));
    assert_eq!(of(2), ("text/plain", 32, "page.html"));
    assert!(files.iter().all(|file| file.name.starts_with(&format!("{HOME}/_temp/"))));
    assert!(files.iter().all(|file| file.expire_time.is_some()));
    assert_eq!(fx.get("agent/helper", &files[1].uri).await.unwrap(), "grüße".as_bytes());

    let big = vec![0; (10 << 20) + 1];
    let too_large = fx.temp("agent/helper", &[(temp_header("big"), &big)]).await.unwrap_err();
    assert_eq!(reason(&too_large), Some(Reason::TooLarge));
    fx.temp("agent/helper", &[(temp_header("fits"), &big[1..])]).await.unwrap();
    let many: Vec<_> = (0..11).map(|_| (temp_header("x"), b"x".as_slice())).collect();
    assert_eq!(code(fx.temp("agent/helper", &many).await), Code::InvalidArgument);
    assert_eq!(fx.temp("agent/helper", &many[1..]).await.unwrap().len(), 10);
    let days = prost_types::Duration { seconds: 2 * 24 * 60 * 60, nanos: 0 };
    let long = UploadTempHeader { time_to_live: Some(days), ..temp_header("x") };
    assert_eq!(code(fx.temp("agent/helper", &[(long, b"x")]).await), Code::InvalidArgument);
    let elsewhere = UploadTempHeader { parent: "teams/red/users/alice/files".into(), ..temp_header("x") };
    let mixed = fx.temp("agent/helper", &[(temp_header("x"), b"x"), (elsewhere.clone(), b"x")]).await;
    assert_eq!(code(mixed), Code::InvalidArgument);
    refused(fx.temp("agent/helper", &[(elsewhere, b"x")]).await);
    let below = UploadTempHeader { parent: format!("{HOME}/d"), ..temp_header("x") };
    assert_eq!(code(fx.temp("agent/helper", &[(below, b"x")]).await), Code::InvalidArgument);
    // H9: the sender's name is a name and no path.
    let named = fx.temp("agent/helper", &[(temp_header("../../x"), b"x")]).await.unwrap();
    assert!(named[0].name.ends_with("-x.txt"), "{}", named[0].name);
}

/// D22: what is not there is NOT_FOUND, for every method alike.
#[tokio::test]
async fn d22_what_is_not_there_is_not_found() {
    let fx = Fixture::new().await;
    let absent = format!("{HOME}/absent");
    let mut client = fx.client("agent/helper");
    assert_eq!(code(fx.get("agent/helper", &absent).await), Code::NotFound);
    assert_eq!(code(fx.file("agent/helper", &absent).await), Code::NotFound);
    assert_eq!(code(client.get_file_acl(GetFileAclRequest { name: absent.clone() }).await), Code::NotFound);
    let update = UpdateFileRequest { name: absent.clone(), ..UpdateFileRequest::default() };
    assert_eq!(code(client.update_file(update).await), Code::NotFound);
    let delete = sre_proto::io::v1::DeleteFileRequest { name: absent, ..Default::default() };
    assert_eq!(code(client.delete_file(delete).await), Code::NotFound);
}

/// The list of a file that is written by its address is the one that a name gives.
#[tokio::test]
async fn a_new_files_list_follows_its_place() {
    let fx = Fixture::new().await;
    fx.put("user/boss", header("smythfs://helper.agent/x"), b"x").await.unwrap();
    let name = format!("{HOME}/x");
    let list = fx.client("agent/helper").get_file_acl(GetFileAclRequest { name }).await.unwrap().into_inner();
    assert_eq!(list.entries.len(), 2);
}
