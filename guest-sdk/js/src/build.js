#!/usr/bin/env node
// `roadrunner-guest build FILE`: makes a component of a JavaScript or TypeScript program.
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
const USAGE = 'usage: roadrunner-guest build FILE [--output FILE.wasm]';

/** Writes the component of the program whose default export is the handler. */
export async function build(program, output) {
  const scratch = await mkdtemp(join(tmpdir(), 'roadrunner-guest-'));
  try {
    const entry = join(scratch, 'entry.js');
    const main = join(scratch, 'main.js');
    await writeFile(
      entry,
      `import handle from ${JSON.stringify(resolve(program))};
import { exportsOf } from ${JSON.stringify(join(here, 'adapter.js'))};
const component = exportsOf(handle);
export const handler = component.handler;
export const streaming = component.streaming;
export const eventLoop = component.eventLoop;
export const websocket = component.websocket;
`,
    );
    await bundle({
      input: entry,
      external: /^(roadrunner|wasi):/,
      // One copy of the SDK, also for programs that are outside of its folder.
      resolve: { alias: { 'roadrunner-guest': join(here, 'index.js') } },
      output: { file: main, format: 'esm' },
      logLevel: 'warn',
    });
    const { component } = await componentize({
      sourcePath: main,
      witPath: join(here, '..', 'wit'),
      worldName: 'javascript',
      disableFeatures: ['http', 'fetch-event'],
    });
    await mkdir(dirname(resolve(output)), { recursive: true });
    await writeFile(output, component);
  } finally {
    await rm(scratch, { recursive: true });
  }
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { output: { type: 'string', short: 'o' } },
});
const [command, program, ...more] = positionals;
if (command !== 'build' || program === undefined || more.length > 0) {
  console.error(USAGE);
  process.exit(2);
}
try {
  await build(program, values.output ?? `${basename(program, extname(program))}.wasm`);
} catch (error) {
  console.error(`error: ${error.message ?? error}`);
  process.exit(1);
}
