//! The log over the wire.

use sre_proto::error::{Reason, reason};
use sre_proto::observability::v1::log_client::LogClient;
use sre_proto::observability::v1::{ListEntriesRequest, LogEntry, LogLevel, WriteEntriesRequest};
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
            .role(Role::Observability, crate::start)
            .member("agent/helper", "red", TeamRole::Member)
            .member("user/alice", "red", TeamRole::Member)
            .member("user/boss", "red", TeamRole::Admin)
            .member("user/eve", "blue", TeamRole::Admin)
            .build()
            .await
            .unwrap();
        Self { suite }
    }

    fn client(&self, who: &str) -> LogClient<Link> {
        LogClient::new(self.suite.link_as(who, Role::Observability))
    }

    async fn write(&self, who: &str, messages: &[&str]) -> Result<i32, Status> {
        let line = |message: &&str| LogEntry {
            team: "red".into(),
            agent: "helper".into(),
            run_id: "r".into(),
            level: LogLevel::Error.into(),
            message: (*message).to_owned(),
            ..LogEntry::default()
        };
        let request = WriteEntriesRequest { entries: messages.iter().map(line).collect() };
        Ok(self.client(who).write_entries(request).await?.into_inner().written)
    }
}

fn list(parent: &str, page_size: i32, token: &str) -> ListEntriesRequest {
    ListEntriesRequest { parent: parent.into(), page_size, page_token: token.into(), run_id: String::new() }
}

#[tokio::test]
async fn the_engine_writes_and_the_agents_people_read() {
    let fx = Fixture::new().await;
    assert_eq!(fx.write("service/engine", &["one", "two", "three"]).await.unwrap(), 3);
    let parent = "teams/red/agents/helper";
    for (who, parent) in [("user/boss", parent), ("agent/helper", "teams/-/agents/helper")] {
        let page = fx.client(who).list_entries(list(parent, 2, "")).await.unwrap().into_inner();
        let messages: Vec<_> = page.entries.iter().map(|entry| entry.message.as_str()).collect();
        assert_eq!(messages, ["three", "two"]);
        assert!(page.entries[0].time.is_some() && page.entries[0].level() == LogLevel::Error);
        let rest = list(parent, 2, &page.next_page_token);
        let rest = fx.client(who).list_entries(rest).await.unwrap().into_inner();
        assert_eq!((rest.entries.len(), rest.next_page_token.as_str()), (1, ""));
    }
    for who in ["user/alice", "user/eve"] {
        let status = fx.client(who).list_entries(list(parent, 0, "")).await.unwrap_err();
        assert_eq!((status.code(), reason(&status)), (Code::PermissionDenied, Some(Reason::AclDenied)));
    }
    let wrong = fx.client("user/boss").list_entries(list(parent, 0, "x")).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    assert!(fx.suite.stop().await);
}

#[tokio::test]
async fn nobody_else_writes() {
    let fx = Fixture::new().await;
    for who in ["agent/helper", "user/boss", "service/io"] {
        let status = fx.write(who, &["forged"]).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{who}: {status:?}");
    }
    let many = vec!["x"; 1001];
    assert_eq!(fx.write("service/engine", &many).await.unwrap_err().code(), Code::InvalidArgument);
    let page = fx.client("user/boss").list_entries(list("teams/red/agents/helper", 0, "")).await.unwrap();
    assert!(page.into_inner().entries.is_empty());
}
