//! What every registry must do. A registry's tests call `contract::every_case!(fresh)`, where `fresh` is an async
//! function that gives an empty one, or none where its server is not there.

use std::any::Any;
use std::sync::Arc;

use sre_vectors::{CollectionId, Metric};

use super::{Commit, DatasourceRow, Embedding, NamespaceRow, Registry, RequestRow};
use crate::basis::{Basis, Condition};
use crate::error::IoError;
use crate::usage::Quota;
use crate::vector_db::name::NamespaceName;
use crate::vector_db::record::Recorder;

/// A registry, and what it needs to stay.
pub(crate) struct Bench {
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) _keep: Box<dyn Any + Send + Sync>,
}

/// One test for each case.
macro_rules! every_case {
    ($fresh:path) => {
        crate::vector_db::registry::contract::every_case!(@ $fresh,
            namespaces_are_created_once_and_listed, a_changed_list_is_decided_on_again,
            writings_count_when_they_are_committed, a_condemned_writing_never_counts,
            a_replacement_lets_go_of_what_was_there, conditions_are_checked_with_the_commit,
            requests_are_known_for_a_while, books_are_kept_and_quotas_hold,
            a_removed_namespace_leaves_its_collection, many_writings_have_numbers_of_their_own);
    };
    (@ $fresh:path, $($case:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            if let Some(bench) = $fresh().await {
                crate::vector_db::registry::contract::$case(bench).await;
            }
        }
    )*};
}
pub(crate) use every_case;

const NO_QUOTA: Quota = Quota { items: i64::MAX, bytes: i64::MAX };

fn name(text: &str) -> NamespaceName {
    NamespaceName::parse("name", text).unwrap()
}

fn namespace(text: &str) -> NamespaceRow {
    let name = name(text);
    NamespaceRow {
        id: CollectionId(sre_proto::ids::new_uuid().as_u128()),
        name: name.to_string(),
        scope: name.scope,
        team: name.team,
        dimension: 4,
        metric: Metric::Dot,
        embedding: Some(Embedding { model: "m".into(), batch_size: 7, strip_new_lines: false }),
        instance: "embedded".into(),
        description: "d".into(),
        acl: "acl".into(),
        created_ms: 5,
        rows: 0,
        bytes: 0,
    }
}

fn basis() -> Basis {
    Basis::row("acl")
}

fn datasource(id: &str, generation: i64, chunks: i32) -> DatasourceRow {
    DatasourceRow {
        id: id.into(),
        label: format!("label of {id}"),
        metadata: "{}".into(),
        chunk_size: 512,
        chunk_overlap: 100,
        chunks,
        text_bytes: 3,
        bytes: i64::from(chunks) * 10,
        etag: format!("etag {generation}"),
        generation,
        creator: "agent/a".into(),
        created_ms: generation,
        updated_ms: generation,
    }
}

fn commit(space: &NamespaceRow, row: DatasourceRow) -> Commit {
    Commit {
        namespace: name(&space.name),
        id: space.id,
        basis: basis(),
        row,
        text: "a\0ä".into(),
        condition: Condition::Always,
        request: None,
        due_ms: 1000,
        quota: NO_QUOTA,
    }
}

impl Bench {
    async fn space(&self, text: &str) -> NamespaceRow {
        let row = namespace(text);
        self.registry.create(row.clone(), Recorder::none()).await.unwrap();
        row
    }

    async fn put(&self, space: &NamespaceRow, id: &str, chunks: i32) -> DatasourceRow {
        let generation = self.registry.begin(space.id, 900).await.unwrap();
        self.registry
            .commit(commit(space, datasource(id, generation, chunks)), Recorder::none())
            .await
            .unwrap()
    }

    async fn except(&self, space: &NamespaceRow) -> Vec<i64> {
        self.registry.visibility(space.id).await.unwrap().except
    }
}

