//! A role's gRPC services, found by the service that a call's path names.
//!
//! tonic's own routes are those of a web framework: for each call they match patterns, keep what the path holds, copy the
//! service into a box and wrap the bodies twice in either direction. Calls between roles of one process are so many that
//! it counted.

use std::convert::Infallible;
use std::sync::Arc;

use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::{Service, ServiceExt as _};

type Answer = BoxFuture<'static, Result<Response<Body>, Infallible>>;
type Call = Arc<dyn Fn(Request<Body>) -> Answer + Send + Sync>;

/// What a role serves. Clones share the services.
#[derive(Clone, Default)]
pub struct Routes {
    /// By their names in protobuf. A role has few.
    services: Vec<(&'static str, Call)>,
    others: Option<Call>,
}

impl Routes {
    /// This service alone.
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        Self::default().add_service(service)
    }

    /// This service, too.
    #[must_use]
    pub fn add_service<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.services.push((S::NAME, call(service)));
        self
    }

    /// This one for all calls to services that were not added.
    pub fn for_others<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        Self { services: Vec::new(), others: Some(call(service)) }
    }

    /// Answers a call.
    pub fn call(&self, request: Request<Body>) -> Answer {
        let named = service_of(request.uri().path());
        let found = self.services.iter().find(|(name, _)| named == Some(*name)).map(|(_, call)| call);
        match found.or(self.others.as_ref()) {
            Some(call) => call(request),
            None => Box::pin(std::future::ready(Ok(Status::unimplemented("").into_http()))),
        }
    }
}

impl From<tonic::service::Routes> for Routes {
    fn from(routes: tonic::service::Routes) -> Self {
        Self::for_others(routes)
    }
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.services.iter().map(|(name, _)| name);
        f.debug_set().entries(names).finish()
    }
}

fn call<S>(service: S) -> Call
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    Arc::new(move |request| Box::pin(service.clone().oneshot(request)))
}

/// `package.Service` of `/package.Service/Method`.
fn service_of(path: &str) -> Option<&str> {
    path.strip_prefix('/')?.split_once('/').map(|(service, _)| service)
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};
    use std::task::{Context, Poll};

    use super::*;

    /// Answers with its number.
    #[derive(Clone)]
    struct First(u16);
    #[derive(Clone)]
    struct Second;

    impl Service<Request<Body>> for First {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            let mut response = Response::new(Body::empty());
            response.headers_mut().insert("number", self.0.into());
            ready(Ok(response))
        }
    }

    impl NamedService for First {
        const NAME: &'static str = "test.First";
    }

    impl Service<Request<Body>> for Second {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            First(2).poll_ready(context)
        }

        fn call(&mut self, request: Request<Body>) -> Self::Future {
            First(2).call(request)
        }
    }

    impl NamedService for Second {
        const NAME: &'static str = "test.Second";
    }

    async fn answered(routes: &Routes, path: &str) -> String {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let Ok(response) = routes.call(request).await;
        let of = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        of("number").or(of("grpc-status")).unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn the_service_of_the_path_answers_and_others_are_unimplemented() {
        let routes = Routes::new(First(1)).add_service(Second);
        for (path, expected) in [
            ("/test.First/Get", "1"),
            ("/test.Second/Get", "2"),
            ("/test.First/", "1"),
            ("/test.Firsts/Get", "12"),
            ("/test.First", "12"),
            ("/", "12"),
            ("//test.First/Get", "12"),
        ] {
            assert_eq!(answered(&routes, path).await, expected, "{path}");
        }
    }

    #[tokio::test]
    async fn one_service_takes_what_the_others_do_not() {
        let routes = Routes::for_others(First(9)).add_service(Second);
        assert_eq!(answered(&routes, "/any.Thing/Get").await, "9");
        assert_eq!(answered(&routes, "/test.Second/Get").await, "2");
    }
}
