//! The log over the wire.

use sre_proto::error::{Reason, reason};
use sre_proto::observability::v1::log_client::LogClient;
use sre_proto::observability::v1::{
    ListEntriesRequest, LogEntry, LogFilter, LogLevel, TailEntriesRequest, WriteEntriesRequest,
    WriteEntriesResponse,
};
use sre_service::accounts::TeamRole;
use sre_service::testing::TestSuite;
use sre_service::{Link, Role};
use tonic::{Code, Status};

struct Fixture {
    suite: TestSuite,
}

impl Fixture {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut sre_service::Config) + Send + 'static) -> Self {
        let suite = TestSuite::builder()
            .role(Role::Observability, crate::start)
            .member("agent/helper", "red", TeamRole::Member)
            .member("user/alice", "red", TeamRole::Member)
            .member("user/boss", "red", TeamRole::Admin)
            .member("user/eve", "blue", TeamRole::Admin)
            .config(change)
            .build()
            .await
            .unwrap();
        Self { suite }
    }

    fn client(&self, who: &str) -> LogClient<Link> {
        LogClient::new(self.suite.link_as(who, Role::Observability))
    }

    async fn write(&self, who: &str, messages: &[&str]) -> Result<i32, Status> {
        Ok(self.written(who, "helper", messages).await?.written)
    }

    async fn written(
        &self,
        who: &str,
        agent: &str,
        messages: &[&str],
    ) -> Result<WriteEntriesResponse, Status> {
        let line = |message: &&str| LogEntry {
            team: "red".into(),
            agent: agent.into(),
            run_id: "r".into(),
            level: LogLevel::Error.into(),
            message: (*message).to_owned(),
            ..LogEntry::default()
        };
        let request = WriteEntriesRequest { entries: messages.iter().map(line).collect() };
        Ok(self.client(who).write_entries(request).await?.into_inner())
    }
}

fn list(parent: &str, page_size: i32, token: &str) -> ListEntriesRequest {
    ListEntriesRequest {
        parent: parent.into(),
        page_size,
        page_token: token.into(),
        ..ListEntriesRequest::default()
    }
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

const PARENT: &str = "teams/red/agents/helper";

#[tokio::test]
async fn whoever_follows_hears_what_comes_and_goes_on_where_it_was() {
    let fx = Fixture::new().await;
    fx.write("service/engine", &["before"]).await.unwrap();
    let tail = |cursor: &str, start: Option<prost_types::Timestamp>| TailEntriesRequest {
        parent: PARENT.into(),
        filter: Some(LogFilter { start_time: start, ..LogFilter::default() }),
        cursor: cursor.into(),
    };
    let mut from_now = fx.client("user/boss").tail_entries(tail("", None)).await.unwrap().into_inner();
    let place = from_now.message().await.unwrap().unwrap();
    assert!(place.entries.is_empty() && !place.cursor.is_empty(), "where it begins: {place:?}");
    fx.write("service/engine", &["one", "two"]).await.unwrap();
    let page = from_now.message().await.unwrap().unwrap();
    let messages = |entries: &[LogEntry]| entries.iter().map(|e| e.message.clone()).collect::<Vec<_>>();
    assert_eq!(messages(&page.entries), ["one", "two"]);
    drop(from_now);
    fx.write("service/engine", &["meanwhile"]).await.unwrap();
    let mut again = fx.client("user/boss").tail_entries(tail(&page.cursor, None)).await.unwrap().into_inner();
    assert_eq!(messages(&again.message().await.unwrap().unwrap().entries), ["meanwhile"]);
    let all = tail("", Some(prost_types::Timestamp::default()));
    let mut all = fx.client("agent/helper").tail_entries(all).await.unwrap().into_inner();
    let heard = all.message().await.unwrap().unwrap().entries;
    assert_eq!(messages(&heard), ["before", "one", "two", "meanwhile"]);
    let refused = fx.client("user/alice").tail_entries(tail("", None)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let wrong = fx.client("user/boss").tail_entries(tail("-3", None)).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    drop(again);
    // In one process a stream is its reader's: it ends when that lets go of it.
    let to_its_end = async move { all.message().await };
    let (stopped, end) = tokio::join!(fx.suite.stop(), to_its_end);
    assert!(stopped, "an open stream does not hold the service");
    assert!(end.is_ok_and(|end| end.is_none()), "it ends in order");
}

#[tokio::test]
async fn lines_beyond_the_rate_of_an_agent_or_its_team_are_refused_by_name() {
    let fx = Fixture::with(|config| {
        config.limits.quota.agent_log_lines_per_minute = 3;
        config.limits.quota.log_lines_per_minute = 4;
    })
    .await;
    let answer = fx.written("service/engine", "helper", &["1", "2", "3", "4", "5"]).await.unwrap();
    assert_eq!((answer.written, answer.refusals.len()), (3, 1));
    let refusal = &answer.refusals[0];
    assert_eq!(
        (refusal.limit.as_str(), refusal.value, refusal.refused),
        ("agent_log_lines_per_minute", 3, 2)
    );
    assert_eq!((refusal.team.as_str(), refusal.agent.as_str()), ("red", "helper"));
    assert!(refusal.retry_after.is_some());
    let answer = fx.written("service/engine", "other", &["1", "2"]).await.unwrap();
    assert_eq!((answer.written, answer.refusals[0].limit.as_str()), (1, "log_lines_per_minute"));
    let page = fx.client("user/boss").list_entries(list(PARENT, 0, "")).await.unwrap().into_inner();
    let messages: Vec<&str> = page.entries.iter().map(|entry| entry.message.as_str()).collect();
    assert_eq!(messages[1..], ["3", "2", "1"]);
    assert!(
        messages[0].contains("agent_log_lines_per_minute is used up (3)"),
        "it says so once: {messages:?}"
    );
}

#[tokio::test]
async fn a_list_is_filtered() {
    let fx = Fixture::new().await;
    fx.write("service/engine", &["It works", "it fails"]).await.unwrap();
    let filtered = |filter: LogFilter| ListEntriesRequest { filter: Some(filter), ..list(PARENT, 0, "") };
    let with_text = filtered(LogFilter { text: "WORKS".into(), ..LogFilter::default() });
    let page = fx.client("user/boss").list_entries(with_text).await.unwrap().into_inner();
    assert_eq!((page.entries.len(), page.entries[0].message.as_str()), (1, "It works"));
    let of_run = filtered(LogFilter { run_id: "another".into(), ..LogFilter::default() });
    assert!(fx.client("user/boss").list_entries(of_run).await.unwrap().into_inner().entries.is_empty());
    let long = filtered(LogFilter { text: "x".repeat(257), ..LogFilter::default() });
    assert_eq!(fx.client("user/boss").list_entries(long).await.unwrap_err().code(), Code::InvalidArgument);
}
