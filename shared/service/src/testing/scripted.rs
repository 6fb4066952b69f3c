//! Services whose behaviour the request scripts, for the tests of this crate.

use std::sync::Arc;

use sre_identity::Caller;
use sre_proto::compute::v1::code_server::{Code, CodeServer};
use sre_proto::compute::v1::{ExecuteCodeRequest, ExecuteCodeResponse};
use sre_proto::llm::v1::inference_server::{Inference, InferenceServer};
use sre_proto::llm::v1::{
    CountTokensRequest, CountTokensResponse, EmbedRequest, EmbedResponse, EmbedUnkeyedRequest, GenerateEvent,
    GenerateImageRequest, GenerateImageResponse, GenerateRequest, GenerateResponse, GenerateStreamRequest,
    generate_event,
};
use tokio::sync::Notify;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::host::Host;

/// What tests and handlers tell each other.
#[derive(Default)]
pub(crate) struct Script {
    /// A handler has begun to wait.
    pub(crate) entered: Notify,
    /// A waiting handler may end.
    pub(crate) go: Notify,
}

/// The methods of `Code` that no test of this crate calls.
macro_rules! other_code_methods {
    () => {
        type ExecuteDeploymentStream =
            tokio_stream::Empty<Result<sre_proto::compute::v1::ExecutionEvent, tonic::Status>>;
        $crate::testing::scripted::unbuilt! {
            prepare_code: PrepareCodeRequest => sre_proto::compute::v1::CodeRevision,
            deploy_code: DeployCodeRequest => sre_proto::compute::v1::CodeDeployment,
            execute_deployment: ExecuteDeploymentRequest => Self::ExecuteDeploymentStream,
            get_deployment: GetDeploymentRequest => sre_proto::compute::v1::CodeDeployment,
            list_deployments: ListDeploymentsRequest => sre_proto::compute::v1::ListDeploymentsResponse,
            delete_deployment: DeleteDeploymentRequest => (),
            get_code_acl: GetCodeAclRequest => sre_proto::types::v1::Acl,
            set_code_acl: SetCodeAclRequest => sre_proto::types::v1::Acl,
        }
    };
}
macro_rules! unbuilt {
    ($($method:ident: $request:ident => $answer:ty,)*) => {
        $(fn $method<'a, 'async_trait>(
            &'a self,
            _: tonic::Request<sre_proto::compute::v1::$request>,
        ) -> std::pin::Pin<
            Box<dyn Future<Output = Result<tonic::Response<$answer>, tonic::Status>> + Send + 'async_trait>,
        >
        where
            'a: 'async_trait,
            Self: 'async_trait,
        {
            Box::pin(std::future::ready(Err(sre_proto::error::not_implemented(stringify!($method)))))
        })*
    };
}
pub(crate) use {other_code_methods, unbuilt};

/// `compute`, following the source it is told to run.
pub(crate) struct Scripted {
    host: Host,
    script: Arc<Script>,
}

impl Scripted {
    pub(crate) async fn start(host: Host, script: Arc<Script>) -> anyhow::Result<Routes> {
        Ok(Routes::new(CodeServer::new(Self { host, script })))
    }
}

#[tonic::async_trait]
impl Code for Scripted {
    other_code_methods! {}

    async fn execute_code(
        &self,
        request: Request<ExecuteCodeRequest>,
    ) -> Result<Response<ExecuteCodeResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        let result = match request.source.as_str() {
            "panic" => panic!("as told"),
            "hang" => {
                self.script.entered.notify_one();
                std::future::pending().await
            }
            "wait" => {
                self.script.entered.notify_one();
                self.script.go.notified().await;
                "waited".to_owned()
            }
            "who" => format!("{} {}", caller.peer(), granted.candidate()?),
            "where" => format!("{:?}", self.host.addresses().get("compute")),
            "left" => {
                let context = crate::context::CallContext::current().unwrap();
                let left = context.deadline.unwrap() - tokio::time::Instant::now();
                format!("{} {}", left.as_millis(), context.trace_id())
            }
            other => other.to_owned(),
        };
        Ok(Response::new(ExecuteCodeResponse { result_json: result.into(), ..Default::default() }))
    }
}

/// `llm`, streaming: the model's name says how.
pub(crate) struct Streaming(Arc<Script>);

impl Streaming {
    pub(crate) async fn start(_: Host, script: Arc<Script>) -> anyhow::Result<Routes> {
        Ok(Routes::new(InferenceServer::new(Self(script))))
    }
}

type Events = ReceiverStream<Result<GenerateEvent, Status>>;

#[tonic::async_trait]
impl Inference for Streaming {
    type GenerateStreamStream = Events;

    async fn generate(&self, _: Request<GenerateRequest>) -> Result<Response<GenerateResponse>, Status> {
        Err(sre_proto::error::not_implemented("Generate"))
    }

    async fn generate_stream(
        &self,
        request: Request<GenerateStreamRequest>,
    ) -> Result<Response<Events>, Status> {
        let (events, receiver) = tokio::sync::mpsc::channel(4);
        let event = |text: &str| GenerateEvent { event: Some(generate_event::Event::Text(text.to_owned())) };
        drop(events.try_send(Ok(event("first"))));
        let script = Arc::clone(&self.0);
        let endless = request.get_ref().request.as_ref().is_some_and(|inner| inner.model == "endless");
        drop(crate::task::spawn("scripted-stream", async move {
            script.entered.notify_one();
            if endless {
                events.closed().await;
                return;
            }
            script.go.notified().await;
            drop(events.send(Ok(event("last"))).await);
        }));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn embed(&self, _: Request<EmbedRequest>) -> Result<Response<EmbedResponse>, Status> {
        Err(sre_proto::error::not_implemented("Embed"))
    }

    async fn embed_unkeyed(
        &self,
        _: Request<EmbedUnkeyedRequest>,
    ) -> Result<Response<EmbedResponse>, Status> {
        Err(sre_proto::error::not_implemented("EmbedUnkeyed"))
    }

    async fn count_tokens(
        &self,
        _: Request<CountTokensRequest>,
    ) -> Result<Response<CountTokensResponse>, Status> {
        Err(sre_proto::error::not_implemented("CountTokens"))
    }

    type GenerateImageStream = tokio_stream::Empty<Result<GenerateImageResponse, Status>>;

    async fn generate_image(
        &self,
        _: Request<GenerateImageRequest>,
    ) -> Result<Response<Self::GenerateImageStream>, Status> {
        Err(sre_proto::error::not_implemented("GenerateImage"))
    }
}
