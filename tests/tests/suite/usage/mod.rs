//! The ledger against the truth: a provider's own books, and the steps of the runs, while runs are repeated,
//! refused, taken over from a killed gateway, forked and replayed.

pub mod provider;
mod services;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use sre_proto::gateway::v1::{ForkRunRequest, ListStepsRequest, RunState};
use sre_proto::observability::v1::usage_client::UsageClient;
use sre_proto::observability::v1::{QueryUsageRequest, UsageGrouping, UsageRow};

use crate::harness::agents::{component, document, endpoint, output};
use crate::harness::clients::run_request;
use crate::harness::gateways::Gateway;
use crate::harness::process::say;
use crate::harness::{Mode, Options, Suite, eventually};

use provider::{BUSY, Charged, HELD, Provider};

const AGENT: &str = "teams/default/agents/asker";
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks both models, then makes something of their answers.
fn asker() -> Value {
    let ask = |id: &str| {
        let data = json!({ "model": id, "prompt": "{{text}}", "passthrough": true });
        component(id, "GenAILLM", data, &["text"], &["Reply"])
    };
    let digest = json!({ "algorithm": "sha256", "encoding": "hex" });
    document(
        "asker",
        json!({}),
        &[
            endpoint("ask", "POST", &[("text", "Text")]),
            ask("charging"),
            ask("repeating"),
            component("sha", "FHash", digest, &["Data"], &["Hash"]),
            output("answer", &["digest", "reply"]),
        ],
        &[
            "ask.text > charging.text",
            "ask.text > repeating.text",
            "charging.Reply > sha.Data",
            "sha.Hash > answer.digest",
            "repeating.Reply > answer.reply",
        ],
    )
}

async fn sums(suite: &Suite, by: UsageGrouping) -> BTreeMap<String, UsageRow> {
    let mut client = UsageClient::new(suite.channel("user/dev", "edge"));
    let request = QueryUsageRequest {
        parent: "teams/default".into(),
        group_by: by.into(),
        page_size: 1_000,
        ..QueryUsageRequest::default()
    };
    let rows = client.query_usage(request).await.unwrap().into_inner().rows;
    rows.into_iter().map(|row| (row.key.clone(), row)).collect()
}

fn charged(row: &UsageRow) -> Charged {
    Charged {
        calls: row.model_calls,
        input_tokens: row.input_tokens,
        output_tokens: row.output_tokens,
        cached_tokens: row.cached_input_tokens,
    }
}

/// By the prices of the catalogue: 2, 10 and 1 millionths of a dollar for a token.
fn price(charged: &Charged) -> i64 {
    (charged.input_tokens - charged.cached_tokens) * 2 + charged.cached_tokens + charged.output_tokens * 10
}

/// How many of a run's components were executed, as its journal says.
async fn executed(suite: &Suite, run: &str) -> i64 {
    let request = ListStepsRequest { name: run.into(), page_size: 1_000, ..ListStepsRequest::default() };
    let steps = suite.client("user/dev").runs().list_steps(request).await.unwrap().into_inner().steps;
    i64::try_from(steps.iter().filter(|step| step.start_time.is_some()).count()).unwrap()
}

