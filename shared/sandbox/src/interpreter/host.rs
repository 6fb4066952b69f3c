//! What code finds beside the language.

use std::rc::Rc;
use std::time::Duration;

use rquickjs::{Ctx, Exception, Function, Object, Value};

use super::{Meter, Outside};
use crate::protocol::{CallFrame, HttpAnswer, HttpAsk};

const SOURCE: &str = include_str!("host.js");
/// The largest body that code sends.
const BODY_BYTES: usize = 1 << 20;

/// The timers of a call.
pub(super) struct Timers<'js> {
    wait: Function<'js>,
    fire: Function<'js>,
}

impl<'js> Timers<'js> {
    /// How long until the next is due; none if there is none.
    pub(super) fn wait(&self) -> rquickjs::Result<Option<Duration>> {
        let milliseconds: f64 = self.wait.call(())?;
        Ok((milliseconds >= 0.0).then(|| Duration::from_secs_f64(milliseconds.min(1e9) / 1e3)))
    }

    /// Calls the one that is due.
    pub(super) fn fire(&self) -> rquickjs::Result<()> {
        self.fire.call(())
    }
}

/// Puts the console, the timers and, where the call may ask the network, `fetch` into a context.
pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    frame: &CallFrame,
    meter: &Rc<Meter>,
    outside: Rc<dyn Outside>,
) -> rquickjs::Result<Timers<'js>> {
    let made: Function<'js> = ctx.eval(SOURCE)?;
    let (counting, out) = (Rc::clone(meter), Rc::clone(&outside));
    let log = Function::new(ctx.clone(), move |ctx: Ctx<'_>, level: String, text: String| {
        if !counting.log(text.len()) {
            return Err(Exception::throw_range(&ctx, "too much is logged"));
        }
        out.log(&level, &text);
        Ok(())
    })?;
    let clock = Rc::clone(meter);
    let now = Function::new(ctx.clone(), move || clock.elapsed().as_secs_f64() * 1e3)?;
    let ask: Value<'js> = match frame.http_requests {
        0 => Value::new_undefined(ctx.clone()),
        most => {
            let meter = Rc::clone(meter);
            Function::new(ctx.clone(), move |ctx: Ctx<'_>, request: String| {
                ask(&ctx, &request, most, &meter, &*outside)
            })?
            .into_value()
        }
    };
    let timers: Object<'js> = made.call((log, now, ask, ctx.globals()))?;
    Ok(Timers { wait: timers.get("wait")?, fire: timers.get("fire")? })
}

fn ask(
    ctx: &Ctx<'_>,
    request: &str,
    most: u32,
    meter: &Meter,
    outside: &dyn Outside,
) -> rquickjs::Result<String> {
    if !meter.ask(most) {
        return Err(Exception::throw_range(ctx, "too many requests"));
    }
    let answer = match serde_json::from_str::<HttpAsk>(request) {
        Err(error) => HttpAnswer::Failed(error.to_string()),
        Ok(ask) if ask.body.as_ref().is_some_and(|body| body.len() > BODY_BYTES) => {
            HttpAnswer::Failed(format!("the body has more than {BODY_BYTES} bytes"))
        }
        Ok(ask) => outside.http(ask),
    };
    serde_json::to_string(&answer).map_err(|error| Exception::throw_message(ctx, &error.to_string()))
}
