//! What a backup of this service's store must hold beside it.

use std::collections::BTreeSet;

use rusqlite::Connection;
use sre_store::StoreError;

/// The objects that files of a store name: the backend's instance, empty for the default one, and the path below the
/// folder of a local one. A store of before there were several instances has the default one alone.
pub fn objects(conn: &Connection) -> Result<BTreeSet<(String, String)>, StoreError> {
    let several: bool = conn.query_row(
        "select exists (select 1 from pragma_table_info('file') where name = 'instance')",
        [],
        |row| row.get(0),
    )?;
    let columns = if several { "instance, object" } else { "'', object" };
    let mut statement = conn.prepare(&format!("select {columns} from file"))?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| {
        let (instance, object) = row?;
        Ok((instance, format!("{}/{object}", object.get(..2).unwrap_or_default())))
    })
    .collect()
}
