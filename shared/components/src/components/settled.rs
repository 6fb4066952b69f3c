//! The types that the engine settles itself: APIEndpoint, APIOutput, ForEach, Note and their like. They are in the
//! registry with the others, so that documentation and validation see them.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::spec::{ComponentSpec, Flow, TypeEntry};
use sre_engine::value::{Map, Value};
use sre_engine::{Outcome, PAUSE_INPUT};

use crate::context::{Call, Component};

/// A type of the engine's.
pub struct Settled(pub &'static TypeEntry);

impl Component for Settled {
    fn spec(&self) -> &'static ComponentSpec {
        self.0.spec
    }

    fn entry(&self) -> TypeEntry {
        *self.0
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        if self.0.spec.flow == Flow::Retry {
            return pause(call).boxed();
        }
        // The engine hands none of these out; a driver that executes one has a fault.
        let message = format!("{} is settled by the engine and cannot be executed", call.node.type_name);
        std::future::ready(Outcome::error(message)).boxed()
    }
}

/// All that is executed of a Retry: the pause between two attempts, over which the run may leave memory.
async fn pause(call: Call<'_>) -> Outcome {
    let ms = call.get(PAUSE_INPUT).and_then(Value::to_f64_lenient).unwrap_or(0.0);
    call.context.log(tracing::Level::INFO, &format!("the next attempt follows in {ms} ms"));
    call.context.sleep(Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default()).await;
    if call.context.cancelled().is_cancelled() {
        return Outcome::error("Agent killed");
    }
    Outcome::output(Map::new())
}
