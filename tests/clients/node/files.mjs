// Files: bytes as streams, ranges, preconditions, and links that a browser fetches.

import assert from 'node:assert/strict';
import { call, connect, deadline, isRefused, ok, send, services } from './connection.mjs';

const { Storage } = services('sre/io/v1/storage.proto');
const { Router } = services('sre/io/v1/router.proto');

const NAME = 'teams/-/agents/greeter/files/node/report.bin';
const CONTENT = Buffer.from(Array.from({ length: 200_000 }, (_, at) => at % 251));

function write(stub, content, header) {
  const parts = [{ header: { name: NAME, ...header } }];
  for (let at = 0; at < content.length; at += 65536) parts.push({ data: content.subarray(at, at + 65536) });
  return send(stub, 'WriteFile', parts);
}

async function read(stub, which) {
  const parts = [];
  for await (const part of stub.ReadFile({ name: NAME, ...which }, deadline())) parts.push(part);
  return { file: parts[0].file, content: Buffer.concat(parts.slice(1).map((part) => part.data)) };
}

async function bytes(stub) {
  const made = await write(stub, CONTENT, { mimetype: 'application/octet-stream', if_absent: true });
  assert.equal(made.size_bytes, CONTENT.length);
  assert.deepEqual((await read(stub, {})).content, CONTENT);
  for (const [offset_bytes, limit_bytes] of [[0, 10], [65_530, 20], [CONTENT.length - 3, 100]]) {
    const { content } = await read(stub, { offset_bytes, limit_bytes });
    assert.deepEqual(content, CONTENT.subarray(offset_bytes, offset_bytes + limit_bytes));
  }
  ok('a file in whole and in ranges');
  await isRefused('a range beyond the end', 'OUT_OF_RANGE', read(stub, { offset_bytes: CONTENT.length + 1 }));
  return made;
}

async function conditions(stub, first) {
  await isRefused('a second file of the name', 'ALREADY_EXISTS', write(stub, Buffer.from('x'), { if_absent: true }));
  const second = await write(stub, Buffer.from('second'), { if_match: first.etag });
  assert.notEqual(second.etag, first.etag);
  const late = { if_match: first.etag };
  await isRefused('a write over an older version', 'ABORTED', write(stub, Buffer.from('third'), late));
  await isRefused('a read of an older version', 'ABORTED', read(stub, late));
  await isRefused('a deletion of an older version', 'ABORTED', call(stub, 'DeleteFile', { name: NAME, ...late }));
  assert.equal((await read(stub, {})).content.toString(), 'second');
  ok('what was refused changed nothing');
}

async function links(stub) {
  for (const [kind, path] of [['URL_KIND_TEMPORARY', '/t/'], ['URL_KIND_RESOURCE', '/r/']]) {
    const link = await call(stub, 'CreateUrl', { file: NAME, kind });
    const served = await fetch(link.url);
    assert.deepEqual([served.status, await served.text()], [200, 'second']);
    assert.equal(served.headers.get('x-content-type-options'), 'nosniff');
    const range = await fetch(link.url, { headers: { range: 'bytes=1-3' } });
    assert.deepEqual([range.status, await range.text()], [206, 'eco']);
    const token = link.url.split(path)[1].split('/')[0];
    const forged = token.slice(0, 9) + (token[9] === 'A' ? 'B' : 'A') + token.slice(10);
    assert.equal((await fetch(link.url.replace(token, forged))).status, 404);
    await call(stub, 'RevokeUrl', { file: NAME, id: link.id });
    assert.equal((await fetch(link.url)).status, 404);
    ok(`a link (${kind}): served, in a range, signed, revoked`);
  }
}

export async function checks() {
  const stub = connect(Storage);
  await conditions(stub, await bytes(stub));
  await links(connect(Router));
  await call(stub, 'DeleteFile', { name: NAME });
}
