//! The operations that are used, typed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{AwsError, Client};
use crate::moment::Moment;
use crate::vault::connectors::SecretStoreError;
use crate::vault::secret::SecretValue;

/// Pages of one list that are read, of a hundred each.
const MAX_PAGES: usize = 100;
/// The longest name.
const MAX_NAME: usize = 512;
/// What the ids of numbered versions begin with. An id has 32 characters at least.
const VERSION: &str = "sre-version-";

/// The value of a version. The service takes no empty one: one byte of zero as binary stands for it, since text
/// that is that byte is kept as text.
pub struct Content(pub SecretValue);

/// A version with its value.
pub struct StoredVersion {
    /// The version's id.
    pub id: String,
    /// When it was made.
    pub created: Moment,
    /// Its value.
    pub value: SecretValue,
}

/// What there is of a secret.
pub struct Described {
    /// Whether it is scheduled for deletion.
    pub is_deleted: bool,
}

/// One secret of a list.
pub struct Listed {
    /// Its name.
    pub name: String,
    /// The id of its current version.
    pub current: String,
    /// When it was changed.
    pub changed: Moment,
}

/// The id of a numbered version.
pub fn versioned(number: u64) -> String {
    format!("{VERSION}{number:020}")
}

/// The number of a version; 0 for one that somebody else made.
pub fn number_of(id: &str) -> u64 {
    id.strip_prefix(VERSION).and_then(|number| number.parse().ok()).unwrap_or_default()
}

impl Content {
    fn fields(&self) -> (&'static str, Value) {
        let bytes = self.0.expose();
        match std::str::from_utf8(bytes) {
            Ok("") => ("SecretBinary", json!(STANDARD.encode([0]))),
            Ok(text) => ("SecretString", json!(text)),
            Err(_) => ("SecretBinary", json!(STANDARD.encode(bytes))),
        }
    }

    fn of(json: &Value) -> Result<SecretValue, AwsError> {
        let damaged = |text: &str| AwsError::Store(SecretStoreError::Damaged(text.to_owned()));
        if let Some(text) = json.get("SecretString").and_then(Value::as_str) {
            return Ok(SecretValue::new(text.as_bytes().to_vec()));
        }
        let binary = json.get("SecretBinary").and_then(Value::as_str);
        let binary = binary.ok_or_else(|| damaged("the secret has no value"))?;
        let bytes = STANDARD.decode(binary).map_err(|_| damaged("the secret's binary is no base64"))?;
        Ok(SecretValue::new(if bytes == [0] { Vec::new() } else { bytes }))
    }
}

/// A time as the service writes it: seconds with a fraction.
fn moment(json: &Value, field: &str) -> Moment {
    let seconds = json.get(field).and_then(Value::as_f64).unwrap_or_default();
    Moment((seconds * 1e6) as i64)
}

