//! What every backend does, run against all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;
use sre_redis::testing::Server;
use sre_redis::{Effect, Redis, cmd};
use tokio::task::JoinSet;

use super::*;

const LATER: Millis = 4_000_000_000_000;

/// A backend, and how it forgets.
pub(crate) struct Fixture {
    pub(crate) meters: Arc<dyn Meters>,
    memory: Option<Memory>,
    redis: Option<Redis>,
    _server: Option<Server>,
}

impl Fixture {
    pub(crate) fn memory() -> Self {
        let memory = Memory::default();
        Self { meters: Arc::new(memory.clone()), memory: Some(memory), redis: None, _server: None }
    }

    pub(crate) async fn redis() -> Self {
        let server = Server::start(&[]).unwrap();
        let redis = Redis::open(&server.settings("sre")).await.unwrap();
        let meters = Arc::new(RedisMeters::new(redis.clone()));
        Self { meters, memory: None, redis: Some(redis), _server: Some(server) }
    }

    pub(crate) async fn forget(&self) {
        if let Some(memory) = &self.memory {
            memory.forget();
        }
        if let Some(redis) = &self.redis {
            redis.query::<String>(&cmd("FLUSHALL"), Effect::Write).await.unwrap();
        }
    }
}

fn window(key: &str, limit: i64, amount: i64) -> Line {
    let counting = Counting::Window { ends: LATER, seeded: false };
    Line { key: key.into(), limit: Some(limit), amount, counting }
}

fn seeded(key: &str, limit: i64, amount: i64) -> Line {
    Line { counting: Counting::Window { ends: LATER, seeded: true }, ..window(key, limit, amount) }
}

fn places(key: &str, limit: i64, lease: Millis) -> Line {
    Line { counting: Counting::Places { lease }, ..window(key, limit, 1) }
}

fn granted(verdict: Verdict) -> Vec<String> {
    match verdict {
        Verdict::Granted(epochs) => epochs,
        other => panic!("{other:?}"),
    }
}

fn settled(key: &str, epoch: &str, reserved: i64, actual: i64) -> Settled {
    Settled { key: key.into(), epoch: epoch.into(), reserved, actual, places: false }
}

async fn all_or_none(it: &Fixture) {
    let meters = &it.meters;
    let both = [window("a", 10, 6), window("b", 5, 3)];
    let epochs = granted(meters.reserve("s", "1", &both).await.unwrap());
    assert_eq!(meters.reserve("s", "2", &both).await.unwrap(), Verdict::Refused { line: 0, used: 6 });
    let fits_one = [window("a", 10, 4), window("b", 5, 3)];
    assert_eq!(meters.reserve("s", "2", &fits_one).await.unwrap(), Verdict::Refused { line: 1, used: 3 });
    assert_eq!(meters.used("s", "a", false).await.unwrap(), Some(6), "nothing of it was reserved");
    meters.settle("s", "1", &[settled("a", &epochs[0], 6, 1), settled("b", &epochs[1], 3, 4)]).await.unwrap();
    assert_eq!(meters.used("s", "a", false).await.unwrap(), Some(1));
    assert_eq!(meters.used("s", "b", false).await.unwrap(), Some(4), "more than was reserved is counted too");
    assert_eq!(meters.used("other", "a", false).await.unwrap(), None, "scopes do not mix");
    let unlimited = Line { limit: None, ..window("b", 0, 1_000) };
    granted(meters.reserve("s", "3", &[unlimited]).await.unwrap());
}

async fn what_nobody_settles_is_used(it: &Fixture) {
    granted(it.meters.reserve("s", "dead", &[window("d", 10, 7)]).await.unwrap());
    assert!(matches!(
        it.meters.reserve("s", "2", &[window("d", 10, 4)]).await.unwrap(),
        Verdict::Refused { .. }
    ));
}

async fn windows_are_begun_with_what_was_used(it: &Fixture) {
    let meters = &it.meters;
    let lines = [window("x", 10, 1), seeded("h", 10, 2)];
    assert_eq!(meters.reserve("s", "1", &lines).await.unwrap(), Verdict::Unseeded(vec![1]));
    meters.seed("s", "h", 7, LATER).await.unwrap();
    meters.seed("s", "h", 0, LATER).await.unwrap();
    let epochs = granted(meters.reserve("s", "1", &lines).await.unwrap());
    assert_eq!(meters.used("s", "h", false).await.unwrap(), Some(9), "the first one counts");

    it.forget().await;
    assert_eq!(meters.reserve("s", "2", &lines).await.unwrap(), Verdict::Unseeded(vec![1]));
    meters.settle("s", "1", &[settled("h", &epochs[1], 2, 2)]).await.unwrap();
    assert_eq!(meters.used("s", "h", false).await.unwrap(), None, "a settlement begins no window");
    meters.seed("s", "h", 7, LATER).await.unwrap();
    meters.settle("s", "1", &[settled("h", &epochs[1], 2, 2)]).await.unwrap();
    assert_eq!(meters.used("s", "h", false).await.unwrap(), Some(9), "what was lost takes nothing back");
}

async fn a_window_ends_later_where_a_later_call_says_so(it: &Fixture) {
    let now = crate::kept::now_ms();
    let until = |ends: Millis| {
        let counting = Counting::Window { ends, seeded: true };
        [Line { counting, ..window("run", 10, 2) }]
    };
    it.meters.seed("s", "run", 3, now + 400).await.unwrap();
    granted(it.meters.reserve("s", "1", &until(now + 60_000)).await.unwrap());
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert_eq!(it.meters.used("s", "run", false).await.unwrap(), Some(5));
}

