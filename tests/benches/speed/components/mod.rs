//! Components: what executing one costs in process, and a Map of calls through the engine.

mod map;
mod pure;

// The context in which the components' own tests execute them: everything in memory.
#[path = "../../../../shared/components/tests/suite/calls.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
mod calls;
#[path = "../../../../shared/components/tests/suite/context.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
mod context;
#[path = "../../../../shared/components/tests/suite/driver.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
mod driver;
#[path = "../../../../shared/components/tests/suite/llm.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
mod llm;
#[path = "../../../../shared/components/tests/suite/rag_double.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
mod rag_double;
#[path = "../../../../shared/components/tests/suite/sandbox.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
mod sandbox;
#[path = "../../../../shared/components/tests/suite/world.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
mod world;

/// Measures, and prints.
pub async fn measure() {
    println!("\n## Components\n");
    pure::measure().await;
    map::measure().await;
}
