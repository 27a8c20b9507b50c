// Sampling in a browser: this project's module and ONNX Runtime Web in turn, in one page of Chromium, a thread each; prints
// a table in Markdown. The peer draws with the same architecture and dense f32 weights, of the latents alone.
//
//     bash bindings/web/build.sh
//     python bench/sample.py --export generator.onnx --batch 16 --ngf 64 --channels 1 --latent 112
//     npm install --prefix bench-web onnxruntime-web playwright-core
//     node bench/web.mjs generator.onnx models/fashion-mnist.safetensors.zst bench-web [TURNS]

import { readFile, stat } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname, join, resolve } from "node:path";
import { gzipSync } from "node:zlib";

const [onnx, artifact, packages, turns = "5"] = process.argv.slice(2);
if (!packages) {
  console.error("usage: node bench/web.mjs GENERATOR.onnx MODEL.safetensors.zst FOLDER_OF_NODE_MODULES [TURNS]");
  process.exit(2);
}
const { PRISM_WEB = "target/web", CHROMIUM = "/usr/bin/chromium" } = process.env;
const runtime = join(packages, "node_modules/onnxruntime-web/dist");
const { chromium } = createRequire(resolve(packages, "x.js"))("playwright-core");
const places = { prism: join(PRISM_WEB, "npm"), ort: runtime };
const single = { "/generator.onnx": onnx, "/model": artifact };
const types = { ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };

/** The file that a request of the page is for. */
function fileOf(path) {
  const [, place, name] = path.split("/");
  return single[path] ?? (places[place] && join(places[place], name));
}

const server = createServer(async (request, response) => {
  const file = fileOf(request.url);
  const body = file ? await readFile(file).catch(() => null) : "<!doctype html><title>bench</title>";
  response.writeHead(body === null ? 404 : 200, { "content-type": types[extname(file ?? "")] ?? "text/html" });
  response.end(body);
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
const page = await browser.newPage();
page.setDefaultTimeout(600_000);
await page.goto(`http://127.0.0.1:${server.address().port}/`);

const found = await page.evaluate(async (turns) => {
  const bytes = async (path) => new Uint8Array(await (await fetch(path)).arrayBuffer());
  const begun = performance.now();
  const { load } = await import("/prism/index.js");
  const model = await load(await bytes("/model"));
  model.sample({ n: 1 });
  const ours = performance.now();
  const ort = await import("/ort/ort.wasm.min.mjs");
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = "/ort/";
  const session = await ort.InferenceSession.create(await bytes("/generator.onnx"), { executionProviders: ["wasm"] });
  const [batch, latent] = session.inputMetadata[0].shape;
  const z = new ort.Tensor("float32", Float32Array.from({ length: batch * latent }, () => Math.random() * 2 - 1), [batch, latent]);
  await session.run({ z });
  const theirs = performance.now();
  const contenders = {
    i16: () => model.sample({ n: batch }),
    f32: () => model.sample({ n: batch, precision: "f32" }),
    onnx: () => session.run({ z }),
  };
  const times = Object.fromEntries(Object.keys(contenders).map((name) => [name, []]));
  for (let turn = 0; turn < turns; turn += 1) {
    for (const [name, draw] of Object.entries(contenders)) {
      await draw();
      const start = performance.now();
      for (let run = 0; run < 3; run += 1) await draw();
      times[name].push((performance.now() - start) / 3 / batch);
    }
  }
  const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
  const ms = Object.fromEntries(Object.entries(times).map(([name, values]) => [name, median(values)]));
  return { ms, batch, start: { ours: ours - begun, onnx: theirs - ours } };
}, Number(turns));
const browserVersion = browser.version();
await browser.close();
server.close();

const gzipped = async (...files) => {
  const sizes = files.map(async (file) => gzipSync(await readFile(file)).length);
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
};
const { ms, batch, start } = found;
const kilobytes = (bytes) => `${Math.round(bytes / 1000)} KB`;
const code = await gzipped(...["index.js", "model.js", "glue.js", "simd.wasm"].map((name) => join(places.prism, name)));
const theirs = await gzipped(...["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"].map((name) => join(runtime, name)));
console.log("| in a browser | i16 | f32 | ONNX Runtime Web | i16 faster by | f32 faster by |");
console.log("|---|---|---|---|---|---|");
const faster = (name) => `**${(ms.onnx / ms[name]).toFixed(2)}x**`;
console.log(`| ms an image | ${ms.i16.toFixed(2)} | ${ms.f32.toFixed(2)} | ${ms.onnx.toFixed(2)} | ${faster("i16")} | ${faster("f32")} |`);
console.log(`| code, gzipped | ${kilobytes(code)} | | ${kilobytes(theirs)} | | |`);
console.log(`| model | ${kilobytes((await stat(artifact)).size)} | | ${kilobytes((await stat(onnx)).size)} | | |`);
console.log(`| from nothing to the first image | ${Math.round(start.ours)} ms | | ${Math.round(start.onnx)} ms (${batch} images) | | |`);
const { version } = JSON.parse(await readFile(join(packages, "node_modules/onnxruntime-web/package.json"), "utf8"));
console.log(`\n${batch} images at a time, one thread; medians of ${turns} turns; Chromium ${browserVersion}; ONNX Runtime Web ${version}.`);
