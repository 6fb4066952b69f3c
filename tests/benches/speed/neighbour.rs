//! A noisy neighbour: the p99 of a team that asks 50 times a second, alone and beside a team that asks 5,000 times
//! a second and may ask 100 times. The noisy one's generator is a process of its own, at low priority: it stands
//! for other machines, and must not take from this one what those would not.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sre_proto::error::{Reason, reason};
use sre_proto::io::v1::nkv_client::NkvClient;
use sre_proto::io::v1::{GetValueRequest, KeyValue, SetValueRequest};
use sre_proto::security::v1::account_client::AccountClient;
use sre_proto::security::v1::{CreateTeamRequest, Member, SetMemberRequest, TeamRole};
use sre_proto::types::v1::{Candidate, Role};
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::Channel;

use super::suite::{Mode, Running};
use super::{echo, micros, seconds};

const LIMIT: u32 = 100;
const NOISY_PER_SECOND: u32 = 5_000;
const QUIET_PER_SECOND: u32 = 50;
const PAIRS: usize = 5;
/// Calls of the noisy one that may be on their way: what comes beyond waits, as it would on its own machine.
const ON_THE_WAY: usize = 256;
const VALUE: &str = "teams/-/nkv/n/keys/k";

/// Measures, and prints the table.
pub async fn measure() {
    println!(
        "\n## Noisy neighbour: limit {LIMIT}/s, noisy {NOISY_PER_SECOND}/s, quiet {QUIET_PER_SECOND}/s (NKV get over mTLS through the edge)\n"
    );
    let limits = format!("{{ noisy = {{ edge_calls_per_second = {LIMIT} }} }}");
    let suite = Running::start_with(Mode::AllInOne, &[("SRE__LIMITS__TEAMS".to_owned(), limits)]).await;
    let dev = suite.connect().await;
    for (team, user) in [("noisy", "loud"), ("quiet", "calm")] {
        people(&dev, team, user).await;
        suite.issue(&format!("user/{user}"));
    }
    let quiet = suite.connect_as("user/calm").await;
    put(&quiet).await;
    put(&suite.connect_as("user/loud").await).await;

    println!(
        "| pair | solo p50 | solo p99 | beside p50 | beside p99 | ratio of p99 | noisy: let through | refused | other | CPU per refusal |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut ratios = Vec::new();
    let time = seconds().max(Duration::from_secs(5)) * 2;
    for pair in 1..=PAIRS {
        let (solo, cpu_solo) = with_cpu(suite.pid(), steady(&quiet, time)).await;
        let noisy = Noisy::start(&suite, time + Duration::from_secs(2));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (beside, cpu_beside) = with_cpu(suite.pid(), steady(&quiet, time)).await;
        let counted = noisy.finish();
        let of = |what: &str| counted.get(what).copied().unwrap_or_default();
        let ratio = beside.p99.as_secs_f64() / solo.p99.as_secs_f64();
        // The generator ran for longer than the measurement: its calls by the share of time.
        let share = time.as_secs_f64() / (time.as_secs_f64() + 2.0);
        let refused = of("refused") as f64 * share;
        let cpu = (cpu_beside.saturating_sub(cpu_solo)).as_secs_f64() / refused.max(1.0);
        println!(
            "| {pair} | {} | {} | {} | {} | {ratio:.2} | {} | {} | {} | {} |",
            micros(solo.p50),
            micros(solo.p99),
            micros(beside.p50),
            micros(beside.p99),
            of("let through"),
            of("refused"),
            of("other"),
            micros(Duration::from_secs_f64(cpu)),
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "\n- median ratio of p99: {:.2} (all: {ratios:.2?}); errors of the quiet one: none",
        ratios[PAIRS / 2]
    );
}

struct Latencies {
    p50: Duration,
    p99: Duration,
}

/// Calls at fixed moments, each measured from the moment it was due. An error ends the bench.
async fn steady(channel: &Channel, time: Duration) -> Latencies {
    let gap = Duration::from_secs(1) / QUIET_PER_SECOND;
    let begin = Instant::now();
    let mut calls = JoinSet::new();
    let mut due = begin;
    while due < begin + time {
        tokio::time::sleep_until(due.into()).await;
        let client = NkvClient::new(channel.clone());
        calls.spawn(async move {
            get(client).await.unwrap_or_else(|status| panic!("the quiet one got {status:?}"));
            due.elapsed()
        });
        due += gap;
    }
    let mut all = Vec::new();
    while let Some(took) = calls.join_next().await {
        all.push(took.unwrap());
    }
    all.sort_unstable();
    let at = |part: f64| all[((all.len() - 1) as f64 * part) as usize];
    Latencies { p50: at(0.5), p99: at(0.99) }
}

async fn with_cpu<T>(pid: u32, work: impl Future<Output = T>) -> (T, Duration) {
    let before = cpu(pid);
    let done = work.await;
    (done, cpu(pid).saturating_sub(before))
}

/// What a process used so far, in user and kernel mode.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
    // Hundredths of a second on every Linux there is.
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// The noisy one's process.
struct Noisy(Child);

impl Noisy {
    fn start(suite: &Running, time: Duration) -> Self {
        let child = Command::new("nice")
            .args(["-n", "19"])
            .arg(std::env::current_exe().unwrap())
            .args(["noisy", &suite.edge().to_string()])
            .arg(suite.certs())
            .arg(time.as_secs().to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn finish(self) -> BTreeMap<String, u64> {
        let done = self.0.wait_with_output().unwrap();
        String::from_utf8_lossy(&done.stdout)
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(what, count)| (what.to_owned(), count.parse().unwrap()))
            .collect()
    }
}

/// The noisy one: calls at fixed moments, counted by what became of them.
pub fn noisy(address: &str, certs: &str, time: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let channel = echo::connect_as(address.parse().unwrap(), Path::new(certs), "user/loud").await;
        let counts: Arc<[AtomicU64; 3]> = Arc::default();
        let places = Arc::new(tokio::sync::Semaphore::new(ON_THE_WAY));
        let end = Instant::now() + Duration::from_secs(time.parse().unwrap());
        let mut calls = JoinSet::new();
        let mut due = Instant::now();
        while due < end {
            tokio::time::sleep_until(due.into()).await;
            while calls.try_join_next().is_some() {}
            // A millisecond's worth at a time: timers are not finer.
            for _ in 0..NOISY_PER_SECOND / 1_000 {
                let place = Arc::clone(&places).acquire_owned().await.unwrap();
                let (client, counts) = (NkvClient::new(channel.clone()), Arc::clone(&counts));
                calls.spawn(async move {
                    let which = match get(client).await {
                        Ok(()) => 0,
                        Err(status) if reason(&status) == Some(Reason::RateLimited) => 1,
                        Err(_) => 2,
                    };
                    counts[which].fetch_add(1, Ordering::Relaxed);
                    drop(place);
                });
            }
            due += Duration::from_millis(1);
        }
        calls.join_all().await;
        for (what, count) in ["let through", "refused", "other"].iter().zip(counts.iter()) {
            println!("{what}={}", count.load(Ordering::Relaxed));
        }
    });
}

async fn get(mut client: NkvClient<Channel>) -> Result<(), Status> {
    client.get_value(GetValueRequest { name: VALUE.to_owned(), ..Default::default() }).await.map(|_| ())
}

async fn put(channel: &Channel) {
    let value = KeyValue { name: VALUE.to_owned(), value: vec![b'x'; 128].into(), ..KeyValue::default() };
    let request = SetValueRequest { value: Some(value), ..SetValueRequest::default() };
    NkvClient::new(channel.clone()).set_value(request).await.unwrap();
}

async fn people(dev: &Channel, team: &str, user: &str) {
    let mut account = AccountClient::new(dev.clone());
    account.create_team(CreateTeamRequest { team_id: team.to_owned(), team: None }).await.unwrap();
    let candidate = Some(Candidate { role: Role::User.into(), id: user.to_owned() });
    let member = Some(Member { candidate, role: TeamRole::Admin.into(), home: false });
    account.set_member(SetMemberRequest { parent: format!("teams/{team}"), member }).await.unwrap();
}
