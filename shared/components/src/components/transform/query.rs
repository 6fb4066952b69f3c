//! JMESPath queries, within limits. A query is an author's, but the memory is everybody's: what an expression can
//! make of a value is bounded before it runs, by how often each part of the value can come out of it.

use jmespath::ast::Ast;
use jmespath::{DEFAULT_RUNTIME, Expression, Rcvar, Variable};
use sre_engine::value::{Map, Value, number_from_f64};

/// The longest expression, in characters, and the deepest.
pub(super) const MAX_CHARS: usize = 2_000;
const MAX_NESTING: usize = 50;
/// How often one part of the input may come out, and how many values may come out in all.
const MAX_COPIES: u64 = 1_000;
const MAX_VALUES: u64 = 2_000_000;
/// How deep a result may be.
const MAX_DEPTH: usize = 128;

/// Refuses an expression that cannot be read, or does too much.
///
/// # Errors
/// The detail of a validation error.
pub(super) fn check(expression: &str) -> Result<(), String> {
    if expression.trim().is_empty() {
        return Ok(());
    }
    read(expression).map(|_| ()).map_err(|error| format!("\"Query\" {error}"))
}

/// The expression's tree, and how often one part of the input may come out of it.
fn read(expression: &str) -> Result<(Ast, u64), String> {
    let mut depth = 0_usize;
    for c in expression.chars() {
        match c {
            '(' | '[' | '{' | '!' | '&' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_NESTING {
            return Err(format!("is nested more than {MAX_NESTING} deep"));
        }
    }
    let tree = jmespath::parse(expression).map_err(|error| {
        format!("is no JMESPath expression: {} (at character {})", error.reason, error.offset)
    })?;
    let copies = copies(&tree);
    if copies > MAX_COPIES {
        return Err(format!("copies its input {copies} times: at most {MAX_COPIES} are allowed"));
    }
    Ok((tree, copies))
}

/// How often one part of the input may be in the result.
fn copies(tree: &Ast) -> u64 {
    match tree {
        Ast::Subexpr { lhs, rhs, .. } | Ast::Projection { lhs, rhs, .. } => {
            copies(lhs).saturating_mul(copies(rhs))
        }
        Ast::And { lhs, rhs, .. } | Ast::Or { lhs, rhs, .. } | Ast::Comparison { lhs, rhs, .. } => {
            copies(lhs).saturating_add(copies(rhs))
        }
        Ast::Condition { predicate, then, .. } => copies(predicate).saturating_add(copies(then)),
        Ast::Flatten { node, .. } | Ast::ObjectValues { node, .. } | Ast::Not { node, .. } => copies(node),
        Ast::Expref { ast, .. } => copies(ast),
        Ast::MultiList { elements, .. } => sum(elements.iter()),
        Ast::MultiHash { elements, .. } => sum(elements.iter().map(|pair| &pair.value)),
        // A function may apply one argument, an expression, to each element of another.
        Ast::Function { args, .. } => args.iter().fold(1, |product, arg| product.saturating_mul(copies(arg))),
        Ast::Field { .. }
        | Ast::Identity { .. }
        | Ast::Index { .. }
        | Ast::Literal { .. }
        | Ast::Slice { .. } => 1,
    }
}

fn sum<'a>(trees: impl Iterator<Item = &'a Ast>) -> u64 {
    trees.map(copies).fold(0, u64::saturating_add).max(1)
}

/// The answer of a query.
///
/// # Errors
/// If it cannot be read, fails on this value, or comes to too much.
pub(super) fn ask(expression: &str, value: &Value) -> Result<Value, String> {
    let (tree, copies) = read(expression).map_err(|error| format!("the query {error}"))?;
    let too_much = || "the query's result could be too large: query less at a time".to_owned();
    let mut room = MAX_VALUES / copies.max(1);
    if !fits(value, &mut room) {
        return Err(too_much());
    }
    let compiled = Expression::new(expression, tree, &DEFAULT_RUNTIME);
    let input = Variable::from_serializable(value).map_err(|error| error.to_string())?;
    let found = compiled.search(input).map_err(|error| format!("the query failed: {}", error.reason))?;
    let mut room = MAX_VALUES;
    taken(&found, &mut room, 0).ok_or_else(too_much)
}

fn fits(value: &Value, room: &mut u64) -> bool {
    let Some(left) = room.checked_sub(1) else { return false };
    *room = left;
    match value {
        Value::Array(items) => items.iter().all(|item| fits(item, room)),
        Value::Object(map) => map.values().all(|item| fits(item, room)),
        _ => true,
    }
}

fn taken(found: &Rcvar, room: &mut u64, depth: usize) -> Option<Value> {
    *room = room.checked_sub(1)?;
    if depth > MAX_DEPTH {
        return None;
    }
    Some(match found.as_ref() {
        Variable::Null | Variable::Expref(_) => Value::Null,
        Variable::Bool(flag) => Value::Bool(*flag),
        // Sums and the like are floats: those without a fraction are written as integers.
        Variable::Number(number) if number.is_f64() => {
            number_from_f64(number.as_f64()?).map_or(Value::Null, Value::Number)
        }
        Variable::Number(number) => Value::Number(number.clone()),
        Variable::String(text) => Value::from(text.as_str()),
        Variable::Array(items) => {
            Value::array(items.iter().map(|item| taken(item, room, depth + 1)).collect::<Option<_>>()?)
        }
        Variable::Object(map) => {
            let members =
                map.iter().map(|(name, item)| Some((name.as_str().into(), taken(item, room, depth + 1)?)));
            Value::object(members.collect::<Option<Map>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn of(expression: &str, value: Json) -> Result<Json, String> {
        ask(expression, &Value::from(value)).map(|value| json!(value))
    }

    #[test]
    fn queries_are_answered() {
        let shop =
            json!({"items": [{"id": 1, "title": "a", "price": 5}, {"id": 2, "title": "b", "price": 20}]});
        assert_eq!(
            of("items[?price > `10`].{id: id, name: title}", shop.clone()),
            Ok(json!([{"id": 2, "name": "b"}]))
        );
        assert_eq!(of("sum(items[*].price)", shop.clone()), Ok(json!(25)));
        assert_eq!(of("items[0].none", shop.clone()), Ok(json!(null)));
        assert_eq!(of("max_by(items, &price).title", shop), Ok(json!("b")));
    }

    #[test]
    fn bad_queries_say_what_is_wrong() {
        assert!(check("items[").unwrap_err().starts_with("\"Query\" is no JMESPath expression"));
        assert!(check(&"(".repeat(60)).unwrap_err().contains("50 deep"));
        assert!(of("sum(@)", json!("text")).unwrap_err().starts_with("the query failed"));
        assert_eq!(check(""), Ok(()));
    }

    #[test]
    fn a_query_cannot_blow_a_value_up() {
        let doubling = vec!["[@,@][]"; 20].join("|");
        assert!(check(&doubling).unwrap_err().contains("copies its input"), "{doubling}");
        let inner = ["[@,@]"; 9].join("|");
        assert_eq!(check(&inner), Ok(()));
        let many = Json::from((0..10_000).collect::<Vec<_>>());
        assert!(of(&inner, many).unwrap_err().contains("too large"));
    }
}
