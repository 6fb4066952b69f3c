//! Budgets as they apply to calls.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::json;
use sre_proto::error::{reason, retry_after};
use sre_proto::llm::v1::budgets_client::BudgetsClient;
use sre_redis::testing::Server;
use sre_redis::{Effect, Redis, cmd};
use sre_service::Role;
use sre_store::sql::Database;
use sre_store::{OpenOptions, Store};
use tokio::task::JoinSet;
use tonic_types::StatusExt as _;

use super::meters::contract::Fixture;
use super::meters::{Memory, RedisMeters};
use super::reservation::Used;
use super::*;
use crate::kept::MIGRATIONS;
use crate::models::Prices;
use crate::reliability_tests::{Bench, ask, entry, provider, refuse, say};

/// What was really used.
#[derive(Default)]
struct Truth {
    tokens: AtomicI64,
    away: AtomicBool,
    asked: Mutex<Vec<Sum>>,
}

#[async_trait]
impl Ledger for Truth {
    async fn sum(&self, sum: &Sum, _: Unit) -> Result<i64, Status> {
        self.asked.lock().push(sum.clone());
        if self.away.load(Ordering::SeqCst) {
            return Err(Status::unavailable("away"));
        }
        Ok(self.tokens.load(Ordering::SeqCst))
    }
}

struct World {
    budgets: Budgets,
    truth: Arc<Truth>,
    _dir: tempfile::TempDir,
}

async fn world(meters: Arc<dyn Meters>, truth: Arc<Truth>, own: &[(&str, serde_json::Value)]) -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Database::from(
        Store::open(OpenOptions::new(dir.path().join("llm.db"), "data_dir", MIGRATIONS)).unwrap(),
    );
    for (id, budget) in own {
        let (holder, id) = id.rsplit_once('/').unwrap();
        let row = (holder.to_owned(), id.to_owned(), budget.to_string());
        store
            .write(move |tx| {
                tx.execute(
                    "insert into kept values ('budget', ?1, ?2, ?3, 'e', 0, 0)",
                    [&row.0, &row.1, &row.2],
                )?;
                Ok(())
            })
            .await
            .unwrap();
    }
    let kept = Kept::open(store).await.unwrap();
    let ledger: Arc<dyn Ledger> = Arc::clone(&truth) as _;
    World { budgets: Budgets::new(kept, meters, ledger), truth, _dir: dir }
}

fn budget(subject: &str, unit: &str, window: &str, limit: i64) -> serde_json::Value {
    json!({"subject": subject, "subject_id": "", "model": "", "unit": unit, "window": window,
        "limit": limit, "soft": false})
}

fn payer(team: &str, agent: &str) -> Payer {
    Payer { team: team.into(), agent: agent.into(), user: "user/alice".into(), ..Payer::default() }
}

fn spender(agent: &str) -> Spender {
    let payer = payer("red", agent);
    Spender { payer, runs: vec![in_run("red", "run-1")], organization: String::new() }
}

fn in_run(team: &str, id: &str) -> InRun {
    InRun { team: team.into(), id: id.into() }
}

const GENEROUS: Defaults = Defaults { at_once: 1_000, per_minute: 1_000_000, micros_per_month: 1 << 50 };

fn tokens(tokens: i64) -> Most {
    Most { tokens, micros: 0 }
}

impl World {
    async fn reserve(&self, spender: &Spender, most: Most) -> Result<Option<Held>, Status> {
        self.budgets.reserve(spender, &Resolved::default(), most, GENEROUS).await
    }
}

fn used(tokens: i64) -> Used {
    Used { requests: 1, tokens, micros: 0 }
}

