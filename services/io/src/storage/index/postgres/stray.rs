//! Objects that no row names. Every statement about the table `stray_object` is here.

use sre_store::StoreError;
use sre_store::pg::{GenericClient, PgClient};

use crate::clock::Millis;
use crate::storage::index::Stray;

/// Notes an object; noted again, only the name of its unfinished write changes.
pub async fn note(client: &PgClient, stray: &Stray, due: Millis) -> Result<(), StoreError> {
    let sql = "insert into stray_object (object, instance, unfinished, due_ms) values ($1, $2, $3, $4)
               on conflict (object) do update set unfinished = excluded.unfinished";
    let statement = client.prepare_cached(sql).await?;
    client.execute(&statement, &[&stray.object, &stray.instance, &stray.unfinished, &due]).await?;
    Ok(())
}

/// Sets when an object is due, if it is still stray.
pub async fn due_at(client: &PgClient, object: &str, due: Millis) -> Result<(), StoreError> {
    let sql = "update stray_object set due_ms = $2 where object = $1";
    client.execute(&client.prepare_cached(sql).await?, &[&object, &due]).await?;
    Ok(())
}

/// Takes an object into a row. False when the sweeper has it already.
pub async fn adopt(client: &PgClient, object: &str) -> Result<bool, StoreError> {
    let sql = "delete from stray_object where object = $1 and not condemned";
    Ok(client.execute(&client.prepare_cached(sql).await?, &[&object]).await? == 1)
}

/// Condemns objects that are due, so that no row can adopt them any more, and gives them. What another replica
/// condemns at the moment is left to it.
pub async fn condemn(client: &PgClient, now: Millis, limit: u32) -> Result<Vec<Stray>, StoreError> {
    let sql = "update stray_object set condemned = true where object in
                 (select object from stray_object where due_ms <= $1 order by due_ms limit $2
                  for update skip locked)
               returning object, instance, unfinished";
    let rows = client.query(&client.prepare_cached(sql).await?, &[&now, &i64::from(limit)]).await?;
    rows.iter()
        .map(|row| {
            Ok(Stray { object: row.try_get(0)?, instance: row.try_get(1)?, unfinished: row.try_get(2)? })
        })
        .collect()
}

/// Forgets objects that are gone.
pub async fn forget(client: &PgClient, objects: &[String]) -> Result<(), StoreError> {
    let sql = "delete from stray_object where object = any($1)";
    client.execute(&client.prepare_cached(sql).await?, &[&objects]).await?;
    Ok(())
}
