//! Components: what executing one costs in process, and a Map of calls through the engine.

mod map;
mod pure;

// The context in which the components' own tests execute them: everything in memory.
#[path = "../../../../shared/components/tests/suite/context.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod context;
#[path = "../../../../shared/components/tests/suite/driver.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod driver;
#[path = "../../../../shared/components/tests/suite/llm.rs"]
mod llm;
#[path = "../../../../shared/components/tests/suite/sandbox.rs"]
mod sandbox;

/// Measures, and prints.
pub async fn measure() {
    println!("\n## Components\n");
    pure::measure().await;
    map::measure().await;
}
