//! Rows: what is written is found, expires, and is listed.

use serde_json::json;

use super::{Bench, F, NOW, at, name, seconds};
use crate::basis::Condition;
use crate::error::IoError;
use crate::storage::{FolderName, Metadata};
use crate::usage::{self, Kind, Quota};

fn metadata(value: serde_json::Value) -> Metadata {
    value.as_object().unwrap().clone()
}

pub(crate) async fn a_row_is_written_and_found(bench: &Bench) {
    assert_eq!(bench.index.find(&name(F)).await.unwrap(), None);
    let said = metadata(json!({"a": "5", "b": 5, "c": [1.5, null, {"d": true}]}));
    let row = bench
        .write(F, 7, NOW, |commit| {
            commit.metadata = said.clone();
            commit.time_to_live = seconds(10);
        })
        .await
        .unwrap();
    assert_eq!(bench.index.find(&name(F)).await.unwrap().as_ref(), Some(&row));
    assert_eq!((row.name.as_str(), row.team.as_str(), row.instance.as_str()), (F, "t", "one"));
    assert_eq!((row.size_bytes, row.acl.as_str(), row.metadata), (7, "new", said));
    assert_eq!((row.created_ms, row.updated_ms, row.expires_ms), (NOW, NOW, Some(NOW + 10_000)));
    assert_eq!(bench.used().await, (1, 7));
}

/// An overwrite keeps the access list: writing gives no right over it (H7).
pub(crate) async fn an_overwrite_keeps_list_and_birth(bench: &Bench) {
    let first = bench.write(F, 3, NOW, |commit| commit.time_to_live = seconds(100)).await.unwrap();
    let second = bench.write(F, 5, NOW + 5, |commit| commit.acl_when_new = "other".into()).await.unwrap();
    assert_ne!(first.etag, second.etag);
    assert_ne!(first.object, second.object);
    assert_eq!((second.acl.as_str(), second.created_ms, second.updated_ms), ("new", NOW, NOW + 5));
    assert_eq!(second.expires_ms, None);
    assert_eq!(bench.used().await, (1, 5));
    let third = bench.write(F, 5, NOW, |commit| commit.acl_when_there = Some("given".into())).await.unwrap();
    assert_eq!(third.acl, "given");
}

pub(crate) async fn conditions_hold(bench: &Bench) {
    let matching = |etag: &str| Condition::IfMatch(etag.to_owned());
    let write = async |condition: Condition| bench.write(F, 1, NOW, |c| c.condition = condition).await;
    assert!(matches!(write(matching("x")).await, Err(IoError::OtherVersion)));
    let first = write(Condition::IfAbsent).await.unwrap();
    assert!(matches!(write(Condition::IfAbsent).await, Err(IoError::Exists)));
    write(matching(&first.etag)).await.unwrap();
    assert!(matches!(write(matching(&first.etag)).await, Err(IoError::OtherVersion)));
}

pub(crate) async fn expiry_is_exact(bench: &Bench) {
    bench.write(F, 1, NOW, |commit| commit.time_to_live = seconds(10)).await.unwrap();
    bench.write("teams/t/files/stays", 1, NOW, |_| {}).await.unwrap();
    let folder = FolderName::parse("teams/t/agents/a/files").unwrap();
    for (now, there) in [(NOW + 9_999, 1), (NOW + 10_000, 0)] {
        assert_eq!(usize::from(bench.live(F, now).await.is_some()), there);
        assert_eq!(bench.index.below(&folder, "", "", now, 10).await.unwrap().len(), there);
    }
    assert_eq!(bench.index.drop_expired(at(NOW + 9_999), 10).await.unwrap(), 0);
    assert_eq!(bench.index.drop_expired(at(NOW + 10_000), 10).await.unwrap(), 1);
    assert_eq!(bench.index.drop_expired(at(NOW + 10_000), 10).await.unwrap(), 0);
    assert_eq!(bench.used().await, (1, 1));
}

pub(crate) async fn an_expired_row_is_as_none(bench: &Bench) {
    bench.write(F, 3, NOW, |commit| commit.time_to_live = seconds(10)).await.unwrap();
    let later = NOW + 10_000;
    // Its list no longer counts, and if_absent holds; it takes the place that was counted.
    let row = bench
        .write(F, 4, later, |commit| {
            commit.condition = Condition::IfAbsent;
            commit.acl_when_new = "fresh".into();
        })
        .await
        .unwrap();
    assert_eq!((row.acl.as_str(), row.created_ms), ("fresh", later));
    assert_eq!(bench.used().await, (1, 4));
}

