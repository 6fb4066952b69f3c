//! Names of what Account serves: `teams/{team}`, and settings and keys below a principal.

use sre_identity::Candidate;

use crate::error::Error;

/// The principal that a collection and an id name: `teams/default`, `users/alice`, `agents/greeter`.
pub fn principal(field: &'static str, name: &str) -> Result<Candidate, Error> {
    let wrong = |message: String| Error::invalid(field, message);
    let shape = || wrong(format!("{name:?} names no principal: write teams/<id>, users/<id> or agents/<id>"));
    let (collection, id) = name.split_once('/').ok_or_else(shape)?;
    let candidate = match collection {
        "teams" => Candidate::team(id),
        "users" => Candidate::user(id),
        "agents" => Candidate::agent(id),
        _ => return Err(shape()),
    };
    candidate.map_err(|error| wrong(error.to_string()))
}

/// The team that `teams/{team}` names.
pub fn team(field: &'static str, name: &str) -> Result<String, Error> {
    let candidate = principal(field, name)?;
    if candidate.role() != sre_identity::Role::Team {
        return Err(Error::invalid(field, format!("{name:?} is not a team: write teams/<id>")));
    }
    Ok(candidate.id().to_owned())
}

/// The principal and the last part of `{principal}/{collection}/{rest}`.
pub fn child<'a>(
    field: &'static str,
    name: &'a str,
    collection: &str,
) -> Result<(Candidate, &'a str), Error> {
    let wrong = || Error::invalid(field, format!("{name:?} is not <principal>/{collection}/<id>"));
    let mut parts = name.splitn(4, '/');
    let (Some(kind), Some(id), Some(middle), Some(rest)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong());
    };
    if middle != collection || rest.is_empty() {
        return Err(wrong());
    }
    let owner = name.get(..kind.len() + 1 + id.len()).ok_or_else(wrong)?;
    Ok((principal(field, owner)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_whom_they_are_of() {
        assert_eq!(principal("name", "users/alice").unwrap().to_string(), "user/alice");
        assert_eq!(team("name", "teams/default").unwrap(), "default");
        let (owner, key) = child("name", "teams/default/settings/custom-llm", "settings").unwrap();
        assert_eq!((owner.to_string().as_str(), key), ("team/default", "custom-llm"));
        let (_, key) = child("name", "teams/t/secrets/AWS Key ID (m192)", "secrets").unwrap();
        assert_eq!(key, "AWS Key ID (m192)");
    }

    #[test]
    fn other_names_are_refused() {
        for name in ["", "teams", "teams/", "team/x", "users/a b", "teams/../x", "services/io"] {
            assert!(principal("name", name).is_err(), "{name}");
        }
        assert!(team("name", "users/alice").is_err());
        for name in ["teams/t/settings", "teams/t/settings/", "teams/t/secrets/x", "teams//settings/x"] {
            assert!(child("name", name, "settings").is_err(), "{name}");
        }
    }
}
