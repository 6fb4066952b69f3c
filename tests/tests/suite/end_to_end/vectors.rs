//! Texts found by likeness, through the edge: the gateway forwards, io embeds by llm with a token for the next hop.

use sre_proto::io::v1::create_datasource_request::Part;
use sre_proto::io::v1::search_request::Query;
use sre_proto::io::v1::*;
use tonic::Code;

use crate::harness::{Mode, Options, Suite, in_both_modes};

in_both_modes!(vectors);

async fn vectors(mode: Mode) {
    let suite = Suite::start("vectors", mode, Options::default()).await;
    let dev = suite.client("user/dev");
    let embedding = Some(Embedding { model: "hash-embedding".into(), ..Embedding::default() });
    let namespace =
        VectorNamespace { name: "teams/-/vectors/docs".into(), embedding, ..VectorNamespace::default() };
    let request = CreateVectorNamespaceRequest { namespace: Some(namespace), acl: None };
    let made = dev.vectors().create_vector_namespace(request).await.unwrap().into_inner();
    assert_eq!((made.name.as_str(), made.dimension), ("teams/default/vectors/docs", 384));

    let header = DatasourceHeader {
        name: format!("{}/datasources/manual", made.name),
        metadata_json: r#"{"kind":"manual"}"#.into(),
        chunk_size: 60,
        chunk_overlap: Some(0),
        ..DatasourceHeader::default()
    };
    let pieces =
        ["The pump must be primed before use.\n\n", "Batteries are charged over night.\n\n", "Call us."];
    let parts =
        std::iter::once(Part::Header(header)).chain(pieces.iter().map(|text| Part::Text((*text).into())));
    let messages: Vec<CreateDatasourceRequest> =
        parts.map(|part| CreateDatasourceRequest { part: Some(part) }).collect();
    let source = dev.vectors().create_datasource(tokio_stream::iter(messages)).await.unwrap().into_inner();
    assert!(source.chunk_count >= 2, "{source:?}");

    let search = |text: &str| SearchRequest {
        parent: made.name.clone(),
        query: Some(Query::Text(text.into())),
        include_metadata: true,
        ..SearchRequest::default()
    };
    let hits = dev.vectors().search(search("how is the pump primed")).await.unwrap().into_inner().hits;
    assert!(hits[0].text.starts_with("The pump"), "{hits:?}");
    assert_eq!(&hits[0].metadata_json[..], br#"{"kind":"manual"}"#);
    let nobody = suite.client("user/nobody").vectors().search(search("pump")).await.unwrap_err();
    assert!(matches!(nobody.code(), Code::PermissionDenied | Code::Unauthenticated), "{nobody:?}");
    suite.stop().await;
}
