//! The ledger without the network.

use prost_types::Timestamp;
use sre_proto::observability::v1::usage_event::Use;
use sre_proto::observability::v1::{
    ComponentUse, LightRunsUse, ModelUse, RunUse, ServiceUse, UsageEvent, UsageTogether,
};
use sre_store::sql::Database;
use sre_store::{OpenOptions, Store};

use super::{By, HOUR_MS, Ledger, Query, Recorded, Sums, Total};
use crate::schema::MIGRATIONS;

struct Fixture {
    _dir: tempfile::TempDir,
    ledger: Ledger,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Database::from(
            Store::open(OpenOptions::new(dir.path().join("usage.db"), "store.dir", MIGRATIONS)).unwrap(),
        );
        Self { _dir: dir, ledger: Ledger::new(store) }
    }

    async fn by(&self, by: By) -> Vec<(String, Sums)> {
        self.ledger.query(&query(by)).await.unwrap()
    }
}

fn query(by: By) -> Query {
    Query {
        team: "red".into(),
        by,
        from_hour: 0,
        to_hour: i64::MAX,
        agent: String::new(),
        offset: 0,
        limit: 100,
    }
}

fn event(id: &str, run: &str, hour: i64, r#use: Use) -> UsageEvent {
    UsageEvent {
        id: id.into(),
        team: "red".into(),
        agent: "helper".into(),
        user: "user/alice".into(),
        run_id: run.into(),
        time: Some(Timestamp { seconds: hour * 3600 + 5, nanos: 0 }),
        duration_micros: 10,
        r#use: Some(r#use),
        ..UsageEvent::default()
    }
}

fn component(id: &str, run: &str) -> UsageEvent {
    event(id, run, 1, Use::Component(ComponentUse::default()))
}

fn model(id: &str, model: &str, tokens: i64, cost_micros: i64) -> UsageEvent {
    let used = ModelUse {
        model: model.into(),
        input_tokens: tokens,
        output_tokens: 1,
        cost_micros,
        ..ModelUse::default()
    };
    event(id, "r1", 2, Use::Model(used))
}

const NOW: i64 = 100 * HOUR_MS;

#[tokio::test]
async fn an_event_counts_once_however_often_it_comes() {
    let fx = Fixture::new();
    let events = vec![component("r1/A@1", "r1"), model("llm/1", "gpt", 100, 7)];
    assert_eq!(fx.ledger.record(events.clone(), NOW).await.unwrap(), Recorded { new: 2, known: 0 });
    let twice = [events.clone(), events].concat();
    assert_eq!(fx.ledger.record(twice, NOW).await.unwrap(), Recorded { new: 0, known: 4 });
    let sums = fx.by(By::Team).await;
    assert_eq!(sums.len(), 1);
    let (key, sums) = &sums[0];
    assert_eq!((key.as_str(), sums.executions, sums.component_micros), ("red", 1, 10));
    assert_eq!((sums.model_calls, sums.input_tokens, sums.output_tokens, sums.cost_micros), (1, 100, 1, 7));
    // The same id in another team is another event.
    let other = UsageEvent { team: "blue".into(), ..component("r1/A@1", "r1") };
    assert_eq!(fx.ledger.record(vec![other], NOW).await.unwrap().new, 1);
    assert_eq!(fx.by(By::Team).await[0].1, *sums);
}

#[tokio::test]
async fn sums_are_made_by_what_is_asked() {
    let fx = Fixture::new();
    let events = vec![
        component("r1/A@1", "r1"),
        component("r2/A@1", "r2"),
        component("r2/ask@0/settled", "r2"),
        model("llm/1", "cheap", 1000, 1),
        model("llm/2", "dear", 10, 50),
        UsageEvent { agent: "other".into(), user: "user/bob".into(), ..component("r3/A@1", "r3") },
        event("r1/opened", "r1", 1, Use::Run(RunUse::default())),
        event("r1/closed", "r1", 1, Use::Run(RunUse { state: "done".into(), ..RunUse::default() })),
        event("light/1", "", 1, Use::LightRuns(LightRunsUse { runs: 5, executions: 20 })),
    ];
    fx.ledger.record(events, NOW).await.unwrap();
    let keys = |rows: &[(String, Sums)]| rows.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    assert_eq!(keys(&fx.by(By::Model).await), ["dear", "cheap"], "the most expensive first");
    assert_eq!(keys(&fx.by(By::Agent).await), ["helper", "other"]);
    assert_eq!(keys(&fx.by(By::User).await), ["user/alice", "user/bob"]);
    let runs = fx.by(By::Run).await;
    assert_eq!(keys(&runs), ["r1", "r2", "r3"]);
    assert_eq!((runs[0].1.runs, runs[0].1.executions, runs[0].1.cost_micros), (1, 1, 51));
    let team = &fx.by(By::Team).await[0].1;
    assert_eq!((team.runs, team.executions), (6, 23));
    let of_other = Query { agent: "other".into(), ..query(By::Team) };
    assert_eq!(fx.ledger.query(&of_other).await.unwrap()[0].1.executions, 1);
    let later = Query { from_hour: 2, ..query(By::Team) };
    let later = &fx.ledger.query(&later).await.unwrap()[0].1;
    assert_eq!((later.executions, later.model_calls), (0, 2), "by the hour in which it began");
    let page = Query { offset: 1, limit: 1, ..query(By::Run) };
    assert_eq!(keys(&fx.ledger.query(&page).await.unwrap()), ["r2"]);
}

