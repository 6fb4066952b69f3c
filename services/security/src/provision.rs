//! The first principal. In the dev profile an empty store gets the team `default`, the user `dev` as its admin,
//! and an API key of that user in `keys/dev.key`. In production nothing is made up: an administrator of the
//! deployment creates the first team.

use std::io;
use std::path::Path;

use sre_identity::Candidate;
use sre_service::{Host, Profile};
use sre_store::sql::params;

use crate::account::teams::{self, Team};
pub use crate::account::teams_file::{ImportedTeam, TeamsFile, TeamsFileError};
use crate::api_keys::{self, NewKey};
use crate::error::Error;
use crate::moment::Moment;
use crate::state::State;
use crate::vault::key_file::write_private;

/// The team of a first start.
pub const TEAM: &str = "default";
/// The user of a first start.
pub const USER: &str = "dev";
/// The file of that user's API key, in the folder of keys.
pub const KEY_FILE: &str = "dev.key";

/// Makes the first principal where the profile is dev and the store is empty.
pub(crate) async fn first_start(host: &Host, state: &State) -> anyhow::Result<()> {
    if host.config().profile != Profile::Dev {
        return Ok(());
    }
    let folder = host.config().in_data_dir(&host.config().security.keys_dir);
    Ok(make_first(state, &folder.join(KEY_FILE)).await?)
}

/// Once: a key that the user deleted or revoked later is not made again.
async fn make_first(state: &State, key_file: &Path) -> Result<(), Error> {
    let key_file = key_file.to_owned();
    state
        .write(move |tx| {
            if tx.prepare_cached("select 1 from team")?.exists(params![])? {
                return Ok(());
            }
            let now = Moment::now();
            let dev = Candidate::user(USER).map_err(|error| Error::Internal(error.to_string()))?;
            let team = Team {
                id: TEAM.into(),
                display_name: TEAM.into(),
                organization: String::new(),
                created: now,
            };
            teams::create(tx, &team, &dev)?;
            let new = NewKey { principal: dev, display_name: "made at first start".into(), expires: None };
            let (_, text) = api_keys::create(tx, new, now)?;
            // In the transaction: either both exist, or the next start makes both.
            remove_stale(&key_file)?;
            write_private(&key_file, text.as_bytes()).map_err(|error| unwritable(&key_file, &error))
        })
        .await
}

/// A key file beside an empty store is of a store that is gone.
fn remove_stale(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritable(path, &error)),
        _ => Ok(()),
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    Error::Precondition(format!("{} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::state::testing::state;

    #[tokio::test]
    async fn the_first_start_makes_one_admin_with_one_key() {
        let (dir, state) = state().await;
        let file = dir.path().join("keys/dev.key");
        make_first(&state, &file).await.unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let key = text.trim().to_owned();
        let found = state.read(move |conn| api_keys::verify(conn, &key, Moment::now())).await.unwrap();
        assert_eq!(found.principal.to_string(), "user/dev");
        let dev = state.resolve(&found.principal).await.unwrap().unwrap();
        assert_eq!(dev.home_team, "default");

        std::fs::remove_file(&file).unwrap();
        make_first(&state, &file).await.unwrap();
        assert!(!file.exists(), "a second start makes nothing");
    }
}
