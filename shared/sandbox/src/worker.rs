//! The process that runs code. It is the suite's own binary under the hidden command `code-worker`, started with
//! two pipes and nothing else; no argument, no variable and no file tells it anything.
//!
//! Two processes in fact: the first makes the namespaces and starts the second inside them, then only waits, so
//! that ending the first ends both.

use std::cell::RefCell;
use std::io;
use std::process::{Command, ExitCode, Stdio};
use std::rc::Rc;

use nix::sys::prctl;
use nix::sys::signal::Signal;

#[cfg(feature = "wasm")]
use crate::components;
use crate::contract::Outline;
use crate::interpreter::{self, Ended, Outside};
use crate::jail;
use crate::limits::Limits;
use crate::protocol::{self, CallFrame, FromWorker, HttpAnswer, HttpAsk, Problem, Program, ToWorker};

/// The hidden command.
pub const COMMAND: &str = "code-worker";
/// What the second process is told.
const INSIDE: &str = "inside";
/// The one variable it has: times are told in UTC, and the zone's file is not looked for later.
const ZONE: (&str, &str) = ("TZ", "UTC0");

/// Is the worker, if the command line says so. To be called first of all: the process must have one thread, and
/// nothing open.
pub fn run_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != COMMAND {
        return None;
    }
    let inside = arguments.next().is_some_and(|argument| argument == INSIDE);
    let ended = if inside { second() } else { first() };
    // A pipe that broke: the parent is gone, and so is whoever could be told.
    Some(ended.unwrap_or(ExitCode::FAILURE))
}

/// Makes the namespaces, starts the second process, waits for it.
fn first() -> io::Result<ExitCode> {
    if let Err(refusal) = jail::outer() {
        say(&FromWorker::Refused(refusal))?;
        return Ok(ExitCode::FAILURE);
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.args([COMMAND, INSIDE]).env_clear().env(ZONE.0, ZONE.1).stderr(Stdio::null());
    let mut child = command.spawn()?;
    say(&FromWorker::Started { pid: child.id() })?;
    let status = child.wait()?;
    // As shells tell it: the parent learns which signal ended the second process.
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    let code = signal.map_or(status.code().unwrap_or(1), |signal| 128 + signal);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// Gives everything up and runs what it is told.
fn second() -> io::Result<ExitCode> {
    // The first process is its only way to be ended from outside.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // Once with everything at hand, so that nothing is looked for later: the zone, the seeds of tables.
    let warm = "async function main() { return new Date().getTimezoneOffset() + Math.random() }";
    let frame = CallFrame {
        program: Program::Script(warm.to_owned()),
        arguments: "{}".to_owned(),
        limits: Limits::DEFAULT,
        http_requests: 0,
    };
    drop(interpreter::call(warm, &frame, Rc::new(Pipes::new())));
    if let Err(refusal) = jail::inner() {
        say(&FromWorker::Refused(refusal))?;
        return Ok(ExitCode::FAILURE);
    }
    say(&FromWorker::Ready)?;
    let pipes = Rc::new(Pipes::new());
    let mut programs = Programs::default();
    while let Some(told) = pipes.hear()? {
        let spent = match told {
            ToWorker::Call(frame) => {
                let ended = programs.call(&frame, &pipes);
                say(&FromWorker::Done { outcome: ended.outcome, cpu_us: ended.cpu_us })?;
                ended.spent
            }
            ToWorker::Check { program, limits } => {
                let looked = programs.check(&program, limits);
                let spent = matches!(looked, Err(protocol::Problem::Limit(_)));
                say(&FromWorker::Checked(looked))?;
                spent
            }
            // Nobody asked.
            ToWorker::Http(_) => true,
        };
        if spent {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What runs programs of each kind.
#[derive(Default)]
struct Programs {
    #[cfg(feature = "wasm")]
    compiled: components::Compiled,
}

impl Programs {
    fn call(&mut self, frame: &CallFrame, pipes: &Rc<Pipes>) -> Ended {
        match &frame.program {
            Program::Script(source) => interpreter::call(source, frame, Rc::clone(pipes) as Rc<dyn Outside>),
            #[cfg(feature = "wasm")]
            Program::Component(component) => {
                components::call(&mut self.compiled, component, frame, Box::new(Pipes::new()))
            }
            #[cfg(not(feature = "wasm"))]
            Program::Component(_) => {
                Ended { outcome: protocol::Outcome::Refused(Problem::NoComponents), cpu_us: 0, spent: false }
            }
        }
    }

    fn check(&mut self, program: &Program, limits: Limits) -> Result<Outline, Problem> {
        match program {
            Program::Script(source) => interpreter::check(source, limits),
            #[cfg(feature = "wasm")]
            Program::Component(component) => components::check(&mut self.compiled, component, limits),
            #[cfg(not(feature = "wasm"))]
            Program::Component(_) => Err(Problem::NoComponents),
        }
    }
}

fn say(message: &FromWorker) -> io::Result<()> {
    protocol::write(&mut io::stdout().lock(), message)
}

/// The two pipes.
struct Pipes {
    from: RefCell<io::Stdin>,
}

impl Pipes {
    fn new() -> Self {
        Self { from: RefCell::new(io::stdin()) }
    }

    fn hear(&self) -> io::Result<Option<ToWorker>> {
        protocol::read(&mut *self.from.borrow_mut())
    }
}

impl Outside for Pipes {
    fn log(&self, level: &str, text: &str) {
        let line = FromWorker::Log { level: level.to_owned(), text: text.to_owned() };
        // Where the parent is gone, there is nobody to tell.
        drop(say(&line));
    }

    fn http(&self, ask: HttpAsk) -> HttpAnswer {
        let answered = say(&FromWorker::Http(ask)).and_then(|()| self.hear());
        match answered {
            Ok(Some(ToWorker::Http(answer))) => answer,
            Ok(_) => HttpAnswer::Failed("the request was given up".to_owned()),
            Err(error) => HttpAnswer::Failed(error.to_string()),
        }
    }
}