#[tokio::test]
async fn a_refusal_names_the_budget_and_says_when_to_come_back() {
    let day = [("teams/red/day", budget("team", "tokens", "day", 100))];
    let world = world(Arc::new(Memory::default()), Arc::default(), &day).await;
    let held = world.reserve(&spender("a"), tokens(60)).await.unwrap().unwrap();
    let refused = world.reserve(&spender("b"), tokens(60)).await.err().unwrap();
    assert_eq!(reason(&refused), Some(Reason::BudgetExceeded));
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(retry_after(&refused).unwrap() <= Duration::from_secs(24 * 3600));
    let told = refused.get_details_error_info().unwrap().metadata;
    assert_eq!((told["limit"].as_str(), told["used"].as_str()), ("teams/red/budgets/day", "60"));
    held.settle(used(10)).await;
    world.reserve(&spender("b"), tokens(60)).await.unwrap().unwrap().give_back().await;
    world.reserve(&spender("b"), tokens(90)).await.unwrap().unwrap().settle(used(90)).await;
    assert!(world.reserve(&spender("b"), tokens(1)).await.is_err());
    let nobody = Spender::default();
    assert!(
        world.reserve(&nobody, tokens(1_000)).await.unwrap().is_none(),
        "nobody pays, nothing is counted"
    );
}

#[tokio::test]
async fn subjects_are_counted_by_themselves_and_models_too() {
    let mut only = budget("agent", "tokens", "hour", 5);
    only["subject_id"] = json!("slow");
    let mut model = budget("team", "requests", "day", 0);
    model["model"] = json!("dear");
    let own = [
        ("teams/red/each", budget("agent", "tokens", "day", 100)),
        ("teams/red/slow", only),
        ("teams/red/dear", model),
        ("teams/red/run", budget("run", "tokens", "run", 150)),
    ];
    let world = world(Arc::new(Memory::default()), Arc::default(), &own).await;
    world.reserve(&spender("a"), tokens(100)).await.unwrap();
    let told = |status: Status| status.get_details_error_info().unwrap().metadata["limit"].clone();
    assert_eq!(told(world.reserve(&spender("a"), tokens(1)).await.err().unwrap()), "teams/red/budgets/each");
    assert_eq!(
        told(world.reserve(&spender("slow"), tokens(6)).await.err().unwrap()),
        "teams/red/budgets/slow"
    );
    assert_eq!(told(world.reserve(&spender("b"), tokens(60)).await.err().unwrap()), "teams/red/budgets/run");
    let elsewhere = Spender { runs: vec![in_run("red", "run-2")], ..spender("b") };
    world.reserve(&elsewhere, tokens(60)).await.unwrap();
    let dear = Resolved { entry: "dear".into(), ..Resolved::default() };
    let refused = world.budgets.reserve(&elsewhere, &dear, tokens(1), GENEROUS).await.err().unwrap();
    assert_eq!(told(refused), "teams/red/budgets/dear");
    let asked = world.truth.asked.lock();
    let of = |sum: &Sum| (sum.agent.clone(), sum.run.clone(), sum.model.clone(), sum.team.clone());
    let asked: Vec<_> = asked.iter().map(of).collect();
    assert!(asked.contains(&("a".into(), String::new(), String::new(), "red".into())), "{asked:?}");
    assert!(asked.contains(&(String::new(), "run-1".into(), String::new(), "red".into())), "{asked:?}");
    assert!(asked.contains(&(String::new(), String::new(), "dear".into(), "red".into())), "{asked:?}");
}

