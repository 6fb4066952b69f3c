//! Versioned migrations that expand, then contract, as a plan that both backends execute.
//!
//! Schema N serves binaries N-1 and N, so that a suite can be upgraded, and taken back, one replica
//! at a time. `expand` of version N only adds (tables, nullable columns, indexes). What N makes
//! superfluous is removed by `contract`, and that runs only when no binary N-1 may be there any more:
//! before version N+1 expands, or when the operator asks for it. One release brings at most one
//! migration per store.

use crate::StoreError;

/// One version of a schema. Versions count from 1 without gaps.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// The version that this migration reaches.
    pub version: u32,
    /// A short name. It is stored, and a different name under the same version is refused.
    pub name: &'static str,
    /// Additive SQL, one or more statements. The binary of the version before must live with it.
    pub expand: &'static str,
    /// SQL that removes what only the version before needed.
    pub contract: Option<&'static str>,
}

/// Where a store's schema stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaState {
    /// The highest version whose `expand` has run; 0 in an empty store.
    pub version: u32,
    /// The oldest binary, by its highest version, that may use the store.
    pub min_reader: u32,
}

/// A step of a plan.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Expand(&'static Migration),
    Contract(&'static Migration),
}

impl Step {
    pub(crate) fn migration(&self) -> &'static Migration {
        match self {
            Self::Expand(migration) | Self::Contract(migration) => migration,
        }
    }

    pub(crate) fn sql(&self) -> &'static str {
        match self {
            Self::Expand(migration) => migration.expand,
            Self::Contract(migration) => migration.contract.unwrap_or_default(),
        }
    }

    /// The state of the schema after this step.
    pub(crate) fn state_after(&self) -> SchemaState {
        let version = self.migration().version;
        match self {
            Self::Expand(_) => SchemaState { version, min_reader: version.saturating_sub(1) },
            Self::Contract(_) => SchemaState { version, min_reader: version },
        }
    }

    pub(crate) fn failed(&self, store: &str, message: impl std::fmt::Display) -> StoreError {
        let (verb, migration) = match self {
            Self::Expand(migration) => ("expand", migration),
            Self::Contract(migration) => ("contract", migration),
        };
        StoreError::migration(store, format!("{verb} {} ({}): {message}", migration.version, migration.name))
    }
}

/// What the store says was applied: `(version, name)` in order.
pub(crate) type Applied = Vec<(u32, String)>;

/// The steps that bring a store in `state` to what `migrations` ends with.
pub(crate) fn plan(
    store: &str,
    migrations: &'static [Migration],
    applied: &Applied,
    state: SchemaState,
) -> Result<Vec<Step>, StoreError> {
    let known = check(store, migrations, applied)?;
    if state.version > known {
        // The next release has been here. It only added, unless it has contracted since.
        if state.version == known + 1 && state.min_reader <= known {
            return Ok(Vec::new());
        }
        return Err(StoreError::migration(
            store,
            format!(
                "its schema is version {} and needs a binary of version {} or later, this one knows up to {known}: \
                 start the newer release, or restore the backup taken before it",
                state.version,
                state.min_reader.max(state.version.saturating_sub(1)),
            ),
        ));
    }
    let mut steps = Vec::new();
    let mut reached = state;
    for migration in migrations.iter().filter(|migration| migration.version > state.version) {
        if let Some(step) = contract_of(migrations, reached) {
            steps.push(step);
        }
        steps.push(Step::Expand(migration));
        reached = Step::Expand(migration).state_after();
    }
    Ok(steps)
}

/// The contract of the newest version, when it has not run yet. Refused to a binary that does not know it.
pub(crate) fn plan_contract(
    store: &str,
    migrations: &'static [Migration],
    applied: &Applied,
    state: SchemaState,
) -> Result<Option<Step>, StoreError> {
    let known = check(store, migrations, applied)?;
    if state.version != known {
        return Err(StoreError::migration(
            store,
            format!(
                "its schema is version {}, this binary's {known}: contract with the newest release",
                state.version
            ),
        ));
    }
    Ok(contract_of(migrations, state))
}

