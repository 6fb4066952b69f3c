// Vectors: rows of one's own, texts cut and embedded, and search by either, with conditions.

import assert from 'node:assert/strict';
import { call, connect, isRefused, ok, send, services } from './connection.mjs';

const { VectorDb } = services('sre/io/v1/vector_db.proto');

async function rows(stub) {
  const namespace = { name: 'teams/-/vectors/node-points', dimension: 3 };
  const { name: parent } = await call(stub, 'CreateVectorNamespace', { namespace });
  const points = { x: [1, 0, 0], xy: [1, 1, 0], z: [0, 0, 1] };
  const rows = Object.entries(points).map(([id, values]) => ({
    id, vector: { values }, metadata_json: Buffer.from(JSON.stringify({ axis: id.length })),
  }));
  assert.equal((await call(stub, 'UpsertRows', { parent, rows })).created_count, 3);
  const search = async (more) => {
    const { hits } = await call(stub, 'Search', { parent, vector: { values: [1, 0.1, 0] }, ...more });
    return hits.map((hit) => hit.id);
  };
  assert.deepEqual(await search({}), ['x', 'xy', 'z']);
  assert.deepEqual(await search({ top_k: 1 }), ['x']);
  assert.deepEqual(await search({ filter: { equals: { key: 'axis', value: { number: 2 } } } }), ['xy']);
  ok('rows are found by likeness and condition');
  const short = { parent, rows: [{ id: 'w', vector: { values: [1, 2] } }] };
  await isRefused('a vector of another length', 'INVALID_ARGUMENT', call(stub, 'UpsertRows', short));
  await call(stub, 'DeleteVectorNamespace', { name: parent });
}

async function texts(stub) {
  const namespace = { name: 'teams/-/vectors/node-texts', embedding: { model: 'hash-embedding' } };
  const { name: parent } = await call(stub, 'CreateVectorNamespace', { namespace });
  const header = { name: `${parent}/datasources/manual`, chunk_size: 60, chunk_overlap: 0 };
  const pieces = ['The pump must be primed before use.\n\n', 'Batteries are charged over night.\n\n', 'Call us.'];
  const source = await send(stub, 'CreateDatasource', [{ header }, ...pieces.map((text) => ({ text }))]);
  assert.ok(source.chunk_count >= 2, source);
  const { hits } = await call(stub, 'Search', { parent, text: 'how is the pump primed', top_k: 1 });
  assert.ok(hits[0].text.startsWith('The pump') && hits[0].datasource === 'manual', hits);
  ok('a text is cut, embedded and found');
  await call(stub, 'DeleteVectorNamespace', { name: parent });
}

export async function checks() {
  const stub = connect(VectorDb);
  await rows(stub);
  await texts(stub);
}