/// What is started from a run spends what that run may spend, however deep, and of whichever team.
#[tokio::test]
async fn a_budget_of_a_run_counts_all_that_was_started_from_it() {
    let own = [
        ("teams/red/run", budget("run", "tokens", "run", 100)),
        ("teams/red/calls", budget("run", "concurrent", "none", 3)),
        ("teams/red/agent", budget("agent", "tokens", "day", 60)),
        ("teams/blue/run", budget("run", "tokens", "run", 50)),
    ];
    let world = world(Arc::new(Memory::default()), Arc::default(), &own).await;
    let of = |team: &str, agent: &str, runs: &[(&str, &str)]| Spender {
        payer: payer(team, agent),
        runs: runs.iter().map(|(team, id)| in_run(team, id)).collect(),
        organization: String::new(),
    };
    let root = of("red", "a", &[("red", "root")]);
    let child = of("red", "b", &[("red", "root"), ("red", "child")]);
    let elsewhere = of("blue", "c", &[("red", "root"), ("red", "child"), ("blue", "elsewhere")]);
    let told = |status: Status| status.get_details_error_info().unwrap().metadata["limit"].clone();
    let first = world.reserve(&root, tokens(40)).await.unwrap().unwrap();
    first.settle(used(30)).await;
    let second = world.reserve(&child, tokens(40)).await.unwrap().unwrap();
    let refused = world.reserve(&elsewhere, tokens(31)).await.err().unwrap();
    assert_eq!(told(refused), "teams/red/budgets/run", "70 of the 100 of the root are used or reserved");
    let third = world.reserve(&elsewhere, tokens(30)).await.unwrap().unwrap();
    assert_eq!(told(world.reserve(&root, tokens(1)).await.err().unwrap()), "teams/red/budgets/run");
    // What the other team keeps for its own runs holds as well, and its agents are none of red's.
    third.settle(used(5)).await;
    second.settle(used(10)).await;
    let alone = of("blue", "c", &[("blue", "elsewhere")]);
    assert_eq!(told(world.reserve(&alone, tokens(46)).await.err().unwrap()), "teams/blue/budgets/run");
    let of_run = |run: &str| {
        let runs = vec![in_run("red", run)];
        Spender { runs, payer: Payer { team: "red".into(), ..Payer::default() }, ..Spender::default() }
    };
    let kept: Budget = serde_json::from_value(own[0].1.clone()).unwrap();
    for (run, used) in [("root", 45), ("child", 15), ("other", 0)] {
        let (counted, _) = world.budgets.state("t/red", "run", &kept, &of_run(run)).await.unwrap();
        assert_eq!(counted, used, "{run}");
    }
    // Places are those of the whole tree, and what one budget refuses is left reserved at none.
    let mut held = Vec::new();
    for spender in [&root, &child, &elsewhere] {
        held.push(world.reserve(spender, tokens(1)).await.unwrap().unwrap());
    }
    assert_eq!(told(world.reserve(&elsewhere, tokens(1)).await.err().unwrap()), "teams/red/budgets/calls");
    let blue: Budget = serde_json::from_value(own[3].1.clone()).unwrap();
    let state = world.budgets.state("t/blue", "run", &blue, &alone).await.unwrap();
    assert_eq!(state.0, 6, "5 and 1: nothing of what red refused");
}

#[tokio::test]
async fn an_organisation_counts_all_its_teams_and_refuses_the_whole() {
    let own = [
        ("organizations/acme/all", budget("organization", "tokens", "day", 100)),
        ("teams/red/day", budget("team", "tokens", "day", 1_000)),
    ];
    let world = world(Arc::new(Memory::default()), Arc::default(), &own).await;
    let of = |team: &str| Spender {
        payer: Payer { team: team.into(), ..Payer::default() },
        organization: "acme".into(),
        ..Spender::default()
    };
    world.reserve(&of("red"), tokens(70)).await.unwrap();
    assert!(world.reserve(&of("blue"), tokens(40)).await.is_err());
    assert!(world.reserve(&of("red"), tokens(40)).await.is_err());
    let red = Budget { ..serde_json::from_value(own[1].1.clone()).unwrap() };
    let (used, _) = world.budgets.state("t/red", "day", &red, &of("red")).await.unwrap();
    assert_eq!(used, 70, "what the organisation refused is not left reserved at the team");
}

