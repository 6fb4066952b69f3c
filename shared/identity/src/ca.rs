//! A certificate authority for embedded suites and tests. Where there is SPIRE or a mesh, that issues.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
    SerialNumber,
};
use time::OffsetDateTime;

use crate::spiffe::{Principal, TrustDomain};
use crate::svid::{SvidError, TrustRoots};

/// How long an authority lasts.
pub const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How long a certificate lasts unless asked otherwise; it is renewed long before.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// How far back validity starts, for clocks that differ.
const BACKDATE: Duration = Duration::from_secs(60);

const CERTIFICATE_FILE: &str = "ca.pem";
const KEY_FILE: &str = "ca.key";

/// The names in every certificate of an embedded suite, for clients that verify host names.
pub const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Why an authority fails.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file cannot be read or written.
    #[error("cannot access {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The certificate file is unusable.
    #[error(transparent)]
    Roots(#[from] SvidError),
    /// The files are of another deployment.
    #[error(
        "{path} is not the authority of trust domain {expected}: use its own folder, or configure its domain"
    )]
    TrustDomain {
        /// The certificate.
        path: PathBuf,
        /// The trust domain configured.
        expected: TrustDomain,
    },
    /// A lifetime that cannot be.
    #[error("the lifetime of a certificate is between a second and that of its authority")]
    Lifetime,
    /// A request for somebody else.
    #[error("the request asks for another identity: its one uri name must be {0}")]
    Identity(String),
}

/// A certificate with its private key, in PEM.
#[derive(Clone)]
pub struct IssuedCert {
    /// The certificate.
    pub cert_pem: String,
    /// The private key.
    pub key_pem: String,
}

impl std::fmt::Debug for IssuedCert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IssuedCert")
    }
}

/// A certificate authority of one trust domain.
pub struct Authority {
    trust_domain: TrustDomain,
    certificate_pem: String,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.trust_domain)
    }
}

