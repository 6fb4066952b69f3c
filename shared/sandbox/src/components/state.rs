//! What a component reaches outside through, and what it has taken.

use wasmtime::component::Linker;
use wasmtime::{ResourceLimiter, Result, bail};

use crate::interpreter::{Meter, Outside};
use crate::limits::Limit;
use crate::protocol::{CallFrame, HttpAnswer, HttpAsk};

/// The largest body that code sends.
const BODY_BYTES: usize = 1 << 20;
/// Tables hold so many elements in all.
const TABLE_ELEMENTS: usize = 1 << 20;

/// The state of a call.
pub(super) struct State {
    meter: Meter,
    outside: Box<dyn Outside + Send>,
    http_requests: u32,
    memory_bytes: u64,
}

impl State {
    pub(super) fn new(frame: &CallFrame, outside: Box<dyn Outside + Send>) -> Self {
        let meter = Meter::start(frame.limits);
        Self { meter, outside, http_requests: frame.http_requests, memory_bytes: 0 }
    }

    /// The limit that was reached.
    pub(super) fn exceeded(&self) -> Option<Limit> {
        self.meter.exceeded()
    }

    fn log(&self, level: &str, text: &str) -> Result<()> {
        if !self.meter.log(level.len() + text.len()) {
            bail!("too much is logged");
        }
        let level = match level {
            "log" | "info" | "warn" | "error" | "debug" => level,
            _ => "log",
        };
        self.outside.log(level, text);
        Ok(())
    }

    fn http(&self, request: &str) -> Result<String> {
        if !self.meter.ask(self.http_requests) {
            bail!("too many requests");
        }
        let answer = match serde_json::from_str::<HttpAsk>(request) {
            Err(error) => HttpAnswer::Failed(error.to_string()),
            Ok(ask) if ask.body.as_ref().is_some_and(|body| body.len() > BODY_BYTES) => {
                HttpAnswer::Failed(format!("the body has more than {BODY_BYTES} bytes"))
            }
            Ok(ask) => self.outside.http(ask),
        };
        Ok(serde_json::to_string(&answer)?)
    }
}

/// Gives a component what it may call.
pub(super) fn link(linker: &mut Linker<State>, http_requests: u32) -> Result<()> {
    let mut root = linker.root();
    root.func_wrap("log", |store, (level, text): (String, String)| store.data().log(&level, &text))?;
    if http_requests > 0 {
        root.func_wrap("http", |store, (request,): (String,)| Ok((store.data().http(&request)?,)))?;
    }
    Ok(())
}

impl ResourceLimiter for State {
    /// All memories of a component together stay within its limit.
    fn memory_growing(&mut self, current: usize, desired: usize, _most: Option<usize>) -> Result<bool> {
        let more = desired.saturating_sub(current) as u64;
        let all = self.memory_bytes.saturating_add(more);
        if all > self.meter.limits().heap_bytes {
            self.meter.exceed(Limit::Heap);
            bail!("the memory is used up");
        }
        self.memory_bytes = all;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _most: Option<usize>) -> Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }
}
