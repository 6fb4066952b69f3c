//! `[web]`: where the services are that components of the web use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the services are that components of the web use. An inner address must be listed in `[egress] allow` too.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Web {
    /// Tavily's API, for WebSearch.
    pub tavily_url: String,
    /// Scrapfly's API, for WebScrape.
    pub scrapfly_url: String,
    /// How WebScrape reads pages where the component does not say: `auto` (by Scrapfly where the team's vault has
    /// the key `scrapfly`, else by itself), `scrapfly` or `local`.
    pub scraper: Scraper,
    /// Hugging Face's inference router.
    pub huggingface_url: String,
    /// Zapier's actions.
    pub zapier_url: String,
    /// Google's APIs, for GmailTrigger.
    pub google_url: String,
    /// Meta's Graph API, for WhatsAppTrigger.
    pub graph_url: String,
}

/// Who reads pages for WebScrape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scraper {
    /// Scrapfly where the team has a key, else this deployment.
    #[default]
    Auto,
    /// Scrapfly.
    Scrapfly,
    /// This deployment.
    Local,
}

impl Default for Web {
    fn default() -> Self {
        Self {
            tavily_url: "https://api.tavily.com".to_owned(),
            scrapfly_url: "https://api.scrapfly.io".to_owned(),
            scraper: Scraper::Auto,
            huggingface_url: "https://router.huggingface.co/hf-inference".to_owned(),
            zapier_url: "https://actions.zapier.com".to_owned(),
            google_url: "https://www.googleapis.com".to_owned(),
            graph_url: "https://graph.facebook.com".to_owned(),
        }
    }
}
