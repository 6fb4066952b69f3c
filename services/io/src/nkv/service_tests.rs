//! Values over the wire.

use sre_identity::{Acl, Candidate, Level};
use sre_proto::error::{Reason, reason};
use sre_proto::io::v1::nkv_client::NkvClient;
use sre_proto::io::v1::{
    DeleteNamespaceRequest, DeleteValueRequest, GetNamespaceAclRequest, GetValueRequest, KeyValue,
    ListNamespacesRequest, ListValuesRequest, SetNamespaceAclRequest, SetValueRequest, ValueExistsRequest,
};
use sre_proto::types::v1 as types;
use sre_service::accounts::TeamRole;
use sre_service::testing::TestSuite;
use sre_service::{Link, Role};
use tonic::{Code, Status};

struct Fixture {
    suite: TestSuite,
}

impl Fixture {
    async fn new() -> Self {
        let suite = TestSuite::builder()
            .role(Role::Io, crate::start)
            .member("agent/helper", "red", TeamRole::Member)
            .member("agent/other", "red", TeamRole::Member)
            .member("user/eve", "blue", TeamRole::Member)
            .build()
            .await
            .unwrap();
        Self { suite }
    }

    fn client(&self, who: &str) -> NkvClient<Link> {
        NkvClient::new(self.suite.link_as(who, Role::Io))
    }

    async fn set(&self, who: &str, name: &str, value: &'static str) -> Result<KeyValue, Status> {
        let value = KeyValue { name: name.into(), value: value.into(), ..KeyValue::default() };
        let request = SetValueRequest { value: Some(value), ..SetValueRequest::default() };
        Ok(self.client(who).set_value(request).await?.into_inner())
    }

    async fn get(&self, who: &str, name: &str) -> Result<KeyValue, Status> {
        Ok(self
            .client(who)
            .get_value(GetValueRequest { name: name.into(), ..Default::default() })
            .await?
            .into_inner())
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> String {
    let status = result.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::PermissionDenied, Some(Reason::AclDenied)));
    status.message().to_owned()
}

#[tokio::test]
async fn a_team_shares_its_values() {
    let fx = Fixture::new().await;
    let set = fx.set("agent/helper", "teams/-/nkv/ns/keys/k", "{\"a\":1}").await.unwrap();
    assert_eq!(
        (set.name.as_str(), set.content_type.as_str()),
        ("teams/red/nkv/ns/keys/k", "application/json")
    );
    let got = fx.get("agent/other", "teams/red/nkv/ns/keys/k").await.unwrap();
    assert_eq!(&got.value[..], b"{\"a\":1}");
    fx.set("agent/other", "teams/red/nkv/ns/keys/k", "0").await.unwrap();
    assert_eq!(&fx.get("agent/helper", "teams/red/nkv/ns/keys/k").await.unwrap().value[..], b"0");
    let absent = fx.get("agent/other", "teams/red/nkv/ns/keys/absent").await.unwrap_err();
    assert_eq!(absent.code(), Code::NotFound);
    assert!(fx.suite.stop().await);
}

/// H10: the reference let an agent of another team read this; H37: here it cannot even tell what there is.
#[tokio::test]
async fn h10_h37_other_teams_reach_and_learn_nothing() {
    let fx = Fixture::new().await;
    fx.set("agent/helper", "teams/red/nkv/ns/keys/k", "1").await.unwrap();
    for name in ["teams/red/nkv/ns/keys/k", "teams/red/nkv/ns/keys/absent", "teams/red/nkv/none/keys/k"] {
        let mut messages = vec![refused(fx.get("user/eve", name).await)];
        messages.push(refused(fx.set("user/eve", name, "2").await));
        let delete = DeleteValueRequest { name: name.into(), ..DeleteValueRequest::default() };
        messages.push(refused(fx.client("user/eve").delete_value(delete).await));
        let parent = name.split("/keys/").next().unwrap().to_owned();
        let list = ListValuesRequest { parent, ..ListValuesRequest::default() };
        messages.push(refused(fx.client("user/eve").list_values(list).await));
        messages.dedup();
        assert_eq!(messages.len(), 1);
    }
    for escape in ["teams/blue/nkv/../../red/nkv/ns/keys/k", "teams/blue/nkv/a/../../team_red/ns/keys/k"] {
        assert_eq!(fx.get("user/eve", escape).await.unwrap_err().code(), Code::InvalidArgument);
    }
    // Three dots are a name like any other, of one's own team.
    fx.set("user/eve", "teams/blue/nkv/.../keys/...", "own").await.unwrap();
    assert_eq!(&fx.get("agent/helper", "teams/red/nkv/ns/keys/k").await.unwrap().value[..], b"1");
}

