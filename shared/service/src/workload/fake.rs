//! A Workload API on a Unix socket, in its wire format, with an authority of its own.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt as _};
use parking_lot::Mutex;
use prost::Message;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sre_identity::ca::Authority;
use sre_identity::{Principal, TrustDomain};
use tokio::sync::watch;
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::Service;

/// `X509SVIDRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SvidRequest {}

/// `X509SVIDResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SvidResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) svids: Vec<SvidMessage>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) crl: Vec<Vec<u8>>,
    #[prost(map = "string, bytes", tag = "3")]
    pub(super) federated_bundles: std::collections::HashMap<String, Vec<u8>>,
}

/// `X509SVID`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SvidMessage {
    #[prost(string, tag = "1")]
    pub(super) spiffe_id: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) x509_svid: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) x509_svid_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) bundle: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(super) hint: String,
}

/// The API. Dropped, it goes away.
pub(super) struct FakeApi {
    folder: tempfile::TempDir,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

struct State {
    /// The newest issues; all are in the bundle.
    authorities: Vec<Authority>,
    principals: Vec<String>,
    federated: Vec<(String, Vec<u8>)>,
    said: watch::Sender<SvidResponse>,
}

impl FakeApi {
    /// Gives identities to these principals.
    pub(super) fn start(principals: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let domain = TrustDomain::new("sre.local").unwrap();
        let state = State {
            authorities: vec![Authority::create(&domain).unwrap()],
            principals: principals.iter().map(|&one| one.to_owned()).collect(),
            federated: Vec::new(),
            said: watch::Sender::new(SvidResponse::default()),
        };
        state.said.send_replace(state.response());
        let state = Arc::new(Mutex::new(state));
        let listener = tokio::net::UnixListener::bind(socket(folder.path())).unwrap();
        let served = Api(Arc::clone(&state));
        let serving = tonic::transport::Server::builder()
            .add_service(served)
            .serve_with_incoming(UnixListenerStream::new(listener));
        let task = crate::task::spawn("workload-api", async move { serving.await.unwrap() });
        Self { folder, state, task }
    }

    /// Another reader of what it says.
    pub(super) fn asked(&self) -> watch::Receiver<SvidResponse> {
        self.state.lock().said.subscribe()
    }

    pub(super) fn endpoint(&self) -> String {
        format!("unix://{}", socket(self.folder.path()).display())
    }

    /// New certificates of the same authority.
    pub(super) fn renew(&self) {
        self.state.lock().say();
    }

    /// One step of a rotation of the authority: the next one is trusted beside the old ones; it issues; the old
    /// ones are not trusted any more.
    pub(super) fn rotate(&self, step: Step) {
        let mut state = self.state.lock();
        let domain = TrustDomain::new("sre.local").unwrap();
        match step {
            Step::Trust => state.authorities.insert(0, Authority::create(&domain).unwrap()),
            Step::Issue => state.authorities.reverse(),
            Step::Retire => state.authorities.truncate_to_last(),
        }
        state.say();
    }

    /// Whom it gives identities from now on.
    pub(super) fn entitle(&self, principals: &[&str]) {
        let mut state = self.state.lock();
        state.principals = principals.iter().map(|&one| one.to_owned()).collect();
        state.say();
    }

    /// Tells of an authority of another trust domain.
    pub(super) fn federate(&self, domain: &str, authority: &Authority) {
        let mut state = self.state.lock();
        state.federated.push((format!("spiffe://{domain}"), der(authority.certificate_pem())));
        state.say();
    }
}

/// A step of [`FakeApi::rotate`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Trust,
    Issue,
    Retire,
}

trait Last {
    fn truncate_to_last(&mut self);
}

impl Last for Vec<Authority> {
    fn truncate_to_last(&mut self) {
        let last = self.pop();
        self.clear();
        self.extend(last);
    }
}

impl Drop for FakeApi {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn say(&self) {
        self.said.send_replace(self.response());
    }

    /// The last authority issues.
    fn response(&self) -> SvidResponse {
        let issuer = self.authorities.last().unwrap();
        let bundle: Vec<u8> =
            self.authorities.iter().flat_map(|authority| der(authority.certificate_pem())).collect();
        let svid = |principal: &String| {
            let named: Principal = principal.parse().unwrap();
            let issued = issuer.issue(&named, &[], std::time::Duration::from_secs(3600)).unwrap();
            let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
            SvidMessage {
                spiffe_id: format!("spiffe://sre.local/{principal}"),
                x509_svid: der(&issued.cert_pem),
                x509_svid_key: key.secret_der().to_vec(),
                bundle: bundle.clone(),
                hint: String::new(),
            }
        };
        SvidResponse {
            svids: self.principals.iter().map(svid).collect(),
            crl: Vec::new(),
            federated_bundles: self.federated.iter().cloned().collect(),
        }
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("api.sock")
}

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

#[derive(Clone)]
struct Api(Arc<Mutex<State>>);

impl NamedService for Api {
    const NAME: &'static str = "SpiffeWorkloadAPI";
}

impl ServerStreamingService<SvidRequest> for Api {
    type Response = SvidResponse;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<SvidResponse, Status>> + Send>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<SvidRequest>) -> Self::Future {
        // The header keeps browsers and other servers' requests away; the standard asks for it.
        let marked = request.metadata().get("workload.spiffe.io").is_some_and(|value| value == "true");
        if !marked {
            return std::future::ready(Err(sre_proto::error::invalid_argument("header", "is missing")));
        }
        let said = WatchStream::new(self.0.lock().said.subscribe());
        std::future::ready(Ok(Response::new(Box::pin(said.map(Ok)))))
    }
}

impl Service<http::Request<Body>> for Api {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            if request.uri().path() != "/SpiffeWorkloadAPI/FetchX509SVID" {
                return Ok(sre_proto::error::not_implemented("this method").into_http());
            }
            let mut grpc = Grpc::new(ProstCodec::<SvidResponse, SvidRequest>::default());
            Ok(grpc.server_streaming(this, request).await)
        })
    }
}
