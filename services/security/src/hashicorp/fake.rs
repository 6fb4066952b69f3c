//! A server that speaks the HTTP API of HashiCorp Vault as far as the client uses it: KV version 2, AppRole and
//! Kubernetes logins, tokens that end and are renewed, transit, namespaces, TLS. Written after its API reference;
//! what it refuses, the real one refuses.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Versions that the engine keeps.
const MAX_VERSIONS: u64 = 10;

/// The server's state; a test may change it while it runs.
pub(crate) struct Server {
    pub(crate) state: Mutex<World>,
    pub(crate) address: String,
    /// PEM, where it has TLS.
    pub(crate) ca: Option<String>,
    task: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

pub(crate) struct World {
    pub(crate) namespace: Option<String>,
    pub(crate) sealed: bool,
    pub(crate) tokens: HashMap<String, Instant>,
    /// How long tokens live that a login gives.
    pub(crate) lease: Duration,
    pub(crate) role_id: String,
    pub(crate) secret_id: String,
    pub(crate) jwt: String,
    /// Paths of calls, with their methods.
    pub(crate) calls: Vec<String>,
    /// The status of every call, where it is not the usual one.
    pub(crate) broken: Option<u16>,
    secrets: BTreeMap<String, Secret>,
    transit: Vec<(String, String)>,
    count: u64,
}

#[derive(Default)]
struct Secret {
    current: u64,
    versions: BTreeMap<u64, (Value, String)>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}

impl Server {
    pub(crate) async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self::new(format!("http://{}", listener.local_addr().unwrap()), None);
        let router = router(&server);
        let task = sre_service::task::spawn("fake-vault", async move {
            axum::serve(listener, router).await.unwrap();
        });
        *server.task.lock() = Some(task);
        server
    }

    /// The same with TLS, under an authority of its own.
    pub(crate) async fn start_tls() -> Arc<Self> {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config = tokio_rustls::rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self::new(format!("https://localhost:{port}"), Some(cert.pem()));
        let router = router(&server);
        let listener = Tls { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
        let task = sre_service::task::spawn("fake-vault", async move {
            axum::serve(listener, router).await.unwrap();
        });
        *server.task.lock() = Some(task);
        server
    }

    fn new(address: String, ca: Option<String>) -> Arc<Self> {
        let state = World {
            namespace: None,
            sealed: false,
            tokens: HashMap::new(),
            lease: Duration::from_secs(3600),
            role_id: "role-1".into(),
            secret_id: "secret-1".into(),
            jwt: "jwt-1".into(),
            calls: Vec::new(),
            broken: None,
            secrets: BTreeMap::new(),
            transit: Vec::new(),
            count: 0,
        };
        Arc::new(Self { state: Mutex::new(state), address, ca, task: Mutex::default() })
    }

    /// A token that lives so long; for ever where none.
    pub(crate) fn token(&self, lives: Option<Duration>) -> String {
        self.state.lock().issue(lives.unwrap_or(Duration::from_secs(1 << 30)))
    }

    pub(crate) fn count(&self, call: &str) -> usize {
        self.state.lock().calls.iter().filter(|made| made.contains(call)).count()
    }
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, from) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

fn router(server: &Arc<Server>) -> Router {
    Router::new().route("/v1/{*path}", any(answer)).with_state(Arc::clone(server))
}

async fn answer(
    State(server): State<Arc<Server>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = percent_decode_str(uri.path()).decode_utf8().unwrap().into_owned();
    let path = path.strip_prefix("/v1/").unwrap().to_owned();
    let query: HashMap<String, String> =
        url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let json: Value = serde_json::from_slice(&body).unwrap_or_default();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut world = server.state.lock();
    world.calls.push(format!("{method} {path}"));
    let call = Call { method, path, query, json, token: header("x-vault-token") };
    if header("x-vault-request").is_none() {
        return errors(400, "the header X-Vault-Request is missing");
    }
    if world.namespace != header("x-vault-namespace") {
        return errors(404, "");
    }
    match world.answer(&call) {
        Ok(json) => Json(json).into_response(),
        Err(status) => errors(status, "as the test asked"),
    }
}

fn errors(status: u16, text: &str) -> Response {
    let errors: Vec<&str> = if text.is_empty() { Vec::new() } else { vec![text] };
    (StatusCode::from_u16(status).unwrap(), Json(json!({ "errors": errors }))).into_response()
}

struct Call {
    method: Method,
    path: String,
    query: HashMap<String, String>,
    json: Value,
    token: Option<String>,
}

impl World {
    fn issue(&mut self, lives: Duration) -> String {
        self.count += 1;
        let token = format!("hvs.{}", self.count);
        self.tokens.insert(token.clone(), Instant::now() + lives);
        token
    }

    fn auth(&mut self) -> Value {
        let lease = self.lease;
        let token = self.issue(lease);
        json!({ "auth": { "client_token": token, "lease_duration": lease.as_secs(), "renewable": true } })
    }

