//! Files over the wire: every layer, a link, and the callers that there are.

use bytes::Bytes;
use futures::StreamExt;
use sre_identity::{Acl, Candidate, Level};
use sre_proto::error::{Reason, reason};
use sre_proto::io::v1::storage_client::StorageClient;
use sre_proto::io::v1::{
    DeleteFileRequest, File, GetFileAclRequest, GetFileRequest, ListFilesRequest, ReadFileRequest,
    SetFileAclRequest, WriteFileHeader, WriteFileRequest, read_file_response, write_file_request::Part,
};
use sre_proto::types::v1 as types;
use sre_service::accounts::TeamRole;
use sre_service::testing::TestSuite;
use sre_service::{Link, Role};
use tonic::{Code, Status};

pub(super) const F: &str = "teams/red/agents/helper/files/d/f.txt";

pub(super) struct Fixture {
    pub(super) suite: TestSuite,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        let suite = TestSuite::builder()
            .role(Role::Io, crate::start)
            .member("agent/helper", "red", TeamRole::Member)
            .member("user/alice", "red", TeamRole::Member)
            .member("user/boss", "red", TeamRole::Admin)
            .member("user/eve", "blue", TeamRole::Member)
            .build()
            .await
            .unwrap();
        Self { suite }
    }

    pub(super) fn client(&self, who: &str) -> StorageClient<Link> {
        StorageClient::new(self.suite.link_as(who, Role::Io))
    }

    pub(super) async fn put(
        &self,
        who: &str,
        header: WriteFileHeader,
        content: &[u8],
    ) -> Result<File, Status> {
        let mut parts = vec![WriteFileRequest { part: Some(Part::Header(header)) }];
        parts.extend(
            content
                .chunks(100_000)
                .map(|data| WriteFileRequest { part: Some(Part::Data(Bytes::copy_from_slice(data))) }),
        );
        Ok(self.client(who).write_file(futures::stream::iter(parts)).await?.into_inner())
    }

    pub(super) async fn get(&self, who: &str, name: &str) -> Result<Vec<u8>, Status> {
        self.range(who, ReadFileRequest { name: name.into(), ..ReadFileRequest::default() }).await
    }

    async fn range(&self, who: &str, request: ReadFileRequest) -> Result<Vec<u8>, Status> {
        let mut parts = self.client(who).read_file(request).await?.into_inner();
        let first = parts.next().await.unwrap()?.part;
        assert!(matches!(first, Some(read_file_response::Part::File(_))), "metadata first");
        let mut all = Vec::new();
        while let Some(part) = parts.next().await {
            match part?.part {
                Some(read_file_response::Part::Data(data)) => {
                    assert!(data.len() <= 64 * 1024);
                    all.extend_from_slice(&data);
                }
                other => panic!("{other:?}"),
            }
        }
        Ok(all)
    }

    pub(super) async fn share(
        &self,
        who: &str,
        name: &str,
        with: &str,
        level: Level,
    ) -> Result<types::Acl, Status> {
        let mut client = self.client(who);
        let current = client.get_file_acl(GetFileAclRequest { name: name.into() }).await?.into_inner();
        let mut acl = Acl::try_from(&current).unwrap();
        acl.grant(&with.parse::<Candidate>().unwrap(), &[level]).unwrap();
        let message = types::Acl { etag: current.etag, ..types::Acl::from(&acl) };
        let request = SetFileAclRequest { name: name.into(), acl: Some(message) };
        Ok(client.set_file_acl(request).await?.into_inner())
    }
}

pub(super) fn header(name: &str) -> WriteFileHeader {
    WriteFileHeader { name: name.into(), ..WriteFileHeader::default() }
}

#[track_caller]
pub(super) fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> String {
    let status = result.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::PermissionDenied, Some(Reason::AclDenied)));
    status.message().to_owned()
}

#[tokio::test]
async fn a_file_goes_in_and_out_in_chunks_and_ranges() {
    let fx = Fixture::new().await;
    let content: Vec<u8> = (0..300_000).map(|i: u32| (i % 251) as u8).collect();
    let file = fx.put("agent/helper", header("teams/-/agents/helper/files/d/f.txt"), &content).await.unwrap();
    assert_eq!((file.name.as_str(), file.size_bytes), (F, 300_000));
    assert_eq!((file.uri.as_str(), file.mimetype.as_str()), ("smythfs://helper.agent/d/f.txt", "text/plain"));
    assert_eq!(file.digest, format!("b3:{}", blake3::hash(&content).to_hex()));
    assert_eq!(fx.get("agent/helper", F).await.unwrap(), content);
    let range = ReadFileRequest {
        name: F.into(),
        offset_bytes: 70_000,
        limit_bytes: 10,
        ..ReadFileRequest::default()
    };
    assert_eq!(fx.range("agent/helper", range).await.unwrap(), content[70_000..70_010]);
    let beyond = ReadFileRequest { name: F.into(), offset_bytes: 300_001, ..ReadFileRequest::default() };
    assert_eq!(fx.range("agent/helper", beyond).await.unwrap_err().code(), Code::OutOfRange);
    assert!(fx.suite.stop().await);
}

