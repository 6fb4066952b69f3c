//! What a backup of this service's store must hold beside it.

use std::collections::BTreeSet;

use rusqlite::Connection;
use sre_store::StoreError;

/// The local objects that files of a store name, as paths below the folder of objects. Objects of other backends
/// are not among them.
pub fn objects(conn: &Connection) -> Result<BTreeSet<String>, StoreError> {
    let mut statement = conn.prepare("select object from file")?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    rows.map(|object| Ok(object.map(|object| format!("{}/{object}", object.get(..2).unwrap_or_default()))?))
        .collect()
}
