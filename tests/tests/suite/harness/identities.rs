//! Certificates of any principal, by the suite's own authority, and channels that present them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use sre_identity::ca::{Authority, DEFAULT_LIFETIME, IssuedCert, LOCAL_NAMES};
use sre_identity::{Principal, TrustDomain};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// The authority of a suite, and what it issued.
pub struct Identities {
    authority: Authority,
    issued: Mutex<HashMap<String, IssuedCert>>,
}

impl Identities {
    /// The authority of a folder of certificates.
    pub fn load(certs: &Path) -> Self {
        let domain = TrustDomain::new("sre.local").unwrap();
        Self { authority: Authority::load(certs, &domain).unwrap(), issued: Mutex::default() }
    }

    /// An authority that no suite trusts, for the same trust domain.
    pub fn foreign() -> Self {
        let domain = TrustDomain::new("sre.local").unwrap();
        Self { authority: Authority::create(&domain).unwrap(), issued: Mutex::default() }
    }

    /// The bundle to trust.
    pub fn bundle(&self) -> &str {
        self.authority.certificate_pem()
    }

    /// A certificate for a principal such as `user/alice`; the same one each time.
    pub fn issue(&self, principal: &str) -> IssuedCert {
        let mut issued = self.issued.lock().unwrap();
        let make = || {
            let name: Principal = principal.parse().unwrap();
            self.authority.issue(&name, &LOCAL_NAMES, DEFAULT_LIFETIME).unwrap()
        };
        issued.entry(principal.to_owned()).or_insert_with(make).clone()
    }

    /// What a principal presents, apart from this: for tasks that connect by themselves.
    pub fn tls(&self, principal: &str) -> Tls {
        Tls { bundle: self.bundle().to_owned(), own: self.issue(principal) }
    }

    /// A channel to an address under a principal's certificate.
    pub fn channel(&self, principal: &str, address: &str) -> Channel {
        channel(address, self.bundle(), Some(&self.issue(principal)))
    }
}

/// A principal's certificate, and whom it trusts.
#[derive(Clone)]
pub struct Tls {
    bundle: String,
    own: IssuedCert,
}

impl Tls {
    /// A channel to an address.
    pub fn channel(&self, address: &str) -> Channel {
        channel(address, &self.bundle, Some(&self.own))
    }
}

/// A channel that trusts a bundle and presents a certificate, or none.
pub fn channel(address: &str, bundle: &str, own: Option<&IssuedCert>) -> Channel {
    let mut tls =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(bundle)).domain_name("localhost");
    if let Some(own) = own {
        tls = tls.identity(Identity::from_pem(&own.cert_pem, &own.key_pem));
    }
    Endpoint::from_shared(format!("https://{address}"))
        .unwrap()
        .tls_config(tls)
        .unwrap()
        .connect_timeout(Duration::from_secs(5))
        .connect_lazy()
}
