//! The door on loopback that a provider sends a person back to (RFC 8252 §7.3).

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use sre_components::oauth::code::Grant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const PATH: &str = "/callback";
/// The longest head of a request that is read, and how long it may take.
const HEAD_BYTES: usize = 16 << 10;
const HEAD_TIME: Duration = Duration::from_secs(5);

/// The door.
pub struct Door {
    listener: TcpListener,
    port: u16,
}

impl Door {
    /// Opens it.
    pub async fn open(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await;
        let listener =
            listener.with_context(|| format!("port {port} of this machine: choose another with --port"))?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port })
    }

    /// What the provider is told.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }

    /// Waits for the person. What comes to other paths, or to another login, is answered and changes nothing.
    pub async fn code(&self, grant: &Grant, patience: Duration) -> Result<String> {
        let waited = timeout(patience, async {
            loop {
                let (mut stream, _) = self.listener.accept().await?;
                let Ok(Some(target)) = timeout(HEAD_TIME, target(&mut stream)).await else { continue };
                let Some(query) = target.strip_prefix(PATH).and_then(|rest| rest.strip_prefix('?')) else {
                    say(&mut stream, 404, "nothing is here").await;
                    continue;
                };
                match grant.code(query) {
                    Ok(code) => {
                        say(&mut stream, 200, "Access is granted: you can close this page.").await;
                        return Ok(code);
                    }
                    Err(why) if query.contains("error=") && !why.contains("state") => {
                        say(&mut stream, 200, "Access is not granted: you can close this page.").await;
                        bail!(why);
                    }
                    Err(why) => say(&mut stream, 400, &why).await,
                }
            }
        });
        match waited.await {
            Ok(code) => code,
            Err(_) => bail!("nobody granted access within {} s: start again", patience.as_secs()),
        }
    }
}

/// The target of the request's first line.
async fn target(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut piece = [0; 1024];
        let length = stream.read(&mut piece).await.ok().filter(|length| *length > 0)?;
        head.extend_from_slice(&piece[..length]);
        if head.len() > HEAD_BYTES {
            return None;
        }
    }
    let text = String::from_utf8_lossy(&head);
    let mut words = text.lines().next()?.split(' ');
    (words.next() == Some("GET")).then(|| words.next().map(str::to_owned)).flatten()
}

async fn say(stream: &mut TcpStream, status: u16, text: &str) {
    let answer = format!(
        "HTTP/1.1 {status} -\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
         x-content-type-options: nosniff\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    // Whoever closed the page before reading it misses nothing.
    drop(stream.write_all(answer.as_bytes()).await);
    drop(stream.shutdown().await);
}

#[cfg(test)]
mod tests {
    use sre_components::oauth::code::Application;

    use super::*;

    async fn ask(door: &Door, target: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", door.port)).await.unwrap();
        stream.write_all(format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn state(grant: &Grant) -> String {
        let application = Application {
            authorize_url: "https://h/authorize".parse().unwrap(),
            token_url: "https://h/token".parse().unwrap(),
            client_id: "app".into(),
            client_secret: String::new(),
            scope: String::new(),
        };
        let url = grant.url(&application);
        url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned()
    }

    #[tokio::test]
    async fn only_the_person_who_was_sent_comes_back() {
        let door = Door::open(0).await.unwrap();
        let grant = Grant::new(door.address());
        let state = state(&grant);
        let wait = door.code(&grant, Duration::from_secs(10));
        let (code, ()) = tokio::join!(wait, async {
            assert!(ask(&door, "/favicon.ico").await.starts_with("HTTP/1.1 404"));
            assert!(ask(&door, "/callback?code=evil&state=other").await.starts_with("HTTP/1.1 400"));
            assert!(ask(&door, &format!("/callback?code=good&state={state}")).await.contains("granted"));
        });
        assert_eq!(code.unwrap(), "good");
    }

    #[tokio::test]
    async fn a_refusal_and_silence_end_it() {
        let door = Door::open(0).await.unwrap();
        let grant = Grant::new(door.address());
        let refused = format!("/callback?error=access_denied&state={}", state(&grant));
        let (code, _) = tokio::join!(door.code(&grant, Duration::from_secs(10)), ask(&door, &refused));
        assert!(code.unwrap_err().to_string().contains("access_denied"));
        let late = door.code(&grant, Duration::from_millis(20)).await.unwrap_err();
        assert!(late.to_string().contains("nobody granted access"));
    }
}
