//! Components that a worker has compiled. It serves one agent, whose components are few.

use std::collections::VecDeque;

use wasmtime::component::Component;
use wasmtime::{Config, Engine};

use super::words;
use crate::limits::Limits;
use crate::protocol::Problem;

/// So many are kept.
const KEPT: usize = 4;
/// What the interpreter itself needs of the stack.
const HOST_STACK_BYTES: usize = 1 << 20;

/// The last compiled components, latest first.
#[derive(Default)]
pub struct Compiled {
    kept: VecDeque<Kept>,
}

struct Kept {
    bytes: Vec<u8>,
    /// An engine has one depth of calls.
    stack_bytes: u64,
    engine: Engine,
    component: Component,
}

impl Compiled {
    /// A component, compiled now or before.
    pub(super) fn get(&mut self, bytes: &[u8], limits: &Limits) -> Result<(Engine, Component), Problem> {
        let known = self
            .kept
            .iter()
            .position(|kept| kept.stack_bytes == limits.stack_bytes && kept.bytes == bytes)
            .and_then(|at| self.kept.remove(at));
        let kept = match known {
            Some(kept) => kept,
            None => compile(bytes, limits).map_err(|error| Problem::Component(words(&error)))?,
        };
        let found = (kept.engine.clone(), kept.component.clone());
        self.kept.truncate(KEPT - 1);
        self.kept.push_front(kept);
        Ok(found)
    }
}

fn compile(bytes: &[u8], limits: &Limits) -> wasmtime::Result<Kept> {
    let engine = Engine::new(&config(limits)?)?;
    // Of the binary form only: the text form is for people.
    let component = Component::from_binary(&engine, bytes)?;
    Ok(Kept { bytes: bytes.to_vec(), stack_bytes: limits.stack_bytes, engine, component })
}

/// Everything that would ask the kernel for more than memory is off: no signals, no guard pages, no files mapped, no
/// code that the processor runs by itself.
fn config(limits: &Limits) -> wasmtime::Result<Config> {
    let stack = usize::try_from(limits.stack_bytes).unwrap_or(HOST_STACK_BYTES);
    let mut config = Config::new();
    config
        .target(if cfg!(target_endian = "little") { "pulley64" } else { "pulley64be" })?
        .wasm_component_model(true)
        .consume_fuel(true)
        .signals_based_traps(false)
        .memory_reservation(0)
        .memory_guard_size(0)
        .memory_reservation_for_growth(0)
        .memory_init_cow(false)
        .max_wasm_stack(stack)
        .async_stack_size(stack + HOST_STACK_BYTES);
    Ok(config)
}
