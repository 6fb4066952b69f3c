//! Access lists that were read a moment ago, by namespace.
//!
//! A list that is remembered is good for two things. Where a read brings the same text again, it need not be parsed
//! again. And a write may be decided by it without reading first, because the write's own step checks that the list
//! is still this one; where it is not, the decision is made again by what the store holds (H33). A refusal is never
//! made by a remembered list.

use std::sync::Arc;

use moka::sync::Cache;
use sre_identity::Acl;

use crate::error::IoError;
use crate::nkv::model::Namespace;
use crate::nkv::name::NamespaceName;
use crate::request;

const MAX_REMEMBERED: u64 = 20_000;

/// A list, as text and read.
#[derive(Debug)]
pub(super) struct List {
    pub(super) text: Arc<str>,
    pub(super) acl: Acl,
}

/// Clones share what is remembered.
#[derive(Clone, Debug)]
pub(super) struct Lists(Cache<(Arc<str>, NamespaceName), Arc<List>>);

impl Lists {
    pub(super) fn new() -> Self {
        Self(Cache::new(MAX_REMEMBERED))
    }

    /// What is remembered of a namespace in an instance.
    pub(super) fn remembered(&self, instance: &Arc<str>, name: &NamespaceName) -> Option<Arc<List>> {
        self.0.get(&(Arc::clone(instance), name.clone()))
    }

    /// The list of a namespace that was just read.
    pub(super) fn read(
        &self,
        instance: &Arc<str>,
        name: &NamespaceName,
        found: &Namespace,
    ) -> Result<Arc<List>, IoError> {
        if let Some(known) = self.remembered(instance, name)
            && known.text == found.list
        {
            return Ok(known);
        }
        let list = Arc::new(List { text: Arc::clone(&found.list), acl: request::stored_acl(&found.list)? });
        self.0.insert((Arc::clone(instance), name.clone()), Arc::clone(&list));
        Ok(list)
    }
}
