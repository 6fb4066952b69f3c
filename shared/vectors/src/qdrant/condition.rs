//! Conditions in Qdrant's form.

use super::pb;
use crate::features::Tag;
use crate::filter::Condition;
use crate::model::{Generation, Query};

/// The filter of a search.
pub fn search_filter(query: &Query) -> pb::Filter {
    let below = pb::Range { lt: Some(query.visibility.below as f64), ..pb::Range::default() };
    let mut filter =
        pb::Filter { must: vec![field("generation", None, Some(below))], ..pb::Filter::default() };
    if !query.visibility.except.is_empty() {
        filter.must_not.push(generation_is(&query.visibility.except));
    }
    if let Some(condition) = &query.condition {
        filter.must.push(expression(condition));
    }
    filter
}

/// The generation is one of these.
pub fn generation_is(generations: &[Generation]) -> pb::Condition {
    let integers = pb::RepeatedIntegers { integers: generations.to_vec() };
    field("generation", Some(pb::r#match::MatchValue::Integers(integers)), None)
}

fn field(key: &str, match_value: Option<pb::r#match::MatchValue>, range: Option<pb::Range>) -> pb::Condition {
    let r#match = match_value.map(|value| pb::Match { match_value: Some(value) });
    let field = pb::FieldCondition { key: key.to_owned(), r#match, range };
    pb::Condition { condition_one_of: Some(pb::condition::ConditionOneOf::Field(field)) }
}

fn expression(condition: &Condition) -> pb::Condition {
    let nested =
        |filter| pb::Condition { condition_one_of: Some(pb::condition::ConditionOneOf::Filter(filter)) };
    match condition {
        Condition::All(inner) => {
            nested(pb::Filter { must: inner.iter().map(expression).collect(), ..pb::Filter::default() })
        }
        // A filter without conditions holds; this must not.
        Condition::Any(inner) if inner.is_empty() => tagged(&[]),
        Condition::Any(inner) => {
            nested(pb::Filter { should: inner.iter().map(expression).collect(), ..pb::Filter::default() })
        }
        Condition::Tagged(tags) => tagged(tags),
        Condition::Number(key, bounds) => {
            let range = pb::Range { lt: bounds.lt, gt: bounds.gt, gte: bounds.gte, lte: bounds.lte };
            field(&format!("numbers.{}", key.name()), None, Some(range))
        }
    }
}

fn tagged(tags: &[Tag]) -> pb::Condition {
    let strings = tags.iter().map(Tag::hex).collect();
    field("tags", Some(pb::r#match::MatchValue::Keywords(pb::RepeatedStrings { strings })), None)
}
