//! What a write makes of what is there: the same for every database.

use super::{At, Commit, Deletion, Expiry, FileRow, Update};
use crate::basis::Basis;
use crate::clock::millis;
use crate::error::IoError;
use crate::storage::{FileName, Owner, Scope, metadata};
use crate::usage::{self, Change, Kind, Quota};

/// The row that exists now, if the decision still stands on its list.
pub fn live(row: Option<FileRow>, basis: &Basis, at: At) -> Result<Option<FileRow>, IoError> {
    let row = row.filter(|row| row.is_live(at.now));
    if basis.holds(row.as_ref().map(|row| row.acl.as_str())) { Ok(row) } else { Err(IoError::AclChanged) }
}

/// What a commit makes of the row that is there, expired or not.
pub struct Committed {
    /// The new row.
    pub row: FileRow,
    /// What the team holds more.
    pub change: Change,
    /// The bytes that it lets go of.
    pub replaced: Option<FileRow>,
}

/// A commit over what is there.
pub fn commit(commit: Commit, before: Option<FileRow>, at: At) -> Result<Committed, IoError> {
    let live = live(before.clone(), &commit.basis, at)?;
    commit.condition.check(live.as_ref().map(|row| row.etag.as_str()))?;
    let size_bytes = commit.upload.size_bytes;
    // An expired row that was not swept yet still counts; replacing it takes its place.
    let change = Change {
        items: i64::from(before.is_none()),
        bytes: size_bytes - before.as_ref().map_or(0, |row| row.size_bytes),
    };
    let acl = match &live {
        Some(row) => commit.acl_when_there.unwrap_or_else(|| row.acl.clone()),
        None => commit.acl_when_new,
    };
    let row = FileRow {
        name: commit.name.to_string(),
        team: commit.name.scope.team,
        etag: fresh_etag(),
        mimetype: commit.upload.mimetype,
        size_bytes,
        digest: commit.upload.digest,
        object: commit.upload.object.as_str().to_owned(),
        instance: commit.upload.instance,
        acl,
        metadata: commit.metadata,
        created_ms: live.map_or(at.now, |row| row.created_ms),
        updated_ms: at.now,
        expires_ms: commit.time_to_live.map(|life| at.now.saturating_add(millis(life))),
    };
    Ok(Committed { row, change, replaced: before })
}

/// The row that a deletion removes; none where there is none, and that was known.
pub fn delete(deletion: &Deletion, row: Option<FileRow>, at: At) -> Result<Option<FileRow>, IoError> {
    let Some(row) = live(row, &deletion.basis, at)? else { return Ok(None) };
    deletion.condition.check(Some(&row.etag))?;
    Ok(Some(row))
}

/// What an update makes of a row.
pub fn update(update: Update, row: Option<FileRow>, at: At) -> Result<FileRow, IoError> {
    let row = live(row, &update.basis, at)?;
    let mut row = row.ok_or_else(|| IoError::NotFound(update.name.to_string()))?;
    update.condition.check(Some(&row.etag))?;
    for key in &update.remove {
        row.metadata.remove(key);
    }
    row.metadata.extend(update.set);
    metadata::check("set_metadata", &row.metadata)?;
    if let Some(mimetype) = update.mimetype {
        row.mimetype = mimetype;
    }
    match update.expiry {
        Expiry::Keep => {}
        Expiry::Never => row.expires_ms = None,
        Expiry::After(life) => row.expires_ms = Some(at.now.saturating_add(millis(life))),
    }
    row.etag = fresh_etag();
    row.updated_ms = at.now;
    Ok(row)
}

fn fresh_etag() -> String {
    sre_proto::ids::new_uuid().simple().to_string()
}

/// The first and the first following name of those below a folder that begin with `prefix`.
pub fn range(folder: &crate::storage::FolderName, prefix: &str) -> (String, String) {
    let from = format!("{}{prefix}", folder.prefix());
    (from.clone(), after_prefix(&from))
}

/// The smallest text that is greater than every text with this prefix, in the order of bytes. Never cut within a
/// character: the last one is replaced by its successor.
fn after_prefix(prefix: &str) -> String {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // UTF-8 keeps the order of code points; surrogates are no characters, so they are left out.
        let next = match u32::from(last) + 1 {
            0xD800 => char::from_u32(0xE000),
            next => char::from_u32(next),
        };
        if let Some(next) = next {
            chars.push(next);
            return chars.into_iter().collect();
        }
    }
    // Nothing has this prefix and is greater; names never begin with the last character there is.
    char::MAX.to_string()
}

/// In whose books a file is: its team's, and its agent's where it is among an agent's files. Always in this order,
/// so that no two writers wait for each other.
pub fn holders(row: &FileRow) -> Vec<(String, Kind)> {
    let mut holders = vec![(row.team.clone(), Kind::Files)];
    if let Ok(FileName { scope: Scope { team, owner: Owner::Agent(agent) }, .. }) = FileName::parse(&row.name)
    {
        holders.push((usage::agent(&team, &agent), Kind::AgentFiles));
    }
    holders
}

/// How much a holder may hold.
pub fn quota(kind: Kind, at: At) -> Quota {
    match kind {
        Kind::AgentFiles => at.quotas.agent,
        _ => at.quotas.team,
    }
}

/// What a row that goes takes with it.
pub fn less(row: &FileRow) -> Change {
    Change { items: -1, bytes: -row.size_bytes }
}

/// The refusal of what is too much.
pub fn too_much(row: &FileRow, kind: Kind) -> IoError {
    let what = match kind {
        Kind::AgentFiles => "files of this agent",
        _ => "files",
    };
    IoError::Quota { team: row.team.clone(), what }
}