impl Authority {
    /// Makes a new authority of 10 years.
    pub fn create(trust_domain: &TrustDomain) -> Result<Self, CaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(&format!("{trust_domain} authority"));
        // The trust domain, as SPIFFE wants it; also how `load` knows whose files it reads.
        params.subject_alt_names = vec![uri(&format!("spiffe://{trust_domain}"))?];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(serial());
        let now = OffsetDateTime::now_utc();
        params.not_before = now - BACKDATE;
        params.not_after = now + AUTHORITY_LIFETIME;
        let certificate_pem = params.self_signed(&key)?.pem();
        let key_pem = key.serialize_pem();
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key)?;
        Ok(Self { trust_domain: trust_domain.clone(), certificate_pem, key_pem, issuer })
    }

    /// Writes certificate and key into a folder, the key readable by its owner alone.
    pub fn save(&self, folder: &Path) -> Result<(), CaError> {
        fs::create_dir_all(folder).map_err(|source| CaError::File { path: folder.to_owned(), source })?;
        write_private(&folder.join(KEY_FILE), &self.key_pem)?;
        let path = folder.join(CERTIFICATE_FILE);
        fs::write(&path, &self.certificate_pem).map_err(|source| CaError::File { path, source })
    }

    /// Reads what [`Self::save`] wrote.
    pub fn load(folder: &Path, trust_domain: &TrustDomain) -> Result<Self, CaError> {
        let path = folder.join(CERTIFICATE_FILE);
        let certificate_pem = read(&path)?;
        let key_pem = read(&folder.join(KEY_FILE))?;
        if !is_authority_of(&certificate_pem, trust_domain) {
            return Err(CaError::TrustDomain { path, expected: trust_domain.clone() });
        }
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, KeyPair::from_pem(&key_pem)?)?;
        Ok(Self { trust_domain: trust_domain.clone(), certificate_pem, key_pem, issuer })
    }

    /// Whether a folder holds an authority.
    pub fn exists(folder: &Path) -> bool {
        folder.join(CERTIFICATE_FILE).exists() && folder.join(KEY_FILE).exists()
    }

    /// Whose authority it is.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The authority's certificate: the trust bundle, in PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The trust bundle, ready for use.
    pub fn roots(&self) -> Result<TrustRoots, CaError> {
        Ok(TrustRoots::from_pem(&self.certificate_pem)?)
    }

    /// Issues a certificate with a new key. `names` are DNS names and IP addresses for clients that verify host
    /// names; they carry no identity.
    pub fn issue(
        &self,
        principal: &Principal,
        names: &[&str],
        lifetime: Duration,
    ) -> Result<IssuedCert, CaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let params = self.leaf(principal, names, lifetime)?;
        let cert_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(IssuedCert { cert_pem, key_pem: key.serialize_pem() })
    }

    /// Signs a PKCS #10 request. Of it only the public key is used; its one URI name must be the principal's. DNS
    /// and IP names are taken from `names`, not from the request.
    pub fn sign_request(
        &self,
        request_pem: &str,
        principal: &Principal,
        names: &[&str],
        lifetime: Duration,
    ) -> Result<String, CaError> {
        let mut request = CertificateSigningRequestParams::from_pem(request_pem)?;
        let expected = principal.in_domain(&self.trust_domain);
        let mut uris = request.params.subject_alt_names.iter().filter_map(|name| match name {
            SanType::URI(uri) => Some(uri.as_str()),
            _ => None,
        });
        if (uris.next(), uris.next()) != (Some(expected.as_str()), None) {
            return Err(CaError::Identity(expected.to_string()));
        }
        request.params = self.leaf(principal, names, lifetime)?;
        Ok(request.signed_by(&self.issuer)?.pem())
    }

    /// Signs anything, to test that it is refused.
    #[cfg(test)]
    pub(crate) fn sign_anything(&self, params: &CertificateParams) -> IssuedCert {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let cert_pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        IssuedCert { cert_pem, key_pem: key.serialize_pem() }
    }

    fn leaf(
        &self,
        principal: &Principal,
        names: &[&str],
        lifetime: Duration,
    ) -> Result<CertificateParams, CaError> {
        if lifetime < Duration::from_secs(1) || lifetime > AUTHORITY_LIFETIME {
            return Err(CaError::Lifetime);
        }
        let id = principal.in_domain(&self.trust_domain);
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(&principal.to_string());
        params.subject_alt_names = vec![uri(id.as_str())?];
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(Ia5String::try_from(*name)?),
            });
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial());
        let now = OffsetDateTime::now_utc();
        params.not_before = now - BACKDATE;
        params.not_after = now + lifetime;
        Ok(params)
    }
}

/// Writes a file that only its owner may read, whole or not at all; for private keys.
pub fn write_private(path: &Path, content: &str) -> Result<(), CaError> {
    let error = |source| CaError::File { path: path.to_owned(), source };
    // A new file, so that looser permissions of an old one do not stay.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(&new).map_err(error)?;
    file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(error)?;
    fs::rename(&new, path).map_err(error)
}

fn is_authority_of(certificate_pem: &str, trust_domain: &TrustDomain) -> bool {
    use x509_parser::extensions::GeneralName;
    let expected = format!("spiffe://{trust_domain}");
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(certificate_pem.as_bytes()) else {
        return false;
    };
    let Ok(certificate) = pem.parse_x509() else {
        return false;
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return false;
    };
    certificate.is_ca()
        && names.value.general_names.iter().any(|n| matches!(n, GeneralName::URI(u) if *u == expected))
}

fn read(path: &Path) -> Result<String, CaError> {
    fs::read_to_string(path).map_err(|source| CaError::File { path: path.to_owned(), source })
}

fn uri(text: &str) -> Result<SanType, CaError> {
    Ok(SanType::URI(Ia5String::try_from(text)?))
}

fn distinguished_name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "SRE");
    name.push(DnType::CommonName, common);
    name
}

fn serial() -> SerialNumber {
    SerialNumber::from_slice(sre_proto::ids::new_uuid().as_bytes())
}

#[cfg(test)]
#[path = "ca_tests.rs"]
mod tests;
