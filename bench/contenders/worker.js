// The answers of the scenarios (bench/tools/src/scenarios.rs) for workerd.
const HELLO = "alive\r\n";
const JSON_BODY =
  '{"id":4711001,"customer":"Wile E. Coyote","paid":true,"total":1284.5,"items":["anvil","rocket skates","bird seed"]}';
const BYTES = "x".repeat(64 * 1024);
const PIECE = new Uint8Array(4096).fill(120);
const TEXT = { "content-type": "text/plain" };
const OCTETS = { "content-type": "application/octet-stream" };

export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    switch (pathname) {
      case "/":
        return new Response(HELLO, { headers: TEXT });
      case "/json":
        return new Response(JSON_BODY, { headers: { "content-type": "application/json" } });
      case "/large":
        return new Response(BYTES, { headers: OCTETS });
      case "/echo":
        return new Response(await request.arrayBuffer(), { headers: OCTETS });
      case "/form":
        return new Response(String([...new URLSearchParams(await request.text())].length), { headers: TEXT });
      case "/drain":
        await count(request.body);
        return new Response("ok", { headers: TEXT });
      case "/collect":
        return new Response(`${(await request.arrayBuffer()).byteLength}\n`, { headers: TEXT });
      case "/count":
        return new Response(`${await count(request.body)}\n`, { headers: TEXT });
      case "/streaming":
        return new Response(pieces(4), { headers: OCTETS });
      case "/ws":
        return socket();
    }
    return pathname.startsWith("/api/v1/items/")
      ? new Response(HELLO, { headers: TEXT })
      : new Response(null, { status: 404 });
  },
};

async function count(body) {
  let total = 0;
  for await (const piece of body) total += piece.byteLength;
  return total;
}

function pieces(count) {
  const { readable, writable } = new TransformStream();
  const writer = writable.getWriter();
  (async () => {
    for (let piece = 0; piece < count; piece++) await writer.write(PIECE);
    await writer.close();
  })();
  return readable;
}

function socket() {
  const [client, server] = Object.values(new WebSocketPair());
  server.accept();
  server.addEventListener("message", (event) => server.send(event.data));
  return new Response(null, { status: 101, webSocket: client });
}
