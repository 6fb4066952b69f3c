//! One row: everybody who must be refused with the same bytes, then the owner, then exactly the level.

use std::fmt::Write as _;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use sre_proto::{METHODS, MethodPolicy, Rule, Visibility};
use sre_service::Role;
use tonic::{Code, Status};

use super::callers;
use super::case::{Case, OUTSIDER, OWNER};
use super::snapshot::{self, Snapshot};
use super::target::Who;
use super::world::{World, serving};

/// Which door is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The role that serves the method.
    Direct,
    /// The edge, which forwards.
    Edge,
}

/// Methods that are declared and not built yet: they answer so, after authorization.
const UNBUILT: [&str; 0] = [];

/// A row that makes tokens of before worthless comes last.
const LAST: &str = "/sre.security.v1.Identity/RotateKey";

/// Every row of the table.
pub fn table() -> Vec<&'static MethodPolicy> {
    let mut rows: Vec<&MethodPolicy> = METHODS.iter().collect();
    rows.sort_by_key(|row| row.path == LAST);
    rows
}

/// Something stored is not as it was.
#[derive(Debug, thiserror::Error)]
#[error("changed what is stored:\n{0}")]
struct Changed(String);

/// How often a row is tried whose calls changed what is stored: services tidy up now and then, which happens
/// once, while a call that changes something does so each time.
const TRIES: usize = 3;

/// Holds one row against what the table says of it.
pub async fn hold(world: &World, way: Way, row: &MethodPolicy) -> anyhow::Result<()> {
    for _ in 1..TRIES {
        match Box::pin(try_hold(world, way, row)).await {
            Err(failure) if failure.is::<Changed>() => {}
            done => return done,
        }
    }
    Box::pin(try_hold(world, way, row)).await
}

async fn try_hold(world: &World, way: Way, row: &MethodPolicy) -> anyhow::Result<()> {
    let case = world.case(row).await.context("making the request")?;
    let before = world.snapshot(&case).await?;
    all_refused(world, way, row, &case).await?;
    unchanged(&before, &world.snapshot(&case).await?)?;
    absent_like_forbidden(world, way, row, &case).await?;

    // What the edge does not forward has no success there.
    let is_public = row.visibility == Visibility::Public && matches!(row.rule, Rule::Access { .. });
    if way == Way::Edge && !is_public {
        return Ok(());
    }
    succeeds(world, way, row, &case, &case.owner, &before).await.context("the owner")?;

    let fresh = world.case(row).await.context("making another request")?;
    let before = world.snapshot(&fresh).await?;
    succeeds(world, way, row, &fresh, &fresh.exact, &before)
        .await
        .with_context(|| format!("exactly the level ({})", fresh.exact.principal))?;

    // That wrong tokens are refused means something only where a right one is not.
    if way == Way::Direct && is_public && row.package != "gateway" {
        let fresh = world.case(row).await.context("making a third request")?;
        let before = world.snapshot(&fresh).await?;
        let presenter = callers::presenter(row);
        let token = world.token(OWNER, presenter, row, |_| {});
        let who = Who::presents(presenter, token);
        succeeds(world, way, row, &fresh, &who, &before).await.context("a service with a right token")?;
    }
    Ok(())
}

async fn all_refused(world: &World, way: Way, row: &MethodPolicy, case: &Case) -> anyhow::Result<()> {
    let mut wrong = String::new();
    let callers = callers::refused(world, way, row, case);
    ensure!(!callers.is_empty(), "nobody is refused");
    for (label, who) in callers {
        match world.call(&who, door(way, row), row, &case.messages).await {
            Err(status) if is_refusal(&status) => {}
            Err(status) => write!(wrong, "\n  {label}: {:?} {:?}", status.code(), status.message())?,
            Ok(_) => write!(wrong, "\n  {label}: served")?,
        }
    }
    ensure!(wrong.is_empty(), "not refused as it must be:{wrong}");
    Ok(())
}

fn is_refusal(status: &Status) -> bool {
    // A refusal of ours says why; one that a transport made up does not.
    matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated)
        && sre_proto::error::reason(status).is_some()
}

fn unchanged(before: &Snapshot, after: &Snapshot) -> anyhow::Result<()> {
    if before != after {
        bail!(Changed(snapshot::difference(before, after)));
    }
    Ok(())
}

/// Who may not see a resource cannot tell whether there is one.
async fn absent_like_forbidden(
    world: &World,
    way: Way,
    row: &MethodPolicy,
    case: &Case,
) -> anyhow::Result<()> {
    if case.absent.is_empty() || case.open {
        return Ok(());
    }
    let who = match (way, row.package, row.visibility) {
        (Way::Direct, "gateway", _) | (Way::Direct, _, Visibility::Internal) => {
            let presenter = callers::presenter(row);
            Who::presents(presenter, world.token(OUTSIDER, presenter, row, |_| {}))
        }
        _ => Who::is(OUTSIDER),
    };
    let forbidden = answer(world.call(&who, door(way, row), row, &case.messages).await)?;
    let absent = answer(world.call(&who, door(way, row), row, &case.absent).await)?;
    ensure!(
        forbidden == absent,
        "an absent resource is told from a forbidden one: {absent:?}, {forbidden:?}"
    );
    Ok(())
}

fn answer(result: Result<Vec<Bytes>, Status>) -> anyhow::Result<(Code, String, Bytes)> {
    match result {
        Ok(_) => bail!("another team was served"),
        Err(status) => {
            Ok((status.code(), status.message().to_owned(), Bytes::copy_from_slice(status.details())))
        }
    }
}

async fn succeeds(
    world: &World,
    way: Way,
    row: &MethodPolicy,
    case: &Case,
    who: &Who,
    before: &Snapshot,
) -> anyhow::Result<()> {
    let is_unbuilt = UNBUILT.iter().any(|prefix| row.path.starts_with(prefix));
    // The engine takes calls from the edge alone: its clients are at the edge.
    let to = if row.package == "gateway" { Role::Edge } else { door(way, row) };
    match world.call(who, to, row, &case.messages).await {
        Err(status) if is_unbuilt => {
            ensure!(status.code() == Code::Unimplemented, "is not built and answers {status:?}");
            unchanged(before, &world.snapshot(case).await?)
        }
        Ok(_) if is_unbuilt => bail!("is built: take it off the list of what is not"),
        Err(status) => bail!("refused: {:?} {:?}", status.code(), status.message()),
        Ok(answers) => {
            if case.writes {
                ensure!(*before != world.snapshot_now(case).await?, "answered, and stored nothing");
            }
            case.check(world, &answers).await.context("the effect")
        }
    }
}

fn door(way: Way, row: &MethodPolicy) -> Role {
    match way {
        Way::Direct => serving(row),
        Way::Edge => Role::Edge,
    }
}
