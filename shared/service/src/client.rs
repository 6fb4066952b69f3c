//! Links from outside the suite: for the command line and for tools.

use std::sync::Arc;

use sre_identity::SvidSource;

use crate::config::Config;
use crate::link::Link;
use crate::process::{Process, Sockets};
use crate::role::Role;

impl Link {
    /// The way into a suite for a client with an identity of its own. The address comes from `[endpoints]`, or
    /// from the suite that runs on the configuration's data folder.
    pub fn client(config: Arc<Config>, identity: &Arc<SvidSource>, to: Role) -> Self {
        Self::new(&Process::new(config, &[], Sockets::Configured), identity, to)
    }
}
