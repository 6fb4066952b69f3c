//! Links over HTTP: what is served, to whom, and under which headers.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use sre_identity::{Acl, Candidate, Level};
use sre_proto::error::{Reason, reason};
use sre_proto::io::v1::router_client::RouterClient;
use sre_proto::io::v1::storage_client::StorageClient;
use sre_proto::io::v1::{
    CreateUrlRequest, DeleteFileRequest, ListUrlsRequest, RenewUrlRequest, RevokeUrlRequest,
    SetFileAclRequest, Url, UrlDisposition, UrlKind, WriteFileHeader, WriteFileRequest,
    write_file_request::Part,
};
use sre_proto::types::v1 as types;
use sre_service::accounts::TeamRole;
use sre_service::testing::TestSuite;
use sre_service::{Link, Role};
use tonic::{Code, Status};

const F: &str = "teams/red/agents/helper/files/d/f.txt";

struct Fixture {
    suite: TestSuite,
    http: reqwest::Client,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Everything that a stranger sees.
    fn seen(&self) -> (StatusCode, Vec<(String, String)>, Bytes) {
        let mut headers: Vec<_> = self
            .headers
            .iter()
            .filter(|(name, _)| *name != "date")
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        headers.sort();
        (self.status, headers, self.body.clone())
    }
}

impl Fixture {
    async fn new() -> Self {
        let suite = TestSuite::builder()
            .role(Role::Io, crate::start)
            .config(|config| config.files.enabled = true)
            .member("agent/helper", "red", TeamRole::Member)
            .member("user/alice", "red", TeamRole::Member)
            .member("user/boss", "red", TeamRole::Admin)
            .member("user/eve", "blue", TeamRole::Member)
            .build()
            .await
            .unwrap();
        Self { suite, http: reqwest::Client::new() }
    }

    fn router(&self, who: &str) -> RouterClient<Link> {
        RouterClient::new(self.suite.link_as(who, Role::Io))
    }

    fn storage(&self, who: &str) -> StorageClient<Link> {
        StorageClient::new(self.suite.link_as(who, Role::Io))
    }

    async fn put(&self, name: &str, mimetype: &str, content: &[u8]) {
        let header =
            WriteFileHeader { name: name.into(), mimetype: mimetype.into(), ..WriteFileHeader::default() };
        let parts = vec![
            WriteFileRequest { part: Some(Part::Header(header)) },
            WriteFileRequest { part: Some(Part::Data(Bytes::copy_from_slice(content))) },
        ];
        self.storage("agent/helper").write_file(futures::stream::iter(parts)).await.unwrap();
    }

    /// Gives others rights beside the agent's own.
    async fn share(&self, others: &[(&str, Level)]) {
        let mut acl = Acl::owned_by(&Candidate::agent("helper").unwrap());
        for (who, level) in others {
            acl.grant(&who.parse::<Candidate>().unwrap(), &[*level]).unwrap();
        }
        let acl = types::Acl { etag: String::new(), ..types::Acl::from(&acl) };
        let request = SetFileAclRequest { name: F.into(), acl: Some(acl) };
        self.storage("agent/helper").set_file_acl(request).await.unwrap();
    }

    async fn link(&self, who: &str, change: impl FnOnce(&mut CreateUrlRequest)) -> Result<Url, Status> {
        let mut request = CreateUrlRequest { file: F.into(), ..CreateUrlRequest::default() };
        change(&mut request);
        Ok(self.router(who).create_url(request).await?.into_inner())
    }

    async fn ask(&self, method: Method, url: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.http.request(method, url).timeout(Duration::from_secs(20));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        Answer { status, headers, body: answer.bytes().await.unwrap() }
    }

    async fn get(&self, url: &str) -> Answer {
        self.ask(Method::GET, url, &[]).await
    }

    fn door(&self) -> String {
        format!("http://{}", self.suite.host(Role::Io).addresses()["files"])
    }
}