#[tokio::test]
async fn the_namespaces_owner_shares_and_closes_it() {
    let fx = Fixture::new().await;
    let (ns, key) = ("teams/red/nkv/ns".to_owned(), "teams/red/nkv/ns/keys/k");
    fx.set("agent/helper", key, "1").await.unwrap();
    let acl = GetNamespaceAclRequest { name: ns.clone(), ..Default::default() };
    refused(fx.client("agent/other").get_namespace_acl(acl.clone()).await);
    let current = fx.client("agent/helper").get_namespace_acl(acl).await.unwrap().into_inner();
    let mut closed = Acl::owned_by(&Candidate::agent("helper").unwrap());
    closed.grant(&Candidate::user("eve").unwrap(), &[Level::Read]).unwrap();
    let message = types::Acl { etag: current.etag, ..types::Acl::from(&closed) };
    let set = SetNamespaceAclRequest { name: ns.clone(), acl: Some(message), ..Default::default() };
    refused(fx.client("agent/other").set_namespace_acl(set.clone()).await);
    fx.client("agent/helper").set_namespace_acl(set).await.unwrap();
    refused(fx.get("agent/other", key).await);
    assert_eq!(&fx.get("user/eve", key).await.unwrap().value[..], b"1");
    refused(fx.set("user/eve", key, "2").await);
    let drop = DeleteNamespaceRequest { name: ns.clone(), ..Default::default() };
    refused(fx.client("agent/other").delete_namespace(drop.clone()).await);
    fx.client("agent/helper").delete_namespace(drop.clone()).await.unwrap();
    // Absent and forbidden look alike to who has no right by name either.
    refused(fx.get("user/eve", key).await);
    assert_eq!(fx.get("agent/other", key).await.unwrap_err().code(), Code::NotFound);
    refused(fx.client("agent/other").delete_namespace(drop).await);
    let records = fx.suite.audit_records().await;
    assert!(records.iter().any(|r| r.method.ends_with("/DeleteNamespace") && r.resource == ns));
}

