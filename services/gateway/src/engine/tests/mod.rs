//! Two engines over one memory: real stores, layers and links in one process.

mod approvals;
mod calls;
mod cancelled;
mod control;
mod conversations;
mod debugger;
mod debugger_headers;
pub(crate) mod documents;
mod external;
mod external_server;
mod history;
mod llm;
mod recovery;
mod server;
mod slots;
mod triggers;
mod uncertain;
mod waits;
mod watching;
mod world;
