//! Two engines over one memory: real stores, layers and links in one process.

mod approvals;
mod control;
mod debugger;
mod debugger_headers;
mod documents;
mod history;
mod recovery;
mod server;
mod slots;
mod uncertain;
mod waits;
mod watching;
mod world;
