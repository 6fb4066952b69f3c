//! Measures the journal in process: `cargo run --profile profiling -p sre-memory --example journal [where]
//! [seconds]`. Where: a folder for the embedded journal (it decides which disk is measured), or the
//! `postgres://` URL of a database, in which a schema is made and dropped. First short runs (open, then one append that
//! ends it, each durable), by 1, 16, 64 and 256 writers; then claims while 0, 10,000 and 100,000 runs stand
//! parked.
#![expect(clippy::print_stdout, reason = "a program that prints its result")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use sre_memory::runtime_context::{
    BlobFiles, BlobStore, Journal, JournalSettings, MIGRATIONS, PG_MIGRATIONS, PG_SESSION, PostgresBlobs,
    PostgresJournal, RuntimeContext, RuntimeContextService, SqliteJournal, SystemClock,
};
use sre_proto::memory::v1 as pb;
use sre_proto::memory::v1::runtime_context_server::RuntimeContext as _;
use sre_store::pg::{Pg, PgConfig, PgTls};
use sre_store::{OpenOptions, Store};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Request;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args_os().skip(1);
    let place = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = args.next().and_then(|text| text.to_str()?.parse().ok()).unwrap_or(5);
    for writers in [1, 16, 64, 256] {
        let bench = Bench::open(&place, &writers.to_string()).await?;
        bench.short_runs(writers, Duration::from_secs(seconds)).await?;
        bench.close().await?;
    }
    let bench = Bench::open(&place, "parked").await?;
    let mut parked = 0;
    for target in [0, 10_000, 100_000] {
        while parked < target {
            let count = (target - parked).min(1000);
            bench.park(count).await?;
            parked += count;
        }
        bench.claims(parked).await?;
    }
    bench.close().await
}

/// What is measured.
#[derive(Clone)]
enum Backend {
    Sqlite(Store, PathBuf),
    Postgres(Box<Pg>),
}

#[derive(Clone)]
struct Bench {
    backend: Backend,
    service: Arc<RuntimeContextService>,
    session: String,
}

impl Bench {
    async fn open(place: &Path, name: &str) -> anyhow::Result<Self> {
        let settings =
            Arc::new(JournalSettings { session_ttl: Duration::from_secs(300), ..Default::default() });
        let clock = Arc::new(SystemClock);
        let url = place.to_str().filter(|text| text.starts_with("postgres://"));
        let (backend, journal, blobs): (_, Arc<dyn Journal>, Arc<dyn BlobStore>) = match url {
            Some(url) => {
                let config = PgConfig {
                    url: Some(url.to_owned().into()),
                    schema: Some(format!("bench_{}_{name}", std::process::id())),
                    tls: PgTls::Disable,
                    session: PG_SESSION,
                    ..PgConfig::default()
                };
                let pg = Pg::connect(&config, PG_MIGRATIONS).await?;
                let journal = PostgresJournal::open(pg.clone(), Arc::clone(&settings)).await?;
                let blobs = PostgresBlobs::new(pg.clone());
                (Backend::Postgres(Box::new(pg)), Arc::new(journal), Arc::new(blobs))
            }
            None => {
                let folder = place.join(format!("journal-{}-{name}", std::process::id()));
                let path = folder.join("memory.db");
                let store = Store::open(OpenOptions::new(path, "the first argument", MIGRATIONS))?;
                let journal = SqliteJournal::new(store.clone(), clock.clone(), Arc::clone(&settings));
                let blobs = BlobFiles::open(&folder.join("blobs")).await?;
                (Backend::Sqlite(store, folder), Arc::new(journal), Arc::new(blobs))
            }
        };
        let context = RuntimeContext::open(journal, blobs, clock, settings, CancellationToken::new()).await?;
        let service = Arc::new(RuntimeContextService::new(context));
        let session = service.open_session(Request::new(pb::OpenSessionRequest::default())).await?;
        Ok(Self { backend, service, session: session.into_inner().id })
    }

