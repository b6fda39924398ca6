// An app of Hono, as it is written for any server. Nothing of Roadrunner is in it: the build command does the rest.

import { Hono } from 'hono';
import { stream } from 'hono/streaming';

const app = new Hono();

app.use(async (context, next) => {
  await next();
  context.header('x-served-by', 'hono');
});

app.get('/hello', (context) => context.text('hello from Hono\n'));

app.get('/users/:name', (context) => context.json({ name: context.req.param('name'), ask: context.req.query('ask') }));

app.post('/orders', async (context) => {
  const order = await context.req.json();
  return context.json({ ...order, count: order.count + 1 }, 201);
});

// Each piece goes back as it arrives.
app.post('/echo', (context) => context.body(context.req.raw.body));

app.get('/ticks', (context) =>
  stream(context, async (out) => {
    for (let number = 1; number <= 3; number++) {
      if (number > 1) await out.sleep(200);
      await out.write(`tick ${number}\n`);
    }
  }),
);

// Passes the answer of another server on: /fetch?url=https://example.com/. The manifest has to grant it.
app.get('/fetch', async (context) => {
  try {
    const answer = await fetch(context.req.query('url'));
    return new Response(answer.body, { status: answer.status, headers: { 'x-fetched': 'yes' } });
  } catch (error) {
    return context.text(`${error.message}\n`, 502);
  }
});

// Sends the body on as it arrives.
app.post('/forward', async (context) => {
  const answer = await fetch(context.req.query('url'), { method: 'POST', body: context.req.raw.body, duplex: 'half' });
  return new Response(answer.body, { status: answer.status });
});

export default app;