/// H8: nobody makes or finds files in another's place; H37: and cannot tell whether there are any.
#[tokio::test]
async fn h8_h37_strangers_can_neither_write_nor_learn() {
    let fx = Fixture::new().await;
    fx.put("agent/helper", header(F), b"mine").await.unwrap();
    let absent = "teams/red/agents/helper/files/absent";
    for who in ["user/eve", "user/alice", "user/unknown"] {
        for name in [F, absent, "teams/red/agents/nobody/files/x", "teams/nowhere/agents/helper/files/x"] {
            let get = GetFileRequest { name: name.into() };
            let mut messages = vec![refused(fx.client(who).get_file(get).await)];
            messages.push(refused(fx.get(who, name).await));
            messages.push(refused(fx.put(who, header(name), b"x").await));
            let delete = DeleteFileRequest { name: name.into(), ..DeleteFileRequest::default() };
            messages.push(refused(fx.client(who).delete_file(delete).await));
            messages.dedup();
            assert_eq!(messages.len(), 1, "{messages:?}");
        }
    }
    // Who may list the place may know.
    let get = GetFileRequest { name: absent.into() };
    let unknown = fx.client("agent/helper").get_file(get).await.unwrap_err();
    assert_eq!((unknown.code(), reason(&unknown)), (Code::NotFound, Some(Reason::NotFound)));
    assert_eq!(fx.get("agent/helper", F).await.unwrap(), b"mine");
}

/// H6: a reader cannot delete. H7: a writer cannot make itself an owner, by an overwrite or otherwise.
#[tokio::test]
async fn h6_h7_levels_give_what_they_say_and_no_more() {
    let fx = Fixture::new().await;
    fx.put("agent/helper", header(F), b"one").await.unwrap();
    fx.share("agent/helper", F, "user/eve", Level::Read).await.unwrap();
    assert_eq!(fx.get("user/eve", F).await.unwrap(), b"one");
    let delete = || DeleteFileRequest { name: F.into(), ..DeleteFileRequest::default() };
    refused(fx.client("user/eve").delete_file(delete()).await);
    refused(fx.put("user/eve", header(F), b"two").await);
    fx.share("agent/helper", F, "user/alice", Level::Write).await.unwrap();
    let before = fx.client("agent/helper").get_file_acl(GetFileAclRequest { name: F.into() }).await.unwrap();
    refused(fx.get("user/alice", F).await);
    refused(fx.share("user/alice", F, "user/alice", Level::Owner).await);
    let takeover = Acl::owned_by(&Candidate::user("alice").unwrap());
    let with_acl = WriteFileHeader { acl: Some(types::Acl::from(&takeover)), ..header(F) };
    refused(fx.put("user/alice", with_acl.clone(), b"mine now").await);
    assert_eq!(fx.get("agent/helper", F).await.unwrap(), b"one");
    // An overwrite keeps the list.
    fx.put("user/alice", header(F), b"three").await.unwrap();
    let after = fx.client("agent/helper").get_file_acl(GetFileAclRequest { name: F.into() }).await.unwrap();
    assert_eq!(before.into_inner(), after.into_inner());
    // The owner may replace it so.
    fx.put("agent/helper", with_acl, b"given away").await.unwrap();
    refused(fx.get("agent/helper", F).await);
    fx.client("user/alice").delete_file(delete()).await.unwrap();
}

#[tokio::test]
async fn an_admin_writes_among_an_agents_files_and_the_agent_owns_them() {
    let fx = Fixture::new().await;
    fx.put("user/boss", header(F), b"from the boss").await.unwrap();
    assert_eq!(fx.get("agent/helper", F).await.unwrap(), b"from the boss");
    fx.share("agent/helper", F, "user/alice", Level::Read).await.unwrap();
    assert_eq!(fx.get("user/alice", F).await.unwrap(), b"from the boss");
}

