// The official libraries of OpenAI, Anthropic and Google drive the fake provider: text, streams, tools, errors.
import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';
import { GoogleGenAI } from '@google/genai';
import OpenAI, { toFile } from 'openai';

const fake = process.env.FAKE;
const hello = 'Hello, wörld ✓ 日本語 😀.';
const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const scenario = (name) => ({ headers: { 'x-fake-scenario': name } });

async function openaiChat() {
  const client = new OpenAI({ baseURL: `${fake}/v1`, apiKey: 'key-openai', maxRetries: 0 });
  const ask = { model: 'gpt-4o', messages: [{ role: 'user', content: 'hi there' }] };
  const whole = await client.chat.completions.create(ask);
  assert.equal(whole.choices[0].message.content, 'You said: hi there');
  for (const framing of ['text/one_byte', 'text/crlf', 'text/comments', 'text/together']) {
    const stream = await client.chat.completions.create(
      { ...ask, stream: true, stream_options: { include_usage: true } }, scenario(framing));
    let said = '';
    let used;
    for await (const chunk of stream) {
      said += chunk.choices[0]?.delta.content ?? '';
      used = chunk.usage ?? used;
    }
    assert.equal(said, hello, framing);
    assert.ok(used.completion_tokens > 0);
  }
  const tools = [{ type: 'function', function: { name: 'get_weather', parameters: schema } }];
  const runner = client.chat.completions.stream({ ...ask, tools }, scenario('tools/interleaved'));
  const calls = (await runner.finalChatCompletion()).choices[0].message.tool_calls;
  assert.deepEqual(calls.map((call) => JSON.parse(call.function.arguments)),
    [{ city: 'Oslo', unit: 'c' }, { zone: 'Europe/Oslo' }]);
  await assert.rejects(client.chat.completions.create(ask, scenario('error/429')), OpenAI.RateLimitError);
  await assert.rejects(client.chat.completions.create(ask, scenario('error/401')), OpenAI.AuthenticationError);
  const broken = await client.chat.completions.create({ ...ask, stream: true }, scenario('error/mid_stream'));
  await assert.rejects(async () => { for await (const _ of broken); }, OpenAI.APIError);
}

async function openaiResponses() {
  const client = new OpenAI({ baseURL: `${fake}/v1`, apiKey: 'key-openai', maxRetries: 0 });
  const ask = { model: 'gpt-5', input: 'hi there' };
  assert.equal((await client.responses.create(ask)).output_text, 'You said: hi there');
  const stream = client.responses.stream(ask, scenario('text/one_byte'));
  assert.equal((await stream.finalResponse()).output_text, hello);
  const tools = [{ type: 'function', name: 'get_weather', parameters: schema, strict: false }];
  const called = await client.responses.stream({ ...ask, tools }, scenario('tools/interleaved')).finalResponse();
  assert.deepEqual(called.output.map((item) => item.name), ['get_weather', 'get_time']);
  const cited = await client.responses.create(ask, scenario('search/cited'));
  assert.equal(cited.output[1].content[0].annotations[0].url, 'https://example.org/a');
  await assert.rejects(client.responses.create(ask, scenario('error/500')), OpenAI.InternalServerError);
}

async function openaiOthers() {
  const client = new OpenAI({ baseURL: `${fake}/v1`, apiKey: 'key-openai', maxRetries: 0 });
  const made = await client.embeddings.create({ model: 'text-embedding-3-small', input: ['a', 'b'], dimensions: 8 });
  assert.deepEqual(made.data.map((one) => one.embedding.length), [8, 8]);
  const image = await toFile(Buffer.from([0x89, 0x50]), 'a.png', { type: 'image/png' });
  const edited = await client.images.edit({ model: 'gpt-image-1', image, prompt: 'a hat' });
  assert.ok(edited.data[0].b64_json);
}

async function anthropicMessages() {
  const client = new Anthropic({ baseURL: fake, apiKey: 'key-anthropic', maxRetries: 0 });
  const ask = { model: 'claude-x', max_tokens: 100, messages: [{ role: 'user', content: 'hi there' }] };
  assert.equal((await client.messages.create(ask)).content[0].text, 'You said: hi there');
  assert.equal(await client.messages.stream(ask, scenario('text/one_byte')).finalText(), hello);
  const tools = [{ name: 'get_weather', input_schema: schema }];
  const final = await client.messages.stream({ ...ask, tools }, scenario('think/tools')).finalMessage();
  assert.deepEqual(final.content.map((block) => block.type), ['thinking', 'text', 'tool_use']);
  assert.equal(final.content[0].signature, 'c2lnLXRoaW5r');
  assert.deepEqual(final.content[2].input, { city: 'Oslo', unit: 'c' });
  await assert.rejects(client.messages.create(ask, scenario('error/429')), Anthropic.RateLimitError);
  await assert.rejects(client.messages.stream(ask, scenario('error/mid_stream')).finalMessage(), Anthropic.APIError);
}

async function googleGenai() {
  const client = (name) => new GoogleGenAI({
    apiKey: 'key-google', httpOptions: { baseUrl: fake, headers: name ? { 'x-fake-scenario': name } : {} } });
  const ask = { model: 'gemini-x', contents: 'hi there' };
  assert.equal((await client().models.generateContent(ask)).text, 'You said: hi there');
  for (const framing of ['text/plain', 'text/seven_bytes']) {
    let said = '';
    for await (const chunk of await client(framing).models.generateContentStream(ask)) said += chunk.text ?? '';
    assert.equal(said, hello, framing);
  }
  const config = { tools: [{ functionDeclarations: [{ name: 'get_weather', parametersJsonSchema: schema }] }] };
  const made = await client('tools/two').models.generateContent({ ...ask, config });
  assert.deepEqual(made.functionCalls.map((call) => call.name), ['get_weather', 'get_time']);
  await assert.rejects(client('error/400').models.generateContent(ask), (error) => error.status === 400);
  const file = await client().files.upload({ file: new Blob(['hello']), config: { mimeType: 'text/plain' } });
  assert.equal(file.state, 'PROCESSING');
  await client().files.get({ name: file.name });
  assert.equal((await client().files.get({ name: file.name })).state, 'ACTIVE');
}

for (const test of [openaiChat, openaiResponses, openaiOthers, anthropicMessages, googleGenai]) {
  await test();
  console.log(`node ${test.name}: ok`);
}
