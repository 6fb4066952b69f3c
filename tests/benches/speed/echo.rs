//! The bare echo: a tonic server over mTLS, 128 bytes each way, in a process of its own.

use std::future::Future;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};

use sre_proto::compute::v1::code_client::CodeClient;
use sre_proto::compute::v1::code_server::{Code, CodeServer};
use sre_proto::compute::v1::{ExecuteCodeRequest, ExecuteCodeResponse};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

struct Echo;

/// The methods that nobody calls here.
macro_rules! unbuilt {
    ($($method:ident: $request:ident => $answer:ty,)*) => {
        $(fn $method<'a, 'async_trait>(
            &'a self,
            _: Request<sre_proto::compute::v1::$request>,
        ) -> Pin<Box<dyn Future<Output = Result<Response<$answer>, Status>> + Send + 'async_trait>>
        where
            'a: 'async_trait,
            Self: 'async_trait,
        {
            Box::pin(std::future::ready(Err(sre_proto::error::not_implemented(stringify!($method)))))
        })*
    };
}

#[tonic::async_trait]
impl Code for Echo {
    type ExecuteDeploymentStream =
        tokio_stream::Empty<Result<sre_proto::compute::v1::ExecutionEvent, Status>>;

    unbuilt! {
        prepare_code: PrepareCodeRequest => sre_proto::compute::v1::CodeRevision,
        deploy_code: DeployCodeRequest => sre_proto::compute::v1::CodeDeployment,
        execute_deployment: ExecuteDeploymentRequest => Self::ExecuteDeploymentStream,
        get_deployment: GetDeploymentRequest => sre_proto::compute::v1::CodeDeployment,
        list_deployments: ListDeploymentsRequest => sre_proto::compute::v1::ListDeploymentsResponse,
        delete_deployment: DeleteDeploymentRequest => (),
        get_code_acl: GetCodeAclRequest => sre_proto::types::v1::Acl,
        set_code_acl: SetCodeAclRequest => sre_proto::types::v1::Acl,
    }

    async fn execute_code(
        &self,
        request: Request<ExecuteCodeRequest>,
    ) -> Result<Response<ExecuteCodeResponse>, Status> {
        Ok(Response::new(ExecuteCodeResponse {
            result_json: request.into_inner().arguments_json,
            ..ExecuteCodeResponse::default()
        }))
    }
}

/// Reads a certificate and its key by the principal's file name.
pub fn identity(certs: &Path, name: &str) -> Identity {
    let read = |ending: &str| std::fs::read(certs.join(format!("{name}.{ending}"))).unwrap();
    Identity::from_pem(read("pem"), read("key"))
}

fn roots(certs: &Path) -> Certificate {
    Certificate::from_pem(std::fs::read(certs.join("ca.pem")).unwrap())
}

/// Serves until it is killed; prints its address first.
pub fn serve(certs: &str) {
    let certs = Path::new(certs);
    let tls = ServerTlsConfig::new().identity(identity(certs, "service/io")).client_ca_root(roots(certs));
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let server =
            Server::builder().tls_config(tls).unwrap().tcp_nodelay(true).add_service(CodeServer::new(Echo));
        server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
    });
}

/// The echo's process.
pub struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    /// Starts it with the suite's certificates.
    pub fn start(certs: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("echo")
            .arg(certs)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().parse().unwrap() }
    }

    /// A channel as a plain tonic client makes it.
    pub async fn connect(&self, certs: &Path) -> Channel {
        connect(self.address, certs).await
    }
}

/// A plain tonic channel over mTLS as `user/dev`.
pub async fn connect(address: SocketAddr, certs: &Path) -> Channel {
    connect_as(address, certs, "user/dev").await
}

/// The same as somebody else.
pub async fn connect_as(address: SocketAddr, certs: &Path, principal: &str) -> Channel {
    let tls = ClientTlsConfig::new()
        .ca_certificate(roots(certs))
        .identity(identity(certs, principal))
        .domain_name("localhost");
    let endpoint = Endpoint::try_from(format!("https://{address}")).unwrap().tls_config(tls).unwrap();
    endpoint.tcp_nodelay(true).connect().await.unwrap()
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// One call of the echo.
pub fn caller(
    channel: &Channel,
) -> impl Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Clone + Send + 'static {
    let client = CodeClient::new(channel.clone());
    move || {
        let mut client = client.clone();
        Box::pin(async move {
            let request = ExecuteCodeRequest { arguments_json: vec![b'x'; 128].into(), ..Default::default() };
            client.execute_code(request).await.unwrap();
        })
    }
}
