//! One process of the sandbox, from outside.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use sre_sandbox::Limits;
use sre_sandbox::limits::Limit;
use sre_sandbox::protocol::{self, FromWorker, HttpAnswer, HttpAsk, Refusal, ToWorker};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, timeout};

use super::processor;

/// How long a process may take to give everything up.
const START: Duration = Duration::from_secs(20);
/// How much longer than its limits a call may take that does not stop by itself: in a built-in function, the
/// interpreter looks at no clock.
const GRACE: Duration = Duration::from_millis(250);
/// How often the processor time of a call is looked at from outside.
const LOOK: Duration = Duration::from_millis(100);
/// How long the end of a process is waited for that has closed its pipe.
const END: Duration = Duration::from_secs(2);

/// What a call says on its way.
pub trait Events: Send {
    /// It logged a line. An error ends the call: nobody listens any more.
    fn log(&mut self, level: String, text: String) -> impl Future<Output = Result<(), Gone>> + Send;

    /// It asks for something of the network, and waits so long at most.
    fn http(&mut self, ask: HttpAsk, within: Duration) -> impl Future<Output = HttpAnswer> + Send;
}

/// Nobody waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// Why there is no answer. The process is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// It was ended because a call took too much.
    #[error("the process was ended at the limit {0}")]
    Limit(Limit),
    /// It made a system call that is not listed.
    #[error("the process made a system call that is not listed")]
    Violation,
    /// The kernel refuses a part of the jail.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nobody waits for the answer.
    #[error("nobody waits for the answer")]
    Gone,
    /// Anything else.
    #[error("the process failed: {0}")]
    Failed(String),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// A process that waits for calls. Dropping it ends it.
pub struct Worker {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
    /// Under which id the process that runs code is known outside.
    pid: u32,
    /// The same, for ending it: an id may be another process's by then.
    handle: Option<OwnedFd>,
    /// Calls that it ran.
    pub calls: u32,
    /// What they took of the processor.
    pub cpu: Duration,
}

impl Worker {
    /// Starts one, and returns when it has given everything up.
    ///
    /// # Errors
    /// [`Broken::Refused`] if the kernel refuses a part of that.
    pub async fn start(program: &Path) -> Result<Self, Broken> {
        let mut command = Command::new(program);
        command.arg(sre_sandbox::worker::COMMAND).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command
            .spawn()
            .map_err(|error| Broken::Failed(format!("{} cannot be started: {error}", program.display())))?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Broken::Failed("it has no pipes".to_owned()));
        };
        let mut worker = Self { child, to, from, pid: 0, handle: None, calls: 0, cpu: Duration::ZERO };
        let started = timeout(START, worker.get_ready()).await;
        started.map_err(|_| Broken::Failed(format!("it was not ready within {START:?}")))??;
        Ok(worker)
    }

    async fn get_ready(&mut self) -> Result<(), Broken> {
        // Two processes say these, in either order.
        let (mut started, mut ready) = (false, false);
        while !(started && ready) {
            match self.hear().await? {
                FromWorker::Started { pid } => {
                    self.pid = pid;
                    let known = i32::try_from(pid).ok().and_then(Pid::from_raw);
                    self.handle = known.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
                    started = true;
                }
                FromWorker::Ready => ready = true,
                FromWorker::Refused(refusal) => return Err(refusal.into()),
                other => return Err(Broken::Failed(format!("it says {other:?} before it is ready"))),
            }
        }
        Ok(())
    }

    /// Whether it is still there.
    pub fn is_there(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The process that runs code, for whoever looks at it from outside.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Tells it something and gives the answer: [`FromWorker::Done`] or [`FromWorker::Checked`]. Ends it where that
    /// takes longer than its limits.
    pub async fn ask(
        &mut self,
        message: &ToWorker,
        limits: &Limits,
        events: &mut impl Events,
    ) -> Result<FromWorker, Broken> {
        let began = Instant::now();
        let cpu_before = processor::time_of(self.pid);
        let over = began + limits.wall() + GRACE;
        let frame = protocol::encode(message)?;
        let answered = async {
            self.to.write_all(&frame).await?;
            loop {
                match hear(&mut self.from).await? {
                    FromWorker::Log { level, text } => {
                        events.log(level, text).await.map_err(|Gone| Broken::Gone)?;
                    }
                    FromWorker::Http(ask) => {
                        let left = limits.wall().saturating_sub(began.elapsed());
                        let answer = events.http(ask, left).await;
                        self.to.write_all(&protocol::encode(&ToWorker::Http(answer))?).await?;
                    }
                    answer @ (FromWorker::Done { .. } | FromWorker::Checked(_)) => return Ok(answer),
                    other => return Err(Broken::Failed(format!("it says {other:?} to a call"))),
                }
            }
        };
        let watched = async {
            // No sooner can it have used its time up.
            tokio::time::sleep(limits.cpu() + GRACE).await;
            loop {
                let used = processor::time_of(self.pid).saturating_sub(cpu_before);
                if used > limits.cpu() + GRACE {
                    return Limit::Cpu;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let answer = tokio::select! {
            answer = answered => answer,
            limit = watched => Err(Broken::Limit(limit)),
            () = tokio::time::sleep_until(over) => Err(Broken::Limit(Limit::Wall)),
        };
        match answer {
            Err(Broken::Failed(cause)) => Err(self.cause(cause).await),
            other => other,
        }
    }

    async fn hear(&mut self) -> Result<FromWorker, Broken> {
        hear(&mut self.from).await
    }

    /// Why its pipe broke: what ended it says so.
    async fn cause(&mut self, said: String) -> Broken {
        let code = match timeout(END, self.child.wait()).await {
            Ok(Ok(status)) => status.code(),
            _ => None,
        };
        match code {
            // 128 and the signal, as shells tell it.
            Some(159) => Broken::Violation,
            Some(139 | 135) => Broken::Limit(Limit::Stack),
            Some(137 | 134) => Broken::Limit(Limit::Heap),
            code => Broken::Failed(format!("{said} (it ended with {code:?})")),
        }
    }
}

impl Drop for Worker {
    /// Ends the process that runs code; the one that waits for it ends by itself then. Ended the other way round, the
    /// first would be left to whoever is the machine's first process, which in a container may be this one.
    fn drop(&mut self) {
        // Either may have ended already.
        if let Some(handle) = &self.handle {
            let _ = pidfd_send_signal(handle, Signal::KILL);
        } else {
            let _ = self.child.start_kill();
        }
    }
}

async fn hear(from: &mut ChildStdout) -> Result<FromWorker, Broken> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await?;
    let mut frame = vec![0; protocol::checked(length)?];
    from.read_exact(&mut frame).await?;
    Ok(protocol::decode(&frame)?)
}
