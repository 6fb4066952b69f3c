//! What people do with a running suite, in one process and split, with the same code.

mod agents;
mod approvals;
mod audit;
mod canary;
mod connectors;
mod data;
mod data_components;
mod debugger;
mod drain;
mod files;
mod fork_replay;
mod http_door;
mod keys;
mod oidc;
mod operation;
mod out_of_process;
mod pause;
mod rotation;
mod runs;
mod smoke;
mod sse;
mod typed_result;
mod validate;
mod vault_rotation;
mod vectors;
