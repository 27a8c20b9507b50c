// The package's door: finds the WebAssembly module for this environment, compiles it once, and opens models with it.

import { instantiate } from "./glue.js";
import { hasSimd, openModel } from "./model.js";

export { Model, hasSimd } from "./model.js";

let compiled;

export async function load(bytes, { wasm } = {}) {
  const module = wasm === undefined ? await (compiled ??= compile()) : await compileBytes(wasm);
  return openModel(instantiate, module, bytes);
}

async function compile() {
  try {
    // Both names stand here as they are, so that bundlers find them.
    const url = hasSimd() ? new URL("./simd.wasm", import.meta.url) : new URL("./scalar.wasm", import.meta.url);
    return await compileBytes(await read(url));
  } catch (error) {
    compiled = undefined; // The next call tries again.
    throw error;
  }
}

async function compileBytes(wasm) {
  return wasm instanceof WebAssembly.Module ? wasm : WebAssembly.compile(wasm);
}

async function read(url) {
  if (url.protocol === "file:" && globalThis.process?.versions?.node) {
    // Node.js fetches no files.
    const { readFile } = await import("node:fs/promises");
    return readFile(url);
  }
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url.href} cannot be fetched: ${response.status}; give \`wasm\` to load`);
  return response.arrayBuffer();
}