async fn places_are_given_back_and_end_by_themselves(it: &Fixture) {
    let meters = &it.meters;
    let lines = [places("p", 2, 60_000)];
    for holder in ["1", "2"] {
        granted(meters.reserve("s", holder, &lines).await.unwrap());
    }
    assert_eq!(meters.reserve("s", "3", &lines).await.unwrap(), Verdict::Refused { line: 0, used: 2 });
    let back = Settled { places: true, ..settled("p", "", 1, 0) };
    meters.settle("s", "1", std::slice::from_ref(&back)).await.unwrap();
    meters.settle("s", "1", std::slice::from_ref(&back)).await.unwrap();
    granted(meters.reserve("s", "3", &lines).await.unwrap());
    // One whose holder is not heard of is free after its lease; one that is renewed is not.
    let short = [places("q", 1, 1)];
    granted(meters.reserve("s", "dead", &short).await.unwrap());
    while !matches!(
        meters.reserve("s", "next", &[places("q", 1, 60_000)]).await.unwrap(),
        Verdict::Granted(_)
    ) {
        tokio::task::yield_now().await;
    }
    meters.renew("s", "next", &["q".to_owned()], 60_000).await.unwrap();
    meters.renew("s", "stranger", &["q".to_owned()], 60_000).await.unwrap();
    assert_eq!(meters.used("s", "q", true).await.unwrap(), Some(1));
}

async fn many_at_once_never_exceed(it: &Fixture) {
    const LIMIT: i64 = 500;
    let most = Arc::new(AtomicI64::new(0));
    let spent = Arc::new(AtomicI64::new(0));
    let mut tasks = JoinSet::new();
    for number in 0..50_i64 {
        let (meters, most, spent) = (Arc::clone(&it.meters), Arc::clone(&most), Arc::clone(&spent));
        tasks.spawn(async move {
            for round in 0..20_i64 {
                let (reserved, actual) = (1 + (number + round) % 9, (number * round) % 9);
                let line = [window("many", LIMIT, reserved)];
                let Verdict::Granted(epochs) = meters.reserve("s", &number.to_string(), &line).await.unwrap()
                else {
                    continue;
                };
                let actual = actual.min(reserved);
                spent.fetch_add(actual, Ordering::SeqCst);
                tokio::task::yield_now().await;
                meters
                    .settle("s", &number.to_string(), &[settled("many", &epochs[0], reserved, actual)])
                    .await
                    .unwrap();
                let used = meters.used("s", "many", false).await.unwrap().unwrap();
                most.fetch_max(used, Ordering::SeqCst);
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    let spent = spent.load(Ordering::SeqCst);
    assert!(spent <= LIMIT && most.load(Ordering::SeqCst) <= LIMIT);
    assert_eq!(it.meters.used("s", "many", false).await.unwrap(), Some(spent));
}

async fn contract(it: Fixture) {
    all_or_none(&it).await;
    what_nobody_settles_is_used(&it).await;
    windows_are_begun_with_what_was_used(&it).await;
    a_window_ends_later_where_a_later_call_says_so(&it).await;
    places_are_given_back_and_end_by_themselves(&it).await;
    many_at_once_never_exceed(&it).await;
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    contract(Fixture::memory()).await;
}

#[tokio::test]
async fn redis_keeps_the_contract() {
    contract(Fixture::redis().await).await;
}

#[tokio::test]
async fn memory_forgets_windows_that_ended() {
    let memory = Memory::default();
    let ended = Line { counting: Counting::Window { ends: 1, seeded: false }, ..window("e", 1, 1) };
    for _ in 0..3 {
        granted(memory.reserve("s", "1", std::slice::from_ref(&ended)).await.unwrap());
    }
}

/// A step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Reserve(i64),
    /// Settles the oldest that is open, with a part of what it reserved.
    Settle(i64),
    /// The owner of the oldest that is open is gone.
    Die,
    /// The backend forgets, and is seeded with what was used.
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..40_i64).prop_map(Step::Reserve),
        4 => (0..=100_i64).prop_map(Step::Settle),
        1 => Just(Step::Die),
        1 => Just(Step::Forget),
    ]
}

proptest! {
    /// Never more is used than the limit and what was under way when the backend forgot.
    #[test]
    fn never_more_than_the_limit_and_what_is_under_way(steps in prop::collection::vec(step(), 1..80)) {
        const LIMIT: i64 = 100;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let it = Fixture::memory();
            let line = |amount| [seeded("h", LIMIT, amount)];
            let (mut ledger, mut lost) = (0_i64, 0_i64);
            let mut open: std::collections::VecDeque<(i64, String)> = Default::default();
            for step in steps {
                match step {
                    Step::Reserve(amount) => match it.meters.reserve("s", "x", &line(amount)).await.unwrap() {
                        Verdict::Granted(epochs) => open.push_back((amount, epochs[0].clone())),
                        Verdict::Refused { .. } => {}
                        Verdict::Unseeded(_) => it.meters.seed("s", "h", ledger, LATER).await.unwrap(),
                    },
                    Step::Settle(percent) => {
                        let Some((reserved, epoch)) = open.pop_front() else { continue };
                        let actual = reserved * percent / 100;
                        // The ledger has it first.
                        ledger += actual;
                        it.meters.settle("s", "x", &[settled("h", &epoch, reserved, actual)]).await.unwrap();
                    }
                    Step::Die => drop(open.pop_front()),
                    Step::Forget => {
                        lost += open.iter().map(|(reserved, _)| reserved).sum::<i64>();
                        it.forget().await;
                    }
                }
                prop_assert!(ledger <= LIMIT + lost, "{ledger} of {LIMIT}, {lost} were under way");
            }
            Ok(())
        })?;
    }
}