#[tokio::test]
async fn hard_budgets_deny_until_the_ledger_answers_and_soft_ones_never_do() {
    let mut soft = budget("team", "tokens", "day", 1);
    soft["soft"] = json!(true);
    let hard = [("teams/red/hard", budget("team", "tokens", "month", 100))];
    let truth = Arc::new(Truth { tokens: AtomicI64::new(50), ..Truth::default() });
    truth.away.store(true, Ordering::SeqCst);
    let world_hard = world(Arc::new(Memory::default()), Arc::clone(&truth), &hard).await;
    let denied = world_hard.reserve(&spender("a"), tokens(1)).await.err().unwrap();
    assert_eq!(denied.code(), Code::Unavailable);
    let world_soft =
        world(Arc::new(Memory::default()), Arc::clone(&truth), &[("teams/red/soft", soft)]).await;
    world_soft.reserve(&spender("a"), tokens(10)).await.unwrap();
    truth.away.store(false, Ordering::SeqCst);
    world_soft.reserve(&spender("a"), tokens(10)).await.unwrap();
    world_hard.reserve(&spender("a"), tokens(50)).await.unwrap();
    assert!(world_hard.reserve(&spender("a"), tokens(1)).await.is_err(), "what was used before counts");
    // What costs nothing needs no place in a budget of tokens.
    world_hard.reserve(&spender("a"), Most::default()).await.unwrap();
}

#[tokio::test]
async fn places_are_free_when_calls_are_over() {
    let at_once = [("teams/red/few", budget("team", "concurrent", "none", 2))];
    let world = world(Arc::new(Memory::default()), Arc::default(), &at_once).await;
    let first = world.reserve(&spender("a"), tokens(1)).await.unwrap().unwrap();
    let _second = world.reserve(&spender("a"), tokens(1)).await.unwrap().unwrap();
    let refused = world.reserve(&spender("a"), tokens(1)).await.err().unwrap();
    assert_eq!(retry_after(&refused), Some(Duration::from_secs(1)));
    first.settle(used(1)).await;
    world.reserve(&spender("a"), tokens(1)).await.unwrap();
}

#[test]
fn the_most_is_the_whole_answer_at_the_dearest_model() {
    let model = |output, micros| {
        let prices = Prices { input_micros: micros, output_micros: micros, ..Prices::default() };
        Arc::new(Resolved {
            provider: "P".into(),
            completion_tokens: output,
            prices: Some(Arc::new(crate::models::PriceTable::Always(prices))),
            ..Resolved::default()
        })
    };
    let request = pb::GenerateRequest {
        messages: vec![pb::ChatMessage { text: "x".repeat(40), ..Default::default() }],
        max_tokens: Some(300),
        ..Default::default()
    };
    let most = most_of(&request, [model(100, 1_000_000), model(1_000, 2_000_000)].into_iter());
    assert_eq!(most, Most { tokens: 314, micros: 628 });
    let echo = Arc::new(Resolved { provider: "Echo".into(), ..Resolved::default() });
    assert_eq!(most_of(&request, [echo].into_iter()), Most::default());
}

