//! Component types over the wire.

use sre_proto::agent::v1::components_client::ComponentsClient;
use sre_proto::agent::v1::{GetComponentRequest, ListComponentsRequest};
use sre_service::Role;
use sre_service::accounts::TeamRole;
use sre_service::testing::TestSuite;
use tonic::Code;

#[tokio::test]
async fn types_are_listed_once_and_found_by_their_aliases() {
    let suite = TestSuite::builder()
        .role(Role::Agent, crate::start)
        .member("user/alice", "red", TeamRole::Member)
        .build()
        .await
        .unwrap();
    let mut client = ComponentsClient::new(suite.link_as("user/alice", Role::Agent));
    let all = client.list_components(ListComponentsRequest::default()).await.unwrap().into_inner().components;
    let names: Vec<_> = all.iter().map(|component| component.name.as_str()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(names, sorted);
    assert!(names.contains(&"components/APIEndpoint"), "{names:?}");
    let (mut paged, mut token) = (Vec::new(), String::new());
    loop {
        let request = ListComponentsRequest { page_size: 3, page_token: token };
        let page = client.list_components(request).await.unwrap().into_inner();
        paged.extend(page.components);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(paged, all);
    for component in all {
        for setting in &component.settings {
            let schema: serde_json::Value = serde_json::from_slice(&setting.schema_json).unwrap();
            assert!(schema.is_object(), "{} of {}", setting.name, component.name);
        }
        for alias in &component.aliases {
            let request = GetComponentRequest { name: format!("components/{alias}") };
            assert_eq!(client.get_component(request).await.unwrap().into_inner().name, component.name);
        }
    }
    let request = GetComponentRequest { name: "components/APIEndpont".into() };
    let unknown = client.get_component(request).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert!(unknown.message().contains("APIEndpoint"), "{}", unknown.message());
}
