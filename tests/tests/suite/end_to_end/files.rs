//! Files of the reference's local storage are imported, and links serve them over HTTP through a door of their own.

use reqwest::StatusCode;
use serde_json::json;
use sre_proto::io::v1::router_client::RouterClient;
use sre_proto::io::v1::{CreateUrlRequest, GetFileAclRequest, GetFileRequest, RevokeUrlRequest, UrlKind};

use crate::harness::process::say;
use crate::harness::{Mode, Options, Suite, in_both_modes};

in_both_modes!(imported_and_linked);

/// The layout of the reference: bytes beneath `local`, what is said of them beneath `.local.metadata`.
const OLD: [(&str, &str, &str); 4] = [
    (
        "teams/teamA/dir/f.txt",
        "shared",
        r#"{"acl":"h:xxh3|t:8d538d4ba3e543f9/r|a:5d5644b549a9e996/o","ContentType":"text/plain","n":"5"}"#,
    ),
    ("teams/teamA.agent/agA1/a%20b", "of an agent", r#"{"acl":"h:xxh3|a:5d5644b549a9e996/o"}"#),
    ("teams/teamA.user/ua/n.txt", "of a user", r#"{"acl":"h:none|u:ua/o"}"#),
    ("teams/teamA/broken", "never taken over", r#"{"acl":"h:md5|u:x/o"}"#),
];

async fn imported_and_linked(mode: Mode) {
    let suite = Suite::start("files", mode, Options::default()).await;
    let old = suite.folder().join("old");
    for (resource, content, metadata) in OLD {
        for (place, text) in [("storage/local", content), ("storage/.local.metadata", metadata)] {
            let path = old.join(place).join(resource);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }
    let accounts = json!({ "teamA": { "users": { "ua": {} } } });
    std::fs::write(old.join("account.json"), accounts.to_string()).unwrap();
    let folder = suite.folder().to_owned();
    let said = say(&folder, &["import", old.to_str().unwrap(), "--json"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    // The user's own is for the user to import: nobody else writes there.
    assert_eq!(said.json()["files"], json!(2), "{said:?}");
    // A second time nothing is changed.
    let again = say(&folder, &["import", old.to_str().unwrap(), "--json"]).await;
    assert_eq!((again.code, &again.json()["files"]), (0, &json!(0)), "{again:?}");

    let dev = suite.client("user/dev");
    let of = async |name: &str| {
        dev.storage().get_file(GetFileRequest { name: name.into() }).await.map(tonic::Response::into_inner)
    };
    let shared = of("smythfs://teamA.team/dir/f.txt").await.unwrap();
    assert_eq!(
        (shared.name.as_str(), shared.mimetype.as_str()),
        ("teams/teamA/files/dir/f.txt", "text/plain")
    );
    assert_eq!(shared.metadata["n"].kind, Some(prost_types::value::Kind::NumberValue(5.0)));
    assert_eq!(of("teams/teamA/agents/agA1/files/a b").await.unwrap().size_bytes, 11);
    assert!(of("teams/teamA/files/broken").await.is_err());
    // The agent owns it as before, and so does who imported it.
    let acl = GetFileAclRequest { name: "teams/teamA/agents/agA1/files/a b".into() };
    assert_eq!(dev.storage().get_file_acl(acl).await.unwrap().into_inner().entries.len(), 2);

    let mut router = RouterClient::new(suite.channel("user/dev", "edge"));
    let file = shared.name.clone();
    let request = CreateUrlRequest {
        file: file.clone(),
        kind: UrlKind::Resource.into(),
        ..CreateUrlRequest::default()
    };
    let link = router.create_url(request).await.unwrap().into_inner();
    assert!(link.url.starts_with(&format!("http://{}/r/", suite.address("files"))), "{}", link.url);
    let fetched = reqwest::get(&link.url).await.unwrap();
    assert_eq!(fetched.headers()["x-content-type-options"], "nosniff");
    assert_eq!((fetched.status(), fetched.text().await.unwrap().as_str()), (StatusCode::OK, "shared"));
    router.revoke_url(RevokeUrlRequest { file, id: link.id }).await.unwrap();
    assert_eq!(reqwest::get(&link.url).await.unwrap().status(), StatusCode::NOT_FOUND);
    suite.stop().await;
}
