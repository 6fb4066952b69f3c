//! Single calls over any transport: what they are made of, and their lines in tables.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::StdError;

use super::{load, micros, seconds};

/// So many keys are used,
pub const KEYS: usize = 10_000;
/// with this under each.
pub const VALUE: [u8; 128] = [b'x'; 128];

/// A call under way.
type Calling = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What makes calls, one after the other.
pub trait Calls: Fn() -> Calling + Clone + Send + 'static {}
impl<C: Fn() -> Calling + Clone + Send + 'static> Calls for C {}

/// What a generated client is built over: a link in this process or a channel.
pub trait Transport:
    GrpcService<
        Body,
        ResponseBody: tonic::codegen::Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
        Error: Into<StdError>,
        Future: Send,
    > + Clone
    + Send
    + 'static
{
}
impl<T> Transport for T where
    T: GrpcService<
            Body,
            ResponseBody: tonic::codegen::Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
            Error: Into<StdError>,
            Future: Send,
        > + Clone
        + Send
        + 'static
{
}

/// The next of the keys, the same way for every caller.
pub fn numbers(name: fn(usize) -> String) -> impl Fn() -> String + Clone + Send + 'static {
    let count = Arc::new(AtomicUsize::new(0));
    move || name(count.fetch_add(7_919, Ordering::Relaxed) % KEYS)
}

/// Measures a call and the echo in turn, so that a slow moment of the machine hits both.
pub async fn beside<E, C, F, G>(call: &str, callers: usize, echo: &E, ours: &C)
where
    E: Fn() -> F + Clone + Send + 'static,
    C: Fn() -> G + Clone + Send + 'static,
    F: Future<Output = ()> + Send,
    G: Future<Output = ()> + Send,
{
    let mut pairs = Vec::new();
    for _ in 0..3 {
        let bare = load::run(callers, seconds(), echo.clone()).await;
        let ours = load::run(callers, seconds(), ours.clone()).await;
        pairs.push((bare, ours));
    }
    pairs.sort_by(|a, b| (a.1.rate / a.0.rate).total_cmp(&(b.1.rate / b.0.rate)));
    let (bare, ours) = &pairs[1];
    println!(
        "| {call} | {callers} | {:.0} | {:.0} | {} | {} | {:.0}% |",
        bare.rate,
        ours.rate,
        micros(ours.p50),
        micros(ours.p99),
        100.0 * ours.rate / bare.rate
    );
}

/// A line of the table without yardstick.
pub fn row(call: &str, callers: usize, figures: &load::Figures) {
    println!(
        "| {call} | {callers} | {:.0} | {} | {} |",
        figures.rate,
        micros(figures.p50),
        micros(figures.p99)
    );
}
