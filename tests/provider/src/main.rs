//! The server as a process: `sre-fake-provider [ADDRESS]` writes its address and runs until it is ended.

use std::io::Write as _;

use sre_fake_provider::FakeProvider;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let server = FakeProvider::start_on(&address).await?;
    writeln!(std::io::stdout(), "{}", server.origin())?;
    std::io::stdout().flush()?;
    std::future::pending().await
}
