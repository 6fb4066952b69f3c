//! What stops a call.

use rquickjs::{CaughtError, Coerced, Ctx, Error, Object, Value};

use super::Meter;
use crate::contract::Outline;
use crate::limits::Limit;
use crate::protocol::{Problem, Thrown};

/// The longest message of an error, in bytes, and the longest stack.
const MESSAGE_BYTES: usize = 8 << 10;
const STACK_BYTES: usize = 16 << 10;

/// Why a call does not go on.
#[derive(Debug)]
pub(super) enum Stop {
    /// Code threw.
    Threw(Thrown),
    /// The source asks for a module, of which there is none.
    Import(Outline, Thrown),
    /// The source is not what it should be.
    Refused(Problem),
    /// A limit was reached.
    Exceeded(Limit),
}

impl Stop {
    /// What an error of the interpreter means. The limits that it knows itself, memory and depth, are told from
    /// what code throws by what QuickJS calls them.
    pub(super) fn of(ctx: &Ctx<'_>, error: Error, meter: &Meter) -> Self {
        if matches!(error, Error::Allocation) {
            meter.exceed(Limit::Heap);
        }
        // The exception is taken in any case, so that it is not there for what follows.
        let caught = CaughtError::from_error(ctx, error);
        if let Some(limit) = meter.exceeded() {
            return Self::Exceeded(limit);
        }
        let thrown = match caught {
            CaughtError::Exception(exception) => thrown(exception.as_object()),
            // What QuickJS throws where there is no memory left for an error. Code that throws it itself is told
            // the same.
            CaughtError::Value(value) if value.is_null() => {
                meter.exceed(Limit::Heap);
                return Self::Exceeded(Limit::Heap);
            }
            CaughtError::Value(value) => {
                Thrown { name: "Error".to_owned(), message: text(&value), stack: None }
            }
            CaughtError::Error(error) => {
                Thrown { name: "Error".to_owned(), message: error.to_string(), stack: None }
            }
        };
        let reached = match (thrown.name.as_str(), thrown.message.as_str()) {
            ("InternalError", "out of memory") => Some(Limit::Heap),
            ("RangeError", "Maximum call stack size exceeded") => Some(Limit::Stack),
            // Getters of what was thrown are code too.
            _ => meter.exceeded(),
        };
        match reached {
            Some(limit) => {
                meter.exceed(limit);
                Self::Exceeded(limit)
            }
            None => Self::Threw(thrown),
        }
    }
}

fn thrown(error: &Object<'_>) -> Thrown {
    let member = |name: &str| {
        let value = error.get::<_, Option<Coerced<String>>>(name).ok().flatten();
        if error.ctx().has_exception() {
            drop(error.ctx().catch());
        }
        value.map(|text| text.0)
    };
    Thrown {
        name: cut(member("name").unwrap_or_else(|| "Error".to_owned()), 256),
        message: cut(member("message").unwrap_or_default(), MESSAGE_BYTES),
        stack: member("stack").filter(|stack| !stack.is_empty()).map(|stack| cut(stack, STACK_BYTES)),
    }
}

fn text(value: &Value<'_>) -> String {
    let ctx = value.ctx();
    let text = match value.as_string() {
        Some(text) => text.to_string().ok(),
        None => ctx.json_stringify(value.clone()).ok().flatten().and_then(|json| json.to_string().ok()),
    };
    if ctx.has_exception() {
        drop(ctx.catch());
    }
    cut(text.unwrap_or_else(|| "undefined".to_owned()), MESSAGE_BYTES)
}

fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
    }
    text
}
