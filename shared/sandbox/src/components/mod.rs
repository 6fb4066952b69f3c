//! How WebAssembly components run: interpreted, since a worker has no memory that can be executed, in a fresh store
//! per call, with text in and out.
//!
//! A component is of the world
//!
//! ```wit
//! package sre:code;
//!
//! world code {
//!   import log: func(level: string, text: string);
//!   import http: func(request: string) -> string;
//!   export main: func(arguments: string) -> result<string, string>;
//! }
//! ```
//!
//! `arguments` is a JSON object, the result JSON, and its error the message of what was thrown. `http` takes and gives
//! the JSON of [`HttpAsk`](crate::protocol::HttpAsk) and [`HttpAnswer`](crate::protocol::HttpAnswer), and is there
//! where the call may ask the network. Whatever else a component imports is there too, and ends the call when it is
//! called: toolchains import a whole system that code then hardly uses.

mod compiled;
mod state;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use serde_json::value::RawValue;
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store, Trap};

use crate::contract::Outline;
use crate::interpreter::{Ended, Meter, Outside};
use crate::limits::{Limit, Limits};
use crate::protocol::{CallFrame, Outcome, Problem, Thrown};
use state::State;

pub use compiled::Compiled;

/// What a component calls its function.
const MAIN: &str = "main";
/// Steps between two looks at the clock: some milliseconds of them.
const STEPS_PER_LOOK: u64 = 500_000;

/// Runs `main` of a component.
pub fn call(
    compiled: &mut Compiled,
    component: &[u8],
    frame: &CallFrame,
    outside: Box<dyn Outside + Send>,
) -> Ended {
    let meter = Meter::start(frame.limits);
    let outcome = match compiled.get(component, &frame.limits) {
        Ok((engine, component)) => run(&engine, &component, frame, outside, &meter),
        Err(problem) => Outcome::Refused(problem),
    };
    let outcome = match meter.exceeded() {
        // Whatever else came of it: it was stopped.
        Some(limit) => Outcome::Exceeded(limit),
        None => outcome,
    };
    let cpu_us = u64::try_from(meter.cpu().as_micros()).unwrap_or(u64::MAX);
    Ended { spent: matches!(outcome, Outcome::Exceeded(_)), outcome, cpu_us }
}

/// Looks at a component without running it.
///
/// # Errors
/// What is wrong with it.
pub fn check(compiled: &mut Compiled, component: &[u8], limits: Limits) -> Result<Outline, Problem> {
    let (engine, component) = compiled.get(component, &limits)?;
    let instance = linker(&engine, &component, 1)
        .and_then(|linker| linker.instantiate_pre(&component))
        .map_err(|error| Problem::Component(words(&error)))?;
    drop(instance);
    if component.get_export_index(None, MAIN).is_none() {
        return Err(Problem::NoMain);
    }
    Ok(Outline { parameters: vec!["[object]".to_owned()], ..Outline::default() })
}

fn run(
    engine: &Engine,
    component: &Component,
    frame: &CallFrame,
    outside: Box<dyn Outside + Send>,
    meter: &Meter,
) -> Outcome {
    let mut store = Store::new(engine, State::new(frame, outside));
    let ended = match prepare(engine, component, frame, &mut store) {
        Ok(linker) => drive(&linker, component, frame, &mut store, meter),
        Err(error) => Some(Err(error)),
    };
    if let Some(limit) = store.data().exceeded() {
        meter.exceed(limit);
    }
    match ended {
        // The clock stopped it; the meter knows.
        None => Outcome::Exceeded(meter.exceeded().unwrap_or(Limit::Wall)),
        Some(Ok(Ok(text))) => returned(text, meter),
        Some(Ok(Err(message))) => threw("Error", message),
        Some(Err(error)) => failed(&error, meter),
    }
}

fn prepare(
    engine: &Engine,
    component: &Component,
    frame: &CallFrame,
    store: &mut Store<State>,
) -> wasmtime::Result<Linker<State>> {
    store.limiter(|state| state);
    // Steps are not counted against it, but looked at in between.
    store.set_fuel(u64::MAX)?;
    store.fuel_async_yield_interval(Some(STEPS_PER_LOOK))?;
    linker(engine, component, frame.http_requests)
}

fn linker(engine: &Engine, component: &Component, http_requests: u32) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    state::link(&mut linker, http_requests)?;
    linker.define_unknown_imports_as_traps(component)?;
    Ok(linker)
}

type Answer = wasmtime::Result<Result<String, String>>;

/// Runs a call to its end, or until the clock stops it.
fn drive(
    linker: &Linker<State>,
    component: &Component,
    frame: &CallFrame,
    store: &mut Store<State>,
    meter: &Meter,
) -> Option<Answer> {
    let call = async {
        let instance = linker.instantiate_async(&mut *store, component).await?;
        let main = instance.get_typed_func::<(&str,), (Result<String, String>,)>(&mut *store, MAIN)?;
        let (answer,) = main.call_async(&mut *store, (frame.arguments.as_str(),)).await?;
        Ok(answer)
    };
    let mut call = pin!(call);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match call.as_mut().poll(&mut context) {
            Poll::Ready(answer) => return Some(answer),
            Poll::Pending if meter.over() => return None,
            Poll::Pending => {}
        }
    }
}

fn returned(text: String, meter: &Meter) -> Outcome {
    if text.len() as u64 > meter.limits().result_bytes {
        meter.exceed(Limit::Result);
        return Outcome::Exceeded(Limit::Result);
    }
    if text.is_empty() {
        return Outcome::Returned(None);
    }
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(_) => Outcome::Returned(Some(text)),
        Err(error) => threw("TypeError", format!("main gave text that is not JSON: {error}")),
    }
}

fn failed(error: &wasmtime::Error, meter: &Meter) -> Outcome {
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => {
            meter.exceed(Limit::Stack);
            Outcome::Exceeded(Limit::Stack)
        }
        Some(trap) => threw("RuntimeError", trap.to_string()),
        None => threw("Error", words(error)),
    }
}

fn threw(name: &str, message: String) -> Outcome {
    Outcome::Threw(Thrown { name: name.to_owned(), message: cut(message), stack: None })
}

fn words(error: &wasmtime::Error) -> String {
    cut(format!("{error:#}"))
}

/// The longest message of an error, in bytes.
const MESSAGE_BYTES: usize = 8 << 10;

fn cut(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES {
        let end = (0..=MESSAGE_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests;
