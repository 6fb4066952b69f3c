//! What a call may take.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

const MIB: u64 = 1 << 20;
const KIB: u64 = 1 << 10;

/// The longest source, in characters.
pub const SOURCE_CHARS: usize = 500_000;
/// The largest component, in bytes. It travels in one message.
pub const COMPONENT_BYTES: usize = 3 << 20;
/// The largest result as JSON, in bytes.
pub const RESULT_BYTES: u64 = MIB;
/// The most that a call may log, in bytes.
pub const LOG_BYTES: u64 = 256 * KIB;
/// The largest arguments as JSON, in bytes. What is larger does not fit a message of the suite either.
pub const ARGUMENT_BYTES: usize = 4 << 20;

/// A limit by name: what `metadata.limit` of an error says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Time by the clock on the wall.
    Wall,
    /// Time of the processor.
    Cpu,
    /// Memory of the interpreter.
    Heap,
    /// Depth of calls.
    Stack,
    /// Length of the source.
    Source,
    /// Size of the arguments.
    Arguments,
    /// What was logged.
    Logs,
    /// Size of the result.
    Result,
    /// Calls of a team that run or wait.
    Concurrency,
    /// Requests to the network in one call.
    Http,
}

impl Limit {
    /// Every limit.
    pub const ALL: [Self; 10] = [
        Self::Wall,
        Self::Cpu,
        Self::Heap,
        Self::Stack,
        Self::Source,
        Self::Arguments,
        Self::Logs,
        Self::Result,
        Self::Concurrency,
        Self::Http,
    ];

    /// Its name, which is stable.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wall => "wall",
            Self::Cpu => "cpu",
            Self::Heap => "heap",
            Self::Stack => "stack",
            Self::Source => "source",
            Self::Arguments => "arguments",
            Self::Logs => "logs",
            Self::Result => "result",
            Self::Concurrency => "concurrency",
            Self::Http => "http",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What one call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Time by the clock on the wall, in milliseconds.
    pub wall_ms: u64,
    /// Time of the processor, in milliseconds.
    pub cpu_ms: u64,
    /// Memory of the interpreter, in bytes.
    pub heap_bytes: u64,
    /// Depth of calls, in bytes of the stack.
    pub stack_bytes: u64,
    /// What it may log, in bytes.
    pub log_bytes: u64,
    /// Its result as JSON, in bytes.
    pub result_bytes: u64,
}

impl Limits {
    /// What a call gets that asks for nothing.
    pub const DEFAULT: Self = Self {
        wall_ms: 5_000,
        cpu_ms: 2_000,
        heap_bytes: 64 * MIB,
        stack_bytes: 256 * KIB,
        log_bytes: LOG_BYTES,
        result_bytes: RESULT_BYTES,
    };

    /// The most that a call may ask for.
    pub const MAX: Self = Self {
        wall_ms: 60_000,
        cpu_ms: 30_000,
        heap_bytes: 256 * MIB,
        stack_bytes: MIB,
        log_bytes: LOG_BYTES,
        result_bytes: RESULT_BYTES,
    };

    /// Time by the clock on the wall.
    pub fn wall(&self) -> Duration {
        Duration::from_millis(self.wall_ms)
    }

    /// Time of the processor.
    pub fn cpu(&self) -> Duration {
        Duration::from_millis(self.cpu_ms)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_reads_as_it_is_named() {
        for limit in Limit::ALL {
            assert_eq!(serde_json::to_value(limit).unwrap(), limit.name());
        }
    }

    #[test]
    fn the_defaults_are_within_the_most() {
        let (default, max) = (Limits::DEFAULT, Limits::MAX);
        assert!(default.wall_ms <= max.wall_ms && default.cpu_ms <= max.cpu_ms);
        assert!(default.heap_bytes <= max.heap_bytes && default.stack_bytes <= max.stack_bytes);
    }
}
