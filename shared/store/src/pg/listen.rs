//! Hearing what other processes say through the database.

use std::future::poll_fn;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, NoTls, Socket};

use super::{PgConfig, PgTls, tls};
use crate::StoreError;

/// A connection that listens. Dropped, it ends.
#[derive(Debug)]
pub struct Listener {
    client: Client,
    _connection: JoinSet<()>,
}

impl Listener {
    /// Sends a notice on a channel, to everybody who listens there, this connection included.
    pub async fn notify(&self, channel: &str, payload: &str) -> Result<(), StoreError> {
        self.client.execute("select pg_notify($1, $2)", &[&channel, &payload]).await?;
        Ok(())
    }
}

pub(super) async fn open(
    config: &PgConfig,
    channel: &str,
    capacity: usize,
) -> Result<(Listener, mpsc::Receiver<String>), StoreError> {
    match config.tls {
        PgTls::Disable => connect(config, NoTls, channel, capacity).await,
        PgTls::Require => connect(config, tls::connector(config.tls_ca.as_deref())?, channel, capacity).await,
    }
}

async fn connect<T>(
    config: &PgConfig,
    tls: T,
    channel: &str,
    capacity: usize,
) -> Result<(Listener, mpsc::Receiver<String>), StoreError>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + Unpin + 'static,
{
    let (client, mut connection) = config.driver()?.connect(tls).await?;
    let (sender, receiver) = mpsc::channel(capacity);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut missed = false;
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            let AsyncMessage::Notification(notice) = message else { continue };
            // Never waits for room: answers to statements pass here too.
            missed = (missed && sender.try_send(String::new()).is_err())
                || sender.try_send(notice.payload().to_owned()).is_err();
            if sender.is_closed() {
                return;
            }
        }
    });
    let listener = Listener { client, _connection: tasks };
    // A channel's name cannot be a parameter here; it comes from the program, quoted all the same.
    let channel = channel.replace('"', "\"\"");
    listener.client.batch_execute(&format!("listen \"{channel}\"")).await?;
    Ok((listener, receiver))
}
