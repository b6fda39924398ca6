// A standard component in JavaScript, as componentize-js makes it of any handler of fetch events. Nothing of Roadrunner
// is in it.

addEventListener("fetch", (event) => event.respondWith(handle(event.request)));

async function handle(request) {
  const { pathname } = new URL(request.url);
  switch (pathname) {
    case "/hello":
      return new Response("hello from JavaScript\n", { headers: { "content-type": "text/plain" } });
    case "/echo":
      return new Response(request.body);
    case "/length":
      return new Response(`${(await request.text()).length}\n`);
    default:
      return new Response("not found\n", { status: 404 });
  }
}
