//! The authorization matrix: every method of the table, with one valid request on an existing resource, from
//! everybody who must be refused, from the owner, and from a caller with exactly the level that is asked for.
//!
//! `world` makes the resource and the request of a row (`rows`, by package), `callers` knows who is refused,
//! `driver` goes through the table.

mod callers;
mod case;
mod driver;
mod handshake;
mod painter;
mod rows;
mod snapshot;
mod snapshot_postgres;
mod target;
mod world;

use driver::Way;
use painter::Painter;
use sre_service::Role;
use target::Target;
use world::World;

use crate::harness::outside::{Outside, Program};
use crate::harness::{Mode, Options, Suite};

async fn binary(name: &str, painter: &Painter) -> Target {
    let options = options(painter);
    Target::binary(Suite::start(name, Mode::AllInOne, options).await)
}

fn options(painter: &Painter) -> Options {
    Options::default()
        .listen_everywhere()
        .set("models.path", painter.models().display())
        // What time changes would be taken for a caller's doing.
        .set("journal.sweep_interval_ms", 3_600_000)
        .set("security.deployment_admins", r#"["user/dev", "user/root"]"#)
}

/// Goes through the table and fails with every row that is not as it must be.
async fn hold(target: Target, ways: &[Way]) {
    let world = World::new(target).await.unwrap();
    let mut failures = Vec::new();
    let mut rows = 0;
    for way in ways {
        for row in driver::table() {
            rows += 1;
            if let Err(failure) = Box::pin(driver::hold(&world, *way, row)).await {
                failures.push(format!("{way:?} {}: {failure:#}", row.path));
            }
        }
    }
    world.stop().await;
    assert!(failures.is_empty(), "{} of {rows} rows:\n{}", failures.len(), failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_to_each_role() {
    let painter = Painter::start().await;
    hold(binary("matrix-tls", &painter).await, &[Way::Direct]).await;
}

/// All state in PostgreSQL: every method does the same there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_with_postgres() {
    let Some(server) = Outside::start("matrix-postgres-server", Program::Postgres).await else { return };
    let painter = Painter::start().await;
    let options = options(&painter)
        .set("store.backend", "postgres")
        .set("store.postgres.url", server.url())
        .set("store.postgres.tls", "disable");
    let suite = Suite::start("matrix-postgres", Mode::AllInOne, options).await;
    hold(Target::binary_over(suite, server.url()), &[Way::Direct]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_the_edge() {
    let painter = Painter::start().await;
    hold(binary("matrix-edge", &painter).await, &[Way::Edge]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inside_one_process() {
    let painter = Painter::start().await;
    hold(Target::in_process(&painter).await, &[Way::Direct, Way::Edge]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_certificate_and_a_foreign_one_fail_in_the_handshake() {
    let painter = Painter::start().await;
    let Target::Binary { suite, .. } = binary("handshake", &painter).await else {
        unreachable!("a binary was asked for")
    };
    for role in Role::ALL {
        handshake::refused(&suite, role).await;
    }
    suite.stop().await;
}