#[tokio::test]
async fn conditions_and_pages_travel() {
    let fx = Fixture::new().await;
    let first = fx.set("agent/helper", "teams/red/nkv/ns/keys/a", "1").await.unwrap();
    for key in ["b", "c"] {
        fx.set("agent/helper", &format!("teams/red/nkv/ns/keys/{key}"), "1").await.unwrap();
    }
    let value = KeyValue { value: "2".into(), ..first.clone() };
    let set = |if_match: &str, if_absent| SetValueRequest {
        value: Some(value.clone()),
        if_match: if_match.into(),
        if_absent,
        ..SetValueRequest::default()
    };
    let mut client = fx.client("agent/helper");
    assert_eq!(client.set_value(set("", true)).await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(client.set_value(set("x", false)).await.unwrap_err().code(), Code::Aborted);
    assert_eq!(client.set_value(set("x", true)).await.unwrap_err().code(), Code::InvalidArgument);
    client.set_value(set(&first.etag, false)).await.unwrap();
    let list = |token: String| ListValuesRequest {
        parent: "teams/red/nkv/ns".into(),
        page_size: 2,
        page_token: token,
        ..ListValuesRequest::default()
    };
    let page = client.list_values(list(String::new())).await.unwrap().into_inner();
    assert_eq!(page.values.len(), 2);
    let rest = client.list_values(list(page.next_page_token)).await.unwrap().into_inner();
    assert_eq!((rest.values.len(), rest.next_page_token.as_str()), (1, ""));
    let large = KeyValue { value: vec![0; (1 << 20) + 1].into(), ..first };
    let large = SetValueRequest { value: Some(large), ..SetValueRequest::default() };
    assert_eq!(client.set_value(large).await.unwrap_err().code(), Code::ResourceExhausted);
}

/// D29: the reference needed a cache of a certain name; an instance is asked for by name, and one that is not
/// configured is an error at once (D1).
#[tokio::test]
async fn d1_d29_instances_are_chosen_by_name_and_are_stores_of_their_own() {
    let fx = Fixture::new().await;
    let mut client = fx.client("agent/helper");
    let name = "teams/red/nkv/ns/keys/k".to_owned();
    let get = |instance: &str| GetValueRequest { name: name.clone(), instance: instance.into() };
    let unknown = client.get_value(get("nowhere")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::FailedPrecondition);
    assert!(unknown.message().contains("nowhere"), "{unknown:?}");
    fx.set("agent/helper", &name, "1").await.unwrap();
    assert_eq!(client.get_value(get("local")).await.unwrap().into_inner().value, "1");
}

/// The reference let `list` and `deleteAll` of nothing reach everything (H28).
#[tokio::test]
async fn h28_empty_arguments_are_refused() {
    let fx = Fixture::new().await;
    let mut client = fx.client("agent/helper");
    for (name, words) in [
        ("teams/red/nkv//keys/k", "\"namespace\" is not allowed to be empty"),
        ("teams/red/nkv/ns/keys/", "\"key\" is not allowed to be empty"),
        ("teams/red/nkv/ns", "expected teams/{team}/nkv/{namespace}/keys/{key}"),
        ("", "expected"),
    ] {
        let get = client.get_value(GetValueRequest { name: name.into(), ..Default::default() }).await;
        let status = get.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{name}");
        assert!(status.message().contains(words), "{name}: {}", status.message());
        assert_eq!(fx.set("agent/helper", name, "1").await.unwrap_err().code(), Code::InvalidArgument);
    }
    for name in ["", "teams/red/nkv/", "teams/red/nkv", "teams/red"] {
        let list = ListValuesRequest { parent: name.into(), ..Default::default() };
        assert_eq!(client.list_values(list).await.unwrap_err().code(), Code::InvalidArgument, "{name}");
        let drop = DeleteNamespaceRequest { name: name.into(), ..Default::default() };
        assert_eq!(client.delete_namespace(drop).await.unwrap_err().code(), Code::InvalidArgument, "{name}");
    }
}

/// D43: namespaces can be listed, and a list shows what one may read.
#[tokio::test]
async fn d43_namespaces_are_listed_to_who_may_read_them() {
    let fx = Fixture::new().await;
    for name in ["a", "ab", "secret"] {
        fx.set("agent/helper", &format!("teams/red/nkv/{name}/keys/k"), "1").await.unwrap();
    }
    let own = &Acl::owned_by(&Candidate::agent("helper").unwrap());
    let own = types::Acl { etag: String::new(), ..types::Acl::from(own) };
    let close =
        SetNamespaceAclRequest { name: "teams/red/nkv/secret".into(), acl: Some(own), ..Default::default() };
    fx.client("agent/helper").set_namespace_acl(close).await.unwrap();
    let list = async |who: &str| {
        let request = ListNamespacesRequest { parent: "teams/red".into(), ..Default::default() };
        let answer = fx.client(who).list_namespaces(request).await?.into_inner();
        Ok::<_, Status>(answer.namespaces.into_iter().map(|found| found.name).collect::<Vec<_>>())
    };
    let all = ["teams/red/nkv/a", "teams/red/nkv/ab", "teams/red/nkv/secret"];
    assert_eq!(list("agent/helper").await.unwrap(), all);
    assert_eq!(list("agent/other").await.unwrap(), all[..2]);
    refused(list("user/eve").await);
    let exists =
        |key: &str| ValueExistsRequest { name: format!("teams/red/nkv/a/keys/{key}"), ..Default::default() };
    let mut client = fx.client("agent/other");
    assert!(client.value_exists(exists("k")).await.unwrap().into_inner().exists);
    assert!(!client.value_exists(exists("kk")).await.unwrap().into_inner().exists);
    refused(fx.client("user/eve").value_exists(exists("k")).await);
}

/// H33: a list that is remembered allows nothing that the store's list does not, and refuses nothing that it does.
#[tokio::test]
async fn h33_a_remembered_list_is_never_the_last_word() {
    let fx = Fixture::new().await;
    let (ns, key) = ("teams/red/nkv/ns".to_owned(), "teams/red/nkv/ns/keys/k");
    fx.set("agent/helper", key, "1").await.unwrap();
    // Both are remembered as writers now.
    fx.set("agent/other", key, "2").await.unwrap();
    let mut list = Acl::owned_by(&Candidate::agent("helper").unwrap());
    let set = |list: &Acl| SetNamespaceAclRequest {
        name: ns.clone(),
        acl: Some(types::Acl { etag: String::new(), ..types::Acl::from(list) }),
        ..Default::default()
    };
    for _ in 0..10 {
        fx.client("agent/helper").set_namespace_acl(set(&list)).await.unwrap();
        refused(fx.set("agent/other", key, "3").await);
        list.grant(&Candidate::agent("other").unwrap(), &[Level::Read, Level::Write]).unwrap();
        fx.client("agent/helper").set_namespace_acl(set(&list)).await.unwrap();
        fx.set("agent/other", key, "4").await.unwrap();
        list.revoke(&Candidate::agent("other").unwrap()).unwrap();
    }
}

/// Every write is on record, with the change itself.
#[tokio::test]
async fn writes_are_audited() {
    let fx = Fixture::new().await;
    let key = "teams/red/nkv/ns/keys/k";
    fx.set("agent/helper", key, "1").await.unwrap();
    let delete = DeleteValueRequest { name: key.into(), ..Default::default() };
    fx.client("agent/other").delete_value(delete).await.unwrap();
    refused(fx.set("user/eve", key, "2").await);
    let records = fx.suite.audit_records().await;
    let of =
        |method: &str| records.iter().filter(|record| record.method.ends_with(method)).collect::<Vec<_>>();
    let sets = of("/SetValue");
    assert_eq!(sets.len(), 2, "{sets:?}");
    assert!(sets.iter().any(|record| record.subject == "agent/helper" && record.resource == key));
    assert_eq!(of("/DeleteValue").len(), 1);
}
