//! A server on this machine that speaks the wire formats of model providers, for tests.
//!
//! What it is to answer is one description ([`Scenario`]), whatever the format: named by the header
//! `x-fake-scenario` (a name of [`named::all`], or JSON), or queued before. Without either it answers with what it was
//! asked, the same each time. It keeps every request, and a ledger of what each key used.

pub mod answer;
pub mod embeddings;
pub mod images;
pub mod named;
pub mod oauth;
pub mod scenario;
pub mod sigv4;
pub mod wires;

mod admin;
mod deliver;
mod files;
mod routes;
mod server;
mod state;

pub use routes::{Endpoint, endpoint};
pub use scenario::{Framing, Order, Refuse, Scenario, Step, ToolCall, Usage, UsageStyle};
pub use server::{Connection, FakeProvider};
pub use state::{Ended, Load, Recorded, State, Totals, Used};
