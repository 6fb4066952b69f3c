//! Who is killed, and when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::load::Load;
use crate::processes::Kill;
use crate::topology::{GATEWAYS, Suite};

/// Who may be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victims {
    /// Any process.
    Any,
    /// One of the gateways.
    Gateways,
}

/// Kills one after the other, at this pace, as long as runs are under way and the time is not over.
pub async fn at_pace(
    suite: &Arc<Suite>,
    load: &Load,
    victims: Victims,
    pace: Duration,
    until: Instant,
) -> Vec<Kill> {
    let names = match victims {
        Victims::Any => suite.names().await,
        Victims::Gateways => GATEWAYS.map(str::to_owned).to_vec(),
    };
    let mut chance = Chance::new();
    let mut kills = Vec::new();
    let mut ticks = tokio::time::interval(pace);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    while load.unfinished() > 0 && Instant::now() < until {
        ticks.tick().await;
        kills.push(suite.kill(&names[chance.below(names.len())]).await);
    }
    kills
}

/// Kills the only process each time a moment after it was ready.
pub async fn when_ready(suite: &Arc<Suite>, load: &Load, alive: Duration, until: Instant) -> Vec<Kill> {
    let mut kills = Vec::new();
    while load.unfinished() > 0 && Instant::now() < until {
        if suite.serves(0).await {
            tokio::time::sleep(alive).await;
            kills.push(suite.kill("suite").await);
        } else {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    kills
}

/// Stops the database as a power cut would, and starts it again after a while.
pub async fn database(suite: &Arc<Suite>, away: Duration) -> Kill {
    let before = std::time::SystemTime::now();
    blocking(suite, |suite| suite.cluster.as_ref().unwrap().crash()).await;
    let dead = std::time::SystemTime::now();
    tokio::time::sleep(away).await;
    blocking(suite, |suite| suite.cluster.as_ref().unwrap().start_again()).await;
    Kill { name: "postgres".to_owned(), before, dead }
}

async fn blocking(suite: &Arc<Suite>, what: impl FnOnce(&Suite) + Send + 'static) {
    let suite = Arc::clone(suite);
    let mut tasks = JoinSet::new();
    tasks.spawn_blocking(move || what(&suite));
    tasks.join_next().await.unwrap().unwrap();
}

/// Chance whose seed is printed, so that a bad sequence can be had again with `CHAOS_SEED`.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = std::env::var("CHAOS_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or(now.as_nanos() as u64);
        println!("   CHAOS_SEED={seed}");
        Self(seed)
    }

    /// SplitMix64.
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}
