//! The processes of the sandbox: so many at most, each for one agent, kept while there is work for it, replaced
//! after so many calls, ended when a call takes too much.

pub mod idle;
pub mod process;
mod processor;
pub mod queue;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sre_sandbox::contract::Outline;
use sre_sandbox::limits::{ARGUMENT_BYTES, COMPONENT_BYTES, Limit, Limits, SOURCE_CHARS};
use sre_sandbox::protocol::{
    CallFrame, FromWorker, HttpAnswer, HttpAsk, Outcome, Problem, Program, ToWorker,
};
use sre_service::config::Compute;
use tokio::time::{Instant, timeout};

use crate::error::CodeError;
use idle::Idle;
pub use idle::Owner;
use process::{Broken, Events, Gone, Worker};
use queue::{Place, Queue};

/// What a process may use of the processor before it is replaced, well below what ends it.
const CPU_PER_WORKER: Duration = Duration::from_secs(120);

/// What looking at a source may take.
const CHECK: Limits = Limits { wall_ms: 5_000, cpu_ms: 2_000, ..Limits::MAX };

/// Runs code in processes of the sandbox. Clones share them.
#[derive(Clone)]
pub struct Workers {
    inner: Arc<Inner>,
}

struct Inner {
    program: PathBuf,
    settings: Compute,
    queue: Queue,
    idle: Mutex<Idle>,
    /// Processes that run a call or are being started.
    busy: AtomicUsize,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// What came of it.
    pub outcome: Outcome,
    /// Time by the clock, without waiting.
    pub wall: Duration,
    /// Time of the processor.
    pub cpu: Duration,
}

impl Workers {
    /// Processes by this configuration; none is started yet.
    ///
    /// # Errors
    /// If this program does not know where it lies.
    pub fn new(settings: &Compute) -> std::io::Result<Self> {
        let program = match &settings.worker {
            Some(program) => program.clone(),
            None => std::env::current_exe()?,
        };
        let places = settings.max_workers;
        let queue = Queue::new(places, settings.concurrent_per_team, settings.waiting_per_team);
        let settings = settings.clone();
        Ok(Self {
            inner: Arc::new(Inner {
                program,
                settings,
                queue,
                idle: Mutex::default(),
                busy: AtomicUsize::new(0),
            }),
        })
    }

    /// Starts a process, runs a call and ends it: whether code can run here, before anybody asks.
    ///
    /// # Errors
    /// Which part of the sandbox the kernel refuses.
    pub async fn try_out(&self) -> Result<(), Broken> {
        let mut worker = Worker::start(self.program()).await?;
        let frame = CallFrame {
            program: Program::Script("async function main(x) { return x }".to_owned()),
            arguments: r#"{"x":1}"#.to_owned(),
            limits: Limits::DEFAULT,
            http_requests: 0,
        };
        let message = ToWorker::Call(Box::new(frame));
        match worker.ask(&message, &Limits::DEFAULT, &mut Silent).await? {
            FromWorker::Done { outcome: Outcome::Returned(Some(json)), .. } if json == "1" => Ok(()),
            other => Err(Broken::Failed(format!("a trial call gave {other:?}"))),
        }
    }

    /// Runs `main` of a source, when it is this team's turn.
    ///
    /// # Errors
    /// What is wrong with the source, or the limit that it reached.
    pub async fn call(
        &self,
        owner: &Owner,
        frame: CallFrame,
        events: &mut impl Events,
    ) -> Result<Ended, CodeError> {
        check_size(&frame.program)?;
        if frame.arguments.len() > ARGUMENT_BYTES {
            return Err(CodeError::Limit(Limit::Arguments));
        }
        let limits = frame.limits;
        let (answer, wall) = self.run(owner, &ToWorker::Call(Box::new(frame)), &limits, events).await?;
        let FromWorker::Done { outcome, cpu_us } = answer else {
            return Err(CodeError::Failed(format!("a worker says {answer:?} to a call")));
        };
        match outcome {
            Outcome::Exceeded(limit) => Err(CodeError::Limit(limit)),
            Outcome::Refused(problem) => Err(CodeError::of_source(problem)),
            outcome => Ok(Ended { outcome, wall, cpu: Duration::from_micros(cpu_us) }),
        }
    }

