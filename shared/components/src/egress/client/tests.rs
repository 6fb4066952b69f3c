//! Against a server of this process, found under names that only these tests know.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

/// Answers each connection's request with what `answer` makes of its first line.
async fn serve(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                let mut piece = [0; 1024];
                match stream.read(&mut piece).await {
                    Ok(0) | Err(_) => break,
                    Ok(n) => request.extend_from_slice(&piece[..n]),
                }
            }
            let text = String::from_utf8_lossy(&request).into_owned();
            let bytes = answer(text.lines().next().unwrap_or_default());
            if bytes.is_empty() {
                // Keeps the connection open without an answer.
                std::mem::forget(stream);
                continue;
            }
            stream.write_all(&bytes).await.ok();
        }
    });
    (address, tasks)
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn to(location: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nconnection: close\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")
        .into_bytes()
}

fn client(allow: &[String], lookup: Lookup) -> Client {
    let limits = Limits { response_bytes: 1000, ..Limits::default() };
    Client::with_lookup(Policy::new(allow).unwrap(), limits, lookup).unwrap()
}

fn fixed(answer: impl Fn(&str) -> Vec<IpAddr> + Send + Sync + 'static) -> Lookup {
    Lookup::Fixed(Arc::new(answer))
}

async fn get(client: &Client, url: &str) -> Result<String, EgressError> {
    let request = Request::new(Method::GET, Url::parse(url).unwrap());
    let response = client.send(request, Duration::from_secs(20)).await?;
    Ok(String::from_utf8(response.body.to_vec()).unwrap())
}

#[tokio::test]
async fn what_is_listed_is_reached_and_nothing_else_inside() {
    let (server, _tasks) = serve(|_| ok("hello")).await;
    let allowed = client(&[server.to_string()], Lookup::System);
    assert_eq!(get(&allowed, &format!("http://{server}/")).await.unwrap(), "hello");

    let refused = client(&[], Lookup::System);
    let error = get(&refused, &format!("http://{server}/")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "connect to 127.0.0.1:{} is not allowed by the egress policy: list it in [egress] allow",
            server.port()
        )
    );
    assert!(matches!(get(&refused, "http://[::1]/").await, Err(EgressError::Refused { .. })));
    assert!(matches!(get(&refused, "http://0x7f.1/").await, Err(EgressError::Refused { .. })));
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused() {
    let (server, _tasks) = serve(|_| ok("hello")).await;
    let url = format!("http://evil.example:{}/", server.port());
    let inside = || fixed(|_| vec!["127.0.0.1".parse().unwrap()]);
    assert!(matches!(get(&client(&[], inside()), &url).await, Err(EgressError::Refused { .. })));
    // Listed for another port: still refused, whatever the address.
    let other = ["127.0.0.1:1".to_owned()];
    assert!(matches!(get(&client(&other, inside()), &url).await, Err(EgressError::Refused { .. })));
    let listed = [format!("evil.example:{}", server.port())];
    assert_eq!(get(&client(&listed, inside()), &url).await.unwrap(), "hello");
}

#[tokio::test]
async fn the_address_that_is_connected_to_is_the_one_that_was_checked() {
    let (server, _tasks) = serve(|_| ok("hello")).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    // Rebinding: each answer differs from the one before.
    let lookup = fixed(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => vec!["127.0.0.1".parse().unwrap()],
        _ => vec!["203.0.114.1".parse().unwrap()],
    });
    let client = client(&[], lookup);
    let url = format!("http://rebind.example:{}/", server.port());
    assert!(matches!(get(&client, &url).await, Err(EgressError::Refused { .. })));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn every_redirect_is_checked() {
    let (server, _tasks) = serve(|line| match line.split(' ').nth(1) {
        Some("/inside") => to("http://169.254.169.254/latest"),
        Some("/loop") => to("/loop"),
        Some("/once") => to("/end"),
        _ => ok("end"),
    })
    .await;
    let client = client(&[server.to_string()], Lookup::System);
    assert_eq!(get(&client, &format!("http://{server}/once")).await.unwrap(), "end");
    let inside = get(&client, &format!("http://{server}/inside")).await.unwrap_err();
    assert_eq!(inside, EgressError::Refused { host: "169.254.169.254".into(), port: 80 });
    let endless = get(&client, &format!("http://{server}/loop")).await;
    assert_eq!(endless, Err(EgressError::TooManyRedirects));
}

#[tokio::test]
async fn answers_are_limited_in_size() {
    let (server, _tasks) = serve(|line| match line.split(' ').nth(1) {
        Some("/announced") => ok(&"x".repeat(2000)),
        _ => format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", "x".repeat(2000)).into_bytes(),
    })
    .await;
    let client = client(&[server.to_string()], Lookup::System);
    for path in ["announced", "silent"] {
        let error = get(&client, &format!("http://{server}/{path}")).await.unwrap_err();
        assert_eq!(error, EgressError::TooLarge { limit_bytes: 1000 }, "{path}");
    }
}

#[tokio::test]
async fn failures_have_the_references_words() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let at = |host: &str| format!("http://{host}:{}/", free.port());
    let listed = [free.to_string()];
    let direct = get(&client(&listed, Lookup::System), &at("127.0.0.1")).await.unwrap_err();
    assert_eq!(direct.to_string(), format!("connect ECONNREFUSED {free}"));
    let named = fixed(|_| vec!["127.0.0.1".parse().unwrap()]);
    let named = get(&client(&listed, named), &at("some.example")).await.unwrap_err();
    assert_eq!(named.to_string(), format!("connect ECONNREFUSED {free}"));
    let unknown = get(&client(&[], fixed(|_| vec![])), "http://invalid.url/").await.unwrap_err();
    assert_eq!(unknown.to_string(), "getaddrinfo ENOTFOUND invalid.url");
    let scheme = get(&client(&[], Lookup::System), "ftp://h.example/").await.unwrap_err();
    assert_eq!(scheme.to_string(), "Unsupported protocol ftp:");
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let (server, _tasks) = serve(|_| Vec::new()).await;
    let client = client(&[server.to_string()], Lookup::System);
    let request = Request::new(Method::GET, Url::parse(&format!("http://{server}/")).unwrap());
    let error = client.send(request, Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.to_string(), "timeout of 50ms exceeded");
}
