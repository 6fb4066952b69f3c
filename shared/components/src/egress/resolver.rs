//! Name resolution that gives the connector permitted addresses only.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::error::ResolveError;
use super::policy::Policy;

/// Resolves for connections to one port, so that a rule for another port does not open this one.
pub(super) struct CheckedResolver {
    policy: Arc<Policy>,
    port: Port,
    lookup: Lookup,
}

/// The port a client connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// This one, which some rule names.
    Named(u16),
    /// Any that no rule names.
    Other,
}

/// What names resolve to.
pub(super) type Answers = Arc<dyn Fn(&str) -> Vec<IpAddr> + Send + Sync>;

/// The system's resolver, or a table of names.
#[derive(Clone, Default)]
pub(super) enum Lookup {
    #[default]
    System,
    Fixed(Answers),
}

impl CheckedResolver {
    pub(super) fn new(policy: Arc<Policy>, port: Port, lookup: Lookup) -> Self {
        Self { policy, port, lookup }
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.policy.clone();
        let lookup = self.lookup.clone();
        // A rule without a port covers every port; 0 stands for one that no rule names.
        let port = match self.port {
            Port::Named(port) => port,
            Port::Other => 0,
        };
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = lookup.addresses(&host).await?;
            let allowed: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| policy.permits(&host, *address, port))
                // The connector fills in the port of the URL.
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            if allowed.is_empty() {
                return Err(ResolveError::Refused.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

impl Lookup {
    pub(super) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let found: Vec<IpAddr> = match self {
            Self::System => {
                let found = tokio::net::lookup_host((host, 0)).await;
                found.map_err(|_| ResolveError::NotFound)?.map(|address| address.ip()).collect()
            }
            Self::Fixed(answer) => answer(host),
        };
        if found.is_empty() {
            return Err(ResolveError::NotFound);
        }
        Ok(found)
    }
}