    /// Removes what was measured.
    async fn close(&self) -> anyhow::Result<()> {
        match &self.backend {
            Backend::Sqlite(store, folder) => {
                store.close().await?;
                std::fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))
            }
            Backend::Postgres(pg) => {
                let schema = pg.schema_name().context("no schema")?;
                let drop = format!("drop schema {schema} cascade");
                Ok(pg.get().await?.batch_execute(&drop).await?)
            }
        }
    }

    /// Transactions so far.
    async fn commits(&self) -> anyhow::Result<u64> {
        match &self.backend {
            Backend::Sqlite(store, _) => Ok(*store.watch().borrow()),
            Backend::Postgres(pg) => {
                let client = pg.get().await?;
                client.batch_execute("select pg_stat_force_next_flush()").await?;
                let text = "select xact_commit from pg_stat_database where datname = current_database()";
                Ok(u64::try_from(client.query_one(text, &[]).await?.get::<_, i64>(0))?)
            }
        }
    }

    async fn short_runs(&self, writers: usize, time: Duration) -> anyhow::Result<()> {
        let started = Instant::now();
        let commits_before = self.commits().await?;
        let mut tasks = JoinSet::new();
        for _ in 0..writers {
            let bench = self.clone();
            tasks.spawn(async move {
                let mut runs = 0u64;
                while started.elapsed() < time {
                    let run = bench.open_run().await?;
                    bench.end(&run).await?;
                    runs += 1;
                }
                anyhow::Ok(runs)
            });
        }
        let mut runs = 0;
        while let Some(done) = tasks.join_next().await {
            runs += done??;
        }
        let seconds = started.elapsed().as_secs_f64();
        let commits = self.commits().await? - commits_before;
        println!(
            "{writers:3} writers: {:6.0} runs/s (open, append and end), {:.1} writes a commit, {:.0} commits/s",
            runs as f64 / seconds,
            runs as f64 * 2.0 / commits as f64,
            commits as f64 / seconds,
        );
        Ok(())
    }

    async fn open_run(&self) -> anyhow::Result<pb::RunRecord> {
        let request = open_request(&self.session, "team");
        let opened = self.service.open_run(Request::new(request)).await?.into_inner();
        opened.run.context("no run")
    }

    async fn end(&self, run: &pb::RunRecord) -> anyhow::Result<()> {
        let request = pb::AppendRequest {
            run_id: run.run_id.clone(),
            session: run.session.clone(),
            epoch: run.epoch,
            records: vec![
                record(pb::RecordKind::Intent, 120),
                record(pb::RecordKind::Finished, 300),
                record(pb::RecordKind::Closed, 60),
            ],
            close_state: pb::RunState::Done as i32,
            outcome: vec![b'o'; 200].into(),
            expected_sequence: run.next_sequence,
            ..Default::default()
        };
        self.service.append(Request::new(request)).await?;
        Ok(())
    }

    /// Opens and parks runs of fifty teams.
    async fn park(&self, count: usize) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        for lane in 0..50 {
            let bench = self.clone();
            tasks.spawn(async move {
                for _ in 0..count / 50 {
                    let request = open_request(&bench.session, &format!("team{lane}"));
                    let run = bench.service.open_run(Request::new(request)).await?.into_inner().run;
                    let run = run.context("no run")?;
                    let until = std::time::SystemTime::now() + Duration::from_secs(3600);
                    let request = pb::ParkRequest {
                        run_id: run.run_id,
                        session: run.session,
                        epoch: run.epoch,
                        until: Some(until.into()),
                        records: vec![record(pb::RecordKind::Waiting, 60)],
                        ..Default::default()
                    };
                    bench.service.park(Request::new(request)).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    }

    /// Claims that find nothing, and claims of sixteen runs.
    async fn claims(&self, parked: usize) -> anyhow::Result<()> {
        const ROUNDS: u32 = 200;
        let claim = async || {
            let request = pb::ClaimRequest { session: self.session.clone(), limit: 16, max_record_format: 1 };
            anyhow::Ok(self.service.claim(Request::new(request)).await?.into_inner().runs)
        };
        claim().await?;
        let started = Instant::now();
        for _ in 0..ROUNDS {
            if !claim().await?.is_empty() {
                return Err(anyhow!("nothing was due, and something was claimed"));
            }
        }
        let idle = started.elapsed() / ROUNDS;
        let mut busy = Duration::ZERO;
        for _ in 0..ROUNDS {
            for lane in 0..16 {
                let request = open_request("", &format!("team{}", lane % 4));
                self.service.open_run(Request::new(request)).await?;
            }
            let started = Instant::now();
            let runs = claim().await?;
            busy += started.elapsed();
            if runs.len() != 16 {
                return Err(anyhow!("claimed {} of 16", runs.len()));
            }
            for claimed in runs {
                self.end(&claimed.run.context("no run")?).await?;
            }
        }
        println!("{parked:6} parked: a claim of nothing {idle:?}, of sixteen {:?} (durable)", busy / ROUNDS);
        Ok(())
    }
}

fn open_request(session: &str, team: &str) -> pb::OpenRunRequest {
    pb::OpenRunRequest {
        run: Some(pb::RunRecord {
            run_id: sre_proto::ids::new_id(),
            team: team.to_owned(),
            agent: "01980000-0000-7000-8000-000000000000".to_owned(),
            caller: "user/alice".to_owned(),
            kind: pb::RunKind::Skill as i32,
            record_format: 1,
            spec: vec![b's'; 600].into(),
            label: "greet".to_owned(),
            version: "b3:0123456789abcdef".to_owned(),
            acl: Some(sre_proto::types::v1::Acl { etag: "e".to_owned(), ..Default::default() }),
            ..Default::default()
        }),
        session: session.to_owned(),
        records: vec![record(pb::RecordKind::Opened, 800)],
        ..Default::default()
    }
}

fn record(kind: pb::RecordKind, bytes: usize) -> pb::JournalRecord {
    pb::JournalRecord {
        kind: kind as i32,
        step: "AP1/0".to_owned(),
        body: vec![b'r'; bytes].into(),
        ..Default::default()
    }
}