#[tokio::test]
async fn a_link_serves_its_file_in_whole_and_in_ranges() {
    let fx = Fixture::new().await;
    let content: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    fx.put(F, "application/octet-stream", &content).await;
    let url = fx.link("agent/helper", |_| {}).await.unwrap();
    assert!(
        url.url.starts_with(&format!("{}/t/", fx.door())) && url.url.ends_with("/f%2Etxt"),
        "{}",
        url.url
    );
    let got = fx.get(&url.url).await;
    assert_eq!((got.status, got.body.as_ref()), (StatusCode::OK, content.as_slice()));
    assert_eq!((got.header("content-length"), got.header("accept-ranges")), ("300000", "bytes"));
    assert_eq!(got.header("content-type"), "application/octet-stream");
    let etag = got.header("etag").to_owned();
    // The name behind the token is for people.
    let token_alone = url.url.rsplit_once('/').unwrap().0;
    assert_eq!(fx.get(token_alone).await.status, StatusCode::OK);

    let head = fx.ask(Method::HEAD, &url.url, &[]).await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (StatusCode::OK, "300000", 0));
    let part = fx.ask(Method::GET, &url.url, &[("range", "bytes=70000-70009")]).await;
    assert_eq!((part.status, part.body.as_ref()), (StatusCode::PARTIAL_CONTENT, &content[70_000..70_010]));
    assert_eq!(part.header("content-range"), "bytes 70000-70009/300000");
    let last = fx.ask(Method::GET, &url.url, &[("range", "bytes=-5")]).await;
    assert_eq!(last.body.as_ref(), &content[299_995..]);
    let beyond = fx.ask(Method::GET, &url.url, &[("range", "bytes=300000-")]).await;
    assert_eq!(
        (beyond.status, beyond.header("content-range")),
        (StatusCode::RANGE_NOT_SATISFIABLE, "bytes */300000")
    );

    let same = fx.ask(Method::GET, &url.url, &[("if-none-match", &etag)]).await;
    assert_eq!(
        (same.status, same.body.len(), same.header("etag")),
        (StatusCode::NOT_MODIFIED, 0, etag.as_str())
    );
    let other = fx.ask(Method::GET, &url.url, &[("if-none-match", "\"x\", W/\"y\"")]).await;
    assert_eq!(other.status, StatusCode::OK);
    let stale = fx.ask(Method::GET, &url.url, &[("range", "bytes=0-1"), ("if-range", "\"x\"")]).await;
    assert_eq!((stale.status, stale.body.len()), (StatusCode::OK, 300_000));
    let failed = fx.ask(Method::GET, &url.url, &[("if-match", "\"x\"")]).await;
    assert_eq!(failed.status, StatusCode::PRECONDITION_FAILED);
    assert!(fx.suite.stop().await);
}

/// H22: what agents stored is never run in the origin that serves it.
#[tokio::test]
async fn h22_active_content_is_downloaded_and_nothing_is_sniffed() {
    let fx = Fixture::new().await;
    for (mimetype, how) in [
        ("text/html", "attachment"),
        ("TEXT/HTML; charset=utf-8", "attachment"),
        ("image/svg+xml", "attachment"),
        ("application/javascript", "attachment"),
        ("text/xml", "attachment"),
        ("application/rdf+xml", "attachment"),
        ("image/png", "inline"),
        ("text/plain", "inline"),
    ] {
        fx.put(F, mimetype, b"<script>alert(1)</script>").await;
        let url = fx.link("agent/helper", |_| {}).await.unwrap();
        let got = fx.get(&url.url).await;
        assert_eq!(
            got.header("content-disposition"),
            format!("{how}; filename*=UTF-8''f%2Etxt"),
            "{mimetype}"
        );
        assert_eq!(got.header("x-content-type-options"), "nosniff");
        assert!(got.header("content-security-policy").contains("sandbox"));
        assert!(got.header("content-security-policy").contains("default-src 'none'"));
        assert_eq!(got.header("referrer-policy"), "no-referrer");
        assert_eq!(got.header("cache-control"), "private, no-cache");
    }
    let attached = fx
        .link("agent/helper", |request| request.disposition = UrlDisposition::Attachment.into())
        .await
        .unwrap();
    assert!(fx.get(&attached.url).await.header("content-disposition").starts_with("attachment"));
    // A name cannot break out of its header.
    let odd = "teams/red/agents/helper/files/a\";\u{e9}.html";
    fx.put(odd, "text/plain", b"x").await;
    let url = fx.link("agent/helper", |request| request.file = odd.into()).await.unwrap();
    let got = fx.get(&url.url).await;
    assert_eq!(got.header("content-disposition"), "inline; filename*=UTF-8''a%22%3B%C3%A9%2Ehtml");
}