fn contract_of(migrations: &'static [Migration], state: SchemaState) -> Option<Step> {
    let migration = migrations.iter().find(|migration| migration.version == state.version)?;
    (state.min_reader < state.version).then_some(Step::Contract(migration))
}

/// Checks the list against itself and against what was applied; gives the highest version known.
fn check(store: &str, migrations: &'static [Migration], applied: &Applied) -> Result<u32, StoreError> {
    let mut known = 0;
    for migration in migrations {
        if migration.version != known + 1 {
            return Err(StoreError::migration(
                store,
                format!(
                    "version {} follows version {known}: number them from 1 without gaps",
                    migration.version
                ),
            ));
        }
        known = migration.version;
    }
    for (version, name) in applied {
        let ours = migrations.iter().find(|migration| migration.version == *version);
        if let Some(ours) = ours.filter(|ours| ours.name != name) {
            return Err(StoreError::migration(
                store,
                format!(
                    "version {version} was applied as {name}, this binary calls it {}: it belongs to another program or branch",
                    ours.name
                ),
            ));
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn m(version: u32, name: &'static str) -> Migration {
        Migration { version, name, expand: "", contract: None }
    }
    static THREE: [Migration; 3] = [m(1, "one"), m(2, "two"), m(3, "three")];

    fn words(steps: &[Step]) -> Vec<String> {
        steps
            .iter()
            .map(|step| match step {
                Step::Expand(migration) => format!("expand {}", migration.version),
                Step::Contract(migration) => format!("contract {}", migration.version),
            })
            .collect()
    }

    fn state(version: u32, min_reader: u32) -> SchemaState {
        SchemaState { version, min_reader }
    }

    #[test]
    fn an_empty_store_goes_through_every_version_in_order() {
        let steps = plan("x", &THREE, &Vec::new(), state(0, 0)).unwrap();
        assert_eq!(words(&steps), ["expand 1", "contract 1", "expand 2", "contract 2", "expand 3"]);
        assert_eq!(steps.last().unwrap().state_after(), state(3, 2));
    }

    #[test]
    fn an_upgrade_contracts_the_version_before_once() {
        assert_eq!(words(&plan("x", &THREE, &Vec::new(), state(2, 1)).unwrap()), ["contract 2", "expand 3"]);
        assert_eq!(words(&plan("x", &THREE, &Vec::new(), state(2, 2)).unwrap()), ["expand 3"]);
        assert!(plan("x", &THREE, &Vec::new(), state(3, 2)).unwrap().is_empty());
    }

    #[test]
    fn an_older_binary_lives_with_the_next_schema_until_it_contracts() {
        assert!(plan("x", &THREE[..2], &Vec::new(), state(3, 2)).unwrap().is_empty());
        let contracted = plan("x", &THREE[..2], &Vec::new(), state(3, 3)).unwrap_err().to_string();
        assert!(contracted.contains("needs a binary of version 3 or later"), "{contracted}");
        let two_behind = plan("x", &THREE[..1], &Vec::new(), state(3, 2)).unwrap_err().to_string();
        assert!(two_behind.contains("this one knows up to 1"), "{two_behind}");
    }

    #[test]
    fn gaps_and_other_names_are_refused() {
        static GAP: [Migration; 2] = [m(1, "one"), m(3, "three")];
        assert!(plan("x", &GAP, &Vec::new(), state(0, 0)).is_err());
        let applied = vec![(1, "one".to_owned()), (2, "zwei".to_owned())];
        let error = plan("x", &THREE, &applied, state(2, 1)).unwrap_err().to_string();
        assert!(error.contains("zwei"), "{error}");
    }

    #[test]
    fn contract_on_request_is_for_the_newest_binary() {
        assert_eq!(
            plan_contract("x", &THREE, &Vec::new(), state(3, 2))
                .unwrap()
                .map(|step| step.state_after().min_reader),
            Some(3)
        );
        assert!(plan_contract("x", &THREE, &Vec::new(), state(3, 3)).unwrap().is_none());
        assert!(plan_contract("x", &THREE[..2], &Vec::new(), state(3, 2)).is_err());
    }
}
