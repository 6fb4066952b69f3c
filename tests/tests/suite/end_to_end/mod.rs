//! What people do with a running suite, in one process and split, with the same code.

mod agents;
mod approvals;
mod canary;
mod connectors;
mod data;
mod debugger;
mod drain;
mod fork_replay;
mod http_door;
mod keys;
mod operation;
mod pause;
mod runs;
mod smoke;
mod sse;
mod typed_result;
mod validate;
