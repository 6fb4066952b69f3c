//! Links that let somebody outside read a stored file for a while.

use async_trait::async_trait;

use super::ContextError;

/// A link.
#[derive(Clone, Debug)]
pub struct Link {
    /// Where the file is read.
    pub url: String,
    /// What ends the link.
    pub id: String,
    /// The file it is for, as the service knows it.
    pub file: String,
}

/// Links to files that the running agent may read.
#[async_trait]
pub trait FileLinks: Send + Sync {
    /// Makes a link to a `smythfs://` file, for an hour at most.
    ///
    /// # Errors
    /// If there is no such file or the agent may not read it.
    async fn link(&self, uri: &str) -> Result<Link, ContextError>;

    /// Ends a link.
    ///
    /// # Errors
    /// If the service cannot be reached.
    async fn end(&self, link: &Link) -> Result<(), ContextError>;
}

/// Links made for one call.
pub(crate) struct Links<'a> {
    files: &'a dyn FileLinks,
    made: Vec<Link>,
}

impl<'a> Links<'a> {
    /// None yet.
    pub fn new(files: &'a dyn FileLinks) -> Self {
        Self { files, made: Vec::new() }
    }

    /// A link for a file.
    pub async fn link(&mut self, uri: &str) -> Result<String, ContextError> {
        let link = self.files.link(uri).await?;
        let url = link.url.clone();
        self.made.push(link);
        Ok(url)
    }

    /// Ends them all. Whoever made links calls this on every way out; what cannot be ended is over within the hour.
    pub async fn end(self) {
        for link in &self.made {
            if self.files.end(link).await.is_err() {
                tracing::debug!("a link could not be ended before its time");
            }
        }
    }
}
