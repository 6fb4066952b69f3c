"""The component itself: counts the words of a text."""

import collections
import json
import re

from sre.component.v1 import component_pb2 as pb

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*", re.UNICODE)
# So often it says how far it is, and looks whether it shall stop.
STEP_CHARACTERS = 200_000


def text(value):
    return json.dumps(value, ensure_ascii=False).encode()


DESCRIPTION = pb.Description(
    type="Samples.TextStats",
    version="1.0.0",
    description="Counts characters, words and lines of a text, and says which words are the most frequent",
    effect=pb.EFFECT_PURE,
    settings=[
        pb.Setting(
            name="top",
            label="Most frequent words",
            description="how many of the most frequent words to give",
            schema_json=text({"type": "integer", "minimum": 0, "maximum": 100}),
            default_json=b"3",
        ),
        pb.Setting(
            name="ignore",
            label="Words to leave out",
            description="words that are not counted, with commas between them; may name inputs, {{Input}}",
            schema_json=text({"type": "string", "maxLength": 10_000}),
            template=True,
        ),
    ],
    inputs=[pb.Port(name="Text", type="Text", description="the text to count")],
    outputs=[
        pb.Port(name="Words", type="Integer", description="how many words there are"),
        pb.Port(name="Characters", type="Integer", description="how many characters there are"),
        pb.Port(name="Lines", type="Integer", description="how many lines there are"),
        pb.Port(name="Top", type="Array", description="the most frequent words, `{word, count}` each"),
    ],
    limits=pb.Limits(max_input_bytes=4 << 20, timeout_ms=30_000),
    examples=[
        pb.Example(
            name="a sentence",
            inputs_json=text({"Text": "the cat and the dog"}),
            settings_json=text({"top": 1}),
            outputs_json=text(
                {"Words": 5, "Characters": 19, "Lines": 1, "Top": [{"word": "the", "count": 2}]}
            ),
        ),
        pb.Example(
            name="words to leave out",
            inputs_json=text({"Text": "the cat and the dog"}),
            settings_json=text({"top": 1, "ignore": "the, and"}),
            outputs_json=text(
                {"Words": 2, "Characters": 19, "Lines": 1, "Top": [{"word": "cat", "count": 1}]}
            ),
        ),
        pb.Example(
            name="no text at all",
            inputs_json=text({"Text": ["a", "list"]}),
            failure=pb.FAILURE_KIND_INVALID_INPUT,
        ),
    ],
)


def process(activation, work):
    """Executes one activation; `work` is the way to whoever waits for it."""
    given = activation.inputs.get("Text")
    if not isinstance(given, str):
        raise work.failure(pb.FAILURE_KIND_INVALID_INPUT, "Text is no text: connect it to an output that is")
    top = activation.settings.get("top", 3)
    if not isinstance(top, int) or isinstance(top, bool) or not 0 <= top <= 100:
        raise work.failure(pb.FAILURE_KIND_INVALID_SETTING, "top is no whole number from 0 to 100")
    left_out = {word.strip().lower() for word in str(activation.settings.get("ignore", "")).split(",")}
    counts = collections.Counter()
    reached = 0
    for found in WORD.finditer(given):
        word = found.group().lower()
        if word not in left_out:
            counts[word] += 1
        if found.end() - reached >= STEP_CHARACTERS:
            reached = found.end()
            work.progress(reached / len(given), "counting")
            work.check()
    # In the order of the text where two are as frequent: the same text gives the same answer.
    most = [{"word": word, "count": count} for word, count in counts.most_common(top)]
    return {
        "Words": sum(counts.values()),
        "Characters": len(given),
        "Lines": given.count("\n") + 1 if given else 0,
        "Top": most,
    }