/// H37: there is one refusal, whatever the cause.
#[tokio::test]
async fn h21_h37_whatever_is_not_served_is_the_same_not_found() {
    let fx = Fixture::new().await;
    fx.put(F, "text/plain", b"x").await;
    let link = async || fx.link("agent/helper", |_| {}).await.unwrap();
    let nowhere = fx.get(&format!("{}/t/nothing", fx.door())).await.seen();
    assert_eq!(nowhere.0, StatusCode::NOT_FOUND);
    let mut urls =
        vec![format!("{}/", fx.door()), format!("{}/admin", fx.door()), format!("{}/r/a.b/x", fx.door())];
    // Changed.
    let good = link().await;
    urls.push(good.url.replacen("/t/e", "/t/f", 1));
    urls.push(good.url.replacen("/f%2Etxt", "x/f%2Etxt", 1));
    // Of a version that is not there any more.
    let pinned = fx.link("agent/helper", |request| request.this_version = true).await.unwrap();
    assert_eq!(fx.get(&pinned.url).await.status, StatusCode::OK);
    // Revoked.
    let revoked = link().await;
    let request = RevokeUrlRequest { file: F.into(), id: revoked.id.clone() };
    fx.router("agent/helper").revoke_url(request).await.unwrap();
    urls.push(revoked.url);
    // Ended.
    let life = prost_types::Duration { seconds: 0, nanos: 1_000_000 };
    let ended = fx.link("agent/helper", |request| request.time_to_live = Some(life)).await.unwrap();
    while fx.get(&ended.url).await.status == StatusCode::OK {}
    urls.push(ended.url);
    // Written again.
    fx.put(F, "text/plain", b"y").await;
    urls.push(pinned.url);
    assert_eq!(fx.get(&good.url).await.body.as_ref(), b"y");
    for url in &urls {
        assert_eq!(fx.get(url).await.seen(), nowhere, "{url}");
    }
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        assert_eq!(fx.ask(method, &good.url, &[]).await.status, StatusCode::NOT_FOUND);
    }
    // Deleted.
    let delete = DeleteFileRequest { name: F.into(), ..DeleteFileRequest::default() };
    fx.storage("agent/helper").delete_file(delete).await.unwrap();
    assert_eq!(fx.get(&good.url).await.seen(), nowhere);
}

/// H21: a link gives what whoever made it may read when it is fetched, and not what it could once.
#[tokio::test]
async fn h21_the_right_to_read_is_asked_for_at_each_fetch() {
    let fx = Fixture::new().await;
    fx.put(F, "text/plain", b"x").await;
    let refused = fx.link("user/alice", |_| {}).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::PermissionDenied, Some(Reason::AclDenied)));
    fx.share(&[("user/alice", Level::Read), ("user/eve", Level::Write)]).await;
    let url = fx.link("user/alice", |_| {}).await.unwrap();
    assert_eq!(url.subject, "user/alice");
    assert_eq!(fx.get(&url.url).await.status, StatusCode::OK);
    // A writer may not read, so it makes no link.
    assert_eq!(fx.link("user/eve", |_| {}).await.unwrap_err().code(), Code::PermissionDenied);
    fx.share(&[]).await;
    assert_eq!(fx.get(&url.url).await.status, StatusCode::NOT_FOUND);
    fx.share(&[("user/alice", Level::Read)]).await;
    assert_eq!(fx.get(&url.url).await.status, StatusCode::OK);
}

