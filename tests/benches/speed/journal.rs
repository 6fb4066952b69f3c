//! Journal bytes of a loop's element, which must not grow with the loop.

use sre_proto::gateway::v1::runs_client::RunsClient;

use super::agents;
use super::suite::{self, Mode, Running};

/// Runs a loop of 1,000 and one of 100,000 and counts what the journal holds of each.
pub async fn measure() {
    println!("\n## A journalled ForEach over a pure component\n");
    println!("| elements | time | time per element | records | journal bytes per element |");
    println!("|---|---|---|---|---|");
    let suite = Running::start(Mode::AllInOne).await;
    let files = tempfile::tempdir().unwrap();
    suite.put(&agents::write(files.path(), &agents::looper()));
    let mut client = RunsClient::new(suite.connect().await).max_decoding_message_size(64 << 20);
    for elements in [1_000_u32, 100_000] {
        let list: Vec<u32> = (0..elements).map(|number| 100_000 + number).collect();
        let input = serde_json::json!({ "list": list }).to_string();
        let before = size(&suite);
        let began = std::time::Instant::now();
        suite::start_and_wait(&mut client, "looper", "each", &input).await;
        let time = began.elapsed();
        let after = size(&suite);
        println!(
            "| {elements} | {} ms | {:.1} µs | {} | {:.1} |",
            time.as_millis(),
            time.as_secs_f64() * 1e6 / f64::from(elements),
            after.0 - before.0,
            (after.1 - before.1) as f64 / f64::from(elements),
        );
    }
}

/// Records and their bytes, bodies kept apart included.
fn size(suite: &Running) -> (i64, i64) {
    let path = suite.data().join("store/memory.db");
    let connection =
        rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let sql = "select count(*), coalesce(sum(length(step) + length(body) + coalesce(blob_bytes, 0)), 0) from record";
    connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}
