/** The component itself: the outline of a Markdown text. */
import { Failed, json } from "./contract.js";

export const DESCRIPTION = {
  type: "Samples.Outline",
  version: "1.0.0",
  description: "Gives the headings of a Markdown text, with their levels and anchors",
  effect: "EFFECT_PURE",
  settings: [
    {
      name: "depth",
      label: "Depth",
      description: "the deepest level of headings that is given",
      schema_json: json({ type: "integer", minimum: 1, maximum: 6 }),
      default_json: json(6),
    },
  ],
  inputs: [{ name: "Markdown", type: "Text", description: "the text", optional: false }],
  outputs: [{ name: "Headings", type: "Array", description: "`{level, text, anchor}` each, in their order" }],
  limits: { max_input_bytes: 2 << 20, timeout_ms: 20_000 },
  examples: [
    {
      name: "two levels",
      inputs_json: json({ Markdown: "# Fruit\n\n## Apples & pears\ntext\n## Apples & pears\n" }),
      outputs_json: json({
        Headings: [
          { level: 1, text: "Fruit", anchor: "fruit" },
          { level: 2, text: "Apples & pears", anchor: "apples-pears" },
          { level: 2, text: "Apples & pears", anchor: "apples-pears-1" },
        ],
      }),
    },
    {
      name: "one level of two",
      inputs_json: json({ Markdown: "# Fruit\n## Apples" }),
      settings_json: json({ depth: 1 }),
      outputs_json: json({ Headings: [{ level: 1, text: "Fruit", anchor: "fruit" }] }),
    },
    { name: "no text at all", inputs_json: json({ Markdown: 7 }), failure: "FAILURE_KIND_INVALID_INPUT" },
  ],
};

/** The way to whoever waits for an activation. */
export interface Work {
  /** Throws where nobody does any more. */
  check(): void;
  /** Passes a piece of the answer on. */
  content(text: string): void;
  /** Says how far it is. */
  progress(fraction: number, message: string): void;
}

// So many lines are read before others get a turn.
const STEP_LINES = 5_000;

/** Executes one activation. */
export async function process(
  inputs: Record<string, unknown>,
  settings: Record<string, unknown>,
  work: Work,
): Promise<Record<string, unknown>> {
  const text = inputs.Markdown;
  if (typeof text !== "string") {
    throw new Failed("FAILURE_KIND_INVALID_INPUT", "Markdown is no text: connect it to an output that is");
  }
  const depth = settings.depth ?? 6;
  if (typeof depth !== "number" || !Number.isInteger(depth) || depth < 1 || depth > 6) {
    throw new Failed("FAILURE_KIND_INVALID_SETTING", "depth is no whole number from 1 to 6");
  }
  const lines = text.split(/\r?\n/);
  const headings: { level: number; text: string; anchor: string }[] = [];
  const used = new Map<string, number>();
  let fenced = false;
  for (const [number, line] of lines.entries()) {
    if (number % STEP_LINES === STEP_LINES - 1) {
      work.progress(number / lines.length, "reading");
      await new Promise((resolve) => setImmediate(resolve));
      work.check();
    }
    if (/^\s{0,3}(```|~~~)/.test(line)) fenced = !fenced;
    const found = fenced ? null : /^ {0,3}(#{1,6})[ \t]+(\S.*)$/.exec(line.trimEnd());
    if (!found || found[1]!.length > depth) continue;
    const title = found[2]!.replace(/[ \t]+#+$/, "");
    const anchor = title.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "");
    const times = used.get(anchor) ?? 0;
    used.set(anchor, times + 1);
    headings.push({ level: found[1]!.length, text: title, anchor: times ? `${anchor}-${times}` : anchor });
    work.content(`${"  ".repeat(found[1]!.length - 1)}${title}\n`);
  }
  return { Headings: headings };
}
