//! Group 6 of services.md §4.3, and what else the service promises, over its real parts: registry, embedded
//! backend, and the llm service for texts.

use std::time::Duration;

use sre_identity::{Acl, Candidate, Level};
use sre_llm as llm;
use sre_proto::error::{Reason, reason};
use sre_proto::io::v1::vector_db_client::VectorDbClient;
use sre_proto::io::v1::*;
use sre_proto::types::v1 as types;
use sre_service::accounts::TeamRole;
use sre_service::testing::TestSuite;
use sre_service::{Link, Role};
use tonic::{Code, Status};

use create_datasource_request::Part;
use search_request::Query;

struct Fixture {
    suite: TestSuite,
}

const SPACE: &str = "teams/red/vectors/docs";

impl Fixture {
    async fn new() -> Self {
        let suite = TestSuite::builder()
            .role(Role::Io, crate::start)
            .role(Role::Llm, llm::start)
            .member("agent/helper", "red", TeamRole::Member)
            .member("agent/other", "red", TeamRole::Member)
            .member("user/eve", "blue", TeamRole::Member)
            .build()
            .await
            .unwrap();
        Self { suite }
    }

    /// With a namespace of hashed texts.
    async fn with_space() -> Self {
        let fx = Self::new().await;
        fx.create("agent/helper", namespace(SPACE)).await.unwrap();
        fx
    }

    fn client(&self, who: &str) -> VectorDbClient<Link> {
        VectorDbClient::new(self.suite.link_as(who, Role::Io))
    }

    async fn create(&self, who: &str, namespace: VectorNamespace) -> Result<VectorNamespace, Status> {
        let request = CreateVectorNamespaceRequest { namespace: Some(namespace), acl: None };
        Ok(self.client(who).create_vector_namespace(request).await?.into_inner())
    }

    async fn put(&self, header: DatasourceHeader, texts: &[&str]) -> Result<Datasource, Status> {
        let mut parts = vec![CreateDatasourceRequest { part: Some(Part::Header(header)) }];
        parts.extend(
            texts.iter().map(|text| CreateDatasourceRequest { part: Some(Part::Text((*text).into())) }),
        );
        let parts = futures::stream::iter(parts);
        Ok(self.client("agent/helper").create_datasource(parts).await?.into_inner())
    }

    async fn search(&self, who: &str, request: SearchRequest) -> Result<Vec<SearchHit>, Status> {
        Ok(self.client(who).search(request).await?.into_inner().hits)
    }

    async fn texts(&self, query: &str) -> Vec<String> {
        let hits = self.search("agent/helper", about(query)).await.unwrap();
        hits.into_iter().map(|hit| hit.text).collect()
    }
}

fn namespace(name: &str) -> VectorNamespace {
    let embedding = Some(Embedding { model: "hash-embedding".into(), ..Embedding::default() });
    VectorNamespace { name: name.into(), embedding, ..VectorNamespace::default() }
}

fn plain(name: &str, dimension: i32, metric: Metric) -> VectorNamespace {
    VectorNamespace { name: name.into(), dimension, metric: metric.into(), ..VectorNamespace::default() }
}

fn source(id: &str, text: &str) -> DatasourceHeader {
    let name = format!("{SPACE}/datasources/{id}");
    DatasourceHeader { name, text: text.into(), ..DatasourceHeader::default() }
}

fn about(text: &str) -> SearchRequest {
    SearchRequest { parent: SPACE.into(), query: Some(Query::Text(text.into())), ..SearchRequest::default() }
}

fn near(parent: &str, values: &[f32]) -> SearchRequest {
    let query = Some(Query::Vector(Vector { values: values.to_vec() }));
    SearchRequest { parent: parent.into(), query, ..SearchRequest::default() }
}

fn row(id: &str, values: &[f32]) -> Row {
    Row { id: id.into(), vector: Some(Vector { values: values.to_vec() }), ..Row::default() }
}

fn rows(parent: &str, rows: Vec<Row>) -> UpsertRowsRequest {
    UpsertRowsRequest { parent: parent.into(), rows }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> String {
    let status = result.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::PermissionDenied, Some(Reason::AclDenied)));
    status.message().to_owned()
}