#[tokio::test]
async fn lists_keep_an_owner_and_are_changed_over_their_version() {
    let fx = Fixture::new().await;
    fx.put("agent/helper", header(F), b"x").await.unwrap();
    let set = async |acl: &Acl, etag: &str| {
        let message = types::Acl { etag: etag.into(), ..types::Acl::from(acl) };
        let request = SetFileAclRequest { name: F.into(), acl: Some(message) };
        fx.client("agent/helper").set_file_acl(request).await
    };
    let mut ownerless = Acl::new();
    ownerless.grant(&Candidate::user("eve").unwrap(), &[Level::Write]).unwrap();
    assert_eq!(set(&ownerless, "").await.unwrap_err().code(), Code::InvalidArgument);
    let mut acl = Acl::owned_by(&Candidate::agent("helper").unwrap());
    acl.grant(&Candidate::user("eve").unwrap(), &[Level::Read]).unwrap();
    let stale = set(&acl, "old").await.unwrap_err();
    assert_eq!((stale.code(), reason(&stale)), (Code::Aborted, Some(Reason::VersionConflict)));
    let done = set(&acl, "").await.unwrap().into_inner();
    assert_eq!(done.etag, acl.etag());
    let records = fx.suite.audit_records().await;
    let set = records.iter().filter(|record| record.method.ends_with("/SetFileAcl"));
    assert_eq!(set.filter(|record| record.resource == F && record.subject == "agent/helper").count(), 3);
}

#[tokio::test]
async fn a_list_shows_what_the_caller_may_read() {
    let fx = Fixture::new().await;
    for path in ["a", "b", "c/d"] {
        fx.put("agent/helper", header(&format!("teams/red/agents/helper/files/{path}")), b"x").await.unwrap();
    }
    let secret = WriteFileHeader { acl: None, ..header("teams/red/agents/helper/files/z") };
    fx.put("agent/helper", secret, b"x").await.unwrap();
    let list = async |who: &str, token: String| {
        let parent = "teams/red/agents/helper/files".to_owned();
        let request =
            ListFilesRequest { parent, page_size: 2, page_token: token, ..ListFilesRequest::default() };
        fx.client(who).list_files(request).await.map(tonic::Response::into_inner)
    };
    let first = list("agent/helper", String::new()).await.unwrap();
    let paths = |files: &[File]| files.iter().map(|f| f.uri.clone()).collect::<Vec<_>>();
    assert_eq!(paths(&first.files), ["smythfs://helper.agent/a", "smythfs://helper.agent/b"]);
    let second = list("agent/helper", first.next_page_token).await.unwrap();
    assert_eq!(paths(&second.files), ["smythfs://helper.agent/c/d", "smythfs://helper.agent/z"]);
    // The boss may list the place, but reads none of the files.
    let seen = list("user/boss", String::new()).await.unwrap();
    assert_eq!((seen.files.len(), seen.next_page_token.as_str()), (0, ""));
    refused(list("user/alice", String::new()).await);
    let other = list("agent/helper", "teams/blue/files/x".into()).await.unwrap_err();
    assert_eq!(other.code(), Code::InvalidArgument);
}

/// H9, H10, H11: names that lead elsewhere are refused before anything is looked up or written.
#[tokio::test]
async fn h9_h10_h11_traversal_is_refused() {
    let fx = Fixture::new().await;
    for path in ["../x", "a/../../b", "./a", "a//b", "a\\..\\b", "a\0b", ".."] {
        let name = format!("teams/red/agents/helper/files/{path}");
        let put = fx.put("agent/helper", header(&name), b"x").await.unwrap_err();
        assert_eq!(put.code(), Code::InvalidArgument, "{path:?}");
        assert_eq!(fx.get("agent/helper", &name).await.unwrap_err().code(), Code::InvalidArgument);
    }
    fx.put("agent/helper", header("teams/red/agents/helper/files/..."), b"dots").await.unwrap();
    fx.put("agent/helper", header("teams/red/agents/helper/files/%2e%2e/x"), b"text").await.unwrap();
}

#[tokio::test]
async fn malformed_writes_are_refused() {
    let fx = Fixture::new().await;
    let mut client = fx.client("agent/helper");
    let data = WriteFileRequest { part: Some(Part::Data(Bytes::from_static(b"x"))) };
    for parts in [vec![], vec![data], vec![WriteFileRequest { part: None }]] {
        let status = client.write_file(futures::stream::iter(parts)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    for wrong in [
        WriteFileHeader { mimetype: "text".into(), ..header(F) },
        WriteFileHeader { if_match: "x".into(), if_absent: true, ..header(F) },
        WriteFileHeader { digest: "md5:x".into(), ..header(F) },
        WriteFileHeader { time_to_live: Some(prost_types::Duration::default()), ..header(F) },
    ] {
        let status = fx.put("agent/helper", wrong, b"x").await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    let get = GetFileRequest { name: F.into() };
    assert_eq!(client.get_file(get).await.unwrap_err().code(), Code::NotFound);
}
