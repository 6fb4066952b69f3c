//! Where the services of the web are that components use.

use url::Url;

/// Addresses that the deployment configures.
#[derive(Clone, Debug)]
pub struct Places {
    /// Tavily's API.
    pub tavily: Url,
    /// Scrapfly's API.
    pub scrapfly: Url,
    /// Who reads pages.
    pub scraper: Scraper,
    /// Hugging Face's router.
    pub huggingface: Url,
    /// Zapier's actions.
    pub zapier: Url,
    /// Google's APIs.
    pub google: Url,
    /// Meta's Graph API.
    pub graph: Url,
}

/// Who reads pages for WebScrape, where a component does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scraper {
    /// Scrapfly where the team's vault has its key, else this deployment.
    #[default]
    Auto,
    /// Scrapfly.
    Scrapfly,
    /// This deployment.
    Local,
}

/// An address with a path below it; a slash at its end counts for nothing.
pub(crate) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{}", base.path().trim_end_matches('/'), path.trim_start_matches('/')));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_below_the_address() {
        for base in ["https://h/hf", "https://h/hf/"] {
            assert_eq!(below(&base.parse().unwrap(), "/models/a/b").as_str(), "https://h/hf/models/a/b");
        }
        assert_eq!(below(&"https://h".parse().unwrap(), "search").as_str(), "https://h/search");
    }
}