pub(crate) async fn namespaces_are_created_once_and_listed(bench: Bench) {
    let registry = &bench.registry;
    let row = bench.space("teams/t/vectors/b").await;
    for other in ["teams/t/vectors/a", "teams/t/agents/x/vectors/c", "teams/u/vectors/b"] {
        bench.space(other).await;
    }
    let again = registry.create(namespace(&row.name), Recorder::none()).await;
    assert!(matches!(again, Err(IoError::Exists)), "{again:?}");
    assert_eq!(registry.namespace(&row.name).await.unwrap(), Some(row));
    assert_eq!(registry.namespace("teams/t/vectors/absent").await.unwrap(), None);
    let listed = async |scope: &str, after: &str, limit| -> Vec<String> {
        let rows = registry.namespaces(scope, after, limit).await.unwrap();
        rows.into_iter().map(|row| row.name).collect()
    };
    assert_eq!(listed("teams/t", "", 9).await, ["teams/t/vectors/a", "teams/t/vectors/b"]);
    assert_eq!(listed("teams/t", "", 1).await, ["teams/t/vectors/a"]);
    assert_eq!(listed("teams/t", "teams/t/vectors/a", 9).await, ["teams/t/vectors/b"]);
    assert_eq!(listed("teams/t/agents/x", "", 9).await, ["teams/t/agents/x/vectors/c"]);
}

/// H33: a decision on a list that is no longer the list is made again.
pub(crate) async fn a_changed_list_is_decided_on_again(bench: Bench) {
    let registry = &bench.registry;
    let space = bench.space("teams/t/vectors/n").await;
    let n = || name(&space.name);
    registry.set_acl(n(), basis(), "new".into(), Recorder::none()).await.unwrap();
    let generation = registry.begin(space.id, 900).await.unwrap();
    let changed =
        |result: Result<(), IoError>| assert!(matches!(result, Err(IoError::AclChanged)), "{result:?}");
    changed(registry.set_acl(n(), basis(), "x".into(), Recorder::none()).await);
    changed(registry.remove(n(), basis(), Recorder::none()).await);
    changed(registry.remove_datasource(n(), basis(), "d".into(), 1, Recorder::none()).await);
    changed(registry.book(n(), basis(), vec![("r".into(), 1)], NO_QUOTA, Recorder::none()).await.map(drop));
    changed(registry.release(n(), basis(), vec!["r".into()], Recorder::none()).await);
    let asked = commit(&space, datasource("d", generation, 1));
    changed(registry.commit(asked, Recorder::none()).await.map(drop));
    assert_eq!(registry.namespace(&space.name).await.unwrap().unwrap().acl, "new");
    assert_eq!(bench.except(&space).await, [generation]);
}

pub(crate) async fn writings_count_when_they_are_committed(bench: Bench) {
    let registry = &bench.registry;
    let space = bench.space("teams/t/vectors/n").await;
    let before = registry.visibility(space.id).await.unwrap();
    assert!(before.sees(0) && !before.sees(1));
    let generation = registry.begin(space.id, 900).await.unwrap();
    assert!(!registry.visibility(space.id).await.unwrap().sees(generation));
    let row = datasource("d", generation, 2);
    let done = registry.commit(commit(&space, row.clone()), Recorder::none()).await.unwrap();
    assert_eq!(done, row);
    assert!(registry.visibility(space.id).await.unwrap().sees(generation) && !before.sees(generation));
    assert_eq!(registry.datasource(space.id, "d").await.unwrap(), Some(row.clone()));
    assert_eq!(registry.text(space.id, "d").await.unwrap().as_deref(), Some("a\0ä"));
    assert_eq!(registry.datasources(space.id, "", 9).await.unwrap(), [row]);
    assert_eq!(registry.datasources(space.id, "d", 9).await.unwrap(), []);
    let labels = registry.labels(space.id, vec!["d".into(), "x".into()]).await.unwrap();
    assert_eq!(labels.into_iter().collect::<Vec<_>>(), [("d".to_owned(), "label of d".to_owned())]);
}

