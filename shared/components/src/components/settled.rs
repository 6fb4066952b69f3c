//! The types that the engine settles itself: APIEndpoint, APIOutput, ForEach, Note. They are in the registry
//! like the others, so that documentation and validation see them.

use futures::future::{BoxFuture, FutureExt as _};
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, TypeEntry};

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
        // The engine hands none of these out; a driver that executes one has a fault.
        let message = format!("{} is settled by the engine and cannot be executed", call.node.type_name);
        std::future::ready(Outcome::error(message)).boxed()
    }
}