    fn answer(&mut self, call: &Call) -> Result<Value, u16> {
        if let Some(status) = self.broken {
            return Err(status);
        }
        if self.sealed {
            return Err(503);
        }
        let text = |field: &str| call.json.get(field).and_then(Value::as_str).unwrap_or_default();
        match (call.method.as_str(), call.path.as_str()) {
            ("GET", "sys/health") => return Ok(json!({ "initialized": true, "sealed": false })),
            ("POST", "auth/approle/login") => {
                let is_right = text("role_id") == self.role_id && text("secret_id") == self.secret_id;
                return if is_right { Ok(self.auth()) } else { Err(400) };
            }
            ("POST", "auth/kubernetes/login") => {
                let is_right = text("role") == "sre" && text("jwt") == self.jwt;
                return if is_right { Ok(self.auth()) } else { Err(403) };
            }
            _ => {}
        }
        let token = call.token.clone().ok_or(403_u16)?;
        let end = *self.tokens.get(&token).ok_or(403_u16)?;
        if end <= Instant::now() {
            return Err(403);
        }
        let left = end.duration_since(Instant::now()).as_secs();
        let is_endless = left > 1 << 29;
        match (call.method.as_str(), call.path.as_str()) {
            ("GET", "auth/token/lookup-self") => {
                let ttl = if is_endless { 0 } else { left };
                return Ok(json!({ "data": { "ttl": ttl, "renewable": !is_endless } }));
            }
            ("POST", "auth/token/renew-self") => {
                let lease = self.lease;
                self.tokens.insert(token.clone(), Instant::now() + lease);
                return Ok(
                    json!({ "auth": { "client_token": token, "lease_duration": lease.as_secs(), "renewable": true } }),
                );
            }
            _ => {}
        }
        if let Some(rest) = call.path.strip_prefix("transit/") {
            return self.transit(rest, call);
        }
        let rest = call.path.strip_prefix("secret/").ok_or(404_u16)?;
        // Storage refuses relative paths, and text that cannot be printed.
        if rest.contains("..") || rest.chars().any(char::is_control) {
            return Err(400);
        }
        if let Some(path) = rest.strip_prefix("data/") {
            return self.data(path, call);
        }
        self.metadata(rest.strip_prefix("metadata/").ok_or(404_u16)?, call)
    }

    fn data(&mut self, path: &str, call: &Call) -> Result<Value, u16> {
        let metadata = |number: u64, created: &str| json!({ "version": number, "created_time": created, "deletion_time": "", "destroyed": false });
        match call.method.as_str() {
            "GET" => {
                let secret = self.secrets.get(path).ok_or(404_u16)?;
                let asked =
                    call.query.get("version").map_or(Ok(0), |asked| asked.parse()).map_err(|_| 400_u16)?;
                let number = if asked == 0 { secret.current } else { asked };
                let (data, created) = secret.versions.get(&number).ok_or(404_u16)?;
                Ok(json!({ "data": { "data": data, "metadata": metadata(number, created) } }))
            }
            "POST" => {
                let data = call.json.get("data").filter(|data| data.is_object()).ok_or(400_u16)?.clone();
                let secret = self.secrets.entry(path.to_owned()).or_default();
                secret.current += 1;
                let created = OffsetDateTime::from(SystemTime::now()).format(&Rfc3339).unwrap();
                secret.versions.insert(secret.current, (data, created.clone()));
                let oldest = secret.current.saturating_sub(MAX_VERSIONS);
                secret.versions.retain(|number, _| *number > oldest);
                Ok(json!({ "data": metadata(secret.current, &created) }))
            }
            _ => Err(405),
        }
    }

    fn metadata(&mut self, path: &str, call: &Call) -> Result<Value, u16> {
        match call.method.as_str() {
            "GET" if call.query.get("list").is_some_and(|list| list == "true") => {
                let folder = format!("{}/", path.trim_end_matches('/'));
                let names: std::collections::BTreeSet<String> = self
                    .secrets
                    .keys()
                    .filter_map(|key| key.strip_prefix(&folder))
                    .map(|rest| match rest.split_once('/') {
                        Some((folder, _)) => format!("{folder}/"),
                        None => rest.to_owned(),
                    })
                    .collect();
                if names.is_empty() { Err(404) } else { Ok(json!({ "data": { "keys": names } })) }
            }
            "GET" => {
                let secret = self.secrets.get(path).ok_or(404_u16)?;
                let versions: serde_json::Map<String, Value> = secret
                    .versions
                    .iter()
                    .map(|(number, (_, created))| {
                        let version =
                            json!({ "created_time": created, "deletion_time": "", "destroyed": false });
                        (number.to_string(), version)
                    })
                    .collect();
                Ok(json!({ "data": { "current_version": secret.current, "versions": versions } }))
            }
            "DELETE" => {
                self.secrets.remove(path);
                Ok(Value::Null)
            }
            _ => Err(405),
        }
    }

    /// A transit engine with the key `sre`, which keeps what it encrypted.
    fn transit(&mut self, path: &str, call: &Call) -> Result<Value, u16> {
        let text = |field: &str| call.json.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        match path {
            "encrypt/sre" => {
                let plain = text("plaintext");
                STANDARD.decode(&plain).map_err(|_| 400_u16)?;
                let ciphertext = format!("vault:v1:{}", self.transit.len());
                self.transit.push((ciphertext.clone(), plain));
                Ok(json!({ "data": { "ciphertext": ciphertext } }))
            }
            "decrypt/sre" => {
                let asked = text("ciphertext");
                let found =
                    self.transit.iter().find(|(ciphertext, _)| *ciphertext == asked).ok_or(400_u16)?;
                Ok(json!({ "data": { "plaintext": found.1 } }))
            }
            _ => Err(404),
        }
    }
}