/// What became durable at once is one row, and is counted and read as if each had its own.
#[tokio::test]
async fn what_an_event_holds_is_known_at_once_and_counted_one_by_one() {
    let fx = Fixture::new();
    let inner = |id: &str, hour: i64, used: Use| UsageEvent {
        team: String::new(),
        agent: String::new(),
        user: String::new(),
        ..event(id, "", hour, used)
    };
    let events = vec![
        inner("r1/opened", 1, Use::Run(RunUse::default())),
        inner("r1/ask@0/settled", 1, Use::Component(ComponentUse::default())),
        inner("r1/A@1", 1, Use::Component(ComponentUse::default())),
        inner("r1/A@2", 2, Use::Component(ComponentUse::default())),
        inner("r1/closed", 2, Use::Run(RunUse { state: "done".into(), ..RunUse::default() })),
    ];
    let whole = event("r1/opened", "r1", 1, Use::Together(UsageTogether { events: events.clone() }));
    let written = vec![component("r1/B@1", "r1"), whole];
    assert_eq!(fx.ledger.record(written.clone(), NOW).await.unwrap(), Recorded { new: 6, known: 0 });
    assert_eq!(fx.ledger.record(written, NOW).await.unwrap(), Recorded { new: 0, known: 6 });
    let sums = fx.ledger.sums_of_run("red", "r1").await.unwrap();
    assert_eq!((sums.runs, sums.executions, sums.component_micros), (1, 3, 30));
    let later = Query { from_hour: 2, ..query(By::User) };
    let (user, later) = fx.ledger.query(&later).await.unwrap().remove(0);
    assert_eq!((user.as_str(), later.runs, later.executions), ("user/alice", 1, 1));

    let read = fx.ledger.of_run("red", "r1", 100).await.unwrap();
    let named = |held: UsageEvent| UsageEvent {
        team: "red".into(),
        agent: "helper".into(),
        user: "user/alice".into(),
        run_id: "r1".into(),
        ..held
    };
    let named: Vec<UsageEvent> = events.into_iter().map(named).collect();
    assert_eq!(read, [vec![component("r1/B@1", "r1")], named].concat());
    assert_eq!(fx.ledger.of_run("red", "r1", 3).await.unwrap(), read[..3]);
}

#[tokio::test]
async fn a_long_run_is_read_in_order_and_no_further_than_asked() {
    let fx = Fixture::new();
    let events: Vec<_> = (0..450).map(|number| component(&format!("r1/A@{number}"), "r1")).collect();
    fx.ledger.record(events.clone(), NOW).await.unwrap();
    assert_eq!(fx.ledger.of_run("red", "r1", 1000).await.unwrap(), events);
    assert_eq!(fx.ledger.of_run("red", "r1", 410).await.unwrap(), events[..410]);
}

#[tokio::test]
async fn old_events_go_and_their_sums_stay() {
    let fx = Fixture::new();
    fx.ledger.record(vec![component("r1/A@1", "r1")], NOW).await.unwrap();
    let day = 24 * HOUR_MS;
    assert_eq!(fx.ledger.sweep(NOW + 35 * day).await.unwrap(), 0);
    assert_eq!(fx.ledger.of_run("red", "r1", 10).await.unwrap().len(), 1);
    assert_eq!(fx.ledger.sweep(NOW + 35 * day + 1).await.unwrap(), 1);
    assert!(fx.ledger.of_run("red", "r1", 10).await.unwrap().is_empty());
    assert!(fx.by(By::Run).await.is_empty());
    assert_eq!(fx.by(By::Team).await[0].1.executions, 1);
    fx.ledger.sweep(NOW + 401 * day).await.unwrap();
    assert!(fx.by(By::Team).await.is_empty());
}

#[tokio::test]
async fn nothing_takes_away_from_the_ledger() {
    let fx = Fixture::new();
    let mut odd = model("llm/1", "gpt", -50, -7);
    odd.time = Some(Timestamp { seconds: i64::MAX, nanos: -1 });
    fx.ledger.record(vec![odd], NOW).await.unwrap();
    let sums = &fx.by(By::Team).await[0].1;
    assert_eq!((sums.input_tokens, sums.cost_micros, sums.output_tokens), (0, 0, 1));
}