pub(crate) async fn the_quota_is_held_in_the_transaction(bench: &Bench) {
    let mut tight = at(NOW);
    tight.quotas.team = Quota { items: 2, bytes: 10 };
    let write = async |file: &str, size: i64| {
        let commit = bench.commit(file, size, NOW).await;
        bench.index.commit(commit, tight, super::unrecorded()).await
    };
    write(F, 8).await.unwrap();
    assert!(matches!(write("teams/t/files/g", 4).await, Err(IoError::Quota { .. })));
    assert_eq!(bench.used().await, (1, 8));
    write(F, 1).await.unwrap();
    write("teams/t/files/g", 4).await.unwrap();
    assert!(matches!(write("teams/t/files/h", 0).await, Err(IoError::Quota { .. })));
    write("teams/other/files/h", 0).await.unwrap();
    assert_eq!(bench.used().await, (2, 5));
}

/// One agent cannot use up what its team may hold.
pub(crate) async fn an_agent_has_a_quota_of_its_own(bench: &Bench) {
    let mut tight = at(NOW);
    tight.quotas.agent = Quota { items: 1, bytes: 10 };
    let write = async |file: &str, size: i64| {
        let commit = bench.commit(file, size, NOW).await;
        bench.index.commit(commit, tight, super::unrecorded()).await
    };
    let used =
        async |agent: &str| bench.index.used(&usage::agent("t", agent), Kind::AgentFiles).await.unwrap();
    write(F, 8).await.unwrap();
    assert!(matches!(write("teams/t/agents/a/files/other", 1).await, Err(IoError::Quota { .. })));
    assert!(matches!(write(F, 11).await, Err(IoError::Quota { .. })));
    write("teams/t/agents/b/files/other", 9).await.unwrap();
    write("teams/t/files/other", 50).await.unwrap();
    assert_eq!((used("a").await, used("b").await, bench.used().await), ((1, 8), (1, 9), (3, 67)));
    bench.write(F, 1, NOW, |commit| commit.time_to_live = seconds(1)).await.unwrap();
    bench.index.drop_expired(at(NOW + 1_000), 10).await.unwrap();
    assert_eq!((used("a").await, bench.used().await), ((0, 0), (2, 59)));
}

pub(crate) async fn a_folder_lists_what_is_below_it_and_nothing_beside(bench: &Bench) {
    for file in ["d/a", "d/b/c", "d", "d0", "d.x", "dd/a", "e", "%", "_", "D/a"] {
        bench.write(&format!("teams/t/agents/a/files/{file}"), 1, NOW, |_| {}).await.unwrap();
    }
    bench.write("teams/t/agents/ab/files/d/z", 1, NOW, |_| {}).await.unwrap();
    let root = "teams/t/agents/a/files";
    for (folder, prefix, expected) in [
        ("d", "", vec!["d/a", "d/b/c"]),
        ("d", "b", vec!["d/b/c"]),
        ("d", "b/", vec!["d/b/c"]),
        ("", "d", vec!["d", "d.x", "d/a", "d/b/c", "d0", "dd/a"]),
        ("", "%", vec!["%"]),
        ("", "_", vec!["_"]),
        ("x", "", vec![]),
    ] {
        let folder = FolderName::parse(format!("{root}/{folder}").trim_end_matches('/')).unwrap();
        let rows = bench.index.below(&folder, prefix, "", NOW, 100).await.unwrap();
        let paths: Vec<&str> = rows.iter().map(|row| &row.name[root.len() + 1..]).collect();
        assert_eq!(paths, expected, "{folder} {prefix}");
    }
}

/// By bytes, whatever language the database speaks: a page begins where the last one ended.
pub(crate) async fn pages_follow_the_order_of_bytes(bench: &Bench) {
    let mut files: Vec<String> =
        ["a", "B", "b", "ä", "Z", "z", "é", "-", "~", "\u{10FFFF}", "\u{D7FF}", "\u{E000}"]
            .iter()
            .map(|file| format!("teams/t/files/{file}"))
            .collect();
    for file in &files {
        bench.write(file, 1, NOW, |_| {}).await.unwrap();
    }
    files.sort();
    let folder = FolderName::parse("teams/t/files").unwrap();
    let mut listed = Vec::new();
    let mut after = String::new();
    loop {
        let page = bench.index.below(&folder, "", &after, NOW, 5).await.unwrap();
        let Some(last) = page.last() else { break };
        after.clone_from(&last.name);
        listed.extend(page.into_iter().map(|row| row.name));
    }
    assert_eq!(listed, files);
    let odd = bench.index.below(&folder, "\u{D7FF}", "", NOW, 5).await.unwrap();
    assert_eq!(odd.len(), 1);
}
