//! Connections to backends that speak gRPC.

use std::path::PathBuf;
use std::time::Duration;

use tonic::Code;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::backend::BackendError;

const CONNECT: Duration = Duration::from_secs(5);
/// The longest that a call may take.
const CALL: Duration = Duration::from_secs(20);
/// A peer that vanished is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// The most bytes of an answer: 100 rows with texts, metadata and vectors.
pub const MESSAGE_BYTES: usize = 64 << 20;

/// A channel that connects when it is first used, and again after it broke.
pub fn channel(address: &str, ca: Option<&PathBuf>) -> Result<Channel, BackendError> {
    let failed = |error: &dyn std::fmt::Display| BackendError::Failed(format!("{address}: {error}"));
    let mut endpoint = Endpoint::from_shared(address.to_owned())
        .map_err(|error| failed(&error))?
        .connect_timeout(CONNECT)
        .timeout(CALL)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(CONNECT);
    if address.starts_with("https") {
        let tls = match ca {
            Some(path) => {
                let pem =
                    std::fs::read(path).map_err(|error| failed(&format!("{}: {error}", path.display())))?;
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
            }
            None => ClientTlsConfig::new().with_native_roots(),
        };
        endpoint = endpoint.tls_config(tls).map_err(|error| failed(&error))?;
    }
    Ok(endpoint.connect_lazy())
}

/// A credential as metadata, which logs do not show.
pub fn secret(text: &str) -> Result<MetadataValue<Ascii>, BackendError> {
    let mut value: MetadataValue<Ascii> = text
        .parse()
        .map_err(|_| BackendError::Failed("the credential has characters no header takes".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A request with its deadline and its credential.
pub fn request<T>(
    message: T,
    name: &'static str,
    credential: Option<&MetadataValue<Ascii>>,
) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL);
    if let Some(credential) = credential {
        request.metadata_mut().insert(name, credential.clone());
    }
    request
}

/// What a status of the backend means here.
pub fn failed(status: tonic::Status) -> BackendError {
    let message = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => {
            BackendError::Unavailable(message)
        }
        Code::ResourceExhausted => BackendError::Full(message),
        _ => BackendError::Failed(message),
    }
}