/// H21: nobody revokes, renews or sees others' links, but owners of the file.
#[tokio::test]
async fn h21_links_are_their_makers_and_the_owners() {
    let fx = Fixture::new().await;
    fx.put(F, "text/plain", b"x").await;
    fx.share(&[("user/alice", Level::Read), ("user/eve", Level::Read)]).await;
    let resource = |request: &mut CreateUrlRequest| request.kind = UrlKind::Resource.into();
    let url = fx.link("user/alice", resource).await.unwrap();
    assert!(url.url.contains("/r/"));
    let revoke = || RevokeUrlRequest { file: F.into(), id: url.id.clone() };
    let renew = || RenewUrlRequest { file: F.into(), id: url.id.clone(), time_to_live: None };
    let list = || ListUrlsRequest { file: F.into(), ..ListUrlsRequest::default() };
    assert_eq!(fx.router("user/eve").revoke_url(revoke()).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(fx.router("user/eve").renew_url(renew()).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(fx.router("user/eve").list_urls(list()).await.unwrap().into_inner().urls.len(), 0);
    for who in ["user/alice", "agent/helper"] {
        let urls = fx.router(who).list_urls(list()).await.unwrap().into_inner().urls;
        assert_eq!((urls.len(), urls[0].url.as_str(), urls[0].subject.as_str()), (1, "", "user/alice"));
    }
    let renewed = fx.router("user/alice").renew_url(renew()).await.unwrap().into_inner();
    assert_eq!((renewed.id.as_str(), renewed.subject.as_str()), (url.id.as_str(), "user/alice"));
    assert_eq!(fx.get(&renewed.url).await.status, StatusCode::OK);
    // The file's owner ends it, with both its addresses.
    fx.router("agent/helper").revoke_url(revoke()).await.unwrap();
    assert_eq!(fx.get(&url.url).await.status, StatusCode::NOT_FOUND);
    assert_eq!(fx.get(&renewed.url).await.status, StatusCode::NOT_FOUND);
    let gone = fx.router("user/alice").renew_url(renew()).await.unwrap_err();
    assert_eq!(reason(&gone), Some(Reason::CredentialsRevoked));
    let records = fx.suite.audit_records().await;
    for method in ["CreateUrl", "RenewUrl", "RevokeUrl"] {
        let of = records.iter().filter(|record| record.method.ends_with(&format!("/{method}")));
        assert!(of.clone().count() >= 1 && of.clone().all(|record| record.resource == F), "{method}");
    }
}

#[tokio::test]
async fn lives_are_limited_and_addresses_will_do() {
    let fx = Fixture::new().await;
    fx.put(F, "text/plain", b"x").await;
    let hours = |hours: i64| Some(prost_types::Duration { seconds: hours * 3600, nanos: 0 });
    for (kind, life, fine) in [
        (UrlKind::Temporary, hours(24), true),
        (UrlKind::Temporary, hours(25), false),
        (UrlKind::Resource, hours(30 * 24), true),
        (UrlKind::Resource, hours(31 * 24), false),
        (UrlKind::Temporary, hours(0), false),
        (UrlKind::Temporary, hours(-1), false),
    ] {
        let made = fx
            .link("agent/helper", |request| (request.kind, request.time_to_live) = (kind.into(), life))
            .await;
        assert_eq!(made.is_ok(), fine, "{kind:?} {life:?}");
    }
    let default = fx.link("agent/helper", |_| {}).await.unwrap();
    let seconds = |time: &Option<prost_types::Timestamp>| time.as_ref().unwrap().seconds;
    assert_eq!(seconds(&default.expire_time) - seconds(&default.create_time), 15 * 60);
    let by_address = fx
        .link("agent/helper", |request| request.file = "smythfs://helper.agent/d/f.txt".into())
        .await
        .unwrap();
    assert_eq!(by_address.file, F);
    let absent = fx.link("agent/helper", |request| request.file = format!("{F}x")).await.unwrap_err();
    assert_eq!(absent.code(), Code::NotFound);
}

#[tokio::test]
async fn without_a_door_no_links_are_made() {
    let suite = TestSuite::builder()
        .role(Role::Io, crate::start)
        .member("agent/helper", "red", TeamRole::Member)
        .build()
        .await
        .unwrap();
    let fx = Fixture { suite, http: reqwest::Client::new() };
    fx.put(F, "text/plain", b"x").await;
    assert_eq!(fx.link("agent/helper", |_| {}).await.unwrap_err().code(), Code::FailedPrecondition);
}
