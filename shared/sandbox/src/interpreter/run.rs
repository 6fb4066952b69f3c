//! One call from source to result.

use std::rc::Rc;

use rquickjs::function::Args;
use rquickjs::module::{Declared, Module};
use rquickjs::promise::PromiseState;
use rquickjs::{Ctx, Error, Function, Object, Promise, Value};

use super::failure::Stop;
use super::host::{self, Timers};
use super::{Meter, Outside};
use crate::contract::{self, Outline};
use crate::limits::Limit;
use crate::protocol::{CallFrame, Problem, Thrown};

/// What code is called in stacks.
const NAME: &str = "code";
/// Under which name `main` is taken out of the module.
const MAIN: &str = "$sre$main";
/// Follows the source, which parses by itself: no text of it can reach into this.
const EXPORT: &str = "\n;export { main as $sre$main };\n";

/// Runs `main`; gives its result as JSON text, or none for what JSON has no word for.
pub(super) fn run(
    ctx: &Ctx<'_>,
    source: &str,
    frame: &CallFrame,
    meter: &Rc<Meter>,
    outside: Rc<dyn Outside>,
) -> Result<Option<String>, Stop> {
    let stop = |error: Error| Stop::of(ctx, error, meter);
    let (module, outline) = declare(ctx, source, meter)?;
    let timers = host::install(ctx, frame, meter, outside).map_err(stop)?;
    let (module, loaded) = module.eval().map_err(stop)?;
    settled(ctx, &loaded, &timers, meter)?;
    let main: Value<'_> = module.get(MAIN).map_err(stop)?;
    // A declaration says `main` is a function; code may have made something else of it since.
    let Some(main) = main.into_function() else { return Err(Stop::Refused(Problem::NoMain)) };
    let result = call(ctx, &main, &outline, &frame.arguments).map_err(stop)?;
    let result = match result.clone().into_promise() {
        Some(promise) => settled(ctx, &promise, &timers, meter)?,
        None => result,
    };
    json(ctx, result, meter)
}

/// Looks at a source.
pub(super) fn check(ctx: &Ctx<'_>, source: &str, meter: &Meter) -> Result<Outline, Problem> {
    match declare(ctx, source, meter) {
        // That there is no such module shows when it runs.
        Ok((_, outline)) | Err(Stop::Import(outline, _)) => Ok(outline),
        Err(Stop::Refused(problem)) => Err(problem),
        Err(Stop::Exceeded(limit)) => Err(Problem::Limit(limit)),
        Err(Stop::Threw(thrown)) => Err(Problem::Syntax(thrown.message)),
    }
}

/// Parses a source and finds its `main`, running nothing.
fn declare<'js>(
    ctx: &Ctx<'js>,
    source: &str,
    meter: &Meter,
) -> Result<(Module<'js, Declared>, Outline), Stop> {
    let parse =
        |text: String| Module::declare(ctx.clone(), NAME, text).map_err(|error| Stop::of(ctx, error, meter));
    let exporting = parse(format!("{source}{EXPORT}"));
    match &exporting {
        Err(Stop::Threw(thrown)) if !is_import(thrown) => {
            // It does not parse, or there is no `main` to take out: by itself it says which.
            match parse(source.to_owned()) {
                Err(Stop::Threw(thrown)) if !is_import(&thrown) => {
                    return Err(Stop::Refused(Problem::Syntax(thrown.message)));
                }
                Err(stop @ Stop::Exceeded(_)) => return Err(stop),
                _ => {}
            }
        }
        _ => {}
    }
    if let Err(stop @ Stop::Exceeded(_)) = exporting {
        return Err(stop);
    }
    let outline = contract::outline(source).map_err(Stop::Refused)?;
    match exporting {
        Ok(module) => Ok((module, outline)),
        Err(Stop::Threw(thrown)) if is_import(&thrown) => Err(Stop::Import(outline, thrown)),
        Err(_) => Err(Stop::Refused(Problem::NoMain)),
    }
}

/// Whether it parsed and asks for a module, of which there is none.
fn is_import(thrown: &Thrown) -> bool {
    thrown.name == "ReferenceError"
}

/// Calls `main` with its arguments by name.
fn call<'js>(
    ctx: &Ctx<'js>,
    main: &Function<'js>,
    outline: &Outline,
    arguments: &str,
) -> rquickjs::Result<Value<'js>> {
    let inputs: Object<'js> =
        ctx.json_parse(arguments)?.try_into_object().unwrap_or(Object::new(ctx.clone())?);
    // Only what was given is an argument, not what every object has.
    inputs.set_prototype(None)?;
    let mut given = Args::new(ctx.clone(), outline.parameters.len());
    for parameter in &outline.parameters {
        match parameter.as_str() {
            // It takes the inputs apart by itself.
            "[object]" => given.push_arg(inputs.clone())?,
            name => given.push_arg(inputs.get::<_, Value<'js>>(name)?)?,
        }
    }
    main.call_arg(given)
}

/// Runs jobs and timers until a promise is settled; gives its value.
fn settled<'js>(
    ctx: &Ctx<'js>,
    promise: &Promise<'js>,
    timers: &Timers<'js>,
    meter: &Meter,
) -> Result<Value<'js>, Stop> {
    let stop = |error: Error| Stop::of(ctx, error, meter);
    loop {
        if meter.over() {
            return Err(Stop::Exceeded(meter.exceeded().unwrap_or(Limit::Wall)));
        }
        if promise.state() != PromiseState::Pending {
            return promise.result().unwrap_or(Err(Error::WouldBlock)).map_err(stop);
        }
        if ctx.execute_pending_job() {
            continue;
        }
        let Some(wait) = timers.wait().map_err(stop)? else {
            return Err(Stop::Threw(Thrown {
                name: "Error".to_owned(),
                message: "main waits for something that never comes: no timer and no request is left"
                    .to_owned(),
                stack: None,
            }));
        };
        if !wait.is_zero() {
            std::thread::sleep(wait.min(meter.left()));
        }
        timers.fire().map_err(stop)?;
    }
}

/// A result as JSON text.
fn json<'js>(ctx: &Ctx<'js>, value: Value<'js>, meter: &Meter) -> Result<Option<String>, Stop> {
    let stop = |error: Error| Stop::of(ctx, error, meter);
    let Some(text) = ctx.json_stringify(value).map_err(stop)? else { return Ok(None) };
    let text = text.to_string().map_err(stop)?;
    if text.len() as u64 > meter.limits().result_bytes {
        meter.exceed(Limit::Result);
        return Err(Stop::Exceeded(Limit::Result));
    }
    Ok(Some(text))
}
