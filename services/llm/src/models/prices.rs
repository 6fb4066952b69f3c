//! What a model costs.

use serde::Deserialize;
use sre_proto::llm::v1::TokenUsage;

/// What a model costs from one day on. Money is whole: millionths of a US dollar for a million tokens, so that a
/// token costs millionths of a millionth; what is charged by the piece is in millionths of a US dollar.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Prices {
    /// Of the request.
    pub input_micros: u64,
    /// Of the answer.
    pub output_micros: u64,
    /// Of the request where the provider had it cached; the price of the request where absent.
    #[serde(alias = "cachedInputMicros")]
    pub cache_read_micros: Option<u64>,
    /// Of the request where the provider keeps it for some minutes; the price of the request where absent.
    pub cache_write_micros: Option<u64>,
    /// Of the request where the provider keeps it for an hour; as for some minutes where absent.
    pub cache_write_hour_micros: Option<u64>,
    /// Of thinking; the price of the answer where absent.
    pub reasoning_micros: Option<u64>,
    /// Of a call, whatever its length.
    pub per_request_micros: u64,
    /// Of an image that is made.
    pub image_micros: u64,
    /// Other prices for long requests, each from a length on.
    pub tiers: Vec<Tier>,
    /// The first day on which this counts, `YYYY-MM-DD` in UTC; ever since where absent.
    pub from: Option<String>,
}

/// Prices of requests that are longer than so many tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tier {
    /// Longer than this.
    pub above_tokens: u64,
    /// Of the request.
    pub input_micros: u64,
    /// Of the answer.
    pub output_micros: u64,
    /// As in [`Prices`].
    pub cache_read_micros: Option<u64>,
    /// As in [`Prices`].
    pub cache_write_micros: Option<u64>,
}

/// Prices as files write them: one list, or one per day from which it counts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum PriceTable {
    /// The same at all times.
    Always(Prices),
    /// In any order; the latest that has begun counts.
    Dated(Vec<Prices>),
}

/// How a request was paid for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Charge {
    /// The provider was asked to keep the request for an hour.
    pub kept_for_an_hour: bool,
    /// Images that were made.
    pub images: u64,
}

impl PriceTable {
    /// What counts on a day, given as `YYYY-MM-DD`; none before the first one.
    pub fn on(&self, day: &str) -> Option<&Prices> {
        match self {
            Self::Always(prices) => Some(prices),
            Self::Dated(all) => {
                let begun = |prices: &&Prices| prices.from.as_deref().is_none_or(|from| from <= day);
                all.iter().filter(begun).max_by(|a, b| a.from.cmp(&b.from))
            }
        }
    }

    /// What is wrong with it, if anything: a day that cannot be compared would choose a price at random.
    pub fn problem(&self) -> Option<String> {
        let all = match self {
            Self::Always(prices) => std::slice::from_ref(prices),
            Self::Dated(all) => all,
        };
        let wrong = all.iter().filter_map(|prices| prices.from.as_deref()).find(|from| !is_day(from))?;
        Some(format!("`prices.from` is {wrong:?}: write a day as YYYY-MM-DD"))
    }
}

impl Prices {
    /// What an answer costs, in millionths of a US dollar, rounded half up. Negative counts are none.
    pub fn cost_micros(&self, usage: &TokenUsage, charge: Charge) -> i64 {
        let tokens = |count: i64| u128::from(u64::try_from(count).unwrap_or_default());
        let input = tokens(usage.input_tokens);
        let read = tokens(usage.cached_input_tokens).min(input);
        let written = tokens(usage.cache_write_tokens).min(input - read);
        let output = tokens(usage.output_tokens);
        let thought = tokens(usage.reasoning_tokens).min(output);
        let rate = self.rate(usage.input_tokens);
        let write = match (charge.kept_for_an_hour, self.cache_write_hour_micros) {
            (true, Some(hour)) => hour,
            _ => rate.cache_write_micros.unwrap_or(rate.input_micros),
        };
        let parts = [
            (input - read - written, rate.input_micros),
            (read, rate.cache_read_micros.unwrap_or(rate.input_micros)),
            (written, write),
            (output - thought, rate.output_micros),
            (thought, self.reasoning_micros.unwrap_or(rate.output_micros)),
        ];
        let of_tokens: u128 = parts.iter().map(|(count, price)| count * u128::from(*price)).sum();
        let of_pieces =
            u128::from(self.per_request_micros) + u128::from(charge.images) * u128::from(self.image_micros);
        i64::try_from((of_tokens + 500_000) / 1_000_000 + of_pieces).unwrap_or(i64::MAX)
    }

    /// The most that an answer of this length can cost: nothing cached, all of it at the dearer price.
    pub fn most_micros(&self, input_tokens: i64, output_tokens: i64) -> i64 {
        let usage = TokenUsage { input_tokens, output_tokens, ..TokenUsage::default() };
        let thinking = TokenUsage { reasoning_tokens: output_tokens, ..usage };
        let kept = TokenUsage { cache_write_tokens: input_tokens, ..usage };
        let hour = Charge { kept_for_an_hour: true, images: 0 };
        let plain = self.cost_micros(&usage, Charge::default());
        let thought = self.cost_micros(&thinking, Charge::default());
        plain.max(thought).max(self.cost_micros(&kept, hour))
    }

