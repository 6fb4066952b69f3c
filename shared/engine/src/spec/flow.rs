//! How the engine treats a component.

/// How the engine treats a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Executed by the driver when its inputs are there.
    Plain,
    /// An entry point; settled by the engine.
    Endpoint,
    /// Shapes the answer; settled by the engine.
    Output,
    /// Runs its body once per element; settled by the engine.
    Loop,
    /// An entry point for what happens outside: what it collected is its request, and what follows runs once for
    /// each payload. Settled by the engine.
    Trigger,
    /// Runs its body once per element, several at a time; settled by the engine.
    Map,
    /// Runs its body as long as a condition holds; settled by the engine.
    While,
    /// Runs its body until it succeeds; settled by the engine, but for the pauses, which the driver executes.
    Retry,
    /// Runs its body once and handles what fails; settled by the engine.
    Catch,
    /// Starts a job; executed by the driver.
    Async,
    /// Waits for jobs; executed by the driver.
    Await,
    /// A note on the canvas: never runs.
    Inert,
}

impl Flow {
    /// Whether the component has a body that the engine runs.
    pub const fn has_body(self) -> bool {
        matches!(self, Self::Loop | Self::Trigger | Self::Map | Self::While | Self::Retry | Self::Catch)
    }

    /// The outputs of a component with a body that are delivered when it has ended; all others go to the body.
    pub(crate) const fn results(self) -> &'static [&'static str] {
        match self {
            Self::Map => &["Result", "Errors", "_error"],
            Self::While => &["Result", "Iterations", "_error"],
            Self::Retry => &["Result", "Attempts", "Errors", "_error"],
            Self::Catch => &["Result", "Error", "Message", "_error"],
            _ => &["Result", "_error"],
        }
    }
}
