//! One limit for agents on three gateways, counted in Redis, while Redis is emptied and a gateway is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sre_proto::llm::v1::budgets_client::BudgetsClient;
use sre_proto::llm::v1::{Budget, BudgetUnit, BudgetWindow, CreateBudgetRequest, GetBudgetStateRequest};
use sre_redis::testing::Server;
use sre_redis::{Effect, Redis, cmd};
use tokio::task::JoinSet;

use crate::harness::agents::{component, document, endpoint, output};
use crate::harness::gateways::Gateway;
use crate::harness::{Mode, Options, Suite, eventually};
use crate::usage::provider::{Charged, Provider};

const AGENTS: usize = 200;
/// Calls of the test that are under way at once.
const AT_ONCE: usize = 12;
/// The most that one call reserves: the longest answer of the model, and a question of less than this.
const CALL: i64 = 130;
const LIMIT: i64 = 12_000;
const PATIENCE: Duration = Duration::from_secs(60);

fn asker(id: &str) -> Value {
    let data = json!({ "model": "charging", "prompt": "{{text}}", "passthrough": true });
    document(
        id,
        json!({}),
        &[
            endpoint("ask", "POST", &[("text", "Text")]),
            component("model", "GenAILLM", data, &["text"], &["Reply"]),
            output("answer", &["reply"]),
        ],
        &["ask.text > model.text", "model.Reply > answer.reply"],
    )
}

fn spent(provider: &Provider) -> i64 {
    let tokens = |charged: &Charged| charged.input_tokens + charged.output_tokens;
    provider.charged().values().map(tokens).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_agents_on_three_gateways_stay_within_one_limit() {
    let redis = Server::start(&[]).unwrap();
    let other = Redis::open(&redis.settings("sre")).await.unwrap();
    let provider = Provider::start().await;
    let models = tempfile::tempdir().unwrap();
    std::fs::write(models.path().join("models.json"), provider.models().to_string()).unwrap();
    let backend = format!(r#"[{{ Connector = "redis", Settings = {{ url = "{}" }} }}]"#, redis.url());
    let options = Options::default()
        .set("models.path", models.path().display())
        .set("connectors.budgets", backend)
        .set("journal.session_ttl_ms", 2_000);
    let suite = Suite::start("budgets", Mode::Split, options).await;
    let dev = suite.client("user/dev");
    let name = |agent: usize| format!("teams/default/agents/spender{agent}");
    for agent in 0..AGENTS {
        dev.put(&name(agent), &asker(&format!("spender{agent}"))).await.unwrap();
    }
    let mut budgets = BudgetsClient::new(suite.channel("user/dev", "edge"));
    let budget = Budget {
        unit: BudgetUnit::Tokens.into(),
        window: BudgetWindow::Month.into(),
        limit: LIMIT,
        ..Budget::default()
    };
    let create =
        CreateBudgetRequest { parent: "teams/default".into(), budget_id: "all".into(), budget: Some(budget) };
    let budget = budgets.create_budget(create).await.unwrap().into_inner().name;

    let mut second = Gateway::start(&suite, "second-gateway").await;
    let third = Gateway::start(&suite, "third-gateway").await;
    let gateways = [dev, second.client(&suite, "user/dev"), third.client(&suite, "user/dev")];
    let gateways = Arc::new(gateways);
    let next = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (gateways, next) = (Arc::clone(&gateways), Arc::clone(&next));
        callers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::SeqCst);
                if number >= AGENTS * 3 {
                    return;
                }
                let agent = format!("teams/default/agents/spender{}", number % AGENTS);
                // Some are refused, some hit the gateway that is killed.
                let _ = gateways[number % 3].answer(&agent, "ask", &json!({ "text": "how much?" })).await;
            }
        });
    }
    let reached = async |number: usize| {
        let there = async || (next.load(Ordering::SeqCst) >= number).then_some(());
        eventually("some calls were made", PATIENCE, there).await;
    };
    let mut emptied = 0;
    for number in [20, 60] {
        reached(number).await;
        other.query::<String>(&cmd("FLUSHALL"), Effect::Write).await.unwrap();
        emptied += 1;
        if number == 20 {
            second.crash();
        }
    }
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
    // What was under way when the counts were lost, and what was on its way to the ledger then.
    let may_exceed = emptied * 2 * i64::try_from(AT_ONCE).unwrap() * CALL;
    let total = spent(&provider);
    assert!(total <= LIMIT + may_exceed, "{total} of {LIMIT}");
    assert!(total > LIMIT / 2, "the limit was not reached: {total}");
    let state = GetBudgetStateRequest { name: budget, ..GetBudgetStateRequest::default() };
    let state = budgets.get_budget_state(state).await.unwrap().into_inner();
    assert!(state.used >= LIMIT - CALL, "there was room, and calls were refused: {state:?}");
    third.stop();
    suite.stop().await;
}