    /// Looks at a source without running it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn check(&self, owner: &Owner, program: &Program) -> Result<Outline, CodeError> {
        check_size(program)?;
        let message = ToWorker::Check { program: program.clone(), limits: CHECK };
        match self.run(owner, &message, &CHECK, &mut Silent).await?.0 {
            FromWorker::Checked(looked) => looked.map_err(CodeError::of_source),
            other => Err(CodeError::Failed(format!("a worker says {other:?} to a source"))),
        }
    }

    /// Ends processes that have been idle for long, until it is dropped.
    pub async fn tidy(self) {
        let age = self.inner.settings.idle();
        loop {
            tokio::time::sleep((age / 2).max(Duration::from_millis(50))).await;
            let old = self.inner.idle.lock().older_than(age);
            // Ending one waits for nothing, but not under the lock either.
            drop(old);
        }
    }

    fn program(&self) -> &Path {
        &self.inner.program
    }

    async fn run(
        &self,
        owner: &Owner,
        message: &ToWorker,
        limits: &Limits,
        events: &mut impl Events,
    ) -> Result<(FromWorker, Duration), CodeError> {
        if !self.inner.settings.enabled {
            return Err(CodeError::Disabled);
        }
        let turn = timeout(self.inner.settings.wait(), self.inner.queue.enter(&owner.team)).await;
        let _place: Place = match turn {
            Ok(Ok(place)) => place,
            Ok(Err(queue::Full)) | Err(_) => return Err(CodeError::Limit(Limit::Concurrency)),
        };
        let _busy = Busy::new(&self.inner.busy);
        let mut worker = self.worker(owner).await?;
        let began = Instant::now();
        let answer = worker.ask(message, limits, events).await;
        let wall = began.elapsed();
        let answer = answer.map_err(CodeError::of_process)?;
        worker.calls += 1;
        let spent = match &answer {
            FromWorker::Done { outcome, cpu_us } => {
                worker.cpu += Duration::from_micros(*cpu_us);
                matches!(outcome, Outcome::Exceeded(_))
            }
            FromWorker::Checked(looked) => matches!(looked, Err(Problem::Limit(_))),
            _ => true,
        };
        let settings = &self.inner.settings;
        if !spent && worker.calls < settings.calls_per_worker && worker.cpu < CPU_PER_WORKER {
            self.inner.idle.lock().put(owner.clone(), worker);
        }
        Ok((answer, wall))
    }

    /// A process of this owner: one that is idle, or a new one, for which the longest idle one of somebody goes
    /// where there are as many as there may be.
    async fn worker(&self, owner: &Owner) -> Result<Worker, CodeError> {
        loop {
            let taken = self.inner.idle.lock().take(owner);
            let Some(mut worker) = taken else { break };
            // One that died while it was idle is passed over.
            if worker.is_there() {
                return Ok(worker);
            }
        }
        // This call is among the busy ones.
        while self.inner.busy.load(Ordering::Acquire) + self.inner.idle.lock().count()
            > self.inner.settings.max_workers
        {
            let oldest = self.inner.idle.lock().oldest();
            if oldest.is_none() {
                break;
            }
        }
        metrics::counter!("sre_code_workers_started_total").increment(1);
        Worker::start(self.program()).await.map_err(CodeError::of_process)
    }

    /// The processes that run code and are idle, as they are known outside.
    #[doc(hidden)]
    pub fn idle_pid(&self, owner: &Owner) -> Option<u32> {
        let mut idle = self.inner.idle.lock();
        let worker = idle.take(owner)?;
        let pid = worker.pid();
        idle.put(owner.clone(), worker);
        Some(pid)
    }
}

fn check_size(program: &Program) -> Result<(), CodeError> {
    let is_too_large = match program {
        // Counting characters is not needed where there are fewer bytes.
        Program::Script(source) => source.len() > SOURCE_CHARS && source.chars().count() > SOURCE_CHARS,
        Program::Component(_) if !sre_sandbox::COMPONENTS => {
            return Err(CodeError::NoComponents);
        }
        Program::Component(component) => component.len() > COMPONENT_BYTES,
    };
    if is_too_large { Err(CodeError::Limit(Limit::Source)) } else { Ok(()) }
}

/// Counts a call among the busy ones while it lasts.
struct Busy<'c>(&'c AtomicUsize);

impl<'c> Busy<'c> {
    fn new(count: &'c AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Nobody listens, and nothing is reached.
pub struct Silent;

impl Events for Silent {
    async fn log(&mut self, _level: String, _text: String) -> Result<(), Gone> {
        Ok(())
    }

    async fn http(&mut self, _ask: HttpAsk, _within: Duration) -> HttpAnswer {
        HttpAnswer::Failed("no host may be reached".to_owned())
    }
}