    fn rate(&self, input_tokens: i64) -> Tier {
        let length = u64::try_from(input_tokens).unwrap_or_default();
        let longest = self.tiers.iter().filter(|tier| length > tier.above_tokens);
        longest.max_by_key(|tier| tier.above_tokens).cloned().unwrap_or(Tier {
            above_tokens: 0,
            input_micros: self.input_micros,
            output_micros: self.output_micros,
            cache_read_micros: self.cache_read_micros,
            cache_write_micros: self.cache_write_micros,
        })
    }
}

/// Today, `YYYY-MM-DD` in UTC.
pub fn day_of(time: std::time::SystemTime) -> String {
    let seconds = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = civil(i64::try_from(seconds / 86_400).unwrap_or(i64::MAX));
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month and day of a number of days since 1970: eras of 400 years begin in March, so that the leap day is
/// the last one of a year.
pub fn civil(days: i64) -> (i64, u32, u32) {
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, u32::try_from(month).unwrap_or(1), u32::try_from(day).unwrap_or(1))
}

fn is_day(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 10
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn usage(input: i64, cached: i64, output: i64) -> TokenUsage {
        TokenUsage {
            input_tokens: input,
            cached_input_tokens: cached,
            output_tokens: output,
            ..TokenUsage::default()
        }
    }

    fn cost(prices: &Prices, input: i64, cached: i64, output: i64) -> i64 {
        prices.cost_micros(&usage(input, cached, output), Charge::default())
    }

    #[test]
    fn money_is_whole_and_rounded_once() {
        let prices = Prices {
            input_micros: 2_500_000,
            output_micros: 10_000_000,
            cache_read_micros: Some(1_250_000),
            ..Prices::default()
        };
        assert_eq!(cost(&prices, 1_000, 0, 100), 3_500);
        assert_eq!(cost(&prices, 1_000, 400, 100), 3_000);
        // 2.5 and 0.15 millionths: halves go up, what is below a half down.
        assert_eq!(cost(&prices, 1, 0, 0), 3);
        assert_eq!(cost(&Prices { input_micros: 150_000, ..Prices::default() }, 3, 0, 0), 0);
        assert_eq!(cost(&prices, -5, -1, -1), 0);
        assert_eq!(cost(&prices, 10, 99, 0), 13, "no more is cached than was sent");
        let huge = Prices { input_micros: u64::MAX, ..Prices::default() };
        assert_eq!(cost(&huge, i64::MAX, 0, 0), i64::MAX);
    }

    #[test]
    fn every_part_has_its_price() {
        let prices: Prices = serde_json::from_value(json!({
            "inputMicros": 3_000_000, "outputMicros": 15_000_000, "cacheReadMicros": 300_000,
            "cacheWriteMicros": 3_750_000, "cacheWriteHourMicros": 6_000_000, "reasoningMicros": 20_000_000,
            "perRequestMicros": 5_000, "imageMicros": 40_000,
            "tiers": [{"aboveTokens": 200_000, "inputMicros": 6_000_000, "outputMicros": 22_500_000}],
        }))
        .unwrap();
        let used = TokenUsage {
            input_tokens: 1_000,
            cached_input_tokens: 200,
            cache_write_tokens: 300,
            output_tokens: 100,
            reasoning_tokens: 40,
            estimated: false,
        };
        let minutes = 500 * 3 + 60 + 1_125 + 60 * 15 + 40 * 20 + 5_000;
        assert_eq!(prices.cost_micros(&used, Charge::default()), minutes);
        let hour = Charge { kept_for_an_hour: true, images: 2 };
        assert_eq!(prices.cost_micros(&used, hour), minutes - 1_125 + 1_800 + 80_000);
        assert_eq!(cost(&prices, 200_000, 0, 0), 605_000);
        assert_eq!(cost(&prices, 200_001, 0, 0), 1_205_006, "the whole request is of the dearer tier");
        assert!(prices.most_micros(1_000, 100) >= prices.cost_micros(&used, hour) - 80_000);
    }

    #[test]
    fn prices_count_from_their_day_on() {
        let table: PriceTable = serde_json::from_value(json!([
            {"inputMicros": 1, "from": "2026-03-01"}, {"inputMicros": 2, "from": "2026-07-01"},
        ]))
        .unwrap();
        let on = |day: &str| table.on(day).map(|prices| prices.input_micros);
        assert_eq!([on("2026-02-28"), on("2026-03-01"), on("2026-06-30")], [None, Some(1), Some(1)]);
        assert_eq!(on("2027-01-01"), Some(2));
        assert_eq!(table.problem(), None);
        let wrong: PriceTable = serde_json::from_value(json!({"from": "1.7.2026"})).unwrap();
        assert!(wrong.problem().unwrap().contains("YYYY-MM-DD"));
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(20_512), (2026, 2, 28));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(day_of(std::time::UNIX_EPOCH), "1970-01-01");
    }
}
