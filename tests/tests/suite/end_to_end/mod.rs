//! What people do with a running suite, in one process and split, with the same code.

mod agents;
mod canary;
mod data;
mod drain;
mod http_door;
mod keys;
mod operation;
mod runs;
mod smoke;