pub(crate) async fn a_condemned_writing_never_counts(bench: Bench) {
    let registry = &bench.registry;
    let space = bench.space("teams/t/vectors/n").await;
    let generation = registry.begin(space.id, 900).await.unwrap();
    assert_eq!(registry.due(899, 9).await.unwrap(), []);
    let due = registry.due(900, 9).await.unwrap();
    assert_eq!((due[0].collection, due[0].generation, due.len()), (space.collection(), generation, 1));
    let late = registry.commit(commit(&space, datasource("d", generation, 1)), Recorder::none()).await;
    assert!(matches!(late, Err(IoError::Interrupted(_))), "{late:?}");
    assert_eq!(bench.except(&space).await, [generation]);
    registry.removed(space.id, generation).await.unwrap();
    assert_eq!(bench.except(&space).await, [0i64; 0]);
}

pub(crate) async fn a_replacement_lets_go_of_what_was_there(bench: Bench) {
    let registry = &bench.registry;
    let space = bench.space("teams/t/vectors/n").await;
    let first = bench.put(&space, "d", 3).await;
    let second = bench.put(&space, "d", 2).await;
    assert_eq!((second.created_ms, bench.except(&space).await), (first.created_ms, vec![first.generation]));
    let row = registry.namespace(&space.name).await.unwrap().unwrap();
    assert_eq!((row.rows, row.bytes), (2, 20));
    registry.remove_datasource(name(&space.name), basis(), "d".into(), 2000, Recorder::none()).await.unwrap();
    assert_eq!(bench.except(&space).await, [first.generation, second.generation]);
    assert_eq!(registry.datasource(space.id, "d").await.unwrap(), None);
    assert_eq!(registry.text(space.id, "d").await.unwrap(), None);
    assert_eq!(registry.due(1000, 9).await.unwrap().len(), 1);
    let gone = registry.remove_datasource(name(&space.name), basis(), "d".into(), 1, Recorder::none()).await;
    assert!(matches!(gone, Err(IoError::NotFound(_))), "{gone:?}");
}

pub(crate) async fn conditions_are_checked_with_the_commit(bench: Bench) {
    let registry = &bench.registry;
    let space = bench.space("teams/t/vectors/n").await;
    let first = bench.put(&space, "d", 1).await;
    for (condition, good) in [
        (Condition::IfAbsent, false),
        (Condition::IfMatch("other".into()), false),
        (Condition::IfMatch(first.etag.clone()), true),
    ] {
        let generation = registry.begin(space.id, 900).await.unwrap();
        let asked = Commit { condition, ..commit(&space, datasource("d", generation, 1)) };
        let done = registry.commit(asked, Recorder::none()).await;
        assert_eq!(done.is_ok(), good, "{done:?}");
        // What is refused stays a writing that does not count.
        assert_eq!(bench.except(&space).await.contains(&generation), !good);
    }
}

pub(crate) async fn requests_are_known_for_a_while(bench: Bench) {
    let registry = &bench.registry;
    let space = bench.space("teams/t/vectors/n").await;
    let generation = registry.begin(space.id, 900).await.unwrap();
    let request = RequestRow { id: "q".into(), digest: "x".into() };
    let row = DatasourceRow { updated_ms: 50, ..datasource("d", generation, 1) };
    let asked = Commit { request: Some(request.clone()), ..commit(&space, row) };
    registry.commit(asked, Recorder::none()).await.unwrap();
    let known = async |since| registry.request(space.id, "q", since).await.unwrap();
    assert_eq!(known(50).await, Some((request, "d".to_owned())));
    assert_eq!(known(51).await, None);
    registry.forget_requests(50).await.unwrap();
    assert!(known(0).await.is_some());
    registry.forget_requests(51).await.unwrap();
    assert_eq!(known(0).await, None);
}

