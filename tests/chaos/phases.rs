//! The parts: split mode with its three phases, takeovers, and one process over a file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::agent;
use crate::checks::{self, Known};
use crate::evidence;
use crate::executions::Executions;
use crate::kills::{self, Victims};
use crate::load::{Load, Started};
use crate::plan::{Plan, Store};
use crate::processes::Kill;
use crate::report::Report;
use crate::servers::{Counting, Keys};
use crate::takeover;
use crate::topology::{GATEWAYS, Suite};

/// The lease of engines.
pub const LEASE: Duration = Duration::from_secs(1);

/// How long a suite of one process lives: its own lease must end before it goes on with what it left.
const ALIVE: Duration = Duration::from_secs(3);

struct Scene {
    suite: Arc<Suite>,
    honouring: Counting,
    ignoring: Counting,
    started: Vec<Started>,
    kills: Vec<Kill>,
    runs: usize,
}

impl Scene {
    async fn split(name: &str, store: Store) -> Self {
        let (honouring, ignoring) = servers().await;
        let suite = Suite::split(name, store, LEASE, &[&honouring, &ignoring]).await;
        Self::new(suite, honouring, ignoring).await
    }

    async fn new(suite: Suite, honouring: Counting, ignoring: Counting) -> Self {
        let document = agent::chaos(&honouring, &ignoring);
        suite.client(0).put(agent::AGENT, &document).await.unwrap();
        Self { suite: Arc::new(suite), honouring, ignoring, started: Vec::new(), kills: Vec::new(), runs: 0 }
    }

    fn begin(&mut self, plan: &Plan, label: &str, runs: usize) -> Load {
        println!("   {label}: {runs} runs, {} at a time", plan.in_flight);
        self.runs += runs;
        let until = Instant::now() + plan.phase + plan.settle;
        Load::begin(&self.suite, label, runs, plan.in_flight, until)
    }

    async fn finish(
        &mut self,
        part: &str,
        began: Instant,
        load: Load,
        kills: Vec<Kill>,
        report: &mut Report,
    ) {
        let undisturbed = load.unfinished();
        self.started.extend(load.finish().await);
        let figure = format!(
            "{} in {:.0} s, {undisturbed} runs ended after the last",
            kills.len(),
            began.elapsed().as_secs_f64()
        );
        report.figure(part, "kills", figure);
        self.kills.extend(kills);
    }

    /// Compares everything, and ends the suite.
    async fn check(self, part: &str, report: &mut Report) -> Vec<Duration> {
        let ended = self.suite.ended().await;
        report.check(part, "no process ends by itself", ended.len(), &ended);
        let journals = evidence::read(&self.suite).await;
        let wrong = self.suite.stop().await;
        report.check(part, "processes end in order when told to", wrong.len(), &wrong);
        let executions = Executions::read(&self.suite.logs().await, &self.suite.engine_logs().await);
        let known = Known {
            part,
            runs: self.runs,
            started: &self.started,
            kills: &self.kills,
            journals: &journals,
            executions: &executions,
            honouring: &self.honouring,
            ignoring: &self.ignoring,
        };
        checks::check(&known, report);
        takeover::times(&self.kills, &journals, &executions)
    }
}

async fn servers() -> (Counting, Counting) {
    (Counting::start(Keys::Honoured).await, Counting::start(Keys::Ignored).await)
}

/// Phases A, B and C on one suite.
pub async fn split(plan: &Plan, report: &mut Report) {
    let part = "split";
    let mut scene = Scene::split("split", plan.store).await;
    let began = Instant::now();
    let load = scene.begin(plan, "a", plan.runs);
    let until = began + plan.phase;
    let kills = kills::at_pace(&scene.suite, &load, Victims::Any, Duration::from_secs(1), until).await;
    scene.finish("split, phase A", began, load, kills, report).await;

    let began = Instant::now();
    let load = scene.begin(plan, "b", plan.runs);
    let until = began + plan.phase;
    let pace = Duration::from_millis(500);
    let kills = kills::at_pace(&scene.suite, &load, Victims::Gateways, pace, until).await;
    scene.finish("split, phase B", began, load, kills, report).await;

    let began = Instant::now();
    let load = scene.begin(plan, "c", plan.runs / 3);
    let mut kills = Vec::new();
    if scene.suite.cluster.is_some() {
        while load.unfinished() > plan.runs / 4 && began.elapsed() < plan.phase {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        kills.push(kills::database(&scene.suite, Duration::from_secs(2)).await);
    }
    scene.finish("split, phase C", began, load, kills, report).await;
    scene.check(part, report).await;
}

/// One kill of a gateway every five seconds.
pub async fn takeover(plan: &Plan, report: &mut Report) {
    let part = "takeover";
    let mut scene = Scene::split("takeover", plan.store).await;
    let quiet = Plan {
        in_flight: plan.in_flight.min(24),
        phase: Duration::from_secs(5 * plan.takeovers as u64 + 5),
        ..plan.clone()
    };
    let began = Instant::now();
    // More than can be done in the time; the rest is not started.
    let load = scene.begin(&quiet, "t", 100_000);
    let mut kills = Vec::new();
    for n in 0..plan.takeovers {
        tokio::time::sleep(Duration::from_secs(5)).await;
        kills.push(scene.suite.kill(GATEWAYS[n % GATEWAYS.len()]).await);
    }
    load.stop();
    scene.finish(part, began, load, kills, report).await;
    scene.runs = scene.started.len();
    let times = scene.check(part, report).await;
    let (half, most) = (takeover::quantile(&times, 0.5), takeover::quantile(&times, 0.99));
    let limit = LEASE + Duration::from_secs(1);
    let mut wrong = Vec::new();
    if times.is_empty() {
        wrong.push("no run was taken over: nothing was measured".to_owned());
    }
    if most > limit {
        wrong.push(format!("p99 is {most:?}"));
    }
    let figure =
        format!("p50 {} ms, p99 {} ms of {} takeovers", half.as_millis(), most.as_millis(), times.len());
    report.check(part, &format!("p99 under lease + 1 s = {limit:?}"), figure, &wrong);
}

/// The whole suite in one process over a file, killed a moment after each start.
pub async fn all_in_one(plan: &Plan, report: &mut Report) {
    let part = "all in one";
    let (honouring, ignoring) = servers().await;
    let suite = Suite::all_in_one("all-in-one", LEASE, &[&honouring, &ignoring]).await;
    let mut scene = Scene::new(suite, honouring, ignoring).await;
    let began = Instant::now();
    let load = scene.begin(plan, "s", plan.runs);
    let until = began + plan.phase;
    let kills = kills::when_ready(&scene.suite, &load, ALIVE, until).await;
    scene.finish(part, began, load, kills, report).await;
    scene.check(part, report).await;
}
