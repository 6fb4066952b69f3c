//! How code runs: a fresh runtime and context per call, JSON in and out.

mod failure;
mod host;
mod meter;
mod run;

use std::rc::Rc;

use rquickjs::{Context, Runtime};

pub use meter::Meter;

use crate::contract::Outline;
use crate::limits::{Limit, Limits};
use crate::protocol::{CallFrame, HttpAnswer, HttpAsk, Outcome, Problem};
use failure::Stop;

/// What code reaches outside through.
pub trait Outside {
    /// A line that code logged.
    fn log(&self, level: &str, text: &str);

    /// A request to the network, answered in its time.
    fn http(&self, ask: HttpAsk) -> HttpAnswer;
}

/// How a call ended, and what is left of it.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// What it took of the processor, in microseconds.
    pub cpu_us: u64,
    /// The interpreter was stopped in the middle of something: this process must not run further code.
    pub spent: bool,
}

/// Runs `main` of a source, with the arguments of a call.
pub fn call(source: &str, frame: &CallFrame, outside: Rc<dyn Outside>) -> Ended {
    let meter = Rc::new(Meter::start(frame.limits));
    let outcome = match fresh(&meter) {
        Ok((runtime, context)) => {
            let result = context.with(|ctx| run::run(&ctx, source, frame, &meter, outside));
            leave(&meter, runtime, context);
            result
        }
        Err(stop) => Err(stop),
    };
    let outcome = match (outcome, meter.exceeded()) {
        // Whatever else came of it: it was stopped.
        (_, Some(limit)) | (Err(Stop::Exceeded(limit)), None) => Outcome::Exceeded(limit),
        (Ok(result), None) => Outcome::Returned(result),
        (Err(Stop::Threw(thrown) | Stop::Import(_, thrown)), None) => Outcome::Threw(thrown),
        (Err(Stop::Refused(problem)), None) => Outcome::Refused(problem),
    };
    let cpu_us = u64::try_from(meter.cpu().as_micros()).unwrap_or(u64::MAX);
    Ended { spent: matches!(outcome, Outcome::Exceeded(_)), outcome, cpu_us }
}

/// Looks at a source without running it.
///
/// # Errors
/// What is wrong with it.
pub fn check(source: &str, limits: Limits) -> Result<Outline, Problem> {
    let meter = Rc::new(Meter::start(limits));
    let (runtime, context) = fresh(&meter).map_err(|_| Problem::Limit(Limit::Heap))?;
    let looked = context.with(|ctx| run::check(&ctx, source, &meter));
    leave(&meter, runtime, context);
    match meter.exceeded() {
        Some(limit) => Err(Problem::Limit(limit)),
        None => looked,
    }
}

/// A runtime with its limits and a context with nothing but the language.
fn fresh(meter: &Rc<Meter>) -> Result<(Runtime, Context), Stop> {
    let limits = meter.limits();
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let made = || -> rquickjs::Result<(Runtime, Context)> {
        let runtime = Runtime::new()?;
        let context = Context::full(&runtime)?;
        runtime.set_memory_limit(size(limits.heap_bytes));
        runtime.set_max_stack_size(size(limits.stack_bytes));
        let watching = Rc::clone(meter);
        runtime.set_interrupt_handler(Some(Box::new(move || watching.over())));
        Ok((runtime, context))
    };
    made().map_err(|_| Stop::Exceeded(Limit::Heap))
}

/// Frees a runtime, or leaves it to the end of the process where it was stopped in the middle of something: then
/// what it holds may not add up.
fn leave(meter: &Meter, runtime: Runtime, context: Context) {
    if meter.exceeded().is_some() {
        std::mem::forget(context);
        std::mem::forget(runtime);
    }
}

#[cfg(test)]
mod tests;
