//! Accounts at clouds that belong to agents.

use crate::compute::v1::CloudAccount;

/// What the places of code begin with that are an agent's own accounts. No connector's id has a colon.
const PLACE: &str = "account:";

/// Where code runs that is deployed to an account, as `CodeDeployment.instance` has it: a name for the account that
/// says nothing of its keys. Another key of the same account is another place.
#[must_use]
pub fn place(account: &CloudAccount) -> String {
    let mut digest = blake3::Hasher::new();
    for part in [&account.access_key_id, &account.region, &account.role] {
        digest.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    format!("{PLACE}{}", &digest.finalize().to_hex()[..24])
}

/// Whether a place is an agent's own account.
#[must_use]
pub fn is_place(instance: &str) -> bool {
    instance.starts_with(PLACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_one_of_its_key_region_and_role() {
        let account = CloudAccount {
            access_key_id: "AKIA".into(),
            secret_access_key: "secret".into(),
            region: "eu-central-1".into(),
            role: "arn:r".into(),
        };
        let named = place(&account);
        assert!(is_place(&named) && !is_place("aws") && !named.contains("AKIA"));
        assert_eq!(named, place(&CloudAccount { secret_access_key: "rotated".into(), ..account.clone() }));
        assert_ne!(named, place(&CloudAccount { region: "eu-west-1".into(), ..account.clone() }));
        assert_ne!(named, place(&CloudAccount { access_key_id: "AKIAe".into(), ..account }));
    }
}
