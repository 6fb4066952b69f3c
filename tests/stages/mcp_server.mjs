// A server of the Model Context Protocol for tests, on the official SDK for TypeScript.
//
//   node mcp_server.mjs PORT PACKAGES     over HTTP: /mcp with sessions, the older /sse
//   node mcp_server.mjs stdio PACKAGES    over its own pipes
//
// `GET /test/seen` counts requests by method and path, and once more by the test that their header names.
import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';

const [port, packages] = process.argv.slice(2);
const found = createRequire(`${packages}/`);
const load = (name) => import(found.resolve(name));
const { McpServer } = await load('@modelcontextprotocol/sdk/server/mcp.js');
const { z } = await load('zod');

const text = (words) => ({ content: [{ type: 'text', text: words }] });

function serve() {
  const server = new McpServer({ name: 'tests in TypeScript', version: '1.0.0' });
  const numbers = { a: z.number().describe('the first'), b: z.number() };
  server.registerTool('add', { description: 'Adds two numbers.', inputSchema: numbers }, ({ a, b }) => text(`${a + b}`));
  const nested = { person: z.object({ name: z.string(), tone: z.enum(['plain', 'loud']).optional() }) };
  server.registerTool('greet', { description: 'Greets a person.', inputSchema: nested }, ({ person }) =>
    text(person.tone === 'loud' ? `HELLO ${person.name.toUpperCase()}` : `Hello ${person.name}`));
  server.registerTool('fail', { description: 'Always fails.' }, () => ({ ...text('it went wrong'), isError: true }));
  // Says that its list changed, which it then has.
  server.registerTool('grow', { description: 'Makes a tool.' }, () => {
    server.registerTool('grown', { description: 'Is new.' }, () => text('grown'));
    return text('there is one more');
  });
  return server;
}

if (port === 'stdio') {
  const { StdioServerTransport } = await load('@modelcontextprotocol/sdk/server/stdio.js');
  await serve().connect(new StdioServerTransport());
} else {
  const { StreamableHTTPServerTransport } = await load('@modelcontextprotocol/sdk/server/streamableHttp.js');
  const { SSEServerTransport } = await load('@modelcontextprotocol/sdk/server/sse.js');
  const { default: express } = await load('express');
  const app = express();
  const seen = {};
  app.get('/test/seen', (_, response) => response.json(seen));
  app.use((request, _, next) => {
    const name = `${request.method} ${request.path}`;
    const count = (name) => (seen[name] = (seen[name] ?? 0) + 1);
    count(name);
    if (request.headers['x-test']) count(`${request.headers['x-test']}: ${name}`);
    next();
  });
  app.use(express.json());

  const sessions = new Map();
  app.all('/mcp', async (request, response) => {
    const id = request.headers['mcp-session-id'];
    let transport = sessions.get(id);
    if (!transport) {
      if (id) return response.status(404).end();
      transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: () => randomUUID(),
        onsessioninitialized: (made) => sessions.set(made, transport),
      });
      transport.onclose = () => sessions.delete(transport.sessionId);
      await serve().connect(transport);
    }
    await transport.handleRequest(request, response, request.body);
  });

  const older = new Map();
  app.get('/sse', async (_, response) => {
    const transport = new SSEServerTransport('/messages', response);
    older.set(transport.sessionId, transport);
    response.on('close', () => older.delete(transport.sessionId));
    await serve().connect(transport);
  });
  app.post('/messages', async (request, response) => {
    const transport = older.get(request.query.sessionId);
    if (!transport) return response.status(404).end();
    await transport.handlePostMessage(request, response, request.body);
  });
  app.listen(Number(port), '127.0.0.1');
}