#[track_caller]
fn invalid<T: std::fmt::Debug>(result: Result<T, Status>) -> String {
    let status = result.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    status.message().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hits_say_where_their_text_is_from() {
    let fx = Fixture::with_space().await;
    let header = DatasourceHeader {
        metadata_json: r#"{"kind":"pets"}"#.into(),
        chunk_size: 40,
        chunk_overlap: Some(0),
        source: "pets.pdf".into(),
        pages: vec![PageStart { page: 1, offset: 0 }, PageStart { page: 2, offset: 33 }],
        ..source("pets", "The cat sleeps on the red söfa.\n\n")
    };
    fx.put(header, &["The dog guards the garden gate."]).await.unwrap();
    let kind = filter::Equals {
        key: "kind".into(),
        value: Some(filter::Value { kind: Some(filter::value::Kind::Text("pets".into())) }),
    };
    let filter = Some(Filter { condition: Some(filter::Condition::Equals(kind)) });
    let ask = SearchRequest { include_citations: true, filter, ..about("a dog at the gate") };
    let hits = fx.search("agent/other", ask.clone()).await.unwrap();
    let place = |page, start, end| Citation { source: "pets.pdf".into(), page, start, end };
    let places: Vec<_> = hits.iter().map(|hit| hit.citation.clone().unwrap()).collect();
    assert_eq!(places, [place(2, 33, 64), place(1, 0, 31)]);
    assert!(hits.iter().all(|hit| hit.metadata_json.is_empty()));
    let both = SearchRequest { include_metadata: true, ..ask };
    let hits = fx.search("agent/other", both).await.unwrap();
    assert_eq!(&hits[0].metadata_json[..], br#"{"kind":"pets"}"#);
    let metadata = SearchRequest { include_metadata: true, ..about("a dog") };
    let hits = fx.search("agent/other", metadata).await.unwrap();
    assert_eq!((&hits[0].metadata_json[..], &hits[0].citation), (&br#"{"kind":"pets"}"#[..], &None));
    let orphans = DatasourceHeader { pages: vec![PageStart { page: 1, offset: 0 }], ..source("x", "text") };
    assert!(invalid(fx.put(orphans, &[]).await).contains("source"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_is_found_again_with_what_was_said_of_it() {
    let fx = Fixture::with_space().await;
    let header = DatasourceHeader {
        label: "Pets".into(),
        metadata_json: r#"{"kind":"pets","page":3}"#.into(),
        chunk_size: 40,
        chunk_overlap: Some(0),
        ..source("pets", "The cat sleeps on the red sofa.\n\n")
    };
    let made = fx.put(header, &["The dog guards the garden gate."]).await.unwrap();
    assert_eq!((made.chunk_count, made.label.as_str(), made.text_bytes), (2, "Pets", 64));
    assert_eq!(made.creator, "agent/helper");
    let ask = SearchRequest { include_metadata: true, include_vectors: true, ..about("a cat on a sofa") };
    let hits = fx.search("agent/other", ask).await.unwrap();
    assert_eq!(hits.len(), 2);
    let first = &hits[0];
    assert_eq!((first.text.as_str(), first.id.as_str()), ("The cat sleeps on the red sofa.", "pets#0"));
    assert_eq!((first.datasource.as_str(), first.datasource_label.as_str()), ("pets", "Pets"));
    assert_eq!(&first.metadata_json[..], br#"{"kind":"pets","page":3}"#);
    assert_eq!(first.vector.as_ref().unwrap().values.len(), 384);
    assert!(first.score > hits[1].score);

    let few = SearchRequest { min_score: Some(first.score - 0.01), ..about("a cat on a sofa") };
    assert_eq!(fx.search("agent/other", few).await.unwrap().len(), 1);
    let bare = SearchRequest { include_text: Some(false), ..about("a cat on a sofa") };
    assert_eq!(fx.search("agent/other", bare).await.unwrap()[0].text, "");
    let read = ReadDatasourceRequest { name: made.name.clone() };
    let mut pieces = fx.client("agent/other").read_datasource(read).await.unwrap().into_inner();
    let mut text = String::new();
    while let Some(piece) = pieces.message().await.unwrap() {
        text.push_str(&piece.text);
    }
    assert_eq!(text, "The cat sleeps on the red sofa.\n\nThe dog guards the garden gate.");
    drop(pieces);
    assert!(fx.suite.stop().await);
}

/// D32, D33: what a datasource held before is gone, in the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d32_a_datasource_is_replaced_whole() {
    let fx = Fixture::with_space().await;
    let first = fx.put(source("d", "alpha beta gamma"), &[]).await.unwrap();
    fx.put(source("e", "alpha delta"), &[]).await.unwrap();
    let second = fx.put(source("d", "epsilon zeta"), &[]).await.unwrap();
    assert_ne!(first.etag, second.etag);
    assert_eq!(first.create_time, second.create_time);
    let mut texts = fx.texts("alpha beta gamma").await;
    texts.sort();
    assert_eq!(texts, ["alpha delta", "epsilon zeta"]);
    let get = GetVectorNamespaceRequest { name: SPACE.into() };
    let space = fx.client("agent/helper").get_vector_namespace(get.clone()).await.unwrap().into_inner();
    assert_eq!(space.row_count, 2);
    let delete = DeleteDatasourceRequest { name: second.name.clone() };
    fx.client("agent/helper").delete_datasource(delete.clone()).await.unwrap();
    assert_eq!(fx.texts("epsilon zeta").await, ["alpha delta"]);
    let again = fx.client("agent/helper").delete_datasource(delete).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);
    let found = fx.client("agent/helper").get_datasource(GetDatasourceRequest { name: second.name }).await;
    assert_eq!(found.unwrap_err().code(), Code::NotFound);
    let space = fx.client("agent/helper").get_vector_namespace(get).await.unwrap().into_inner();
    assert_eq!(space.row_count, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_is_one() {
    let fx = Fixture::with_space().await;
    let ask = |text: &str| DatasourceHeader { request_id: "q-1".into(), ..source("d", text) };
    let first = fx.put(ask("one text"), &[]).await.unwrap();
    let again = fx.put(ask("one text"), &[]).await.unwrap();
    assert_eq!(first, again);
    let other = fx.put(ask("another text"), &[]).await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists);
    let absent = DatasourceHeader { if_absent: true, ..source("d", "x") };
    assert_eq!(fx.put(absent, &[]).await.unwrap_err().code(), Code::AlreadyExists);
    let stale = DatasourceHeader { if_match: "stale".into(), ..source("d", "x") };
    assert_eq!(fx.put(stale, &[]).await.unwrap_err().code(), Code::Aborted);
    let fresh = DatasourceHeader { if_match: first.etag, ..source("d", "x") };
    fx.put(fresh, &[]).await.unwrap();
    assert_eq!(fx.texts("one text").await, ["x"]);
}

/// Scores are those of exact cosine, dot product and distance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scores_are_exact() {
    let fx = Fixture::new().await;
    for (metric, scores) in [
        (Metric::Cosine, [0.96, 0.6]),
        (Metric::Dot, [24.0, 3.0]),
        (Metric::Euclidean, [1.0 / (1.0 + 20f32.sqrt()), 1.0 / (1.0 + 2f32.sqrt())]),
    ] {
        let name = format!("teams/red/vectors/{metric:?}");
        fx.create("agent/helper", plain(&name, 2, metric)).await.unwrap();
        let put = rows(&name, vec![row("far", &[4.0, 3.0]), row("near", &[1.0, 0.0])]);
        let made = fx.client("agent/helper").upsert_rows(put.clone()).await.unwrap().into_inner();
        assert_eq!(made.created_count, 2);
        let again = fx.client("agent/helper").upsert_rows(put).await.unwrap().into_inner();
        assert_eq!(again.created_count, 0);
        let query = if metric == Metric::Euclidean { [0.0, -1.0] } else { [3.0, 4.0] };
        let hits = fx.search("agent/helper", near(&name, &query)).await.unwrap();
        let mut found: Vec<(String, f32)> = hits.into_iter().map(|hit| (hit.id, hit.score)).collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let expected =
            if metric == Metric::Euclidean { [1.0 / (1.0 + 32f32.sqrt()), scores[1]] } else { scores };
        for ((_, score), expected) in found.iter().zip(expected) {
            assert!((score - expected).abs() < 1e-5, "{metric:?}: {score} {expected}");
        }
    }
}

/// H16, H17, H37: names of other teams reach nothing, and tell nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h16_h17_h37_other_teams_reach_and_learn_nothing() {
    let fx = Fixture::with_space().await;
    fx.put(source("secret", "the launch is on monday"), &[]).await.unwrap();
    // The same name in another team is another namespace.
    fx.create("user/eve", namespace("teams/blue/vectors/docs")).await.unwrap();
    let own = SearchRequest { parent: "teams/blue/vectors/docs".into(), ..about("launch monday") };
    assert_eq!(fx.search("user/eve", own).await.unwrap(), []);
    for name in [SPACE, "teams/red/vectors/none", "teams/red/agents/helper/vectors/x"] {
        let mut messages = vec![refused(
            fx.search("user/eve", SearchRequest { parent: name.into(), ..about("launch") }).await,
        )];
        let get = GetVectorNamespaceRequest { name: name.into() };
        messages.push(refused(fx.client("user/eve").get_vector_namespace(get).await));
        messages.push(refused(fx.create("user/eve", namespace(name)).await));
        let put = UpsertRowsRequest { parent: name.into(), rows: Vec::new() };
        messages.push(refused(fx.client("user/eve").upsert_rows(put).await));
        let list = ListDatasourcesRequest { parent: name.into(), ..ListDatasourcesRequest::default() };
        messages.push(refused(fx.client("user/eve").list_datasources(list).await));
        messages.dedup();
        assert_eq!(messages.len(), 1, "{messages:?}");
    }
    let list = ListVectorNamespacesRequest { parent: "teams/red".into(), ..Default::default() };
    refused(fx.client("user/eve").list_vector_namespaces(list).await);
    for wrong in ["teams/blue/vectors/../../red/vectors/docs", "teams/blue/vectors/a/../docs", "teams/red"] {
        invalid(fx.search("user/eve", SearchRequest { parent: wrong.into(), ..about("launch") }).await);
    }
}

/// H18: the access list stands in the registry, whatever happens to caches and restarts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h18_a_namespace_is_shared_and_closed_by_its_owner() {
    let fx = Fixture::with_space().await;
    fx.put(source("d", "some text"), &[]).await.unwrap();
    let get = GetVectorNamespaceAclRequest { name: SPACE.into() };
    refused(fx.client("agent/other").get_vector_namespace_acl(get.clone()).await);
    let current = fx.client("agent/helper").get_vector_namespace_acl(get).await.unwrap().into_inner();
    let mut closed = Acl::owned_by(&Candidate::agent("helper").unwrap());
    closed.grant(&Candidate::user("eve").unwrap(), &[Level::Read]).unwrap();
    let acl = Some(types::Acl { etag: current.etag, ..types::Acl::from(&closed) });
    let set = SetVectorNamespaceAclRequest { name: SPACE.into(), acl };
    refused(fx.client("agent/other").set_vector_namespace_acl(set.clone()).await);
    fx.client("agent/helper").set_vector_namespace_acl(set).await.unwrap();
    refused(fx.search("agent/other", about("text")).await);
    assert_eq!(fx.search("user/eve", about("text")).await.unwrap().len(), 1);
    let list = ListVectorNamespacesRequest { parent: "teams/red".into(), ..Default::default() };
    let seen = async |who: &str| {
        fx.client(who).list_vector_namespaces(list.clone()).await.unwrap().into_inner().namespaces.len()
    };
    assert_eq!((seen("agent/helper").await, seen("agent/other").await), (1, 0));
    let delete = DeleteVectorNamespaceRequest { name: SPACE.into() };
    refused(fx.client("user/eve").delete_vector_namespace(delete.clone()).await);
    fx.client("agent/helper").delete_vector_namespace(delete).await.unwrap();
    // A new one of that name has nothing of the old one, neither rows nor list.
    fx.create("agent/other", namespace(SPACE)).await.unwrap();
    assert_eq!(fx.search("agent/other", about("text")).await.unwrap(), []);
    refused(fx.search("user/eve", about("text")).await);
    let records = fx.suite.audit_records().await;
    assert!(records.iter().any(|r| r.method.ends_with("/DeleteVectorNamespace") && r.resource == SPACE));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_choose_by_metadata_and_datasource() {
    use filter::{Condition, Equals, Exists, In, Range, Value, value::Kind};
    let fx = Fixture::with_space().await;
    for (id, metadata) in [("a", r#"{"n":1,"s":"x"}"#), ("b", r#"{"n":2,"s":"y"}"#), ("c", r#"{"t":["x"]}"#)]
    {
        let header = DatasourceHeader { metadata_json: metadata.into(), ..source(id, &format!("text {id}")) };
        fx.put(header, &[]).await.unwrap();
    }
    let found = async |filter: Option<Condition>, datasources: &[&str]| {
        let request = SearchRequest {
            filter: filter.map(|condition| Filter { condition: Some(condition) }),
            datasources: datasources.iter().map(|id| (*id).to_owned()).collect(),
            ..about("text")
        };
        let hits = fx.search("agent/helper", request).await?;
        let mut ids: Vec<String> = hits.into_iter().map(|hit| hit.datasource).collect();
        ids.sort();
        Ok::<_, Status>(ids.join(""))
    };
    let text = |text: &str| Some(Value { kind: Some(Kind::Text(text.into())) });
    let equals = |key: &str, value: &str| Condition::Equals(Equals { key: key.into(), value: text(value) });
    let range = Condition::Range(Range { key: "n".into(), gte: Some(1.5), ..Range::default() });
    let exists = Condition::Exists(Exists { key: "n".into() });
    let one_of = Condition::In(In { key: "s".into(), values: vec![text("x").unwrap(), text("y").unwrap()] });
    let filters = |conditions: &[&Condition]| Filters {
        filters: conditions.iter().map(|one| Filter { condition: Some((*one).clone()) }).collect(),
    };
    let any = Condition::AnyOf(filters(&[&equals("s", "x"), &equals("t", "x")]));
    let all = Condition::AllOf(filters(&[&exists, &equals("s", "y")]));
    assert_eq!(found(None, &[]).await.unwrap(), "abc");
    assert_eq!(found(Some(equals("s", "x")), &[]).await.unwrap(), "a");
    assert_eq!(found(Some(range), &[]).await.unwrap(), "b");
    assert_eq!(found(Some(exists.clone()), &[]).await.unwrap(), "ab");
    assert_eq!(found(Some(one_of), &[]).await.unwrap(), "ab");
    assert_eq!(found(Some(any), &[]).await.unwrap(), "ac");
    assert_eq!(found(Some(all), &[]).await.unwrap(), "b");
    assert_eq!(found(None, &["a", "c"]).await.unwrap(), "ac");
    assert_eq!(found(Some(exists), &["a", "c"]).await.unwrap(), "a");
    for wrong in [
        Condition::Range(Range { key: "n".into(), ..Range::default() }),
        Condition::Equals(Equals { key: "n".into(), value: None }),
        Condition::AllOf(Filters::default()),
    ] {
        assert!(invalid(found(Some(wrong), &[]).await).contains("filter"));
    }
    invalid(found(None, &["a' or '1' = '1"]).await);
}

/// D34: how many rows are given is what was asked for; D35: dimension and model are frozen and honoured.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d34_d35_what_cannot_be_is_refused() {
    let fx = Fixture::new().await;
    let small = VectorNamespace { dimension: 8, ..namespace(SPACE) };
    let made = fx.create("agent/helper", small).await.unwrap();
    assert_eq!((made.dimension, made.instance.as_str()), (8, "embedded"));
    let many: Vec<Row> =
        (0..15).map(|n| Row { id: format!("r{n}"), text: format!("word{n}"), ..Row::default() }).collect();
    fx.client("agent/helper").upsert_rows(rows(SPACE, many)).await.unwrap();
    let count = async |top_k| {
        let hits = fx.search("agent/helper", SearchRequest { top_k, ..about("word") }).await;
        hits.map(|hits| hits.len())
    };
    assert_eq!((count(None).await.unwrap(), count(Some(12)).await.unwrap()), (10, 12));
    for wrong in [0, -1, 101] {
        assert!(invalid(count(Some(wrong)).await).contains("top_k"));
    }
    assert!(invalid(fx.search("agent/helper", near(SPACE, &[1.0])).await).contains("8 dimensions"));
    assert!(invalid(fx.search("agent/helper", near(SPACE, &[0.0; 8])).await).contains("direction"));
    invalid(fx.search("agent/helper", near(SPACE, &[f32::NAN; 8])).await);
    let put = async |row| fx.client("agent/helper").upsert_rows(rows(SPACE, vec![row])).await;
    invalid(put(row("x", &[1.0; 9])).await);
    invalid(put(Row { id: "x".into(), ..Row::default() }).await);
    invalid(put(Row { id: String::new(), text: "t".into(), ..Row::default() }).await);
    invalid(
        put(Row { id: "x".into(), text: "t".into(), metadata_json: "[1]".into(), ..Row::default() }).await,
    );
    let again = fx.create("agent/helper", namespace(SPACE)).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    for wrong in [
        plain("teams/red/vectors/x", 0, Metric::Cosine),
        plain("teams/red/vectors/x", 4097, Metric::Cosine),
        plain("teams/red/docs", 4, Metric::Cosine),
    ] {
        invalid(fx.create("agent/helper", wrong).await);
    }
    let unknown = VectorNamespace { instance: "elsewhere".into(), ..namespace("teams/red/vectors/y") };
    assert_eq!(fx.create("agent/helper", unknown).await.unwrap_err().code(), Code::FailedPrecondition);
    let embedding = Some(Embedding { model: "gpt-4o".into(), ..Embedding::default() });
    let chatty = VectorNamespace { embedding, ..namespace("teams/red/vectors/y") };
    invalid(fx.create("agent/helper", chatty).await);
    // A namespace without a model takes no texts.
    fx.create("agent/helper", plain("teams/red/vectors/bare", 4, Metric::Dot)).await.unwrap();
    let text = SearchRequest { parent: "teams/red/vectors/bare".into(), ..about("x") };
    invalid(fx.search("agent/helper", text).await);
    let overlap = DatasourceHeader { chunk_size: 5, chunk_overlap: Some(5), ..source("d", "x") };
    assert!(invalid(fx.put(overlap, &[]).await).contains("Cannot have chunkOverlap >= chunkSize"));
    let tiny = DatasourceHeader { chunk_size: 1, chunk_overlap: Some(0), ..source("d", &"x".repeat(5001)) };
    assert!(invalid(fx.put(tiny, &[]).await).contains("5000 chunks"));
}

/// SAFE limits: a text of 10 MiB at most.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_has_ten_mebibytes_at_most() {
    let fx = Fixture::with_space().await;
    let part = "word ".repeat(200_000);
    let parts: Vec<&str> = std::iter::repeat_n(part.as_str(), 11).collect();
    let large = fx.put(source("d", ""), &parts).await.unwrap_err();
    assert_eq!((large.code(), reason(&large)), (Code::ResourceExhausted, Some(Reason::TooLarge)));
    // Of one that fits nothing but blanks is a datasource without rows.
    let blank = fx.put(source("d", "  \n\n "), &[]).await.unwrap();
    assert_eq!(blank.chunk_count, 0);
    assert_eq!(fx.texts("word").await, [""; 0]);
}

/// A service with a token acts for its caller; the llm service is asked with a token of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_are_embedded_for_the_caller_of_a_token() {
    let fx = Fixture::with_space().await;
    fx.put(source("d", "some text"), &[]).await.unwrap();
    let scopes = ["sre.io.v1.VectorDb:read", "sre.llm.v1.Inference:read"];
    let token = fx.suite.token("agent/other", Role::Engine, Role::Io, &scopes);
    let link = fx.suite.link_as("service/engine", Role::Io).with_jwt(&token);
    let hits = VectorDbClient::new(link).search(about("text")).await.unwrap().into_inner().hits;
    assert_eq!(hits[0].text, "some text");
}

/// Searches beside a datasource that is replaced again and again see it once, whole, in either form.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_sees_old_or_new_and_never_both() {
    let fx = Fixture::with_space().await;
    let text =
        |round: usize| (0..5).map(|n| format!("round{round} part{n}")).collect::<Vec<_>>().join("\n\n");
    let header =
        |round| DatasourceHeader { chunk_size: 16, chunk_overlap: Some(0), ..source("d", &text(round)) };
    fx.put(header(0), &[]).await.unwrap();
    let writing = async {
        for round in 1..12 {
            fx.put(header(round), &[]).await.unwrap();
        }
    };
    let reading = async {
        for _ in 0..60 {
            let texts = fx.texts("part0").await;
            let round = texts[0].split(' ').next().unwrap();
            assert_eq!(texts.len(), 5, "{texts:?}");
            assert!(texts.iter().all(|text| text.starts_with(round)), "{texts:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::join!(writing, reading);
}
