//! What a suite stores in PostgreSQL.

use std::sync::Arc;

use sre_store::pg::tokio_postgres::{Client, NoTls, connect};

use super::snapshot::{NOT_COMPARED, Snapshot, VOLATILE};

/// A connection that reads all rows of a suite.
pub struct StoredRows {
    client: tokio::sync::Mutex<Client>,
}

impl StoredRows {
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        let (client, connection) = connect(url, NoTls).await?;
        // It ends with the client.
        sre_service::task::spawn("stored rows", async move { drop(connection.await) });
        Ok(Self { client: tokio::sync::Mutex::new(client) })
    }

    /// Rows by schema and table, all of one moment.
    pub async fn read(&self) -> anyhow::Result<Snapshot> {
        let mut client = self.client.lock().await;
        let transaction = client
            .build_transaction()
            .read_only(true)
            .isolation_level(sre_store::pg::tokio_postgres::IsolationLevel::RepeatableRead);
        let transaction = transaction.start().await?;
        let tables = "select table_schema::text, table_name::text from information_schema.tables
                      where table_schema like 'sre\\_%' and table_type = 'BASE TABLE'";
        let mut snapshot = Snapshot::new();
        for row in transaction.query(tables, &[]).await? {
            let (schema, table): (String, String) = (row.get(0), row.get(1));
            if NOT_COMPARED.contains(&table.as_str()) {
                continue;
            }
            let volatile: Vec<String> = VOLATILE.iter().map(|column| format!(" - '{column}'")).collect();
            let sql = format!("select (to_jsonb(t){})::text from {schema}.{table} t", volatile.concat());
            let rows = transaction.query(&sql, &[]).await?;
            let rows = rows.iter().map(|row| row.get::<_, String>(0)).collect();
            snapshot.insert(format!("{schema} {table}"), Arc::new(rows));
        }
        transaction.rollback().await?;
        Ok(snapshot)
    }
}
