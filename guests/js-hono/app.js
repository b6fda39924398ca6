// A standard component in JavaScript, made with the public package hono. Nothing of Roadrunner is in it.

import { Hono } from "hono";

const app = new Hono();

app.use(async (context, next) => {
  await next();
  context.header("x-served-by", "hono");
});
app.get("/hello", (context) => context.text("hello from Hono\n"));
app.get("/users/:name", (context) => context.json({ name: context.req.param("name"), ask: context.req.query("ask") }));
app.post("/echo", (context) => context.body(context.req.raw.body));
app.post("/length", async (context) => context.text(`${(await context.req.text()).length}\n`));

addEventListener("fetch", (event) => event.respondWith(app.fetch(event.request)));