/// What the ledger has beside the provider's books: estimates of calls whose caller was killed, so that they were
/// closed before anything of an answer was seen.
async fn cut_off(suite: &Suite, provider: &Provider, calls: i64) -> BTreeMap<String, Charged> {
    let last = std::sync::Mutex::new(String::new());
    let counted = async || {
        let models = sums(suite, UsageGrouping::Model).await;
        *last.lock().unwrap() = format!("ledger {models:?}\nbooks {:?}", provider.charged());
        let books = provider.charged();
        let answered: i64 = books.values().map(|charged| charged.calls).sum();
        let recorded: i64 = models.values().map(|row| row.model_calls).sum();
        let unmetered: i64 = models.values().map(|row| row.unmetered_calls).sum();
        (recorded == answered + calls && unmetered == calls).then(|| {
            let beside = |(model, row): (String, UsageRow)| {
                let (all, book) = (charged(&row), books.get(&model).copied().unwrap_or_default());
                let beside = Charged {
                    calls: all.calls - book.calls,
                    input_tokens: all.input_tokens - book.input_tokens,
                    output_tokens: all.output_tokens - book.output_tokens,
                    cached_tokens: all.cached_tokens - book.cached_tokens,
                };
                (model, beside)
            };
            models.into_iter().map(beside).collect::<BTreeMap<_, _>>()
        })
    };
    let counted = async {
        loop {
            if let Some(beside) = counted().await {
                return beside;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let Ok(beside) = tokio::time::timeout(PATIENCE, counted).await else {
        panic!("what was cut off is not in the ledger:\n{}", last.lock().unwrap());
    };
    for (model, charged) in &beside {
        let nothing_seen = charged.output_tokens == 0 && charged.cached_tokens == 0;
        assert!(nothing_seen && charged.input_tokens > 0, "{model}: {charged:?}");
    }
    beside
}

/// The provider's books, with what the ledger has beside them.
fn with(books: BTreeMap<String, Charged>, beside: &BTreeMap<String, Charged>) -> BTreeMap<String, Charged> {
    let add = |(model, book): (String, Charged)| {
        let more = beside.get(&model).copied().unwrap_or_default();
        let sum = Charged {
            calls: book.calls + more.calls,
            input_tokens: book.input_tokens + more.input_tokens,
            output_tokens: book.output_tokens + more.output_tokens,
            cached_tokens: book.cached_tokens + more.cached_tokens,
        };
        (model, sum)
    };
    books.into_iter().map(add).collect()
}

/// Waits until the ledger says what the provider's books and the journals say, and shows both where it does not.
async fn agree(
    suite: &Suite,
    provider: &Provider,
    executions: &BTreeMap<String, i64>,
    beside: &BTreeMap<String, Charged>,
) {
    let mut last = String::new();
    let agreed = async {
        loop {
            let models = sums(suite, UsageGrouping::Model).await;
            let runs = sums(suite, UsageGrouping::Run).await;
            let ledger: BTreeMap<String, Charged> =
                models.iter().map(|(model, row)| (model.clone(), charged(row))).collect();
            let counted: BTreeMap<String, i64> =
                runs.iter().map(|(run, row)| (run.clone(), row.executions)).collect();
            if ledger == with(provider.charged(), beside) && counted == *executions {
                return;
            }
            last = format!(
                "ledger {ledger:?}\nbooks {:?}\ncounted {counted:?}\njournals {executions:?}",
                provider.charged()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, agreed).await.is_err() {
        panic!("the ledger does not come to agree:\n{last}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_agrees_with_the_provider_and_the_journals() {
    let provider = Provider::start().await;
    let models = tempfile::tempdir().unwrap();
    std::fs::write(models.path().join("models.json"), provider.models().to_string()).unwrap();
    let options = Options::default()
        .set("models.path", models.path().display())
        .set("journal.session_ttl_ms", 2_000)
        .set("journal.claim_interval_ms", 200);
    let suite = Suite::start("usage", Mode::Split, options).await;
    let dev = suite.client("user/dev");
    dev.put(AGENT, &asker()).await.unwrap();
    let mut executions = BTreeMap::new();
    let id = |name: &str| name.rsplit('/').next().unwrap().to_owned();

    // Plain ones, ones that the provider refuses at first, and one that its caller asks for twice.
    for number in 0..4 {
        let text = if number % 2 == 0 { format!("{BUSY} {number}") } else { format!("plain {number}") };
        let run = dev.run(AGENT, "ask", &json!({ "text": text })).await.unwrap().run;
        executions.insert(id(&run), executed(&suite, &run).await);
    }
    let mut once = run_request(AGENT, "ask", &json!({ "text": "once" }));
    once.request_id = "usage-once".into();
    let first = dev.runs().run_skill(once.clone()).await.unwrap().into_inner();
    let again = dev.runs().run_skill(once).await.unwrap().into_inner();
    assert_eq!(first.run, again.run);
    executions.insert(id(&first.run), executed(&suite, &first.run).await);
    assert!(executions.values().all(|count| *count == 3), "{executions:?}");
    agree(&suite, &provider, &executions, &BTreeMap::new()).await;

    // A gateway is killed while models are asked for its runs: its streams are closed, and what they may have cost is
    // estimated.
    let mut other = Gateway::start(&suite, "other-gateway").await;
    let through = other.client(&suite, "user/dev");
    let mut taken_over = Vec::new();
    for number in 0..3 {
        let text = json!({ "text": format!("{HELD} {number}") });
        taken_over.push(through.start(AGENT, "ask", &text).await.unwrap().name);
    }
    let asked = async || (provider.held().len() == 6).then_some(());
    eventually("each run asks both models", PATIENCE, asked).await;
    other.crash();
    let closed = async || {
        let unmetered: i64 =
            sums(&suite, UsageGrouping::Model).await.values().map(|row| row.unmetered_calls).sum();
        (unmetered == 6).then_some(())
    };
    eventually("what the killed gateway asked is closed", PATIENCE, closed).await;
    provider.release();
    for run in &taken_over {
        let ended = dev.reached(run, &[RunState::Done]).await;
        assert_eq!(ended.state(), RunState::Done);
        executions.insert(id(run), executed(&suite, run).await);
    }
    let repeated = provider.held().iter().filter(|times| **times > 1).count();
    assert!(repeated > 0, "no effect was repeated by the gateway that took over: {:?}", provider.held());
    let beside = cut_off(&suite, &provider, 6).await;
    agree(&suite, &provider, &executions, &beside).await;

    // A fork does again what it does not keep, and a replay does nothing.
    let request = ForkRunRequest {
        agent: AGENT.into(),
        run: first.run.clone(),
        at: "sha".into(),
        set_json: r#"{"Data":"other"}"#.into(),
        ..ForkRunRequest::default()
    };
    let fork = dev.runs().fork_run(request).await.unwrap().into_inner().name;
    dev.reached(&fork, &[RunState::Done]).await;
    executions.insert(id(&fork), 1);
    say(suite.folder(), &["runs", "replay", &first.run]).await.ok();
    agree(&suite, &provider, &executions, &beside).await;

    all_ways_of_adding_up_agree(&suite, &provider, &beside).await;
    shown(&suite, &first.run).await;
    suite.stop().await;
}

/// By team, agent, user and model there is the same sum, and money follows from tokens.
async fn all_ways_of_adding_up_agree(suite: &Suite, provider: &Provider, beside: &BTreeMap<String, Charged>) {
    let team = sums(suite, UsageGrouping::Team).await.remove("default").unwrap();
    let money: i64 = with(provider.charged(), beside).values().map(price).sum();
    assert_eq!(team.cost_micros, money);
    assert_eq!(team.unmetered_calls, beside.values().map(|charged| charged.calls).sum::<i64>());
    for by in [UsageGrouping::Agent, UsageGrouping::User, UsageGrouping::Model, UsageGrouping::Run] {
        let rows = sums(suite, by).await;
        let total = |value: fn(&UsageRow) -> i64| rows.values().map(value).sum::<i64>();
        assert_eq!(total(|row| row.cost_micros), money, "{by:?}: {rows:?}");
        assert_eq!(total(|row| row.model_calls), team.model_calls, "{by:?}");
        if by != UsageGrouping::Model {
            assert_eq!(total(|row| row.executions), team.executions, "{by:?}");
        }
    }
    assert!(sums(suite, UsageGrouping::Agent).await.contains_key("asker"));
    assert!(sums(suite, UsageGrouping::User).await.contains_key("user/dev"));
}

/// The command line shows the same.
async fn shown(suite: &Suite, run: &str) {
    let rows = say(suite.folder(), &["usage", "--by", "model", "--since", "2h", "--json"]).await.ok().json();
    let names: Vec<&str> =
        rows.as_array().unwrap().iter().map(|row| row["model"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 2, "{rows}");
    let trace = say(suite.folder(), &["runs", "trace", run, "--json"]).await.ok().json();
    let spans: Vec<&str> =
        trace.as_array().unwrap().iter().map(|span| span["span"].as_str().unwrap()).collect();
    assert_eq!(spans[0], "Agent.Skill", "{trace}");
    for expected in ["Component.GenAILLM", "Component.FHash", "chat charging", "chat repeating"] {
        assert!(spans.contains(&expected), "{expected} in {spans:?}");
    }
    assert!(trace.as_array().unwrap().iter().all(|span| span["state"] == "ok"), "{trace}");
}