fn text(json: &Value, field: &str) -> String {
    json.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl Client {
    /// The path of a secret's name: parts that may be anything, escaped.
    pub fn name(prefix: &str, parts: &[&str]) -> Result<String, SecretStoreError> {
        let mut name = prefix.to_owned();
        for part in parts {
            name.push('/');
            escape(part, &mut name);
        }
        if name.len() > MAX_NAME {
            return Err(SecretStoreError::Invalid(format!(
                "the key is too long for AWS Secrets Manager: escaped, its name has {} characters, {MAX_NAME} at most",
                name.len()
            )));
        }
        Ok(name)
    }

    /// A version's value, the current one where none is named.
    pub async fn value(&self, name: &str, version: Option<&str>) -> Result<StoredVersion, AwsError> {
        let mut request = Map::from_iter([("SecretId".to_owned(), json!(name))]);
        if let Some(version) = version {
            request.insert("VersionId".to_owned(), json!(version));
        }
        let json = self.call("GetSecretValue", &request).await?;
        let created = moment(&json, "CreatedDate");
        Ok(StoredVersion { id: text(&json, "VersionId"), created, value: Content::of(&json)? })
    }

    /// A new secret with its first version.
    pub async fn create(&self, name: &str, version: &str, content: &Content) -> Result<(), AwsError> {
        let (field, value) = content.fields();
        let tags = json!([{ "Key": "sre", "Value": "true" }]);
        let request = json!({ "Name": name, "ClientRequestToken": version, field: value, "Tags": tags });
        self.call("CreateSecret", &request).await.map(drop)
    }

    /// A further version; [`AwsError::Exists`] where another value has that version.
    pub async fn update(&self, name: &str, version: &str, content: &Content) -> Result<(), AwsError> {
        let (field, value) = content.fields();
        let request = json!({ "SecretId": name, "ClientRequestToken": version, field: value });
        self.call("PutSecretValue", &request).await.map(drop)
    }

    /// Schedules the deletion, or deletes for good, as the settings say; false where there was nothing.
    pub async fn remove(&self, name: &str) -> Result<bool, AwsError> {
        let mut request = Map::from_iter([("SecretId".to_owned(), json!(name))]);
        match self.recovery_days {
            0 => request.insert("ForceDeleteWithoutRecovery".to_owned(), json!(true)),
            days => request.insert("RecoveryWindowInDays".to_owned(), json!(days)),
        };
        match self.call("DeleteSecret", &request).await {
            Ok(_) => Ok(true),
            Err(AwsError::NotFound | AwsError::Deleted) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes a scheduled deletion back.
    pub async fn restore(&self, name: &str) -> Result<(), AwsError> {
        self.call("RestoreSecret", &json!({ "SecretId": name })).await.map(drop)
    }

    /// Whether a secret is there; none where it is not known.
    pub async fn describe(&self, name: &str) -> Result<Option<Described>, AwsError> {
        match self.call("DescribeSecret", &json!({ "SecretId": name })).await {
            Ok(json) => {
                let is_deleted = json.get("DeletedDate").is_some_and(|date| !date.is_null());
                Ok(Some(Described { is_deleted }))
            }
            Err(AwsError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All versions of a secret that is there, with whether each is the current one.
    pub async fn versions(&self, name: &str) -> Result<Vec<(String, Moment, bool)>, AwsError> {
        let mut found = Vec::new();
        let mut request = json!({ "SecretId": name, "IncludeDeprecated": true, "MaxResults": 100 });
        for _ in 0..MAX_PAGES {
            let json = self.call("ListSecretVersionIds", &request).await?;
            for version in json.get("Versions").and_then(Value::as_array).into_iter().flatten() {
                let stages = version.get("VersionStages").and_then(Value::as_array);
                let is_current = stages.is_some_and(|stages| stages.contains(&json!("AWSCURRENT")));
                found.push((text(version, "VersionId"), moment(version, "CreatedDate"), is_current));
            }
            match text(&json, "NextToken").as_str() {
                "" => return Ok(found),
                next => request["NextToken"] = json!(next),
            }
        }
        Err(AwsError::Store(SecretStoreError::Full("a secret has too many versions".into())))
    }

    /// All secrets below a folder of names, page after page, without those scheduled for deletion.
    pub async fn list(&self, folder: &str) -> Result<Vec<Listed>, AwsError> {
        let mut found = Vec::new();
        let filter = json!([{ "Key": "name", "Values": [folder] }]);
        let mut request = json!({ "Filters": filter, "MaxResults": 100 });
        for _ in 0..MAX_PAGES {
            let json = self.call("ListSecrets", &request).await?;
            for secret in json.get("SecretList").and_then(Value::as_array).into_iter().flatten() {
                let is_deleted = secret.get("DeletedDate").is_some_and(|date| !date.is_null());
                let name = text(secret, "Name");
                if is_deleted || !name.starts_with(folder) {
                    continue;
                }
                let versions = secret.get("SecretVersionsToStages").and_then(Value::as_object);
                let current = versions.into_iter().flatten().find(|(_, stages)| {
                    stages.as_array().is_some_and(|stages| stages.contains(&json!("AWSCURRENT")))
                });
                let current = current.map(|(id, _)| id.clone()).unwrap_or_default();
                found.push(Listed { name, current, changed: moment(secret, "LastChangedDate") });
            }
            match text(&json, "NextToken").as_str() {
                "" => return Ok(found),
                next => request["NextToken"] = json!(next),
            }
        }
        let text = format!("{folder} has more than {} secrets: too many to list", MAX_PAGES * 100);
        Err(AwsError::Store(SecretStoreError::Full(text)))
    }

    /// Whether the service answers and takes the credentials.
    pub async fn ping(&self) -> Result<(), AwsError> {
        self.call("ListSecrets", &json!({ "MaxResults": 1 })).await.map(drop)
    }
}

/// Letters, digits and `_.+@-` stand for themselves; each other byte is `=` and two hex digits.
fn escape(part: &str, into: &mut String) {
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'+' | b'@' | b'-' => {
                into.push(char::from(byte))
            }
            other => into.push_str(&format!("={other:02x}")),
        }
    }
}

/// What [`Client::name`] made one part of; none for what somebody else named.
pub fn unescape(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'=' {
            let (digits, after) = after.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    let mut again = String::new();
    escape(&text, &mut again);
    (again == part).then_some(text)
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn names_are_escaped_and_read_back() {
        for (key, wanted) in [
            ("openai", "openai"),
            ("AWS Key ID (m192)", "AWS=20Key=20ID=20=28m192=29"),
            ("a/b", "a=2fb"),
            ("=41", "=3d41"),
        ] {
            assert_eq!(Client::name("sre", &["t", key]).unwrap(), format!("sre/t/{wanted}"));
            assert_eq!(unescape(wanted).as_deref(), Some(key));
        }
        for foreign in ["a/b", "=4", "=zz", "=41", "=2F"] {
            assert_eq!(unescape(foreign), None, "{foreign}");
        }
        assert!(matches!(Client::name("sre", &["t", &"ü".repeat(256)]), Err(SecretStoreError::Invalid(_))));
    }

    #[test]
    fn versions_are_numbered_in_their_ids() {
        assert_eq!(versioned(7).len(), 32);
        assert_eq!(number_of(&versioned(u64::MAX)), u64::MAX);
        assert_eq!(number_of("8f14e45f-ceea-467f-a0e6-1f1d0d6c3a11"), 0);
    }
}