/// What budgets begin their windows with.
#[tokio::test]
async fn one_sum_of_some_teams_in_some_hours() {
    let fixture = Fixture::new();
    let used = |id: &str, team: &str, hour: i64, agent: &str, model: &str, tokens: i64| UsageEvent {
        id: id.into(),
        team: team.into(),
        agent: agent.into(),
        user: "user/alice".into(),
        time: Some(Timestamp { seconds: hour * HOUR_MS / 1000, nanos: 0 }),
        r#use: Some(Use::Model(ModelUse {
            model: model.into(),
            input_tokens: tokens,
            cost_micros: tokens * 2,
            ..ModelUse::default()
        })),
        ..UsageEvent::default()
    };
    let events = vec![
        used("1", "red", 10, "a", "m", 1),
        used("2", "red", 11, "a", "m", 10),
        used("3", "red", 11, "b", "n", 100),
        used("4", "blue", 11, "a", "m", 1_000),
        used("5", "green", 11, "a", "m", 10_000),
    ];
    fixture.ledger.record(events, 20 * HOUR_MS).await.unwrap();
    let all = Total { teams: vec!["red".into()], from_hour: 0, to_hour: i64::MAX, ..Total::default() };
    for (total, expected) in [
        (all.clone(), 111),
        (Total { teams: vec!["red".into(), "blue".into()], ..all.clone() }, 1_111),
        (Total { from_hour: 11, ..all.clone() }, 110),
        (Total { to_hour: 11, ..all.clone() }, 1),
        (Total { agent: "a".into(), ..all.clone() }, 11),
        (Total { model: "n".into(), user: "user/alice".into(), ..all.clone() }, 100),
        (Total { user: "user/bob".into(), ..all.clone() }, 0),
        (Total { teams: Vec::new(), ..all }, 0),
    ] {
        let sums = fixture.ledger.total(total.clone()).await.unwrap();
        assert_eq!((sums.input_tokens, sums.cost_micros), (expected, expected * 2), "{total:?}");
    }
}

#[tokio::test]
async fn services_outside_are_counted_beside_models() {
    let fx = Fixture::new();
    let used = |id: &str, credits: i64, cost_micros: i64| {
        let used = ServiceUse {
            source: "api:webscrape.smyth".into(),
            provider: "Scrapfly".into(),
            credits,
            cost_micros,
        };
        event(id, "r1", 1, Use::Service(used))
    };
    let events =
        vec![used("r1/S@1/api:webscrape.smyth/0", 6, 0), used("r1/S@1/api:webscrape.smyth/1", 1, 30)];
    fx.ledger.record([events.clone(), events].concat(), NOW).await.unwrap();
    fx.ledger.record(vec![used("r1/S@1/api:webscrape.smyth/2", -5, -5)], NOW).await.unwrap();
    let sums = fx.by(By::Team).await.remove(0).1;
    assert_eq!((sums.service_calls, sums.service_credits, sums.cost_micros), (3, 7, 30));
    assert_eq!((sums.model_calls, sums.executions), (0, 0));
    assert_eq!(fx.by(By::Model).await, [], "no model did it");
    assert_eq!(fx.ledger.sums_of_run("red", "r1").await.unwrap(), sums);
}

/// A run spends with all that it starts: what its budget begins with after its count was lost.
#[tokio::test]
async fn a_run_is_summed_up_with_what_models_used_below_it() {
    let fx = Fixture::new();
    let below = |id: &str, run: &str, outer: &[&str], used: Use| UsageEvent {
        team: "blue".into(),
        outer_runs: outer.iter().map(|&run| run.to_owned()).collect(),
        ..event(id, run, 2, used)
    };
    let answer = |tokens: i64| {
        Use::Model(ModelUse { input_tokens: tokens, cost_micros: tokens * 2, ..ModelUse::default() })
    };
    let events = vec![
        event("1", "r1", 1, answer(1)),
        below("2", "child", &["red/r1"], answer(10)),
        below("3", "deep", &["red/r1", "blue/child"], answer(100)),
        below("4", "deep", &["red/r1", "blue/child"], Use::Component(ComponentUse::default())),
        below("5", "odd", &["", "red", "/r1", "red/"], answer(1_000)),
    ];
    fx.ledger.record([events.clone(), events].concat(), NOW).await.unwrap();
    let mut sums = Vec::new();
    for (team, run) in [("red", "r1"), ("blue", "child"), ("blue", "deep"), ("red", "child"), ("red", "")] {
        let sum = fx.ledger.sums_of_run(team, run).await.unwrap();
        sums.push((sum.model_calls, sum.input_tokens, sum.cost_micros, sum.executions));
    }
    assert_eq!(sums, [(3, 111, 222, 0), (2, 110, 220, 0), (1, 100, 200, 1), (0, 0, 0, 0), (0, 0, 0, 0)]);
    assert_eq!(fx.by(By::Run).await.len(), 1, "in the ledger's own list each counts where it was made");
    fx.ledger.sweep(NOW + 36 * 24 * HOUR_MS).await.unwrap();
    assert_eq!(fx.ledger.sums_of_run("blue", "child").await.unwrap(), Sums::default());
}
