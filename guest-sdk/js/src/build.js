#!/usr/bin/env node
// `roadrunner-guest build FILE`: makes a component of a JavaScript or TypeScript program, for the native world or, with
// `--world wasi`, for wasi:http.
//
// The program is bundled with what it imports and runs once while the component is built; every instance starts from what
// its memory held then.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { componentize } from '@bytecodealliance/componentize-js';
import { build as bundle } from 'rolldown';

const here = dirname(fileURLToPath(import.meta.url));
const USAGE = 'usage: roadrunner-guest build FILE [--output FILE.wasm] [--world native|wasi]';

/** What is built for each world. */
const WORLDS = {
  native: {
    entry: (program) => `import program from ${program};
import { exportsOf } from ${file('adapter.js')};
import { explained } from ${file('fetch.js')};
import { env } from ${file('host.js')};
globalThis.fetch = explained(globalThis.fetch);
const component = exportsOf(program, env);
export const handler = component.handler;
export const streaming = component.streaming;
export const eventLoop = component.eventLoop;
export const websocket = component.websocket;
`,
    options: { witPath: join(here, '..', 'wit'), worldName: 'javascript', disableFeatures: ['fetch-event'] },
  },
  // A program may also listen to fetch events itself, and have no default export.
  wasi: {
    entry: (program) => `import * as program from ${program};
const app = program['default'];
if (app !== undefined) {
  if (typeof app.fetch !== 'function') throw new TypeError('--world wasi needs a default export with a method \`fetch\`');
  addEventListener('fetch', (event) => event.respondWith(app.fetch(event.request, {}, event)));
}
`,
    options: { witPath: join(here, '..', 'wit-wasi'), worldName: 'standard' },
  },
};

/** Writes the component of the program whose default export is the handler, or an app with a `fetch` method. */
export async function build(program, output, world = 'native') {
  const { entry, options } = WORLDS[world];
  const scratch = await mkdtemp(join(tmpdir(), 'roadrunner-guest-'));
  try {
    const [input, main] = [join(scratch, 'entry.js'), join(scratch, 'main.js')];
    await writeFile(input, entry(JSON.stringify(resolve(program))));
    await bundle({
      input,
      external: /^(roadrunner|wasi):/,
      // One copy of the SDK, also for programs that are outside of its folder.
      resolve: { alias: { 'roadrunner-guest': join(here, 'index.js') } },
      output: { file: main, format: 'esm' },
      logLevel: 'warn',
    });
    const { component } = await componentize({ sourcePath: main, ...options });
    await mkdir(dirname(resolve(output)), { recursive: true });
    await writeFile(output, component);
  } finally {
    await rm(scratch, { recursive: true });
  }
}

function file(name) {
  return JSON.stringify(join(here, name));
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { output: { type: 'string', short: 'o' }, world: { type: 'string', default: 'native' } },
});
const [command, program, ...more] = positionals;
if (command !== 'build' || program === undefined || more.length > 0 || !Object.hasOwn(WORLDS, values.world)) {
  console.error(USAGE);
  process.exit(2);
}
try {
  await build(program, values.output ?? `${basename(program, extname(program))}.wasm`, values.world);
} catch (error) {
  console.error(`error: ${error.message ?? error}`);
  process.exit(1);
}
