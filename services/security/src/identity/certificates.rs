//! Certificates, where this deployment has an authority of its own. Where SPIRE or a mesh issues them, there is
//! none, and the calls say so.

use std::sync::Arc;
use std::time::Duration;

use sre_identity::ca::{Authority, CaError, LOCAL_NAMES};
use sre_identity::{Principal, TrustDomain};
use sre_proto::error::Reason;
use sre_service::first_start::Identities;

use crate::error::Error;
use crate::moment::Moment;

/// Signs requests.
#[derive(Clone)]
pub struct Certificates(Arc<Inner>);

struct Inner {
    files: Identities,
    trust_domain: TrustDomain,
    dns_names: Vec<String>,
    lifetime: Duration,
}

/// A signed certificate.
pub struct Issued {
    /// The certificate.
    pub pem: String,
    /// When it ends.
    pub ends: Moment,
}

impl Certificates {
    /// Reads nothing yet: files may be replaced while the role runs.
    pub fn new(
        files: Identities,
        trust_domain: TrustDomain,
        dns_names: Vec<String>,
        lifetime: Duration,
    ) -> Self {
        Self(Arc::new(Inner { files, trust_domain, dns_names, lifetime }))
    }

    /// Signs a request for this principal. Names of hosts are the configured ones, whatever the request says.
    pub async fn issue(&self, request_pem: String, principal: Principal) -> Result<Issued, Error> {
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let authority = inner.authority()?;
            let names: Vec<&str> =
                LOCAL_NAMES.into_iter().chain(inner.dns_names.iter().map(String::as_str)).collect();
            let ends = Moment::now().plus(inner.lifetime);
            match authority.sign_request(&request_pem, &principal, &names, inner.lifetime) {
                Ok(pem) => Ok(Issued { pem, ends }),
                Err(error @ CaError::Identity(_)) => {
                    Err(Error::denied(Reason::MethodNotAllowed, error.to_string()))
                }
                Err(error) => Err(Error::invalid("request_pem", error.to_string())),
            }
        })
        .await
    }
}

impl Inner {
    fn authority(&self) -> Result<Authority, Error> {
        let folder = self.files.folder();
        if !Authority::exists(folder) {
            let message = "this deployment has no certificate authority of its own: ask SPIRE or the mesh, or run \
                           `sre certs init`";
            return Err(Error::Precondition(message.to_owned()));
        }
        Authority::load(folder, &self.trust_domain).map_err(|error| Error::Internal(error.to_string()))
    }
}

async fn blocking<T, F>(work: F) -> Result<T, Error>
where
    F: FnOnce() -> Result<T, Error> + Send + 'static,
    T: Send + 'static,
{
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Error::Internal("the certificate's thread was given up".to_owned())))
}