pub(crate) async fn books_are_kept_and_quotas_hold(bench: Bench) {
    let registry = &bench.registry;
    let space = bench.space("teams/t/vectors/n").await;
    let quota = Quota { items: 4, bytes: 100 };
    let book = async |rows: &[(&str, i64)]| {
        let rows = rows.iter().map(|(id, bytes)| ((*id).to_owned(), *bytes)).collect();
        registry.book(name(&space.name), basis(), rows, quota, Recorder::none()).await
    };
    assert_eq!(book(&[("a", 10), ("b", 20), ("a", 15)]).await.unwrap(), 2);
    assert_eq!(registry.usage("t").await.unwrap(), (2, 35));
    assert_eq!(book(&[("a", 5), ("c", 1)]).await.unwrap(), 1);
    assert_eq!(registry.usage("t").await.unwrap(), (3, 26));
    for over in [&[("d", 1), ("e", 1)][..], &[("d", 99)][..]] {
        assert!(matches!(book(over).await, Err(IoError::Quota { .. })));
    }
    assert_eq!(registry.usage("t").await.unwrap(), (3, 26));
    let generation = registry.begin(space.id, 900).await.unwrap();
    let asked = Commit { quota, ..commit(&space, datasource("d", generation, 2)) };
    let over = registry.commit(asked, Recorder::none()).await;
    assert!(matches!(over, Err(IoError::Quota { .. })), "{over:?}");
    let release = async |ids: &[&str]| {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        registry.release(name(&space.name), basis(), ids, Recorder::none()).await.unwrap();
    };
    release(&["a", "absent"]).await;
    release(&["a"]).await;
    assert_eq!(registry.usage("t").await.unwrap(), (2, 21));
    let row = registry.namespace(&space.name).await.unwrap().unwrap();
    assert_eq!((row.rows, row.bytes), (2, 21));
    assert_eq!(registry.usage("other").await.unwrap(), (0, 0));
}

/// D33: nothing of a namespace stays behind that another of its name could come to have.
pub(crate) async fn a_removed_namespace_leaves_its_collection(bench: Bench) {
    let registry = &bench.registry;
    let space = bench.space("teams/t/vectors/n").await;
    bench.put(&space, "d", 3).await;
    registry.begin(space.id, 900).await.unwrap();
    registry.remove(name(&space.name), basis(), Recorder::none()).await.unwrap();
    assert_eq!(registry.usage("t").await.unwrap(), (0, 0));
    assert_eq!(registry.dropped(9).await.unwrap(), [(space.collection(), "embedded".to_owned())]);
    assert_eq!(registry.due(i64::MAX, 9).await.unwrap(), []);
    let again = bench.space("teams/t/vectors/n").await;
    assert_ne!(again.id, space.id);
    assert_eq!(registry.datasource(again.id, "d").await.unwrap(), None);
    let begun = registry.begin(space.id, 900).await;
    assert!(matches!(begun, Err(IoError::AclChanged)), "{begun:?}");
    registry.forget(space.id).await.unwrap();
    assert_eq!(registry.dropped(9).await.unwrap(), []);
}

pub(crate) async fn many_writings_have_numbers_of_their_own(bench: Bench) {
    let registry = &bench.registry;
    let space = bench.space("teams/t/vectors/n").await;
    let begun = (0..20).map(|_| registry.begin(space.id, 900));
    let mut numbers: Vec<i64> =
        futures::future::join_all(begun).await.into_iter().map(Result::unwrap).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    let commits = numbers
        .iter()
        .map(|generation| registry.commit(commit(&space, datasource("d", *generation, 1)), Recorder::none()));
    for done in futures::future::join_all(commits).await {
        done.unwrap();
    }
    // One counts; of the others each is let go of once.
    assert_eq!(bench.except(&space).await.len(), 19);
    assert_eq!(registry.usage("t").await.unwrap(), (1, 10));
}