/// Acceptance 4, at the level of this service: agents on three gateways against one limit, with the server emptied and
/// gateways restarted in between.
async fn agents_on_three_gateways(meters: Vec<Arc<dyn Meters>>, forget: impl AsyncFn()) {
    const LIMIT: i64 = 20_000;
    const AGENTS: i64 = 200;
    let truth = Arc::<Truth>::default();
    let own = [("teams/red/day", budget("team", "tokens", "day", LIMIT))];
    let mut gateways = Vec::new();
    for meters in meters {
        gateways.push(Arc::new(world(meters, Arc::clone(&truth), &own).await));
    }
    let in_flight = Arc::new(AtomicI64::new(0));
    let refused = Arc::new(AtomicI64::new(0));
    let mut tasks = JoinSet::new();
    for agent in 0..AGENTS {
        let gateway = Arc::clone(&gateways[usize::try_from(agent).unwrap() % gateways.len()]);
        let (in_flight, refused) = (Arc::clone(&in_flight), Arc::clone(&refused));
        tasks.spawn(async move {
            for round in 0..20_i64 {
                let reserved = 20 + (agent * 7 + round * 13) % 60;
                let actual = reserved * ((agent + round) % 10 + 1) / 10;
                in_flight.fetch_add(reserved, Ordering::SeqCst);
                let Ok(Some(held)) = gateway.reserve(&spender(&agent.to_string()), tokens(reserved)).await
                else {
                    in_flight.fetch_sub(reserved, Ordering::SeqCst);
                    refused.fetch_add(1, Ordering::SeqCst);
                    continue;
                };
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                // The ledger has it before it is settled; a gateway that dies in between settles nothing.
                gateway.truth.tokens.fetch_add(actual, Ordering::SeqCst);
                if (agent + round) % 17 == 0 {
                    drop(held);
                } else {
                    held.settle(used(actual)).await;
                }
                in_flight.fetch_sub(reserved, Ordering::SeqCst);
            }
        });
    }
    // Emptied three times, each time with calls under way: those are the most by which the limit is exceeded.
    let mut may_exceed = 0;
    let mut ended = 0;
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
        ended += 1;
        if matches!(ended, 1 | 40 | 90) {
            may_exceed += in_flight.load(Ordering::SeqCst);
            forget().await;
            // Those that began while it was being emptied.
            may_exceed += in_flight.load(Ordering::SeqCst);
        }
    }
    let spent = truth.tokens.load(Ordering::SeqCst);
    assert!(spent <= LIMIT + may_exceed, "{spent} of {LIMIT}, {may_exceed} were under way");
    assert!(refused.load(Ordering::SeqCst) > 0 && spent > LIMIT / 2, "the limit was reached: {spent}");
    let last = gateways[0].reserve(&spender("last"), tokens(LIMIT)).await;
    assert!(last.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_agents_on_three_gateways_stay_within_one_limit_in_redis() {
    let server = Server::start(&[]).unwrap();
    let mut meters: Vec<Arc<dyn Meters>> = Vec::new();
    for _ in 0..3 {
        let redis = Redis::open(&server.settings("sre")).await.unwrap();
        meters.push(Arc::new(RedisMeters::new(redis)));
    }
    let other = Redis::open(&server.settings("sre")).await.unwrap();
    agents_on_three_gateways(meters, async || {
        other.query::<String>(&cmd("FLUSHALL"), Effect::Write).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn agents_of_one_process_stay_within_one_limit_in_memory() {
    let it = Fixture::memory();
    let meters = vec![Arc::clone(&it.meters)];
    agents_on_three_gateways(meters, async || it.forget().await).await;
}

#[tokio::test]
async fn a_redis_that_is_away_denies() {
    let mut server = Server::start(&[]).unwrap();
    let settings = sre_redis::RedisSettings { retry_ms: 1, ..server.settings("sre") };
    let redis = Redis::open(&settings).await.unwrap();
    let world = world(Arc::new(RedisMeters::new(redis)), Arc::default(), &[]).await;
    world.reserve(&spender("a"), tokens(1)).await.unwrap();
    server.kill();
    assert_eq!(world.reserve(&spender("a"), tokens(1)).await.err().unwrap().code(), Code::Unavailable);
    server.restart().unwrap();
    // The first call finds that its connection is lost.
    while world.reserve(&spender("a"), tokens(1)).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn admins_set_budgets_and_calls_keep_to_them() {
    let mut servers = JoinSet::new();
    let script = |call, _| if call == 0 { say("ok") } else { refuse(401, "") };
    let (base, calls) = provider(&mut servers, script).await;
    let bench = Bench::start(servers, &json!({"m": entry(&base, json!({"prices": null}))})).await;
    let mut alice = BudgetsClient::new(bench.suite.link_as("user/alice", Role::Llm));
    let mut bob = BudgetsClient::new(bench.suite.link_as("user/bob", Role::Llm));
    let minute = pb::Budget {
        unit: pb::BudgetUnit::Tokens as i32,
        window: pb::BudgetWindow::Minute as i32,
        limit: 150,
        ..pb::Budget::default()
    };
    let create = pb::CreateBudgetRequest {
        parent: "teams/red".into(),
        budget_id: "minute".into(),
        budget: Some(minute),
    };
    assert_eq!(bob.create_budget(create.clone()).await.unwrap_err().code(), Code::PermissionDenied);
    let created = alice.create_budget(create.clone()).await.unwrap().into_inner();
    assert_eq!(created.name, "teams/red/budgets/minute");
    assert_eq!(alice.create_budget(create).await.unwrap_err().code(), Code::AlreadyExists);

    // 100 for the longest answer and some for the question are reserved, and 15 are used.
    bench.calls().generate(ask("m")).await.unwrap();
    let state = pb::GetBudgetStateRequest { name: created.name.clone(), ..Default::default() };
    let until_settled = async || loop {
        let state = bob.clone().get_budget_state(state.clone()).await.unwrap().into_inner();
        if state.used < 100 {
            return state;
        }
        tokio::task::yield_now().await;
    };
    let now = until_settled().await;
    assert!(now.used == 15 || now.used == 0, "a new minute may have begun: {now:?}");
    assert_eq!(now.remaining, 150 - now.used);

    // A refusal gives everything back.
    assert_eq!(bench.calls().generate(ask("m")).await.unwrap_err().code(), Code::FailedPrecondition);
    until_settled().await;
    let none = pb::Budget { limit: 0, etag: created.etag.clone(), ..created.clone() };
    let update = pb::UpdateBudgetRequest { budget: Some(none) };
    let updated = alice.update_budget(update.clone()).await.unwrap().into_inner();
    assert_eq!(alice.update_budget(update).await.unwrap_err().code(), Code::Aborted, "it was changed");
    let refused = bench.calls().generate(ask("m")).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::BudgetExceeded));
    assert_eq!(calls.load(Ordering::SeqCst), 2, "nobody was asked");
    let list = pb::ListBudgetsRequest { parent: "teams/-".into() };
    assert_eq!(bob.list_budgets(list).await.unwrap().into_inner().budgets, std::slice::from_ref(&updated));
    let delete = pb::DeleteBudgetRequest { name: updated.name.clone(), etag: String::new() };
    alice.delete_budget(delete.clone()).await.unwrap();
    assert_eq!(alice.delete_budget(delete).await.unwrap_err().code(), Code::NotFound);
    let get = pb::GetBudgetRequest { name: updated.name };
    assert_eq!(bob.get_budget(get).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn an_answer_is_kept_where_its_caller_wants_that() {
    let mut servers = JoinSet::new();
    let (base, calls) = provider(&mut servers, |_, _| say("one two")).await;
    let bench = Bench::start(servers, &json!({"m": entry(&base, json!({"prices": null}))})).await;
    let both = pb::ResponseCaching { read: true, write: true, max_age: None };
    let kept = pb::GenerateRequest { response_caching: Some(both), ..ask("m") };
    assert!(!bench.calls().generate(kept.clone()).await.unwrap().into_inner().from_cache);
    let again = loop {
        // It is kept a moment after it was answered.
        let again = bench.calls().generate(kept.clone()).await.unwrap().into_inner();
        if again.from_cache {
            break again;
        }
    };
    assert_eq!(
        (again.text.as_str(), again.usage, again.cost_micros),
        ("one two", Some(Default::default()), 0)
    );
    let before = calls.load(Ordering::SeqCst);
    let request = pb::GenerateStreamRequest { request: Some(kept) };
    let mut events = bench.calls().generate_stream(request).await.unwrap().into_inner();
    let mut text = String::new();
    while let Some(event) = events.message().await.unwrap() {
        match event.event.unwrap() {
            pb::generate_event::Event::Text(piece) => text.push_str(&piece),
            pb::generate_event::Event::Finished(answer) => assert!(answer.from_cache && answer.text == text),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(text, "one two");
    assert_eq!(calls.load(Ordering::SeqCst), before);
    assert!(!bench.calls().generate(ask("m")).await.unwrap().into_inner().from_cache, "not unasked");
}
